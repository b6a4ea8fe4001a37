"""RMSprop."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed, zeros
from lamina.optim.optimizer import check_at_least_zero, check_one_element, number

__all__ = ["RMSprop"]


class RMSprop(RuleOptimizer):
    r"""Steps scaled by the root of the running mean of squared gradients.

    .. math::
        v_t = \alpha v_{t-1} + (1 - \alpha) g_t^2, \quad
        b_t = \mu b_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon}, \quad
        \theta_t = \theta_{t-1} - \gamma b_t

    with :math:`g_t = \nabla f(\theta_{t-1}) + \lambda \theta_{t-1}`. If `centered`, :math:`v_t - \bar g_t^2` stands under the
    root, :math:`\bar g` being the running mean of gradients, after Graves,
    `Generating Sequences With Recurrent Neural Networks <https://arxiv.org/abs/1308.0850>`_.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1e-2.
        alpha (float): :math:`\alpha`. Default: 0.99.
        eps (float): :math:`\epsilon`, for stability. Default: 1e-8.
        weight_decay (float): :math:`\lambda`. Default: 0.
        momentum (float): :math:`\mu`. Default: 0.
        centered (bool): whether to divide by an estimate of the standard deviation. Default: False.
        capturable (bool): for graphs of accelerators; a step on the CPU raises. Default: False.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.

    Raises:
        ValueError: a setting that is out of range.
    """

    _kernel = k.rmsprop_update
    _later = {**RuleOptimizer._later, "momentum": 0, "centered": False}

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(
            learning__rate=lr,
            epsilon__value=eps,
            momentum__value=momentum,
            weight_decay__value=weight_decay,
            alpha__value=alpha,
        )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": count(0.0, group), "square_avg": zeros(p)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros(p)
        if group["centered"]:
            state["grad_avg"] = zeros(p)
        return state

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        momentum, centered = group["momentum"] > 0, group["centered"]
        return "square_avg", "momentum_buffer" if momentum else None, "grad_avg" if centered else None

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return *(number(group[n]) for n in ("lr", "alpha", "eps", "weight_decay", "momentum")), group["maximize"]

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        step = state["step"]._a
        step += 1
        return numbers

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        lr, alpha, momentum, centered = (group[n] for n in ("lr", "alpha", "momentum", "centered"))
        g = decayed(g, p, group["weight_decay"])
        v, *rest = kept
        v = v * alpha + g * g * (1 - alpha)
        new, variance = [v], v
        mean = rest[-1] if centered else None
        if mean is not None:
            mean = mean + (g - mean) * (1 - alpha)
            variance = v - mean * mean
        step = g / (variance.sqrt() + group["eps"])
        if momentum > 0:
            step = rest[0] * momentum + step
            new.append(step)
        if mean is not None:
            new.append(mean)
        return p - step * lr, *new
