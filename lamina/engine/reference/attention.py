"""Scaled dot-product attention of arrays q (N, H, L, D), k (N, H, S, D) and v (N, H, S, V), some rows of scores at a time.

The scores of a block, a few rows by all keys, are all that is ever held of the (L, S) matrix of a head, so memory grows with
L and S, not with their product. Blocks follow each other in the order of the elements of a plain array (N, H, L, S), which
is the order that dropout draws its noise in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from lamina.engine.reference.linalg import product
from lamina.engine.reference.reduction import F16, F32

__all__ = ["attention", "attention_backward"]

ndarray = np.ndarray
Index = tuple[slice, slice, slice]
Draw = Callable[[tuple[int, ...]], ndarray]  # the dropout factors of the next block, 0 or 1/(1 − p)

_highest: Any = np.maximum.reduce
_total: Any = np.add.reduce

BLOCK = 1 << 19  # scores in a block: two such blocks fit into the caches of most processors
ROWS = 64  # rows that a block has at least (if there are as many), lest products become too flat to be fast
KEPT = 1 << 18  # scores up to which the weights are kept for the backward pass, which then need not compute them again
STEP = 128  # with a causal mask, how many rows a block has at most, and in multiples of what hidden keys are left out


def blocks(n: int, heads: int, rows: int, keys: int, causal: bool, free: bool) -> Iterator[Index]:
    """Examples, heads and rows to take at once: several examples if they are small, else heads of one, else rows of one.

    With a causal mask few rows are taken, as they look at few keys together; of several heads if the order is ``free``.
    """
    room = max(BLOCK // keys, 2 * ROWS)
    several = 2 if free and heads > 1 else 1  # products of two heads are shared out between threads better than those of one
    row_step = rows if rows * several <= room else room // several // 16 * 16
    if causal and row_step > STEP and keys > STEP:
        row_step = STEP
    head_step = n_step = 1
    if free or row_step == rows:
        head_step = min(heads, room // row_step)
        n_step = max(room // (row_step * heads), 1)
    for i in range(0, n, n_step):
        for j in range(0, heads, head_step):
            for r in range(0, rows, row_step):
                yield (
                    slice(i, min(i + n_step, n)),
                    slice(j, min(j + head_step, heads)),
                    slice(r, min(r + row_step, rows)),
                )


def extent(rows: slice, keys: int, causal: bool) -> int:
    """How many keys the rows of a block may look at."""
    return min(keys, -(-rows.stop // STEP) * STEP) if causal else keys


def ordered(shape: tuple[int, ...], order: tuple[int, ...], make: Callable[..., ndarray], dtype: Any) -> tuple[Any, Any]:
    """An array whose axes lie in memory in ``order``, as it lies and as it is meant."""
    a = make(tuple([shape[i] for i in order]), dtype)
    return a, a.transpose(sorted(range(len(order)), key=order.__getitem__))


def additive(mask: ndarray | None, dtype: Any) -> Any:
    """A mask as what is to be added to scores: of a boolean one, −inf where it is false."""
    if mask is None or mask.dtype.kind != "b":
        return mask if mask is None or mask.dtype == dtype else mask.astype(dtype)
    return np.where(mask, dtype.type(0), dtype.type(-np.inf))


def part(mask: ndarray, index: Index, keys: int) -> ndarray:
    """What of a mask (N or 1, H or 1, L or 1, S or 1) belongs to a block."""
    for axis, cut in enumerate((*index, slice(0, keys))):
        if mask.shape[axis] != 1:
            mask = mask[(slice(None),) * axis + (cut,)]
    return mask


def hide_future(scores: ndarray, first: int) -> None:
    """Set to −inf what a causal mask hides from the rows of a block, of which the first has number ``first``."""
    rows, keys = scores.shape[-2:]
    if keys > first + 1:
        np.copyto(scores[..., first:], -np.inf, where=_future(rows, keys - first))


@lru_cache(maxsize=64)
def _future(rows: int, keys: int) -> ndarray:
    return np.arange(keys) > np.arange(rows)[:, None]


def _weights(q: ndarray, k: ndarray, mask: Any, causal: bool, index: Index, keys: int) -> ndarray:
    """softmax(q·kᵀ + mask) for a block; rows that may look at nothing have no weights, and so are zero."""
    n, h, rows = index
    scores = product(q[index], k[n, h, :keys].swapaxes(-1, -2))
    if mask is not None:
        scores += part(mask, index, keys)
    if causal:
        hide_future(scores, rows.start)
    # A row that may look at nothing is all −inf, also less this maximum; the sum of any other is at least e⁰.
    scores -= np.maximum(_highest(scores, axis=-1, keepdims=True), np.finfo(scores.dtype).min)
    np.exp(scores, out=scores)
    scores /= np.maximum(_total(scores, axis=-1, keepdims=True), 1)
    return scores


def attention(
    q: ndarray, k: ndarray, v: ndarray, mask: ndarray | None, scale: float, causal: bool, noise: Any, order: tuple[int, ...],
    keep: bool = False,
) -> tuple[ndarray, Any]:  # fmt: skip
    """softmax(scale·q·kᵀ + mask)·v, with axes that lie in memory in ``order``, and the weights if there are few.

    ``mask`` (N or 1, H or 1, L or 1, S or 1) is boolean, true where a row may look, or is added; ``causal`` lets row i look at
    keys up to i. ``noise``, if given, multiplies the weights: ``noise.start()`` is a function that gives it block by block.
    The weights, without noise, are a list of blocks, or ``None`` if there are many or ``keep`` does not ask for them.
    """
    if q.dtype is F16:
        single = q.astype(F32), k.astype(F32), v.astype(F32)
        single_out, weights = attention(*single, mask, scale, causal, noise, order, keep)
        return single_out.astype(F16), weights
    (n, heads, rows), keys = q.shape[:3], k.shape[2]
    out, y = ordered((n, heads, rows, v.shape[3]), order, np.empty if keys else np.zeros, q.dtype)
    if not keys or not out.size:
        return out, None
    mask, draw = additive(mask, q.dtype), None if noise is None else noise.start()
    q = q * q.dtype.type(scale)
    kept: Any = [] if keep and n * heads * rows * keys <= KEPT else None
    for index in blocks(n, heads, rows, keys, causal, noise is None):
        end = extent(index[2], keys, causal)
        w = _weights(q, k, mask, causal, index, end)
        if kept is not None:
            kept.append(w)
        if draw is not None:
            w = w * _drawn(draw, w, keys)
        y[index] = product(w, v[index[0], index[1], :end])
    return out, kept


def _drawn(draw: Draw, w: ndarray, keys: int) -> ndarray:
    """The next block's noise, which is drawn for all keys."""
    return draw((*w.shape[:3], keys))[..., : w.shape[3]]


def attention_backward(
    grad: ndarray, q: ndarray, k: ndarray, v: ndarray, out: ndarray, kept: Any, mask: ndarray | None, scale: float, causal: bool,
    noise: Any, orders: tuple, mask_grad: bool,
) -> tuple[ndarray, ndarray, ndarray, Any]:  # fmt: skip
    """The gradients of :func:`attention` with respect to q, k, v, each lying in memory in its one of ``orders``, and to the mask.

    With weights P: dV = Pᵀ·g, and from dP = g·Vᵀ follows dS = P∘(dP − Σ dP∘P), where Σ dP∘P = Σ g∘out for each row.
    """
    if q.dtype is F16:
        grad, q, k, v, out = (a.astype(F32) for a in (grad, q, k, v, out))
        gq, gk, gv, gm = attention_backward(grad, q, k, v, out, kept, mask, scale, causal, noise, orders, mask_grad)
        return gq.astype(F16), gk.astype(F16), gv.astype(F16), gm
    (n, heads, rows), keys = q.shape[:3], k.shape[2]
    (gq, q_view), (gk, k_view), (gv, v_view) = (
        ordered(a.shape, order, np.zeros, a.dtype) for a, order in zip((q, k, v), orders, strict=True)
    )
    mask, draw = additive(mask, q.dtype), None if noise is None else noise.start()
    gm = np.zeros(mask.shape, q.dtype) if mask_grad else None
    if not keys or not grad.size:
        return gq, gk, gv, gm
    q = q * q.dtype.type(scale)
    sums = np.vecdot(grad, out)[..., None]
    for i, index in enumerate(blocks(n, heads, rows, keys, causal, noise is None)):
        end = extent(index[2], keys, causal)
        seen = index[0], index[1], slice(0, end)
        g, w = grad[index], _weights(q, k, mask, causal, index, end) if kept is None else kept[i]
        d = product(g, v[seen].swapaxes(-1, -2))
        noisy = w
        if draw is not None:
            z = _drawn(draw, w, keys)
            noisy = w * z
            d *= z
        v_view[seen] += product(noisy.swapaxes(-1, -2), g)
        d -= sums[index]
        d *= w
        q_view[index] = product(d, k[seen])
        k_view[seen] += product(d.swapaxes(-1, -2), q[index])
        if gm is not None:
            add_to_mask(part(gm, index, end), d)
    gq *= gq.dtype.type(scale)
    return gq, gk, gv, gm


def add_to_mask(mask: ndarray, d: ndarray) -> None:
    """mask += d, summed over the axes along which the mask was repeated."""
    axes = tuple(axis for axis in range(4) if mask.shape[axis] == 1 and d.shape[axis] != 1)
    mask += d.sum(axes, keepdims=True) if axes else d
