"""Orthogonal polynomials of real arguments and integer degrees, by their three-term recurrences (DLMF 18.9).

Chebyshev's of higher degrees are taken from their trigonometric or hyperbolic forms (DLMF 18.5). A degree is cut to an
integer; below 0 the polynomial is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = [
    "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w",
    "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_polynomial_w", "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l",
    "legendre_polynomial_p",
]  # fmt: skip

ndarray = np.ndarray
_BY_RECURRENCE = 8  # the highest degree of Chebyshev's polynomials that is not taken from a closed form


def _prepared(x: ndarray, n: Any) -> tuple[ndarray, ndarray]:
    """(x, degree) in float64, of one shape."""
    z, degree = np.broadcast_arrays(np.asarray(x, np.float64), np.trunc(np.asarray(n, np.float64)))
    return z, degree


def _finish(x: ndarray, degree: ndarray, result: Any) -> Any:
    return np.where(degree < 0, 0.0, result).astype(x.dtype)


def _recur(z: ndarray, degree: ndarray, first: ndarray, step: Callable[[int, ndarray, ndarray], ndarray], highest: float) -> Any:
    """The member of each degree up to ``highest``: 1, ``first``, and then step(k, member k, member k − 1)."""
    before, now = np.ones_like(z), first
    result = np.where(degree == 0, before, now)
    top = min(highest, np.max(degree, initial=0))
    for k in range(1, int(top) if np.isfinite(top) else 0):
        before, now = now, step(k, now, before)
        result = np.where(degree == k + 1, now, result)
    return result


def _chebyshev(x: ndarray, n: Any, kind: str, shifted: bool = False) -> Any:
    z, degree = _prepared(x, n)
    if shifted:
        z = 2 * z - 1
    first = {"t": z, "u": 2 * z, "v": 2 * z - 1, "w": 2 * z + 1}[kind]
    low = _recur(z, degree, first, lambda k, now, before: 2 * z * now - before, _BY_RECURRENCE)
    even = degree % 2 == 0
    angle = np.arccos(np.clip(z, -1, 1))
    # Below −1 the polynomials are, but for the sign, those of −z, V and W exchanged.
    growth = np.arccosh(np.maximum(np.abs(z), 1))
    mirrored = {"v": "w", "w": "v"}.get(kind, kind)
    sign = np.where(even, 1.0, -1.0)
    inside = _wave(degree, angle, kind)
    outside = np.where(z > 0, _growing(degree, growth, kind), sign * _growing(degree, growth, mirrored))
    size = np.abs(z)
    r = np.where(degree <= _BY_RECURRENCE, low, np.where(size < 1, inside, outside))
    right: dict[str, Any] = {"t": 1.0, "u": degree + 1, "v": 1.0, "w": 2 * degree + 1}
    r = np.where(z == 1, right[kind], np.where(z == -1, sign * right[mirrored], r))
    return _finish(x, degree, np.where(np.isnan(z), z, r))


def _wave(n: ndarray, angle: ndarray, kind: str) -> Any:
    if kind == "t":
        return np.cos(n * angle)
    if kind == "u":
        return np.sin((n + 1) * angle) / np.sin(angle)
    if kind == "v":
        return np.cos((n + 0.5) * angle) / np.cos(angle / 2)
    return np.sin((n + 0.5) * angle) / np.sin(angle / 2)


def _growing(n: ndarray, u: ndarray, kind: str) -> Any:
    if kind == "t":
        return np.cosh(n * u)
    if kind == "u":
        return np.sinh((n + 1) * u) / np.sinh(u)
    if kind == "v":
        return np.cosh((n + 0.5) * u) / np.cosh(u / 2)
    return np.sinh((n + 0.5) * u) / np.sinh(u / 2)


def chebyshev_polynomial_t(x: ndarray, n: Any) -> Any:
    """Tₙ(x), of the first kind: cos nθ at x = cos θ."""
    return _chebyshev(x, n, "t")


def chebyshev_polynomial_u(x: ndarray, n: Any) -> Any:
    """Uₙ(x), of the second kind: sin (n + 1)θ/sin θ at x = cos θ."""
    return _chebyshev(x, n, "u")


def chebyshev_polynomial_v(x: ndarray, n: Any) -> Any:
    """Vₙ(x), of the third kind: cos (n + ½)θ/cos ½θ at x = cos θ."""
    return _chebyshev(x, n, "v")


def chebyshev_polynomial_w(x: ndarray, n: Any) -> Any:
    """Wₙ(x), of the fourth kind: sin (n + ½)θ/sin ½θ at x = cos θ."""
    return _chebyshev(x, n, "w")


def shifted_chebyshev_polynomial_t(x: ndarray, n: Any) -> Any:
    """Tₙ(2x − 1)."""
    return _chebyshev(x, n, "t", True)


def shifted_chebyshev_polynomial_u(x: ndarray, n: Any) -> Any:
    """Uₙ(2x − 1)."""
    return _chebyshev(x, n, "u", True)


def shifted_chebyshev_polynomial_v(x: ndarray, n: Any) -> Any:
    """Vₙ(2x − 1)."""
    return _chebyshev(x, n, "v", True)


def shifted_chebyshev_polynomial_w(x: ndarray, n: Any) -> Any:
    """Wₙ(2x − 1)."""
    return _chebyshev(x, n, "w", True)


def _hermite(x: ndarray, n: Any, factor: int) -> Any:
    z, degree = _prepared(x, n)
    limit = 512 if x.dtype == np.float64 else 128  # beyond, PyTorch gives NaN
    r = _recur(z, degree, factor * z, lambda k, now, before: factor * (z * now - k * before), limit)
    return _finish(x, degree, np.where(degree > limit, np.nan, r))


def hermite_polynomial_h(x: ndarray, n: Any) -> Any:
    """Hₙ(x), the physicist's; NaN for degrees above 512 (128 in single precision)."""
    return _hermite(x, n, 2)


def hermite_polynomial_he(x: ndarray, n: Any) -> Any:
    """Heₙ(x), the probabilist's; NaN for degrees above 512 (128 in single precision)."""
    return _hermite(x, n, 1)


def laguerre_polynomial_l(x: ndarray, n: Any) -> Any:
    """Lₙ(x)."""
    z, degree = _prepared(x, n)
    r = _recur(z, degree, 1 - z, lambda k, now, before: ((2 * k + 1 - z) * now - k * before) / (k + 1), 1e5)
    return _finish(x, degree, np.where(z == 0, 1.0, r))


def legendre_polynomial_p(x: ndarray, n: Any) -> Any:
    """Pₙ(x)."""
    z, degree = _prepared(x, n)
    r = _recur(z, degree, z, lambda k, now, before: ((2 * k + 1) * z * now - k * before) / (k + 1), 1e5)
    ends = np.where((z > 0) | (degree % 2 == 0), 1.0, -1.0)
    return _finish(x, degree, np.where(np.abs(z) == 1, ends, r))
