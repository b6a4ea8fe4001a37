"""The layers by family; `lamina.nn` exports them."""

from __future__ import annotations

import importlib

# Each family file names its layers in ``__all__``.
FAMILIES = (
    "module", "container", "linear", "flatten", "activation", "conv", "pooling", "batchnorm", "dropout", "rnn", "loss",
)  # fmt: skip

__all__: list[str] = []
for _family in FAMILIES:
    try:
        _module = importlib.import_module(f"lamina.nn.modules.{_family}")
    except ModuleNotFoundError as _error:  # while the families are being built
        if _error.name != f"lamina.nn.modules.{_family}":
            raise
        continue
    for _name in _module.__all__:
        globals()[_name] = getattr(_module, _name)
    __all__ += _module.__all__
