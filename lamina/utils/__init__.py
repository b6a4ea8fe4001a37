"""Helpers beside the layers: datasets and loaders in `data`, hook handles in `hooks`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lamina.utils import hooks

if TYPE_CHECKING:
    from lamina.utils import data

__all__ = ["data", "hooks"]


def __getattr__(name: str) -> Any:
    if name == "data":  # brings multiprocessing along, so it waits until it is wanted
        return importlib.import_module("lamina.utils.data")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
