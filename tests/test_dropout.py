"""Dropout: PyTorch's masks from the same seed, gradients, layouts, in-place forms, edge values and errors."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from support import assert_same, layouts, need_torch, same_error

import lamina
import lamina.nn.functional as F
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck

ELEMENTS = ("dropout", "alpha_dropout")
CHANNELS = ("dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")
SHAPE = {"dropout1d": (4, 6, 5), "dropout2d": (3, 6, 4, 2), "dropout3d": (2, 6, 2, 3, 2), "feature_alpha_dropout": (3, 6, 4)}
DTYPES = ("float32", "float64", "float16")
# What PyTorch 2.13 drops of ones, one after the other from seed 0.
KNOWN = {
    "dropout": [0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 2.0, 2.0],
    "dropout2d": [4 / 3] * 8,
    "alpha_dropout": [1.6655988693237305, 1.6655988693237305, -0.7791939377784729, -0.7791939377784729],
}
MODULES = ("Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout")


def same_drop(function, x, grad=True, seed=7, rtol=0.0):
    """``function(library, tensor)`` on both libraries from one seed: result, gradient and stream must agree."""
    torch = need_torch()
    made = []
    for library, tensor in ((lamina, lamina.from_numpy(x.copy(order="K"))), (torch, torch.from_numpy(x.copy(order="K")))):
        library.manual_seed(seed)
        grad = grad and x.dtype.kind == "f"
        y = function(library, tensor.requires_grad_(grad))
        if grad:
            y.backward(library.arange(1, y.numel() + 1, dtype=y.dtype).reshape(y.shape) / y.numel())
        made.append((y.detach(), tensor.grad, library.get_rng_state().numpy(), y is tensor))
    (a, g, s, i), (b, h, t, j) = made
    assert_same(a, b, rtol=rtol, atol=0)
    assert_same(g, h, rtol=rtol, atol=0)
    assert np.array_equal(s, t), "the stream is elsewhere"
    assert i == j, "the input itself is returned by one library only"


def f(name):
    """The function of this name in either library's ``nn.functional``."""
    return lambda library, *args, **kwargs: getattr(library.nn.functional, name)(*args, **kwargs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTS + CHANNELS)
def test_masks_and_gradients(name, dtype):
    call = f(name)
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        for training in (True, False):
            for kind, x in layouts(SHAPE.get(name, (5, 7)), dtype).items():
                same_drop(lambda t, x: call(t, x, p, training), x, grad=kind == "plain")  # noqa: B023


@pytest.mark.parametrize("name", ELEMENTS)
def test_shapes(name):
    call = f(name)
    for shape in ((), (1,), (0,), (3, 0), (2, 3, 4, 5), (100_003,)):
        same_drop(lambda t, x: call(t, x, 0.3, True), np.ones(shape, np.float32))
    for kind, x in layouts((3, 4, 5, 6)).items():
        same_drop(lambda t, x: call(t, x, 0.3, True), x, grad=kind == "plain")


@pytest.mark.parametrize("name, shape, warns", [
    ("dropout1d", (6, 5), False), ("dropout1d", (3, 6, 5), False), ("dropout2d", (3, 6, 5), True), ("dropout2d", (3, 6), True),
    ("dropout2d", (2, 6, 2, 2, 2), True), ("dropout3d", (6, 2, 2, 3), False), ("dropout3d", (3, 6, 2), True),
    ("dropout3d", (2, 3, 2, 2, 2, 2), True), ("feature_alpha_dropout", (3, 6), False), ("dropout2d", (0, 6, 2, 2), False),
])  # fmt: skip
def test_ranks(name, shape, warns):
    call = f(name)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with warnings.catch_warnings(record=True) as ours:
        warnings.simplefilter("always")
        call(lamina, lamina.from_numpy(x), training=True)
    assert [w.category for w in ours] == [UserWarning] * warns and all(name in str(w.message) for w in ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_drop(lambda t, x: call(t, x, 0.4, True), x)


def test_a_channel_falls_as_a_whole():
    x = lamina.ones(50, 8, 3, 4)
    y = F.dropout2d(x, 0.5).numpy().reshape(50, 8, 12)
    assert set(np.unique(y)) == {0, 2} and (y == y[..., :1]).all()
    y = F.feature_alpha_dropout(x, 0.5, training=True).numpy().reshape(50, 8, 12)
    assert len(np.unique(y)) == 2 and (y == y[..., :1]).all()


@pytest.mark.parametrize("name", ELEMENTS + CHANNELS)
def test_in_place(name):
    call = f(name)
    for p in (0.0, 0.5, 1.0):
        for training in (True, False):
            for library in (lamina, need_torch()):
                library.manual_seed(1)
                shape = SHAPE.get(name, (12, 8))
                x = library.linspace(1, 2, int(np.prod(shape))).reshape(shape)
                expected = call(library, x.clone(), p, training)
                library.manual_seed(1)
                assert call(library, x, p, training, inplace=True) is x
                assert (x == expected).all()
                # with a history
                leaf = library.ones(*x.shape, requires_grad=True)
                library.manual_seed(2)
                y = leaf * 1.5
                assert call(library, y, p, training, inplace=True) is y
                y.sum().backward()
                library.manual_seed(2)
                other = library.ones(*x.shape, requires_grad=True)
                call(library, other * 1.5, p, training).sum().backward()
                assert (leaf.grad == other.grad).all()
                if p and training:
                    with pytest.raises(RuntimeError, match="leaf"):
                        call(library, leaf, p, training, inplace=True)
                else:
                    assert call(library, leaf, p, training, inplace=True) is leaf


@pytest.mark.parametrize("name", ELEMENTS + CHANNELS)
def test_gradients(name):
    call = f(name)

    def drop(x):
        lamina.manual_seed(3)
        return call(lamina, x, 0.4, training=True)

    x = lamina.tensor(np.random.default_rng(0).standard_normal(SHAPE.get(name, (3, 4)))[:2, :3], requires_grad=True)
    assert gradcheck(drop, x)
    assert gradgradcheck(drop, x)


def test_the_mask_survives_a_change_of_the_output():
    x = lamina.ones(6, requires_grad=True)
    y = F.dropout(x, 0.5)
    expected = y.detach().clone()
    y.mul_(3)
    y.sum().backward()
    assert lamina.equal(x.grad, expected * 3)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_nan_and_inf_are_not_lost(p):
    x = np.array([1.0, np.nan, np.inf, -np.inf, -0.0, 1e38] * 4, np.float32)
    for name in ELEMENTS:
        for engine_input in (x, np.tile(x, 4000)):
            with np.errstate(invalid="ignore"):
                same_drop(lambda t, x: f(name)(t, x, p, True), engine_input, grad=False)  # noqa: B023


def test_integers():
    for dtype in ("int64", "uint8", "bool"):
        x = np.array([1, 2, 3]).astype(dtype)
        same_drop(lambda t, x: t.nn.functional.dropout(x, 0.0), x)
        same_drop(lambda t, x: t.nn.functional.dropout(x, 0.5, False), x)
        same_error(lambda t, x: t.nn.functional.dropout(x, 0.5), x)
    same_drop(lambda t, x: t.nn.functional.dropout(x, 1.0), np.array([1, 2, 3]))


@pytest.mark.parametrize("function", [
    lambda t: t.nn.functional.dropout(t.ones(3), 1.5), lambda t: t.nn.functional.dropout(t.ones(3), -0.1),
    lambda t: t.nn.functional.dropout(t.ones(3), float("nan")), lambda t: t.nn.functional.alpha_dropout(t.ones(3), 2.0),
    lambda t: t.nn.functional.dropout("a"), lambda t: t.nn.functional.dropout(t.ones(3), "a"),
    lambda t: t.nn.functional.dropout1d(t.ones(3)), lambda t: t.nn.functional.dropout1d(t.ones(3, 2, 2, 2)),
    lambda t: t.nn.functional.dropout2d(t.ones(3)), lambda t: t.nn.functional.feature_alpha_dropout(t.ones(3), training=True),
    lambda t: t.nn.functional.dropout(t.ones(3, dtype=t.complex64)), lambda t: t.dropout(t.ones(3), 1.5, True),
    lambda t: t.nn.functional.feature_alpha_dropout(t.ones(3, 2), -1.0),
    lambda t: t.nn.functional.dropout3d(t.ones(3, 2, 2, 2), 7),
    lambda t: t.nn.Dropout(2), lambda t: t.nn.Dropout1d(-0.5), lambda t: t.nn.AlphaDropout("a"),
    lambda t: t.nn.Dropout1d()(t.ones(2)),
])  # fmt: skip
def test_errors(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_error(function)


def test_functions_of_the_top_level():
    for name in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout"):
        x = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)
        for train in (True, False):
            same_drop(lambda t, x: getattr(t, name)(x, 0.4, train), x)  # noqa: B023
            same_drop(lambda t, x: getattr(t, name + "_")(x.detach().clone(), 0.4, train), x, grad=False)  # noqa: B023
    for train in (True, False):
        y, mask = lamina.native_dropout(lamina.ones(1000), 0.3, train)
        assert mask.dtype == lamina.bool and lamina.equal(y != 0, mask)
        assert bool(mask.all()) is not train


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    torch = need_torch()
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    assert repr(ours(0.25, True)) == repr(theirs(0.25, True)) and repr(ours()) == repr(theirs())
    assert ours.__constants__ == theirs.__constants__ and not ours().state_dict()
    ours_arguments, theirs_arguments = (inspect.signature(c).parameters.values() for c in (ours, theirs))
    assert [(a.name, a.default) for a in ours_arguments] == [(a.name, a.default) for a in theirs_arguments]
    shape = {"Dropout2d": (3, 6, 4, 2), "Dropout3d": (2, 6, 2, 3, 2)}.get(name, (3, 6, 4))
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for training in (True, False):
        same_drop(lambda t, x: getattr(t.nn, name)(0.3).train(training)(x), x)  # noqa: B023
    layer = ours(p=0.5).eval()
    t = lamina.from_numpy(x)
    assert layer(t) is t


def test_a_layer_says_its_name_in_errors():
    with pytest.raises(ValueError, match="Dropout2d: .* got 1.5"):
        nn.Dropout2d(1.5)


def test_functional_signatures():
    torch = need_torch()
    for name in ELEMENTS + CHANNELS:
        ours, theirs = (
            inspect.signature(getattr(m, name)).parameters.values() for m in (F, torch.nn.functional)
        )  # fmt: skip
        assert [(a.name, a.default) for a in ours] == [(a.name, a.default) for a in theirs], name


def test_known_masks_without_torch():
    lamina.manual_seed(0)
    assert F.dropout(lamina.ones(8), 0.5).tolist() == KNOWN["dropout"]
    assert F.dropout2d(lamina.ones(1, 8, 1, 1), 0.25).flatten().tolist() == pytest.approx(KNOWN["dropout2d"])
    assert F.alpha_dropout(lamina.ones(4), 0.5, True).tolist() == pytest.approx(KNOWN["alpha_dropout"], rel=1e-6)


def test_activations_that_lie_channels_last_get_the_mask_of_plain_ones():
    x = lamina.randn(4, 32, 16, 16)
    layer = nn.Conv2d(32, 32, 3, padding=1)
    y = layer(x)  # may lie channels-last in memory, unseen
    lamina.manual_seed(4)
    a = F.dropout(y, 0.5)
    lamina.manual_seed(4)
    b = F.dropout(y.detach().clone().contiguous(), 0.5)
    assert a.is_contiguous() and np.array_equal(a.detach().numpy() == 0, b.numpy() == 0)
    np.testing.assert_array_equal(a.detach().numpy(), b.numpy())
    assert np.array_equal(np.isnan((a * float("nan")).detach().numpy()), np.ones(a.shape, bool))
