"""No fast kernel without a comparison: each is named in a test file that compares both forms on generated arrays.

The kernels whose family has no such test of its own are compared here: the optimisers' updates and the cross entropy.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import both_forms

from lamina.engine import kernels

FAST = sorted(kernel.name for kernel in kernels if kernel.fast is not None)
TEXTS = [text for text in (p.read_text(encoding="utf8") for p in Path(__file__).parent.glob("test_*.py")) if "@given" in text]
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, 1e-38)


def test_there_are_fast_kernels():
    assert len(FAST) > 30 and {"conv", "matmul", "max_pool", "rnn_layer", "relu"} <= set(FAST)


@pytest.mark.parametrize("name", FAST)
def test_each_fast_kernel_is_compared_with_its_definition(name):
    base = name.removesuffix("_backward")  # some tests put the two names together
    mention = re.compile(rf"""["'.]({name}|{base})\b|\b{name}\(""")
    assert any(mention.search(text) for text in TEXTS), f"no property test names the kernel {name}"


def assert_close(ours, theirs, tolerance=1e-5):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@st.composite
def like_arrays(draw, count):
    """Arrays of one shape, alike in memory or not, with a special value now and then."""
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = []
    for _ in range(count):
        a = rng.standard_normal(shape).astype("float32")
        if a.size and draw(st.booleans()):
            a.flat[draw(st.integers(0, a.size - 1))] = draw(st.sampled_from(SPECIAL))
        arrays.append(np.asfortranarray(a) if draw(st.booleans()) else a)
    return arrays


@pytest.mark.parametrize("size", [200_000, 1_500_001])
def test_hardtanh_in_parts(size):
    """Large enough to be shared among threads, in parts the last of which is not a whole one."""
    x = np.random.default_rng(0).standard_normal((1, 4, size // 4, 1)).astype("float32") * 5
    x.flat[[0, 7, -1]] = np.nan, np.inf, np.nan
    for a in (x, x.swapaxes(1, 2)):
        np.testing.assert_array_equal(*both_forms(lambda a=a: kernels.hardtanh(a, 0.0, 6.0)))


@settings(max_examples=80, deadline=None)
@given(like_arrays(2), *(st.sampled_from([0.0, 0.1, -0.37, 2.5, -40.0, 123.456, np.inf, -np.inf]),) * 2)
def test_threshold(arrays, limit, value):
    np.testing.assert_array_equal(*both_forms(lambda: kernels.threshold(arrays[0], limit, value)))
    np.testing.assert_array_equal(*both_forms(lambda: kernels.threshold_backward(*arrays, limit, value)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 3), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5), st.sampled_from("fdlb"), st.booleans())
def test_channel_shuffle(n, groups, members, width, kind, turned):
    x = np.arange(n * groups * members * 2 * width).reshape(n, groups * members, 2, width).astype(kind)
    x = np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1) if turned else x
    theirs, ours = both_forms(lambda: kernels.channel_shuffle(x, groups))
    np.testing.assert_array_equal(theirs, ours)
    assert ours.dtype == x.dtype and ours.flags.c_contiguous and not np.shares_memory(ours, x)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 11), max_size=2), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.sampled_from("fdlb"))
def test_pixel_shuffle(lead, r, channels, width, kind):
    x = np.arange(int(np.prod(lead)) * channels * r**2 * 2 * width).reshape(*lead, channels * r**2, 2, width).astype(kind)
    for given_x in (x, np.moveaxis(np.moveaxis(x, -3, -1).copy(), -1, -3)):
        theirs, ours = both_forms(lambda x=given_x: kernels.pixel_shuffle(x, r))
        np.testing.assert_array_equal(theirs, ours)
    for given_x in (ours, np.asfortranarray(ours)):
        for back in both_forms(lambda x=given_x: kernels.pixel_unshuffle(x, r)):
            np.testing.assert_array_equal(back, x)


@pytest.mark.parametrize("special", [(), (np.nan,), (np.inf,), (-np.inf, np.inf)])
def test_masks_of_large_gradients(special):
    """A gradient that is infinite or NaN is no matter where it is cut off, wherever in the array that is."""
    size = (1 << 20) + (1 << 15) + 77  # with more than one thread, more than one block, the last of an odd size
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, size)) * 3).astype("float32")
    for places in ([5], [size - 1], [size - 200, 4000]):
        grad = rng.standard_normal((1, size)).astype("float32")
        for value in special:
            grad[0, places] = value
        for run in (
            lambda g=grad: kernels.relu_backward(g, x), lambda g=grad: kernels.hardtanh_backward(g, x, 0.0, 6.0),
            lambda g=grad: kernels.hardswish_backward(g, x), lambda g=grad: kernels.shrink_backward(g, x, 0.5),
            lambda g=grad: kernels.threshold_backward(g, x, 0.1, 0.0), lambda g=grad: kernels.hardsigmoid(g),
        ):  # fmt: skip
            np.testing.assert_allclose(*both_forms(run), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale, shift", [(1, 0), (1, 6), (1, 30), (1, -30), (30, 0), (1000, 0)])
def test_log_softmax_of_rows_that_need_a_maximum_and_others(scale, shift):
    x = np.random.default_rng(0).standard_normal((40, 500)).astype("float32")
    x[7:20] *= scale
    x[20:30] += shift
    x[30, 4], x[31, 5], x[32, 6] = np.nan, -np.inf, np.inf
    for a in (x[:30], x[25:32], x):
        assert_close(*([b] for b in both_forms(lambda a=a: kernels.log_softmax(a, 1))), 2e-6)
    grad = np.ones_like(x[:30])
    assert_close(*([b] for b in both_forms(lambda: kernels.log_softmax_backward(grad, kernels.log_softmax(x[:30], 1), 1))), 2e-4)


number = st.sampled_from([0.0, 0.1, 0.9])


@settings(max_examples=60, deadline=None)
@given(like_arrays(3), number, number, number, *(st.booleans(),) * 4)
def test_sgd_update(arrays, momentum, dampening, decay, buffered, nesterov, maximize, first):
    def run():
        p, grad, buffer = (a.copy(order="K") for a in arrays)
        if first:
            buffer.fill(0)  # as the optimiser makes it
        kernels.sgd_update(p, grad, buffer if buffered else None, 0.1, momentum, dampening, decay, nesterov, maximize, first)
        return p, buffer

    assert_close(*both_forms(run))


@settings(max_examples=60, deadline=None)
@given(like_arrays(5), st.integers(1, 5), number, *(st.booleans(),) * 3)
def test_adam_update(arrays, step, decay, amsgrad, decoupled, maximize):
    def run():
        p, grad, m, v, largest = (a.copy(order="K") for a in arrays)
        np.abs(v, out=v)
        np.abs(largest, out=largest)
        settings_ = (float(step), 1e-3, 0.9, 0.999, 1e-8, decay, decoupled, maximize)
        kernels.adam_update(p, grad, m, v, largest if amsgrad else None, *settings_)
        return p, m, v, largest

    assert_close(*both_forms(run))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cross_entropy(data):
    n, classes = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 9))
    inner = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    if data.draw(st.booleans()):  # an image, which is normalised across
        n, classes, inner = data.draw(st.integers(1, 2)), data.draw(st.integers(6, 9)), (65, data.draw(st.integers(80, 90)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = (3 * rng.standard_normal((n, classes, *inner))).astype("float32")
    if data.draw(st.booleans()):
        x.flat[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from(SPECIAL))
    target = rng.integers(0, classes, (n, *inner))
    keep = rng.random(target.shape) < 0.7 if data.draw(st.booleans()) else None
    weight = rng.random(classes).astype("float32") if data.draw(st.booleans()) else None
    smoothing = data.draw(st.sampled_from([0.0, 0.1]))
    reduction = data.draw(st.sampled_from(["none", "sum", "mean"]))

    def run():
        loss, kept = kernels.cross_entropy(x, target, keep, weight, smoothing, reduction)
        e, total_e, hit, total, other, denominator = kept
        grad = np.ones_like(loss)
        return loss, kernels.cross_entropy_backward(e, grad, total_e, target, keep, hit, total, other, denominator)

    assert_close(*both_forms(run))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=5), st.sampled_from(["constant", "reflect", "replicate", "circular"]),
    st.booleans(), st.data(),
)  # fmt: skip
def test_pad(shape, mode, channels_last, data):
    most = {"constant": 9, "replicate": 9}
    pairs = tuple(
        tuple(data.draw(st.integers(-(n > 2), most.get(mode, n - 1))) for _ in range(2)) if data.draw(st.booleans()) else (0, 0)
        for n in shape
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype("float32")
    grad = rng.standard_normal([n + lo + hi for n, (lo, hi) in zip(shape, pairs, strict=True)]).astype("float32")
    if channels_last and len(shape) > 2:
        x, grad = (np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in (x, grad))
    ours, theirs = both_forms(lambda: kernels.pad(x, pairs, mode, 1.5))
    np.testing.assert_array_equal(ours, theirs)
    assert_close(*[[g] for g in both_forms(lambda: kernels.pad_backward(grad, tuple(shape), pairs, mode))])
