"""Activations."""

from __future__ import annotations

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = ["GELU", "LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class ReLU(Module):
    r"""Negative values become zero: :math:`y = \max(0, x)`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    >>> nn.ReLU()(lamina.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    __constants__ = ["inplace"]
    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    r"""Negative values are scaled down: :math:`y = \max(0, x) + a \min(0, x)`.

    Args:
        negative_slope (float): :math:`a`. Default: 0.01.
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    >>> nn.LeakyReLU(0.5)(lamina.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    __constants__ = ["inplace", "negative_slope"]
    negative_slope: float
    inplace: bool

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}" + (", inplace=True" if self.inplace else "")


class Sigmoid(Module):
    r"""The logistic curve from 0 to 1: :math:`y = 1 / (1 + e^{-x})`.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Sigmoid()(lamina.tensor([0.0])).item()
    0.5
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.sigmoid()


class Tanh(Module):
    r"""The hyperbolic tangent, from -1 to 1: :math:`y = (e^x - e^{-x}) / (e^x + e^{-x})`.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Tanh()(lamina.tensor([0.0])).item()
    0.0
    """

    def forward(self, input: Tensor) -> Tensor:
        return input.tanh()


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


class Softmax(Module):
    r"""Positive numbers that add up to one along a dimension: :math:`y_i = e^{x_i} / \sum_j e^{x_j}`.

    Args:
        dim (int, optional): the dimension of the sum. Without it PyTorch's old rule picks one, with a warning.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Softmax(dim=1)(lamina.zeros(1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    __constants__ = ["dim"]
    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("dim", None)

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim, _stacklevel=5)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    r"""The logarithm of softmax, computed without its under- and overflows:
    :math:`y_i = x_i - \log \sum_j e^{x_j}`.

    Args:
        dim (int, optional): the dimension of the sum. Without it PyTorch's old rule picks one, with a warning.

    Shape: input :math:`(*)`, output the same.

    >>> round(nn.LogSoftmax(dim=0)(lamina.zeros(2))[0].item(), 4)
    -0.6931
    """

    __constants__ = ["dim"]
    dim: int | None

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("dim", None)

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim, _stacklevel=5)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
