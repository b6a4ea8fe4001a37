"""Optimisers, as in `torch.optim`."""

from __future__ import annotations

from lamina.optim import lr_scheduler, swa_utils
from lamina.optim.adam import Adam, AdamW
from lamina.optim.optimizer import Optimizer
from lamina.optim.sgd import SGD

__all__ = ["Adam", "AdamW", "Optimizer", "SGD", "lr_scheduler", "swa_utils"]
