"""`DataLoader`: batches of samples, made in this process or in worker processes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import multiprocessing.context
import os
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from lamina.multiprocessing import shared
from lamina.utils.data._collate import default_collate, default_convert
from lamina.utils.data._transfer import Arrivals
from lamina.utils.data._worker import Failure, IterableEnded, Resumed, get_worker_info, worker_loop
from lamina.utils.data.dataset import Dataset, IterableDataset, rows_of
from lamina.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, random_seed

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)


class _InfiniteConstantSampler(Sampler[None]):
    """What stands for keys with an iterable-style dataset."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None


class _MapFetcher:
    """From keys to a batch, out of a map-style dataset."""

    can_end = False

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Any, drop_last: bool) -> None:
        self.dataset, self.auto_collation, self.collate_fn = dataset, auto_collation, collate_fn

    def fetch(self, keys: Any) -> Any:
        if not self.auto_collation:
            return self.collate_fn(self.dataset[keys])
        if self.collate_fn is default_collate:
            batch = rows_of(self.dataset, keys)
            if batch is not None:
                return batch
        if getattr(self.dataset, "__getitems__", None):
            return self.collate_fn(self.dataset.__getitems__(keys))
        return self.collate_fn([self.dataset[key] for key in keys])


class _IterableFetcher:
    """The next batch out of an iterable-style dataset."""

    can_end = True

    def __init__(self, dataset: Any, auto_collation: bool, collate_fn: Any, drop_last: bool) -> None:
        self.samples = iter(dataset)
        self.auto_collation, self.collate_fn, self.drop_last = auto_collation, collate_fn, drop_last
        self.ended = False

    def fetch(self, keys: Any) -> Any:
        if self.ended:
            raise StopIteration
        if not self.auto_collation:
            return self.collate_fn(next(self.samples))
        data = list(itertools.islice(self.samples, len(keys)))
        self.ended = len(data) < len(keys)
        if not data or (self.ended and self.drop_last):
            raise StopIteration
        return self.collate_fn(data)


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    Args:
        dataset (Dataset): where the samples come from: anything with `__getitem__` and `__len__`, or an IterableDataset.
        batch_size (int, optional): samples per batch; None hands out single samples. Default: 1.
        shuffle (bool, optional): whether the order is drawn anew each time. Default: False.
        sampler (Sampler or iterable, optional): the keys in their order.
        batch_sampler (Sampler or iterable, optional): lists of keys, one per batch.
        num_workers (int): how many worker processes make the batches; 0 makes them in this process.
        collate_fn (callable, optional): makes a batch of a list of samples. Default: `default_collate`.
        pin_memory (bool): of no effect, with a warning: there is no accelerator.
        drop_last (bool): whether a last, smaller batch is left out.
        timeout (float): seconds to wait for a batch of a worker; 0 waits for ever.
        worker_init_fn (callable, optional): called with the worker's number in each worker at its start.
        multiprocessing_context (str or context, optional): how worker processes are started.
        generator (Generator, optional): the source of the shuffle and of the workers' seeds.
        prefetch_factor (int, optional): batches that each worker prepares in advance. Default: 2.
        persistent_workers (bool): whether workers stay alive from one pass over the data to the next.
        pin_memory_device (str): of no effect.
        in_order (bool): whether batches of several workers come in the order of the sampler.

    Raises:
        ValueError: arguments that exclude each other or are out of range.

    With the same seed the order of samples is PyTorch's. A progress bar is one line, ``for batch in tqdm(loader):``, as the
    loader knows its length. Large arrays come from workers through shared memory on Linux.

    >>> loader = DataLoader(TensorDataset(lamina.arange(5)), batch_size=2)
    >>> [batch.tolist() for (batch,) in loader]
    [[0, 1], [2, 3], [4]]
    """

    dataset: Any
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Any
    batch_sampler: Any
    pin_memory_device: str
    prefetch_factor: int | None
    collate_fn: Any
    _iterator: Any
    _initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(f"num_workers option should be non-negative, but got {num_workers}")
        if timeout < 0:
            raise ValueError(f"timeout option should be non-negative, but got {timeout}")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError("prefetch_factor is for worker processes: set num_workers > 0, or leave it None")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError(f"prefetch_factor must be at least 1, but got {prefetch_factor}")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        iterable = isinstance(dataset, IterableDataset)
        if iterable:
            for name, value in (("shuffle", shuffle or None), ("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value is not None:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )

        if sampler is None:
            if iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]

        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.persistent_workers = persistent_workers
        self._is_iterable = iterable
        self._reported_length: int | None = None  # what len() has said of an iterable-style dataset
        self._iterator = None
        self._initialized = True
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self) -> Any:
        """How worker processes are started; None for Python's default."""
        return self._multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0), "
                    f"but got num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        f"multiprocessing_context option should specify a valid start method in {methods!r}, "
                        f"but got multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying the start "
                    f"method, but got multiprocessing_context={context}"
                )
        self._multiprocessing_context = context

    def __setattr__(self, attr: str, val: Any) -> None:
        fixed = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
        if self._initialized and attr in fixed:
            raise ValueError(f"{attr} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(attr, val)

    def __iter__(self) -> Iterator[Any]:
        if not self.persistent_workers:
            return self._get_iterator()
        if self._iterator is None:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    def _get_iterator(self) -> _Iterator:
        return _SingleProcessIterator(self) if self.num_workers == 0 else _MultiProcessIterator(self)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def __len__(self) -> int:
        if not self._is_iterable:
            return len(self._index_sampler)
        length = self._reported_length = len(self.dataset)
        if self.batch_size is None:
            return length
        full, rest = divmod(length, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def check_worker_number_rationality(self) -> None:
        """Warn where there are more worker processes than processors that they may run on."""
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if available is not None and self.num_workers > available:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes, but this process may run on "
                f"{available} processors only, so loading may be slower than with num_workers={available}",
                stacklevel=3,
            )


class _Iterator:
    """One pass over the data."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._is_iterable = loader._is_iterable
        self._dataset = loader.dataset
        self._reported_length = loader._reported_length
        self._index_sampler = loader._index_sampler
        self._make_fetcher = partial(
            _IterableFetcher if loader._is_iterable else _MapFetcher,
            loader.dataset,
            loader._auto_collation,
            loader.collate_fn,
            loader.drop_last,
        )
        self._num_workers = loader.num_workers
        self._num_yielded = 0
        if loader.pin_memory:
            warnings.warn(
                "pin_memory has no effect: there is no accelerator to copy to", stacklevel=4
            )
        self._keys = iter(self._index_sampler)
        # PyTorch draws the workers' seed at this point even where there are no workers.
        self._base_seed = random_seed(loader.generator)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._index_sampler)

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        length = self._reported_length
        if length is not None and self._num_yielded > length:
            warnings.warn(
                f"Length of IterableDataset {self._dataset} was reported to be {length} (when accessing "
                f"len(dataloader)), but {self._num_yielded} samples have been fetched."
                + (
                    " With worker processes, each iterates over its own copy of the dataset: see get_worker_info()."
                    if self._num_workers
                    else ""
                ),
                stacklevel=2,
            )
        return data

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")


class _SingleProcessIterator(_Iterator):
    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        if loader.timeout:
            raise AssertionError(f"a timeout is for worker processes, but num_workers=0 and timeout={loader.timeout}")
        self._fetcher = self._make_fetcher()

    def _next_data(self) -> Any:
        return self._fetcher.fetch(next(self._keys))


class _Worker:
    """The parent's side of a worker process."""

    def __init__(self, context: Any, number: int, iterator: _MultiProcessIterator, init_fn: Any) -> None:
        tasks, self.tasks = context.Pipe(duplex=False)
        # Sockets on Unix, which descriptors can travel through.
        self.results, results = context.Pipe(duplex=shared.CAN_SEND)
        self.arrivals = Arrivals()
        self.process = context.Process(
            target=worker_loop,
            args=(
                iterator._make_fetcher,
                iterator._dataset,
                tasks,
                results,
                iterator._base_seed,
                init_fn,
                number,
                iterator._num_workers,
            ),
            daemon=True,
        )
        self.process.start()
        tasks.close()
        results.close()
        self.ended = False  # an iterable-style dataset has no more samples in it
        self.outstanding = 0

    def died(self) -> RuntimeError:
        code = self.process.exitcode
        return RuntimeError(
            f"DataLoader worker (pid(s) {self.process.pid}) exited unexpectedly"
            + (f", killed by signal {-code}" if code is not None and code < 0 else f" with exit code {code}")
        )


class _MultiProcessIterator(_Iterator):
    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._prefetch = loader.prefetch_factor
        self._in_order = loader.in_order
        self._timeout = loader.timeout
        self._persistent = loader.persistent_workers
        self._closed = False
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _stop, self._workers)
        context = loader.multiprocessing_context or multiprocessing.get_context()
        for number in range(self._num_workers):
            self._workers.append(_Worker(context, number, self, loader.worker_init_fn))
        self._begin()

    def _reset(self, loader: DataLoader[Any]) -> None:
        """Begin another pass with the same (persistent) workers."""
        self._keys = iter(self._index_sampler)
        self._num_yielded = 0
        self._reported_length = loader._reported_length
        for worker in self._workers:
            self._send(worker, Resumed())
        waiting = set(self._workers)
        while waiting:  # batches of the pass before that nobody fetched come first
            worker, (number, _) = self._receive(waiting)
            if isinstance(number, Resumed):
                waiting.remove(worker)
        self._begin()

    def _begin(self) -> None:
        self._sent = 0  # tasks numbered so far
        self._next = 0  # the task whose batch is handed out next
        self._owners: dict[int, _Worker] = {}  # tasks under way
        self._arrived: dict[int, Any] = {}  # batches that came before their turn
        for worker in self._workers:
            worker.ended, worker.outstanding = False, 0
        self._turns = itertools.cycle(self._workers)
        for _ in range(self._prefetch * self._num_workers):  # type: ignore[operator]
            self._assign()

    def _send(self, worker: _Worker, task: Any) -> None:
        try:
            worker.tasks.send(task)
        except OSError:
            worker.process.join(timeout=1)
            raise worker.died() from None

    def _assign(self) -> None:
        """Give the next keys, if there are any, to the next worker in turn."""
        alive = [w for w in self._workers if not w.ended]
        if not alive:
            return
        most = self._prefetch * self._num_workers // len(alive)  # type: ignore[operator]
        for worker in itertools.islice(self._turns, self._num_workers):
            if not worker.ended and (self._in_order or worker.outstanding < most):
                break
        else:
            return
        try:
            keys = next(self._keys)
        except StopIteration:
            return
        self._send(worker, (self._sent, keys, worker.arrivals.returned()))
        worker.outstanding += 1
        self._owners[self._sent] = worker
        self._sent += 1

    def _receive(self, workers: Iterable[_Worker]) -> tuple[_Worker, Any]:
        """Wait for the next message of any of `workers`."""
        by_pipe = {w.results: w for w in workers}
        by_process = {w.process.sentinel: w for w in workers}
        ready = connection.wait([*by_pipe, *by_process], self._timeout or None)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
        for pipe in ready:  # a message that a worker sent before its end counts more than its end
            if pipe in by_pipe:
                worker = by_pipe[pipe]
                try:
                    return worker, worker.arrivals.receive(pipe)
                except (EOFError, OSError):
                    break
        else:
            worker = by_process[ready[0]]
        worker.process.join(timeout=1)
        raise worker.died()

    def _next_data(self) -> Any:
        if self._closed:
            raise StopIteration
        try:
            return self._fetch()
        except StopIteration:
            if not self._persistent:
                self._close()
            raise

    def _fetch(self) -> Any:
        while self._owners or self._arrived:
            if self._next in self._arrived:
                return self._hand_out(self._arrived.pop(self._next))
            if self._in_order and self._next not in self._owners:
                self._next += 1  # the task of a worker that had no more samples
                continue
            worker, (number, data) = self._receive({*self._owners.values()})
            del self._owners[number]
            worker.outstanding -= 1
            if isinstance(data, IterableEnded):
                worker.ended = True
                self._assign()
            elif not self._in_order or number == self._next:
                return self._hand_out(data)
            else:
                self._arrived[number] = data
        raise StopIteration

    def _hand_out(self, data: Any) -> Any:
        self._next += 1
        self._assign()
        if isinstance(data, Failure):
            data.reraise()
        return data

    def _close(self) -> None:
        """Stop the workers; also called when the iterator is no longer used, and at the end of the program."""
        self._closed = True
        self._finalizer()


def _stop(workers: list[_Worker]) -> None:
    """Tell the workers to end, and give them a moment to finish what they are doing."""
    for worker in workers:
        # Closing the results' end first frees a worker that waits to send a batch that nobody wants.
        worker.results.close()
        with contextlib.suppress(OSError):
            worker.tasks.send(None)
    deadline = time.monotonic() + 5
    for worker in workers:
        worker.process.join(timeout=max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(timeout=1)
        worker.tasks.close()
