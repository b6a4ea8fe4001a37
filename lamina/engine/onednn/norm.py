"""Batch normalisation: as rows of channels, whatever the number of dimensions.

oneDNN's fast code wants channels side by side in memory, in multiples of four. So an array (N, C, *) is brought into
channels-last order, if it is not, and seen as a matrix (rows, C). Where C is odd, several rows are seen as one that is
wide enough: (rows/k, k·C). Statistics of such wide rows are combined afterwards, in C numbers instead of rows·C.
"""

from __future__ import annotations

from math import gcd, prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.norm import factor_and_summand

from . import abi
from .core import (
    F32,
    Plan,
    attributes,
    channels_last,
    plain_desc,
    plan,
    plans,
    primitive,
    reorder_into,
    spec,
)

ndarray = np.ndarray
_FLAGS = abi.USE_SCALE | abi.USE_SHIFT


# -- plans: by rows and columns ------------------------------------------------------------------------------------


def _forward(rows: int, columns: int, eps: float, flags: int) -> Any:
    d = plain_desc((rows, columns))
    return primitive("batch_normalization_forward", abi.FORWARD_TRAINING, d, d, eps, flags)


@plans
def _train(rows: int, columns: int, eps: float) -> Plan | None:
    pd = _forward(rows, columns, eps, _FLAGS)
    return plan(pd, abi.SRC, abi.SCALE, abi.SHIFT, abi.DST, abi.MEAN, abi.VARIANCE)


@plans
def _backward(rows: int, columns: int, eps: float, flags: int) -> Plan | None:
    hint = _forward(rows, columns, eps, flags)
    d = plain_desc((rows, columns))
    pd = hint and primitive("batch_normalization_backward", abi.BACKWARD, d, d, d, eps, flags, hint)
    return plan(
        pd, abi.SRC, abi.DIFF_DST, abi.SCALE, abi.MEAN, abi.VARIANCE, abi.DIFF_SRC, abi.DIFF_SCALE, abi.DIFF_SHIFT
    )


@plans
def _affine(shape: tuple[int, ...], other: bool) -> Plan | None:
    """dst = src·factor (+ another array) + summand for plain arrays, the factor and the summand broadcast from (1, C, 1).

    A last dimension of 1 must not be given: oneDNN 3.2's post-ops then mistake their operand's channels.
    """
    d = plain_desc(shape)
    row = plain_desc((1, shape[1], *(1,) * (len(shape) - 2)))
    extra = (("binary", abi.ADD, d),) if other else ()
    pd = primitive("binary", abi.MUL, d, row, d, attr=attributes(*extra, ("binary", abi.ADD, row)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.DST, *(abi.post_op_src(i) for i in range(1 + other)))


# -- arrays as matrices --------------------------------------------------------------------------------------------


def _is_nxc(x: ndarray) -> bool:
    return x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous


def _nxc(x: ndarray) -> ndarray:
    """``x`` with its channels side by side in memory."""
    if _is_nxc(x):
        return x
    if x.ndim == 2:
        return np.ascontiguousarray(x)
    source = spec(x)
    if source is None:
        return channels_last(x)
    y = empty(x.shape, channels_last=True)
    target = spec(y)
    assert target is not None
    reorder_into(x, y, target, source)
    return y


def _fold(x: ndarray) -> int:
    """How many rows to take as one, so that a row is a multiple of four channels; 0 if their number does not allow it."""
    c = x.shape[1]
    k = 8 // gcd(c, 8) if c % 4 else 1
    rows = x.size // c
    return 0 if rows % k else k


def _vector(a: ndarray | None, c: int, default: float, k: int = 1) -> ndarray:
    """A parameter (C), repeated ``k`` times, as one plain row."""
    if a is None:
        return np.full(c * k, default, F32)
    return np.ascontiguousarray(a if k == 1 else np.tile(a, k))


def _takes(x: ndarray, *parameters: ndarray | None) -> bool:
    return x.dtype == F32 and x.ndim > 1 and x.size > 0 and all(a is None or a.dtype == F32 for a in parameters)


# -- kernels -------------------------------------------------------------------------------------------------------


@fast(min_size=2_000)
def batch_norm_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    if not _takes(x, weight, bias):
        return NotImplemented
    k = _fold(x)
    if not k:
        return NotImplemented
    c = x.shape[1]
    rows, columns = x.size // (c * k), c * k
    train = _train[rows, columns, eps]
    if train is None:
        return NotImplemented
    x = _nxc(x)
    y = empty_like(x)
    m, v = np.empty(columns, F32), np.empty(columns, F32)
    if k == 1:
        train.run(x, _vector(weight, c, 1), _vector(bias, c, 0), y, m, v)
        return y, m, v
    affine = _affine[(rows, columns), False]
    if affine is None:
        return NotImplemented
    train.run(x, _vector(None, columns, 1), _vector(None, columns, 0), y, m, v)
    means, variances = m.reshape(k, c), v.reshape(k, c)
    m = means.mean(0)
    v = (variances + np.square(means - m)).mean(0)  # of groups of one size: within them, and between them
    factor, summand = factor_and_summand(m, v, weight, bias, eps)
    affine.run(x, np.tile(factor, k), y, np.tile(summand, k))
    return y, m, v


@fast(min_size=20_000)
def batch_norm_eval(
    x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float
) -> Any:
    if not _takes(x, mean, var, weight, bias):
        return NotImplemented
    n, c = x.shape[:2]
    length = prod(x.shape[2:])
    if x.ndim > 2 and length > 1 and x.flags.c_contiguous:
        affine = _affine[(n, c, length), False]
    elif _is_nxc(x):
        affine = _affine[(n * length, c), False]
    else:
        return NotImplemented
    if affine is None:
        return NotImplemented
    y = empty_like(x)
    factor, summand = factor_and_summand(mean, var, weight, bias, eps)
    affine.run(x, factor, y, summand)
    return y


@fast(min_size=2_000)
def batch_norm_backward(
    grad: ndarray, x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, eps: float
) -> Any:
    if not _takes(x, weight) or grad.dtype != F32:
        return NotImplemented
    k = _fold(x)
    if not k:
        return NotImplemented
    c = x.shape[1]
    rows, columns = x.size // (c * k), c * k
    backward = _backward[rows, columns, eps, _FLAGS if k == 1 else _FLAGS | abi.USE_GLOBAL_STATS]
    if backward is None:
        return NotImplemented
    x, grad = _nxc(x), _nxc(grad)
    gx = empty_like(x)
    gw, gb = np.empty(columns, F32), np.empty(columns, F32)
    if k == 1:
        backward.run(x, grad, _vector(weight, c, 1), mean, var, gx, gw, gb)
        return gx, gw, gb
    affine = _affine[(rows, columns), True]
    if affine is None:
        return NotImplemented
    tiled = (_vector(a, c, 1, k) for a in (weight, mean, var))
    backward.run(x, grad, *tiled, gx, gw, gb)  # gx = scale·g so far
    gw, gb = gw.reshape(k, c).sum(0), gb.reshape(k, c).sum(0)
    inverse = 1 / np.sqrt(var + F32.type(eps))
    scale = inverse if weight is None else inverse * weight
    n = prod(x.shape) // c
    factor = -scale * inverse * gw / n
    summand = -scale * gb / n - factor * mean
    affine.run(x, np.tile(factor, k), gx, gx, np.tile(summand, k))
    return gx, gw, gb
