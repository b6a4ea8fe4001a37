"""Activations that are another function on either side of a point, float32: chains as in eltwise.py.

Where a chain cannot carry NaN through (a constant wins over it in max and min), or a product with a mask of 0 meets
an infinite gradient, one pass looks for NaN, and such a call is left to the reference.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.piecewise import clip as cut

from . import abi, threads
from .core import F32, Plan, dense, is_channels_last, is_dense, like, plain_desc, plan, plans, primitive
from .eltwise import _P0, _P1, _P2, _chain, _flat, _leaky, _masked, _one, has_nan, horner, in_blocks
from .parts import FLOATS, alike, select, share

_ARRAY_OF = {i: abi.post_op_src(i) for i in range(16)}


# -- straight lines ----------------------------------------------------------------------------------------------------

_hardshrink = _one(lambda n, lambd: _chain(
    n, abi.MUL, 1.0, (abi.ABS, 0.0, 0.0), (abi.GT, lambd), (abi.MUL, None), args=((abi.SRC, _P2), abi.DST)))


@fast(min_size=4_000)
def hardshrink(x: np.ndarray, lambd: float) -> Any:
    """0 where \\|x\\| ≤ lambd, else x; what a 0 multiplies is finite."""
    return _hardshrink(x, float(lambd)) if math.isfinite(lambd) else NotImplemented


# x − min(max(x, −l), l), written −(…) + x: the array comes last, and with it NaN
_softshrink = _one(lambda n, lambd: _chain(
    n, abi.MAX, -lambd, (abi.MIN, lambd), (abi.LINEAR, -1.0, 0.0), (abi.ADD, None), args=((abi.SRC, _P2), abi.DST)))


@fast(min_size=80_000)
def softshrink(x: np.ndarray, lambd: float) -> Any:
    """0 where \\|x\\| ≤ lambd, else x moved towards 0 by lambd."""
    return _softshrink(x, float(lambd)) if math.isfinite(lambd) else NotImplemented


# −|x| < −l is false of NaN
_shrink_backward = _masked(lambda n, lambd: _chain(
    n, abi.MUL, 1.0, (abi.ABS, 0.0, 0.0), (abi.LINEAR, -1.0, 0.0), (abi.LT, -lambd), (abi.MUL, None),
    args=(_ARRAY_OF[3], abi.SRC, abi.DST)))


@fast(min_size=64_000)
def shrink_backward(grad: np.ndarray, x: np.ndarray, lambd: float) -> Any:
    """grad where \\|x\\| > lambd, else 0."""
    return _shrink_backward(grad, x, float(lambd)) if math.isfinite(lambd) else NotImplemented


PART = 1 << 17  # elements that one thread takes at a time


def clip(x: np.ndarray, low: float, high: float, y: np.ndarray) -> None:
    """y = x moved into [low, high], for dense arrays that lie alike, or are one and the same; NaN stays.

    No chain keeps NaN and cuts on both sides: it takes two, and twice the time. NumPy's clip does both as fast as memory allows.
    """
    a, b = _flat(x), _flat(y)
    lo, hi = x.dtype.type(low), x.dtype.type(high)
    if threads.get_num_threads() == 1 or a.size < workers.ENOUGH * PART:
        cut(a, lo, hi, out=b)
    else:

        def part(i: int) -> None:
            cut(a[i : i + PART], lo, hi, out=b[i : i + PART])

        workers.share(part, range(0, a.size, PART))


@fast(min_size=200_000)
def hardtanh(x: np.ndarray, low: float, high: float) -> Any:
    """x moved into [low, high]; NaN stays."""
    if x.dtype != F32 or x.size < 2:
        return NotImplemented
    x = dense(x)
    y = empty_like(x)
    clip(x, low, high, y)
    return y


# false of NaN
_within = _masked(lambda n, high, factor: _chain(
    n, abi.MUL, 1.0, (abi.ABS, 0.0, 0.0), (abi.LT, high), (abi.LINEAR, factor, 0.0), (abi.MUL, None),
    args=(_ARRAY_OF[3], abi.SRC, abi.DST)))
# x·(x − b) < 0 where 0 < x < b: the signs of both factors are exact
_between = _masked(lambda n, high: _chain(
    n, abi.MUL, 1.0, (abi.LINEAR, 1.0, -high), (abi.MUL, None), (abi.LT, 0.0), (abi.MUL, None),
    args=(_ARRAY_OF[3], (abi.SRC, _P1), abi.DST)))


@fast(min_size=64_000)
def hardtanh_backward(grad: np.ndarray, x: np.ndarray, low: float, high: float) -> Any:
    """grad where low < x < high, else 0."""
    if not 0 < high < math.inf:
        return NotImplemented
    if low == -high:
        return _within(grad, x, float(high), 1.0)
    return _between(grad, x, float(high)) if low == 0 else NotImplemented


_hardsigmoid = plans(lambda n: _chain(
    n, abi.ADD, 3.0, (abi.MAX, 0.0), (abi.MIN, 6.0), (abi.LINEAR, 1 / 6, 0.0), args=(abi.SRC, abi.DST)))


@fast(min_size=100_000)
def hardsigmoid(x: np.ndarray) -> Any:
    """(x + 3)/6, moved into [0, 1]; NaN stays."""
    if x.dtype != F32:
        return NotImplemented

    def block(y: np.ndarray, x: np.ndarray) -> bool:
        p = _hardsigmoid[x.size]
        if p is None or has_nan(x):
            return False
        p.run(x, y)
        return True

    x = dense(x)
    return in_blocks(block, empty_like(x), x)


@fast(min_size=32_000)
def hardsigmoid_backward(grad: np.ndarray, x: np.ndarray) -> Any:
    """grad/6 where −3 < x < 3, else 0."""
    return _within(grad, x, 3.0, 1 / 6)


_hardswish = _one(lambda n: _chain(
    n, abi.ADD, 3.0, (abi.MAX, 0.0), (abi.MIN, 6.0), (abi.MUL, None), (abi.LINEAR, 1 / 6, 0.0),
    args=((abi.SRC, _P2), abi.DST)))


@fast(min_size=16_000)
def hardswish(x: np.ndarray) -> Any:
    """x·(x + 3)/6, the second factor moved into [0, 1]."""
    return _hardswish(x)


@plans
def _hardswish_backward(n: int) -> tuple[Plan, Plan] | None:
    """(x, u) with u = x moved into [−3, 3], and (u, u, grad, result): u·(1/3 − [|u| ≥ 3]/6) + 1/2, times grad."""
    clip = _chain(n, abi.MAX, -3.0, (abi.MIN, 3.0), args=(abi.SRC, abi.DST))
    rest = _chain(n, abi.MUL, 1.0, (abi.ABS, 0.0, 0.0), (abi.GE, 3.0), (abi.LINEAR, -1 / 6, 1 / 3), (abi.MUL, None),
                  (abi.LINEAR, 1.0, 0.5), (abi.MUL, None), args=(abi.SRC, _ARRAY_OF[3], _ARRAY_OF[5], abi.DST))
    return None if clip is None or rest is None else (clip, rest)


@fast(min_size=32_000)
def hardswish_backward(grad: np.ndarray, x: np.ndarray) -> Any:
    """grad·(x/3 + 1/2) where −3 < x < 3, 0 to the left, grad to the right."""
    if grad.dtype != F32 or x.dtype != F32 or grad.shape != x.shape:
        return NotImplemented

    def block(result: np.ndarray, grad: np.ndarray, x: np.ndarray) -> bool:
        found = _hardswish_backward[x.size]
        if found is None or has_nan(x):
            return False
        u = empty(x.shape)
        found[0].run(x, u)
        found[1].run(u, u, grad, result)
        return not has_nan(result)

    x = dense(x)
    return in_blocks(block, empty_like(x), like(grad, x), x)


def _threshold(n: int, limit: float, value: float) -> Plan | None:
    """(x, result) where value ≥ limit: the value where x ≤ limit, else a number not above it; the larger of that and x."""
    low = F32.type(min(limit, 0.0))
    rise = F32.type(value) - low
    if value < limit or rise + low != F32.type(value):
        return None
    return _chain(n, abi.LE, limit, (abi.LINEAR, float(rise), float(low)), (abi.MAX, None), args=((abi.SRC, _P1), abi.DST))


_raised = _one(_threshold)
_kept = _masked(lambda n, limit: _chain(n, abi.GT, limit, (abi.MUL, None), (abi.LINEAR, 1.0, 0.0), args=(_P0, abi.SRC, abi.DST)))


@fast(min_size=1_000)
def threshold(x: Any, limit: float, value: float) -> Any:
    """x, or the value where x ≤ limit."""
    if type(x) is not np.ndarray or x.dtype not in FLOATS or not is_dense(x):
        return NotImplemented
    if x.dtype is F32 and math.isfinite(limit) and math.isfinite(value):
        y = _kept(x, x, float(limit)) if value == 0 < limit else _raised(x, float(limit), float(value))
        if y is not NotImplemented:
            return y
    y = empty_like(x)
    bound, number = np.asarray(limit, x.dtype), np.asarray(value, x.dtype)
    share(lambda x, y: select(np.less_equal(x, bound), number, x, y), _flat(x), _flat(y))
    return y


@fast(min_size=1 << 15)
def threshold_backward(grad: Any, x: Any, limit: float, value: float) -> Any:
    """0 where x ≤ limit, else grad."""
    if type(grad) is not np.ndarray or grad.dtype not in FLOATS or x.dtype != grad.dtype or x.shape != grad.shape:
        return NotImplemented
    if not is_dense(x) or not alike(grad, x):
        return NotImplemented
    bound, zero = np.asarray(limit, x.dtype), np.zeros((), x.dtype)
    y = empty_like(x)
    share(lambda grad, x, y: select(np.less_equal(x, bound), zero, grad, y), _flat(grad), _flat(x), _flat(y))
    return y


# -- slopes that are learnt --------------------------------------------------------------------------------------------


def _as_rows(x: np.ndarray, weight: np.ndarray) -> tuple[tuple[int, ...], int] | None:
    """The shape to describe a dense x as, with the channels as its second dimension, and how often these are repeated
    there. oneDNN is fast where channels that are innermost are many, and a multiple of eight."""
    channels = weight.size
    if channels > 1 and x.flags.c_contiguous and math.prod(x.shape[2:]) > 1:
        return (x.shape[0], channels, x.size // (x.shape[0] * channels)), 1
    if channels > 1 and not (x.flags.c_contiguous or is_channels_last(x)):
        return None
    rows, times = x.size // channels, 1
    while rows % 2 == 0 and (times * channels < 512 or times * channels % 16):
        rows, times = rows // 2, times * 2
    return None if times * channels % 16 else ((rows, channels * times), times)


@plans
def _prelu(shape: tuple[int, ...]) -> tuple[Plan, Plan] | None:
    """(x, weight, result), and (x, weight, grad, gradient to x, gradient to the weight)."""
    data, weight = plain_desc(shape), plain_desc((1, shape[1]) + (1,) * (len(shape) - 2))
    pd = primitive("prelu_forward", abi.FORWARD_TRAINING, data, weight, data)
    if pd is None:
        return None
    forward = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST)
    backward = plan(primitive("prelu_backward", data, weight, data, weight, data, pd),
                    abi.SRC, abi.WEIGHTS, abi.DIFF_DST, abi.DIFF_SRC, abi.DIFF_WEIGHTS)
    return None if forward is None or backward is None else (forward, backward)


def _tiled(weight: np.ndarray, times: int) -> np.ndarray:
    return np.ascontiguousarray(np.tile(weight.reshape(-1), times))


@fast(min_size=2_500)
def prelu(x: np.ndarray, weight: np.ndarray) -> Any:
    """x where x > 0, else weight·x."""
    if x.dtype != F32 or weight.dtype != F32 or not np.isfinite(weight).all():
        return NotImplemented
    if weight.size == 1 and weight != 0:
        return _leaky(x, float(weight.reshape(())))
    rows = _as_rows(x, weight) if is_dense(x) and x.size else None
    plans = None if rows is None else _prelu[(rows[0],)]
    if plans is None or rows is None:
        return NotImplemented
    y = empty_like(x)
    plans[0].run(x, _tiled(weight, rows[1]), y)
    return y


@fast(min_size=2_500)
def prelu_backward(grad: np.ndarray, x: np.ndarray, weight: np.ndarray) -> Any:
    """The gradients to x (grad where x > 0, else weight·grad) and to the weight (the sum of grad·x where x ≤ 0)."""
    if not (grad.dtype == x.dtype == weight.dtype == F32) or grad.shape != x.shape or not np.isfinite(weight).all():
        return NotImplemented
    rows = _as_rows(x, weight) if is_dense(x) and x.size else None
    plans = None if rows is None else _prelu[(rows[0],)]
    if plans is None or rows is None or has_nan(_flat(x)):
        return NotImplemented
    gx, gw = empty_like(x), np.empty(weight.size * rows[1], F32)
    plans[1].run(x, _tiled(weight, rows[1]), like(grad, x), gx, gw)
    return gx, gw.reshape(rows[1], -1).sum(0).reshape(weight.shape)


# -- exponentials ------------------------------------------------------------------------------------------------------

# e^z − 1 = z·q(z) on [−0.35, 0], and further left z·q(z) is less: so it is the larger of that and of e^min(z, −0.35) − 1, whose
# rounding errors, as z·q(z)'s, are in proportion.
_BEND = -0.35
_Q = 1.0, 0.49999866, 0.16662987, 0.04134865, 0.00723194  # to 1.5e-8


@plans
def _elu(n: int, alpha: float, scale: float, inner: float) -> tuple[Plan, Plan, Plan | None] | None:
    """With z = inner·x: (x, p = e^min(z, −0.35) − 1), the result of x, p and, where x itself does not do, what is positive, and
    (x, what is positive)."""
    power = _chain(n, abi.MIN, _BEND / inner, (abi.LINEAR, inner, 0.0), (abi.EXP, 0.0, 0.0), (abi.LINEAR, 1.0, -1.0),
                   args=(abi.SRC, abi.DST))
    # α·(e^z − 1) ≥ x wherever x ≤ 0, so that the larger of both is right, unless the curve starts steeper than x
    steep = scale != 1 or not 0 < alpha * inner <= 1
    first, post, places = horner(tuple(q * inner ** (i + 1) for i, q in enumerate(_Q)))
    end = len(post) + 3
    x, other = (abi.SRC, *(_ARRAY_OF[i] for i in places)), _ARRAY_OF[end]
    last = _chain(n, abi.ADD, first, *post, (abi.MIN, 0.0), (abi.MAX, None), (abi.LINEAR, alpha * scale, 0.0),
                  (abi.ADD if steep else abi.MAX, None),
                  args=(x, _ARRAY_OF[end - 2], other, abi.DST) if steep else ((*x, other), _ARRAY_OF[end - 2], abi.DST))
    positive = _chain(n, abi.MAX, 0.0, (abi.MAX, None), (abi.LINEAR, scale, 0.0), args=((abi.SRC, _P0), abi.DST))
    return None if power is None or last is None or positive is None else (power, last, positive if steep else None)


@fast(min_size=2_000)
def elu(x: np.ndarray, alpha: float, scale: float, input_scale: float) -> Any:
    """scale·x where x > 0, else scale·alpha·(e^(input_scale·x) − 1)."""
    if x.dtype != F32 or not 1e-4 < input_scale < 1e4 or not math.isfinite(alpha * scale):
        return NotImplemented

    def block(result: np.ndarray, x: np.ndarray) -> bool:
        found = _elu[x.size, float(alpha), float(scale), float(input_scale)]
        if found is None:
            return False
        power, last, positive = found
        if positive is None:
            power.run(x, result)
            last.run(x, result, result)
        else:
            p = empty(x.shape)
            power.run(x, p)
            positive.run(x, result)
            last.run(x, p, result, result)
        return True

    x = dense(x)
    return in_blocks(block, empty_like(x), x)


@plans
def _elu_backward(n: int, left: float, right: float, inner: float) -> tuple[Plan, Plan] | tuple[Plan] | None:
    """(x, grad, result), or (x, e) and (x, e, grad, result) where the slopes at 0 differ."""
    power = (*(() if inner == 1 else ((abi.LINEAR, inner, 0.0),)), (abi.EXP, 0.0, 0.0))
    if left == right:
        post = (*power, *(() if left == 1 else ((abi.LINEAR, left, 0.0),)), (abi.MUL, None))
        one = _chain(n, abi.MIN, 0.0, *post, args=(abi.SRC, _ARRAY_OF[len(post) - 1], abi.DST))
        return None if one is None else (one,)
    first = _chain(n, abi.MIN, 0.0, *power, args=(abi.SRC, abi.DST))
    second = _chain(n, abi.GT, 0.0, (abi.LINEAR, right - left, left), (abi.MUL, None), (abi.MUL, None),
                    args=(abi.SRC, _P1, _P2, abi.DST))
    return None if first is None or second is None else (first, second)


@fast(min_size=4_000)
def elu_backward(grad: np.ndarray, x: np.ndarray, alpha: float, scale: float, input_scale: float) -> Any:
    """grad·scale where x > 0, else grad·scale·alpha·input_scale·e^(input_scale·x)."""
    left = float(alpha * scale * input_scale)
    if not (grad.dtype == x.dtype == F32) or grad.shape != x.shape or not 0 < input_scale < math.inf or not math.isfinite(left):
        return NotImplemented

    def block(result: np.ndarray, grad: np.ndarray, x: np.ndarray) -> bool:
        found = _elu_backward[x.size, left, float(scale), float(input_scale)]
        if found is None or has_nan(x):
            return False
        if len(found) == 1:
            found[0].run(x, grad, result)
        else:
            found[0].run(x, result)
            found[1].run(x, result, grad, result)
        return True

    x = dense(x)
    return in_blocks(block, empty_like(x), like(grad, x), x)
