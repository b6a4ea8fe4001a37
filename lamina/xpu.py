"""``torch.xpu`` of a machine without Intel's GPUs: ``is_available()`` is False, and whatever needs a device raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina._absent import (
    device_count,
    empty_cache,
    is_available,
    is_initialized,
    manual_seed,
    manual_seed_all,
    memory_allocated,
    refusals,
    seed,
    seed_all,
)  # fmt: skip

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


globals().update(
    refusals(
        AssertionError("Torch not compiled with XPU enabled"), "current_device", "get_device_name", "set_device", "synchronize"
    )
)

__all__ = [
    "device_count", "empty_cache", "is_available", "is_initialized", "manual_seed", "manual_seed_all", "memory_allocated", "seed",
    "seed_all",
]  # fmt: skip
