"""Half precision: ``float16`` and ``bfloat16`` are how numbers are kept, float32 is how they are computed with.

An operation on tensors of a half type is the operation on their float32 values, rounded once at the end: what PyTorch's
kernels do on a CPU inside, done here for all operations in one place. The two casts are nodes of the graph like any
other, so a rule works in float32 too, and a gradient arrives in the type of the tensor that it belongs to.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, HALVES, SCALAR_NAME, _Default, promote_numpy
from lamina.autograd import graph
from lamina.autograd.graph import Op, Variable, mode, wrap
from lamina.engine import kernels as k
from lamina.engine.door import quietly


class Widen(Op):
    """The float32 values of a half-precision tensor;   the walk rounds the gradient"""

    any_dtype = elementwise = True
    label = "ToCopyBackward0"

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return k.cast(x._a, F32)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad


class Narrow(Op):
    """A result rounded to half precision; users see the name of the operation that was rounded"""

    any_dtype = elementwise = True

    @staticmethod
    def forward(ctx: Any, x: Any, dtype: np.dtype) -> Any:
        if x._node is not None:
            ctx.label = x._node.name()
        return k.cast(x._a, dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return (Widen.apply(grad) if grad._a.dtype in HALVES else grad), None


def widened(x: Any) -> Any:
    """A half-precision tensor in float32 (with its history, if one is being recorded); anything else as it is."""
    if not isinstance(x, Variable) or x._a.dtype not in HALVES:
        return x
    if mode.enabled and graph.wants(x):
        return Widen.apply(x)
    wide = wrap(k.cast(x._a, F32))
    wide._hidden = x._hidden or (wide._a.ndim > 1 and not wide._a.flags.c_contiguous and graph.repeats(x))
    return wide


def rounded(x: Any, dtype: np.dtype) -> Any:
    """A number, or a tensor of no dimensions, rounded to half precision and back."""
    if type(x) is float:
        return float(_round(x, dtype))
    if isinstance(x, Variable) and not x._a.ndim and x._a.dtype.kind == "f" and x._node is None:
        return wrap(k.cast(k.cast(x._a, dtype), F32))
    return x


def _round(x: float, dtype: np.dtype) -> np.ndarray:
    return quietly(np.array, x, dtype)


def narrowed(y: Any, dtype: np.dtype) -> Any:
    """A float32 result in half precision."""
    return Narrow.apply(y, dtype) if isinstance(y, Variable) and y._a.dtype is F32 else y


class _Integers(threading.local):
    """Whether an operation is already on its way to a default type of half precision."""

    busy = False


_integers = _Integers()


def target(op: type[Op], inputs: tuple) -> Any:
    """The half type that an operation's float32 results are rounded to, or ``None`` if it is to run as it is."""
    dimensioned: Any = None
    scalar: Any = None
    first: Any = None
    mixed = False
    wanted: Any = None
    for x in inputs:
        if isinstance(x, Variable):
            dtype = x._a.dtype
            if dtype.kind not in "fcV":
                continue
            if dtype.itemsize == 1:
                raise NotImplementedError(f'"{op.__name__}" not implemented for {SCALAR_NAME[BY_NUMPY[dtype]]!r}')
            if first is None:
                first = dtype
            elif dtype is not first:
                mixed = True
            if x._a.ndim:
                dimensioned = dtype if dimensioned is None else promote_numpy(dimensioned, dtype)
            else:
                scalar = dtype if scalar is None else promote_numpy(scalar, dtype)
        elif isinstance(x, np.dtype):
            wanted = x
    if wanted is not None:  # as in sum(dtype=…)
        return wanted if first in HALVES or wanted in HALVES else None
    if first is None:  # integers, whose floats are of the default type
        return None if _integers.busy else _Default.half
    if not mixed:
        return first if first in HALVES else None
    if op.mixes == "first":
        return first if first in HALVES else F32 if dimensioned is F32 else None
    if op.mixes or op.elementwise:
        if not any(isinstance(x, Variable) and x._a.dtype in HALVES for x in inputs):
            return None
        return scalar if dimensioned is None else dimensioned
    return None  # the operation says what it thinks of different types


def in_single(op: type[Op], inputs: tuple) -> Any:
    """``op`` in float32 on half-precision inputs, or ``NotImplemented`` where there are none."""
    dtype = target(op, inputs)
    if dtype is None:
        return NotImplemented
    wide = [F32 if isinstance(x, np.dtype) and x in HALVES else widened(x) for x in inputs]
    if op.rounds_numbers and dtype in HALVES:
        wide = [rounded(x, dtype) for x in wide]
    before, _integers.busy, state, mode.autocast = _integers.busy, True, mode.autocast, None
    try:
        result = op.apply(*wide)
    finally:
        _integers.busy, mode.autocast = before, state
    if dtype not in HALVES:
        return result
    return tuple([narrowed(y, dtype) for y in result]) if type(result) is tuple else narrowed(result, dtype)
