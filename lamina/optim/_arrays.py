"""How an update runs over arrays: in place, with scratch memory that is kept, and large arrays block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lamina.autograd.graph import Version

__all__ = ["BLOCK", "Scratch", "blocks", "wrote"]

# Elements per block. An update passes over its arrays some ten times: while a block of all of them stays in the
# processor's cache, memory is read once only.
BLOCK = 1 << 16


class Scratch:
    """Arrays for intermediate results, one per slot, shape and dtype, kept from step to step."""

    def __init__(self) -> None:
        self._arrays: dict[Any, np.ndarray] = {}

    def __call__(self, slot: int, like: np.ndarray) -> np.ndarray:
        key = (slot, like.shape, like.dtype)
        array = self._arrays.get(key)
        if array is None:
            if len(self._arrays) > 256:  # shapes come and go, as when parameters are replaced
                self._arrays.clear()
            array = self._arrays[key] = np.empty(like.shape, like.dtype)
        return array


def blocks(p: np.ndarray, *others: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Views of the arrays, which all have the shape of `p`, in pieces of at most `BLOCK` elements.

    All but the last of `others` may be written to; the last (the gradient) may have any strides.
    """
    order = "K" if all(a.strides == p.strides for a in others[:-1]) else "C"
    flat = [a.ravel(order) for a in (p, *others[:-1])]
    if not all(np.may_share_memory(f, a) for f, a in zip(flat, (p, *others), strict=False)):
        yield (p, *others)  # not dense, so it has no flat view
        return
    grad = others[-1]
    if grad.strides != p.strides:
        copy = np.empty_like(p)
        copy[...] = grad
        grad = copy
    flat.append(grad.ravel(order))
    for i in range(0, p.size, BLOCK):
        yield tuple(a[i : i + BLOCK] for a in flat)


def wrote(p: Any) -> None:
    """Note that a parameter's memory was written, as an in-place operation does."""
    if p._version is None:
        p._version = Version()
    p._version.n += 1
