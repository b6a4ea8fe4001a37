"""``torch.jit`` where there is no TorchScript: code runs as Python, as PyTorch's does under ``PYTORCH_JIT=0``.

``script`` and ``trace`` return what they are given, and decorators only leave their marks, so scripted code gives the same
numbers, at Python's speed. What needs a TorchScript program (saving, loading, freezing one) raises and says so.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, Union, get_args, get_origin

from lamina.futures import Future
from lamina.nn.modules.module import Module

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "ScriptFunction", "ScriptModule", "ScriptWarning",
    "TracerWarning", "annotate", "enable_onednn_fusion", "export", "export_opnames", "fork", "freeze", "ignore", "interface",
    "is_scripting", "is_tracing", "isinstance", "load", "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution",
    "save", "script", "script_if_tracing", "script_method", "set_fusion_strategy", "strict_fusion", "trace", "trace_module",
    "unused", "wait",
]  # fmt: skip

_isinstance = isinstance  # the module's own one, below, is another


class Error(RuntimeError):
    """What TorchScript's interpreter raises in PyTorch; never raised here."""


class ScriptWarning(Warning):
    """A warning of PyTorch's script compiler; never given here."""


class TracerWarning(Warning):
    """A warning of PyTorch's tracer; never given here."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing: there are none."""


class ScriptModule(Module):
    """A module as any other: its ``forward`` runs as Python. What :func:`script` returns is not one."""


class ScriptFunction:
    """The type of PyTorch's compiled functions, for ``isinstance``; nothing here is one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise _refusal("a ScriptFunction")


class CompilationUnit:
    """The type of PyTorch's compiled sources, for ``isinstance``; nothing here is one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise _refusal("a CompilationUnit")


class Attribute(NamedTuple):
    """A value with the type that TorchScript should take it for."""

    value: Any
    type: Any


def _refusal(what: str) -> RuntimeError:
    return RuntimeError(
        f"torch.jit: {what} needs a TorchScript program, and lamina has no TorchScript: it runs modules and functions as Python. "
        "Save and load a module's state_dict() instead"
    )


# -- marks ---------------------------------------------------------------------------------------------------------

_IGNORE = "ignore (leave as a call to Python, cannot be torch.jit.save'd)"
_UNUSED = "unused (ignored and replaced with raising of an exception)"
_EXPORT = "export (compile this function even if nothing calls it)"


def _marked(fn: Any, mark: str) -> Any:
    target = fn.fget if _isinstance(fn, property) else fn
    target._torchscript_modifier = mark
    return fn


def unused(fn: Any) -> Any:
    """A mark for TorchScript, of no effect when Python runs the function."""
    return _marked(fn, _UNUSED)


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """A mark for TorchScript, with or without parentheses; of no effect when Python runs the function."""
    if callable(drop):
        return _marked(drop, _IGNORE)
    if not _isinstance(drop, bool):
        raise RuntimeError(f"Argument to @torch.jit.ignore must be a bool or a function but got {drop}")
    dropped = kwargs.pop("drop_on_export", None) or drop
    if dropped:
        warnings.warn("ignore(drop=True) is deprecated in PyTorch: use torch.jit.unused", FutureWarning, stacklevel=2)
    return functools.partial(_marked, mark=_UNUSED if dropped else _IGNORE)


def export(fn: Any) -> Any:
    """A mark for TorchScript, of no effect when Python runs the function."""
    return _marked(fn, _EXPORT)


def interface(obj: Any) -> Any:
    """A mark for TorchScript; returns the class."""
    return obj


def script_method(fn: Any) -> Any:
    """A mark for TorchScript; returns the method."""
    return fn


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def isinstance(obj: Any, target_type: Any) -> bool:  # noqa: A001  # PyTorch's name
    """Whether an object, with everything in it, is of a type such as ``list[int]`` or ``Optional[Tensor]``.

    Raises:
        RuntimeError: a container type without the type of what it contains.
    """
    if _isinstance(target_type, tuple):
        return any(isinstance(obj, t) for t in target_type)
    origin, args = get_origin(target_type), get_args(target_type)
    if origin in (Union, types.UnionType):
        return any(isinstance(obj, t) for t in args)
    if target_type in (list, tuple, dict) or getattr(target_type, "_name", None) in ("List", "Tuple", "Dict") and not args:
        name = getattr(target_type, "__name__", target_type)
        raise RuntimeError(
            f"Attempted to use {name} without a contained type. Please add a contained type, e.g. {name}[int]"
        )
    if origin is None:
        return obj is None if target_type is None else _isinstance(obj, target_type)
    if not _isinstance(obj, origin):
        return False
    if origin is list:
        return all(isinstance(x, args[0]) for x in obj)
    if origin is dict:
        return all(isinstance(k, args[0]) and isinstance(v, args[1]) for k, v in obj.items())
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return all(isinstance(x, args[0]) for x in obj)
        return len(obj) == len(args) and all(map(isinstance, obj, args))
    return True


# -- compilers that leave things as they are -----------------------------------------------------------------------


def is_scripting() -> bool:
    """False: code runs as Python."""
    return False


def is_tracing() -> bool:
    """False: code runs as Python."""
    return False


def script(
    obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None
) -> Any:
    """What it is given: a function, module or class runs as Python (so does PyTorch's under ``PYTORCH_JIT=0``)."""
    return obj


def trace(
    func: Any, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
    _compilation_unit: Any = None, example_kwarg_inputs: Any = None, _store_inputs: bool = True,
) -> Any:  # fmt: skip
    """What it is given, which goes on to follow its Python code rather than one recorded path through it."""
    return func


def trace_module(
    mod: Any, inputs: Any, optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
    _compilation_unit: Any = None, example_inputs_is_kwarg: bool = False, _store_inputs: bool = True,
) -> Any:  # fmt: skip
    """The module, as :func:`trace`."""
    return mod


def script_if_tracing(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function: nothing is ever traced."""
    return fn


_script_if_tracing = script_if_tracing


def save(m: Any, f: Any, _extra_files: Any = None) -> None:
    """Raises RuntimeError: there is no program to save."""
    raise _refusal("jit.save()")


def load(f: Any, map_location: Any = None, _extra_files: Any = None, _restore_shapes: bool = False) -> Any:
    """Raises RuntimeError: a TorchScript file holds a program."""
    raise _refusal("jit.load()")


def freeze(mod: Any, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Any:
    """Raises RuntimeError: there is no program to freeze."""
    raise _refusal("jit.freeze()")


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """Raises RuntimeError: there is no program to optimise."""
    raise _refusal("jit.optimize_for_inference()")


def export_opnames(m: Any) -> Any:
    """Raises RuntimeError: there is no program."""
    raise _refusal("jit.export_opnames()")


# -- switches without effect ---------------------------------------------------------------------------------------


def enable_onednn_fusion(enabled: bool) -> None:
    """Nothing: it is a switch of TorchScript's."""


def onednn_fusion_enabled() -> bool:
    """False: it is a switch of TorchScript's."""
    return False


def set_fusion_strategy(strategy: Any) -> Any:
    """Nothing: it is a switch of TorchScript's."""
    return []


@contextlib.contextmanager
def strict_fusion() -> Iterator[None]:
    """Nothing: it is a switch of TorchScript's."""
    yield


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """Nothing: it is a switch of TorchScript's."""
    yield


# -- tasks ---------------------------------------------------------------------------------------------------------


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
    """Call the function at once and return its result as a future (so does PyTorch outside of TorchScript)."""
    future: Future = Future()
    future.set_result(func(*args, **kwargs))
    return future


def wait(future: Any) -> Any:
    """The result of a future."""
    return future.wait()


_fork, _wait = fork, wait

importlib.import_module("lamina.jit.annotations")  # whose name is also that of a feature of Python's, above
