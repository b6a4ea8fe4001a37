"""Programs: a recording written out as one Python function, in which nothing is left of the graph and its bookkeeping.

The function's text can be read (``program.source``). Local ``a3`` is the array of value 3, ``h3`` a tensor over it for
operations that want one, ``c3`` the node (context) of call 3 that its gradient rule will want. Each step is written by
its lowering (:mod:`lamina.compiler.lower`), which knows a shorter form, or else as the operation's own ``forward`` and
``backward``. Names are let go after their last use, so that the engine's pool gives their memory to later steps.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd import walk
from lamina.autograd.graph import Version, bump
from lamina.compiler import lower
from lamina.compiler.record import Node, NotRecordable, Raw, Recorder, Value, values_in
from lamina.compiler.steps import QuickStep
from lamina.engine import kernels

ndarray = np.ndarray
_new = object.__new__
LARGE = 4096  # bytes from which a name is let go after its last use
_LOCAL = re.compile(r"\b[ahcx]\d+\b")
_GLOBAL = re.compile(r"\b[AT]\d+\b")
_UNCHANGED = Version()


class Stale(Exception):
    """A tensor that a program was made with has other memory now."""


def hold(array: ndarray) -> Any:
    """A tensor without history, for an operation to look at."""
    t = _new(Tensor)
    t._a = array
    return t


def hold_wanted(array: ndarray) -> Any:
    """The same, of which a gradient is wanted."""
    t = _new(Tensor)
    t._a = array
    t._requires = True
    return t


def hold_hidden(array: ndarray, wanted: bool) -> Any:
    """The same, lying otherwise than its user believes."""
    t = _new(Tensor)
    t._a = array
    t._hidden = True
    t._requires = wanted
    return t


class Source:
    """The text of a program in the making, and what its names stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sizes: dict[int, int] = {}  # bytes behind a temporary name, by its number
        self.names: dict[str, Any] = {
            "hold": hold, "hold_wanted": hold_wanted, "hold_hidden": hold_hidden, "new": _new, "asarray": np.asarray,
            "copyto": np.copyto, "bump": bump, "accumulate": walk.accumulate, "Stale": Stale, "empty": np.empty,
            "unchanged": _UNCHANGED,
        }  # fmt: skip
        self.bound: dict[int, str] = {}
        self.held: set[int] = set()
        self.contexts: dict[int, str] = {}
        self.count = 0
        self.plan: dict[int, Any] = {}  # id of a call node → the lowering that was chosen for it
        self.lowered: dict[int, Any] = {}  # id of a call node → the lowering that wrote it, and is to write its rule
        self.fresh: set[int] = set()  # values whose arrays the program itself made
        self.guards: dict[int, Value] = {}

    def line(self, text: str) -> None:
        self.lines.append(text)

    def bind(self, x: Any, prefix: str = "G") -> str:
        """A global name for an object."""
        if x is None or x is True or x is False or type(x) in (int, str):
            return repr(x)
        if type(x) is float and x == x and x not in (float("inf"), float("-inf")):
            return repr(x)
        name = self.bound.get(id(x))
        if name is None:
            name = f"{prefix}{len(self.names)}"
            self.names[name] = x
            self.bound[id(x)] = name
        return name

    def temporary(self, like: Value) -> str:
        """A new name for something that belongs to a value, such as a view of it: let go where that would be."""
        self.count += 1
        number = 9_000_000 + self.count
        self.sizes[number] = like.array.nbytes
        return f"a{number}"

    # -- values ----------------------------------------------------------------------------------------------------

    def array(self, v: Value) -> str:
        """The name of a value's array."""
        if v.kind == "captured":
            self.guards[v.number] = v
            name = f"A{v.number}"
            self.names[name] = v.array
            return name
        if v.kind == "constant" and not v.written:
            name = f"A{v.number}"
            self.names[name] = v.array
            return name
        return f"a{v.number}"

    def tensor(self, v: Value) -> str:
        """The name of a tensor over a value."""
        if v.kind == "captured":
            self.guards[v.number] = v
            name = f"T{v.number}"
            self.names[name] = v.tensor
            return name
        if v.kind == "input":
            return f"x{v.number}"
        if v.kind == "constant" and not v.written:
            name = f"T{v.number}"
            self.names[name] = hold(v.array)
            return name
        if v.number not in self.held:
            self.held.add(v.number)
            make = f"hold_hidden(a{v.number}, {v.requires})" if v.hidden else \
                f"hold_wanted(a{v.number})" if v.requires else f"hold(a{v.number})"
            self.line(f"h{v.number} = {make}")
        return f"h{v.number}"

    def argument(self, x: Any) -> str:
        """An argument of a template as text."""
        if isinstance(x, Value):
            return self.tensor(x)
        if isinstance(x, Raw):
            return self.array(x.value)
        if type(x) is tuple and any(True for _ in values_in(x)):
            return f"({', '.join(map(self.argument, x))},)"
        if type(x) is list and any(True for _ in values_in(x)):
            return f"[{', '.join(map(self.argument, x))}]"
        if type(x) is dict and any(True for _ in values_in(x)):
            return "{" + ", ".join(f"{k!r}: {self.argument(v)}" for k, v in x.items()) + "}"
        return self.bind(x)

    def targets(self, outputs: tuple, single: bool) -> tuple[str, list[Value]]:
        """The left side of an assignment of results, and the values that are new."""
        made: list[Value] = []
        names = []
        for out in outputs:
            v = out.value if isinstance(out, Raw) else out
            if isinstance(v, Value) and v.kind == "made" and v not in made:
                made.append(v)
                names.append(f"a{v.number}")
            else:
                names.append("_")
        return (names[0] if single else ", ".join(names) + ","), made

    # -- steps in their general form -------------------------------------------------------------------------------

    def step(self, node: Node) -> None:
        """Write a step."""
        getattr(self, f"_{node.kind}")(node)

    def _call(self, node: Node) -> None:
        if lower.call(self, node):
            return
        cls, settings = node.what, node.settings
        arguments = ", ".join(map(self.argument, node.inputs))
        self.count += 1
        c = f"c{self.count}"
        self.line(f"{c} = new({self.bind(cls, 'Op')})")
        if settings["recording"] and settings["used"]:
            self.contexts[id(node)] = c
            self.line(f"{c}.recording = True")
        forward = self.bind(cls.forward, "forward")
        target, made = self.targets(node.outputs, settings["single"])
        self.line(f"{target} = {forward}({c}, {arguments})")
        for v in made:
            if not v.array.ndim:
                self.line(f"a{v.number} = asarray(a{v.number})")
        if id(node) in self.contexts:
            self.line(f"{c}.edges = {self.bind(settings['edges'], 'edges')}")
            if settings["outputs"]:
                self.line(f"{c}._outputs = {self.bind(settings['outputs'], 'results')}")
            if cls.keeps_output:
                kept = ", ".join(f"({name}, unchanged, 0)" for name in self._all_names(node))
                self.line(f"{c}._output = {kept if settings['single'] else f'({kept},)'}")

    def _all_names(self, node: Node) -> list[str]:
        return [self.array(out.value if isinstance(out, Raw) else out) for out in node.outputs]

    def _rule(self, node: Node) -> None:
        if isinstance(node.node, Node) and id(node.node) in self.lowered:
            lower.rule(self, node)
            return
        context = self.contexts[id(node.node)] if isinstance(node.node, Node) else self.bind(node.node, "context")
        grads = ", ".join(map(self.argument, node.inputs))
        self.line(f"r = {self.bind(node.what.backward, 'backward')}({context}, {grads})")
        if any(isinstance(out, Value) for out in node.outputs):
            self.line("if type(r) is not tuple: r = (r,)")
        for i, out in enumerate(node.outputs):
            if isinstance(out, Value) and out.kind == "made" and out.node is node and out.number not in self.held:
                self.held.add(out.number)
                self.line(f"h{out.number} = r[{i}]")
                self.line(f"a{out.number} = h{out.number}._a")
        self.line("r = None")

    def _write(self, node: Node) -> None:
        target, source = node.inputs
        self.line(f"copyto({self.array(target)}, {self.array(source)}, casting='unsafe')")
        self._count_write(target)

    def _count_write(self, v: Value) -> None:
        if v.kind in ("captured", "input"):
            self.line(f"bump({self.tensor(v)})")

    def _kernel(self, node: Node) -> None:
        args, kwargs = node.inputs
        text = ", ".join([self.argument(a) for a in args] + [f"{k}={self.argument(v)}" for k, v in kwargs.items()])
        if node.outputs == (None,):
            self.line(f"{self.bind(node.what, 'kernel')}({text})")
            for v in values_in(args[:1]):
                self._count_write(v)
            return
        target, made = self.targets(node.outputs, node.settings["single"])
        self.line(f"{target} = {self.bind(node.what, 'kernel')}({text})")
        for v in made:
            if not v.array.ndim:
                self.line(f"a{v.number} = asarray(a{v.number})")

    def _fused(self, node: Node) -> None:
        step, (x, added), (y,) = node.what, node.inputs, node.outputs
        for v in (step.weight, step.bias, *(step.normed or ())[:4]):
            if v is not None:
                self.tensor(v)  # under guard
        self.line(f"w, b, v = {self.bind(step.folding(), 'fold')}()")
        if step.size is not None:
            rest = f"{step.size!r}, {self.bind(step.settings, 's')}, v"
            self.line(f"a{y.number} = {self.bind(kernels.conv_backward_input, 'k_')}({self.array(x)}, w, b, {rest})")
            return
        other = "None" if added is None else self.array(added)
        kernel = self.bind(kernels.conv_fused, "k_")
        rest = f"{other}, {step.activation!r}, {self.bind(step.settings, 's')}, v"
        self.line(f"a{y.number} = {kernel}({self.array(x)}, w, b, {rest})")

    def _chain(self, node: Node) -> None:
        chained = node.what
        for v in chained.captured:
            self.tensor(v)  # under guard
        chained.plain = steps(chained.nodes, chained.inputs, chained.outputs)
        targets = "".join(f"a{v.number}, " for v in node.outputs)
        self.line(f"{targets}= {self.bind(chained, 'chain')}({', '.join(map(self.array, node.inputs))})")

    def _draw(self, node: Node) -> None:
        args, kwargs = node.inputs
        text = "".join([f", {self.argument(a)}" for a in args] + [f", {k}={self.argument(v)}" for k, v in kwargs.items()])
        if isinstance(node.settings, Value):
            name = self.array(node.settings)
        else:
            v = node.outputs[0]
            name = f"a{v.number}"
            self.line(f"{name} = empty({v.array.shape}, {self.bind(v.array.dtype)})")
        self.line(f"{self.bind(node.what, 'draw')}({name}{text})")
        if isinstance(node.settings, Value):
            self._count_write(node.settings)

    def _accumulate(self, node: Node) -> None:
        leaf, (v,) = self.bind(node.what, "leaf"), node.inputs
        name = self.tensor(v)
        a = v.array
        fresh = v.kind == "made" and v.uses == 1 and not isinstance(a.base, ndarray) and a.flags.writeable
        if fresh:
            self.line(f"if {leaf}._grad is None: {leaf}._grad = {name}; {name}._requires = False")
            self.line(f"else: accumulate({leaf}, {name}, False)")
        else:
            self.line(f"accumulate({leaf}, {name}, False)")

    def _whole(self, node: Node) -> None:
        args, kwargs = node.inputs
        if getattr(node.what, "hooked", False) and len(args) == 1 and not kwargs and QuickStep.fits(args[0]):
            self.line(f"{self.bind(QuickStep(args[0]), 'step')}()")
            return
        text = ", ".join([self.argument(a) for a in args] + [f"{k}={self.argument(v)}" for k, v in kwargs.items()])
        new = [out for out in node.outputs if isinstance(out, Value) and out.kind == "made" and out.node is node]
        call = f"{self.bind(node.what, 'whole')}({text})"
        if not new:
            self.line(call)
            return
        self.line(f"r = {call}" if not node.settings["single"] else f"r = ({call},)")
        for i, out in enumerate(node.outputs):
            if out in new:
                self.held.add(out.number)
                self.line(f"h{out.number} = r[{i}]; a{out.number} = h{out.number}._a")


def count_uses(nodes: list[Node], outputs: Any) -> None:
    """How often each value is read."""
    for node in nodes:
        for v in values_in(node.inputs):
            v.uses += 1
    for v in values_in(outputs):
        v.uses += 2


def prologue(source: Source, values: list[Value]) -> list[str]:
    """What comes first: whether the program still holds, and constants that the call writes to."""
    lines = []
    for v in source.guards.values():
        source.names[f"T{v.number}"] = v.tensor
        source.names[f"A{v.number}"] = v.array
    checks = [f"T{n}._a is not A{n}" for n in source.guards]
    for i in range(0, len(checks), 50):
        lines.append(f"if {' or '.join(checks[i : i + 50])}: raise Stale")
    for v in values:
        if v.kind == "constant" and v.written:
            source.names[f"P{v.number}"] = v.pristine
            lines.append(f"a{v.number} = P{v.number}.copy()")
    return lines


def release(lines: list[str], keep: set[str], sizes: dict[int, int]) -> list[str]:
    """The lines with large arrays and contexts let go after their last use."""
    last: dict[str, int] = {}
    for i, line in enumerate(lines):
        for name in _LOCAL.findall(line):
            last[name] = i
    ends: dict[int, list[str]] = {}
    for name, i in last.items():
        if name in keep or name[0] == "x":
            continue
        if name[0] == "c" or sizes[int(name[1:])] >= LARGE:
            ends.setdefault(i, []).append(name)
    result = []
    for i, line in enumerate(lines):
        result.append(line)
        gone = [n for n in ends.get(i, ()) if not line.startswith(f"{n} = None")]
        if gone and i + 1 < len(lines):
            if line.startswith("if ") and i + 1 < len(lines) and lines[i + 1].startswith("else"):
                ends.setdefault(i + 1, []).extend(gone)
                continue
            result.append(f"{' = '.join(gone)} = None")
    return result


def function(name: str, arguments: list[str], lines: list[str], names: dict[str, Any]) -> tuple[Any, str]:
    """A function of the given text."""
    body = "\n    ".join(lines) if lines else "pass"
    text = f"def {name}({', '.join(arguments)}):\n    {body}\n"
    scope = dict(names)
    exec(compile(text, f"<lamina.compile: {name}>", "exec"), scope)
    return scope[name], text


def steps(nodes: list[Node], inputs: list[Value], outputs: list[Value]) -> Any:
    """Some steps of a program as a function of their own, of arrays."""
    source = Source()
    count_uses(nodes, outputs)
    lower.prepare(source, nodes)
    for node in nodes:
        source.step(node)
    results = [source.array(v) for v in outputs]
    values = list({v.number: v for node in nodes for v in values_in((node.inputs, node.outputs))}.values())
    sizes = source.sizes | {v.number: v.array.nbytes for v in values}
    lines = prologue(source, values)
    for v in inputs:
        lines.append(f"a{v.number} = p{v.number}")
        if v.kind == "input":  # elsewhere a tensor of the caller's
            lines.append(f"x{v.number} = {'hold_hidden' if v.hidden else 'hold'}(a{v.number}{', False' if v.hidden else ''})")
    lines = [*release(lines + source.lines, set(results), sizes), f"return ({''.join(r + ', ' for r in results)})"]
    return function("steps", [f"p{v.number}" for v in inputs], lines, source.names)[0]


class Program:
    """A recorded call as functions. ``forward(*tensors)`` gives the arrays of the results (and what ``backward`` wants).

    With ``roots`` (values that gradients come to) there is ``backward(kept, *gradients)`` as well, made of the steps
    ``after``, which gives the arrays of the gradients named by ``wanted``. What it will read must not be written to
    meanwhile: ``read_inputs`` and ``read_results`` are the numbers of such arguments and results, ``read_tensors`` the others.
    """

    def __init__(
        self, recorder: Recorder, inputs: list[Value], outputs: list[Value], after: list[Node] | None = None,
        roots: list[Value] | None = None, wanted: list[Value | None] | None = None,
    ) -> None:
        after, wanted = after or [], wanted or []
        nodes = lower.simplify(recorder, recorder.nodes, after, outputs, wanted)
        hand_out(recorder.all, [*outputs, *(v for v in wanted if v is not None)])
        source = Source()
        count_uses([*nodes, *after], (outputs, wanted))
        lower.prepare(source, [*nodes, *after])
        for node in nodes:
            source.step(node)
        boundary = len(source.lines)
        for node in after:
            source.step(node)
        sizes = source.sizes | {v.number: v.array.nbytes for v in recorder.all}
        results = [source.array(v) for v in outputs]
        first, second = source.lines[:boundary], source.lines[boundary:]
        heads = [f"a{v.number} = x{v.number}._a" for v in inputs if f"a{v.number}" in _names([*source.lines, *results])]
        first = prologue(source, recorder.all) + heads + first
        arguments = [f"x{v.number}" for v in inputs]
        self.backward: Any = None
        self.ended: list[Any] = []  # per result: the spent node that is its history, or None
        self.roots: list[int] = []  # the results that gradients come to
        if roots is None:
            lines = [*release(first, set(results), sizes), f"return ({''.join(r + ', ' for r in results)})"]
            self.forward, self.source = function("forward", arguments, lines, source.names)
            return
        gradients = [f"a{v.number}" for v in roots]
        sought = ["None" if v is None else source.array(v) for v in wanted]
        tail = release([*second, f"return ({''.join(s + ', ' for s in sought)})"], set(sought), sizes)
        kept = sorted(_names(tail) & (_names(first) | set(arguments)) - set(gradients))
        lines = release(first, set(results) | set(kept), sizes)
        lines.append(f"return ({''.join(r + ', ' for r in results)}), ({''.join(k + ', ' for k in kept)})")
        self.forward, text = function("forward", arguments, lines, source.names)
        unpack = [f"{', '.join(kept)}, = kept", "kept = None"] if kept else []
        self.backward, more = function("backward", ["kept", *gradients], unpack + tail, source.names)
        self.source = text + "\n" + more
        there = set(_GLOBAL.findall("\n".join(tail)))
        self.read_tensors = [v.tensor for n, v in source.guards.items() if {f"A{n}", f"T{n}"} & there]
        read = [recorder.all[int(n[1:])] for n in kept if n[0] != "c" and int(n[1:]) < len(recorder.all)]
        self.read_inputs = [i for i, v in enumerate(inputs) if v in read]
        arrays = [v.array for v in read]
        for node in nodes:
            if id(node) in source.contexts:
                arrays += [a for a in node.settings["saved"] if isinstance(a, ndarray)]
        self.read_results = [i for i, v in enumerate(outputs) if any(np.may_share_memory(v.array, a) for a in arrays)]


def hand_out(values: list[Value], outputs: list[Value]) -> None:
    """Have constants that the caller gets, or gets a view of, made anew for each call: he may write to them."""
    for v in values:
        if v.kind == "constant" and not v.written and any(np.may_share_memory(v.array, out.array) for out in outputs):
            v.written, v.pristine = True, v.array.copy()


def _names(lines: list[str]) -> set[str]:
    return {name for line in lines for name in _LOCAL.findall(line)}


__all__ = ["NotRecordable", "Program", "Source", "Stale"]
