"""Channels exchanged with pixels, and channels among themselves."""

from __future__ import annotations

from itertools import product

import numpy as np

__all__ = ["pixel_shuffle", "pixel_unshuffle", "channel_shuffle"]

ndarray = np.ndarray


# One strided copy for each of the r² places of a block: NumPy copies a transposed array in runs of its last axis, which
# would be no longer than r.


def pixel_shuffle(x: ndarray, r: int, out: ndarray | None = None) -> ndarray:
    """(*, C·r², H, W) to (*, C, H·r, W·r): each r² channels become blocks of r by r pixels."""
    lead, (c, h, w) = x.shape[:-3], x.shape[-3:]
    parts = x.reshape(*lead, c // r**2, r, r, h, w)
    y = np.empty((*lead, c // r**2, h * r, w * r), x.dtype) if out is None else out
    for i, j in product(range(r), repeat=2):
        y[..., i::r, j::r] = parts[..., i, j, :, :]
    return y


def pixel_unshuffle(x: ndarray, r: int, out: ndarray | None = None) -> ndarray:
    """(*, C, H·r, W·r) to (*, C·r², H, W): the way back."""
    lead, (c, h, w) = x.shape[:-3], x.shape[-3:]
    y = np.empty((*lead, c * r**2, h // r, w // r), x.dtype) if out is None else out
    parts = y.reshape(*lead, c, r, r, h // r, w // r)
    for i, j in product(range(r), repeat=2):
        parts[..., i, j, :, :] = x[..., i::r, j::r]
    return y


def channel_shuffle(x: ndarray, groups: int) -> ndarray:
    """(N, C, *) with channel number i of group j moved to place i·groups + j."""
    if x.size == 0:
        return x.copy()
    n, c, *rest = x.shape
    y = np.empty(x.shape, x.dtype)  # never x itself, as a view would be where there is one group, or one channel in each
    y.reshape(n, c // groups, groups, *rest)[...] = x.reshape(n, groups, c // groups, *rest).swapaxes(1, 2)
    return y
