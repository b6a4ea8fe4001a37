"""``torch.onnx.operators``: shapes as tensors, which an export could follow."""

from __future__ import annotations

from typing import Any

from lamina import ops
from lamina._dtypes import int64

__all__ = ["reshape_from_tensor_shape", "shape_as_tensor"]


def shape_as_tensor(x: Any) -> Any:
    """The sizes as an int64 tensor."""
    return ops.tensor(list(x.shape), dtype=int64)


def reshape_from_tensor_shape(x: Any, shape: Any) -> Any:
    """``x`` with the sizes that a tensor holds."""
    return x.reshape(shape.tolist())

