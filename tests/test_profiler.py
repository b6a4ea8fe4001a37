"""The profiler: what is seen, by which names, engines, times and bytes; tables and traces; and no trace of it afterwards."""

from __future__ import annotations

import collections
import gzip
import json
import threading
import time
import warnings

import numpy as np
import pytest
from support import need_torch

import lamina
from lamina import engine as engines
from lamina import nn, optim, profiler
from lamina.autograd import graph, walk
from lamina.autograd import profiler as autograd_profiler
from lamina.autograd.profiler_util import format_memory, format_time
from lamina.engine import door
from lamina.engine.onednn import loader
from lamina.nn.modules.module import Module
from lamina.profiler import ProfilerAction, ProfilerActivity, profile, record_function, schedule
from lamina.utils.data import DataLoader, TensorDataset


def model_and_input(t):
    n = t.nn
    model = n.Sequential(n.Conv2d(3, 4, 3), n.BatchNorm2d(4), n.ReLU(), n.MaxPool2d(2), n.Flatten(), n.Linear(900, 10))
    return model, t.randn(2, 3, 32, 32)


def train(t, model, x):
    optimizer = t.optim.SGD(model.parameters(), lr=0.1)
    loss = t.nn.functional.cross_entropy(model(x), t.tensor([1, 2]))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def keys(prof):
    return [event.key for event in prof.events()]


def find(prof, key):
    return next(average for average in prof.key_averages() if average.key == key)


# -- what is seen ----------------------------------------------------------------------------------------------------


def test_names_are_those_of_pytorchs_profiler():
    torch = need_torch()

    def run(t, p):
        x = t.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        with p.profile() as prof:
            y = t.nn.functional.softmax((x * x + x).relu().exp().t(), -1).sum()
            z = t.nn.functional.linear(x, x, x[0]).tanh().view(-1).mean()
            (y + z - x.std() + x.matmul(x).abs().max()).backward()
        return prof.events()

    def in_a_rule(event):
        return event is not None and (event.category == "backward" or in_a_rule(event.cpu_parent))

    events, theirs = run(lamina, profiler), {e.key for e in run(torch, torch.profiler)}
    ours = {e.key for e in events}
    operations = {e.key for e in events if e.key.startswith("aten::") and not in_a_rule(e)}
    assert operations - theirs <= {"aten::reshape", "aten::matmul", "aten::max", "aten::slice"}
    assert {"aten::mul", "aten::add", "aten::relu", "aten::exp", "aten::linear", "aten::tanh", "aten::t"} <= operations
    assert {"MulBackward0", "ReluBackward0", "ExpBackward0", "TanhBackward0", "AddmmBackward0"} <= ours & theirs


def test_a_training_step():
    model, x = model_and_input(lamina)
    with profile() as prof:
        train(lamina, model, x)
    seen = collections.Counter(keys(prof))
    for key in (
        "aten::convolution", "aten::native_batch_norm", "aten::relu", "aten::linear", "ConvolutionBackward0",
        "NativeBatchNormBackward0", "AddmmBackward0", "Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad",
    ):  # fmt: skip
        assert seen[key] == 1, key
    assert any("::sgd_update" in key for key in seen)


@pytest.mark.parametrize("calls", [1, 3])
def test_every_call_is_an_event(calls):
    """Also of those that a lane, or an in-place form, makes short."""
    x, y = lamina.ones(3, requires_grad=True), lamina.ones(2, 2)
    with profile() as prof:
        for _ in range(calls):
            a = x * x
            a = a + 2.0
            a.relu()
            y.mm(y)
            y.add_(1.0)
            nn.functional.linear(y, y)
            _ = y > 1
    seen = collections.Counter(keys(prof))
    for key in ("aten::mul", "aten::add", "aten::relu", "aten::linear", "reference::mul", "reference::relu"):
        assert seen[key] >= calls, (key, seen)
    assert seen["aten::mul"] == seen["aten::relu"] == seen["aten::linear"] == calls
    assert seen["aten::matmul"] == seen["aten::add_"] == calls and seen["aten::add"] == calls


def test_a_custom_function_has_its_own_name():
    class Double(lamina.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    with profile() as prof:
        Double.apply(lamina.ones(2, requires_grad=True)).sum().backward()
    double = next(e for e in prof.events() if e.key == "Double")
    assert [child.key for child in double.cpu_children] == ["aten::mul"]
    back = next(e for e in prof.events() if e.key == "DoubleBackward")
    assert [child.key for child in back.cpu_children] == ["aten::mul"]


def test_engines(each_engine):
    x = lamina.randn(64, 64)
    with profile() as prof:
        nn.functional.conv2d(x[None, None], lamina.ones(1, 1, 3, 3))
        x.double().lgamma()
    assert find(prof, "aten::convolution").engine == each_engine
    double = next(e for e in prof.events() if e.key == "aten::lgamma")
    assert double.engine == "reference" and double.cpu_children[0].key == "reference::lgamma"
    assert find(prof, f"{each_engine}::conv").engine == each_engine
    with engines.usage() as used, profile() as prof:
        x.exp()
    assert set(find(prof, "aten::exp").engine.split(", ")) == used.engines


def test_a_view_runs_on_no_engine():
    with profile() as prof:
        lamina.ones(2, 3).t()
    assert find(prof, "aten::t").engine == "" and "  --" in prof.key_averages().table()


# -- times -----------------------------------------------------------------------------------------------------------


def test_times_nest():
    model, x = model_and_input(lamina)
    with profile() as prof:
        with record_function("all"):
            train(lamina, model, x)
            time.sleep(0.01)
    events = prof.events()
    whole = events[0]
    assert whole.key == "all" and whole.cpu_time_total >= 10_000 and whole.is_user_annotation
    for event in events:
        span = event.time_range
        assert 0 <= span.start <= span.end and span.elapsed_us() == pytest.approx(event.cpu_time_total)
        assert -1e-3 <= event.self_cpu_time_total <= event.cpu_time_total + 1e-3
        for child in event.cpu_children:
            assert child.cpu_parent is event
            assert span.start <= child.time_range.start and child.time_range.end <= span.end
        starts = [child.time_range.start for child in event.cpu_children]
        assert starts == sorted(starts)
    assert events.self_cpu_time_total == pytest.approx(whole.cpu_time_total)
    assert whole.self_cpu_time_total >= 10_000
    total = events.total_average()
    assert total.count == len(events) and total.self_cpu_time_total == pytest.approx(whole.cpu_time_total)


def test_averages():
    x = lamina.ones(4)
    with profile(record_shapes=True) as prof:
        for _ in range(3):
            x.exp()
        lamina.ones(2, 2).exp()
    average = find(prof, "aten::exp")
    events = [e for e in prof.events() if e.key == "aten::exp"]
    assert average.count == 4 and average.cpu_time_total == pytest.approx(sum(e.cpu_time_total for e in events))
    assert average.cpu_time == pytest.approx(average.cpu_time_total / 4)
    assert average.self_cpu_time_total == pytest.approx(sum(e.self_cpu_time_total for e in events))
    assert average.input_shapes == "" and average.cuda_time_total == 0 == average.device_memory_usage
    grouped = [a for a in prof.key_averages(group_by_input_shape=True) if a.key == "aten::exp"]
    assert sorted((a.count, str(a.input_shapes)) for a in grouped) == [(1, "[[2, 2]]"), (3, "[[4]]")]


def test_shapes_and_dtypes():
    with profile(record_shapes=True) as prof:
        x = lamina.ones(2, 3)
        lamina.cat([x, x.double()], 0) + 1
        nn.functional.linear(x, lamina.ones(4, 3))
    linear = next(e for e in prof.events() if e.key == "aten::linear")
    assert linear.input_shapes[:2] == [[2, 3], [4, 3]] and linear.input_dtypes[:2] == ["float32", "float32"]
    with profile() as prof:
        x + x
    assert all(e.input_shapes == [] for e in prof.events())


@pytest.mark.parametrize("size", [4, 1 << 18])  # from NumPy, and from the pool
def test_memory(size):
    x = lamina.rand(size)
    with profile(profile_memory=True) as prof:
        y = x.exp()  # one new array
        y.view(2, -1)  # none
        y.add_(1.0)  # none
        lamina.sort(x)  # values and, of int64, places
    average = find(prof, "aten::exp")
    assert average.cpu_memory_usage == 4 * size and find(prof, "aten::view").cpu_memory_usage == 0
    assert average.self_cpu_memory_usage + sum(
        e.self_cpu_memory_usage for e in prof.events() if e.key.endswith("::exp") and e.category == "kernel"
    ) == 4 * size  # fmt: skip
    assert prof.events().total_average().self_cpu_memory_usage == (4 + 12) * size
    table = prof.key_averages().table(sort_by="self_cpu_memory_usage")
    assert "Self CPU Mem" in table and "Self CPU Mem" not in profile_nothing().key_averages().table()


def profile_nothing():
    with profile() as prof:
        lamina.ones(2).exp()
    return prof


def test_memory_of_operations_within_operations_counts_once():
    x = lamina.rand(32, 32)
    with profile(profile_memory=True) as prof:
        with record_function("all"):
            x.std(), x.softmax(0), nn.functional.gelu(x)
    for event in prof.events():
        inside = sum(child.cpu_memory_usage for child in event.cpu_children)
        assert event.cpu_memory_usage == event.self_cpu_memory_usage + inside
    assert 2 * 4096 <= prof.events()[0].cpu_memory_usage <= 12 * 4096


def test_flops():
    with profile(with_flops=True) as prof:
        lamina.ones(3, 4).mm(lamina.ones(4, 5))
        nn.functional.conv2d(lamina.ones(2, 4, 6, 6), lamina.ones(8, 2, 3, 3), groups=2)
    assert find(prof, "aten::matmul").flops == 2 * 3 * 4 * 5
    assert find(prof, "aten::convolution").flops == 2 * (2 * 8 * 4 * 4) * (2 * 9)
    assert "Total FLOPs" in prof.key_averages().table(sort_by="flops")


# -- where it was called -----------------------------------------------------------------------------------------------


def helper(x):
    return x.exp()


def test_stacks(tmp_path):
    with profile(with_stack=True) as prof:
        helper(lamina.ones(2))
        helper(lamina.ones(2))
        lamina.ones(2).exp()
    event = next(e for e in prof.events() if e.key == "aten::exp")
    assert __file__ in event.stack[0] and event.stack[0].endswith(": helper")
    assert event.stack[1].endswith(": test_stacks") and not any("lamina/autograd" in line for line in event.stack)
    assert len([a for a in prof.key_averages(group_by_stack_n=1) if a.key == "aten::exp"]) == 2
    assert len([a for a in prof.key_averages(group_by_stack_n=2) if a.key == "aten::exp"]) == 3
    assert "Source Location" in prof.key_averages(group_by_stack_n=2).table()
    path = tmp_path / "stacks.txt"
    prof.export_stacks(str(path))
    for line in path.read_text().splitlines():
        frames, amount = line.rsplit(" ", 1)
        assert int(amount) > 0 and " " not in frames and ";" in frames
    assert path.read_text()
    with pytest.raises(ValueError, match="metric should be one of"):
        prof.export_stacks(str(path), "cpu")
    with pytest.raises(AssertionError, match="with_stack"):
        profile_nothing().export_stacks(str(path))


@pytest.mark.parametrize("option", ["with_stack", "with_modules"])
def test_layers(option):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU())
    with profile(**{option: True}) as prof:
        for _ in range(2):
            model(lamina.ones(1, 2))
    layers = [(e.key, e.cpu_parent.key if e.cpu_parent else None) for e in prof.events() if e.category == "module"]
    top = "nn.Module: Sequential_0"
    assert layers == 2 * [
        (top, None), ("nn.Module: Linear_0", top), ("nn.Module: Linear_1", top), ("nn.Module: ReLU_0", top),
    ]  # fmt: skip
    relu = next(e for e in prof.events() if e.key == "aten::relu")
    assert relu.cpu_parent.key == "nn.Module: ReLU_0"


def test_ranges():
    @record_function("decorated")
    def decorated(x):
        return x + 1

    assert decorated(lamina.ones(1)) == 2  # outside of a profiler
    assert decorated.__name__ == "decorated"
    with profile() as prof:
        with record_function("outer"):
            with record_function("inner", "argument"):
                decorated(lamina.ones(1))
    chain = [e for e in prof.events() if e.is_user_annotation]
    assert [e.key for e in chain] == ["outer", "inner", "decorated"]
    assert [e.cpu_parent.key if e.cpu_parent else None for e in chain] == [None, "outer", "inner"]
    assert autograd_profiler.record_function is record_function


def test_batches_of_data_loaders():
    data = TensorDataset(lamina.arange(4.0))
    with profile() as prof:
        assert len(list(DataLoader(data, batch_size=2))) == 2
    seen = [key for key in keys(prof) if key.startswith("enumerate(DataLoader)#")]
    assert len(seen) == 3 and seen[0].endswith(".__next__")  # the third finds the end


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch's, where a recording looks at all objects that there are
def test_compiled_calls():
    model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU()), lamina.rand(4, 8)
    compiled = lamina.compile(model)
    with profile() as prof:
        first = compiled(x)  # which is recorded, and seen
    assert keys(prof).count("aten::linear") == 1 == keys(prof).count("aten::relu")
    with profile() as prof:
        second = compiled(x)
    assert keys(prof) == ["Torch-Compiled Region"]
    assert (first == second).all() and (model(x) == second).all()
    assert summary_of(compiled) == summary_of(model) == 72


def summary_of(model):
    return lamina.summary(model, (4, 8), verbose=0).total_params


# -- threads and errors ------------------------------------------------------------------------------------------------


def test_threads():
    ready = threading.Barrier(2)

    def work():
        ready.wait()
        with record_function("work"):
            for _ in range(20):
                lamina.ones(3).exp()

    with profile() as prof:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        lamina.ones(3).exp()
    ranges = [e for e in prof.events() if e.key == "work"]
    assert len({e.thread for e in ranges}) == 2 == len({e.native_thread for e in ranges})
    for event in prof.events():
        assert event.cpu_parent is None or event.cpu_parent.thread == event.thread
    for whole in ranges:
        assert sum(child.key == "aten::exp" for child in whole.cpu_children) == 20
    assert collections.Counter(keys(prof))["aten::exp"] == 41


def test_a_thread_that_outlives_the_profiler():
    inside, done = threading.Event(), threading.Event()

    def work():
        with record_function("work"):
            inside.set()
            done.wait()
            lamina.ones(2).exp()

    with profile() as prof:
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait()
    ended = prof.events()[0].cpu_time_total
    done.set()
    thread.join()
    assert prof.events()[0].key == "work" and prof.events()[0].cpu_time_total == ended
    assert len(prof.events()) == 1


def test_errors_leave_the_events_in_order():
    with profile() as prof:
        with record_function("wrong"):
            with pytest.raises(RuntimeError):
                lamina.ones(2, 3).mm(lamina.ones(2, 3))
            with pytest.raises(RuntimeError):
                lamina.ones(2) + lamina.ones(3)
        lamina.ones(2).exp()
    wrong, exp = (next(e for e in prof.events() if e.key == key) for key in ("wrong", "aten::exp"))
    assert wrong.cpu_parent is None and exp.cpu_parent is None

    class Failing(optim.SGD):
        def step(self, closure=None):
            raise ValueError("no")

    optimizer = Failing([nn.Parameter(lamina.ones(1))], lr=0.1)
    with profile() as prof:
        with record_function("step"), pytest.raises(ValueError, match="no"):
            optimizer.step()
        lamina.ones(2).exp()
    assert next(e for e in prof.events() if e.key == "aten::exp").cpu_parent is None


def forms():
    own = [op.__dict__["apply"] for op in (graph.Op, graph.ViewOp)]
    return [
        *own, walk._run, door._plain_call, door.Kernel.__call__, Module.__call__, optim.Optimizer.zero_grad,
        type(lamina.ones(1)).__add__, list(door.detours), len(optim.optimizer._global_pre_hooks),
    ]  # fmt: skip


def test_nothing_is_left_behind():
    before = forms()
    model, x = model_and_input(lamina)
    for options in ({}, dict(with_stack=True, profile_memory=True, record_shapes=True)):
        with profile(**options):
            assert forms() != before
            train(lamina, model, x)
        assert forms() == before
        with pytest.raises(KeyError), profile(**options):
            raise KeyError
        assert forms() == before


def test_one_profiler_at_a_time():
    before = forms()
    with profile() as prof:
        with pytest.raises(RuntimeError, match="a profiler is running already"):
            with profile():
                pass
        lamina.ones(2).exp()
    assert "aten::exp" in keys(prof) and forms() == before


def test_beside_an_observer_of_the_door():
    """Whoever comes first, and whoever goes first."""
    before, seen = forms(), []
    x = lamina.ones(3)
    prof = profile()
    observing = engines.observe(lambda kernel, args, kwargs, result: seen.append(kernel.name))
    for order in ((prof, observing), (observing, prof)):
        for leave in (0, 1):
            prof = profile()
            observing = engines.observe(lambda kernel, args, kwargs, result: seen.append(kernel.name))
            both = (prof, observing) if order[0].__class__ is profile else (observing, prof)
            both[0].__enter__()
            both[1].__enter__()
            seen.clear()
            x.exp()
            assert seen == ["exp"]
            both[leave].__exit__(None, None, None)
            x.exp()
            assert len(seen) == (2 if both[leave] is prof else 1)
            both[1 - leave].__exit__(None, None, None)
            assert keys(prof).count("reference::exp") == (1 if both[leave] is prof else 2)
            x.exp()
            assert forms() == before


def test_results_are_the_same():
    torch_free = []
    for inside in (False, True):
        lamina.manual_seed(0)
        model, x = model_and_input(lamina)
        if inside:
            with profile(profile_memory=True, record_shapes=True, with_stack=True):
                train(lamina, model, x)
        else:
            train(lamina, model, x)
        torch_free.append([p.detach().numpy().copy() for p in model.parameters()])
    for a, b in zip(*torch_free, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_gradients_of_gradients_and_hooks_in_the_profile():
    x = lamina.tensor(2.0, requires_grad=True)
    with profile() as prof:
        (slope,) = lamina.autograd.grad(x**3, x, create_graph=True)
        (curvature,) = lamina.autograd.grad(slope, x)
    assert curvature.item() == 12.0 and keys(prof).count("PowBackward0") >= 2


# -- tables ------------------------------------------------------------------------------------------------------------


def test_the_table():
    with profile(record_shapes=True) as prof:
        with record_function("a name that is longer than the column may be, so that it is cut"):
            for _ in range(3):
                lamina.ones(2, 2).exp()
    averages = prof.key_averages()
    text = averages.table(sort_by="cpu_time_total", row_limit=2, header="Once upon a time")
    lines = text.splitlines()
    assert lines[1] == "Once upon a time" and lines[2] == lines[4] == lines[-2] and set(lines[2]) == {"-", " "}
    titles = [title.strip() for title in lines[3].split("  ") if title.strip()]
    assert titles == ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls", "Engine"]
    assert len(lines) == 9 and lines[-1].startswith("Self CPU time total: ")
    assert "a name that is longer than the column may be, so tha..." in text and "100.00%" in lines[5]
    assert averages.table() == str(averages) == averages.table(row_limit=100)
    assert len(averages.table(row_limit=-1).splitlines()) == 5 + len(averages)
    only = averages.table(top_level_events_only=True)
    assert "top-level" in only and "aten::exp" not in only
    for unit in ("s", "ms", "us"):
        assert averages.table(time_unit=unit).splitlines()[3].count(unit) >= 3
    assert "Input Shapes" in prof.key_averages(group_by_input_shape=True).table()
    assert "Input Shapes" not in text
    counts = averages.table(sort_by="count").splitlines()
    assert counts[3].split()[-2] == "3"


def test_the_table_refuses():
    averages = profile_nothing().key_averages()
    with pytest.raises(AttributeError, match="cannot be sorted by 'size', only by one of cpu_time,"):
        averages.table(sort_by="size")
    with pytest.raises(ValueError, match="time_unit must be 's', 'ms' or 'us', but got 'h'"):
        averages.table(time_unit="h")
    for key in ("cuda_time_total", "self_cuda_memory_usage", "device_time"):
        assert averages.table(sort_by=key)
    with profile() as prof:
        pass
    assert prof.key_averages().table() == "" and prof.events().total_average().count == 0


def test_units():
    assert [format_time(t) for t in (0.5, 1500.0, 2.5e6)] == ["0.500us", "1.500ms", "2.500s"]
    assert [format_memory(n) for n in (0, 1000, 2048, 3 << 20, 5 << 30)] == ["0 B", "1000 B", "2.00 KB", "3.00 MB", "5.00 GB"]


def test_texts():
    prof = profile_nothing()
    event = prof.events()[0]
    assert "name=aten::ones" in repr(event) or "<FunctionEvent id=1 name=" in repr(event)
    assert repr(find(prof, "aten::exp")).startswith("<FunctionEventAvg key=aten::exp self_cpu_time=")
    with pytest.raises(AttributeError, match="has no attribute 'colour'"):
        _ = event.colour


# -- traces ------------------------------------------------------------------------------------------------------------


def check_trace(trace):
    """What a viewer relies on: required fields, proper nesting per thread, arrows between events that are there."""
    assert trace["schemaVersion"] == 1 and trace["displayTimeUnit"] == "ms"
    threads = collections.defaultdict(list)
    arrows = collections.defaultdict(dict)
    for row in trace["traceEvents"]:
        assert {"ph", "name", "pid", "tid", "ts"} <= set(row) and row["ph"] in "XMsf"
        if row["ph"] == "X":
            assert row["dur"] >= 0 and row["cat"]
            threads[row["tid"]].append(row)
        elif row["ph"] in "sf":
            arrows[row["id"]][row["ph"]] = row
    for rows in threads.values():
        open_rows: list = []
        for row in sorted(rows, key=lambda r: (r["ts"], -r["dur"])):
            while open_rows and open_rows[-1]["ts"] + open_rows[-1]["dur"] <= row["ts"] + 1e-3:
                open_rows.pop()
            if open_rows:
                assert row["ts"] + row["dur"] <= open_rows[-1]["ts"] + open_rows[-1]["dur"] + 1e-2
            open_rows.append(row)
    named = {row["tid"] for row in trace["traceEvents"] if row["name"] == "thread_name"}
    assert set(threads) <= named
    for arrow in arrows.values():
        assert set(arrow) == {"s", "f"} and arrow["s"]["ts"] <= arrow["f"]["ts"]
        for row in arrow.values():
            assert any(r["ts"] == row["ts"] for r in threads[row["tid"]])
    return threads, arrows


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_chrome_trace(tmp_path, name):
    model, x = model_and_input(lamina)
    with profile(record_shapes=True, profile_memory=True, with_stack=True) as prof:
        thread = threading.Thread(target=lambda: lamina.ones(5).exp())
        thread.start()
        with record_function("training"):
            train(lamina, model, x)
        thread.join()
    prof.add_metadata("note", "a note")
    prof.add_metadata_json("numbers", "[1, 2]")
    prof.export_chrome_trace(str(tmp_path / name))
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "rt") as file:
        trace = json.load(file)
    assert trace["note"] == "a note" and trace["numbers"] == [1, 2]
    threads, arrows = check_trace(trace)
    assert len(threads) == 2
    rows = [row for rows in threads.values() for row in rows]
    assert len(rows) == len(prof.events())
    convolution = next(row for row in rows if row["name"] == "aten::convolution")
    assert convolution["args"]["Input Dims"][:2] == [[2, 3, 32, 32], [4, 3, 3, 3]]
    assert convolution["args"]["Engine"] and convolution["args"]["Call stack"]
    back = next(row for row in rows if row["name"] == "ConvolutionBackward0")
    assert back["args"]["Sequence number"] == convolution["args"]["Sequence number"] and back["args"]["Fwd thread id"]
    arrow = arrows[back["args"]["Sequence number"]]
    assert arrow["s"]["ts"] == convolution["ts"] and arrow["f"]["ts"] == back["ts"]
    assert {row["cat"] for row in rows} == {"cpu_op", "kernel_call", "python_function", "user_annotation"}


def test_autograd_profilers_trace(tmp_path):
    with autograd_profiler.profile() as prof:
        lamina.ones(2).exp()
    prof.export_chrome_trace(str(tmp_path / "trace.json"))
    check_trace(json.loads((tmp_path / "trace.json").read_text()))


# -- schedules ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Profiler won't be using warmup")
def test_schedules_are_pytorchs():
    torch = need_torch()
    for wait, warmup, active, repeat, skip, first in np.ndindex(3, 3, 3, 3, 3, 2):
        if active:
            settings = dict(
                wait=wait, warmup=warmup, active=active, repeat=repeat, skip_first=skip, skip_first_wait=first
            )  # fmt: skip
            ours, theirs = schedule(**settings), torch.profiler.schedule(**settings)
            assert [ours(i).name for i in range(25)] == [theirs(i).name for i in range(25)], settings
    for wrong in (dict(wait=-1), dict(warmup=-1), dict(active=0), dict(repeat=-1), dict(skip_first=-2)):
        for s in (schedule, torch.profiler.schedule):
            with pytest.raises(AssertionError, match="Invalid profiler schedule arguments"):
                s(**{"wait": 0, "warmup": 1, "active": 1, **wrong})
    for s in (schedule, torch.profiler.schedule):
        with pytest.warns(UserWarning, match="won't be using warmup"):
            plan = s(wait=1, warmup=0, active=1)
        with pytest.raises(AssertionError, match="Step must be non-negative"):
            plan(-1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("acc_events", [False, True])
@pytest.mark.parametrize(
    "plan",
    [
        dict(wait=1, warmup=1, active=2),
        dict(wait=0, warmup=0, active=1),
        dict(wait=1, warmup=1, active=3, repeat=1),
        dict(wait=0, warmup=1, active=2, repeat=2, skip_first=1),
        dict(wait=20, warmup=1, active=2),
    ],
    ids=str,
)
def test_steps_are_pytorchs(plan, acc_events):
    torch = need_torch()
    found = []
    for t, p in ((lamina, profiler), (torch, torch.profiler)):
        ready = []

        def note(prof, ready=ready):
            ready.append((prof.step_num, [e.key for e in prof.events() if e.key.startswith("ProfilerStep")]))

        with p.profile(
            activities=[p.ProfilerActivity.CPU], schedule=p.schedule(**plan), on_trace_ready=note, acc_events=acc_events
        ) as prof:
            for _ in range(9):
                t.ones(3).exp()
                prof.step()
        try:
            count = sum(e.key == "aten::exp" for e in prof.events())
        except (AssertionError, RuntimeError) as error:
            count = type(error)
        if p.schedule(**plan)(9).name == "WARMUP" and not acc_events:
            count = None  # PyTorch has dropped the last cycle by then; here it is there until the next one records
        found.append((ready, count, prof.step_num))
    assert found[0] == found[1]


def test_a_schedule_of_ones_own():
    actions = [ProfilerAction.RECORD, ProfilerAction.NONE, ProfilerAction.RECORD_AND_SAVE, ProfilerAction.NONE]
    ready = []
    with pytest.warns(UserWarning, match="Incorrect schedule: RECORD followed by NONE"):
        with profile(schedule=lambda step: actions[min(step, 3)], on_trace_ready=lambda p: ready.append(p.step_num)) as prof:
            for _ in range(4):
                lamina.ones(1).exp()
                prof.step()
    assert ready == [3]


def test_start_and_stop():
    before, ready = forms(), []
    prof = profile(on_trace_ready=ready.append)
    with pytest.raises(AssertionError, match="must be initialized"):
        prof.key_averages()
    prof.start()
    lamina.ones(2).exp()
    with pytest.raises(RuntimeError, match="didn't finish running"):
        prof.events()
    prof.stop()
    assert ready == [prof] and "aten::exp" in keys(prof) and forms() == before


@pytest.mark.parametrize("use_gzip", [False, True])
def test_tensorboards_files(tmp_path, use_gzip):
    folder = tmp_path / "made" / "for it"
    handler = profiler.tensorboard_trace_handler(str(folder), "worker", use_gzip)
    with profile(schedule=schedule(wait=0, warmup=1, active=1), on_trace_ready=handler) as prof:
        for _ in range(4):
            lamina.ones(2).exp()
            prof.step()
    files = sorted(folder.iterdir())
    assert len(files) == 2
    for file in files:
        assert file.name.startswith("worker.") and file.name.endswith(".pt.trace.json" + ".gz" * use_gzip)
        text = gzip.decompress(file.read_bytes()) if use_gzip else file.read_bytes()
        check_trace(json.loads(text))
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match="Can't create directory"):
        profiler.tensorboard_trace_handler(str(tmp_path / "file" / "sub"))(prof)


# -- arguments ---------------------------------------------------------------------------------------------------------


def test_activities():
    assert profiler.supported_activities() == {ProfilerActivity.CPU}
    with pytest.warns(UserWarning, match="CUDA is not available"):
        prof = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])
    with prof:
        lamina.ones(2).exp()
    assert "aten::exp" in keys(prof)
    with pytest.warns(UserWarning, match="CUDA is not available"):
        prof = profile(activities=[{ProfilerActivity.CUDA: []}])
    with prof:
        lamina.ones(2).exp()
    assert keys(prof) == []
    with pytest.raises(TypeError, match="Expected ProfilerActivity or dict, got <class 'str'>"):
        profile(activities=["CPU"])
    with pytest.raises(ValueError, match="specified more than once"):
        profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CPU])


def test_the_older_form():
    with autograd_profiler.profile(record_shapes=True) as prof:
        assert str(prof) == repr(prof) == "<unfinished profiler.profile>"
        with pytest.raises(RuntimeError, match="didn't finish running"):
            prof.key_averages()
        (lamina.ones(2, requires_grad=True) * 2).sum().backward()
    assert "MulBackward0" in {e.name for e in prof.function_events}
    assert str(prof) == prof.table() and "MulBackward0" in prof.table(sort_by="self_cpu_time_total", row_limit=9)
    assert prof.total_average().count == len(prof.function_events)
    assert prof.self_cpu_time_total == pytest.approx(prof.function_events.self_cpu_time_total)
    with pytest.raises(RuntimeError, match="not reentrant"):
        prof.__enter__()
    with autograd_profiler.profile(enabled=False) as off:
        assert autograd_profiler._active is None
    with pytest.raises(RuntimeError):
        off.key_averages()
    with pytest.warns(UserWarning, match="CUDA is not available"):
        autograd_profiler.profile(use_cuda=True)


def test_names_of_the_module():
    torch = need_torch()
    ours, theirs = set(profiler.__all__), set(torch.profiler.__all__)
    assert ours <= theirs and theirs - ours == {"DeviceType", "ExecutionTraceObserver"}
    assert lamina.profiler is profiler and lamina.autograd.profiler is autograd_profiler
    names = {m.name for m in ProfilerAction}
    assert names == {m.name for m in torch.profiler.ProfilerAction}
    assert {m.name for m in ProfilerActivity} <= set(dir(torch.profiler.ProfilerActivity))


def test_no_warnings_with_onednn_or_without():
    if loader.load() is None:
        pytest.skip("oneDNN is not installed here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        profile_nothing()
