"""Copies into another order of memory or place: on all threads, and of float32 by oneDNN, in blocks that suit the caches."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.door import fast
from lamina.engine.memory import empty
from lamina.engine.reference import shuffle as reference

from .core import COPY, F32, moves

ndarray = np.ndarray
MANY = 1 << 16  # elements from which room from the heap, and another thread, make up for what they cost
PARTS = 8  # of a copy: threads that take turns at the interpreter more often are slower than one


def _copy(target: ndarray, source: ndarray) -> None:
    """Write an array into another of its shape."""
    axis = next((d for d, n in enumerate(target.shape) if n >= PARTS), None)
    if axis is None or target.size < 12 * MANY:
        np.copyto(target, source)
        return
    n = target.shape[axis]
    step, before = -(-n // PARTS), (slice(None),) * axis

    def part(i: int) -> None:
        of = (*before, slice(i, i + step))
        np.copyto(target[of], source[of])

    workers.share(part, range(0, n, step))


def _copied(x: ndarray) -> ndarray:
    y = empty(x.shape, x.dtype)
    _copy(y, x)
    return y


@fast(min_size=COPY)
def contiguous(x: np.ndarray) -> Any:
    """A copy in row-major order."""
    move = None
    if x.dtype == F32:
        y = empty(x.shape)
        move = moves[x.shape, x.strides, y.strides]
    if move is None:
        return _copied(x)
    move.run(x, y)
    return y


@fast(min_size=COPY)
def reshape_copy(x: ndarray, shape: tuple[int, ...]) -> Any:
    """A copy in row-major order, in another shape."""
    return contiguous(x).reshape(shape)


@fast(min_size=MANY)
def cat(x: ndarray, others: tuple[ndarray, ...], dim: int, dtype: np.dtype | None = None) -> Any:
    """Arrays one after the other along an axis."""
    arrays = (x, *others)
    if dtype is not None or any(a.dtype != x.dtype or not a.flags.c_contiguous or a.ndim != x.ndim for a in others):
        return NotImplemented
    rest = x.shape[:dim], x.shape[dim + 1 :]
    if not x.ndim or not x.flags.c_contiguous or any((a.shape[:dim], a.shape[dim + 1 :]) != rest for a in others):
        return NotImplemented
    y = empty((*rest[0], sum(a.shape[dim] for a in arrays), *rest[1]), x.dtype)
    before, at = (slice(None),) * dim, 0
    for a in arrays:
        _copy(y[(*before, slice(at, at + a.shape[dim]))], a)
        at += a.shape[dim]
    return y


@fast(min_size=MANY)
def flip(x: ndarray, dims: tuple[int, ...]) -> Any:
    """x in reverse order along some axes."""
    return _copied(np.flip(x, dims))


@fast(min_size=MANY)
def roll(x: ndarray, shifts: Any, dims: Any) -> Any:
    """x shifted cyclically along axes."""
    if dims is None or len(dims) != 1 or not x.size or not x.flags.c_contiguous:
        return NotImplemented
    n, (shift,) = x.shape[dims[0]], shifts
    y, before = empty(x.shape, x.dtype), (slice(None),) * dims[0]
    at = shift % n
    for target, source in ((slice(at, n), slice(0, n - at)), (slice(0, at), slice(n - at, n))):
        _copy(y[(*before, target)], x[(*before, source)])
    return y


@fast(min_size=16 * MANY)
def channel_shuffle(x: ndarray, groups: int) -> Any:
    """The channels of (N, C, *) read across the groups."""
    if not x.size:
        return NotImplemented
    n, c, *rest = x.shape
    return _copied(x.reshape(n, groups, c // groups, *rest).swapaxes(1, 2)).reshape(x.shape)


@fast(min_size=16 * MANY)
def pixel_shuffle(x: ndarray, r: int) -> Any:
    """Channels as pixels: the definition, some images at a time."""
    c, h, w = x.shape[-3:]
    return _by_images(reference.pixel_shuffle, x, r, (c // r**2, h * r, w * r))


@fast(min_size=16 * MANY)
def pixel_unshuffle(x: ndarray, r: int) -> Any:
    """Pixels as channels: the definition, some images at a time."""
    c, h, w = x.shape[-3:]
    return _by_images(reference.pixel_unshuffle, x, r, (c * r**2, h // r, w // r))


def _by_images(definition: Any, x: ndarray, r: int, image: tuple[int, ...]) -> Any:
    if not x.size or not x.flags.c_contiguous:
        return NotImplemented
    y = empty((*x.shape[:-3], *image), x.dtype)
    source, target = x.reshape(-1, *x.shape[-3:]), y.reshape(-1, *image)
    step = -(-len(source) // PARTS)
    workers.share(lambda i: definition(source[i : i + step], r, target[i : i + step]), range(0, len(source), step), each=1)
    return y


@fast(min_size=MANY // 4)
def tile(x: ndarray, repeats: tuple[int, ...]) -> Any:
    """x laid side by side along each axis."""
    shape = (1,) * (len(repeats) - x.ndim) + x.shape
    y = empty(tuple(r * n for r, n in zip(repeats, shape, strict=True)), x.dtype)
    paired = [m for n in shape for m in (1, n)]
    spread = [m for r, n in zip(repeats, shape, strict=True) for m in (r, n)]
    _copy(y.reshape(spread), np.broadcast_to(x.reshape(paired), spread))
    return y


_BITS = {n: np.dtype(f"i{n}") for n in (1, 2, 4, 8)}


@lru_cache(maxsize=4)
def _triangle(rows: int, columns: int, diagonal: int, bits: np.dtype) -> ndarray:
    """All bits up to a diagonal, and none beyond it."""
    return np.negative(np.tri(rows, columns, diagonal, bits))


def _masked(x: ndarray, diagonal: int, upper: bool) -> Any:
    bits, rows, columns = _BITS.get(x.itemsize), *x.shape[-2:]
    if bits is None or not x.size or not x.flags.c_contiguous or x.size < 4 * rows * columns or rows * columns > 1 << 20:
        return NotImplemented
    mask = _triangle(rows, columns, diagonal - 1 if upper else diagonal, bits)
    if upper:
        mask = ~mask
    y = empty(x.shape, x.dtype)
    source, target = (a.view(bits).reshape(-1, rows, columns) for a in (x, y))
    step = -(-len(source) // PARTS)

    def part(i: int) -> None:
        np.bitwise_and(source[i : i + step], mask, out=target[i : i + step])

    workers.share(part, range(0, len(source), step))
    return y


@fast(min_size=MANY)
def tril(x: ndarray, diagonal: int) -> Any:
    """The lower triangles of matrices."""
    return _masked(x, diagonal, False)


@fast(min_size=MANY)
def triu(x: ndarray, diagonal: int) -> Any:
    """The upper triangles of matrices."""
    return _masked(x, diagonal, True)
