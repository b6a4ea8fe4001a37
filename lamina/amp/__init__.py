"""Mixed precision: ``autocast`` chooses what is computed in half precision, ``GradScaler`` keeps gradients representable."""

from __future__ import annotations

from lamina.amp.autocast_mode import autocast, custom_bwd, custom_fwd, is_autocast_available
from lamina.amp.grad_scaler import GradScaler

__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]
