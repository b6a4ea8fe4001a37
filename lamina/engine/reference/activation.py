"""Activations and the products of their derivatives with a gradient."""

from __future__ import annotations

import numpy as np

from lamina.engine.reference.special import erf

__all__ = [
    "relu", "relu_backward", "leaky_relu", "leaky_relu_backward", "sigmoid", "sigmoid_backward", "tanh", "tanh_backward",
    "softplus", "softplus_backward", "gelu", "gelu_backward", "softmax", "softmax_backward", "log_softmax", "log_softmax_backward",
]  # fmt: skip

ndarray = np.ndarray


def relu(x: ndarray) -> ndarray:
    """max(x, 0); NaN stays."""
    return np.maximum(x, 0)


def relu_backward(grad: ndarray, y: ndarray) -> ndarray:
    """0 where y ≤ 0, else grad (also where y is NaN)."""
    return np.where(y <= 0, grad.dtype.type(0), grad)


def leaky_relu(x: ndarray, slope: float) -> ndarray:
    """x where x > 0, else slope·x."""
    return np.where(x > 0, x, x * x.dtype.type(slope))


def leaky_relu_backward(grad: ndarray, x: ndarray, slope: float) -> ndarray:
    """grad where x > 0, else slope·grad."""
    return np.where(x > 0, grad, grad * grad.dtype.type(slope))


def sigmoid(x: ndarray) -> ndarray:
    """1/(1 + e⁻ˣ)."""
    y = np.exp(np.negative(x))
    y += y.dtype.type(1)
    return np.divide(y.dtype.type(1), y)


def sigmoid_backward(grad: ndarray, y: ndarray) -> ndarray:
    """grad·y·(1 − y)."""
    return grad * (1 - y) * y


tanh = np.tanh


def tanh_backward(grad: ndarray, y: ndarray) -> ndarray:
    """grad·(1 − y²)."""
    return grad * (1 - y * y)


def softplus(x: ndarray, beta: float, threshold: float) -> ndarray:
    """log(1 + e^(βx))/β, and x itself where βx > threshold."""
    z = x * x.dtype.type(beta)
    return np.where(z > threshold, x, np.log1p(np.exp(z)) / x.dtype.type(beta))


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
    t = x.dtype.type
    if approximate == "tanh":
        return t(0.5) * x * (1 + np.tanh(t(_SQRT_2_OVER_PI) * (x + t(_CUBIC) * x * x * x)))
    return t(0.5) * x * (1 + erf(x * t(_SQRT_HALF)))


def gelu_backward(grad: ndarray, x: ndarray, approximate: str) -> ndarray:
    """grad·(Φ(x) + x·φ(x)), or the derivative of the tanh approximation."""
    t = x.dtype.type
    if approximate == "tanh":
        inner = np.tanh(t(_SQRT_2_OVER_PI) * (x + t(_CUBIC) * x * x * x))
        slope = t(_SQRT_2_OVER_PI) * (1 + t(3 * _CUBIC) * x * x)
        return grad * (t(0.5) * (1 + inner) + t(0.5) * x * (1 - inner * inner) * slope)
    cdf = t(0.5) * (1 + erf(x * t(_SQRT_HALF)))
    return grad * (cdf + x * (t(_INV_SQRT_2PI) * np.exp(t(-0.5) * x * x)))


def softmax(x: ndarray, axis: int) -> ndarray:
    """eˣ/Σeˣ along an axis, shifted by the maximum so that nothing overflows."""
    if x.size == 0:
        return x.copy()
    y = np.exp(x - x.max(axis=axis, keepdims=True))
    y /= y.sum(axis=axis, keepdims=True)
    return y


def softmax_backward(grad: ndarray, y: ndarray, axis: int) -> ndarray:
    """y·(grad − Σ grad·y)."""
    product = grad * y
    return product - y * product.sum(axis=axis, keepdims=True)


def log_softmax(x: ndarray, axis: int) -> ndarray:
    """x − log Σeˣ along an axis, shifted by the maximum so that nothing overflows."""
    if x.size == 0:
        return x.copy()
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def log_softmax_backward(grad: ndarray, y: ndarray, axis: int) -> ndarray:
    """grad − eʸ·Σ grad."""
    return grad - np.exp(y) * grad.sum(axis=axis, keepdims=True)
