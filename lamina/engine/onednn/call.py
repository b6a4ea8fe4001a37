"""The call of a primitive on arrays, in as few steps as Python can do it: 1.5 us beside what oneDNN itself takes.

A call puts the arrays' addresses into memory objects that were made before, and executes. Those objects are written to,
so a set of them is taken from a list of idle ones for the length of a call: as many sets come into being as threads
ever ran the primitive at once. The function is written out for its number of arrays by a template, as loops over two or
three things cost more than the things.
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from lamina.engine.memory import empty

from . import abi, threads
from .abi import Handle, check, create

SMALL_SCRATCH = 1 << 16     # scratch memory up to this size stays with its set, larger comes from the pool per call

_DATA = object.__basicsize__    # the array struct begins with the object header and then the data pointer
_pointer_at: Any = ctypes.c_void_p.from_address


def _fast_address(array: np.ndarray) -> int:
    return _pointer_at(id(array) + _DATA).value or 0


def _plain_address(array: np.ndarray) -> int:
    return array.ctypes.data


def _struct_as_expected() -> bool:
    probe = np.zeros((3, 4), np.float32)[1:]
    return _fast_address(probe) == probe.ctypes.data


# Ten times faster than `array.ctypes.data`, and only used where it is seen to give the same.
FAST = _struct_as_expected()
address: Callable[[np.ndarray], int] = _fast_address if FAST else _plain_address

_TEMPLATE = """
def run({arrays}):
    if local.count != count:
        tell(count)
    try:
        bound = idle.pop()
    except IndexError:
        bound = bind()
    {handles}, = bound[1]
    {addresses}
    if ({any_address}) & 3:
        {alignment}
    {settings}
    status = execute(primitive, stream, n, bound[0])
    idle.append(bound)
    if status:
        failed(status)
"""
_ADDRESS = "pointer_at(id({}) + DATA).value" if FAST else "address({})"


@cache
def _code(count: int, pooled: bool) -> CodeType:
    """The template's code for `count` arrays; with `pooled`, scratch memory comes from the pool as one more."""
    arrays = [f"x{i}" for i in range(count)]
    everything = arrays + ["room"] * pooled
    addresses = ["room = empty((needs,), uint8)"] * pooled
    addresses += [f"a_{x} = {_ADDRESS.format(x)}" for x in everything]
    source = _TEMPLATE.format(
        arrays=", ".join(arrays),
        handles=", ".join(f"h_{x}" for x in everything),
        addresses="\n    ".join(addresses),
        any_address=" | ".join(f"a_{x}" for x in arrays),
        alignment="\n        ".join(f"{x} = aligned({x}); a_{x} = {_ADDRESS.format(x)}" for x in arrays),
        settings="\n    ".join(f"set_handle(h_{x}, a_{x})" for x in everything),
    )
    return compile(source, f"<oneDNN call on {count} arrays>", "exec")


def prepare(
    primitive: Handle, name: str, engine: Handle, stream: Handle, count: int, args: Sequence[int | tuple[int, ...]],
    descs: Sequence[Any], needs: int, fixed: dict[int, np.ndarray],
) -> Callable[..., None]:
    """A function of arrays, one for each of `args`, that executes a primitive made for `count` threads.

    Several arguments in a tuple, of the same description, are one array.

    `descs` describes the arguments, then the scratch memory, where `needs` of its bytes are not 0, then those of `fixed`.
    """
    library = abi.library()
    set_handle = library.quick.dnnl_memory_set_data_handle
    order = (*args, *((abi.SCRATCHPAD,) if needs else ()), *fixed)
    pooled = needs > SMALL_SCRATCH
    per_call = len(args) + pooled
    groups = [some if isinstance(some, tuple) else (some,) for some in order]
    n = sum(map(len, groups))

    def bind() -> tuple[int, tuple[int, ...], Any]:
        """(address of the argument list, memory handles to set per call, what must stay alive)"""
        memories = [create("memory_create", d, engine, None, destroy="memory") for d in descs]
        handles = [m.value for m in memories]
        own = None
        if needs and not pooled:
            own = np.empty(needs + 64, np.uint8)
            set_handle(handles[len(args)], -(-own.ctypes.data // 64) * 64)
        for handle, array in zip(handles[len(order) - len(fixed):], fixed.values(), strict=True):
            set_handle(handle, array.ctypes.data)
        given = [abi.ExecArg(arg, handle) for some, handle in zip(groups, handles, strict=True) for arg in some]
        arguments = (abi.ExecArg * n)(*given)
        return ctypes.addressof(arguments), tuple(handles[:per_call]), (arguments, memories, own, primitive)

    def failed(status: int) -> None:
        check(status, f"primitive_execute ({name})")

    names: dict[str, Any] = {
        "local": threads.local, "tell": threads.tell, "count": count, "idle": [], "bind": bind, "failed": failed,
        "pointer_at": _pointer_at, "DATA": _DATA, "address": address, "aligned": aligned, "set_handle": set_handle,
        "execute": library.dll.dnnl_primitive_execute, "primitive": primitive.value, "stream": stream.value,
        "n": n, "empty": empty, "uint8": np.uint8, "needs": needs, "fixed": fixed,
    }
    exec(_code(len(args), pooled), names)
    return names.pop("run")     # not left in its own globals, which would be a cycle


def aligned(array: np.ndarray) -> np.ndarray:
    """`array`, or a copy that lies so if its elements lie across the boundaries of words.

    Such arrays come from a user's bytes and are only read; results are always made aligned.
    """
    if array.itemsize == 1 or not address(array) % array.itemsize:
        return array
    low, high = np.lib.array_utils.byte_bounds(array)
    room = np.empty((high - low) // array.itemsize, array.dtype)
    copy = np.lib.stride_tricks.as_strided(room, array.shape, array.strides)
    copy[...] = array
    return copy
