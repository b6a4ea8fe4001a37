"""Cross entropy of large arrays, float32: of rows with the classes side by side in memory one softmax, which is oneDNN's; of
images e^(x − a number) and its sums over the classes, and no more.

The number is the greatest of a sample: what is subtracted makes no difference as long as the sums neither lose digits nor
overflow, which they tell themselves.
"""
from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference import loss as reference

from . import abi
from .core import F32, Plan, plain_desc, plan, plans, primitive
from .softmax import _exponentials, _matrices, _softmax, _totals, softmax

SURE = 1e-30        # a probability below this has lost digits; its logarithm is computed from the logits
LOW, HIGH = 1e-3, 1e4       # between which sums of exponentials are, and products of eight of them, and their logarithms, exact
SAMPLE = 2048


@fast(min_size=6_000)
def cross_entropy(
    x: np.ndarray, target: np.ndarray, keep: np.ndarray | None, weight: np.ndarray | None, smoothing: float, reduction: str
) -> Any:
    """−w[t]·log p[t] for every target t that is kept, p = softmax(x); their sum, or that over Σ w[t]."""
    if smoothing > 0 or not target.size:       # the first needs the logarithm of every probability
        return NotImplemented
    if x.ndim > 2 and (found := _of_places(x, target, keep, weight, reduction)) is not None:
        return found
    # A row with NaN or inf comes out with 0 for every number, or NaN: its target is doubtful, so that no look at p is needed.
    plan = _softmax[x.shape] if x.ndim == 2 and x.dtype is F32 and x.shape[1] > 1 and x.flags.c_contiguous else None
    if plan is None:
        p = softmax(x, 1)
    else:
        p = empty_like(x)
        plan.run(x, p)
    if p is NotImplemented:
        return NotImplemented
    rows = reference.take_class(p, target)
    least = rows.item(rows.argmin())
    if not least >= SURE:
        if plan is not None and np.isnan(np.minimum.reduce(p, axis=None)):
            return NotImplemented
        doubtful = np.flatnonzero(rows < SURE)
    np.negative(np.log(rows, out=rows), out=rows)
    if not least >= SURE:
        some = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])[doubtful]
        t = target.reshape(-1)[doubtful]
        rows.reshape(-1)[doubtful] = reference.cross_entropy(some, t, None, None, 0.0, "none")[0]
    value, hit, denominator = reference.reduced(rows, target, keep, weight, reduction)
    return value, (p, None, hit, hit, None, denominator)


def _of_places(
    x: np.ndarray, target: np.ndarray, keep: np.ndarray | None, weight: np.ndarray | None, reduction: str
) -> Any:
    """Of a plain array with the classes in the middle; None where that does not pay, or loses digits."""
    shape, exp = _matrices(x, 1), _exponentials[x.size]
    if shape is None or exp is None:
        return None
    row, e = x.reshape(-1), empty(x.shape)
    some = row[:: max(row.size // SAMPLE, 1) | 1]
    top = some[some.argmax()].reshape(1)
    exp.run(x, top, e)
    sums = _totals(e.reshape(shape))
    if sums is None:
        return None
    total = sums.reshape(-1)
    if not (total[total.argmin()] > LOW and total[total.argmax()] < HIGH):
        return None
    rows = np.subtract(reference.take_class(x, target), top)
    if weight is not None or keep is not None or reduction == "none":
        rows = np.subtract(np.log(sums).reshape(target.shape), rows, out=rows)
        value, hit, denominator = reference.reduced(rows, target, keep, weight, reduction)
        return value, (e, sums.reshape(target.shape), hit, hit, None, denominator)
    eights = total[: total.size // 8 * 8].reshape(8, -1)
    logs = np.log(np.multiply.reduce(eights, axis=0)), np.log(total[eights.size :])
    loss = sum(float(np.add.reduce(part)) for part in logs) - float(np.add.reduce(rows, axis=None))
    denominator = float(rows.size) if reduction == "mean" else 1.0
    return np.asarray(loss / denominator, F32), (e, sums.reshape(target.shape), None, None, None, denominator)


@plans
def _times(shape: tuple[int, ...], other: tuple[int, ...]) -> Plan | None:
    """A matrix by a number for each row, or for each column, or by one number."""
    d = plain_desc(shape)
    return plan(primitive("binary", abi.MUL, d, plain_desc(other), d), abi.SRC, abi.SRC_1, abi.DST)


@fast(min_size=30_000)
def cross_entropy_backward(
    e: np.ndarray,
    grad: np.ndarray,
    total_e: np.ndarray | None,
    target: np.ndarray,
    keep: np.ndarray | None,
    hit: np.ndarray | None,
    total: np.ndarray | None,
    other: np.ndarray | None,
    denominator: float,
) -> Any:
    """grad/denominator·(total·e/total_e − hit at the target class), or 0 for targets that are not kept."""
    if other is not None or e.dtype != F32 or grad.dtype != F32 or not e.flags.c_contiguous:
        return NotImplemented
    n, classes, *places = e.shape
    grad, scale = reference.scaled(grad, total_e, keep, total, denominator)
    inner = prod(places)
    y = empty_like(e)
    if scale.ndim == 0 or inner == 1:
        times = _times[(n, classes * inner), (n, 1) if scale.ndim else (1, 1)]
        if times is None:
            return NotImplemented
        times.run(e, scale, y)
    else:
        times = _times[(classes, inner), (1, inner)] if classes * inner > 2048 else None
        if times is None:
            return NotImplemented
        for a, s, b in zip(e, np.ascontiguousarray(scale), y, strict=True):
            times.run(a, s, b)
    reference.take_from_class(y, target, grad if hit is None else grad * hit)
    return y
