"""The graph: tensors' bookkeeping, the operations between them, and how in-place writes change history.

* :class:`Variable` is a tensor without methods: an array, a gradient, and its place in the graph.
* :class:`Op` is one differentiable operation. An instance *is* the node of the graph that a call leaves behind: it knows
  where its inputs came from (``edges``), what the rule needs (``save``), and the rule itself (``backward``).
* :func:`overwrite` gives a tensor a new value in place, and through it the tensors that share its memory.

The walk over the graph is in ``walk.py``, and a shorter way through the commonest calls in ``express.py``. A rule is made of
operations on tensors, so that it can be differentiated again; undoing a broadcast or a promotion of an input is the walk's
business, never a rule's.
"""

from __future__ import annotations

import functools
import threading
import traceback
from itertools import count, repeat
from sys import getrefcount
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, SCALAR_NAME, WIDE, _Default
from lamina.engine import kernels
from lamina.engine.door import detours

ndarray = np.ndarray
_sequence = count(1)


class _Mode(threading.local):
    """Per-thread switches: whether calls are recorded, and how carefully."""

    enabled = True  # record operations
    inference = False  # inside inference_mode
    anomaly = False  # inside detect_anomaly
    check_nan = True
    recorder: Any = None  # lamina.compile's, while it records a call
    autocast: Any = None  # within an autocast block: its state (autograd/casting.py)
    measured = False  # the call that comes next is one that ``measure`` makes


mode = _Mode()
measure: Any = None  # the profiler's, while one runs: measure(op, inputs) calls op.apply between two looks at the clock


def detour(op: Any, inputs: tuple) -> Any:
    """The result of a call by way of whoever must see it; ``NotImplemented`` if he did, or nobody must."""
    if mode.autocast is not None and (result := redirected(op, inputs)) is not NotImplemented:
        return result
    recorder = mode.recorder
    if recorder is not None and not recorder.depth:
        return recorder.apply(op, inputs)
    if measure is not None and not mode.measured:
        return measure(op, inputs)
    mode.measured = False
    return NotImplemented


class Version:
    """How many times the memory that some tensors share was written in place."""

    n = 0  # defaults of the class, so that making one costs nothing
    watched = True  # whether every write is counted: see expose()
    addressed = False  # whether somebody was told where it is


class Variable:
    """A tensor's data and bookkeeping. Most tensors differ from the defaults below in ``_a`` alone, which makes them cheap."""

    _a: ndarray  # the data; its shape is the tensor's shape
    _node: Any = None  # the Op that made this, or None: a leaf
    _index = 0  # which of the node's results this is
    _requires = False  # requires_grad
    _grad: Any = None
    _writes: Version | None = None  # shared by all tensors over one memory; None while nobody shares or writes
    _hidden = False  # contiguous to its user, in another order (channels-last) in fact
    _base: Any = None  # for a view: the tensor that it looks into ...
    _replay: tuple = ()  # ... and the (Op class, arguments) that lead there
    _rebased = 0  # how often a view wrote to this base's history
    _stamp = 0  # for a view: the base's _rebased when this history was made
    _hooks: Any = None  # of a leaf: id → function
    _after_hooks: Any = None  # of a leaf: after accumulation
    _retains = False
    _inference = False

    if TYPE_CHECKING:  # the methods are lamina._tensor's

        def __getattr__(self, name: str) -> Any: ...

    def _plain(self) -> ndarray:
        """The array in the order that the user believes in; called before anything can observe the order."""
        if self._hidden:
            if not self._a.flags.c_contiguous:
                self._a = kernels.contiguous(self._a)
            self._hidden = False
        return self._a

    def _history(self) -> tuple[Any, int]:
        """The node and index of this tensor, remade if it is a view whose base was written since."""
        base = self._base
        if base is not None and self._stamp != base._rebased:
            enabled, mode.enabled = mode.enabled, True
            try:
                again = base
                for op, arguments in self._replay:
                    again = op.apply(again, *arguments)
            finally:
                mode.enabled = enabled
            self._node, self._index, self._requires = again._node, again._index, again._requires
            self._stamp = base._rebased
        return self._node, self._index


_new = object.__new__
_Tensor: Any = Variable  # lamina._tensor.Tensor, once that is imported: what results are made of


def set_tensor_type(kind: type) -> None:
    """Name the class of which results are instances (``lamina._tensor`` calls this once)."""
    global _Tensor
    _Tensor = kind


def wrap(array: Any) -> Any:
    """A new tensor, without history, over an array or NumPy scalar."""
    t = _new(_Tensor)
    t._a = array if type(array) is ndarray else np.asarray(array)
    if detours and mode.inference:
        t._inference = True
    return t


def alias(x: Variable, share_version: bool = True) -> Any:
    """A new tensor without history over the same memory, as ``detach`` makes it."""
    t = wrap(x._plain())
    t._inference = x._inference
    if share_version:
        if x._writes is None:
            x._writes = Version()
        t._writes = x._writes
    else:
        expose(x)
        expose(t)
    return t


def expose(x: Variable) -> None:
    """Note that ``x``'s memory may be written without a count (``.data``, ``.numpy()``), so that nothing derived from it,
    such as a weight in the engine's own layout, is kept."""
    if x._writes is None:
        x._writes = Version()
    x._writes.watched = False


def memory_version(x: Variable) -> int | None:
    """A number that changes whenever the memory of ``x`` is written, so that what was made of it may be kept.

    ``None`` where that cannot be known, because the memory was handed to somebody who writes unseen.
    """
    version = x._writes
    return 0 if version is None else version.n if version.watched else None


def wants(x: Any) -> bool:
    """Whether ``x`` is a tensor that requires a gradient at this moment."""
    if not isinstance(x, Variable):
        return False
    if x._base is not None and x._stamp != x._base._rebased:
        x._history()
    return x._requires


def repeats(x: Any) -> bool:
    """Whether a tensor shows elements several times, as ``expand`` makes it; what is computed of it lies in plain order."""
    return isinstance(x, Variable) and any(s == 0 and n > 1 for s, n in zip(x._a.strides, x._a.shape, strict=True))


def whole(function: Any) -> Any:
    """Mark a function that lamina.compile replays as it is, for it looks at numbers or sets gradients; it has none itself."""

    @functools.wraps(function)
    def form(*args: Any, **kwargs: Any) -> Any:
        recorder = mode.recorder
        if recorder is None or recorder.depth:
            return function(*args, **kwargs)
        return recorder.whole(function, args, kwargs)

    return form


def constant(array: ndarray) -> ndarray:
    """Tell a recorder that an array was made of no tensor's numbers, so that it is the same in every replay."""
    if mode.recorder is not None:
        mode.recorder.constant(array)
    return array


def look(x: Variable, why: str) -> None:
    """Tell a recorder that what happens from here on depends on the numbers of ``x``."""
    if mode.recorder is not None:
        mode.recorder.look(x, why)


class _Freed:
    """What stands in for saved values once a backward pass has used them."""


FREED: Any = _Freed()


class Op:
    """A differentiable operation, and the node of the graph that calling it makes.

    A subclass gives ``forward(ctx, *inputs)``, which returns an array (or a tuple of arrays) and saves what the rule
    needs, and ``backward(ctx, *grads)``, which returns one gradient (a tensor or ``None``) per input of ``forward``.
    Call it by ``SomeOp.apply(*inputs)``. Arrays and tensors are kept by ``ctx.save`` and nowhere else, so that a
    backward pass can free them; small settings may be plain attributes.
    """

    elementwise = False  # the result has the memory order of its inputs
    any_dtype = False  # forward takes half precision as it is: it computes nothing, or rounds by itself
    rounds_numbers = False  # beside half precision, a number is rounded first, too (PyTorch does so in sums, not in products)
    mixes: Any = False  # inputs of a half type and of another may come together: True (they are promoted) or "first"
    keeps_output = False  # the rule uses ctx.output
    acts = False  # forward does more than compute: it draws random numbers, or writes to an input
    label = ""  # PyTorch's name of the node, where it is not the class's
    materializes = True  # an output without a gradient is given zeros, not None

    edges: Any = ()  # per input: None, or (node or leaf, index, shape, dtype)
    sequence = 0
    recording = False  # whether the rule will be wanted; known in forward
    _saved: Any = ()
    _versions: Any = repeat(0)
    _output: Any = None
    _outputs: tuple = ()  # (shape, dtype) per result
    _hooks: Any = None  # index → list of functions: tensor hooks
    _prehooks: Any = None
    _posthooks: Any = None
    _retain: Any = None  # index → weak reference to a tensor that retains its gradient
    _trace: Any = None

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        raise NotImplementedError

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError

    # -- calling ---------------------------------------------------------------------------------------------------

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Compute, and record a node if any input requires a gradient."""
        if detours and (result := detour(cls, inputs)) is not NotImplemented:
            return result
        ctx = _new(cls)
        record = hidden = other = False
        for x in inputs:
            if isinstance(x, Variable):
                dtype = x._a.dtype
                if dtype is not F32 and dtype not in WIDE:
                    other = True
                if x._hidden:
                    hidden = True
                if x._requires if x._base is None else wants(x):
                    record = True
        if (other or _Default.half is not None) and not cls.any_dtype:
            y = in_single(cls, inputs)
            if y is not NotImplemented:
                return y
        if record:
            record = ctx.recording = mode.enabled
        a = cls.forward(ctx, *inputs)
        if type(a) is not ndarray:
            if type(a) is tuple:
                return ctx._results(a, inputs, record)
            a = np.asarray(a)
        t = _new(_Tensor)
        t._a = a
        if cls.elementwise:
            if hidden or a.ndim > 1 and not a.flags.c_contiguous and any(map(repeats, inputs)):
                t._hidden = True
        elif a.ndim > 1 and not a.flags.c_contiguous:
            t._hidden = True
        if record:
            if a.dtype.kind in "fcV":
                ctx._attach(inputs)
                if cls.keeps_output:
                    t._writes = version = Version()
                    ctx._output = (a, version, version.n)
                t._node = ctx
                t._requires = True
        elif detours and mode.inference:
            t._inference = True
        return t

    def _results(self, arrays: tuple, inputs: tuple, record: bool) -> tuple:
        results = tuple(wrap(a) for a in arrays)
        for t in results:
            if t._a.ndim > 1 and not t._a.flags.c_contiguous:
                t._hidden = True
        if record:
            self._attach(inputs)
            self._outputs = tuple((t._a.shape, t._a.dtype) for t in results)
            for i, t in enumerate(results):
                if t._a.dtype.kind in "fcV":
                    t._node, t._index, t._requires = self, i, True
            if self.keeps_output:
                kept = []
                for t in results:
                    t._writes = version = Version()
                    kept.append((t._a, version, version.n))
                self._output = tuple(kept)
        return results

    def _attach(self, inputs: tuple) -> None:
        self.edges = [
            (x._node or x, x._index, x._a.shape, x._a.dtype) if isinstance(x, Variable) and wants(x) else None
            for x in inputs
        ]
        self.sequence = next(_sequence)
        if mode.anomaly:
            self._trace = traceback.format_stack()[:-2]

    # -- what the rule needs ---------------------------------------------------------------------------------------

    def needs(self, i: int) -> bool:
        """Whether input ``i`` wants a gradient."""
        return self.edges[i] is not None

    def save(self, *values: Any) -> None:
        """Keep tensors or arrays for the rule; a tensor that is written in place meanwhile makes ``saved`` raise."""
        if self.recording:
            self._keep(*values)

    def _keep(self, *values: Any) -> None:
        self._saved = values
        written = False
        for v in values:
            if isinstance(v, Variable) and (v._writes is not None or v._inference):
                if v._inference and mode.enabled:
                    raise RuntimeError(INFERENCE_MESSAGE)
                written = True
        if written:  # the versions of what nobody writes to are the class's: zeros
            self._versions = [v._writes.n if isinstance(v, Variable) and v._writes else 0 for v in values]

    def save_factors(self, x: Any, y: Any) -> None:
        """Keep each factor of a product if the other one wants a gradient; what is not needed may be overwritten."""
        if self.recording:
            self.save(x if wants(y) else None, y if wants(x) else None)

    @property
    def saved(self) -> tuple:
        """What was saved, after a check that it is still what it was."""
        values = self._saved
        if values is FREED:
            raise RuntimeError(FREED_MESSAGE)
        for v, n in zip(values, self._versions):  # noqa: B905  # strict costs more than the check
            if isinstance(v, Variable) and v._writes is not None and v._writes.n != n:
                raise RuntimeError(_modified(v._a, v._writes.n, n, v._node))
        return values

    @property
    def output(self) -> Any:
        """This node's own result (with ``keeps_output``), as a tensor with this node as its history."""
        kept = self._output
        if kept is FREED:
            raise RuntimeError(FREED_MESSAGE)
        if type(kept[0]) is tuple:
            return tuple(self._remake(k, i) for i, k in enumerate(kept))
        return self._remake(kept, 0)

    def _remake(self, kept: tuple, index: int) -> Any:
        array, version, n = kept
        if version.n != n:
            raise RuntimeError(_modified(array, version.n, n, self))
        t = wrap(array)
        t._node, t._index, t._requires = self, index, array.dtype.kind in "fcV"
        if array.ndim > 1 and not array.flags.c_contiguous:
            t._hidden = True
        return t

    def free(self) -> None:
        """Let go of what was saved; the rule cannot run again."""
        if self._saved:
            self._saved = FREED
        if self._output is not None:
            self._output = FREED

    # -- what users see of a node (``tensor.grad_fn``) -------------------------------------------------------------

    def name(self) -> str:
        """The node's name as PyTorch prints it, such as ``MulBackward0``."""
        return self.label or f"{type(self).__name__}Backward0"

    def __repr__(self) -> str:
        return f"<{self.name()} object at {hex(id(self))}>"

    @property
    def next_functions(self) -> tuple:
        """The nodes that this node's gradients go to, each with the index of its result."""
        return tuple(
            (None, 0) if e is None else (AccumulateGrad(e[0]) if isinstance(e[0], Variable) else e[0], e[1])
            for e in self.edges
        )

    @property
    def saved_tensors(self) -> tuple:
        return tuple(v if v is None or isinstance(v, Variable) else wrap(v) for v in self.saved)

    def register_hook(self, hook: Any) -> Any:
        """Call ``hook(grad_inputs, grad_outputs)`` after this node's rule; a returned tuple replaces ``grad_inputs``."""
        if self._posthooks is None:
            self._posthooks = {}
        return Handle(self._posthooks, hook)

    def register_prehook(self, hook: Any) -> Any:
        """Call ``hook(grad_outputs)`` before this node's rule; a returned tuple replaces ``grad_outputs``."""
        if self._prehooks is None:
            self._prehooks = {}
        return Handle(self._prehooks, hook)


class AccumulateGrad:
    """Stands for a leaf at the end of the graph, for those who walk ``next_functions``."""

    next_functions: tuple = ()

    def __init__(self, variable: Any) -> None:
        self.variable = variable

    def name(self) -> str:
        return "torch::autograd::AccumulateGrad"

    def __repr__(self) -> str:
        return f"<AccumulateGrad object at {hex(id(self))}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AccumulateGrad) and self.variable is other.variable

    def __hash__(self) -> int:
        return id(self.variable)


class Handle:
    """What registering a hook returns; ``remove()`` takes the hook away again."""

    _ids = count()

    def __init__(self, hooks: dict, hook: Any) -> None:
        self.hooks, self.id = hooks, next(self._ids)
        hooks[self.id] = hook

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self.hooks.pop(self.id, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.remove()


INFERENCE_MESSAGE = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in computation tracked "
    "by autograd. To work around this, you can make a clone to get a normal tensor and use it in autograd, or use "
    "`torch.no_grad()` instead of `torch.inference_mode()`."
)
FREED_MESSAGE = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)


def type_name(array: ndarray) -> str:
    """A dtype as PyTorch's messages name a tensor type: ``torch.FloatTensor``."""
    return f"torch.{SCALAR_NAME[BY_NUMPY[array.dtype]]}Tensor"


def _modified(array: ndarray, now: int, then: int, node: Any) -> str:
    origin = f", which is output 0 of {node.name()}," if node is not None else ""
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{type_name(array)} {list(array.shape)}]{origin} is at version {now}; expected version {then} instead. Hint: "
        "enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True)."
    )


# -- views: results that share their input's memory ----------------------------------------------------------------


class ViewOp(Op):
    """An operation whose result shares memory with its first input; ``forward`` returns a view of the array."""

    @classmethod
    def apply(cls, x: Any, *arguments: Any) -> Any:
        if detours and (result := detour(cls, (x, *arguments))) is not NotImplemented:
            return result
        if x._hidden:
            x._plain()
        ctx = _new(cls)
        base = x._base
        record = (x._requires if base is None else wants(x)) and mode.enabled
        if record:
            ctx.recording = True
        a = cls.forward(ctx, x, *arguments)
        version = x._writes
        if version is None:
            version = x._writes = Version()
        if type(a) is tuple:
            results = cls._views(x, a, arguments)
            if record:
                ctx._attach((x, *arguments))
                ctx._outputs = tuple([(t._a.shape, t._a.dtype) for t in results])
                for i, t in enumerate(results):
                    t._node, t._index, t._requires = ctx, i, True
            return results
        t = _new(_Tensor)
        t._a, t._writes = a, version
        if base is None:
            t._base, t._replay = x, ((cls, arguments),)
            if x._rebased:
                t._stamp = x._rebased
        else:
            t._base, t._replay, t._stamp = base, (*x._replay, (cls, arguments)), base._rebased
        if x._inference:
            t._inference = True
        if record:
            ctx._attach((x, *arguments))
            t._node = ctx
            t._requires = True
        return t

    @classmethod
    def _views(cls, x: Any, arrays: tuple, arguments: tuple) -> tuple:
        """Several views of ``x``, without a history as yet."""
        base, before = (x, ()) if x._base is None else (x._base, x._replay)
        version, stamp, inference, results = x._writes, base._rebased, x._inference, []
        for i, a in enumerate(arrays):
            t = _new(_Tensor)
            t._a, t._writes = a, version
            t._base, t._replay = base, (*before, (_part(cls, i), arguments))
            if stamp:
                t._stamp = stamp
            if inference:
                t._inference = True
            results.append(t)
        return tuple(results)


class Part:
    """A view operation with several results, as a replay step that yields one of them."""

    __slots__ = ("op", "index")

    def __init__(self, op: Any, index: int) -> None:
        self.op, self.index = op, index

    def apply(self, x: Any, *arguments: Any) -> Any:
        return self.op.apply(x, *arguments)[self.index]


_part: Any = functools.lru_cache(maxsize=1024)(Part)


# -- writing in place ----------------------------------------------------------------------------------------------


def bump(x: Variable) -> None:
    """Note that ``x``'s memory was written."""
    if x._writes is None:
        x._writes = Version()
    x._writes.n += 1


def snapshot(x: Any) -> Any:
    """``x`` as it is now: its memory and history under another name."""
    if x._base is not None:
        x._history()
    s = _new(type(x))
    s.__dict__.update(x.__dict__)
    s._writes = s._base = None  # what is written to its base from now on does not concern it
    return s


def check_writable(x: Variable, may_repeat: bool = False) -> None:
    """Raise if an in-place operation on ``x`` would destroy what its gradient means.

    ``may_repeat``: whether the same number is written everywhere, so that elements may share their memory.
    """
    if x._inference and not mode.inference:
        raise RuntimeError(
            "Inplace update to inference tensor outside InferenceMode is not allowed. You can make a clone to get a normal "
            "tensor before doing inplace update."
        )
    if mode.enabled:
        if x._base is not None:
            x._history()
        if x._requires and x._node is None:
            raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
        base = x._base
        if base is not None and base._requires and base._node is None:
            raise RuntimeError(
                "a view of a leaf Variable that requires grad is being used in an in-place operation."
            )
    if not x._a.flags.writeable:
        raise RuntimeError(
            "this tensor shares memory that may not be written (a read-only NumPy array); clone it before an in-place operation"
        )
    if 0 in x._a.strides and not may_repeat and x._a.size and repeats(x):
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )


class CopySlices(Op):
    """base with a view of it replaced:   dL/dbase = dL/dy outside the view,   dL/dvalue = dL/dy inside."""

    label = "torch::autograd::CopySlices"
    replay: tuple = ()

    order: tuple | None = None  # of the base's axes in memory, outermost first, if it is not row-major

    @staticmethod
    def forward(ctx: Any, base: Any, value: Any, replay: tuple) -> Any:
        raise NotImplementedError("made by overwrite()")

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        if ctx.order is None:
            inside = grad = grad.contiguous()
        else:  # in the base's memory order, in which alone the views can be found again
            inverse = sorted(range(len(ctx.order)), key=ctx.order.__getitem__)
            inside = grad = grad.permute(ctx.order).contiguous().permute(inverse)
        for op, arguments in ctx.replay:
            inside = op.apply(inside, *arguments)
        outside = None
        if ctx.needs(0):
            outside = grad.clone()
            hole = outside
            for op, arguments in ctx.replay:
                hole = op.apply(hole, *arguments)
            overwrite(hole, wrap(np.zeros((), grad._a.dtype)))
        return outside, inside


def overwrite(x: Any, value: Any, adopt: bool = False) -> Any:
    """``x`` takes the values (broadcast, cast) and the history of ``value``, in place; returns ``x``.

    Tensors that share memory with ``x`` see the values, and those that are views of the same base see the history. With
    ``adopt``, ``x`` takes ``value``'s array itself.
    """
    if mode.recorder is not None and not mode.recorder.depth:
        mode.recorder.write(x, value)
    if not adopt:
        np.copyto(x._a, value._a, casting="unsafe")
    else:
        x._a = value._a
    bump(x)
    node = value._node
    if node is not None and node._output is not None and x._base is None and node._output[0] is value._a:
        if x._a.dtype is value._a.dtype and x._a.shape == value._a.shape:  # the node keeps x for its result, one array for two
            node._output = x._a, x._writes, x._writes.n
    if not mode.enabled or not (
        value._requires or x._requires or (x._base is not None and x._base._requires)
    ):
        return x
    if x._a.dtype.kind not in "fcV":
        return x
    if value._requires or x._base is not None:
        record_write(x, value)
    else:  # the old history ends here
        x._node, x._index, x._requires = None, 0, False
        x._rebased += 1
    return x


def record_write(x: Any, value: Any) -> None:
    """Give ``x``, which now holds ``value``'s numbers, ``value``'s history, through the base if ``x`` is a view."""
    base = x._base
    if base is None:
        if value._node is None or value._a.shape != x._a.shape or value._a.dtype is not x._a.dtype:
            value = Settle.apply(value, x._a.shape, x._a.dtype)
        x._node, x._index, x._requires = value._node, value._index, value._requires
        x._rebased += 1
        return
    ctx = _new(CopySlices)
    ctx.replay = x._replay
    a = base._a
    if not a.flags.c_contiguous:
        ctx.order = tuple(sorted(range(a.ndim), key=lambda d: -a.strides[d]))
    ctx._attach((base, value, None))
    base._node, base._index, base._requires = ctx, 0, True
    base._rebased += 1


class Settle(Op):
    """Broadcast and cast to the place that a value is written to; the walk undoes both."""

    any_dtype = True

    @staticmethod
    def forward(ctx: Any, x: Any, shape: tuple, dtype: Any) -> Any:
        return np.broadcast_to(x._a, shape).astype(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad, None, None


def _wants_gradient(x: Any, args: tuple) -> bool:
    """Whether an in-place operation on ``x`` has a history to record."""
    if x._requires or (x._base is not None and x._base._requires):
        return True
    for a in args:
        if isinstance(a, Variable) and (a._requires or (a._base is not None and a._base._requires)):
            return True
    return False


def inplace(function: Any, name: str) -> Any:
    """The in-place form ``x.name_(...)`` of an operation: computed aside, written back, history taken over."""

    into = getattr(function, "into", None)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if measure is not None:
            if not mode.measured:
                return measure(SimpleNamespace(label=name, apply=functools.partial(method, **kwargs)), (self, *args))
            mode.measured = False
        try:
            check_writable(self)
        except AttributeError:
            if isinstance(self, Variable):
                raise
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(self).__name__}") from None
        recording = mode.enabled and _wants_gradient(self, (*args, *kwargs.values()) if kwargs else args)
        source = self
        if not recording and into is not None and not kwargs and mode.recorder is None and into(self, *args):
            bump(self)
            return self
        if recording:  # what the rule saves must not be the tensor that is about to change
            source = snapshot(self)
            args = tuple(source if a is self else a for a in args)
        result = function(source, *args, **kwargs)
        if result._a.shape != self._a.shape:
            raise RuntimeError(
                f"output with shape {list(self._a.shape)} doesn't match the broadcast shape {list(result._a.shape)}"
            )
        check_cast(result._a.dtype, self._a.dtype)
        if result is source:
            return self
        alone = result._a.size >= _LARGE and _alone(self, result, recording)
        if recording and not alone and getrefcount(source) > _LOCAL_ONLY:
            source._a = source._a.copy()
        return overwrite(self, result, alone)

    method.__name__ = method.__qualname__ = name
    method.__wrapped__ = function  # type: ignore[attr-defined]  # its arguments are the method's
    method.__doc__ = (
        f"In-place form of :func:`{name[:-1]}`: writes the result into this tensor and returns it."
    )
    return method if into is None else over(into.kernel, method)


_LARGE = 1 << 14  # elements from which looking for others who see an array is less than a copy


def _alone(x: Any, result: Any, recording: bool) -> bool:
    """Whether ``x`` may take ``result``'s array for its own, as nobody would notice: no one else holds either, nor has views.

    Then ``x``'s old array need not be written, and may stay with the node that saved it. While ``recording``, ``x``'s is held
    by its snapshot, too; ``result``'s may be held by its node. Who was told the address, or may write unseen, holds no reference.
    """
    version = x._writes
    if version is not None and (version.addressed or not version.watched):
        return False
    if x._base is not None or mode.recorder is not None or result._a.strides != x._a.strides or result._a.dtype is not x._a.dtype:
        return False
    if isinstance(x._a.base, ndarray) or isinstance(result._a.base, ndarray):  # views of such are no references to it
        return False
    node = result._node
    kept = node is not None and node._output is not None and node._output[0] is result._a
    return getrefcount(x._a) <= _HELD_ONCE + recording and getrefcount(result._a) <= _HELD_ONCE + kept


def _calibrate() -> tuple[int, int]:
    """What getrefcount says of what one local variable, and one attribute, holds (it differs between Python versions)."""
    local = _new(Variable)
    local._a = np.empty(0)
    return getrefcount(local), getrefcount(local._a)


_LOCAL_ONLY, _HELD_ONCE = _calibrate()


def check_cast(source: np.dtype, target: np.dtype) -> None:
    """Raise PyTorch's error when a result may not be stored in a dtype of a lower category."""
    a, b = BY_NUMPY[source], BY_NUMPY[target]
    if a.rank > b.rank:
        raise RuntimeError(
            f"result type {SCALAR_NAME[a]} can't be cast to the desired output type {SCALAR_NAME[b]}"
        )


from lamina.autograd.casting import redirected  # noqa: E402
from lamina.autograd.express import over  # noqa: E402
from lamina.autograd.half import in_single  # noqa: E402  # it is made of the operations defined here
