"""``torch.cuda`` of a machine without CUDA: ``is_available()`` is False, and whatever needs a device raises."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lamina._absent import (
    device_count,
    empty_cache,
    get_rng_state_all,
    is_available,
    is_bf16_supported,
    is_initialized,
    manual_seed,
    manual_seed_all,
    max_memory_allocated,
    max_memory_reserved,
    memory_allocated,
    memory_reserved,
    memory_stats,
    refusals,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)  # fmt: skip
from lamina.amp._of_device import module_of

sys.modules[f"{__name__}.amp"] = amp = module_of("cuda")  # so that both ways to import it find it

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


globals().update(
    refusals(
        AssertionError("Torch not compiled with CUDA enabled"),
        "current_device", "current_stream", "default_stream", "get_device_capability", "get_device_name", "get_device_properties",
        "get_rng_state", "init", "initial_seed", "ipc_collect", "mem_get_info", "memory_summary", "reset_peak_memory_stats",
        "set_device", "synchronize",
    )  # fmt: skip
)

__all__ = [
    "device_count", "empty_cache", "get_rng_state_all", "is_available", "is_bf16_supported", "is_initialized", "manual_seed",
    "manual_seed_all", "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats",
    "seed", "seed_all", "set_rng_state", "set_rng_state_all",
]  # fmt: skip
