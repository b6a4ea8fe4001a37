"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, decayed
from lamina.optim.optimizer import (
    check_at_least_zero,
    check_one_element,
    check_one_implementation,
    number,
    scalar,
)

__all__ = ["SGD"]


class SGD(RuleOptimizer):
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

    _kernel = k.sgd_update
    _later = {"nesterov": False, "maximize": False, "foreach": None, "differentiable": False, "fused": False}
    _counts = ()

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
        check_one_element(lr=lr)
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

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum_buffer": None} if group["momentum"] else {}

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum_buffer" if group["momentum"] else None,)

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        momentum, dampening, decay = (number(group[n]) for n in ("momentum", "dampening", "weight_decay"))
        return number(group["lr"]), momentum, dampening, decay, group["nesterov"], group["maximize"]

    def _check_state(self, p: Any, state: dict[str, Any], names: list[str]) -> None:
        kept = state.get("momentum_buffer")
        if kept is not None and not kept.is_sparse:
            super()._check_state(p, state, names)

    def _check_sparse(self, group: dict[str, Any]) -> None:
        if scalar(group["weight_decay"]):
            raise RuntimeError("SGD: a sparse gradient goes with weight_decay=0 only, as the decay would concern all rows")

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        if not numbers[1]:
            return (*numbers, False)
        buffer = state.get("momentum_buffer")
        if buffer is None:
            state["momentum_buffer"] = wrap(np.zeros_like(p._a))
        elif buffer.is_sparse:  # of a gradient that once was sparse
            state["momentum_buffer"] = buffer.to_dense()
        return (*numbers, buffer is None)

    def _sparse(self, p: Any, grad: Any, state: dict[str, Any], hyper: Any) -> None:
        """The same rule for the rows that a sparse gradient has; the momentum is sparse, too."""
        lr, momentum, dampening, _, nesterov, maximize = hyper[1]
        g = -grad if maximize else grad
        if momentum:
            kept = state.get("momentum_buffer")
            buffer = g.clone() if kept is None else kept * momentum + g * (1 - dampening)
            buffer = state["momentum_buffer"] = buffer.coalesce() if buffer.is_sparse else buffer
            g = g + buffer * momentum if nesterov else buffer
        if g.is_sparse:
            g._add_into(p._plain(), -lr)
        else:  # a buffer that once was dense
            k.sgd_update(p._a, g._a, None, lr, 0.0, 0.0, 0.0, False, False, False)

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        lr, momentum = group["lr"], group["momentum"]
        g = decayed(g, p, group["weight_decay"])
        if not kept:
            return (p - g * lr,)
        (buffer,) = kept
        buffer = g.detach().clone() if last[-1] else buffer * momentum + g * (1 - group["dampening"])
        g = g + buffer * momentum if group["nesterov"] else buffer
        return p - g * lr, buffer
