"""Sparse tensors: what they are, their arithmetic, and their way from lookup tables through the walk to the optimisers."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from support import array, assert_same, need_torch, same_error

import lamina
from lamina import nn
from lamina.nn import functional as F

PLACES = np.array([[0, 4, 2, 2, 0]])


def values(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def made(t, places=PLACES, held=None, size=(5, 3)):
    held = values(places.shape[1], 3) if held is None else held
    return t.sparse_coo_tensor(t.from_numpy(places.copy()), t.from_numpy(held.copy()), size, check_invariants=True)


def assert_same_sparse(ours, theirs):
    """The same places with the same values, in the same order."""
    assert ours.is_sparse and theirs.is_sparse and ours.shape == tuple(theirs.shape)
    assert ours.is_coalesced() == theirs.is_coalesced() and ours._nnz() == theirs._nnz()
    assert_same(ours._indices(), theirs._indices())
    assert_same(ours._values(), theirs._values())


def test_what_it_is():
    torch = need_torch()
    for places, held, size in (
        (PLACES, None, (5, 3)),
        (np.array([[0, 1, 1], [2, 0, 0]]), values(3), (2, 3)),
        (np.array([[0, 1, 1], [2, 0, 0]]), values(3, 4), (2, 3, 4)),
        (np.zeros((1, 0), np.int64), values(0, 3), (5, 3)),
        (PLACES[:, :1], values(1, 3, dtype=np.float64), (5, 3)),
    ):
        a, b = (made(t, places, held, size) for t in (lamina, torch))
        assert a.shape == tuple(b.shape) and a.size() == tuple(b.size()) and a.size(0) == b.size(0)
        assert (a.ndim, a.dim(), a.numel(), len(a)) == (b.ndim, b.dim(), b.numel(), len(b))
        assert (a.sparse_dim(), a.dense_dim(), a._nnz(), a.is_sparse) == (b.sparse_dim(), b.dense_dim(), b._nnz(), True)
        assert repr(a) == repr(b) and repr(a.layout) == repr(b.layout) and str(a.dtype) == str(b.dtype)
        assert_same_sparse(a, b)
        assert_same_sparse(a.coalesce(), b.coalesce())
        assert_same(a.coalesce().indices(), b.coalesce().indices())
        assert_same(a.coalesce().values(), b.coalesce().values())
        assert_same(a.to_dense(), b.to_dense())
        assert a.coalesce().coalesce().is_coalesced()
    assert lamina.ones(2).layout is lamina.strided and a.layout is lamina.sparse_coo and not lamina.ones(2).is_sparse


def test_arithmetic():
    torch = need_torch()
    for call in (
        lambda t, s: s * 2,
        lambda t, s: 2 * s,
        lambda t, s: s / 4,
        lambda t, s: -s,
        lambda t, s: s * t.tensor(3.0),
        lambda t, s: s + s,
        lambda t, s: s - s * 2,
        lambda t, s: s.add(s, alpha=0.5),
        lambda t, s: s.clone().mul_(3),
        lambda t, s: s.clone().div_(t.tensor(3.0)),
        lambda t, s: s.clone().neg_(),
        lambda t, s: s.clone().add_(s, alpha=2),
        lambda t, s: s.clone().zero_(),
        lambda t, s: s.detach(),
        lambda t, s: s.to(t.float64),
    ):
        ours, theirs = (call(t, made(t)) for t in (lamina, torch))
        assert ours.is_sparse and theirs.is_sparse
        assert_same(ours.to_dense(), theirs.to_dense())
    for call in (
        lambda t, s: t.ones(5, 3) + s,
        lambda t, s: t.ones(5, 3) * 2 - s,
        lambda t, s: t.ones(5, 3).add_(s, alpha=-0.5),
        lambda t, s: s.sum(),
        lambda t, s: s.coalesce().norm(),
        lambda t, s: s[2],
    ):
        ours, theirs = (call(t, made(t)) for t in (lamina, torch))
        assert not ours.is_sparse
        assert_same(ours, theirs)
    s = made(lamina)
    assert not (s + 1).is_sparse and not s.exp().is_sparse and (s == s.to_dense()).all()  # PyTorch has these not


def test_memory():
    s = made(lamina)
    s._values()[0] = 7
    assert s.to_dense()[0, 0] == 7 + s._values()[4, 0] and s.detach()._values()[0, 0] == 7
    twin = s.clone()
    twin.mul_(0)
    assert s._values()[0, 0] == 7
    for again in (copy.deepcopy(s), pickle.loads(pickle.dumps(s))):  # noqa: S301  # our own bytes
        assert again.is_sparse and (again.to_dense() == s.to_dense()).all()
        again.zero_()
    assert s._nnz() == 5 and made(lamina).mul_(2) is not None
    assert s.to(lamina.float32) is s and s.to_sparse() is s


def test_written_in_place_otherwise():
    s = made(lamina)
    for write in (lambda: s.fill_(1), lambda: s.add_(1), lambda: s.copy_(lamina.ones(5, 3)), lambda: s.mul_(lamina.ones(3))):
        with pytest.raises(RuntimeError):
            write()
    with pytest.raises(RuntimeError, match="cannot require a gradient"):
        s.requires_grad_()


@pytest.mark.parametrize(
    "call",
    [
        lambda t: made(t).indices(),
        lambda t: made(t).values(),
        lambda t: made(t).numpy(),
        lambda t: made(t).add_(t.ones(5, 3)),
        lambda t: t.sparse_coo_tensor(t.tensor([0, 1]), t.ones(2)),
        lambda t: t.sparse_coo_tensor(t.tensor([[0, 1]]), t.ones(3)),
        lambda t: t.sparse_coo_tensor(t.tensor([[0, 5]]), t.ones(2), (3,), check_invariants=True),
        lambda t: t.sparse_coo_tensor(t.tensor([[0, -1]]), t.ones(2), (3,), check_invariants=True),
        lambda t: t.sparse_coo_tensor(t.tensor([[0, 1]]), t.ones(2), (3, 3)),
        lambda t: t.sparse_coo_tensor(t.tensor([[0, 1]]), t.ones(2, 2), (3, 3)),
    ],
)
def test_the_same_errors(call):
    same_error(call)


def test_to_sparse():
    torch = need_torch()
    a = np.where(np.random.default_rng(0).random((4, 3, 2)) < 0.4, values(4, 3, 2), 0).astype(np.float32)
    for dim in (None, 1, 2, 3):
        ours, theirs = (t.from_numpy(a).to_sparse(*([] if dim is None else [dim])) for t in (lamina, torch))
        assert_same_sparse(ours, theirs)
    assert lamina.from_numpy(a).to_dense().shape == (4, 3, 2)
    assert_same_sparse(*(t.sparse_coo_tensor([[0, 2]], [1.0, 2.0], check_invariants=True) for t in (lamina, torch)))


# -- from lookup tables --------------------------------------------------------------------------------------------


def both(build, *calls):
    """The gradients of a table after calls on it, of lamina's and of PyTorch's."""
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        layer = build(t.nn)
        layer.weight.data = t.from_numpy(values(5, 3))
        for call in calls:
            call(t, layer).backward()
        found.append(layer.weight.grad)
    return found


X = np.array([0, 4, 2, 2])


def looked_up(i, weight=1.0):
    return lambda t, m: (m(t.from_numpy(np.array(i))) * t.arange(3) * weight).sum()


def test_gradients_of_embeddings():
    for settings in ({}, {"padding_idx": 2}, {"padding_idx": 1}):
        for i in (X, X[:0], X.reshape(2, 2), np.array([2])):
            assert_same_sparse(*both(lambda n, s=settings: n.Embedding(5, 3, sparse=True, **s), looked_up(i)))
        twice = both(lambda n, s=settings: n.Embedding(5, 3, sparse=True, **s), looked_up(X), looked_up(X[1:], 2))
        assert_same_sparse(*(g.coalesce() for g in twice))


def test_gradients_of_bags():
    for mode, padding in itertools.product(("sum", "mean"), (None, 2)):
        def bag(n, m=mode, p=padding):
            return n.EmbeddingBag(5, 3, mode=m, sparse=True, padding_idx=p)

        ours, theirs = both(bag, looked_up(X.reshape(2, 2)))
        assert_same(ours.to_dense(), theirs.to_dense())
        assert ours.is_sparse and theirs.is_sparse
    torch = need_torch()
    grads = []
    for t in (lamina, torch):
        w, p = t.from_numpy(values(5, 3)).requires_grad_(), t.from_numpy(values(2, 2, seed=2)).requires_grad_()
        y = t.nn.functional.embedding_bag(t.from_numpy(X.reshape(2, 2)), w, mode="sum", per_sample_weights=p, sparse=True)
        y.sum().backward()
        grads.append([w.grad.to_dense(), p.grad])
    assert_same(*grads)


def dense_part(t, m):
    return (m.weight * 2).sum()


@pytest.mark.parametrize(
    "calls",
    [
        (looked_up(X), dense_part),
        (dense_part, looked_up(X)),
        (lambda t, m: looked_up(X)(t, m) + dense_part(t, m),),
        (lambda t, m: dense_part(t, m) + looked_up(X)(t, m),),
        (lambda t, m: looked_up(X)(t, m) + looked_up(X)(t, m) + dense_part(t, m), dense_part, looked_up(X)),
    ],
)
def test_sparse_and_dense_gradients_add_up(calls):
    ours, theirs = both(lambda n: n.Embedding(5, 3, sparse=True), *calls)
    assert not ours.is_sparse and not theirs.is_sparse
    assert_same(ours, theirs)


def test_two_lookups_in_one_walk():
    ours, theirs = both(lambda n: n.Embedding(5, 3, sparse=True), lambda t, m: looked_up(X)(t, m) + looked_up(X[1:])(t, m))
    assert ours.is_sparse and theirs.is_sparse
    assert_same(ours.to_dense(), theirs.to_dense())


def test_through_more_of_the_graph():
    """A table that is computed gets the gradient of its rows all the same."""
    grads = []
    for sparse in (False, True):
        w = lamina.from_numpy(values(5, 3)).requires_grad_()
        F.embedding(lamina.from_numpy(X), w * 3 + 1, sparse=sparse).square().sum().backward()
        grads.append(array(w.grad.to_dense()))
    np.testing.assert_allclose(*grads)
    w = lamina.from_numpy(values(5, 3)).requires_grad_()
    (g,) = lamina.autograd.grad(F.embedding(lamina.from_numpy(X), w, sparse=True).square().sum(), w, create_graph=True)
    g.square().sum().backward()  # for that the gradient is dense
    assert not g.is_sparse and w.grad is not None


def test_hooks_see_it():
    seen = []
    layer = nn.Embedding(5, 3, sparse=True)
    layer.weight.register_hook(lambda g: seen.append(g.is_sparse) or g * 2)
    layer(lamina.from_numpy(X)).sum().backward()
    assert seen == [True] and layer.weight.grad.is_sparse and (layer.weight.grad._values() == 2).all()
    layer.weight.grad.mul_(0.5)
    layer(lamina.from_numpy(X)).sum().backward()
    assert layer.weight.grad._nnz() == 8


def test_by_frequency_is_an_error():
    for t in (lamina, need_torch()):
        layer = t.nn.Embedding(5, 3, sparse=True, scale_grad_by_freq=True)
        loss = layer(t.from_numpy(X)).sum()
        with pytest.raises(RuntimeError, match="scale_grad_by_freq"):
            loss.backward()


# -- into optimisers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.5, "dampening": 0.3}, {"maximize": True}],
    ids=str,
)
def test_sgd(settings):
    torch = need_torch()
    tables = []
    for t in (lamina, torch):
        layer = t.nn.Embedding(5, 3, sparse=True)
        layer.weight.data = t.from_numpy(values(5, 3))
        optimizer = t.optim.SGD(layer.parameters(), lr=0.1, **settings)
        for i in (X, X[:2], X[1:], X):
            optimizer.zero_grad()
            (layer(t.from_numpy(i.copy())) ** 2).sum().backward()
            optimizer.step()
        tables.append(layer.weight)
    assert_same(*tables)


def test_optimisers_without_sparse_gradients():
    torch = need_torch()
    for t in (lamina, torch):
        layer = t.nn.Embedding(5, 3, sparse=True)
        layer(t.from_numpy(X)).sum().backward()
        for optimizer in (t.optim.Adam(layer.parameters()), t.optim.AdamW(layer.parameters())):
            with pytest.raises(RuntimeError, match="does not support sparse gradients"):
                optimizer.step()
        with pytest.raises(RuntimeError):
            t.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.1).step()
        t.optim.SGD(layer.parameters(), lr=0.1).zero_grad(set_to_none=False)
        assert layer.weight.grad.is_sparse and layer.weight.grad._nnz() == 0
        layer.zero_grad(set_to_none=False)
        layer.zero_grad()
        assert layer.weight.grad is None


def test_only_the_used_rows_cost_anything():
    """A step with three rows of a large table makes no second table."""
    import tracemalloc

    layer = nn.Embedding(50_000, 64, sparse=True)
    optimizer = lamina.optim.SGD(layer.parameters(), lr=0.1)
    index = lamina.tensor([1, 7, 7])
    lamina.memory.release()
    tracemalloc.start()
    layer(index).sum().backward()
    optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6  # the table has 13 MB
