"""``FloatTensor``, ``LongTensor`` and their kin: tensor types by dtype, as older code names and makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import SCALAR_NAME, Size
from lamina._tensor import Tensor
from lamina.autograd import graph
from lamina.ops import creation


class TensorType(type):
    """The class of these types. An instance of one is any tensor of its dtype; calling one makes such a tensor."""

    dtype: _dtypes.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any, device: Any = None) -> Tensor:
        _dtypes.check_device(device)
        if len(args) == 1 and not isinstance(args[0], (int, np.integer, Size)):
            (data,) = args
            if not isinstance(data, Tensor):
                return _converted(data, cls.dtype)
            if data.dtype is not cls.dtype:
                raise TypeError(f"{cls.__name__}: expected a tensor of {cls.dtype}, but got one of {data.dtype}")
            return graph.alias(data)
        return creation.empty(creation.size_of(args), dtype=cls.dtype) if args else creation.empty(0, dtype=cls.dtype)


def _converted(data: Any, dtype: _dtypes.dtype) -> Tensor:
    if isinstance(data, (str, bytes)) or not hasattr(data, "__len__"):
        raise TypeError(f"{SCALAR_NAME[dtype]}Tensor takes sizes or a sequence, not {type(data).__name__}: {data!r}")
    return creation.tensor(data, dtype=dtype)


def _made(dtype: _dtypes.dtype, name: str) -> Any:
    doc = f"Tensors of :obj:`{dtype!r}`: ``{name}Tensor(2, 3)`` is uninitialised, ``{name}Tensor([1, 2])`` holds data."
    return TensorType(f"{name}Tensor", (), {"__module__": "torch", "__doc__": doc, "dtype": dtype})


TYPES: dict[str, Any] = {
    f"{name}Tensor": _made(dtype, name)
    for dtype, name in SCALAR_NAME.items()
    if name in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
}
globals().update(TYPES)

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
