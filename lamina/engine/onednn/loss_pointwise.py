"""Logistic losses of large arrays, float32: the series for log(1 + e^−|x|) is softplus's (see eltwise.py), which here is
added to what else belongs to the loss.

What oneDNN makes of infinite logits may be NaN where it should not be; NaN is looked for, and then the reference computes.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like

from . import abi
from .core import F32, Plan, attributes, dense, desc, like, plan, plans, primitive
from .eltwise import BLOCK, _chain, _constant, _flat, _softplus

_P0, _P1, _P2, _P3, _P4 = (abi.post_op_src(i) for i in range(5))


@plans
def _minus_product(n: int) -> Plan | None:
    """(x, y, −x·y)"""
    return _chain(n, abi.MUL, None, (abi.LINEAR, -1.0, 0.0), args=(abi.SRC, abi.SRC_1, abi.DST))


@plans
def _positive_and(n: int) -> Plan | None:
    """(x, y, max(x, 0) + y)"""
    return _chain(n, abi.MAX, 0.0, (abi.ADD, None), args=(abi.SRC, _P0, abi.DST))


def _softened(x: np.ndarray, addend: np.ndarray, room: np.ndarray, y: np.ndarray) -> bool:
    """log(1 + e^−|x|) + addend, written to `y`, which may be the addend."""
    found = _softplus[x.size, 1.0]
    if found is None:
        return False
    decay, ratio, series = found
    u, s = room[0], room[1]
    decay.run(x, u)
    ratio.run(u, u, s)
    series.run(s, s, s, s, s, s, s, s, s, addend, y)
    return True


def _reduced(
    compute: Callable[..., bool], x: np.ndarray, y: np.ndarray, reduction: str
) -> Any:
    """The losses that `compute(x, y, room, result)` writes for a block, or their sum or mean; NaN declines."""
    if x.dtype != F32 or y.dtype != F32 or x.shape != y.shape or x.size < 2:
        return NotImplemented
    x = dense(x)
    result = empty_like(x) if reduction == "none" else None
    a, b = _flat(x), _flat(like(y, x))
    flat = None if result is None else _flat(result)
    size = min(BLOCK, x.size)
    room, spare, total = empty((3, size)), empty((size,)), 0.0
    for i in range(0, x.size, BLOCK):
        n = min(BLOCK, x.size - i)
        losses = spare[:n] if flat is None else flat[i : i + n]
        if not compute(a[i : i + n], b[i : i + n], room[:, :n], losses):
            return NotImplemented
        total += float(np.add.reduce(losses))
    if np.isnan(total):
        return NotImplemented
    if result is not None:
        return result
    return np.array(total / x.size if reduction == "mean" else total, F32)


@fast(min_size=12_000)
def binary_cross_entropy_logits(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, pos_weight: np.ndarray | None, reduction: str
) -> Any:
    """−(y·log σ(x) + (1 − y)·log(1 − σ(x))) = max(x, 0) − x·y + log(1 + e^−|x|)."""
    if weight is not None or pos_weight is not None:
        return NotImplemented

    def block(x: np.ndarray, y: np.ndarray, room: np.ndarray, losses: np.ndarray) -> bool:
        product, add = _minus_product[x.size], _positive_and[x.size]
        if product is None or add is None:
            return False
        product.run(x, y, room[0])
        add.run(x, room[0], room[2])
        return _softened(x, room[2], room, losses)

    return _reduced(block, x, y, reduction)


@fast(min_size=12_000)
def soft_margin(x: np.ndarray, y: np.ndarray, reduction: str) -> Any:
    """log(1 + e^(−x·y))."""

    def block(x: np.ndarray, y: np.ndarray, room: np.ndarray, losses: np.ndarray) -> bool:
        product = _minus_product[x.size]
        if product is None:
            return False
        product.run(x, y, losses)
        np.maximum(losses, 0, out=room[2])
        return _softened(losses, room[2], room, losses)

    return _reduced(block, x, y, reduction)


def _slope(n: int, first: tuple[int, float | None], *post: tuple[Any, ...], whole: bool) -> Plan | None:
    """Like `_chain`, with a last product: with an array, or (unless `whole`) with one number that each call gives."""
    row, scalar = desc((n,), (4,)), desc((1,), (4,))
    if n < 2:
        return None
    op, operand = first
    ops: list[tuple[Any, ...]] = [("eltwise", *p) if len(p) == 3 else ("binary", p[0], row) for p in post]
    ops.append(("binary", abi.MUL, row if whole else scalar))
    pd = primitive("binary", op, row, row if operand is None else scalar, row, attr=attributes(*ops))
    arrays = [abi.post_op_src(i) for i, p in enumerate(post) if len(p) == 2] + [abi.post_op_src(len(post))]
    fixed = {} if operand is None else {abi.SRC_1: _constant(operand)}
    sources = (abi.SRC, abi.SRC_1) if operand is None else (abi.SRC,)
    return plan(pd, *sources, *arrays, abi.DST, fixed=fixed)


@plans
def _logistic_slope(n: int, whole: bool) -> Plan | None:
    """(x, y, g, (σ(x) − y)·g)"""
    return _slope(n, (abi.MUL, 1.0), (abi.LOGISTIC, 0.0, 0.0), (abi.SUB, None), whole=whole)


@plans
def _margin_slope(n: int, whole: bool) -> Plan | None:
    """(x, y, y, g, −y·σ(−x·y)·g)"""
    return _slope(
        n, (abi.MUL, None), (abi.LINEAR, -1.0, 0.0), (abi.LOGISTIC, 0.0, 0.0), (abi.MUL, None), (abi.LINEAR, -1.0, 0.0),
        whole=whole,
    )


def _sloped(cache: Any, grad: np.ndarray, x: np.ndarray, y: np.ndarray, scale: float, twice: bool) -> Any:
    if grad.dtype != F32 or x.dtype != F32 or y.dtype != F32 or x.shape != y.shape:
        return NotImplemented
    whole = grad.ndim > 0
    if whole and (grad.shape != x.shape or scale != 1):
        return NotImplemented
    p = cache[x.size, whole]
    if p is None:
        return NotImplemented
    x = dense(x)
    y = like(y, x)
    g = like(grad, x) if whole else np.array([grad.item() * scale], F32)
    result = empty_like(x)
    p.run(x, y, *((y,) if twice else ()), g, result)
    return result


@fast(min_size=1_000)
def binary_cross_entropy_logits_backward(
    x: np.ndarray, y: np.ndarray, grad: np.ndarray, weight: np.ndarray | None, pos_weight: np.ndarray | None, scale: float
) -> Any:
    """scale·grad·(σ(x) − y)."""
    if weight is not None or pos_weight is not None:
        return NotImplemented
    return _sloped(_logistic_slope, grad, x, y, scale, False)


@fast(min_size=1_000)
def soft_margin_backward(x: np.ndarray, y: np.ndarray, grad: np.ndarray, scale: float) -> Any:
    """−scale·grad·y·σ(−x·y)."""
    return _sloped(_margin_slope, grad, x, y, scale, True)
