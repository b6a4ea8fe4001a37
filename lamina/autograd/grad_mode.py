"""Switches for what is recorded: ``no_grad``, ``enable_grad``, ``set_grad_enabled``, ``inference_mode``.

Each is a context manager and a decorator (of functions and of generators), and each is per thread.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from lamina.autograd.graph import mode
from lamina.engine.door import detours


class _Switch:
    """A context manager that is a decorator as well."""

    def _again(self) -> Any:
        return type(self)()

    def __call__(self, function: Any) -> Any:
        again = self._again
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                inner = function(*args, **kwargs)
                value, advance = None, inner.send
                while True:  # the mode holds inside the generator, never between its steps
                    try:
                        with again():
                            item = advance(value)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        value, advance = (yield item), inner.send
                    except GeneratorExit:
                        with again():
                            inner.close()
                        raise
                    except BaseException as error:
                        value, advance = error, inner.throw

            return generator

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with again():
                return function(*args, **kwargs)

        return wrapper


class no_grad(_Switch):  # noqa: N801
    """Record no operations: results require no gradient."""

    enabled = False

    def __new__(cls, function: Any = None) -> Any:
        self = object.__new__(cls)
        return self if function is None else self(function)

    def __init__(self, function: Any = None) -> None:
        pass

    def __enter__(self) -> None:
        self.before = mode.enabled
        mode.enabled = self.enabled

    def __exit__(self, *exc: Any) -> None:
        mode.enabled = self.before


class enable_grad(no_grad):  # noqa: N801
    """Record operations, also inside a ``no_grad`` block."""

    enabled = True


class set_grad_enabled(_Switch):  # noqa: N801
    """Record operations or not, as the argument says; acts at once, and until the end of a ``with`` block if used as one."""

    def __init__(self, mode: bool) -> None:
        if not isinstance(mode, bool):
            raise TypeError(f"set_grad_enabled(): argument 'enabled' (position 1) must be bool, not {type(mode).__name__}")
        self.wanted = mode
        self.before = _swap(self.wanted)

    def _again(self) -> Any:
        return set_grad_enabled(self.wanted)

    def __call__(self, function: Any) -> Any:
        _swap(self.before)
        return super().__call__(function)

    def __enter__(self) -> None:
        _swap(self.wanted)

    def __exit__(self, *exc: Any) -> None:
        _swap(self.before)


def _swap(enabled: bool) -> bool:
    before, mode.enabled = mode.enabled, enabled
    return before


class inference_mode(_Switch):  # noqa: N801
    """Like ``no_grad``, and tensors made inside may never be saved for a gradient."""

    wanted: bool

    def __new__(cls, mode: Any = True) -> Any:
        self = object.__new__(cls)
        if isinstance(mode, bool):
            self.wanted = mode
            return self
        self.wanted = True
        return self(mode)

    def __init__(self, mode: Any = True) -> None:
        pass

    def _again(self) -> Any:
        return inference_mode(self.wanted)

    def __enter__(self) -> None:
        self.before = mode.enabled, mode.inference
        mode.enabled, mode.inference = not self.wanted, self.wanted
        detours.append(self)

    def __exit__(self, *exc: Any) -> None:
        detours.remove(self)
        mode.enabled, mode.inference = self.before


def is_grad_enabled() -> bool:
    """Whether operations are recorded on this thread."""
    return mode.enabled


def is_inference_mode_enabled() -> bool:
    """Whether this thread is in inference mode."""
    return mode.inference
