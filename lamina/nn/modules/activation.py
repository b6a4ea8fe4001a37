"""Smooth activations."""

from __future__ import annotations

from lamina import ops
from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = [
    "GELU", "GLU", "LogSigmoid", "LogSoftmax", "Mish", "SiLU", "Sigmoid", "Softmax", "Softmax2d", "Softmin", "Softplus",
    "Softsign", "Tanh", "Tanhshrink",
]  # fmt: skip


class _InPlace(Module):
    """What activations share that have no other setting than `inplace`."""

    __constants__ = ["inplace"]
    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Sigmoid(Module):
    r"""The logistic curve from 0 to 1: :math:`y = 1 / (1 + e^{-x})`.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Sigmoid()(lamina.tensor([0.0])).item()
    0.5
    """

    def forward(self, input: Tensor) -> Tensor:
        return ops.sigmoid(input)


class Tanh(Module):
    r"""The hyperbolic tangent, from -1 to 1: :math:`y = (e^x - e^{-x}) / (e^x + e^{-x})`.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Tanh()(lamina.tensor([0.0])).item()
    0.0
    """

    def forward(self, input: Tensor) -> Tensor:
        return ops.tanh(input)


class Softplus(Module):
    r"""A smooth ReLU: :math:`y = \log(1 + e^{\beta x}) / \beta`, linear where :math:`\beta x >` `threshold`.

    Args:
        beta (float): sharpness of the bend. Default: 1.0.
        threshold (float): where it turns linear, for numerical stability. Default: 20.0.

    Shape: input :math:`(*)`, output the same.

    >>> round(nn.Softplus()(lamina.tensor([0.0])).item(), 4)
    0.6931
    """

    __constants__ = ["beta", "threshold"]
    beta: float
    threshold: float

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class GELU(Module):
    r"""The input times the chance that a standard normal variable lies below it: :math:`y = x \, \Phi(x)`.

    Args:
        approximate (str): `"none"` for the exact :math:`\Phi`, `"tanh"` for
            :math:`y = x \, (1 + \tanh(\sqrt{2 / \pi} (x + 0.044715 x^3))) / 2`. Default: `"none"`.

    Shape: input :math:`(*)`, output the same.

    >>> round(nn.GELU()(lamina.tensor([1.0])).item(), 4)
    0.8413
    """

    __constants__ = ["approximate"]
    approximate: str

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    r"""The input times its sigmoid, also known as swish: :math:`y = x \, \sigma(x)`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    See S. Elfwing et al., "Sigmoid-Weighted Linear Units for Neural Network Function Approximation", 2017.

    >>> round(nn.SiLU()(lamina.tensor([1.0])).item(), 4)
    0.7311
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, inplace=self.inplace)


class Mish(_InPlace):
    r"""A smooth ReLU that dips below zero: :math:`y = x \tanh(\log(1 + e^x))`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    See D. Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019.

    >>> round(nn.Mish()(lamina.tensor([1.0])).item(), 4)
    0.8651
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, inplace=self.inplace)


class LogSigmoid(Module):
    r"""The logarithm of the sigmoid, without its underflow: :math:`y = \log(1 / (1 + e^{-x}))`.

    Shape: input :math:`(*)`, output the same.

    >>> round(nn.LogSigmoid()(lamina.tensor([0.0])).item(), 4)
    -0.6931
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Softsign(Module):
    r"""A curve from -1 to 1 that approaches its ends slowly: :math:`y = x / (1 + |x|)`.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Softsign()(lamina.tensor([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    r"""What the hyperbolic tangent takes away: :math:`y = x - \tanh x`.

    Shape: input :math:`(*)`, output the same.

    >>> round(nn.Tanhshrink()(lamina.tensor([1.0])).item(), 4)
    0.2384
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class GLU(Module):
    r"""One half of the input, gated by the other: :math:`y = a \, \sigma(b)`.

    Args:
        dim (int): the dimension that is split into :math:`a` and :math:`b`. Default: -1.

    Shape: input :math:`(*_1, N, *_2)`, output :math:`(*_1, N / 2, *_2)`.

    Raises:
        RuntimeError: :math:`N` is odd.

    See Y. Dauphin et al., "Language Modeling with Gated Convolutional Networks", 2017.

    >>> nn.GLU()(lamina.tensor([[3.0, 0.0]])).tolist()
    [[1.5]]
    """

    __constants__ = ["dim"]
    dim: int

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class _Along(Module):
    """What the activations share that add up along a dimension."""

    __constants__ = ["dim"]
    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("dim", None)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Along):
    r"""Positive numbers that add up to one along a dimension: :math:`y_i = e^{x_i} / \sum_j e^{x_j}`.

    Args:
        dim (int, optional): the dimension of the sum. Without it PyTorch's old rule picks one, with a warning.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Softmax(dim=1)(lamina.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim, _stacklevel=5)


class Softmin(_Along):
    r"""Softmax of the negated input: :math:`y_i = e^{-x_i} / \sum_j e^{-x_j}`.

    Args:
        dim (int, optional): the dimension of the sum. Without it PyTorch's old rule picks one, with a warning.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Softmin(dim=1)(lamina.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim, _stacklevel=5)


class LogSoftmax(_Along):
    r"""The logarithm of softmax, computed without its under- and overflows:
    :math:`y_i = x_i - \log \sum_j e^{x_j}`.

    Args:
        dim (int, optional): the dimension of the sum. Without it PyTorch's old rule picks one, with a warning.

    Shape: input :math:`(*)`, output the same.

    >>> round(nn.LogSoftmax(dim=0)(lamina.zeros(2))[0].item(), 4)
    -0.6931
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim, _stacklevel=5)


class Softmax2d(Module):
    r"""Softmax over the channels at each place of an image.

    Shape: input :math:`(N, C, H, W)` or :math:`(C, H, W)`, output the same.

    Raises:
        ValueError: an input of another rank.

    >>> nn.Softmax2d()(lamina.zeros(4, 1, 1)).flatten().tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead")
        return F.softmax(input, -3)
