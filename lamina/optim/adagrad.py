"""Adagrad."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed
from lamina.optim.optimizer import (
    check_at_least_zero,
    check_one_element,
    check_one_implementation,
    number,
    scalar,
)

__all__ = ["Adagrad"]


class Adagrad(RuleOptimizer):
    r"""Steps scaled by the root of the sum of all squared gradients so far.

    .. math::
        s_t = s_{t-1} + g_t^2, \quad
        \theta_t = \theta_{t-1} - \frac{\gamma}{1 + (t - 1) \eta} \frac{g_t}{\sqrt{s_t} + \epsilon}

    with :math:`g_t = \nabla f(\theta_{t-1}) + \lambda \theta_{t-1}`, after Duchi, Hazan and Singer,
    `Adaptive Subgradient Methods <https://jmlr.org/papers/v12/duchi11a.html>`_. Of a sparse gradient only the rows that it
    has are updated.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1e-2.
        lr_decay (float): :math:`\eta`. Default: 0.
        weight_decay (float): :math:`\lambda`. Default: 0.
        initial_accumulator_value (float): :math:`s_0`. Default: 0.
        eps (float): :math:`\epsilon`, for stability. Default: 1e-10.
        foreach, fused (bool, optional): PyTorch's choice of an implementation; there is one here, so they only take
            part in the checks.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.

    Raises:
        ValueError: a setting that is out of range.
        RuntimeError: `fused` together with `foreach` or `differentiable`.
    """

    _kernel = k.adagrad_update
    _later = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(
            learning__rate=lr,
            lr_decay__value=lr_decay,
            weight_decay__value=weight_decay,
            initial_accumulator_value__value=initial_accumulator_value,
            epsilon__value=eps,
        )
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        check_one_implementation(fused, foreach, differentiable)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self._fresh(p, group)

    def share_memory(self) -> None:
        """Do nothing: PyTorch moves the sums to memory that processes share."""

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        value = self.defaults["initial_accumulator_value"]
        start = complex(value, value) if p.is_complex() else value
        return {"step": count(0.0, group), "sum": wrap(np.full_like(p._a, start))}

    def _check_sparse(self, group: dict[str, Any]) -> None:
        if scalar(group["weight_decay"]):
            raise RuntimeError("Adagrad: weight_decay option is not compatible with sparse gradients")
        if group["fused"]:
            raise RuntimeError("Adagrad: `fused` does not support sparse grad or complex param")

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("sum",)

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        lr, slower, eps, decay = (number(group[n]) for n in ("lr", "lr_decay", "eps", "weight_decay"))
        return lr, slower, eps, decay, group["maximize"]

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        step = state["step"]._a
        step += 1
        lr, slower, *rest = numbers
        return (lr / (1 + (step.item() - 1) * slower), *rest)

    def _sparse(self, p: Any, grad: Any, state: dict[str, Any], hyper: Any) -> None:
        rate, eps, _, maximize = self._advance(p, state, hyper[1])
        grad = grad.coalesce()
        values = -grad._values_at if maximize else grad._values_at
        if len(values):
            k.adagrad_rows_update(p._plain(), values, state["sum"]._a, tuple(grad._places), rate, eps)

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        g = decayed(g, p, group["weight_decay"])
        total = kept[0] + g * g
        return p - g / (total.sqrt() + group["eps"]) * last[0], total
