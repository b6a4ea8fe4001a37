"""A process that holds one of the two libraries and runs a case when it is told to.

Two OpenMP pools in one process take each other's cores, so torch and lamina live apart. Requests and answers
are lines of JSON on stdin and stdout: ``{"prepare": LABEL}``, ``{"burst": CALLS}``, ``{"memory": LABEL}``,
``{"work": LABEL}``, ``{"peak": true}``, ``{"info": true}``.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from typing import Any

import numpy as np

from benchmarks import peak
from benchmarks.growth import cases as grown
from benchmarks.rows import Case, Step, cases

WARM = 0.02  # seconds of calls before those that are timed
LONG = 0.3  # seconds: a call that needs no other before it to wake anything


def info(library: str, torch: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "numpy": np.__version__,
    }
    if library == "lamina":
        from contextlib import redirect_stdout
        from io import StringIO

        with redirect_stdout(StringIO()) as text:
            torch.show_config()
        facts["config"] = [line for line in text.getvalue().splitlines() if "library" not in line]  # no path of a machine
    return facts


def summary(result: Any) -> list[float]:
    """A few numbers that two equal results share: size, mean, root mean square, first and last element."""
    values = np.asarray(result.detach().numpy(), dtype="float64").ravel()
    if not values.size:
        return [0.0]
    return [values.size, values.mean(), np.sqrt((values**2).mean()), values[0], values[-1]]


def warm(step: Step) -> None:
    """Call for a while: that wakes sleeping threads, refills the caches, and lets the system give each thread a core."""
    end = time.perf_counter() + WARM
    step()
    while time.perf_counter() < end:
        step()


def seconds(step: Step, calls: int, cold: bool = True) -> float:
    if cold:
        warm(step)
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def settle(tick: float = 0.004) -> None:
    """Wait until this process's threads sleep, so that they do not take a core from the other library's turn.

    OpenMP's threads spin for 10 ms after their work, those of ONNX Runtime for 40.
    """
    for _ in range(100):
        before = time.process_time()
        time.sleep(tick)
        if time.process_time() - before < tick / 8:
            return


def held() -> int:
    """The most memory that this process has held so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(case: Case, torch: Any) -> int:
    """How far three calls of a case, and what it is made of, raise the peak; meaningful once per process.

    A tiny case goes before: what a library loads when it is first used is not the row's.
    """
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    before = held()
    step = case.prepare(torch)
    for _ in range(3):
        step()
    return held() - before


def main() -> None:
    library, threads = sys.argv[1], int(sys.argv[2])
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not mix with the answers
    torch = importlib.import_module(library)
    importlib.import_module(f"{library}.nn")
    torch.set_num_threads(threads)
    known, step, lasts = cases() | grown(), None, 0.0
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            if "info" in request:
                answer = info(library, torch)
            elif "prepare" in request:
                step = None
                gc.collect()
                step = known[request["prepare"]].prepare(torch)
                result = summary(step())
                lasts = seconds(step, 1, cold=False)
                if lasts < LONG:
                    lasts = seconds(step, 2)
                answer = {"summary": result, "seconds": lasts}
            elif "memory" in request:
                answer = {"bytes": growth(known[request["memory"]], torch)}
            elif "work" in request:
                answer = {"work": known[request["work"]].work(torch)}
            elif "peak" in request:
                answer = peak.measure(torch, threads)
            else:
                assert step is not None
                answer = {"seconds": seconds(step, request["burst"], cold=lasts < LONG)}
        except Exception as error:  # a missing layer is a finding of the benchmark, not its end
            answer = {"error": f"{type(error).__name__}: {error}"}
        settle()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
