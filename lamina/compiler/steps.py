"""Optimizer steps in programs: what a step looks up and checks each time is looked up once, and then only compared.

For optimizers whose rule is one kernel, and parameters so few that Python is what their step costs. The states (averages of
gradients and the like) of a group's parameters come to lie side by side, so that the kernel takes them as they are; the
tensors in ``optimizer.state`` look at their parts. Settings are read each time, so schedules go on. Whenever anything is not
as it was (a state that was loaded, a gradient that is missing, a hook), the step is the optimizer's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd.graph import bump
from lamina.nn.parameter import Parameter
from lamina.optim import optimizer as base
from lamina.optim._rule import RuleOptimizer

TOGETHER = 1 << 16  # elements up to which a group's parameters are updated together
_FLAGS = ("amsgrad", "maximize", "differentiable", "capturable", "fused", "foreach", "momentum", "nesterov", "centered")


class _Group:
    """A group's parameters with the arrays that belong to them."""

    def __init__(self, optimizer: Any, group: dict[str, Any]) -> None:
        self.optimizer, self.group = optimizer, group
        self.params = list(group["params"])
        self.flags = [group.get(name) for name in _FLAGS]
        names = optimizer._names(group)
        self.states = [optimizer.state[p] for p in self.params]
        self.arrays = [p._a for p in self.params]
        self.shapes = [a.shape for a in self.arrays]
        self.kept: list[Any] = [None if n is None else [s[n] for s in self.states] for n in names]
        self.kept_arrays: list[Any] = [None if c is None else [t._a for t in c] for c in self.kept]
        self.steps = [s["step"] for s in self.states]
        self.dtype = self.arrays[0].dtype
        sizes = [a.size for a in self.arrays]
        ends = np.cumsum([0, *sizes]).tolist()
        self.parts = [slice(i, j) for i, j in zip(ends, ends[1:], strict=False)]

    def join(self) -> None:
        """Put the states of all parameters side by side, and have each tensor look at its part."""
        self.flat = [a.reshape(-1) for a in self.arrays]
        self.whole = np.concatenate(self.flat)
        self.views = [self.whole[part].reshape(shape) for part, shape in zip(self.parts, self.shapes, strict=True)]
        self.joined: list[Any] = []
        for i, tensors in enumerate(self.kept):
            whole = None
            if tensors is not None:
                whole = np.concatenate(self.kept_arrays[i], None)
                for t, part, shape in zip(tensors, self.parts, self.shapes, strict=True):
                    t._a = whole[part].reshape(shape)
                self.kept_arrays[i] = [t._a for t in tensors]
            self.joined.append(whole)

    def as_it_was(self) -> bool:
        """Whether everything is still where it was, and there is a gradient for each parameter."""
        group, dtype = self.group, self.dtype
        if [group.get(name) for name in _FLAGS] != self.flags or len(group["params"]) != len(self.params):
            return False
        state = self.optimizer.state
        for p, q, a, shape, s in zip(group["params"], self.params, self.arrays, self.shapes, self.states):  # noqa: B905
            g = p._grad
            if p is not q or p._a is not a or type(g) is not Tensor or state.get(p) is not s:
                return False
            g = g._a
            if g.dtype is not dtype or g.shape != shape:
                return False
        for tensors, arrays in zip(self.kept, self.kept_arrays):  # noqa: B905
            if tensors is not None:
                for t, a in zip(tensors, arrays):  # noqa: B905
                    if t._a is not a:
                        return False
        return True

    def update(self, kernel: Any, numbers: tuple[Any, ...]) -> None:
        step = self.steps[0]._a.item() + 1
        for t in self.steps:
            t._a[()] = step
        whole = np.concatenate(self.flat, 0, self.whole)
        kernel(whole, np.concatenate([p._grad._a for p in self.params], None), *self.joined, step, *numbers)
        copy = np.copyto
        for a, part in zip(self.arrays, self.views):  # noqa: B905
            copy(a, part)
        for p in self.params:
            bump(p)


class QuickStep:
    """An optimizer's step, and its short form once the states are there."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.groups: list[_Group] | None = None
        self.kernel = type(optimizer)._kernel.reference

    @staticmethod
    def fits(optimizer: Any) -> bool:
        """Whether an optimizer counts its steps in the plain way and has parameters that are few and alike."""
        if not isinstance(optimizer, RuleOptimizer) or type(optimizer)._advance is not RuleOptimizer._advance:
            return False
        if "_kernel" not in dir(type(optimizer)) or type(optimizer)._counts != ("step",):
            return False
        for group in optimizer.param_groups:
            params = group["params"]
            if group.get("differentiable") or len(params) < 2 or len({id(p) for p in params}) < len(params):
                return False
            if sum(p._a.size for p in params) > TOGETHER or len({p._a.dtype for p in params}) > 1:
                return False
            if any(type(p) not in (Parameter, Tensor) or p._a.dtype.kind != "f" or p._a.itemsize < 4 for p in params):
                return False
            if not all(p._a.flags.c_contiguous for p in params):
                return False
        return True

    def _prepare(self) -> None:
        optimizer = self.optimizer
        if not self.fits(optimizer) or not all(optimizer.state.get(p) for g in optimizer.param_groups for p in g["params"]):
            return
        groups = [_Group(optimizer, g) for g in optimizer.param_groups]
        for group in groups:
            counts = {t._a.item() for t in group.steps}
            arrays = [a for c in group.kept_arrays if c is not None for a in c]
            if len(counts) > 1 or any(a.dtype != group.dtype or not a.flags.c_contiguous for a in arrays):
                return
        for group in groups:
            group.join()
        self.groups = groups

    def __call__(self) -> None:
        optimizer, groups = self.optimizer, self.groups
        if (
            groups is None
            or len(groups) != len(optimizer.param_groups)
            or optimizer._optimizer_step_pre_hooks
            or optimizer._optimizer_step_post_hooks
            or base._global_pre_hooks
            or base._global_post_hooks
            or not all([group.as_it_was() for group in groups])
        ):
            optimizer.step()
            self._prepare()
            return
        work = [(group, optimizer._numbers(group.group)) for group in groups]
        for group, numbers in work:
            group.update(self.kernel, numbers)


__all__ = ["QuickStep"]
