"""Counts: Poisson numbers, in PyTorch's own stream.

Small rates multiply uniform numbers until they fall below e^−λ (D. E. Knuth, "Seminumerical Algorithms", 3.4.1); rates
of 10 and more use W. Hörmann's transformed rejection ("The transformed rejection method for generating Poisson random
variables", Insurance: Mathematics and Economics 12, 1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lamina.random.generator import Generator, resolve
from lamina.random.uniform import uniform64

_BLOCK = 64


class _Draws:
    """Uniform numbers of a generator, one by one; what was drawn ahead and not used is given back."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._values: list[float] = []
        self._at = 0
        self._before = generator.state_bytes()

    def __call__(self) -> float:
        if self._at == len(self._values):
            self._before = self._generator.state_bytes()
            self._values, self._at = uniform64(_BLOCK, self._generator).tolist(), 0
        self._at += 1
        return self._values[self._at - 1]

    def finish(self) -> None:
        if self._at < len(self._values):
            self._generator.load_state_bytes(self._before)
            if self._at:
                uniform64(self._at, self._generator)


def _poisson(rate: float, draw: Callable[[], float]) -> float:
    if rate == 0:
        return 0.0
    if rate < 10:
        limit, product, count = math.exp(-rate), 1.0, 0
        while True:
            product *= draw()
            if product <= limit:
                return float(count)
            count += 1
    root, logarithm = math.sqrt(rate), math.log(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    accept = 0.9277 - 3.6224 / (b - 2)
    while True:
        u = draw() - 0.5
        v = draw()
        us = 0.5 - abs(u)
        if us == 0:
            continue
        count = math.floor((2 * a / us + b) * u + rate + 0.43)
        if us >= 0.07 and v <= accept:
            return float(count)
        if count < 0 or (us < 0.013 and v > us):
            continue
        if v == 0 or math.log(v) + math.log(inverse_alpha) - math.log(a / (us * us) + b) <= (
            -rate + count * logarithm - math.lgamma(count + 1)
        ):
            return float(count)


def poisson(rates: np.ndarray, generator: Generator | None = None) -> np.ndarray:
    """Poisson numbers with the given means, in their dtype."""
    source = resolve(generator)
    with source.lock:
        draw = _Draws(source)
        values = [_poisson(rate, draw) for rate in rates.reshape(-1).tolist()]
        draw.finish()
    return np.array(values, np.float64).reshape(rates.shape).astype(rates.dtype)
