"""Reductions over dimensions: sums, products, moments, norms.

In the operations below ``axes`` is a tuple of axes counted from the front, or ``None`` for all of them.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import BY_NUMPY, SCALAR_NAME, to_numpy
from lamina.autograd import express
from lamina.autograd.graph import Op, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.operands import array_of, store
from lamina.ops.shape import wrap_dim, wrap_dims

I64, F64 = np.dtype(np.int64), np.dtype(np.float64)


# -- arguments and results -----------------------------------------------------------------------------------------


def numpy_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function with ``dim`` and ``keepdim`` be called by NumPy's ``axis`` and ``keepdims`` too, as PyTorch does."""

    @functools.wraps(function)
    def either(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            if "axis" in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return function(*args, **kwargs)

    return either


def axes_of(dim: Any, ndim: int) -> tuple[int, ...] | None:
    """The axes that ``dim`` names; all of them (``None``) for ``None``, for ``()``, and for a zero-dimensional tensor."""
    if dim is None:
        return None
    axes = wrap_dims(dim, ndim)
    return axes if axes and ndim else None


def axis_of(dim: Any, ndim: int) -> int | None:
    """The axis that ``dim`` names; ``None`` for a zero-dimensional tensor."""
    axis = wrap_dim(dim, ndim)
    return axis if ndim else None


def scalar_name(a: np.ndarray) -> str:
    """The dtype as PyTorch's messages name it."""
    return SCALAR_NAME[BY_NUMPY[a.dtype]]


def not_empty(name: str, a: np.ndarray, axes: tuple[int, ...] | None) -> None:
    """Raise if a reduction that has no result for nothing is to be made of nothing."""
    if a.size == 0:
        if axes is None:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the "
                "'dim' argument."
            )
        for axis in axes:
            if a.shape[axis] == 0:
                raise IndexError(f"{name}(): Expected reduction dim {axis} to have non-zero size.")


def given(out: Any, result: Any) -> Any:
    """The result, in ``out`` if the caller gave one."""
    return result if out is None else store(out, result)


RETURN_TYPES: dict[str, Any] = {}  # by PyTorch's names; see lamina.return_types


def named_result(name: str, *fields: str) -> Any:
    """The type of a result of several tensors: a named tuple that prints as PyTorch's ``torch.return_types.<name>``."""
    base = namedtuple(name, fields)  # type: ignore[misc]  # noqa: PYI024

    def __repr__(self: Any) -> str:
        inside = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=True))
        return f"torch.return_types.{name}(\n{inside})"

    RETURN_TYPES[name] = kind = type(name, (base,), {"__slots__": (), "__repr__": __repr__, "__module__": __name__})
    return kind


def stored(kind: Any, results: tuple, out: Any) -> Any:
    """Several results as a named tuple, in the tensors of ``out`` if the caller gave them."""
    return kind(*results) if out is None else kind(*(store(o, r) for o, r in zip(out, results, strict=True)))


# -- sums ----------------------------------------------------------------------------------------------------------


class Sum(Op):
    """Σx over the axes;   dL/dx = g, repeated"""

    axes: Any = None
    keepdim = False

    @staticmethod
    def forward(ctx, x, axes, keepdim, dtype):
        ctx.shape, ctx.axes, ctx.keepdim = x._a.shape, axes, keepdim
        if axes is not None:
            ctx.label = "SumBackward1"
        return k.sum(x._a, axes, keepdim, dtype)

    @staticmethod
    def backward(ctx, grad):
        return Spread.apply(grad, ctx.shape, ctx.axes, ctx.keepdim)


class Spread(Op):
    """A reduction's result repeated along the axes that it lost: the transpose of :class:`Sum`"""

    @staticmethod
    def forward(ctx, x, shape, axes, keepdim):
        ctx.axes, ctx.keepdim = axes, keepdim
        a = x._a
        if not keepdim and axes is not None:
            a = a.reshape([1 if i in axes else n for i, n in enumerate(shape)])
        if math.prod(shape) > 4096:  # a small copy costs less than a broadcast view, here and in what follows
            return np.broadcast_to(a, shape)
        y = np.empty(shape, a.dtype)
        y[...] = a
        return y

    @staticmethod
    def backward(ctx, grad):
        return Sum.apply(grad, ctx.axes, ctx.keepdim, None)


class Mean(Op):
    """Σx/n over the axes;   dL/dx = g/n, repeated"""

    axes: Any = None
    keepdim = False

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        ctx.shape, ctx.axes, ctx.keepdim = x._a.shape, axes, keepdim
        if axes is not None:
            ctx.label = "MeanBackward1"
        return k.mean(x._a, axes, keepdim)

    @staticmethod
    def backward(ctx, grad):
        n = count(ctx.shape, ctx.axes)
        return Spread.apply(grad / n if n else grad, ctx.shape, ctx.axes, ctx.keepdim)


def count(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> int:
    """How many elements a reduction over ``axes`` takes together."""
    return math.prod(shape) if axes is None else math.prod([shape[i] for i in axes])


def accumulator(input: Any, dtype: Any) -> tuple[Any, Any]:
    """(the input, the dtype to add or multiply in): integers go to int64; a change of kind is a cast beforehand."""
    a = input._a
    if dtype is None:
        return input, I64 if a.dtype.kind in "iub" else None
    wanted = to_numpy(dtype)
    if wanted == a.dtype:
        return input, None
    if np.can_cast(a.dtype, wanted, "same_kind") and wanted.itemsize >= a.dtype.itemsize:
        return input, wanted
    return p.cast(input, dtype), wanted


@numpy_names
def sum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:  # noqa: A001
    """The sum over dimensions (all, if ``dim`` is ``None``); integers and bools add up in int64."""
    axes = axes_of(dim, array_of(input, "sum").ndim)
    input, wanted = accumulator(input, dtype)
    r = Sum.apply(input, axes, keepdim, wanted)
    return r if out is None else store(out, r)


sum = express.reduction(k.sum, sum, express.alone, Sum)  # noqa: A001


class Nansum(Op):
    """Σ of the x that are numbers;   dL/dx = g, repeated, times 0 at the NaNs"""

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        numbers = p.logical_not(p.isnan(x))
        ctx.save(numbers)
        ctx.axes, ctx.keepdim = axes, keepdim
        return k.sum(k.where(numbers._a, x._a, x._a.dtype.type(0)), axes, keepdim)

    @staticmethod
    def backward(ctx, grad):
        (numbers,) = ctx.saved
        return Spread.apply(grad, numbers._a.shape, ctx.axes, ctx.keepdim) * numbers


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """The sum over dimensions of all elements but NaNs."""
    if array_of(input, "nansum").dtype.kind not in "fV" or dtype is not None and to_numpy(dtype).kind not in "fV":
        return sum(input, dim, keepdim, dtype=dtype, out=out)
    if dtype is not None:
        input = p.cast(input, dtype)
    return given(out, Nansum.apply(input, axes_of(dim, input._a.ndim), keepdim))


def _floating(name: str, dtype: Any) -> None:
    wanted = to_numpy(dtype)
    if wanted.kind not in "fcV":
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Optional dtype must be either a floating point or complex dtype. "
            f"Got: {SCALAR_NAME[BY_NUMPY[wanted]]}"
        )


@numpy_names
def mean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """The mean over dimensions (all, if ``dim`` is ``None``); raises ``RuntimeError`` unless the dtype is floating or complex."""
    a = array_of(input, "mean")
    if dtype is not None:
        _floating("mean", dtype)
        input = p.cast(input, dtype)
    elif a.dtype.kind not in "fcV":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {scalar_name(a)}"
        )
    r = Mean.apply(input, axes_of(dim, a.ndim), keepdim)
    return r if out is None else store(out, r)


mean = express.reduction(k.mean, mean, express.alone, Mean)


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """The mean over dimensions of all elements but NaNs; NaN where there are only NaNs."""
    a = array_of(input, "nanmean")
    if a.dtype.kind not in "fcV":
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {scalar_name(a)}")
    if dtype is not None:
        _floating("nanmean", dtype)
    numbers = sum(p.logical_not(p.isnan(input)), dim, keepdim)
    return given(out, nansum(input, dim, keepdim, dtype=dtype) / numbers)


# -- products ------------------------------------------------------------------------------------------------------


class Prod(Op):
    """Πx over one axis or all;   dL/dxᵢ = g·Π_{j≠i} xⱼ"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, axis, keepdim, dtype):
        ctx.save(x)
        ctx.axis, ctx.keepdim = axis, keepdim
        return k.prod(x._a, None if axis is None else (axis,), keepdim, dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        axes = None if ctx.axis is None else (ctx.axis,)
        if x._a.all():
            return Spread.apply(grad * p._conj(ctx.output), x._a.shape, axes, ctx.keepdim) / p._conj(x)
        flat, axis = (x.reshape(-1), 0) if axes is None else (x, ctx.axis)
        if flat._a.dtype != grad._a.dtype:
            flat = p.cast(flat, BY_NUMPY[grad._a.dtype])
        others = _exclusive(flat, axis) * _exclusive(flat.flip(axis), axis).flip(axis)
        return Spread.apply(grad, x._a.shape, axes, ctx.keepdim) * p._conj(others).reshape(x._a.shape)


def _exclusive(x: Any, axis: int) -> Any:
    """The product of all elements before each."""
    from lamina.ops.join import cat
    from lamina.ops.scan import cumprod

    first = wrap(np.ones_like(x._a[(slice(None),) * axis + (slice(1),)]))
    return cumprod(cat((first, x.narrow(axis, 0, x._a.shape[axis] - 1)), axis), axis)


@numpy_names
def prod(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None) -> Any:
    """The product over one dimension, or of all elements; integers and bools multiply in int64."""
    a = array_of(input, "prod")
    axis = None if dim is None else axis_of(dim, a.ndim)
    input, wanted = accumulator(input, dtype)
    return given(out, Prod.apply(input, axis, keepdim, wanted))


# -- moments -------------------------------------------------------------------------------------------------------


class VarMean(Op):
    """(Σ(x − m)²/d, m) with d = max(n − correction, 0);   dL/dx = 2·g·(x − m)/d + gₘ/n"""

    materializes = False
    label = "VarBackward0"

    @staticmethod
    def forward(ctx, x, axes, keepdim, correction):
        var, mean = k.var_mean(x._a, axes, keepdim, correction)
        ctx.save(x, mean)
        ctx.axes, ctx.keepdim, ctx.correction = axes, keepdim, correction
        return var, mean

    @staticmethod
    def backward(ctx, grad, grad_mean):
        x, m = ctx.saved
        shape, axes = x._a.shape, ctx.axes
        gx = None
        if grad is not None:
            d = count(shape, axes) - ctx.correction
            if mode.enabled:
                m = Mean.apply(x, axes, True)
            else:
                m = wrap(m if ctx.keepdim else m.reshape(kept_shape(shape, axes)))
            if d > 0 or axes is not None:
                gx = Spread.apply(grad * (2.0 / d if d else math.inf), shape, axes, ctx.keepdim) * (x - m)
            else:  # as in PyTorch, over all elements only: nothing moves the variance where x is the mean already
                gx = Spread.apply(grad, shape, axes, ctx.keepdim) * p.where(x == m, math.nan, math.inf)
        if grad_mean is not None:
            gm = Spread.apply(grad_mean / count(shape, axes), shape, axes, ctx.keepdim)
            gx = gm if gx is None else gx + gm
        return gx


class StdMean(VarMean):
    """(√variance, m);   dL/dvariance = g/(2·std), and 0 where std is 0"""

    keeps_output = True
    label = "StdBackward0"

    @staticmethod
    def forward(ctx, x, axes, keepdim, correction):
        var, mean = VarMean.forward(ctx, x, axes, keepdim, correction)
        return np.sqrt(var), mean

    @staticmethod
    def backward(ctx, grad, grad_mean):
        if grad is not None:
            std = ctx.output[0]
            grad = p.where(std == 0, 0.0, grad / (std * 2))
        return VarMean.backward(ctx, grad, grad_mean)


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...] | None) -> list[int]:
    """The shape of a reduction's result with ``keepdim``."""
    return [1 if axes is None or i in axes else n for i, n in enumerate(shape)]


def _moments(op: Any, name: str, input: Any, dim: Any, unbiased: Any, keepdim: bool, correction: Any) -> tuple:
    a = array_of(input, name)
    if a.dtype.kind not in "fcV":
        raise RuntimeError(f"{'std and var' if name in ('std', 'var') else name} only support floating point and complex dtypes")
    if isinstance(dim, bool):  # var(unbiased)
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    elif unbiased is not None:
        raise TypeError(f"{name}: 'unbiased' and 'correction' cannot both be given")
    axes = axes_of(dim, a.ndim)
    if count(a.shape, axes) <= correction:
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input numel "
            "divided by output numel).",
            stacklevel=4,
        )
    return op.apply(input, axes, keepdim, correction)


@numpy_names
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None, out: Any = None
) -> Any:
    """The variance Σ(x − mean)²/max(0, n − correction) over dimensions; ``unbiased`` is the older name of a correction of 1."""
    return given(out, _moments(VarMean, "var", input, dim, unbiased, keepdim, correction)[0])


@numpy_names
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None, out: Any = None
) -> Any:
    """The standard deviation √(Σ(x − mean)²/max(0, n − correction)) over dimensions."""
    return given(out, _moments(StdMean, "std", input, dim, unbiased, keepdim, correction)[0])


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple:
    """(variance, mean) over dimensions."""
    return _moments(VarMean, "var_mean", input, dim, unbiased, keepdim, correction)


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> tuple:
    """(standard deviation, mean) over dimensions."""
    return _moments(StdMean, "std_mean", input, dim, unbiased, keepdim, correction)


# -- logarithmic sums and norms ------------------------------------------------------------------------------------


class Logsumexp(Op):
    """log Σeˣ over the axes;   dL/dx = g·e^(x − y)"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        ctx.save(x)
        ctx.axes, ctx.keepdim = axes, keepdim
        return k.logsumexp(x._a, axes, keepdim)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        y = Spread.apply(ctx.output, x._a.shape, ctx.axes, ctx.keepdim)
        return Spread.apply(grad, x._a.shape, ctx.axes, ctx.keepdim) * p.exp(x - y)


@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False, *, out: Any = None) -> Any:
    """log Σeˣ over dimensions, without overflow."""
    if array_of(input, "logsumexp").dtype.kind in "iub":
        input = p.cast(input, _dtypes._Default.dtype)
    return given(out, Logsumexp.apply(input, axes_of(dim, input._a.ndim), keepdim))


class VectorNorm(Op):
    r"""(Σ\|x\|ᵖ)^(1/p) = y;   dL/dx = g·sign(x)·(\|x\|/y)ᵖ⁻¹, shared evenly between the extremes for p = ±∞, and 0 at y = 0"""

    keeps_output = True
    label = "LinalgVectorNormBackward0"

    @staticmethod
    def forward(ctx, x, order, axes, keepdim):
        ctx.save(x)
        ctx.order, ctx.axes, ctx.keepdim = order, axes, keepdim
        return k.vector_norm(x._a, order, axes, keepdim)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        order, args = ctx.order, (x._a.shape, ctx.axes, ctx.keepdim)
        if order == 0:
            return Spread.apply(p.zeros_like(grad), *args)
        if order == 1:
            return p.sgn(x) * Spread.apply(grad, *args)
        y = ctx.output
        if math.isinf(order):
            extreme = p.abs(x) == Spread.apply(y.detach(), *args)
            share = grad / sum(extreme, ctx.axes, ctx.keepdim)
            return p.where(extreme, p.sgn(x) * Spread.apply(share, *args), 0.0)
        if order == 2:
            return x * Spread.apply(p.where(y == 0, 0.0, grad / y), *args)
        if order < 1:
            slope = p.where(x == 0, 0.0, p.sgn(x) * p.pow(p.where(x == 0, 1.0, p.abs(x)), order - 1))
            return slope * Spread.apply(grad * p.pow(y, 1 - order), *args)
        slope = x * p.pow(p.abs(x), order - 2) if order > 2 else p.sgn(x) * p.pow(p.abs(x), order - 1)
        return slope * Spread.apply(p.where(y == 0, 0.0, grad / p.pow(y, order - 1)), *args)


def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, out: Any = None  # noqa: A002
) -> Any:
    """(Σ|x|ᵒʳᵈ)^(1/ord) over dimensions; the largest |x| for ``inf``, the smallest for ``-inf``, the count of non-zeros for 0.

    Raises ``RuntimeError`` for integers, and for an empty dimension if ``ord`` is negative or infinite.
    """
    a = array_of(x, "linalg_vector_norm")
    if not isinstance(ord, (int, float)):
        raise TypeError(f"linalg_vector_norm(): argument 'ord' must be Number, not {type(ord).__name__}")
    if a.dtype.kind not in "fcV":
        raise RuntimeError(f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {scalar_name(a)}")
    axes = axes_of(dim, a.ndim)
    if a.size == 0 and (ord < 0 or ord == math.inf):
        for axis in (None,) if axes is None else axes:
            if axis is None or a.shape[axis] == 0:
                what = "an empty tensor" if axis is None else f"the empty dimension {axis}"
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {ord} norm on {what} because the operation does not have an identity"
                )
    if dtype is not None:
        wanted = to_numpy(dtype)
        name = SCALAR_NAME[BY_NUMPY[wanted]]
        if wanted.kind not in "fcV":
            raise RuntimeError(f"linalg.vector_norm: dtype should be floating point or complex, but got {name}")
        if _dtypes.promote_numpy(a.dtype, wanted) != wanted:
            raise RuntimeError(
                f"linalg.vector_norm: the dtype of the input ({scalar_name(a)}) should be convertible without narrowing to the "
                f"specified dtype ({name})"
            )
        x = p.cast(x, dtype)
    return given(out, VectorNorm.apply(x, float(ord), axes, keepdim))


def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None, dtype: Any = None
) -> Any:
    """The ``p``-norm of the elements over dimensions; "fro" is the 2-norm, "nuc" the sum of a matrix's singular values."""
    if isinstance(p, str):
        if p == "nuc":
            from lamina.ops.decomposition import matrix_norm

            return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
        if p != "fro":
            raise RuntimeError(f"linalg.matrix_norm: Order {p} not supported.")
        if isinstance(dim, (tuple, list)) and len(dim) > 2:
            raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    return vector_norm(input, 2 if p is None or p == "fro" else p, dim, keepdim, dtype=dtype, out=out)


def dist(input: Any, other: Any, p: Any = 2) -> Any:
    """The ``p``-norm of ``input − other``."""
    return vector_norm(input - other, p)


FUNCTIONS = (
    "sum", "nansum", "mean", "nanmean", "prod", "var", "std", "var_mean", "std_mean", "logsumexp", "norm", "dist",
)
METHODS = tuple(n for n in FUNCTIONS if n not in ("var_mean", "std_mean"))
