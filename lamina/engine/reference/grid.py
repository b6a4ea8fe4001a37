"""Sampling planes at given places, and the two products that its gradients are.

A *plane* is the spatial dimensions of x (N, C, *spatial) as one. :func:`grid_taps` turns places into taps: flat indices in a
plane, and K weights for every place, (N, K, P). With y = Σ_k w_k · x[i_k], :func:`grid_sample` gives y, :func:`grid_spread` its
gradient to x, and :func:`grid_correlate` its gradient to w. All three are linear in each of their two arrays, so that the
derivatives of one are the other two. The weight of a single tap is 1, wherever it is.

Planes are looked at with a margin of zeros, as wide as the taps reach (:class:`_Plane`): what is not there is zero, whatever the
weight. So the taps of a place lie at the same distances of each other everywhere, and its first one tells where all are: indices
are (N, 1, P). Only where taps outside stand for elements inside, in bicubic sampling, there is one for each, (N, K, P).

``share(work, n, things, elements)`` calls ``work`` with every part of the arrays, and may do so on several threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lamina.engine.blas import one_thread
from lamina.engine.memory import empty

__all__ = ["grid_taps", "grid_taps_backward", "grid_sample", "grid_spread", "grid_correlate"]

ndarray = np.ndarray
Ints = tuple[int, ...]
Part = tuple[slice, slice]  # samples, and what they consist of: places or channels
Share = Callable[[Callable[[Part], None], int, int, int], None]

CHUNK = 1 << 16  # elements that are worked on together: what fits a cache stays there
EXACT = 1 << 24  # integers that single precision has exactly

# Per mode: where the first tap lies relative to the one before the place, and per tap the polynomial that gives its weight from
# the place's distance to that one, highest power first. The cubic one is Keys' filter with a slope of a = -3/4.
A = -0.75
TAPS: dict[str, tuple[int, list[list[float]]]] = {
    "nearest": (0, [[1.0]]),
    "bilinear": (0, [[-1.0, 1.0], [1.0, 0.0]]),
    "bicubic": (-1, [[A, -2 * A, A, 0], [A + 2, -A - 3, 0, 1], [-A - 2, 2 * A + 3, -A, 0], [-A, A, 0, 0]]),
}


def parts(n: int, things: int, elements: int, chunk: int) -> list[Part]:
    """All of n samples and their things, that have so many elements together, in parts that have about ``chunk`` of them."""
    step = max(chunk * n * things // max(elements, 1), 1)
    some, many = min(step, max(things, 1)), max(step // max(things, 1), 1)
    return [(slice(i, i + many), slice(j, j + some)) for i in range(0, n, many) for j in range(0, things, some)]


def _each(work: Callable[[Part], None], n: int, things: int, elements: int) -> None:
    for part in parts(n, things, elements, CHUNK):
        work(part)


class _Plane(NamedTuple):
    """How a plane lies with its margin. The one between two rows, or planes, serves both."""

    steps: Ints  # from an element to the next of each dimension
    first: int  # where the first element is
    size: int
    offsets: tuple[int, ...]  # of the taps of a place


@lru_cache(256)
def _plane(spatial: Ints, taps: int) -> _Plane:
    """The plane of sampling with so many taps in all."""
    reach = round(taps ** (1 / len(spatial)))
    steps = tuple(prod(n + reach for n in spatial[d + 1 :]) for d in range(len(spatial)))
    first = reach * sum(steps)
    last = first + sum((n + reach - 1) * step for n, step in zip(spatial, steps, strict=True))
    offsets = np.zeros(1, np.int64)
    for step in steps:
        offsets = np.add.outer(offsets, np.arange(reach) * step).ravel()
    return _Plane(steps, first, last + 1, tuple(offsets.tolist()))


# -- places --------------------------------------------------------------------------------------------------------


def grid_taps(
    grid: ndarray, spatial: Ints, mode: str, padding: str, corners: bool, order: Ints, share: Share = _each
) -> tuple[ndarray, ndarray]:
    """The taps of every place of ``grid`` (N, *size, ndim): indices (N, 1 or K, P) and weights (N, K, P).

    ``grid`` gives the last dimension's coordinate first; -1 and 1 are the first and last edges of the plane, or with
    ``corners`` the centres of its first and last elements. ``padding`` says what lies outside: ``"zeros"``, the ``"border"``
    repeated, or a ``"reflection"`` about it. Rather than the weights it gives their derivative of ``order`` (a number per
    dimension) by the coordinates.
    """
    coordinates = _coordinates(grid)
    n, places, ndim = coordinates.shape
    first, polynomials = TAPS[mode]
    taps, inside = len(polynomials) ** ndim, mode == "bicubic" and padding != "zeros"
    plane = _plane(spatial, taps)
    index, weight = empty((n, taps if inside else 1, places), np.intp), empty((n, taps, places), _real(grid.dtype))

    def part(of: Part) -> None:
        flat: Any = None
        shares: Any = None
        for d, (length, step) in enumerate(zip(spatial, plane.steps, strict=True)):
            before, beyond, slope = _place(coordinates[of][..., ndim - 1 - d], length, mode, padding, corners)
            weights = _weights(beyond, slope, mode, order[d])
            if inside:
                at = np.fmax(before, -8)[:, None] + np.arange(first, first + len(polynomials), dtype=before.dtype)[:, None]
                at = _inside(at, length, padding, corners)[0]
            else:  # farther out than the margin there are no others; no number at all is nowhere
                at = np.fmin(np.fmax(before, -len(polynomials) - first), length - first)[:, None]
                at += first
            at = at.astype(at.dtype if plane.size < EXACT else np.float64, copy=False)
            at *= step
            flat = at if flat is None else _outer(np.add, flat, at)
            shares = weights if shares is None else _outer(np.multiply, shares, weights)
        np.add(flat, plane.first, out=index[of[0], :, of[1]], casting="unsafe")
        weight[of[0], :, of[1]] = shares

    share(part, n, places, weight.size)
    return index, weight


def grid_taps_backward(
    grad: ndarray, grid: ndarray, spatial: Ints, mode: str, padding: str, corners: bool, order: Ints, share: Share = _each
) -> ndarray:
    """The gradient of :func:`grid_taps` to ``grid``, given that to the weights: Σ_k grad[n, k, p] · dw[n, k, p]/dgrid."""
    coordinates = _coordinates(grid)
    n, places, ndim = coordinates.shape
    found = np.empty(coordinates.shape, grad.dtype)

    def part(of: Part) -> None:
        lines = [coordinates[of][..., ndim - 1 - d] for d in range(ndim)]
        at = [_place(line, length, mode, padding, corners)[1:] for line, length in zip(lines, spatial, strict=True)]
        weights = [_weights(*place, mode, k) for place, k in zip(at, order, strict=True)]
        given = grad[of[0], :, of[1]]
        for d in range(ndim):
            total = given
            for i in range(ndim):  # the taps of one dimension after the other are summed
                shares = weights[i] if i != d else _weights(*at[i], mode, order[i] + 1)
                total = total.reshape(len(shares), shares.shape[1], -1, shares.shape[2])
                total = np.einsum("ntkp,ntp->nkp", total, shares)
            found[of][..., ndim - 1 - d] = total[:, 0]

    share(part, n, places, grad.size)
    return found.astype(grid.dtype, copy=False).reshape(grid.shape)


def _coordinates(grid: ndarray) -> ndarray:
    return grid.reshape(len(grid), prod(grid.shape[1:-1]), grid.shape[-1])


def _real(dtype: Any) -> Any:
    """Half precision is widened."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _outer(combine: np.ufunc, a: ndarray, b: ndarray) -> ndarray:
    """All combinations of taps, (N, K, P) and (N, T, P) to (N, K·T, P)."""
    return combine(a[:, :, None], b[:, None]).reshape(len(a), a.shape[1] * b.shape[1], a.shape[2])


def _place(coordinate: ndarray, length: int, mode: str, padding: str, corners: bool) -> tuple[ndarray, ndarray, Any]:
    """Along one dimension: the element before the place, how far beyond that it is, and the derivative of this."""
    at = coordinate.astype(_real(coordinate.dtype))
    real = at.dtype.type
    slope: Any = real((length - 1 if corners else length) / 2)
    at += 1
    at *= slope
    if not corners:
        at -= real(0.5)
    if padding != "zeros" and mode != "bicubic":
        at, turned = _inside(at, length, padding, corners)
        slope = slope * turned
    before = np.rint(at) if mode == "nearest" else np.floor(at)
    at -= before
    return before, at, slope


def _weights(beyond: ndarray, slope: Any, mode: str, order: int) -> ndarray:
    """The weight of every tap, (N, taps, P), or its derivative of that order by the coordinate."""
    polynomials = TAPS[mode][1]
    weight = np.zeros((len(beyond), len(polynomials), beyond.shape[1]), beyond.dtype)
    if order >= len(polynomials[0]):
        return weight
    for t, polynomial in enumerate(polynomials):
        _evaluate(_derived(polynomial, order), beyond, weight[:, t])
    if order:
        weight *= (slope**order)[:, None] if isinstance(slope, ndarray) else slope**order
    return weight


def _derived(polynomial: list[float], order: int) -> list[float]:
    for _ in range(order):
        degree = len(polynomial) - 1
        polynomial = [c * (degree - i) for i, c in enumerate(polynomial[:-1])]
    return polynomial


def _evaluate(polynomial: list[float], x: ndarray, out: ndarray) -> None:
    """Horner's rule, with nothing done for factors of 1 and terms of 0."""
    if len(polynomial) == 1:
        out[...] = polynomial[0]
    elif polynomial[0] == 1:
        out[...] = x
    else:
        np.multiply(x, x.dtype.type(polynomial[0]), out=out)
    for i, coefficient in enumerate(polynomial[1:], 1):
        if i > 1:
            out *= x
        if coefficient:
            out += x.dtype.type(coefficient)


def _inside(at: ndarray, length: int, padding: str, corners: bool) -> tuple[ndarray, ndarray]:
    """The places in a plane that stand for places anywhere, and the derivative of that: 1, -1, or 0 where they are clipped."""
    real = at.dtype.type
    turned: Any = real(1)
    if padding == "reflection":
        low, span = (real(0), length - 1) if corners else (real(-0.5), length)
        if span == 0:
            return np.zeros_like(at), np.zeros_like(at)
        away = at - low
        beyond = np.abs(away)
        times, rest = np.floor(beyond / real(span)), np.fmod(beyond, real(span))
        odd = np.fmod(times, real(2)) != 0
        at = np.where(odd, real(span) - rest, rest) + low
        turned = np.where(odd != (away < 0), real(-1), real(1))
    last = real(length - 1)
    # No number at all counts as -1, PyTorch's documentation says.
    return np.fmin(np.fmax(at, real(0)), last), np.where((at > 0) & (at < last), turned, real(0))


# -- elements ------------------------------------------------------------------------------------------------------


def grid_sample(x: ndarray, weight: ndarray, index: ndarray, size: Ints, share: Share = _each) -> ndarray:
    """Σ_k weight[n, k, p] · x[n, c, i_k[n, p]], as (N, C, *size)."""
    (n, c), (_, taps, places) = x.shape[:2], weight.shape
    y, plane = empty((n, c, *size), x.dtype), _plane(x.shape[2:], taps)
    result, real, block = y.reshape(n, c, places), _real(x.dtype), _block(c, plane.size, taps, places)
    packed = _pack(x, block, real, share, plane)

    def nearest(of: Part) -> None:
        for elements, indices, to in zip(packed[of[0], ..., 0], index[of[0], 0, of[1]], result[of[0], :, of[1]], strict=True):
            if to.flags.c_contiguous and to.dtype == real:
                elements.take(indices, 1, to, "clip")  # in other modes it would fill a copy of ``to`` first
            else:
                to[...] = elements.take(indices, 1)

    def part(of: Part) -> None:
        elements, shares = packed[of[0]], weight[of[0], :, of[1]].astype(real, copy=False)
        total: Any = None
        for k, at in _indices(index, of, plane):
            tap = _gather(elements, at)
            tap *= np.repeat(shares[:, k], block, -1)[:, None]
            total = tap if total is None else np.add(total, tap, out=total)
        _copy(total.reshape(*total.shape[:2], shares.shape[2], block), result[of[0], :, of[1]])

    share(part if taps > 1 else nearest, n, places, result.size)
    return y


def grid_correlate(grad: ndarray, x: ndarray, index: ndarray, taps: int, share: Share = _each) -> ndarray:
    """Σ_c grad[n, c, p] · x[n, c, i_k[n, p]], as (N, K, P)."""
    (n, c), places, plane = x.shape[:2], index.shape[2], _plane(x.shape[2:], taps)
    real, block = _real(x.dtype), _block(c, plane.size, taps, places)
    packed, given = _pack(x, block, real, share, plane), _pack(grad.reshape(n, c, places), block, real, share)
    found, ones = np.empty((n, taps, places), real), np.ones(block, real)

    def part(of: Part) -> None:
        elements, g = packed[of[0]], given[of[0], :, of[1]]
        for k, at in _indices(index, of, plane):
            products = _gather(elements, at).reshape(g.shape)
            products *= g
            with one_thread():
                sums = products.reshape(-1, block).dot(ones) if block > 1 else products
            np.add.reduce(sums.reshape(g.shape[:3]), axis=1, out=found[of[0], k, of[1]])

    share(part, n, places, grad.size)
    return found


def grid_spread(grad: ndarray, weight: ndarray, index: ndarray, spatial: Ints, share: Share = _each) -> ndarray:
    """Planes of size ``spatial``, zero but for weight[n, k, p] · grad[n, c, p] added at i_k[n, p]."""
    n, c = grad.shape[:2]
    taps, places = weight.shape[1:]
    plane, real = _plane(spatial, taps), _real(grad.dtype)
    two = min(c, 2)  # channels are added up in pairs, as complex numbers: two of them take little longer than one
    kind = np.result_type(real, np.complex64) if two > 1 else real
    given, gx = _pack(grad.reshape(n, c, places), two, real, share), empty((n, c, *spatial), grad.dtype)

    def part(of: Part) -> None:
        g, shares = given[of], weight[of[0]].astype(real, copy=False)
        planes, starts = np.zeros((*g.shape[:2], plane.size), kind), np.arange(prod(g.shape[:2])) * plane.size
        for k, at in _indices(index, (of[0], slice(None)), plane):
            products = g if taps == 1 else g * np.repeat(shares[:, k], two, -1).reshape(len(g), 1, places, two)
            to = at[:, None] + starts.reshape(*g.shape[:2], 1)
            np.add.at(planes.reshape(-1), to.ravel(), products.view(kind).ravel())
        to = gx[of[0], two * of[1].start : two * of[1].stop]
        if two > 1:
            wide = np.empty((*to.shape[:2], plane.size), real)
            _copy(planes.view(real).reshape(*planes.shape, two), wide)
            planes = wide
        to[...] = _inside_margin(planes, plane, spatial)

    share(part, n, given.shape[1], grad.size)
    return gx


def _indices(index: ndarray, of: Part, plane: _Plane) -> Any:
    """The number of every tap and its indices (N, P) in a part."""
    indices = index[of[0], :, of[1]]
    for k, offset in enumerate(plane.offsets):
        yield k, indices[:, 0] + offset if index.shape[1] == 1 else indices[:, k]


def _block(channels: int, plane: int, taps: int, places: int) -> int:
    """How many channels are moved at a time: more than one where elements are looked at often enough to be packed for it."""
    if (taps - 1) * places <= plane:
        return 1
    return 8 if channels > 4 else 4 if channels > 2 else max(channels, 1)


def _pack(x: ndarray, block: int, real: Any, share: Share, plane: _Plane | None = None) -> ndarray:
    """x (N, C, *spatial) as (N, blocks, elements, channels of a block), in a plane with its margin."""
    n, c, *spatial = x.shape
    blocks, elements = -(-c // max(block, 1)), prod(spatial) if plane is None else plane.size
    packed = empty((n, blocks, elements, block), real)

    def part(of: Part) -> None:
        to, channels = packed[of], x[of[0], block * of[1].start : block * of[1].stop]
        if plane is not None:
            wide = to.reshape(to.shape[:3]) if block == 1 else np.empty((*channels.shape[:2], elements), real)
            wide.fill(0)
            _inside_margin(wide, plane, channels.shape[2:])[...] = channels
            channels = wide
        if plane is None or block > 1:
            if channels.shape[1] < to.shape[1] * block:
                to[:, -1] = 0
            _copy(to, channels.reshape(*channels.shape[:2], elements), back=False)

    share(part, n, blocks, packed.size)
    return packed


def _inside_margin(wide: ndarray, plane: _Plane, spatial: Ints) -> ndarray:
    """The planes (N, C, *spatial) within planes with a margin (N, C, elements)."""
    rows = [above // below for above, below in zip(plane.steps, plane.steps[1:], strict=False)]
    within = wide[:, :, plane.first : plane.first + spatial[0] * plane.steps[0]].reshape(*wide.shape[:2], spatial[0], *rows)
    return within[(slice(None), slice(None), *map(slice, spatial))]


def _copy(packed: ndarray, x: ndarray, back: bool = True) -> None:
    """Copy elements (N, blocks, P, channels of a block) to (N, C, P), or the other way."""
    for i in range(packed.shape[3]):
        channels = x[:, i::packed.shape[3]]
        lanes = packed[:, : channels.shape[1], :, i]
        if back:
            channels[...] = lanes
        else:
            lanes[...] = channels


def _gather(packed: ndarray, index: ndarray) -> ndarray:
    """The packed elements at the indices (N, P) of their sample, (N, blocks, P · channels of a block)."""
    n, blocks, elements, block = packed.shape
    whole = packed.view(np.dtype((np.void, block * packed.itemsize)))[..., 0] if block > 1 else packed[..., 0]
    if n == 1:
        taken = whole[0].take(index[0], 1)
    else:
        taken = whole.reshape(-1).take(index[:, None] + (np.arange(n * blocks) * elements).reshape(n, blocks, 1))
    return taken.view(packed.dtype).reshape(n, blocks, index.shape[1] * block)
