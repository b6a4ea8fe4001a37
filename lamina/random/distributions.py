"""Fill arrays with random numbers exactly as PyTorch's in-place methods fill tensors on the CPU.

Each function takes the array to fill (any strides), its parameters and a generator, and returns the array. What counts
is not the distribution alone but how many words an element takes and in which order the elements are visited: PyTorch
walks through memory, so an array that is not contiguous is filled along its strides.

PyTorch's own answer depends on the machine in one place. Where it is built with MKL and the processor is Intel's,
``bernoulli_(p)`` with one probability (and so ``dropout``) draws a single word and hands it to a generator of MKL's. Here, as
on every other processor, each element takes a number of the stream; a seed gives the same mask on every machine.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.random.box_muller import box_muller
from lamina.random.generator import Generator, resolve

__all__ = [
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "normal_", "random_",
    "truncated_normal_", "uniform_",
]  # fmt: skip

_LOW64, _TOP64 = -(1 << 63), (1 << 63) - 1
_MASK24, _MASK53 = np.uint32((1 << 24) - 1), np.uint64((1 << 53) - 1)
# How many bits of a float dtype's significand there are, the hidden one included.
_DIGITS = {np.dtype("float16"): 11, np.dtype("float32"): 24, np.dtype("float64"): 53}
_CHUNK = 1 << 17  # elements at a time, so that what is in between stays in the cache


# ------------------------------------------------------------------------------------------------------------- order


def _fill(out: np.ndarray, produce: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Let ``produce`` fill a contiguous vector that has the elements of ``out`` in the order of memory."""
    if out.flags.c_contiguous:
        produce(out.reshape(-1))
        return out
    _check_overlap(out)
    ordered = out.transpose(sorted(range(out.ndim), key=lambda d: -abs(out.strides[d])))
    if ordered.flags.c_contiguous:
        produce(ordered.reshape(-1))
        return out
    vector = np.empty(out.size, out.dtype)
    produce(vector)
    ordered[...] = vector.reshape(ordered.shape)
    return out


def _check_overlap(out: np.ndarray) -> None:
    if any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise RuntimeError(
            "unsupported operation: several elements of the tensor share one place in memory (it was expanded); "
            "clone() it before filling it"
        )


def _scalar_name(dtype: np.dtype) -> str:
    return SCALAR_NAME[BY_NUMPY[dtype]] if dtype in BY_NUMPY else str(dtype)


def _floating(name: str, out: np.ndarray) -> None:
    if out.dtype not in _DIGITS:
        raise NotImplementedError(
            f"{name} is not implemented for {_scalar_name(out.dtype)!r}: it fills floating dtypes"
        )


def _store(out: np.ndarray, wide: np.ndarray) -> None:
    """``out[...] = wide`` for float64 values; float16 by way of float32, as PyTorch converts."""
    with np.errstate(over="ignore"):
        out[...] = wide.astype(np.float32) if out.dtype == np.float16 else wide


# ----------------------------------------------------------------------------------------------------------- uniform


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
    if out.dtype.kind == "c":
        uniform_(_as_real(out), low, high, generator)
        return out
    _floating("uniform_", out)
    low, high = float(low), float(high)
    limit = float(np.finfo(out.dtype).max)
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
    return _fill(out, lambda v: _uniform(v, low, high, generator)) if out.size else out


def _uniform(out: np.ndarray, low: float, high: float, generator: Generator) -> None:
    """``fma(k / 2ᵈ, high − low, low)`` in a contiguous vector, with k the low d bits of a word or of a pair of words."""
    with generator.lock:
        for part in _chunks(out):
            if out.dtype == np.float64:
                _uniform64_into(part, low, high, generator)
            else:
                _uniform32_into(part, low, high, generator)


def _uniform64_into(part: np.ndarray, low: float, high: float, generator: Generator) -> None:
    part[...] = generator.words64(part.size) & _MASK53
    part *= 2.0**-53
    if low != 0.0 or high != 1.0:
        part[...] = fma(part, high - low, low)
        part[part == high] = low


def _uniform32_into(part: np.ndarray, low: float, high: float, generator: Generator) -> None:
    words = generator.words32(part.size)
    words &= _MASK24
    numbers = words.view(np.int32)  # which the processor, unlike uint32, converts to floats
    low4, high4 = np.float32(low), np.float32(high)
    scale = float(high4 - low4)
    if part.dtype == np.float32 and math.frexp(scale)[0] == 0.5:
        # Times a power of two is exact, so there is nothing to fuse.
        part[...] = numbers
        part *= np.float32(scale * 2.0**-24)
        if low:
            part += low4
    else:
        wide = numbers.astype(np.float64)
        wide *= scale * 2.0**-24
        wide += float(low4)
        _store(part, wide)
    end = part.dtype.type(high4)
    if part.dtype.type(np.float32((1 - 2.0**-24) * scale + float(low4))) == end:
        part[part == end] = low4


def _chunks(out: np.ndarray) -> list[np.ndarray]:
    return [out] if out.size <= _CHUNK else [out[i : i + _CHUNK] for i in range(0, out.size, _CHUNK)]


def _uniform64(n: int, generator: Generator) -> np.ndarray:
    """``n`` numbers in [0, 1) of 53 bits, each made of a pair of words."""
    u = np.empty(n)
    _uniform(u, 0.0, 1.0, generator)
    return u


def fma(x: np.ndarray, a: float, b: float) -> np.ndarray:
    """``x·a + b`` rounded once, as the fused instruction that PyTorch is compiled to does (x, a, b float64).

    The rounding errors of the product (Dekker) and of the sum (Knuth) are added to the rounded sum.
    """
    product = x * a
    if (
        a == 1.0 or b == 0.0 or not abs(a) < 2.0**900 or not math.isfinite(b)
    ):  # beyond 2⁹⁰⁰ halves would overflow
        return product + b
    x_high, x_low = _split(x)
    a_high, a_low = _split(np.float64(a))
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


# ------------------------------------------------------------------------------------------------------------ normal


def normal_(
    out: np.ndarray, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> np.ndarray:
    """Normal numbers by Box-Muller. Contiguous arrays of 16 and more are made in blocks of 16, the last block anew from
    16 further words if the size is no multiple; others number by number in float64, two words of 53 bits for each
    pair, whose second number waits in the generator for the next call.

    Raises:
        NotImplementedError: ``out`` is neither floating nor complex.
        RuntimeError: ``std`` is negative or NaN.
    """
    mean, std = float(mean), float(std)
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    generator = resolve(generator)
    if out.size == 0:
        return out
    if out.dtype.kind == "c":
        normal_(_as_real(out), mean, std / math.sqrt(2), generator)
        return out
    _floating("normal_", out)
    if out.size < 16 or not out.flags.c_contiguous:
        return _fill(out, lambda v: _store(v, _normals_one_by_one(v.size, mean, std, generator)))
    vector = out.reshape(-1)
    with generator.lock:
        if out.dtype == np.float64:
            _normal64(vector, mean, std, generator)
        elif out.dtype == np.float32:
            _normal32(vector, mean, std, generator)
        else:
            _normal16(vector, mean, std, generator)
    return out


def _normal32(out: np.ndarray, mean: float, std: float, generator: Generator) -> None:
    whole = out.size // 16 * 16
    if whole == out.size:
        _uniform(out, 0.0, 1.0, generator)
        box_muller(out, mean, std)
        return
    # The last block is drawn after all of the vector, and that includes the numbers which it replaces.
    values = np.empty(out.size + 16, np.float32)
    _uniform(values, 0.0, 1.0, generator)
    values[whole : whole + 16] = values[-16:]
    box_muller(values[: whole + 16], mean, std)
    out[:whole] = values[:whole]
    out[-16:] = values[whole : whole + 16]


def _normal16(out: np.ndarray, mean: float, std: float, generator: Generator) -> None:
    # Computed in float32 block by block: here nothing is drawn for the numbers that the last block replaces.
    whole = out.size // 16 * 16
    values = np.empty(whole if whole == out.size else whole + 16, np.float32)
    _uniform(values, 0.0, 1.0, generator)
    box_muller(values, mean, std)
    with np.errstate(over="ignore"):
        out[:whole] = values[:whole]
        if whole != out.size:
            out[-16:] = values[whole:]


def _normal64(out: np.ndarray, mean: float, std: float, generator: Generator) -> None:
    whole = out.size // 16 * 16
    _uniform(out, 0.0, 1.0, generator)
    _box_muller64(out[:whole], mean, std)
    if whole != out.size:
        last = _uniform64(16, generator)
        _box_muller64(last, mean, std)
        out[-16:] = last


def _box_muller64(u: np.ndarray, mean: float, std: float) -> None:
    halves = u.view("V64").reshape(-1, 2)  # one item = the 8 numbers of half a block, copied as a whole
    for start in range(0, len(halves), 512):
        part = halves[start : start + 512]
        radius = part[:, 0].copy().view(np.float64)
        angle = part[:, 1].copy().view(np.float64)
        np.subtract(1.0, radius, out=radius)
        np.log(radius, out=radius)
        radius *= -2.0
        np.sqrt(radius, out=radius)
        angle *= 2 * math.pi
        first = np.cos(angle)
        first *= radius
        second = np.sin(angle, out=angle)
        second *= radius
        part[:, 0] = fma(first, std, mean).view("V64")
        part[:, 1] = fma(second, std, mean).view("V64")


def _normals_one_by_one(n: int, mean: float, std: float, generator: Generator) -> np.ndarray:
    """``n`` numbers of the sequence of pairs that runs through all such calls, as float64."""
    with generator.lock:
        waiting = generator.next_normal
        start = 0 if waiting is None else 1
        pairs = (n - start + 1) // 2
        z = np.empty(start + 2 * pairs)
        if waiting is not None:
            z[0] = waiting
        u = _uniform64(2 * pairs, generator)
        radius = np.sqrt(-2.0 * np.log1p(-u[1::2]))
        angle = (2 * math.pi) * u[::2]
        z[start::2] = radius * np.cos(angle)
        z[start + 1 :: 2] = radius * np.sin(angle)
        generator.next_normal = float(z[n]) if z.size > n else None
    return fma(z[:n], std, mean)


def truncated_normal_(
    out: np.ndarray, mean: float, std: float, low: float, high: float, generator: Generator | None = None
) -> np.ndarray:
    """Normal numbers within [low, high], by rejection: all are drawn anew until those outside have been replaced.

    Where less than 30 % of the law lies within the bounds, the candidates are uniform instead, and accepted with the
    probability that the density has relative to its peak. ZeroDivisionError if ``std`` is 0.
    """
    _floating("truncated_normal_", out)
    mean, std, low, high = float(mean), float(std), float(low), float(high)
    inside = math.erf((high - mean) / std / math.sqrt(2.0)) - math.erf((low - mean) / std / math.sqrt(2.0))
    if inside / 2 > 0.3:
        first, last = out.dtype.type(low), out.dtype.type(high)
        normal_(out, mean, std, generator)
        again = np.empty_like(out)
        while (outside := (out < first) | (out > last)).any():
            np.copyto(out, normal_(again, mean, std, generator), where=outside)
        return out

    number = out.dtype.type
    peak = max(low, min(mean, high))
    log_peak = number(-0.5 * ((peak - mean) / std) ** 2)
    chance = np.empty_like(out)

    def rejected(candidates: np.ndarray) -> np.ndarray:
        z = (candidates - number(mean)) / number(std)
        with np.errstate(divide="ignore"):
            return np.log(uniform_(chance, generator=generator)) > z * z * number(-0.5) - log_peak

    uniform_(out, low, high, generator)
    pending = rejected(out)
    again = np.empty_like(out)
    while pending.any():
        np.copyto(out, uniform_(again, low, high, generator), where=pending)
        pending &= rejected(again)
    return out


def log_normal_(
    out: np.ndarray, mean: float = 1.0, std: float = 2.0, generator: Generator | None = None
) -> np.ndarray:
    """``exp`` of normal numbers; ``mean`` and ``std`` are those of the logarithm. Raises as :func:`normal_`."""
    mean, std = float(mean), float(std)
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std}")
    generator = resolve(generator)
    if out.size == 0:
        return out
    _floating("log_normal_", out)
    with np.errstate(over="ignore"):
        return _fill(out, lambda v: _store(v, np.exp(_normals_one_by_one(v.size, mean, std, generator))))


def _as_real(out: np.ndarray) -> np.ndarray:
    """A complex array as a view of real numbers with a last dimension of 2."""
    return out[..., None].view(out.real.dtype)


# ------------------------------------------------------------------------------------------- made of one uniform number


def bernoulli_(out: np.ndarray, p: Any = 0.5, generator: Generator | None = None) -> np.ndarray:
    """Ones with probability ``p``, else zeros; ``p`` is a number or an array that broadcasts to ``out``.

    Raises:
        RuntimeError: ``p`` is not within [0, 1], or does not broadcast.
        NotImplementedError: ``p`` is an array that is not floating.
    """
    generator = resolve(generator)
    if isinstance(p, np.ndarray):
        return _bernoulli_each(out, p, generator)
    p = float(p)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p}")
    return _fill(out, lambda v: _bernoulli(v, p, generator)) if out.size else out


def _bernoulli(out: np.ndarray, p: float, generator: Generator) -> None:
    below = np.uint64(math.ceil(p * 2.0**53))  # k / 2⁵³ < p, asked of the integer k
    with generator.lock:
        for part in _chunks(out):
            words = generator.words64(part.size)
            words &= _MASK53
            part[...] = words < below


def _bernoulli_each(out: np.ndarray, p: np.ndarray, generator: Generator) -> np.ndarray:
    if p.dtype not in _DIGITS:
        raise NotImplementedError(
            f"bernoulli is not implemented for probabilities of {_scalar_name(p.dtype)!r}"
        )
    try:
        each = np.broadcast_to(p, out.shape)
    except ValueError:
        raise RuntimeError(f"bernoulli_: p of shape {p.shape} does not expand to {out.shape}") from None
    if out.size == 0:
        return out
    outside = ~((p >= 0) & (p <= 1))
    if outside.any():
        raise RuntimeError(
            f"bernoulli expects all probabilities to be in [0, 1], but got {p[outside].flat[0]}"
        )
    # float64 is compared with numbers of 53 bits, everything else with numbers of 24.
    # The order of out decides who gets which number, whichever way p lies in memory.
    _check_overlap(out)
    u = np.empty_like(out, dtype=np.float64 if p.dtype == np.float64 else np.float32, order="K")
    _fill(u, lambda v: _uniform(v, 0.0, 1.0, generator))
    out[...] = u < each
    return out


def exponential_(out: np.ndarray, lambd: float = 1.0, generator: Generator | None = None) -> np.ndarray:
    """``−ln(1 − u) / lambd``. Raises RuntimeError unless ``lambd > 0`` and ``out`` is floating."""
    lambd = float(lambd)
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    if out.size and out.dtype not in _DIGITS:
        raise RuntimeError(
            f"exponential_ is continuous and fills floating dtypes, got {_scalar_name(out.dtype)}"
        )
    return _from_uniform(out, lambda u: (-1.0 / lambd) * np.log1p(-u), generator)


def geometric_(out: np.ndarray, p: float, generator: Generator | None = None) -> np.ndarray:
    """The number of trials up to the first success, ``⌈ln u / ln(1 − p)⌉``; RuntimeError unless 0 < ``p`` < 1."""
    p = float(p)
    if not 0.0 < p < 1.0:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p}")
    if out.size and (out.dtype.kind not in "iuf" or out.dtype in _UNSIGNED_WIDE):
        raise NotImplementedError(f"geometric_ is not implemented for {_scalar_name(out.dtype)!r}")
    log_failure = math.log(1.0 - p)

    def trials(u: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.ceil(np.log(u) / log_failure)
        # C converts by way of a wide integer, so what does not fit a small dtype wraps around
        return value if out.dtype.kind == "f" else value.astype(np.int64)

    return _from_uniform(out, trials, generator)


def cauchy_(
    out: np.ndarray, median: float = 0.0, sigma: float = 1.0, generator: Generator | None = None
) -> np.ndarray:
    """``median + sigma·tan(π(u − ½))``. Raises RuntimeError unless ``sigma > 0`` and ``out`` is floating."""
    median, sigma = float(median), float(sigma)
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma}")
    if out.dtype not in _DIGITS:
        raise RuntimeError(f"cauchy_ is continuous and fills floating dtypes, got {_scalar_name(out.dtype)}")
    return _from_uniform(out, lambda u: fma(np.tan(math.pi * (u - 0.5)), sigma, median), generator)


def _from_uniform(
    out: np.ndarray, transform: Callable[[np.ndarray], np.ndarray], generator: Generator | None
) -> np.ndarray:
    """Fill with a function of float64 uniform numbers, one each."""
    source = resolve(generator)

    def produce(vector: np.ndarray) -> None:
        with source.lock:
            for part in _chunks(vector):
                _store(part, transform(_uniform64(part.size, source)))

    return _fill(out, produce) if out.size else out


# ---------------------------------------------------------------------------------------------------------- integers

_UNSIGNED_WIDE = (np.dtype("uint16"), np.dtype("uint32"), np.dtype("uint64"))
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
    if out.size == 0 and high is None and low in (None, _LOW64):
        return out
    if low is None and high is None:
        if dtype.kind == "c" or dtype in _UNSIGNED_WIDE:
            raise NotImplementedError(f"random_ is not implemented for {_scalar_name(dtype)!r}")
        if dtype.kind == "f":
            count = (1 << _DIGITS[dtype]) + 1
        else:
            count = _largest(dtype) + 1
        return _fill_integers(out, 0, count, generator, wide=dtype.itemsize == 8)
    if dtype.kind == "c":
        raise NotImplementedError(f"random_ with bounds is not implemented for {_scalar_name(dtype)!r}")
    low = 0 if low is None else low
    if low == _LOW64 and high is None:
        if dtype.kind == "b" or dtype == np.float16 or dtype in _UNSIGNED_WIDE:
            raise NotImplementedError(
                f"random_ over all of int64 is not implemented for {_scalar_name(dtype)!r}"
            )
        if dtype not in (np.int64, np.float64, np.float32):
            raise RuntimeError(f"random_ over all of int64 handles int64, float64 and float32, got {dtype}")
        return _fill_integers(out, 0, 1 << 64, generator, wide=True)
    if high is None:
        high = _largest(dtype) + 1
        if dtype.kind == "f":
            low, high = _first_inside(low, dtype), (1 << _DIGITS[dtype]) + 1
            if low >= high - 1:
                raise RuntimeError(
                    f"random_ expects 'from' below the last whole number of {dtype}, but got from={low}"
                )
    else:
        if low >= high:
            raise RuntimeError(
                f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}"
            )
        if dtype.kind == "f":
            low, high = _first_inside(low, dtype), _last_outside(high, dtype)
            if low >= high:
                raise RuntimeError(f"random_ finds no number of {dtype} from {low} to below {high}")
    _check_bounds(low, high - 1, dtype)
    count = high - low
    return _fill_integers(out, low, count, generator, wide=count >= _WIDE_RANGE)


def _largest(dtype: np.dtype) -> int:
    return 1 if dtype.kind == "b" else _TOP64 if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _check_bounds(first: int, last: int, dtype: np.dtype) -> None:
    if dtype.kind == "f":
        lowest, highest = -float(np.finfo(dtype).max), float(np.finfo(dtype).max)
    elif dtype.kind == "b":
        lowest, highest = 0, 1
    else:
        lowest, highest = int(np.iinfo(dtype).min), min(int(np.iinfo(dtype).max), _TOP64)
    exact = 1 << _DIGITS.get(dtype, 64)
    for name, value in (("from", first), ("to - 1", last)):
        if not lowest <= value <= highest:
            raise RuntimeError(f"random_: {name}={value} is out of bounds for {dtype}")
        if not -exact <= value <= exact:
            warnings.warn(
                f"random_: {name}={value} is beyond 2**{_DIGITS[dtype]}, where {dtype} no longer holds every integer",
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
    return low if after >= low else after + (1 << (abs(low + 1).bit_length() - _DIGITS[dtype]))


def _last_outside(high: int, dtype: np.dtype) -> int:
    """The end of a range whose numbers, once rounded to the float dtype, stay below ``high``."""
    before = _rounded(high - 1, dtype)
    return high if before < high else before - (1 << (abs(high - 1).bit_length() - _DIGITS[dtype]))


def _fill_integers(out: np.ndarray, low: int, count: int, generator: Generator, wide: bool) -> np.ndarray:
    return _fill(out, lambda v: _integers(v, low, count, generator, wide)) if out.size else out


def _integers(out: np.ndarray, low: int, count: int, generator: Generator, wide: bool) -> None:
    """``low + word mod count`` with words of 64 bits if ``wide``, else of 32, as int64 that may wrap around."""
    with generator.lock:
        for part in _chunks(out):
            words = generator.words64(part.size) if wide else generator.words32(part.size)
            kind = words.dtype.type
            if count & (count - 1) == 0:
                words &= kind(min(count - 1, int(np.iinfo(words.dtype).max)))
            else:
                # NumPy divides by a constant many times faster than it takes a remainder
                quotients = words // kind(count)
                quotients *= kind(count)
                words -= quotients
            if low == 0 and not (wide and out.dtype.kind == "f"):
                part[...] = words
            else:
                values = words.view(np.int64) if wide else words.astype(np.int64)
                values += np.int64(low)
                part[...] = values
