"""The adaptive softmax, for very many classes of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lamina import ops
from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.nn import functional as F
from lamina.nn.modules.container import ModuleList, Sequential
from lamina.nn.modules.linear import Linear
from lamina.nn.modules.module import Module

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class _ASMoutput(NamedTuple):
    """The log-probability of each target, and the mean of their negatives."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    r"""A softmax over many classes sorted from frequent to rare, computed in clusters: a head holds the frequent classes
    and one output per cluster, and a cluster of rarer classes is computed, from fewer features, only where it is the
    target's: :math:`\log p(t) = \log p(\text{cluster}) + \log p(t \mid \text{cluster})`.

    Args:
        in_features (int): :math:`F`, the features of each sample.
        n_classes (int): :math:`C`.
        cutoffs (sequence of ints): where clusters begin; the classes before the first are the head's.
        div_value (float): each further cluster has that many times fewer features. Default: 4.0.
        head_bias (bool): whether the head has a bias. Default: False.
        device, dtype: where and as what the parameters are made.

    Returns:
        namedtuple: `output`, the targets' log-probabilities, and `loss`, the mean of their negatives.

    Shape: input :math:`(N, F)` or :math:`(F)`; target :math:`(N)` or :math:`()`, in :math:`[0, C)`; `output` :math:`(N)` or
        :math:`()`, `loss` a scalar.

    Attributes:
        head: the :class:`Linear` layer of the frequent classes and the clusters.
        tail: per cluster two :class:`Linear` layers, first to its features, then to its classes.

    Raises:
        ValueError: cutoffs that are not increasing, unique and between 1 and `n_classes` - 1.
        RuntimeError: shapes that do not fit, or a target outside of the classes.

    See E. Grave et al., "Efficient softmax approximation for GPUs", ICML 2017.

    >>> softmax = nn.AdaptiveLogSoftmaxWithLoss(16, 1000, cutoffs=[10, 100])
    >>> softmax(lamina.randn(3, 16), lamina.tensor([1, 50, 999])).output.shape
    torch.Size([3])
    """

    in_features: int
    n_classes: int
    cutoffs: list[int]
    div_value: float
    head_bias: bool

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if any(int(c) != c for c in cutoffs) or any(a >= b for a, b in pairwise([0, *cutoffs, n_classes])):
            raise ValueError(
                "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, where each value "
                f"is between 1 and n_classes-1, but got {cutoffs} for {n_classes} classes"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, device, dtype)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            features = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, features, False, device, dtype), Linear(features, high - low, False, device, dtype)
                )
            )

    def reset_parameters(self) -> None:
        """Draw the weights of all layers anew."""
        self.head.reset_parameters()
        for cluster in self.tail:
            for layer in cluster.children():
                layer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        rank = target_.dim()
        if rank > 1:
            raise RuntimeError(f"0D or 1D target tensor expected, multi-target not supported, but got {target_.shape}")
        if rank and input_.size(0) != target_.size(0):
            raise RuntimeError(
                "Input and target should have the same size in the batch dimension, but they have "
                f"{input_.size(0)} and {target_.size(0)}."
            )
        if input_.dim() != rank + 1:
            raise RuntimeError(
                f"{rank}D target tensor expects {rank + 1}D input tensors, but found inputs with size {input_.shape}"
            )
        x = input_ if rank else input_.unsqueeze(0)
        t = np.atleast_1d(target_._a)
        if t.size and not (t.min() >= 0 and t.max() < self.n_classes):
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range [{t.min()}, {t.max()}] were found. "
            )
        cluster = np.searchsorted(self.cutoffs, t, side="right")  # 0: the head's own classes
        column = np.where(cluster == 0, t, self.shortlist_size + cluster - 1).astype(np.int64)
        output = F.log_softmax(self.head(x), 1).gather(1, wrap(column[:, None])).squeeze(1)
        for i, layers in enumerate(self.tail):
            rows = np.flatnonzero(cluster == i + 1)
            if rows.size:
                index = wrap(rows)
                inside = F.log_softmax(layers(x.index_select(0, index)), 1)
                own = (t[rows] - self.cutoffs[i]).astype(np.int64)
                output = output.index_add(0, index, inside.gather(1, wrap(own[:, None])).squeeze(1))
        loss = (-output).mean()
        return _ASMoutput(output if rank else output.squeeze(0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes: (N, F) to (N, C).

        >>> softmax = nn.AdaptiveLogSoftmaxWithLoss(4, 6, cutoffs=[2])
        >>> round(softmax.log_prob(lamina.ones(1, 4)).exp().sum().item(), 4)
        1.0
        """
        return self._all(input, F.log_softmax(self.head(input), 1))

    def _all(self, input: Tensor, head: Tensor) -> Tensor:
        parts = [head[:, : self.shortlist_size]]
        for i, layers in enumerate(self.tail):
            parts.append(F.log_softmax(layers(input), 1) + head[:, self.shortlist_size + i].unsqueeze(1))
        return ops.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most probable class of each sample: (N, F) to (N); what `log_prob(input).argmax(1)` gives, in less time."""
        head = self.head(input)
        best = head.argmax(1)
        rare = best >= self.shortlist_size
        if rare.any():
            best[rare] = self._all(input[rare], F.log_softmax(head[rare], 1)).argmax(1)
        return best
