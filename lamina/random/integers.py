"""Whole numbers of equal probability."""

from __future__ import annotations

import warnings

import numpy as np

from lamina._dtypes import HALVES, limits
from lamina.random.generator import Generator, resolve
from lamina.random.uniform import DIGITS, chunks, fill_in_order, scalar_name

__all__ = ["random_"]

I64 = np.dtype(np.int64)
_LOW64, _TOP64 = -(1 << 63), (1 << 63) - 1
UNSIGNED_WIDE = (np.dtype("uint16"), np.dtype("uint32"), np.dtype("uint64"))
_FEW = 64  # numbers of which a remainder is as cheap as anything
# From this range on a number takes two words, so that the remainder stays close to uniform.
_WIDE_RANGE = 1 << 28


def random_(
    out: np.ndarray, low: int | None = None, high: int | None = None, generator: Generator | None = None
) -> np.ndarray:
    """Whole numbers of equal probability, for every dtype but complex.

    Without bounds from 0 to the largest integer of the dtype (2ᵈ for floats of d significant bits); with ``low`` alone
    from there to the same end; with both, ``low`` to ``high − 1``. PyTorch's ``random_(to)`` is ``low=0, high=to``.

    Raises:
        RuntimeError: the range is empty or does not fit the dtype.
        NotImplementedError: the dtype has no such form.
    """
    generator = resolve(generator)
    dtype = out.dtype
    if low is not None and high is not None and dtype is I64 and _LOW64 <= low < high <= _TOP64:
        return _fill_integers(out, low, high - low, generator, wide=high - low >= _WIDE_RANGE)
    if out.size == 0 and high is None and low in (None, _LOW64):
        return out
    if low is None and high is None:
        if dtype.kind == "c" or dtype in UNSIGNED_WIDE:
            raise NotImplementedError(f"random_ is not implemented for {scalar_name(dtype)!r}")
        if dtype.kind in "fV":
            count = (1 << DIGITS[dtype]) + 1
        else:
            count = _largest(dtype) + 1
        return _fill_integers(out, 0, count, generator, wide=dtype.itemsize == 8)
    if dtype.kind == "c":
        raise NotImplementedError(f"random_ with bounds is not implemented for {scalar_name(dtype)!r}")
    low = 0 if low is None else low
    if low == _LOW64 and high is None:
        if dtype.kind == "b" or dtype in HALVES or dtype in UNSIGNED_WIDE:
            raise NotImplementedError(
                f"random_ over all of int64 is not implemented for {scalar_name(dtype)!r}"
            )
        if dtype not in (np.int64, np.float64, np.float32):
            raise RuntimeError(f"random_ over all of int64 handles int64, float64 and float32, got {dtype}")
        return _fill_integers(out, 0, 1 << 64, generator, wide=True)
    if high is None:
        high = _largest(dtype) + 1
        if dtype.kind in "fV":
            low, high = _first_inside(low, dtype), (1 << DIGITS[dtype]) + 1
            if low >= high - 1:
                raise RuntimeError(
                    f"random_ expects 'from' below the last whole number of {dtype}, but got from={low}"
                )
    else:
        if low >= high:
            raise RuntimeError(
                f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
            )
        if dtype.kind in "fV":
            low, high = _first_inside(low, dtype), _last_outside(high, dtype)
            if low >= high:
                raise RuntimeError(f"random_ finds no number of {dtype} from {low} to below {high}")
    _check_bounds(low, high - 1, dtype)
    count = high - low
    return _fill_integers(out, low, count, generator, wide=count >= _WIDE_RANGE)


def _largest(dtype: np.dtype) -> int:
    return 1 if dtype.kind == "b" else _TOP64 if dtype.kind in "fV" else int(np.iinfo(dtype).max)


def _check_bounds(first: int, last: int, dtype: np.dtype) -> None:
    if dtype.kind in "fV":
        lowest, highest = -float(limits(dtype).max), float(limits(dtype).max)
    elif dtype.kind == "b":
        lowest, highest = 0, 1
    else:
        lowest, highest = int(np.iinfo(dtype).min), min(int(np.iinfo(dtype).max), _TOP64)
    exact = 1 << DIGITS.get(dtype, 64)
    for name, value in (("from", first), ("to - 1", last)):
        if not lowest <= value <= highest:
            raise RuntimeError(f"random_: {name}={value} is out of bounds for {dtype}")
        if not -exact <= value <= exact:
            warnings.warn(
                f"random_: {name}={value} is beyond 2**{DIGITS[dtype]}, where {dtype} no longer holds every integer",
                UserWarning,
                stacklevel=4,
            )


def _rounded(value: int, dtype: np.dtype) -> int:
    """``value`` as the float dtype holds it; unchanged where that is not an int64 (the check of bounds follows)."""
    with np.errstate(over="ignore"):
        near = float(dtype.type(value))
    return int(near) if _LOW64 <= near < 2.0**63 else value


def _first_inside(low: int, dtype: np.dtype) -> int:
    """The start of a range whose numbers, once rounded to the float dtype, are not below ``low``."""
    after = _rounded(low + 1, dtype)
    return low if after >= low else after + (1 << (abs(low + 1).bit_length() - DIGITS[dtype]))


def _last_outside(high: int, dtype: np.dtype) -> int:
    """The end of a range whose numbers, once rounded to the float dtype, stay below ``high``."""
    before = _rounded(high - 1, dtype)
    return high if before < high else before - (1 << (abs(high - 1).bit_length() - DIGITS[dtype]))


def _fill_integers(out: np.ndarray, low: int, count: int, generator: Generator, wide: bool) -> np.ndarray:
    return fill_in_order(out, lambda v: _integers(v, low, count, generator, wide)) if out.size else out


def _integers(out: np.ndarray, low: int, count: int, generator: Generator, wide: bool) -> None:
    """``low + word mod count`` with words of 64 bits if ``wide``, else of 32, as int64 that may wrap around."""
    with generator.lock:
        for part in chunks(out):
            words = generator.words64(part.size) if wide else generator.words32(part.size)
            kind = words.dtype.type
            if count <= 1 << 28 and words.size < _FEW:
                words %= np.array(count, words.dtype)
            elif count & (count - 1) == 0:
                words &= kind((count - 1) & ((1 << 8 * words.itemsize) - 1))
            else:
                # NumPy divides by a constant many times faster than it takes a remainder
                quotients = words // kind(count)
                quotients *= kind(count)
                words -= quotients
            if low == 0 and not (wide and out.dtype.kind in "fV"):
                part[...] = words
            else:
                values = words.view(np.int64) if wide else words.astype(np.int64)
                values += np.int64(low)
                part[...] = values
