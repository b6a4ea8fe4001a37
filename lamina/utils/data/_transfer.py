"""How batches come from a worker: small ones through its pipe, large arrays in memory that both processes see.

A worker has a few blocks of shared memory and fills them in turn. The parent looks at a block for as long as a tensor of the
batch is alive, and then gives it back with the next task, so that a long pass takes no new memory, and no page is cleared twice.
Where all blocks are in use (somebody keeps the batches) arrays go through the pipe. The memory has no name: the system frees it
with the last process that has it, so a worker that is killed leaves nothing behind.
"""

from __future__ import annotations

import io
import pickle
import struct
import threading
import weakref
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.multiprocessing import shared

__all__ = ["Arrivals", "Outlet", "empty"]

MIN_BYTES = 1 << 18  # of an array that is worth a block
MOST = 16  # blocks of a worker: each is a file descriptor in both processes

_HEADER = struct.Struct("<B2Q")  # what announces a new block: a mark, its number, its size
_NEW_BLOCK = 1  # the mark: no pickle of protocol 2 or later begins so


class _Block:
    """The worker's side of a block."""

    def __init__(self, number: int, nbytes: int) -> None:
        self.map = shared.create(nbytes)
        self.number, self.nbytes = number, nbytes
        self.sent = False  # the parent has it
        self.used: Any = None  # weak reference to what lies in it here

    def free(self) -> bool:
        return not self.sent and (self.used is None or self.used() is None)

    def view(self, shape: Any, dtype: np.dtype) -> np.ndarray:
        whole = np.frombuffer(self.map, np.uint8)
        self.used = weakref.ref(whole)
        return np.ndarray(shape, dtype, whole)


class Outlet:
    """The worker's side: makes messages of what it has to send."""

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.made: list[_Block] = []  # which the parent does not know yet
        self._numbers = 0

    def free(self, numbers: list[int]) -> None:
        """Blocks that the parent has done with."""
        for block in self.blocks:
            if block.number in numbers:
                block.sent = False

    def _block(self, nbytes: int) -> _Block | None:
        if not shared.CAN_SEND or nbytes < MIN_BYTES:
            return None
        idle = [b for b in self.blocks if b.free()]
        fitting = [b for b in idle if nbytes <= b.nbytes <= 4 * nbytes]
        if fitting:
            return min(fitting, key=lambda b: b.nbytes)
        if len(self.blocks) >= MOST:
            if not idle:
                return None
            self.blocks.remove(idle[0])
        self._numbers += 1
        block = _Block(self._numbers, nbytes)
        self.blocks.append(block)
        self.made.append(block)
        return block

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """An array in a block, to be filled; ``None`` if it is small or there is no block."""
        block = self._block(dtype.itemsize * int(np.prod(shape)))
        return None if block is None else block.view(shape, dtype)

    def place(self, array: np.ndarray) -> _Block | None:
        """The block that a large array lies in, or is copied to."""
        if array.nbytes < MIN_BYTES or array.dtype.hasobject:
            return None
        found = shared.map_of(array)
        if found is not None and array.flags.c_contiguous:
            for block in self.blocks:
                if block.map is found and not block.sent and _address(array) == _address(np.frombuffer(found, np.uint8)):
                    return block
        placed = self.empty(array.shape, array.dtype)
        if placed is None:
            return None
        placed[...] = array
        return next(b for b in self.blocks if b.map is shared.map_of(placed))

    def message(self, answer: Any) -> tuple[list[_Block], bytes]:
        """The blocks that are new, and the pickle of an answer with its large arrays in blocks."""
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, self)
        try:
            pickler.dump(answer)
        except BaseException:
            for block in pickler.placed:
                block.sent = False
            raise
        made, self.made = self.made, []
        return made, buffer.getvalue()


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


class _Pickler(ForkingPickler):
    def __init__(self, file: Any, outlet: Outlet) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.outlet = outlet
        self.placed: list[_Block] = []

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is np.ndarray:
            block = self.outlet.place(obj)
            if block is not None:
                block.sent = True
                self.placed.append(block)
                return _arrived, (block.number, obj.shape, obj.dtype)
        if isinstance(obj, Tensor):  # by its array, whatever else queues do with shared tensors
            return obj.__reduce_ex__(2)
        return NotImplemented


def send(connection: Any, message: tuple[list[_Block], bytes]) -> None:
    """Send a message; raises ``OSError`` if nobody listens any more."""
    made, data = message
    for block in made:
        connection.send_bytes(_HEADER.pack(_NEW_BLOCK, block.number, block.nbytes))
        _send_descriptor(connection, block.map.fd)
    connection.send_bytes(data)


def _send_descriptor(connection: Any, fd: int) -> None:
    from multiprocessing.reduction import send_handle

    send_handle(connection, fd, 0)


class Arrivals:
    """The parent's side: the blocks of one worker."""

    def __init__(self) -> None:
        self.maps: dict[int, shared.SharedMap] = {}
        self.done: list[int] = []  # blocks of which no tensor is alive any more

    def receive(self, connection: Any) -> Any:
        """The next answer; raises ``EOFError`` or ``OSError`` if the worker is gone."""
        from multiprocessing.reduction import recv_handle

        while True:
            data = connection.recv_bytes()
            if data[0] != _NEW_BLOCK:
                break
            _, number, nbytes = _HEADER.unpack(data)
            self.maps[number] = block = shared.attach(recv_handle(connection), nbytes)
            block.close_descriptor()
        _receiving.arrivals = self
        try:
            return pickle.loads(data)
        finally:
            _receiving.arrivals = None

    def array(self, number: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array in a block, which is given back when the array and all of its views are gone."""
        whole = np.frombuffer(self.maps[number], np.uint8)
        weakref.finalize(whole, self.done.append, number).atexit = False
        return np.ndarray(shape, dtype, whole)

    def returned(self) -> list[int]:
        """The blocks to give back; forgets them."""
        numbers = []
        while self.done:
            numbers.append(self.done.pop())
        return numbers


class _Receiving(threading.local):
    arrivals: Arrivals | None = None


_receiving = _Receiving()
_outlet: Outlet | None = None  # of this process, if it is a worker


def _arrived(number: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    assert _receiving.arrivals is not None
    return _receiving.arrivals.array(number, shape, dtype)


def begin() -> Outlet:
    """The outlet of this process, which is a worker."""
    global _outlet
    _outlet = Outlet()
    return _outlet


def in_worker() -> bool:
    """Whether this process is a worker."""
    return _outlet is not None


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    """In a worker, an array in shared memory for a batch that is large; ``None`` otherwise."""
    return None if _outlet is None else _outlet.empty(shape, dtype)
