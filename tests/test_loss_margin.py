"""Losses with margins: of classes, pairs and triplets, against PyTorch's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import assert_same, compare, need_torch, quietly, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn import functional as F

REDUCTIONS = ("none", "mean", "sum")
TYPES = (np.float32, np.float64)


def numbers(*shape, dtype=np.float32, seed=0):
    return np.asarray((1.5 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype))


def signs(*shape, dtype=np.float32, seed=5):
    return np.asarray(np.where(np.random.default_rng(seed).random(shape) < 0.5, 1, -1).astype(dtype))


def classes(*shape, n=4, low=0, seed=6):
    return np.asarray(np.random.default_rng(seed).integers(low, n, shape))


def function(name, constants=(), **settings):
    """The functional, with tensors after the first as constants: `compare` would want gradients of them."""

    def call(t, *tensors):
        given = {k: t.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
        return getattr(t.nn.functional, name)(*tensors, *(t.from_numpy(c.copy()) for c in constants), **given)

    return quietly(call)


def variables(*shapes):
    return [lamina.from_numpy(numbers(*s, dtype=np.float64, seed=i)).requires_grad_() for i, s in enumerate(shapes)]


# -- classes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin(p, reduction):
    for margin, weighted, dtype in itertools.product((1.0, 0.3), (False, True), TYPES):
        w = {"weight": np.linspace(0.5, 2, 4).astype(dtype)} if weighted else {}
        call = function("multi_margin_loss", p=p, margin=margin, reduction=reduction, **w)
        for shape, of_target in (((5, 4), (5,)), ((4,), ()), ((4,), (1,))):
            compare(call, numbers(*shape, dtype=dtype), classes(*of_target))
    call = function("multi_margin_loss", p=p, reduction=reduction)
    compare(call, numbers(4, 6).T[:5], classes(5))
    compare(call, numbers(3, 1), np.zeros(3, np.int64))
    compare(call, numbers(), np.zeros((), np.int64))
    compare(call, np.zeros((3, 4), np.float32) - np.eye(3, 4, dtype=np.float32), np.array([0, 1, 2]))  # at the hinge


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_multilabel_margin(reduction):
    call = function("multilabel_margin_loss", reduction=reduction)
    for dtype in TYPES:
        for shape in ((5, 6), (6,), (1, 6)):
            for low in (-1, 0):
                compare(call, numbers(*shape, dtype=dtype), classes(*shape, n=6, low=low))
        compare(call, numbers(3, 4, dtype=dtype), np.array([[3, 0, -1, 1], [-1, 0, 1, 2], [2, 2, 1, -1]]))
        compare(call, numbers(2, 3, dtype=dtype), np.full((2, 3), -1))
    compare(call, numbers(), np.zeros((), np.int64))
    compare(call, numbers(6, 5).T, classes(5, 6, n=6, low=-1))


def test_no_samples():
    """PyTorch's sums and means of none are whatever was in memory."""
    x = lamina.zeros(0, 4)
    for loss, target in ((F.multi_margin_loss, x[:, 0].long()), (F.multilabel_margin_loss, x.long())):
        assert loss(x, target, reduction="none").shape == (0,)
        assert loss(x, target, reduction="sum").item() == 0 and loss(x, target).isnan()


def test_gradients_of_gradients_of_classes():
    x, single = variables((5, 4), (4,))
    for reduction in REDUCTIONS:
        t, w = lamina.from_numpy(classes(5)), lamina.from_numpy(np.linspace(0.5, 2, 4))
        many = lamina.from_numpy(classes(5, 4, low=-1))
        for call in (
            lambda x, r=reduction, t=t: F.multi_margin_loss(x, t, reduction=r),
            lambda x, r=reduction, t=t, w=w: F.multi_margin_loss(x, t, 2, 0.7, w, reduction=r),
            lambda x, r=reduction, t=many: F.multilabel_margin_loss(x, t, reduction=r),
        ):
            assert gradcheck(call, (x,)) and gradgradcheck(call, (x,))
    assert gradcheck(lambda x: F.multi_margin_loss(x, lamina.tensor(2)), (single,))


# -- pairs and triplets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_hinge_embedding(reduction):
    for margin, dtype in itertools.product((1.0, 0.2), TYPES):
        for shape, of_target in (((3, 4), (3, 4)), ((), ()), ((0,), (0,)), ((3, 4), (4,)), ((4,), (3, 4))):
            call = function("hinge_embedding_loss", (signs(*of_target, dtype=dtype),), margin=margin, reduction=reduction)
            compare(call, numbers(*shape, dtype=dtype))
    x = np.array([np.nan, 1, np.inf, -np.inf, 1], np.float32)
    compare(function("hinge_embedding_loss", (np.array([1, -1, -1, 1, 0.0]),), reduction=reduction), x)
    compare(function("hinge_embedding_loss", (signs(3, 4, dtype=np.int64),), reduction=reduction), numbers(3, 4))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_margin_ranking(reduction):
    for margin, dtype in itertools.product((0, 0.5, -0.2), TYPES):
        call = function("margin_ranking_loss", margin=margin, reduction=reduction)
        for a, b, c in (((5,), (5,), (5,)), ((), (), ()), ((3, 4), (3, 1), (1, 4)), ((0,), (0,), (0,))):
            compare(call, numbers(*a, dtype=dtype), numbers(*b, dtype=dtype, seed=1), signs(*c, dtype=dtype))
    compare(call, numbers(5), numbers(5, seed=1), signs(5, dtype=np.int64))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_cosine_embedding(reduction):
    for margin, dtype in itertools.product((0, 0.3, -0.5), TYPES):
        for shape, other in (((5, 4), (5,)), ((4,), ()), ((5, 4), (1,)), ((0, 4), (0,))):
            call = function("cosine_embedding_loss", (signs(*other, dtype=dtype),), margin=margin, reduction=reduction)
            compare(call, numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=1))
    call = function("cosine_embedding_loss", (np.array([1, -1, 0]),), reduction=reduction)
    compare(call, numbers(3, 4), numbers(1, 4, seed=1))
    compare(call, np.zeros((3, 4), np.float32), numbers(3, 4, seed=1))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("swap", [False, True])
def test_triplet_margin(swap, reduction):
    for p, margin, dtype in itertools.product((2, 1, 3.0, float("inf")), (1.0, 0.2), TYPES):
        call = function("triplet_margin_loss", p=p, margin=margin, swap=swap, reduction=reduction)
        for shape in ((5, 4), (4,), (2, 3, 4), (), (0, 4)):
            compare(call, *(numbers(*shape, dtype=dtype, seed=i) for i in range(3)), rtol=1e-5)
    compare(call, numbers(5, 4), numbers(1, 4, seed=1), numbers(5, 4, seed=2), rtol=1e-5)
    compare(function("triplet_margin_loss", eps=0.1, swap=swap, reduction=reduction), *(numbers(5, 4, seed=i) for i in (0, 0, 2)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("swap", [False, True])
def test_triplets_with_any_distance(swap, reduction):
    def distances(t):
        return None, lambda x, y: 1 - t.nn.functional.cosine_similarity(x, y), lambda x, y: (x - y).abs().amax(-1)

    for i, dtype in itertools.product(range(3), TYPES):
        compare(
            lambda t, a, p, n, i=i: t.nn.functional.triplet_margin_with_distance_loss(
                a, p, n, distance_function=distances(t)[i], margin=0.4, swap=swap, reduction=reduction
            ),
            *(numbers(5, 4, dtype=dtype, seed=s) for s in range(3)),
            rtol=1e-5,
        )


def test_gradients_of_gradients_of_pairs():
    a, b, c = variables((5, 4), (5, 4), (5, 4))
    row, sign = lamina.from_numpy(signs(5, dtype=np.float64)), lamina.from_numpy(signs(5, 4, dtype=np.float64))
    for reduction, (call, inputs) in itertools.product(
        REDUCTIONS,
        (
            (lambda x, r: F.hinge_embedding_loss(x, sign, reduction=r), (a,)),
            (lambda x, y, z, r: F.margin_ranking_loss(x, y, z, 0.1, reduction=r), (a, b, c)),
            (lambda x, y, r: F.cosine_embedding_loss(x, y, row, 0.1, reduction=r), (a, b)),
            (lambda x, y, z, r: F.triplet_margin_loss(x, y, z, 2.0, reduction=r), (a, b, c)),
            (lambda x, y, z, r: F.triplet_margin_loss(x, y, z, 2.0, swap=True, reduction=r), (a, b, c)),
        ),
    ):
        assert gradcheck(lambda *t, f=call, r=reduction: f(*t, r), inputs)
        assert gradgradcheck(lambda *t, f=call, r=reduction: f(*t, r), inputs)


def test_half_precision():
    x, y, z = (numbers(6, 5, dtype=np.float16, seed=i) for i in range(3))
    compare(function("hinge_embedding_loss", (signs(6, 5, dtype=np.float16),)), x, rtol=5e-3, atol=2e-3)
    compare(function("margin_ranking_loss", (signs(6, 5, dtype=np.float16),)), x, y, rtol=5e-3, atol=2e-3)
    compare(function("triplet_margin_loss"), x, y, z, rtol=1e-2, atol=5e-3)


def test_deprecated_flags():
    for average, reduce in itertools.product((None, True, False), repeat=2):
        flags = {"size_average": average, "reduce": reduce}
        compare(function("multi_margin_loss", **flags), numbers(3, 4), classes(3))
        compare(function("multilabel_margin_loss", **flags), numbers(3, 4), classes(3, 4, low=-1))
        compare(function("hinge_embedding_loss", (signs(3),), **flags), numbers(3))
        compare(function("margin_ranking_loss", (signs(3),), **flags), numbers(3), numbers(3, seed=1))
        compare(function("cosine_embedding_loss", (signs(3),), **flags), numbers(3, 4), numbers(3, 4, seed=1))
        compare(function("triplet_margin_loss", **flags), *(numbers(3, 4, seed=i) for i in range(3)))
    compare(function("multi_margin_loss", reduction="elementwise_mean"), numbers(3, 4), classes(3))


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, x, y, i: F.multi_margin_loss(x, i[:2]),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i[:, None]),
        lambda F, t, x, y, i: F.multi_margin_loss(x[None], i),
        lambda F, t, x, y, i: F.multi_margin_loss(x[:, :0], i),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i + 4),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i - 4),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i.int()),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i, p=3),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i, weight=t.ones(3)),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i, weight=t.ones(3, 4)),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i, weight=t.ones(4).double()),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i, weight=t.ones(4, requires_grad=True)),
        lambda F, t, x, y, i: F.multi_margin_loss(x.half(), i),
        lambda F, t, x, y, i: F.multi_margin_loss(x.long(), i),
        lambda F, t, x, y, i: F.multi_margin_loss(x, i, reduction="q"),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x, i),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x, x.long()[:, :3]),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x[None], x.long()[None]),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x[:, :0], x.long()[:, :0]),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x, t.full((3, 4), 4)),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x, t.full((3, 4), -2)),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x, t.zeros(3, 4).int()),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x.half(), t.zeros(3, 4).long()),
        lambda F, t, x, y, i: F.multilabel_margin_loss(x, t.zeros(3, 4).long(), reduction="q"),
        lambda F, t, x, y, i: F.hinge_embedding_loss(x, y[:, :2]),
        lambda F, t, x, y, i: F.hinge_embedding_loss(x, y, reduction="q"),
        lambda F, t, x, y, i: F.hinge_embedding_loss(x, 1.0),
        lambda F, t, x, y, i: F.margin_ranking_loss(x, y, y[0]),
        lambda F, t, x, y, i: F.margin_ranking_loss(x, y, y[:2]),
        lambda F, t, x, y, i: F.margin_ranking_loss(x, y, y, reduction="q"),
        lambda F, t, x, y, i: F.cosine_embedding_loss(x, y, x),
        lambda F, t, x, y, i: F.cosine_embedding_loss(x, y, t.ones(2)),
        lambda F, t, x, y, i: F.cosine_embedding_loss(x[0], y[0], t.ones(1)),
        lambda F, t, x, y, i: F.cosine_embedding_loss(x, y, t.tensor(1)),
        lambda F, t, x, y, i: F.cosine_embedding_loss(x[None], y[None], t.ones(1)),
        lambda F, t, x, y, i: F.cosine_embedding_loss(x, y, t.ones(3), reduction="q"),
        lambda F, t, x, y, i: F.triplet_margin_loss(x, y, y[0]),
        lambda F, t, x, y, i: F.triplet_margin_loss(x, y, y, margin=0),
        lambda F, t, x, y, i: F.triplet_margin_loss(x, y, y, reduction="q"),
        lambda F, t, x, y, i: F.triplet_margin_with_distance_loss(x, y, y[0]),
        lambda F, t, x, y, i: F.triplet_margin_with_distance_loss(x, y, y, margin=-1),
        lambda F, t, x, y, i: F.triplet_margin_with_distance_loss(x, y, y, reduction="q"),
        lambda F, t, x, y, i: t.nn.MultiMarginLoss(p=3),
        lambda F, t, x, y, i: t.nn.MultiMarginLoss(weight=t.ones(2, 2)),
        lambda F, t, x, y, i: t.nn.TripletMarginLoss(margin=0),
        lambda F, t, x, y, i: t.nn.TripletMarginWithDistanceLoss(margin=0),
    ],
)
def test_the_same_errors(call):
    same_error(lambda t, x, y, i: call(t.nn.functional, t, x, y, i), numbers(3, 4), numbers(3, 4, seed=1), np.array([0, 1, 2]))


def test_layers():
    torch = need_torch()
    x, y, z = (numbers(5, 4, seed=i) for i in range(3))
    i, many, s = classes(5), classes(5, 4, low=-1), signs(5)
    w = np.linspace(0.5, 2, 4).astype(np.float32)
    for build, inputs in (
        (lambda n, t: n.MultiMarginLoss(), (x, i)),
        (lambda n, t: n.MultiMarginLoss(2, 0.5, t.from_numpy(w), reduction="none"), (x, i)),
        (lambda n, t: n.MultiLabelMarginLoss(size_average=False), (x, many)),
        (lambda n, t: n.HingeEmbeddingLoss(0.5), (x, signs(5, 4))),
        (lambda n, t: n.MarginRankingLoss(0.5, reduction="sum"), (x[:, 0], y[:, 0], s)),
        (lambda n, t: n.CosineEmbeddingLoss(0.1), (x, y, s)),
        (lambda n, t: n.TripletMarginLoss(2.0, 1, 1e-3, True), (x, y, z)),
        (lambda n, t: n.TripletMarginWithDistanceLoss(swap=True, reduction="none"), (x, y, z)),
        (lambda n, t: n.TripletMarginWithDistanceLoss(distance_function=n.PairwiseDistance(p=1)), (x, y, z)),
    ):
        build = quietly(build)
        ours, theirs = build(nn, lamina), build(torch.nn, torch)
        assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
        assert ours.__constants__ == theirs.__constants__
        assert_same(ours(*map(lamina.from_numpy, inputs)), theirs(*map(torch.from_numpy, inputs)), rtol=1e-5)
