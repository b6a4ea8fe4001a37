"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lamina import ops
from lamina._tensor import Tensor
from lamina.utils._objects import typename

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other, in one dimension; gradients flow through it.

    >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    torch.Size([8])
    """
    return ops.cat([p.view(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make slices of ``vec`` the data of the parameters, in order; they share its memory.

    Raises:
        TypeError: ``vec`` is not a tensor.
        RuntimeError: ``vec`` is too short.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {typename(vec)}")
    start = 0
    vector: Any = vec
    for param in parameters:
        stop = start + param.numel()
        param.data = vector[start:stop].view_as(param).data
        start = stop
