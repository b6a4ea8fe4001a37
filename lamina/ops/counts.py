"""Random counts with rates of their own, and gamma numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, HALVES, SCALAR_NAME
from lamina.autograd.graph import Op, Variable
from lamina.engine import kernels as k
from lamina.ops.operands import not_a_tensor, of_tensor
from lamina.ops.random import _drawn
from lamina.ops.shape import broadcast_tensors
from lamina.random import gamma as draw
from lamina.random.counts import poisson as draw_poisson


@of_tensor
def poisson(input: Any, generator: Any = None) -> Any:
    """A Poisson number per element of ``input``, which is its mean, in PyTorch's own stream; the gradient is 0."""
    a = input._a
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f'"poisson_cpu" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
    wide = a.astype(F32) if a.dtype in HALVES else a
    if (wide < 0).any():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _drawn(draw_poisson(wide, generator).astype(a.dtype), None, input)


@of_tensor
def binomial(count: Any, prob: Any, generator: Any = None) -> Any:
    """How many of ``count`` trials succeed with probability ``prob``, element by element, from the generator; the gradient
    is 0. The numbers of a seed are not PyTorch's."""
    if not isinstance(prob, Variable):
        raise not_a_tensor(prob, "binomial")
    n, p = count._a, prob._a
    if n.dtype.kind not in "fV":
        raise ValueError(f"binomial takes counts of a floating-point dtype, got {SCALAR_NAME[BY_NUMPY[n.dtype]]}")
    if p.dtype != n.dtype:
        kinds = " and ".join(SCALAR_NAME[BY_NUMPY[v.dtype]] for v in (n, p))
        raise RuntimeError(f"binomial takes count and prob of one dtype, got {kinds}")
    if n.shape != p.shape:
        n, p = (v._a for v in broadcast_tensors(count, prob))
    n, p = (v.astype(F32) if v.dtype in HALVES else v for v in (n, p))
    return _drawn(np.asarray(draw.binomial(n, p, generator)).astype(count._a.dtype), None, count, prob)


class StandardGamma(Op):
    """Numbers x of the gamma distribution with scale 1;   dL/da = g·dx/da at the same probability (implicit
    differentiation, M. Figurnov and others, NeurIPS 2018)"""

    keeps_output = True

    @staticmethod
    def forward(ctx, alpha, generator):
        ctx.save(alpha)
        a = alpha._a
        info = np.finfo(a.dtype)
        return np.maximum(np.asarray(draw.gamma(a, generator)), np.where(a > 0, info.tiny, 0)).astype(a.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * StandardGammaGrad.apply(ctx.saved[0], ctx.output), None


class StandardGammaGrad(Op):
    """dx/da of gamma numbers; it has no derivative here, as in PyTorch."""

    @staticmethod
    def forward(ctx, alpha, x):
        return k.standard_gamma_grad(alpha._a, x._a)

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("the derivative for '_standard_gamma_grad' is not implemented")


@of_tensor
def _standard_gamma(input: Any, generator: Any = None) -> Any:
    """A number of the gamma distribution with scale 1 per element of ``input``, its shape parameter, with gradients
    (implicitly differentiated). The numbers of a seed are not PyTorch's."""
    dtype = input._a.dtype
    if dtype.kind != "f" or dtype in HALVES:
        raise NotImplementedError(f'"gamma_cpu" not implemented for {SCALAR_NAME[BY_NUMPY[dtype]]!r}')
    return StandardGamma.apply(input, generator)


FUNCTIONS = ("poisson", "binomial", "_standard_gamma")
