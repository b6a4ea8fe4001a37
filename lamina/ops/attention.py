"""Scaled dot-product attention: one operation whose memory grows with the lengths, not with their product."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.autograd.casting import lowered
from lamina.autograd.graph import Op, Variable, mode, wrap
from lamina.engine import kernels as k
from lamina.engine.door import detours
from lamina.ops import pointwise as p
from lamina.ops.activation import Softmax
from lamina.ops.linalg import _C_NAME, MatMul
from lamina.ops.parts import repeat_interleave
from lamina.ops.reduction import scalar_name, sum
from lamina.ops.shape import Permute, expand, reshape, unsqueeze
from lamina.random.distributions import bernoulli_
from lamina.random.generator import Generator, default_generator

KEPT = 1 << 29  # weights up to which the dropout mask is kept for the backward pass, a bit for each


class Noise:
    """The factors 0 or 1/(1 − p) by which dropout multiplies weights, drawn in the order of the elements of a plain array.

    They come block by block, and are the same each time that one starts again: a bit for each is kept, or, where these were
    too many, the generator's state, from which they are drawn anew.
    """

    def __init__(self, p: float, dtype: np.dtype, weights: int) -> None:
        wide = np.float64 if dtype == np.float64 else np.float32  # as dropout does: float16 divides in float32
        self.keep, self.dtype, self.weights = 1 - p, dtype, weights
        self.factor = dtype.type(wide(1) / wide(1 - p)) if p < 1 else dtype.type(0)
        self.bits: list[tuple[np.ndarray, int]] = []
        self.state: np.ndarray | None = None

    def start(self) -> Callable[[tuple[int, ...]], np.ndarray]:
        """A function that takes the shape of the next block and gives its factors."""
        if not self.factor:  # all are dropped, without a number drawn
            return lambda shape: np.zeros(shape, self.dtype)
        if self.weights > KEPT:
            return self._drawn_anew()
        kept = iter(tuple(self.bits))

        def factors(shape: tuple[int, ...]) -> np.ndarray:
            known = next(kept, None)
            if known is not None:
                return self._factors(np.unpackbits(known[0], count=known[1]).reshape(shape))
            drawn = bernoulli_(np.empty(shape, np.bool_), self.keep)
            self.bits.append((np.packbits(drawn), drawn.size))
            return self._factors(drawn)

        return factors

    def _drawn_anew(self) -> Callable[[tuple[int, ...]], np.ndarray]:
        first, left = self.state is None, self.weights
        if self.state is None:
            self.state = default_generator.state_bytes()
        generator = Generator()
        generator.load_state_bytes(self.state)

        def factors(shape: tuple[int, ...]) -> np.ndarray:
            nonlocal left
            drawn = bernoulli_(np.empty(shape, np.bool_), self.keep, generator)
            left -= drawn.size
            if first and not left:
                default_generator.load_state_bytes(generator.state_bytes())
            return self._factors(drawn)

        return factors

    def all(self, shape: tuple[int, ...]) -> np.ndarray:
        """All factors at once, after they were drawn."""
        if not self.bits:
            return self.start()(shape)
        drawn = np.concatenate([np.unpackbits(bits, count=n) for bits, n in self.bits])
        return self._factors(drawn.reshape(shape))

    def _factors(self, drawn: np.ndarray) -> np.ndarray:
        return np.multiply(drawn, self.factor, dtype=self.dtype)


def _order(a: np.ndarray) -> tuple[int, ...]:
    """The axes of an array in the order in which they lie in memory, those of a matrix's columns last."""
    if a.flags.c_contiguous:
        return tuple(range(a.ndim))
    last = a.ndim - 1
    return (*sorted(range(last), key=lambda axis: -a.strides[axis]), last)


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _meant(x: Any, order: tuple[int, ...]) -> Any:
    """A result that lies in memory in ``order``, as a view with its axes in their own order."""
    return x if order == tuple(range(len(order))) else Permute.apply(x, _inverse(order))


class Attention(Op):
    """O = P·V with P = softmax(s·Q·Kᵀ + M);   dL/dV = Pᵀ·g, and with dS = P∘(g·Vᵀ − Σ g∘O): dL/dQ = s·dS·K, dL/dK = s·dSᵀ·Q"""

    label = "ScaledDotProductFlashAttentionForCpuBackward0"
    acts = True
    keeps_output = True

    @staticmethod
    def forward(ctx, q, key, v, mask, scale, causal, dropout, order):
        a = q._a
        noise = Noise(dropout, a.dtype, math.prod(a.shape[:3]) * key._a.shape[2]) if dropout else None
        m = None if mask is None else mask._a
        y, kept = k.attention(a, key._a, v._a, m, scale, causal, noise, order, ctx.recording)
        ctx.save(q, key, v, mask, noise, kept)
        ctx.settings = scale, causal, order
        return y

    @staticmethod
    def backward(ctx, grad):
        scale, causal, order = ctx.settings
        grad = _meant(grad, order)
        q, key, v, mask, noise, kept = ctx.saved
        if mode.enabled:
            return _composed(grad, q, key, v, mask, scale, causal, noise)
        mask_grad = ctx.edges[3] is not None
        orders = tuple([_order(x._a) for x in (q, key, v)])
        out = _meant(wrap(ctx.output._a), order)
        results = AttentionBackward.apply(grad, q, key, v, out, kept, mask, scale, causal, noise, orders, mask_grad)
        return (*(_meant(g, o) for g, o in zip(results, orders, strict=False)), *results[3:])


class AttentionBackward(Op):
    """The gradients of :class:`Attention` in one kernel, where they are not to be differentiated again"""

    @staticmethod
    def forward(ctx, grad, q, key, v, out, kept, mask, scale, causal, noise, orders, mask_grad):
        arrays = [x._a for x in (grad, q, key, v, out)]
        mask = None if mask is None else mask._a
        found = k.attention_backward(*arrays, kept, mask, scale, causal, noise, orders, mask_grad)
        return found if mask_grad else found[:3]


def _composed(grad: Any, q: Any, key: Any, v: Any, mask: Any, scale: float, causal: bool, noise: Any) -> tuple:
    """The gradients of :class:`Attention` as operations, for when they are to be differentiated themselves."""
    weights = _weights(q, key, mask, scale, causal)
    noisy, back = weights, MatMul.apply(grad, v, False, True)
    if noise is not None:
        factors = wrap(noise.all(weights._a.shape))
        noisy, back = weights * factors, back * factors
    scores = weights * (back - sum(back * weights, -1, True))
    gq, gk = MatMul.apply(scores, key, False, False) * scale, MatMul.apply(scores, q, True, False) * scale
    return gq, gk, MatMul.apply(noisy, grad, True, False), None if mask is None or mask._a.dtype.kind == "b" else scores


def _weights(q: Any, key: Any, mask: Any, scale: float, causal: bool) -> Any:
    """softmax(s·Q·Kᵀ + M) as operations; rows that may look at nothing have no weights."""
    scores = MatMul.apply(q * scale, key, False, True)
    a = scores._a
    if mask is not None:
        scores = p.where(mask, scores, -math.inf) if mask._a.dtype.kind == "b" else scores + p.cast(mask, scores.dtype)
    if causal:
        scores = p.where(wrap(np.tri(*a.shape[-2:], dtype=np.bool_)), scores, -math.inf)
    if not a.shape[-1]:
        return scores
    lost = wrap(np.maximum.reduce(scores._a, axis=-1, keepdims=True) == -math.inf)
    return p.where(lost, 0.0, Softmax.apply(p.where(lost, 0.0, scores), 3))


# -- the public function -------------------------------------------------------------------------------------------


def _checked(query: Any, key: Any, value: Any, attn_mask: Any, enable_gqa: bool) -> None:
    name = "scaled_dot_product_attention"
    for position, (argument, x) in enumerate((("query", query), ("key", key), ("value", value), ("attn_mask", attn_mask)), 1):
        if not isinstance(x, Variable) and (x is not None or position < 4):
            raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}")
    a, b, c = query._a, key._a, value._a
    if a.ndim < 2 or b.ndim < 2 or c.ndim < 2:
        raise RuntimeError(
            f"{name}: Expected query, key, and value to all be at least 2 dimensional, but got query.dim: {a.ndim} "
            f"key.dim: {b.ndim} and value.dim: {c.ndim} instead."
        )
    if not a.dtype == b.dtype == c.dtype:
        raise RuntimeError(
            f"{name}: Expected query, key, and value to have the same dtype, but got query.dtype: {_C_NAME[a.dtype.name]} "
            f"key.dtype: {_C_NAME[b.dtype.name]} and value.dtype: {_C_NAME[c.dtype.name]} instead."
        )
    if a.dtype.kind == "c":
        raise NotImplementedError(f"\"softmax_lastdim_kernel_impl\" not implemented for '{scalar_name(a)}'")
    if a.dtype.kind not in "fV":
        raise RuntimeError(f"{name}: expected scalar type Float but found {scalar_name(a)}")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"{name}: Expected query and key to have the same size of the last dimension, but got query of shape "
            f"{list(a.shape)} and key of shape {list(b.shape)}"
        )
    if b.shape[-2] != c.shape[-2]:
        raise RuntimeError(
            f"{name}: Expected as many keys as values, but got key of shape {list(b.shape)} and value of shape {list(c.shape)}"
        )
    if attn_mask is not None:
        m = attn_mask._a
        if m.dtype.kind != "b" and m.dtype != a.dtype and m.dtype != np.float32:
            raise RuntimeError(
                f"{name}: Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                f"{_C_NAME[m.dtype.name]} and  query.dtype: {_C_NAME[a.dtype.name]} instead."
            )
    if enable_gqa:
        if a.ndim < 3 or b.ndim < 3 or c.ndim < 3:
            raise IndexError(f"{name}: with enable_gqa, expected dimensions (..., heads, length, width)")
        if any(not x.shape[-3] or a.shape[-3] % x.shape[-3] for x in (b, c)):
            raise RuntimeError(
                f"{name}: Number of heads in key and value must divide the number of heads in query, but got "
                f"{b.shape[-3]} and {c.shape[-3]} for {a.shape[-3]}"
            )


def _batched(x: Any, lead: tuple[int, ...]) -> Any:
    """x (..., L, E) with leading sizes that broadcast to ``lead``, as (N, H, L, E)."""
    shape = x._a.shape
    if shape[:-2] != lead:
        x = expand(x, (*lead, *shape[-2:]))
    if len(lead) == 2:
        return x
    if len(lead) < 2:
        return x.reshape(*(1,) * (2 - len(lead)), *lead, *shape[-2:])
    return reshape(x, (math.prod(lead[:-1]), lead[-1], *shape[-2:]))


def _mask(attn_mask: Any, lead: tuple[int, ...], scores: tuple[int, int]) -> Any:
    """A mask that broadcasts to (*lead, L, S), as one that broadcasts to (N, H, L, S)."""
    whole = *lead, *scores
    shape = attn_mask._a.shape
    if len(shape) > len(whole) or any(m != n and m != 1 for m, n in zip(reversed(shape), reversed(whole), strict=False)):
        raise RuntimeError(
            f"scaled_dot_product_attention: attn_mask of shape {list(shape)} does not broadcast to the scores, which have shape "
            f"{list(whole)}"
        )
    while attn_mask._a.ndim < max(len(whole), 4):
        attn_mask = unsqueeze(attn_mask, 0)
    if len(lead) <= 2:
        return attn_mask
    shape = attn_mask._a.shape
    if any(n != 1 for n in shape[: len(lead) - 1]):
        attn_mask = expand(attn_mask, (*lead[:-1], *shape[len(lead) - 1 :]))
    return reshape(attn_mask, (math.prod(attn_mask._a.shape[: len(lead) - 1]), *shape[len(lead) - 1 :]))


def attend(
    q: Any, key: Any, v: Any, mask: Any, dropout_p: float, causal: bool, scale: float | None = None, order: Any = None
) -> Any:
    """Attention of checked tensors (N, H, L, E), (N, H, S, E) and (N, H, S, V).

    The result's axes lie in memory as those of q do, or in ``order``.
    """
    width = q._a.shape[3]
    if scale is None:
        scale = 1 / math.sqrt(width) if width else 1.0
    if order is None:
        order = _order(q._a)
    return _meant(Attention.apply(q, key, v, mask, float(scale), causal, dropout_p, order), order)


def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    r"""What rows of queries find at rows of keys: :math:`\mathrm{softmax}(s Q K^T + M) V`.

    ``attn_mask`` is boolean, true where a query may look at a key, or is :math:`M`. With ``is_causal`` query i looks at keys up
    to i (besides what a mask says). ``dropout_p`` is the probability that a weight is dropped, in evaluation too. The scale s is
    :math:`1 / \sqrt{E}` by default. With ``enable_gqa`` keys and values may have fewer heads, each for several of the query's.
    A query that may look at nothing gets zeros. The matrix of weights is never held as a whole.

    Shapes: query (..., L, E), key (..., S, E), value (..., S, V), mask broadcasting to (..., L, S), result (..., L, V).
    Raises ``RuntimeError`` for shapes or dtypes that do not fit.
    """
    if detours:
        query, key, value, attn_mask = lowered(query, key, value, attn_mask)
    _checked(query, key, value, attn_mask, enable_gqa)
    if not 0.0 <= dropout_p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {dropout_p}")
    if enable_gqa:
        heads = query._a.shape[-3]
        key, value = (
            x if x._a.shape[-3] == heads else repeat_interleave(x, heads // x._a.shape[-3], -3) for x in (key, value)
        )
    a, b = query._a, key._a
    lead = a.shape[:-2]
    if not lead == b.shape[:-2] == value._a.shape[:-2]:
        try:
            lead = np.broadcast_shapes(lead, b.shape[:-2], value._a.shape[:-2])
        except ValueError:
            shapes = " and ".join(str(list(x._a.shape)) for x in (query, key, value))
            raise RuntimeError(
                f"scaled_dot_product_attention: the leading dimensions of query, key and value do not fit: {shapes}"
            ) from None
    if attn_mask is not None:
        attn_mask = _mask(attn_mask, lead, (a.shape[-2], b.shape[-2]))
    if a.ndim != 4 or b.shape[:-2] != lead or a.shape[:-2] != lead or value._a.shape[:-2] != lead:
        query, key, value = _batched(query, lead), _batched(key, lead), _batched(value, lead)
    y = attend(query, key, value, attn_mask, float(dropout_p), bool(is_causal), scale)
    return y if len(lead) == 2 else reshape(y, (*lead, *y._a.shape[-2:]))


NN_FUNCTIONS = ("scaled_dot_product_attention",)
