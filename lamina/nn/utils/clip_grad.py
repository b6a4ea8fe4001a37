"""Gradients kept in bounds: by their common norm, or element by element."""

from __future__ import annotations

import types
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.autograd.graph import bump, check_writable, whole, wrap
from lamina.engine import kernels as k

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]

Tensors = Tensor | Iterable[Tensor]


def _gradients(parameters: Tensors) -> list[Any]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    gradients = [p.grad for p in parameters if p.grad is not None]
    if any(g.is_sparse for g in gradients):
        raise NotImplementedError("sparse gradients cannot be clipped; make the embedding with sparse=False")
    return gradients


@whole
@no_grad()
def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of several tensors as if they were one vector.

    Args:
        tensors (Tensor or iterable of Tensors): the parts of the vector.
        norm_type (float): the order of the norm; ``inf`` for the largest magnitude. Default: 2.
        error_if_nonfinite (bool): whether a norm of NaN or infinity is an error. Default: False.
        foreach (bool, optional): accepted for PyTorch's sake; there is one way to compute it.

    Raises:
        RuntimeError: the norm is not finite and ``error_if_nonfinite`` is set.
    """
    parts = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    order = float(norm_type)
    if not parts:
        return wrap(np.zeros((), np.float32))
    total = k.vector_norm(np.array([k.vector_norm(t._a, order, None, False) for t in parts]), order, None, False)
    if error_if_nonfinite and not np.isfinite(total):
        raise RuntimeError(
            f"The total norm of order {order} for gradients from `parameters` is non-finite, so it cannot be clipped. To "
            "disable this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return wrap(total)


@whole
@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    r"""Scale the parameters' gradients in place by :math:`\min(1, \mathrm{max\_norm} / (\mathrm{total\_norm} + 10^{-6}))`.

    Args:
        parameters (Tensor or iterable of Tensors): those without a gradient are left alone.
        max_norm (float): what the norm may be at most.
        total_norm (Tensor): the norm, as :func:`get_total_norm` gives it.
        foreach (bool, optional): accepted for PyTorch's sake.
    """
    factor = float(max_norm) / (total_norm + 1e-6)
    factor = factor.clamp(max=1.0)._a
    if factor == 1:
        return
    factors: dict[Any, np.ndarray] = {}
    for grad in _gradients(parameters):
        check_writable(grad)
        a = grad._a
        f = factors.get(a.dtype)
        if f is None:
            f = factors[a.dtype] = factor.astype(a.dtype)
        k.mul_(a, f)
        bump(grad)


@whole
def clip_grad_norm_(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """Scale the parameters' gradients in place, all by one factor, so that their common norm is at most ``max_norm``.

    Args:
        parameters (Tensor or iterable of Tensors): those without a gradient are left alone.
        max_norm (float): what the norm may be at most.
        norm_type (float): the order of the norm; ``inf`` for the largest magnitude. Default: 2.
        error_if_nonfinite (bool): whether a norm of NaN or infinity is an error; otherwise it is divided by. Default: False.
        foreach (bool, optional): accepted for PyTorch's sake.

    Returns:
        The norm before.

    Raises:
        RuntimeError: the norm is not finite and ``error_if_nonfinite`` is set.
    """
    if not isinstance(parameters, Tensor):
        generated = isinstance(parameters, types.GeneratorType)
        parameters = list(parameters)
        if generated and not parameters:
            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The deprecated name of :func:`clip_grad_norm_`."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning, stacklevel=2,
    )  # fmt: skip
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


@whole
@no_grad()
def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Move every element of the parameters' gradients into [−clip_value, clip_value], in place.

    Args:
        parameters (Tensor or iterable of Tensors): those without a gradient are left alone.
        clip_value (float): the largest magnitude.
        foreach (bool, optional): accepted for PyTorch's sake.
    """
    limit = float(clip_value)
    for grad in _gradients(parameters):
        grad.clamp_(-limit, limit)
