"""The updates of optimisers: in place, in few passes, large arrays block by block."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = ["adam_update", "sgd_update"]

ndarray = np.ndarray

# Elements per block. An update passes over its arrays some ten times: while a block of all of them stays in the
# processor's cache, memory is read once only.
BLOCK = 1 << 16


class _Scratch(threading.local):
    """Memory for intermediate results, kept from call to call."""

    def __init__(self) -> None:
        self._buffers: dict[Any, ndarray] = {}
        self._views: dict[Any, ndarray] = {}

    def __call__(self, slot: int, like: ndarray) -> ndarray:
        """An array of the shape and dtype of `like`, which is the same for every call with this slot."""
        key = (slot, like.shape, like.dtype)
        view = self._views.get(key)
        if view is None:
            if like.size > BLOCK:  # not dense, so it could not be cut into blocks
                return np.empty(like.shape, like.dtype)
            if len(self._views) > 1024:  # shapes come and go
                self._views.clear()
            buffer = self._buffers.get((slot, like.dtype))
            if buffer is None:
                buffer = self._buffers[slot, like.dtype] = np.empty(BLOCK, like.dtype)
            view = self._views[key] = buffer[: like.size].reshape(like.shape)
        return view


_scratch = _Scratch()


@functools.lru_cache(maxsize=256)
def _number(x: float, dtype: np.dtype) -> ndarray:
    """A number as a zero-dimensional array: ufuncs take it much faster than Python's float."""
    return np.array(x, dtype)


def _blocks(grad: ndarray, *arrays: ndarray) -> Iterator[tuple[ndarray, ...]] | None:
    """The gradient and flat views of `arrays` in pieces of at most `BLOCK` elements; None if they have no flat view."""
    p = arrays[0]
    order: Any = "K" if all(a.strides == p.strides for a in arrays) else "C"
    flat = [a.ravel(order) for a in arrays]
    if not all(np.may_share_memory(f, a) for f, a in zip(flat, arrays, strict=True)):
        return None
    if grad.strides != p.strides:
        copy = np.empty_like(p)
        copy[...] = grad
        grad = copy
    flat.insert(0, grad.ravel(order))
    return (tuple(a[i : i + BLOCK] for a in flat) for i in range(0, p.size, BLOCK))


def sgd_update(
    p: ndarray,
    grad: ndarray,
    buffer: ndarray | None,
    lr: float,
    momentum: float,
    dampening: float,
    decay: float,
    nesterov: bool,
    maximize: bool,
    first: bool,
) -> None:
    """b ← μ·b + (1 − τ)·g (g itself at `first`);   p ← p − lr·b, or without a buffer − lr·g."""
    if p.size > BLOCK:
        pieces = _blocks(grad, p) if buffer is None else _blocks(grad, p, buffer)
        if pieces is not None:
            for g, *some in pieces:
                b = None if buffer is None else some[1]
                sgd_update(some[0], g, b, lr, momentum, dampening, decay, nesterov, maximize, first)
            return
    dtype = p.dtype
    t = _scratch(0, p)
    if maximize:
        grad = np.negative(grad, _scratch(1, p))
    if decay:
        grad = np.add(np.multiply(p, _number(decay, dtype), t), grad, _scratch(1, p))
    if buffer is not None:
        if first:
            buffer[...] = grad
        else:
            np.multiply(buffer, _number(momentum, dtype), buffer)
            np.add(buffer, np.multiply(grad, _number(1 - dampening, dtype), t) if dampening else grad, buffer)
        if nesterov:
            grad = np.add(np.multiply(buffer, _number(momentum, dtype), t), grad, t)
        else:
            grad = buffer
    np.subtract(p, np.multiply(grad, _number(lr, dtype), t), p)


def adam_update(
    p: ndarray,
    grad: ndarray,
    m: ndarray,
    v: ndarray,
    largest: ndarray | None,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """m ← β₁·m + (1 − β₁)·g;   v ← β₂·v + (1 − β₂)·g²;   p ← p − lr·m̂/(√v̂ + ε), m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ).

    `largest`, if given, becomes max(largest, v) and stands in for v. Decay is added to the gradient, or `decoupled`
    shrinks p before.
    """
    # lr·m̂/(√v̂ + ε) with the corrections moved out of the arrays
    root = (1 - beta2**step) ** 0.5
    size, floor = lr * root / (1 - beta1**step), eps * root
    factors = (beta1, beta2, size, floor, (1 - lr * decay if decoupled else decay) if decay else None)
    _adam((p, m, v) if largest is None else (p, m, v, largest), grad, factors, decoupled, maximize)


def _adam(
    arrays: tuple[ndarray, ...], grad: ndarray, factors: tuple[Any, ...], decoupled: bool, maximize: bool
) -> None:
    p, m, v = arrays[:3]
    dtype = p.dtype
    if dtype == np.float16:  # squares of gradients underflow in half precision
        wide = tuple(a.astype(np.float32) for a in arrays)
        _adam(wide, grad.astype(np.float32), factors, decoupled, maximize)
        for a, w in zip(arrays, wide, strict=True):
            a[...] = w
        return
    if dtype.kind == "c":  # real and imaginary parts are parameters of their own
        for part in ("real", "imag"):
            _adam(tuple(getattr(a, part) for a in arrays), getattr(grad, part), factors, decoupled, maximize)
        return
    if p.size > BLOCK:
        pieces = _blocks(grad, *arrays)
        if pieces is not None:
            for g, *some in pieces:
                _adam(tuple(some), g, factors, decoupled, maximize)
            return
    beta1, beta2, size, floor, decay = factors
    multiply, add = np.multiply, np.add
    t = _scratch(0, p)
    if maximize:
        grad = np.negative(grad, _scratch(1, p))
    if decay is not None:
        if decoupled:
            multiply(p, _number(decay, dtype), p)
        else:
            grad = add(multiply(p, _number(decay, dtype), t), grad, _scratch(1, p))
    multiply(m, _number(beta1, dtype), m)
    add(m, multiply(grad, _number(1 - beta1, dtype), t), m)
    multiply(v, _number(beta2, dtype), v)
    multiply(grad, grad, t)
    add(v, multiply(t, _number(1 - beta2, dtype), t), v)
    if len(arrays) == 4:
        v = np.maximum(arrays[3], v, out=arrays[3])
    np.sqrt(v, t)
    add(t, _number(floor, dtype), t)
    np.divide(m, t, t)
    np.subtract(p, multiply(t, _number(size, dtype), t), p)
