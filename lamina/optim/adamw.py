"""AdamW."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.optim.adam import Adam

__all__ = ["AdamW"]


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
