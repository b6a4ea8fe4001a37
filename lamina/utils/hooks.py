"""Handles that take a registered hook away again, shared by modules, tensors and optimisers."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["RemovableHandle", "unserializable_hook"]

_F = TypeVar("_F", bound=Callable[..., Any])


class Changes:
    """How often modules were changed: attributes set, tensors, children or hooks put in or taken out (by their methods)."""

    n = 0


changes = Changes()


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away; as a context manager, so does leaving it.

    The handle knows its registry weakly, so that a handle kept for long does not keep a model alive.

    Args:
        hooks_dict (OrderedDict): the registry, which maps `handle.id` to the hook.
        extra_dict (OrderedDict or list of them): further registries with an entry under the same id.
    """

    id: int
    next_id: int = 0

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.hooks_dict_ref: Any = weakref.ref(hooks_dict)
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1
        changes.n += 1
        extras = extra_dict if isinstance(extra_dict, list) else [] if extra_dict is None else [extra_dict]
        self.extra_dict_ref: tuple[Any, ...] = tuple(weakref.ref(d) for d in extras)

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        changes.n += 1
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            registry = ref()
            if registry is not None:
                registry.pop(self.id, None)

    # A deep copy or a pickle of a model carries its registries along; the copied handle must follow the copied
    # registry, hence strong references in the state.
    def __getstate__(self) -> tuple[Any, int, tuple[Any, ...]]:
        return self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref)

    def __setstate__(self, state: tuple[Any, int, tuple[Any, ...]]) -> None:
        registry, self.id, extras = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if registry is None else registry)
        self.extra_dict_ref = tuple(weakref.ref(d) for d in extras if d is not None)
        RemovableHandle.next_id = max(RemovableHandle.next_id, self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(
        self, type: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.remove()


def unserializable_hook(f: _F) -> _F:
    """Mark a tensor hook as one that need not be saved with its tensor, so that saving does not warn about it."""
    f.__torch_unserializable__ = True  # type: ignore[attr-defined]
    return f
