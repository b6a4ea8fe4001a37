"""Large batches through shared memory: they stay what they are, blocks are used again, and nothing is left behind."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

import lamina
from lamina.multiprocessing import shared
from lamina.utils.data import DataLoader, Dataset, TensorDataset, _transfer

pytestmark = [
    pytest.mark.skipif(not shared.CAN_SEND, reason="blocks that can be sent need Linux"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]
SIDE = 200  # 160 KB a sample in float32


class Images(Dataset):
    def __init__(self, n=12, kind="tensor"):
        self.n, self.kind = n, kind

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if self.kind == "kill" and i == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "array":
            return np.full((SIDE, SIDE), i, np.float64)
        if self.kind == "dict":
            return {"a": lamina.full((SIDE, SIDE), float(i)), "b": [lamina.full((3,), i), np.full((SIDE, SIDE), i, np.int64)]}
        return lamina.full((SIDE, SIDE), float(i)), i


def is_shared(t):
    return shared.map_of(t._a) is not None


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_batches_are_whole(context):
    loader = DataLoader(Images(), batch_size=4, num_workers=2, multiprocessing_context=context)
    for k, (x, i) in enumerate(loader):
        assert x.shape == (4, SIDE, SIDE) and is_shared(x) and not is_shared(i)
        assert i.tolist() == [4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3]
        assert (x == i.reshape(4, 1, 1)).all()


@pytest.mark.parametrize("kind", ["array", "dict"])
def test_other_structures(kind):
    ours = list(DataLoader(Images(kind=kind), batch_size=4))
    for a, b in zip(DataLoader(Images(kind=kind), batch_size=4, num_workers=2), ours, strict=True):
        if kind == "dict":
            assert is_shared(a["a"]) and is_shared(a["b"][1])
            a, b = (a["a"], *a["b"]), (b["a"], *b["b"])
        for p, q in zip(a if isinstance(a, tuple) else [a], b if isinstance(b, tuple) else [b], strict=True):
            assert p.dtype == q.dtype and (p == q).all()


def test_a_tensor_dataset_and_batches_that_are_kept():
    """More batches alive than there are blocks: the others come through the pipe."""
    data = TensorDataset(lamina.arange(400.0 * 2000).reshape(400, 2000))
    assert not any(is_shared(x) for (x,) in DataLoader(data, batch_size=10, num_workers=2))  # 80 KB each
    loader = DataLoader(data, batch_size=40, num_workers=1, persistent_workers=True, prefetch_factor=8)
    for _ in range(3):
        batches = [batch for (batch,) in loader]
        assert all(map(is_shared, batches))
        assert (lamina.cat(batches) == data.tensors[0]).all()
        del batches
    many = DataLoader(Images(120), batch_size=2, num_workers=1)
    batches = [x for x, _ in many]
    assert [x[0, 0, 0].item() for x in batches] == list(range(0, 120, 2))
    assert 0 < sum(map(is_shared, batches)) <= _transfer.MOST


def test_blocks_are_used_again_and_a_view_keeps_its_block():
    loader = DataLoader(Images(60), batch_size=4, num_workers=1)
    pages, kept = set(), None
    batches = iter(loader)
    for k, (x, _) in enumerate(batches):
        if k == 2:
            kept = x[1, 3]
        pages.add(x.data_ptr())
        x.fill_(-1)
        del x
    assert len(pages) <= 6  # two prefetched, the one in hand, the kept one, and what is on its way
    assert kept is not None and (kept == -1).all()
    del batches
    gc.collect()
    assert (kept == -1).all()


class Caching:
    """A collate function that keeps its last batch, and sends one twice."""

    def __init__(self):
        self.last = None
        self.count = 0

    def __call__(self, samples):
        self.count += 1
        if self.count % 3 == 2:
            return self.last
        batch = lamina.utils.data.default_collate(samples)
        if self.last is not None:
            value = self.last[0][0, 0, 0].item()
            assert (self.last[0][0] == value).all()
        self.last = batch
        return batch


def test_what_a_worker_keeps_is_not_overwritten():
    loader = DataLoader(Images(48), batch_size=4, num_workers=1, collate_fn=Caching())
    for k, (x, i) in enumerate(loader):
        expected = 4 * (k - 1 if k % 3 == 1 else k)
        assert i[0] == expected and (x[0] == expected).all() and (x[3] == expected + 3).all()


def test_a_worker_that_dies_leaves_good_batches_and_nothing_else():
    before = _open_files()
    loader = iter(DataLoader(Images(16, "kill"), batch_size=2, num_workers=1, prefetch_factor=1))
    batches = [next(loader)[0] for _ in range(3)]
    with pytest.raises(RuntimeError, match="killed by signal 9"):
        for x, _ in loader:
            batches.append(x)
    del loader
    gc.collect()
    assert all((x[0] == 2 * k).all() for k, x in enumerate(batches))
    del batches, x
    gc.collect()
    assert not multiprocessing.active_children()
    deadline = time.monotonic() + 5
    while _open_files() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _open_files() <= before


def _open_files():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_an_abandoned_pass_and_many_passes_keep_no_descriptors():
    def some_passes():
        for _ in range(3):
            for x, _ in DataLoader(Images(16), batch_size=4, num_workers=2):
                if x[0, 0, 0] == 4:
                    break

    some_passes()
    before = _open_files()
    some_passes()
    assert _open_files() <= before


def test_a_gradient_keeps_its_error():
    def with_gradient(samples):
        return (lamina.stack([s for s, _ in samples]).requires_grad_() * 2,)

    with pytest.raises(RuntimeError, match="non-leaf tensor that requires a gradient"):
        next(iter(DataLoader(Images(), batch_size=4, num_workers=1, collate_fn=with_gradient)))


def test_two_workers_and_two_loaders_do_not_mix():
    a, b = (iter(DataLoader(Images(24), batch_size=4, num_workers=2)) for _ in range(2))
    for k in range(6):
        (x, i), (y, j) = next(a), next(b)
        assert i.tolist() == j.tolist() and (x == y).all() and (x[0] == 4 * k).all()
        y.zero_()
        assert (x[0] == 4 * k).all()
