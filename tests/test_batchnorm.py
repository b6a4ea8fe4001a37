"""Batch normalisation against torch: functional form and layers, both engines, gradients of gradients, state dicts."""

from __future__ import annotations

import copy
import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same, compare, layouts, need_torch, same_error

import lamina
import lamina.nn.functional as F
from lamina import engine as engines
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck

SHAPES = [
    (6, 3),
    (8, 16),
    (4, 6, 1),
    (5, 8, 1, 1),
    (4, 3, 5),
    (4, 8, 7),
    (2, 3, 4, 5),
    (4, 10, 4, 4),
    (2, 16, 3, 3),
    (2, 3, 2, 3, 4),
    (3, 8, 2, 2, 2),
]
LAYERS = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}


def values(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def statistics(c, dtype="float32"):
    rng = np.random.default_rng(9)
    return [
        a.astype(dtype)
        for a in (rng.standard_normal(c), rng.random(c) + 0.5, rng.random(c) + 0.5, rng.standard_normal(c))
    ]


def normalised(t, x, w, b, mean, var, **settings):
    """Batch norm as a function of tensors that returns the statistics too (they change in place)."""
    if mean is not None:
        mean, var = mean.detach().clone(), var.detach().clone()
    y = t.nn.functional.batch_norm(x, mean, var, w, b, **settings)
    return (y,) if mean is None else (y, mean, var)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training(shape, dtype, each_engine):
    mean, var, w, b = statistics(shape[1], dtype)
    x = values(shape, dtype) * 2 + 3
    tight = {"rtol": 2e-5, "atol": 2e-5} if dtype == "float32" else {}
    for momentum in (0.1, 0.0, 1.0, 0.37):
        compare(
            lambda t, *a, m=momentum: normalised(t, *a, training=True, momentum=m),
            x,
            w,
            b,
            mean,
            var,
            **tight,
        )
    compare(lambda t, x, w: normalised(t, x, w, None, None, None, training=True), x, w, **tight)
    compare(lambda t, x, b: normalised(t, x, None, b, None, None, training=True, eps=1e-2), x, b, **tight)
    compare(lambda t, x: normalised(t, x, None, None, None, None, training=True), x, **tight)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_evaluation(shape, dtype, each_engine):
    mean, var, w, b = statistics(shape[1], dtype)
    x = values(shape, dtype)
    tight = {"rtol": 1e-5, "atol": 2e-5} if dtype == "float32" else {}

    def function(t, x, w=None, b=None):
        return t.nn.functional.batch_norm(x, t.from_numpy(mean), t.from_numpy(var), w, b)

    compare(function, x, w, b, **tight)
    compare(function, x, w, **tight)
    compare(function, x, **tight)


@pytest.mark.parametrize("layout", ["plain", "transposed", "channels_last", "strided"])
@pytest.mark.parametrize(
    "shape", [(16, 12), (8, 12, 9), (4, 10, 8, 8), (4, 16, 8, 8), (2, 8, 4, 4, 4)], ids=str
)
def test_memory_orders(shape, layout, each_engine):
    x = layouts(shape).get(layout)
    if x is None:
        pytest.skip("no such order for this rank")
    mean, var, w, b = statistics(shape[1])
    compare(lambda t, *a: normalised(t, *a, training=True), x, w, b, mean, var, rtol=2e-5, atol=2e-5)
    compare(lambda t, *a: normalised(t, *a, training=False), x, w, b, mean, var, rtol=2e-5, atol=2e-5)


def test_channels_last_in_channels_last_out(each_engine):
    """Channels-last activations flow on in their order, and their gradients flow back in it."""
    for c in (3, 8, 10, 12):
        x = lamina.from_numpy(layouts((4, c, 16, 16))["channels_last"]).requires_grad_()
        w, b = lamina.ones(c, requires_grad=True), lamina.zeros(c, requires_grad=True)
        y = F.batch_norm(x, None, None, w, b, True)
        assert y._a.strides == x._a.strides
        assert F.batch_norm(x, lamina.zeros(c), lamina.ones(c))._a.strides == x._a.strides
        gradients = []
        x.register_hook(gradients.append)
        with engines.usage() as used:
            y.backward(lamina.from_numpy(layouts((4, c, 16, 16), seed=1)["channels_last"]))
        assert gradients[0]._a.strides == x._a.strides
        assert (used["batch_norm_backward"][0] == 1) == (each_engine == "onednn")


@pytest.mark.parametrize("shape", [(4, 16, 64, 64), (3, 12, 67, 61), (1, 20, 101, 103), (6, 320, 20, 20)], ids=str)
@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_many_rows_lose_no_digits(shape, layout, each_engine):
    """Off by at most four times as much as PyTorch's own kernels for plain images, however many rows a sum runs over."""
    torch = need_torch()
    x, g = layouts(shape)[layout] + np.float32(1), layouts(shape, seed=1)[layout]

    def results(t, x, g):
        x = t.from_numpy(x.copy(order="K")).requires_grad_()
        w, b, mean, var = (t.from_numpy(np.full(shape[1], n, g.dtype)) for n in (1, 0, 0, 1))
        y = t.nn.functional.batch_norm(x, mean, var, w.requires_grad_(), b.requires_grad_(), True, momentum=1.0)
        y.backward(t.from_numpy(g.copy(order="K")))
        return [r.detach().numpy() for r in (y, mean, var, x.grad, w.grad, b.grad)]

    plain = [np.ascontiguousarray(a) for a in (x, g)]
    truth, theirs = results(torch, *(a.astype("float64") for a in plain)), results(torch, *plain)
    for exact, their, our in zip(truth, theirs, results(lamina, x, g), strict=True):
        size = np.linalg.norm(exact)
        assert np.linalg.norm(our - exact) <= 4 * np.linalg.norm(their - exact) + 1e-7 * size


def test_which_engine(each_engine):
    for shape in [(64, 32), (16, 8, 32), (8, 10, 16, 16), (8, 3, 16, 16), (2, 16, 8, 8, 8)]:
        with engines.usage() as used:
            F.batch_norm(lamina.from_numpy(values(shape)), None, None, training=True)
        assert used.engines == {each_engine}


@pytest.mark.parametrize("dtypes", [("float16", "float32"), ("float16", "float16")], ids=str)
def test_half_precision(dtypes):
    torch = need_torch()
    x = values((8, 4, 3, 3), dtypes[0])
    mean, var, w, b = statistics(4, dtypes[1])
    for training in (True, False):
        ours, theirs = ([t.from_numpy(a.copy()) for a in (x, mean, var, w, b)] for t in (lamina, torch))
        y = F.batch_norm(*ours, training=training)
        assert_same(y, torch.nn.functional.batch_norm(*theirs, training=training), rtol=3e-3, atol=3e-3)
        for a, b_ in zip(ours[1:3], theirs[1:3], strict=True):
            assert_same(a, b_, rtol=2e-3, atol=2e-3)
    inputs = [lamina.from_numpy(a).requires_grad_() for a in (x, w, b)]
    F.batch_norm(inputs[0], None, None, *inputs[1:], True).backward(lamina.from_numpy(x))
    assert [t.grad.dtype for t in inputs] == [t.dtype for t in inputs]


def test_gradients():
    mean, var, w, b = (lamina.from_numpy(a) for a in statistics(3, "float64"))
    w, b = w.requires_grad_(), b.requires_grad_()
    for shape in [(5, 3), (3, 3, 4), (2, 3, 2, 2), (2, 3, 1, 2, 2)]:
        x = lamina.from_numpy(values(shape, "float64")).requires_grad_()
        for function, inputs in [
            (lambda x, w, b: F.batch_norm(x, None, None, w, b, True, eps=0.1), (x, w, b)),
            (lambda x, w: F.batch_norm(x, None, None, w, None, True), (x, w)),
            (lambda x: F.batch_norm(x, None, None, training=True), (x,)),
            (lambda x, w, b: F.batch_norm(x, mean, var, w, b), (x, w, b)),
            (lambda x: F.batch_norm(x, mean, var), (x,)),
        ]:
            assert gradcheck(function, inputs)
            assert gradgradcheck(function, inputs)


def test_gradients_of_a_graph_to_differentiate_again_are_the_same(each_engine):
    """create_graph takes the composed rule, plain backward the kernel: one number for both."""
    x = lamina.from_numpy(values((8, 10, 6, 6))).requires_grad_()
    w, b = (lamina.from_numpy(a).requires_grad_() for a in statistics(10)[2:])
    y = F.batch_norm(x, None, None, w, b, True)
    v = lamina.from_numpy(values((8, 10, 6, 6), seed=1))
    plain = lamina.autograd.grad(y, (x, w, b), v, retain_graph=True)
    composed = lamina.autograd.grad(y, (x, w, b), v, create_graph=True)
    for p, c in zip(plain, composed, strict=True):
        np.testing.assert_allclose(p.numpy(), c.detach().numpy(), rtol=1e-4, atol=1e-5)
        assert c.requires_grad or c is composed[2]


def test_large_mean(each_engine):
    """The variance of numbers that are far from zero is not lost in their squares."""
    for c in (8, 10):
        x = values((64, c, 8, 8)) + 1000
        y = F.batch_norm(lamina.from_numpy(x), None, None, training=True, eps=0.0).numpy()
        exact = (x - x.mean((0, 2, 3), keepdims=True, dtype=np.float64)) / x.std(
            (0, 2, 3), keepdims=True, dtype=np.float64
        )
        assert np.abs(y - exact).max() < 2e-3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("c", [3, 8])
def test_nan_and_infinity(c, bad, each_engine):
    x = values((8, c, 12, 12))
    x[2, 1, 3, 3] = bad
    mean, var, w, b = statistics(c)
    compare(lambda t, *a: normalised(t, *a, training=True), x, w, b, mean, var, rtol=1e-4, atol=1e-4)
    compare(lambda t, *a: normalised(t, *a, training=False), x, w, b, mean, var, rtol=1e-4, atol=1e-4)


def test_nothing():
    for shape in [(0, 3), (0, 3, 2, 2), (2, 3, 0, 2)]:
        mean, var, w, b = statistics(3)
        compare(
            lambda t, *a: normalised(t, *a, training=True)[:1], values(shape), w, b, mean, var, grad=False
        )
        compare(lambda t, *a: normalised(t, *a, training=False), values(shape), w, b, mean, var, grad=False)
    layer = nn.BatchNorm1d(3)
    layer(lamina.zeros(0, 3))
    assert layer.running_mean.shape == (3,)


def z(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def bn(t, *arguments, **settings):
    return t.nn.functional.batch_norm(*arguments, **settings)


ERRORS = {
    "one value": (lambda t, x, c: bn(t, x, None, None, training=True), z(1, 3), "more than 1 value per channel.*1, 3"),
    "no statistics": (lambda t, x, c: bn(t, x, None, None), z(2, 3), "running_mean must be defined in evaluation"),
    "no variance": (lambda t, x, c: bn(t, x, c, None), z(2, 3), "running_var must be defined"),
    "half of them": (lambda t, x, c: bn(t, x, c, None, training=True), z(2, 3), "both be None"),
    "mean": (lambda t, x, c: bn(t, x, c[:2], c), z(2, 3), "running_mean should contain 3 elements not 2"),
    "variance": (lambda t, x, c: bn(t, x, c, c[:2]), z(2, 3), "running_var should contain 3"),
    "weight": (lambda t, x, c: bn(t, x, c, c, c[:2]), z(2, 3), "weight should contain 3"),
    "bias": (lambda t, x, c: bn(t, x, c, c, c, c[:2]), z(2, 3), "bias should contain 3"),
    "rank": (lambda t, x, c: bn(t, x, c, c), z(3), None),
    "dtypes": (lambda t, x, c: bn(t, x, c, c), z(2, 3, dtype="float64"), "all inputs must share same datatype"),
    "doubles": (lambda t, x, c: bn(t, x, c.double(), c.double()), z(2, 3), "scalar type of Float"),
    "integers": (lambda t, x, c: bn(t, x, None, None, training=True), z(2, 3, dtype="int64"), "not implemented"),
    "momentum": (lambda t, x, c: bn(t, x, c, c, momentum=None), z(2, 3), "momentum"),
    "epsilon": (lambda t, x, c: bn(t, x, c, c, eps=-1), z(2, 3), "non-negative"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    function, x, match = ERRORS[name]
    same_error(function, x, z(3), match=match)


# -- the layers ----------------------------------------------------------------------------------------------------

SETTINGS = [
    {}, {"eps": 1e-2, "momentum": 0.3}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"bias": False},
    {"affine": False, "track_running_stats": False},
]  # fmt: skip


@pytest.mark.parametrize("settings_", SETTINGS, ids=str)
@pytest.mark.parametrize("shape", [(6, 4), (4, 4, 5), (3, 4, 5, 6), (2, 4, 3, 4, 2)], ids=str)
def test_layers(shape, settings_, each_engine):
    torch = need_torch()
    name = LAYERS[len(shape)]
    ours, theirs = getattr(nn, name)(4, **settings_), getattr(torch.nn, name)(4, **settings_)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(1)
    with torch.no_grad(), lamina.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            a = rng.standard_normal(4).astype("float32")
            p.copy_(lamina.from_numpy(a))
            q.copy_(torch.from_numpy(a))
    for step in range(3):
        x = values(shape, seed=step) + step
        a, b = lamina.from_numpy(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
        y, r = ours(a), theirs(b)
        assert_same(y, r, rtol=2e-5, atol=2e-5)
        y.square().sum().backward()
        r.square().sum().backward()
        assert_same(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    for key, value in theirs.state_dict().items():
        assert_same(ours.state_dict()[key], value, rtol=1e-5, atol=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_same(p.grad, q.grad, rtol=1e-4, atol=1e-4)
    ours.eval()
    theirs.eval()
    assert_same(ours(lamina.from_numpy(x)), theirs(torch.from_numpy(x)), rtol=2e-5, atol=2e-5)


def test_signatures():
    torch = need_torch()
    from lamina.nn.modules import batchnorm

    for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "_NormBase", "_BatchNorm"):
        ours, theirs = (
            inspect.signature(getattr(m, name).__init__) for m in (batchnorm, torch.nn.modules.batchnorm)
        )
        assert [(p.name, p.default, p.kind) for p in ours.parameters.values()] == [
            (p.name, p.default, p.kind) for p in theirs.parameters.values()
        ]
    ours, theirs = (inspect.signature(m.batch_norm) for m in (F, torch.nn.functional))
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in theirs.parameters.values()
    ]


@pytest.mark.parametrize(
    "name, shape",
    [
        ("BatchNorm1d", (2, 4, 3, 3)),
        ("BatchNorm1d", (4,)),
        ("BatchNorm2d", (2, 4, 3)),
        ("BatchNorm3d", (2, 4, 3, 3)),
    ],
)
def test_wrong_ranks(name, shape):
    same_error(
        lambda t, x: getattr(t.nn, name)(4)(x),
        z(*shape),
        match=f"expected .* input \\(got {len(shape)}D input\\)",
    )


def test_wrong_inputs_leave_the_layer_as_it_was():
    layer = nn.BatchNorm2d(3)
    before = copy.deepcopy(layer.state_dict())
    for shape, error in [((2, 4, 5, 5), RuntimeError), ((1, 3, 1, 1), ValueError), ((2, 3, 5), ValueError)]:
        with pytest.raises(error):
            layer(lamina.randn(shape))
    for key, value in layer.state_dict().items():
        assert lamina.equal(value, before[key])
    same_error(
        lambda t, x: t.nn.BatchNorm2d(3, track_running_stats=False)(x),
        z(2, 4, 5, 5),
        match="weight should contain 4",
    )
    same_error(lambda t, x: t.nn.BatchNorm2d(-1), z(1), match="negative dimension -1")
    with pytest.raises(RuntimeError, match="negative dimension"):
        nn.BatchNorm2d(-1, affine=False)


def test_old_state_dicts_have_no_count():
    layer = nn.BatchNorm1d(2)
    layer(lamina.randn(4, 2))
    state = layer.state_dict()
    assert state._metadata[""] == {"version": 2}
    del state["num_batches_tracked"]
    assert nn.BatchNorm1d(2).load_state_dict(state, strict=False).missing_keys == ["num_batches_tracked"]
    with pytest.raises(RuntimeError, match="num_batches_tracked"):
        nn.BatchNorm1d(2).load_state_dict(state)
    state._metadata[""]["version"] = 1
    assert not nn.BatchNorm1d(2).load_state_dict(state).missing_keys
    assert not nn.BatchNorm1d(2).load_state_dict(dict(state)).missing_keys  # no metadata: older still
    assert (
        nn.Sequential(nn.BatchNorm1d(2)).load_state_dict({"0." + k: v for k, v in state.items()}).missing_keys
        == []
    )


def test_statistics_are_buffers():
    layer = nn.BatchNorm1d(2)
    layer(lamina.randn(4, 2) + 5)
    assert layer.num_batches_tracked.item() == 1 and layer.running_mean[0].item() > 0.1
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.tolist() == [0, 0] and layer.running_var.tolist() == [1, 1]
    layer.weight.data.fill_(3.0)
    layer.reset_parameters()
    assert layer.weight.tolist() == [1, 1]
    assert layer.double().running_mean.dtype is lamina.float64
    assert layer.num_batches_tracked.dtype is lamina.int64
    assert nn.BatchNorm1d(2, dtype=lamina.float64, device="cpu").running_var.dtype is lamina.float64
    nn.BatchNorm1d(2, track_running_stats=False).reset_running_stats()
    twin = copy.deepcopy(layer)
    twin(lamina.randn(4, 2, dtype=lamina.float64))
    assert layer.num_batches_tracked.item() == 0 and twin.num_batches_tracked.item() == 1


def test_statistics_written_between_forward_and_backward():
    """Two forward passes before one backward (a GAN's discriminator): each uses its own statistics."""
    layer = nn.BatchNorm1d(3)
    x = lamina.randn(8, 3, requires_grad=True)
    (layer(x).square().sum() + layer(x * 2).square().sum()).backward()
    assert x.grad.shape == (8, 3)
    layer.eval()
    y = layer(x)
    with lamina.no_grad():
        layer.running_mean.add_(1)  # evaluation does save the statistics that it used
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_single_positions_in_another_order(each_engine):
    """(N, C, 1) with the channels outermost in memory: made dense, it lies in both of the engine's orders at once."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 100, 1)).astype("float32").transpose(1, 0, 2)
    layer = nn.BatchNorm1d(50).eval()
    layer.running_mean.copy_(lamina.arange(50.0))
    ours = layer(lamina.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours, (x - np.arange(50.0).reshape(1, 50, 1)) / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_engines_agree(data):
    """Forward, statistics and backward are the same on both engines, for any sizes and orders in memory."""
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5)))
    if np.prod(shape) // shape[1] == 1:
        shape = (2, *shape[1:])
    order = data.draw(st.permutations(range(len(shape))))
    x, g = (
        np.ascontiguousarray(values(shape, seed=s).transpose(order)).transpose(np.argsort(order))
        for s in (0, 1)
    )
    mean, var, w, b = statistics(shape[1])
    use = data.draw(st.booleans())
    results = []
    for engine in ("reference", "onednn"):
        with engines.engine(engine):
            k = engines.kernels
            y, m, v = k.batch_norm_train(x, w if use else None, b if use else None, 1e-3)
            parts = k.batch_norm_backward(g, x, m, v, w if use else None, 1e-3)
            results.append(
                (
                    y,
                    m,
                    v,
                    *parts,
                    k.batch_norm_eval(x, mean, var, w if use else None, b if use else None, 1e-3),
                )
            )
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)
