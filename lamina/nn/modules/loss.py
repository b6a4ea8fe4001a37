"""What losses share, and the losses against classes."""

from __future__ import annotations

import math
import warnings
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.linear import Linear
from lamina.nn.modules.module import Module
from lamina.ops.loss import reduction_of
from lamina.ops.loss_linear import LinearCrossEntropyOptions

__all__ = [
    "CTCLoss",
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "LinearCrossEntropyOptions",
    "NLLLoss",
    "NLLLoss2d",
]


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
            input, target, weight=self._buffers["weight"], ignore_index=self.ignore_index, reduction=self.reduction
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
            weight=self._buffers["weight"],
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class LinearCrossEntropyLoss(_WeightedLoss):
    r"""A linear layer to logits and the cross entropy between them and classes, :math:`\mathrm{CE}(x W^T + b, t)`; with
    `options` the logits need never exist all at once.

    Args:
        in_features (int): :math:`F`, the size of the input's last dimension.
        num_classes (int): :math:`C`.
        out_features (tuple of ints): :math:`(d_1, \dots)` for a loss at each of several places. Default: ().
        bias (bool): whether the layer has a bias. Default: False.
        device, dtype: where and as what the parameters are made.
        reduction (str): `"mean"`, `"sum"`, or `"none"`, as of :class:`CrossEntropyLoss`. Default: `"mean"`.
        weight (Tensor, optional): a factor per class, :math:`(C)`.
        ignore_index (int, optional): a class index that does not count; -100 by default.
        label_smoothing (float): as of :class:`CrossEntropyLoss`. Default: 0.0.
        options (LinearCrossEntropyOptions, optional): how to go over the batch in chunks.

    Shape: input :math:`(N, F)` or :math:`(F)`; target class indices :math:`(N)`, :math:`()` or :math:`(N, d_1, \dots)`, or
        probabilities :math:`(N, C, d_1, \dots)` or :math:`(C)`; output a scalar, or the shape of class indices for `"none"`.

    Attributes:
        linear: the :class:`Linear` layer, whose outputs are the classes of all places.

    Raises:
        RuntimeError: a weight or smoothing that does not fit, or an input or target that does not.

    >>> loss = nn.LinearCrossEntropyLoss(5, 10, options=nn.LinearCrossEntropyOptions(batch_chunk_size=2))
    >>> loss(lamina.randn(7, 5), lamina.arange(7)).shape
    torch.Size([])
    """

    __constants__ = ["num_classes", "out_features", "reduction", "ignore_index", "label_smoothing"]
    num_classes: int
    out_features: tuple[int, ...]
    ignore_index: int | None
    label_smoothing: float
    options: LinearCrossEntropyOptions | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__(weight, None, None, reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.linear = Linear(in_features, num_classes * math.prod(out_features), bias, device, dtype)
        self.options = options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        weight, bias = self.linear.weight, self.linear.bias
        shape = (self.num_classes, *self.out_features)
        return F.linear_cross_entropy(
            input,
            weight.reshape(*shape, self.linear.in_features) if self.out_features else weight,
            target,
            linear_bias=bias.reshape(shape) if bias is not None and self.out_features else bias,
            weight=self._buffers["weight"],
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
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
