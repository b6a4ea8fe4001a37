"""``torch._dynamo.utils``: what libraries ask of PyTorch's compiler."""

from __future__ import annotations

from typing import Any

from lamina._dynamo import is_compiling

__all__ = ["is_compile_supported", "is_compiling"]


def is_compile_supported(device_type: Any) -> bool:
    """False: PyTorch's compiler is not here."""
    return False
