"""Sliding blocks of an array as the columns of a matrix, and the sum of such columns back into an array.

A *block* is what a kernel covers; ``settings`` are (kernel, dilation, padding, stride), a tuple of one int per dimension each.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lamina.engine.memory import empty
from lamina.engine.reference.pad import pad

__all__ = ["fold", "unfold"]

ndarray = np.ndarray
Ints = tuple[int, ...]
Settings = tuple[Ints, Ints, Ints, Ints]

CHUNK = 1 << 16  # elements that a core's cache holds while block after block is added to them


def block_counts(spatial: Ints, settings: Settings) -> Ints:
    """How many blocks there are along each dimension."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in zip(spatial, *settings, strict=True)
    )


def unfold(x: ndarray, settings: Settings) -> ndarray:
    """The blocks of x (N, C, *spatial), one after the other: (N, C·prod(kernel), blocks)."""
    windows = _windows(_padded(x, settings[2]), x.shape[2:], settings)
    n, c, *rest = windows.shape
    half = len(rest) // 2
    y = empty(windows.shape, x.dtype)
    np.copyto(y, windows)
    return y.reshape(n, c * prod(rest[:half]), prod(rest[half:]))


def fold(columns: ndarray, spatial: Ints, settings: Settings) -> ndarray:
    """An array of size ``spatial``, of the sum of what :func:`unfold` would take from every place: its transpose."""
    kernel, _, padding, _ = settings
    n, c = len(columns), columns.shape[1] // prod(kernel)
    real = np.float32 if columns.dtype == np.float16 else columns.dtype  # half precision is rounded once
    padded = empty((n, c, *(s + 2 * p for s, p in zip(spatial, padding, strict=True))), real)
    padded.fill(0)
    windows = _windows(padded, spatial, settings, write=True)
    parts = columns.reshape(windows.shape)
    if all(s > d * (k - 1) for k, d, _, s in zip(*settings, strict=True)):  # no blocks overlap
        windows[...] = parts
    else:
        step = max(1, CHUNK * n // max(padded.size, 1))
        for i in range(0, n, step):
            for tap in np.ndindex(kernel):  # blocks overlap, but never at one and the same place in the kernel
                at = (slice(i, i + step), slice(None), *tap)
                windows[at] += parts[at]
    inner = tuple(slice(p, p + s) for s, p in zip(spatial, padding, strict=True))
    return np.ascontiguousarray(padded[(slice(None), slice(None), *inner)]).astype(columns.dtype, copy=False)


def _padded(x: ndarray, padding: Ints) -> ndarray:
    return pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), "constant") if any(padding) else x


def _windows(padded: ndarray, spatial: Ints, settings: Settings, write: bool = False) -> ndarray:
    """A view (N, C, *kernel, *blocks) of a padded array: entry (k, i) is that at stride·i + dilation·k."""
    kernel, dilation, _, stride = settings
    outer, steps = padded.strides[:2], padded.strides[2:]
    return np.lib.stride_tricks.as_strided(
        padded,
        (*padded.shape[:2], *kernel, *block_counts(spatial, settings)),
        (*outer, *(d * s for d, s in zip(dilation, steps, strict=True)), *(t * s for t, s in zip(stride, steps, strict=True))),
        writeable=write,
    )
