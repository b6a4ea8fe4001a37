"""Functions of functions, and modules as functions of their parameters, as in ``torch.func``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lamina import ops
from lamina._tensor import Tensor
from lamina._transforms import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, vjp
from lamina._vmap import vmap
from lamina.nn.modules.module import Module
from lamina.nn.utils import stateless

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "stack_module_state", "vjp", "vmap",
]  # fmt: skip


def functional_call(
    module: Module, parameter_and_buffer_dicts: Any, args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """Call a module with other parameters and buffers than its own, which stay as they are.

    Args:
        module (Module): what is called.
        parameter_and_buffer_dicts (dict, or sequence of dicts): tensors by dotted path. What the call assigns to one of these
            names is found here afterwards.
        args (Any): the arguments; what is no tuple is a single one.
        kwargs (dict, optional): the keyword arguments.
        tie_weights (bool): whether a tensor that the module has under several names is replaced under all of them.
            Default: True.
        strict (bool): whether the names must be exactly those of the module's parameters and buffers. Default: False.

    Returns:
        What the module returns.

    Raises:
        ValueError: a name in several dicts, or different tensors for names of one tensor.
        RuntimeError: with ``strict``, names that are missing or unknown.

    >>> layer = nn.Linear(2, 1)
    >>> lamina.func.functional_call(layer, {"weight": lamina.ones(1, 2), "bias": lamina.zeros(1)}, lamina.ones(2)).tolist()
    [2.0]
    """
    dicts = parameter_and_buffer_dicts
    if isinstance(dicts, dict):
        return stateless.call(module, dicts, args, kwargs, tie_weights, strict)
    if not isinstance(dicts, Sequence):
        raise ValueError(
            f"Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got {type(dicts)}"
        )
    if not all(isinstance(d, dict) for d in dicts):
        raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
    merged: dict[str, Tensor] = {}
    repeated = []
    for d in dicts:
        repeated += [name for name in d if name in merged]
        merged.update(d)
    if repeated:
        raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
    return stateless.call(module, merged, args, kwargs, tie_weights, strict)


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters, and the buffers, of several models of one class, stacked by name; new leaves of the graph.

    Raises:
        RuntimeError: no models, models of different classes or modes, or parameters of which some require gradients.
    """
    if len(models) == 0:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len({type(model) for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    result = []
    for members in (Module.named_parameters, Module.named_buffers):
        states: list[dict[str, Any]] = [dict(members(model)) for model in models]
        result.append({name: _stacked([state[name] for state in states], name) for name in states[0]})
    return result[0], result[1]


def _stacked(tensors: list[Any], name: str) -> Any:
    wanted = {t.requires_grad for t in tensors}
    if len(wanted) > 1:
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    return ops.stack(tensors).detach().requires_grad_(wanted.pop())
