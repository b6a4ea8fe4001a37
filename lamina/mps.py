"""``torch.mps`` of a machine without Apple's GPUs: ``is_available()`` is False, and whatever needs a device raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina._absent import device_count, is_available, manual_seed, refusals, seed

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


globals().update(
    refusals(
        RuntimeError("Cannot execute without MPS backend"),
        "current_allocated_memory", "driver_allocated_memory", "empty_cache", "get_rng_state", "set_rng_state", "synchronize",
    )  # fmt: skip
)

__all__ = ["device_count", "is_available", "manual_seed", "seed"]
