"""Recurrent networks: a layer in one direction is one operation; layers, directions and cells are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.autograd.graph import Op, memory_version, mode, wrap
from lamina.autograd.walk import grad as gradients
from lamina.engine import kernels as k
from lamina.ops import activation, join, linalg, piecewise, pointwise
from lamina.ops.dropout import dropout as drop


class RnnLayer(Op):
    """One layer over the rows of a sequence: (rows, h0, s0, weights) → (outputs, last h[, last s]).

    The kernel's backward pass serves as long as nobody differentiates it; with ``create_graph`` the layer is computed
    again from elementary operations, whose gradients have gradients.
    """

    keeps_output = True

    @staticmethod
    def forward(ctx, x, h0, s0, w_ih, w_hh, b_ih, b_hh, w_hr, sizes, cell, reverse):
        ctx.settings = sizes, cell, reverse
        arrays = [None if t is None else t._a for t in (x, h0, s0, w_ih, w_hh, b_ih, b_hh, w_hr)]
        versions = memory_version(w_ih), memory_version(w_hh)
        y, h, s, reserve = k.rnn_layer(arrays[0], sizes, *arrays[1:], cell, reverse, ctx.recording, versions)
        ctx.save(x, h0, s0, w_ih, w_hh, b_ih, b_hh, w_hr, reserve)
        return (y, h) if s is None else (y, h, s)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *inputs, reserve = ctx.saved
        sizes, cell, reverse = ctx.settings
        if mode.enabled:
            composed = _composed(*inputs, *ctx.settings)
            wanted = [t for t in inputs if t is not None and t.requires_grad]
            found = iter(gradients(composed, wanted, grads, create_graph=True, allow_unused=True))
            return (
                *(next(found) if t is not None and t.requires_grad else None for t in inputs),
                None,
                None,
                None,
            )
        outputs = [t._a for t in ctx.output]
        arrays = [None if t is None else t._a for t in inputs]
        x, h0, s0, *weights = arrays
        result = k.rnn_layer_backward(
            x, grads[0]._a, grads[1]._a, grads[2]._a if len(grads) > 2 else None, outputs[0], outputs[1],
            outputs[2] if len(outputs) > 2 else None, sizes, h0, s0, *weights, cell, reverse, reserve,
            (memory_version(inputs[3]), memory_version(inputs[4])),
        )  # fmt: skip
        return (*(None if a is None else wrap(a) for a in result), None, None, None)


def _composed(
    x: Any, h0: Any, s0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, sizes: Any, cell: str, reverse: bool
) -> tuple:
    """The same layer, from elementary operations."""
    starts = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    order = range(len(sizes))
    outputs: list[Any] = [None] * len(sizes)
    h, s = h0, s0
    ended_h: list[Any] = []
    ended_s: list[Any] = []
    for t in reversed(order) if reverse else order:
        n = int(sizes[t])
        if n < h.shape[0]:  # sequences that have ended, or (in reverse) that have not begun
            if reverse:
                h, s = h[:n], None if s is None else s[:n]
            else:
                ended_h.append(h[n:])
                h = h[:n]
                if s is not None:
                    ended_s.append(s[n:])
                    s = s[:n]
        elif n > h.shape[0]:
            m = h.shape[0]
            h = join.cat([h, h0[m:n]])
            s = None if s is None else join.cat([s, s0[m:n]])
        h, s = _cell(x[starts[t] : starts[t + 1]], h, s, w_ih, w_hh, b_ih, b_hh, w_hr, cell)
        outputs[t] = h
    y = join.cat(outputs) if outputs else x.new_zeros(0, h0.shape[1])
    h = join.cat([h, *ended_h[::-1]]) if ended_h else h
    if s is None:
        return y, h
    return y, h, join.cat([s, *ended_s[::-1]]) if ended_s else s


def _cell(x, h, s, w_ih, w_hh, b_ih, b_hh, w_hr, cell) -> tuple:
    a, b = linalg.linear(x, w_ih, b_ih), linalg.linear(h, w_hh, b_hh)
    if cell == "lstm":
        i, f, g, o = (a + b).chunk(4, 1)
        s = pointwise.add(activation.sigmoid(f) * s, activation.sigmoid(i) * activation.tanh(g))
        h = activation.sigmoid(o) * activation.tanh(s)
        return h if w_hr is None else linalg.linear(h, w_hr, None), s
    if cell == "gru":
        (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
        r, z = activation.sigmoid(ar + br), activation.sigmoid(az + bz)
        new = activation.tanh(an + r * bn)
        return new + z * (h - new), None
    return (activation.tanh if cell == "tanh" else piecewise.relu)(a + b), None


# -- whole networks ------------------------------------------------------------------------------------------------


def network(
    cell: str, x: Any, sizes: Sequence[int], states: Sequence[Any], weights: Sequence[Sequence[Any]], dropout: float, train: bool,
    bidirectional: bool,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """Layers over rows ``x`` (R, I).

    ``states`` are h (and s), each (layers·directions, N, H); ``weights`` are a group per layer and direction.
    Returns the last layer's rows and the stacked last states.
    """
    directions = 2 if bidirectional else 1
    last: list[list[Any]] = [[] for _ in states]
    for index, group in enumerate(weights):
        if index % directions == 0:
            if index and dropout and train:
                x = drop(x, dropout, True)
            source, outputs = x, []
        w_ih, w_hh, b_ih, b_hh, w_hr = group
        h0, s0 = states[0][index], states[1][index] if cell == "lstm" else None
        y, *ends = RnnLayer.apply(
            source, h0, s0, w_ih, w_hh, b_ih, b_hh, w_hr, sizes, cell, index % directions == 1
        )
        outputs.append(y)
        for collected, end in zip(last, ends, strict=True):
            collected.append(end)
        if index % directions == directions - 1:
            x = outputs[0] if directions == 1 else join.cat(outputs, 1)
    return x, [join.stack(ends) for ends in last]


def _group(states: Sequence[Any], params: Sequence[Any], has_biases: bool) -> list[tuple]:
    """The flat list of parameters as (w_ih, w_hh, b_ih, b_hh, w_hr) per layer and direction."""
    projects = len(states) == 2 and states[0].shape[2] != states[1].shape[2]
    step = 2 + 2 * has_biases + projects
    return [
        (part[0], part[1], *(part[2:4] if has_biases else (None, None)), part[-1] if projects else None)
        for part in (params[i : i + step] for i in range(0, len(params), step))
    ]


def _recurrent(cell: str, name: str) -> Any:
    def function(input: Any, *args: Any) -> Any:
        # (hx, params, has_biases, …) of a padded batch, or (batch_sizes, hx, params, …) of a packed one
        return (_plain if isinstance(args[2], bool) else _packed)(cell, input, *args)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The layers of ``nn.{name.upper() if cell in ('lstm', 'gru') else 'RNN'}`` on given parameters: "
        "``(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)``, or packed: "
        "``(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)``."
    )
    return function


def _plain(
    cell, input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
) -> Any:
    states = list(hx) if cell == "lstm" else [hx]
    if batch_first:
        input = input.transpose(0, 1)
    steps, batch = input.shape[0], input.shape[1]
    if steps == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    rows = input.reshape(steps * batch, input.shape[2])
    y, last = network(
        cell,
        rows,
        (batch,) * steps,
        states,
        _group(states, params, has_biases),
        dropout,
        train,
        bidirectional,
    )
    y = y.view(steps, batch, y.shape[1])
    if batch_first:
        y = y.transpose(0, 1)
    return (y, *last)


def _packed(
    cell, data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional
) -> Any:
    states = list(hx) if cell == "lstm" else [hx]
    sizes = tuple(batch_sizes.tolist())
    y, last = network(
        cell, data, sizes, states, _group(states, params, has_biases), dropout, train, bidirectional
    )
    return (y, *last)


lstm, gru = _recurrent("lstm", "lstm"), _recurrent("gru", "gru")
rnn_tanh, rnn_relu = _recurrent("tanh", "rnn_tanh"), _recurrent("relu", "rnn_relu")


# -- cells ---------------------------------------------------------------------------------------------------------


def _one_step(cell: str, input: Any, states: tuple, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    """A cell is a layer over one step; one sequence without a batch is a batch of one."""
    alone = input._a.ndim == 1
    if alone:
        input, states = input.unsqueeze(0), tuple(s.unsqueeze(0) for s in states)
    s0 = states[1] if cell == "lstm" else None
    _, *last = RnnLayer.apply(
        input, states[0], s0, w_ih, w_hh, b_ih, b_hh, None, (input.shape[0],), cell, False
    )
    if alone:
        last = [s.squeeze(0) for s in last]
    return tuple(last) if cell == "lstm" else last[0]


def lstm_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of an LSTM: ``hx`` is (h, s), and so is the result."""
    return _one_step("lstm", input, tuple(hx), w_ih, w_hh, b_ih, b_hh)


def gru_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a GRU."""
    return _one_step("gru", input, (hx,), w_ih, w_hh, b_ih, b_hh)


def rnn_tanh_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a recurrent network with tanh."""
    return _one_step("tanh", input, (hx,), w_ih, w_hh, b_ih, b_hh)


def rnn_relu_cell(input: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    """One step of a recurrent network with ReLU."""
    return _one_step("relu", input, (hx,), w_ih, w_hh, b_ih, b_hh)


FUNCTIONS = ("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
