"""Averages of a model's weights over the course of a training, and what belongs to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, Literal

from lamina import _dtypes as dtypes
from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.nn.modules.batchnorm import _BatchNorm
from lamina.nn.modules.module import Module
from lamina.ops.creation import tensor
from lamina.optim.lr_scheduler._base import LRScheduler, _format_param
from lamina.optim.optimizer import Optimizer, scalar

__all__ = [
    "AveragedModel", "update_bn", "SWALR", "get_ema_multi_avg_fn", "get_swa_multi_avg_fn", "get_ema_avg_fn", "get_swa_avg_fn",
]  # fmt: skip

Tensors = Sequence[Tensor]


def _check_decay(decay: float) -> None:
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def _is_inexact(t: Tensor) -> bool:
    return bool(t.is_floating_point() or t.is_complex())


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[[Tensors, Tensors, Any], None]:
    r"""The exponential average :math:`a \leftarrow d \, a + (1 - d) \, p`, of lists of tensors in place.

    Args:
        decay (float): :math:`d`, from 0 to 1. Default: 0.999.

    Raises:
        ValueError: `decay` is not in [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param_list: Tensors, current_param_list: Tensors, _: Any) -> None:
        for average, current in zip(ema_param_list, current_param_list, strict=True):
            if _is_inexact(average):
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> Callable[[Tensors, Tensors, Any], None]:
    r"""The plain average :math:`a \leftarrow a + (p - a) / (n + 1)`, of lists of tensors in place.

    Raises:
        RuntimeError: (the function) integers, whose average is none.
    """

    @no_grad()
    def swa_update(averaged_param_list: Tensors, current_param_list: Tensors, num_averaged: Any) -> None:
        for average, current in zip(averaged_param_list, current_param_list, strict=True):
            if not _is_inexact(average):
                raise RuntimeError(f"an average of integers is none: got tensors of {average.dtype}")
            average.lerp_(current, scalar(1 / (num_averaged + 1)))

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    r"""The exponential average :math:`d \, a + (1 - d) \, p` of one tensor.

    Args:
        decay (float): :math:`d`, from 0 to 1. Default: 0.999.

    Raises:
        ValueError: `decay` is not in [0, 1].
    """
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    r"""The plain average :math:`a + (p - a) / (n + 1)` of one tensor."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    r"""A copy of a model that holds the average of the model's weights over the calls of `update_parameters`.

    The first call copies the weights; each later one takes them into the average, by default the plain mean (stochastic
    weight averaging). Buffers are copied, or averaged too; statistics of batch norms are better computed anew at the end,
    by :func:`update_bn`.

    Args:
        model (Module): what is averaged; it is copied.
        device (device, optional): where the copy lives.
        avg_fn (function, optional): `avg_fn(average, current, n)` returns the new average of one tensor.
        multi_avg_fn (function, optional): `multi_avg_fn(averages, currents, n)` changes a list of averages in place;
            all are of one dtype.
        use_buffers (bool): whether buffers are averaged, rather than copied. Default: False.

    Raises:
        AssertionError: both functions were given.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> average(lamina.ones(1)).item()
    3.0
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[[Tensors, Tensors, Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, dtype=dtypes.long, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the averaged model says."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the weights that `model` has now into the average."""
        mine, theirs = [], []
        for average, current in zip(self._averaged(self.module), self._averaged(model), strict=False):
            mine.append(average.detach())
            theirs.append(current.detach().to(average.device))
        if self.n_averaged == 0:
            for average, current in zip(mine, theirs, strict=True):
                average.copy_(current)
        elif self.multi_avg_fn is not None:
            groups: dict[Any, tuple[list[Tensor], list[Tensor]]] = {}
            for average, current in zip(mine, theirs, strict=True):
                averages, currents = groups.setdefault(average.dtype, ([], []))
                averages.append(average)
                currents.append(current)
            for averages, currents in groups.values():
                self.multi_avg_fn(averages, currents, self.n_averaged)
        else:
            rule = self.avg_fn or get_swa_avg_fn()
            for average, current in zip(mine, theirs, strict=True):
                average.copy_(rule(average, current, self.n_averaged))
        if not self.use_buffers:
            for kept, current in zip(self.module.buffers(), model.buffers(), strict=True):
                kept.detach().copy_(current.detach().to(kept.device))
        self.n_averaged += 1

    def _averaged(self, model: Module) -> Iterable[Tensor]:
        return chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Compute the statistics of a model's batch norms anew, as the mean over one pass of `loader`.

    Args:
        loader (iterable): batches; of a tuple or list, the first entry is the input.
        model (Module): called with each input in training mode; its mode is as before afterwards.
        device (device, optional): where the inputs are moved.
    """
    momenta = {m: m.momentum for m in model.modules() if isinstance(m, _BatchNorm)}
    if not momenta:
        return
    was_training = model.training
    model.train()
    try:
        for norm in momenta:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
        for batch in loader:
            if isinstance(batch, (list, tuple)):
                batch = batch[0]
            model(batch if device is None else batch.to(device))
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    r"""From the present rate to `swa_lr` in `anneal_epochs` epochs, and then no further.

    Args:
        optimizer (Optimizer): whose rates are set.
        swa_lr (float or list): the rate to arrive at, or one for every group.
        anneal_epochs (int): how many epochs it takes. Default: 10.
        anneal_strategy (str): along half a cosine ("cos") or a line ("linear"). Default: "cos".
        last_epoch (int): the last epoch of a run that is continued. Default: -1.

    Raises:
        ValueError: an unknown strategy, an `anneal_epochs` that is not a natural number, or as many rates as groups were
            expected.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float,
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = _format_param("swa_lr", optimizer, swa_lr)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for rate, group in zip(rates, optimizer.param_groups, strict=True):
            group["swa_lr"] = rate
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _part(self, step: int) -> float:
        """How much of `swa_lr` is in the rate after so many steps."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The rates of `last_epoch`, from the groups' present ones."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._part(step - 1), self._part(step)
        rates = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
