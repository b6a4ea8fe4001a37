"""``torch.cpu.amp``: autocast and GradScaler under their older names."""

from __future__ import annotations

from lamina.amp._of_device import module_of

_made = module_of("cpu")
autocast, GradScaler = _made.autocast, _made.GradScaler

__all__ = ["GradScaler", "autocast"]
