"""Losses that compare values element by element: errors of predictions, and divergences of distributions."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, check_cast, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.distance import at_least
from lamina.ops.loss import reduced, reduction_of, tensors


class PointwiseLoss(Op):
    """ℓ(x, y) element by element, their mean or their sum;   dL/dx = g·∂ℓ/∂x, over n for the mean

    A subclass names its kernel (the slope's has ``_backward`` appended) and gives the slopes once more in operations on
    tensors, for gradients of gradients. A loss of the difference x − y has one slope.
    """

    elementwise = True
    kernel = ""
    not_implemented = ""  # PyTorch's name of the kernel, where it refuses a dtype
    of_difference = True

    @staticmethod
    def operands(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        return p.operands(x, y)

    @staticmethod
    def slope(x: Any, y: Any, *settings: Any) -> Any:
        """∂ℓ/∂x."""
        raise NotImplementedError

    @staticmethod
    def target_slope(x: Any, y: Any, *settings: Any) -> Any:
        """∂ℓ/∂y, unless it is −∂ℓ/∂x."""
        raise NotImplementedError

    @staticmethod
    def forward(ctx, x, y, reduction, *settings):
        ctx.save(x, y)
        a, b = ctx.operands(x, y)
        if a.dtype.kind not in "fV":
            raise NotImplementedError(f'"{ctx.not_implemented}" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
        ctx.settings, ctx.scale = settings, 1.0
        try:
            if reduction == "mean":
                size = a.size if a.shape == b.shape else math.prod(np.broadcast_shapes(a.shape, b.shape))
                ctx.scale = 1 / size if size else 0.0
            return getattr(k, ctx.kernel)(a, b, *settings, reduction)
        except ValueError as error:
            raise p._broadcastable(a, b, error) from None

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        dx: Any = None
        dy: Any = None
        if ctx.needs(0) or ctx.of_difference:
            if mode.enabled:
                dx = grad * ctx.scale * ctx.slope(x, y, *ctx.settings)
            else:
                a, b = ctx.operands(x, y)
                dx = wrap(getattr(k, ctx.kernel + "_backward")(a, b, grad._a, *ctx.settings, ctx.scale))
                dx._hidden = x._hidden or y._hidden or grad._hidden
        if ctx.needs(1):
            dy = -dx if ctx.of_difference else grad * ctx.scale * ctx.target_slope(x, y, *ctx.settings)
        return dx if ctx.needs(0) else None, dy, *(None,) * (len(ctx.settings) + 1)


def _in_dtype_of_first(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    a, b = x._a, y._a
    if a.dtype is b.dtype:
        return a, b
    check_cast(b.dtype, a.dtype)
    return a, b.astype(a.dtype)


class MseLoss(PointwiseLoss):
    """(x − y)²;   ∂/∂x = 2·(x − y)"""

    kernel = "squared_error"
    not_implemented = "mse_cpu"

    @staticmethod
    def slope(x, y):
        return (x - y) * 2


class L1Loss(PointwiseLoss):
    """|x − y|;   ∂/∂x = sign(x − y)"""

    kernel = "absolute_error"

    @staticmethod
    def slope(x, y):
        return (x - y).sign()


class SmoothL1Loss(PointwiseLoss):
    """d²/(2β) where d = |x − y| < β, else d − β/2;   ∂/∂x = (x − y)/β moved into [−1, 1]"""

    kernel = "smooth_l1"
    not_implemented = "smooth_l1_cpu"

    @staticmethod
    def slope(x, y, beta):
        return p.clamp((x - y) / beta, -1, 1)


class HuberLoss(PointwiseLoss):
    """d²/2 where d = |x − y| ≤ δ, else δ·(d − δ/2);   ∂/∂x = x − y moved into [−δ, δ]"""

    kernel = "huber"
    mixes = "first"
    not_implemented = "huber_cpu"
    operands = staticmethod(_in_dtype_of_first)

    @staticmethod
    def slope(x, y, delta):
        return p.clamp(x - y, -delta, delta)


class KlDiv(PointwiseLoss):
    """y·(log y − x), or eʸ·(y − x) for a logarithmic target;   ∂/∂x = −y, ∂/∂y = log y + 1 − x; or −eʸ, eʸ·(y + 1 − x)"""

    kernel = "kl_div"
    not_implemented = "kl_div"
    of_difference = False

    @staticmethod
    def slope(x, y, log_target):
        return -(y.exp() if log_target else y)

    @staticmethod
    def target_slope(x, y, log_target):
        if log_target:
            return y.exp() * (y + 1 - x)
        return p.where(y == 0, 0.0, y.log()) + y / y - x  # NaN at 0, as in PyTorch


class PoissonNllLoss(PointwiseLoss):
    """eˣ − y·x, or x − y·log(x + ε);   ∂/∂x = eˣ − y, ∂/∂y = −x; or 1 − y/(x + ε), −log(x + ε)"""

    kernel = "poisson"
    of_difference = False

    @staticmethod
    def slope(x, y, log_input, full, eps):
        return x.exp() - y if log_input else 1 - y / (x + eps)

    @staticmethod
    def target_slope(x, y, log_input, full, eps):
        slope = -x if log_input else -(x + eps).log()
        return slope + (y.log() + 0.5 / y) * (y > 1) if full else slope


class GaussianNllLoss(Op):
    """(log v + d²/v)/2 with d = x − y, v no less than ε;   ∂/∂x = d/v, ∂/∂y = −d/v, ∂/∂v = (1 − d²/v)/(2·v)"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, y, var, eps, full, reduction):
        ctx.save(x, y, var)
        a, b, v = x._a, y._a, var._a
        size = a.size if a.shape == b.shape == v.shape else math.prod(np.broadcast_shapes(a.shape, b.shape, v.shape))
        ctx.eps, ctx.scale = eps, 1.0 if reduction != "mean" else 1 / size if size else 0.0
        return k.gaussian(a, b, v, eps, full, reduction)

    @staticmethod
    def backward(ctx, grad):
        x, y, var = ctx.saved
        v = at_least(var, ctx.eps)
        grad = grad * ctx.scale
        ratio = (x - y) / v
        dx = ratio * grad
        dv = (1 / v - ratio * ratio) * (grad * 0.5) if ctx.needs(2) else None
        return dx if ctx.needs(0) else None, -dx if ctx.needs(1) else None, dv, None, None, None


# -- public functions ----------------------------------------------------------------------------------------------


def _same_size(input: Any, target: Any) -> None:
    if input._a.shape != target._a.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely "
            "lead to incorrect results due to broadcasting. Please ensure they have the same size.",
            stacklevel=3,
        )


def _weighted(errors: Any, weight: Any, input: Any) -> Any:
    if weight._a.shape != input._a.shape:
        raise ValueError(f"Weights and input must have the same size, but they have {weight.shape} and {input.shape}.")
    return errors * weight


def _weighted_mean(errors: Any, weight: Any, input: Any, reduction: str) -> Any:
    errors = _weighted(errors, weight, input)
    return errors.sum() / weight.sum() if reduction == "mean" else reduced(errors, reduction)


def mse_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    r"""The squared error, elementwise: :math:`\ell_i = w_i (x_i - y_i)^2`.

    Args:
        input, target (Tensor): of the same shape; others are broadcast, with a warning.
        reduction (str): "none", "sum", or "mean".
        weight (Tensor, optional): a factor per element, of the input's shape; the mean divides by its sum.

    Raises:
        ValueError: the weight's shape or the reduction.
        RuntimeError: shapes that do not broadcast.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("mse_loss", input=input, target=target)
    _same_size(input, target)
    if weight is not None:
        return _weighted_mean((input - target).square(), weight, input, reduction)
    return MseLoss.apply(input, target, reduction)


def l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Any:
    r"""The absolute error, elementwise: :math:`\ell_i = w_i |x_i - y_i|`.

    Args and errors are those of `mse_loss`.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("l1_loss", input=input, target=target)
    _same_size(input, target)
    if weight is not None:
        return _weighted_mean((input - target).abs(), weight, input, reduction)
    return _absolute(input, target, reduction)


def _absolute(input: Any, target: Any, reduction: str) -> Any:
    if input._a.dtype.kind == target._a.dtype.kind in "fV":
        return L1Loss.apply(input, target, reduction)
    return reduced((input - target).abs(), reduction)


def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Any:
    r"""The absolute error, rounded off below :math:`\beta`; with :math:`d = |x_i - y_i|`:

    .. math::
        \ell_i = \begin{cases} d^2 / 2\beta, & d < \beta \\ d - \beta / 2, & \text{otherwise} \end{cases}

    Args:
        input, target (Tensor): of the same shape; others are broadcast, with a warning.
        reduction (str): "none", "sum", or "mean".
        beta (float): :math:`\beta`; with 0 it is the absolute error.

    Raises:
        ValueError: the reduction.
        RuntimeError: a negative `beta`, or shapes that do not broadcast.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("smooth_l1_loss", input=input, target=target)
    _same_size(input, target)
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss does not support negative values for beta, but got {beta}")
    if beta == 0:
        return _absolute(input, target, reduction)
    return SmoothL1Loss.apply(input, target, reduction, beta)


def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Any:
    r"""The squared error up to :math:`\delta`, linear from there on; with :math:`d = |x_i - y_i|`:

    .. math::
        \ell_i = w_i \begin{cases} d^2 / 2, & d \le \delta \\ \delta (d - \delta / 2), & \text{otherwise} \end{cases}

    Args:
        input, target (Tensor): of the same shape; others are broadcast, with a warning.
        reduction (str): "none", "sum", or "mean" (over the number of elements, weighted or not).
        delta (float): :math:`\delta`, greater than 0.
        weight (Tensor, optional): a factor per element, of the input's shape.

    Raises:
        ValueError: the weight's shape or the reduction.
        RuntimeError: a `delta` that is not positive, or shapes that do not broadcast.
    """
    reduction = reduction_of(reduction)
    tensors("huber_loss", input=input, target=target)
    _same_size(input, target)
    if delta <= 0:
        raise RuntimeError(f"huber_loss does not support non-positive values for delta, but got {delta}")
    if weight is None:
        return HuberLoss.apply(input, target, reduction, delta)
    return reduced(_weighted(HuberLoss.apply(input, target, "none", delta), weight, input), reduction)


def kl_div(
    input: Any,
    target: Any,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Any:
    r"""The terms of the Kullback-Leibler divergence of a distribution :math:`q` from the target :math:`y`, given the
    logarithms :math:`x = \log q`: :math:`\ell_i = y_i (\log y_i - x_i)`.

    Args:
        input (Tensor): log-probabilities.
        target (Tensor): probabilities, or their logarithms; shapes are broadcast.
        reduction (str): "none"; "sum"; "batchmean", the sum over the first dimension's size, which is the divergence;
            or "mean", over the number of elements.
        log_target (bool): whether the target holds logarithms.

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes that do not broadcast, or a dtype that is not of floating point.
    """
    by_batch = reduction == "batchmean"
    if by_batch:
        reduction = "sum"
    elif reduction == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size.'batchmean' divides only "
            "by the batch size, and aligns with the KL div math definition.'mean' will be changed to behave the same as "
            "'batchmean' in the next major release.",
            stacklevel=2,
        )
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("kl_div", input=input, target=target)
    for t in (input, target):
        if t._a.dtype.kind not in "fV":
            kind = "Complex" if t._a.dtype.kind == "c" else "Integral"
            raise RuntimeError(f"kl_div: {kind} inputs not supported.")
    loss = KlDiv.apply(input, target, reduction, log_target)
    return loss / input._a.shape[0] if by_batch and input._a.ndim else loss


def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Any:
    r"""The negative log-likelihood of counts :math:`y` under Poisson distributions: :math:`\ell_i = e^{x_i} - y_i x_i`, or
    :math:`x_i - y_i \log(x_i + \varepsilon)` if the input holds the rates themselves.

    Args:
        input, target (Tensor): the logarithms of the rates (or the rates), and the counts; shapes are broadcast.
        log_input (bool): whether the input holds logarithms.
        full (bool): whether Stirling's approximation :math:`y \log y - y + \log(2 \pi y) / 2` of :math:`\log y!` is added
            for :math:`y > 1`.
        eps (float): :math:`\varepsilon`.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: the reduction.
        RuntimeError: shapes that do not broadcast.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    tensors("poisson_nll_loss", input=input, target=target)
    if input._a.dtype.kind == target._a.dtype.kind in "fV":
        return PoissonNllLoss.apply(input, target, reduction, log_input, full, eps)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + (target * (2 * math.pi)).log() * 0.5
        loss = loss + p.cast(p.where(target <= 1, 0.0, stirling), loss.dtype)
    return reduced(loss, reduction)


def _some_negative(a: np.ndarray) -> bool:
    least = a.item(a.argmin()) if a.size else 0
    return least < 0 or (least != least and bool((a < 0).any()))  # argmin finds NaN first


def gaussian_nll_loss(
    input: Any, target: Any, var: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    r"""The negative log-likelihood of values :math:`y` under normal distributions:
    :math:`\ell_i = (\log v_i + (x_i - y_i)^2 / v_i) / 2`, with the variance :math:`v_i` no less than :math:`\varepsilon`.

    Args:
        input, target (Tensor): the means and the values.
        var (Tensor or float): the variances, of the input's shape, or with the last dimension missing or of size 1.
        full (bool): whether :math:`\log(2 \pi) / 2` is added.
        eps (float): :math:`\varepsilon`; the gradient takes no note of it.
        reduction (str): "none", "sum", or "mean".

    Raises:
        ValueError: a negative variance, a variance of another shape, or the reduction.
    """
    tensors("gaussian_nll_loss", input=input, target=target)
    if isinstance(var, float):
        if var < 0:
            raise ValueError(f"var has negative entry/entries: {var}")
        var = wrap(np.full(input._a.shape, var, input._a.dtype))
    elif not isinstance(var, Variable):
        raise TypeError(f"gaussian_nll_loss(): argument 'var' must be Tensor or float, not {type(var).__name__}")
    elif _some_negative(var._a):
        raise ValueError("var has negative entry/entries")
    shape, of_var = input._a.shape, var._a.shape
    if of_var != shape:
        if of_var == shape[:-1]:
            var = var.unsqueeze(-1)
        elif len(of_var) != len(shape) or sum(n for m, n in zip(shape, of_var, strict=True) if m != n) != 1:
            raise ValueError(f"var is of incorrect size: {var.shape} for an input of size {input.shape}")
    reduction = reduction_of(reduction)
    if input._a.dtype is target._a.dtype is var._a.dtype and input._a.dtype.char in "fd":
        try:
            return GaussianNllLoss.apply(input, target, var, eps, full, reduction)
        except ValueError as error:
            raise p._broadcastable(input._a, target._a, error) from None
    var = at_least(var, eps)
    loss = (var.log() + (input - target).square() / var) * 0.5
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)


NN_FUNCTIONS = (
    "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "gaussian_nll_loss"
)  # fmt: skip
