"""``torch.ao.quantization``: the stubs, which hand through what they get until a model is quantised; lamina quantises none."""

from __future__ import annotations

from typing import Any

from lamina.nn.modules.module import Module

__all__ = ["DeQuantStub", "QuantStub"]


class QuantStub(Module):
    """Marks where a quantised model would turn to whole numbers; hands its input through.

    Args:
        qconfig: accepted, and of no effect.
    """

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        """``x``."""
        return x


class DeQuantStub(QuantStub):
    """Marks where a quantised model would turn back to floating-point numbers; hands its input through."""
