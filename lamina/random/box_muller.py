"""Box-Muller in float32, equal to PyTorch's AVX2 kernel in every bit.

    n₁ = √(−2 ln u₁) · cos 2πu₂        n₂ = √(−2 ln u₁) · sin 2πu₂

The weights of an ``Embedding`` and of every ``normal_`` initialisation come from here, so "close" would not do: the same
seed is to give the same weights. PyTorch's kernel computes ln, sin and cos with the single precision polynomials of the
Cephes library and with fused multiply-adds, which round once where NumPy's float32 rounds twice. A fused multiply-add is
taken in float64 here: there the product of two float32 is exact, the sum loses nothing that matters, and storing it as
float32 is the one rounding. Sums and products that are exact in float32, or that PyTorch does not fuse, stay in float32.
"""

from __future__ import annotations

import numpy as np

__all__ = ["box_muller"]

_F4, _F8, _I4 = np.float32, np.float64, np.int32


def _single(*values: float) -> list[np.ndarray]:
    """The float32 nearest to each value, held in float64. NumPy is quicker with a 0-d array than with a number."""
    return [np.array(_F4(v), _F8) for v in values]


# Cephes logf: ln(1 + x) = x − x²/2 + x³·P(x) on [√½ − 1, √2 − 1], and ln 2 in two parts.
_LOG = _single(
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = np.array([0.693359375, -2.12194440e-4], _F4).reshape(2, 1)
_SQRT_HALF = np.array(0.707106781186547524, _F4).view(_I4)
_MANTISSA, _EXPONENT_AT = np.array(0x007FFFFF, _I4), np.array(23, _I4)
_ONE, _HALF, _MINUS_TWO = np.array(1, _F4), np.array(0.5, _F4), np.array(-2, _F4)

# Cephes sinf and cosf on [−π/4, π/4]: a row per coefficient, a column for the sine and one for the cosine.
_SIN_COS = np.array(
    [
        [-1.9515295891e-4, 2.443315711809948e-5],
        [8.3321608736e-3, -1.388731625493765e-3],
        [-1.6666654611e-1, 4.166664568298827e-2],
    ],
    _F4,
).astype(_F8)[:, :, None]
_TWO_PI, _FOUR_OVER_PI, _MINUS_HALF = np.array(2 * np.pi, _F4), np.array(4 / np.pi, _F4), np.array(-0.5)
# π/4 in three parts; the first two have so few bits that their products with 0, 2, 4, 6 and 8 are exact.
_PI4_HIGH, _PI4_MIDDLE = np.array(-0.78515625, _F4), np.array(-2.4187564849853515625e-4, _F4)
(_PI4_LOW,) = _single(-3.77489497744594108e-8)
_NEXT, _EVEN, _TWO, _SIGN_AT, _SWAP_AT, _SIGN, _ALL = (
    np.array(v, _I4) for v in (1, -2, 2, 29, 30, -(1 << 31), 31)
)

_CHUNK = (
    16384  # pairs at a time: few enough for the second-level cache, enough to drown the cost of a NumPy call
)


class _Scratch:
    """The arrays of one chunk, made once per call: fresh pages would cost more than the arithmetic."""

    def __init__(self, n: int) -> None:
        self.single = np.empty((8, n), _F4)
        self.double = np.empty((6, n), _F8)
        self.whole = np.empty((3, n), _I4)

    def first(self, n: int) -> _Scratch:
        part = object.__new__(_Scratch)
        part.single, part.double, part.whole = self.single[:, :n], self.double[:, :n], self.whole[:, :n]
        return part


def _radius(u: np.ndarray, s: _Scratch) -> np.ndarray:
    """√(−2 ln(1 − u)); ``u`` is overwritten."""
    x, z, y4, e, t = s.single[:5]
    wide, y = s.double[:2]
    exponent = s.whole[0]

    np.subtract(_ONE, u, out=x)  # (0, 1], so that the logarithm is finite
    bits = x.view(_I4)
    bits -= _SQRT_HALF  # x = 2ᵉ·m with m in [√½, √2)
    np.right_shift(bits, _EXPONENT_AT, out=exponent)
    bits &= _MANTISSA
    bits += _SQRT_HALF
    e[...] = exponent
    x -= _ONE

    wide[...] = x
    np.multiply(wide, _LOG[0], out=y)
    y += _LOG[1]
    for coefficient in _LOG[2:]:
        _round(y, y4)
        y *= wide
        y += coefficient
    _round(y, y4)
    y *= wide
    _round(y, y4)
    np.multiply(x, x, out=z)
    wide[...] = z
    y *= wide
    wide[...] = np.multiply(e, _LN2_LOW, out=t)
    y += wide
    y4[...] = y
    z *= _HALF
    y4 -= z
    x += y4
    e *= _LN2_HIGH
    x += e
    x *= _MINUS_TWO
    return np.sqrt(x, out=x)


def _sin_cos(u: np.ndarray, s: _Scratch) -> np.ndarray:
    """sin 2πu and cos 2πu as two rows."""
    angle, quarters, t = s.single[2:5]
    both = s.single[6:8]
    octant, mask, swapped = s.whole
    factor, offset, y = s.double[0:2], s.double[2:4], s.double[4:6]

    np.multiply(u, _TWO_PI, out=angle)
    np.multiply(angle, _FOUR_OVER_PI, out=t)
    octant[...] = t
    octant += _NEXT
    octant &= _EVEN  # the even octant nearest to the angle: what remains lies in [−π/4, π/4]
    quarters[...] = octant
    angle += np.multiply(quarters, _PI4_HIGH, out=t)
    angle += np.multiply(quarters, _PI4_MIDDLE, out=t)
    x, square = factor
    x[...] = angle
    square[...] = quarters
    square *= _PI4_LOW
    x += square
    angle[...] = x

    # sine: x + x·(z·P(z)),  cosine: 1 + (−z/2 + z·(z·Q(z))),  z = x²
    x[...] = angle
    offset[0] = angle
    square[...] = np.multiply(angle, angle, out=t)
    np.multiply(square, _MINUS_HALF, out=offset[1])
    np.multiply(square, _SIN_COS[0], out=y)
    y += _SIN_COS[1]
    _round(y, both)
    y *= square
    y += _SIN_COS[2]
    _round(y, both)
    y *= square
    _round(y, both)
    y *= factor
    y += offset
    both[...] = y
    both[1] += _ONE

    # In octants 2 and 6 sine and cosine change places; bit 2 of the octant holds the sign of the sine, and so on.
    sine, cosine = both.view(_I4)
    np.left_shift(octant, _SWAP_AT, out=mask)
    mask >>= _ALL
    np.bitwise_xor(sine, cosine, out=swapped)
    swapped &= mask
    sine ^= swapped
    cosine ^= swapped
    np.left_shift(octant, _SIGN_AT, out=mask)
    mask &= _SIGN
    sine ^= mask
    octant += _TWO
    octant <<= _SIGN_AT
    octant &= _SIGN
    cosine ^= octant
    return both


def _round(wide: np.ndarray, single: np.ndarray) -> None:
    """Round ``wide`` to float32 values, by way of ``single``."""
    single[...] = wide
    wide[...] = single


def box_muller(u: np.ndarray, mean: float, std: float) -> None:
    """Turn blocks of 16 uniform numbers into normal ones, in place.

    Args:
        u: contiguous float32 in [0, 1) whose size is a multiple of 16. Of each block, the first 8 are u₁ (as 1 − u₁)
            and the last 8 the u₂ that belong to them; they become n₁ and n₂.
        mean, std: of the result, ``fma(n, std, mean)``.
    """
    halves = u.view("V32").reshape(-1, 2)  # one item = the 8 floats of half a block, copied as a whole
    mean4, std4 = _F4(mean), _F4(std)
    scratch = _Scratch(min(_CHUNK, u.size // 2))
    for start in range(0, len(halves), _CHUNK // 8):
        part = halves[start : start + _CHUNK // 8]
        s = scratch.first(8 * len(part))
        lone = s.single[5]
        lone.view("V32")[...] = part[:, 0]
        radius = _radius(lone, s)
        lone.view("V32")[...] = part[:, 1]
        # _sin_cos leaves the row of the radius alone
        normal = _sin_cos(lone, s)
        normal *= radius
        if std4 == 1:
            normal += mean4  # even a mean of 0 counts: it turns −0 into 0
        else:
            wide = s.double[:2]
            wide[...] = normal
            wide *= _F8(std4)
            wide += _F8(mean4)
            normal[...] = wide
        part[:, 0] = normal[1].view("V32")
        part[:, 1] = normal[0].view("V32")
