"""Schedules of the learning rate, as in `torch.optim.lr_scheduler`.

A scheduler changes the "lr" of an optimizer's groups as the epochs (or steps) go by. Call its `step` after the
optimizer's. Most compute the next rate from the one in force, so that schedulers can be combined and rates changed by
hand on the way; where there is a closed form, it is used when an epoch is given, which PyTorch deprecates.
"""

from __future__ import annotations

from lamina.optim.lr_scheduler._base import (
    EPOCH_DEPRECATION_WARNING,
    LRScheduler,
    _format_param,
    _LRScheduler,
)
from lamina.optim.lr_scheduler._combined import ChainedScheduler, SequentialLR
from lamina.optim.lr_scheduler._cycles import CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from lamina.optim.lr_scheduler._factors import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from lamina.optim.lr_scheduler._plateau import ReduceLROnPlateau

__all__ = [
    "LambdaLR", "MultiplicativeLR", "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "SequentialLR",
    "CosineAnnealingLR", "ChainedScheduler", "ReduceLROnPlateau", "CyclicLR", "CosineAnnealingWarmRestarts", "OneCycleLR",
    "PolynomialLR", "LRScheduler",
]  # fmt: skip

# Reached by name, as PyTorch's are, but no part of `import *`.
_OTHERS = (EPOCH_DEPRECATION_WARNING, _LRScheduler, _format_param)
