"""Running sums, float32: of pieces of an axis as products with a triangle of ones, and what lies before each piece added to it.

A sum that runs on waits for each addition, 4 ns a number, and NumPy holds the interpreter meanwhile. The sums of whole pieces
run on in double precision, and are added as two single numbers: only what happens within a piece is rounded more than once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty

from . import abi
from .core import F32, Plan, plain_desc, plan, plans, primitive

ndarray = np.ndarray
LEAST, MOST, USUAL = 16, 64, 32  # numbers in a piece


@lru_cache(maxsize=256)
def _piece(n: int) -> int:
    """Into pieces of which length to cut an axis: a divisor, if there is one of a good size."""
    return max((d for d in range(LEAST, MOST + 1) if n % d == 0), key=lambda d: -abs(d - USUAL), default=USUAL)


@plans
def _sums(pieces: int, length: int, inner: int, reverse: bool) -> Plan | None:
    """The running sums of each piece (length, inner)."""
    ones = np.ones((length, length), F32)
    triangle = np.tril(ones, 0) if (inner > 1) is not reverse else np.triu(ones, 0)
    if inner == 1:
        rows, square = plain_desc((pieces, length)), plain_desc((length, length))
        return plan(primitive("matmul", rows, square, None, rows), abi.SRC, abi.DST, fixed={abi.WEIGHTS: triangle})
    stack, square = plain_desc((pieces, length, inner)), plain_desc((1, length, length))
    return plan(primitive("matmul", square, stack, None, stack), abi.WEIGHTS, abi.DST, fixed={abi.SRC: triangle})


@plans
def _added(pieces: int, length: int, inner: int) -> Plan | None:
    """dst = src + a row (inner) for each piece."""
    stack, row = ((pieces, length, inner), (pieces, 1, inner)) if inner > 1 else ((pieces, length), (pieces, 1))
    whole = plain_desc(stack)
    return plan(primitive("binary", abi.ADD, whole, plain_desc(row), whole), abi.SRC, abi.SRC_1, abi.DST)


@fast(min_size=1 << 15)
def cumsum(x: Any, axis: int, reverse: bool, dtype: np.dtype) -> Any:
    """The sum of an element and all before it (with ``reverse``, all after it) along an axis."""
    if x.dtype != F32 or dtype != F32 or not x.ndim or not x.flags.c_contiguous:
        return NotImplemented
    n = x.shape[axis]
    if n < LEAST:
        return NotImplemented
    outer, inner = int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis + 1 :]))
    length = _piece(n)
    count = -(-n // length)
    whole = x
    if count * length != n:
        whole = empty((outer, count * length, inner))
        whole[:, :n], whole[:, n:] = x.reshape(outer, n, inner), 0
    run, add = _sums[outer * count, length, inner, reverse], _added[outer * count, length, inner]
    if run is None or add is None:
        return NotImplemented
    y = empty((outer, count, length, inner))
    run.run(whole, y)
    totals = y[:, :, 0 if reverse else -1].astype(np.float64)
    if not np.isfinite(np.add.reduce(totals, axis=None)):  # a product with zeros spreads infinities and NaNs
        return NotImplemented
    if count > 1:
        before = np.zeros_like(totals)
        if reverse:
            np.add.accumulate(totals[:, :0:-1], axis=1, out=before[:, -2::-1])
        else:
            np.add.accumulate(totals[:, :-1], axis=1, out=before[:, 1:])
        high = before.astype(F32)
        if not np.isfinite(high).all():
            return NotImplemented
        add.run(y, np.subtract(before, high).astype(F32), y)
        add.run(y, high, y)
    y = y.reshape(outer, count * length, inner)
    return (y if count * length == n else np.ascontiguousarray(y[:, :n])).reshape(x.shape)
