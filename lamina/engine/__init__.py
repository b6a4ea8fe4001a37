"""Arrays in, arrays out: the engine knows nothing of gradients or layers.

``kernels.<name>(array, ...)`` runs a kernel. The families below are the files of ``reference/`` (a NumPy definition of
every kernel) and of ``onednn/`` (fast float32 forms of some); a public function in the one is a kernel, and a function
of the same name in the other, marked with ``lamina.engine.door.fast``, is its fast form.
"""

from __future__ import annotations

import importlib
import pkgutil

from lamina.engine import door, onednn, reference
from lamina.engine.door import counts, engine, get_engine, kernels, observe, set_engine, usage

__all__ = ["counts", "engine", "get_engine", "kernels", "observe", "set_engine", "usage"]


def _functions(package, wanted):
    """The functions of a package's modules for which ``wanted(module, name, function)`` holds, by name."""
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for name, value in vars(module).items():
            if callable(value) and wanted(module, name, value):
                found[name] = value
    return found


def _load() -> None:
    fast = _functions(onednn, lambda module, name, f: hasattr(f, "min_size"))
    for name, function in _functions(reference, lambda module, name, f: name in getattr(module, "__all__", ())).items():
        door.kernels.register(name, function, fast.pop(name, None))
    if fast:
        raise RuntimeError(f"fast kernels without a reference form: {sorted(fast)}")
    door.set_engine(door.get_engine())


_load()
