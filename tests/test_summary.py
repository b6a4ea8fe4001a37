"""`lamina.summary`: rows, totals and text; what differs from torchinfo is listed; the model stays as it was."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from support import need_torch

import lamina
from lamina import nn

ALL = ("kernel_size", "input_size", "output_size", "num_params", "params_percent", "mult_adds", "trainable")


def summary(*args, **kwargs):
    return lamina.summary(*args, **{"verbose": 0, **kwargs})


def models(t):
    """(name, model, inputs) of many kinds, on either library."""
    nn = t.nn

    class Residual(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.a = nn.Conv2d(c, c, 3, padding=1)
            self.norm = nn.BatchNorm2d(c)
            self.act = nn.ReLU()
            self.b = nn.Conv2d(c, c, 3, padding=1, bias=False, groups=2)

        def forward(self, x):
            return self.act(self.b(self.act(self.norm(self.a(x)))) + x)

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(t.zeros(3))
            self.l = nn.Linear(3, 3)
            self.l.weight.requires_grad = False

        def forward(self, x):
            return self.l(x) * self.p

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.shared = nn.Linear(3, 3)
            self.unused = nn.Linear(3, 9)

        def forward(self, x):
            return self.shared(self.shared(self.first(x)))

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 8)
            self.rnn = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
            self.out = nn.Linear(32, 4)

        def forward(self, i):
            return self.out(self.rnn(self.embedding(i))[0])

    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleDict({"x": Own(), "y": nn.ModuleList([Own(), Own()])})

        def forward(self, x):
            for block in (*self.blocks["y"], self.blocks["x"]):
                x = block(x)
            return x

    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(10, 4)
            self.mix = nn.Linear(10, 3)

        def forward(self, i, x):
            y = self.mix(t.cat([self.table(i), x], -1))
            return {"first": y, "second": y[:, :1]}

    def lazy():
        return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))

    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    pruned = nn.Sequential(nn.Linear(10, 10))
    pruned[0].register_parameter("weight_orig", pruned[0].weight)
    del pruned[0]._parameters["weight"]
    mask = t.ones(10, 10)
    mask[:3] = 0
    pruned[0].register_buffer("weight_mask", mask)
    pruned[0].weight = pruned[0].weight_orig * mask
    image = (4, 3, 32, 32)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return {
        "cnn": (
            nn.Sequential(
                nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1800, 10)
            ),
            dict(input_size=image),
        ),
        "residual": (
            nn.Sequential(
                nn.Conv2d(3, 8, 7, 2, 3), Residual(8), nn.Sequential(Residual(8), Residual(8)), nn.AdaptiveAvgPool2d(1)
            ),
            dict(input_size=(1, 3, 64, 64)),
        ),
        "mlp": (
            nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.3), nn.PReLU()),
            dict(input_size=(2, 6)),
        ),
        "gru": (nn.GRU(5, 6, 2), dict(input_size=(7, 3, 5))),
        "lazy": (lazy(), dict(input_size=(1, 2, 6, 6))),
        "pruned": (pruned, dict(input_size=(2, 10))),
        "batch dim": (nn.Sequential(nn.Conv2d(3, 8, 3)), dict(input_size=(3, 8, 8), batch_dim=0)),
        "own parameter": (Own(), dict(input_size=(2, 3))),
        "shared": (Shared(), dict(input_size=(2, 3))),
        "nested": (Nested(), dict(input_size=(2, 3))),
        "tagger": (Tagger(), dict(input_size=(3, 7), dtypes=[t.long])),
        "several": (Several(), dict(input_size=[(5,), (5, 6)], dtypes=[t.long, t.float])),
        "transposed": (nn.ConvTranspose2d(4, 3, 3, stride=2), dict(input_size=(2, 4, 5, 5))),
        "positions": (nn.Linear(6, 8), dict(input_size=(2, 3, 6))),
        "tied": (tied, dict(input_size=(2, 3))),
        "attention": (nn.TransformerEncoder(layer, 2), dict(input_size=(2, 5, 16))),
    }


# What torchinfo 1.8.0 says: total_params, trainable_params, total_mult_adds, total_output_bytes, total_param_bytes.
TORCHINFO = {
    "cnn": (18250, 18250, 878504, 461120, 73000),
    "residual": (3848, 3848, 3891248, 655360, 15392),
    "mlp": (73, 73, 146, 384, 292),
    "gru": (486, 486, 10206, 1008, 1944),
    "lazy": (271, 271, 1411, 536, 1084),
    "pruned": (80, 80, 160, 160, 320),
    "batch dim": (224, 224, 8064, 2304, 896),
    "own parameter": (15, 6, 24, 48, 48),
    "shared": (60, 60, 72, 144, 96),
    "nested": (45, 18, 72, 144, 144),
    "tagger": (10020, 10020, 205164, 7392, 40080),
    "several": (73, 73, 365, 280, 292),
    "transposed": (111, 111, 26862, 5808, 444),
    "positions": (56, 56, 112, 384, 224),
    "tied": (24, 24, 48, 96, 96),
    "attention": (4448, 4448, 4544, 12800, 9088),
}
# Where lamina's number is another one, and why.
OURS = {
    "own parameter": {"total_param_bytes": 60},  # bytes of all parameters, not of leaves' only
    "shared": {"total_param_bytes": 240},  # and of those of layers that are not called
    "nested": {"total_param_bytes": 180},
    "tagger": {"total_mult_adds": 204288 + 3 * 7 * 132},  # a linear layer at 21 positions; no products in a lookup
    "several": {"total_mult_adds": 165},  # no products in a lookup
    "transposed": {"total_mult_adds": 2 * (108 * 25 + 3 * 121)},  # weights meet inputs, biases outputs
    "positions": {"total_mult_adds": 336},  # at 6 positions
    "tied": {"total_params": 15, "trainable_params": 15, "total_param_bytes": 60},  # a shared weight counts once
    "attention": {"total_mult_adds": 46656, "total_param_bytes": 17792},  # projections and products of the attention
}
TOTALS = ("total_params", "trainable_params", "total_mult_adds", "total_output_bytes", "total_param_bytes")


@pytest.mark.parametrize("name", TORCHINFO)
def test_totals(name):
    model, inputs = models(lamina)[name]
    result = summary(model, **inputs)
    expected = {**dict(zip(TOTALS, TORCHINFO[name], strict=True)), **OURS.get(name, {})}
    assert {key: getattr(result, key) for key in TOTALS} == expected
    unique = {id(p): p for p in model.parameters()}.values()
    if name != "pruned":
        assert result.total_params == sum(p.numel() for p in unique)
        assert result.total_param_bytes == 4 * result.total_params


@pytest.mark.parametrize("name", TORCHINFO)
def test_as_torchinfo_says(name):
    """With torchinfo beside it: the same text, where the numbers are to be the same."""
    torch = need_torch()
    torchinfo = pytest.importorskip("torchinfo", reason="torchinfo is not installed")
    ours, theirs = models(lamina)[name], models(torch)[name]
    for options in (
        dict(col_names=ALL, col_width=16),
        dict(),
        dict(depth=1, row_settings=("var_names", "ascii_only")),
        dict(depth=2, row_settings=("depth", "hide_recursive_layers")),
    ):
        other = torchinfo.summary(theirs[0], **theirs[1], **options, verbose=0)
        mine = summary(ours[0], **ours[1], **options)
        assert tuple(getattr(other, key) for key in TOTALS) == TORCHINFO[name]
        if name not in OURS:
            assert str(mine) == str(other).replace("Units.MEGABYTES", "M")
        rows = [(r.class_name, r.depth, r.input_size, r.output_size, r.num_params) for r in mine.summary_list]
        assert rows == [(r.class_name, r.depth, r.input_size, r.output_size, r.num_params) for r in other.summary_list]
    assert str(summary(ours[0])) == str(torchinfo.summary(theirs[0], verbose=0)) or name == "tied"


TABLE = """\
==========================================================================================
Layer (type:depth-idx)                   Output Shape              Param #
==========================================================================================
Sequential                               [4, 10]                   --
├─Conv2d: 1-1                            [4, 8, 30, 30]            224
├─BatchNorm2d: 1-2                       [4, 8, 30, 30]            16
├─ReLU: 1-3                              [4, 8, 30, 30]            --
├─MaxPool2d: 1-4                         [4, 8, 15, 15]            --
├─Flatten: 1-5                           [4, 1800]                 --
├─Linear: 1-6                            [4, 10]                   18,010
==========================================================================================
Total params: 18,250
Trainable params: 18,250
Non-trainable params: 0
Total mult-adds (M): 0.88
==========================================================================================
Input size (MB): 0.05
Forward/backward pass size (MB): 0.46
Params size (MB): 0.07
Estimated Total Size (MB): 0.58
=========================================================================================="""


def test_the_table(capsys):
    model, inputs = models(lamina)["cnn"]
    assert str(summary(model, **inputs)) == TABLE
    assert capsys.readouterr().out == ""
    result = lamina.summary(model, **inputs, verbose=1)
    assert capsys.readouterr().out == f"{result}\n" == f"{result!r}\n"


def test_every_column_and_weights():
    model, inputs = models(lamina)["nested"]
    model.blocks["x"].l.bias.requires_grad = False
    text = str(summary(model, **inputs, col_names=ALL, col_width=14, row_settings=("var_names",)))
    rows = [line.split() for line in text.splitlines()]
    assert ["│", "└─Own", "(x)", "--", "[2,", "3]", "[2,", "3]", "3", "6.67%", "--", "Partial"] in rows
    assert ["│", "│", "└─Linear", "(l)", "--", "[2,", "3]", "[2,", "3]", "(12)", "26.67%", "24", "False"] in rows
    assert "Non-trainable params: 30" in text
    detailed = str(summary(model, **inputs, verbose=0, col_names=("num_params",)))
    assert "weight" not in detailed


def test_verbose_shows_weights(capsys):
    text = str(lamina.summary(nn.Sequential(nn.Linear(3, 4)), (2, 3), verbose=2, col_names=("kernel_size", "num_params")))
    assert capsys.readouterr().out == text + "\n"
    rows = [line.split() for line in text.splitlines()]
    assert ["│", "└─weight", "[3,", "4]", "├─12"] in rows and ["│", "└─bias", "[4]", "└─4"] in rows


def test_depth_gathers_what_is_below():
    model, inputs = models(lamina)["residual"]
    flat = summary(model, **inputs, depth=1, col_names=("num_params", "mult_adds"))
    lines = [line for line in str(flat).splitlines() if line.startswith("├─")]
    assert [line.split()[2:4] for line in lines] == [
        ["1,184", "1,212,416"], ["888", "892,944"], ["1,776", "1,785,888"], ["--", "--"],
    ]  # fmt: skip
    deep = summary(model, **inputs, depth=9)
    assert max(row.depth for row in deep.summary_list) == 3
    assert sum(row.macs for row in deep.summary_list) == flat.total_mult_adds


def test_shared_layers_are_rows_each_time():
    model, inputs = models(lamina)["shared"]
    result = summary(model, **inputs)
    assert [(row.path, row.is_recursive) for row in result.summary_list] == [
        ("", False), ("first", False), ("shared", False), ("shared", True),
    ]  # fmt: skip
    assert str(result).count("(recursive)") == 1
    hidden = summary(model, **inputs, row_settings=("depth", "hide_recursive_layers"))
    assert "(recursive)" not in str(hidden)
    assert result.summary_list[0].leftover_params == 36  # the layer that is not called


def test_a_layer_in_two_places_is_shown_where_it_is_called():
    inner = nn.Linear(2, 2)
    model = nn.Sequential(nn.Sequential(inner, nn.ReLU()), nn.Sequential(nn.Tanh(), inner))
    paths = [row.path for row in summary(model, (1, 2)).summary_list]
    assert paths == ["", "0", "0.0", "0.1", "1", "1.0", "1.1"]


# -- inputs ----------------------------------------------------------------------------------------------------------


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(4, 3)

    def forward(self, x, y=None, scale=1.0):
        z = self.a(x)
        return z * scale if y is None else (z + self.b(y)) * scale


@pytest.mark.parametrize(
    "inputs",
    [
        dict(input_size=[(5, 2), (5, 4)]),
        dict(input_size=((5, 2), (5, 4))),
        dict(input_size=[[5, 2], [5, 4]], scale=2.0),
        dict(input_data=[lamina.ones(5, 2), lamina.ones(5, 4)]),
        dict(input_data=(np.ones((5, 2), "float32"), lamina.ones(5, 4))),
        dict(input_data={"x": lamina.ones(5, 2), "y": lamina.ones(5, 4)}),
        dict(input_data={"y": np.ones((5, 4), "float32"), "x": lamina.ones(5, 2)}, scale=3.0),
        dict(input_data=lamina.ones(5, 2), y=lamina.ones(5, 4)),
    ],
    ids=str,
)
def test_forms_of_inputs(inputs):
    result = summary(Two(), **inputs)
    assert [row.path for row in result.summary_list] == ["", "a", "b"]
    assert [row.output_size for row in result.summary_list] == [[5, 3]] * 3
    assert result.total_mult_adds == 5 * (9 + 15)


def test_a_dict_as_the_only_argument():
    class Batch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 3)

        def forward(self, batch):
            return {"loss": self.a(batch["x"]).sum(), "out": self.a(batch["x"])}

    result = summary(Batch(), input_data=[{"x": lamina.ones(5, 2), "label": "none"}])
    assert result.summary_list[0].output_size == [5, 3] and result.summary_list[0].input_size == []
    assert result.total_input == 40


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "complex64"])
def test_dtypes(dtype):
    dtype = getattr(lamina, dtype)
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append(x.dtype)
            return x

    result = summary(Look(), (3, 2), dtypes=[dtype])
    assert seen == [dtype] and result.total_input == 6 * lamina.ones((), dtype=dtype).element_size()


def test_without_inputs_all_layers_are_listed():
    model, _ = models(lamina)["nested"]
    result = summary(model)
    assert [row.path for row in result.summary_list] == [name for name, _ in model.named_modules()]
    assert "mult-adds" not in str(result) and result.total_params == 45
    lazily = summary(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1)))
    assert lazily.total_params == 4


def test_recurrent_layers():
    lstm = nn.LSTM(3, 4, proj_size=2)
    weights = sum(p.numel() for p in lstm.parameters())
    assert summary(lstm, (5, 2, 3)).total_mult_adds == 10 * weights
    assert summary(lstm, (5, 3)).total_mult_adds == 5 * weights  # one sequence
    packed = nn.utils.rnn.pack_padded_sequence(lamina.ones(5, 2, 3), [5, 2])
    result = summary(lstm, input_data=[packed])
    assert result.total_mult_adds == 7 * weights and result.summary_list[0].output_size == [7, 2]
    cell = nn.GRUCell(3, 4)
    assert summary(cell, (6, 3)).total_mult_adds == 6 * sum(p.numel() for p in cell.parameters())


def test_multiply_adds_of_attention():
    attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, batch_first=True)
    q, k, v = lamina.ones(3, 5, 8), lamina.ones(3, 7, 6), lamina.ones(3, 7, 4)
    per_sample = 5 * 8 * 9 + 7 * 8 * (6 + 4 + 2) + 2 * 5 * 7 * 8 + 5 * 8 * 9
    assert summary(attention, input_data=[q, k, v]).total_mult_adds == 3 * per_sample
    assert summary(attention, input_data=[q[0], k[0], v[0]]).total_mult_adds == per_sample
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    names = [row.class_name for row in summary(model, [(2, 4, 8), (2, 3, 8)], depth=5).summary_list]
    assert names.count("MultiheadAttention") == 3 and names.count("Linear") == 4


def test_weights_that_are_computed():
    plain = nn.Linear(3, 4)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    assert summary(normed, (2, 3)).total_mult_adds >= summary(plain, (2, 3)).total_mult_adds == 32
    old = nn.utils.spectral_norm(nn.Conv2d(2, 3, 3))
    assert summary(old, (1, 2, 5, 5)).total_mult_adds == 9 * (54 + 3)


def test_no_arguments_and_no_results():
    class Quiet(nn.Module):
        def forward(self):
            return None

    result = summary(Quiet(), input_data=[])
    assert result.summary_list[0].output_size == [] and result.total_params == 0 and str(result)


# -- the model stays as it was -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_nothing_changes(mode):
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Sequential(nn.Linear(4, 2)))
    model.eval()
    model[1].train()
    model(lamina.randn(2, 2, 5)).sum().backward()
    modes = [m.training for m in model.modules()]
    buffers = {name: (b, b.clone(), b._version) for name, b in model.named_buffers()}
    grads = [(p.grad, p.grad.clone()) for p in model.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    state = lamina.get_rng_state()
    call = nn.Module.__call__
    for x in (dict(input_size=(3, 2, 5)), dict(input_data=lamina.randn(3, 2, 5, generator=lamina.Generator()))):
        summary(model, **x, mode=mode)
    assert [m.training for m in model.modules()] == modes
    for name, b in model.named_buffers():
        assert b is buffers[name][0] and (b == buffers[name][1]).all() and b._version == buffers[name][2]
    for p, (grad, copied) in zip(model.parameters(), grads, strict=True):
        assert p.grad is grad and (grad == copied).all()
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert (lamina.get_rng_state() == state).all()
    assert nn.Module.__call__ is call and lamina.is_grad_enabled()


def test_nothing_changes_when_it_fails():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(4, 2))
    state, call = lamina.get_rng_state(), nn.Module.__call__
    with pytest.raises(RuntimeError):
        summary(model, (5, 3), mode="train")
    assert int(model[0].num_batches_tracked) == 0 and model.training and nn.Module.__call__ is call
    assert (lamina.get_rng_state() == state).all() and lamina.is_grad_enabled()


def test_the_mode_is_the_one_asked_for():
    seen = []

    class Look(nn.Module):
        def forward(self, x):
            seen.append((self.training, lamina.is_grad_enabled()))
            return x

    summary(Look(), (1,))
    summary(Look(), (1,), mode="train")
    assert seen == [(False, False), (True, False)]


def test_hooks_of_the_users_run():
    model, seen = nn.Sequential(nn.Linear(3, 4)), []
    model[0].register_forward_pre_hook(lambda m, args: seen.append("before") or (args[0] * 0,))
    model[0].register_forward_hook(lambda m, args, out: out[:, :2])
    assert summary(model, (2, 3)).summary_list[1].output_size == [2, 2] and seen == ["before"]


def test_a_pass_can_be_kept():
    calls = []

    class Look(nn.Module):
        def forward(self, x):
            calls.append(1)
            return x

    model = Look()
    for columns in (("num_params",), ("output_size",)):
        assert summary(model, (1,), cache_forward_pass=True, col_names=columns).formatting.col_names == columns
    assert len(calls) == 1
    summary(model, (1,))
    assert len(calls) == 2
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


# -- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((2, 3, 8), r"layer '0.0' \(Conv2d\) failed on input of shape \[2, 3, 8\]|layer '1.linear'"),
        ((2, 4, 8, 8), r"layer '0.0' \(Conv2d\) failed on input of shape \[2, 4, 8, 8\]: RuntimeError: .*channels"),
        ((2, 3, 9, 8), r"layer '1.linear' \(Linear\) failed on input of shape \[2, 168\]: RuntimeError"),
    ],
)
def test_the_layer_that_failed_is_named(inputs, message):
    body = nn.Sequential()
    body.add_module("flat", nn.Flatten())
    body.add_module("linear", nn.Linear(144, 5))
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), body)
    with pytest.raises(RuntimeError, match=message) as caught:
        summary(model, inputs)
    assert isinstance(caught.value.__cause__, Exception)


def test_other_failures():
    with pytest.raises(RuntimeError, match=r"the model \(Two\) itself failed on input of shape \[5, 2\], \[5, 4\], .*TypeError"):
        summary(Two(), [(5, 2), (5, 4), (1,), (2,)])
    with pytest.raises(RuntimeError, match=r"layer 'b' \(Linear\) failed on input of shape \[5, 3\]"):
        summary(Two(), [(5, 2), (5, 3)])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(input_size=(1, 2), input_data=lamina.ones(1, 2)), RuntimeError, "only one of"),
        (dict(col_names=["output_size"]), ValueError, "need input_size or input_data"),
        (dict(input_size=(1, 2), col_names=["colour"]), ValueError, "col_names must be of .*'colour'"),
        (dict(input_size=(1, 2), row_settings=["bold"]), ValueError, "row_settings must be of .*'bold'"),
        (dict(input_size=(1, 2), mode="test"), ValueError, "mode must be of eval, train, but got 'test'"),
        (dict(input_size=(1, 2), verbose=3), ValueError, "verbose must be .* but got 3"),
        (dict(input_size=(1, 2), col_width=0), ValueError, "col_width .* but got 0"),
        (dict(input_size=(0, 2)), ValueError, r"must be positive, but input_size is \(0, 2\)"),
        (dict(input_size=()), ValueError, "must be positive"),
        (dict(input_size=(-1, 2)), ValueError, "must be positive"),
        (dict(input_size="12"), TypeError, "must be a shape or a list of shapes, but got str"),
        (dict(input_size=7), TypeError, "but got int"),
        (dict(input_size=(1.5, 2)), TypeError, "tuple of ints"),
        (dict(input_size=[(1, 2), 3]), TypeError, "tuple of ints"),
        (dict(input_size=[(1, 2), (3,)], dtypes=[lamina.float32]), ValueError, "2 inputs, but dtypes has 1"),
        (dict(input_size=(1, 2), device="cuda"), (RuntimeError, AssertionError), "CUDA|cuda"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        summary(nn.Linear(2, 3), **arguments)
    with pytest.raises(TypeError, match="must be a Module, but got int"):
        summary(3)
