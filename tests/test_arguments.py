"""Arguments of a wrong type: PyTorch's ``TypeError``, whatever the function."""

from __future__ import annotations

import inspect
import warnings

import pytest

import lamina
from lamina import ops

# Functions of the fused layers, whose arguments say by their kinds which of two forms is meant.
VARIADIC = {"gru", "lstm", "rnn_relu", "rnn_tanh", "gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell"}
# Checks of other arguments come first, or anything at all is handed through.
OTHER = {"upsample", "upsample_bilinear", "upsample_nearest",
         "clamp", "clip", "index_reduce", "scatter_reduce", "resolve_conj", "resolve_neg"}  # fmt: skip
FILLERS = {"other": 1.5, "dim": 0, "target": None, "weight": None}


def cases():
    for table in (ops.FUNCTIONS, ops.NN_FUNCTIONS):
        for name, function in table.items():
            try:
                parameters = list(inspect.signature(function).parameters.values())
            except ValueError:
                continue
            if name in VARIADIC | OTHER or not parameters or parameters[0].name not in ("input", "self", "tensor"):
                continue
            rest = [p for p in parameters[1:] if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
            yield pytest.param(function, [FILLERS.get(p.name, 1) for p in rest], id=name)


@pytest.mark.parametrize("wrong", ["a", [1.0, 2.0], None], ids=["str", "list", "None"])
@pytest.mark.parametrize(("function", "rest"), list(cases()))
def test_what_is_no_tensor_is_refused(function, rest, wrong):
    with pytest.raises(TypeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(wrong, *rest)


def test_the_message_names_function_argument_and_type():
    for call in (
        lambda: lamina.reshape([1, 2], (2,)), lambda: lamina.isnan([1, 2]), lambda: lamina.logical_and([1, 2], lamina.ones(2)),
        lambda: lamina.zeros_like([1, 2]), lambda: lamina.nn.functional.relu_([1, 2]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"\w+\(\): argument 'input' \(position 1\) must be Tensor, not list"):
            call()
