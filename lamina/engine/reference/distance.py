"""Kernels of distances between all pairs of rows, of which none is stored but the distances."""

from __future__ import annotations

import math

import numpy as np

from lamina.engine.reference.reduction import vector_norm

__all__ = ["pdist", "pdist_backward"]

ndarray = np.ndarray


def pdist(x: ndarray, p: float) -> ndarray:
    """The p-norms of x[i] − x[j] for i < j, row by row."""
    n = len(x)
    y = np.empty(n * (n - 1) // 2, x.dtype)
    at = 0
    for i in range(n - 1):
        y[at : at + n - 1 - i] = vector_norm(x[i] - x[i + 1 :], p, (1,), False)
        at += n - 1 - i
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
