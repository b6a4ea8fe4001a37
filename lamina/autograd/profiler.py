"""Measuring what runs: operations, gradient rules, kernels, layers, optimizer steps, and ranges that the user names.

Nothing of this costs anything while no profiler runs: operations come by (`graph.measure`) only while somebody is in the
door's list of detours, and the measuring forms of the walk's `_run` and of the door itself are put in place when a profiler
starts, and taken away when it stops.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY
from lamina.autograd import graph, walk
from lamina.autograd.function import Function
from lamina.autograd.graph import Variable
from lamina.autograd.profiler_util import ONEDNN, REFERENCE, EventList, FunctionEvent, FunctionEventAvg
from lamina.engine import door

__all__ = ["EventList", "FunctionEvent", "profile", "record_function"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_active: _Recorder | None = None
_starting = threading.Lock()


# -- names -----------------------------------------------------------------------------------------------------------

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ODD_NAMES = {"mat_mul": "matmul", "col2im": "col2im"}


@functools.cache
def _op_name(op: Any) -> str:
    """The name that PyTorch's profiler has for an operation, made of its node's name: ReluBackward0 → aten::relu."""
    if issubclass(op, Function):
        return op.__name__
    name = op.label or op.__name__
    if "::" in name:
        return name
    name = _WORDS.sub("_", re.sub(r"Backward\d+$", "", name)).lower()
    return f"aten::{_ODD_NAMES.get(name, name)}"


def _stack() -> list[str]:
    """The lines of the code that called, innermost first, without the library's own."""
    lines, frame = [], sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_PACKAGE):
            lines.append(f"{code.co_filename}({frame.f_lineno}): {code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return lines


def _shape_of(x: Any) -> Any:
    if isinstance(x, Variable):
        return list(x._a.shape)
    if isinstance(x, np.ndarray):
        return list(x.shape)
    if isinstance(x, (list, tuple)) and x and isinstance(x[0], (Variable, np.ndarray)):
        return [_shape_of(part) for part in x]
    return []


def _dtype_of(x: Any) -> str:
    a = x._a if isinstance(x, Variable) else x
    return str(BY_NUMPY.get(a.dtype, a.dtype)).removeprefix("torch.") if isinstance(a, np.ndarray) else type(x).__name__


# -- memory ----------------------------------------------------------------------------------------------------------


def _arrays(values: Any) -> Iterator[np.ndarray]:
    if isinstance(values, np.ndarray):
        yield values
    elif isinstance(values, Variable):
        yield values._a
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _arrays(value)


def _root(array: Any) -> Any:
    """The array that owns the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _count_new(event: FunctionEvent, inputs: Any, result: Any) -> None:
    """Count the bytes of what is in the result and is not memory of the inputs, or counted by an event within."""
    counted = {id(_root(a)): None for a in _arrays(inputs)} | (event.seen or {})
    event.seen = None
    for a in _arrays(result):
        root = _root(a)
        if id(root) not in counted:
            counted[id(root)] = None
            event.own_memory += a.nbytes
            around = event.cpu_parent
            while around is not None:  # the operations around, which may hand the array on; kept, so that its id is its own
                if around.category == "op":
                    around.seen = {**(around.seen or {}), id(root): root}
                around = around.cpu_parent


# -- operations that are counted ---------------------------------------------------------------------------------------


def _flops(kernel: str, args: tuple, result: Any) -> int:
    """Multiplications and additions of a matrix product or convolution."""
    if kernel in ("matmul", "linear", "product"):
        return 2 * result.size * args[0].shape[-1]
    if kernel in ("conv", "conv_fused"):
        return 2 * result.size * args[1][0].size
    if kernel == "conv_backward_input":
        return 2 * args[0].size * args[1][0].size
    if kernel == "conv_backward_weight":
        return 2 * args[1].size * result[0].size if len(result) else 0
    return 0


class _Thread(threading.local):
    """The events that are going on in a thread."""

    def __init__(self) -> None:
        self.stack: list[FunctionEvent] = []
        self.number = 0
        self.native = threading.get_native_id()


class _Recorder:
    """Collects events from the moment that it is installed until it is removed."""

    def __init__(self, shapes: bool, memory: bool, stack: bool, flops: bool, modules: bool) -> None:
        self.shapes, self.memory, self.with_stack, self.flops, self.modules = shapes, memory, stack, flops, modules
        self.events: list[FunctionEvent] = []
        self.threads = itertools.count(1)
        self.ids = itertools.count(1)
        self.base = perf_counter_ns()
        self.local = _Thread()
        self.undo: list[Callable[[], Any]] = []
        self.removed = False
        self.layers: dict[int, str] = {}
        self.layer_counts: dict[str, int] = {}

    # -- events ------------------------------------------------------------------------------------------------------

    def begin(self, name: str, category: str) -> FunctionEvent:
        """An event starts."""
        here = self.local
        if not here.number:
            here.number = next(self.threads)
        stack = here.stack
        event = FunctionEvent(
            name, category, next(self.ids), here.number, here.native, stack[-1] if stack else None, self.base
        )
        stack.append(event)
        self.events.append(event)
        if self.with_stack and category != "kernel":
            event.stack = _stack()
        event.start_ns = perf_counter_ns()
        return event

    def end(self, event: FunctionEvent) -> None:
        """An event is over, and with it those within that were left behind by an error."""
        now = perf_counter_ns()
        stack = self.local.stack
        if self.removed or event not in stack:  # ended already, or begun in another thread
            event.end_ns = event.end_ns or now
            return
        while True:
            last = stack.pop()
            last.end_ns = now
            if stack:
                stack[-1].cpu_children.append(last)
                stack[-1].engines |= last.engines
            if last is event:
                return

    def describe(self, event: FunctionEvent, inputs: Iterable[Any]) -> None:
        """Note the shapes and dtypes of the arguments."""
        inputs = tuple(inputs)
        event.input_shapes = [_shape_of(x) for x in inputs]
        event.input_dtypes = [_dtype_of(x) for x in inputs]

    # -- what is measured --------------------------------------------------------------------------------------------

    def operation(self, op: Any, inputs: tuple) -> Any:
        """Run an operation as an event."""
        event = self.begin(_op_name(op) if isinstance(op, type) else f"aten::{op.label}", "op")
        if self.shapes:
            self.describe(event, inputs)
        graph.mode.measured = True
        try:
            result = op.apply(*inputs)
        finally:
            graph.mode.measured = False
            self.end(event)
        first = result[0] if type(result) is tuple and result else result
        node = first._node if isinstance(first, Variable) else None
        if node is not None:
            event.sequence_nr = node.sequence
        if self.memory:
            _count_new(event, inputs, result)
        return result

    def kernel(self, plain: Callable[..., Any], kernel: Any, x: Any, args: tuple, kwargs: dict) -> Any:
        """Run a kernel as an event, and see which engine it is that ran."""
        event = self.begin(kernel.name, "kernel")
        before = kernel.fast_calls
        try:
            result = plain(kernel, x, *args, **kwargs)
        finally:
            event.engines = ONEDNN if kernel.fast_calls != before else REFERENCE
            event.name = f"{event.engine}::{kernel.name}"
            self.end(event)
        if self.shapes:
            self.describe(event, (x, *args))
        if self.memory:
            _count_new(event, (x, *args, *kwargs.values()), result)
        if self.flops:
            around = event.cpu_parent
            owner = around if around is not None and around.category == "op" else event
            owner.flops += _flops(kernel.name, (x, *args), result)
        return result

    def rule(self, plain: Callable[..., Any], node: Any, outgoing: list) -> Any:
        """Run a gradient rule as an event."""
        event = self.begin(node.name(), "backward")
        event.sequence_nr = node.sequence
        if self.shapes:
            self.describe(event, outgoing)
        try:
            return plain(node, outgoing)
        finally:
            self.end(event)

    def layer(self, plain: Callable[..., Any], module: Any, args: tuple, kwargs: dict) -> Any:
        """Run a layer as an event: the first Linear is "nn.Module: Linear_0"."""
        name = self.layers.get(id(module))
        if name is None:
            kind = type(module).__name__
            number = self.layer_counts.get(kind, 0)
            self.layer_counts[kind] = number + 1
            name = self.layers[id(module)] = f"nn.Module: {kind}_{number}"
        return self.around(name, "module", functools.partial(plain, module), args, kwargs)

    def around(self, name: str, category: str, call: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """Run anything as an event."""
        event = self.begin(name, category)
        try:
            return call(*args, **kwargs)
        finally:
            self.end(event)

    # -- in place and away again ---------------------------------------------------------------------------------------

    def install(self) -> None:
        """Put the measuring forms in place; the reverse is in `undo`."""
        door.detours.append(self)
        self.undo.append(lambda: door.detours.remove(self))
        self.swap(graph, "measure", self.operation)
        plain_run = walk._run
        self.swap(walk, "_run", lambda node, outgoing: self.rule(plain_run, node, outgoing))
        plain_kernel = door._plain_call

        def kernel_call(kernel: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            return self.kernel(plain_kernel, kernel, x, args, kwargs)

        def replace_call(before: Any, after: Any) -> None:
            if door.Kernel.__call__ is before:
                door.Kernel.__call__ = after  # type: ignore[method-assign]

        # An observer of the door has a form of his own in place, calls this one from it, and may leave it there.
        self.swap(door, "_plain_call", kernel_call)
        replace_call(plain_kernel, kernel_call)
        self.undo.append(lambda: replace_call(kernel_call, plain_kernel))
        self.install_above()

    def install_above(self) -> None:
        """The same for layers, optimizers and data loaders, which are built on what is here."""
        from lamina.nn.modules.module import Module
        from lamina.optim import optimizer

        if self.modules or self.with_stack:
            plain = Module.__call__
            self.swap(Module, "__call__", lambda m, *args, **kwargs: self.layer(plain, m, args, kwargs))

        def before(o: Any, args: Any, kwargs: Any) -> None:
            self.begin(f"Optimizer.step#{type(o).__name__}.step", "user")

        def after(o: Any, args: Any, kwargs: Any) -> None:
            name = f"Optimizer.step#{type(o).__name__}.step"
            event = next((e for e in reversed(self.local.stack) if e.name == name), None)
            if event is not None:
                self.end(event)

        for handle in (
            optimizer.register_optimizer_step_pre_hook(before), optimizer.register_optimizer_step_post_hook(after)
        ):  # fmt: skip
            self.undo.append(handle.remove)
        plain_zero = optimizer.Optimizer.zero_grad

        @functools.wraps(plain_zero)
        def zero_grad(o: Any, *args: Any, **kwargs: Any) -> Any:
            name = f"Optimizer.zero_grad#{type(o).__name__}.zero_grad"
            return self.around(name, "user", functools.partial(plain_zero, o), args, kwargs)

        self.swap(optimizer.Optimizer, "zero_grad", zero_grad)
        loaders = sys.modules.get("lamina.utils.data.dataloader")
        if loaders is not None:
            plain_next = loaders._Iterator.__next__

            def next_batch(iterator: Any) -> Any:
                name = f"enumerate(DataLoader)#{type(iterator).__name__}.__next__"
                return self.around(name, "user", plain_next, (iterator,), {})

            self.swap(loaders._Iterator, "__next__", next_batch)

        compiled = sys.modules.get("lamina.compiler.compiled")
        if compiled is not None:  # a replay calls kernels by itself, so it is one event
            plain_replay = compiled.Compiled._replay

            def replay(program: Any, *args: Any) -> Any:
                return self.around("Torch-Compiled Region", "op", functools.partial(plain_replay, program), args, {})

            self.swap(compiled.Compiled, "_replay", replay)

    def swap(self, owner: Any, name: str, value: Any) -> None:
        """Replace an attribute until the recorder is removed."""
        before = vars(owner)[name]
        setattr(owner, name, value)
        self.undo.append(lambda: setattr(owner, name, before))

    def remove(self) -> None:
        """Take the measuring forms away; what has not ended ends now."""
        while self.undo:
            self.undo.pop()()
        self.removed = True
        now = perf_counter_ns()
        for event in self.events:
            event.seen = None
            if not event.end_ns:
                event.end_ns = now
                parent = event.cpu_parent
                if parent is not None:
                    parent.cpu_children.append(event)
                    parent.engines |= event.engines
        self.local.stack.clear()
        threads = {e.sequence_nr: e.thread for e in self.events if e.category == "op"}
        for event in self.events:
            if event.category == "backward":
                event.fwd_thread = threads.get(event.sequence_nr)


def start(recorder: _Recorder) -> None:
    """Install a recorder.

    Raises:
        RuntimeError: another one is there.
    """
    global _active
    with _starting:
        if _active is not None:
            raise RuntimeError("a profiler is running already; there can be one at a time")
        _active = recorder
        try:
            recorder.install()
        except BaseException:
            recorder.remove()
            _active = None
            raise


def stop(recorder: _Recorder) -> None:
    """Remove it; does nothing if it is not there."""
    global _active
    with _starting:
        if _active is recorder:
            recorder.remove()
            _active = None


class record_function:
    """Give a part of the code a name in the profile, as a `with` block or as a decorator.

    Costs next to nothing while no profiler runs.

    Args:
        name (str): the name.
        args (str, optional): shown as the only argument.

    >>> with lamina.profiler.profile() as prof:
    ...     with lamina.profiler.record_function("twice"):
    ...         x = lamina.ones(3) * 2
    >>> [event.key for event in prof.events()][0]
    'twice'
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._begun: list[tuple[_Recorder, FunctionEvent]] = []

    def __enter__(self) -> record_function:
        recorder = _active
        if recorder is not None:
            event = recorder.begin(self.name, "user")
            if self.args is not None:
                event.input_shapes, event.input_dtypes = [], [self.args]
            self._begun.append((recorder, event))
        return self

    def __exit__(self, *exc: Any) -> None:
        if self._begun:
            recorder, event = self._begun.pop()
            recorder.end(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def named(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return named


class profile:
    """Measure what runs in a `with` block: the older form of `lamina.profiler.profile`, without a schedule.

    Args:
        enabled (bool): whether to measure at all. Default: True.
        use_cuda, use_device, use_kineto, use_cpu: PyTorch's choices of what to measure; there is the CPU, and nothing else.
        record_shapes (bool): whether to note the shapes of arguments. Default: False.
        with_flops (bool): whether to count the operations of matrix products and convolutions. Default: False.
        profile_memory (bool): whether to count the bytes of new arrays. Default: False.
        with_stack (bool): whether to note the calling lines of code, and the layers. Default: False.
        with_modules (bool): whether to note the layers. Default: False.

    Raises:
        RuntimeError: another profiler runs, this one is entered a second time, or is asked before its block has ended.

    >>> with lamina.autograd.profiler.profile() as prof:
    ...     x = lamina.ones(3).exp()
    >>> [average.count for average in prof.key_averages() if average.key == "aten::exp"]
    [1]
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        with_flops: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_modules: bool = False,
        use_kineto: bool = False,
        use_cpu: bool = True,
        experimental_config: Any = None,
        acc_events: bool = False,
        custom_trace_id_callback: Callable[[], str] | None = None,
        post_processing_timeout_s: float | None = None,
        activity_filters: Any = None,
    ) -> None:
        self.enabled = enabled
        if enabled and (use_cuda or use_device not in (None, "cpu")):
            import warnings

            warnings.warn(
                f"{use_device or 'CUDA'} is not available, so only the CPU is profiled", UserWarning, stacklevel=2
            )
        self.record_shapes, self.with_flops, self.profile_memory = record_shapes, with_flops, profile_memory
        self.with_stack, self.with_modules, self.use_cpu, self.acc_events = with_stack, with_modules, use_cpu, acc_events
        self.entered = False
        self._recorder: _Recorder | None = None
        self._events: EventList | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            if self.entered:
                raise RuntimeError("Profiler context manager is not reentrant")
            self.entered = True
            self._start()
        return self

    def _start(self) -> None:
        if self.use_cpu:
            recorder = _Recorder(
                self.record_shapes, self.profile_memory, self.with_stack, self.with_flops, self.with_modules
            )
            start(recorder)
            self._recorder = recorder

    def __exit__(self, *exc: Any) -> None:
        if self.enabled:
            self._stop()

    def _stop(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            stop(recorder)
        found = recorder.events if recorder is not None else []
        before = self._events if self.acc_events and self._events is not None else []
        self._events = EventList([*before, *found], self.profile_memory, self.with_flops)

    @property
    def function_events(self) -> EventList:
        """All events."""
        if self._events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self._events

    def __repr__(self) -> str:
        return "<unfinished profiler.profile>" if self._events is None else repr(self._events)

    def __str__(self) -> str:
        return "<unfinished profiler.profile>" if self._events is None else str(self._events)

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:
        """The events as a table; see :meth:`EventList.table`."""
        return self.function_events.table(
            sort_by, row_limit, max_src_column_width, max_name_column_width, max_shapes_column_width, header,
            top_level_events_only,
        )  # fmt: skip

    def export_chrome_trace(
        self, path: str, metadata: dict[str, Any] | None = None, use_python_export: bool = False
    ) -> None:
        """Write the events, and any further entries, as a trace that chrome://tracing and Perfetto read."""
        self.function_events.export_chrome_trace(path, metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write the stacks with their times, for a flame graph; needs `with_stack`."""
        if not self.with_stack:
            raise AssertionError("export_stacks() requires with_stack=True")
        self.function_events.export_stacks(path, metric)

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """The averages of the events by name."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def total_average(self) -> FunctionEventAvg:
        """All events in one."""
        return self.function_events.total_average()

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, in microseconds, each counted without those within."""
        return self.function_events.self_cpu_time_total
