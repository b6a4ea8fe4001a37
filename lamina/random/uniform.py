"""The uniform distribution, and what all ways of filling an array share: the order of its elements, and rounding.

What counts is not the distribution alone but how many words an element takes and in which order the elements are visited:
PyTorch walks through memory, so an array that is not contiguous is filled along its strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, DIGITS, HALVES, SCALAR_NAME, limits
from lamina.random.generator import Generator, resolve

__all__ = ["uniform_"]

F32 = np.dtype(np.float32)
_UNIT53 = np.array(2.0**-53)
_SAFE = 2.0**127  # bounds up to here are float32's, and so is their distance
_CHUNK = 1 << 17  # elements at a time, so that what is in between stays in the cache


def fill_in_order(out: np.ndarray, produce: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Let ``produce`` fill a contiguous vector that has the elements of ``out`` in the order of memory."""
    if out.flags.c_contiguous:
        produce(out.reshape(-1))
        return out
    check_overlap(out)
    ordered = out.transpose(sorted(range(out.ndim), key=lambda d: -abs(out.strides[d])))
    if ordered.flags.c_contiguous:
        produce(ordered.reshape(-1))
        return out
    vector = np.empty(out.size, out.dtype)
    produce(vector)
    ordered[...] = vector.reshape(ordered.shape)
    return out


def check_overlap(out: np.ndarray) -> None:
    if any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise RuntimeError(
            "unsupported operation: several elements of the tensor share one place in memory (it was expanded); "
            "clone() it before filling it"
        )


def scalar_name(dtype: np.dtype) -> str:
    return SCALAR_NAME[BY_NUMPY[dtype]] if dtype in BY_NUMPY else str(dtype)


def floating_only(name: str, out: np.ndarray) -> None:
    if out.dtype not in DIGITS:
        raise NotImplementedError(
            f"{name} is not implemented for {scalar_name(out.dtype)!r}: it fills floating dtypes"
        )


def store(out: np.ndarray, wide: np.ndarray) -> None:
    """``out[...] = wide`` for float64 values; half precision by way of float32, as PyTorch converts."""
    if out.dtype == np.float64:
        out[...] = wide
        return
    with np.errstate(over="ignore"):
        out[...] = wide.astype(np.float32) if out.dtype in HALVES else wide


def uniform_(
    out: np.ndarray, low: float = 0.0, high: float = 1.0, generator: Generator | None = None
) -> np.ndarray:
    """Numbers ``low + (high − low)·k / 2ᵈ`` with k of d random bits: d = 53 for float64, else 24.

    A number that rounding would lift to ``high`` becomes ``low``, so the range stays half open. A complex array gets such
    numbers for its real and imaginary parts.

    Raises:
        NotImplementedError: ``out`` is not floating.
        RuntimeError: ``low > high``, or a bound or their distance does not fit the dtype.
    """
    if out.dtype is F32 and -_SAFE < low <= high < _SAFE and out.flags.c_contiguous:
        uniform_into(out.reshape(-1), low, high, resolve(generator))
        return out
    if out.dtype.kind == "c":
        uniform_(as_real(out), low, high, generator)
        return out
    floating_only("uniform_", out)
    low, high = float(low), float(high)
    limit = float(limits(out.dtype).max)
    for name, value in (("from", low), ("to", high)):
        if not -limit <= value <= limit:
            raise RuntimeError(f"uniform_: {name}={value} is out of bounds for {out.dtype}")
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low} > to={high}")
    if high - low > limit:
        raise RuntimeError(
            f"uniform_ expects to - from within {out.dtype}, but found to={high} and from={low}"
        )
    generator = resolve(generator)
    return fill_in_order(out, lambda v: uniform_into(v, low, high, generator)) if out.size else out


def uniform_into(out: np.ndarray, low: float, high: float, generator: Generator) -> None:
    """``fma(k / 2ᵈ, high − low, low)`` in a contiguous vector, with k the low d bits of a word or of a pair of words."""
    fill = _uniform64_into if out.dtype == np.float64 else _uniform32_into
    if out.size <= _CHUNK:
        fill(out, low, high, generator)
        return
    with generator.lock:
        for part in chunks(out):
            fill(part, low, high, generator)


def _uniform64_into(part: np.ndarray, low: float, high: float, generator: Generator) -> None:
    np.multiply(generator.bits53(part.size), _UNIT53, out=part)
    if low != 0.0 or high != 1.0:
        part[...] = fma(part, high - low, low)
        part[part == high] = low


def _uniform32_into(part: np.ndarray, low: float, high: float, generator: Generator) -> None:
    whole = part.dtype is F32 or part.dtype == F32
    numbers = part if whole else np.empty(part.size, F32)
    generator.fractions(part.size, numbers)
    if low == 0.0 and high == 1.0 and whole:
        return
    low4, high4 = np.float32(low), np.float32(high)
    scale = float(high4 - low4)
    if whole and math.frexp(scale)[0] == 0.5:
        # Times a power of two is exact, so there is nothing to fuse.
        part *= np.float32(scale)
        if low:
            part += low4
    else:
        wide = np.multiply(numbers, scale, dtype=np.float64)
        if whole:
            np.add(wide, float(low4), out=part)
        else:
            wide += float(low4)
            store(part, wide)
    end = part.dtype.type(high4)
    if part.dtype.type(np.float32((1 - 2.0**-24) * scale + float(low4))) == end:
        part[part == end] = low4


def chunks(out: np.ndarray) -> list[np.ndarray]:
    return [out] if out.size <= _CHUNK else [out[i : i + _CHUNK] for i in range(0, out.size, _CHUNK)]


def uniform64(n: int, generator: Generator) -> np.ndarray:
    """``n`` numbers in [0, 1) of 53 bits, each made of a pair of words."""
    u = np.empty(n)
    uniform_into(u, 0.0, 1.0, generator)
    return u


def fma(x: Any, a: float, b: float) -> Any:
    """``x·a + b`` rounded once, as the fused instruction that PyTorch is compiled to does (x: float64s, or a float of Python).

    The rounding errors of the product (Dekker) and of the sum (Knuth) are added to the rounded sum.
    """
    product = x * a
    if (
        a == 1.0 or b == 0.0 or not abs(a) < 2.0**900 or not math.isfinite(b)
    ):  # beyond 2⁹⁰⁰ halves would overflow
        return product + b
    x_high, x_low = _split(x)
    a_high, a_low = _split(a)
    product_error = ((x_high * a_high - product) + x_high * a_low + x_low * a_high) + x_low * a_low
    total = product + b
    back = total - product
    sum_error = (product - (total - back)) + (b - back)
    return total + (product_error + sum_error)


def _split(x: Any) -> tuple[Any, Any]:
    """``x`` as a sum of two halves of 26 bits, whose products are exact."""
    high = x * 134217729.0
    high = high - (high - x)
    return high, x - high


def as_real(out: np.ndarray) -> np.ndarray:
    """A complex array as a view of real numbers with a last dimension of 2."""
    return out[..., None].view(out.real.dtype)
