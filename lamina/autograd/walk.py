"""The walk: from results back to leaves, one loop, no recursion.

Nodes are numbered as they are made, and a node is always made after the nodes that it takes input from. So taking the
highest number first visits every node after all of its users: a heap is all the ordering that is needed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from heapq import heappop, heappush
from sys import getrefcount
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd import graph
from lamina.autograd.graph import FREED, FREED_MESSAGE, Op, Variable, mode, wrap
from lamina.engine import kernels
from lamina.engine.door import detours

_accumulating = threading.Lock()


class _Walking(threading.local):
    to_targets = False  # whether the walk that is under way in this thread leads to given tensors only


_walking = _Walking()


def walking_to_targets() -> bool:
    """Whether this is called by a rule on the way to given tensors only (``grad``, or ``backward`` with ``inputs``)."""
    return _walking.to_targets


def walk(
    roots: Sequence[Any],
    grads: Sequence[Any],
    retain_graph: bool,
    create_graph: bool,
    targets: Sequence[Any] | None = None,
    capture: bool = False,
    inner: bool = False,
) -> list[Any]:
    """Carry gradients from ``roots`` to the leaves.

    With ``targets`` only what leads to them is computed; with ``capture`` their gradients are returned (``None`` where
    none arrives) rather than accumulated into ``.grad``. An ``inner`` walk is a part of another one, of a rule's.
    """
    pending: dict[int, tuple[Op, list[Any]]] = {}  # sequence of a node → the node, and the gradients of its results
    leaves: dict[int, list[Any]] = {}  # id of a leaf → [leaf, gradient]
    heap: list[int] = []
    wanted_leaves, wanted_results, needed = _plan(roots, targets)
    captured: dict[tuple[int, int], Any] = {}

    def reach(target: Any, index: int, grad: Any) -> None:
        """A gradient comes to a leaf, or to a result of a node."""
        if isinstance(target, Variable):
            if wanted_leaves is None or id(target) in wanted_leaves:
                entry = leaves.get(id(target))
                if entry is None:
                    leaves[id(target)] = [target, grad]
                else:
                    entry[1] = entry[1] + grad
            return
        key = target.sequence
        found = pending.get(key)
        if found is not None:
            waiting = found[1]
            waiting[index] = grad if waiting[index] is None else waiting[index] + grad
        elif needed is None or key in needed:
            if target._outputs:
                waiting = [None] * len(target._outputs)
                waiting[index] = grad
            else:
                waiting = [grad]
            pending[key] = target, waiting
            heappush(heap, -key)

    before, outer = mode.enabled, _walking.to_targets
    mode.enabled = create_graph
    if not inner:
        _walking.to_targets = targets is not None
    try:
        for root, grad in zip(roots, grads, strict=True):
            node, index = root._history()
            reach(node or root, index, grad)
        del root, grad
        while heap:
            key = -heappop(heap)
            node, outgoing = pending.pop(key)
            if node._hooks or node._retain:
                _result_hooks(node, outgoing)
            if wanted_results is not None:
                for index in wanted_results.get(key, ()):
                    captured[key, index] = outgoing[index]
                if not needed[key]:  # a target, and nothing beyond it is wanted
                    continue
            incoming = _run(node, outgoing)
            if not retain_graph:
                node.free()
            for edge, grad in zip(node.edges, incoming):  # noqa: B905  # strict costs, and lists may be of two lengths
                if edge is None or grad is None:
                    continue
                target, index, shape, dtype = edge
                if not grad.is_sparse:  # those are made for their tensor
                    a = grad._a
                    if a.dtype is not dtype or a.shape != shape:
                        grad = _fit(node, grad, shape, dtype)
                reach(target, index, grad)
            node = outgoing = incoming = edge = grad = target = a = None  # type: ignore[assignment]  # free before the next rule
        return _finish(leaves, targets, capture, captured, create_graph)
    finally:
        mode.enabled, _walking.to_targets = before, outer


def _run(node: Op, outgoing: list[Any]) -> tuple:
    """Apply a node's rule to the gradients of its results."""
    if node._saved is FREED or node._output is FREED:
        raise RuntimeError(FREED_MESSAGE)
    if node._outputs and node.materializes:
        for i, g in enumerate(outgoing):
            if g is None:
                shape, dtype = node._outputs[i]
                outgoing[i] = wrap(np.zeros(shape, dtype))
    if node._prehooks:
        for hook in tuple(node._prehooks.values()):
            changed = hook(tuple(outgoing))
            if changed is not None:
                outgoing = [changed] if isinstance(changed, Variable) else list(changed)
    incoming = type(node).backward(node, *outgoing)
    if type(incoming) is not tuple:
        incoming = (incoming,)
    if detours and mode.anomaly:
        _check_anomaly(node, incoming)
    if node._posthooks:
        for hook in tuple(node._posthooks.values()):
            changed = hook(incoming, tuple(outgoing))
            if changed is not None:
                incoming = (changed,) if isinstance(changed, Variable) else tuple(changed)
    return incoming


def _fit(node: Op, grad: Any, shape: tuple, dtype: np.dtype) -> Any:
    """Undo the broadcast and the promotion of an input: sum over what was repeated, cast back."""
    a = grad._a
    if a.shape != shape:
        lead = a.ndim - len(shape)
        if lead < 0 or any(n not in (m, 1) for m, n in zip(a.shape[lead:], shape, strict=True)):
            raise RuntimeError(
                f"Function {node.name()} returned an invalid gradient: got {list(a.shape)} but expected shape compatible "
                f"with {list(shape)}"
            )
        grad = grad.sum_to_size(shape)
    if grad._a.dtype is not dtype and grad._a.dtype != dtype:
        if grad._a.dtype.kind == "c" and dtype.kind in "fV":
            grad = grad.real
        grad = grad.to(BY_NUMPY[dtype])
    return grad


def _plan(roots: Sequence[Any], targets: Sequence[Any] | None) -> tuple:
    """Which leaves, which results and which nodes matter when only ``targets`` do (all, if that is ``None``)."""
    if targets is None:
        return None, None, None
    wanted_leaves: set[int] = set()
    wanted_results: dict[int, list[int]] = {}
    for t in targets:
        node, index = t._history()
        if node is None:
            wanted_leaves.add(id(t))
        else:
            wanted_results.setdefault(node.sequence, []).append(index)
    reachable: dict[int, Op] = {}
    stack = [r._history()[0] for r in roots]
    while stack:
        node = stack.pop()
        if node is None or node.sequence in reachable:
            continue
        reachable[node.sequence] = node
        stack.extend(e[0] for e in node.edges if e is not None and not isinstance(e[0], Variable))
    needed: dict[
        int, bool
    ] = {}  # sequence → whether its rule must run (otherwise it is only a target itself)
    for key in sorted(reachable):
        runs = False
        for e in reachable[key].edges:
            if e is not None:
                target = e[0]
                if id(target) in wanted_leaves if isinstance(target, Variable) else target.sequence in needed:
                    runs = True
                    break
        if runs or key in wanted_results:
            needed[key] = runs
    return wanted_leaves, wanted_results, needed


def _hooked(hook: Any, grad: Any) -> Any:
    """What a tensor's hook makes of a gradient: the gradient itself if it returns ``None``, else one of the same size."""
    changed = hook(grad)
    if changed is None:
        return grad
    if not isinstance(changed, Variable):
        raise TypeError(f"expected a Tensor or None, but the hook {_name(hook)} returned '{type(changed).__name__}'")
    if changed._a.shape != grad._a.shape:
        raise RuntimeError(
            f"hook {_name(hook)} has changed the size of value: got {list(changed._a.shape)}, expected {list(grad._a.shape)}"
        )
    return changed


def _name(hook: Any) -> str:
    return repr(getattr(hook, "__name__", type(hook).__name__))


def _result_hooks(node: Op, outgoing: list[Any]) -> None:
    """Run tensor hooks on the gradients of a node's results, then keep those that a tensor retains."""
    for index, hooks in (node._hooks or {}).items():
        for hook in tuple(hooks.values()):
            if outgoing[index] is not None:
                outgoing[index] = _hooked(hook, outgoing[index])
    for index, reference in (node._retain or {}).items():
        tensor = reference()
        if tensor is not None and outgoing[index] is not None:
            held = tensor._grad
            tensor._grad = outgoing[index] if held is None else held + outgoing[index]


def _finish(
    leaves: dict, targets: Sequence[Any] | None, capture: bool, captured: dict, create_graph: bool
) -> list[Any]:
    """Hand the gradients that reached the leaves to their hooks, and then to ``.grad`` or to the caller."""
    for entry in leaves.values():
        leaf, grad = entry
        if leaf._hooks:
            for hook in tuple(leaf._hooks.values()):
                entry[1] = grad = _hooked(hook, grad)
        if not capture:
            entry[1] = None  # so that accumulate can see whether anybody else holds the gradient
            accumulate(leaf, grad, create_graph, _HELD)
            if leaf._after_hooks:
                for hook in tuple(leaf._after_hooks.values()):
                    hook(leaf)
    if not capture:
        if targets is not None:
            for t in targets:
                node, index = t._history()
                if node is not None and captured.get((node.sequence, index)) is not None:
                    accumulate(t, captured[node.sequence, index], create_graph)
        return []
    result = []
    for t in targets or ():
        node, index = t._history()
        if node is None:
            result.append(leaves[id(t)][1] if id(t) in leaves else None)
        else:
            result.append(captured.get((node.sequence, index)))
    return result


_HELD = 3  # references to a gradient that only the walk knows: here, in the caller, and getrefcount's own


def accumulate(leaf: Any, grad: Any, create_graph: bool, held: int = 0) -> None:
    """``leaf.grad += grad``, in place unless the sum itself is to be differentiated.

    A first gradient is taken over as it is when nobody else holds it, and copied otherwise: two leaves must never share
    one gradient array.
    """
    with _accumulating:
        mine = leaf._grad
        if grad.is_sparse:
            leaf._grad = grad.clone() if mine is None else mine + grad
        elif mine is not None:
            if create_graph or mine.is_sparse:
                leaf._grad = mine + grad
            else:
                np.add(mine._plain() if mine._hidden else mine._a, grad._a, out=mine._a)
                graph.bump(mine)
        elif create_graph:
            leaf._grad = grad
        else:
            a = grad._a
            alone = held and getrefcount(grad) <= held + 1 and getrefcount(a) <= 3 and a.flags.writeable
            if alone and not isinstance(a.base, np.ndarray) and grad._base is None:
                grad._node, grad._requires = None, False
                leaf._grad = grad
            else:
                leaf._grad = wrap(kernels.contiguous(a))


def _check_anomaly(node: Op, incoming: tuple) -> None:
    for i, grad in enumerate(incoming):
        if mode.check_nan and grad is not None and np.isnan(grad._a).any():
            if node._trace is not None:
                import warnings

                warnings.warn(
                    f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n"
                    + "".join(node._trace),
                    stacklevel=2,
                )
            raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output.")


# -- the two public entries ----------------------------------------------------------------------------------------


def _as_tuple(x: Any) -> tuple:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _initial_gradients(roots: tuple, grads: Any) -> list[Any]:
    grads = (None,) * len(roots) if grads is None else _as_tuple(grads)
    if len(grads) != len(roots):
        raise RuntimeError(f"got {len(roots)} tensors and {len(grads)} gradients")
    result: list[Any] = []
    for root, grad in zip(roots, grads, strict=True):
        if not isinstance(root, Variable):
            raise TypeError(f"gradients are taken of tensors, but got {type(root).__name__}")
        root._history()
        if grad is None:
            if not root._requires:
                raise RuntimeError(NO_GRAD_FN)
            if root._a.size != 1:
                raise RuntimeError("grad can be implicitly created only for scalar outputs")
            if root._a.dtype.kind not in "fV":
                raise RuntimeError(
                    f"grad can be implicitly created only for real scalar outputs but got {BY_NUMPY[root._a.dtype]}"
                )
            a = root._a
            grad = wrap(np.ones(a.shape, a.dtype) if a.ndim else np.array(1, a.dtype))
        elif not isinstance(grad, Variable):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(grad).__name__}")
        else:
            if not root._requires:
                raise RuntimeError(NO_GRAD_FN)
            if grad._a.shape != root._a.shape:
                raise RuntimeError(
                    f"Mismatch in shape: grad_output[{len(result)}] has a shape of torch.Size({list(grad._a.shape)}) and "
                    f"output[{len(result)}] has a shape of torch.Size({list(root._a.shape)})."
                )
            if grad._a.dtype != root._a.dtype:
                found, wanted = (SCALAR_NAME[BY_NUMPY[t._a.dtype]] for t in (grad, root))
                if (grad._a.dtype.kind == "c") != (root._a.dtype.kind == "c"):
                    raise RuntimeError(
                        "For complex Tensors, both grad_output and output are required to have the same dtype. "
                        f"Mismatch in dtype: grad_output has {found} and output has {wanted}."
                    )
                grad = grad.to(BY_NUMPY[root._a.dtype])
        result.append(grad)
    return result


NO_GRAD_FN = "element 0 of tensors does not require grad and does not have a grad_fn"


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Accumulate the gradients of ``tensors`` into the ``.grad`` of the leaves (of ``inputs`` only, if given).

    ``grad_tensors`` are the vectors v of the products vᵀ·∂tensors/∂leaf; a scalar's may be left out. Raises
    ``RuntimeError`` when a tensor requires no gradient, or when the graph was freed by an earlier pass.
    """
    roots = _as_tuple(tensors)
    targets = None
    if inputs is not None:
        targets = _as_tuple(inputs)
        if not targets:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    grads = _initial_gradients(roots, grad_tensors)
    walk(roots, grads, create_graph if retain_graph is None else retain_graph, create_graph, targets)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple:
    """The gradients of ``outputs`` with respect to ``inputs``, returned and not accumulated.

    Raises ``RuntimeError`` when an input requires no gradient, or is not used and ``allow_unused`` is not set.
    """
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    if is_grads_batched:
        return _batched(
            outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads
        )
    roots, targets = _as_tuple(outputs), _as_tuple(inputs)
    if not targets:
        raise RuntimeError("`inputs` argument to `grad()` cannot be empty.")
    grads = _initial_gradients(roots, grad_outputs)
    for i, t in enumerate(targets):
        if not isinstance(t, Variable):
            raise TypeError(f"inputs must be tensors, but inputs[{i}] is {type(t).__name__}")
        t._history()
        if not t._requires:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    found = walk(
        roots, grads, create_graph if retain_graph is None else retain_graph, create_graph, targets, True
    )
    for i, g in enumerate(found):
        if g is None:
            if materialize_grads:
                found[i] = wrap(np.zeros_like(targets[i]._a))
            elif not allow_unused:
                raise RuntimeError(
                    "One of the differentiated Tensors appears to not have been used in the graph. Set allow_unused=True if "
                    "this is the desired behavior."
                )
    return tuple(found)


def _batched(
    outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused, materialize_grads
) -> tuple:
    """Vector-Jacobian products of a whole batch of vectors, one walk each, stacked."""
    from lamina import ops

    batches = _as_tuple(grad_outputs)
    rows = []
    for i in range(batches[0].shape[0]):
        vectors = tuple(None if b is None else b[i] for b in batches)
        rows.append(
            grad(outputs, inputs, vectors, True, create_graph, allow_unused, False, materialize_grads)
        )
    return tuple(None if column[0] is None else ops.stack(column) for column in zip(*rows, strict=True))
