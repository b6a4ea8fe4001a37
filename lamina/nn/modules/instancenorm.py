"""Instance normalisation in one, two and three dimensions: one layer, of which the rank is data."""

from __future__ import annotations

import warnings
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.batchnorm import _NormBase

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class _InstanceNorm(_NormBase):
    ndim: int  # the number of spatial dimensions, all that the layers differ in

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _check_input_dim(self, input: Tensor) -> None:
        n = self.ndim
        if input._a.ndim not in (n + 1, n + 2):
            raise ValueError(f"expected {n + 1}D or {n + 2}D input (got {input._a.ndim}D input)")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        batched = input._a.ndim == self.ndim + 2
        dim = 1 if batched else 0
        channels = input._a.shape[dim]
        if channels != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={dim} to match num_features ({self.num_features}), but got: {channels}."
                )
            warnings.warn(
                f"input's size at dim={dim}, {channels}, does not match num_features={self.num_features}, which is not used "
                "because affine=False",
                stacklevel=2,
            )
        result = F.instance_norm(
            input if batched else input.unsqueeze(0), self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, 0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return result if batched else result.squeeze(0)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        if local_metadata.get("version") is None and not self.track_running_stats:  # saved when all layers had statistics
            found = [prefix + name for name in ("running_mean", "running_var") if prefix + name in state_dict]
            if found:
                error_msgs.append(
                    f"Unexpected running stats buffer(s) {' and '.join(map(repr, found))} for {type(self).__name__} with "
                    "track_running_stats=False: the layer keeps no such statistics by default. Remove them from the state "
                    "dict, or make the layer with track_running_stats=True."
                )
            for key in found:
                state_dict.pop(key)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


_DOC = r"""Normalises each channel of each example: :math:`y = (x - m) / \sqrt{{v + \epsilon}} \cdot w + b`.

    :math:`m` and :math:`v` are the channel's mean and biased variance over the {over}. With `track_running_stats`,
    evaluation uses running ones instead, which every training batch moves by `momentum` towards its examples' averages.

    Args:
        num_features (int): the number of channels :math:`C`.
        eps (float): :math:`\epsilon`. Default: 1e-5.
        momentum (float): the weight of a new batch in the running statistics. Default: 0.1.
        affine (bool): whether :math:`w` and :math:`b` are learnt. Default: False.
        track_running_stats (bool): whether there are running statistics. Default: False.
        device, dtype: where and as what parameters and statistics are made.
        bias (bool): whether :math:`b` is learnt, if `affine`. Default: True.

    Shape:
        input {shape}, output the same.

    Attributes:
        weight: :math:`w`, of shape :math:`(C)`, ones at first, if `affine`.
        bias: :math:`b`, of shape :math:`(C)`, zeros at first, if `affine`.
        running_mean, running_var: the running statistics, of shape :math:`(C)`, zeros and ones at first.
        num_batches_tracked: not counted by this layer.

    Raises:
        ValueError: an input of another rank, with another number of channels if `affine`, or with one value per channel.

    See D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance Normalization: The Missing Ingredient for Fast Stylization", 2016.

    >>> {name}(4)(lamina.randn{size}).shape
    torch.Size([{dims}])
    """


def _doc(name: str, over: str, sizes: str, size: tuple[int, ...]) -> str:
    shape = f":math:`(N, C, {sizes})` or :math:`(C, {sizes})`"
    return _DOC.format(name=f"nn.{name}", over=over, shape=shape, size=size, dims=", ".join(map(str, size)))


class InstanceNorm1d(_InstanceNorm):
    __doc__ = _doc("InstanceNorm1d", "length", "L", (8, 4, 5))
    ndim = 1


class InstanceNorm2d(_InstanceNorm):
    __doc__ = _doc("InstanceNorm2d", "image", "H, W", (8, 4, 5, 5))
    ndim = 2


class InstanceNorm3d(_InstanceNorm):
    __doc__ = _doc("InstanceNorm3d", "volume", "D, H, W", (8, 4, 3, 5, 5))
    ndim = 3
