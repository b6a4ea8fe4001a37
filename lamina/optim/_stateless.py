"""Lending other parameters and another state to an optimizer."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from lamina._tensor import Tensor
from lamina.optim.optimizer import Optimizer

__all__ = ["swap_in_optimizer_params_and_state"]


@contextlib.contextmanager
def swap_in_optimizer_params_and_state(
    optimizer: Optimizer, swapin_parameters: dict[str, Tensor], swapin_optim_state: dict[str, Any]
) -> Iterator[None]:
    """Within a `with` block, let an optimizer work on other parameters with another state and settings.

    Args:
        optimizer: an optimizer whose state has begun; it is as before after the block.
        swapin_parameters (dict of tensors): the parameters, in the order of the optimizer's own.
        swapin_optim_state (dict): what `state_dict()` returns. Its tensors are written in place; entries that the block adds
            or replaces are not seen in it.

    Raises:
        RuntimeError: a state or groups that do not match the optimizer's.
    """
    states, groups, params = _checked(optimizer, swapin_parameters, swapin_optim_state)
    before = optimizer.state, [dict(group) for group in optimizer.param_groups]
    state: defaultdict[Any, Any] = defaultdict(dict)
    for lent, mine in zip(groups, params, strict=True):
        for key, p in zip(lent["params"], mine, strict=True):
            state[p] = dict(states.get(key, {}))
    try:
        for group, lent, mine in zip(optimizer.param_groups, groups, params, strict=True):
            group.update(lent, params=mine)
        optimizer.state = state
        yield
    finally:
        optimizer.state = before[0]
        for group, old in zip(optimizer.param_groups, before[1], strict=True):
            group.clear()
            group.update(old)


def _checked(optimizer: Optimizer, parameters: dict[str, Tensor], lent: Any) -> tuple[dict, list[dict], list[list[Tensor]]]:
    """The states, the groups, and per group the parameters; raises `RuntimeError` for what does not match."""

    def refuse(text: str) -> RuntimeError:
        return RuntimeError(f"swap_in_optimizer_params_and_state: {text}")

    if not optimizer.state:
        raise refuse("the optimizer has no state yet; it must have made a step")
    if not isinstance(lent, dict):
        raise refuse(f"swapin_optim_state must be a dict as state_dict() returns, but got {type(lent).__name__}")
    states, groups = lent.get("state"), lent.get("param_groups")
    if not isinstance(states, dict) or any(isinstance(key, Tensor) for key in states):
        raise refuse("swapin_optim_state['state'] must be a dict by the numbers of parameters")
    if any(isinstance(key, int) and not isinstance(value, dict) for key, value in states.items()):
        raise refuse("the state of each parameter must be a dict")
    if not isinstance(groups, list):
        raise refuse(f"swapin_optim_state['param_groups'] must be a list, but got {type(groups).__name__}")
    if len(groups) != len(optimizer.param_groups):
        raise refuse(f"got {len(groups)} parameter groups, but the optimizer has {len(optimizer.param_groups)}")
    left, params, known = list(parameters.values()), [], set()
    for i, (group, mine) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        numbers = group.get("params") if isinstance(group, dict) else None
        if not isinstance(numbers, list) or not all(isinstance(n, int) for n in numbers):
            raise refuse(f"group {i} must be a dict whose 'params' are a list of numbers")
        if len(numbers) != len(mine["params"]):
            raise refuse(f"group {i} has {len(numbers)} parameters, but the optimizer's has {len(mine['params'])}")
        if group.keys() != mine.keys():
            raise refuse(f"the settings of group {i} differ from the optimizer's by {sorted(group.keys() ^ mine.keys())}")
        if len(left) < len(numbers):
            raise refuse(f"got {len(parameters)} parameters, which are fewer than the optimizer has")
        params.append(left[: len(numbers)])
        left = left[len(numbers) :]
        known.update(numbers)
    more = [key for key in states if key not in known]
    if more:
        raise refuse(f"swapin_optim_state['state'] has entries that no group names: {more}")
    return states, groups, params
