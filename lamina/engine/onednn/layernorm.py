"""Layer, RMS and group normalisation, float32.

oneDNN's layer normalisation is fast, forward and backward, and is what everything here is made of:

- RMS normalisation is layer normalisation with given statistics, mean 0 and variance Σx²/n;
- group normalisation of a plain array (N, C, L) is layer normalisation of the rows (n, group), then a factor and a summand
  for each channel. Where channels lie side by side, batch normalisation of each example's matrix (L, C) tells the channels'
  statistics, from which those of the groups follow, and the factor and the summand are those of (n, c).

Broadcast operands must be seen as one per "channel" (axis 1 of three): oneDNN 3.2 has but a plain loop for others.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from lamina.engine.blas import one_thread
from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like
from lamina.engine.reference.linalg import product

from . import abi
from .core import F32, Plan, plain_desc, plan, plans, primitive, reorder_into, spec
from .norm import _FLAGS, _SHORT, LARGE, _affine, _backward, _is_nxc, _sum_with, _train, rescale

ndarray = np.ndarray

# -- plans ---------------------------------------------------------------------------------------------------------


def _forward(rows: int, n: int, eps: float, flags: int) -> Any:
    d = plain_desc((rows, n))
    return primitive("layer_normalization_forward", abi.FORWARD_TRAINING, d, d, plain_desc((rows,)), eps, flags)


def _parameters(flags: int) -> tuple[int, ...]:
    return (abi.SCALE,) * bool(flags & abi.USE_SCALE) + (abi.SHIFT,) * bool(flags & abi.USE_SHIFT)


@plans
def _layer(rows: int, n: int, eps: float, flags: int) -> Plan | None:
    pd = _forward(rows, n, eps, flags)
    return plan(pd, abi.SRC, *_parameters(flags), abi.DST, abi.MEAN, abi.VARIANCE)


@plans
def _layer_backward(rows: int, n: int, eps: float, flags: int) -> Plan | None:
    d, hint = plain_desc((rows, n)), _forward(rows, n, eps, flags)
    # With a shift the primitive wants its values, too, although no gradient depends on them.
    kind = abi.BACKWARD if flags & _FLAGS else abi.BACKWARD_DATA
    settings = kind, d, d, d, plain_desc((rows,)), eps, flags, hint
    pd = hint and primitive("layer_normalization_backward", *settings)
    gradients = {abi.SCALE: abi.DIFF_SCALE, abi.SHIFT: abi.DIFF_SHIFT}
    parameters = _parameters(flags)
    return plan(
        pd, abi.SRC, abi.DIFF_DST, *parameters, abi.MEAN, abi.VARIANCE, abi.DIFF_SRC, *(gradients[p] for p in parameters)
    )  # fmt: skip


# -- arrays --------------------------------------------------------------------------------------------------------


def _takes(x: ndarray, *others: ndarray | None) -> bool:
    return x.dtype == F32 and x.size > 0 and all(a is None or a.dtype == F32 for a in others)


def _plain(x: ndarray) -> ndarray:
    """``x`` in row-major order."""
    if x.flags.c_contiguous:
        return x
    source = spec(x)
    if source is None:
        return np.ascontiguousarray(x)
    y = empty(x.shape)
    reorder_into(x, y, plain_desc(x.shape), source)
    return y


def _row(a: ndarray | None, n: int) -> ndarray:
    """A parameter as a plain row of ``n`` numbers; of ones where there is none."""
    return np.ones(n, F32) if a is None else np.ascontiguousarray(a).reshape(n)


def _size(x: ndarray, ndim: int) -> tuple[int, int]:
    cut = x.ndim - ndim
    return prod(x.shape[:cut]), prod(x.shape[cut:])


def _dots(x: ndarray, y: ndarray) -> ndarray:
    """Σx·y of each row."""
    with one_thread():
        return np.vecdot(x, y)


# -- over the last axes --------------------------------------------------------------------------------------------


@fast(min_size=8)
def layer_norm(x: ndarray, weight: ndarray | None, bias: ndarray | None, ndim: int, eps: float) -> Any:
    if x.dtype != F32 or not x.size:
        return NotImplemented
    n = x.shape[-1] if ndim == 1 else prod(x.shape[x.ndim - ndim :])
    rows, flags, parameters = x.size // n, 0, []
    for flag, a in ((abi.USE_SCALE, weight), (abi.USE_SHIFT, bias)):
        if a is not None:
            if a.dtype != F32:
                return NotImplemented
            flags |= flag
            parameters.append(a if a.flags.c_contiguous else np.ascontiguousarray(a))
    forward = _layer[rows, n, eps, flags]
    if forward is None:
        return NotImplemented
    x = _plain(x)
    y, m, v = empty(x.shape), np.empty(rows, F32), np.empty(rows, F32)
    forward.run(x, *parameters, y, m, v)
    return y, m, v


@fast(min_size=8)
def layer_norm_backward(
    grad: ndarray, x: ndarray, m: ndarray, v: ndarray, weight: ndarray | None, ndim: int, eps: float, affine: bool
) -> Any:
    if not _takes(x, grad, weight):
        return NotImplemented
    rows, n = _size(x, ndim)
    affine_flags = _FLAGS if affine else abi.USE_SCALE if weight is not None else 0
    backward = _layer_backward[rows, n, eps, affine_flags]
    if backward is None:
        return NotImplemented
    x, grad = _plain(x), _plain(grad)
    gx = empty(x.shape)
    if not affine_flags:
        backward.run(x, grad, m, v, gx)
        return gx, None, None
    gw = np.empty(x.shape[x.ndim - ndim :], F32)
    scale = _row(weight, n)
    if not affine:
        backward.run(x, grad, scale, m, v, gx, gw)
        return gx, None, None
    gb = np.empty_like(gw)
    backward.run(x, grad, scale, scale, m, v, gx, gw, gb)
    return gx, gw, gb


@fast(min_size=8)
def rms_norm(x: ndarray, weight: ndarray | None, ndim: int, eps: float) -> Any:
    if not _takes(x, weight):
        return NotImplemented
    rows, n = _size(x, ndim)
    flags = abi.USE_GLOBAL_STATS | abi.USE_SCALE * (weight is not None)
    forward = _layer[rows, n, eps, flags]
    if forward is None:
        return NotImplemented
    x = _plain(x)
    lines = x.reshape(rows, n)
    s = _dots(lines, lines)
    s /= n
    y = empty(x.shape)
    forward.run(x, *(() if weight is None else (_row(weight, n),)), y, np.zeros(rows, F32), s)
    return y, s


@fast(min_size=8)
def rms_norm_backward(
    grad: ndarray, x: ndarray, s: ndarray, weight: ndarray | None, ndim: int, eps: float, affine: bool
) -> Any:
    if not _takes(x, grad, weight):
        return NotImplemented
    rows, n = _size(x, ndim)
    scaled = affine or weight is not None
    backward = _layer_backward[rows, n, eps, abi.USE_GLOBAL_STATS | abi.USE_SCALE * scaled]
    rest = _sum_with[(1, rows, n),]
    if backward is None or rest is None:
        return NotImplemented
    x, grad = _plain(x), _plain(grad)
    gx, zeros, gw = empty(x.shape), np.zeros(rows, F32), None
    if scaled:
        gw = np.empty(x.shape[x.ndim - ndim :], F32)
        backward.run(x, grad, _row(weight, n), zeros, s, gx, gw)
    else:
        backward.run(x, grad, zeros, s, gx)
    # The primitive took the statistics for constants: gx = h/√(s + eps), of which −x·Σ(gx·x)/n/(s + eps) is missing.
    missing = _dots(gx.reshape(rows, n), x.reshape(rows, n))
    missing /= -n * (s + F32.type(eps))
    rest.run(x, missing, gx, gx)
    return gx, gw if affine else None


# -- over groups of channels ---------------------------------------------------------------------------------------


def _length(x: ndarray) -> int:
    """The product L of the spatial sizes of x (N, C, *); 0 where rows so short are not worth it."""
    length = prod(x.shape[2:])
    return length if length >= _SHORT else 0


def _side_by_side(x: ndarray) -> bool:
    return x.ndim > 2 and x.shape[1] % 4 == 0 and not x.flags.c_contiguous and _is_nxc(x)


def _matrices(x: ndarray) -> ndarray:
    """x (N, C, *), of which the channels lie side by side, as matrices (N, L, C)."""
    return x.transpose(0, *range(2, x.ndim), 1).reshape(x.shape[0], -1, x.shape[1])


@fast(min_size=2_000)
def group_norm(x: ndarray, groups: int, weight: ndarray | None, bias: ndarray | None, eps: float) -> Any:
    if not _takes(x, weight, bias):
        return NotImplemented
    n, c = x.shape[:2]
    length = prod(x.shape[2:])
    if _length(x) and _side_by_side(x):
        return _group_norm_side_by_side(x, groups, weight, bias, eps)
    forward = _layer[n * groups, c // groups * length, eps, 0]
    affine = _affine[(n, c, length) if length > 1 else (n, c), False]
    if forward is None or affine is None:
        return NotImplemented
    x = _plain(x)
    y, m, v = empty(x.shape), np.empty((n, groups), F32), np.empty((n, groups), F32)
    forward.run(x, y, m, v)
    if weight is None and bias is None:
        return y, m, v
    if length > 1 and x.size >= LARGE:
        root = np.ones(c) if weight is None else 1 / weight.astype(np.float64)
        if rescale(y.reshape(n, c, length), y, root, np.zeros(1) if bias is None else -bias * root):
            return y, m, v
    affine.run(y, _row(weight, c), y, np.zeros(c, F32) if bias is None else _row(bias, c))
    return y, m, v


def _group_norm_side_by_side(
    x: ndarray, groups: int, weight: ndarray | None, bias: ndarray | None, eps: float
) -> Any:
    n, c = x.shape[:2]
    y = empty_like(x)
    source, target = _matrices(x), _matrices(y)
    length = source.shape[1]
    statistics, affine = _train[length, c, eps], _affine[(length, c), False]
    if statistics is None or affine is None:
        return NotImplemented
    means, variances = np.empty((n, c), F32), np.empty((n, c), F32)
    ones, zeros = np.ones(c, F32), np.zeros(c, F32)
    for i in range(n):
        statistics.run(source[i], ones, zeros, target[i], means[i], variances[i])
    shares = means.reshape(n, groups, -1)
    m = shares.mean(2, dtype=np.float64)
    v = (variances.reshape(shares.shape) + np.square(shares - m[..., None])).mean(2)
    factor = np.repeat(1 / np.sqrt(v + eps), c // groups, 1)
    if weight is not None:
        factor *= weight
    summand = -factor * np.repeat(m, c // groups, 1)
    if bias is not None:
        summand += bias
    factor, summand = factor.astype(F32), summand.astype(F32)
    for i in range(n):
        affine.run(source[i], factor[i], target[i], summand[i])
    return y, m.astype(F32), v.astype(F32)


@fast(min_size=2_000)
def group_norm_backward(
    grad: ndarray, x: ndarray, m: ndarray, v: ndarray, groups: int, weight: ndarray | None, eps: float, affine: bool
) -> Any:
    length = _length(x)
    if not length or not _takes(x, grad, weight):
        return NotImplemented
    n, c = x.shape[:2]
    m, v = (np.repeat(a.astype(np.float64), c // groups, 1) for a in (m, v))
    inverse = 1 / np.sqrt(v + eps)
    beside = _side_by_side(x)
    if beside:
        found = _sums_side_by_side(grad, x, m, v, eps)
    else:
        found = _sums_in_rows(grad, x, m, inverse)
    if found is None:
        return NotImplemented
    x, grad, m, gw, gb = found
    # dx = h/σ − x̂·Σ(h·x̂)/n/σ − Σh/n/σ with h = g·w, as (g·s + b) + x·a with one s, a and b for each (n, c)
    s = inverse if weight is None else inverse * weight
    h, hx = (_of_group(a if weight is None else a * weight, groups, length) for a in (gb, gw))
    a = -inverse * inverse * hx
    b = -a * m - inverse * h
    slope, shift = s, b
    a, s, b = a.astype(F32), s.astype(F32), b.astype(F32)
    gx = empty_like(x)
    shape, parts = ((length, c), n) if beside else ((1, n * c, length), 1)
    first, second = _affine[shape, False], _sum_with[shape,]
    if first is None or second is None:
        return NotImplemented
    if beside:
        xs, gs, ys = _matrices(x), _matrices(grad), _matrices(gx)
        for i in range(parts):
            first.run(gs[i], s[i], ys[i], b[i])
            second.run(xs[i], a[i], ys[i], ys[i])
    else:
        if x.size < LARGE or not rescale(grad.reshape(n, c, length), gx, 1 / slope, -shift / slope):
            first.run(grad, s, gx, b)
        second.run(x, a, gx, gx)
    return (gx, gw.sum(0).astype(F32), gb.sum(0).astype(F32)) if affine else (gx, None, None)


def _of_group(sums: ndarray, groups: int, length: int) -> ndarray:
    """What each channel's group has on average, from sums (N, C) over the channels."""
    n, c = sums.shape
    means = sums.reshape(n, groups, -1).sum(2) / (c // groups * length)
    return np.repeat(means, c // groups, 1)


def _sums_in_rows(grad: ndarray, x: ndarray, m: ndarray, inverse: ndarray) -> Any:
    """(x, grad and m as they are used, Σg·x̂ and Σg (N, C)) for plain arrays."""
    n, c = x.shape[:2]
    x, grad = _plain(x), _plain(grad)
    if np.any(np.square(m) * np.square(inverse) > 1000):  # Σg·x would drown Σg·(x − m)
        x = x - m.reshape(n, c, *(1,) * (x.ndim - 2)).astype(F32)
        m = np.zeros_like(m)
    rows, g = x.reshape(n * c, -1), grad.reshape(n * c, -1)
    gb = product(g, np.ones((rows.shape[1], 1), F32)).reshape(n, c).astype(np.float64)
    gw = (_dots(g, rows).reshape(n, c) - m * gb) * inverse
    return x, grad, m, gw, gb


def _sums_side_by_side(grad: ndarray, x: ndarray, m: ndarray, v: ndarray, eps: float) -> Any:
    """The same where channels lie side by side."""
    n, c = x.shape[:2]
    if not _is_nxc(grad):
        source, y = spec(grad), empty_like(x)
        if source is None:
            y[...] = grad
        else:
            target = spec(y)
            assert target is not None
            reorder_into(grad, y, target, source)
        grad = y
    xs, gs = _matrices(x), _matrices(grad)
    length = xs.shape[1]
    backward = _backward[length, c, eps, _FLAGS | abi.USE_GLOBAL_STATS]
    if backward is None:
        return None
    gw, gb, gx = np.empty((n, c), F32), np.empty((n, c), F32), empty((length, c))
    means, variances, ones = m.astype(F32), v.astype(F32), np.ones(c, F32)
    for i in range(n):
        backward.run(xs[i], gs[i], ones, means[i], variances[i], gx, gw[i], gb[i])
    return x, grad, m, gw.astype(np.float64), gb.astype(np.float64)
