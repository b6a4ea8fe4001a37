"""Gamma and binomial numbers, many at a time, by rejection from the generator's normal and uniform numbers.

Gamma: G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000). Binomial:
inversion while the mean is small, else W. Hörmann's transformed rejection ("The generation of binomial random variates",
Journal of Statistical Computation and Simulation 46, 1993). Whoever is rejected draws again in the next round, all at once;
so these streams depend on the seed alone, but are not PyTorch's, which draws number after number.
"""

from __future__ import annotations

import numpy as np

from lamina.engine.reference.gamma import lgamma
from lamina.random.distributions import normal_, uniform_
from lamina.random.generator import Generator, resolve

__all__ = ["binomial", "gamma"]

ndarray = np.ndarray


def _uniform(n: int, generator: Generator) -> ndarray:
    """n numbers in (0, 1]."""
    return 1 - uniform_(np.empty(n), 0.0, 1.0, generator)


def gamma(shape: ndarray, generator: Generator | None = None) -> ndarray:
    """Gamma numbers with scale 1 and the given shape parameters, in float64; NaN where a parameter is NaN or negative."""
    source = resolve(generator)
    alpha = shape.astype(np.float64).ravel()
    result = np.where(alpha >= 0, 0.0, np.nan)
    pending = np.flatnonzero(alpha > 0)
    with source.lock, np.errstate(all="ignore"):
        d = np.where(alpha < 1, alpha + 1, alpha) - 1 / 3
        while pending.size:
            here = d[pending]
            x = normal_(np.empty(pending.size), 0.0, 1.0, source)
            u = _uniform(pending.size, source)
            v = (1 + x / np.sqrt(9 * here)) ** 3
            good = (v > 0) & (np.log(u) < 0.5 * x * x + here * (1 - v + np.log(v)))
            good |= np.isinf(here)
            result[pending[good]] = np.where(np.isinf(here), np.inf, here * v)[good]
            pending = pending[~good]
        small = np.flatnonzero((alpha > 0) & (alpha < 1))  # those of alpha + 1, times a power of a uniform number
        if small.size:
            result[small] *= _uniform(small.size, source) ** (1 / alpha[small])
    return result.reshape(shape.shape)


def _inversion(n: ndarray, p: ndarray, generator: Generator) -> ndarray:
    u = _uniform(n.size, generator)
    count = np.zeros_like(n)
    mass = np.exp(n * np.log1p(-p))
    odds = p / (1 - p)
    while True:
        more = (u > mass) & (count < n)
        if not more.any():
            return count
        u = np.where(more, u - mass, u)
        mass = np.where(more, mass * odds * (n - count) / (count + 1), mass)
        count += more


def _rejection(n: ndarray, p: ndarray, generator: Generator) -> ndarray:
    root = np.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * root
    a = -0.0873 + 0.0248 * b + 0.01 * p
    accept, alpha = 0.92 - 4.2 / b, (2.83 + 5.1 / b) * root
    middle = np.floor((n + 1) * p)
    log_odds = np.log(p / (1 - p))
    top = lgamma(middle + 1) + lgamma(n - middle + 1)
    result = np.empty_like(n)
    pending = np.arange(n.size)
    while pending.size:
        i = pending
        u, v = uniform_(np.empty(i.size), -0.5, 0.5, generator), _uniform(i.size, generator)
        us = 0.5 - np.abs(u)
        count = np.floor((2 * a[i] / us + b[i]) * u + n[i] * p[i] + 0.5)
        good = (us > 0) & (count >= 0) & (count <= n[i])
        safe = np.where(good, count, 0.0)
        limit = top[i] - lgamma(safe + 1) - lgamma(n[i] - safe + 1) + (safe - middle[i]) * log_odds[i]
        good &= ((us >= 0.07) & (v <= accept[i])) | (np.log(v * alpha[i] / (a[i] / (us * us) + b[i])) <= limit)
        result[i[good]] = count[good]
        pending = i[~good]
    return result


def binomial(count: ndarray, prob: ndarray, generator: Generator | None = None) -> ndarray:
    """How many of ``count`` trials succeed that do so with probability ``prob`` (of one shape), in float64; a count below 0
    is 0, a probability outside [0, 1] is the nearer bound."""
    source = resolve(generator)
    n, p = np.maximum(count.astype(np.float64).ravel(), 0), np.clip(prob.astype(np.float64).ravel(), 0, 1)
    less = np.minimum(p, 1 - p)
    result = np.where(np.isnan(p) | np.isnan(n), np.nan, 0.0)
    drawn = (less > 0) & (n > 0)
    with source.lock, np.errstate(all="ignore"):
        for where, method in ((drawn & (n * less < 10), _inversion), (drawn & (n * less >= 10), _rejection)):
            if where.any():
                result[where] = method(np.floor(n[where]), less[where], source)
    return np.where(p > 0.5, np.floor(n) - result, result).reshape(count.shape)
