"""Resampling of images and volumes: one linear map per spatial dimension, and the transpose of all of them.

Along one dimension every result is a weighted sum of a few elements, its *taps*; a :class:`Table` has their places and
weights. Results of several dimensions are those of one after the other. The transpose is a table too: of the results that an
element went into. So one loop serves forward and backward, every filter and every dtype.

Where there are many taps, or none lie side by side, products with slices of the matrix that the table stands for are faster
than sums over taps (:func:`bands`). They multiply elements by zero that are not to count at all, so they need finite elements.

An *axis* says how one dimension is resampled: ``(length, size, filter, corners, scale, double)``. ``filter`` is ``"nearest"``,
``"nearest-exact"``, ``"linear"``, ``"cubic"``, or one of the filters that widen to the distance of the results,
``"antialiased linear"``, ``"antialiased cubic"``, ``"antialiased lanczos"``. Elements and results are cells of equal extent,
with their first and last edges in one place or, with ``corners``, their first and last centres. Without ``corners`` a
``scale`` may take the place of size/length. Positions are computed in single precision unless ``double`` is set, because
PyTorch does so and a position may decide between two neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from lamina.engine.blas import one_thread
from lamina.engine.memory import empty

__all__ = ["resample", "resample_backward"]

ndarray = np.ndarray
Ints = tuple[int, ...]
Axis = tuple[int, int, str, bool, float | None, bool]
Share = Callable[[Callable[[slice], None], int, int], None]
Bands = tuple[tuple[slice, slice, ndarray], ...]
Multiply = Callable[[ndarray, int, int, Bands, "ndarray | None"], ndarray]

WIDTH = 16  # results that a product gives
CHUNK = 1 << 17  # elements that are resampled at a time: what fits a core's cache, with what is computed on the way
F32 = np.dtype(np.float32)
NOTHING = np.empty(0, np.intp)


class Table(NamedTuple):
    """Result j is Σ_t weight[t, j] · x[place[t, j]], and zero for the j of ``nothing``; weights of None are all 1."""

    place: ndarray
    weight: ndarray | None
    nothing: ndarray
    times: int = 0  # if every element is repeated so many times, in order


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
    return Table(_read_only(place[None]), None, NOTHING, _times(place, length))


def _times(place: ndarray, length: int) -> int:
    times, rest = divmod(len(place), length)
    return times if not rest and np.array_equal(place, np.arange(len(place)) // times) else 0


def _frozen(place: ndarray, weight: ndarray, nothing: Any = NOTHING) -> Table:
    return Table(_read_only(place), _read_only(weight), nothing)


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
    if weight is None and (most == 1 or not missing.any()):
        nothing = np.flatnonzero(count == 0)
        times = _times(places[0], size) if most == 1 and not nothing.size else 0
        return Table(_read_only(places), None, nothing, times)
    shares = np.zeros((most, length), share.dtype)
    shares[tap, source] = share
    return _frozen(places, shares, np.flatnonzero(count == 0))




@lru_cache(256)
def bands(axis: Axis, backward: bool, real: Any) -> Bands:
    """Slices of elements, slices of results, and the part of the matrix (elements, results) between them."""
    place, weight, nothing, _ = transposed(axis) if backward else table(axis)
    size = axis[0] if backward else axis[1]
    found = []
    for start in range(0, size, WIDTH):
        to = slice(start, min(start + WIDTH, size))
        at = place[:, to]
        low, high = int(at.min()), int(at.max()) + 1
        part = np.zeros((high - low, to.stop - start), real)
        np.add.at(part, (at - low, np.arange(to.stop - start)), 1 if weight is None else weight[:, to].astype(real))
        part[:, nothing[(nothing >= start) & (nothing < to.stop)] - start] = 0
        found.append((slice(low, high), to, _read_only(part)))
    return tuple(found)


# -- kernels -------------------------------------------------------------------------------------------------------


def _each(work: Callable[[slice], None], lanes: int, elements: int) -> None:
    for part in chunks(lanes, elements, CHUNK):
        work(part)


def resample(x: ndarray, axes: tuple[Axis, ...], share: Share = _each, multiply: Multiply | None = None) -> ndarray:
    """``x`` (N, C, *spatial) with every spatial dimension resampled as its axis says.

    ``share(work, lanes, elements)`` calls ``work`` with every part of the planes, and may do so on several threads.
    ``multiply`` takes the place of :func:`_multiplied`, and is quicker than taps.
    """
    if x.dtype == np.uint8 and any(not axis[2].startswith("nearest") for axis in axes):
        return _resample_bytes(x, axes, share)
    return _resample(x, axes, False, share, multiply)


def resample_backward(
    grad: ndarray, axes: tuple[Axis, ...], share: Share = _each, multiply: Multiply | None = None
) -> ndarray:
    """The gradient of :func:`resample` to its input: its transpose."""
    return _resample(grad, axes, True, share, multiply)


class _Step(NamedTuple):
    """One dimension's part of a resampling: the axis of the lanes, the taps there, and products that do the same."""

    axis: int
    size: int
    taps: Table
    products: Bands | None


@lru_cache(256)
def _steps(axes: tuple[Axis, ...], backward: bool, real: Any, channels_last: bool, many: int) -> list[_Step]:
    """What is to be done for lanes (·, *spatial[, channels]), in the order that moves the least.

    Products are quicker than so ``many`` taps, and than two of a row. What shrinks comes first, what grows last; rows are
    easier to pick than columns.
    """
    found = []
    for i, axis in enumerate(axes):
        length, size = axis[1::-1] if backward else axis[:2]
        taps = transposed(axis) if backward else table(axis)
        if taps.times == 1:
            continue
        columns = i == len(axes) - 1 and not channels_last
        products = bands(axis, backward, real) if real.kind == "f" and len(taps.place) >= (2 if columns else many) else None
        if taps.weight is not None:
            taps = taps._replace(weight=taps.weight.astype(real, copy=False))
        order = size / length, -i if size > length else i
        found.append((order, _Step(i + 1, size, taps, products)))
    return [step for _, step in sorted(found, key=lambda pair: pair[0])]


def _resample(x: ndarray, axes: tuple[Axis, ...], backward: bool, share: Share, multiply: Multiply | None) -> ndarray:
    x, y, lanes, result = _lanes(x, tuple(axis[0] if backward else axis[1] for axis in axes))
    real = F32 if x.dtype == np.float16 else x.dtype
    steps = _steps(axes, backward, real, lanes.ndim > len(axes) + 1, 4 if multiply is None else 2)
    multiply = multiply or _multiplied
    last = steps[-1] if steps and result.dtype == real else None  # what it computes goes where it belongs
    product = any(step.products for step in steps)

    def work(part: slice) -> None:
        values = lanes[part].astype(real, copy=False)
        finite = product and np.isfinite(np.add.reduce(values, axis=None))
        for step in steps:
            out = result[part] if step is last else None
            if finite and step.products:
                values = multiply(values, step.axis, step.size, step.products, out)
            else:
                values = _along(values, step.axis, step.taps, out)
        if last is None:
            result[part] = values

    share(work, len(lanes), max(lanes.size, result.size))
    return y


def _lanes(x: ndarray, size: Ints) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """An array and an empty result in the same order; then both as (lanes, *spatial[, channels]) as they lie in memory."""
    shape = (*x.shape[:2], *size)
    if not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous:
        y = empty(shape, x.dtype, channels_last=True)
        return x, y, np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1)
    x, y = np.ascontiguousarray(x), empty(shape, x.dtype)
    planes = prod(shape[:2])
    return x, y, x.reshape(planes, *x.shape[2:]), y.reshape(planes, *size)


def chunks(lanes: int, elements: int, chunk: int) -> list[slice]:
    """All lanes, which have so many elements together, in parts of about ``chunk`` elements."""
    step = max(1, chunk * lanes // max(elements, 1))
    return [slice(i, i + step) for i in range(0, lanes, step)]


def _along(x: ndarray, axis: int, taps: Table, out: ndarray | None = None) -> ndarray:
    """The weighted sums of taps along one axis."""
    place, weight, nothing, times = taps
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if times:
        y = np.empty((*before, place.shape[1], *after), x.dtype) if out is None else out
        copies = y.reshape(*x.shape[: axis + 1], times, *after)
        for i in range(times):
            copies[(slice(None),) * (axis + 1) + (i,)] = x
        return y
    column = (-1, *(1,) * len(after))
    y = np.take(x, place[0], axis, out, "clip")  # in other modes it would fill a copy of ``out`` first
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


def matrices(x: ndarray, axis: int, size: int, products: Bands, out: ndarray) -> list[tuple[ndarray, ndarray, ndarray]]:
    """The products that make ``out`` of x along one axis: their factors, and where they belong."""
    rest = x.shape[axis + 1 :]
    if not rest:  # the rows of the last axis are one matrix, others one per lane
        given, y = x.reshape(-1, x.shape[axis]), out.reshape(-1, size)
        return [(given[:, source], part, y[:, to]) for source, to, part in products]
    lanes = prod(x.shape[:axis]), -1, prod(rest)
    given, y = x.reshape(lanes), out.reshape(lanes)
    return [(part.T[None], given[:, source], y[:, to]) for source, to, part in products]


def _multiplied(x: ndarray, axis: int, size: int, products: Bands, out: ndarray | None) -> ndarray:
    """The same by products with parts of a matrix."""
    if out is None:
        out = np.empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    with one_thread():
        for a, b, y in matrices(x, axis, size, products, out):
            np.matmul(a, b, out=y)
    return out


# -- bytes ---------------------------------------------------------------------------------------------------------


def _resample_bytes(x: ndarray, axes: tuple[Axis, ...], share: Share) -> ndarray:
    """Bytes are resampled in fixed-point numbers, the last dimension first, and rounded after every dimension, as in Pillow."""
    x, y, lanes, result = _lanes(x, tuple(axis[1] for axis in axes))
    steps = []
    for i, axis in enumerate(axes, 1):
        place, weight = table(axis)[:2]
        if weight is not None:
            steps.append((i, place, *_fixed_point(place, weight)))

    def work(part: slice) -> None:
        values = lanes[part]
        for axis, place, weight, bits in reversed(steps):
            total = _along(values.astype(np.int32), axis, Table(place, weight, NOTHING))
            total += 1 << (bits - 1)
            total >>= bits
            values = np.clip(total, 0, 255).astype(np.uint8)
        result[part] = values

    share(work, len(lanes), max(lanes.size, result.size))
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
