"""Padding with a constant, a reflection, the edge, or the other end."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lamina.autograd.graph import Op, Variable
from lamina.engine import kernels as k

Pairs = tuple[tuple[int, int], ...]


class Pad(Op):
    """x with more entries around it;   dL/dx = the entries of g that were copied from x, summed"""

    @staticmethod
    def forward(ctx, x, pairs, mode, value):
        ctx.settings = x._a.shape, pairs, mode
        if mode == "constant":
            ctx.label = "ConstantPadNdBackward0"
        return k.pad(x._a, pairs, mode, value)

    @staticmethod
    def backward(ctx, grad):
        return PadBackward.apply(grad, *ctx.settings)


class PadBackward(Op):
    """The transpose of :class:`Pad`;   dL/dg = g padded"""

    @staticmethod
    def forward(ctx, grad, shape, pairs, mode):
        ctx.settings = pairs, mode
        return k.pad_backward(grad._a, shape, pairs, mode)

    @staticmethod
    def backward(ctx, grad):
        return Pad.apply(grad, *ctx.settings, 0)


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    r"""``input`` with more entries around it.

    Args:
        pad (sequence of ints): (before, after) of the last dimension, then of the one before it, and so on. Negative numbers
            cut entries off.
        mode (str): ``"constant"`` fills with ``value``; ``"reflect"`` mirrors about the edge, ``"replicate"`` repeats the edge
            and ``"circular"`` continues at the other end, and these three pad all dimensions of ``input`` but the first one
            or two.
        value (float): what ``"constant"`` fills with. Default: 0.

    Raises:
        RuntimeError: an odd or too long ``pad``; a padding that the mode cannot serve, such as a reflection wider than the
            input; a result of negative size.
        NotImplementedError: an unknown mode, or a ``pad`` whose length does not suit the mode and the input's rank.
    """
    if not isinstance(input, Variable):
        raise TypeError(f"pad(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    if not isinstance(pad, Sequence):
        raise TypeError(f"pad(): argument 'pad' (position 2) must be tuple of ints, not {type(pad).__name__}")
    try:
        amounts = tuple(map(operator.index, pad))
    except TypeError:
        raise TypeError(
            f"pad(): argument 'pad' (position 2) must be tuple of ints, but got {pad!r}"
        ) from None
    if mode != "constant" and value:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    pairs = _pairs(input._a.shape, amounts, mode)
    if mode in ("reflect", "replicate") and input._a.dtype.kind == "b":
        raise NotImplementedError(f"pad: mode '{mode}' is not implemented for 'Bool'")
    return Pad.apply(input, pairs, mode, 0 if value is None else value)


@lru_cache(1024)
def _pairs(shape: tuple[int, ...], amounts: tuple[int, ...], mode: str) -> Pairs:
    """(before, after) per dimension, checked."""
    if len(amounts) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, but got {len(amounts)}: {list(amounts)}")
    if len(amounts) > 2 * len(shape):
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got padding length "
            f"{len(amounts)} and input of dimension {len(shape)}"
        )
    given = len(amounts) // 2
    pairs = ((0, 0),) * (len(shape) - given) + tuple(
        (amounts[2 * i], amounts[2 * i + 1]) for i in reversed(range(given))
    )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if mode != "constant" and not (1 <= given <= 3 and len(shape) - given in (1, 2)):
        raise NotImplementedError(
            f"Padding size {len(amounts)} is not supported for {len(shape)}D input tensor.\n"
            "Supported combinations for non-constant padding:\n"
            "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
            "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
            "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
        )
    batched = len(shape) - given == 2
    if mode in ("reflect", "replicate") and 0 in shape[batched:]:
        raise RuntimeError(
            f"pad: mode '{mode}' needs an input with non-zero dimensions (only the batch may be empty), but got {list(shape)}"
        )
    for dim, (n, (lo, hi)) in enumerate(zip(shape, pairs, strict=True)):
        _check(mode, dim, shape, n, lo, hi)
    return pairs


def _check(mode: str, dim: int, shape: tuple[int, ...], n: int, lo: int, hi: int) -> None:
    where = f"padding ({lo}, {hi}) at dimension {dim} of input {list(shape)}"
    if mode == "reflect" and (lo >= n or hi >= n) and (lo or hi):
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension, but got: {where}"
        )
    if mode == "circular":
        kept = n + min(lo, 0) + min(hi, 0)
        if kept < 0:
            raise RuntimeError(f"Negative padding value is resulting in an empty dimension: {where}")
        if max(lo, hi) > kept:
            raise RuntimeError(f"Padding value causes wrapping around more than once: {where}")
    elif n + lo + hi < (1 if mode != "constant" and (lo or hi) else 0) or max(-lo, 0) > n or max(-hi, 0) > n:
        raise RuntimeError(
            f"the input is too small for the padding, calculated output size {n + lo + hi}: {where}"
        )


NN_FUNCTIONS = ("pad",)
