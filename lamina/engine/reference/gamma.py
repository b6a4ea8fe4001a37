"""The gamma function's kin in double precision: its logarithm and the derivatives of that, incomplete and zeta functions.

Methods: recurrences into the interval [1, 3], where Chebyshev interpolants serve (their coefficients were computed with
mpmath from the functions' definitions); Stirling's and its derivatives' series above 10; reflection for negative numbers
(DLMF 5.5, 5.11). The incomplete functions follow the choice of methods in W. Gautschi, "A computational procedure for
incomplete gamma functions", ACM TOMS 5 (1979), with N. M. Temme's uniform expansion (DLMF 8.12) near x = a for large a.
Hurwitz' zeta function is summed by Euler and Maclaurin's formula (DLMF 25.11).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebval

from lamina.engine.reference.special import erfc

__all__ = ["lgamma", "digamma", "polygamma", "zeta", "igamma", "igammac", "standard_gamma_grad"]

ndarray = np.ndarray

# lgamma(2 + t)/((1 + t)·t), and ψ(x)/(x − root) at x = (3 + t)/2, for t in [−1, 1].
_LGAMMA = (
    0.44148902545501423, -0.11119580321752523, 0.01951044826068884, -0.003922461463025264, 0.0008478989895953857,
    -0.00019153855341365593, 4.454470184975607e-05, -1.05728743735943e-05, 2.5474336873408417e-06, -6.208535880776316e-07,
    1.5268677399071546e-07, -3.782637660291326e-08, 9.428100823624284e-09, -2.361999702184645e-09, 5.943541905817546e-10,
    -1.501312977072867e-10, 3.8050196458110534e-11, -9.672485299656325e-12, 2.465348198355661e-12, -6.298868140791711e-13,
    1.6128460030283787e-13, -4.137949206814042e-14, 1.0635701227757898e-14, -2.7382420786652826e-15, 7.060670507214892e-16,
    -1.8232177141662118e-16, 4.714169006756272e-17, -1.2204107319639856e-17, 3.1630451661790255e-18, -8.206746544166728e-19,
)  # fmt: skip
_DIGAMMA = (
    0.983570260441567, -0.2270640863346444, 0.03336889902393011, -0.005320077271596548, 0.0008788656937820505,
    -0.00014773492650606044, 2.5060543468359146e-05, -4.2721034029993324e-06, 7.302769272465923e-07, -1.2502886813559594e-07,
    2.1425009322359472e-08, -3.673295918565179e-09, 6.299717236108931e-10, -1.080593028883266e-10, 1.853735192053638e-11,
    -3.18023536582553e-12, 5.456147570322795e-13, -9.360993131036438e-14, 1.606064636295075e-14, -2.7555431377438815e-15,
    4.727736178601912e-16, -8.11148420346509e-17, 1.391707769474154e-17, -2.3877901082188625e-18,
)  # fmt: skip
_PSI_ROOT, _PSI_ROOT_LOW = 1.4616321449683622, 9.549995429965697e-17
_BERNOULLI = (
    1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138,
    -236364091 / 2730,
)  # fmt: skip
# Temme's coefficients: row k is c_k(η) as a series in η.
_TEMME = (
    (
        -0.3333333333333333, 0.08333333333333333, -0.014814814814814815, 0.0011574074074074073, 0.0003527336860670194,
        -0.0001787551440329218, 3.919263178522438e-05, -2.185448510679992e-06, -1.85406221071516e-06, 8.296711340953087e-07,
        -1.7665952736826078e-07, 6.707853543401498e-09, 1.0261809784240309e-08, -4.382036018453353e-09, 9.14769958223679e-10,
    ),
    (
        -0.001851851851851852, -0.003472222222222222, 0.0026455026455026454, -0.0009902263374485596, 0.00020576131687242798,
        -4.018775720164609e-07, -1.8098550334489977e-05, 7.64916091608111e-06, -1.6120900894563446e-06, 4.647127802807434e-09,
        1.378633446915721e-07, -5.752545603517705e-08, 1.1951628599778148e-08, -1.7543241719747647e-11,
    ),
    (
        0.004133597883597883, -0.0026813271604938273, 0.0007716049382716049, 2.0093878600823047e-06, -0.0001073665322636516,
        5.2923448829120125e-05, -1.2760635188618728e-05, 3.423578734096138e-08, 1.3721957309062934e-06,
        -6.298992138380055e-07, 1.4280614206064242e-07, -2.0477098421990866e-10, -1.409252991086752e-08,
    ),
    (
        0.0006494341563786008, 0.00022947209362139917, -0.0004691894943952557, 0.00026772063206283885, -7.561801671883977e-05,
        -2.396505113867297e-07, 1.1082654115347302e-05, -5.6749528269915965e-06, 1.4230900732435883e-06,
        -2.7861080291528143e-11, -1.6958404091930278e-07, 8.099464905388083e-08,
    ),
    (
        -0.0008618882909167117, 0.0007840392217200666, -0.0002990724803031902, -1.4638452578843418e-06, 6.641498215465122e-05,
        -3.968365047179435e-05, 1.1375726970678419e-05, 2.507497226237533e-10, -1.6954149536558305e-06, 8.907507532205309e-07,
        -2.292934834000805e-07,
    ),
    (
        -0.00033679855336635813, -6.972813758365857e-05, 0.0002772753244959392, -0.00019932570516188847,
        6.797780477937208e-05, 1.419062920643967e-07, -1.3594048189768693e-05, 8.018470256334202e-06, -2.291481176508095e-06,
        -3.252473551298454e-10,
    ),
    (
        0.0005313079364639922, -0.0005921664373536939, 0.0002708782096718045, 7.902353232660328e-07, -8.153969367561969e-05,
        5.61168275310625e-05, -1.8329116582843375e-05, -3.0796134506033047e-09, 3.465155368803609e-06,
    ),
)  # fmt: skip


def _stirling(x: ndarray) -> ndarray:
    """What log Γ(x) has beyond (x − ½)·log x − x + ½·log 2π, for x ≥ 10."""
    square = 1 / (x * x)
    return np.polyval([b / (2 * i * (2 * i - 1)) for i, b in enumerate(_BERNOULLI[:9], 1)][::-1], square) / x


def _down(x: ndarray, low: float, steps: int) -> tuple[ndarray, ndarray]:
    """(y, product) with y = x − k ≤ ``low`` + 1 and the product (x − 1)…(x − k)."""
    y, product = x.copy(), np.ones_like(x)
    for _ in range(steps):
        above = y >= low + 1
        y = np.where(above, y - 1, y)
        product = np.where(above, product * y, product)
    return y, product


def _lgamma1p(t: ndarray) -> ndarray:
    """log Γ(1 + t) for t in [0, 2], to full relative accuracy near the zeros 0 and 1."""
    return t * (t - 1) * chebval(t - 1, _LGAMMA)


def _lgamma_positive(x: ndarray) -> ndarray:
    small = np.clip(x, 5e-324, 10.0)
    y, product = _down(small, 2.0, 8)
    lift = y < 1
    near = _lgamma1p(np.where(lift, y, y - 1)) + np.log(product) - np.where(lift, np.log(y), 0)
    large = np.maximum(x, 10.0)
    far = (large - 0.5) * (np.log(large) - 1) + (0.5 * math.log(2 * math.pi) - 0.5) + _stirling(large)
    return np.where(x < 10, near, far)


def _sin_pi(x: ndarray) -> ndarray:
    """|sin πx|, exactly 0 at integers."""
    return np.abs(np.sin(np.pi * (x - np.rint(x))))


def lgamma(x: ndarray) -> Any:
    """log |Γ(x)|; +inf at 0, −1, −2, …"""
    z = x.astype(np.float64)
    negative = z < 0
    y = _lgamma_positive(np.where(negative, 1 - z, z))
    reflected = math.log(math.pi) - np.log(_sin_pi(z)) - y
    small = negative & (z > -0.5)  # Γ(x) = Γ(1 + x)/x keeps digits near 0
    y = np.where(negative, reflected, y)
    if small.any():
        t = np.where(small, z, -0.25)
        y = np.where(small, _lgamma1p(t + 1) - np.log1p(t) - np.log(-t), y)
    y = np.where((z <= 0) & (z == np.floor(z)) | np.isinf(z), np.inf, y)
    return np.where(np.isnan(z), z, y).astype(x.dtype)


def digamma(x: ndarray) -> Any:
    """ψ(x) = d log Γ(x)/dx; ∓inf at ±0 and NaN at −1, −2, …"""
    z = x.astype(np.float64)
    negative = z < 0
    with_sign = np.where(negative, 1 - z, z)
    small = np.clip(with_sign, 1e-300, 10.0)
    y, total = small.copy(), np.zeros_like(small)
    for _ in range(9):
        above = y >= 2
        y = np.where(above, y - 1, y)
        total = np.where(above, total + 1 / y, total)
    lift = y < 1
    total = np.where(lift, total - 1 / y, total)
    y = np.where(lift, y + 1, y)
    near = ((y - _PSI_ROOT) - _PSI_ROOT_LOW) * chebval(2 * y - 3, _DIGAMMA) + total
    large = np.maximum(with_sign, 10.0)
    square = 1 / (large * large)
    series = np.polyval([b / (2 * i) for i, b in enumerate(_BERNOULLI[:9], 1)][::-1], square) * square
    far = np.log(large) - 0.5 / large - series
    r = np.where(with_sign < 10, near, far)
    turn = np.pi * (z - np.rint(z))
    r = np.where(negative, r - np.pi / np.tan(turn), r)
    r = np.where(negative & ((z == np.floor(z)) | np.isinf(z)), np.nan, r)
    r = np.where(z == 0, np.copysign(np.inf, -z), np.where(np.abs(z) < 1e-300, -1 / z, r))
    return np.where(np.isnan(z), z, r).astype(x.dtype)


def _zeta_positive(s: ndarray, q: ndarray) -> ndarray:
    """Σ (q + k)^−s for s > 1 and q > 0 by Euler and Maclaurin's formula after twelve terms."""
    total = np.zeros(np.broadcast_shapes(s.shape, q.shape))
    for i in range(12):
        total = total + np.power(q + i, -s)
    w = q + 12
    power = np.power(w, -s)
    total = total + power * w / (s - 1) + 0.5 * power
    factor = s * power / w
    for i, b in enumerate(_BERNOULLI, 1):
        term = factor * (b / math.factorial(2 * i))
        total = total + np.where(np.isfinite(term), term, 0)  # a factor that overflows belongs to a term that is 0
        factor = factor * ((s + (2 * i - 1)) * (s + 2 * i)) / (w * w)
    return total


def _zeta(s: ndarray, q: ndarray) -> ndarray:
    """Hurwitz' zeta function in float64."""
    s, q = np.broadcast_arrays(s, q)
    integer = s == np.floor(s)
    huge = q > 1e8  # the sum is an integral
    positive = np.where(q > 0, q, 1.0)
    safe = np.where(s > 1, s, 2.0)
    r = np.where(
        huge, np.power(positive, 1 - safe) * (1 / (safe - 1) + 0.5 / positive), _zeta_positive(safe, np.minimum(positive, 1e8))
    )
    below = (q < 0) & integer & (q != np.floor(q)) & np.isfinite(q)
    if below.any():  # the terms with a negative base, and the rest
        p, n = np.where(below, q, -0.5), np.where(below, safe, 2.0)
        rest = p - np.floor(p)
        sign = np.where(n % 2 == 0, 1.0, -1.0)
        lower = _zeta_positive(n, rest) + sign * (_zeta_positive(n, 1 - rest) - _zeta_positive(n, 1 - p))
        r = np.where(below, lower, r)
    r = np.where((q <= 0) & (q == np.floor(q)), np.inf, np.where((q < 0) & ~integer, np.nan, r))
    r = np.where(s == 1, np.inf, np.where(s < 1, np.nan, r))
    return np.where(np.isfinite(s) & np.isfinite(q), r, np.nan)


def zeta(s: ndarray, q: ndarray) -> Any:
    """Σₖ (q + k)^−s, k = 0, 1, …: +inf at s = 1 and at q = 0, −1, …; NaN for s < 1 and infinite arguments."""
    return np.asarray(_zeta(np.asarray(s, np.float64), np.asarray(q, np.float64))).astype(s.dtype)


def polygamma(x: ndarray, n: int) -> Any:
    """The n-th derivative of ψ: (−1)ⁿ⁺¹·n!·ζ(n + 1, x)."""
    if n == 0:
        return digamma(x)
    z = x.astype(np.float64)
    scale = math.factorial(n) if n < 171 else math.inf
    r = _zeta(np.full((), n + 1.0), z) * (scale if n % 2 else -scale)
    if n == 1:
        r = np.where(np.isposinf(z), 0.0, r)
    return np.asarray(r).astype(x.dtype)


# -- incomplete gamma functions ------------------------------------------------------------------------------------


def _log1pmx(t: ndarray) -> ndarray:
    """log(1 + t) − t, without cancellation for small t."""
    small = np.abs(t) < 0.5
    u = np.where(small, t / (2 + t), 0.0)  # log(1 + t) = 2·artanh u
    square = u * u
    series = np.zeros_like(u)
    for i in range(27, 2, -2):
        series = series * square + 1 / i
    near = 2 * u * square * series - u * np.where(small, t, 0.0)
    return np.where(small, near, np.log1p(t) - t)


def _prefactor(a: ndarray, x: ndarray) -> ndarray:
    """xᵃ·e⁻ˣ/Γ(a + 1)."""
    small = np.minimum(a, 10.0)
    y, product = _down(small + 1, 1.0, 10)
    direct = np.power(np.minimum(x, 800.0), small) * np.exp(-x) / (product * np.exp(_lgamma1p(y - 1)))
    large = np.maximum(a, 10.0)
    mu = (x - large) / large
    exponent = np.where(np.abs(mu) < 0.5, _log1pmx(mu), np.log(x / large) - mu)
    far = np.exp(large * exponent - _stirling(large)) / np.sqrt(2 * np.pi * large)
    return np.where(a < 10, direct, far)


def _lower_series(a: ndarray, x: ndarray) -> ndarray:
    """P by its power series, for x not far above a."""
    term, total, n = np.ones_like(x), np.ones_like(x), a.copy()
    for _ in range(5000):
        n = n + 1
        term = term * (x / n)
        total = total + term
        if not (term > total * 1e-17).any():
            break
    return total * _prefactor(a, x)


def _upper_series(a: ndarray, x: ndarray) -> ndarray:
    """Q for small x by the series of 1 − P, with the leading 1 taken care of."""
    term, total = np.ones_like(x), np.zeros_like(x)
    for n in range(1, 60):
        term = term * (-x / n)
        total = total + term / (a + n)
    exponent = a * np.log(x) - _lgamma1p(a)  # here a ≤ 1.21
    return -np.expm1(exponent) - np.exp(exponent) * a * total


def _upper_fraction(a: ndarray, x: ndarray) -> ndarray:
    """Q by Legendre's continued fraction (DLMF 8.9.2, after Lentz), for x above a."""
    b = x + 1 - a
    c, d = np.full_like(x, 1e300), 1 / b
    h, active = d.copy(), np.ones(x.shape, bool)
    for i in range(1, 5000):
        an = i * (a - i)
        b = b + 2
        d = an * d + b
        d = 1 / np.where(d == 0, 1e-300, d)
        c = b + an / c
        c = np.where(c == 0, 1e-300, c)
        step = np.where(active, d * c, 1.0)  # what has converged is left alone, lest roundings add up
        h = h * step
        active &= np.abs(step - 1) > 1e-16
        if not active.any():
            break
    return h * _prefactor(a, x) * a


def _temme(a: ndarray, x: ndarray) -> tuple[ndarray, ndarray]:
    """(P, Q) for large a and x near it."""
    mu = (x - a) / a
    half = -_log1pmx(mu)  # ½η²
    eta = np.copysign(np.sqrt(2 * np.maximum(half, 0)), mu)
    series = np.zeros_like(a)
    for row in _TEMME[::-1]:
        series = series / a + np.polyval(row[::-1], eta)
    excess = np.exp(-a * half) / np.sqrt(2 * np.pi * a) * series
    edge = eta * np.sqrt(a / 2)
    return 0.5 * erfc(-edge) - excess, 0.5 * erfc(edge) + excess


def _incomplete(a: ndarray, x: ndarray) -> tuple[ndarray, ndarray]:
    """(P, Q) in float64."""
    a, x = (np.array(v, np.float64) for v in np.broadcast_arrays(a, x))
    lower, upper = np.full(a.shape, np.nan), np.full(a.shape, np.nan)
    valid = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    temme = valid & (a >= 100) & (np.abs(x - a) < 0.3 * a)
    rest = valid & ~temme
    log_x = np.log(np.where(valid, x, 1.0))
    by_series = rest & np.where(x <= 0.5, a > -0.4 / log_x, x * np.where(x <= 1.1, 1.1, 1.0) < a)
    by_upper = rest & ~by_series & (x <= 1.1)
    by_fraction = rest & ~by_series & ~by_upper
    for where, method, is_upper in (
        (by_series, _lower_series, False), (by_upper, _upper_series, True), (by_fraction, _upper_fraction, True)
    ):  # fmt: skip
        if where.any():
            value = np.clip(method(a[where], x[where]), 0.0, 1.0)
            (upper if is_upper else lower)[where] = value
            (lower if is_upper else upper)[where] = 1 - value
    if temme.any():
        lower[temme], upper[temme] = _temme(a[temme], x[temme])
    nothing = (a > 0) & (x == 0) | np.isinf(a) & (a > 0) & (x >= 0) & np.isfinite(x)
    everything = (a == 0) & (x > 0) | (a > 0) & np.isfinite(a) & np.isinf(x) & (x > 0)
    lower[nothing], upper[nothing] = 0.0, 1.0
    lower[everything], upper[everything] = 1.0, 0.0
    return lower, upper


def igamma(a: ndarray, x: ndarray) -> Any:
    """The lower incomplete gamma function P(a, x) = 1/Γ(a)·∫₀ˣ tᵃ⁻¹·e⁻ᵗ dt; NaN for negative arguments."""
    return _incomplete(a, x)[0].astype(a.dtype)


def igammac(a: ndarray, x: ndarray) -> Any:
    """The upper incomplete gamma function Q(a, x) = 1 − P(a, x), accurate where that difference is small."""
    return _incomplete(a, x)[1].astype(a.dtype)


# -- how a gamma number moves with its parameter -------------------------------------------------------------------


def _by_series(a: ndarray, x: ndarray) -> ndarray:
    """−x·Σ xⁿ·Γ(a)/Γ(a + n + 1)·(log x − ψ(a + n + 1)), the derivative of P's power series over the density."""
    term, gap = 1 / a, np.log(x) - digamma(a + 1)
    total, n = term * gap, a.copy()
    for _ in range(5000):
        n = n + 1
        term, gap = term * (x / n), gap - 1 / n
        step = term * gap
        total = total + step
        if not ((np.abs(step) > np.abs(total) * 1e-17) | (n < x)).any():
            break
    return -x * total


def _by_differences(a: ndarray, x: ndarray) -> ndarray:
    """The derivative of the smaller tail over the density, from four values of it around ``a``."""
    h = 1e-3 * np.minimum(a, np.sqrt(a))
    steps = [_incomplete(a + i * h, x) for i in (-2, -1, 1, 2)]
    lower, upper = ((8 * (s[2] - s[1]) - (s[3] - s[0])) / (12 * h) for s in zip(*steps, strict=True))
    density = _prefactor(a, x) * a / x
    return np.where(x > a, upper, -lower) / density


def standard_gamma_grad(a: ndarray, x: ndarray) -> Any:
    """dx/da of a gamma number x at a fixed probability P(a, x): −(∂P/∂a)/(∂P/∂x)."""
    wide, y = a.astype(np.float64), x.astype(np.float64)
    result = np.full(wide.shape, np.nan)
    valid = (wide > 0) & (y > 0) & np.isfinite(wide) & np.isfinite(y)
    far = valid & ((wide >= 200) | (y > wide + 2 + 3 * np.sqrt(np.maximum(wide, 0))))
    near = valid & ~far
    for where, method in ((far, _by_differences), (near, _by_series)):
        if where.any():
            result[where] = method(wide[where], y[where])
    result[y == 0] = 0.0
    return result.astype(a.dtype)
