"""The convolution of sequences with the time first, against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import compare, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck


@pytest.mark.parametrize("pad", [0, 1, 2, -1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 2, 3), (6, 1, 3), (5, 0, 3)])
def test_matches_torch(shape, pad, dtype, each_engine):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in (shape, (3, 3, 4), (4,)))
    compare(lambda t, *a: t.nn.functional.conv_tbc(*a, pad), x, w, b, rtol=1e-5)
    compare(lambda t, *a: t.conv_tbc(*a, pad=pad), x, w, b, grad=False, rtol=1e-5)


def test_results_without_steps():
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s) for s in ((2, 2, 3), (3, 3, 4), (4,)))
    compare(lambda t, *a: t.conv_tbc(*a), x, w, b)
    compare(lambda t, *a: t.conv_tbc(*a, 1), x[:0], w, b)


def test_gradients():
    rng = np.random.default_rng(0)
    inputs = [lamina.tensor(rng.standard_normal(s), requires_grad=True) for s in ((4, 2, 2), (2, 2, 3), (3,))]
    assert gradcheck(lambda *a: lamina.conv_tbc(*a, 1), inputs) and gradgradcheck(lambda *a: lamina.conv_tbc(*a, 1), inputs)


def test_errors():
    x, w, b = np.ones((5, 2, 3)), np.ones((3, 3, 4)), np.ones(4)
    for case in (
        lambda t, x, w, b: t.conv_tbc(x[0], w, b), lambda t, x, w, b: t.conv_tbc(x, w[0], b),
        lambda t, x, w, b: t.conv_tbc(x, w, b[:2]), lambda t, x, w, b: t.conv_tbc(x, w[:, :2], b),
        lambda t, x, w, b: t.conv_tbc(x, w.float(), b),
        lambda t, x, w, b: t.conv_tbc(x, w, None),
    ):  # fmt: skip
        same_error(case, x, w, b)
