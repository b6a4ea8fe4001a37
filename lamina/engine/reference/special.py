"""Special functions that NumPy lacks, to double precision: erf and erfc after W. J. Cody, "Rational Chebyshev
Approximations for the Error Function", Math. Comp. 23 (1969); erfinv after M. Giles, "Approximating the erfinv
function", GPU Computing Gems (2011), with Halley's steps. Around them the normal distribution's functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["erf", "erfc", "erfinv", "erfcx", "ndtr", "ndtri", "log_ndtr", "entr", "xlog1py"]

ndarray = np.ndarray

# Coefficients of Cody's three rational approximations, highest power first.
_A = (1.85777706184603153e-1, 3.16112374387056560e00, 1.13864154151050156e02, 3.77485237685302021e02, 3.20937758913846947e03)
_B = (1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03)
_C = (
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e00, 6.61191906371416295e01, 2.98635138197400131e02,
    8.81952221241769090e02, 1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03,
)  # fmt: skip
_D = (
    1.0, 1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02, 1.62138957456669019e03,
    3.29079923573345963e03, 4.36261909014324716e03, 3.43936767414372164e03, 1.23033935480374942e03,
)  # fmt: skip
_P = (
    1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1, 1.60837851487422766e-2,
    6.58749161529837803e-4,
)  # fmt: skip
_Q = (
    1.0, 2.56852019228982242e00, 1.87295284992346725e00, 5.27905102951428412e-1, 6.05183413124413191e-2,
    2.33520497626869185e-3,
)  # fmt: skip
_INV_SQRT_PI = 0.56418958354775628695

# Giles's two polynomials for erfinv, in w = −log(1 − x²), highest power first.
_CENTRAL = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164, 0.246640727,
    1.50140941,
)  # fmt: skip
_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047, 1.00167406,
    2.83297682,
)  # fmt: skip

# (1 + 2x)·erfcx(x) for x ≥ 0 as a function of (x − 4)/(x + 4), computed with mpmath; the map is that of M. M. Shepherd and
# J. G. Laframboise, "Chebyshev Approximation of (1 + 2x)exp(x²)erfc x", Math. Comp. 36 (1981).
_ERFCX = (
    1.1774832005374487, -0.007260796620301901, -0.081265123236185, 0.06009212804122225, -0.02875393558027666,
    0.01059566336347286, -0.003136927294554264, 0.0007456494372536184, -0.0001369696503010054, 1.7183861600300937e-05,
    -7.158364623450346e-07, -2.4261399442449534e-07, 5.5765709395703566e-08, -2.1057869513809494e-09, -1.1717889351884957e-09,
    1.9098355172456688e-10, 1.408871764208813e-11, -6.901108320480815e-12, 9.167958364111294e-14, 2.1454508286554553e-13,
    -1.4716575027010623e-14, -6.668675118770408e-15, 7.504598509880083e-16, 2.22009300666632e-16, -3.1704898956330886e-17,
    -8.193570309884333e-18, 1.2459819733129574e-18,
)  # fmt: skip


def _erfc_positive(x: ndarray) -> ndarray:
    """erfc for x ≥ 0.46875."""
    middle = np.polyval(_C, x) / np.polyval(_D, x)
    inverse_square = 1 / np.maximum(x * x, 16.0)
    far = (_INV_SQRT_PI - inverse_square * np.polyval(_P, inverse_square) / np.polyval(_Q, inverse_square)) / x
    coarse = np.trunc(x * 16) / 16  # exp(-x²) in two factors keeps the last digits
    scale = np.exp(-coarse * coarse) * np.exp(-(x - coarse) * (x + coarse))
    return scale * np.where(x <= 4, middle, far)


_FEW = 512  # elements up to which Python's own functions, one by one, are quicker


def _each(function: Callable[[float], float], x: ndarray) -> ndarray | None:
    """A function of Python's for each of few numbers; ``None`` if there are many, or they do not lie in order."""
    if x.size > _FEW or not x.flags.c_contiguous or x.dtype.char not in "fd":
        return None
    return np.fromiter(map(function, x.ravel().tolist()), x.dtype, x.size).reshape(x.shape)


def _split(x: ndarray) -> tuple[ndarray, ndarray]:
    """(erf, erfc) in float64."""
    z = x.astype(np.float64)
    size = np.abs(z)
    square = np.minimum(size, 0.46875) ** 2
    near = z * np.polyval(_A, square) / np.polyval(_B, square)
    tail = _erfc_positive(np.clip(size, 0.46875, 30.0))
    small = size <= 0.46875
    error = np.where(small, near, np.copysign(1 - tail, z))
    complement = np.where(small, 1 - near, np.where(z > 0, tail, 2 - tail))
    nan = np.isnan(z)
    return np.where(nan, z, error), np.where(nan, z, complement)


def erf(x: ndarray) -> ndarray:
    """(2/√π)·∫₀ˣ e^(−t²) dt."""
    few = _each(math.erf, x)
    return _split(x)[0].astype(x.dtype) if few is None else few


def erfc(x: ndarray) -> ndarray:
    """1 − erf(x), accurate where that difference is small."""
    few = _each(math.erfc, x)
    return _split(x)[1].astype(x.dtype) if few is None else few


def erfinv(x: ndarray) -> ndarray:
    """The y with erf(y) = x; ±inf at ±1 and NaN beyond."""
    z = np.abs(x.astype(np.float64))
    w = -np.log((1 - z) * (1 + z))
    central = np.polyval(_CENTRAL, w - 2.5)
    tail = np.polyval(_TAIL, np.sqrt(np.maximum(w, 5.0)) - 3)
    y = np.where(w < 5, central, tail) * z
    for _ in range(4):
        error, complement = _split(y)
        excess = np.where(z > 0.5, (1 - z) - complement, error - z)  # erf(y) − z, from the side that keeps its digits
        step = excess / (2 * _INV_SQRT_PI * np.exp(-y * y))
        y = y - step / (1 + y * step)
    extreme = (w > 15) & (z < 1)  # where the starting values do not reach
    if extreme.any():
        y[extreme] = -math.sqrt(0.5) * _tail_quantile(np.log(0.5 * (1 - z[extreme])))
    y = np.where(z == 1, np.inf, np.where(z > 1, np.nan, y))
    return np.copysign(y, x).astype(x.dtype)


def _erfcx(x: ndarray) -> ndarray:
    from numpy.polynomial.chebyshev import chebval  # not at the top: it brings nine modules along

    size = np.abs(x)
    bounded = np.minimum(size, 1e150)
    r = chebval((bounded - 4) / (bounded + 4), _ERFCX) / (1 + 2 * bounded)
    r = np.where(size > 1e150, _INV_SQRT_PI / size, r)
    coarse = np.trunc(np.maximum(x, -30.0) * 16) / 16
    rest = np.maximum(x, -30.0) - coarse
    grown = 2 * np.exp(coarse * coarse) * np.exp(rest * (np.maximum(x, -30.0) + coarse))
    return np.where(x < 0, np.where(x < -27, np.inf, grown - r), r)


def erfcx(x: ndarray) -> Any:
    """e^(x²)·erfc(x), which does not underflow."""
    return _erfcx(x.astype(np.float64)).astype(x.dtype)


def ndtr(x: ndarray) -> Any:
    """The probability that a standard normal number is below x."""
    z = x.astype(np.float64) * -math.sqrt(0.5)
    return (0.5 * _split(z)[1]).astype(x.dtype)


def _log_ndtr(x: ndarray) -> ndarray:
    z = x * -math.sqrt(0.5)
    low = np.log(0.5 * _erfcx(np.maximum(z, 0))) - z * z
    return np.where(x < -1, low, np.log1p(-0.5 * _split(-z)[1]))


def log_ndtr(x: ndarray) -> Any:
    """log ndtr(x), accurate in both tails."""
    return _log_ndtr(x.astype(np.float64)).astype(x.dtype)


def _tail_quantile(goal: ndarray) -> ndarray:
    """The y with log ndtr(y) = ``goal`` ≤ log 0.1, by Newton's method."""
    y = -np.sqrt(np.maximum(-2 * goal - np.log(-4 * np.pi * goal), 1.0))
    for _ in range(6):
        slope = math.sqrt(2 / np.pi) / _erfcx(y * -math.sqrt(0.5))
        y = y - (_log_ndtr(y) - goal) / slope
    return y


def ndtri(x: ndarray) -> Any:
    """The y with ndtr(y) = x: −inf at 0, +inf at 1, NaN outside. In the tails by Newton's method on log ndtr."""
    z = x.astype(np.float64)
    tail = np.minimum(z, 1 - z)
    central = math.sqrt(2) * erfinv(2 * np.clip(z, 0.05, 0.95) - 1)
    y = _tail_quantile(np.log(np.clip(tail, 5e-324, 0.1)))
    r = np.where(tail > 0.1, central, np.where(z < 0.5, y, -y))
    r = np.where(z == 0, -np.inf, np.where(z == 1, np.inf, r))
    return np.where((z >= 0) & (z <= 1), r, np.nan).astype(x.dtype)


def entr(x: ndarray) -> Any:
    """−x·log x; 0 at 0, −inf below."""
    r = -x * np.log(np.where(x > 0, x, x.dtype.type(1)))
    return np.where(np.isnan(x), x, np.where(x > 0, r, np.where(x == 0, x.dtype.type(0), x.dtype.type(-np.inf))))


def xlog1py(x: ndarray, y: ndarray) -> Any:
    """x·log(1 + y); 0 where x is 0, unless y is NaN."""
    return np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * np.log1p(y)).astype(x.dtype, copy=False)
