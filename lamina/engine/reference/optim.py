"""The updates of optimisers: in place, in few passes, block by block.

A rule is written for flat arrays of one block, which stay in the processor's cache while it passes over them some ten
times, so that memory is read and written once. :func:`blockwise` makes a kernel of it: for arrays of any shape, layout,
size and dtype, whose blocks are shared among the threads.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.memory import empty_like
from lamina.engine.reference.piecewise import constant as _number

__all__ = [
    "adadelta_update",
    "adafactor_update",
    "adagrad_update",
    "adagrad_rows_update",
    "adam_update",
    "adam_rows_update",
    "adamax_update",
    "asgd_update",
    "muon_momentum",
    "muon_normalized",
    "muon_update",
    "nadam_update",
    "radam_update",
    "rmsprop_update",
    "rounded_to_bfloat16",
    "rprop_update",
    "sgd_update",
]

ndarray = np.ndarray
Rule = Callable[..., None]

# Elements per block. Adam's block and its scratch memory are 640 KB of float32. 10 million elements on one thread took
# 39, 24, 35 ms for blocks of 16, 32, 64 thousand.
BLOCK = 1 << 15


class _Scratch(threading.local):
    """Memory for intermediate results of a block, kept from call to call."""

    def __init__(self) -> None:
        self._rooms: dict[Any, ndarray] = {}
        self._views: dict[Any, ndarray] = {}

    def __call__(self, slot: int, like: ndarray) -> ndarray:
        """An array of the shape and dtype of `like`, which is the same memory for every call with this slot."""
        key = (slot, like.shape, like.dtype)
        view = self._views.get(key)
        if view is None:
            if len(self._views) > 1024:  # shapes come and go
                self._views.clear()
            room = self._rooms.get((slot, like.dtype))
            if room is None or room.size < like.size:
                room = self._rooms[slot, like.dtype] = np.empty(max(BLOCK, like.size), like.dtype)
            view = self._views[key] = room[: like.size].reshape(like.shape)
        return view


_scratch = _Scratch()


def _flat(arrays: tuple[ndarray | None, ...]) -> tuple[list[Any], list[tuple[ndarray, ndarray]]]:
    """One-dimensional forms of all arrays, in one order of elements, and those that must be copied back, with their origin."""
    if all(a is None or a.flags.c_contiguous for a in arrays):
        return [a if a is None else a.reshape(-1) for a in arrays], []
    p: Any = arrays[0]
    alike = all(a is None or a.strides == p.strides for i, a in enumerate(arrays) if i != 1)
    order: Any = "K" if alike and np.may_share_memory(p.ravel("K"), p) else "C"
    flat: list[Any] = []
    copies = []
    for i, a in enumerate(arrays):
        if a is None:
            flat.append(None)
            continue
        if i == 1 and order == "K" and a.strides != p.strides:
            a, gradient = np.empty_like(p), a
            a[...] = gradient
        flat.append(a.ravel(order))
        if i != 1 and not np.may_share_memory(flat[-1], a):
            copies.append((a, flat[-1]))
    return flat, copies


def _block(rule: Rule, pieces: list[ndarray | None], numbers: tuple[Any, ...]) -> None:
    if pieces[0].dtype.itemsize > 2:  # type: ignore[union-attr]
        rule(*pieces, *numbers)
        return
    # Squares of gradients underflow in half precision.
    wide = [a if a is None else a.astype(np.float32) for a in pieces]
    rule(*wide, *numbers)
    for i, (a, w) in enumerate(zip(pieces, wide, strict=True)):
        if a is not None and i != 1:
            a[...] = w


def blockwise(count: int) -> Callable[[Rule], Rule]:
    """Make a kernel of a rule whose first `count` arguments are arrays: the parameter, the gradient, and further ones
    (or None), all of which it writes but the gradient. Complex numbers are pairs of parameters."""

    def make(rule: Rule) -> Rule:
        @functools.wraps(rule)
        def kernel(*args: Any) -> None:
            p = args[0]
            if p.size <= BLOCK and p.dtype.char in "fd":
                rule(*args)
                return
            numbers = args[count:]
            flat, copies = _flat(args[:count])
            p = flat[0]
            if p.dtype.kind == "c":
                real = p.real.dtype
                flat = [a if a is None else a.view(real) for a in flat]
                p = flat[0]
            n = p.size
            if n <= BLOCK:
                if n:
                    _block(rule, flat, numbers)
            else:

                def work(i: int) -> None:
                    _block(rule, [a if a is None else a[i : i + BLOCK] for a in flat], numbers)

                workers.share(work, range(0, n, BLOCK))
            for a, copy in copies:
                a[...] = copy.reshape(a.shape)

        return kernel

    return make


# -- what rules are made of ----------------------------------------------------------------------------------------


def _descent(p: ndarray, grad: ndarray, decay: float, maximize: bool) -> ndarray:
    """The gradient to descend along: of the other sign to `maximize`, and with the decay's, `decay`·p."""
    if maximize:
        grad = np.negative(grad, _scratch(1, p))
    if decay:
        t = np.multiply(p, _number(decay, p.dtype), _scratch(0, p))
        grad = np.add(grad, t, _scratch(1, p))
    return grad


def _lerp(average: ndarray, x: ndarray, weight: float) -> None:
    """average ← average + weight·(x − average)"""
    t = np.subtract(x, average, _scratch(0, x))
    np.add(average, np.multiply(t, _number(weight, x.dtype), t), average)


def _average_square(average: ndarray, x: ndarray, beta: float) -> None:
    """average ← beta·average + (1 − beta)·x²"""
    t = np.multiply(x, x, _scratch(0, x))
    np.multiply(average, _number(beta, x.dtype), average)
    np.add(average, np.multiply(t, _number(1 - beta, x.dtype), t), average)


def _root(v: ndarray, eps: float) -> ndarray:
    """√v + eps, in the first scratch memory"""
    t = np.sqrt(v, _scratch(0, v))
    return np.add(t, _number(eps, v.dtype), t)


def _move(p: ndarray, rate: float, x: ndarray, y: ndarray | None = None) -> None:
    """p ← p − rate·x/y"""
    t = _scratch(0, p)
    if y is not None:
        x = np.divide(x, y, t)
    np.subtract(p, np.multiply(x, _number(rate, p.dtype), t), p)


# -- the rules -----------------------------------------------------------------------------------------------------


@blockwise(3)
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
    dtype = p.dtype
    grad = _descent(p, grad, decay, maximize)
    if buffer is not None:
        t = _scratch(0, p)
        if first:
            buffer[...] = grad
        else:
            np.multiply(buffer, _number(momentum, dtype), buffer)
            np.add(buffer, np.multiply(grad, _number(1 - dampening, dtype), t) if dampening else grad, buffer)
        if nesterov:
            grad = np.add(np.multiply(buffer, _number(momentum, dtype), t), grad, t)
        else:
            grad = buffer
    _move(p, lr, grad)


@blockwise(5)
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
    if decoupled and decay:
        np.multiply(p, _number(1 - lr * decay, p.dtype), p)
        decay = 0.0
    grad = _descent(p, grad, decay, maximize)
    _lerp(m, grad, 1 - beta1)
    _average_square(v, grad, beta2)
    if largest is not None:
        v = np.maximum(largest, v, out=largest)
    # lr·m̂/(√v̂ + ε) with the corrections moved out of the arrays
    root = (1 - beta2**step) ** 0.5
    _move(p, lr * root / (1 - beta1**step), m, _root(v, eps * root))


@blockwise(4)
def adamax_update(
    p: ndarray,
    grad: ndarray,
    m: ndarray,
    u: ndarray,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    maximize: bool,
) -> None:
    """m ← β₁·m + (1 − β₁)·g;   u ← max(β₂·u, |g| + ε);   p ← p − lr/(1 − β₁ᵗ)·m/u."""
    grad = _descent(p, grad, decay, maximize)
    _lerp(m, grad, 1 - beta1)
    np.multiply(u, _number(beta2, p.dtype), u)
    t = np.abs(grad, _scratch(0, p))
    np.maximum(u, np.add(t, _number(eps, p.dtype), t), out=u)
    _move(p, lr / (1 - beta1**step), m, u)


@blockwise(4)
def nadam_update(
    p: ndarray,
    grad: ndarray,
    m: ndarray,
    v: ndarray,
    step: float,
    product: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    momentum_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """m and v as Adam's;   p ← p − lr·((1 − μₜ)/(1 − Πμ)·g + μₜ₊₁/(1 − μₜ₊₁Πμ)·m)/(√v̂ + ε), Πμ being `product`."""
    if decoupled and decay:
        np.multiply(p, _number(1 - lr * decay, p.dtype), p)
        decay = 0.0
    grad = _descent(p, grad, decay, maximize)
    _lerp(m, grad, 1 - beta1)
    _average_square(v, grad, beta2)
    mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) for t in (step, step + 1))
    root = (1 - beta2**step) ** 0.5
    of_grad, of_m = lr * root * (1 - mu) / (1 - product), lr * root * mu_next / (1 - product * mu_next)
    t = np.multiply(grad, _number(of_grad, p.dtype), _scratch(0, p))
    u = np.multiply(m, _number(of_m, p.dtype), _scratch(1, p))
    np.add(t, u, u)
    np.subtract(p, np.divide(u, _root(v, eps * root), u), p)


@blockwise(4)
def radam_update(
    p: ndarray,
    grad: ndarray,
    m: ndarray,
    v: ndarray,
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    """m and v as Adam's;   p ← p − lr·m̂·r/(√v̂ + ε) once the variance of v is tractable (ρ > 5), before p − lr·m̂."""
    if decoupled and decay:
        np.multiply(p, _number(1 - lr * decay, p.dtype), p)
        decay = 0.0
    grad = _descent(p, grad, decay, maximize)
    _lerp(m, grad, 1 - beta1)
    _average_square(v, grad, beta2)
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * step * beta2**step / correction2
    if length > 5:
        variance = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
        _move(p, lr * (variance * correction2) ** 0.5 / correction1, m, _root(v, eps))
    else:
        _move(p, lr / correction1, m)


@blockwise(3)
def adagrad_update(
    p: ndarray, grad: ndarray, total: ndarray, rate: float, eps: float, decay: float, maximize: bool
) -> None:
    """s ← s + g²;   p ← p − rate·g/(√s + ε)."""
    grad = _descent(p, grad, decay, maximize)
    np.add(total, np.multiply(grad, grad, _scratch(0, p)), total)
    _move(p, rate, grad, _root(total, eps))


@blockwise(4)
def adadelta_update(
    p: ndarray,
    grad: ndarray,
    v: ndarray,
    deltas: ndarray,
    lr: float,
    rho: float,
    eps: float,
    decay: float,
    maximize: bool,
) -> None:
    """v ← ρ·v + (1 − ρ)·g²;   δ = √(d + ε)/√(v + ε)·g;   d ← ρ·d + (1 − ρ)·δ²;   p ← p − lr·δ."""
    grad = _descent(p, grad, decay, maximize)
    _average_square(v, grad, rho)
    small = _number(eps, p.dtype)
    t, delta = _scratch(0, p), _scratch(2, p)
    np.sqrt(np.add(v, small, t), t)
    np.sqrt(np.add(deltas, small, delta), delta)
    np.multiply(np.divide(delta, t, delta), grad, delta)
    _average_square(deltas, delta, rho)
    _move(p, lr, delta)


@blockwise(5)
def rmsprop_update(
    p: ndarray,
    grad: ndarray,
    v: ndarray,
    buffer: ndarray | None,
    mean: ndarray | None,
    lr: float,
    alpha: float,
    eps: float,
    decay: float,
    momentum: float,
    maximize: bool,
) -> None:
    """v ← α·v + (1 − α)·g²;   p ← p − lr·g/(√v + ε), with momentum p ← p − lr·b, b ← μ·b + g/(√v + ε).

    With `mean`, the average of g, its square is subtracted from v under the root.
    """
    grad = _descent(p, grad, decay, maximize)
    _average_square(v, grad, alpha)
    if mean is not None:
        _lerp(mean, grad, 1 - alpha)
        t = np.multiply(mean, mean, _scratch(2, p))
        v = np.subtract(v, t, t)
    root = _root(v, eps)
    if buffer is None:
        _move(p, lr, grad, root)
        return
    np.multiply(buffer, _number(momentum, p.dtype), buffer)
    np.add(buffer, np.divide(grad, root, root), buffer)
    _move(p, lr, buffer)


@blockwise(4)
def rprop_update(
    p: ndarray,
    grad: ndarray,
    previous: ndarray,
    sizes: ndarray,
    shrink: float,
    grow: float,
    least: float,
    most: float,
    maximize: bool,
) -> None:
    """s ← s·η₊ where the sign of g is as before, s·η₋ and g ← 0 where it changed;   p ← p − s·sign(g)."""
    dtype = p.dtype
    g = _scratch(1, p)
    if maximize:
        np.negative(grad, g)
    else:
        g[...] = grad
    t = np.multiply(g, previous, _scratch(0, p))
    turned = t < 0
    np.multiply(sizes, _number(grow, dtype), sizes, where=t > 0)
    np.multiply(sizes, _number(shrink, dtype), sizes, where=turned)
    np.clip(sizes, _number(least, dtype), _number(most, dtype), sizes)
    np.copyto(g, _number(0.0, dtype), where=turned)
    # The sign of NaN is 0 here, not NaN as NumPy's.
    t[...] = np.subtract((g > 0).view(np.int8), (g < 0).view(np.int8))
    np.subtract(p, np.multiply(t, sizes, t), p)
    previous[...] = g


@blockwise(3)
def asgd_update(
    p: ndarray,
    grad: ndarray,
    average: ndarray,
    eta: float,
    mu: float,
    lambd: float,
    decay: float,
    maximize: bool,
) -> None:
    """p ← (1 − λη)·p − η·g;   a ← a + μ·(p − a), or p itself where μ = 1."""
    grad = _descent(p, grad, decay, maximize)
    np.multiply(p, _number(1 - lambd * eta, p.dtype), p)
    _move(p, eta, grad)
    if mu == 1:
        average[...] = p
    else:
        _lerp(average, p, mu)


def adafactor_update(
    p: ndarray,
    grad: ndarray,
    rows: ndarray | None,
    columns: ndarray | None,
    variance: ndarray | None,
    step: float,
    lr: float,
    beta2_decay: float,
    eps1: float | None,
    eps2: float,
    d: float,
    decay: float,
    maximize: bool,
) -> None:
    """V ← (1 − w)·V + w·g², w = tᵝ, of a matrix kept as the means of its rows and columns;   u = g/√V;
    p ← p − α·u/max(1, rms(u)/d), α = max(ε₂, rms(p))·min(lr, 1/√t).
    """
    if not p.size:
        return
    small = float(np.finfo(np.float32 if p.dtype.itemsize == 2 else p.dtype).eps) if eps1 is None else eps1
    if p.dtype.itemsize == 2:
        if eps1 is None:  # bfloat16 has 8 digits, float16 has 11
            small = 2.0**-10 if p.dtype == np.float16 else 2.0**-7
        arrays = (p, grad, rows, columns, variance)
        wide: list[Any] = [a if a is None else a.astype(np.float32) for a in arrays]
        numbers = (step, lr, beta2_decay, small, eps2, d, decay, maximize)
        adafactor_update(*wide, *numbers)  # type: ignore[call-arg]
        for i, (a, w) in enumerate(zip(arrays, wide, strict=True)):
            if a is not None and i != 1:
                a[...] = w
        return
    weight = step**beta2_decay
    alpha = max(eps2, _rms(p)) * min(lr, 1 / step**0.5)
    if decay:
        np.multiply(p, _number(1 - lr * decay, p.dtype), p)
    update = np.multiply(grad, grad, empty_like(grad))
    if variance is not None:
        variance += (update - variance) * _number(weight, p.dtype)
        np.maximum(variance, _number(small * small, p.dtype), out=update)
        np.divide(grad, np.sqrt(update, update), update)
    else:
        assert rows is not None and columns is not None
        height, width = grad.shape[-2:]
        ones = np.ones((1, height), p.dtype), np.ones((width, 1), p.dtype)
        rows += (np.matmul(update, ones[1]) / p.dtype.type(width) - rows) * _number(weight, p.dtype)
        columns += (np.matmul(ones[0], update) / p.dtype.type(height) - columns) * _number(weight, p.dtype)
        mean = np.maximum(rows.mean(axis=-2, keepdims=True), _number(small, p.dtype))
        _divide_by_root(grad, rows / mean, columns, small * small, update)
    rate = alpha / max(1.0, _rms(update) / d)
    _move_all(p, update, -rate if maximize else rate)


def _rms(x: ndarray) -> float:
    """The root of the mean square."""
    flat = x.ravel("K")
    return float(np.dot(flat, flat)) ** 0.5 / x.size**0.5


def _divide_by_root(grad: ndarray, rows: ndarray, columns: ndarray, least: float, out: ndarray) -> None:
    """out ← g/√max(rows·columns, least), block by block of rows of each matrix"""
    height, width = grad.shape[-2:]
    few = max(1, BLOCK // width)
    shape = (-1, height, width)
    g, o, r, c = grad.reshape(shape), out.reshape(shape), rows.reshape(-1, height, 1), columns.reshape(-1, 1, width)
    small = _number(least, grad.dtype)

    def work(place: tuple[int, int]) -> None:
        i, j = place
        block = o[i, j : j + few]
        np.maximum(np.multiply(r[i, j : j + few], c[i], block), small, out=block)
        np.divide(g[i, j : j + few], np.sqrt(block, block), block)

    workers.share(work, [(i, j) for i in range(len(o)) for j in range(0, height, few)])


@blockwise(2)
def _move_all(p: ndarray, update: ndarray, rate: float) -> None:
    _move(p, rate, update)


# -- Muon ----------------------------------------------------------------------------------------------------------


def muon_momentum(grad: ndarray, buffer: ndarray, momentum: float, nesterov: bool) -> ndarray:
    """b ← b + (1 − μ)·(g − b);   the direction, g + μ·(b − g) with `nesterov`, or b, in float32."""
    g = grad.astype(np.float32) if grad.dtype.itemsize == 2 else grad
    b = buffer.astype(g.dtype)
    b += (g - b) * g.dtype.type(1 - momentum)
    buffer[...] = b
    direction = g + (b - g) * g.dtype.type(momentum) if nesterov else b
    return direction.astype(np.float32, copy=False)


def rounded_to_bfloat16(x: ndarray, y: ndarray | None, a: float, b: float) -> ndarray:
    """a·x + b·y rounded to bfloat16's eight digits, ties to even, as float32 (`y` may be None)."""
    z = x if y is None and a == 1 else x * np.float32(a)
    if y is not None:
        z += y * np.float32(b)
    bits = np.ascontiguousarray(z, np.float32).view(np.uint32)
    rounded = bits + ((bits >> np.uint32(16) & np.uint32(1)) + np.uint32(0x7FFF)) & np.uint32(0xFFFF0000)
    result = rounded.view(np.float32)
    if not np.isfinite(z).all():
        result[np.isnan(z)] = np.nan
    return result


def muon_normalized(x: ndarray, eps: float) -> ndarray:
    """x/max(‖x‖, ε), norm and quotient rounded to bfloat16."""
    norm = rounded_to_bfloat16(np.sqrt(np.einsum("ij,ij->", x, x, dtype=np.float64)), None, 1.0, 0.0)
    return rounded_to_bfloat16(x / np.maximum(norm, np.float32(eps)), None, 1.0, 0.0)


def muon_update(p: ndarray, direction: ndarray, rate: float, shrink: float) -> None:
    """p ← shrink·p − rate·o."""
    p[...] = p * p.dtype.type(shrink) - direction * np.float32(rate)


# -- rows of large tables ------------------------------------------------------------------------------------------


def adagrad_rows_update(
    p: ndarray, values: ndarray, total: ndarray, places: tuple[ndarray, ...], rate: float, eps: float
) -> None:
    """Adagrad at some places: s ← s + g²;   p ← p − rate·g/(√s + ε)."""
    wide = np.float32 if p.dtype.itemsize == 2 else p.dtype
    values = values.astype(wide, copy=False)
    at = total[places] + values * values
    total[places] = at
    p[places] = p[places] - values / (np.sqrt(at) + eps) * rate


def adam_rows_update(
    p: ndarray,
    values: ndarray,
    m: ndarray,
    v: ndarray,
    places: tuple[ndarray, ...],
    step: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """Adam at some places; ε is added before the corrections."""
    wide = np.float32 if p.dtype.itemsize == 2 else p.dtype
    values = values.astype(wide, copy=False)
    m_at, v_at = m[places].astype(wide), v[places].astype(wide)
    m_at += (values - m_at) * (1 - beta1)
    v_at += (values * values - v_at) * (1 - beta2)
    m[places], v[places] = m_at, v_at
    rate = lr * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
    p[places] = p[places] - m_at / (np.sqrt(v_at) + eps) * rate
