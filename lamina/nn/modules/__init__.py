"""The layers by family; `lamina.nn` exports them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina._later import later, names_of

if TYPE_CHECKING:  # imported when asked for
    from lamina.nn.modules import (
        activation,
        adaptive,
        attention,
        batchnorm,
        container,
        conv,
        distance,
        dropout,
        flatten,
        fold,
        instancenorm,
        lazy,
        linear,
        loss,
        loss_margin,
        loss_pointwise,
        module,
        normalization,
        padding,
        piecewise,
        pooling,
        rnn,
        shuffle,
        sparse,
        transformer,
        upsampling,
        utils,
    )
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

__getattr__, __dir__ = later(globals())
__all__ = [name for name, module in names_of(__name__).items() if module != f"{__name__}.{name}"]  # noqa: PLE0605
