"""Batches to GPUs and back, for PyTorch's code that asks for it: without GPUs only containers without tensors travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina._tensor import Tensor
from lamina.utils._pytree import is_namedtuple, tree_any

__all__ = ["gather", "is_namedtuple", "scatter", "scatter_kwargs"]


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> list[Any]:
    """The inputs once per device; raises RuntimeError if there is a tensor in them, which would go to a GPU."""
    if target_gpus and tree_any(lambda x: isinstance(x, Tensor), inputs):
        raise RuntimeError(f"scatter: lamina runs on the CPU only, so there is no device {target_gpus[0]!r}")
    return [inputs for _ in target_gpus]


def scatter_kwargs(
    inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, target_gpus: Sequence[Any], dim: int = 0
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """:func:`scatter` of arguments and of keyword arguments."""
    return tuple(scatter(inputs, target_gpus, dim)), tuple(scatter(kwargs or {}, target_gpus, dim))


def gather(outputs: Any, target_device: Any, dim: int = 0) -> Any:
    """Raises RuntimeError: there are no GPUs to gather from."""
    raise RuntimeError("gather: lamina runs on the CPU only, so there is nothing to gather from GPUs; use lamina.cat")
