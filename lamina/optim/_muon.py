"""Muon."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.autograd.graph import bump
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, zeros
from lamina.optim.optimizer import check_one_element, number

__all__ = ["Muon"]


class Muon(RuleOptimizer):
    r"""Momentum made orthogonal: for the matrices of a network's hidden layers.

    .. math::
        b_t = \mu b_{t-1} + (1 - \mu) g_t, \quad
        o_t = \operatorname{NS}((1 - \mu) g_t + \mu b_t), \quad
        \theta_t = (1 - \gamma \lambda) \theta_{t-1} - \gamma' o_t

    (without `nesterov`, :math:`o_t = \operatorname{NS}(b_t)`). :math:`\operatorname{NS}` brings all singular values near to 1 by
    steps :math:`X \leftarrow a X + (b X X^\top + c (X X^\top)^2) X` from :math:`X / \lVert X \rVert`, in numbers of bfloat16's
    precision as in PyTorch. :math:`\gamma'` is :math:`\gamma \sqrt{\max(1, m / n)}` for an (m, n) matrix, or
    :math:`0.2 \gamma \sqrt{\max(m, n)}` with ``"match_rms_adamw"``; after Jordan,
    `Muon: An optimizer for hidden layers <https://kellerjordan.github.io/posts/muon/>`_.

    Args:
        params (iterable): parameters or parameter groups; real matrices.
        lr (float): :math:`\gamma`. Default: 1e-3.
        weight_decay (float): :math:`\lambda`. Default: 0.1.
        momentum (float): :math:`\mu`. Default: 0.95.
        nesterov (bool): whether the step looks ahead along the momentum. Default: True.
        ns_coefficients (three floats): :math:`a, b, c`. Default: (3.4445, -4.775, 2.0315).
        eps (float): the least :math:`\lVert X \rVert`. Default: 1e-7.
        ns_steps (int): the number of steps of NS, less than 100. Default: 5.
        adjust_lr_fn (str, optional): ``"original"`` or ``"match_rms_adamw"``. Default: None, as ``"original"``.

    Raises:
        ValueError: a setting that is out of range, or a parameter that is no matrix.
        RuntimeError: at a step, a complex parameter or a sparse gradient.
    """

    _later: dict[str, Any] = {}
    _counts = ()

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_one_element(lr=lr)
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 <= momentum:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}")

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum_buffer": zeros(p)}

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum_buffer",)

    def _check_group(self, group: dict[str, Any]) -> None:
        if any(p.is_complex() and p._grad is not None for p in group["params"]):
            raise RuntimeError("Muon does not support complex parameters")
        if group["ns_steps"] >= 100:
            raise ValueError("Number of steps must be less than 100 for computational efficiency")
        if len(group["ns_coefficients"]) != 3:
            raise ValueError("Coefficients must be a tuple of exactly 3 values")

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        settings = (number(group[n]) for n in ("lr", "weight_decay", "momentum", "eps"))
        rest = group["nesterov"], tuple(map(number, group["ns_coefficients"])), group["ns_steps"], group["adjust_lr_fn"]
        return *settings, *rest

    def _update(self, params: list[Any], grads: list[Any], states: list[dict[str, Any]], hyper: Any) -> None:
        lr, decay, momentum, eps, nesterov, coefficients, steps, adjust = hyper[1]
        for p, grad, state in zip(params, grads, states, strict=True):
            direction = k.muon_momentum(grad, state["momentum_buffer"]._a, momentum, nesterov)
            direction = orthogonal(direction, coefficients, steps, eps)
            height, width = p._a.shape
            if adjust == "match_rms_adamw":
                rate = lr * 0.2 * max(height, width) ** 0.5
            else:
                rate = lr * max(1, height / width) ** 0.5 if width else lr
            k.muon_update(p._a, direction, rate, 1 - lr * decay)
            bump(p)


def orthogonal(x: np.ndarray, coefficients: tuple[float, float, float], steps: int, eps: float) -> np.ndarray:
    """The matrix with singular values brought near to 1; every intermediate result is rounded to bfloat16, in float32."""
    a, b, c = coefficients
    x = k.rounded_to_bfloat16(x, None, 1.0, 0.0)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = np.ascontiguousarray(x.T)
    x = k.muon_normalized(x, eps)
    for _ in range(steps):
        gram = k.rounded_to_bfloat16(k.matmul(x, x.T), None, 1.0, 0.0)
        update = k.rounded_to_bfloat16(k.matmul(gram, gram), gram, c, b)
        x = k.rounded_to_bfloat16(k.matmul(update, x), x, 1.0, a)
    return x.T if tall else x
