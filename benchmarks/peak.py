"""What the machine can do at most: float32 GFLOP/s, and GB/s from each level of memory, with a run's number of threads.

Arithmetic is a large matrix product, by NumPy's BLAS and by the library whose process this is (PyTorch's MKL, lamina's
oneDNN). Memory is a copy and an addition ``c = a + b`` (two arrays in, one out, as much as a triad moves). Within a cache, one
call of NumPy goes over the same arrays many times, so that what a call costs does not count. The highest rate of all that
were tried counts as the peak.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

Peak = dict[str, Any]
SIZES = (1024, 2048)  # of the matrices
SWEEP = 2e7  # numbers that one measurement goes over


def best(call: Callable[[], Any], least: int = 5, seconds: float = 0.25) -> float:
    """The shortest time of a call, of at least so many calls and so long a time."""
    call()
    shortest, begun, calls = float("inf"), time.perf_counter(), 0
    while calls < least or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
        calls += 1
    return shortest


def caches() -> dict[str, int]:
    """The sizes of the second level of one core and of the third level of all, in bytes."""
    found = {"L2": 512 << 10, "L3": 8 << 20}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        level, size = (index / name for name in ("level", "size"))
        if size.exists() and (digits := re.match(r"(\d+)K", size.read_text())):
            found[f"L{level.read_text().strip()}"] = int(digits[1]) << 10
    return {level: found[level] for level in ("L2", "L3")}


def flops(torch: ModuleType) -> dict[str, float]:
    """Operations per second of large matrix products, by what computes them."""
    rates: dict[str, float] = {}
    for n in SIZES:
        a, b = (np.random.default_rng(seed).random((n, n), dtype="float32") for seed in (0, 1))
        out = np.empty_like(a)
        x, y = torch.from_numpy(a), torch.from_numpy(b)
        for name, call in (("NumPy", lambda: np.matmul(a, b, out=out)), (torch.__name__, lambda: x @ y)):  # noqa: B023
            rates[name] = max(rates.get(name, 0.0), 2 * n**3 / best(call))
    return rates


def together(calls: list[Callable[[], Any]]) -> None:
    """Every call in a thread of its own; NumPy lets go of the interpreter while it computes."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def bandwidth(size: int, threads: int) -> float:
    """Bytes per second of NumPy's ``a + b`` and ``2 a`` over ``size`` bytes that are gone over again and again."""
    rates = []
    for arrays in (2, 3):
        count = size // (4 * arrays * threads)
        rounds = max(1, int(SWEEP / (count * threads)))
        calls: list[Callable[[], Any]] = []
        for _ in range(threads):
            parts = [as_strided(np.ones(count, "float32"), (rounds, count), (0, 4)) for _ in range(arrays)]
            operation = np.add if arrays == 3 else np.multiply
            operands = parts[:2] if arrays == 3 else [parts[0], np.float32(2)]
            calls.append(lambda f=operation, inputs=operands, out=parts[-1]: f(*inputs, out=out))
        seconds = best(lambda: together(calls))  # noqa: B023
        rates.append(4 * arrays * count * threads * rounds / seconds)
    return max(rates)


def beyond(torch: ModuleType, size: int, threads: int) -> float:
    """Bytes per second of large arrays: NumPy in threads, and the library itself."""
    count = size // 12
    a, b, c = (np.ones(count, "float32") for _ in range(3))
    x, y, z = (torch.from_numpy(part) for part in (a, b, c))
    parts = list(zip(*(np.array_split(whole, threads) for whole in (a, c)), strict=True))
    copies: list[Callable[[], Any]] = [lambda p=pair: np.copyto(p[1], p[0]) for pair in parts]
    moved = ((8, lambda: together(copies)), (8, lambda: z.copy_(x)), (12, lambda: torch.add(x, y, out=z)))
    return max(bandwidth(size, threads), *(bytes_each * count / best(call, 3) for bytes_each, call in moved))


def measure(torch: ModuleType, threads: int) -> Peak:
    """``{"flops": {by what: per second}, "levels": [{"name", "bytes", "rate"}, ...]}``, the nearest memory first."""
    size = caches()
    nearest, shared = size["L2"] * threads, size["L3"]
    levels = [
        {"name": "L2", "bytes": nearest, "rate": bandwidth(nearest // 2, threads)},
        {"name": "L3", "bytes": shared, "rate": bandwidth(shared // 4, threads)},
        {"name": "memory", "bytes": None, "rate": beyond(torch, max(4 * shared, 64 << 20), threads)},
    ]
    return {"flops": flops(torch), "levels": levels}


def highest(one: Peak, other: Peak) -> Peak:
    """What either of two processes reached."""
    levels = [a | {"rate": max(a["rate"], b["rate"])} for a, b in zip(one["levels"], other["levels"], strict=True)]
    flops = {name: max(one["flops"].get(name, 0), other["flops"].get(name, 0)) for name in one["flops"] | other["flops"]}
    return {"flops": flops, "levels": levels}


def fraction(peak: Peak, row: dict[str, Any], seconds: float) -> tuple[float, str] | None:
    """The share of the peak that a row reaches in so many seconds, and of what: arithmetic, or the memory that holds its data."""
    shares = []
    if row.get("flop"):
        shares.append((row["flop"] / seconds / max(peak["flops"].values()), "arithmetic"))
    if row.get("bytes"):
        level = next(level for level in peak["levels"] if level["bytes"] is None or row["bytes"] <= level["bytes"])
        shares.append((row["bytes"] / seconds / level["rate"], level["name"]))
    return max(shares) if shares else None


def describe(peak: Peak) -> str:
    """Both peaks in words."""
    flops = ", ".join(f"{rate / 1e9:.0f} by {name}" for name, rate in sorted(peak["flops"].items(), key=lambda item: -item[1]))
    levels = ", ".join(f"{level['rate'] / 1e9:.0f} GB/s {level['name']}" for level in peak["levels"])
    return f"{max(peak['flops'].values()) / 1e9:.0f} GFLOP/s in float32 ({flops}); {levels}"
