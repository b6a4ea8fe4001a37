"""Channels exchanged with pixels, and channels among themselves."""

from __future__ import annotations

import operator
from typing import Any

from lamina.autograd.graph import Op
from lamina.engine import kernels as k
from lamina.ops.activation import tensor


class PixelShuffle(Op):
    """(*, C·r², H, W) to (*, C, H·r, W·r);   dL/dx = g the other way"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, r):
        ctx.r = r
        return k.pixel_shuffle(x._a, r)

    @staticmethod
    def backward(ctx, grad):
        return PixelUnshuffle.apply(grad, ctx.r), None


class PixelUnshuffle(Op):
    """(*, C, H·r, W·r) to (*, C·r², H, W);   dL/dx = g the other way"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, r):
        ctx.r = r
        return k.pixel_unshuffle(x._a, r)

    @staticmethod
    def backward(ctx, grad):
        return PixelShuffle.apply(grad, ctx.r), None


class ChannelShuffle(Op):
    """The channels of (N, C, *) read across the groups;   dL/dx = g read across the members"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, groups):
        ctx.members = x._a.shape[1] // groups if groups else 0
        return k.channel_shuffle(x._a, groups)

    @staticmethod
    def backward(ctx, grad):
        return ChannelShuffle.apply(grad, ctx.members), None


def _factor(input: Any, factor: Any, function: str, name: str) -> int:
    try:
        r = operator.index(factor)
    except TypeError:
        raise TypeError(f"{function}(): argument '{name}' (position 2) must be int, not {type(factor).__name__}") from None
    ndim = tensor(input, function)._a.ndim
    if ndim < 3:
        raise RuntimeError(f"{function} expects input to have at least 3 dimensions, but got input with {ndim} dimension(s)")
    if r <= 0:
        raise RuntimeError(f"{function} expects a positive {name}, but got {r}")
    return r


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """Blocks of r² channels as blocks of r by r pixels, with r = ``upscale_factor`` (Shi et al., 2016).

    Shape: input :math:`(*, C r^2, H, W)`, output :math:`(*, C, H r, W r)`.

    Raises:
        RuntimeError: fewer than three dimensions, a factor below 1, or channels that r² does not divide.
    """
    r = _factor(input, upscale_factor, "pixel_shuffle", "upscale_factor")
    channels = input._a.shape[-3]
    if channels % r**2:
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but "
            f"input.size(-3)={channels} is not divisible by {r**2}"
        )
    return PixelShuffle.apply(input, r)


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """Blocks of r by r pixels as r² channels, with r = ``downscale_factor``: undoes :func:`pixel_shuffle`.

    Shape: input :math:`(*, C, H r, W r)`, output :math:`(*, C r^2, H, W)`.

    Raises:
        RuntimeError: fewer than three dimensions, a factor below 1, or a height or width that r does not divide.
    """
    r = _factor(input, downscale_factor, "pixel_unshuffle", "downscale_factor")
    for dim, name in ((-2, "height"), (-1, "width")):
        size = input._a.shape[dim]
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({dim})={size} is not "
                f"divisible by {r}"
            )
    return PixelUnshuffle.apply(input, r)


def _channel_shuffle(input: Any, groups: Any, name: str) -> Any:
    try:
        n = operator.index(groups)
    except TypeError:
        raise TypeError(f"{name}(): argument 'groups' (position 2) must be int, not {type(groups).__name__}") from None
    shape = tensor(input, name)._a.shape
    if len(shape) < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(shape)}")
    if n <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{n}")
    if shape[1] % n:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {shape[1]} channels and {n} groups.")
    return ChannelShuffle.apply(input, n)


def channel_shuffle(input: Any, groups: int) -> Any:
    """The channels of (N, C, *), split into groups, in the order: first of each group, second of each, ... (Zhang et al., 2017).

    Raises:
        RuntimeError: fewer than three dimensions, or a number of groups that is not positive or does not divide C.
    """
    return _channel_shuffle(input, groups, "channel_shuffle")


def native_channel_shuffle(input: Any, groups: int) -> Any:
    """The same as :func:`channel_shuffle`."""
    return _channel_shuffle(input, groups, "native_channel_shuffle")


FUNCTIONS = NN_FUNCTIONS = ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
