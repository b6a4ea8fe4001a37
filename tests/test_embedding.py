"""Embedding and EmbeddingBag: every argument, forward, backward and twice backward, against PyTorch's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import array, assert_same, compare, need_torch, quietly, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn import functional as F

RNG = np.random.default_rng


def table(rows=7, width=5, dtype=np.float32, seed=0):
    return RNG(seed).standard_normal((rows, width)).astype(dtype)


def indices(*shape, rows=7, dtype=np.int64, seed=1):
    return np.asarray(RNG(seed).integers(0, rows, shape).astype(dtype))


def function(name, **settings):
    def call(t, *tensors):
        return getattr(t.nn.functional, name)(*tensors, **settings)

    return call


# -- Embedding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (4,), (3, 4), (2, 3, 4), (0,), (2, 0)])
def test_rows_and_gradients(shape):
    for padding, by_frequency, kind in itertools.product((None, 0, 3, -1), (False, True), (np.int64, np.int32)):
        for dtype in (np.float32, np.float64):
            call = function("embedding", padding_idx=padding, scale_grad_by_freq=by_frequency)
            compare(call, indices(*shape, dtype=kind), table(dtype=dtype))


@pytest.mark.parametrize(
    ("rows", "width", "n"), [(50, 3, 400), (40, 130, 300), (3, 200, 500), (1000, 600, 30), (5, 1, 100), (4, 0, 3)]
)
def test_rows_that_repeat_often(rows, width, n):
    """Gradients are added in several ways, by width."""
    some = indices(n, rows=rows)
    for index in (some, np.where(RNG(2).random(n) < 0.6, 1, some), np.zeros(n, np.int64)):
        compare(function("embedding"), index, table(rows, width), rtol=1e-5, atol=1e-5)
        compare(function("embedding", padding_idx=1, scale_grad_by_freq=True), index, table(rows, width), rtol=1e-5, atol=1e-5)


def test_other_layouts_and_dtypes():
    w = table(14, 10)
    for a in (w.T[:7], w[::2, ::2], np.asfortranarray(w)):
        compare(function("embedding"), indices(3, 4), a)
    compare(function("embedding"), indices(4, 6)[:, ::2], w)
    compare(function("embedding"), indices(4, 6).T, w)
    compare(function("embedding"), indices(3, 4), w.astype(np.float16))
    compare(function("embedding"), indices(3, 4), indices(7, 2))


@pytest.mark.parametrize("norm", [2.0, 1.0, 3.5, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_renorm(norm, dtype):
    torch = need_torch()
    results = []
    for t in (lamina, torch):
        w, i = t.from_numpy(table(dtype=dtype)), t.from_numpy(np.array([[1, 2], [1, 6]]))
        w.requires_grad_()
        before = w._version
        y = t.nn.functional.embedding(i, w, max_norm=1.0, norm_type=norm)
        y.sum().backward()
        after = w._version
        assert after > before
        results.append((y, w, w.grad))
    assert_same(*results)
    assert np.array_equal(array(results[0][1])[[0, 3, 4, 5]], table(dtype=dtype)[[0, 3, 4, 5]])


def test_renorm_of_bags():
    torch = need_torch()
    results = []
    for t in (lamina, torch):
        w = t.from_numpy(table())
        y = t.nn.functional.embedding_bag(t.from_numpy(indices(3, 4)), w, max_norm=0.7)
        results.append((y, w))
    assert_same(*results)


def test_gradients_of_gradients():
    w = lamina.from_numpy(table(dtype=np.float64)).requires_grad_()
    i = lamina.from_numpy(indices(3, 4))
    for settings in ({}, {"padding_idx": 2}, {"scale_grad_by_freq": True}, {"padding_idx": 2, "scale_grad_by_freq": True}):
        call = lambda w, s=settings: F.embedding(i, w, **s)  # noqa: E731
        if "scale_grad_by_freq" not in settings and "padding_idx" not in settings:
            assert gradcheck(call, (w,))
        assert gradgradcheck(call, (w,))


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, i, w: F.embedding(i + 7, w),
        lambda F, t, i, w: F.embedding(i - 7, w),
        lambda F, t, i, w: F.embedding(i.float(), w),
        lambda F, t, i, w: F.embedding(i.short(), w),
        lambda F, t, i, w: F.embedding(i.to(t.uint8), w),
        lambda F, t, i, w: F.embedding(i, w[0]),
        lambda F, t, i, w: F.embedding(i, w[None]),
        lambda F, t, i, w: F.embedding([0, 1], w),
        lambda F, t, i, w: F.embedding(i, w, padding_idx=7),
        lambda F, t, i, w: F.embedding(i, w, padding_idx=-8),
        lambda F, t, i, w: F.embedding(i, w.long(), max_norm=1.0),
        lambda F, t, i, w: t.nn.Embedding(3, 3, padding_idx=3),
        lambda F, t, i, w: t.nn.Embedding(3, 3, padding_idx=-4),
        lambda F, t, i, w: t.nn.Embedding(-3, 3),
        lambda F, t, i, w: t.nn.Embedding(3, 3, _weight=w),
        lambda F, t, i, w: t.nn.Embedding.from_pretrained(w[0]),
        lambda F, t, i, w: t.nn.EmbeddingBag(3, 3, padding_idx=3),
        lambda F, t, i, w: t.nn.EmbeddingBag.from_pretrained(w[0]),
    ],
)
def test_the_same_errors(call):
    same_error(lambda t, i, w: call(t.nn.functional, t, i, w), indices(3, 4), table())


def test_a_written_index_is_noticed():
    i, w = lamina.tensor([0, 1]), lamina.ones(3, 2, requires_grad=True)
    y = F.embedding(i, w)
    i[0] = 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# -- EmbeddingBag --------------------------------------------------------------------------------------------------


OFFSETS = {
    "even": [0, 3, 6, 9], "ragged": [0, 1, 5, 11], "empty bags": [0, 0, 4, 4, 12, 12], "one": [0],
    "long": [0, 11],
}  # fmt: skip


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("offsets", OFFSETS.values(), ids=OFFSETS)
def test_bags(mode, offsets):
    for padding, last, dtype in itertools.product((None, 0, 2, -1), (False, True), (np.float32, np.float64)):
        ends = np.array([*offsets, 12] if last else offsets, np.int64)
        call = function("embedding_bag", mode=mode, include_last_offset=last, padding_idx=padding)
        for kind in (np.int64, np.int32):
            compare(
                lambda t, i, w, k=kind, o=ends, c=call: c(t, i, w, t.from_numpy(o.astype(k))),
                indices(12, dtype=kind), table(dtype=dtype),
            )  # fmt: skip


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_one_length(mode):
    for shape, padding in itertools.product(((3, 4), (1, 6), (4, 1), (0, 3), (2, 30)), (None, 1)):
        compare(function("embedding_bag", mode=mode, padding_idx=padding), indices(*shape), table())
    compare(function("embedding_bag", mode=mode), indices(40, 9, rows=30), table(30, 140), rtol=1e-5, atol=1e-5)
    empty = F.embedding_bag(lamina.zeros(2, 0, dtype=lamina.int64), lamina.ones(3, 4), mode=mode)
    assert empty.shape == (2, 4) and not empty.any()  # PyTorch has an error


@pytest.mark.parametrize("offsets", OFFSETS.values(), ids=OFFSETS)
def test_weights_per_sample(offsets):
    for padding, dtype in itertools.product((None, 2), (np.float32, np.float64)):
        factors = RNG(3).standard_normal(12).astype(dtype)
        compare(
            lambda t, i, w, p, pad=padding: t.nn.functional.embedding_bag(
                i, w, t.from_numpy(np.array(offsets, np.int64)), mode="sum", per_sample_weights=p, padding_idx=pad
            ),
            indices(12), table(dtype=dtype), factors,
        )  # fmt: skip
    compare(
        lambda t, i, w, p: t.nn.functional.embedding_bag(i, w, mode="sum", per_sample_weights=p),
        indices(3, 4), table(), RNG(3).standard_normal((3, 4)).astype(np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_bags_by_frequency(mode):
    """As an embedding does it; PyTorch 2.13 divides some rows by the count of another index."""
    i = lamina.from_numpy(indices(4, 3))
    grads = []
    for bag in (True, False):
        w = lamina.from_numpy(table()).requires_grad_()
        if bag:
            y = F.embedding_bag(i, w, mode=mode, scale_grad_by_freq=True)
        else:
            y = getattr(F.embedding(i, w, scale_grad_by_freq=True), mode)(1)
        (y * lamina.arange(5)).sum().backward()
        grads.append(array(w.grad))
    np.testing.assert_allclose(*grads, rtol=1e-6)
    all_once = function("embedding_bag", mode=mode, scale_grad_by_freq=True)
    compare(all_once, np.array([[0, 1, 2], [3, 4, 5]]), table())


def test_no_bags():
    """PyTorch crashes here with some modes."""
    w = lamina.ones(3, 2, requires_grad=True)
    for mode in ("sum", "mean", "max"):
        y = F.embedding_bag(lamina.tensor([0, 1]), w, lamina.zeros(0, dtype=lamina.int64), mode=mode)
        y.sum().backward()
        assert y.shape == (0, 2) and not w.grad.any()


def test_ends_before_the_input_does():
    """The last offset is the end of the last bag, whatever follows."""
    i, w = lamina.from_numpy(indices(12)), lamina.from_numpy(table())
    p = lamina.ones(12, requires_grad=True)
    for mode in ("sum", "mean", "max"):
        whole = F.embedding_bag(i[:8], w, lamina.tensor([0, 3]), mode=mode)
        part = F.embedding_bag(i, w, lamina.tensor([0, 3, 8]), mode=mode, include_last_offset=True)
        assert (whole == part).all()
    F.embedding_bag(i, w, lamina.tensor([0, 3, 8]), mode="sum", include_last_offset=True, per_sample_weights=p).sum().backward()
    assert not p.grad[8:].any()


def test_maxima_of_nan_and_equals():
    w = np.array([[1, np.nan], [np.nan, 2], [3, 0], [3, 3], [-np.inf, 1]], np.float32)
    for bags in ([[0, 1], [1, 0], [2, 1], [1, 2], [2, 3], [3, 2], [4, 4]], [[2, 1, 0, 3, 4, 3, 2, 1]], [[1, 2, 0, 3, 3]]):
        compare(function("embedding_bag", mode="max"), np.array(bags), w)


def test_bags_in_half_precision():
    for mode in ("sum", "mean", "max"):
        compare(function("embedding_bag", mode=mode), indices(3, 4), table(dtype=np.float16), rtol=2e-3, atol=1e-3)


def test_gradients_of_gradients_of_bags():
    w = lamina.from_numpy(table(dtype=np.float64)).requires_grad_()
    p = lamina.from_numpy(RNG(3).standard_normal(12)).requires_grad_()
    i, offsets = lamina.from_numpy(indices(12)), lamina.tensor([0, 3, 3, 9])
    for mode, padding in itertools.product(("sum", "mean", "max"), (None, 2)):
        call = lambda w, m=mode, pad=padding: F.embedding_bag(i, w, offsets, mode=m, padding_idx=pad)  # noqa: E731
        assert gradcheck(call, (w,)) and gradgradcheck(call, (w,))
        if mode == "sum":
            call = lambda w, p, pad=padding: F.embedding_bag(  # noqa: E731
                i, w, offsets, mode="sum", per_sample_weights=p, padding_idx=pad
            )
            assert gradcheck(call, (w, p)) and gradgradcheck(call, (w, p))


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, i, w, o: F.embedding_bag(i, w, o + 1),
        lambda F, t, i, w, o: F.embedding_bag(i, w, t.tensor([0, 13])),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o[:0], include_last_offset=True),
        lambda F, t, i, w, o: F.embedding_bag(i.float(), w, o),
        lambda F, t, i, w, o: F.embedding_bag(i + 7, w, o),
        lambda F, t, i, w, o: F.embedding_bag(i - 7, w, o),
        lambda F, t, i, w, o: F.embedding_bag(i + 7, w, o, mode="max"),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, mode="min"),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, mode="sum", per_sample_weights=t.ones(3)),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, per_sample_weights=t.ones(12)),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, mode="sum", per_sample_weights=t.ones(12).double()),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, mode="max", scale_grad_by_freq=True),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, mode="max", sparse=True),
        lambda F, t, i, w, o: F.embedding_bag(i.reshape(3, 4), w, o),
        lambda F, t, i, w, o: F.embedding_bag(i, w),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o[None]),
        lambda F, t, i, w, o: F.embedding_bag(i[None, None], w),
        lambda F, t, i, w, o: F.embedding_bag(i, w[0], o),
        lambda F, t, i, w, o: F.embedding_bag(i, w.long(), o),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, padding_idx=7),
        lambda F, t, i, w, o: F.embedding_bag(i, w, o, padding_idx=-8),
    ],
)
def test_the_same_errors_of_bags(call):
    same_error(lambda t, i, w, o: call(t.nn.functional, t, i, w, o), indices(12), table(), np.array([0, 3, 7]))


def test_offsets_that_decrease():
    with pytest.raises(RuntimeError, match="must not decrease"):  # PyTorch reads on without a word
        F.embedding_bag(lamina.zeros(6, dtype=lamina.int64), lamina.ones(3, 2), lamina.tensor([0, 4, 2]))


def test_old_order_of_arguments():
    i, w = indices(3, 4), table()
    compare(quietly(lambda t, i, w: t.nn.functional.embedding_bag(w, i)), i, w)
    with pytest.warns(UserWarning, match="Argument order"):
        F.embedding_bag(lamina.from_numpy(w), lamina.from_numpy(i))


# -- layers --------------------------------------------------------------------------------------------------------


BUILDS = [
    lambda n: n.Embedding(10, 3),
    lambda n: n.Embedding(10, 3, padding_idx=2),
    lambda n: n.Embedding(10, 3, padding_idx=-1, max_norm=1.5, norm_type=1.0, scale_grad_by_freq=True),
    lambda n: n.EmbeddingBag(10, 3),
    lambda n: n.EmbeddingBag(10, 3, 1.5, 1.0, True, "sum", padding_idx=-2),
    lambda n: n.EmbeddingBag(10, 3, mode="max"),
]


@pytest.mark.parametrize("build", BUILDS)
def test_layers(build):
    torch = need_torch()
    layers = []
    for t in (lamina, torch):
        t.manual_seed(7)
        layers.append(build(t.nn))
    ours, theirs = layers
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    for name in ours.__constants__:
        assert getattr(ours, name) == getattr(theirs, name)
    assert_same(ours.weight, theirs.weight, rtol=1e-6, atol=1e-7)
    theirs.weight.data = torch.from_numpy(array(ours.weight).copy())
    i = indices(2, 5, rows=10)
    y, z = ours(lamina.from_numpy(i)), theirs(torch.from_numpy(i))
    assert_same(y, z)
    y.sum().backward(), z.sum().backward()
    assert_same(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("shape", [(10, 3), (2, 7), (100, 64), (1, 16), (3, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_numbers_after_a_seed(shape, dtype):
    torch = need_torch()
    tables = []
    for t in (lamina, torch):
        t.manual_seed(3)
        tables.append(array(t.nn.Embedding(*shape, dtype=getattr(t, dtype)).weight))
    np.testing.assert_allclose(*tables, rtol=1e-6 if dtype == "float32" else 1e-14)


def test_from_pretrained():
    w = lamina.from_numpy(table())
    for frozen in (True, False):
        for layer in (nn.Embedding.from_pretrained(w, freeze=frozen, padding_idx=1), nn.EmbeddingBag.from_pretrained(w, frozen)):
            assert layer.weight.requires_grad is not frozen and layer.weight.shape == (7, 5)
            assert layer.weight.data_ptr() == w.data_ptr()
    assert nn.Embedding.from_pretrained(w, padding_idx=1).padding_idx == 1
    assert nn.EmbeddingBag.from_pretrained(w, mode="max", include_last_offset=True).include_last_offset


def test_it_learns():
    """The padding row stays as it is."""
    layer = nn.Embedding(5, 3, padding_idx=0)
    optimizer = lamina.optim.SGD(layer.parameters(), lr=0.5)
    target = lamina.ones(4, 3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.mse_loss(layer(lamina.tensor([1, 2, 3, 0])), target)
        loss.backward()
        optimizer.step()
    assert not layer.weight[0].any() and (layer.weight[1:4] - 1).abs().max() < 0.1
