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

BEYOND = 8  # there are so many such indices, because additions to one element wait for each other
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
    nowhere = plane + np.arange(places) % BEYOND
    for part in _chunks(n, n * places):  # what fits a cache stays there
        found: Any = None
        for d, length in enumerate(spatial):
            before, beyond, slope = _place(coordinates[part, :, ndim - 1 - d], length, mode, padding, corners)
            element = _elements(before, length, mode, padding, corners)
            missing = element.view(np.uintp) >= length
            element *= prod(spatial[d + 1 :])
            np.copyto(element, plane + BEYOND, where=missing)
            share = _weights(beyond, slope, mode, order[d])
            found = (element, share) if d == 0 else (_outer(np.add, found[0], element), _outer(np.multiply, found[1], share))
        np.minimum(found[0], nowhere, out=index[part])
        weight[part] = found[1]
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


def _outer(combine: np.ufunc, a: ndarray, b: ndarray) -> ndarray:
    """All combinations of taps, (N, K, P) and (N, T, P) to (N, K·T, P)."""
    n, taps, places = a.shape
    return combine(a[:, :, None], b[:, None]).reshape(n, taps * b.shape[1], places)


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
    taps = before[:, None] + np.arange(first, first + len(polynomials), dtype=before.dtype)[:, None]
    if padding != "zeros" and mode == "bicubic":
        taps = _inside(taps, length, padding, corners)[0]
    return taps.astype(np.intp)


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
    out[...] = polynomial[0]
    for i, coefficient in enumerate(polynomial[1:]):
        if i == 0 and polynomial[0] == 1:
            out[...] = x
        else:
            out *= x
        if coefficient:
            out += out.dtype.type(coefficient)


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
    y = empty((*x.shape[:2], *size), x.dtype)
    result = y.reshape(*x.shape[:2], index.shape[2])
    planes, w = _planes(x, index), _like(weight, x)[:, :, None]
    for part in _chunks(len(x), result.size):
        total = _gather(planes[part], index[part, 0])
        total *= w[part, 0]
        for k in range(1, index.shape[1]):
            tap = _gather(planes[part], index[part, k])
            tap *= w[part, k]
            total += tap
        result[part] = total
    return y


def grid_correlate(grad: ndarray, x: ndarray, index: ndarray) -> ndarray:
    """Σ_c grad[n, c, p] · x[n, c, index[n, k, p]], as (N, K, P)."""
    planes = _planes(x, index)
    g = _widened(grad).reshape(*grad.shape[:2], index.shape[2])
    found = np.empty(index.shape, planes.dtype)
    for part in _chunks(len(x), g.size):
        for k in range(index.shape[1]):
            np.einsum("ncp,ncp->np", _gather(planes[part], index[part, k]), g[part], out=found[part, k])
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


def _gather(planes: ndarray, index: ndarray) -> ndarray:
    """The elements of planes (N, C, plane) at the indices (N, P) of their sample, (N, C, P)."""
    n, c, plane = planes.shape
    if n == 1:
        return planes[0].take(index[0], 1)[None]
    return planes.reshape(-1).take(index[:, None] + (np.arange(n * c) * plane).reshape(n, c, 1))


def _planes(x: ndarray, index: ndarray) -> ndarray:
    """x as (N, C, plane), with zeros after each plane if there are indices beyond it; half precision widened."""
    n, c, *spatial = x.shape
    plane, x = prod(spatial), _widened(x)
    if not index.size or index.max() < plane:
        return x.reshape(n, c, plane)
    planes = np.zeros((n, c, plane + BEYOND), x.dtype)
    planes[:, :, :plane] = x.reshape(n, c, plane)
    return planes


def _widened(x: ndarray) -> ndarray:
    """Half precision is summed in single precision and rounded once."""
    return x.astype(_real(x.dtype), copy=False)


def _like(weight: ndarray, x: ndarray) -> ndarray:
    return weight.astype(_real(x.dtype), copy=False)
