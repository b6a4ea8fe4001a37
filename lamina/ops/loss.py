"""Losses against class indices. Cross entropy is one operation from logits to the reduced loss."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, SCALAR_NAME, Size
from lamina.autograd.express import result
from lamina.autograd.graph import Op, Variable, mode, wants, wrap
from lamina.engine import kernels as k
from lamina.engine.door import detours
from lamina.ops import activation

I64, U64 = np.dtype(np.int64), np.dtype(np.uint64)
REDUCTIONS = ("none", "mean", "sum")


def reduction_of(reduction: str, size_average: bool | None = None, reduce: bool | None = None) -> str:
    """The reduction that is meant: the deprecated pair of flags, where given, outweighs the name.

    Raises:
        ValueError: the name is none of "none", "mean" and "sum".
    """
    if size_average is not None or reduce is not None:
        if reduce is False:
            reduction = "none"
        else:
            reduction = "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in REDUCTIONS:
        if reduction != "elementwise_mean":
            raise ValueError(f"{reduction} is not a valid value for reduction")
        warnings.warn(
            "reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.", stacklevel=3
        )
        return "mean"
    return reduction


def reduced(losses: Any, reduction: str) -> Any:
    """The losses, their mean or their sum."""
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def tensors(function: str, **arguments: Any) -> None:
    """Raise unless every argument is a tensor."""
    for name, value in arguments.items():
        if not isinstance(value, Variable):
            raise TypeError(f"{function}(): argument '{name}' must be Tensor, not {type(value).__name__}")


def constant(function: str, **arguments: Any) -> None:
    """Raise if a gradient is wanted of an argument that has none."""
    for name, value in arguments.items():
        if value is not None and wants(value) and mode.enabled:
            raise RuntimeError(
                f"The function '{function}' is not differentiable with respect to argument '{name}'. This input cannot "
                "have requires_grad True."
            )


# -- against class indices -----------------------------------------------------------------------------------------


def _check_classes(name: str, a: np.ndarray, t: np.ndarray, weight: Any) -> None:
    """Raise unless `t` (N, *d) can be class indices for `a` (N, C, *d)."""
    if a.ndim < 2:
        raise ValueError(f"{name}: the input must have a dimension of classes, but got shape {Size(a.shape)}")
    if t.dtype is not I64 and t.dtype != I64 and t.dtype != np.uint8:
        raise RuntimeError(f"{name}: expected target dtype to be Long or Byte, but got {SCALAR_NAME[BY_NUMPY[t.dtype]]}")
    if t.ndim == 0 or a.shape[0] != t.shape[0]:
        raise ValueError(
            f"{name}: Expected input batch_size ({a.shape[0]}) to match target batch_size "
            f"({t.shape[0] if t.ndim else 'none'})."
        )
    expected = (a.shape[0], *a.shape[2:])
    if t.shape != expected:
        raise RuntimeError(
            f"{name}: Expected target size {list(expected)} for input size {list(a.shape)}, got {list(t.shape)}"
        )
    if weight is not None:
        if weight._a.shape != (a.shape[1],):
            raise RuntimeError(
                f"{name}: weight tensor should be defined either for all {a.shape[1]} classes or no classes but got "
                f"weight tensor of shape: {list(weight._a.shape)}"
            )
        if weight._a.dtype != a.dtype:
            raise RuntimeError(
                f"{name}: expected a weight of scalar type {SCALAR_NAME[BY_NUMPY[a.dtype]]} but found "
                f"{SCALAR_NAME[BY_NUMPY[weight._a.dtype]]}"
            )


def _valid(name: str, t: np.ndarray, classes: int, ignore_index: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The class indices with 0 in place of ignored ones, and a mask of those that count (None: all)."""
    if not t.size:
        return t, None
    if t.dtype is I64 or t.dtype == I64:
        if not 0 <= ignore_index < classes:
            # Seen as unsigned, a negative index is a large one: the common case takes a single pass.
            unsigned = t.view(U64)
            if unsigned.item(unsigned.argmax()) < classes:
                return t, None
    else:
        t = t.astype(np.int64)
    keep = t != ignore_index
    kept = np.where(keep, t, 0)
    bad = kept[(kept < 0) | (kept >= classes)] if classes else kept[keep]
    if bad.size:
        raise IndexError(f"{name}: Target {bad[0]} is out of bounds for {classes} classes.")
    return kept, (None if keep.all() else keep)


def _plainly(x: Any, t: Any, weight: Any, ignore_index: int) -> bool:
    """Whether float32 numbers and class indices fit, all indices count, and nobody must see the call: the common case."""
    if weight is not None or detours or not isinstance(x, Variable) or not isinstance(t, Variable):
        return False
    a, t = x._a, t._a
    if a.dtype is not F32 or t.dtype is not I64 or a.ndim < 2:
        return False
    n, classes, *places = a.shape
    if t.shape != (n, *places) or not a.size or 0 <= ignore_index < classes:
        return False
    unsigned = t.view(U64)
    return unsigned.item(unsigned.argmax()) < classes


class CrossEntropy(Op):
    """−Σₙ wₙ·((1 − ε)·log softmax(x)[n, tₙ] + ε/C·Σ_c w_c/wₙ·log softmax(x)[n, c]), over Σₙ wₙ for the mean."""

    label = "NllLossBackward0"

    @staticmethod
    def forward(ctx, x, target, weight, ignore_index, reduction, smoothing):
        t, keep = _valid("cross_entropy", target._a, x._a.shape[1], ignore_index)
        a = activation._floating_only(x, "log_softmax_lastdim_kernel_impl")
        w = None if weight is None else weight._a
        value, parts = k.cross_entropy(a, t, keep, w, smoothing, reduction)
        if ctx.recording:
            ctx.settle(ctx, x, target, t, keep, parts)
        return value

    @staticmethod
    def settle(ctx, x, target, t, keep, parts):
        e, total_e, hit, total, other, ctx.denominator = parts
        ctx._keep(x, target, e, total_e, t, keep, hit, total, other)

    @staticmethod
    def backward(ctx, grad):
        x, _, e, total_e, t, *factors = ctx.saved
        dx = CrossEntropyBackward.apply(grad, x, e, total_e, t, *factors, ctx.denominator)
        return dx, None, None, None, None, None


class CrossEntropyBackward(Op):
    """g/W·(total·p − hit·onehot(t) − other), p = softmax(x);   d/dx = g/W·total·(p·h − p·Σ p·h)"""

    @staticmethod
    def forward(ctx, grad, x, e, total_e, t, keep, hit, total, other, denominator):
        ctx.save(grad, x, t, keep, hit, total, other)
        ctx.denominator = denominator
        return k.cross_entropy_backward(e, grad._a, total_e, t, keep, hit, total, other, denominator)

    @staticmethod
    def backward(ctx, h):
        grad, x, t, keep, hit, total, other = ctx.saved
        one = np.ones((), x._a.dtype)
        own = np.broadcast_to(one if hit is None else hit, t.shape)
        probs = activation.Softmax.apply(x, 1)
        scale = wrap(np.broadcast_to(one if total is None else total, t.shape)).unsqueeze(1)
        dg = dx = None
        if ctx.needs(0):
            r = probs * scale + wrap(k.class_rows_backward(np.ones(t.shape, own.dtype), t, own, keep, x._a.shape[1]))
            if other is not None:
                r = r - wrap(other)
            dg = (h * r).sum(1) / ctx.denominator
        if ctx.needs(1):
            weighted = probs * h
            rows = (grad.unsqueeze(1) if grad._a.ndim else grad) / ctx.denominator
            dx = rows * scale * (weighted - probs * weighted.sum(1, keepdim=True))
        return dg, dx, None, None, None, None, None, None, None, None


class NllLoss(Op):
    """−wₙ·x[n, tₙ], their sum, or that over Σₙ wₙ;   linear in x"""

    @staticmethod
    def forward(ctx, x, target, t, weight, keep, reduction):
        value, hit = k.nll(x._a, t, keep, weight, reduction)
        if ctx.recording:
            ctx.settle(ctx, x, target, t, hit, keep)
        return value

    @staticmethod
    def settle(ctx, x, target, t, hit, keep):
        ctx._keep(target, t, hit, keep)
        ctx.classes = x._a.shape[1]
        ctx.label = "NllLossBackward0" if x._a.ndim < 3 else "NllLoss2DBackward0"

    @staticmethod
    def backward(ctx, grad):
        return ClassRowsBackward.apply(grad, *ctx.saved, ctx.classes), None, None, None, None, None


class ClassRows(Op):
    """−wₙ·x[n, tₙ];   linear in x"""

    @staticmethod
    def forward(ctx, x, target, t, weight, keep):
        ctx.save(target, t, weight, keep)
        ctx.classes = x._a.shape[1]
        return k.class_rows(x._a, t, weight, keep)

    @staticmethod
    def backward(ctx, grad):
        return ClassRowsBackward.apply(grad, *ctx.saved, ctx.classes), None, None, None, None


class ClassRowsBackward(Op):
    """−g·wₙ at class tₙ, 0 elsewhere;   linear in g"""

    @staticmethod
    def forward(ctx, grad, target, t, weight, keep, classes):
        ctx.save(target, t, weight, keep)
        return k.class_rows_backward(grad._a, t, weight, keep, classes)

    @staticmethod
    def backward(ctx, h):
        return ClassRows.apply(h, *ctx.saved), None, None, None, None, None


def _batched(input: Any, target: Any) -> tuple[Any, Any, bool]:
    """Input and target with a batch dimension, and whether it was added."""
    if input._a.ndim == 1:
        return input.reshape(1, -1), target.reshape(1) if target._a.size == 1 else target, True
    return input, target, False


def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""The negative log-likelihood of the target classes: :math:`\ell_n = -w_{t_n} x_{n, t_n}`.

    Args:
        input (Tensor): log-probabilities, (N, C), (C) or (N, C, d1, ...).
        target (Tensor): class indices in [0, C), (N), () or (N, d1, ...).
        weight (Tensor, optional): a factor per class, (C).
        ignore_index (int): a target that does not count.
        reduction (str): "none", "sum", or "mean", which divides by the sum of the weights of the targets.

    Raises:
        ValueError, RuntimeError: shapes or dtypes that do not fit.
        IndexError: a target outside of the classes.
    """
    if size_average is None and reduce is None and reduction in REDUCTIONS and _plainly(input, target, weight, ignore_index):
        value, hit = k.nll(input._a, target._a, None, None, reduction)
        y = result(NllLoss, value, input, target, None, None, None, None)
        if (node := y._node) is not None:
            node.settle(node, input, target, target._a, hit, None)
        return y
    reduction = reduction_of(reduction, size_average, reduce)
    if not (isinstance(input, Variable) and isinstance(target, Variable)):
        tensors("nll_loss", input=input, target=target)
    if weight is not None:
        constant("nll_loss_forward", weight=weight)
    x, target, added = _batched(input, target)
    _check_classes("nll_loss", x._a, target._a, weight)
    if x._a.dtype.kind not in "fV":
        raise NotImplementedError(f'"nll_loss_out_frame" not implemented for {SCALAR_NAME[BY_NUMPY[x._a.dtype]]!r}')
    t, keep = _valid("nll_loss", target._a, x._a.shape[1], ignore_index)
    loss = NllLoss.apply(x, target, t, None if weight is None else weight._a, keep, reduction)
    return loss.reshape(()) if added and reduction == "none" else loss


def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    r"""The cross entropy between logits and classes: :math:`\ell_n = -\sum_c w_c\, q_{n,c} \log\mathrm{softmax}(x_n)_c`.

    Args:
        input (Tensor): logits, (N, C), (C) or (N, C, d1, ...).
        target (Tensor): class indices in [0, C) of shape (N), () or (N, d1, ...), or probabilities :math:`q` of the
            input's shape.
        weight (Tensor, optional): a factor per class, (C).
        ignore_index (int): a class index that does not count.
        reduction (str): "none", "sum", or "mean", which divides by the sum of the weights of the target indices, or
            for probabilities by the number of samples.
        label_smoothing (float): :math:`\varepsilon` of :math:`q \to (1 - \varepsilon) q + \varepsilon / C`.

    Raises:
        ValueError, RuntimeError: shapes, dtypes or settings that do not fit.
        IndexError: a class index outside of the classes.
    """
    if (
        size_average is None and reduce is None and label_smoothing == 0 and reduction in REDUCTIONS
        and _plainly(input, target, weight, ignore_index)
    ):  # fmt: skip
        value, parts = k.cross_entropy(input._a, target._a, None, None, 0.0, reduction)
        y = result(CrossEntropy, value, input, target, None, None, None, None)
        if (node := y._node) is not None:
            node.settle(node, input, target, target._a, None, parts)
        return y
    reduction = reduction_of(reduction, size_average, reduce)
    if not (isinstance(input, Variable) and isinstance(target, Variable)):
        tensors("cross_entropy", input=input, target=target)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if input._a.shape == target._a.shape:
        return _soft_cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)
    x, target, added = _batched(input, target)
    _check_classes("cross_entropy", x._a, target._a, weight)
    loss = CrossEntropy.apply(x, target, weight, ignore_index, reduction, label_smoothing)
    return loss.reshape(()) if added and reduction == "none" else loss


def _soft_cross_entropy(x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, smoothing: float) -> Any:
    """The cross entropy with probabilities for targets; made of operations, as the targets may need gradients too."""
    if target._a.dtype.kind not in "fV":
        raise RuntimeError(
            "Expected floating point type for target with class probabilities, got "
            f"{SCALAR_NAME[BY_NUMPY[target._a.dtype]]}"
        )
    if ignore_index >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    if not x._a.ndim:
        raise ValueError("cross_entropy: the input must have a dimension of classes, but got shape torch.Size([])")
    axis = min(1, x._a.ndim - 1)
    classes = x._a.shape[axis]
    if weight is not None and weight._a.shape != (classes,):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {classes} classes or no classes but got "
            f"weight tensor of shape: {list(weight._a.shape)}"
        )
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / classes
    terms = activation.LogSoftmax.apply(x, axis) * target
    if weight is not None:
        terms = terms * weight.reshape(-1, *(1,) * (x._a.ndim - axis - 1))
    if reduction == "none":
        return -terms.sum(axis)
    loss = -terms.sum()
    return loss if reduction == "sum" else loss / (x._a.size / classes if classes else 0.0)


NN_FUNCTIONS = ("cross_entropy", "nll_loss")
