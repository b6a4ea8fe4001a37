"""Reductions and sorting of slices that threads share: the same numbers as their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import both_forms

import lamina
from lamina.engine import kernels

REDUCTIONS = {
    "amax": (), "amin": (), "any": (), "all": (), "prod": (None,), "logsumexp": (), "var_mean": (1.0,),
}  # fmt: skip
SORTING = ("sort", "argsort", "kth_index", "median_index")


@pytest.fixture(autouse=True)
def two_threads():
    before = lamina.get_num_threads()
    lamina.set_num_threads(2)
    yield
    lamina.set_num_threads(before)


def compare(name, *arguments):
    results = both_forms(lambda: getattr(kernels, name)(*arguments))
    for defined, fast in zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True):
        assert fast.dtype == defined.dtype and fast.shape == defined.shape
        np.testing.assert_allclose(fast, defined, rtol=2e-6, atol=1e-6)


shapes = st.sampled_from([(8, 5), (1, 17, 3), (9, 1, 6), (40, 2, 3), (3, 9), (1, 1, 8), (16, 4, 2, 2), (0, 8), (8, 0)])


@settings(max_examples=150, deadline=None)
@given(shapes, st.sampled_from(sorted(REDUCTIONS) + ["argmax", "argmin"]), st.booleans(), st.data())
def test_reductions(shape, name, keepdims, data):
    x = np.random.default_rng(data.draw(st.integers(0, 9))).standard_normal(shape).astype("float32")
    if x.size and data.draw(st.booleans()):
        x.flat[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    axes = data.draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, max_size=2, unique=True).map(sorted).map(tuple))
    if not min(shape[a] for a in axes) and name in ("amax", "amin", "argmax", "argmin"):
        return
    if name.startswith("arg"):
        compare(name, x, axes[0], keepdims)
    else:
        compare(name, x, axes, keepdims, *REDUCTIONS[name])


@settings(max_examples=150, deadline=None)
@given(shapes, st.sampled_from(SORTING), st.booleans(), st.data())
def test_sorting(shape, name, flag, data):
    x = np.random.default_rng(data.draw(st.integers(0, 9))).standard_normal(shape).astype("float32").round(1)
    if x.size and name in ("sort", "argsort") and data.draw(st.booleans()):
        x.flat[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    axis = data.draw(st.integers(0, x.ndim - 1))
    if not shape[axis]:
        return
    settings_ = {
        "sort": (axis, flag), "argsort": (axis, flag), "kth_index": (1, axis), "median_index": (axis, flag),
    }[name]  # fmt: skip
    compare(name, x, *settings_)
