"""Adamax."""

from __future__ import annotations

from typing import Any

from lamina import ops
from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed, zeros
from lamina.optim.optimizer import check_at_least_zero, check_betas, check_one_element, number

__all__ = ["Adamax"]


class Adamax(RuleOptimizer):
    r"""Adam with the largest gradient, fading, in place of the root of the mean square.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon), \quad
        \theta_t = \theta_{t-1} - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{u_t}

    with :math:`g_t = \nabla f(\theta_{t-1}) + \lambda \theta_{t-1}`, after Kingma and Ba,
    `Adam: A Method for Stochastic Optimization <https://arxiv.org/abs/1412.6980>`_.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 2e-3.
        betas (pair of floats): :math:`\beta_1, \beta_2`. Default: (0.9, 0.999).
        eps (float): :math:`\epsilon`, for stability. Default: 1e-8.
        weight_decay (float): :math:`\lambda`. Default: 0.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.
        capturable (bool): for graphs of accelerators; a step on the CPU raises. Default: False.

    Raises:
        ValueError: a setting that is out of range.
    """

    _kernel = k.adamax_update

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(learning__rate=lr, epsilon__value=eps)
        check_betas(betas)
        check_at_least_zero(weight_decay__value=weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(0.0, group), "exp_avg": zeros(p), "exp_inf": zeros(p)}

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "exp_avg", "exp_inf"

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return *map(number, (group["lr"], *group["betas"], group["eps"], group["weight_decay"])), group["maximize"]

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        beta1, beta2 = group["betas"]
        m, u = kept
        g = decayed(g, p, group["weight_decay"])
        m = m + (g - m) * (1 - beta1)
        # Where both are equal, each is given half of the gradient, as PyTorch's does.
        u = ops.amax(ops.stack([u * beta2, g.abs() + group["eps"]]), 0)
        return p - m / u * (group["lr"] / (1 - beta1 ** last[0])), m, u
