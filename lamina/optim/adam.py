"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes as dtypes
from lamina import ops
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

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
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
        for name, value in (("lr", lr), ("betas[0]", betas[0]), ("betas[1]", betas[1])):
            if isinstance(value, Tensor):
                if foreach and not capturable:
                    raise ValueError(f"{name} as a Tensor is not supported for capturable=False and foreach=True")
                if value.numel() != 1:
                    raise ValueError(f"Tensor {name} must be 1-element, but it has {value.numel()}")
        check_at_least_zero(learning__rate=lr, epsilon__value=eps)
        for i, beta in enumerate(betas):
            if not 0.0 <= scalar(beta) < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        check_at_least_zero(weight_decay__value=weight_decay)
        if {type(scalar(b)) for b in betas} != {float} or isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError("betas must be either both floats or both Tensors")
        check_one_implementation(fused, foreach, differentiable)
        defaults = {
            "lr": lr,
            "betas": tuple(scalar(b) for b in betas) if not differentiable else tuple(betas),
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

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (
                ("amsgrad", False),
                ("maximize", False),
                ("foreach", None),
                ("capturable", False),
                ("differentiable", False),
                ("decoupled_weight_decay", False),
                ("fused", None),
            ):
                group.setdefault(name, value)
            for p in group["params"]:
                mine = self.state.get(p)
                if mine and not isinstance(mine["step"], Tensor):
                    mine["step"] = _step_tensor(group, float(mine["step"]))

    def _state_of(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = self.state[p]
        if not state:
            state["step"] = _step_tensor(group, 0.0)
            state["exp_avg"] = wrap(np.zeros_like(p._a))
            state["exp_avg_sq"] = wrap(np.zeros_like(p._a))
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = wrap(np.zeros_like(p._a))
        return state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the loss of `closure`, if one is given."""
        loss = run_closure(closure)
        for group in self.param_groups:
            if group["differentiable"]:
                with with_gradients(self):
                    self._recorded_step(group)
                continue
            beta1, beta2 = group["betas"]
            lr, eps, decay = scalar(group["lr"]), group["eps"], scalar(group["weight_decay"])
            amsgrad, decoupled, maximize = group["amsgrad"], group["decoupled_weight_decay"], group["maximize"]
            for p in group["params"]:
                grad = p._grad
                if grad is None:
                    continue
                if grad.is_sparse:
                    raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")
                state = self._state_of(p, group)
                step = state["step"]._a
                step += 1
                k.adam_update(
                    p._a,
                    grad._a,
                    state["exp_avg"]._a,
                    state["exp_avg_sq"]._a,
                    state["max_exp_avg_sq"]._a if amsgrad else None,
                    step.item(),
                    lr,
                    beta1,
                    beta2,
                    eps,
                    decay,
                    decoupled,
                    maximize,
                )
                bump(p)
        return loss

    def _recorded_step(self, group: dict[str, Any]) -> None:
        """The same rule in operations on tensors."""
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["weight_decay"]
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self._state_of(p, group)
            if state["step"].requires_grad:
                raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
            state["step"] += 1
            t = state["step"].item()
            g = -p.grad if group["maximize"] else p.grad
            if isinstance(decay, Tensor) or decay:
                if group["decoupled_weight_decay"]:
                    p.mul_(1 - lr * decay)
                else:
                    g = g + p.clone() * decay  # p itself is about to be written
            m = state["exp_avg"] = state["exp_avg"] * beta1 + g * (1 - beta1)
            v = state["exp_avg_sq"] = state["exp_avg_sq"] * beta2 + g * g * (1 - beta2)
            if group["amsgrad"]:
                v = state["max_exp_avg_sq"] = ops.maximum(state["max_exp_avg_sq"], v)
            correction1, correction2 = 1 - beta1**t, 1 - beta2**t
            p.add_(m / (v.sqrt() / correction2**0.5 + group["eps"]) * (-lr / correction1))


class AdamW(Adam):
    r"""Adam with weight decay that shrinks the parameters directly: :math:`\theta \leftarrow (1 - \gamma\lambda)\theta`
    before each step, after Loshchilov and Hutter,
    `Decoupled Weight Decay Regularization <https://arxiv.org/abs/1711.05101>`_.

    Args:
        weight_decay (float): :math:`\lambda`. Default: 1e-2.

    The other arguments and the errors are those of :class:`Adam`.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


def _step_tensor(group: dict[str, Any], value: float) -> Any:
    """The count of steps, as PyTorch keeps it."""
    single = group["capturable"] or group["fused"] or dtypes.get_default_dtype() is not dtypes.float64
    return wrap(np.array(value, np.float32 if single else np.float64))
