"""Sliding blocks as columns, and their sum back: a linear map and its transpose, each other's gradients."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable
from lamina.engine import kernels as k
from lamina.engine.reference.fold import block_counts

Ints = tuple[int, ...]
Settings = tuple[Ints, Ints, Ints, Ints]
NAMES = ("kernel_size", "dilation", "padding", "stride")


class Unfold(Op):
    """y = the blocks of x as columns;   dL/dx = the columns of g added up"""

    label = "Im2ColBackward0"

    @staticmethod
    def forward(ctx, x, settings):
        ctx.spatial, ctx.settings = x._a.shape[2:], settings
        return k.unfold(x._a, settings)

    @staticmethod
    def backward(ctx, grad):
        return Fold.apply(grad, ctx.spatial, ctx.settings)


class Fold(Op):
    """y = columns added up where they came from;   dL/dx = the blocks of g as columns"""

    label = "Col2ImBackward0"

    @staticmethod
    def forward(ctx, x, spatial, settings):
        ctx.settings = settings
        return k.fold(x._a, spatial, settings)

    @staticmethod
    def backward(ctx, grad):
        return Unfold.apply(grad, ctx.settings)


# -- arguments -----------------------------------------------------------------------------------------------------


def _pair(name: str, label: str, value: Any) -> Ints:
    entries = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    try:
        if any(isinstance(n, bool) for n in entries):
            raise TypeError
        pair = tuple(map(operator.index, entries))
    except TypeError:
        raise TypeError(f"{name}(): argument '{label}' must be an int or a tuple of 2 ints, but got {value!r}") from None
    if len(pair) != 2:
        raise RuntimeError(f"{name}: {label} must be an int or a tuple of 2 ints, but got {value!r}")
    return pair


def _settings(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Settings:
    given = (kernel_size, dilation, padding, stride)
    pairs = tuple(_pair(name, label, value) for label, value in zip(NAMES, given, strict=True))
    for label, pair in zip(NAMES, pairs, strict=True):
        if min(pair) < (label != "padding"):
            what = "non-negative" if label == "padding" else "greater than zero"
            raise RuntimeError(f"{name}: {label} should be {what}, but got {pair}")
    return pairs  # type: ignore[return-value]


def _check_input(name: str, input: Any) -> None:
    if not isinstance(input, Variable):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")


def _check_dtype(name: str, dtype: Any) -> None:
    if dtype.kind in "iu":
        raise NotImplementedError(f"{name}: not implemented for {SCALAR_NAME[BY_NUMPY[dtype]]!r}")


def _described(spatial: Ints, settings: Settings) -> str:
    return ", ".join(f"{label}={value}" for label, value in zip(("size", *NAMES), (spatial, *settings), strict=True))


# -- functions -----------------------------------------------------------------------------------------------------


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """The sliding blocks of images (N, C, H, W) or (C, H, W) as columns; see :class:`lamina.nn.Unfold`."""
    _check_input("unfold", input)
    settings = _settings("unfold", kernel_size, dilation, padding, stride)
    shape = input._a.shape
    if len(shape) not in (3, 4) or 0 in shape[len(shape) - 3 :]:
        raise (IndexError if len(shape) < 3 else RuntimeError)(
            "unfold: Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for input, "
            f"but got: {list(shape)}"
        )
    counts = block_counts(shape[-2:], settings)
    if min(counts) < 1:
        raise RuntimeError(
            f"unfold: Given input with spatial {_described(shape[-2:], settings)}, calculated shape of the array of sliding "
            f"blocks as {counts}, but its components must be at least one."
        )
    _check_dtype("unfold", input._a.dtype)
    return Unfold.apply(input, settings) if len(shape) == 4 else Unfold.apply(input.unsqueeze(0), settings).squeeze(0)


def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Columns (N, C·K, L) or (C·K, L) of blocks with K places added up to images (N, C, *output_size); see
    :class:`lamina.nn.Fold`."""
    _check_input("fold", input)
    spatial = _pair("fold", "output_size", output_size)
    settings = _settings("fold", kernel_size, dilation, padding, stride)
    shape = input._a.shape
    if len(shape) not in (2, 3) or 0 in shape[len(shape) - 2 :]:
        raise RuntimeError(
            "fold: Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and non-zero dimensions for input, "
            f"but got: {list(shape)}"
        )
    rows, columns = shape[-2:]
    if rows % prod(settings[0]):
        raise RuntimeError(
            f"fold: Expected size of input's dimension {len(shape) - 2} to be divisible by the product of kernel_size, but got "
            f"{rows} and kernel_size={settings[0]}."
        )
    counts = block_counts(spatial, settings)
    if min(counts) < 1 or min(spatial) < 1 or prod(counts) != columns:
        raise RuntimeError(
            f"fold: Given output {_described(spatial, settings)}, expected size of input's dimension {len(shape) - 1} to match "
            f"the calculated number of sliding blocks {counts[0]} * {counts[1]}, all positive, but got {columns}."
        )
    _check_dtype("fold", input._a.dtype)
    if len(shape) == 3:
        return Fold.apply(input, spatial, settings)
    return Fold.apply(input.unsqueeze(0), spatial, settings).squeeze(0)


NN_FUNCTIONS = ("fold", "unfold")
