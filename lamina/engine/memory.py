"""Room for results: small arrays come from NumPy, large ones from blocks that are used again.

A freshly mapped page costs the kernel a fault, and a large array is many pages: writing 50 MB takes twice
as long in new memory as in memory that was written before. The C library recycles up to some tens of
megabytes at best, so large blocks are kept here when the last array that uses them dies, in a free list per
size class, and handed out again.

The array handed out rests on an *owner*, a small object with the buffer protocol; every view keeps the
owner alive, and the owner's end gives the block back. Nothing here holds a lock while Python code could
run, because an owner may end at any moment, in any thread, in the midst of a garbage collection.
"""
from __future__ import annotations

import ctypes
import itertools
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["empty", "empty_like", "held", "in_use", "limit", "release", "set_limit"]

# Sixty arrays written and dropped, over and over, us an array, NumPy's room against ours: 128 KB 5.1/7.1,
# 512 KB 37/40, 1 MB 619/91, 4 MB 1498/352, 16 MB 3272/1233. The smaller ones stay this cheap only because of
# `_keep_heap`: without it, 16 KB 8.2/3.7, 128 KB 55/7.6, 1 MB 552/41.
THRESHOLD = 1 << 18
ALIGNMENT = 64
F32 = np.dtype(np.float32)


def _keep_heap() -> None:
    """Keep the C library from handing freed memory back to the system after every step.

    glibc starts out giving back all but 128 KB, and learns from the first large block that it sees freed.
    Elsewhere this does nothing. The block is never written, so it costs no memory.
    """
    np.empty((32 << 20) - (64 << 10), np.uint8)


_keep_heap()

def _default_limit() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        return 1 << 30


class _State:
    """What the finalisers of owners need; the module may be gone before they are."""

    total = 0                       # bytes of all blocks, in use or free
    limit = _default_limit()        # most bytes of free blocks


class _SizeClass:
    """The free blocks of one size, and the type of the owners of such blocks."""

    __slots__ = ("size", "free", "owner", "used")

    def __init__(self, size: int) -> None:
        self.size = size
        self.free: list[np.ndarray] = []
        self.used = 0               # when a block was last taken
        self.owner: Any = type("Owner", (ctypes.c_char * size,), {"__del__": _finaliser(self.free)})


_classes: dict[int, _SizeClass] = {}
_by_nbytes: dict[int, _SizeClass] = {}      # exact request -> class: spares the arithmetic
_blocks: dict[int, int] = {}                # id of a block -> its size
_clock = itertools.count(1)


def empty(shape: tuple[int, ...], dtype: Any = F32, channels_last: bool = False) -> np.ndarray:
    """An uninitialised array of `shape`; with `channels_last`, (N, C, *spatial) lying as (N, *spatial, C)."""
    if channels_last:
        n, c, *spatial = shape
        plain = empty((n, *spatial, c), dtype)
        return plain.transpose(0, len(shape) - 1, *range(1, len(shape) - 1))
    if dtype is not F32:
        dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < THRESHOLD:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, _take(nbytes))


def empty_like(array: np.ndarray) -> np.ndarray:
    """An uninitialised array of the shape and dtype of `array`, in the same memory order."""
    if array.nbytes < THRESHOLD:
        return np.empty_like(array)
    if array.flags.c_contiguous:
        return np.ndarray(array.shape, array.dtype, _take(array.nbytes))
    key = array.shape, array.strides, array.itemsize
    strides = _packed.get(key)
    if strides is None:
        if len(_packed) > 4096:
            _packed.clear()
        strides = _packed[key] = _pack(*key)
    return np.ndarray(array.shape, array.dtype, _take(array.nbytes), 0, strides)


_packed: dict[Any, tuple[int, ...]] = {}


def _pack(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of a gapless array whose dimensions lie in the order of `strides` (NumPy's order "K")."""
    packed, step = [0] * len(shape), itemsize
    for axis in sorted(range(len(shape)), key=lambda axis: (abs(strides[axis]), -axis)):
        packed[axis] = step
        step *= shape[axis]
    return tuple(packed)


def _take(nbytes: int) -> Any:
    """An owner of at least `nbytes` of aligned memory."""
    try:
        kind = _by_nbytes[nbytes]
    except KeyError:
        kind = _size_class(nbytes)
    kind.used = next(_clock)
    try:
        block = kind.free.pop()
    except IndexError:
        kind, block = _spare(nbytes) or (kind, _new_block(kind.size))
    owner = kind.owner.from_buffer(block)
    owner.block = block
    return owner


# How much larger than what is asked for a free block of another class may be. MB of blocks after three training steps, with at
# most 190, 138, 105 in use at a time, by factors 1 (no other class), 2, 4, 16: U-Net 343, 252, 255, 286; ResNet-18 192, 170,
# 178, 327; DCGAN 165, 135, 141, 154.
_STRETCH = 2


def _spare(nbytes: int) -> tuple[_SizeClass, np.ndarray] | None:
    """The smallest free block of another class that holds `nbytes`, rather than new memory beside idle one."""
    fitting = [kind for size, kind in list(_classes.items()) if nbytes <= size <= _STRETCH * nbytes and kind.free]
    for kind in sorted(fitting, key=lambda kind: kind.size):
        try:
            return kind, kind.free.pop()
        except IndexError:      # another thread took it
            continue
    return None


def _finaliser(free: list[np.ndarray]) -> Callable[[Any], None]:
    state, make_room = _State, _make_room

    def ended(owner: Any) -> None:
        block = owner.block
        # While all blocks together keep to the limit, the free ones do.
        if state.total <= state.limit or make_room(block):
            free.append(block)

    return ended


def _size_class(nbytes: int) -> _SizeClass:
    """The class of `nbytes` rounded up to one of eight sizes per power of two."""
    step = 1 << max(nbytes.bit_length() - 4, 0)
    size = -(-nbytes // step) * step
    if len(_by_nbytes) > 4096:
        _by_nbytes.clear()
    kind = _by_nbytes[nbytes] = _classes.get(size) or _classes.setdefault(size, _SizeClass(size))
    return kind


def _new_block(size: int) -> np.ndarray:
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    block = room[start:start + size]
    _blocks[id(block)] = size
    _count()
    return block


def _drop(block: np.ndarray) -> None:
    _blocks.pop(id(block), None)


def _count() -> None:
    # Counted afresh rather than added to: a thread or a finaliser may come between, and the sum must not
    # drift.
    _State.total = sum(list(_blocks.values()))


def _make_room(block: np.ndarray) -> bool:
    """Whether `block` may be kept beside the free blocks, those unused for longest dropped."""
    size = _blocks.get(id(block), 0)
    if size > _State.limit:
        _drop(block)
        _count()
        return False
    _shrink(_State.limit - size)
    return True


def _shrink(target: int) -> int:
    """Drop free blocks until at most `target` bytes are held; returns the bytes dropped."""
    excess, dropped = held() - target, 0
    if excess <= 0:
        return 0
    for kind in sorted(_classes.values(), key=lambda kind: kind.used):
        while kind.free and dropped < excess:
            try:
                _drop(kind.free.pop())
            except IndexError:      # another thread took it
                break
            dropped += kind.size
    _count()
    return dropped


def held() -> int:
    """The bytes of free blocks that are kept for new arrays."""
    return sum(kind.size * len(kind.free) for kind in list(_classes.values()))


def in_use() -> int:
    """The bytes of pooled blocks that arrays use now."""
    return max(_State.total - held(), 0)


def limit() -> int:
    """The most bytes of free blocks that are kept; a quarter of the machine's memory unless set."""
    return _State.limit


def set_limit(nbytes: int) -> None:
    """Keep at most `nbytes` of free blocks from now on; 0 keeps none."""
    if isinstance(nbytes, bool) or not isinstance(nbytes, int):
        raise TypeError(f"memory.set_limit: expected an int, but got {type(nbytes).__name__}")
    if nbytes < 0:
        raise ValueError(f"memory.set_limit: expected a number of bytes of at least 0, but got {nbytes}")
    _State.limit = nbytes
    _shrink(nbytes)


def release() -> int:
    """Give every free block back to the system; returns how many bytes that were."""
    return _shrink(0)
