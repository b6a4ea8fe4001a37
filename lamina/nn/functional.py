"""The layers' functions, as in `torch.nn.functional`: each is written, with its gradient, in a family of `lamina.ops`."""

from __future__ import annotations

from typing import Any

from lamina import ops

__all__ = sorted(ops.NN_FUNCTIONS)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in ops.NN_FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = function = ops.NN_FUNCTIONS[name]
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
