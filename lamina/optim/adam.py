"""Adam."""

from __future__ import annotations

from typing import Any

from lamina import ops
from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, count, decayed, zeros
from lamina.optim.optimizer import (
    check_at_least_zero,
    check_betas,
    check_one_element,
    check_one_implementation,
    number,
    scalar,
)

__all__ = ["Adam"]


class Adam(RuleOptimizer):
    r"""Steps scaled by running averages of the gradient and of its square.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        \theta_t = \theta_{t-1} - \gamma \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    with :math:`g_t = \nabla f(\theta_{t-1}) + \lambda \theta_{t-1}`, after Kingma and Ba,
    `Adam: A Method for Stochastic Optimization <https://arxiv.org/abs/1412.6980>`_.

    Args:
        params (iterable): parameters or parameter groups.
        lr (float or Tensor): :math:`\gamma`. Default: 1e-3.
        betas (pair of floats): :math:`\beta_1, \beta_2`. Default: (0.9, 0.999).
        eps (float): :math:`\epsilon`, for stability. Default: 1e-8.
        weight_decay (float): :math:`\lambda`. Default: 0.
        amsgrad (bool): whether the largest :math:`v` so far is used
            (`On the Convergence of Adam and Beyond <https://openreview.net/forum?id=ryQu7f-RZ>`_). Default: False.
        foreach, fused, capturable (bool): PyTorch's choice of an implementation; there is one here, so they only take
            part in the checks and in the dtype of the saved step.
        maximize (bool): whether the objective is to grow. Default: False.
        differentiable (bool): whether the step itself is recorded for gradients. Default: False.
        decoupled_weight_decay (bool): whether decay shrinks the parameter directly, as in AdamW. Default: False.

    Raises:
        ValueError: a setting that is out of range.
        RuntimeError: `fused` together with `foreach` or `differentiable`.
    """

    _kernel = k.adam_update
    _later = {
        "amsgrad": False,
        "maximize": False,
        "foreach": None,
        "capturable": False,
        "differentiable": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        tensors = {"lr": lr, "betas[0]": betas[0], "betas[1]": betas[1]}
        for name, value in tensors.items():
            if isinstance(value, Tensor) and foreach and not capturable:
                raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
        check_one_element(**tensors)
        check_at_least_zero(learning__rate=lr, epsilon__value=eps)
        check_betas(betas)
        check_at_least_zero(weight_decay__value=weight_decay)
        if {type(scalar(b)) for b in betas} != {float} or isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        check_one_implementation(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "betas": tuple(b.squeeze() if isinstance(b, Tensor) else b for b in betas),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": count(0.0, group), "exp_avg": zeros(p), "exp_avg_sq": zeros(p)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros(p)
        return state

    def _check_group(self, group: dict[str, Any]) -> None:
        super()._check_group(group)
        if group["foreach"] and isinstance(group["lr"], Tensor) and not group["capturable"]:
            raise RuntimeError("lr as a Tensor is not supported for capturable=False and foreach=True")

    def _check_sparse(self, group: dict[str, Any]) -> None:
        raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        beta1, beta2 = group["betas"]
        settings = group["lr"], beta1, beta2, group["eps"], group["weight_decay"]
        return *map(number, settings), group["decoupled_weight_decay"], group["maximize"]

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        lr, (beta1, beta2), decay, t = group["lr"], group["betas"], group["weight_decay"], last[0]
        if group["decoupled_weight_decay"]:
            p = p * (1 - lr * decay)
        else:
            g = decayed(g, p, decay)
        m, v, *largest = kept
        m = m * beta1 + g * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        new = [m, v, ops.maximum(largest[0], v)] if largest else [m, v]
        correction1, correction2 = 1 - beta1**t, 1 - beta2**t
        return p - m / (new[-1].sqrt() / correction2**0.5 + group["eps"]) * (lr / correction1), *new
