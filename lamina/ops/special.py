"""Special functions, element by element (``lamina.special``): the gamma function's kin, Bessel's, orthogonal polynomials."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina._dtypes import HALVES
from lamina.autograd.graph import Op, Variable, inplace, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.creation import arange
from lamina.ops.elementary import _refused, _two
from lamina.ops.operands import floating, not_a_tensor, of_tensor, operands, store_or_return
from lamina.ops.unary import exp, log, sign

# -- of one tensor -------------------------------------------------------------------------------------------------


def _of_one(name: str, rule: Any, doc: str, halves: bool = True, uses_output: bool = False) -> Callable[..., Any]:
    """A function of real numbers, whose gradient is ``rule(g, x)``, or ``rule(g, x, y)`` if it uses the output.

    ``rule`` is ``None`` for a function that PyTorch does not differentiate: its result has no history. ``halves``: whether
    half precision is taken.
    """
    kernel = getattr(k, name)

    def apply(x: Any) -> Any:
        return wrap(kernel(floating(x)))

    if rule is not None:

        class _Special(Op):
            elementwise = True
            keeps_output = uses_output

            @staticmethod
            def forward(ctx, x):
                ctx.save(x)
                return kernel(floating(x))

            @staticmethod
            def backward(ctx, grad):
                (x,) = ctx.saved
                return rule(grad, x, ctx.output) if uses_output else rule(grad, x)

        _Special.__name__ = _Special.__qualname__ = "".join(part.capitalize() for part in name.split("_"))
        _Special.__doc__ = doc
        apply = _Special.apply  # type: ignore[assignment]

    def function(input: Any, *, out: Any = None) -> Any:
        if not isinstance(input, Variable):
            raise not_a_tensor(input, name)
        dtype = input._a.dtype
        if dtype.kind == "c" or not halves and dtype in HALVES:
            raise _refused(name, input._a)
        return store_or_return(out, apply(input))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _over(x: Any, y: Any, at_zero: float) -> Any:
    """y/x, and what it tends to at 0."""
    zero = x == 0
    return p.where(zero, at_zero, y / p.where(zero, 1.0, x))


_ROOT_2PI, _TWO_OVER_ROOT_PI = math.sqrt(2 * math.pi), 2 / math.sqrt(math.pi)

digamma: Any
i0: Any
i0e: Any
i1: Any
i1e: Any
erfcx: Any
lgamma = _of_one("lgamma", lambda g, x: g * digamma(x), "log \\|Γ(x)\\|; +inf at 0, −1, −2, …")
digamma = _of_one("digamma", lambda g, x: g * polygamma(1, x), "ψ(x), the derivative of log Γ(x); −inf at 0, NaN at −1, −2, …")
i0 = _of_one("i0", lambda g, x: g * i1(x), "The modified Bessel function I₀.")
i0e = _of_one("i0e", lambda g, x, y: g * (i1e(x) - sign(x) * y), "e^−\\|x\\|·I₀(x).", uses_output=True)
i1 = _of_one("i1", lambda g, x, y: g * (i0(x) - _over(x, y, 0.5)), "The modified Bessel function I₁.", uses_output=True)
i1e = _of_one(
    "i1e", lambda g, x, y: g * (i0e(x) - sign(x) * y - _over(x, y, 0.5)), "e^−\\|x\\|·I₁(x).", uses_output=True
)
erfcx = _of_one(
    "erfcx", lambda g, x, y: g * (2 * x * y - _TWO_OVER_ROOT_PI), "e^(x²)·erfc(x), which does not underflow.", False, True
)
ndtr = _of_one(
    "ndtr", lambda g, x: g * exp(x * x * -0.5) * (1 / _ROOT_2PI), "The probability that a standard normal number is below x."
)
log_ndtr = _of_one(
    "log_ndtr", lambda g, x: g * (math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5))), "log ndtr(x), accurate in both tails.",
    halves=False,
)  # fmt: skip
ndtri = _of_one(
    "ndtri", lambda g, x, y: g * exp(y * y * 0.5) * _ROOT_2PI, "The y with ndtr(y) = x: −inf at 0, +inf at 1, NaN outside.",
    False, True,
)  # fmt: skip
entr = _of_one("entr", lambda g, x: g * (-1 - log(x)), "−x·log x; 0 at 0, −inf below.")

bessel_j0 = _of_one("bessel_j0", None, "The Bessel function J₀.", halves=False)
bessel_j1 = _of_one("bessel_j1", None, "The Bessel function J₁.", halves=False)
bessel_y0 = _of_one("bessel_y0", None, "The Bessel function of the second kind Y₀: −inf at 0, NaN below.", halves=False)
bessel_y1 = _of_one("bessel_y1", None, "The Bessel function of the second kind Y₁: −inf at 0, NaN below.", halves=False)
modified_bessel_k0 = _of_one("modified_bessel_k0", None, "The modified Bessel function K₀: +inf at 0, NaN below.", halves=False)
modified_bessel_k1 = _of_one("modified_bessel_k1", None, "The modified Bessel function K₁: +inf at 0, NaN below.", halves=False)
scaled_modified_bessel_k0 = _of_one("scaled_modified_bessel_k0", None, "eˣ·K₀(x).", halves=False)
scaled_modified_bessel_k1 = _of_one("scaled_modified_bessel_k1", None, "eˣ·K₁(x).", halves=False)
spherical_bessel_j0 = _of_one("spherical_bessel_j0", None, "sin(x)/x, and 1 at 0.", halves=False)
airy_ai = _of_one("airy_ai", None, "The Airy function Ai.", halves=False)


def _without_history(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def plain(input: Any, *, out: Any = None) -> Any:
        if isinstance(input, Variable) and input._a.dtype in HALVES:
            raise _refused(name, input._a)
        return store_or_return(out, function(input).detach())

    plain.__name__ = plain.__qualname__ = name
    plain.__doc__ = function.__doc__
    return plain


modified_bessel_i0 = _without_history(i0, "modified_bessel_i0")
modified_bessel_i1 = _without_history(i1, "modified_bessel_i1")


class Polygamma(Op):
    """The n-th derivative of ψ;   dL/dx = g times the (n + 1)-th"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, n):
        ctx.save(x)
        ctx.n = n
        if x._a.dtype.kind == "c":
            raise _refused("polygamma", x._a)
        return k.polygamma(floating(x), n)

    @staticmethod
    def backward(ctx, grad):
        return grad * Polygamma.apply(ctx.saved[0], ctx.n + 1), None


def polygamma(n: int, input: Any, *, out: Any = None) -> Any:
    """The n-th derivative of the digamma function ψ, for n ≥ 0."""
    if not isinstance(input, Variable):
        raise not_a_tensor(input, "polygamma", position=2)
    if isinstance(n, (bool, float)) or not hasattr(n, "__index__"):
        raise TypeError(f"polygamma(): argument 'n' (position 1) must be int, not {type(n).__name__}")
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    return store_or_return(out, Polygamma.apply(input, int(n)))


def _polygamma_method(input: Any, n: int) -> Any:
    return polygamma(n, input)


_polygamma_method.__name__ = _polygamma_method.__qualname__ = "polygamma"
_polygamma_method.__doc__ = polygamma.__doc__


@of_tensor
def mvlgamma(input: Any, p: int, *, out: Any = None) -> Any:  # noqa: F811
    """The logarithm of the multivariate gamma function of dimension p: ¼·p·(p − 1)·log π + Σ log Γ(x − ½·j), j = 0 … p − 1."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = input if input._a.dtype.kind in "fcV" else wrap(floating(input))
    terms = lgamma(x.unsqueeze(-1) + arange((1 - p) / 2, 0.5, 0.5, dtype=x.dtype))
    return store_or_return(out, terms.sum(-1) + p * (p - 1) / 4 * math.log(math.pi))


# -- of two tensors ------------------------------------------------------------------------------------------------


def _no_rule(name: str) -> Callable[..., Any]:
    def rule(grad: Any, x: Any, y: Any) -> Any:
        raise NotImplementedError(f"the derivative for {name!r} is not implemented.")

    return rule


def _log1p_where_it_counts(grad: Any, x: Any, y: Any) -> Any:
    y = y if isinstance(y, Variable) else wrap(np.asarray(y, grad._a.dtype))
    return p.where((x == 0) & (y <= -1), 0.0, grad * y.log1p())


def _density(grad: Any, a: Any, x: Any) -> Any:
    """g times the derivative of P(a, x) by x: xᵃ⁻¹·e⁻ˣ/Γ(a)."""
    return grad * exp((a - 1) * log(x) - x - lgamma(a))


zeta: Any
zeta = _two(
    "zeta", _no_rule("zeta"), lambda g, x, q: g * -x * zeta(x + 1, q),
    "Hurwitz' zeta function Σₖ (other + k)^−input, k = 0, 1, …", numbers=True,
)  # fmt: skip
xlog1py = _two(
    "xlog1py", _log1p_where_it_counts, lambda g, x, y: g * x / (y + 1), "input·log(1 + other), and 0 where ``input`` is 0.",
    numbers=True,
)  # fmt: skip
igamma = _two(
    "igamma", _no_rule("igamma: input"), _density,
    "The regularised lower incomplete gamma function P(input, other) = 1/Γ(a)·∫₀ˣ tᵃ⁻¹·e⁻ᵗ dt.",
)  # fmt: skip
igammac = _two(
    "igammac", _no_rule("igammac: input"), lambda g, a, x: -_density(g, a, x),
    "The regularised upper incomplete gamma function Q(input, other) = 1 − P(input, other).",
)  # fmt: skip


def _polynomial(name: str, doc: str) -> Callable[..., Any]:
    kernel = getattr(k, name)

    def function(input: Any, n: Any, *, out: Any = None) -> Any:
        if not isinstance(input, Variable) and not isinstance(n, Variable):
            raise not_a_tensor(input, f"special_{name}")
        a, b = operands(input, n)
        if a.dtype.kind in "iub":
            a, b = floating(wrap(np.asarray(a))), np.asarray(b)
        if a.dtype.kind == "c" or a.dtype in HALVES:
            raise _refused(name, a)
        return store_or_return(out, wrap(kernel(np.asarray(a), b)))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


POLYNOMIALS = {
    "chebyshev_polynomial_t": "Chebyshev's polynomial of the first kind Tₙ(x).",
    "chebyshev_polynomial_u": "Chebyshev's polynomial of the second kind Uₙ(x).",
    "chebyshev_polynomial_v": "Chebyshev's polynomial of the third kind Vₙ(x).",
    "chebyshev_polynomial_w": "Chebyshev's polynomial of the fourth kind Wₙ(x).",
    "shifted_chebyshev_polynomial_t": "Chebyshev's polynomial Tₙ(2x − 1).",
    "shifted_chebyshev_polynomial_u": "Chebyshev's polynomial Uₙ(2x − 1).",
    "shifted_chebyshev_polynomial_v": "Chebyshev's polynomial Vₙ(2x − 1).",
    "shifted_chebyshev_polynomial_w": "Chebyshev's polynomial Wₙ(2x − 1).",
    "hermite_polynomial_h": "The physicist's Hermite polynomial Hₙ(x).",
    "hermite_polynomial_he": "The probabilist's Hermite polynomial Heₙ(x).",
    "laguerre_polynomial_l": "Laguerre's polynomial Lₙ(x).",
    "legendre_polynomial_p": "Legendre's polynomial Pₙ(x).",
}
globals().update({name: _polynomial(name, doc) for name, doc in POLYNOMIALS.items()})

METHODS = ("lgamma", "digamma", "i0", "mvlgamma", "igamma", "igammac", _polygamma_method)
INPLACE = METHODS
FUNCTIONS = ("lgamma", "digamma", "polygamma", "i0", "mvlgamma", "igamma", "igammac", inplace(i0, "i0_"))
