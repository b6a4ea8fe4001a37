"""The memory of saved tensors, on both sides.

Reading: a :class:`Storage` is a run of bytes from a file, and tensors are views of it. Writing: tensors whose memory
overlaps are grouped, so that they are written once and share again after loading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pickle import UnpicklingError
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import dtype
from lamina.autograd.graph import Version, wrap

# The class that PyTorch names for memory of a dtype; the younger dtypes have none and lie in untyped memory.
STORAGES = {
    "float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage",
    "int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage", "uint8": "ByteStorage",
    "bool": "BoolStorage", "complex64": "ComplexFloatStorage", "complex128": "ComplexDoubleStorage",
}  # fmt: skip

MAX_NDIM = 64  # NumPy's
MAX_BYTES = 2**62  # no stride or offset in bytes leaves 64 bits


def shown(value: Any) -> str:
    """A value from a file as a message may have it; never the repr of a container, which may be made to explode."""
    if isinstance(value, str):
        return repr(value[:80])
    if type(value) is int and abs(value) < 2**64:
        return str(value)
    return f"an object of type {type(value).__name__}"


class Storage:
    """The memory of one or several tensors of a file, as ``map_location`` sees it: it lies on the CPU and stays there."""

    __slots__ = ("_bytes", "_other", "_writes", "kind", "location")

    def __init__(self, data: np.ndarray, kind: dtype | None, location: str) -> None:
        self._bytes, self.kind, self.location = _tidy(data, kind), kind, location
        self._writes = Version()  # one memory, one count of writes
        self._other: dict[str, Storage] = {}

    def fill(self, data: np.ndarray) -> None:
        """Set the bytes, of a storage that tensors have been made of before."""
        self._bytes[...] = _tidy(data, self.kind)
        self._other.clear()

    device = _dtypes.CPU

    def cpu(self) -> Storage:
        """The storage itself."""
        return self

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._bytes.size

    def cuda(self, *args: Any, **kwargs: Any) -> Storage:
        """Always an error, PyTorch's without a GPU: lamina computes on the CPU."""
        raise RuntimeError("map_location asked for memory of a CUDA device: lamina runs on the CPU only")

    def __repr__(self) -> str:
        return f"<lamina.serialization.Storage of {self.nbytes()} bytes, saved from {self.location!r}>"

    def view(self, kind: dtype, offset: Any, size: Any, strides: Any) -> np.ndarray:
        """The array at ``offset`` with the given strides, all in elements, once it is certain to lie inside."""
        shape, steps = _whole_numbers(size, "size"), _whole_numbers(strides, "strides")
        (start,) = _whole_numbers((offset,), "offset")
        if self.kind is not kind and (self.kind is not None or kind is _dtypes.bool):
            raise UnpicklingError(f"a tensor of {kind!r} in a storage of {self.kind!r}")
        if len(shape) != len(steps):
            raise UnpicklingError(f"a tensor with {len(shape)} sizes and {len(steps)} strides")
        item = kind.itemsize
        try:
            if 0 in shape:
                return np.empty(shape, kind.numpy)
            last = start + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
            if (last + 1) * item > self._bytes.size or max(steps, default=0) * item > MAX_BYTES:
                raise RuntimeError(
                    f"a tensor reaches out of its storage: size {list(shape)}, strides {list(steps)} and offset {start} need "
                    f"{(last + 1) * item} bytes, and the storage has {self._bytes.size}"
                )
            return np.ndarray(shape, kind.numpy, self._bytes, start * item, tuple(s * item for s in steps))
        except ValueError as error:  # NumPy's limit on the number of elements
            raise RuntimeError(f"a tensor of size {list(shape)} is too large: {error}") from error

    def tensor(self, kind: dtype, offset: Any, size: Any, strides: Any) -> Any:
        """The tensor over :meth:`view`."""
        t = wrap(self.view(kind, offset, size, strides))
        t._writes = self._writes
        return t

    def changed(self, how: str) -> Storage:
        """This memory conjugated (``conj``) or negated (``neg``): PyTorch saves such a tensor as a mark on its original.

        All tensors with the mark share the one result, as they would in PyTorch, and no file grows in memory beyond it.
        """
        if how not in self._other:
            if self.kind is None or self.kind.rank < 2:
                raise UnpicklingError(f"a tensor of {self.kind!r} that is marked {how!r}")
            values = self._bytes[: self._bytes.size // self.kind.itemsize * self.kind.itemsize].view(self.kind.numpy)
            result = np.conj(values) if how == "conj" else np.negative(values)
            self._other[how] = Storage(result.view(np.uint8), self.kind, self.location)
        return self._other[how]


def _tidy(data: np.ndarray, kind: dtype | None) -> np.ndarray:
    """Bytes as NumPy wants them: aligned (an archive may have been packed anew), and nothing but 0 and 1 in a bool."""
    if data.__array_interface__["data"][0] % 8:
        data = data.copy()
    if kind is _dtypes.bool and data.size and data.max() > 1:
        data = (data != 0).view(np.uint8)
    return data


def _whole_numbers(values: Any, what: str) -> tuple[int, ...]:
    """A tensor's geometry, which a file may give as anything."""
    if not isinstance(values, (tuple, list)) or len(values) > MAX_NDIM:
        raise UnpicklingError(f"a tensor's {what} must be a tuple of up to {MAX_NDIM} numbers, not {shown(values)}")
    for n in values:
        if type(n) is not int or not 0 <= n <= MAX_BYTES:
            raise UnpicklingError(f"a tensor's {what} must be made of numbers from 0 to 2**62, but there is {shown(n)}")
    return tuple(values)


# -- where a file's storages may go --------------------------------------------------------------------------------


class CallersError(Exception):
    """Carries what the caller's own function raised past the handlers for malformed files."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


Relocate = Callable[[Storage], Storage]


def relocator(map_location: Any) -> Relocate:
    """What ``load`` does with each storage, from its ``map_location``; raises if a storage would leave the CPU."""
    if map_location is None:
        return lambda storage: _to_cpu(storage, storage.location)
    if isinstance(map_location, (str, _dtypes.device)):
        return lambda storage: _to_cpu(storage, str(map_location))
    if isinstance(map_location, dict):
        return lambda storage: _to_cpu(storage, str(map_location.get(storage.location, storage.location)))
    if not callable(map_location):
        raise TypeError(f"map_location must be a device, a string, a dict or a function, not {type(map_location).__name__}")

    def relocate(storage: Storage) -> Storage:
        try:
            result = map_location(storage, storage.location)
            if result is not None and result is not storage:
                raise TypeError(f"map_location must return the storage it was given, or None, not {type(result).__name__}")
        except Exception as error:
            raise CallersError(error) from error
        return storage if result is storage else _to_cpu(storage, storage.location)

    return relocate


def _to_cpu(storage: Storage, location: str) -> Storage:
    if location.split(":")[0] != "cpu":
        raise RuntimeError(
            f"a tensor is to be loaded to {shown(location)} (it was saved from {shown(storage.location)}), and lamina "
            "runs on the CPU only: load with map_location='cpu'"
        )
    return storage


# -- grouping tensors for writing ----------------------------------------------------------------------------------


class Part:
    """A tensor on its way into a file: its array, and later the block it lies in and where (in elements)."""

    __slots__ = ("array", "block", "dtype", "end", "offset", "start")

    def __init__(self, array: np.ndarray) -> None:
        if any(s < 0 or s % array.itemsize for s in array.strides):
            array = np.ascontiguousarray(array)
        self.array, self.dtype = array, _dtypes.BY_NUMPY[array.dtype]
        self.start = array.__array_interface__["data"][0]
        reach = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
        self.end = self.start + (reach + array.itemsize if array.size else 0)
        self.block: Block
        self.offset = 0


class Block:
    """A run of memory that is written as one storage."""

    __slots__ = ("dtype", "end", "keep", "key", "start")

    def __init__(self, part: Part) -> None:
        self.start, self.end, self.dtype = part.start, part.end, part.dtype
        self.keep = part.array  # so that the memory lives as long as this
        self.key = ""

    @property
    def count(self) -> int:
        """How many elements it has."""
        return (self.end - self.start) // self.dtype.itemsize

    @property
    def elements(self) -> int:
        """How many elements PyTorch counts in it: bytes, for a dtype whose storages have no class of their own."""
        return self.count if self.dtype.name in STORAGES else self.end - self.start

    def bytes(self) -> np.ndarray:
        """The memory itself, not a copy."""
        return np.asarray(_Span(self.start, self.end - self.start)) if self.end > self.start else np.empty(0, np.uint8)


class _Span:
    """Memory at an address, for NumPy to look at."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.__array_interface__ = {"version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (address, True)}


def group(parts: Sequence[Part]) -> list[Block]:
    """Give every part its block: one for each run of overlapping arrays; returns the blocks, numbered as first used.

    PyTorch writes all of the memory that a view was cut from; this writes what the saved tensors reach over.

    Raises:
        RuntimeError: memory is shared by tensors of different dtypes, which the format cannot say.
    """
    block: Block | None = None
    for part in sorted(parts, key=lambda part: part.start):
        if block is None or part.start >= block.end or part.end == part.start:
            part.block = fresh = Block(part)
            if part.end > part.start:
                block = fresh
            continue
        part.block = block
        block.end = max(block.end, part.end)
        if part.dtype is not block.dtype or (part.start - block.start) % block.dtype.itemsize:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types: "
                f"{block.dtype!r} and {part.dtype!r}; clone() one of them"
            )
    blocks: dict[int, Block] = {}
    for part in parts:
        part.offset = (part.start - part.block.start) // part.dtype.itemsize
        blocks.setdefault(id(part.block), part.block)
    for i, b in enumerate(blocks.values()):
        b.key = str(i)
    return list(blocks.values())
