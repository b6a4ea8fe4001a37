"""NumPy's own functions of each element, in parts that are shared among threads: float32, and float64 as well.

For these oneDNN has no form, or one that errs more. Arrays must be dense and lie alike, and are rows of numbers then, as in
eltwise.py; a second operand may also be a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like

from . import abi, threads
from .core import is_dense
from .eltwise import _eltwise, _flat
from .eltwise import _one as eltwise_one

F32, F64, I64, BOOL = (np.dtype(t) for t in (np.float32, np.float64, np.int64, np.bool_))
FLOATS, NUMBERS = (F32, F64), (F32, F64, I64)

# Sizes from which two threads are quicker, of what takes some nanoseconds an element, one, or as long as reading it.
SLOW, DEAR, CHEAP = 1 << 14, 1 << 17, 1 << 19
# Elements that a thread takes at a time. Threads take turns at the interpreter, so that they would wait in many short passes: 3.2
# million numbers in parts of 16, 32, 64, 128, 256 thousand, us: where 5034, 2917, 1988, 2035, 2083; atan2 28961, 17574, 10830,
# 9687, 9554.
LEAST, MOST = 1 << 15, 1 << 17

ndarray = np.ndarray


def share(work: Callable[..., None], *rows: Any, least: int = LEAST) -> None:
    """``work`` of the parts of rows of one length, of ``least`` elements or more; what is no array is handed to each."""
    size = rows[0].size
    part = max(least, min(MOST, size // 16))

    def piece(i: int) -> None:
        work(*(row[i : i + part] if type(row) is ndarray and row.ndim else row for row in rows))

    if size <= part or threads.get_num_threads() == 1:
        for i in range(0, size, part):
            piece(i)
    else:
        workers.share(piece, range(0, size, part))


def alike(x: ndarray, y: ndarray) -> bool:
    """Whether the elements of two arrays of one shape lie in one order."""
    return x.strides == y.strides or x.flags.c_contiguous and y.flags.c_contiguous


def second(x: ndarray, y: Any) -> Any:
    """The second operand beside a dense x: as a row, or a number; ``None`` for any other."""
    if not isinstance(y, np.ndarray):
        return y if isinstance(y, (int, float, np.number)) else None
    if y.dtype != x.dtype:
        return None
    if y.shape == x.shape:
        return _flat(y) if alike(x, y) else None
    return y.reshape(()) if y.size == 1 and y.ndim <= x.ndim else None


def _result(x: ndarray, dtype: np.dtype) -> ndarray:
    if x.dtype is dtype:
        return empty_like(x)
    return empty(x.shape, dtype) if x.flags.c_contiguous else np.empty_like(x, dtype)


def _one(call: Callable[..., Any], least: int | None, dtype: np.dtype | None = None) -> Callable[..., Any]:
    """The kernel that is ``call(x, out=y)`` in parts, of results of ``dtype`` (by default that of x)."""

    def kernel(x: Any) -> Any:
        if type(x) is not ndarray or x.dtype not in FLOATS or not is_dense(x):
            return NotImplemented
        y = _result(x, dtype or x.dtype)
        share(lambda x, y: call(x, out=y), _flat(x), _flat(y), least=LEAST // 2)
        return y

    return kernel if least is None else fast(least)(kernel)


def _two(ufunc: np.ufunc, least: int | None, dtype: np.dtype | None = None) -> Callable[..., Any]:
    """The kernel that is ``ufunc(x, y)`` in parts, of results of ``dtype`` (by default that of x)."""

    def kernel(x: Any, y: Any) -> Any:
        if type(x) is not ndarray or x.dtype not in (FLOATS if dtype is None else NUMBERS) or not is_dense(x):
            return NotImplemented
        other = second(x, y)
        if other is None:
            return NotImplemented
        z = _result(x, dtype or x.dtype)
        share(lambda x, y, z: ufunc(x, y, out=z), _flat(x), other, _flat(z), least=LEAST // 2)
        return z

    return kernel if least is None else fast(least)(kernel)


exp2, log, log2, log10 = (_one(f, DEAR) for f in (np.exp2, np.log, np.log2, np.log10))
sin, cos = (_one(f, DEAR) for f in (np.sin, np.cos))
tan, asin, acos, cosh = (_one(f, SLOW) for f in (np.tan, np.arcsin, np.arccos, np.cosh))
asinh, acosh, atanh = (_one(f, SLOW) for f in (np.arcsinh, np.arccosh, np.arctanh))
floor, ceil, trunc = (_one(f, CHEAP) for f in (np.floor, np.ceil, np.trunc))
isnan, isinf, isfinite, signbit = (_one(f, CHEAP, BOOL) for f in (np.isnan, np.isinf, np.isfinite, np.signbit))
maximum, minimum, fmax, fmin = (_two(f, CHEAP) for f in (np.maximum, np.minimum, np.fmax, np.fmin))
hypot, fmod, remainder, floor_divide, logaddexp = (
    _two(f, SLOW) for f in (np.hypot, np.fmod, np.remainder, np.floor_divide, np.logaddexp)
)
copysign = _two(np.copysign, CHEAP)
eq, ne, lt, le, gt, ge = (
    _two(f, CHEAP, BOOL) for f in (np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal)
)


def _rsqrt(x: ndarray, out: ndarray) -> None:
    np.divide(1, np.sqrt(x, out), out)


def _sign(x: ndarray, out: ndarray) -> None:
    """(x > 0) − (x < 0): 0 of NaN"""
    np.subtract(np.greater(x, 0).view(np.int8), np.less(x, 0).view(np.int8), out, casting="unsafe")


_exp, _exp_of_small = _one(np.exp, None), eltwise_one(lambda n: _eltwise(n, abi.EXP))


@fast(min_size=1 << 15)
def exp(x: Any) -> Any:
    """eˣ: oneDNN's, which takes a third of the time of NumPy's, where it is as exact, and that is up to |x| = 40."""
    if type(x) is ndarray and x.dtype is F32 and x.size > 1 and is_dense(x):
        large: list[ndarray] = []

        def look(x: ndarray) -> None:
            if not (-40 < np.minimum.reduce(x) and np.maximum.reduce(x) < 40):
                large.append(x)

        share(look, _flat(x))
        if not large:
            return _exp_of_small(x)
    return _exp(x)


rsqrt, sign = _one(_rsqrt, DEAR), _one(_sign, 1 << 15)
reciprocal = _one(lambda x, out: np.divide(1, x, out), CHEAP)


@fast(min_size=CHEAP)
def round(x: Any, decimals: int = 0) -> Any:  # noqa: A001
    """The nearest integer, halves to even."""
    return _rint(x) if decimals == 0 else NotImplemented


_rint = _one(np.rint, None)


@fast(min_size=DEAR)
def pow(x: Any, y: Any) -> Any:  # noqa: A001
    """xʸ: by products, a root or a quotient where the exponent is such a number."""
    if isinstance(y, (int, float)):
        if y == 2:
            return _squared(x)
        if y == 3:
            return _cubed(x)
        if y == 0.5:
            return _root(x)
        if y == -1:
            return reciprocal(x)
    return _power(x, y)


_squared, _root = _one(lambda x, out: np.multiply(x, x, out), None), _one(np.sqrt, None)
_cubed = _one(lambda x, out: np.multiply(np.multiply(x, x, out), x, out), None)
_power = _two(np.power, None)


@fast(min_size=1 << 14)
def clamp(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high); NaN stays."""
    if type(x) is not ndarray or x.dtype not in FLOATS or not is_dense(x) or np.ndim(low) or np.ndim(high):
        return NotImplemented

    y = empty_like(x)
    low, high = x.dtype.type(-np.inf if low is None else low), x.dtype.type(np.inf if high is None else high)
    share(lambda x, y: np.clip(x, low, high, out=y), _flat(x), _flat(y))
    return y


@fast(min_size=DEAR)
def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight·(end − start), from the nearer end; the weight is a number."""
    if type(start) is not ndarray or type(end) is not ndarray or start.dtype not in FLOATS or not is_dense(start):
        return NotImplemented
    if end.dtype != start.dtype or end.shape != start.shape or not alike(start, end) or np.ndim(weight):
        return NotImplemented
    near = abs(float(weight)) < 0.5
    weight = start.dtype.type(weight if near else 1 - weight)

    def part(start: ndarray, end: ndarray, y: ndarray) -> None:
        np.multiply(np.subtract(end, start, y), weight, y)
        if near:
            np.add(start, y, y)
        else:
            np.subtract(end, y, y)

    y = empty_like(start)
    share(part, _flat(start), _flat(end), _flat(y))
    return y


@fast(min_size=DEAR)
def cast(x: Any, dtype: np.dtype) -> Any:
    """The same values in another dtype, of NumPy's own."""
    if type(x) is not ndarray or not is_dense(x) or x.dtype.kind not in "biuf" or dtype.kind not in "biuf":
        return NotImplemented
    y = _result(x, dtype)
    share(lambda x, y: np.copyto(y, x, casting="unsafe"), _flat(x), _flat(y))
    return y


# -- one or the other --------------------------------------------------------------------------------------------------

_BITS = {4: np.dtype(np.int32), 8: np.dtype(np.int64)}


def select(condition: ndarray, x: Any, y: Any, out: ndarray) -> None:
    """x where a row of bools holds, else y: by their bits, since NumPy's ``where`` guesses, and waits when it guesses wrong."""
    bits: Any = out.view(_BITS[out.itemsize])
    mask = np.negative(condition.view(np.int8)).astype(bits.dtype)  # all bits, or none
    x, y = x.view(bits.dtype), y.view(bits.dtype)
    if not y.ndim and not y:
        np.bitwise_and(x, mask, bits)
    elif not x.ndim and not x:
        np.bitwise_and(y, np.invert(mask, mask), bits)
    else:
        np.bitwise_and(np.bitwise_xor(x, y, bits), mask, bits)
        np.bitwise_xor(bits, y, bits)


@fast(min_size=1 << 13)
def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    if type(condition) is not ndarray or condition.dtype is not BOOL or not is_dense(condition):
        return NotImplemented
    dtype = np.result_type(x, y) if isinstance(x, (np.ndarray, np.generic)) or isinstance(y, (np.ndarray, np.generic)) else None
    if dtype not in NUMBERS:
        return NotImplemented
    rows = []
    for a in (x, y):
        if isinstance(a, np.ndarray) and a.ndim:
            if a.shape != condition.shape or a.dtype != dtype or not (
                condition.flags.c_contiguous and a.flags.c_contiguous
                or [s * dtype.itemsize for s in condition.strides] == list(a.strides)
            ):
                return NotImplemented
            rows.append(_flat(a))
        else:
            rows.append(np.asarray(a, dtype))
    z = _result(condition, dtype)
    share(select, _flat(condition), *rows, _flat(z))
    return z


@fast(min_size=1 << 13)
def masked_fill(x: Any, mask: Any, value: Any, into: bool) -> Any:
    """x with the value where a mask of its shape holds."""
    if x.shape != mask.shape or np.ndim(value) or not is_dense(x) or (into and not x.flags.c_contiguous):
        return NotImplemented
    number = np.asarray(value)
    if x.dtype not in NUMBERS or number.dtype != x.dtype:
        return NotImplemented
    y = where(mask, number, x)
    if y is NotImplemented or not into:
        return y
    np.copyto(x, y)
    return x
