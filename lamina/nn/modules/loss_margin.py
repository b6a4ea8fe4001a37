"""Losses that want a margin: between classes, pairs or triplets."""

from __future__ import annotations

from collections.abc import Callable

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.distance import PairwiseDistance
from lamina.nn.modules.loss import _Loss, _WeightedLoss

__all__ = [
    "CosineEmbeddingLoss",
    "HingeEmbeddingLoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
]


class MultiMarginLoss(_WeightedLoss):
    r"""How far each wrong class is within a margin of the right one:
    :math:`\ell_n = \frac{w_{t_n}}{C} \sum_{c \ne t_n} \max(0, m - x_{n, t_n} + x_{n, c})^p`.

    Args:
        p (int): 1 or 2. Default: 1.
        margin (float): :math:`m`. Default: 1.0.
        weight (Tensor, optional): a factor per class, :math:`(C)`.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per sample. Default: `"mean"`.

    Shape: input :math:`(N, C)` or :math:`(C)`; target :math:`(N)` or :math:`()`, in :math:`[0, C)`; output a scalar, or the
        target's shape for `"none"`.

    Raises:
        ValueError: another `p`, or a weight that is not one-dimensional.
        RuntimeError: shapes that do not fit, or a target outside of the classes.

    >>> round(nn.MultiMarginLoss()(lamina.tensor([[0.1, 0.2, 0.4, 0.8]]), lamina.tensor([3])).item(), 4)
    0.325
    """

    __constants__ = ["p", "margin", "reduction"]
    margin: float
    p: int

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p != 1 and p != 2:
            raise ValueError(f"only p == 1 and p == 2 supported, but got {p}")
        if weight is not None and weight.dim() != 1:
            raise ValueError(f"MultiMarginLoss: expected weight to be None or 1D tensor, got {weight.dim()}D instead")
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self._buffers["weight"], reduction=self.reduction
        )


class MultiLabelMarginLoss(_Loss):
    r"""How far each wrong class is within a margin of 1 of each right one:
    :math:`\ell_n = \frac{1}{C} \sum_{t \in T_n} \sum_{c \notin T_n} \max(0, 1 - x_{n,t} + x_{n,c})`.

    Args:
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per sample. Default: `"mean"`.

    Shape: input :math:`(N, C)` or :math:`(C)`; target of the same shape, the right classes :math:`T_n` up to the first
        -1; output a scalar, or :math:`(N)` or :math:`()` for `"none"`.

    Raises:
        RuntimeError: shapes that do not fit, or a target outside of the classes.

    >>> x, y = lamina.tensor([[0.1, 0.2, 0.4, 0.8]]), lamina.tensor([[3, 0, -1, 1]])
    >>> round(nn.MultiLabelMarginLoss()(x, y).item(), 4)
    0.85
    """

    __constants__ = ["reduction"]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    r"""Distances that should be small where the target is 1, and at least a margin where it is -1:
    :math:`\ell_i = x_i` or :math:`\max(0, m - x_i)`.

    Args:
        margin (float): :math:`m`. Default: 1.0.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    >>> nn.HingeEmbeddingLoss(reduction="sum")(lamina.tensor([0.5, 0.25]), lamina.tensor([1.0, -1.0])).item()
    1.25
    """

    __constants__ = ["margin", "reduction"]
    margin: float

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    r"""How far a first number is from being larger (target 1) or smaller (-1) than a second by a margin:
    :math:`\ell_i = \max(0, -y_i (x_{1,i} - x_{2,i}) + m)`.

    Args:
        margin (float): :math:`m`. Default: 0.0.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per pair. Default: `"mean"`.

    Shape: inputs and target :math:`(N)` or :math:`()`; output a scalar, or :math:`(N)` for `"none"`.

    Raises:
        RuntimeError: numbers of dimensions that differ.

    >>> x, y = lamina.tensor([1.0, 5.0]), lamina.tensor([3.0, 2.0])
    >>> nn.MarginRankingLoss(reduction="none")(x, y, lamina.ones(2)).tolist()
    [2.0, 0.0]
    """

    __constants__ = ["margin", "reduction"]
    margin: float

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    r"""Vectors that should point the same way where the target is 1, and apart where it is -1:
    :math:`\ell_n = 1 - \cos(x_1, x_2)` or :math:`\max(0, \cos(x_1, x_2) - m)`.

    Args:
        margin (float): :math:`m`, in [-1, 1]; 0 to 0.5 is usual. Default: 0.0.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per pair. Default: `"mean"`.

    Shape: inputs :math:`(N, D)` or :math:`(D)`; target :math:`(N)` or :math:`()`; output a scalar, or the target's shape
        for `"none"`.

    Raises:
        RuntimeError: shapes that do not fit.

    >>> x, y = lamina.tensor([[1.0, 0.0]]), lamina.tensor([[0.0, 1.0]])
    >>> nn.CosineEmbeddingLoss()(x, y, lamina.ones(1)).item()
    1.0
    """

    __constants__ = ["margin", "reduction"]
    margin: float

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    r"""An anchor that should be nearer to its like than to another by a margin:
    :math:`\ell_n = \max(0, \lVert a_n - p_n \rVert_p - \lVert a_n - q_n \rVert_p + m)`.

    Args:
        margin (float): :math:`m`, greater than 0. Default: 1.0.
        p (float): the norm's degree. Default: 2.0.
        eps (float): added to every difference. Default: 1e-6.
        swap (bool): whether the positive's distance to the negative counts where it is smaller than the anchor's, after
            V. Balntas et al., "Learning shallow convolutional feature descriptors with triplet losses". Default: False.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per triplet. Default: `"mean"`.

    Shape: anchor, positive and negative :math:`(N, D)` or :math:`(D)`; output a scalar, or :math:`(N)` or :math:`()`
        for `"none"`.

    Raises:
        ValueError: a margin that is not positive.
        RuntimeError: numbers of dimensions that differ.

    >>> a, near, far = lamina.zeros(1, 2), lamina.ones(1, 2), lamina.full((1, 2), 9.0)
    >>> nn.TripletMarginLoss()(a, near, far).item()
    0.0
    """

    __constants__ = ["margin", "p", "eps", "swap", "reduction"]
    margin: float
    p: float
    eps: float
    swap: bool

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if margin <= 0:
            raise ValueError(f"TripletMarginLoss: expected margin to be greater than 0, got {margin} instead")
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class TripletMarginWithDistanceLoss(_Loss):
    r"""The loss of :class:`TripletMarginLoss` with any distance :math:`d`:
    :math:`\ell_n = \max(0, d(a_n, p_n) - d(a_n, q_n) + m)`.

    Args:
        distance_function (callable, optional): of two tensors, small for what is alike; a
            :class:`PairwiseDistance` by default.
        margin (float): :math:`m`, greater than 0. Default: 1.0.
        swap (bool): whether the positive's distance to the negative counts where it is smaller than the anchor's.
            Default: False.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per triplet. Default: `"mean"`.

    Shape: anchor, positive and negative whatever the distance takes, of as many dimensions; output a scalar, or the
        distance's shape for `"none"`.

    Raises:
        ValueError: a margin that is not positive.
        RuntimeError: numbers of dimensions that differ.

    >>> loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y).abs().amax(1))
    >>> loss(lamina.zeros(1, 2), lamina.ones(1, 2), lamina.zeros(1, 2)).item()
    2.0
    """

    __constants__ = ["margin", "swap", "reduction"]
    margin: float
    swap: bool

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(None, None, reduction)
        if margin <= 0:
            raise ValueError(
                f"TripletMarginWithDistanceLoss: expected margin to be greater than 0, got {margin} instead"
            )
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )
