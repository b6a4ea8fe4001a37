"""The updates of optimisers on large float32 arrays: each is two or three passes over memory, on all threads.

A pass is one binary primitive with a chain of post-ops, written over one of its operands: every element is
read before it is written. The numbers of a rule are arrays of one element, as they change from step to step
and a primitive has its constants built in.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty_like

from . import abi
from .core import F32, Plan, attributes, is_dense, like, plain_desc, plan, plans, primitive


def _chain(n: int, second: int, *post_ops: Any) -> Plan | None:
    """A product of n elements with as many or with one (`second`), and what follows: `n` and 1 in `post_ops` are
    binary operands of that size."""
    row = plain_desc((n,))
    desc = {n: row, 1: plain_desc((1,))} if n > 1 else {1: row}
    steps = [("binary", op, desc[size]) if size else ("eltwise", op, 1.0, -1.0) for op, size in post_ops]
    pd = primitive("binary", abi.MUL, row, desc[second], row, attr=attributes(*steps))
    sources = [abi.post_op_src(i) for i, (_, size) in enumerate(post_ops) if size]
    return plan(pd, abi.SRC, abi.SRC_1, *sources, abi.DST)


@plans
def _add(n: int) -> Plan | None:
    """x·a + y"""
    return _chain(n, 1, (abi.ADD, n))


@plans
def _subtract(n: int) -> Plan | None:
    """x·a − y"""
    return _chain(n, 1, (abi.SUB, n))


@plans
def _blend(n: int) -> Plan | None:
    """(x·a + y)·b"""
    return _chain(n, 1, (abi.ADD, n), (abi.MUL, 1))


@plans
def _lerp(n: int) -> Plan | None:
    """(x·a − y)·b + y, which is NaN for an infinite y, as PyTorch's ``lerp`` is"""
    return _chain(n, 1, (abi.SUB, n), (abi.MUL, 1), (abi.ADD, n))


@plans
def _blend_add(n: int) -> Plan | None:
    """(x·a + y)·b + z"""
    return _chain(n, 1, (abi.ADD, n), (abi.MUL, 1), (abi.ADD, n))


@plans
def _blend_square(n: int) -> Plan | None:
    """(x·x·a + y)·b"""
    return _chain(n, n, (abi.MUL, 1), (abi.ADD, n), (abi.MUL, 1))


@plans
def _step(n: int) -> Plan | None:
    """(m/(√(v·1) + a)·b + p)·c"""
    return _chain(n, 1, (abi.SQRT, 0), (abi.ADD, 1), (abi.POW, 0), (abi.MUL, n), (abi.MUL, 1), (abi.ADD, n), (abi.MUL, 1))


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


def _decayed(p: np.ndarray, grad: np.ndarray, decay: float, maximize: bool) -> tuple[np.ndarray, float]:
    """The gradient to descend along, up to a sign, and the sign."""
    if not decay:
        return grad, -1.0 if maximize else 1.0
    g = empty_like(p)
    (_subtract if maximize else _add)[p.size].run(p, _number(decay), grad, g)
    return g, 1.0


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
    n = p.size
    if dampening == 1 or not _usable(grad, p, *(() if buffer is None else (buffer,))):
        return NotImplemented
    g, sign = _decayed(p, like(grad, p), decay, maximize)
    if buffer is None:
        _add[n].run(g, _number(-lr * sign), p, p)
        return None
    own = sign if first else sign * (1 - dampening)
    _blend[n].run(buffer, _number(0.0 if first else momentum / own), g, _number(own), buffer)
    if nesterov:
        _blend_add[n].run(buffer, _number(momentum * sign), g, _number(-lr * sign), p, p)
    else:
        _add[n].run(buffer, _number(-lr), p, p)
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
    n = p.size
    shrink = 1 - lr * decay if decoupled else 1.0
    if not beta2 or not shrink or not _usable(grad, p, m, v, *(() if largest is None else (largest,))):
        return NotImplemented
    g, sign = _decayed(p, like(grad, p), 0.0 if decoupled else decay, maximize)
    _lerp[n].run(g, _number(sign), m, _number(1 - beta1), m, m)
    _blend_square[n].run(g, g, _number((1 - beta2) / beta2), v, _number(beta2), v)
    if largest is not None:
        v = np.maximum(largest, v, out=largest)
    root = (1 - beta2**step) ** 0.5
    size, floor = lr * root / (1 - beta1**step), eps * root
    _step[n].run(v, _ONE, _number(floor), m, _number(-size / shrink), p, _number(shrink), p)
    return None
