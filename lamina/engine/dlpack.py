"""Sharing memory by DLPack where NumPy's own exchange stops: at types that NumPy has no name for.

A bfloat16 array goes out as the integers over its bits, in a capsule whose type is then corrected; one that comes in is
taken as integers and looked at as bfloat16. The layout of the structures is dlpack.h's, which is frozen.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from lamina import _dtypes

# kDLInt, kDLUInt, and the codes of what NumPy does not exchange.
_CODES = {
    "bfloat16": 4, "float8_e4m3fn": 10, "float8_e4m3fnuz": 11, "float8_e5m2": 12, "float8_e5m2fnuz": 13,
}  # fmt: skip
_NAMES = {code: name for name, code in _CODES.items()}
_UNSIGNED = 1

# A capsule's name → how far the code of the type is from the start of the structure that it holds.
_AT = {b"dltensor": 8 + 8 + 4, b"dltensor_versioned": 8 + 8 + 8 + 8 + 8 + 8 + 4}

_api = ctypes.pythonapi
_api.PyCapsule_GetName.restype, _api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _code(capsule: Any) -> Any:
    """The byte that says the kind of number in a capsule's tensor, to read or to write; ``None`` for an unknown capsule."""
    name = _api.PyCapsule_GetName(capsule)
    if name not in _AT:
        return None
    return ctypes.c_uint8.from_address(_api.PyCapsule_GetPointer(capsule, name) + _AT[name])


def export(a: np.ndarray, **settings: Any) -> Any:
    """The DLPack capsule of an array."""
    code = _CODES.get(a.dtype.name)
    if code is None:
        return a.__dlpack__(**settings)
    capsule = a.view(f"u{a.itemsize}").__dlpack__(**settings)
    _code(capsule).value = code
    return capsule


class _Once:
    """An object with one capsule to give."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self.capsule, self.device = capsule, device

    def __dlpack__(self, **settings: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def take(source: Any) -> np.ndarray:
    """The array over the memory of an object that speaks DLPack."""
    if not hasattr(source, "__dlpack__"):
        return np.from_dlpack(source)
    device = source.__dlpack_device__()
    try:
        capsule = source.__dlpack__(max_version=(1, 0))
    except TypeError:  # an object that knows no versions yet
        capsule = source.__dlpack__()
    code = _code(capsule)
    name = None if code is None else _NAMES.get(code.value)
    if name is None:
        return np.from_dlpack(_Once(capsule, device))
    code.value = _UNSIGNED
    return np.from_dlpack(_Once(capsule, device)).view(getattr(_dtypes, name).numpy)
