"""``lamina.compile``: a call is recorded once for each kind of arguments, and replayed without Python's overhead.

    model = lamina.compile(model)          # a module, whose calls train and infer as before
    step = lamina.compile(step)            # or a function: a whole training step, with backward() and the optimizer

The first call with arguments of some shapes, dtypes and settings runs as ever, watched
(:mod:`~lamina.compiler.record`). What it did is written out as one Python function over plain arrays
(:mod:`~lamina.compiler.program`), in which common operations take a short form (:mod:`~lamina.compiler.lower`), batch norms
and what else follows a convolution are part of it (:mod:`~lamina.compiler.fuse`), and memory is let go after its last use.
Later calls run that function if all that the first one depended on is unchanged (:mod:`~lamina.compiler.guards`).

What is true of a replay:

* Parameters and buffers are read and written in place: a changed weight, a loaded checkpoint, a schedule's learning rate
  are seen. Random numbers are drawn anew, from the same generators in the same order.
* ``model.train()`` and ``eval()``, another shape, a replaced parameter or a changed attribute of a module record anew.
* Where Python looks at a tensor's numbers (``if loss > 1``, ``item()``), or numbers are computed outside of lamina
  (NumPy), the call cannot be recorded: it runs eagerly, with a warning that says why and where, or raises with
  ``fullgraph=True``.
* What Python does besides (printing, appending to a list) is done by the recorded call only.
* Gradients of gradients, hooks on gradients and custom ``autograd.Function`` are not compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lamina.autograd.graph import mode as _mode

__all__ = ["compile", "disable", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends", "reset"]


def compile(  # noqa: A001
    model: Callable[..., Any] | None = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "inductor",
    mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """A faster form of a module or function that computes the same.

    Args:
        model (Module or callable, optional): a module, a function of tensors, or a training step. Without it a decorator is
            returned.
        fullgraph (bool): whether a call that cannot be recorded raises ``RuntimeError`` rather than run eagerly with a
            warning. Default: False.
        dynamic (bool, optional): accepted for PyTorch's sake; every shape is recorded for itself.
        backend (str or callable): "inductor", PyTorch's default, and "lamina" mean the compiler described here, "eager"
            none.
        mode (str, optional): one of PyTorch's modes ("default", "reduce-overhead", "max-autotune",
            "max-autotune-no-cudagraphs"), which make no difference here.
        options (dict, optional): accepted for PyTorch's sake; must not be given together with ``mode``.
        disable (bool): whether ``model`` is returned as it is. Default: False.

    Returns:
        For a module, one that calls it, with the same parameters (their names begin with ``_orig_mod.``, as in PyTorch); for
        a function, a function.

    Raises:
        RuntimeError: a call that cannot be recorded, with ``fullgraph``; both ``mode`` and ``options``; an unknown mode or
            backend.
        TypeError: something that cannot be called.

    >>> @lamina.compile
    ... def f(x, y):
    ...     return lamina.sin(x) + lamina.cos(y)
    >>> f(lamina.zeros(2), lamina.zeros(2))
    tensor([1., 1.])
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if mode not in (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"):
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: default, reduce-overhead, max-autotune, "
                           "max-autotune-no-cudagraphs")  # fmt: skip
    if not callable(backend) and backend not in ("inductor", "lamina", "eager", "aot_eager"):
        raise RuntimeError(f"Invalid backend: {backend!r}, should be one of: {', '.join(list_backends())}")
    if callable(backend):
        raise RuntimeError("lamina.compile has no graphs of PyTorch's kind, so a backend of one's own cannot be called")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if not callable(model):
        raise TypeError(f"lamina.compile needs a module or a function, but got {type(model).__name__}")
    if disable or backend in ("eager", "aot_eager"):
        return model
    from lamina.compiler.compiled import Compiled, OptimizedModule
    from lamina.nn import Module

    if isinstance(model, (Compiled, OptimizedModule)):
        return model
    return OptimizedModule(model, fullgraph) if isinstance(model, Module) else Compiled(model, None, fullgraph)


def disable(fn: Callable[..., Any] | None = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """A form of a function within which nothing is compiled; compiled functions that it calls run eagerly."""
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)
    from lamina.compiler.compiled import state
    from lamina.compiler.record import active

    @functools.wraps(fn)
    def eager(*args: Any, **kwargs: Any) -> Any:
        recorder = active()
        if recorder is not None:
            recorder.refuse(f"{getattr(fn, '__name__', 'a function')} is not to be compiled{f' ({reason})' if reason else ''}")
        state.disabled += 1
        try:
            return fn(*args, **kwargs)
        finally:
            state.disabled -= 1

    return eager


def is_compiling() -> bool:
    """Whether a call is being recorded by :func:`lamina.compile` at this moment."""
    return _mode.recorder is not None


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """Whether a module is being exported: never, as there is no export."""
    return False


def list_backends(exclude_tags: tuple[str, ...] = ()) -> list[str]:
    """The names that ``backend`` of :func:`compile` takes."""
    return ["eager", "inductor", "lamina"]


def reset() -> None:
    """Forget all programs of all compiled functions."""
    from lamina.compiler.compiled import Compiled

    for compiled in list(Compiled.living):
        compiled.entries.clear()
