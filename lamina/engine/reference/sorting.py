"""Order: sorting, selecting by rank, counting what is equal. NaN is larger than any number."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = [
    "sort", "topk", "kth_index", "median_index", "mode_index", "unique", "unique_consecutive", "searchsorted", "histc",
    "bincount", "isin",
]  # fmt: skip

ndarray = np.ndarray


def _take(x: ndarray, index: ndarray, dim: int) -> ndarray:
    return np.take_along_axis(x, index, dim)


def sort(x: ndarray, dim: int, descending: bool) -> tuple[ndarray, ndarray]:
    """The elements in order along ``dim``, equals in their old order, and where they came from."""
    if descending:  # sorted backwards twice, so that equals keep their order
        back = (*(slice(None),) * dim, slice(None, None, -1))
        index = x.shape[dim] - 1 - np.argsort(x[back], dim, kind="stable")[back]
    else:
        index = np.argsort(x, dim, kind="stable")
    return _take(x, index, dim), index


_SMALL = 32  # rows up to this length are sorted whole


def topk(x: ndarray, k: int, dim: int, largest: bool) -> tuple[ndarray, ndarray]:
    """The ``k`` largest or smallest elements along ``dim``, best first, and where they came from."""
    n = x.shape[dim]
    lead = (slice(None),) * dim
    if n <= _SMALL or 2 * k >= n:
        values, index = sort(x, dim, largest)
        first = (*lead, slice(k))
        return np.ascontiguousarray(values[first]), np.ascontiguousarray(index[first])
    if k == 0:
        shape = (*x.shape[:dim], 0, *x.shape[dim + 1 :])
        return np.empty(shape, x.dtype), np.empty(shape, np.int64)
    some = np.argpartition(x, n - k if largest else k - 1, dim)[(*lead, slice(n - k, None) if largest else slice(k))]
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
    return _take(np.argsort(x, dim, kind="stable"), middle, dim)


def mode_index(x: ndarray, dim: int) -> ndarray:
    """Where the last of the most frequent values along ``dim`` is (the smallest of several); the axis stays, with size 1."""
    order = np.moveaxis(np.argsort(x, dim, kind="stable"), dim, -1)
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

Unique = tuple[ndarray, ndarray, ndarray]


def _runs(table: ndarray) -> tuple[ndarray, ndarray]:
    """Of the rows of a table: where each run of equal ones starts, and which run each row is in. NaNs are all different."""
    fresh = np.ones(len(table), bool)
    fresh[1:] = (table[1:] != table[:-1]).any(1)
    return np.flatnonzero(fresh), np.cumsum(fresh) - 1


def _table(x: ndarray, dim: int | None) -> ndarray:
    if dim is None:
        return x.reshape(-1, 1)
    n = x.shape[dim]
    return np.moveaxis(x, dim, 0).reshape(n, x.size // n if n else 1)


def _found(x: ndarray, dim: int | None, at: ndarray) -> ndarray:
    return x.reshape(-1)[at] if dim is None else np.take(x, at, dim)


def unique(x: ndarray, dim: int | None) -> Unique:
    """The distinct elements (or slices of ``dim``) in order, which of them each was, and how often each occurs."""
    table = _table(x, dim)
    if table.shape[1] == 1:
        order = np.argsort(table[:, 0], kind="stable")
    else:
        order = np.lexsort(table.T[::-1]) if table.shape[1] else np.arange(len(table))
    starts, run = _runs(table[order])
    inverse = np.empty(len(table), np.int64)
    inverse[order] = run
    return _found(x, dim, order[starts]), inverse, np.diff(starts, append=len(table))


def unique_consecutive(x: ndarray, dim: int | None) -> Unique:
    """The first of each run of equal elements (or slices of ``dim``), which run each was in, and the runs' lengths."""
    table = _table(x, dim)
    starts, run = _runs(table)
    return _found(x, dim, starts), run, np.diff(starts, append=len(table))


# -- places in an order, and counts --------------------------------------------------------------------------


def searchsorted(boundaries: ndarray, x: ndarray, right: bool) -> ndarray:
    """Where to put ``x`` in ``boundaries`` to keep them sorted: before equals, or after them if ``right``."""
    side: Any = "right" if right else "left"
    if boundaries.ndim == 1:
        return np.asarray(np.searchsorted(boundaries, x, side))
    out = np.empty(x.shape, np.int64)
    rows = zip(
        boundaries.reshape(-1, boundaries.shape[-1]), x.reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1]), strict=True
    )
    for row, values, places in rows:
        places[...] = np.searchsorted(row, values, side)
    return out


def histc(x: ndarray, bins: int, low: Any, high: Any) -> ndarray:
    """How many elements of [low, high] fall into each of ``bins`` equal parts."""
    flat = x.reshape(-1)
    flat = flat[(flat >= low) & (flat <= high)]
    place = ((flat - x.dtype.type(low)) * x.dtype.type(bins) / x.dtype.type(high - low)).astype(np.int64)
    return np.bincount(np.minimum(place, bins - 1), minlength=bins).astype(x.dtype)


def bincount(x: ndarray, weights: ndarray | None, minlength: int) -> ndarray:
    """How often (or with what total weight) each integer occurs."""
    x = x.astype(np.int64, copy=False)
    if weights is None:
        return np.bincount(x, minlength=minlength)
    return np.bincount(x, weights, minlength).astype(weights.dtype if weights.dtype == np.float32 else np.float64)


def isin(x: ndarray, elements: ndarray, invert: bool) -> ndarray:
    """Whether each element of ``x`` is among ``elements``."""
    return np.asarray(np.isin(x, elements, invert=invert))
