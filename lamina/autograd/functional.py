"""Jacobians, Hessians and their products with vectors, of functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.autograd.graph import Variable, alias, mode, wrap
from lamina.autograd.walk import grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Function = Callable[..., Any]


# -- arguments and results -----------------------------------------------------------------------------------------


def _tensors(x: Any, what: str, function: str) -> tuple[bool, tuple[Any, ...]]:
    """(whether a tuple was given, the tensors)."""
    several = isinstance(x, tuple)
    tensors = x if several else (x,)
    for i, t in enumerate(tensors):
        if not isinstance(t, Variable):
            where = f" at index {i}" if several else ""
            raise TypeError(
                f"The {what} given to {function} must be either a Tensor or a tuple of Tensors but the value{where} has type "
                f"{type(t).__name__}."
            )
    return several, tensors


def _prepared(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """The inputs as tensors that require a gradient: in the caller's graph if that is to go on, else leaves of their own."""
    if create_graph:
        return tuple(x.view_as(x) if x._requires or x._node else _leaf(x) for x in inputs)
    return tuple(_leaf(x) for x in inputs)


def _leaf(x: Any) -> Any:
    return alias(x).requires_grad_()


def _run(func: Function, inputs: tuple[Any, ...], function: str) -> tuple[bool, tuple[Any, ...]]:
    return _tensors(func(*inputs), "outputs of the user-provided function", function)


def _gradients(
    outputs: tuple[Any, ...], inputs: tuple[Any, ...], vectors: tuple[Any, ...] | None, create_graph: bool, strict: bool,
    name: str,
) -> tuple[Any, ...]:  # fmt: skip
    """Σ vᵀ·∂outputs/∂inputs, zeros where there is no dependence (an error, if ``strict``)."""
    wanted = [i for i, o in enumerate(outputs) if o._requires]
    if strict and len(wanted) < len(outputs):
        missing = next(i for i in range(len(outputs)) if i not in wanted)
        raise RuntimeError(
            f"Output {missing} of the user-provided function does not require gradients. The outputs must be computed in a "
            f"differentiable manner from the input when running {name} in strict mode."
        )
    found: tuple[Any, ...] = (None,) * len(inputs)
    if wanted:
        seeds = None if vectors is None else tuple(vectors[i] for i in wanted)
        found = grad(tuple(outputs[i] for i in wanted), inputs, seeds, True, create_graph, True)
    result = []
    for j, (g, x) in enumerate(zip(found, inputs, strict=True)):
        if g is None:
            if strict:
                raise RuntimeError(
                    f"The output of the user-provided function is independent of input {j}. This is not allowed in strict mode."
                )
            g = wrap(np.zeros_like(x._a))
        result.append(g)
    return tuple(result)


def _vectors(v: Any, like: tuple[Any, ...], function: str) -> tuple[Any, ...]:
    """The given vectors, checked against what they belong to; without any, a one for a single number."""
    if v is None:
        if len(like) != 1 or like[0]._a.size != 1:
            raise RuntimeError(f"{function}: v can only be None beside a single Tensor with a single element.")
        return (wrap(np.ones_like(like[0]._a)),)
    _, vectors = _tensors(v, "vector", function)
    if len(vectors) != len(like):
        raise RuntimeError(f"{function} needs {len(like)} vectors v, but got {len(vectors)}.")
    for i, (a, b) in enumerate(zip(vectors, like, strict=True)):
        if a._a.shape != b._a.shape:
            raise RuntimeError(f"Entry {i} in the vector v has the size {list(a._a.shape)}, but {list(b._a.shape)} is expected.")
    return vectors


def _out(x: tuple[Any, ...], several: bool, create_graph: bool) -> Any:
    done = x if create_graph else tuple(alias(t) for t in x)
    return done if several else done[0]


class _Recording:
    """Gradients on, whatever the caller's mode is."""

    def __enter__(self) -> None:
        self.before, mode.enabled = mode.enabled, True

    def __exit__(self, *exc: Any) -> None:
        mode.enabled = self.before


# -- products ------------------------------------------------------------------------------------------------------


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(the outputs of ``func``, vᵀ·J) with the Jacobian J of ``func`` at ``inputs``; v is shaped like the outputs."""
    with _Recording():
        several, given = _tensors(inputs, "inputs", "vjp")
        points = _prepared(given, create_graph)
        many, outputs = _run(func, points, "vjp")
        vectors = _vectors(v, outputs, "vjp")
        products = _gradients(outputs, points, vectors, create_graph, strict, "vjp")
    return _out(outputs, many, create_graph), _out(products, several, create_graph)


def jvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(the outputs of ``func``, J·v) with the Jacobian J of ``func`` at ``inputs``; v is shaped like the inputs.

    uᵀ·J is linear in u, and J·v is the gradient of its product with v.
    """
    with _Recording():
        _, given = _tensors(inputs, "inputs", "jvp")
        vectors = _vectors(v, given, "jvp")
        points = _prepared(given, create_graph)
        many, outputs = _run(func, points, "jvp")
        seeds = tuple(_leaf(wrap(np.zeros_like(o._a))) for o in outputs)
        products = _gradients(outputs, points, seeds, True, strict, "jvp")
        found = _gradients(products, seeds, vectors, create_graph, False, "jvp")
    return _out(outputs, many, create_graph), _out(found, many, create_graph)


def vhp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(the value of ``func``, vᵀ·H) with the Hessian H of a ``func`` that returns one number; v is shaped like the inputs."""
    with _Recording():
        several, given = _tensors(inputs, "inputs", "vhp")
        vectors = _vectors(v, given, "vhp")
        points = _prepared(given, create_graph)
        outputs = _number(func, points, "vhp")
        slopes = _gradients(outputs, points, None, True, strict, "vhp")
        products = _gradients(slopes, points, vectors, create_graph, strict, "vhp")
    return _out(outputs, False, create_graph), _out(products, several, create_graph)


def hvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False) -> tuple[Any, Any]:
    """(the value of ``func``, H·v): the same numbers as :func:`vhp`, since a Hessian is symmetric."""
    return vhp(func, inputs, v, create_graph, strict)


def _number(func: Function, points: tuple[Any, ...], function: str) -> tuple[Any, ...]:
    many, outputs = _run(func, points, function)
    if many or outputs[0]._a.size != 1:
        raise RuntimeError(f"The function given to {function} should return a single Tensor with a single element.")
    return outputs


# -- whole matrices ------------------------------------------------------------------------------------------------


def jacobian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The derivatives of every output element with respect to every input element, of shape (\\*output, \\*input).

    Args:
        func (callable): takes the inputs and returns a tensor or a tuple of tensors.
        inputs (Tensor or tuple of Tensors): where.
        create_graph (bool): whether the result can be differentiated itself. Default: False.
        strict (bool): whether an output that does not depend on an input is an error rather than zeros. Default: False.
        vectorize, strategy: of no effect on the numbers; every row is one walk over the graph.

    Returns:
        A tensor; for several inputs (or outputs) a tuple by input (by output), for both a tuple by output of tuples by input.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(f'Expected strategy to be either "forward-mode" or "reverse-mode", but got {strategy!r}.')
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError('jacobian(strategy="forward-mode") needs vectorize=True')
    with _Recording():
        several, given = _tensors(inputs, "inputs", "jacobian")
        points = _prepared(given, create_graph)
        many, outputs = _run(func, points, "jacobian")
        matrices = []
        for output in outputs:
            rows: list[list[Any]] = [[] for _ in points]
            flat = output.reshape(-1)
            for i in range(output._a.size):
                for row, g in zip(rows, _gradients((flat[i],), points, None, create_graph, strict, "jacobian"), strict=True):
                    row.append(g)
            matrices.append(
                _out(tuple(_rows(r, output, x) for r, x in zip(rows, points, strict=True)), several, create_graph)
            )
    return tuple(matrices) if many else matrices[0]


def _rows(rows: list[Any], output: Any, x: Any) -> Any:
    from lamina.ops import stack

    shape = (*output._a.shape, *x._a.shape)
    return stack(rows).reshape(shape) if rows else wrap(np.zeros(shape, x._a.dtype))


def hessian(
    func: Function, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The second derivatives of a ``func`` that returns one number, of shape (\\*input, \\*input); arguments as :func:`jacobian`.

    For several inputs a tuple of tuples, by the first and the second of them.
    """
    several, given = _tensors(inputs, "inputs", "hessian")

    def slopes(*points: Any) -> Any:
        return _gradients(_number(func, points, "hessian"), points, None, True, strict, "hessian")

    found = jacobian(slopes, given, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if several else found[0][0]
