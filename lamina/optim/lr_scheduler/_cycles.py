"""Schedules that go up and down: in cycles, once, or down with warm restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from lamina.optim.lr_scheduler._base import (
    LRScheduler,
    _check_optimizer,
    _format_param,
    _function_state,
    _restore_function,
    _set,
    _set_momentum,
    _uses_betas,
)
from lamina.optim.optimizer import Optimizer


class _WithMomentum(LRScheduler):
    """A schedule that moves the momentum the other way round than the rate."""

    cycle_momentum: bool
    use_beta1: bool

    def _start_momentum(
        self, optimizer: Optimizer, base: Any, top: Any, last_epoch: int
    ) -> tuple[list[Any], list[Any]]:
        """The lowest and highest momentum of each group; a run that begins has the highest."""
        self.use_beta1 = _uses_betas(optimizer)
        lowest, highest = (
            _format_param("base_momentum", optimizer, base),
            _format_param("max_momentum", optimizer, top),
        )
        if last_epoch == -1:
            for low, high, group in zip(lowest, highest, optimizer.param_groups, strict=True):
                _set_momentum(group, self.use_beta1, high)
                group["max_momentum"], group["base_momentum"] = high, low
        return lowest, highest


class CyclicLR(_WithMomentum):
    r"""Up from `base_lr` to `max_lr` in `step_size_up` steps, down again in `step_size_down`, and so on.

    The height of a cycle is scaled by 1 ("triangular"), by :math:`2^{1-n}` in the :math:`n`-th cycle ("triangular2"), by
    :math:`\gamma^t` at step :math:`t` ("exp_range"), or by a function. To be stepped after every batch.

    Args:
        optimizer (Optimizer): whose rates, and momentum, are set.
        base_lr (float or list): the lowest rate, or one for every group.
        max_lr (float or list): the highest rate, or one for every group.
        step_size_up (int): steps upwards in a cycle. Default: 2000.
        step_size_down (int, optional): steps downwards; by default as many as upwards.
        mode (str): "triangular", "triangular2" or "exp_range"; without effect where `scale_fn` is given. Default: "triangular".
        gamma (float): the factor of "exp_range". Default: 1.0.
        scale_fn (function, optional): the scale as a function of the cycle's number or the step's.
        scale_mode (str): what `scale_fn` is given: "cycle" or "iterations". Default: "cycle".
        cycle_momentum (bool): whether momentum (beta1) goes down from `max_momentum` to `base_momentum` as the rate goes up.
            Default: True.
        base_momentum (float or list): the lowest momentum. Default: 0.8.
        max_momentum (float or list): the highest momentum. Default: 0.9.
        last_epoch (int): the last step of a run that is continued. Default: -1.

    Raises:
        ValueError: an unknown mode, an optimizer without momentum, or as many values as groups were expected.
        TypeError: `optimizer` is none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = _format_param("base_lr", optimizer, base_lr)
        self.max_lrs = _format_param("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if scale_fn is None:
            if mode not in ("triangular", "triangular2", "exp_range"):
                raise ValueError(
                    f"mode is invalid and scale_fn is None: mode must be triangular, triangular2 or exp_range, but got {mode!r}"
                )
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(
                optimizer, base_momentum, max_momentum, last_epoch
            )
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                _set(group, "lr", lr)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The scale of cycle, or step, `x`."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[Any]:
        """The rates of step `last_epoch`; the momentum of that step is set."""
        self._warn_outside_step()
        cycles = self.last_epoch / self.total_size
        cycle = math.floor(1 + cycles)
        x = 1.0 + cycles - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        scale_of = cycle if self.scale_mode == "cycle" else self.last_epoch
        rates = [
            low + (high - low) * height * self.scale_fn(scale_of)
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]
        if self.cycle_momentum:
            for low, high, group in zip(
                self.base_momentums, self.max_momentums, self.optimizer.param_groups, strict=True
            ):
                _set_momentum(group, self.use_beta1, high - (high - low) * height * self.scale_fn(scale_of))
        return rates

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer. Of a scale function nothing is kept, of a callable object its attributes."""
        state = super().state_dict()
        state["_scale_fn_custom"] = _function_state(state.pop("_scale_fn_custom"))
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict()`, of this class or of PyTorch's, returned."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_scale_fn_custom"})
        _restore_function(self._scale_fn_custom, state_dict["_scale_fn_custom"])


class CosineAnnealingWarmRestarts(LRScheduler):
    r"""Down to `eta_min` along half a cosine in :math:`T_i` epochs, then from the initial rate again.

    .. math:: \eta_t = \eta_{min} + \tfrac{1}{2} (\eta_0 - \eta_{min}) \left(1 + \cos(\pi T_{cur} / T_i)\right)

    where :math:`T_{cur}` counts the epochs since the last restart.

    Args:
        optimizer (Optimizer): whose rates are set.
        T_0 (int): the epochs until the first restart.
        T_mult (int): each period is so many times as long as the one before. Default: 1.
        eta_min (float): the lowest rate. Default: 0.0.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    Raises:
        ValueError: a period that is not a positive int, or an `eta_min` that is not a number.
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}")
        self.T_0 = T_0
        self.T_i: float = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`."""
        self._warn_outside_step()
        wave = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * wave / 2 for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go on to the next epoch, or to the one given, which may be in the midst of one: `epoch + i / batches`.

        Raises:
            ValueError: a negative epoch.
        """
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur = self.T_cur + 1
            if self.T_cur >= self.T_i:
                self.T_cur = self.T_cur % self.T_i
                self.T_i = self.T_i * self.T_mult
        elif epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        elif epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            restarts = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**restarts - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**restarts
        self.last_epoch = math.floor(epoch)
        with self._within_step():
            self._set_rates(self.get_lr())


class OneCycleLR(_WithMomentum):
    r"""Up from `max_lr / div_factor` to `max_lr`, then down to a tiny part of the initial rate: once in a whole training.

    To be stepped after every batch. The number of steps is `total_steps`, or `epochs * steps_per_epoch`.

    Args:
        optimizer (Optimizer): whose rates, and momentum, are set.
        max_lr (float or list): the highest rate, or one for every group.
        total_steps (int, optional): the number of steps.
        epochs (int, optional): the number of epochs, together with `steps_per_epoch`.
        steps_per_epoch (int, optional): the number of steps in an epoch.
        pct_start (float): the part of the steps, from 0.0 to 1.0, in which the rate goes up. Default: 0.3.
        anneal_strategy (str): along half a cosine ("cos") or a line ("linear"). Default: "cos".
        cycle_momentum (bool): whether momentum (beta1) goes down from `max_momentum` to `base_momentum` as the rate goes up.
            Default: True.
        base_momentum (float or list): the lowest momentum. Default: 0.85.
        max_momentum (float or list): the highest momentum. Default: 0.95.
        div_factor (float): the highest rate over the initial one. Default: 25.0.
        final_div_factor (float): the initial rate over the last one. Default: 1e4.
        three_phase (bool): down to the initial rate as it went up, and then to the last one. Default: False.
        last_epoch (int): the last step of a run that is continued. Default: -1.

    Raises:
        ValueError: steps that are not positive ints, a `pct_start` that is not a float in [0, 1], an unknown strategy, an
            optimizer without momentum, or (`step`) one more step than there are.
        TypeError: `optimizer` is none.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        if total_steps is not None:
            sizes = {"total_steps": total_steps}
        elif epochs is not None and steps_per_epoch is not None:
            sizes = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
        else:
            raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
        for name, value in sizes.items():
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"Expected positive integer {name}, but got {value}")
        self.total_steps = math.prod(sizes.values())
        if not isinstance(pct_start, float) or pct_start < 0 or pct_start > 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._schedule_phases = _phases(self.total_steps, float(pct_start * self.total_steps), three_phase)
        self._anneal_func_type = anneal_strategy
        max_lrs = _format_param("max_lr", optimizer, max_lr)
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(optimizer, base_momentum, max_momentum, last_epoch)
        if last_epoch == -1:
            for highest, group in zip(max_lrs, optimizer.param_groups, strict=True):
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        super().__init__(optimizer, last_epoch)

    def _anneal_func(self, start: Any, end: Any, pct: float) -> Any:
        if self._anneal_func_type == "cos":
            return end + (start - end) / 2.0 * (math.cos(math.pi * pct) + 1)
        return (end - start) * pct + start

    def _now(self) -> tuple[dict[str, Any], float]:
        """The phase that step `last_epoch` is in, and which part of it is over."""
        step, start = self.last_epoch, 0.0
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is {self.total_steps}"
            )
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            start = phase["end_step"]
        return phase, (step - start) / (phase["end_step"] - start)

    def get_lr(self) -> list[Any]:
        """The rates of step `last_epoch`; the momentum of that step is set."""
        self._warn_outside_step()
        phase, done = self._now()
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._anneal_func(group[phase["start_lr"]], group[phase["end_lr"]], done))
            if self.cycle_momentum:
                start, end = group[phase["start_momentum"]], group[phase["end_momentum"]]
                _set_momentum(group, self.use_beta1, self._anneal_func(start, end, done))
        return rates


def _phases(total: int, rising: float, three: bool) -> list[dict[str, Any]]:
    """Where each phase ends, and the names of the groups' settings that it leads from and to; `rising` steps go up."""
    ends = [rising - 1, 2 * rising - 2, total - 1] if three else [rising - 1, total - 1]
    rates = ["initial_lr", "max_lr", "initial_lr", "min_lr"] if three else ["initial_lr", "max_lr", "min_lr"]
    moments = ["max_momentum", "base_momentum", "max_momentum", "max_momentum"]
    return [
        {
            "end_step": end,
            "start_lr": rates[i],
            "end_lr": rates[i + 1],
            "start_momentum": moments[i],
            "end_momentum": moments[i + 1],
        }
        for i, end in enumerate(ends)
    ]
