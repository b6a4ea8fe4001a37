"""Activations that are another function on either side of a point, such as ReLU: their derivatives jump, and the second ones
are zero where nothing is curved."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME, limits
from lamina.autograd import express
from lamina.autograd.graph import Op, Variable, inplace
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.activation import activation, real_only, tensor
from lamina.random.generator import resolve
from lamina.random.uniform import uniform64

# SELU's constants: with them, mean 0 and variance 1 are a fixed point (Klambauer et al., 2017).
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


class Relu(Op):
    """max(x, 0);   dL/dx = g where y > 0"""

    elementwise = True
    keeps_output = True

    @staticmethod
    def forward(ctx, x):
        if x._a.dtype.kind == "b":
            raise RuntimeError("Boolean inputs not supported for relu")
        return k.relu(x._a)

    @staticmethod
    def backward(ctx, grad):
        return ReluBackward.apply(grad, ctx.output)


class ReluBackward(Op):
    """g where y > 0;   linear in g"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y):
        ctx.save(y)
        return k.relu_backward(grad._a, y._a)

    @staticmethod
    def backward(ctx, grad):
        return ReluBackward.apply(grad, ctx.saved[0]), p.zeros_like(grad) if ctx.needs(1) else None


express.one(Relu, k.relu, "output")
express.two(ReluBackward, k.relu_backward, "second")


def _hardtanh_array(x: Any) -> Any:
    kind = x._a.dtype.kind
    if kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if kind == "c":
        raise NotImplementedError(f"hardtanh is not implemented for {SCALAR_NAME[BY_NUMPY[x._a.dtype]]!r}")
    return x._a


def _threshold_array(x: Any) -> Any:
    return real_only(x, "threshold_cpu") if x._a.dtype.kind in "bc" else x._a


def _elu_second(u: Any, x: Any, alpha: float, scale: float, input_scale: float) -> Any:
    curve = p.exp(p.where(x <= 0, x, 0.0) * input_scale) * (alpha * scale * input_scale * input_scale)
    return p.where(x <= 0, u * curve, 0.0)


def _hardswish_second(u: Any, x: Any) -> Any:
    return p.where((x > -3) & (x < 3), u * (1 / 3), 0.0)


_ELU = "s·x where x > 0, else s·a·(e^(i·x) − 1);   dL/dx = g·s, or g·s·a·i·e^(i·x)"
Elu = activation("elu", _ELU, _elu_second)
Celu = activation("elu", _ELU, _elu_second, label="CeluBackward0")
LeakyRelu = activation("leaky_relu", "x where x > 0, else s·x;   dL/dx = g or s·g")
FixedRrelu = activation("leaky_relu", LeakyRelu.__doc__ or "", label="RreluWithNoiseBackward0")
Hardtanh = activation("hardtanh", "x moved into [a, b];   dL/dx = g where a < x < b", array=_hardtanh_array)
Hardsigmoid = activation("hardsigmoid", "(x + 3)/6 moved into [0, 1];   dL/dx = g/6 where −3 < x < 3")
Hardswish = activation("hardswish", "x·hardsigmoid(x);   dL/dx = 0, g·(x/3 + 1/2) or g", _hardswish_second)
Threshold = activation("threshold", "v where x ≤ t, else x;   dL/dx = g where x > t", array=_threshold_array)
Hardshrink = activation("hardshrink", "0 where \\|x\\| ≤ l, else x;   dL/dx = 0 or g", backward="shrink_backward")
Softshrink = activation(
    "softshrink", "0 where \\|x\\| ≤ l, else x moved towards 0 by l;   dL/dx = 0 or g", backward="shrink_backward"
)  # fmt: skip


class PreluKernel(Op):
    """x where x > 0, else w·x;   dL/dx = g or w·g, dL/dw = the sum of g·x where x ≤ 0"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, weight, shape):
        ctx.save(x, weight)
        ctx.shape = shape
        return k.prelu(real_only(x, "prelu_cpu"), weight._a.reshape(shape))

    @staticmethod
    def backward(ctx, grad):
        return *PreluKernelBackward.apply(grad, *ctx.saved, ctx.shape), None


class PreluKernelBackward(Op):
    """The gradients of :class:`PreluKernel` to x and w, as an operation of g, x and w"""

    @staticmethod
    def forward(ctx, grad, x, weight, shape):
        ctx.save(grad, x, weight)
        ctx.shape = shape
        gx, gw = k.prelu_backward(grad._a, x._a, weight._a.reshape(shape))
        return gx, gw.reshape(weight._a.shape)

    @staticmethod
    def backward(ctx, to_x, to_w):
        grad, x, weight = ctx.saved
        w, to_w, left = weight.reshape(ctx.shape), to_w.reshape(ctx.shape), p.logical_not(x > 0)
        gw = p.where(left, to_x * grad, 0.0)
        if w._a.ndim:
            gw = gw.sum([d for d in range(gw._a.ndim) if d != 1])
        else:
            gw = gw.sum().reshape(weight._a.shape)
        return p.where(left, to_x * w + to_w * x, to_x), p.where(left, to_w * grad, 0.0), gw, None


class RreluWithNoise(Op):
    """x·n with n = 1 where x > 0, else drawn from U(lower, upper);   dL/dx = g·n"""

    elementwise = acts = True

    @staticmethod
    def forward(ctx, x, lower, upper):
        a = real_only(x, "rrelu_with_noise_out_cpu")
        below = a <= 0
        low, high = float(a.dtype.type(lower)), float(a.dtype.type(upper))
        noise = np.ones_like(a)
        noise[below] = uniform64(int(np.count_nonzero(below)), resolve(None)) * (high - low) + low
        ctx.save(noise)
        return k.mul(a, noise)

    @staticmethod
    def backward(ctx, grad):
        return TimesNoise.apply(grad, ctx.saved[0]), None, None


class TimesNoise(Op):
    """x·n with an array n;   dL/dx = g·n"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, noise):
        ctx.save(noise)
        return k.mul(x._a, noise)

    @staticmethod
    def backward(ctx, grad):
        return TimesNoise.apply(grad, ctx.saved[0]), None


# -- public functions ----------------------------------------------------------------------------------------------


def _fitting(dtype: np.dtype, *numbers: float) -> None:
    """Raise unless an integer ``dtype`` can hold the numbers."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        for number in numbers:
            if not limits.min <= number <= limits.max:
                raise RuntimeError(f"value {number} cannot be converted to type {dtype} without overflow")


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0), elementwise; NaN stays NaN."""
    if inplace:
        return relu_(input)
    return Relu.apply(input if isinstance(input, Variable) else tensor(input, "relu"))


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where x > 0, else negative_slope·x."""
    return leaky_relu_(input, negative_slope) if inplace else LeakyRelu.apply(tensor(input, "leaky_relu"), negative_slope)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, else alpha·(eˣ − 1) (Clevert et al., 2015)."""
    return elu_(input, alpha) if inplace else Elu.apply(tensor(input, "elu"), alpha, 1.0, 1.0)


def selu(input: Any, inplace: bool = False) -> Any:
    """1.0507·:func:`elu` with alpha 1.6733, for networks that normalise themselves (Klambauer et al., 2017)."""
    return selu_(input) if inplace else Elu.apply(tensor(input, "selu"), _SELU_ALPHA, _SELU_SCALE, 1.0)


def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x where x > 0, else alpha·(e^(x/alpha) − 1), whose derivative has no jump (Barron, 2017); RuntimeError for alpha 0."""
    if inplace:
        return celu_(input, alpha)
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return Celu.apply(tensor(input, "celu"), alpha, 1.0, 1.0 / alpha)


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x moved into [min_val, max_val].

    Raises:
        ValueError: ``min_val > max_val``.
        RuntimeError: a bool tensor, or negative limits for an unsigned one.
    """
    if min_val > max_val:
        raise ValueError(f"min_val cannot be greater than max_val, but got {min_val} and {max_val}")
    if tensor(input, "hardtanh")._a.dtype.kind == "u" and (min_val < 0 or max_val < 0):
        raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    _fitting(input._a.dtype, min_val, max_val)
    return hardtanh_(input, min_val, max_val) if inplace else Hardtanh.apply(input, min_val, max_val)


def relu6(input: Any, inplace: bool = False) -> Any:
    """min(max(x, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Any, inplace: bool = False) -> Any:
    """(x + 3)/6, moved into [0, 1]: a sigmoid of straight lines."""
    return _hardsigmoid_(input) if inplace else Hardsigmoid.apply(tensor(input, "hardsigmoid"))


def hardswish(input: Any, inplace: bool = False) -> Any:
    """x·(x + 3)/6, with the second factor moved into [0, 1] (Howard et al., 2019)."""
    return _hardswish_(input) if inplace else Hardswish.apply(tensor(input, "hardswish"))


def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where x > threshold, else ``value``."""
    _fitting(tensor(input, "threshold")._a.dtype, threshold, value)
    if inplace:
        return threshold_(input, threshold, value)
    return Threshold.apply(input, threshold, value)


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """x where \\|x\\| > lambd, else 0."""
    return Hardshrink.apply(tensor(input, "hardshrink"), lambd)


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """x moved towards 0 by lambd, and 0 where \\|x\\| ≤ lambd; RuntimeError for a negative or infinite lambd."""
    a = real_only(tensor(input, "softshrink"), "softshrink_check")
    limit = float(limits(a.dtype).max)
    if not 0 <= lambd <= limit:
        raise RuntimeError(
            f"lambda must be in range [0, {limit:g}] for input dtype {SCALAR_NAME[BY_NUMPY[a.dtype]]}, but found {lambd:g}"
        )
    return Softshrink.apply(input, lambd)


def prelu(input: Any, weight: Any) -> Any:
    """x where x > 0, else weight·x, with one weight or one per channel, the second dimension (He et al., 2015).

    Raises:
        RuntimeError: the weight has more than one dimension, another dtype, or not one entry per channel.
    """
    w, a = tensor(weight, "prelu")._a, tensor(input, "prelu")._a
    if w.ndim > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {w.ndim}")
    if a.dtype != w.dtype:
        given = " and ".join(SCALAR_NAME[BY_NUMPY[t.dtype]] for t in (a, w))
        raise RuntimeError(f"prelu: Type promoting not supported. Got {given}")
    if w.size == 1:
        return PreluKernel.apply(input, weight, ())
    if a.ndim == 0:
        raise RuntimeError("Not allow zero-dim input tensor.")
    channels = a.shape[1] if a.ndim > 1 else 1
    if w.size != channels:
        raise RuntimeError(
            f"Mismatch of parameter numbers and input channel size. Found parameter numbers = {w.size} and channel size = "
            f"{channels}."
        )
    return PreluKernel.apply(input, weight, (1, channels, *[1] * (a.ndim - 2)))


def rrelu(
    input: Any, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Any:  # fmt: skip
    """x where x > 0, else s·x: in training with s drawn anew for each element from U(lower, upper), else with their mean.

    Raises:
        RuntimeError: ``lower > upper``.
    """
    if inplace:
        return rrelu_(input, lower, upper, training)
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return FixedRrelu.apply(tensor(input, "rrelu"), (lower + upper) / 2)
    return RreluWithNoise.apply(tensor(input, "rrelu"), lower, upper)


_threshold = threshold  # which the arguments of that name hide

relu_ = inplace(lambda input: Relu.apply(input), "relu_")
leaky_relu_ = inplace(lambda input, negative_slope=0.01: LeakyRelu.apply(input, negative_slope), "leaky_relu_")
elu_ = inplace(lambda input, alpha=1.0: elu(input, alpha), "elu_")
selu_ = inplace(lambda input: selu(input), "selu_")
celu_ = inplace(lambda input, alpha=1.0: celu(input, alpha), "celu_")
hardtanh_ = inplace(lambda input, min_val=-1.0, max_val=1.0: hardtanh(input, min_val, max_val), "hardtanh_")
threshold_ = inplace(lambda input, threshold, value: _threshold(input, threshold, value), "threshold_")
rrelu_ = inplace(lambda input, lower=1.0 / 8, upper=1.0 / 3, training=False: rrelu(input, lower, upper, training), "rrelu_")
_hardsigmoid_ = inplace(lambda input: hardsigmoid(input), "hardsigmoid_")
_hardswish_ = inplace(lambda input: hardswish(input), "hardswish_")

METHODS = ("relu", "relu_", "hardshrink", "prelu")
FUNCTIONS = (*METHODS, "selu", "selu_", "celu", "celu_", "rrelu", "rrelu_", "threshold", "threshold_")
NN_FUNCTIONS = (
    *FUNCTIONS, "leaky_relu", "leaky_relu_", "elu", "elu_", "hardtanh", "hardtanh_", "relu6", "hardsigmoid", "hardswish",
    "softshrink",
)  # fmt: skip
