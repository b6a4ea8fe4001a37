"""Normalisation over batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, HALVES, SCALAR_NAME, Size
from lamina.autograd.graph import Op, Variable, bump, mode
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.reduction import Mean, Sum


class BatchNorm(Op):
    """y = x̂·w + b, x̂ = (x − m)/√(v + ε) with the batch's m and v;   dL/dx = w/√(v + ε)·(g − Σg/n − x̂·Σ(g·x̂)/n)"""

    label = "NativeBatchNormBackward0"
    acts = True
    mixes = "first"

    @staticmethod
    def forward(ctx, x, weight, bias, running, momentum, eps):
        a = x._a
        y, m, v = k.batch_norm_train(a, *(None if t is None else t._a for t in (weight, bias)), eps)
        running_mean, running_var = running  # which are written here, and so no inputs of the node
        if running_mean is not None:
            n = a.size // a.shape[1] if a.size else 0
            unbiased = n / (n - 1) if n > 1 else math.nan
            k.move_statistics(running_mean._plain(), running_var._plain(), m, v, momentum, unbiased)
            bump(running_mean)
            bump(running_var)
        ctx.save(x, weight, m, v)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, m, v = ctx.saved
        if mode.enabled:
            return _composed_backward(grad, x, weight, ctx.eps)
        return BatchNormBackward.apply(grad, x, weight, m, v, ctx.eps)


class BatchNormBackward(Op):
    """The gradients of :class:`BatchNorm` in one kernel, where they are not to be differentiated again"""

    @staticmethod
    def forward(ctx, grad, x, weight, m, v, eps):
        return k.batch_norm_backward(grad._a, x._a, m, v, None if weight is None else weight._a, eps)


def _axes(x: Any) -> tuple[int, ...]:
    return (0, *range(2, x._a.ndim))


def _per_channel(t: Any, x: Any) -> Any:
    """A tensor (C) so that it broadcasts to x (N, C, *)."""
    return t if x._a.ndim == 2 else t.reshape(-1, *(1,) * (x._a.ndim - 2))


def _composed_backward(grad: Any, x: Any, weight: Any, eps: float) -> tuple:
    """The gradients of :class:`BatchNorm` as operations, for when they are to be differentiated themselves."""
    axes = _axes(x)
    centred = x - Mean.apply(x, axes, True)
    inverse = p.rsqrt(Mean.apply(centred * centred, axes, True) + eps)
    normed = centred * inverse
    gb, gw = Sum.apply(grad, axes, True, None), Sum.apply(grad * normed, axes, True, None)
    n = x._a.size // x._a.shape[1] if x._a.size else 1
    gx = inverse * (grad - gb / n - normed * (gw / n))
    if weight is not None:
        gx = gx * _per_channel(weight, x)
    return gx, gw.reshape(-1), gb.reshape(-1)


class BatchNormEval(Op):
    """y = (x − m)·s + b with given m and v, s = w/√(v + ε);   dL/dx = g·s, dL/dw = Σ g·(x − m)/√(v + ε), dL/db = Σ g"""

    label = "NativeBatchNormBackward0"
    mixes = "first"

    @staticmethod
    def forward(ctx, x, weight, bias, mean, var, eps):
        ctx.save(x, weight, mean, var)
        ctx.eps = eps
        w, b = None if weight is None else weight._a, None if bias is None else bias._a
        return k.batch_norm_eval(x._a, mean._a, var._a, w, b, eps)

    @staticmethod
    def backward(ctx, grad):
        x, weight, mean, var = ctx.saved
        axes, inverse = _axes(x), p.rsqrt(var + ctx.eps)
        gx = gw = gb = None
        if ctx.needs(0):
            gx = grad * _per_channel(inverse if weight is None else inverse * weight, x)
        if ctx.needs(1):
            gw = Sum.apply(grad * (x - _per_channel(mean, x)), axes, False, None) * inverse
        if ctx.needs(2):
            gb = Sum.apply(grad, axes, False, None)
        return gx, gw, gb


def batch_norm(
    input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    r"""Each channel, normalised: :math:`y = (x - m) / \sqrt{v + \epsilon} \cdot w + b`.

    In training m and v are the batch's mean and (biased) variance, and ``running_mean`` and ``running_var``, if given, move
    by ``momentum`` towards the mean and the unbiased variance; otherwise m and v are the running ones.

    Shapes: input (N, C, \*), all others (C). Raises ``ValueError`` for a batch with one value per channel, and ``RuntimeError``
    for sizes or dtypes that do not fit.
    """
    a = input._a if isinstance(input, Variable) else _no_tensor("input", input)
    if not isinstance(momentum, (int, float)):
        raise TypeError(f"batch_norm(): argument 'momentum' (position 7) must be float, not {type(momentum).__name__}")
    if eps < 0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    if a.ndim < 2:
        raise RuntimeError(f"batch_norm: expected an input of shape (N, C, *), but got {list(a.shape)}")
    if training:
        n = a.shape[0] * math.prod(a.shape[2:])
        if n == 1:
            raise ValueError(f"batch_norm: Expected more than 1 value per channel when training, got input size {Size(a.shape)}")
        if (running_mean is None) != (running_var is None):
            raise ValueError("running_mean and running_var must either both be None or neither be None")
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f"\"batch_norm\" not implemented for '{SCALAR_NAME[BY_NUMPY[a.dtype]]}'")
    shape, dtype = a.shape[1:2], a.dtype
    for name, t in (("running_mean", running_mean), ("running_var", running_var), ("weight", weight), ("bias", bias)):
        if isinstance(t, Variable) and t._a.shape == shape and t._a.dtype is dtype:
            continue
        if t is None:
            if not training and name.startswith("running"):
                raise RuntimeError(f"{name} must be defined in evaluation mode")
            continue
        check_parameter(name, t, a)
    if training:
        return BatchNorm.apply(input, weight, bias, (running_mean, running_var), float(momentum), float(eps))
    return BatchNormEval.apply(input, weight, bias, running_mean, running_var, float(eps))


def count_batch(batches: Any) -> None:
    """Add one to a layer's count of batches, in place."""
    k.count_up(batches._plain())
    bump(batches)


def _no_tensor(name: str, x: Any) -> Any:
    raise TypeError(f"batch_norm(): argument '{name}' must be Tensor, not {type(x).__name__}")


def check_parameter(name: str, t: Any, a: np.ndarray) -> None:
    """Raise unless a parameter or statistic has one element for each channel of ``a``, in a dtype that goes with it."""
    b = t._a if isinstance(t, Variable) else _no_tensor(name, t)
    c = a.shape[1]
    if b.shape != (c,):
        if b.size == c:
            raise RuntimeError(f"{name} should have one dimension, but has {b.ndim}: {list(b.shape)}")
        raise RuntimeError(f"{name} should contain {c} elements not {b.size}, for an input of shape {list(a.shape)}")
    if b.dtype is not a.dtype and b.dtype != a.dtype:
        _mixed(a, b)


def check_parameter_dtype(a: np.ndarray, *parameters: Any) -> None:
    """Raise unless all parameters (or ``None``) have the input's dtype, or are single beside a half-precision input."""
    first = None
    for t in parameters:
        if t is None:
            continue
        b = t._a
        if b.dtype is not a.dtype and b.dtype != a.dtype:
            _mixed(a, b)
        if first is not None and first.dtype != b.dtype:
            one, other = (SCALAR_NAME[BY_NUMPY[x.dtype]] for x in (first, b))
            raise RuntimeError(f"expected scalar type {one} but found {other}: weight and bias must have one dtype")
        first = b


def _mixed(a: np.ndarray, b: np.ndarray) -> None:
    """Raise unless a parameter's dtype is allowed beside the input's: half precision goes with single."""
    if a.dtype in HALVES and b.dtype is F32:
        return
    if a.dtype in HALVES or a.dtype is F32:
        raise RuntimeError(
            f"mixed dtype (CPU): expect parameter to have scalar type of Float, but got {SCALAR_NAME[BY_NUMPY[b.dtype]]}"
        )
    raise RuntimeError("mixed dtype (CPU): all inputs must share same datatype.")


NN_FUNCTIONS = ("batch_norm",)
