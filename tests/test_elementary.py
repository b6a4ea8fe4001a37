"""Further elementwise functions against torch: values at the edges, promotion, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

TWO = ("hypot", "copysign", "xlogy", "logaddexp", "logaddexp2", "nextafter", "ldexp", "float_power")
EDGES = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, np.inf, -np.inf, np.nan])


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_of_two_matches_torch(name, dtype):
    rng = np.random.default_rng(0)
    for s, u in [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2,)), ((0,), (1,)), ((), ())]:
        x, y = (rng.uniform(0.3, 3, shape).astype(dtype) for shape in (s, u))
        compare(lambda t, x, y: getattr(t, name)(x, y), x, y, rtol=1e-5 if dtype == "float32" else None)
    x, y = rng.uniform(-3, 3, (2, 3, 4)).astype(dtype)
    compare(lambda t, x, y: getattr(x.t(), name)(y.t()), x, abs(y), rtol=1e-5 if dtype == "float32" else None)


@pytest.mark.parametrize("name", (*TWO, "heaviside"))
def test_edges(name):
    x, y = (a.ravel().copy() for a in np.meshgrid(EDGES, EDGES))
    compare(lambda t, x, y: getattr(t, name)(x, y), x, y, grad=False)


@pytest.mark.parametrize("name", ["hypot", "copysign", "xlogy", "logaddexp", "logaddexp2", "ldexp", "float_power"])
def test_gradients(name):
    x = lamina.tensor([0.7, 1.3, 2.2], dtype=lamina.float64, requires_grad=True)
    y = lamina.tensor([1.1, 0.4, 0.9], dtype=lamina.float64, requires_grad=True)
    assert gradcheck(getattr(lamina, name), (x, y)) and gradgradcheck(getattr(lamina, name), (x, y))


def test_gradients_at_the_edges():
    zero = np.array([0.0, 0.0, -0.0, 2.0])
    compare(lambda t, x, y: t.xlogy(x, y), zero, np.array([0.0, 2.0, -1.0, 3.0]))
    compare(lambda t, x, y: t.copysign(x, y), zero, np.array([1.0, -1.0, 1.0, -1.0]))
    compare(lambda t, x, y: t.logaddexp(x, y), np.array([np.inf, -np.inf, 0.0]), np.array([0.0, 1.0, 800.0]))
    compare(lambda t, x: t.sinc(x), np.array([0.0, 0.5, -1.3, 2.0]))
    compare(lambda t, x: t.angle(x), np.array([0.0, 0.5, -1.3]))


DTYPES = ("bool", "uint8", "int64", "float16", "float32", "float64")


@pytest.mark.parametrize("name", (*TWO, "heaviside", "gcd", "lcm"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_numbers(name, dtype):
    torch = need_torch()
    for other in (
        lambda t: t.tensor([2, 3], dtype=getattr(t, dtype)), lambda t: t.tensor([1.0, 2.0]), lambda t: 2, lambda t: 1.5
    ):  # fmt: skip

        def call(t, other=other):
            return getattr(t, name)(t.tensor([1, 2], dtype=getattr(t, dtype)), other(t))

        try:
            wanted = call(torch)
        except Exception:
            same_error(call)
        else:
            assert_same(call(lamina), wanted, rtol=2e-3 if dtype == "float16" else None)


@pytest.mark.parametrize("name", ["sinc", "angle", "isposinf", "isneginf", "isreal"])
def test_of_one_matches_torch(name):
    for x in (EDGES, EDGES.astype("float32"), np.array([1, -2]), np.array([True, False])):
        compare(lambda t, x: getattr(t, name)(x), x, grad=False)
        compare(lambda t, x: getattr(x, name)(), x, grad=False)
    x = lamina.tensor([0.3, -1.2, 2.5], dtype=lamina.float64, requires_grad=True)
    if name == "sinc":
        assert gradcheck(lamina.sinc, x) and gradgradcheck(lamina.sinc, x)


def test_lerp():
    rng = np.random.default_rng(0)
    x, y, w = rng.uniform(-1, 2, (3, 3, 4)).astype("float32")
    compare(lambda t, x, y: t.lerp(x, y, 0.3), x, y)
    compare(lambda t, x, y: x.lerp(y, 1.0), x, y)
    compare(lambda t, x, y, w: t.lerp(x, y, w), x, y, w)
    compare(lambda t, x, y, w: t.lerp(x, y, w), x[:, :1], y, w[:1])
    inputs = tuple(lamina.from_numpy(a[0].astype("float64")).requires_grad_() for a in (x, y, w))
    assert gradcheck(lamina.lerp, inputs) and gradgradcheck(lamina.lerp, inputs)
    for bad in (
        lambda t: t.lerp(t.ones(2), t.ones(2).double(), 0.5), lambda t: t.lerp(t.ones(2).long(), t.ones(2).long(), 0.5),
        lambda t: t.lerp(t.ones(2), 2, 0.5), lambda t: t.lerp(t.ones(2), t.ones(3), 0.5),
    ):  # fmt: skip
        same_error(bad)


def test_complex_and_polar():
    x, y = np.array([0.0, 1.0, -2.0, np.inf]), np.array([1.0, np.nan, -np.inf, 0.0])
    compare(lambda t, x, y: t.complex(x, y), x, y, grad=False)
    compare(lambda t, x, y: t.view_as_real(t.complex(x, y)) * 2, x, y)
    compare(lambda t, x, y: t.view_as_real(t.polar(x, y)), abs(x[1:3]), y[[0, 3]])
    compare(lambda t, x, y: t.complex(x, y[0]), x, y, grad=False)
    for bad in (
        lambda t: t.complex(t.ones(2), t.ones(2).double()), lambda t: t.complex(t.ones(2).long(), t.ones(2).long()),
        lambda t: t.complex(t.ones(2), 1.0), lambda t: t.polar(1.0, t.ones(2)),
    ):  # fmt: skip
        same_error(bad)


def test_in_place_forms():
    for t in (lamina, need_torch()):
        x = t.tensor([3.0, -4.0])
        assert x.hypot_(t.tensor([4.0, 3.0])).tolist() == [5.0, 5.0]
        assert x.copysign_(-1).tolist() == [-5.0, -5.0] and x.lerp_(t.zeros(2), 0.5).tolist() == [-2.5, -2.5]
        assert t.tensor([12, 18]).gcd_(t.tensor([8, 27])).tolist() == [4, 9]
    same_error(lambda t: t.heaviside(t.ones(2, requires_grad=True), t.ones(2)).sum().backward())
