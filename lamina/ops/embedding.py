"""Lookup tables: rows by their indices, and sums, means or maxima over bags of rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, bump, mode, type_name, wants, wrap
from lamina.engine import kernels as k
from lamina.ops.gathering import IndexSelect, ScatterAdd, _ends
from lamina.ops.loss import tensors

_INDICES = (np.dtype(np.int64), np.dtype(np.int32))


class Embedding(Op):
    """Rows of w;   dL/dw = the rows of g added where they came from, but for the padding row"""

    any_dtype = True

    @staticmethod
    def forward(ctx, weight, index, padding, by_frequency, sparse=False):
        ctx.save(index)
        ctx.settings = weight._a.shape[0], padding, by_frequency
        ctx.sparse = sparse
        return k.embedding(weight._a, index._a)

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved
        rows, padding, by_frequency = ctx.settings
        return _table_gradient(grad, index, rows, padding, by_frequency, ctx.sparse), None, None, None, None


def _table_gradient(grad: Any, index: Any, rows: int, padding: int, by_frequency: bool, sparse: bool) -> Any:
    """The rows of g added where they came from; or just those rows, unless this is to be differentiated again."""
    if not sparse or mode.enabled:
        return EmbeddingBackward.apply(grad, index, rows, padding, by_frequency)
    if by_frequency:
        raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse gradients")
    from lamina._sparse import SparseTensor  # which is made of tensors, and few want it

    width = grad._a.shape[-1]
    places = index._a.reshape(-1)
    values = grad._a.reshape(places.size, width)
    if padding >= 0 and not (keep := places != padding).all():
        places, values = places[keep], values[keep]
    return SparseTensor.of_rows(places, values, (rows, width))


class EmbeddingBackward(Op):
    """The rows of g added where they came from;   linear in g"""

    label = "EmbeddingDenseBackwardBackward0"

    @staticmethod
    def forward(ctx, grad, index, rows, padding, by_frequency):
        ctx.save(index)
        ctx.padding, ctx.by_frequency = padding, by_frequency
        return k.embedding_backward(grad._a, index._a, rows, padding, by_frequency)

    @staticmethod
    def backward(ctx, h):
        (index,) = ctx.saved
        gg = Embedding.apply(h, index, ctx.padding, ctx.by_frequency)
        i = index._a
        factor = np.ones(i.shape, h._a.dtype) if ctx.padding < 0 else (i != ctx.padding).astype(h._a.dtype)
        if ctx.by_frequency and i.size:
            factor /= np.bincount(i.reshape(-1))[i]
        return gg * wrap(factor[..., None]), None, None, None, None


class EmbeddingBag(Op):
    """Σ p·w[i] over each bag, or the mean;   dL/dw = p·(the bag's g) added at w[i], dL/dp = (the bag's g)·w[i]"""

    @staticmethod
    def forward(ctx, weight, factors, bags, mean, by_frequency, sparse):
        ctx.save(weight if wants(factors) else None, factors)
        ctx.settings = bags, mean, by_frequency, sparse, weight._a.shape[0]
        a = None if factors is None else factors._a
        return k.embedding_bag(weight._a, bags.index, bags.starts, bags.lengths, a, mean)

    @staticmethod
    def backward(ctx, grad):
        weight, factors = ctx.saved
        bags, mean, by_frequency, sparse, rows = ctx.settings
        if mean:
            grad = grad / wrap(np.maximum(bags.lengths, 1)[:, None].astype(grad._a.dtype))
        index = wrap(bags.index)
        spread = IndexSelect.apply(grad, 0, wrap(bags.of_item()))
        dw = dp = None
        if ctx.needs(0):
            weighted = spread if factors is None else spread * factors.unsqueeze(1)
            dw = _table_gradient(weighted, index, rows, -1, by_frequency, sparse)
        if ctx.needs(1):
            dp = (spread * Embedding.apply(weight, index, -1, False)).sum(1)
        return dw, dp, None, None, None, None


class EmbeddingBagMax(Op):
    """The largest w[i] of each bag and column;   its g goes to that element"""

    label = "EmbeddingBagBackward0"

    @staticmethod
    def forward(ctx, weight, bags):
        y, best = k.embedding_bag_max(weight._a, bags.index, bags.starts, bags.lengths, ctx.recording)
        ctx.save(best)
        ctx.shape = weight._a.shape
        return y

    @staticmethod
    def backward(ctx, grad):
        (best,) = ctx.saved
        if best.size and best.min() < 0:  # empty bags
            grad = grad * wrap((best >= 0).astype(grad._a.dtype))
            best = np.maximum(best, 0)
        table = wrap(np.zeros(ctx.shape, grad._a.dtype))
        return ScatterAdd.apply(table, 0, wrap(best), grad, True), None


class Bags:
    """The rows of each bag: `index[start : start + length]` for its start and length."""

    __slots__ = ("index", "starts", "lengths", "items")

    def __init__(self, index: np.ndarray, offsets: np.ndarray, include_last: bool, padding: int) -> None:
        length = end = len(index)
        if include_last:
            offsets, end = offsets[:-1], int(offsets[-1])
        self.starts = offsets.astype(np.int64)
        self.lengths = np.diff(self.starts, append=end) if len(offsets) else np.zeros(0, np.int64)
        if (self.lengths < 0).any():
            raise RuntimeError(f"embedding_bag: the offsets must not decrease, but got {offsets.tolist()}")
        index = index[: end if len(offsets) else 0]
        self.items: np.ndarray | None = None if len(index) == length else np.arange(len(index))  # which of the input's
        if padding >= 0 and not (keep := index != padding).all():
            self.items = np.flatnonzero(keep)
            self.lengths = np.bincount(self.of_item()[self.items], minlength=len(offsets))
            self.starts = np.cumsum(self.lengths) - self.lengths
            index = index[self.items]
        self.index = index

    def of_item(self) -> np.ndarray:
        """The bag of each row."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


# -- public functions ----------------------------------------------------------------------------------------------


def _check_indices(function: str, index: np.ndarray) -> None:
    if index.dtype not in _INDICES:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; but got "
            f"{type_name(index)} instead (while checking arguments for {function})"
        )


def _out_of_range(index: np.ndarray, rows: int) -> int | None:
    """The position of an index outside of [0, rows), if there is one."""
    least, most = _ends(index)
    if least >= 0 and most < rows:
        return None
    return int(((index < 0) | (index >= rows)).reshape(-1).argmax())


def _renormed(weight: Any, index: np.ndarray, max_norm: float, norm_type: float) -> None:
    """Scale down the rows that are about to be used, in place and unseen by gradients."""
    if weight._a.dtype.kind not in "fV":
        raise RuntimeError(
            "norm(): input dtype should be either floating point or complex. Got "
            f"{SCALAR_NAME[BY_NUMPY[weight._a.dtype]]} instead."
        )
    k.embedding_renorm(weight._plain(), index, max_norm, norm_type)
    bump(weight)


def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    r"""The rows of a table at given indices.

    Args:
        input (Tensor): indices in [0, V), int64 or int32, of any shape (*).
        weight (Tensor): the table, (V, D).
        padding_idx (int, optional): a row that gets no gradient; negative counts from the end.
        max_norm (float, optional): rows with a larger norm are first scaled down to this one, in place.
        norm_type (float): the p of that p-norm.
        scale_grad_by_freq (bool): whether gradients are divided by how often their index occurs in the input.
        sparse (bool): whether the table's gradient is a sparse tensor.

    Returns:
        Tensor: (*, D).

    Raises:
        IndexError: an index outside of the table.
        RuntimeError: indices of another dtype, or a table that is not two-dimensional.
        AssertionError: a `padding_idx` outside of the table.
    """
    tensors("embedding", indices=input, weight=weight)
    index, table = input._a, weight._a
    rows = table.shape[0] if table.ndim else 0
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < max(rows, 1):
            raise AssertionError(
                f"Padding_idx must be within num_embeddings, but got {padding_idx} for {rows} embeddings"
            )
        padding = padding_idx % rows if rows else -1
    if table.ndim != 2:
        raise RuntimeError(f"'weight' must be 2-D, but it has {table.ndim} dimensions")
    _check_indices("embedding", index)
    bad = _out_of_range(index, rows)
    if bad is not None:
        raise IndexError(f"index out of range in self: embedding got {index.reshape(-1)[bad]} for {rows} embeddings")
    if max_norm is not None:
        _renormed(weight, index, max_norm, norm_type)
    return Embedding.apply(weight, input, padding, scale_grad_by_freq, sparse)


def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    r"""The sum, mean or maximum of the rows of a table, over each of B bags of indices.

    Args:
        input (Tensor): indices in [0, V), int64 or int32: (B, N) for bags of N, or (n) for bags that `offsets` begin.
        weight (Tensor): the table, (V, D).
        offsets (Tensor, optional): where in a one-dimensional input each bag begins, (B); the first is 0.
        max_norm (float, optional): rows with a larger norm are first scaled down to this one, in place.
        norm_type (float): the p of that p-norm.
        scale_grad_by_freq (bool): whether gradients are divided by how often their index occurs ("sum" and "mean").
        mode (str): "sum", "mean" or "max".
        sparse (bool): whether the table's gradient is a sparse tensor ("sum" and "mean").
        per_sample_weights (Tensor, optional): a factor per index ("sum").
        include_last_offset (bool): whether the last offset is the end of the last bag, so that there are B + 1.
        padding_idx (int, optional): an index that does not count, and gets no gradient.

    Returns:
        Tensor: (B, D); zeros for bags without indices.

    Raises:
        ValueError: shapes, a mode, or settings that do not fit it.
        RuntimeError: dtypes, indices or offsets out of range.
    """
    tensors("embedding_bag", indices=input, weight=weight)
    if weight._a.dtype == np.int64 and input._a.dtype.kind in "fV":
        warnings.warn(
            "Argument order of nn.functional.embedding_bag was changed. Usage `embedding_bag(weight, input, ...)` is "
            "deprecated, and should now be `embedding_bag(input, weight, ...)`.",
            stacklevel=2,
        )
        input, weight = weight, input
    index, table = input._a, weight._a
    _check_bag_settings(input, weight, offsets, mode, scale_grad_by_freq, sparse, per_sample_weights)
    if index.ndim == 2:
        begins = np.arange(index.shape[0]) * index.shape[1]
        index, include_last_offset = index.reshape(-1), False
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    else:
        begins = offsets._a
    rows = table.shape[0]
    _check_indices("embedding_bag", index)
    _check_offsets(begins, len(index), include_last_offset)
    if table.dtype.kind not in "fV":
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types: Half, BFloat16, Float, "
            f"Double; but got {type_name(table)} instead (while checking arguments for embedding_bag)"
        )
    if per_sample_weights is not None and per_sample_weights._a.dtype != table.dtype:
        raise RuntimeError(
            "embedding_bag: expected weight and per_sample_weights of the same type, but got "
            f"{type_name(table)} and {type_name(per_sample_weights._a)}"
        )
    bad = _out_of_range(index, rows)
    if bad is not None:
        raise RuntimeError(
            f"embedding_bag: index {bad} of input takes value {index[bad]} which is not in the valid range [0, {rows})"
        )
    padding = -1
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, {-rows} through {rows - 1}, but got {padding_idx}"
            )
        padding = padding_idx % rows
    if max_norm is not None:
        _renormed(weight, index, max_norm, norm_type)
    bags = Bags(index, begins, include_last_offset, padding)
    if mode == "max":
        return EmbeddingBagMax.apply(weight, bags)
    if per_sample_weights is not None and bags.items is not None:
        per_sample_weights = IndexSelect.apply(per_sample_weights, 0, wrap(bags.items))
    return EmbeddingBag.apply(weight, per_sample_weights, bags, mode == "mean", scale_grad_by_freq, sparse)


def _check_bag_settings(
    input: Any, weight: Any, offsets: Any, mode: str, by_frequency: bool, sparse: bool, factors: Any
) -> None:
    if factors is not None and factors._a.shape != input._a.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({factors.shape}) is not None, then it must have the same shape as the "
            f"input ({input.shape})"
        )
    if weight._a.ndim != 2:
        raise ValueError(f"weight has to be a 2D Tensor, but got Tensor of dimension {weight._a.ndim}")
    if input._a.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length sequences. "
                f"However, found offsets of type {type(offsets)}"
            )
    elif input._a.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input._a.ndim}")
    elif not isinstance(offsets, Variable):
        raise ValueError(f"offsets has to be a 1D Tensor but got {offsets}")
    elif offsets._a.ndim != 1:
        raise ValueError(f"offsets has to be a 1D Tensor, but it has shape {offsets.shape}")
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode has to be one of sum, mean or max, but got {mode!r}")
    if mode == "max" and by_frequency:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if mode != "sum" and factors is not None:
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' (got "
            f"mode='{mode}')."
        )


def _check_offsets(offsets: np.ndarray, length: int, include_last: bool) -> None:
    if offsets.dtype not in _INDICES:
        raise RuntimeError(f"embedding_bag: expected offsets of type Long or Int, but got {type_name(offsets)}")
    if include_last and not len(offsets):
        raise RuntimeError("include_last_offset: number of offset should be at least 1")
    if len(offsets) and offsets[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from position 0. However, got "
            f"{offsets[0]}"
        )
    if len(offsets) and offsets[-1] > length:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {length} but got offsets[-1] of {offsets[-1]}"
        )


NN_FUNCTIONS = ("embedding", "embedding_bag")
