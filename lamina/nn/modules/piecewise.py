"""Activations that are another function on either side of a point."""

from __future__ import annotations

import warnings
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn import init as initial
from lamina.nn.modules.activation import _InPlace
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.parameter import Parameter

__all__ = [
    "CELU", "ELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "PReLU", "RReLU", "ReLU", "ReLU6", "SELU",
    "Softshrink", "Threshold",
]  # fmt: skip


class ReLU(_InPlace):
    r"""Negative values become zero: :math:`y = \max(0, x)`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    >>> nn.ReLU()(lamina.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, inplace=self.inplace)


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


class PReLU(Module):
    r"""Negative values are scaled by a learnt slope: :math:`y = \max(0, x) + a \min(0, x)`.

    Args:
        num_parameters (int): one :math:`a` for everything, or as many as there are channels, the second dimension. Default: 1.
        init (float): the value that :math:`a` starts from. Default: 0.25.
        device, dtype: where and as what :math:`a` is made.

    Shape: input :math:`(*)` or :math:`(N, C, *)`, output the same.

    Attributes:
        weight: :math:`a`, of shape :math:`(\mathrm{num\_parameters})`.

    Raises:
        RuntimeError: an input with another number of channels.

    See K. He et al., "Delving Deep into Rectifiers", 2015.

    >>> nn.PReLU()(lamina.tensor([-1.0, 2.0])).tolist()
    [-0.25, 2.0]
    """

    __constants__ = ["num_parameters"]
    num_parameters: int
    weight: Parameter

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None) -> None:
        self.num_parameters = num_parameters
        super().__init__()
        self.init = init
        self.weight = new_parameter((num_parameters,), device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all slopes to `init`."""
        initial.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    r"""Negative values are scaled by slopes that training draws at random: :math:`y = \max(0, x) + a \min(0, x)`.

    Args:
        lower (float): in training :math:`a` is drawn from :math:`U(\mathrm{lower}, \mathrm{upper})` for each element;
            in evaluation it is their mean. Default: 1/8.
        upper (float): see `lower`. Default: 1/3.
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    Raises:
        RuntimeError: in `forward`, where `lower` is above `upper`.

    See B. Xu et al., "Empirical Evaluation of Rectified Activations in Convolutional Network", 2015.

    >>> nn.RReLU(0.25, 0.75).eval()(lamina.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    __constants__ = ["lower", "upper", "inplace"]
    lower: float
    upper: float
    inplace: bool

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class _Exponential(Module):
    __constants__ = ["alpha", "inplace"]
    alpha: float
    inplace: bool

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}" + (", inplace=True" if self.inplace else "")


class ELU(_Exponential):
    r"""Negative values approach :math:`-\alpha`: :math:`y = x` where :math:`x > 0`, else :math:`\alpha (e^x - 1)`.

    Args:
        alpha (float): :math:`\alpha`. Default: 1.0.
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    See D. Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)", 2015.

    >>> [round(y, 4) for y in nn.ELU()(lamina.tensor([-1.0, 2.0])).tolist()]
    [-0.6321, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)


class CELU(_Exponential):
    r"""An ELU whose slope does not jump: :math:`y = \max(0, x) + \min(0, \alpha (e^{x / \alpha} - 1))`.

    Args:
        alpha (float): :math:`\alpha`, not 0. Default: 1.0.
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    See J. Barron, "Continuously Differentiable Exponential Linear Units", 2017.

    >>> [round(y, 4) for y in nn.CELU(2.0)(lamina.tensor([-1.0, 2.0])).tolist()]
    [-0.7869, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)


class SELU(_InPlace):
    r"""A scaled ELU with which deep networks keep mean 0 and variance 1:
    :math:`y = s \max(0, x) + s \min(0, \alpha (e^x - 1))` with :math:`\alpha = 1.6733` and :math:`s = 1.0507`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    See G. Klambauer et al., "Self-Normalizing Neural Networks", 2017.

    >>> [round(y, 4) for y in nn.SELU()(lamina.tensor([-1.0, 2.0])).tolist()]
    [-1.1113, 2.1014]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class Hardtanh(Module):
    r"""The input moved into an interval: :math:`y = \min(\max(x, a), b)`.

    Args:
        min_val (float): :math:`a`. Default: -1.0.
        max_val (float): :math:`b`, above :math:`a`. Default: 1.0.
        inplace (bool): whether the result is written over the input. Default: False.
        min_value, max_value (float, optional): deprecated names of the first two.

    Shape: input :math:`(*)`, output the same.

    Raises:
        AssertionError: `max_val` is not above `min_val`.

    >>> nn.Hardtanh()(lamina.tensor([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """

    __constants__ = ["min_val", "max_val", "inplace"]
    min_val: float
    max_val: float
    inplace: bool

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        if min_value is not None:
            warnings.warn("Hardtanh: min_value is deprecated, use min_val", FutureWarning, stacklevel=2)
            min_val = min_value
        if max_value is not None:
            warnings.warn("Hardtanh: max_value is deprecated, use max_val", FutureWarning, stacklevel=2)
            max_val = max_value
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace
        if not max_val > min_val:
            raise AssertionError(f"max_val ({max_val}) must be greater than min_val ({min_val})")

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}" + (", inplace=True" if self.inplace else "")


class ReLU6(Hardtanh):
    r"""A ReLU that stops at 6: :math:`y = \min(\max(0, x), 6)`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    >>> nn.ReLU6()(lamina.tensor([-1.0, 2.0, 8.0])).tolist()
    [0.0, 2.0, 6.0]
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return "inplace=True" if self.inplace else ""


class Hardsigmoid(_InPlace):
    r"""A sigmoid of straight lines: :math:`y = \min(\max(x + 3, 0), 6) / 6`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Hardsigmoid()(lamina.tensor([-4.0, 0.0, 1.5])).tolist()
    [0.0, 0.5, 0.75]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Hardswish(_InPlace):
    r"""The input times its :class:`Hardsigmoid`: :math:`y = x \min(\max(x + 3, 0), 6) / 6`.

    Args:
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    See A. Howard et al., "Searching for MobileNetV3", 2019.

    >>> nn.Hardswish()(lamina.tensor([-4.0, 1.5, 4.0])).tolist()
    [-0.0, 1.125, 4.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Threshold(Module):
    r"""Values up to a limit are replaced: :math:`y = x` where :math:`x >` `threshold`, else `value`.

    Args:
        threshold (float): the limit.
        value (float): what stands in for values up to the limit.
        inplace (bool): whether the result is written over the input. Default: False.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Threshold(0.5, -1.0)(lamina.tensor([0.0, 2.0])).tolist()
    [-1.0, 2.0]
    """

    __constants__ = ["threshold", "value", "inplace"]
    threshold: float
    value: float
    inplace: bool

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}" + (", inplace=True" if self.inplace else "")


class _Shrink(Module):
    __constants__ = ["lambd"]
    lambd: float

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def extra_repr(self) -> str:
        return str(self.lambd)


class Hardshrink(_Shrink):
    r"""Small values become zero: :math:`y = x` where :math:`|x| > \lambda`, else 0.

    Args:
        lambd (float): :math:`\lambda`. Default: 0.5.

    Shape: input :math:`(*)`, output the same.

    >>> nn.Hardshrink()(lamina.tensor([-2.0, 0.25])).tolist()
    [-2.0, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)


class Softshrink(_Shrink):
    r"""Values move towards zero and stop there: :math:`y = \mathrm{sign}(x) \max(|x| - \lambda, 0)`.

    Args:
        lambd (float): :math:`\lambda`, not negative. Default: 0.5.

    Shape: input :math:`(*)`, output the same.

    Raises:
        RuntimeError: in `forward`, where `lambd` is negative.

    >>> nn.Softshrink()(lamina.tensor([-2.0, 0.25])).tolist()
    [-1.5, 0.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)
