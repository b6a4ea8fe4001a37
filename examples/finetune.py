"""A network that can read digits learns a new question, odd or even, from 20 examples.

The first network is saved as a checkpoint in PyTorch's format (``--checkpoint`` takes one that PyTorch has written). A second one
loads it, freezes the layers that see, and learns a new head. The same network learns the 20 examples from nothing, to
compare. Run it with ``python examples/finetune.py``. PyTorch prints the same numbers within 1 %.
"""

import argparse

from sklearn.datasets import load_digits

import lamina as torch
import lamina.nn as nn
import lamina.nn.functional as F


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (1797, 1, 8, 8) and labels (1797,), shuffled."""
    digits = load_digits()
    order = torch.randperm(len(digits.target))
    images = torch.from_numpy((digits.images / 16).astype("float32")).unsqueeze(1)
    return images[order], torch.from_numpy(digits.target.astype("int64"))[order]


class Network(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.eyes = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * 2 * 2, 64), nn.Tanh(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.eyes(images))


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, steps: int) -> None:
    """Adam on the parameters that are not frozen, 50 images at a time."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=1e-4)
    for _ in range(steps):
        some = torch.randint(len(labels), (50,))
        optimizer.zero_grad()
        F.cross_entropy(model(images[some]), labels[some]).backward()
        optimizer.step()


def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(images).argmax(dim=1) == labels).float().mean().item()


def main(steps: int, checkpoint: str | None) -> None:
    torch.manual_seed(0)
    images, labels = load()
    if checkpoint is None:
        checkpoint = "finetune.pt"
        model = Network(10)
        train(model, images[:900], labels[:900], steps)
        print(f"ten digits, 900 examples: {accuracy(model, images[900:], labels[900:]):.2%} of the others right")
        torch.save(model.state_dict(), checkpoint)

    images, labels = images[900:], labels[900:]  # none that the first network has seen
    few = torch.cat([(labels == digit).nonzero()[:2, 0] for digit in range(10)])
    rest = torch.ones(len(labels)).index_fill(0, few, 0).bool()
    odd = labels % 2

    tuned = Network(10)
    tuned.load_state_dict(torch.load(checkpoint))
    tuned.eyes.requires_grad_(False)
    tuned.head = nn.Linear(64, 2)
    for name, model in (("fine-tuned", tuned), ("from nothing", Network(2))):
        train(model, images[few], odd[few], steps)
        learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
        right = accuracy(model, images[rest], odd[rest])
        print(f"odd or even, 20 examples, {name} ({learnt} weights): {right:.2%} right")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--checkpoint", help="of a network that has learnt already; none: it is trained and saved here")
    main(**vars(parser.parse_args()))
