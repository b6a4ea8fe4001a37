"""``DistributedSampler``: each of several processes visits its own part of a dataset, in PyTorch's order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lamina import distributed
from lamina.random import Generator
from lamina.random.sampling import randperm
from lamina.utils.data.sampler import Sampler

__all__ = ["DistributedSampler"]


class DistributedSampler(Sampler[int]):
    """Every ``num_replicas``-th key, beginning with the ``rank``-th, of an order that all processes draw alike.

    Args:
        dataset (Sized): the dataset.
        num_replicas (int, optional): how many processes there are. To be given, since lamina has no process group to ask.
        rank (int, optional): which of them this is. To be given.
        shuffle (bool): whether the order is random. Default: True.
        seed (int): what, together with the epoch, the order is drawn from. Default: 0.
        drop_last (bool): whether keys are left out, rather than repeated, where they cannot be shared out evenly. Default: False.

    Raises:
        RuntimeError: ``num_replicas`` or ``rank`` is missing.
        ValueError: ``rank`` is not one of the processes.

    >>> list(lamina.utils.data.DistributedSampler(range(5), num_replicas=2, rank=1, shuffle=False))
    [1, 3, 0]
    """

    def __init__(
        self, dataset: Any, num_replicas: int | None = None, rank: int | None = None, shuffle: bool = True, seed: int = 0,
        drop_last: bool = False,
    ) -> None:  # fmt: skip
        if num_replicas is None or rank is None:
            if not distributed.is_available():
                raise RuntimeError("Requires distributed package to be available, or num_replicas and rank to be given")
            num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
            rank = distributed.get_rank() if rank is None else rank
        if not 0 <= rank < num_replicas:
            raise ValueError(f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]")
        self.dataset = dataset
        self.num_replicas = num_replicas
        self.rank = rank
        self.epoch = 0
        self.drop_last = drop_last
        n = len(dataset)
        self.num_samples = n // num_replicas if drop_last else math.ceil(n / num_replicas)
        self.total_size = self.num_samples * num_replicas
        self.shuffle = shuffle
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        n = len(self.dataset)
        if self.shuffle:
            order = randperm(n, generator=Generator().manual_seed(self.seed + self.epoch)).tolist()
        else:
            order = list(range(n))
        if order and len(order) < self.total_size:
            order *= math.ceil(self.total_size / len(order))
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Draw the order of another epoch from now on; without this every pass has the same."""
        self.epoch = epoch
