"""Batch normalisation, in one of two ways that oneDNN is fast in.

Its own batch normalisation adds up a column in float32, number by number, which loses digits where rows are many (at 200,000 the
variance is off by 1e-4), and is slow on plain images. It serves for matrices of few rows. Otherwise:

Channels side by side in memory (channels-last images, or (N, C)): sums over rows are products with a row of ones, which run at
the speed of the cache, of at most 256 rows each, and are combined in float64; so are the sums of squared deviations, and in the
backward pass of g·(x − mean). Several rows are seen as one, (rows/k, k·C), as wide rows suit what is done element by element.

Plain images (N, C, L): layer normalisation gives mean and variance of each row (n, c) of L numbers, and what is left is one
multiplication and one addition per channel. Where no factor s is negative, x·s + b is the layer normalisation with a given mean
of −b/s and a given variance of 1/s², which runs at the speed of a copy; a binary primitive takes twice as long.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.norm import factor_and_summand

from . import abi
from .core import F32, Plan, attributes, plain_desc, plan, plans, primitive, reorder_into, spec

ndarray = np.ndarray
_DOUBLE = np.dtype(np.float64)
LARGE = 200_000  # numbers for which the parameters of rescale() are worth computing
_FLAGS = abi.USE_SCALE | abi.USE_SHIFT
_SHORT = 8  # plain rows below this length leave too little work per row
_WIDE = 512  # columns that suit an operation element by element
_NARROW = 16  # columns below which it is slow
_DEEP = 256  # the most rows that one sum runs over
_PIECE = 1 << 18  # numbers that stay in the cache from one pass over them to the next


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
def _row_sums(rows: int, length: int) -> Plan | None:
    pd = primitive("matmul", plain_desc((rows, length)), plain_desc((length, 1)), None, plain_desc((rows, 1)))
    return plan(pd, abi.SRC, abi.DST, fixed={abi.WEIGHTS: np.ones(length, F32)})


@plans
def _column_sums(parts: int, rows: int, columns: int) -> Plan | None:
    """The sums of the columns of each of some matrices."""
    shapes = (parts, 1, rows), (parts, rows, columns), (parts, 1, columns)
    a, b, y = (plain_desc(shape) for shape in shapes)
    return plan(primitive("matmul", a, b, None, y), abi.WEIGHTS, abi.DST, fixed={abi.SRC: np.ones(parts * rows, F32)})


@plans
def _deviations(shape: tuple[int, ...], squared: bool) -> Plan | None:
    """dst = (src − m)², or (src − m)·other, with m broadcast from (1, C) or (1, C, 1)."""
    d = plain_desc(shape)
    row = plain_desc((1, shape[1], *(1,) * (len(shape) - 2)))
    attr = attributes(("eltwise", abi.SQUARE, 0.0, 0.0) if squared else ("binary", abi.MUL, d))
    pd = primitive("binary", abi.SUB, d, row, d, attr=attr)
    return plan(pd, abi.SRC, abi.SRC_1, abi.DST, *(() if squared else (abi.post_op_src(0),)))


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
def _times(rows: int, c: int) -> int:
    """How many rows of c numbers to see as one, k; 0 if rows stay narrow."""
    fitting = [k for k in range(1, min(rows, 2 * _WIDE // c) + 1) if rows % k == 0] or [1]
    k = min(fitting, key=lambda k: (k * c % 8 != 0, abs(k * c - _WIDE)))
    return k if k * c >= _NARROW else 0


@lru_cache(1024)
def _portions(rows: int) -> tuple[tuple[int, int, int], ...]:
    """Rows as some matrices of equally many, at most _DEEP, from a first row on: (first, matrices, rows of each)."""
    deep = next((d for d in range(min(rows, _DEEP), 0, -1) if rows % d == 0), 1)
    if deep >= min(rows, _DEEP // 4):
        return ((0, rows // deep, deep),)
    whole = rows - rows % _DEEP
    return (0, whole // _DEEP, _DEEP), (whole, 1, rows - whole)


def _totals(matrix: ndarray, c: int) -> ndarray | None:
    """The sums (C) of columns, which repeat every c, in float64."""
    total: Any = 0
    rows, columns = matrix.shape
    for first, parts, deep in _portions(rows):
        run = _column_sums[parts, deep, columns]
        if run is None:
            return None
        sums = np.empty((parts * columns // c, c), F32)
        run.run(matrix[first:] if first else matrix, sums)
        total = total + np.add.reduce(sums, axis=0, dtype=_DOUBLE)
    return total


@lru_cache(1024)
def _pieces(count: int, size: int) -> tuple[tuple[int, int], ...]:
    """Parts [first, last) of so many things of a size, each part about a piece."""
    parts = min(max(count * size // _PIECE, 1), count)
    return tuple((i * count // parts, (i + 1) * count // parts) for i in range(parts))


def _deviating(x: ndarray, m: ndarray, other: ndarray | None, sums: Any) -> Any:
    """The ``sums`` of (x − m)², or of (x − m)·other, piece by piece of the first axis; None if there is no way."""
    total: Any = 0
    pieces = _pieces(len(x), x.size // len(x))
    room = empty((-(-len(x) // len(pieces)), *x.shape[1:]))
    for first, last in pieces:
        run = _deviations[(last - first, *x.shape[1:]), other is None]
        if run is None:
            return None
        part = room[: last - first]
        run.run(x[first:last], m, part, *(() if other is None else (other[first:last],)))
        found = sums(part)
        if found is None:
            return None
        total = total + found
    return total


def _row_totals(x: ndarray) -> ndarray | None:
    """The sums (C) over the first and last axis of a plain (N, C, L), in float64."""
    n, c, length = x.shape
    run = _row_sums[n * c, length]
    if run is None:
        return None
    sums = np.empty((n, c), F32)
    run.run(x, sums)
    return np.add.reduce(sums, axis=0, dtype=_DOUBLE)


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


def _pooled(means: ndarray, variances: ndarray) -> tuple[ndarray, ndarray]:
    """Mean and variance (C) of equal shares (N, C): the variance within them, and between them."""
    m = np.add.reduce(means, axis=0, dtype=_DOUBLE) / len(means)
    off = means - m
    off *= off
    off += variances
    v = np.add.reduce(off, axis=0) / len(means)
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


def _few(rows: int, c: int) -> bool:
    """Whether a matrix is for oneDNN's own batch normalisation."""
    return rows <= _DEEP and c % 4 == 0


def _last_train(x: ndarray, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    c, rows = x.shape[1], x.size // x.shape[1]
    if _few(rows, c):
        whole = _train[rows, c, eps]
        if whole is None:
            return NotImplemented
        y, m, v = empty_like(x), np.empty(c, F32), np.empty(c, F32)
        whole.run(x, _vector(weight, c, 1), _vector(bias, c, 0), y, m, v)
        return y, m, v
    k = _times(rows, c)
    if not k:
        return NotImplemented
    wide = c * k
    affine, matrix = _affine[(rows // k, wide), False], _matrix(x, wide)
    sums = _totals(matrix, c)
    if affine is None or sums is None:
        return NotImplemented
    m = (sums / rows).astype(F32)
    v = _deviating(matrix, _vector(m, wide, 0), None, lambda part: _totals(part, c))
    if v is None:
        return NotImplemented
    y, v = empty_like(x), (v / rows).astype(F32)
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
    k = 1 if plain else _times(n * length, c) or 1
    affine = _affine[(n, c, length) if plain else (n * length // k, c * k), False]
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
    grad, gx = _like(grad, x), empty_like(x)
    if _few(rows, c):
        whole = _backward[rows, c, eps, _FLAGS]
        if whole is None:
            return NotImplemented
        gw, gb = np.empty(c, F32), np.empty(c, F32)
        whole.run(x, grad, *(_vector(a, c, 1) for a in (weight, mean, var)), gx, gw, gb)
        return gx, gw, gb
    k = _times(rows, c)
    if not k:
        return NotImplemented
    wide = c * k
    g = _matrix(grad, wide)
    sums = _totals(g, c)
    products = _deviating(_matrix(x, wide), _vector(mean, wide, 0), g, lambda part: _totals(part, c))
    if sums is None or products is None:
        return NotImplemented
    products /= np.sqrt(var + _DOUBLE.type(eps))
    return _assembled(grad, x, gx, (rows // k, wide), mean, var, weight, eps, products, sums)


def _plain_backward(
    grad: ndarray, x: ndarray, mean: ndarray, var: ndarray, weight: ndarray | None, eps: float
) -> Any:
    n, c = x.shape[:2]
    shape = n, c, prod(x.shape[2:])
    grad = _like(grad, x)
    g = grad.reshape(shape)
    gb = _row_totals(g)
    gw = _deviating(x.reshape(shape), _vector(mean, c, 0), g, _row_totals)
    if gb is None or gw is None:
        return NotImplemented
    gw /= np.sqrt(var + _DOUBLE.type(eps))
    if np.any(np.square(mean) > 1000 * var):  # x·a would drown (x − mean)·a
        affine = _affine[shape, False]
        if affine is None:
            return NotImplemented
        centred = empty_like(x)
        affine.run(x, _vector(None, c, 1), centred, -mean)
        x, mean = centred, np.zeros_like(mean)
    return _assembled(grad, x, empty_like(x), shape, mean, var, weight, eps, gw, gb)


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
