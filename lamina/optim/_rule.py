"""The frame of optimizers whose rule is one kernel: what is gathered, checked and updated, and in which order."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import ops
from lamina._dtypes import BY_NUMPY, to_numpy
from lamina._tensor import Tensor
from lamina.autograd import set_grad_enabled
from lamina.autograd.graph import bump, wrap
from lamina.optim.optimizer import Optimizer, _get_scalar_dtype, run_closure

__all__ = ["RuleOptimizer"]

ndarray = np.ndarray
Row = tuple[Any, ...]

# Tensors of at most so many elements are updated together, in one call over copies of all of them. A call of Adam's
# kernel takes some 14 us of Python, and copying 4096 elements to and fro some 5 us.
SMALL = 4096
TOGETHER = 1 << 15


class RuleOptimizer(Optimizer):
    """An optimizer whose `step` calls a kernel on each parameter, its gradient, and the arrays of its state.

    A subclass says which kernel, how a parameter's state begins (`_fresh`), which entries of it the kernel takes (`_names`),
    and the numbers that follow them (`_hyper`, `_advance`). For `differentiable` it gives the rule in operations on tensors, too
    (`_rule`).
    """

    _kernel: Any
    _later: dict[str, Any] = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}
    _counts: tuple[str, ...] = ("step",)  # entries of a state that are tensors of one number

    # -- what a subclass defines ---------------------------------------------------------------------------------

    def _fresh(self, p: Any, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def _names(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The entries of a state that are arguments of the kernel, in its order; None for one that is not used."""
        raise NotImplementedError

    def _numbers(self, group: dict[str, Any]) -> tuple[Any, ...]:
        """The group's settings as Python numbers, in the order of the kernel's last arguments."""
        raise NotImplementedError

    def _advance(self, p: Any, state: dict[str, Any], numbers: tuple[Any, ...]) -> tuple[Any, ...]:
        """Count a step in the state of a parameter; the kernel's last arguments."""
        step = state["step"]._a
        step += 1
        return (step.item(), *numbers)

    def _rule(self, group: dict[str, Any], last: tuple[Any, ...], p: Any, g: Any, *kept: Any) -> tuple[Any, ...]:
        """The new parameter and the new entries of the state, as tensors; `last` is the kernel's last arguments."""
        raise NotImplementedError

    def _sparse(self, p: Any, grad: Any, state: dict[str, Any], hyper: Any) -> None:
        """The update by a sparse gradient."""
        raise NotImplementedError

    def _check_sparse(self, group: dict[str, Any]) -> None:
        """Raise if sparse gradients cannot serve."""
        raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")

    # -- the frame -----------------------------------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self._later.items():
                group.setdefault(name, value)
            for p in group["params"]:
                kept: Any = self.state.get(p)
                for name in self._counts if kept else ():  # checkpoints of old have numbers
                    if not isinstance(kept[name], Tensor):
                        kept[name] = count(float(kept[name]), group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the loss of `closure`, if one is given.

        A step that raises has changed neither parameters nor states.
        """
        loss = run_closure(closure)
        fresh: dict[Any, dict[str, Any]] = {}
        work = []
        for group in self.param_groups:
            params, grads, states = self._gather(group, fresh)
            if params:
                work.append((group, params, grads, states, self._hyper(group)))
        if fresh:
            self.state.update(fresh)
        for group, params, grads, states, hyper in work:
            if group.get("differentiable"):
                with set_grad_enabled(self.defaults["differentiable"]):
                    self._recorded(group, params, states, hyper)
            else:
                self._update(params, grads, states, hyper)
        return loss

    def _gather(self, group: dict[str, Any], fresh: dict[Any, dict[str, Any]]) -> tuple[list, list, list]:
        """The parameters that have a gradient, the gradients (arrays; a sparse one as its tensor), and the states.

        States that do not exist yet are put into `fresh`. Nothing is changed.

        Raises:
            RuntimeError: a gradient or a state that does not fit its parameter, or a sparse gradient that cannot serve.
            AssertionError: `capturable`, which is for accelerators.
        """
        params: list[Any] = []
        grads: list[Any] = []
        states: list[dict[str, Any]] = []
        names = [n for n in self._names(group) if n]
        kept, first = self.state, True
        for p in group["params"]:
            grad = p._grad
            if grad is None:
                continue
            if first:
                self._check_group(group)
                first = False
            state = kept.get(p)
            if not state:
                state = fresh.get(p)
                if state is None:
                    state = self._fresh(p, group)
                    if state:
                        fresh[p] = state
            elif names:
                self._check_state(p, state, names)
            if grad.is_sparse:
                self._check_sparse(group)
                if tuple(grad.shape) != p._a.shape:
                    raise RuntimeError(_unfit(self, "gradient", p, grad))
                grads.append(grad)
            else:
                a = grad._a
                if a.shape != p._a.shape or a.dtype is not p._a.dtype and a.dtype != p._a.dtype:
                    raise RuntimeError(_unfit(self, "gradient", p, grad))
                grads.append(a)
            params.append(p)
            states.append(state)
        return params, grads, states

    def _check_group(self, group: dict[str, Any]) -> None:
        fused = group.get("fused")
        if group.get("capturable") and not fused:
            raise AssertionError(
                f"{type(self).__name__}: capturable=True, but params and state_steps are on the CPU, which cannot capture"
            )
        if fused:
            for p in group["params"]:
                if not p.is_floating_point():
                    raise RuntimeError(
                        "`fused=True` requires all the params to be floating point Tensors of supported devices, "
                        f"but {p.dtype} and {p.device.type}"
                    )

    def _check_state(self, p: Any, state: dict[str, Any], names: list[str]) -> None:
        a = p._a
        for name in names:
            kept = state[name]._a
            if kept.shape != a.shape or kept.dtype is not a.dtype and kept.dtype != a.dtype:
                raise RuntimeError(_unfit(self, name, p, state[name]))

    def _hyper(self, group: dict[str, Any]) -> tuple[tuple[str | None, ...], tuple[Any, ...]]:
        """What `_update` needs of a group's settings: names of entries, and numbers."""
        return self._names(group), self._numbers(group)

    def _update(self, params: list[Any], grads: list[Any], states: list[dict[str, Any]], hyper: Any) -> None:
        """Apply the rule, in place, to parameters and states."""
        if len(params) > 1 and len(set(map(id, params))) != len(params):  # one after the other, as PyTorch
            for p, grad, state in zip(params, grads, states, strict=True):
                self._update([p], [grad], [state], hyper)
            return
        names, numbers = hyper
        batches: dict[tuple[Any, ...], list[Row]] = {}
        last: tuple[Any, ...] | None = None
        rows: list[Row] = []
        for p, grad, state in zip(params, grads, states, strict=True):
            if type(grad) is not ndarray:
                self._sparse(p, grad, state, hyper)
            else:
                new = self._advance(p, state, numbers)
                if new != last:  # seldom; and to compare is quicker than to hash
                    rows, last = batches.setdefault(new, []), new
                rows.append((p._a, grad, *[state[n]._a if n else None for n in names]))
            bump(p)
        for last, rows in batches.items():
            run(self._kernel, rows, last)

    def _recorded(self, group: dict[str, Any], params: list[Any], states: list[dict[str, Any]], hyper: Any) -> None:
        """The same in operations on tensors."""
        names = [n for n in self._names(group) if n]
        if any(state[name].requires_grad for state in states for name in self._counts):
            raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
        for p, state in zip(params, states, strict=True):
            g = -p.grad if group["maximize"] else p.grad
            old = p.clone()  # p itself is about to be written
            last = self._advance(p, state, hyper[1])
            kept = [state[n] for n in names]
            if p.is_complex():
                old, g, *kept = (ops.view_as_real(x) for x in (old, g, *kept))
            new, *kept = self._rule(group, last, old, g, *kept)
            if p.is_complex():
                new, *kept = (ops.view_as_complex(x) for x in (new, *kept))
            p.copy_(new)
            state.update(zip(names, kept, strict=True))


def _unfit(optimizer: Optimizer, what: str, p: Any, other: Any) -> str:
    found = f"{list(other.shape)} of {other.dtype}"
    return (
        f"{type(optimizer).__name__}: {what} of a parameter {list(p.shape)} of {BY_NUMPY[p._a.dtype]} is {found}; "
        "it must have the parameter's shape and dtype"
    )


def run(kernel: Any, rows: list[Row], numbers: tuple[Any, ...]) -> None:
    """Call a kernel on rows (parameter, gradient, further arrays or None): small ones together, others one by one."""
    dtype, total = rows[0][0].dtype, 0
    for row in rows:
        p = row[0]
        total += p.size
        if p.size > SMALL or p.dtype is not dtype:
            break
    else:
        if total <= TOGETHER:  # as most networks of such tensors have it
            _together(kernel, rows, numbers)
            return
    if len(rows) > 1:
        small: dict[Any, list[Row]] = {}
        for row in rows:
            p = row[0]
            if p.size > SMALL:
                kernel(*row, *numbers)
            else:
                small.setdefault(p.dtype, []).append(row)
        for batch in small.values():
            start = size = 0
            for i, row in enumerate(batch):
                size += row[0].size
                if size > TOGETHER:
                    _together(kernel, batch[start:i], numbers)
                    start, size = i, row[0].size
            _together(kernel, batch[start:], numbers)
    else:
        kernel(*rows[0], *numbers)


class _Rooms(threading.local):
    """Memory in which small tensors lie side by side, with views of each one's part, by their shapes."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[ndarray, list[ndarray]]] = {}

    def __call__(self, column: int, dtype: Any, shapes: tuple[tuple[int, ...], ...]) -> tuple[ndarray, list[ndarray]]:
        key = (column, dtype, shapes)
        room = self._kept.get(key)
        if room is None:
            if len(self._kept) > 256:
                self._kept.clear()
            ends = np.cumsum([0, *map(math.prod, shapes)]).tolist()
            whole = np.empty(ends[-1], dtype)
            parts = [whole[i:j].reshape(s) for i, j, s in zip(ends, ends[1:], shapes, strict=False)]
            room = self._kept[key] = whole, parts
        return room


_rooms = _Rooms()


def _together(kernel: Any, rows: list[Row], numbers: tuple[Any, ...]) -> None:
    if len(rows) == 1:
        kernel(*rows[0], *numbers)
        return
    dtype, shapes = rows[0][0].dtype, tuple([row[0].shape for row in rows])
    joined: list[ndarray | None] = []
    back = []
    for i, column in enumerate(zip(*rows)):  # noqa: B905
        if column[0] is None:
            joined.append(None)
            continue
        whole, parts = _rooms(i, dtype, shapes)
        for part, a in zip(parts, column):  # noqa: B905
            part[...] = a
        joined.append(whole)
        if i != 1:
            back.append((column, parts))
    kernel(*joined, *numbers)
    for column, parts in back:
        for a, part in zip(column, parts):  # noqa: B905
            a[...] = part


def count(value: float, group: dict[str, Any]) -> Any:
    """A number of a state as PyTorch keeps it: a tensor without dimensions."""
    return wrap(np.array(value, to_numpy(_get_scalar_dtype(group.get("fused")))))


def zeros(p: Any) -> Any:
    """Zeros that lie like a parameter."""
    return wrap(np.zeros_like(p._a))


def decayed(g: Any, p: Any, decay: Any) -> Any:
    """The gradient with that of the decay, as tensors."""
    return g + p * decay if isinstance(decay, Tensor) or decay else g
