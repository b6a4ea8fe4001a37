"""Products of matrices, float32.

oneDNN's and NumPy's (OpenBLAS's) products are equally fast from 64x64x64 on and NumPy's cheaper to call below, so
the reason to be here is another: OpenBLAS's threads and oneDNN's must not alternate (see engine/blas.py), and a bias
comes for free. A matrix is used as it lies, plain or transposed, but for what was measured to be slow: rows that begin a
multiple of 1 or 2 KB apart fall on few cache lines (GF/s on one core, 128x512 by 512xn: n = 500 92, 512 64, 1024 31,
2048 24). Such a right factor is copied to rows 64 bytes longer (96 for each n), and so is a transposed left one
(512 wide: 34 to 93). Where few rows come upon such a right factor the copy does not pay, and NumPy computes.
"""
from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lamina.engine import door
from lamina.engine.door import fast
from lamina.engine.memory import empty

from . import abi
from .core import (
    F32,
    Desc,
    Plan,
    any_desc,
    blocked,
    c_strides,
    desc,
    intern,
    plain_desc,
    plan,
    plans,
    primitive,
)

SMALL = 1 << 17         # multiplications below which NumPy's shorter call wins
AWKWARD = 1024          # bytes between rows: multiples of this are slow, of twice this very
GAP = 16                # elements by which rows are made longer
FLAT = 48               # rows up to which a product is flat
FEW_ROWS, MANY_ROWS = 96, 600   # between them inner products run best on multiples of 4 rows (197 of 192 by 768: 72 GMAC/s;
LARGE = 5_000_000               # 200: 94). From this work on, 1 to 3 rows that nobody looks at are computed as well
NDIM = 6

Ints = tuple[int, ...]


class _Product(NamedTuple):
    """A plan, and how each factor must be copied before it runs, if at all."""

    plan: Plan
    copy_a: Callable[[np.ndarray], np.ndarray] | None
    copy_b: Callable[[np.ndarray], np.ndarray] | None
    shape: Ints


@plans
def _products(shape_a: Ints, strides_a: Ints, shape_b: Ints, strides_b: Ints, biased: bool) -> _Product | None:
    """a·b + bias for a (*, m, k) and b (*, k, n) that lie so."""
    (m, k), n = shape_a[-2:], shape_b[-1]
    if shape_b[-2] != k:
        return None                 # the reference has the words for it
    width = max(len(shape_a), len(shape_b))
    if width > NDIM:
        return None
    strides_a, copy_a = _prepared(shape_a, strides_a)
    strides_b, copy_b = _prepared(shape_b, strides_b)
    if m > 1 and n > FLAT and strides_a[-1] != 4 and strides_a[-1] % (2 * AWKWARD) == 0:
        strides_a, copy_a = _spread(shape_a[:-2] + (k, m)), _spread_transposed
        strides_a = strides_a[:-2] + (strides_a[-1], strides_a[-2])
    if n > 1 and k > 1 and strides_b[-1] == 4 and strides_b[-2] % AWKWARD == 0:
        if m > FLAT:
            strides_b, copy_b = _spread(shape_b), _spread_plain
        elif m > 1 and strides_b[-2] % (2 * AWKWARD) == 0 and k * n >= SMALL:
            return None
    shape_a, strides_a = _widened(shape_a, strides_a, width)
    shape_b, strides_b = _widened(shape_b, strides_b, width)
    shape = (*(q if p == 1 else p for p, q in zip(shape_a[:-2], shape_b[:-2], strict=True)), m, n)
    row = (1,) * (width - 1) + (n,)
    a, b, y = desc(shape_a, strides_a), desc(shape_b, strides_b), desc(shape, _plain(shape))
    if a is None or b is None or y is None:
        return None
    pd = primitive("matmul", a, b, desc(row, _plain(row)) if biased else None, y)
    p = plan(pd, abi.SRC, abi.WEIGHTS, *((abi.BIAS,) if biased else ()), abi.DST)
    return None if p is None else _Product(p, copy_a, copy_b, shape)


def _prepared(shape: Ints, strides: Ints) -> tuple[Ints, Callable[[np.ndarray], np.ndarray] | None]:
    """The strides to use: as they are if the matrices lie plain or transposed with positive steps, else a copy's."""
    rows, columns = shape[-2:]
    down, across = strides[-2:]
    plain = (across == 4 or columns == 1) and (rows == 1 or down >= 4 * columns)
    transposed = (down == 4 or rows == 1) and (columns == 1 or across >= 4 * rows)
    if (plain or transposed) and all(n == 1 or s > 0 and s % 4 == 0 for n, s in zip(shape, strides, strict=True)):
        return strides, None
    return _plain(shape), np.ascontiguousarray


def _spread(shape: Ints) -> Ints:
    """The strides of a plain array whose rows have a gap after them."""
    return _plain((*shape[:-1], shape[-1] + GAP))[:-1] + (4,)


def _spread_plain(a: np.ndarray) -> np.ndarray:
    copy = empty((*a.shape[:-1], a.shape[-1] + GAP))[..., :a.shape[-1]]
    copy[...] = a
    return copy


def _spread_transposed(a: np.ndarray) -> np.ndarray:
    return _spread_plain(a.swapaxes(-1, -2)).swapaxes(-1, -2)


def _plain(shape: Ints) -> Ints:
    return tuple(4 * s for s in c_strides(shape))


def _widened(shape: Ints, strides: Ints, width: int) -> tuple[Ints, Ints]:
    missing = width - len(shape)
    return (1,) * missing + shape, (4,) * missing + strides


def _multiply(a: np.ndarray, b: np.ndarray, bias: np.ndarray | None) -> Any:
    """a·b + bias, or NotImplemented."""
    found = _products[a.shape, a.strides, b.shape, b.strides, bias is not None]
    if found is None:
        return NotImplemented
    p, copy_a, copy_b, shape = found
    if copy_a is not None:
        a = copy_a(a)
    if copy_b is not None:
        b = copy_b(b)
    y = empty(shape)
    if bias is None:
        p.run(a, b, y)
    else:
        p.run(a, b, bias, y)
    return y


@fast(min_size=256)
def matmul(a: np.ndarray, b: np.ndarray) -> Any:
    """The matrix products a·b over the last two axes, the axes before them broadcast."""
    if a.size * b.shape[-1] < SMALL and door._engine != "onednn" or a.dtype != F32 or b.dtype != F32 or not a.size:
        return NotImplemented
    if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:     # one large product instead of many small ones
        y = _multiply(a.reshape(-1, a.shape[-1]), b, None)
        return y if y is NotImplemented else y.reshape(*a.shape[:-1], b.shape[-1])
    return _multiply(a, b, None)


@plans
def _inner(rows: int, shape: Ints, strides: Ints, biased: bool) -> tuple[Callable[..., None], Desc] | None:
    """An inner product, whose weight is in the form that it asks for: two to four times as fast on a few rows."""
    (outputs, inputs), bias = shape, plain_desc((shape[0],)) if biased else None
    if desc(shape, strides) is None:
        return None
    pd = primitive(
        "inner_product_forward", abi.FORWARD_INFERENCE, plain_desc((rows, inputs)), any_desc(shape), bias,
        plain_desc((rows, outputs)),
    )  # fmt: skip
    p = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST, *((abi.BIAS,) if biased else ()))
    return None if p is None else (p.run, intern(p.desc(abi.WEIGHTS)))


_seen: dict[int, tuple[Any, Any]] = {}


def _unchanged(weight: np.ndarray, version: Any) -> bool:
    """Whether this weight came in this version before: only then is a form of its own worth making."""
    key = id(weight)
    found = _seen.get(key)
    if found is not None and found[1] == version and found[0]() is weight:
        return True
    _seen[key] = (weakref.ref(weight, lambda _: _seen.pop(key, None)), version)
    return False


@fast(min_size=64)
def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, version: Any = None) -> Any:
    """x·weightᵀ + bias for x (*, in), weight (out, in) and bias (out)."""
    if x.size * len(weight) < SMALL and door._engine != "onednn" or x.dtype != F32 or weight.dtype != F32 or not x.size:
        return NotImplemented
    if bias is not None:
        if bias.dtype != F32:
            return NotImplemented
        bias = np.ascontiguousarray(bias)
    if version is not None and weight.ndim == 2 and x.size > weight.shape[1] and _unchanged(weight, version):
        rows = x.size // weight.shape[1]
        odd = FEW_ROWS < rows < MANY_ROWS and rows % 4 and x.size * len(weight) > LARGE
        more = rows + 4 - rows % 4 if odd else rows
        inner = _inner[more, weight.shape, weight.strides, bias is not None]
        if inner is not None:
            run, wanted = inner
            if more == rows:
                x, y = np.ascontiguousarray(x), empty((*x.shape[:-1], len(weight)))
            else:
                room, y = empty((more, x.shape[-1])), empty((more, len(weight)))
                room[:rows] = x.reshape(rows, -1)
                shape, x = (*x.shape[:-1], len(weight)), room
            run(x, blocked(weight, wanted, version), y, *(() if bias is None else (bias,)))
            return y if more == rows else y[:rows].reshape(shape)
    if x.ndim == 2:
        return _multiply(x, weight.T, bias)
    y = _multiply(x.reshape(-1, x.shape[-1]), weight.T, bias)
    return y if y is NotImplemented else y.reshape(*x.shape[:-1], len(weight))
