"""``torch._dynamo.utils``: what libraries ask of PyTorch's compiler."""

from __future__ import annotations

from typing import Any

__all__ = ["is_compile_supported"]


def is_compile_supported(device_type: Any) -> bool:
    """False: PyTorch's compiler is not here."""
    return False
