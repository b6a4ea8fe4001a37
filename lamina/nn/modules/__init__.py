"""The layers by family; `lamina.nn` exports them."""

from __future__ import annotations

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

# Each family names its layers. Written out, so that a type checker and an editor see them too.
__all__ = [*module.__all__]
__all__ += container.__all__
__all__ += linear.__all__
__all__ += flatten.__all__
__all__ += activation.__all__
__all__ += attention.__all__
__all__ += piecewise.__all__
__all__ += conv.__all__
__all__ += padding.__all__
__all__ += lazy.__all__
__all__ += shuffle.__all__
__all__ += pooling.__all__
__all__ += upsampling.__all__
__all__ += fold.__all__
__all__ += batchnorm.__all__
__all__ += normalization.__all__
__all__ += instancenorm.__all__
__all__ += dropout.__all__
__all__ += rnn.__all__
__all__ += transformer.__all__
__all__ += distance.__all__
__all__ += sparse.__all__
__all__ += loss.__all__
__all__ += loss_pointwise.__all__
__all__ += loss_margin.__all__
__all__ += adaptive.__all__
