"""Exponentials of matrices and Householder reflections."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["matrix_exp", "geqrf"]

ndarray = np.ndarray

# The diagonal Padé approximants p(a)/p(−a) of eᵃ, by the largest 1-norm of a for which the error is rounding error, and
# p's coefficients from the constant one on (Higham, "The Scaling and Squaring Method for the Matrix Exponential", 2005).
_PADE = {
    4: (3.925724783138660, (17297280.0, 8648640.0, 1995840.0, 277200.0, 25200.0, 1512.0, 56.0, 1.0)),
    8: (
        5.371920351148152,
        (64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
         10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0),
    ),
}  # fmt: skip


def matrix_exp(a: ndarray) -> Any:
    """eᵃ of square matrices (*, n, n), by scaling, a Padé approximant, and squaring."""
    if a.size == 0:
        return a.copy()
    real = a.real.dtype
    limit, coefficients = _PADE[real.itemsize]
    size = np.abs(a).sum(axis=-2).max(axis=-1)
    finite = np.isfinite(size)
    ratio = np.where(finite & (size > limit), size / limit, 1)
    times = np.ceil(np.log2(ratio)).astype(np.int64)[..., None, None]
    a = np.where(finite[..., None, None], a, 0) * np.exp2(-times).astype(real)
    # The even and the odd powers of p separately: p(−a) has the same ones with the odd ones negated.
    even, odd = np.zeros_like(a), np.zeros_like(a)
    power, square = np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape), a @ a
    for i in range(0, len(coefficients), 2):
        if i:
            power = power @ square
        even += power * real.type(coefficients[i])
        odd += power * real.type(coefficients[i + 1])
    odd = a @ odd
    y = np.linalg.solve(even - odd, even + odd)
    for i in range(times.max(initial=0)):
        y = np.where(times > i, y @ y, y)
    return np.where(finite[..., None, None], y, np.nan)


def geqrf(a: ndarray) -> tuple[ndarray, ndarray]:
    """(h, tau): R in h's upper triangle and, below it and in tau, the reflections whose product is Q."""
    h, tau = np.linalg.qr(a, mode="raw")
    return np.swapaxes(h, -1, -2), tau
