"""Convolutions and padding: parity with torch, gradients of gradients, both engines, layouts, errors."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import assert_same, compare, layouts, need_torch, same_error

import lamina
import lamina.nn as nn
import lamina.nn.functional as F
from lamina import engine as engines
from lamina.engine import door
from lamina.engine.onednn import core
from lamina.engine.reference import conv as reference

# torch pads a copy of the input for these, and says so; it also warns of initialising layers without weights
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using padding='same' with even kernel lengths", "ignore:Initializing zero-element"
)

RNG = np.random.default_rng(7)
NDIMS = (1, 2, 3)
SPATIAL = {1: (11,), 2: (9, 8), 3: (6, 7, 5)}

need_onednn = pytest.mark.skipif(not core.available(), reason="oneDNN is not installed")


def normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def tolerance(dtype: str, terms: int) -> dict[str, float]:
    """A float32 sum of many terms is as exact as its order of summation; both engines differ from torch in it."""
    return {"rtol": 1e-5, "atol": 2e-6 * math.sqrt(terms) * 4} if dtype == "float32" else {}


# -- parity of the functions ---------------------------------------------------------------------------------------

# in and out channels, kernel, and the settings that differ from the default; a list stands for one entry per dimension
CONVOLUTIONS = {
    "default": (2, 3, 3, {}),
    "one_by_one": (4, 8, 1, {}),
    "one_by_one_strided": (4, 8, 1, {"stride": 2}),
    "one_by_one_padded": (4, 3, 1, {"padding": 1}),
    "padded": (3, 4, 3, {"padding": 1}),
    "strided": (3, 8, 3, {"stride": 2, "padding": 1}),
    "dilated": (2, 3, 2, {"dilation": 2, "padding": 2}),
    "same_odd": (2, 3, 3, {"padding": "same", "dilation": 2}),
    "same_even": (2, 3, 4, {"padding": "same"}),
    "valid": (2, 3, 2, {"padding": "valid", "stride": 2}),
    "grouped": (4, 6, 3, {"groups": 2, "padding": 1}),
    "wide_groups": (16, 16, 3, {"groups": 2, "padding": 1}),
    "depthwise": (8, 8, 3, {"groups": 8, "padding": 1}),
    "depthwise_multiplier": (8, 16, 3, {"groups": 8}),
    "depthwise_dilated": (8, 8, 3, {"groups": 8, "dilation": 2, "padding": 2}),
    "narrow_groups": (16, 16, 3, {"groups": 4, "stride": 2, "padding": 1}),
    "uneven": (3, 5, [3, 2, 1], {"stride": [2, 1, 3], "padding": [1, 0, 2], "dilation": [1, 3, 1]}),
    "one_channel": (1, 6, 3, {}),
    "to_one_channel": (9, 1, 3, {"padding": 1}),
    "vectors": (16, 24, 3, {"padding": 1}),
    "far_padding": (2, 3, 2, {"padding": 3}),
}
TRANSPOSED = {
    "default": (2, 3, 3, {}),
    "doubling": (3, 4, 4, {"stride": 2, "padding": 1}),
    "output_padding": (3, 8, 3, {"stride": 2, "padding": 1, "output_padding": 1}),
    "output_padding_beyond": (2, 3, 3, {"stride": 3, "output_padding": 2}),
    "output_padding_by_dilation": (2, 3, 2, {"dilation": 3, "output_padding": 2}),
    "grouped": (4, 6, 3, {"groups": 2, "stride": 2}),
    "depthwise": (8, 8, 3, {"groups": 8, "stride": 2, "padding": 1}),
    "dilated": (2, 4, 2, {"dilation": 2, "padding": 1}),
    "uneven": (3, 5, [3, 2, 1], {"stride": [2, 1, 3], "padding": [1, 0, 0], "output_padding": [1, 0, 2]}),
    "to_one_channel": (8, 1, 4, {"stride": 2}),
    "to_three_channels": (16, 3, 4, {"stride": 2, "padding": 1}),
    "vectors": (16, 8, 3, {"padding": 1}),
}


def per_dimension(value, ndim):
    return tuple(value[:ndim]) if isinstance(value, list) else value


def arguments(row, ndim, transposed, dtype, with_bias=True, batch=(2,)):
    inputs, outputs, kernel, given_settings = row
    chosen = {k: per_dimension(v, ndim) for k, v in given_settings.items()}
    kernel = per_dimension(kernel, ndim)
    kernel = (kernel,) * ndim if isinstance(kernel, int) else kernel
    groups = chosen.get("groups", 1)
    shape = (inputs, outputs // groups) if transposed else (outputs, inputs // groups)
    x, w = normal(*batch, inputs, *SPATIAL[ndim], dtype=dtype), normal(*shape, *kernel, dtype=dtype)
    b = normal(outputs, dtype=dtype) if with_bias else None
    return x, w, b, chosen, shape[1] * math.prod(kernel) * (groups if transposed else 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_matches_torch(each_engine, name, ndim, dtype):
    x, w, b, chosen, terms = arguments(CONVOLUTIONS[name], ndim, False, dtype)
    with engines.usage() as used:
        compare(
            lambda m, x, w, b: getattr(m.nn.functional, f"conv{ndim}d")(x, w, b, **chosen), x, w, b,
            **tolerance(dtype, max(terms, x.size // x.shape[1])),
        )  # fmt: skip
    kernels = {name: used[name] for name in ("conv", "conv_backward_input", "conv_backward_weight")}
    if each_engine == "onednn" and dtype == "float32" and core.available():
        assert all(fast == 1 and slow == 0 for fast, slow, _ in kernels.values()), kernels
    else:
        assert all(fast == 0 and slow == 1 for fast, slow, _ in kernels.values()), kernels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution_matches_torch(each_engine, name, ndim, dtype):
    x, w, b, chosen, terms = arguments(TRANSPOSED[name], ndim, True, dtype)
    with engines.usage() as used:
        compare(
            lambda m, x, w, b: getattr(m.nn.functional, f"conv_transpose{ndim}d")(x, w, b, **chosen), x, w, b,
            **tolerance(dtype, max(terms, x.size // x.shape[1]) * 4),
        )  # fmt: skip
    if (
        each_engine == "onednn"
        and dtype == "float32"
        and core.available()
        and name != "output_padding_by_dilation"
    ):
        assert (
            used["conv_backward_input"][:2] == used["conv"][:2] == used["conv_backward_weight"][:2] == (1, 0)
        )


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("ndim", NDIMS)
def test_without_bias_and_without_batch(each_engine, ndim, transposed):
    name = f"conv_transpose{ndim}d" if transposed else f"conv{ndim}d"
    x, w, b, chosen, terms = arguments(
        (4, 6, 3, {"stride": 2, "padding": 1, "groups": 2}), ndim, transposed, "float32", batch=()
    )
    bound = tolerance("float32", terms * 4)
    compare(lambda m, x, w: getattr(m.nn.functional, name)(x, w, None, **chosen), x, w, **bound)
    compare(lambda m, x, w, b: getattr(m.nn.functional, name)(x, w, b, **chosen), x, w, b, **bound)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("ndim", NDIMS)
def test_empty_batch(each_engine, ndim, transposed):
    name = f"conv_transpose{ndim}d" if transposed else f"conv{ndim}d"
    x, w, b, chosen, _ = arguments((4, 6, 3, {"stride": 2}), ndim, transposed, "float32", batch=(0,))
    compare(lambda m, x, w, b: getattr(m.nn.functional, name)(x, w, b, **chosen), x, w, b)


def test_no_input_channels(each_engine):
    y = F.conv2d(lamina.zeros(2, 0, 5, 5), lamina.zeros(3, 0, 2, 2), lamina.tensor([1.0, 2.0, 3.0]))
    assert y.shape == (2, 3, 4, 4)  # a sum over nothing and the bias; torch's result has no channels here
    assert y[0, :, 0, 0].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "which", ["input", "weight", "bias", "input and weight", "weight and bias", "input and bias"]
)
@pytest.mark.parametrize("transposed", [False, True])
def test_only_the_gradients_that_are_wanted(each_engine, which, transposed):
    torch = need_torch()
    x, w, b, chosen, _ = arguments((2, 4, 3, {"stride": 2}), 2, transposed, "float64")
    results = []
    for m in (lamina, torch):
        tensors = {
            n: m.from_numpy(a.copy()).requires_grad_(n in which)
            for n, a in {"input": x, "weight": w, "bias": b}.items()
        }
        y = (m.nn.functional.conv_transpose2d if transposed else m.nn.functional.conv2d)(
            *tensors.values(), **chosen
        )
        (y * y).sum().backward()
        results.append([t.grad for t in tensors.values()])
    assert_same(*results)


@pytest.mark.parametrize("layout", ["plain", "transposed", "channels_last", "strided"])
@pytest.mark.parametrize("of", ["input", "weight", "gradient"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_every_memory_order(each_engine, kernel, of, layout):
    torch = need_torch()
    out = {1: (9, 10), 3: (4, 4)}[kernel]
    x, w, g = normal(2, 8, 9, 10), normal(16, 8, kernel, kernel), normal(2, 16, *out)
    arrays = {"input": x, "weight": w, "gradient": g}
    arrays[of] = layouts(arrays[of].shape)[layout]
    results = []
    for m in (lamina, torch):
        tx, tw, tg = (m.from_numpy(a) for a in arrays.values())
        tx, tw = tx.requires_grad_(), tw.requires_grad_()
        y = m.nn.functional.conv2d(tx, tw, stride=1 if kernel == 1 else 2)
        y.backward(tg)
        results.append((y, tx.grad, tw.grad))
    assert_same(*results, rtol=1e-5, atol=1e-4)


def test_expanded_input_weight_and_gradient(each_engine):
    def run(m, x, w):
        y = m.nn.functional.conv2d(x.expand(3, 4, 6, 6), w.expand(5, 4, 3, 3), padding=1)
        return y.sum()  # whose gradient is one number seen everywhere

    compare(run, normal(1, 4, 6, 6), normal(5, 1, 3, 3), rtol=1e-4, atol=1e-4)


def test_results_are_contiguous_to_the_user(each_engine):
    x = lamina.randn(2, 8, 6, 6)
    y = F.conv2d(x, lamina.randn(16, 8, 3, 3))
    assert y.is_contiguous() and y.stride() == (16 * 16, 16, 4, 1)
    assert y.view(2, -1).shape == (2, 256)
    assert x.stride() == (288, 36, 6, 1)  # the input lies as it lay


# -- other dtypes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers(each_engine, dtype):
    rng = np.random.default_rng(1)
    x, w, b = (rng.integers(0, 9, s).astype(dtype) for s in ((2, 4, 6, 6), (6, 2, 3, 3), (6,)))
    compare(lambda m, x, w, b: m.nn.functional.conv2d(x, w, b, padding=1, groups=2), x, w, b, grad=False)
    if dtype == "int64":
        compare(lambda m, x, w: m.nn.functional.conv_transpose2d(x, w, stride=2), x, w[:4], grad=False)
    else:
        same_error(lambda m, x, w: m.nn.functional.conv_transpose2d(x, w), x, w[:4])


@pytest.mark.parametrize("transposed", [False, True])
def test_half_precision(each_engine, transposed):
    x, w, b, chosen, _ = arguments((4, 4, 3, {"stride": 2}), 2, transposed, "float16")
    name = "conv_transpose2d" if transposed else "conv2d"
    # both round a float32 sum once, except that torch rounds between the parts of some sums
    compare(
        lambda m, x, w, b: getattr(m.nn.functional, name)(x, w, b, **chosen), x, w, b, rtol=4e-3, atol=2e-2
    )


@pytest.mark.parametrize("transposed", [False, True])
def test_complex(each_engine, transposed):
    x, w, b, chosen, _ = arguments((4, 4, 3, {"stride": 2, "groups": 2}), 2, transposed, "float64")
    x, w, b = (a + 1j * normal(*a.shape, dtype="float64") for a in (x, w, b))
    name = "conv_transpose2d" if transposed else "conv2d"
    compare(
        lambda m, x, w, b: getattr(m.nn.functional, name)(x, w, b, **chosen), x, w, b, rtol=1e-10, atol=1e-10
    )


# -- gradients of gradients ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize(
    "chosen",
    [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2, "groups": 2}, {"padding": "same"}],
    ids=["default", "strided", "dilated_grouped", "same"],
)
def test_gradcheck(ndim, chosen):
    size = {1: (7,), 2: (5, 4), 3: (4, 3, 4)}[ndim]
    groups = chosen.get("groups", 1)
    leaves = [
        lamina.from_numpy(normal(*s, dtype="float64")).requires_grad_()
        for s in ((2, 2, *size), (2, 2 // groups, *(2,) * ndim), (2,))
    ]
    function = getattr(F, f"conv{ndim}d")
    assert lamina.autograd.gradcheck(lambda x, w, b: function(x, w, b, **chosen), leaves)
    assert lamina.autograd.gradgradcheck(lambda x, w, b: function(x, w, b, **chosen), leaves)


@pytest.mark.parametrize("ndim", NDIMS)
@pytest.mark.parametrize(
    "chosen",
    [{}, {"stride": 2, "padding": 1, "output_padding": 1}, {"dilation": 2, "groups": 2, "output_padding": 1}],
    ids=["default", "strided", "dilated_grouped"],
)
def test_gradcheck_transposed(ndim, chosen):
    size = {1: (4,), 2: (3, 2), 3: (2, 3, 2)}[ndim]
    groups = chosen.get("groups", 1)
    leaves = [
        lamina.from_numpy(normal(*s, dtype="float64")).requires_grad_()
        for s in ((2, 2, *size), (2, 2 // groups, *(2,) * ndim), (2,))
    ]
    function = getattr(F, f"conv_transpose{ndim}d")
    assert lamina.autograd.gradcheck(lambda x, w, b: function(x, w, b, **chosen), leaves)
    assert lamina.autograd.gradgradcheck(lambda x, w, b: function(x, w, b, **chosen), leaves)


def test_second_gradients_match_torch(each_engine):
    torch = need_torch()
    x, w, b = normal(2, 4, 7, 7), normal(8, 4, 3, 3), normal(8)
    results = []
    for m in (lamina, torch):
        leaves = [m.from_numpy(a.copy()).requires_grad_() for a in (x, w, b)]
        y = m.nn.functional.conv2d(*leaves, stride=2, padding=1)
        first = m.autograd.grad((y * y).sum(), leaves, create_graph=True)
        second = m.autograd.grad(sum((g * g).sum() for g in first), leaves)
        results.append((first, second))
    # sums of squares of sums reach 1e5
    assert_same(*results, rtol=2e-5, atol=1e-1)


def test_graph_is_named_as_in_torch():
    x = lamina.randn(1, 1, 4, 4, requires_grad=True)
    assert F.conv2d(x, lamina.randn(1, 1, 2, 2)).grad_fn.name() == "ConvolutionBackward0"
    assert F.conv_transpose2d(x, lamina.randn(1, 1, 2, 2)).grad_fn.name() == "ConvolutionBackward0"


# -- NaN and infinity, writing in place ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_the_result(each_engine, value):
    x, w = normal(2, 3, 8, 8), normal(8, 3, 3, 3)
    x[0, 1, 4, 4] = value
    compare(lambda m, x, w: m.nn.functional.conv2d(x, w, padding=1), x, w, rtol=1e-5, atol=1e-4)
    compare(lambda m, x, w: m.nn.functional.conv_transpose2d(x, w, stride=2), x, w[:3], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("groups", [4, 16])
def test_nan_and_infinity_stay_in_their_group(each_engine, groups, value):
    x, w = normal(2, 16, 8, 8), normal(16, 16 // groups, 3, 3)
    x[0, 5, 4, 4] = value
    compare(lambda m, x, w: m.nn.functional.conv2d(x, w, groups=groups), x, w, rtol=1e-5, atol=1e-4)
    clean = F.conv2d(lamina.from_numpy(x), lamina.from_numpy(w), groups=groups).numpy()
    assert np.isfinite(clean[0, :4]).all() and np.isfinite(clean[1]).all() and not np.isfinite(clean[0, 4:8]).all()


@pytest.mark.parametrize(
    "write",
    [
        lambda c: c.weight.data.mul_(2),
        lambda c: c.weight.data.__setitem__(0, 1.0),
        lambda c: c.weight.detach().numpy().__imul__(2),
        lambda c: c.weight.detach().zero_(),
        lambda c: c.weight.data.view(-1)[3:9].fill_(0.5),
        lambda c: setattr(c.weight, "data", c.weight.data * 3),
        lambda c: c.load_state_dict({k: v * 2 for k, v in c.state_dict().items()}),
        lambda c: nn.init.ones_(c.weight),
    ],
    ids=["data", "data_item", "numpy", "detach", "data_view", "set_data", "load", "init"],
)
@pytest.mark.parametrize("layer", [nn.Conv2d, nn.ConvTranspose2d])
def test_a_written_weight_is_never_stale(each_engine, write, layer):
    c, x = layer(8, 8, 3), lamina.randn(1, 8, 6, 6)
    with lamina.no_grad():
        for _ in range(3):
            c(x)
            write(c)
            fresh = layer(8, 8, 3)
            fresh.weight = nn.Parameter(lamina.tensor(c.weight.tolist()))
            fresh.bias = nn.Parameter(lamina.tensor(c.bias.tolist()))
            assert_same(c(x), fresh(x).numpy(), rtol=0, atol=0)


def test_an_array_kept_outside_is_never_stale(each_engine):
    c, x = nn.Conv2d(8, 8, 3), lamina.randn(1, 8, 6, 6)
    kept = c.weight.detach().numpy()
    with lamina.no_grad():
        before = c(x).clone()
        kept *= 2
        after = c(x)
        bias = c.bias.view(1, 8, 1, 1)
        assert_same(after - bias, ((before - bias) * 2).numpy(), rtol=1e-5, atol=1e-5)


def test_a_weight_written_between_forward_and_backward_raises(each_engine):
    x, w = lamina.randn(1, 2, 5, 5, requires_grad=True), lamina.randn(3, 2, 3, 3, requires_grad=True)
    y = F.conv2d(x, w)
    with lamina.no_grad():
        w.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# -- the layers ----------------------------------------------------------------------------------------------------

LAYERS = [
    ("Conv1d", (4, 6, 3), {}),
    ("Conv1d", (4, 6, (3,)), {"stride": 2, "padding": (1,), "dilation": 2, "groups": 2, "bias": False}),
    ("Conv1d", (4, 6, 4), {"padding": "same", "padding_mode": "circular"}),
    ("Conv2d", (4, 6, 3), {}),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 2), "dilation": [1, 2]}),
    ("Conv2d", (4, 6, 3), {"padding": "same", "dilation": 2}),
    ("Conv2d", (4, 6, 3), {"padding": "valid"}),
    ("Conv2d", (4, 6, 3), {"padding": (1, 2), "padding_mode": "reflect"}),
    ("Conv2d", (4, 6, (4, 3)), {"padding": "same", "padding_mode": "replicate"}),
    ("Conv2d", (4, 6, 3), {"padding": 2, "padding_mode": "circular", "stride": 2}),
    ("Conv2d", (4, 8, 3), {"groups": 4, "bias": False, "dtype": "float64"}),
    ("Conv3d", (4, 6, 3), {}),
    ("Conv3d", (4, 6, (3, 2, 1)), {"padding": (1, 1, 0), "padding_mode": "replicate"}),
    ("Conv3d", (2, 3, 3), {"padding": "same", "padding_mode": "reflect", "bias": False}),
    ("ConvTranspose1d", (4, 6, 3), {}),
    ("ConvTranspose1d", (4, 6, 4), {"stride": 2, "padding": 1, "groups": 2, "bias": False}),
    ("ConvTranspose2d", (4, 6, 3), {}),
    (
        "ConvTranspose2d",
        (4, 6, (3, 4)),
        {"stride": (2, 3), "padding": 1, "output_padding": (1, 2), "dilation": (2, 1)},
    ),
    ("ConvTranspose3d", (4, 6, 3), {}),
    ("ConvTranspose3d", (4, 6, (3, 2, 1)), {"stride": 2, "output_padding": 1, "padding": 0}),
]


def make(m, name, args, kwargs):
    kwargs = {k: getattr(m, v) if k == "dtype" else v for k, v in kwargs.items()}
    m.manual_seed(5)
    return getattr(m.nn, name)(*args, **kwargs)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"), LAYERS, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(LAYERS)]
)
def test_layer_matches_torch(each_engine, name, args, kwargs):
    torch = need_torch()
    ours, theirs = make(lamina, name, args, kwargs), make(torch, name, args, kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert_same(ours.state_dict()[key], value, rtol=0, atol=0)  # the same seed, the same bits
    for attribute in ours.__constants__:
        assert getattr(ours, attribute) == getattr(theirs, attribute)
    assert ours.transposed == theirs.transposed
    x = normal(2, args[0], *SPATIAL[ours.ndim], dtype=kwargs.get("dtype", "float32"))
    results = []
    for m, layer in ((lamina, ours), (torch, theirs)):
        t = m.from_numpy(x.copy()).requires_grad_()
        y = layer(t)
        (y * y).sum().backward()
        results.append((y, t.grad, [p.grad for p in layer.parameters()], layer(t[0])))
    assert_same(*results, rtol=1e-4, atol=1e-3)  # squares of sums over a batch


def test_weights_of_a_torch_layer_give_its_result(each_engine):
    torch = need_torch()
    theirs = torch.nn.Conv2d(3, 8, 3, padding=1)
    ours = nn.Conv2d(3, 8, 3, padding=1)
    ours.load_state_dict({k: lamina.from_numpy(v.numpy()) for k, v in theirs.state_dict().items()})
    x = normal(2, 3, 6, 6)
    assert_same(ours(lamina.from_numpy(x)), theirs(torch.from_numpy(x)))


@pytest.mark.parametrize("size", [[9, 9], [10, 9], (10, 10), [2, 3, 9, 10]])
def test_output_size(each_engine, size):
    torch = need_torch()
    results = []
    for m in (lamina, torch):
        layer = make(m, "ConvTranspose2d", (2, 3, 3), {"stride": 2})
        x = m.ones(2, 2, 4, 4)
        results.append((layer(x, output_size=size), layer(x[0], output_size=size[-2:])))
    assert_same(*results)


@pytest.mark.parametrize("size", [[11, 11], (8, 9), [10], [3, 10, 10], [1, 9, 9, 10, 10]])
def test_impossible_output_size(size):
    same_error(
        lambda m: m.nn.ConvTranspose2d(2, 3, 3, stride=2)(m.zeros(1, 2, 4, 4), output_size=size),
        match="output.size",
    )


def test_deepcopy_and_pickle_compute_the_same():
    layer, x = nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), lamina.randn(1, 2, 5, 5)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert repr(twin) == repr(layer)
        assert_same(twin(x), layer(x).detach().numpy())


def test_default_weights_in_another_dtype():
    layer = nn.ConvTranspose1d(2, 4, 3, groups=2, dtype=lamina.float64)
    assert (
        layer.weight.dtype is lamina.float64 and layer.weight.shape == (2, 2, 3) and layer.bias.shape == (4,)
    )


def test_a_layer_without_outputs_is_made_as_in_torch():
    assert nn.Conv2d(2, 0, 3).weight.shape == (0, 2, 3, 3)
    assert nn.Conv2d(0, 2, 3).weight.shape == (2, 0, 3, 3)


# -- errors --------------------------------------------------------------------------------------------------------

BAD_LAYERS = [  # torch refuses these
    ((3, 2, 3), {"groups": 2}, "in_channels must be divisible by groups"),
    ((2, 3, 3), {"groups": 2}, "out_channels must be divisible by groups"),
    ((2, 2, 3), {"groups": 0}, "groups must be a positive integer"),
    ((2, 2, 3), {"groups": -1}, "groups must be a positive integer"),
    ((2, 2, 3), {"padding": "some"}, "Invalid padding string"),
    ((2, 2, 3), {"padding": "same", "stride": 2}, "not supported for strided"),
    ((2, 2, 3), {"padding_mode": "mirror"}, "padding_mode must be one of"),
    ((-1, 2, 3), {}, "negative"),
    ((2, -2, 3), {}, "negative"),
    ((2, 2, 3.0), {}, "kernel_size"),
    ((2, 2, "a"), {}, "kernel_size"),
]
WORSE_LAYERS = [  # and these only when it is too late
    ((2, 2, 3), {"stride": 0}, "stride must be at least 1, got 0"),
    ((2, 2, 3), {"stride": (1, -1)}, "stride must be at least 1"),
    ((2, 2, 0), {}, "kernel_size must be at least 1, got 0"),
    ((2, 2, 3), {"dilation": 0}, "dilation must be at least 1"),
    ((2, 2, 3), {"padding": -1}, "padding must be at least 0"),
    ((2, 2, (3, 3, 3)), {}, "kernel_size must be an int or 2 ints"),
    ((2, 2, 3), {"stride": (1, 1, 1)}, "stride must be an int or 2 ints"),
    ((2, 2, 3), {"padding": (1,)}, "padding must be an int or 2 ints"),
]


@pytest.mark.parametrize(("args", "kwargs", "message"), BAD_LAYERS)
def test_bad_settings_raise_as_in_torch(args, kwargs, message):
    same_error(lambda m: m.nn.Conv2d(*args, **kwargs), match=message)


@pytest.mark.parametrize(("args", "kwargs", "message"), WORSE_LAYERS)
def test_bad_settings_raise_at_construction(args, kwargs, message):
    for layer in (nn.Conv2d, nn.ConvTranspose2d):
        with pytest.raises(ValueError, match=message):
            layer(*args, **kwargs)


def test_transposed_convolutions_pad_with_zeros_only():
    same_error(
        lambda m: m.nn.ConvTranspose2d(2, 2, 3, padding_mode="reflect"), match='Only "zeros" padding mode'
    )
    with pytest.raises(TypeError, match="padding must be an int or 2 ints"):
        nn.ConvTranspose2d(2, 2, 3, padding="same")


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


IMAGE = zeros(1, 3, 8, 8)
BAD_CALLS = [
    ("conv2d", (IMAGE, zeros(2, 1, 5, 5)), {},
     r"weight of size \[2, 1, 5, 5\], expected input\[1, 3, 8, 8\] to have 1 channels, but got 3"),
    ("conv2d", (IMAGE, zeros(2, 1, 5, 5)), {"groups": 2}, "to have 2 channels, but got 3 channels instead"),
    ("conv2d", (zeros(1, 4, 8, 8), zeros(3, 2, 5, 5)), {"groups": 2}, "expected weight to be divisible by 2"),
    ("conv2d", (zeros(1, 4, 8, 8), zeros(1, 2, 5, 5)), {"groups": 2}, "expected weight to be at least 2"),
    ("conv2d", (zeros(1, 1, 3, 3), zeros(2, 1, 5, 5)), {},
     r"input size per channel: \(3 x 3\). Kernel size: \(5 x 5\). Kernel size can't"),
    ("conv1d", (zeros(1, 1, 3), zeros(2, 1, 5)), {}, r"padded input size per channel: \(3\). Kernel size: \(5\)"),
    ("conv2d", (zeros(1, 1, 5, 5), zeros(2, 1, 3, 3)), {"dilation": 4, "padding": 1}, r"\(7 x 7\). Kernel size: \(9 x 9\)"),
    ("conv2d", (zeros(3, 3), zeros(2, 3, 5, 5)), {},
     r"3D \(unbatched\) or 4D \(batched\) input to conv2d, but got input of size: \[3, 3\]"),
    ("conv2d", (zeros(1, 1, 1, 3, 3), zeros(2, 3, 5, 5)), {}, "Expected 3D"),
    ("conv2d", (IMAGE, zeros(2, 3, 5)), {}, r"weight of size \[2, 3, 5\]"),
    ("conv2d", (zeros(1, 3, 8, 8, dtype="float64"), zeros(2, 3, 5, 5)), {}, "DoubleTensor"),
    ("conv2d", (zeros(1, 3, 8, 8, dtype="int64"), zeros(2, 3, 5, 5)), {}, "LongTensor"),
    ("conv2d", (zeros(1, 3, 8, 8, dtype="float64"), zeros(2, 3, 5, 5, dtype="float64"), zeros(2)), {}, "bias type"),
    ("conv2d", (zeros(1, 3, 8, 8, dtype="bool"), zeros(2, 3, 5, 5, dtype="bool")), {}, "Bool"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5), zeros(3)), {}, "bias to be 1-dimensional with 2 elements"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5), zeros(2, 1)), {}, "bias to be 1-dimensional with 2 elements"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"stride": 0}, "non-positive stride"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"stride": -1}, "non-positive stride"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"padding": -1}, "negative padding"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"dilation": 0}, "non-positive dilation"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"groups": 0}, "non-positive groups"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"stride": (1, 1, 1)}, "stride to be a single integer value or a list of 2 values"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"stride": 1.5}, "stride"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"padding": "some"}, "Invalid padding string"),
    ("conv2d", (IMAGE, zeros(2, 3, 5, 5)), {"padding": "same", "stride": 2}, "padding='same' is not supported"),
    ("conv2d", (IMAGE, zeros(2, 3, 0, 0)), {}, "kernel size should be greater than zero"),
    ("conv2d", (None, zeros(2, 3, 5, 5)), {}, "'input' must be Tensor, not NoneType"),
    ("conv2d", (IMAGE, None), {}, "'weight' must be Tensor, not NoneType"),
    ("conv2d", (zeros(1, 3, 0, 8), zeros(2, 3, 2, 2)), {"padding": 1}, "Only zero batch or zero channel"),
    ("conv2d", (IMAGE, zeros(0, 3, 5, 5)), {}, "at least 1 at dimension 0"),
    ("conv_transpose2d", (IMAGE, zeros(2, 1, 5, 5)), {},
     r"transposed=1, weight of size \[2, 1, 5, 5\], expected input\[1, 3, 8, 8\] to"),
    ("conv_transpose2d", (IMAGE, zeros(3, 1, 5, 5), zeros(3)), {}, "expected bias to be 1-dimensional with 1 elements"),
    ("conv_transpose2d", (IMAGE, zeros(3, 1, 5, 5)), {"groups": 2}, "expected weight to be divisible by 2"),
    ("conv_transpose2d", (IMAGE, zeros(3, 1, 5, 5)), {"output_padding": 1}, "must be smaller than either stride or dilation"),
    ("conv_transpose2d", (IMAGE, zeros(3, 1, 5, 5)), {"output_padding": -1, "stride": 2}, "negative output_padding"),
    ("conv_transpose2d", (IMAGE, zeros(3, 1, 1, 1)), {"padding": 4}, "Output size is too small"),
    ("conv_transpose2d", (IMAGE, zeros(3, 1, 1, 1)), {"padding": "same"}, "must be tuple of ints, not str"),
    ("conv_transpose2d", (zeros(8), zeros(3, 1, 1, 1)), {}, "Expected 3D"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "inputs", "kwargs", "message"), BAD_CALLS)
def test_bad_calls_raise_as_in_torch(name, inputs, kwargs, message):
    same_error(lambda m, *tensors: getattr(m.nn.functional, name)(*tensors, **kwargs), *inputs, match=message)


def test_an_array_is_not_a_tensor():
    with pytest.raises(TypeError, match="'input' must be Tensor, not ndarray"):
        F.conv2d(IMAGE, lamina.zeros(2, 3, 5, 5))
    with pytest.raises(TypeError, match="'bias' must be Tensor, not int"):
        F.conv2d(lamina.zeros(1, 3, 8, 8), lamina.zeros(2, 3, 5, 5), 1)


def test_a_failed_call_changes_nothing():
    layer = nn.Conv2d(1, 2, 5)
    before = layer.weight.tolist()
    with pytest.raises(RuntimeError):
        layer(lamina.zeros(1, 3, 8, 8))
    assert layer.weight.tolist() == before and layer.weight.grad is None


# -- the kernels, pair by pair -------------------------------------------------------------------------------------


@st.composite
def calls(draw):
    ndim = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    c, o = (groups * draw(st.sampled_from([1, 2, 3, 5, 8])) for _ in range(2))
    several = st.tuples(*[st.integers(0, 3)] * ndim)
    kernel, stride = (tuple(v + 1 for v in draw(several)) for _ in range(2))
    dilation = tuple(1 + v % 2 for v in draw(several))
    padding = tuple(zip(draw(several), draw(several), strict=True))
    size = tuple(7 + v for v in draw(several))  # the widest kernel reaches over 7
    orders = draw(
        st.tuples(*[st.sampled_from(["plain", "transposed", "channels_last", "strided", "broadcast"])] * 3)
    )
    return (
        draw(st.integers(1, 2)),
        c,
        o,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        size,
        orders,
        draw(st.integers(0, 9999)),
    )


def laid(rng, shape, order):
    if order == "broadcast":
        return np.broadcast_to(rng.standard_normal((1, *shape[1:])).astype("f4"), shape)
    return layouts(shape, seed=int(rng.integers(1 << 30)))[order]


@need_onednn
@given(calls())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_both_forms_of_every_kernel_agree(call):
    n, c, o, kernel, stride, padding, dilation, groups, size, orders, seed = call
    rng = np.random.default_rng(seed)
    x, w = laid(rng, (n, c, *size), orders[0]), laid(rng, (o, c // groups, *kernel), orders[1])
    how = stride, padding, dilation, groups
    b_out, b_in = rng.standard_normal(o).astype("f4"), rng.standard_normal(2 * c).astype("f4")[::2]
    y = reference.conv(x, w, b_out, how)
    grad = laid(rng, y.shape, orders[2])
    kernels = door.kernels
    pairs = [
        (kernels.conv, (x, w, b_out, how, 0)),
        (kernels.conv, (x, w, None, how)),
        (kernels.conv_backward_input, (grad, w, None, size, how)),
        (kernels.conv_backward_input, (grad, w, b_in, size, how, 0)),
        (kernels.conv_backward_weight, (x, grad, kernel, how)),
        (kernels.conv_arrange, (grad, x.shape, w.shape, how)),
    ]
    for kernel_pair, args in pairs:
        expected = kernel_pair.reference(*args)
        found = kernel_pair.fast(*args)
        assert found is not NotImplemented
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(
            found, expected, rtol=1e-4, atol=1e-5 * (1 + float(np.abs(expected).max()))
        )
    found, expected = kernels.conv_backward_bias(grad), kernels.conv_backward_bias.reference(grad)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@need_onednn
@pytest.mark.parametrize(
    "shape", [(3, 7, 31, 17), (1, 5, 1024), (2, 3, 8, 9, 10), (1, 2, 2, 2), (6, 1, 40, 40)]
)
def test_bias_gradient_is_as_exact_as_a_careful_sum(shape):
    grad = np.abs(layouts(shape)["channels_last"])
    expected = grad.astype("f8").sum((0, *range(2, grad.ndim)))
    with engines.engine("onednn"):
        np.testing.assert_allclose(door.kernels.conv_backward_bias(grad), expected, rtol=3e-6)


@need_onednn
def test_small_and_odd_calls_run_on_onednn():
    with engines.engine("auto"), engines.usage() as used:
        x = lamina.randn(1, 1, 8, 8, requires_grad=True)
        nn.Conv2d(1, 4, 3)(x).sum().backward()
    assert used["conv"][:2] == (1, 0) and used["conv_backward_weight"][:2] == (1, 0)


# -- padding -------------------------------------------------------------------------------------------------------

PADS = [
    ("constant", (2, 3, 5), (1, 2)),
    ("constant", (2, 3, 5), (1, 2, 3, 0, 0, 1)),
    ("constant", (4, 5), (-1, 2, -2, -1)),
    ("constant", (4, 5), (-2, -3)),
    ("constant", (4, 5), ()),
    ("constant", (), ()),
    ("reflect", (3, 5), (4, 2)),
    ("reflect", (2, 3, 5), (4, 4)),
    ("reflect", (2, 4, 5), (1, 2, 3, 0)),
    ("reflect", (1, 2, 4, 5), (2, 0, 1, 3)),
    ("reflect", (2, 3, 4, 5), (1, 2, 2, 1, 0, 1)),
    ("reflect", (1, 2, 3, 4, 5), (1, 2, 2, 1, 0, 1)),
    ("reflect", (2, 3, 5), (-1, 2)),
    ("reflect", (2, 3, 5), (4, -4)),
    ("reflect", (0, 3, 5), (1, 1)),
    ("replicate", (3, 5), (7, 2)),
    ("replicate", (1, 2, 4, 5), (2, 0, 1, 6)),
    ("replicate", (1, 2, 3, 4, 5), (1, 2, 2, 1, 0, 1)),
    ("replicate", (2, 3, 5), (-4, 4)),
    ("replicate", (2, 4, 5), (3, -2, -1, 2)),
    ("circular", (3, 5), (5, 5)),
    ("circular", (1, 2, 4, 5), (2, 0, 1, 4)),
    ("circular", (1, 2, 3, 4, 5), (1, 2, 2, 1, 0, 1)),
    ("circular", (2, 3, 5), (-1, 2)),
    ("circular", (2, 3, 5), (3, -2)),
    ("circular", (2, 0, 5), (1, 1)),
]


@pytest.mark.parametrize(("mode", "shape", "amounts"), PADS)
def test_pad_matches_torch(mode, shape, amounts):
    compare(lambda m, x: m.nn.functional.pad(x, amounts, mode), np.array(normal(*shape)))
    if len(shape) > 2 and 0 not in shape:
        for x in layouts(shape, "float64").values():
            compare(lambda m, x: m.nn.functional.pad(x, list(amounts), mode=mode), x)


@pytest.mark.parametrize("dtype", ["float16", "int64", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_of_every_dtype(mode, dtype):
    x = np.arange(10).reshape(1, 2, 5).astype(dtype)
    if dtype == "bool" and mode in ("reflect", "replicate"):
        same_error(lambda m, x: m.nn.functional.pad(x, (1, 2), mode), x)
    else:
        compare(lambda m, x: m.nn.functional.pad(x, (1, 2), mode), x, grad=False)


@pytest.mark.parametrize("value", [None, 0, 2.5, -0.0, float("nan"), float("inf")])
def test_pad_value(value):
    compare(lambda m, x: m.nn.functional.pad(x, (1, 2, 0, 1), "constant", value), normal(2, 3))
    if value is None or math.isfinite(value):
        compare(lambda m, x: m.nn.functional.pad(x, (1, 2), value=value), np.arange(3), grad=False)


@pytest.mark.parametrize(
    ("mode", "amounts"),
    [
        ("constant", (1, -1, 2, 0)),
        ("reflect", (2, 1, -1, 2)),
        ("replicate", (3, 2, 2, -1)),
        ("circular", (2, 1, 3, 0)),
    ],
)
def test_pad_gradcheck(mode, amounts):
    x = lamina.from_numpy(normal(1, 2, 3, 4, dtype="float64")).requires_grad_()
    assert lamina.autograd.gradcheck(lambda x: F.pad(x, amounts, mode), (x,))
    assert lamina.autograd.gradgradcheck(lambda x: F.pad(x, amounts, mode) ** 2, (x,))


def test_pad_keeps_channels_last_order(each_engine):
    x = F.conv2d(lamina.randn(2, 3, 5, 5), lamina.randn(8, 3, 3, 3))
    padded = F.pad(x, (1, 1, 1, 1), "reflect")
    assert padded.is_contiguous() and padded.shape == (2, 8, 5, 5)
    assert_same(padded, np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)), "reflect"))


BAD_PADS = [
    (zeros(1, 1, 5), (5, 0), "reflect", "should be less than the corresponding input dimension"),
    (zeros(1, 1, 5), (0, 5), "reflect", "should be less than"),
    (zeros(1, 1, 5), (-3, -2), "reflect", "too small"),
    (zeros(1, 1, 5), (-3, -3), "replicate", "too small"),
    (zeros(2, 0, 5), (1, 1), "reflect", "non-zero dimensions"),
    (zeros(2, 2, 0), (1, 1), "replicate", "non-zero dimensions"),
    (zeros(1, 1, 5), (6, 0), "circular", "wrapping around more than once"),
    (zeros(1, 1, 5), (-3, -3), "circular", "empty dimension"),
    (zeros(1, 1, 5), (-4, 4), "circular", "wrapping around"),
    (zeros(1, 1, 5), (1, 1, 1, 1, 1, 1), "reflect", "Supported combinations"),
    (zeros(1, 1, 5, 5), (1, 1), "replicate", "Supported combinations"),
    (zeros(5), (1, 1), "circular", "Supported combinations"),
    (zeros(1, 1, 5), (), "circular", "Supported combinations"),
    (zeros(1, 1, 5), (-3, -3), "constant", "too small"),
    (zeros(1, 1, 5), (-6, 2), "constant", "too small"),
    (zeros(1, 1, 5), (1,), "constant", "divisible by 2"),
    (zeros(1, 1, 5), (1,) * 8, "constant", "two times the input dimension"),
    (zeros(1, 1, 5), (1, 1), "mirror", "Unrecognised padding mode mirror"),
    (zeros(1, 1, 5), 1, "constant", "must be tuple of ints"),
    (zeros(1, 1, 5), (1.0, 1.0), "constant", "must be tuple of ints"),
]


@pytest.mark.parametrize(("x", "amounts", "mode", "message"), BAD_PADS)
def test_bad_pads_raise_as_in_torch(x, amounts, mode, message):
    same_error(lambda m, x: m.nn.functional.pad(x, amounts, mode), x, match=message)


def test_only_a_constant_has_a_value():
    same_error(lambda m, x: m.nn.functional.pad(x, (1, 1), "reflect", 3.0), zeros(1, 1, 5), match="value")


@need_onednn
@pytest.mark.parametrize("groups", [1, 2])
def test_square_transposed_convolution_keeps_its_two_weights_apart(groups):
    """With as many channels in as out, forward and gradient want the weight in one layout, seen two ways round."""
    x = normal(1, 32, 9, 9)

    def gradient(m):
        m.manual_seed(0)  # weights that are kept in the engine's layout: nobody outside has seen them
        leaf = m.from_numpy(x.copy()).requires_grad_()
        layer = m.nn.ConvTranspose2d(32, 32, 3, padding=1, groups=groups)
        layer(leaf).pow(2).sum().backward()
        return leaf.grad

    with engines.engine("onednn"):
        ours = gradient(lamina)
    assert_same(ours, gradient(need_torch()), **tolerance("float32", 32 * 9 * 2))


@pytest.mark.parametrize(("channels", "stride"), [(1, 2), (3, (2, 1)), (4, 2), (7, (1, 3)), (12, 2)])
def test_strided_pixels_of_few_channels(channels, stride):
    """oneDNN's own code for these is wrong once in some tens of calls of a new plan, or never returns."""
    from lamina.engine.onednn import conv as fast

    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, channels, 6, 16)).astype("float32")
    t = stride if isinstance(stride, tuple) else (stride, stride)
    g = rng.standard_normal((5, 16, 5 // t[0] + 1, 15 // t[1] + 1)).astype("float32")
    expected = np.einsum("nohw,nchw->oc", g, x[:, :, :: t[0], :: t[1]])
    with engines.engine("onednn"):
        for order in ("C", "channels-last") * 30:
            if order != "C":
                x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
            fast._backward_weight.clear()
            found = engines.kernels.conv_backward_weight(x, g, (1, 1), (t, ((0, 0), (0, 0)), (1, 1), 1))
            np.testing.assert_allclose(found[:, :, 0, 0], expected, rtol=1e-4, atol=1e-3)
    for pads in (((1, 1), (0, 0)), ((0, 1), (0, 2))):  # padding beyond the last window's pixel, or before the first
        with engines.engine("reference"):
            y = engines.kernels.conv(x, np.ones((2, channels, 1, 1), "float32"), None, (t, pads, (1, 1), 1))
            wanted = engines.kernels.conv_backward_weight(x, y, (1, 1), (t, pads, (1, 1), 1))
        with engines.engine("onednn"):
            found = engines.kernels.conv_backward_weight(x, y, (1, 1), (t, pads, (1, 1), 1))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-2)
