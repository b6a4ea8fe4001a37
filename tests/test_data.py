"""Datasets, samplers and the DataLoader: PyTorch's batches in PyTorch's order, and workers that never hang."""

from __future__ import annotations

import collections
import os
import random
import signal
import time
import warnings

import numpy as np
import pytest
from support import need_torch

import lamina
from lamina.random import Generator, default_generator
from lamina.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)

Pair = collections.namedtuple("Pair", ["x", "y"])


@pytest.fixture
def torch():
    return need_torch()


def seed(n, torch=None):
    lamina.random.manual_seed(n)
    if torch is not None:
        torch.manual_seed(n)


def plain(value):
    """Tensors as nested lists with their dtype's name, of either library; everything else as it is."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return str(value.dtype).removeprefix("torch."), value.tolist()
    if isinstance(value, dict):
        return type(value).__name__, {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value).__name__, *(plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [plain(v) for v in value]
    return value


class Squares(Dataset):
    def __init__(self, n=20):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return i * i


class Stream(IterableDataset):
    """0 … n − 1, shared out among workers."""

    def __init__(self, n=10, length=None):
        self.n, self.length = n, length

    def __iter__(self):
        info = get_worker_info()
        return iter(range(self.n) if info is None else range(info.id, self.n, info.num_workers))

    def __len__(self):
        if self.length is None:
            raise TypeError("no length")
        return self.length


def torch_stream(torch, n=10, length=None):
    """The same stream as a dataset of PyTorch's."""

    class TorchStream(torch.utils.data.IterableDataset):
        def __iter__(self):
            info = torch.utils.data.get_worker_info()
            return iter(range(n) if info is None else range(info.id, n, info.num_workers))

        if length is not None:

            def __len__(self):
                return length

    return TorchStream()


# -- samplers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"num_samples": 5}, {"num_samples": 25}, {"replacement": True}, {"replacement": True, "num_samples": 70}],
    ids=str,
)
@pytest.mark.parametrize("own_generator", [False, True])
def test_random_sampler_draws_in_step_with_pytorch(settings, own_generator, torch):
    tdata = torch.utils.data
    seed(3, torch)
    ours, theirs = (
        kind(range(10), generator=g().manual_seed(5) if own_generator else None, **settings)
        for kind, g in ((RandomSampler, Generator), (tdata.RandomSampler, torch.Generator))
    )
    for _ in range(2):
        assert list(ours) == list(theirs)
        assert len(ours) == len(theirs)
    # The generators stand at the same place afterwards.
    assert (default_generator.state_bytes() == torch.get_rng_state().numpy()).all()
    if own_generator:
        assert (ours.generator.state_bytes() == theirs.generator.get_state().numpy()).all()


@pytest.mark.parametrize("replacement", [True, False])
def test_subset_and_weighted_samplers(replacement, torch):
    tdata = torch.utils.data
    seed(1, torch)
    weights = [0.1, 0.9, 0.4, 0.7, 3.0, 0.6]
    pairs = [
        (WeightedRandomSampler(weights, 5, replacement), tdata.WeightedRandomSampler(weights, 5, replacement)),
        (SubsetRandomSampler([3, 1, 4, 1, 5]), tdata.SubsetRandomSampler([3, 1, 4, 1, 5])),
    ]
    for ours, theirs in pairs:
        assert list(ours) == list(theirs) and len(ours) == len(theirs)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n", [0, 1, 5, 6])
def test_batch_sampler(n, drop_last, torch):
    tdata = torch.utils.data
    sampler = BatchSampler(SequentialSampler(range(n)), 3, drop_last)
    theirs = tdata.BatchSampler(tdata.SequentialSampler(range(n)), 3, drop_last)
    assert list(sampler) == list(theirs)
    assert len(sampler) == len(theirs) == len(list(sampler))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda m: m.RandomSampler(range(3), replacement=1), TypeError),
        (lambda m: m.RandomSampler(range(3), num_samples=0), ValueError),
        (lambda m: m.RandomSampler([]), ValueError),
        (lambda m: m.RandomSampler(range(3), num_samples=1.5), ValueError),
        (lambda m: m.WeightedRandomSampler([1.0], 0), ValueError),
        (lambda m: m.WeightedRandomSampler([1.0], True), ValueError),
        (lambda m: m.WeightedRandomSampler([1.0], 1, replacement=1), ValueError),
        (lambda m: m.WeightedRandomSampler([[1.0]], 1), ValueError),
        (lambda m: m.BatchSampler(range(3), 0, False), ValueError),
        (lambda m: m.BatchSampler(range(3), True, False), ValueError),
        (lambda m: m.BatchSampler(range(3), 2, 1), ValueError),
        (lambda m: m.DataLoader(range(3), num_workers=-1), ValueError),
        (lambda m: m.DataLoader(range(3), timeout=-1), ValueError),
        (lambda m: m.DataLoader(range(3), prefetch_factor=2), ValueError),
        (lambda m: m.DataLoader(range(3), num_workers=1, prefetch_factor=-1), ValueError),
        (lambda m: m.DataLoader(range(3), persistent_workers=True), ValueError),
        (lambda m: m.DataLoader(range(3), shuffle=True, sampler=range(3)), ValueError),
        (lambda m: m.DataLoader(range(3), batch_sampler=[[0]], batch_size=2), ValueError),
        (lambda m: m.DataLoader(range(3), batch_sampler=[[0]], drop_last=True), ValueError),
        (lambda m: m.DataLoader(range(3), batch_size=None, drop_last=True), ValueError),
        (lambda m: m.DataLoader(range(3), batch_size=0), ValueError),
        (lambda m: m.DataLoader(range(3), multiprocessing_context="fork"), ValueError),
        (lambda m: m.DataLoader(range(3), num_workers=1, multiprocessing_context="spork"), ValueError),
        (lambda m: m.DataLoader(range(3), num_workers=1, multiprocessing_context=3), TypeError),
        (lambda m: iter(m.DataLoader(range(3), timeout=1)), AssertionError),
        (lambda m: setattr(m.DataLoader(range(3)), "batch_size", 2), ValueError),
        (lambda m: m.ConcatDataset([]), AssertionError),
        (lambda m: m.ConcatDataset([range(3)])[-4], ValueError),
        (lambda m: m.ConcatDataset([range(3)])[3], IndexError),
        (lambda m: m.StackDataset(), ValueError),
        (lambda m: m.StackDataset(range(3), range(4)), ValueError),
        (lambda m: m.StackDataset(range(3), a=range(3)), ValueError),
        (lambda m: m.random_split(range(3), [1, 1]), ValueError),
        (lambda m: m.random_split(range(3), [1.5, -0.5]), ValueError),
        (lambda m: m.default_collate([object()]), TypeError),
        (lambda m: m.default_collate([[1, 2], [3]]), RuntimeError),
        (lambda m: m.default_collate([np.array(["a"])]), TypeError),
        (lambda m: m.Dataset()[0], NotImplementedError),
    ],
)
def test_the_same_errors(make, error, torch):
    for module in (torch.utils.data, lamina.utils.data):
        with pytest.raises(error):
            make(module)


# -- datasets ------------------------------------------------------------------------------------------------------


def test_tensor_dataset():
    x, y = lamina.arange(12).reshape(6, 2), lamina.arange(6)
    data = TensorDataset(x, y)
    assert len(data) == 6
    assert [t.tolist() for t in data[2]] == [[4, 5], 2]
    with pytest.raises(AssertionError, match=r"\[6, 5\]"):
        TensorDataset(x, y[:5])


def test_concat_subset_stack_and_chain():
    both = Squares(3) + Squares(4)
    assert isinstance(both, ConcatDataset) and len(both) == 7
    assert [both[i] for i in range(-7, 7)] == 2 * [0, 1, 4, 0, 1, 4, 9]
    part = Subset(both, [6, 0, 5])
    assert [part[i] for i in range(len(part))] == [9, 0, 4]
    assert part.__getitems__([0, 2]) == [9, 4]
    side = StackDataset(Squares(3), part)
    assert side[0] == (0, 9) and side.__getitems__([0, 2]) == [(0, 9), (4, 4)]
    named = StackDataset(a=Squares(3), b=part)
    assert named[1] == {"a": 1, "b": 0} and named.__getitems__([1]) == [{"a": 1, "b": 0}]
    chain = Stream(2) + Stream(3)
    assert isinstance(chain, ChainDataset) and list(chain) == [0, 1, 0, 1, 2]


@pytest.mark.parametrize("lengths", [[5, 5], [0.7, 0.3], [0.33, 0.33, 0.34], [1.0], [10, 0]], ids=str)
def test_random_split(lengths, torch):
    tdata = torch.utils.data
    seed(4, torch)
    ours, theirs = random_split(range(10), lengths), tdata.random_split(range(10), lengths)
    assert [part.indices for part in ours] == [part.indices for part in theirs]
    g, h = Generator().manual_seed(1), torch.Generator().manual_seed(1)
    ours, theirs = random_split(range(10), lengths, g), tdata.random_split(range(10), lengths, h)
    assert [part.indices for part in ours] == [part.indices for part in theirs]


def test_subset_that_overrides_only_half():
    class Half(Subset):
        def __getitem__(self, i):
            return 0

    with pytest.raises(NotImplementedError, match="__getitems__"):
        Half(range(3), [0])


# -- collating -----------------------------------------------------------------------------------------------------

SAMPLES = {
    "ints": [1, 2],
    "bools": [True, False],
    "floats": [1.5, 2.0],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "arrays": [np.arange(3, dtype=np.int16), np.ones(3, np.int16)],
    "array scalars": [np.array(1.0, np.float32), np.array(2.0, np.float32)],
    "numpy numbers": [np.float32(1), np.float32(2)],
    "tuples": [(1, 2.0), (3, 4.0)],
    "lists": [[1, 2.0], [3, 4.0]],
    "dicts": [{"a": 1, "b": [1.0]}, {"a": 2, "b": [2.0]}],
    "ordered": [collections.OrderedDict(z=1, a=2), collections.OrderedDict(z=3, a=4)],
    "namedtuples": [Pair(1, "a"), Pair(2, "b")],
    "ranges": [range(2), range(2)],
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_collate_and_convert(kind, torch):
    tdata = torch.utils.data
    samples = SAMPLES[kind]
    assert plain(default_collate(samples)) == plain(tdata.default_collate(samples))
    assert plain(default_convert(samples[0])) == plain(tdata.default_convert(samples[0]))


def test_collate_tensors():
    tensors = [lamina.arange(3), lamina.ones(3, dtype=lamina.int64)]
    assert default_collate(tensors).tolist() == [[0, 1, 2], [1, 1, 1]]
    batch = default_collate([(tensors[0], 1), (tensors[1], 2)])
    assert type(batch) is list and batch[0].shape == (2, 3)
    assert default_convert(tensors[0]) is tensors[0]


# -- the loader ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 4},
        {"batch_size": 4, "drop_last": True},
        {"batch_size": 4, "shuffle": True},
        {"batch_size": None},
        {"batch_size": None, "shuffle": True},
        {"batch_sampler": [[0, 3], [5]]},
        {"sampler": [7, 2, 2]},
        {"batch_size": 3, "collate_fn": sorted},
    ],
    ids=str,
)
def test_batches_are_pytorchs(settings, torch):
    tdata = torch.utils.data
    seed(7, torch)
    ours, theirs = DataLoader(Squares(), **settings), tdata.DataLoader(Squares(), **settings)
    assert len(ours) == len(theirs)
    for _ in range(2):  # two epochs
        assert [plain(b) for b in ours] == [plain(b) for b in theirs]
    assert (default_generator.state_bytes() == torch.get_rng_state().numpy()).all()


def test_generator_argument(torch):
    tdata = torch.utils.data
    g, h = Generator().manual_seed(9), torch.Generator().manual_seed(9)
    ours = DataLoader(Squares(), batch_size=6, shuffle=True, generator=g)
    theirs = tdata.DataLoader(Squares(), batch_size=6, shuffle=True, generator=h)
    for _ in range(2):
        assert [plain(b) for b in ours] == [plain(b) for b in theirs]
    assert (g.state_bytes() == h.get_state().numpy()).all()


@pytest.mark.parametrize("settings", [{}, {"batch_size": 4}, {"batch_size": 4, "drop_last": True}, {"batch_size": None}], ids=str)
def test_iterable_dataset(settings, torch):
    tdata = torch.utils.data
    expected = [plain(b) for b in tdata.DataLoader(torch_stream(torch), **settings)]
    assert [plain(b) for b in DataLoader(Stream(), **settings)] == expected
    for name in ("shuffle", "sampler", "batch_sampler"):
        with pytest.raises(ValueError, match=name):
            DataLoader(Stream(), **{name: [[0]]})
    ours, theirs = DataLoader(Stream(length=10), **settings), tdata.DataLoader(torch_stream(torch, length=10), **settings)
    assert len(ours) == len(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(ours)


def test_a_wrong_length_of_a_stream_is_told():
    loader = DataLoader(Stream(10, length=2))
    assert len(loader) == 2
    with pytest.warns(UserWarning, match="reported to be 2"):
        assert len(list(loader)) == 10


def test_getitems_is_used():
    class Together(Squares):
        def __getitems__(self, keys):
            return [-k for k in keys]

    assert DataLoader(Together(3), batch_size=3).__iter__().__next__().tolist() == [0, -1, -2]


def test_training_loop_over_tensors():
    x = lamina.arange(10, dtype=lamina.float32).reshape(5, 2)
    seen = [(a.shape, b.tolist()) for a, b in DataLoader(TensorDataset(x, lamina.arange(5)), batch_size=2)]
    assert seen == [((2, 2), [0, 1]), ((2, 2), [2, 3]), ((1, 2), [4])]


class Doubled(TensorDataset):
    def __getitem__(self, i):
        return tuple(2 * t for t in super().__getitem__(i))


def test_rows_are_taken_at_once_only_where_nobody_can_tell():
    x, y = lamina.rand(20, 3), lamina.arange(20)
    whole = TensorDataset(x, y)
    part = Subset(Subset(whole, range(19, -1, -1)), [3, 1, 4, 1, 5])
    for data in (whole, part, Doubled(x, y), Subset(Doubled(x, y), [1, 2])):
        for settings in ({"batch_size": 4}, {"batch_size": 4, "shuffle": True}, {"batch_sampler": [[0, -1]]}):
            seed(3)
            fast = list(DataLoader(data, **settings))
            seed(3)
            slow = list(DataLoader(data, collate_fn=lambda batch: default_collate(batch), **settings))
            assert plain(fast) == plain(slow)
    batch = next(iter(DataLoader(whole, batch_size=20)))
    assert type(batch) is list and not np.shares_memory(batch[0].numpy(), x.numpy())
    with pytest.raises(IndexError):
        next(iter(DataLoader(whole, batch_sampler=[[0, 20]])))
    weight = lamina.ones(4, 2, requires_grad=True)
    (rows,) = next(iter(DataLoader(TensorDataset(weight), batch_size=3)))
    rows.sum().backward()
    assert weight.grad.tolist() == [[1, 1]] * 3 + [[0, 0]]


# -- workers -------------------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the datasets here are not importable by a spawned worker")


class Troubled(Squares):
    """Misbehaves at sample 6."""

    def __init__(self, what, n=12):
        super().__init__(n)
        self.what = what

    def __getitem__(self, i):
        if i == 6:
            if self.what == "raise":
                raise ValueError("sample six is bad")
            if self.what == "key":
                raise KeyError("sample six is missing")
            if self.what == "odd":
                raise Odd(1, 2)
            if self.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.what == "exit":
                os._exit(3)
            if self.what == "unpicklable":
                return lambda: 0
            if self.what == "stop":
                raise StopIteration
            if self.what == "sleep":
                time.sleep(30)
        return i


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")


class Randoms(Squares):
    def __getitem__(self, i):
        info = get_worker_info()
        return info.id, info.seed, random.random(), np.random.rand(), int(default_generator.words32(1)[0])


def keep(batch):
    return batch


@needs_fork
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("settings", [{"batch_size": 3}, {"batch_size": 3, "shuffle": True}, {"batch_size": None}], ids=str)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_make_the_same_batches(settings, workers):
    seed(11)
    expected = [plain(b) for b in DataLoader(Squares(50), **settings)]
    seed(11)
    loader = DataLoader(Squares(50), num_workers=workers, **settings)
    assert [plain(b) for b in loader] == expected
    unordered = [plain(b) for b in DataLoader(Squares(50), num_workers=workers, in_order=False, **settings)]
    assert len(unordered) == len(expected)


@needs_fork
def test_workers_are_seeded_as_pytorchs(torch):
    tdata = torch.utils.data

    class TorchRandoms(Squares):
        def __getitem__(self, i):
            info = tdata.get_worker_info()
            return info.id, info.seed, random.random(), np.random.rand(), int(torch.randint(2**32, (1,)))

    seed(2, torch)
    ours = list(DataLoader(Randoms(4), num_workers=2, collate_fn=keep))
    theirs = list(tdata.DataLoader(TorchRandoms(4), num_workers=2, collate_fn=keep))
    for a, b in zip(ours, theirs, strict=True):
        assert a[0][:4] == b[0][:4]


@needs_fork
def test_tensors_come_back_whole():
    x = lamina.arange(60000, dtype=lamina.float32).reshape(6, 100, 100)
    batches = [b for (b,) in DataLoader(TensorDataset(x), batch_size=2, num_workers=2)]
    assert (np.concatenate([b.numpy() for b in batches]) == x.numpy()).all()
    batches[0][0, 0, 0] = -1.0  # writable


@needs_fork
def test_persistent_workers_and_abandoned_passes():
    loader = DataLoader(Squares(40), batch_size=2, num_workers=2, persistent_workers=True)
    first = iter(loader)
    pids = [w.process.pid for w in first._workers]
    assert next(first).tolist() == [0, 1]
    for _ in range(2):
        assert [b.tolist() for b in loader] == [[i * i, (i + 1) ** 2] for i in range(0, 40, 2)]
    assert [w.process.pid for w in iter(loader)._workers] == pids
    workers = first._workers
    del loader, first
    assert not any(w.process.is_alive() for w in workers)


@needs_fork
@pytest.mark.parametrize("in_order", [True, False])
def test_iterable_dataset_in_workers(in_order, torch):
    tdata = torch.utils.data
    for settings in ({"batch_size": 3}, {"batch_size": None}, {"batch_size": 3, "drop_last": True}):
        ours = [plain(b) for b in DataLoader(Stream(20), num_workers=2, in_order=in_order, **settings)]
        theirs = [plain(b) for b in tdata.DataLoader(torch_stream(torch, 20), num_workers=2, **settings)]
        assert ours == theirs if in_order else sorted(map(str, ours)) == sorted(map(str, theirs))


@needs_fork
def test_worker_init_fn_and_info():
    assert get_worker_info() is None
    seen = list(DataLoader(Squares(4), num_workers=2, worker_init_fn=_mark, collate_fn=_marks))
    assert seen == [0, 10, 0, 10]


_MARK = []


def _mark(worker_id):
    _MARK.append(10 * worker_id)


def _marks(batch):
    return _MARK[0]


def _refuse(worker_id):
    raise OSError("no disk")


@needs_fork
@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("raise", ValueError, "in DataLoader worker process 0.*sample six is bad"),
        ("key", KeyError, "Traceback.*\n.*sample six is missing"),
        ("odd", RuntimeError, "Caught Odd"),
        ("kill", RuntimeError, "exited unexpectedly, killed by signal 9"),
        ("exit", RuntimeError, "exited unexpectedly with exit code 3"),
        ("unpicklable", RuntimeError, "pickle"),
        ("stop", RuntimeError, "StopIteration"),
    ],
)
def test_a_worker_in_trouble_is_reported(what, error, text):
    started = time.monotonic()
    loader = DataLoader(Troubled(what), num_workers=2, collate_fn=keep)
    with pytest.raises(error, match=f"(?s){text}"):
        list(loader)
    assert time.monotonic() - started < 20


@needs_fork
def test_iteration_goes_on_after_an_exception():
    batches = iter(DataLoader(Troubled("raise"), num_workers=2, collate_fn=keep))
    seen = []
    while True:
        try:
            seen.append(next(batches)[0])
        except ValueError:
            continue
        except StopIteration:
            break
    assert seen == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]


@needs_fork
def test_failing_start_of_a_worker():
    with pytest.raises(OSError, match="no disk"):
        list(DataLoader(Squares(4), num_workers=1, worker_init_fn=_refuse))


@needs_fork
def test_timeout():
    loader = iter(DataLoader(Troubled("sleep"), num_workers=1, timeout=0.5, batch_size=4))
    with pytest.raises(RuntimeError, match="timed out after 0.5 seconds"):
        list(loader)
    loader._workers[0].process.kill()


@needs_fork
def test_large_tasks_and_large_batches_do_not_lock_each_other():
    """Neither side may wait for the other to read: keys and batches are both larger than a pipe holds."""
    n = 30000
    loader = DataLoader(Squares(n * 6), batch_size=n, num_workers=1, collate_fn=_wide)
    assert [len(b) for b in loader] == [n * 8] * 6


def _wide(batch):
    return np.asarray(batch).tobytes()


class Convolved(Squares):
    """Samples that the engine computes."""

    def __getitem__(self, i):
        with lamina.no_grad():
            return lamina.nn.functional.conv2d(lamina.full((1, 8, 40, 40), float(i)), lamina.ones(8, 8, 3, 3))


@needs_fork
def test_workers_compute_after_the_parent_has():
    """OpenMP's threads do not survive a fork; the engine must not wait for them."""
    data = Convolved(4)
    expected = [data[i] for i in range(4)]
    for settings in ({}, {"persistent_workers": True}):
        batches = list(DataLoader(data, num_workers=2, timeout=60, **settings))
        for a, b in zip(batches, expected, strict=True):
            np.testing.assert_allclose(a[0].numpy(), b.numpy(), rtol=1e-6)


@needs_fork
def test_spawned_workers():
    data = TensorDataset(lamina.arange(6))
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert [b.tolist() for (b,) in loader] == [[0, 1], [2, 3], [4, 5]]


def test_too_many_workers_are_questioned():
    with pytest.warns(UserWarning, match="10000 worker processes"):
        DataLoader(Squares(), num_workers=10000)


def test_pin_memory_says_that_it_does_nothing():
    with pytest.warns(UserWarning, match="pin_memory has no effect"):
        iter(DataLoader(Squares(), pin_memory=True))
