"""Kernels of lookup tables: rows by their indices, sums and maxima over bags of rows. Indices are valid and not negative."""

from __future__ import annotations

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


def _by_length(starts: ndarray, lengths: ndarray) -> tuple[ndarray | None, ndarray, ndarray]:
    """The bags from the longest to the shortest, and the order that this is (None: as they were)."""
    if lengths.size and (lengths == lengths[0]).all():
        return None, starts, lengths
    order = np.argsort(-lengths, kind="stable")
    return order, starts[order], lengths[order]


def _back(order: ndarray | None, values: ndarray) -> ndarray:
    if order is None:
        return values
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
    if longest > len(starts):
        for b, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            rows = table.take(index[start : start + length], axis=0)
            if weight is not None:
                rows = rows * weight[start : start + length, None]
            np.add.reduce(rows, axis=0, dtype=dtype, out=y[b])
    else:  # the first row of every bag, the second of every bag that has one, and so on
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
    table: ndarray, index: ndarray, starts: ndarray, lengths: ndarray
) -> tuple[ndarray, ndarray]:
    """The largest element of each bag in each column, 0 for empty bags, and the index of its row, −1 for empty bags.

    The first of equals wins. NaN wins only if it comes first.
    """
    y = np.zeros((len(starts), table.shape[1]), table.dtype)
    best = np.full(y.shape, -1, np.int64)
    longest = lengths.max(initial=0)
    if longest > len(starts):
        columns = np.arange(table.shape[1])
        for b, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
            if length:
                own = index[start : start + length]
                rows = table.take(own, axis=0)
                place = np.where(np.isnan(rows), -np.inf, rows).argmax(axis=0)
                place[np.isnan(rows[0])] = 0
                y[b], best[b] = rows[place, columns], own[place]
        return y, best
    order, starts, long = _by_length(starts, lengths)
    for step in range(longest):
        n = int(np.searchsorted(-long, -step))
        own = index[starts[:n] + step]
        rows = table.take(own, axis=0)
        wins = rows > y[:n] if step else np.ones(rows.shape, bool)
        np.copyto(y[:n], rows, where=wins)
        np.copyto(best[:n], own[:, None], where=wins)
    return _back(order, y), _back(order, best)
