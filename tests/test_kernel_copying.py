"""Copies by threads: the same elements as their definitions, of any dtype and layout."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import both_forms

import lamina
from lamina.engine import kernels
from lamina.engine.onednn import copying


@pytest.fixture(params=[1, copying.MANY], autouse=True)
def parts(request, monkeypatch):
    """Also small arrays are shared among threads."""
    before = lamina.get_num_threads()
    lamina.set_num_threads(2)
    monkeypatch.setattr(copying, "MANY", request.param)
    yield
    lamina.set_num_threads(before)


def compare(name, *arguments):
    defined, fast = both_forms(lambda: getattr(kernels, name)(*arguments))
    assert fast.dtype == defined.dtype and fast.flags.writeable and not np.shares_memory(fast, arguments[0])
    np.testing.assert_array_equal(fast, defined)


@st.composite
def arrays(draw, least=1):
    shape = tuple(draw(st.lists(st.integers(0, 19), min_size=least, max_size=3)))
    a = np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape)
    a = a.astype(draw(st.sampled_from(["float32", "float64", "int64", "bool", "float16", "complex128"])))
    if a.size and a.dtype.kind == "f":
        a.flat[draw(st.integers(0, a.size - 1))] = np.nan
    return a if draw(st.booleans()) else np.asfortranarray(a)


def property_test(test):
    return settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])(test)


@property_test
@given(arrays(), st.data())
def test_contiguous_flip_roll_tile(a, data):
    compare("contiguous", a)
    compare("contiguous", np.broadcast_to(a, (9, *a.shape)))
    compare("reshape_copy", a.T, (a.size,))
    dims = tuple(data.draw(st.lists(st.integers(0, a.ndim - 1), unique=True, max_size=2)))
    compare("flip", a, dims)
    shifts = tuple(data.draw(st.integers(-40, 40)) for _ in dims)
    if dims:
        compare("roll", a, shifts, dims)
    compare("roll", a, data.draw(st.integers(-40, 40)), None)
    compare("tile", a, tuple(data.draw(st.lists(st.integers(0, 3), min_size=a.ndim, max_size=a.ndim + 1))))


@property_test
@given(arrays(2), st.integers(-20, 20))
def test_tril_triu(a, diagonal):
    compare("tril", a, diagonal)
    compare("triu", a, diagonal)


@property_test
@given(arrays(), st.lists(st.integers(0, 12), max_size=3), st.data())
def test_cat(a, lengths, data):
    dim = data.draw(st.integers(0, a.ndim - 1))
    others = [np.ones((*a.shape[:dim], n, *a.shape[dim + 1 :]), a.dtype) for n in lengths]
    compare("cat", a, tuple(others), dim)
    compare("cat", a, tuple(others), dim, np.dtype("complex128"))
