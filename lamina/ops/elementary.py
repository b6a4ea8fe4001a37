"""Further elementwise functions, of two tensors and of one, with PyTorch's promotion of dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import BY_NUMPY, HALVES, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, inplace, wants, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.operands import (
    _call,
    array_of,
    floating,
    not_a_tensor,
    of_tensor,
    operands,
    store_or_return,
    zeros_like,
)  # fmt: skip
from lamina.ops.unary import cos, exp2, log, sin

# -- of two tensors ------------------------------------------------------------------------------------------------


_NUMBER = (bool, int, float, complex, np.number)


def _refused(name: str, a: np.ndarray) -> NotImplementedError:
    return NotImplementedError(f'"{name}_cpu" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')


def _two(name: str, of_x: Any, of_y: Any, doc: str, numbers: bool = False) -> Callable[..., Any]:
    """A function of two: its kernel has its name, its gradients are ``of_x(g, x, y)`` and ``of_y(g, x, y)``.

    ``numbers``: whether the second (or the first) may be a Python number, and integers become floats; otherwise both are
    tensors of floats.
    """
    kernel = getattr(k, name)

    class _Binary(Op):
        elementwise = True
        any_dtype = name == "nextafter"  # a half's neighbour is a half

        @staticmethod
        def forward(ctx, x, y):
            ctx.save(x, y)
            a, b = operands(x, y)
            if a.dtype.kind in "iub":
                if not numbers:
                    raise _refused(name, a)
                a, b = (np.asarray(v).astype(_dtypes._Default.wide) for v in (a, b))
            return _call(kernel, a, b)

        @staticmethod
        def backward(ctx, grad):
            x, y = ctx.saved
            return of_x(grad, x, y) if ctx.needs(0) else None, of_y(grad, x, y) if ctx.needs(1) else None

    _Binary.__name__ = _Binary.__qualname__ = name.capitalize()
    _Binary.__doc__ = doc

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        for position, (argument, x, beside) in enumerate((("input", input, other), ("other", other, input)), 1):
            if not isinstance(x, Variable) and not (numbers and isinstance(x, _NUMBER) and isinstance(beside, Variable)):
                raise not_a_tensor(x, name, argument, position)
        return store_or_return(out, _Binary.apply(input, other))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _nothing(grad: Any, x: Any, y: Any) -> Any:
    return zeros_like(grad)


def _sign_of_copy(grad: Any, x: Any, y: Any) -> Any:
    return p.where(x == 0, 0.0, grad * (copysign(x, y) / x))


def _log_where_it_counts(grad: Any, x: Any, y: Any) -> Any:
    """d(x·log y)/dx: the logarithm, but 0 where x = 0 keeps the result at 0."""
    y = y if isinstance(y, Variable) else wrap(np.asarray(y, grad._a.dtype))
    return p.where((x == 0) & (y <= 0), 0.0, grad * log(y))


hypot: Any
hypot = _two(
    "hypot", lambda g, x, y: g * (x / hypot(x, y)), lambda g, x, y: g * (y / hypot(x, y)), "√(input² + other²)."
)
copysign = _two("copysign", _sign_of_copy, _nothing, "The size of ``input`` with the sign of ``other``.", numbers=True)
xlogy = _two(
    "xlogy", _log_where_it_counts, lambda g, x, y: g * x / y, "input·log(other), and 0 where ``input`` is 0.", numbers=True
)
logaddexp = _two(
    "logaddexp", lambda g, x, y: g / (1 + p.exp(y - x)), lambda g, x, y: g / (1 + p.exp(x - y)),
    "log(eⁱⁿᵖᵘᵗ + eᵒᵗʰᵉʳ), without overflow.",
)  # fmt: skip
logaddexp2 = _two(
    "logaddexp2", lambda g, x, y: g / (1 + exp2(y - x)), lambda g, x, y: g / (1 + exp2(x - y)),
    "log₂(2ⁱⁿᵖᵘᵗ + 2ᵒᵗʰᵉʳ), without overflow.",
)  # fmt: skip
nextafter = _two("nextafter", lambda g, x, y: g, _nothing, "The next number after ``input`` towards ``other``.")


class Heaviside(Op):
    """A step, for which there is no rule"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, values):
        return _call(k.heaviside, x._a, values._a)

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("derivative for aten::heaviside is not implemented")


@of_tensor
def heaviside(input: Any, values: Any, *, out: Any = None) -> Any:
    """0 below zero, 1 above, and at zero the element of ``values``; both tensors have one dtype."""
    if not isinstance(values, Variable):
        raise not_a_tensor(values, "heaviside", "values", 2)
    if input._a.dtype != values._a.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return store_or_return(out, Heaviside.apply(input, values))


def _of_integers(name: str, doc: str) -> Callable[..., Any]:
    kernel = getattr(k, name)

    def function(input: Any, other: Any, *, out: Any = None) -> Any:
        if not isinstance(other, Variable):
            raise not_a_tensor(other, name, "other", 2)
        a, b = operands(input, other)
        if a.dtype.kind not in "iu":
            raise _refused(name, a)
        return store_or_return(out, wrap(_call(kernel, a, b)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return of_tensor(function)


gcd = _of_integers("gcd", "The greatest common divisor of two integers.")
lcm = _of_integers("lcm", "The least common multiple of two integers.")


@of_tensor
def ldexp(input: Any, other: Any, *, out: Any = None) -> Any:
    """input·2ᵒᵗʰᵉʳ."""
    if not isinstance(other, Variable):
        raise not_a_tensor(other, "ldexp", "other", 2)
    power = exp2(other)
    if isinstance(input, Variable) and input._a.dtype in HALVES and other._a.dtype.kind in "iub":
        power = p.cast(power, input.dtype)
    return store_or_return(out, input * power)


def float_power(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """inputᵉˣᵖᵒⁿᵉⁿᵗ in double precision."""
    if not isinstance(input, Variable) and not isinstance(exponent, Variable):
        raise not_a_tensor(input, "float_power")
    kinds = [x._a.dtype.kind for x in (input, exponent) if isinstance(x, Variable)]
    wide = _dtypes.complex128 if "c" in kinds else _dtypes.float64
    base, power = (
        p.cast(x, wide) if isinstance(x, Variable) else wrap(np.asarray(x, wide.numpy)) for x in (input, exponent)
    )
    return store_or_return(out, p.pow(base, power))


class Lerp(Op):
    """x + w·(y − x);   dL/dx = g·(1 − w), dL/dy = g·w, dL/dw = g·(y − x)"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, y, weight):
        learns = wants(weight)
        ctx.save(weight, *((x, y) if learns else ()))
        return k.lerp(x._a, y._a, weight._a if isinstance(weight, Variable) else x._a.dtype.type(weight))

    @staticmethod
    def backward(ctx, grad):
        weight, *ends = ctx.saved
        return (
            grad * (1 - weight) if ctx.needs(0) else None,
            grad * weight if ctx.needs(1) else None,
            grad * (ends[1] - ends[0]) if ctx.needs(2) else None,
        )


@of_tensor
def lerp(input: Any, end: Any, weight: Any, *, out: Any = None) -> Any:
    """input + weight·(end − input); raises ``RuntimeError`` unless all are of one floating dtype."""
    if not isinstance(end, Variable):
        raise not_a_tensor(end, "lerp", "end", 2)
    a = input._a
    for name, t in (("end", end), ("weight", weight)):
        if isinstance(t, Variable) and t._a.dtype != a.dtype:
            raise RuntimeError(
                f"expected dtype {SCALAR_NAME[BY_NUMPY[a.dtype]]} for `{name}` but got dtype {SCALAR_NAME[BY_NUMPY[t._a.dtype]]}"
            )
    if a.dtype.kind not in "fcV":
        raise _refused("lerp", a)
    try:
        return store_or_return(out, Lerp.apply(input, end, weight))
    except ValueError as error:
        raise p._broadcastable(a, end._a, error) from None


# -- of one tensor -------------------------------------------------------------------------------------------------


class Angle(Op):
    """The argument of a number: 0 or π for a real one;   dL/dx = 0 for those, and g turned by a right angle over \\|x\\|"""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        ctx.save(x)
        return k.angle(floating(x))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        if x._a.dtype.kind != "c":
            return zeros_like(grad)
        size = p.abs(x)
        return p.where(size == 0, 0.0, grad * (x / size) / size) * 1j


@of_tensor
def angle(input: Any, *, out: Any = None) -> Any:
    """The argument of each number in (−π, π]: for real ones 0, π where they are negative, NaN for NaN."""
    return store_or_return(out, Angle.apply(input))


class Sinc(Op):
    """sin(πx)/(πx), 1 at 0;   dL/dx = g·(πx·cos(πx) − sin(πx))/(πx²), 0 at 0"""

    elementwise = True

    @staticmethod
    def forward(ctx, x):
        ctx.save(x)
        return k.sinc(floating(x))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        turn = x * math.pi
        slope = (turn * cos(turn) - sin(turn)) / p.where(x == 0, 1.0, turn * x)
        return p.where(x == 0, 0.0, grad * p._conj(slope))


@of_tensor
def sinc(input: Any, *, out: Any = None) -> Any:
    """sin(πx)/(πx), and 1 at 0."""
    return store_or_return(out, Sinc.apply(input))


def _test(name: str, doc: str) -> Callable[..., Any]:
    kernel = getattr(k, name)

    def function(input: Any, *, out: Any = None) -> Any:
        a = array_of(input, name)
        if a.dtype.kind == "c":
            raise RuntimeError(f"{name} does not support complex inputs.")
        return store_or_return(out, wrap(kernel(a)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


isposinf = _test("isposinf", "Whether each element is +inf.")
isneginf = _test("isneginf", "Whether each element is −inf.")


@of_tensor
def isreal(input: Any) -> Any:
    """Whether each element has no imaginary part."""
    a = input._a
    return wrap(k.eq(a.imag, 0)) if a.dtype.kind == "c" else wrap(np.ones(a.shape, bool))


METHODS = (
    "hypot", "copysign", "xlogy", "logaddexp", "logaddexp2", "nextafter", "heaviside", "gcd", "lcm", "ldexp", "float_power",
    "lerp", "angle", "sinc", "isposinf", "isneginf", "isreal",
)  # fmt: skip
INPLACE = (
    "hypot", "copysign", "xlogy", "nextafter", "heaviside", "gcd", "lcm", "ldexp", "float_power", "lerp", "sinc",
)  # fmt: skip
FUNCTIONS = METHODS + tuple(  # these have their in-place forms as functions too: torch.xlogy_(x, y)
    inplace(globals()[name], f"{name}_") for name in ("xlogy", "gcd", "lcm", "ldexp", "sinc")
)
