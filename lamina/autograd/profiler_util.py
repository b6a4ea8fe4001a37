"""What a profiler measured: events, their averages by name, tables, and traces for Chrome."""

from __future__ import annotations

import gzip
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

__all__ = ["EventList", "FunctionEvent", "FunctionEventAvg", "Interval"]

ONEDNN, REFERENCE = 1, 2  # which engines ran, as bits
_ENGINES = ("", "onednn", "reference", "onednn, reference")
_NO_DEVICE = (  # PyTorch's names for times and memory of accelerators, none of which is here
    "cuda_time", "cuda_time_total", "self_cuda_time_total", "cuda_memory_usage", "self_cuda_memory_usage", "device_time",
    "device_time_total", "self_device_time_total", "device_memory_usage", "self_device_memory_usage",
)  # fmt: skip
SORT_KEYS = (
    "cpu_time", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage", "self_cpu_memory_usage", "count", "flops",
    *_NO_DEVICE,
)  # fmt: skip


def format_time(microseconds: float) -> str:
    """A time in the unit that suits it."""
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:.3f}s"
    return f"{microseconds / 1e3:.3f}ms" if microseconds >= 1e3 else f"{microseconds:.3f}us"


def format_share(part: float, whole: float) -> str:
    """A part in per cent."""
    return f"{100 * part / whole:.2f}%" if whole else "NaN"


def format_memory(nbytes: int) -> str:
    """A size in the unit that suits it."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(nbytes) >= size:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes} B"


class Interval:
    """From when to when, in microseconds since the profiler was started."""

    __slots__ = ("start", "end")

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """How long it is."""
        return self.end - self.start

    def __repr__(self) -> str:
        return f"[{self.start:.3f}, {self.end:.3f}]"


class _Times:
    """What events and averages have in common: times, formatted and per call, and the zeros of devices that are not here."""

    __slots__ = ()
    count: int
    cpu_time_total: float
    self_cpu_time_total: float
    engines: int

    @property
    def cpu_time(self) -> float:
        """Microseconds per call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def engine(self) -> str:
        """Which engine computed: "onednn", "reference", both, or neither ("")."""
        return _ENGINES[self.engines]

    @property
    def cpu_time_str(self) -> str:
        return format_time(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        return format_time(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        return format_time(self.self_cpu_time_total)

    def __getattr__(self, name: str) -> Any:
        if name in _NO_DEVICE:
            return 0
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class FunctionEvent(_Times):
    """One call of an operation, a gradient rule, a kernel, a layer, or a range that the user named.

    Attributes:
        name, key (str): of what was called.
        category (str): "op", "backward", "kernel", "module" or "user".
        id, thread (int): its number, and that of its thread; `native_thread` is the system's number.
        cpu_parent, cpu_children: the events around it and within it, on the same thread.
        input_shapes, input_dtypes (list): of its arguments, with `record_shapes`.
        stack (list of str): the lines of the caller's code, innermost first, with `with_stack`.
        cpu_memory_usage (int): bytes of new arrays, with `profile_memory`; nothing is subtracted for what was freed.
        engine (str): which engine ran in it.
        flops (int): multiplications and additions of matrix products and convolutions, with `with_flops`.
        sequence_nr (int): joins an operation and its gradient rule; -1 where nothing was recorded.
    """

    __slots__ = (
        "name", "category", "id", "thread", "native_thread", "start_ns", "end_ns", "base_ns", "cpu_parent", "cpu_children",
        "input_shapes", "input_dtypes", "stack", "own_memory", "engines", "flops", "sequence_nr", "fwd_thread", "seen",
    )  # fmt: skip

    # For code that looks at PyTorch's events.
    count, node_id, is_async, is_remote, is_legacy, scope, use_device, overload_name = 1, -1, False, False, False, 0, None, ""

    def __init__(self, name: str, category: str, number: int, thread: int, native: int, parent: Any, base: int) -> None:
        self.name, self.category, self.id, self.thread, self.native_thread = name, category, number, thread, native
        self.cpu_parent, self.base_ns = parent, base
        self.cpu_children: list[FunctionEvent] = []
        self.input_shapes: list[Any] = []
        self.input_dtypes: list[Any] = []
        self.stack: list[str] = []
        self.own_memory = self.engines = self.flops = 0
        self.sequence_nr = -1
        self.fwd_thread: int | None = None
        self.seen: dict[int, Any] | None = None  # arrays within that were counted
        self.start_ns = self.end_ns = 0

    @property
    def key(self) -> str:
        """The name by which events are averaged: all steps of a schedule have one."""
        return "ProfilerStep*" if self.name.startswith("ProfilerStep#") else self.name

    @property
    def trace_name(self) -> str:
        """The name in traces."""
        return self.name

    @property
    def is_user_annotation(self) -> bool:
        """Whether it is a range that somebody named."""
        return self.category == "user"

    @property
    def time_range(self) -> Interval:
        """From when to when."""
        return Interval((self.start_ns - self.base_ns) / 1e3, (self.end_ns - self.base_ns) / 1e3)

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds."""
        return (self.end_ns - self.start_ns) / 1e3

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds without those of the events within."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        """Bytes of new arrays, without those of the events within."""
        return self.own_memory

    @property
    def cpu_memory_usage(self) -> int:
        """Bytes of new arrays."""
        total, pending = 0, [self]
        while pending:
            event = pending.pop()
            total += event.own_memory
            pending += event.cpu_children
        return total

    def __repr__(self) -> str:
        return (
            f"<FunctionEvent id={self.id} name={self.name} thread={self.thread} cpu_time={self.cpu_time_str} "
            f"start_us={self.time_range.start:.3f} end_us={self.time_range.end:.3f} engine={self.engine!r} "
            f"cpu_children={[c.id for c in self.cpu_children]} input_shapes={self.input_shapes} "
            f"cpu_memory_usage={self.cpu_memory_usage}>"
        )


class FunctionEventAvg(_Times):
    """All events of one name together: sums, and the time per call.

    Attributes:
        key (str): the name.
        count (int): how many calls.
        cpu_time_total, self_cpu_time_total (float): microseconds; `cpu_time` per call.
        cpu_memory_usage, self_cpu_memory_usage (int): bytes of new arrays.
        engine (str): which engines ran.
    """

    def __init__(self) -> None:
        self.key: str | None = None
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = self.flops = self.engines = 0
        self.input_shapes: Any = None
        self.stack: list[str] = []
        self.cpu_parent: Any = None
        self.category = ""
        self.is_user_annotation = False

    def add(self, other: Any) -> FunctionEventAvg:
        """Take an event, or an average, in."""
        if self.key is None:
            self.key, self.input_shapes, self.stack = other.key, other.input_shapes, list(other.stack)
            self.cpu_parent, self.category = other.cpu_parent, other.category
            self.is_user_annotation = other.is_user_annotation
        self.count += other.count
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        self.flops += other.flops
        self.engines |= other.engines
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return (
            f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} cpu_time={self.cpu_time_str} "
            f"count={self.count} engine={self.engine!r} input_shapes={self.input_shapes} "
            f"cpu_memory_usage={self.cpu_memory_usage}>"
        )


class EventList(list):
    """Events, or averages of events, with what can be made of them."""

    def __init__(self, events: Iterable[Any] = (), profile_memory: bool = False, with_flops: bool = False) -> None:
        super().__init__(events)
        self._profile_memory, self._with_flops = profile_memory, with_flops

    def __str__(self) -> str:
        return self.table()

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all events, in microseconds, each counted without those within."""
        return sum(event.self_cpu_time_total for event in self)

    def key_averages(
        self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """The averages of the events by name.

        Args:
            group_by_input_shapes (bool): whether calls with other shapes are other events.
            group_by_stack_n (int): how many of the innermost lines of the caller's code tell events apart.
            group_by_overload_name (bool): without effect, as no operation has several forms of one name here.
        """
        groups: dict[Any, FunctionEventAvg] = defaultdict(FunctionEventAvg)
        for event in self:
            key: list[Any] = [event.key, event.category]
            if group_by_input_shapes:
                key.append(str(event.input_shapes))
            if group_by_stack_n > 0:
                key += event.stack[:group_by_stack_n]
            groups[tuple(key)].add(event)
        for average in groups.values():
            average.stack = average.stack[:group_by_stack_n] if group_by_stack_n > 0 else []
            if not group_by_input_shapes:
                average.input_shapes = ""
        return EventList(groups.values(), self._profile_memory, self._with_flops)

    def total_average(self) -> FunctionEventAvg:
        """All events in one."""
        total = FunctionEventAvg()
        for event in self:
            total += event
        total.key = "Total"
        return total

    # -- table -------------------------------------------------------------------------------------------------------

    def table(
        self,
        sort_by: str | None = None,
        row_limit: int = 100,
        max_src_column_width: int = 75,
        max_name_column_width: int = 55,
        max_shapes_column_width: int = 80,
        header: str | None = None,
        top_level_events_only: bool = False,
        time_unit: str | None = None,
    ) -> str:
        """The events as a table.

        Args:
            sort_by (str, optional): one of "cpu_time", "cpu_time_total", "self_cpu_time_total", "cpu_memory_usage",
                "self_cpu_memory_usage", "count", "flops"; largest first.
            row_limit (int): the most rows; -1 for all. Default: 100.
            max_src_column_width, max_name_column_width, max_shapes_column_width (int): longer texts are cut.
            header (str, optional): a line above.
            top_level_events_only (bool): whether to leave out what ran within another event.
            time_unit (str, optional): "s", "ms" or "us"; by default what suits each time.

        Raises:
            AttributeError: an unknown `sort_by`.
            ValueError: an unknown `time_unit`.
        """
        if time_unit not in (None, "s", "ms", "us"):
            raise ValueError(f"time_unit must be 's', 'ms' or 'us', but got {time_unit!r}")
        if not self:
            return ""
        events = list(self)
        if sort_by is not None:
            if sort_by not in SORT_KEYS:
                raise AttributeError(f"events cannot be sorted by {sort_by!r}, only by one of {', '.join(SORT_KEYS)}")
            events.sort(key=lambda event: getattr(event, sort_by), reverse=True)
        total = self.self_cpu_time_total
        if top_level_events_only:
            events = [event for event in events if event.cpu_parent is None]
        if row_limit >= 0:
            events = events[:row_limit]

        columns: list[tuple[str, list[str]]] = [("Name", [_cut(e.key, max_name_column_width) for e in events])]

        def column(title: str, values: Iterable[Any]) -> None:
            columns.append((title, [str(v) for v in values]))

        def time(microseconds: float) -> str:
            if time_unit is None:
                return format_time(microseconds)
            return f"{microseconds / {'s': 1e6, 'ms': 1e3, 'us': 1.0}[time_unit]:.3f}{time_unit}"

        column("Self CPU %", (format_share(e.self_cpu_time_total, total) for e in events))
        column("Self CPU", (time(e.self_cpu_time_total) for e in events))
        column("CPU total %", (format_share(e.cpu_time_total, total) for e in events))
        column("CPU total", (time(e.cpu_time_total) for e in events))
        column("CPU time avg", (time(e.cpu_time) for e in events))
        if self._profile_memory:
            column("CPU Mem", (format_memory(e.cpu_memory_usage) for e in events))
            column("Self CPU Mem", (format_memory(e.self_cpu_memory_usage) for e in events))
        column("# of Calls", (e.count for e in events))
        column("Engine", (e.engine or "--" for e in events))
        if any(e.input_shapes for e in events):
            column("Input Shapes", (_cut(str(e.input_shapes), max_shapes_column_width) for e in events))
        if self._with_flops:
            column("Total FLOPs", (f"{e.flops:,}" if e.flops else "--" for e in events))
        stacks = [[_cut(line, max_src_column_width, False) for line in e.stack] for e in events]
        if any(stacks):
            column("Source Location", (s[0] if s else "" for s in stacks))
        footer = f"Self CPU time total: {time(total)}"
        return _layout(columns, stacks, header, top_level_events_only, footer)

    # -- files -------------------------------------------------------------------------------------------------------

    def export_chrome_trace(self, path: str | os.PathLike[str], metadata: dict[str, Any] | None = None) -> None:
        """Write the events as a trace that chrome://tracing and Perfetto read; compressed if the name ends in ".gz"."""
        path = os.fspath(path)
        trace = {**chrome_trace(self), **(metadata or {}), "traceName": path}
        opened: Any = gzip.open(path, "wt", encoding="utf-8") if path.endswith(".gz") else open(path, "w", encoding="utf-8")
        with opened as file:
            json.dump(trace, file)

    def export_stacks(self, path: str | os.PathLike[str], metric: str = "self_cpu_time_total") -> None:
        """Write the stacks with a time each, in the form that flame graphs are made of: `outer;inner;op 12`.

        Raises:
            ValueError: an unknown metric.
        """
        if metric not in ("self_cpu_time_total", "self_cuda_time_total", "self_xpu_time_total"):
            raise ValueError(f"metric should be one of: ['self_cpu_time_total'], but got {metric!r}")
        with open(path, "w", encoding="utf-8") as file:
            for event in self:
                amount = int(getattr(event, metric.replace("_xpu", "_cuda")))
                if event.stack and amount > 0:
                    frames = [line.translate(_SEPARATORS) for line in reversed(event.stack)]
                    file.write(f"{';'.join([*frames, event.key])} {amount}\n")


_SEPARATORS = str.maketrans(" ;\t\n", "____")


def _cut(text: str, width: int | None, keep_start: bool = True) -> str:
    if width is None or len(text) <= width:
        return text
    return text[: width - 3] + "..." if keep_start else "..." + text[3 - width :]


def _layout(columns: list, stacks: list[list[str]], header: str | None, top_only: bool, footer: str) -> str:
    """The columns side by side: names and numbers to the right, lines of code to the left."""
    widths = [max([len(title) + 2, 12, *map(len, values)]) for title, values in columns]
    if any(stacks):
        widths[-1] = max(widths[-1], *(len(line) for stack in stacks for line in stack))

    def line(cells: Iterable[str]) -> str:
        aligned = [
            cell.ljust(width) if title == "Source Location" else cell.rjust(width)
            for cell, width, (title, _) in zip(cells, widths, columns, strict=True)
        ]
        return "  ".join(aligned) + "  \n"

    rule = line("-" * width for width in widths)
    text = ""
    for note in (header, "This report only display top-level ops statistics" if top_only else None):
        if note:
            text += "=" * (len(rule) - 3) + f"\n{note}\n"
    text += rule + line(title for title, _ in columns) + rule
    for i, stack in enumerate(stacks):
        text += line(values[i] for _, values in columns)
        for deeper in stack[1:]:
            text += line([""] * (len(columns) - 1) + [deeper])
    return f"{text}{rule}{footer}\n"


# -- traces ----------------------------------------------------------------------------------------------------------

_CATEGORY = {
    "op": "cpu_op",
    "backward": "cpu_op",
    "kernel": "kernel_call",
    "module": "python_function",
    "user": "user_annotation",
}


def chrome_trace(events: Iterable[FunctionEvent]) -> dict[str, Any]:
    """The events in Chrome's trace format, with arrows from each operation to its gradient rule."""
    events = list(events)
    pid = os.getpid()
    rows: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "ts": 0, "args": {"name": "lamina"}}
    ]
    for thread, native in sorted({(e.thread, e.native_thread) for e in events}):
        for what, value in (("thread_name", {"name": f"thread {native}"}), ("thread_sort_index", {"sort_index": thread})):
            rows.append({"ph": "M", "name": what, "pid": pid, "tid": native, "ts": 0, "args": value})
    forward = {e.sequence_nr: e for e in events if e.category == "op" and e.sequence_nr >= 0}
    for e in events:
        start = e.start_ns / 1e3
        rows.append(
            {
                "ph": "X", "cat": _CATEGORY[e.category], "name": e.name, "pid": pid, "tid": e.native_thread,
                "ts": start, "dur": max(e.end_ns - e.start_ns, 0) / 1e3, "args": _arguments(e),
            }
        )  # fmt: skip
        source = forward.get(e.sequence_nr) if e.category == "backward" else None
        if source is not None:
            link = {"cat": "fwdbwd", "name": "fwdbwd", "id": e.sequence_nr, "pid": pid}
            rows.append({"ph": "s", "tid": source.native_thread, "ts": source.start_ns / 1e3, **link})
            rows.append({"ph": "f", "bp": "e", "tid": e.native_thread, "ts": start, **link})
    return {"schemaVersion": 1, "displayTimeUnit": "ms", "traceEvents": rows}


def _arguments(e: FunctionEvent) -> dict[str, Any]:
    found: dict[str, Any] = {"External id": e.id}
    for name, value in (
        ("Engine", e.engine), ("Input Dims", e.input_shapes), ("Input type", e.input_dtypes), ("Bytes", e.own_memory),
        ("FLOPs", e.flops), ("Call stack", ";".join(e.stack)), ("Fwd thread id", e.fwd_thread),
    ):  # fmt: skip
        if value:
            found[name] = value
    if e.sequence_nr >= 0:
        found["Sequence number"] = e.sequence_nr
    return found
