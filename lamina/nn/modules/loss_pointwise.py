"""Losses that compare values element by element."""

from __future__ import annotations

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.loss import _Loss, _WeightedLoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "GaussianNLLLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MultiLabelSoftMarginLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
]


class L1Loss(_Loss):
    r"""The absolute error: :math:`\ell_i = |x_i - y_i|`.

    Args:
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    >>> nn.L1Loss()(lamina.tensor([1.0, 2.0]), lamina.tensor([1.0, 4.0])).item()
    1.0
    """

    __constants__ = ["reduction"]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    r"""The squared error: :math:`\ell_i = (x_i - y_i)^2`.

    Args:
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    >>> nn.MSELoss()(lamina.tensor([1.0, 2.0]), lamina.tensor([1.0, 4.0])).item()
    2.0
    """

    __constants__ = ["reduction"]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    r"""The absolute error, rounded off near zero; with :math:`d = |x_i - y_i|`:

    .. math::
        \ell_i = \begin{cases} d^2 / 2\beta, & d < \beta \\ d - \beta / 2, & \text{otherwise} \end{cases}

    Args:
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.
        beta (float): :math:`\beta`, at least 0. Default: 1.0.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    See R. Girshick, "Fast R-CNN", ICCV 2015.

    >>> nn.SmoothL1Loss(reduction="none")(lamina.tensor([0.5, 3.0]), lamina.zeros(2)).tolist()
    [0.125, 2.5]
    """

    __constants__ = ["reduction"]
    beta: float

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    r"""The squared error up to :math:`\delta`, linear from there on; with :math:`d = |x_i - y_i|`:

    .. math::
        \ell_i = \begin{cases} d^2 / 2, & d \le \delta \\ \delta (d - \delta / 2), & \text{otherwise} \end{cases}

    Args:
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.
        delta (float): :math:`\delta`, greater than 0. Default: 1.0.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    Raises:
        TypeError: `delta` is not a number.

    See P. J. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35 (1964).

    >>> nn.HuberLoss(reduction="none", delta=2.0)(lamina.tensor([1.0, 3.0]), lamina.zeros(2)).tolist()
    [0.5, 4.0]
    """

    __constants__ = ["reduction", "delta"]
    delta: float

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, (float, int)):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(_Loss):
    r"""The terms of the Kullback-Leibler divergence of a distribution :math:`q` from the target :math:`y`, given
    :math:`x = \log q`: :math:`\ell_i = y_i (\log y_i - x_i)`.

    Args:
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"batchmean"` for the divergence itself (the sum over the batch size), `"mean"` (over all
            elements, which warns), `"sum"`, or `"none"` for one term per element. Default: `"mean"`.
        log_target (bool): whether the target holds logarithms too. Default: False.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    >>> x, y = lamina.tensor([[0.5, 0.5]]).log(), lamina.tensor([[1.0, 0.0]])
    >>> round(nn.KLDivLoss(reduction="batchmean")(x, y).item(), 4)
    0.6931
    """

    __constants__ = ["reduction"]
    log_target: bool

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    r"""The negative log-likelihood of counts :math:`y` under Poisson distributions: :math:`\ell_i = e^{x_i} - y_i x_i`, or
    :math:`x_i - y_i \log(x_i + \varepsilon)` if the input holds the rates themselves.

    Args:
        log_input (bool): whether the input holds the logarithms of the rates. Default: True.
        full (bool): whether Stirling's approximation of :math:`\log y!` is added for :math:`y > 1`. Default: False.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        eps (float): :math:`\varepsilon`. Default: 1e-8.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    >>> nn.PoissonNLLLoss()(lamina.tensor([0.0]), lamina.tensor([3.0])).item()
    1.0
    """

    __constants__ = ["log_input", "full", "eps", "reduction"]
    log_input: bool
    full: bool
    eps: float

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: bool | None = None,
        eps: float = 1e-8,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(
            log_input, target, log_input=self.log_input, full=self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(_Loss):
    r"""The negative log-likelihood of values :math:`y` under normal distributions with means :math:`x` and variances
    :math:`v`: :math:`\ell_i = (\log v_i + (x_i - y_i)^2 / v_i) / 2`, where no variance is less than
    :math:`\varepsilon`.

    Args:
        full (bool): whether the constant :math:`\log(2 \pi) / 2` is added. Default: False.
        eps (float): :math:`\varepsilon`, of which the gradient takes no note. Default: 1e-6.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(N, *)`; variances a number, the input's shape, or that with the last dimension missing
        or of size 1; output a scalar, or the input's shape for `"none"`.

    Raises:
        ValueError: a negative variance, or one of another shape.

    See D. A. Nix and A. S. Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.

    >>> nn.GaussianNLLLoss()(lamina.tensor([1.0]), lamina.tensor([3.0]), lamina.tensor([1.0])).item()
    2.0
    """

    __constants__ = ["full", "eps", "reduction"]
    full: bool
    eps: float

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(None, None, reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class BCELoss(_WeightedLoss):
    r"""The cross entropy between probabilities and targets of two classes:
    :math:`\ell_i = -w_i (y_i \log x_i + (1 - y_i) \log(1 - x_i))`, with logarithms no less than -100.

    Args:
        weight (Tensor, optional): a factor per element, broadcast to the input.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(*)`, in [0, 1]; output a scalar, or :math:`(*)` for `"none"`.

    Raises:
        ValueError: input and target differ in shape.
        RuntimeError: values outside of [0, 1].

    >>> round(nn.BCELoss()(lamina.tensor([0.5]), lamina.tensor([1.0])).item(), 4)
    0.6931
    """

    __constants__ = ["reduction"]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self._buffers["weight"], reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    r"""A sigmoid and the cross entropy of two classes in one, from which nothing overflows:
    :math:`\ell_i = -w_i (p_i y_i \log \sigma(x_i) + (1 - y_i) \log(1 - \sigma(x_i)))`.

    Args:
        weight (Tensor, optional): :math:`w`, a factor per element, broadcast to the input.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.
        pos_weight (Tensor, optional): :math:`p`, broadcast to the input; above 1 it favours recall, below 1 precision.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    Raises:
        ValueError: input and target differ in shape.
        RuntimeError: weights that do not broadcast.

    >>> round(nn.BCEWithLogitsLoss()(lamina.tensor([0.0]), lamina.tensor([1.0])).item(), 4)
    0.6931
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self._buffers["weight"], pos_weight=self._buffers["pos_weight"], reduction=self.reduction
        )


class SoftMarginLoss(_Loss):
    r"""The logistic loss, with targets of -1 and 1: :math:`\ell_i = \log(1 + e^{-x_i y_i})`.

    Args:
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per element. Default: `"mean"`.

    Shape: input and target :math:`(*)`; output a scalar, or :math:`(*)` for `"none"`.

    >>> round(nn.SoftMarginLoss()(lamina.tensor([0.0]), lamina.tensor([-1.0])).item(), 4)
    0.6931
    """

    __constants__ = ["reduction"]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    r"""The mean over the classes of the binary cross entropies of logits:
    :math:`\ell_n = -\frac{1}{C} \sum_c w_c (y_{n,c} \log \sigma(x_{n,c}) + (1 - y_{n,c}) \log(1 - \sigma(x_{n,c})))`.

    Args:
        weight (Tensor, optional): a factor per class, :math:`(C)`.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        reduction (str): `"mean"`, `"sum"`, or `"none"` for one loss per sample. Default: `"mean"`.

    Shape: input and target :math:`(N, C)`; output a scalar, or :math:`(N)` for `"none"`.

    >>> round(nn.MultiLabelSoftMarginLoss()(lamina.zeros(1, 4), lamina.ones(1, 4)).item(), 4)
    0.6931
    """

    __constants__ = ["reduction"]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, weight=self._buffers["weight"], reduction=self.reduction)
