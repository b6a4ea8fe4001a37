"""Pooling on oneDNN, channels-last: on plain arrays it has a loop that takes forty times as long.

oneDNN's maximum passes NaN over, and gives the least finite number for a window of −inf alone. Both are looked for, at a
tenth of the pooling's cost or so, and then the reference kernel serves. Its workspace holds what the reference calls taps.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty

from . import abi
from .core import F32, Plan, _reorder, attributes, channels_last_desc, channels_last_strides, desc, plan, plans, primitive

ndarray = np.ndarray
Ints = tuple[int, ...]
LOWEST = np.finfo(np.float32).min

# -- layout --------------------------------------------------------------------------------------------------------


@plans
def _route(shape: Ints, byte_strides: Ints) -> Plan | bool | None:
    """How an array comes to lie channels-last: it does so already (True), by a reorder, or not at all (None)."""
    source = desc(shape, byte_strides)
    if source is None:
        return None
    wanted = channels_last_strides(shape)
    if all(n == 1 or s == 4 * w for n, s, w in zip(shape, byte_strides, wanted, strict=True)):
        return True
    return _reorder.make(source, channels_last_desc(shape))


def _channels_last(x: ndarray) -> ndarray | None:
    """``x`` channels-last, or ``None`` if oneDNN has no use for it (another dtype, empty)."""
    if x.dtype != F32:
        return None
    how = _route[x.shape, x.strides]
    if how is True:
        return x
    if how is None:
        if not x.size:
            return None
        x = np.ascontiguousarray(x)  # negative or zero strides
        how = _route[x.shape, x.strides]
        if how is None or how is True:
            return x if how else None
    y = empty(x.shape, F32, channels_last=True)
    how.run(x, y)
    return y


def _after(spatial: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints) -> Ints:
    """The padding behind each dimension that makes the windows ``size`` many."""
    return tuple(
        max((n - 1) * s + k - length - p, 0)
        for length, n, k, s, p in zip(spatial, size, kernel, stride, padding, strict=True)
    )


def _forward(prop: int, alg: int, shape: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints, scale: float = 1.0):
    attr = attributes(("eltwise", abi.LINEAR, scale, 0.0)) if scale != 1.0 else None
    return primitive(
        "pooling_forward", prop, alg, channels_last_desc(shape), channels_last_desc((*shape[:2], *size)), stride, kernel,
        (0,) * len(kernel), padding, _after(shape[2:], size, kernel, stride, padding), attr=attr,
    )  # fmt: skip


def _backward(hint, alg: int, shape: Ints, size: Ints, kernel: Ints, stride: Ints, padding: Ints):
    return primitive(
        "pooling_backward", alg, channels_last_desc(shape), channels_last_desc((*shape[:2], *size)), stride, kernel,
        (0,) * len(kernel), padding, _after(shape[2:], size, kernel, stride, padding), hint,
    )  # fmt: skip


# -- maxima --------------------------------------------------------------------------------------------------------


@plans
def _max_pool(shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints) -> Plan | None:
    return plan(
        _forward(abi.FORWARD_INFERENCE, abi.POOLING_MAX, shape, size, kernel, stride, padding), abi.SRC, abi.DST
    )


@plans
def _max_pool_taps(shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints) -> Plan | None:
    if prod(kernel) > 255:
        return None
    found = plan(
        _forward(abi.FORWARD_TRAINING, abi.POOLING_MAX, shape, size, kernel, stride, padding), abi.SRC, abi.DST, abi.WORKSPACE
    )
    taps = channels_last_desc((*shape[:2], *size), abi.U8)
    return found if found is not None and found.desc(abi.WORKSPACE).equals(taps) else None


@plans
def _max_pool_backward(shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints) -> Plan | None:
    forward = _max_pool_taps[shape, kernel, stride, padding, size]
    return forward and plan(
        _backward(forward.pd, abi.POOLING_MAX, shape, size, kernel, stride, padding), abi.DIFF_SRC, abi.DIFF_DST, abi.WORKSPACE
    )


def _is_exact(x: ndarray, y: ndarray) -> bool:
    """Whether oneDNN's maxima ``y`` of ``x`` are right: no NaN was passed over, and no window was −inf throughout."""
    largest = np.maximum.reduce(x, axis=None)
    return largest == largest and np.minimum.reduce(y, axis=None) != LOWEST


@fast(min_size=8192)
def max_pool(x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints) -> ndarray:
    if max(dilation) > 1:
        return NotImplemented
    x = _channels_last(x)
    pool = x is not None and _max_pool[x.shape, kernel, stride, padding, size]
    if not pool:
        return NotImplemented
    y = empty((*x.shape[:2], *size), F32, channels_last=True)
    pool.run(x, y)
    return y if _is_exact(x, y) else NotImplemented


@fast(min_size=8192)
def max_pool_taps(
    x: ndarray, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, size: Ints
) -> tuple[ndarray, ndarray]:
    if max(dilation) > 1:
        return NotImplemented
    x = _channels_last(x)
    pool = x is not None and _max_pool_taps[x.shape, kernel, stride, padding, size]
    if not pool:
        return NotImplemented
    shape = (*x.shape[:2], *size)
    y, taps = empty(shape, F32, channels_last=True), empty(shape, np.uint8, channels_last=True)
    pool.run(x, y, taps)
    return (y, taps) if _is_exact(x, y) else NotImplemented


@fast(min_size=4096)
def max_pool_backward(
    grad: ndarray, taps: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> ndarray:
    if max(dilation) > 1 or taps.dtype != np.uint8:
        return NotImplemented
    grad = _channels_last(grad)
    if grad is None:
        return NotImplemented
    shape = (*grad.shape[:2], *spatial)
    spread = _max_pool_backward[shape, kernel, stride, padding, grad.shape[2:]]
    if spread is None:
        return NotImplemented
    if taps.strides != tuple(s // 4 for s in grad.strides):
        plain = empty(taps.shape, np.uint8, channels_last=True)
        plain[...] = taps
        taps = plain
    gx = empty(shape, F32, channels_last=True)
    spread.run(gx, grad, taps)
    return gx


# -- means ---------------------------------------------------------------------------------------------------------


def _mean(shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool) -> int | None:
    """oneDNN's algorithm; ``None`` if none counts as PyTorch does: padding within the window, but not what it sticks out."""
    overhang = any(
        (n - 1) * s + k > length + 2 * p
        for length, n, k, s, p in zip(shape[2:], size, kernel, stride, padding, strict=True)
    )
    if not overhang and (include or not any(padding)):
        return abi.POOLING_AVG_INCLUDE_PADDING
    return abi.POOLING_AVG_EXCLUDE_PADDING if not include or not any(padding) else None


@plans
def _avg_pool(
    shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool, divisor: int | None
) -> Plan | None:
    alg = abi.POOLING_AVG_INCLUDE_PADDING if divisor else _mean(shape, kernel, stride, padding, size, include)
    scale = prod(kernel) / divisor if divisor else 1.0
    return alg and plan(
        _forward(abi.FORWARD_INFERENCE, alg, shape, size, kernel, stride, padding, scale), abi.SRC, abi.DST
    )


@plans
def _avg_pool_backward(
    shape: Ints, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool, divided: bool
) -> Plan | None:
    alg = abi.POOLING_AVG_INCLUDE_PADDING if divided else _mean(shape, kernel, stride, padding, size, include)
    forward = alg and _forward(abi.FORWARD_TRAINING, alg, shape, size, kernel, stride, padding)
    return forward and plan(_backward(forward, alg, shape, size, kernel, stride, padding), abi.DIFF_SRC, abi.DIFF_DST)


@fast(min_size=8192)
def avg_pool(
    x: ndarray, kernel: Ints, stride: Ints, padding: Ints, size: Ints, include: bool, divisor: int | None
) -> ndarray:
    x = _channels_last(x)
    pool = x is not None and _avg_pool[x.shape, kernel, stride, padding, size, include, divisor]
    if not pool:
        return NotImplemented
    y = empty((*x.shape[:2], *size), F32, channels_last=True)
    pool.run(x, y)
    return y


@fast(min_size=4096)
def avg_pool_backward(
    grad: ndarray, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, include: bool, divisor: int | None
) -> ndarray:
    grad = _channels_last(grad)
    if grad is None:
        return NotImplemented
    shape = (*grad.shape[:2], *spatial)
    spread = _avg_pool_backward[shape, kernel, stride, padding, grad.shape[2:], include, bool(divisor)]
    if spread is None:
        return NotImplemented
    if divisor:
        grad = grad * F32.type(prod(kernel) / divisor)
    gx = empty(shape, F32, channels_last=True)
    spread.run(gx, grad)
    return gx
