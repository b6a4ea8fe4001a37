"""Pictures, matrices with their numbers, and curves: each draws into one given pair of axes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

COLOURS = ("#1f5fa8", "#d1495b", "#3b8b5a", "#8a6fb0", "#c98a1b")


def _array(values: Any) -> np.ndarray:
    return np.asarray(values.detach() if hasattr(values, "detach") else values)


def new_figure(width: float, height: float, title: str = "") -> Any:
    """An empty ``matplotlib.figure.Figure`` of width x height inches whose parts arrange themselves."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('drawing needs matplotlib: pip install "lamina[plot]"') from error
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=14, fontweight="bold")
    return figure


def picture(ax: Any, image: Any, title: str = "", contrast: float | None = None) -> None:
    """Draw an image (H, W) in grey.

    With ``contrast`` a middle grey stands for zero, and black and white for that many standard deviations
    below and above it; without, black and white are the smallest and the largest value.
    """
    values = _array(image)
    limit = contrast * float(values.std()) if contrast else 0.0
    ax.imshow(values, cmap="gray", vmin=-limit if limit else None, vmax=limit or None)
    ax.set_title(title, fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])


def heatmap(ax: Any, matrix: Any, title: str = "", number: str = "{:.2f}") -> None:
    """Draw a small matrix (H, W) as cells with their numbers written in: blue below zero, red above."""
    values = _array(matrix)
    limit = float(np.abs(values).max()) or 1.0
    ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for (row, column), value in np.ndenumerate(values):
        strong = abs(float(value)) > 0.6 * limit
        ax.text(
            column, row, number.format(float(value)), ha="center", va="center", fontsize=8,
            color="white" if strong else "black",
        )  # fmt: skip
    ax.set_title(title, fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])


def curves(
    ax: Any,
    x: Any,
    lines: Mapping[str, Any],
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    **style: Any,
) -> None:
    """Draw each named line over x (N,), with a legend if there is more than one."""
    for (name, y), colour in zip(lines.items(), COLOURS * (1 + len(lines) // len(COLOURS)), strict=False):
        ax.plot(_array(x), _array(y), label=name, color=colour, **style)
    ax.set_title(title, fontsize=11)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if len(lines) > 1:
        ax.legend(frameon=False, fontsize=9)


def save(figure: Any, path: str | Path) -> Path:
    """Write the figure as a PNG and return its path; missing folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
