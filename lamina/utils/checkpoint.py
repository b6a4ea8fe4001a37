"""Trading time for memory: what a function computes on the way is not kept for backward but computed again there.

``checkpoint(f, x)`` is ``f(x)``, with one node in the graph instead of all of ``f``'s. In backward ``f`` runs a second time.

Without reentrance (``use_reentrant=False``) the function runs recorded; then the part of the graph that it made is let go, and
the node takes over the edges that led out of it: to arguments, however nested, and to parameters that it found elsewhere.
Backward makes that part anew, cuts it where it leads out, walks it, and hands the gradients to the edges. So gradients of
gradients work, and ``autograd.grad``.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lamina import random
from lamina._tensor import Tensor
from lamina.autograd import graph
from lamina.autograd.function import Function
from lamina.autograd.graph import Op, Variable, mode, wrap
from lamina.autograd.walk import backward as run_backward
from lamina.autograd.walk import walk, walking_to_targets
from lamina.utils._pytree import tree_flatten, tree_leaves

__all__ = [
    "CheckpointError", "CheckpointFunction", "check_backward_validity", "checkpoint", "checkpoint_sequential", "detach_variable",
    "noop_context_fn", "set_checkpoint_debug_enabled", "set_checkpoint_early_stop",
]  # fmt: skip

Contexts = tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]


class CheckpointError(RuntimeError):
    """The second run of a checkpointed function did something else than the first."""


def noop_context_fn() -> Contexts:
    """Two contexts that do nothing: for the run in forward and for the run in backward."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tensors cut off from their history, requiring gradients as before."""
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x for x in inputs)


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn if no input requires a gradient, since then the reentrant form gives none to anything."""
    if not any(x.requires_grad for x in inputs if isinstance(x, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Accepted: the second run is always a whole one, so there is nothing to switch."""
    yield


_debug: bool | None = None


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """In the block, overrides the ``debug`` argument of :func:`checkpoint`; ``None`` leaves it alone."""
    global _debug
    before, _debug = _debug, enabled
    try:
        yield
    finally:
        _debug = before


@contextlib.contextmanager
def _rng(state: Any) -> Iterator[None]:
    """Draw from a saved state of the default generator, which afterwards stands where it stood."""
    if state is None:
        yield
        return
    with random.fork_rng():
        random.set_rng_state(state)
        yield


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn, determinism_check: str = "default", debug: bool = False,
    early_stop: bool = True, **kwargs: Any,
) -> Any:  # fmt: skip
    """``function(*args, **kwargs)``, of which backward keeps the arguments only and computes the rest again.

    Args:
        function (callable): what is called, with the same result for the same arguments; twice if there is a backward.
        *args: its arguments.
        use_reentrant (bool): ``False`` is right for everything. ``True`` is PyTorch's older form: at least one of
            ``args`` must be a tensor that requires a gradient, tensors inside of containers get none, ``autograd.grad`` raises,
            and there are no gradients of gradients. Left out, it is ``True``, with a warning.
        preserve_rng_state (bool): whether the second run draws the random numbers of the first. Default: True.
        context_fn (callable): makes two contexts, for the first run and for the second. Only without reentrance.
        determinism_check (str): ``"default"`` compares the second run's operations and results with the first one's; ``"none"``
            does not. Only without reentrance.
        debug (bool): whether the error of that check lists the operations of both runs. Only without reentrance.
        early_stop (bool): accepted: the second run is always a whole one.
        **kwargs: keyword arguments of ``function``. Only without reentrance.

    Raises:
        ValueError: a setting that the reentrant form does not have, or an unknown ``determinism_check``.
        CheckpointError: in backward, if the second run differs from the first.

    >>> from lamina.utils.checkpoint import checkpoint
    >>> x = lamina.tensor([2.0], requires_grad=True)
    >>> checkpoint(lambda x: x.exp().log() * x, x, use_reentrant=False).backward()
    >>> x.grad
    tensor([4.])
    """
    if use_reentrant is None:
        warnings.warn(
            "checkpoint: use_reentrant should be given. use_reentrant=False is recommended; without it, it is True as in older "
            "versions of PyTorch",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug is not False:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    forward_context, recompute_context = context_fn()
    debug = debug if _debug is None else _debug
    if not mode.enabled:
        with forward_context:
            return function(*args, **kwargs)
    run = _Run(function, args, kwargs, random.get_rng_state() if preserve else None, recompute_context)
    run.check, run.debug = determinism_check == "default", debug
    leaves, spec = tree_flatten((args, kwargs))
    for leaf in leaves:
        if isinstance(leaf, Variable):
            leaf._history()  # so that a view's history is not made inside
    start = next(graph._sequence)
    with forward_context:
        result = function(*args, **kwargs)
    leaves, spec = tree_flatten(result)
    inside = [isinstance(x, Variable) and _made_since(x, start) for x in leaves]
    outputs = [x for x, made in zip(leaves, inside, strict=True) if made]
    if not outputs:
        return result
    recomputed = iter(_Recompute.of(run, start, outputs, leaves))
    return spec.unflatten([next(recomputed) if made else x for x, made in zip(leaves, inside, strict=True)])


def _made_since(x: Any, start: int) -> bool:
    node, _ = x._history()
    return node is not None and node.sequence > start


class _Run:
    """A function and all that its second run needs."""

    check = True
    debug = False

    def __init__(self, function: Any, args: Any, kwargs: Any, state: Any, context: Any) -> None:
        self.function, self.args, self.kwargs, self.state, self.context = function, args, kwargs, state, context

    def again(self) -> list[Any]:
        """The leaves of the result of the second run, recorded."""
        enabled, mode.enabled = mode.enabled, True
        try:
            with _rng(self.state), self.context:
                return tree_leaves(self.function(*self.args, **self.kwargs))
        finally:
            mode.enabled = enabled


def _part(outputs: Iterable[Any], start: int) -> tuple[list[Op], list[tuple[Any, ...]]]:
    """The nodes behind ``outputs`` that were made since ``start``, by age, and the edges that lead out of them, each once."""
    nodes: dict[int, Op] = {}
    stack = [x._history()[0] for x in outputs]
    while stack:
        node = stack.pop()
        if node.sequence in nodes:
            continue
        nodes[node.sequence] = node
        stack.extend(e[0] for e in node.edges if e is not None and _inside(e, start))
    ordered = [nodes[key] for key in sorted(nodes)]
    out = {(id(e[0]), e[1]): e for node in ordered for e in node.edges if e is not None and not _inside(e, start)}
    return ordered, list(out.values())


def _inside(edge: tuple[Any, ...], start: int) -> bool:
    return not isinstance(edge[0], Variable) and edge[0].sequence > start


class _Recompute(Op):
    """What a checkpointed function leaves in the graph."""

    materializes = False
    run: Any = None
    places: tuple[int, ...] = ()  # of this node's results among the leaves of the function's result
    nodes: tuple[str, ...] = ()

    @classmethod
    def of(cls, run: _Run, start: int, outputs: list[Any], leaves: list[Any]) -> list[Any]:
        """The outputs once more, as results of a node that knows the function instead of the way."""
        ctx = cls()
        nodes, edges = _part(outputs, start)
        ctx.recording = True
        ctx.save(run, *[x for x in tree_leaves((run.args, run.kwargs)) if isinstance(x, Variable)])
        ctx.edges = edges
        ctx.sequence = next(graph._sequence)
        ctx.nodes = tuple(node.name() for node in nodes)
        ctx._outputs = tuple((x._a.shape, x._a.dtype) for x in outputs)
        wanted = {id(x) for x in outputs}
        ctx.places = tuple(i for i, x in enumerate(leaves) if id(x) in wanted and isinstance(x, Variable))
        results = []
        for i, x in enumerate(outputs):
            t = graph.alias(x)
            t._node, t._index, t._requires = ctx, i, True
            results.append(t)
        return results

    def name(self) -> str:
        return "CheckpointBackward"

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        run = ctx.saved[0]
        create = mode.enabled
        start = next(graph._sequence)
        leaves = run.again()
        if max(ctx.places) >= len(leaves) or not all(isinstance(leaves[i], Variable) for i in ctx.places):
            raise CheckpointError(
                f"checkpoint: the first run of {run.function!r} had {len(ctx._outputs)} results with gradients, and the "
                "second has others"
            )
        outputs = [leaves[i] for i in ctx.places]
        made = [x for x in outputs if _made_since(x, start)]
        nodes, edges = _part(made, start)
        if run.check:
            _compare(ctx, outputs, nodes)
        stand_ins: dict[tuple[int, int], Any] = {}
        for target, index, shape, dtype in edges:
            leaf = stand_ins[id(target), index] = wrap(np.empty(shape, dtype))
            leaf._requires = True
        original = [node.edges for node in nodes]
        for node in nodes:
            node.edges = [
                (stand_ins[id(e[0]), e[1]], 0, *e[2:]) if e is not None and (id(e[0]), e[1]) in stand_ins else e
                for e in node.edges
            ]
        try:
            pairs = [(x, g) for x, g in zip(outputs, grads, strict=True) if g is not None]
            targets = list(stand_ins.values())
            captured = walk(
                [x for x, _ in pairs], [g for _, g in pairs], create, create, targets, capture=True, inner=True
            )
        finally:
            for node, edge in zip(nodes, original, strict=True):
                node.edges = edge
        by_target = dict(zip(stand_ins, captured, strict=True))
        return tuple(by_target.get((id(e[0]), e[1])) for e in ctx.edges)


def _compare(ctx: Any, outputs: list[Any], nodes: list[Op]) -> None:
    names = tuple(node.name() for node in nodes)
    shapes = tuple((x._a.shape, x._a.dtype) for x in outputs)
    if names == ctx.nodes and shapes == ctx._outputs:
        return
    run = ctx._saved[0]
    message = (
        "checkpoint: the function did something else when it was run again in backward: "
        f"{len(ctx.nodes)} operations with results {[list(s) for s, _ in ctx._outputs]} at first, {len(names)} operations with "
        f"results {[list(s) for s, _ in shapes]} now. It must do the same for the same arguments "
        "(determinism_check='none' accepts this)"
    )
    if run.debug:
        message += "\nfirst run:  " + " ".join(ctx.nodes) + "\nsecond run: " + " ".join(names)
    else:
        message += "; debug=True lists the operations"
    raise CheckpointError(message)


class CheckpointFunction(Function):
    """The reentrant form: the second run has a backward pass of its own, inside the first one."""

    @staticmethod
    def forward(ctx: Any, run_function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        """Run the function without recording it."""
        check_backward_validity(args)
        ctx.run_function, ctx.state = run_function, random.get_rng_state() if preserve_rng_state else None
        ctx.tensors = [i for i, x in enumerate(args) if isinstance(x, Tensor)]
        ctx.others = [None if isinstance(x, Tensor) else x for x in args]
        ctx.save_for_backward(*[args[i] for i in ctx.tensors])
        return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Run it again, recorded, and go back through it."""
        if walking_to_targets():
            raise RuntimeError(
                "When use_reentrant=True, checkpoint is incompatible with .grad() or passing an `inputs` parameter to "
                ".backward(). Set use_reentrant=False, or call .backward() without `inputs`"
            )
        inputs = list(ctx.others)
        for i, x in zip(ctx.tensors, ctx.saved_tensors, strict=True):
            inputs[i] = x
        detached = detach_variable(tuple(inputs))
        enabled, mode.enabled = mode.enabled, True
        try:
            with _rng(ctx.state):
                outputs = ctx.run_function(*detached)
            outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
            pairs = [
                (x, g) for x, g in zip(outputs, grads, strict=True) if isinstance(x, Tensor) and x.requires_grad
            ]
            if not pairs:
                raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
            run_backward([x for x, _ in pairs], [g for _, g in pairs])
        finally:
            mode.enabled = enabled
        return None, None, *[x.grad if isinstance(x, Tensor) else None for x in detached]


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A chain of functions in ``segments`` pieces, of which all but the last are checkpointed.

    Args:
        functions (Sequential or list): what is called one after the other.
        segments (int): how many pieces.
        input: the input of the first.
        use_reentrant (bool): as in :func:`checkpoint`.
        preserve_rng_state (bool): as in :func:`checkpoint`.

    Raises:
        ValueError: another keyword argument, or more segments than functions.
    """
    if use_reentrant is None:
        warnings.warn(
            "checkpoint_sequential: use_reentrant should be given. use_reentrant=False is recommended; without it, it is True as "
            "in older versions of PyTorch",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    chain = list(functions)
    if not 1 <= segments <= len(chain):
        raise ValueError(f"segments must be from 1 to the number of functions, {len(chain)}, got {segments}")

    def piece(first: int, last: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for function in chain[first:last]:
                x = function(x)
            return x

        return run

    size, at = len(chain) // segments, 0
    for _ in range(segments - 1):
        input = checkpoint(
            piece(at, at + size), input, use_reentrant=use_reentrant, preserve_rng_state=preserve
        )
        at += size
    return piece(at, len(chain))(input)
