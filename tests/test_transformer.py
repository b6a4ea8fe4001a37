"""The transformer's layers, stacks and whole against torch: values, gradients, masks, seeds, warnings, errors."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck

CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # several float32 layers


def values(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def resolved(t, kwargs):
    """Settings, with names of activations and dtypes looked up in a library."""
    names = {"dtype": lambda v: getattr(t, v), "activation": lambda v: eval(v, {"t": t, "F": t.nn.functional}) if "." in v else v}
    return {k: names[k](v) if k in names else v for k, v in kwargs.items()}


def both(make):
    """What ``make(t)`` builds with one seed in both libraries; the parameters are then torch's and not trivial."""
    torch = need_torch()
    layers = {}
    for t in (lamina, torch):
        t.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layers[t] = make(t)
    ours = dict(layers[lamina].named_parameters())
    for i, (name, p) in enumerate(layers[torch].named_parameters()):
        if p.dim() == 1:
            p.data.add_(torch.from_numpy(values(*p.shape, seed=i).astype(str(p.dtype)[6:])) * 0.3)
        ours[name].data.copy_(lamina.from_numpy(p.detach().numpy()))
    return layers


def tensors(t, settings):
    return {k: t.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}


def check(layers, *inputs, train=False, **settings):
    """The same output and the same gradients of inputs and parameters."""
    for layer in layers.values():
        layer.train(train).zero_grad()

    def function(t, *given):
        t.manual_seed(3)
        return layers[t](*given, **tensors(t, settings))

    compare(function, *inputs, **CLOSE)
    ours, theirs = layers.values()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if q.grad is not None:
            assert_same(p.grad, q.grad, rtol=2e-3, atol=5e-4)


ARGUMENTS = [
    {},
    {"batch_first": True, "activation": "gelu"},
    {"norm_first": True, "activation": "F.gelu"},
    {"bias": False, "activation": "t.nn.Tanh()"},
    {"layer_norm_eps": 1e-2, "batch_first": True, "norm_first": True, "dropout": 0.0, "activation": "t.sigmoid"},
    {"batch_first": True, "norm_first": True},
    {"dtype": "float64", "activation": "t.nn.GELU()"},
]


@pytest.mark.parametrize("kwargs", ARGUMENTS, ids=str)
def test_encoder_layer(kwargs, each_engine):
    layers = both(lambda t: t.nn.TransformerEncoderLayer(16, 4, 24, **resolved(t, kwargs)))
    kind, first = kwargs.get("dtype", "float32"), kwargs.get("batch_first")
    x = values(*((3, 7) if first else (7, 3)), 16, dtype=kind)
    padding = np.zeros((3, 7), bool)
    padding[1, 5:] = padding[2, 6:] = True
    mask = np.triu(np.ones((7, 7), bool), 1)
    check(layers, x)
    check(layers, x, train=True)
    check(layers, x, src_mask=mask)
    check(layers, x, src_mask=mask, is_causal=True)
    check(layers, x, src_key_padding_mask=padding)
    check(layers, x, src_mask=mask, src_key_padding_mask=padding)
    check(layers, x, src_mask=values(12, 7, 7, dtype=kind), src_key_padding_mask=values(3, 7, dtype=kind))
    check(layers, x[0] if first else x[:, 0], src_mask=mask)
    ours, theirs = layers.values()
    with lamina.no_grad(), need_torch().no_grad():  # torch's shorter way
        ours.eval(), theirs.eval()
        for settings in ({}, {"src_mask": mask}, {"src_key_padding_mask": padding}):
            results = [layer(t.from_numpy(x), **tensors(t, settings)) for t, layer in layers.items()]
            assert_same(*results, **CLOSE)


@pytest.mark.parametrize("kwargs", ARGUMENTS, ids=str)
def test_decoder_layer(kwargs, each_engine):
    layers = both(lambda t: t.nn.TransformerDecoderLayer(16, 4, 24, **resolved(t, kwargs)))
    kind, first = kwargs.get("dtype", "float32"), kwargs.get("batch_first")
    x = values(*((3, 7) if first else (7, 3)), 16, dtype=kind)
    y = values(*((3, 9) if first else (9, 3)), 16, dtype=kind, seed=1)
    causal = np.triu(np.ones((7, 7), bool), 1)
    padding = values(3, 9, seed=4) > 1
    padding[:, 0] = False
    other = values(7, 9, seed=5) > 1
    other[:, 0] = False
    check(layers, x, y)
    check(layers, x, y, train=True)
    check(layers, x, y, tgt_mask=causal, tgt_is_causal=True, memory_key_padding_mask=padding)
    check(layers, x, y, tgt_mask=causal, memory_mask=other, tgt_key_padding_mask=padding[:, :7], memory_key_padding_mask=padding)
    check(layers, x[0] if first else x[:, 0], y[0] if first else y[:, 0], tgt_mask=causal)


def test_encoder(each_engine):
    for kwargs in ({"batch_first": True}, {"norm_first": True}):
        layers = both(
            lambda t, kw=kwargs: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(16, 4, 24, **kw), 2, t.nn.LayerNorm(16))
        )
        first = "batch_first" in kwargs
        x = values(*((3, 7) if first else (7, 3)), 16)
        causal = nn.Transformer.generate_square_subsequent_mask(7).numpy()
        padding = np.arange(7) >= np.array([[7], [5], [6]])
        check(layers, x, train=True)
        check(layers, x, mask=causal)
        check(layers, x, mask=causal == 0)
        check(layers, x, mask=causal, is_causal=True)
        check(layers, x, src_key_padding_mask=padding)
        check(layers, x, mask=causal != 0, src_key_padding_mask=padding)


@pytest.mark.parametrize("kind", ["bool", "float32"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_padded_positions_are_zeros_where_torchs_are(aligned, kind):
    padding = np.arange(7) >= np.array([[7], [5], [6]])
    if not aligned:
        padding = padding[:, ::-1].copy()
    given = padding if kind == "bool" else np.where(padding, -np.inf, 0).astype("float32")
    for settings in ({}, {"enable_nested_tensor": False}):

        def make(t, settings=settings):
            layer = t.nn.TransformerEncoderLayer(16, 4, 24, batch_first=True)
            return t.nn.TransformerEncoder(layer, 2, t.nn.LayerNorm(16), **settings)

        layers = both(make)
        x = values(3, 7, 16)
        for train in (False, True):
            results = []
            for t, layer in layers.items():
                layer.train(train)
                t.manual_seed(0)
                with t.no_grad():
                    results.append(layer(t.from_numpy(x), src_key_padding_mask=t.from_numpy(given)))
            assert_same(*results, **CLOSE)


def test_decoder(each_engine):
    layers = both(lambda t: t.nn.TransformerDecoder(t.nn.TransformerDecoderLayer(16, 4, 24), 2, t.nn.LayerNorm(16)))
    x, y = values(7, 3, 16), values(9, 3, 16, seed=1)
    causal = nn.Transformer.generate_square_subsequent_mask(7).numpy()
    check(layers, x, y, train=True)
    check(layers, x, y, tgt_mask=causal)
    check(layers, x, y, tgt_mask=causal != 0)
    check(layers, x, y, tgt_mask=causal, memory_mask=values(7, 9), tgt_is_causal=False)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_transformer(batch_first, each_engine):
    # Not ReLU, whose gradient jumps where rounding decides between the sides of zero.
    layers = both(lambda t: t.nn.Transformer(16, 4, 2, 2, 24, activation="gelu", batch_first=batch_first))
    x, y = (values(3, 7, 16), values(3, 9, 16, seed=1)) if batch_first else (values(7, 3, 16), values(9, 3, 16, seed=1))
    causal = nn.Transformer.generate_square_subsequent_mask(9).numpy()
    padding = np.arange(7) >= np.array([[7], [5], [6]])
    check(layers, x, y, train=True)
    check(layers, x, y, tgt_mask=causal)
    check(layers, x, y, tgt_mask=causal, tgt_is_causal=True, src_mask=values(7, 7))
    check(layers, x, y, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    check(layers, x[0] if batch_first else x[:, 0], y[0] if batch_first else y[:, 0])


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_custom_parts():
    def make(t):
        layer = t.nn.TransformerEncoderLayer(16, 4, 24)
        return t.nn.Transformer(16, 4, num_decoder_layers=1, dim_feedforward=24, custom_encoder=t.nn.TransformerEncoder(layer, 1))

    check(both(make), values(7, 3, 16), values(9, 3, 16, seed=1))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_the_seed_draws_torchs_parameters():
    torch = need_torch()
    for make in (
        lambda t: t.nn.Transformer(16, 4, 2, 1, 24),
        lambda t: t.nn.TransformerEncoderLayer(16, 4, activation=t.nn.GELU(), norm_first=True),
        lambda t: t.nn.TransformerDecoderLayer(16, 2, bias=False, dtype=t.float64),
        lambda t: t.nn.TransformerDecoder(t.nn.TransformerDecoderLayer(16, 2), 2),
    ):
        lamina.manual_seed(1), torch.manual_seed(1)
        ours, theirs = make(lamina), make(torch)
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for p, q in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
            assert_same(p, q, rtol=0, atol=0)


def test_square_subsequent_mask():
    torch = need_torch()
    for dtype in (None, "float64", "float16", "bool"):
        ours, theirs = (
            t.nn.Transformer.generate_square_subsequent_mask(5, dtype=dtype and getattr(t, dtype)) for t in (lamina, torch)
        )
        assert_same(ours, theirs)


def test_gradients_of_gradients():
    x = lamina.from_numpy(values(3, 2, 4, dtype="float64")).requires_grad_()
    y = lamina.from_numpy(values(2, 2, 4, dtype="float64", seed=1)).requires_grad_()
    kwargs = {"dropout": 0.0, "activation": "gelu", "dtype": lamina.float64}
    encoder = nn.TransformerEncoderLayer(4, 2, 5, **kwargs)
    decoder = nn.TransformerDecoderLayer(4, 2, 5, norm_first=True, **kwargs)
    assert gradcheck(lambda x: encoder(x), (x,))
    assert gradgradcheck(lambda x: encoder(x), (x,))
    assert gradgradcheck(lambda x, y: decoder(x, y), (x, y))


def test_copies_keep_their_activation():
    for activation in ("relu", nn.Tanh(), lamina.tanh):
        layer = nn.TransformerEncoderLayer(8, 2, 8, activation=activation).eval()
        x = lamina.randn(3, 1, 8)
        assert_same(copy.deepcopy(layer)(x), layer(x))
    state = layer.__getstate__() if hasattr(layer, "__getstate__") else layer.__dict__
    old = nn.TransformerEncoderLayer.__new__(nn.TransformerEncoderLayer)
    old.__setstate__({k: v for k, v in dict(state).items() if k != "activation"})
    assert old.activation is nn.functional.relu


def test_warnings():
    for kwargs, match in (
        ({"norm_first": True, "batch_first": True}, "norm_first was True"),
        ({}, "batch_first was not True"),
        ({"batch_first": True, "bias": False}, "bias=False"),
        ({"batch_first": True, "activation": "t.tanh"}, "activation_relu_or_gelu was not True"),
        ({"batch_first": True, "nhead": 1}, "num_heads is odd"),
    ):
        for t in (lamina, need_torch()):
            layer = t.nn.TransformerEncoderLayer(8, **{"nhead": 2, **resolved(t, kwargs)})
            with pytest.warns(UserWarning, match=match):
                assert not t.nn.TransformerEncoder(layer, 1).use_nested_tensor
            t.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    for t in (lamina, need_torch()):
        with pytest.warns(UserWarning, match="TransformerEncoderLayer"):
            t.nn.TransformerEncoder(t.nn.Linear(8, 8), 1)
    layer = nn.TransformerEncoderLayer(8, 2, 8)
    with pytest.warns(UserWarning, match="mismatched src_key_padding_mask and src_mask") as seen:
        layer(lamina.randn(4, 2, 8), lamina.zeros(4, 4), lamina.zeros(2, 4, dtype=lamina.bool))
    assert len(seen) == 1


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_errors():
    same_error(lambda t: t.nn.TransformerEncoderLayer(8, 3), match="divisible")
    same_error(lambda t: t.nn.TransformerEncoderLayer(8, 2, activation="tanh"), match="relu/gelu")
    same_error(lambda t: t.nn.TransformerDecoderLayer(8, 2, activation="tanh"), match="relu/gelu")

    def whole(t, x, y, **kwargs):
        return t.nn.Transformer(8, 2, 1, 1, 8, **kwargs)(x, y)

    same_error(whole, values(4, 2, 8), values(4, 3, 8), match="batch number")
    same_error(lambda t, x, y: whole(t, x, y, batch_first=True), values(4, 2, 8), values(3, 2, 8), match="batch number")
    same_error(whole, values(4, 2, 8), values(4, 2, 6), match="feature number")
    layer = {t: t.nn.TransformerEncoderLayer(8, 2, 8) for t in (lamina, need_torch())}
    x = values(4, 2, 8)
    same_error(lambda t, x: layer[t](x, t.zeros(3, 3)), x, match="2D attn_mask")
    same_error(lambda t, x: layer[t](x, t.zeros(4, 4).long()), x, match="bool and floating")
    same_error(lambda t, x: layer[t](x, src_key_padding_mask=t.zeros(2, 3)), x, match="key_padding_mask")
    same_error(lambda t, x: layer[t](x, is_causal=True), x, match="Need attn_mask")
    same_error(lambda t, x: layer[t](x), values(4, 2, 6), match="embedding dimension")
