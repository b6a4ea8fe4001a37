"""Parameters as functions of other parameters: ``module.weight`` is computed anew whenever it is read.

A parametrized module's class is replaced by a subclass of its own, on which each parametrized tensor is a property; what
the property computes from is kept in ``module.parametrizations``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.nn.modules.container import ModuleDict, ModuleList
from lamina.nn.modules.module import Module
from lamina.nn.parameter import Parameter

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
    "transfer_parametrizations_and_params", "type_before_parametrizations",
]  # fmt: skip


class _Cache:
    """What was computed within :func:`cached` blocks, by module and name of the tensor."""

    depth = 0  # how many blocks are open
    tensors: dict[tuple[int, str], Any] = {}


@contextmanager
def cached() -> Iterator[None]:
    """Within a ``with`` block, compute every parametrized tensor once, when it is first read.

    Useful where a tensor is read often, as the weights of a recurrent cell are. What was computed is forgotten when the
    outermost block ends.
    """
    _Cache.depth += 1
    try:
        yield
    finally:
        _Cache.depth -= 1
        if not _Cache.depth:
            _Cache.tensors = {}


def _register(module: Module, name: str, tensor: Any) -> None:
    (module.register_parameter if isinstance(tensor, Parameter) else module.register_buffer)(name, tensor)


@no_grad()
def _set(tensor: Any, value: Any) -> None:
    """Make ``tensor`` stand for the memory of ``value``."""
    tensor.data = value.detach()


def _inverse(module: Module) -> Any:
    return getattr(module, "right_inverse", None)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied one after the other, and the tensors that they start from.

    Args:
        modules (sequence of Modules): the parametrizations, the first first.
        original (Tensor): the parameter or buffer that is parametrized. If the parametrizations have a ``right_inverse``,
            what this gives takes its place.
        unsafe (bool): whether the parametrizations may change shape and dtype. Default: False.

    Attributes:
        original, or original0, original1, ...: the tensor, or tensors, that the first parametrization is called with.

    Raises:
        ValueError: no parametrizations; a ``right_inverse`` or a parametrization that gives something else than tensors, or,
            unless ``unsafe``, a tensor of another shape or dtype.
    """

    original: Tensor
    unsafe: bool

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if len(modules) == 0:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if _inverse(module) is not None:
                    try:
                        new = _inverse(module)(new)
                    except NotImplementedError:
                        pass
        self.is_tensor = isinstance(new, Tensor)
        if not self.is_tensor and not isinstance(new, Sequence):
            raise ValueError(
                f"'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got {type(new).__name__}"
            )
        self.ntensors = 1 if self.is_tensor else len(new)
        if isinstance(new, Tensor):
            if new.dtype != dtype:
                raise ValueError(
                    "When `right_inverse` outputs one tensor, it may not change the dtype.\n"
                    f"original.dtype: {dtype}\nright_inverse(original).dtype: {new.dtype}"
                )
            _set(original, new)
            _register(self, "original", original)
        else:
            for i, tensor in enumerate(new):
                if not isinstance(tensor, Tensor):
                    raise ValueError(
                        "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...). Got element "
                        f"{i} of the sequence with type {type(tensor).__name__}."
                    )
                part: Any = Parameter(tensor, original.requires_grad) if isinstance(original, Parameter) else tensor
                _register(self, f"original{i}", part.requires_grad_(original.requires_grad))
        if not unsafe:
            what = "Registering a parametrization", "unparametrized", "parametrized"
            _check_unchanged(self(), shape, dtype, *what)

    def right_inverse(self, value: Tensor) -> None:
        """Set the original tensors such that the parametrizations give ``value``: what assigning to the property does.

        Raises:
            RuntimeError: a parametrization has no ``right_inverse``.
            ValueError: a ``right_inverse`` gives something that does not fit the original tensors.
        """
        result: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if _inverse(module) is None:
                    raise RuntimeError(f"parametrization {type(module).__name__} does not implement right_inverse.")
                result = _inverse(module)(result)
        if self.is_tensor:
            if not isinstance(result, Tensor):
                raise ValueError(f"`right_inverse` should return a tensor. Got {type(result).__name__}")
            parts = {"original": result}
        else:
            if not isinstance(result, Sequence):
                raise ValueError(f"'right_inverse' must return a sequence of tensors. Got {type(result).__name__}.")
            if len(result) != self.ntensors:
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors of length {self.ntensors}. Got a sequence of length "
                    f"{len(result)}."
                )
            parts = {f"original{i}": part for i, part in enumerate(result)}
        for name, part in parts.items():
            if not isinstance(part, Tensor):
                raise ValueError(
                    f"'right_inverse' must return a sequence of tensors. Got {type(part).__name__} for `{name}`."
                )
            if part.dtype != getattr(self, name).dtype:
                raise ValueError(
                    f"The tensor returned by `right_inverse` has dtype {part.dtype} while `{name}` has dtype "
                    f"{getattr(self, name).dtype}"
                )
            _set(getattr(self, name), part)

    def forward(self) -> Any:
        """The parametrized tensor."""
        first, *others = self
        if self.is_tensor:
            x = first(self.original)
        else:
            x = first(*(getattr(self, f"original{i}") for i in range(self.ntensors)))
        for module in others:
            x = module(x)
        return x


def _check_unchanged(result: Any, shape: Any, dtype: Any, who: str, before: str, after: str) -> None:
    if not isinstance(result, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(result).__name__}.")
    for name, was, now in (("dtype", dtype, result.dtype), ("shape", shape, result.shape)):
        if was != now:
            raise ValueError(
                f"{who} may not change the {name} of the tensor, unless the `unsafe` flag is enabled.\n"
                f"{before} {name}: {was}\n{after} {name}: {now}"
            )


# -- the class of a parametrized module ----------------------------------------------------------------------------


def _getstate(self: Any) -> Any:
    raise RuntimeError(
        "Serialization of parametrized modules is only supported through state_dict(): save that, register the same "
        "parametrizations on a new module, and load it there."
    )


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    if id(self) not in memo:
        memo[id(self)] = twin = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return memo[id(self)]


def _subclass(module: Module) -> None:
    """Give a module a class of its own, on which properties can be set."""
    cls = type(module)
    members: dict[str, Any] = {"__getstate__": _getstate}
    if not hasattr(cls, "__deepcopy__"):
        members["__deepcopy__"] = _deepcopy
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), members)


def _property(name: str) -> property:
    def get(self: Any) -> Any:
        compute = self.parametrizations[name]
        if not _Cache.depth:
            return compute()
        key = id(self), name
        if _Cache.tensors.get(key) is None:
            _Cache.tensors[key] = compute()
        return _Cache.tensors[key]

    def set_(self: Any, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, set_)


# -- public functions ----------------------------------------------------------------------------------------------


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let ``module.<tensor_name>`` be ``parametrization`` of what it was; returns the module.

    The tensor itself moves to ``module.parametrizations.<tensor_name>.original``. On a tensor that is parametrized already,
    the new parametrization is applied after the others. If the parametrization has a method ``right_inverse``, the tensor
    starts from what this gives, and ``module.<tensor_name>`` can be assigned to; it may return several tensors, which the
    parametrization then is called with.

    Args:
        module (Module): whose tensor is parametrized.
        tensor_name (str): the name of a parameter, a buffer or a parametrized tensor.
        parametrization (Module): the function.
        unsafe (bool): whether it may change shape and dtype, which are not checked then. Default: False.

    Raises:
        ValueError: no such tensor; a parametrization that gives no tensor or, unless ``unsafe``, another shape or dtype.

    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = nn.utils.parametrize.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> lamina.equal(layer.weight, layer.weight.T)
    True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_addition(module, tensor_name, parametrization)
        parametrizations: Any = module.parametrizations[tensor_name]
        parametrizations.append(parametrization)
        parametrizations.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        # made first: if it raises, the module is what it was
        parametrizations = ParametrizationList([parametrization], getattr(module, tensor_name), unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _subclass(module)
            module.parametrizations = ModuleDict()
        setattr(type(module), tensor_name, _property(tensor_name))
        module.parametrizations[tensor_name] = parametrizations
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name '{tensor_name}'"
        )
    return module


def _check_addition(module: Module, name: str, parametrization: Module) -> None:
    """Raise if another parametrization, or its inverse, changes shape or dtype."""
    old = getattr(module, name)
    new = parametrization(old)
    names = f"module.{name}", f"parametrization(module.{name})"
    _check_unchanged(new, old.shape, old.dtype, "Registering a parametrization", *names)
    if _inverse(parametrization) is not None:
        try:
            back = _inverse(parametrization)(new)
        except NotImplementedError:
            return
        if not isinstance(back, Tensor):
            raise ValueError(f"parametrization.right_inverse must return a tensor. Got: {type(back).__name__}")
        _check_unchanged(back, old.shape, old.dtype, "parametrization.right_inverse", names[0], "returned")


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrizations, or has some on the tensor ``tensor_name``."""
    parametrizations = getattr(module, "parametrizations", None)
    if not isinstance(parametrizations, ModuleDict):
        return False
    return len(parametrizations) > 0 if tensor_name is None else tensor_name in parametrizations


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Take the parametrizations of a tensor away; returns the module.

    Args:
        module (Module): whose tensor is parametrized.
        tensor_name (str): its name.
        leave_parametrized (bool): whether the tensor keeps the value that the parametrizations give; otherwise it becomes
            the original tensor again. Default: True.

    Raises:
        ValueError: the tensor is not parametrized, or made of several original ones and ``leave_parametrized=False``.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    registry: Any = module.parametrizations
    parametrizations = registry[tensor_name]
    if parametrizations.is_tensor:
        tensor = parametrizations.original
        if leave_parametrized:
            with no_grad():
                value = getattr(module, tensor_name)
            _set(tensor, value)
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        tensor = Parameter(value) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in terms of a sequence of "
            "tensors."
        )
    delattr(type(module), tensor_name)
    del registry[tensor_name]
    _register(module, tensor_name, tensor)
    if not is_parametrized(module):
        del module.parametrizations
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class that the module has without its parametrizations."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Register one module's parametrizations, with their original tensors, on another; returns the latter.

    Args:
        from_module (Module): which has the parametrizations, and keeps them.
        to_module (Module): which gets them; a parameter that it lacks is made.
        tensor_name (str, optional): of which tensor; by default of all.
    """
    if not is_parametrized(from_module):
        return to_module
    source: Any = from_module.parametrizations
    for name in list(source) if tensor_name is None else [tensor_name]:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name)))
        for parametrization in source[name]:
            register_parametrization(to_module, name, parametrization)
        parts = ["original"] if source[name].is_tensor else [f"original{i}" for i in range(source[name].ntensors)]
        for part in parts:
            setattr(to_module.parametrizations[name], part, getattr(source[name], part))
    return to_module
