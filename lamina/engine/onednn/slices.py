"""Reductions and sorting of large arrays: the slices of an outer axis that stays are shared among threads.

Each thread runs the definition, and what its slices gave is put together. NumPy's scans hold the interpreter, and gain nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.door import fast
from lamina.engine.reference import reduction, sorting

from . import threads

ndarray = np.ndarray
LIGHT, HEAVY = 1 << 18, 1 << 16  # elements from which two threads are quicker, of what reads them, or takes nanoseconds each
PARTS = 16


def _outer(x: ndarray, inside: Any) -> int | None:
    """The outermost axis with more than one element, if it is none of those that a call goes along."""
    for axis, n in enumerate(x.shape):
        if n > 1:
            return axis if n >= workers.ENOUGH and axis not in inside else None
    return None


def _sliced(call: Callable[[ndarray], Any], x: ndarray, axis: int, place: int) -> Any:
    """``call`` of slices of x along an axis; their results are joined along the axis ``place``."""
    n = x.shape[axis]
    step = -(-n // PARTS)
    before = (slice(None),) * axis
    starts = range(0, n, step)
    results: list[Any] = [None] * len(starts)

    def part(i: int) -> None:
        results[i] = call(x[(*before, slice(starts[i], starts[i] + step))])

    workers.share(part, range(len(starts)))
    if isinstance(results[0], tuple):
        return tuple(np.concatenate(parts, axis=place) for parts in zip(*results, strict=True))
    return np.concatenate(results, axis=place)


def _reduction(definition: Callable[..., Any], least: int) -> Any:
    """The fast form of ``definition(x, axes, keepdims, ...)``."""

    @fast(least)
    def kernel(x: Any, axes: Any, keepdims: bool, *settings: Any) -> Any:
        if type(x) is not ndarray or axes is None or not x.flags.c_contiguous or threads.get_num_threads() == 1:
            return NotImplemented
        axes_ = axes if isinstance(axes, tuple) else (axes,)
        inside = [a % x.ndim for a in axes_]
        axis = _outer(x, inside)
        if axis is None:
            return NotImplemented
        place = axis if keepdims else axis - len([a for a in inside if a < axis])
        return _sliced(lambda part: definition(part, axes, keepdims, *settings), x, axis, place)

    return kernel


def _along(definition: Callable[..., Any], least: int, where: int = 0) -> Any:
    """The fast form of ``definition(x, axis, ...)``, whose results keep all axes; ``where`` the axis is among the arguments."""

    @fast(least)
    def kernel(x: Any, *settings: Any) -> Any:
        if type(x) is not ndarray or not x.flags.c_contiguous or threads.get_num_threads() == 1:
            return NotImplemented
        axis = _outer(x, (settings[where] % x.ndim,)) if x.ndim else None
        return NotImplemented if axis is None else _sliced(lambda part: definition(part, *settings), x, axis, axis)

    return kernel


amax, amin, any, all = (  # noqa: A001
    _reduction(f, LIGHT) for f in (reduction.amax, reduction.amin, reduction.any, reduction.all)
)
argmax, argmin, prod = (_reduction(f, LIGHT) for f in (reduction.argmax, reduction.argmin, reduction.prod))

logsumexp, var_mean = _reduction(reduction.logsumexp, HEAVY), _reduction(reduction.var_mean, HEAVY)
sort, argsort = _along(sorting.sort, HEAVY), _along(sorting.argsort, HEAVY)
kth_index, median_index = _along(sorting.kth_index, HEAVY, where=1), _along(sorting.median_index, HEAVY)
