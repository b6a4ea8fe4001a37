"""``torch.backends.mps``: not available."""

from __future__ import annotations


def is_available() -> bool:
    """False: lamina runs on the CPU only."""
    return False


def is_built() -> bool:
    """False: lamina has no Metal kernels."""
    return False


def is_macos13_or_newer() -> bool:
    """False: the question is about Metal."""
    return False
