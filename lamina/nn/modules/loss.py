"""What losses share, and the losses against classes."""

from __future__ import annotations

import warnings

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module
from lamina.ops.loss import reduction_of

__all__ = ["CTCLoss", "CrossEntropyLoss", "NLLLoss", "NLLLoss2d"]


class _Loss(Module):
    reduction: str

    def __init__(
        self, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = reduction_of("mean", size_average, reduce)
        self.reduction = reduction


class _WeightedLoss(_Loss):
    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class NLLLoss(_WeightedLoss):
    r"""The negative log-likelihood of the target classes, from log-probabilities: :math:`\ell_n = -w_{t_n} x_{n, t_n}`.

    Args:
        weight (Tensor, optional): a factor per class, :math:`(C)`.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        ignore_index (int): a target that does not count. Default: -100.
        reduction (str): `"mean"` (over the weights of the targets), `"sum"`, or `"none"`. Default: `"mean"`.

    Shape: input :math:`(N, C)`, :math:`(C)` or :math:`(N, C, d_1, \dots)`; target :math:`(N)`, :math:`()` or
        :math:`(N, d_1, \dots)`; output a scalar, or the target's shape for `"none"`.

    Raises:
        ValueError, RuntimeError: shapes or dtypes that do not fit.
        IndexError: a target outside of the classes.
    """

    __constants__ = ["ignore_index", "reduction"]
    ignore_index: int

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input, target, weight=self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class NLLLoss2d(NLLLoss):
    """An old name of :class:`NLLLoss`; warns when made."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        warnings.warn(
            "`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in replacement and see "
            "https://pytorch.org/docs/main/nn.html#torch.nn.NLLLoss for more details.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(weight, size_average, ignore_index, reduce, reduction)


class CrossEntropyLoss(_WeightedLoss):
    r"""The cross entropy between logits and classes: :math:`\ell_n = -\sum_c w_c\, q_{n,c} \log\mathrm{softmax}(x_n)_c`.

    Args:
        weight (Tensor, optional): a factor per class, :math:`(C)`.
        size_average, reduce (bool, optional): deprecated forms of `reduction`.
        ignore_index (int): a class index that does not count. Default: -100.
        reduction (str): `"mean"` (over the weights of the target indices; with probabilities over the samples),
            `"sum"`, or `"none"`. Default: `"mean"`.
        label_smoothing (float): :math:`\varepsilon` of :math:`q \to (1 - \varepsilon) q + \varepsilon / C`. Default: 0.0.

    Shape: input :math:`(N, C)`, :math:`(C)` or :math:`(N, C, d_1, \dots)`; target either class indices :math:`(N)`,
        :math:`()` or :math:`(N, d_1, \dots)`, or probabilities :math:`q` of the input's shape; output a scalar, or the
        input's shape without :math:`C` for `"none"`.

    Raises:
        ValueError, RuntimeError: shapes, dtypes or settings that do not fit.
        IndexError: a class index outside of the classes.

    >>> loss = nn.CrossEntropyLoss()
    >>> round(loss(lamina.zeros(1, 4), lamina.tensor([2])).item(), 4)
    1.3863
    """

    __constants__ = ["ignore_index", "reduction", "label_smoothing"]
    ignore_index: int
    label_smoothing: float

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class CTCLoss(_Loss):
    r"""The negative log-likelihood of sequences of labels whose times are not known, summed over all alignments to a longer
    sequence of inputs: connectionist temporal classification, for speech and handwriting.

    Args:
        blank (int): the class that stands for no label. Default: 0.
        reduction (str): `"mean"`, of the losses divided by their target's length, `"sum"`, or `"none"` for one loss per
            sample. Default: `"mean"`.
        zero_infinity (bool): whether infinite losses (a target too long for its input), and their gradients, become 0.
            Default: False.

    Shape: log-probabilities :math:`(T, N, C)` or :math:`(T, C)`; targets :math:`(N, S)`, padded, or one after another,
        :math:`(\text{sum of lengths})`; input and target lengths :math:`(N)` or :math:`()`; output a scalar, or :math:`(N)`
        or :math:`()` for `"none"`.

    Raises:
        RuntimeError: shapes, lengths or classes that do not fit.

    See A. Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with recurrent neural
    networks", ICML 2006. The gradient is right for log-probabilities that a log-softmax made.

    >>> x = lamina.zeros(2, 1, 2).log_softmax(2)  # of the four strings of two steps, three spell "1"
    >>> round(nn.CTCLoss()(x, lamina.tensor([[1]]), (2,), (1,)).exp().item(), 4)
    1.3333
    """

    __constants__ = ["blank", "reduction"]
    blank: int
    zero_infinity: bool

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(self, log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor) -> Tensor:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
