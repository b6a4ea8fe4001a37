"""``DataParallel``: a batch on several GPUs; without one, the module itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina.nn.modules.module import Module

__all__ = ["DataParallel", "data_parallel"]


class DataParallel(Module):
    """Calls ``module``, as PyTorch's does where there is no GPU to share a batch among.

    The names in its ``state_dict()`` begin with ``module.``, as in PyTorch.

    Args:
        module (Module): what is called.
        device_ids, output_device: as in PyTorch, the GPUs; there are none, so they change nothing.
        dim (int): the dimension that GPUs would share. Default: 0.

    >>> lamina.nn.DataParallel(nn.Linear(2, 1))(lamina.ones(3, 2)).shape
    torch.Size([3, 1])
    """

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """``module(*inputs, **kwargs)``."""
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module, inputs: Any, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0,
    module_kwargs: Any = None,
) -> Any:  # fmt: skip
    """Raises RuntimeError: there is no device besides the CPU. Call the module, or use :class:`DataParallel`."""
    raise RuntimeError("data_parallel: there are no GPUs to share a batch among; call the module itself, or use DataParallel")
