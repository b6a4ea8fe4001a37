"""Chains: stretches of a program without gradients that the engine takes as one call.

Convolutions, transposed ones too, linear layers and layer norms, with what follows them (batch norm, addition, activations,
pooling, concatenation, attention, views) are said to the engine step by step (``engine/onednn/chain.py``). The chain is kept
together with its weights, folded and in the layouts that the engine wants, while their counts of writes stay what they are.

The engine's quickest relu and maxima lose NaN. Nothing can become NaN while the inputs keep within a bound that follows from
the weights; that is looked at in every call, and for other numbers the steps run one by one, as they do while somebody
observes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.autograd.graph import ViewOp
from lamina.compiler.fuse import F32, FusedConvolution
from lamina.compiler.record import Node, Value, values_in
from lamina.engine import kernels
from lamina.engine.door import detours
from lamina.engine.onednn import abi, core, pooling
from lamina.engine.onednn.chain import Activation, Chain, Slot, Unfit
from lamina.ops import activation, attention, conv, join, layernorm, linalg, piecewise, pointwise, shape
from lamina.ops import pooling as pools

ndarray = np.ndarray
SMALL = 100_000  # products in a linear layer, up to which it is no slower done by NumPy than by a chain
FEW = 4096  # numbers up to which a product with itself tells soonest whether an array keeps within a bound


class Chained:
    """A stretch as a function of arrays."""

    def __init__(self, readers: dict[int, list[Node | None]]) -> None:
        self.readers = readers  # by number of a value: the steps that read it, and None for the caller
        self.chain = Chain()
        self.nodes: list[Node] = []
        self.slots: dict[int, Slot] = {}
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.weighing: list[Callable[[], list[ndarray]]] = []  # what gives the weights of each step
        self.sources: list[Any] = []  # the tensors that weights are made of
        self.captured: list[Value] = []
        self.after: Node | None = None
        self.done: set[int] = set()  # values to which what comes after them (an activation, an addition) was done already
        self.plain: Any = None  # the steps one by one; set when the program is written
        self.state: tuple[list[Any], float, Any] = [], -1.0, None  # versions of the sources, bound, what runs

    # -- while it is made ------------------------------------------------------------------------------------------

    def take(self, node: Node, after: Node | None) -> bool:
        """Add a step, if it can be one; ``after`` is the one that comes next."""
        self.after = after
        say = _SAID.get(node.kind if node.kind == "fused" else node.what)
        if say is None and _looks(node):
            say = _view
        if say is None or node.kind == "call" and node.settings["used"]:
            return False
        values = list(values_in((node.inputs, node.outputs)))
        if any(v.array.dtype != F32 or not v.array.size for v in values):
            return False
        if not self.nodes and say not in (_fused, _convolution, _layer_norm) and not (say is _linear and _enough(node)):
            return False
        before = len(self.inputs)
        try:
            said = say(self, node)
        except Unfit:
            for v in self.inputs[before:]:
                del self.slots[v.number]
            del self.inputs[before:], self.chain.inputs[before:]
            return False
        made = dict(zip([v.number for v in values_in(node.outputs)], said if isinstance(said, list) else [said], strict=True))
        if any(self.slots.get(number, slot) is not slot for number, slot in made.items()):
            return False
        self.slots.update(made)
        self.nodes.append(node)
        return True

    def slot(self, v: Value) -> Slot:
        """The slot of a value; one that comes from outside becomes an input."""
        found = self.slots.get(v.number)
        if found is None:
            found = self.slots[v.number] = self.chain.input(v.array.shape, v.array.strides)
            self.inputs.append(v)
        return found

    def weights(self, values: list[Value | None], give: Callable[[], list[ndarray]]) -> None:
        """Note which tensors the weights of a step are made of, and how."""
        self.weighing.append(give)
        present = [v for v in values if v is not None]
        self.captured += present
        self.sources += [v.tensor for v in present]

    def following(self, node: Node) -> Activation | None:
        """The activation that comes next, to be taken along, if nobody else reads the step's result."""
        (out,) = values_in(node.outputs)
        found = None
        if self.after is not None and self.readers.get(out.number, ()) == [self.after]:
            found = _activation(self.after)
        if found is not None:
            self.done.add(out.number)
        return found

    def joining(self, node: Node) -> Value | None:
        """What the next step adds to this one's result, to be taken along, if nobody else reads that."""
        (out,), after = values_in(node.outputs), self.after
        if after is None or after.what is not pointwise.Add or after.settings["used"] or self.readers.get(out.number) != [after]:
            return None
        x, y = after.inputs
        other = y if x is out else x
        if not isinstance(other, Value) or other is out or other.array.shape != out.array.shape or other.array.dtype != F32:
            return None
        self.done.add(out.number)
        return other

    def close(self) -> list[Node]:
        """The stretch as one step of the program, if it is worth it."""
        mine = {id(n) for n in self.nodes}
        made = [v for n in self.nodes for v in values_in(n.outputs)]
        self.outputs = [v for v in made if any(id(n) not in mine for n in self.readers.get(v.number, ()))]
        step = self._closed() if len(self.nodes) > 1 and self.outputs and not self._share() else None
        return self.nodes if step is None else [step]

    def _share(self) -> bool:
        """Whether results are by their nature the memory of each other, or of an input: a chain's are not."""
        seen = [*self.inputs, *self.outputs]
        return any(np.may_share_memory(v.array, w.array) for v in self.outputs for w in seen if w is not v)

    def _closed(self) -> Node | None:
        try:
            for v in self.outputs:
                self.chain.output(self.slots[v.number])
                v.hidden = v.hidden or v.array.ndim > 2
        except Unfit:
            return None
        return Node("chain", self, tuple(self.inputs), tuple(self.outputs))

    # -- in use ----------------------------------------------------------------------------------------------------

    def __call__(self, *arrays: ndarray) -> tuple[ndarray, ...]:
        versions, limit, run = self.state
        now = [0 if (w := t._writes) is None else w.n if w.watched else None for t in self.sources]  # memory_version of each
        if now != versions:
            limit, run = self._renew(now)
        if limit > 0 and not detours:
            for a, (_, strides) in zip(arrays, self.chain.inputs, strict=True):
                if a.strides != strides or core.address(a) & 3 or not _within(a, limit):
                    return self.plain(*arrays)
            return run(*arrays)
        return self.plain(*arrays)

    def _renew(self, versions: list[Any]) -> tuple[float, Any]:
        """The bound and the function for the weights as they are now; kept where writes to them are counted."""
        limit, run = -1.0, None
        if None not in versions:
            weights = [w for give in self.weighing for w in give()]
            limit = self.chain.bound(weights)
            if limit > 0:
                run = self.chain.ready(weights)
        self.state = versions, limit, run
        return limit, run


def _looks(node: Node) -> bool:
    """Whether a step is another look at memory, and nothing else."""
    return node.kind == "call" and isinstance(node.what, type) and issubclass(node.what, ViewOp)


def _within(a: ndarray, limit: float) -> bool:
    """Whether all numbers are of at most this size; not so if one is NaN."""
    if a.size <= FEW and a.flags.c_contiguous:
        flat = a.ravel()
        return bool(flat.dot(flat) <= limit)  # a sum of squares bounds each of them: |x| <= max(1, x²)
    return bool(np.maximum.reduce(a, axis=None) <= limit and np.minimum.reduce(a, axis=None) >= -limit)


def chains(nodes: list[Node], outputs: list[Value]) -> list[Node]:
    """The steps of a program without gradients, stretches of them as one."""
    readers: dict[int, list[Node | None]] = {v.number: [None] for v in outputs}
    for node in nodes:
        for v in values_in(node.inputs):
            readers.setdefault(v.number, []).append(node)
    result: list[Node] = []
    current = Chained(readers)

    def close() -> None:
        nonlocal current
        result.extend(current.close())
        current = Chained(readers)

    for node, after in zip(nodes, [*nodes, None][1:], strict=True):
        if current.take(node, after):
            continue
        close()
        if not current.take(node, after):
            result.append(node)
            current = Chained(readers)
    close()
    return result


# -- how each step is said -----------------------------------------------------------------------------------------


_ACTIVATIONS: dict[Any, Callable[..., Activation]] = {
    piecewise.Relu: lambda: (abi.RELU, 0.0, 0.0),
    piecewise.LeakyRelu: lambda slope: (abi.RELU, float(slope), 0.0),
    piecewise.Hardtanh: lambda low, high: (abi.CLIP, float(low), float(high)),
    piecewise.Hardswish: lambda: (abi.HARDSWISH, 1 / 6, 0.5),
    activation.Sigmoid: lambda: (abi.LOGISTIC, 0.0, 0.0),
    activation.Tanh: lambda: (abi.TANH, 0.0, 0.0),
    activation.Silu: lambda: (abi.SWISH, 1.0, 0.0),
    activation.Gelu: lambda approximate: (abi.GELU_TANH if approximate == "tanh" else abi.GELU_ERF, 0.0, 0.0),
}
_TAKEN_UP = {None: None, "relu": (abi.RELU, 0.0, 0.0), "relu6": (abi.CLIP, 0.0, 6.0)}  # by FusedConvolution's names


def _activation(node: Node) -> Activation | None:
    """The step as an activation in the engine's words, if it is one."""
    if node.kind != "call" or node.settings["used"] or not node.settings["single"] or node.what not in _ACTIVATIONS:
        return None
    return _ACTIVATIONS[node.what](*node.inputs[1:])


def _convolve(chained: Chained, node: Node, step: FusedConvolution, x: Value, added: Value | None) -> Slot:
    values = [step.weight, step.bias, *(step.normed or ())[:4]]
    if any(v is not None and v.kind != "captured" for v in values):
        raise Unfit
    fold = step.folding()

    def give() -> list[ndarray]:
        w, b, _ = fold()
        w = w if step.size is None else w.swapaxes(0, 1)
        return [w] if b is None else [w, b]

    w, *rest = give()
    b = rest[0] if rest else None
    then = _TAKEN_UP[step.activation] or chained.following(node)
    if step.size is not None:
        y = chained.chain.transposed(chained.slot(x), w, b, step.size, step.settings, then)
    else:
        y = chained.chain.conv(chained.slot(x), w, b, step.settings, then, None if added is None else chained.slot(added))
    chained.weights(values, give)
    return y


def _fused(chained: Chained, node: Node) -> Slot:
    return _convolve(chained, node, node.what, *node.inputs)


def _convolution(chained: Chained, node: Node) -> Slot:
    return _convolve(chained, node, FusedConvolution(node), node.inputs[0], None)


def _enough(node: Node) -> bool:
    """Whether a linear layer is large enough to begin a chain."""
    x, weight, _ = node.inputs
    return x.array.size * len(weight.array) > SMALL


def _linear(chained: Chained, node: Node) -> Slot:
    x, weight, bias = node.inputs
    values = [weight, bias]
    if any(v is not None and v.kind != "captured" for v in values):
        raise Unfit
    then = chained.following(node)
    added = chained.joining(node) if then is None else None
    y = chained.chain.linear(
        chained.slot(x), weight.array, bias and bias.array, then, None if added is None else chained.slot(added)
    )
    chained.weights(values, lambda: [v.tensor._a for v in values if v is not None])
    return y


def _layer_norm(chained: Chained, node: Node) -> Slot:
    x, scale, shift, ndim, eps = node.inputs
    values = [v for v in (scale, shift) if v is not None]
    if any(v.kind != "captured" for v in values):
        raise Unfit
    n = int(np.prod(x.array.shape[-ndim:]))
    y = chained.chain.layer_norm(chained.slot(x), n, scale and scale.array, shift and shift.array, eps)
    chained.weights(values, lambda: [v.tensor._a for v in values])
    return y


def _attention(chained: Chained, node: Node) -> Slot:
    q, k, v, mask, scale, causal, dropout, order = node.inputs
    lies, turned = (k.array.shape, k.array.strides), k.array.swapaxes(2, 3)
    key = chained.chain.view(chained.slot(k), lies, (turned.shape, turned.strides), 0)
    if mask is not None or causal or dropout or key is None:
        raise Unfit
    return chained.chain.attention(chained.slot(q), key, chained.slot(v), scale, order)


def _max_pool(chained: Chained, node: Node) -> Slot:
    x, kernel, stride, padding, dilation, size, with_indices = node.inputs
    if with_indices or max(dilation) > 1 or x.array.ndim < 4:
        raise Unfit
    return chained.chain.pool(chained.slot(x), abi.POOLING_MAX, size, kernel, stride, padding)


def _avg_pool(chained: Chained, node: Node) -> Slot:
    x, kernel, stride, padding, size, include, divisor = node.inputs
    window = kernel, stride, padding
    algorithm = pooling._mean(x.array.shape[2:], window, size, include, bool(divisor))
    if algorithm is None or x.array.ndim < 4:
        raise Unfit
    scale = np.prod(kernel) / divisor if divisor else 1.0
    return chained.chain.pool(chained.slot(x), algorithm, size, *window, float(scale))


def _adaptive_avg_pool(chained: Chained, node: Node) -> Slot:
    x, size = node.inputs
    spatial = x.array.shape[2:]
    if x.array.ndim < 4 or any(n % m for n, m in zip(spatial, size, strict=True)):
        raise Unfit
    kernel = tuple(n // m for n, m in zip(spatial, size, strict=True))
    return chained.chain.pool(chained.slot(x), abi.POOLING_AVG_EXCLUDE_PADDING, size, kernel, kernel, (0,) * len(size))


def _activate(chained: Chained, node: Node) -> Slot:
    found, x = _activation(node), node.inputs[0]
    if found is None:
        raise Unfit
    return chained.slots[x.number] if x.number in chained.done else chained.chain.activate(chained.slot(x), found)


def _add(chained: Chained, node: Node) -> Slot:
    x, y = node.inputs
    if not isinstance(x, Value) or not isinstance(y, Value) or x is y or x.array.shape != y.array.shape:
        raise Unfit
    for v in (x, y):
        if v.number in chained.done:
            return chained.slots[v.number]
    return chained.chain.add(chained.slot(x), chained.slot(y), chained.following(node))


def _cat(chained: Chained, node: Node) -> Slot:
    dim, *parts = node.inputs
    if len({v.array.ndim for v in parts}) > 1:
        raise Unfit
    return chained.chain.cat([chained.slot(v) for v in parts], dim % parts[0].array.ndim)


def _view(chained: Chained, node: Node) -> list[Slot]:
    x, slots = node.inputs[0], []
    slot, lies = chained.slot(x), (x.array.shape, x.array.strides)
    for out in values_in(node.outputs):
        found = None
        if np.may_share_memory(x.array, out.array):
            offset = core.address(out.array) - core.address(x.array)
            found = chained.chain.view(slot, lies, (out.array.shape, out.array.strides), offset)
        if found is None:
            if node.what not in (shape.View, shape.Squeeze, shape.Unsqueeze):
                raise Unfit
            found = chained.chain.flat(slot, out.array.shape)
        slots.append(found)
    return slots


def _contiguous(chained: Chained, node: Node) -> Slot:
    args, settings = node.inputs
    if len(args) != 1 or settings:
        raise Unfit
    (x,) = values_in(args)
    return chained.chain.flat(chained.slot(x), x.array.shape)


_SAID: dict[Any, Callable[[Chained, Node], Slot | list[Slot]]] = {
    "fused": _fused, conv.Convolution: _convolution, conv.ConvolutionBackwardInput: _convolution, linalg.Linear: _linear,
    pools.MaxPool: _max_pool, pools.AvgPool: _avg_pool, pools.AdaptiveAvgPool: _adaptive_avg_pool,
    pointwise.Add: _add, join.Cat: _cat, **dict.fromkeys(_ACTIVATIONS, _activate), kernels.contiguous: _contiguous,
    layernorm.LayerNorm: _layer_norm, attention.Attention: _attention,
}  # fmt: skip


__all__ = ["Chained", "chains"]
