"""Layers, losses and containers, as in `torch.nn`."""

from __future__ import annotations

from lamina.nn import functional, init, modules, parameter, utils
from lamina.nn.modules import *  # noqa: F403
from lamina.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

__all__ = [
    *modules.__all__,
    "Buffer",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "functional",
    "init",
    "modules",
    "parameter",
    "utils",
]
