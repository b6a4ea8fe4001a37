"""The one door through which every engine call goes.

A :class:`Kernel` has a reference form (NumPy; defines the meaning) and perhaps a fast form (oneDNN; same name, same
signature, same answer). Calling it picks one: the fast form when the first array is large enough and the form does
not decline by returning ``NotImplemented``. What ran is counted, so a test or a log can tell a fallback from a fast call.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

NEVER = 1 << 62  # a size that no array reaches


def fast(min_size: int = 0) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as the fast form of the reference kernel of its name, for arrays of at least ``min_size``."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.min_size = min_size  # type: ignore[attr-defined]
        return function

    return mark


def _quiet_context() -> Callable[..., Any]:
    """What runs a function where NumPy does not warn of overflow, division by zero or NaN: PyTorch's results carry them silently.

    NumPy keeps that setting in a context variable, so a context of our own leaves the user's setting alone, and entering
    it costs a tenth of what ``numpy.errstate`` does.
    """
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    return context.run


class _Own(threading.local):
    """A quiet context of each thread."""

    def __init__(self) -> None:
        self.run = _quiet_context()


# A context is in use by one call at a time. All threads share one, as asking for a thread's own costs as much as entering it;
# who finds it taken (by another thread's kernel that works without the GIL) takes his own.
_run = _quiet_context()
_own = _Own()


def _again(error: RuntimeError, function: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> Any:
    """The same call after an error, which is raised again unless it says that the shared context is taken."""
    if "already entered" not in str(error):
        raise error
    try:
        return _own.run(function, *args, **kwargs)
    except RuntimeError as second:
        if "already entered" not in str(second):
            raise
    with np.errstate(all="ignore"):  # in a finaliser or signal handler in the midst of a kernel
        return function(*args, **kwargs)  # type: ignore[misc]


def quietly(function: Callable[..., Any], *args: Any) -> Any:
    """A call without NumPy's warnings, for arithmetic that is no kernel."""
    try:
        return _run(function, *args)
    except RuntimeError as error:
        return _again(error, function, *args)


class Kernel:
    """One engine operation with its two forms and its counts."""

    __slots__ = ("name", "files", "reference", "fast", "fast_from", "min_size", "fast_calls", "declined", "reference_calls")

    reference: Callable[..., Any]
    fast: Callable[..., Any] | None
    fast_from: int  # where the fast form is quicker: arrays of so many numbers and more
    min_size: int  # where it runs, by the engine in force

    def __init__(self, name: str, reference: str, fast: str | None) -> None:
        self.name, self.files = name, (reference, fast)
        self.fast_calls = self.declined = self.reference_calls = 0

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if x.size >= self.min_size:
            try:
                y = _run(self.fast, x, *args, **kwargs)
            except RuntimeError as error:
                y = _again(error, self.fast, x, *args, **kwargs)
            if y is not NotImplemented:
                self.fast_calls += 1
                return y
            self.declined += 1
        self.reference_calls += 1
        try:
            return _run(self.reference, x, *args, **kwargs)
        except RuntimeError as error:
            return _again(error, self.reference, x, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<kernel {self.name}: {self.fast_calls} fast, {self.reference_calls} reference, {self.declined} declined>"


class Unread(Kernel):
    """A kernel whose forms nobody has asked for: the files that hold them are read then, and it becomes a plain kernel."""

    __slots__ = ()

    def __getattr__(self, form: str) -> Any:  # only reached for what is not set yet
        if form not in ("reference", "fast", "fast_from", "min_size"):
            raise AttributeError(f"a kernel has no {form!r}")
        reference, fast = self.files
        self.reference = getattr(_read("reference", reference), self.name)
        if form == "reference":  # the lanes of few numbers bind it, and may never need the other
            return self.reference
        self.fast = getattr(_read("onednn", fast), self.name) if fast else None
        self.fast_from = self.fast.min_size if fast else NEVER  # type: ignore[union-attr]
        self.min_size = _THRESHOLDS[_engine](self)
        self.__class__ = Kernel  # type: ignore[assignment]
        return getattr(self, form)


def _read(folder: str, file: str) -> Any:
    return importlib.import_module(f"lamina.engine.{folder}.{file}")


class Kernels:
    """All kernels by name, as attributes."""

    def __init__(self) -> None:
        self._all: dict[str, Kernel] = {}

    def register(self, name: str, reference: str, fast: str | None) -> None:
        """Have a kernel by the names of the files that hold its forms."""
        if name in self._all:
            raise ValueError(f"two reference kernels are named {name!r}")
        self._all[name] = kernel = Unread(name, reference, fast)
        setattr(self, name, kernel)

    def __getattr__(self, name: str) -> Any:  # only reached for a name that is not there
        raise AttributeError(f"no engine kernel is named {name!r}")

    def __iter__(self) -> Iterator[Kernel]:
        return iter(self._all.values())


kernels = Kernels()

_THRESHOLDS: dict[str, Callable[[Kernel], int]] = {
    "auto": lambda k: k.fast_from, "onednn": lambda k: 0 if k.fast else NEVER, "reference": lambda k: NEVER,
}  # fmt: skip


def set_engine(name: str) -> None:
    """Use ``"auto"`` (oneDNN where it is faster, NumPy elsewhere), ``"onednn"`` (wherever oneDNN can) or ``"reference"``."""
    if name not in _THRESHOLDS:
        raise ValueError(f"engine must be one of {', '.join(_THRESHOLDS)}, but got {name!r}")
    global _engine
    _engine = name
    for kernel in kernels:
        if type(kernel) is Kernel:  # the others look at it when they are read
            kernel.min_size = _THRESHOLDS[name](kernel)


def get_engine() -> str:
    """The engine in force: ``"auto"``, ``"onednn"`` or ``"reference"``."""
    return _engine


_engine = os.environ.get("LAMINA_ENGINE", "auto") or "auto"


@contextlib.contextmanager
def engine(name: str) -> Iterator[None]:
    """Use an engine for the length of a ``with`` block (all threads)."""
    before = get_engine()
    set_engine(name)
    try:
        yield
    finally:
        set_engine(before)


class Usage(dict):
    """Kernel name → (fast calls, reference calls, declined calls) within an :func:`usage` block."""

    @property
    def engines(self) -> set[str]:
        """The engines that ran: a subset of ``{"onednn", "reference"}``."""
        return {"onednn" for f, _, _ in self.values() if f} | {"reference" for _, r, _ in self.values() if r}


def counts() -> dict[str, tuple[int, int, int]]:
    """Every kernel's (fast, reference, declined) calls since the start."""
    return {k.name: (k.fast_calls, k.reference_calls, k.declined) for k in kernels}


@contextlib.contextmanager
def usage() -> Iterator[Usage]:
    """Count the engine calls of a ``with`` block; the yielded ``Usage`` is filled when the block ends."""
    before, used = counts(), Usage()
    yield used
    for name, after in counts().items():
        delta = tuple(a - b for a, b in zip(after, before[name], strict=True))
        if any(delta):
            used[name] = delta


# Those who must see every call, of operations and of kernels: observers, recorders, inference modes (autograd/express.py).
detours: list[Any] = []

Observer = Callable[[Kernel, tuple, dict, Any], None]
_plain_call = Kernel.__call__
_observers: list[Observer] = []


def _observed_call(self: Kernel, x: Any, *args: Any, **kwargs: Any) -> Any:
    result = _plain_call(self, x, *args, **kwargs)
    for observer in tuple(_observers):
        observer(self, (x, *args), kwargs, result)
    return result


@contextlib.contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Call ``observer(kernel, args, kwargs, result)`` after every engine call of the ``with`` block.

    The door costs nothing for it otherwise: the observing form is swapped in only while somebody observes.
    """
    _observers.append(observer)
    detours.append(observer)
    Kernel.__call__ = _observed_call  # type: ignore[method-assign]
    try:
        yield
    finally:
        _observers.remove(observer)
        detours.remove(observer)
        if not _observers:
            Kernel.__call__ = _plain_call  # type: ignore[method-assign]
