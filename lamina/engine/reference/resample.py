"""Resampling of images and volumes: one linear map per spatial dimension, and the transpose of all of them.

Along one dimension every result is a weighted sum of a few elements, its *taps*; a :class:`Table` has their places and
weights. Results of several dimensions are those of one after the other. The transpose is a table too: of the results that an
element went into. So one loop serves forward and backward, every filter and every dtype.

An *axis* says how one dimension is resampled: ``(length, size, filter, corners, scale, double)``. ``filter`` is ``"nearest"``,
``"nearest-exact"``, ``"linear"``, ``"cubic"``, or one of the filters that widen to the distance of the results,
``"antialiased linear"``, ``"antialiased cubic"``, ``"antialiased lanczos"``. Elements and results are cells of equal extent,
with their first and last edges in one place or, with ``corners``, their first and last centres. Without ``corners`` a
``scale`` may take the place of size/length. Positions are computed in single precision unless ``double`` is set, because
PyTorch does so and a position may decide between two neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from lamina.engine.memory import empty

__all__ = ["resample", "resample_backward"]

ndarray = np.ndarray
Ints = tuple[int, ...]
Axis = tuple[int, int, str, bool, float | None, bool]

CHUNK = 1 << 17  # elements that are resampled at a time: what fits a core's cache, with what is computed on the way
NOTHING = np.empty(0, np.intp)


class Table(NamedTuple):
    """Result j is Σ_t weight[t, j] · x[place[t, j]], and zero for the j of ``nothing``; weights of None are all 1."""

    place: ndarray
    weight: ndarray | None
    nothing: ndarray
    copies: bool  # whether the results are the elements as they are


# -- tables --------------------------------------------------------------------------------------------------------


@lru_cache(256)
def table(axis: Axis) -> Table:
    """The taps of an axis."""
    length, size, kind, corners, scale, double = axis
    real: Any = np.float64 if double else np.float32
    if corners:
        step = real(length - 1) / real(size - 1) if size > 1 else real(0)
    else:
        step = real(1 / scale) if scale else real(length) / real(size)
    j = np.arange(size).astype(real)
    if kind.startswith("nearest"):
        return _once(_nearest(j, step, kind == "nearest-exact"), length)
    if length == size and kind != "cubic":
        return _once(np.arange(size), length)
    if kind.startswith("antialiased"):
        place, weight = _widened_filter(j, step, length, *FILTERS[kind.split()[1]])
        return _frozen(place, weight)
    # The product is rounded once, together with the difference, as in C with fused multiply-adds.
    exact = np.float64(step) * (j if corners else j + 0.5) - (0 if corners else 0.5)
    at = exact.astype(real)
    if kind == "linear":
        np.maximum(at, 0, out=at)
    first = np.minimum(np.floor(at).astype(np.intp), length - 1)
    part = np.clip(at - first.astype(real), 0, 1)
    if kind == "linear":
        return _frozen(np.stack([first, np.minimum(first + 1, length - 1)]), np.stack([1 - part, part]))
    offsets = np.arange(-1, 3)[:, None]
    return _frozen(np.clip(first + offsets, 0, length - 1), _cubic(part - offsets.astype(real), real(-0.75)))


def _nearest(j: ndarray, step: Any, exact: bool) -> ndarray:
    at = step * (j + j.dtype.type(0.5)) - j.dtype.type(0.5) + j.dtype.type(0.5) if exact else step * j
    return np.floor(at.astype(np.float32)).astype(np.intp)


def _once(place: ndarray, length: int) -> Table:
    place = np.minimum(place, length - 1)
    return Table(_read_only(place[None]), None, NOTHING, np.array_equal(place, np.arange(length)))


def _frozen(place: ndarray, weight: ndarray, nothing: Any = NOTHING) -> Table:
    return Table(_read_only(place), _read_only(weight), nothing, False)


def _read_only(a: ndarray) -> ndarray:
    a.flags.writeable = False
    return a


def _triangle(x: ndarray) -> ndarray:
    return np.maximum(1 - np.abs(x), 0)


def _cubic(x: ndarray, a: Any) -> ndarray:
    """Keys' cubic convolution filter; ``a`` is its slope at 1."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, x.dtype.type(0)))


def _lanczos(x: ndarray) -> ndarray:
    """A sine cardinal, windowed by the middle of one three times as wide."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0).astype(x.dtype)


# Filters that are widened, and how far they reach when they are not.
FILTERS: dict[str, tuple[Callable[[ndarray], ndarray], int]] = {
    "linear": (_triangle, 1), "cubic": (lambda x: _cubic(x, x.dtype.type(-0.5)), 2), "lanczos": (_lanczos, 3),
}  # fmt: skip


def _widened_filter(
    j: ndarray, step: Any, length: int, function: Callable[[ndarray], ndarray], reach: int
) -> tuple[ndarray, ndarray]:
    """Taps of a filter around every result's centre, as wide as the distance of results, with weights that sum to 1."""
    real = j.dtype.type
    wide = max(step, real(1))
    support, half = real(reach) * wide, real(0.5)
    centre = step * (j + half)
    low = np.maximum((centre - support + half).astype(np.intp), 0)
    high = np.minimum((centre + support + half).astype(np.intp), length)
    count = np.clip(high - low, 0, 2 * ceil(support) + 1)
    taps = np.arange(max(int(count.max(initial=1)), 1))[:, None]
    weight = function(((taps + low).astype(real) - centre + half) * (real(1) / wide))
    weight = np.where(taps < count, weight, real(0))
    total = weight.sum(0, real)
    weight /= np.where(total == 0, real(1), total)
    return low + np.minimum(taps, np.maximum(count - 1, 0)), weight  # a tap that does not count repeats the last


@lru_cache(256)
def transposed(axis: Axis) -> Table:
    """The transpose of an axis: the results that every element went into."""
    length, size = axis[:2]
    place, weight = table(axis)[:2]
    into = np.broadcast_to(np.arange(size), place.shape).ravel()
    share = np.ones(into.shape, np.float32) if weight is None else weight.ravel()
    source = place.ravel()
    used = share != 0
    if weight is not None and not axis[2].startswith("antialiased"):
        used[:] = True  # zero times infinity is NaN, in PyTorch as well
    into, share, source = into[used], share[used], source[used]
    order = np.argsort(source, kind="stable")
    into, share, source = into[order], share[order], source[order]
    count = np.bincount(source, minlength=length)
    tap = np.arange(len(source)) - (np.cumsum(count) - count)[source]
    most = max(int(count.max(initial=1)), 1)
    places = np.zeros((most, length), np.intp)
    places[tap, source] = into
    missing = np.arange(most)[:, None] >= count
    places = np.where(missing, places[0], places)
    if weight is None and not missing.any():
        return Table(_read_only(places), None, NOTHING, most == 1 and np.array_equal(places[0], np.arange(size)))
    shares = np.zeros((most, length), share.dtype)
    shares[tap, source] = share
    return _frozen(places, shares, np.flatnonzero(count == 0))


# -- kernels -------------------------------------------------------------------------------------------------------


def resample(x: ndarray, axes: tuple[Axis, ...]) -> ndarray:
    """``x`` (N, C, *spatial) with every spatial dimension resampled as its axis says."""
    size = tuple(axis[1] for axis in axes)
    if x.dtype == np.uint8 and any(not axis[2].startswith("nearest") for axis in axes):
        return _resample_bytes(x, [table(axis) for axis in axes], size)
    return _resample(x, [table(axis) for axis in axes], size)


def resample_backward(grad: ndarray, axes: tuple[Axis, ...]) -> ndarray:
    """The gradient of :func:`resample` to its input: its transpose."""
    return _resample(grad, [transposed(axis) for axis in axes], tuple(axis[0] for axis in axes))


def _resample(x: ndarray, tables: list[Table], size: Ints) -> ndarray:
    x, y, lanes, result = _lanes(x, size)
    real = np.float32 if x.dtype == np.float16 else x.dtype
    steps = [
        (axis, table.place, table.weight if table.weight is None else table.weight.astype(real, copy=False), table.nothing)
        for axis, table in enumerate(tables, 1)
        if not table.copies
    ]
    # What shrinks comes first, what grows last; rows are easier to pick than columns.
    steps.sort(key=lambda s: (_growth(lanes, size, s[0]), -s[0] if _growth(lanes, size, s[0]) > 1 else s[0]))
    for part in _chunks(len(lanes), max(lanes.size, result.size)):
        values = lanes[part].astype(real, copy=False)
        for step in steps:
            values = _along(values, *step)
        result[part] = values
    return y


def _growth(lanes: ndarray, size: Ints, axis: int) -> float:
    return size[axis - 1] / max(lanes.shape[axis], 1)


def _lanes(x: ndarray, size: Ints) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """An array and an empty result in the same order; then both as (lanes, *spatial[, channels]) as they lie in memory."""
    shape = (*x.shape[:2], *size)
    if not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous:
        y = empty(shape, x.dtype, channels_last=True)
        return x, y, np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1)
    x, y = np.ascontiguousarray(x), empty(shape, x.dtype)
    planes = prod(shape[:2])
    return x, y, x.reshape(planes, *x.shape[2:]), y.reshape(planes, *size)


def _chunks(lanes: int, elements: int) -> Iterator[slice]:
    step = max(1, CHUNK * lanes // max(elements, 1))
    return (slice(i, i + step) for i in range(0, lanes, step))


def _along(x: ndarray, axis: int, place: ndarray, weight: ndarray | None, nothing: ndarray) -> ndarray:
    """The weighted sums of taps along one axis."""
    column = (-1, *(1,) * (x.ndim - axis - 1))
    y = x.take(place[0], axis)
    if weight is not None:
        y *= weight[0].reshape(column)
    for t in range(1, len(place)):
        tap = x.take(place[t], axis)
        if weight is not None:
            tap *= weight[t].reshape(column)
        y += tap
    if nothing.size:
        y[(slice(None),) * axis + (nothing,)] = 0
    return y


# -- bytes ---------------------------------------------------------------------------------------------------------


def _resample_bytes(x: ndarray, tables: list[Table], size: Ints) -> ndarray:
    """Bytes are resampled in fixed-point numbers, the last dimension first, and rounded after every dimension, as in Pillow."""
    x, y, lanes, result = _lanes(x, size)
    steps = []
    for axis, table in enumerate(tables, 1):
        if table.weight is not None:
            steps.append((axis, table.place, *_fixed_point(table.place, table.weight)))
    for part in _chunks(len(lanes), max(lanes.size, result.size)):
        values = lanes[part]
        for axis, place, weight, bits in reversed(steps):
            total = _along(values.astype(np.int32), axis, place, weight, NOTHING)
            total += 1 << (bits - 1)
            total >>= bits
            values = np.clip(total, 0, 255).astype(np.uint8)
        result[part] = values
    return y


def _fixed_point(place: ndarray, weight: ndarray) -> tuple[ndarray, int]:
    """Weights as integers of at most 15 bits, those of one place added up before, and how many of their bits are a fraction."""
    total = weight.copy()
    again = place[1:] == place[:-1]  # beyond an edge, every tap is that edge
    for t, same in enumerate(again, 1):
        total[t] += np.where(same, total[t - 1], 0)
    largest, bits = total.max(initial=0), 0
    while bits < 22 and int(0.5 + largest * (1 << bits + 1)) < 1 << 15:
        bits += 1
    total[:-1][again] = 0
    return np.trunc(total * (1 << bits) + np.where(total < 0, -0.5, 0.5)).astype(np.int32), bits
