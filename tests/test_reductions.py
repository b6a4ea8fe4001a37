"""Reductions, extremes and scans against torch: values, dtypes, gradients, edge values, errors."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import assert_same, compare, layouts, need_torch, same_error

import lamina
from lamina import engine as engines
from lamina.autograd import gradcheck, gradgradcheck

INF, NAN = math.inf, math.nan
DIMS = [None, 0, -1, 1, (0, 2), (0, 1, 2), (-1, 0)]
OVER_SEVERAL = {
    "sum": {}, "nansum": {}, "mean": {}, "nanmean": {}, "var": {}, "std": {}, "amax": {}, "amin": {}, "logsumexp": {},
    "norm": {"p": 2}, "any": {}, "all": {},
}  # fmt: skip
OVER_ONE = ("prod", "argmax", "argmin", "max", "min")
SCANS = ("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp")
NO_GRADIENT = ("any", "all", "argmax", "argmin")


def values(shape=(2, 3, 4), dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def call(name, dim, keepdim):
    if dim is None and name in ("amax", "amin") or name == "logsumexp" and dim is None:
        dim = (0, 1, 2) if name == "logsumexp" else ()
    if dim is None and name in ("max", "min", "prod", "any", "all", "argmax", "argmin"):
        return lambda t, x: getattr(t, name)(x)
    return lambda t, x: getattr(t, name)(x, dim=dim, keepdim=keepdim, **OVER_SEVERAL.get(name, {}))


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("name", OVER_SEVERAL)
def test_over_dimensions(name, keepdim):
    for dtype in ("float64", "float32"):
        for dim in DIMS:
            compare(call(name, dim, keepdim), values(dtype=dtype))


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("name", OVER_ONE)
def test_over_one_dimension(name, keepdim):
    for dim in (None, 0, 1, -1):
        compare(call(name, dim, keepdim), values())


@pytest.mark.parametrize("name", SCANS)
def test_scans(name):
    for dtype in ("float64", "float32"):
        for dim in (0, 1, -1):
            compare(lambda t, x, dim=dim: getattr(t, name)(x, dim), values(dtype=dtype))
    compare(lambda t, x: getattr(t, name)(x, 0), np.array(2.0))
    compare(lambda t, x: getattr(t, name)(x, 1), np.zeros((2, 0)))


@pytest.mark.parametrize("name", [*OVER_SEVERAL, *OVER_ONE])
@pytest.mark.parametrize("layout", ["plain", "transposed", "channels_last", "strided"])
def test_memory_orders(name, layout):
    x = layouts((3, 5, 4), "float64")[layout]
    for dim in (0, 1, 2):
        compare(call(name, dim, False), x)


@pytest.mark.parametrize(
    "name",
    ["sum", "prod", "any", "all", "amax", "argmax", "max", "cumsum", "cumprod", "count_nonzero", "nansum"],
)
@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8", "bool"])
def test_integers(name, dtype):
    x = np.array([[1, 0, 3], [2, 5, 1]]).astype(dtype)
    function = lambda t, x: getattr(t, name)(x, 1)  # noqa: E731
    if name == "argmax" and dtype == "bool":
        same_error(function, x)
    else:
        compare(function, x, grad=False)


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "cumsum", "cumprod", "nansum", "norm", "nanmean"])
def test_dtype_argument(name):
    torch = need_torch()
    for source, wanted in itertools.product(("float32", "int32", "float16"), ("float64", "float32", "int64")):
        x = np.array([[1.5, 2.25], [3.0, -4.75]]).astype(source)
        dim = {"dim": 1}

        def function(t, x, wanted=wanted, dim=dim):
            return getattr(t, name)(x, dtype=getattr(t, wanted), **dim)

        try:
            function(torch, torch.from_numpy(x.copy()))
        except RuntimeError:
            same_error(function, x)
        else:
            # torch rounds the gradient of a float16 input before it adds up
            compare(function, x, grad=wanted != "int64", atol=1e-3 if source == "float16" else None)


def test_half_precision_adds_in_single():
    x = np.full((3000,), 1.001, np.float16)
    for function in (
        lambda t, x: x.sum(), lambda t, x: x.mean(), lambda t, x: x.reshape(30, 100).sum(0), lambda t, x: x.norm(),
        lambda t, x: x.std(),
    ):  # fmt: skip
        compare(function, x, rtol=2e-3, atol=2e-3)
    assert lamina.full((70000,), 1.0, dtype=lamina.float16).mean().item() == 1.0


def test_long_sums_stay_accurate():
    x = np.random.default_rng(0).random((200_000, 3), dtype=np.float32)
    exact = x.sum(0, dtype=np.float64)
    for engine in ("reference", "onednn"):
        with engines.engine(engine):
            assert np.abs(lamina.from_numpy(x).sum(0).numpy() / exact - 1).max() < 2e-6
            assert np.abs(lamina.from_numpy(x.T.copy()).sum(1).numpy() / exact - 1).max() < 2e-6


@pytest.mark.parametrize("shape", [(9000,), (3, 4096), (600, 8), (4, 1100, 8), (2, 1025, 3, 2), (1, 4100, 1)])
def test_sums_of_every_order_in_memory(shape):
    x = values(shape, "float32")
    for order in itertools.permutations(range(x.ndim)):
        y = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        for n in range(1, x.ndim + 1):
            for axes in itertools.combinations(range(x.ndim), n):
                for keepdim in (False, True):
                    ours = lamina.from_numpy(y).sum(axes, keepdim).numpy()
                    theirs = x.sum(axes, keepdims=keepdim, dtype=np.float64)
                    assert ours.shape == theirs.shape
                    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)


SPECIAL = [
    [1.0, NAN, 2.0], [NAN, NAN], [INF, 1.0], [-INF, 1.0], [INF, INF, -INF], [-INF, -INF], [0.0, -0.0], [2.0, 2.0, 1.0],
    [1e30, 1e30, -1e30], [5.0], [1.0, NAN, 2.0, NAN], [0.0, 2.0, 0.0],
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("x", SPECIAL, ids=str)
@pytest.mark.parametrize("name", [*OVER_SEVERAL, *OVER_ONE, *SCANS, "aminmax"])
def test_special_values(name, x):
    array = np.array(x)
    loose = {"logcumsumexp"}  # torch's gradient splits by sign and loses infinities in another way
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        if name == "aminmax":
            return compare(lambda t, x: t.aminmax(x), array)
        compare(lambda t, x: getattr(t, name)(x, dim=0), array, grad=name not in loose)
        if name in ("max", "min"):
            compare(lambda t, x: getattr(t, name)(x), array)


@pytest.mark.parametrize("p", [0, 0.5, 1, 1.5, 2, 3, 4.5, INF, -INF, -1, "fro", None])
def test_norms(p):
    for x in (
        values(),
        np.array([[3.0, -2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, -3.0]]),
        np.array([1.0, NAN]),
        np.array([1.0, INF]),
    ):
        for dim in (None, -1):
            # torch gives no gradient at all for p = 0; lamina gives zeros
            compare(lambda t, x, dim=dim: x.norm(p, dim), x, grad=p != 0)
    compare(lambda t, x: t.norm(x, p, dim=(0, 2), keepdim=True), values(), grad=p != 0)
    if p is not None and p != "fro":
        compare(lambda t, x: t.dist(x, x * 2 + 1, p), values(), grad=p != 0)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("correction", [0, 1, 2, 0.5, 4, 7])
def test_corrections(correction):
    for name in ("var", "std", "var_mean", "std_mean"):
        compare(lambda t, x, name=name: getattr(t, name)(x, dim=2, correction=correction), values())
        compare(
            lambda t, x, name=name: getattr(t, name)(x, dim=(0, 1), correction=correction, keepdim=True),
            values(),
        )


def test_older_signatures_of_var():
    for arguments in [(), (False,), (True,), (0, False), (0, True, True), ((0, 1), False)]:
        compare(lambda t, x, a=arguments: x.var(*a), values())
        compare(lambda t, x, a=arguments: t.std(x, *a), values())
    compare(lambda t, x: x.std(unbiased=False), values())
    compare(lambda t, x: t.var_mean(x, 1, False, True), values())


@pytest.mark.parametrize("zeros", [(), (1,), (0, 2), (3,), (0, 1, 2, 3)])
def test_products_with_zeros(zeros):
    x = values((2, 4))
    x[0, list(zeros)] = 0
    compare(lambda t, x: x.prod(), x)
    compare(lambda t, x: x.prod(1), x)
    compare(lambda t, x: x.prod(0, keepdim=True), x)
    compare(lambda t, x: x.cumprod(1), x)
    ours = lamina.from_numpy(x).requires_grad_()
    for function in (lambda x: x.prod(1), lambda x: x.cumprod(1), lambda x: x.prod()):
        assert gradcheck(function, ours)
        assert gradgradcheck(function, ours)


def test_two_operand_extremes():
    x, y = values((2, 3)), values((3,), seed=1)
    for name in ("max", "min"):
        compare(lambda t, x, y, name=name: getattr(t, name)(x, y), x, y)
        compare(lambda t, x, y, name=name: getattr(x, name)(other=y), x, y)
        same_error(lambda t, x, y, name=name: getattr(t, name)(x, y), x, values((2,)))
        same_error(lambda t, x, name=name: getattr(t, name)(x, 1.0), x)


def test_named_results():
    torch = need_torch()
    x = values((2, 3), "float32")
    for name in ("max", "min", "cummax", "cummin"):
        ours, theirs = getattr(lamina.from_numpy(x), name)(1), getattr(torch.from_numpy(x), name)(1)
        assert_same([ours.values, ours.indices], [theirs.values, theirs.indices])
        assert repr(ours) == repr(theirs)
    ours, theirs = lamina.from_numpy(x).aminmax(dim=0), torch.from_numpy(x).aminmax(dim=0)
    assert_same([ours.min, ours.max], [theirs.min, theirs.max])
    assert repr(ours) == repr(theirs)
    highest, places = lamina.from_numpy(x).max(dim=1, keepdim=True)
    assert highest.shape == places.shape == (2, 1)


def test_numpy_names_and_out():
    torch = need_torch()
    x = values((2, 3), "float32")
    compare(lambda t, x: x.sum(axis=1, keepdims=True), x)
    compare(lambda t, x: t.mean(x, axis=0), x)
    for t in (lamina, torch):
        a, total, high, place = t.from_numpy(x), t.empty(3), t.empty(2), t.empty(2, dtype=t.int64)
        assert t.sum(a, 0, out=total) is total
        t.max(a, 1, out=(high, place))
        assert total.tolist() == pytest.approx(x.sum(0).tolist())
        assert high.tolist() == x.max(1).tolist() and place.tolist() == x.argmax(1).tolist()


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_nothing_to_reduce():
    for name in ("sum", "mean", "prod", "nansum", "any", "all", "std", "norm"):
        compare(lambda t, x, name=name: getattr(x, name)(), np.zeros((0,)))
        compare(lambda t, x, name=name: getattr(x, name)(dim=0), np.zeros((0, 3)))
        compare(lambda t, x, name=name: getattr(x, name)(dim=1), np.zeros((0, 3)))
    compare(lambda t, x: x.logsumexp(0), np.zeros((0, 3)))
    compare(lambda t, x: x.argmax(1), np.zeros((0, 3)))
    compare(lambda t, x: x.max(1), np.zeros((0, 3)))
    compare(lambda t, x: x.amax(1), np.zeros((0, 3)))
    for name in ("max", "min", "amax", "amin", "argmax", "argmin", "aminmax"):
        same_error(lambda t, x, name=name: getattr(t, name)(x), np.zeros((0,)))
        same_error(lambda t, x, name=name: getattr(t, name)(x, dim=0), np.zeros((0, 3)), match="0")
    for p in (INF, -INF, -1):
        same_error(lambda t, x, p=p: x.norm(p), np.zeros((0,)), match="norm")


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_zero_dimensional():
    for name in ("sum", "mean", "prod", "amax", "std", "norm", "any", "logsumexp"):
        for dim in (0, -1):
            compare(lambda t, x, name=name, dim=dim: getattr(x, name)(dim=dim), np.array(2.5))
    compare(lambda t, x: x.max(0), np.array(2.5))
    compare(lambda t, x: x.argmax(0, True), np.array(2.5))
    compare(lambda t, x: x.sum(), np.array(2.5))


@pytest.mark.parametrize("name", [*OVER_SEVERAL, *OVER_ONE, *SCANS])
def test_wrong_dimensions(name):
    same_error(
        lambda t, x: getattr(t, name)(x, dim=3),
        values(),
        match=r"expected to be in range of \[-3, 2\], but got 3",
    )
    same_error(lambda t, x: getattr(t, name)(x, dim=-4), values(), match="-4")
    same_error(lambda t, x: getattr(t, name)(x, dim=1), np.array(1.0), match=r"\[-1, 0\]")
    if name in OVER_SEVERAL:
        same_error(lambda t, x: getattr(t, name)(x, dim=(0, 0)), values(), match="appears multiple times")
        same_error(lambda t, x: getattr(t, name)(x, dim=(1, -2)), values(), match="dim 1")
    with pytest.raises(TypeError):
        getattr(lamina, name)([1.0, 2.0], dim=0)


def test_wrong_dtypes():
    whole = np.array([1, 2])
    for name in ("mean", "var", "std", "norm", "nanmean"):
        same_error(lambda t, x, name=name: getattr(t, name)(x), whole)
    same_error(lambda t, x: t.mean(x, dtype=t.int64), whole, match="Long")
    compare(lambda t, x: x.logsumexp(0), whole)
    x = np.array([1.0, 2.0], np.float32)
    same_error(lambda t, x: t.linalg.vector_norm(x, dtype=t.float16), x) if hasattr(
        lamina, "linalg"
    ) else None
    same_error(lambda t, x: t.isclose(x, x.double()), x, match="Float did not match Double")
    same_error(lambda t, x: t.isclose(x, x, rtol=-1), x, match="rtol")
    same_error(lambda t, x: x.norm("foo"), x)


def test_closeness():
    x = np.array([1.0, INF, -INF, NAN, 0.0, 1e-9, INF])
    y = np.array([1.000001, INF, INF, NAN, 0.0, 0.0, 1.0])
    for settings_ in ({}, {"equal_nan": True}, {"rtol": 0, "atol": 0}, {"rtol": 1.0}):
        compare(lambda t, x, y, s=settings_: t.isclose(x, y, **s), x, y, grad=False)
        compare(lambda t, x, y, s=settings_: t.allclose(x, y, **s), x, y, grad=False)
    for dtype in ("int64", "uint8", "bool"):
        compare(
            lambda t, x, y: t.isclose(x, y, rtol=0.3),
            *(np.array(v).astype(dtype) for v in ([1, 0, 1], [1, 1, 0])),
            grad=False,
        )
    compare(lambda t, x, y: t.equal(x, y), x, x.copy(), grad=False)
    compare(lambda t, x, y: t.equal(x, y), y[:3], y[:2], grad=False)
    same_error(lambda t, x, y: t.isclose(x, y), x, y[:3])


def test_tests_of_many():
    x = np.array([[0.0, NAN, 1.0], [0.0, 0.0, 0.0]])
    for name in ("any", "all"):
        for array in (x, *(np.array([[0, 3, 1], [0, 0, 0]], kind) for kind in ("uint8", "bool", "int32"))):
            for arguments in [(), (0,), (1, True), ((0, 1),), ((),)]:
                compare(lambda t, x, n=name, a=arguments: getattr(t, n)(x, *a), array, grad=False)
    compare(lambda t, x: t.count_nonzero(x), x, grad=False)
    compare(lambda t, x: t.count_nonzero(x, (0, 1)), x, grad=False)
    compare(lambda t, x: x.count_nonzero(0), x, grad=False)


def test_differences():
    x = values((3, 5))
    for n, dim in itertools.product((0, 1, 2, 6), (0, -1)):
        compare(lambda t, x, n=n, dim=dim: t.diff(x, n, dim), x)
    compare(lambda t, x, y: x.diff(prepend=y, append=y), x, values((3, 2)))
    compare(lambda t, x: x.diff(), np.array([True, False, False]))
    same_error(lambda t, x: x.diff(), np.array(1.0))
    same_error(lambda t, x: x.diff(-1), x)


def test_areas():
    y, x = values((3, 5)), np.sort(values((5,)))
    for name in ("trapezoid", "trapz", "cumulative_trapezoid"):
        compare(lambda t, y, name=name: getattr(t, name)(y), y)
        compare(lambda t, y, name=name: getattr(t, name)(y, dim=0), y)
        compare(lambda t, y, x, name=name: getattr(t, name)(y, x), y, x)
        compare(lambda t, y, x, name=name: getattr(t, name)(y, x, dim=0), y, y.copy())
        if name != "trapz":
            compare(lambda t, y, name=name: getattr(t, name)(y, dx=0.3), y)
    compare(lambda t, y: t.trapezoid(y), np.arange(4))
    same_error(lambda t, y, x: t.trapezoid(y, x), y, x[:3])


GRADIENTS = {
    **{
        name: (lambda x, name=name: getattr(x, name)((0, 2)))
        for name in OVER_SEVERAL if name not in NO_GRADIENT and name != "norm"
    },
    **{name + " all": (lambda x, name=name: getattr(x, name)()) for name in ("sum", "mean", "std", "max", "min", "prod", "norm")},
    **{name: (lambda x, name=name: getattr(x, name)(1)) for name in SCANS},
    "max dim": lambda x: x.max(1)[0], "min keepdim": lambda x: x.min(-1, True).values, "prod dim": lambda x: x.prod(2),
    "var_mean": lambda x: lamina.var_mean(x, 1), "std_mean": lambda x: lamina.std_mean(x, (0, 1), correction=0, keepdim=True),
    **{f"norm {p}": (lambda x, p=p: x.norm(p, 1)) for p in (0.5, 1, 1.5, 2, 3, INF, -1)},
    "aminmax": lambda x: lamina.aminmax(x, dim=1), "diff": lambda x: x.diff(2, 1),
    "trapezoid": lambda x: lamina.trapezoid(x, dx=2),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    x = lamina.from_numpy(values((2, 4, 3))).requires_grad_()
    assert gradcheck(GRADIENTS[name], x)
    assert gradgradcheck(GRADIENTS[name], x)


def test_gradients_are_their_owners():
    """The gradient of a sum is one number repeated: adding to it, or to the leaf's, must not spread."""
    x = lamina.zeros(100, 100, requires_grad=True)
    x.sum().backward()
    x.grad[0, 0] += 1
    assert x.grad[0, 1].item() == 1 and x.grad[0, 0].item() == 2
    x.sum().backward()
    assert x.grad[0, 0].item() == 3


def test_in_place_after_use_is_noticed():
    x = lamina.ones(3, requires_grad=True)
    y = x * 2
    z = y.prod()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=4, max_side=6),
        elements=st.floats(-100, 100, width=32) | st.sampled_from([NAN, INF, -INF]),
    ),
    st.data(),
)  # fmt: skip
def test_engines_agree(x, data):
    """Every reduction gives the same on both engines, for any shape, order in memory and values."""
    order = data.draw(st.permutations(range(x.ndim)))
    x = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
    axes = tuple(data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1)))
    keepdim = data.draw(st.booleans())
    for name in ("sum", "mean", "amax", "amin", "logsumexp", "norm"):
        results = []
        for engine in ("reference", "onednn"):
            with engines.engine(engine):
                results.append(call(name, axes, keepdim)(lamina, lamina.from_numpy(x)).numpy())
        np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)
