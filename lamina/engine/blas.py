"""NumPy's BLAS beside oneDNN: two pools of threads that must not run against each other.

OpenBLAS keeps its threads awake for a while after a product, and OpenMP does the same after a oneDNN call.
Used in turn on few cores, each waits for the other's threads to lose their time slice: 57 us of products
and activations were seen to take 7000. What is done about it, chosen by measurement:

- oneDNN's OpenMP is told to sleep after 0.2 ms without work (`GOMP_SPINCOUNT`, see onednn/loader.py). That changes
  nothing in a row of calls, tames the case of another busy process too, and leaves the user's own NumPy as it is.
- lamina's own large float32 products run on oneDNN, and the few that NumPy must do run within `one_thread()`, which
  sets OpenBLAS to one thread for just that call: no waiting at all.

Float64 products keep all of OpenBLAS's threads: no oneDNN call stands between them.
"""
from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import os
import sys
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import numpy as np

from lamina.engine.onednn import loader

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "")


class _OneThread:
    """Holds OpenBLAS at one thread while any Python thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 0
        self._calls: Any = None

    def __enter__(self) -> None:
        calls = self._calls
        if calls is None:
            calls = self._calls = _find() or False
        if not calls:
            return
        get, put = calls
        with self._lock:
            # Only the first in and the last out touch the setting, else the last would restore the first's 1.
            if not self._inside:
                self._before = get()
                if self._before > 1:
                    put(1)
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        if not self._calls:
            return
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before > 1:
                self._calls[1](self._before)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._inside and self._before > 1:
            self._calls[1](self._before)
        self._inside = 0


_one_thread = _OneThread()


_no_change = contextlib.nullcontext()


def one_thread() -> AbstractContextManager[None]:
    """A context in which NumPy's OpenBLAS uses one thread; nothing changes while oneDNN is not in use."""
    return _one_thread if loader.loaded() else _no_change


def threads() -> int | None:
    """The number of threads that NumPy's OpenBLAS uses; None if NumPy has another BLAS."""
    calls = _find()
    return None if calls is None else calls[0]()


def _find() -> tuple[Any, Any] | None:
    for library in _libraries():
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                try:
                    get = getattr(library, f"{prefix}_get_num_threads{suffix}")
                    put = getattr(library, f"{prefix}_set_num_threads{suffix}")
                except AttributeError:
                    continue
                get.argtypes, get.restype = [], ctypes.c_int
                put.argtypes, put.restype = [ctypes.c_int], None
                return get, put
    return None


def _libraries() -> list[ctypes.PyDLL]:
    """Handles through which the BLAS that NumPy has loaded can be asked (nothing new is loaded)."""
    paths = [np.linalg._umath_linalg.__file__]      # its handle also finds the symbols of what it depends on
    if sys.platform == "win32":                     # except there
        folder = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "numpy.libs")
        paths = [entry.path for entry in os.scandir(folder) if fnmatch.fnmatch(entry.name, "*openblas*.dll")]
    found = []
    for path in paths:
        try:
            found.append(ctypes.PyDLL(path))
        except OSError:
            continue
    return found


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread._after_fork)
