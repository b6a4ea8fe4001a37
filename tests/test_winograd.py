"""Winograd's way to 3x3 convolutions: exact enough, never losing NaN or infinity, only where it pays, and with a switch."""

from __future__ import annotations

import numpy as np
import pytest
from support import need_torch

import lamina
import lamina.nn.functional as F
from lamina import engine as engines
from lamina.engine.onednn import conv, core, winograd

pytestmark = pytest.mark.skipif(not core.available(), reason="oneDNN is not installed")


@pytest.fixture(autouse=True)
def _one_thread():
    if engines.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    before = lamina.get_num_threads()
    lamina.set_num_threads(1)
    yield
    winograd.set_enabled(True)
    lamina.set_num_threads(before)


def used() -> set[str]:
    return {run.implementation for run in conv._forward.values() if run is not None}


def data(n, c, h, w, o, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (n, c, h, w), (o, c, 3, 3), (o,)
    x, k, b = (rng.standard_normal(s).astype("f4") for s in shapes)
    return x, k / np.float32(3 * np.sqrt(c)), b


SHAPES = [  # batch, channels, height, width, outputs, padding: whole tiles, tiles over the edge, several blocks, odd paddings
    (2, 64, 28, 28, 64, 1),
    (1, 64, 57, 43, 96, 1),
    (3, 128, 32, 31, 64, 0),
    (1, 96, 40, 40, 64, 2),
    (9, 128, 14, 14, 128, "same"),
]


@pytest.mark.parametrize(("n", "c", "h", "w", "o", "padding"), SHAPES)
@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_at_most_four_times_the_error_of_torch(n, c, h, w, o, padding, layout):
    torch = need_torch()
    x, k, _ = data(n, c, h, w, o)
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(k), padding=padding).numpy()
    true = torch.nn.functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(k).double(), padding=padding).numpy()
    if layout == "channels_last":
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    winograd.set_enabled(True)
    y = F.conv2d(lamina.from_numpy(x), lamina.from_numpy(k), padding=padding).numpy()
    assert used() == {"winograd"}
    assert y.shape == true.shape
    assert np.abs(y - true).max() <= 4 * np.abs(theirs - true).max()


def test_bias_and_gradients():
    x, k, b = data(1, 64, 40, 40, 64)
    results = []
    for on in (True, False):
        winograd.set_enabled(on)
        leaves = [lamina.from_numpy(a.copy()).requires_grad_() for a in (x, k, b)]
        y = F.conv2d(*leaves, padding=1)
        assert used() == {"winograd"} if on else "winograd" not in used()
        (y * y).sum().backward()
        results.append([y.detach().numpy(), *(t.grad.numpy() for t in leaves)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_as_in_the_direct_way(value):
    x, k, b = data(2, 64, 28, 28, 64)
    x[0, 3, 10, 17] = value
    results = []
    for on in (True, False):
        winograd.set_enabled(on)
        results.append(F.conv2d(*map(lamina.from_numpy, (x, k, b)), padding=1).numpy())
        assert ("winograd" in used()) == on
    np.testing.assert_array_equal(*results) if not np.isfinite(value) else np.testing.assert_allclose(*results, rtol=1e-3)


def test_a_new_weight_is_transformed_anew():
    x, k, _ = (lamina.from_numpy(a) for a in data(2, 64, 28, 28, 64))
    weight = k.clone()
    first = F.conv2d(x, weight).numpy().copy()
    weight.mul_(2)
    np.testing.assert_array_equal(F.conv2d(x, weight).numpy(), 2 * first)  # a power of two changes no digit
    assert used() == {"winograd"}


def test_only_where_it_pays():
    for shape, settings in (((1, 4, 28, 28, 4), {}), ((1, 256, 4, 4, 256), {}), ((1, 64, 56, 56, 64), {"stride": 2})):
        x, k, _ = (lamina.from_numpy(a) for a in data(*shape))
        F.conv2d(x, k, **settings)
    assert "winograd" not in used()


def test_switch_is_shown():
    from lamina._config import config

    assert config()["Winograd"] == "on"
    winograd.set_enabled(False)
    assert config()["Winograd"] == "off" and not winograd.enabled()
