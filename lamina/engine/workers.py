"""A loop over blocks of arrays, shared among threads: NumPy lets go of the interpreter while it computes.

The threads are Python's. They are started when they are first of use, and a forked child starts its own. oneDNN's are of
another kind (``onednn/threads.py``), whose number is taken here, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from lamina.engine.onednn import threads

__all__ = ["share"]

# So many items, unless they are large, make it worth waking another thread, which takes some tens of microseconds.
ENOUGH = 8


class _Job:
    """One helper's part in a loop. Whoever takes `claim` does it: the helper, or its caller if all is done by then."""

    __slots__ = ("work", "items", "claim", "done", "error")

    def __init__(self, work: Callable[[Any], None], items: Iterator[Any]) -> None:
        self.work, self.items = work, items
        self.claim, self.done = threading.Lock(), threading.Lock()
        self.done.acquire()
        self.error: BaseException | None = None


_jobs: SimpleQueue[_Job] = SimpleQueue()
_helpers = 0
_growing = threading.Lock()


def _help(jobs: SimpleQueue[_Job]) -> None:
    np.seterr(all="ignore")  # of this thread only; kernels run without NumPy's warnings
    while True:
        job = jobs.get()
        if job.claim.acquire(blocking=False):
            try:
                for item in job.items:
                    job.work(item)
            except BaseException as error:  # noqa: B036  # raised again by the caller
                job.error = error
            job.done.release()
        del job


def _grow(count: int) -> None:
    global _helpers
    with _growing:
        while _helpers < count:
            threading.Thread(target=_help, args=(_jobs,), name="lamina worker", daemon=True).start()
            _helpers += 1


def share(work: Callable[[Any], None], items: Sequence[Any], each: int = ENOUGH // 2) -> None:
    """Call ``work`` with every item, on all threads that have ``each`` of them or more to do, and in any order."""
    helpers = min(threads.get_num_threads(), len(items) // each) - 1
    if helpers < 1:
        for item in items:
            work(item)
        return
    if _helpers < helpers:
        _grow(helpers)
    left = iter(items)  # handed out one by one: an iterator of a range or list is safe to share
    jobs = [_Job(work, left) for _ in range(helpers)]
    for job in jobs:
        _jobs.put(job)
    try:
        for item in left:
            work(item)
    finally:
        for _ in left:  # after an error
            pass
        for job in jobs:
            if not job.claim.acquire(blocking=False):
                job.done.acquire()
    for job in jobs:
        if job.error is not None:
            raise job.error


def _after_fork_in_child() -> None:
    global _jobs, _helpers, _growing
    _jobs, _helpers, _growing = SimpleQueue(), 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
