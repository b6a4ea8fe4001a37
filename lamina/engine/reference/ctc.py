"""Connectionist temporal classification: the forward-backward algorithm over all alignments, all samples at a time.

A. Graves et al., "Connectionist temporal classification", ICML 2006. A target of S labels has 2S + 1 states: the labels, at
odd places, with blanks around them. Everything is in logarithms.
"""

from __future__ import annotations

import numpy as np

__all__ = ["ctc", "ctc_backward"]

ndarray = np.ndarray


def _states(targets: ndarray, blank: int) -> tuple[ndarray, ndarray]:
    """The labels of all states (N, 2S + 1), and 0 where a state may be reached past a blank, else −inf."""
    n, s = targets.shape
    labels = np.full((n, 2 * s + 1), blank, np.int64)
    labels[:, 1::2] = targets
    skip = np.full(labels.shape, -np.inf)
    skip[:, 3::2][targets[:, 1:] != targets[:, :-1]] = 0
    skip[labels == blank] = -np.inf
    return labels, skip


def _emissions(log_probs: ndarray, labels: ndarray) -> ndarray:
    """The log-probabilities of every state's label, (T, N, 2S + 1)."""
    return np.take_along_axis(log_probs, labels[None], axis=2)


_FEW = 250  # states for which NumPy's logaddexp, slow by the element, takes less time than a dozen calls


class _LogSum:
    """log(eᵃ + eᵇ + eᶜ) for arrays of one shape, −inf if all are."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.terms, self.top = np.empty((3, *shape), dtype), np.empty(shape, dtype)
        self.low = np.full(shape, -1e30, dtype)  # what −inf can be subtracted from

    def __call__(self, a: ndarray, b: ndarray, c: ndarray, out: ndarray) -> None:
        if out.size < _FEW:
            np.logaddexp(a, b, out=out)
            np.logaddexp(out, c, out=out)
            return
        terms, top = self.terms, self.top
        np.maximum(a, b, out=top)
        np.maximum(top, c, out=top)
        np.maximum(top, self.low, out=top)
        for i, x in enumerate((a, b, c)):
            np.subtract(x, top, out=terms[i])
        np.exp(terms, out=terms)
        total = np.add(terms[0], terms[1], out=terms[0])
        total += terms[2]
        np.log(total, out=total)
        np.add(total, top, out=out)


def ctc(
    log_probs: ndarray, targets: ndarray, input_lengths: ndarray, target_lengths: ndarray, blank: int
) -> tuple[ndarray, ndarray]:
    """−log of the probability of each target (N), and the logarithms of the states' forward variables (T, N, 2S + 1).

    `log_probs` is (T, N, C), `targets` (N, S), padded with anything that is a class.
    """
    labels, skip = _states(targets, blank)
    emit = _emissions(log_probs, labels)
    steps, n, states = emit.shape
    dtype = log_probs.dtype
    skip = skip.astype(dtype)
    alpha = np.full((steps, n, states + 2), -np.inf, dtype)  # with two states ahead that are never reached
    alpha[0, :, 2:4] = emit[0, :, :2]
    log_sum, skipped = _LogSum((n, states), dtype), np.empty((n, states), dtype)
    for t in range(1, steps):
        before, now = alpha[t - 1], alpha[t, :, 2:]
        np.add(before[:, :-2], skip, out=skipped)
        log_sum(before[:, 2:], before[:, 1:-1], skipped, now)
        now += emit[t]
    alpha = alpha[:, :, 2:]
    rows, last, end = np.arange(n), np.maximum(input_lengths - 1, 0), 2 * target_lengths
    in_blank = alpha[last, rows, end]
    in_label = np.where(target_lengths > 0, alpha[last, rows, np.maximum(end - 1, 0)], -np.inf)
    loss = -np.logaddexp(in_blank, in_label).astype(dtype)
    none = input_lengths == 0
    loss[none] = np.where(target_lengths[none] == 0, 0, np.inf)
    return loss, alpha


def ctc_backward(
    grad: ndarray,
    log_probs: ndarray,
    targets: ndarray,
    input_lengths: ndarray,
    target_lengths: ndarray,
    blank: int,
    loss: ndarray,
    alpha: ndarray,
) -> ndarray:
    """grad·(eˣ − P(the class at that time | the target)); 0 beyond the samples' lengths.

    That is the derivative for log-probabilities that come of a softmax: it has no part that the softmax would drop.
    """
    labels, skip = _states(targets, blank)
    emit = _emissions(log_probs, labels)
    steps, n, states = emit.shape
    dtype = log_probs.dtype
    reach = np.full((n, states + 2), -np.inf, dtype)
    reach[:, :states] = skip  # from a state past the next, which must be reachable so
    reach = reach[:, 2:]
    later = np.full((n, states + 2), -np.inf, dtype)  # the backward variables with the emission, two states beyond
    beta = np.empty((n, states), dtype)
    log_sum, skipped = _LogSum((n, states), dtype), np.empty((n, states), dtype)
    posterior = np.empty((steps, n, states), dtype)
    rows = np.arange(n)
    for t in range(steps - 1, -1, -1):
        np.add(later[:, 2:], reach, out=skipped)
        log_sum(later[:, :-2], later[:, 1:-1], skipped, beta)
        ends = rows[input_lengths == t + 1]
        if ends.size:
            beta[ends] = -np.inf
            beta[ends, 2 * target_lengths[ends]] = 0
            some = ends[target_lengths[ends] > 0]
            beta[some, 2 * target_lengths[some] - 1] = 0
        np.add(alpha[t], beta, out=posterior[t])
        np.add(beta, emit[t], out=later[:, :-2])
    posterior += loss[:, None]
    np.exp(posterior, out=posterior)
    y = np.exp(log_probs)
    y[:, :, blank] -= posterior[:, :, 0::2].sum(axis=2)
    for s in range(targets.shape[1]):
        y[:, rows, targets[:, s]] -= posterior[:, :, 2 * s + 1]
    y[:, loss == np.inf] = np.nan
    y *= grad[:, None]
    y[np.arange(steps)[:, None] >= input_lengths] = 0
    return y
