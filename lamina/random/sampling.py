"""Random permutations and draws from a table of weights, equal to PyTorch's on the CPU."""

from __future__ import annotations

import numpy as np

from lamina._dtypes import HALVES, limits
from lamina.random.distributions import exponential_
from lamina.random.generator import Generator, resolve
from lamina.random.uniform import uniform64

__all__ = ["multinomial", "randperm"]

# From this length on PyTorch shuffles by another method, with two words for each step.
LONG = (2**32 - 1) // 20
_SHORT = 256  # up to here the loop over the exchanges is quicker than what works them out at once
_MAX_CATEGORIES = 1 << 24


def randperm(
    n: int, dtype: np.dtype | type | str = np.int64, generator: Generator | None = None
) -> np.ndarray:
    """A random order of 0 … n − 1: step i of a Fisher-Yates shuffle exchanges place i with place i + word mod (n − i).

    Raises:
        RuntimeError: ``n`` is negative, or the dtype cannot hold n − 1 exactly.
        NotImplementedError: the dtype is bool or complex.
    """
    dtype = np.dtype(dtype)
    generator = resolve(generator)
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    if dtype.kind not in "iufV":
        raise NotImplementedError(f"randperm is not implemented for {dtype}")
    limit = int(np.iinfo(dtype).max) + 1 if dtype.kind in "iu" else (1 << (limits(dtype).nmant + 1)) + 1
    if n > limit:
        raise RuntimeError(
            f"randperm: n={n} is too large for {dtype}, which holds whole numbers up to {limit - 1}"
        )
    if n >= LONG:
        return _inside_out(n, dtype, generator)
    if n < 2:
        return np.zeros(n, dtype)
    words = generator.words32(n - 1)
    if n < _SHORT:
        order = list(range(n))
        for i, word in enumerate(words.tolist()):
            j = i + word % (n - i)
            order[i], order[j] = order[j], order[i]
        return np.array(order, dtype)
    words %= np.arange(n, 1, -1, dtype=np.uint32)
    return _apply_exchanges(words, n).astype(dtype, copy=False)


def _apply_exchanges(ahead: np.ndarray, n: int) -> np.ndarray:
    """What the exchanges of places i and i + ahead[i], one after the other, make of 0 … n − 1.

    A loop over the exchanges takes Python ten times as long, so the outcome is worked out for all steps at once. Let
    j(i) be the partner of place i, and w(i) the number that lies on place i when its turn comes; w(i) then moves to
    place j(i), where either the next step with the same partner or the turn of j(i) itself finds it. Hence

        w(k)   = w(m),  m the last step with partner k;  w(k) = k if there is none,
        out(i) = w(m),  m the last step before i with the partner of i;  out(i) = j(i) if there is none,

    and sorting the steps by partner brings each next to its m. Following w to its end is done by doubling.
    """
    step_bits = (n - 1).bit_length()
    key_type: type = np.uint32 if 2 * step_bits <= 32 else np.int64
    steps: np.ndarray = np.arange(n, dtype=key_type)
    key = steps.copy()
    key[:-1] += ahead.astype(key_type, copy=False)  # the last place has itself for partner
    key <<= key_type(step_bits)
    key |= steps
    key.sort()
    step = (key & key_type((1 << step_bits) - 1)).astype(np.intp, copy=False)
    partner = (key >> key_type(step_bits)).astype(np.intp, copy=False)

    origin = np.arange(n)
    origin[partner] = step  # in ascending order, so that the last step with a partner stays
    further = np.empty_like(origin)
    while True:
        np.take(origin, origin, out=further, mode="clip")
        if np.array_equal(origin, further):
            break
        origin, further = further, origin

    moved = np.take(origin, step, out=further, mode="clip")
    out = origin
    out[step[0]] = partner[0]
    out[step[1:]] = np.where(partner[1:] == partner[:-1], moved[:-1], partner[1:])
    return out


def _inside_out(n: int, dtype: np.dtype, generator: Generator) -> np.ndarray:
    """The shuffle of very long permutations: place i gets what lies on place z = pair of words mod (i + 1), z gets i."""
    out = np.empty(n, dtype)
    view = out.data  # element by element, a memoryview is the fastest there is
    chunk = 1 << 16
    with generator.lock:
        for start in range(0, n, chunk):
            stop = min(n, start + chunk)
            words = generator.words64(stop - start)
            words %= np.arange(start + 1, stop + 1, dtype=np.uint64)
            for i, z in enumerate(words.tolist(), start):
                view[i] = i
                view[i] = view[z]
                view[z] = i
    return out


def multinomial(
    weights: np.ndarray, num_samples: int, replacement: bool = False, generator: Generator | None = None
) -> np.ndarray:
    """Indices drawn in proportion to the weights of each row; int64 of shape (num_samples,) or (rows, num_samples).

    Without replacement, or for a single sample, they are the places of the largest ``weight / Exp(1)`` in falling order;
    of equal ones the first comes first (PyTorch leaves that open: it shows with weights of 0 and with float16).

    Raises:
        RuntimeError: weights that are not floating or have not one or two dimensions, a weight that is negative,
            infinite or NaN, a row that sums to zero, or more samples than there are places.
    """
    generator = resolve(generator)
    if weights.ndim not in (1, 2):
        raise RuntimeError(f"multinomial: the weights must have 1 or 2 dimensions, got shape {weights.shape}")
    if weights.dtype.kind not in "fV":
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {weights.dtype}")
    if num_samples <= 0:
        raise RuntimeError(f"multinomial: cannot sample num_samples={num_samples} <= 0 samples")
    categories = weights.shape[-1]
    if not replacement and num_samples > categories:
        raise RuntimeError(
            f"multinomial: cannot sample num_samples={num_samples} of {categories} categories without replacement"
        )
    if categories > _MAX_CATEGORIES:
        raise RuntimeError(f"multinomial: the number of categories must not exceed 2**24, got {categories}")
    shape = (*weights.shape[:-1], num_samples)
    if 0 in shape:
        return np.empty(shape, np.int64)
    if not ((weights >= 0) & (weights < np.inf)).all():
        raise RuntimeError("multinomial: the weights contain inf, nan or a number below 0")
    if (weights.sum(-1) == 0).any():
        raise RuntimeError("invalid multinomial distribution (sum of probabilities <= 0)")
    rows = weights.reshape(-1, categories)
    drawn = _with_replacement if replacement and num_samples > 1 else _without_replacement
    return drawn(rows, num_samples, generator).reshape(shape)


def _with_replacement(rows: np.ndarray, num_samples: int, generator: Generator) -> np.ndarray:
    out = np.empty((len(rows), num_samples), np.int64)
    accumulated = rows.astype(np.float32) if rows.dtype in HALVES else rows
    u = uniform64(out.size, generator).reshape(out.shape)
    for i, row in enumerate(accumulated):
        edges = np.add.accumulate(row)
        edges /= edges[-1]
        out[i] = np.searchsorted(edges.astype(np.float64), u[i], side="left")
    return out


def _without_replacement(rows: np.ndarray, num_samples: int, generator: Generator) -> np.ndarray:
    scores = exponential_(np.empty_like(rows), 1.0, generator)  # in the weights' own order of memory
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        np.divide(rows, scores, out=scores)
    if num_samples == 1:
        return scores.argmax(-1)
    return np.argsort(-scores, axis=-1, kind="stable")[:, :num_samples]
