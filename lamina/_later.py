"""Names that are imported when they are first asked for.

A package writes such imports under ``if TYPE_CHECKING``, where editors and type checkers find them, and ends with
``__getattr__, __dir__ = later(globals())``; the index has the names at run time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import lamina._index as _index


def names_of(package: str) -> dict[str, str]:
    """Every late name of a package with the module to import for it: one of that name in the package is the value itself."""
    table = _index.LATER[package]
    return {
        name: f"{package}.{name}" if module == package else module for module, names in table.items() for name in names.split()
    }


def later(namespace: dict[str, Any], modules: Iterable[str] = ()) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of the package whose global names these are; ``modules`` of it are late as well."""
    package = namespace["__name__"]
    late = names_of(package) | {name: f"{package}.{name}" for name in modules}

    def get(name: str) -> Any:
        if name not in late:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(late[name])
        namespace[name] = value = module if late[name] == f"{package}.{name}" else getattr(module, name)
        return value

    return get, lambda: sorted({*namespace, *late})
