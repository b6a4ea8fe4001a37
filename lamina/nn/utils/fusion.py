"""Batch normalisation folded into the layer before it, for evaluation."""

from __future__ import annotations

import copy
import functools
from typing import Any, TypeVar

from lamina import ops
from lamina._tensor import Tensor
from lamina.nn.modules.batchnorm import _BatchNorm
from lamina.nn.modules.conv import _ConvNd
from lamina.nn.modules.linear import Linear
from lamina.nn.parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]

ConvT = TypeVar("ConvT", bound=_ConvNd)
LinearT = TypeVar("LinearT", bound=Linear)


def _fused(layer: Any, bn: _BatchNorm, weights: Any) -> Any:
    """A copy of ``layer`` with the weight and bias that ``weights`` makes of its own and of the norm's."""
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("bn.running_mean and bn.running_var must not be None")
    fused = copy.deepcopy(layer)
    fused.weight, fused.bias = weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_conv_bn_eval(conv: ConvT, bn: _BatchNorm, transpose: bool = False) -> ConvT:
    """A convolution that computes what ``conv`` and then ``bn`` compute in evaluation.

    Args:
        conv (Module): a convolution in evaluation mode; it is copied.
        bn (Module): batch normalisation in evaluation mode, with running statistics.
        transpose (bool): whether the convolution is a transposed one, whose second dimension holds the output's channels.
            Default: False.

    Raises:
        AssertionError: a module in training mode, or a norm without running statistics.
    """
    return _fused(conv, bn, functools.partial(fuse_conv_bn_weights, transpose=transpose))


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor | None, bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    r"""Weight and bias of :func:`fuse_conv_bn_eval`: :math:`w \cdot s` and :math:`(b - m) s + b_n` with
    :math:`s = w_n / \sqrt{v + \epsilon}`.

    Args:
        conv_w, conv_b: the convolution's weight :math:`w` and bias :math:`b` (None: zeros).
        bn_rm, bn_rv, bn_eps: running mean :math:`m`, running variance :math:`v` and :math:`\epsilon` of the norm.
        bn_w, bn_b: the norm's weight :math:`w_n` (None: ones) and bias :math:`b_n` (None: zeros).
        transpose (bool): as for :func:`fuse_conv_bn_eval`.
    """
    shape = [1] * conv_w.ndim
    shape[1 if transpose else 0] = -1
    return _weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def _weights(
    weight: Any, bias: Any, mean: Any, var: Any, eps: float, bn_weight: Any, bn_bias: Any, shape: list[int]
) -> tuple[Parameter, Parameter]:
    scale = ops.rsqrt(var + eps)
    if bn_weight is not None:
        scale = scale * bn_weight
    shift = -mean * scale if bias is None else (bias - mean) * scale
    if bn_bias is not None:
        shift = shift + bn_bias
    kind = weight.dtype if bias is None else bias.dtype
    return (
        Parameter((weight * scale.reshape(shape)).detach().to(weight.dtype), weight.requires_grad),
        Parameter(shift.detach().to(kind), bias is not None and bias.requires_grad),
    )


def fuse_linear_bn_eval(linear: LinearT, bn: _BatchNorm) -> LinearT:
    """A linear layer that computes what ``linear`` and then ``bn`` compute in evaluation.

    Args:
        linear (Module): a linear layer in evaluation mode; it is copied.
        bn (Module): batch normalisation in evaluation mode, with running statistics, of as many features as the linear
            layer puts out, or of one.

    Raises:
        AssertionError: a module in training mode, a norm without running statistics, or features that do not match.
    """
    if not (linear.training or bn.training) and bn.num_features not in (linear.out_features, 1):
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1, got "
            f"linear.out_features={linear.out_features} and bn.num_features={bn.num_features}"
        )
    return _fused(linear, bn, fuse_linear_bn_weights)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float, bn_w: Tensor, bn_b: Tensor
) -> tuple[Parameter, Parameter]:
    """Weight and bias of :func:`fuse_linear_bn_eval`; the formula and the arguments are :func:`fuse_conv_bn_weights`'s."""
    return _weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, [-1, 1])
