"""Pooling layers in one, two and three dimensions: one layer per kind, of which `ndim` is data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import ntuple

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
    "AvgPool1d", "AvgPool2d", "AvgPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d", "LPPool2d", "LPPool3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip

Size = int | tuple[int, ...]
OptionalSize = int | None | tuple[int | None, ...]


class _PoolNd(Module):
    """What all pooling layers share: their rank, their function, and the checks of their settings."""

    ndim: int
    function: Any  # the one of `nn.functional` that this layer calls

    def _ints(self, value: Any, name: str, minimum: int) -> tuple[int, ...]:
        """`value` as one int per dimension, checked. PyTorch notices a bad one when the layer is used, or never."""
        if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
            value = value[0]
        return ntuple(value, self.ndim, f"{type(self).__name__}: {name}", minimum=minimum)


# -- windows at regular distances ----------------------------------------------------------------------------------


class _MaxPoolNd(_PoolNd):
    __constants__ = ["kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"]
    kernel_size: Size
    stride: Size
    padding: Size
    dilation: Size
    return_indices: bool
    ceil_mode: bool

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        for name, minimum in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            self._ints(getattr(self, name), name, minimum)

    def forward(self, input: Tensor) -> Any:
        return self.function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class _AvgPoolNd(_PoolNd):
    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"]
    kernel_size: Size
    stride: Size
    padding: Size
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        if divisor_override == 0:
            raise ValueError(f"{type(self).__name__}: divisor_override must not be zero")
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override
        for name, minimum in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            self._ints(getattr(self, name), name, minimum)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for name, value in (("padding", 0), ("ceil_mode", False), ("count_include_pad", True), ("divisor_override", None)):
            self.__dict__.setdefault(name, value)

    def forward(self, input: Tensor) -> Tensor:
        return self.function(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _LPPoolNd(_PoolNd):
    __constants__ = ["norm_type", "kernel_size", "stride", "ceil_mode"]
    norm_type: float
    kernel_size: Size
    stride: Size | None
    ceil_mode: bool

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False) -> None:
        super().__init__()
        if norm_type == 0:
            raise ValueError(f"{type(self).__name__}: norm_type must not be zero")
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode
        self._ints(kernel_size, "kernel_size", 1)
        if stride is not None:
            self._ints(stride, "stride", 1)

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"
        )


class _MaxUnpoolNd(_PoolNd):
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = self._ints(kernel_size, "kernel_size", 1)
        self.stride = self._ints(stride, "stride", 1) if stride is not None else self.kernel_size
        self.padding = self._ints(padding, "padding", 0)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return self.function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


# -- a given number of windows -------------------------------------------------------------------------------------


class _AdaptivePoolNd(_PoolNd):
    __constants__ = ["output_size"]
    output_size: OptionalSize

    def _set_output_size(self, output_size: Any) -> None:
        self.output_size = output_size
        entries = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * self.ndim
        self._ints(tuple(0 if n is None else n for n in entries), "output_size", 0)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPoolNd(_AdaptivePoolNd):
    def __init__(self, output_size: OptionalSize) -> None:
        super().__init__()
        self._set_output_size(output_size)

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, self.output_size)


class _AdaptiveMaxPoolNd(_AdaptivePoolNd):
    __constants__ = ["output_size", "return_indices"]
    return_indices: bool

    def __init__(self, output_size: OptionalSize, return_indices: bool = False) -> None:
        super().__init__()
        self._set_output_size(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return self.function(input, self.output_size, self.return_indices)


class _FractionalMaxPoolNd(_PoolNd):
    __constants__ = ["kernel_size", "return_indices", "output_size", "output_ratio"]
    kernel_size: tuple[int, ...]
    return_indices: bool
    output_size: tuple[int, ...] | None
    output_ratio: tuple[float, ...] | None
    _random_samples: Tensor | None

    def __init__(
        self,
        kernel_size: Size,
        output_size: Size | None = None,
        output_ratio: float | tuple[float, ...] | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        layer = type(self).__name__
        self.kernel_size = self._ints(kernel_size, "kernel_size", 1)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else self._ints(output_size, "output_size", 0)
        if output_size is None and output_ratio is None:
            raise ValueError(f"{layer} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError(f"{layer}: only one of output_size and output_ratio may be specified")
        self.output_ratio = None
        if output_ratio is not None:
            ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * self.ndim
            if len(ratios) != self.ndim or not all(0 < r < 1 for r in ratios):
                raise ValueError(
                    f"{layer}: output_ratio must be between 0 and 1 (got {output_ratio}): one number, or {self.ndim} numbers"
                )
            self.output_ratio = ratios

    def forward(self, input: Tensor) -> Any:
        return self.function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


# -- the public layers ---------------------------------------------------------------------------------------------


def _doc(ndim: int, text: str, example: str) -> str:
    """The docstring of a layer: `text` and `example` with their placeholders filled for the rank."""
    axes = "L" if ndim == 1 else "DHW"[3 - ndim :]
    filled = {
        "ndim": ndim,
        "ints": f"int or tuple of {ndim} ints",
        "in": ", ".join(f"{a}_{{in}}" for a in axes),
        "out": ", ".join(f"{a}_{{out}}" for a in axes),
        "kernel": "".join(f"K_{a}" for a in axes),
    }
    for name in ("text", "example"):
        found = text if name == "text" else example
        for key, value in filled.items():
            found = found.replace(f"<{key}>", str(value))
        for size in range(1, 10):
            found = found.replace(f"<{size}>", ", ".join([str(size)] * ndim))
        text, example = (found, example) if name == "text" else (text, found)
    return f"{text.rstrip()}\n\n    {example.strip()}\n    "


_SIZE = r"""
        .. math:: X_{out} = \lfloor (X_{in} + 2\,\mathrm{padding} - \mathrm{dilation}\,(K - 1) - 1) / \mathrm{stride} \rfloor + 1

        or, with `ceil_mode`, rounded up, if the last window then begins inside the input or the padding before it.
"""
_SHAPE = r"""
    Shape:
        input :math:`(N, C, <in>)` or :math:`(C, <in>)`, output :math:`(N, C, <out>)` or :math:`(C, <out>)`"""
_RAISES = r"""
    Raises:
        ValueError: at construction, a setting out of its range or of the wrong length.
        RuntimeError: an input of another rank, empty but for its batch, or too small for the windows.
        NotImplementedError: a dtype that cannot be pooled."""

_MAX = rf"""The largest element of each window; NaN where a window holds one.

    Args:
        kernel_size (<ints>): size of the windows.
        stride (<ints>): distance between windows. Default: `kernel_size`.
        padding (<ints>): entries of :math:`-\infty` on both sides, at most half of `kernel_size`. Default: 0.
        dilation (<ints>): distance between the entries of a window. Default: 1.
        return_indices (bool): whether the places of the largest elements are returned too, as flat indices into each
            (<in>) plane, for :class:`MaxUnpool<ndim>d`. Default: False.
        ceil_mode (bool): whether a last window may stick out. Default: False.
{_SHAPE} with
{_SIZE}{_RAISES}"""
_AVG = rf"""The mean of each window.

    Args:
        kernel_size (<ints>): size of the windows.
        stride (<ints>): distance between windows. Default: `kernel_size`.
        padding (<ints>): zeros on both sides, at most half of `kernel_size`. Default: 0.
        ceil_mode (bool): whether a last window may stick out; what sticks out is not counted. Default: False.
        count_include_pad (bool): whether the zeros of `padding` count in the mean. Default: True.
<divisor>{_SHAPE} with
{_SIZE}{_RAISES}"""
_DIVISOR = """        divisor_override (int, optional): what every sum is divided by, rather than by the number of its terms.
"""
_LP = rf"""The p-norm of each window, :math:`y = (\sum x^p)^{{1/p}}`: the sum for p = 1, and for p = :math:`\infty` the largest
    absolute value. As in PyTorch the sum is of :math:`x^p`, not of :math:`|x|^p`. Where it is 0 the gradient is 0.

    Args:
        norm_type (float): :math:`p`, not 0.
        kernel_size (<ints>): size of the windows.
        stride (<ints>): distance between windows. Default: `kernel_size`.
        ceil_mode (bool): whether a last window may stick out; its sum is scaled up to a whole window's. Default: False.
{_SHAPE} with
{_SIZE}{_RAISES}"""
_UNPOOL = rf"""The reverse of :class:`MaxPool<ndim>d`: each element goes back to where it came from, and zeros fill the rest.

    Called as `forward(input, indices, output_size=None)`. Several sizes lead to one pooled size; `output_size`, with or
    without :math:`(N, C)`, picks one of them. If an index occurs more than once in a plane, the last element stays.

    Args:
        kernel_size (<ints>): size of the windows of the pooling.
        stride (<ints>): their distance. Default: `kernel_size`.
        padding (<ints>): the padding of the pooling. Default: 0.
{_SHAPE} with

        .. math:: X_{{out}} = (X_{{in}} - 1)\,\mathrm{{stride}} - 2\,\mathrm{{padding}} + K

    Raises:
        ValueError: a setting out of its range or of the wrong length; an `output_size` that cannot be.
        RuntimeError: an input of another rank; indices of another shape or dtype, or beyond the output."""
_ADAPTIVE = r"""The <what> of each of a given number of windows, which lie evenly over an input of any size.

    Window i covers the places from :math:`\lfloor i\,X_{in} / X_{out} \rfloor` up to, but not including,
    :math:`\lceil (i + 1)\,X_{in} / X_{out} \rceil`.

    Args:
        output_size (<ints>, or None): number of windows per dimension; None keeps the input's size.<more>
""" + _SHAPE + r""" with the sizes of `output_size`

    Raises:
        ValueError: at construction, a negative size or the wrong number of sizes.
        RuntimeError: an input of another rank, or empty but for its batch.
        NotImplementedError: a dtype that is not floating."""  # fmt: skip
_INDICES = """
        return_indices (bool): whether the places of the largest elements are returned too, as flat indices into each
            plane. Default: False."""
_FRACTIONAL = r"""The largest element of each of a given number of windows at pseudo-random places (Graham, 2014,
    https://arxiv.org/abs/1412.6071).

    With :math:`\alpha = (X_{in} - K) / (X_{out} - 1)` and one random number u in [0, 1) for each plane and dimension, window i
    begins at :math:`\lfloor (i + u)\,\alpha \rfloor - \lfloor u\,\alpha \rfloor`, and the last one ends where the input does.

    Args:
        kernel_size (<ints>): size of the windows.
        output_size (<ints>): number of windows per dimension.
        output_ratio (float or tuple of <ndim> floats): the same as a fraction of the input's size, between 0 and 1. Exactly one
            of the two is given.
        return_indices (bool): whether the places of the largest elements are returned too, as flat indices into each
            plane. Default: False.
        _random_samples (Tensor): the random numbers, :math:`(N, C, <ndim>)`; otherwise drawn from the default generator.
""" + _SHAPE + r"""

    Raises:
        ValueError: at construction, neither or both of `output_size` and `output_ratio`, or one out of its range.
        RuntimeError: an input of another rank, empty but for its batch, or too small for the windows."""  # fmt: skip


def _shape_example(layer: str, arguments: str, given: str, found: str) -> str:
    return f""">>> nn.{layer}<ndim>d({arguments})(lamina.zeros(5, 4, {given})).shape
    torch.Size([5, 4, {found}])"""


_MAX_EXAMPLE = _shape_example("MaxPool", "3, stride=2", "<9>", "<4>")
_AVG_EXAMPLE = _shape_example("AvgPool", "3, stride=2", "<9>", "<4>")
_LP_EXAMPLE = _shape_example("LPPool", "2, 3, stride=2", "<9>", "<4>")
_FRACTIONAL_EXAMPLE = _shape_example("FractionalMaxPool", "3, output_size=<4>".replace("<4>", "4"), "<9>", "<4>")
_UNPOOL_EXAMPLE = """>>> y, indices = nn.MaxPool<ndim>d(2, return_indices=True)(lamina.rand(5, 4, <8>))
    >>> nn.MaxUnpool<ndim>d(2)(y, indices).shape
    torch.Size([5, 4, <8>])"""


def _adaptive_doc(ndim: int, kind: str) -> str:
    maximum = kind == "Max"
    text = _ADAPTIVE.replace("<what>", "largest element" if maximum else "mean").replace("<more>", _INDICES if maximum else "")
    return _doc(ndim, text, _shape_example(f"Adaptive{kind}Pool", "3", "<7>", "<3>"))


class MaxPool1d(_MaxPoolNd):
    __doc__ = _doc(1, _MAX, _MAX_EXAMPLE)
    ndim = 1
    function: Any = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPoolNd):
    __doc__ = _doc(2, _MAX, _MAX_EXAMPLE)
    ndim = 2
    function: Any = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPoolNd):
    __doc__ = _doc(3, _MAX, _MAX_EXAMPLE)
    ndim = 3
    function: Any = staticmethod(F.max_pool3d)


class MaxUnpool1d(_MaxUnpoolNd):
    __doc__ = _doc(1, _UNPOOL, _UNPOOL_EXAMPLE)
    ndim = 1
    function: Any = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpoolNd):
    __doc__ = _doc(2, _UNPOOL, _UNPOOL_EXAMPLE)
    ndim = 2
    function: Any = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpoolNd):
    __doc__ = _doc(3, _UNPOOL, _UNPOOL_EXAMPLE)
    ndim = 3
    function: Any = staticmethod(F.max_unpool3d)


class AvgPool1d(_AvgPoolNd):
    __doc__ = _doc(1, _AVG.replace("<divisor>", ""), _AVG_EXAMPLE)
    __constants__ = ["kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"]
    ndim = 1
    function: Any = staticmethod(F.avg_pool1d)

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        del self.divisor_override
        for name in ("kernel_size", "stride", "padding"):  # as PyTorch shows them in this layer alone
            setattr(self, name, self._ints(getattr(self, name), name, 0))

    def forward(self, input: Tensor) -> Tensor:
        return self.function(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(_AvgPoolNd):
    __doc__ = _doc(2, _AVG.replace("<divisor>", _DIVISOR), _AVG_EXAMPLE)
    ndim = 2
    function: Any = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPoolNd):
    __doc__ = _doc(3, _AVG.replace("<divisor>", _DIVISOR), _AVG_EXAMPLE)
    ndim = 3
    function: Any = staticmethod(F.avg_pool3d)


class LPPool1d(_LPPoolNd):
    __doc__ = _doc(1, _LP, _LP_EXAMPLE)
    ndim = 1
    function: Any = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPoolNd):
    __doc__ = _doc(2, _LP, _LP_EXAMPLE)
    ndim = 2
    function: Any = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPoolNd):
    __doc__ = _doc(3, _LP, _LP_EXAMPLE)
    ndim = 3
    function: Any = staticmethod(F.lp_pool3d)


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    __doc__ = _doc(2, _FRACTIONAL, _FRACTIONAL_EXAMPLE)
    ndim = 2
    function: Any = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    __doc__ = _doc(3, _FRACTIONAL, _FRACTIONAL_EXAMPLE)
    ndim = 3
    function: Any = staticmethod(F.fractional_max_pool3d)


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    __doc__ = _adaptive_doc(1, "Max")
    ndim = 1
    function: Any = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    __doc__ = _adaptive_doc(2, "Max")
    ndim = 2
    function: Any = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    __doc__ = _adaptive_doc(3, "Max")
    ndim = 3
    function: Any = staticmethod(F.adaptive_max_pool3d)


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    __doc__ = _adaptive_doc(1, "Avg")
    ndim = 1
    function: Any = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    __doc__ = _adaptive_doc(2, "Avg")
    ndim = 2
    function: Any = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    __doc__ = _adaptive_doc(3, "Avg")
    ndim = 3
    function: Any = staticmethod(F.adaptive_avg_pool3d)
