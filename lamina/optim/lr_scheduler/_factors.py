"""Schedules that multiply: by a function's value, a constant, or what leads along a line, a power or a cosine."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from lamina.optim.lr_scheduler._base import LRScheduler, _function_state, _restore_function, _values
from lamina.optim.optimizer import Optimizer

# -- by functions --------------------------------------------------------------------------------------------------


class _ByFunctions(LRScheduler):
    """What the two schedulers that take functions of the epoch have in common: one function per group, and saving."""

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | list[Callable[[int], float]], last_epoch: int = -1
    ) -> None:
        self.optimizer = optimizer
        groups = len(optimizer.param_groups)
        if not isinstance(lr_lambda, (list, tuple)):
            lr_lambda = [lr_lambda] * groups
        elif len(lr_lambda) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(lr_lambda)}")
        self.lr_lambdas = list(lr_lambda)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"lr_lambda should be a function, but got {type(function).__name__}")
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer. Of functions nothing is kept, of callable objects their attributes."""
        state = super().state_dict()
        state["lr_lambdas"] = [_function_state(f) for f in state.pop("lr_lambdas")]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict()` returned; the functions stay, with their attributes of then."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, state in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            _restore_function(function, state)


class LambdaLR(_ByFunctions):
    r"""The initial rate times a function of the epoch: :math:`\eta_t = \eta_0 \, f(t)`.

    Args:
        optimizer (Optimizer): whose rates are set.
        lr_lambda (function or list): :math:`f`, or one for every group.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    Raises:
        ValueError: as many functions as groups were expected.
        TypeError: something that cannot be called.

    >>> optimizer = optim.SGD([nn.Parameter(lamina.zeros(2))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`."""
        self._warn_outside_step()
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, self.base_lrs, strict=True)]


class MultiplicativeLR(_ByFunctions):
    r"""The last rate times a function of the epoch: :math:`\eta_t = \eta_{t-1} \, f(t)`.

    Args:
        optimizer (Optimizer): whose rates are set.
        lr_lambda (function or list): :math:`f`, or one for every group.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    Raises:
        ValueError: as many functions as groups were expected.
        TypeError: something that cannot be called.
    """

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`."""
        self._warn_outside_step()
        rates = _values(self.optimizer, "lr")
        if self._is_initial:
            return rates
        return [lr * f(self.last_epoch) for f, lr in zip(self.lr_lambdas, rates, strict=True)]


# -- by one factor for all groups ------------------------------------------------------------------------------------


class _ByFactor(LRScheduler):
    """A schedule that multiplies the rates of all groups alike.

    A subclass gives `_change`, the factor from the last epoch's rates to this one's (None: they stay), and `_total`, the
    factor from the initial rates to this epoch's, which is the closed form.
    """

    def _change(self) -> float | None:
        raise NotImplementedError

    def _total(self) -> float:
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`, from the groups' present ones."""
        self._warn_outside_step()
        factor = self._change()
        if factor is None:
            return _values(self.optimizer, "lr")
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def _get_closed_form_lr(self) -> list[Any]:
        return [lr * self._total() for lr in self.base_lrs]


class StepLR(_ByFactor):
    r"""Multiply by `gamma` every `step_size` epochs: :math:`\eta_t = \eta_0 \, \gamma^{\lfloor t / s \rfloor}`.

    Args:
        optimizer (Optimizer): whose rates are set.
        step_size (int): :math:`s`.
        gamma (float): :math:`\gamma`. Default: 0.1.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    >>> optimizer = optim.SGD([nn.Parameter(lamina.zeros(2))], lr=0.5)
    >>> scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for epoch in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     optimizer.step(); scheduler.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _change(self) -> float | None:
        return None if self.last_epoch == 0 or self.last_epoch % self.step_size else self.gamma

    def _total(self) -> float:
        return self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(_ByFactor):
    r"""Multiply by `gamma` at every milestone: :math:`\eta_t = \eta_0 \, \gamma^k` after :math:`k` of them.

    Args:
        optimizer (Optimizer): whose rates are set.
        milestones (iterable of int): epochs; one that is there twice counts twice.
        gamma (float): :math:`\gamma`. Default: 0.1.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _change(self) -> float | None:
        return self.gamma ** self.milestones[self.last_epoch] if self.last_epoch in self.milestones else None

    def _total(self) -> float:
        return self.gamma ** bisect_right(sorted(self.milestones.elements()), self.last_epoch)


class ConstantLR(_ByFactor):
    r"""The initial rate times `factor` until epoch `total_iters`, and the rate itself from then on.

    Args:
        optimizer (Optimizer): whose rates are set.
        factor (float): from 0 to 1. Default: 1/3.
        total_iters (int): how many epochs it lasts. Default: 5.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    Raises:
        ValueError: `factor` is not in [0, 1].
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        if factor > 1.0 or factor < 0:
            raise ValueError(f"Constant multiplicative factor expected to be between 0 and 1, but got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _change(self) -> float | None:
        if self.last_epoch == 0:
            return self.factor
        return 1.0 / self.factor if self.last_epoch == self.total_iters else None

    def _total(self) -> float:
        return self.factor + (self.last_epoch >= self.total_iters) * (1 - self.factor)


class LinearLR(_ByFactor):
    r"""The initial rate times a factor that goes from `start_factor` to `end_factor` in a line, and stays there.

    .. math:: \eta_t = \eta_0 \left( a + (b - a) \frac{\min(t, T)}{T} \right)

    Args:
        optimizer (Optimizer): whose rates are set.
        start_factor (float): :math:`a`, above 0 and at most 1. Default: 1/3.
        end_factor (float): :math:`b`, from 0 to 1. Default: 1.0.
        total_iters (int): :math:`T`. Default: 5.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    Raises:
        ValueError: a factor outside its bounds.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                f"Starting multiplicative factor expected to be greater than 0 and less or equal to 1, but got {start_factor}"
            )
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError(f"Ending multiplicative factor expected to be between 0 and 1, but got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _change(self) -> float | None:
        epoch, start, rise = self.last_epoch, self.start_factor, self.end_factor - self.start_factor
        if epoch == 0:
            return start
        if self._is_initial or epoch > self.total_iters:
            return None
        return 1.0 + rise / (self.total_iters * start + (epoch - 1) * rise)

    def _total(self) -> float:
        rise = self.end_factor - self.start_factor
        return self.start_factor + rise * min(self.total_iters, self.last_epoch) / self.total_iters


class ExponentialLR(_ByFactor):
    r"""Multiply by `gamma` every epoch: :math:`\eta_t = \eta_0 \, \gamma^t`.

    Args:
        optimizer (Optimizer): whose rates are set.
        gamma (float): :math:`\gamma`.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _change(self) -> float | None:
        return None if self._is_initial else self.gamma

    def _total(self) -> float:
        return self.gamma**self.last_epoch


class PolynomialLR(_ByFactor):
    r"""Down to zero at epoch `total_iters` by a power: :math:`\eta_t = \eta_0 \left(1 - \min(t, T) / T\right)^p`.

    Args:
        optimizer (Optimizer): whose rates are set.
        total_iters (int): :math:`T`. Default: 5.
        power (float): :math:`p`. Default: 1.0.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.
    """

    def __init__(
        self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _change(self) -> float | None:
        epoch, total = self.last_epoch, self.total_iters
        if self._is_initial or epoch > total:
            return None
        return ((1.0 - epoch / total) / (1.0 - (epoch - 1) / total)) ** self.power

    def _total(self) -> float:
        return (1.0 - min(self.total_iters, self.last_epoch) / self.total_iters) ** self.power


# -- along a cosine --------------------------------------------------------------------------------------------------


class CosineAnnealingLR(LRScheduler):
    r"""From the initial rate to `eta_min` in `T_max` epochs along half a cosine, and up again in as many.

    .. math:: \eta_t = \eta_{min} + \tfrac{1}{2} (\eta_0 - \eta_{min}) \left(1 + \cos(\pi t / T_{max})\right)

    Args:
        optimizer (Optimizer): whose rates are set.
        T_max (int): half the period.
        eta_min (float): the lowest rate. Default: 0.0.
        last_epoch (int): the last epoch of a run that is continued. Default: -1.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _wave(self, epoch: int) -> float:
        return 1 + math.cos(math.pi * epoch / self.T_max)

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`, from the groups' present ones."""
        self._warn_outside_step()
        rates, epoch, low = _values(self.optimizer, "lr"), self.last_epoch, self.eta_min
        if self._is_initial:
            return rates
        if self._step_count == 1 and epoch > 0:
            wave = 1 + math.cos(epoch * math.pi / self.T_max)
            return [low + (base - low) * wave / 2 for base, _ in zip(self.base_lrs, rates, strict=True)]
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # at the bottom, where the ratio below is 0/0
            rise = 1 - math.cos(math.pi / self.T_max)
            return [lr + (base - low) * rise / 2 for base, lr in zip(self.base_lrs, rates, strict=True)]
        ratio = self._wave(epoch) / self._wave(epoch - 1)
        return [ratio * (lr - low) + low for lr in rates]

    def _get_closed_form_lr(self) -> list[Any]:
        return [self.eta_min + (base - self.eta_min) * self._wave(self.last_epoch) / 2 for base in self.base_lrs]
