"""``torch.fx.graph_module``: the type of a traced module, for ``isinstance``."""

from __future__ import annotations

from typing import Any

from lamina.nn.modules.module import Module

__all__ = ["GraphModule"]


class GraphModule(Module):
    """The type of a traced module; there is none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("torch.fx.GraphModule: lamina does not trace modules into graphs")
