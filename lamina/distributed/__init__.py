"""``torch.distributed`` of a build without it: ``is_available()`` is False, and whatever needs several processes raises.

Code that asks ``is_available()`` or ``is_initialized()`` first runs as it does in a single process.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

__all__ = [
    "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "GroupMember", "ProcessGroup", "ReduceOp", "Work",
    "default_pg_timeout", "group", "is_available", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available",
]  # fmt: skip

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


default_pg_timeout = timedelta(minutes=30)


class DistError(RuntimeError):
    """An error of PyTorch's process groups; never raised here."""


class DistBackendError(DistError):
    """An error of a communication library; never raised here."""


class DistNetworkError(DistError):
    """An error of the network; never raised here."""


class DistStoreError(DistError):
    """An error of a key-value store; never raised here."""


class ReduceOp(Enum):
    """How PyTorch combines the numbers of several processes."""

    SUM = 0
    AVG = 1
    PRODUCT = 2
    MIN = 3
    MAX = 4
    BAND = 5
    BOR = 6
    BXOR = 7
    PREMUL_SUM = 8


class ProcessGroup:
    """The type of a group of processes, for annotations; there is none."""


class Work:
    """The type of a communication under way, for annotations; there is none."""


class group:  # noqa: N801  # PyTorch's name
    """The group of all processes: none."""

    WORLD = None


class GroupMember:
    """What stands for groups that this process is in, or not in."""

    WORLD = None
    NON_GROUP_MEMBER = -100


def is_available() -> bool:
    """False: lamina has no process groups."""
    return False


def is_initialized() -> bool:
    """False: there is no process group."""
    return False


def is_torchelastic_launched() -> bool:
    """False: nothing was launched by PyTorch's launcher for lamina."""
    return False


def is_backend_available(backend: str) -> bool:
    """False: there is no communication library."""
    return False


is_gloo_available = is_mpi_available = is_nccl_available = is_ucc_available = is_xccl_available = is_available


def _refuser(name: str) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            f"distributed.{name}(): there is no process group, as lamina runs in one process. Ask is_available() or "
            "is_initialized() first"
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Raises ValueError: lamina runs in one process."
    return function


_NEED_A_GROUP = (
    "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_reduce_coalesced",
    "all_to_all", "all_to_all_single", "barrier", "batch_isend_irecv", "broadcast", "broadcast_object_list",
    "destroy_process_group", "gather", "gather_object", "get_backend", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_process_group_ranks", "get_rank", "get_world_size", "init_device_mesh", "init_process_group", "irecv", "isend",
    "monitored_barrier", "new_group", "new_subgroups", "recv", "recv_object_list", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter", "scatter_object_list", "send", "send_object_list",
)  # fmt: skip
globals().update({name: _refuser(name) for name in _NEED_A_GROUP})
