"""A linear map and cross entropy in one, of which the logits need never exist all at once."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina.autograd.graph import Op, mode, wants, wrap
from lamina.engine import kernels as k
from lamina.ops.activation import Softmax
from lamina.ops.linalg import _C_NAME, linear
from lamina.ops.loss import REDUCTIONS, _check_classes, _valid, constant, cross_entropy, reduction_of, tensors


@dataclasses.dataclass(slots=True, frozen=True)
class LinearCrossEntropyOptions:
    """How :func:`linear_cross_entropy` goes over the batch in chunks, so that only some samples' logits exist at a time.

    Args:
        allow_retain_graph (bool): PyTorch's permission to go backward twice, which is always possible here.
        batch_chunk_size (int, optional): samples per chunk; by default what `chunking_method` says.
        chunking_method (str, optional): "aspect_ratio" makes a chunk's logits about as large as the whole input,
            "aspect_ratio:n" that by n; "auto" chooses among them; None takes `batch_chunk_size`, or all samples.
        acc_policy (str): "accurate", "balanced", "compact" or "auto", PyTorch's choices of what is added up in which
            dtype; here half precision is always added up in single.
        acc_dtype (dtype, optional): the dtype of sums: float32 for half precision, else the input's.

    Raises:
        ValueError: a setting that is none of these.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: Any = None

    def __post_init__(self) -> None:
        if self.acc_policy not in ("auto", "accurate", "balanced", "compact"):
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        if self.chunking_method not in (None, "auto") and not re.fullmatch(
            r"aspect_ratio(:0*[1-9]\d*)?", str(self.chunking_method)
        ):
            raise ValueError(f"invalid chunking_method: {self.chunking_method!r}")
        size = self.batch_chunk_size
        if size is not None and not (isinstance(size, int) and size > 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        if self.acc_dtype not in (None, _dtypes.float16, _dtypes.float32, _dtypes.float64):
            raise ValueError(
                "acc_dtype must be one of {None, torch.float16, torch.float32, torch.float64}, got "
                f"{self.acc_dtype!r}. Pass acc_dtype=None to let the op pick automatically."
            )

    def chunk_size(self, samples: int, features: int, classes: int, half: bool) -> int:
        """The samples of each chunk.

        Raises:
            ValueError: the size that was asked for is not that of the method that was asked for.
        """
        size, method = self.batch_chunk_size, self.chunking_method
        if method == "auto":
            method = None if size is not None else "aspect_ratio" if half else "aspect_ratio:2"
        if method is None:
            return max(min(size or samples, samples), 1)
        factor = int(method.partition(":")[2] or 1)
        share = -(-samples // max(-(-classes // max(features, 1)), 1))
        chosen = min((1 << max(share - 1, 0).bit_length()) // factor, samples)
        if size is not None and size != chosen:
            raise ValueError(
                f"batch_chunk_size (={size}) and chunking_method ('{method}') give different chunk sizes ({size} vs "
                f"{chosen}); pass only one."
            )
        return max(chosen, 1)


class LinearCrossEntropy(Op):
    """Cross entropy of x·Wᵀ + b, by chunks of rows;   with d = g·w·(softmax − onehot): dL/dx = d·W, dL/dW = dᵀ·x, dL/db = Σ d

    The gradients of a mean or sum are computed on the way forward, while the logits are there; without a reduction the
    logits are computed again.
    """

    @staticmethod
    def forward(ctx, x, w, bias, target, class_weight, ignore_index, reduction, size):
        t, keep = _valid("linear_cross_entropy", target._a, w._a.shape[0], ignore_index)
        hit = np.ones(t.shape, x._a.dtype) if class_weight is None else class_weight._a[t]
        if keep is not None:
            hit = np.where(keep, hit, 0).astype(x._a.dtype)
        divisor = float(hit.sum(dtype=np.float64)) if reduction == "mean" else 1.0
        ctx.size, ctx.reduction = size, reduction
        wanted = tuple(ctx.recording and reduction != "none" and wants(v) for v in (x, w, bias))
        rows = None
        if any(wanted):
            rows = hit / np.asarray(divisor, hit.dtype)
        losses, grads = _chunks(x, w, bias, t, size, rows, wanted)
        losses = losses * hit
        if keep is not None:
            losses[~keep] = 0
        if ctx.recording:
            ctx.save(x, w, bias, target, t, hit if reduction == "none" else rows, *grads)
        if reduction == "none":
            return losses
        total = losses.sum(dtype=np.float64)
        return np.asarray(total / divisor, x._a.dtype)

    @staticmethod
    def backward(ctx, grad):
        x, w, bias, _, t, rows, *grads = ctx.saved
        wanted = tuple(ctx.needs(i) for i in range(3))
        if mode.enabled:
            d = Softmax.apply(linear(x, w, bias), 1)
            onehot = np.zeros(d._a.shape, d._a.dtype)
            onehot[np.arange(len(t)), t] = 1
            d = (d - wrap(onehot)) * (grad * wrap(rows)).unsqueeze(1)
            made = [d.matmul(w), d.t().matmul(x), d.sum(0)]
        elif ctx.reduction == "none":
            made = [None if g is None else wrap(g) for g in _chunks(x, w, bias, t, ctx.size, rows * grad._a, wanted)[1]]
        elif grad._a == 1:
            made = [None if g is None else wrap(g) for g in grads]
        else:
            made = [None if g is None else wrap(g) * grad for g in grads]
        return *(g if want else None for g, want in zip(made, wanted, strict=True)), *(None,) * 5


def _chunks(
    x: Any, w: Any, bias: Any, t: np.ndarray, size: int, rows: np.ndarray | None, wanted: tuple
) -> tuple[np.ndarray, list]:
    """The loss of every sample, and the gradients that are wanted, if the losses count as much as `rows` says."""
    a, m = x._a, w._a
    b = None if bias is None else bias._a
    dtype = a.dtype
    if dtype == np.float16:
        a, m, b = (None if v is None else v.astype(np.float32) for v in (a, m, b))
        rows = None if rows is None else rows.astype(np.float32)
    losses = np.empty(len(a), a.dtype)
    dx = np.empty_like(a) if wanted[0] else None
    dw: Any = np.zeros_like(m) if wanted[1] else None
    db: Any = np.zeros(len(m), a.dtype) if wanted[2] else None
    for i in range(0, len(a), size):
        part, own = a[i : i + size], t[i : i + size]
        logits = k.linear(part, m, b)
        losses[i : i + size], state = k.cross_entropy(logits, own, None, None, 0.0, "none")
        if not any(wanted) or rows is None:
            continue
        e, total, *_ = state
        d = k.cross_entropy_backward(e, rows[i : i + size], total, own, None, None, None, None, 1.0)
        if dx is not None:
            dx[i : i + size] = k.matmul(d, m)
        if dw is not None:
            dw += k.matmul(d.T, part)
        if db is not None:
            db += np.add.reduce(d, axis=0)
    if dtype == np.float16:
        losses = losses.astype(dtype)
    return losses, [None if g is None else g.astype(dtype, copy=False) for g in (dx, dw, db)]


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Any:
    r"""The cross entropy between the logits :math:`x W^T + b` and classes.

    Args:
        input (Tensor): (N, F) or (F).
        linear_weight (Tensor): :math:`W`, (C, F) or (C, d1, ..., F).
        target (Tensor): class indices (N), () or (N, d1, ...), or probabilities of the logits' shape (N, C, d1, ...).
        linear_bias (Tensor, optional): :math:`b`, (C) or (C, d1, ...).
        weight (Tensor, optional): a factor per class, (C).
        reduction (str): "none", "sum", or "mean", as of `cross_entropy`.
        ignore_index (int, optional): a class index that does not count; -100 by default.
        label_smoothing (float): as of `cross_entropy`.
        options (LinearCrossEntropyOptions, optional): go over the batch in chunks, so that the logits need less memory.
            This takes class indices (int64) of one dimension and no smoothing; otherwise a warning says that the options
            are ignored.

    Raises:
        RuntimeError, ValueError: shapes, dtypes or settings that do not fit.
        IndexError: a class index outside of the classes.
    """
    tensors("linear_cross_entropy", input=input, linear_weight=linear_weight, target=target)
    shape, of_weight = input._a.shape, linear_weight._a.shape
    if not 1 <= len(shape) <= 2:
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {len(shape)}")
    if len(of_weight) < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {len(of_weight)}")
    features = shape[-1]
    if features != of_weight[-1]:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {features} and {of_weight[-1]}, "
            "respectively"
        )
    classes, *places = of_weight[:-1]
    if linear_bias is not None and linear_bias._a.shape != (classes, *places):
        raise RuntimeError(f"expected linear_bias shape {(classes, *places)}, got {linear_bias._a.shape}")
    if places and len(shape) == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {of_weight} requires batched input, (N, {features}), got "
            f"unbatched input with shape {shape}"
        )
    logits_shape = (*shape[:-1], classes, *places)
    if target._a.shape == logits_shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    ignore_index = -100 if ignore_index is None else ignore_index
    if options is not None:
        if reduction in REDUCTIONS and label_smoothing == 0.0 and target._a.dtype == np.int64 and not places:
            return _chunked(input, linear_weight, target, linear_bias, weight, reduction, ignore_index, options)
        warnings.warn(
            "linear_cross_entropy: ``options`` ignored; chunked path needs reduction in {'mean','sum','none'}, "
            "label_smoothing == 0, target.dtype == int64, out_features == (). Got "
            f"reduction={reduction!r}, label_smoothing={label_smoothing}, target.dtype={target.dtype}, "
            f"out_features={tuple(places)}.",
            stacklevel=2,
        )
    if places:
        linear_weight = linear_weight.reshape(classes * math.prod(places), features)
        linear_bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, linear_weight, linear_bias).reshape(logits_shape)
    return cross_entropy(
        logits,
        target,
        weight=weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def _chunked(
    input: Any, w: Any, target: Any, bias: Any, weight: Any, reduction: str, ignore_index: int, options: Any
) -> Any:
    reduction = reduction_of(reduction)
    name = "linear_cross_entropy"
    constant(name, weight=weight)
    single = input._a.ndim == 1
    x, t = (input.unsqueeze(0), target.reshape(1)) if single else (input, target)
    for other in (w, bias):
        if other is not None and other._a.dtype != x._a.dtype:
            kinds = (_C_NAME[v._a.dtype.name] for v in (x, other))
            raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {' != '.join(kinds)}")
    logits = np.broadcast_to(np.zeros((), x._a.dtype), (x._a.shape[0], w._a.shape[0]))  # a stand-in of their shape
    _check_classes(name, logits, t._a, weight)
    half = x._a.dtype == np.float16
    sums = options.acc_dtype
    if sums is not None and sums is not x.dtype and not (half and sums is _dtypes.float32):
        raise RuntimeError(
            f"{name} supports float32 acc_dtype with float16/bfloat16 inputs, but got {sums} acc_dtype and {x.dtype} inputs."
        )
    size = options.chunk_size(*x._a.shape, w._a.shape[0], half)
    loss = LinearCrossEntropy.apply(x, w, bias, t, weight, ignore_index, reduction, size)
    return loss.reshape(()) if single else loss


NN_FUNCTIONS = ("linear_cross_entropy",)
