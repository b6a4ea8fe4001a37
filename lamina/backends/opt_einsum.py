"""``torch.backends.opt_einsum``: not used; ``einsum`` has an order of its own, the smallest product first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

enabled = False
strategy: str | None = None


def is_available() -> bool:
    """False: lamina does not use that library."""
    return False


def get_opt_einsum() -> Any:
    """``None``: there is no such module."""
    return None


def set_flags(_enabled: bool | None = None, _strategy: str | None = None) -> tuple[bool, str | None]:
    """The switches as they are, which stay so.

    Raises:
        ValueError: one is to be turned on, which takes what is not there.
    """
    if _enabled or _strategy is not None:
        raise ValueError(
            f"opt_einsum is not available, so that it cannot be used: got enabled={_enabled}, strategy={_strategy!r}"
        )
    return enabled, strategy


@contextlib.contextmanager
def flags(enabled: bool | None = None, strategy: str | None = None) -> Iterator[None]:
    """A block with other switches; see :func:`set_flags`."""
    set_flags(enabled, strategy)
    yield
