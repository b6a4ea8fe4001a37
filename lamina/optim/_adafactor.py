"""Adafactor."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd.graph import bump, wrap
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, _unfit, count
from lamina.optim.optimizer import check_one_element, number

__all__ = ["Adafactor"]


class Adafactor(RuleOptimizer):
    r"""Adam's scaling at a fraction of its memory: a matrix of mean squares is kept as the means of its rows and columns.

    With :math:`w_t = t^\tau`, :math:`R` and :math:`C` the running means of :math:`g^2` along the last and the last but one
    dimension, and :math:`V = R C / \operatorname{mean}(R)` (of fewer than two dimensions, :math:`V` the running mean itself),

    .. math::
        u_t = \frac{g_t}{\max(\sqrt{V_t}, \epsilon_1)}, \quad
        \theta_t = (1 - \gamma \lambda) \theta_{t-1}
            - \max(\epsilon_2, \operatorname{rms}(\theta_{t-1})) \min\bigl(\gamma, \tfrac{1}{\sqrt t}\bigr)
            \frac{u_t}{\max(1, \operatorname{rms}(u_t) / d)}

    after Shazeer and Stern, `Adafactor: Adaptive Learning Rates with Sublinear Memory Cost <https://arxiv.org/abs/1804.04235>`_.

    Args:
        params (iterable): parameters or parameter groups; real ones.
        lr (float or Tensor): :math:`\gamma`, the most that a step is relative to the parameter. Default: 1e-2.
        beta2_decay (float): :math:`\tau`. Default: -0.8.
        eps (pair): :math:`\epsilon_1` (None: the dtype's), :math:`\epsilon_2`. Default: (None, 1e-3).
        d (float): :math:`d`, the size beyond which updates are clipped. Default: 1.0.
        weight_decay (float): :math:`\lambda`. Default: 0.
        foreach (bool, optional): PyTorch's choice of an implementation; here there is one.
        maximize (bool): whether the objective is to grow. Default: False.

    Raises:
        ValueError: a setting that is out of range.
        RuntimeError: at a step, a complex parameter or a sparse gradient.
    """

    _kernel = k.adafactor_update
    _later = {"foreach": None}

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not 0.0 <= eps[0]:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not 0.0 <= eps[1]:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        shape, kind = p._a.shape, p._a.dtype
        if len(shape) < 2:
            return {"step": count(0.0, group), "variance": wrap(np.zeros(shape, kind))}
        return {
            "step": count(0.0, group),
            "row_var": wrap(np.zeros((*shape[:-1], 1), kind)),
            "col_var": wrap(np.zeros((*shape[:-2], 1, shape[-1]), kind)),
        }

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "row_var", "col_var", "variance"

    def _check_group(self, group: dict[str, Any]) -> None:
        if any(p.is_complex() and p._grad is not None for p in group["params"]):
            raise RuntimeError("Adafactor does not support complex parameters")

    def _check_state(self, p: Any, state: dict[str, Any], names: list[str]) -> None:
        shape = p._a.shape
        shapes = {"variance": shape} if len(shape) < 2 else {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}
        for name, wanted in shapes.items():
            if state[name]._a.shape != wanted or state[name]._a.dtype != p._a.dtype:
                raise RuntimeError(_unfit(self, name, p, state[name]))

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        eps1, eps2 = group["eps"]
        rest = number(eps2), number(group["d"]), number(group["weight_decay"]), group["maximize"]
        return number(group["lr"]), number(group["beta2_decay"]), None if eps1 is None else number(eps1), *rest

    def _update(self, params: list[Any], grads: list[Any], states: list[dict[str, Any]], hyper: Any) -> None:
        names, numbers = hyper
        for p, grad, state in zip(params, grads, states, strict=True):
            kept = (state.get(n) for n in names)
            arrays = [None if x is None else x._a for x in kept]
            self._kernel(p._a, grad, *arrays, *self._advance(p, state, numbers))
            bump(p)
