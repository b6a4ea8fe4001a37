"""`MultiheadAttention` and its function against torch: projections, masks, weights, extra keys, layouts, seeds, errors."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
import lamina.nn.functional as F
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck

CLOSE = {"rtol": 1e-4, "atol": 3e-5}  # float32 sums of many products, added up in another order


def values(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def both(*args, **kwargs):
    """The same layer of both libraries: torch's weights are copied, biases get random values."""
    torch = need_torch()
    lamina.manual_seed(0), torch.manual_seed(0)
    ours, theirs = (
        t.nn.MultiheadAttention(*args, **{k: getattr(t, v) if k == "dtype" else v for k, v in kwargs.items()})
        for t in (lamina, torch)
    )
    for name, p in theirs.named_parameters():
        if "bias" in name:
            p.data.copy_(torch.from_numpy(values(*p.shape, seed=9)))
        dict(ours.named_parameters())[name].data.copy_(lamina.from_numpy(p.detach().numpy()))
    return {lamina: ours, torch: theirs}


def check(layers, *inputs, train=True, **settings):
    """The same output, weights, and gradients of inputs and parameters; arrays among the settings become tensors."""
    for layer in layers.values():
        layer.train(train).zero_grad()

    def function(t, *tensors):
        given = {k: t.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
        if len(tensors) == 1:
            tensors *= 3
        elif len(tensors) == 2:
            tensors = (*tensors, tensors[1])
        y, w = layers[t](*tensors, **given)
        return y if w is None else (y, w)

    compare(function, *inputs, **CLOSE)
    ours, theirs = layers.values()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if q.grad is not None:
            assert_same(p.grad, q.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_self_and_cross_attention(batch_first, need_weights, training, each_engine):
    layers = both(16, 4, batch_first=batch_first)
    x, y = values(6, 3, 16), values(3, 6, 16, seed=1) if batch_first else values(9, 3, 16, seed=1)
    if batch_first:
        x = values(3, 5, 16)
    check(layers, x, need_weights=need_weights, train=training)
    check(layers, x, y, need_weights=need_weights, train=training)
    check(layers, x, y, y + 1, need_weights=need_weights, train=training)
    check(layers, x, need_weights=need_weights, average_attn_weights=False, train=training)


@pytest.mark.parametrize("need_weights", [False, True])
def test_unbatched(need_weights, each_engine):
    for batch_first in (False, True):
        layers = both(16, 2, batch_first=batch_first)
        x, y = values(6, 16), values(9, 16, seed=1)
        check(layers, x, need_weights=need_weights)
        check(layers, x, y, need_weights=need_weights, average_attn_weights=False)
        check(layers, x, y, need_weights=need_weights, key_padding_mask=np.arange(9) > 6)
        check(layers, x, y, need_weights=need_weights, attn_mask=values(2, 6, 9))
        check(layers, x, y, need_weights=need_weights, attn_mask=values(6, 9) > 1)


ARGUMENTS = [
    {"bias": False},
    {"kdim": 10},
    {"vdim": 12},
    {"kdim": 10, "vdim": 12, "bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 10, "vdim": 12, "batch_first": True},
    {"dtype": "float64"},
]


@pytest.mark.parametrize("kwargs", ARGUMENTS, ids=str)
@pytest.mark.parametrize("need_weights", [False, True])
def test_arguments(kwargs, need_weights, each_engine):
    layers = both(16, 4, **kwargs)
    kind = kwargs.get("dtype", "float32")
    n, keys = (3, 5) if kwargs.get("batch_first") else (5, 3)
    q = values(3, 6, 16, dtype=kind) if kwargs.get("batch_first") else values(6, 3, 16, dtype=kind)
    k, v = (values(n, keys, kwargs.get(name, 16), dtype=kind, seed=i) for i, name in ((1, "kdim"), (2, "vdim")))
    check(layers, q, k, v, need_weights=need_weights)
    padding = values(3, 5, seed=4) > 0.5
    padding[:, 0] = False
    for attn in (values(6, 5, seed=3) > 1, values(12, 6, 5, seed=3) > 1.5):
        attn[..., 0] = False
        check(layers, q, k, v, need_weights=need_weights, attn_mask=attn)
        check(layers, q, k, v, need_weights=need_weights, attn_mask=attn, key_padding_mask=padding)
    check(layers, q, k, v, need_weights=need_weights, key_padding_mask=padding)


@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_that_are_added(need_weights, each_engine):
    layers = both(16, 4, batch_first=True)
    x = values(3, 6, 16)
    padding, attn = values(3, 6, seed=4), values(6, 6, seed=5)
    check(layers, x, need_weights=need_weights, key_padding_mask=padding)
    check(layers, x, need_weights=need_weights, attn_mask=attn)
    check(layers, x, need_weights=need_weights, attn_mask=attn, key_padding_mask=padding)
    check(layers, x, need_weights=need_weights, attn_mask=values(12, 6, 6, seed=5), key_padding_mask=padding)
    with pytest.warns(UserWarning, match="mismatched"):
        layers[lamina](*[lamina.from_numpy(x)] * 3, lamina.from_numpy(padding > 1), attn_mask=lamina.from_numpy(attn))


@pytest.mark.parametrize("need_weights", [False, True])
def test_causal(need_weights, each_engine):
    layers = both(16, 4)
    x, mask = values(7, 2, 16), np.triu(np.ones((7, 7), bool), 1)
    check(layers, x, need_weights=need_weights, attn_mask=mask, is_causal=True)
    check(layers, x, need_weights=need_weights, attn_mask=mask)
    padding = np.zeros((2, 7), bool)
    padding[1, 5:] = True
    check(layers, x, need_weights=need_weights, attn_mask=mask, key_padding_mask=padding, is_causal=True)


@pytest.mark.parametrize("need_weights", [False, True])
def test_dropout_draws_torchs_numbers(need_weights, each_engine):
    layers = both(16, 4, dropout=0.3)
    layers[lamina].train(), layers[need_torch()].train()

    def function(t, x):
        t.manual_seed(5)
        y, w = layers[t](x, x, x, need_weights=need_weights)
        return y if w is None else (y, w)

    compare(function, values(7, 2, 16), **CLOSE)


@pytest.mark.parametrize("kwargs", [{}, {"kdim": 10, "vdim": 12}, {"bias": False}, {"add_bias_kv": True}], ids=str)
def test_the_seed_draws_torchs_parameters(kwargs):
    torch = need_torch()
    lamina.manual_seed(7), torch.manual_seed(7)
    ours, theirs = nn.MultiheadAttention(16, 4, **kwargs), torch.nn.MultiheadAttention(16, 4, **kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for (key, p), q in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        exact = key not in ("bias_k", "bias_v")  # normal numbers agree to the last digit or so
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=0 if exact else 1e-6)
    assert lamina.rand(1).item() == torch.rand(1).item()


def test_gradients_of_gradients():
    layer = nn.MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True, dtype=lamina.float64)
    x = lamina.from_numpy(values(3, 2, 4, dtype="float64")).requires_grad_()
    for need in (False, True):
        assert gradcheck(lambda x, need=need: layer(x, x, x, need_weights=need)[0], (x,))
        assert gradgradcheck(lambda x, need=need: layer(x, x, x, need_weights=need)[0], (x,))


def test_the_function_with_static_keys():
    torch = need_torch()
    layers = both(16, 4)

    def function(t, x, k, v, separate=False):
        layer = layers[t]
        w = layer.in_proj_weight
        a, b, c = w.split(16)
        return t.nn.functional.multi_head_attention_forward(
            x, x, x, 16, 4, None if separate else w, layer.in_proj_bias, None, None, False, 0.0, layer.out_proj.weight,
            layer.out_proj.bias, use_separate_proj_weight=separate, q_proj_weight=a if separate else None,
            k_proj_weight=b if separate else None, v_proj_weight=c if separate else None, static_k=k, static_v=v,
        )  # fmt: skip

    x, k, v = values(6, 2, 16), values(8, 6, 4, seed=1), values(8, 6, 4, seed=2)
    compare(function, x, k, v, **CLOSE)
    compare(lambda t, *a: function(t, *a, separate=True), x, k, v, **CLOSE)
    compare(lambda t, x: function(t, x, None, None, separate=True), x, **CLOSE)
    ours, theirs = ([t.from_numpy(a) for a in (x, k[:7], v)] for t in (lamina, torch))
    for t, tensors in ((lamina, ours), (torch, theirs)):
        with pytest.raises(AssertionError):
            function(t, *tensors)


def test_merge_masks():
    torch = need_torch()
    layers = both(16, 4, batch_first=True)
    masks = [None, values(6, 6), values(12, 6, 6)]
    for attn, padding in itertools.product(masks, [None, values(3, 6)]):
        results = []
        for t in (lamina, torch):
            tensors = [None if m is None else t.from_numpy(m) for m in (attn, padding)]
            results.append(layers[t].merge_masks(*tensors, t.zeros(3, 6, 16)))
        assert_same(*results)


def test_zero_sizes(each_engine):
    layers = both(8, 2)
    for need in (False, True):
        check(layers, values(4, 0, 8), need_weights=need)


def test_copies():
    layer = nn.MultiheadAttention(8, 2)
    twin = copy.deepcopy(layer)
    x = lamina.randn(3, 1, 8)
    assert_same(twin(x, x, x)[0], layer(x, x, x)[0])


def test_half_precision():
    x = values(5, 2, 16, dtype="float16")
    layers = both(16, 4)
    for layer in layers.values():
        layer.half()
    for need in (False, True):
        ours, theirs = (layers[t](*[t.from_numpy(x)] * 3, need_weights=need)[0] for t in layers)
        assert_same(ours, theirs, rtol=5e-3, atol=5e-3)


def test_errors():
    for args, match in (((0, 2), "greater than 0"), ((8, -1), "greater than 0"), ((8, 3), "divisible")):
        same_error(lambda t, a=args: t.nn.MultiheadAttention(*a), match=match)
    x, y = values(6, 2, 16), values(9, 2, 16)
    layers = both(16, 4)

    def wrong(*inputs, match=None, **settings):
        def function(t, *tensors):
            given = {k: t.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
            return layers[t](*tensors, **given)

        same_error(function, *inputs, match=match)

    wrong(x[None], x[None], x[None], match="2D or batched 3D")
    wrong(x, x[0], x[0], match="3-D")
    wrong(x[0], x, x, match="2-D")
    wrong(x, x, y, match="key shape")
    wrong(x[..., :8], x[..., :8], x[..., :8], match="embedding dimension of 16")
    wrong(x, y, y, key_padding_mask=np.zeros((2, 8), bool), match="key_padding_mask")
    wrong(x, y, y, key_padding_mask=np.zeros(9, bool), match="key_padding_mask")
    wrong(x, y, y, key_padding_mask=np.zeros((2, 9), "int64"), match="bool and floating")
    wrong(x, y, y, attn_mask=np.zeros((6, 8), bool), match="2D attn_mask")
    wrong(x, y, y, attn_mask=np.zeros((2, 6, 9), bool), match="3D attn_mask")
    wrong(x, y, y, attn_mask=np.zeros((1, 2, 6, 9), bool), match="2-D or 3-D")
    wrong(x[:, 0], y[:, 0], y[:, 0], attn_mask=np.zeros((2, 6, 9), bool), match="attn_mask")
    wrong(x, x, x, is_causal=True, match="Need attn_mask")
    with pytest.raises(TypeError, match="must be Tensor"):
        layers[lamina](None, lamina.from_numpy(x), lamina.from_numpy(x))
    layers = both(16, 4, kdim=10, vdim=12)
    wrong(x, y[..., :10], y[:8, :, :12], match="do not match")
    wrong(x, y[..., :9], y[..., :12], match="key weights")
    same_error(
        lambda t, x: t.nn.functional.multi_head_attention_forward(
            x, x, x, 16, 4, t.zeros(48, 16), None, t.zeros(1, 1, 16), None, False, 0.0, t.zeros(16, 16), None
        ),
        x,
    )
    assert F.multi_head_attention_forward is not None
