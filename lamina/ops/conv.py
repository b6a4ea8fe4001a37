"""Convolution and transposed convolution, once for every number of spatial dimensions.

Three operations, each linear in both of its arguments, are closed under differentiation::

    Convolution(x, w)                y        correlation of the input with the weight
    ConvolutionBackwardInput(g, w)   like x   its transpose in x, which is what a transposed convolution computes
    ConvolutionBackwardWeight(x, g)  like w   its transpose in w

The gradient of each is made of the other two, so gradients of gradients need nothing more; the bias is a sum. All take the settings that the
kernels take: ``stride``, ``padding`` as pairs (before, after), ``dilation``, ``groups``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, type_name
from lamina.engine import kernels as k
from lamina.ops.pointwise import _conj

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

# -- the operations ------------------------------------------------------------------------------------------------


def _version(weight: Any) -> int | None:
    """What changes whenever the weight's memory is written, so that a layout of it may be kept; ``None``: unknown."""
    version = weight._version
    return 0 if version is None else version.n if version.watched else None


class Convolution(Op):
    """y = x ⋆ w + b;   dL/dx = g ⋆ᵀ w, dL/dw = x ⋆ g, dL/db = Σg"""

    @staticmethod
    def forward(ctx, x, w, b, stride, padding, dilation, groups):
        ctx.save(x, w)
        ctx.settings = stride, padding, dilation, groups
        return k.conv(x._a, w._a, b if b is None else b._a, stride, padding, dilation, groups, _version(w))

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved
        gx = gw = gb = None
        to_x, to_w = ctx.needs(0), ctx.needs(1)
        if to_x and to_w and not _lies_well(grad._a):
            grad = Arranged.apply(grad)
        if to_x:
            gx = ConvolutionBackwardInput.apply(grad, _conj(w), None, x._a.shape[2:], *ctx.settings)
        if to_w:
            gw = ConvolutionBackwardWeight.apply(_conj(x), grad, w._a.shape[2:], *ctx.settings)
        if ctx.needs(2):
            gb = ConvolutionBackwardBias.apply(grad)
        return gx, gw, gb


class ConvolutionBackwardInput(Op):
    """y = x ⋆ᵀ w + b, of spatial ``size``;   dL/dx = g ⋆ w, dL/dw = g ⋆ x, dL/db = Σg"""

    @staticmethod
    def forward(ctx, x, w, b, size, stride, padding, dilation, groups):
        ctx.save(x, w)
        ctx.settings = stride, padding, dilation, groups
        return k.conv_backward_input(
            x._a, w._a, b if b is None else b._a, size, stride, padding, dilation, groups, _version(w)
        )

    @staticmethod
    def backward(ctx, grad):
        x, w = ctx.saved
        gx = gw = gb = None
        to_x, to_w = ctx.needs(0), ctx.needs(1)
        if to_x and to_w and not _lies_well(grad._a):
            grad = Arranged.apply(grad)
        if to_x:
            gx = Convolution.apply(grad, _conj(w), None, *ctx.settings)
        if to_w:
            gw = ConvolutionBackwardWeight.apply(grad, _conj(x), w._a.shape[2:], *ctx.settings)
        if ctx.needs(2):
            gb = ConvolutionBackwardBias.apply(grad)
        return gx, gw, gb

    def name(self) -> str:
        return "ConvolutionBackward0"  # as PyTorch names a transposed convolution


class ConvolutionBackwardWeight(Op):
    """dL/dw = x ⋆ g;   given v for it, the gradient to x is g ⋆ᵀ v and that to g is x ⋆ v"""

    @staticmethod
    def forward(ctx, x, grad, kernel_size, stride, padding, dilation, groups):
        ctx.save(x, grad)
        ctx.settings = stride, padding, dilation, groups
        return k.conv_backward_weight(x._a, grad._a, kernel_size, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx, v):
        x, grad = ctx.saved
        return (
            ConvolutionBackwardInput.apply(grad, _conj(v), None, x._a.shape[2:], *ctx.settings) if ctx.needs(0) else None,
            Convolution.apply(_conj(x), v, None, *ctx.settings) if ctx.needs(1) else None,
        )


class ConvolutionBackwardBias(Op):
    """dL/db = Σg over all but the channels;   given v for it, the gradient to g is v everywhere"""

    @staticmethod
    def forward(ctx, grad):
        ctx.shape = grad._a.shape
        return k.conv_backward_bias(grad._a)

    @staticmethod
    def backward(ctx, v):
        return v.reshape(-1, *(1,) * (len(ctx.shape) - 2)).expand(ctx.shape)


class Arranged(Op):
    """The same values in the memory order that suits the kernels, made once for the several that read them"""

    @staticmethod
    def forward(ctx, x):
        return k.conv_arrange(x._a)

    @staticmethod
    def backward(ctx, grad):
        return grad


def _lies_well(a: Any) -> bool:
    """Whether an array is neither in plain order nor spread out from fewer numbers."""
    return not a.flags.c_contiguous and 0 not in a.strides


# -- the functions -------------------------------------------------------------------------------------------------


def _convolution(
    name: str, ndim: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    if not (isinstance(input, Variable) and isinstance(weight, Variable) and (bias is None or isinstance(bias, Variable))):
        raise _not_a_tensor(name, input=input, weight=weight, bias=bias)
    x = input._a
    if x.dtype is not weight._a.dtype or bias is not None and x.dtype is not bias._a.dtype or x.dtype.kind == "b":
        _check_dtypes(name, input, weight, bias)
    stride, pairs, dilation = _settings(
        name, ndim, x.shape, weight._a.shape, None if bias is None else bias._a.shape,
        _setting(stride, "stride", ndim), padding if type(padding) is str else _setting(padding, "padding", ndim),
        _setting(dilation, "dilation", ndim), groups,
    )  # fmt: skip
    if x.ndim == ndim + 1:
        return Convolution.apply(input.unsqueeze(0), weight, bias, stride, pairs, dilation, groups).squeeze(0)
    return Convolution.apply(input, weight, bias, stride, pairs, dilation, groups)


def _transposed(
    name: str, ndim: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> Any:
    if not (isinstance(input, Variable) and isinstance(weight, Variable) and (bias is None or isinstance(bias, Variable))):
        raise _not_a_tensor(name, input=input, weight=weight, bias=bias)
    x = input._a
    if x.dtype is not weight._a.dtype or bias is not None and x.dtype is not bias._a.dtype or x.dtype.kind == "b":
        _check_dtypes(name, input, weight, bias)
    if x.dtype.kind in "iu" and x.dtype.itemsize < 8:
        raise NotImplementedError(f'"{name}" not implemented for {SCALAR_NAME[BY_NUMPY[x.dtype]]!r}')
    if isinstance(padding, str):
        raise TypeError(f"{name}(): argument 'padding' must be tuple of ints, not str")
    size, stride, pairs, dilation = _transposed_settings(
        name, ndim, x.shape, weight._a.shape, None if bias is None else bias._a.shape, _setting(stride, "stride", ndim),
        _setting(padding, "padding", ndim), _setting(output_padding, "output_padding", ndim),
        _setting(dilation, "dilation", ndim), groups,
    )  # fmt: skip
    if x.ndim == ndim + 1:
        input = input.unsqueeze(0)
        return ConvolutionBackwardInput.apply(input, weight, bias, size, stride, pairs, dilation, groups).squeeze(0)
    return ConvolutionBackwardInput.apply(input, weight, bias, size, stride, pairs, dilation, groups)


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolution of ``input`` (N, C, L) or (C, L) with ``weight`` (O, C/groups, K); see :class:`lamina.nn.Conv1d`."""
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolution of ``input`` (N, C, H, W) or (C, H, W) with ``weight`` (O, C/groups, KH, KW); see :class:`lamina.nn.Conv2d`."""
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolution of ``input`` (N, C, D, H, W) or (C, D, H, W) with ``weight`` (O, C/groups, KD, KH, KW); see
    :class:`lamina.nn.Conv3d`."""
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1
) -> Any:  # fmt: skip
    """Transposed convolution of ``input`` (N, C, L) or (C, L) with ``weight`` (C, O/groups, K); see
    :class:`lamina.nn.ConvTranspose1d`."""
    return _transposed("conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1
) -> Any:  # fmt: skip
    """Transposed convolution of ``input`` (N, C, H, W) or (C, H, W) with ``weight`` (C, O/groups, KH, KW); see
    :class:`lamina.nn.ConvTranspose2d`."""
    return _transposed("conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1, dilation: Any = 1
) -> Any:  # fmt: skip
    """Transposed convolution of ``input`` (N, C, D, H, W) or (C, D, H, W) with ``weight`` (C, O/groups, KD, KH, KW); see
    :class:`lamina.nn.ConvTranspose3d`."""
    return _transposed("conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation)


# -- what the arguments mean, and what is wrong with them ----------------------------------------------------------


def _setting(value: Any, name: str, ndim: int) -> Ints:
    """An int or a sequence of ints as a tuple of ``ndim`` ints (a single entry stands for all)."""
    if type(value) is tuple and len(value) == ndim:
        return value
    try:
        ints = tuple(map(operator.index, value)) if isinstance(value, Sequence) else (operator.index(value),)
    except TypeError:
        raise TypeError(f"argument '{name}' must be tuple of ints, but got {type(value).__name__}: {value!r}") from None
    if len(ints) == 1:
        return ints * ndim
    if len(ints) != ndim:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {ndim} values to match the convolution dimensions, but "
            f"got {name}={list(ints)}"
        )
    return ints


@lru_cache(1024)
def _settings(
    name: str, ndim: int, x: Ints, w: Ints, b: Ints | None, stride: Ints, padding: Ints | str, dilation: Ints, groups: int
) -> tuple[Ints, Pairs, Ints]:
    """The settings as the kernels take them, after every check of a convolution's arguments."""
    _check_ranks(name, ndim, x, w)
    _check_signs(stride, dilation, w[2:], groups)
    if padding == "same":
        if any(t != 1 for t in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        totals = [d * (n - 1) for d, n in zip(dilation, w[2:], strict=True)]
        pairs: Pairs = tuple((total // 2, total - total // 2) for total in totals)
    elif padding == "valid":
        pairs = ((0, 0),) * ndim
    elif isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    else:
        _check_not_negative("padding", padding)
        pairs = tuple((operator.index(p), operator.index(p)) for p in padding)
    channels = x[-ndim - 1]
    if w[1] * groups != channels:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(w)}, expected input{list(x)} to have {w[1] * groups} channels, but got "
            f"{channels} channels instead"
        )
    _check_weight_and_bias(w, b, w[0], groups, "")
    padded = [n + lo + hi for n, (lo, hi) in zip(x[-ndim:], pairs, strict=True)]
    reach = [d * (n - 1) + 1 for d, n in zip(dilation, w[2:], strict=True)]
    if any(n < r for n, r in zip(padded, reach, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_by(padded)}). Kernel size: ({_by(reach)}). Kernel size can't be greater "
            "than actual input size"
        )
    if 0 in x[-ndim:]:
        raise RuntimeError(f"Only zero batch or zero channel inputs are supported, but got input shape: {list(x)}")
    return stride, pairs, dilation


@lru_cache(1024)
def _transposed_settings(
    name: str, ndim: int, x: Ints, w: Ints, b: Ints | None, stride: Ints, padding: Ints, output_padding: Ints, dilation: Ints, groups: int
) -> tuple[Ints, Ints, Pairs, Ints]:  # fmt: skip
    """The spatial size of the result, and the settings of the convolution whose transpose is wanted."""
    _check_ranks(name, ndim, x, w)
    _check_signs(stride, dilation, w[2:], groups)
    _check_not_negative("padding", padding)
    _check_not_negative("output_padding", output_padding)
    channels = x[-ndim - 1]
    if w[0] != channels:
        raise RuntimeError(
            f"Given transposed=1, weight of size {list(w)}, expected input{list(x)} to have {w[0]} channels, but got {channels} "
            "channels instead"
        )
    _check_weight_and_bias(w, b, w[1] * groups, groups, "transposed=1, ")
    if any(e >= t and e >= d for e, t, d in zip(output_padding, stride, dilation, strict=True)):
        raise RuntimeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding: ({_by(output_padding)}) "
            f"stride: ({_by(stride)}) dilation: ({_by(dilation)})"
        )
    size = tuple(
        (n - 1) * t - 2 * p + d * (m - 1) + e + 1
        for n, t, p, d, m, e in zip(x[-ndim:], stride, padding, dilation, w[2:], output_padding, strict=True)
    )
    if any(n < 1 for n in size):
        raise RuntimeError(
            f"Given input size per channel: ({_by(x[-ndim:])}). Calculated output size per channel: ({_by(size)}). Output size is "
            "too small"
        )
    if 0 in x[-ndim:]:
        raise RuntimeError(f"Only zero batch or zero channel inputs are supported, but got input shape: {list(x)}")
    return size, stride, tuple((p, p - e) for p, e in zip(padding, output_padding, strict=True)), dilation


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def _check_ranks(name: str, ndim: int, x: Ints, w: Ints) -> None:
    if len(x) not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {name}, but got input of size: {list(x)}"
        )
    if len(w) != ndim + 2:
        raise RuntimeError(f"{name}: expected a weight of {ndim + 2} dimensions, but got weight of size {list(w)}")


def _check_signs(stride: Ints, dilation: Ints, kernel: Ints, groups: int) -> None:
    for name, values in (("stride", stride), ("dilation", dilation)):
        for value in values:
            operator.index(value)
        if min(values) < 1:
            raise RuntimeError(f"non-positive {name} is not supported, got {name}={list(values)}")
    if min(kernel) < 1:
        raise RuntimeError(f"kernel size should be greater than zero, but got ({_by(kernel)})")
    if operator.index(groups) < 1:
        raise RuntimeError(f"non-positive groups is not supported, got groups={groups}")


def _check_not_negative(name: str, values: Ints) -> None:
    if min(values) < 0:
        raise RuntimeError(f"negative {name} is not supported, got {name}={list(values)}")


def _check_weight_and_bias(w: Ints, b: Ints | None, outputs: int, groups: int, kind: str) -> None:
    if w[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size {list(w)} instead"
        )
    if w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size {list(w)} "
            "instead"
        )
    if b is not None and b != (outputs,):
        raise RuntimeError(
            f"Given {kind}weight of size {list(w)}, expected bias to be 1-dimensional with {outputs} elements, but got bias of size "
            f"{list(b)} instead"
        )


def _not_a_tensor(name: str, **arguments: Any) -> TypeError:
    for argument, value in arguments.items():
        if not isinstance(value, Variable) and not (argument == "bias" and value is None):
            return TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(value).__name__}")
    raise AssertionError("all arguments are tensors")


def _check_dtypes(name: str, input: Any, weight: Any, bias: Any) -> None:
    if input._a.dtype.kind == "b":
        raise NotImplementedError(f"{name} is not implemented for 'Bool'")
    for what, other in (("weight", weight), ("bias", bias)):
        if other is not None and other._a.dtype != input._a.dtype:
            raise RuntimeError(
                f"{name}: Input type ({type_name(input._a)}) and {what} type ({type_name(other._a)}) should be the same"
            )


FUNCTIONS = NN_FUNCTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
