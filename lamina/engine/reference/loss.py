"""Kernels of the classification losses: logits, or log-probabilities, against class indices.

Arrays are (N, C, *d) for the classes' numbers and (N, *d) for the class indices, which must be valid.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from lamina.engine.memory import empty_like

__all__ = ["class_rows", "class_rows_backward", "cross_entropy", "cross_entropy_backward", "nll"]

ndarray = np.ndarray
F32 = np.dtype(np.float32)


def _first(shape: tuple[int, ...], per_sample: int, per_place: int) -> ndarray:
    """For a target's shape (N, *d), the position of class 0 in memory."""
    small = math.prod(shape) <= 4096  # worth keeping
    return (_first_kept if small else _first_kept.__wrapped__)(shape, per_sample, per_place)


@functools.lru_cache(maxsize=64)
def _first_kept(shape: tuple[int, ...], per_sample: int, per_place: int) -> ndarray:
    places = math.prod(shape[1:])
    first = np.arange(shape[0])[:, None] * per_sample + np.arange(places) * per_place
    first = first.reshape(shape)
    first.flags.writeable = False
    return first


@functools.lru_cache(maxsize=64)
def _starts_kept(rows: int, classes: int) -> ndarray:
    starts = np.arange(rows) * classes
    starts.flags.writeable = False
    return starts


def row_starts(rows: int, classes: int) -> ndarray:
    """Where the rows of a matrix begin in memory."""
    return _starts_kept(rows, classes) if rows <= 4096 else np.arange(rows) * classes


def _positions(x: ndarray, target: ndarray) -> tuple[ndarray, ndarray]:
    """A flat view of `x` (a copy if it is not dense), and where in it the target classes are."""
    classes = x.shape[1]
    if x.ndim == 2:
        return x.reshape(-1), row_starts(len(x), classes) + target
    places = math.prod(x.shape[2:])
    last = np.moveaxis(x, 1, -1)
    if last.flags.c_contiguous and not x.flags.c_contiguous:  # channels-last
        return last.reshape(-1), _first(target.shape, places * classes, classes) + target
    return x.reshape(-1), _first(target.shape, places * classes, 1) + target * places


def take_class(x: ndarray, target: ndarray) -> ndarray:
    """y[n, *d] = x[n, target[n, *d], *d]."""
    flat, where = _positions(x, target)
    return flat.take(where)


def _dropped(rows: ndarray, keep: ndarray | None) -> ndarray:
    """The rows with 0 in place of those that are not kept, whatever they are (0 times infinity is not 0)."""
    if keep is not None:
        np.copyto(rows, 0, where=~keep)
    return rows


def nll(
    x: ndarray, target: ndarray, keep: ndarray | None, weight: ndarray | None, reduction: str
) -> tuple[ndarray, ndarray]:
    """−w[t]·x[t] for every target t that is kept, their sum, or that over Σ w[t]; and the factors, divided alike."""
    rows = take_class(x, target)
    if weight is None and keep is None:
        if reduction == "none":
            return np.negative(rows), _share(1, x.dtype.char)
        count = rows.size if reduction == "mean" else 1
        return np.asarray(_sum(rows) / -count, x.dtype), _share(count, x.dtype.char)
    value, hit, denominator = reduced(np.negative(rows), target, keep, weight, reduction)
    assert hit is not None  # as there are weights, or targets that do not count
    return value, hit if denominator == 1 else hit / np.asarray(denominator, x.dtype)


@functools.lru_cache(maxsize=64)
def _share(count: int, kind: str) -> ndarray:
    """1/count in a dtype of which that is the character."""
    share = np.asarray(1 / count if count else np.inf, kind)
    share.flags.writeable = False
    return share


def class_rows(x: ndarray, target: ndarray, weight: ndarray, keep: ndarray | None) -> ndarray:
    """−weight[n, *d]·x[n, target[n, *d], *d], with 0 for targets that are not kept."""
    rows = take_class(x, target)
    rows *= weight
    return _dropped(np.negative(rows, out=rows), keep)


def class_rows_backward(
    grad: ndarray, target: ndarray, weight: ndarray, keep: ndarray | None, classes: int
) -> ndarray:
    """−weight·grad at the target class, 0 at every other and for targets that are not kept."""
    y = np.zeros((target.shape[0], classes, *target.shape[1:]), grad.dtype)
    flat, where = _positions(y, target)
    flat[where] = _dropped(np.negative(grad * weight), keep)
    return y


def _sum(rows: ndarray) -> Any:
    if rows.ndim == 1 and rows.size <= 2048 and rows.dtype is F32:
        return rows.dot(ones(len(rows), "f"))
    return np.add.reduce(rows, axis=None, dtype=np.float32 if rows.dtype == np.float16 else None)


SMALL = 1 << 13  # where the time goes into calls, and where products with a vector do not start threads


@functools.lru_cache(maxsize=64)
def ones(n: int, kind: str) -> ndarray:
    return np.ones(n, kind)  # of a dtype's character, as the hash of a dtype takes as long as a product


def _quick_exponentials(x: ndarray) -> Any:
    """x − max, e^(x − max) and its sums over the classes of a small matrix, with one maximum for all rows; Nones where
    a row lies so far below it that digits would be lost (or is not finite).

    Reductions of short rows cost more than all else here.
    """
    if not x.size or x.dtype == np.float16:
        return None, None, None
    row = x.reshape(-1)
    shifted = x - row[row.argmax(), ...]  # argmax and argmin (of NaN, if there is one) take a third of the time of max and min
    e = np.exp(shifted)
    total = e.dot(ones(x.shape[1], x.dtype.char))
    return (shifted, e, total) if total[total.argmin()] > 1e-4 else (None, None, None)


def cross_entropy(
    x: ndarray, target: ndarray, keep: ndarray | None, weight: ndarray | None, smoothing: float, reduction: str
) -> tuple[ndarray, tuple[Any, ...]]:
    """With p = softmax(x): −(1 − ε)·w[t]·log p[t] − ε/C·Σ w·log p for every target t that is kept; their sum, or that
    over Σ w[t].

    Returns the loss, and for the backward kernel: e^(x − max), its sum over the classes (None: 1); the factor of a target's own
    class, the sum of the factors of all classes (None: 1 both), the factors of other classes (None: 0); what the sum
    was divided by.
    """
    dtype, classes = x.dtype, x.shape[1]
    shifted: Any = None
    e: Any = None
    total_e: Any = None
    if x.ndim == 2 and x.size <= SMALL:
        shifted, e, total_e = _quick_exponentials(x)
        if e is not None and smoothing == 0 and weight is None and keep is None and reduction != "none":
            rows = np.log(total_e)
            rows -= take_class(shifted, target)
            count = len(rows) if reduction == "mean" else 1
            return np.asarray(_sum(rows) / count, dtype), (e, total_e, None, None, None, float(count))
    if e is None:
        shifted = np.subtract(x, np.maximum.reduce(x, axis=1, keepdims=True, initial=-np.inf), out=empty_like(x))
    rows = take_class(shifted, target)
    smooth = other = None
    if smoothing > 0:
        share = np.full((1, classes, *(1,) * (x.ndim - 2)), smoothing / classes, dtype)
        if weight is not None:
            share *= weight.reshape(share.shape)
        smooth = np.add.reduce(shifted * share, axis=1)
        other = np.broadcast_to(share, x.shape) if keep is None else share * keep[:, None]
    if e is None:
        e = np.exp(shifted, out=shifted)
        total_e = np.add.reduce(e, axis=1)
    log_total = np.log(total_e)
    rows = np.subtract(log_total, rows, out=rows)
    if smooth is None or other is None:
        value, hit, denominator = reduced(rows, target, keep, weight, reduction)
        return value, (e, total_e, hit, hit, None, denominator)
    hit, denominator = _hits(target, keep, weight, reduction, dtype)
    hit = np.asarray(1 - smoothing, dtype) if hit is None else hit * dtype.type(1 - smoothing)
    rows *= hit
    rows += log_total * _sum(share) - smooth
    value = _reduce(_dropped(rows, keep), denominator, reduction)
    return value, (e, total_e, hit, hit + other.sum(1), other, denominator)


def _hits(
    target: ndarray, keep: ndarray | None, weight: ndarray | None, reduction: str, dtype: np.dtype
) -> tuple[ndarray | None, float]:
    """The factor of each target's own class (None: 1), and what their sum is to be divided by."""
    hit = None if weight is None else weight[target]
    if keep is not None:
        hit = keep.astype(dtype) if hit is None else np.where(keep, hit, 0)
    return hit, 1.0 if reduction != "mean" else float(target.size if hit is None else _sum(hit))


def _reduce(rows: ndarray, denominator: float, reduction: str) -> ndarray:
    if reduction == "none":
        return rows
    value = _sum(rows)
    return np.asarray(value if denominator == 1 else value / denominator, rows.dtype)


def reduced(
    rows: ndarray, target: ndarray, keep: ndarray | None, weight: ndarray | None, reduction: str
) -> tuple[ndarray, ndarray | None, float]:
    """From one loss per target, which is overwritten, to the result; with the factors, and what was divided by."""
    if weight is None and keep is None:
        if reduction == "none":
            return rows, None, 1.0
        count = rows.size if reduction == "mean" else 1
        return np.asarray(_sum(rows) / count, rows.dtype), None, float(count)
    hit, denominator = _hits(target, keep, weight, reduction, rows.dtype)
    if hit is not None:
        rows *= hit
    return _reduce(_dropped(rows, keep), denominator, reduction), hit, denominator


def cross_entropy_backward(
    e: ndarray,
    grad: ndarray,
    total_e: ndarray | None,
    target: ndarray,
    keep: ndarray | None,
    hit: ndarray | None,
    total: ndarray | None,
    other: ndarray | None,
    denominator: float,
) -> ndarray:
    """grad/denominator·(total·e/total_e − hit at the target class − other), or 0 for targets that are not kept.

    `grad` is (N, *d) or zero-dimensional; no `total_e` stands for 1.
    """
    grad, scale = scaled(grad, total_e, keep, total, denominator)
    y = np.multiply(e, scale[:, None] if scale.ndim else scale, out=empty_like(e))
    if not (y.flags.c_contiguous or np.moveaxis(y, 1, -1).flags.c_contiguous):
        y = np.ascontiguousarray(y)  # so that the flat view is a view
    take_from_class(y, target, grad if hit is None else grad * hit)
    if other is not None:
        y -= other * (grad[:, None] if grad.ndim else grad)
    return y


def scaled(
    grad: ndarray, total_e: ndarray | None, keep: ndarray | None, total: ndarray | None, denominator: float
) -> tuple[ndarray, ndarray]:
    """The gradient of each target, and what e is to be multiplied by."""
    if denominator != 1:
        grad = np.asarray(grad / np.asarray(denominator, grad.dtype))
    if keep is not None:
        grad = _dropped(np.array(np.broadcast_to(grad, keep.shape)), keep)
    scale = grad if total is None else grad * total
    return grad, scale if total_e is None else scale / total_e


def take_from_class(y: ndarray, target: ndarray, amount: ndarray) -> None:
    """y[n, target[n, *d], *d] −= amount[n, *d], in place."""
    flat, where = _positions(y, target)
    if where.size < 256:
        flat[where] -= amount
    else:
        np.subtract.at(flat, where, amount)
