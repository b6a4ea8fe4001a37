"""Several arrays as one."""

from __future__ import annotations

import numpy as np

__all__ = ["cat", "stack", "block_diag"]

ndarray = np.ndarray


def cat(x: ndarray, others: tuple[ndarray, ...], dim: int, dtype: np.dtype | None = None) -> ndarray:
    """``x`` and ``others`` one after the other along ``dim``, in ``dtype``; in memory order where they agree on one."""
    if dtype is None:
        return np.concatenate((x, *others), dim)
    return np.concatenate((x, *others), axis=dim, dtype=dtype, casting="unsafe")


def stack(x: ndarray, others: tuple[ndarray, ...], dim: int, dtype: np.dtype | None = None) -> ndarray:
    """``x`` and ``others``, all of one shape, along a new axis ``dim``, in ``dtype``."""
    shape = (*x.shape[:dim], 1, *x.shape[dim:])
    return cat(x.reshape(shape), tuple([a.reshape(shape) for a in others]), dim, dtype)


def block_diag(x: ndarray, others: tuple[ndarray, ...], dtype: np.dtype) -> ndarray:
    """Matrices corner to corner, zero around them."""
    blocks = (x, *others)
    out = np.zeros((sum(b.shape[0] for b in blocks), sum(b.shape[1] for b in blocks)), dtype)
    row = column = 0
    for b in blocks:
        out[row : row + b.shape[0], column : column + b.shape[1]] = b
        row, column = row + b.shape[0], column + b.shape[1]
    return out
