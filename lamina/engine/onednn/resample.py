"""Resampling on oneDNN, channels-last: whole multiples of the nearest element, and linear without aligned corners.

Plain arrays take pooling's way: every plane is resampled alike, so sixteen planes at a time are as good as sixteen channels.
oneDNN weighs elements beyond an edge with zero, which would make NaN of an infinity: then the reference kernel serves. It has
no other filter, and nothing fast for gradients; but that of the nearest element in whole multiples is a sum of blocks. The
rest is done as the definition does it: filters by oneDNN's products with parts of their matrices, what only picks elements by
planes on all threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.blas import one_thread
from lamina.engine.door import fast
from lamina.engine.memory import empty
from lamina.engine.reference import resample as reference
from lamina.engine.reference.resample import Axis, table

from . import abi, pooling
from .core import F32, Plan, channels_last_desc, desc, plain_desc, plan, plans, primitive, reorder_plan
from .pooling import Ints, _Way, _way

ndarray = np.ndarray
CHANNELS = 8  # fewer channels than this are slow
SHARED = 1 << 20  # elements from which two threads are quicker at picking elements
PART, LARGE = 1 << 18, 1 << 20  # elements that a thread picks at a time; that go into a product
TOLERANCE = 4e-6  # how far a position may be from where PyTorch has it


class _Resampling:
    """A resampling with the ways into and out of its layout."""

    __slots__ = ("way", "plan", "shape", "out", "weighted")

    def __init__(self, way: _Way, plan: Any, size: Ints, weighted: bool) -> None:
        self.way, self.plan, self.weighted = way, plan, weighted
        self.shape = (*way.shape[:2], *size)
        self.out = reorder_plan(channels_last_desc(self.shape), plain_desc(self.shape)) if way.plain else None


@plans
def _resampling(shape: Ints, strides: Ints, axes: tuple[Axis, ...]) -> _Resampling | None:
    weighted = not all(_repeats(axis) for axis in axes)
    if weighted and not all(_is_linear(axis) for axis in axes):
        return None
    way, size = _way(shape, strides), tuple(axis[1] for axis in axes)
    if way.shape[1] < CHANNELS or way.plain and len(axes) == 1 and not weighted:
        return None  # NumPy is faster at repeating what lies side by side
    factors = (ctypes.c_float * len(size))(*(n / length for length, n, *_ in axes))
    made = plan(
        primitive(
            "resampling_forward", abi.FORWARD_INFERENCE, abi.RESAMPLING_LINEAR if weighted else abi.RESAMPLING_NEAREST, factors,
            channels_last_desc(way.shape), channels_last_desc((*way.shape[:2], *size)),
        ),
        abi.SRC, abi.DST,
    )  # fmt: skip
    return _Resampling(way, made, size, weighted) if made else None


def _repeats(axis: Axis) -> bool:
    """Whether every element is repeated as many times as every other, in order."""
    return axis[2].startswith("nearest") and table(axis).times > 0


def _is_linear(axis: Axis) -> bool:
    """Whether oneDNN has the elements and weights of a linear axis where PyTorch has them, but for rounding."""
    length, size, kind, corners, scale, _ = axis
    if kind != "linear" or corners:
        return False
    j = np.arange(size, dtype=np.float32) + np.float32(0.5)
    theirs = j * np.float32(length) / np.float32(size) - np.float32(0.5)
    step = np.float32(1 / scale) if scale else np.float32(length) / np.float32(size)
    ours = (np.float64(step) * j - 0.5).astype(np.float32)
    return length == size or bool(np.abs(ours - theirs).max() <= TOLERANCE)


@plans
def _product(a: tuple[Ints, Ints], b: tuple[Ints, Ints], y: tuple[Ints, Ints]) -> Plan | None:
    """The product of arrays of these shapes and strides."""
    given = [desc(*of) for of in (a, b, y)]
    if any(d is None for d in given):
        return None
    return plan(primitive("matmul", *given[:2], None, given[2]), abi.SRC, abi.WEIGHTS, abi.DST)


def _multiply(x: ndarray, axis: int, size: int, products: reference.Bands, out: ndarray | None) -> ndarray:
    if out is None:
        out = empty((*x.shape[:axis], size, *x.shape[axis + 1 :]), F32)
    for a, b, y in reference.matrices(x, axis, size, products, out):
        # oneDNN refuses some strided products of a single row when it comes to them
        single = 1 in a.shape[-2:] or 1 in b.shape[-2:]
        found = None if single else _product[(a.shape, a.strides), (b.shape, b.strides), (y.shape, y.strides)]
        if found is None:
            with one_thread():
                np.matmul(a, b, out=y)
        else:
            found.run(a, b, y)
    return out


def _large(work: Callable[[slice], None], lanes: int, elements: int) -> None:
    for part in reference.chunks(lanes, elements, LARGE):
        work(part)


def _shared(work: Callable[[slice], None], lanes: int, elements: int) -> None:
    workers.share(work, reference.chunks(lanes, elements, PART), each=4)


def _by_definition(definition: Callable[..., ndarray], x: ndarray, axes: tuple[Axis, ...]) -> Any:
    """A definition, with oneDNN's products or on all threads."""
    if x.dtype == F32 and x.size and not all(axis[2].startswith("nearest") for axis in axes):
        return definition(x, axes, _large, _multiply)
    return definition(x, axes, _shared) if x.size >= SHARED else NotImplemented


@fast(min_size=1000)
def resample(x: ndarray, axes: tuple[Axis, ...]) -> ndarray:
    y = _by_primitive(x, axes)
    return _by_definition(reference.resample, x, axes) if y is NotImplemented else y


def _by_primitive(x: ndarray, axes: tuple[Axis, ...]) -> Any:
    if x.dtype != F32 or not x.size:
        return NotImplemented
    found = _resampling[x.shape, x.strides, axes]
    if found is None or found.weighted and not np.isfinite(np.add.reduce(x, axis=None)):
        return NotImplemented
    y = empty(found.shape, F32, channels_last=True)
    found.plan.run(found.way(x), y)
    if found.out is None:
        return y
    plain = empty((*x.shape[:2], *(axis[1] for axis in axes)))
    found.out.run(y, plain)
    return plain


@fast(min_size=1000)
def resample_backward(grad: ndarray, axes: tuple[Axis, ...]) -> ndarray:
    if grad.dtype != F32 or not grad.size or not all(_repeats(axis) for axis in axes):
        return _by_definition(reference.resample_backward, grad, axes)
    block = tuple(size // length for length, size, *_ in axes)
    size = tuple(axis[0] for axis in axes)
    return pooling.avg_pool(grad, block, block, (0,) * len(block), size, True, 1)
