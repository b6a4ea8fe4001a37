"""Products of matrices and vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.blas import one_thread

__all__ = ["matmul", "linear", "dot", "cross", "cdist_mm"]

ndarray = np.ndarray
F16, F32, F64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)

_SERIAL = 1 << 13  # OpenBLAS does products of matrices of up to this many elements on one thread anyway


def matmul(a: ndarray, b: ndarray) -> Any:
    """The matrix products a·b over the last two axes, the axes before them broadcast; half precision adds in single."""
    if (a.dtype is F32 or a.dtype is F64) and a.ndim == 2 and b.ndim == 2:  # quicker than np.matmul, by a microsecond
        if a.dtype is F32 and a.size + b.size > _SERIAL:
            with one_thread():
                return a.dot(b)
        return a.dot(b)
    if a.dtype is F16:
        return matmul(a.astype(F32), b.astype(F32)).astype(F16)
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:  # one large product instead of many small ones
        return matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1]) if a.size else product(a, b)
    return product(a, b)


def product(a: ndarray, b: ndarray) -> Any:
    """``np.matmul``, given what BLAS can take, and on one thread where several would get in oneDNN's way."""
    if a.dtype.kind in "fc":
        a, b = _regular(a), _regular(b)
        if a.dtype is F32 and a.size + b.size > _SERIAL:
            with one_thread():
                return np.matmul(a, b)
    return np.matmul(a, b)


def _regular(a: ndarray) -> ndarray:
    """Matrices with steps that BLAS can take; NumPy multiplies others by a plain loop."""
    rows, columns = a.shape[-2:]
    down, across = a.strides[-2:]
    item = a.itemsize
    if (across == item or columns == 1) and (down >= columns * item or rows == 1):
        return a
    if (down == item or rows == 1) and (across >= rows * item or columns == 1):
        return a
    return np.ascontiguousarray(a)


def linear(x: ndarray, weight: ndarray, bias: ndarray | None, version: Any = None) -> Any:
    """x·weightᵀ + bias for x (*, in), weight (out, in) and bias (out); ``version`` says when the weight was written."""
    if x.dtype is F16:
        y = matmul(x.astype(F32), weight.astype(F32).T)
        return (y if bias is None else y + bias).astype(F16)
    y = matmul(x if x.ndim > 1 else x[None], weight.T)
    if bias is not None:
        y += bias
    return y if x.ndim > 1 else y[0]


def dot(a: ndarray, b: ndarray) -> Any:
    """Σ a·b of two vectors."""
    if a.dtype is F16:
        return np.dot(a.astype(F32), b.astype(F32)).astype(F16)
    return a.dot(b)


def cross(a: ndarray, b: ndarray, axis: int) -> Any:
    """The vector product along an axis of length 3; other axes broadcast."""
    return np.cross(a, b, axis=axis)


def cdist_mm(x: ndarray, y: ndarray) -> Any:
    """Euclidean distances between the rows of x (*, P, M) and y (*, R, M), as √(|x|² + |y|² − 2·x·y)."""
    squares = (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :]
    return np.sqrt(np.maximum(squares - 2 * product(x, y.swapaxes(-1, -2)), 0))
