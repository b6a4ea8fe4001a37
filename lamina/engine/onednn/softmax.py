"""Softmax and log-softmax along an axis whose elements lie side by side in memory, float32.

That is the last axis of a plain array and the channels of a channels-last one; the array is then rows of
`n` elements. Other axes are NumPy's, whose reductions are fast just there.

oneDNN's softmax gives a row with a NaN or an infinity one NaN only, PyTorch's is all NaN: such results are
left to the reference. Its log-softmax errs by 3e-6, and of the backward passes it has plain loops only;
they are composed here, of as few passes as possible. What costs is not the elements but the rows, each some
20 to 100 ns in a reduction or a broadcast: sums over short rows are therefore products with a vector of
ones, and the log-softmax of short rows works on columns.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.blas import one_thread
from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like

from . import abi
from .core import (
    F32,
    Plan,
    attributes,
    is_dense,
    like,
    plain_desc,
    plan,
    plans,
    primitive,
    reorder_plan,
    strided_desc,
)

SHORT = 64          # rows shorter than this are short

_ONE = np.ones(1, F32)


def _length(x: np.ndarray, axis: int) -> int:
    """The length of the rows if `axis` is innermost in a dense array that is not empty, else 0."""
    if x.ndim == 0 or x.dtype != F32 or x.strides[axis] != 4 or not x.size or not is_dense(x):
        return 0
    n = x.shape[axis]
    return n if n > 1 else 0


def _rows(x: np.ndarray, n: int) -> np.ndarray:
    """The array (rows, n) that a dense array with rows of n elements is in memory."""
    if not x.flags.c_contiguous:
        x = x.transpose(sorted(range(x.ndim), key=lambda axis: (-x.strides[axis], -x.shape[axis])))
    return x.reshape(-1, n)


def _sums(rows: np.ndarray) -> np.ndarray:
    """The sum of each row, as a column."""
    if rows.shape[1] > SHORT:
        return np.add.reduce(rows, axis=1, keepdims=True)
    with one_thread():
        return np.matmul(rows, np.ones((rows.shape[1], 1), F32))


@plans
def _softmax(rows: int, n: int) -> Plan | None:
    d = plain_desc((rows, n))
    return plan(primitive("softmax_forward", abi.FORWARD_INFERENCE, abi.SOFTMAX_ACCURATE, d, d, 1), abi.SRC, abi.DST)


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
def _softmax_backward(rows: int, n: int) -> Plan | None:
    """(grad − s)·y for one s for each row"""
    d = plain_desc((rows, n))
    pd = primitive("binary", abi.SUB, d, plain_desc((rows, 1)), d, attr=attributes(("binary", abi.MUL, d)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.post_op_src(0), abi.DST)


@plans
def _log_softmax_backward(rows: int, n: int) -> Plan | None:
    """grad − p·s for one s for each row"""
    d = plain_desc((rows, n))
    pd = primitive("binary", abi.MUL, d, plain_desc((rows, 1)), d,
                   attr=attributes(("eltwise", abi.LINEAR, -1.0, 0.0), ("binary", abi.ADD, d)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.post_op_src(1), abi.DST)


@fast(min_size=1_000)
def softmax(x: np.ndarray, axis: int) -> Any:
    """eˣ/Σeˣ along an axis."""
    n = _length(x, axis)
    p = _softmax[x.size // n, n] if n else None
    if p is None:
        return NotImplemented
    y = empty_like(x)
    p.run(x, y)
    return NotImplemented if np.isnan(np.minimum.reduce(y, axis=None)) else y


@fast(min_size=10_000)
def log_softmax(x: np.ndarray, axis: int) -> Any:
    """x − log Σeˣ along an axis."""
    n = _length(x, axis)
    exp = _exp[x.size] if n else None
    if exp is None:
        return NotImplemented
    y, e = empty_like(x), empty_like(x)
    if n > SHORT:
        rows = _rows(x, n)
        minus = _minus[rows.shape, (len(rows), 1)]
        if minus is None:
            return NotImplemented
        minus.run(x, np.maximum.reduce(rows, axis=1), y)
        exp.run(y, y, e)
        minus.run(y, np.log(_sums(_rows(e, n))), y)
        return y
    shape = n, x.size // n
    minus = _minus[shape, (1, shape[1])]
    if minus is None:
        return NotImplemented
    columns, e = empty(shape), e.reshape(-1) if e.flags.c_contiguous else empty((x.size,))
    _transpose[shape[::-1]].run(x, columns)
    minus.run(columns, np.maximum.reduce(columns, axis=0), columns)
    exp.run(columns, columns, e)
    minus.run(columns, np.log(np.add.reduce(e.reshape(shape), axis=0)), columns)
    _transpose[shape].run(columns, y)
    return y


@fast(min_size=6_000)
def softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> Any:
    """y·(grad − Σ grad·y)."""
    n = _length(y, axis)
    if not n or grad.dtype != F32 or grad.shape != y.shape:
        return NotImplemented
    grad = like(grad, y)
    result = empty_like(y)
    g, p, r = _rows(grad, n), _rows(y, n), _rows(result, n)
    if n > SHORT:
        whole = _softmax_backward[p.shape]
        if whole is None:
            return NotImplemented
        whole.run(g, np.vecdot(g, p), p, r)
    else:
        np.multiply(g, p, out=r)
        np.subtract(g, _sums(r), out=r)
        np.multiply(r, p, out=r)
    return result


@fast(min_size=10_000)
def log_softmax_backward(grad: np.ndarray, y: np.ndarray, axis: int) -> Any:
    """grad − eʸ·Σ grad."""
    n = _length(y, axis)
    if not n or grad.dtype != F32 or grad.shape != y.shape:
        return NotImplemented
    exp = _exp[y.size]
    if exp is None:
        return NotImplemented
    grad = like(grad, y)
    result = empty_like(y)
    exp.run(y, y, result)
    g, r = _rows(grad, n), _rows(result, n)
    if n > SHORT:
        rest = _log_softmax_backward[r.shape]
        if rest is None:
            return NotImplemented
        rest.run(r, _sums(g), g, r)
    else:
        np.multiply(r, _sums(g), out=r)
        np.subtract(g, r, out=r)
    return result
