"""Losses that want a margin: between a right class and the wrong ones, between near and far pairs, or in a ranking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, mode, wants, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise
from lamina.ops.distance import pairwise_distance
from lamina.ops.loss import U64, constant, reduced, reduction_of, tensors
from lamina.ops.loss_pointwise import PointwiseLoss
from lamina.ops.piecewise import relu

# -- classes -------------------------------------------------------------------------------------------------------


class _ClassMargin(Op):
    """One loss per sample of scores x, their mean or their sum;   dL/dx = g·∂ℓ/∂x, over N for the mean"""

    @staticmethod
    def _finish(ctx: Any, losses: np.ndarray, shape: tuple[int, ...], reduction: str) -> np.ndarray:
        ctx.rows = reduction == "none"
        ctx.scale = 1.0 if reduction != "mean" else 1 / max(len(losses), 1)
        if ctx.rows:
            return losses.reshape(shape)
        total = np.add.reduce(losses)
        return np.asarray(total if reduction == "sum" else total * ctx.scale if len(losses) else np.nan, losses.dtype)

    @staticmethod
    def _spread(ctx: Any, grad: Any) -> Any:
        grad = grad if ctx.scale == 1 else grad * ctx.scale
        return grad.reshape(-1, 1) if ctx.rows else grad


class MultiMarginLoss(_ClassMargin):
    """w[t]/C·Σ max(0, m − x[t] + x)ᵖ over the other classes"""

    @staticmethod
    def forward(ctx, x, t, p, margin, weight, shape, reduction):
        losses, slope = k.multi_margin(x._a, t, p, margin, weight, ctx.recording)
        ctx.save(x if p == 2 else None, t, weight, slope)
        ctx.settings = p, margin
        return ctx._finish(ctx, losses, shape, reduction)

    @staticmethod
    def backward(ctx, grad):
        x, t, weight, slope = ctx.saved
        p, margin = ctx.settings
        if p == 1 or not mode.enabled:
            slope = wrap(slope)
        else:  # the slope of squares depends on x
            index = wrap(t[:, None])
            own = np.zeros(x._a.shape, x._a.dtype)
            np.put_along_axis(own, t[:, None], 1, 1)
            factor = np.full((len(t), 1), 2 / own.shape[1], own.dtype) * (1 if weight is None else weight[t][:, None])
            slope = relu(x - x.gather(1, index) + margin) * wrap((1 - own) * factor)
            slope = slope - wrap(own) * slope.sum(1, keepdim=True)
        return slope * ctx._spread(ctx, grad), *(None,) * 6


class MultilabelMarginLoss(_ClassMargin):
    """1/C·Σ max(0, 1 − x[t] + x) over the pairs of a right and a wrong class"""

    @staticmethod
    def forward(ctx, x, targets, counts, shape, reduction):
        losses, slope = k.multilabel_margin(x._a, targets, counts, ctx.recording)
        ctx.save(slope)
        return ctx._finish(ctx, losses, shape, reduction)

    @staticmethod
    def backward(ctx, grad):
        return wrap(ctx.saved[0]) * ctx._spread(ctx, grad), *(None,) * 4


def _samples(function: str, kernel: str, input: Any, target: Any) -> Any:
    """The input as (N, C), once it and the target's dtype are known to be what the kernel takes."""
    a = input._a
    if a.ndim > 2 or (a.ndim and not a.shape[-1]):
        raise RuntimeError(
            f"{function}: Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(a.shape)}"
        )
    if a.dtype.char not in "fd":
        raise NotImplementedError(f'"{kernel}" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
    return input if a.ndim == 2 else input.reshape(1, max(a.size, 1))


def _within(indices: np.ndarray, classes: int) -> bool:
    """Whether all indices are at least 0, and below the number of classes; a negative one, seen as unsigned, is large."""
    unsigned = indices.view(U64)
    return unsigned.item(unsigned.argmax()) < classes


def _indices(function: str, target: Any) -> np.ndarray:
    if target._a.dtype != np.int64:
        raise RuntimeError(f"{function}: expected scalar type Long but found {SCALAR_NAME[target.dtype]}")
    return target._a


def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""How far each wrong class is within a margin of the right one:
    :math:`\ell_n = \frac{w_{t_n}}{C} \sum_{c \ne t_n} \max(0, m - x_{n, t_n} + x_{n, c})^p`.

    Args:
        input (Tensor): scores, (N, C) or (C).
        target (Tensor): class indices in [0, C), (N) or ().
        p (int): 1 or 2.
        margin (float): :math:`m`.
        weight (Tensor, optional): a factor per class, (C).
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: `p`, the weight's number of dimensions, or the reduction.
        RuntimeError: shapes or dtypes that do not fit, or a target outside of the classes.
    """
    name = "multi_margin_loss"
    reduction = reduction_of(reduction, size_average, reduce)
    tensors(name, input=input, target=target)
    constant(name, weight=weight)
    if p != 1 and p != 2:
        raise ValueError(f"only p == 1 and p == 2 supported, but got {p}")
    if weight is not None and weight._a.ndim != 1:
        raise ValueError(f"weight must be one-dimensional, but it has shape {weight.shape}")
    x = _samples(name, "multi_margin_loss_cpu_kernel", input, target)
    n, classes = x._a.shape
    t = _indices(name, target)
    if t.ndim > 1 or t.size != n:
        raise RuntimeError(
            f"{name}: target tensor should be 1-D with size equal to the number of input samples (batch size). Expected "
            f"target size [{n}], but got {list(t.shape)}. Input has shape {list(input._a.shape)}."
        )
    if t.size and not _within(t, classes):
        raise RuntimeError(f"{name}: target out of range: it must be in [0, {classes - 1}]")
    if weight is not None:
        if weight._a.shape[0] != classes:
            raise RuntimeError(f"{name}: inconsistent weight size, expected {classes} but got {list(weight._a.shape)}")
        if weight._a.dtype != x._a.dtype:
            raise RuntimeError(
                f"{name}: expected scalar type {SCALAR_NAME[x.dtype]} but found {SCALAR_NAME[weight.dtype]}"
            )
    return MultiMarginLoss.apply(
        x, t.reshape(n), p, margin, None if weight is None else weight._a, t.shape, reduction
    )


def multilabel_margin_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""How far each wrong class is within a margin of 1 of each right one:
    :math:`\ell_n = \frac{1}{C} \sum_{t \in T_n} \sum_{c \notin T_n} \max(0, 1 - x_{n,t} + x_{n,c})`.

    Args:
        input (Tensor): scores, (N, C) or (C).
        target (Tensor): the right classes of each sample, up to the first -1; of the input's shape.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes or dtypes that do not fit, or a target outside of the classes.
    """
    name = "multilabel_margin_loss"
    reduction = reduction_of(reduction, size_average, reduce)
    tensors(name, input=input, target=target)
    x = _samples(name, "multilabel_margin_loss_forward_out_frame", input, target)
    n, classes = x._a.shape
    t = _indices(name, target)
    if t.shape != input._a.shape:
        raise RuntimeError(f"{name}: inconsistent target size: {list(t.shape)} for input of size: {list(input._a.shape)}")
    t = t.reshape(n, classes)
    if t.size and not _within(t + 1, classes + 1):
        raise RuntimeError(f"{name}: argument #2 'target' is out of range: it must be in [-1, {classes - 1}]")
    ends = np.zeros((n, classes + 1), bool)
    ends[:, classes] = True
    np.less(t, 0, out=ends[:, :classes])
    lengths = ends.argmax(axis=1)
    longest = lengths.item(lengths.argmax()) if n else 0
    t = t[:, : max(longest, 1)]
    counts = None
    if not n or lengths.item(lengths.argmin()) < max(longest, 1):
        counts = np.arange(t.shape[1]) < lengths[:, None]
    return MultilabelMarginLoss.apply(x, t, counts, input._a.shape[:-1], reduction)


class HingeEmbeddingLoss(PointwiseLoss):
    """x where y is 1, max(0, m − x) where it is −1, their sum elsewhere;   ∂/∂x = [y ≠ −1] − [y ≠ 1 and x ≤ m]"""

    kernel = "hinge_embedding"
    of_difference = False

    @staticmethod
    def slope(x, y, margin):
        return wrap(k.hinge_embedding_backward(x._a, y._a, np.ones((), x._a.dtype), margin, 1.0))


# -- pairs and triplets --------------------------------------------------------------------------------------------


def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""Distances that should be small where the target is 1, and at least a margin where it is -1:
    :math:`\ell_i = x_i` or :math:`\max(0, m - x_i)`.

    Args:
        input (Tensor): distances.
        target (Tensor): 1 or -1; shapes are broadcast.
        margin (float): :math:`m`.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes that do not broadcast.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("hinge_embedding_loss", input=input, target=target)
    if input._a.dtype is target._a.dtype and input._a.dtype.kind == "f" and not wants(target):
        return HingeEmbeddingLoss.apply(input, target, reduction, margin)
    zero = pointwise.zeros_like(input)
    far = pointwise.where(target != 1, pointwise.clamp(margin - input, min=0), zero)
    near = pointwise.where(target != -1, input, zero)
    return reduced(far + near, reduction)


def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""How far a first number is from being larger (target 1) or smaller (-1) than a second by a margin:
    :math:`\ell_i = \max(0, -y_i (x_{1,i} - x_{2,i}) + m)`.

    Args:
        input1, input2, target (Tensor): of as many dimensions; shapes are broadcast.
        margin (float): :math:`m`.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: numbers of dimensions that differ, or shapes that do not broadcast.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("margin_ranking_loss", input1=input1, input2=input2, target=target)
    if not input1._a.ndim == input2._a.ndim == target._a.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced(pointwise.clamp(-target * (input1 - input2) + margin, min=0), reduction)


def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""Vectors that should point the same way where the target is 1, and apart where it is -1:
    :math:`\ell_n = 1 - \cos(x_1, x_2)` or :math:`\max(0, \cos(x_1, x_2) - m)`.

    Args:
        input1, input2 (Tensor): (N, D) or (D).
        target (Tensor): 1 or -1, (N) or ().
        margin (float): :math:`m`, in [-1, 1].
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes that do not fit.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    rank = target._a.ndim
    if rank > 1:
        raise RuntimeError(f"0D or 1D target tensor expected, multi-target not supported, but got {target.shape}")
    if input1._a.ndim != rank + 1 or input2._a.ndim != rank + 1:
        raise RuntimeError(
            f"{rank}D target tensor expects {rank + 1}D input tensors, but found inputs with sizes "
            f"{list(input1._a.shape)} and {list(input2._a.shape)}."
        )
    squares = [(x * x).sum(rank) + 1e-12 for x in (input1, input2)]
    cosine = (input1 * input2).sum(rank) / (squares[0] * squares[1]).sqrt()
    zero = pointwise.zeros_like(cosine)
    near = pointwise.where(target == 1, 1 - cosine, zero)
    far = pointwise.where(target == -1, pointwise.clamp(cosine - margin, min=0), zero)
    return reduced(near + far, reduction)


def _check_triplet(margin: float, anchor: Any, positive: Any, negative: Any) -> None:
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    a, b, c = (t._a.ndim for t in (anchor, positive, negative))
    if not a == b == c:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {a}D, positive {b}D, and negative {c}D inputs"
        )


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""An anchor that should be nearer to its like than to another by a margin:
    :math:`\ell_n = \max(0, d(a_n, p_n) - d(a_n, q_n) + m)`, with the distance of `pairwise_distance`.

    Args:
        anchor, positive, negative (Tensor): (N, D) or (D).
        margin (float): :math:`m`, greater than 0.
        p (float): the norm's degree.
        eps (float): added to every difference.
        swap (bool): whether the positive's distance to the negative takes the anchor's place, where that is smaller.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the margin or the reduction.
        RuntimeError: numbers of dimensions that differ, or shapes that do not broadcast.
    """
    tensors("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    return triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=lambda x, y: pairwise_distance(x, y, p, eps),
        margin=margin,
        swap=swap,
        reduction=reduction_of(reduction, size_average, reduce),
    )


def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    r"""The loss of `triplet_margin_loss` with any distance, of which a small one means alike.

    Args:
        anchor, positive, negative (Tensor): whatever the distance takes, of as many dimensions.
        distance_function (callable, optional): of two tensors; `pairwise_distance` by default.
        margin (float): greater than 0.
        swap (bool): whether the positive's distance to the negative takes the anchor's place, where that is smaller.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the margin or the reduction.
        RuntimeError: numbers of dimensions that differ.
    """
    reduction = reduction_of(reduction)
    _check_triplet(margin, anchor, positive, negative)
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = pointwise.minimum(far, distance(positive, negative))
    return reduced(pointwise.clamp(margin + near - far, min=0), reduction)


NN_FUNCTIONS = (
    "hinge_embedding_loss", "margin_ranking_loss", "multilabel_margin_loss", "multi_margin_loss", "cosine_embedding_loss",
    "triplet_margin_loss", "triplet_margin_with_distance_loss",
)  # fmt: skip
