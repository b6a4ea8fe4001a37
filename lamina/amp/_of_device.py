"""``torch.cpu.amp`` and ``torch.cuda.amp``: the older names, with the device in them."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType
from typing import Any

from lamina import _dtypes
from lamina.amp import autocast_mode, grad_scaler


def module_of(device: str) -> ModuleType:
    """The module ``<device>.amp``."""
    half = _dtypes.bfloat16 if device == "cpu" else _dtypes.float16

    def old(name: str) -> None:
        warnings.warn(
            f"`torch.{device}.amp.{name}(args...)` is deprecated. Please use `torch.amp.{name}('{device}', args...)` instead.",
            FutureWarning, stacklevel=3,
        )  # fmt: skip

    class autocast(autocast_mode.autocast):
        def __init__(self, enabled: bool = True, dtype: Any = half, cache_enabled: bool = True) -> None:
            old("autocast")
            super().__init__(device, dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)

    class GradScaler(grad_scaler.GradScaler):
        def __init__(
            self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
            growth_interval: int = 2000, enabled: bool = True,
        ) -> None:  # fmt: skip
            old("GradScaler")
            super().__init__(device, init_scale, growth_factor, backoff_factor, growth_interval, enabled)

    made: Any = ModuleType(f"lamina.{device}.amp", f"The older names of mixed precision on {device}.")
    made.autocast, made.GradScaler = autocast, GradScaler
    for kind in (autocast, GradScaler):
        kind.__module__, kind.__doc__ = made.__name__, kind.__mro__[1].__doc__
    if device == "cuda":
        made.custom_fwd = functools.partial(autocast_mode.custom_fwd, device_type=device)
        made.custom_bwd = functools.partial(autocast_mode.custom_bwd, device_type=device)
    return made
