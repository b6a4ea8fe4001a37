"""Kernels of losses that compare values element by element: the elements' losses, their mean or their sum.

A gradient, which may be a single number, comes after the values: by their size the door chooses the form.

Arrays may have to be broadcast. Large ones are taken in pieces whose intermediate results stay in the processor's cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.blas import one_thread
from lamina.engine.memory import empty, empty_like

__all__ = [
    "squared_error", "squared_error_backward", "absolute_error", "absolute_error_backward", "smooth_l1", "smooth_l1_backward",
    "huber", "huber_backward", "soft_margin", "soft_margin_backward", "kl_div", "kl_div_backward", "poisson",
    "poisson_backward", "binary_cross_entropy", "binary_cross_entropy_backward", "binary_cross_entropy_logits",
    "binary_cross_entropy_logits_backward", "gaussian", "hinge_embedding", "hinge_embedding_backward",
]  # fmt: skip

ndarray = np.ndarray
Function = Callable[..., ndarray]

BLOCK = 1 << 15


def _pieces(arrays: list[ndarray]) -> Iterator[list[ndarray]]:
    """Arrays of one shape, cut alike into pieces of about `BLOCK` elements."""
    first = arrays[0]
    if all(a.strides == first.strides for a in arrays) and (flat := first.ravel("K")).base is not None:
        arrays = [flat, *(a.ravel("K") for a in arrays[1:])]  # views, in the order of memory
    elif first.ndim == 1 or first.shape[0] == 1:
        arrays = [np.squeeze(a) for a in arrays]
    rows = arrays[0].shape[0]
    step = max(BLOCK * rows // first.size, 1)
    for i in range(0, rows, step):
        yield [a[i : i + step] for a in arrays]


def _alike(arrays: tuple[ndarray, ...]) -> list[ndarray]:
    shape = arrays[0].shape
    if all(a.shape == shape for a in arrays):
        return list(arrays)
    return list(np.broadcast_arrays(*arrays))


def _wide(arrays: tuple[ndarray, ...]) -> list[ndarray]:
    """Half-precision arrays in single precision."""
    return [a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays]


def _reduced(
    function: Function, reduction: str, *arrays: ndarray, total: Callable[..., Any] | None = None
) -> ndarray:
    """`function` of all elements, which returns a new array; or the sum or mean of that, which `total` may give."""
    dtype = np.result_type(*arrays)
    if dtype == np.float16:
        return _reduced(function, reduction, *_wide(arrays), total=total).astype(dtype)
    size = arrays[0].size
    if reduction == "none":
        if size <= BLOCK:
            return np.asarray(function(*arrays))
        same = _alike(arrays)
        y = _room(same[0], dtype)
        for out, *piece in _pieces([y, *same]):
            out[...] = function(*piece)
        return y
    if size <= BLOCK:
        losses = np.asarray(function(*arrays))
        result = np.add.reduce(losses, axis=None)
        size = losses.size
    else:
        same = _alike(arrays)
        size = same[0].size
        pieces = list(_pieces(same))
        sums = np.zeros(len(pieces))

        def add(i: int) -> None:
            sums[i] = _total(function(*pieces[i])) if total is None else total(*pieces[i])

        with one_thread():  # of BLAS
            workers.share(add, range(len(pieces)))
        result = np.add.reduce(sums)
    return np.asarray(result / size if reduction == "mean" else result, dtype)


def _total(losses: ndarray) -> Any:
    """The sum of a piece."""
    losses = losses.reshape(-1)
    return losses.dot(_repeated(1, losses.dtype)[: losses.size]) if losses.size <= BLOCK else np.add.reduce(losses)


def _room(like: ndarray, dtype: np.dtype) -> ndarray:
    """An uninitialised array, in the memory order of `like` if that has one."""
    return empty_like(like) if like.dtype == dtype and 0 not in like.strides else empty(like.shape, dtype)


def _times(function: Function, grad: ndarray, scale: float, *arrays: ndarray) -> ndarray:
    """grad·scale·`function` of all elements, which returns a new array."""
    dtype = np.result_type(*arrays)
    if dtype == np.float16:
        return _times(function, grad.astype(np.float32), scale, *_wide(arrays)).astype(dtype)
    factor = grad if scale == 1 else np.multiply(grad, scale, dtype=grad.dtype)
    if arrays[0].size <= BLOCK:
        slope = np.asarray(function(*arrays))
        return np.multiply(slope, factor, out=slope)
    same = _alike(arrays)
    y = _room(same[0], dtype)
    if factor.ndim:
        for out, g, *piece in _pieces([y, np.broadcast_to(factor, y.shape), *same]):
            np.multiply(function(*piece), g, out=out)
    else:
        for out, *piece in _pieces([y, *same]):
            np.multiply(function(*piece), factor, out=out)
    return y


@functools.lru_cache(maxsize=32)
def _repeated(value: float, dtype: np.dtype) -> ndarray:
    return np.full(BLOCK, value, dtype)


def _lesser(x: Any, bound: float) -> Any:
    """min(x, bound): NumPy takes three times as long to compare with a number as with an array of it."""
    if 512 < x.size <= BLOCK and x.flags.c_contiguous:
        return np.minimum(x.reshape(-1), _repeated(bound, x.dtype)[: x.size]).reshape(x.shape)
    return np.minimum(x, bound)


def greater(x: Any, bound: float) -> Any:
    """max(x, bound)."""
    if 512 < x.size <= BLOCK and x.flags.c_contiguous:
        return np.maximum(x.reshape(-1), _repeated(bound, x.dtype)[: x.size]).reshape(x.shape)
    return np.maximum(x, bound)


# -- of a difference -----------------------------------------------------------------------------------------------


def squared_error(x: ndarray, y: ndarray, reduction: str) -> ndarray:
    """(x − y)²."""

    def loss(x: ndarray, y: ndarray) -> ndarray:
        d = np.subtract(x, y)
        return np.multiply(d, d, out=d if d.ndim else None)

    return _reduced(loss, reduction, x, y, total=lambda x, y: _squares(np.subtract(x, y)))


def squared_error_backward(x: ndarray, y: ndarray, grad: ndarray, scale: float) -> ndarray:
    """scale·grad·2·(x − y)."""
    return _times(np.subtract, grad, 2 * scale, x, y)


def _squares(d: ndarray) -> Any:
    """Σ d², by BLAS, which takes the least time."""
    d = d.reshape(-1)
    return d.dot(d)


def absolute_error(x: ndarray, y: ndarray, reduction: str) -> ndarray:
    """|x − y|."""

    def loss(x: ndarray, y: ndarray) -> ndarray:
        d = np.subtract(x, y)
        return np.abs(d, out=d if d.ndim else None)

    return _reduced(loss, reduction, x, y)


def absolute_error_backward(x: ndarray, y: ndarray, grad: ndarray, scale: float) -> ndarray:
    """scale·grad·sign(x − y), with 0 for NaN."""

    def slope(x: ndarray, y: ndarray) -> ndarray:
        d = np.asarray(np.sign(np.subtract(x, y)))
        if np.isnan(d.reshape(-1).dot(d.reshape(-1))):
            d[np.isnan(d)] = 0
        return d

    return _times(slope, grad, scale, x, y)


def _rounded(x: ndarray, y: ndarray, bound: float) -> tuple[ndarray, ndarray]:
    """d = |x − y|, and the lesser of that and the bound; near·(d − near/2) is half the square, and then the line."""
    d = np.subtract(x, y)
    d = np.abs(d, out=d if d.ndim else None)
    return d, _lesser(d, bound)


def _rounded_loss(x: ndarray, y: ndarray, bound: float) -> ndarray:
    d, near = _rounded(x, y, bound)
    d = d - near * 0.5
    d *= near
    return d


def _rounded_total(x: ndarray, y: ndarray, bound: float) -> Any:
    d, near = _rounded(x, y, bound)
    near = near.reshape(-1)
    return d.reshape(-1).dot(near) - 0.5 * float(near.dot(near))


def huber(x: ndarray, y: ndarray, delta: float, reduction: str) -> ndarray:
    """With d = |x − y|: d²/2 up to delta, from there on the line delta·(d − delta/2)."""
    return _reduced(
        lambda x, y: _rounded_loss(x, y, delta), reduction, x, y, total=lambda x, y: _rounded_total(x, y, delta)
    )


def huber_backward(x: ndarray, y: ndarray, grad: ndarray, delta: float, scale: float) -> ndarray:
    """scale·grad·(x − y moved into [−delta, delta])."""
    return _times(lambda x, y: _clipped(np.subtract(x, y), delta), grad, scale, x, y)


def _clipped(d: Any, bound: float) -> Any:
    return greater(_lesser(d, bound), -bound)


def smooth_l1(x: ndarray, y: ndarray, beta: float, reduction: str) -> ndarray:
    """With d = |x − y|: d²/(2·beta) below beta, from there on d − beta/2."""
    return _reduced(
        lambda x, y: _rounded_loss(x, y, beta) / beta,
        reduction,
        x,
        y,
        total=lambda x, y: _rounded_total(x, y, beta) / beta,
    )


def smooth_l1_backward(x: ndarray, y: ndarray, grad: ndarray, beta: float, scale: float) -> ndarray:
    """scale·grad·((x − y)/beta moved into [−1, 1])."""
    return _times(lambda x, y: _clipped(np.subtract(x, y) / beta, 1.0), grad, scale, x, y)


# -- of probabilities ----------------------------------------------------------------------------------------------

# log(1 + e) = 2·artanh(s) with s = e/(2 + e); for 0 ≤ e ≤ 1 that is s·(2 + z·P(z)) with z = s², fitted to 2e-8.
_LOG1P = tuple(np.float32(c) for c in (0.268675494, 0.282339559, 0.400076709, 0.666666397))


def _log1p_of_fraction(e: ndarray) -> ndarray:
    """log(1 + e) for 0 ≤ e ≤ 1; NumPy's own takes several times as long in single precision."""
    if e.dtype != np.float32:
        return np.log1p(e)
    s = e / (e + 2)
    z = s * s
    r = z * _LOG1P[0]
    for coefficient in _LOG1P[1:]:
        r += coefficient
        r *= z
    r += 2
    r *= s
    return r


def _softplus(x: ndarray) -> ndarray:
    """log(1 + eˣ) = max(x, 0) + log(1 + e^−|x|)."""
    return _log1p_of_fraction(np.exp(-np.abs(x))) + greater(x, 0)


def _sigmoid(x: ndarray) -> ndarray:
    y = np.exp(-x) + 1
    return np.divide(1, y, out=y if y.ndim else None)


def soft_margin(x: ndarray, y: ndarray, reduction: str) -> ndarray:
    """log(1 + e^(−x·y))."""
    return _reduced(lambda x, y: _softplus(-(x * y)), reduction, x, y)


def soft_margin_backward(x: ndarray, y: ndarray, grad: ndarray, scale: float) -> ndarray:
    """−scale·grad·y·σ(−x·y)."""
    return _times(lambda x, y: _sigmoid(-(x * y)) * -y, grad, scale, x, y)


def kl_div(x: ndarray, y: ndarray, log_target: bool, reduction: str) -> ndarray:
    """y·(log y − x), with 0·log 0 = 0; or eʸ·(y − x)."""

    def loss(x: ndarray, y: ndarray) -> ndarray:
        if log_target:
            return np.exp(y) * (y - x)
        r = np.asarray(np.log(y))
        r *= y
        np.copyto(r, 0, where=y == 0)
        return r - y * x

    return _reduced(loss, reduction, x, y)


def kl_div_backward(x: ndarray, y: ndarray, grad: ndarray, log_target: bool, scale: float) -> ndarray:
    """−scale·grad·y, or −scale·grad·eʸ; x lends its shape."""

    def slope(x: ndarray, y: ndarray) -> ndarray:
        if x.shape != y.shape:
            y = np.broadcast_arrays(x, y)[1]
        return np.exp(y) if log_target else np.array(y)

    return _times(slope, grad, -scale, x, y)


def poisson(x: ndarray, y: ndarray, log_input: bool, full: bool, eps: float, reduction: str) -> ndarray:
    """eˣ − y·x, or x − y·log(x + eps); with `full`, for y > 1, y·log y − y + log(2πy)/2 more."""

    def loss(x: ndarray, y: ndarray) -> ndarray:
        r = np.exp(x) - y * x if log_input else x - y * np.log(x + eps)
        if full:
            r = np.asarray(r)
            log = np.log(y)
            np.add(r, y * log - y + (log + _LOG_2PI) * 0.5, out=r, where=~(y <= 1))
        return r

    return _reduced(loss, reduction, x, y)


_LOG_2PI = 1.8378770664093453


def poisson_backward(
    x: ndarray, y: ndarray, grad: ndarray, log_input: bool, full: bool, eps: float, scale: float
) -> ndarray:
    """scale·grad·(eˣ − y), or scale·grad·(1 − y/(x + eps))."""
    return _times(lambda x, y: np.exp(x) - y if log_input else 1 - y / (x + eps), grad, scale, x, y)


def gaussian(x: ndarray, y: ndarray, v: ndarray, eps: float, full: bool, reduction: str) -> ndarray:
    """(log v + (x − y)²/v)/2 with v no less than eps; with `full`, log(2π)/2 more."""
    constant = _LOG_2PI if full else 0.0

    def loss(x: ndarray, y: ndarray, v: ndarray) -> ndarray:
        v = greater(v, eps)
        d = x - y
        r = d * d
        r = r / v
        r += np.log(v)
        if constant:
            r += constant
        return r * 0.5

    return _reduced(loss, reduction, x, y, v)


def _keep(a: ndarray, mask: Any) -> None:
    """0 where a mask does not hold, in place: by bits, as NumPy guesses what a mask says, and waits when it is wrong."""
    bits = a.view(f"i{a.itemsize}")
    np.bitwise_and(bits, np.negative(mask.astype(bits.dtype)), out=bits)


def hinge_embedding(x: ndarray, y: ndarray, margin: float, reduction: str) -> ndarray:
    """x where y is 1, max(0, margin − x) where it is −1, their sum elsewhere."""

    def loss(x: ndarray, y: ndarray) -> ndarray:
        if x.shape != y.shape:
            x, y = np.broadcast_arrays(x, y)
        far = np.asarray(greater(margin - x, 0))
        _keep(far, y != 1)
        near = np.array(x)
        _keep(near, y != -1)
        return np.add(far, near, out=far)

    return _reduced(loss, reduction, x, y)


def hinge_embedding_backward(x: ndarray, y: ndarray, grad: ndarray, margin: float, scale: float) -> ndarray:
    """scale·grad·([y ≠ −1] − [y ≠ 1 and x ≤ margin])."""

    def slope(x: ndarray, y: ndarray) -> ndarray:
        far = np.asarray((y != 1) & (x <= margin))
        return np.asarray(np.subtract((y != -1), far, dtype=x.dtype))

    return _times(slope, grad, scale, x, y)


def _given(*arrays: ndarray | None) -> tuple[ndarray, ...]:
    return tuple(a for a in arrays if a is not None)


def binary_cross_entropy(x: ndarray, y: ndarray, weight: ndarray | None, reduction: str) -> ndarray:
    """−weight·(y·log x + (1 − y)·log(1 − x)), the logarithms no less than −100."""

    def loss(x: ndarray, y: ndarray, w: ndarray | None = None) -> ndarray:
        one = np.subtract(1, x)
        r = greater(np.log(one), -100)
        r += (np.subtract(1, one) - x) / greater(one, 1e-20)  # what the rounding of 1 − x took away
        r = r * (y - 1)
        r -= greater(np.log(x), -100) * y
        return r if w is None else r * w

    return _reduced(loss, reduction, *_given(x, y, weight))


def binary_cross_entropy_backward(x: ndarray, y: ndarray, grad: ndarray, weight: ndarray | None, scale: float) -> ndarray:
    """scale·grad·weight·(x − y)/(x·(1 − x)), the divisor no less than 1e-12."""

    def slope(x: ndarray, y: ndarray, w: ndarray | None = None) -> ndarray:
        r = np.subtract(x, y) / greater(np.subtract(1, x) * x, 1e-12)
        return r if w is None else r * w

    return _times(slope, grad, scale, *_given(x, y, weight))


def binary_cross_entropy_logits(
    x: ndarray, y: ndarray, weight: ndarray | None, pos_weight: ndarray | None, reduction: str
) -> ndarray:
    """−weight·(pos_weight·y·log σ(x) + (1 − y)·log(1 − σ(x)))."""

    def loss(x: ndarray, y: ndarray, w: ndarray | None = None, p: ndarray | None = None) -> ndarray:
        small = _log1p_of_fraction(np.exp(-np.abs(x)))
        # −log(1 − σ(x)) and −log σ(x): one of them is `small`, and may be tiny
        no, yes = greater(x, 0), _lesser(x, 0)
        if p is None:
            r = no * (1 - y)
            r -= yes * y
            r += small
        else:
            r = (no + small) * (1 - y)
            r += (small - yes) * (p * y)
        return r if w is None else r * w

    if pos_weight is not None and weight is None:
        weight = np.ones((), x.dtype)
    return _reduced(loss, reduction, *_given(x, y, weight, pos_weight))


def binary_cross_entropy_logits_backward(
    x: ndarray, y: ndarray, grad: ndarray, weight: ndarray | None, pos_weight: ndarray | None, scale: float
) -> ndarray:
    """scale·grad·weight·((1 + (pos_weight − 1)·y)·σ(x) − pos_weight·y)."""

    def slope(x: ndarray, y: ndarray, w: ndarray | None = None, p: ndarray | None = None) -> ndarray:
        r = _sigmoid(x)
        if p is None:
            r -= y
        else:
            r *= (p - 1) * y + 1
            r -= p * y
        return r if w is None else r * w

    if pos_weight is not None and weight is None:
        weight = np.ones((), x.dtype)
    return _times(slope, grad, scale, *_given(x, y, weight, pos_weight))
