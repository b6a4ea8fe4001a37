"""An autoencoder squeezes pictures of handwritten digits (64 pixels) into 6 numbers, and draws them from these again.

Principal components are the best that can be done with 6 numbers by linear means; the network, which bends, loses
little more than half as much. ``autoencoder.png`` shows digits that neither has seen. Run it with
``python examples/autoencoder.py``. PyTorch prints the same numbers within 1 %.
"""

import argparse

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import lamina as torch
import lamina.nn as nn
from lamina.utils.data import DataLoader

CODE = 6


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (1497, 64) to learn from and (300, 64) to be tested on, from 0 to 1."""
    images = torch.from_numpy((load_digits().data / 16).astype("float32"))
    return images[:1497], images[1497:]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, CODE),
        nn.Linear(CODE, 64), nn.GELU(), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64), nn.Sigmoid(),
    )  # fmt: skip


def principal(train: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """The images as drawn from their coordinates along the directions in which the training images differ most."""
    mean = train.mean(dim=0)
    _, _, directions = torch.linalg.svd(train - mean, full_matrices=False)
    directions = directions[:CODE]
    return mean + (images - mean) @ directions.T @ directions


def draw(rows: dict[str, torch.Tensor]) -> None:
    figure, axes = plt.subplots(len(rows), 12, figsize=(12, 3.4), layout="constrained")
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image.view(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    figure.savefig("autoencoder.png")


def main(epochs: int) -> None:
    torch.manual_seed(0)
    train, test = load()
    model = network()
    loss_function = nn.MSELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * 24)

    for epoch in range(1, epochs + 1):
        for images in DataLoader(train, batch_size=64, shuffle=True):
            loss = loss_function(model(images), images)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        if epoch % max(epochs // 10, 1) == 0:
            with torch.no_grad():
                print(f"epoch {epoch:3}: test error {loss_function(model(test), test).item():.5f}")

    with torch.no_grad():
        drawn, linear = model(test), principal(train, test)
    ours, theirs = (loss_function(images, test).item() for images in (drawn, linear))
    print(f"mean squared error with {CODE} numbers per digit: {ours:.5f}; principal components: {theirs:.5f}")
    draw({"unseen": test, "network": drawn, "linear": linear})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    main(**vars(parser.parse_args()))
