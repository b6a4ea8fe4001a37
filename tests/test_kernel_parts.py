"""Functions of each element in parts that threads share: the same numbers as their definitions, of any size, layout and dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import both_forms

import lamina
from lamina.engine import engine, get_engine, kernels

ONE = (
    "exp", "exp2", "log", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
    "expm1", "log1p", "erf", "floor", "ceil", "trunc", "round", "rsqrt", "sign", "reciprocal", "isnan", "isinf", "isfinite",
    "signbit",
)  # fmt: skip
TWO = (
    "maximum", "minimum", "fmax", "fmin", "atan2", "hypot", "fmod", "remainder", "floor_divide", "logaddexp", "copysign", "eq",
    "ne", "lt", "le", "gt", "ge", "pow",
)  # fmt: skip
NEAR = ("exp", "atan", "sinh", "expm1", "log1p", "erf", "atan2")  # whose fast forms are others than NumPy's
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-38, -1.0, 88.7, 100.0)


def compare(name, *arguments):
    defined, fast = map(np.asarray, both_forms(lambda: getattr(kernels, name)(*arguments)))
    assert fast.dtype == defined.dtype and fast.shape == defined.shape
    if name in NEAR and fast.dtype == np.float32:
        np.testing.assert_allclose(fast, defined, rtol=5e-7, atol=1e-44)
    else:
        np.testing.assert_array_equal(fast, defined)
    np.testing.assert_array_equal(np.signbit(fast[~np.isnan(fast)]), np.signbit(defined[~np.isnan(defined)]))


@st.composite
def arrays(draw, count=1):
    shape = tuple(draw(st.lists(st.integers(0, 9), min_size=0, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale, dtype = draw(st.sampled_from([1e-3, 1.0, 30.0])), draw(st.sampled_from(["float32", "float64"]))
    found = []
    for _ in range(count):
        a = np.asarray(scale * rng.standard_normal(shape), dtype)
        for _ in range(draw(st.integers(0, 2)) if a.size else 0):
            a.flat[draw(st.integers(0, a.size - 1))] = draw(st.sampled_from(SPECIAL))
        found.append(a.copy(order="F" if draw(st.booleans()) else "C"))
    return found


@settings(max_examples=150, deadline=None)
@given(arrays(), st.sampled_from(ONE))
def test_functions_of_one(found, name):
    compare(name, *found)


@settings(max_examples=150, deadline=None)
@given(arrays(2), st.sampled_from(TWO), st.sampled_from([None, 0.0, 0.3, -2.0]))
def test_functions_of_two(found, name, number):
    x, y = found
    compare(name, x, y if number is None else x.dtype.type(number))


@settings(max_examples=100, deadline=None)
@given(arrays(3), st.booleans(), st.booleans(), st.data())
def test_one_or_the_other(found, x_is_number, y_is_number, data):
    c, x, y = np.asarray(found[0] > 0), *found[1:]
    number = x.dtype.type(data.draw(st.sampled_from(SPECIAL)))
    compare("where", c, number if x_is_number else x, number if y_is_number else y)
    compare("masked_fill", x, c, np.asarray(number), False)
    for form in ("reference", "onednn"):
        with engine(form):
            z = x.copy(order="K")
            assert kernels.masked_fill(z, c, np.asarray(number), True) is z
            np.testing.assert_array_equal(z, np.where(c, number, x))


@settings(max_examples=60, deadline=None)
@given(arrays(2), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.sampled_from([None, -0.5]), st.sampled_from([None, 0.25]))
def test_clamp_lerp_threshold_pow_and_cast(found, weight, low, high):
    x, y = found
    compare("lerp", x, y, x.dtype.type(weight))
    compare("clamp", x, *(None if b is None else x.dtype.type(b) for b in (low, high)))
    for value in (0.0, 20.0):
        compare("threshold", x, 0.1, value)
    compare("threshold_backward", y, x, 0.1, 20.0)
    for power in (2, 3, 0.5, -1, 2.5):
        compare("pow", x, power)
    for dtype in ("float16", "float32", "float64"):
        compare("cast", x, np.dtype(dtype))


@pytest.mark.parametrize("size", [16_385, 700_001])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_parts(size, dtype):
    """Large enough for several threads; the last part is not a whole one."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, size)).astype(dtype)
    x[[0, 7, -1]] = np.nan, -np.inf, np.nan
    for name in ONE:
        compare(name, x)
    for name in TWO:
        compare(name, x, y)
    compare("where", y > 0, x, y)
    compare("where", y > 0, x, x.dtype.type(0))
    compare("lerp", x, y, x.dtype.type(0.7))
    compare("clamp", x, x.dtype.type(-1), x.dtype.type(0.5))
    compare("cast", y, np.dtype("int64"))


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_extremes_of_many(name):
    """Beyond the lane of few numbers, too, each takes its own kernel."""
    x, y = np.random.default_rng(0).standard_normal((2, 600_000)).astype("float32")
    for a, b in ((x, y), (x, y.astype("float64")), (x[:5], y[:5])):
        ours = getattr(lamina, name)(lamina.from_numpy(a), lamina.from_numpy(b))
        np.testing.assert_array_equal(ours.numpy(), getattr(np, name)(a, b))


@pytest.mark.skipif(get_engine() == "reference", reason="the fast forms are switched off")
def test_digits_of_the_polynomials():
    """Four units in the last place of float32 at most."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.standard_normal(50_000) * scale for scale in (1e-6, 0.1, 1, 3, 30)]).astype("float32")
    exact = {"atan": np.arctan, "expm1": np.expm1, "log1p": np.log1p, "sinh": np.sinh}
    for name, function in exact.items():
        z = np.abs(x) if name == "log1p" else x
        with engine("onednn"):
            y = getattr(kernels, name)(z)
        with np.errstate(over="ignore"):
            theirs = function(z.astype("float64")).astype("float32")
        np.testing.assert_allclose(y, theirs, rtol=4 * 2**-23)
