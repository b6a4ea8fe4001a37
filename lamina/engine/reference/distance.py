"""Kernels of distances between all pairs of rows, and of the cosine of an angle."""

from __future__ import annotations

import math

import numpy as np

from lamina.engine.reference.reduction import vector_norm

__all__ = ["cosine_similarity", "cosine_similarity_backward", "pdist", "pdist_backward"]

ndarray = np.ndarray


_BLOCK = 1 << 16  # elements of differences that exist at a time


def pdist(x: ndarray, p: float) -> ndarray:
    """The p-norms of x[i] − x[j] for i < j, row by row."""
    n, width = x.shape
    y = np.empty(n * (n - 1) // 2, x.dtype)
    rows = max(_BLOCK // max(n * width, 1), 1)
    at = 0
    for i in range(0, n - 1, rows):
        first = x[i : i + rows]
        d = first[:, None] - x[i + 1 :]
        lengths = np.sqrt(np.einsum("ijk,ijk->ij", d, d)) if p == 2 else vector_norm(d, p, (2,), False)
        pairs = lengths[np.arange(len(first))[:, None] <= np.arange(n - 1 - i)]
        y[at : at + len(pairs)] = pairs
        at += len(pairs)
    return y


def pdist_backward(grad: ndarray, x: ndarray, distance: ndarray, p: float) -> ndarray:
    """Σ grad·sign(d)·(|d|/distance)ᵖ⁻¹ with d = x[i] − x[j], for x[i] and negatively for x[j]; 0 at distance 0."""
    n = len(x)
    y = np.zeros_like(x)
    if p == 0:
        return y
    share = np.where(distance == 0, 0, grad if p == 1 or math.isinf(p) else grad / distance ** (p - 1))
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
