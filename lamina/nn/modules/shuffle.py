"""Channels exchanged with pixels, and channels among themselves."""

from __future__ import annotations

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = ["ChannelShuffle", "PixelShuffle", "PixelUnshuffle"]


class PixelShuffle(Module):
    r"""Makes an image larger out of its channels: each :math:`r^2` of them become blocks of :math:`r` by :math:`r` pixels.

    Args:
        upscale_factor (int): :math:`r`.

    Shape:
        input :math:`(*, C r^2, H, W)`, output :math:`(*, C, H r, W r)`.

    Raises:
        RuntimeError: in `forward`, fewer than three dimensions, or channels that :math:`r^2` does not divide.

    See W. Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel CNN", 2016.

    >>> nn.PixelShuffle(2)(lamina.arange(4.0).reshape(4, 1, 1)).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """

    __constants__ = ["upscale_factor"]
    upscale_factor: int

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    r"""Makes an image smaller without loss: undoes :class:`PixelShuffle`.

    Args:
        downscale_factor (int): :math:`r`.

    Shape:
        input :math:`(*, C, H r, W r)`, output :math:`(*, C r^2, H, W)`.

    Raises:
        RuntimeError: in `forward`, fewer than three dimensions, or a height or width that :math:`r` does not divide.

    >>> nn.PixelUnshuffle(2)(lamina.arange(4.0).reshape(1, 2, 2)).flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    __constants__ = ["downscale_factor"]
    downscale_factor: int

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    r"""Mixes the groups of a grouped convolution: channel :math:`i` of group :math:`j` moves to place :math:`i g + j`.

    Args:
        groups (int): :math:`g`, how many groups there are.

    Shape: input :math:`(N, C, *)`, output the same.

    Raises:
        RuntimeError: in `forward`, fewer than three dimensions, or channels that :math:`g` does not divide.

    See X. Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", 2017.

    >>> nn.ChannelShuffle(2)(lamina.arange(4.0).reshape(1, 4, 1)).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """

    __constants__ = ["groups"]
    groups: int

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
