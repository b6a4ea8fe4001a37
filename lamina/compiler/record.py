"""Recording: one eager call, watched, becomes a list of steps that can be replayed on other numbers.

What is recorded, and why a replay cannot go stale unseen:

* every operation (``Op.apply``) of the call, with the arrays that it read and made; an operation is replayed whole, so
  whatever its ``forward`` decides by the numbers is decided anew;
* every gradient rule that the walk over the graph ran, also replayed whole, on the node that its operation left;
* every engine call, in-place write, random draw, optimiser step and gradient accumulation between them.

An array that reaches an operation must be an input of the call, the memory of a tensor that was there before, the
result of a recorded step, or a declared constant (what ``zeros`` or ``arange`` made). Anything else was computed in
Python in a way that a replay would not see; then, as when Python looks at a tensor's numbers (``if``, ``item()``), the
call is :class:`NotRecordable`, with the reason.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._tensor import Tensor
from lamina.autograd import graph, half, walk
from lamina.autograd.graph import CopySlices, Op, Variable, ViewOp, mode
from lamina.engine import door, kernels
from lamina.nn.modules.module import Module
from lamina.ops import creation, operands
from lamina.ops import random as random_ops
from lamina.ops.indexing import Index
from lamina.optim.optimizer import Optimizer
from lamina.random.generator import Generator

ndarray = np.ndarray
_SETTINGS = (  # what an argument may be besides tensors and arrays, as it cannot change
    int, float, complex, str, bytes, type(None), tuple, slice, type(...), type, np.dtype, np.generic, types.FunctionType,
    types.BuiltinFunctionType, types.MethodType, functools.partial, _dtypes.dtype, _dtypes.device, _dtypes.layout, range,
    Optimizer, Module, Generator,
)  # fmt: skip


class NotRecordable(RuntimeError):
    """Why a call cannot be compiled; ``place`` is the user's line that it happened on."""

    def __init__(self, reason: str) -> None:
        self.place = _users_line()
        super().__init__(f"{reason} ({self.place})" if self.place else reason)


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _users_line() -> str:
    """The innermost line outside of the package: where the user's code was."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_PACKAGE) and "contextlib" not in frame.f_code.co_filename:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class Value:
    """An array of the recording. ``kind`` says where a replay finds it.

    A constant that is ``written`` (or handed out) is copied anew for each replay, from ``pristine`` if it is not what it was.
    """

    __slots__ = ("array", "hidden", "kind", "node", "number", "pristine", "requires", "tensor", "uses", "written")

    def __init__(self, number: int, kind: str, array: ndarray, tensor: Any = None, node: Any = None) -> None:
        self.number, self.kind, self.array, self.tensor, self.node = number, kind, array, tensor, node
        self.pristine = array
        self.hidden = tensor is not None and tensor._hidden
        self.requires = tensor is not None and tensor._requires
        self.uses = 0
        self.written = False

    def __repr__(self) -> str:
        return f"{self.kind}{self.number}{list(self.array.shape)}"


class Node:
    """A step: ``kind`` with its inputs (a template in which :class:`Value` stands for arrays) and the values it makes."""

    __slots__ = ("inputs", "kind", "node", "outputs", "settings", "what")

    def __init__(self, kind: str, what: Any, inputs: tuple, outputs: tuple, settings: Any = None, node: Any = None) -> None:
        self.kind, self.what, self.inputs, self.outputs, self.settings = kind, what, inputs, outputs, settings
        self.node = node  # of a rule: the call whose node it belongs to

    def __repr__(self) -> str:
        name = getattr(self.what, "__name__", getattr(self.what, "name", ""))
        return f"{self.outputs} = {self.kind} {name}{self.inputs}"


class Raw:
    """In a template: the bare array of a value, where an operation takes arrays."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"raw {self.value}"


def substitute(template: Any, names: dict[int, Value]) -> Any:
    """A template with some values, by number, replaced by others."""
    if isinstance(template, Value):
        return names.get(template.number, template)
    if isinstance(template, Raw):
        return Raw(names[template.value.number]) if template.value.number in names else template
    if type(template) is tuple or type(template) is list:
        return type(template)(substitute(part, names) for part in template)
    if type(template) is dict:
        return {key: substitute(part, names) for key, part in template.items()}
    return template


def values_in(template: Any) -> Iterator[Value]:
    """The values of a template."""
    if isinstance(template, Value):
        yield template
    elif isinstance(template, Raw):
        yield template.value
    elif isinstance(template, (tuple, list)):
        for part in template:
            yield from values_in(part)
    elif isinstance(template, dict):
        for part in template.values():
            yield from values_in(part)


class Recorder:
    """The steps of one call in the making. ``depth`` is not 0 while an operation or rule runs that is recorded whole."""

    def __init__(self) -> None:
        self.depth = 0
        self.nodes: list[Node] = []
        self.values: dict[int, Value] = {}
        self.all: list[Value] = []
        self.contexts: dict[int, Node] = {}
        self.kept: list[Any] = []  # so that no id is used twice
        self.failure: NotRecordable | None = None
        self.ran: set[int] = set()  # nodes whose rules ran
        self.hidden: dict[int, tuple[Any, ndarray]] = {}  # tensors that lie otherwise than they say, with their arrays
        before = [o for o in gc.get_objects() if issubclass(type(o), Variable)]  # not isinstance, which runs code of others
        self.before = {id(t.__dict__["_a"]): t for t in before if "_a" in t.__dict__}
        self.kept.append(before)
        self.outside = {id(t) for t in before}

    # -- values ----------------------------------------------------------------------------------------------------

    def refuse(self, reason: str) -> None:
        """Note that the call cannot be recorded, and end it: nothing that it did so far differs from an eager call."""
        if self.failure is None:
            self.failure = NotRecordable(reason)

    def new(self, kind: str, array: ndarray, tensor: Any = None, node: Any = None) -> Value:
        value = Value(len(self.all), kind, array, tensor, node)
        self.all.append(value)
        self.values[id(array)] = value
        self.kept.append((array, tensor))
        return value

    def constant(self, array: ndarray) -> None:
        """Declare an array that was made of no tensor's numbers."""
        if id(array) not in self.values:
            self.new("constant", array)

    def look(self, x: Any, why: str) -> None:
        """What follows depends on a tensor's numbers: fine only if they are constant."""
        known = self.find(x._a, x)
        if not self.depth and (known is None or known.kind != "constant"):
            self.refuse(f"Python looks at the numbers of a tensor ({why})")

    def find(self, array: ndarray, tensor: Any = None) -> Value | None:
        """The value of an array, if it is known or was there before the call."""
        value = self.values.get(id(array))
        if value is None:
            owner = self.before.get(id(array))
            if owner is not None:
                if tensor is not None and id(tensor) in self.outside:
                    owner = tensor
                value = self.new("captured", array, owner)
        return value

    def value(self, array: ndarray, tensor: Any, reader: str) -> Value:
        found = self.find(array, tensor)
        if found is None:
            if array.size == 0:
                return self.new("constant", array)
            self.refuse(f"{reader} reads an array that was computed outside of lamina's operations")
            return self.new("constant", array)
        if tensor is not None:
            if tensor._hidden:
                found.hidden = True
                self.hidden[id(tensor)] = tensor, array
            if found.kind == "captured" and id(tensor) in self.outside and found.tensor is not tensor:
                found.tensor = tensor if tensor._requires else found.tensor
        return found

    def template(self, x: Any, reader: str) -> Any:
        """An argument with values in the place of arrays and tensors."""
        if isinstance(x, Variable):
            if x.is_sparse:
                self.refuse(f"{reader} takes a sparse tensor")
                return None
            if type(x).__dict__.get("__torch_function__"):
                self.refuse(f"{reader} takes a tensor of the subclass {type(x).__name__}")
            v = self.value(x._a, x, reader)
            v.requires = v.requires or x._requires
            return v
        if type(x) is ndarray:
            return Raw(self.value(x, None, reader))
        if type(x) is tuple:
            return tuple([self.template(part, reader) for part in x])
        if type(x) is list:
            return [self.template(part, reader) for part in x]
        if type(x) is dict:
            return {key: self.template(part, reader) for key, part in x.items()}
        if not isinstance(x, _SETTINGS):
            self.refuse(f"{reader} takes a {type(x).__name__}, whose state a replay would not know")
        return x

    def objects(self, x: Any, reader: str) -> Any:
        """Arguments of a function that is replayed whole: tensors become values, whatever else there is stays itself."""
        if isinstance(x, (Variable, ndarray)):
            return self.template(x, reader)
        if type(x) in (tuple, list):
            return type(x)(self.objects(part, reader) for part in x)
        if type(x) is dict:
            return {key: self.objects(part, reader) for key, part in x.items()}
        return x

    def result(self, t: Any, node: Node) -> Any:
        """The value of a tensor that a step returned."""
        if isinstance(t, Variable):
            if t._hidden:
                self.hidden[id(t)] = t, t._a
                self.kept.append(t)
            known = self.values.get(id(t._a))
            if known is not None:
                return known
            return self.new("made", t._a, t, node)
        if type(t) is ndarray:
            known = self.values.get(id(t))
            return Raw(known if known is not None else self.new("made", t, None, node))
        if isinstance(t, (tuple, list)):
            return tuple([self.result(part, node) for part in t])
        return None

    def add(self, kind: str, what: Any, inputs: tuple, result: Any, settings: Any = None, node: Any = None) -> Node:
        step = Node(kind, what, inputs, (), settings, node)
        step.outputs = self.result(result if isinstance(result, tuple) else (result,), step)
        self.nodes.append(step)
        return step

    # -- what happens ----------------------------------------------------------------------------------------------

    def apply(self, cls: Any, inputs: tuple) -> Any:
        """Run an operation, and note it."""
        if issubclass(cls, ViewOp) and inputs[0]._hidden:
            inputs[0]._plain()
        if not cls.any_dtype and any(isinstance(x, Variable) and x._a.dtype in _dtypes.HALVES for x in inputs):
            rounded = half.in_single(cls, inputs)  # the operation in float32, between two casts
            if rounded is not NotImplemented:
                return rounded
        template = tuple([self.template(x, cls.__name__) for x in inputs])
        with _Within(self):
            result = cls.apply(*inputs)
        self.call(cls, template, result)
        self.look_for_rearranged()
        return result

    def look_for_rearranged(self) -> None:
        """Note the tensors that were put in plain order within a step that is recorded whole."""
        for key, (x, a) in list(self.hidden.items()):
            if x._a is not a:
                del self.hidden[key]
                if id(x._a) not in self.values:  # not seen as a call of the engine between operations
                    self.kernel(kernels.contiguous, (a,), {}, x._a)

    def walked(self, node: Any) -> bool:
        """Whether the rule of a node has run, and with it all that it saved is gone."""
        return id(node) in self.ran

    def call(self, cls: Any, template: tuple, result: Any) -> None:
        """An operation ran."""
        context: Any
        if isinstance(result, tuple):
            context = next((t._node for t in result if t._node is not None), None)
        else:
            context = result._node
        if context is not None and type(context) is not cls:
            context = None  # an operation that hands its input through
        if cls is Index and any(v.array.dtype.kind == "b" for v in values_in(template[1])):
            self.refuse("the shape of a tensor that is indexed with a mask depends on the mask's numbers")
        settings: dict[str, Any] = {"recording": context is not None, "single": not isinstance(result, tuple), "used": False}
        if context is not None:
            settings["edges"] = tuple([e is not None or None for e in context.edges])
            settings["outputs"] = context._outputs
            saved = [v._a if isinstance(v, Variable) else v for v in context._saved]
            results = result if isinstance(result, tuple) else (result,)
            settings["saved"] = [*saved, *(t._a for t in results if cls.keeps_output)]
        step = self.add("call", cls, template, result, settings)
        if context is not None:
            self.contexts[id(context)] = step
            self.kept.append(context)

    def rule(self, context: Op, template: tuple, result: tuple) -> None:
        """A gradient rule ran on a node of the graph."""
        step = self.contexts.get(id(context))
        self.ran.add(id(context))
        name = type(context).__name__
        if step is None and not isinstance(context, CopySlices):
            kind = "a custom autograd.Function" if name == "FunctionCtx" else f"{name}, made before the call,"
            self.refuse(f"the gradient of {kind} cannot be recorded")
        if context._hooks or context._prehooks or context._posthooks or context._retain:
            self.refuse(f"hooks on the gradient of {name} would run only once")
        if step is not None:
            step.settings["used"] = True
        self.add("rule", type(context), template, result, None, step if step is not None else context)

    def write(self, x: Any, value: Any) -> None:
        """A tensor is overwritten in place with another's numbers; called before it happens."""
        target = self.template(x, "an in-place write")
        owner = self.values.get(id((x if x._base is None else x._base)._a))
        ours = owner is not None and all(v.kind in ("made", "constant") for v in (target, owner))
        if not ours and mode.enabled and (x._requires or value._requires):
            self.refuse("an argument, or a tensor from outside, is written to in place and takes part in the gradient")
        source = self.template(value, "an in-place write")
        if target.kind == "constant" and not target.written:  # a replay starts from the constant as it was
            target.pristine = target.array.copy()
        target.written = True
        self.nodes.append(Node("write", None, (target, source), ()))

    def kernel(self, kernel: Any, args: tuple, kwargs: dict, result: Any) -> None:
        """The engine was called between operations."""
        template = (self.template(args, kernel.name), self.template(kwargs, kernel.name))
        if result is None:  # it wrote to its arguments
            for v in values_in(template[0][:1]):
                v.written = True
        made = tuple(r if type(r) is ndarray else np.asarray(r) if isinstance(r, np.generic) else r for r in result) \
            if isinstance(result, tuple) else (result,)
        self.add("kernel", kernel, template, made, {"single": not isinstance(result, tuple)})

    def accumulate(self, leaf: Any, grad: Any, first: bool, made: Any) -> None:
        """A gradient arrived at a leaf."""
        source = self.template(grad, "a gradient")
        if id(leaf) not in self.outside:
            self.refuse("a gradient is accumulated in a tensor that the call itself made")
        if first:
            if id(made._a) not in self.values:
                self.values[id(made._a)] = source
                self.kept.append(made)
        self.nodes.append(Node("accumulate", leaf, (source,), (), first))

    def whole(self, function: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """Run a function that is replayed as it is, on the same objects."""
        name = getattr(function, "__name__", "function")
        args = tuple([list(a) if isinstance(a, types.GeneratorType) else a for a in args])
        with _Within(self):
            result = function(*args, **kwargs)
        template = (self.objects(args, name), self.objects(kwargs, name))
        self.add("whole", function, template, result, {"single": not isinstance(result, tuple)})
        return result


# -- watching ------------------------------------------------------------------------------------------------------

_recording = threading.RLock()
_LOOKS = ("item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__complex__", "__index__", "__contains__",
          "__format__", "__repr__", "__str__")  # fmt: skip
_OF_ANY_SIZE = ("nonzero", "unique", "unique_consecutive", "bincount", "masked_select")
_DRAWS = ("uniform_", "normal_", "bernoulli_", "exponential_", "cauchy_", "geometric_", "log_normal_", "random_")


def active() -> Recorder | None:
    """The recorder to tell, if this thread is recording and not within a step that is recorded whole."""
    recorder = mode.recorder
    return recorder if recorder is not None and not recorder.depth else None


class _Within:
    """Marks a step that is recorded whole."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        self.recorder.depth += 1

    def __exit__(self, *exc: object) -> None:
        self.recorder.depth -= 1


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Watch what this thread does within the block. One recording at a time; eager calls of other threads go on."""
    with _recording:
        recorder = Recorder()
        undo = _watch()
        mode.recorder = recorder
        try:
            yield recorder
        finally:
            mode.recorder = None
            undo()


def _watch() -> Callable[[], None]:
    """Put the watching forms in place of the plain ones: outside of a recording nothing is slower."""
    replaced: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        plain = owner.__dict__[name]
        replaced.append((owner, name, plain))
        setattr(owner, name, make(plain))

    for name in _LOOKS:
        if name in Tensor.__dict__:
            replace(Tensor, name, functools.partial(_watched_look, name=name))
    replace(walk, "_run", _watched_rule)
    replace(walk, "accumulate", _watched_accumulate)
    replace(walk, "_initial_gradients", _watched_roots)
    replace(walk, "walk", _watched_walk)
    replace(creation, "finish", _watched_constant)
    replace(operands, "zeros_like", _watched_constant)
    for name in _DRAWS:
        if name in vars(random_ops.draw):
            replace(random_ops.draw, name, _watched_draw)
    for cls in _steppers():
        replace(cls, "step", _watched_whole)
    for cls in (Module, Optimizer):
        replace(cls, "zero_grad", _watched_whole)
    for name in ("manual_seed", "seed", "set_state"):
        replace(Generator, name, _watched_whole)
    replace(Tensor, "grad", _watched_grad)
    observing = door.observe(_watched_kernel)
    observing.__enter__()

    def undo() -> None:
        observing.__exit__(None, None, None)
        for owner, name, plain in reversed(replaced):
            setattr(owner, name, plain)

    return undo


def _watched_look(plain: Any, name: str) -> Any:
    def look(self: Any, *args: Any, **kwargs: Any) -> Any:
        recorder = active()
        if recorder is not None:
            recorder.look(self, name)
        return plain(self, *args, **kwargs)

    return look


def _watched_rule(plain: Any) -> Any:
    def run(node: Op, outgoing: list[Any]) -> tuple:
        recorder = active()
        if recorder is None:
            return plain(node, outgoing)
        if mode.enabled:
            recorder.refuse("gradients of gradients (create_graph=True) are not compiled")
        if node.materializes:
            for i, g in enumerate(outgoing):
                if g is None:
                    shape, dtype = node._outputs[i]
                    outgoing[i] = graph.wrap(np.zeros(shape, dtype))
                    recorder.constant(outgoing[i]._a)
        name = type(node).__name__
        grads = tuple([recorder.template(g, name) for g in outgoing])
        with _Within(recorder):
            incoming = plain(node, outgoing)
        recorder.rule(node, grads, incoming)
        recorder.look_for_rearranged()
        return incoming

    return run


def _watched_accumulate(plain: Any) -> Any:
    def accumulate(leaf: Any, grad: Any, create_graph: bool, held: int = 0) -> None:
        recorder = active()
        if recorder is None:
            plain(leaf, grad, create_graph, held)
            return
        first = leaf._grad is None
        with _Within(recorder):
            plain(leaf, grad, create_graph, 0)
        if leaf._after_hooks or leaf._hooks:
            recorder.refuse("hooks on a parameter's gradient would run only once")
        recorder.accumulate(leaf, grad, first, leaf._grad)

    return accumulate


def _watched_roots(plain: Any) -> Any:
    def initial(roots: tuple, grads: Any) -> list[Any]:
        result = plain(roots, grads)
        recorder = active()
        if recorder is not None:
            given = {id(g._a) for g in walk._as_tuple(grads) if isinstance(g, Variable)} if grads is not None else set()
            for g in result:
                if id(g._a) not in given:
                    recorder.constant(g._a)
        return result

    return initial


def _watched_walk(plain: Any) -> Any:
    def walked(roots: Any, grads: Any, retain: bool, create: bool, *rest: Any) -> Any:
        recorder = active()
        if recorder is not None and create:
            recorder.refuse("gradients of gradients (create_graph=True) are not compiled")
        return plain(roots, grads, retain, create, *rest)

    return walked


def _steppers() -> list[type]:
    """The schedulers with a ``step`` of their own, which changes settings; that of optimizers tells the recorder itself."""
    found: list[type] = []
    schedulers = sys.modules.get("lamina.optim.lr_scheduler")
    todo = [schedulers.LRScheduler, schedulers.ReduceLROnPlateau] if schedulers is not None else []
    while todo:
        cls = todo.pop()
        todo.extend(cls.__subclasses__())
        if "step" in cls.__dict__ and cls not in found:
            found.append(cls)
    return found


def _watched_whole(plain: Any) -> Any:
    @functools.wraps(plain)
    def form(*args: Any, **kwargs: Any) -> Any:
        recorder = active()
        return plain(*args, **kwargs) if recorder is None else recorder.whole(plain, args, kwargs)

    return form


def _watched_grad(plain: property) -> property:
    get, put = plain.fget, plain.fset

    def setter(self: Any, value: Any) -> None:
        recorder = active()
        if recorder is None:
            put(self, value)  # type: ignore[misc]
        else:
            recorder.whole(put, (self, value), {})  # type: ignore[arg-type]

    return property(get, setter, plain.fdel, plain.__doc__)


def _watched_constant(plain: Any) -> Any:
    def make(*args: Any, **kwargs: Any) -> Any:
        result = plain(*args, **kwargs)
        recorder = active()
        if recorder is not None:
            recorder.constant(result._a)
        return result

    return make


def _watched_draw(plain: Any) -> Any:
    def draw(array: ndarray, *args: Any, **kwargs: Any) -> Any:
        recorder = active()
        if recorder is None:
            return plain(array, *args, **kwargs)
        with _Within(recorder):
            result = plain(array, *args, **kwargs)
        known = recorder.find(array)
        template = recorder.template((args, kwargs), plain.__name__)
        if known is None:
            step = Node("draw", plain, template, ())
            step.outputs = (recorder.new("made", array, None, step),)
        else:
            known.written = True
            step = Node("draw", plain, template, (), known)
        recorder.nodes.append(step)
        return result

    return draw


def _watched_kernel(kernel: Any, args: tuple, kwargs: dict, result: Any) -> None:
    recorder = mode.recorder
    if recorder is None:
        return
    if kernel.name in _OF_ANY_SIZE:
        recorder.refuse(f"the shape of what {kernel.name} gives depends on the numbers")
    elif not recorder.depth:
        recorder.kernel(kernel, args, kwargs, result)


__all__ = ["NotRecordable", "Node", "Raw", "Recorder", "Value", "active", "recording", "values_in"]
