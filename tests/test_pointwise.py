"""Elementwise operations against torch: values, promotion, gradients, edge values."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import compare, need_torch, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.5, 1e-30, 1e30, np.inf, -np.inf, np.nan])

UNARY = {
    "neg": "all", "abs": "all", "sign": "all", "square": "all", "exp": "all", "exp2": "all", "expm1": "all", "log": "positive",
    "log2": "positive", "log10": "positive", "log1p": "positive", "sqrt": "positive", "rsqrt": "positive",
    "reciprocal": "positive",
    "sin": "all", "cos": "all", "tan": "unit", "asin": "unit", "acos": "unit", "atan": "all", "sinh": "all", "cosh": "all",
    "asinh": "all", "acosh": "above 1", "atanh": "unit", "floor": "all", "ceil": "all", "trunc": "all", "round": "all",
    "frac": "all", "erf": "all", "erfc": "all", "erfinv": "unit", "sigmoid": "all", "tanh": "all", "relu": "all",
    "deg2rad": "all",
    "rad2deg": "all", "logit": "fraction",
}  # fmt: skip
RANGE = {
    "all": (-3, 3),
    "positive": (0.1, 4),
    "unit": (-0.9, 0.9),
    "above 1": (1.1, 4),
    "fraction": (0.1, 0.9),
}
STEPS = {"floor", "ceil", "trunc", "round", "sign"}


def sample(name, shape=(3, 4), dtype="float64", seed=0):
    low, high = RANGE[UNARY[name]]
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_unary_matches_torch(name, dtype):
    rtol = (
        2e-5 if dtype == "float32" else None
    )  # libm against SVML: a few units in the last place, more near a zero
    for shape in [(3, 4), (), (0,), (2, 1, 3)]:
        compare(lambda t, x: getattr(t, name)(x), sample(name, shape, dtype), rtol=rtol)
        compare(
            lambda t, x: getattr(x.t() if x.ndim == 2 else x, name)(), sample(name, shape, dtype), rtol=rtol
        )


@pytest.mark.parametrize("name", UNARY)
def test_unary_special_values(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(lambda t, x: getattr(t, name)(x), SPECIAL, rtol=1e-6)


@pytest.mark.parametrize("name", UNARY)
def test_unary_of_integers(name):
    if name == "frac":
        return same_error(lambda t, x: t.frac(x), np.array([1, 2]))
    for dtype in ("int64", "uint8"):
        x = np.array([1, 2, 3]).astype(dtype)
        if name in ("acosh", "asin", "acos", "atanh", "erfinv"):
            x = np.ones(2, dtype)
        compare(lambda t, x: getattr(t, name)(x), x, grad=False, rtol=1e-5)


@pytest.mark.parametrize("name", UNARY)
def test_unary_of_bools_and_halves(name):
    """Bools: PyTorch's result, or its error. Halves: PyTorch's dtype."""
    x = np.array([True, False, True]) if name not in ("acosh", "log", "rsqrt") else np.array([True, True])
    try:
        getattr(need_torch(), name)(need_torch().from_numpy(x))
    except Exception:
        same_error(lambda t, x: getattr(t, name)(x), x)
    else:
        compare(lambda t, x: getattr(t, name)(x), x, grad=False, rtol=1e-5)
    compare(lambda t, x: getattr(t, name)(x).double() * 0, sample(name, dtype="float16"), grad=False)


def test_bools_have_no_remainders_and_integers_no_fractions():
    x = np.array([True, False])
    for name in ("remainder", "fmod", "floor_divide", "pow"):
        same_error(lambda t, x, n=name: getattr(t, n)(x, x), x)
    same_error(lambda t: t.add(t.tensor([1]), 1, alpha=1.5), match="alpha")
    same_error(lambda t: t.sub(t.tensor([1]), t.tensor([2]), alpha=1.5), match="alpha")
    compare(lambda t, x, y: t.add(x, y, alpha=1.5), np.ones(2, "float32"), np.array([1, 2]))
    for convert in (int, float, complex):
        same_error(lambda t, c=convert: c(t.ones(2)))
    same_error(lambda t: float(t.tensor(1j)))
    same_error(lambda t: ~t.ones(2))
    same_error(lambda t: t.bitwise_not(t.ones(2)))
    same_error(lambda t: -t.tensor([True]))


@pytest.mark.parametrize("name", sorted(set(UNARY) - STEPS))
def test_unary_gradients(name):
    x = lamina.tensor(sample(name, (3,)), requires_grad=True)
    if name in ("relu", "abs", "frac"):
        x = lamina.tensor([0.7, -1.3, 2.2], dtype=lamina.float64, requires_grad=True)
    assert gradcheck(getattr(lamina, name), x)
    assert gradgradcheck(getattr(lamina, name), x)


BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "pow",
    "atan2",
    "fmod",
    "remainder",
    "logaddexp",
)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_binary_matches_torch(name, dtype):
    rng = np.random.default_rng(3)
    for s, t in [
        ((3, 4), (3, 4)),
        ((3, 4), (4,)),
        ((3, 1), (1, 4)),
        ((), (2,)),
        ((2,), ()),
        ((0,), (1,)),
        ((), ()),
    ]:
        x, y = rng.uniform(0.3, 3, s).astype(dtype), rng.uniform(0.3, 3, t).astype(dtype)
        compare(lambda t, x, y: getattr(t, name)(x, y), x, y, rtol=1e-5 if dtype == "float32" else None)


@pytest.mark.parametrize("name", BINARY)
def test_binary_special_values(name):
    x, y = (np.array(v) for v in zip(*itertools.product(SPECIAL, SPECIAL), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # forward only: at ties of infinities and at poles torch's own gradients are NaN in ways that differ by formula
        compare(lambda t, x, y: getattr(t, name)(x, y), x, y, grad=False, rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_binary_gradients(name):
    x = lamina.tensor([0.7, 1.9, 2.4], dtype=lamina.float64, requires_grad=True)
    y = lamina.tensor([1.3, 0.6, 1.1], dtype=lamina.float64, requires_grad=True)
    assert gradcheck(getattr(lamina, name), (x, y)) and gradgradcheck(getattr(lamina, name), (x, y))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "eq", "lt", "maximum"])
def test_promotion_of_dtypes(name):
    torch = need_torch()
    for a, b in itertools.product(DTYPES, DTYPES):
        if name == "sub" and "bool" in (a, b):
            continue
        for s, u in [((2,), (2,)), ((), (2,)), ((2,), ())]:
            x, y = np.ones(s, a), np.ones(u, b)
            ours = getattr(lamina, name)(lamina.tensor(x), lamina.tensor(y))
            theirs = getattr(torch, name)(torch.tensor(x), torch.tensor(y))
            assert str(ours.dtype) == str(theirs.dtype), (name, a, b, s, u)


@pytest.mark.parametrize("number", [2, 2.5, True, -1, 300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_promotion_with_numbers(number, dtype):
    x = np.array([1, 0, 3]).astype(dtype)
    for f in (
        lambda t, x: x + number,
        lambda t, x: x * number,
        lambda t, x: number * x,
        lambda t, x: x / number,
        lambda t, x: x == number,
    ):
        if number == 300 and dtype in ("int8", "uint8"):
            continue  # a number outside the dtype: torch wraps it, or not, by operation
        compare(f, x, grad=False, rtol=1e-3 if dtype == "float16" else None)


def test_operators():
    x, y = np.array([5.5, -7.5, 2.0]), np.array([2.0, 3.0, -0.5])
    for f in (
        lambda t, x, y: x + y - 2 * x / y + (3 - x) + 4 / y - (-x) + abs(y),
        lambda t, x, y: (abs(x) ** 1.5) + 2**y + abs(x) ** y,
        lambda t, x, y: t.div(x, y, rounding_mode="floor") + x % y + t.div(x, y, rounding_mode="trunc"),
    ):
        compare(f, x, y)
    i, j = np.array([12, 5, 255]), np.array([2, 1, 3])
    for f in (
        lambda t, x, y: (x & y) | (x ^ y), lambda t, x, y: (x << y) >> 1, lambda t, x, y: ~x,
        lambda t, x, y: x // y, lambda t, x, y: x % y,
        lambda t, x, y: x // -y, lambda t, x, y: x % -y, lambda t, x, y: (x > y) & ~(x == y), lambda t, x, y: x**y,
        lambda t, x, y: t.div(-x, y, rounding_mode="trunc"), lambda t, x, y: t.div(-x, y, rounding_mode="floor"),
    ):  # fmt: skip
        compare(f, i, j, grad=False)


def test_floor_division_by_zero():
    x, y = np.array([1.0, -1.0, 0.0, 7.5, np.inf]), np.array([0.0, 0.0, 0.0, 2.0, 0.0])
    compare(lambda t, x, y: x // y, x, y, grad=False)
    compare(lambda t, x, y: x[:, None] // y, x, y, grad=False)


def test_numpy_on_either_side():
    t = lamina.tensor([1.0, 2.0])
    assert isinstance(np.float32(2) * t, lamina.Tensor) and (np.float32(2) * t).tolist() == [2.0, 4.0]
    assert isinstance(np.array([1.0, 1.0]) + t, lamina.Tensor)
    assert (t + np.array([1.0, 1.0])).dtype is lamina.float64


CHOOSING = {
    "where": lambda t, x, y: t.where(x > y, x, y),
    "where number": lambda t, x, y: t.where(x > 0, x, 0.0),
    "where broadcast": lambda t, x, y: t.where(x[:1] > 0, x, y),
    "clamp": lambda t, x, y: x.clamp(-0.5, 0.7),
    "clamp low": lambda t, x, y: t.clamp(x, min=0.1),
    "clamp high": lambda t, x, y: t.clamp(x, max=0.1),
    "clamp tensors": lambda t, x, y: t.clamp(x, y - 1, y + 1),
    "lerp": lambda t, x, y: t.lerp(x, y, 0.3),
    "addcmul": lambda t, x, y: t.addcmul(x, x, y, value=0.5),
    "addcdiv": lambda t, x, y: t.addcdiv(x, x, y, value=0.5),
    "alpha": lambda t, x, y: t.add(x, y, alpha=2.5) - t.sub(x, y, alpha=3),
    "nan_to_num": lambda t, x, y: t.nan_to_num(x / t.zeros_like(x) + y),
    "round decimals": lambda t, x, y: t.round(x, decimals=2),
}


@pytest.mark.parametrize("name", CHOOSING)
def test_choosing_and_mixing(name):
    rng = np.random.default_rng(0)
    compare(CHOOSING[name], rng.standard_normal((3, 4)), rng.standard_normal((3, 4)))


def test_errors():
    a, b = np.ones((2, 3)), np.ones((2, 4))
    same_error(
        lambda t, x, y: x + y,
        a,
        b,
        match=r"size of tensor a \(3\) must match the size of tensor b \(4\) at non-singleton dimension 1",
    )
    same_error(lambda t, x: x - x, np.array([True]))
    same_error(lambda t, x: -x, np.array([True]))
    same_error(lambda t, x: ~x, a)
    same_error(lambda t, x: x & x, a)
    same_error(lambda t, x: x + "a", a)
    same_error(lambda t, x: x + None, a)
    same_error(lambda t, x: x**-1, np.array([1, 2]))
    same_error(lambda t, x: x // 0, np.array([1, 2]))
    same_error(lambda t, x: t.clamp(x), a)
    same_error(lambda t, x: t.exp([1.0]), a)
    same_error(lambda t, x: t.div(x, 2, rounding_mode="up"), a)
    same_error(lambda t, x: t.add(x, x, out=t.empty(2, 3, dtype=t.int64)), a)


def test_out_and_resize():
    x = lamina.ones(3)
    out = lamina.empty(3)
    assert lamina.add(x, 1, out=out) is out and out.tolist() == [2.0] * 3
    out = lamina.empty(0)
    lamina.exp(x, out=out)
    assert out.shape == (3,)


finite = st.floats(-1e3, 1e3, width=32)


@settings(max_examples=60, deadline=None)
@given(
    hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4),
    st.sampled_from(["add", "mul", "sub", "maximum"]),
    st.integers(0, 2**31),
)
def test_broadcasting_property(shapes, name, seed):
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal(s) for s in shapes.input_shapes)
    compare(lambda t, x, y: getattr(t, name)(x, y), x, y)
