"""Losses of large arrays element by element, float32. Of logistic ones the series for log(1 + e^−|x|) is softplus's (see
eltwise.py), if each loss is wanted; of a sum, logarithms of products are enough.

What oneDNN makes of infinite logits may be NaN where it should not be; NaN is looked for, and then the reference computes.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine.blas import one_thread
from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.loss_pointwise import BLOCK as PART

from . import abi
from .core import F32, Plan, attributes, dense, desc, is_dense, like, plan, plans, primitive
from .eltwise import BLOCK, _chain, _constant, _flat, _softplus
from .norm import _row_sums

_P0, _P1 = abi.post_op_src(0), abi.post_op_src(1)


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
    decay, series = found
    decay.run(x, room[0])
    series.run(room[0], addend, y)
    return True


def _each(compute: Callable[..., bool], x: np.ndarray, y: np.ndarray) -> Any:
    """The losses that `compute(x, y, room, result)` writes for a block; NaN declines."""
    result = empty_like(x)
    a, b, flat = _flat(x), _flat(y), _flat(result)
    room = empty((3, min(BLOCK, x.size)))
    for i in range(0, x.size, BLOCK):
        n = min(BLOCK, x.size - i)
        losses = flat[i : i + n]
        if not compute(a[i : i + n], b[i : i + n], room[:, :n], losses) or np.isnan(np.add.reduce(losses)):
            return NotImplemented
    return result


WHOLE = 1 << 20     # elements at a time of what takes few passes


def _summed(
    total: Callable[..., float | None], x: np.ndarray, y: np.ndarray, reduction: str, each: Callable[..., bool] | None = None
) -> Any:
    """The sum or mean of the losses, of which `total(x, y, room)` gives a block's sum, or None to decline.

    Without a reduction, `each` computes them (see `_each`).
    """
    if x.dtype != F32 or y.dtype != F32 or x.shape != y.shape or x.size < 2:
        return NotImplemented
    x = dense(x)
    y = like(y, x)
    if reduction == "none":
        return NotImplemented if each is None else _each(each, x, y)
    a, b = _flat(x), _flat(y)
    room, result = empty((2, min(WHOLE, x.size))), 0.0
    for i in range(0, x.size, WHOLE):
        n = min(WHOLE, x.size - i)
        if n < 2 or (part := total(a[i : i + n], b[i : i + n], room[:, :n])) is None:
            return NotImplemented
        result += part
    return np.array(result / x.size if reduction == "mean" else result, F32)


def _total(x: np.ndarray) -> float:
    """The sum of a row, by products with ones."""
    rows = x.size // 1024
    run = _row_sums[rows, 1024] if rows > 8 else None
    if run is None:
        return float(np.add.reduce(x))
    sums = empty((rows, 1))
    run.run(x[: rows * 1024].reshape(rows, 1024), sums)
    return float(np.add.reduce(sums, axis=None)) + float(np.add.reduce(x[rows * 1024 :]))


def _product(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of the products of two rows."""
    with one_thread():  # of BLAS
        return sum(float(x[i : i + PART].dot(y[i : i + PART])) for i in range(0, x.size, PART))


# -- of a difference ------------------------------------------------------------------------------------------------------


@plans
def _distance(n: int) -> Plan | None:
    """(x, y, |x − y|)"""
    return _chain(n, abi.SUB, None, (abi.ABS, 0.0, 0.0), args=(abi.SRC, abi.SRC_1, abi.DST))


@plans
def _lesser(n: int, bound: float) -> Plan | None:
    """(x, min(x, bound)), which is the bound for NaN"""
    return _chain(n, abi.MIN, bound, args=(abi.SRC, abi.DST))


@fast(min_size=30_000)
def absolute_error(x: np.ndarray, y: np.ndarray, reduction: str) -> Any:
    """|x − y|."""

    def total(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> float | None:
        distance = _distance[x.size]
        if distance is None:
            return None
        distance.run(x, y, room[0])
        return _total(room[0])

    return _summed(total, x, y, reduction)


def _rounded(x: np.ndarray, y: np.ndarray, bound: float, scale: float, reduction: str) -> Any:
    """scale·c·(d − c/2) with d = |x − y| and c = min(d, bound)."""

    def total(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> float | None:
        distance, lesser = _distance[x.size], _lesser[x.size, bound]
        if distance is None or lesser is None:
            return None
        d, near = room
        distance.run(x, y, d)
        lesser.run(d, near)
        return scale * (_product(d, near) - 0.5 * _product(near, near))

    return _summed(total, x, y, reduction)


@fast(min_size=30_000)
def huber(x: np.ndarray, y: np.ndarray, delta: float, reduction: str) -> Any:
    """With d = |x − y|: d²/2 up to delta, from there on the line delta·(d − delta/2)."""
    return _rounded(x, y, float(delta), 1.0, reduction)


@fast(min_size=30_000)
def smooth_l1(x: np.ndarray, y: np.ndarray, beta: float, reduction: str) -> Any:
    """With d = |x − y|: d²/(2·beta) below beta, from there on d − beta/2."""
    return _rounded(x, y, float(beta), 1 / beta, reduction)


# -- of a logistic function -----------------------------------------------------------------------------------------------

_decay_of_product = plans(lambda n: _chain(
    n, abi.MUL, None, (abi.ABS, 0.0, 0.0), (abi.LINEAR, -1.0, 0.0), (abi.EXP, 0.0, 0.0), args=(abi.SRC, abi.SRC_1, abi.DST)))
_positive_product = plans(lambda n: _chain(
    n, abi.MUL, None, (abi.LINEAR, -1.0, 0.0), (abi.RELU, 0.0, 0.0), args=(abi.SRC, abi.SRC_1, abi.DST)))
_decay = plans(lambda n: _chain(
    n, abi.MUL, 1.0, (abi.ABS, 0.0, 0.0), (abi.LINEAR, -1.0, 0.0), (abi.EXP, 0.0, 0.0), args=(abi.SRC, abi.DST)))
_step_less = plans(lambda n: _chain(n, abi.GT, 0.0, (abi.SUB, None), args=(abi.SRC, _P0, abi.DST)))


@plans
def _joined(n: int) -> Plan | None:
    """(u, v, u, v, u·v + u + v)"""
    return _chain(n, abi.MUL, None, (abi.ADD, None), (abi.ADD, None), args=(abi.SRC, abi.SRC_1, _P0, _P1, abi.DST))


def _log1p_total(u: np.ndarray) -> float | None:
    """Σ log(1 + u) of a row of numbers from 0 to 1, which is overwritten; None if one is infinite or NaN.

    log(1 + u) + log(1 + v) = log(1 + (u·v + u + v)), from which no digits go, however small they are: of 64 numbers one
    logarithm is left.
    """
    rest = 0.0
    for _ in range(6):
        half = u.size // 2
        joined = _joined[half] if half >= 512 else None
        if joined is None:
            break
        if u.size % 2:
            rest += float(np.log1p(u[-1]))
        u, v = u[:half], u[half : 2 * half]
        joined.run(u, v, u, v, u)
    logs = float(np.add.reduce(np.log1p(u))) + rest
    return logs if np.isfinite(logs) else None


@fast(min_size=12_000)
def binary_cross_entropy_logits(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, pos_weight: np.ndarray | None, reduction: str
) -> Any:
    """−(y·log σ(x) + (1 − y)·log(1 − σ(x))) = ([x > 0] − y)·x + log(1 + e^−|x|)."""
    if weight is not None or pos_weight is not None:
        return NotImplemented

    def block(x: np.ndarray, y: np.ndarray, room: np.ndarray, losses: np.ndarray) -> bool:
        product, add = _minus_product[x.size], _positive_and[x.size]
        if product is None or add is None:
            return False
        product.run(x, y, room[0])
        add.run(x, room[0], room[2])
        return _softened(x, room[2], room, losses)

    def total(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> float | None:
        decay, step = _decay[x.size], _step_less[x.size]
        if decay is None or step is None:
            return None
        decay.run(x, room[0])
        step.run(x, y, room[1])
        logs, rest = _log1p_total(room[0]), _product(room[1], x)
        return None if logs is None or np.isnan(rest) else logs + rest

    return _summed(total, x, y, reduction, block)


@fast(min_size=12_000)
def soft_margin(x: np.ndarray, y: np.ndarray, reduction: str) -> Any:
    """log(1 + e^(−x·y)) = max(−x·y, 0) + log(1 + e^−|x·y|)."""

    def block(x: np.ndarray, y: np.ndarray, room: np.ndarray, losses: np.ndarray) -> bool:
        product = _minus_product[x.size]
        if product is None:
            return False
        product.run(x, y, losses)
        np.maximum(losses, 0, out=room[2])
        return _softened(losses, room[2], room, losses)

    def total(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> float | None:
        decay, positive = _decay_of_product[x.size], _positive_product[x.size]
        if decay is None or positive is None:
            return None
        decay.run(x, y, room[0])
        positive.run(x, y, room[1])
        logs = _log1p_total(room[0])
        return None if logs is None else logs + _total(room[1])

    return _summed(total, x, y, reduction, block)


# -- of counts ------------------------------------------------------------------------------------------------------------

_exp = plans(lambda n: _chain(n, abi.MUL, 1.0, (abi.EXP, 0.0, 0.0), args=(abi.SRC, abi.DST)))
LARGEST = 40        # up to where oneDNN's exp is exact


@fast(min_size=12_000)
def poisson(x: np.ndarray, y: np.ndarray, log_input: bool, full: bool, eps: float, reduction: str) -> Any:
    """eˣ − y·x."""
    if not log_input or full:
        return NotImplemented

    def total(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> float | None:
        exp = _exp[x.size]
        if exp is None or not x.item(x.argmax()) < LARGEST:
            return None
        exp.run(x, room[0])
        return _total(room[0]) - _product(x, y)

    return _summed(total, x, y, reduction)


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


def _sloped(cache: Any, grad: np.ndarray, x: np.ndarray, y: np.ndarray, scale: float, third: Any, *settings: float) -> Any:
    """A plan of x, y, perhaps a third array (True: y once more), and the gradient."""
    if grad.dtype != F32 or x.dtype != F32 or y.dtype != F32 or x.shape != y.shape:
        return NotImplemented
    whole = grad.ndim > 0
    if whole and (grad.shape != x.shape or scale != 1):
        return NotImplemented
    p = cache[(x.size, *settings, whole)]
    if p is None:
        return NotImplemented
    x = dense(x)
    y = like(y, x)
    g = like(grad, x) if whole else np.array([grad.item() * scale], F32)
    result = empty_like(x)
    more = () if third is False else (y,) if third is True else (third,)
    p.run(x, y, *more, g, result)
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


@plans
def _error_slope(n: int, bound: float, whole: bool) -> Plan | None:
    """(x, y, g, (x − y, moved into [−bound, bound])·g)"""
    return _slope(n, (abi.SUB, None), (abi.CLIP, -bound, bound), whole=whole)


@plans
def _poisson_slope(n: int, whole: bool) -> Plan | None:
    """(x, y, g, (eˣ − y)·g)"""
    return _slope(n, (abi.MUL, 1.0), (abi.EXP, 0.0, 0.0), (abi.SUB, None), whole=whole)


@fast(min_size=12_000)
def poisson_backward(
    x: np.ndarray, y: np.ndarray, grad: np.ndarray, log_input: bool, full: bool, eps: float, scale: float
) -> Any:
    """scale·grad·(eˣ − y)."""
    if not log_input or x.size < 2 or not x.item(x.argmax()) < LARGEST:
        return NotImplemented
    return _sloped(_poisson_slope, grad, x, y, scale, False)


def _clipped(grad: np.ndarray, x: np.ndarray, y: np.ndarray, bound: float, scale: float) -> Any:
    # What cuts on both sides loses NaN.
    if x.dtype != F32 or y.dtype != F32 or not (is_dense(x) and is_dense(y)):
        return NotImplemented
    if not np.isfinite(_total(_flat(x)) + _total(_flat(y))):
        return NotImplemented
    return _sloped(_error_slope, grad, x, y, scale, False, bound)


@fast(min_size=30_000)
def huber_backward(x: np.ndarray, y: np.ndarray, grad: np.ndarray, delta: float, scale: float) -> Any:
    """scale·grad·(x − y moved into [−delta, delta])."""
    return _clipped(grad, x, y, float(delta), scale)


@fast(min_size=30_000)
def smooth_l1_backward(x: np.ndarray, y: np.ndarray, grad: np.ndarray, beta: float, scale: float) -> Any:
    """scale·grad·((x − y)/beta moved into [−1, 1])."""
    return _clipped(grad, x, y, float(beta), scale / beta)


_less = plans(lambda n: _chain(n, abi.LT, None, args=(abi.SRC, abi.SRC_1, abi.DST)))


@plans
def _sign_slope(n: int, whole: bool) -> Plan | None:
    """(y, x, [x < y], g, ([y < x] − [x < y])·g)"""
    return _slope(n, (abi.LT, None), (abi.SUB, None), whole=whole)


@fast(min_size=30_000)
def absolute_error_backward(x: np.ndarray, y: np.ndarray, grad: np.ndarray, scale: float) -> Any:
    """scale·grad·sign(x − y), with 0 for NaN, of which no comparison is true."""
    if x.dtype != F32 or y.dtype != F32 or x.shape != y.shape:
        return NotImplemented
    less = _less[x.size]
    if less is None:
        return NotImplemented
    x = dense(x)
    y = like(y, x)
    below = empty_like(x)
    less.run(x, y, below)
    return _sloped(_sign_slope, grad, y, x, scale, below)
