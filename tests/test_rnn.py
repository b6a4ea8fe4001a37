"""Recurrent layers and cells against torch: outputs, states, gradients, packed sequences, errors."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ENGINES, assert_same, need_torch

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn.utils import rnn as utils

KINDS = ("RNN", "RNN relu", "LSTM", "GRU")


def make(kind, *args, seed=0, dtype="float32", cell=False, **kwargs):
    """The same layer in both libraries, made after the same seed; its parameters must agree by themselves."""
    torch = need_torch()
    name, *nonlinearity = kind.split()
    if nonlinearity:
        kwargs["nonlinearity"] = nonlinearity[0]
    lamina.manual_seed(seed)
    ours = getattr(nn, name + ("Cell" if cell else ""))(*args, **kwargs)
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, name + ("Cell" if cell else ""))(*args, **kwargs)
    if dtype == "float64":
        ours, theirs = ours.double(), theirs.double()
    return ours, theirs


def states(kind, shape, proj, dtype, rng):
    h = rng.standard_normal((*shape[:-1], proj or shape[-1])).astype(dtype)
    return (h, rng.standard_normal(shape).astype(dtype)) if kind == "LSTM" else (h,)


def both(x, grad=True):
    torch = need_torch()
    a, b = lamina.from_numpy(x.copy()), torch.from_numpy(x.copy())
    return a.requires_grad_(grad), b.requires_grad_(grad)


def check(ours, theirs, x, hx, rng, tolerance=None):
    """Outputs, states, gradients of input, states and parameters."""
    torch = need_torch()
    xs, hs = both(x), [both(h) for h in hx]
    several = len(hs) == 2

    def run(module, i):
        states = tuple(h[i] for h in hs)
        return module(xs[i], (states if several else states[0])) if hs else module(xs[i])

    a, b = run(ours, 0), run(theirs, 1)

    def flat(r):
        return (
            [t for part in r for t in (part if isinstance(part, tuple) else (part,))]
            if isinstance(r, tuple)
            else [r]
        )

    a, b = flat(a), flat(b)
    rtol = atol = None
    if x.dtype == np.float32:
        rtol, atol = 1e-4, 2e-5  # sums over time in another order than torch's
    for p, q in zip(a, b, strict=True):
        assert_same(p, q, rtol, atol)
    vectors = [rng.standard_normal(tuple(q.shape)).astype(x.dtype) for q in b]
    lamina.autograd.backward(a, [lamina.from_numpy(v.copy()) for v in vectors])
    torch.autograd.backward(b, [torch.from_numpy(v.copy()) for v in vectors])
    if x.dtype == np.float32:
        rtol, atol = 1e-4, 1e-4
    for p, q in [xs, *hs]:
        assert_same(p.grad, q.grad, rtol, atol)
    for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        assert_same(p.grad, q.grad, rtol, atol)


GRID = [
    dict(num_layers=layers, bias=bias, batch_first=first, bidirectional=two)
    for layers, bias, first, two in itertools.product((1, 3), (True, False), (True, False), (True, False))
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", GRID, ids=lambda s: "-".join(str(v) for v in s.values()))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_match_torch(kind, settings, dtype, each_engine):
    rng = np.random.default_rng(0)
    ours, theirs = make(kind, 5, 6, dtype=dtype, **settings)
    shape = (4, 7, 5) if settings["batch_first"] else (7, 4, 5)
    directions = 2 if settings["bidirectional"] else 1
    hx = states(kind, (settings["num_layers"] * directions, 4, 6), 0, dtype, rng)
    check(ours, theirs, rng.standard_normal(shape).astype(dtype), hx, rng)
    check(ours, theirs, rng.standard_normal(shape).astype(dtype), (), rng)


@pytest.mark.parametrize("kind", KINDS)
def test_unbatched(kind, each_engine):
    rng = np.random.default_rng(0)
    ours, theirs = make(kind, 5, 6, bidirectional=True)
    hx = states(kind, (2, 6), 0, "float32", rng)
    check(ours, theirs, rng.standard_normal((7, 5)).astype("float32"), hx, rng)


@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False, "batch_first": True}]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch's own
def test_projection(settings, dtype, each_engine):
    rng = np.random.default_rng(0)
    ours, theirs = make("LSTM", 5, 6, proj_size=3, dtype=dtype, **settings)
    count = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    hx = states("LSTM", (count, 4, 6), 3, dtype, rng)
    check(ours, theirs, rng.standard_normal((4, 4, 5)).astype(dtype), hx, rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(35, 32, 64, 64), (1, 1, 3, 4), (20, 1, 16, 32), (3, 0, 4, 4)])
def test_sizes(kind, size, each_engine):
    t, n, i, h = size
    rng = np.random.default_rng(0)
    ours, theirs = make(kind, i, h)
    if n == 0:
        y, _ = ours(lamina.zeros(t, n, i))
        assert y.shape == (t, 0, h)
        return
    check(ours, theirs, rng.standard_normal((t, n, i)).astype("float32"), (), rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_cells(kind, batched, bias, each_engine):
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64"):
        ours, theirs = make(kind, 5, 6, bias=bias, dtype=dtype, cell=True)
        lead = (4,) if batched else ()
        check(
            ours,
            theirs,
            rng.standard_normal((*lead, 5)).astype(dtype),
            states(kind, (*lead, 6), 0, dtype, rng),
            rng,
        )
        check(ours, theirs, rng.standard_normal((*lead, 5)).astype(dtype), (), rng)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
def test_packed_sequences(kind, two, ordered, each_engine):
    torch = need_torch()
    rng = np.random.default_rng(0)
    ours, theirs = make(kind, 5, 6, num_layers=2, bidirectional=two)
    lengths = [7, 5, 5, 2] if ordered else [2, 7, 1, 5]
    x = rng.standard_normal((7, 4, 5)).astype("float32")
    hx = states(kind, (4 if two else 2, 4, 6), 0, "float32", rng)
    results = []
    for module, library, pack in ((ours, lamina, utils), (theirs, torch, torch.nn.utils.rnn)):
        a = library.from_numpy(x.copy()).requires_grad_()
        hs = tuple(library.from_numpy(h.copy()).requires_grad_() for h in hx)
        packed = pack.pack_padded_sequence(a, lengths, enforce_sorted=ordered)
        y, last = module(packed, hs if len(hs) == 2 else hs[0])
        padded, sizes = pack.pad_packed_sequence(y, total_length=8)
        total = (padded * padded).sum() + sum(
            (s * s * s).sum() for s in (last if isinstance(last, tuple) else (last,))
        )
        total.backward()
        results.append(
            (
                packed.data,
                packed.batch_sizes,
                padded,
                sizes,
                last,
                a.grad,
                *(h.grad for h in hs),
                *(p.grad for p in module.parameters()),
            )
        )
    assert_same(results[0][:4], results[1][:4], 1e-4, 1e-5)
    for p, q in zip(results[0][4:], results[1][4:], strict=True):
        assert_same(p, q, 1e-4, 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_gradients(kind):
    lamina.manual_seed(0)
    name, *nonlinearity = kind.split()
    module = getattr(nn, name)(1, 2, **({"nonlinearity": "relu"} if nonlinearity else {})).double()
    x = lamina.randn(2, 2, 1, dtype=lamina.float64, requires_grad=True)
    weights = [p.detach().clone().requires_grad_() for p in module.parameters()]

    def run(x, *weights):
        return _functional(kind, x, weights)

    assert gradcheck(run, (x, *weights)) and gradgradcheck(run, (x, *weights))


def _functional(kind, x, weights):
    zero = lamina.zeros(1, x.shape[1], 2, dtype=x.dtype)
    settings = (list(weights), True, 1, 0.0, True, False, False)
    if kind == "LSTM":
        return lamina.lstm(x, (zero, zero), *settings)
    function = {"GRU": lamina.gru, "RNN": lamina.rnn_tanh, "RNN relu": lamina.rnn_relu}[kind]
    return function(x, zero, *settings)


def test_gradients_of_gradients_of_packed_sequences_and_projections():
    lamina.manual_seed(0)
    sizes = lamina.tensor([2, 1])
    x = lamina.randn(3, 1, dtype=lamina.float64, requires_grad=True)
    h = lamina.randn(2, 2, 1, dtype=lamina.float64, requires_grad=True)
    s = lamina.randn(2, 2, 2, dtype=lamina.float64, requires_grad=True)
    shapes = [(8, 1), (8, 1), (8,), (8,), (1, 2)] * 2
    weights = [lamina.randn(*shape, dtype=lamina.float64, requires_grad=True) for shape in shapes]

    def run(x, h, s, *weights):
        return lamina.lstm(x, sizes, (h, s), list(weights), True, 1, 0.0, True, True)

    assert gradcheck(run, (x, h, s, *weights), atol=1e-4) and gradgradcheck(
        run, (x, h, s, *weights), atol=1e-4
    )


def test_oneDNN_runs_where_it_can(each_engine):  # noqa: N802
    if each_engine != "onednn":
        pytest.skip("this asks whether the fast engine ran")
    if not lamina.engine.kernels.rnn_layer.fast:
        pytest.skip("there is no fast kernel of this family")
    module = nn.LSTM(16, 32)
    with lamina.engine.usage() as used:
        module(lamina.randn(8, 4, 16))[0].sum().backward()
    assert used["rnn_layer"][0] == 1 and used["rnn_layer_backward"][0] == 1


def test_dropout_between_layers():
    lamina.manual_seed(0)
    module = nn.LSTM(4, 5, num_layers=2, dropout=0.5)
    x = lamina.randn(6, 3, 4)
    first, second = module(x)[0], module(x)[0]
    assert not lamina.equal(first, second)
    module.eval()
    assert lamina.equal(module(x)[0], module(x)[0])
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        nn.GRU(2, 3, dropout=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_and_repr(kind):
    for chosen in (
        {},
        {"num_layers": 2, "bidirectional": True, "bias": False},
        {"batch_first": True, "dropout": 0.25, "num_layers": 2},
    ):
        ours, theirs = make(kind, 3, 4, **chosen)
        assert repr(ours) == repr(theirs)
        a, b = ours.state_dict(), theirs.state_dict()
        assert list(a) == list(b)
        for key in a:
            np.testing.assert_array_equal(a[key].numpy(), b[key].numpy())
    twin = copy.deepcopy(ours)
    x = lamina.randn(3, 2, 3) if not ours.batch_first else lamina.randn(2, 3, 3)
    twin.eval(), ours.eval()
    assert lamina.equal(ours(x)[0], twin(x)[0])


ERRORS = {
    "rank": lambda t: t.nn.LSTM(3, 4)(t.zeros(1, 2, 3, 3)),
    "size": lambda t: t.nn.GRU(3, 4)(t.zeros(2, 2, 5)),
    "dtype": lambda t: t.nn.RNN(3, 4)(t.zeros(2, 2, 3, dtype=t.float64)),
    "hidden size": lambda t: t.nn.RNN(3, 4)(t.zeros(2, 2, 3), t.zeros(1, 2, 5)),
    "hidden rank": lambda t: t.nn.GRU(3, 4)(t.zeros(2, 2, 3), t.zeros(2, 4)),
    "cell size": lambda t: t.nn.LSTM(3, 4)(t.zeros(2, 2, 3), (t.zeros(1, 2, 4), t.zeros(1, 2, 5))),
    "dropout": lambda t: t.nn.LSTM(3, 4, dropout=1.5),
    "hidden zero": lambda t: t.nn.LSTM(3, 0),
    "layers": lambda t: t.nn.LSTM(3, 4, num_layers=0),
    "type": lambda t: t.nn.LSTM(3, 4.5),
    "projection": lambda t: t.nn.LSTM(3, 4, proj_size=4),
    "gru projection": lambda t: t.nn.GRU(3, 4, proj_size=2),
    "nonlinearity": lambda t: t.nn.RNN(3, 4, nonlinearity="sigmoid"),
    "cell rank": lambda t: t.nn.LSTMCell(3, 4)(t.zeros(1, 2, 3)),
    "cell input": lambda t: t.nn.GRUCell(3, 4)(t.zeros(2, 5)),
    "cell state": lambda t: t.nn.RNNCell(3, 4)(t.zeros(2, 3), t.zeros(2, 5)),
    "empty sequence": lambda t: t.nn.LSTM(3, 4)(t.zeros(0, 2, 3)),
    "unsorted": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [1, 3]),
    "zero length": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [3, 0]),
    "lengths": lambda t: t.nn.utils.rnn.pack_padded_sequence(t.zeros(3, 2, 1), [3]),
    "total length": lambda t: t.nn.utils.rnn.pad_packed_sequence(
        t.nn.utils.rnn.pack_sequence([t.zeros(3, 1)]), total_length=2
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    torch = need_torch()
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        ERRORS[name](torch)
    with pytest.raises(theirs.type):
        ERRORS[name](lamina)


def test_pad_and_unpad():
    torch = need_torch()
    parts = [np.arange(n * 2.0).reshape(n, 2) for n in (3, 1, 4)]
    for first, side in itertools.product((True, False), ("left", "right")):
        ours = utils.pad_sequence([lamina.from_numpy(p) for p in parts], first, -1.0, side)
        assert_same(
            ours, torch.nn.utils.rnn.pad_sequence([torch.from_numpy(p) for p in parts], first, -1.0, side)
        )
    packed = utils.pack_sequence([lamina.from_numpy(p) for p in parts], enforce_sorted=False)
    for back, part in zip(utils.unpack_sequence(packed), parts, strict=True):
        assert back.tolist() == part.tolist()
    assert packed.double().data.dtype is lamina.float64 and packed.to(lamina.float64) is packed


def test_nan_comes_through(each_engine):
    module = nn.LSTM(2, 3)
    x = lamina.zeros(3, 2, 2)
    x[1, 0, 0] = float("nan")
    y, _ = module(x)
    assert lamina.isnan(y[1:, 0]).all() and not lamina.isnan(y[:, 1]).any() and not lamina.isnan(y[0]).any()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_both_forms_of_the_kernels_agree(data):
    """Reference against oneDNN over sizes, cells, directions, memory orders and values, lengths alike or not."""
    from lamina.engine import engine, kernels

    if lamina.engine.get_engine() == "reference":
        return
    cell = data.draw(st.sampled_from(["tanh", "relu", "lstm", "gru"]))
    t, n, i, h = (data.draw(st.integers(low, 6)) for low in (1, 0, 1, 1))
    sizes = (n,) * t
    if n and data.draw(st.booleans()):
        sizes = (n, *sorted(data.draw(st.lists(st.integers(1, n), max_size=5)), reverse=True))
    reverse, bias, turned = (data.draw(st.booleans()) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)

    def draw(*shape):
        a = rng.standard_normal(shape).astype("float32")
        return np.asfortranarray(a) if turned and len(shape) == 2 else a

    x, h0, s0 = draw(sum(sizes), i), draw(n, h), draw(n, h) if cell == "lstm" else None
    if data.draw(st.booleans()) and x.size:
        x[0, 0] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
    w, u = draw(gates * h, i), draw(gates * h, h)
    b, c = (draw(gates * h), draw(gates * h)) if bias else (None, None)
    gy, gh, gs = draw(sum(sizes), h), draw(n, h), draw(n, h) if cell == "lstm" else None
    results = []
    for name in ENGINES:
        with engine(name):
            y, last, cells, reserve = kernels.rnn_layer(
                x, sizes, h0, s0, w, u, b, c, None, cell, reverse, True
            )
            back = kernels.rnn_layer_backward(
                x, gy, gh, gs, y, last, cells, sizes, h0, s0, w, u, b, c, None, cell, reverse, reserve
            )
            results.append((y, last, cells, *back))
    for ours, theirs in zip(*results, strict=True):
        if ours is None:
            assert theirs is None
        else:
            np.testing.assert_allclose(
                ours, theirs, rtol=2e-4, atol=2e-4
            )  # float32 sums over time, of both signs


@pytest.mark.parametrize("cell", ["tanh", "relu"])
def test_wide_simple_layers_in_use_agree(cell):
    """Where oneDNN runs step by step: few sequences of many features, or many of fewer."""
    from lamina.engine import engine, kernels

    if lamina.engine.get_engine() == "reference":
        return
    rng = np.random.default_rng(0)
    for n, h in ((2, 512), (64, 64)):
        x, h0 = (rng.standard_normal((rows, h)).astype("float32") for rows in (3 * n, n))
        w, u = (rng.standard_normal((h, h)).astype("float32") / h**0.5 for _ in range(2))
        b = rng.standard_normal(h).astype("float32")
        results = []
        for name in ENGINES:
            with engine(name):
                for reverse in (False, True):
                    args = (x, (n,) * 3, h0, None, w, u, b, b, None, cell, reverse, False)
                    results.append(kernels.rnn_layer(*args)[:2])
        half = len(results) // 2
        for ours, theirs in zip(results[:half], results[half:], strict=True):
            for a, b_ in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b_, rtol=1e-5, atol=5e-6)
