"""`Identity`, `Linear` and `Bilinear`."""

from __future__ import annotations

import math
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn import init
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.parameter import Parameter

__all__ = ["Bilinear", "Identity", "Linear"]


class Identity(Module):
    """Returns its input; any arguments are accepted and ignored, so that it can stand in for another layer.

    Shape: input :math:`(*)`, output the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    r"""An affine map of the last dimension: :math:`y = x W^T + b`.

    Args:
        in_features (int): size of the last dimension of the input.
        out_features (int): size of the last dimension of the output.
        bias (bool): whether :math:`b` is learnt. Default: True.
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(*, H_{in})`, output :math:`(*, H_{out})`.

    Attributes:
        weight: :math:`W`, of shape :math:`(H_{out}, H_{in})`, drawn from :math:`U(-k, k)` with
            :math:`k = 1 / \sqrt{H_{in}}`.
        bias: :math:`b`, of shape :math:`(H_{out})`, drawn from the same distribution; None without `bias`.

    Raises:
        RuntimeError: a negative size, or an input whose last dimension is not `in_features`.

    >>> nn.Linear(20, 30)(lamina.randn(128, 20)).shape
    torch.Size([128, 30])
    """

    __constants__ = ["in_features", "out_features"]
    in_features: int
    out_features: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = new_parameter((out_features, in_features), device, dtype)
        self.register_parameter("bias", new_parameter((out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, in PyTorch's order."""
        # kaiming_uniform_ with a = sqrt(5) is U(-1/sqrt(in_features), 1/sqrt(in_features)).
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        parameters = self._parameters  # `self.weight` would look in two other places first, and raise in between
        if "weight" in parameters and "bias" in parameters:
            return F.linear(input, parameters["weight"], parameters["bias"])
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    r"""The product of two vectors with a matrix for each output: :math:`y_o = x_1^T W_o x_2 + b_o`.

    Args:
        in1_features, in2_features (int): sizes of the last dimensions of the inputs.
        out_features (int): size of the last dimension of the output.
        bias (bool): whether :math:`b` is learnt. Default: True.
        device, dtype: where and as what the parameters are made.

    Shape:
        inputs :math:`(*, H_{in1})` and :math:`(*, H_{in2})`, output :math:`(*, H_{out})`.

    Attributes:
        weight: :math:`W`, of shape :math:`(H_{out}, H_{in1}, H_{in2})`, drawn from :math:`U(-k, k)` with
            :math:`k = 1 / \sqrt{H_{in1}}`.
        bias: :math:`b`, of shape :math:`(H_{out})`, drawn from the same distribution; None without `bias`.

    Raises:
        ValueError: `in1_features` is not positive.
        RuntimeError: inputs whose sizes do not fit.

    >>> nn.Bilinear(20, 30, 40)(lamina.randn(128, 20), lamina.randn(128, 30)).shape
    torch.Size([128, 40])
    """

    __constants__ = ["in1_features", "in2_features", "out_features"]
    in1_features: int
    in2_features: int
    out_features: int
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = new_parameter((out_features, in1_features, in2_features), device, dtype)
        self.register_parameter("bias", new_parameter((out_features,), device, dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew, in PyTorch's order."""
        if self.in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got (in1_features={self.in1_features})")
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
