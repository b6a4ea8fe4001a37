"""Padding in n dimensions, and its transpose.

Along one axis a padded array is the original in the middle, and edges before and after it, which are runs of the middle. The
middle is copied, and then the edges of one axis after the other, from the last one on. The gradient is folded back in the
opposite order. Where padding cuts entries off that others are copies of, an axis is a few runs of the original instead, pairs of
slices (to, from), and a padded array all combinations of its axes' runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

__all__ = ["pad", "pad_backward"]

ndarray = np.ndarray
Pairs = tuple[tuple[int, int], ...]
Run = tuple[slice, slice]


def pad(x: ndarray, pairs: Pairs, mode: str, value: complex = 0) -> ndarray:
    """``x`` with (before, after) more entries along each axis, or fewer if negative; keeps the order in memory."""
    shape = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape, pairs, strict=True))
    y = np.empty_like(x, shape=shape, subok=False)
    if mode == "constant":
        y[...] = value
    if min(map(min, pairs), default=0) < 0:
        for to, source in _combined(x.shape, pairs, mode):
            y[to] = x[source]
        return y
    y[middle(x.shape, pairs)] = x
    if mode != "constant":
        for copies in edges(y, x.shape, pairs, mode):
            for to, source in copies:
                to[...] = source
    return y


def pad_backward(grad: ndarray, shape: tuple[int, ...], pairs: Pairs, mode: str) -> ndarray:
    """The gradient of :func:`pad` to an input of ``shape``."""
    if min(map(min, pairs), default=0) < 0:
        gx = np.zeros_like(grad, shape=shape, subok=False)
        for to, source in _combined(shape, pairs, mode):
            add(gx[source], grad[to])
        return gx
    if mode != "constant":
        grad = grad.copy(order="K")
        for copies in reversed(list(edges(grad, shape, pairs, mode))):
            for to, source in copies:
                add(source, to)
    return grad[middle(shape, pairs)].copy(order="K")


def middle(shape: tuple[int, ...], pairs: Pairs) -> tuple[Any, ...]:
    """Where in the padded array the original lies."""
    # with an ellipsis, indexing an array without dimensions gives an array too
    return ..., *[slice(lo, lo + n) for n, (lo, _) in zip(shape, pairs, strict=True)]


def edges(y: ndarray, shape: tuple[int, ...], pairs: Pairs, mode: str) -> Iterator[list[tuple[ndarray, ndarray]]]:
    """The copies that fill a padded array around its middle, (to, from): those of the last axis, of the one before, and so on."""
    inner = y.strides.index(y.itemsize) if y.itemsize in y.strides else -1
    for region, rows, runs in _levels(shape, pairs, mode, inner, y.flags.c_contiguous and y.size > 0):
        part = y[region]
        if rows:
            part = part.reshape(rows)
        yield [(part[to], part[source]) for to, source in runs]


@lru_cache(256)
def _levels(shape: tuple[int, ...], pairs: Pairs, mode: str, inner: int, dense: bool) -> list[Any]:
    """For each padded axis, from the last one on: a region of the padded array, its shape as one of rows, and runs of it.

    The region leaves out the edges of the axes before. But where rows fill the memory, those of padded planes are in it, and all
    are one axis: NumPy then has one long loop for each column.
    """
    padded = [n + lo + hi for n, (lo, hi) in zip(shape, pairs, strict=True)]
    inside = middle(shape, pairs)[1:]
    levels: list[Any] = []
    for axis in reversed(range(len(shape))):
        n, (lo, hi) = shape[axis], pairs[axis]
        if lo == hi == 0:
            continue
        region, rows, at = inside[:axis], None, axis
        if dense and axis == len(shape) - 1 > 0:
            region, first = inside[: axis - 1], axis - 1
            while first > 0 and (first == axis - 1 or pairs[first] == (0, 0)):
                first -= 1
            rows = (*shape[:first], prod(shape[first : axis - 1]) * padded[axis - 1], padded[axis])
            at = first + 1
        before = (slice(None),) * at
        runs = [
            ((*before, to), (*before, source))
            for run in _edge_runs(n, lo, hi, mode)
            for to, source in _entries(*run, axis == inner)
        ]
        levels.append((region, rows, runs))
    return levels


def add(target: ndarray, part: ndarray) -> None:
    """Add ``part`` to ``target``, summed where several entries are copies of one."""
    repeated = tuple(axis for axis, (a, b) in enumerate(zip(part.shape, target.shape, strict=True)) if a != b)
    target += part.sum(repeated, keepdims=True, dtype=part.dtype) if repeated else part


def _entries(to: slice, source: slice, along: bool) -> list[Run]:
    """A run, entry by entry if it is short and goes along the memory: NumPy's inner loop is then the longer, other axis."""
    count = to.stop - to.start
    if not along or count > 8:
        return [(to, source)]
    step = 0 if source.step is None and source.stop - source.start == 1 else source.step or 1
    return [
        (slice(to.start + i, to.start + i + 1), slice(source.start + i * step, source.start + i * step + 1)) for i in range(count)
    ]


def _edge_runs(n: int, lo: int, hi: int, mode: str) -> list[Run]:
    """The edges of an axis of n entries, as runs of its middle."""
    end = lo + n
    before, after = slice(0, lo), slice(end, end + hi)
    if mode == "reflect":
        stop = end - 2 - hi
        runs = [(before, slice(2 * lo, lo, -1)), (after, slice(end - 2, stop if stop >= 0 else None, -1))]
    elif mode == "replicate":
        runs = [(before, slice(lo, lo + 1)), (after, slice(end - 1, end))]
    else:  # for constants it does not matter
        runs = [(before, slice(n, end)), (after, slice(lo, lo + hi))]
    return [run for run in runs if run[0].start < run[0].stop]


def _combined(shape: tuple[int, ...], pairs: Pairs, mode: str) -> list[tuple[Any, Any]]:
    """All combinations of the axes' runs, as pairs of indices (into the padded array, into the original)."""
    axes = [_axis_runs(n, lo, hi, mode) for n, (lo, hi) in zip(shape, pairs, strict=True)]
    return [((..., *[to for to, _ in runs]), (..., *[source for _, source in runs])) for runs in product(*axes)]


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
