"""A pickler for data: protocol 2, with the names that PyTorch reads, written without PyTorch.

It knows the kinds of objects that a checkpoint may hold, by their exact types, and refuses every other; so whatever it
writes, ``torch.load(weights_only=True)`` and :func:`lamina.load` read.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import PicklingError, UnpicklingError
from typing import Any

import numpy as np

from lamina._dtypes import Size, device, dtype, layout
from lamina._sparse import SparseTensor
from lamina._tensor import _BOOKKEEPING, Tensor
from lamina.autograd.graph import wrap
from lamina.nn.parameter import Buffer, Parameter, is_lazy
from lamina.random import Generator
from lamina.serialization.names import key_cost
from lamina.serialization.storage import STORAGES, Block, Part, group


class _Refusal(Exception):
    """An object that cannot be saved; on its way up it learns where it was."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path: list[str] = []


class Pickler:
    """Writes one object; ``blocks`` is then the memory that its tensors need."""

    blocks: list[Block]

    def __init__(self, legacy: bool = False) -> None:
        self._legacy = legacy  # whether persistent ids are those of the format before PyTorch 1.6
        self._out: list[bytes | Part] = []
        self._memo: dict[Any, int] = {}  # id of an object, or a string or a global's name → where it is kept
        self._alive: list[Any] = []  # objects whose ids are in the memo
        self._open: set[int] = set()  # containers that are being written and cannot be referred to yet
        self._parts: list[Part] = []

    def dump(self, obj: Any) -> bytes:
        """The pickle of ``obj``.

        Raises:
            PicklingError: something in it is not data.
            RuntimeError: tensors of different dtypes share memory.
        """
        try:
            self._save(obj)
        except _Refusal as refusal:
            raise PicklingError(f"lamina.save: obj{''.join(reversed(refusal.path))} is {refusal}") from None
        except RecursionError:
            raise PicklingError("lamina.save: the object is nested too deeply") from None
        self.blocks = group(self._parts)
        out = [x if isinstance(x, bytes) else _storage_code(x, self._legacy) for x in self._out]
        return b"\x80\2" + b"".join(out) + b"."

    # -- pieces of the program -------------------------------------------------------------------------------------

    def _emit(self, *codes: bytes) -> None:
        self._out.extend(codes)

    def _keep(self, key: Any) -> None:
        """Remember what is on top of the stack."""
        self._memo[key] = n = len(self._memo)
        self._emit(b"q" + bytes((n,)) if n < 256 else b"r" + struct.pack("<I", n))

    def _again(self, key: Any) -> bool:
        """Refer to what was kept before, if it was."""
        n = self._memo.get(key)
        if n is None:
            return False
        self._emit(b"h" + bytes((n,)) if n < 256 else b"j" + struct.pack("<I", n))
        return True

    def _global(self, name: str) -> None:
        if not self._again(("global", name)):
            module, _, attribute = name.rpartition(".")
            self._emit(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n")
            self._keep(("global", name))

    def _call(self, name: str, *arguments: Any) -> None:
        """The result of a call with arguments that are new objects."""
        self._global(name)
        for argument in arguments:
            self._save(argument)
        self._emit(_TUPLES[len(arguments)], b"R")

    # -- kinds of objects ------------------------------------------------------------------------------------------

    def _save(self, obj: Any) -> None:
        kind = type(obj)
        save = _SAVE.get(kind)
        if save is None:
            raise _Refusal(_why_not(obj))
        if kind in _PLAIN:
            save(self, obj)
        elif not self._again(id(obj)):
            if id(obj) in self._open:
                raise _Refusal(f"a {kind.__name__} that contains itself")
            self._open.add(id(obj))
            self._alive.append(obj)
            save(self, obj)
            self._open.discard(id(obj))

    def _begin(self, obj: Any) -> None:
        """Keep a container that is still empty, so that its content may refer to it."""
        self._keep(id(obj))
        self._open.discard(id(obj))

    def _constant(self, obj: Any) -> None:
        self._emit({None: b"N", True: b"\x88", False: b"\x89"}[obj])

    def _text(self, text: str) -> None:
        if not self._again(("text", text)):
            self._emit(_text_code(text))
            self._keep(("text", text))

    def _bytes(self, data: bytes) -> None:
        """Protocol 2 has no bytes: they are text that is encoded again."""
        self._global("_codecs.encode")
        self._emit(_text_code(data.decode("latin1")))
        self._text("latin1")
        self._emit(b"\x86R")

    def _bytearray(self, data: bytearray) -> None:
        self._call("builtins.bytearray", bytes(data))
        self._keep(id(data))

    def _items(self, obj: Any, each: Callable[[Any], None]) -> None:
        for i, x in enumerate(obj):
            try:
                each(x)
            except _Refusal as refusal:
                refusal.path.append(f"[{i}]")
                raise

    def _list(self, items: list) -> None:
        self._emit(b"]")
        self._begin(items)
        if items:
            self._emit(b"(")
            self._items(items, self._save)
            self._emit(b"e")

    def _tuple(self, items: tuple) -> None:
        if not items:
            self._emit(b")")
            return
        if len(items) > 3:
            self._emit(b"(")
        self._items(items, self._save)
        self._emit(_TUPLES.get(len(items), b"t"))
        self._keep(id(items))

    def _dict(self, items: dict) -> None:
        self._emit(b"}")
        self._begin(items)
        self._set_items(items)

    def _set_items(self, items: Any) -> None:
        if items:
            self._emit(b"(")
            for key, value in items.items():
                try:
                    self._key(key)
                    self._save(value)
                except _Refusal as refusal:
                    refusal.path.append(f"[{key!r}]" if isinstance(key, (str, int)) else f"[a {type(key).__name__}]")
                    raise
            self._emit(b"u")

    def _key(self, key: Any) -> None:
        try:
            key_cost(key)
        except UnpicklingError as error:
            raise _Refusal(f"not to be loaded again: {error}") from None
        self._save(key)

    def _ordered(self, items: OrderedDict) -> None:
        self._call("collections.OrderedDict")
        self._begin(items)
        self._set_items(items)
        if vars(items):  # a state dict's _metadata
            self._attributes(vars(items))
            self._emit(b"b")

    def _counter(self, counts: Counter) -> None:
        self._call("collections.Counter", dict(counts))
        self._keep(id(counts))

    def _set(self, items: set) -> None:
        self._global("builtins.set")
        self._emit(b"](")
        self._items(items, self._key)
        self._emit(b"e\x85R")
        self._keep(id(items))

    def _tensor(self, t: Any) -> None:
        kind, attributes = type(t), {name: v for name, v in vars(t).items() if name not in _BOOKKEEPING}
        if kind is Buffer:
            attributes["_is_buffer"] = True
        part = Part(t._plain())
        self._parts.append(part)
        if kind is Parameter:
            self._global("torch._utils._rebuild_parameter" + ("_with_state" if attributes else ""))
            self._emit(b"(")
            self._rebuild(part)
            self._arguments(part, False)
            self._emit(b"R")
            self._constant(t.requires_grad)
            self._call("collections.OrderedDict")  # its hooks: functions, so always none
        elif attributes:
            self._global("torch._tensor._rebuild_from_type_v2")
            self._emit(b"(")
            self._rebuild(part)
            self._global("torch.Tensor")
            self._arguments(part, t.requires_grad)
        else:
            self._rebuild(part)
            self._arguments(part, t.requires_grad)
            self._emit(b"R")
            self._keep(id(t))
            return
        if attributes:
            self._attributes(attributes)
        self._emit(b"tR")
        self._keep(id(t))

    def _sparse(self, t: Any) -> None:
        """Its indices, values and size."""
        self._global("torch._utils._rebuild_sparse_tensor")
        self._save(t.layout)
        self._emit(b"(")
        for part in (wrap(t._places), wrap(t._values_at)):
            self._alive.append(part)  # its id must not be another's
            self._save(part)
        self._save(t.shape)
        self._constant(t.is_coalesced())
        self._emit(b"t\x86R")
        self._keep(id(t))

    def _rebuild(self, part: Part) -> None:
        self._global(f"torch._utils._rebuild_tensor_v{2 if part.dtype.name in STORAGES else 3}")

    def _arguments(self, part: Part, requires_grad: bool) -> None:
        """What makes a tensor again: where its memory is, which is known only when all tensors are, and its geometry."""
        name = part.dtype.name
        self._emit(b"((")
        self._text("storage")
        self._global(f"torch.{STORAGES[name]}" if name in STORAGES else "torch.storage.UntypedStorage")
        self._out.append(part)
        for numbers in (part.array.shape, wrap(part.array).stride()):
            self._tuple_of_ints(numbers)
        self._constant(requires_grad)
        self._call("collections.OrderedDict")
        if name not in STORAGES:
            self._global(f"torch.{name}")
        self._emit(b"t")

    def _tuple_of_ints(self, numbers: tuple[int, ...]) -> None:
        codes = b"".join(map(_int_code, numbers))
        self._emit(codes + _TUPLES[len(numbers)] if len(numbers) <= 3 else b"(" + codes + b"t")

    def _attributes(self, attributes: dict[str, Any]) -> None:
        self._emit(b"}(")
        for name, value in attributes.items():
            try:
                self._text(name)
                self._save(value)
            except _Refusal as refusal:
                refusal.path.append(f".{name}")
                raise
        self._emit(b"u")


def _int_code(n: int) -> bytes:
    if 0 <= n < 256:
        return b"K" + bytes((n,))
    if -(2**31) <= n < 2**31:
        return b"J" + struct.pack("<i", n)
    size = n.bit_length() // 8 + 1
    if size > 255:
        raise _Refusal(f"an int of {n.bit_length()} bits, and PyTorch reads those of up to 2039 bits")
    return b"\x8a" + bytes((size,)) + n.to_bytes(size, "little", signed=True)


def _text_code(text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) >= 2**32:
        raise _Refusal("a string of 4 GB or more")
    return b"X" + struct.pack("<I", len(data)) + data


def _storage_code(part: Part, legacy: bool) -> bytes:
    """The rest of a storage's persistent id, the opcode that looks it up, and the tensor's offset in it."""
    block = part.block
    end = b"NtQ" if legacy else b"tQ"
    return _text_code(block.key) + _text_code("cpu") + _int_code(block.elements) + end + _int_code(part.offset)


def _why_not(obj: Any) -> str:
    kind = type(obj)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if hasattr(obj, "state_dict"):
        hint = "save its state_dict() and load that into a new one with load_state_dict()"
    elif isinstance(obj, Generator):
        hint = "save its get_state()"
    elif isinstance(obj, np.generic):
        hint = "save the Python number that .item() gives"
    elif isinstance(obj, np.ndarray):
        hint = "save lamina.from_numpy() of it"
    elif is_lazy(obj):
        hint = "call its module once, so that its shape is known"
    elif isinstance(obj, Tensor):
        hint = "save its detach(), which is a plain tensor"
    elif isinstance(obj, frozenset):
        hint = "save it as a set"
    elif (base := next((b for b in kind.__mro__ if b in _SAVE), None)) is not None:
        hint = f"save it as {base.__name__}"
    else:
        hint = "save the data that it is made of"
    return f"of type {name}, and only data can be saved (tensors, numbers, strings, and containers of them): {hint}"


_TUPLES = {0: b")", 1: b"\x85", 2: b"\x86", 3: b"\x87"}

# Kinds that are written again each time, since nobody can tell; the others are kept, so that one object stays one.
_PLAIN: dict[type, Callable[[Pickler, Any], None]] = {
    type(None): Pickler._constant,
    bool: Pickler._constant,
    int: lambda p, n: p._emit(_int_code(n)),
    float: lambda p, x: p._emit(b"G" + struct.pack(">d", x)),
    complex: lambda p, z: p._call("builtins.complex", z.real, z.imag),
    dtype: lambda p, d: p._global(f"torch.{d.name}"),
    device: lambda p, d: p._call("torch.device", *((d.type,) if d.index is None else (d.type, d.index))),
    layout: lambda p, form: p._call("torch.serialization._get_layout", f"torch.{form.name}"),
    Size: lambda p, size: p._call("torch.Size", tuple(size)),
}
_SAVE: dict[type, Callable[[Pickler, Any], None]] = _PLAIN | {
    str: Pickler._text,
    bytes: Pickler._bytes,
    bytearray: Pickler._bytearray,
    list: Pickler._list,
    tuple: Pickler._tuple,
    dict: Pickler._dict,
    OrderedDict: Pickler._ordered,
    Counter: Pickler._counter,
    set: Pickler._set,
    Tensor: Pickler._tensor,
    Parameter: Pickler._tensor,
    Buffer: Pickler._tensor,
    SparseTensor: Pickler._sparse,
}
