"""Padding layers and shuffles of channels and pixels against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import compare, layouts, need_torch, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.engine.reference import pad as reference
from lamina.nn import functional as F

KINDS = ("Circular", "Constant", "Reflection", "Replication", "Zero")
LAYERS = [(kind, ndim) for kind in KINDS for ndim in (1, 2, 3)]


def make(module, kind, ndim, padding):
    layer = getattr(module.nn, f"{kind}Pad{ndim}d")
    return layer(padding, 3.5) if kind == "Constant" else layer(padding)


def paddings(ndim):
    uneven = (1, 2, 0, 3, 2, 1)[: 2 * ndim]
    return [2, 0, uneven, list(uneven), (-1, 1, 2, -2, 1, 0)[: 2 * ndim]]


@pytest.mark.parametrize(("kind", "ndim"), LAYERS)
def test_padding_matches_torch(kind, ndim):
    torch = need_torch()
    for padding in paddings(ndim):
        ours, theirs = make(lamina, kind, ndim, padding), make(torch, kind, ndim, padding)
        assert repr(ours) == repr(theirs) and ours.padding == theirs.padding
        assert ours.__constants__ == theirs.__constants__
        for dtype in ("float64", "float32"):
            for shape in ((2, 3, 4, 5, 6)[: ndim + 2], (3, 4, 5, 6)[: ndim + 1], (0, 3, 4, 5, 6)[: ndim + 2]):
                for x in layouts(shape, dtype).values():
                    compare(lambda t, x: make(t, kind, ndim, padding)(x), x)  # noqa: B023
        compare(lambda t, x: make(t, kind, ndim, padding)(x), np.arange(64).reshape(1, 1, 4, 4, 4)[(0,) * (3 - ndim)])  # noqa: B023


@pytest.mark.parametrize(("kind", "ndim"), LAYERS)
def test_padding_gradients(kind, ndim):
    x = lamina.tensor(np.random.default_rng(0).standard_normal((1, 2, 3, 3, 3)[: ndim + 2]), requires_grad=True)
    layer = make(lamina, kind, ndim, (1, 2, 2, 1, 1, 0)[: 2 * ndim])
    assert gradcheck(layer, x) and gradgradcheck(lambda x: layer(x) ** 2, x)


@pytest.mark.parametrize(("kind", "ndim"), LAYERS)
def test_padding_errors(kind, ndim):
    shape = (2, 3, 4, 5, 6)[: ndim + 2]
    x, few, many = np.ones(shape), np.ones(()), np.ones((1, 1, *shape))
    call = lambda t, x, padding: make(t, kind, ndim, padding)(x)  # noqa: E731
    same_error(lambda t, x: call(t, x, (1, 2, 1)), x)
    same_error(lambda t, x: call(t, x, 1), few)
    same_error(lambda t, x: call(t, x, "a"), x, match="Pad")
    same_error(lambda t, x: call(t, x, 1.5), x, match="Pad")
    if kind not in ("Constant", "Zero"):
        same_error(lambda t, x: call(t, x, 1), many)
    if kind in ("Circular", "Reflection"):
        same_error(lambda t, x: call(t, x, 7), x)
    same_error(lambda t, x: call(t, x, -4), x)


SHUFFLES = [
    ("PixelShuffle", 2, (2, 8, 3, 4)), ("PixelShuffle", 3, (9, 2, 5)), ("PixelShuffle", 1, (2, 3, 4, 5)),
    ("PixelShuffle", 2, (2, 3, 4, 2, 3)),
    ("PixelUnshuffle", 2, (2, 3, 4, 6)), ("PixelUnshuffle", 3, (2, 6, 3)), ("PixelUnshuffle", 1, (2, 3, 4, 5)),
    ("PixelUnshuffle", 2, (2, 3, 1, 2, 4)),
    ("ChannelShuffle", 2, (2, 8, 3, 4)), ("ChannelShuffle", 4, (2, 8, 3)), ("ChannelShuffle", 8, (1, 8, 2, 3, 4)),
    ("ChannelShuffle", 1, (2, 8, 3)), ("ChannelShuffle", 2, (0, 8, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "factor", "shape"), SHUFFLES)
def test_shuffles_match_torch(name, factor, shape):
    torch = need_torch()
    assert repr(getattr(nn, name)(factor)) == repr(getattr(torch.nn, name)(factor))
    for dtype in ("float64", "float32", "float16"):
        for layout, x in layouts(shape, dtype).items():
            if not (layout == "channels_last" and len(shape) == 5):  # which torch refuses
                compare(lambda t, x: getattr(t.nn, name)(factor)(x), x)
    compare(lambda t, x: getattr(t.nn, name)(factor)(x), np.arange(np.prod(shape)).reshape(shape))
    x = lamina.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)
    if x.numel():
        assert gradcheck(getattr(nn, name)(factor), x) and gradgradcheck(lambda x: getattr(nn, name)(factor)(x) ** 2, x)


def test_shuffles_as_functions():
    x = np.random.default_rng(0).standard_normal((2, 8, 4, 6))
    for name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"):
        compare(lambda t, x: getattr(t, name)(x, 2) + getattr(t.nn.functional, name)(x, 2), x)  # noqa: B023
        torch = need_torch()
        assert (
            getattr(F, name)(lamina.ones(1, 4, 2, 2, requires_grad=True), 2).grad_fn.name()
            == getattr(torch.nn.functional, name)(torch.ones(1, 4, 2, 2, requires_grad=True), 2).grad_fn.name()
        )
    compare(lambda t, x: t.native_channel_shuffle(x, 4), x, grad=False)
    # without elements torch gives pixel_unshuffle's result the input's shape, and its gradients fail
    for function, shape, expected in (
        (F.channel_shuffle, (2, 0, 3), (2, 0, 3)), (F.pixel_shuffle, (0, 4, 2, 3), (0, 1, 4, 6)),
        (F.pixel_shuffle, (1, 4, 0, 3), (1, 1, 0, 6)), (F.pixel_unshuffle, (0, 3, 4, 6), (0, 12, 2, 3)),
    ):  # fmt: skip
        empty = lamina.ones(shape, requires_grad=True)
        result = function(empty, 2)
        result.sum().backward()
        assert result.shape == expected and empty.grad.shape == shape
    y = lamina.from_numpy(x)
    assert lamina.equal(F.pixel_unshuffle(F.pixel_shuffle(y, 2), 2), y)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_shuffled_channels_are_a_copy(each_engine, groups):
    x = lamina.arange(24.0).reshape(2, 4, 3)
    F.channel_shuffle(x, groups).zero_()
    assert lamina.equal(x, lamina.arange(24.0).reshape(2, 4, 3))


@pytest.mark.parametrize("name", ["pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle"])
def test_shuffle_errors(name):
    x = np.ones((1, 8, 4, 4))
    for case in (
        lambda t, x: getattr(t, name)(x, 0), lambda t, x: getattr(t, name)(x, -1), lambda t, x: getattr(t, name)(x, 1.5),
        lambda t, x: getattr(t, name)(x, 3), lambda t, x: getattr(t, name)(x[0, 0], 2), lambda t, x: getattr(t, name)([1.0], 2),
    ):  # fmt: skip
        same_error(case, x, match=name.removeprefix("native_") + "|groups")


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize(
    "shape, pairs",
    [
        ((5, 7, 33, 21), ((0, 0), (0, 0), (2, 1), (3, 0))), ((64, 600), ((0, 0), (7, 5))),
        ((3, 11, 9, 10, 12), ((0, 0), (0, 0), (1, 1), (0, 3), (2, 2))), ((1, 40, 30, 30), ((0, 0), (0, 0), (1, 1), (1, 1))),
        ((2, 3, 300, 300), ((0, 0), (0, 0), (9, 9), (9, 9))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("least", [1, 1 << 40], ids=["parts", "whole"])
def test_large_arrays(mode, dtype, shape, pairs, channels_last, least, monkeypatch):
    """The fast forms against the reference: the same numbers, in the same order in memory."""
    fast = pytest.importorskip("lamina.engine.onednn.pad")
    monkeypatch.setattr(fast, "LARGE", least)
    monkeypatch.setattr(fast.threads, "get_num_threads", lambda: 3)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    if channels_last and x.ndim > 2:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    y = fast.pad(x, pairs, mode, 1.5)
    expected = reference.pad(x, pairs, mode, 1.5)
    np.testing.assert_array_equal(y, expected)
    assert np.moveaxis(y, 1, -1).flags.c_contiguous or not channels_last or x.ndim == 2
    gx = fast.pad_backward(expected, shape, pairs, mode)
    np.testing.assert_allclose(gx, reference.pad_backward(expected, shape, pairs, mode), rtol=1e-6)
    assert gx.shape == shape and gx.dtype == x.dtype


def test_what_the_reference_pads():
    fast = pytest.importorskip("lamina.engine.onednn.pad")
    x = np.ones((4, 5, 6), "float32")
    around, within = ((0, 0), (0, 0), (1, 1)), ((0, 0), (-1, 0), (1, 0))
    for given, pairs in [(x, within), (x[::2], around), (x[:0], around)]:
        assert fast.pad(given, pairs, "constant") is NotImplemented
        shape = tuple(n + lo + hi for n, (lo, hi) in zip(given.shape, pairs, strict=True))
        grad = np.ones((2 * shape[0], *shape[1:]), "float32")[:: 2 if given is not x else 1][: shape[0]]
        assert fast.pad_backward(grad, given.shape, pairs, "constant") is NotImplemented
