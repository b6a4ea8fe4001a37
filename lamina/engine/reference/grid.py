"""Sampling planes at given places, and the two products that its gradients are.

A *plane* is the spatial dimensions of x (N, C, *spatial) as one. :func:`grid_taps` turns places into taps: K flat indices in a
plane and K weights for every place, (N, K, P). With y = Σ_k w_k · x[i_k], :func:`grid_sample` gives y, :func:`grid_spread` its
gradient to x, and :func:`grid_correlate` its gradient to w. All three are linear in each of their two arrays, so that the
derivatives of one are the other two. An index beyond the plane is of an element that is not there: zero, whatever the weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from lamina.engine.memory import empty

__all__ = ["grid_taps", "grid_taps_backward", "grid_sample", "grid_spread", "grid_correlate"]

ndarray = np.ndarray
Ints = tuple[int, ...]

BEYOND = 8  # there are so many such indices, because additions to one element wait for each other; a power of two
CHUNK = 1 << 13  # elements of small samples that are worked on together

# Per mode: where the first tap lies relative to the one before the place, and per tap the polynomial that gives its weight from
# the place's distance to that one, highest power first. The cubic one is Keys' filter with a slope of a = -3/4.
A = -0.75
TAPS: dict[str, tuple[int, list[list[float]]]] = {
    "nearest": (0, [[1.0]]),
    "bilinear": (0, [[-1.0, 1.0], [1.0, 0.0]]),
    "bicubic": (-1, [[A, -2 * A, A, 0], [A + 2, -A - 3, 0, 1], [-A - 2, 2 * A + 3, -A, 0], [-A, A, 0, 0]]),
}


# -- places --------------------------------------------------------------------------------------------------------


def grid_taps(
    grid: ndarray, spatial: Ints, mode: str, padding: str, corners: bool, order: Ints
) -> tuple[ndarray, ndarray]:
    """The taps of every place of ``grid`` (N, *size, ndim): indices and weights, both (N, K, P).

    ``grid`` gives the last dimension's coordinate first; -1 and 1 are the first and last edges of the plane, or with
    ``corners`` the centres of its first and last elements. ``padding`` says what lies outside: ``"zeros"``, the ``"border"``
    repeated, or a ``"reflection"`` about it. Rather than the weights it gives their derivative of ``order`` (a number per
    dimension) by the coordinates.
    """
    coordinates = _coordinates(grid)
    (n, places, ndim), plane = coordinates.shape, prod(spatial)
    taps = len(TAPS[mode][1]) ** ndim
    index, weight = empty((n, taps, places), np.intp), empty((n, taps, places), _real(grid.dtype))
    nowhere = plane + (np.arange(places) & BEYOND - 1)
    for part in _chunks(n, n * places):  # what fits a cache stays there
        elements: Any = None
        shares: Any = None
        for d, length in enumerate(spatial):
            before, beyond, slope = _place(coordinates[part, :, ndim - 1 - d], length, mode, padding, corners)
            element = _elements(before, length, mode, padding, corners)
            missing = element.view(np.uintp) >= length
            if d < ndim - 1:
                element *= prod(spatial[d + 1 :])
            np.copyto(element, plane + BEYOND, where=missing)
            share = _weights(beyond, slope, mode, order[d])
            last = d == ndim - 1
            elements = _outer(np.add, elements, element, index[part] if last else None) if d else element
            shares = _outer(np.multiply, shares, share, weight[part] if last else None) if d else share
        np.minimum(index[part], nowhere, out=index[part])
    return index, weight


def grid_taps_backward(
    grad: ndarray, grid: ndarray, spatial: Ints, mode: str, padding: str, corners: bool, order: Ints
) -> ndarray:
    """The gradient of :func:`grid_taps` to ``grid``, given that to the weights: Σ_k grad[n, k, p] · dw[n, k, p]/dgrid."""
    coordinates = _coordinates(grid)
    n, places, ndim = coordinates.shape
    found = np.empty(coordinates.shape, grad.dtype)
    for part in _chunks(n, n * places):
        at = [_place(coordinates[part, :, ndim - 1 - d], length, mode, padding, corners)[1:] for d, length in enumerate(spatial)]
        weights = [_weights(*place, mode, k) for place, k in zip(at, order, strict=True)]
        for d in range(ndim):
            total = grad[part]
            for i in range(ndim):  # the taps of one dimension after the other are summed
                share = weights[i] if i != d else _weights(*at[i], mode, order[i] + 1)
                total = total.reshape(len(share), share.shape[1], -1, places)
                total = np.einsum("ntkp,ntp->nkp", total, share)
            found[part, :, ndim - 1 - d] = total[:, 0]
    return found.astype(grid.dtype, copy=False).reshape(grid.shape)


def _coordinates(grid: ndarray) -> ndarray:
    return grid.reshape(len(grid), prod(grid.shape[1:-1]), grid.shape[-1])


def _real(dtype: Any) -> Any:
    """Half precision is widened."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _outer(combine: np.ufunc, a: ndarray, b: ndarray, out: ndarray | None) -> ndarray:
    """All combinations of taps, (N, K, P) and (N, T, P) to (N, K·T, P)."""
    (n, taps, places), more = a.shape, b.shape[1]
    if out is not None:
        out = out.reshape(n, taps, more, places)
    return combine(a[:, :, None], b[:, None], out=out).reshape(n, taps * more, places)


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


def _elements(before: ndarray, length: int, mode: str, padding: str, corners: bool) -> ndarray:
    """The element at every tap, (N, taps, P); negative or too large where there is none."""
    first, polynomials = TAPS[mode]
    np.fmax(before, before.dtype.type(-8), out=before)  # no number at all lies nowhere, whatever integer a processor makes of it
    taps = np.arange(first, first + len(polynomials))[:, None]
    if padding != "zeros" and mode == "bicubic":
        return _inside(before[:, None] + taps.astype(before.dtype), length, padding, corners)[0].astype(np.intp)
    return before.astype(np.intp)[:, None] + taps


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


def grid_sample(x: ndarray, weight: ndarray, index: ndarray, size: Ints) -> ndarray:
    """Σ_k weight[n, k, p] · x[n, c, index[n, k, p]], as (N, C, *size)."""
    (n, c), (_, taps, places) = x.shape[:2], index.shape
    y = empty((n, c, *size), x.dtype)
    result, elements = y.reshape(n, c, places), x.reshape(n, c, prod(x.shape[2:]))
    real, block = _real(x.dtype), _block(c, elements.shape[2], taps, places)
    for part in _chunks(n, result.size):
        packed, at = _pack(elements[part], block, real), index[part]
        total: Any = None
        for k in range(taps):
            tap = _gather(packed, at[:, k])
            tap *= np.repeat(weight[part, k].astype(real, copy=False), block, -1)[:, None]
            total = tap if total is None else np.add(total, tap, out=total)
        _unpack(total, block, result[part])
    return y


def grid_correlate(grad: ndarray, x: ndarray, index: ndarray) -> ndarray:
    """Σ_c grad[n, c, p] · x[n, c, index[n, k, p]], as (N, K, P)."""
    (n, c), (_, taps, places) = x.shape[:2], index.shape
    g, elements = grad.reshape(n, c, places), x.reshape(n, c, prod(x.shape[2:]))
    real, block = _real(x.dtype), _block(c, elements.shape[2], taps, places)
    found = np.empty(index.shape, real)
    for part in _chunks(n, g.size):
        packed, at, given = _pack(elements[part], block, real), index[part], _pack(g[part], block, real)[:, :, :places]
        for k in range(taps):
            tap = _gather(packed, at[:, k])
            np.einsum("ncpb,ncpb->np", tap.reshape(given.shape), given, out=found[part, k])
    return found


def grid_spread(grad: ndarray, weight: ndarray, index: ndarray, spatial: Ints) -> ndarray:
    """Planes of size ``spatial``, zero but for weight[n, k, p] · grad[n, c, p] added at index[n, k, p]."""
    n, c = grad.shape[:2]
    places, plane = index.shape[2], prod(spatial)
    g, w = _widened(grad).reshape(n * c, 1, places), _like(weight, grad)
    planes, sample = np.zeros((n * c, plane + BEYOND), g.dtype), np.arange(n * c) // max(c, 1)
    for part in _chunks(n * c, n * c * index[:1].size):
        of, to = sample[part], planes[part]
        if len(of) == 1:
            at, share = index[of[0]], w[of[0]]
        else:
            at, share = index[of] + (np.arange(len(of)) * to.shape[1])[:, None, None], w[of]
        np.add.at(to.reshape(-1), at.ravel(), (share * g[part]).ravel())
    return planes[:, :plane].astype(grad.dtype, order="C").reshape(n, c, *spatial)


def _chunks(lanes: int, elements: int) -> Iterator[slice]:
    """Parts of ``lanes`` lanes that have so many ``elements`` together that many small lanes are one piece of work."""
    step = max(1, CHUNK * lanes // max(elements, 1))
    return (slice(i, i + step) for i in range(0, lanes, step))


def _block(channels: int, plane: int, taps: int, places: int) -> int:
    """How many channels are moved at a time: more than one where elements are looked at often enough to be packed for it."""
    if (taps - 1) * places <= plane:
        return 1
    return 8 if channels > 4 else 4 if channels > 2 else max(channels, 1)


def _pack(x: ndarray, block: int, real: Any) -> ndarray:
    """x (N, C, plane) as (N, blocks, plane, channels of a block), with elements of zero after each plane."""
    n, c, plane = x.shape
    packed = np.empty((n, -(-c // block), plane + BEYOND, block), real)
    packed[:, :, plane:] = 0
    if c % block:
        packed[:, -1] = 0
    for i in range(block):
        channels = x[:, i::block]
        packed[:, : channels.shape[1], :plane, i] = channels
    return packed


def _gather(packed: ndarray, index: ndarray) -> ndarray:
    """The packed elements at the indices (N, P) of their sample, (N, blocks, P · channels of a block)."""
    n, blocks, plane, block = packed.shape
    whole = packed.view(np.dtype((np.void, block * packed.itemsize)))[..., 0] if block > 1 else packed[..., 0]
    if n == 1:
        taken = whole[0].take(index[0], 1)
    else:
        taken = whole.reshape(-1).take(index[:, None] + (np.arange(n * blocks) * plane).reshape(n, blocks, 1))
    return taken.view(packed.dtype).reshape(n, blocks, index.shape[1] * block)


def _unpack(packed: ndarray, block: int, out: ndarray) -> None:
    """Write elements (N, blocks, P · channels of a block) to (N, C, P)."""
    n, blocks, places = packed.shape
    packed = packed.reshape(n, blocks, places // block, block)
    for i in range(block):
        channels = out[:, i::block]
        channels[...] = packed[:, : channels.shape[1], :, i]


def _widened(x: ndarray) -> ndarray:
    """Half precision is summed in single precision and rounded once."""
    return x.astype(_real(x.dtype), copy=False)


def _like(weight: ndarray, x: ndarray) -> ndarray:
    return weight.astype(_real(x.dtype), copy=False)
