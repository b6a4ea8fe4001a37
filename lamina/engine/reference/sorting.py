"""Order: sorting, selecting by rank, unique elements. NaN is larger than any number."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "sort", "argsort", "topk", "kth_index", "median_index", "mode_index", "unique", "unique_consecutive",
    "searchsorted", "isin",
]  # fmt: skip

ndarray = np.ndarray


def _take(x: ndarray, index: ndarray, dim: int) -> ndarray:
    return x.take(index) if x.ndim == 1 else np.take_along_axis(x, index, dim)


_PLACE = 0xFFFFFFFF  # the low half of a packed number


def _packed(rows: ndarray, descending: bool) -> ndarray | None:
    """Each element's rank in the high half of an integer and its place in the low one: sorting these is stable and fast.

    ``None`` if the elements do not fit. Zeros of both signs are equal, and all NaNs are.
    """
    n, dtype = rows.shape[-1], rows.dtype
    if n > _PLACE >> 1:
        return None
    if dtype.kind == "f" and dtype.itemsize <= 4:
        sign, integer = 8 * dtype.itemsize - 1, np.dtype(f"i{dtype.itemsize}")
        bits = (rows + dtype.type(0)).view(integer)
        bits ^= (bits >> sign) & np.iinfo(integer).max  # the order of negative numbers' bits is the wrong way round
        missing = np.isnan(rows)
        if missing.any():
            bits[missing] = np.iinfo(integer).max
        key = bits.astype(np.int64)
    elif dtype.kind in "iub" and dtype.itemsize <= 4:
        key = rows.astype(np.int64)
        if dtype == np.uint32:
            key -= 1 << 31
    elif dtype == np.int64 and rows.size and int(rows.max()) - (low := int(rows.min())) < 1 << 31:
        key = rows - low
    else:
        return None
    if descending:
        np.invert(key, out=key)
    key <<= 32
    key |= np.arange(n)
    return key


_FEW = 1024  # elements of which NumPy's stable sort takes less than what packs them


def _order(x: ndarray, dim: int, descending: bool) -> ndarray:
    """The places of the elements in order along ``dim``; equals keep theirs."""
    if x.size < _FEW and x.dtype.kind in "fiub":
        if not descending:
            return x.argsort(dim, kind="stable")
        back = (*(slice(None),) * dim, slice(None, None, -1))  # backwards, equals are in the order that turns into theirs
        return x.shape[dim] - 1 - x[back].argsort(dim, kind="stable")[back]
    rows = np.moveaxis(x, dim, -1)
    packed = _packed(rows, descending)
    if packed is not None:
        packed.sort(-1)
        packed &= _PLACE
        return np.moveaxis(packed, -1, dim)
    order = np.argsort(rows, -1)
    if descending:
        order = order[..., ::-1]
    values = np.take_along_axis(rows, order, -1)
    fresh = _differ(values[..., 1:], values[..., :-1])
    if not fresh.all():  # put equals, which come in any order, into that of their places
        run = np.zeros(order.shape, np.int64)
        np.cumsum(fresh, -1, out=run[..., 1:])
        run <<= 32
        run |= order
        run.sort(-1)
        order = run & _PLACE
    return np.moveaxis(order, -1, dim)


def sort(x: ndarray, dim: int, descending: bool) -> tuple[ndarray, ndarray]:
    """The elements in order along ``dim``, equals in their old order, and where they came from."""
    index = _order(x, dim, descending)
    return _take(x, index, dim), index


def argsort(x: ndarray, dim: int, descending: bool) -> ndarray:
    """Where the elements in order along ``dim`` came from; equals keep their order."""
    return _order(x, dim, descending)


_SMALL = 32  # rows up to this length are sorted whole


_FEW = 16  # so many are found one after the other in less time than together


def _few(x: ndarray, k: int, dim: int, largest: bool) -> tuple[ndarray, ndarray] | None:
    """The best of each row, taken out, and the best of what is left, and so on; ``None`` where a row runs out of numbers."""
    rows = np.array(np.moveaxis(x, dim, -1), order="C")
    lead, rows = rows.shape[:-1], rows.reshape(-1, rows.shape[-1])
    values, index = np.empty((len(rows), k), x.dtype), np.empty((len(rows), k), np.int64)
    all_rows, out = np.arange(len(rows)), -np.inf if largest else np.inf
    for i in range(k):
        best = rows.argmax(1) if largest else rows.argmin(1)
        values[:, i], index[:, i] = rows[all_rows, best], best
        rows[all_rows, best] = out
    if (values[:, -1] == out).any() or not largest and np.isnan(values).any():  # to NumPy, a NaN is also the smallest
        return None
    found = [np.moveaxis(a.reshape(*lead, k), -1, dim) for a in (values, index)]
    return np.ascontiguousarray(found[0]), np.ascontiguousarray(found[1])


def topk(x: ndarray, k: int, dim: int, largest: bool) -> tuple[ndarray, ndarray]:
    """The ``k`` largest or smallest elements along ``dim``, best first, and where they came from."""
    n = x.shape[dim]
    lead = (slice(None),) * dim
    if k == 0:
        shape = (*x.shape[:dim], 0, *x.shape[dim + 1 :])
        return np.empty(shape, x.dtype), np.empty(shape, np.int64)
    if k == 1 and largest:  # NumPy also has it that a NaN is the largest
        index = np.expand_dims(x.argmax(dim), dim)
        return _take(x, index, dim), index
    if n <= _SMALL or 2 * k >= n:
        values, index = sort(x, dim, largest)
        first = (*lead, slice(k))
        return np.ascontiguousarray(values[first]), np.ascontiguousarray(index[first])
    if k <= _FEW and x.dtype in (np.float32, np.float64):
        found = _few(x, k, dim, largest)
        if found is not None:
            return found
    edge = n - k if largest else k - 1
    worst = np.partition(x, edge, dim)[(*lead, slice(edge, edge + 1))]
    best = np.moveaxis(x >= worst if largest else x <= worst, dim, -1)
    if np.count_nonzero(best) * n == k * x.size:
        places = np.flatnonzero(np.ascontiguousarray(best)) % n
        some = np.moveaxis(places.reshape(*best.shape[:-1], k), -1, dim)
    else:  # more elements equal to the worst than fit, or NaNs
        some = np.argpartition(x, edge, dim)[(*lead, slice(edge, None) if largest else slice(k))]
    values, order = sort(_take(x, some, dim), dim, largest)
    return values, _take(some, order, dim)


def kth_index(x: ndarray, k: int, dim: int) -> ndarray:
    """Where the ``k``-th smallest element along ``dim`` is; the axis stays, with size 1."""
    return np.argpartition(x, k - 1, dim)[(*(slice(None),) * dim, slice(k - 1, k))]


def median_index(x: ndarray, dim: int, ignore_nan: bool) -> ndarray:
    """Where the lower median along ``dim`` is; the axis stays, with size 1.

    A NaN is the median of a row that has one, unless ``ignore_nan``.
    """
    n = x.shape[dim]
    if x.dtype.kind != "f":
        return kth_index(x, (n + 1) // 2, dim)
    missing = np.isnan(x)
    if not missing.any():
        return kth_index(x, (n + 1) // 2, dim)
    if not ignore_nan:
        index = kth_index(x, (n + 1) // 2, dim)
        return np.where(missing.any(dim, keepdims=True), missing.argmax(dim, keepdims=True), index)
    middle = np.maximum(n - missing.sum(dim, keepdims=True) - 1, 0) // 2
    return _take(_order(x, dim, False), middle, dim)


def mode_index(x: ndarray, dim: int) -> ndarray:
    """Where the last of the most frequent values along ``dim`` is (the smallest of several); the axis stays, with size 1."""
    order = np.moveaxis(_order(x, dim, False), dim, -1)
    rows = np.take_along_axis(np.moveaxis(x, dim, -1), order, -1)
    fresh = np.ones(rows.shape, bool)
    fresh[..., 1:] = _differ(rows[..., 1:], rows[..., :-1])
    place = np.arange(rows.shape[-1])
    run = place - np.maximum.accumulate(np.where(fresh, place, 0), -1)  # equals so far
    return np.moveaxis(np.take_along_axis(order, run.argmax(-1, keepdims=True), -1), -1, dim)


def _differ(a: ndarray, b: ndarray) -> ndarray:
    """Whether elements differ; NaNs do not."""
    d = a != b
    if a.dtype.kind in "fc":
        d &= ~(np.isnan(a) & np.isnan(b))
    return d


# -- unique --------------------------------------------------------------------------------------------------

Unique = tuple[ndarray, ndarray | None, ndarray | None]


def _runs(table: ndarray) -> tuple[ndarray, ndarray]:
    """Of the rows of a table: which start a run of equal ones, and where these are. NaNs are all different."""
    fresh = np.ones(len(table), bool)
    if table.shape[1] == 1:
        np.not_equal(table[1:, 0], table[:-1, 0], out=fresh[1:])
    else:
        fresh[1:] = (table[1:] != table[:-1]).any(1)
    return fresh, np.flatnonzero(fresh)


def _table(x: ndarray, dim: int | None) -> ndarray:
    if dim is None:
        return x.reshape(-1, 1)
    n = x.shape[dim]
    return np.moveaxis(x, dim, 0).reshape(n, x.size // n if n else 1)


def _found(x: ndarray, dim: int | None, at: ndarray) -> ndarray:
    return x.reshape(-1)[at] if dim is None else np.take(x, at, dim)


def unique(x: ndarray, dim: int | None, inverse: bool, counts: bool) -> Unique:
    """The distinct elements (or slices of ``dim``) in order; which of them each was, and how often each occurs, if asked."""
    table = _table(x, dim)
    if table.shape[1] == 1:
        if dim is None and not inverse:
            row = np.sort(table[:, 0])
            fresh, starts = _runs(row[:, None])
            return row[starts], None, np.diff(starts, append=len(row)) if counts else None
        order = _order(table[:, 0], 0, False)
    else:
        order = np.lexsort(table.T[::-1]) if table.shape[1] else np.arange(len(table))
    fresh, starts = _runs(table[order])
    which = None
    if inverse:
        which = np.empty(len(table), np.int64)
        which[order] = np.cumsum(fresh) - 1
    return _found(x, dim, order[starts]), which, np.diff(starts, append=len(table)) if counts else None


def unique_consecutive(x: ndarray, dim: int | None, inverse: bool, counts: bool) -> Unique:
    """The first of each run of equal elements (or slices of ``dim``); each one's run, and the runs' lengths, if asked."""
    table = _table(x, dim)
    fresh, starts = _runs(table)
    which = np.cumsum(fresh) - 1 if inverse else None
    return _found(x, dim, starts), which, np.diff(starts, append=len(table)) if counts else None


# -- places in an order ---------------------------------------------------------------------------------------


def searchsorted(boundaries: ndarray, x: ndarray, right: bool) -> ndarray:
    """Where to put ``x`` in ``boundaries`` to keep them sorted: before equals, or after them if ``right``."""
    side: Any = "right" if right else "left"
    if boundaries.ndim == 1:
        return np.asarray(np.searchsorted(boundaries, x, side))
    out = np.empty(x.shape, np.int64)
    rows = zip(
        boundaries.reshape(-1, boundaries.shape[-1]), x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1]),
        strict=True
    )
    for row, values, places in rows:
        places[...] = np.searchsorted(row, values, side)
    return out


def isin(x: ndarray, elements: ndarray, invert: bool) -> ndarray:
    """Whether each element of ``x`` is among ``elements``."""
    return np.asarray(np.isin(x, elements, invert=invert))
