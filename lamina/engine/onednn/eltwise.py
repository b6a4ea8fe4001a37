"""Activations and other functions of each element, float32.

A dense array, in whatever order its dimensions lie, is a row of numbers here, so one plan serves every
shape of a size.

oneDNN's own element-wise primitives lose NaN (relu makes it 0) and take no further operation. Its binary
primitive does neither: a *chain* `y = op(x, constant)`, then functions and operations with other arrays,
all in one pass. In a chain max(a, b) gives b if either is NaN, `GT` is true of NaN and `LT` is not; the
kernels below make use of that, so that NaN and inf come out exactly as in PyTorch.

Left to NumPy, because oneDNN's forms err more than four times as much as PyTorch's: log, log1p and elu near
their interesting end, and exp of large numbers.

The sizes from which the kernels are used were measured on two cores as whole calls, with one thread and with
two: from there on they are faster with either. A call costs 4 us and, with several arrays, up to 7.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.piecewise import negative, positive

from . import abi, threads
from .core import F32, Args, Desc, Plan, attributes, dense, desc, like, plain_desc, plan, plans, primitive

_P0, _P1, _P2 = (abi.post_op_src(i) for i in range(3))

_SCALAR = (1,), (4,)


@functools.cache
def _constant(value: float) -> np.ndarray:
    return np.array([value], F32)


def _row(n: int) -> Desc | None:
    # A single element may be a NumPy scalar, which has no memory that oneDNN could read.
    return desc((n,), (4,)) if n > 1 else None


def _eltwise(n: int, alg: int, alpha: float = 0.0, beta: float = 0.0) -> Plan | None:
    """The plan (x, y) of a plain element-wise primitive; what backward ones take as a hint, too."""
    row = _row(n)
    if row is None:
        return None
    return plan(primitive("eltwise_forward", abi.FORWARD_TRAINING, alg, row, row, alpha, beta), abi.SRC, abi.DST)


def _backward(n: int, alg: int, alpha: float = 0.0) -> Plan | None:
    """The plan (grad, x, result) of an element-wise primitive's backward form."""
    row, forward = _row(n), _eltwise(n, alg, alpha)
    if row is None or forward is None:
        return None
    pd = primitive("eltwise_backward", alg, row, row, row, alpha, 0.0, forward.pd)
    return plan(pd, abi.DIFF_DST, abi.SRC, abi.DIFF_SRC)


def _chain(n: int, op: int, operand: float | None, *post: Any, args: Args) -> Plan | None:
    """The plan of `op(x, operand)` followed by `post`; an operand None is an array like x.

    A post-op is `(alg, alpha, beta)` of an element-wise function, `(op, constant)` or `(op, None)` for an
    array.
    """
    row, scalar = _row(n), desc(*_SCALAR)
    if row is None:
        return None
    fixed = {} if operand is None else {abi.SRC_1: _constant(operand)}
    ops: list[tuple[Any, ...]] = []
    for i, entry in enumerate(post):
        if len(entry) == 3:
            ops.append(("eltwise", *entry))
        elif entry[1] is None:
            ops.append(("binary", entry[0], row))
        else:
            ops.append(("binary", entry[0], scalar))
            fixed[abi.post_op_src(i)] = _constant(entry[1])
    pd = primitive("binary", op, row, row if operand is None else scalar, row, attr=attributes(*ops))
    return plan(pd, *args, fixed=fixed)


def _one(make: Callable[..., Plan | None]) -> Callable[..., Any]:
    """A kernel of one array from `make(n, *parameters)`."""
    cache = plans(make)

    def kernel(x: np.ndarray, *parameters: Any) -> Any:
        if x.dtype != F32:
            return NotImplemented
        p = cache[(x.size, *parameters) if parameters else x.size]
        if p is None:
            return NotImplemented
        if not x.flags.c_contiguous:
            x = dense(x)
        y = empty_like(x)
        p.run(x, y)
        return y

    return kernel


def _two(make: Callable[..., Plan | None]) -> Callable[..., Any]:
    """A kernel of a gradient and an array that lies as the result shall, from `make(n, *parameters)`."""
    cache = plans(make)

    def kernel(grad: np.ndarray, x: np.ndarray, *parameters: Any) -> Any:
        if grad.dtype != F32 or x.dtype != F32 or grad.shape != x.shape:
            return NotImplemented
        p = cache[(x.size, *parameters) if parameters else x.size]
        if p is None:
            return NotImplemented
        if not (x.flags.c_contiguous and grad.flags.c_contiguous):
            x = dense(x)
            grad = like(grad, x)
        y = empty_like(x)
        p.run(grad, x, y)
        return y

    return kernel


# Elements at a time: what passes from one step to the next stays in the cache. With several threads a step costs the waking
# of them all, and there is more cache.
BLOCK = 1 << 17


def _flat(x: np.ndarray) -> np.ndarray:
    """The elements of a dense array in their order in memory, as a view."""
    if not x.flags.c_contiguous:
        x = x.transpose(sorted(range(x.ndim), key=lambda d: -x.strides[d]))
    return x.reshape(-1)


def in_blocks(compute: Callable[..., bool], result: np.ndarray, *arrays: np.ndarray) -> Any:
    """`result`, after `compute(result, *arrays)` of each block of dense arrays that lie alike; False declines."""
    block = BLOCK if threads.get_num_threads() == 1 else 8 * BLOCK
    if result.size <= block:
        return result if compute(result, *arrays) else NotImplemented
    parts = [_flat(a) for a in (result, *arrays)]
    for start in range(0, max(result.size, 1), block):
        if not compute(*(a[start : start + block] for a in parts)):
            return NotImplemented
    return result


_ROW = 1024  # numbers that are added up in one go
_FEW, _MANY = 1 << 15, 1 << 18  # up to here a product of NumPy's is quickest, and from here on one of oneDNN's


@plans
def _row_sums(rows: int) -> Plan | None:
    pd = primitive("matmul", plain_desc((rows, _ROW)), plain_desc((_ROW, 1)), None, plain_desc((rows, 1)))
    return plan(pd, abi.SRC, abi.DST, fixed={abi.WEIGHTS: np.ones(_ROW, F32)})


def has_nan(x: np.ndarray) -> bool:
    """Whether NaN is in a dense array: then sums, or squares, add up to NaN, which takes less time than a look for it."""
    x = _flat(x)
    n = x.size - x.size % _ROW
    if n <= _FEW:
        square = x.dot(x)
        return square != square
    run = _row_sums[n // _ROW] if n >= _MANY else None
    if run is not None:
        sums = np.empty(n // _ROW, F32)
        run.run(x, sums)
        total, rest = sums.dot(sums), x[n:]
        if total - total == 0:  # neither NaN nor infinite
            return bool(rest.size) and has_nan(rest)
    return bool(np.isnan(np.minimum.reduce(x, axis=None, initial=np.inf)))


def _masked(make: Callable[..., Plan | None]) -> Callable[..., Any]:
    """As `_two`, of what multiplies a gradient by 0 in places, and by something else in others.

    A product with 0 is not 0 for an infinite gradient, or NaN; such a result is looked for, while it is in the cache, and left
    to the reference.
    """
    cache = plans(make)

    def kernel(grad: np.ndarray, x: np.ndarray, *parameters: Any) -> Any:
        if grad.dtype != F32 or x.dtype != F32 or grad.shape != x.shape:
            return NotImplemented

        def block(y: np.ndarray, grad: np.ndarray, x: np.ndarray) -> bool:
            p = cache[(x.size, *parameters) if parameters else x.size]
            if p is None:
                return False
            p.run(grad, x, y)
            return not has_nan(y)

        x = dense(x)
        return in_blocks(block, empty_like(x), like(grad, x), x)

    return kernel


# max(x, 0), which drops NaN, then max(that, x), which brings it back.
_relu = _one(lambda n: _chain(n, abi.MAX, 0.0, (abi.MAX, None), args=((abi.SRC, _P0), abi.DST)))


@fast(min_size=100_000)
def relu(x: np.ndarray) -> Any:
    """max(x, 0); NaN stays."""
    return _relu(x)


# GT is true of NaN
_relu_backward = _masked(lambda n: _chain(n, abi.GT, 0.0, (abi.MUL, None), args=(_P0, abi.SRC, abi.DST)))


@fast(min_size=10_000)
def relu_backward(grad: np.ndarray, y: np.ndarray) -> Any:
    """grad where y > 0 or NaN, else 0."""
    return _relu_backward(grad, y)


_leaky = _one(lambda n, slope: _eltwise(n, abi.RELU, slope))


@fast(min_size=32_000)
def leaky_relu(x: np.ndarray, slope: float) -> Any:
    """x where x > 0, else slope·x."""
    # A slope of 0 would turn NaN into 0.
    return _leaky(x, float(slope)) if slope and math.isfinite(slope) else NotImplemented


# −x < 0 is false of NaN, as PyTorch's x > 0 is.
_leaky_backward = _two(lambda n, slope: _chain(
    n, abi.MUL, -1.0, (abi.LT, 0.0), (abi.LINEAR, 1.0 - slope, slope), (abi.MUL, None), args=(_P2, abi.SRC, abi.DST)))


@fast(min_size=2_500)
def leaky_relu_backward(grad: np.ndarray, x: np.ndarray, slope: float) -> Any:
    """grad where x > 0, else slope·grad."""
    return _leaky_backward(grad, x, float(slope)) if math.isfinite(slope) else NotImplemented


_sigmoid = _one(lambda n: _eltwise(n, abi.LOGISTIC))


@fast(min_size=1_500)
def sigmoid(x: np.ndarray) -> Any:
    """1/(1 + e⁻ˣ)."""
    return _sigmoid(x)


# ((−y) + 1)·y·grad
_sigmoid_backward = _two(lambda n: _chain(
    n, abi.MUL, -1.0, (abi.LINEAR, 1.0, 1.0), (abi.MUL, None), (abi.MUL, None),
    args=(_P2, (abi.SRC, _P1), abi.DST)))


@fast(min_size=40_000)
def sigmoid_backward(grad: np.ndarray, y: np.ndarray) -> Any:
    """grad·y·(1 − y)."""
    return _sigmoid_backward(grad, y)


_tanh = _one(lambda n: _eltwise(n, abi.TANH))


@fast(min_size=8_000)
def tanh(x: np.ndarray) -> Any:
    """The hyperbolic tangent; on one thread NumPy's is faster."""
    return _tanh(x) if threads.get_num_threads() > 1 else NotImplemented


# (−(y·y) + 1)·grad
_tanh_backward = _two(lambda n: _chain(
    n, abi.MUL, None, (abi.LINEAR, -1.0, 1.0), (abi.MUL, None), args=(_P1, (abi.SRC, abi.SRC_1), abi.DST)))


@fast(min_size=32_000)
def tanh_backward(grad: np.ndarray, y: np.ndarray) -> Any:
    """grad·(1 − y²)."""
    return _tanh_backward(grad, y)


# softplus(x) = max(x, 0) + log(1 + u)/β with u = e^(−|βx|), and log(1 + u)/u is a polynomial of u (to 3e-8). NumPy's log1p takes
# fifteen times as long.
_LOG1P = (0.9999999698822329, -0.49999493133652473, 0.3331909648874002, -0.24842979039027333, 0.1910599284939858,
          -0.1366321401930476, 0.07822555768442212, -0.029504986949808333, 0.005232629354112728)


def horner(coefficients: tuple[float, ...]) -> tuple[float, list[tuple[Any, ...]], list[int]]:
    """What makes x·P(x) of x with P's coefficients, from the constant on: a chain begins by adding a number, then come some
    post-operations, and of these the indices of those whose operand is x."""
    *rest, before, last = coefficients
    post: list[tuple[Any, ...]] = [(abi.MUL, None)]
    for i, c in enumerate(reversed(rest)):
        post += (abi.LINEAR, 1.0 if i else last, c), (abi.MUL, None)
    return before / last, post, list(range(0, len(post), 2))


@plans
def _softplus(n: int, beta: float) -> tuple[Plan, Plan] | None:
    """(x, u) and (u, an array, result): log(1 + u)/β + the array"""
    decay = _chain(n, abi.MUL, beta, (abi.ABS, 0.0, 0.0), (abi.LINEAR, -1.0, 0.0), (abi.EXP, 0.0, 0.0), args=(abi.SRC, abi.DST))
    first, post, places = horner(tuple(c / beta for c in _LOG1P))
    series = _chain(n, abi.ADD, first, *post, (abi.ADD, None),
                    args=((abi.SRC, *map(abi.post_op_src, places)), abi.post_op_src(len(post)), abi.DST))
    return None if decay is None or series is None else (decay, series)


# From 17 on σ is 1 in float32 and log(1 + e^z) is z, so that a threshold beyond makes no difference.
_BEYOND = 17


def _soft(x: np.ndarray, beta: float, cut: Callable[[np.ndarray], Any]) -> Any:
    """log(1 + e^(−|βx|))/β + cut(x)"""
    if x.dtype != F32:
        return NotImplemented

    def block(y: np.ndarray, x: np.ndarray) -> bool:
        found, addend = _softplus[x.size, beta], cut(x)
        if found is None or addend is NotImplemented:
            return False
        decay, series = found
        decay.run(x, y)
        series.run(y, addend, y)
        return True

    x = dense(x)
    return in_blocks(block, empty_like(x), x)


def _cut(chain: Callable[[np.ndarray], Any], quick: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], Any]:
    """A function of few numbers by NumPy, and of more by a chain."""
    return lambda x: quick(x) if x.size <= _FEW else chain(x)


_lower = _one(lambda n: _chain(n, abi.MIN, 0.0, (abi.MIN, None), args=((abi.SRC, _P0), abi.DST)))
_upper_part, _lower_part = _cut(_relu, positive), _cut(_lower, negative)


@fast(min_size=1_000)
def softplus(x: np.ndarray, beta: float, threshold: float) -> Any:
    """log(1 + e^(βx))/β, and x itself where βx > threshold."""
    return _soft(x, float(beta), _upper_part) if threshold >= _BEYOND and 0 < beta < math.inf else NotImplemented


_softplus_backward = _two(lambda n, beta: _chain(
    n, abi.MUL, 1.0, (abi.LINEAR, beta, 0.0), (abi.LOGISTIC, 0.0, 0.0), (abi.MUL, None),
    args=(_P2, abi.SRC, abi.DST)))


@fast(min_size=256)
def softplus_backward(grad: np.ndarray, x: np.ndarray, beta: float, threshold: float) -> Any:
    """grad·σ(βx), and grad itself where βx > threshold."""
    if threshold < _BEYOND or not math.isfinite(beta):
        return NotImplemented
    return _softplus_backward(grad, x, float(beta))


_gelu = _one(lambda n, alg: _eltwise(n, alg))
_gelu_backward = _two(_backward)


@fast(min_size=64)
def gelu(x: np.ndarray, approximate: str) -> Any:
    """x·Φ(x), with Φ the normal distribution function; or its tanh approximation."""
    return _gelu(x, abi.GELU_TANH if approximate == "tanh" else abi.GELU_ERF)


@fast(min_size=64)
def gelu_backward(grad: np.ndarray, x: np.ndarray, approximate: str) -> Any:
    """grad·(Φ(x) + x·φ(x)), or the derivative of the tanh approximation."""
    return _gelu_backward(grad, x, abi.GELU_TANH if approximate == "tanh" else abi.GELU_ERF)


_silu = _one(lambda n: _eltwise(n, abi.SWISH, 1.0))
_silu_backward = _two(lambda n: _backward(n, abi.SWISH, 1.0))


@fast(min_size=1_500)
def silu(x: np.ndarray) -> Any:
    """x·σ(x)."""
    return _silu(x)


@fast(min_size=1_500)
def silu_backward(grad: np.ndarray, x: np.ndarray) -> Any:
    """grad·σ(x)·(1 + x·(1 − σ(x)))."""
    return _silu_backward(grad, x)


# oneDNN's own mish is off by 4 % where x is far below 0, and its derivative infinite far above.
@plans
def _tanh_softplus(n: int) -> tuple[Plan, Plan, Plan] | None:
    """(x, e = e^min(x, 20)), (e, e, n = e·(e + 2)), (n, r = 1/(n + 2)): tanh(log(1 + e^x)) is n·r."""
    power = _chain(n, abi.MIN, 20.0, (abi.EXP, 0.0, 0.0), args=(abi.SRC, abi.DST))
    product = _chain(n, abi.ADD, 2.0, (abi.MUL, None), args=(abi.SRC, _P0, abi.DST))
    ratio = _chain(n, abi.ADD, 2.0, (abi.POW, 1.0, -1.0), args=(abi.SRC, abi.DST))
    return None if power is None or product is None or ratio is None else (power, product, ratio)


_times_two = plans(lambda n: _chain(n, abi.MUL, None, (abi.MUL, None), args=(abi.SRC, abi.SRC_1, _P0, abi.DST)))


@fast(min_size=8_000)
def mish(x: np.ndarray) -> Any:
    """x·tanh(log(1 + eˣ))."""
    if x.dtype != F32:
        return NotImplemented

    def block(result: np.ndarray, x: np.ndarray) -> bool:
        found, last = _tanh_softplus[x.size], _times_two[x.size]
        if found is None or last is None:
            return False
        power, product, ratio = found
        n = empty(x.shape)
        power.run(x, result)
        product.run(result, result, n)
        ratio.run(n, result)
        last.run(n, result, x, result)
        return True

    x = dense(x)
    return in_blocks(block, empty_like(x), x)


# r·(n + 4·x·e·(e + 1)·r)·grad, with x up to 20, from where on it is grad
_mish_slope = plans(lambda n: _chain(
    n, abi.ADD, 1.0, (abi.LINEAR, 4.0, 0.0), (abi.MUL, None), (abi.MUL, None), (abi.MUL, None), (abi.ADD, None), (abi.MUL, None),
    (abi.MUL, None), args=(abi.SRC, *(abi.post_op_src(i) for i in range(1, 7)), abi.DST)))
_up_to_20 = plans(lambda n: _chain(n, abi.MIN, 20.0, (abi.MIN, None), args=(abi.SRC, _P0, abi.DST)))


@fast(min_size=6_000)
def mish_backward(grad: np.ndarray, x: np.ndarray) -> Any:
    """grad·(t + x·σ(x)·(1 − t²)) with t = tanh(log(1 + eˣ))."""
    if grad.dtype != F32 or x.dtype != F32 or grad.shape != x.shape:
        return NotImplemented
    if not np.isfinite(np.maximum.reduce(x, axis=None, initial=0)):
        return NotImplemented

    def block(result: np.ndarray, grad: np.ndarray, x: np.ndarray) -> bool:
        found, last, cap = _tanh_softplus[x.size], _mish_slope[x.size], _up_to_20[x.size]
        if found is None or last is None or cap is None:
            return False
        power, product, ratio = found
        e, n, c = empty(x.shape), empty(x.shape), empty(x.shape)
        power.run(x, e)
        product.run(e, e, n)
        ratio.run(n, result)
        cap.run(x, x, c)
        last.run(e, e, c, result, n, result, grad, result)
        return True

    x = dense(x)
    return in_blocks(block, empty_like(x), like(grad, x), x)


@fast(min_size=1_000)
def log_sigmoid(x: np.ndarray) -> Any:
    """log σ(x) = min(x, 0) − log(1 + e^(−\\|x\\|)): softplus with β = −1 and the other side of 0."""
    return _soft(x, -1.0, _lower_part)


_log_sigmoid_backward = _two(lambda n: _chain(
    n, abi.MUL, -1.0, (abi.LOGISTIC, 0.0, 0.0), (abi.MUL, None), args=(_P1, abi.SRC, abi.DST)))


@fast(min_size=1_500)
def log_sigmoid_backward(grad: np.ndarray, x: np.ndarray) -> Any:
    """grad·σ(−x)."""
    return _log_sigmoid_backward(grad, x)


def _halves(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    before, n = (slice(None),) * axis, x.shape[axis] // 2
    return x[(*before, slice(n))], x[(*before, slice(n, None))]


@fast(min_size=8_000)
def glu(x: np.ndarray, axis: int) -> Any:
    """a·σ(b), with a and b the halves of x."""
    a, b = _halves(x, axis)
    y = _sigmoid(b)
    if y is NotImplemented:
        return NotImplemented
    return np.multiply(y, a, out=y)


@fast(min_size=16_000)
def glu_backward(grad: np.ndarray, x: np.ndarray, axis: int) -> Any:
    """(grad·σ(b), grad·a·σ(b)·(1 − σ(b))), one after the other."""
    a, b = _halves(x, axis)
    s = _sigmoid(b) if grad.dtype == F32 else NotImplemented
    if s is NotImplemented:
        return NotImplemented
    gx = empty_like(x)
    ga, gb = _halves(gx, axis)
    np.multiply(grad, s, out=ga)
    np.subtract(1, s, out=s)
    s *= a
    np.multiply(ga, s, out=gb)
    return gx


_sqrt = _one(lambda n: _eltwise(n, abi.SQRT))
_abs = _one(lambda n: _eltwise(n, abi.ABS))
_square = _one(lambda n: _eltwise(n, abi.SQUARE))
_neg = _one(lambda n: _eltwise(n, abi.LINEAR, -1.0, 0.0))


@fast(min_size=20_000)
def sqrt(x: np.ndarray) -> Any:
    """√x; NaN where x < 0."""
    return _sqrt(x)


@fast(min_size=250_000)
def abs(x: np.ndarray) -> Any:  # noqa: A001
    """|x|."""
    return _abs(x)


@fast(min_size=250_000)
def square(x: np.ndarray) -> Any:
    """x²."""
    return _square(x)


@fast(min_size=250_000)
def neg(x: np.ndarray) -> Any:
    """−x."""
    return _neg(x)
