"""Extremes over dimensions or along one, with their places, and tests of many elements at once.

In the operations below ``axes`` is a tuple of axes counted from the front, or ``None`` for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.autograd import express
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.reduction import (
    Spread,
    array_of,
    axes_of,
    axis_of,
    given,
    named_result,
    not_empty,
    numpy_names,
    scalar_name,
    stored,
    sum,
)  # fmt: skip
from lamina.ops.shape import wrap_dim

_Max, _Min = named_result("max", "values", "indices"), named_result("min", "values", "indices")
_Aminmax = named_result("aminmax", "min", "max")

# -- extremes ------------------------------------------------------------------------------------------------------


class Amax(Op):
    """The largest over the axes;   dL/dx = g, shared evenly between equals"""

    keeps_output = True
    kernel = "amax"
    nan_counts = False  # a NaN equals nothing, so its gradient is NaN; in max() without a dim it equals other NaNs

    @staticmethod
    def forward(ctx, x, axes, keepdim):
        ctx.save(x)
        ctx.axes, ctx.keepdim = axes, keepdim
        return getattr(k, ctx.kernel)(x._a, axes, keepdim)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        y = Spread.apply(ctx.output.detach(), x._a.shape, ctx.axes, ctx.keepdim)
        mask = x == y
        if ctx.nan_counts:
            mask = mask | (p.isnan(x) & p.isnan(y))
        share = grad / sum(mask, ctx.axes, ctx.keepdim)
        return mask * Spread.apply(share, x._a.shape, ctx.axes, ctx.keepdim)


class Amin(Amax):
    """The smallest over the axes;   dL/dx = g, shared evenly between equals"""

    kernel = "amin"


class MaxAll(Amax):
    """The largest of all;   dL/dx = g, shared evenly between equals, NaNs among them"""

    nan_counts = True
    label = "MaxBackward1"


class MinAll(Amin):
    """The smallest of all;   dL/dx = g, shared evenly between equals, NaNs among them"""

    nan_counts = True
    label = "MinBackward1"


class Pick(Op):
    """x at an index along an axis (``values``, where they are known);   dL/dx = g there, 0 elsewhere"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, index, axis, keepdim, values=None):
        ctx.save(index)
        ctx.axis, ctx.keepdim, ctx.n = axis, keepdim, x._a.shape[axis] if x._a.ndim else 1
        y = k.pick(x._a, index, axis) if values is None else values
        return y if keepdim or not y.ndim else y.squeeze(axis)

    @staticmethod
    def backward(ctx, grad):
        (index,) = ctx.saved
        if not ctx.keepdim and index.ndim:
            grad = grad.unsqueeze(ctx.axis)
        return Place.apply(grad, index, ctx.axis, ctx.n)


class Place(Op):
    """Values added up at their index along an axis: the transpose of :class:`Pick`"""

    @staticmethod
    def forward(ctx, x, index, axis, n):
        ctx.save(index)
        ctx.axis = axis
        return k.place(x._a, index, axis, n)

    @staticmethod
    def backward(ctx, grad):
        return Pick.apply(grad, ctx.saved[0], ctx.axis, True)


class Max(Pick):
    """The largest along an axis, by its index;   dL/dx = g there"""


class Min(Pick):
    """The smallest along an axis, by its index;   dL/dx = g there"""


def orderable(name: str, a: np.ndarray) -> None:
    """Raise PyTorch's error for complex numbers, which have no order."""
    if a.dtype.kind == "c":
        raise NotImplementedError(f'"{name}" not implemented for {scalar_name(a)!r}')


def _extreme(
    name: str, everything: Any, along: Any, kernels: tuple, kind: Any, input: Any, dim: Any, keepdim: bool, out: Any
) -> Any:
    a = array_of(input, name)
    orderable(name, a)
    if dim is None:
        not_empty(name, a, None)
        return given(out, everything.apply(input, None, False))
    axis = wrap_dim(dim, a.ndim)
    not_empty(name, a, (axis,) if a.ndim else None)
    index, extreme = kernels[0](a, axis if a.ndim else None, True), kernels[1](a, (axis,) if a.ndim else None, True)
    values = along.apply(input, index, axis, keepdim, np.asarray(extreme))
    if not keepdim and index.ndim:
        index = index.squeeze(axis)
    return stored(kind, (values, wrap(index)), out)


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:  # noqa: A001
    """``max(x)``: the largest element; ``max(x, dim)``: (values, indices) along a dimension; ``max(x, y)``: elementwise.

    NaN counts as largest. Along a dimension the first of equals is chosen, and the gradient goes to it alone; over all
    elements it is shared evenly between equals.
    """
    if isinstance(dim, Variable) or other is not None:
        return p.maximum(input, dim if other is None else other, out=out)
    return _extreme("max", MaxAll, Max, (k.argmax, k.amax), _Max, input, dim, keepdim, out)


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None, out: Any = None) -> Any:  # noqa: A001
    """``min(x)``: the smallest element; ``min(x, dim)``: (values, indices) along a dimension; ``min(x, y)``: elementwise.

    NaN counts as smallest. Along a dimension the first of equals is chosen, and the gradient goes to it alone; over all
    elements it is shared evenly between equals.
    """
    if isinstance(dim, Variable) or other is not None:
        return p.minimum(input, dim if other is None else other, out=out)
    return _extreme("min", MinAll, Min, (k.argmin, k.amin), _Min, input, dim, keepdim, out)


def _of_axes(name: str, op: Any, input: Any, dim: Any, keepdim: bool, out: Any) -> Any:
    a = array_of(input, name)
    orderable(name, a)
    axes = axes_of(dim, a.ndim)
    not_empty(name, a, axes)
    return given(out, op.apply(input, axes, keepdim))


@numpy_names
def amax(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
    """The largest element over dimensions; its gradient is shared evenly between equals."""
    return _of_axes("amax", Amax, input, dim, keepdim, out)


@numpy_names
def amin(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
    """The smallest element over dimensions; its gradient is shared evenly between equals."""
    return _of_axes("amin", Amin, input, dim, keepdim, out)


@numpy_names
def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False, out: Any = None) -> Any:
    """(min, max) of all elements or along one dimension."""
    a = array_of(input, "aminmax")
    if dim is None:
        if a.size == 0:
            raise RuntimeError(
                "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity."
            )
        axes = None
    else:
        axes = (wrap_dim(dim, a.ndim),) if a.ndim else None
        not_empty("aminmax", a, axes)
    orderable("aminmax", a)
    return stored(_Aminmax, (Amin.apply(input, axes, keepdim), Amax.apply(input, axes, keepdim)), out)


def _argument(name: str, kernel: Any, input: Any, dim: Any, keepdim: bool, out: Any) -> Any:
    a = array_of(input, name)
    if a.dtype.kind == "b":
        raise RuntimeError(f"{name}(): does not support bool input")
    orderable(name, a)
    axis = None if dim is None else axis_of(dim, a.ndim)
    if a.size == 0:
        if axis is None:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        not_empty(name, a, (axis,))
    return given(out, wrap(kernel(a, axis, keepdim)))


@numpy_names
def argmax(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The index of the first largest element along a dimension, or in the flattened tensor; NaN counts as largest."""
    return _argument("argmax", k.argmax, input, dim, keepdim, out)


@numpy_names
def argmin(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The index of the first smallest element along a dimension, or in the flattened tensor; NaN counts as smallest."""
    return _argument("argmin", k.argmin, input, dim, keepdim, out)


# -- tests ---------------------------------------------------------------------------------------------------------


def _test(name: str, kernel: Any, input: Any, dim: Any, keepdim: bool, out: Any) -> Any:
    a = array_of(input, name)
    if isinstance(dim, (tuple, list)) and not dim:  # no dimension, unlike elsewhere
        r = np.not_equal(a, 0)
    else:
        r = np.asarray(kernel(a, axes_of(dim, a.ndim), keepdim))
    return given(out, wrap(r.view(np.uint8) if a.dtype == np.uint8 else r))


@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:  # noqa: A001
    """Whether any element over dimensions is non-zero: bool, but uint8 for uint8."""
    return _test("any", k.any, input, dim, keepdim, out)


@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:  # noqa: A001
    """Whether all elements over dimensions are non-zero: bool, but uint8 for uint8."""
    return _test("all", k.all, input, dim, keepdim, out)


@numpy_names
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """How many elements over dimensions are not zero."""
    a = array_of(input, "count_nonzero")
    return wrap(k.count_nonzero(a, axes_of(dim, a.ndim)))


def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Whether |input − other| ≤ atol + rtol·|other|, elementwise; raises ``RuntimeError`` if the dtypes differ."""
    x, y = array_of(input, "isclose"), array_of(other, "isclose")
    if x.dtype != y.dtype:
        raise RuntimeError(f"{scalar_name(x)} did not match {scalar_name(y)}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    return wrap(p._call(lambda a, b: k.isclose(a, b, rtol, atol, equal_nan), x, y))


def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements of two tensors are close (see :func:`isclose`)."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._a.all())


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have the same shape and the same elements."""
    x, y = array_of(input, "equal"), array_of(other, "equal")
    return x.shape == y.shape and bool(np.equal(x, y).all())


max, min = (  # noqa: A001
    express.reduction(kernel, f, None, differs=True, kinds="fi") for kernel, f in ((k.amax, max), (k.amin, min))
)
amax, amin = (
    express.reduction(kernel, f, express.alone, differs=True, kinds="fi") for kernel, f in ((k.amax, amax), (k.amin, amin))
)
argmax, argmin = (express.reduction(kernel, f, int, kinds="fi") for kernel, f in ((k.argmax, argmax), (k.argmin, argmin)))
any, all = (express.reduction(kernel, f, express.alone, kinds="b") for kernel, f in ((k.any, any), (k.all, all)))  # noqa: A001

FUNCTIONS = (
    "max", "min", "amax", "amin", "aminmax", "argmax", "argmin", "any", "all", "count_nonzero", "isclose", "allclose", "equal",
)  # fmt: skip
METHODS = FUNCTIONS
