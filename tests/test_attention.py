"""Scaled dot-product attention and `MultiheadAttention` against torch: values, gradients, masks, dropout, memory, errors."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same, compare, need_torch, same_error

import lamina
import lamina.nn.functional as F
from lamina import engine as engines
from lamina.autograd import gradcheck, gradgradcheck
from lamina.engine import door
from lamina.engine.onednn import attention as fast
from lamina.engine.reference import attention as reference
from lamina.ops import attention as ops

CLOSE = {"rtol": 1e-4, "atol": 3e-5}  # float32 sums of many products, added up in another order


def values(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def qkv(n, h, length, keys, width, wide=None, dtype="float32"):
    wide = width if wide is None else wide
    shapes = (n, h, length, width), (n, h, keys, width), (n, h, keys, wide)
    return [values(*s, dtype=dtype, seed=i) for i, s in enumerate(shapes)]


def attend(*masks, **settings):
    """Attention as a function of the module and tensors; arrays among ``masks`` become tensors without gradients."""

    def function(t, q, k, v, *more):
        given = [t.from_numpy(m) if isinstance(m, np.ndarray) else m for m in masks]
        return t.nn.functional.scaled_dot_product_attention(q, k, v, *given, *more, **settings)

    return function


SIZES = [
    (2, 3, 5, 7, 8, 8),
    (2, 3, 50, 70, 8, 6),
    (1, 2, 300, 256, 16, 16),  # rows of a multiple of 1 KB
    (3, 4, 1, 40, 16, 16),  # one token at a time
    (2, 2, 40, 1, 16, 16),
    (1, 1, 1, 1, 1, 1),
    (1, 2, 700, 600, 4, 4),  # several blocks of rows
    (0, 3, 5, 7, 8, 8),
    (2, 3, 0, 7, 8, 8),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_and_gradients(size, dtype, each_engine):
    inputs = qkv(*size, dtype=dtype)
    close = CLOSE if dtype == "float32" else {}
    compare(attend(), *inputs, **close)
    compare(attend(is_causal=True), *inputs, **close)
    compare(attend(scale=0.3), *inputs, **close)
    compare(attend(scale=1.7, is_causal=True), *inputs, **close)


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_other_ranks(rank, each_engine):
    lead = {2: (), 3: (3,), 5: (2, 1, 3)}[rank]
    q, k, v = values(*lead, 9, 8), values(*lead, 11, 8, seed=1), values(*lead, 11, 4, seed=2)
    compare(attend(), q, k, v, **CLOSE)
    compare(attend(is_causal=True), q, k, v, **CLOSE)
    compare(attend(scale=-0.5), q, k, v, **CLOSE)
    for shape in ((9, 11), (1, 11), (*lead, 9, 11), (*(1 for _ in lead), 9, 1)):
        compare(attend(), q, k, v, values(*shape, seed=3), **CLOSE)
    if rank > 3:
        compare(attend(), q, k, v, values(3, 9, 11, seed=3), **CLOSE)


def test_leading_dimensions_broadcast(each_engine):
    q, k, v = qkv(2, 3, 9, 11, 8)
    compare(attend(), q, k[:1], v[:1], **CLOSE)
    compare(attend(), q, k[:, :1], v[:, :1], **CLOSE)
    compare(attend(), q, k[0], v, **CLOSE)
    compare(attend(), q[:1], k, v, **CLOSE)


MASKS = [(20, 30), (2, 3, 20, 30), (2, 1, 1, 30), (1, 3, 20, 30), (2, 1, 20, 1), (3, 20, 30), (1, 30)]


@pytest.mark.parametrize("shape", MASKS, ids=str)
def test_masks(shape, each_engine):
    inputs = qkv(2, 3, 20, 30, 8)
    weights = values(*shape, seed=5)
    compare(attend(weights), *inputs, **CLOSE)
    compare(attend(), *inputs, weights, **CLOSE)  # with a gradient of its own
    compare(attend(weights > -1), *inputs, **CLOSE)
    compare(attend(np.where(weights > -1, 0, -np.inf).astype("float32")), *inputs, **CLOSE)
    wide = [a.astype("float64") for a in inputs]
    compare(attend(), *wide, weights.astype("float64"))
    single, double = (attend(m)(lamina, *map(lamina.from_numpy, wide)) for m in (weights, weights.astype("float64")))
    assert_same(single, double)  # torch reads the single mask as if it were double


def test_large_mask_gradients(each_engine):
    """Gradients of masks that several blocks add to."""
    inputs = qkv(2, 2, 400, 520, 4)
    for shape in ((400, 520), (1, 2, 1, 520), (2, 2, 400, 520)):
        compare(attend(), *inputs, values(*shape, seed=3), rtol=1e-4, atol=1e-4)


def test_mask_and_causal(each_engine):
    inputs, mask = qkv(2, 3, 200, 200, 8), values(200, 200, seed=4)
    compare(attend(mask > -1, is_causal=True), *inputs, **CLOSE)
    compare(attend(mask, is_causal=True), *inputs, **CLOSE)


@pytest.mark.parametrize("boolean", [True, False])
def test_rows_that_may_look_at_nothing(boolean, each_engine):
    inputs = qkv(2, 3, 40, 50, 8)
    mask = values(2, 1, 40, 50, seed=5) > -1
    mask[0, 0, 3] = mask[1, 0, 7:9] = False
    given = mask if boolean else np.where(mask, 0, -np.inf).astype("float32")
    compare(attend(given), *inputs, **CLOSE)
    y = F.scaled_dot_product_attention(*map(lamina.from_numpy, inputs), lamina.from_numpy(given))
    assert (y[0, :, 3] == 0).all() and (y[1, :, 7:9] == 0).all()
    with engines.usage() as used:
        F.scaled_dot_product_attention(*map(lamina.from_numpy, inputs), lamina.from_numpy(given))
    assert used["attention"][each_engine == "reference"] == 1
    left = np.ones((2, 1, 1, 40), bool)  # padding on the left of a causal model
    left[0, ..., :9] = False
    compare(attend(left, is_causal=True), *qkv(2, 3, 40, 40, 8), **CLOSE)


def test_layouts(each_engine):
    """Heads that are parts of wide rows, as projections leave them, and odd steps."""
    for axes in ((0, 2, 1, 3), (1, 2, 0, 3), (0, 1, 3, 2), (3, 2, 1, 0)):
        inverse = np.argsort(axes)
        inputs = [np.ascontiguousarray(a.transpose(inverse)).transpose(axes) for a in qkv(2, 3, 40, 40, 8)]
        compare(attend(is_causal=True), *inputs, **CLOSE)
    wide = [values(2, 40, 3, 48, seed=i)[..., 16:24].transpose(0, 2, 1, 3) for i in range(3)]
    compare(attend(), *wide, **CLOSE)


def test_the_result_lies_like_the_query():
    for axes in ((0, 1, 2, 3), (0, 2, 1, 3)):
        q, k, v = (np.ascontiguousarray(a.transpose(axes)).transpose(axes) for a in qkv(2, 3, 5, 5, 8))
        ours, theirs = (attend()(t, *map(t.from_numpy, (q, k, v))) for t in (lamina, need_torch()))
        assert ours.stride() == theirs.stride()


def test_special_values(each_engine):
    q, k, v = qkv(2, 2, 40, 50, 8)
    for special in (np.inf, -np.inf, np.nan):
        a = q.copy()
        a[0, 1, 3] = special
        # torch's fused kernel loses NaN here, its composed one (for three dimensions) does not.
        compare(attend(), a[0], np.abs(k[0]) + 1, v[0], grad=False, **CLOSE)
        a = v.copy()
        a[1, 0, 4, 2] = special
        compare(attend(), q, k, a, grad=False, **CLOSE)
    huge = q.copy()
    huge[0, 0, 0] = 1e20
    compare(attend(), huge, k, v, grad=False, **CLOSE)


def test_half_precision():
    inputs = [a.astype("float16") for a in qkv(2, 3, 20, 30, 8)]
    for mask in (None, np.tri(20, 30, dtype=bool), values(20, 30, dtype="float16")):
        compare(attend(mask), *inputs, grad=False, rtol=2e-3, atol=2e-3)
    ours = [lamina.from_numpy(a).requires_grad_() for a in inputs]
    wide = [lamina.from_numpy(a.astype("float32")).requires_grad_() for a in inputs]
    for tensors in (ours, wide):
        F.scaled_dot_product_attention(*tensors).sum().backward()
    for a, b in zip(ours, wide, strict=True):
        assert a.grad.dtype == lamina.float16
        np.testing.assert_allclose(a.grad.float().numpy(), b.grad.numpy(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("heads", [(6, 3, 3), (6, 1, 1), (6, 3, 2), (4, 4, 4)], ids=str)
def test_grouped_queries(heads, each_engine):
    q, k, v = values(2, heads[0], 9, 8), values(2, heads[1], 11, 8, seed=1), values(2, heads[2], 11, 8, seed=2)
    compare(attend(enable_gqa=True), q, k, v, **CLOSE)
    compare(attend(enable_gqa=True, is_causal=True), q[0], k[0], v[0], **CLOSE)


def test_no_keys_and_no_width(each_engine):
    compare(attend(), *qkv(2, 3, 5, 0, 8), grad=False)
    q, k, v = qkv(2, 3, 5, 7, 0, 8)
    compare(attend(), q, k, v, grad=False, **CLOSE)


# -- dropout -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("size", [(2, 3, 5, 7, 8, 8), (3, 2, 130, 150, 8, 8), (1, 2, 700, 500, 4, 4)], ids=str)
def test_dropout_draws_torchs_numbers(size, kept, each_engine, monkeypatch):
    if not kept:
        monkeypatch.setattr(ops, "KEPT", 0)
    mask = np.tri(size[2], size[3], dtype=bool)
    for p, settings_ in ((0.3, {}), (0.9, {"is_causal": True}), (0.5, {"attn_mask": mask}), (1.0, {})):

        def function(t, q, k, v, p=p, settings_=settings_):
            t.manual_seed(3)
            given = {n: t.from_numpy(a) if n == "attn_mask" else a for n, a in settings_.items()}
            y = t.nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=p, **given)
            return y, t.rand(3)  # the stream goes on where torch's does

        compare(function, *qkv(*size), rtol=1e-4, atol=1e-4)


# -- gradients of gradients ----------------------------------------------------------------------------------------


def test_gradients_of_gradients(each_engine):
    q, k, v = (lamina.from_numpy(a).requires_grad_() for a in qkv(1, 2, 3, 4, 2, dtype="float64"))
    m = lamina.from_numpy(values(3, 4, dtype="float64", seed=4)).requires_grad_()
    f = F.scaled_dot_product_attention
    hides = lamina.tensor([[True, False, True, True], [False] * 4, [True] * 4])
    for function, inputs in (
        (lambda q, k, v: f(q, k, v), (q, k, v)),
        (lambda q, k, v: f(q, k, v, is_causal=True, scale=0.7), (q, k, v)),
        (lambda q, k, v, m: f(q, k, v, m), (q, k, v, m)),
        (lambda q, k, v: f(q, k, v, hides), (q, k, v)),
        (lambda q, k, v: f(q[0, :1], k[0, :1], v[0, :1]), (q, k, v)),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)

    def dropped(q, k, v):
        lamina.manual_seed(1)
        return f(q, k, v, dropout_p=0.5)

    assert gradcheck(dropped, (q, k, v))
    assert gradgradcheck(dropped, (q, k, v))


# -- engines and memory --------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 3),
    h=st.integers(1, 3),
    rows=st.integers(1, 40),
    keys=st.integers(1, 300),
    width=st.integers(1, 20),
    causal=st.booleans(),
    mask=st.sampled_from([None, (1, 1, 1, 1), (0, 1, 1, 1), (1, 0, 0, 1), (0, 0, 0, 0), (1, 1, 0, 0)]),
    boolean=st.booleans(),
    order=st.permutations(range(3)),
    seed=st.integers(0, 99),
    keep=st.booleans(),
)
def test_the_two_engines_agree(n, h, rows, keys, width, causal, mask, boolean, order, seed, keep):
    if door.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    q, k, v = qkv(n, h, rows, keys, width)
    axes = (*order, 3)
    q = np.ascontiguousarray(q.transpose(axes)).transpose(np.argsort(axes))
    if mask is not None:
        shape = [1 if one else size for one, size in zip(mask, (n, h, rows, keys), strict=True)]
        mask = values(*shape, seed=seed)
        mask = mask > -0.5 if boolean else mask
    settings_ = mask, 0.3, causal, None
    with engines.engine("onednn"):
        found = fast.attention(q, k, v, *settings_, axes, keep)
        expected, _ = reference.attention(q, k, v, *settings_, axes)
        if found is NotImplemented:
            return
        y, kept = found
        assert (kept is None) == (not keep or n * h * rows * keys > reference.KEPT)
        np.testing.assert_allclose(y, expected, **CLOSE)
        out, grad = expected.transpose(np.argsort(axes)), values(n, h, rows, width, seed=7)
        orders = axes, (0, 1, 2, 3), (2, 1, 0, 3)
        wants = mask is not None and not boolean
        theirs = reference.attention_backward(grad, q, k, v, out, None, *settings_, orders, wants)
        for kind, weights in itertools.product((fast, reference), (kept, None)):
            ours = kind.attention_backward(grad, q, k, v, out, weights, *settings_, orders, wants)
            if ours is NotImplemented:
                return
            for a, b in zip(ours, theirs, strict=True):
                assert (a is None) == (b is None)
                if a is not None:
                    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_which_engine(each_engine):
    q, k, v = (lamina.from_numpy(a).requires_grad_() for a in qkv(2, 4, 64, 64, 32))
    for settings_ in ({}, {"is_causal": True}, {"dropout_p": 0.1}, {"attn_mask": lamina.zeros(64, 64)}):
        with engines.usage() as used:
            F.scaled_dot_product_attention(q, k, v, **settings_).sum().backward()
        for name in ("attention", "attention_backward"):
            assert used[name][:2] == ((1, 0) if each_engine == "onednn" else (0, 1))


def test_memory_does_not_grow_with_the_square(each_engine):
    """The weights of a head of 4096 tokens are 64 MB; a pass forward and backward takes less than a quarter of them."""
    tracemalloc.start()
    q, k, v = (lamina.from_numpy(a).requires_grad_() for a in qkv(1, 1, 4096, 4096, 4))
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 16 << 20


# -- bad input -----------------------------------------------------------------------------------------------------


def test_errors():
    q, k, v = qkv(2, 3, 5, 7, 8)
    for shape in ((4, 7), (2, 3, 7, 5)):
        same_error(attend(np.ones(shape, bool)), q, k, v, match="attn_mask of shape")
    same_error(attend(), q[0, 0, 0], k[0, 0], v[0, 0], match="at least 2 dimensional")
    same_error(attend(), q, k.astype("float64"), v, match="same dtype")
    same_error(attend(np.ones((5, 7), "int64")), q, k, v, match="attn_mask dtype")
    same_error(attend(np.ones((5, 7), "float64")), q, k, v, match="attn_mask dtype")
    same_error(attend(), q, values(2, 3, 7, 9), v, match="last dimension")
    same_error(attend(dropout_p=2.0), q, k, v, match="between 0 and 1")
    same_error(attend(dropout_p=-1.0), q, k, v, match="between 0 and 1")
    same_error(attend(), values(2, 6, 5, 8), k, v, match="do not fit")
    same_error(attend(enable_gqa=True), values(2, 5, 5, 8), k, v, match="must divide")
    same_error(attend(enable_gqa=True), q[0, 0], k[0, 0], v[0, 0])
    same_error(attend(), *(a.astype("int64") for a in (q, k, v)), match="scalar type")
    same_error(attend(), *(a.astype("complex64") for a in (q, k, v)), match="not implemented")
    same_error(lambda t, k, v: t.nn.functional.scaled_dot_product_attention(None, k, v), k, v, match="must be Tensor")
    same_error(lambda t, q, k, v: t.nn.functional.scaled_dot_product_attention(q, k, v, [1]), q, k, v, match="attn_mask")
    with pytest.raises(RuntimeError, match="as many keys as values"):  # torch reads past the end
        F.scaled_dot_product_attention(*map(lamina.from_numpy, (q, k, v[:, :, :6])))
    assert math.isfinite(F.scaled_dot_product_attention(*map(lamina.from_numpy, (q, k, v))).sum())
