"""Sorting, selection by rank, unique elements, searching and counting against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, expression, need_torch, pair, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

NAN = float("nan")


def distinct(*shape, dtype="float64", seed=0):
    """Numbers that differ from each other, so that places are not a matter of taste."""
    n = int(np.prod(shape))
    return np.asarray(np.random.default_rng(seed).permutation(n).reshape(shape) - n // 3).astype(dtype)


SHAPES = {"vector": (9,), "matrix": (4, 7), "cube": (3, 5, 2), "number": (), "empty": (0, 3), "empty rows": (3, 0)}
ORDERED = [
    "x.sort()", "t.sort(x, 0)", "x.sort(-1, True)", "x.sort(descending=True, dim=0)", "t.sort(x, stable=True)",
    "x.sort(stable=True, descending=True)", "x.argsort()", "x.argsort(0, True)",
    "t.argsort(x, dim=-1, stable=True)", "x.msort()", "t.msort(x)",
]  # fmt: skip
CHOSEN = [
    "x.topk(2)", "x.topk(1, 0)", "t.topk(x, 3, largest=False)", "x.topk(0)",
    "x.topk(2, dim=0, largest=False, sorted=True)", "x.topk(k=2)", "x.kthvalue(2)", "x.kthvalue(1, 0)",
    "t.kthvalue(x, 2, dim=-1, keepdim=True)", "x.median(0)", "x.median(-1, True)", "x.median(dim=0, keepdim=True)",
    "t.median(x, -1)", "x.nanmedian(0)", "t.nanmedian(x, -1, True)", "x.median()", "x.nanmedian()", "x.mode()",
    "x.mode(0)", "t.mode(x, -1, True)",
]  # fmt: skip


def runs_on_both(function, x):
    """Compare, including the type of error where torch raises one."""
    torch = need_torch()
    try:
        function(torch, torch.from_numpy(x.copy()))
    except Exception:  # noqa: BLE001
        same_error(function, x)
    else:
        compare(function, x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", ORDERED + CHOSEN)
def test_matches_torch(case, shape):
    for dtype in ("float64", "float32", "int64", "uint8" if shape == "vector" else "int16"):
        x = distinct(*SHAPES[shape], dtype=dtype)
        runs_on_both(expression(case), x)
        if x.ndim == 2:
            runs_on_both(expression(case.replace("x", "x.t()").replace("idx.t()", "idx")), x)


@pytest.mark.parametrize("case", [c for c in ORDERED + CHOSEN if "arg" not in c and "(0)" not in c])
def test_gradients_of_gradients(case):
    x = lamina.tensor(distinct(3, 4), requires_grad=True)
    function = expression(case)

    def values(v):
        r = function(lamina, v)
        return r[0] if isinstance(r, tuple) else r

    assert gradcheck(values, x)
    assert gradgradcheck(lambda v: values(v) ** 2, x)


SPECIAL = [
    "[3., 1., NAN, 2., NAN, 2.]", "[INF, -INF, NAN, 0.]", "[NAN, NAN]", "[[1., NAN], [0., 2.], [NAN, NAN]]",
    "[0., -0., 0.]", "[2., 2., 2.]", "[True, False, True]", "[1, 1, 0, 0, 1]",
]  # fmt: skip


@pytest.mark.parametrize("data", SPECIAL)
@pytest.mark.parametrize("case", ORDERED)
def test_ties_and_nans_are_ordered_as_in_torch(case, data):
    x = np.array(eval(data, {"NAN": NAN, "INF": float("inf")}))  # noqa: S307
    compare(expression(case), x)


@pytest.mark.parametrize("data", SPECIAL)
@pytest.mark.parametrize("case", CHOSEN)
def test_values_at_ties_and_nans(case, data):
    """Of equal elements any may be chosen: compare values, and look the places up."""
    if "mode" in case and "NAN" in data:
        pytest.skip("torch's mode of NaNs depends on their places")
    x = np.array(eval(data, {"NAN": NAN, "INF": float("inf")}))  # noqa: S307
    ours, theirs = pair(x)
    function = expression(case)
    try:
        expected = function(need_torch(), theirs)
    except Exception:  # noqa: BLE001
        return same_error(function, x)
    found = function(lamina, ours)
    if not isinstance(expected, tuple):
        return assert_same(found, expected)
    assert_same(found.values, expected.values)
    assert found.indices.shape == tuple(expected.indices.shape) and found.indices.dtype == lamina.int64


def test_gradient_of_the_median_of_all_is_shared():
    for data in ([1.0, 3, 2, 2, 2, 5, 0], [1.0, NAN, NAN]):
        compare(lambda t, x: x.median(), np.array(data))
    compare(lambda t, x: x.nanmedian(), np.array([2.0, NAN, 2.0, 1, 4]))


def test_topk_of_long_rows():
    """Rows long enough to be partitioned rather than sorted."""
    for x in (distinct(3, 200), distinct(200, 3, dtype="float32"), distinct(500, dtype="int32")):
        for case in ("x.topk(5)", "x.topk(3, 0, False)", "x.topk(150, 0)", "x.topk(0, 0)", "x.kthvalue(17, 0)",
                     "x.median(0)"):
            runs_on_both(expression(case), x)
    x = distinct(3, 200)
    x[:, ::7] = NAN
    for case in ("x.topk(5)[0]", "x.topk(5, largest=False)[0]", "x.topk(40)[0]", "x.topk(40, largest=False)[0]",
                 "x.kthvalue(180)[0]", "x.kthvalue(100)[0]",
                 "x.nanmedian(1)[0]", "x.median(1)[0]"):
        compare(expression(case), x, grad=False)
    for mostly in (-np.inf, np.inf, NAN):  # rows that run out of numbers
        x = np.full((3, 200), mostly, "float32")
        x[:, 7:10] = 1, 3, 2
        for case in ("x.topk(2)[0]", "x.topk(5)[0]", "x.topk(5, largest=False)[0]"):
            compare(expression(case), x, grad=False)
        values, index = lamina.from_numpy(x).topk(5)
        assert all(len(set(row)) == 5 for row in index.tolist())


def test_results_are_named():
    for t in (lamina, need_torch()):
        x = t.tensor([3.0, 1.0, 2.0])
        for r in (x.sort(), x.topk(2), x.kthvalue(1), x.median(0), x.mode(0), x.nanmedian(0)):
            values, indices = r
            assert r.values is values and r.indices is indices and isinstance(r, tuple)
    assert repr(lamina.tensor([2, 1]).sort()) == repr(need_torch().tensor([2, 1]).sort())


def test_out():
    for t in (lamina, need_torch()):
        x, values, indices = t.tensor([3.0, 1.0, 2.0]), t.empty(3), t.empty(3, dtype=t.int64)
        assert t.sort(x, out=(values, indices))[0] is values and indices.tolist() == [1, 2, 0]
        assert t.searchsorted(t.tensor([1.0, 2.0]), x, out=indices) is indices and indices.tolist() == [2, 0, 1]


UNIQUE = [
    "t.unique(x)", "x.unique(return_inverse=True)", "x.unique(return_counts=True)", "t.unique(x, True, True, True)",
    "t.unique(x, dim=0)", "t.unique(x, return_inverse=True, return_counts=True, dim=-1)", "t.unique_consecutive(x)",
    "x.unique_consecutive(True, True)", "t.unique_consecutive(x, return_inverse=True, return_counts=True, dim=0)",
    "t.unique_consecutive(x, dim=-1)",
]  # fmt: skip


@pytest.mark.parametrize("case", UNIQUE)
@pytest.mark.parametrize("shape", [(12,), (6, 3), (3, 4, 2), (), (0,), (0, 3), (3, 0), (5, 1)])
def test_unique_matches_torch(case, shape):
    for dtype in ("int64", "float32", "bool", "uint8"):
        x = np.asarray(np.random.default_rng(1).integers(0, 3, shape)).astype(dtype)
        if dtype == "bool" and "dim" in case and "consecutive" not in case:
            x = x.astype(np.int32)
        runs_on_both(expression(case.replace("x.", "x.detach().").replace("(x", "(x.detach()")), x)


def test_unique_of_nans():
    for case in ("x.unique()", "x.unique_consecutive()", "x.unique(return_inverse=True, return_counts=True)"):
        compare(expression(case), np.array([1.0, NAN, 2, 1, NAN, NAN]), grad=False)


PLACES = [
    "t.searchsorted(x, y)", "t.searchsorted(x, y, right=True)", "t.searchsorted(x, y, side='right')",
    "t.searchsorted(x, y, side='left')", "t.searchsorted(x, y, out_int32=True)", "t.searchsorted(x, 3)",
    "t.searchsorted(x, 2.5, right=True)", "t.bucketize(y, x)", "t.bucketize(y, x, right=True)", "t.bucketize(3, x)",
    "t.bucketize(2.5, x, out_int32=True)", "t.searchsorted(x.flip(0), y, sorter=t.arange(4, -1, -1))",
    "t.searchsorted(t.stack([x, x * 2]), t.stack([y, y]).view(2, -1))",
    "t.searchsorted(t.stack([x, x * 2]), t.stack([y, y]).view(2, -1), right=True)",
]  # fmt: skip


@pytest.mark.parametrize("case", PLACES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
def test_places_match_torch(case, dtype):
    x, y = np.array([1, 2, 2, 3, 5]), np.array([[0, 1, 2], [3, 9, 2]])
    compare(expression(case), x.astype(dtype), y.astype(dtype), grad=False)
    if dtype.startswith("float"):
        compare(expression(case), x.astype(dtype), np.array([NAN, np.inf, -np.inf, 2], dtype), grad=False)


COUNTS = [
    ("x.histc()", "f"), ("x.histc(5)", "f"), ("t.histc(x, bins=4, min=-1, max=3)", "f"), ("t.histc(x, 3, 2, 2)", "f"),
    ("x[:0].histc(4)", "f"),
    ("x[:1].histc(4)", "f"), ("t.histc(t.cat([x, x.new_tensor([NAN, INF])]), 4, 0, 3)", "f"), ("x.bincount()", "i"),
    ("x.bincount(minlength=12)", "i"),
    ("t.bincount(x, x * 0.5)", "i"), ("t.bincount(x, weights=x.double())", "i"), ("t.bincount(x, x)", "i"),
    ("x[:0].bincount(minlength=3)", "i"),
    ("x[:0].bincount()", "i"), ("x.to(t.uint8).bincount()", "i"), ("t.isin(x, t.tensor([1, 3]))", "i"),
    ("t.isin(x, 3, invert=True)", "i"),
    ("t.isin(2, x)", "i"), ("t.isin(x, x[:2], assume_unique=False)", "f"),
]  # fmt: skip


@pytest.mark.parametrize("case, kind", COUNTS)
def test_counts_match_torch(case, kind):
    for dtype in ("float64", "float32") if kind == "f" else ("int64", "int32"):
        rng = np.random.default_rng(2)
        x = (rng.standard_normal(40) * 2 if kind == "f" else rng.integers(0, 6, 40)).astype(dtype)
        compare(expression(case), x, grad=False)


ERRORS = [
    "x.sort(3)", "x.topk(5)", "x.topk(-1)", "x[0, 0].topk(2)", "x[:0].topk(1, 0)", "x.kthvalue(0)", "x.kthvalue(5)",
    "x[:0].kthvalue(1, 0)", "(x > 1).kthvalue(1)", "x[:0].median(0)", "(x > 1).median()", "x[:0].mode(0)",
    "t.unique(x[:0].view(0, 4), dim=1)", "t.unique(x[0, 0], dim=0)", "t.unique(x, dim=3)",
    "t.searchsorted(x[0], 3., side='left', right=True)", "t.searchsorted(x[0], 3., side='foo')",
    "t.searchsorted(x, x[:2])", "t.searchsorted(x, 1.)", "t.searchsorted(x[0], x[0], sorter=t.tensor([1, 0]))",
    "t.searchsorted(x[0], x[0], sorter=t.tensor([1, 0, 2, 9]))", "t.searchsorted(x[0, 0], x[0])",
    "t.bucketize(x, x)", "t.histc(t.tensor([1., NAN]), bins=4)", "t.histc(t.tensor([1., INF]), bins=4)",
    "t.histc(t.tensor([1, 2]))", "t.histc(x, bins=0)", "t.histc(x, 2, 3, 1)",
    "t.bincount(t.tensor([0, 1]), minlength=-1)", "t.bincount(t.tensor([0, -1]))", "t.bincount(t.tensor([0., 1]))",
    "t.bincount(t.tensor([[0, 1]]))", "t.bincount(t.tensor([0, 1]), weights=t.tensor([1.]))",
    "t.zeros(2, dtype=t.complex64).sort()", "x.topk(2.5)", "t.sort([1, 2])", "t.topk(x, 1, 7)",
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_bad_arguments_raise_as_in_torch(case):
    same_error(expression(case), distinct(3, 4, dtype="float32"))


@pytest.mark.parametrize("dtype", [
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint32",
])
def test_every_dtype_is_sorted_stably(dtype):
    """Those that are packed with their places before sorting, those that are not, and the extremes of each."""
    rng = np.random.default_rng(4)
    if dtype.startswith("float"):
        x = np.concatenate([rng.integers(-4, 4, 60) / 2,
                            [NAN, -NAN, np.inf, -np.inf, 0.0, -0.0, NAN, 1e-7, -1e-7]]).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        x = np.concatenate([rng.integers(0, 5, 60).astype(dtype),
                            np.array([limits.min, limits.max, limits.min, limits.max], dtype)])
    for rows in (x, x[:60], rng.permutation(x).reshape(-1, 1), np.stack([x, x[::-1]]), np.stack([x, x[::-1]], 1)):
        for descending in (False, True):
            order = np.argsort(-rows.astype(np.float64) if descending else rows.astype(np.float64), -1, kind="stable")
            if descending and dtype.startswith("float"):  # NaNs first
                order = np.argsort(np.where(np.isnan(rows), -np.inf, -rows.astype(np.float64) + 0.0), -1, kind="stable")
                infinite = (rows == np.inf).any() and np.isnan(rows).any()
                if infinite:  # the key above cannot tell them apart
                    order = np.lexsort((np.broadcast_to(np.arange(rows.shape[-1]), rows.shape),
                                        -rows.astype(np.float64), ~np.isnan(rows)))
            values, indices = lamina.from_numpy(rows.copy()).sort(-1, descending)
            np.testing.assert_array_equal(indices.numpy(), order)
            np.testing.assert_array_equal(values.numpy(), np.take_along_axis(rows, order, -1))


# -- quantiles and histograms ------------------------------------------------------------------------------------

QUANTILES = [
    "t.quantile(x, 0.3)", "x.quantile(0.5, 1)", "x.quantile(0., 0, True)", "x.quantile(1., dim=-1)",
    "x.quantile(0.3, keepdim=True)",
    "x.quantile(t.tensor([0., .3, 1.], dtype=x.dtype))", "x.quantile(t.tensor([0., .3, 1.], dtype=x.dtype), 0, True)",
    "x.quantile(t.tensor([.4, .6], dtype=x.dtype), 1)", "x.quantile(t.tensor(.7, dtype=x.dtype), 0)",
    "x.quantile(t.tensor([.2, .9], dtype=x.dtype), keepdim=True)", "x.nanquantile(0.3, 1)", "t.nanquantile(x, 0.5)",
    "x.nanquantile(t.tensor([.1, .8], dtype=x.dtype), 0)", "x[0, 0].quantile(.5)", "x[0, 0].quantile(.5, 0, True)",
    *(f"x.{name}(t.tensor([.1, .5, .65], dtype=x.dtype), 1, interpolation='{how}')"
      for name in ("quantile", "nanquantile") for how in ("linear", "lower", "higher", "midpoint", "nearest")),
]  # fmt: skip


@pytest.mark.parametrize("case", QUANTILES)
def test_quantiles_match_torch(case):
    function = expression(case)
    for dtype in ("float64", "float32"):
        x = distinct(5, 7, dtype=dtype)
        compare(function, x)
        x[1, 2] = x[1, 4] = x[3] = NAN
        compare(function, x, grad=False)
    x = lamina.tensor(distinct(3, 4), requires_grad=True)
    assert gradcheck(lambda v: function(lamina, v), x)
    assert gradgradcheck(lambda v: function(lamina, v) ** 2, x)


def test_bad_quantiles_raise_as_in_torch():
    for case in ("x.quantile(1.5)", "x.quantile(t.tensor([1.5]))", "x.quantile(t.tensor(.5).double())",
                 "x.long().quantile(.5)",
                 "x.quantile(t.tensor([[.5]]))", "x[:0].quantile(.5)", "x[:0].quantile(.5, 0)",
                 "x.quantile(.5, 1, interpolation='foo')",
                 "x.quantile(.5, 5)", "x.half().quantile(.5)"):  # fmt: skip
        same_error(expression(case), distinct(3, 4, dtype="float32"))


def test_histograms_match_torch():
    for case in ("t.histogram(x, 4)", "t.histogram(x, t.tensor([-3., -1., 0., 4.], dtype=x.dtype))",
                 "x.histogram(5, range=(-2., 3.))",
                 "t.histogram(x, 4, density=True)", "t.histogram(x, 4, weight=x * x)",
                 "t.histogram(x, 3, range=(0., 2.), weight=x.abs(), density=True)"):  # fmt: skip
        for dtype in ("float64", "float32"):
            compare(lambda t, x, c=case: tuple(expression(c)(t, x)), distinct(4, 5, dtype=dtype), grad=False)
    for case in ("t.histogram(x, 0)", "t.histogram(x, t.tensor([[0., 1.]]))", "t.histogram(x.long(), 4)",
                 "t.histogram(x, 4, weight=x[0])",
                 "t.histogram(x, 4, range=(3., 0.))", "t.histogram(x, t.tensor([0., 1.]).double())"):  # fmt: skip
        same_error(expression(case), distinct(3, 4, dtype="float32"))
