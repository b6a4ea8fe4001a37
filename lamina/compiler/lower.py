"""Lowerings: the shorter forms that common operations take in a program.

A lowering knows an operation's call and its gradient rule as lines of text over plain arrays: no node, no tensors, no
promotion, no choice of engine, for all of that was settled when the call was recorded. What it leaves out is never a
check of numbers: class indices, for instance, are looked at in every replay. An operation without a lowering is replayed
by its own ``forward`` and ``backward`` (:mod:`lamina.compiler.program`).

Small arrays, for which the engine's door would take NumPy's form, get it directly; large ones go through the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lamina.autograd.graph import memory_version
from lamina.compiler.chain import chains
from lamina.compiler.fuse import fuse
from lamina.compiler.record import Node, Raw, Value, substitute, values_in
from lamina.engine import door
from lamina.engine import kernels as k
from lamina.engine.onednn import core
from lamina.ops import activation, linalg, loss, piecewise, pointwise, pooling, reduction, shape

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)
SERIAL = 1 << 13  # elements of two matrices up to which OpenBLAS multiplies on one thread
_LOWERINGS: dict[Any, type[Lowering]] = {}


class Lowering:
    """How one call, and its gradient rule, are written. ``fits`` says whether this form is right for a call."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def fits(self) -> bool:
        return _floats(self.node)

    def reads(self) -> Iterator[Value]:
        """What the rule will look at besides the gradients."""
        yield from ()

    def call(self, source: Any) -> None:
        raise NotImplementedError

    def rule(self, source: Any, node: Node) -> None:
        raise NotImplementedError

    # what the subclasses say it in

    @property
    def x(self) -> Value:
        return self.node.inputs[0]

    @property
    def y(self) -> Value:
        return _value(self.node.outputs[0])

    def wants(self, i: int) -> bool:
        return bool(self.node.settings["edges"][i])


def lowers(*operations: Any) -> Callable[[type[Lowering]], type[Lowering]]:
    """Register a lowering for operations."""

    def mark(lowering: type[Lowering]) -> type[Lowering]:
        for op in operations:
            _LOWERINGS[op] = lowering
        return lowering

    return mark


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Raw) else x


def _floats(node: Node) -> bool:
    """Whether all arrays are of float32, or all of float64."""
    dtypes = {v.array.dtype for v in values_in((node.inputs, node.outputs))}
    return dtypes == {F32} or dtypes == {F64}


def without_writes(nodes: list[Node], everything: list[Value], outputs: list[Value], wanted: list) -> list[Node]:
    """The steps with new values for what is written in place, where nobody else sees the memory that is written."""
    names: dict[int, Value] = {}
    kept: list[Node] = []
    for node in nodes:
        node.inputs = substitute(node.inputs, names)
        if node.kind == "write":
            target, source = node.inputs
            a, b = target.array, source.array
            if (
                target.kind == "made" and a.shape == b.shape and a.dtype == b.dtype and source.kind == "made"
                and sum(np.may_share_memory(a, v.array) for v in everything) == 1
                and sum(np.may_share_memory(b, v.array) for v in everything) == 1
            ):  # fmt: skip
                names[target.number] = source
                for number, value in names.items():
                    if value is target:
                        names[number] = source
                continue
        kept.append(node)
    for values in (outputs, wanted):
        values[:] = substitute(values, names)
    return kept


def simplify(recorder: Any, nodes: list[Node], after: list[Node], outputs: list[Value], wanted: list) -> list[Node]:
    """The steps without those whose results nobody reads: an operation on arrays has no other effect."""
    every = [*nodes, *after]
    if any(n.kind == "write" for n in every):
        marked = {id(n) for n in nodes}
        every = without_writes(every, recorder.all, outputs, wanted)
        nodes, after[:] = [n for n in every if id(n) in marked], [n for n in every if id(n) not in marked]
    read = {v.number for v in values_in((outputs, wanted))}
    kept: list[Node] = []
    for node in reversed([*nodes, *after]):
        if node.kind == "call" and not node.settings["used"] and not node.what.acts:
            if not any(v.number in read or v.node is not node for v in values_in(node.outputs)):
                continue
        read.update(v.number for v in values_in(node.inputs))
        kept.append(node)
    alive = {id(n) for n in kept}
    after[:] = [n for n in after if id(n) in alive]
    left = [n for n in nodes if id(n) in alive]
    if after or any(n.kind == "rule" for n in left):
        return left
    left = fuse(left, outputs)
    return chains(left, outputs) if door.get_engine() == "auto" and core.available() else left


def prepare(source: Any, nodes: list[Node]) -> None:
    """Choose the lowerings, and note what may be overwritten: fresh arrays that one step alone reads."""
    for node in nodes:
        if node.kind == "write":
            node.inputs[0].uses += 100
        if node.kind in ("kernel", "whole", "draw"):
            for v in values_in((node.inputs, node.outputs)):
                v.uses += 100
        if node.kind != "call":
            continue
        lowering = _LOWERINGS.get(node.what)
        chosen = lowering(node) if lowering is not None and node.settings["recording"] >= node.settings["used"] else None
        if chosen is not None and chosen.fits():
            source.plan[id(node)] = chosen
            if node.settings["used"]:
                for v in chosen.reads():
                    v.uses += 1
        elif node.settings["used"]:
            for v in values_in((node.inputs, node.outputs)):
                v.uses += 100


def call(source: Any, node: Node) -> bool:
    """Write a call in its short form, if it has one."""
    chosen = source.plan.get(id(node))
    if chosen is None:
        return False
    chosen.call(source)
    if node.settings["used"]:
        source.lowered[id(node)] = chosen
    return True


def rule(source: Any, node: Node) -> None:
    """Write a gradient rule in its short form."""
    source.lowered[id(node.node)].rule(source, node)


# -- phrases -------------------------------------------------------------------------------------------------------


def function(source: Any, kernel: Any, size: int) -> str:
    """A kernel: the door, or NumPy's form for a size at which the door would choose it."""
    if size < kernel.min_size:
        return source.bind(kernel.reference, "np_")
    return source.bind(kernel, "k_")


def spare(source: Any, v: Value, like: Value) -> bool:
    """Whether the array of ``v`` may hold a result of the form of ``like``: nobody looks at it afterwards."""
    return (
        v.number in source.fresh and v.uses == 1 and v.array.shape == like.array.shape and v.array.dtype == like.array.dtype
        and v.array.flags.c_contiguous and like.array.flags.c_contiguous
    )  # fmt: skip


def set_fresh(source: Any, v: Value, text: str) -> None:
    """Assign a new array to a value."""
    source.line(f"a{v.number} = {text}" if v.array.ndim else f"a{v.number} = asarray({text})")
    source.fresh.add(v.number)


def made_by(node: Node, i: int) -> Value | None:
    """Result ``i`` of a step, unless it is not wanted or another name for something known."""
    out = _value(node.outputs[i]) if i < len(node.outputs) else None
    return out if isinstance(out, Value) and out.node is node else None


# -- layers --------------------------------------------------------------------------------------------------------


@lowers(linalg.Linear)
class Linear(Lowering):
    def fits(self) -> bool:
        return _floats(self.node) and self.x.array.ndim >= 2 and self.x.array.size > 0 and self.x.array.flags.c_contiguous

    def reads(self) -> Iterator[Value]:
        if self.wants(1):
            yield self.x

    def small(self, a: Value, b: Value) -> bool:
        """Whether NumPy's product is quicker than oneDNN's, and runs on one thread (threads of both must not meet)."""
        return a.array.size + b.array.size <= SERIAL

    def rows(self, a: str, v: Value) -> str:
        return a if v.array.ndim == 2 else f"{a}.reshape(-1, {v.array.shape[-1]})"

    def call(self, source: Any) -> None:
        x, weight, bias = self.node.inputs
        w, a = source.array(weight), source.array(x)
        if not self.small(x, weight):
            version = f"{source.bind(memory_version)}({source.tensor(weight)})"
            b = "None" if bias is None else source.array(bias)
            set_fresh(source, self.y, f"{source.bind(k.linear, 'k_')}({a}, {w}, {b}, {version})")
            return
        flipped = source.bind(weight.array.T, "W") if weight.kind == "captured" else f"{w}.T"
        y = f"a{self.y.number}"
        set_fresh(source, self.y, f"{source.bind(np.dot)}({self.rows(a, x)}, {flipped})")
        if bias is not None:
            source.line(f"{source.bind(np.add)}({y}, {source.array(bias)}, {y})")
        if x.array.ndim > 2:
            source.line(f"{y} = {y}.reshape({self.y.array.shape})")

    def rule(self, source: Any, node: Node) -> None:
        x, weight, _ = self.node.inputs
        grad = node.inputs[0]
        g = source.array(grad)
        gx, gw, gb = (made_by(node, i) for i in range(3))
        small = self.small(grad, weight) and self.small(grad, x)
        product = source.bind(np.dot if small else k.matmul, "product")
        if grad.array.ndim > 2 and (gw is not None or gb is not None or small):
            rows = source.temporary(grad)
            source.line(f"{rows} = {self.rows(g, grad)}")
        else:
            rows = g
        if gx is not None:
            text = f"{product}({rows if small else g}, {source.array(weight)})"
            set_fresh(source, gx, text if not small or grad.array.ndim == 2 else f"{text}.reshape({gx.array.shape})")
        if gw is not None:
            set_fresh(source, gw, f"{product}({rows}.T, {self.rows(source.array(x), x)})")
        if gb is not None:
            if grad.array.size <= SERIAL:  # as a product with ones, which costs a third of what a reduction does
                ones = np.ones(grad.array.size // grad.array.shape[-1], grad.array.dtype)
                set_fresh(source, gb, f"{source.bind(np.dot)}({source.bind(ones, 'ones')}, {rows})")
            else:
                set_fresh(source, gb, f"{source.bind(k.sum, 'k_')}({rows}, (0,), False, None)")


@lowers(linalg.MatMul)
class MatMul(Lowering):
    def fits(self) -> bool:
        x, y = (v.array.shape for v in self.node.inputs[:2])
        return _floats(self.node) and len(x) == len(y) and x[:-2] == y[:-2] and self.x.array.size > 0

    def reads(self) -> Iterator[Value]:
        x, y = self.node.inputs[:2]
        if self.wants(0):
            yield y
        if self.wants(1):
            yield x

    def product(self, source: Any, a: str, b: str, flips: tuple[bool, bool], flat: bool, size: int) -> str:
        flip = ".T" if flat else ".swapaxes(-1, -2)"
        return f"{function(source, k.matmul, size)}({a}{flip * flips[0]}, {b}{flip * flips[1]})"

    def call(self, source: Any) -> None:
        x, y, fx, fy = self.node.inputs
        set_fresh(
            source, self.y,
            self.product(source, source.array(x), source.array(y), (fx, fy), x.array.ndim == 2, x.array.size),
        )  # fmt: skip

    def rule(self, source: Any, node: Node) -> None:
        x, y, fx, fy = self.node.inputs
        grad = node.inputs[0]
        g, a, b, flat = source.array(grad), source.array(x), source.array(y), x.array.ndim == 2
        gx, gy = made_by(node, 0), made_by(node, 1)
        if gx is not None:
            text = (
                self.product(source, b, g, (fy, True), flat, y.array.size)
                if fx
                else self.product(source, g, b, (False, not fy), flat, grad.array.size)
            )
            set_fresh(source, gx, text)
        if gy is not None:
            text = (
                self.product(source, g, a, (True, fx), flat, grad.array.size)
                if fy
                else self.product(source, a, g, (not fx, False), flat, x.array.size)
            )
            set_fresh(source, gy, text)


@lowers(pooling.MaxPool)
class MaxPool(Lowering):
    """Without indices and a gradient rule, for which the chosen elements need not be known."""

    def fits(self) -> bool:
        return _floats(self.node) and not self.node.settings["used"] and not self.node.inputs[6]

    def call(self, source: Any) -> None:
        settings = ", ".join(map(source.bind, self.node.inputs[1:6]))
        kernel = function(source, k.max_pool, self.x.array.size)
        source.line(f"a{self.y.number} = {kernel}({source.array(self.x)}, {settings})")


@lowers(piecewise.Relu)
class Relu(Lowering):
    def reads(self) -> Iterator[Value]:
        yield self.y

    def call(self, source: Any) -> None:
        x, a = self.x, source.array(self.x)
        if x.array.size < min(k.relu.min_size, 8192):
            out = f", out={a}" if spare(source, x, self.y) else ""
            set_fresh(source, self.y, f"{source.bind(np.maximum)}({a}, {source.bind(x.array.dtype.type(0), 'zero')}{out})")
        else:
            set_fresh(source, self.y, f"{function(source, k.relu, x.array.size)}({a})")

    def rule(self, source: Any, node: Node) -> None:
        gx = made_by(node, 0)
        if gx is None:
            return
        grad = node.inputs[0]
        g, y = source.array(grad), source.array(self.y)
        if grad.array.size < k.relu_backward.min_size and spare(source, grad, gx):
            bits, mask = source.temporary(grad), source.temporary(grad)  # as bits, so that 0 takes the place of inf and NaN, too
            source.line(f"{bits} = {g}.view({source.bind(np.dtype(f'i{gx.array.itemsize}'))})")
            source.line(f"{mask} = {source.bind(np.greater)}({y}, {source.bind(gx.array.dtype.type(0), 'zero')})")
            source.line(f"{source.bind(np.multiply)}({bits}, {mask}, {bits})")
            set_fresh(source, gx, g)
        else:
            set_fresh(source, gx, f"{function(source, k.relu_backward, grad.array.size)}({g}, {y})")


class Activation(Lowering):
    """An activation with a kernel of its own, and another for the product of gradient and derivative."""

    kernel: Any
    derivative: Any
    of_output = False

    def reads(self) -> Iterator[Value]:
        yield self.y if self.of_output else self.x

    def call(self, source: Any) -> None:
        settings = "".join(f", {source.bind(s)}" for s in self.node.inputs[1:])
        set_fresh(source, self.y, f"{function(source, self.kernel, self.x.array.size)}({source.array(self.x)}{settings})")

    def rule(self, source: Any, node: Node) -> None:
        gx = made_by(node, 0)
        if gx is not None:
            grad = node.inputs[0]
            settings = "".join(f", {source.bind(s)}" for s in self.node.inputs[1:])
            of = source.array(self.y if self.of_output else self.x)
            call = function(source, self.derivative, grad.array.size)
            set_fresh(source, gx, f"{call}({source.array(grad)}, {of}{settings})")


def _activation(op: Any, kernel: Any, derivative: Any, of_output: bool = False) -> None:
    lowers(op)(type(op.__name__, (Activation,), {"kernel": kernel, "derivative": derivative, "of_output": of_output}))


_activation(activation.Sigmoid, k.sigmoid, k.sigmoid_backward, True)
_activation(activation.Tanh, k.tanh, k.tanh_backward, True)
for _op in vars(activation).values():
    if isinstance(_op, type) and hasattr(_op, "kernels"):
        _activation(_op, *_op.kernels)


@lowers(loss.CrossEntropy)
class CrossEntropy(Lowering):
    """With class indices, by NumPy's kernels; large ones are replayed in the general form."""

    def fits(self) -> bool:
        x, target, weight = self.node.inputs[:3]
        small = 0 < x.array.size < k.cross_entropy.min_size
        return x.array.dtype in (F32, F64) and target.array.dtype == np.int64 and weight is None and small

    def call(self, source: Any) -> None:
        x, target, _, ignored, reduced, smoothing = self.node.inputs
        valid = f"{source.bind(loss._valid)}('cross_entropy', {source.array(target)}, {x.array.shape[1]}, {ignored})"
        self.target, self.keep, value, self.parts = (source.temporary(x) for _ in range(4))
        source.line(f"{self.target}, {self.keep} = {valid}")
        kernel = source.bind(k.cross_entropy.reference, "np_")
        settings = f"None, {source.bind(smoothing)}, {reduced!r}"
        source.line(f"{value}, {self.parts} = {kernel}({source.array(x)}, {self.target}, {self.keep}, {settings})")
        set_fresh(source, self.y, value)

    def rule(self, source: Any, node: Node) -> None:
        gx = made_by(node, 0)
        if gx is not None:
            e, total, *factors = (source.temporary(self.x) for _ in range(6))
            source.line(f"{e}, {total}, {', '.join(factors)} = {self.parts}")
            kernel = source.bind(k.cross_entropy_backward.reference, "np_")
            rest = ", ".join((source.array(node.inputs[0]), total, self.target, self.keep, *factors))
            set_fresh(source, gx, f"{kernel}({e}, {rest})")


# -- arithmetic ----------------------------------------------------------------------------------------------------


class Binary(Lowering):
    """An operation of two tensors, or of a tensor and a number."""

    kernel: Any

    def fits(self) -> bool:
        x, y = self.node.inputs
        if not _floats(self.node) or not isinstance(x, Value):
            return False
        return isinstance(y, Value) or type(y) in (int, float)

    def operand(self, source: Any, x: Any) -> str:
        if isinstance(x, Value):
            return source.array(x)
        return source.bind(np.asarray(x, self.y.array.dtype), "number")

    def apply(self, source: Any, kernel: Any, out: Value, x: Any, y: Any) -> None:
        """out = kernel(x, y), in the memory of x or y if one is spare."""
        size = x.array.size if isinstance(x, Value) else y.array.size
        texts = [self.operand(source, t) for t in (x, y)]
        into = ""
        if size < kernel.min_size and isinstance(kernel.reference, np.ufunc):
            for v in (x, y):
                if isinstance(v, Value) and spare(source, v, out):
                    into = f", out={source.array(v)}"
                    break
        set_fresh(source, out, f"{function(source, kernel, size)}({', '.join(texts)}{into})")

    def call(self, source: Any) -> None:
        x, y = self.node.inputs
        self.apply(source, self.kernel, self.y, x, y)


@lowers(pointwise.Add)
class Add(Binary):
    kernel = k.add

    def rule(self, source: Any, node: Node) -> None:
        pass  # both gradients are the one that came


@lowers(pointwise.Sub)
class Sub(Binary):
    kernel = k.sub

    def rule(self, source: Any, node: Node) -> None:
        gy = made_by(node, 1)
        if gy is not None:
            grad = node.inputs[0]
            set_fresh(source, gy, f"{function(source, k.neg, grad.array.size)}({source.array(grad)})")


@lowers(pointwise.Mul)
class Mul(Binary):
    kernel = k.mul

    def reads(self) -> Iterator[Value]:
        for i in (0, 1):
            if self.wants(i) and isinstance(self.node.inputs[1 - i], Value):
                yield self.node.inputs[1 - i]

    def rule(self, source: Any, node: Node) -> None:
        grad, (x, y) = node.inputs[0], self.node.inputs
        gx, gy = made_by(node, 0), made_by(node, 1)
        grad.uses += gx is not None and gy is not None  # the second product needs it, too
        if gx is not None:
            self.apply(source, k.mul, gx, grad, y)
            grad.uses -= gy is not None
        if gy is not None:
            self.apply(source, k.mul, gy, grad, x)


@lowers(reduction.Sum)
class Sum(Lowering):
    def fits(self) -> bool:
        return _floats(self.node) and self.x.array.size > 0

    kernel: Any = k.sum

    def call(self, source: Any) -> None:
        settings = ", ".join(source.bind(s, "s") for s in self.node.inputs[1:])
        call = function(source, self.kernel, self.x.array.size)
        set_fresh(source, self.y, f"{call}({source.array(self.x)}, {settings})")

    def spread(self, source: Any, gx: Value, g: str) -> None:
        _, axes, keepdim = self.node.inputs[:3]
        if not keepdim and axes is not None:
            kept = tuple(1 if i in axes else n for i, n in enumerate(gx.array.shape))
            g = f"{g}.reshape({kept})"
        if gx.array.size > 4096:
            source.line(f"a{gx.number} = {source.bind(np.broadcast_to)}({g}, {gx.array.shape})")
            return
        set_fresh(source, gx, f"empty({gx.array.shape}, {source.bind(gx.array.dtype)})")
        source.line(f"a{gx.number}[...] = {g}")

    def rule(self, source: Any, node: Node) -> None:
        gx = made_by(node, 0)
        if gx is not None:
            self.spread(source, gx, source.array(node.inputs[0]))


@lowers(reduction.Mean)
class Mean(Sum):
    kernel = k.mean

    def rule(self, source: Any, node: Node) -> None:
        gx = made_by(node, 0)
        if gx is not None:
            count = source.bind(gx.array.dtype.type(reduction.count(self.x.array.shape, self.node.inputs[1])), "n")
            self.spread(source, gx, f"asarray({source.array(node.inputs[0])} / {count})")


# -- views ---------------------------------------------------------------------------------------------------------


class Sight(Lowering):
    """A view: the same memory, so the result is never to be overwritten."""

    def fits(self) -> bool:
        return not any(v.hidden for v in values_in((self.node.inputs, self.node.outputs)))


@lowers(shape.View, shape.Squeeze, shape.Unsqueeze)
class View(Sight):
    def call(self, source: Any) -> None:
        self.x.uses += 100
        source.line(f"a{self.y.number} = {source.array(self.x)}.reshape({self.y.array.shape})")

    def rule(self, source: Any, node: Node) -> None:
        gx = made_by(node, 0)
        if gx is not None:
            source.line(f"a{gx.number} = {source.array(node.inputs[0])}.reshape({self.x.array.shape})")


@lowers(shape.Permute)
class Permute(Sight):
    def order(self) -> tuple[int, ...]:
        return self.node.inputs[1]

    def call(self, source: Any) -> None:
        self.x.uses += 100
        source.line(f"a{self.y.number} = {source.array(self.x)}.transpose({self.order()})")

    def rule(self, source: Any, node: Node) -> None:
        gx, order = made_by(node, 0), self.order()
        if gx is not None:
            back = tuple(sorted(range(len(order)), key=order.__getitem__))
            source.line(f"a{gx.number} = {source.array(node.inputs[0])}.transpose({back})")


@lowers(shape.Transpose, shape.T)
class Transpose(Permute):
    def order(self) -> tuple[int, ...]:
        order = list(range(self.x.array.ndim))
        i, j = self.node.inputs[1:]
        order[i], order[j] = order[j], order[i]
        return tuple(order)
