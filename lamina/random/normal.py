"""The normal distribution and its kin, with PyTorch's three ways of making normal numbers."""

from __future__ import annotations

import math

import numpy as np

from lamina.random.box_muller import box_muller
from lamina.random.generator import Generator, resolve
from lamina.random.uniform import (
    as_real,
    fill_in_order,
    floating_only,
    fma,
    store,
    uniform64,
    uniform_,
    uniform_into,
)

__all__ = ["log_normal_", "normal_", "truncated_normal_"]


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
        normal_(as_real(out), mean, std / math.sqrt(2), generator)
        return out
    floating_only("normal_", out)
    if out.size < 16:
        values = np.array(_few_normals(out.size, mean, std, generator))
        if out.dtype == np.float32 and out.flags.c_contiguous and abs(mean) + 9 * std < 1e38:
            out[...] = values.reshape(out.shape)
            return out
        return fill_in_order(out, lambda v: store(v, values))
    if not out.flags.c_contiguous:
        return fill_in_order(out, lambda v: store(v, _normals_one_by_one(v.size, mean, std, generator)))
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
        uniform_into(out, 0.0, 1.0, generator)
        box_muller(out, mean, std)
        return
    # The last block is drawn after all of the vector, and that includes the numbers which it replaces.
    values = np.empty(out.size + 16, np.float32)
    uniform_into(values, 0.0, 1.0, generator)
    values[whole : whole + 16] = values[-16:]
    box_muller(values[: whole + 16], mean, std)
    out[:whole] = values[:whole]
    out[-16:] = values[whole : whole + 16]


def _normal16(out: np.ndarray, mean: float, std: float, generator: Generator) -> None:
    # Computed in float32 block by block: here nothing is drawn for the numbers that the last block replaces.
    whole = out.size // 16 * 16
    values = np.empty(whole if whole == out.size else whole + 16, np.float32)
    uniform_into(values, 0.0, 1.0, generator)
    box_muller(values, mean, std)
    with np.errstate(over="ignore"):
        out[:whole] = values[:whole]
        if whole != out.size:
            out[-16:] = values[whole:]


def _normal64(out: np.ndarray, mean: float, std: float, generator: Generator) -> None:
    whole = out.size // 16 * 16
    uniform_into(out, 0.0, 1.0, generator)
    _box_muller64(out[:whole], mean, std)
    if whole != out.size:
        last = uniform64(16, generator)
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
        u = uniform64(2 * pairs, generator)
        radius = np.sqrt(-2.0 * np.log1p(-u[1::2]))
        angle = (2 * math.pi) * u[::2]
        z[start::2] = radius * np.cos(angle)
        z[start + 1 :: 2] = radius * np.sin(angle)
        generator.next_normal = float(z[n]) if z.size > n else None
    return fma(z[:n], std, mean)


def _few_normals(n: int, mean: float, std: float, generator: Generator) -> list[float]:
    """The same, in Python's arithmetic, which takes less time than NumPy's calls for as few as these."""
    with generator.lock:
        z = [] if generator.next_normal is None else [generator.next_normal]
        bits = generator.bits53(n - len(z) + (n - len(z)) % 2).tolist()
        for first, second in zip(bits[::2], bits[1::2], strict=True):
            radius, angle = math.sqrt(-2.0 * math.log1p(-second * 2.0**-53)), (2 * math.pi) * (first * 2.0**-53)
            z += (radius * math.cos(angle), radius * math.sin(angle))
        generator.next_normal = z.pop() if len(z) > n else None
    if std == 1.0 or mean == 0.0:
        return [x * std + mean for x in z]
    return [fma(x, std, mean) for x in z]


def truncated_normal_(
    out: np.ndarray, mean: float, std: float, low: float, high: float, generator: Generator | None = None
) -> np.ndarray:
    """Normal numbers within [low, high], by rejection: all are drawn anew until those outside have been replaced.

    Where less than 30 % of the law lies within the bounds, the candidates are uniform instead, and accepted with the
    probability that the density has relative to its peak. ZeroDivisionError if ``std`` is 0.
    """
    floating_only("truncated_normal_", out)
    mean, std, low, high = float(mean), float(std), float(low), float(high)
    inside = math.erf((high - mean) / std / math.sqrt(2.0)) - math.erf((low - mean) / std / math.sqrt(2.0))
    if inside / 2 > 0.3:
        first, last = out.dtype.type(low), out.dtype.type(high)
        normal_(out, mean, std, generator)
        while (outside := (out < first) | (out > last)).any():
            _redraw(out, outside, mean, std, generator)
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


def _redraw(
    out: np.ndarray, chosen: np.ndarray, mean: float, std: float, generator: Generator | None
) -> None:
    """Draw as many normal numbers as ``out`` has, and put them where ``chosen`` is true."""
    if out.dtype != np.float32 or out.size < 16 or not out.flags.c_contiguous:
        np.copyto(out, normal_(np.empty_like(out), mean, std, generator), where=chosen)
        return
    # Each block takes its words, but only those with a chosen place are worth computing.
    whole = out.size // 16 * 16
    out, chosen = out.reshape(-1), chosen.reshape(-1)
    u = np.empty(out.size if whole == out.size else out.size + 16, np.float32)
    uniform_into(u, 0.0, 1.0, resolve(generator))
    if whole != out.size:
        _blocks_into(out[-16:], chosen[-16:], u[-16:], mean, std)
        chosen[-16:] = False
    _blocks_into(out[:whole], chosen[:whole], u[:whole], mean, std)


def _blocks_into(out: np.ndarray, chosen: np.ndarray, u: np.ndarray, mean: float, std: float) -> None:
    out, chosen, u = (a.reshape(-1, 16) for a in (out, chosen, u))
    wanted = np.flatnonzero(chosen.any(1))
    z = u[wanted]
    box_muller(z.reshape(-1), mean, std)
    out[wanted] = np.where(chosen[wanted], z, out[wanted])


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
    floating_only("log_normal_", out)
    with np.errstate(over="ignore"):
        return fill_in_order(
            out, lambda v: store(v, np.exp(_normals_one_by_one(v.size, mean, std, generator)))
        )
