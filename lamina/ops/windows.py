"""What the arguments of pooling mean, and what is wrong with them: once for all kinds and every number of dimensions.

``name`` is the function's, for the messages. What depends on shapes and settings alone is computed once per combination.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Variable
from lamina.ops.operands import array_of, not_a_tensor

Ints = tuple[int, ...]


def shape_of(name: str, input: Any) -> Ints:
    return array_of(input, name).shape


def check_dtype(name: str, input: Any, kinds: str, only_long: bool = False) -> None:
    dtype = input._a.dtype
    kind = "f" if dtype.kind == "V" else dtype.kind
    if kind not in kinds or only_long and dtype.kind == "i" and dtype.itemsize != 8:
        raise NotImplementedError(f'"{name}" not implemented for {SCALAR_NAME[BY_NUMPY[dtype]]!r}')


def ints(name: str, label: str, value: Any) -> Any:
    """An int, a tuple of ints, or ``None``, so that it can be part of a key."""
    if type(value) is int or value is None:
        return value
    try:
        return tuple(map(operator.index, value)) if isinstance(value, Sequence) else operator.index(value)
    except TypeError:
        raise TypeError(f"{name}(): argument '{label}' must be an int or a tuple of ints, but got {value!r}") from None


def expand(name: str, label: str, value: Any, ndim: int) -> Ints:
    if type(value) is int:
        return (value,) * ndim
    if len(value) == 1:
        return value * ndim
    if len(value) != ndim:
        raise RuntimeError(f"{name}: {label} must be an int or a tuple of {ndim} ints, but got {value}")
    return value


def check_rank(name: str, ndim: int, shape: Ints, channels: bool = True) -> None:
    """The rank, and that nothing but the batch (or, where PyTorch allows it, the channels) is empty."""
    needed = shape[len(shape) - ndim - channels :]
    if len(shape) in (ndim + 1, ndim + 2) and 0 not in needed:
        return
    kind = RuntimeError
    if len(shape) <= ndim and name in ("avg_pool2d", "lp_pool2d", "fractional_max_pool2d", "fractional_max_pool3d"):
        kind = IndexError  # type: ignore[assignment]  # as PyTorch has it there
    raise kind(
        f"{name}: expected a {ndim + 1}D or {ndim + 2}D (batch mode) tensor in which only the batch may be empty, but got a "
        f"tensor of shape {list(shape)}"
    )


@lru_cache(4096)
def window(
    name: str, ndim: int, shape: Ints, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Kernel, stride, padding and dilation per dimension, and the number of windows, all checked."""
    if kernel_size is None or padding is None or dilation is None:
        raise TypeError(f"{name}(): kernel_size, padding and dilation must be ints or tuples of ints, not None")
    kernel = expand(name, "kernel_size", kernel_size, ndim)
    stride = kernel if stride is None or stride == () else expand(name, "stride", stride, ndim)
    padding = expand(name, "padding", padding, ndim)
    dilation = expand(name, "dilation", dilation, ndim)
    for label, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise RuntimeError(f"{name}: {label} must be greater than zero, but got {values}")
    if min(padding) < 0:
        raise RuntimeError(f"{name}: padding must be non-negative, but got {padding}")
    if any(2 * q > t for q, t in zip(padding, kernel, strict=True)):
        raise RuntimeError(
            f"{name}: padding must be at most half of the kernel size, but got padding={padding}, kernel_size={kernel}"
        )
    check_rank(name, ndim, shape)
    size = tuple(map(window_count, shape[-ndim:], kernel, stride, padding, dilation, (ceil_mode,) * ndim))
    if min(size) < 1:
        channels = shape[-ndim - 1]
        given, got = ("x".join(map(str, (channels, *extent))) for extent in (shape[-ndim:], size))
        raise RuntimeError(
            f"{name}: Given input size: ({given}). Calculated output size: ({got}). Output size is too small for "
            f"kernel_size={kernel}, stride={stride}, padding={padding}, dilation={dilation}"
        )
    return kernel, stride, padding, dilation, size


def window_count(length: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows there are; with ``ceil_mode`` one may stick out, but must begin in the input or the padding before it."""
    n = (length + 2 * padding - dilation * (kernel - 1) - 1 + (stride - 1 if ceil_mode else 0)) // stride + 1
    return n - 1 if ceil_mode and (n - 1) * stride >= length + padding else n


def entries(name: str, output_size: Any) -> Any:
    if type(output_size) is int or output_size is None:
        return output_size
    try:
        if isinstance(output_size, Sequence):
            return tuple(n if n is None else operator.index(n) for n in output_size)
        return operator.index(output_size)
    except TypeError:
        raise TypeError(
            f"{name}(): argument 'output_size' must be an int or a tuple of ints or None, but got {output_size!r}"
        ) from None


@lru_cache(4096)
def adaptive_windows(
    name: str, ndim: int, shape: Ints, output_size: Any, no_channels: bool
) -> tuple[Ints, tuple[Ints, Ints] | None]:
    """The number of windows per dimension, and their kernel and stride if they are regular."""
    entries = output_size if type(output_size) is tuple else (output_size,) * ndim
    if len(entries) != ndim:
        raise RuntimeError(f"{name}: output_size must be an int or a tuple of {ndim} ints or None, but got {output_size}")
    check_rank(name, ndim, shape, channels=not no_channels)
    spatial = shape[-ndim:]
    size = tuple(length if n is None else n for n, length in zip(entries, spatial, strict=True))
    if min(size) < 0:
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0, but got {size}")
    # Window i goes from ⌊iL/n⌋ to ⌈(i + 1)L/n⌉: a step of ⌊L/n⌋ and one length for all if the remainder of L/n is 0 or 1.
    if all(n and (length % n == 0 or length % n == 1 and length > n) for n, length in zip(size, spatial, strict=True)):
        kernel = tuple(-(-length // n) for n, length in zip(size, spatial, strict=True))
        return size, (kernel, tuple(length // n for n, length in zip(size, spatial, strict=True)))
    return size, None


@lru_cache(1024)
def fractional_windows(name: str, ndim: int, shape: Ints, kernel_size: Any, output_size: Any) -> tuple[Ints, Ints]:
    kernel = expand(name, "kernel_size", kernel_size, ndim)
    if type(output_size) is tuple and len(output_size) != ndim:
        raise RuntimeError(f"{name}: output_size must be an int or a tuple of {ndim} ints, but got {output_size}")
    size = expand(name, "output_size", output_size, ndim)
    check_rank(name, ndim, shape)
    if min(kernel) < 1:
        raise RuntimeError(f"{name}: kernel_size must be greater than zero, but got {kernel}")
    if min(size) < 0:
        raise RuntimeError(f"{name}: output_size must be non-negative, but got {size}")
    for n, t, length in zip(size, kernel, shape[-ndim:], strict=True):
        if n + t - 1 > length:
            raise RuntimeError(
                f"{name}: {n} windows of size {t} are too large relative to an input of size {length}: got kernel_size={kernel} "
                f"and output_size={size} for an input of shape {list(shape)}"
            )
    return kernel, size


def samples_of(name: str, ndim: int, input: Any, planes: Ints, given: Any) -> Any:
    """The random numbers (N, C, ndim) as an array, the dimensions in the order of the input's."""
    if given is None:
        from lamina.ops.random import rand

        given = rand(*planes, ndim, dtype=BY_NUMPY[input._a.dtype])
    if not isinstance(given, Variable):
        raise TypeError(f"{name}(): argument '_random_samples' must be Tensor, not {type(given).__name__}")
    a = given._a
    if a.dtype != input._a.dtype:
        raise RuntimeError(
            f"{name}: expected _random_samples to have the dtype of the input, {BY_NUMPY[input._a.dtype]}, but got "
            f"{BY_NUMPY[a.dtype]}"
        )
    if a.ndim != 3 or a.shape[0] < planes[0] or a.shape[1:] != (planes[1], ndim):
        raise RuntimeError(f"{name}: expected _random_samples of shape {[*planes, ndim]}, but got {list(a.shape)}")
    a = a[: planes[0]]
    return a[..., ::-1] if ndim == 2 else a  # in two dimensions PyTorch gives the width first


@lru_cache(1024)
def unpooled_size(
    name: str, ndim: int, shape: Ints, kernel_size: Any, stride: Any, padding: Any, output_size: Ints | None
) -> Ints:
    """The spatial size of the result of unpooling: as asked for, if a pooling could have led from it to ``shape``."""
    if kernel_size is None or padding is None:
        raise TypeError(f"{name}(): kernel_size and padding must be ints or tuples of ints, not None")
    kernel = expand(name, "kernel_size", kernel_size, ndim)
    stride = kernel if stride is None else expand(name, "stride", stride, ndim)
    padding = expand(name, "padding", padding, ndim)
    for label, values in (("kernel_size", kernel), ("stride", stride)):
        if min(values) < 1:
            raise RuntimeError(f"{name}: {label} must be greater than zero, but got {values}")
    check_rank(name, ndim, shape)
    natural = tuple((n - 1) * s + t - 2 * q for n, t, s, q in zip(shape[-ndim:], kernel, stride, padding, strict=True))
    if output_size is None:
        if min(natural) < 1:
            raise RuntimeError(f"{name}: the result of an input of shape {list(shape)} would have the size {natural}")
        return natural
    if len(output_size) == ndim + 2:
        output_size = output_size[2:]
    if len(output_size) != ndim:
        raise ValueError(
            f"output_size should be a sequence containing {ndim} or {ndim + 2} elements, but it has a length of "
            f"'{len(output_size)}'"
        )
    for d, (n, usual, s) in enumerate(zip(output_size, natural, stride, strict=True)):
        if not usual - s < n < usual + s:
            raise ValueError(f'invalid output_size "{output_size}" (dim {d} must be between {usual - s} and {usual + s})')
    return output_size


def indices_of(name: str, shape: Ints, indices: Any, size: Ints) -> Any:
    """The indices as an array, checked to lie within planes of ``size``."""
    if not isinstance(indices, Variable):
        raise not_a_tensor(indices, name, "indices", 2)
    at = indices._a
    if at.dtype.kind != "i" or at.dtype.itemsize != 8:
        raise RuntimeError(f"{name}: elements in indices should be type int64 but got: {SCALAR_NAME[BY_NUMPY[at.dtype]]}")
    if at.shape != shape:
        raise RuntimeError(
            f"{name}: expected shape of indices to be same as that of the input tensor ({list(shape)}) but got indices tensor "
            f"with shape: {list(at.shape)}"
        )
    if at.size and at.view(np.uint64).max() >= prod(size):  # a negative one is very large as well
        wrong = at.min() if at.min() < 0 else at.max()
        volume = "x".join(map(str, size))
        raise RuntimeError(f"{name}: found an invalid max index: {wrong} (output volumes are of size {volume})")
    return at
