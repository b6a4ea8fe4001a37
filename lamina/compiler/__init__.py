"""`lamina.compile`: record a call once, replay it without Python's overhead (being built)."""

from __future__ import annotations


def is_compiling() -> bool:
    """Whether a call is being recorded by :func:`lamina.compile` at this moment."""
    return False
