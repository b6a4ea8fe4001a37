"""Convolution in n dimensions and the two products that its gradients are: one matrix product over all windows.

Every kernel looks at the padded input through a *window view*, (n, groups, channels per group, *kernel, *output), and
multiplies it with the weight, (groups, output channels per group, channels per group × kernel). ``padding`` holds a pair
(before, after) per dimension; "after" may be negative, which means that the last values are not looked at.
"""

from __future__ import annotations

from math import prod

import numpy as np

__all__ = ["conv", "conv_arrange", "conv_backward_bias", "conv_backward_input", "conv_backward_weight"]

ndarray = np.ndarray
Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

CHUNK = 1 << 21  # elements of the matrix of windows that are laid out at a time


def conv(
    x: ndarray, w: ndarray, bias: ndarray | None, stride: Ints, padding: Pairs, dilation: Ints, groups: int, version: object = None
) -> ndarray:
    """y[n, o] = bias[o] + Σ_c Σ_k w[o, c, k] · x[n, c, stride·i + dilation·k − before]."""
    dtype, (x, w) = x.dtype, _widened(x, w)
    windows = _windows(_padded(x, padding), x.shape[2:], w.shape[2:], stride, padding, dilation, groups)
    out = windows.shape[3 + len(stride) :]
    y = np.empty((len(x), groups, len(w) // groups, prod(out)), x.dtype)
    matrix = w.reshape(groups, len(w) // groups, prod(w.shape[1:]))
    for part in _chunks(windows):
        np.matmul(matrix, _columns(windows[part], len(stride)), out=y[part])
    y = y.reshape(len(x), len(w), *out)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(stride))
    return y.astype(dtype, copy=False)


def conv_backward_input(
    grad: ndarray,
    w: ndarray,
    bias: ndarray | None,
    size: Ints,
    stride: Ints,
    padding: Pairs,
    dilation: Ints,
    groups: int,
    version: object = None,
) -> ndarray:
    """The gradient of :func:`conv` to its input, of spatial ``size``, plus ``bias``: a transposed convolution."""
    dtype, (grad, w) = grad.dtype, _widened(grad, w)
    n, channels, ndim = len(grad), w.shape[1] * groups, len(stride)
    padded = np.zeros((n, channels, *(s + lo + max(hi, 0) for s, (lo, hi) in zip(size, padding, strict=True))), grad.dtype)
    windows = _windows(padded, size, w.shape[2:], stride, padding, dilation, groups, write=True)
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
        gx += bias.reshape(-1, *(1,) * ndim)
    return gx.astype(dtype, copy=False)


def conv_backward_weight(
    x: ndarray,
    grad: ndarray,
    kernel_size: Ints,
    stride: Ints,
    padding: Pairs,
    dilation: Ints,
    groups: int,
) -> ndarray:
    """The gradient of :func:`conv` to its weight."""
    dtype, (x, grad) = x.dtype, _widened(x, grad)
    n, outputs = grad.shape[:2]
    windows = _windows(_padded(x, padding), x.shape[2:], kernel_size, stride, padding, dilation, groups)
    rows = grad.reshape(n, groups, outputs // groups, prod(grad.shape[2:]))
    gw = np.zeros((groups, outputs // groups, x.shape[1] // groups * prod(kernel_size)), x.dtype)
    for part in _chunks(windows):
        gw += np.matmul(rows[part], _columns(windows[part], len(stride)).swapaxes(2, 3)).sum(0, dtype=x.dtype)
    return gw.reshape(outputs, x.shape[1] // groups, *kernel_size).astype(dtype, copy=False)


def conv_backward_bias(grad: ndarray) -> ndarray:
    """The gradient of :func:`conv` to its bias: the sum over all but the channels."""
    (wide,) = _widened(grad)
    return wide.sum((0, *range(2, grad.ndim)), dtype=wide.dtype).astype(grad.dtype, copy=False)


def conv_arrange(x: ndarray) -> ndarray:
    """``x`` in the memory order that suits the other kernels best, if that takes a copy; here every order does."""
    return x


def _widened(*arrays: ndarray) -> tuple[ndarray, ...]:
    """Half precision is summed in single precision and rounded once."""
    return tuple(a.astype(np.float32) if a.dtype == np.float16 else a for a in arrays)


def _padded(x: ndarray, padding: Pairs) -> ndarray:
    """``x`` with zeros around it; itself where there is nothing to add."""
    if not any(lo > 0 or hi > 0 for lo, hi in padding):
        return x
    pairs = [(lo, max(hi, 0)) for lo, hi in padding]
    padded = np.zeros((*x.shape[:2], *(s + lo + hi for s, (lo, hi) in zip(x.shape[2:], pairs, strict=True))), x.dtype)
    padded[(..., *(slice(lo, lo + s) for s, (lo, _) in zip(x.shape[2:], pairs, strict=True)))] = x
    return padded


def _windows(
    padded: ndarray, size: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int, write: bool = False
) -> ndarray:
    """A view (n, groups, channels per group, *kernel, *output): entry (k, i) is ``padded`` at stride·i + dilation·k."""
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


def _columns(windows: ndarray, ndim: int) -> ndarray:
    """Windows as matrices (n, groups, channels per group × kernel, outputs); copies unless the kernel has size 1."""
    n, groups = windows.shape[:2]
    return windows.reshape(n, groups, prod(windows.shape[2 : 3 + ndim]), prod(windows.shape[3 + ndim :]))
