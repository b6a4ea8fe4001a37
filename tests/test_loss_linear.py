"""Cross entropy with the linear map before it, whole and in chunks, and the adaptive softmax, against PyTorch's."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings

import numpy as np
import pytest
from support import array, assert_same, compare, need_torch, quietly, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.engine import memory
from lamina.nn import functional as F

REDUCTIONS = ("none", "mean", "sum")
TYPES = (np.float32, np.float64)


def numbers(*shape, dtype=np.float32, seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def classes(*shape, n=7, ignore=None, seed=6):
    t = np.random.default_rng(seed).integers(0, n, shape)
    return np.asarray(t if ignore is None else np.where(np.random.default_rng(seed + 1).random(shape) < 0.4, ignore, t))


def function(target, bias=False, weight=None, options=None, **settings):
    """The functional of an input, a weight and perhaps a bias; `options` are keyword arguments."""

    def call(t, x, w, *more):
        given = dict(settings)
        if options is not None:
            given["options"] = t.nn.LinearCrossEntropyOptions(**options)
        if weight is not None:
            given["weight"] = t.from_numpy(weight.copy())
        if more:
            given["linear_bias"] = more[0]
        return t.nn.functional.linear_cross_entropy(x, w, t.from_numpy(target.copy()), **given)

    return quietly(call)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_whole(reduction):
    for dtype, ignore, smoothing in itertools.product(TYPES, (None, 2), (0.0, 0.2)):
        w, b = numbers(7, 4, dtype=dtype, seed=1), numbers(7, dtype=dtype, seed=2)
        settings = {"reduction": reduction, "ignore_index": ignore, "label_smoothing": smoothing}
        for weight in (None, np.linspace(0.5, 2, 7).astype(dtype)):
            compare(function(classes(5, ignore=ignore), weight=weight, **settings), numbers(5, 4, dtype=dtype), w, b, rtol=1e-5)
        compare(function(classes(), **settings), numbers(4, dtype=dtype), w, rtol=1e-5)
        places = numbers(7, 2, 3, 4, dtype=dtype, seed=1), numbers(7, 2, 3, dtype=dtype, seed=2)
        compare(function(classes(5, 2, 3), **settings), numbers(5, 4, dtype=dtype), *places, rtol=1e-5)
        if ignore is None:
            shares = np.abs(numbers(5, 7, dtype=dtype, seed=3))
            compare(function(shares, **settings), numbers(5, 4, dtype=dtype), w, b, rtol=1e-5)
            compare(function(shares[0], **settings), numbers(4, dtype=dtype), w, rtol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [{}, {"batch_chunk_size": 2}, {"batch_chunk_size": 1}, {"chunking_method": "aspect_ratio"},
                                     {"chunking_method": None}, {"chunking_method": "aspect_ratio:3", "acc_policy": "accurate"},
                                     {"allow_retain_graph": True}], ids=str)  # fmt: skip
def test_chunks(options, reduction):
    for dtype, biased, ignore in itertools.product(TYPES, (False, True), (None, 2)):
        tensors = [numbers(5, 4, dtype=dtype), numbers(7, 4, dtype=dtype, seed=1)]
        if biased:
            tensors.append(numbers(7, dtype=dtype, seed=2))
        for weight in (None, np.linspace(0.5, 2, 7).astype(dtype)):
            settings = {"reduction": reduction, "ignore_index": ignore, "weight": weight}
            compare(function(classes(5, ignore=ignore), options=options, **settings), *tensors, rtol=2e-5, atol=2e-6)
        compare(function(classes(), options=options, reduction=reduction), numbers(4, dtype=dtype), *tensors[1:], rtol=2e-5)


def test_chunks_are_the_whole():
    """Losses and gradients, of large arrays on both engines."""
    x, w, b = numbers(70, 40), numbers(900, 40, seed=1), numbers(900, seed=2)
    t, v = lamina.from_numpy(classes(70, n=900, ignore=-100)), lamina.from_numpy(numbers(70, seed=4))
    for reduction in REDUCTIONS:
        results = []
        for options in (None, nn.LinearCrossEntropyOptions(), nn.LinearCrossEntropyOptions(batch_chunk_size=16)):
            leaves = [lamina.from_numpy(a.copy()).requires_grad_() for a in (x, w, b)]
            loss = F.linear_cross_entropy(*leaves[:2], t, linear_bias=leaves[2], reduction=reduction, options=options)
            loss.backward(v if reduction == "none" else lamina.tensor(0.5))
            results.append([array(loss), *(array(leaf.grad) for leaf in leaves)])
        for other in results[1:]:
            for a, b_ in zip(results[0], other, strict=True):
                np.testing.assert_allclose(a, b_, rtol=2e-5, atol=2e-5)


def test_chunks_need_little_memory(monkeypatch):
    """Eight thousand classes for five hundred samples are 16 MB of logits, and as much for their gradient."""
    x, w = lamina.from_numpy(numbers(512, 16)).requires_grad_(), lamina.from_numpy(numbers(8192, 16)).requires_grad_()
    t = lamina.from_numpy(classes(512, n=8192))
    monkeypatch.setattr(memory, "_heap", memory._Heap(memory.limit()))  # that grows by what is asked for, which is traced
    monkeypatch.setattr(memory, "SEGMENT", 1)
    tracemalloc.start()
    F.linear_cross_entropy(x, w, t, options=nn.LinearCrossEntropyOptions(batch_chunk_size=32)).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_only_what_is_wanted():
    for wanted in itertools.product((False, True), repeat=3):
        leaves = [
            lamina.from_numpy(a).requires_grad_(r)
            for a, r in zip((numbers(5, 4), numbers(7, 4, seed=1), numbers(7, seed=2)), wanted, strict=True)
        ]
        for reduction in REDUCTIONS:
            loss = F.linear_cross_entropy(
                *leaves[:2], lamina.from_numpy(classes(5)), linear_bias=leaves[2], reduction=reduction,
                options=nn.LinearCrossEntropyOptions(),
            )  # fmt: skip
            assert loss.requires_grad is any(wanted)
            if any(wanted):
                loss.sum().backward()
                assert [leaf.grad is not None for leaf in leaves] == list(wanted)


def test_backward_twice():
    """PyTorch can go back once, and has no second derivative."""
    leaves = [lamina.from_numpy(numbers(*s, dtype=np.float64)).requires_grad_() for s in ((5, 4), (7, 4), (7,))]
    t, weight = lamina.from_numpy(classes(5, ignore=2)), lamina.from_numpy(np.linspace(0.5, 2, 7))
    for reduction, w in itertools.product(REDUCTIONS, (None, weight)):
        options = nn.LinearCrossEntropyOptions(batch_chunk_size=2)

        def loss(x, m, b, r=reduction, w=w, o=options):
            return F.linear_cross_entropy(x, m, t, linear_bias=b, weight=w, ignore_index=2, reduction=r, options=o)

        assert gradcheck(loss, leaves) and gradgradcheck(loss, leaves)
        y = loss(*leaves).sum()
        once, again = (lamina.autograd.grad(y, leaves, retain_graph=True) for _ in range(2))
        for a, b in zip(once, again, strict=True):
            assert (a == b).all() and a.data_ptr() != b.data_ptr() or reduction != "none"
    x = leaves[0]
    y = loss(*leaves).sum()
    x.grad = None
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    assert ((x.grad - 2 * first).abs() < 1e-12).all()


def test_half_precision():
    for options in (None, {}, {"acc_dtype": None, "batch_chunk_size": 2}):
        x, w = numbers(6, 8, dtype=np.float16), numbers(9, 8, dtype=np.float16, seed=1)
        compare(function(classes(6, n=9), options=options), x, w, rtol=5e-3, atol=2e-3)


def test_options():
    torch = need_torch()
    for settings in ({}, {"batch_chunk_size": 3}, {"allow_retain_graph": True, "acc_policy": "compact"}):
        assert repr(nn.LinearCrossEntropyOptions(**settings)) == repr(torch.nn.LinearCrossEntropyOptions(**settings))
    methods = ("auto", "aspect_ratio", "aspect_ratio:4", None)
    for n, f, c, method in itertools.product((1, 5, 64, 1000), (3, 64), (2, 50, 30000), methods):
        theirs = torch.nn.LinearCrossEntropyOptions(chunking_method=method)._adjust(n, f, c, torch.float32, torch.device("cpu"))
        assert nn.LinearCrossEntropyOptions(chunking_method=method).chunk_size(n, f, c, False) == theirs.batch_chunk_size
    with pytest.warns(UserWarning, match="``options`` ignored"):
        x, w = (lamina.from_numpy(numbers(*s)) for s in ((5, 4), (7, 4)))
        F.linear_cross_entropy(x, w, lamina.from_numpy(classes(5)), label_smoothing=0.1, options=nn.LinearCrossEntropyOptions())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.linear_cross_entropy(x, w, lamina.from_numpy(classes(5)), options=nn.LinearCrossEntropyOptions())


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, x, w, y: F.linear_cross_entropy(x[0, 0], w, y),
        lambda F, t, x, w, y: F.linear_cross_entropy(x[None], w, y),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w[0], y),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w[:, :3], y),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, y, linear_bias=t.ones(3)),
        lambda F, t, x, w, y: F.linear_cross_entropy(x[0], t.ones(7, 2, 4), t.zeros(2).long()),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, t.rand(5, 7), ignore_index=1),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, y + 7),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, y, reduction="q"),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, y, reduction="q", options=t.nn.LinearCrossEntropyOptions()),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w.double(), y, options=t.nn.LinearCrossEntropyOptions()),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, y.int(), options=t.nn.LinearCrossEntropyOptions()),
        lambda F, t, x, w, y: F.linear_cross_entropy(
            x, w, y, options=t.nn.LinearCrossEntropyOptions(batch_chunk_size=2, chunking_method="aspect_ratio")
        ),
        lambda F, t, x, w, y: F.linear_cross_entropy(x, w, y, options=t.nn.LinearCrossEntropyOptions(acc_dtype=t.float64)),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyOptions(acc_policy="q"),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyOptions(chunking_method="q"),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyOptions(chunking_method="aspect_ratio:0"),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyOptions(batch_chunk_size=0),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyOptions(acc_dtype=t.int64),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyLoss(5, 10, weight=t.ones(3)),
        lambda F, t, x, w, y: t.nn.LinearCrossEntropyLoss(5, 10, label_smoothing=2),
    ],
)
def test_the_same_errors(call):
    same_error(lambda t, x, w, y: call(t.nn.functional, t, x, w, y), numbers(5, 4), numbers(7, 4, seed=1), classes(5))


def test_errors_of_chunks():
    x, w, y = (lamina.from_numpy(a) for a in (numbers(5, 4), numbers(7, 4), classes(5)))
    options = nn.LinearCrossEntropyOptions()
    with pytest.raises(IndexError, match="out of bounds"):
        F.linear_cross_entropy(x, w, y + 7, options=options)
    with pytest.raises(ValueError, match="batch_size"):
        F.linear_cross_entropy(x, w, y[:3], options=options)
    with pytest.raises(RuntimeError, match="weight tensor"):
        F.linear_cross_entropy(x, w, y, weight=lamina.ones(3), options=options)


@pytest.mark.parametrize(
    "settings",
    [{}, {"bias": True, "reduction": "sum"}, {"out_features": (2, 3), "bias": True}, {"label_smoothing": 0.1, "ignore_index": 2}],
    ids=str,
)
def test_layer(settings):
    torch = need_torch()
    target = classes(6, *settings.get("out_features", ()))
    layers = []
    for t in (lamina, torch):
        t.manual_seed(5)
        layers.append(t.nn.LinearCrossEntropyLoss(4, 7, **settings))
    ours, theirs = layers
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.__constants__ == theirs.__constants__
    losses = []
    for t, m in ((lamina, ours), (torch, theirs)):
        losses.append(m(t.from_numpy(numbers(6, 4)), t.from_numpy(target)))
        losses[-1].backward()
    assert_same(*losses, rtol=1e-5)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_same(a.grad, b.grad, rtol=1e-5)
    if not settings:
        chunked = nn.LinearCrossEntropyLoss(4, 7, options=nn.LinearCrossEntropyOptions())
        chunked.load_state_dict(ours.state_dict())
        assert_same(chunked(lamina.from_numpy(numbers(6, 4)), lamina.from_numpy(target)), losses[1], rtol=1e-5)


# -- the adaptive softmax ------------------------------------------------------------------------------------------


def adaptive(t, *arguments, **settings):
    t.manual_seed(3)
    return t.nn.AdaptiveLogSoftmaxWithLoss(*arguments, **settings)


@pytest.mark.parametrize("settings", [(16, 20, [4, 10]), (8, 20, [4, 10, 15], 2.0, True), (16, 5, [2]), (4, 100, [99])], ids=str)
def test_adaptive_softmax(settings):
    torch = need_torch()
    features, n = settings[:2]
    ours, theirs = (adaptive(t, *settings) for t in (lamina, torch))
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    for name in ("cutoffs", "shortlist_size", "n_clusters", "head_size", "div_value", "head_bias"):
        assert getattr(ours, name) == getattr(theirs, name)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (array(a) == array(b)).all()
    for shape in ((9,), (2,), ()):
        target, x = classes(*shape, n=n), numbers(*shape, features)
        results = []
        for t, m in ((lamina, ours), (torch, theirs)):
            leaf = t.from_numpy(x.copy()).requires_grad_()
            m.zero_grad()
            result = m(leaf, t.from_numpy(target.copy()))
            result.loss.backward(retain_graph=True)
            result.output.sum().backward()
            results.append([*result, leaf.grad, *(p.grad for p in m.parameters())])
        assert_same(*results, rtol=1e-5, atol=1e-6)
    x = numbers(12, features)
    with lamina.no_grad(), torch.no_grad():
        assert_same(ours.log_prob(lamina.from_numpy(x)), theirs.log_prob(torch.from_numpy(x)), rtol=1e-5)
        assert_same(ours.predict(lamina.from_numpy(x)), theirs.predict(torch.from_numpy(x)))
        assert (ours.predict(lamina.from_numpy(x)) == ours.log_prob(lamina.from_numpy(x)).argmax(1)).all()


def test_adaptive_gradients():
    softmax = adaptive(lamina, 6, 12, [3, 7], 2.0, dtype=lamina.float64)
    x = lamina.from_numpy(numbers(5, 6, dtype=np.float64)).requires_grad_()
    t = lamina.tensor([0, 2, 4, 8, 11])
    assert gradcheck(lambda x: softmax(x, t), (x,)) and gradgradcheck(lambda x: softmax(x, t).loss, (x,))


@pytest.mark.parametrize(
    "call",
    [
        lambda m, t: t.nn.AdaptiveLogSoftmaxWithLoss(8, 20, []),
        lambda m, t: t.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [10, 4]),
        lambda m, t: t.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 4]),
        lambda m, t: t.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [0, 4]),
        lambda m, t: t.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4, 20]),
        lambda m, t: t.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [4.5]),
        lambda m, t: m(t.ones(3, 8), t.tensor([1, 2])),
        lambda m, t: m(t.ones(3, 8), t.tensor([1, 2, 20])),
        lambda m, t: m(t.ones(3, 8), t.tensor([1, 2, -1])),
        lambda m, t: m(t.ones(3, 8), t.tensor([[1, 2, 3]])),
        lambda m, t: m(t.ones(3), t.tensor([1, 2, 3])),
        lambda m, t: m(t.ones(3, 8), t.tensor(1)),
    ],
)
def test_adaptive_errors(call):
    same_error(lambda t: call(adaptive(t, 8, 20, [4, 10], 2.0), t))
