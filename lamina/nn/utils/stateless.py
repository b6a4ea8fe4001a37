"""A module called with other parameters and buffers than its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from lamina._tensor import Tensor
from lamina.nn.modules.module import Module

__all__ = ["functional_call"]

_MISSING: Any = object()


def functional_call(
    module: Module, parameters_and_buffers: dict[str, Tensor], args: Any = None, kwargs: dict[str, Any] | None = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """The deprecated place of :func:`lamina.func.functional_call`, which takes several dicts too."""
    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future version of "
        "PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
        FutureWarning, stacklevel=2,
    )  # fmt: skip
    return call(module, parameters_and_buffers, args, kwargs, tie_weights, strict)


def call(
    module: Module, tensors: dict[str, Tensor], args: Any, kwargs: dict[str, Any] | None, tie_weights: bool, strict: bool
) -> Any:  # fmt: skip
    """``module(*args, **kwargs)`` with ``tensors`` by dotted path in the place of its parameters and buffers."""
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with replaced(module, tensors, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextlib.contextmanager
def replaced(module: Module, tensors: dict[str, Tensor], tie_weights: bool = False, strict: bool = False) -> Iterator[None]:
    """For the length of a ``with`` block, put ``tensors`` by dotted path in the place of a module's own.

    What the block assigned to those names is found in ``tensors`` afterwards.

    Args:
        module (Module): whose parameters and buffers are replaced.
        tensors (dict): the replacements.
        tie_weights (bool): whether a tensor that the module has under several names is replaced under all of them.
        strict (bool): whether ``tensors`` must name exactly the module's parameters and buffers.

    Raises:
        RuntimeError: with ``strict``, names that are missing or unknown.
        ValueError: with ``tie_weights``, different values for names of one tensor.
        AttributeError: a path to a module that is not there.
        TypeError: a replacement, or what it replaces, is not a tensor.
    """
    own = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))  # type: ignore[arg-type]
    given = _with_tied(own, tensors) if tie_weights else tensors
    if strict:
        _check_names(module, own, given)
    before: dict[str, Any] = {}
    try:
        for name, tensor in given.items():
            before[name] = _swap(module, name, tensor)
        yield
    finally:
        # in the opposite order, so that a module that stands for its own attribute (a parametrization) ends as it began
        for name in reversed(before):
            after = _swap(module, name, before[name])
            if name in tensors and after is not _MISSING:
                tensors[name] = after


def _with_tied(own: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``tensors``, and each of them under the other names of the tensor that it replaces too."""
    names: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names.setdefault(id(tensor), []).append(name)
    result = dict(tensors)
    for name, tensor in tensors.items():
        tied = names[id(own[name])] if name in own else [name]
        if any(other in tensors and tensors[other] is not tensor for other in tied):
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(tied)}, which are tied. Consider using tie_weights=False"
            )
        result.update(dict.fromkeys(tied, tensor))
    return result


def _check_names(module: Module, own: dict[str, Any], given: dict[str, Tensor]) -> None:
    problems = []
    for kind, names in (("Unexpected", given.keys() - own.keys()), ("Missing", own.keys() - given.keys())):
        if names:
            problems.append(f"{kind} key(s): {', '.join(map(repr, sorted(names)))}.")
    if problems:
        raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(problems))


def _swap(module: Module, path: str, tensor: Any) -> Any:
    """Put ``tensor`` (or nothing, for ``_MISSING``) at ``path``, and return what was there."""
    if tensor is not _MISSING and tensor is not None and not isinstance(tensor, Tensor):
        raise TypeError(f"functional_call: the value for {path!r} must be a Tensor, not {type(tensor).__name__}")
    parent, _, name = path.rpartition(".")
    owner = _submodule(module, parent)
    if not name:
        raise KeyError('tensor name can\'t be empty string ""')
    for store in (owner._parameters, owner._buffers):
        if name in store:
            old = store[name]
            if tensor is _MISSING:
                del store[name]
            else:
                store[name] = tensor
            return old
    old = getattr(owner, name, _MISSING)
    if old is not _MISSING and old is not None and not isinstance(old, Tensor):
        raise TypeError(f"functional_call: {path!r} of {module._get_name()} is not a Tensor but {type(old).__name__}")
    if tensor is not _MISSING:
        setattr(owner, name, tensor)
    elif old is not _MISSING:
        delattr(owner, name)
    return old


def _submodule(module: Module, path: str) -> Module:
    for name in path.split(".") if path else ():
        if not hasattr(module, name):
            raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
        module = getattr(module, name)
        if not isinstance(module, Module):
            raise TypeError(f"submodule `{path}`: {module} is not an instance of torch.nn.Module")
    return module
