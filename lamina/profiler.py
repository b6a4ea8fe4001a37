"""Measuring where time and memory go: `profile`, with schedules and trace files, as `torch.profiler`.

>>> with lamina.profiler.profile(record_shapes=True) as prof:
...     y = nn.Linear(8, 4)(lamina.ones(2, 8)).relu()
>>> [(a.key, a.count, a.engine) for a in prof.key_averages() if a.key == "aten::relu"]
[('aten::relu', 1, 'reference')]

Each operation, gradient rule and kernel that runs in the block, in any thread, is an event, and so are the steps of
optimizers, batches of data loaders and what :class:`record_function` names. `prof.key_averages().table()` shows calls,
times, memory and the engine; `prof.export_chrome_trace("trace.json")` writes what chrome://tracing shows. Operations have
the names of PyTorch's profiler where it has one ("aten::relu"), kernels that of their engine ("onednn::conv",
"reference::exp"); a call that :func:`lamina.compile` replays is one event. Nothing is measured, or slower, outside of the
block; within it small operations take the general way instead of the short one, so they look slower than they are.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from lamina.autograd import profiler as _profiler
from lamina.autograd.profiler import record_function
from lamina.autograd.profiler_util import EventList

__all__ = [
    "profile", "schedule", "supported_activities", "tensorboard_trace_handler", "ProfilerAction", "ProfilerActivity",
    "kineto_available", "record_function",
]  # fmt: skip


class ProfilerActivity(Enum):
    """What can be measured; only the CPU is here."""

    CPU = 0
    CUDA = 1
    XPU = 2
    MTIA = 3
    HPU = 4
    PrivateUse1 = 5


class ProfilerAction(Enum):
    """What a schedule says of a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3
    DEVICE_STOPPED = 4  # PyTorch's word for a device that gave up; no schedule says it


def supported_activities() -> set[ProfilerActivity]:
    """What can be measured here."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """Whether PyTorch's tracing library is in use: no."""
    return False


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """A schedule: skip some steps, then again and again wait, warm up, and record.

    Args:
        wait (int): steps at the beginning of a cycle that are not measured.
        warmup (int): steps after them whose measurements are dropped.
        active (int): steps after them that are recorded.
        repeat (int): how many cycles; 0 for no end. Default: 0.
        skip_first (int): steps before the first cycle. Default: 0.
        skip_first_wait (int): not 0: the first cycle does not wait. Default: 0.

    Raises:
        AssertionError: a negative number, or no active step.

    >>> plan = lamina.profiler.schedule(wait=1, warmup=1, active=2)
    >>> [plan(step).name for step in range(5)]
    ['NONE', 'WARMUP', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if wait < 0 or warmup < 0 or active <= 0 or repeat < 0 or skip_first < 0:
        raise AssertionError(
            f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), "
            f"active={active} (need > 0), repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0)."
        )
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results", stacklevel=2)
    length = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        if repeat > 0 and step >= repeat * length:
            return ProfilerAction.NONE
        step %= length
        if step < wait:
            return ProfilerAction.NONE
        if step < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if step < length - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False, use_python_export: bool = False
) -> Callable[[Any], None]:
    """A handler for `on_trace_ready` that writes each trace to a file of its own.

    Args:
        dir_name (str): the directory; it is made if it is not there.
        worker_name (str, optional): how the files' names begin. Default: host and process.
        use_gzip (bool): whether to compress. Default: False.
        use_python_export (bool): PyTorch's choice of a writer; there is one here.

    Raises:
        RuntimeError: (the handler) the directory cannot be made.
    """

    def write(prof: Any) -> None:
        import socket
        import time

        try:
            os.makedirs(dir_name, exist_ok=True)
        except OSError as error:
            raise RuntimeError(f"Can't create directory: {dir_name}") from error
        name = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name += f".{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return write


def _parse(activities: Iterable[Any]) -> set[ProfilerActivity]:
    found: set[ProfilerActivity] = set()
    for item in activities:
        if not isinstance(item, (ProfilerActivity, dict)):
            raise TypeError(f"Expected ProfilerActivity or dict, got {type(item)}")
        for activity in item if isinstance(item, dict) else [item]:
            if activity in found:
                raise ValueError(f"Activity {activity} specified more than once")
            found.add(activity)
    for activity in sorted(found - supported_activities(), key=lambda a: a.value):
        warnings.warn(f"{activity.name} is not available, so it is not profiled", UserWarning, stacklevel=4)
    return found


class profile:
    """Measure what runs in a `with` block.

    Args:
        activities (iterable, optional): of :class:`ProfilerActivity`; only the CPU is here. Default: the CPU.
        schedule (function, optional): which steps to measure, as :func:`schedule` makes it; needs a call of `step` after
            each. Default: everything is measured.
        on_trace_ready (function, optional): called with the profiler after each cycle of the schedule, and at the end.
        record_shapes (bool): whether to note the shapes of arguments. Default: False.
        profile_memory (bool): whether to count the bytes of new arrays. Default: False.
        with_stack (bool): whether to note the calling lines of code, and the layers. Default: False.
        with_flops (bool): whether to count the operations of matrix products and convolutions. Default: False.
        with_modules (bool): whether to note the layers. Default: False.
        acc_events (bool): whether to keep the events of earlier cycles. Default: False.
        experimental_config, execution_trace_observer, use_cuda, custom_trace_id_callback, post_processing_timeout_s:
            of PyTorch's own machinery; without effect.

    Raises:
        RuntimeError: another profiler runs.
        TypeError, ValueError: something in `activities` that is none, or is there twice.

    >>> with lamina.profiler.profile(schedule=lamina.profiler.schedule(wait=1, warmup=1, active=1)) as prof:
    ...     for step in range(3):
    ...         x = lamina.ones(2) + step
    ...         prof.step()
    >>> [average.count for average in prof.key_averages() if average.key == "aten::add"]
    [1]
    """

    def __init__(
        self,
        *,
        activities: Iterable[Any] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[..., Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: Any = None,
        execution_trace_observer: Any = None,
        acc_events: bool = False,
        use_cuda: bool | None = None,
        custom_trace_id_callback: Callable[[], str] | None = None,
        post_processing_timeout_s: float | None = None,
    ) -> None:
        self.activities = supported_activities() if activities is None else _parse(activities)
        self.schedule = schedule or (lambda step: ProfilerAction.RECORD)
        self.record_steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.record_shapes, self.profile_memory, self.with_stack = record_shapes, profile_memory, with_stack
        self.with_flops, self.with_modules, self.acc_events = with_flops, with_modules, acc_events
        self.step_num = 0
        self.current_action = self._action()
        self.step_rec_fn: record_function | None = None
        self.profiler: _profiler.profile | None = None
        self._metadata: dict[str, Any] = {}
        self._running = False

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()

    # -- steps -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin, as entering a `with` block does."""
        if self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE):
            self._begin()
        self._name_step()

    def stop(self) -> None:
        """End, as leaving the `with` block does."""
        self._end_step()
        if self._running:
            self._end()
            self._ready()

    def step(self) -> None:
        """One step is over: do what the schedule says for the next."""
        self._end_step()
        previous = self.current_action
        self.step_num += 1
        self.current_action = self._action()
        recording = self.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        if self._running and (previous is ProfilerAction.RECORD_AND_SAVE or not recording):
            self._end()
            if previous is ProfilerAction.RECORD_AND_SAVE:
                self._ready()
            else:
                warnings.warn(
                    f"Incorrect schedule: RECORD followed by {self.current_action.name}, without RECORD_AND_SAVE between",
                    stacklevel=2,
                )
        if recording and not self._running:
            self._begin()
        self._name_step()

    def _action(self) -> ProfilerAction:
        action = self.schedule(self.step_num)
        if action is ProfilerAction.DEVICE_STOPPED:
            raise ValueError("a schedule must not return ProfilerAction.DEVICE_STOPPED")
        return action

    def _name_step(self) -> None:
        if self.record_steps:
            self.step_rec_fn = record_function(f"ProfilerStep#{self.step_num}")
            self.step_rec_fn.__enter__()

    def _end_step(self) -> None:
        if self.step_rec_fn is not None:
            self.step_rec_fn.__exit__(None, None, None)
            self.step_rec_fn = None

    def _begin(self) -> None:
        if self.profiler is None or not self.acc_events:
            self.profiler = _profiler.profile(
                use_cpu=ProfilerActivity.CPU in self.activities,
                record_shapes=self.record_shapes,
                with_flops=self.with_flops,
                profile_memory=self.profile_memory,
                with_stack=self.with_stack,
                with_modules=self.with_modules,
                acc_events=self.acc_events,
            )
        self.profiler._start()
        self._running = True

    def _end(self) -> None:
        assert self.profiler is not None
        self._running = False
        self.profiler._stop()

    def _ready(self) -> None:
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    # -- results -----------------------------------------------------------------------------------------------------

    def _finished(self, what: str) -> _profiler.profile:
        if self.profiler is None:
            raise AssertionError(f"Profiler must be initialized before {what}: no step was recorded")
        return self.profiler

    def events(self) -> EventList:
        """The events of the last cycle (of all, with `acc_events`)."""
        return self._finished("accessing events").function_events

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """The averages of the events by name, and perhaps by shapes of the input or calling lines."""
        found = self._finished("getting key averages")
        return found.key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def export_chrome_trace(self, path: str, use_python_export: bool = False) -> None:
        """Write the events as a trace that chrome://tracing and Perfetto read; compressed if the name ends in ".gz"."""
        self._finished("exporting chrome trace").function_events.export_chrome_trace(path, self._metadata)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Write the stacks with their times, for a flame graph; needs `with_stack`."""
        self._finished("exporting stacks").export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Put a text into the traces that are written."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Put a value, given as JSON, into the traces that are written."""
        self._metadata[key] = json.loads(value)

    preset_metadata_json = add_metadata_json
