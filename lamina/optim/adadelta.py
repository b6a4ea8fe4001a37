"""Adadelta."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed, zeros
from lamina.optim.optimizer import check_at_least_zero, check_one_element, number

__all__ = ["Adadelta"]


class Adadelta(RuleOptimizer):
    r"""Steps in the units of earlier steps: scaled by their running size over that of the gradients.

    .. math::
        v_t = \rho v_{t-1} + (1 - \rho) g_t^2, \quad
        \delta_t = \frac{\sqrt{d_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} g_t, \quad
        d_t = \rho d_{t-1} + (1 - \rho) \delta_t^2, \quad
        \theta_t = \theta_{t-1} - \gamma \delta_t

    with :math:`g_t = \nabla f(\theta_{t-1}) + \lambda \theta_{t-1}`, after Zeiler,
    `ADADELTA: An Adaptive Learning Rate Method <https://arxiv.org/abs/1212.5701>`_.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1.0.
        rho (float): :math:`\rho`. Default: 0.9.
        eps (float): :math:`\epsilon`, for stability. Default: 1e-6.
        weight_decay (float): :math:`\lambda`. Default: 0.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        capturable (bool): for graphs of accelerators; a step on the CPU raises. Default: False.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.

    Raises:
        ValueError: a setting that is out of range.
    """

    _kernel = k.adadelta_update

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(learning__rate=lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_at_least_zero(epsilon__value=eps, weight_decay__value=weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(0.0, group), "square_avg": zeros(p), "acc_delta": zeros(p)}

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "square_avg", "acc_delta"

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return *(number(group[n]) for n in ("lr", "rho", "eps", "weight_decay")), group["maximize"]

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        step = state["step"]._a
        step += 1
        return numbers

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        rho, eps = group["rho"], group["eps"]
        v, deltas = kept
        g = decayed(g, p, group["weight_decay"])
        v = v * rho + g * g * (1 - rho)
        delta = (deltas + eps).sqrt() / (v + eps).sqrt() * g
        return p - delta * group["lr"], v, deltas * rho + delta * delta * (1 - rho)
