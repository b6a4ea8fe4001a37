"""The memory of tensors as an object, as in ``torch.storage``: who shares it, how large it is, what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina.autograd import graph
from lamina.autograd.graph import Variable
from lamina.ops.shape import strided

__all__ = ["TypedStorage", "UntypedStorage"]


def memory_of(x: Variable) -> np.ndarray:
    """All of the memory that a tensor looks into, as bytes."""
    a = (x._base if x._base is not None else x)._plain()
    base: Any = a
    while base is not None:  # views of an alias know their memory through NumPy alone
        base = getattr(base, "base", None)
        if isinstance(base, np.ndarray) and base.dtype == a.dtype and base.flags.forc:
            a = base
    if not a.flags.c_contiguous:
        a = a.transpose(sorted(range(a.ndim), key=lambda d: -a.strides[d]))
    if not a.flags.c_contiguous:  # a part of somebody else's array: as far as it reaches
        span = 1 + sum((n - 1) * abs(s) // a.itemsize for n, s in zip(a.shape, a.strides, strict=True)) if a.size else 0
        a = strided(a, (span,), (a.itemsize,))
    return a.reshape(-1).view(np.uint8)


class UntypedStorage:
    """Bytes that tensors share. ``UntypedStorage(n)`` makes n new ones; ``tensor.untyped_storage()`` those of a tensor."""

    device = _dtypes.CPU
    is_cuda = is_sparse = False

    def __init__(self, size: Any = 0, *, device: Any = None) -> None:
        _dtypes.check_device(device)
        if isinstance(size, np.ndarray):
            self._bytes = size
        elif isinstance(size, int):
            self._bytes = np.empty(size, np.uint8)
        else:
            self._bytes = np.array(list(size), np.uint8)

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._bytes.size

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return self._bytes.__array_interface__["data"][0]

    def element_size(self) -> int:
        """1: elements are bytes."""
        return 1

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return self._bytes.tolist()

    def __getitem__(self, index: Any) -> Any:
        return UntypedStorage(self._bytes[index]) if isinstance(index, slice) else int(self._bytes[index])

    def __setitem__(self, index: Any, value: int) -> None:
        self._bytes[index] = value

    def __iter__(self) -> Iterator[int]:
        return iter(self.tolist())

    def copy_(self, source: Any, non_blocking: bool | None = None) -> UntypedStorage:
        """Take the bytes of another storage of this size."""
        if source.nbytes() != self.nbytes():
            raise RuntimeError(f"size does not match, self was {self.nbytes()} bytes but src was {source.nbytes()} bytes")
        self._bytes[...] = source.untyped()._bytes
        return self

    def fill_(self, value: int) -> UntypedStorage:
        """Set all bytes."""
        self._bytes[...] = value
        return self

    def clone(self) -> UntypedStorage:
        """A copy."""
        return UntypedStorage(self._bytes.copy())

    def untyped(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def cpu(self) -> UntypedStorage:
        """The storage itself."""
        return self

    def is_shared(self) -> bool:
        return False

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def __repr__(self) -> str:
        return "".join(f" {b}\n" for b in self.tolist()) + f"[torch.storage.UntypedStorage(device=cpu) of size {self.size()}]"


class TypedStorage:
    """Elements of one dtype that tensors share; older code's view of an :class:`UntypedStorage`."""

    device = _dtypes.CPU
    is_cuda = is_sparse = False

    def __init__(self, *args: Any, wrap_storage: UntypedStorage | None = None, dtype: Any = None, device: Any = None) -> None:
        _dtypes.check_device(device)
        self.dtype = _dtypes.get_default_dtype() if dtype is None else dtype
        if wrap_storage is not None:
            self._untyped = wrap_storage
        elif args and isinstance(args[0], int):
            self._untyped = UntypedStorage(args[0] * self.dtype.itemsize)
        else:
            data = np.asarray(args[0] if args else [], self.dtype.numpy)
            self._untyped = UntypedStorage(np.ascontiguousarray(data).reshape(-1).view(np.uint8))

    @property
    def _elements(self) -> np.ndarray:
        raw = self._untyped._bytes
        return raw[: raw.size // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype.numpy)

    def size(self) -> int:
        """The number of elements."""
        return self._elements.size

    __len__ = size

    def nbytes(self) -> int:
        """The size in bytes."""
        return self._untyped.nbytes()

    def element_size(self) -> int:
        """The bytes of an element."""
        return self.dtype.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._untyped.data_ptr()

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped

    def tolist(self) -> list[Any]:
        """The elements as numbers."""
        return self._elements.tolist()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._elements[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())

    def copy_(self, source: Any, non_blocking: bool | None = None) -> TypedStorage:
        """Take the elements of another storage."""
        self._elements[...] = source._elements if isinstance(source, TypedStorage) else source.untyped()._bytes
        return self

    def fill_(self, value: Any) -> TypedStorage:
        """Set all elements."""
        self._elements[...] = value
        return self

    def clone(self) -> TypedStorage:
        """A copy."""
        return TypedStorage(wrap_storage=self._untyped.clone(), dtype=self.dtype)

    def cpu(self) -> TypedStorage:
        """The storage itself."""
        return self

    def is_shared(self) -> bool:
        return False

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def pickle_storage_type(self) -> str:
        """The name of the type in checkpoints, such as ``FloatStorage``."""
        return f"{_dtypes.SCALAR_NAME[self.dtype]}Storage"

    def __repr__(self) -> str:
        lines = "".join(f" {v}\n" for v in self.tolist())
        return f"{lines}[torch.storage.TypedStorage(dtype={self.dtype}, device=cpu) of size {self.size()}]"


def of_tensor(x: Variable) -> UntypedStorage:
    """The storage of a tensor; what is written through it is seen by no version check."""
    graph.expose(x)
    return UntypedStorage(memory_of(x))


def set_tensor(x: Variable, source: Any, storage_offset: int, size: Any, stride: Any) -> Variable:
    """Let ``x`` look into other memory."""
    if x._requires and graph.mode.enabled:
        raise RuntimeError("set_: a tensor that requires grad cannot change its memory in place; use .data or no_grad()")
    if source is None:
        x._a, x._hidden = np.empty(0, x._a.dtype), False
        return x
    if isinstance(source, Variable):
        if source._a.dtype != x._a.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {_dtypes.BY_NUMPY[source._a.dtype]!r} to a tensor of type "
                f"{_dtypes.BY_NUMPY[x._a.dtype]!r}"
            )
        if size is None:
            x._a, x._hidden = source._plain(), False
            source._writes = x._writes = source._writes or graph.Version()
            return x
        source = of_tensor(source)
    raw = source.untyped()._bytes
    item = x._a.itemsize
    shape = (raw.size // item - storage_offset,) if size is None else tuple(size)
    steps = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        steps[i] = steps[i + 1] * max(shape[i + 1], 1)
    steps = list(stride) if stride else steps
    last = storage_offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    if 0 not in shape and (last + 1) * item > raw.size:
        raise RuntimeError(
            f"setStorage: sizes {list(shape)}, strides {steps}, storage offset {storage_offset}, and itemsize {item} requiring a "
            f"storage size of {(last + 1) * item} are out of bounds for storage of size {raw.size}"
        )
    x._a = np.ndarray(shape, x._a.dtype, raw, storage_offset * item, tuple(s * item for s in steps))
    x._hidden = False
    graph.expose(x)
    return x
