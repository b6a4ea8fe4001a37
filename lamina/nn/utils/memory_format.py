"""Weights of convolutions laid out another way in memory."""

from __future__ import annotations

from typing import Any, TypeVar

from lamina.nn.modules.conv import Conv2d, Conv3d, ConvTranspose2d, ConvTranspose3d
from lamina.nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]

M = TypeVar("M", bound=Module)


def _convert(module: M, kinds: tuple[type, ...], memory_format: Any) -> M:
    for layer in module.modules():
        if isinstance(layer, kinds):
            weight: Any = layer.weight
            weight.data = weight.detach().clone(memory_format=memory_format)
    return module


def convert_conv2d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Give every 2-d convolution's weight below ``module`` the ``memory_format``; its values stay. Returns the module."""
    return _convert(module, (Conv2d, ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: M, memory_format: Any) -> M:
    """Give every 3-d convolution's weight below ``module`` the ``memory_format``; its values stay. Returns the module."""
    return _convert(module, (Conv3d, ConvTranspose3d), memory_format)
