"""Names of types, as in ``torch.types``, for annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any, TypeAlias

from lamina._dtypes import Size, device, dtype, layout
from lamina._tensor import Tensor
from lamina.serialization.storage import Storage

__all__ = ["Device", "FileLike", "Number", "Storage"]

Number: TypeAlias = int | float | bool
_Number = (int, float, bool)
Device: TypeAlias = device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]

_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
_TensorOrOptionalTensors: TypeAlias = Tensor | Sequence[Tensor | None]
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_symsize = _size
_int, _float, _bool, _complex, _bytes, _str = int, float, bool, complex, bytes, str
_dtype, _device, _layout = dtype, device, layout
IntLikeType: TypeAlias = int
FloatLikeType: TypeAlias = float
BoolLikeType: TypeAlias = bool
PySymType: TypeAlias = Any
py_sym_types: tuple[type, ...] = ()
