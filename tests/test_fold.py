"""Fold and Unfold: parity with torch over settings, transposes, gradients of gradients, dtypes, errors, layers."""

from __future__ import annotations

import copy
import doctest
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import compare, layouts, need_torch, same_error

import lamina
from lamina import nn
from lamina.engine.reference.fold import block_counts
from lamina.nn import functional as F

# kernel, dilation, padding, stride
SETTINGS = [
    (2, 1, 0, 1), (3, 1, 1, 1), (3, 1, 1, 2), (2, 1, 0, 2), (1, 1, 0, 1), (1, 1, 2, 3), (2, 3, 2, 1), (3, 2, 4, 5),
    ((2, 3), 1, 0, 1), ((3, 1), (1, 2), (1, 0), (2, 1)), ([1, 4], [2, 1], [0, 2], [3, 2]), (2, 1, 5, 1), ((5, 7), 1, 0, 1),
    (2, 1, 0, 3), (2, 2, 0, 2),
]  # fmt: skip


def pairs(setting):
    return tuple(tuple(v) if isinstance(v, (tuple, list)) else (v, v) for v in setting)


def image(dtype="float32", n=2, c=3, size=(5, 7)):
    x = np.random.default_rng(0).standard_normal((n, c, *size))
    return (x + 1j * x[::-1]).astype(dtype) if dtype.startswith("complex") else (x > 0 if dtype == "bool" else x.astype(dtype))


def columns(setting, dtype="float32", n=2, c=3, size=(5, 7)):
    counts = block_counts(size, pairs(setting))
    rows = c * int(np.prod(pairs(setting)[0]))
    return image(dtype, n, rows, counts).reshape(n, rows, int(np.prod(counts)))


def unfolded(*setting):
    return lambda m, x: m.nn.functional.unfold(x, *setting)


def folded(size, *setting):
    return lambda m, x: m.nn.functional.fold(x, size, *setting)


# -- parity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "bool"])
def test_parity(setting, dtype):
    grad = dtype.startswith("float")
    for n in (2, 0):
        compare(unfolded(*setting), image(dtype, n), grad=grad)
        compare(folded((5, 7), *setting), columns(setting, dtype, n), grad=grad)
    compare(unfolded(*setting), image(dtype)[0], grad=grad)
    compare(folded([5, 7], *setting), columns(setting, dtype)[0], grad=grad)


def test_half():
    compare(unfolded(3, 1, 1), image("float16"), rtol=2e-3, atol=5e-3)  # torch rounds after every addition
    compare(folded((5, 7), 3, 1, 1), columns((3, 1, 1, 1), "float16"), rtol=2e-3, atol=5e-3)


def test_defaults_and_one_size_for_both():
    compare(lambda m, x: m.nn.functional.unfold(x, 2), image())
    compare(lambda m, x: m.nn.functional.fold(x, 6, 2), columns((2, 1, 0, 1), size=(6, 6)))


@pytest.mark.parametrize("setting", SETTINGS[:4], ids=str)
def test_layouts(setting):
    for x in layouts((2, 3, 5, 7)).values():
        compare(unfolded(*setting), x)
    for x in layouts(columns(setting).shape).values():
        compare(folded((5, 7), *setting), x)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_one_is_the_transpose_of_the_other(data):
    """⟨unfold(x), y⟩ = ⟨x, fold(y)⟩, for blocks that overlap, touch and leave gaps, in several chunks."""
    setting = tuple(
        (data.draw(st.integers(low, high)), data.draw(st.integers(low, high))) for low, high in ((1, 4), (1, 3), (0, 4), (1, 5))
    )
    size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    if min(block_counts(size, setting)) < 1:
        return
    n = data.draw(st.sampled_from([0, 1, 3, 200]))
    x = lamina.from_numpy(image("float64", n, 2, size))
    y = F.unfold(x, *setting)
    v = lamina.randn(*y.shape, dtype=lamina.float64)
    z = F.fold(v, size, *setting)
    assert z.shape == x.shape
    assert (y * v).sum().item() == pytest.approx((x * z).sum().item(), rel=1e-9, abs=1e-9)


def test_a_convolution_is_a_product_with_columns():
    x, w = lamina.randn(2, 3, 8, 9), lamina.randn(4, 3, 3, 3)
    y = (w.reshape(4, -1) @ F.unfold(x, 3, padding=1, stride=2)).reshape(2, 4, 4, 5)
    assert lamina.allclose(y, F.conv2d(x, w, padding=1, stride=2), atol=1e-5)


def test_not_a_number_stays_where_it_is():
    x = image()
    x[0, 1, 2, 3], x[1, 0, 0, 0] = np.nan, np.inf
    y = columns((3, 1, 1, 1))
    y[0, 1, 2], y[1, 3, -1] = np.nan, -np.inf
    compare(unfolded(3, 1, 1), x)
    compare(folded((5, 7), 3, 1, 1), y)


@pytest.mark.parametrize("setting", [(2, 1, 0, 1), (3, 2, 2, 2), ((2, 1), 1, (1, 0), (2, 1))], ids=str)
def test_gradients_of_gradients(setting):
    x = lamina.from_numpy(image("float64", 2, 2, (4, 3))).requires_grad_()
    y = lamina.from_numpy(columns(setting, "float64", 1, 1, (4, 3))).requires_grad_()
    for function, z in ((lambda x: F.unfold(x, *setting), x), (lambda y: F.fold(y, (4, 3), *setting), y)):
        assert lamina.autograd.gradcheck(function, (z,))
        assert lamina.autograd.gradgradcheck(function, (z,))


def test_names_of_nodes():
    torch = need_torch()
    for call in (lambda m: m.nn.functional.unfold(m.ones(1, 1, 3, 3, requires_grad=True), 2),
                 lambda m: m.nn.functional.fold(m.ones(1, 4, 4, requires_grad=True), 3, 2)):  # fmt: skip
        assert call(lamina).grad_fn.name() == call(torch).grad_fn.name()


# -- errors --------------------------------------------------------------------------------------------------------


def bad_calls():
    x, y = image(), columns((2, 1, 0, 1))
    yield from ((unfolded(*setting), x) for setting in (
        ((2,),), ((2, 3, 1),), ((),), (0,), (-1,), (2, 0), (2, 1, -1), (2, 1, 0, 0), (9,), (2.0,), ("a",), (None,), (True,),
        ((2, 2.0),), (2, 9), (2, (1, 2, 3)), (2, 1, (1,)), (2, 1, 0, None),
    ))  # fmt: skip
    for wrong in (x[0, 0], x[0, 0, 0], x[None], x[:, :0], x[:, :, :0], x[0, :0], [1.0], x.astype("int64"), x.astype("uint8")):
        yield unfolded(2), wrong
    yield from ((folded(*setting), y) for setting in (
        (5, 2), ((5, 7), (5, 2)), ((5, 7), 0), ((5, 7), 2, 0), ((5, 7), 2, 1, -1), ((5, 7), 2, 1, 0, 0), ((5, 7), 20),
        ((0, 7), 2), ((-5, 7), 2), ((5,), 2), ((5, 6, 7), 2), (5.0, 2), (None, 2), ((5, 7), (1, 1, 2)), ((5, 7), 2, 1, 1),
        ((5, 7), 2, 1, 0, 2),
    ))  # fmt: skip
    for wrong in (y[0, 0], y[None], y[:, :0], y[:, :, :0], [1.0], y.astype("int64"), y.astype("int32"), y[:, :-1], y[..., :-1]):
        yield folded((5, 7), 2), wrong
    yield folded((0, 0), 2, 1, 1, 1), np.ones((1, 4, 1), "f")
    yield folded((-1, -1), 3, 1, 2, 1), np.ones((1, 9, 1), "f")


def test_bad_calls_raise_what_torch_raises():
    for function, x in bad_calls():
        same_error(function, x)


def test_messages():
    x = lamina.zeros(2, 12, 20)
    for match, call in (
        (r"size=\(5, 5\), kernel_size=\(2, 2\).* sliding blocks 4 \* 4, .* but got 20", lambda: F.fold(x, 5, 2)),
        (r"dimension 1 to be divisible .* but got 12 and kernel_size=\(5, 2\)", lambda: F.fold(x, 5, (5, 2))),
        (r"size=\(12, 20\), kernel_size=\(13, 13\).* blocks as \(0, 8\)", lambda: F.unfold(x, 13)),
        (r"unfold: kernel_size must be an int or a tuple of 2 ints, but got \(1, 2, 3\)", lambda: F.unfold(x, (1, 2, 3))),
        (r"unfold: stride should be greater than zero, but got \(1, 0\)", lambda: F.unfold(x, 2, stride=(1, 0))),
    ):
        with pytest.raises(RuntimeError, match=match):
            call()


# -- layers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "args", "kwargs"), [
    ("Unfold", (2,), {}), ("Unfold", ((2, 3),), {"padding": 1, "stride": (2, 1), "dilation": [1, 2]}),
    ("Fold", ((5, 7), 2), {}), ("Fold", (5, [3, 2]), {"padding": 1, "stride": 2}),
])  # fmt: skip
def test_layers_are_torch_s(name, args, kwargs):
    torch = need_torch()
    ours, theirs = (getattr(m.nn, name)(*args, **kwargs) for m in (lamina, torch))
    assert repr(ours) == repr(theirs)
    for key in theirs.__constants__:
        assert getattr(ours, key) == getattr(theirs, key), key
    assert ours.state_dict() == theirs.state_dict() == {}
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert repr(again) == repr(ours)
    setting = ours.kernel_size, ours.dilation, ours.padding, ours.stride
    x = image() if name == "Unfold" else columns(setting, size=pairs((ours.output_size,))[0])
    compare(lambda m, x: {lamina: ours, torch: theirs}[m](x), x)


def test_construction_checks():
    for error, make in (
        (ValueError, lambda: nn.Unfold(0)), (ValueError, lambda: nn.Unfold(2, padding=-1)), (ValueError, lambda: nn.Unfold(2, 0)),
        (ValueError, lambda: nn.Unfold(2, stride=(1, 0))), (ValueError, lambda: nn.Unfold((1, 2, 3))),
        (TypeError, lambda: nn.Unfold("a")), (TypeError, lambda: nn.Unfold(2.5)),
        (ValueError, lambda: nn.Fold(-1, 2)), (ValueError, lambda: nn.Fold((4, 5, 6), 2)),
    ):  # fmt: skip
        with pytest.raises(error, match="Unfold|Fold"):
            make()


def test_docstring_examples():
    for name in nn.modules.fold.__all__:
        finder = doctest.DocTestFinder(recurse=False)
        for test in finder.find(getattr(nn, name), name, globs={"nn": nn, "lamina": lamina}):
            assert test.examples, name
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0, name
