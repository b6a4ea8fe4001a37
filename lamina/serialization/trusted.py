"""What the caller of ``load`` trusts besides data: classes and functions that a file may name after ``add_safe_globals``.

The list is empty unless somebody fills it. What is on it is called as a file asks, with the file's arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["Trusted", "add_safe_globals", "clear_safe_globals", "get_safe_globals", "look_up", "safe_globals", "trusts"]

_listed: list[Any] = []


class Trusted(NamedTuple):
    """A class or function of the caller's, on the stack of a pickle that names it."""

    name: str
    object: Any


def _name(entry: Any) -> str:
    if isinstance(entry, tuple):
        if len(entry) != 2 or not isinstance(entry[1], str):
            raise ValueError(f"Expected a tuple of 2 items (a class or function, and its name in files), got {entry!r}")
        return entry[1]
    if not hasattr(entry, "__qualname__"):
        raise TypeError(f"a safe global must be a class or function, or a pair of one and its name, got {entry!r}")
    return f"{entry.__module__}.{entry.__qualname__}"


def add_safe_globals(safe_globals: Iterable[Callable[..., Any] | tuple[Callable[..., Any], str]]) -> None:
    """Let the files that are loaded from now on name these classes and functions: only what is safe with any arguments.

    Args:
        safe_globals (list): classes and functions, or pairs of one and the name that files have for it.

    >>> import pathlib
    >>> with lamina.serialization.safe_globals([pathlib.PurePosixPath]):
    ...     lamina.serialization.get_safe_globals()
    [<class 'pathlib.PurePosixPath'>]
    """
    entries = list(safe_globals)
    for entry in entries:
        _name(entry)
    _listed.extend(entry for entry in entries if entry not in _listed)


def get_safe_globals() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What :func:`add_safe_globals` was given."""
    return list(_listed)


def clear_safe_globals() -> None:
    """Trust nothing besides data again."""
    _listed.clear()


@contextmanager
def safe_globals(safe_globals: Iterable[Any]) -> Iterator[None]:
    """:func:`add_safe_globals` in a ``with`` block."""
    before = get_safe_globals()
    try:
        add_safe_globals(safe_globals)
        yield
    finally:
        _listed[:] = before


def look_up(path: str) -> Trusted | None:
    """What the caller trusts under a name."""
    for entry in _listed:
        if _name(entry) == path or _name(entry).replace("builtins.", "__builtin__.") == path:
            return Trusted(path, entry[0] if isinstance(entry, tuple) else entry)
    return None


def trusts(kind: type) -> bool:
    """Whether the caller trusts a class."""
    return any((entry[0] if isinstance(entry, tuple) else entry) is kind for entry in _listed)
