"""Rprop."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina import ops
from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, zeros
from lamina.optim.optimizer import check_at_least_zero, check_one_element, number

__all__ = ["Rprop"]


class Rprop(RuleOptimizer):
    r"""Steps of each element's own size, which grows while the gradient keeps its sign and shrinks when it turns.

    .. math::
        s_t = \operatorname{clip}(s_{t-1} \cdot \begin{cases} \eta_+ & g_t g_{t-1} > 0 \\
            \eta_- & g_t g_{t-1} < 0 \\ 1 & \text{otherwise} \end{cases}), \quad
        \theta_t = \theta_{t-1} - s_t \operatorname{sign}(g_t)

    where an element whose gradient turned stays where it is, and its :math:`g_t` is taken as 0; after Riedmiller and Braun.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): the first size of steps, :math:`s_0`. Default: 1e-2.
        etas (pair of floats): :math:`\eta_-, \eta_+`. Default: (0.5, 1.2).
        step_sizes (pair of floats): the least and the greatest size of a step. Default: (1e-6, 50).
        capturable (bool): for graphs of accelerators; a step on the CPU raises. Default: False.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.

    Raises:
        ValueError: a setting that is out of range.
    """

    _kernel = k.rprop_update

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        check_at_least_zero(learning__rate=lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        lr = number(group["lr"])
        sizes = np.full_like(p._a, complex(lr, lr) if p.is_complex() else lr)
        return {"step": count(0.0, group), "prev": zeros(p), "step_size": wrap(sizes)}

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "prev", "step_size"

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return *map(number, (*group["etas"], *group["step_sizes"])), group["maximize"]

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        step = state["step"]._a
        step += 1
        return numbers

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        (shrink, grow), (least, most) = group["etas"], group["step_sizes"]
        previous, sizes = kept
        trend = g.detach() * previous.detach()
        factor = ops.where(trend > 0, grow, ops.where(trend < 0, shrink, 1.0)).to(p.dtype)
        sizes = (sizes * factor).clamp(least, most)
        g = ops.where(trend < 0, 0.0, g)
        return p - g.sign() * sizes, g, sizes
