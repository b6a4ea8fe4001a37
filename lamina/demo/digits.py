"""A small convolutional network learns real handwritten digits."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_digits

import lamina as torch
from lamina import nn, plotting
from lamina.demo import training
from lamina.utils.data import TensorDataset


def load() -> tuple[TensorDataset, TensorDataset]:
    """1347 digits to learn from and 450 to be tested on: images (N, 1, 8, 8) from 0 to 1, and labels (N,)."""
    digits = load_digits()
    images = torch.from_numpy((digits.images / 16).astype("float32")).unsqueeze(1)
    labels = torch.from_numpy(digits.target.astype("int64"))
    order = torch.randperm(len(labels))
    train, test = order[:1347], order[1347:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]


def network() -> nn.Module:
    """Three convolutions: (N, 1, 8, 8) -> (N, 32, 4, 4) -> (N, 64, 2, 2) -> ten logits."""
    return nn.Sequential(
        *block(1, 16),
        *block(16, 32),
        nn.MaxPool2d(2),
        *block(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 2 * 2, 10),
    )


def run(folder: Path, epochs: int) -> str:
    torch.manual_seed(0)
    train, test = load()
    images, labels = test.tensors

    def accuracy(model: nn.Module) -> float:
        return (model(images).argmax(dim=1) == labels).float().mean().item()

    model = network()
    history = training.fit(
        model,
        nn.CrossEntropyLoss(),
        train,
        accuracy,
        epochs=epochs,
        batch_size=64,
        lr=2e-3,
        title="digits CNN",
    )
    weights = folder / "digits.pt"
    torch.save(model.state_dict(), weights)
    again = network().eval()
    again.load_state_dict(torch.load(weights))
    with torch.no_grad():
        read = again(images).argmax(dim=1)
    right = (read == labels).float().mean().item()

    picture = draw(history, images, labels, read, right, folder / "digits.png")
    result = f"{right:.2%} of {len(labels)} unseen digits read right, by the saved weights {weights}"
    return f"digits      {result}: {picture}"


def draw(
    history: training.History,
    images: torch.Tensor,
    labels: torch.Tensor,
    read: torch.Tensor,
    right: float,
    path: Path,
) -> Path:
    """The learning curve, and 16 test digits with what was read: all the wrong ones first."""
    title = f"A small CNN reads handwritten digits: {right:.1%} of the unseen ones are right"
    figure = plotting.new_figure(14, 4.2, title)
    left, side = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    loss, score = left.subplots(1, 2)
    lines = {"loss": history.loss}
    plotting.curves(loss, history.epochs, lines, "loss on the training digits", "epoch", marker="o")
    loss.set_yscale("log")
    lines = {"right": [100 * value for value in history.score]}
    plotting.curves(score, history.epochs, lines, "accuracy on the test digits (%)", "epoch", marker="o")
    score.axhline(98, color="grey", linestyle="--", linewidth=1)
    score.annotate("98 %", (history.epochs[-1], 98), ha="right", va="top", color="grey")

    wrong_first = (read == labels).to(torch.int64).argsort(stable=True)
    for ax, index in zip(side.subplots(4, 4).flat, wrong_first.tolist(), strict=False):
        plotting.picture(ax, -images[index, 0])
        truth, answer = labels[index].item(), read[index].item()
        ax.set_title(
            f"{answer}" if truth == answer else f"{answer}, not {truth}",
            fontsize=8, color="black" if truth == answer else "#c01c28", pad=2,
        )  # fmt: skip
    side.suptitle("read as (mistakes in red)", fontsize=11)
    return plotting.save(figure, path)
