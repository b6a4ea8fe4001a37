"""Activations that are another function on either side of a point, and the products of their derivatives with a gradient.

``numpy.where`` mispredicts a branch for every other element of random numbers, and ``numpy.maximum(x, 0)`` takes thrice as
long as what is below ``numpy.clip`` (which itself takes 2 us more). So what a mask chooses is multiplied by it as bits, and one
side of zero is cut off by ``clip``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy._core import umath

__all__ = [
    "relu", "relu_backward", "leaky_relu", "leaky_relu_backward", "prelu", "prelu_backward", "elu",
    "elu_backward", "hardtanh", "hardtanh_backward", "hardsigmoid", "hardsigmoid_backward", "hardswish", "hardswish_backward",
    "threshold", "threshold_backward", "hardshrink", "softshrink", "shrink_backward",
]  # fmt: skip

clip: Any = getattr(umath, "clip", np.clip)  # the ufunc, which has no public name
ndarray = np.ndarray
F32 = np.dtype(np.float32)
_ZERO = np.zeros((), F32)  # NumPy takes as long to convert a Python number as to compare ten
_BITS = {"e": np.int16, "f": np.int32, "d": np.int64}
_INF = np.array(np.inf, F32)
_FEW = 120  # numbers for which NumPy's own slow functions take no longer than several quick ones


@functools.lru_cache(1024)
def constant(value: float, dtype: np.dtype) -> ndarray:
    """A number as an array of no dimensions: as an operand it takes half the time of a Python number, and of a NumPy scalar."""
    return np.array(value, dtype)


def _into(y: Any) -> Any:
    """``y`` as the ``out`` of a function, unless it is a NumPy scalar, as the result of arrays of no dimensions is."""
    return y if type(y) is ndarray else None


def masked(values: ndarray, mask: ndarray) -> ndarray:
    """``values`` where the mask holds, else 0, even in place of inf or NaN: their bits, times 1 or 0."""
    bits = _BITS.get(values.dtype.char)
    if bits is None:
        return np.multiply(values, mask)
    return np.multiply(values.view(bits), mask).view(values.dtype)


def positive(x: ndarray) -> ndarray:
    """max(x, 0); NaN stays."""
    if x.dtype is F32:
        return clip(x, _ZERO, _INF)
    return clip(x, 0, np.inf) if x.dtype.kind == "f" else np.maximum(x, 0)


def negative(x: ndarray) -> ndarray:
    """min(x, 0); NaN stays."""
    if x.dtype is F32:
        return clip(x, -_INF, _ZERO)
    return clip(x, -np.inf, 0) if x.dtype.kind == "f" else np.minimum(x, 0)


def in_single(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Compute in float32 what is asked for in float16, rounded once at the end, as PyTorch does."""

    @functools.wraps(kernel)
    def run(x: ndarray, *rest: Any) -> Any:
        if x.dtype.char != "e":
            return kernel(x, *rest)
        wide = [a.astype(np.float32) if isinstance(a, ndarray) and a.dtype.char == "e" else a for a in rest]
        return kernel(x.astype(np.float32), *wide).astype(np.float16)

    return run


def relu(x: ndarray) -> ndarray:
    """max(x, 0); NaN stays."""
    return clip(x, _ZERO, _INF) if x.dtype is F32 else positive(x)


def relu_backward(grad: ndarray, y: ndarray) -> ndarray:
    """0 where y ≤ 0, else grad (also where y is NaN)."""
    return masked(grad, np.logical_not(y <= (_ZERO if y.dtype is F32 else 0)))


def leaky_relu(x: ndarray, slope: float) -> ndarray:
    """x where x > 0, else slope·x."""
    if 0 < slope <= 1:  # then it is the larger of the two
        y = np.multiply(x, constant(slope, x.dtype))
        return np.maximum(x, y, out=y) if type(y) is ndarray else np.maximum(x, y)
    return prelu(x, np.array(slope, x.dtype))


def leaky_relu_backward(grad: ndarray, x: ndarray, slope: float) -> ndarray:
    """grad where x > 0, else slope·grad."""
    return _sloped(grad, x > 0, np.array(slope, grad.dtype))


def prelu(x: ndarray, weight: ndarray) -> ndarray:
    """x where x > 0, else weight·x; the weight broadcasts to x."""
    if np.isfinite(weight).all():
        y = negative(x) * weight
        y += positive(x)
        return y
    return np.where(x > 0, x, weight * x)


def prelu_backward(grad: ndarray, x: ndarray, weight: ndarray) -> tuple[ndarray, ndarray]:
    """The gradients to x (grad where x > 0, else weight·grad) and to the weight (the sum of grad·x where x ≤ 0)."""
    product = grad * negative(x)
    axes = tuple(range(x.ndim - weight.ndim)) + tuple(
        d for d in range(-weight.ndim, 0) if weight.shape[d] == 1 and x.shape[d] != 1
    )
    return _sloped(grad, x > 0, weight), product.sum(axes, dtype=grad.dtype).reshape(weight.shape)


def _sloped(grad: ndarray, steep: ndarray, slope: ndarray) -> ndarray:
    """grad where ``steep``, else slope·grad."""
    if not np.isfinite(slope).all():
        return np.where(steep, grad, slope * grad)
    g = masked(grad, np.logical_not(steep)) * slope
    g += masked(grad, steep)
    return g


def _expm1(x: ndarray) -> ndarray:
    """eˣ − 1 for x ≤ 0, of many numbers as 2t/(1 − t) with t = tanh(x/2), which NumPy has five times as fast as expm1."""
    if x.size <= _FEW:
        return np.expm1(x)
    t = np.tanh(x * x.dtype.type(0.5))
    return (t + t) / (1 - t)


@in_single
def elu(x: ndarray, alpha: float, scale: float, input_scale: float) -> ndarray:
    """scale·x where x > 0, else scale·alpha·(e^(input_scale·x) − 1)."""
    t = x.dtype.type
    z = negative(x)
    if input_scale != 1:
        z = z * t(input_scale)
    y = _expm1(z) if input_scale > 0 else np.expm1(z)
    if alpha * scale != 1:
        y *= t(alpha * scale)
    y += positive(x) if scale == 1 else positive(x) * t(scale)
    return y


@in_single
def elu_backward(grad: ndarray, x: ndarray, alpha: float, scale: float, input_scale: float) -> ndarray:
    """grad·scale where x > 0, else grad·scale·alpha·input_scale·e^(input_scale·x)."""
    t = grad.dtype.type
    left = alpha * scale * input_scale
    y = np.exp(negative(x) * t(input_scale))
    if left == scale:
        y *= t(scale)
    else:
        y *= (x > 0) * t(scale - left) + t(left)
    y *= grad
    return y


def hardtanh(x: ndarray, low: float, high: float) -> ndarray:
    """x moved into [low, high]; NaN stays."""
    return clip(x, constant(low, x.dtype), constant(high, x.dtype))


def hardtanh_backward(grad: ndarray, x: ndarray, low: float, high: float) -> ndarray:
    """grad where low < x < high, else 0."""
    inside = x > constant(low, x.dtype)
    inside &= x < constant(high, x.dtype)
    return masked(grad, inside)


@in_single
def hardsigmoid(x: ndarray) -> ndarray:
    """(x + 3)/6, moved into [0, 1]; NaN stays."""
    dtype = x.dtype
    y = np.add(x, constant(3.0, dtype))
    y = clip(y, constant(0.0, dtype), constant(6.0, dtype), out=_into(y))
    return np.divide(y, constant(6.0, dtype), out=_into(y))


@in_single
def hardsigmoid_backward(grad: ndarray, x: ndarray) -> ndarray:
    """grad/6 where −3 < x < 3, else 0."""
    inside = np.abs(x) < constant(3.0, x.dtype)
    return masked(grad * constant(1 / 6, grad.dtype), inside)


@in_single
def hardswish(x: ndarray) -> ndarray:
    """x·(x + 3)/6, the second factor moved into [0, 1]."""
    dtype = x.dtype
    y = np.add(x, constant(3.0, dtype))
    y = clip(y, constant(0.0, dtype), constant(6.0, dtype), out=_into(y))
    y = np.multiply(y, x, out=_into(y))
    return np.divide(y, constant(6.0, dtype), out=_into(y))


@in_single
def hardswish_backward(grad: ndarray, x: ndarray) -> ndarray:
    """grad·(x/3 + 1/2) where −3 < x < 3, 0 to the left, grad to the right."""
    right = x >= 3
    outside = x <= -3
    outside |= right
    y = masked(grad * (x / x.dtype.type(3) + x.dtype.type(0.5)), np.logical_not(outside))
    y += masked(grad, right)
    return y


def threshold(x: ndarray, limit: float, value: float) -> ndarray:
    """x, or ``value`` where x ≤ limit."""
    replaced = x <= limit
    y = masked(x, np.logical_not(replaced))
    if value:
        y = y + masked(np.array(value).astype(x.dtype), replaced)
    return y


def threshold_backward(grad: ndarray, x: ndarray, limit: float, value: float) -> ndarray:
    """0 where x ≤ limit, else grad, whatever the value."""
    return masked(grad, np.logical_not(x <= limit))


def hardshrink(x: ndarray, lambd: float) -> ndarray:
    """0 where \\|x\\| ≤ lambd, else x."""
    return masked(x, np.logical_not(np.abs(x) <= constant(lambd, x.dtype)))


def softshrink(x: ndarray, lambd: float) -> ndarray:
    """0 where \\|x\\| ≤ lambd, else x moved towards 0 by lambd."""
    y = clip(x, constant(-lambd, x.dtype), constant(lambd, x.dtype))
    return np.subtract(x, y, out=_into(y))


def shrink_backward(grad: ndarray, x: ndarray, lambd: float) -> ndarray:
    """grad where \\|x\\| > lambd, else 0."""
    return masked(grad, np.abs(x) > constant(lambd, x.dtype))
