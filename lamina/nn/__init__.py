"""Layers, losses and containers, as in `torch.nn`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina._later import later
from lamina.nn import functional, modules, parameter
from lamina.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

if TYPE_CHECKING:  # imported when asked for
    from lamina.nn import attention, init, parallel, quantized, utils

    # A type checker does not follow a star through two packages, so this one names the families again.
    from lamina.nn.modules.activation import *  # noqa: F403
    from lamina.nn.modules.adaptive import *  # noqa: F403
    from lamina.nn.modules.attention import *  # noqa: F403
    from lamina.nn.modules.batchnorm import *  # noqa: F403
    from lamina.nn.modules.container import *  # noqa: F403
    from lamina.nn.modules.conv import *  # noqa: F403
    from lamina.nn.modules.distance import *  # noqa: F403
    from lamina.nn.modules.dropout import *  # noqa: F403
    from lamina.nn.modules.flatten import *  # noqa: F403
    from lamina.nn.modules.fold import *  # noqa: F403
    from lamina.nn.modules.instancenorm import *  # noqa: F403
    from lamina.nn.modules.lazy import *  # noqa: F403
    from lamina.nn.modules.linear import *  # noqa: F403
    from lamina.nn.modules.loss import *  # noqa: F403
    from lamina.nn.modules.loss_margin import *  # noqa: F403
    from lamina.nn.modules.loss_pointwise import *  # noqa: F403
    from lamina.nn.modules.module import *  # noqa: F403
    from lamina.nn.modules.normalization import *  # noqa: F403
    from lamina.nn.modules.padding import *  # noqa: F403
    from lamina.nn.modules.piecewise import *  # noqa: F403
    from lamina.nn.modules.pooling import *  # noqa: F403
    from lamina.nn.modules.rnn import *  # noqa: F403
    from lamina.nn.modules.shuffle import *  # noqa: F403
    from lamina.nn.modules.sparse import *  # noqa: F403
    from lamina.nn.modules.transformer import *  # noqa: F403
    from lamina.nn.modules.upsampling import *  # noqa: F403
    from lamina.nn.parallel import DataParallel

__getattr__, __dir__ = later(globals())

__all__ = [
    *modules.__all__,
    "Buffer",
    "DataParallel",
    "Parameter",
    "UninitializedBuffer",
    "UninitializedParameter",
    "attention",
    "functional",
    "init",
    "modules",
    "parallel",
    "parameter",
    "quantized",
    "utils",
]
