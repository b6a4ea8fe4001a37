"""RAdam."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed, zeros
from lamina.optim.optimizer import check_at_least_zero, check_betas, check_one_element, number

__all__ = ["RAdam"]


class RAdam(RuleOptimizer):
    r"""Adam that divides by :math:`\sqrt v` only once the variance of :math:`v` is tractable, and then rectifies it.

    With :math:`\rho_\infty = 2 / (1 - \beta_2) - 1` and
    :math:`\rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)`,

    .. math::
        \theta_t = \theta_{t-1} - \gamma \hat m_t \begin{cases}
            \sqrt{\frac{(\rho_t - 4)(\rho_t - 2) \rho_\infty}{(\rho_\infty - 4)(\rho_\infty - 2) \rho_t}}
            \frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon} & \rho_t > 5 \\
            1 & \text{otherwise} \end{cases}

    with :math:`\hat m_t = m_t / (1 - \beta_1^t)` and :math:`v_t` as in :class:`Adam`, after Liu et al.,
    `On the Variance of the Adaptive Learning Rate and Beyond <https://arxiv.org/abs/1908.03265>`_.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1e-3.
        betas (pair of floats): :math:`\beta_1, \beta_2`. Default: (0.9, 0.999).
        eps (float): :math:`\epsilon`, for stability. Default: 1e-8.
        weight_decay (float): :math:`\lambda`. Default: 0.
        decoupled_weight_decay (bool): whether decay shrinks the parameter directly, as in AdamW. Default: False.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        maximize (bool): whether the objective is to grow. Default: False.
        capturable (bool): for graphs of accelerators; a step on the CPU raises. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.

    Raises:
        ValueError: a setting that is out of range.
    """

    _kernel = k.radam_update
    _later = {**RuleOptimizer._later, "decoupled_weight_decay": False}

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
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
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": count(0.0, group), "exp_avg": zeros(p), "exp_avg_sq": zeros(p)}

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "exp_avg", "exp_avg_sq"

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        settings = group["lr"], *group["betas"], group["eps"], group["weight_decay"]
        return *map(number, settings), group["decoupled_weight_decay"], group["maximize"]

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        lr, (beta1, beta2), decay, t = group["lr"], group["betas"], group["weight_decay"], last[0]
        if group["decoupled_weight_decay"]:
            p = p * (1 - lr * decay)
        else:
            g = decayed(g, p, decay)
        m, v = kept
        m = m + (g - m) * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        correction = 1 - beta2**t
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * t * beta2**t / correction
        step = m * (lr / (1 - beta1**t))
        if length > 5:
            variance = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
            step = step * (variance * correction) ** 0.5 / (v.sqrt() + group["eps"])
        return p - step, m, v
