"""Helpers around layers: sequences of different lengths."""

from __future__ import annotations

from lamina.nn.utils import rnn

__all__ = ["rnn"]
