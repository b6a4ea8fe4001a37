"""Kernels of the classification losses: logits, or log-probabilities, against class indices.

Arrays are (N, C, *d) for the classes' numbers and (N, *d) for the class indices, which must be valid.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["class_rows", "class_rows_backward", "cross_entropy", "cross_entropy_backward", "squared_error"]

ndarray = np.ndarray


@functools.lru_cache(maxsize=64)
def _first(n: int, inner: int, per_sample: int, per_position: int) -> ndarray:
    """The position in memory of class 0 at every (sample, place)."""
    place = np.arange(inner, dtype=np.int64) * per_position
    first = np.arange(n, dtype=np.int64)[:, None] * per_sample + place
    first.flags.writeable = False
    return first


def _positions(x: ndarray, target: ndarray) -> tuple[ndarray, ndarray]:
    """A flat view of `x` (a copy if it is not dense), and where in it the target classes are."""
    n, classes = x.shape[:2]
    inner = target.size // n if n else 0
    channels_last = x.ndim > 2 and not x.flags.c_contiguous and np.moveaxis(x, 1, -1).flags.c_contiguous
    if channels_last:
        flat = np.moveaxis(x, 1, -1).reshape(-1)
        where = _first(n, inner, inner * classes, classes) + target.reshape(n, inner)
    else:
        flat = x.reshape(-1)
        where = target.reshape(n, inner) * inner
        where += _first(n, inner, inner * classes, 1)
    return flat, where


def _take(x: ndarray, target: ndarray) -> ndarray:
    """y[n, *d] = x[n, target[n, *d], *d]."""
    flat, where = _positions(x, target)
    return flat.take(where).reshape(target.shape)


def _dropped(rows: ndarray, keep: ndarray | None) -> ndarray:
    """The rows with 0 in place of those that are not kept, whatever they are (0 times infinity is not 0)."""
    if keep is not None:
        np.copyto(rows, 0, where=~keep)
    return rows


def class_rows(x: ndarray, target: ndarray, weight: ndarray, keep: ndarray | None) -> ndarray:
    """−weight[n, *d]·x[n, target[n, *d], *d], with 0 for targets that are not kept."""
    rows = _take(x, target)
    rows *= weight
    return _dropped(np.negative(rows, out=rows), keep)


def class_rows_backward(
    grad: ndarray, target: ndarray, weight: ndarray, keep: ndarray | None, classes: int
) -> ndarray:
    """−weight·grad at the target class, 0 at every other and for targets that are not kept."""
    y = np.zeros((target.shape[0], classes, *target.shape[1:]), grad.dtype)
    flat, where = _positions(y, target)
    flat[where] = _dropped(np.negative(grad * weight), keep).reshape(where.shape)
    return y


def _sum(rows: ndarray) -> Any:
    return rows.sum(dtype=np.float32 if rows.dtype == np.float16 else None)


def cross_entropy(
    log_probs: ndarray,
    target: ndarray,
    keep: ndarray | None,
    weight: ndarray | None,
    smoothing: float,
    reduction: str,
) -> tuple[ndarray, ndarray | None, ndarray | None, ndarray | None, float]:
    """−(1 − ε)·w[t]·log_probs[t] − ε/C·Σ w·log_probs for every target t that is kept; their sum, or that over Σ w[t].

    Returns the loss, and what the backward kernel needs: per target the factor of its own class, the sum of the
    factors of all classes (None: 1), the factors of the other classes (None: 0), and what the sum was divided by.
    """
    dtype, classes = log_probs.dtype, log_probs.shape[1]
    rows = _take(log_probs, target)
    np.negative(rows, out=rows)
    hit = None if weight is None else weight[target]
    if keep is not None:
        hit = keep.astype(dtype) if hit is None else np.where(keep, hit, 0)
    denominator = 1.0
    if reduction == "mean":
        denominator = float(target.size if hit is None else _sum(hit))
    total, other = hit, None
    if smoothing > 0:
        share = np.full((1, classes, *(1,) * (log_probs.ndim - 2)), smoothing / classes, dtype)
        if weight is not None:
            share *= weight.reshape(share.shape)
        other = np.broadcast_to(share, log_probs.shape) if keep is None else share * keep[:, None]
        hit = np.asarray(1 - smoothing, dtype) if hit is None else hit * dtype.type(1 - smoothing)
        total = hit + other.sum(1)
        rows *= hit
        rows -= (log_probs * share).sum(1)
    elif hit is not None:
        rows *= hit
    _dropped(rows, keep)
    if reduction == "none":
        return rows, hit, total, other, denominator
    value = _sum(rows)
    if denominator != 1:
        value = value / np.asarray(denominator, value.dtype)
    return np.asarray(value, dtype), hit, total, other, denominator


def cross_entropy_backward(
    log_probs: ndarray,
    target: ndarray,
    grad: ndarray,
    keep: ndarray | None,
    hit: ndarray | None,
    total: ndarray | None,
    other: ndarray | None,
    denominator: float,
) -> ndarray:
    """grad/denominator·(total·e^(log_probs) − hit at the target class − other), or 0 for targets that are not kept.

    `grad` is (N, *d) or zero-dimensional.
    """
    y = np.exp(log_probs)
    if not (y.flags.c_contiguous or np.moveaxis(y, 1, -1).flags.c_contiguous):
        y = np.ascontiguousarray(y)  # so that the flat view below is a view
    if denominator != 1:
        grad = np.asarray(grad / np.asarray(denominator, grad.dtype))
    if keep is not None:
        grad = _dropped(np.array(np.broadcast_to(grad, keep.shape)), keep)
    scale = grad if total is None else np.asarray(grad * total)
    y *= scale[:, None] if scale.ndim else scale
    flat, where = _positions(y, target)
    own = grad if hit is None else np.asarray(grad * hit)
    flat[where] -= own.reshape(where.shape) if own.ndim else own
    if other is not None:
        y -= other * (grad[:, None] if grad.ndim else grad)
    return y


def squared_error(x: ndarray, y: ndarray, reduction: str) -> tuple[ndarray, int]:
    """(x − y)², their sum or their mean; and how many they are."""
    squares = np.asarray(np.subtract(x, y))
    np.multiply(squares, squares, out=squares)
    if reduction == "none":
        return squares, squares.size
    value = _sum(squares)
    if reduction == "mean":
        value = value / np.asarray(squares.size, value.dtype)
    return np.asarray(value, squares.dtype), squares.size
