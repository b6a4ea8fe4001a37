"""Cross entropy of large arrays with the classes side by side in memory, float32: one softmax, which is oneDNN's."""
from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.reference import loss as reference

from .softmax import softmax

SURE = 1e-30        # a probability below this has lost digits; its logarithm is computed from the logits


@fast(min_size=10_000)
def cross_entropy(
    x: np.ndarray, target: np.ndarray, keep: np.ndarray | None, weight: np.ndarray | None, smoothing: float, reduction: str
) -> Any:
    """−w[t]·log p[t] for every target t that is kept, p = softmax(x); their sum, or that over Σ w[t]."""
    if smoothing > 0:       # needs the logarithm of every probability
        return NotImplemented
    p = softmax(x, 1)
    if p is NotImplemented:
        return NotImplemented
    rows = reference.take_class(p, target)
    doubtful = np.flatnonzero(rows < SURE)
    np.negative(np.log(rows, out=rows), out=rows)
    if doubtful.size:
        some = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])[doubtful]
        t = target.reshape(-1)[doubtful]
        rows.reshape(-1)[doubtful] = reference.cross_entropy(some, t, None, None, 0.0, "none")[0]
    value, hit, denominator = reference.reduced(rows, target, keep, weight, reduction)
    return value, (p, None, hit, hit, None, denominator)
