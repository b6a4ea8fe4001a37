"""Operations of the user's own: ``class MyOp(Function)`` with ``forward`` and ``backward``, called by ``MyOp.apply``."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lamina.autograd import graph
from lamina.autograd.graph import FREED, FREED_MESSAGE, Op, Variable, mode, wrap


class FunctionCtx(Op):
    """What ``forward`` and ``backward`` of a :class:`Function` share; attributes of any name may be set on it."""

    _function: Any = None
    _kept: tuple = ()
    _dirty: tuple = ()
    _no_gradient: tuple = ()
    needs_input_grad: tuple = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for ``saved_tensors``, safe against in-place changes and freed after use."""
        for t in tensors:
            if t is not None and not isinstance(t, Variable):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument has type {type(t).__name__}"
                )
        self._kept = tensors

    @property
    def saved_tensors(self) -> tuple:
        """What ``save_for_backward`` kept; raises if it was freed or changed in place."""
        if self._saved is FREED:
            raise RuntimeError(FREED_MESSAGE)
        outputs = dict(self._output or ())
        return tuple(self._remake(*outputs[i]) if i in outputs else t for i, t in enumerate(self.saved))

    def mark_dirty(self, *tensors: Any) -> None:
        """Say that ``forward`` changed these inputs in place; they must be returned."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say that these outputs have no gradient."""
        self._no_gradient = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Whether an output without a gradient gives zeros to ``backward`` (the default) or ``None``."""
        self.materializes = value

    def _adopt(self, outputs: list, args: tuple) -> list:
        """Make the outputs results of this node, and keep what was saved without keeping the outputs alive through it."""
        kept = {id(t): i for i, t in enumerate(self._kept) if t is not None}
        dirty, plain = {id(t) for t in self._dirty}, {id(t) for t in self._no_gradient}
        self._outputs = tuple(
            (t._a.shape, t._a.dtype) if isinstance(t, Variable) else ((), np.dtype("f4")) for t in outputs
        )
        saved: list[Any] = list(self._kept)
        made: list[tuple[int, tuple]] = []
        results = []
        inputs = {id(a) for a in args}
        for i, t in enumerate(outputs):
            if isinstance(t, Variable) and id(t) not in plain and t._a.dtype.kind in "fcV":
                position = kept.get(id(t))
                if (
                    id(t) in inputs and id(t) not in dirty
                ):  # an input handed through: its history must not change
                    t = graph.alias(t)
                elif id(t) in inputs:
                    graph.bump(t)
                    if t._requires and t._node is None:
                        raise RuntimeError(
                            "a leaf Variable that requires grad is being used in an in-place operation."
                        )
                    t._rebased += 1
                if position is not None and id(t) not in inputs:
                    t._writes = t._writes or graph.Version()
                    made.append((position, ((t._a, t._writes, t._writes.n), i)))
                    saved[position] = None
                t._node, t._index, t._requires = self, i, True
            results.append(t)
        self.recording = True
        self.save(*saved)
        self._output = tuple(made) or None
        self._kept = ()
        return results

    def name(self) -> str:
        return f"{self._function.__name__}Backward"

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        result = ctx._function.backward(ctx, *grads)
        result = result if isinstance(result, tuple) else (result,)
        inputs = len(ctx.edges)
        if len(result) > inputs and all(g is None for g in result[inputs:]):
            result = result[:inputs]
        if len(result) != inputs:
            raise RuntimeError(
                f"function {ctx.name()} returned an incorrect number of gradients (expected {inputs}, got {len(result)})"
            )
        for i, g in enumerate(result):
            if g is not None and not isinstance(g, Variable):
                raise TypeError(
                    f"{ctx.name()} returned a {type(g).__name__} as gradient {i}; expected a Tensor or None"
                )
        return result


class Function:
    """A differentiable operation with its own rule.

    Give ``forward(ctx, *args)`` (or ``forward(*args)`` with ``setup_context(ctx, inputs, output)``) and
    ``backward(ctx, *grad_outputs)``, which returns one gradient per argument of ``forward``.
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs from the inputs."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Compute the gradients of the inputs from those of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> Any:
        """Save what ``backward`` needs, when ``forward`` takes no ``ctx``."""
        raise NotImplementedError("setup_context is not implemented.")

    @classmethod
    def vjp(cls, ctx: Any, *grad_outputs: Any) -> Any:
        return cls.backward(ctx, *grad_outputs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} should not be instantiated. Methods on autograd functions are all static, "
            "so you should invoke them on the class itself: use .apply."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` without recording, and record this function as one node."""
        if graph.measure is not None:
            if not mode.measured:
                return graph.measure(cls, args)
            mode.measured = False
        ctx = FunctionCtx()
        ctx._function = cls
        tensors = [a for a in args if isinstance(a, Variable)]
        for t in tensors:
            t._history()
        record = mode.enabled and any(t._requires for t in tensors)
        ctx.needs_input_grad = tuple(isinstance(a, Variable) and a._requires for a in args)
        enabled, mode.enabled = mode.enabled, False
        try:
            if cls.setup_context is Function.setup_context:
                result = cls.forward(ctx, *args)
            else:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
        finally:
            mode.enabled = enabled
        several = isinstance(result, (tuple, list))
        outputs = list(result) if several else [result]
        if record:
            ctx._attach(args)
            outputs = ctx._adopt(outputs, args)
        return tuple(outputs) if several else outputs[0]


def once_differentiable(function: Any) -> Any:
    """Mark a ``backward`` whose result cannot be differentiated again: trying to raises instead of giving a wrong answer."""

    @functools.wraps(function)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        recorded = mode.enabled and any(isinstance(g, Variable) and g._requires for g in grads)
        enabled, mode.enabled = mode.enabled, False
        try:
            result = function(ctx, *grads)
        finally:
            mode.enabled = enabled
        if not recorded:
            return result
        several = isinstance(result, tuple)
        made = [_Once.apply(wrap(r._a), *[g for g in grads if isinstance(g, Variable)]) if isinstance(r, Variable) else r
                for r in (result if several else (result,))]  # fmt: skip
        return tuple(made) if several else made[0]

    return wrapper


class _Once(Op):
    """The value, whose gradient is an error."""

    @staticmethod
    def forward(ctx: Any, value: Any, *sources: Any) -> Any:
        return value._a

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
