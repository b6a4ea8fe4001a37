"""``torch._dynamo``, PyTorch's compiler: here its marks are of no effect, since code runs as Python.

``lamina.compile`` is another thing: see :mod:`lamina.compiler`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

__all__ = [
    "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph", "forbid_in_graph", "graph_break",
    "is_compiling", "list_backends", "mark_dynamic", "mark_static", "mark_static_address", "maybe_mark_dynamic", "reset",
]  # fmt: skip

config = SimpleNamespace(suppress_errors=False, verbose=False, cache_size_limit=8, recompile_limit=8, disable=False)


def is_compiling() -> bool:
    """False: PyTorch's compiler never runs here."""
    return False


def _unchanged(fn: Any) -> Any:
    """The function itself: a mark for PyTorch's compiler."""
    return fn


allow_in_graph = disallow_in_graph = forbid_in_graph = assume_constant_result = _unchanged


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None, wrapping: bool = True) -> Any:
    """The function itself, or a decorator that returns it."""
    return _unchanged if fn is None else fn


def graph_break(msg: str = "") -> None:
    """Nothing: there is no graph to break."""


def mark_dynamic(t: Any, index: Any, **kwargs: Any) -> None:
    """Nothing: shapes are never fixed."""


maybe_mark_dynamic = mark_dynamic


def mark_static(t: Any, index: Any = None) -> None:
    """Nothing: shapes are never fixed."""


def mark_static_address(t: Any, guard: bool = False) -> None:
    """Nothing: addresses are never fixed."""


def reset() -> None:
    """Nothing: nothing was compiled."""


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """None of PyTorch's code generators."""
    return []


def optimize(*args: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """Raises RuntimeError: PyTorch's compiler is not here; use ``lamina.compile``."""
    raise RuntimeError("torch._dynamo.optimize: PyTorch's compiler is not here: use lamina.compile")
