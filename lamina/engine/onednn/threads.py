"""How many threads oneDNN may use, per process, and what happens to them across a fork.

oneDNN runs on OpenMP. OpenMP keeps its thread count per calling thread, so every Python thread that runs a
primitive must be told the count first: each prepared call (`core.plan`) compares `local.count`, the count
that this thread was last told, with the count that the primitive was made for (its scratch memory is cut
for that many).

After a fork the child has no OpenMP threads although the OpenMP runtime believes it has: a parallel region
would wait for them for ever. So a child runs with one thread, and drops every cached primitive, because
some have the parent's count built in. The lock that guards the making of primitives is held over the fork,
so a child never inherits it taken by a thread that it does not have.
"""
from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from . import loader


class _Local(threading.local):
    count = 0        # the class's value is what a thread that was never told reads
    light = False    # whether what this thread is preparing is too little work for several threads


local = _Local()
making = threading.RLock()          # held while oneDNN makes objects, and over a fork
_count = 0                          # 0: not decided yet
_forked = False
_forget: list[Callable[[], None]] = []      # what drops cached primitives


def get_num_threads() -> int:
    """The number of threads that the engine uses; by default one per physical core it may run on."""
    global _count
    if not _count:
        _count = _default()
    return _count


def set_num_threads(count: int) -> None:
    """Use `count` threads from the next engine call on, in every Python thread."""
    global _count
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"set_num_threads: expected an int, but got {type(count).__name__}")
    if count < 1:
        raise RuntimeError(f"set_num_threads: expected a positive number of threads, but got {count}")
    if _forked:
        if count > 1:
            warnings.warn("set_num_threads: the child of a fork stays at one thread, because OpenMP's threads do not "
                          "survive a fork", RuntimeWarning, stacklevel=2)
        return
    if count != get_num_threads():
        with making:
            _count = count
            for forget in _forget:
                forget()


# Multiplications up to which a primitive is quicker on one thread: waking another, and waiting for it, takes 2 us at best, and
# where it sleeps, or other programs have its core, hundreds.
LIGHT = 500_000


@contextmanager
def for_work(products: int) -> Iterator[None]:
    """Prepare primitives, within, for one thread if their work is light."""
    before = local.light
    local.light = products <= LIGHT
    try:
        yield
    finally:
        local.light = before


def planned() -> int:
    """The number of threads to prepare a primitive for."""
    return 1 if local.light else get_num_threads()


def on_change(forget: Callable[[], None]) -> None:
    """Call `forget` when cached primitives become invalid: another thread count, or the child of a fork."""
    _forget.append(forget)


def tell(count: int) -> None:
    """Tell OpenMP, for the calling Python thread, how many threads to use."""
    function = _omp_set_num_threads()
    if function is not None:
        function(count)
    local.count = count


_omp: Any = None


def _omp_set_num_threads() -> Any:
    global _omp
    if _omp is None:
        _omp = _find_omp() or False
    return _omp or None


def _find_omp() -> Any:
    library = loader.load()
    if library is None or library.runtime != "OpenMP":
        return None
    # ELF and Mach-O search a library's own dependencies; on Windows the runtime must be named.
    runtimes: list[Any] = [library.dll]
    if sys.platform == "win32":
        for name in ("vcomp140", "libiomp5md"):
            try:
                runtimes.append(ctypes.CDLL(name))
            except OSError:
                continue
    for runtime in runtimes:
        try:
            function = runtime.omp_set_num_threads
        except AttributeError:
            continue
        function.argtypes, function.restype = [ctypes.c_int], None
        return function
    return None


def _default() -> int:
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        cpus: Iterable[int] = os.sched_getaffinity(0)  # type: ignore[attr-defined,unused-ignore]
    except AttributeError:
        cpus = range(os.cpu_count() or 1)
    cores = {_core(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota()))


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _core(cpu: int) -> str:
    """A name that the hardware threads of one physical core share."""
    try:
        return _text(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    except OSError:
        return str(cpu)


def _quota() -> int:
    """The processors that a container's quota amounts to; more threads than that only wait for each other."""
    try:
        limit, period = _text("/sys/fs/cgroup/cpu.max").split()
        return max(1, -(-int(limit) // int(period)))
    except (OSError, ValueError):
        return 1 << 30


def _after_fork_in_child() -> None:
    global _count, _forked
    making.release()
    if loader.loaded():
        _count, _forked = 1, True
        for forget in _forget:
            forget()
        local.count = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=making.acquire, after_in_parent=making.release,
                        after_in_child=_after_fork_in_child)
