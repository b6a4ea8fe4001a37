"""Parts of a tensor as views (slices, diagonals, windows), and rearranged copies (flips, rolls, repeats, triangles)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME, check_device, int64, to_numpy
from lamina.autograd.graph import Op, Variable, ViewOp, wrap
from lamina.engine import kernels as k
from lamina.ops.operands import checked, of_tensor
from lamina.ops.shape import (
    Look,
    _integer,
    expand,
    flatten,
    reshape,
    sizes,
    strided,
    tensor_list,
    transpose,
    unsqueeze,
    view,
    wrap_dim,
    wrap_dims,
)  # fmt: skip

# -- parts that are views ------------------------------------------------------------------------------------------


class Slice(Look):
    """x[index] for an index of integers, slices, ``None`` and an ellipsis;   dL/dx = g in its place, 0 elsewhere"""

    arguments: tuple

    @staticmethod
    def look(a, index):
        return a[index]

    @staticmethod
    def forward(ctx, x, index):
        a = x._a
        ctx.shape, ctx.arguments = a.shape, (index,)
        return a[index]

    def name(self) -> str:
        for i in reversed(self.arguments[0]):  # PyTorch takes the items one after another; the last one names the node
            if isinstance(i, int):
                return "SelectBackward0"
            if i is None:
                return "UnsqueezeBackward0"
            if i is not Ellipsis and i != slice(None):
                break
        return "SliceBackward0"


def slice_dim(input: Any, dim: int, start: int, stop: int, step: int = 1) -> Any:
    """``input[..., start:stop:step, ...]`` along one (non-negative) dimension."""
    return Slice.apply(input, (slice(None),) * dim + (slice(start, stop, step), Ellipsis))


@of_tensor
def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """A view of ``length`` elements of dimension ``dim``, from ``start``."""
    shape = input._a.shape
    if not shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(shape))
    length = _integer(length, "length")
    if length < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    n, start = shape[d], _integer(start, "start")
    if not -n <= start <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {start})")
    if start < 0:
        start += n
    if start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_dim(input, d, start, start + length)


@of_tensor
def narrow_copy(input: Any, dim: int, start: Any, length: int) -> Any:
    """A copy of what :func:`narrow` shows."""
    return narrow(input, dim, start, length).clone()


@of_tensor
def select(input: Any, dim: int, index: int) -> Any:
    """A view of entry ``index`` along ``dim``, which disappears."""
    shape = input._a.shape
    if not shape:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d = wrap_dim(dim, len(shape))
    i, n = _integer(index, "index"), shape[d]
    if not -n <= i < n:
        raise IndexError(f"select(): index {i} out of range for tensor of size {list(shape)} at dimension {d}")
    return Slice.apply(input, (slice(None),) * d + (i + n if i < 0 else i, Ellipsis))


class Diagonal(Look):
    """The diagonal of two dimensions, as a new last one;   dL/dx = g on the diagonal, 0 elsewhere"""

    @staticmethod
    def look(a, offset, dim1, dim2):
        s1, s2 = a.strides[dim1], a.strides[dim2]
        rows, columns = a.shape[dim1], a.shape[dim2]
        n = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
        start = offset * s2 if offset >= 0 else -offset * s1
        rest = [d for d in range(a.ndim) if d not in (dim1, dim2)]
        shape, strides = [a.shape[d] for d in rest] + [n], [a.strides[d] for d in rest] + [s1 + s2]
        return strided(a, tuple(shape), tuple(strides), start if n else 0)


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A view of the ``offset``-th diagonal of dimensions ``dim1`` and ``dim2``, as the last dimension."""
    n = checked(input, "diagonal")._a.ndim
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return Diagonal.apply(input, _integer(offset, "offset"), d1, d2)


class DiagonalEmbed(Op):
    """Zeros with x on a diagonal of two new dimensions;   dL/dx = that diagonal of g"""

    @staticmethod
    def forward(ctx, x, shape, offset, dim1, dim2):
        ctx.place = offset, dim1, dim2
        return k.embed(x._a, shape, Diagonal.look, ctx.place)

    @staticmethod
    def backward(ctx, grad):
        return Diagonal.apply(grad, *ctx.place), None, None, None, None


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Matrices, in dimensions ``dim1`` and ``dim2`` of the result, with the last dimension of ``input`` on a diagonal."""
    shape = checked(input, "diag_embed")._a.shape
    n = len(shape) + 1
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    offset = _integer(offset, "offset")
    side = shape[-1] + abs(offset)
    lead = iter(shape[:-1])
    full = tuple([side if i in (d1, d2) else next(lead) for i in range(n)])
    return DiagonalEmbed.apply(input, full, offset, d1, d2)


def diag(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The matrix that has a vector on its ``diagonal``-th diagonal, or a copy of that diagonal of a matrix."""
    n = checked(input, "diag")._a.ndim
    if n == 1:
        r = diag_embed(input, diagonal)
    elif n == 2:
        r = _diagonal(input, diagonal).clone()
    else:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {n}D")
    return r if out is None else _store(out, r)


_diagonal = diagonal


@of_tensor
def diagflat(input: Any, offset: int = 0) -> Any:
    """The matrix that has all elements of ``input`` on its ``offset``-th diagonal."""
    return diag_embed(reshape(input, (input._a.size,)), offset)


def _store(out: Any, result: Any) -> Any:
    from lamina.ops.operands import store

    return store(out, result)


class Unfold(ViewOp):
    """Windows of a dimension, as a new last one;   dL/dx = the windows of g added where they came from"""

    @staticmethod
    def forward(ctx, x, dim, size, step):
        a = x._a
        ctx.shape, ctx.dim, ctx.step = a.shape, dim, step
        if not a.ndim:
            return strided(a, (size,), (a.itemsize,))
        count = (a.shape[dim] - size) // step + 1
        shape = (*a.shape[:dim], count, *a.shape[dim + 1 :], size)
        return strided(a, shape, (*a.strides[:dim], a.strides[dim] * step, *a.strides[dim + 1 :], a.strides[dim]))

    @staticmethod
    def backward(ctx, grad):
        if not ctx.shape:
            return reshape(grad, ()) if grad._a.size else wrap(np.zeros((), grad._a.dtype))
        return OverlapAdd.apply(grad, ctx.shape, ctx.dim, ctx.step)


class OverlapAdd(Op):
    """The sum of windows in their places;   dL/dx = the windows of g"""

    @staticmethod
    def forward(ctx, x, shape, dim, step):
        ctx.place = dim, x._a.shape[-1], step
        return k.overlap_add(x._a, shape, dim, step)

    @staticmethod
    def backward(ctx, grad):
        return Unfold.apply(grad, *ctx.place), None, None, None


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """A view of all windows of ``size`` elements of a dimension, ``step`` apart; the window is the last dimension."""
    shape = input._a.shape
    d = wrap_dim(dimension, len(shape))
    n = shape[d] if shape else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    return Unfold.apply(input, d, size, step)


# -- rearranged copies ---------------------------------------------------------------------------------------------


class Flip(Op):
    """x in reverse order along some dimensions;   dL/dx = g in reverse order"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, dims):
        ctx.dims = dims
        return k.flip(x._a, dims)

    @staticmethod
    def backward(ctx, grad):
        return Flip.apply(grad, ctx.dims), None


def flip(input: Any, *args: Any, dims: Any = None) -> Any:
    """A copy in reverse order along ``dims``."""
    if not args and dims is None:
        raise TypeError('flip() missing 1 required positional arguments: "dims"')
    a = checked(input, "flip")._a
    found = wrap_dims(sizes(args if dims is None else (dims,), "dims"), a.ndim)
    return Flip.apply(input, found if a.ndim else ())


def fliplr(input: Any) -> Any:
    """A copy with the columns (dimension 1) in reverse order."""
    if checked(input, "fliplr")._a.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip(input, 1)


def flipud(input: Any) -> Any:
    """A copy with the rows (dimension 0) in reverse order."""
    if checked(input, "flipud")._a.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip(input, 0)


@of_tensor
def rot90(input: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    """A copy turned ``k`` times by a quarter, from dimension ``dims[0]`` towards ``dims[1]``."""
    n = input._a.ndim
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == n:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    d0, d1 = wrap_dim(dims[0], n), wrap_dim(dims[1], n)
    turns = k % 4
    if turns == 0:
        return input.clone()
    if turns == 2:
        return flip(input, (d0, d1))
    return transpose(flip(input, d1 if turns == 1 else d0), d0, d1).clone()


class Roll(Op):
    """x shifted cyclically;   dL/dx = g shifted back"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, shifts, dims):
        ctx.by = tuple([-s for s in shifts]), dims
        return k.roll(x._a, shifts if dims is not None else shifts[0], dims)

    @staticmethod
    def backward(ctx, grad):
        return Roll.apply(grad, *ctx.by), None, None


@of_tensor
def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """``input`` shifted by ``shifts`` places along ``dims``, what falls off re-entering; without dims, as one row."""
    shifts = sizes((shifts,), "shifts") if isinstance(shifts, (tuple, list)) else (_integer(shifts, "shifts"),)
    found: Any = () if dims is None else tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    if not shifts:
        raise RuntimeError("`shifts` required")
    if len(shifts) != len(found) and not (not found and len(shifts) == 1):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(found)}")
    n = input._a.ndim
    return Roll.apply(input, shifts, tuple([wrap_dim(d, n) for d in found]) if found and n else None)


class Repeat(Op):
    """Copies of x side by side;   dL/dx = the sum of g over the copies"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, repeats):
        ctx.shape, ctx.repeats = x._a.shape, repeats
        return k.tile(x._a, repeats)

    @staticmethod
    def backward(ctx, grad):
        lead = len(ctx.repeats) - len(ctx.shape)
        split: list[int] = []
        for r, n in zip(ctx.repeats, (1,) * lead + ctx.shape, strict=True):
            split += [r, n]
        if not split:
            return grad, None
        return reshape(reshape(grad, split).sum(tuple(range(0, len(split), 2))), ctx.shape), None


def repeat(input: Any, *args: Any, repeats: Any = None) -> Any:
    """Copies of ``input`` side by side: ``repeats[i]`` along dimension i (leading dimensions may be new)."""
    counts = sizes(args if repeats is None else (repeats,), "repeats")
    shape = input._a.shape
    lead = len(counts) - len(shape)
    if lead < 0:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(r < 0 for r in counts):
        full = [r * n for r, n in zip(counts, (1,) * lead + shape, strict=True)]
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(full)}: {full}")
    return Repeat.apply(input, counts)


@of_tensor
def tile(input: Any, *args: Any, dims: Any = None) -> Any:
    """:func:`repeat`, where missing leading counts are 1."""
    counts = sizes(args if dims is None else (dims,), "dims")
    return repeat(input, (1,) * (input._a.ndim - len(counts)) + counts)


def repeat_interleave(input: Any, repeats: Any = None, dim: Any = None, *, output_size: int | None = None) -> Any:
    """Each element (along ``dim``, or of the flattened tensor) repeated ``repeats`` times in place.

    ``repeats`` is an int or an integer tensor with a count per element. With counts alone, the indices that they repeat.
    """
    if repeats is None:
        where = wrap(_repeated(_counts(input)))
        _check_output_size(output_size, where._a.size)
        return where
    if dim is None:
        input, dim = flatten(input), 0
    d = wrap_dim(dim, input._a.ndim)
    if not input._a.ndim:
        input = reshape(input, (1,))
    shape = input._a.shape
    if not isinstance(repeats, Variable) and not isinstance(repeats, (tuple, list)):
        r = _integer(repeats, "repeats")
        if r < 0:
            raise RuntimeError("Repeats must be non-negative")
        _check_output_size(output_size, shape[d] * r)
        spread = flatten(expand(unsqueeze(input, d + 1), (*shape[: d + 1], r, *shape[d + 1 :])), d, d + 1)
        return spread if input._a.size and shape[d] > 1 and r > 1 else spread.clone()  # that is a copy already
    counts = _counts(repeats if isinstance(repeats, Variable) else wrap(np.array(repeats, np.int64)))
    if counts.ndim == 0 or counts.shape == (1,):
        counts = np.broadcast_to(counts.reshape(()), (shape[d],))
    if counts.shape[0] != shape[d]:
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.shape[0]} and "
            f"input.size({d}) = {shape[d]}"
        )
    where = _repeated(counts)
    _check_output_size(output_size, where.size)
    return input.index_select(d, wrap(where))


def _counts(repeats: Any) -> np.ndarray:
    a = checked(repeats, "repeat_interleave")._a
    if a.dtype not in (np.int64, np.int32):
        name = SCALAR_NAME[BY_NUMPY[a.dtype]]
        if a.dtype.kind in "fV" or a.dtype.kind in "bc":
            raise NotImplementedError(f"\"repeat_interleave_cpu\" not implemented for '{name}'")
        raise RuntimeError(f"repeats has to be Long or Int tensor, but got {name}")
    if a.ndim > 1:
        raise RuntimeError(f"repeat_interleave only accept 1D vector as repeat, but got {a.ndim}D")
    if a.size and a.min() < 0:
        raise RuntimeError("repeats can not be negative")
    return a


def _repeated(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(counts.size, dtype=counts.dtype), counts.reshape(-1))


def _check_output_size(given: int | None, found: int) -> None:
    if given is not None and given != found:
        raise RuntimeError(f"repeat_interleave: output_size is {given}, but the repeats add up to {found}")


# -- triangles -----------------------------------------------------------------------------------------------------


class Tril(Op):
    """The lower triangle of each matrix, zero elsewhere;   dL/dx = the same of g"""

    kernel = "tril"
    any_dtype = True

    @staticmethod
    def forward(ctx, x, diagonal):
        ctx.diagonal = diagonal
        return getattr(k, ctx.kernel)(x._a, diagonal)

    @staticmethod
    def backward(ctx, grad):
        return type(ctx).apply(grad, ctx.diagonal), None


class Triu(Tril):
    """The upper triangle of each matrix, zero elsewhere;   dL/dx = the same of g"""

    kernel = "triu"


def _triangle(op: type[Op], input: Any, diagonal: Any, out: Any) -> Any:
    name = op.__name__.lower()
    if checked(input, name)._a.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
    r = op.apply(input, _integer(diagonal, "diagonal"))
    return r if out is None else _store(out, r)


def tril(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The elements on and below the ``diagonal``-th diagonal of each matrix; the others are 0."""
    return _triangle(Tril, input, diagonal, out)


def triu(input: Any, diagonal: int = 0, *, out: Any = None) -> Any:
    """The elements on and above the ``diagonal``-th diagonal of each matrix; the others are 0."""
    return _triangle(Triu, input, diagonal, out)


def _indices(find: Any, name: str, row: int, col: int, offset: int, dtype: Any, device: Any) -> Any:
    for label, n in (("row", row), ("col", col)):
        if n < 0:
            raise RuntimeError(f"{label} must be non-negative, got {n}")
    check_device(device)
    return wrap(np.stack(find(row, offset, col)).astype(to_numpy(int64 if dtype is None else dtype)))


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 **_layout: Any) -> Any:
    """The (2, n) indices of the lower triangle of a ``row`` × ``col`` matrix, row by row."""
    return _indices(np.tril_indices, "tril_indices", row, col, offset, dtype, device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None,
                 **_layout: Any) -> Any:
    """The (2, n) indices of the upper triangle of a ``row`` × ``col`` matrix, row by row."""
    return _indices(np.triu_indices, "triu_indices", row, col, offset, dtype, device)


# -- grids and ranks -----------------------------------------------------------------------------------------------


def _several(tensors: tuple) -> tuple:
    return tuple(tensors[0]) if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors


def atleast_1d(*tensors: Any) -> Any:
    """Each tensor as a view of at least one dimension."""
    found = tuple([x if x._a.ndim else view(x, 1) for x in _several(tensors)])
    return found[0] if len(tensors) == 1 and isinstance(tensors[0], Variable) else found


def atleast_2d(*tensors: Any) -> Any:
    """Each tensor as a view of at least two dimensions; a vector becomes a row."""
    found = tuple([x if x._a.ndim > 1 else unsqueeze(atleast_1d(x), 0) for x in _several(tensors)])
    return found[0] if len(tensors) == 1 and isinstance(tensors[0], Variable) else found


def atleast_3d(*tensors: Any) -> Any:
    """Each tensor as a view of at least three dimensions: (n) becomes (1, n, 1), and (m, n) becomes (m, n, 1)."""
    found = tuple([x if x._a.ndim > 2 else unsqueeze(atleast_2d(x), -1) for x in _several(tensors)])
    return found[0] if len(tensors) == 1 and isinstance(tensors[0], Variable) else found


def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple:
    """Views of n vectors as n grids of one shape; ``indexing="xy"`` swaps the first two dimensions of ``"ij"``."""
    found = tensor_list(_several(tensors), "meshgrid")
    if not found:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for x in found:
        if x._a.ndim > 1:
            raise RuntimeError(
                f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got a tensor of shape {list(x._a.shape)}"
            )
        if x._a.dtype != found[0]._a.dtype:
            raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    if indexing is None:
        warnings.warn(
            "torch.meshgrid: in an upcoming release, it will be required to pass the indexing argument.", UserWarning,
            stacklevel=2
        )
        indexing = "ij"
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(found) > 1
    if swap:
        found = (found[1], found[0], *found[2:])
    shape = tuple([x._a.size for x in found])
    grids = [
        expand(view(x, (1,) * i + (x._a.size,) + (1,) * (len(found) - i - 1)), shape) for i, x in enumerate(found)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of the elements of n vectors, as the rows of a matrix (of one vector: itself)."""
    from lamina.ops.join import stack

    found = tensor_list(_several(tensors), "cartesian_prod")
    for x in found:
        if x._a.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(x._a.shape)}")
    if len(found) == 1:
        return found[0]
    return stack([flatten(g) for g in meshgrid(*found, indexing="ij")], 1)


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """All choices of ``r`` elements of a vector, in its order, as the rows of a matrix."""
    from itertools import combinations as choices
    from itertools import combinations_with_replacement as repeated_choices

    a = checked(input, "combinations")._a
    if a.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(a.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return wrap(np.empty(0, a.dtype))
    rows = list((repeated_choices if with_replacement else choices)(range(a.size), r))
    where = np.array(rows, np.int64).reshape(-1)
    return reshape(input.index_select(0, wrap(where)), (len(rows), r))


def unravel_index(indices: Any, shape: Any) -> tuple:
    """The coordinates, in a tensor of ``shape``, of positions in its flattened form."""
    a = checked(indices, "unravel_index")._a
    if a.dtype.kind not in "iu":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {BY_NUMPY[a.dtype]}")
    shape = sizes((shape,) if isinstance(shape, (tuple, list)) else ((shape,),), "shape")
    if any(n < 0 for n in shape):
        raise ValueError(f"'shape' cannot have negative values, but got {shape}")
    found, step = [], 1
    for n in reversed(shape):
        found.append(wrap(np.asarray(a // step % n, np.int64)))
        step *= n
    return tuple(reversed(found))


FUNCTIONS = (
    "narrow", "select", "diagonal", "diag", "diag_embed", "diagflat", "flip", "fliplr", "flipud", "rot90", "roll",
    "tile",
    "repeat_interleave", "tril", "triu", "tril_indices", "triu_indices", "atleast_1d", "atleast_2d", "atleast_3d",
    "meshgrid",
    "cartesian_prod", "combinations", "unravel_index", "narrow_copy",
)  # fmt: skip
METHODS = (
    "narrow", "select", "diagonal", "diag", "diag_embed", "diagflat", "flip", "fliplr", "flipud", "rot90", "roll",
    "tile", "repeat",
    "repeat_interleave", "tril", "triu", "unfold", "narrow_copy",
)  # fmt: skip
INPLACE = ("tril", "triu")
