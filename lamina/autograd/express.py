"""The express lane: the commonest operations in one Python frame.

A general call passes :meth:`Op.apply`, the operation's ``forward``, the promotion of its operands and the engine's door, for
whatever may come. What mostly comes is tensors of float32 (or float64), and a kernel of the same arguments, in its reference
form or, for many numbers, in its fast one: for these the functions below do all of that at once, with what they need bound as
local names. They take the same kernels, count the same calls and leave the same nodes; for anything else, and for every error,
they hand the call on to the general way. So an operation is still described by its class alone, and ``express`` only says
which of it can be taken short:

>>> express.two(Mul, kernels.mul, keeps="factors")   # Mul.apply is the lane from now on

Where somebody must see every call (an observer of the door, a recorder, inference mode), he puts himself into
``door.detours``; while anybody is in there, no call takes the lane.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from math import copysign
from typing import Any

import numpy as np

from lamina.autograd import graph
from lamina.autograd.graph import Op, Variable, Version, _sequence, mode, repeats, wants
from lamina.engine.door import Kernel, _run, detours

ndarray = np.ndarray
asarray = np.asarray
F32, F64, I64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
_new = object.__new__

_ZERO = np.zeros((), F32)
_numbers: dict[Any, ndarray] = {}  # Python numbers as float32 arrays: with those NumPy takes half the time


def _number(y: Any) -> ndarray | None:
    """A Python number as an array of no dimensions, if the lane can take it."""
    if not y:  # not kept: −0.0 is the same key
        return _ZERO if type(y) is int or copysign(1.0, y) > 0 else None
    if y != y:
        return None
    if len(_numbers) > 1000:
        _numbers.clear()
    try:
        _numbers[y] = a = _run(np.array, y, F32)
    except (OverflowError, RuntimeError):
        return None
    return a


def _odd(y: Any) -> bool:
    """Whether a result that lies as this tensor does is hidden, or is not known to be plain."""
    return isinstance(y, Variable) and (y._hidden or repeats(y))


def two(
    op: type[Op], kernel: Kernel, keeps: str = "nothing", otherwise: Callable[..., Any] | None = None, integers: bool = False
) -> Any:
    """The lane of an operation of two tensors, or of a tensor and a number, computed by ``kernel(a, b, *settings)``.

    ``keeps`` says what the rule needs: ``"factors"`` (each where the other wants a gradient), ``"divisor"`` (the second, and
    the first where the second wants one), ``"second"`` (and only that), ``"both"`` or ``"nothing"``; it finds the settings on
    the node, if there are any. ``otherwise`` is the general way; without one it is ``op.apply``, and the lane takes that
    place. ``integers``: whether int64 is computed by the same kernel.
    """
    general = op.apply if otherwise is None else otherwise
    reference, saves = kernel.reference, keeps != "nothing"
    keeps_x, keeps_y, only_y = keeps == "both", keeps in ("both", "divisor"), keeps == "second"
    perhaps_x, perhaps_y = keeps in ("factors", "divisor"), keeps == "factors"

    def apply(x: Any, y: Any, *settings: Any) -> Any:
        if not isinstance(x, Variable):
            return general(x, y, *settings)
        a = x._a
        dtype = a.dtype
        if (dtype is not F32 and dtype is not F64 and (dtype is not I64 or not integers)) or detours:
            return general(x, y, *settings)
        kind = type(y)
        large = a.size >= kernel.min_size
        if kind is float or kind is int:
            if large or dtype is I64 and kind is float:
                return general(x, y, *settings)
            b = y
            if dtype is F32:
                b = _numbers.get(y)
                if b is None:
                    b = _number(y)
                    if b is None:
                        return general(x, y, *settings)
            y_wants = False
        elif isinstance(y, Variable):
            b = y._a
            if b.dtype is not dtype:
                return general(x, y, *settings)
            y_wants = y._requires if y._base is None else wants(y)
        else:
            return general(x, y, *settings)
        c: Any = NotImplemented
        try:
            if large:
                c = _run(kernel.fast, a, b, *settings)
                if c is NotImplemented:
                    kernel.declined += 1
                else:
                    kernel.fast_calls += 1
            if c is NotImplemented:
                c = _run(reference, a, b, *settings) if settings else _run(reference, a, b)
                kernel.reference_calls += 1
        except (ValueError, RuntimeError, OverflowError):
            return general(x, y, *settings)
        t = _new(graph._Tensor)
        if type(c) is ndarray:
            t._a = c
            if c.ndim > 1 and not c.flags.c_contiguous and (x._hidden or repeats(x) or _odd(y)):
                t._hidden = True
        else:
            t._a = asarray(c)
        x_wants = x._requires if x._base is None else wants(x)
        if (x_wants or y_wants) and mode.enabled:
            node: Any = op()
            node.edges = (
                (x._node or x, x._index, a.shape, dtype) if x_wants else None,
                (y._node or y, y._index, b.shape, dtype) if y_wants else None,
            )
            node.sequence = next(_sequence)
            if saves:
                if only_y:
                    node._keep(y)
                else:
                    node._keep(
                        x if keeps_x or perhaps_x and y_wants else None, y if keeps_y or perhaps_y and x_wants else None
                    )
            if settings:
                node.settings = settings
            t._node = node
            t._requires = True
        return t

    if otherwise is None:
        op.lane = kernel, keeps, integers  # type: ignore[attr-defined]
        op.apply = staticmethod(apply)  # type: ignore[method-assign]
    return apply


def result(op: type[Op], array: ndarray, *inputs: Any) -> Any:
    """A tensor over a plain result of an operation, with a node if one is to be recorded (it is then ``tensor._node``).

    For lanes that are written by hand, beside the operation they belong to.
    """
    t = _new(graph._Tensor)
    t._a = array
    for x in inputs:
        if isinstance(x, Variable) and (x._requires if x._base is None else wants(x)):
            if mode.enabled:
                node: Any = op()
                node.edges = [
                    (v._node or v, v._index, v._a.shape, v._a.dtype) if isinstance(v, Variable) and wants(v) else None
                    for v in inputs
                ]
                node.sequence = next(_sequence)
                t._node = node
                t._requires = True
            break
    return t


def seen(op: Any, x: Any, array: ndarray, arguments: tuple) -> Any:
    """A view of ``x``, which ``op`` makes by these arguments, over its array.

    The part of :meth:`ViewOp.apply` after the operation's ``forward``, for those who know what that would give. The rule
    finds the arguments, and the shape of ``x``, on the node. Nobody may be in ``detours``, and ``x`` must not be hidden.
    """
    t = _new(graph._Tensor)
    t._a = array
    version = x._writes
    if version is None:
        version = x._writes = Version()
    t._writes = version
    base = x._base
    if base is None:
        t._base = x
        t._replay = ((op, arguments),)
        if x._rebased:
            t._stamp = x._rebased
        record = x._requires
    else:
        t._base, t._replay, t._stamp = base, (*x._replay, (op, arguments)), base._rebased
        record = wants(x)
    if x._inference:
        t._inference = True
    if record and mode.enabled:
        node: Any = op()
        node.shape, node.arguments = x._a.shape, arguments
        node.edges = ((x._node or x, x._index, x._a.shape, x._a.dtype),)
        node.sequence = next(_sequence)
        t._node = node
        t._requires = True
    return t


def reduction(
    kernel: Kernel, function: Callable[..., Any], along: Callable[[int], Any] | None, op: type[Op] | None = None,
    differs: bool = False, kinds: str = "f",
) -> Any:  # fmt: skip
    """The lane of a reduction, ``x.sum()`` or ``x.sum(dim, keepdim)`` with one dimension; ``function`` takes the others.

    Args:
        along: what makes the kernel's argument of an axis; none where the function takes no dimension in the same way.
        op: the operation that it leaves as a node, which takes empty tensors as well; without one it leaves none.
        differs: whether a node is to be left all the same, which ``function`` does.
        kinds: those of the dtypes.
    """
    reference, leaves = kernel.reference, op is not None or differs
    dtypes = [d for d in (F32, F64, I64, np.dtype(np.bool_)) if d.kind in kinds]

    @functools.wraps(function)
    def whole(input: Any, dim: Any = None, keepdim: Any = False, **others: Any) -> Any:
        if others or not isinstance(input, Variable):
            if dim is not None:
                others["dim"] = dim
            if keepdim is not False:
                others["keepdim"] = keepdim
            return function(input, **others)
        a, axes = input._a, None
        size = a.size
        if a.dtype not in dtypes or size >= kernel.min_size or detours or not size and op is None:
            return function(input, dim, keepdim)
        if dim is not None:
            n = a.ndim
            if along is None or type(dim) is not int or not -n <= dim < n:
                return function(input, dim, keepdim)
            axes = along(dim % n)
        elif keepdim:
            return function(input, dim, keepdim)
        tracked = leaves and (input._requires if input._base is None else wants(input)) and mode.enabled
        if tracked and op is None:
            return function(input, dim, keepdim)
        try:
            c = _run(reference, a, axes, keepdim)
        except RuntimeError:
            return function(input, dim, keepdim)
        kernel.reference_calls += 1
        t = _new(graph._Tensor)
        t._a = c = c if type(c) is ndarray else asarray(c)
        if c.ndim > 1 and not c.flags.c_contiguous:
            t._hidden = True
        if tracked and op is not None:
            node: Any = op()
            node.shape = a.shape
            if axes is not None:
                node.axes, node.keepdim, node.label = axes, keepdim, f"{op.__name__}Backward1"
            node.edges = ((input._node or input, input._index, node.shape, a.dtype),)
            node.sequence = next(_sequence)
            t._node = node
            t._requires = True
        return t

    return whole


def alone(axis: int) -> tuple[int]:
    """An axis as a kernel of several takes it."""
    return (axis,)


def operator(op: Any, otherwise: Callable[..., Any]) -> Any:
    """The lane of an operation that has one, as an operator (``x + y``) with a general way of its own."""
    kernel, keeps, integers = op.lane
    return two(op, kernel, keeps, otherwise, integers)


def flipped(op: type[Op], kernel: Kernel, label: str, otherwise: Callable[..., Any], keeps: bool = False) -> Any:
    """The lane of ``number OP x``, as the operator method of x; ``keeps``: whether the rule needs both."""
    reference = kernel.reference

    def operate(x: Any, number: Any) -> Any:
        a = x._a
        dtype = a.dtype
        if type(number) not in (float, int) or (dtype is not F32 and dtype is not F64) or a.size >= kernel.min_size or detours:
            return otherwise(x, number)
        b = number
        if dtype is F32:
            b = _numbers.get(number)
            if b is None:
                b = _number(number)
                if b is None:
                    return otherwise(x, number)
        try:
            c = _run(reference, b, a)
        except (RuntimeError, OverflowError):
            return otherwise(x, number)
        kernel.reference_calls += 1
        t = _new(graph._Tensor)
        if type(c) is ndarray:
            t._a = c
            if c.ndim > 1 and not c.flags.c_contiguous and _odd(x):
                t._hidden = True
        else:
            t._a = asarray(c)
        if (x._requires if x._base is None else wants(x)) and mode.enabled:
            node: Any = op()
            node.edges = (None, (x._node or x, x._index, a.shape, dtype))
            node.sequence = next(_sequence)
            node.label = label
            if keeps:
                node._keep(number, x)
            t._node = node
            t._requires = True
        return t

    return operate


def one(op: type[Op], kernel: Kernel, keeps: str = "nothing") -> Any:
    """The lane of an operation of one tensor, by ``kernel(a, *settings)``; ``keeps``: ``"input"``, ``"output"`` or ``"nothing"``.

    The rule finds the settings on the node, if there are any; with ``"call"`` it finds them, which are numbers then, beside
    the input.
    """
    general = op.apply
    reference = kernel.reference
    keeps_input, keeps_output, reorders = keeps == "input", keeps == "output", not op.elementwise
    keeps_call = keeps == "call"

    def apply(x: Any, *settings: Any) -> Any:
        if not isinstance(x, Variable):
            return general(x, *settings)
        a = x._a
        dtype = a.dtype
        if (dtype is not F32 and dtype is not F64) or detours:
            return general(x, *settings)
        if keeps_call and type(settings[0]) not in (int, float):
            return general(x, *settings)
        c: Any = NotImplemented
        try:
            if a.size >= kernel.min_size:
                c = _run(kernel.fast, a, *settings)
                if c is NotImplemented:
                    kernel.declined += 1
                else:
                    kernel.fast_calls += 1
            if c is NotImplemented:
                c = _run(reference, a, *settings) if settings else _run(reference, a)
                kernel.reference_calls += 1
        except (ValueError, RuntimeError, OverflowError):
            return general(x, *settings)
        t = _new(graph._Tensor)
        if type(c) is ndarray:
            t._a = c
            if c.ndim > 1 and not c.flags.c_contiguous and (reorders or x._hidden or repeats(x)):
                t._hidden = True
        else:
            t._a = c = asarray(c)
        if (x._requires if x._base is None else wants(x)) and mode.enabled:
            node: Any = op()
            node.edges = ((x._node or x, x._index, a.shape, dtype),)
            node.sequence = next(_sequence)
            if keeps_input:
                node._keep(x)
            elif keeps_output:
                t._writes = version = Version()
                node._output = (c, version, 0)
            if keeps_call:
                node.edges += (None,) * len(settings)
                node._keep(x, *settings)
            elif settings:
                node.settings = settings
            t._node = node
            t._requires = True
        return t

    op.apply = staticmethod(apply)  # type: ignore[method-assign]
    return apply


def over(kernel: Kernel, otherwise: Callable[..., Any]) -> Any:
    """The lane of ``x.name_(y)``, or of ``x.add_(y, alpha=number)``: ``kernel(a, b)`` writes into a, nothing is recorded."""
    reference, scales = kernel.reference, kernel.name in ("add_", "sub_")

    @functools.wraps(otherwise)
    def write(x: Any, y: Any, *more: Any, **settings: Any) -> Any:
        alpha = None
        if settings and scales and len(settings) == 1:
            alpha = settings.get("alpha")
        if more or settings and type(alpha) is not float or not isinstance(x, Variable):
            return otherwise(x, y, *more, **settings)
        a = x._a
        dtype = a.dtype
        if (dtype is not F32 and dtype is not F64) or a.size >= kernel.min_size or detours:
            return otherwise(x, y, **settings)
        kind = type(y)
        if kind is float or kind is int:
            b = y
            if dtype is F32:
                b = _numbers.get(y)
                if b is None:
                    b = _number(y)
                    if b is None:
                        return otherwise(x, y, **settings)
            y_wants = False
        elif isinstance(y, Variable):
            b = y._a
            if b.dtype is not dtype:
                return otherwise(x, y, **settings)
            y_wants = y._requires if y._base is None else y._base._requires or y._requires
        else:
            return otherwise(x, y, **settings)
        base = x._base
        if (y_wants or x._requires or base is not None and base._requires) and mode.enabled:
            return otherwise(x, y, **settings)
        if x._inference or 0 in a.strides:
            return otherwise(x, y, **settings)
        try:
            if alpha is not None:
                b = _run(np.multiply, b, alpha)
            _run(reference, a, b)
        except (ValueError, RuntimeError):  # shapes that do not fit, memory that may not be written
            return otherwise(x, y, **settings)
        kernel.reference_calls += 1
        version = x._writes
        if version is None:
            version = x._writes = Version()
        version.n += 1
        return x

    return write


def test(kernel: Kernel, otherwise: Callable[..., Any]) -> Any:
    """The lane of a comparison ``kernel(a, b)`` of two tensors, or of a tensor and a number: bools without a history."""
    reference = kernel.reference

    def compare(x: Any, y: Any) -> Any:
        if not isinstance(x, Variable):
            return otherwise(x, y)
        a = x._a
        dtype = a.dtype
        if (dtype is not F32 and dtype is not F64 and dtype is not I64) or a.size >= kernel.min_size or x._hidden or detours:
            return otherwise(x, y)
        kind = type(y)
        if kind is float or kind is int:
            if dtype is I64 and kind is float:
                return otherwise(x, y)
            b = y
            if dtype is F32:
                b = _numbers.get(y)
                if b is None:
                    b = _number(y)
                    if b is None:
                        return otherwise(x, y)
        elif isinstance(y, Variable):
            b = y._a
            if b.dtype is not dtype or y._hidden:
                return otherwise(x, y)
        else:
            return otherwise(x, y)
        try:
            c = _run(reference, a, b)
        except (ValueError, RuntimeError, OverflowError):
            return otherwise(x, y)
        kernel.reference_calls += 1
        t = _new(graph._Tensor)
        t._a = c if type(c) is ndarray else asarray(c)
        return t

    return compare
