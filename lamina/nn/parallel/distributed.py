"""``DistributedDataParallel``: a model in several processes; it needs a process group, and lamina has none."""

from __future__ import annotations

from typing import Any

from lamina.nn.modules.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Raises ValueError when made: there is no process group (see :mod:`lamina.distributed`). For ``isinstance``."""

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0, broadcast_buffers: Any = None,
        init_sync: bool = True, process_group: Any = None, bucket_cap_mb: Any = None, find_unused_parameters: bool = False,
        check_reduction: bool = False, gradient_as_bucket_view: bool = False, static_graph: bool = False,
        delay_all_reduce_named_params: Any = None, param_to_hook_all_reduce: Any = None, mixed_precision: Any = None,
        device_mesh: Any = None, skip_all_reduce_unused_params: bool = False, bucket_cap_mb_list: list[int] | None = None,
        batched_grad_copy: bool = False, forward_sync_buffers: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        raise ValueError(
            "DistributedDataParallel needs a process group, and lamina runs in one process: use the module itself where "
            "lamina.distributed.is_available() is False"
        )
