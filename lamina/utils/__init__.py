"""Helpers beside the layers: datasets and loaders in `data`, hook handles in `hooks`."""

from __future__ import annotations

from lamina.utils import hooks

__all__ = ["hooks"]
