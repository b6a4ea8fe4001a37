"""Arrays in, arrays out: the engine knows nothing of gradients or layers.

``kernels.<name>(array, ...)`` runs a kernel. The files of ``reference/`` define every kernel in NumPy, those of ``onednn/``
have fast float32 forms of some: a function that is named in a reference file's ``__all__`` is a kernel, and a function of
the same name in the other folder, marked with ``lamina.engine.door.fast``, is its fast form. ``lamina/_index.py`` says
which file has which, and a file is read when one of its kernels is first called.
"""

from __future__ import annotations

import lamina._index as _index
from lamina.engine import door
from lamina.engine.door import counts, engine, get_engine, kernels, observe, set_engine, usage

__all__ = ["counts", "engine", "get_engine", "kernels", "observe", "set_engine", "usage"]


def _register() -> None:
    fast = {name: file for file, names in _index.FAST.items() for name in names.split()}
    for file, names in _index.REFERENCE.items():
        for name in names.split():
            door.kernels.register(name, file, fast.pop(name, None))
    if fast:
        raise RuntimeError(f"fast kernels without a reference form: {sorted(fast)}")
    door.set_engine(door.get_engine())


_register()
