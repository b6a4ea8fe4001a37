"""Padding in n dimensions, and its transpose.

Along one axis every padded array is a few runs of the original: the middle, and what lies before and after it. A run is a
pair of slices (to, from); a padded array is filled by all combinations of its axes' runs, each one copy, and the
gradient adds the same runs back.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

__all__ = ["pad", "pad_backward"]

ndarray = np.ndarray
Pairs = tuple[tuple[int, int], ...]
Run = tuple[slice, slice]


def pad(x: ndarray, pairs: Pairs, mode: str, value: complex = 0) -> ndarray:
    """``x`` with (before, after) more entries along each axis, or fewer if negative; keeps the order in memory."""
    shape = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, pairs, strict=True))
    if mode != "constant":
        y = np.empty_like(x, shape=shape, subok=False)
    elif value == 0:
        y = np.zeros_like(x, shape=shape, subok=False)
    else:
        y = np.full_like(x, value, shape=shape, subok=False)
    for to, source in _runs(x.shape, pairs, mode):
        y[to] = x[source]
    return y


def pad_backward(grad: ndarray, shape: tuple[int, ...], pairs: Pairs, mode: str) -> ndarray:
    """The gradient of :func:`pad` to an input of ``shape``."""
    gx = np.zeros_like(grad, shape=shape, subok=False)
    for to, source in _runs(shape, pairs, mode):
        part, target = grad[to], gx[source]
        repeated = tuple(
            axis for axis, (a, b) in enumerate(zip(part.shape, target.shape, strict=True)) if a != b
        )
        target += part.sum(repeated, keepdims=True, dtype=grad.dtype) if repeated else part
    return gx


def _runs(shape: tuple[int, ...], pairs: Pairs, mode: str) -> list[tuple[Any, Any]]:
    """All combinations of the axes' runs, as pairs of indices (into the padded array, into the original)."""
    axes = [_axis_runs(n, lo, hi, mode) for n, (lo, hi) in zip(shape, pairs, strict=True)]
    # with an ellipsis, indexing an array without dimensions gives an array too
    return [
        ((..., *(to for to, _ in runs)), (..., *(source for _, source in runs))) for runs in product(*axes)
    ]


def _axis_runs(n: int, lo: int, hi: int, mode: str) -> list[Run]:
    length = n + lo + hi
    first, last = max(-lo, 0), n - max(-hi, 0)  # what the middle takes: negative padding cuts
    runs = []
    if last > first:
        runs.append((slice(first + lo, last + lo), slice(first, last)))
    before, after = min(lo, length), min(hi, length)
    if mode == "constant":
        return runs
    if before > 0:
        source = {
            "reflect": slice(lo, lo - before, -1),
            "replicate": slice(0, 1),
            "circular": slice(last - lo, last - lo + before),
        }[mode]
        runs.append((slice(0, before), source))
    if after > 0:
        start = n - 1 - (hi - after + 1)
        stop = start - after
        source = {
            "reflect": slice(start, stop if stop >= 0 else None, -1),
            "replicate": slice(n - 1, n),
            "circular": slice(first + hi - after, first + hi),
        }[mode]
        runs.append((slice(length - after, length), source))
    return runs
