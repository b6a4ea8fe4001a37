"""SparseAdam."""

from __future__ import annotations

from typing import Any

from lamina._tensor import Tensor
from lamina.engine import kernels as k
from lamina.optim._rule import RuleOptimizer, zeros
from lamina.optim.optimizer import check_betas, check_one_element, number

__all__ = ["SparseAdam"]


class SparseAdam(RuleOptimizer):
    r"""Adam for sparse gradients: only the rows that a gradient has are updated, and so are their averages.

    A row that was left out for some steps is not caught up on: its averages wait, while :math:`t` in the corrections of
    :class:`Adam` counts all steps.

    Args:
        params (iterable): parameters or parameter groups; dense and real ones.
        lr (float or Tensor): the learning rate. Default: 1e-3.
        betas (pair of floats): :math:`\beta_1, \beta_2`. Default: (0.9, 0.999).
        eps (float): for stability, added to :math:`\sqrt v`. Default: 1e-8.
        maximize (bool): whether the objective is to grow. Default: False.

    Raises:
        ValueError: a setting that is out of range, or a sparse or complex parameter.
        RuntimeError: at a step, a dense gradient.
    """

    _later: dict[str, Any] = {}
    _counts = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_one_element(lr=lr)
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        places = [(i, j, p) for i, group in enumerate(self.param_groups) for j, p in enumerate(group["params"])]
        sparse = [[i, j] for i, j, p in places if p.is_sparse]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        complexes = [[i, j] for i, j, p in places if p.is_complex()]
        if complexes:
            raise ValueError(f"Complex params at indices {complexes}: SparseAdam does not support complex parameters")

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "exp_avg": zeros(p), "exp_avg_sq": zeros(p)}

    def _check_group(self, group: dict[str, Any]) -> None:
        if any(p._grad is not None and not p._grad.is_sparse for p in group["params"]):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")

    def _check_sparse(self, group: dict[str, Any]) -> None:
        pass

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return "exp_avg", "exp_avg_sq"

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        return *map(number, (group["lr"], *group["betas"], group["eps"])), group.get("maximize", False)

    def _sparse(self, p: Any, grad: Any, state: dict[str, Any], hyper: Any) -> None:
        *numbers, maximize = hyper[1]
        state["step"] += 1
        grad = grad.coalesce()
        values = -grad._values_at if maximize else grad._values_at
        if values.size:
            places = tuple(grad._places)
            k.adam_rows_update(p._plain(), values, state["exp_avg"]._a, state["exp_avg_sq"]._a, places, state["step"], *numbers)
