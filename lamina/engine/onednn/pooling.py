"""Pooling on oneDNN, channels-last: on plain arrays it has a loop that takes forty times as long.

Pooling treats every plane (n, c) alike. So a plain array is handed over as N·C/16 samples of 16 channels, which can be brought
into channels-last order three times as fast as N samples of C channels; its result is plain again. An array that lies
channels-last is taken as it is, and so is its result.

oneDNN's maximum passes NaN over, and gives the least finite number for a window of −inf alone. Both are looked for, at a
fraction of the pooling's cost, and then the reference kernel serves. Its workspace holds what the reference calls taps.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty
from lamina.engine.reference.pooling import block_size

from . import abi
from .core import (
    F32,
    Plan,
    attributes,
    c_strides,
    channels_last_desc,
    channels_last_strides,
    plain_desc,
    plan,
    plans,
    primitive,
    reorder_plan,
    strided_desc,
)
from .core import channels_last as to_channels_last

ndarray = np.ndarray
Ints = tuple[int, ...]
LOWEST = np.finfo(np.float32).min
Window = tuple[Ints, Ints, Ints]  # kernel, stride, padding

# -- layout --------------------------------------------------------------------------------------------------------


class _Way:
    """How an array (N, C, *spatial) comes to lie channels-last: as ``shape``, by ``move`` unless it does so already."""

    __slots__ = ("shape", "move", "plain", "copy")

    def __init__(self, shape: Ints, move: Plan | None, plain: bool, copy: bool = False) -> None:
        self.shape, self.move, self.plain, self.copy = shape, move, plain, copy

    def __call__(self, x: ndarray) -> ndarray:
        if self.move is None:
            return x
        if self.copy:
            x = np.ascontiguousarray(x)
        lies = empty(self.shape, F32, channels_last=True)
        self.move.run(x, lies)
        return lies


def _way(shape: Ints, byte_strides: Ints, plain: bool | None = None) -> _Way:
    """The way of an array; ``plain`` decides about one that lies both plain and channels-last (otherwise it is plain)."""
    strides = tuple(s // 4 for s in byte_strides)
    last, first = (
        all(n == 1 or s == w for n, s, w in zip(shape, strides, order(shape), strict=True))
        for order in (channels_last_strides, c_strides)
    )
    if last and not (first if plain is None else plain):
        return _Way(shape, None, False)
    copy = any(s % 4 for s in byte_strides) or not _is_nested(shape, strides)
    (n, c, *spatial), (by_n, by_c, *steps) = shape, c_strides(shape) if copy else strides
    if c == 1:
        by_c = by_n
    elif n > 1 and by_n != c * by_c:  # the planes do not follow each other at one distance
        return _Way(shape, reorder_plan(strided_desc(shape, strides), channels_last_desc(shape)), False)
    split = _split(n * c)
    seen = (*split, *spatial)
    source = strided_desc(seen, (split[1] * by_c, by_c, *steps))
    return _Way(seen, reorder_plan(source, channels_last_desc(seen)), True, copy)


def _is_nested(shape: Ints, strides: Ints) -> bool:
    """Whether the elements of every dimension lie within one step of the next: what oneDNN asks of strides."""
    reach = 1
    for stride, n in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride < reach:
            return False
        reach = stride * n
    return True


def _split(planes: int) -> tuple[int, int]:
    """Planes as samples and channels."""
    for channels in (16, 8):
        if planes % channels == 0:
            return planes // channels, channels
    return 1, planes



# -- primitives ----------------------------------------------------------------------------------------------------


def _after(spatial: Ints, size: Ints, window: Window) -> Ints:
    """The padding behind each dimension that makes the windows ``size`` many."""
    return tuple(
        max((n - 1) * s + k - length - p, 0) for length, n, k, s, p in zip(spatial, size, *window, strict=True)
    )


def _forward(
    training: bool, alg: int, shape: Ints, size: Ints, window: Window, scale: float = 1.0, layouts: Any = None
) -> Any:
    """The primitive for arrays that lie channels-last, or in a pair of ``layouts``."""
    kernel, stride, padding = window
    x, y = layouts or (channels_last_desc(shape), channels_last_desc((*shape[:2], *size)))
    attr = attributes(("eltwise", abi.LINEAR, scale, 0.0)) if scale != 1.0 else None
    return primitive(
        "pooling_forward", abi.FORWARD_TRAINING if training else abi.FORWARD_INFERENCE, alg, x, y, stride, kernel,
        (0,) * len(kernel), padding, _after(shape[2:], size, window), attr=attr,
    )  # fmt: skip


def _backward(forward: Any, alg: int, shape: Ints, size: Ints, window: Window) -> Any:
    kernel, stride, padding = window
    return forward and primitive(
        "pooling_backward", alg, channels_last_desc(shape), channels_last_desc((*shape[:2], *size)), stride, kernel,
        (0,) * len(kernel), padding, _after(shape[2:], size, window), forward,
    )  # fmt: skip


class _Pool:
    """A pooling with the ways into and out of its layout."""

    __slots__ = ("way", "pool", "shape", "out", "kind", "taps_out")

    def __init__(self, way: _Way, pool: Plan, size: Ints, taps: int | None = None) -> None:
        self.way, self.pool = way, pool
        self.shape = (*way.shape[:2], *size)
        self.out = reorder_plan(channels_last_desc(self.shape), plain_desc(self.shape)) if way.plain else None
        self.kind = np.uint8 if taps == abi.U8 else np.int32
        self.taps_out = None
        if way.plain and taps is not None:
            self.taps_out = reorder_plan(channels_last_desc(self.shape, taps), plain_desc(self.shape, taps))

    def leave(self, y: ndarray, shape: Ints, dtype: Any = F32) -> ndarray:
        """The result: as it is, or plain if its input was."""
        out = self.out if dtype is F32 else self.taps_out
        if out is None:
            return y
        plain = empty(shape, dtype)
        out.run(y, plain)
        return plain


# -- maxima --------------------------------------------------------------------------------------------------------


@plans
def _max_pool(shape: Ints, strides: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints) -> _Pool | None:
    way, window = _way(shape, strides), (kernel, stride, padding)
    pool = plan(_forward(False, abi.POOLING_MAX, way.shape, size, window), abi.SRC, abi.DST)
    return _Pool(way, pool, size) if pool else None


@plans
def _max_pool_taps(shape: Ints, strides: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints) -> _Pool | None:
    way, window = _way(shape, strides), (kernel, stride, padding)
    forward = _forward(True, abi.POOLING_MAX, way.shape, size, window)
    pool = plan(forward, abi.SRC, abi.DST, abi.WORKSPACE)
    if pool is None:
        return None
    lies = pool.desc(abi.WORKSPACE)
    for kind in (abi.U8, abi.S32):
        if lies.equals(channels_last_desc((*way.shape[:2], *size), kind)):
            return _Pool(way, pool, size, kind)
    return None


@plans
def _max_pool_backward(shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints) -> Plan | None:
    window = kernel, stride, padding
    forward = _forward(True, abi.POOLING_MAX, shape, size, window)
    return plan(
        _backward(forward, abi.POOLING_MAX, shape, size, window), abi.DIFF_SRC, abi.DIFF_DST, abi.WORKSPACE
    )


def _is_exact(x: ndarray, y: ndarray) -> bool:
    """Whether oneDNN's maxima ``y`` of ``x`` are right: no NaN was passed over, and no window was −inf throughout."""
    largest = np.maximum.reduce(x, axis=None)
    return largest == largest and np.minimum.reduce(y, axis=None) != LOWEST


def _undilated(x: ndarray, stride: Ints, padding: Ints, dilation: Ints) -> tuple[Any, Ints, Ints]:
    """oneDNN is slow at dilation, but where it divides stride and padding, only every such element is looked at at all."""
    if any(s % d or p % d for s, p, d in zip(stride, padding, dilation, strict=True)):
        return None, stride, padding
    x = x[(slice(None), slice(None), *(slice(None, None, d) for d in dilation))]
    stride, padding = (tuple(n // d for n, d in zip(values, dilation, strict=True)) for values in (stride, padding))
    return x, stride, padding


@fast(min_size=12_000)
def max_pool(x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints) -> ndarray:
    pairs = kernel == stride == (2,) and dilation == (1,)
    if x.flags.c_contiguous and (pairs or block_size(x.shape[2:], kernel, stride, padding, dilation)):
        return NotImplemented  # NumPy is faster at these
    return _largest(_max_pool, x, kernel, stride, padding, dilation, size)


@fast(min_size=500)
def max_pool_taps(
    x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints
) -> tuple[ndarray, ndarray]:
    if x.flags.c_contiguous and block_size(x.shape[2:], kernel, stride, padding, dilation):
        return NotImplemented
    return _largest(_max_pool_taps, x, kernel, stride, padding, dilation, size)


def _largest(found: Any, x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints) -> Any:
    given: Any = x
    if max(dilation) > 1:
        given, stride, padding = _undilated(x, stride, padding, dilation)
    if given is None or x.dtype != F32 or not x.size:
        return NotImplemented
    pooling = found[given.shape, given.strides, kernel, stride, padding, size]
    if pooling is None:
        return NotImplemented
    lies = pooling.way(given)
    y = empty(pooling.shape, F32, channels_last=True)
    shape = (*x.shape[:2], *size)
    if found is _max_pool:
        pooling.pool.run(lies, y)
        return pooling.leave(y, shape) if _is_exact(lies, y) else NotImplemented
    taps = empty(pooling.shape, pooling.kind, channels_last=True)
    pooling.pool.run(lies, y, taps)
    return (pooling.leave(y, shape), pooling.leave(taps, shape, pooling.kind)) if _is_exact(lies, y) else NotImplemented


@fast(min_size=100)
def max_pool_backward(
    grad: ndarray, taps: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> ndarray:
    if grad.dtype != F32 or not grad.size or max(dilation) > 1 or prod(kernel) > 9 or taps.dtype != np.uint8:
        return NotImplemented  # NumPy's scattering takes the same time for any number of taps
    shape = (*grad.shape[:2], *spatial)
    if taps.strides != channels_last_strides(taps.shape):
        return NotImplemented  # ... and any layout
    spread = _max_pool_backward[shape, kernel, stride, padding, grad.shape[2:]]
    if spread is None:
        return NotImplemented
    gx = empty(shape, F32, channels_last=True)
    spread.run(gx, to_channels_last(grad), taps)
    return gx


# -- means ---------------------------------------------------------------------------------------------------------


def _mean(spatial: Ints, window: Window, size: Ints, include: bool, divided: bool) -> int | None:
    """oneDNN's algorithm; ``None`` if none counts as PyTorch does: padding within the window, but not what it sticks out."""
    overhang = any(
        (n - 1) * s + k > length + 2 * p for length, n, k, s, p in zip(spatial, size, *window, strict=True)
    )
    padded = any(window[2])
    if divided or not overhang and (include or not padded):
        return abi.POOLING_AVG_INCLUDE_PADDING
    return abi.POOLING_AVG_EXCLUDE_PADDING if not include or not padded else None


@plans
def _avg_pool(
    shape: Ints, strides: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool, divisor: int | None
) -> _Pool | None:
    window = kernel, stride, padding
    way, alg = _way(shape, strides), _mean(shape[2:], window, size, include, bool(divisor))
    if alg is None:
        return None
    scale = prod(kernel) / divisor if divisor else 1.0
    pool = plan(_forward(False, alg, way.shape, size, window, scale), abi.SRC, abi.DST)
    return _Pool(way, pool, size) if pool else None


@plans
def _block_sums(blocks: int, block: int, divisor: int) -> tuple[Plan, ndarray] | None:
    """The product of a matrix, a block per row, with a vector of equal weights: the fastest sum of rows there is."""
    matrix, vector, result = plain_desc((blocks, block)), plain_desc((block, 1)), plain_desc((blocks, 1))
    product = plan(primitive("matmul", matrix, vector, None, result), abi.SRC, abi.WEIGHTS, abi.DST)
    return None if product is None else (product, np.full((block, 1), 1 / divisor, F32))


@fast(min_size=2000)
def avg_pool(
    x: ndarray, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool, divisor: int | None
) -> ndarray:
    if x.dtype != F32 or not x.size:
        return NotImplemented
    shape = (*x.shape[:2], *size)
    block = block_size(x.shape[2:], kernel, stride, padding, (1,) * len(size)) if x.flags.c_contiguous else 0
    if block:
        sums = _block_sums[x.size // block, block, divisor or block]
        if sums is not None:
            y = empty(shape)
            sums[0].run(x, sums[1], y)
            return y
    pooling = _avg_pool[x.shape, x.strides, kernel, stride, padding, size, include, divisor]
    if pooling is None:
        return NotImplemented
    y = empty(pooling.shape, F32, channels_last=True)
    pooling.pool.run(pooling.way(x), y)
    return pooling.leave(y, shape)


class _Spread:
    """The way from a gradient (N, C, *size) to that of the input."""

    __slots__ = ("way", "spread", "shape", "out")

    def __init__(self, way: _Way, spread: Plan, spatial: Ints) -> None:
        self.way, self.spread = way, spread
        self.shape = (*way.shape[:2], *spatial)
        self.out = reorder_plan(channels_last_desc(self.shape), plain_desc(self.shape)) if way.plain else None


@plans
def _avg_pool_backward(
    shape: Ints, strides: Ints, plain: bool, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, include: bool,
    divided: bool,
) -> _Spread | None:  # fmt: skip
    window, size = (kernel, stride, padding), shape[2:]
    alg = _mean(spatial, window, size, include, divided)
    if alg is None:
        return None
    way = _way(shape, strides, plain)
    whole = (*way.shape[:2], *spatial)
    spread = plan(
        _backward(_forward(True, alg, whole, size, window), alg, whole, size, window), abi.DIFF_SRC, abi.DIFF_DST
    )
    return _Spread(way, spread, spatial) if spread else None


@fast(min_size=100)
def avg_pool_backward(
    grad: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, include: bool, divisor: int | None,
    channels_last: bool,
) -> ndarray:  # fmt: skip
    if grad.dtype != F32 or not grad.size:
        return NotImplemented
    if not channels_last and block_size(spatial, kernel, stride, padding, (1,) * len(spatial)):
        return NotImplemented  # NumPy fills blocks as fast
    given = to_channels_last(grad) if channels_last else np.ascontiguousarray(grad)
    window = kernel, stride, padding
    spreading = _avg_pool_backward[(given.shape, given.strides, not channels_last, spatial, *window, include, bool(divisor))]
    if spreading is None:
        return NotImplemented
    if divisor:
        given = given * F32.type(prod(kernel) / divisor)
    gx = empty(spreading.shape, F32, channels_last=True)
    spreading.spread.run(gx, spreading.way(given))
    if spreading.out is None:
        return gx
    out = empty((*grad.shape[:2], *spatial))
    spreading.out.run(gx, out)
    return out
