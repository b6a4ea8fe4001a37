"""``torch.fx``: lamina does not trace modules into graphs; its marks are accepted and its types exist for ``isinstance``."""

from __future__ import annotations

from typing import Any

from lamina.fx.graph_module import GraphModule

__all__ = ["Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "symbolic_trace", "wrap"]


def wrap(fn_or_name: Any) -> Any:
    """What it is given: a mark for the tracer. Raises RuntimeError for what is no function and no name."""
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    return fn_or_name


class _Absent:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(f"torch.fx.{type(self).__name__}: lamina does not trace modules into graphs")


class Graph(_Absent):
    """The type of a traced program; there is none."""


class Node(_Absent):
    """The type of a step of a traced program; there is none."""


class Proxy(_Absent):
    """The type of a value while tracing; there is none."""


class Tracer(_Absent):
    """The type of a tracer; there is none."""


class Interpreter(_Absent):
    """The type of what runs a traced program; there is none."""


def symbolic_trace(root: Any, concrete_args: Any = None) -> Any:
    """Raises RuntimeError: lamina does not trace modules into graphs."""
    raise RuntimeError("torch.fx.symbolic_trace: lamina does not trace modules into graphs")
