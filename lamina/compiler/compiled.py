"""``lamina.compile``: which program a call runs, and its place in the graph of an eager program."""

from __future__ import annotations

import functools
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._tensor import Tensor
from lamina.autograd import walk
from lamina.autograd.graph import FREED, Op, Variable, Version, mode, wrap
from lamina.compiler.guards import Guards
from lamina.compiler.program import Program, Stale
from lamina.compiler.record import NotRecordable, Recorder, Value, recording
from lamina.engine import door
from lamina.engine.onednn import threads
from lamina.nn.modules.module import Module

CAPACITY = 64  # kinds of arguments per compiled function; beyond that, calls with new shapes run eagerly
STATES = 8  # states of what a call depends on, such as train() and eval(), for each kind
_new = object.__new__


class Replayed(Op):
    """A replayed call, as one node of the graph; its rule is the recorded backward pass."""

    label = "CompiledFunctionBackward"
    program: Any = None

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if mode.enabled:
            raise RuntimeError("lamina.compile does not support gradients of gradients (create_graph=True)")
        kept = ctx.saved[0]
        if ctx._output is not None:
            _ = ctx.output  # raises if a result that is needed was written to, as saved does for the rest
        with np.errstate(all="ignore"):
            found = ctx.program.backward(kept, *[grads[i]._plain() for i in ctx.program.roots])
        return tuple([None if a is None else wrap(a) for a in found])


class _State(threading.local):
    """Per thread: whether ``lamina.compiler.disable`` is in force."""

    disabled = 0


state = _State()


class _Leaf:
    """In a structure: the place of tensor number ``index``."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


def flatten(x: Any, tensors: list[Any]) -> Any:
    """The structure of ``x`` as a hashable key; its tensors are appended to ``tensors``. Raises ``TypeError`` if it has none."""
    if isinstance(x, Variable):
        tensors.append(x)
        return Tensor
    if isinstance(x, (float, complex)):
        return type(x), repr(x)  # 0.0 and -0.0 are equal, but not the same; NaN is the same as itself
    if x is None or isinstance(x, (int, str, bool, bytes, _dtypes.dtype, _dtypes.device)):
        return type(x), x
    if isinstance(x, (tuple, list)):
        return (type(x), *[flatten(part, tensors) for part in x])
    if isinstance(x, dict):
        return (dict, *[(key, flatten(part, tensors)) for key, part in x.items()])
    hash(x)
    return type(x), id(x), _Keep(x)


class _Keep:
    """Keeps an object alive whose id is part of a key; equal to every other."""

    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keep)

    def __hash__(self) -> int:
        return 0


def take_apart(x: Any, tensors: list[Any]) -> Any:
    """A result with its tensors replaced by their places."""
    if isinstance(x, Variable):
        tensors.append(x)
        return _Leaf(len(tensors) - 1)
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[take_apart(part, tensors) for part in x])
    if type(x) in (tuple, list):
        return type(x)(take_apart(part, tensors) for part in x)
    if type(x) is dict:
        return {key: take_apart(part, tensors) for key, part in x.items()}
    if x is None or isinstance(x, (int, float, str, bool, complex, _dtypes.dtype)):
        return x
    raise NotRecordable(f"a result of type {type(x).__name__} cannot be made anew by a replay")


def put_together(x: Any, tensors: list[Any]) -> Any:
    """A result of :func:`take_apart` with other tensors in the places."""
    if type(x) is _Leaf:
        return tensors[x.index]
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*[put_together(part, tensors) for part in x])
    if type(x) in (tuple, list):
        return type(x)(put_together(part, tensors) for part in x)
    if type(x) is dict:
        return {key: put_together(part, tensors) for key, part in x.items()}
    return x


class _Entry:
    """A program with what a call of it needs."""

    __slots__ = ("guards", "leaves", "plain", "program", "results", "structure")

    def __init__(self, program: Program, guards: Guards, structure: Any, results: list[Any], leaves: list[Any]) -> None:
        self.program, self.guards, self.structure = program, guards, structure
        self.results = results  # per tensor of the result: None, or the number of the argument that it is
        self.leaves = leaves  # what gradients go to: tensors, or numbers of arguments
        self.plain = type(structure) is _Leaf and results == [None] and program.ended == [None]  # one new tensor, without history


class Compiled:
    """A function that records its calls and replays them; what :func:`lamina.compile` returns for a function."""

    living: Any = weakref.WeakSet()

    def __init__(self, function: Callable[..., Any], owner: Any = None, fullgraph: bool = False) -> None:
        Compiled.living.add(self)
        functools.update_wrapper(self, function, updated=())
        self.function, self.owner, self.fullgraph = function, owner, fullgraph
        self.entries: dict[Any, Any] = {}  # kind of arguments → programs, one per state, or why there is none
        self.reasons: list[str] = []
        self.recordings = 0
        self._warned: set[str] = set()

    def __reduce__(self) -> Any:  # a copy records for itself
        return Compiled, (self.function, self.owner, self.fullgraph)

    def __get__(self, instance: Any, owner: Any = None) -> Any:  # a compiled method
        if instance is None:
            return self
        bound = Compiled(self.function.__get__(instance, owner), instance, self.fullgraph)
        setattr(instance, self.function.__name__, bound)
        return bound

    # -- calling ---------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if mode.recorder is not None or mode.anomaly or state.disabled:
            return self.function(*args, **kwargs)
        tensors: list[Any] = []
        key: list[Any] = []
        if len(args) == 1 and type(args[0]) is Tensor and not kwargs:  # the commonest call, and its structure is that of its key
            tensors.append(args[0])
        else:
            try:
                key.append(flatten(args, tensors))
                if kwargs:
                    key.append(flatten(kwargs, tensors))
            except TypeError:
                return self._eager("an argument is neither a tensor, a number nor hashable", args, kwargs)
        for t in tensors:
            a = t._a
            if t._base is not None:
                t._history()
            key.append((a.shape, a.strides, a.dtype, t._requires, t._hidden))
        cast = None if mode.autocast is None else mode.autocast.dtype
        key.append((mode.enabled, mode.inference, door._engine, threads.get_num_threads(), _dtypes._Default.numpy, cast))
        place = tuple(key)
        known = self.entries.get(place, ())
        if type(known) is str:
            return self._eager(known, args, kwargs)
        for entry in known:
            if entry.guards.holds():
                try:
                    return self._replay(entry, tensors)
                except Stale:
                    self.entries[place] = known = tuple([e for e in known if e is not entry])
                    break
        if len(known) >= STATES:
            changed = known[-1].guards.broken()
            return self._eager(f"what it depends on was seen in more than {STATES} states ({changed})", args, kwargs)
        if not known and len(self.entries) >= CAPACITY:
            return self._eager(f"more than {CAPACITY} kinds of arguments were seen", args, kwargs)
        return self._record(place, args, kwargs, tensors)

    def _replay(self, entry: _Entry, tensors: list[Any]) -> Any:
        program = entry.program
        if program.backward is not None:
            made = _with_history(program, tensors, [tensors[i] if type(i) is int else i for i in entry.leaves])
        else:
            made = _results(_without_gradients(program.forward, tensors))
            if entry.plain:
                return made[0]
            for t, ended in zip(made, program.ended, strict=True):
                if ended is not None:
                    t._node, t._requires = ended, True
        following = iter(made)
        results = [next(following) if r is None else tensors[r] if type(r) is int else r for r in entry.results]
        return put_together(entry.structure, results)

    def _eager(self, reason: str, args: tuple, kwargs: dict) -> Any:
        self._tell(reason)
        return self.function(*args, **kwargs)

    def _tell(self, reason: str) -> None:
        """Warn, once, that a call is not compiled; raise instead where that was asked for."""
        if self.fullgraph:
            raise NotRecordable(f"{self._name()} cannot be compiled: {reason}")
        if reason not in self._warned:
            self._warned.add(reason)
            self.reasons.append(reason)
            warnings.warn(f"{self._name()} runs uncompiled: {reason}", stacklevel=4)

    def _name(self) -> str:
        return f"lamina.compile: {getattr(self.function, '__qualname__', type(self.function).__name__)}"

    # -- recording -------------------------------------------------------------------------------------------------

    def _record(self, place: Any, args: tuple, kwargs: dict, tensors: list[Any]) -> Any:
        self.recordings += 1
        guards = Guards(self.owner if self.owner is not None else self.function)
        with recording() as recorder:
            inputs = []
            for t in tensors:
                known = recorder.values.get(id(t._a))
                inputs.append(recorder.new("input", t._a, t) if known is None else known)
            if len({id(v) for v in inputs}) < len(inputs):
                recorder.refuse("one tensor is given as several arguments")
            result = self.function(*args, **kwargs)
            if not guards.holds():
                recorder.refuse(f"the call changes what it depends on: {guards.broken()}")
            try:
                entry = self._entry(recorder, guards, inputs, tensors, result) if recorder.failure is None else None
            except NotRecordable as failure:
                recorder.failure, entry = failure, None
        if recorder.failure is not None:
            self.entries[place] = reason = str(recorder.failure)
            self._tell(reason)
        elif entry is not None:
            self.entries[place] = (*self.entries.get(place, ()), entry)
        return result

    def _entry(self, recorder: Recorder, guards: Guards, inputs: list[Value], tensors: list[Any], result: Any) -> _Entry | None:
        found: list[Any] = []
        structure = take_apart(result, found)
        results: list[Any] = []
        outputs: list[Value] = []
        made: list[Any] = []
        numbers = {id(t): i for i, t in enumerate(tensors)}
        for t in found:
            if id(t) in numbers:
                results.append(numbers[id(t)])
            elif id(t) in recorder.outside:
                results.append(t)
            else:
                if t._base is not None and id(t._base) in recorder.outside:
                    recorder.refuse("a result is a view of an argument or of a tensor from outside")
                results.append(None)
                made.append(t)
                outputs.append(recorder.value(t._a, t, "the result"))
        nodes = recorder.nodes
        wanted = [i for i, t in enumerate(made) if t._requires and t._node is not None and not recorder.walked(t._node)]
        ran_backward = any(n.kind in ("rule", "accumulate") for n in nodes)
        if not wanted or ran_backward:
            if wanted and ran_backward:
                recorder.refuse("a result requires a gradient although backward() was called within; detach() it")
            if recorder.failure is not None:
                return None
            program = Program(recorder, inputs, outputs)
            program.ended = [_ended if t._requires else None for t in made]
            return _Entry(program, guards, structure, results, [])
        recorder.nodes = []
        leaves, goals = _leaves([made[i] for i in wanted], tensors, recorder)
        roots: list[Value] = []
        grads = []
        for i in wanted:
            g = wrap(np.zeros(made[i]._a.shape, made[i]._a.dtype))
            roots.append(recorder.new("made", g._a, g))
            grads.append(g)
        found_grads = walk.walk([made[i] for i in wanted], grads, True, False, goals, True)
        sought = [None if g is None else recorder.value(g._plain(), g, "a gradient") for g in found_grads]
        if recorder.failure is not None:
            return None
        after, recorder.nodes = recorder.nodes, nodes
        program = Program(recorder, inputs, outputs, after, roots, sought)
        program.roots = wanted
        return _Entry(program, guards, structure, results, leaves)


class _Ended(Op):
    """The history of a result whose gradients were taken within the compiled call: it cannot be walked again."""

    label = "CompiledFunctionBackward"


_ended = _new(_Ended)
_ended._saved = FREED
_ended.edges = ()


def _leaves(roots: list[Any], tensors: list[Any], recorder: Recorder) -> tuple[list[Any], list[Any]]:
    """What gradients go to from ``roots``: numbers of arguments, and tensors from outside; and all of these as tensors."""
    places: list[Any] = []
    goals: list[Any] = []
    for i, t in enumerate(tensors):
        if t._requires:
            places.append(i)
            goals.append(t)
    stops = {t._node.sequence for t in tensors if t._node is not None}
    seen: set[int] = set()
    known = {id(t) for t in tensors}
    stack = [t._node for t in roots]
    while stack:
        node = stack.pop()
        if node.sequence in seen or node.sequence in stops:
            continue
        seen.add(node.sequence)
        if id(node) not in recorder.contexts and type(node).__name__ != "CopySlices":
            recorder.refuse(f"a tensor with a history of its own ({type(node).__name__}) is used from outside")
            continue
        for e in node.edges:
            if e is None:
                continue
            if isinstance(e[0], Variable):
                if id(e[0]) not in known:
                    known.add(id(e[0]))
                    places.append(e[0])
                    goals.append(e[0])
            else:
                stack.append(e[0])
    return places, goals


def _without_gradients(function: Callable[..., Any], arguments: list[Any]) -> Any:
    """Call a program's function, within which nothing is recorded and NumPy does not warn."""
    enabled, mode.enabled = mode.enabled, False
    try:
        return _run(function, *arguments)
    except RuntimeError as error:
        return door._again(error, function, *arguments)
    finally:
        mode.enabled = enabled


def _results(arrays: tuple) -> list[Any]:
    """Tensors over the results of a program."""
    made = [wrap(a) for a in arrays]
    for t in made:
        if t._a.ndim > 1 and not t._a.flags.c_contiguous:
            t._hidden = True
    return made


def _with_history(program: Program, tensors: list[Any], leaves: list[Any]) -> list[Any]:
    """Replay a call of which gradients are wanted: one node stands for all of it."""
    arrays, kept = _without_gradients(program.forward, tensors)
    ctx = _new(Replayed)
    ctx.recording, ctx.program = True, program
    ctx.save(kept, *[tensors[i] for i in program.read_inputs], *program.read_tensors)
    ctx._attach(tuple(leaves))
    ctx._outputs = tuple((a.shape, a.dtype) for a in arrays)
    made = _results(arrays)
    for i in program.roots:
        t = made[i]
        t._node, t._index, t._requires = ctx, i, True
    read = []
    for i in program.read_results:
        made[i]._writes = version = Version()
        read.append((arrays[i], version, version.n))
    ctx._output = tuple(read) or None
    return made


_run = door._quiet_context()  # not the kernels', which programs enter


class OptimizedModule(Module):
    """A compiled module: calls are recorded and replayed, everything else is the module's own (``_orig_mod``)."""

    def __init__(self, module: Module, fullgraph: bool = False) -> None:
        super().__init__()
        self._modules["_orig_mod"] = module
        self.__dict__["_compiled"] = Compiled(module, module, fullgraph)
        self.__dict__["training"] = module.training

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The compiled call."""
        return self.__dict__["_compiled"](*args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._modules["_orig_mod"][key]  # type: ignore[index]

    def __len__(self) -> int:
        return len(self._modules["_orig_mod"])  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return True

    def train(self, mode: bool = True) -> Any:
        """Set the mode of the module itself."""
        self._modules["_orig_mod"].train(mode)  # type: ignore[union-attr]
        self.__dict__["training"] = mode
        return self

    def __getattr__(self, name: str) -> Any:
        if name == "_orig_mod":
            return self.__dict__["_modules"]["_orig_mod"]
        return getattr(self.__dict__["_modules"]["_orig_mod"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["_modules"]["_orig_mod"], name, value) if "_modules" in self.__dict__ else super().__setattr__(
            name, value
        )


__all__ = ["Compiled", "OptimizedModule", "state"]
