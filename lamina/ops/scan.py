"""Running sums, products and extremes along a dimension, differences of neighbours, and areas under points."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY
from lamina.autograd.graph import Op, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.extremes import Pick, amax, orderable
from lamina.ops.reduction import (
    accumulator,
    array_of,
    given,
    named_result,
    numpy_names,
    prod,
    scalar_name,
    stored,
    sum,
)
from lamina.ops.shape import wrap_dim

_Cummax, _Cummin = named_result("cummax", "values", "indices"), named_result("cummin", "values", "indices")

# -- scans ---------------------------------------------------------------------------------------------------------


class Cumsum(Op):
    """The sum up to each element along an axis;   dL/dx = the same sum of g from the other end"""

    @staticmethod
    def forward(ctx, x, axis, reverse, dtype):
        ctx.axis, ctx.reverse = axis, reverse
        return k.cumsum(x._a, axis, reverse, dtype)

    @staticmethod
    def backward(ctx, grad):
        return Cumsum.apply(grad, ctx.axis, not ctx.reverse, grad._a.dtype)


class Cumprod(Op):
    """yⱼ = Π_{k≤j} xₖ along an axis;   dL/dxᵢ = Σ_{j≥i} gⱼ·yⱼ/xᵢ, with care for zeros"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, axis, dtype):
        ctx.save(x)
        ctx.axis = axis
        return k.cumprod(x._a, axis, dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        axis = ctx.axis
        if x._a.dtype != grad._a.dtype:
            x = p.cast(x, BY_NUMPY[grad._a.dtype])
        x, y = p._conj(x), p._conj(ctx.output)
        if x._a.all():
            return _sum_after(grad * y, axis) / x
        if mode.enabled:
            return _cumprod_backward(grad, x, axis)
        zero = x == 0
        zeros = cumsum(zero, axis)
        first = zero & (zeros == 1)  # up to here the formula holds; here, with 1 for x; beyond, all products are 0
        there = _sum_after(grad * cumprod(p.where(first, 1.0, x), axis) * (zeros > 0), axis)
        before = _sum_after(grad * y, axis) / p.where(zero, 1.0, x)
        return p.where(first, there, p.where(zeros == 0, before, 0.0))


def _sum_after(x: Any, axis: int) -> Any:
    return Cumsum.apply(x, axis, True, x._a.dtype)


def _cumprod_backward(grad: Any, x: Any, axis: int) -> Any:
    """The gradient of a running product with zeros in it, element by element: quadratic in work, but differentiable."""
    from lamina.ops.join import cat

    if not x._a.ndim:
        return grad
    n = x._a.shape[axis]
    one = wrap(np.ones_like(x._a[(slice(None),) * axis + (slice(1),)]))
    parts = []
    for i in range(n):
        before = prod(x.narrow(axis, 0, i), axis, True) if i else one
        after = cumprod(cat((one, x.narrow(axis, i + 1, n - i - 1)), axis), axis)
        parts.append(before * sum(grad.narrow(axis, i, n - i) * after, axis, True))
    return cat(parts, axis)


@numpy_names
def cumsum(input: Any, dim: int, *, dtype: Any = None, out: Any = None) -> Any:
    """The running sum along a dimension; integers and bools add up in int64."""
    axis = wrap_dim(dim, array_of(input, "cumsum").ndim)
    input, wanted = accumulator(input, dtype)
    return given(out, Cumsum.apply(input, axis, False, wanted or input._a.dtype))


@numpy_names
def cumprod(input: Any, dim: int, *, dtype: Any = None, out: Any = None) -> Any:
    """The running product along a dimension; integers and bools multiply in int64."""
    axis = wrap_dim(dim, array_of(input, "cumprod").ndim)
    input, wanted = accumulator(input, dtype)
    return given(out, Cumprod.apply(input, axis, wanted or input._a.dtype))


class Cummax(Pick):
    """The largest so far along an axis, by its index;   dL/dx = g, added up there"""


class Cummin(Pick):
    """The smallest so far along an axis, by its index;   dL/dx = g, added up there"""


def _running(name: str, op: Any, kernel: Any, kind: Any, input: Any, dim: int, out: Any) -> Any:
    a = array_of(input, name)
    orderable(name, a)
    axis = wrap_dim(dim, a.ndim)
    values, index = kernel(a, axis)
    return stored(kind, (op.apply(input, index, axis, True, values), wrap(index)), out)


@numpy_names
def cummax(input: Any, dim: int, *, out: Any = None) -> Any:
    """(values, indices) of the largest element so far along a dimension; the last of equals is chosen."""
    return _running("cummax", Cummax, k.cummax, _Cummax, input, dim, out)


@numpy_names
def cummin(input: Any, dim: int, *, out: Any = None) -> Any:
    """(values, indices) of the smallest element so far along a dimension; the last of equals is chosen."""
    return _running("cummin", Cummin, k.cummin, _Cummin, input, dim, out)


class Logcumsumexp(Op):
    """yⱼ = log Σ_{k≤j} e^(xₖ) along an axis;   dL/dxᵢ = Σ_{j≥i} gⱼ·e^(xᵢ − yⱼ)"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, axis):
        ctx.save(x)
        ctx.axis = axis
        return k.logcumsumexp(x._a, axis)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        y, axis = ctx.output, ctx.axis
        high = amax(x, axis, True).detach() if x._a.size else x  # keeps the exponentials small
        return p.exp(x - high) * _sum_after(grad * p.exp(high - y), axis)


@numpy_names
def logcumsumexp(input: Any, dim: int, *, out: Any = None) -> Any:
    """The log of the running sum of eˣ along a dimension."""
    a = array_of(input, "logcumsumexp")
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f'"logcumsumexp_out_cpu" not implemented for {scalar_name(a)!r}')
    return given(out, Logcumsumexp.apply(input, wrap_dim(dim, a.ndim)))


# -- differences and areas -----------------------------------------------------------------------------------------


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None, *, out: Any = None) -> Any:
    """The ``n``-th difference of neighbours along a dimension, of the tensor with others joined before and after it."""
    if array_of(input, "diff").ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    axis = wrap_dim(dim, input._a.ndim)
    if prepend is not None or append is not None:
        from lamina.ops.join import cat

        input = cat([t for t in (prepend, input, append) if t is not None], axis)
    for _ in range(n):
        m = input._a.shape[axis]
        if m == 0:
            break
        later, earlier = input.narrow(axis, 1, m - 1), input.narrow(axis, 0, m - 1)
        input = p.logical_xor(later, earlier) if input._a.dtype.kind == "b" else later - earlier
    return given(out, input if n else p.clone(input))


def _areas(y: Any, x: Any, dx: Any, dim: int, name: str) -> tuple[Any, int]:
    """(the areas under a line through the points, the dimension)."""
    array_of(y, name)
    if x is not None and dx is not None:
        raise TypeError(f"{name}() takes either 'x' or 'dx', not both")
    axis = wrap_dim(dim, y._a.ndim)
    n = y._a.shape[axis]
    width = n - 1 if n else 0
    between = y.narrow(axis, 1 if n else 0, width) + y.narrow(axis, 0, width)
    if x is None:
        return between * ((1 if dx is None else dx) / 2.0), axis
    if x._a.ndim == 1:
        if x._a.shape[0] != n:
            raise RuntimeError(f"{name}: There must be one `x` value for each sample point, got {x._a.shape[0]} and {n}")
        x = x.reshape([n if i == axis else 1 for i in range(y._a.ndim)])
    else:
        axis -= y._a.ndim
    return between * diff(x, 1, axis) / 2.0, axis


def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The area under a line through the points along a dimension, at the places ``x`` or ``dx`` (1) apart."""
    areas, axis = _areas(y, x, dx, dim, "trapezoid")
    return sum(areas, axis)


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Any:
    """The running area under a line through the points along a dimension."""
    areas, axis = _areas(y, x, dx, dim, "cumulative_trapezoid")
    return cumsum(areas, axis)


trapz = trapezoid

FUNCTIONS = (
    "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "diff", "trapezoid", "trapz", "cumulative_trapezoid",
)
METHODS = ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "diff")
INPLACE = ("cumsum", "cumprod")
