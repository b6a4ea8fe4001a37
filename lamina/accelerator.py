"""``torch.accelerator`` of a machine that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina._absent import device_count, is_available, refusals

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


def current_accelerator(check_available: bool = False) -> Any:
    """``None``: there is no accelerator."""
    return None


globals().update(
    refusals(
        RuntimeError("Cannot access accelerator device when none is available."),
        "current_device_index", "current_stream", "empty_cache", "memory_allocated", "set_device_index", "set_stream",
        "synchronize",
    )  # fmt: skip
)

__all__ = ["current_accelerator", "device_count", "is_available"]
