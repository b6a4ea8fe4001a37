"""``torch.nn.quantized``: the stand-ins for operators that models carry while they are not quantised; lamina quantises none."""

from __future__ import annotations

from typing import Any

from lamina import ops
from lamina.nn.modules.module import Module

__all__ = ["FloatFunctional"]


class FloatFunctional(Module):
    """Operators as methods, which PyTorch can observe in order to quantise them; they compute as they are."""

    def forward(self, x: Any) -> Any:
        """Raises RuntimeError: call one of the other methods."""
        raise RuntimeError("FloatFunctional is not intended to use the forward. Please use the underlying operation")

    def add(self, x: Any, y: Any) -> Any:
        """``x + y``."""
        return ops.add(x, y)

    def add_scalar(self, x: Any, y: float) -> Any:
        """``x + y``."""
        return ops.add(x, y)

    def mul(self, x: Any, y: Any) -> Any:
        """``x * y``."""
        return ops.mul(x, y)

    def mul_scalar(self, x: Any, y: float) -> Any:
        """``x * y``."""
        return ops.mul(x, y)

    def cat(self, x: Any, dim: int = 0) -> Any:
        """:func:`lamina.cat`."""
        return ops.cat(x, dim)

    def add_relu(self, x: Any, y: Any) -> Any:
        """``relu(x + y)``."""
        return ops.relu(ops.add(x, y))

    def matmul(self, x: Any, y: Any) -> Any:
        """``x @ y``."""
        return ops.matmul(x, y)
