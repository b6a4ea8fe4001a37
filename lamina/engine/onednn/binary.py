"""Sum, difference, product and quotient of two arrays, float32.

On one thread NumPy is as fast; on several, oneDNN uses them. The larger array comes first in oneDNN; where
it is the second of a difference or a quotient, NumPy computes. Arrays of one layout are rows of numbers, as
in eltwise.py. A broadcast second operand is described in as few dimensions as it needs: dimensions next to
each other in memory that are broadcast alike are one, so that a bias, a channel's factor and a row's mean
are all two or three dimensions.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty_like

from . import abi
from .core import F32, Plan, is_dense, like, plain_desc, plan, plans, primitive, worthwhile

LARGE = 200_000         # elements from which whole calls win, on two threads
WIDE = 30_000           # the same for a broadcast operand
GROUPS = 4              # dimensions that a broadcast may need
SHORT = 64              # rows shorter than this are short

Ints = tuple[int, ...]


@plans
def _same(n: int, op: int) -> Plan | None:
    row = plain_desc((n,))
    return plan(primitive("binary", op, row, row, row), abi.SRC, abi.SRC_1, abi.DST)


@plans
def _number(n: int, op: int) -> Plan | None:
    row = plain_desc((n,))
    return plan(primitive("binary", op, row, plain_desc((1,)), row), abi.SRC, abi.SRC_1, abi.DST)


@plans
def _broadcast(shape: Ints, strides: Ints, other: Ints, op: int) -> tuple[Plan, Ints, int, int] | None:
    """For a dense first operand: the plan, the order that the second's dimensions must lie in, and how often each of
    its rows must be repeated, of which length."""
    order = sorted(range(len(shape)), key=lambda axis: (-strides[axis], -shape[axis]))
    groups: list[list[int]] = []        # [length, length of the other] of dimensions that are broadcast alike
    for axis in order:
        n, m = shape[axis], other[axis]
        if n == 1:
            continue
        if groups and (groups[-1][1] == 1) == (m == 1):
            groups[-1][0] *= n
            groups[-1][1] *= m
        else:
            groups.append([n, m])
    if len(groups) > GROUPS:
        return None
    times, length = 1, groups[-1][1]
    if len(groups) > 1 and 1 < length < SHORT:
        # Short rows cost by the row: the other is repeated, and several rows are one.
        while groups[-2][0] % 2 == 0 and times * length < 8 * SHORT:
            groups[-2][0] //= 2
            times *= 2
        if times * length < SHORT:
            return None
        groups[-1] = [times * n for n in groups[-1]]
    large, small = plain_desc([n for n, _ in groups]), plain_desc([m for _, m in groups])
    p = plan(primitive("binary", op, large, small, large), abi.SRC, abi.SRC_1, abi.DST)
    return None if p is None else (p, tuple(order), times, length)


def _compute(x: np.ndarray, y: np.ndarray, op: int) -> Any:
    """op(x, y), where the result has the shape of x."""
    if (y.size == 1 or x.shape == y.shape) and not worthwhile(x.size, LARGE):
        return NotImplemented
    if y.size == 1:
        if not is_dense(x) or y.ndim > x.ndim:
            return NotImplemented
        p, z = _number[x.size, op], empty_like(x)
    elif x.shape == y.shape:
        if not (x.flags.c_contiguous and y.flags.c_contiguous):
            if not is_dense(x):
                return NotImplemented
            y = like(y, x)
        p, z = _same[x.size, op], empty_like(x)
    else:
        if not is_dense(x) or y.ndim > x.ndim:
            return NotImplemented
        other = (1,) * (x.ndim - y.ndim) + y.shape
        if any(m != n and m != 1 for n, m in zip(x.shape, other, strict=True)):
            return NotImplemented
        found = _broadcast[x.shape, x.strides, other, op]
        if found is None:
            return NotImplemented
        p, order, times, length = found
        y, z = y.reshape(other).transpose(order), empty_like(x)
        y = np.tile(y.reshape(-1, length), times) if times > 1 else np.ascontiguousarray(y)
    if p is None:
        return NotImplemented
    p.run(x, y, z)
    return z


def _operands(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The two as float32 arrays, if they are that or a number that float32 can hold."""
    if not isinstance(x, np.ndarray) or x.dtype != F32:
        return None
    if isinstance(y, np.ndarray):
        return (x, y) if y.dtype == F32 and x.size and y.size and x.size + y.size > 2 else None
    if (type(y) is float or type(y) is int) and -3.4e38 < y < 3.4e38 and x.size > 1:
        return x, np.array([y], F32)
    return None


def _kernel(op: int, commutes: bool) -> Callable[[Any, Any], Any]:
    def kernel(x: Any, y: Any) -> Any:
        both = _operands(x, y)
        if both is None:
            return NotImplemented
        a, b = both
        if a.size >= b.size:
            return _compute(a, b, op)
        return _compute(b, a, op) if commutes else NotImplemented

    return kernel


_add, _mul = _kernel(abi.ADD, True), _kernel(abi.MUL, True)
_sub, _div = _kernel(abi.SUB, False), _kernel(abi.DIV, False)


@fast(min_size=WIDE)
def add(x: Any, y: Any) -> Any:
    """x + y."""
    return _add(x, y)


@fast(min_size=WIDE)
def sub(x: Any, y: Any) -> Any:
    """x − y."""
    return _sub(x, y)


@fast(min_size=WIDE)
def mul(x: Any, y: Any) -> Any:
    """x·y."""
    return _mul(x, y)


@fast(min_size=WIDE)
def div(x: Any, y: Any) -> Any:
    """x/y."""
    return _div(x, y)
