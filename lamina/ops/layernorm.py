"""Normalisation within each example: over the last dimensions, over groups of channels, over neighbouring channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, HALVES, SCALAR_NAME, Size
from lamina.autograd.graph import Op, Variable, bump, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.norm import batch_norm, check_parameter, check_parameter_dtype
from lamina.ops.reduction import Mean, Sum


def _arrays(*tensors: Any) -> tuple:
    return tuple([None if t is None else t._a for t in tensors])


def _normalised(rows: Any, eps: float, centre: bool = True) -> tuple[Any, Any]:
    """Rows x̂ of mean 0 (with ``centre``) and mean square 1, and what they were multiplied with, as operations."""
    if centre:
        rows = rows - Mean.apply(rows, (1,), True)
    inverse = p.rsqrt(Mean.apply(rows * rows, (1,), True) + eps)
    return rows * inverse, inverse


def _through(h: Any, normed: Any, inverse: Any, centre: bool = True) -> Any:
    """The gradient that reaches rows from the gradient h of their normalised form, as operations."""
    gx = h - normed * Mean.apply(h * normed, (1,), True)
    if centre:
        gx = gx - Mean.apply(h, (1,), True)
    return gx * inverse


# -- over the last dimensions --------------------------------------------------------------------------------------


class LayerNorm(Op):
    """y = x̂·w + b, x̂ = (x − m)/√(v + ε) over the last dimensions;   with h = g·w: dL/dx = (h − Σh/n − x̂·Σ(h·x̂)/n)/√(v + ε)"""

    label = "NativeLayerNormBackward0"
    mixes = "first"

    @staticmethod
    def forward(ctx, x, weight, bias, ndim, eps):
        w, b = None if weight is None else weight._a, None if bias is None else bias._a
        y, m, v = k.layer_norm(x._a, w, b, ndim, eps)
        ctx.save(x, weight, m, v)
        ctx.settings = ndim, eps
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, m, v = ctx.saved
        affine = ctx.needs(1) or ctx.needs(2)
        if mode.enabled:
            return _composed(grad, x, weight, ctx.settings, affine, True)
        return LayerNormBackward.apply(grad, x, m, v, weight, *ctx.settings, affine)


class LayerNormBackward(Op):
    """The gradients of :class:`LayerNorm` in one kernel, where they are not to be differentiated again"""

    @staticmethod
    def forward(ctx, grad, x, m, v, weight, ndim, eps, affine):
        found = k.layer_norm_backward(*_arrays(grad, x), m, v, *_arrays(weight), ndim, eps, affine)
        return found if affine else found[:1]


class RMSNorm(Op):
    """y = x̂·w, x̂ = x/√(Σx²/n + ε) over the last dimensions;   with h = g·w: dL/dx = (h − x̂·Σ(h·x̂)/n)/√(Σx²/n + ε)"""

    label = "MulBackward0"
    mixes = "first"

    @staticmethod
    def forward(ctx, x, weight, ndim, eps):
        y, s = k.rms_norm(*_arrays(x, weight), ndim, eps)
        ctx.save(x, weight, s)
        ctx.settings = ndim, eps
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, s = ctx.saved
        affine = ctx.needs(1)
        if mode.enabled:
            return _composed(grad, x, weight, ctx.settings, affine, False)[:2]
        return RMSNormBackward.apply(grad, x, s, weight, *ctx.settings, affine)


class RMSNormBackward(Op):
    """The gradients of :class:`RMSNorm` in one kernel, where they are not to be differentiated again"""

    @staticmethod
    def forward(ctx, grad, x, s, weight, ndim, eps, affine):
        found = k.rms_norm_backward(*_arrays(grad, x), s, *_arrays(weight), ndim, eps, affine)
        return found if affine else found[:1]


def _composed(grad: Any, x: Any, weight: Any, settings: tuple[int, float], affine: bool, centre: bool) -> tuple:
    """The gradients of layer and RMS normalisation as operations, for when they are to be differentiated themselves."""
    shape, (ndim, eps) = x._a.shape, settings
    cut = len(shape) - ndim
    rows = math.prod(shape[:cut]), math.prod(shape[cut:])
    normed, inverse = _normalised(x.reshape(rows), eps, centre)
    g = grad.reshape(rows)
    gw = gb = None
    if affine:
        gw, gb = (Sum.apply(a, (0,), False, None).reshape(shape[cut:]) for a in (g * normed, g))
    h = g if weight is None else g * weight.reshape(rows[1])
    return _through(h, normed, inverse, centre).reshape(shape), gw, gb


# -- over groups of channels ---------------------------------------------------------------------------------------


class GroupNorm(Op):
    """y = x̂·w + b, x̂ = (x − m)/√(v + ε) over each group of channels;   dL/dx as in :class:`LayerNorm`"""

    label = "NativeGroupNormBackward0"
    mixes = "first"

    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps, statistics):
        y, m, v = k.group_norm(x._a, groups, *_arrays(weight, bias), eps)
        ctx.save(x, weight, m, v)
        ctx.settings = groups, eps
        if statistics is not None:
            ctx.label = "ViewBackward0"
            _move(statistics, m, v, x._a)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, m, v = ctx.saved
        affine = ctx.needs(1) or ctx.needs(2)
        if mode.enabled:
            return _composed_groups(grad, x, weight, ctx.settings, affine)
        return GroupNormBackward.apply(grad, x, m, v, weight, *ctx.settings, affine)


class GroupNormBackward(Op):
    """The gradients of :class:`GroupNorm` in one kernel, where they are not to be differentiated again"""

    @staticmethod
    def forward(ctx, grad, x, m, v, weight, groups, eps, affine):
        found = k.group_norm_backward(*_arrays(grad, x), m, v, groups, *_arrays(weight), eps, affine)
        return found if affine else found[:1]


def _move(statistics: tuple, m: Any, v: Any, a: np.ndarray) -> None:
    """Let running statistics (C) follow those of the examples (N, C), of which the average counts."""
    running_mean, running_var, momentum = statistics
    if running_mean is None or not a.shape[0]:
        return
    n = math.prod(a.shape[2:])
    unbiased = n / (n - 1) if n > 1 else math.nan
    m, v = (k.mean(s, (0,), False) for s in (m, v))
    k.move_statistics(running_mean._plain(), running_var._plain(), m, v, momentum, unbiased)
    bump(running_mean)
    bump(running_var)


def _composed_groups(grad: Any, x: Any, weight: Any, settings: tuple[int, float], affine: bool) -> tuple:
    """The gradients of :class:`GroupNorm` as operations, for when they are to be differentiated themselves."""
    shape, (groups, eps) = x._a.shape, settings
    rows = shape[0] * groups, math.prod(shape[1:]) // groups
    normed, inverse = _normalised(x.reshape(rows), eps)
    gw = gb = None
    if affine:
        axes = (0, *range(2, len(shape)))
        gw, gb = (Sum.apply(a, axes, False, None) for a in (grad * normed.reshape(shape), grad))
    h = grad if weight is None else grad * weight.reshape(-1, *(1,) * (len(shape) - 2))
    return _through(h.reshape(rows), normed, inverse).reshape(shape), gw, gb


# -- over neighbouring channels ------------------------------------------------------------------------------------


class WindowSum(Op):
    """Sums of neighbouring channels;   dL/dx is such sums of g, with before and after swapped"""

    @staticmethod
    def forward(ctx, x, before, after):
        ctx.window = before, after
        return k.window_sum(x._a, before, after)

    @staticmethod
    def backward(ctx, grad):
        before, after = ctx.window
        return WindowSum.apply(grad, after, before), None, None


# -- public functions ----------------------------------------------------------------------------------------------


def _array(name: str, argument: str, x: Any, position: int) -> np.ndarray:
    if not isinstance(x, Variable):
        raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")
    return x._a


def _floating(a: np.ndarray, name: str) -> None:
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f"\"{name}\" not implemented for '{SCALAR_NAME[BY_NUMPY[a.dtype]]}'")


def _dimensions(name: str, input: Any, normalized_shape: Any, weight: Any, bias: Any = None) -> int:
    """How many dimensions ``normalized_shape`` has, which must be the input's last ones and the parameters' shape."""
    try:
        shape = tuple(normalized_shape)
        sizes = input._a.shape[-len(shape) :]
        if shape and sizes == shape and (weight is None or weight._a.shape == shape) and (bias is None or bias._a.shape == shape):
            return len(shape)
    except (AttributeError, TypeError):
        pass
    raise _misfit(name, input, normalized_shape, {"weight": weight, "bias": bias})


def _misfit(name: str, input: Any, normalized_shape: Any, parameters: dict[str, Any]) -> Exception:
    """What is wrong with the arguments of a normalisation over the last dimensions."""
    a = _array(name, "input", input, 1)
    if not isinstance(normalized_shape, (tuple, list)) or not all(isinstance(n, int) for n in normalized_shape):
        kind = type(normalized_shape).__name__
        return TypeError(f"{name}(): argument 'normalized_shape' (position 2) must be tuple of ints, not {kind}")
    shape = tuple(normalized_shape)
    if not shape:
        return RuntimeError(
            f"{name}: Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got "
            f"normalized_shape = {list(shape)}"
        )
    for position, (argument, t) in enumerate(parameters.items(), 3):
        if t is not None and _array(name, argument, t, position).shape != shape:
            return RuntimeError(
                f"Expected {argument} to be of same shape as normalized_shape, but got {argument} of shape {list(t._a.shape)} "
                f"and normalized_shape = {list(shape)}"
            )
    error = ValueError if a.ndim < len(shape) and name == "rms_norm" else RuntimeError
    return error(
        f"Given normalized_shape={list(shape)}, expected input with shape [{', '.join(map(str, ('*', *shape)))}], but got "
        f"input of size{list(a.shape)}"
    )


def layer_norm(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    r"""The last dimensions of each example, normalised: :math:`y = (x - m) / \sqrt{v + \epsilon} \cdot w + b`.

    m and v are the mean and the (biased) variance over the last dimensions, whose sizes are ``normalized_shape``.

    Shapes: input (\*, \*normalized_shape), weight and bias (\*normalized_shape). Raises ``RuntimeError`` for sizes or dtypes
    that do not fit.
    """
    ndim = _dimensions("layer_norm", input, normalized_shape, weight, bias)
    check_parameter_dtype(input._a, weight, bias)
    _floating(input._a, "LayerNormKernelImpl")
    return LayerNorm.apply(input, weight, bias, ndim, float(eps))


def rms_norm(input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    r"""The last dimensions of each example, divided by their root mean square: :math:`y = x / \sqrt{E[x^2] + \epsilon} \cdot w`.

    ``eps`` is by default the distance from 1 to the next number of the dtype that is computed in (float32 for half precision).

    Shapes: input (\*, \*normalized_shape), weight (\*normalized_shape). Raises ``RuntimeError`` for sizes that do not fit.
    """
    ndim = _dimensions("rms_norm", input, normalized_shape, weight)
    a = input._a
    if a.dtype.kind not in "fcV":
        _floating(a, "rms_norm")
    if eps is None:
        eps = float(np.finfo(np.float32 if a.dtype in HALVES else a.dtype).eps)
    w = None if weight is None else weight._a
    if a.dtype.kind in "fV" and (w is None or w.dtype in (a.dtype, np.float32 if a.dtype in HALVES else a.dtype)):
        return RMSNorm.apply(input, weight, ndim, float(eps))
    y = input * p.rsqrt(Mean.apply(input * input, tuple(range(a.ndim - ndim, a.ndim)), True) + eps)
    return p.cast(y if weight is None else y * weight, BY_NUMPY[a.dtype])


def group_norm(input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    r"""Each group of channels of each example, normalised: :math:`y = (x - m) / \sqrt{v + \epsilon} \cdot w + b`.

    m and v are the mean and the (biased) variance of a group of C / ``num_groups`` channels; w and b belong to channels.

    Shapes: input (N, C, \*), weight and bias (C). Raises ``RuntimeError`` for sizes or dtypes that do not fit, and
    ``ValueError`` for a single value per group.
    """
    a = _array("group_norm", "input", input, 1)
    if a.ndim < 2:
        raise RuntimeError(f"group_norm: Expected at least 2 dimensions for input tensor but received {a.ndim}")
    n, c = a.shape[:2]
    if n * c // num_groups * math.prod(a.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {list(a.shape)}")
    if num_groups <= 0:
        raise RuntimeError(f"Expected num groups to be greater than 0, got {num_groups}")
    if c % num_groups:
        raise RuntimeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(a.shape)} and "
            f"num_groups={num_groups}"
        )
    for position, (argument, t) in enumerate((("weight", weight), ("bias", bias)), 3):
        if t is not None and _array("group_norm", argument, t, position).shape != (c,):
            raise RuntimeError(
                f"Expected {argument} to be a vector of size equal to the number of channels in input, but got {argument} of "
                f"shape {list(t._a.shape)} and input of shape {list(a.shape)}"
            )
    check_parameter_dtype(a, weight, bias)
    _floating(a, "GroupNormKernelImpl")
    return GroupNorm.apply(input, weight, bias, num_groups, float(eps), None)


def instance_norm(
    input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    r"""Each channel of each example, normalised: :math:`y = (x - m) / \sqrt{v + \epsilon} \cdot w + b`.

    With ``use_input_stats`` m and v are the channel's own mean and (biased) variance, and ``running_mean`` and
    ``running_var``, if given, move by ``momentum`` towards their averages over the examples (the unbiased variance);
    otherwise m and v are the running ones.

    Shapes: input (N, C, \*), all others (C). Raises ``ValueError`` for a single value per channel, and ``RuntimeError`` for
    sizes or dtypes that do not fit.
    """
    a = _array("instance_norm", "input", input, 1)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if math.prod(a.shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {Size(a.shape)}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean and running_var must either both be None or neither be None")
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if t is not None:
            check_parameter(name, t, a)
    _floating(a, "batch_norm")
    return GroupNorm.apply(input, weight, bias, a.shape[1], float(eps), (running_mean, running_var, float(momentum)))


def local_response_norm(input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    r"""Each channel, divided by a power of its neighbours' squares:
    :math:`y_c = x_c / (k + \frac{\alpha}{n} \sum x_{c'}^2)^\beta`.

    The sum is over n = ``size`` channels, from c − ⌊n/2⌋ on, of which those that do not exist count as zero.

    Shapes: input (N, C, \*) of three dimensions or more. Raises ``ValueError`` for fewer dimensions, and ``RuntimeError`` for a
    size below 1.
    """
    a = _array("local_response_norm", "input", input, 1)
    if a.ndim < 3:
        raise ValueError(f"local_response_norm: Expected 3D or higher dimensionality input (got {a.ndim} dimensions)")
    if not a.size:
        return input
    if not isinstance(size, int):
        raise TypeError(f"local_response_norm: size must be an int, got {size!r}")
    if size <= 0:
        raise RuntimeError(f"local_response_norm: size should be greater than zero, but got {size}")
    total = WindowSum.apply(input * input, size // 2, (size - 1) // 2)
    if a.dtype.kind in "fcV":
        total = total * (alpha / size)
    else:
        total = p.div(total, size, rounding_mode="trunc") * alpha
    return input / (total + k) ** beta


def cross_map_lrn2d(input: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    """What PyTorch's ``CrossMapLRN2d`` computes: the sum reaches (``size`` − 1)/2 channels to both sides, and the square of the
    first channel, once it was added, stays in it.
    """
    a = _array("cross_map_lrn2d", "input", input, 1)
    if a.ndim != 4:
        raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {a.ndim}D instead.")
    reach = int((size - 1) / 2)
    squares = input * input
    total = WindowSum.apply(squares, reach, reach)
    if a.shape[1] > reach + 1:
        late = np.arange(a.shape[1]) > reach
        total = total + squares[:, :1] * wrap(late.astype(a.dtype).reshape(1, -1, 1, 1))
    return input * (total * (alpha / size) + k) ** -beta


# -- as in torch, where the arguments have another order -----------------------------------------------------------


def _layer(
    input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enable: bool = True
) -> Any:
    """See :func:`lamina.nn.functional.layer_norm`; ``cudnn_enable`` means nothing on a CPU."""
    return layer_norm(input, normalized_shape, weight, bias, eps)


def _group(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Any:
    """See :func:`lamina.nn.functional.group_norm`; ``cudnn_enabled`` means nothing on a CPU."""
    return group_norm(input, num_groups, weight, bias, eps)


def _instance(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool, momentum: float, eps: float,
    cudnn_enabled: bool,
) -> Any:  # fmt: skip
    """See :func:`lamina.nn.functional.instance_norm`; ``cudnn_enabled`` means nothing on a CPU."""
    return instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def _batch(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float,
    cudnn_enabled: bool,
) -> Any:  # fmt: skip
    """See :func:`lamina.nn.functional.batch_norm`; ``cudnn_enabled`` means nothing on a CPU."""
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


for _function in (_layer, _group, _instance, _batch):
    _function.__name__ = _function.__qualname__ = f"{_function.__name__[1:]}_norm"

FUNCTIONS = ("rms_norm", _layer, _group, _instance, _batch)
NN_FUNCTIONS = ("layer_norm", "rms_norm", "group_norm", "instance_norm", "local_response_norm")
