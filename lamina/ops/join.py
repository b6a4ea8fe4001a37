"""Several tensors as one, and one as several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, SCALAR_NAME
from lamina.autograd import express
from lamina.autograd.graph import Op, Variable, ViewOp, wants, wrap
from lamina.engine import kernels as k
from lamina.engine.door import detours
from lamina.ops.operands import checked, not_a_tensor, of_tensor, result_numpy_dtype, store
from lamina.ops.parts import Slice, atleast_1d, atleast_2d, atleast_3d, slice_dim
from lamina.ops.shape import _integer, reshape, sizes, tensor_list, wrap_dim

# -- joins ---------------------------------------------------------------------------------------------------


def _common_dtype(tensors: Sequence[Any]) -> np.dtype | None:
    """The dtype that tensors are promoted to, or ``None`` if it is the same for all."""
    dtype = tensors[0]._a.dtype
    for t in tensors:
        if t._a.dtype is not dtype:
            return result_numpy_dtype(*tensors)
    return None


class Cat(Op):
    """Tensors one after the other along a dimension;   each gets its part of g"""

    any_dtype = True

    @staticmethod
    def forward(ctx, dim, *tensors):
        if ctx.recording:
            ctx.dim, ctx.lengths = dim, [t._a.shape[dim] for t in tensors]
        return k.cat(tensors[0]._a, tuple([t._a for t in tensors[1:]]), dim, _common_dtype(tensors))

    @staticmethod
    def backward(ctx, grad):
        grads: list[Any] = [None]
        start = 0
        for i, n in enumerate(ctx.lengths, 1):
            grads.append(slice_dim(grad, ctx.dim, start, start + n) if ctx.needs(i) else None)
            start += n
        return tuple(grads)


class Stack(Op):
    """Tensors of one shape along a new dimension;   each gets its part of g"""

    any_dtype = True

    @staticmethod
    def forward(ctx, dim, *tensors):
        ctx.dim, ctx.count = dim, len(tensors)
        return k.stack(tensors[0]._a, tuple([t._a for t in tensors[1:]]), dim, _common_dtype(tensors))

    @staticmethod
    def backward(ctx, grad):
        lead = (slice(None),) * ctx.dim
        return None, *(
            Slice.apply(grad, (*lead, i, Ellipsis)) if ctx.needs(i + 1) else None for i in range(ctx.count)
        )


class BlockDiag(Op):
    """Matrices corner to corner, zero around them;   each gets its block of g"""

    @staticmethod
    def forward(ctx, *matrices):
        ctx.shapes = tuple([m._a.shape for m in matrices])
        arrays = [m._a for m in matrices]
        return k.block_diag(arrays[0], tuple(arrays[1:]), _common_dtype(matrices) or arrays[0].dtype)

    @staticmethod
    def backward(ctx, grad):
        grads: list[Any] = []
        row = column = 0
        for i, (rows, columns) in enumerate(ctx.shapes):
            place = (slice(row, row + rows), slice(column, column + columns), Ellipsis)
            grads.append(Slice.apply(grad, place) if ctx.needs(i) else None)
            row, column = row + rows, column + columns
        return tuple(grads)


def _express(op: type[Op], kernel: Any, tensors: Any, dim: int) -> Any:
    """Few numbers of one dtype joined along an axis, or stacked along the first, by the express lane; else ``None``."""
    if detours or type(tensors) not in (tuple, list) or not tensors:
        return None
    arrays: list[Any] = []
    records = False
    for t in tensors:
        if not isinstance(t, Variable):
            return None
        if t._requires if t._base is None else wants(t):
            records = True
        a = t._a
        if arrays:
            if a.dtype is not arrays[0].dtype or op is Stack and a.shape != arrays[0].shape:
                return None
        elif a.dtype is not F32 and a.dtype.kind not in "fiub":
            return None
        arrays.append(a)
    if a.size >= kernel.min_size or records and not a.ndim:
        return None
    try:
        c = np.concatenate(arrays, dim) if a.ndim or op is Cat else np.array(arrays)
    except ValueError:  # what does not fit, and what PyTorch joins all the same
        return None
    if not c.flags.c_contiguous:
        return None
    kernel.reference_calls += 1
    if op is Stack:
        c = c.reshape((len(arrays), *a.shape))
    if not records:
        return wrap(c)
    r = express.result(op, c, dim, *tensors)
    node = r._node
    if node is not None:
        dim %= a.ndim
        node.dim, node.lengths, node.count = dim, [a.shape[dim] for a in arrays], len(arrays)
    return r


def _legacy_empty(t: Any) -> bool:
    """A tensor of shape (0,), which PyTorch joins to anything."""
    return t._a.shape == (0,)


def cat(tensors: Any, dim: int = 0, *, axis: int | None = None, out: Any = None) -> Any:
    """Tensors one after the other along ``dim``; other sizes must agree; the dtype is their common one.

    Raises ``ValueError`` for no tensors, ``RuntimeError`` for shapes that do not fit, ``IndexError`` for a bad ``dim``.
    """
    if axis is None and out is None and type(dim) is int:
        r = _express(Cat, k.cat, tensors, dim)
        if r is not None:
            return r
    found = tensor_list(tensors, "cat")
    if not found:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    first = next((t for t in found if not _legacy_empty(t)), found[0])
    shape = first._a.shape
    d = wrap_dim(dim if axis is None else axis, len(shape))
    for t in found:
        s = t._a.shape
        if s != shape and (len(s) != len(shape) or s[:d] != shape[:d] or s[d + 1 :] != shape[d + 1 :]):
            found = _joinable(found, shape, d)
            break
    if not shape:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    r = Cat.apply(d, *found)
    return r if out is None else _store(out, r, "cat")


def _joinable(tensors: tuple, shape: tuple, dim: int) -> tuple:
    """Tensors, with those of shape (0,) in a shape that fits (they count for the dtype only); raises if others do not fit."""
    fitting = []
    for i, t in enumerate(tensors):
        s = t._a.shape
        if not s:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
        if _legacy_empty(t):
            fitting.append(reshape(t, (*shape[:dim], 0, *shape[dim + 1 :])))
            continue
        if len(s) != len(shape):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(shape)} and {len(s)}")
        for j, (n, m) in enumerate(zip(shape, s, strict=True)):
            if n != m and j != dim:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {dim}. Expected size {n} but got size {m} for tensor "
                    f"number {i} in the list."
                )
        fitting.append(t)
    return tuple(fitting)


def _store(out: Any, result: Any, name: str) -> Any:
    if isinstance(out, Variable):
        a, b = BY_NUMPY[result._a.dtype], BY_NUMPY[out._a.dtype]
        if a.rank > b.rank:
            raise TypeError(f"torch.{name}(): input types can't be cast to the desired output type {SCALAR_NAME[b]}")
    return store(out, result)


def concat(tensors: Any, dim: int = 0, *, axis: int | None = None, out: Any = None) -> Any:
    """:func:`cat` by another name."""
    return cat(tensors, dim, axis=axis, out=out)


concatenate = concat


def stack(tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
    """Tensors of one shape along a new dimension ``dim``; raises ``RuntimeError`` if the shapes differ."""
    if type(dim) is int and dim == 0 and out is None:
        r = _express(Stack, k.stack, tensors, 0)
        if r is not None:
            return r
    found = tensor_list(tensors, "stack")
    if not found:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = found[0]._a.shape
    d = wrap_dim(dim, len(shape) + 1)
    for i, t in enumerate(found):
        if t._a.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and {list(t._a.shape)} at "
                f"entry {i}"
            )
    r = Stack.apply(d, *found)
    return r if out is None else _store(out, r, "stack")


def _ranked(tensors: Any, name: str, at_least: Callable[..., Any]) -> tuple:
    found = tensor_list(tensors, name)
    if not found:
        raise RuntimeError(f"{name} expects a non-empty TensorList")
    return at_least(found)


def hstack(tensors: Any, *, out: Any = None) -> Any:
    """Tensors side by side: along dimension 1, or 0 if they are vectors."""
    found = _ranked(tensors, "hstack", atleast_1d)
    return cat(found, 0 if found[0]._a.ndim == 1 else 1, out=out)


def vstack(tensors: Any, *, out: Any = None) -> Any:
    """Tensors above each other (vectors as rows), along dimension 0."""
    return cat(_ranked(tensors, "vstack", atleast_2d), 0, out=out)


row_stack = vstack


def dstack(tensors: Any, *, out: Any = None) -> Any:
    """Tensors behind each other, along dimension 2."""
    return cat(_ranked(tensors, "dstack", atleast_3d), 2, out=out)


def column_stack(tensors: Any, *, out: Any = None) -> Any:
    """Vectors as the columns of a matrix; matrices side by side."""
    found = tensor_list(tensors, "column_stack")
    if not found:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return cat([reshape(t, (t._a.size, 1)) if t._a.ndim < 2 else t for t in found], 1, out=out)


def block_diag(*tensors: Any) -> Any:
    """The matrix with the given matrices (vectors as rows, numbers as 1 × 1) corner to corner and 0 around them."""
    found = tensor_list(tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors,
                        "block_diag")
    for i, t in enumerate(found):
        if t._a.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t._a.ndim} dimensions"
            )
    if not found:
        from lamina._dtypes import _Default

        return wrap(np.zeros((1, 0), _Default.numpy))
    return BlockDiag.apply(*atleast_2d(found))


# -- splits: views -------------------------------------------------------------------------------------------


class Split(ViewOp):
    """Consecutive parts of a dimension;   dL/dx = their gradients, joined"""

    @staticmethod
    def forward(ctx, x, lengths, dim):
        ctx.dim = dim
        a, lead, start, parts = x._a, (slice(None),) * dim, 0, []
        for n in lengths:
            part = slice(start, start + n)
            parts.append(a[(*lead, part)] if dim else a[part])
            start += n
        return tuple(parts)

    @staticmethod
    def backward(ctx, *grads):
        return Cat.apply(ctx.dim, *grads)


class Unbind(ViewOp):
    """The slices of a dimension;   dL/dx = their gradients, stacked"""

    @staticmethod
    def forward(ctx, x, dim):
        ctx.dim = dim
        a, lead = x._a, (slice(None),) * dim
        return tuple([a[(*lead, i, Ellipsis)] for i in range(a.shape[dim])])

    @staticmethod
    def backward(ctx, *grads):
        return Stack.apply(ctx.dim, *grads)


def _split_dim(tensor: Any, dim: Any, name: str) -> int:
    if not isinstance(tensor, Variable):
        raise not_a_tensor(tensor, name, "tensor")
    if not tensor._a.ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    return wrap_dim(dim, tensor._a.ndim)


def split(tensor: Any, split_size_or_sections: Any = None, dim: int = 0, *, split_size: Any = None) -> tuple:
    """Views of consecutive parts of ``dim``: of one size each (the last may be smaller), or of the sizes in a list."""
    parts = split_size if split_size_or_sections is None else split_size_or_sections
    if isinstance(parts, (tuple, list)):
        return split_with_sizes(tensor, parts, dim)
    d = _split_dim(tensor, dim, "split")
    size, n = _integer(parts, "split_size"), tensor._a.shape[d]
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0 and n:
        raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
    lengths = (*(size,) * (n // size), *((n % size,) if n % size else ())) if n else (0,)
    return Split.apply(tensor, lengths, d)


def split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple:
    """Views of consecutive parts of ``dim``, of the given sizes; raises ``RuntimeError`` unless they add up to its size."""
    d = _split_dim(input, dim, "split")
    lengths, n = sizes((tuple(split_sizes),), "split_sizes"), input._a.shape[d]
    if any(m < 0 for m in lengths):
        raise RuntimeError(
            f"split_with_sizes expects split_sizes have only non-negative entries, but got split_sizes={list(lengths)}"
        )
    if sum(lengths) != n:
        raise RuntimeError(
            f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {d}), but got "
            f"split_sizes={list(lengths)}"
        )
    return Split.apply(input, lengths, d)


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple:
    """At most ``chunks`` views of equal size (the last may be smaller) along ``dim``."""
    d = _split_dim(input, dim, "chunk")
    chunks = _integer(chunks, "chunks")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input._a.shape[d]
    if n == 0:
        return Split.apply(input, (0,) * chunks, d)
    size = -(-n // chunks)
    return Split.apply(input, (*(size,) * (n // size), *((n % size,) if n % size else ())), d)


def unsafe_chunk(input: Any, chunks: int, dim: int = 0) -> tuple:
    """:func:`chunk`."""
    return chunk(input, chunks, dim)


def unsafe_split(tensor: Any, split_size: int, dim: int = 0) -> tuple:
    """:func:`split`."""
    return split(tensor, split_size, dim)


def unsafe_split_with_sizes(input: Any, split_sizes: Any, dim: int = 0) -> tuple:
    """:func:`split_with_sizes`."""
    return split_with_sizes(input, split_sizes, dim)


@of_tensor
def unbind(input: Any, dim: int = 0) -> tuple:
    """Views of all slices along ``dim``, which disappears."""
    if not input._a.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    return Unbind.apply(input, wrap_dim(dim, input._a.ndim))


@of_tensor
def tensor_split(input: Any, indices_or_sections: Any = None, dim: int = 0, *, indices: Any = None,
                 sections: Any = None) -> tuple:  # fmt: skip
    """Views of parts of ``dim``: n parts whose sizes differ by at most 1, or parts cut at the given indices."""
    if not input._a.ndim:
        raise RuntimeError(
            "tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims"
        )
    d = wrap_dim(dim, input._a.ndim)
    at = next((p for p in (indices_or_sections, indices, sections) if p is not None), None)
    if isinstance(at, Variable):
        if at._a.ndim > 1:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to be a zero-dimensional or one-dimensional tensor, but "
                f"got a tensor with {at._a.ndim} dims"
            )
        if at._a.dtype != np.int64:
            raise RuntimeError(
                "tensor_split expected tensor_indices_or_sections to have dtype of long, but got "
                f"{SCALAR_NAME[BY_NUMPY[at._a.dtype]]}"
            )
        at = at._a.tolist()
    n = input._a.shape[d]
    if isinstance(at, (tuple, list)):
        cuts = [0, *sizes((tuple(at),), "indices"), n]
        return tuple([slice_dim(input, d, a, b) for a, b in zip(cuts, cuts[1:], strict=False)])
    parts = _integer(at, "sections")
    if parts <= 0:
        raise RuntimeError(f"number of sections must be larger than 0, got {parts}")
    size, larger = divmod(n, parts)
    return Split.apply(input, (size + 1,) * larger + (size,) * (parts - larger), d)


def _axis_split(input: Any, indices_or_sections: Any, name: str, least: int, dim: int) -> tuple:
    n = checked(input, name)._a.ndim
    dim = 0 if n == 1 else dim
    if n < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with {n} dimensions!"
        )
    if not isinstance(indices_or_sections, (tuple, list)):
        parts, length = _integer(indices_or_sections, "sections"), input._a.shape[dim]
        if parts == 0 or length % parts:
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension {length} is not "
                f"divisible by the split_size {parts}!"
            )
    return tensor_split(input, indices_or_sections, dim)


def hsplit(input: Any, indices_or_sections: Any) -> tuple:
    """:func:`tensor_split` along dimension 1 (0 for a vector), into equal parts or at indices."""
    return _axis_split(input, indices_or_sections, "hsplit", 1, 1)


def vsplit(input: Any, indices_or_sections: Any) -> tuple:
    """:func:`tensor_split` along dimension 0, into equal parts or at indices."""
    return _axis_split(input, indices_or_sections, "vsplit", 2, 0)


def dsplit(input: Any, indices_or_sections: Any) -> tuple:
    """:func:`tensor_split` along dimension 2, into equal parts or at indices."""
    return _axis_split(input, indices_or_sections, "dsplit", 3, 2)


METHODS = (
    "split", "split_with_sizes", "chunk", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes", "unbind",
    "tensor_split", "hsplit", "vsplit", "dsplit",
)  # fmt: skip
FUNCTIONS = (
    "cat", "concat", "concatenate", "stack", "hstack", "vstack", "row_stack", "dstack", "column_stack", "block_diag",
    *METHODS,
)  # fmt: skip
