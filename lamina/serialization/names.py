"""What a checkpoint's pickle may name, on both sides, and how a tensor is made of what it says."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np

from lamina import _dtypes
from lamina._dtypes import Size, device, dtype
from lamina._sparse import sparse_coo_tensor
from lamina._tensor import _BOOKKEEPING, Tensor
from lamina.nn.parameter import Buffer, Parameter
from lamina.serialization import trusted
from lamina.serialization.storage import STORAGES, Storage, shown
from lamina.serialization.trusted import Trusted


class StorageType(NamedTuple):
    """The kind of a storage: the dtype of its elements, or ``None`` for plain bytes."""

    dtype: dtype | None

    @property
    def itemsize(self) -> int:
        return 1 if self.dtype is None else self.dtype.itemsize


class Call(NamedTuple):
    """A name that a pickle may call with arguments: always one of the functions below."""

    name: str
    function: Callable[..., Any]
    hashes: bool = False  # whether it takes, before the arguments, a function that checks what is to be hashed


def expect(value: Any, kind: type | tuple[type, ...], what: str) -> None:
    """``value`` must be of exactly one of the types: a subclass could bring code of its own."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if type(value) not in kinds:
        names = " or ".join(k.__name__ for k in kinds)
        raise UnpicklingError(f"{what} must be {names}, not {type(value).__name__}")


def storage_facts(pid: Any, n: int) -> tuple[Any, ...]:
    """A persistent id's facts on a storage: its type, key, location, number of elements, and what else there is of ``n``."""
    expect(pid, tuple, "a persistent id")
    if len(pid) != n or pid[0] != "storage":
        raise UnpicklingError(f"a persistent id that does not give {n} facts on a storage")
    for value, kind in zip(pid[1:], (StorageType, str, str, int), strict=False):
        expect(value, kind, "a fact on a storage")
    return pid[1:]


def check_again(storage: Storage, kind: StorageType, key: str, nbytes: int) -> None:
    """Raise unless a storage that is named again is as it was."""
    if storage.kind is not kind.dtype or storage.nbytes() != nbytes:
        raise UnpicklingError(f"storage {shown(key)} is used with two sizes or dtypes")


# -- keys ----------------------------------------------------------------------------------------------------------

_ATOMS = (str, bytes, bool, int, float, complex, type(None), dtype, device)
_MAX_DEPTH = 32  # of tuples as keys: hashing them recurses


def key_cost(key: Any, limit: int = 1_000_000) -> int:
    """The work of hashing a key of a dict or an element of a set; raises if it is nothing that may be one, or above the limit.

    A tuple may hold another many times, and that another, and so on: small to write, and endless to hash.
    """
    cost, todo = 0, [(key, 0)]
    while todo:
        x, depth = todo.pop()
        kind = type(x)
        cost += 1
        if kind is str or kind is bytes:
            cost += len(x)
        elif kind is int:
            cost += x.bit_length() // 8
        elif kind is tuple or kind is Size or kind is frozenset:
            if depth == _MAX_DEPTH or cost + len(x) > limit:
                raise UnpicklingError("a key that is a very large or deep tuple")
            todo.extend([(part, depth + 1) for part in x])
        elif kind not in _ATOMS and (depth or not isinstance(x, Tensor)):
            raise UnpicklingError(f"{kind.__name__} cannot be a key or an element of a set")
        if cost > limit:
            raise UnpicklingError("a key that is a very large or deep tuple")
    return cost


Check = Callable[[Any], None]

# -- functions that a pickle may call: each checks what it is given ------------------------------------------------


def _tensor(
    storage: Any, kind: Any, offset: Any, size: Any, stride: Any, requires_grad: Any = False, hooks: Any = None, marks: Any = None
) -> Any:  # fmt: skip
    expect(storage, Storage, "a tensor's storage")
    expect(requires_grad, bool, "requires_grad")
    _no_hooks(hooks)
    if marks is not None:
        expect(marks, dict, "a tensor's metadata")
        for mark, on in marks.items():
            if mark not in ("conj", "neg"):
                raise UnpicklingError(f"a tensor has unknown metadata: {shown(mark)}")
            if on:
                storage = storage.changed(mark)
    t = storage.tensor(kind, offset, size, stride)
    if requires_grad:
        t.requires_grad_(True)
    return t


def _no_hooks(hooks: Any) -> None:
    if hooks:
        raise UnpicklingError("a tensor with hooks: functions are never loaded")


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    expect(storage, Storage, "a tensor's storage")
    if storage.kind is None:
        raise UnpicklingError("a tensor in untyped storage needs a dtype")
    return _tensor(storage, storage.kind, offset, size, stride, *rest)


def _rebuild_with_dtype(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, kind: Any, marks: Any = None
) -> Any:  # fmt: skip
    expect(kind, dtype, "a tensor's dtype")
    return _tensor(storage, kind, offset, size, stride, requires_grad, hooks, marks)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Any:
    expect(data, Tensor, "a parameter's data")
    expect(requires_grad, bool, "requires_grad")
    _no_hooks(hooks)
    return set_attributes(Parameter(data, requires_grad), state)


def _rebuild_from_type(rebuild: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor that had attributes of its own; a buffer is one."""
    if not isinstance(rebuild, Call) or rebuild.function not in (_rebuild_tensor, _rebuild_with_dtype):
        raise UnpicklingError("a tensor with attributes must be made by one of the functions that make tensors")
    own = kind.object if isinstance(kind, Trusted) else None
    if kind is not TENSOR and not (isinstance(own, type) and issubclass(own, Tensor)):
        raise UnpicklingError(
            "a tensor of a class of its own: only Tensor, Parameter and Buffer, and what add_safe_globals() was given, can be "
            "loaded"
        )
    expect(arguments, tuple, "a tensor's arguments")
    t = rebuild.function(*arguments)
    if own is not None:
        t = _as(own, t)
    if type(state) is dict and state.get("_is_buffer") is True:
        persistent: Any = state.get("persistent")
        expect(persistent, bool, "a buffer's persistence")
        t = Buffer(t, persistent=persistent)
        state = {name: value for name, value in state.items() if name not in ("_is_buffer", "persistent")}
    return set_attributes(t, state)


def _as(kind: type, t: Any) -> Any:
    """A tensor as one of a subclass, over the same memory."""
    twin: Any = object.__new__(kind)
    twin._a, twin._writes, twin._requires = t._a, t._writes, t._requires
    return twin


def _rebuild_sparse(layout: Any, data: Any) -> Any:
    """A sparse tensor of indices, values and size, all of which are checked: also that what is called coalesced is so."""
    if layout is not _dtypes.sparse_coo:
        raise RuntimeError("the file holds a sparse tensor of a layout that lamina does not have: only sparse_coo can be loaded")
    expect(data, tuple, "a sparse tensor's data")
    indices, values, size, *rest = data
    expect(indices, Tensor, "a sparse tensor's indices")
    expect(values, Tensor, "a sparse tensor's values")
    expect(size, Size, "a sparse tensor's size")
    if indices.dtype is not _dtypes.int64 or any(n < 0 or n > 2**62 for n in size) or len(rest) > 1:
        raise UnpicklingError("a sparse tensor whose indices are not int64, or whose size is no size")
    t = sparse_coo_tensor(indices, values, size)
    if rest and rest[0] is True:
        sorted_places = indices._a[:, np.lexsort(indices._a[::-1])] if indices._a.size else indices._a
        if not np.array_equal(sorted_places, indices._a) or (np.diff(indices._a, axis=1) == 0).all(0).any():
            raise UnpicklingError("a sparse tensor that is marked as coalesced, and is not")
        t = sparse_coo_tensor(indices, values, size, is_coalesced=True)
    return t


def set_attributes(target: Any, state: Any) -> Any:
    """Give an object what it had in ``__dict__``, as long as that hides nothing of its class."""
    if state is None:
        return target
    expect(state, dict, f"the attributes of {type(target).__name__}")
    for name in state:
        expect(name, str, "an attribute's name")
        if hasattr(type(target), name) or name in _BOOKKEEPING:
            raise UnpicklingError(f"the attribute {shown(name)} would replace one of {type(target).__name__} itself")
    target.__dict__.update(state)
    return target


def _make_bytes(text: Any, encoding: Any) -> bytes:
    expect(text, str, "encoded bytes")
    if encoding not in ("latin1", "latin-1"):
        raise UnpicklingError(f"bytes in an unknown encoding, {shown(encoding)}: pickles write them in latin1")
    return text.encode("latin1")


def _make_empty_bytes() -> bytes:
    return b""


def _make_bytearray(*arguments: Any) -> bytearray:
    if len(arguments) == 2:
        return bytearray(_make_bytes(*arguments))
    for data in arguments:
        expect(data, bytes, "a bytearray's content")
    return bytearray(*arguments)


def _make_complex(real: Any, imag: Any) -> complex:
    for part in (real, imag):
        expect(part, (float, int), "a part of a complex number")
    return complex(real, imag)


def _make_size(numbers: Any) -> Size:
    expect(numbers, tuple, "a size")
    for n in numbers:
        expect(n, int, "an entry of a size")
    return Size(numbers)


def _make_device(kind: Any, index: Any = None) -> device:
    expect(kind, str, "a device")
    if index is not None and not (type(index) is int and 0 <= index < 2**15):
        raise UnpicklingError(f"a device's index must be a small number, not {shown(index)}")
    return device(kind[:40], index)


def _make_layout(name: Any) -> Any:
    if name not in ("torch.strided", "torch.sparse_coo"):
        raise UnpicklingError(f"the layout {shown(name)}: lamina's tensors are strided or sparse_coo")
    return _dtypes.strided if name == "torch.strided" else _dtypes.sparse_coo


def _make_set(check: Check, items: Any = ()) -> set:
    expect(items, (list, tuple), "a set's content")
    for item in items:
        check(item)
    return set(items)


def _make_frozenset(check: Check, items: Any = ()) -> frozenset:
    return frozenset(_make_set(check, items))


def _make_ordered(check: Check, items: Any = ()) -> OrderedDict:
    expect(items, (list, tuple, dict), "an OrderedDict's content")
    if type(items) is not dict:  # Python 2 wrote pairs
        for item in items:
            expect(item, (list, tuple), "an item")
            check(item[0])
    return OrderedDict(items)


def _make_counter(check: Check, counts: Any = ()) -> Counter:
    expect(counts, (dict, tuple), "a Counter's content")
    for key in counts:
        check(key)
    return Counter(counts)


# -- the names -----------------------------------------------------------------------------------------------------

TENSOR = Call("torch.Tensor", lambda: None)  # a name that stands for itself: it is compared, never called

ALLOWED: dict[str, Any] = {f"torch.{d.name}": d for d in _dtypes.ALL}
ALLOWED |= {f"torch.{STORAGES[d.name]}": StorageType(d) for d in _dtypes.ALL if d.name in STORAGES}
ALLOWED["torch.storage.UntypedStorage"] = StorageType(None)
_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_with_dtype,
    "torch._utils._rebuild_sparse_tensor": _rebuild_sparse,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.serialization._get_layout": _make_layout,
    "torch.Size": _make_size,
    "torch.device": _make_device,
    "_codecs.encode": _make_bytes,
    "builtins.complex": _make_complex,
    "builtins.bytearray": _make_bytearray,
    "builtins.bytes": _make_empty_bytes,
}
_HASHING: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _make_ordered,
    "collections.Counter": _make_counter,
    "builtins.set": _make_set,
    "builtins.frozenset": _make_frozenset,
}
for _path, _function in (_CALLS | _HASHING).items():
    ALLOWED[_path] = Call(_path, _function, _path in _HASHING)
    ALLOWED[_path.replace("builtins.", "__builtin__.")] = ALLOWED[_path]  # Python 2's name, which protocol 2 uses
ALLOWED["torch.Tensor"] = TENSOR

# What PyTorch has besides: no attack, but not to be had here.
_OTHER_DTYPE = re.compile(
    r"torch\.(float8_\w+|float4_\w+|complex32|q?u?int\d+\w*|bits\w+|(cuda\.)?\w+Storage|storage\.\w+Storage)"
)
_OTHER_TENSOR = re.compile(r"torch\._utils\._rebuild_\w+|torch\.sparse\w*(\.\w+)*")


def look_up(module: str, name: str) -> Any:
    """What a pickle's global stands for; nothing is ever imported.

    Raises:
        UnpicklingError: the name is none of the few that stand for data.
        RuntimeError: it stands for a kind of tensor that PyTorch has and lamina has not.
    """
    path = f"{module}.{name}"
    found = ALLOWED.get(path)
    if found is not None:
        return found
    own = trusted.look_up(path)
    if own is not None:
        return own
    if len(path) < 80 and _OTHER_DTYPE.fullmatch(path):
        raise RuntimeError(
            f"the file holds {path}, a dtype that lamina does not have yet; convert the tensors in PyTorch first, for example "
            "with .float()"
        )
    if len(path) < 80 and _OTHER_TENSOR.fullmatch(path):
        raise RuntimeError(f"the file holds a kind of tensor that lamina does not have ({path}): only dense ones can be loaded")
    raise UnpicklingError(
        f"the file names {path[:200]!r}, which is not data: lamina loads tensors, numbers, strings and containers of them, and "
        "never runs code from a file. Save a module's state_dict() instead of the module, or, if this name is safe with any "
        "arguments, load within lamina.serialization.safe_globals([...])"
    )
