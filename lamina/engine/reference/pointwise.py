"""Elementwise arithmetic, comparison and logic: for most of it NumPy's own functions are the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.reference.piecewise import constant

__all__ = [
    "add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "pow", "maximum", "minimum", "fmax", "fmin", "atan2",
    "hypot", "copysign", "logaddexp", "logaddexp2", "nextafter", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "left_shift", "right_shift",
    "neg", "abs", "sign", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt", "square", "reciprocal",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "floor", "ceil", "round", "trunc",
    "add_", "sub_", "mul_", "div_",
    "xlogy", "heaviside", "gcd", "lcm", "angle", "sinc", "isposinf", "isneginf",
    "isnan", "isinf", "isfinite", "signbit", "where", "clamp", "conj", "cast", "contiguous", "deg2rad", "rad2deg", "lerp",
]  # fmt: skip


add, sub, mul, div = np.add, np.subtract, np.multiply, np.true_divide
floor_divide, fmod = np.floor_divide, np.fmod
maximum, minimum, fmax, fmin = np.maximum, np.minimum, np.fmax, np.fmin
atan2, hypot, copysign, nextafter = np.arctan2, np.hypot, np.copysign, np.nextafter
logaddexp, logaddexp2 = np.logaddexp, np.logaddexp2
eq, ne, lt, le, gt, ge = np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal
logical_and, logical_or, logical_xor, logical_not = np.logical_and, np.logical_or, np.logical_xor, np.logical_not
bitwise_and, bitwise_or, bitwise_xor, bitwise_not = np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.invert
left_shift, right_shift = np.left_shift, np.right_shift
neg, exp, exp2, expm1 = np.negative, np.exp, np.exp2, np.expm1
log, log2, log10, log1p, sqrt = np.log, np.log2, np.log10, np.log1p, np.sqrt
sin, cos, tan, asin, acos, atan = np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan
sinh, cosh, asinh, acosh, atanh = np.sinh, np.cosh, np.arcsinh, np.arccosh, np.arctanh
floor, ceil, trunc = np.floor, np.ceil, np.trunc
isnan, isinf, isfinite, signbit, where, conj = np.isnan, np.isinf, np.isfinite, np.signbit, np.where, np.conjugate
deg2rad, rad2deg = np.deg2rad, np.rad2deg
gcd, lcm, isposinf, isneginf = np.gcd, np.lcm, np.isposinf, np.isneginf
abs = np.absolute  # noqa: A001


def add_(x: Any, y: Any) -> Any:
    """x + y, written into x."""
    return np.add(x, y, out=x)


def sub_(x: Any, y: Any) -> Any:
    """x − y, written into x."""
    return np.subtract(x, y, out=x)


def mul_(x: Any, y: Any) -> Any:
    """x·y, written into x."""
    return np.multiply(x, y, out=x)


def div_(x: Any, y: Any) -> Any:
    """x/y, written into x."""
    return np.true_divide(x, y, out=x)


def square(x: Any) -> Any:
    """x², of bools as integers."""
    return np.square(x) if x.dtype.kind != "b" else x.astype(np.int64)


def sign(x: Any) -> Any:
    """−1, 0 or 1; 0 for NaN; a bool is its own sign."""
    if x.dtype.kind == "b":
        return x.copy()
    y = np.sign(x)
    return np.where(np.isnan(x), x.dtype.type(0), y) if x.dtype.kind == "f" else y


def remainder(x: Any, y: Any) -> Any:
    """x − y·⌊x/y⌋, with the sign of y."""
    return np.remainder(x, y)


def pow(x: Any, y: Any) -> Any:  # noqa: A001
    """xʸ, by multiplication where the exponent is 2 or 3: exact, and many times faster."""
    if isinstance(y, (int, float)) and x.dtype.kind != "b":
        if y == 2:
            return np.multiply(x, x)
        if y == 3:
            return np.multiply(np.multiply(x, x), x)
        if y == 0.5 and x.dtype.kind == "f":
            return np.sqrt(x)
        if y == -1 and x.dtype.kind == "f":
            return np.divide(1, x)
    return np.power(x, y)


def rsqrt(x: Any) -> Any:
    """1/√x."""
    return np.divide(1, np.sqrt(x))


def reciprocal(x: Any) -> Any:
    """1/x."""
    return np.divide(1, x)


def round(x: Any, decimals: int = 0) -> Any:  # noqa: A001
    """The nearest integer, halves to even; or the nearest multiple of 10⁻ᵈᵉᶜⁱᵐᵃˡˢ."""
    return np.rint(x) if decimals == 0 else np.round(x, decimals)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """min(max(x, low), high); a bound of ``None`` is no bound; NaN stays."""
    if low is not None:
        x = np.maximum(x, constant(low, x.dtype) if low and x.dtype.kind == "f" else low)
    if high is not None:
        x = np.minimum(x, constant(high, x.dtype) if high and x.dtype.kind == "f" else high)
    return x


def xlogy(x: Any, y: Any) -> Any:
    """x·log y; 0 where x is 0, unless y is NaN."""
    return np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * np.log(y)).astype(x.dtype, copy=False)


def heaviside(x: Any, y: Any) -> Any:
    """1 above zero, y at zero, else 0."""
    return np.where(x == 0, y, x > 0).astype(x.dtype, copy=False)


def angle(x: Any) -> Any:
    """The argument of a number; of real ones 0 or π, and NaN for NaN."""
    if x.dtype.kind == "c":
        return np.angle(x)
    return np.where(np.isnan(x), x, np.where(x < 0, x.dtype.type(np.pi), x.dtype.type(0)))


def sinc(x: Any) -> Any:
    """sin(πx)/(πx), 1 at 0."""
    y = x * x.dtype.type(np.pi)
    return np.where(x == 0, x.dtype.type(1), np.sin(y) / np.where(x == 0, x.dtype.type(1), y))


def lerp(start: Any, end: Any, weight: Any) -> Any:
    """start + weight·(end − start), from the nearer end, so that weights of 0 and 1 give the ends exactly."""
    return np.where(np.abs(weight) < 0.5, start + weight * (end - start), end - (end - start) * (1 - weight)).astype(
        start.dtype, copy=False
    )


def cast(x: Any, dtype: np.dtype) -> Any:
    """The same values in another dtype, in the same memory order."""
    if dtype.kind == "V" and dtype.name == "float8_e4m3fn":  # which has no infinity, and so ends at its largest number
        x = np.clip(x.astype(np.float32), -448, 448)
    return x.astype(dtype)


def contiguous(x: Any) -> Any:
    """A copy in row-major order."""
    return np.array(x, order="C")
