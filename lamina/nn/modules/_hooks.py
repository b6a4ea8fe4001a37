"""Hooks: functions that users attach to modules, and the call that runs them; the hook half of `Module`."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd.graph import Op, Version, mode, wrap
from lamina.nn.modules._state import _WrappedHook
from lamina.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from lamina.nn.modules.module import Module

__all__ = [
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

Registry = OrderedDict[int, Any]

# Every registry that a module has of its own.
REGISTRIES = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

# Hooks of all modules. They are only ever filled and emptied in place, so that they may be imported by name.
global_buffer_registration_hooks: Registry = OrderedDict()
global_module_registration_hooks: Registry = OrderedDict()
global_parameter_registration_hooks: Registry = OrderedDict()
global_forward_pre_hooks: Registry = OrderedDict()
global_forward_hooks: Registry = OrderedDict()
global_forward_hooks_with_kwargs: Registry = OrderedDict()
global_forward_hooks_always_called: Registry = OrderedDict()
global_backward_pre_hooks: Registry = OrderedDict()
global_backward_hooks: Registry = OrderedDict()
_global_is_full_backward_hook: bool | None = None


def _register(registry: Registry, hook: Any, prepend: bool = False, **marks: Registry | None) -> RemovableHandle:
    """Enter `hook` into a registry, and its id into those of `marks` that are given."""
    marked = [m for m in marks.values() if m is not None]
    handle = RemovableHandle(registry, extra_dict=marked)
    registry[handle.id] = hook
    for mark in marked:
        mark[handle.id] = True
    if prepend:
        registry.move_to_end(handle.id, last=False)
    return handle


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` whenever any module registers a buffer; a returned tensor replaces it."""
    return _register(global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, submodule)` whenever any module registers one; a returned module replaces it."""
    return _register(global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, param)` whenever any module registers a parameter; a returned one replaces it."""
    return _register(global_parameter_registration_hooks, hook)


def on_registration(registry: Registry, module: Any, name: str, value: Any) -> Any:
    """Run the global registration hooks; returns what is to be registered."""
    for hook in registry.values():
        replacement = hook(module, name, value)
        if replacement is not None:
            value = replacement
    return value


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before every module's forward; a returned value replaces the arguments."""
    return _register(global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after every module's forward; a returned value replaces the output.

    Args:
        hook (callable): gets `(module, args, kwargs, output)` when `with_kwargs` is set.
        with_kwargs (bool): whether the hook sees keyword arguments.
        always_call (bool): whether it also runs when forward raises.
    """
    return _register(
        global_forward_hooks,
        hook,
        with_kwargs=global_forward_hooks_with_kwargs if with_kwargs else None,
        always_call=global_forward_hooks_always_called if always_call else None,
    )


def _one_kind(current: bool | None, wanted: bool, where: str) -> bool:
    if current is not None and current is not wanted:
        raise RuntimeError(
            f"Cannot use both regular backward hooks and full backward hooks {where}. Please use only one of them."
        )
    return wanted


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """The deprecated form of `register_module_full_backward_hook`: `grad_input` is that of the last operation only."""
    global _global_is_full_backward_hook
    _global_is_full_backward_hook = _one_kind(_global_is_full_backward_hook, False, "as a global Module hook")
    return _register(global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` before the gradients of every module's inputs are computed."""
    return _register(global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` once the gradients of every module's inputs are computed."""
    global _global_is_full_backward_hook
    _global_is_full_backward_hook = _one_kind(_global_is_full_backward_hook, True, "as a global Module hook")
    return _register(global_backward_hooks, hook)


class HookMethods:
    """The methods of `Module` that register hooks around its call."""

    _forward_hooks: Registry
    _forward_hooks_with_kwargs: Registry
    _forward_hooks_always_called: Registry
    _forward_pre_hooks: Registry
    _forward_pre_hooks_with_kwargs: Registry
    _backward_hooks: Registry
    _backward_pre_hooks: Registry
    _is_full_backward_hook: bool | None

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Before forward, call `hook(module, args)`; what it returns replaces the positional arguments.

        Args:
            hook (callable): gets `(module, args, kwargs)` when `with_kwargs` is set, and then returns None or a pair
                of new arguments and new keyword arguments.
            prepend (bool): whether it runs before this module's other pre-hooks.
            with_kwargs (bool): whether the hook sees keyword arguments.
        """
        marks = self._forward_pre_hooks_with_kwargs if with_kwargs else None
        return _register(self._forward_pre_hooks, hook, prepend, with_kwargs=marks)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """After forward, call `hook(module, args, output)`; what it returns replaces the output.

        Args:
            hook (callable): gets `(module, args, kwargs, output)` when `with_kwargs` is set.
            prepend (bool): whether it runs before this module's other forward hooks.
            with_kwargs (bool): whether the hook sees keyword arguments.
            always_call (bool): whether it also runs when forward raises.
        """
        return _register(
            self._forward_hooks,
            hook,
            prepend,
            with_kwargs=self._forward_hooks_with_kwargs if with_kwargs else None,
            always_call=self._forward_hooks_always_called if always_call else None,
        )

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Before the gradients of the inputs are computed, call `hook(module, grad_output)`.

        `grad_output` is a tuple with an entry per output; a returned tuple replaces it.
        """
        return _register(self._backward_pre_hooks, hook, prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Once the gradients of the inputs are computed, call `hook(module, grad_input, grad_output)`.

        Both are tuples, with None for what is no tensor or needs no gradient; a returned tuple replaces `grad_input`.

        Raises:
            RuntimeError: the module has a hook of the deprecated kind.
        """
        self._is_full_backward_hook = _one_kind(self._is_full_backward_hook, True, "on a single Module")
        return _register(self._backward_hooks, hook, prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """The deprecated form of `register_full_backward_hook`: `grad_input` is that of the last operation only."""
        self._is_full_backward_hook = _one_kind(self._is_full_backward_hook, False, "on a single Module")
        return _register(self._backward_hooks, hook)

    def _hooks_around_backward(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The backward pre-hooks, the full backward hooks and those of the deprecated kind, global ones first."""
        full: list[Any] = []
        old: list[Any] = []
        for kind, registry in (
            (_global_is_full_backward_hook, global_backward_hooks),
            (self._is_full_backward_hook, self._backward_hooks),
        ):
            (full if kind else old).extend(registry.values())
        return [*global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()], full, old


# -- the call ----------------------------------------------------------------------------------------------------


def call_with_hooks(module: Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run forward between all hooks that concern `module`."""
    result = None
    started: set[int] = set()  # of the hooks that always run
    try:
        args, kwargs = _before_forward(module, args, kwargs)
        pre_hooks, full_hooks, old_hooks = module._hooks_around_backward()
        gates = _Gates(module, full_hooks, pre_hooks) if full_hooks or pre_hooks else None
        if gates is not None:
            args = gates.on_inputs(args)
        result = module.forward(*args, **kwargs)
        for registry, with_kwargs, always in _forward_hooks_of(module):
            for key, hook in tuple(registry.items()):
                if key in always:
                    started.add(key)
                changed = hook(module, args, kwargs, result) if key in with_kwargs else hook(module, args, result)
                if changed is not None:
                    result = changed
        if gates is not None:
            result = gates.on_outputs(result)
        if old_hooks:
            _hook_last_operation(module, old_hooks, result)
        return result
    except Exception:
        for registry, with_kwargs, always in _forward_hooks_of(module):
            for key, hook in tuple(registry.items()):
                if key in always and key not in started:
                    try:
                        changed = (
                            hook(module, args, kwargs, result) if key in with_kwargs else hook(module, args, result)
                        )
                    except Exception as error:
                        warnings.warn(
                            f"a forward hook of {module._get_name()} with always_call=True raised {error!r}, which is "
                            "not passed on because forward had raised before",
                            stacklevel=3,
                        )
                        continue
                    if changed is not None:
                        result = changed
        raise


def _forward_hooks_of(module: Module) -> tuple[tuple[Registry, Registry, Registry], ...]:
    return (
        (global_forward_hooks, global_forward_hooks_with_kwargs, global_forward_hooks_always_called),
        (module._forward_hooks, module._forward_hooks_with_kwargs, module._forward_hooks_always_called),
    )


def _before_forward(module: Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    for key, hook in (*global_forward_pre_hooks.items(), *module._forward_pre_hooks.items()):
        if key in module._forward_pre_hooks_with_kwargs:
            changed = hook(module, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    return args, kwargs


def _hook_last_operation(module: Module, hooks: list[Any], result: Any) -> None:
    """Attach hooks of the deprecated kind: they see the gradients of the operation that made the (first) output."""
    first = result
    while not isinstance(first, Tensor):
        first = next(v for v in first.values() if isinstance(v, Tensor)) if isinstance(first, dict) else first[0]
    if first.grad_fn is not None:
        for hook in hooks:
            first.grad_fn.register_hook(_WrappedHook(hook, module))


# -- gates: full backward hooks ------------------------------------------------------------------------------------


class BackwardHookFunction(Op):
    """The identity on several tensors at once, whose rule shows the gradients to `on_backward` and lets it change them."""

    any_dtype = True

    @staticmethod
    def forward(ctx: Any, on_backward: Any, *tensors: Any) -> Any:
        ctx.on_backward = on_backward
        return tuple(t._plain() for t in tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, *ctx.on_backward(grads)

    def name(self) -> str:
        return "BackwardHookFunctionBackward"


class _Passed:
    """Values with those tensors that need a gradient passed through one gate, and how gradients fit to them."""

    def __init__(self, values: tuple[Any, ...], on_backward: Any) -> None:
        self.values = values
        self.size = len(values)
        self.where: list[int] = []  # the positions of the tensors that passed
        if not mode.enabled or not any(isinstance(v, Tensor) and v.requires_grad for v in values):
            return
        self.where = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        # Other tensors beside them get zeros for their gradients, as PyTorch has it.
        self.others = [
            (i, v._a.shape, v._a.dtype) for i, v in enumerate(values) if isinstance(v, Tensor) and not v.requires_grad
        ]
        passed = list(values)
        results = BackwardHookFunction.apply(on_backward, *(values[i] for i in self.where))
        for i, t in zip(self.where, results, strict=True):
            if values[i]._writes is None:
                values[i]._writes = Version()
            # The same memory, in the order that its user believes in.
            t._writes, t._hidden = values[i]._writes, False
            passed[i] = t
        self.values = tuple(passed) if type(values) is tuple else type(values)(*passed)

    def spread(self, grads: Any) -> tuple[Any, ...]:
        """One gradient per value: None for what is no tensor."""
        result: list[Any] = [None] * self.size
        for i, grad in zip(self.where, grads, strict=True):
            result[i] = grad
        for i, shape, dtype in self.others:
            result[i] = wrap(np.zeros(shape, dtype))
        return tuple(result)

    def pick(self, grads: tuple[Any, ...]) -> tuple[Any, ...]:
        """The gradients of the tensors that passed."""
        return tuple(grads[i] for i in self.where)


class _Gates:
    """A gate before a module and one behind it: between them lies exactly what the module computes."""

    inputs: _Passed
    outputs: _Passed

    def __init__(self, module: Module, hooks: list[Any], pre_hooks: list[Any]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_outputs: Any = None

    def on_inputs(self, args: tuple[Any, ...]) -> Any:
        self.inputs = _Passed(args, self._backward_of_inputs)
        return self._release(self.inputs)

    def on_outputs(self, result: Any) -> Any:
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=4,
            )
        several = isinstance(result, tuple)
        self.outputs = _Passed(result if several else (result,), self._backward_of_outputs)
        results = self._release(self.outputs)
        return results if several else results[0]

    def _release(self, passed: _Passed) -> Any:
        values, passed.values = passed.values, ()  # the gates must not keep activations alive
        return values

    def _backward_of_outputs(self, grads: Any) -> Any:
        grad_outputs = self.outputs.spread(grads)
        for hook in self.pre_hooks:
            grad_outputs = _replaced(grad_outputs, hook(self.module, grad_outputs), "pre hook", "grad_output")
        if self.inputs.where:
            self.grad_outputs = grad_outputs
        elif self.hooks:  # no gradient will come to the inputs
            warnings.warn(
                f"a full backward hook of {self.module._get_name()} runs as the gradients of its outputs are known, "
                "since none of its inputs requires a gradient",
                stacklevel=2,
            )
            for hook in self.hooks:
                changed = hook(self.module, (None,) * self.inputs.size, grad_outputs)
                if changed is not None and not (isinstance(changed, tuple) and all(g is None for g in changed)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        "for all gradients."
                    )
        return self.outputs.pick(grad_outputs)

    def _backward_of_inputs(self, grads: Any) -> Any:
        grad_outputs, self.grad_outputs = self.grad_outputs, None
        if grad_outputs is None:  # the gradient did not come through this module's outputs
            return grads
        grad_inputs = self.inputs.spread(grads)
        for hook in self.hooks:
            grad_inputs = _replaced(grad_inputs, hook(self.module, grad_inputs, grad_outputs), "hook", "grad_input")
        return self.inputs.pick(grad_inputs)


def _replaced(grads: tuple[Any, ...], changed: Any, kind: str, what: str) -> tuple[Any, ...]:
    """The gradients after a hook: those that it returned, if any."""
    if changed is None:
        return grads
    changed = tuple(changed) if isinstance(changed, (tuple, list)) else (changed,)
    if len(changed) != len(grads):
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of {what}, got {len(changed)}, but expected {len(grads)}"
        )
    return changed
