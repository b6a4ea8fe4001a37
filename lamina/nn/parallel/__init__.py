"""Layers on several devices, as in ``torch.nn.parallel``: on a machine with one, a module runs as it is."""

from __future__ import annotations

from lamina.nn.parallel.data_parallel import DataParallel, data_parallel
from lamina.nn.parallel.distributed import DistributedDataParallel
from lamina.nn.parallel.replicas import parallel_apply, replicate
from lamina.nn.parallel.scatter_gather import gather, scatter

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter"]
