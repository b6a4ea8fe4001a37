"""Normalisation within each example: rows of numbers, or groups of channels of arrays (N, C, *).

Statistics are arrays of one number per row, or (N, groups); half precision is computed, and has its statistics, in single.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina.engine.reference.reduction import F16, F32, mean, sum

__all__ = [
    "layer_norm", "layer_norm_backward", "group_norm", "group_norm_backward", "rms_norm", "rms_norm_backward", "window_sum",
]  # fmt: skip

ndarray = np.ndarray


def as_rows(x: ndarray, ndim: int) -> ndarray:
    """``x`` with its last ``ndim`` axes as one, and those before them as another."""
    cut = x.ndim - ndim
    return x.reshape(math.prod(x.shape[:cut]), math.prod(x.shape[cut:]))


def _single(a: ndarray | None) -> Any:
    return a if a is None or a.dtype is F32 else a.astype(F32)


def _centred(rows: ndarray) -> tuple[Any, Any, Any]:
    """Rows less their means, the means, and the biased variances."""
    m = mean(rows, (1,), True)
    y = rows - m
    return y, m[:, 0], mean(y * y, (1,), False)


# -- over the last axes --------------------------------------------------------------------------------------------


def layer_norm(
    x: ndarray, weight: ndarray | None, bias: ndarray | None, ndim: int, eps: float
) -> tuple[Any, Any, Any]:
    """(y, m, v): y = (x − m)/√(v + eps)·weight + bias with mean m and biased variance v over the last ``ndim`` axes."""
    if x.dtype is F16:
        y, m, v = layer_norm(x.astype(F32), _single(weight), _single(bias), ndim, eps)
        return y.astype(F16), m, v
    y, m, v = _centred(as_rows(x, ndim))
    y *= (1 / np.sqrt(v + v.dtype.type(eps)))[:, None]
    y = y.reshape(x.shape)
    if weight is not None:
        y *= weight
    if bias is not None:
        y += bias
    return y, m, v


def layer_norm_backward(
    grad: ndarray, x: ndarray, m: ndarray, v: ndarray, weight: ndarray | None, ndim: int, eps: float, affine: bool
) -> tuple[Any, Any, Any]:
    """The gradients with respect to x and, if ``affine``, weight and bias (else ``None``) of :func:`layer_norm`.

    With h = grad·weight and x̂ the normalised x: dx = (h − Σh/n − x̂·Σ(h·x̂)/n)/√(v + eps).
    """
    if x.dtype is F16:
        gx, gw, gb = layer_norm_backward(grad.astype(F32), x.astype(F32), m, v, _single(weight), ndim, eps, affine)
        return gx.astype(F16), gw, gb
    inverse = 1 / np.sqrt(v + v.dtype.type(eps))[:, None]
    normed, g = as_rows(x, ndim) - m[:, None], as_rows(grad, ndim)
    normed *= inverse
    gw = gb = None
    if affine:
        shape = x.shape[x.ndim - ndim :]
        gw, gb = sum(g * normed, (0,), False).reshape(shape), sum(g, (0,), False).reshape(shape)
    if weight is not None:
        g = g * weight.reshape(-1)
    normed *= mean(g * normed, (1,), True)
    gx = g - normed
    gx -= mean(g, (1,), True)
    gx *= inverse
    return gx.reshape(x.shape), gw, gb


def rms_norm(x: ndarray, weight: ndarray | None, ndim: int, eps: float) -> tuple[Any, Any]:
    """(y, s): y = x/√(s + eps)·weight with the mean s of squares over the last ``ndim`` axes."""
    if x.dtype is F16:
        y, s = rms_norm(x.astype(F32), _single(weight), ndim, eps)
        return y.astype(F16), s
    rows = as_rows(x, ndim)
    s = mean(rows * rows, (1,), False)
    y = (rows * (1 / np.sqrt(s + s.dtype.type(eps)))[:, None]).reshape(x.shape)
    if weight is not None:
        y *= weight
    return y, s


def rms_norm_backward(
    grad: ndarray, x: ndarray, s: ndarray, weight: ndarray | None, ndim: int, eps: float, affine: bool
) -> tuple[Any, Any]:
    """The gradients with respect to x and, if ``affine``, weight (else ``None``) of :func:`rms_norm`.

    With h = grad·weight and x̂ the normalised x: dx = (h − x̂·Σ(h·x̂)/n)/√(s + eps).
    """
    if x.dtype is F16:
        gx, gw = rms_norm_backward(grad.astype(F32), x.astype(F32), s, _single(weight), ndim, eps, affine)
        return gx.astype(F16), gw
    inverse = 1 / np.sqrt(s + s.dtype.type(eps))[:, None]
    normed, g = as_rows(x, ndim) * inverse, as_rows(grad, ndim)
    gw = sum(g * normed, (0,), False).reshape(x.shape[x.ndim - ndim :]) if affine else None
    if weight is not None:
        g = g * weight.reshape(-1)
    normed *= mean(g * normed, (1,), True)
    gx = g - normed
    gx *= inverse
    return gx.reshape(x.shape), gw


# -- over groups of channels ---------------------------------------------------------------------------------------


def _grouped(x: ndarray, groups: int) -> ndarray:
    """x (N, C, *) as rows, one for each example and group."""
    return x.reshape(x.shape[0] * groups, math.prod(x.shape[1:]) // groups)


def _per_channel(a: ndarray, x: ndarray) -> ndarray:
    """A parameter (C) so that it broadcasts to x."""
    return a.reshape(-1, *(1,) * (x.ndim - 2))


def group_norm(
    x: ndarray, groups: int, weight: ndarray | None, bias: ndarray | None, eps: float
) -> tuple[Any, Any, Any]:
    """(y, m, v): each group of channels of x (N, C, *) normalised with its mean m and biased variance v (N, groups), then
    each channel scaled by ``weight`` and shifted by ``bias`` (C).
    """
    if x.dtype is F16:
        y, m, v = group_norm(x.astype(F32), groups, _single(weight), _single(bias), eps)
        return y.astype(F16), m, v
    y, m, v = _centred(_grouped(x, groups))
    y *= (1 / np.sqrt(v + v.dtype.type(eps)))[:, None]
    y = y.reshape(x.shape)
    if weight is not None:
        y *= _per_channel(weight, x)
    if bias is not None:
        y += _per_channel(bias, x)
    return y, m.reshape(-1, groups), v.reshape(-1, groups)


def group_norm_backward(
    grad: ndarray, x: ndarray, m: ndarray, v: ndarray, groups: int, weight: ndarray | None, eps: float, affine: bool
) -> tuple[Any, Any, Any]:
    """The gradients with respect to x and, if ``affine``, weight and bias (else ``None``) of :func:`group_norm`."""
    if x.dtype is F16:
        single = grad.astype(F32), x.astype(F32), m, v, groups, _single(weight)
        gx, gw, gb = group_norm_backward(*single, eps, affine)
        return gx.astype(F16), gw, gb
    inverse = 1 / np.sqrt(v + v.dtype.type(eps)).reshape(-1, 1)
    normed = _grouped(x, groups) - m.reshape(-1, 1)
    normed *= inverse
    gw = gb = None
    if affine:
        axes = (0, *range(2, x.ndim))
        gw, gb = sum(grad * normed.reshape(x.shape), axes, False), sum(grad, axes, False)
    g = _grouped(grad if weight is None else grad * _per_channel(weight, x), groups)
    normed *= mean(g * normed, (1,), True)
    gx = g - normed
    gx -= mean(g, (1,), True)
    gx *= inverse
    return gx.reshape(x.shape), gw, gb


# -- over neighbouring channels ------------------------------------------------------------------------------------


def window_sum(x: ndarray, before: int, after: int) -> ndarray:
    """For each channel of x (N, C, *): the sum of it, the ``before`` channels before it and the ``after`` after it."""
    if x.dtype is F16:
        return window_sum(x.astype(F32), before, after).astype(F16)
    y, channels = x.copy(order="K"), x.shape[1]
    for shift in range(1, max(before, after) + 1):
        if shift >= channels:
            break
        if shift <= before:
            y[:, shift:] += x[:, :-shift]
        if shift <= after:
            y[:, :-shift] += x[:, shift:]
    return y
