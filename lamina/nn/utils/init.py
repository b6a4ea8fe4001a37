"""Modules whose parameters are not initialised."""

from __future__ import annotations

import inspect
from typing import Any

from lamina._dtypes import check_device
from lamina.nn import init
from lamina.nn.modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """Make a module without initialising its parameters: they hold what is in memory, and no random number is drawn.

    Args:
        module_cls (type): a class of modules whose constructor takes ``device`` and fills parameters by ``nn.init`` only.
        args, kwargs: what the constructor takes.

    Raises:
        RuntimeError: not a class of modules, or one whose constructor takes no ``device``.

    >>> nn.utils.skip_init(nn.Linear, 5, 1).weight.shape
    torch.Size([1, 5])
    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    check_device(kwargs.setdefault("device", "cpu"))
    with init.skipped():
        return module_cls(*args, **kwargs)
