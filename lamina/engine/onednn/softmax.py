"""Softmax and log-softmax along an axis whose elements lie side by side in memory, float32.

That is the last axis of a plain array and the channels of a channels-last one; the array is then rows of
`n` elements. Along another axis, a plain array is large matrices of n rows, whose columns are normalised by
operations on the whole; or else it is put into an order with the axis inside, and so is its result.

oneDNN's softmax gives a row with a NaN or an infinity one NaN only, PyTorch's is all NaN: such results are
left to the reference. Its log-softmax errs by 3e-6, and of the backward passes it has plain loops only;
they are composed here, of as few passes as possible. What costs is not the elements but the rows, each some
20 to 100 ns in a reduction or a broadcast: sums over rows are therefore products with a vector of ones, the
log-softmax takes one maximum for all rows that are not far below it, and that of short rows works on columns.
"""
from __future__ import annotations

import math
from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.reduction import ones_row

from . import abi
from .core import (
    F32,
    Plan,
    attributes,
    is_dense,
    like,
    moves,
    plain_desc,
    plan,
    plans,
    primitive,
    reorder_plan,
    strided_desc,
)
from .eltwise import _eltwise, has_nan
from .norm import _column_sums, _row_sums

Ints = tuple[int, ...]

SHORT = 64          # rows shorter than this are short
LEAST = 12          # ... shorter than this, very short
LARGE = 16_000      # elements from which an order of memory with the axis inside pays
WIDE = 30_000       # ... of a matrix from which its columns are worth calls of their own
DEEP = 1024         # the most rows of such a matrix
SMALL = 8           # log Σeˣ that is subtracted without a maximum: less than half an ulp of it, 2.4e-7, is lost
NEAR = 1e-3         # what e^(x - maximum of all rows) must add up to in a row that keeps its digits

_ONE = np.ones(1, F32)


def _length(x: np.ndarray, axis: int) -> int:
    """The length of the rows if `axis` is innermost in a dense array that is not empty, else 0."""
    if x.ndim == 0 or x.dtype != F32 or x.strides[axis] != 4 or not x.size or not is_dense(x):
        return 0
    n = x.shape[axis]
    return n if n > 1 else 0


def _inside(x: np.ndarray, axis: int) -> np.ndarray:
    """``x``, or where it pays a copy of it, in whose memory ``axis`` is innermost."""
    if x.dtype != F32 or x.size < LARGE or x.shape[axis] < LEAST or x.strides[axis] == 4:
        return x
    order = [i for i in range(x.ndim) if i != axis % x.ndim] + [axis % x.ndim]
    y = empty(tuple([x.shape[i] for i in order])).transpose(np.argsort(order))
    move = moves[x.shape, x.strides, y.strides]
    if move is None:
        return x
    move.run(x, y)
    return y


def _matrices(x: np.ndarray, axis: int) -> tuple[int, int, int] | None:
    """The shape (outer, n, inner) of a plain array, if to go along its axis in the middle pays."""
    if x.dtype != F32 or not x.flags.c_contiguous or x.ndim < 2 or not x.size:
        return None
    axis %= x.ndim
    n, inner = x.shape[axis], prod(x.shape[axis + 1 :])
    return (x.size // (n * inner), n, inner) if inner > SHORT and 1 < n <= DEEP and n * inner >= WIDE else None


def _rows(x: np.ndarray, n: int) -> np.ndarray:
    """The array (rows, n) that a dense array with rows of n elements is in memory."""
    if not x.flags.c_contiguous:
        x = x.transpose(sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], -x.shape[axis])))
    return x.reshape(-1, n)


def _sums(rows: np.ndarray) -> np.ndarray:
    """The sum of each row, as a column."""
    if rows.size < WIDE:
        return rows.dot(ones_row(rows.shape[1], F32)).reshape(-1, 1)
    run = _row_sums[rows.shape]
    if run is None:
        return np.add.reduce(rows, axis=1, keepdims=True)
    sums = np.empty((len(rows), 1), F32)
    run.run(rows, sums)
    return sums


@plans
def _softmax(rows: int, n: int) -> Plan | None:
    d = plain_desc((rows, n))
    return plan(primitive("softmax_forward", abi.FORWARD_INFERENCE, abi.SOFTMAX_ACCURATE, d, d, 1), abi.SRC, abi.DST)


@plans
def _plain_exp(size: int) -> Plan | None:
    return _eltwise(size, abi.EXP)


@plans
def _exponentials(size: int) -> Plan | None:
    """e^(x − a number)"""
    d = plain_desc((size,))
    pd = primitive("binary", abi.SUB, d, plain_desc((1,)), d, attr=attributes(("eltwise", abi.EXP, 0.0, 0.0)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.DST)


@plans
def _less(shape: Ints, other: Ints) -> Plan | None:
    """(x − a number) − one for each row, or for each column"""
    d = plain_desc(shape)
    attr = attributes(("binary", abi.SUB, plain_desc(other)))
    pd = primitive("binary", abi.SUB, d, plain_desc((1,) * len(shape)), d, attr=attr)
    return plan(pd, abi.SRC, abi.SRC_1, abi.post_op_src(0), abi.DST)


@plans
def _minus(shape: tuple[int, int], other: tuple[int, int]) -> Plan | None:
    """x − a number for each row, or for each column"""
    d = plain_desc(shape)
    return plan(primitive("binary", abi.SUB, d, plain_desc(other), d), abi.SRC, abi.SRC_1, abi.DST)


@plans
def _transpose(rows: int, n: int) -> Plan:
    return reorder_plan(plain_desc((rows, n)), strided_desc((rows, n), (1, rows)))


@plans
def _exp(size: int) -> Plan | None:
    """max(eˣ, x), which is eˣ but for NaN, which the first makes inf"""
    d = plain_desc((size,))
    pd = primitive("binary", abi.MUL, d, plain_desc((1,)), d,
                   attr=attributes(("eltwise", abi.EXP, 0.0, 0.0), ("binary", abi.MAX, d)))
    return plan(pd, abi.SRC, abi.post_op_src(1), abi.DST, fixed={abi.SRC_1: _ONE})


@plans
def _softmax_backward(shape: Ints, other: Ints) -> Plan | None:
    """(grad − s)·y for one s for each row, or for each column"""
    d = plain_desc(shape)
    pd = primitive("binary", abi.SUB, d, plain_desc(other), d, attr=attributes(("binary", abi.MUL, d)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.post_op_src(0), abi.DST)


@plans
def _log_softmax_backward(shape: Ints, other: Ints) -> Plan | None:
    """grad − p·s for one s for each row, or for each column"""
    d = plain_desc(shape)
    pd = primitive("binary", abi.MUL, d, plain_desc(other), d,
                   attr=attributes(("eltwise", abi.LINEAR, -1.0, 0.0), ("binary", abi.ADD, d)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.post_op_src(1), abi.DST)


@plans
def _times(size: int) -> Plan | None:
    d = plain_desc((size,))
    return plan(primitive("binary", abi.MUL, d, d, d), abi.SRC, abi.SRC_1, abi.DST)


@plans
def _over(shape: Ints, other: Ints) -> Plan | None:
    """x / a number for each column"""
    d = plain_desc(shape)
    return plan(primitive("binary", abi.DIV, d, plain_desc(other), d), abi.SRC, abi.SRC_1, abi.DST)


def _totals(x: np.ndarray) -> np.ndarray | None:
    """The sums of the columns of matrices."""
    run = _column_sums[x.shape]
    if run is None:
        return None
    sums = np.empty((len(x), x.shape[2]), F32)
    run.run(x, sums)
    return sums


def _across(x: np.ndarray, shape: tuple[int, int, int], log: bool) -> np.ndarray | None:
    """Softmax, or its logarithm, of the columns of matrices; None where one lies too far below the largest number."""
    matrix, row = shape[1:], (1, shape[2])
    exp, last = _exponentials[x.size], (_less if log else _over)[matrix, row]
    top = np.maximum.reduce(x, axis=None)
    if exp is None or last is None or not np.isfinite(top):
        return None
    top = top.reshape(1)
    y = empty(shape)
    exp.run(x, top, y)
    sums = _totals(y)
    if sums is None or not np.minimum.reduce(sums, axis=None) >= NEAR:
        return None
    if log:
        np.log(sums, out=sums)
        for a, s, b in zip(x.reshape(shape), sums, y, strict=True):
            last.run(a, top, s, b)
    else:
        for s, b in zip(sums, y, strict=True):
            last.run(b, s, b)
    return y.reshape(x.shape)


def _placed(x: np.ndarray, axis: int, log: bool) -> tuple[np.ndarray, int, np.ndarray | None]:
    """``x``, in an order in which the axis is rows of some length, or 0 if that is no use; or the result across matrices."""
    n = _length(x, axis)
    if n:
        return x, n, None
    shape = _matrices(x, axis)
    found = None if shape is None else _across(x, shape, log)
    if found is None:
        x = _inside(x, axis)
        n = _length(x, axis)
    return x, n, found


@fast(min_size=1_000)
def softmax(x: np.ndarray, axis: int) -> Any:
    """eˣ/Σeˣ along an axis."""
    x, n, found = _placed(x, axis, False)
    if found is not None:
        return found
    p = _softmax[x.size // n, n] if n else None
    if p is None:
        return NotImplemented
    y = empty_like(x)
    p.run(x, y)
    return NotImplemented if has_nan(y) else y


@fast(min_size=3_000)
def log_softmax(x: np.ndarray, axis: int) -> Any:
    """x − log Σeˣ along an axis."""
    x, n, found = _placed(x, axis, True)
    if found is not None:
        return found
    if not n:
        return NotImplemented
    y = empty_like(x)
    rows, result = _rows(x, n), _rows(y, n)
    if n >= LEAST:
        if _as_it_is(rows, result):
            return y
        far = _with_one_maximum(rows, result)
        if far is not None and 4 * len(far) <= len(rows):
            if len(far):
                some = np.empty((len(far), n), F32)
                if not _with_maxima(rows[far], some):
                    return NotImplemented
                result[far] = some
            return y
    if n > SHORT:
        return y if _with_maxima(rows, result) else NotImplemented
    return y if _by_columns(rows, result) else NotImplemented


def _as_it_is(rows: np.ndarray, y: np.ndarray) -> bool:
    """The log-softmax of rows in y without a maximum, and whether it is exact, as the sums show, and the first row before."""
    if not np.maximum.reduce(rows[0]) < SMALL:
        return False
    exp, minus = _plain_exp[rows.size], _minus[rows.shape, (len(rows), 1)]
    if exp is None or minus is None:
        return False
    exp.run(rows, y)
    sums = _sums(y)
    if not (np.minimum.reduce(sums, axis=None) > NEAR and np.maximum.reduce(sums, axis=None) < math.exp(SMALL)):
        return False
    minus.run(rows, np.log(sums, out=sums), y)
    return True


def _with_one_maximum(rows: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """The log-softmax of rows in y, and which of them are wrong as they lie too far below the rest; None if all are."""
    exp, less = _exponentials[rows.size], _less[(1, *rows.shape), (1, len(rows), 1)]
    top = np.maximum.reduce(rows, axis=None)
    if exp is None or less is None or not np.isfinite(top):
        return None
    top = top.reshape(1)
    exp.run(rows, top, y)
    sums = _sums(y)
    far = np.flatnonzero(sums < NEAR)
    less.run(rows, top, np.log(sums, out=sums), y)
    return far


def _with_maxima(rows: np.ndarray, y: np.ndarray) -> bool:
    """The same with a maximum for each row; whether there was a way."""
    exp, minus = _exp[rows.size], _minus[rows.shape, (len(rows), 1)]
    if exp is None or minus is None:
        return False
    e = empty(rows.shape)
    minus.run(rows, np.maximum.reduce(rows, axis=1), y)
    exp.run(y, y, e)
    minus.run(y, np.log(_sums(e)), y)
    return True


def _by_columns(rows: np.ndarray, y: np.ndarray) -> bool:
    shape = rows.shape[::-1]
    exp, minus = _exp[rows.size], _minus[shape, (1, shape[1])]
    if exp is None or minus is None:
        return False
    columns, e = empty(shape), empty(shape)
    _transpose[rows.shape].run(rows, columns)
    minus.run(columns, np.maximum.reduce(columns, axis=0), columns)
    exp.run(columns, columns, e)
    minus.run(columns, np.log(np.add.reduce(e, axis=0)), columns)
    _transpose[shape].run(columns, y)
    return True


@fast(min_size=16_000)
def softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> Any:
    """y·(grad − Σ grad·y)."""
    n = _length(y, axis)
    if grad.dtype != F32 or grad.shape != y.shape:
        return NotImplemented
    grad = like(grad, y)
    shape = None if n else _matrices(y, axis)
    if shape is not None:
        return _backward_across(grad, y, shape)
    if not n:
        return NotImplemented
    result = empty_like(y)
    g, p, r = _rows(grad, n), _rows(y, n), _rows(result, n)
    if n >= LEAST:
        whole = _softmax_backward[p.shape, (len(p), 1)]
        if whole is None:
            return NotImplemented
        whole.run(g, np.vecdot(g, p) if n > SHORT else _sums(np.multiply(g, p, out=r)), p, r)
    else:
        np.multiply(g, p, out=r)
        np.subtract(g, _sums(r), out=r)
        np.multiply(r, p, out=r)
    return result


def _backward_across(grad: np.ndarray, y: np.ndarray, shape: tuple[int, int, int]) -> Any:
    rest = _softmax_backward[shape[1:], (1, shape[2])]
    g, p = grad.reshape(shape), y.reshape(shape)
    result = empty(shape)
    times = _times[y.size]
    if rest is None or times is None:
        return NotImplemented
    times.run(g, p, result)
    sums = _totals(result)
    if sums is None:
        return NotImplemented
    for a, s, b, r in zip(g, sums, p, result, strict=True):
        rest.run(a, s, b, r)
    return result.reshape(y.shape)


@fast(min_size=10_000)
def log_softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> Any:
    """grad − eʸ·Σ grad."""
    n = _length(y, axis)
    if grad.dtype != F32 or grad.shape != y.shape:
        return NotImplemented
    grad = like(grad, y)
    shape = None if n else _matrices(y, axis)
    if shape is not None:
        return _log_backward_across(grad, y, shape)
    exp = _exp[y.size] if n else None
    if exp is None:
        return NotImplemented
    result = empty_like(y)
    exp.run(y, y, result)
    g, r = _rows(grad, n), _rows(result, n)
    if n >= LEAST:
        rest = _log_softmax_backward[r.shape, (len(r), 1)]
        if rest is None:
            return NotImplemented
        rest.run(r, _sums(g), g, r)
    else:
        np.multiply(r, _sums(g), out=r)
        np.subtract(g, r, out=r)
    return result


def _log_backward_across(grad: np.ndarray, y: np.ndarray, shape: tuple[int, int, int]) -> Any:
    exp, rest = _exp[y.size], _log_softmax_backward[shape[1:], (1, shape[2])]
    g = grad.reshape(shape)
    sums = _totals(g)
    if exp is None or rest is None or sums is None:
        return NotImplemented
    result = empty(shape)
    exp.run(y, y, result)
    for a, s, r in zip(g, sums, result, strict=True):
        rest.run(r, s, a, r)
    return result.reshape(y.shape)
