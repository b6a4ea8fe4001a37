"""Batch normalisation, in one of two ways that oneDNN is fast in.

Channels side by side in memory (channels-last images, or (N, C)): batch normalisation of a matrix (rows, C). oneDNN adds
up a column in float32, number by number, which loses digits where rows are many: at 200,000 the variance is off by 1e-4.
So several rows are seen as one, (rows/k, k·C), and a large matrix is taken in parts that stay in the cache meanwhile,
which saves a pass over memory as well. The fast code wants multiples of four columns in any case.

Plain images (N, C, L): oneDNN's batch normalisation is slow there, its layer normalisation is not. That one gives mean
and variance of each row (n, c) of L numbers, and what is left is one multiplication and one addition per channel. Where no
factor s is negative, x·s + b is the layer normalisation with a given mean of −b/s and a given variance of 1/s², which runs
at the speed of a copy; a binary primitive takes twice as long.

In both, statistics of equal shares of a channel are combined in float64, in numbers of which there are few.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.linalg import product
from lamina.engine.reference.norm import factor_and_summand

from . import abi
from .core import F32, Plan, attributes, plain_desc, plan, plans, primitive, reorder_into, spec

ndarray = np.ndarray
_DOUBLE = np.dtype(np.float64)
LARGE = 200_000  # numbers for which the parameters of rescale() are worth computing
_FLAGS = abi.USE_SCALE | abi.USE_SHIFT
_SHORT = 8  # plain rows below this length leave too little work per row
_WIDE = 512  # columns that are enough for one pass over memory
_DEEP = 256  # the most rows that one sum runs over
_PART = 1 << 17  # numbers that stay in the cache from one pass over them to the next


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


@plans
def _sum_with(shape: tuple[int, ...]) -> Plan | None:
    """dst = src·a + other, with a broadcast from (1, C) or (1, C, 1)."""
    d = plain_desc(shape)
    row = plain_desc((1, shape[1], *(1,) * (len(shape) - 2)))
    pd = primitive("binary", abi.MUL, d, row, d, attr=attributes(("binary", abi.ADD, d)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.DST, abi.post_op_src(0))


@plans
def _rescaled(rows: int, length: int) -> Plan | None:
    """dst = (src − mean)/√variance with given ones of each row."""
    d = plain_desc((rows, length))
    pd = primitive(
        "layer_normalization_forward", abi.FORWARD_INFERENCE, d, d, plain_desc((rows,)), 0.0, abi.USE_GLOBAL_STATS
    )  # fmt: skip
    return plan(pd, abi.SRC, abi.DST, abi.MEAN, abi.VARIANCE)


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


@lru_cache(1024)
def _shares(rows: int, c: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """How many rows to take as one, k, and the parts [first, last) of the rows/k wide rows; (0, ()) if there is no way.

    A wide row has a multiple of four columns, eight if they are narrow.
    """
    step = 8 // gcd(c, 8) if c % 4 else 1
    if step == 1 and rows <= _DEEP:
        return 1, ((0, rows),)
    wanted = max(_WIDE // c, -(-rows // _DEEP) if c < _WIDE else 1)
    fitting = [k for k in range(step, min(rows, max(2 * _WIDE // c, step)) + 1, step) if rows % k == 0]
    if not fitting:
        return 0, ()
    k = min(fitting, key=lambda k: (abs(k - wanted), k))
    total, deep = rows // k, max(min(_DEEP, _PART // (c * k)), 1)
    if total <= _DEEP and rows * c <= 2 * _PART:
        return k, ((0, total),)
    count = -(-total // deep)
    return k, tuple((i * total // count, (i + 1) * total // count) for i in range(count))


def _matrix(x: ndarray, columns: int) -> ndarray:
    """A channels-last array as rows of some columns."""
    return x.transpose(0, *range(2, x.ndim), 1).reshape(-1, columns)


def _vector(a: ndarray | None, columns: int, default: float) -> ndarray:
    """A parameter (C) as one plain row, repeated as often as fits."""
    if a is None:
        return np.full(columns, default, F32)
    if len(a) == columns:
        return np.ascontiguousarray(a)
    y = np.empty((columns // len(a), len(a)), F32)
    y[...] = a
    return y.reshape(columns)


def rescale(x: ndarray, y: ndarray, root: ndarray, mean: ndarray) -> bool:
    """y = (x − mean)/root for plain arrays (N, C, L), with a mean and a root (C) or (N, C), in double precision.

    Says whether it was done: no root may be negative, or so small or large that its square is no float32.
    """
    if not (np.minimum.reduce(root, axis=None) > 1e-18 and np.maximum.reduce(root, axis=None) < 1e18):
        return False
    n, c = x.shape[:2]
    run = _rescaled[n * c, x.size // (n * c)]
    if run is None:
        return False
    means, variances = np.empty((n, c), F32), np.empty((n, c), F32)
    means[...] = mean
    np.multiply(root, root, out=variances, casting="same_kind")
    run.run(x, y, means, variances)
    return True


def _pooled(means: ndarray, variances: ndarray, sizes: Any = None) -> tuple[ndarray, ndarray]:
    """Mean and variance (C) of shares (*, C) of equal or some ``sizes``: variance within them, and between them."""
    m = np.average(means, 0, sizes) if sizes else means.mean(0, dtype=np.float64)
    off = means - m
    off *= off
    off += variances
    v = np.average(off, 0, sizes) if sizes else off.mean(0)
    return m.astype(F32), v.astype(F32)


# -- kernels -------------------------------------------------------------------------------------------------------


@fast(min_size=2_000)
def batch_norm_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    if not _takes(x, weight, bias):
        return NotImplemented
    x, plain = _settled(x)
    return (_plain_train if plain else _last_train)(x, weight, bias, eps)


def _plain_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    n, c, length = *x.shape[:2], prod(x.shape[2:])
    statistics = _rows[n * c, length] if length >= _SHORT else None
    affine = _affine[(n, c, length), False]
    if statistics is None or affine is None:
        return NotImplemented
    y, means, variances = empty_like(x), np.empty((n, c), F32), np.empty((n, c), F32)
    statistics.run(x, y, means, variances)
    m, v = (means[0], variances[0]) if n == 1 else _pooled(means, variances)
    if x.size < LARGE or not rescale(x, y, *_root_and_mean(m, v, weight, bias, eps)):
        factor, summand = (_vector(a, c, 0) for a in factor_and_summand(m, v, weight, bias, eps))
        affine.run(x, factor, y, summand)
    return y, m, v


def _root_and_mean(m: ndarray, v: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> tuple[ndarray, ndarray]:
    """What x·s + b is (x − mean)/root with, for the s and b of a normalisation, in double precision."""
    root = np.sqrt(v + _DOUBLE.type(eps))
    if weight is not None:
        root /= weight
    return root, m if bias is None else m - bias * root


def _last_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    c, rows = x.shape[1], x.size // x.shape[1]
    k, parts = _shares(rows, c)
    wide = c * k
    if not k or (first := _train[parts[0][1], wide, eps]) is None:
        return NotImplemented
    y = empty_like(x)
    if wide == c and len(parts) == 1:
        m, v = np.empty(c, F32), np.empty(c, F32)
        first.run(x, _vector(weight, c, 1), _vector(bias, c, 0), y, m, v)
        return y, m, v
    affine = _affine[(rows // k, wide), False]
    if affine is None:
        return NotImplemented
    matrix = _matrix(x, wide)
    ones, zeros = _vector(None, wide, 1), _vector(None, wide, 0)
    means, variances = np.empty((len(parts), wide), F32), np.empty((len(parts), wide), F32)
    unwanted = empty((-(-rows // k // len(parts)), wide))
    for i, (start, stop) in enumerate(parts):
        _train[stop - start, wide, eps].run(matrix[start:stop], ones, zeros, unwanted, means[i], variances[i])
    sizes = [stop - start for start, stop in parts for _ in range(k)] if rows // k % len(parts) else None
    m, v = _pooled(means.reshape(-1, c), variances.reshape(-1, c), sizes)
    factor, summand = (_vector(a, wide, 0) for a in factor_and_summand(m, v, weight, bias, eps))
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
    if plain and length >= _SHORT and x.size >= LARGE:
        y = empty_like(x)
        if rescale(x, y, *_root_and_mean(mean, var, weight, bias, eps)):
            return y
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
    rows = n * length
    k, parts = _shares(rows, c)
    wide = c * k
    whole = wide == c and len(parts) == 1
    flags = _FLAGS if whole else _FLAGS | abi.USE_GLOBAL_STATS
    if not k or (first := _backward[parts[0][1], wide, eps, flags]) is None:
        return NotImplemented
    grad, gx = _like(grad, x), empty_like(x)
    vectors = [_vector(a, wide, 1) for a in (weight, mean, var)]
    if whole:
        gw, gb = np.empty(c, F32), np.empty(c, F32)
        first.run(x, grad, *vectors, gx, gw, gb)
        return gx, gw, gb
    # A part has a share of each channel's sums only, which is why the primitive was told to leave them out of gx.
    gws, gbs = np.empty((len(parts), wide), F32), np.empty((len(parts), wide), F32)
    xs, grads, unwanted = _matrix(x, wide), _matrix(grad, wide), empty((-(-rows // k // len(parts)), wide))
    for i, (start, stop) in enumerate(parts):
        part = _backward[stop - start, wide, eps, flags]
        part.run(xs[start:stop], grads[start:stop], *vectors, unwanted, gws[i], gbs[i])
    gw, gb = (sums.reshape(-1, c).sum(0, dtype=np.float64) for sums in (gws, gbs))
    return _assembled(grad, x, gx, (rows // k, wide), mean, var, weight, eps, gw, gb)


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
    if len(shape) == 3 and x.size >= LARGE:  # (g + b/s)·s first, then x·a·s
        second = _sum_with[shape,]
        if second is not None and rescale(grad.reshape(shape), gx, 1 / s, -b / s):
            second.run(x, (a * s).astype(F32), gx, gx)
            return gx, gw.astype(F32), gb.astype(F32)
    factor, scale, summand = (_vector(v.astype(F32), shape[1], 0) for v in (a, s, b))
    affine.run(x, factor, gx, grad, scale, summand)
    return gx, gw.astype(F32), gb.astype(F32)
