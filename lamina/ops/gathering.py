"""Gathering and scattering: an index for each element, or for each slice of a dimension."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, inplace, look, type_name, wrap
from lamina.engine import kernels as k
from lamina.ops.indexing import _NUMBER, _zero, number, write
from lamina.ops.operands import checked, of_tensor, store
from lamina.ops.parts import Slice
from lamina.ops.pointwise import cast, where
from lamina.ops.shape import expand, reshape, wrap_dim

# -- arguments -----------------------------------------------------------------------------------------------


def _name(x: Any) -> str:
    return SCALAR_NAME[BY_NUMPY[x._a.dtype]]


def _same_dtype(x: Any, source: Any, name: str) -> None:
    if x._a.dtype != source._a.dtype:
        raise RuntimeError(
            f"{name}(): Expected self.dtype to be equal to src.dtype, but got {_name(x)} and {_name(source)}"
        )


def _ends(index: np.ndarray) -> tuple[Any, Any]:
    """The least and the largest of some positions; (0, -1) of none. Of few, Python finds them quicker than NumPy."""
    if index.size > 64:
        return index.min(), index.max()
    values = index.ravel().tolist()
    return (min(values), max(values)) if values else (0, -1)


_UNSIGNED = {4: np.uint32, 8: np.uint64}


def _in_range(index: np.ndarray, dim: int, n: int, error: type[Exception] = RuntimeError, low: int = 0,
              head: str = "") -> None:
    """Raise for the first index outside [low, n)."""
    if not low and index.size > 64:  # seen as unsigned, negative ones are the largest: one pass for both ends
        if index.dtype.kind == "i" and index.view(_UNSIGNED[index.itemsize]).max() < n:
            return
    least, most = _ends(index)
    if least < low or most >= n:
        bad = index[(index < low) | (index >= n)][0]
        raise error(f"{head}index {bad} is out of bounds for dimension {dim} with size {n}")


def _element_index(x: Any, dim: Any, index: Any, name: str, source: tuple | None = None) -> int:
    """Check an index for each element against its tensor (and the shape of its source); returns the dimension."""
    shape, a = x._a.shape, checked(index, name)._a
    d = wrap_dim(dim, len(shape))
    if a.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index, but got {_name(index)}")
    if a.size == 0:
        return d
    rank = max(len(shape), 1)
    if max(a.ndim, 1) != rank:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as {'input' if name == 'gather' else 'self'} tensor: got "
            f"{a.ndim} and {len(shape)}"
        )
    if source is not None and max(len(source), 1) != rank:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as src tensor: got {a.ndim} and {len(source)}"
        )
    mine, index_shape = shape or (1,), a.shape or (1,)
    too_large = [i for i, (n, m) in enumerate(zip(index_shape, mine, strict=True)) if i != d and n > m]
    if name == "gather":
        if too_large:
            raise RuntimeError(
                f"Size does not match at dimension {too_large[0]} expected index {list(a.shape)} to be no larger than self "
                f"{list(shape)} apart from dimension {d}"
            )
    elif too_large or (source is not None and any(n > m for n, m in zip(index_shape, source or (1,), strict=True))):
        more = "" if source is None else f" and to be no larger size than src {list(source)}"
        raise RuntimeError(
            f"Expected index {list(a.shape)} to be no larger than self {list(shape)} apart from dimension {d}{more}"
        )
    _in_range(a, d, mine[d])
    return d


def _cut(source: Any, index: Any) -> Any:
    """The corner of ``source`` that an index covers."""
    shape = index._a.shape
    if source._a.shape == shape:
        return source
    if source._a.ndim != len(shape):  # a number and a vector of one; or nothing
        return reshape(source, shape) if index._a.size else source
    return Slice.apply(source, (*[slice(0, n) for n in shape], Ellipsis))


def _zeros(shape: tuple, like: Any) -> Any:
    return wrap(np.zeros(shape, like._a.dtype))


# -- an index for each element -------------------------------------------------------------------------------


class Gather(Op):
    """out[i][j] = x[index[i][j]][j] (dim 0);   dL/dx = g added at those places"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, dim, index):
        ctx.save(index)
        ctx.dim, ctx.shape = dim, x._a.shape
        return k.gather(x._a, dim, index._a)

    @staticmethod
    def backward(ctx, grad):
        return ScatterAdd.apply(_zeros(ctx.shape, grad), ctx.dim, ctx.saved[0], grad, True), None, None


class Scatter(Op):
    """x with out[index[i][j]][j] = s[i][j] (dim 0);   dL/dx = g, 0 where replaced,   dL/ds = g gathered"""

    @staticmethod
    def forward(ctx, x, dim, index, source, into):
        ctx.save(index)
        ctx.dim = dim
        return k.scatter(x._a, dim, index._a, source._a, into)

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved
        gx = Scatter.apply(grad, ctx.dim, index, _zero(grad), False) if ctx.needs(0) else None
        return gx, None, None, Gather.apply(grad, ctx.dim, index) if ctx.needs(3) else None, None


class ScatterAdd(Op):
    """x with out[index[i][j]][j] += s[i][j] (dim 0);   dL/dx = g, dL/ds = g gathered"""

    @staticmethod
    def forward(ctx, x, dim, index, source, into):
        ctx.save(index)
        ctx.dim = dim
        return k.scatter_add(x._a, dim, index._a, source._a, into)

    @staticmethod
    def backward(ctx, grad):
        return grad, None, None, Gather.apply(grad, ctx.dim, ctx.saved[0]) if ctx.needs(3) else None, None


class ScatterReduce(Op):
    """x with the elements that meet at a place reduced to their sum, mean, product, largest or smallest

    sum: dL/ds = g gathered; mean: g/n gathered; prod: g·(product of the others); amax, amin: g shared among equals.
    """

    keeps_output = True

    @staticmethod
    def forward(ctx, x, dim, index, source, reduce, include_self):
        ctx.save(x, index, source)
        ctx.settings = dim, reduce, include_self
        return k.scatter_reduce(x._a, dim, index._a, source._a, reduce, include_self)

    @staticmethod
    def backward(ctx, grad):
        x, index, source = ctx.saved
        dim, reduce, include_self = ctx.settings

        def gather(t):
            return Gather.apply(t, dim, index)

        def added(t, base):
            return ScatterAdd.apply(base, dim, index, t, False)

        if reduce == "sum":
            gx, gs = grad, gather(grad)
        elif reduce == "mean":
            count = added(_ones(index._a.shape, grad), _filled(x._a.shape, grad, float(include_self)))
            share = grad / where(count < 1, 1.0, count)
            gx, gs = share, gather(share)
        elif reduce == "prod":
            gx, gs = _product_gradients(ctx, grad, x, index, source, gather, added)
        else:
            result = ctx.output
            mine, theirs = (x == result).to(grad.dtype), (source == gather(result)).to(grad.dtype)
            share = grad / added(theirs, mine)
            gx, gs = mine * share, theirs * gather(share)
        if not include_self:
            gx = Scatter.apply(gx, dim, index, _zero(grad), False)
        return gx, None, None, gs, None, None


def _product_gradients(ctx: Any, grad: Any, x: Any, index: Any, source: Any, gather: Any, added: Any) -> tuple:
    """The gradients of products, where a factor of 0 must not divide."""
    dim, _, include_self = ctx.settings

    def product(base: Any, factors: Any) -> Any:
        return ScatterReduce.apply(base, dim, index, factors, "prod", include_self)

    nonzero_x = where(x == 0, 1.0, x).to(grad.dtype)
    gx = grad * product(nonzero_x, source) / nonzero_x
    is_zero = source == 0
    zeros_here = gather(added(is_zero.to(grad.dtype), _zeros(x._a.shape, grad)))
    only_zero = is_zero & (zeros_here == 1)
    without = product(x, where(only_zero, 1.0, source).to(grad.dtype))
    nonzero_source = where(is_zero, 1.0, source).to(grad.dtype)
    return gx, where(only_zero, gather(grad * without), gather(grad * ctx.output) / nonzero_source)


def _filled(shape: tuple, like: Any, value: float) -> Any:
    return wrap(np.full(shape, value, like._a.dtype))


def _ones(shape: tuple, like: Any) -> Any:
    return _filled(shape, like, 1.0)


@of_tensor
def gather(input: Any, dim: int, index: Any, *, sparse_grad: bool = False, out: Any = None) -> Any:
    """out[i][j][k] = input[index[i][j][k]][j][k] for ``dim=0``, and alike for others; shaped like ``index``.

    ``index`` has as many dimensions as ``input`` and is no larger apart from ``dim``; raises ``RuntimeError`` otherwise, and
    if an index is out of range.
    """
    d = _element_index(input, dim, index, "gather")
    if index._a.size:
        r = Gather.apply(input, d, index)
    else:
        r = reshape(Slice.apply(reshape(input, (input._a.size,)), (slice(0, 0), Ellipsis)), index._a.shape)
    return r if out is None else store(out, r)


def _scatter_source(input: Any, index: Any, src: Any, value: Any) -> Any:
    """The source of a scatter: a tensor shaped like the index or larger, or a number."""
    if src is None:
        src = value
    if isinstance(src, Variable):
        return src
    if not isinstance(src, _NUMBER):
        raise TypeError(f"scatter(): argument 'src' must be Tensor or Number, not {type(src).__name__}: {src!r}")
    return wrap(number(src, input._a.dtype))


def _prepared(input: Any, dim: int, index: Any, src: Any, value: Any, reduce: str | None) -> tuple:
    is_number = not isinstance(value if src is None else src, Variable)
    source = _scatter_source(input, index, src, value)
    if not is_number:
        _same_dtype(input, source, "scatter")
    d = _element_index(input, dim, index, "scatter", None if is_number else source._a.shape)
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise RuntimeError(f"reduce argument must be either add or multiply, but got {reduce!r}")
        if not is_number:
            warnings.warn(
                "The reduce argument of torch.scatter with Tensor src is deprecated and will be removed in a future PyTorch "
                "release. Use torch.scatter_reduce instead for more reduction options.",
                UserWarning,
                stacklevel=3,
            )
    if not is_number:
        source = _cut(source, index)
    elif reduce:
        source = expand(source, index._a.shape)
    return d, source


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None, reduce: str | None = None,
            out: Any = None) -> Any:  # fmt: skip
    """A copy with out[index[i][j][k]][j][k] = src[i][j][k] for ``dim=0``, and alike for others; ``src`` may be a number.

    ``reduce`` may be ``"add"`` or ``"multiply"``: then elements that meet are added up or multiplied, the old one included.
    """
    d, source = _prepared(input, dim, index, src, value, reduce)
    if _nothing(input, index):
        r = input.clone()
    elif reduce is None:
        r = Scatter.apply(input, d, index, source, False)
    else:
        r = ScatterReduce.apply(input, d, index, source, "sum" if reduce == "add" else "prod", True)
    return r if out is None else store(out, r)


def scatter_(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None,
             reduce: str | None = None) -> Any:
    """In-place form of :func:`scatter`."""
    if reduce is not None:
        return _scatter_inplace(input, dim, index, src, value=value, reduce=reduce)
    d, source = _prepared(input, dim, index, src, value, None)
    return input if _nothing(input, index) else write(Scatter, input, d, index, source)


_scatter_inplace = inplace(scatter, "scatter_")


def _add_arguments(input: Any, dim: int, index: Any, src: Any) -> tuple:
    if not isinstance(src, Variable):
        raise TypeError(f"scatter_add(): argument 'src' (position 3) must be Tensor, not {type(src).__name__}")
    _same_dtype(input, src, "scatter")
    d = _element_index(input, dim, index, "scatter", src._a.shape)
    return d, _cut(src, index)


def _nothing(input: Any, index: Any) -> bool:
    """Whether an index is empty and of any shape, which PyTorch allows."""
    return index._a.size == 0 and index._a.ndim != input._a.ndim


def scatter_add(input: Any, dim: int, index: Any, src: Any, *, out: Any = None) -> Any:
    """A copy with out[index[i][j][k]][j][k] += src[i][j][k] for ``dim=0``, and alike for others."""
    d, source = _add_arguments(input, dim, index, src)
    r = input.clone() if _nothing(input, index) else ScatterAdd.apply(input, d, index, source, False)
    return r if out is None else store(out, r)


def scatter_add_(input: Any, dim: int, index: Any, src: Any) -> Any:
    """In-place form of :func:`scatter_add`."""
    d, source = _add_arguments(input, dim, index, src)
    return input if _nothing(input, index) else write(ScatterAdd, input, d, index, source)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True,
                   out: Any = None) -> Any:  # fmt: skip
    """A copy where the elements of ``src`` that ``index`` sends to one place are reduced to one.

    ``reduce`` is ``"sum"``, ``"prod"``, ``"mean"``, ``"amax"`` or ``"amin"``; the old element takes part if
    ``include_self``.
    """
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    d, source = _add_arguments(input, dim, index, src)
    if _nothing(input, index):
        r = input.clone()
    else:
        r = ScatterReduce.apply(input, d, index, source, reduce, include_self)
    return r if out is None else store(out, r)


def take_along_dim(input: Any, indices: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """:func:`gather` with the other dimensions broadcast; without ``dim``, from the flattened tensor."""
    if checked(indices, "take_along_dim")._a.dtype != np.int64:
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {_name(indices)}")
    if dim is None:
        row, where_ = reshape(input, (input._a.size,)), reshape(indices, (indices._a.size,))
        return gather(row, 0, where_, out=out)
    a, b = input._a.shape, indices._a.shape
    if len(a) != len(b):
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{len(a)} dimensions for input, and {len(b)} dimensions for indices"
        )
    d = wrap_dim(dim, len(a))
    common = []
    for i, (n, m) in enumerate(zip(a, b, strict=True)):
        if i != d and n != m and 1 not in (n, m):
            raise RuntimeError(
                f"The size of tensor a ({n}) must match the size of tensor b ({m}) at non-singleton dimension {i}"
            )
        common.append(m if n == 1 else n)
    x = expand(input, (*common[:d], a[d], *common[d + 1 :])) if a else input
    return gather(x, d, expand(indices, (*common[:d], b[d], *common[d + 1 :])) if b else indices, out=out)


# -- an index for each slice ---------------------------------------------------------------------------------


class IndexSelect(Op):
    """The slices of x at ``index``;   dL/dx = the slices of g added at those places"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, dim, index):
        ctx.save(index)
        ctx.dim, ctx.shape = dim, x._a.shape
        return k.index_select(x._a, dim, index._a)

    @staticmethod
    def backward(ctx, grad):
        return IndexAdd.apply(_zeros(ctx.shape, grad), ctx.dim, ctx.saved[0], grad, True), None, None


class IndexAdd(Op):
    """x with slices of s added at ``index``;   dL/dx = g, dL/ds = the slices of g at ``index``"""

    @staticmethod
    def forward(ctx, x, dim, index, source, into):
        ctx.save(index)
        ctx.dim = dim
        return k.index_add(x._a, dim, index._a, source._a, into)

    @staticmethod
    def backward(ctx, grad):
        gs = IndexSelect.apply(grad, ctx.dim, ctx.saved[0]) if ctx.needs(3) else None
        return grad, None, None, gs, None


class IndexCopy(Op):
    """x with slices of s at ``index``;   dL/dx = g, 0 where replaced,   dL/ds = the slices of g at ``index``"""

    @staticmethod
    def forward(ctx, x, dim, index, source, into):
        ctx.save(index)
        ctx.dim = dim
        return k.index_copy(x._a, dim, index._a, source._a, into)

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved
        gx = IndexCopy.apply(grad, ctx.dim, index, _zero(grad), False) if ctx.needs(0) else None
        return gx, None, None, IndexSelect.apply(grad, ctx.dim, index) if ctx.needs(3) else None, None


class IndexFill(IndexCopy):
    """x with a number at ``index``;   dL/dx = g, 0 where replaced"""

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved
        gx = IndexCopy.apply(grad, ctx.dim, index, _zero(grad), False) if ctx.needs(0) else None
        return gx, None, None, IndexSelect.apply(grad, ctx.dim, index).sum() if ctx.needs(3) else None, None


def _slice_index(input: Any, dim: int, index: Any, name: str) -> tuple[int, Any]:
    """The dimension, and the index as a vector."""
    a = checked(index, name)._a
    d = wrap_dim(dim, input._a.ndim)
    if a.ndim > 1:
        raise IndexError(
            f"{name}(): Index is supposed to be a vector, but got dim: {a.ndim} with type: {_name(index)} and size: "
            f"{list(a.shape)}"
        )
    return d, index if a.ndim else reshape(index, (1,))


def index_select(input: Any, dim: int, index: Any, *, out: Any = None) -> Any:
    """A copy of the slices ``index`` (a vector of non-negative integers) of dimension ``dim``."""
    d, where_ = _slice_index(input, dim, index, "index_select")
    a = where_._a
    if a.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"index_select(): Expected dtype int32 or int64 for index, but got {_name(index)}")
    shape = input._a.shape
    n = shape[d] if shape else 1
    least, most = _ends(a)
    if least < 0 or most >= n:
        bad = a[(a < 0) | (a >= n)][0]
        raise IndexError(f"index out of range in self: index {bad} of dimension {d} with size {n}")
    if shape:
        r = IndexSelect.apply(input, d, where_)
    else:
        if a.size != 1:
            raise RuntimeError(f"index_select(): Index to scalar can have only 1 value, got {a.size} value(s)")
        r = input.clone()
    return r if out is None else store(out, r)


def _add_slices(
    input: Any, dim: int, index: Any, source: Any, alpha: Any, beyond: type[Exception] = RuntimeError
) -> tuple:
    d, where_ = _slice_index(input, dim, index, "index_add_")
    if where_._a.dtype not in (np.int64, np.int32):
        raise RuntimeError(f"index_add_(): Expected dtype int32/int64 for index, but got {_name(index)}")
    if input._a.dtype != source._a.dtype:
        raise RuntimeError(
            f"index_add_(): self ({_name(input)}) and source ({_name(source)}) must have the same scalar type"
        )
    shape, s, count = input._a.shape, source._a.shape, where_._a.size
    if (s[d] if s else 1) != count:
        raise RuntimeError(
            f"index_add_(): Number of indices ({count}) should be equal to source.size(dim): ({s[d] if s else 1}), for "
            f"dim: {dim}"
        )
    if len(shape) != len(s) or any(n != m for i, (n, m) in enumerate(zip(shape, s, strict=True)) if i != d):
        if not (len(shape) <= 1 and len(s) <= 1):
            raise RuntimeError(
                "source tensor shape must match self tensor shape, excluding the specified dimension. Got self.shape = "
                f"{list(shape)} source.shape = {list(s)}"
            )
    _in_range(where_._a, d, shape[d] if shape else 1, IndexError if len(shape) < 2 else beyond)
    return d, where_, source if alpha == 1 else source * alpha


def _as_vector(op: type[Op], input: Any, d: int, index: Any, source: Any) -> Any:
    """Apply an operation on slices to a copy of ``input``, which may be a single number."""
    if input._a.ndim:
        return op.apply(input, d, index, source, False)
    source = reshape(source, (index._a.size,)) if source._a.ndim or op is not IndexFill else source
    return reshape(op.apply(reshape(input, (1,)), d, index, source, False), ())


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """A copy with ``alpha`` · slice i of ``source`` added to slice ``index[i]`` of ``dim``; indices may repeat."""
    d, where_, source = _add_slices(input, dim, index, source, alpha)
    if source._a.ndim == 0:
        source = reshape(source, (1,))
    r = _as_vector(IndexAdd, input, d, where_, source)
    return r if out is None else store(out, r)


def index_add_(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """In-place form of :func:`index_add`."""
    if not input._a.ndim:
        return _index_add_number(input, dim, index, source, alpha=alpha)
    d, where_, source = _add_slices(input, dim, index, source, alpha)
    return write(IndexAdd, input, d, where_, reshape(source, (1,)) if source._a.ndim == 0 else source)


_index_add_number = inplace(index_add, "index_add_")


def index_copy(input: Any, dim: int, index: Any, source: Any, *, out: Any = None) -> Any:
    """A copy with slice ``index[i]`` of ``dim`` replaced by slice i of ``source``."""
    d, where_ = _slice_index(input, dim, index, "index_copy_")
    if where_._a.dtype != np.int64:
        raise RuntimeError(f"index_copy_(): Expected a long tensor for index, but got {_name(index)}")
    if input._a.dtype != source._a.dtype:
        raise RuntimeError(
            f"index_copy_(): self and source expected to have the same dtype, but got (self) {_name(input)} and (source) "
            f"{_name(source)}"
        )
    shape, s, count = input._a.shape, source._a.shape, where_._a.size
    if not s and count != 1:
        raise IndexError(f"index_copy_(): When source is scalar, index should have one element (got {count})")
    if s and shape and len(s) != len(shape):
        raise IndexError(
            "index_copy_(): When source and destination are not scalars, their dimensionality must match. Source dimensionality "
            f"({len(s)}), destination dimensionality ({len(shape)})"
        )
    if s and s[d] != count:
        raise IndexError(f"index_copy_(): Number of indices ({count}) should be equal to source.size(dim) ({s[d]})")
    if any(n != m for i, (n, m) in enumerate(zip(shape, s, strict=False)) if i != d):
        raise RuntimeError(
            f"index_copy_(): Source/destination tensor must have same slice shapes. Destination slice shape: {list(shape)} at "
            f"dimension {d} and source slice shape: {list(s)} at dimension {d}."
        )
    _in_range(where_._a, d, shape[d] if shape else 1, IndexError, head="index_copy_(): ")
    r = _as_vector(IndexCopy, input, d, where_, reshape(source, (1,)) if not s else source)
    return r if out is None else store(out, r)


def _fill_value(input: Any, dim: int, index: Any, value: Any) -> tuple:
    d, where_ = _slice_index(input, dim, index, "index_fill_")
    if where_._a.dtype != np.int64:
        raise IndexError(f"index_fill_(): Expected dtype int64 for index, but got {_name(index)}")
    if isinstance(value, Variable):
        if value._a.ndim:
            raise RuntimeError(
                f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value._a.ndim} dimension(s)."
            )
        value = cast(value, BY_NUMPY[input._a.dtype])
    else:
        value = wrap(number(value, input._a.dtype))
    n = input._a.shape[d] if input._a.ndim else 1
    _in_range(where_._a, d, n, IndexError, -n)
    return d, where_, value


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """A copy with a number (or zero-dimensional tensor) in the slices ``index`` of ``dim``."""
    return _as_vector(IndexFill, input, *_fill_value(input, dim, index, value))


def index_fill_(input: Any, dim: int, index: Any, value: Any) -> Any:
    """In-place form of :func:`index_fill`."""
    if not input._a.ndim:
        return _index_fill_number(input, dim, index, value)
    return write(IndexFill, input, *_fill_value(input, dim, index, value))


_index_fill_number = inplace(index_fill, "index_fill_")


def index_reduce(input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True,
                 out: Any = None) -> Any:  # fmt: skip
    """A copy where slices of ``source`` that ``index`` sends to one slice are reduced: ``prod``, ``mean``, ``amax``, ``amin``."""
    if reduce not in _REDUCTIONS[1:]:
        raise RuntimeError(f"reduce argument must be either prod, mean, amax or amin, got {reduce}.")
    d, where_, source = _add_slices(input, dim, index, source, 1, IndexError)
    if input._a.ndim:
        spread = expand(reshape(where_, (1,) * d + (-1,) + (1,) * (input._a.ndim - d - 1)), source._a.shape)
    else:
        spread, source = where_, reshape(source, (where_._a.size,))
    return scatter_reduce(input, d, spread, source, reduce, include_self=include_self, out=out)


# -- classes -------------------------------------------------------------------------------------------------


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """Integers (*) as rows (*, num_classes) that are 1 at the integer and 0 elsewhere, of dtype int64."""
    a = checked(tensor, "one_hot")._a
    if a.dtype != np.int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, but got {type_name(a)}")
    if not a.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    else:
        if a.min() < 0:
            raise RuntimeError(f"Class values must be non-negative, but got {a.min()}.")
        if num_classes == -1:
            look(tensor, "one_hot")
            num_classes = int(a.max()) + 1
        elif a.max() >= num_classes:
            raise RuntimeError(f"Class values must be smaller than num_classes, but got {a.max()} and {num_classes}.")
    return wrap(k.one_hot(a, num_classes))


FUNCTIONS = (
    "gather", "scatter", "scatter_add", "scatter_reduce", "take_along_dim", "index_select", "index_add", "index_copy",
    "index_fill",
    "index_reduce",
)  # fmt: skip
METHODS = (*FUNCTIONS, "scatter_", "scatter_add_", "index_add_", "index_fill_")
INPLACE = ("scatter_reduce", "index_copy", "index_reduce")
NN_FUNCTIONS = ("one_hot",)
