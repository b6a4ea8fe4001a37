"""Operations on lists of tensors (``torch._foreach_add`` and its kin), one tensor after another, from a table of names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.autograd.graph import Variable
from lamina.ops.reduction import vector_norm

_UNARY = (
    "abs", "acos", "asin", "atan", "ceil", "cos", "cosh", "erf", "erfc", "exp", "expm1", "floor", "frac", "lgamma", "log",
    "log10", "log1p", "log2", "neg", "reciprocal", "round", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
    "trunc",
)  # fmt: skip
_BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "div", "pow": "pow", "maximum": "maximum", "minimum": "minimum",
    "clamp_max": "minimum", "clamp_min": "maximum",
}  # fmt: skip
_TERNARY = ("addcmul", "addcdiv", "lerp")


def _list(name: str, tensors: Any) -> list[Any]:
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}(): argument 'self' (position 1) must be tuple of Tensors, not {type(tensors).__name__}")
    if not tensors:
        raise RuntimeError("Tensor list must have at least one tensor.")
    for i, t in enumerate(tensors):
        if not isinstance(t, Variable):
            raise TypeError(f"{name}(): argument 'self' must be tuple of Tensors, but element {i} is a {type(t).__name__}")
    return list(tensors)


def _each(name: str, count: int, other: Any) -> list[Any]:
    """An argument for each tensor: a list as it is, anything else for all of them."""
    if not isinstance(other, (tuple, list)):
        return [other] * count
    if len(other) != count:
        raise RuntimeError(
            f"{name}: Tensor lists must have the same number of tensors (or scalars), got {count} and {len(other)}"
        )
    return list(other)


def _bounded(method: str, x: Any, y: Any, place: bool) -> Any:
    """maximum and minimum, of which numbers are bounds of ``clamp``."""
    if isinstance(y, Variable):
        r = getattr(x, method)(y)
        return x.copy_(r) if place else r
    bound = {"min" if method == "maximum" else "max": y}
    return x.clamp_(**bound) if place else x.clamp(**bound)


def _named(name: str, function: Callable[..., Any], doc: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _unary(method: str, place: bool) -> Callable[..., Any]:
    name = f"_foreach_{method}" + "_" * place

    def function(self: Any) -> Any:
        results = [getattr(x, method + "_" * place)() for x in _list(name, self)]
        return None if place else tuple(results)

    return _named(name, function, f"``{method}`` of every tensor of a list{', in place' if place else ''}.")


def _binary(public: str, method: str, place: bool) -> Callable[..., Any]:
    name = f"_foreach_{public}" + "_" * place

    def function(self: Any, other: Any, *, alpha: Any = 1) -> Any:
        tensors = _list(name, self)
        settings = {} if alpha == 1 else {"alpha": alpha}
        results = []
        for x, y in zip(tensors, _each(name, len(tensors), other), strict=True):
            if method in ("maximum", "minimum"):
                results.append(_bounded(method, x, y, place))
            else:
                results.append(getattr(x, method + "_" * place)(y, **settings))
        return None if place else tuple(results)

    return _named(name, function, f"``{public}`` of the tensors of a list and others, or numbers{', in place' if place else ''}.")


def _ternary(method: str, place: bool) -> Callable[..., Any]:
    name = f"_foreach_{method}" + "_" * place

    def function(self: Any, tensor1: Any, tensor2: Any, scalars: Any = None, *, value: Any = None) -> Any:
        tensors = _list(name, self)
        count = len(tensors)
        first, second = _each(name, count, tensor1), _each(name, count, tensor2)
        factors = _each(name, count, value if scalars is None else scalars)
        if isinstance(scalars, Variable):
            factors = scalars.tolist()
        results = []
        for x, y, z, f in zip(tensors, first, second, factors, strict=True):
            settings = {} if method == "lerp" or f is None else {"value": f}
            results.append(getattr(x, method + "_" * place)(y, z, **settings))
        return None if place else tuple(results)

    return _named(name, function, f"``{method}`` of every tensor of a list{', in place' if place else ''}.")


def _foreach_norm(self: Any, ord: Any = 2, dtype: Any = None) -> tuple:  # noqa: A002
    """The norm of every tensor of a list."""
    return tuple(vector_norm(x, ord, dtype=dtype) for x in _list("_foreach_norm", self))


def _foreach_max(self: Any) -> tuple:
    """The largest element of every tensor of a list."""
    return tuple(x.max() for x in _list("_foreach_max", self))


def _foreach_copy_(self: Any, src: Any, non_blocking: bool = False) -> None:
    """Write every tensor of a list into that of another."""
    tensors = _list("_foreach_copy_", self)
    for x, y in zip(tensors, _each("_foreach_copy_", len(tensors), src), strict=True):
        x.copy_(y)


def _foreach_clone(self: Any) -> tuple:
    """Copies of the tensors of a list."""
    return tuple(x.clone() for x in _list("_foreach_clone", self))


def _foreach_zero_(self: Any) -> None:
    """Zeros into every tensor of a list."""
    for x in _list("_foreach_zero_", self):
        x.zero_()


FUNCTIONS = (
    *(_unary(m, place) for m in _UNARY for place in (False, True)),
    *(_binary(n, m, place) for n, m in _BINARY.items() for place in (False, True)),
    *(_ternary(m, place) for m in _TERNARY for place in (False, True)),
    "_foreach_norm", "_foreach_max", "_foreach_copy_", "_foreach_clone", "_foreach_zero_",
)  # fmt: skip
