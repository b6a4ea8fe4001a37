"""Kernels of the classification losses: logits, or log-probabilities, against class indices.

Arrays are (N, C, *d) for the classes' numbers and (N, *d) for the class indices, which must be valid.
"""

from __future__ import annotations

import functools

import numpy as np

__all__ = ["cross_entropy_backward", "put_class", "take_class"]

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


def take_class(x: ndarray, target: ndarray) -> ndarray:
    """y[n, *d] = x[n, target[n, *d], *d]."""
    flat, where = _positions(x, target)
    return flat.take(where).reshape(target.shape)


def put_class(values: ndarray, target: ndarray, classes: int) -> ndarray:
    """y[n, target[n, *d], *d] = values[n, *d], and 0 at every other class."""
    y = np.zeros((target.shape[0], classes, *target.shape[1:]), values.dtype)
    flat, where = _positions(y, target)
    flat[where] = values.reshape(where.shape)
    return y


def cross_entropy_backward(
    log_probs: ndarray, target: ndarray, total: ndarray, hit: ndarray, other: ndarray | None
) -> ndarray:
    """total·e^(log_probs) − hit at the target class − other.

    `total` and `hit` are (N, *d) or zero-dimensional; `other`, if any, broadcasts against `log_probs`.
    """
    y = np.exp(log_probs)
    if not (y.flags.c_contiguous or np.moveaxis(y, 1, -1).flags.c_contiguous):
        y = np.ascontiguousarray(y)  # so that the flat view below is a view
    y *= total[:, None] if total.ndim else total
    flat, where = _positions(y, target)
    flat[where] -= hit.reshape(where.shape) if hit.ndim else hit
    if other is not None:
        y -= other
    return y
