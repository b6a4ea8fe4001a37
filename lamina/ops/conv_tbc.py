"""The convolution of sequences that lie as (time, batch, channels)."""

from __future__ import annotations

from typing import Any

from lamina.autograd.graph import Variable
from lamina.ops.conv import conv1d
from lamina.ops.operands import not_a_tensor
from lamina.ops.pad import pad as constant_pad


def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    r"""A one-dimensional convolution over time, of sequences with the time first and the channels last.

    Args:
        input (Tensor): of shape :math:`(T, N, C_{in})`.
        weight (Tensor): of shape :math:`(K, C_{in}, C_{out})`.
        bias (Tensor): of shape :math:`(C_{out})`.
        pad (int): zeros added at both ends, or, if negative, steps left out there. Default: 0.

    Shape: output :math:`(T + 2 \mathrm{pad} - K + 1, N, C_{out})`.

    Raises:
        RuntimeError: other shapes, a result of negative length, or different dtypes.
    """
    for i, (name, tensor) in enumerate((("input", input), ("weight", weight), ("bias", bias)), 1):
        if not isinstance(tensor, Variable):
            raise not_a_tensor(tensor, "conv_tbc", name, i)
    if input.ndim != 3:
        raise RuntimeError(f"conv_tbc: Input must have 3 dims: time, batch, in_channel, but got {list(input.shape)}")
    if weight.ndim != 3:
        raise RuntimeError(
            f"conv_tbc: Weight tensor must have 3 dims: kernel_width, in_channels, out_channels, but got {list(weight.shape)}"
        )
    if bias.shape != weight.shape[2:]:
        raise RuntimeError(
            f"conv_tbc: Bias size must equal dim 2 in the weight tensor ({weight.shape[2]}), but got {list(bias.shape)}"
        )
    if input.shape[2] != weight.shape[1]:
        raise RuntimeError(
            f"conv_tbc: Input dim 2 (input channels, {input.shape[2]}) is not == dim 1 in the weight tensor ({weight.shape[1]})"
        )
    # A result without steps is the middle of one with two, which conv1d can make.
    spare = int(input.shape[0] + 2 * pad + 1 == weight.shape[0])
    pad += spare
    if pad < 0 or input.shape[0] == 0:  # of which conv1d knows nothing
        input, pad = constant_pad(input, (0, 0, 0, 0, pad, pad)), 0
    y = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)
    return y[1:-1] if spare else y


FUNCTIONS = NN_FUNCTIONS = ("conv_tbc",)
