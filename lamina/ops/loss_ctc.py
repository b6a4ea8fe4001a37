"""Connectionist temporal classification: sequences of labels without their times."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops.loss import reduction_of, tensors


class CtcLoss(Op):
    """−log Σ over all alignments of the product of their probabilities;   dL/dx = g·(eˣ − the posterior of each class)"""

    @staticmethod
    def forward(ctx, log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
        loss, alpha, emit = k.ctc(log_probs._a, targets, input_lengths, target_lengths, blank)
        ctx.save(log_probs, targets, input_lengths, target_lengths, loss, alpha, emit)
        ctx.blank, ctx.zero_infinity = blank, zero_infinity
        return np.where(loss == np.inf, loss.dtype.type(0), loss) if zero_infinity else loss

    @staticmethod
    def backward(ctx, grad):
        return CtcLossBackward.apply(grad, *ctx.saved, ctx.blank, ctx.zero_infinity), *(None,) * 5


class CtcLossBackward(Op):
    """The gradient; its own derivative is not implemented, as in PyTorch"""

    @staticmethod
    def forward(ctx, grad, log_probs, targets, input_lengths, target_lengths, loss, alpha, emit, blank, zero_infinity):
        dx = k.ctc_backward(grad._a, log_probs._a, targets, input_lengths, target_lengths, blank, loss, alpha, emit)
        if zero_infinity:
            dx[:, loss == np.inf] = 0
        return dx

    @staticmethod
    def backward(ctx, h):
        raise RuntimeError("derivative for aten::_ctc_loss_backward is not implemented")


def _lengths(name: str, value: Any, samples: int, limit: int | None) -> np.ndarray:
    """The lengths of all samples, given as a tensor or as ints."""
    if isinstance(value, Variable):
        lengths = value._a.reshape(-1)
        if lengths.dtype.kind not in "iu":
            raise RuntimeError(f"{name} must be integral, but got {SCALAR_NAME[BY_NUMPY[lengths.dtype]]}")
    elif isinstance(value, (list, tuple)):
        if not all(isinstance(v, (int, np.integer, Variable)) for v in value):
            raise TypeError(f"ctc_loss(): argument '{name}' must be Tensor or tuple of ints, but got {value!r}")
        lengths = np.array([int(v) for v in value], np.int64)
    else:
        raise TypeError(f"ctc_loss(): argument '{name}' must be Tensor or tuple of ints, not {type(value).__name__}")
    if lengths.size != samples:
        raise RuntimeError(f"{name} must be of size batch_size, {samples}, but it has {lengths.size} elements")
    if lengths.min() < 0:
        raise RuntimeError(f"ctc_loss: Expected {name} to have value at least 0, but got value {lengths.min()}")
    if limit is not None and lengths.max() > limit:
        raise RuntimeError(f"ctc_loss: Expected {name} to have value at most {limit}, but got value {lengths.max()}")
    return lengths.astype(np.int64)


def _padded(targets: np.ndarray, lengths: np.ndarray, blank: int, classes: int) -> np.ndarray:
    """The targets as (N, S), with blanks for padding, once they are known to be classes."""
    samples, longest = len(lengths), int(lengths.max(initial=0))
    inside = np.arange(longest) < lengths[:, None]
    padded = np.full((samples, longest), blank, np.int64)
    if targets.ndim == 1 and not (samples == 1 and targets.shape[0] != lengths[0]):
        if targets.shape[0] != lengths.sum():
            raise RuntimeError(
                f"ctc_loss: Expected targets to have size {lengths.sum()} at dimension 0, the sum of target_lengths, but got "
                f"size {targets.shape[0]}"
            )
        padded[inside] = targets
    else:
        rows = np.atleast_2d(targets)
        if rows.shape[0] != samples:
            raise RuntimeError(
                f"ctc_loss: Expected targets to have size {samples} at dimension 0, but got size {rows.shape[0]}"
            )
        if rows.shape[1] < longest:
            raise RuntimeError(
                f"ctc_loss: Expected targets to have size at least {longest} at dimension 1, but got size {rows.shape[1]}"
            )
        padded[inside] = rows[:, :longest][inside]
    wrong = (padded < 0) | (padded >= classes)
    if wrong.any():
        raise RuntimeError(f"ctc_loss: targets must be in [0, {classes - 1}], but got {padded[wrong][0]}")
    return padded


def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:
    r"""The negative log-likelihood of sequences of labels, summed over all alignments to longer sequences of inputs.

    Args:
        log_probs (Tensor): logarithms of probabilities over time, (T, N, C) or (T, C).
        targets (Tensor): classes, (N, S) padded, or all targets one after another, (sum of lengths).
        input_lengths, target_lengths (Tensor or tuple of ints): of each sample, (N) or ().
        blank (int): the class that stands for no label.
        reduction (str): "none", "sum", or "mean", of the losses divided by the target lengths (by 1 if 0).
        zero_infinity (bool): whether infinite losses (a target too long for its input), and their gradients, become 0.

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes, lengths or classes that do not fit.

    The gradient is that of the softmax before it and not of arbitrary log-probabilities; it has itself no derivative.
    """
    reduction = reduction_of(reduction)
    tensors("ctc_loss", log_probs=log_probs, targets=targets)
    batched = log_probs._a.ndim != 2
    x = log_probs if batched else log_probs.unsqueeze(1)
    if x._a.ndim != 3:
        raise RuntimeError(
            f"ctc_loss: Expected log_probs of shape (T, N, C) or (T, C), but got {list(log_probs._a.shape)}"
        )
    steps, samples, classes = x._a.shape
    if not x._a.size:
        raise RuntimeError(f"ctc_loss: log_probs tensor must not be empty, but got shape {list(log_probs._a.shape)}")
    if x._a.dtype not in (np.float32, np.float64):
        raise NotImplementedError(f'"ctc_loss_cpu" not implemented for {SCALAR_NAME[x.dtype]!r}')
    if not 0 <= blank < classes:
        raise RuntimeError(f"blank must be in label range, [0, {classes - 1}], but got {blank}")
    if targets._a.ndim not in (1, 2):
        raise RuntimeError(f"ctc_loss: Expected 1 to 2 dimensions of targets, but got {targets._a.ndim}")
    of_input = _lengths("input_lengths", input_lengths, samples, steps)
    of_target = _lengths("target_lengths", target_lengths, samples, None)
    padded = _padded(targets._a, of_target, blank, classes)
    losses = CtcLoss.apply(x, padded, of_input, of_target, blank, zero_infinity)
    if reduction == "mean":
        return (losses / wrap(np.maximum(of_target, 1).astype(x._a.dtype))).mean()
    if reduction == "sum":
        return losses.sum()
    return losses if batched else losses.squeeze(0)


NN_FUNCTIONS = ("ctc_loss",)
