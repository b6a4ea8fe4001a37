"""`LRScheduler`: counting, the order of the steps, saving; and how rates are read from groups and written to them."""

from __future__ import annotations

import functools
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lamina._tensor import Tensor
from lamina.optim.optimizer import Optimizer, scalar
from lamina.utils._objects import as_own_tensor

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where possible: leave it out. As long "
    "as it is accepted, the closed form of the schedule is used with it, where there is one."
)
_ORDER = "https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"


# -- settings of groups --------------------------------------------------------------------------------------------


def _own(value: Any) -> Any:
    """A setting that no later change to a tensor reaches."""
    return value.clone() if isinstance(value, Tensor) else value


def _values(optimizer: Optimizer, key: str) -> list[Any]:
    """A setting of every group; tensors are copied, so that nobody changes a rate by changing the list."""
    return [_own(group[key]) for group in optimizer.param_groups]


def _set(group: dict[str, Any], key: str, value: Any) -> None:
    """Change a group's setting; a tensor stays the same tensor."""
    if isinstance(group[key], Tensor):
        group[key].fill_(scalar(value))
    else:
        group[key] = value


def _set_momentum(group: dict[str, Any], uses_betas: bool, value: Any) -> None:
    """Change a group's momentum, which Adam and its kin keep as the first of their betas."""
    if uses_betas:
        group["betas"] = (value, *group["betas"][1:])
    else:
        group["momentum"] = value


def _format_param(name: str, optimizer: Optimizer, param: Any) -> list[Any]:
    """One value per group, from a value for all of them or a sequence with one for each."""
    groups = len(optimizer.param_groups)
    if not isinstance(param, (list, tuple)):
        param = [param] * groups
    elif len(param) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. {name} has {len(param)} values, param_groups has "
            f"{groups}."
        )
    return [_own(value) for value in param]


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def _uses_betas(optimizer: Optimizer) -> bool:
    """Whether the momentum that is to be cycled is the first beta; an optimizer has to have the one or the other."""
    if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
        raise ValueError("optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
    return "betas" in optimizer.defaults


# -- functions in state dicts ----------------------------------------------------------------------------------------


def _function_state(function: Any) -> Any:
    """What a state dict keeps of a function: nothing of a plain one, the attributes of a callable object."""
    return None if function is None or isinstance(function, types.FunctionType) else function.__dict__.copy()


def _restore_function(function: Any, state: Any) -> None:
    if state is not None:
        function.__dict__.update(state)


def _own_tensors(value: Any) -> Any:
    """A saved value with PyTorch's tensors, which a state dict made in the same process holds, as ours."""
    if isinstance(value, (list, tuple)):
        return type(value)(_own_tensors(v) for v in value)
    tensor = as_own_tensor(value)
    return value if tensor is None else tensor


# -- the base ------------------------------------------------------------------------------------------------------


def _noting_calls(optimizer: Optimizer) -> Callable[..., Any]:
    """The optimizer's `step`, which from now on leaves a note on the optimizer that it was called."""
    step = optimizer.step
    function, owner = getattr(step, "__func__", None), weakref.ref(optimizer)  # no circle: it is kept on the optimizer

    @functools.wraps(function or step)
    def noting(*args: Any, **kwargs: Any) -> Any:
        optimizer: Any = owner()
        optimizer._opt_called = True
        return step(*args, **kwargs) if function is None else function(optimizer, *args, **kwargs)

    if function is not None:
        del step
    noting._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    return noting


class LRScheduler:
    """The base of schedulers: a subclass defines `get_lr`, the rates of the groups at `last_epoch`.

    Making a scheduler sets the rates of epoch 0 (of `last_epoch + 1`) at once and notes every group's own rate as its
    "initial_lr". To continue a run, make the scheduler first, and then load the optimizer's and its state.

    Args:
        optimizer (Optimizer): whose groups' "lr" is changed.
        last_epoch (int): the epoch that was the last one of an interrupted run; -1 starts anew. Default: -1.

    Attributes:
        base_lrs (list): every group's "initial_lr".
        last_epoch (int): the epoch that the rates are those of.

    Raises:
        TypeError: `optimizer` is none.
        KeyError: `last_epoch` is given and a group has no "initial_lr".
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _own(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    f"last_epoch >= 0 (it is {last_epoch}): load the optimizer's state before, or start with last_epoch=-1"
                )
        self.base_lrs: list[Any] = _values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        if not hasattr(optimizer.step, "_wrapped_by_lr_sched"):
            optimizer.step = _noting_calls(optimizer)  # type: ignore[method-assign]
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    # -- saving and loading ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the scheduler keeps but the optimizer, laid out as PyTorch's."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict()`, of this class or of PyTorch's, returned."""
        self.__dict__.update({key: _own_tensors(value) for key, value in state_dict.items()})

    # -- rates -------------------------------------------------------------------------------------------------------

    def get_last_lr(self) -> list[Any]:
        """The rates that the last step set, one per group: floats, or copies of the groups' tensors."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`, computed for `step`, which sets them; to look at rates use `get_last_lr`."""
        raise NotImplementedError

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    @contextmanager
    def _within_step(self) -> Iterator[None]:
        self._get_lr_called_within_step = True
        try:
            yield
        finally:
            self._get_lr_called_within_step = False

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, and set its rates; to be called after the optimizer's step.

        Args:
            epoch (int, optional): the epoch to go to; PyTorch deprecates it, and so a warning is given.
        """
        if self._step_count == 1:
            if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
                warnings.warn(
                    "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization, so "
                    f"nobody can see whether it is called before `lr_scheduler.step()`, as it has to be. See {_ORDER}",
                    UserWarning,
                    stacklevel=2,
                )
            elif not getattr(self.optimizer, "_opt_called", False):
                warnings.warn(
                    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. Call them in the opposite order; "
                    f"otherwise the schedule's first rate is never used. See {_ORDER}",
                    UserWarning,
                    stacklevel=2,
                )
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        before = self.last_epoch
        self.last_epoch = before + 1 if epoch is None else epoch
        closed_form = None if epoch is None else getattr(self, "_get_closed_form_lr", None)
        try:
            with self._within_step():
                self._set_rates(closed_form() if closed_form else self.get_lr())
        except BaseException:
            self.last_epoch = before  # no rate was changed
            raise

    def _set_rates(self, rates: list[Any]) -> None:
        groups = self.optimizer.param_groups
        if len(rates) != len(groups):
            raise ValueError(
                f"{type(self).__name__} gives {len(rates)} learning rates, but the optimizer has {len(groups)} parameter "
                "groups: a scheduler is made after all groups are there"
            )
        for group, rate in zip(groups, rates, strict=True):
            _set(group, "lr", rate)
        self._last_lr: list[Any] = _values(self.optimizer, "lr")


class _LRScheduler(LRScheduler):
    """The base under its old name."""
