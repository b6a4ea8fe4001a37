"""Connectionist temporal classification: the forward-backward algorithm over all alignments, all samples at a time.

A. Graves et al., "Connectionist temporal classification", ICML 2006. A target of S labels has 2S + 1 states: the labels, at
odd places, with blanks around them.

The probabilities are computed as such, in double precision, each time's relative to what they add up to: a step in time is
four short passes then. Where one gets so small that digits might be lost, as from labels that are next to impossible,
everything is done again in logarithms, which takes four times as long.
"""

from __future__ import annotations

from collections.abc import Iterator

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


# -- as probabilities ----------------------------------------------------------------------------------------------

# No label may be less probable than the first of these times the most probable class. No state's probability, in relation to
# the sum of all at most four times before, may be below the second, so that from there none can go under within four steps.
_RARE, _TINY, _AT_ONCE = 1e-35, 1e-120, 4


def _relative(log_probs: ndarray, labels: ndarray) -> tuple[ndarray, ndarray] | None:
    """The probabilities of the states' labels (T, S, N) over that of the likeliest class, and the logarithms of that (T, N)."""
    steps, n, classes = log_probs.shape
    top = np.maximum.reduce(log_probs, axis=2)
    likely = np.exp(log_probs - top[:, :, None])
    where = (np.arange(steps * n) * classes).reshape(steps, 1, n) + labels.T
    emit = likely.reshape(-1).take(where)
    row = emit.reshape(-1)
    return (emit.astype(np.float64), top) if row[row.argmin()] > _RARE else None  # NaN is not, either


def _lost(p: ndarray) -> bool:
    """Whether some probability is tiny, but not 0."""
    bits = p.reshape(-1).view(np.uint64) - np.uint64(1)  # 0 becomes the largest number
    return bool(bits[bits.argmin()] < np.float64(_TINY).view(np.uint64))


def _scaled_alpha(emit: ndarray, skip: ndarray) -> tuple[ndarray, ndarray]:
    """The forward variables (T, 2 + S, N), behind two states that are never reached, each time's divided by a factor; and the
    logarithms of the factors (T, N), from the beginning on."""
    steps, states, n = emit.shape
    alpha = np.zeros((steps, states + 2, n))
    alpha[0, 2:4] = emit[0, :2]
    scale = np.zeros((steps, n))
    may_skip = np.exp(skip.T).reshape(-1)
    ones = np.ones(states)
    flat = alpha.reshape(steps, -1)
    rows: Iterator[tuple[ndarray, ...]] = zip(
        flat[:-1, : -2 * n], flat[:-1, n:-n], flat[:-1, 2 * n :], flat[1:, 2 * n :], emit[1:].reshape(steps - 1, states * n),
        strict=True,
    )  # fmt: skip
    for t, (skipped, before, same, now, probability) in enumerate(rows, 1):
        np.multiply(skipped, may_skip, out=now)
        np.add(now, before, out=now)
        np.add(now, same, out=now)
        np.multiply(now, probability, out=now)
        if t % _AT_ONCE == 0:
            matrix = now.reshape(states, n)
            total = ones.dot(matrix)
            scale[t] = total
            matrix /= total
    np.log(scale[::_AT_ONCE], out=scale[::_AT_ONCE])
    scale[0] = 0
    return alpha, np.cumsum(scale, axis=0)


def _scaled_beta(emit: ndarray, skip: ndarray, input_lengths: ndarray, target_lengths: ndarray) -> ndarray:
    """The backward variables without the emission (T, S, N), each time's divided by some factor."""
    steps, states, n = emit.shape
    beta = np.zeros((steps, states, n))
    reach = np.zeros((states + 2, n))
    reach[:states] = np.exp(skip.T)  # from a state past the next, which must be reachable so
    may_skip = reach[2:].reshape(-1)
    later = np.zeros((states + 2) * n)  # with the emission, and two states beyond
    same, after, skipped = later[: states * n], later[n:-n], later[2 * n :]
    ones = np.ones(states)
    ending: dict[int, list[int]] = {}
    for i, length in enumerate(input_lengths.tolist()):
        ending.setdefault(length - 1, []).append(i)
    rows, probabilities = beta.reshape(steps, -1), emit.reshape(steps, -1)
    for t in range(steps - 1, -1, -1):
        now = rows[t]
        if t < steps - 1:
            np.multiply(rows[t + 1], probabilities[t + 1], out=same)
            np.multiply(skipped, may_skip, out=now)
            np.add(now, after, out=now)
            np.add(now, same, out=now)
        for i in ending.get(t, ()):
            end = 2 * target_lengths[i]
            beta[t, max(end - 1, 0) : end + 1, i] = 1
        if t % _AT_ONCE == 0:
            matrix = beta[t]
            total = ones.dot(matrix)
            total[total == 0] = 1  # of what ends before
            matrix /= total
    return beta


# -- the kernels ---------------------------------------------------------------------------------------------------


def ctc(
    log_probs: ndarray, targets: ndarray, input_lengths: ndarray, target_lengths: ndarray, blank: int
) -> tuple[ndarray, ndarray, ndarray | None]:
    """−log of the probability of each target (N); the states' forward variables (T, 2 + S', N) with the probabilities of
    their labels (T, S', N), both scaled; or the logarithms of the former (T, N, S') and None; S' = 2S + 1.

    `log_probs` is (T, N, C), `targets` (N, S), padded with anything that is a class.
    """
    labels, skip = _states(targets, blank)
    found = _relative(log_probs, labels)
    if found is not None:
        emit, top = found
        alpha, scale = _scaled_alpha(emit, skip)
        if not _lost(alpha):
            rows, last, end = np.arange(len(targets)), np.maximum(input_lengths - 1, 0), 2 * target_lengths + 2
            reached = alpha[last, end, rows] + np.where(target_lengths > 0, alpha[last, end - 1, rows], 0)
            scale += np.cumsum(top, axis=0, dtype=np.float64)
            loss = -(np.log(reached) + scale[last, rows]).astype(log_probs.dtype)
            return _of_nothing(loss, input_lengths, target_lengths), alpha, emit
    loss, alpha = _in_logarithms(log_probs, labels, skip, input_lengths, target_lengths)
    return loss, alpha, None


def _of_nothing(loss: ndarray, input_lengths: ndarray, target_lengths: ndarray) -> ndarray:
    none = input_lengths == 0
    loss[none] = np.where(target_lengths[none] == 0, 0, np.inf)
    return loss


def _in_logarithms(
    log_probs: ndarray, labels: ndarray, skip: ndarray, input_lengths: ndarray, target_lengths: ndarray
) -> tuple[ndarray, ndarray]:
    """The loss, and the logarithms of the forward variables."""
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
    return _of_nothing(loss, input_lengths, target_lengths), alpha


def ctc_backward(
    grad: ndarray,
    log_probs: ndarray,
    targets: ndarray,
    input_lengths: ndarray,
    target_lengths: ndarray,
    blank: int,
    loss: ndarray,
    alpha: ndarray,
    emit: ndarray | None,
) -> ndarray:
    """grad·(eˣ − P(the class at that time | the target)); 0 beyond the samples' lengths.

    That is the derivative for log-probabilities that come of a softmax: it has no part that the softmax would drop.
    """
    labels, skip = _states(targets, blank)
    posterior = None
    if emit is not None:
        posterior = _scaled_beta(emit, skip, input_lengths, target_lengths)
        if _lost(posterior):
            alpha = _in_logarithms(log_probs, labels, skip, input_lengths, target_lengths)[1]
            posterior = None
        else:
            posterior *= alpha[:, 2:]
            posterior /= np.add.reduce(posterior, axis=1, keepdims=True)  # 0 of what has no alignment
            posterior = posterior.transpose(0, 2, 1)
    if posterior is None:
        posterior = _posterior_of_logarithms(log_probs, labels, skip, input_lengths, target_lengths, loss, alpha)
    steps, n, classes = log_probs.shape
    y = np.empty(log_probs.shape, log_probs.dtype)
    np.exp(log_probs, out=y)
    y[:, :, blank] -= np.add.reduce(posterior[:, :, 0::2], axis=2)
    where = (np.arange(steps * n) * classes).reshape(steps, n, 1) + targets
    of_labels = posterior[:, :, 1::2].astype(y.dtype, order="C")
    np.subtract.at(y.reshape(-1), where.reshape(-1), of_labels.reshape(-1))  # much quicker for rows
    y[:, loss == np.inf] = np.nan
    y *= grad[:, None]
    y[np.arange(steps)[:, None] >= input_lengths] = 0
    return y


def _posterior_of_logarithms(
    log_probs: ndarray, labels: ndarray, skip: ndarray, input_lengths: ndarray, target_lengths: ndarray, loss: ndarray,
    alpha: ndarray,
) -> ndarray:  # fmt: skip
    """The probability of each state at each time, given the target (T, N, S)."""
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
    return np.exp(posterior, out=posterior)
