"""Worker processes of a DataLoader: each gets keys through one pipe and sends batches back through another.

The pipes are a worker's own, and the parent waits on all of them and on the processes themselves at once. So a worker
that dies is noticed at once, and no lock can be left locked by it.
"""

from __future__ import annotations

import queue
import random
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, parent_process
from typing import Any

import numpy as np

from lamina.engine.onednn.threads import set_num_threads
from lamina.random import manual_seed
from lamina.utils.data import _transfer

__all__ = ["Failure", "IterableEnded", "WorkerInfo", "Resumed", "get_worker_info", "worker_loop"]


@dataclass(frozen=True)
class WorkerInfo:
    """What a worker process knows of itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process: its `id`, the `num_workers`, its `seed` and its copy of the `dataset`; elsewhere None."""
    return _worker_info


class Resumed:
    """A request to begin anew (to persistent workers), and the answer to it."""


class IterableEnded:
    """The answer of a worker whose copy of an iterable-style dataset has no more samples."""


class Failure:
    """An exception of a worker on its way to the parent, with its traceback as text."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind = type(error)
        self.text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.where = where

    def reraise(self) -> None:
        """Raise the exception, with the worker's traceback as its message."""
        message = f"Caught {self.kind.__name__} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            message = _Verbatim(message)  # str(KeyError) shows its argument's repr
        try:
            error = self.kind(message)
        except Exception:  # a constructor of another form
            error = RuntimeError(message)
        # A StopIteration would end the parent's loop as if there were no more samples.
        raise RuntimeError(message) if isinstance(error, StopIteration) else error


class _Verbatim(str):
    def __repr__(self) -> str:
        return str(self)


def _message(outlet: _transfer.Outlet, answer: Any, where: str) -> Any:
    try:
        return outlet.message(answer)
    except Exception as error:  # a sample that cannot be pickled, or an exception class that cannot
        failure = Failure(error, where)
        if isinstance(answer[1], Failure):
            failure.text = answer[1].text
        failure.kind = RuntimeError
        return outlet.message((answer[0], failure))


def _send_from(outbox: queue.SimpleQueue[Any], results: Any) -> None:
    while True:
        try:
            _transfer.send(results, outbox.get())
        except OSError:  # the parent has closed its end
            return


def worker_loop(
    make_fetcher: Callable[[], Any],
    dataset: Any,
    tasks: Any,
    results: Any,
    base_seed: int,
    init_fn: Callable[[int], None] | None,
    worker_id: int,
    num_workers: int,
) -> None:
    """What a worker process runs until it is told to stop or its parent is gone."""
    global _worker_info
    set_num_threads(1)
    seed = base_seed + worker_id
    random.seed(seed)
    manual_seed(seed)
    words = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    np.random.seed(np.random.SeedSequence(words).generate_state(4))
    _worker_info = WorkerInfo(worker_id, num_workers, seed, dataset)

    where = f"in DataLoader worker process {worker_id}"
    # Results leave through a thread, so that this one is always ready to take tasks: otherwise both sides could wait
    # for the other to read.
    outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sender = threading.Thread(target=_send_from, args=(outbox, results), daemon=True)
    sender.start()
    outlet = _transfer.begin()
    failed: Failure | None = None
    fetcher: Any = None
    try:
        try:
            if init_fn is not None:
                init_fn(worker_id)
            fetcher = make_fetcher()
        except Exception as error:
            failed = Failure(error, where)
        parent = parent_process()
        watched: list[Any] = [tasks] if parent is None else [tasks, parent.sentinel]
        while tasks in connection.wait(watched):
            task = tasks.recv()
            if task is None:
                break
            if isinstance(task, Resumed):
                outbox.put(_message(outlet, (task, None), where))
                try:
                    fetcher, failed = make_fetcher(), None
                except Exception as error:
                    failed = Failure(error, where)
                continue
            number, keys, returned = task
            outlet.free(returned)
            answer: Any
            try:
                answer = failed if failed is not None else fetcher.fetch(keys)
            except Exception as error:
                ended = isinstance(error, StopIteration) and fetcher.can_end
                answer = IterableEnded() if ended else Failure(error, where)
            outbox.put(_message(outlet, (number, answer), where))
            del answer, task, keys, returned
        # What is still in the outbox nobody waits for: the parent stops a worker only once it wants no more batches.
    except (KeyboardInterrupt, EOFError, OSError):
        return  # interrupted together with the parent, or the parent is gone
