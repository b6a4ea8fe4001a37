"""Batch normalisation, in one of two ways that oneDNN is fast in.

Channels side by side in memory (channels-last images, or (N, C)): batch normalisation of a matrix (rows, C). The fast
code wants multiples of four columns; where C is no such number, several rows are seen as one: (rows/k, k·C).

Plain images (N, C, L): oneDNN's batch normalisation is slow there, its layer normalisation is not. That one gives mean
and variance of each row (n, c) of L numbers, and what is left is one multiplication and one addition per channel.

In both, statistics of equal shares of a channel are combined in float64, in numbers of which there are few.
"""

from __future__ import annotations

from math import gcd, prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty_like
from lamina.engine.reference.linalg import product
from lamina.engine.reference.norm import factor_and_summand

from . import abi
from .core import F32, Plan, attributes, plain_desc, plan, plans, primitive, reorder_into, spec

ndarray = np.ndarray
_FLAGS = abi.USE_SCALE | abi.USE_SHIFT
_SHORT = 8  # plain rows below this length leave too little work per row
_WIDE = 512  # columns that are enough for one pass over memory


# -- plans ---------------------------------------------------------------------------------------------------------


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
    )  # fmt: skip


@plans
def _rows(rows: int, length: int) -> Plan | None:
    """Mean and variance of each row (and the normalised rows, which nobody wants)."""
    d = plain_desc((rows, length))
    pd = primitive("layer_normalization_forward", abi.FORWARD_TRAINING, d, d, plain_desc((rows,)), 1.0, 0)
    return plan(pd, abi.SRC, abi.DST, abi.MEAN, abi.VARIANCE)


@plans
def _affine(shape: tuple[int, ...], other: bool) -> Plan | None:
    """dst = src·a + b, or (src·a + other)·s + b, for plain arrays, with a, s and b broadcast from (1, C) or (1, C, 1).

    A last dimension of 1 must not be given: oneDNN 3.2's post-ops then mistake their operand's channels.
    """
    d = plain_desc(shape)
    row = plain_desc((1, shape[1], *(1,) * (len(shape) - 2)))
    between = (("binary", abi.ADD, d), ("binary", abi.MUL, row)) if other else ()
    pd = primitive("binary", abi.MUL, d, row, d, attr=attributes(*between, ("binary", abi.ADD, row)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.DST, *(abi.post_op_src(i) for i in range(1 + len(between))))


# -- arrays --------------------------------------------------------------------------------------------------------


def _takes(x: ndarray, *parameters: ndarray | None) -> bool:
    return x.dtype == F32 and x.ndim > 1 and x.size > 0 and all(a is None or a.dtype == F32 for a in parameters)


def _is_nxc(x: ndarray) -> bool:
    return x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous


def _settled(x: ndarray) -> tuple[ndarray, bool]:
    """``x`` in one of the two orders of memory, and whether it is the plain one."""
    if _is_nxc(x):
        return x, False
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    return x, not _is_nxc(x)  # of shape (N, C, 1) it is both by now


def _like(g: ndarray, x: ndarray) -> ndarray:
    """``g`` in the order of memory of ``x``."""
    if g.strides == x.strides or g.flags.c_contiguous and x.flags.c_contiguous:
        return g
    y = empty_like(x)
    source, target = spec(g), spec(y)
    if source is None or target is None:
        y[...] = g
    else:
        reorder_into(g, y, target, source)
    return y


def _fold(rows: int, c: int) -> int:
    """How many rows to take as one, so that a row is a multiple of four channels; 0 if their number does not allow it."""
    k = 8 // gcd(c, 8) if c % 4 else 1
    return 0 if rows % k else k


def _vector(a: ndarray | None, columns: int, default: float) -> ndarray:
    """A parameter (C) as one plain row, repeated as often as fits."""
    if a is None:
        return np.full(columns, default, F32)
    return np.ascontiguousarray(a if len(a) == columns else np.tile(a, columns // len(a)))


def _pooled(means: ndarray, variances: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and variance (C) of shares (*, C) of one size: variance within them, and between them."""
    m = means.mean(0, dtype=np.float64)
    v = (variances + np.square(means - m)).mean(0)
    return m.astype(F32), v.astype(F32)


# -- kernels -------------------------------------------------------------------------------------------------------


@fast(min_size=2_000)
def batch_norm_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    if not _takes(x, weight, bias):
        return NotImplemented
    x, plain = _settled(x)
    n, c = x.shape[:2]
    length = prod(x.shape[2:])
    if plain:
        statistics = _rows[n * c, length] if length >= _SHORT else None
        shape: tuple[int, ...] = (n, c, length)
        k = 1
    else:
        k = _fold(n * length, c)
        shape = (n * length // k, c * k) if k else ()
        statistics = _train[(*shape, eps)] if k else None
    if statistics is None:
        return NotImplemented
    y = empty_like(x)
    if not plain and k == 1:
        m, v = np.empty(c, F32), np.empty(c, F32)
        statistics.run(x, _vector(weight, c, 1), _vector(bias, c, 0), y, m, v)
        return y, m, v
    affine = _affine[shape, False]
    if affine is None:
        return NotImplemented
    if plain:
        means, variances = np.empty((n, c), F32), np.empty((n, c), F32)
        statistics.run(x, y, means, variances)
    else:
        means, variances = np.empty((k, c), F32), np.empty((k, c), F32)
        statistics.run(x, _vector(None, c * k, 1), _vector(None, c * k, 0), y, means, variances)
    m, v = _pooled(means, variances)
    factor, summand = (_vector(a, c * k, 0) for a in factor_and_summand(m, v, weight, bias, eps))
    affine.run(x, factor, y, summand)
    return y, m, v


@fast(min_size=20_000)
def batch_norm_eval(
    x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float
) -> Any:
    if not _takes(x, mean, var, weight, bias):
        return NotImplemented
    x, plain = _settled(x)
    n, c = x.shape[:2]
    length = prod(x.shape[2:])
    rows, k = n * length, 1
    while not plain and c * k < _WIDE and rows % 2 == 0:
        rows, k = rows // 2, k * 2
    affine = _affine[(n, c, length) if plain else (rows, c * k), False]
    if affine is None:
        return NotImplemented
    y = empty_like(x)
    factor, summand = (_vector(a, c * k, 0) for a in factor_and_summand(mean, var, weight, bias, eps))
    affine.run(x, factor, y, summand)
    return y


@fast(min_size=2_000)
def batch_norm_backward(
    grad: ndarray, x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, eps: float
) -> Any:
    if not _takes(x, weight) or grad.dtype != F32:
        return NotImplemented
    x, plain = _settled(x)
    n, c = x.shape[:2]
    length = prod(x.shape[2:])
    if plain:
        return _plain_backward(grad, x, mean, var, weight, eps) if length >= _SHORT else NotImplemented
    k = _fold(n * length, c)
    if not k:
        return NotImplemented
    shape = n * length // k, c * k
    backward = _backward[(*shape, eps, _FLAGS if k == 1 else _FLAGS | abi.USE_GLOBAL_STATS)]
    if backward is None:
        return NotImplemented
    grad, gx = _like(grad, x), empty_like(x)
    gw, gb = np.empty((k, c), F32), np.empty((k, c), F32)
    backward.run(x, grad, *(_vector(a, c * k, 1) for a in (weight, mean, var)), gx, gw, gb)
    if k == 1:
        return gx, gw[0], gb[0]
    # With k rows as one, the primitive knows a share of each channel's sums only, which is why it was told to leave them
    # out of gx.
    gw, gb = gw.sum(0, dtype=np.float64), gb.sum(0, dtype=np.float64)
    return _assembled(grad, x, gx, shape, mean, var, weight, eps, gw, gb)


def _plain_backward(
    grad: ndarray, x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, eps: float
) -> Any:
    n, c = x.shape[:2]
    shape = n, c, prod(x.shape[2:])
    grad = _like(grad, x)
    centred = x
    if np.any(np.square(mean) > 1000 * var):  # Σg·x would drown Σg·(x − mean)
        affine = _affine[shape, False]
        if affine is None:
            return NotImplemented
        centred = empty_like(x)
        affine.run(x, _vector(None, c, 1), centred, -mean)
        mean = np.zeros_like(mean)
    g = grad.reshape(n * c, shape[2], 1)
    gb = product(g[..., 0], np.ones(shape[2:], F32)[:, None]).reshape(n, c).sum(0, dtype=np.float64)
    products = product(centred.reshape(n * c, 1, shape[2]), g).reshape(n, c).sum(0, dtype=np.float64)
    gw = (products - mean * gb) / np.sqrt(var + np.float64(eps))
    return _assembled(grad, centred, empty_like(x), shape, mean, var, weight, eps, gw, gb)


def _assembled(
    grad: ndarray, x: ndarray, gx: ndarray, shape: tuple[int, ...], mean: ndarray, var: ndarray, weight: ndarray | None,
    eps: float, gw: ndarray, gb: ndarray,
) -> Any:  # fmt: skip
    """gx = s·(g − Σg/n − x̂·Σ(g·x̂)/n) = (x·a + g)·s + b, with the sums known."""
    affine = _affine[shape, True]
    if affine is None:
        return NotImplemented
    n = x.size // len(mean)
    inverse = 1 / np.sqrt(var + np.float64(eps))
    a = -inverse * gw / n
    s = inverse if weight is None else inverse * weight
    b = -s * (gb / n + a * mean)
    factor, scale, summand = (_vector(v.astype(F32), shape[1], 0) for v in (a, s, b))
    affine.run(x, factor, gx, grad, scale, summand)
    return gx, gw.astype(F32), gb.astype(F32)
