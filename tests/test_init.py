"""Initial values: the numbers of ``torch.nn.init`` from the same seed, its warnings and its errors."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from support import need_torch

import lamina
from lamina import nn
from lamina.nn import init

SHAPES = ((3, 4), (8, 6), (4, 4, 3), (5, 2, 3, 3), (6, 4, 2, 3, 2), (60, 50))
DTYPES = ("float32", "float64", "float16")
# From seed 0, in PyTorch 2.13: xavier_uniform_ of a 2 × 2 matrix, and the first of a 4 × 5 matrix of kaiming_normal_.
KNOWN = [
    -0.009169445373117924, 0.657006561756134, -1.0080204010009766, -0.9013375639915466, 0.5367715358734131, 0.43766501545906067,
]  # fmt: skip


def same_draw(function, shape, dtype="float32", tolerance=0.0, transform=lambda x: x, seed=5):
    """``function(init module, tensor)`` on both libraries: equal numbers, and the stream in the same place after it."""
    torch = need_torch()
    made = []
    for library in (lamina, torch):
        library.manual_seed(seed)
        x = transform(library.empty(*shape, dtype=getattr(library, dtype)))
        assert function(library.nn.init, x) is x
        made.append((x.numpy(), library.get_rng_state().numpy()))
    (a, s), (b, t) = made
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    different = np.delete(s != t, np.s_[5024:5032])  # a normal number that waits rests on the C library
    assert not different.any(), "the stream is elsewhere"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [
    "xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "uniform_", "normal_", "trunc_normal_", "ones_",
    "zeros_",
])  # fmt: skip
def test_drawn_numbers(name, dtype):
    # float64 normals rest on the C library's log, sin and cos
    tolerance = 1e-15 if dtype == "float64" and "normal" in name else 0.0
    for shape in SHAPES:
        same_draw(lambda m, x: getattr(m, name)(x), shape, dtype, tolerance)
        same_draw(lambda m, x: getattr(m, name)(x), shape, dtype, tolerance, transform=lambda x: x.transpose(0, 1))
        same_draw(lambda m, x: getattr(m, name)(x), shape, dtype, tolerance, transform=lambda x: x[:, 1:])


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "FAN_OUT"])
@pytest.mark.parametrize("nonlinearity", [
    "leaky_relu", "relu", "tanh", "selu", "linear", "sigmoid", "conv2d", "conv_transpose3d",
])  # fmt: skip
def test_kaiming_settings(mode, nonlinearity):
    for name in ("kaiming_uniform_", "kaiming_normal_"):
        for a in (0, 5**0.5):
            same_draw(lambda m, x: getattr(m, name)(x, a, mode, nonlinearity), (6, 4, 3, 3))  # noqa: B023


@pytest.mark.parametrize("law", [
    (0, 1, -2, 2), (0, 0.02, -2, 2), (0.5, 1, -0.2, 0.3), (3, 1, -1, 2), (0, -1, -2, 2), (0, 1, 1.5, 9), (0, 2, -0.1, 4),
    (0, 1, -1, 1),
])  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_trunc_normal(law, dtype):
    tolerance = 2e-15 if dtype == "float64" else 0.0
    for shape in ((3, 4), (60, 50)):
        same_draw(lambda m, x: m.trunc_normal_(x, *law), shape, dtype, tolerance)
        same_draw(lambda m, x: m.trunc_normal_(x, *law), shape, dtype, tolerance, transform=lambda x: x.t())
    x = init.trunc_normal_(lamina.empty(1000, dtype=lamina.float64), *law)
    assert law[2] <= x.min().item() and x.max().item() <= law[3]


def test_trunc_normal_far_from_its_mean_warns():
    with pytest.warns(UserWarning, match="2 std"):
        init.trunc_normal_(lamina.empty(3), 5, 1)
    with pytest.warns(UserWarning, match="2 std"), pytest.raises(RuntimeError, match="from=3"):
        init.trunc_normal_(lamina.empty(3), 0, 1, 3, 2)
    with pytest.raises(ZeroDivisionError):
        init.trunc_normal_(lamina.empty(3), 0, 0)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 5e-6), ("float64", 1e-13)])
def test_orthogonal(dtype, tolerance):
    for shape in (*SHAPES, (4, 9), (1, 5), (5, 1)):
        same_draw(lambda m, x: m.orthogonal_(x, 1.5), shape, dtype, tolerance)
    same_draw(lambda m, x: m.orthogonal_(x), (4, 6), dtype, tolerance, transform=lambda x: x.t())
    q = init.orthogonal_(lamina.empty(4, 3, 5, dtype=lamina.float64), gain=2).numpy().reshape(4, 15)
    np.testing.assert_allclose(q @ q.T, 4 * np.eye(4), atol=1e-12)
    with pytest.raises(NotImplementedError):
        init.orthogonal_(lamina.empty(3, 3, dtype=lamina.float16))
    assert init.orthogonal_(lamina.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse(dtype):
    for sparsity in (0.0, 0.1, 0.5, 1.0, 1.5):
        for shape in ((5, 4), (1, 3), (0, 3), (40, 20)):
            same_draw(lambda m, x: m.sparse_(x, sparsity, std=0.2), shape, dtype, 1e-16)  # noqa: B023


@pytest.mark.parametrize("dtype", (*DTYPES, "int64"))
def test_eye_dirac_and_constants(dtype):
    for shape in ((3, 4), (4, 3), (3, 3), (0, 2)):
        same_draw(lambda m, x: m.eye_(x), shape, dtype)
    for shape in ((4, 4, 3), (4, 2, 3, 5), (6, 8, 1, 2, 3), (2, 3, 4)):
        same_draw(lambda m, x: m.dirac_(x), shape, dtype)
        same_draw(lambda m, x: m.dirac_(x, 2), shape, dtype)
        same_draw(lambda m, x: m.dirac_(x, groups=2), shape, dtype, transform=lambda x: x.transpose(1, 2))
    same_draw(lambda m, x: m.constant_(x, 3), (2, 3), dtype)
    same_draw(lambda m, x: m.ones_(x), (2, 3), dtype)


def test_a_dirac_convolution_is_the_identity():
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
    init.dirac_(layer.weight, groups=2)
    x = lamina.randn(2, 4, 5, 5)
    np.testing.assert_allclose(layer(x).detach().numpy(), x.numpy(), rtol=1e-6)


def test_a_generator_of_ones_own():
    torch = need_torch()
    for name, args in (
        ("uniform_", ()), ("normal_", ()), ("trunc_normal_", ()), ("xavier_uniform_", ()), ("xavier_normal_", ()),
        ("kaiming_uniform_", ()), ("kaiming_normal_", ()), ("orthogonal_", ()), ("sparse_", (0.4,)),
    ):  # fmt: skip
        made = []
        for library in (lamina, torch):
            library.manual_seed(1)
            x = library.empty(7, 5)
            getattr(library.nn.init, name)(x, *args, generator=library.Generator().manual_seed(9))
            made.append((x.numpy(), library.get_rng_state().numpy()))
        np.testing.assert_allclose(made[0][0], made[1][0], atol=5e-6 if name == "orthogonal_" else 0, err_msg=name)
        assert np.array_equal(made[0][1], made[1][1]), name


def test_gains():
    torch = need_torch()
    for name in ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
                 "tanh", "relu", "leaky_relu", "selu"):  # fmt: skip
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    for slope in (0, 0.1, 2, 5**0.5):
        assert init.calculate_gain("leaky_relu", slope) == torch.nn.init.calculate_gain("leaky_relu", slope)
    for name, slope in (("foo", None), ("leaky_relu", True), ("leaky_relu", "a")):
        with pytest.raises(ValueError):
            torch.nn.init.calculate_gain(name, slope)
        with pytest.raises(ValueError, match="foo|number"):
            init.calculate_gain(name, slope)


def test_fans():
    torch = need_torch()
    for shape in ((3, 4), (5, 2, 3, 3), (4, 0, 2)):
        x = lamina.empty(*shape)
        assert init._calculate_fan_in_and_fan_out(x) == torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(*shape))
        for mode in ("fan_in", "fan_out"):
            assert init._calculate_correct_fan(x, mode) == torch.nn.init._calculate_correct_fan(torch.empty(*shape), mode)


@pytest.mark.parametrize("error, function", [
    (ValueError, lambda m, e: m.xavier_uniform_(e(3))), (ValueError, lambda m, e: m.xavier_normal_(e(()))),
    (ValueError, lambda m, e: m.kaiming_uniform_(e(3))), (ValueError, lambda m, e: m.kaiming_uniform_(e(3, 2), mode="x")),
    (ValueError, lambda m, e: m.kaiming_normal_(e(3, 2), nonlinearity="foo")), (ValueError, lambda m, e: m.orthogonal_(e(3))),
    (ValueError, lambda m, e: m.sparse_(e(3), 0.1)), (ValueError, lambda m, e: m.eye_(e(3))),
    (ValueError, lambda m, e: m.dirac_(e(3, 4))), (ValueError, lambda m, e: m.dirac_(e(3, 4, 3), 2)),
    (RuntimeError, lambda m, e: m.normal_(e(3), 0, -1)), (RuntimeError, lambda m, e: m.uniform_(e(3), 2, 1)),
    (NotImplementedError, lambda m, e: m.kaiming_uniform_(e(3, 3).long())),
    (ZeroDivisionError, lambda m, e: m.xavier_normal_(e(0, 0))),
])  # fmt: skip
def test_errors(error, function):
    torch = need_torch()
    with pytest.raises(error):
        function(torch.nn.init, torch.empty)
    with pytest.raises(error):
        function(init, lamina.empty)


def test_nothing_to_initialise_warns():
    for name in ("kaiming_uniform_", "kaiming_normal_"):
        x = lamina.empty(0, 3)
        with pytest.warns(UserWarning, match="zero-element"):
            assert getattr(init, name)(x) is x
    assert init.xavier_uniform_(lamina.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("old", [
    "uniform", "normal", "constant", "eye", "dirac", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal",
    "orthogonal", "sparse",
])  # fmt: skip
def test_old_names_warn(old):
    shape = (4, 4, 3) if old == "dirac" else (4, 3)
    args = {"constant": (2,), "sparse": (0.5,)}.get(old, ())
    lamina.manual_seed(0)
    with pytest.warns(FutureWarning, match=f"nn.init.{old}_"):
        a = getattr(init, old)(lamina.empty(*shape), *args)
    lamina.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lamina.equal(getattr(init, old + "_")(lamina.empty(*shape), *args), a)


def test_parameters_are_filled_without_a_trace():
    p = nn.Parameter(lamina.empty(3, 3))
    for name, args in (
        ("uniform_", ()), ("normal_", ()), ("trunc_normal_", ()), ("constant_", (2.0,)), ("ones_", ()), ("zeros_", ()),
        ("eye_", ()),
        ("xavier_uniform_", ()), ("kaiming_normal_", ()), ("orthogonal_", ()), ("sparse_", (0.3,)),
    ):  # fmt: skip
        assert getattr(init, name)(p, *args) is p
        assert p.requires_grad and p.is_leaf and p.grad is None, name
    w = nn.Parameter(lamina.empty(3, 3, 3))
    assert init.dirac_(w) is w and w.is_leaf
    with pytest.raises(RuntimeError, match="leaf"):
        p.normal_()


def test_every_name_and_signature_of_torch():
    torch = need_torch()
    assert sorted(init.__all__) == sorted(torch.nn.init.__all__)
    for name in torch.nn.init.__all__:
        if name.endswith("_") or name == "calculate_gain":
            ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (init, torch.nn.init))
            assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()], name


def test_known_weights_without_torch():
    lamina.manual_seed(0)
    got = init.xavier_uniform_(lamina.empty(2, 2)).flatten().tolist()
    got += init.kaiming_normal_(lamina.empty(4, 5)).flatten().tolist()[:2]
    np.testing.assert_allclose(got, KNOWN, rtol=1e-6)
