"""`lamina.compile`: record a call once, replay it without Python's overhead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.autograd.graph import mode as _mode


def is_compiling() -> bool:
    """Whether a call is being recorded by :func:`lamina.compile` at this moment."""
    return _mode.recorder is not None


def compile(
    model: Callable[..., Any] | None = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "inductor",
    mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    if model is None:
        return lambda m: compile(m, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable)
    if disable:
        return model
    from lamina.compiler.compiled import Compiled, OptimizedModule
    from lamina.nn import Module

    if isinstance(model, Module):
        return OptimizedModule(model, fullgraph)
    return Compiled(model, None, fullgraph)
