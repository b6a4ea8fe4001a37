"""Batch normalisation of arrays (N, C, *): statistics are arrays (C) over all axes but the channels'."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.reference.reduction import F16, F32, mean, sum

__all__ = ["batch_norm_train", "batch_norm_eval", "batch_norm_backward", "move_statistics", "count_up"]

ndarray = np.ndarray


def _axes(x: ndarray) -> tuple[int, ...]:
    return (0, *range(2, x.ndim))


def _shaped(parameter: Any, x: ndarray) -> Any:
    """A parameter (C) so that it broadcasts to x."""
    return parameter if x.ndim == 2 else parameter.reshape(-1, *(1,) * (x.ndim - 2))


def batch_norm_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> tuple[Any, Any, Any]:
    """((x − m)/√(v + eps)·weight + bias, m, v) with the mean m and the biased variance v of each channel."""
    if x.dtype is F16:
        y, m, v = batch_norm_train(x.astype(F32), _single(weight), _single(bias), eps)
        return y.astype(F16), m, v
    axes = _axes(x)
    m = mean(x, axes, False)
    y = np.subtract(x, _shaped(m, x))
    v = mean(y * y, axes, False)
    scale = 1 / np.sqrt(v + x.dtype.type(eps))
    y *= _shaped(scale if weight is None else scale * weight, x)
    if bias is not None:
        y += _shaped(bias, x)
    return y, m, v


def batch_norm_eval(
    x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float
) -> Any:
    """(x − mean)/√(var + eps)·weight + bias, as one factor and one summand per channel."""
    if x.dtype is F16:
        statistics, affine = map(_single, (mean, var)), map(_single, (weight, bias))
        return batch_norm_eval(x.astype(F32), *statistics, *affine, eps).astype(F16)  # type: ignore[call-arg]
    scale, shift = factor_and_summand(mean, var, weight, bias, eps)
    y = x * _shaped(scale, x)
    y += _shaped(shift, x)
    return y


def factor_and_summand(
    mean: ndarray, var: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float
) -> tuple[Any, Any]:
    """What each channel is multiplied with, and what is added to it."""
    scale = 1 / np.sqrt(var + var.dtype.type(eps))
    if weight is not None:
        scale *= weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def batch_norm_backward(
    grad: ndarray, x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, eps: float
) -> tuple[Any, Any, Any]:
    """The gradients with respect to x, weight and bias of :func:`batch_norm_train`.

    With s = weight/√(v + eps) and x̂ the normalised x: dx = s·(g − Σg/n − x̂·Σ(g·x̂)/n).
    """
    if x.dtype is F16:
        gx, gw, gb = batch_norm_backward(grad.astype(F32), x.astype(F32), mean, var, _single(weight), eps)
        return gx.astype(F16), gw, gb
    axes = _axes(x)
    n = x.size // x.shape[1] if x.size else 1
    inverse = 1 / np.sqrt(var + x.dtype.type(eps))
    scale = inverse if weight is None else inverse * weight
    centred = x - _shaped(mean, x)
    gx = np.multiply(grad, centred, out=np.empty_like(centred))
    gw, gb = sum(gx, axes, False) * inverse, sum(grad, axes, False)
    np.multiply(grad, _shaped(scale, x), out=gx)
    centred *= _shaped(scale * inverse * gw / n, x)
    gx -= centred
    gx -= _shaped(scale * gb / n, x)
    return gx, gw, gb


def _single(a: ndarray | None) -> Any:
    return a if a is None or a.dtype is F32 else a.astype(F32)


def move_statistics(
    running_mean: ndarray, running_var: ndarray, mean: ndarray, var: ndarray, momentum: float, factor: float
) -> ndarray:
    """running ← (1 − momentum)·running + momentum·new, in place, for the mean and for ``factor`` times the variance."""
    if running_mean.itemsize == 2:  # half precision, kept so and computed in single
        for running, new in ((running_mean, mean), (running_var, var * F32.type(factor))):
            running[...] = running.astype(F32) * (1 - momentum) + new * momentum
        return running_mean
    running_mean *= 1 - momentum
    running_mean += mean * momentum
    running_var *= 1 - momentum
    running_var += var * (momentum * factor)
    return running_mean


def count_up(x: ndarray) -> ndarray:
    """x ← x + 1, in place."""
    x += 1
    return x
