"""What an object is: its name for messages, and whether it is a tensor, of PyTorch's too."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.ops.creation import from_numpy

__all__ = ["as_own_tensor", "typename"]


def typename(obj: Any) -> str:
    """The type of `obj` as error messages give it: `int`, `collections.OrderedDict`, `torch.FloatTensor`."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    cls = obj if isinstance(obj, type) else type(obj)
    return cls.__qualname__ if cls.__module__ in ("builtins", "") else f"{cls.__module__}.{cls.__qualname__}"


def as_own_tensor(value: Any) -> Tensor | None:
    """`value` as a tensor if it is one, of ours or of PyTorch's; None otherwise (an array is not taken for one).

    A state dict that PyTorch made in the same process holds tensors of PyTorch's.
    """
    if isinstance(value, Tensor):
        return value
    if hasattr(type(value), "__torch_function__"):
        return from_numpy(value.detach().cpu().numpy())
    return None
