"""A photograph through two 5 x 5 kernels and three kinds of pooling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

import lamina as torch
from lamina import nn, plotting


def load(path: Path) -> np.ndarray:
    """The image as grey values (H, W), float32 from 0 to 1."""
    with Image.open(path) as image:
        grey = ImageOps.exif_transpose(image).convert("L")
        return np.array(grey, dtype="float32") / 255


def kernels() -> nn.Conv2d:
    """Two kernels: one answers where a pixel differs from its surroundings, one is as random as new."""
    conv2d = nn.Conv2d(1, 2, (5, 5), bias=False)
    outline = torch.ones((5, 5)) * -1
    outline[2, 2] = 24
    conv2d.weight.data[0] = outline
    return conv2d


def run(path: Path, folder: Path) -> str:
    image = load(path)
    if min(image.shape) < 6:
        raise ValueError(f"the image must be at least 6 x 6 pixels, got {size(image)}: {path}")
    torch.manual_seed(0)
    conv2d = kernels()
    with torch.no_grad():
        convolved = conv2d(torch.from_numpy(image)[None, None])
        steps = {
            "convolved": convolved,
            "2x2 max pool": nn.MaxPool2d(2)(convolved),
            "2x2 average pool": nn.AvgPool2d(2)(convolved),
            "adaptive average": nn.AdaptiveAvgPool2d((64, 64))(convolved),
        }

    figure = plotting.new_figure(17, 6.4, "A photograph through two 5x5 kernels, then pooled")
    grid = figure.add_gridspec(2, 6, width_ratios=[1.6, 0.8, 1, 1, 1, 1])
    plotting.picture(figure.add_subplot(grid[:, 0]), image, f"photograph\n{size(image)}")
    for row, name in enumerate(("outline kernel", "random kernel")):
        number = "{:.0f}" if row == 0 else "{:.2f}"
        plotting.heatmap(figure.add_subplot(grid[row, 1]), conv2d.weight[row, 0], name, number)
        # The outline kernel sums to zero, so grey is "no edge". The random one keeps the brightness.
        contrast = 2.0 if row == 0 else None
        for column, (step, result) in enumerate(steps.items(), start=2):
            channel = result[0, row]
            ax = figure.add_subplot(grid[row, column])
            plotting.picture(ax, channel, f"{step}\n{size(channel)}", contrast)
    picture = plotting.save(figure, folder / "photo.png")
    before, after = size(convolved[0, 0]), size(steps["2x2 max pool"][0, 0])
    return f"photograph  {size(image)} -> convolved {before} -> pooled {after}: {picture}"


def size(image: np.ndarray | torch.Tensor) -> str:
    height, width = image.shape
    return f"{height}x{width}"
