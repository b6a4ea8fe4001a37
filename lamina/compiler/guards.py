"""Guards: what a recorded call depended on besides its arguments, checked before each replay.

Python is not watched, so a program is only as true as these: the attributes of the modules that the function reaches
(their numbers and flags, parameters, buffers, children and hooks), and the plain values of its closure and globals.

A module's attributes are many and change by ``Module.__setattr__``, which counts (``utils.hooks.changes``): while the count
stands still, they are not looked at. What can change without it is looked at each time: parameters, buffers and children, which
are often put into their dictionaries directly.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from itertools import chain
from operator import is_
from typing import Any

from lamina._tensor import Tensor
from lamina.nn.modules.module import Module
from lamina.utils.hooks import changes

_PLAIN = (int, float, bool, str, type(None))


def same(x: Any, y: Any) -> bool:
    """Whether two plain values are the same to every computation: 1 is not 1.0, 0.0 is not -0.0, NaN is NaN."""
    return type(x) is type(y) and repr(x) == repr(y)


class Guards:
    """A check, made of the state that is reachable from a function when it is recorded."""

    def __init__(self, function: Any) -> None:
        self.terms: list[str] = []  # looked at before each replay
        self.counted: list[str] = []  # looked at when modules have changed
        self.stores: list[Any] = []  # the dictionaries of parameters, buffers and children: their values, and what those were
        self.content: list[Any] = []
        self.names: dict[str, Any] = {"same": same}
        self.seen: set[int] = set()
        self.count = changes.n
        self.reach(function, 0)
        self.always, self.rest = self._check(self.terms), self._check(self.counted)

    def _check(self, terms: list[str]) -> Callable[[], bool]:
        text = " and \\\n    ".join(terms or ["True"])
        return eval(compile(f"lambda: (\n    {text})", "<guards>", "eval"), self.names)

    def holds(self) -> bool:
        """Whether all is as it was."""
        if not self.always() or not all(map(is_, chain.from_iterable(self.stores), self.content)):
            return False
        now = changes.n
        if now != self.count:
            if not self.rest():
                return False
            self.count = now
        return True

    def broken(self) -> str:
        """The first term that does not hold, for a message."""
        for term in (*self.terms, *self.counted):
            if not eval(term, self.names):
                return re.sub(r"\bg\d+", "…", term)
        return ""

    def _name(self, x: Any) -> str:
        name = f"g{len(self.names)}"
        self.names[name] = x
        return name

    def reach(self, x: Any, depth: int) -> None:
        """Guard what ``x`` leads to."""
        if id(x) in self.seen or depth > 6:
            return
        self.seen.add(id(x))
        if isinstance(x, Module):
            self._module(x, depth)
        elif isinstance(x, types.MethodType):
            self.reach(x.__self__, depth + 1)
            self.reach(x.__func__, depth + 1)
        elif isinstance(x, types.FunctionType):
            if x.__module__ is None or not x.__module__.partition(".")[0] == "lamina":
                self._function(x, depth)
        elif isinstance(x, (list, tuple)):
            if isinstance(x, list):
                self.terms.append(f"len({self._name(x)}) == {len(x)}")
            for part in x:
                self.reach(part, depth + 1)
        elif isinstance(x, dict):
            self.terms.append(f"len({self._name(x)}) == {len(x)}")
            for part in x.values():
                self.reach(part, depth + 1)
        elif hasattr(x, "__wrapped__"):
            self.reach(x.__wrapped__, depth + 1)
        elif type(x).__module__.partition(".")[0] not in ("lamina", "builtins", "numpy") and hasattr(x, "__dict__"):
            if not isinstance(x, (type, types.ModuleType)):
                self._attributes(x.__dict__, depth)

    def _module(self, m: Module, depth: int) -> None:
        d = self._name(m.__dict__)
        self._attributes(m.__dict__, depth, d)
        for store in ("_parameters", "_buffers", "_modules"):
            content = m.__dict__[store]
            s = self._name(content)
            self.counted.append(f"{d}.get({store!r}) is {s} and len({s}) == {len(content)}")
            if content:
                self.stores.append(content.values())
                self.content.extend(content.values())
            for key, part in content.items():
                if store != "_buffers" or part is None or isinstance(part, Tensor):
                    self.counted.append(f"{s}.get({key!r}) is {self._name(part)}")
                if isinstance(part, Tensor):
                    self.terms.append(f"{self._name(part)}._requires is {part._requires}")
                if store == "_modules" and part is not None:
                    self.reach(part, depth)
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            registry = m.__dict__.get(hooks)
            if registry is not None:
                self.counted.append(f"len({self._name(registry)}) == {len(registry)}")
        if type(m).__module__.partition(".")[0] != "lamina":
            self.reach(type(m).forward, depth + 1)

    def _attributes(self, content: dict, depth: int, name: str | None = None) -> None:
        """``name`` is that of a module's attributes, changes of which are counted."""
        d = name or self._name(content)
        for key, part in content.items():
            if isinstance(part, _PLAIN) or (isinstance(part, tuple) and all(isinstance(p, _PLAIN) for p in part)):
                self._plain(f"{d}.get({key!r})", part, self.terms if name is None else self.counted)
            elif isinstance(part, (Module, list, types.MethodType)) or callable(part):
                self.reach(part, depth + 1)

    def _plain(self, place: str, x: Any, terms: list[str]) -> None:
        if x is None or x is True or x is False:
            terms.append(f"{place} is {x}")
        else:
            name = self._name(x)
            terms.append(f"({place} is {name} or same({place}, {name}))")

    def _function(self, f: types.FunctionType, depth: int) -> None:
        for cell in f.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                continue
            self._place(f"{self._name(cell)}.cell_contents", content, depth)
        names = set(f.__code__.co_names)
        for code in f.__code__.co_consts:
            if isinstance(code, types.CodeType):
                names |= set(code.co_names)
        for key in names:
            if key in f.__globals__:
                self._place(f"{self._name(f.__globals__)}.get({key!r})", f.__globals__[key], depth)
        for default in (*(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()):
            self.reach(default, depth + 1)

    def _place(self, place: str, content: Any, depth: int) -> None:
        if isinstance(content, _PLAIN):
            self._plain(place, content, self.terms)
        elif isinstance(content, Tensor):
            self.terms.append(f"{place} is {self._name(content)}")
        elif not isinstance(content, (types.ModuleType, type)):
            self.terms.append(f"{place} is {self._name(content)}")
            self.reach(content, depth + 1)


__all__ = ["Guards"]
