"""Distances, similarities, normalised vectors and bilinear maps, against PyTorch's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn import functional as F

INF = float("inf")


def numbers(*shape, dtype=np.float32, seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def function(name, **settings):
    return lambda t, *tensors: getattr(t.nn.functional, name)(*tensors, **settings)


def variables(*shapes):
    return [lamina.from_numpy(numbers(*s, dtype=np.float64, seed=i)).requires_grad_() for i, s in enumerate(shapes)]


PAIRS = [
    ((3, 4), (3, 4)), ((4,), (4,)), ((4,), (3, 4)), ((3, 4), (4,)), ((2, 1, 4), (3, 4)), ((3, 4), (3, 1)), ((), ()),
    ((0, 4), (0, 4)),
]  # fmt: skip


@pytest.mark.parametrize("p", [2.0, 1, 0, 3, 0.5, -1, INF, -INF])
def test_pairwise_distance(p):
    for (a, b), keepdim, dtype in itertools.product(PAIRS, (False, True), (np.float32, np.float64)):
        x, y = numbers(*a, dtype=dtype), numbers(*b, dtype=dtype, seed=1)
        compare(function("pairwise_distance", p=p, keepdim=keepdim), x, y, rtol=1e-5)
    if p > 0:
        x, y = variables((3, 4), (3, 4))
        assert gradcheck(lambda x, y: F.pairwise_distance(x, y, p), (x, y))
        assert gradgradcheck(lambda x, y: F.pairwise_distance(x, y, p), (x, y))


def test_pairwise_distance_of_equals_and_other_dtypes():
    x = numbers(3, 4)
    for eps in (1e-6, 0.0, 0.5):
        compare(function("pairwise_distance", eps=eps), x, x.copy())
    compare(function("pairwise_distance"), (5 * x).astype(np.int64), (5 * numbers(3, 4, seed=1)).astype(np.int64))
    compare(function("pairwise_distance"), x, numbers(3, 4, dtype=np.float64))
    compare(function("pairwise_distance"), x.astype(np.float16), numbers(3, 4, dtype=np.float16, seed=1), rtol=5e-3)


def test_cosine_similarity():
    for (a, b), dtype in itertools.product(PAIRS, (np.float32, np.float64)):
        rank = max(len(a), len(b), 1)
        for dim in range(-rank, rank):
            compare(function("cosine_similarity", dim=dim), numbers(*a, dtype=dtype), numbers(*b, dtype=dtype, seed=1))
    compare(function("cosine_similarity", dim=0), numbers(1, 3, 4), numbers(4, seed=1))
    x, y = numbers(6, 5), numbers(6, 5, seed=1)
    compare(function("cosine_similarity"), x.T, y.T)
    compare(function("cosine_similarity"), x, numbers(6, 5, dtype=np.float64))
    compare(function("cosine_similarity"), x, (5 * y).astype(np.int64))
    compare(function("cosine_similarity"), x.astype(np.float16), y.astype(np.float16), rtol=5e-3, atol=2e-3)


def test_cosine_similarity_of_short_vectors():
    """Shorter than eps, the gradient does not know of the bound."""
    for scale, eps in ((0, 1e-8), (1e-9, 1e-8), (1e-3, 0.1), (1e20, 1e-8), (1e-25, 1e-8)):
        x = np.full((2, 3), scale, np.float32)
        with np.errstate(all="ignore"):
            compare(function("cosine_similarity", eps=eps), x, numbers(2, 3, seed=1), rtol=1e-5)
            compare(function("cosine_similarity", eps=eps), x, x.copy(), rtol=1e-5)
    x, y = variables((3, 1, 4), (2, 4))
    assert gradcheck(lambda x, y: F.cosine_similarity(x, y, dim=-1), (x, y))
    assert gradgradcheck(lambda x, y: F.cosine_similarity(x, y, dim=-1), (x, y))


@pytest.mark.parametrize("p", [2, 1, 0, 3, 1.5, 0.5, INF])
def test_pdist(p):
    for shape, dtype in itertools.product(((5, 3), (2, 4), (1, 3), (0, 3), (4, 0), (9, 1)), (np.float32, np.float64)):
        # PyTorch's backward crashes without rows
        compare(
            function("pdist", p=p), numbers(*shape, dtype=dtype), grad=shape[0] > 0, rtol=2e-5 if dtype == np.float32 else 1e-10
        )
    none = lamina.zeros(0, 3, requires_grad=True)
    F.pdist(none, p).sum().backward()
    assert none.grad.shape == (0, 3)
    equal = np.array([[1, 2], [1, 2], [1, 3], [4, -1], [2, 1]], np.float32)
    compare(function("pdist", p=p), equal, rtol=1e-5)
    compare(function("pdist", p=p), numbers(5, 6)[:, ::2], rtol=1e-5)
    compare(lambda t, x: t.pdist(x, p), numbers(5, 3), rtol=1e-5)
    if p > 0:
        (x,) = variables((5, 3))
        assert gradcheck(lambda x: F.pdist(x, p), (x,)) and gradgradcheck(lambda x: F.pdist(x, p), (x,))
        plain = lamina.autograd.grad(F.pdist(x, p).square().sum(), x)[0]
        recorded = lamina.autograd.grad(F.pdist(x, p).square().sum(), x, create_graph=True)[0]
        np.testing.assert_allclose(plain.numpy(), recorded.detach().numpy(), rtol=1e-10)


@pytest.mark.parametrize("rows, width", [(60, 20), (300, 7), (700, 64), (150, 1)])
def test_pdist_of_many_rows(rows, width):
    """Of many rows the squares come from products: as exact as differences where rows are near each other, far, or equal."""
    for scale, offset in ((1, 0), (1e-3, 1000), (1e17, 0), (1e-12, 0)):
        x = (numbers(rows, width) * np.float32(scale) + np.float32(offset)).astype(np.float32)
        x[7] = x[3]
        x[9] = x[5] * np.float32(1 + 1e-6)
        i, j = np.triu_indices(rows, 1)
        exact = np.sqrt(((x[i].astype(np.float64) - x[j]) ** 2).sum(1))
        t = lamina.from_numpy(x).requires_grad_()
        y = F.pdist(t)
        np.testing.assert_allclose(y.detach().numpy(), exact, rtol=5e-7)
        y.sum().backward()
        share = np.divide(1, exact, out=np.zeros_like(exact), where=exact > 0)[:, None] * (x[i].astype(np.float64) - x[j])
        slope = np.zeros(x.shape)
        np.add.at(slope, i, share)
        np.subtract.at(slope, j, share)
        np.testing.assert_allclose(t.grad.numpy(), slope, rtol=1e-5, atol=1e-4)
    for odd in (INF, np.nan, 1e12):
        x = numbers(rows, width)
        x[4, 0] = odd
        compare(function("pdist"), x, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("p", [2.0, 1, 3, INF, 0.5])
def test_normalize(p):
    for dtype, dim in itertools.product((np.float32, np.float64), (0, 1, -1)):
        compare(function("normalize", p=p, dim=dim), numbers(3, 4, dtype=dtype), rtol=2e-5)
        compare(function("normalize", p=p, dim=dim, eps=10.0), numbers(3, 4, dtype=dtype), rtol=2e-5)
    compare(function("normalize", p=p, dim=0), numbers(5), rtol=2e-5)
    compare(function("normalize", p=p), numbers(2, 3, 4).transpose(0, 2, 1), rtol=2e-5)
    compare(function("normalize", p=p), np.zeros((2, 3), np.float32))
    compare(function("normalize", p=p), numbers(0, 3))
    (x,) = variables((3, 4))
    assert gradcheck(lambda x: F.normalize(x, p), (x,)) and gradgradcheck(lambda x: F.normalize(x, p), (x,))


def test_normalize_more():
    compare(function("normalize", dim=(0, 1)), numbers(3, 4))
    compare(lambda t, x: t.nn.functional.normalize(x, out=t.empty(0)), numbers(3, 4), grad=False)
    out = lamina.empty(3, 4)
    assert F.normalize(lamina.ones(3, 4), out=out) is out and out.tolist() == [[0.5] * 4] * 3


BATCHES = [(5,), (), (2, 3), (0,), (2, 0, 3)]


@pytest.mark.parametrize("sizes", [(4, 3, 5), (6, 3, 2), (3, 1, 1), (1, 2, 3), (2, 2, 0), (20, 30, 4)], ids=str)
def test_bilinear(sizes):
    in1, in2, out = sizes
    for batch, dtype, bias in itertools.product(BATCHES, (np.float32, np.float64), (False, True)):
        shapes = (*batch, in1), (*batch, in2), (out, in1, in2)
        arrays = [numbers(*s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]
        compare(function("bilinear"), *arrays, *([numbers(out, dtype=dtype, seed=3)] if bias else []), rtol=1e-5, atol=2e-5)
    tensors = variables((3, in1), (3, in2), (out, in1, in2), (out,))
    if in1 < 10:
        assert gradcheck(F.bilinear, tensors) and gradgradcheck(F.bilinear, tensors)


def test_bilinear_layouts_and_integers():
    x, y, w = numbers(4, 6), numbers(3, 6, seed=1), numbers(4, 3, 5, seed=2)
    compare(function("bilinear"), x.T, y.T, w.transpose(2, 0, 1), rtol=1e-5)
    compare(function("bilinear"), *((5 * a).astype(np.int64) for a in (x.T, y.T, w.transpose(2, 0, 1))))


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, x, y: F.pairwise_distance(x, y[:, :2]),
        lambda F, t, x, y: F.pairwise_distance(x, y[:2]),
        lambda F, t, x, y: F.pairwise_distance(x, 1),
        lambda F, t, x, y: F.cosine_similarity(x, y[:2]),
        lambda F, t, x, y: F.cosine_similarity(x, y, dim=2),
        lambda F, t, x, y: F.cosine_similarity(x[0], y[0]),
        lambda F, t, x, y: F.cosine_similarity(x.long(), y.long()),
        lambda F, t, x, y: F.cosine_similarity(x + 1j, y),
        lambda F, t, x, y: F.cosine_similarity(x, 1),
        lambda F, t, x, y: F.pdist(x[0]),
        lambda F, t, x, y: F.pdist(x[None]),
        lambda F, t, x, y: F.pdist(x.long()),
        lambda F, t, x, y: F.pdist(x, -1),
        lambda F, t, x, y: F.normalize(x[0]),
        lambda F, t, x, y: F.normalize(x.long()),
        lambda F, t, x, y: F.bilinear(x[0], y, t.ones(5, 4, 4)),
        lambda F, t, x, y: F.bilinear(x[:1], y, t.ones(5, 4, 4)),
        lambda F, t, x, y: F.bilinear(x, y, t.ones(5, 3, 4)),
        lambda F, t, x, y: F.bilinear(x, y, t.ones(5, 4, 3)),
        lambda F, t, x, y: F.bilinear(x, y, t.ones(4, 3)),
        lambda F, t, x, y: F.bilinear(x, y, t.ones(5, 4, 4), t.ones(2)),
        lambda F, t, x, y: F.bilinear(x, y.double(), t.ones(5, 4, 4)),
        lambda F, t, x, y: t.nn.Bilinear(0, 2, 3),
        lambda F, t, x, y: t.nn.Bilinear(2, -2, 3),
    ],
)
def test_the_same_errors(call):
    same_error(lambda t, x, y: call(t.nn.functional, t, x, y), numbers(3, 4), numbers(3, 4, seed=1))


def test_layers():
    torch = need_torch()
    x, y = numbers(5, 4), numbers(5, 4, seed=1)
    for build in (
        lambda n: n.PairwiseDistance(),
        lambda n: n.PairwiseDistance(1, 1e-3, True),
        lambda n: n.CosineSimilarity(),
        lambda n: n.CosineSimilarity(0, 0.5),
        lambda n: n.Bilinear(4, 4, 3),
        lambda n: n.Bilinear(4, 4, 7, bias=False),
    ):
        layers = []
        for t in (lamina, torch):
            t.manual_seed(3)
            layers.append(build(t.nn))
        ours, theirs = layers
        assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
        assert ours.__constants__ == theirs.__constants__
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (a.detach().numpy() == b.detach().numpy()).all()
        assert_same(ours(*map(lamina.from_numpy, (x, y))), theirs(*map(torch.from_numpy, (x, y))), rtol=1e-5)


def test_node_names():
    torch = need_torch()
    for name in ("pairwise_distance", "normalize", "pdist", "cosine_similarity"):
        names = []
        for t in (lamina, torch):
            x = t.from_numpy(numbers(3, 4)).requires_grad_()
            arguments = (x,) if name in ("normalize", "pdist") else (x, t.from_numpy(numbers(3, 4, seed=1)))
            names.append(getattr(t.nn.functional, name)(*arguments).grad_fn.name())
        assert names[0] == names[1]
    assert nn.functional.pdist is F.pdist
