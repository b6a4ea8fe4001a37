"""`Optimizer`: parameter groups, state, hooks and saving; the rules are in the files beside it.

A step of an optimizer of `_rule.py` (all but `LBFGS`) has two halves, and a caller with gradient arrays of its own may use
them apart::

    fresh = {}                                                    # states that this step makes
    params, grads, states = optimizer._gather(group, fresh)       # checks everything, writes nothing
    hyper = optimizer._hyper(group)                               # the settings, as the kernel takes them
    optimizer.state.update(fresh)
    optimizer._update(params, grads, states, hyper)               # writes: parameters, states, versions

`params` are tensors, `grads` arrays of their shapes and dtypes, in any memory order, and `states` the dicts of
`optimizer.state`. What `_update` does is in place, so the arrays of parameters and states stay where they are from step to
step. Nothing is written before all groups are checked: a step that raises leaves parameters and states as they were.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from lamina import _dtypes as dtypes
from lamina._tensor import Tensor
from lamina.autograd import set_grad_enabled
from lamina.autograd.graph import bump, mode
from lamina.ops.complex import view_as_real
from lamina.utils._objects import as_own_tensor, typename
from lamina.utils.hooks import RemovableHandle

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

StateDict = dict[str, Any]

_global_pre_hooks: OrderedDict[int, Any] = OrderedDict()
_global_post_hooks: OrderedDict[int, Any] = OrderedDict()

_REGISTRIES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class _Required:
    """Stands in `defaults` for a setting that every parameter group must give."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _Required()


def _register(registry: OrderedDict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
    handle = RemovableHandle(registry)
    registry[handle.id] = hook
    if prepend:
        registry.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Before every optimizer's step, call `hook(optimizer, args, kwargs)`; a returned pair replaces the arguments."""
    return _register(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Callable[..., None]) -> RemovableHandle:
    """After every optimizer's step, call `hook(optimizer, args, kwargs)`."""
    return _register(_global_post_hooks, hook)


def _with_hooks(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` between its hooks."""

    @functools.wraps(step)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        recorder = mode.recorder
        if recorder is not None and not recorder.depth:
            return recorder.whole(hooked, args, kwargs)
        self = args[0]
        pre, post = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks
        if not (pre or post or _global_pre_hooks or _global_post_hooks):
            return step(*args, **kwargs)
        for hook in (*_global_pre_hooks.values(), *pre.values()):
            changed = hook(self, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"a step pre-hook must return None or a tuple of (new_args, new_kwargs), but got {changed}."
                    )
                args, kwargs = changed
        result = step(*args, **kwargs)
        for hook in (*post.values(), *_global_post_hooks.values()):
            hook(self, args, kwargs)
        return result

    hooked.hooked = True  # type: ignore[attr-defined]
    return hooked


class Optimizer:
    """The base of optimizers: a subclass gives the defaults of its settings and defines `step`.

    Args:
        params (iterable): parameters, or pairs of name and parameter, or dicts with such an iterable under "params"
            and settings of that group's own.
        defaults (dict): the settings of groups that do not give their own.

    Attributes:
        param_groups (list of dict): per group its "params" and settings, which may be changed between steps.
        state (dict): per parameter what the rule keeps, such as momentum.

    Raises:
        TypeError: `params` is a tensor, a set, or holds something that is not a tensor.
        ValueError: no parameters, a non-leaf, or a parameter in two groups.
    """

    defaults: dict[str, Any]
    state: defaultdict[Any, Any]
    param_groups: list[dict[str, Any]]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        for name in _REGISTRIES:
            setattr(self, name, OrderedDict())
        self._patch_step_function()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {typename(params)}"
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def __getstate__(self) -> StateDict:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: StateDict) -> None:
        self.__dict__.update(state)
        for name in _REGISTRIES:
            self.__dict__.setdefault(name, OrderedDict())
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            settings = "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
            text += f"\nParameter Group {i}\n{settings}"
        return text + ")"

    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """The form of a `step` that runs the step hooks."""
        return _with_hooks(func)

    def _patch_step_function(self) -> None:
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = _with_hooks(cls.step)  # type: ignore[method-assign]

    # -- hooks -----------------------------------------------------------------------------------------------

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Before each step, call `hook(optimizer, args, kwargs)`; a returned pair replaces the arguments."""
        return _register(self._optimizer_step_pre_hooks, hook)  # type: ignore[attr-defined]

    def register_step_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """After each step, call `hook(optimizer, args, kwargs)`."""
        return _register(self._optimizer_step_post_hooks, hook)  # type: ignore[attr-defined]

    def register_state_dict_pre_hook(self, hook: Callable[..., None], prepend: bool = False) -> RemovableHandle:
        """Before `state_dict`, call `hook(optimizer)`."""
        return _register(self._optimizer_state_dict_pre_hooks, hook, prepend)  # type: ignore[attr-defined]

    def register_state_dict_post_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """After `state_dict`, call `hook(optimizer, state_dict)`; a returned dict replaces it."""
        return _register(self._optimizer_state_dict_post_hooks, hook, prepend)  # type: ignore[attr-defined]

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Before `load_state_dict`, call `hook(optimizer, state_dict)`; a returned dict replaces it."""
        return _register(self._optimizer_load_state_dict_pre_hooks, hook, prepend)  # type: ignore[attr-defined]

    def register_load_state_dict_post_hook(self, hook: Callable[..., None], prepend: bool = False) -> RemovableHandle:
        """After `load_state_dict`, call `hook(optimizer)`."""
        return _register(self._optimizer_load_state_dict_post_hooks, hook, prepend)  # type: ignore[attr-defined]

    # -- saving and loading ----------------------------------------------------------------------------------

    def state_dict(self) -> StateDict:
        """The state, by the number of the parameter, and the groups with numbers in place of parameters.

        It is laid out as PyTorch's, so that either library continues from the other's.
        """
        for hook in self._optimizer_state_dict_pre_hooks.values():  # type: ignore[attr-defined]
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        start = 0
        for group in self.param_groups:
            for i, p in enumerate(group["params"], start):
                numbers.setdefault(id(p), i)
            start += len(group["params"])
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [numbers[id(p)] for p in group["params"]]
            groups.append(packed)
        state = {numbers[id(k)] if isinstance(k, Tensor) else k: v for k, v in self.state.items()}
        result: StateDict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():  # type: ignore[attr-defined]
            replacement = hook(self, result)
            if replacement is not None:
                result = replacement
        return result

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Continue from what `state_dict()` returned; parameters are matched by their order.

        Raises:
            ValueError: the groups, or the numbers of parameters in them, differ.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():  # type: ignore[attr-defined]
            replacement = hook(self, state_dict)
            if replacement is not None:
                state_dict = replacement
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved)}, but the optimizer has {len(groups)}"
            )
        sizes, saved_sizes = [len(g["params"]) for g in groups], [len(g["params"]) for g in saved]
        if sizes != saved_sizes:
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                f"{saved_sizes}, but the optimizer has {sizes}"
            )
        owners: dict[Any, tuple[Any, StateDict]] = {}  # key → parameter and saved settings
        for group, old in zip(groups, saved, strict=True):
            owners.update((key, (p, old)) for key, p in zip(old["params"], group["params"], strict=True))
        state: defaultdict[Any, Any] = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in owners:
                param, settings = owners[key]
                state[param] = _fitted(param, value, settings)
            else:
                state[key] = value
        for group, old in zip(groups, saved, strict=True):
            old["params"] = group["params"]
            if "param_names" in group:
                old.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():  # type: ignore[attr-defined]
            hook(self)

    # -- use -------------------------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zero where `set_to_none` is False."""
        for group in self.param_groups:
            for p in group["params"]:
                grad = p._grad
                if grad is None:
                    continue
                if set_to_none:
                    p._grad = None
                else:
                    if grad.is_sparse:
                        grad.zero_()
                        continue
                    if grad.grad_fn is not None:
                        grad.detach_()
                    else:
                        grad.requires_grad_(False)
                    grad._a.fill(0)
                    bump(grad)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters by their gradients; returns what `closure`, if given, returned."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with settings of their own, to those that are optimized.

        Args:
            param_group (dict): "params" and any settings; the others are the optimizer's defaults.

        Raises:
            TypeError: not a dict, parameters in a set, or something that is not a tensor.
            ValueError: a non-leaf, a parameter that is in a group already, a required setting that is missing, or
                names for some parameters only.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        if names and len(names) != len(params):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"optimizer can only optimize Tensors, but one of the params is {typename(p)}")
            if not (self.defaults.get("differentiable") or p.is_leaf or p.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        missing = [k for k, v in self.defaults.items() if v is required and k not in param_group]
        if missing:
            raise ValueError(
                f"parameter group didn't specify a value of required optimization parameter {missing[0]}"
            )
        mine = {id(p) for p in params}
        if len(mine) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters, which will be an error in future",
                stacklevel=3,
            )
        for group in self.param_groups:
            if ("param_names" in group) != bool(names or "param_names" in param_group):
                kind = "without names" if "param_names" in group else "with names"
                raise ValueError(
                    "all optimizer param groups should be with/without names. "
                    f"cannot add param group {kind} to the optimizer"
                )
            if any(id(p) in mine for p in group["params"]):
                raise ValueError("some parameters appear in more than one parameter group")
        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for key, value in self.defaults.items():
            param_group.setdefault(key, value)
        self.param_groups.append(param_group)


def _fitted(param: Any, value: Any, settings: dict[str, Any], key: Any = None) -> Any:
    """A loaded state value in the dtype that the parameter's rule works with."""
    tensor = as_own_tensor(value)
    if tensor is not None:
        if key == "step":
            return tensor.to(dtypes.float32) if settings.get("capturable") or settings.get("fused") else tensor
        return tensor.to(param.dtype) if param.is_floating_point() else tensor
    if isinstance(value, dict):
        return {k: _fitted(param, v, settings, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return type(value)(_fitted(param, v, settings) for v in value)  # type: ignore[call-arg]
    return value


# -- for the rules -------------------------------------------------------------------------------------------------


def run_closure(closure: Callable[[], Any] | None) -> Any:
    """The loss that a step's closure computes, with gradients recorded."""
    if closure is None:
        return None
    with set_grad_enabled(True):
        return closure()


def scalar(x: Any) -> Any:
    """A setting as a Python number; it may be a tensor of one element."""
    return x.item() if isinstance(x, Tensor) else x


def number(x: Any) -> float:
    """A setting as a float; raises `TypeError` or `ValueError` if it is none."""
    return float(x.item() if isinstance(x, Tensor) else x)


def check_one_element(**settings: Any) -> None:
    """Raise `ValueError` for a setting that is a tensor of several elements."""
    for name, value in settings.items():
        if isinstance(value, Tensor) and value.numel() != 1:
            raise ValueError(f"Tensor {name} must be 1-element, but it has {value.numel()}")


def check_at_least_zero(**settings: Any) -> None:
    """Raise `ValueError` for a setting that is negative or NaN; double underscores in names become spaces."""
    for name, value in settings.items():
        if not 0.0 <= value:
            raise ValueError(f"Invalid {name.replace('__', ' ')}: {value}")


def check_betas(betas: Any) -> None:
    """Raise `ValueError` for a beta outside of [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= scalar(beta) < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")


def check_one_implementation(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raise `RuntimeError` for choices of PyTorch's implementations that exclude each other."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


# -- names that optimizers written for PyTorch import --------------------------------------------------------------

ParamsT = Any  # an iterable of tensors, of pairs of name and tensor, or of groups
_to_scalar = _get_value = scalar

_params_doc = "params (iterable): parameters, pairs of name and parameter, or parameter groups."
_foreach_doc = "foreach (bool, optional): PyTorch's choice of an implementation; here there is one."
_fused_doc = "fused (bool, optional): PyTorch's choice of an implementation; here there is one."
_capturable_doc = "capturable (bool, optional): for graphs of accelerators; a step on the CPU raises. Default: False."
_differentiable_doc = "differentiable (bool, optional): whether the step itself is recorded for gradients. Default: False."
_maximize_doc = "maximize (bool, optional): whether the objective is to grow. Default: False."


def _get_scalar_dtype(is_fused: bool | None = None) -> dtypes.dtype:
    """The dtype in which counts of steps are kept."""
    wide = not is_fused and dtypes.get_default_dtype() is dtypes.float64
    return dtypes.float64 if wide else dtypes.float32


def _default_to_fused_or_foreach(
    params: list[Any], differentiable: bool, use_fused: bool = False
) -> tuple[bool, bool]:
    """PyTorch's choice (fused, foreach) for parameters on the CPU: fused if that is asked for, and never foreach."""
    if differentiable or not use_fused:
        return False, False
    return all(p is None or p.is_floating_point() for p in params), False


def _use_grad_for_differentiable(func: Callable[..., Any]) -> Callable[..., Any]:
    """A `step` that is recorded if the optimizer is differentiable, and only then."""

    @functools.wraps(func)
    def step(*args: Any, **kwargs: Any) -> Any:
        with set_grad_enabled(args[0].defaults["differentiable"]):
            return func(*args, **kwargs)

    return step


def _view_as_real(params: list[Any], *state_and_grads: list[Any]) -> None:
    """Replace complex parameters, and what belongs to them, by their real and imaginary parts."""
    for i, p in enumerate(params):
        if p.is_complex():
            for values in (params, *state_and_grads):
                values[i] = view_as_real(values[i])
