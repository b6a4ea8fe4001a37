"""Recurrent layers on oneDNN, in float32: one layer, one direction, all sequences of one length.

oneDNN numbers gates as it likes: the LSTM's order is PyTorch's (i, f, g, o); the GRU's is (z, r, n), and its "linear before
reset" form, with a bias of its own inside the reset product, is PyTorch's. Weights are seen through strides in PyTorch's
layout (gates below each other, rows of input size) and reordered into the form that the primitive asks for.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty

from . import abi, core, rnn_steps, threads
from .core import F32, any_desc, blocked, plain_desc, plan, plans, primitive, reorder_into, strided_desc

ndarray = np.ndarray

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
KIND = {"tanh": "vanilla_rnn", "relu": "vanilla_rnn", "lstm": "lstm", "gru": "lbr_gru"}


class Reserve:
    """What the backward primitive needs of the forward one."""

    __slots__ = ("workspace", "bias")

    def __init__(self, workspace: ndarray, bias: ndarray) -> None:
        self.workspace, self.bias = workspace, bias


class _Layer:
    """The descriptors and primitives of one (cell, sizes, direction)."""

    def __init__(self, cell: str, t: int, n: int, i: int, h: int, reverse: bool) -> None:
        self.cell, self.gates = cell, GATES[cell]
        g, bias_gates = self.gates, 4 if cell == "gru" else self.gates
        self.work = n * (i + h) * g * h
        self.direction = abi.RIGHT_TO_LEFT if reverse else abi.LEFT_TO_RIGHT
        self.x, self.y, self.state = plain_desc((t, n, i)), plain_desc((t, n, h)), plain_desc((1, 1, n, h))
        self.w = any_desc((1, 1, i, g, h)), any_desc((1, 1, h, g, h))
        self.bias = plain_desc((1, 1, bias_gates, h))
        # (layer, direction, input, gate, output) as PyTorch's (gate·H + output, input) has it in memory
        self.lying = tuple(
            core.intern(strided_desc((1, 1, m, g, h), (g * h * m, g * h * m, 1, h * m, m))) for m in (i, h)
        )

    def primitive(self, stage: str, hint: Any = None) -> Any:
        state = (self.state,) * (2 if self.cell == "lstm" else 1)
        unused = (None, None) if self.cell == "lstm" else ()  # peephole and projection weights
        descs = (self.x, *state, *self.w, *unused, self.bias, self.y, *state)
        activation = {"tanh": (abi.TANH,), "relu": (abi.RELU,)}.get(self.cell, ())
        slopes = (0.0, 0.0) if activation else ()
        backward = stage == "backward"
        prop = {
            "training": abi.FORWARD_TRAINING,
            "inference": abi.FORWARD_INFERENCE,
            "backward": abi.BACKWARD,
        }[stage]
        return primitive(
            f"{KIND[self.cell]}_{'backward' if backward else 'forward'}", prop, *activation, self.direction, *descs,
            *(descs if backward else ()), 0, *slopes, *((hint,) if backward else ()), slow=True,
        )  # fmt: skip

    def threads(self) -> Any:
        """One thread where a step has less than some 60,000 multiplications."""
        return threads.for_work(self.work * 8)

    def wanted(self, plan: Any, args: tuple[int, int]) -> tuple:
        return tuple(core.intern(plan.desc(a)) for a in args)


_STATES = {
    True: (abi.SRC_ITER, abi.SRC_ITER_C, abi.DST_ITER, abi.DST_ITER_C),
    False: (abi.SRC_ITER, abi.DST_ITER),
}


@plans
def _forward(cell: str, t: int, n: int, i: int, h: int, reverse: bool, training: bool) -> Any:
    layer = _Layer(cell, t, n, i, h, reverse)
    args = (
        abi.SRC_LAYER,
        abi.WEIGHTS_LAYER,
        abi.WEIGHTS_ITER,
        abi.BIAS,
        abi.DST_LAYER,
        *_STATES[cell == "lstm"],
    )
    if training:
        args += (abi.WORKSPACE,)
    with layer.threads():
        prepared = plan(layer.primitive("training" if training else "inference"), *args)
    if prepared is None:
        return None
    wanted = layer.wanted(prepared, (abi.WEIGHTS_LAYER, abi.WEIGHTS_ITER))
    room = prepared.nbytes(abi.WORKSPACE) if training else 0
    several = cell == "lstm"

    def run(
        x: ndarray,
        h0: ndarray,
        s0: ndarray | None,
        w_ih: ndarray,
        w_hh: ndarray,
        bias: ndarray,
        versions: tuple,
    ) -> tuple:
        weights = [
            blocked(w, target, version, lying)
            for w, target, version, lying in zip((w_ih, w_hh), wanted, versions, layer.lying, strict=True)
        ]
        y, last = empty((t, n, h)), np.empty((n, h), F32)
        s = np.empty((n, h), F32) if several else None
        states = (h0, s0, last, s) if several else (h0, last)
        workspace = [empty((room,), np.uint8)] if training else []
        prepared.run(x, *weights, bias, y, *states, *workspace)
        return y.reshape(t * n, h), last, s, Reserve(workspace[0], bias) if training else None

    return run


@plans
def _backward(cell: str, t: int, n: int, i: int, h: int, reverse: bool) -> Any:
    layer = _Layer(cell, t, n, i, h, reverse)
    several = cell == "lstm"
    states = (
        (abi.SRC_ITER, abi.SRC_ITER_C, abi.DST_ITER, abi.DST_ITER_C)
        if several
        else (abi.SRC_ITER, abi.DST_ITER)
    )
    grads = (
        (abi.DIFF_SRC_1, abi.DIFF_SRC_2, abi.DIFF_DST_1, abi.DIFF_DST_2)
        if several
        else (abi.DIFF_SRC_1, abi.DIFF_DST_1)
    )
    with layer.threads():
        prepared = plan(
            layer.primitive("backward", layer.primitive("training")),
            abi.SRC_LAYER, abi.WEIGHTS_LAYER, abi.WEIGHTS_ITER, abi.BIAS, abi.DST_LAYER, *states, abi.WORKSPACE,
            abi.DIFF_SRC, abi.DIFF_WEIGHTS, abi.DIFF_WEIGHTS_1, abi.DIFF_BIAS, abi.DIFF_DST, *grads,
        )  # fmt: skip
    if prepared is None:
        return None
    wanted = layer.wanted(prepared, (abi.WEIGHTS_LAYER, abi.WEIGHTS_ITER))
    made = layer.wanted(prepared, (abi.DIFF_WEIGHTS, abi.DIFF_WEIGHTS_1))

    def run(x, y, states, last, grad_y, grad_states, w_ih, w_hh, reserve, versions) -> tuple:
        weights = [
            blocked(w, target, version, lying)
            for w, target, version, lying in zip((w_ih, w_hh), wanted, versions, layer.lying, strict=True)
        ]
        grad_x = empty((t * n, i))
        grad_before = [np.empty((n, h), F32) for _ in states]
        grad_bias = np.zeros(reserve.bias.shape, F32)  # oneDNN adds to the gradients of weights and biases
        sums = [empty((-(-d.nbytes // 4),)) for d in made]
        for s in sums:
            s.fill(0)
        prepared.run(
            x,
            *weights,
            reserve.bias,
            y,
            *states,
            *last,
            reserve.workspace,
            grad_x,
            *sums,
            grad_bias,
            grad_y,
            *grad_before,
            *grad_states,
        )
        grad_weights = []
        for sum_, source, lying, like in zip(sums, made, layer.lying, (w_ih, w_hh), strict=True):
            out = empty(like.shape)
            reorder_into(sum_, out, lying, source)
            grad_weights.append(out)
        return grad_x, grad_before, grad_weights, grad_bias

    return run


def _even(sizes: Any) -> bool:
    return sizes[0] > 0 and sizes.count(sizes[0]) == len(sizes)


def _stepwise(mode: str, sizes: Any, width: int, even: bool, training: bool) -> bool:
    """Whether products step by step serve where the primitive cannot, or are quicker than it.

    They are for a tanh of many numbers: us a step, primitive/stepwise, 64 sequences of width 64, 128, 256, 512: 20/14, 47/29,
    120/85, 370/298. In backward they take some tenths longer, and an LSTM's take longer in both.
    """
    if mode == "gru":
        return False
    if not even:
        return len(set(sizes)) <= rnn_steps.SIZES
    return mode != "lstm" and not training and (sizes[0] * width >= 1 << 12 or width >= 1 << 9)


def _swapped(w: ndarray) -> ndarray:
    """The GRU's first two gates exchanged: PyTorch's (r, z, n) from oneDNN's (z, r, n), and the reverse."""
    h = len(w) // 3
    return np.concatenate([w[h : 2 * h], w[:h], w[2 * h :]])


_swaps: dict[int, tuple[Any, Any, ndarray]] = {}


def _kept_swapped(w: ndarray, version: Any) -> ndarray:
    """``_swapped(w)``, the same array as before while ``version`` stays the same."""
    if version is None:
        return _swapped(w)
    key = id(w)
    found = _swaps.get(key)
    if found is not None and found[1] == version and found[0]() is w:
        return found[2]
    made = _swapped(w)
    _swaps[key] = (weakref.ref(w, lambda _: _swaps.pop(key, None)), version, made)
    return made


def _tame(*arrays: ndarray) -> bool:
    """Whether no product of these can overflow or be NaN: oneDNN's ReLU makes 0 of NaN, which must not be lost."""
    return all(a.size == 0 or bool(np.abs(a).max() < 1e15) for a in arrays)


def _bias(b_ih: ndarray | None, b_hh: ndarray | None, cell: str, h: int) -> ndarray:
    if b_ih is None or b_hh is None:
        return np.zeros((4 if cell == "gru" else GATES[cell]) * h, F32)
    if cell != "gru":
        return b_ih + b_hh
    both = b_ih[: 2 * h] + b_hh[: 2 * h]
    return np.concatenate([both[h:], both[:h], b_ih[2 * h :], b_hh[2 * h :]])


@fast()
def rnn_layer(
    x: ndarray, sizes: Any, h0: ndarray, s0: ndarray | None, w_ih: ndarray, w_hh: ndarray, b_ih: ndarray | None,
    b_hh: ndarray | None, w_hr: ndarray | None, mode: str, reverse: bool, training: bool, versions: tuple = (None, None),
) -> tuple[ndarray, ndarray, ndarray | None, Any]:  # fmt: skip
    if x.dtype != F32 or w_hr is not None or x.size == 0 or not len(sizes):
        return NotImplemented
    h, even = w_hh.shape[1], _even(sizes)
    stepwise = _stepwise(mode, sizes, h, even, training)
    if not even and not stepwise:
        return NotImplemented
    w_ih, w_hh = np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)
    bias = _bias(b_ih, b_hh, mode, h)
    if stepwise:
        if mode == "relu" and not _tame(x, h0, w_ih, w_hh, bias):
            return NotImplemented
        whole = [None if a is None else np.ascontiguousarray(a) for a in (x, h0, s0)]
        result = rnn_steps.layer(
            whole[0], sizes, whole[1], whole[2], w_ih, w_hh, bias, mode, reverse, training, versions  # type: ignore[arg-type]
        )
        return result if mode != "relu" or _tame(result[0]) else NotImplemented
    run = _forward[mode, len(sizes), sizes[0], x.shape[1], h, reverse, training]
    if run is None:
        return NotImplemented
    if mode == "gru":
        w_ih, w_hh = (_kept_swapped(w, v) for w, v in zip((w_ih, w_hh), versions, strict=True))
    if mode == "relu" and not _tame(x, h0, w_ih, w_hh, bias):
        return NotImplemented
    result = run(
        np.ascontiguousarray(x),
        np.ascontiguousarray(h0),
        None if s0 is None else np.ascontiguousarray(s0),
        w_ih,
        w_hh,
        bias,
        versions,
    )
    return result if mode != "relu" or _tame(result[0]) else NotImplemented


@fast()
def rnn_layer_backward(
    x: ndarray, grad_y: ndarray, grad_h: ndarray, grad_s: ndarray | None, y: ndarray, h: ndarray, s: ndarray | None, sizes: Any,
    h0: ndarray, s0: ndarray | None, w_ih: ndarray, w_hh: ndarray, b_ih: ndarray | None, b_hh: ndarray | None,
    w_hr: ndarray | None, mode: str, reverse: bool, reserve: Any, versions: tuple = (None, None),
) -> tuple[ndarray | None, ...]:  # fmt: skip
    if isinstance(reserve, rnn_steps.Steps):
        w_ih, w_hh = np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)
        grad_x, before, weights, bias = rnn_steps.layer_backward(
            x, grad_y, grad_h, grad_s, y, sizes, h0, s0, w_ih, w_hh, mode, reverse, reserve, versions
        )
        both = (None, None) if b_ih is None else (bias, bias.copy())
        return (grad_x, before[0], before[1] if s0 is not None else None, *weights, *both, None)
    if not isinstance(reserve, Reserve):
        return NotImplemented
    width = w_hh.shape[1]
    run = _backward[mode, len(sizes), sizes[0], x.shape[1], width, reverse]
    if run is None:
        return NotImplemented
    w_ih, w_hh = np.ascontiguousarray(w_ih), np.ascontiguousarray(w_hh)
    gru = mode == "gru"
    if gru:
        w_ih, w_hh = (_kept_swapped(w, v) for w, v in zip((w_ih, w_hh), versions, strict=True))
    whole = [np.ascontiguousarray(a) for a in (x, y, grad_y)]
    states, last, grads = (
        [np.ascontiguousarray(a) for a in pair if a is not None]
        for pair in ((h0, s0), (h, s), (grad_h, grad_s))
    )
    grad_x, before, weights, bias = run(
        whole[0], whole[1], states, last, whole[2], grads, w_ih, w_hh, reserve, versions
    )
    if gru:
        weights = [_swapped(w) for w in weights]
        first = np.concatenate([bias[width : 2 * width], bias[:width]])
        biases = (
            np.concatenate([first, bias[2 * width : 3 * width]]),
            np.concatenate([first, bias[3 * width :]]),
        )
    else:
        biases = (bias, bias.copy())
    if b_ih is None:
        biases = (None, None)  # type: ignore[assignment]
    return (grad_x, before[0], before[1] if s0 is not None else None, *weights, *biases, None)
