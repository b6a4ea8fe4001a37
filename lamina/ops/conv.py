"""Convolution and transposed convolution, once for every number of spatial dimensions.

Three operations, each linear in both of its arguments, are closed under differentiation::

    Convolution(x, w)                y        correlation of the input with the weight
    ConvolutionBackwardInput(g, w)   like x   its transpose in x, which is what a transposed convolution computes
    ConvolutionBackwardWeight(x, g)  like w   its transpose in w

The gradient of each is made of the other two, so gradients of gradients need nothing more; that of the bias is a sum.
All take the settings that the kernels take: (stride, padding as pairs (before, after), dilation, groups).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from functools import lru_cache, wraps
from typing import Any

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.casting import lowered
from lamina.autograd.graph import Op, Variable, memory_version, type_name
from lamina.engine import kernels as k
from lamina.engine.door import detours
from lamina.ops.pointwise import _conj

Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Settings = tuple[Ints, Pairs, Ints, int]

# -- the operations ------------------------------------------------------------------------------------------------


class Convolution(Op):
    """y = x ⋆ w + b;   dL/dx = g ⋆ᵀ w, dL/dw = x ⋆ g, dL/db = Σg"""

    @staticmethod
    def forward(ctx, x, w, b, settings):
        a = _arranged(ctx, x, w, x._a.shape, settings)
        ctx.save(x, w, None if a is x._a else a)
        ctx.settings = settings
        return k.conv(a, w._a, b if b is None else b._a, settings, memory_version(w))

    @staticmethod
    def backward(ctx, grad):
        x, w, arranged = ctx.saved
        gx = gw = gb = None
        to_x, to_w = ctx.needs(0), ctx.needs(1)
        if to_x and to_w and not _lies_well(grad._a):
            grad = Arranged.apply(grad, x._a.shape, w._a.shape, ctx.settings)
        if to_x:
            gx = ConvolutionBackwardInput.apply(grad, _conj(w), None, x._a.shape[2:], ctx.settings)
        if to_w:
            gw = ConvolutionBackwardWeight.apply(_conj(x), grad, w._a.shape[2:], ctx.settings, arranged, None)
        if ctx.needs(2):
            gb = ConvolutionBackwardBias.apply(grad)
        return gx, gw, gb


class ConvolutionBackwardInput(Op):
    """y = x ⋆ᵀ w + b, of spatial ``size``;   dL/dx = g ⋆ w, dL/dw = g ⋆ x, dL/db = Σg"""

    @staticmethod
    def forward(ctx, x, w, b, size, settings):
        a = _arranged(ctx, x, w, (len(x._a), w._a.shape[1] * settings[3], *size), settings)
        ctx.save(x, w, None if a is x._a else a)
        ctx.settings = settings
        return k.conv_backward_input(a, w._a, b if b is None else b._a, size, settings, memory_version(w))

    @staticmethod
    def backward(ctx, grad):
        x, w, arranged = ctx.saved
        gx = gw = gb = None
        to_x, to_w = ctx.needs(0), ctx.needs(1)
        if to_x and to_w and not _lies_well(grad._a):
            grad = Arranged.apply(grad, grad._a.shape, w._a.shape, ctx.settings)
        if to_x:
            gx = Convolution.apply(grad, _conj(w), None, ctx.settings)
        if to_w:
            gw = ConvolutionBackwardWeight.apply(grad, _conj(x), w._a.shape[2:], ctx.settings, None, arranged)
        if ctx.needs(2):
            gb = ConvolutionBackwardBias.apply(grad)
        return gx, gw, gb

    def name(self) -> str:
        return "ConvolutionBackward0"  # as PyTorch names a transposed convolution


class ConvolutionBackwardWeight(Op):
    """dL/dw = x ⋆ g;   given v for it, the gradient to x is g ⋆ᵀ v and that to g is x ⋆ v"""

    @staticmethod
    def forward(ctx, x, grad, kernel_size, settings, arranged_x, arranged_grad):
        ctx.save(x, grad)
        ctx.settings = settings
        a = x._a if arranged_x is None else arranged_x
        return k.conv_backward_weight(a, grad._a if arranged_grad is None else arranged_grad, kernel_size, settings)

    @staticmethod
    def backward(ctx, v):
        x, grad = ctx.saved
        return (
            ConvolutionBackwardInput.apply(grad, _conj(v), None, x._a.shape[2:], ctx.settings)
            if ctx.needs(0)
            else None,
            Convolution.apply(_conj(x), v, None, ctx.settings) if ctx.needs(1) else None,
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
    def forward(ctx, array, x, w, settings):
        return k.conv_arrange(array._a, x, w, settings)

    @staticmethod
    def backward(ctx, grad):
        return grad


def _arranged(ctx: Any, x: Any, w: Any, like_x: Ints, settings: Settings) -> Any:
    """The array of an input, in the order that suits the kernels if the gradient to the weight will want it so again.

    An input of few channels is as a rule an image, large and quickly rearranged, and not worth the room.
    """
    a = x._a
    if ctx.recording and w._requires and a.shape[1] > 4 and not _lies_well(a):
        return k.conv_arrange(a, like_x, w._a.shape, settings)
    return a


def _lies_well(a: Any) -> bool:
    """Whether an array is neither in plain order nor spread out from fewer numbers, or too small for that to matter."""
    return a.size < 1 << 14 or not a.flags.c_contiguous and 0 not in a.strides


# -- the functions -------------------------------------------------------------------------------------------------


def _arrays(name: str, input: Any, weight: Any, bias: Any) -> tuple[Any, Any, Any]:
    """The arrays of the three arguments, which are tensors of one dtype."""
    try:
        x, w, b = input._a, weight._a, None if bias is None else bias._a
    except AttributeError:
        raise _not_a_tensor(name, input=input, weight=weight, bias=bias) from None
    if x.dtype is not w.dtype or b is not None and x.dtype is not b.dtype or x.dtype.kind == "b":
        _check_dtypes(name, x, w, b)
    return x, w, b


def _shapes(ndim: int) -> tuple[str, str]:
    """The spatial sizes of an input and of a weight, as the docstrings name them."""
    names = "L" if ndim == 1 else "DHW"[3 - ndim :]
    return ", ".join(names), "K" if ndim == 1 else ", ".join("K" + n for n in names)


def _convolution(ndim: int) -> Any:
    name, (sizes, kernel) = f"conv{ndim}d", _shapes(ndim)

    def function(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
    ) -> Any:
        if detours:
            input, weight, bias = lowered(input, weight, bias)
        x, w, b = _arrays(name, input, weight, bias)
        settings = _settings(
            name, ndim, x.shape, w.shape, None if b is None else b.shape, _ints(stride, "stride", ndim),
            padding if type(padding) is str else _ints(padding, "padding", ndim), _ints(dilation, "dilation", ndim), groups,
        )  # fmt: skip
        if x.ndim == ndim + 1:
            return Convolution.apply(input.unsqueeze(0), weight, bias, settings).squeeze(0)
        return Convolution.apply(input, weight, bias, settings)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Convolution of ``input`` (N, C, {sizes}) with ``weight`` (O, C/groups, {kernel}).

    See :class:`lamina.nn.Conv{ndim}d` for the arguments, the size of the result and what raises.
    """
    return function


def _transposed(ndim: int) -> Any:
    name, (sizes, kernel) = f"conv_transpose{ndim}d", _shapes(ndim)

    def function(
        input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
        dilation: Any = 1,
    ) -> Any:  # fmt: skip
        if detours:
            input, weight, bias = lowered(input, weight, bias)
        x, w, b = _arrays(name, input, weight, bias)
        if x.dtype.kind in "iu" and x.dtype.itemsize < 8:
            raise NotImplementedError(f"{name} is not implemented for '{SCALAR_NAME[BY_NUMPY[x.dtype]]}'")
        size, settings = _transposed_settings(
            name, ndim, x.shape, w.shape, None if b is None else b.shape, _ints(stride, "stride", ndim),
            _ints(padding, "padding", ndim), _ints(output_padding, "output_padding", ndim), _ints(dilation, "dilation", ndim),
            groups,
        )  # fmt: skip
        if x.ndim == ndim + 1:
            return ConvolutionBackwardInput.apply(input.unsqueeze(0), weight, bias, size, settings).squeeze(0)
        return ConvolutionBackwardInput.apply(input, weight, bias, size, settings)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""Transposed convolution of ``input`` (N, C, {sizes}) with ``weight`` (C, O/groups, {kernel}).

    See :class:`lamina.nn.ConvTranspose{ndim}d` for the arguments, the size of the result and what raises.
    """
    return function


conv1d, conv2d, conv3d = map(_convolution, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_transposed, (1, 2, 3))


# -- what the arguments mean, and what is wrong with them ----------------------------------------------------------


def _ints(value: Any, name: str, ndim: int) -> Ints:
    """An int or a sequence of ints as a tuple of ``ndim`` ints (a single entry stands for all)."""
    if type(value) is tuple and len(value) == ndim:
        return value
    if isinstance(value, str):
        raise TypeError(f"argument '{name}' must be tuple of ints, not str")
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


def _named(check: Any) -> Any:
    """Errors of a check begin with the name of the function that was called, which is the check's first argument."""

    @wraps(check)
    def named(name: str, *arguments: Any) -> Any:
        try:
            return check(name, *arguments)
        except RuntimeError as error:
            if name in str(error):
                raise
            raise RuntimeError(f"{name}: {error}") from None

    return named


@_named
@lru_cache(1024)
def _settings(
    name: str, ndim: int, x: Ints, w: Ints, b: Ints | None, stride: Ints, padding: Ints | str, dilation: Ints, groups: int
) -> Settings:
    """The settings as the kernels take them, after every check of a convolution's arguments."""
    _check_ranks(name, ndim, x, w)
    stride, dilation, groups = _check_common(stride, dilation, w[2:], groups)
    reach = [d * (n - 1) for d, n in zip(dilation, w[2:], strict=True)]
    if padding == "same":
        if any(t != 1 for t in stride):
            raise RuntimeError(f"padding='same' is not supported for strided convolutions, got stride={list(stride)}")
        pairs: Pairs = tuple((r // 2, r - r // 2) for r in reach)
    elif padding == "valid":
        pairs = ((0, 0),) * ndim
    elif isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'")
    else:
        pairs = tuple((p, p) for p in _checked("padding", padding, 0))
    channels = x[-ndim - 1]
    if w[1] * groups != channels:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(w)}, expected input{list(x)} to have {w[1] * groups} channels, but "
            f"got {channels} channels instead"
        )
    _check_weight_and_bias(w, b, w[0], groups, "")
    padded = [n + lo + hi for n, (lo, hi) in zip(x[-ndim:], pairs, strict=True)]
    if any(n <= r for n, r in zip(padded, reach, strict=True)):
        raise RuntimeError(
            f"Calculated padded input size per channel: ({_by(padded)}). Kernel size: ({_by(r + 1 for r in reach)}). Kernel size "
            "can't be greater than actual input size"
        )
    _check_not_empty(ndim, x)
    return stride, pairs, dilation, groups


@_named
@lru_cache(1024)
def _transposed_settings(
    name: str, ndim: int, x: Ints, w: Ints, b: Ints | None, stride: Ints, padding: Ints, output_padding: Ints, dilation: Ints,
    groups: int,
) -> tuple[Ints, Settings]:  # fmt: skip
    """The spatial size of the result, and the settings of the convolution whose transpose is wanted."""
    _check_ranks(name, ndim, x, w)
    stride, dilation, groups = _check_common(stride, dilation, w[2:], groups)
    padding, output_padding = _checked("padding", padding, 0), _checked("output_padding", output_padding, 0)
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
    if min(size) < 1:
        raise RuntimeError(
            f"Given input size per channel: ({_by(x[-ndim:])}). Calculated output size per channel: ({_by(size)}). Output size "
            "is too small"
        )
    _check_not_empty(ndim, x)
    return size, (stride, tuple((p, p - e) for p, e in zip(padding, output_padding, strict=True)), dilation, groups)


def _by(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def _check_ranks(name: str, ndim: int, x: Ints, w: Ints) -> None:
    if len(x) not in (ndim + 1, ndim + 2):
        raise RuntimeError(
            f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {name}, but got input of size: {list(x)}"
        )
    if len(w) != ndim + 2:
        raise RuntimeError(f"{name}: expected a weight of {ndim + 2} dimensions, but got weight of size {list(w)}")


def _checked(name: str, values: Ints, least: int) -> Ints:
    try:
        ints = tuple(map(operator.index, values))
    except TypeError:
        raise TypeError(f"argument '{name}' must be tuple of ints, but got {values!r}") from None
    if min(ints) < least:
        raise RuntimeError(f"{'non-positive' if least else 'negative'} {name} is not supported, got {list(ints)}")
    return ints


def _check_common(stride: Ints, dilation: Ints, kernel: Ints, groups: int) -> tuple[Ints, Ints, int]:
    stride, dilation = _checked("stride", stride, 1), _checked("dilation", dilation, 1)
    if min(kernel) < 1:
        raise RuntimeError(f"kernel size should be greater than zero, but got ({_by(kernel)})")
    return stride, dilation, _checked("groups", (groups,), 1)[0]


def _check_not_empty(ndim: int, x: Ints) -> None:
    if 0 in x[-ndim:]:
        raise RuntimeError(f"Only zero batch or zero channel inputs are supported, but got input shape: {list(x)}")


def _check_weight_and_bias(w: Ints, b: Ints | None, outputs: int, groups: int, kind: str) -> None:
    if w[0] < groups or w[0] % groups:
        wanted = f"at least {groups}" if w[0] < groups else f"divisible by {groups}"
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be {wanted} at dimension 0, but got weight of size {list(w)} instead"
        )
    if b is not None and b != (outputs,):
        raise RuntimeError(
            f"Given {kind}weight of size {list(w)}, expected bias to be 1-dimensional with {outputs} elements, but got bias of "
            f"size {list(b)} instead"
        )


def _not_a_tensor(name: str, **arguments: Any) -> TypeError:
    wrong = {n: v for n, v in arguments.items() if not isinstance(v, Variable) and not (n == "bias" and v is None)}
    argument, value = next(iter(wrong.items()))
    return TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(value).__name__}")


def _check_dtypes(name: str, x: Any, w: Any, b: Any) -> None:
    if x.dtype.kind == "b":
        raise NotImplementedError(f"{name} is not implemented for 'Bool'")
    for what, other in (("weight", w), ("bias", b)):
        if other is not None and other.dtype != x.dtype:
            raise RuntimeError(
                f"{name}: Input type ({type_name(x)}) and {what} type ({type_name(other)}) should be the same"
            )


FUNCTIONS = NN_FUNCTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
