"""`Module`: the base of every layer and model."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from lamina import _dtypes as dtypes
from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.autograd.graph import wrap
from lamina.nn.modules import _hooks
from lamina.nn.modules._hooks import (  # noqa: F401  # the global hooks are reached as PyTorch's are, in this module
    HookMethods,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from lamina.nn.modules._state import StateMethods
from lamina.nn.parameter import Buffer, Parameter
from lamina.utils._objects import typename
from lamina.utils.hooks import changes

__all__ = ["Module"]

T = TypeVar("T", bound="Module")


def _forward_unimplemented(self: Module, *input: Any) -> None:
    """What the module computes; every subclass defines it."""
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


def _indent(text: str) -> str:
    """`text` with every line but the first moved two columns to the right; blank lines stay empty."""
    first, *rest = text.split("\n")
    return "\n".join([first, *("  " + line if line.strip() else "" for line in rest)])


class Module(HookMethods, StateMethods):
    """The base of every layer and every model: a tree of modules that own parameters and buffers.

    A subclass calls `super().__init__()`, assigns parameters and submodules as plain attributes (which registers
    them), and defines `forward`. Calling the module runs `forward` between its hooks.

    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(lamina.tensor(2.0))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']

    Attributes:
        training (bool): whether the module is in training mode; see `train` and `eval`.
    """

    # The version of a class's state dict layout: saved in `_metadata`, raised when keys change their meaning.
    _version: int = 1
    call_super_init: bool = False

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: set[str]
    _modules: dict[str, Module | None]

    forward: Callable[..., Any] = _forward_unimplemented

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        # Straight into __dict__: these are neither parameters nor modules, so __setattr__'s checks are not needed.
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _is_full_backward_hook=None,
            **{name: OrderedDict() for name in _hooks.REGISTRIES},
            _modules={},
        )
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # -- calling ---------------------------------------------------------------------------------------------

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _hooks.global_forward_hooks
            or _hooks.global_forward_pre_hooks
            or _hooks.global_backward_hooks
            or _hooks.global_backward_pre_hooks
            or self._compiled_call_impl is not None
        ):
            return self.forward(*args, **kwargs)
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        return _hooks.call_with_hooks(self, args, kwargs)

    def _call_uncompiled(self, *args: Any, **kwargs: Any) -> Any:
        return _hooks.call_with_hooks(self, args, kwargs)

    __call__: Callable[..., Any] = _call_impl

    _compiled_call_impl: Callable[..., Any] | None = None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile this module's calls, in place; the arguments are those of :func:`lamina.compile`."""
        from lamina.compiler import compile as compile_
        from lamina.compiler.compiled import Compiled

        compiled = compile_(self._call_uncompiled, *args, **kwargs)
        if isinstance(compiled, Compiled):
            compiled.owner = self
            self.__dict__["_compiled_call_impl"] = compiled

    # -- registration ----------------------------------------------------------------------------------------

    def _check_name(self, name: Any, kind: str, registry: dict[str, Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in registry and self._has(name):
            raise KeyError(f"attribute '{name}' already exists")

    def _has(self, name: str) -> bool:
        """``hasattr(self, name)``, without an error raised and caught in Python where nobody changed the way to attributes."""
        kind = type(self)
        if kind.__getattr__ is not Module.__getattr__ or kind.__getattribute__ is not object.__getattribute__:
            return hasattr(self, name)
        if name in self.__dict__ or name in self._parameters or name in self._buffers or name in self._modules:
            return True
        return hasattr(kind, name) and hasattr(self, name)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module's state but is not trained, such as a running mean.

        Args:
            name (str): the attribute it is reached by.
            tensor (Tensor or None): None registers the name only; it is then left out of the state dict.
            persistent (bool): whether it is part of `state_dict()`.

        Raises:
            TypeError: `name` is no string or `tensor` no tensor.
            KeyError: the name is empty, has a dot in it, or is taken by another attribute.
        """
        changes.n += 1
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name(name, "buffer", self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        tensor = _hooks.on_registration(_hooks.global_buffer_registration_hooks, self, name, tensor)
        self._buffers[name] = tensor
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under the attribute `name`; None registers the name only.

        Raises:
            TypeError: `name` is no string or `param` no Parameter.
            KeyError: the name is empty, has a dot in it, or is taken by another attribute.
            ValueError: `param` is the result of a differentiable operation.
        """
        changes.n += 1
        if "_parameters" not in self.__dict__:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name(name, "parameter", self._parameters)
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(
                    f"cannot assign '{typename(param)}' object to parameter '{name}' "
                    "(torch.nn.Parameter or None required)"
                )
            if param.grad_fn is not None:
                raise ValueError(
                    f"Cannot assign non-leaf Tensor to parameter '{name}': a parameter is created directly; "
                    "a value computed from other tensors belongs into forward()"
                )
            param = _hooks.on_registration(_hooks.global_parameter_registration_hooks, self, name, param)
        self._parameters[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under the attribute `name`; None registers the name only.

        Raises:
            TypeError: `name` is no string or `module` no Module.
            KeyError: the name is empty, has a dot in it, or is taken by another attribute.
        """
        changes.n += 1
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name(name, "module", self._modules)
        self._modules[name] = _hooks.on_registration(
            _hooks.global_module_registration_hooks, self, name, module
        )

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # -- attributes ------------------------------------------------------------------------------------------

    # Reached only for what is not in __dict__ or the class, which every `self.weight` is: keep it short.
    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__
        if "_parameters" in attributes:
            store = attributes["_parameters"]
            if name in store:
                return store[name]
        if "_buffers" in attributes:
            store = attributes["_buffers"]
            if name in store:
                return store[name]
        if "_modules" in attributes:
            store = attributes["_modules"]
            if name in store:
                return store[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        changes.n += 1
        attributes = self.__dict__
        parameters = attributes.get("_parameters")
        if isinstance(value, Parameter):
            if parameters is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, keep=parameters)
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            if "_modules" not in attributes:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, keep=self._modules)
            self._set_child(name, value)
        elif name in attributes.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            self._set_child(name, value)
        elif name in attributes.get("_buffers", ()) or isinstance(value, Buffer):
            self._set_buffer(name, value)
        else:
            super().__setattr__(name, value)

    def _forget(self, name: str, keep: dict[str, Any]) -> None:
        """Take `name` out of every store but `keep`: an attribute is one thing at a time."""
        for store in (self.__dict__, self._parameters, self._buffers, self._modules):
            if store is not keep:
                store.pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _set_child(self, name: str, module: Module | None) -> None:
        self._modules[name] = _hooks.on_registration(
            _hooks.global_module_registration_hooks, self, name, module
        )

    def _set_buffer(self, name: str, value: Any) -> None:
        if value is not None and not isinstance(value, Tensor):
            raise TypeError(
                f"cannot assign '{typename(value)}' as buffer '{name}' "
                "(torch.nn.Buffer, torch.Tensor or None expected)"
            )
        persistent = (
            value.persistent if isinstance(value, Buffer) else name not in self._non_persistent_buffers_set
        )
        register = self.register_buffer
        if getattr(register, "__func__", None) is Module.register_buffer or (
            "persistent" in inspect.signature(register).parameters
        ):
            register(name, value, persistent)
        elif persistent:
            register(name, value)
        else:
            raise RuntimeError(
                f"{type(self).__name__}.register_buffer() has no argument 'persistent', so the non-persistent "
                f"buffer '{name}' cannot be registered"
            )

    def __delattr__(self, name: str) -> None:
        changes.n += 1
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._buffers:
            del self._buffers[name]
            self._non_persistent_buffers_set.discard(name)
        elif name in self._modules:
            del self._modules[name]
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        own = (dir(type(self)), self.__dict__, self._parameters, self._modules, self._buffers)
        return sorted(name for names in own for name in names if not name[0].isdigit())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A module pickled before a registry existed gets an empty one.
        for registry in _hooks.REGISTRIES:
            self.__dict__.setdefault(registry, OrderedDict())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # -- looking up by path ----------------------------------------------------------------------------------

    def get_submodule(self, target: str) -> Module:
        """The submodule at the dotted path `target`; the module itself for an empty path.

        Raises:
            AttributeError: the path leads nowhere, or to something that is not a module.
        """
        module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put `module` at the dotted path `target`, in place of what is there.

        Args:
            target (str): the path; its parent must exist.
            module (Module): the new submodule.
            strict (bool): whether there must be a submodule at the path already.

        Raises:
            ValueError: the path is empty or `module` is not a module.
            AttributeError: the path leads nowhere, or to something that is not a module.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if hasattr(parent, name):
            if not isinstance(getattr(parent, name), Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        elif strict:
            raise AttributeError(f"{parent._get_name()} has no attribute `{name}`")
        setattr(parent, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at the dotted path `target`.

        Raises:
            AttributeError: the path leads nowhere, or to something that is not a parameter.
        """
        owner, name = self._owner(target)
        param = getattr(owner, name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return param

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at the dotted path `target`.

        Raises:
            AttributeError: the path leads nowhere, or to something that is not a buffer.
        """
        owner, name = self._owner(target)
        buffer: Tensor = getattr(owner, name)
        if name not in owner._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return buffer

    def _owner(self, target: str) -> tuple[Module, str]:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        return owner, name

    # -- walking the tree ------------------------------------------------------------------------------------

    def _named_members(
        self,
        get_members_fn: Callable[[Module], Iterable[tuple[str, Any]]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        )
        for path, module in modules:
            for name, member in get_members_fn(module):
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter once, in the order of registration; with `recurse`, those of submodules too."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Pairs of dotted path and parameter, in the order of registration.

        Args:
            prefix (str): put before every path.
            recurse (bool): whether parameters of submodules are included.
            remove_duplicate (bool): whether a parameter that is reached by several paths appears once only.
        """
        yield from self._named_members(
            lambda module: module._parameters.items(), prefix, recurse, remove_duplicate
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer once, in the order of registration; with `recurse`, those of submodules too."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Pairs of dotted path and buffer; the arguments are those of `named_parameters`."""
        yield from self._named_members(lambda module: module._buffers.items(), prefix, recurse, remove_duplicate)

    def children(self) -> Iterator[Module]:
        """The direct submodules, each once."""
        for _, module in self.named_children():
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Pairs of name and module for the direct submodules, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """The module itself and everything below it, depth first, each once unless `remove_duplicate` is False."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Pairs of dotted path and module: the module itself (its path is `prefix`), then everything below it.

        Args:
            memo (set of Module, optional): modules to leave out; those visited are added.
            prefix (str): put before every path.
            remove_duplicate (bool): whether a module that is reached by several paths appears once only.
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def apply(self: T, fn: Callable[[Module], None]) -> T:
        """Call `fn` on every submodule, children first, then on the module itself; returns the module.

        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> _ = net.apply(lambda m: nn.init.ones_(m.weight) if isinstance(m, nn.Linear) else None)
        """
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -- modes and gradients ---------------------------------------------------------------------------------

    def train(self: T, mode: bool = True) -> T:
        """Set training mode (dropout drops, batch norm uses the batch) on the whole tree; returns the module.

        Raises:
            ValueError: `mode` is not a bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: T) -> T:
        """Set evaluation mode on the whole tree: the same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Say for every parameter whether gradients are recorded; returns the module."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero where `set_to_none` is False."""
        for param in self.parameters():
            grad = param.grad
            if grad is None:
                continue
            if set_to_none:
                param.grad = None
            else:
                if grad.grad_fn is not None:
                    grad.detach_()
                else:
                    grad.requires_grad_(False)
                grad.zero_()

    # -- conversion ------------------------------------------------------------------------------------------

    def _apply(self: T, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> T:
        """Replace the data of every parameter, gradient and buffer by `fn` of it; parameters keep their identity."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is None:
                continue
            grad = param.grad
            with no_grad():
                new_data = fn(param)
                new_grad = None if grad is None else fn(grad)
                if new_grad is not None:
                    # The old gradient does not fit the new data, nor the new gradient the old data.
                    param.grad = None
                param.data = new_data
                if grad is not None and new_grad is not None:
                    grad.data = new_grad
                    param.grad = grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def _cast(self: T, dtype: Any) -> T:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def type(self: T, dst_type: Any) -> T:
        """Convert all parameters and buffers, integer ones too, to `dst_type`; returns the module."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self: T) -> T:
        """Convert all floating-point parameters and buffers to float32; returns the module."""
        return self._cast(dtypes.float32)

    def double(self: T) -> T:
        """Convert all floating-point parameters and buffers to float64; returns the module."""
        return self._cast(dtypes.float64)

    def half(self: T) -> T:
        """Convert all floating-point parameters and buffers to float16; returns the module."""
        return self._cast(dtypes.float16)

    def bfloat16(self: T) -> T:
        """Convert all floating-point parameters and buffers to bfloat16; returns the module."""
        return self._cast(dtypes.bfloat16)

    def cuda(self: T, device: Any = None) -> T:
        """Always an error, PyTorch's without a GPU: lamina computes on the CPU."""
        return self._apply(lambda t: t.cuda(device))

    def cpu(self: T) -> T:
        """Returns the module: all memory is the CPU's."""
        return self._apply(lambda t: t.cpu())

    def to_empty(self: T, *, device: Any, recurse: bool = True) -> T:
        """Give every parameter and buffer fresh memory with undefined contents; returns the module."""
        dtypes.check_device(device)
        return self._apply(lambda t: wrap(np.empty_like(t._a)), recurse=recurse)

    def to(self: T, *args: Any, **kwargs: Any) -> T:
        """Convert the module in place and return it.

        Called as `to(device=None, dtype=None, non_blocking=False)`, `to(dtype, non_blocking=False)`,
        `to(tensor, non_blocking=False)` or `to(memory_format=...)`. Only floating-point parameters and buffers
        change their dtype.

        Raises:
            TypeError: the dtype is not a floating-point one.
        """
        device, dtype, non_blocking, memory_format = _parse_to(*args, **kwargs)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(
                f"nn.Module.to only accepts floating point or complex dtypes, but got desired dtype={dtype}"
            )

        def convert(t: Tensor) -> Tensor:
            target = dtype if t.is_floating_point() or t.is_complex() else None
            if memory_format is not None and t.dim() in (4, 5):
                return t.to(device, target, non_blocking, memory_format=memory_format)
            return t.to(device, target, non_blocking)

        return self._apply(convert)

    def share_memory(self: T) -> T:
        """Move parameters and buffers into memory that child processes share; returns the module."""
        return self._apply(lambda t: t.share_memory_())

    # -- repr ------------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """The settings that `repr` shows between the brackets; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._modules:
            return f"{self._get_name()}({lines[0]})"
        lines += [f"({name}): {_indent(repr(module))}" for name, module in self._modules.items()]
        return f"{self._get_name()}(" + "".join(f"\n  {line}" for line in lines) + ("\n)" if lines else ")")


def _parse_to(
    *args: Any,
    device: Any = None,
    dtype: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: Any = None,
) -> tuple[Any, Any, bool, Any]:
    """The arguments of `Module.to` in any of their forms, as (device, dtype, non_blocking, memory_format)."""
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
        device, dtype = other.device, other.dtype
    else:
        if rest and not isinstance(rest[0], dtypes.dtype):
            device = rest.pop(0)
        if rest and (rest[0] is None or isinstance(rest[0], dtypes.dtype)):
            dtype = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        non_blocking = rest.pop(0)
    if rest and isinstance(rest[0], bool):
        rest.pop(0)  # `copy`: a module converts in place, so there is nothing to copy.
    if rest or not (dtype is None or isinstance(dtype, dtypes.dtype)):
        raise TypeError(f"to() received an invalid combination of arguments: {args!r}")
    if device is not None and not isinstance(device, (str, int, dtypes.device)):
        raise TypeError(f"to() expects a device, a dtype or a tensor first, got {typename(device)}")
    return device, dtype, non_blocking, memory_format
