"""grid_sample and affine_grid: parity with torch, gradients of gradients, places that are no numbers, errors."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same, compare, layouts, need_torch, pair, quietly, same_error

import lamina
from lamina.engine import engine, get_engine
from lamina.engine import kernels as k
from lamina.engine.onednn import grid as shared
from lamina.nn import functional as F

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
CASES = [
    (ndim, mode, padding, corners)
    for ndim, mode, padding, corners in itertools.product((2, 3), MODES, PADDINGS, (False, True))
    if (ndim, mode) != (3, "bicubic")
]
SPATIAL = {2: (5, 7), 3: (4, 3, 5)}
OUT = {2: (4, 6), 3: (3, 2, 4)}


def data(ndim, dtype="float32", n=2, c=3, spatial=(), out=(), seed=0):
    """An input, and places in it and around it."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, c, *(spatial or SPATIAL[ndim])))
    grid = rng.uniform(-2.3, 2.3, (n, *(out or OUT[ndim]), ndim))
    return x.astype(dtype), grid.astype(dtype)


def sample(mode="bilinear", padding="zeros", corners=False):
    return lambda m, x, g: m.nn.functional.grid_sample(x, g, mode, padding, corners)


# -- parity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ndim", "mode", "padding", "corners"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parity(ndim, mode, padding, corners, dtype):
    tolerance = {"rtol": 1e-5, "atol": 2e-5} if dtype == "float32" and mode == "bicubic" else {}  # slopes of ten
    for spatial, out in ((), ()), ((1,) * ndim, ()), ((2, 1, 3)[:ndim], (1,) * ndim), ((), (7, 1, 2)[:ndim]):
        compare(sample(mode, padding, corners), *data(ndim, dtype, spatial=spatial, out=out), **tolerance)


@pytest.mark.parametrize(("ndim", "mode", "padding", "corners"), CASES)
def test_edges_corners_and_centres(ndim, mode, padding, corners):
    """Places exactly on and between elements, on the border, and a reflection away from it."""
    x = data(ndim, n=1)[0]
    steps = [np.linspace(-1, 1, 2 * n + 1 - corners) for n in reversed(SPATIAL[ndim])]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), -1)[None].astype("f")
    for places in (grid, grid + 2, grid - 2):
        compare(sample(mode, padding, corners), x, places, grad=False, atol=2e-5)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_parity_anywhere(data):
    ndim, mode, padding, corners = data.draw(st.sampled_from(CASES))
    sizes = st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim).map(tuple)
    spatial, out = data.draw(sizes), data.draw(sizes)
    n, c = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    x = rng.standard_normal((n, c, *spatial))
    grid = rng.uniform(-4, 4, (n, *out, ndim))
    compare(sample(mode, padding, corners), x, grid)


@pytest.mark.parametrize("ndim", [2, 3])
def test_large_and_many(ndim):
    """Samples are worked on together if they are small, one after the other if they are large."""
    for n, c, spatial, out in ((40, 3, (4, 3, 2)[:ndim], (2, 2, 2)[:ndim]), (2, 5, (40, 20, 12)[:ndim], (64, 40, 8)[:ndim])):
        compare(sample(), *data(ndim, "float64", n, c, spatial, out))
        compare(sample("nearest", "border"), *data(ndim, "float64", n, c, spatial, out))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_threads_and_definition_agree(data):
    """Each kernel, in parts that are shared among threads: of samples, of places, of channels."""
    ndim, mode, padding, corners = data.draw(st.sampled_from(CASES))
    n, c = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9))
    spatial = tuple(data.draw(st.integers(1, 6)) for _ in range(ndim))
    out = tuple(data.draw(st.integers(1, 300 if d == 0 and c > 4 else 6)) for d in range(ndim))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    x, grad = (rng.standard_normal((n, c, *s)).astype("f") for s in (spatial, out))
    grid = rng.uniform(-2, 2, (n, *out, ndim)).astype("f")
    taps = grid, spatial, mode, padding, corners, (0,) * ndim
    chunk = data.draw(st.sampled_from([64, 1 << 18]))

    def run(name):
        with engine(name):
            index, weight = k.grid_taps(*taps)
            correlation = k.grid_correlate(grad, x, index, weight.shape[1])
            return (
                index, weight, k.grid_sample(x, weight, index, out), k.grid_spread(grad, weight, index, spatial), correlation,
                k.grid_taps_backward(correlation, *taps),
            )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "MOST", chunk)
        ours = run("reference" if get_engine() == "reference" else "onednn")
    for a, b in zip(ours, run("reference"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("mode", MODES[:2])
def test_layouts(ndim, mode):
    x, g = data(ndim)
    for a in layouts(x.shape).values():
        compare(sample(mode), a, g)
    for b in layouts(g.shape).values():
        compare(sample(mode), x, b)


def test_half_is_computed_in_single_precision():
    for ndim, mode in ((2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear"), (3, "nearest")):
        x, g = data(ndim, "float16")
        y = F.grid_sample(lamina.from_numpy(x), lamina.from_numpy(g), mode, align_corners=False)
        wide = F.grid_sample(lamina.from_numpy(x).float(), lamina.from_numpy(g).float(), mode, align_corners=False)
        assert y.dtype == lamina.float16 and lamina.equal(y, wide.half())
    x, g = data(2, "float16")
    compare(sample(), x, g, grad=False, rtol=2e-2, atol=2e-2)  # torch rounds the places


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ndim", "mode", "padding", "corners"), CASES)
def test_gradients_of_gradients(ndim, mode, padding, corners):
    x, g = data(ndim, "float64", 1, 2, (3, 4, 3)[:ndim], (2, 2, 1)[:ndim], seed=3)
    x, g = lamina.from_numpy(x).requires_grad_(), lamina.from_numpy(g).requires_grad_()
    function = lambda x, g: F.grid_sample(x, g, mode, padding, corners)  # noqa: E731
    assert lamina.autograd.gradcheck(function, (x, g))
    assert lamina.autograd.gradgradcheck(function, (x, g))


@pytest.mark.parametrize(("ndim", "mode", "padding", "corners"), CASES)
def test_gradients_of_gradients_are_torch_s(ndim, mode, padding, corners):
    def second(m, x, g):
        y = m.nn.functional.grid_sample(x, g, mode, padding, corners)
        first = m.autograd.grad((y * y).sum(), (x, g), create_graph=True)
        return m.autograd.grad(sum((f * f).sum() for f in first), (x, g))

    x, g = data(ndim, "float64")
    ours, theirs = zip(pair(x, True), pair(g, True), strict=True)
    assert_same(second(lamina, *ours), second(need_torch(), *theirs))


def test_one_gradient_alone():
    x, g = map(lamina.from_numpy, data(2))
    for mode in MODES:
        for a, b in ((x.clone().requires_grad_(), g), (x, g.clone().requires_grad_())):
            F.grid_sample(a, b, mode, align_corners=False).sum().backward()
            assert (a if a.requires_grad else b).grad is not None


@pytest.mark.parametrize("ndim", [2, 3])
def test_names_of_nodes(ndim):
    torch = need_torch()
    x, g = data(ndim)
    for function in (
        lambda m: m.nn.functional.grid_sample(m.from_numpy(x).requires_grad_(), m.from_numpy(g), align_corners=False),
        lambda m: m.nn.functional.affine_grid(m.ones(2, ndim, ndim + 1).requires_grad_(), x.shape, False),
    ):
        assert function(lamina).grad_fn.name() == function(torch).grad_fn.name()


# -- what is no number ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ndim", "mode", "padding", "corners"), CASES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38, -1e10])
def test_places_that_are_no_numbers(ndim, mode, padding, corners, bad):
    """Nothing is read or written outside the input, and the other places have their values. (torch crashes at some of these.)"""
    x, g = (lamina.from_numpy(a) for a in data(ndim))
    wild = g.clone()
    wild[0, ..., 0, 0] = bad
    wild[1, 0, ..., ndim - 1] = bad
    x.requires_grad_(), wild.requires_grad_()
    y = F.grid_sample(x, wild, mode, padding, corners)
    ok = F.grid_sample(x, g, mode, padding, corners)
    assert lamina.equal(y[0, ..., 1:], ok[0, ..., 1:]) and lamina.equal(y[1, :, 1:], ok[1, :, 1:])
    if mode != "bicubic" and padding != "zeros":
        assert lamina.isfinite(y).all()
    if mode == "nearest" and padding == "zeros":
        assert not y[0, ..., 0].any()
    y.sum().backward()
    assert lamina.isfinite(wild.grad[0, ..., 1:, :]).all() and lamina.isfinite(wild.grad[1, 1:]).all()


def test_no_number_counts_as_minus_one():
    x = lamina.arange(16.0).reshape(1, 1, 4, 4)
    for mode, padding in itertools.product(MODES[:2], PADDINGS[1:]):
        y = F.grid_sample(x, lamina.tensor([[[[float("nan"), -1.0], [-1.0, float("nan")]]]]), mode, padding, True)
        assert y.flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_elements_that_are_no_numbers(bad):
    """They are in the results that weigh them, even with zero, and in no others: not in those of places outside."""
    for ndim, mode in ((2, "bilinear"), (2, "nearest"), (2, "bicubic"), (3, "bilinear"), (3, "nearest")):
        x, g = data(ndim)
        x[0, 1, ..., 0] = bad
        x[1, 0, ..., -1] = bad
        for padding in PADDINGS:
            compare(sample(mode, padding), x, g, grad=False, rtol=1e-5, atol=2e-5)


# -- affine_grid ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_affine_grid(ndim, corners, dtype):
    theta = np.random.default_rng(0).standard_normal((3, ndim, ndim + 1)).astype(dtype)
    rounded = {"rtol": 1e-2, "atol": 2e-2} if dtype == "float16" else {}
    for size in ((3, 2, *(4, 5, 3)[:ndim]), [3, 1, *(7,) * ndim], (3, 2, *(1, 4, 2)[:ndim])):
        if dtype == "float16" and 1 in size[2:]:
            continue  # not in torch
        compare(quietly(lambda m, t: m.nn.functional.affine_grid(t, size, corners)), theta, **rounded)  # noqa: B023
    compare(lambda m, t: m.nn.functional.affine_grid(t, m.zeros(3, 2, *(4, 5, 3)[:ndim]).shape, corners), theta, **rounded)
    compare(lambda m, t: m.affine_grid_generator(t, (3, 2, *(4, 5, 3)[:ndim]), corners), theta, **rounded)
    for t in layouts(theta.shape, dtype).values():
        compare(lambda m, t: m.nn.functional.affine_grid(t, (3, 2, *(4, 5, 3)[:ndim]), corners), t, **rounded)


@pytest.mark.parametrize("ndim", [2, 3])
def test_affine_grid_gradients(ndim):
    theta = lamina.rand(2, ndim, ndim + 1, dtype=lamina.float64, requires_grad=True)
    function = lambda t: F.affine_grid(t, (2, 1, *(3, 2, 2)[:ndim]), False)  # noqa: E731
    assert lamina.autograd.gradcheck(function, (theta,))
    assert lamina.autograd.gradgradcheck(function, (theta,))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_identity_gives_the_input_back(ndim):
    x = lamina.from_numpy(data(ndim)[0])
    for corners in (False, True):
        theta = lamina.eye(ndim, ndim + 1).expand(2, ndim, ndim + 1)
        for mode in MODES[: 4 - ndim + 1]:
            y = F.grid_sample(x, F.affine_grid(theta, x.shape, corners), mode, align_corners=corners)
            assert lamina.allclose(y, x, atol=1e-5)


def test_a_spatial_transformer_learns():
    """Its matrix moves a blob onto another one."""
    at = lamina.linspace(-1, 1, 16)
    blob = lamina.exp(-8 * (at[:, None] ** 2 + at**2))[None, None]
    goal = lamina.exp(-8 * ((at[:, None] - 0.2) ** 2 + (at + 0.3) ** 2))[None, None]
    theta = lamina.eye(2, 3)[None].clone().requires_grad_()
    for _ in range(150):
        y = F.grid_sample(blob, F.affine_grid(theta, blob.shape, False), align_corners=False)
        (gradient,) = lamina.autograd.grad(((y - goal) ** 2).mean(), theta)
        theta = (theta - 2 * gradient).detach().requires_grad_()
    assert ((y - goal) ** 2).mean().item() < 1e-4


# -- errors and warnings -------------------------------------------------------------------------------------------


def bad_calls():
    x, g = data(2)
    v, w = data(3)
    s = sample()
    yield from ((s, a, b) for a, b in (
        (x, g[:1]), (x, g[0]), (x, w), (x[0], g[0]), (x, w[0][None]), (v, g), (x[:, :, :0], g), (x, g.astype("float64")),
        (x.astype("float64"), g), ([1.0], g), (x, [1.0]), (x[0, 0], g[0, 0]), (v[None], w[None]), (x[0, 0, 0], g),
        (np.float32(1).reshape(()), g), (x.astype("int64"), g.astype("int64")), (x.astype("uint8"), g.astype("uint8")),
        (x > 0, g > 0),
    ))  # fmt: skip
    yield sample("bicubic"), v, w
    yield sample("unknown"), x, g
    yield sample("nearest", "unknown"), x, g
    yield sample(None), x, g
    yield sample("nearest", None), x, g
    yield sample(corners=1), x, g
    yield sample(corners="a"), x, g
    t, u = np.ones((2, 2, 3), "f"), np.ones((2, 3, 4), "f")
    a = lambda size, corners=False: lambda m, t: m.nn.functional.affine_grid(t, size, corners)  # noqa: E731
    yield from ((a(size), theta) for size, theta in (
        ((2, 3, 4, 5, 6), t), ((2, 3, 4, 5), u), ((2, 3, 4), t), ((2, 3, 4, 5, 6, 7), t), ((2, 3, 4, 5), t[0]),
        ((2, 3, 4, 5), t.astype("int64")), ((2, 3, 4, 5), t.astype("complex64")), ((2, 3, 0, 5), t), ((2, 0, 4, 5), t),
        ((2, 3, -4, 5), t), ((3, 3, 4, 5), t), ((2, 3, 4, 5), t[:1]), ((2, 3, 4.0, 5), t), (4, t), (None, t),
        ((0, 3, 4, 5), t[:0]), ((2, 3, 4, 5), t[:, :, :2]),
    ))  # fmt: skip
    yield a((2, 3, 0, 5), True), t
    yield lambda m, x, g: m.grid_sampler(x, g, 0.0, 0, False), x, g


@pytest.mark.filterwarnings("ignore:Casting complex")
def test_bad_calls_raise_what_torch_raises():
    for function, *inputs in bad_calls():
        same_error(function, *inputs)


def test_numbers_for_modes():
    x, g = data(2)
    for i, j in itertools.product(range(3), repeat=2):
        compare(lambda m, x, g: m.grid_sampler(x, g, i, j, True), x, g, rtol=1e-5, atol=2e-5)  # noqa: B023
    with pytest.raises(RuntimeError, match="padding_mode must be one of 0, 1 and 2, but got 3"):
        lamina.grid_sampler(lamina.from_numpy(x), lamina.from_numpy(g), 0, 3, False)


def test_messages():
    x, g = (lamina.from_numpy(a) for a in data(2))
    for error, match, call in (
        (RuntimeError, r"same batch size, but got input with sizes \[2, 3, 5, 7\] and grid with sizes \[1, 4, 6, 2\]",
         lambda: F.grid_sample(x, g[:1], align_corners=False)),
        (RuntimeError, "expected scalar type Float of the grid, as of the input, but found Double",
         lambda: F.grid_sample(x, g.double(), align_corners=False)),
        (ValueError, "Expected a batch of 2D affine matrices", lambda: F.affine_grid(lamina.ones(2, 3, 4), (2, 3, 4, 5), False)),
        (TypeError, "'theta'.*not list", lambda: F.affine_grid([1.0], (2, 3, 4, 5), False)),
    ):  # fmt: skip
        with pytest.raises(error, match=match):
            call()


def test_warnings():
    torch = need_torch()
    x, g = data(2)
    theta = np.ones((2, 2, 3), "f")
    for call in (
        lambda m: m.nn.functional.grid_sample(m.from_numpy(x), m.from_numpy(g)),
        lambda m: m.nn.functional.affine_grid(m.from_numpy(theta), (2, 1, 3, 3)),
        lambda m: m.nn.functional.affine_grid(m.from_numpy(theta), (2, 1, 1, 3), True),
    ):
        found = []
        for m in (lamina, torch):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                call(m)
            found.append([(w.category, str(w.message), w.filename) for w in caught])
        assert found[0] == found[1] and found[0][0][2] == __file__
