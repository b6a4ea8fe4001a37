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


def _positions(x: ndarray, target: ndarray) -> tuple[ndarray, ndarray]:
    """A flat view of `x` (a copy if it is not dense), and where in it the target classes are."""
    classes = x.shape[1]
    if x.ndim == 2:
        return x.reshape(-1), _first(target.shape, classes, 0) + target
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
    value, hit, denominator = reduced(np.negative(take_class(x, target)), target, keep, weight, reduction)
    if hit is None:
        hit = np.ones((), x.dtype)
    return value, hit if denominator == 1 else hit / np.asarray(denominator, x.dtype)


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
        return rows.dot(_ones(len(rows), F32))
    return np.add.reduce(rows, axis=None, dtype=np.float32 if rows.dtype == np.float16 else None)


SMALL = 1 << 13  # where the time goes into calls, and where products with a vector do not start threads


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype) -> ndarray:
    return np.ones(n, dtype)


def _quick_exponentials(x: ndarray) -> Any:
    """x − max, e^(x − max) and its sums over the classes of a small matrix, with one maximum for all rows; Nones where
    a row lies so far below it that digits would be lost (or is not finite).

    Reductions of short rows cost more than all else here.
    """
    if not x.size or x.dtype == np.float16:
        return None, None, None
    shifted = x - np.maximum.reduce(x, axis=None)
    e = np.exp(shifted)
    total = e.dot(_ones(x.shape[1], x.dtype))
    return (shifted, e, total) if np.minimum.reduce(total) > 1e-4 else (None, None, None)


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
    hit, denominator = _hits(target, keep, weight, reduction, rows.dtype)
    if hit is not None:
        rows *= hit
    return _reduce(_dropped(rows, keep), denominator, reduction), hit, denominator


def cross_entropy_backward(
    grad: ndarray,
    e: ndarray,
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
    if denominator != 1:
        grad = np.asarray(grad / np.asarray(denominator, grad.dtype))
    if keep is not None:
        grad = _dropped(np.array(np.broadcast_to(grad, keep.shape)), keep)
    scale = grad if total is None else grad * total
    if total_e is not None:
        scale = scale / total_e
    y = np.multiply(e, scale[:, None] if scale.ndim else scale, out=empty_like(e))
    if not (y.flags.c_contiguous or np.moveaxis(y, 1, -1).flags.c_contiguous):
        y = np.ascontiguousarray(y)  # so that the flat view is a view
    flat, where = _positions(y, target)
    flat[where] -= grad if hit is None else grad * hit
    if other is not None:
        y -= other * (grad[:, None] if grad.ndim else grad)
    return y
