"""Room for results: small arrays come from NumPy, large ones from a heap of our own.

A freshly mapped page costs the kernel a fault, and a large array is many pages: writing 50 MB takes twice as long in new
memory as in memory that was written before. The C library recycles up to some tens of megabytes at best. So large arrays
are cut from segments that are kept: the smallest hole that holds an array is taken, and what an array leaves is joined with
the holes beside it. Free lists per size, which were here before, held a third more than is ever in use; this holds hardly
anything more (MB for four training steps: ResNet-18 162/127, 124 of them in use; U-Net 240/183, 181; MobileNetV2 119/91, 88).

The array handed out rests on an *owner*, a small object with the buffer protocol; every view keeps the owner alive, and the
owner's end gives the block back. An owner may end at any moment, in any thread, in the midst of a garbage collection, so its
end only leaves a note, which the next call reads. Nobody ever waits here: who finds the heap busy, be it with a call that
this very thread is in, takes new memory.
"""
from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["empty", "empty_like", "held", "in_use", "limit", "release", "set_limit"]

# Sixty arrays written and dropped, over and over, us an array, NumPy's room against ours: 128 KB 5.1/7.1,
# 512 KB 37/40, 1 MB 619/91, 4 MB 1498/352, 16 MB 3272/1233. The smaller ones stay this cheap only because of
# `_keep_heap`: without it, 16 KB 8.2/3.7, 128 KB 55/7.6, 1 MB 552/41.
THRESHOLD = 1 << 18
ALIGNMENT = 64
# Bytes. Where memory takes no room before it is written to, one large segment is best, as holes of two do not join.
SEGMENT = 64 << 20 if sys.platform == "win32" else 1 << 30
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


class _Segment:
    """Memory that blocks are cut from."""

    __slots__ = ("room", "start", "size")

    def __init__(self, size: int) -> None:
        room = np.empty(size + 2 * ALIGNMENT, np.uint8)     # never filled to its end, so that no two segments touch
        offset = -room.ctypes.data % ALIGNMENT
        self.room = room[offset:offset + size]
        self.start, self.size = room.ctypes.data + offset, size


class _Heap:
    """Segments, and the holes in them. A hole has a size, and a number of bytes of it that have been written to.

    Only one call at a time may change it; an exception in the midst of one leaves it unfit for use.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit                                              # most bytes of written holes that are kept
        self.used = self.held = 0                                       # bytes of blocks, and of holes that were written to
        self.holes: dict[int, tuple[int, int, _Segment]] = {}           # start -> size, bytes written to, segment
        self.ends: dict[int, int] = {}                                  # end of a hole -> its start
        self.order: list[tuple[int, int]] = []                          # (size, start) of the holes
        self.returned: deque[tuple[_Segment, int, int]] = deque()       # blocks whose owners have ended
        self.busy = threading.Lock()
        self.owners: dict[int, Any] = {}                                # size of a block -> type of its owner

    def take(self, size: int) -> Any:
        """An owner of `size` bytes from the smallest hole that holds them."""
        self.settle()
        i = bisect_left(self.order, (size, 0))
        start = self.order[i][1] if i < len(self.order) else self.grow(size)
        room, written, segment = self.remove(start)
        if room > size:
            self.insert(start + size, room - size, max(written - size, 0), segment)
        self.used += size
        self.held -= min(written, size)
        kind = self.owners.get(size) or self.owners.setdefault(size, _owner(size, self))
        owner = kind.from_buffer(segment.room, start - segment.start)
        owner.place = segment, start, size
        return owner

    def settle(self) -> None:
        """Make holes of the blocks that came back."""
        returned = self.returned
        while returned:
            segment, start, size = returned.popleft()
            self.used -= size
            self.held += size
            written = size
            before = self.ends.get(start)
            if start + size in self.holes:
                room, more, _ = self.remove(start + size)
                size, written = size + room, written + more
            if before is not None:
                room, more, _ = self.remove(before)
                start, size, written = before, size + room, written + more
            self.insert(start, size, written, segment)

    def insert(self, start: int, size: int, written: int, segment: _Segment) -> None:
        self.holes[start] = size, written, segment
        self.ends[start + size] = start
        insort(self.order, (size, start))

    def remove(self, start: int) -> tuple[int, int, _Segment]:
        hole = self.holes.pop(start)
        size = hole[0]
        del self.ends[start + size], self.order[bisect_left(self.order, (size, start))]
        return hole

    def grow(self, size: int) -> int:
        """Where a new hole begins that holds `size` bytes. What is not written to takes no room."""
        try:
            segment = _Segment(max(size, min(SEGMENT, self.limit)))
        except MemoryError:
            self.shrink(0)
            segment = _Segment(size)
        self.insert(segment.start, segment.size, 0, segment)
        return segment.start

    def shrink(self, nbytes: int) -> int:
        """Give written holes back to the system until `nbytes` at most are left, the largest first; returns how many it gave."""
        before = self.held
        for size, start in reversed(self.order.copy()):
            if self.held <= nbytes:
                break
            _, written, segment = self.holes[start]
            if size == segment.size:
                self.remove(start)
                self.held -= written
            elif written and _discard(start, size):
                self.holes[start] = size, 0, segment
                self.held -= written
        return before - self.held


def _owner(size: int, heap: _Heap) -> Any:
    """The type of the owners of blocks of a size."""
    returned, shrink = heap.returned, _shrink

    def ended(owner: Any) -> None:
        returned.append(owner.place)
        if heap.used + heap.held > heap.limit:      # else the holes keep to it in any case
            shrink(heap.limit)

    return type("Owner", (ctypes.c_char * size,), {"__del__": ended})


def _discarder() -> Callable[[int, int], bool]:
    """What tells the system that the pages within some bytes may be had, and says whether it could."""
    try:
        madvise = ctypes.CDLL(None).madvise if sys.platform.startswith("linux") else None
    except (AttributeError, OSError, TypeError):
        madvise = None
    if madvise is None:
        return lambda start, size: False
    page, dont_need = os.sysconf("SC_PAGE_SIZE"), 4

    def discard(start: int, size: int) -> bool:
        first, last = -(-start // page) * page, (start + size) // page * page
        return last <= first or not madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), dont_need)

    return discard


_discard = _discarder()
_heap = _Heap(_default_limit())
_sizes: dict[int, int] = {}      # bytes asked for -> bytes of the block: spares the arithmetic


def _with_heap(method: Callable[..., Any], *args: Any) -> Any:
    """A method's result, or None while another call is at work on the heap."""
    global _heap
    heap = _heap
    if not heap.busy.acquire(False):
        return None
    try:
        return method(heap, *args)
    except BaseException:       # an interrupt, perhaps between two steps that belong together
        _heap = _Heap(heap.limit)
        raise
    finally:
        heap.busy.release()


def _after_fork() -> None:
    """A child has no thread that would finish what another one had begun."""
    global _heap
    if _heap.busy.locked():
        _heap = _Heap(_heap.limit)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
    size = _sizes.get(nbytes) or _rounded(nbytes)
    owner = _with_heap(_Heap.take, size)
    return _Segment(size).room if owner is None else owner


def _rounded(nbytes: int) -> int:
    """The bytes of a block: of 32 to 64 sizes per power of two."""
    step = max(1 << max(nbytes.bit_length() - 6, 0), ALIGNMENT)
    if len(_sizes) > 4096:
        _sizes.clear()
    size = _sizes[nbytes] = -(-nbytes // step) * step
    return size


def _shrink(nbytes: int) -> int:
    def shrink(heap: _Heap) -> int:
        heap.settle()
        return heap.shrink(nbytes)

    return _with_heap(shrink) or 0


def held() -> int:
    """The bytes of memory that no array uses, but that are kept for new arrays."""
    _with_heap(_Heap.settle)
    return _heap.held


def in_use() -> int:
    """The bytes of the heap that arrays use now."""
    _with_heap(_Heap.settle)
    return _heap.used


def limit() -> int:
    """The most bytes that are kept for new arrays; a quarter of the machine's memory unless set."""
    return _heap.limit


def set_limit(nbytes: int) -> None:
    """Keep at most `nbytes` from now on; 0 keeps none."""
    if isinstance(nbytes, bool) or not isinstance(nbytes, int):
        raise TypeError(f"memory.set_limit: expected an int, but got {type(nbytes).__name__}")
    if nbytes < 0:
        raise ValueError(f"memory.set_limit: expected a number of bytes of at least 0, but got {nbytes}")
    _heap.limit = nbytes
    _shrink(nbytes)


def release() -> int:
    """Give all memory that no array uses back to the system; returns how many bytes that were."""
    return _shrink(0)
