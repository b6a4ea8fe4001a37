"""Every differentiable operation, by family: the forward computation with its gradient rule beside it.

A family file ends with tuples of names: ``FUNCTIONS`` (exported as ``lamina.<name>``), ``METHODS`` (also tensor methods),
``INPLACE`` (methods that have a form ``name_``) and ``NN_FUNCTIONS`` (exported by ``lamina.nn.functional``). The tables
below have all of these, and read a family when one of its names is first wanted; ``lamina/_index.py`` says where that is.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lamina._index as _index


class Table(Mapping[str, Callable[..., Any]]):
    """Functions by name, each read with its family when it is first asked for."""

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute
        self._families = {name: family for family, names in getattr(_index, attribute).items() for name in names.split()}
        self._found: dict[str, Callable[..., Any]] = {}

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self._found:
            self._read(self._families[name])
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._families

    def __iter__(self) -> Iterator[str]:
        return iter(self._families)

    def __len__(self) -> int:
        return len(self._families)

    def _read(self, family: str) -> None:
        module = importlib.import_module(f"lamina.ops.{family}")
        for entry in getattr(module, self.attribute):  # a name, or a function that has the name
            name, function = (entry, getattr(module, entry)) if isinstance(entry, str) else (entry.__name__, entry)
            if self._families.get(name) != family:
                warnings.warn(f"lamina/_index.py does not know {name!r} of lamina.ops.{family}", RuntimeWarning, stacklevel=4)
            if self.attribute in ("METHODS", "INPLACE"):  # their first argument is a tensor in any case
                function = getattr(function, "unchecked", function)
            self._found[name] = function


FUNCTIONS = Table("FUNCTIONS")
METHODS = Table("METHODS")
INPLACE = Table("INPLACE")
NN_FUNCTIONS = Table("NN_FUNCTIONS")
__all__ = sorted(FUNCTIONS)  # noqa: PLE0605


def read_all() -> None:
    """Read every family, for those who look at what all of them leave behind."""
    for table in (FUNCTIONS, METHODS, INPLACE, NN_FUNCTIONS):
        dict(table)


def __getattr__(name: str) -> Any:
    if name in FUNCTIONS:
        # Not kept if a family has the name as well: ``lamina.ops.dropout`` is the file, once it is read.
        return globals().setdefault(name, FUNCTIONS[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *FUNCTIONS})
