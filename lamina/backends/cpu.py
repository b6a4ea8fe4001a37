"""``torch.backends.cpu``."""

from __future__ import annotations

from lamina.engine.onednn import abi, loader


def get_cpu_capability() -> str:
    """The instruction set that oneDNN uses, such as ``"AVX2"``; ``"DEFAULT"`` without oneDNN."""
    return "DEFAULT" if loader.load() is None else abi.instructions()
