"""``torch.cpu``: the device that is here."""

from __future__ import annotations

from typing import Any

from lamina.cpu import amp


def is_available() -> bool:
    """True: the CPU is here."""
    return True


def device_count() -> int:
    """1: the CPU."""
    return 1


def current_device() -> str:
    """``"cpu"``."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one device."""


def synchronize(device: Any = None) -> None:
    """Nothing: a call returns when its result is there."""
