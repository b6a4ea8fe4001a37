"""ASGD."""

from __future__ import annotations

from typing import Any

from lamina._dtypes import to_numpy
from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed, zeros
from lamina.optim.optimizer import _get_scalar_dtype, check_at_least_zero, check_one_element, number, scalar

__all__ = ["ASGD"]


class ASGD(RuleOptimizer):
    r"""Stochastic gradient descent that keeps the average of the parameters over its last steps.

    .. math::
        \theta_t = (1 - \lambda \eta_t) \theta_{t-1} - \eta_t g_t, \quad
        a_t = a_{t-1} + \mu_t (\theta_t - a_{t-1}), \quad
        \eta_{t+1} = \frac{\gamma}{(1 + \lambda \gamma t)^\alpha}, \quad
        \mu_{t+1} = \frac{1}{\max(1, t - t_0)}

    after Polyak and Juditsky. The average is `state[p]["ax"]`.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1e-2.
        lambd (float): :math:`\lambda`. Default: 1e-4.
        alpha (float): :math:`\alpha`. Default: 0.75.
        t0 (float): :math:`t_0`, the step at which averaging begins. Default: 1e6.
        weight_decay (float): adds `weight_decay` times the parameter to the gradient. Default: 0.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.
        capturable (bool): for graphs of accelerators; a step on the CPU raises. Default: False.

    Raises:
        ValueError: a setting that is out of range.
    """

    _kernel = k.asgd_update
    _counts = ("step", "eta", "mu")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(learning__rate=lr, weight_decay__value=weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": count(0.0, group),
            "eta": count(scalar(group["lr"]), group),
            "mu": count(1.0, group),
            "ax": zeros(p),
        }

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("ax",)

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return *(number(group[n]) for n in ("lr", "alpha", "t0", "lambd", "weight_decay")), group["maximize"]

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        lr, alpha, t0, lambd, decay, maximize = numbers
        step, eta, mu = state["step"]._a, state["eta"]._a, state["mu"]._a
        step += 1
        t, now, share = step.item(), eta.item(), mu.item()
        # Rounded to the default dtype in any case: loading casts these entries to the parameter's dtype.
        rounded = to_numpy(_get_scalar_dtype()).type
        eta[...] = rounded(lr / (1 + lambd * lr * t) ** alpha)
        mu[...] = rounded(1 / max(1, t - t0))
        return now, share, lambd, decay, maximize

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        eta, mu = last[:2]
        g = decayed(g, p, group["weight_decay"])
        p = p * (1 - group["lambd"] * eta) - g * eta
        return p, kept[0] + (p - kept[0]) * mu if mu != 1 else p.clone()
