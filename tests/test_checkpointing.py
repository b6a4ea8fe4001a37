"""Activation checkpointing: the numbers of the plain call, computed twice, in both forms."""

from __future__ import annotations

import gc
import importlib
import warnings
import weakref

import pytest
from support import assert_same, need_torch, quietly, same_error

import lamina
from lamina.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def _model(t, seed=0, dropout=0.0):
    t.manual_seed(seed)
    nn = t.nn
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 2)).double()


def _both(function):
    torch = need_torch()
    results = []
    for t in (lamina, torch):
        c = importlib.import_module(f"{t.__name__}.utils.checkpoint")
        results.append(function(t, c))
    assert_same(*results)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_those_of_the_plain_call(reentrant):
    def run(t, c):
        m = _model(t)
        x = t.arange(12, dtype=t.float64).reshape(3, 4).sin().requires_grad_()
        y = c.checkpoint(m, x, use_reentrant=reentrant)
        (y * y).sum().backward()
        return [y.detach(), x.grad, *[p.grad for p in m.parameters()]]

    _both(run)
    m = _model(lamina)
    x = lamina.arange(12, dtype=lamina.float64).reshape(3, 4).sin().requires_grad_()
    y = m(x)
    (y * y).sum().backward()
    assert_same([x.grad, *[p.grad for p in m.parameters()]], run(lamina, lamina.utils.checkpoint)[1:], rtol=0, atol=0)


@pytest.mark.parametrize("segments", [1, 2, 3, 6])
@pytest.mark.parametrize("reentrant", [False, True])
def test_sequential(segments, reentrant):
    def run(t, c):
        m = _model(t)
        x = t.ones(3, 4, dtype=t.float64, requires_grad=True)
        y = c.checkpoint_sequential(m, segments, x, use_reentrant=reentrant)
        y.sum().backward()
        return [y.detach(), x.grad, *[p.grad for p in m.parameters()]]

    _both(run)


@pytest.mark.parametrize("reentrant", [False, True])
def test_random_numbers_are_drawn_again(reentrant):
    m = _model(lamina, dropout=0.5)
    x = lamina.ones(3, 4, dtype=lamina.float64, requires_grad=True)
    grads = []
    for f in (m, lambda x: checkpoint(m, x, use_reentrant=reentrant)):
        lamina.manual_seed(3)
        m.zero_grad()
        x.grad = None
        f(x).sum().backward()
        after = lamina.rand(1)
        grads.append([x.grad, *[p.grad for p in m.parameters()], after])
    assert_same(*grads, rtol=0, atol=0)


def test_it_runs_twice_and_keeps_nothing_between():
    calls, kept = [], []

    def f(x):
        y = x.exp()
        calls.append(1)
        kept.append(weakref.ref(y))
        return y.sin()

    x = lamina.ones(3, requires_grad=True)
    y = checkpoint(f, x, use_reentrant=False)
    gc.collect()
    assert len(calls) == 1 and kept[0]() is None
    y.sum().backward()
    assert len(calls) == 2
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    z = checkpoint(f, x, use_reentrant=False)
    z.sum().backward(retain_graph=True)
    z.sum().backward()
    assert len(calls) == 5
    with lamina.no_grad():
        assert not checkpoint(f, x, use_reentrant=False).requires_grad
    assert len(calls) == 6


def test_nested_arguments_results_and_keywords():
    def run(t, c):
        a, b, w = (t.tensor([v, v + 1], requires_grad=True) for v in (1.0, 2.0, 3.0))

        def f(pair, *, scale, flag):
            x, others = pair
            assert flag == "yes"
            return {"out": x * others["b"] * w * scale, "plain": 3, "same": x, "detached": x.detach(), "n": (x.sum(), None)}

        r = c.checkpoint(f, (a, {"b": b}), scale=b.sum(), flag="yes", use_reentrant=False)
        assert r["plain"] == 3 and r["same"] is a and not r["detached"].requires_grad and r["n"][1] is None
        (r["out"].sum() + r["n"][0]).backward()
        return [a.grad, b.grad, w.grad]

    _both(run)


def test_an_argument_that_comes_from_another_captured_tensor_counts_once():
    def run(t, c):
        x = t.tensor([0.5, 1.5], requires_grad=True)
        y = x * x
        z = c.checkpoint(lambda a: a * y * x, y, use_reentrant=False)
        z.sum().backward()
        return x.grad

    _both(run)


def test_gradients_of_gradients_and_grad():
    def run(t, c):
        w = t.tensor([0.3, -0.2], requires_grad=True)
        x = t.tensor([0.5, 1.5], requires_grad=True)
        y = c.checkpoint(lambda a: (a * w).sigmoid() * a.exp(), x.tanh(), use_reentrant=False).sum()
        (g,) = t.autograd.grad(y, x, create_graph=True)
        (h,) = t.autograd.grad((g * g).sum(), w, retain_graph=True)
        (g * g).sum().backward()
        return [y.detach(), g.detach(), h, x.grad, w.grad]

    _both(run)
    x = lamina.tensor([0.5, 1.5], dtype=lamina.float64, requires_grad=True)
    f = lambda x: checkpoint(lambda a: a.sin() * a.exp(), x, use_reentrant=False)  # noqa: E731
    assert lamina.autograd.gradcheck(f, (x,)) and lamina.autograd.gradgradcheck(f, (x,))


def test_checkpoints_in_checkpoints():
    def run(t, c):
        for inner in (False, True):
            x = t.tensor([0.5, 1.5], requires_grad=True)
            w = t.tensor([2.0, 3.0], requires_grad=True)
            y = c.checkpoint(
                lambda a, w=w, inner=inner: c.checkpoint(lambda b: (b * w).sin(), a.cos(), use_reentrant=inner).exp(), x,
                use_reentrant=False,
            )  # fmt: skip
            y.sum().backward()
        return [x.grad, w.grad]

    _both(run)


def test_views_and_writes():
    def run(t, c):
        x = t.arange(6.0).requires_grad_()
        base = x * 2
        view = base[1:4]
        base.mul_(3)
        y = c.checkpoint(lambda v: v * v, view, use_reentrant=False)
        y.sum().backward()
        return x.grad

    _both(run)
    x = lamina.ones(2, requires_grad=True)
    y = x * 1
    z = checkpoint(lambda v: v * v, y, use_reentrant=False)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_a_second_run_that_differs_is_told():
    count = []

    def f(x):
        count.append(1)
        return x.sin() if len(count) % 2 else x.sin().cos()

    x = lamina.ones(2, requires_grad=True)
    with pytest.raises(CheckpointError, match="2 operations.*debug=True"):
        checkpoint(f, x, use_reentrant=False).sum().backward()
    with pytest.raises(CheckpointError, match="first run:  SinBackward0\nsecond run: SinBackward0 CosBackward0"):
        checkpoint(f, x, use_reentrant=False, debug=True).sum().backward()
    checkpoint(f, x, use_reentrant=False, determinism_check="none").sum().backward()


def test_contexts():
    log = []

    class Note:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            log.append(self.name)

        def __exit__(self, *args):
            log.append(f"end {self.name}")

    x = lamina.ones(2, requires_grad=True)
    y = checkpoint(lambda x: x.sin(), x, use_reentrant=False, context_fn=lambda: (Note("first"), Note("second")))
    y.sum().backward()
    assert log == ["first", "end first", "second", "end second"]


SIN = "t.sin"
ERRORS = {
    "keyword": lambda t, c, x: c.checkpoint(t.sin, x, use_reentrant=True, foo=1),
    "context": lambda t, c, x: c.checkpoint(t.sin, x, use_reentrant=True, context_fn=lambda: 1),
    "check": lambda t, c, x: c.checkpoint(t.sin, x, use_reentrant=False, determinism_check="x"),
    "grad": lambda t, c, x: t.autograd.grad(c.checkpoint(t.sin, x, use_reentrant=True).sum(), x),
    "inputs": lambda t, c, x: c.checkpoint(t.sin, x, use_reentrant=True).sum().backward(inputs=[x]),
    "segments": lambda t, c, x: c.checkpoint_sequential([t.sin], 2, x, use_reentrant=False),
    "sequential keyword": lambda t, c, x: c.checkpoint_sequential([t.sin], 1, x, use_reentrant=False, foo=1),
    "detach": lambda t, c, x: c.detach_variable([x]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    def run(t):
        c = importlib.import_module(f"{t.__name__}.utils.checkpoint")
        return ERRORS[name](t, c, t.ones(2, requires_grad=True))

    same_error(quietly(run))


def test_warnings():
    x = lamina.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="use_reentrant should be given"):
        checkpoint(lamina.sin, x)
    with pytest.warns(UserWarning, match="use_reentrant should be given"):
        checkpoint_sequential([lamina.sin], 1, x)
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        assert not checkpoint(lamina.sin, x.detach(), use_reentrant=True).requires_grad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert checkpoint(lamina.sin, x.detach(), use_reentrant=False).requires_grad is False
