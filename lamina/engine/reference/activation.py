"""Smooth activations and the products of their derivatives with a gradient."""

from __future__ import annotations

import functools

import numpy as np

from lamina.engine.reference.piecewise import constant, in_single, negative
from lamina.engine.reference.reduction import ones_row
from lamina.engine.reference.special import erf

__all__ = [
    "sigmoid", "sigmoid_backward", "tanh", "tanh_backward", "softplus", "softplus_backward", "gelu", "gelu_backward", "silu",
    "silu_backward", "mish", "mish_backward", "log_sigmoid", "log_sigmoid_backward", "glu", "glu_backward", "softmax",
    "softmax_backward", "log_softmax", "log_softmax_backward",
]  # fmt: skip

ndarray = np.ndarray
F32 = np.dtype(np.float32)
_ONE = np.ones((), F32)  # half the cost of a Python number as an operand


def sigmoid(x: ndarray) -> ndarray:
    """1/(1 + e⁻ˣ)."""
    y = np.negative(x)
    if type(y) is ndarray and y.dtype is F32:
        np.exp(y, out=y)
        np.add(y, _ONE, out=y)
        return np.reciprocal(y, out=y)
    y = np.exp(y)
    y += y.dtype.type(1)
    return np.divide(y.dtype.type(1), y)


def sigmoid_backward(grad: ndarray, y: ndarray) -> ndarray:
    """grad·y·(1 − y)."""
    return grad * ((_ONE if y.dtype is F32 else 1) - y) * y


tanh = np.tanh


def tanh_backward(grad: ndarray, y: ndarray) -> ndarray:
    """grad·(1 − y²)."""
    return grad * ((_ONE if y.dtype is F32 else 1) - y * y)


def softplus(x: ndarray, beta: float, threshold: float) -> ndarray:
    """log(1 + e^(βx))/β, and x itself where βx > threshold."""
    scale = constant(beta, x.dtype)
    z = x if beta == 1 else x * scale
    y = np.log1p(np.exp(z))
    return np.where(z > constant(threshold, x.dtype), x, y if beta == 1 else y / scale)


def softplus_backward(grad: ndarray, x: ndarray, beta: float, threshold: float) -> ndarray:
    """grad·σ(βx), and grad itself where βx > threshold."""
    z = x * x.dtype.type(beta)
    return np.where(z > threshold, grad, grad * sigmoid(z))


_SQRT_HALF = 0.7071067811865476
_INV_SQRT_2PI = 0.3989422804014327
_SQRT_2_OVER_PI = 0.7978845608028654
_CUBIC = 0.044715


def gelu(x: ndarray, approximate: str) -> ndarray:
    """x·Φ(x), with Φ the normal distribution function; or its tanh approximation."""
    half, one, dtype = constant(0.5, x.dtype), constant(1.0, x.dtype), x.dtype
    if approximate == "tanh":
        return half * x * (one + np.tanh(constant(_SQRT_2_OVER_PI, dtype) * (x + constant(_CUBIC, dtype) * x * x * x)))
    return half * x * (one + erf(x * constant(_SQRT_HALF, dtype)))


def gelu_backward(grad: ndarray, x: ndarray, approximate: str) -> ndarray:
    """grad·(Φ(x) + x·φ(x)), or the derivative of the tanh approximation."""
    t = x.dtype.type
    if approximate == "tanh":
        inner = np.tanh(t(_SQRT_2_OVER_PI) * (x + t(_CUBIC) * x * x * x))
        slope = t(_SQRT_2_OVER_PI) * (1 + t(3 * _CUBIC) * x * x)
        return grad * (t(0.5) * (1 + inner) + t(0.5) * x * (1 - inner * inner) * slope)
    cdf = t(0.5) * (1 + erf(x * t(_SQRT_HALF)))
    return grad * (cdf + x * (t(_INV_SQRT_2PI) * np.exp(t(-0.5) * x * x)))


@in_single
def silu(x: ndarray) -> ndarray:
    """x·σ(x)."""
    y = sigmoid(x)
    y *= x
    return y


@in_single
def silu_backward(grad: ndarray, x: ndarray) -> ndarray:
    """grad·σ(x)·(1 + x·(1 − σ(x)))."""
    s = sigmoid(x)
    y = 1 - s
    y *= x
    y += 1
    y *= s
    y *= grad
    return y


def _tanh_softplus(x: ndarray) -> ndarray:
    """tanh(log(1 + eˣ)) = n/(n + 2) with n = eˣ·(eˣ + 2); from 20 on it is 1, and n does not overflow."""
    e = np.exp(np.clip(x, -np.inf, 20))
    n = e * (e + 2)
    return n / (n + 2)


@in_single
def mish(x: ndarray) -> ndarray:
    """x·tanh(log(1 + eˣ))."""
    y = _tanh_softplus(x)
    y *= x
    return y


@in_single
def mish_backward(grad: ndarray, x: ndarray) -> ndarray:
    """grad·(t + x·σ(x)·(1 − t²)) with t = tanh(log(1 + eˣ))."""
    t = _tanh_softplus(x)
    y = silu(x)
    y *= 1 - t * t
    y += t
    y *= grad
    return y


@in_single
def log_sigmoid(x: ndarray) -> ndarray:
    """log σ(x) = min(x, 0) − log(1 + e^(−\\|x\\|))."""
    return negative(x) - np.log1p(np.exp(-np.abs(x)))


@in_single
def log_sigmoid_backward(grad: ndarray, x: ndarray) -> ndarray:
    """grad·σ(−x)."""
    return grad * sigmoid(np.negative(x))


def _halves(x: ndarray, axis: int) -> tuple[ndarray, ndarray]:
    """The first and the second half along an axis, as views."""
    before, n = (slice(None),) * axis, x.shape[axis] // 2
    return x[(*before, slice(n))], x[(*before, slice(n, None))]


@in_single
def glu(x: ndarray, axis: int) -> ndarray:
    """a·σ(b), with a and b the halves of x."""
    a, b = _halves(x, axis)
    y = sigmoid(b)
    y *= a
    return y


@in_single
def glu_backward(grad: ndarray, x: ndarray, axis: int) -> ndarray:
    """(grad·σ(b), grad·a·σ(b)·(1 − σ(b))), one after the other."""
    a, b = _halves(x, axis)
    s = sigmoid(b)
    gx = np.empty_like(x, dtype=grad.dtype)
    ga, gb = _halves(gx, axis)
    np.multiply(grad, s, out=ga)
    np.subtract(1, s, out=s)
    s *= a
    np.multiply(ga, s, out=gb)
    return gx


_FEW = 1024  # numbers of which NumPy's reductions take longer than all else
_F64 = np.dtype(np.float64)
_NARROW = 32  # and rows so short that their sums are had in every column by a product with ones


@functools.lru_cache(256)
def _ones(n: int, itemsize: int) -> ndarray:
    return np.ones((n, n), F32 if itemsize == 4 else _F64)


def _totals(y: ndarray, least: float, most: float) -> ndarray | None:
    """Σ of each row of few exponentials, to be combined with the row; ``None`` if one overflowed, or lost digits."""
    n = y.shape[-1]
    if n <= _NARROW:  # of the shape of y, since NumPy takes thrice as long to broadcast
        total = y.dot(_ones(n, y.itemsize))
        if y.ndim == 1:
            return total if least < total.item(0) < most else None
        sums = total[..., 0].ravel().tolist()
    else:
        total = np.asarray(y.dot(ones_row(n, y.dtype)))[..., None]
        sums = total.ravel().tolist()
    for s in sums:  # NaN is not in between, either
        if not least < s < most:
            return None
    return total


def softmax(x: ndarray, axis: int) -> ndarray:
    """eˣ/Σeˣ along an axis, shifted by the maximum so that nothing overflows."""
    if x.size == 0:
        return x.copy()
    if x.size < _FEW and x.dtype is F32 and x.ndim and (axis == x.ndim - 1 or axis == -1):
        y = np.exp(x)
        total = _totals(y, 1e-3, 1e30)
        if total is not None:
            return np.true_divide(y, total, out=y)
    y = np.exp(x - np.maximum.reduce(x, axis=axis, keepdims=True))
    y /= np.add.reduce(y, axis=axis, keepdims=True)
    return y


def softmax_backward(grad: ndarray, y: ndarray, axis: int) -> ndarray:
    """y·(grad − Σ grad·y)."""
    product = grad * y
    return product - y * product.sum(axis=axis, keepdims=True)


def log_softmax(x: ndarray, axis: int) -> ndarray:
    """x − log Σeˣ along an axis, shifted by the maximum so that nothing overflows."""
    if x.size == 0:
        return x.copy()
    if x.size < _FEW and x.dtype is F32 and x.ndim and (axis == x.ndim - 1 or axis == -1):
        wide = x.astype(_F64)  # so that no digits are lost without a shift
        total = _totals(np.exp(wide), 1e-300, 1e300)
        if total is not None:
            return np.subtract(wide, np.log(total), out=wide).astype(F32)
    shifted = x - np.maximum.reduce(x, axis=axis, keepdims=True)
    return shifted - np.log(np.add.reduce(np.exp(shifted), axis=axis, keepdims=True))


def log_softmax_backward(grad: ndarray, y: ndarray, axis: int) -> ndarray:
    """grad − eʸ·Σ grad."""
    return grad - np.exp(y) * grad.sum(axis=axis, keepdims=True)
