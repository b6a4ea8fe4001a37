"""Resampling: parity with torch over modes, ranks, sizes and scales, transposes, gradients of gradients, bytes, NaN, errors."""

from __future__ import annotations

import copy
import doctest
import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same, compare, layouts, need_torch, quietly, same_error

import lamina
from lamina import engine, nn
from lamina.engine import kernels as k
from lamina.engine.reference import resample as reference
from lamina.nn import functional as F

SPATIAL = {1: (11,), 2: (6, 9), 3: (4, 5, 6)}
MODES = {
    1: ("nearest", "nearest-exact", "linear", "area"),
    2: ("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
    3: ("nearest", "nearest-exact", "trilinear", "area"),
}
CASES = [(ndim, mode) for ndim, modes in MODES.items() for mode in modes]
WEIGHTED = [case for case in CASES if case[1] in ("linear", "bilinear", "bicubic", "trilinear")]
SIZES = {
    1: [1, 5, 11, 22, 33, (40,)],
    2: [1, (3, 4), (12, 18), (6, 20), (13, 9), (18, 27), [7, 8]],
    3: [1, (2, 3, 3), (8, 10, 12), (4, 7, 12), (9, 5, 6)],
}


def data(ndim: int, dtype: str = "float32", n: int = 2, c: int = 3, spatial: tuple[int, ...] = ()) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, c, *(spatial or SPATIAL[ndim]))).astype(dtype)


def resize(mode: str, **settings_):
    return lambda m, x: m.nn.functional.interpolate(x, mode=mode, **settings_)


# -- parity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ndim", "mode"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes(each_engine, ndim, mode, dtype):
    for size in SIZES[ndim]:
        compare(resize(mode, size=size), data(ndim, dtype))


@pytest.mark.parametrize(("ndim", "mode"), WEIGHTED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_corners(each_engine, ndim, mode, dtype):
    for size, corners in itertools.product(SIZES[ndim], (True, False)):
        compare(resize(mode, size=size, align_corners=corners), data(ndim, dtype))


@pytest.mark.parametrize(("ndim", "mode"), CASES)
def test_scales(each_engine, ndim, mode):
    """Sizes that the factors do not lead back to. Factors of nearly 1 and 2 are a test of their own, below."""
    for scale in (2, 3.0, 0.5, 0.35, 1.7, (2.6, 0.7, 3.1)[:ndim], list((1.3, 2.5, 0.4)[:ndim])):
        for recompute in (None, True, False):
            compare(resize(mode, scale_factor=scale, recompute_scale_factor=recompute), data(ndim))
        if mode in ("linear", "bilinear", "bicubic", "trilinear"):
            compare(resize(mode, scale_factor=scale, align_corners=True), data(ndim))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_antialias(each_engine, mode, dtype):
    # An axis that keeps its size is left out: PyTorch's gradient is not that of its forward there. Nor does PyTorch give
    # anything sensible for a width of 1.
    for size, corners in itertools.product(((2, 3), (3, 4), (12, 18), (13, 5), (4, 20)), (False, True)):
        if not (corners and mode == "lanczos"):
            compare(resize(mode, size=size, antialias=True, align_corners=corners), data(2, dtype), rtol=5e-6)
    for scale in (0.4, 1.3, (2.0, 0.35)):
        compare(resize(mode, scale_factor=scale, antialias=True), data(2, dtype), rtol=5e-6)
    compare(resize(mode, size=(6, 9), antialias=True), data(2, dtype))
    compare(resize(mode, size=(6, 12), antialias=True), data(2, dtype), grad=False)


def test_antialias_keeps_what_does_not_shrink_to_nothing():
    """The rows of an image of width 1 stay apart, and the gradient is the transpose of the forward pass."""
    x = lamina.arange(8.0).reshape(1, 1, 4, 2)
    assert F.interpolate(x, size=(8, 1), mode="bilinear", antialias=True).unique().numel() == 8
    y = lamina.rand(1, 2, 6, 5, dtype=lamina.float64, requires_grad=True)
    for mode in ("bilinear", "bicubic", "lanczos"):
        assert lamina.autograd.gradcheck(lambda x: F.interpolate(x, size=(6, 3), mode=mode, antialias=True), (y,))  # noqa: B023


def test_antialiased_images_are_pillow_s():
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30), dtype=np.uint8)
    filters = {"bilinear": image.Resampling.BILINEAR, "bicubic": image.Resampling.BICUBIC, "lanczos": image.Resampling.LANCZOS}
    for (mode, wanted), (h, w) in itertools.product(filters.items(), ((11, 13), (50, 41), (24, 7))):
        ours = F.interpolate(lamina.from_numpy(pixels)[None, None], size=(h, w), mode=mode, antialias=True)[0, 0]
        theirs = np.asarray(image.fromarray(pixels).resize((w, h), wanted))
        assert np.abs(ours.numpy().astype(int) - theirs).max() <= 1  # Pillow's weights have seven more bits


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_bytes_are_torch_s(channels):
    x = np.random.default_rng(0).integers(0, 256, (2, channels, 10, 13)).astype(np.uint8)
    sizes = (5, 6), (20, 26), (7, 31)
    for mode, size in itertools.product(("nearest", "nearest-exact", "bilinear", "bicubic"), (*sizes, (10, 13))):
        compare(resize(mode, size=size), x)
    for mode, size in itertools.product(("bilinear", "bicubic"), sizes):
        compare(resize(mode, size=size, align_corners=True), x)
    for mode, size in itertools.product(("bilinear", "bicubic", "lanczos"), sizes):
        compare(resize(mode, size=size, antialias=True), x)
    for ndim in (1, 3):
        y = np.random.default_rng(0).integers(0, 256, (2, channels, *SPATIAL[ndim])).astype(np.uint8)
        compare(resize("nearest", scale_factor=1.7), y)
        compare(resize("nearest-exact", scale_factor=1.7), y)


@pytest.mark.parametrize(("ndim", "mode"), CASES)
def test_half(each_engine, ndim, mode):
    """PyTorch rounds between the dimensions and after every addition to a gradient; lamina once."""
    x = data(ndim, "float16")
    for settings_ in ({"scale_factor": 2}, {"scale_factor": 0.6}, {"size": 7}):
        compare(resize(mode, **settings_), x, rtol=4e-3, atol=1e-2)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_nearest_picks_torch_s_elements(data):
    torch = need_torch()
    ndim = data.draw(st.integers(1, 3))
    length = data.draw(st.integers(1, 200))
    mode = data.draw(st.sampled_from(["nearest", "nearest-exact"]))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    shape = (1, 1, *(1,) * (ndim - 1), length)
    x = np.arange(length, dtype=dtype).reshape(shape)
    if data.draw(st.booleans()):
        by = {"size": (1,) * (ndim - 1) + (data.draw(st.integers(1, 400)),)}
    else:
        scale = round(data.draw(st.floats(0.2, 5)), data.draw(st.integers(1, 4)))
        if int(length * scale) < 1:
            return
        by = {"scale_factor": (1.0,) * (ndim - 1) + (scale,)}
    ours, theirs = (m.nn.functional.interpolate(m.from_numpy(x), mode=mode, **by) for m in (lamina, torch))
    assert_same(ours, theirs)


def test_factors_of_nearly_one_and_two():
    """PyTorch takes them as they are, but for small images; its gradients never do, so only results can agree."""
    for ndim, scale in itertools.product((1, 2, 3), (1.04, 2.04)):
        compare(resize("nearest", scale_factor=scale), data(ndim, spatial=(21,) * ndim), grad=False)
        x = lamina.rand(1, 1, *(21,) * ndim, dtype=lamina.float64, requires_grad=True)
        y = F.interpolate(x, scale_factor=scale)
        (gx,) = lamina.autograd.grad(y.sum(), x)
        assert (gx * x).sum().item() == pytest.approx(y.sum().item())  # so the gradient is that of the forward pass


@pytest.mark.parametrize(("ndim", "mode"), CASES)
def test_layouts(each_engine, ndim, mode):
    for x in layouts((2, 5, *SPATIAL[ndim])).values():
        compare(resize(mode, scale_factor=2), x)
        compare(resize(mode, size=4), x)


@pytest.mark.parametrize(("ndim", "mode"), CASES)
def test_an_empty_batch(each_engine, ndim, mode):
    compare(resize(mode, scale_factor=2), data(ndim, n=0))


@pytest.mark.parametrize(("ndim", "mode"), CASES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_and_infinity_reach_what_they_reach_in_torch(each_engine, ndim, mode, bad):
    x = data(ndim)
    x.reshape(2, 3, -1)[0, 1, [0, 3]] = bad
    x.reshape(2, 3, -1)[1, 0, -1] = bad
    for settings_ in ({"scale_factor": 2}, {"size": 7}, {"scale_factor": 0.5}):
        compare(resize(mode, **settings_), x)
        if mode in ("linear", "bilinear", "bicubic", "trilinear"):
            compare(resize(mode, align_corners=True, **settings_), x)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_gradients_stay_finite_beside_what_is_not(each_engine, mode):
    """An infinite gradient goes to the elements that its result came from, and to no others."""
    x = lamina.zeros(1, 8, 6, 6).requires_grad_()
    y = F.interpolate(x, scale_factor=2, mode=mode)
    g = lamina.ones_like(y)
    g[0, 0, 0, 0] = float("inf")
    y.backward(g)
    wild = ~lamina.isfinite(x.grad[0, 0])
    assert wild[0, 0].item() and not wild[2:].any().item() and not wild[:, 2:].any().item()
    assert lamina.isfinite(x.grad[0, 1:]).all().item()


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ndim", "mode"), CASES)
def test_gradients_of_gradients(ndim, mode):
    x = lamina.rand(2, 2, *(3, 4, 2)[:ndim], dtype=lamina.float64, requires_grad=True)
    for settings_ in ({"scale_factor": 1.7}, {"size": (2, 3, 5)[:ndim]}):
        function = lambda x: F.interpolate(x, mode=mode, **settings_)  # noqa: B023, E731
        assert lamina.autograd.gradcheck(function, (x,))
        assert lamina.autograd.gradgradcheck(function, (x,))
    y = F.interpolate(x, mode=mode, scale_factor=2)
    (gx,) = lamina.autograd.grad((y * y).sum(), x, create_graph=True)
    (ggx,) = lamina.autograd.grad((gx * gx).sum(), x)
    assert ggx.shape == x.shape


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_names_of_nodes(ndim):
    torch = need_torch()
    wanted = [(mode, False) for mode in MODES[ndim] if mode != "area"]
    wanted += [(mode, True) for mode in ("bilinear", "bicubic", "lanczos") if ndim == 2]
    for mode, antialias in wanted:
        ours, theirs = (
            m.nn.functional.interpolate(m.zeros(1, 1, *(4,) * ndim, requires_grad=True), size=6, mode=mode, antialias=antialias)
            for m in (lamina, torch)
        )
        assert ours.grad_fn.name() == theirs.grad_fn.name()


# -- kernels -------------------------------------------------------------------------------------------------------

KINDS = ("nearest", "nearest-exact", "linear", "cubic", "antialiased linear", "antialiased cubic", "antialiased lanczos")


@st.composite
def axes(draw, ndim):
    kind, corners = draw(st.sampled_from(KINDS)), draw(st.booleans())
    found = []
    for _ in range(ndim):
        length, size = draw(st.integers(1, 9)), draw(st.integers(1, 14))
        scale = None
        if not corners and draw(st.booleans()):
            scale = draw(st.floats(0.4, 3.5))
            size = max(int(length * scale), 1)
        found.append((length, size, kind, corners, scale, draw(st.booleans())))
    return tuple(found)


def dense(axis) -> np.ndarray:
    """The matrix of an axis."""
    place, weight = reference.table(axis)[:2]
    matrix = np.zeros((axis[1], axis[0]))
    np.add.at(matrix, (np.broadcast_to(np.arange(axis[1]), place.shape), place), 1 if weight is None else weight)
    return matrix


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_tables_and_their_transposes(data):
    (axis,) = data.draw(axes(1))
    matrix = dense(axis)
    place, weight, nothing, _ = reference.transposed(axis)
    back = np.zeros((axis[0], axis[1]))
    np.add.at(back, (np.broadcast_to(np.arange(axis[0]), place.shape), place), 1 if weight is None else weight)
    back[nothing] = 0
    assert np.array_equal(back.T, matrix)
    if "lanczos" not in axis[2]:
        assert np.allclose(matrix.sum(1), 1, atol=1e-5)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_both_engines_agree(data):
    """Each kernel pair, on plain and channels-last arrays, forward and backward, with infinities among the elements."""
    if engine.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    ndim = data.draw(st.integers(1, 3))
    of = data.draw(axes(ndim))
    n, c = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 3, 8, 16]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    for kernel, which in ((k.resample, 0), (k.resample_backward, 1)):
        x = rng.standard_normal((n, c, *(axis[which] for axis in of))).astype("f")
        if data.draw(st.booleans()):
            x.reshape(-1)[rng.integers(0, x.size)] = rng.choice([np.nan, np.inf, -np.inf])
        if data.draw(st.booleans()):
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        found = []
        for name in ("reference", "onednn"):
            with engine.engine(name):
                found.append(kernel(x, of))
        assert found[0].dtype == found[1].dtype == np.float32
        np.testing.assert_allclose(found[1], found[0], rtol=1e-5, atol=1e-5)


def test_common_layers_run_on_onednn():
    if engine.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    x = lamina.rand(2, 16, 20, 20, requires_grad=True)
    with engine.usage() as used:
        nn.Upsample(scale_factor=2)(x).sum().backward()
        nn.Upsample(scale_factor=2, mode="bilinear")(x)
        nn.Upsample(size=10, mode="bilinear")(x[0, :8].unsqueeze(0))
    assert used["resample"] == (3, 0, 0) and used["resample_backward"] == (1, 0, 0)


# -- errors and warnings -------------------------------------------------------------------------------------------


def bad_calls():
    x = data(2)
    i = lambda **s: lambda m, x: m.nn.functional.interpolate(x, **s)  # noqa: E731
    yield from ((i(**s), x) for s in (
        {}, {"size": 2, "scale_factor": 2.0}, {"size": (2,)}, {"size": (2, 2, 2)}, {"size": (2.0, 2)}, {"size": 2.5},
        {"size": 2.0}, {"size": "a"}, {"size": True}, {"size": 0}, {"size": -1}, {"size": (3, 0)}, {"size": range(2, 4)},
        {"scale_factor": (1.0,)}, {"scale_factor": "a"}, {"scale_factor": 0.1}, {"scale_factor": 0.0}, {"scale_factor": -1.0},
        {"scale_factor": float("nan")}, {"scale_factor": float("inf")}, {"size": 5, "recompute_scale_factor": True},
        {"scale_factor": 0.1, "recompute_scale_factor": True}, {"size": 5, "align_corners": False},
        {"size": 5, "mode": "area", "align_corners": True}, {"size": 5, "mode": "nearest-exact", "align_corners": True},
        {"size": 5, "mode": "unknown"}, {"size": 5, "mode": None}, {"size": 5, "mode": "linear"},
        {"size": 5, "mode": "trilinear"},        {"size": 5, "antialias": True}, {"size": 5, "mode": "lanczos"},
        {"size": 5, "mode": "lanczos", "align_corners": True},
        {"size": 5, "mode": "lanczos", "align_corners": True, "antialias": True},
        {"size": 5, "mode": "bilinear", "align_corners": 1}, {"size": 5, "mode": "area", "antialias": True},
        {"size": -1, "mode": "area"},
    ))  # fmt: skip
    for mode in ("bilinear", "trilinear", "bicubic", "lanczos"):
        yield i(size=5, mode=mode), x[0]
    for mode in ("linear", "bilinear", "bicubic", "lanczos"):
        yield i(size=5, mode=mode), x[None]
    for shape in ((), (4,), (4, 4), (1, 1, 2, 2, 2, 2)):
        yield i(size=5), np.zeros(shape, "f")
        yield i(size=5, mode="area"), np.zeros(shape, "f")
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic"):
        yield i(size=5, mode=mode), x[:, :0]
        yield i(size=5, mode=mode), x[..., :0]
        for dtype in ("int8", "int32", "int64", "bool", "complex64"):
            yield i(size=5, mode=mode), x.astype(dtype)
    for dtype in ("float16", "int64", "bool"):
        yield i(size=5, mode="bilinear", antialias=True), x.astype(dtype)
    for dtype in ("uint8", "int64", "bool"):
        yield i(size=5, mode="area"), x.astype(dtype)
        yield i(size=5, mode="linear"), x[0].astype(dtype)
        yield i(size=5, mode="trilinear"), x[None].astype(dtype)


@pytest.mark.filterwarnings("ignore:Casting complex")
def test_bad_calls_raise_what_torch_raises():
    for function, x in bad_calls():
        same_error(function, x)


def test_messages():
    x = lamina.zeros(2, 3, 6, 5)
    for error, match, call in (
        (TypeError, "argument 'input' .* not list", lambda: F.interpolate([1.0], 2)),
        (RuntimeError, r"input \(H: 6, W: 5\) and output \(H: 0, W: 9\)", lambda: F.interpolate(x, (0, 9))),
        (ValueError, r"spatial dimensions of \[6, 5\] and output size of \(3,\)", lambda: F.interpolate(x, (3,))),
        (NotImplementedError, "Got 4D input, but trilinear mode needs 5D", lambda: F.interpolate(x, 3, mode="trilinear")),
        (NotImplementedError, "mode 'nearest' is not implemented for 'Long'", lambda: F.interpolate(x.long(), 3)),
        (TypeError, "size to be an int or a tuple of ints, but got 2.5", lambda: F.interpolate(x, 2.5)),
        (TypeError, "scale_factor to be a float or a tuple of floats, but got 'a'", lambda: F.interpolate(x, None, "a")),
    ):
        with pytest.raises(error, match=match):
            call()


def test_older_names_warn():
    x = data(2)
    for name, args in (("upsample", (5,)), ("upsample", (None, 2, "bilinear", True)), ("upsample_nearest", (None, 2)),
                       ("upsample_bilinear", (5,))):  # fmt: skip
        with pytest.warns(UserWarning, match=f"`nn.functional.{name}` is deprecated") as caught:
            getattr(F, name)(lamina.from_numpy(x), *args)
        assert caught[0].filename == __file__
        compare(quietly(lambda m, x: getattr(m.nn.functional, name)(x, *args)), x)  # noqa: B023


# -- layers --------------------------------------------------------------------------------------------------------

LAYERS = [
    ("Upsample", (), {"scale_factor": 2}), ("Upsample", (5,), {}),
    ("Upsample", ((4, 5),), {"mode": "bilinear", "align_corners": True}),
    ("Upsample", (None, (2, 1.5)), {"mode": "bicubic"}), ("Upsample", (), {"scale_factor": 1.7, "recompute_scale_factor": True}),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}), ("UpsamplingNearest2d", (5,), {}),
    ("UpsamplingBilinear2d", ((7, 8),), {}), ("UpsamplingBilinear2d", (), {"scale_factor": (2, 3)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS)
def test_layers_are_torch_s(name, args, kwargs):
    torch = need_torch()
    ours, theirs = (getattr(m.nn, name)(*args, **kwargs) for m in (lamina, torch))
    assert repr(ours) == repr(theirs)
    for key in theirs.__constants__:
        assert getattr(ours, key) == getattr(theirs, key), key
    assert ours.state_dict() == theirs.state_dict() == {}
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert repr(again) == repr(ours)
    assert isinstance(ours, nn.Upsample)
    compare(lambda m, x: {lamina: ours, torch: theirs}[m](x), data(2))


def test_layers_check_what_torch_s_check():
    same_error(lambda m: m.nn.Upsample(scale_factor=[2, 3]))
    same_error(lambda m: m.nn.Upsample(scale_factor="a"))
    same_error(lambda m, x: m.nn.Upsample()(x), data(2))
    same_error(lambda m, x: m.nn.Upsample(scale_factor=2, mode="linear")(x), data(2))
    assert repr(nn.Upsample(scale_factor=0)) == "Upsample(size=None, mode='nearest')"


def test_older_checkpoints_recompute():
    layer = nn.Upsample(scale_factor=2)
    state = dict(layer.__dict__)
    del state["recompute_scale_factor"]
    layer.__setstate__(state)
    assert layer.recompute_scale_factor is True


def test_docstring_examples():
    for name in nn.modules.upsampling.__all__:
        finder = doctest.DocTestFinder(recurse=False)
        for test in finder.find(getattr(nn, name), name, globs={"nn": nn, "lamina": lamina}):
            assert test.examples, name
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0, name


def test_no_warnings_of_numpy():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = lamina.tensor([[[[float("nan"), float("inf"), -float("inf"), 3e38, 3e38, 0.0]]]])
        for mode in ("nearest", "bilinear", "bicubic"):
            F.interpolate(x, (3, 9), mode=mode), F.interpolate(x.half(), (3, 9), mode=mode)
