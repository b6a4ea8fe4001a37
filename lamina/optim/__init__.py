"""Optimisers, as in `torch.optim`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina._later import later

if TYPE_CHECKING:  # imported when asked for
    from lamina.optim import (
        adadelta,
        adagrad,
        adam,
        adamax,
        adamw,
        asgd,
        lbfgs,
        lr_scheduler,
        nadam,
        optimizer,
        radam,
        rmsprop,
        rprop,
        sgd,
        sparse_adam,
        swa_utils,
    )
    from lamina.optim._adafactor import Adafactor
    from lamina.optim._muon import Muon
    from lamina.optim._stateless import swap_in_optimizer_params_and_state
    from lamina.optim.adadelta import Adadelta
    from lamina.optim.adagrad import Adagrad
    from lamina.optim.adam import Adam
    from lamina.optim.adamax import Adamax
    from lamina.optim.adamw import AdamW
    from lamina.optim.asgd import ASGD
    from lamina.optim.lbfgs import LBFGS
    from lamina.optim.nadam import NAdam
    from lamina.optim.optimizer import Optimizer
    from lamina.optim.radam import RAdam
    from lamina.optim.rmsprop import RMSprop
    from lamina.optim.rprop import Rprop
    from lamina.optim.sgd import SGD
    from lamina.optim.sparse_adam import SparseAdam

__getattr__, __dir__ = later(globals())

__all__ = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SparseAdam",
    "lr_scheduler",
    "swa_utils",
    "swap_in_optimizer_params_and_state",
]
