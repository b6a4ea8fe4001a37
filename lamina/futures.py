"""Results that come later, as in ``torch.futures``: within one process, set by whoever computes them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Future", "collect_all", "wait_all"]

_log = logging.getLogger(__name__)


class Future:
    """A result that somebody will set.

    Args:
        devices (list, optional): as in PyTorch, where a result's tensors may lie; there is the CPU only.

    >>> f = lamina.futures.Future()
    >>> g = f.then(lambda done: done.value() + 1)
    >>> f.set_result(1)
    >>> g.wait()
    2
    """

    def __init__(self, *, devices: Any = None) -> None:
        self._changed = threading.Condition()
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], Any]] = []

    def __class_getitem__(cls, item: Any) -> Any:
        return cls

    def done(self) -> bool:
        """Whether there is a result or an exception."""
        return self._done

    def wait(self) -> Any:
        """The result, once it is there; raises the exception, if it was one."""
        with self._changed:
            while not self._done:
                self._changed.wait()
        return self.value()

    def value(self) -> Any:
        """The result, which must be there; raises the exception, if it was one."""
        if not self._done:
            raise RuntimeError("value() of a Future that is not completed: wait() for it")
        if self._error is not None:
            raise self._error
        return self._result

    def _complete(self, result: Any, error: BaseException | None) -> None:
        with self._changed:
            if self._done:
                raise RuntimeError(
                    "Attempting to mark a completed Future as complete again. Note that a Future can only be marked completed "
                    "once."
                )
            self._result, self._error, self._done = result, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback(self)

    def set_result(self, result: Any) -> None:
        """Complete it with a result; RuntimeError if it is complete."""
        self._complete(result, None)

    def set_exception(self, result: Any) -> None:
        """Complete it with an exception, which :meth:`wait` will raise."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._complete(None, result)

    def _when_done(self, callback: Callable[[Future], Any]) -> None:
        with self._changed:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future], Any]) -> Future:
        """A future of ``callback(self)``, which is called when this one is complete."""
        following = Future()

        def run(done: Future) -> None:
            try:
                result = callback(done)
            except Exception as error:
                following.set_exception(
                    RuntimeError(f"Got the following error when running the callback: {type(error).__name__}: {error}")
                )
            else:
                following.set_result(result)

        self._when_done(run)
        return following

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Call ``callback(self)`` when this is complete; what it raises is logged and goes no further."""

        def run(done: Future) -> None:
            try:
                callback(done)
            except Exception:
                _log.exception("error in a callback of a Future")

        self._when_done(run)


def collect_all(futures: list[Future]) -> Future:
    """A future of the list of the given futures, complete when all are."""
    all_done = Future()
    waiting = len(futures)
    lock = threading.Lock()

    def one_done(_: Future) -> None:
        nonlocal waiting
        with lock:
            waiting -= 1
            last = waiting == 0
        if last:
            all_done.set_result(list(futures))

    if not futures:
        all_done.set_result([])
    for future in futures:
        future._when_done(one_done)
    return all_done


def wait_all(futures: list[Future]) -> list[Any]:
    """The results of all futures, once all are there; raises the first exception."""
    return [future.wait() for future in collect_all(futures).wait()]
