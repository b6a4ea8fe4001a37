"""Elementwise arithmetic, comparison and logic, with PyTorch's promotion of dtypes.

The functions of one tensor are in ``unary.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import SCALAR_NAME, WIDE, limits, to_numpy
from lamina.autograd import express
from lamina.autograd.graph import Op, Variable, inplace, mode, wants, wrap
from lamina.engine import kernels as k
from lamina.engine.door import detours, quietly
from lamina.ops.operands import (
    _as_array,
    _broadcastable,
    _call,
    array_of,
    floating,
    not_a_tensor,
    of_tensor,
    operands,
    result_numpy_dtype,
    result_type,  # noqa: F401  # as are the functions of unary.py: other families reach them here
    store,
    store_or_return,
    zeros_like,
)  # fmt: skip
from lamina.ops.unary import abs, conj, exp, log, log1p, rsqrt, sgn, square, trunc  # noqa: F401

# -- arithmetic of two ---------------------------------------------------------------------------------------------


class Add(Op):
    """x + y;   dL/dx = dL/dy = g"""

    elementwise = rounds_numbers = True

    @staticmethod
    def forward(ctx, x, y):
        a, b = operands(x, y)
        try:
            return k.add(a, b)
        except ValueError as error:
            raise _broadcastable(a, b, error) from None

    @staticmethod
    def backward(ctx, grad):
        return grad, grad


class Sub(Op):
    """x − y;   dL/dx = g, dL/dy = −g"""

    elementwise = rounds_numbers = True

    @staticmethod
    def forward(ctx, x, y):
        if not isinstance(x, Variable):
            ctx.label = "RsubBackward1"
        return _call(k.sub, *operands(x, y))

    @staticmethod
    def backward(ctx, grad):
        return grad, -grad if ctx.needs(1) else None


class Mul(Op):
    """x·y;   dL/dx = g·y, dL/dy = g·x"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_factors(x, y)
        a, b = operands(x, y)
        try:
            return k.mul(a, b)
        except ValueError as error:
            raise _broadcastable(a, b, error) from None

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        return grad * _conj(y) if ctx.needs(0) else None, grad * _conj(x) if ctx.needs(1) else None


class Div(Op):
    """x/y;   dL/dx = g/y, dL/dy = −g·x/y²"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, y):
        if ctx.recording:
            ctx.save(x if wants(y) else None, y)
        a, b = operands(x, y)
        if a.dtype.kind in "iub":
            a, b = _as_array(x, _dtypes._Default.wide), _as_array(y, _dtypes._Default.wide)
        return _call(k.div, a, b)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        y = _conj(y)
        gx = grad / y
        return gx if ctx.needs(0) else None, -gx * _conj(x / _conj(y)) if ctx.needs(1) else None


class Pow(Op):
    """xʸ;   dL/dx = g·y·xʸ⁻¹, dL/dy = g·xʸ·log x (0 where x = 0 and y ≥ 0)"""

    elementwise = rounds_numbers = True

    @staticmethod
    def forward(ctx, x, y):
        ctx.save(x, y)
        a, b = operands(x, y)
        if a.dtype.kind == "b":
            raise NotImplementedError("\"pow\" not implemented for 'Bool'")
        if a.dtype.kind in "iu" and not isinstance(y, Variable) and isinstance(y, int) and y < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        if a.dtype.kind in "iu" and np.size(b) and np.min(b) < 0:
            base = a.astype(np.float64)
            return np.trunc(np.power(base, b)).astype(a.dtype)
        if isinstance(y, int) and not isinstance(y, bool) and a.dtype.kind in "iufcV":
            b = y
        return _call(k.pow, a, b)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        gx = gy = None
        if ctx.needs(0):
            if isinstance(y, Variable):
                less_one: Any = sub(y, 1)
                gx = where(y == 0, 0.0, grad * _conj(y * x**less_one))
            elif y == 0:
                gx = zeros_like(grad)
            else:
                gx = grad * _conj(y * x ** (y - 1)) if y != 2 else grad * _conj(x * 2)
        if ctx.needs(1):
            result = x**y
            logarithm = (
                log(x)
                if isinstance(x, Variable)
                else complex(np.log(x))
                if isinstance(x, complex)
                else float(np.log(x))
                if x > 0
                else 0.0
                if x == 0
                else float("nan")
            )
            at_least_0 = (y.real if isinstance(y, Variable) else y) >= 0
            gy = grad * where(at_least_0 & (x == 0), 0.0, _conj(result * logarithm))
        return gx, gy


class Maximum(Op):
    """max(x, y), NaN wins;   the gradient goes to the larger, halved between equals"""

    elementwise = True
    kernel = "maximum"

    @classmethod
    def forward(cls, ctx, x, y):
        ctx.save(x, y)
        return _call(getattr(k, ctx.kernel), *operands(x, y))

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        half = where(x == y, 0.5, 1.0).to(grad.dtype) * grad
        first = x > y if ctx.kernel in ("maximum", "fmax") else x < y
        loses = first | (x == y)
        return (
            where(loses, half, 0.0) if ctx.needs(0) else None,
            where(~first, half, 0.0) if ctx.needs(1) else None,
        )


class Minimum(Maximum):
    """min(x, y), NaN wins;   the gradient goes to the smaller, halved between equals"""

    kernel = "minimum"


class Fmax(Maximum):
    """max(x, y), a number wins over NaN"""

    kernel = "fmax"

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        takes_x = (x >= y) | isnan(y) if ctx.kernel == "fmax" else (x <= y) | isnan(y)
        return where(takes_x, grad, 0.0), where(takes_x, 0.0, grad)


class Fmin(Fmax):
    """min(x, y), a number wins over NaN"""

    kernel = "fmin"


class Atan2(Op):
    """The angle of (y, x);   dL/dy = g·x/(x² + y²), dL/dx = −g·y/(x² + y²)"""

    elementwise = rounds_numbers = True

    @staticmethod
    def forward(ctx, y, x):
        ctx.save(y, x)
        a, b = _floats(*operands(y, x))
        return _call(k.atan2, a, b)

    @staticmethod
    def backward(ctx, grad):
        y, x = ctx.saved
        scaled = grad / (x * x + y * y)
        return scaled * x, -scaled * y


class Fmod(Op):
    """The remainder of x/y rounded towards zero (sign of x);   dL/dx = g, dL/dy = −g·trunc(x/y)"""

    elementwise = rounds_numbers = True

    @staticmethod
    def forward(ctx, x, y):
        if wants(y):
            ctx.save(x, y)
        a, b = operands(x, y)
        _no_integer_zero(a, b, "fmod_cpu")
        return _call(k.fmod, a, b)

    @staticmethod
    def backward(ctx, grad):
        return grad, -grad * div(*ctx.saved, rounding_mode="trunc") if ctx.needs(1) else None


class Remainder(Op):
    """x − y·⌊x/y⌋ (sign of y);   dL/dx = g, dL/dy = −g·⌊x/y⌋"""

    elementwise = rounds_numbers = True

    @staticmethod
    def forward(ctx, x, y):
        if wants(y):
            ctx.save(x, y)
        a, b = operands(x, y)
        _no_integer_zero(a, b, "remainder_cpu")
        return _call(k.remainder, a, b)

    @staticmethod
    def backward(ctx, grad):
        return grad, -grad * div(*ctx.saved, rounding_mode="floor") if ctx.needs(1) else None


for _op, _kernel, _keeps in (
    (Add, k.add, "nothing"), (Sub, k.sub, "nothing"), (Mul, k.mul, "factors"), (Div, k.div, "divisor"),
    # A class comes before the one that it derives from, whose lane it would take for its own general way.
    (Fmin, k.fmin, "both"), (Fmax, k.fmax, "both"), (Minimum, k.minimum, "both"), (Maximum, k.maximum, "both"),
):  # fmt: skip
    express.two(_op, _kernel, _keeps, integers=_op is not Div)
express.one(Pow, k.pow, "call")


def _no_integer_zero(a: Any, b: Any, name: str) -> None:
    if a.dtype.kind == "b":
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")
    if a.dtype.kind in "iu" and np.any(np.equal(b, 0)):
        raise RuntimeError("ZeroDivisionError")


def _floats(a: Any, b: Any) -> tuple[Any, Any]:
    if a.dtype.kind in "iub":
        return a.astype(_dtypes._Default.wide), np.asarray(b).astype(_dtypes._Default.wide)
    return a, b


def _conj(x: Any) -> Any:
    if isinstance(x, Variable):
        return conj(x) if x._a.dtype.kind == "c" else x
    return x.conjugate() if isinstance(x, complex) else x


def _scaled(input: Any, other: Any, alpha: Any) -> Any:
    if isinstance(alpha, float) and result_numpy_dtype(input, other).kind in "iub":
        raise RuntimeError(f"For integral input tensors, argument alpha must not be a floating point number, but got {alpha}")
    return mul(other, alpha) if isinstance(other, Variable) else other * alpha


def _no_bool_sub(x: Any, y: Any) -> None:
    for t in (x, y):
        if (isinstance(t, Variable) and t._a.dtype.kind == "b") or isinstance(t, bool):
            raise RuntimeError(
                "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the "
                "`~` or `logical_not()` operator instead."
            )


def add(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """input + alpha·other, elementwise with broadcasting."""
    if alpha != 1:
        other = _scaled(input, other, alpha)
    r = Add.apply(input, other)
    return r if out is None else store(out, r)


def sub(input: Any, other: Any, *, alpha: Any = 1, out: Any = None) -> Any:
    """input − alpha·other, elementwise with broadcasting; bool tensors raise ``RuntimeError``."""
    if alpha != 1:
        other = _scaled(input, other, alpha)
    _no_bool_sub(input, other)
    r = Sub.apply(input, other)
    return r if out is None else store(out, r)


def rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """other − alpha·input."""
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any, *, out: Any = None) -> Any:
    """input·other, elementwise with broadcasting."""
    r = Mul.apply(input, other)
    return r if out is None else store(out, r)


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """input/other; integers give floats, unless ``rounding_mode`` is ``"trunc"`` (towards zero) or ``"floor"``."""
    if rounding_mode is None:
        r = Div.apply(input, other)
    elif rounding_mode in ("trunc", "floor"):
        r = RoundedDiv.apply(input, other, rounding_mode)
    else:
        raise RuntimeError(
            f"div expected rounding_mode to be one of None, 'trunc', or 'floor' but found '{rounding_mode}'"
        )
    return r if out is None else store(out, r)


class RoundedDiv(Op):
    """x/y rounded to an integer;   the gradient is zero"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, y, rounding_mode):
        return _rounded_div(*operands(x, y), rounding_mode)

    @staticmethod
    def backward(ctx, grad):
        zero = zeros_like(grad)
        return zero, zero, None


def _rounded_div(a: Any, b: Any, mode: str) -> Any:
    _no_integer_zero(a, b, f"div_{mode}_cpu")
    if mode == "floor":
        if a.dtype.kind in "fV":  # x/0 is ±inf, as a division is; NumPy says NaN
            quotient, zero = _call(k.floor_divide, a, b), np.equal(b, 0)
            return k.where(zero, k.div(a, b), quotient) if np.any(zero) else quotient
        return _call(k.floor_divide, a, b)
    if a.dtype.kind in "fV":
        return k.trunc(_call(k.div, a, b))
    quotient = _call(k.floor_divide, a, b)
    return quotient + ((quotient < 0) & (quotient * b != a))


def floor_divide(input: Any, other: Any, *, out: Any = None) -> Any:
    """⌊input/other⌋."""
    return div(input, other, rounding_mode="floor", out=out)


def true_divide(input: Any, other: Any, *, out: Any = None) -> Any:
    """input/other, always in floating point."""
    return div(input, other, out=out)


def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:  # noqa: A001
    """inputᵉˣᵖᵒⁿᵉⁿᵗ, elementwise; either may be a number."""
    r = Pow.apply(input, exponent)
    return r if out is None else store(out, r)


def _two(op: type[Op], name: str, doc: str) -> Callable[..., Any]:
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        r = op.apply(input, other)
        return r if out is None else store(out, r)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


maximum = _two(Maximum, "maximum", "The larger of two elements; NaN wins.")
minimum = _two(Minimum, "minimum", "The smaller of two elements; NaN wins.")
fmax = _two(Fmax, "fmax", "The larger of two elements; a number wins over NaN.")
fmin = _two(Fmin, "fmin", "The smaller of two elements; a number wins over NaN.")
atan2 = _two(Atan2, "atan2", "The angle of the point (other, input) in (−π, π].")
fmod = _two(Fmod, "fmod", "The remainder of input/other with the sign of input.")
remainder = _two(Remainder, "remainder", "The remainder of input/other with the sign of other.")


def _fits_into(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of ``shape`` broadcasts to ``target`` as it is."""
    if shape == target:
        return True
    lead = len(target) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, target[lead:], strict=True))


def _write(kernel: Any) -> Callable[[Any, Any], bool]:
    """The direct in-place form of an operation, for when no gradient is recorded; says whether it could be used."""

    def into(x: Any, other: Any) -> bool:
        if x._a.dtype.kind != "f" or x._a.itemsize < 4 or not isinstance(other, (Variable, int, float)):
            return False
        a, b = operands(x, other)
        if a is not x._a or isinstance(b, np.ndarray) and not _fits_into(b.shape, a.shape):
            return False
        kernel(a, b)
        return True

    into.kernel = kernel  # type: ignore[attr-defined]
    return into


for _function, _kernel in ((add, k.add_), (sub, k.sub_), (mul, k.mul_), (div, k.div_)):
    _function.into = _write(_kernel)  # type: ignore[attr-defined]


# -- comparison, logic and bits: no gradients ----------------------------------------------------------------------


def _plain(
    kernel: Any, name: str, doc: str, prepare: Callable[[Any, Any], tuple] = operands
) -> Callable[..., Any]:
    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        r = wrap(_call(kernel, *prepare(input, other)))
        if r._a.ndim > 2 and (getattr(input, "_hidden", False) or getattr(other, "_hidden", False)):
            r._hidden = True
        return r if out is None else store(out, r)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _logical(name: str, doc: str) -> Callable[..., Any]:
    """A truth function of two tensors of any dtypes."""

    def arrays(x: Any, y: Any) -> tuple[Any, Any]:
        if not isinstance(y, Variable):
            raise not_a_tensor(y, name, "other", 2)
        return array_of(x, name), y._a

    return _plain(getattr(k, name), name, doc, arrays)


def _integers(x: Any, y: Any) -> tuple[Any, Any]:
    a, b = operands(x, y)
    if a.dtype.kind not in "iub":
        raise NotImplementedError(
            f"bitwise operations take integers or bools, but got {SCALAR_NAME[_dtypes.BY_NUMPY[a.dtype]]}"
        )
    return a, b


eq = _plain(k.eq, "eq", "input == other, elementwise.")
ne = _plain(k.ne, "ne", "input != other, elementwise.")
lt = _plain(k.lt, "lt", "input < other, elementwise.")
le = _plain(k.le, "le", "input <= other, elementwise.")
gt = _plain(k.gt, "gt", "input > other, elementwise.")
ge = _plain(k.ge, "ge", "input >= other, elementwise.")
logical_and = _logical("logical_and", "Whether both elements are non-zero.")
logical_or = _logical("logical_or", "Whether either element is non-zero.")
logical_xor = _logical("logical_xor", "Whether exactly one element is non-zero.")
bitwise_and = _plain(k.bitwise_and, "bitwise_and", "input & other.", _integers)
bitwise_or = _plain(k.bitwise_or, "bitwise_or", "input | other.", _integers)
bitwise_xor = _plain(k.bitwise_xor, "bitwise_xor", "input ^ other.", _integers)
bitwise_left_shift = _plain(k.left_shift, "bitwise_left_shift", "input << other.", _integers)
bitwise_right_shift = _plain(k.right_shift, "bitwise_right_shift", "input >> other.", _integers)


def _test(kernel: Any, name: str, doc: str) -> Callable[..., Any]:
    def function(input: Any) -> Any:
        return wrap(kernel(array_of(input, name)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


isnan = _test(k.isnan, "isnan", "Whether each element is NaN.")
isinf = _test(k.isinf, "isinf", "Whether each element is infinite.")
isfinite = _test(k.isfinite, "isfinite", "Whether each element is neither infinite nor NaN.")
signbit = _test(k.signbit, "signbit", "Whether each element's sign bit is set.")


@of_tensor
def logical_not(input: Any, *, out: Any = None) -> Any:
    """Whether each element is zero."""
    r = wrap(k.logical_not(input._a))
    return r if out is None else store(out, r)


@of_tensor
def bitwise_not(input: Any, *, out: Any = None) -> Any:
    """All bits flipped; for bools, the negation."""
    if input._a.dtype.kind not in "iub":
        raise NotImplementedError(
            f'"bitwise_not_cpu" not implemented for {SCALAR_NAME[_dtypes.BY_NUMPY[input._a.dtype]]!r}'
        )
    r = wrap(k.bitwise_not(input._a))
    return r if out is None else store(out, r)


# -- choosing, bounding, mixing ------------------------------------------------------------------------------------


class Where(Op):
    """x where the condition holds, else y;   each gets the gradient where it was taken"""

    elementwise = True

    @staticmethod
    def forward(ctx, condition, x, y):
        ctx.save(condition)
        a, b = operands(x, y) if isinstance(x, Variable) or isinstance(y, Variable) else (x, y)
        if not isinstance(x, Variable) and not isinstance(y, Variable):
            dtype = result_numpy_dtype(x, y)
            a, b = np.array(x, dtype), np.array(y, dtype)
        elif not isinstance(b, np.ndarray):
            b = a.dtype.type(b)
        try:
            return k.where(condition._a, a, b)
        except ValueError as error:
            raise _broadcastable(condition._a, a, error) from None

    @staticmethod
    def backward(ctx, grad):
        (condition,) = ctx.saved
        return (
            None,
            Where.apply(condition, grad, 0.0) if ctx.needs(1) else None,
            Where.apply(condition, 0.0, grad) if ctx.needs(2) else None,
        )


def _express_where(condition: Any, x: Any, y: Any) -> Any:
    """``Where.apply`` for few plain numbers of one floating dtype, by the express lane; else ``None``."""
    kernel, a, b, c = k.where, x._a, y._a, condition._a
    if a.dtype is not b.dtype or a.dtype.kind != "f" or c.dtype.char != "?" or not a.shape == b.shape == c.shape or detours:
        return None
    if c.size >= kernel.min_size or a.ndim > 1 and not (a.flags.c_contiguous and b.flags.c_contiguous and c.flags.c_contiguous):
        return None
    kernel.reference_calls += 1
    t = express.result(Where, np.asarray(np.where(c, a, b)), condition, x, y)
    node = t._node
    if node is not None:
        node._keep(condition)
    return t


def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """``input`` where ``condition`` (bool), else ``other``; with the condition alone, the indices where it holds."""
    if input is None and other is None:
        return tuple(wrap(i) for i in np.nonzero(condition._a))
    if isinstance(condition, bool):
        condition = wrap(np.array(condition))
    elif not isinstance(condition, Variable):
        raise not_a_tensor(condition, "where", "condition")
    if isinstance(input, Variable) and isinstance(other, Variable) and out is None:
        r = _express_where(condition, input, other)
        if r is not None:
            return r
    if condition._a.dtype.kind != "b" and condition._a.dtype != np.uint8:
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype "
            f"{SCALAR_NAME[_dtypes.BY_NUMPY[condition._a.dtype]]}"
        )
    if condition._a.dtype.kind != "b":
        condition = wrap(condition._a.astype(bool))
    r = Where.apply(condition, input, other)
    return r if out is None else store(out, r)


class Clamp(Op):
    """min(max(x, low), high);   dL/dx = g where low ≤ x ≤ high"""

    elementwise = True
    label = "ClampBackward1"

    @staticmethod
    def forward(ctx, x, low, high):
        ctx.save(x)
        ctx.settings = low, high
        dtype = result_numpy_dtype(x, *(b for b in (low, high) if b is not None))
        a = _as_array(x, dtype)
        return k.clamp(a, *(None if b is None else dtype.type(b) for b in (low, high)))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        low, high = ctx.settings
        inside = ge(x, low) if low is not None else None
        if high is not None:
            below = le(x, high)
            inside = below if inside is None else logical_and(inside, below)
        return (
            where(logical_or(inside, isnan(x)) if x._a.dtype.kind in "fV" else inside, grad, 0.0),
            None,
            None,
        )


_clamp_by_any = Clamp.apply
express.one(Clamp, k.clamp, "input")
_BOUND = (float, int, type(None))


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:  # noqa: A002
    """Each element moved into [min, max]; the bounds are numbers or tensors, and either may be missing."""
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if type(min) in _BOUND and type(max) in _BOUND:
        r = Clamp.apply(input, min, max)
    elif isinstance(min, Variable) or isinstance(max, Variable):
        r = input
        if min is not None:
            r = maximum(r, min if isinstance(min, Variable) else wrap(np.asarray(min)))
        if max is not None:
            r = minimum(r, max if isinstance(max, Variable) else wrap(np.asarray(max)))
    else:
        r = _clamp_by_any(input, min, max)
    return r if out is None else store(out, r)


clip = clamp


def clamp_min(input: Any, min: Any, *, out: Any = None) -> Any:  # noqa: A002
    """Each element raised to at least ``min``."""
    return clamp(input, min=min, out=out)


def clamp_max(input: Any, max: Any, *, out: Any = None) -> Any:  # noqa: A002
    """Each element lowered to at most ``max``."""
    return clamp(input, max=max, out=out)


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """input + value·tensor1·tensor2."""
    r = add(input, mul(tensor1, tensor2), alpha=value)
    return r if out is None else store(out, r)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Any = None) -> Any:
    """input + value·tensor1/tensor2."""
    r = add(input, div(tensor1, tensor2), alpha=value)
    return r if out is None else store(out, r)


@of_tensor
def nan_to_num(
    input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None, *, out: Any = None
) -> Any:
    """NaN, +inf and −inf replaced by numbers (by default 0 and the dtype's largest and smallest)."""
    if input._a.dtype.kind not in "fV":
        r = input.clone()
    else:
        info = limits(input._a.dtype)
        r = where(isnan(input), float(nan or 0.0), input)
        r = where(eq(r, float("inf")), float(info.max) if posinf is None else float(posinf), r)
        r = where(eq(r, float("-inf")), float(info.min) if neginf is None else float(neginf), r)
    return r if out is None else store(out, r)


# -- casts and copies ----------------------------------------------------------------------------------------------


class ToCopy(Op):
    """The same values in another dtype;   the walk casts the gradient back"""

    elementwise = any_dtype = True

    @staticmethod
    def forward(ctx, x, dtype):
        return k.cast(x._a, dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


def cast(input: Any, dtype: Any) -> Any:
    """``input`` in another dtype; itself if it has that dtype already."""
    a, d = input._a, to_numpy(dtype)
    if a.dtype is d:
        return input
    if d in WIDE and a.dtype in WIDE and not detours and a.flags.c_contiguous and a.size < k.cast.min_size:
        if not (mode.enabled and wants(input)):
            k.cast.reference_calls += 1
            return wrap(quietly(k.cast.reference, a, d))
    return ToCopy.apply(input, d)


class Clone(Op):
    """A copy;   dL/dx = g"""

    elementwise = any_dtype = True

    @staticmethod
    def forward(ctx, x):
        return x._a.copy(order="K")

    @staticmethod
    def backward(ctx, grad):
        return grad


class Contiguous(Op):
    """A copy in row-major order;   dL/dx = g"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x):
        return k.contiguous(x._a)

    @staticmethod
    def backward(ctx, grad):
        return grad


@of_tensor
def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy that keeps its history; ``memory_format`` may ask for another order in memory."""
    if memory_format is None or memory_format is _dtypes.preserve_format:
        return Clone.apply(input)
    if memory_format is _dtypes.contiguous_format:
        return Contiguous.apply(input)
    from lamina.ops.layout import to_memory_format

    return to_memory_format(input, memory_format, copy=True)


class Logit(Op):
    """log(x/(1 − x));   dL/dx = g/(x·(1 − x)), NaN outside [0, 1]"""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        if x._a.dtype.kind == "c":
            raise NotImplementedError(f'"logit_cpu" not implemented for {SCALAR_NAME[_dtypes.BY_NUMPY[x._a.dtype]]!r}')
        ctx.save(x)
        a = floating(x)
        return k.log(k.div(a, k.sub(np.ones((), a.dtype), a)))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        return where((x < 0) | (x > 1), float("nan"), grad / (x * (1 - x)))


@of_tensor
def logit(input: Any, eps: float | None = None, *, out: Any = None) -> Any:
    """log(x/(1 − x)), with x moved into [eps, 1 − eps] first if ``eps`` is given."""
    if eps is not None:
        input = clamp(input, eps, 1 - eps)
    return store_or_return(out, Logit.apply(input))


arctan2, multiply, subtract, divide = atan2, mul, sub, div
greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne

FUNCTIONS = (
    "add", "sub", "rsub", "mul", "div", "floor_divide", "true_divide", "pow", "maximum", "minimum", "fmax",
    "fmin", "atan2", "fmod", "remainder", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or",
    "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not",
    "bitwise_left_shift", "bitwise_right_shift", "isnan", "isinf", "isfinite", "signbit", "where", "clamp",
    "clip", "clamp_min", "clamp_max", "addcmul", "addcdiv", "nan_to_num", "clone", "arctan2",
    "multiply", "subtract", "divide", "greater", "greater_equal", "less", "less_equal", "not_equal",
    "logit",
)  # fmt: skip
METHODS = tuple(n for n in FUNCTIONS if n not in ("where", "rsub"))
INPLACE = (
    "add", "sub", "mul", "div", "floor_divide", "true_divide", "pow", "atan2", "fmod", "remainder", "eq",
    "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and",
    "bitwise_or", "bitwise_xor", "bitwise_not", "bitwise_left_shift", "bitwise_right_shift", "clamp",
    "clip", "clamp_min", "clamp_max", "addcmul", "addcdiv", "nan_to_num", "multiply", "subtract",
    "divide", "logit", "arctan2", "greater", "greater_equal", "less", "less_equal", "not_equal",
)  # fmt: skip
FUNCTIONS += tuple(
    inplace(globals()[name], f"{name}_") for name in ("clamp", "clamp_min", "clamp_max", "clip", "logit", "nan_to_num")
)
