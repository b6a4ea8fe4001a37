"""Kernels of distances between all pairs of rows, and of the cosine of an angle."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np

from lamina.engine.reference.reduction import ones_row, vector_norm

__all__ = ["cosine_similarity", "cosine_similarity_backward", "pdist", "pdist_backward"]

ndarray = np.ndarray
F32 = np.dtype(np.float32)


# -- all pairs of rows ---------------------------------------------------------------------------------------------

_BLOCK = 1 << 16  # elements of differences, or of a matrix of pairs, that exist at a time
_FEW = 1 << 15  # elements of differences that are sooner written down than avoided
_NEAR = 1e-8  # how small a square may be beside others, for a difference of these to give it in single precision


@functools.lru_cache(maxsize=8)
def _upper(rows: int, columns: int) -> tuple[ndarray, ndarray, ndarray]:
    """Row, column, and place in the plain matrix, of the elements on and above the diagonal."""
    places = np.flatnonzero(np.arange(rows)[:, None] <= np.arange(columns))
    i = places // columns
    return i, places - i * columns, places


def _blocks(n: int, width: int) -> Iterator[tuple[slice, slice, slice]]:
    """Some rows at a time, the rows after the first of them, and the places of their pairs among all pairs."""
    rows, at = max(_BLOCK // max(n * width, 1), 1), 0
    for i in range(0, n - 1, rows):
        some = min(rows, n - 1 - i)
        end = at + some * (n - 1 - i) - some * (some - 1) // 2
        yield slice(i, i + some), slice(i + 1, n), slice(at, end)
        at = end


def pdist(x: ndarray, p: float) -> ndarray:
    """The p-norms of x[i] − x[j] for i < j, row by row."""
    n, width = x.shape
    y = np.empty(n * (n - 1) // 2, x.dtype)
    if p == 2 and x.dtype == F32 and n * x.size > _FEW and _by_products(x, y):
        return y
    for first, second, pairs in _blocks(n, width):
        a, b = x[first], x[second]
        i, j, _ = _upper(len(a), len(b))
        y[pairs] = _lengths(a.take(i, axis=0), b.take(j, axis=0), p)
    return y


def _lengths(a: ndarray, b: ndarray, p: float) -> ndarray:
    """The p-norms of the rows of a − b, which is written to a."""
    a -= b
    if p != 2:
        return vector_norm(a, p, (1,), False)
    a *= a
    return np.sqrt(a.dot(ones_row(a.shape[1], a.dtype)))


def _by_products(x: ndarray, y: ndarray) -> bool:
    """Distances as √(|a|² + |b|² − 2·a·b), the square in one product in double precision; False if one is infinite or NaN.

    Where rows are so near each other that too few digits are left, their difference is taken.
    """
    n, width = x.shape
    left, right = np.empty((n, width + 2)), np.empty((n, width + 2))
    a = right[:, :width] = x - np.add.reduce(x, axis=0, dtype=np.float64) / n  # less than x where their mean is far from 0
    squares = np.einsum("ij,ij->i", a, a)
    largest = squares.max()
    if not largest < np.inf:
        return False
    np.multiply(a, -2, out=left[:, :width])
    left[:, width] = right[:, width + 1] = squares
    left[:, width + 1] = right[:, width] = 1
    for first, second, pairs in _blocks(n, 4):
        block = left[first].dot(right[second].T)
        y[pairs] = block.take(_upper(*block.shape)[2])
    near = np.flatnonzero(y <= largest * _NEAR)
    np.sqrt(y, out=y)
    if near.size:
        starts = np.arange(n) * (2 * n - 1 - np.arange(n)) // 2  # of each row's pairs
        some = max(_BLOCK // width, 1)
        for places in (near[at : at + some] for at in range(0, near.size, some)):
            i = np.searchsorted(starts, places, side="right") - 1
            j = places - starts[i] + i + 1
            y[places] = _lengths(x.take(i, axis=0), x.take(j, axis=0), 2)
    return True


def pdist_backward(grad: ndarray, x: ndarray, distance: ndarray, p: float) -> ndarray:
    """Σ grad·sign(d)·(|d|/distance)ᵖ⁻¹ with d = x[i] − x[j], for x[i] and negatively for x[j]; 0 at distance 0."""
    n = len(x)
    y = np.zeros_like(x)
    if p == 0 or not y.size:
        return y
    share = np.where(distance == 0, 0, grad if p == 1 or math.isinf(p) else grad / distance ** (p - 1))
    if p == 2 and x.dtype == F32:
        return _backward_by_products(share, x.astype(np.float64)).astype(F32)
    at = 0
    for i in range(n - 1):
        d = x[i] - x[i + 1 :]
        end = at + n - 1 - i
        if p == 2:
            slope = d
        elif math.isinf(p):
            slope = np.sign(d) * (np.abs(d) == distance[at:end, None])
        else:
            slope = np.sign(d) if p == 1 else np.where(d == 0, 0, np.sign(d) * np.abs(d) ** (p - 1))
        slope = slope * share[at:end, None]
        y[i] += np.add.reduce(slope, axis=0)
        y[i + 1 :] -= slope
        at = end
    return y


def _backward_by_products(share: ndarray, x: ndarray) -> ndarray:
    """Σ share·(x[i] − x[j]) for x[i] and negatively for x[j]: the shares as a matrix, times x."""
    n = len(x)
    y = np.zeros_like(x)
    for first, second, pairs in _blocks(n, 4):
        a, b = x[first], x[second]
        block = np.zeros((len(a), len(b)))
        block.reshape(-1)[_upper(*block.shape)[2]] = share[pairs]
        y[first] += a * np.add.reduce(block, axis=1)[:, None] - block.dot(b)
        y[second] += b * np.add.reduce(block, axis=0)[:, None] - block.T.dot(a)
    return y


# -- angles --------------------------------------------------------------------------------------------------------


def cosine_similarity(
    x: ndarray, y: ndarray, axis: int, eps: float
) -> tuple[ndarray, tuple[ndarray, ndarray], tuple[ndarray, ndarray]]:
    """x·y/(max(|x|, eps)·max(|y|, eps)) along an axis (counted from the end); and the lengths, with that bound and without."""
    if x.dtype == np.float16:
        result, *lengths = cosine_similarity(x.astype(np.float32), y.astype(np.float32), axis, eps)
        return result.astype(np.float16), *lengths  # type: ignore[return-value]
    a, b = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
    m, n = np.sqrt(np.einsum("...i,...i->...", a, a)), np.sqrt(np.einsum("...i,...i->...", b, b))
    low, high = np.maximum(m, eps), np.maximum(n, eps)
    product = np.einsum("...i,...i->...", a / low[..., None], b) / high
    return product, (low, high), (m, n)


def cosine_similarity_backward(
    grad: ndarray, x: ndarray, y: ndarray, axis: int, cosine: ndarray, bounded: tuple, lengths: tuple
) -> ndarray:
    """grad·(y/(bx·by) − cosine/bx·x/|x|), with b the bounded lengths; the second part is 0 where x is."""
    bx, by = bounded
    length = lengths[0]
    per_y = grad / (bx * by)
    per_x = grad * cosine / np.where(length == 0, np.inf, bx * length)
    return y * np.expand_dims(per_y, axis) - x * np.expand_dims(per_x, axis)
