"""Convolution in n dimensions and the two products that its gradients are: one matrix product over all windows.

Every kernel looks at the padded input through a *window view*, (n, groups, channels per group, *kernel, *output), and
multiplies it with the weight, (groups, output channels per group, channels per group × kernel). ``settings`` are
(stride, padding, dilation, groups): tuples of one entry per dimension, that of the padding a pair (before, after). "After"
may be negative, which means that the last values are not looked at. ``version`` changes whenever the weight is written,
for kernels that keep it in another form; with ``None`` nothing may be kept.
"""

from __future__ import annotations

from math import prod

import numpy as np

from lamina.engine.reference.pad import pad

__all__ = ["conv", "conv_arrange", "conv_backward_bias", "conv_backward_input", "conv_backward_weight", "conv_fused"]

ndarray = np.ndarray
Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Settings = tuple[Ints, Pairs, Ints, int]

CHUNK = 1 << 21  # elements of the matrix of windows that are laid out at a time


def conv(x: ndarray, w: ndarray, bias: ndarray | None, settings: Settings, version: object = None) -> ndarray:
    """y[n, o] = bias[o] + Σ_c Σ_k w[o, c, k] · x[n, c, stride·i + dilation·k − before]."""
    dtype, (x, w), groups, ndim = x.dtype, _widened(x, w), settings[3], x.ndim - 2
    windows = _windows(_padded(x, settings), x.shape[2:], w.shape[2:], settings)
    out = windows.shape[3 + ndim :]
    y = np.empty((len(x), groups, len(w) // groups, prod(out)), x.dtype)
    matrix = w.reshape(groups, len(w) // groups, prod(w.shape[1:]))
    for part in _chunks(windows):
        np.matmul(matrix, _columns(windows[part]), out=y[part])
    y = y.reshape(len(x), len(w), *out)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * ndim)
    return y.astype(dtype, copy=False)


def conv_fused(
    x: ndarray, w: ndarray, bias: ndarray | None, added: ndarray | None, activation: str | None, settings: Settings,
    version: object = None,
) -> ndarray:
    """:func:`conv`, plus an array of the result's shape, with relu or relu6 applied to the sum; NaN stays."""
    y = conv(x, w, bias, settings)
    if added is not None:
        y += added
    if activation is None:
        return y
    return np.clip(y, 0, {"relu": np.inf, "relu6": 6}[activation], out=y)


def conv_backward_input(
    grad: ndarray, w: ndarray, bias: ndarray | None, size: Ints, settings: Settings, version: object = None
) -> ndarray:
    """The gradient of :func:`conv` to its input, of spatial ``size``, plus ``bias``: a transposed convolution."""
    dtype, (grad, w) = grad.dtype, _widened(grad, w)
    _, padding, _, groups = settings
    n, channels = len(grad), w.shape[1] * groups
    room = (s + lo + max(hi, 0) for s, (lo, hi) in zip(size, padding, strict=True))
    padded = np.zeros((n, channels, *room), grad.dtype)
    windows = _windows(padded, size, w.shape[2:], settings, write=True)
    rows = grad.reshape(n, groups, len(w) // groups, prod(grad.shape[2:]))
    matrix = w.reshape(groups, len(w) // groups, prod(w.shape[1:])).swapaxes(1, 2)
    for part in _chunks(windows):
        columns = np.matmul(matrix, rows[part]).reshape(windows[part].shape)
        for tap in np.ndindex(w.shape[2:]):  # windows overlap, but never at one and the same tap
            at = (slice(None),) * 3 + tap
            windows[part][at] += columns[at]
    inner = tuple(slice(lo, lo + s) for s, (lo, _) in zip(size, padding, strict=True))
    gx = np.ascontiguousarray(padded[(slice(None), slice(None), *inner)])
    if bias is not None:
        gx += bias.reshape(-1, *(1,) * len(size))
    return gx.astype(dtype, copy=False)


def conv_backward_weight(x: ndarray, grad: ndarray, kernel_size: Ints, settings: Settings) -> ndarray:
    """The gradient of :func:`conv` to its weight."""
    dtype, (x, grad), groups = x.dtype, _widened(x, grad), settings[3]
    n, outputs = grad.shape[:2]
    windows = _windows(_padded(x, settings), x.shape[2:], kernel_size, settings)
    rows = grad.reshape(n, groups, outputs // groups, prod(grad.shape[2:]))
    gw = np.zeros((groups, outputs // groups, x.shape[1] // groups * prod(kernel_size)), x.dtype)
    for part in _chunks(windows):
        gw += np.matmul(rows[part], _columns(windows[part]).swapaxes(2, 3)).sum(0, dtype=x.dtype)
    return gw.reshape(outputs, x.shape[1] // groups, *kernel_size).astype(dtype, copy=False)


def conv_backward_bias(grad: ndarray) -> ndarray:
    """The gradient of :func:`conv` to its bias: the sum over all but the channels."""
    (wide,) = _widened(grad)
    return wide.sum((0, *range(2, grad.ndim)), dtype=wide.dtype).astype(grad.dtype, copy=False)


def conv_arrange(array: ndarray, x: Ints, w: Ints, settings: Settings) -> ndarray:
    """An input or a gradient of a convolution (with an input of shape ``x``, a weight of shape ``w``) in the memory order in
    which the other kernels are fastest; copied only for that, and here never."""
    return array


def _widened(*arrays: ndarray) -> tuple[ndarray, ...]:
    """Half precision is summed in single precision and rounded once."""
    return tuple(a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays)


def _padded(x: ndarray, settings: Settings) -> ndarray:
    """``x`` with zeros around it; itself where there is nothing to add."""
    pairs = tuple((lo, max(hi, 0)) for lo, hi in settings[1])
    return pad(x, ((0, 0), (0, 0), *pairs), "constant") if any(map(any, pairs)) else x


def _windows(padded: ndarray, size: Ints, kernel: Ints, settings: Settings, write: bool = False) -> ndarray:
    """A view (n, groups, channels per group, *kernel, *output): entry (k, i) is ``padded`` at stride·i + dilation·k."""
    stride, padding, dilation, groups = settings
    out = tuple(
        (s + lo + hi - d * (k - 1) - 1) // t + 1
        for s, (lo, hi), k, t, d in zip(size, padding, kernel, stride, dilation, strict=True)
    )
    n, channels = padded.shape[:2]
    by_sample, by_channel, *steps = padded.strides
    per_group = channels // groups
    return np.lib.stride_tricks.as_strided(
        padded,
        (n, groups, per_group, *kernel, *out),
        (
            by_sample,
            per_group * by_channel,
            by_channel,
            *(d * step for d, step in zip(dilation, steps, strict=True)),
            *(t * step for t, step in zip(stride, steps, strict=True)),
        ),
        writeable=write,
    )


def _chunks(windows: ndarray) -> list[slice]:
    """Slices of the batch whose windows fill some megabytes each."""
    n = len(windows)
    step = max(1, CHUNK * n // max(1, windows.size))
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _columns(windows: ndarray) -> ndarray:
    """Windows as matrices (n, groups, channels per group × kernel, outputs); copies unless the kernel has size 1."""
    n, groups, *rest = windows.shape
    half = (len(rest) + 1) // 2  # the channels and the kernel; the other half is the outputs
    return windows.reshape(n, groups, prod(rest[:half]), prod(rest[half:]))
