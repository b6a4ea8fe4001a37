"""The layers' functions, as in `torch.nn.functional`: each is written, with its gradient, in a family of `lamina.ops`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina import ops

globals().update(ops.NN_FUNCTIONS)
__all__ = sorted(ops.NN_FUNCTIONS)  # noqa: PLE0605

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
