"""Kernels of margins between the right and the wrong classes of scores (N, C)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.reference.loss import SMALL, ones, row_starts
from lamina.engine.reference.loss_pointwise import greater

__all__ = ["multi_margin", "multilabel_margin"]

ndarray = np.ndarray


def _row_sums(x: ndarray) -> ndarray:
    """The sums of the rows of a plain matrix."""
    return x.dot(ones(x.shape[1], x.dtype.char)) if x.size <= SMALL else np.add.reduce(x, axis=1)


def multi_margin(
    x: ndarray, target: ndarray, p: int, margin: float, weight: ndarray | None, wants_slope: bool
) -> tuple[ndarray, ndarray | None]:
    """w[t]/C·Σ max(0, margin − x[t] + x)ᵖ over the other classes of each sample, and if wanted the slope (N, C)."""
    n, classes = x.shape
    own = row_starts(n, classes) + target
    excess = np.add(x, (margin - x.reshape(-1).take(own))[:, None], order="C")
    excess.reshape(-1)[own] = 0
    excess = greater(excess, 0)
    factor = x.dtype.type(1 / classes) if weight is None else weight[target] / x.dtype.type(classes)
    losses = _row_sums(excess if p == 1 else excess * excess)
    losses *= factor
    if not wants_slope:
        return losses, None
    slope = (excess > 0).astype(x.dtype) if p == 1 else excess * 2
    slope *= factor if weight is None else factor[:, None]
    slope.reshape(-1)[own] = -_row_sums(slope)
    return losses, slope


def multilabel_margin(
    x: ndarray, targets: ndarray, counts: ndarray | None, wants_slope: bool
) -> tuple[ndarray, ndarray | None]:
    """1/C·Σ max(0, 1 − x[t] + x) over the pairs of a target t that counts (N, T; None: all) and a class that is none, and
    if wanted the slope (N, C).

    The targets that count come first in each row.
    """
    n, classes = x.shape
    some: Any = True
    if counts is not None:  # what does not count stands for the first target, if there is one
        some = counts[:, :1]
        targets = np.where(counts, targets, targets[:, :1] * some)
    where = targets + row_starts(n, classes)[:, None]
    right = np.zeros((n, 1, classes), bool)
    right.reshape(-1)[where] = some
    excess = np.add(x[:, None, :], (1 - x.reshape(-1).take(where))[:, :, None], order="C")
    excess = greater(excess, 0)
    np.copyto(excess, 0, where=right)
    if counts is not None:
        np.copyto(excess, 0, where=~counts[:, :, None])
    losses = _row_sums(excess.reshape(n, targets.shape[1] * classes))
    losses /= x.dtype.type(classes)
    if not wants_slope:
        return losses, None
    active = (excess > 0).astype(x.dtype)
    active *= x.dtype.type(1 / classes)
    slope = np.add.reduce(active, axis=1)
    np.subtract.at(slope.reshape(-1), where, np.add.reduce(active, axis=2))  # a class may be named twice
    return losses, slope
