"""Find and load the oneDNN library, once, at the first call that wants it.

Looked at in this order, the first library of version 3.2 or a later 3.x is taken:

1. the folder that ``LAMINA_ONEDNN`` names (and nothing else, if it is set);
2. the ``lib`` folders beside the import path, where the ``onednn-cpu-*`` packages put it (a plain, a
   ``--user`` and a ``--target`` install), then wherever the package's own file list says;
3. the system's, by its plain name.

Without one, a single warning says what is missing, and NumPy serves every call.
"""
from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import NamedTuple

MINIMUM = (3, 2)
PACKAGES = {"linux": "onednn-cpu-gomp", "darwin": "onednn-cpu-iomp", "win32": "onednn-cpu-vcomp"}
PACKAGE = PACKAGES.get(sys.platform, "onednn-cpu-gomp")
NAMES = {
    "linux": ("libdnnl.so.3",),
    "darwin": ("libdnnl.3.dylib", "libdnnl.dylib"),
    "win32": ("dnnl.dll",),
}.get(sys.platform, ("libdnnl.so.3",))
RUNTIMES = {0: "none", 1: "sequential", 2: "OpenMP", 4: "TBB", 8: "threadpool"}


class Library(NamedTuple):
    """A loaded oneDNN: `dll` releases the GIL while it runs, `quick` holds it (for calls of nanoseconds)."""

    dll: ctypes.CDLL
    quick: ctypes.PyDLL
    path: str
    version: tuple[int, int, int]
    runtime: str


class _Version(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int),
        ("hash", ctypes.c_char_p), ("cpu_runtime", ctypes.c_uint), ("gpu_runtime", ctypes.c_uint),
    ]


_lock = threading.Lock()
_tried = False
_library: Library | None = None
_problem: str | None = None


def load() -> Library | None:
    """The library, loaded at the first call; None (after one warning) if there is none to be had."""
    global _tried, _library, _problem
    if _tried:
        return _library
    with _lock:
        if not _tried:
            _library, _problem = _search()
            if _library is None:
                warnings.warn(f"lamina: {_problem}; NumPy serves instead", RuntimeWarning, stacklevel=2)
            _tried = True
    return _library


def loaded() -> bool:
    """Whether a library is in use (asking does not load one)."""
    return _library is not None


def problem() -> str | None:
    """Why there is no library, in one line, once `load` has failed."""
    return _problem


def _search() -> tuple[Library | None, str | None]:
    folder = os.environ.get("LAMINA_ONEDNN")
    tried: list[str] = []
    for path in _in_folder(folder) if folder else _candidates():
        try:
            return _open(path), None
        except OSError as error:
            tried.append(_explain(path, error))
    if folder:
        return None, (tried or [f"LAMINA_ONEDNN={folder} holds none of {', '.join(NAMES)}"])[0]
    # The last name tried is the system's plain one; an earlier file that exists and fails says more.
    reason = tried[0] if len(tried) > 1 else "oneDNN is not installed"
    return None, f"{reason} (pip install {PACKAGE}, or name its folder in LAMINA_ONEDNN)"


def _explain(path: str, error: OSError) -> str:
    text = str(error)
    if "libgomp" in text:
        return f"{path} needs libgomp.so.1, which this system lacks (Debian and Ubuntu: apt install libgomp1)"
    return text if path in text else f"{path}: {text}"


def _in_folder(folder: str) -> list[str]:
    return [path for name in NAMES if os.path.exists(path := os.path.join(folder, name))]


def _candidates() -> Iterator[str]:
    seen: set[str] = set()
    for path in itertools.chain(_beside_import_path(), _in_package()):
        if path not in seen:
            seen.add(path)
            yield path
    if sys.platform != "linux":
        import ctypes.util  # which brings processes and temporary files along

        yield ctypes.util.find_library("dnnl") or ""
    yield from NAMES


def _beside_import_path() -> Iterator[str]:
    # Cheap look before importlib.metadata, which takes tens of milliseconds to import.
    inner = "Library/bin" if sys.platform == "win32" else "lib"
    for root in (sys.prefix, *(entry for entry in sys.path if entry)):
        base = os.path.normpath(root)
        above = os.path.dirname(os.path.dirname(base))
        for folder in (os.path.join(base, inner), above, os.path.join(os.path.dirname(above), inner)):
            yield from (os.path.normpath(path) for path in _in_folder(folder))


def _in_package() -> Iterator[str]:
    from importlib import metadata

    for package in (PACKAGE, *PACKAGES.values()):
        try:
            files = metadata.files(package) or ()
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name in NAMES:
                path = os.path.normpath(str(file.locate()))
                if os.path.exists(path):
                    yield path


def _open(path: str) -> Library:
    if not path:
        raise OSError("no system library")
    with _brief_waits():
        dll = ctypes.CDLL(path)
    try:
        ask = dll.dnnl_version
    except AttributeError:
        raise OSError(f"{path} is not a oneDNN library") from None
    ask.restype = ctypes.POINTER(_Version)
    ask.argtypes = []
    found = ask().contents
    version = (found.major, found.minor, found.patch)
    if version[0] != MINIMUM[0] or version[:2] < MINIMUM:
        raise OSError(f"{path} is oneDNN {'.'.join(map(str, version))}; 3.2 or a later 3.x is needed")
    return Library(dll, ctypes.PyDLL(path), path, version, RUNTIMES.get(found.cpu_runtime, "unknown"))


@contextlib.contextmanager
def _brief_waits() -> Iterator[None]:
    """Have GNU OpenMP, which reads its settings when it is loaded, put idle threads to sleep after some 0.2 ms.

    By default they spin for 15 ms, and any other busy process or thread pool then costs whole time slices. On two
    cores with busy neighbours, a product of 256x512 by 512x512 took (median/mean ms) 16/13 by default, 0.8/2.6 with
    this setting and 3.3/3.4 with a quarter of it, from which on threads sleep between calls and must be woken, and one
    of 32x128 by 128x128 took 0.020/0.39, 0.025/0.16 and 0.15/0.32. NumPy's OpenBLAS, used in turn, waits 0.2 ms at
    most for our threads, instead of 7. On a quiet machine nothing changes. The user's own setting goes first, and the
    environment is left as it was.
    """
    if any(name in os.environ for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "4000"
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]
