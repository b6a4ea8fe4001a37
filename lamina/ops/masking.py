"""Reading and writing where a mask holds, finding where that is, and copies with one part replaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops.indexing import (
    _FULL,
    _NUMBER,
    Index,
    IndexPut,
    _fits,
    _slice,
    _zero,
    copy_into,
    fill_,
    number,
    write,
)
from lamina.ops.layout import as_strided, storage_offset, stride
from lamina.ops.operands import checked, of_tensor, store
from lamina.ops.parts import Diagonal, Slice, select
from lamina.ops.pointwise import cast, where
from lamina.ops.shape import _integer, expand, reshape, wrap_dim

# -- masks ---------------------------------------------------------------------------------------------------


def _check_mask(mask: Any, name: str, text: str) -> None:
    if checked(mask, name)._a.dtype.kind != "b":
        raise RuntimeError(f"{text} {BY_NUMPY[mask._a.dtype].name}")


class MaskedFill(Op):
    """x with v where the mask holds;   dL/dx = g where it does not, dL/dv = Σg where it does"""

    @staticmethod
    def forward(ctx, x, mask, value, into):
        ctx.save(mask)
        return k.masked_fill(x._a, mask._a, value._a, into)

    @staticmethod
    def backward(ctx, grad):
        (mask,) = ctx.saved
        gx = MaskedFill.apply(grad, mask, _zero(grad), False) if ctx.needs(0) else None
        return gx, None, (grad * mask).sum() if ctx.needs(2) else None, None


def _fill_arguments(input: Any, mask: Any, value: Any) -> Any:
    _check_mask(mask, "masked_fill", "masked_fill_ only supports boolean masks, but got mask with dtype")
    if isinstance(value, Variable):
        if value._a.ndim:
            raise RuntimeError(
                f"masked_fill_ only supports a 0-dimensional value tensor, but got tensor with {value._a.ndim} dimension(s)."
            )
        return cast(value, BY_NUMPY[input._a.dtype])
    if not isinstance(value, _NUMBER):
        raise TypeError(f"masked_fill(): argument 'value' must be Number or Tensor, not {type(value).__name__}")
    return wrap(number(value, input._a.dtype))


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """A copy with a number, or zero-dimensional tensor, where ``mask`` (bool, broadcast) holds."""
    value = _fill_arguments(input, mask, value)
    if input._a.shape != mask._a.shape:
        _broadcast(input._a.shape, mask._a.shape)
    return MaskedFill.apply(input, mask, value, False)


def masked_fill_(input: Any, mask: Any, value: Any) -> Any:
    """In-place form of :func:`masked_fill`."""
    value = _fill_arguments(input, mask, value)
    _fits(mask._a.shape, input._a.shape)
    return write(MaskedFill, input, mask, value)


def _broadcast(a: tuple, b: tuple) -> tuple:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        i = next(i for i in range(1, len(a) + 1) if a[-i] != b[-i] and 1 not in (a[-i], b[-i]))
        raise RuntimeError(
            f"The size of tensor a ({a[-i]}) must match the size of tensor b ({b[-i]}) at non-singleton dimension "
            f"{max(len(a), len(b)) - i}"
        ) from None


def _expanded(x: Any, shape: tuple) -> Any:
    return x if x._a.shape == shape else expand(x, shape)


class MaskedSelect(Index):
    """The elements of x where a mask holds;   dL/dx = g at those places, 0 elsewhere"""


class MaskedScatter(IndexPut):
    """x with elements of v where a mask holds;   dL/dx = g, 0 where replaced,   dL/dv = g where the mask holds"""


def masked_select(input: Any, mask: Any, *, out: Any = None) -> Any:
    """The elements where ``mask`` (bool, broadcast) holds, as a vector."""
    _check_mask(mask, "masked_select", "masked_select: expected BoolTensor for mask, but got")
    shape = _broadcast(input._a.shape, mask._a.shape)
    x, m = _expanded(input, shape), _expanded(mask, shape)
    if not shape:
        x, m = reshape(x, (1,)), reshape(m, (1,))
    r = MaskedSelect.apply(x, (m,))
    return r if out is None else store(out, r)


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """A copy with consecutive elements of ``source`` where ``mask`` (bool, broadcast) holds."""
    _check_mask(mask, "masked_scatter", "masked_scatter_ only supports boolean masks, but got mask with dtype")
    if source._a.dtype != input._a.dtype:
        raise RuntimeError(
            "masked_scatter: expected self and source to have same dtypes but got "
            f"{SCALAR_NAME[BY_NUMPY[input._a.dtype]]} and {SCALAR_NAME[BY_NUMPY[source._a.dtype]]}"
        )
    shape = _broadcast(input._a.shape, mask._a.shape)
    x, m = _expanded(input, shape), _expanded(mask, shape)
    n = int(np.count_nonzero(m._a))
    if source._a.size < n:
        raise RuntimeError(
            f"Number of elements of source < number of ones in mask: {source._a.size} < {n}"
        )
    if not shape:
        x, m = reshape(x, (1,)), reshape(m, (1,))
    row = Slice.apply(reshape(source, (source._a.size,)), (slice(0, n), Ellipsis))
    r = MaskedScatter.apply(x, row, (m,), False, False)
    return r if shape else reshape(r, ())


# -- where is what -------------------------------------------------------------------------------------------


def nonzero(input: Any, *, as_tuple: bool = False, out: Any = None) -> Any:
    """The indices of the elements that are not 0: an (n, ndim) tensor, or a tuple of a tensor for each dimension."""
    a = checked(input, "nonzero")._a
    if as_tuple:
        return tuple([wrap(np.ascontiguousarray(i)) for i in k.nonzero(a if a.ndim else a.reshape(1)).T])
    r = wrap(k.nonzero(a))
    return r if out is None else store(out, r)


def argwhere(input: Any) -> Any:
    """The indices of the elements that are not 0, one in a row."""
    return nonzero(input)


# -- a copy with one part replaced ---------------------------------------------------------------------------


def _replaced(input: Any, src: Any, place: Any, name: str) -> Any:
    result = input.clone()
    part = place(result)
    if src._a.shape != part._a.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the {name} of self. src size = {list(src._a.shape)}, {name} size = "
            f"{list(part._a.shape)}"
        )
    copy_into(part, src)
    return result


@of_tensor
def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """A copy with ``src`` as its slice ``index`` of ``dim``."""
    return _replaced(input, src, lambda x: select(x, dim, index), "slice")


@of_tensor
def slice_scatter(input: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """A copy with ``src`` in ``start:end:step`` of ``dim``."""
    d = wrap_dim(dim, input._a.ndim)
    place = (*(_FULL,) * d, _slice(slice(start, end, step)), Ellipsis)
    return _replaced(input, src, lambda x: Slice.apply(x, place), "slice")


@of_tensor
def diagonal_scatter(input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """A copy with ``src`` on a diagonal."""
    n = input._a.ndim
    d1, d2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if d1 == d2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return _replaced(input, src, lambda x: Diagonal.apply(x, _integer(offset, "offset"), d1, d2), "diagonal")


def fill_diagonal_(input: Any, fill_value: Any, wrap: bool = False) -> Any:
    """Writes a number into the main diagonal; with ``wrap``, a tall matrix's diagonal starts again below the end."""
    shape = input._a.shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    steps, start = stride(input), storage_offset(input)
    fill_(as_strided(input, (min(shape),), (sum(steps),), start), fill_value)
    if len(shape) == 2 and wrap and shape[0] > shape[1] + 1:
        step = shape[1] + 1
        more = -(-input._a.size // step) - min(shape)
        fill_(as_strided(input, (more,), (sum(steps),), start + steps[0] * step), fill_value)
    return input


def _where(input: Any, condition: Any, other: Any) -> Any:
    """``input`` where ``condition`` (bool) holds, else ``other``."""
    return where(condition, input, other)


_where.__name__ = _where.__qualname__ = "where"

FUNCTIONS = (
    "masked_fill", "masked_select", "masked_scatter", "nonzero", "argwhere", "select_scatter", "slice_scatter",
    "diagonal_scatter",
)  # fmt: skip
METHODS = (*FUNCTIONS, "masked_fill_", "fill_diagonal_", _where)
INPLACE = ("masked_scatter",)
