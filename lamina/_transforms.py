"""Gradients as functions of functions, as in ``torch.func``: ``grad``, ``vjp``, ``jvp``, Jacobians and Hessians.

They are made of the walk that records (``create_graph``), so they may be nested in each other and in :func:`lamina.vmap`.
What a transform returns depends on tensors from outside that require gradients, and on nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lamina import autograd, ops
from lamina._tensor import Tensor
from lamina.autograd.graph import Variable
from lamina.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

__all__ = ["grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp"]


def _fresh(x: Any) -> Any:
    """A tensor for one transform to differentiate by; outer ones see through it."""
    if not isinstance(x, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    if x._a.dtype.kind not in "fcV":
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    return x.clone() if x.requires_grad else x.detach().requires_grad_()


def _outside(t: Any, own: set[int]) -> bool:
    """Whether the history of a tensor leads to a leaf that is not one of a transform's own."""
    node = t._history()[0]
    if node is None:
        return t._requires and id(t) not in own
    seen, waiting = {id(node)}, [node]
    while waiting:
        for edge in waiting.pop().edges:
            if edge is None:
                continue
            source = edge[0]
            if isinstance(source, Variable):
                if id(source) not in own:
                    return True
            elif id(source) not in seen:
                seen.add(id(source))
                waiting.append(source)
    return False


def _released(tree: Any, leaves: list[Any]) -> Any:
    """A result without the history that belongs to one transform alone."""
    own = {id(x) for x in leaves if x.is_leaf}

    def release(t: Any) -> Any:
        return t.detach() if isinstance(t, Tensor) and t.requires_grad and own and not _outside(t, own) else t

    return tree_map(release, tree)


def _chosen(args: tuple, argnums: Any) -> tuple[tuple, list[int]]:
    """(the arguments to differentiate by, their positions)."""
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    if not numbers:
        raise RuntimeError("argnums must not be empty")
    for n in numbers:
        if not isinstance(n, int):
            raise RuntimeError(f"argnum must be int or Tuple[int], got: {argnums!r}")
        if not -len(args) <= n < len(args):
            raise RuntimeError(f"Got argnum={n}, but only {len(args)} positional inputs")
    places = [n % len(args) for n in numbers]
    if len(set(places)) < len(places):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return tuple(args[n] for n in places), places


def _started(args: tuple, argnums: Any) -> tuple[tuple, Any, list[Any], Any]:
    """(the arguments with fresh tensors, the chosen ones, their leaves, their structure)."""
    chosen, places = _chosen(args, argnums)
    leaves, spec = tree_flatten(chosen)
    leaves = [_fresh(x) for x in leaves]
    made = tree_unflatten(leaves, spec)
    full = list(args)
    for place, value in zip(places, made, strict=True):
        full[place] = value
    return tuple(full), made, leaves, spec


def _gradients(outputs: list[Any], leaves: list[Any], vectors: Any = None) -> list[Any]:
    """Gradients by all leaves, zeros where there is no way."""
    pairs = [(o, None if vectors is None else v) for o, v in zip(outputs, vectors or outputs, strict=True) if o.requires_grad]
    if not pairs:
        return [ops.zeros_like(x) for x in leaves]
    found = autograd.grad(
        [o for o, _ in pairs], leaves, None if vectors is None else [v for _, v in pairs], create_graph=True, allow_unused=True
    )
    return [ops.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]


def grad_and_value(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function of ``func``'s arguments that returns (gradient, value); with ``has_aux`` (gradient, (value, aux)).

    ``func`` returns a number as a tensor, or that and something else. ``argnums`` says by which arguments to differentiate.
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with autograd.enable_grad():
            full, _, leaves, spec = _started(args, argnums)
            output, aux = func(*full, **kwargs), None
            if has_aux:
                if not (isinstance(output, tuple) and len(output) == 2):
                    raise RuntimeError(
                        "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True"
                    )
                output, aux = output
                if not all(isinstance(a, Tensor) for a in tree_leaves(aux)):
                    bad = next(a for a in tree_leaves(aux) if not isinstance(a, Tensor))
                    raise RuntimeError(f"Expected tensors, got unsupported type {type(bad)}")
            if not isinstance(output, Tensor):
                raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(output)}")
            if output.dim():
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with {output.dim()} dims."
                    " Maybe you wanted to use the vjp or jacrev APIs instead?"
                )
            found = tree_unflatten(_gradients([output], leaves), spec)
            result = found if isinstance(argnums, tuple) else found[0]
            return _released((result, (output, aux) if has_aux else output), leaves)

    return wrapper


def grad(func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function of ``func``'s arguments that returns its gradient (with ``has_aux``: (gradient, aux)).

    >>> lamina.func.grad(lambda x: (x ** 3).sum())(lamina.tensor([1.0, 2.0])).tolist()
    [3.0, 12.0]
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return wrapper


def _split(name: str, output: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return output, None
    if not (isinstance(output, tuple) and len(output) == 2):
        raise RuntimeError(f"{name}(f, *args): output of function f should be a tuple: (output, aux) if has_aux is True")
    return output


def _tensors(name: str, output: Any) -> tuple[list[Any], Any]:
    flat, spec = tree_flatten(output)
    for o in flat:
        if not isinstance(o, Tensor):
            raise RuntimeError(f"{name}: Expected f(*args) to return only tensors, got unsupported type {type(o)}")
    return flat, spec


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(output, function of a vector like the output that returns a tuple of vectorᵀ·Jacobian per input[, aux])."""
    with autograd.enable_grad():
        full, _, leaves, spec = _started(primals, tuple(range(len(primals))))
        output, aux = _split("vjp", func(*full), has_aux)
        flat, out_spec = _tensors("vjp(f, *primals)", output)

    def pulled(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        vectors, given = tree_flatten(cotangents)
        if given != out_spec:
            raise RuntimeError(
                f"Expected pytree structure of cotangents to be the same as pytree structure of outputs to the function. "
                f"cotangents: {given}, primal output: {out_spec}"
            )
        for i, (v, o) in enumerate(zip(vectors, flat, strict=True)):
            if v.shape != o.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{i}] has a shape of {v.shape} and output[{i}] has a shape of {o.shape}."
                )
        with autograd.enable_grad():
            found = tree_unflatten(_gradients(flat, leaves, vectors), spec)
        return _released(found, leaves)

    shown = _released(output, leaves)
    return (shown, pulled, aux) if has_aux else (shown, pulled)


def jvp(
    func: Callable[..., Any], primals: Any, tangents: Any, *, strict: bool = False, has_aux: bool = False
) -> Any:
    """(output, Jacobian·tangents[, aux]), by differentiating the transposed product by its vector."""
    for what, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, tuple):
            raise RuntimeError(
                f"jvp(f, primals, tangents): Expected {what} to be a tuple. E.g. it should be valid to call f(*{what})."
            )
    flat_tangents, tangent_spec = tree_flatten(tangents)
    flat_primals, spec = tree_flatten(primals)
    if spec != tangent_spec:
        raise RuntimeError(
            "jvp(f, primals, tangents): Expected primals and tangents to have the same python structure, but got primals with "
            f"structure {spec} and tangents with {tangent_spec}"
        )
    for x, v in zip(flat_primals, flat_tangents, strict=True):
        if x.shape != v.shape:
            raise RuntimeError(
                "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
                f"supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size {list(v.shape)}."
            )
    with autograd.enable_grad():
        leaves = [_fresh(x) for x in flat_primals]
        output, aux = _split("jvp", func(*tree_unflatten(leaves, spec)), has_aux)
        flat, out_spec = _tensors("jvp(f, primals, tangents)", output)
        vectors = [ops.zeros_like(o).requires_grad_() for o in flat]
        pulled = _gradients(flat, leaves, vectors)
        pushed = _gradients(pulled, vectors, flat_tangents)
    result = _released(tree_unflatten(pushed, out_spec), leaves + vectors)
    shown = _released(output, leaves)
    return (shown, result, aux) if has_aux else (shown, result)


def jacrev(
    func: Callable[..., Any], argnums: Any = 0, *, has_aux: bool = False, chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:  # fmt: skip
    """A function of ``func``'s arguments that returns its Jacobian (output shape, input shape), row by row.

    >>> lamina.func.jacrev(lambda x: x ** 2)(lamina.tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with autograd.enable_grad():
            full, _, leaves, spec = _started(args, argnums)
            output, aux = _split("jacrev", func(*full, **kwargs), has_aux)
            flat, out_spec = _tensors("jacrev(f)(*args)", output)
            jacobians = []
            for o in flat:
                rows = []
                for row in ops.eye(o.numel(), dtype=o.dtype).unbind(0):
                    rows.append(_gradients([o], leaves, [row.reshape(o.shape)]))
                stacked = [
                    ops.stack(list(parts)).reshape(*o.shape, *x.shape) if rows else x.new_zeros(*o.shape, *x.shape)
                    for parts, x in zip(zip(*rows, strict=True) if rows else [()] * len(leaves), leaves, strict=True)
                ]
                found = tree_unflatten(stacked, spec)
                jacobians.append(found if isinstance(argnums, tuple) else found[0])
            result = _released(tree_unflatten(jacobians, out_spec), leaves)
            return (result, aux) if has_aux else result

    return wrapper


def jacfwd(
    func: Callable[..., Any], argnums: Any = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The same Jacobian as :func:`jacrev`: gradients run backwards here, so it is computed row by row as well."""
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: Any = 0) -> Callable[..., Any]:
    """A function of ``func``'s arguments that returns the Jacobian of its Jacobian."""
    return jacfwd(jacrev(func, argnums), argnums)
