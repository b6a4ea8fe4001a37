"""Normalisation within each example: over the last dimensions, over groups of channels, over neighbouring channels."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn import init
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.parameter import Parameter
from lamina.ops.layernorm import cross_map_lrn2d

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class _Affine(Module):
    """What these layers share: a weight of ones and a bias of zeros at first, or none."""

    weight: Parameter | None
    bias: Parameter | None

    def _make(self, shape: tuple[int, ...], weight: bool, bias: bool, device: Any, dtype: Any) -> None:
        self.register_parameter("weight", new_parameter(shape, device, dtype) if weight else None)
        self.register_parameter("bias", new_parameter(shape, device, dtype) if weight and bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self._parameters.get("bias") is not None:
            init.zeros_(self.bias)  # type: ignore[arg-type]


def _shape(normalized_shape: Any) -> tuple[int, ...]:
    try:
        return (operator.index(normalized_shape),)
    except TypeError:
        return tuple(normalized_shape)


class LayerNorm(_Affine):
    r"""Normalises the last dimensions of each example: :math:`y = (x - m) / \sqrt{v + \epsilon} \cdot w + b`.

    :math:`m` and :math:`v` are mean and biased variance over the dimensions that `normalized_shape` names, in training and
    in evaluation alike.

    Args:
        normalized_shape (int or sequence of ints): the sizes of the last dimensions; an int is that of the last one.
        eps (float): :math:`\epsilon`. Default: 1e-5.
        elementwise_affine (bool): whether :math:`w` and :math:`b` are learnt. Default: True.
        bias (bool): whether :math:`b` is learnt, if `elementwise_affine`. Default: True.
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(*, S)` with :math:`S` = `normalized_shape`, output the same.

    Attributes:
        weight: :math:`w`, of shape `normalized_shape`, ones at first.
        bias: :math:`b`, of shape `normalized_shape`, zeros at first.

    Raises:
        RuntimeError: an input whose last dimensions are others.

    See J. Ba, J. Kiros and G. Hinton, "Layer Normalization", 2016.

    >>> nn.LayerNorm(10)(lamina.randn(20, 5, 10)).shape
    torch.Size([20, 5, 10])
    """

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    eps: float
    elementwise_affine: bool

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._make(self.normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(_Affine):
    r"""Divides the last dimensions of each example by their root mean square:
    :math:`y = x / \sqrt{\epsilon + \frac{1}{n} \sum x_i^2} \cdot w`.

    Args:
        normalized_shape (int or sequence of ints): the sizes of the last dimensions; an int is that of the last one.
        eps (float, optional): :math:`\epsilon`. Default: the distance from 1 to the next number of the dtype that is
            computed in, which is float32 for float16.
        elementwise_affine (bool): whether :math:`w` is learnt. Default: True.
        device, dtype: where and as what the weight is made.

    Shape:
        input :math:`(*, S)` with :math:`S` = `normalized_shape`, output the same.

    Attributes:
        weight: :math:`w`, of shape `normalized_shape`, ones at first.

    Raises:
        RuntimeError: an input whose last dimensions are others.

    See B. Zhang and R. Sennrich, "Root Mean Square Layer Normalization", 2019.

    >>> nn.RMSNorm(2)(lamina.tensor([[3.0, 3.0]])).tolist()
    [[1.0, 1.0]]
    """

    __constants__ = ["normalized_shape", "eps", "elementwise_affine"]
    normalized_shape: tuple[int, ...]
    eps: float | None
    elementwise_affine: bool

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", new_parameter(self.normalized_shape, device, dtype) if elementwise_affine else None)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(_Affine):
    r"""Normalises groups of channels of each example: :math:`y = (x - m) / \sqrt{v + \epsilon} \cdot w + b`.

    :math:`m` and :math:`v` are mean and biased variance of a group of :math:`C` / `num_groups` channels, in training and in
    evaluation alike; :math:`w` and :math:`b` belong to channels.

    Args:
        num_groups (int): into how many groups the channels are divided.
        num_channels (int): the number of channels :math:`C`.
        eps (float): :math:`\epsilon`. Default: 1e-5.
        affine (bool): whether :math:`w` and :math:`b` are learnt. Default: True.
        device, dtype: where and as what the parameters are made.
        bias (bool): whether :math:`b` is learnt, if `affine`. Default: True.

    Shape:
        input :math:`(N, C, *)`, output the same.

    Attributes:
        weight: :math:`w`, of shape :math:`(C)`, ones at first.
        bias: :math:`b`, of shape :math:`(C)`, zeros at first.

    Raises:
        ValueError: `num_channels` is not a multiple of `num_groups`.
        RuntimeError: an input with another number of channels.

    See Y. Wu and K. He, "Group Normalization", 2018.

    >>> nn.GroupNorm(3, 6)(lamina.randn(20, 6, 10, 10)).shape
    torch.Size([20, 6, 10, 10])
    """

    __constants__ = ["num_groups", "num_channels", "eps", "affine"]
    num_groups: int
    num_channels: int
    eps: float
    affine: bool

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
        dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make((num_channels,), affine, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    r"""Divides each channel by a power of its neighbours' squares:
    :math:`y_c = x_c / (k + \frac{\alpha}{n} \sum_{c'} x_{c'}^2)^\beta`.

    The sum is over :math:`n` channels from :math:`c - \lfloor n / 2 \rfloor` on; those that do not exist count as zero.

    Args:
        size (int): :math:`n`, how many channels count.
        alpha (float): :math:`\alpha`. Default: 1e-4.
        beta (float): :math:`\beta`. Default: 0.75.
        k (float): :math:`k`. Default: 1.0.

    Shape:
        input :math:`(N, C, *)` of three dimensions or more, output the same.

    Raises:
        ValueError: an input of fewer dimensions.
        RuntimeError: a size below 1.

    See A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012.

    >>> nn.LocalResponseNorm(2)(lamina.randn(32, 5, 24, 24)).shape
    torch.Size([32, 5, 24, 24])
    """

    __constants__ = ["size", "alpha", "beta", "k"]
    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    r"""An older form of :class:`LocalResponseNorm`, for images.

    The sum reaches :math:`(n - 1) / 2` channels to both sides, and the square of the first channel stays in it for all
    channels that follow, as in PyTorch. The gradient is that of this function; PyTorch's differs from it.

    Args:
        size (int): :math:`n`, how many channels count.
        alpha (float): :math:`\alpha`. Default: 1e-4.
        beta (float): :math:`\beta`. Default: 0.75.
        k (float): :math:`k`. Default: 1.

    Shape:
        input :math:`(N, C, H, W)`, output the same.

    Raises:
        ValueError: an input of another rank.

    >>> nn.CrossMapLRN2d(3)(lamina.randn(2, 5, 4, 4)).shape
    torch.Size([2, 5, 4, 4])
    """

    size: int
    alpha: float
    beta: float
    k: float

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return cross_map_lrn2d(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
