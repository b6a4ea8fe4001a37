"""Copies in another shape or order, and the gradients of views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "embed", "overlap_add", "reshape_copy", "memory_order", "flip", "roll", "tile", "tril", "triu",
]  # fmt: skip

ndarray = np.ndarray


def embed(g: ndarray, shape: tuple[int, ...], look: Callable[..., ndarray], arguments: tuple) -> ndarray:
    """Zeros of ``shape`` with ``g`` in the place that the view ``look(·, *arguments)`` shows."""
    z = np.zeros(shape, g.dtype)
    look(z, *arguments)[...] = g
    return z


def overlap_add(g: ndarray, shape: tuple[int, ...], dim: int, step: int) -> ndarray:
    """The sum of windows back in their places: window i, along the last axis of ``g``, starts at i·step in ``dim``."""
    z = np.zeros(shape, g.dtype)
    count, size = g.shape[dim], g.shape[-1]
    lead = (slice(None),) * dim
    if step >= size:  # no overlap
        for i in range(size):
            z[(*lead, slice(i, i + (count - 1) * step + 1, step))] = g[..., i]
    else:
        for i in range(size):
            z[(*lead, slice(i, i + (count - 1) * step + 1, step))] += g[..., i]
    return z


def reshape_copy(x: ndarray, shape: tuple[int, ...]) -> ndarray:
    """A copy in row-major order, in another shape."""
    return np.array(x, order="C").reshape(shape)


def memory_order(x: ndarray, order: tuple[int, ...]) -> ndarray:
    """A copy whose axes lie in memory in ``order``, outermost first."""
    inverse = [0] * len(order)
    for i, d in enumerate(order):
        inverse[d] = i
    return np.array(x.transpose(order), order="C").transpose(inverse)


def flip(x: ndarray, dims: tuple[int, ...]) -> ndarray:
    """``x`` in reverse order along ``dims``; a copy."""
    return np.array(np.flip(x, dims), order="C")


def roll(x: ndarray, shifts: Any, dims: Any) -> ndarray:
    """``x`` shifted cyclically by ``shifts`` along ``dims`` (``None``: as one row)."""
    return np.roll(x, shifts, dims)


def tile(x: ndarray, repeats: tuple[int, ...]) -> ndarray:
    """``x`` laid side by side ``repeats`` times along each axis (leading axes may be new)."""
    lead = len(repeats) - x.ndim
    shape = (1,) * lead + x.shape
    paired, spread = [], []
    for r, n in zip(repeats, shape, strict=True):
        paired += [1, n]
        spread += [r, n]
    out = np.broadcast_to(x.reshape(paired), spread)
    return np.array(out, order="C").reshape([r * n for r, n in zip(repeats, shape, strict=True)])


def tril(x: ndarray, diagonal: int) -> ndarray:
    """The lower triangles of the matrices in ``x``: zero above the ``diagonal``-th diagonal."""
    y = np.zeros(x.shape, x.dtype)
    for i in range(max(-diagonal, 0), x.shape[-2]):
        stop = i + diagonal + 1
        y[..., i, :stop] = x[..., i, :stop]
    return y


def triu(x: ndarray, diagonal: int) -> ndarray:
    """The upper triangles of the matrices in ``x``: zero below the ``diagonal``-th diagonal."""
    y = np.zeros(x.shape, x.dtype)
    for i in range(min(x.shape[-2], x.shape[-1] - diagonal)):
        start = max(i + diagonal, 0)
        y[..., i, start:] = x[..., i, start:]
    return y
