"""Arguments of distributions: broadcasting, and probabilities and their logits."""

from __future__ import annotations

from typing import Any

from lamina import ops
from lamina._dtypes import finfo, get_default_dtype
from lamina._tensor import Tensor
from lamina.autograd.grad_mode import enable_grad

__all__ = ["broadcast_all", "clamp_probs", "lazy_property", "logits_to_probs", "probs_to_logits"]


def broadcast_all(*values: Any) -> tuple[Any, ...]:
    """Numbers and tensors as tensors of one shape; raises ValueError for anything else."""
    if not all(isinstance(v, (Tensor, int, float)) for v in values):
        raise ValueError("Input arguments must all be numbers or tensors, got " + ", ".join(type(v).__name__ for v in values))
    dtype = next((v.dtype for v in values if isinstance(v, Tensor)), get_default_dtype())
    return tuple(ops.broadcast_tensors(*(v if isinstance(v, Tensor) else ops.tensor(v, dtype=dtype) for v in values)))


def is_number(*values: Any) -> bool:
    """Whether none is a tensor."""
    return not any(isinstance(v, Tensor) for v in values)


def clamp_probs(probs: Any) -> Any:
    """Probabilities kept away from 0 and 1 by the dtype's smallest step at 1."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Any, is_binary: bool = False) -> Any:
    """Logarithms of probabilities; for one of two outcomes, of the ratio of both."""
    p = clamp_probs(probs)
    return p.log() - (-p).log1p() if is_binary else p.log()


def logits_to_probs(logits: Any, is_binary: bool = False) -> Any:
    """Probabilities from logits."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


class lazy_property:  # noqa: N801
    """A property that is computed once."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped, self.__doc__ = wrapped, wrapped.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():  # it may be asked for first while drawing
            value = self.wrapped(instance)
        instance.__dict__[self.wrapped.__name__] = value
        return value


