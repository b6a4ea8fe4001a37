"""Fill arrays with random numbers exactly as PyTorch's in-place methods fill tensors on the CPU.

Each function takes the array to fill (any strides), its parameters and a generator, and returns the array.

PyTorch's own answer depends on the machine in one place. Where it is built with MKL and the processor is Intel's,
``bernoulli_(p)`` with one probability (and so ``dropout``) draws a single word and hands it to a generator of MKL's. Here, as
on every other processor, each element takes a number of the stream; a seed gives the same mask on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.random.generator import Generator, resolve
from lamina.random.integers import UNSIGNED_WIDE, random_
from lamina.random.normal import log_normal_, normal_, truncated_normal_
from lamina.random.uniform import (
    DIGITS,
    check_overlap,
    chunks,
    fill_in_order,
    fma,
    scalar_name,
    store,
    uniform64,
    uniform_,
    uniform_into,
)  # fmt: skip

__all__ = [
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_", "truncated_normal_", "uniform_",
]  # fmt: skip


def bernoulli_(out: np.ndarray, p: Any = 0.5, generator: Generator | None = None) -> np.ndarray:
    """Ones with probability ``p``, else zeros; ``p`` is a number or an array that broadcasts to ``out``.

    Raises:
        RuntimeError: ``p`` is not within [0, 1], or does not broadcast.
        NotImplementedError: ``p`` is an array that is not floating.
    """
    generator = resolve(generator)
    if isinstance(p, np.ndarray):
        return _bernoulli_each(out, p, generator)
    p = float(p)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return fill_in_order(out, lambda v: _bernoulli(v, p, generator)) if out.size else out


def _bernoulli(out: np.ndarray, p: float, generator: Generator) -> None:
    below = np.uint64(math.ceil(p * 2.0**53))  # k / 2⁵³ < p, asked of the integer k
    with generator.lock:
        for part in chunks(out):
            part[...] = generator.bits53(part.size) < below


def _bernoulli_each(out: np.ndarray, p: np.ndarray, generator: Generator) -> np.ndarray:
    if p.dtype not in DIGITS:
        raise NotImplementedError(
            f"bernoulli is not implemented for probabilities of {scalar_name(p.dtype)!r}"
        )
    try:
        each = np.broadcast_to(p, out.shape)
    except ValueError:
        raise RuntimeError(f"bernoulli_: p of shape {p.shape} does not expand to {out.shape}") from None
    if out.size == 0:
        return out
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise RuntimeError(
            f"bernoulli expects all probabilities to be in [0, 1], but got {p[outside].flat[0]}"
        )
    # float64 is compared with numbers of 53 bits, everything else with numbers of 24.
    # The order of out decides who gets which number, whichever way p lies in memory.
    check_overlap(out)
    u = np.empty_like(out, dtype=np.float64 if p.dtype == np.float64 else np.float32, order="K")
    fill_in_order(u, lambda v: uniform_into(v, 0.0, 1.0, generator))
    out[...] = u < each
    return out


def exponential_(out: np.ndarray, lambd: float = 1.0, generator: Generator | None = None) -> np.ndarray:
    """``−ln(1 − u) / lambd``. Raises RuntimeError unless ``lambd > 0`` and ``out`` is floating."""
    lambd = float(lambd)
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    if out.size and out.dtype not in DIGITS:
        raise RuntimeError(
            f"exponential_ is continuous and fills floating dtypes, got {scalar_name(out.dtype)}"
        )
    return _from_uniform(out, lambda u: (-1.0 / lambd) * np.log1p(-u), generator)


def geometric_(out: np.ndarray, p: float, generator: Generator | None = None) -> np.ndarray:
    """The number of trials up to the first success, ``⌈ln u / ln(1 − p)⌉``; RuntimeError unless 0 < ``p`` < 1."""
    p = float(p)
    if not 0.0 < p < 1.0:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    if out.size and (out.dtype.kind not in "iufV" or out.dtype in UNSIGNED_WIDE):
        raise NotImplementedError(f"geometric_ is not implemented for {scalar_name(out.dtype)!r}")
    log_failure = math.log(1.0 - p)

    def trials(u: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.ceil(np.log(u) / log_failure)
        # C converts by way of a wide integer, so what does not fit a small dtype wraps around
        return value if out.dtype.kind in "fV" else value.astype(np.int64)

    return _from_uniform(out, trials, generator)


def cauchy_(
    out: np.ndarray, median: float = 0.0, sigma: float = 1.0, generator: Generator | None = None
) -> np.ndarray:
    """``median + sigma·tan(π(u − ½))``. Raises RuntimeError unless ``sigma > 0`` and ``out`` is floating."""
    median, sigma = float(median), float(sigma)
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    if out.dtype not in DIGITS:
        raise RuntimeError(f"cauchy_ is continuous and fills floating dtypes, got {scalar_name(out.dtype)}")
    return _from_uniform(out, lambda u: fma(np.tan(math.pi * (u - 0.5)), sigma, median), generator)


def _from_uniform(
    out: np.ndarray, transform: Callable[[np.ndarray], np.ndarray], generator: Generator | None
) -> np.ndarray:
    """Fill with a function of float64 uniform numbers, one each."""
    source = resolve(generator)

    def produce(vector: np.ndarray) -> None:
        with source.lock:
            for part in chunks(vector):
                store(part, transform(uniform64(part.size, source)))

    return fill_in_order(out, produce) if out.size else out
