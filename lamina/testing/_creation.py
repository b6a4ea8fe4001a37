"""``make_tensor``: random tensors of any dtype and shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina import _dtypes, ops
from lamina._tensor import Tensor


def make_tensor(
    *shape: Any, dtype: _dtypes.dtype, device: Any = None, low: float | None = None, high: float | None = None,
    requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Tensor:  # fmt: skip
    """A tensor of the given shape and dtype with numbers drawn evenly from [low, high).

    Without bounds: 0 and 1 for bool, 0 … 9 for uint8, −9 … 9 for integers, [−9, 9) for floating and complex numbers (for their
    parts). ``exclude_zero`` moves zeros to the smallest number above; ``noncontiguous`` leaves gaps in memory.

    Raises:
        ValueError: ``low`` not below ``high``, or both flags of memory order.
        RuntimeError: gradients of integers, or a device that is not here.
    """
    if len(shape) == 1 and isinstance(shape[0], Sequence):
        shape = tuple(shape[0])
    _dtypes.check_device("cpu" if device is None else device)
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
            f"{noncontiguous=} and {memory_format=}"
        )
    if requires_grad and dtype.rank < 2:
        raise ValueError("`requires_grad=True` is not supported for boolean and integral dtypes")
    least, most = _bounds(dtype)
    low, high = least if low is None else low, most if high is None else high
    if not low < high:
        raise ValueError(f"`low` must be less than `high`, but got {low} >= {high}")
    if dtype.rank < 2:
        if dtype.rank == 1:
            info = np.iinfo(dtype.numpy)
            low, high = max(int(np.ceil(low)), info.min), min(int(np.ceil(high)), info.max)
        result = ops.randint(int(low), int(high), shape).to(dtype)
    elif dtype.is_complex:
        real = dtype.to_real()
        result = ops.view_as_complex(ops.empty((*shape, 2), dtype=real).uniform_(low, high))
    else:
        result = ops.empty(shape, dtype=dtype).uniform_(low, high)
    if exclude_zero:
        result[result == 0] = 1 if dtype.rank < 2 else _dtypes.finfo(dtype).tiny
    if noncontiguous and result.numel() > 1:
        wide = result.new_empty((*result.shape[:-1], 2 * result.shape[-1]))
        result = wide[..., ::2].copy_(result)
    elif memory_format is not None:
        result = result.clone(memory_format=memory_format)
    return result.requires_grad_() if requires_grad else result


def _bounds(dtype: _dtypes.dtype) -> tuple[float, float]:
    if dtype is _dtypes.bool:
        return 0, 2
    if dtype.rank == 1:
        return (-9, 10) if dtype.is_signed else (0, 10)
    return -9, 9
