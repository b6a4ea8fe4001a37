"""Distances and similarities of vectors."""

from __future__ import annotations

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class PairwiseDistance(Module):
    r"""The distance of two vectors, or of each pair of rows: :math:`\lVert x_1 - x_2 + \varepsilon \rVert_p`.

    Args:
        p (float): the norm's degree; may be negative. Default: 2.0.
        eps (float): :math:`\varepsilon`, added to every difference. Default: 1e-6.
        keepdim (bool): whether the dimension of the vectors stays, with size 1. Default: False.

    Shape: inputs :math:`(N, D)` or :math:`(D)`; output :math:`(N)` or :math:`()`, with `keepdim` :math:`(N, 1)` or
        :math:`(1)`.

    >>> round(nn.PairwiseDistance()(lamina.tensor([3.0, 0.0]), lamina.tensor([0.0, 4.0])).item(), 3)
    5.0
    """

    __constants__ = ["norm", "eps", "keepdim"]
    norm: float
    eps: float
    keepdim: bool

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    r"""The cosine of the angle between vectors: :math:`x_1 \cdot x_2 / (\max(\lVert x_1 \rVert, \varepsilon)
    \max(\lVert x_2 \rVert, \varepsilon))`.

    Args:
        dim (int): the dimension of the vectors. Default: 1.
        eps (float): :math:`\varepsilon`, against a division by zero. Default: 1e-8.

    Shape: inputs :math:`(*_1, D, *_2)`, broadcast against each other, with :math:`D` at `dim`; output
        :math:`(*_1, *_2)`.

    >>> round(nn.CosineSimilarity(dim=0)(lamina.tensor([1.0, 0.0]), lamina.tensor([1.0, 1.0])).item(), 4)
    0.7071
    """

    __constants__ = ["dim", "eps"]
    dim: int
    eps: float

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
