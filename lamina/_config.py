"""What lamina runs on, and how many threads it uses."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from lamina import engine
from lamina.engine import memory
from lamina.engine.onednn import abi, loader, winograd
from lamina.engine.onednn.threads import get_num_threads, set_num_threads

__all__ = ["config", "get_num_threads", "set_num_threads", "show_config"]


def config() -> dict[str, Any]:
    """What :func:`show_config` prints, as a dictionary."""
    library = loader.load() if engine.get_engine() != "reference" else None
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "engine": engine.get_engine(),
        "oneDNN": "not used" if library is None else ".".join(map(str, library.version)),
        "oneDNN library": (loader.problem() or "not loaded") if library is None else library.path,
        "oneDNN threading": "none" if library is None else library.runtime,
        "oneDNN instructions": "none" if library is None else abi.instructions(),
        "Winograd": "not used" if library is None else "on" if winograd.enabled() else "off",
        "threads": get_num_threads(),
        "NumPy": np.__version__,
        "BLAS": f"{blas['name']} {blas['version']}",
        "memory held": f"{memory.held()} of at most {memory.limit()} bytes",
        "Python": platform.python_version(),
        "machine": f"{platform.machine()} {platform.system()}",
    }


def show_config() -> None:
    """Print which engine, libraries and settings are in use, a line each."""
    settings = config()
    width = max(map(len, settings))
    print("\n".join(f"{name.ljust(width)}  {value}" for name, value in settings.items()))
