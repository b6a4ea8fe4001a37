"""Functions of one tensor, element by element: a table of names with the derivative's product with a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import SCALAR_NAME
from lamina.autograd import express
from lamina.autograd.graph import Op, Variable, inplace
from lamina.engine import kernels as k
from lamina.ops.operands import floating, not_a_tensor, of_tensor, store, store_or_return, zeros_like


def _one(
    name: str, rule: Any, doc: str, uses: str = "input", floats: bool = True, bools: bool = True, complexes: bool = True
) -> Callable[..., Any]:
    """A function of one tensor: its kernel has its name, and the gradient is ``rule(g, x)``.

    ``uses``: whether x is the ``"input"`` or the ``"output"``, or ``"nothing"`` if the rule needs neither; ``"complex"``, if it
    needs the input where that is complex.
    ``floats``: integers become floats first. ``bools``, ``complexes``: whether such tensors are taken.
    """
    kernel = getattr(k, name)
    analytic = name not in ("abs", "conj", "sign", "neg")

    class _Unary(Op):
        elementwise = True
        keeps_output = uses == "output"

        @staticmethod
        def forward(ctx, x):
            if not bools and x._a.dtype.kind == "b":
                raise _no_bools(name)
            if not complexes and x._a.dtype.kind == "c":
                raise NotImplementedError(f'"{name}_cpu" not implemented for {SCALAR_NAME[_dtypes.BY_NUMPY[x._a.dtype]]!r}')
            if uses == "input" or uses == "complex" and x._a.dtype.kind == "c":
                ctx.save(x)
            return kernel(floating(x) if floats else x._a)

        @staticmethod
        def backward(ctx, grad):
            saved = ctx.saved
            of = ctx.output if uses == "output" else saved[0] if saved else None
            if analytic and grad._a.dtype.kind == "c":  # the rule is linear in g, and the derivative is to be conjugated
                return conj(rule(conj(grad), of))
            return rule(grad, of)

    _Unary.__name__ = _Unary.__qualname__ = "".join(part.capitalize() for part in name.split("_"))
    _Unary.__doc__ = doc
    apply = express.one(_Unary, kernel, uses)

    def function(input: Any, *, out: Any = None) -> Any:
        if not isinstance(input, Variable):
            raise not_a_tensor(input, name)
        r = apply(input)
        return r if out is None else store(out, r)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _no_bools(name: str) -> Exception:
    if name == "neg":
        return RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
            "`logical_not()` operator instead."
        )
    return NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")


def _flat(grad: Any, x: Any) -> Any:
    """The gradient of a step function: zero."""
    return zeros_like(grad)


def _turned(grad: Any, x: Any) -> Any:
    """The gradient of x/|x|: zero for real numbers, and what turns a complex one on the circle."""
    if x is None:
        return zeros_like(grad)
    size = abs(x)
    inverse = (size == 0).logical_not() / size.clamp(min=np.finfo(size._a.dtype).tiny)
    s = sign(x)
    return (grad - (grad * conj(s)).real * s) * inverse


_LN2, _LN10 = float(np.log(2)), float(np.log(10))

sign: Any
cos: Any
cosh: Any
conj: Any
neg = _one("neg", lambda g, x: -g, "−x", "nothing", floats=False, bools=False)
abs = _one("abs", lambda g, x: g * sign(x), "\\|x\\|", floats=False, bools=False)  # noqa: A001
sign = _one("sign", _turned, "−1, 0 or 1, as x is negative, zero or positive", "complex", floats=False)
exp = _one("exp", lambda g, y: g * y, "eˣ", uses="output")
exp2 = _one("exp2", lambda g, y: g * y * _LN2, "2ˣ", uses="output")
expm1 = _one("expm1", lambda g, y: g * (y + 1), "eˣ − 1", uses="output")
log = _one("log", lambda g, x: g / x, "The natural logarithm")
log2 = _one("log2", lambda g, x: g / (x * _LN2), "The logarithm to base 2")
log10 = _one("log10", lambda g, x: g / (x * _LN10), "The logarithm to base 10")
log1p = _one("log1p", lambda g, x: g / (x + 1), "log(1 + x)")
sqrt = _one("sqrt", lambda g, y: g / (y * 2), "√x", uses="output")
rsqrt = _one("rsqrt", lambda g, y: g * (-0.5) * y**3, "1/√x", uses="output")
square = _one("square", lambda g, x: g * (x * 2), "x²", floats=False)
reciprocal = _one("reciprocal", lambda g, y: -g * y * y, "1/x", uses="output")
sin = _one("sin", lambda g, x: g * cos(x), "sin x")
cos = _one("cos", lambda g, x: -g * sin(x), "cos x")
tan = _one("tan", lambda g, y: g * (y * y + 1), "tan x", uses="output")
asin = _one("asin", lambda g, x: g * rsqrt(1 - x * x), "arcsin x")
acos = _one("acos", lambda g, x: -g * rsqrt(1 - x * x), "arccos x")
atan = _one("atan", lambda g, x: g / (x * x + 1), "arctan x")
sinh = _one("sinh", lambda g, x: g * cosh(x), "sinh x")
cosh = _one("cosh", lambda g, x: g * sinh(x), "cosh x")
asinh = _one("asinh", lambda g, x: g * rsqrt(x * x + 1), "arsinh x")
acosh = _one(
    "acosh",  # of complex numbers, the root of the product would be the one on the other branch at times
    lambda g, x: g / (sqrt(x - 1) * sqrt(x + 1)) if x._a.dtype.kind == "c" else g * rsqrt(x * x - 1),
    "arcosh x",
)
atanh = _one("atanh", lambda g, x: g / (1 - x * x), "artanh x")
floor = _one("floor", _flat, "The largest integer ≤ x", "nothing", floats=False, bools=False)
ceil = _one("ceil", _flat, "The smallest integer ≥ x", "nothing", floats=False, bools=False)
trunc = _one("trunc", _flat, "x without its fraction", "nothing", floats=False, bools=False)
erf = _one("erf", lambda g, x: g * exp(-x * x) * 1.1283791670955126, "(2/√π)·∫₀ˣ e^(−t²) dt", complexes=False)
erfc = _one("erfc", lambda g, x: g * exp(-x * x) * -1.1283791670955126, "1 − erf(x)", complexes=False)
erfinv = _one(
    "erfinv", lambda g, y: g * exp(y * y) * 0.886226925452758, "The y with erf(y) = x", uses="output", complexes=False
)
conj = _one("conj", lambda g, x: conj(g), "The complex conjugate", "nothing", floats=False)
deg2rad = _one("deg2rad", lambda g, x: g * float(np.pi / 180), "x·π/180", "nothing")
rad2deg = _one("rad2deg", lambda g, x: g * float(180 / np.pi), "x·180/π", "nothing")
fix, sgn, negative, absolute = trunc, sign, neg, abs
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh


class Round(Op):
    """The nearest integer, halves to even;   dL/dx = 0"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, decimals):
        if x._a.dtype.kind == "b":
            raise _no_bools("round")
        return x._a.copy() if x._a.dtype.kind in "iu" and decimals >= 0 else k.round(x._a, decimals)

    @staticmethod
    def backward(ctx, grad):
        return zeros_like(grad), None


@of_tensor
def round(input: Any, *, decimals: int = 0, out: Any = None) -> Any:  # noqa: A001
    """The nearest integer (halves to even), or the nearest multiple of 10^−decimals."""
    r = Round.apply(input, decimals)
    return r if out is None else store(out, r)


@of_tensor
def frac(input: Any, *, out: Any = None) -> Any:
    """x − trunc(x), of floating-point tensors."""
    if input._a.dtype.kind not in "fV":
        raise NotImplementedError(
            f'"frac_cpu" not implemented for {SCALAR_NAME[_dtypes.BY_NUMPY[input._a.dtype]]!r}'
        )
    return store_or_return(out, input - trunc(input))


@of_tensor
def positive(input: Any) -> Any:
    """The tensor itself; a bool tensor raises ``RuntimeError``."""
    if input._a.dtype.kind == "b":
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


METHODS = (
    "neg", "abs", "sign", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "rsqrt",
    "square", "reciprocal", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
    "atanh", "floor", "ceil", "trunc", "round", "frac", "erf", "erfc", "erfinv", "conj", "deg2rad",
    "rad2deg", "fix", "sgn", "negative", "absolute", "arcsin", "arccos", "arctan", "arcsinh", "arccosh",
    "arctanh", "positive",
)  # fmt: skip
INPLACE = tuple(name for name in METHODS if name not in ("conj", "positive"))
FUNCTIONS = METHODS + tuple(  # these have their in-place forms as functions too: torch.exp_(x)
    inplace(globals()[name], f"{name}_") for name in INPLACE if name not in ("sign", "sgn", "erfinv", "absolute")
)
