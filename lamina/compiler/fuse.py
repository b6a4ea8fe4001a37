"""Fusion: a convolution takes up what follows it where no gradients are wanted.

A batch norm with given statistics is folded into the weight and the bias, of transposed convolutions, too. With a plain one,
an array that is added to the result, and a relu or relu6 after that, become part of the engine's call (``conv_fused``). The
folded weight is kept while the tensors that it was made of are the same, by their counts of writes; where writes cannot be
counted (somebody holds the NumPy array) it is made anew with each call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.autograd.graph import memory_version
from lamina.compiler.record import Node, Value, values_in
from lamina.ops.conv import Convolution, ConvolutionBackwardInput
from lamina.ops.norm import BatchNormEval
from lamina.ops.piecewise import Hardtanh, Relu
from lamina.ops.pointwise import Add

F32 = np.dtype(np.float32)


class FusedConvolution:
    """What a fused step computes: activation(conv(x, w·s, (b − m)·s + t) + added), with what it was made of.

    ``size`` is that of the result of a transposed convolution, for which nothing is added and no activation taken up.
    """

    def __init__(self, node: Node) -> None:
        _, self.weight, self.bias, *size, self.settings = node.inputs
        self.size: tuple[int, ...] | None = size[0] if size else None
        self.normed: tuple | None = None  # (weight, bias, mean, variance, epsilon) of the batch norm
        self.activation: str | None = None

    def folding(self) -> Any:
        """A function that gives (weight, bias, version) to compute with."""
        weight, bias, normed = self.weight.tensor, self.bias and self.bias.tensor, self.normed
        if normed is None:
            return lambda: (weight._a, None if bias is None else bias._a, memory_version(weight))
        *values, eps = normed
        scale, shift, mean, var = [v and v.tensor for v in values]
        sources = [t for t in (weight, bias, scale, shift, mean, var) if t is not None]
        kept: list[Any] = [None, None, None, 0]

        def fold() -> tuple[Any, Any, Any]:
            versions = [memory_version(t) for t in sources]
            if kept[0] == versions and None not in versions:
                return kept[1], kept[2], 0
            factor = 1 / np.sqrt(var._a.astype(np.float64) + eps)
            if scale is not None:
                factor *= scale._a
            w = self._scaled(weight._a, factor)
            b = ((0 if bias is None else bias._a) - mean._a) * factor + (0 if shift is None else shift._a)
            kept[:3] = versions, w, b.astype(weight._a.dtype)
            return w, kept[2], 0

        return fold

    def _scaled(self, w: Any, factor: Any) -> Any:
        """The weight, what makes a channel of the result times its factor."""
        ones = (1,) * (w.ndim - 2)
        if self.size is None:
            return (w * factor.reshape(-1, 1, *ones)).astype(w.dtype)
        groups = self.settings[3]
        apart = w.reshape(groups, -1, *w.shape[1:]) * factor.reshape(groups, 1, -1, *ones)
        return apart.reshape(w.shape).astype(w.dtype)


def activation_of(node: Node) -> str | None:
    """What the engine calls an activation that it can apply to a convolution's result."""
    if node.kind != "call" or node.settings["used"]:
        return None
    if node.what is Relu:
        return "relu"
    return "relu6" if node.what is Hardtanh and node.inputs[1:] == (0, 6) else None


def fuse(nodes: list[Node], outputs: list[Value]) -> list[Node]:
    """The steps of a program without gradients, with convolutions that take up what follows."""
    readers: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        for v in values_in(node.inputs):
            readers.setdefault(v.number, []).append(i)
    final = {v.number for v in outputs}
    barriers = [i for i, node in enumerate(nodes) if node.kind != "call"]
    gone: set[int] = set()
    fused: dict[int, Node] = {}

    def only_reader(v: Value, after: int) -> int | None:
        """The one step that reads a value, if nothing between could change what it reads."""
        found = readers.get(v.number, [])
        if v.number in final or len(found) != 1 or found[0] in gone or any(after < b < found[0] for b in barriers):
            return None
        return found[0] if nodes[found[0]].kind == "call" else None

    for i, node in enumerate(nodes):
        if node.kind != "call" or node.what not in (Convolution, ConvolutionBackwardInput) or i in gone:
            continue
        x, weight, bias = node.inputs[:3]
        if weight.kind != "captured" or bias is not None and bias.kind != "captured" or x.array.dtype != F32:
            continue
        step = FusedConvolution(node)
        y, at, parts, added = node.outputs[0], i, [i], None
        j = only_reader(y, at)
        if j is not None and nodes[j].what is BatchNormEval and nodes[j].inputs[0] is y:
            normed = nodes[j].inputs[1:]
            if all(v is None or v.kind == "captured" for v in normed[:4]):
                step.normed, y, at = normed, nodes[j].outputs[0], j
                parts.append(j)
                j = only_reader(y, at)
        if step.size is not None:
            j = None
        if j is not None and nodes[j].what is Add:
            a, b = nodes[j].inputs
            other = b if a is y else a
            if isinstance(other, Value) and other is not y and other.array.shape == y.array.shape and other.array.dtype == F32:
                added, y, at = other, nodes[j].outputs[0], j
                parts.append(j)
                j = only_reader(y, at)
        if j is not None and (name := activation_of(nodes[j])) is not None:
            step.activation, y, at = name, nodes[j].outputs[0], j
            parts.append(j)
        if len(parts) == 1:
            continue
        gone.update(parts)
        made = Node("fused", step, (x, added), (y,))
        y.hidden = True
        fused[at] = made
    result = []
    for i, node in enumerate(nodes):
        if i in fused:
            result.append(fused[i])
        elif i not in gone:
            result.append(node)
    return result
