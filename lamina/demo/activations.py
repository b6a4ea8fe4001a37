"""Four activation functions and their gradients, which autograd finds."""

from __future__ import annotations

from pathlib import Path

import lamina as torch
from lamina import nn, plotting

FORMULAS = {
    "Sigmoid": r"$1 / (1 + e^{-x})$",
    "Tanh": r"$(e^x - e^{-x}) / (e^x + e^{-x})$",
    "ReLU": r"$\max(0, x)$",
    "Softplus": r"$\ln(1 + e^x)$",
}


def run(folder: Path) -> str:
    figure = plotting.new_figure(14, 3.8, "Activations and their gradients")
    for ax, (name, formula) in zip(figure.subplots(1, 4), FORMULAS.items(), strict=True):
        x = torch.linspace(-5, 5, 401, requires_grad=True)
        y = getattr(nn, name)()(x)
        (slope,) = torch.autograd.grad(y.sum(), x)
        lines = {"y": y, "dy/dx (autograd)": slope}
        plotting.curves(ax, x, lines, f"{name}: y = {formula}", xlabel="x", linewidth=2)
        ax.axhline(0, color="black", linewidth=0.6)
        ax.axvline(0, color="black", linewidth=0.6)
    return f"activations {', '.join(FORMULAS)}: {plotting.save(figure, folder / 'activations.png')}"
