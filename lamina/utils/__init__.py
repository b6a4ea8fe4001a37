"""Helpers beside the layers: datasets and loaders in `data`, recomputation in `checkpoint`, hook handles in `hooks`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lamina.utils import hooks

if TYPE_CHECKING:
    from lamina.utils import _pytree, checkpoint, data, model_zoo

__all__ = ["checkpoint", "data", "hooks", "model_zoo"]

_LATER = ("_pytree", "checkpoint", "data", "model_zoo")  # some bring much along (multiprocessing), so they wait until wanted


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
