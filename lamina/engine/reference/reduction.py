"""Reductions and scans. ``axes`` is a tuple of axes in order, or ``None`` for all of them; half precision adds in single."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.reference.linalg import product

__all__ = [
    "sum", "mean", "prod", "amax", "amin", "argmax", "argmin", "any", "all", "count_nonzero", "var_mean", "logsumexp",
    "vector_norm", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "pick", "place", "isclose",
]  # fmt: skip

ndarray = np.ndarray
Axes = tuple[int, ...] | None
_add: Any = np.add.reduce  # (Any: NumPy's types have no overload for a keepdims that varies)
_multiply: Any = np.multiply.reduce
_maximum: Any = np.maximum.reduce
_minimum: Any = np.minimum.reduce
_or: Any = np.logical_or.reduce
_and: Any = np.logical_and.reduce
F16, F32, F64, I64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


# -- sums ----------------------------------------------------------------------------------------------------------

_MATRIX = 8192  # from this size on it pays to look for matrix products in a sum
_SHORT = 128  # numbers of which the place of the largest is found sooner than a reduction has begun
_BLOCK = 1024  # numbers that one product adds up: few enough that rounding errors stay near those of pairwise addition


def sum(x: ndarray, axes: Axes, keepdims: bool, dtype: np.dtype | None = None) -> Any:  # noqa: A001
    """Σx over ``axes``, computed and returned in ``dtype`` (by default that of x)."""
    if dtype is None:
        if axes is None and x.ndim == 1 and x.dtype is F32 and not keepdims:
            row = _rows.get(x.size)
            if row is not None:
                return x.dot(row)
        if x.dtype is F16:
            return _add(x, axis=axes, keepdims=keepdims, dtype=F32).astype(F16)
        if x.size < _MATRIX:
            if x.ndim < 3 and not keepdims and (x.dtype is F32 or x.dtype is F64):
                y = _few(x, axes)
                if y is not None:
                    return y
        elif x.dtype is F32 or x.dtype is F64:
            how = _as_products(x.shape, x.strides, x.itemsize, axes)
            if how is not None:
                y = _sum_by_products(x, *how)
                return y.reshape([1 if axes is None or i in axes else n for i, n in enumerate(x.shape)]) if keepdims else y
        dtype = x.dtype
    elif dtype is F16:
        return _add(x, axis=axes, keepdims=keepdims, dtype=F32).astype(F16)
    return _add(x, axis=axes, keepdims=keepdims, dtype=dtype)


def _few(x: ndarray, axes: Axes) -> Any:
    """The sum of a small vector, or a plain matrix: a product with ones takes half to a fifth of the time of ``add.reduce``."""
    shape = x.shape
    if len(shape) == 2:
        if not x.flags.c_contiguous or not x.size or x.size > 2 * _BLOCK and max(shape) > 2 * _BLOCK:
            return None
        if axes == (0,):
            return ones_row(shape[0], x.dtype).dot(x)
        if axes == (1,):
            return x.dot(ones_row(shape[1], x.dtype))
        x = x.reshape(-1)
    elif not shape:
        return None
    n = len(x)
    return x.dot(ones_row(n, x.dtype)) if 0 < n <= 2 * _BLOCK else None


def ones_row(n: int, dtype: np.dtype) -> ndarray:
    """``n`` ones, kept."""
    row = _rows.get(n if dtype is F32 else -n)
    if row is None:
        if len(_rows) > 512:
            _rows.clear()
        _rows[n if dtype is F32 else -n] = row = np.ones(n, dtype)
    return row


_rows: dict[int, ndarray] = {}  # rows of n ones in single precision, by n, and in double, by −n


@lru_cache(maxsize=1024)
def _as_products(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, axes: Axes) -> tuple | None:
    """How to see a sum over a dense array as products with ones, or ``None`` if it is no such array.

    (axes in the order of memory, lengths of the groups of neighbours that are all summed or all kept, whether the last group
    is summed, lengths of the axes that are kept in the order of memory, how to put these in order).
    """
    order = sorted(range(len(shape)), key=lambda i: -strides[i])
    groups: list[list[Any]] = []  # from the innermost on: [summed, length]
    step = itemsize
    for i in reversed(order):
        n, summed = shape[i], axes is None or i in axes
        if n == 1:
            continue
        if strides[i] != step:
            return None
        step *= n
        if groups and groups[-1][0] is summed:
            groups[-1][1] *= n
        else:
            groups.append([summed, n])
    if not groups or groups == [[False, groups[0][1]]]:
        return None
    kept = [i for i in order if axes is not None and i not in axes]
    back = sorted(range(len(kept)), key=kept.__getitem__)
    return order, [n for _, n in reversed(groups)], groups[0][0], [shape[i] for i in kept], back


def _sum_by_products(x: ndarray, order: list[int], lengths: list[int], inner: bool, kept: list[int], back: list[int]) -> Any:
    """A sum as products with rows or columns of ones.

    NumPy adds rows that are kept one after the other, where rounding errors grow with their number, and is slow where rows
    are short; BLAS is neither.
    """
    y = x.transpose(order).reshape(lengths)
    if inner:
        y = _sum_rows(y)
        rest = range(y.ndim - 2, -1, -2)  # the groups that are left: ..., summed, kept
    else:
        y = _sum_columns(y)
        rest = range(y.ndim - 3, -1, -2)  # ..., summed, kept, kept
    if rest:
        y = _add(y, axis=tuple(rest))
    return y.reshape(kept).transpose(back)


def _sum_rows(x: ndarray) -> Any:
    """Σ over the last axis of a plain array."""
    n = x.shape[-1]
    if n <= 2 * _BLOCK:
        return product(x.reshape(-1, n), _ones(n, x.dtype)).reshape(x.shape[:-1])
    if x.size >= n * (n // _BLOCK):  # many rows: one product for a piece of all of them
        rows: Any = x.reshape(-1, n)
        totals: Any = 0
        for i in range(0, n, _BLOCK):
            part = rows[:, i : i + _BLOCK]
            totals = totals + product(part, _ones(part.shape[1], x.dtype))
        return totals.reshape(x.shape[:-1])
    whole = n // _BLOCK * _BLOCK
    parts = x[..., :whole].reshape(*x.shape[:-1], -1, _BLOCK)
    total = _add(product(parts, _ones(_BLOCK, x.dtype))[..., 0], axis=-1)
    return total + _sum_rows(x[..., whole:]) if whole < n else total


def _sum_columns(x: ndarray) -> Any:
    """Σ over the last axis but one of a plain array."""
    n = x.shape[-2]
    if n <= 2 * _BLOCK:
        return product(_ones(n, x.dtype).T, x)[..., 0, :]
    whole = n // _BLOCK * _BLOCK
    parts = x[..., :whole, :].reshape(*x.shape[:-2], -1, _BLOCK, x.shape[-1])
    total = _add(product(_ones(_BLOCK, x.dtype).T, parts)[..., 0, :], axis=-2)
    return total + _add(x[..., whole:, :], axis=-2) if whole < n else total


@lru_cache(maxsize=256)
def _ones(n: int, dtype: np.dtype) -> ndarray:
    return np.ones((n, 1), dtype)


def count(shape: tuple[int, ...], axes: Axes) -> int:
    """How many elements a reduction takes together."""
    return math.prod(shape) if axes is None else math.prod([shape[i] for i in axes])


def mean(x: ndarray, axes: Axes, keepdims: bool) -> Any:
    """Σx/n over ``axes``; NaN where n is 0."""
    if x.dtype is F16:
        total = _add(x, axis=axes, keepdims=keepdims, dtype=F32)
        return np.true_divide(total, np.float32(count(x.shape, axes))).astype(F16)
    total, n = sum(x, axes, keepdims), count(x.shape, axes)
    return np.true_divide(total, n if isinstance(total, ndarray) else x.dtype.type(n))


def var_mean(x: ndarray, axes: Axes, keepdims: bool, correction: float) -> tuple[Any, Any]:
    """(Σ|x − mean|²/max(n − correction, 0), mean) in two passes."""
    if x.dtype is F16:
        v, m = var_mean(x.astype(F32), axes, keepdims, correction)
        return v.astype(F16), m.astype(F16)
    m = mean(x, axes, True)
    d = np.subtract(x, m)
    if x.dtype.kind == "c":
        d = d.real * d.real + d.imag * d.imag
    else:
        d *= d
    divisor = max(count(x.shape, axes) - correction, 0)
    v = np.true_divide(sum(d, axes, keepdims), d.dtype.type(divisor))
    return v, m if keepdims else m.reshape(v.shape)


def prod(x: ndarray, axes: Axes, keepdims: bool, dtype: np.dtype | None = None) -> Any:
    """Πx over ``axes``, computed and returned in ``dtype`` (by default that of x)."""
    wanted = x.dtype if dtype is None else dtype
    if wanted is F16:
        return _multiply(x, axis=axes, keepdims=keepdims, dtype=F32).astype(F16)
    return _multiply(x, axis=axes, keepdims=keepdims, dtype=wanted)


def logsumexp(x: ndarray, axes: Axes, keepdims: bool) -> Any:
    """log Σeˣ over ``axes``, shifted by the maximum so that nothing overflows; −inf for nothing."""
    if count(x.shape, axes) == 0:
        return np.log(_add(x, axis=axes, keepdims=keepdims))
    high = _maximum(x, axis=axes, keepdims=True)
    high = np.where(np.isinf(high), x.dtype.type(0), high)
    y = np.log(sum(np.exp(x - high), axes, keepdims))
    return y + high.reshape(np.shape(y))


def _squares(x: ndarray) -> float:
    """Σx² of a row, from products of at most 8192 numbers each, so that neither rounding errors nor BLAS's own threads matter."""
    if x.size <= _MATRIX:
        return float(x.dot(x))
    whole = x.size // _MATRIX * _MATRIX
    if whole < 16 * _MATRIX:
        total = 0.0
        for i in range(0, x.size, _MATRIX):
            part = x[i : i + _MATRIX]
            total += float(part.dot(part))
        return total
    rows = x[:whole].reshape(-1, _MATRIX)
    parts = [_squares(x[whole:])]

    def work(i: int) -> None:
        some = rows[i : i + 16]
        parts.append(float(_add(np.vecdot(some, some), dtype=F64)))

    workers.share(work, range(0, len(rows), 16))
    return float(_add(parts))


def _lengths(rows: ndarray) -> ndarray:
    """√Σx² of each row."""
    y = np.empty(len(rows), rows.dtype)
    step = -(-len(rows) // 8) if rows.size >= 1 << 18 else len(rows)

    def work(i: int) -> None:
        some = rows[i : i + step]
        np.sqrt(np.vecdot(some, some), out=y[i : i + step])

    workers.share(work, range(0, len(rows), step))
    return y


def vector_norm(x: ndarray, ord: float, axes: Axes, keepdims: bool) -> Any:  # noqa: A002
    """(Σ|x|ᵒʳᵈ)^(1/ord); the largest |x| for inf, the smallest for −inf, the count of non-zeros for 0."""
    if x.dtype is F16:
        return vector_norm(x.astype(F32), ord, axes, keepdims).astype(F16)
    if x.dtype.kind == "c":
        x = np.abs(x)
    if ord == 2:
        if axes is None and (x.dtype is F32 or x.dtype is F64) and x.flags.c_contiguous:
            length = x.dtype.type(_squares(x.reshape(-1)) ** 0.5)
            return np.full((1,) * x.ndim, length) if keepdims else length
        if axes is not None and x.size >= _MATRIX and x.flags.c_contiguous and x.dtype in (F32, F64):
            n, kept = count(x.shape, axes), x.ndim - len(axes)
            if n <= _MATRIX and axes == tuple(range(kept, x.ndim)):
                return _lengths(x.reshape(-1, n)).reshape(x.shape[:kept] + (1,) * (len(axes) if keepdims else 0))
        return np.sqrt(sum(x * x, axes, keepdims))
    if ord == 1:
        return sum(np.abs(x), axes, keepdims)
    if ord == 0:
        return sum((x != 0).astype(x.dtype), axes, keepdims)
    if ord == math.inf:
        return _maximum(np.abs(x), axis=axes, keepdims=keepdims, initial=0)
    if ord == -math.inf:
        return _minimum(np.abs(x), axis=axes, keepdims=keepdims)
    return np.power(sum(np.power(np.abs(x), x.dtype.type(ord)), axes, keepdims), x.dtype.type(1 / ord))


# -- extremes and tests --------------------------------------------------------------------------------------------


def amax(x: ndarray, axes: Axes, keepdims: bool) -> Any:
    """The largest element; NaN if there is one."""
    if axes is None and x.ndim == 1 and 0 < x.size < _SHORT and not keepdims:
        return x[x.argmax()]  # of a few, half the time
    return _maximum(x, axis=axes, keepdims=keepdims)


def amin(x: ndarray, axes: Axes, keepdims: bool) -> Any:
    """The smallest element; NaN if there is one."""
    if axes is None and x.ndim == 1 and 0 < x.size < _SHORT and not keepdims:
        return x[x.argmin()]
    return _minimum(x, axis=axes, keepdims=keepdims)


def argmax(x: ndarray, axis: int | None, keepdims: bool) -> Any:
    """The index of the first largest element (of the first NaN, if there is one); into the flat array for ``None``."""
    return np.asarray(np.argmax(x, axis, keepdims=True) if keepdims else x.argmax(axis), I64)


def argmin(x: ndarray, axis: int | None, keepdims: bool) -> Any:
    """The index of the first smallest element (of the first NaN, if there is one); into the flat array for ``None``."""
    return np.asarray(np.argmin(x, axis, keepdims=True) if keepdims else x.argmin(axis), I64)


def any(x: ndarray, axes: Axes, keepdims: bool) -> Any:  # noqa: A001
    """Whether any element is non-zero."""
    if axes is None and x.dtype == bool and x.size and not keepdims and x.flags.c_contiguous:
        x = x.reshape(-1)
        return x[x.argmax()]  # it looks no further than the first
    return _or(x, axis=axes, keepdims=keepdims)


def all(x: ndarray, axes: Axes, keepdims: bool) -> Any:  # noqa: A001
    """Whether all elements are non-zero."""
    if axes is None and x.dtype == bool and x.size and not keepdims and x.flags.c_contiguous:
        x = x.reshape(-1)
        return x[x.argmin()]
    return _and(x, axis=axes, keepdims=keepdims)


def count_nonzero(x: ndarray, axes: Axes) -> Any:
    """How many elements are not zero."""
    return np.asarray(np.count_nonzero(x, axis=axes), I64)


def isclose(x: ndarray, y: ndarray, rtol: float, atol: float, equal_nan: bool) -> Any:
    """x = y, or both are finite and |x − y| ≤ atol + rtol·|y|; NaNs are close to each other if ``equal_nan``."""
    close = np.equal(x, y)
    if equal_nan and x.dtype.kind in "fc":
        close |= np.isnan(x) & np.isnan(y)
    if x.dtype.kind in "bu":
        x, y = x.astype(I64), y.astype(I64)
    allowed = atol + np.abs(rtol * y) if x.dtype.kind in "fc" else atol + np.abs(rtol * y.astype(np.float64))
    distance = np.abs(x - y)
    return close | (np.isfinite(distance) & (distance <= allowed))


# -- along an axis by index ----------------------------------------------------------------------------------------


def pick(x: ndarray, index: ndarray, axis: int) -> Any:
    """x at an index along an axis; ``index`` has the shape of x but for that axis."""
    if x.ndim == 0:
        return x.copy()
    return np.take_along_axis(x, index, axis)


def place(values: ndarray, index: ndarray, axis: int, n: int) -> Any:
    """Zeros, with each value added at its index along an axis of length ``n``: the transpose of :func:`pick`."""
    if values.ndim == 0:
        return values.copy()
    y = np.zeros((*values.shape[:axis], n, *values.shape[axis + 1 :]), values.dtype)
    if index.shape[axis] == 1:
        np.put_along_axis(y, index, values, axis)
    else:
        grid = list(np.ogrid[tuple(slice(m) for m in index.shape)])
        grid[axis] = index
        np.add.at(y, tuple(grid), values)
    return y


# -- scans ---------------------------------------------------------------------------------------------------------


_LANES = 128  # so many running sums side by side are added up row by row, which NumPy does faster than each by itself


def _scan(ufunc: np.ufunc, x: ndarray, axis: int, wanted: np.dtype) -> Any:
    """A running sum or product; floats run in double precision, as rounding errors add up."""
    if x.ndim == 0 or x.size == 0:
        return x.astype(wanted)
    inner = np.dtype(np.float64) if wanted.kind == "f" else np.dtype(np.complex128) if wanted.kind == "c" else wanted
    n = x.shape[axis]
    if x.size < _LANES * n or axis == x.ndim - 1 and x.flags.c_contiguous:
        return ufunc.accumulate(x.astype(inner), axis=axis).astype(wanted, copy=False)
    rows = np.array(np.moveaxis(x, axis, 0), inner, order="C")
    for i in range(1, n):
        ufunc(rows[i - 1], rows[i], out=rows[i])
    return np.moveaxis(rows, 0, axis).astype(wanted, order="C")


def _flip(x: ndarray, axis: int) -> Any:
    return x[(slice(None),) * axis + (slice(None, None, -1),)] if x.ndim else x


def cumsum(x: ndarray, axis: int, reverse: bool, dtype: np.dtype) -> Any:
    """The sum of an element and all before it (with ``reverse``, all after it) along an axis."""
    if reverse:
        return _flip(_scan(np.add, _flip(x, axis), axis, dtype), axis)
    return _scan(np.add, x, axis, dtype)


def cumprod(x: ndarray, axis: int, dtype: np.dtype) -> Any:
    """The product of an element and all before it along an axis."""
    return _scan(np.multiply, x, axis, dtype)


def _running(ufunc: np.ufunc, x: ndarray, axis: int) -> tuple[Any, Any]:
    if x.ndim == 0:
        return x.copy(), np.zeros((), I64)
    values = ufunc.accumulate(x, axis=axis)
    news = x == values  # ties go to the later one
    if x.dtype.kind == "f":
        news |= np.isnan(x)
    positions = np.arange(x.shape[axis], dtype=I64).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    return values, np.maximum.accumulate(np.where(news, positions, 0), axis=axis)


def cummax(x: ndarray, axis: int) -> tuple[Any, Any]:
    """(the largest element so far along an axis, its index); NaN stays."""
    return _running(np.maximum, x, axis)


def cummin(x: ndarray, axis: int) -> tuple[Any, Any]:
    """(the smallest element so far along an axis, its index); NaN stays."""
    return _running(np.minimum, x, axis)


def logcumsumexp(x: ndarray, axis: int) -> Any:
    """The log of the running sum of eˣ along an axis."""
    if x.ndim == 0:
        return x.copy()
    return np.logaddexp.accumulate(x.astype(np.float64), axis=axis).astype(x.dtype)
