"""Where a tensor's elements lie in memory: strides, orders, and tensors that themselves take another shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina import _dtypes
from lamina.autograd.graph import Op, Variable, ViewOp, mode, wrap
from lamina.engine import kernels as k
from lamina.ops.operands import checked, not_a_tensor
from lamina.ops.shape import (
    _integer,
    reshape,
    sizes,
    squeeze,
    strided,
    swapaxes,
    swapdims,
    t,
    transpose,
    unsqueeze,
    wrap_dim,
)  # fmt: skip

# -- strides and orders -----------------------------------------------------------------------------------------------

_ORDERS = {_dtypes.channels_last: (0, 2, 3, 1), _dtypes.channels_last_3d: (0, 2, 3, 4, 1)}


def stride(input: Any, dim: int | None = None) -> Any:
    """The steps in memory, in elements, between neighbours along each dimension (or along ``dim``)."""
    a = input._plain()
    item = a.itemsize
    if not a.size:  # NumPy's strides of nothing are arbitrary; PyTorch counts a size of 0 as 1
        found, step = [], 1
        for n in reversed(a.shape):
            found.append(step)
            step *= n or 1
        steps = tuple(reversed(found))
        return steps if dim is None else steps[_stride_dim(dim, a.ndim)]
    steps = tuple([s // item for s in a.strides])
    if 0 in steps and 1 in a.shape:  # NumPy gives new dimensions of size 1 the stride 0; PyTorch skips the whole tensor
        found, step = [], 1
        for n, s in zip(reversed(a.shape), reversed(steps), strict=True):
            own = step if n == 1 and s == 0 else s
            found.append(own)
            step = own * n
        steps = tuple(reversed(found))
    return steps if dim is None else steps[_stride_dim(dim, a.ndim)]


def _stride_dim(dim: int, ndim: int) -> int:
    if ndim == 0:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return wrap_dim(dim, ndim)


def storage_offset(input: Any) -> int:
    """How many elements into its memory the tensor starts."""
    base = input._base
    return 0 if base is None else (_address(input._plain()) - _address(base._a)) // input._a.itemsize


def _address(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


def is_contiguous(input: Any, memory_format: Any = _dtypes.contiguous_format) -> bool:
    """Whether the elements lie in memory in order, without gaps: row-major, or with the channels innermost."""
    if memory_format is _dtypes.contiguous_format:
        return input._hidden or input._a.flags.c_contiguous
    if memory_format not in _ORDERS:
        raise RuntimeError(f"is_contiguous(): unsupported memory format {memory_format!r}")
    order = _ORDERS[memory_format]
    a = input._a
    if a.ndim != len(order):
        return False
    if a.size and not input._hidden:
        return a.transpose(order).flags.c_contiguous
    step = expected = 1  # the order that the user sees is row-major
    steps = {}
    for d in range(a.ndim - 1, -1, -1):
        steps[d] = step
        step *= a.shape[d] or 1
    for d in reversed(order):
        if a.shape[d] != 1:
            if steps[d] != expected:
                return False
            expected *= a.shape[d]
    return True


def contiguous(input: Any, memory_format: Any = _dtypes.contiguous_format) -> Any:
    """The tensor itself if its elements lie in memory in order, otherwise a copy in which they do."""
    if memory_format is None or memory_format is _dtypes.preserve_format:
        if memory_format is not None and not is_contiguous(input):
            raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
        memory_format = _dtypes.contiguous_format
    if is_contiguous(input, memory_format):
        return input
    return input.clone(memory_format=memory_format)


class MemoryOrder(Op):
    """A copy whose dimensions lie in memory in another order;   dL/dx = g"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, order):
        return k.memory_order(x._a, order)

    @staticmethod
    def backward(ctx, grad):
        return grad, None

    def name(self) -> str:
        return "CloneBackward0"


def to_memory_format(input: Any, memory_format: Any, copy: bool = False) -> Any:
    """``input`` with its elements in the order of ``memory_format``; itself if they are already and no copy is asked for."""
    if memory_format is _dtypes.preserve_format or memory_format is None:
        return input.clone() if copy else input
    if memory_format is not _dtypes.contiguous_format and memory_format not in _ORDERS:
        raise TypeError(f"memory_format must be a torch.memory_format, not {type(memory_format).__name__}: {memory_format!r}")
    n = input._a.ndim
    order = _ORDERS.get(memory_format, tuple(range(n)))
    if len(order) != n:
        raise RuntimeError(f"required rank {len(order)} tensor to use {memory_format!r:.50} format".replace("torch.",
                                                                                                            ""))
    if not copy and is_contiguous(input, memory_format):
        return input
    r = MemoryOrder.apply(input, order)
    r._hidden = False  # the user asked for this order, and sees it
    return r


class AsStrided(ViewOp):
    """Elements of x's memory at given strides;   dL/dx = g summed at the elements that were shown"""

    @staticmethod
    def forward(ctx, x, size, strides, offset, layout):
        a = x._a
        whole = (x if x._base is None else x._base)._a
        if whole.strides != layout and whole.size:
            raise RuntimeError(
                "as_strided: cannot carry an in-place write back through strides of a base that is not contiguous; clone it first"
            )
        ctx.geometry = a.shape, stride(x), storage_offset(x), size, strides, offset, _extent(whole)
        item = a.itemsize
        start = offset * item - (_address(a) - _address(whole))
        return strided(a, size, tuple([s * item for s in strides]), start)

    @staticmethod
    def backward(ctx, grad):
        shape, strides, offset, out_size, out_strides, out_offset, extent = ctx.geometry
        mine, shown = _positions(shape, strides, offset), _positions(out_size, out_strides, out_offset)
        memory = wrap(np.zeros(extent, grad._a.dtype)).index_add(0, wrap(shown.ravel()),
                                                                 reshape(grad, (grad._a.size,)))
        if len(set(mine.ravel().tolist())) < mine.size:  # several elements of x are one: they share its gradient
            memory = memory / wrap(np.maximum(np.bincount(mine.ravel(), minlength=extent), 1).astype(grad._a.dtype))
        return memory.index_select(0, wrap(mine.ravel())).reshape(shape)


def _positions(size: tuple, strides: tuple, offset: int) -> np.ndarray:
    """The place in memory, in elements, of each element."""
    where = np.full((), offset, np.int64)
    for n, s in zip(size, strides, strict=True):
        where = where[..., None] + np.arange(n) * s
    return where


def _extent(a: np.ndarray) -> int:
    """How many elements of memory an array reaches over."""
    if not a.size:
        return 0
    return 1 + sum((n - 1) * s for n, s in zip(a.shape, a.strides, strict=True)) // a.itemsize


def as_strided(input: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:  # noqa: A002
    """A view of the tensor's memory with any sizes and strides (in elements), from ``storage_offset``."""
    size, steps = sizes((tuple(size),)), sizes((tuple(stride),), "stride")
    input._plain()
    base = (input if input._base is None else input._base)._a
    offset = _offset_of(input) if storage_offset is None else _integer(storage_offset, "storage_offset")
    if len(size) != len(steps):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(s < 0 for s in steps):
        raise RuntimeError(f"as_strided: Negative strides are not supported at the moment, got strides: {list(steps)}")
    if any(n < 0 for n in size) or offset < 0:
        raise RuntimeError(f"as_strided: negative size or storage offset: sizes {list(size)}, storage offset {offset}")
    last = offset + sum((n - 1) * s for n, s in zip(size, steps, strict=True)) + 1
    if 0 not in size and last > _extent(base):
        item = input._a.itemsize
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(steps)}, storage offset {offset}, and itemsize {item} requiring a "
            f"storage size of {last * item} are out of bounds for storage of size {_extent(base) * item}"
        )
    return AsStrided.apply(input, size, steps, offset, base.strides)


_offset_of = storage_offset


# -- a tensor that becomes a view of itself ------------------------------------------------------------------------


def _becomes(function: Any) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self, Variable):
            raise not_a_tensor(self, function.__name__)
        if mode.enabled and self._history()[0] is None and self._requires:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        v = function(self, *args, **kwargs)
        if v is not self:
            self._a = v._a
            self._node, self._index, self._requires = v._node, v._index, v._requires
            if self._base is not None:
                self._replay, self._stamp = v._replay, v._stamp
        return self

    method.__name__ = method.__qualname__ = function.__name__ + "_"
    method.__doc__ = f"In-place form of :func:`{function.__name__}`: this tensor itself takes the new shape, in the same memory."
    return method


unsqueeze_, squeeze_, t_, transpose_ = _becomes(unsqueeze), _becomes(squeeze), _becomes(t), _becomes(transpose)
swapaxes_, swapdims_, as_strided_ = _becomes(swapaxes), _becomes(swapdims), _becomes(as_strided)


def resize_(input: Any, *sizes_: Any, memory_format: Any = _dtypes.contiguous_format) -> Any:
    """``input`` itself in another shape, over the same memory if that suffices; elements beyond it are uninitialised."""
    shape = sizes(sizes_)
    if input._requires:
        raise RuntimeError("cannot resize variables that require grad")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"resize_: negative dimension in {list(shape)}")
    a, n = input._plain(), 1
    for m in shape:
        n *= m
    if a.shape != shape:
        if n <= a.size and a.flags.c_contiguous:
            input._a = a.reshape(-1)[:n].reshape(shape)
        else:
            new = np.empty(n, a.dtype)
            kept = min(n, a.size)
            new[:kept] = a.reshape(-1)[:kept]
            input._a = new.reshape(shape)
    return input


def resize_as_(input: Any, the_template: Any, memory_format: Any = _dtypes.contiguous_format) -> Any:
    """``input.resize_(the_template.shape)``."""
    return resize_(input, checked(the_template, "resize_as_")._a.shape)


FUNCTIONS = ("as_strided",)
METHODS = (
    "as_strided", "contiguous", "is_contiguous", "stride", "storage_offset", "unsqueeze_", "squeeze_", "t_",
    "transpose_",
    "swapaxes_", "swapdims_", "as_strided_", "resize_", "resize_as_",
)  # fmt: skip
