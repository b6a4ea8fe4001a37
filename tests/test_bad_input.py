"""Bad input to layers: PyTorch's exception type, a message with the layer, what came and what was expected, no effect."""

from __future__ import annotations

import numpy as np
import pytest
from support import need_torch, quietly

import lamina

# (name, how the layer is made, the bad input, what the message must tell)
CALLS = [
    ("Linear features", lambda t: t.nn.Linear(2, 3), lambda t: t.ones(4, 5), ("linear", "2 features", "[4, 5]")),
    ("Linear dtype", lambda t: t.nn.Linear(2, 3), lambda t: t.ones(4, 2).long(), ("linear", "long int", "float")),
    ("Linear array", lambda t: t.nn.Linear(2, 3), lambda t: np.ones((4, 2)), ("linear", "Tensor", "ndarray")),
    ("Linear nothing", lambda t: t.nn.Linear(2, 3), lambda t: None, ("linear", "Tensor", "NoneType")),
    ("Conv channels", lambda t: t.nn.Conv2d(3, 4, 3), lambda t: t.ones(1, 2, 5, 5), ("conv2d", "3 channels", "2 channels")),
    ("Conv rank", lambda t: t.nn.Conv2d(3, 4, 3), lambda t: t.ones(5, 5), ("conv2d", "3D (unbatched) or 4D", "[5, 5]")),
    ("Conv kernel", lambda t: t.nn.Conv2d(3, 4, 3), lambda t: t.ones(1, 3, 2, 2), ("conv2d", "(2 x 2)", "(3 x 3)")),
    ("Conv dtype", lambda t: t.nn.Conv1d(3, 4, 3), lambda t: t.ones(1, 3, 5).double(), ("conv1d", "Double", "Float")),
    ("ConvTranspose channels", lambda t: t.nn.ConvTranspose2d(3, 4, 3), lambda t: t.ones(1, 2, 5, 5),
     ("conv_transpose2d", "3 channels", "2 channels")),
    ("MaxPool kernel", lambda t: t.nn.MaxPool2d(7), lambda t: t.ones(1, 1, 5, 5), ("max_pool2d", "(1x5x5)", "(7, 7)")),
    ("AvgPool rank", lambda t: t.nn.AvgPool3d(2), lambda t: t.ones(5, 5), ("avg_pool3d", "4D or 5D", "[5, 5]")),
    ("BatchNorm rank", lambda t: t.nn.BatchNorm2d(3), lambda t: t.ones(2, 3), ("BatchNorm2d", "expected 4D", "got 2D")),
    ("BatchNorm channels", lambda t: t.nn.BatchNorm2d(3), lambda t: t.ones(2, 4, 3, 3), ("running_mean", "4", "not 3")),
    ("BatchNorm one value", lambda t: t.nn.BatchNorm1d(3), lambda t: t.ones(1, 3), ("batch_norm", "more than 1 value", "[1, 3]")),
    ("BatchNorm integers", lambda t: t.nn.BatchNorm1d(3), lambda t: t.ones(4, 3).long(), ("batch_norm", "Long")),
    ("LSTM size", lambda t: t.nn.LSTM(3, 4), lambda t: t.ones(5, 2, 7), ("LSTM", "Expected 3", "got 7")),
    ("GRU rank", lambda t: t.nn.GRU(3, 4), lambda t: t.ones(5), ("GRU", "2D or 3D", "got 1D")),
    ("GRU dtype", lambda t: t.nn.GRU(3, 4), lambda t: t.ones(5, 2, 3).double(), ("GRU", "float64", "float32")),
    ("RNN empty", lambda t: t.nn.RNN(3, 4), lambda t: t.ones(0, 2, 3), ("sequence length", "larger than 0")),
    ("LSTMCell size", lambda t: t.nn.LSTMCell(3, 4), lambda t: t.ones(2, 2), ("LSTMCell", "got 2", "expected 3")),
    ("Softmax dimension", lambda t: t.nn.Softmax(3), lambda t: t.ones(2), ("[-1, 0]", "3")),
    ("Sigmoid nothing", lambda t: t.nn.Sigmoid(), lambda t: None, ("sigmoid", "Tensor", "NoneType")),
    ("Unflatten", lambda t: t.nn.Unflatten(1, (2, 5)), lambda t: t.ones(2, 6), ("unflatten", "[2, 5]", "6")),
]  # fmt: skip


@pytest.mark.parametrize(("make", "bad", "words"), [c[1:] for c in CALLS], ids=[c[0] for c in CALLS])
def test_calls(make, bad, words):
    torch = need_torch()
    model = lamina.nn.Sequential(make(lamina))
    generator = lamina.get_rng_state()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011  # whatever PyTorch raises
        quietly(lambda t: make(t)(bad(t)))(torch)
    with pytest.raises(theirs.type) as ours:
        model(bad(lamina))
    for word in words:
        assert word in str(ours.value)
    after = model.state_dict()
    assert all(lamina.equal(before[k], after[k]) for k in after)
    assert lamina.equal(generator, lamina.get_rng_state())


STATES = [
    ("too many", lambda t: t.nn.GRU(3, 4), lambda t: t.ones(1, 3, 4), ("GRU", "(1, 2, 4)", "[1, 3, 4]")),
    ("rank", lambda t: t.nn.GRU(3, 4), lambda t: t.ones(2, 4), ("GRU", "3-D", "2-D")),
    ("dtype", lambda t: t.nn.GRU(3, 4), lambda t: t.ones(1, 2, 4).double(), ("GRU", "float32", "float64")),
    ("LSTM pair", lambda t: t.nn.LSTM(3, 4), lambda t: (t.ones(1, 2, 4), t.ones(1, 3, 4)), ("LSTM", "hidden[1]", "(1, 2, 4)")),
    ("LSTM three", lambda t: t.nn.LSTM(3, 4), lambda t: (t.ones(1, 2, 4),) * 3, ("LSTM", "2 tensors", "got 3")),
]  # fmt: skip


@pytest.mark.parametrize(("make", "state", "words"), [c[1:] for c in STATES], ids=[c[0] for c in STATES])
def test_states_of_recurrent_layers(make, state, words):
    torch = need_torch()
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        make(torch)(torch.ones(5, 2, 3), state(torch))
    with pytest.raises(theirs.type) as ours:
        make(lamina)(lamina.ones(5, 2, 3), state(lamina))
    for word in words:
        assert word in str(ours.value)


def test_states_of_cells():
    torch = need_torch()
    for t in (torch, lamina):
        with pytest.raises(TypeError, match="tuple"):
            t.nn.LSTMCell(3, 4)(t.ones(2, 3), t.ones(2, 4))
        with pytest.raises(RuntimeError):
            t.nn.GRUCell(3, 4)(t.ones(2, 3), t.ones(2, 4).double())


# What PyTorch finds out in the constructor too ...
CONSTRUCTORS = [
    (lambda t: t.nn.Linear(-1, 2), ("negative dimension", "-1")),
    (lambda t: t.nn.Linear("a", 2), ("int", "'a'")),
    (lambda t: t.nn.Linear(2.5, 2), ("int", "2.5")),
    (lambda t: t.nn.Conv2d(3, 2, 3, groups=2), ("Conv2d", "in_channels", "3 and 2")),
    (lambda t: t.nn.Conv2d(2, 3, 3, groups=2), ("Conv2d", "out_channels", "3 and 2")),
    (lambda t: t.nn.Conv2d(2, 2, 3, groups=0), ("Conv2d", "groups", "0")),
    (lambda t: t.nn.Conv2d(1, 2, "a"), ("Conv2d", "kernel_size", "'a'")),
    (lambda t: t.nn.Conv2d(1, 2, 2.5), ("Conv2d", "kernel_size", "2.5")),
    (lambda t: t.nn.Conv2d(1, 2, 3, padding="full"), ("Conv2d", "'full'", "'same'")),
    (lambda t: t.nn.Conv2d(1, 2, 3, padding="same", stride=2), ("Conv2d", "same", "(2, 2)")),
    (lambda t: t.nn.Conv2d(1, 2, 3, padding_mode="zero"), ("Conv2d", "zeros", "'zero'")),
    (lambda t: t.nn.BatchNorm2d(-3), ("negative dimension", "-3")),
    (lambda t: t.nn.GRU(0, 2), ("input_size", "0")),
    (lambda t: t.nn.GRU(3, -1), ("hidden_size", "-1")),
    (lambda t: t.nn.LSTM(3, 4, dropout=1.5), ("dropout", "[0, 1]", "1.5")),
    (lambda t: t.nn.LSTM(3, 4, proj_size=4), ("proj_size", "4")),
    (lambda t: t.nn.Dropout(1.5), ("Dropout", "between 0 and 1", "1.5")),
]


@pytest.mark.parametrize(("make", "words"), CONSTRUCTORS)
def test_constructors(make, words):
    torch = need_torch()
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        make(torch)
    with pytest.raises(theirs.type) as ours:
        make(lamina)
    for word in words:
        assert word in str(ours.value)


# ... and what it finds out only when the layer is called, or never.
@pytest.mark.parametrize("name", ["stride", "kernel_size", "dilation", "padding"])
@pytest.mark.parametrize("value", [0, -1, (1, 2, 3)])
def test_constructors_check_what_pytorchs_forget(name, value):
    if name == "padding" and value == 0:
        return
    for layer in (lamina.nn.Conv2d, lamina.nn.ConvTranspose2d, lamina.nn.MaxPool2d):
        settings = {"kernel_size": 3, name: value}
        channels = () if layer is lamina.nn.MaxPool2d else (2, 2)
        with pytest.raises(ValueError, match=f"{layer.__name__}: {name} must be"):
            layer(*channels, **settings)


def test_an_empty_convolution_warns_that_there_is_nothing_to_initialise():
    for t in (lamina, need_torch()):
        with pytest.warns(UserWarning, match="Initializing zero-element tensors"):
            t.nn.Conv2d(0, 2, 3)
