"""Writes lamina/_index.py: which file has which name. Run it after a public name came, went or moved:

python tests/write_index.py
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = ROOT / "lamina" / "_index.py"

LATE = ("lamina", "lamina.autograd", "lamina.nn", "lamina.nn.modules", "lamina.optim")  # the packages that end with `later`

HEAD = '''"""Which file has which name, so that a file is read when one of its names is first wanted.

Most programs use few of the layers, operations and kernels, and a file that is not read costs no time when a program starts.
The names are said by the files themselves (``__all__`` of reference kernels, the mark ``fast`` of oneDNN kernels, the
tuples at the end of operations, what a package imports under ``if TYPE_CHECKING``). ``python tests/write_index.py``
gathers them here, and a test compares.
"""

from __future__ import annotations
'''


def modules(package: str) -> Iterator[tuple[str, Any]]:
    """The modules of a package, with their names in it."""
    for info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda i: i.name):
        yield info.name, importlib.import_module(f"{package}.{info.name}")


def table(package: str, names: Callable[[Any], list[str]]) -> dict[str, list[str]]:
    """Module → its names, without the modules that have none."""
    return {name: found for name, module in modules(package) if (found := sorted(set(names(module))))}


def declared(attribute: str) -> Callable[[Any], list[str]]:
    return lambda module: [x if isinstance(x, str) else x.__name__ for x in getattr(module, attribute, ())]


def reference(module: Any) -> list[str]:
    return [n for n in getattr(module, "__all__", ()) if callable(getattr(module, n))]


def fast(module: Any) -> list[str]:
    return [n for n, f in vars(module).items() if hasattr(f, "min_size") and f.__module__ == module.__name__]


def late(package: str) -> dict[str, list[str]]:
    """Module → names that the package imports from it under ``if TYPE_CHECKING``; its own submodules are under its own name."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    found: dict[str, list[str]] = {}
    for branch in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(branch, ast.If) and isinstance(branch.test, ast.Name) and branch.test.id == "TYPE_CHECKING":
            for line in branch.body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    names = [n.name for n in line.names]
                    if names == ["*"]:
                        names = importlib.import_module(line.module).__all__
                    found[line.module] = sorted({*found.get(line.module, ()), *names})
    return dict(sorted(found.items()))


def tables() -> dict[str, tuple[str, dict[str, list[str]]]]:
    """Every table of the index with its comment."""
    return {
        "REFERENCE": ("Kernels: lamina/engine/reference/", table("lamina.engine.reference", reference)),
        "FAST": ("Their fast forms: lamina/engine/onednn/", table("lamina.engine.onednn", fast)),
        "FUNCTIONS": ("Functions of lamina: lamina/ops/", table("lamina.ops", declared("FUNCTIONS"))),
        "METHODS": ("Those that are methods of a tensor", table("lamina.ops", declared("METHODS"))),
        "INPLACE": ("... and have a form name_", table("lamina.ops", declared("INPLACE"))),
        "NN_FUNCTIONS": ("Functions of lamina.nn.functional", table("lamina.ops", declared("NN_FUNCTIONS"))),
    }


def written(entries: dict[str, list[str]], indent: str = "    ") -> str:
    """A table as Python."""
    lines = []
    for module, names in entries.items():
        wrapped = textwrap.wrap(" ".join(names), 110, break_long_words=False, break_on_hyphens=False)
        if len(wrapped) == 1 and len(module) + len(wrapped[0]) < 110:
            lines.append(f'{indent}"{module}": "{wrapped[0]}",\n')
        else:
            parts = "".join(f'{indent}    "{line}{" " if i < len(wrapped) else ""}"\n' for i, line in enumerate(wrapped, 1))
            lines.append(f'{indent}"{module}": (\n{parts}{indent}),\n')
    return "".join(lines)


def text() -> str:
    parts = [HEAD]
    for name, (comment, entries) in tables().items():
        parts.append(f"\n# {comment}\n{name} = {{\n{written(entries)}}}\n")
    parts.append("\n# Names of packages that are imported when they are asked for: package → module → names\nLATER = {\n")
    parts += [f'    "{package}": {{\n{written(late(package), " " * 8)}    }},\n' for package in LATE]
    return "".join(parts) + "}\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")  # that the index is not up to date is why we are here
    FILE.write_text(text(), encoding="utf-8")
