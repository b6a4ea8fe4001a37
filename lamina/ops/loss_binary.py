"""Losses of yes-or-no decisions: binary cross entropy of probabilities and of logits, and their kin."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, check_cast, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import activation
from lamina.ops import pointwise as p
from lamina.ops.loss import constant, reduced, reduction_of, tensors
from lamina.ops.loss_pointwise import PointwiseLoss, _in_dtype_of_first


class BinaryLoss(Op):
    """ℓ(x, y) with factors that need no gradients, their mean or their sum;   dL/dx = g·∂ℓ/∂x, over n for the mean

    Subclasses name the kernel, and give the slopes in operations on tensors. The factors are arrays or None.
    """

    elementwise = True
    kernel = ""

    @staticmethod
    def slope(x: Any, y: Any, *factors: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def target_slope(x: Any, y: Any, *factors: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def forward(ctx, x, y, reduction, *factors):
        ctx.save(x, y, *factors)
        ctx.scale = 1.0 if reduction != "mean" else 1 / x._a.size if x._a.size else 0.0
        return getattr(k, ctx.kernel)(x._a, y._a, *factors, reduction)

    @staticmethod
    def backward(ctx, grad):
        x, y, *factors = ctx.saved
        dx: Any = None
        dy: Any = None
        given = [None if f is None else wrap(f) for f in factors]
        if ctx.needs(0):
            if mode.enabled:
                dx = grad * ctx.scale * ctx.slope(x, y, *given)
            else:
                dx = wrap(getattr(k, ctx.kernel + "_backward")(x._a, y._a, grad._a, *factors, ctx.scale))
                dx._hidden = x._hidden or y._hidden or grad._hidden
        if ctx.needs(1):
            dy = grad * ctx.scale * ctx.target_slope(x, y, *given)
        return dx, dy, *(None,) * (len(factors) + 1)


class BinaryCrossEntropy(BinaryLoss):
    """−w·(y·log x + (1 − y)·log(1 − x));   ∂/∂x = w·(x − y)/(x·(1 − x)), ∂/∂y = w·(log(1 − x) − log x)"""

    kernel = "binary_cross_entropy"

    @staticmethod
    def slope(x, y, weight):
        slope = (x - y) / p.clamp((1 - x) * x, min=1e-12)
        return slope if weight is None else slope * weight

    @staticmethod
    def target_slope(x, y, weight):
        slope = (1 - x).log() - x.log()
        return slope if weight is None else slope * weight


class BinaryCrossEntropyWithLogits(BinaryLoss):
    """−w·(p·y·log σ(x) + (1 − y)·log(1 − σ(x)));   ∂/∂x = w·((1 + (p − 1)·y)·σ(x) − p·y)"""

    kernel = "binary_cross_entropy_logits"

    @staticmethod
    def slope(x, y, weight, pos_weight):
        slope = activation.sigmoid(x)
        slope = slope - y if pos_weight is None else slope * ((pos_weight - 1) * y + 1) - pos_weight * y
        return slope if weight is None else slope * weight

    @staticmethod
    def target_slope(x, y, weight, pos_weight):
        slope = -x
        if pos_weight is not None:
            slope = slope + (pos_weight - 1) * log_loss(slope)
        return slope if weight is None else slope * weight


def log_loss(x: Any) -> Any:
    """log(1 + eˣ), without overflow and to full precision."""
    return p.clamp(x, min=0) + (-x.abs()).exp().log1p()


class SoftMarginLoss(PointwiseLoss):
    """log(1 + e^(−x·y));   ∂/∂x = −y·σ(−x·y)"""

    kernel = "soft_margin"
    not_implemented = "soft_margin_loss"
    mixes = "first"
    of_difference = False
    operands = staticmethod(_in_dtype_of_first)

    @staticmethod
    def slope(x, y):
        return activation.sigmoid(-(x * y)) * -y


# -- public functions ----------------------------------------------------------------------------------------------


def _factor(weight: Any, x: np.ndarray) -> Any:
    """The array of a weight (or None), in the dtype of ``x``; it must broadcast to the shape of ``x``."""
    if weight is None:
        return None
    w = weight._a if weight._a.dtype == x.dtype else weight._a.astype(x.dtype)
    if w.shape == x.shape:
        return w
    try:
        shape = np.broadcast_shapes(x.shape, w.shape)
    except ValueError as error:
        raise p._broadcastable(x, w, error) from None
    if shape != x.shape:
        raise RuntimeError(f"output with shape {list(x.shape)} doesn't match the broadcast shape {list(shape)}")
    return w


def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""The cross entropy between probabilities and targets, elementwise:
    :math:`\ell_i = -w_i (y_i \log x_i + (1 - y_i) \log(1 - x_i))`, with logarithms no less than -100.

    Args:
        input (Tensor): probabilities, in [0, 1].
        target (Tensor): of the same shape, in [0, 1].
        weight (Tensor, optional): a factor per element, broadcast to that shape.
        reduction (str): "none", "sum", or "mean", over the number of elements.

    Raises:
        ValueError: the target's shape or the reduction.
        RuntimeError: values outside of [0, 1], a target of another dtype, a weight that does not broadcast.
    """
    name = "binary_cross_entropy"
    reduction = reduction_of(reduction, size_average, reduce)
    tensors(name, input=input, target=target)
    a, b = input._a, target._a
    if a.shape != b.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is deprecated. Please "
            "ensure they have the same size."
        )
    constant(name, weight=weight)
    if a.dtype != b.dtype:
        raise RuntimeError(f"Found dtype {SCALAR_NAME[target.dtype]} but expected {SCALAR_NAME[input.dtype]}")
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f'"{name}" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
    weight = _factor(weight, a)
    for argument, x in (("input", a), ("target", b)):
        if x.size and not (np.minimum.reduce(x, axis=None) >= 0 and np.maximum.reduce(x, axis=None) <= 1):
            raise RuntimeError(f"all elements of {argument} should be between 0 and 1")
    return BinaryCrossEntropy.apply(input, target, reduction, weight)


def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Any:
    r"""The cross entropy between logits and targets, elementwise, from which nothing overflows:
    :math:`\ell_i = -w_i (p_i y_i \log \sigma(x_i) + (1 - y_i) \log(1 - \sigma(x_i)))`.

    Args:
        input (Tensor): logits.
        target (Tensor): of the same shape, usually in [0, 1].
        weight (Tensor, optional): :math:`w`, a factor per element, broadcast to that shape.
        reduction (str): "none", "sum", or "mean", over the number of elements.
        pos_weight (Tensor, optional): :math:`p`, a factor of the positive part, broadcast to that shape.

    Raises:
        ValueError: the target's shape or the reduction.
        RuntimeError: an integer target, or weights that do not broadcast.
    """
    name = "binary_cross_entropy_with_logits"
    reduction = reduction_of(reduction, size_average, reduce)
    tensors(name, input=input, target=target)
    if input._a.shape != target._a.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    constant(name, weight=weight, pos_weight=pos_weight)
    if input._a.dtype.kind not in "fV":
        raise NotImplementedError(f'"log_sigmoid_cpu" not implemented for {SCALAR_NAME[input.dtype]!r}')
    check_cast(input._a.dtype, target._a.dtype)
    input = p.cast(input, target.dtype)  # the loss is the target's kind
    factors = _factor(weight, input._a), _factor(pos_weight, input._a)
    return BinaryCrossEntropyWithLogits.apply(input, target, reduction, *factors)


def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""The logistic loss with targets of -1 and 1, elementwise: :math:`\ell_i = \log(1 + e^{-x_i y_i})`.

    Args:
        input, target (Tensor): shapes are broadcast.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes that do not broadcast, or an integer input.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("soft_margin_loss", input=input, target=target)
    constant("soft_margin_loss", target=target)
    if input._a.dtype.kind in "iub":
        raise RuntimeError(
            f"soft_margin_loss: result type Float can't be cast to the desired output type {SCALAR_NAME[input.dtype]}"
        )
    _factor(target, input._a)
    return SoftMarginLoss.apply(input, target, reduction)


def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""The mean over the classes, the last dimension, of the binary cross entropies of logits:
    :math:`\ell_n = -\frac{1}{C} \sum_c w_c (y_{n,c} \log \sigma(x_{n,c}) + (1 - y_{n,c}) \log(1 - \sigma(x_{n,c})))`.

    Args:
        input, target (Tensor): logits and targets, (N, C) or (C); shapes are broadcast.
        weight (Tensor, optional): a factor per class, (C).
        reduction (str): "none" for one loss per sample, "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes that do not broadcast.
        IndexError: an input without dimensions.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("multilabel_soft_margin_loss", input=input, target=target)
    if input._a.dtype.kind not in "fV":
        raise NotImplementedError(f'"log_sigmoid_cpu" not implemented for {SCALAR_NAME[input.dtype]!r}')
    if not input._a.ndim:
        raise IndexError("multilabel_soft_margin_loss: the input must have a dimension of classes, but it has none")
    dtype = p.result_numpy_dtype(input, target)
    x, y = p.cast(input, BY_NUMPY[dtype]), p.cast(target, BY_NUMPY[dtype])
    if x._a.shape != y._a.shape:
        try:
            shape = np.broadcast_shapes(x._a.shape, y._a.shape)
        except ValueError as error:
            raise p._broadcastable(x._a, y._a, error) from None
        x, y = x.expand(shape), y.expand(shape)
    losses = BinaryCrossEntropyWithLogits.apply(x, y, "none", None, None)
    if weight is not None:
        losses = losses * weight
    axis, classes = input._a.ndim - 1, input._a.shape[-1]
    return reduced(losses.sum(axis) / classes, reduction)


NN_FUNCTIONS = (
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss", "multilabel_soft_margin_loss"
)  # fmt: skip
