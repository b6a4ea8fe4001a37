"""Which kernel attention runs on, as in ``torch.nn.attention``: lamina has one, which never holds all weights at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import Enum
from typing import Any

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(Enum):
    """The names of PyTorch's kernels."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_allowed: list[SDPBackend] = [
    SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH, SDPBackend.CUDNN_ATTENTION
]  # fmt: skip


@contextlib.contextmanager
def sdpa_kernel(backends: Any, set_priority: bool = False) -> Iterator[None]:
    """In the block, which of PyTorch's kernels attention may use; it is noted, and lamina's own kernel goes on serving.

    Args:
        backends (SDPBackend or list of SDPBackend): the kernels.
        set_priority (bool): whether the list is in the order of preference.

    Raises:
        AssertionError: something else than an SDPBackend or a list.
    """
    global _allowed
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            f"Backend must be an instance of SDPBackend or a list of SDPBackend instances, got {type(backends).__name__}"
        )
    wanted = [backends] if isinstance(backends, SDPBackend) else [b for b in backends if isinstance(b, SDPBackend)]
    before, _allowed = _allowed, wanted
    try:
        yield
    finally:
        _allowed = before


def _cur_sdpa_kernel_backends(with_priority: bool = False) -> list[SDPBackend]:
    """The kernels of the innermost :func:`sdpa_kernel`."""
    return list(_allowed)
