"""`Dropout`, of elements and of channels, and `AlphaDropout`."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]

_LAW = r":math:`y = m x / (1 - p)`, with :math:`m = 0` with probability `p` and else 1"
_ALPHA_LAW = r""":math:`y = a (m x - \alpha (1 - m)) + a \alpha p`, with :math:`m = 0` with probability `p` and else 1,
    :math:`\alpha = 1.7581` (SELU's limit) and :math:`a = ((1 - p)(1 + p \alpha^2))^{-1/2}`"""


def _doc(summary: str, law: str, shape: str, channels: bool = True, example: str = "") -> str:
    each = ", drawn once for each channel of each example" if channels else ""
    return f"""{summary}

    {law}{each}. In evaluation mode the input is returned as it is.

    Args:
        p (float): probability of being dropped. Default: 0.5.
        inplace (bool): whether the input itself is changed. Default: False.

    Shape:
        input {shape}, output the same.

    Raises:
        ValueError: `p` is not within [0, 1].
    {example}"""


class _DropoutNd(Module):
    """What the dropouts have in common; they differ in the function that they call."""

    __constants__ = ["p", "inplace"]
    p: float
    inplace: bool
    _function: Any

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(
                f"{type(self).__name__}: dropout probability has to be between 0 and 1, but got {p}"
            )
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self)._function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    __doc__ = _doc(
        "Sets elements to zero at random while training (Hinton et al., 2012).",
        _LAW,
        ":math:`(*)`",
        channels=False,
        example="""
    >>> _ = lamina.manual_seed(0)
    >>> nn.Dropout(p=0.2)(lamina.ones(5))
    tensor([0.0000, 1.2500, 1.2500, 0.0000, 1.2500])
    """,
    )
    _function: Any = staticmethod(F.dropout)


_CHANNELS = "Sets whole channels to zero at random while training (Tompson et al., 2015)."


class Dropout1d(_DropoutNd):
    __doc__ = _doc(_CHANNELS, _LAW, ":math:`(N, C, L)` or :math:`(C, L)`")
    _function: Any = staticmethod(F.dropout1d)


class Dropout2d(_DropoutNd):
    __doc__ = _doc(_CHANNELS, _LAW, ":math:`(N, C, H, W)` (or, with a warning, :math:`(N, C, L)`)")
    _function: Any = staticmethod(F.dropout2d)


class Dropout3d(_DropoutNd):
    __doc__ = _doc(_CHANNELS, _LAW, ":math:`(N, C, D, H, W)` or :math:`(C, D, H, W)`")
    _function: Any = staticmethod(F.dropout3d)


class AlphaDropout(_DropoutNd):
    __doc__ = _doc(
        "Dropout for SELU networks: mean 0 and variance 1 stay as they are (Klambauer et al., 2017).",
        _ALPHA_LAW,
        ":math:`(*)`",
        channels=False,
    )
    _function: Any = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_DropoutNd):
    __doc__ = _doc("Alpha dropout of whole channels.", _ALPHA_LAW, ":math:`(N, C, *)`")
    _function: Any = staticmethod(F.feature_alpha_dropout)
