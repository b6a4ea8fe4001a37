"""The updates of optimisers on large float32 arrays: each is one to three passes, on all threads.

A pass is one binary primitive with a chain of post-ops, written over one of its operands: every element is
read before it is written. The numbers of a rule are arrays of one element, as they change from step to step
and a primitive has its constants built in. Arrays are taken a million elements at a time, which the second and
third pass find in the last cache (ms for 10 million elements at once / so: SGD 3.1/2.5, Adam 13/9.5).
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from lamina.engine.door import fast
from lamina.engine.memory import empty_like

from . import abi
from .core import F32, Plan, attributes, is_dense, like, plain_desc, plan, plans, primitive

BLOCK = 1 << 20


def _chain(n: int, first: tuple[int, int], *post_ops: tuple[Any, Any]) -> Plan | None:
    """An operation of n elements with as many or with one, and what follows: `n` and 1 are binary operands of that size,
    a pair the two numbers of an eltwise operation."""
    row = plain_desc((n,))
    desc = {n: row, 1: plain_desc((1,))} if n > 1 else {1: row}
    steps: list[Any] = []
    sources = []
    for op, operand in post_ops:
        if isinstance(operand, tuple):
            steps.append(("eltwise", op, *operand))
        else:
            sources.append(abi.post_op_src(len(steps)))
            steps.append(("binary", op, desc[operand]))
    pd = primitive("binary", first[0], row, desc[first[1]], row, attr=attributes(*steps))
    return plan(pd, abi.SRC, abi.SRC_1, *sources, abi.DST)


_SQRT, _INVERSE = (abi.SQRT, (0.0, 0.0)), (abi.POW, (1.0, -1.0))


@plans
def _add(n: int) -> Plan | None:
    """x·a + y"""
    return _chain(n, (abi.MUL, 1), (abi.ADD, n))


@plans
def _decay(n: int, sign: int) -> Plan | None:
    """x·a + y, or − y"""
    return _chain(n, (abi.MUL, 1), (abi.ADD if sign > 0 else abi.SUB, n))


@plans
def _blend(n: int) -> Plan | None:
    """(x·a + y)·b"""
    return _chain(n, (abi.MUL, 1), (abi.ADD, n), (abi.MUL, 1))


@plans
def _blend_add(n: int) -> Plan | None:
    """(x·a + y)·b + z"""
    return _chain(n, (abi.MUL, 1), (abi.ADD, n), (abi.MUL, 1), (abi.ADD, n))


@plans
def _lerp(n: int, sign: int) -> Plan | None:
    """(x − y)·a + y, or (x + y)·a + y, which is NaN for an infinite y, as PyTorch's ``lerp`` is"""
    return _chain(n, (abi.SUB if sign > 0 else abi.ADD, n), (abi.MUL, 1), (abi.ADD, n))


@plans
def _blend_square(n: int) -> Plan | None:
    """(x·x·a + y)·b"""
    return _chain(n, (abi.MUL, n), (abi.MUL, 1), (abi.ADD, n), (abi.MUL, 1))


@plans
def _step(n: int) -> Plan | None:
    """m/(√(v·1) + a)·b + p"""
    return _chain(n, (abi.MUL, 1), _SQRT, (abi.ADD, 1), _INVERSE, (abi.MUL, n), (abi.MUL, 1), (abi.ADD, n))


@plans
def _shrinking_step(n: int) -> Plan | None:
    """(m/(√(v·1) + a)·b + p)·c"""
    return _chain(n, (abi.MUL, 1), _SQRT, (abi.ADD, 1), _INVERSE, (abi.MUL, n), (abi.MUL, 1), (abi.ADD, n), (abi.MUL, 1))


_ONE = np.ones(1, F32)


def _number(x: float) -> np.ndarray:
    return np.array((x,), F32)


def _usable(grad: np.ndarray, *arrays: np.ndarray) -> bool:
    """Whether the arrays are float32 and lie alike in one block of memory each (the gradient may lie otherwise)."""
    p = arrays[0]
    return (
        p.size > 1
        and grad.dtype == F32
        and is_dense(p)
        and all(a.dtype == F32 and a.strides == p.strides for a in arrays)
        and _step[p.size] is not None
    )


def _blocks(arrays: tuple[np.ndarray | None, ...]) -> Iterator[list[Any]]:
    """Parts of arrays that lie alike, as rows."""
    rows = [None if a is None else a.reshape(-1) if a.flags.c_contiguous else as_strided(a, (a.size,), (4,)) for a in arrays]
    for start in range(0, arrays[0].size, BLOCK):  # type: ignore[union-attr]
        yield [None if row is None else row[start : start + BLOCK] for row in rows]


def _decayed(p: np.ndarray, grad: np.ndarray, decay: float, maximize: bool) -> tuple[np.ndarray, int]:
    """The gradient to descend along, up to a sign, and the sign."""
    sign = -1 if maximize else 1
    if not decay:
        return grad, sign
    g = empty_like(p)
    _decay[p.size, sign].run(p, _number(decay), grad, g)
    return g, 1


@fast(min_size=33_000)  # from two blocks of the reference on
def sgd_update(
    p: np.ndarray,
    grad: np.ndarray,
    buffer: np.ndarray | None,
    lr: float,
    momentum: float,
    dampening: float,
    decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> Any:
    """b ← μ·b + (1 − τ)·g (g itself at `first`);   p ← p − lr·b, or without a buffer − lr·g."""
    if dampening == 1 or not _usable(grad, p, *(() if buffer is None else (buffer,))):
        return NotImplemented
    down = _number(-lr)
    for p, grad, b in _blocks((p, like(grad, p), buffer)):  # noqa: B020
        n = p.size
        g, sign = _decayed(p, grad, decay, maximize)
        if b is None:
            _add[n].run(g, _number(-lr * sign), p, p)
            continue
        own = float(sign) if first else sign * (1 - dampening)
        _blend[n].run(b, _number(0.0 if first else momentum / own), g, _number(own), b)
        if nesterov:
            _blend_add[n].run(b, _number(momentum * sign), g, _number(-lr * sign), p, p)
        else:
            _add[n].run(b, down, p, p)
    return None


@fast(min_size=30_000)
def adam_update(
    p: np.ndarray,
    grad: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    largest: np.ndarray | None,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    decoupled: bool,
    maximize: bool,
) -> Any:
    """m ← β₁·m + (1 − β₁)·g;   v ← β₂·v + (1 − β₂)·g²;   p ← p − lr·m̂/(√v̂ + ε)."""
    shrink = 1 - lr * decay if decoupled else 1.0
    if not beta2 or not shrink or not _usable(grad, p, m, v, *(() if largest is None else (largest,))):
        return NotImplemented
    root = (1 - beta2**step) ** 0.5
    weight, square, floor, shrunk = _number(1 - beta1), _number((1 - beta2) / beta2), _number(eps * root), _number(shrink)
    decays, size = _number(beta2), _number(-lr * root / (1 - beta1**step) / shrink)
    for p, grad, m, v, most in _blocks((p, like(grad, p), m, v, largest)):  # noqa: B020
        n = p.size
        g, sign = _decayed(p, grad, 0.0 if decoupled else decay, maximize)
        _lerp[n, sign].run(g, m, weight if sign > 0 else -weight, m, m)
        _blend_square[n].run(g, g, square, v, decays, v)
        if most is not None:
            v = np.maximum(most, v, out=most)
        if shrink == 1:
            _step[n].run(v, _ONE, floor, m, size, p, p)
        else:
            _shrinking_step[n].run(v, _ONE, floor, m, size, p, shrunk, p)
    return None
