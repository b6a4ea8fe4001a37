"""Python's ``multiprocessing``, with tensors that processes can share, as in ``torch.multiprocessing``.

A tensor after ``share_memory_()`` (a module after ``share_memory()``) lies in memory that all processes see: what one writes the
others read. Through a queue or as an argument such a tensor is handed on as it is, on Linux; any other tensor is copied.
"""

from __future__ import annotations

import multiprocessing as _stdlib
from multiprocessing import *  # noqa: F403
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.autograd import graph
from lamina.multiprocessing import shared
from lamina.multiprocessing.spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)
from lamina.nn.parameter import Buffer, Parameter

__all__ = [  # noqa: PLE0604
    *_stdlib.__all__, "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext",
    "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip

_STRATEGY = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """How memory may be shared: by file descriptors."""
    return {_STRATEGY}


def get_sharing_strategy() -> str:
    """``"file_descriptor"``."""
    return _STRATEGY


def set_sharing_strategy(new_strategy: str) -> None:
    """Accepts ``"file_descriptor"``, and ``"file_system"``, PyTorch's other one, which changes nothing here."""
    if new_strategy not in (_STRATEGY, "file_system"):
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {get_all_sharing_strategies()}")


def init_reductions() -> None:
    """Let queues and arguments of processes hand on shared tensors as they are; done when this module is imported."""
    for kind in (Tensor, Parameter, Buffer):
        ForkingPickler.register(kind, _reduce)


def _reduce(t: Any) -> Any:
    if not t.is_leaf and t._requires:
        raise RuntimeError(
            "a tensor that requires a gradient and is no leaf cannot go to another process, which lacks its history: detach() it"
        )
    block = shared.map_of(t._a)
    if block is None or block.fd < 0:
        return t.__reduce_ex__(2)
    from multiprocessing.reduction import DupFd

    start = np.frombuffer(block, np.uint8).ctypes.data
    geometry = t._a.shape, t._a.dtype, t._a.ctypes.data - start, t._a.strides
    _, (kind, _, requires, extra) = t.__reduce_ex__(2)
    return _attached, (DupFd(block.fd), len(block), geometry, kind, requires, extra)


def _attached(descriptor: Any, nbytes: int, geometry: Any, kind: type, requires: bool, extra: dict[str, Any]) -> Any:
    shape, dtype, offset, strides = geometry
    block = shared.attach(descriptor.detach(), nbytes)
    t: Any = object.__new__(kind)
    t._a = np.ndarray(shape, dtype, np.frombuffer(block, np.uint8), offset, strides)
    t._requires = requires
    t.__dict__.update(extra)
    graph.expose(t)
    return t


init_reductions()
