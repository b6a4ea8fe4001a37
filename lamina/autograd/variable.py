"""``Variable``, as code before PyTorch 0.4 wrapped its tensors."""

from __future__ import annotations

from typing import Any

from lamina.autograd import graph


class _Kind(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, graph.Variable)


class Variable(metaclass=_Kind):
    """``Variable(x, requires_grad=False)`` is a new leaf over the memory of the tensor ``x``; every tensor is an instance."""

    def __new__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False) -> Any:
        if not isinstance(data, graph.Variable):
            raise TypeError(f"Variable data has to be a tensor, but got {type(data).__name__}")
        leaf = graph.alias(data)
        return leaf.requires_grad_() if requires_grad else leaf
