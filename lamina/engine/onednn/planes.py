"""Elements of planes by their flat index, float32 and float64: the definition's passes over some planes, shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.door import fast
from lamina.engine.memory import empty
from lamina.engine.reference import pooling as reference

from .parts import FLOATS

ndarray = np.ndarray
Ints = tuple[int, ...]
ENOUGH = 1 << 19  # numbers from which two threads are quicker
PART = 1 << 19  # numbers that a thread takes at a time; of fewer, threads wait for each other's turn at the interpreter


def _declines(*arrays: ndarray) -> bool:
    return arrays[0].dtype not in FLOATS or not all(a.flags.c_contiguous and a.size for a in arrays)


def _shared(work: Callable[..., Any], *arrays: ndarray) -> None:
    """``work`` of parts of arrays (N, C, …), each as some planes (1, planes, …)."""
    planes = prod(arrays[0].shape[:2])
    rows = [a.reshape(1, planes, *a.shape[2:]) for a in arrays]
    step = max(PART * planes // max(a.size for a in arrays), 1)
    workers.share(lambda i: work(*(row[:, i : i + step] for row in rows)), range(0, planes, step), each=2)


@fast(2 * ENOUGH)
def plane_gather(x: ndarray, indices: ndarray) -> Any:
    if _declines(x, indices):
        return NotImplemented
    y = empty(indices.shape, x.dtype)
    _shared(reference.plane_gather, x, indices, y)
    return y


@fast(ENOUGH)
def plane_add(values: ndarray, indices: ndarray, spatial: Ints) -> Any:
    return _spread(reference.plane_add, values, indices, spatial)


@fast(ENOUGH)
def plane_put(values: ndarray, indices: ndarray, spatial: Ints) -> Any:
    return _spread(reference.plane_put, values, indices, spatial)


def _spread(definition: Callable[..., Any], values: ndarray, indices: ndarray, spatial: Ints) -> Any:
    if _declines(values, indices):
        return NotImplemented
    y = empty((*values.shape[:2], *spatial), values.dtype)
    _shared(lambda values, indices, y: definition(values, indices, spatial, y), values, indices, y)
    return y


@fast(2 * ENOUGH)
def fractional_max_pool(x: ndarray, samples: ndarray, kernel: Ints, size: Ints, with_indices: bool) -> Any:
    if _declines(x):
        return NotImplemented
    samples = np.ascontiguousarray(samples)
    y = empty((*x.shape[:2], *size), x.dtype)
    indices = empty(y.shape, np.dtype(np.int64)) if with_indices else None

    def part(x: ndarray, samples: ndarray, y: ndarray, indices: ndarray | None = None) -> None:
        y[...], found = reference.fractional_max_pool(x, samples, kernel, size, with_indices)
        if indices is not None:
            indices[...] = found

    _shared(part, x, samples, y, *(() if indices is None else (indices,)))
    return y, indices
