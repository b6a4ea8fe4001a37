"""Kernels of margins between the right and the wrong classes of scores (N, C)."""

from __future__ import annotations

import numpy as np

__all__ = ["multi_margin", "multilabel_margin"]

ndarray = np.ndarray


def multi_margin(
    x: ndarray, target: ndarray, p: int, margin: float, weight: ndarray | None, wants_slope: bool
) -> tuple[ndarray, ndarray | None]:
    """w[t]/C·Σ max(0, margin − x[t] + x)ᵖ over the other classes of each sample, and if wanted the slope (N, C)."""
    n, classes = x.shape
    rows = np.arange(n)
    excess = x + (margin - x[rows, target])[:, None]
    excess[rows, target] = 0
    excess = np.maximum(excess, 0)
    factor = x.dtype.type(1 / classes) if weight is None else weight[target] / x.dtype.type(classes)
    losses = np.add.reduce(excess if p == 1 else excess * excess, axis=1)
    losses *= factor
    if not wants_slope:
        return losses, None
    slope = (excess > 0).astype(x.dtype) if p == 1 else excess * 2
    slope *= factor if weight is None else factor[:, None]
    slope[rows, target] = -np.add.reduce(slope, axis=1)
    return losses, slope


def multilabel_margin(
    x: ndarray, targets: ndarray, counts: ndarray, wants_slope: bool
) -> tuple[ndarray, ndarray | None]:
    """1/C·Σ max(0, 1 − x[t] + x) over the pairs of a target t that counts (N, T) and a class that is none, and if
    wanted the slope (N, C)."""
    n, classes = x.shape
    rows = np.arange(n)[:, None]
    wrong = np.ones((n, classes + 1), bool)
    wrong[rows, np.where(counts, targets, classes)] = False  # the last column takes what does not count
    wrong = wrong[:, :classes]
    targets = np.where(counts, targets, 0)
    excess = np.maximum(x[:, None, :] - x[rows, targets][:, :, None] + 1, 0)
    excess[~(counts[:, :, None] & wrong[:, None, :])] = 0
    losses = np.add.reduce(excess, axis=(1, 2)) / x.dtype.type(classes)
    if not wants_slope:
        return losses, None
    active = (excess > 0).astype(x.dtype) * x.dtype.type(1 / classes)
    slope = np.add.reduce(active, axis=1)
    per_target = np.add.reduce(active, axis=2)
    for j in range(targets.shape[1]):  # a class may be named twice
        slope[rows[:, 0], targets[:, j]] -= per_target[:, j]
    return losses, slope
