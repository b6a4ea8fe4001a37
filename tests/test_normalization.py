"""Layer, RMS, group and instance normalisation and their like, against torch: values, gradients, layouts, errors."""

from __future__ import annotations

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
from lamina.engine import door
from lamina.engine.onednn import layernorm as fast
from lamina.engine.reference import layernorm as reference

CLOSE = {"rtol": 1e-5, "atol": 2e-5}  # sums of many float32 numbers, added up in another order
DTYPES = ["float32", "float64"]


def values(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tolerance(dtype):
    return CLOSE if dtype == "float32" else {}


# -- over the last dimensions --------------------------------------------------------------------------------------

LAST = [
    ((6,), (6,)),
    ((3, 17), (17,)),
    ((16, 64), (64,)),
    ((4, 5, 32), (32,)),
    ((4, 5, 8), (5, 8)),
    ((2, 3, 4, 5), (3, 4, 5)),
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((7, 1), (1,)),
    ((0, 6), (6,)),
    ((2, 0, 6), (6,)),
    ((5, 0), (0,)),
    ((300, 10), (10,)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "last"), LAST, ids=str)
def test_layer_norm(shape, last, dtype, each_engine):
    x, w, b = values(shape, dtype) * 2 + 3, values(last, dtype, 1), values(last, dtype, 2)
    # Of a single number torch leaves a rounding error times 1/√ε, where the exact result is 0.
    close = {"atol": 1e-3} if last == (1,) else tolerance(dtype)
    compare(lambda t, x, w, b: t.nn.functional.layer_norm(x, last, w, b), x, w, b, **close)
    compare(lambda t, x, w: t.nn.functional.layer_norm(x, list(last), w, eps=1e-3), x, w, **close)
    compare(lambda t, x, b: t.nn.functional.layer_norm(x, last, None, b), x, b, **close)
    compare(lambda t, x: t.nn.functional.layer_norm(x, last), x, **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "last"), LAST, ids=str)
def test_rms_norm(shape, last, dtype, each_engine):
    x, w = values(shape, dtype) * 2 + 1, values(last, dtype, 1)
    close = tolerance(dtype)
    compare(lambda t, x, w: t.nn.functional.rms_norm(x, last, w), x, w, **close)
    compare(lambda t, x, w: t.nn.functional.rms_norm(x, list(last), w, eps=1e-3), x, w, **close)
    compare(lambda t, x: t.nn.functional.rms_norm(x, last), x, **close)


@pytest.mark.parametrize("layout", ["plain", "transposed", "channels_last", "strided"])
def test_memory_orders(layout, each_engine):
    x = layouts((4, 8, 12, 16))[layout]
    w, b, c = values(16, seed=1), values(16, seed=2), values(8, seed=3)
    compare(lambda t, x, w, b: t.nn.functional.layer_norm(x, (16,), w, b), x, w, b, **CLOSE)
    compare(lambda t, x, w: t.nn.functional.rms_norm(x, (16,), w), x, w, **CLOSE)
    compare(lambda t, x, c: t.nn.functional.group_norm(x, 2, c, c), x, c, **CLOSE)
    compare(lambda t, x, c: t.nn.functional.instance_norm(x, weight=c), x, c, **CLOSE)
    compare(lambda t, x: t.nn.functional.layer_norm(x.expand(3, 4, 8, 12, 16), (16,)), x, **CLOSE)


def test_only_some_gradients(each_engine):
    x, w, b = values((20, 32)), values(32, seed=1), values(32, seed=2)
    for wanted in ([0], [1], [2], [0, 1], [0, 2], [1, 2]):

        def some(t, *tensors, wanted=wanted):
            leaves = [a if i in wanted else a.detach() for i, a in enumerate(tensors)]
            y = t.nn.functional.layer_norm(leaves[0], (32,), *leaves[1:])
            z = t.nn.functional.group_norm(leaves[0].reshape(2, 32, 10), 4, *leaves[1:])
            r = t.nn.functional.rms_norm(leaves[0], (32,), leaves[1])
            return (y, z, r)

        compare(some, x, w, b, **CLOSE)


def test_large_mean(each_engine):
    """The variance of numbers far from zero is not lost."""
    x = (values((64, 96), "float64") + 1000).astype("float32")
    exact = F.layer_norm(lamina.from_numpy(x.astype("float64")), (96,)).numpy()
    np.testing.assert_allclose(F.layer_norm(lamina.from_numpy(x), (96,)).numpy(), exact, atol=2e-3)
    x = x.reshape(4, 16, 96)
    for f in (lambda x: F.group_norm(x, 4), F.instance_norm):
        exact, gradients = None, []
        for dtype in ("float64", "float32"):
            leaf = lamina.from_numpy(x.astype(dtype)).requires_grad_()
            y = f(leaf)
            y.backward(lamina.from_numpy(values(x.shape, dtype, 5)))
            gradients.append((y.detach().numpy(), leaf.grad.numpy()))
        for wide, single in zip(*gradients, strict=True):
            np.testing.assert_allclose(single, wide, atol=3e-3)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_stay_in_their_row(special, each_engine):
    x = values((20, 32))
    x[3, 5] = special
    compare(lambda t, x: t.nn.functional.layer_norm(x, (32,)), x, **CLOSE)
    compare(lambda t, x: t.nn.functional.rms_norm(x, (32,)), x, grad=False, **CLOSE)
    x = values((4, 8, 100))
    x[1, 5, 7] = special
    compare(lambda t, x: t.nn.functional.group_norm(x, 2), x, grad=False, **CLOSE)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # torch's, of its slower path
@pytest.mark.parametrize("parameter", ["float16", "float32"])
def test_half_precision(parameter):
    x, w, b = values((6, 8, 5), "float16"), values(5, parameter, 1), values(5, parameter, 2)
    half = {"rtol": 3e-3, "atol": 3e-3}  # one unit of float16, for values up to 4
    compare(lambda t, x, w, b: t.nn.functional.layer_norm(x, (5,), w, b), x, w, b, grad=False, **half)
    compare(lambda t, x, w: t.nn.functional.rms_norm(x, (5,), w), x, w, grad=False, **half)
    w, b = values(8, parameter, 1), values(8, parameter, 2)
    compare(lambda t, x, w, b: t.nn.functional.group_norm(x, 2, w, b), x, w, b, grad=False, **half)
    compare(lambda t, x, w, b: t.nn.functional.instance_norm(x, weight=w, bias=b), x, w, b, grad=False, **half)
    for f in (lambda x, w, b: F.group_norm(x, 2, w, b), lambda x, w, b: F.layer_norm(x.mT, (8,), w, b)):
        single = [lamina.from_numpy(a.astype("float32")).requires_grad_() for a in (x, w, b)]
        tensors = [lamina.from_numpy(a).requires_grad_() for a in (x, w, b)]
        f(*single).sum().backward()
        f(*tensors).sum().backward()
        for one, other in zip(tensors, single, strict=True):
            assert one.grad.dtype == one.dtype
            np.testing.assert_allclose(one.grad.float().numpy(), other.grad.numpy(), rtol=2e-2, atol=2e-2)


def test_rms_norm_takes_what_torch_composes():
    """Complex numbers, and weights of other dtypes."""
    z = (values((3, 6)) + 1j * values((3, 6), seed=1)).astype("complex64")
    compare(lambda t, z: t.nn.functional.rms_norm(z, (6,)), z, grad=False)
    compare(lambda t, x, w: t.nn.functional.rms_norm(x, (6,), w), values((3, 6)), values(6, "float64"), grad=False)
    tiny = np.full((1, 4), 1e-3)
    for dtype in ("float16", "float32", "float64"):
        compare(lambda t, x: t.nn.functional.rms_norm(x, (4,)), tiny.astype(dtype), grad=False, rtol=1e-3)


def test_gradients_of_gradients(each_engine):
    def leaf(*shape, seed=0):
        return lamina.from_numpy(values(shape, "float64", seed)).requires_grad_()

    x, w, b = leaf(3, 4, 5), leaf(4, 5, seed=1), leaf(4, 5, seed=2)
    for f, inputs in (
        (lambda x, w, b: F.layer_norm(x, (4, 5), w, b), (x, w, b)),
        (lambda x: F.layer_norm(x, (5,)), (x,)),
        (lambda x, w: F.rms_norm(x, (4, 5), w), (x, w)),
        (lambda x: F.rms_norm(x, (5,)), (x,)),
        (lambda x, w, b: F.group_norm(x, 2, w, b), (x, leaf(4, seed=1), leaf(4, seed=2))),
        (lambda x, w, b: F.instance_norm(x, weight=w, bias=b), (x, leaf(4, seed=1), leaf(4, seed=2))),
        (lambda x: F.group_norm(x, 4), (x,)),
    ):
        assert gradcheck(f, inputs)
        assert gradgradcheck(f, inputs)


# -- over groups of channels ---------------------------------------------------------------------------------------

GROUPED = [
    ((4, 6), (1, 2, 3)),
    ((3, 8, 5), (1, 2, 8)),
    ((2, 12, 4, 4), (3, 4, 12)),
    ((2, 8, 7, 9), (2, 8)),
    ((1, 6, 2, 3, 4), (2, 6)),
    ((0, 6, 5), (2,)),
    ((2, 6, 0), (2,)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "groups"), GROUPED, ids=str)
def test_group_norm(shape, groups, dtype, each_engine):
    c = shape[1]
    x, w, b = values(shape, dtype) * 2 + 1, values(c, dtype, 1), values(c, dtype, 2)
    close = tolerance(dtype)
    for n in groups:
        grad = 0 not in shape[1:]
        compare(lambda t, x, w, b, n=n: t.nn.functional.group_norm(x, n, w, b), x, w, b, grad=grad, **close)
        compare(lambda t, x, w, n=n: t.nn.functional.group_norm(x, n, w, eps=1e-2), x, w, grad=grad, **close)
        compare(lambda t, x, n=n: t.nn.functional.group_norm(x, n), x, **close)
        # torch has no gradient for a bias without a weight, and NaN for the weight of empty images.
        compare(lambda t, x, b, n=n: t.nn.functional.group_norm(x, n, None, b), x, b, grad=False, **close)


def test_group_norm_with_a_weight_of_zero(each_engine):
    w = values(8)
    w[2:5] = 0
    compare(lambda t, x, w: t.nn.functional.group_norm(x, 2, w, w), values((4, 8, 6, 6)), w, **CLOSE)


def test_channels_last_in_channels_last_out(each_engine):
    for c in (8, 12):
        x = lamina.from_numpy(layouts((4, c, 16, 16))["channels_last"]).requires_grad_()
        w = lamina.ones(c, requires_grad=True)
        for f in (lambda x, w: F.group_norm(x, 4, w), lambda x, w: F.instance_norm(x, weight=w)):
            with engines.usage() as used:
                y = f(x, w)
            assert used.engines == {each_engine}
            if each_engine == "onednn":
                assert y._a.strides == x._a.strides
            with engines.usage() as used:
                y.backward(lamina.from_numpy(layouts((4, c, 16, 16), seed=1)["channels_last"]))
            assert (used["group_norm_backward"][0] == 1) == (each_engine == "onednn")


# -- over each channel ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 6, 5), (2, 8, 4, 3), (1, 3, 2, 3, 4), (3, 2, 9, 7)], ids=str)
def test_instance_norm(shape, dtype, each_engine):
    c = shape[1]
    x, w, b = values(shape, dtype) + 1, values(c, dtype, 1), values(c, dtype, 2)
    mean, var = values(c, dtype, 3), np.abs(values(c, dtype, 4)) + 1
    close = tolerance(dtype)
    compare(lambda t, x, w, b: t.nn.functional.instance_norm(x, weight=w, bias=b), x, w, b, **close)
    compare(lambda t, x: t.nn.functional.instance_norm(x, eps=1e-2), x, **close)

    def running(t, x, w, b, mean, var, use=True, momentum=0.1):
        mean, var = mean.detach().clone(), var.detach().clone()
        y = t.nn.functional.instance_norm(x, mean, var, w, b, use, momentum)
        return y, mean, var

    for momentum in (0.1, 0.0, 1.0):
        compare(lambda t, *a, m=momentum: running(t, *a, momentum=m), x, w, b, mean, var, **close)
    compare(lambda t, *a: running(t, *a, use=False), x, w, b, mean, var, **close)


def test_instance_norm_of_no_examples():
    """The running statistics stay; torch raises here, but for the plainest case."""
    compare(lambda t, x: t.nn.functional.instance_norm(x), np.empty((0, 4, 3)), grad=False)
    x, w, mean = lamina.zeros(0, 4, 3, requires_grad=True), lamina.ones(4, requires_grad=True), lamina.ones(4)
    y = F.instance_norm(x, mean, mean, w, w)
    y.sum().backward()
    assert y.shape == x.grad.shape == (0, 4, 3) and w.grad.tolist() == [0] * 4 and mean.tolist() == [1] * 4


# -- kernels of both engines ---------------------------------------------------------------------------------------


def agree(name, *arguments, atol=3e-5):
    """The two forms of a kernel give the same; the fast one may decline."""
    fast_form, reference_form = getattr(fast, name), getattr(reference, name)
    with engines.engine("onednn"):
        ours = fast_form(*arguments)
    if ours is NotImplemented:
        return
    for a, b in zip(ours, reference_form(*arguments), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=atol)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    last=st.integers(1, 4),
    order=st.sampled_from(["plain", "transposed", "channels_last", "strided"]),
    weight=st.booleans(),
    bias=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 99),
)
def test_row_kernels(shape, last, order, weight, bias, affine, seed):
    if door.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    ndim = min(last, len(shape))
    x, grad = (layouts(shape, seed=s).get(order, values(shape, seed=s)) for s in (seed, seed + 1))
    w, b = (values(shape[len(shape) - ndim :], seed=seed + 2) if wanted else None for wanted in (weight, bias))
    agree("layer_norm", x, w, b, ndim, 1e-3)
    agree("rms_norm", x, w, ndim, 1e-3)
    _, m, v = reference.layer_norm(x, w, b, ndim, 1e-3)
    agree("layer_norm_backward", grad, x, m, v, w, ndim, 1e-3, affine, atol=1e-3)  # divided by deviations of 0.03 or more
    _, s = reference.rms_norm(x, w, ndim, 1e-3)
    agree("rms_norm_backward", grad, x, s, w, ndim, 1e-3, affine, atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 4),
    groups=st.integers(1, 4),
    channels=st.integers(1, 5),
    spatial=st.lists(st.integers(1, 12), max_size=3),
    order=st.sampled_from(["plain", "transposed", "channels_last", "strided"]),
    weight=st.booleans(),
    bias=st.booleans(),
    affine=st.booleans(),
    seed=st.integers(0, 99),
)
def test_group_kernels(n, groups, channels, spatial, order, weight, bias, affine, seed):
    if door.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    shape = (n, groups * channels, *spatial)
    x, grad = (layouts(shape, seed=s).get(order, values(shape, seed=s)) for s in (seed, seed + 1))
    w, b = (values(shape[1], seed=seed + 2) if wanted else None for wanted in (weight, bias))
    agree("group_norm", x, groups, w, b, 1e-3)
    _, m, v = reference.group_norm(x, groups, w, b, 1e-3)
    agree("group_norm_backward", grad, x, m, v, groups, w, 1e-3, affine, atol=1e-3)


def test_which_engine(each_engine):
    x, w = lamina.from_numpy(values((32, 64))).requires_grad_(), lamina.ones(64, requires_grad=True)
    for f in (
        lambda: F.layer_norm(x, (64,), w, w),
        lambda: F.layer_norm(x, (64,)),
        lambda: F.rms_norm(x, (64,), w),
        lambda: F.group_norm(x.reshape(4, 16, 32), 4),
        lambda: F.instance_norm(x.reshape(4, 16, 32)),
    ):
        with engines.usage() as used:
            y = f()
        assert used.engines == {each_engine}
        with engines.usage() as used:
            y.backward(y.detach())
        fast_calls, reference_calls, _ = next(counts for name, counts in used.items() if name.endswith("norm_backward"))
        assert (fast_calls, reference_calls) == ((1, 0) if each_engine == "onednn" else (0, 1))


# -- bad input -----------------------------------------------------------------------------------------------------


def test_errors():
    x, w, wide = values((2, 6, 4, 5)), values(5), values(5, "float64")
    integers = np.ones((2, 6, 4), "int64")
    for name in ("layer_norm", "rms_norm"):
        same_error(lambda t, x, n=name: getattr(t.nn.functional, n)(x, (4,)), x, match="expected input with shape")
        same_error(lambda t, x, n=name: getattr(t.nn.functional, n)(x, ()), x, match="at least 1-dim")
        same_error(lambda t, x, n=name: getattr(t.nn.functional, n)(x, 5), x, match="normalized_shape")
        same_error(lambda t, x, w, n=name: getattr(t.nn.functional, n)(x, (4,), w), values((3, 4)), w, match="weight")
        same_error(lambda t, x, n=name: getattr(t.nn.functional, n)(x, (4,)), integers, match="not implemented for 'Long'")
        same_error(lambda t, n=name: getattr(t.nn.functional, n)(None, (4,)), match="must be Tensor, not NoneType")
        same_error(lambda t, x, n=name: getattr(t.nn.functional, n)(x, (5,), [1] * 5), x, match="must be Tensor, not list")
    same_error(lambda t, x: t.nn.functional.layer_norm(x, (3, 2, 6, 4, 5)), x, match="expected input with shape")
    same_error(lambda t, x: t.nn.functional.rms_norm(x, (3, 2, 6, 4, 5)), x, match="expected input with shape")
    same_error(lambda t, x, w: t.nn.functional.layer_norm(x, (5,), w, w[None]), x, w, match="bias of shape")
    same_error(lambda t, x, w: t.nn.functional.layer_norm(x, (5,), w), x, wide, match="mixed dtype")
    same_error(lambda t, x, w: t.nn.functional.layer_norm(x.double(), (5,), w), x, w, match="mixed dtype")
    same_error(lambda t, x, w: t.nn.functional.layer_norm(x.half(), (5,), w.half(), w), x, w, match="scalar type")
    for groups, match in ((4, "divisible"), (-1, "greater than 0"), (0, None)):
        same_error(lambda t, x, g=groups: t.nn.functional.group_norm(x, g), x, match=match)
    same_error(lambda t, x: t.nn.functional.group_norm(x, 2), values(6), match="at least 2")
    same_error(lambda t, x, w: t.nn.functional.group_norm(x, 2, w), x, w, match="weight")
    same_error(lambda t, x, w: t.nn.functional.group_norm(x, 2, None, w), x, w, match="bias")
    same_error(lambda t, x, w: t.nn.functional.group_norm(x, 2, w), x, values(6, "float64"), match="mixed dtype")
    same_error(lambda t, x: t.nn.functional.group_norm(x, 2), integers, match="not implemented for 'Long'")
    for shape, groups in (((1, 6), 6), ((1, 6, 1), 6)):
        same_error(lambda t, x, g=groups: t.nn.functional.group_norm(x, g), values(shape), match="more than 1 value")
    for shape in ((2, 6), (6,), (2, 6, 1)):
        same_error(lambda t, x: t.nn.functional.instance_norm(x), values(shape), match="more than 1 spatial")
    same_error(lambda t, x: t.nn.functional.instance_norm(x, use_input_stats=False), x, match="to be defined")
    same_error(lambda t, x, w: t.nn.functional.instance_norm(x, w), x, values(6), match="neither be None")
    same_error(lambda t, x, w: t.nn.functional.instance_norm(x, w, w), x, w, match="running_mean should contain")
    same_error(lambda t, x, w: t.nn.functional.instance_norm(x, weight=w), x, w, match="weight should contain")
    same_error(lambda t, x, w: t.nn.functional.instance_norm(x, weight=w), x, values(6, "float64"), match="mixed dtype")
    same_error(lambda t, x: t.nn.functional.instance_norm(x), integers, match="not implemented for 'Long'")


# -- layers --------------------------------------------------------------------------------------------------------

LAYERS = [
    ("LayerNorm", (6,), {}, (2, 3, 6)),
    ("LayerNorm", ([3, 6],), {"eps": 1e-3}, (2, 3, 6)),
    ("LayerNorm", (6,), {"elementwise_affine": False}, (2, 3, 6)),
    ("LayerNorm", (6,), {"bias": False, "dtype": "float64"}, (4, 6)),
    ("RMSNorm", (6,), {}, (2, 3, 6)),
    ("RMSNorm", ((3, 6),), {"eps": 1e-3, "dtype": "float64"}, (2, 3, 6)),
    ("RMSNorm", (6,), {"elementwise_affine": False}, (2, 3, 6)),
    ("GroupNorm", (2, 6), {}, (3, 6, 5)),
    ("GroupNorm", (3, 6), {"eps": 1e-3, "bias": False}, (2, 6, 4, 4)),
    ("GroupNorm", (6, 6), {"affine": False}, (2, 6, 4, 4)),
    ("GroupNorm", (1, 6), {"dtype": "float64"}, (2, 6)),
]


def both(name, args, kwargs):
    """The same layer of lamina and of torch, with the same random parameters."""
    torch = need_torch()
    made = []
    for t in (lamina, torch):
        settings = {k: getattr(t, v) if k == "dtype" else v for k, v in kwargs.items()}
        made.append(getattr(t.nn, name)(*args, **settings))
    ours, theirs = made
    for i, (key, p) in enumerate(theirs.named_parameters()):
        a = values(tuple(p.shape), str(p.dtype).removeprefix("torch."), 10 + i)
        p.data.copy_(torch.from_numpy(a))
        dict(ours.named_parameters())[key].data.copy_(lamina.from_numpy(a))
    return ours, theirs


@pytest.mark.parametrize(("name", "args", "kwargs", "shape"), LAYERS, ids=str)
def test_layers(name, args, kwargs, shape, each_engine):
    ours, theirs = both(name, args, kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for training in (True, False):
        ours.train(training), theirs.train(training)
        layers = {lamina: ours, need_torch(): theirs}
        compare(lambda t, x, layers=layers: layers[t](x), values(shape, kwargs.get("dtype", "float32")), **CLOSE)
    for (key, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_same(p.grad, q.grad, **CLOSE)
        fresh = dict(getattr(nn, name)(*args, **{k: v for k, v in kwargs.items() if k != "dtype"}).named_parameters())[key]
        assert (fresh == (1 if key == "weight" else 0)).all()
    for key, buffer in theirs.named_buffers():
        assert_same(dict(ours.named_buffers())[key], buffer, **CLOSE)


def test_layer_errors():
    same_error(lambda t: t.nn.GroupNorm(4, 6), match="divisible")
    same_error(lambda t: t.nn.LayerNorm(-1), match="negative dimension")
    same_error(lambda t, x: t.nn.LayerNorm(4)(x), values((2, 5)), match="expected input with shape")


INSTANCE = [
    ((4,), {}),
    ((4,), {"affine": True}),
    ((4,), {"affine": True, "bias": False, "eps": 1e-2}),
    ((4,), {"track_running_stats": True}),
    ((4,), {"track_running_stats": True, "momentum": 0.5, "affine": True, "dtype": "float64"}),
    ((4,), {"track_running_stats": True, "momentum": None}),
]


@pytest.mark.parametrize(("args", "kwargs"), INSTANCE, ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_instance_norm_layers(ndim, args, kwargs, each_engine):
    ours, theirs = both(f"InstanceNorm{ndim}d", args, kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    layers = {lamina: ours, need_torch(): theirs}
    kind = kwargs.get("dtype", "float32")
    for training in (True, False):
        ours.train(training), theirs.train(training)
        for shape in ((3, 4, *range(3, 3 + ndim)), (4, *range(3, 3 + ndim))):
            compare(lambda t, x: layers[t](x), values(shape, kind), **CLOSE)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            assert_same(a, b, **CLOSE)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_same(p.grad, q.grad, **CLOSE)


def test_instance_norm_errors():
    for ndim in (1, 2, 3):
        for rank in (ndim, ndim + 3):
            same_error(lambda t, x, n=ndim: getattr(t.nn, f"InstanceNorm{n}d")(2)(x), values((2,) * rank), match="expected")
    same_error(lambda t, x: t.nn.InstanceNorm1d(3, affine=True)(x), values((2, 4, 5)), match="num_features")
    same_error(lambda t, x: t.nn.InstanceNorm1d(3)(x), values((2, 3, 1)), match="more than 1 spatial")
    for t in (lamina, need_torch()):
        with pytest.warns(UserWarning, match="does not match num_features"):
            t.nn.InstanceNorm1d(3)(t.zeros(2, 4, 5))
        layer = t.nn.InstanceNorm1d(3)
        with pytest.raises(RuntimeError, match="Unexpected running stats"):
            layer.load_state_dict({"running_mean": t.zeros(3), "running_var": t.ones(3)})


# -- over neighbouring channels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 6, 5), (2, 7, 4, 3), (1, 5, 2, 3, 2), (2, 3, 2, 2, 2, 2), (0, 4, 3), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_local_response_norm(shape, dtype, each_engine):
    x = values(shape, dtype)
    for size in (1, 2, 3, 5, 20):
        compare(lambda t, x, n=size: t.nn.functional.local_response_norm(x, n), x)
        compare(lambda t, x, n=size: t.nn.functional.local_response_norm(x, n, 0.7, 0.4, 2.0), x, **tolerance(dtype))


def test_local_response_norm_of_other_dtypes():
    compare(lambda t, x: t.nn.functional.local_response_norm(x, 3, 0.5), np.arange(24).reshape(2, 6, 2), grad=False)
    x = values((2, 6, 3), "float16")
    compare(lambda t, x: t.nn.functional.local_response_norm(x, 3, 0.5), x, grad=False, rtol=5e-3)


def test_response_norm_layers():
    for name, args in (("LocalResponseNorm", (3,)), ("LocalResponseNorm", (4, 0.3, 0.5, 1.5)), ("CrossMapLRN2d", (3, 0.3))):
        ours, theirs = both(name, args, {})
        assert repr(ours) == repr(theirs)
        layers = {lamina: ours, need_torch(): theirs}
        compare(lambda t, x, layers=layers: layers[t](x), values((2, 6, 3, 4)), grad=False)


def test_cross_map_is_torchs_and_its_gradient_is_right():
    for size in (2, 3, 4, 5):
        layers = {t: t.nn.CrossMapLRN2d(size, 0.5) for t in (lamina, need_torch())}
        for channels in (1, 2, 7):
            compare(lambda t, x, layers=layers: layers[t](x), values((2, channels, 2, 2), "float64"), grad=False)
    x = lamina.from_numpy(values((1, 5, 2, 1), "float64")).requires_grad_()
    for layer in (nn.CrossMapLRN2d(3, 0.5), nn.LocalResponseNorm(2, 0.5), nn.LocalResponseNorm(3, 0.5)):
        assert gradcheck(layer, (x,))
        assert gradgradcheck(layer, (x,))


def test_response_norm_errors():
    same_error(lambda t, x: t.nn.functional.local_response_norm(x, 2), values((2, 3)), match="3D or higher")
    same_error(lambda t, x: t.nn.functional.local_response_norm(x, 0), values((2, 3, 4)), match="greater than zero")
    same_error(lambda t, x: t.nn.functional.local_response_norm(x, -2), values((2, 3, 4)), match="greater than zero")
    same_error(lambda t, x: t.nn.functional.local_response_norm(x, 2.0), values((2, 3, 4)), match="must be an int")
    same_error(lambda t, x: t.nn.CrossMapLRN2d(3)(x), values((2, 3, 4)), match="4D")


# -- over the batches of all processes -----------------------------------------------------------------------------


SYNC = [{}, {"affine": False, "momentum": None}, {"track_running_stats": False, "bias": False}]


@pytest.mark.parametrize("kwargs", SYNC, ids=str)
def test_sync_batch_norm_of_one_process(kwargs, each_engine):
    ours, theirs = both("SyncBatchNorm", (4,), kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    layers = {lamina: ours, need_torch(): theirs}
    for training in (True, False):
        ours.train(training), theirs.train(training)
        for shape in ((5, 4), (3, 4, 5), (2, 4, 3, 3), (2, 4, 2, 2, 2)):
            compare(lambda t, x: layers[t](x), values(shape), rtol=2e-5, atol=5e-5)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            assert_same(a, b, **CLOSE)
    same_error(lambda t, x: layers[t](x), values((4,)), match="at least 2D")
    same_error(lambda t, x: t.nn.SyncBatchNorm(0)(x), values((4, 0)), match="non-zero")


def test_convert_sync_batch_norm():
    reprs = []
    for t in (lamina, need_torch()):
        net = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4), t.nn.Sequential(t.nn.BatchNorm2d(4, affine=False)).eval())
        keys, weight = list(net.state_dict()), net[1].weight
        converted = t.nn.SyncBatchNorm.convert_sync_batchnorm(net, "group")
        assert converted is net and list(net.state_dict()) == keys and net[1].weight is weight
        assert net[1].process_group == "group" and not net[2][0].training
        reprs.append(repr(converted))
    assert reprs[0] == reprs[1]
    assert type(nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3))) is nn.SyncBatchNorm


def test_top_level_forms():
    x, w, b = values((3, 4, 5)), values(4, seed=1), values(4, seed=2)
    compare(lambda t, x, w, b: t.layer_norm(x.mT, (4,), w, b, 1e-3, False), x, w, b, **CLOSE)
    compare(lambda t, x, w: t.rms_norm(x.mT, (4,), w, 1e-3), x, w, **CLOSE)
    compare(lambda t, x, w, b: t.group_norm(x, 2, w, b, 1e-3), x, w, b, **CLOSE)
    compare(lambda t, x, w, b: t.instance_norm(x, w, b, None, None, True, 0.1, 1e-3, True), x, w, b, **CLOSE)
    compare(lambda t, x, w, b: t.batch_norm(x, w, b, b, w.abs(), False, 0.1, 1e-3, True), x, w, b, grad=False, **CLOSE)
