"""Functions of layers under the names and numbers that PyTorch has of them outside of ``nn.functional``.

A ``reduction`` is a number here: 0 for none (the default, whatever PyTorch's documentation of operators says), 1 for the mean,
2 for the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.autograd.graph import Variable, check_writable, wants, wrap
from lamina.autograd.graph import mode as grad_mode
from lamina.engine import kernels as k
from lamina.ops import conv as conv_
from lamina.ops import embedding as embedding_
from lamina.ops import loss, loss_binary, loss_ctc, loss_margin, loss_pointwise
from lamina.ops.grid import grid_sampler
from lamina.ops.layernorm import group_norm, layer_norm
from lamina.ops.norm import batch_norm
from lamina.ops.operands import checked
from lamina.ops.pad import pad as pad_

_REDUCTIONS = ("none", "mean", "sum")
_LOSSES = (loss, loss_binary, loss_ctc, loss_margin, loss_pointwise)


def _of_nn(name: str) -> Callable[..., Any]:
    return next(getattr(module, name) for module in _LOSSES if hasattr(module, name))


def _reduction(name: str, reduction: Any) -> str:
    if isinstance(reduction, bool) or not isinstance(reduction, int):
        raise TypeError(f"{name}(): argument 'reduction' must be int, not {type(reduction).__name__}")
    return _REDUCTIONS[reduction] if 0 <= reduction < 3 else "none"


def kl_div(input: Any, target: Any, reduction: int = 0, *, log_target: bool = False) -> Any:
    """Σ target·(log target − input), pointwise; see ``nn.functional.kl_div``."""
    how = _reduction("kl_div", reduction)
    result = _of_nn("kl_div")(input, target, reduction="none" if how == "mean" else how, log_target=log_target)
    return result.mean() if how == "mean" else result


def poisson_nll_loss(input: Any, target: Any, log_input: bool, full: bool, eps: float, reduction: int) -> Any:
    """The negative log likelihood of Poisson counts; see ``nn.functional.poisson_nll_loss``."""
    return _of_nn("poisson_nll_loss")(
        input, target, log_input=log_input, full=full, eps=eps, reduction=_reduction("poisson_nll_loss", reduction)
    )


def hinge_embedding_loss(input: Any, target: Any, margin: float = 1.0, reduction: int = 0) -> Any:
    """See ``nn.functional.hinge_embedding_loss``."""
    return _of_nn("hinge_embedding_loss")(input, target, margin, reduction=_reduction("hinge_embedding_loss", reduction))


def margin_ranking_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 0) -> Any:
    """See ``nn.functional.margin_ranking_loss``."""
    how = _reduction("margin_ranking_loss", reduction)
    return _of_nn("margin_ranking_loss")(input1, input2, target, margin, reduction=how)


def cosine_embedding_loss(input1: Any, input2: Any, target: Any, margin: float = 0.0, reduction: int = 0) -> Any:
    """See ``nn.functional.cosine_embedding_loss``."""
    how = _reduction("cosine_embedding_loss", reduction)
    return _of_nn("cosine_embedding_loss")(input1, input2, target, margin, reduction=how)


def triplet_margin_loss(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False,
    reduction: int = 0,
) -> Any:  # fmt: skip
    """See ``nn.functional.triplet_margin_loss``."""
    how = _reduction("triplet_margin_loss", reduction)
    return _of_nn("triplet_margin_loss")(anchor, positive, negative, margin, p, eps, swap, reduction=how)


def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 0
) -> Any:
    """See ``nn.functional.binary_cross_entropy_with_logits``."""
    how = _reduction("binary_cross_entropy_with_logits", reduction)
    return _of_nn("binary_cross_entropy_with_logits")(input, target, weight=weight, pos_weight=pos_weight, reduction=how)


def ctc_loss(
    log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0, reduction: int = 0,
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """See ``nn.functional.ctc_loss``."""
    how = _reduction("ctc_loss", reduction)
    return _of_nn("ctc_loss")(log_probs, targets, input_lengths, target_lengths, blank, how, zero_infinity)


def embedding(weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False) -> Any:
    """Rows of a table, the table first; −1 is no padding. See ``nn.functional.embedding``."""
    padding = None if padding_idx == -1 else padding_idx
    return embedding_.embedding(indices, weight, padding, scale_grad_by_freq=scale_grad_by_freq, sparse=sparse)


def constant_pad_nd(input: Any, pad: Any, value: Any = 0) -> Any:
    """``input`` with a constant around it; see ``nn.functional.pad``."""
    return pad_(input, tuple(pad), "constant", value)


def convolution(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any,
    groups: int,
) -> Any:  # fmt: skip
    """A convolution, or a transposed one, of as many dimensions as the weight says."""
    n = checked(weight, "convolution")._a.ndim - 2
    if not 1 <= n <= 3:
        raise RuntimeError(f"convolution: the weight must have 3 to 5 dimensions, but has {n + 2}")
    settings = [tuple(s) if isinstance(s, (tuple, list)) and len(s) == n else tuple(s) * n if isinstance(s, (tuple, list)) else s
                for s in (stride, padding, dilation, output_padding)]  # fmt: skip
    if transposed:
        return getattr(conv_, f"conv_transpose{n}d")(
            input, weight, bias, settings[0], settings[1], settings[3], groups, settings[2]
        )
    return getattr(conv_, f"conv{n}d")(input, weight, bias, *settings[:3], groups)


grid_sampler_2d = grid_sampler_3d = grid_sampler


# -- norms with their statistics -----------------------------------------------------------------------------------


def _statistics(x: Any, dims: tuple[int, ...], eps: float) -> tuple[Any, Any]:
    """(mean, 1/√(variance + eps)) over dimensions, which stay as sizes of 1."""
    wide = x if x._a.dtype.kind == "f" and x._a.dtype.itemsize > 2 else x.float()
    return wide.mean(dims, True), (wide.var(dims, unbiased=False, keepdim=True) + eps).rsqrt()


def native_layer_norm(input: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> tuple:
    """(layer norm, mean, 1/deviation)."""
    result = layer_norm(input, normalized_shape, weight, bias, eps)
    n = input._a.ndim
    mean, inverse = _statistics(input, tuple(range(n - len(tuple(normalized_shape)), n)), eps)
    return result, mean.detach(), inverse.detach()


def native_group_norm(
    input: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float  # noqa: N803
) -> tuple:
    """(group norm, mean, 1/deviation), the statistics of shape (N, group)."""
    result = group_norm(input, group, weight, bias, eps)
    mean, inverse = _statistics(input.reshape(N, group, -1), (2,), eps)
    return result, mean.detach().squeeze(2), inverse.detach().squeeze(2)


def native_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float
) -> tuple:
    """(batch norm, the batch's mean, 1/deviation); the statistics are empty where the running ones are used."""
    a = checked(input, "native_batch_norm")._a
    if training:
        mean, inverse = _statistics(input, (0, *range(2, a.ndim)), eps)
        saved = mean.detach().reshape(-1), inverse.detach().reshape(-1)
    else:
        saved = wrap(np.empty(0, a.dtype)), wrap(np.empty(0, a.dtype))
    return batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps), *saved


_BAGS = ("sum", "mean", "max")


def embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0, sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> tuple:  # fmt: skip
    """(bags, the bag of each index, the sizes of the bags, the rows of the maxima); see ``nn.functional.embedding_bag``.

    The mode is 0 for the sum, 1 for the mean, 2 for the maximum. As in PyTorch the sum, which needs no sizes, tells 0 for
    each, and names no bags where it adds up without them.

    Raises:
        RuntimeError: another mode, shapes, dtypes, indices or offsets out of range, factors for something else than a sum.
        TypeError: what should be a tensor is none, or a mode that is no int.
    """
    loss.tensors("embedding_bag", weight=weight, indices=indices, offsets=offsets)
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"embedding_bag(): argument 'mode' must be int, not {type(mode).__name__}")
    if not 0 <= mode < len(_BAGS):
        raise RuntimeError(f"embedding_bag: mode must be 0 (sum), 1 (mean) or 2 (max), but got {mode}")
    if indices._a.ndim != 1 or offsets._a.ndim != 1 or weight._a.ndim != 2:
        raise RuntimeError(
            "embedding_bag expects indices and offsets of one dimension and a weight of two, but got "
            f"{tuple(indices.shape)}, {tuple(offsets.shape)} and {tuple(weight.shape)}"
        )
    if per_sample_weights is not None and (mode != 0 or per_sample_weights._a.shape != indices._a.shape):
        raise RuntimeError(
            "embedding_bag: per_sample_weights come with mode 0 (sum), one for each index, but got mode "
            f"{mode}, {tuple(per_sample_weights.shape)} for indices {tuple(indices.shape)}"
        )
    how = _BAGS[mode]
    result = embedding_.embedding_bag(
        indices, weight, offsets, mode=how, per_sample_weights=per_sample_weights, include_last_offset=include_last_offset,
        scale_grad_by_freq=scale_grad_by_freq and how != "max", sparse=sparse and how != "max", padding_idx=padding_idx,
    )  # fmt: skip
    index, begins, table = indices._a, offsets._a, weight._a
    kind = np.result_type(index.dtype, begins.dtype)
    owners = np.cumsum(np.bincount(begins, minlength=len(index) + 1))[: len(index)] - 1
    if how == "sum":
        factors = per_sample_weights is not None and per_sample_weights._plain().strides[0] != table.itemsize
        plain = weight._plain().strides[1] == table.itemsize and not factors
        if table.dtype != np.float64 and plain and padding_idx is None:
            owners = owners[:0]
        # PyTorch drops the end of the last bag only where a backward can follow
        sizes = np.zeros(len(begins) - (include_last_offset and result.requires_grad), kind)
        return result, wrap(owners.astype(kind)), wrap(sizes), wrap(sizes.copy())
    padding = -1 if padding_idx is None else padding_idx % len(table)
    bags = embedding_.Bags(index, begins, include_last_offset, padding)
    sizes = bags.lengths.astype(kind)
    best = sizes.copy()
    if how == "max":
        rows = k.embedding_bag_max(table, bags.index, bags.starts, bags.lengths, True)[1]
        best = np.maximum(rows, 0).astype(kind)
    return result, wrap(np.maximum(owners, 0).astype(kind)), wrap(sizes), wrap(best)


def embedding_renorm_(input: Any, indices: Any, max_norm: float, norm_type: float) -> Any:
    """Scale down, in place, the rows at ``indices`` whose p-norm (p = ``norm_type``) is above ``max_norm``.

    Raises:
        RuntimeError: the table is not two-dimensional, or a leaf that requires a gradient; indices that are not integers.
        IndexError: an index out of range.
        NotImplementedError: the table is part of a graph: this has no derivative.
    """
    loss.tensors("embedding_renorm_", input=input, indices=indices)
    a = input._a
    if a.ndim != 2:
        raise RuntimeError(f"embedding_renorm_ expects a table of two dimensions, but got {tuple(a.shape)}")
    embedding_._check_indices("embedding_renorm_", indices._a)
    bad = embedding_._out_of_range(indices._a, len(a))
    if bad is not None:
        raise IndexError(
            f"embedding_renorm_: index {indices._a.reshape(-1)[bad]} is out of range for a table of {len(a)} rows"
        )
    check_writable(input)
    if grad_mode.enabled and wants(input):
        raise NotImplementedError("embedding_renorm_ has no derivative: detach the table first")
    embedding_._renormed(input, indices._a, max_norm, norm_type)
    return input


def _assert(condition: Any, message: Any) -> None:
    """Raise ``AssertionError`` with a message unless the condition, or the only element of a tensor, is true."""
    if not (bool(condition) if isinstance(condition, Variable) else condition):
        raise AssertionError(message)


FUNCTIONS = (  # without "embedding", which is a module of this package: lamina itself takes that name
    "kl_div", "poisson_nll_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss", "triplet_margin_loss",
    "binary_cross_entropy_with_logits", "ctc_loss", "constant_pad_nd", "convolution", "grid_sampler_2d",
    "grid_sampler_3d", "native_layer_norm", "native_group_norm", "native_batch_norm", "_assert", "embedding_bag",
    "embedding_renorm_",
)  # fmt: skip
