"""Multi-head attention: projections around :mod:`lamina.ops.attention`, and the masks as PyTorch's layer takes them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from lamina.autograd.graph import Variable, wrap
from lamina.ops import pointwise as p
from lamina.ops.activation import Softmax
from lamina.ops.attention import attend
from lamina.ops.dropout import dropout
from lamina.ops.join import Unbind, cat, split
from lamina.ops.linalg import MatMul, linear
from lamina.ops.shape import Permute, expand


def _require(holds: bool, message: str) -> None:
    """Raise as PyTorch's layer does: ``AssertionError``, which here is not lost where assertions are turned off."""
    if not holds:
        raise AssertionError(f"multi_head_attention_forward: {message}")


# -- masks ---------------------------------------------------------------------------------------------------------


def checked_mask(mask: Any, name: str, other: Any = None, other_name: str = "") -> Any:
    """``mask``, which must be boolean or floating; warns if it and ``other``, which goes with it, are not of one dtype."""
    if mask is None:
        return None
    kind = mask._a.dtype
    _require(kind.kind in "bfV", f"only bool and floating types of {name} are supported, got {mask.dtype}")
    if other is not None and other._a.dtype != kind:
        warnings.warn(
            f"Support for mismatched {name} and {other_name} is deprecated. Use same type for both instead.", stacklevel=4
        )
    return mask


def additive_mask(mask: Any, dtype: Any) -> Any:
    """A mask as what is added to scores: a boolean one, true where nobody may look, gives −inf there."""
    return p.where(mask, wrap(np.array(-math.inf, dtype)), wrap(np.zeros((), dtype))) if mask._a.dtype.kind == "b" else mask


def _with_one_more(mask: Any) -> Any:
    """A mask for one more key, at which everybody may look."""
    if mask is None:
        return None
    return cat([mask, wrap(np.zeros((*mask._a.shape[:-1], 1), mask._a.dtype))], -1)


def _merged(attn_mask: Any, key_padding_mask: Any, dtype: np.dtype) -> Any:
    """Both masks as one that is added to scores, or as one that is true where a query may look."""
    masks = [m for m in (attn_mask, key_padding_mask) if m is not None]
    if not masks:
        return None
    if all(m._a.dtype.kind == "b" for m in masks):
        return p.logical_not(masks[0] if len(masks) == 1 else p.logical_or(*masks))
    masks = [additive_mask(m, dtype) for m in masks]
    return masks[0] if len(masks) == 1 else masks[0] + masks[1]


def _sized_attn_mask(mask: Any, n: int, heads: int, length: int, keys: int) -> Any:
    """An attention mask (L, S) or (N·H, L, S) as (N or 1, H or 1, L, S)."""
    shape = mask._a.shape
    if len(shape) == 2:
        if shape != (length, keys):
            raise RuntimeError(f"The shape of the 2D attn_mask is {list(shape)}, but should be {(length, keys)}.")
        return mask.reshape(1, 1, length, keys)
    if shape != (n * heads, length, keys):
        raise RuntimeError(f"The shape of the 3D attn_mask is {list(shape)}, but should be {(n * heads, length, keys)}.")
    return mask.reshape(n, heads, length, keys)


# -- shapes --------------------------------------------------------------------------------------------------------


def _check_ranks(query: Any, key: Any, value: Any, key_padding_mask: Any, attn_mask: Any, heads: int) -> bool:
    """Whether the input is batched; raises ``AssertionError`` if the ranks do not go together."""
    tensors = {"query": query, "key": key, "value": value}
    for position, (name, x) in enumerate(tensors.items(), 1):
        if not isinstance(x, Variable):
            raise TypeError(
                f"multi_head_attention_forward(): argument '{name}' (position {position}) must be Tensor, not {type(x).__name__}"
            )
    ranks = {name: x._a.ndim for name, x in tensors.items()}
    rank = ranks["query"]
    _require(rank in (2, 3), f"query should be unbatched 2D or batched 3D tensor but received {rank}-D query tensor")
    form = f"For {'batched (3-D)' if rank == 3 else 'unbatched (2-D)'} `query`, expected"
    _require(
        ranks["key"] == ranks["value"] == rank,
        f"{form} `key` and `value` to be {rank}-D but found {ranks['key']}-D and {ranks['value']}-D tensors respectively",
    )
    if key_padding_mask is not None:
        n = key_padding_mask._a.ndim
        _require(n == rank - 1, f"{form} `key_padding_mask` to be `None` or {rank - 1}-D but found {n}-D tensor instead")
    if attn_mask is not None:
        shape = attn_mask._a.shape
        _require(len(shape) in (2, 3), f"{form} `attn_mask` to be `None`, 2-D or 3-D but found {len(shape)}-D tensor instead")
        if rank == 2 and len(shape) == 3:
            expected = (heads, query._a.shape[0], key._a.shape[0])
            _require(shape == expected, f"Expected `attn_mask` shape to be {expected} but got {shape}")
    return rank == 3


def _to_heads(x: Any, heads: int, batch_first: bool) -> Any:
    """(L, N, E), or (N, L, E), as (N, H, L, E/H), a view."""
    if x._a.ndim == 3:
        first, second, width = x._a.shape
        x = x.reshape(first, second, heads, width // heads)
    return Permute.apply(x, (0, 2, 1, 3) if batch_first else (1, 2, 0, 3))


def _projected(query: Any, key: Any, value: Any, heads: int, weight: Any, bias: Any) -> list[Any]:
    """Query, key and value projected with packed weights (3E, E), the heads apart: equal ones by a single product."""
    width = query._a.shape[-1]
    if query is key is value:
        return _unpacked(linear(query, weight, bias), 3, heads)
    if key is value:
        w_query, w_both = split(weight, [width, 2 * width])
        b_query, b_both = (None, None) if bias is None else split(bias, [width, 2 * width])
        return [linear(query, w_query, b_query), *_unpacked(linear(key, w_both, b_both), 2, heads)]
    biases = (None,) * 3 if bias is None else split(bias, width)
    return [linear(x, w, b) for x, w, b in zip((query, key, value), split(weight, width), biases, strict=True)]


def _unpacked(x: Any, parts: int, heads: int) -> list[Any]:
    """The parts (L, N, H, E/H) of the last dimension."""
    first, second, width = x._a.shape
    return list(Unbind.apply(x.reshape(first, second, parts, heads, width // (parts * heads)), 2))


def _projected_apart(query: Any, key: Any, value: Any, weights: tuple, bias: Any) -> list[Any]:
    """Query, key and value, each projected with its own weight (E, Eq), (E, Ek) and (E, Ev)."""
    width = query._a.shape[-1]
    biases = (None,) * 3 if bias is None else split(bias, width)
    result = []
    for name, x, w, b in zip(("query", "key", "value"), (query, key, value), weights, biases, strict=True):
        _require(w is not None, f"use_separate_proj_weight is True but {name[0]}_proj_weight is None")
        expected = width, x._a.shape[-1]
        _require(w._a.shape == expected, f"expecting {name} weights shape of {expected}, but got {w._a.shape}")
        result.append(linear(x, w, b))
    return result


def _static(x: Any, name: str, n: int, heads: int, width: int) -> Any:
    """A given key or value (N·H, S, E/H) as (N, H, S, E/H)."""
    rows, keys, last = x._a.shape
    _require(rows == n * heads, f"expecting {name}.size(0) of {n * heads}, but got {rows}")
    _require(last == width, f"expecting {name}.size(2) of {width}, but got {last}")
    return x.reshape(n, heads, keys, width)


def _one_more(x: Any, extra: Any) -> Any:
    """Keys or values (N, H, S, D) and one more for all, ``extra`` (1, 1, H·D), or zeros if that is None."""
    n, heads, _, width = x._a.shape
    shape = n, heads, 1, width
    last = wrap(np.zeros(shape, x._a.dtype)) if extra is None else expand(extra.reshape(1, heads, 1, width), shape)
    return cat([x, last], 2)


# -- the function --------------------------------------------------------------------------------------------------


def _weighted(q: Any, key: Any, v: Any, mask: Any, dropout_p: float) -> tuple[Any, Any]:
    """Attention that shows its weights (N, H, L, S), and so holds them."""
    scores = MatMul.apply(q * math.sqrt(1 / q._a.shape[-1]), key, False, True)
    if mask is not None:
        scores = p.where(mask, scores, -math.inf) if mask._a.dtype.kind == "b" else scores + mask
    weights = Softmax.apply(scores, 3)
    if dropout_p:
        weights = dropout(weights, dropout_p)
    return MatMul.apply(weights, v, False, False), weights


def multi_head_attention(
    query: Any, key: Any, value: Any, heads: int, weights: tuple, bias: Any, extra: tuple, add_zero_attn: bool,
    dropout_p: float, out_weight: Any, out_bias: Any, key_padding_mask: Any, need_weights: bool, attn_mask: Any,
    static: tuple, average_attn_weights: bool, is_causal: bool, batch_first: bool, plain: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """:func:`multi_head_attention_forward` for batches that come first as well; ``weights`` are one packed or three.

    The output lies in memory with the length outside the batch, as PyTorch's does, since the order in memory is that in which
    a dropout that follows draws its numbers. With ``plain``, which goes with ``batch_first``, it is the other way round.
    """
    batched = _check_ranks(query, key, value, key_padding_mask, attn_mask, heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    checked_mask(key_padding_mask, "key_padding_mask", attn_mask, "attn_mask")
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        checked_mask(attn_mask, "attn_mask")
        is_causal = False  # the mask says it
    if not batched:
        batch_first = plain = False
        both = key is value
        alike = query is key
        query = query.unsqueeze(1)
        key = query if alike else key.unsqueeze(1)
        value = key if both else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    at = 1 if batch_first else 0  # where the length stands
    shape, keys = query._a.shape, key._a.shape[at]
    length, n, width = shape[at], shape[1 - at], shape[2]
    if attn_mask is not None:
        attn_mask = _sized_attn_mask(attn_mask, n, heads, length, keys)
    if len(weights) == 1:
        _require(key._a.shape == value._a.shape, f"key shape {key._a.shape} does not match value shape {value._a.shape}")
        _require(weights[0] is not None, "use_separate_proj_weight is False but in_proj_weight is None")
        q, key, value = _projected(query, key, value, heads, weights[0], bias)
    else:
        a, b = key._a.shape[:2], value._a.shape[:2]
        _require(a == b, f"key's sequence and batch dims {a} do not match value's {b}")
        q, key, value = _projected_apart(query, key, value, weights, bias)
    q = _to_heads(q, heads, batch_first)
    for name, x in zip(("key", "value"), static, strict=True):
        _require(x is None or extra[0] is None, f"bias cannot be added to static {name}.")
    key, value = (
        _to_heads(x, heads, batch_first) if given is None else _static(given, name, n, heads, width // heads)
        for name, x, given in (("static_k", key, static[0]), ("static_v", value, static[1]))
    )
    if extra[0] is not None:
        key, value = _one_more(key, extra[0]), _one_more(value, extra[1])
    if add_zero_attn:
        key, value = _one_more(key, None), _one_more(value, None)
    for _ in range((extra[0] is not None) + bool(add_zero_attn)):
        attn_mask, key_padding_mask = _with_one_more(attn_mask), _with_one_more(key_padding_mask)
    keys = key._a.shape[2]
    if key_padding_mask is not None:
        given, expected = key_padding_mask._a.shape, (n, keys)
        _require(given == expected, f"Expected key_padding_mask of shape {expected}, but got {given}")
        key_padding_mask = key_padding_mask.reshape(n, 1, 1, keys)
    mask = _merged(attn_mask, key_padding_mask, q._a.dtype)
    shown = None
    if need_weights:
        y, shown = _weighted(q, key, value, mask, dropout_p)
    else:
        y = attend(q, key, value, mask, dropout_p, is_causal, order=(0, 2, 1, 3) if plain else (2, 0, 1, 3))
    if plain:
        y = linear(Permute.apply(y, (0, 2, 1, 3)).reshape(n, length, width), out_weight, out_bias)
    else:
        y = linear(Permute.apply(y, (2, 0, 1, 3)).reshape(length, n, width), out_weight, out_bias)
        if batch_first:
            y = y.transpose(0, 1)
    if shown is not None and average_attn_weights:
        shown = shown.mean(1)
    if not batched:
        y, shown = y.squeeze(1), None if shown is None else shown.squeeze(0)
    return y, shown


def multi_head_attention_forward(
    query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any, in_proj_bias: Any,
    bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any, out_proj_bias: Any,
    training: bool = True, key_padding_mask: Any = None, need_weights: bool = True, attn_mask: Any = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Any = None, k_proj_weight: Any = None,
    v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    r"""What :class:`~lamina.nn.MultiheadAttention` computes, as a function of its parameters.

    Shapes: query (L, N, E), key (S, N, Ek), value (S, N, Ev), or without the batch N; ``in_proj_weight`` (3E, E), or the three
    weights (E, E), (E, Ek), (E, Ev) with ``use_separate_proj_weight``; ``bias_k`` and ``bias_v`` (1, 1, E);
    ``key_padding_mask`` (N, S); ``attn_mask`` (L, S) or (N·H, L, S); ``static_k`` and ``static_v`` (N·H, S, E/H). Returns the
    output (L, N, E) and the weights (N, L, S), for each head (N, H, L, S) without ``average_attn_weights``, or ``None`` without
    ``need_weights``. Raises ``AssertionError`` for shapes that do not fit, and ``RuntimeError`` for those of ``attn_mask``.
    """
    if isinstance(query, Variable):
        width = query._a.shape[-1]
        _require(width == embed_dim_to_check, f"was expecting embedding dimension of {embed_dim_to_check}, but got {width}")
        _require(width % num_heads == 0, f"embed_dim {width} not divisible by num_heads {num_heads}")
    _require((bias_k is None) == (bias_v is None), "bias_k and bias_v must be given both or neither")
    return multi_head_attention(
        query, key, value, num_heads,
        (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else (in_proj_weight,), in_proj_bias,
        (bias_k, bias_v), add_zero_attn, dropout_p if training else 0.0, out_proj_weight, out_proj_bias, key_padding_mask,
        need_weights, attn_mask, (static_k, static_v), average_attn_weights, is_causal, False,
    )  # fmt: skip


NN_FUNCTIONS = ("multi_head_attention_forward",)
