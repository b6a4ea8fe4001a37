"""Running sums in pieces: the same numbers as their definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.engine import engine, get_engine, kernels

F32 = np.dtype(np.float32)


def both(x, axis, reverse):
    results = []
    for form in ("reference", "reference" if get_engine() == "reference" else "onednn"):
        with engine(form):
            results.append(kernels.cumsum(x, axis, reverse, F32))
    return results


lengths = st.sampled_from([16, 17, 31, 40, 64, 65, 67, 100, 128, 130, 1000])
shapes = st.tuples(st.sampled_from([(), (3,), (2, 2), (0,)]), lengths, st.sampled_from([(), (1,), (3,), (2, 5), (0,)]))


@settings(max_examples=150, deadline=None)
@given(shapes, st.booleans(), st.integers(0, 9), st.sampled_from([None, np.nan, np.inf, -np.inf, 3e38]), st.booleans())
def test_cumsum(shape, reverse, seed, special, twice):
    lead, n, rest = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((*lead, n, *rest)).astype(F32)
    if x.size and special is not None:
        x.flat[rng.integers(0, x.size)] = special
        if twice:
            x.flat[rng.integers(0, x.size)] = special
    defined, fast = both(x, len(lead), reverse)
    assert fast.dtype == F32 and fast.shape == x.shape
    finite = np.abs(defined[np.isfinite(defined)])
    np.testing.assert_allclose(fast, defined, rtol=2e-7, atol=2e-7 * finite.max(initial=1))


def test_a_long_sum_does_not_add_up_its_roundings():
    x = np.full((2, 4096), 0.1, F32)
    defined, fast = both(x, 1, False)
    np.testing.assert_allclose(fast, defined, rtol=5e-7)  # one by one, single numbers would be off by 1e-5
