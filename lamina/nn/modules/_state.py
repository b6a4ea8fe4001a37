"""Saving a module's state to a dict and loading it back: the state-dict half of `Module`."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.nn.parameter import Parameter, is_lazy
from lamina.utils._objects import as_own_tensor
from lamina.utils.hooks import RemovableHandle

if TYPE_CHECKING:
    from lamina.nn.modules.module import Module

_EXTRA_STATE_KEY = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class _WrappedHook:
    """A hook that gets its module first. It knows the module weakly, since the module owns the hook."""

    def __init__(self, hook: Callable[..., Any], module: Module | None = None) -> None:
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if module is not None:
            self.module = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hook = state["hook"]
        self.with_module = state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


class _Snapshot:
    """What a module tree holds, so that a failed load can be undone."""

    def __init__(self, root: Module) -> None:
        stores: list[dict[str, Any]] = [s for m in root.modules() for s in (m._parameters, m._buffers)]
        self.stores = [(store, dict(store)) for store in stores]
        tensors = {id(t): t for store, _ in self.stores for t in store.values() if t is not None and not is_lazy(t)}
        self.values = [(t, t.detach().clone()) for t in tensors.values()]

    def restore(self) -> None:
        for store, entries in self.stores:
            store.clear()
            store.update(entries)
        with no_grad():
            for tensor, value in self.values:
                tensor.copy_(value)


class StateMethods:
    """The methods of `Module` that save and load its state."""

    _version: int
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent_buffers_set: set[str]
    _modules: dict[str, Module | None]
    _state_dict_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_post_hooks: OrderedDict[int, Callable[..., Any]]

    # -- hooks -----------------------------------------------------------------------------------------------

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError(
                "Cannot register the same function as the state dict post hook that was previously registered "
                "via register_state_dict_post_hook"
            )
        handle = RemovableHandle(self._state_dict_hooks)
        self._state_dict_hooks[handle.id] = hook
        return handle

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """After `state_dict` has filled a dict, call `hook(module, state_dict, prefix, local_metadata)`.

        The hook may change the dict in place and must return None.
        """
        hook._from_public_api = True  # type: ignore[attr-defined]
        handle = RemovableHandle(self._state_dict_hooks)
        self._state_dict_hooks[handle.id] = hook
        return handle

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Before `state_dict` collects, call `hook(module, prefix, keep_vars)`."""
        handle = RemovableHandle(self._state_dict_pre_hooks)
        self._state_dict_pre_hooks[handle.id] = hook
        return handle

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        handle = RemovableHandle(self._load_state_dict_pre_hooks)
        owner = self if with_module else None
        self._load_state_dict_pre_hooks[handle.id] = _WrappedHook(hook, owner)  # type: ignore[arg-type]
        return handle

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Before this module loads, call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`, which may change the dict and the lists in place."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """After this module and its children have loaded, call `hook(module, incompatible_keys)`.

        The hook may change the lists `missing_keys` and `unexpected_keys` in place and must return None.
        """
        handle = RemovableHandle(self._load_state_dict_post_hooks)
        self._load_state_dict_post_hooks[handle.id] = hook
        return handle

    # -- extra state -----------------------------------------------------------------------------------------

    def get_extra_state(self) -> Any:
        """Override together with `set_extra_state` to put more than tensors into the state dict."""
        raise RuntimeError(f"{type(self).__name__} does not define get_extra_state()")

    def set_extra_state(self, state: Any) -> None:
        """Override together with `get_extra_state` to take it from a loaded state dict."""
        raise RuntimeError(f"{type(self).__name__} does not define set_extra_state()")

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(StateMethods, name)

    # -- saving ----------------------------------------------------------------------------------------------

    def _persistent_buffers(self) -> dict[str, Tensor | None]:
        left_out = self._non_persistent_buffers_set
        return {k: v for k, v in self._buffers.items() if k not in left_out} if left_out else self._buffers

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for store in (self._parameters, self._persistent_buffers()):
            for name, tensor in store.items():
                if tensor is not None:
                    destination[prefix + name] = tensor if keep_vars else tensor.detach()
        if self._overrides("get_extra_state"):
            destination[prefix + _EXTRA_STATE_KEY] = self.get_extra_state()

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """The parameters and persistent buffers of the whole tree by dotted path, sharing memory with the module.

        Args:
            destination (dict, optional): the dict to fill; a new ordered one with `_metadata` otherwise.
            prefix (str): put before every key.
            keep_vars (bool): whether entries stay attached to the graph instead of being detached.

        >>> list(nn.Linear(2, 1).state_dict())
        ['weight', 'bias']
        """
        if args:
            warnings.warn("state_dict() takes keyword arguments only in future", FutureWarning, stacklevel=2)
            given = dict(zip(("destination", "prefix", "keep_vars"), args, strict=False))
            destination = given.get("destination") if destination is None else destination
            prefix = prefix or given.get("prefix", "")
            keep_vars = keep_vars or given.get("keep_vars", False)
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for pre_hook in self._state_dict_pre_hooks.values():
            pre_hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replacement = hook(self, destination, prefix, local_metadata)
            if replacement is None:
                continue
            if getattr(hook, "_from_public_api", False):
                raise RuntimeError("state_dict post-hook must return None")
            destination = replacement
        return destination

    # -- loading ---------------------------------------------------------------------------------------------

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module's own entries, not its children's; subclasses override it to read older layouts.

        What does not fit is appended to the three lists instead of being raised.
        """
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = {k: v for k, v in (*self._parameters.items(), *self._persistent_buffers().items()) if v is not None}
        with no_grad():
            for name, current in own.items():
                key = prefix + name
                if key in state_dict:
                    message = self._load_tensor(name, key, current, state_dict[key], assign)
                    if message:
                        error_msgs.append(message)
                elif strict:
                    missing_keys.append(key)

        extra_key = prefix + _EXTRA_STATE_KEY
        if self._overrides("set_extra_state"):
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)
        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    name, dot, _ = key[len(prefix) :].partition(".")
                    if name not in (self._modules if dot else own):
                        unexpected_keys.append(key)

    def _load_tensor(self, name: str, key: str, current: Tensor, value: Any, assign: bool) -> str | None:
        """Put `value` into the parameter or buffer `current`, or in its place; returns the complaint, if any."""
        loaded = as_own_tensor(value)
        if loaded is None:
            return (
                f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object from '
                f"checkpoint but received {type(value)}"
            )
        if not is_lazy(current):
            if is_lazy(loaded):
                _ = loaded.shape  # which raises
            if current._a.ndim == 0 and loaded._a.shape == (1,):
                loaded = loaded[0]  # checkpoints from before there were 0-d tensors
            if loaded._a.shape != current._a.shape:
                return (
                    f"size mismatch for {key}: copying a param with shape {loaded.shape} from checkpoint, "
                    f"the shape in current model is {current.shape}."
                )
        try:
            if not assign:
                current.copy_(loaded)
            elif isinstance(current, Parameter):
                if not isinstance(loaded, Parameter):
                    loaded = Parameter(loaded, requires_grad=current.requires_grad)
                setattr(self, name, loaded.requires_grad_(current.requires_grad))
            else:
                setattr(self, name, loaded)
        except Exception as error:
            return (
                f'While copying the parameter named "{key}", whose dimensions in the model are {current.size()} and '
                f"whose dimensions in the checkpoint are {loaded.size()}, an exception occurred : {error.args}."
            )
        return None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Copy parameters and buffers out of `state_dict`; where something does not fit, nothing is changed.

        Args:
            state_dict (Mapping): tensors by dotted path, as `state_dict()` gives them.
            strict (bool): whether a missing or superfluous key is an error.
            assign (bool): whether the tensors of the dict become the module's own, with their dtype, instead of
                being copied into those that are there.

        Returns:
            a named tuple of the lists `missing_keys` and `unexpected_keys`.

        Raises:
            TypeError: `state_dict` is not a mapping.
            RuntimeError: with every mismatch, when there is any.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing_keys: list[str] = []
        unexpected_keys: list[str] = []
        error_msgs: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        entries: Any = OrderedDict(state_dict)  # hooks may change it
        if metadata is not None:
            entries._metadata = metadata
        snapshot = None if self._surely_fits(entries) else _Snapshot(self)  # type: ignore[arg-type]

        def load(module: Any, entries: Any, prefix: str) -> None:
            local_metadata = dict((metadata or {}).get(prefix[:-1], {}))
            if assign:
                local_metadata["assign_to_params_buffers"] = assign
            module._load_from_state_dict(
                entries, prefix, local_metadata, True, missing_keys, unexpected_keys, error_msgs
            )
            below: dict[str, dict[str, Any]] = {}  # the entries of each child
            for key, value in entries.items():
                name, dot, _ = key[len(prefix) :].partition(".")
                if dot:
                    below.setdefault(name, {})[key] = value
            for name, child in module._modules.items():
                if child is not None:
                    load(child, below.get(name, {}), f"{prefix}{name}.")
            keys = _IncompatibleKeys(missing_keys, unexpected_keys)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "a hook registered with register_load_state_dict_post_hook must return None; "
                        "it changes incompatible_keys in place"
                    )

        try:
            load(self, entries, "")
            if strict:
                for kind, keys in (("Unexpected", unexpected_keys), ("Missing", missing_keys)):
                    if keys:
                        listed = ", ".join(f'"{k}"' for k in keys)
                        error_msgs.insert(0, f"{kind} key(s) in state_dict: {listed}. ")
            if error_msgs:
                raise RuntimeError(
                    f"Error(s) in loading state_dict for {type(self).__name__}:\n\t" + "\n\t".join(error_msgs)
                )
        except BaseException:
            if snapshot is not None:
                snapshot.restore()
            raise
        return _IncompatibleKeys(missing_keys, unexpected_keys)

    def _surely_fits(self, entries: Mapping[str, Any]) -> bool:
        """Whether loading can only succeed, so that the copy for undoing it, as large as the model, is not needed."""
        expected = {}
        for path, module in self.named_modules(remove_duplicate=False):  # type: ignore[attr-defined]
            if (
                type(module)._load_from_state_dict is not StateMethods._load_from_state_dict
                or module._load_state_dict_pre_hooks
                or module._load_state_dict_post_hooks
                or module._overrides("set_extra_state")
            ):
                return False
            for name, tensor in (*module._parameters.items(), *module._persistent_buffers().items()):
                if tensor is not None:
                    expected[f"{path}.{name}" if path else name] = tensor
        return expected.keys() == entries.keys() and all(
            isinstance(entries[k], Tensor)
            and not is_lazy(t)
            and not is_lazy(entries[k])
            and entries[k]._a.shape == t._a.shape
            for k, t in expected.items()
        )
