"""Devices that are not here: what scripts ask of them before they settle for the CPU.

``lamina.cuda``, ``mps``, ``xpu`` and ``accelerator`` answer as PyTorch's CPU build does: there is no device, seeding none
and emptying its cache does nothing, and whatever needs one raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def is_available() -> bool:
    """False: lamina computes on the CPU."""
    return False


def is_initialized() -> bool:
    """False: there is nothing to initialise."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """False: there is no device."""
    return False


def device_count() -> int:
    """0: lamina computes on the CPU."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: :func:`lamina.manual_seed` seeds the only generator."""


def manual_seed_all(seed: int) -> None:
    """Nothing: :func:`lamina.manual_seed` seeds the only generator."""


def seed() -> None:
    """Nothing: there is no device."""


def seed_all() -> None:
    """Nothing: there is no device."""


def empty_cache() -> None:
    """Nothing: there is no device. ``lamina.engine.memory.release`` gives back what lamina keeps of the CPU's memory."""


def get_rng_state_all() -> list[Any]:
    """The states of the generators of all devices: none."""
    return []


def set_rng_state_all(new_states: Any) -> None:
    """Nothing: there is no device."""


def set_rng_state(new_state: Any, device: Any = "cuda") -> None:
    """Nothing: there is no device."""


def memory_stats(device: Any = None) -> dict[str, Any]:
    """Nothing to tell: there is no device."""
    return {}


def memory_allocated(device: Any = None) -> int:
    """0 bytes."""
    return 0


max_memory_allocated = memory_reserved = max_memory_reserved = memory_allocated


def refusals(error: Exception, *names: str) -> dict[str, Callable[..., Any]]:
    """Functions of these names that raise ``error``, for what needs a device."""

    def made(name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            raise type(error)(f"{error}: lamina runs on the CPU only, so {name}() has no device")

        function.__name__ = function.__qualname__ = name
        function.__doc__ = f"Raises ``{type(error).__name__}``: there is no device."
        return function

    return {name: made(name) for name in names}
