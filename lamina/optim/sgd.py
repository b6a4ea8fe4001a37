"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd.graph import bump, wrap
from lamina.engine import kernels as k
from lamina.optim.optimizer import (
    Optimizer,
    check_at_least_zero,
    check_one_implementation,
    run_closure,
    scalar,
    with_gradients,
)

__all__ = ["SGD"]


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum if wanted.

    .. math::
        g_t = \nabla f(\theta_{t-1}) + \lambda \theta_{t-1}, \quad
        b_t = \mu b_{t-1} + (1 - \tau) g_t, \quad
        \theta_t = \theta_{t-1} - \gamma b_t

    where :math:`b_1 = g_1`, and with `nesterov` the step is :math:`\gamma (g_t + \mu b_t)`.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1e-3.
        momentum (float): :math:`\mu`. Default: 0.
        dampening (float): :math:`\tau`. Default: 0.
        weight_decay (float): :math:`\lambda`. Default: 0.
        nesterov (bool): whether the step looks ahead along the momentum. Default: False.
        maximize (bool): whether the objective is to grow. Default: False.
        foreach, fused (bool, optional): PyTorch's choice of an implementation; there is one here, so they only take
            part in the checks.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.

    Raises:
        ValueError: a negative setting, or Nesterov momentum without momentum or with dampening.
        RuntimeError: `fused` together with `foreach` or `differentiable`.

    >>> p = nn.Parameter(lamina.tensor([1.0]))
    >>> optimizer = optim.SGD([p], lr=0.1)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.8
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but it has {lr.numel()}")
        check_at_least_zero(learning__rate=lr)
        for name, value in (("momentum", momentum), ("weight_decay", weight_decay)):
            if scalar(value) < 0.0:
                raise ValueError(f"Invalid {name} value: {value}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_one_implementation(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
                ("nesterov", False),
                ("maximize", False),
                ("foreach", None),
                ("differentiable", False),
                ("fused", False),
            ):
                group.setdefault(name, value)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the loss of `closure`, if one is given."""
        loss = run_closure(closure)
        for group in self.param_groups:
            if group["differentiable"]:
                with with_gradients(self):
                    self._recorded_step(group)
                continue
            lr, momentum, decay = scalar(group["lr"]), group["momentum"], scalar(group["weight_decay"])
            dampening, nesterov, maximize = group["dampening"], group["nesterov"], group["maximize"]
            for p in group["params"]:
                grad = p._grad
                if grad is None:
                    continue
                if grad.is_sparse:
                    self._sparse_step(p, grad, group)
                    continue
                buffer, first = None, False
                if momentum:
                    state = self.state[p]
                    kept = state.get("momentum_buffer")
                    first = kept is None
                    if first:
                        kept = state["momentum_buffer"] = wrap(np.zeros_like(p._a))
                    buffer = kept._a
                k.sgd_update(p._a, grad._a, buffer, lr, momentum, dampening, decay, nesterov, maximize, first)
                bump(p)
        return loss

    def _sparse_step(self, p: Any, grad: Any, group: dict[str, Any]) -> None:
        """The same rule for the rows that a sparse gradient has; the momentum is sparse, too."""
        if scalar(group["weight_decay"]):
            raise RuntimeError("SGD: a sparse gradient goes with weight_decay=0 only, as the decay would concern all rows")
        momentum = group["momentum"]
        g = -grad if group["maximize"] else grad
        if momentum:
            state = self.state[p]
            kept = state.get("momentum_buffer")
            buffer = g.clone() if kept is None else kept * momentum + g * (1 - group["dampening"])
            buffer = state["momentum_buffer"] = buffer.coalesce() if buffer.is_sparse else buffer
            g = g + buffer * momentum if group["nesterov"] else buffer
        if g.is_sparse:
            g._add_into(p._plain(), -scalar(group["lr"]))
        else:  # a buffer that once was dense
            p._a -= g._a * p._a.dtype.type(scalar(group["lr"]))
        bump(p)

    def _recorded_step(self, group: dict[str, Any]) -> None:
        """The same rule in operations on tensors."""
        lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        for p in group["params"]:
            if p.grad is None:
                continue
            g = -p.grad if group["maximize"] else p.grad
            if isinstance(decay, Tensor) or decay:
                g = g + p.clone() * decay  # p itself is about to be written
            if momentum:
                state = self.state[p]
                buffer = state.get("momentum_buffer")
                buffer = g.detach().clone() if buffer is None else buffer * momentum + g * (1 - group["dampening"])
                state["momentum_buffer"] = buffer
                g = g + buffer * momentum if group["nesterov"] else buffer
            p.add_(g * -lr)
