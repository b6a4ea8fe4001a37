"""Convolutions with a residual and a cut at 0: against the definition, with whatever numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.engine import engine, get_engine, kernels


@st.composite
def cases(draw):
    ndim = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 1, 2, 4]))
    channels, outputs = groups * draw(st.sampled_from([1, 3, 8, 16])), groups * draw(st.sampled_from([1, 4, 8, 16]))
    kernel = tuple(draw(st.sampled_from([1, 3])) for _ in range(ndim))
    size = tuple(draw(st.integers(3, 7 if ndim == 3 else 12)) for _ in range(ndim))
    padding = tuple((p, p) for p in (draw(st.integers(0, 1)) for _ in range(ndim)))
    stride = tuple(draw(st.integers(1, 2)) for _ in range(ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal((draw(st.integers(1, 3)), channels, *size)).astype("float32")
    if draw(st.booleans()):
        x.flat[draw(st.integers(0, x.size - 1))] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
    w = rng.standard_normal((outputs, channels // groups, *kernel)).astype("float32")
    bias = rng.standard_normal(outputs).astype("float32") if draw(st.booleans()) else None
    sizes = [(n + 2 * p[0] - k) // s + 1 for n, p, k, s in zip(size, padding, kernel, stride, strict=True)]
    added = rng.standard_normal((len(x), outputs, *sizes)).astype("float32") if draw(st.booleans()) else None
    if draw(st.booleans()):
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if added is not None and draw(st.booleans()):
        added = np.moveaxis(np.ascontiguousarray(np.moveaxis(added, 1, -1)), -1, 1)
    return x, w, bias, added, draw(st.sampled_from([None, "relu", "relu6"])), (stride, padding, (1,) * ndim, groups)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_conv_fused(case):
    results = []
    for name in ("reference", "reference" if get_engine() == "reference" else "onednn"):
        with engine(name):
            results.append(kernels.conv_fused(*case))
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(results[1], results[0], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_what_is_not_a_number_stays(channels, kernel, activation):
    x = np.random.default_rng(0).standard_normal((1, channels, 14, 14)).astype("float32")
    x[0, :, 3, 3] = np.nan
    w = np.random.default_rng(1).standard_normal((channels, channels, kernel, kernel)).astype("float32")
    p = kernel // 2
    settings = (1, 1), ((p, p), (p, p)), (1, 1), 1
    y = kernels.conv_fused(x, w, None, None, activation, settings)
    assert np.isnan(y).sum() == channels * kernel * kernel
    assert np.nanmin(y) >= 0 and (activation == "relu" or np.nanmax(y) <= 6)
    r = np.full_like(y, -1e9)
    assert np.nanmax(kernels.conv_fused(x, w, None, r, activation, settings)) == 0


def test_a_residual_of_another_shape_is_refused_by_both():
    x, w = np.zeros((1, 4, 5, 5), "float32"), np.zeros((4, 4, 1, 1), "float32")
    with pytest.raises(ValueError, match="broadcast"):
        kernels.conv_fused(x, w, None, np.zeros((1, 4, 9, 9), "float32"), None, ((1, 1), ((0, 0), (0, 0)), (1, 1), 1))
