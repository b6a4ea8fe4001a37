"""Pooling in n dimensions.

A *regular* window is given by ``kernel``, ``stride``, ``padding`` and ``dilation``, one int per spatial dimension: window i of a
dimension looks at the places ``i·stride − padding + t·dilation`` for the taps t = 0 … kernel − 1, as far as they lie inside the
input; ``size`` is the number of windows. Sums and maxima of boxes are taken one dimension after the other.

Which element a maximum came from is remembered as its *tap*: the position within the window, counted in row-major order, in one
byte. A window without any element has the tap that follows the last one.

The windows of adaptive and of fractional pooling differ from place to place; there the choice is remembered as PyTorch gives it,
as the flat index of the element in its plane.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any

import numpy as np

from lamina.engine.memory import empty

__all__ = [
    "max_pool", "max_pool_taps", "max_pool_indices", "max_pool_backward", "max_pool_select", "avg_pool", "avg_pool_backward",
    "adaptive_avg_pool", "adaptive_avg_pool_backward", "adaptive_max_pool", "fractional_max_pool", "plane_gather", "plane_add",
    "plane_put",
]  # fmt: skip

ndarray = np.ndarray
Ints = tuple[int, ...]
ALL = slice(None)

# -- regular windows -----------------------------------------------------------------------------------------------


@lru_cache(4096)
def _taps(length: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[tuple[slice, slice], ...]:
    """Per tap of a dimension: the windows where it lies inside the input, and the places where it lies then."""
    found = []
    for tap in range(kernel):
        offset = tap * dilation - padding
        low = max(-(offset // stride), 0)
        high = min((length - 1 - offset) // stride + 1, size)
        if low < high:
            found.append((slice(low, high), slice(offset + low * stride, offset + (high - 1) * stride + 1, stride)))
        else:
            found.append((slice(0, 0), slice(0, 0)))
    return tuple(found)


@lru_cache(1024)
def _grid(
    spatial: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[tuple[tuple[Any, ...], tuple[Any, ...]], ...]:
    """The same for the taps of all dimensions together, in row-major order, as indices into (N, C, *spatial)."""
    per_dim = [_taps(*of_dim) for of_dim in zip(spatial, size, kernel, stride, padding, dilation, strict=True)]
    return tuple(
        ((ALL, ALL, *(windows for windows, _ in taps)), (ALL, ALL, *(places for _, places in taps)))
        for taps in product(*per_dim)
    )


@lru_cache(4096)
def _recipe(
    axis: int, length: int, size: int, kernel: int, stride: int, padding: int, dilation: int
) -> tuple[Any, ...]:
    """How the windows of one dimension are folded: the taps that serve every window come first, then the others."""
    lead = (ALL,) * axis
    if size == 1 and kernel > 4:
        last = min((kernel - 1) * dilation - padding, length - 1)
        return "reduce", axis, (*lead, slice(-padding % dilation, last + 1, dilation))
    taps = [t for t in _taps(length, size, kernel, stride, padding, dilation) if t[0].stop > t[0].start]
    pairs = kernel == stride == 2 and length == 2 * size and not padding and dilation == 1
    taps.sort(key=lambda t: t[0].start - t[0].stop)
    whole = min(sum(t[0].stop - t[0].start == size for t in taps), 2)
    at = [((*lead, windows), (*lead, places)) for windows, places in taps]
    return "fold", axis, size, pairs, [places for _, places in at[:whole]], at[whole:]


@lru_cache(1024)
def _recipes(
    spatial: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[int, tuple[tuple[Any, ...], ...]]:
    """Of a pooling: the size of the windows if they are blocks (see :func:`block_size`), and the recipes of its dimensions."""
    return block_size(spatial, kernel, stride, padding, dilation), tuple(
        _recipe(axis, *of_dim)
        for axis, of_dim in enumerate(zip(spatial, size, kernel, stride, padding, dilation, strict=True), 2)
    )


@lru_cache(1024)
def block_size(spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> int:
    """How many elements a window has, if the windows of a plain array are blocks that follow each other in memory; else 0.

    Blocks of fewer than 8 elements are folded faster.
    """
    follow = kernel == stride and kernel[1:] == spatial[1:] and spatial[0] % kernel[0] == 0
    block = follow and not any(padding) and max(dilation) == 1
    return prod(kernel) if block and prod(kernel) >= 8 else 0


def _fold(combine: np.ufunc, x: ndarray, recipe: tuple[Any, ...], empty: Any) -> ndarray:
    """A new array with entry i along one dimension the elements of window i combined; ``empty`` where there are none."""
    kind, axis, *how = recipe
    if kind == "reduce":
        return combine.reduce(x[how[0]], axis, x.dtype, keepdims=True)
    size, pairs, whole, rest = how
    if pairs and axis == x.ndim - 1 and x.flags.c_contiguous:
        flat = x.reshape(-1)  # to combine all neighbours and drop every other result is the faster way
        return combine(flat[:-1], flat[1:])[::2].copy().reshape((*x.shape[:axis], size))
    if len(whole) == 2:
        y = combine(x[whole[0]], x[whole[1]])
    elif whole:
        y = x[whole[0]].copy(order="K")
    else:
        y = np.full_like(x, empty, shape=(*x.shape[:axis], size, *x.shape[axis + 1 :]))
    for windows, places in rest:
        part = y[windows]
        combine(part, x[places], out=part)
    return y


def max_pool(x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints) -> ndarray:
    """The largest element of every window; NaN if there is one."""
    block, recipes = _recipes(x.shape[2:], size, kernel, stride, padding, dilation)
    if block and x.flags.c_contiguous:
        blocks = x.reshape(-1, block)  # argmax is faster than max up to some hundred elements
        y = blocks.max(1) if block > 512 else blocks[np.arange(len(blocks)), blocks.argmax(1)]
        return y.reshape((*x.shape[:2], *size))
    empty = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    for recipe in recipes:
        x = _fold(np.maximum, x, recipe, empty)
    return x


def max_pool_taps(
    x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints
) -> tuple[ndarray, ndarray]:
    """The largest element of every window and its tap: that of the first of equals, of the last NaN."""
    kind = taps_dtype(kernel, dilation)
    block = block_size(x.shape[2:], kernel, stride, padding, dilation)
    if block:
        blocks = np.ascontiguousarray(x).reshape(-1, block)
        taps = blocks.argmax(1)
        y = blocks[np.arange(len(blocks)), taps]
        if x.dtype.kind != "f" or not np.isnan(y).any():
            shape = *x.shape[:2], *size
            return y.reshape(shape), taps.astype(kind).reshape(shape)
    y = max_pool(x, kernel, stride, padding, dilation, size)
    grid = _grid(x.shape[2:], size, kernel, stride, padding, dilation)
    missing, taps = np.ones_like(y, np.bool_), np.zeros_like(y, kind)
    for windows, places in grid:
        part = missing[windows]
        part &= x[places] != y[windows]
        taps += missing
    if y.dtype.kind == "f" and missing.any():
        for tap, (windows, places) in enumerate(grid):
            np.copyto(taps[windows], tap, where=np.isnan(x[places]), casting="unsafe")
    return y, taps


def taps_dtype(kernel: Ints, dilation: Ints) -> Any:
    """One byte if it can tell all taps apart; a window can be empty, which takes one more, only if it is dilated."""
    return np.uint8 if prod(kernel) + (max(dilation) > 1) <= 256 else np.int32


@lru_cache(32)  # the tables are as large as a plane
def _tables(size: Ints, spatial: Ints, window: tuple[Ints, ...]) -> tuple[ndarray, ndarray, ndarray]:
    """Flat indices in a plane: of each tap within a window, of where each window begins, and of PyTorch's name for an empty one.

    PyTorch gives an empty window the place of its first tap that is not before the input.
    """
    kernel, stride, padding, dilation = window
    rows = [prod(spatial[d + 1 :]) for d in range(len(spatial))]
    starts = [np.arange(n) * s - p for n, s, p in zip(size, stride, padding, strict=True)]
    within = _outer_sum([np.arange(t) * d * row for t, d, row in zip(kernel, dilation, rows, strict=True)])
    begins = _outer_sum([start * row for start, row in zip(starts, rows, strict=True)])
    empty = _outer_sum([np.where(s < 0, s % d, s) * row for s, d, row in zip(starts, dilation, rows, strict=True)])
    return np.append(within.ravel(), 0), begins, empty


def _outer_sum(vectors: Sequence[ndarray]) -> ndarray:
    """The array whose entry (i, j, …) is the sum of the vectors' entries i, j, …"""
    total = vectors[0]
    for vector in vectors[1:]:
        total = np.add.outer(total, vector)
    return total


def max_pool_indices(
    taps: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> ndarray:
    """The flat index within its plane of the element at every tap."""
    within, begins, empty = _tables(taps.shape[2:], spatial, (kernel, stride, padding, dilation))
    indices = within.take(taps)
    indices += begins
    if max(dilation) > 1:
        np.copyto(indices, empty, where=taps == len(within) - 1)
    return indices


def _memory_order(a: ndarray, channels_last: bool) -> ndarray:
    """A view of ``a`` (N, C, *spatial) with its dimensions in the order in which they lie."""
    return np.moveaxis(a, 1, -1) if channels_last else a


def _is_channels_last(a: ndarray) -> bool:
    return not a.flags.c_contiguous and np.moveaxis(a, 1, -1).flags.c_contiguous


def _chosen(taps: ndarray, spatial: Ints, window: tuple[Ints, ...], channels_last: bool) -> tuple[ndarray, Any]:
    """The flat index, in an array that lies like ``taps``, of the element at every tap; and where a tap is of no element."""
    within, begins, _ = _tables(taps.shape[2:], spatial, window)
    n, c, *size = taps.shape
    plane = prod(spatial)
    if channels_last:
        at = (within * c).take(np.moveaxis(taps, 1, -1).reshape(n, prod(size), c))
        at += (begins * c).reshape(-1, 1)
        at += np.arange(n).reshape(n, 1, 1) * (plane * c) + np.arange(c)
        nothing = max(window[3]) > 1 and np.moveaxis(taps, 1, -1).ravel() == len(within) - 1
    else:
        at = within.take(taps.reshape(n * c, prod(size)))
        at += begins.ravel()
        at += np.arange(n * c).reshape(-1, 1) * plane
        nothing = max(window[3]) > 1 and taps.ravel() == len(within) - 1
    return at.ravel(), nothing


def max_pool_backward(
    grad: ndarray, taps: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> ndarray:
    """The gradient of :func:`max_pool` to its input of size ``spatial``: every window's gradient goes to its tap."""
    last, g = _is_channels_last(taps), _widened(grad)
    gx = zeros((*grad.shape[:2], *spatial), g.dtype, last)
    at, nothing = _chosen(taps, spatial, (kernel, stride, padding, dilation), last)
    g = _memory_order(g, last).ravel()
    if nothing is not False and nothing.any():
        at, g = at[~nothing], g[~nothing]
    np.add.at(_memory_order(gx, last).reshape(-1), at, g)
    return gx.astype(grad.dtype, copy=False)


def max_pool_select(
    x: ndarray, taps: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> ndarray:
    """The element at every window's tap, 0 where there is none; the transpose of :func:`max_pool_backward`."""
    at, nothing = _chosen(taps, x.shape[2:], (kernel, stride, padding, dilation), False)
    y = x.ravel().take(at, mode="clip")
    if nothing is not False:
        y[nothing] = 0
    return y.reshape(taps.shape)


def zeros(shape: Ints, dtype: Any, channels_last: bool = False) -> ndarray:
    """An array of zeros (N, C, *spatial), in memory that may have been used before."""
    a = empty(shape, dtype, channels_last)
    a.fill(0)
    return a


def avg_pool(
    x: ndarray, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool, divisor: int | None
) -> ndarray:
    """The sum of every window divided by ``divisor``, or by the number of its elements, with or without the padding."""
    y = _widened(x)
    block, recipes = _recipes(x.shape[2:], size, kernel, stride, padding, (1,) * len(size))
    if block and y.flags.c_contiguous:
        y = y.reshape(-1, block).sum(1, y.dtype).reshape((*x.shape[:2], *size))
    else:
        for recipe in recipes:
            y = _fold(np.add, y, recipe, 0)
    return _divide(y, divisor or window_counts(x.shape[2:], size, kernel, stride, padding, include)).astype(x.dtype, copy=False)


def avg_pool_backward(
    grad: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, include: bool, divisor: int | None,
    channels_last: bool = False,
) -> ndarray:  # fmt: skip
    """The gradient of :func:`avg_pool` to its input of size ``spatial``: every window spreads its share.

    ``channels_last`` says how the input lay, and so how the gradient lies best.
    """
    size = grad.shape[2:]
    block = 0 if channels_last else block_size(spatial, kernel, stride, padding, (1,) * len(size))
    if block:
        gx = empty((*grad.shape[:2], *spatial), grad.dtype)
        gx.reshape(-1, block)[...] = _divide(_widened(grad).copy(order="C"), divisor or block).reshape(-1, 1)
        return gx
    g = _divide(_widened(grad).copy(order="K"), divisor or window_counts(spatial, size, kernel, stride, padding, include))
    for axis in reversed(range(2, grad.ndim)):
        d, lead = axis - 2, (ALL,) * axis
        share, g = g, np.zeros_like(g, shape=(*g.shape[:axis], spatial[d], *g.shape[axis + 1 :]))
        for windows, places in _taps(spatial[d], size[d], kernel[d], stride[d], padding[d], 1):
            g[(*lead, places)] += share[(*lead, windows)]
    return g.astype(grad.dtype, copy=False)


@lru_cache(32)
def window_counts(spatial: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints, include: bool) -> Any:
    """How many elements every window has; one number if all have the same. Padding counts as far as it was asked for."""
    counts = []
    for length, n, k, s, p in zip(spatial, size, kernel, stride, padding, strict=True):
        start = np.arange(n) * s - p
        low, high = (start, length + p) if include else (np.maximum(start, 0), length)
        counts.append(np.maximum(np.minimum(start + k, high) - low, 1))
    if all((c == c[0]).all() for c in counts):
        return prod(int(c[0]) for c in counts)
    total = counts[0]
    for c in counts[1:]:
        total = np.multiply.outer(total, c)
    total.flags.writeable = False
    return total


def _widened(x: ndarray) -> ndarray:
    """Half precision is summed in single precision and rounded once."""
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _divide(y: ndarray, count: Any) -> ndarray:
    """``y / count`` in place; integers are rounded towards zero, as in C."""
    if type(count) is int and count == 1:
        return y
    if y.dtype.kind == "f":
        return np.divide(y, count if type(count) is int else count.astype(y.dtype), out=y)
    quotient = np.abs(y) // np.abs(count)
    return np.where((y < 0) == (np.asarray(count) < 0), quotient, -quotient)


# -- adaptive windows ----------------------------------------------------------------------------------------------


@lru_cache(1024)
def _bounds(length: int, size: int) -> tuple[ndarray, ndarray]:
    """Where window i of ``size`` windows over ``length`` places begins and ends: ⌊i·length/size⌋, ⌈(i + 1)·length/size⌉."""
    i = np.arange(size)
    return i * length // size, -((-(i + 1) * length) // size)


def _adaptive_sum(x: ndarray, size: Ints) -> ndarray:
    """The sums of adaptive windows. Its transpose is itself with the sizes of input and output exchanged."""
    for axis, n in enumerate(size, 2):
        length, lead = x.shape[axis], (ALL,) * axis
        if n and length % n == 0:
            step = length // n
            x = _fold(np.add, x, _recipe(axis, length, n, step, step, 0, 1), 0)
            continue
        starts, ends = _bounds(length, n)
        at: Any = (*lead, starts)
        total = x[at]
        for t in range(1, int((ends - starts).max(initial=1))):
            windows = np.flatnonzero(starts + t < ends)
            at = (*lead, starts[windows] + t)
            total[(*lead, windows)] += x[at]
        x = total
    return x


@lru_cache(32)
def _adaptive_counts(spatial: Ints, size: Ints) -> Any:
    if all(n and length % n == 0 for length, n in zip(spatial, size, strict=True)):
        return prod(length // n for length, n in zip(spatial, size, strict=True))
    total = np.ones((), np.int64)
    for length, n in zip(spatial, size, strict=True):
        starts, ends = _bounds(length, n)
        total = np.multiply.outer(total, ends - starts)
    return total


def adaptive_avg_pool(x: ndarray, size: Ints) -> ndarray:
    """The mean of every adaptive window."""
    return _divide(_adaptive_sum(_widened(x), size), _adaptive_counts(x.shape[2:], size)).astype(x.dtype, copy=False)


def adaptive_avg_pool_backward(grad: ndarray, spatial: Ints) -> ndarray:
    """The gradient of :func:`adaptive_avg_pool` to its input of size ``spatial``."""
    share = _divide(_widened(grad).copy(order="K"), _adaptive_counts(spatial, grad.shape[2:]))
    return _adaptive_sum(share, spatial).astype(grad.dtype, copy=False)


def adaptive_max_pool(x: ndarray, size: Ints, with_indices: bool) -> tuple[ndarray, ndarray | None]:
    """The largest element of every adaptive window and, if asked for, its flat index."""
    places = []
    for length, n in zip(x.shape[2:], size, strict=True):
        starts, ends = _bounds(length, n)
        taps = np.arange((ends - starts).max(initial=1))[:, None]
        places.append(np.minimum(starts + taps, ends - 1))  # to look at the last element twice changes nothing
    if with_indices:
        return _largest(x, places)
    for axis, taps in enumerate(places, 2):
        lead = (ALL,) * axis
        y = x[(*lead, taps[0])]
        for at in taps[1:]:
            np.maximum(y, x[(*lead, at)], out=y)
        x = y
    return x, None


def _largest(x: ndarray, places: Sequence[ndarray]) -> tuple[ndarray, ndarray]:
    """The largest element of every window and its flat index in the plane; ``places[d][t]`` are the windows' places at tap t.

    The last dimension comes first: so the first of equals in row-major order stays, and the last NaN.
    """
    y, row = x, 1
    index: Any = None
    for d in reversed(range(len(places))):
        axis, best = d + 2, None
        for at in places[d]:
            pick = (*(ALL,) * axis, at)
            value, where = y[pick], (at * row).reshape(-1, *(1,) * (y.ndim - axis - 1))
            where = np.broadcast_to(where, value.shape) if index is None else index[pick] + where
            if best is None:
                best, found = value, where.copy()
            else:
                better = (value > best) | (value != value)
                best, found = np.where(better, value, best), np.where(better, where, found)
        assert best is not None
        y, index, row = best, found, row * x.shape[axis]
    return y, index


# -- fractional windows --------------------------------------------------------------------------------------------


def fractional_max_pool(
    x: ndarray, samples: ndarray, kernel: Ints, size: Ints, with_indices: bool
) -> tuple[ndarray, ndarray | None]:
    """The largest element of every window and, if asked for, its flat index, the windows at pseudo-random places.

    ``samples`` (N, C, ndim) holds the number u in [0, 1) of every plane and dimension: window i begins at
    ⌊(i + u)·α⌋ − ⌊u·α⌋ with α = (length − kernel)/(size − 1), and the last one ends with the input.
    """
    begins: Any = 0
    for d, (length, n, k) in enumerate(zip(x.shape[2:], size, kernel, strict=True)):
        u = samples[:, :, d, None]
        alpha = u.dtype.type(length - k) / u.dtype.type(max(n - 1, 1))
        starts = ((np.arange(n, dtype=u.dtype) + u) * alpha).astype(np.int64)
        starts -= starts[..., :1].copy()
        starts[..., -1:] = length - k
        starts *= prod(x.shape[3 + d :])
        begins = begins + starts.reshape(*u.shape[:2], *(n if e == d else 1 for e in range(len(size))))
    return _largest_at(x, begins, *_offsets(x.shape[2:], kernel), with_indices)


@lru_cache(256)
def _offsets(spatial: Ints, kernel: Ints) -> tuple[list[int], ndarray]:
    """The flat index of every tap relative to the first: as a list and as an array."""
    rows = [prod(spatial[d + 1 :]) for d in range(len(spatial))]
    offsets = _outer_sum([np.arange(t) * row for t, row in zip(kernel, rows, strict=True)]).ravel()
    return offsets.tolist(), offsets


def _largest_at(
    x: ndarray, begins: ndarray, offsets: list[int], table: ndarray, with_indices: bool
) -> tuple[ndarray, ndarray | None]:
    """The largest of the elements at ``begins`` (N, C, *size) + each offset in their plane, and its flat index."""
    flat, at = x.ravel(), _flat(begins, prod(x.shape[2:]))
    values = [flat[offset:].take(at) for offset in offsets]
    y = values[0].copy()
    for value in values[1:]:
        np.maximum(y, value, out=y)
    if not with_indices:
        return y.reshape(begins.shape), None
    missing = values[0] != y
    taps = missing.astype(np.uint8 if len(values) < 256 else np.int32)
    for value in values[1:]:
        missing &= value != y
        taps += missing
    if missing.any():  # nothing equals NaN
        for tap, value in enumerate(values):
            taps[np.isnan(value)] = tap
    indices = table.take(taps).reshape(begins.shape)
    indices += begins
    return y.reshape(begins.shape), indices


# -- elements of planes by their flat index ------------------------------------------------------------------------


def _flat(indices: ndarray, plane: int) -> ndarray:
    """Flat indices within planes (N, C, …) as flat indices within the whole array."""
    planes = prod(indices.shape[:2])
    return (indices.reshape(planes, prod(indices.shape[2:])) + np.arange(planes)[:, None] * plane).ravel()


def plane_gather(x: ndarray, indices: ndarray, out: ndarray | None = None) -> ndarray:
    """The element of x (N, C, …) at every flat index (N, C, …) within its plane."""
    y = np.empty(indices.shape, x.dtype) if out is None else out
    return x.ravel().take(_flat(indices, prod(x.shape[2:])).reshape(indices.shape), None, y, "clip")


def plane_add(values: ndarray, indices: ndarray, spatial: Ints, out: ndarray | None = None) -> ndarray:
    """Planes of size ``spatial``, zero but for the values at their indices; values at one index add up."""
    g = _widened(values)
    planes = _zeros(out, (*values.shape[:2], *spatial), g.dtype)
    np.add.at(planes.reshape(-1), _flat(indices, prod(spatial)), g.ravel())
    return planes.astype(values.dtype, copy=False)


def plane_put(values: ndarray, indices: ndarray, spatial: Ints, out: ndarray | None = None) -> ndarray:
    """Planes of size ``spatial``, zero but for the values at their indices; of values at one index the last one stays."""
    planes = _zeros(out, (*values.shape[:2], *spatial), values.dtype)
    planes.reshape(-1)[_flat(indices, prod(spatial))] = values.ravel()
    return planes


def _zeros(out: ndarray | None, shape: Ints, dtype: Any) -> ndarray:
    if out is None:
        return zeros(shape, dtype)
    out.fill(0)
    return out
