"""Kernels of lookup tables: rows by their indices, sums and maxima over bags of rows. Indices are valid and not negative."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lamina.engine.memory import empty
from lamina.engine.reference.indexing import _add_rows

__all__ = ["embedding", "embedding_backward", "embedding_renorm", "embedding_bag", "embedding_bag_max"]

ndarray = np.ndarray


def embedding(table: ndarray, index: ndarray) -> ndarray:
    """The rows of the table at an array of indices."""
    return table.take(index, axis=0)


def embedding_backward(grad: ndarray, index: ndarray, rows: int, padding: int, by_frequency: bool) -> ndarray:
    """A table with the rows of `grad` added where they came from, but for the row `padding` (−1: no such row); with
    `by_frequency`, each divided by how often its index occurs."""
    width = grad.shape[-1]
    grad, index = grad.reshape(index.size, width), index.reshape(-1)
    table = empty((rows, width), grad.dtype)
    table.fill(0)
    if padding >= 0:
        keep = index != padding
        if not keep.all():
            grad, index = grad[keep], index[keep]
    if by_frequency and index.size:
        grad = grad / np.bincount(index)[index, None].astype(grad.dtype)
    _add_rows(table, index, grad)
    return table


def embedding_renorm(table: ndarray, index: ndarray, max_norm: float, norm_type: float) -> ndarray:
    """The rows of the table at the indices scaled down, in place, to a norm of `max_norm` where theirs is larger."""
    index = np.unique(index)
    rows = table[index]
    norm = np.linalg.norm(rows.astype(np.float64), norm_type, axis=1)
    large = norm > max_norm
    scale = max_norm / (norm[large] + 1e-7)
    table[index[large]] = rows[large] * scale[:, None].astype(table.dtype)
    return table


# -- bags ----------------------------------------------------------------------------------------------------------

# Bags of one length are stacked, (length, bags, width), which NumPy reduces many times faster than the other way round.
# Of others the first row of every bag is taken, then the second of every bag that has one, and so on; or, if there are
# few and long ones, one bag after another.

_STACK = 1 << 18  # elements that are stacked at a time


def _even(lengths: ndarray) -> int:
    """The length of all bags, if they have the same."""
    return int(lengths[0]) if lengths.size and (lengths == lengths[0]).all() else 0


def _stacks(table: ndarray, index: ndarray, starts: ndarray, length: int) -> Iterator[tuple[slice, ndarray]]:
    """Some bags at a time, and the places of their items, (length, bags)."""
    some = max(_STACK // max(length * table.shape[1], 1), 1)
    for b in range(0, len(starts), some):
        yield slice(b, b + some), starts[b : b + some] + np.arange(length)[:, None]


def _by_length(starts: ndarray, lengths: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """The bags from the longest to the shortest, and the order that this is."""
    order = np.argsort(-lengths, kind="stable")
    return order, starts[order], lengths[order]


def _back(order: ndarray, values: ndarray) -> ndarray:
    y = np.empty_like(values)
    y[order] = values
    return y


def embedding_bag(
    table: ndarray, index: ndarray, starts: ndarray, lengths: ndarray, weight: ndarray | None, mean: bool
) -> ndarray:
    """The sums (or means) of the rows of each bag `index[start : start + length]`, times their weights if given."""
    dtype = np.dtype(np.float32) if table.dtype == np.float16 else table.dtype
    y = np.zeros((len(starts), table.shape[1]), dtype)
    longest = lengths.max(initial=0)
    if length := _even(lengths):
        for bags, items in _stacks(table, index, starts, length):
            rows = table.take(index[items], axis=0)
            if weight is not None:
                rows *= weight[items][:, :, None]
            np.add.reduce(rows, axis=0, dtype=dtype, out=y[bags])
    elif longest > len(starts):
        for b, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            rows = table.take(index[start : start + length], axis=0)
            if weight is not None:
                rows *= weight[start : start + length, None]
            np.add.reduce(rows, axis=0, dtype=dtype, out=y[b])
    else:
        order, starts, long = _by_length(starts, lengths)
        for step in range(longest):
            n = int(np.searchsorted(-long, -step))
            items = starts[:n] + step
            rows = table.take(index[items], axis=0)
            if weight is not None:
                rows *= weight[items, None]
            y[:n] += rows
        y = _back(order, y)
    if mean:
        y /= np.maximum(lengths, 1)[:, None].astype(dtype)
    return y if dtype == table.dtype else y.astype(table.dtype)


def embedding_bag_max(
    table: ndarray, index: ndarray, starts: ndarray, lengths: ndarray, wants_rows: bool
) -> tuple[ndarray, ndarray | None]:
    """The largest element of each bag in each column, 0 for empty bags; and if wanted the index of its row, −1 for empty bags.

    The first of equals wins. NaN wins only if it comes first.
    """
    y = np.zeros((len(starts), table.shape[1]), table.dtype)
    longest = lengths.max(initial=0)
    best = np.full(y.shape, -1, np.int64) if wants_rows else None
    if length := _even(lengths):
        for bags, items in _stacks(table, index, starts, length):
            rows = table.take(index[items], axis=0)
            top = _first_largest(rows, y[bags], wants_rows)
            if best is not None:
                best[bags] = index[items[top, np.arange(items.shape[1])[:, None]]]
        return y, best
    if longest > len(starts):
        for b, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            if length:
                own = index[start : start + length]
                top = _first_largest(table.take(own, axis=0), y[b], wants_rows)
                if best is not None:
                    best[b] = own[top]
        return y, best
    order, starts, long = _by_length(starts, lengths)
    for step in range(longest):
        n = int(np.searchsorted(-long, -step))
        own = index[starts[:n] + step]
        rows = table.take(own, axis=0)
        wins = rows > y[:n] if step else np.ones(rows.shape, bool)
        np.copyto(y[:n], rows, where=wins)
        if best is not None:
            np.copyto(best[:n], own[:, None], where=wins)
    return _back(order, y), None if best is None else _back(order, best)


def _first_largest(rows: ndarray, y: ndarray, wants_place: bool) -> ndarray | None:
    """The largest along the first axis, written to `y`, and where it first is."""
    np.maximum.reduce(rows, axis=0, out=y)
    if np.isnan(np.add.reduce(y, axis=None)):  # or infinities that cancel
        place = np.where(np.isnan(rows), -np.inf, rows).argmax(axis=0)
        place[np.isnan(rows[0])] = 0
        y[...] = np.take_along_axis(rows, place[None], axis=0)[0]
        return place
    if not wants_place:
        return None
    n = len(rows)
    rank = np.arange(n, 0, -1).astype(np.uint8 if n < 256 else np.uint16 if n < 65536 else np.uint32)
    found = np.multiply(rows == y, rank.reshape(-1, *(1,) * y.ndim), dtype=rank.dtype)
    return n - np.maximum.reduce(found, axis=0).astype(np.int64)
