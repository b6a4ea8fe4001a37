"""Several Python threads at once, the number of threads, and the child of a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support import at_once

import lamina
from lamina.engine import engine, kernels
from lamina.engine.onednn import loader, threads

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(loader.load() is None, reason=f"no oneDNN: {loader.problem()}")
F32 = np.float32


def run_python(code: str, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LAMINA_", "GOMP_", "OMP_"))}
    return subprocess.run([sys.executable, "-c", code], env={**clean, "PYTHONPATH": str(ROOT), **environment},
                          capture_output=True, text=True, timeout=timeout)


@pytest.fixture
def count():
    """The number of threads before the test, which is restored."""
    before = threads.get_num_threads()
    yield before
    threads.set_num_threads(before)


def dilated(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return lamina.nn.functional.conv2d(lamina.from_numpy(x), lamina.from_numpy(w), padding=2, dilation=2).numpy()


def jobs() -> list[tuple]:
    """(function, its arguments, the expected result) for some of every kind of primitive."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 16, 12, 12)).astype(F32), rng.standard_normal((24, 16, 3, 3)).astype(F32)
    a, b = rng.standard_normal((96, 80)).astype(F32), rng.standard_normal((64, 80)).astype(F32)
    big = rng.standard_normal(50_000).astype(F32)
    cases = [("linear", (a, b, np.ones(64, F32))), ("relu", (big,)), ("sigmoid", (big,)), ("softmax", (a, 1))]
    work = [(getattr(kernels, name).fast, args, np.array(getattr(kernels, name).reference(*args))) for name, args in cases]
    with engine("reference"):
        expected = dilated(x, w)
    return [*work, (dilated, (x, w), expected)]


def right(function, args, expected) -> bool:
    result = function(*args)
    return result is not NotImplemented and np.allclose(result, expected, rtol=1e-4, atol=1e-4)


def test_several_python_threads_share_plans():
    work = jobs()
    assert all(right(*job) for job in work)
    wrong: list = []
    start = threading.Barrier(4)

    def run(first: int) -> None:
        start.wait()
        for i in range(60):
            job = work[(first + i) % len(work)]
            if not right(*job):
                wrong.append(job[0].__name__)

    at_once(run, 4)
    assert not wrong


def test_plans_made_in_one_thread_run_in_another():
    threads.set_num_threads(threads.get_num_threads())
    for forget in threads._forget:
        forget()
    work, results = jobs(), []
    maker = threading.Thread(target=lambda: results.extend(right(*job) for job in work))
    maker.start()
    maker.join()
    results.extend(right(*job) for job in work)
    assert results == [True] * (2 * len(work))


def test_number_of_threads(count):
    work = jobs()
    for n in (1, 2, 3, 1, count):
        lamina.set_num_threads(n)
        assert lamina.get_num_threads() == n
        assert all(right(*job) for job in work)
        assert threads.local.count == n
        seen = []
        other = threading.Thread(target=lambda seen=seen: (right(*work[1]), seen.append(threads.local.count)))
        other.start()
        other.join()
        assert seen == [n]      # OpenMP counts per thread: each Python thread must have been told


def test_number_of_threads_changes_while_others_compute(count):
    work, wrong, stop = jobs(), [], threading.Event()

    def run() -> None:
        while not stop.is_set():
            wrong.extend(job[0].__name__ for job in work if not right(*job))

    workers = [threading.Thread(target=run) for _ in range(2)]
    for worker in workers:
        worker.start()
    for n in (1, 2, 1, 3, 1, 2):
        threads.set_num_threads(n)
    stop.set()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("wrong, error", [
    (0, RuntimeError), (-2, RuntimeError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_wrong_numbers_of_threads(wrong, error, count):
    with pytest.raises(error, match="set_num_threads"):
        lamina.set_num_threads(wrong)
    assert lamina.get_num_threads() == count


def test_default_number_of_threads():
    code = "import lamina\nprint(lamina.get_num_threads())"
    assert run_python(code, OMP_NUM_THREADS="3").stdout == "3\n"
    assert run_python(code, OMP_NUM_THREADS="2,4").stdout == "2\n"
    mine = int(run_python(code).stdout)
    assert 1 <= mine <= len(os.sched_getaffinity(0))


FORK = """
import os, signal, sys, threading, time
import numpy as np
import lamina
from lamina.engine import kernels
from lamina.engine.onednn import threads

rng = np.random.default_rng(0)
x = lamina.from_numpy(rng.standard_normal((2, 16, 12, 12)).astype("f4"))
w = lamina.from_numpy(rng.standard_normal((24, 16, 3, 3)).astype("f4"))
big = rng.standard_normal(100_000).astype("f4")
square = rng.standard_normal((200, 200)).astype("f4")

def work():
    y = lamina.nn.functional.conv2d(x, w, padding=2, dilation=2).numpy()
    z = kernels.linear(square, square, None)
    r = kernels.relu(big)
    return [np.array(y), z, r]

threads.set_num_threads(2)
before = work()
HERE
pid = os.fork()
if pid == 0:
    signal.alarm(30)                 # a hang ends the child with a signal
    after = work()
    same = all(np.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(before, after))
    ok = same and threads.get_num_threads() == 1 and kernels.conv.fast_calls >= 2 and NESTED
    os._exit(0 if ok else 3)
status = os.waitpid(pid, 0)[1]
after = work()                       # the parent goes on with its threads
assert threads.get_num_threads() == 2
assert all(np.array_equal(a, b) for a, b in zip(before, after))
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("before", [
    "",
    "t = threading.Thread(target=work); t.start(); t.join()",
    # another thread makes plans while we fork
    "stop = []\ndef busy():\n  n = 50_000\n  while not stop:\n    n += 1; kernels.relu(np.ones(n, 'f4'))\n"
    "t = threading.Thread(target=busy, daemon=True); t.start(); time.sleep(0.05)",
], ids=["alone", "after a thread", "beside a thread"])
def test_fork_after_parallel_work(before):
    code = FORK.replace("HERE", before).replace("NESTED", "True")
    if "busy" in before:
        code = code.replace("status = os.waitpid", "stop.append(1); t.join()\nstatus = os.waitpid")
    done = run_python(code, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert done.stdout == "0\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork_of_a_fork_and_threads_in_the_child():
    nested = """child()

def child():
    import warnings
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        threads.set_num_threads(2)
    told = threads.get_num_threads() == 1 and "stays at one thread" in str(seen[0].message)
    done = []
    t = threading.Thread(target=lambda: done.append(len(work())))
    t.start(); t.join()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20); work(); os._exit(0)
    return told and done == [3] and os.waitpid(pid, 0)[1] == 0
"""
    call, function = nested.split("\n", 1)
    code = FORK.replace("HERE", function).replace("NESTED", call)
    done = run_python(code, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert done.stdout == "0\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_fork_before_the_library_is_loaded_leaves_the_child_its_threads():
    code = """
import os
import lamina
lamina.set_num_threads(2)
pid = os.fork()
if pid == 0:
    from lamina.engine import kernels
    import numpy as np
    kernels.relu(np.ones(100_000, "f4"))
    os._exit(0 if lamina.get_num_threads() == 2 and kernels.relu.fast_calls == 1 else 3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = run_python(code)
    assert done.stdout == "0\n", done.stderr


def test_interpreter_ends_cleanly_with_plans_and_memory_alive():
    code = """
import numpy as np
from lamina.engine import kernels, memory
keep = [kernels.relu(np.ones(1_000_000, "f4")), memory.empty((1_000_000,))]
ring = [keep]; ring.append(ring)
print("end")
"""
    done = run_python(code)
    assert done.returncode == 0 and done.stdout == "end\n" and not done.stderr
