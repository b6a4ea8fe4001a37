"""Padding in n dimensions, and its transpose.

Along one axis every padded array is a few runs of the original: the middle, and what lies before and after it. A run is a
pair of slices (to, from); a padded array is filled by all combinations of its axes' runs, each one copy, except that the
entries before and after the rows are written column by column. The gradient is folded back one axis after the other, or,
where padding cuts entries off that others are copies of, by all combinations.
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
    if mode == "constant":
        y = np.zeros_like(x, shape=shape, subok=False) if value == 0 else np.full_like(x, value, shape=shape, subok=False)
    else:
        y = np.empty_like(x, shape=shape, subok=False)
    fill(y, x, pairs, mode)
    return y


def fill(y: ndarray, x: ndarray, pairs: Pairs, mode: str) -> None:
    """Write to ``y`` what :func:`pad` gives for ``x``, but for constants, which are there already."""
    runs = _all_runs(x.shape, pairs, mode)
    columns: list[Run] = []
    if mode != "constant" and x.ndim and min(pairs[-1]) >= 0 and y.strides[-1] == y.itemsize:
        # The last axis is padded at last: all rows of the array together are one long loop for each column.
        middle, *edges = runs[-1] if x.shape[-1] else [(slice(0), slice(0))]
        columns = [column for edge in edges for column in _columns(y, x.ndim - 1, *edge)]
        runs[-1] = [middle]
    for to, source in _combined(runs):
        y[to] = x[source]
    for to_column, source_column in columns:
        y[..., to_column] = y[..., _shifted(source_column, pairs[-1][0])]


def pad_backward(grad: ndarray, shape: tuple[int, ...], pairs: Pairs, mode: str) -> ndarray:
    """The gradient of :func:`pad` to an input of ``shape``."""
    cuts = min(map(min, pairs), default=0) < 0
    if mode == "constant" and not cuts:
        return grad[tuple(slice(lo, lo + n) for n, (lo, _) in zip(shape, pairs, strict=True))].copy(order="K")
    if mode == "constant" or cuts:
        gx = np.zeros_like(grad, shape=shape, subok=False)
        for to, source in _combined(_all_runs(shape, pairs, mode)):
            _add(gx[source], grad[to])
        return gx
    gx, own = grad, False
    for axis, (n, (lo, hi)) in enumerate(zip(shape, pairs, strict=True)):
        if lo == hi == 0:
            continue
        before = (slice(None),) * axis
        middle = gx[(*before, slice(lo, lo + n))]
        if not own:
            middle, own = middle.copy(order="K"), True
        for to, source in _axis_runs(n, lo, hi, mode)[n > 0 :]:
            for a, b in _columns(gx, axis, to, source):
                _add(middle[(*before, b)], gx[(*before, a)])
        gx = middle
    return gx.copy(order="K")


def _add(target: ndarray, part: ndarray) -> None:
    """Add ``part`` to ``target``, summed where several entries are copies of one."""
    repeated = tuple(axis for axis, (a, b) in enumerate(zip(part.shape, target.shape, strict=True)) if a != b)
    target += part.sum(repeated, keepdims=True, dtype=part.dtype) if repeated else part


def _columns(x: ndarray, axis: int, to: slice, source: slice) -> list[Run]:
    """A run, entry by entry if it is short and goes along the memory: NumPy's inner loop is then the longer, other axis."""
    count = to.stop - to.start
    if not 1 < count <= 8 or x.strides[axis] != x.itemsize:
        return [(to, source)]
    step = 0 if source.step is None and source.stop - source.start == 1 else source.step or 1
    return [
        (slice(to.start + i, to.start + i + 1), slice(source.start + i * step, source.start + i * step + 1)) for i in range(count)
    ]


def _shifted(run: slice, by: int) -> slice:
    """A slice of the original, as one of the padded array."""
    stop = -1 if run.stop is None else run.stop
    start, stop = run.start + by, stop + by
    return slice(start, stop if stop >= 0 else None, run.step)


def _all_runs(shape: tuple[int, ...], pairs: Pairs, mode: str) -> list[list[Run]]:
    """The runs of each axis."""
    return [_axis_runs(n, lo, hi, mode) for n, (lo, hi) in zip(shape, pairs, strict=True)]


def _combined(axes: list[list[Run]]) -> list[tuple[Any, Any]]:
    """All combinations of the axes' runs, as pairs of indices (into the padded array, into the original)."""
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
