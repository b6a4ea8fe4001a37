"""Convolutions and transposed convolutions in one, two and three dimensions: one layer, of which `ndim` is data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn import init
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter, ntuple
from lamina.nn.parameter import Parameter

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share: settings, checks, parameters and their initial values."""

    __constants__ = [
        "stride", "padding", "dilation", "groups", "padding_mode", "output_padding", "in_channels", "out_channels", "kernel_size"
    ]  # fmt: skip
    ndim: int
    transposed: bool
    function: Any  # the one of `nn.functional` that this layer calls

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    groups: int
    padding_mode: str
    weight: Parameter
    bias: Parameter | None

    def _set_up(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        layer, ndim = type(self).__name__, self.ndim
        if groups <= 0:
            raise ValueError(f"{layer}: groups must be a positive integer, got {groups}")
        if in_channels % groups:
            raise ValueError(
                f"{layer}: in_channels must be divisible by groups, got {in_channels} and {groups}"
            )
        if out_channels % groups:
            raise ValueError(
                f"{layer}: out_channels must be divisible by groups, got {out_channels} and {groups}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = ntuple(kernel_size, ndim, f"{layer}: kernel_size", minimum=1)
        self.stride = ntuple(stride, ndim, f"{layer}: stride", minimum=1)
        self.dilation = ntuple(dilation, ndim, f"{layer}: dilation", minimum=1)
        if isinstance(padding, str) and not self.transposed:
            if padding not in ("same", "valid"):
                raise ValueError(f"{layer}: Invalid padding string {padding!r}, should be one of 'same', 'valid'")
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError(
                    f"{layer}: padding='same' is not supported for strided convolutions, got stride={self.stride}"
                )
            self.padding = padding
        else:
            self.padding = ntuple(padding, ndim, f"{layer}: padding", minimum=0)
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"{layer}: padding_mode must be one of {', '.join(PADDING_MODES)}, but got {padding_mode!r}"
            )
        self.output_padding = ntuple(output_padding, ndim, f"{layer}: output_padding", minimum=0)
        self.groups = groups
        self.padding_mode = padding_mode
        self._reversed_padding_repeated_twice = self._around()
        shape = (
            (in_channels, out_channels // groups)
            if self.transposed
            else (out_channels, in_channels // groups)
        )
        self.weight = new_parameter((*shape, *self.kernel_size), device, dtype)
        self.register_parameter("bias", new_parameter((out_channels,), device, dtype) if bias else None)
        self.reset_parameters()

    def _around(self) -> list[int]:
        """The padding as `functional.pad` takes it: (before, after) of the last dimension first."""
        around: list[int] = []
        for dim in reversed(range(self.ndim)):
            if self.padding == "same":
                total = self.dilation[dim] * (self.kernel_size[dim] - 1)
                around += [total // 2, total - total // 2]
            else:
                around += [0 if isinstance(self.padding, str) else self.padding[dim]] * 2
        return around

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, in PyTorch's order: both are uniform within 1 / sqrt(fan_in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            if fan_in:
                init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        if self.padding != (0,) * self.ndim:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.ndim:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.ndim:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Convolution(_ConvNd):
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._set_up(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.padding_mode == "zeros":
            return self.function(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        padded = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        return self.function(padded, weight, bias, self.stride, 0, self.dilation, self.groups)

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class _ConvTransposeNd(_ConvNd):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f'Only "zeros" padding mode is supported for {type(self).__name__}, but got {padding_mode!r}'
            )
        super().__init__()
        self._set_up(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._output_padding(input, output_size)
        return self.function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _output_padding(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding with which the result has the size that was asked for."""
        ndim, layer = self.ndim, type(self).__name__
        lead = input.dim() - ndim
        wanted = list(output_size)
        if len(wanted) == lead + ndim:
            wanted = wanted[lead:]
        if len(wanted) != ndim:
            raise ValueError(
                f"{layer}: for {input.dim()}D input, output_size must have {ndim} or {lead + ndim} elements (got {len(wanted)})"
            )
        assert not isinstance(self.padding, str)
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if any(not low <= n <= high for low, n, high in zip(least, wanted, most, strict=True)):
            raise ValueError(
                f"{layer}: requested an output size of {output_size}, but valid sizes range from {least} to {most} (for an input "
                f"of {tuple(input.shape[lead:])})"
            )
        return tuple(n - low for n, low in zip(wanted, least, strict=True))


def _doc(template: str, ndim: int, example: int) -> str:
    """A docstring for `ndim` dimensions: `<...>` in the template is filled in; `example` is the example's output size."""
    names = "L" if ndim == 1 else "DHW"[3 - ndim :]
    filled = {
        "n": str(ndim),
        "dimensions": f"{ndim} spatial dimension" + "s" * (ndim > 1),
        "in": ", ".join(rf"{n}_{{in}}" for n in names),
        "out": ", ".join(rf"{n}_{{out}}" for n in names),
        "kernel": ", ".join(f"K_{n}" for n in names),
        "tens": ", ".join(["10"] * ndim),
        "result": ", ".join([str(example)] * ndim),
    }
    for name, text in filled.items():
        template = template.replace(f"<{name}>", text)
    return template


_CONV = r"""Slides learnt filters over an input of <dimensions>.

    Each output channel is the sum over the input channels of their correlation with one filter each:

    .. math:: y_{n,o} = b_o + \sum_c w_{o,c} \star x_{n,c}

    Args:
        in_channels (int): channels of the input.
        out_channels (int): channels of the output.
        kernel_size (int or tuple): size of the filters.
        stride (int or tuple): step between windows. Default: 1.
        padding (int, tuple or str): entries added on both sides; `"valid"` adds none and `"same"` keeps the input's size
            (for stride 1). Default: 0.
        dilation (int or tuple): step between the entries of a window. Default: 1.
        groups (int): how many sets the channels are split into, each seen by its own filters. Default: 1.
        bias (bool): whether :math:`b` is learnt. Default: True.
        padding_mode (str): `"zeros"`, `"reflect"`, `"replicate"` or `"circular"`. Default: `"zeros"`.
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(N, C_{in}, <in>)` or without :math:`N`, output :math:`(N, C_{out}, <out>)` with, for each size,

        .. math:: X_{out} = \left\lfloor \frac{X_{in} + 2\,\mathrm{padding} - \mathrm{dilation}\,(K - 1) - 1}
                  {\mathrm{stride}} \right\rfloor + 1

    Attributes:
        weight: of shape :math:`(C_{out}, C_{in} / \mathrm{groups}, <kernel>)`, drawn from :math:`U(-k, k)`, where
            :math:`1 / k^2` is the number of weights of one filter.
        bias: :math:`b`, of shape :math:`(C_{out})`, drawn from the same distribution; None without `bias`.

    Raises:
        ValueError: at construction, a setting out of its range, of the wrong length, or groups that do not divide.
        RuntimeError: an input of another rank, channel count or dtype, or smaller than the kernel.

    >>> nn.Conv<n>d(16, 33, 3)(lamina.randn(5, 16, <tens>)).shape
    torch.Size([5, 33, <result>])
    """

_CONV_TRANSPOSE = r"""The transpose of a convolution in <dimensions>: leads from the shape of its output to that of its input.

    Every input entry adds its multiple of the filters to the output, `stride` apart. It computes what :class:`Conv<n>d`
    computes as the gradient to its input; it does not invert a convolution.

    Args:
        in_channels (int): channels of the input.
        out_channels (int): channels of the output.
        kernel_size (int or tuple): size of the filters.
        stride (int or tuple): step between windows of the output. Default: 1.
        padding (int or tuple): entries cut off on both sides of the output. Default: 0.
        output_padding (int or tuple): entries added to the output after the last; smaller than `stride` or `dilation`.
            Default: 0.
        groups (int): how many sets the channels are split into. Default: 1.
        bias (bool): whether a bias is learnt. Default: True.
        dilation (int or tuple): step between the entries of a window. Default: 1.
        padding_mode (str): only `"zeros"`.
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(N, C_{in}, <in>)` or without :math:`N`, output :math:`(N, C_{out}, <out>)` with, for each size,

        .. math:: X_{out} = (X_{in} - 1)\,\mathrm{stride} - 2\,\mathrm{padding} + \mathrm{dilation}\,(K - 1)
                  + \mathrm{output\_padding} + 1

        Several output sizes lead to one input size; `forward(input, output_size)` picks one of them.

    Attributes:
        weight: of shape :math:`(C_{in}, C_{out} / \mathrm{groups}, <kernel>)`, drawn from :math:`U(-k, k)` with
            :math:`1 / k^2 = C_{out} / \mathrm{groups} \cdot \prod K`.
        bias: of shape :math:`(C_{out})`, drawn from the same distribution; None without `bias`.

    Raises:
        ValueError: at construction, a setting out of its range or of the wrong length, groups that do not divide, or a
            padding mode other than `"zeros"`; in `forward`, an `output_size` that cannot be.
        RuntimeError: an input of another rank, channel count or dtype.

    >>> nn.ConvTranspose<n>d(16, 33, 3, stride=2)(lamina.randn(5, 16, <tens>)).shape
    torch.Size([5, 33, <result>])
    """


class Conv1d(_Convolution):
    __doc__ = _doc(_CONV, 1, example=8)
    ndim = 1
    function: Any = staticmethod(F.conv1d)


class Conv2d(_Convolution):
    __doc__ = _doc(_CONV, 2, example=8)
    ndim = 2
    function: Any = staticmethod(F.conv2d)


class Conv3d(_Convolution):
    __doc__ = _doc(_CONV, 3, example=8)
    ndim = 3
    function: Any = staticmethod(F.conv3d)


class ConvTranspose1d(_ConvTransposeNd):
    __doc__ = _doc(_CONV_TRANSPOSE, 1, example=21)
    ndim = 1
    function: Any = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_ConvTransposeNd):
    __doc__ = _doc(_CONV_TRANSPOSE, 2, example=21)
    ndim = 2
    function: Any = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_ConvTransposeNd):
    __doc__ = _doc(_CONV_TRANSPOSE, 3, example=21)
    ndim = 3
    function: Any = staticmethod(F.conv_transpose3d)
