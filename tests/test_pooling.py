"""Pooling: parity with torch over a grid on both engines, gradients of gradients, NaN and infinities, errors, both kernels."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same, compare, layouts, need_torch, same_error

import lamina
from lamina import engine, nn
from lamina.engine import kernels as k
from lamina.engine.door import NEVER
from lamina.engine.onednn import planes
from lamina.nn import functional as F

SPATIAL = {1: (11,), 2: (9, 7), 3: (5, 6, 7)}
FLOATS = ("float32", "float64")


def data(ndim: int, dtype: str = "float32", n: int = 2, c: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, c, *SPATIAL[ndim])).astype(dtype)


def ties(ndim: int, dtype: str = "float32", nan: float = 0.0, inf: float = 0.0) -> np.ndarray:
    """Few different values, some of them NaN or −inf."""
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, (2, 5, *SPATIAL[ndim])).astype(dtype)
    x[rng.random(x.shape) < inf] = -np.inf
    x[rng.random(x.shape) < nan] = np.nan
    return x


def fn(name: str, ndim: int):
    """The function of ``nn.functional`` of either library."""
    return lambda m, *args, **kwargs: getattr(m.nn.functional, f"{name}{ndim}d")(*args, **kwargs)


def skip_forced() -> None:
    if engine.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")


# -- parity --------------------------------------------------------------------------------------------------------

# kernel, stride, padding, dilation, ceil_mode
WINDOWS = [
    (2, None, 0, 1, False), (2, None, 0, 1, True), (3, 2, 1, 1, False), (3, 2, 1, 1, True), (3, 1, 1, 1, False),
    (1, 1, 0, 1, False), (1, 2, 0, 1, True), (2, 3, 1, 1, True), (2, 1, 0, 2, False), (3, 2, 1, 2, True), (4, 3, 2, 1, True),
    (5, 5, 0, 1, False), (5, 4, 2, 1, True),
]  # fmt: skip


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_max_pool(each_engine, ndim, window, dtype):
    kernel, stride, padding, dilation, ceil = window
    f = fn("max_pool", ndim)
    compare(lambda m, x: f(m, x, kernel, stride, padding, dilation, ceil), data(ndim, dtype))
    for x in (ties(ndim, dtype), ties(ndim, dtype, nan=0.05), ties(ndim, dtype, inf=0.6)):
        compare(lambda m, x: f(m, x, kernel, stride, padding, dilation, ceil, True), x)
    compare(lambda m, x: f(m, x, kernel, stride, padding, dilation, ceil), ties(ndim, dtype, nan=0.02, inf=0.5), grad=False)


@pytest.mark.parametrize("window", [w for w in WINDOWS if w[3] == 1], ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_avg_pool(each_engine, ndim, window, dtype):
    kernel, stride, padding, _, ceil = window
    f = fn("avg_pool", ndim)
    for include, divisor in itertools.product((True, False), (None, 3, -2) if ndim > 1 else (None,)):
        extra = () if divisor is None else (divisor,)
        compare(lambda m, x: f(m, x, kernel, stride, padding, ceil, include, *extra), data(ndim, dtype))  # noqa: B023


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
def test_settings_per_dimension(each_engine, ndim, kind):
    settings = {1: ((3,), (2,), (1,)), 2: ((3, 2), (1, 2), (1, 0)), 3: ((2, 3, 1), (2, 1, 3), (0, 1, 0))}[ndim]
    compare(lambda m, x: fn(kind, ndim)(m, x, *settings), data(ndim))
    compare(lambda m, x: fn(kind, ndim)(m, x, *map(list, settings)), data(ndim))


def sizes(ndim: int) -> list:
    many = {1: [1, 2, 3, 4, 7, 11, 13, (5,)], 2: [1, 3, (3, 7), (None, 1), (5, None), (4, 3), (12, 9), (0, 2)],
            3: [1, 2, (5, 3, 7), (None, 1, 2), (3, 4, 5), (7, None, 9)]}  # fmt: skip
    return many[ndim]


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_adaptive_pools(each_engine, ndim, dtype):
    for size in sizes(ndim):
        grad = size != (0, 2)  # torch takes no gradient of an empty result
        compare(lambda m, x: fn("adaptive_avg_pool", ndim)(m, x, size), data(ndim, dtype), grad=grad)  # noqa: B023
        for x in (ties(ndim, dtype), ties(ndim, dtype, nan=0.05), ties(ndim, dtype, inf=0.7)):
            compare(lambda m, x: fn("adaptive_max_pool", ndim)(m, x, size, True), x, grad=grad)  # noqa: B023
        compare(lambda m, x: fn("adaptive_max_pool", ndim)(m, x, size), data(ndim, dtype), grad=grad)  # noqa: B023


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("norm", [1, 2, 3.0, 2.5, -1.0, np.inf, -np.inf], ids=str)
def test_lp_pool(each_engine, ndim, norm):
    positive = np.abs(data(ndim)) + 0.25
    for kernel, stride, ceil in ((2, None, False), (3, 2, True), (2, 3, True), ((2,) * ndim, None, False)):
        if ndim == 1 and isinstance(kernel, tuple):
            continue  # torch multiplies by a tuple there
        for x in (positive, data(ndim)) if norm in (1, 2, np.inf, -np.inf) else (positive,):
            compare(lambda m, x: fn("lp_pool", ndim)(m, x, norm, kernel, stride, ceil), x, rtol=1e-5)  # noqa: B023  # powers
    compare(lambda m, x: fn("lp_pool", ndim)(m, x, 3.0, 2), data(ndim), grad=False, rtol=1e-5)  # NaN where the sum is negative


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_lp_pool_of_zeros_has_gradient_zero(each_engine, ndim):
    x = data(ndim)
    x[:, :2] = 0
    compare(lambda m, x: fn("lp_pool", ndim)(m, x, 2, 2), x)
    compare(lambda m, x: fn("lp_pool", ndim)(m, x, 2, 2), (data(ndim) * 3).astype(np.int64), grad=False)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", (*FLOATS, "float16"))
def test_fractional_max_pool(each_engine, ndim, dtype):
    rng = np.random.default_rng(3)
    samples = rng.random((2, 5, ndim)).astype(dtype)
    rounded = {"rtol": 2e-3, "atol": 4e-3} if dtype == "float16" else {}  # torch rounds after every addition of a gradient
    for x in (data(ndim, dtype), ties(ndim, dtype, nan=0.05), ties(ndim, dtype, inf=0.7)):
        for kernel, size in ((2, 3), (3, 2), ((2,) * ndim, (3, 4, 3)[:ndim]), (1, 4), (2, 1)):
            compare(
                lambda m, x: fn("fractional_max_pool", ndim)(
                    m, x, kernel, size, None, True, _random_samples=m.from_numpy(samples.copy())  # noqa: B023
                ),
                x,
                **rounded,
            )
    compare(
        lambda m, x: fn("fractional_max_pool", ndim)(
            m, x, 2, None, (0.5, 0.6, 0.4)[:ndim], _random_samples=m.from_numpy(samples.copy())
        ),
        data(ndim, dtype),
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_fractional_max_pool_draws_torch_s_numbers(ndim, dtype):
    torch = need_torch()
    for x in (data(ndim, dtype), data(ndim, dtype)[0]):
        found = []
        for m in (lamina, torch):
            m.manual_seed(5)
            layer = getattr(m.nn, f"FractionalMaxPool{ndim}d")(2, output_ratio=0.6, return_indices=True)
            found.append((*layer(m.from_numpy(x)), m.rand(3)))
        assert_same(*found)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", FLOATS)
def test_max_unpool(each_engine, ndim, dtype):
    def roundtrip(m, x, kernel, stride, padding, output_size):
        y, i = fn("max_pool", ndim)(m, x, kernel, stride, padding, return_indices=True)
        return fn("max_unpool", ndim)(m, y, i, kernel, stride, padding, output_size)

    x = data(ndim, dtype)
    compare(roundtrip, x, 2, None, 0, x.shape)
    compare(roundtrip, x, 2, 2, 0, x.shape[2:])
    compare(roundtrip, x, 3, 3, 1, x.shape)
    compare(roundtrip, data(ndim, dtype)[..., : SPATIAL[ndim][-1] // 2 * 2][0], 1, None, 0, None)
    rng = np.random.default_rng(0)  # indices that occur twice: the last element stays, all of them get its gradient
    i = rng.integers(0, 2**ndim, (2, 3, *(2,) * ndim))
    compare(lambda m, x: fn("max_unpool", ndim)(m, x, m.from_numpy(i.copy()), 2), rng.standard_normal(i.shape).astype(dtype))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_with_indices_forms(ndim):
    x = data(ndim)
    for name, args in (("max_pool", (2,)), ("adaptive_max_pool", (3,))):
        compare(lambda m, x: getattr(m.nn.functional, f"{name}{ndim}d_with_indices")(x, *args), x)  # noqa: B023
    if ndim > 1:
        s = np.random.default_rng(0).random((2, 5, ndim)).astype("float32")
        compare(
            lambda m, x: getattr(m.nn.functional, f"fractional_max_pool{ndim}d_with_indices")(
                x, 2, 3, _random_samples=m.from_numpy(s.copy())
            ),
            x,
        )


def test_top_level_functions():
    x = data(1)
    for name, args in (("max_pool1d", (2,)), ("avg_pool1d", (2,)), ("adaptive_avg_pool1d", (3,)), ("adaptive_max_pool1d", (3,)),
                       ("max_pool1d_with_indices", (2,))):  # fmt: skip
        compare(lambda m, x: getattr(m, name)(x, *args), x)  # noqa: B023
    compare(lambda m, x: m.max_pool2d(x, 2), data(2))
    compare(lambda m, x: m.max_pool3d(x, 2), data(3))


POOLS = [("max_pool", (3, 2, 1)), ("avg_pool", (3, 2, 1)), ("lp_pool", (2, 2)), ("adaptive_avg_pool", (3,)),
         ("adaptive_max_pool", (3,)), ("adaptive_avg_pool", (1,)), ("adaptive_max_pool", (1,))]  # fmt: skip


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("name", "args"), POOLS)
def test_layouts_unbatched_and_empty_batch(each_engine, ndim, name, args):
    shape = (2, 8, *SPATIAL[ndim])
    for x in layouts(shape).values():
        compare(lambda m, x: fn(name, ndim)(m, x, *args), x)
        compare(lambda m, x: fn(name, ndim)(m, x[::-1] if False else x.flip(0), *args), x)
        compare(lambda m, x: fn(name, ndim)(m, x.expand(3, *x.shape[1:]), *args), x[:1])
    compare(lambda m, x: fn(name, ndim)(m, x, *args), data(ndim)[0])
    compare(lambda m, x: fn(name, ndim)(m, x, *args), data(ndim)[:0])


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers(ndim, dtype):
    x = np.random.default_rng(0).integers(-4 if dtype != "uint8" else 0, 5, (2, 3, *SPATIAL[ndim])).astype(dtype)
    compare(lambda m, x: fn("max_pool", ndim)(m, x, 3, 2, 1, return_indices=True), x)
    low = np.full_like(x, np.iinfo(dtype).min)
    compare(lambda m, x: fn("max_pool", ndim)(m, x, 3, 2, 1, return_indices=True), low)
    if dtype == "int64":
        compare(lambda m, x: fn("avg_pool", ndim)(m, x, 3, 2, 1), x)
        if ndim > 1:
            compare(lambda m, x: fn("avg_pool", ndim)(m, x, 2, divisor_override=-3), x)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_half_precision(ndim):
    x = data(ndim, "float16")
    rounded = {"rtol": 2e-3, "atol": 4e-3}  # torch rounds after every addition of a gradient, lamina once
    compare(lambda m, x: fn("max_pool", ndim)(m, x, 2, return_indices=True), x)
    compare(lambda m, x: fn("max_pool", ndim)(m, x, 3, 2, 1, return_indices=True), x, **rounded)
    compare(lambda m, x: fn("adaptive_max_pool", ndim)(m, x, 3), x, **rounded)
    compare(lambda m, x: fn("adaptive_avg_pool", ndim)(m, x, 3), x, **rounded)
    if ndim < 3:  # torch has no kernel for 3, or one that rounds after every addition
        compare(lambda m, x: fn("adaptive_avg_pool", ndim)(m, x, 3), x, grad=False)
        compare(lambda m, x: fn("avg_pool", ndim)(m, x, 3, 2, 1), x, **rounded)
        compare(lambda m, x: fn("avg_pool", ndim)(m, x, 3, 2, 1), x, grad=False)
        compare(lambda m, x: fn("lp_pool", ndim)(m, x, 2, 2), abs(x), **rounded)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_bad_value_goes_where_torch_puts_it(each_engine, ndim, value):
    for place in (0, 17, -1):
        x = data(ndim)
        x.reshape(-1)[place] = value
        for name, args in (*POOLS, ("max_pool", (2,)), ("avg_pool", (2,))):
            compare(lambda m, x: fn(name, ndim)(m, x, *args), x)  # noqa: B023


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_bad_gradients(each_engine, value):
    x = data(2)
    for name, args in (("max_pool", (3, 2, 1)), ("max_pool", (2,)), ("avg_pool", (3, 2, 1)), ("adaptive_avg_pool", (4,)),
                       ("adaptive_max_pool", (4,))):  # fmt: skip
        def f(m, x, name=name, args=args):
            y = fn(name, 2)(m, x, *args)
            w = np.ones(tuple(y.shape), "float32")
            w[0, 0, 1, 1] = value
            return y * m.from_numpy(w)

        compare(f, x)


# -- gradients of gradients ----------------------------------------------------------------------------------------

CHECKED = [
    ("max_pool", (2,)), ("max_pool", (3, 2, 1)), ("max_pool", (2, 1, 1, 2, True)), ("avg_pool", (2,)),
    ("avg_pool", (3, 2, 1, True)), ("avg_pool", (3, 2, 1, True, False)), ("lp_pool", (2, 2)), ("lp_pool", (3.0, 3, 2, True)),
    ("adaptive_avg_pool", (2,)), ("adaptive_avg_pool", (1,)), ("adaptive_max_pool", (2,)), ("adaptive_max_pool", (1,)),
]  # fmt: skip


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("name", "args"), CHECKED)
def test_gradcheck(ndim, name, args):
    shape = (1, 2, *{1: (7,), 2: (5, 4), 3: (3, 4, 3)}[ndim])
    x = lamina.from_numpy(np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) / 7.0 + 0.5).requires_grad_()
    f = getattr(F, f"{name}{ndim}d")
    assert lamina.autograd.gradcheck(lambda x: f(x, *args), (x,))
    assert lamina.autograd.gradgradcheck(lambda x: f(x, *args), (x,))


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradcheck_fractional_and_unpool(ndim):
    shape = (1, 2, *(4, 4, 4)[:ndim])
    rng = np.random.default_rng(0)
    x = lamina.from_numpy(rng.permutation(np.prod(shape)).reshape(shape) / 7.0).requires_grad_()
    samples = lamina.from_numpy(rng.random((1, 2, ndim)))
    f, unpool, pool = (getattr(F, f"{n}{ndim}d") for n in ("fractional_max_pool", "max_unpool", "max_pool"))
    _, i = pool(x, 2, return_indices=True)

    def both(x):
        return f(x, 2, 2, _random_samples=samples), unpool(x[(..., *(slice(n) for n in i.shape[2:]))], i, 2)

    assert lamina.autograd.gradcheck(both, (x,))
    assert lamina.autograd.gradgradcheck(both, (x,))


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("name", "args"), [("max_pool", (3, 2, 1)), ("avg_pool", (3, 2, 1)), ("adaptive_max_pool", (4,)),
                                            ("adaptive_avg_pool", (4,)), ("lp_pool", (2, 2))])  # fmt: skip
def test_second_gradients_match_torch(each_engine, ndim, name, args):
    torch = need_torch()
    found = []
    for m in (lamina, torch):
        x = m.from_numpy(data(ndim)).requires_grad_()
        y = fn(name, ndim)(m, x, *args)
        (g,) = m.autograd.grad((y * y * y).sum(), x, create_graph=True)
        found.append((g, *m.autograd.grad((g * g).sum(), x)))
    assert_same(*found, rtol=1e-4, atol=1e-4)  # cubes


# -- engines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["plain", "channels_last"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("name", "args", "kernel"), [
    ("max_pool", (3, 2, 1), "max_pool"), ("max_pool", (2, 1), "max_pool"), ("max_pool", (2, 2, 0, 2), "max_pool"),
    ("avg_pool", (3, 2, 1), "avg_pool"), ("avg_pool", (2, 3, 1, True, False), "avg_pool"),
    ("adaptive_avg_pool", (1,), "avg_pool"), ("lp_pool", (2, 2), "avg_pool"),
])  # fmt: skip
def test_onednn_runs(ndim, name, args, kernel, order):
    skip_forced()
    if not _onednn():
        pytest.skip("oneDNN is not available")
    x = lamina.from_numpy(layouts((2, 8, *SPATIAL[ndim]))[order]).requires_grad_()
    with engine.engine("onednn"), engine.usage() as used:
        getattr(F, f"{name}{ndim}d")(x.detach(), *args)
        y = getattr(F, f"{name}{ndim}d")(x, *args)
        y.backward(lamina.ones_like(y))
    if kernel == "avg_pool":
        blocks = args == (1,) and order == "plain"  # NumPy fills them as fast
        assert used["avg_pool"] == (2, 0, 0) and used["avg_pool_backward"] == ((0, 1, 1) if blocks else (1, 0, 0))
        return
    assert used["max_pool"] == used["max_pool_taps"] == (1, 0, 0)
    spread = order == "channels_last" and args[0] ** ndim <= 9 and len(args) < 4  # else NumPy is the faster one
    assert used["max_pool_backward"] == ((1, 0, 0) if spread else (0, 1, 1))


def _onednn() -> bool:
    from lamina.engine.onednn import core

    return core.available()


def test_a_nan_is_declined_and_counted():
    skip_forced()
    if not _onednn():
        pytest.skip("oneDNN is not available")
    for bad in (np.nan, -np.inf):
        x = np.full((1, 8, 4, 4), bad, "float32")
        with engine.engine("onednn"), engine.usage() as used:
            y = F.max_pool2d(lamina.from_numpy(x), 2)
        assert used["max_pool"] == (0, 1, 1)
        np.testing.assert_array_equal(y.numpy(), np.full((1, 8, 2, 2), bad))


def test_results_flow_on_channels_last_and_look_contiguous(each_engine):
    x = lamina.from_numpy(data(2, c=8))
    y = F.max_pool2d(F.avg_pool2d(x, 2, 1), 2)
    assert y.is_contiguous() and y.stride() == (8 * 4 * 3, 12, 3, 1)
    np.testing.assert_array_equal(y.view(-1).numpy(), y.numpy().ravel())


@st.composite
def cases(draw):
    ndim = draw(st.integers(1, 3))
    kernel = tuple(draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim)))
    stride = tuple(draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim)))
    padding = tuple(draw(st.integers(0, t // 2)) for t in kernel)
    spatial = tuple(draw(st.integers(max(t - q, 1), 9)) for t, q in zip(kernel, padding, strict=True))
    shape = (draw(st.integers(0, 2)), draw(st.sampled_from([1, 3, 8, 17])), *spatial)
    ceil = draw(st.booleans())
    order = draw(st.sampled_from(["plain", "channels_last", "reversed", "strided", "broadcast"]))
    bad = draw(st.sampled_from([None, None, np.nan, np.inf, -np.inf]))
    return shape, kernel, stride, padding, ceil, order, bad, draw(st.integers(0, 2**16))


def arranged(rng, shape, order, bad):
    x = rng.standard_normal(shape).astype("float32")
    if bad is not None:
        x[rng.random(shape) < 0.3] = bad
    if order == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if order == "reversed":
        return x[..., ::-1]
    if order == "strided":
        wide = np.zeros((*shape[:-1], 2 * shape[-1]), "float32")
        wide[..., ::2] = x
        return wide[..., ::2]
    return np.broadcast_to(x[:, :1], shape) if order == "broadcast" else x


def both(kernel, *args):
    """A kernel's reference and its fast form, which may decline."""
    expected = kernel.reference(*args)
    found = kernel.fast(*args) if kernel.fast else NotImplemented
    return expected, expected if found is NotImplemented else found


def equal(a, b, **tolerance):
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(b, a, **tolerance)


@settings(max_examples=120, deadline=None)
@given(cases())
def test_kernels_agree(case):
    """oneDNN's kernels give what the reference gives, whatever the shapes, layouts and values."""
    from lamina.ops.windows import window_count

    shape, kernel, stride, padding, ceil, order, bad, seed = case
    rng, ones = np.random.default_rng(seed), (1,) * len(kernel)
    x = arranged(rng, shape, order, bad)
    size = tuple(map(window_count, shape[2:], kernel, stride, padding, ones, (ceil,) * len(kernel)))
    window = kernel, stride, padding, ones
    with np.errstate(all="ignore"):
        equal(*both(k.max_pool, x, *window, size))
        (y, taps), (y2, taps2) = both(k.max_pool_taps, x, *window, size)
        equal(y, y2)
        np.testing.assert_array_equal(taps, taps2)
        g = arranged(rng, y.shape, order, bad)
        equal(*both(k.max_pool_backward, g, taps, shape[2:], *window), rtol=1e-5, atol=1e-5)
        equal(*both(k.max_pool_backward, g, taps2, shape[2:], *window), rtol=1e-5, atol=1e-5)
        for include, divisor in ((True, None), (False, None), (True, 3)):
            args = kernel, stride, padding
            equal(*both(k.avg_pool, x, *args, size, include, divisor), rtol=1e-5, atol=1e-6)
            for last in (False, True):
                equal(*both(k.avg_pool_backward, g, shape[2:], *args, include, divisor, last), rtol=1e-5, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_planes_are_shared_among_threads(data):
    """plane_gather, plane_add, plane_put and fractional_max_pool give what they give in one piece."""
    n, c, *spatial = (data.draw(st.integers(1, most)) for most in (5, 9, *data.draw(st.sampled_from([(50,), (9, 7), (4, 5, 6)]))))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    dtype = data.draw(st.sampled_from(["f4", "f8", "f2"]))
    kernel = tuple(data.draw(st.integers(1, s)) for s in spatial)
    size = tuple(data.draw(st.integers(1, s - k + 1)) for s, k in zip(spatial, kernel, strict=True))
    x, values, samples = (rng.random(s).astype(dtype) for s in ((n, c, *spatial), (n, c, *size), (n, c, len(size))))
    x.flat[rng.integers(x.size)] = data.draw(st.sampled_from([0, np.nan, np.inf]))
    indices = rng.integers(0, np.prod(spatial), values.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planes, "PART", data.draw(st.sampled_from([1, 100, 1 << 19])))
        equal(*both(k.plane_gather, x, indices))
        equal(*both(k.plane_put, values, indices, tuple(spatial)))
        equal(*both(k.plane_add, values, indices, tuple(spatial)), rtol=1e-5, atol=1e-6)
        for a, b in zip(*both(k.fractional_max_pool, x, samples[..., ::-1], kernel, size, True), strict=True):
            equal(a, b)
        (y, none), (y2, none2) = both(k.fractional_max_pool, x, samples, kernel, size, False)
        equal(y, y2)
        assert none is none2 is None


@settings(max_examples=60, deadline=None)
@given(cases())
def test_transposes(case):
    """⟨pool(x), g⟩ = ⟨x, pool_backward(g)⟩, and the same for the choices of maxima: in float64, on the reference."""
    from lamina.ops.windows import window_count

    shape, kernel, stride, padding, ceil, _, _, seed = case
    rng, dilation = np.random.default_rng(seed), (1,) * len(kernel)
    x = rng.standard_normal(shape)
    size = tuple(map(window_count, shape[2:], kernel, stride, padding, dilation, (ceil,) * len(kernel)))
    y, taps = k.max_pool_taps.reference(x, kernel, stride, padding, dilation, size)
    g = rng.standard_normal(y.shape)
    window = kernel, stride, padding, dilation
    np.testing.assert_allclose((y * g).sum(), (x * k.max_pool_backward.reference(g, taps, shape[2:], *window)).sum(), atol=1e-9)
    np.testing.assert_array_equal(k.max_pool_select.reference(x, taps, *window), y)
    indices = k.max_pool_indices.reference(taps, shape[2:], *window)
    np.testing.assert_array_equal(k.plane_gather.reference(x, indices), y)
    np.testing.assert_allclose(
        k.plane_add.reference(g, indices, shape[2:]), k.max_pool_backward.reference(g, taps, shape[2:], *window), atol=1e-12
    )
    mean = k.avg_pool.reference(x, kernel, stride, padding, size, True, None)
    back = k.avg_pool_backward.reference(g, shape[2:], kernel, stride, padding, True, None)
    np.testing.assert_allclose((mean * g).sum(), (x * back).sum(), atol=1e-9)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_window(each_engine, ndim):
    """Padded and dilated windows of which there is one."""
    for kernel, padding, dilation in ((5, 2, 1), (5, 1, 2), (6, 3, 2), (5, 2, 3), (7, 2, 1)):
        span = dilation * (kernel - 1) + 1
        shape = (2, 8, *(span - 2 * padding + n for n in range(ndim)))
        for x in layouts(shape).values():
            compare(lambda m, x: fn("max_pool", ndim)(m, x, kernel, 9, padding, dilation), x)  # noqa: B023
            compare(lambda m, x: fn("max_pool", ndim)(m, x, kernel, 9, padding, dilation), x, grad=False)  # noqa: B023
            if dilation == 1 and ndim < 3:  # torch wants a kernel within the input there, padded or not
                compare(lambda m, x: fn("avg_pool", ndim)(m, x, kernel, 9, padding), x)  # noqa: B023


def test_windows_as_large_as_a_recording():
    """Nothing is built per tap where one window covers all."""
    x = lamina.rand(1, 2, 1 << 20).requires_grad_()
    y = F.adaptive_max_pool1d(x, 1) + F.adaptive_avg_pool1d(x, 1) + F.avg_pool1d(x, 1 << 19)[..., :1]
    y.sum().backward()
    assert x.grad.count_nonzero().item() == x.numel()


def test_large_kernels_keep_their_choice(each_engine):
    """More than 255 taps do not fit into a byte."""
    rng = np.random.default_rng(0)
    image, signal = rng.standard_normal((1, 2, 20, 24)).astype("f"), rng.standard_normal((1, 2, 300)).astype("f")
    for x in (image, layouts((2, 8, 20, 24))["channels_last"]):
        compare(lambda m, x: m.nn.functional.max_pool2d(x, 17, 3, return_indices=True), x)
        compare(lambda m, x: m.nn.functional.max_pool2d(x, 16, 3, return_indices=True), x)
    compare(lambda m, x: m.nn.functional.max_pool1d(x, 255, 7, return_indices=True), signal)


# -- errors --------------------------------------------------------------------------------------------------------


def bad_calls(ndim):
    x = data(ndim, c=3)
    for name in ("max_pool", "avg_pool"):
        f = fn(name, ndim)
        yield f, x, 0
        yield f, x, -1
        yield f, x, 2.0
        yield f, x, (2,) * (ndim + 1)
        yield f, x, 2, 0
        yield f, x, 2, -1
        yield f, x, 2, (2,) * (ndim + 1)
        yield f, x, 2, 2, 2
        yield f, x, 2, 2, -1
        yield f, x, 99
        yield f, x[0, 0], 2
        yield f, x[None], 2
        yield f, x[:, :0], 2
        yield f, x[..., :0], 2
        yield f, x > 0, 2
        yield f, [1.0], 2
        yield f, x.astype("complex64"), 2
    yield fn("avg_pool", ndim), x.astype("int32"), 2
    yield fn("max_pool", ndim), x, 2, 1, 0, 0
    yield fn("max_pool", ndim), x, 2, 1, 0, 99
    yield fn("lp_pool", ndim), x, 2, 99
    yield fn("lp_pool", ndim), x, 0, 2
    yield fn("lp_pool", ndim), x[0, 0], 2, 2
    for name in ("adaptive_max_pool", "adaptive_avg_pool"):
        f = fn(name, ndim)
        yield f, x, -1
        yield f, x, (2,) * (ndim + 1)
        yield f, x, ()
        yield f, x, 2.0
        yield f, x[0, 0], 2
        yield f, x[None], 2
        yield f, x[..., :0], 2
        yield f, x.astype("int64"), 2
    y, i = np.ones((1, 1, *(2,) * ndim), "float32"), np.zeros((1, 1, *(2,) * ndim), "int64")
    f = fn("max_unpool", ndim)
    yield f, y, i.astype("int32"), 2
    yield f, y, i[..., :1], 2
    yield f, y, i + 10**6, 2
    yield f, y, i - 1, 2
    yield f, y[0, 0], i[0, 0], 2
    yield f, y[None], i[None], 2
    yield f, y.astype("int64"), i, 2
    yield lambda m, y, i: f(m, y, i, 2, output_size=(9,) * ndim), y, i
    yield lambda m, y, i: f(m, y, i, 2, output_size=(1,) * ndim), y, i
    yield lambda m, y, i: f(m, y, i, 2, output_size=(4,) * (ndim + 1)), y, i
    yield lambda m, y, i: f(m, y, i, 2, output_size=4), y, i
    if ndim > 1:
        f = fn("avg_pool", ndim)
        yield lambda m, x: f(m, x, 2, divisor_override=0), x
        yield lambda m, x: f(m, x, 2, divisor_override=2.5), x
        g = fn("fractional_max_pool", ndim)
        yield lambda m, x: g(m, x, 2), x
        yield lambda m, x: g(m, x, 2, 99), x
        yield lambda m, x: g(m, x, 99, 1), x
        yield lambda m, x: g(m, x, 2, -1), x
        yield lambda m, x: g(m, x, 2, (2,) * (ndim + 1)), x
        yield lambda m, x: g(m, x, (2,) * (ndim + 1), 2), x
        yield lambda m, x: g(m, x, 2, 2), x[0, 0]
        yield lambda m, x: g(m, x, 2, 2), x[:, :0]
        for shape in ((2, 3, ndim + 1), (1, 3, ndim), (2, 4, ndim), (3, ndim)):
            s = np.zeros(shape, "float32")
            yield lambda m, x, s: g(m, x, 2, 2, _random_samples=s), x, s
        yield lambda m, x, s: g(m, x, 2, 2, _random_samples=s), x, np.zeros((2, 3, ndim))
        yield lambda m, x: g(m, x, 2, 2), x.astype("int64")


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_bad_calls_raise_what_torch_raises(ndim):
    for f, *inputs in bad_calls(ndim):
        same_error(f, *inputs)


def test_messages_name_layer_and_numbers():
    x = lamina.zeros(2, 3, 6, 5)
    for match, f in (
        (r"max_pool2d: Given .*: \(3x6x5\). Calculated .*: \(3x0x-1\).*kernel_size=\(7, 7\)", lambda: F.max_pool2d(x, 7, 1)),
        (r"avg_pool2d: padding must be at most half .* padding=\(2, 2\), kernel_size=\(3, 3\)", lambda: F.avg_pool2d(x, 3, 1, 2)),
        (r"max_pool2d: expected a 3D or 4D .* shape \[6, 5\]", lambda: F.max_pool2d(x[0, 0], 2)),
        (r"adaptive_avg_pool2d: output_size .* \(1, 2, 3\)", lambda: F.adaptive_avg_pool2d(x, (1, 2, 3))),
    ):
        with pytest.raises(RuntimeError, match=match):
            f()


BAD_LAYERS = [
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")(0)),
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")(-1)),
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")(2, 0)),
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")(2, padding=-1)),
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")(2, dilation=0)),
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")((2,) * (n + 1))),
    (ValueError, lambda n: getattr(nn, f"MaxPool{n}d")(())),
    (TypeError, lambda n: getattr(nn, f"MaxPool{n}d")(2.5)),
    (TypeError, lambda n: getattr(nn, f"MaxPool{n}d")("a")),
    (ValueError, lambda n: getattr(nn, f"AvgPool{n}d")(0)),
    (ValueError, lambda n: getattr(nn, f"AvgPool{n}d")(2, stride=(1,) * (n + 1))),
    (ValueError, lambda n: getattr(nn, f"MaxUnpool{n}d")(2, 0)),
    (ValueError, lambda n: getattr(nn, f"LPPool{n}d")(2, 0)),
    (ValueError, lambda n: getattr(nn, f"LPPool{n}d")(0, 2)),
    (ValueError, lambda n: getattr(nn, f"LPPool{n}d")(2, 2, 0)),
    (ValueError, lambda n: getattr(nn, f"AdaptiveAvgPool{n}d")(-1)),
    (ValueError, lambda n: getattr(nn, f"AdaptiveMaxPool{n}d")((1,) * (n + 1))),
    (TypeError, lambda n: getattr(nn, f"AdaptiveMaxPool{n}d")(1.5)),
]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_construction_checks(ndim):
    for error, make in BAD_LAYERS:
        with pytest.raises(error, match=f"Pool{ndim}d|Unpool{ndim}d"):
            make(ndim)


def test_construction_checks_of_fractional_and_divisor():
    for ndim in (2, 3):
        layer = getattr(nn, f"FractionalMaxPool{ndim}d")
        for settings_ in ({}, {"output_size": 2, "output_ratio": 0.5}, {"output_ratio": 1.5}, {"output_ratio": 0.0},
                          {"output_size": (2,) * (ndim + 1)}, {"output_ratio": (0.5,) * (ndim + 1)}):  # fmt: skip
            with pytest.raises(ValueError, match="FractionalMaxPool"):
                layer(2, **settings_)
        with pytest.raises(ValueError, match="kernel_size"):
            layer(0, output_size=2)
        with pytest.raises(ValueError, match="divisor_override"):
            getattr(nn, f"AvgPool{ndim}d")(2, divisor_override=0)


# -- layers --------------------------------------------------------------------------------------------------------

LAYERS = [
    ("MaxPool", (2,), {}),
    ("MaxPool", (3,), {"stride": 2, "padding": 1, "dilation": 1, "return_indices": True, "ceil_mode": True}),
    ("AvgPool", (2,), {}), ("AvgPool", (3, 2, 1, True, False), {}), ("LPPool", (2, 3), {}), ("LPPool", (1.0, 2, 1, True), {}),
    ("AdaptiveAvgPool", (2,), {}), ("AdaptiveMaxPool", (2, True), {}), ("MaxUnpool", (2,), {}), ("MaxUnpool", (3, 2, 1), {}),
]  # fmt: skip


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS)
def test_layers_are_torch_s(ndim, name, args, kwargs):
    torch = need_torch()
    ours, theirs = (getattr(m.nn, f"{name}{ndim}d")(*args, **kwargs) for m in (lamina, torch))
    assert repr(ours) == repr(theirs)
    for key in type(theirs).__annotations__ | {c: 0 for c in getattr(theirs, "__constants__", ())}:
        assert getattr(ours, key) == getattr(theirs, key), key
    assert ours.state_dict() == theirs.state_dict()
    again = pickle.loads(pickle.dumps(copy.deepcopy(ours)))
    assert repr(again) == repr(ours)
    if name == "MaxUnpool":
        return
    x = data(ndim)
    compare(lambda m, x: {lamina: ours, torch: theirs}[m](x), x)


@pytest.mark.parametrize("ndim", [2, 3])
def test_fractional_layers_are_torch_s(ndim):
    torch = need_torch()
    samples = np.random.default_rng(0).random((2, 5, ndim)).astype("float32")
    for settings_ in ({"output_size": 3}, {"output_ratio": 0.5, "return_indices": True}):
        layers = {
            m: getattr(m.nn, f"FractionalMaxPool{ndim}d")(2, _random_samples=m.from_numpy(samples.copy()), **settings_)
            for m in (lamina, torch)
        }
        assert repr(layers[lamina]) == repr(layers[torch])
        assert list(layers[lamina].state_dict()) == list(layers[torch].state_dict()) == ["_random_samples"]
        for key in ("kernel_size", "output_size", "output_ratio", "return_indices"):
            assert getattr(layers[lamina], key) == getattr(layers[torch], key)
        compare(lambda m, x: layers[m](x), data(ndim))  # noqa: B023
    assert list(getattr(nn, f"FractionalMaxPool{ndim}d")(2, 3).state_dict()) == []


def test_settings_stay_as_given():
    assert nn.MaxPool2d(2).kernel_size == 2 and nn.MaxPool2d(2).stride == 2
    assert nn.MaxPool2d((2, 3)).kernel_size == (2, 3)
    assert nn.AvgPool1d(2).kernel_size == (2,) and nn.AvgPool2d(2).kernel_size == 2
    assert nn.LPPool2d(2, 3).stride is None
    assert nn.AdaptiveAvgPool2d((None, 7)).output_size == (None, 7)
    assert nn.MaxUnpool2d(2).kernel_size == (2, 2)


def test_none_keeps_every_size():
    x = lamina.rand(2, 3, 4, 5)
    assert nn.AdaptiveAvgPool2d(None)(x).shape == x.shape
    assert nn.AdaptiveMaxPool1d((None,))(x[0]).shape == x[0].shape


def test_signatures_are_torch_s():
    torch = need_torch()
    import inspect

    for name in nn.modules.pooling.__all__:
        ours, theirs = (inspect.signature(getattr(m.nn, name).__init__).parameters for m in (lamina, torch))
        assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()], name
    for name in ("lp_pool1d", "lp_pool3d", "max_unpool2d", "adaptive_avg_pool2d", "max_pool2d_with_indices",
                 "adaptive_max_pool3d_with_indices", "fractional_max_pool2d_with_indices"):  # fmt: skip
        ours, theirs = (inspect.signature(getattr(m.nn.functional, name)).parameters for m in (lamina, torch))
        assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()], name


def test_docstring_examples():
    import doctest

    for name in nn.modules.pooling.__all__:
        finder = doctest.DocTestFinder(recurse=False)
        for test in finder.find(getattr(nn, name), name, globs={"nn": nn, "lamina": lamina}):
            assert test.examples, name
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0, name


def test_no_warnings_of_numpy():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = lamina.tensor([[[float("nan"), float("inf"), -float("inf"), 3e38, 3e38, 0.0]]])
        F.max_pool1d(x, 2), F.avg_pool1d(x, 2), F.lp_pool1d(x, 2, 2), F.adaptive_max_pool1d(x, 4), F.avg_pool1d(x.half(), 3)


def test_the_reference_engine_has_every_kernel():
    with engine.engine("reference"):
        assert all(kernel.min_size == NEVER for kernel in k if "pool" in kernel.name)
