"""Batch normalisation in one, two and three dimensions: one layer, of which the allowed ranks are data."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import check_device, get_default_dtype, to_numpy
from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.nn import functional as F
from lamina.nn import init
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.parameter import Parameter
from lamina.ops.norm import count_batch

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"]


class _NormBase(Module):
    """What batch and instance normalisation share: parameters, running statistics and their place in a state dict."""

    _version = 2  # state dicts of version 1 have no num_batches_tracked
    __constants__ = ["track_running_stats", "momentum", "eps", "num_features", "affine"]
    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_features < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {num_features}: [{num_features}]")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", new_parameter((num_features,), device, dtype) if affine else None)
        self.register_parameter("bias", new_parameter((num_features,), device, dtype) if affine and bias else None)
        check_device(device)
        kind = to_numpy(get_default_dtype() if dtype is None else dtype)
        track = track_running_stats
        self.register_buffer("running_mean", wrap(np.zeros(num_features, kind)) if track else None)
        self.register_buffer("running_var", wrap(np.ones(num_features, kind)) if track else None)
        self.register_buffer("num_batches_tracked", wrap(np.array(0, np.int64)) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the statistics: mean 0, variance 1, no batches."""
        if self.track_running_stats:
            for buffer, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
                buffer.fill_(value)  # type: ignore[union-attr]

    def reset_parameters(self) -> None:
        """Forget the statistics; weight 1 and bias 0."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

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
        key = prefix + "num_batches_tracked"
        if local_metadata.get("version", 1) < 2 and self.track_running_stats and key not in state_dict:
            own = self.num_batches_tracked
            state_dict[key] = own if own is not None else wrap(np.array(0, np.int64))
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class _BatchNorm(_NormBase):
    ranks: tuple[int, ...]  # how many dimensions an input may have

    def _check_input_dim(self, input: Tensor) -> None:
        ranks = self.ranks
        if input._a.ndim not in ranks:
            wanted = " or ".join(f"{n}D" for n in ranks)
            raise ValueError(f"{type(self).__name__}: expected {wanted} input (got {input._a.ndim}D input)")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        buffers, training, momentum = self._buffers, self.training, self.momentum
        mean, var, batches = buffers["running_mean"], buffers["running_var"], buffers["num_batches_tracked"]
        counts = training and self.track_running_stats and batches is not None
        if momentum is None:  # the average of all batches
            momentum = 1.0 / (batches.item() + 1) if counts else 0.0  # type: ignore[union-attr]
        if training and not self.track_running_stats:
            mean = var = None
        use_batch = training or (mean is None and var is None)
        own = self._parameters
        if "weight" in own and "bias" in own:  # quicker than by attribute
            weight, bias = own["weight"], own["bias"]
        else:
            weight, bias = self.weight, self.bias
        result = F.batch_norm(input, mean, var, weight, bias, use_batch, momentum, self.eps)
        if counts:
            count_batch(batches)
        return result


_DOC = r"""Normalises each channel over the batch{over}: :math:`y = (x - m) / \sqrt{{v + \epsilon}} \cdot w + b`.

    In training, :math:`m` and :math:`v` are the batch's mean and biased variance; in evaluation the running ones, which every
    training batch moves by `momentum` towards its mean and its unbiased variance.

    Args:
        num_features (int): the number of channels :math:`C`.
        eps (float): :math:`\epsilon`. Default: 1e-5.
        momentum (float, optional): the weight of a new batch in the running statistics; with None these are the plain average
            of all batches. Default: 0.1.
        affine (bool): whether :math:`w` and :math:`b` are learnt. Default: True.
        track_running_stats (bool): whether there are running statistics; without, evaluation too uses the batch's.
            Default: True.
        device, dtype: where and as what parameters and statistics are made.
        bias (bool): whether :math:`b` is learnt, if `affine`. Default: True.

    Shape:
        input {shape}, output the same.

    Attributes:
        weight: :math:`w`, of shape :math:`(C)`, ones at first.
        bias: :math:`b`, of shape :math:`(C)`, zeros at first.
        running_mean, running_var: the running statistics, of shape :math:`(C)`, zeros and ones at first.
        num_batches_tracked: how many batches went into them.

    Raises:
        ValueError: an input of another rank, or a training batch with one value per channel.
        RuntimeError: an input with another number of channels.

    See S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate
    Shift", 2015.

    >>> {name}(4)(lamina.randn{size}).shape
    torch.Size([{dims}])
    """


def _doc(name: str, over: str, shape: str, size: tuple[int, ...]) -> str:
    return _DOC.format(name=f"nn.{name}", over=over, shape=shape, size=size, dims=", ".join(map(str, size)))


class BatchNorm1d(_BatchNorm):
    __doc__ = _doc("BatchNorm1d", " (and the length)", ":math:`(N, C)` or :math:`(N, C, L)`", (8, 4))
    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = _doc("BatchNorm2d", " and the image", ":math:`(N, C, H, W)`", (8, 4, 5, 5))
    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    __doc__ = _doc("BatchNorm3d", " and the volume", ":math:`(N, C, D, H, W)`", (8, 4, 3, 5, 5))
    ranks = (5,)


class SyncBatchNorm(_BatchNorm):
    r"""Batch normalisation whose batch is that of all processes together. There is one process here, so it is the plain one,
    for inputs of any rank; models and checkpoints that name it work.

    Args:
        num_features (int): the number of channels :math:`C`.
        eps (float): :math:`\epsilon`. Default: 1e-5.
        momentum (float, optional): the weight of a new batch in the running statistics; with None these are the plain average
            of all batches. Default: 0.1.
        affine (bool): whether :math:`w` and :math:`b` are learnt. Default: True.
        track_running_stats (bool): whether there are running statistics. Default: True.
        process_group: kept as an attribute.
        device, dtype: where and as what parameters and statistics are made.
        bias (bool): whether :math:`b` is learnt, if `affine`. Default: True.

    Shape:
        input :math:`(N, C, *)`, output the same.

    Raises:
        ValueError: an input of fewer than two dimensions, without channels, or with one value per channel in training.

    >>> nn.SyncBatchNorm(4)(lamina.randn(8, 4, 3, 5, 5)).shape
    torch.Size([8, 4, 3, 5, 5])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input._a.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input._a.ndim}D input)")
        if not input._a.shape[1]:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """The module with every batch normalisation in it replaced by this one, with the same parameters and statistics."""
        result = module
        if isinstance(module, _BatchNorm):
            result = SyncBatchNorm(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            result.weight, result.bias = module.weight, module.bias
            result.running_mean, result.running_var = module.running_mean, module.running_var
            result.num_batches_tracked = module.num_batches_tracked
            result.training = module.training
        for name, child in module.named_children():
            result.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return result
