"""Scaled dot-product attention, float32: the blocks of the reference, with oneDNN's products and softmax.

Products write to and read from parts of larger arrays, so nothing is copied per block. In the backward pass the weights are a
transposed left factor, which is slow where rows begin a multiple of 1 KB apart (see matmul.py): rows of such a length get a
gap of 16 scores of −inf, whose weights are 0 and which no product looks at (kept weights have it, too). A mask and what else is
done to a block of scores is NumPy's, in place and in the cache: oneDNN's products can do it too, but not faster, and with most
masks by a plain loop.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty
from lamina.engine.reference import attention as reference
from lamina.engine.reference.attention import (
    KEPT,
    Index,
    add_to_mask,
    additive,
    blocks,
    extent,
    hide_future,
    ordered,
    part,
)

from . import abi
from .core import F32, Desc, Plan, attributes, plain_desc, plan, plans, primitive, strided_desc, worthwhile

ndarray = np.ndarray
Ints = tuple[int, ...]

SMALL = 1 << 18  # multiplications below which NumPy's shorter calls win
AWKWARD = 1024  # bytes between rows: multiples of this are slow
GAP = 16


@plans
def _product(a: Ints, a_strides: Ints, b: Ints, b_strides: Ints, y: Ints, y_strides: Ints, add: bool) -> Plan | None:
    """y = a·b, or y += a·b, for arrays of four axes that lie so."""
    attr = attributes(("sum",)) if add else None
    pd = primitive("matmul", _desc(a, a_strides), _desc(b, b_strides), None, _desc(y, y_strides), attr=attr)
    return plan(pd, abi.SRC, abi.WEIGHTS, abi.DST)


def _desc(shape: Ints, strides: Ints) -> Desc:
    """The descriptor of matrices that lie plain or transposed; axes of size 1 get a stride that fits in."""
    *_, rows, columns = shape
    *batch, down, across = (s // 4 for s in strides)
    if columns == 1:
        across = rows if down == 1 and rows > 1 else 1
    if rows == 1:
        down = columns if across == 1 else 1
    batch = [rows * columns if n == 1 else s for n, s in zip(shape, batch, strict=False)]
    return strided_desc(shape, (*batch, down, across))


@plans
def _softmax(rows: int, n: int) -> Plan | None:
    d = plain_desc((rows, n))
    return plan(primitive("softmax_forward", abi.FORWARD_INFERENCE, abi.SOFTMAX_ACCURATE, d, d, 1), abi.SRC, abi.DST)


@plans
def _to_scores(rows: int, n: int) -> Plan | None:
    """(d − s)·w for one s for each row, over w"""
    d = plain_desc((rows, n))
    pd = primitive("binary", abi.SUB, d, plain_desc((rows, 1)), d, attr=attributes(("binary", abi.MUL, d)))
    return plan(pd, abi.SRC, abi.SRC_1, abi.post_op_src(0), abi.DST)


class _Declined(Exception):
    """oneDNN has no fast code for a step."""


def _run(plan: Plan | None, *arrays: ndarray) -> None:
    if plan is None:
        raise _Declined
    plan.run(*arrays)


def _multiply(a: ndarray, b: ndarray, y: ndarray, add: bool = False) -> None:
    _run(_product[a.shape, a.strides, b.shape, b.strides, y.shape, y.strides, add], a, b, y)


def _usable(x: ndarray) -> ndarray:
    """``x`` with rows that lie plain, and not an awkward distance apart."""
    across, down = x.strides[-1], x.strides[-2]
    if across == 4 and down >= 4 * x.shape[-1] and down % AWKWARD and min(x.strides) > 0 and not down % 4:
        return x
    return np.ascontiguousarray(x)


def _scaled(q: ndarray, scale: float) -> ndarray:
    return np.multiply(q, F32.type(scale), out=empty(q.shape))


def _takes(scale: float, *arrays: ndarray) -> bool:
    q, k = arrays[:2]
    if not worthwhile(q.size * k.shape[2], SMALL) or k.shape[2] < 2 or not abs(scale) < 3e38:
        return False
    return all(a.dtype == F32 and a.size > 0 for a in arrays)


def _without_lost_rows(mask: Any) -> tuple[Any, Any]:
    """The additive mask, and its rows that may look at nothing, if there are any: those are freed of their mask."""
    if mask is None:
        return None, None
    lost = mask.max(-1, keepdims=True) == -np.inf
    if not lost.any():
        return mask, None
    return np.where(lost, F32.type(0), mask), lost


def _lost_to_zero(a: ndarray, lost: Any) -> None:
    if lost is not None:
        np.copyto(a, 0, where=lost)


@fast(min_size=256)
def attention(
    q: ndarray, k: ndarray, v: ndarray, mask: ndarray | None, scale: float, causal: bool, noise: Any, order: Ints,
    keep: bool = False,
) -> Any:  # fmt: skip
    if not _takes(scale, q, k, v):
        return NotImplemented
    try:
        out, kept = _forward(q, k, v, mask, scale, causal, noise, order, keep)
    except _Declined:
        return NotImplemented
    if np.isnan(np.minimum.reduce(out, axis=None)):  # oneDNN's softmax has its own idea of rows with NaN or inf
        return reference.attention(q, k, v, mask, scale, causal, noise, order, keep)
    return out, kept


def _forward(
    q: ndarray, k: ndarray, v: ndarray, mask: ndarray | None, scale: float, causal: bool, noise: Any, order: Ints, keep: bool
) -> tuple[ndarray, list[ndarray] | None]:
    (n, heads, rows), keys = q.shape[:3], k.shape[2]
    out, y = ordered((n, heads, rows, v.shape[3]), order, empty, F32)
    mask, lost = _without_lost_rows(additive(mask, F32))
    draw = None if noise is None else noise.start()
    q, k, v = _scaled(q, scale), _usable(k).swapaxes(-1, -2), _usable(v)
    parts = list(blocks(n, heads, rows, keys, causal, noise is None))
    kept: list[ndarray] | None = [] if keep and n * heads * rows * keys <= KEPT else None
    room = _room(parts[0], keys) if kept is None else None
    for index in parts:
        end = extent(index[2], keys, causal)
        width = end if kept is None else _with_gap(end)
        scores = _within(room, index, width)
        weights = _weights(q, k, mask, causal, index, end, scores, scores)
        if kept is not None:
            kept.append(weights)
            _lost_to_zero(weights, None if lost is None else part(lost, index, 1))
        if draw is not None:
            noise_ = draw((*scores.shape[:3], keys))[..., :end]
            weights = np.multiply(weights, noise_, out=weights if kept is None else None)
        _multiply(weights, v[index[0], index[1], :end], y[index])
    _lost_to_zero(y, lost)
    return out, kept


def _room(first: Index, keys: int) -> ndarray:
    """Memory for the scores of any block; the first is the largest, but for the number of keys that it looks at."""
    return empty((prod(_sizes(first)) * (keys + GAP),))


def _sizes(index: Index) -> Ints:
    return tuple([cut.stop - cut.start for cut in index])


def _within(room: ndarray | None, index: Index, width: int) -> ndarray:
    """An array for the scores of a block, in memory made for all blocks if there is any."""
    shape = (*_sizes(index), width)
    return empty(shape) if room is None else room[: prod(shape)].reshape(shape)


def _with_gap(width: int) -> int:
    """The length of rows of scores of which products have the transposed."""
    return width if 4 * width % AWKWARD else width + GAP


def _weights(
    q: ndarray, k: ndarray, mask: Any, causal: bool, index: Index, end: int, scores: ndarray, weights: ndarray
) -> ndarray:
    """``weights`` = softmax(q·kᵀ + mask) for a block, and ``scores`` on the way; ``k`` is transposed already.

    What is returned leaves out the gap at the end of the rows, if there is one.
    """
    width, inner = scores.shape[-1], scores[..., :end]
    _multiply(q[index], k[index[0], index[1], :, :end], inner)
    if mask is not None:
        inner += part(mask, index, end)
    if causal:
        hide_future(inner, index[2].start)
    if end < width:
        scores[..., end:] = -np.inf
    _run(_softmax[scores.size // width, width], scores, weights)
    return weights[..., :end]


@fast(min_size=256)
def attention_backward(
    grad: ndarray, q: ndarray, k: ndarray, v: ndarray, out: ndarray, kept: Any, mask: ndarray | None, scale: float, causal: bool,
    noise: Any, orders: tuple, mask_grad: bool,
) -> Any:  # fmt: skip
    if not _takes(scale, q, k, v, grad) or np.isnan(np.minimum.reduce(out, axis=None)):
        return NotImplemented
    try:
        found = _backward(grad, q, k, v, out, kept, mask, scale, causal, noise, orders, mask_grad)
    except _Declined:
        return NotImplemented
    if np.isnan(np.minimum.reduce(found[0], axis=None)):
        return reference.attention_backward(grad, q, k, v, out, kept, mask, scale, causal, noise, orders, mask_grad)
    return found


def _backward(
    grad: ndarray, q: ndarray, k: ndarray, v: ndarray, out: ndarray, kept: Any, mask: ndarray | None, scale: float, causal: bool,
    noise: Any, orders: tuple, mask_grad: bool,
) -> tuple[ndarray, ndarray, ndarray, Any]:  # fmt: skip
    (n, heads, rows), keys = q.shape[:3], k.shape[2]
    (gq, q_view), (gk, k_view), (gv, v_view) = (
        ordered(a.shape, order, empty, F32) for a, order in zip((q, k, v), orders, strict=True)
    )
    gm = np.zeros(mask.shape, F32) if mask_grad and mask is not None else None
    mask, lost = _without_lost_rows(additive(mask, F32)) if kept is None else (None, None)
    draw = None if noise is None else noise.start()
    q, k, v, grad = _scaled(q, scale), _usable(k), _usable(v), _usable(grad)
    if lost is not None:
        grad = np.where(lost, F32.type(0), grad)
    sums = np.vecdot(grad, out)[..., None]
    k_flipped, v_flipped = k.swapaxes(-1, -2), v.swapaxes(-1, -2)
    parts = list(blocks(n, heads, rows, keys, causal, noise is None))
    room, more, noisy_room = (_room(parts[0], keys) if wanted else None for wanted in (True, kept is None, noise is not None))
    for i, index in enumerate(parts):
        end, later = extent(index[2], keys, causal), index[2].start > 0
        width = _with_gap(end)
        seen = index[0], index[1], slice(0, end)
        g, d = grad[index], _within(room, index, width)
        inner, flat = d[..., :end], d.size // width
        weights = kept[i] if kept else _weights(q, k_flipped, mask, causal, index, end, d, _within(more, index, width))
        noisy = weights
        if draw is not None:
            z = draw((*d.shape[:3], keys))[..., :end]
            noisy = np.multiply(weights, z, out=_within(noisy_room, index, width)[..., :end])
        _multiply(noisy.swapaxes(-1, -2), g, v_view[seen], add=later)
        _multiply(g, v_flipped[index[0], index[1], :, :end], inner)
        if draw is not None:
            inner *= z
        _run(_to_scores[flat, width], d, np.ascontiguousarray(sums[index]), weights, d)
        _multiply(inner, k[seen], q_view[index])
        _multiply(inner.swapaxes(-1, -2), q[index], k_view[seen], add=later)
        if not later and end < keys:  # later rows look at these, and add to them
            k_view[index[0], index[1], end:] = v_view[index[0], index[1], end:] = 0
        if gm is not None:
            add_to_mask(part(gm, index, end), inner)
    gq *= F32.type(scale)
    return gq, gk, gv, gm
