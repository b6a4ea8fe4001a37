"""Memory that several processes see at once.

A block is an anonymous file in memory (Linux's ``memfd``), known by a file descriptor that can be sent to another process; the
system frees it when the last process that has it is gone, however that ended. Elsewhere it is an anonymous mapping, which only
children that are forked later share.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np

__all__ = ["CAN_SEND", "SharedMap", "attach", "create", "map_of", "moved"]

CAN_SEND = hasattr(os, "memfd_create")  # whether a block can be sent to a process that runs already


class SharedMap(mmap.mmap):
    """A mapped block; ``fd`` is -1 if it cannot be sent."""

    fd: int

    def close_descriptor(self) -> None:
        """Give up the descriptor: the block stays mapped and can no longer be sent."""
        fd, self.fd = getattr(self, "fd", -1), -1
        if fd >= 0:
            os.close(fd)

    __del__ = close_descriptor


def create(nbytes: int) -> SharedMap:
    """A new block of zeros, of at least one byte."""
    nbytes = max(nbytes, 1)
    if not CAN_SEND:
        block = SharedMap(-1, nbytes)
        block.fd = -1
        return block
    fd = os.memfd_create("lamina")
    try:
        os.ftruncate(fd, nbytes)
        return attach(fd, nbytes)
    except BaseException:
        os.close(fd)
        raise


def attach(fd: int, nbytes: int) -> SharedMap:
    """The block behind a descriptor, which belongs to the result from then on."""
    block = SharedMap(fd, max(nbytes, 1))
    block.fd = fd
    return block


def map_of(array: np.ndarray) -> SharedMap | None:
    """The block that an array lies in."""
    owner: Any = array
    while owner is not None:
        if isinstance(owner, SharedMap):
            return owner
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    return None


def moved(array: np.ndarray) -> np.ndarray:
    """The array in a block of its own, in the same memory order as far as that is dense."""
    block = create(array.nbytes)
    flat = np.frombuffer(block, np.uint8, array.nbytes)
    like = np.empty_like(array, order="K")  # for its strides; its pages are never touched
    result = np.ndarray(array.shape, array.dtype, flat, 0, like.strides)
    result[...] = array
    return result
