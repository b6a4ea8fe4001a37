"""One layer and direction of a recurrent network over a sequence, forward and backward, in NumPy.

The rows of all time steps lie one after another, as in a packed sequence: step t has ``sizes[t]`` rows, and a sequence
that has ended has no row any more. A plain batch is the case in which all sizes are equal.

Cells (σ the logistic function, ∘ the elementwise product):

* tanh, relu:  h' = f(W x + b + U h + c)
* LSTM:        i, f, o = σ(…), g = tanh(…);  s' = f∘s + i∘g,  h' = o∘tanh(s'), projected by P if there is one
* GRU:         r, z = σ(…);  n = tanh(W x + b + r∘(U h + c));  h' = n + z∘(h − n)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["rnn_layer", "rnn_layer_backward"]

ndarray = np.ndarray
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


class Reserve(NamedTuple):
    """What the forward pass keeps for the backward pass, all with one row per (step, sequence)."""

    gates: ndarray  # after their nonlinearities
    h_before: ndarray  # hidden state that a row started from
    hidden: ndarray  # GRU: U h + c of the new gate; otherwise unused
    s_before: ndarray  # LSTM: cell state that a row started from
    s_tanh: ndarray  # LSTM: tanh of the cell state after the row


def _steps(sizes: Any, reverse: bool) -> list[tuple[int, int]]:
    """(first row, number of rows) of each step, in the order in which they are computed."""
    steps, start = [], 0
    for n in sizes:
        steps.append((start, int(n)))
        start += int(n)
    return steps[::-1] if reverse else steps


def _sigmoid(x: ndarray) -> ndarray:
    """σ in place."""
    np.multiply(x, x.dtype.type(-1), out=x)  # NumPy 2.4's negative is wrong in place on some strided arrays
    np.exp(x, out=x)
    x += x.dtype.type(1)
    return np.reciprocal(x, out=x)


def rnn_layer(
    x: ndarray, sizes: Any, h0: ndarray, s0: ndarray | None, w_ih: ndarray, w_hh: ndarray, b_ih: ndarray | None,
    b_hh: ndarray | None, w_hr: ndarray | None, mode: str, reverse: bool, training: bool, versions: tuple = (None, None),
) -> tuple[ndarray, ndarray, ndarray | None, Any]:  # fmt: skip
    """Run a layer: rows ``x`` (R, I), states (N, H) → outputs (R, H), last states, and what the backward pass needs.

    ``versions`` say whether the two weight matrices changed since the last call (for forms of them that are kept).
    """
    rows, hidden_size = len(x), w_hh.shape[0] // GATES[mode]
    total = np.matmul(x, w_ih.T)
    if b_ih is not None:
        total += b_ih
        if mode != "gru":
            total += b_hh
    h, s = h0.copy(), None if s0 is None else s0.copy()
    y = np.empty((rows, h0.shape[1]), x.dtype)
    keep = Reserve(
        total,
        np.empty_like(y) if training else y[:0],
        np.empty((rows if mode == "gru" and training else 0, hidden_size), x.dtype),
        *(np.empty((rows if mode == "lstm" and training else 0, hidden_size), x.dtype) for _ in range(2)),
    )
    u = np.ascontiguousarray(w_hh.T)
    k = hidden_size
    for start, n in _steps(sizes, reverse):
        part = slice(start, start + n)
        before, gates = h[:n], total[part]
        if training:
            keep.h_before[part] = before
        recurrent = np.matmul(before, u)
        if mode == "lstm":
            gates += recurrent
            _sigmoid(gates[:, : 2 * k])
            np.tanh(gates[:, 2 * k : 3 * k], out=gates[:, 2 * k : 3 * k])
            _sigmoid(gates[:, 3 * k :])
            cell = s[:n]  # type: ignore[index]
            if training:
                keep.s_before[part] = cell
            cell *= gates[:, k : 2 * k]
            cell += gates[:, :k] * gates[:, 2 * k : 3 * k]
            squashed = np.tanh(cell)
            if training:
                keep.s_tanh[part] = squashed
            squashed = squashed * gates[:, 3 * k :]
            h[:n] = squashed if w_hr is None else np.matmul(squashed, w_hr.T)
        elif mode == "gru":
            if b_hh is not None:
                recurrent += b_hh
            gates[:, : 2 * k] += recurrent[:, : 2 * k]
            _sigmoid(gates[:, : 2 * k])
            inner = recurrent[:, 2 * k :]
            if training:
                keep.hidden[part] = inner
            new = gates[:, 2 * k :]
            new += gates[:, :k] * inner
            np.tanh(new, out=new)
            h[:n] = new + gates[:, k : 2 * k] * (before - new)
        else:
            gates += recurrent
            h[:n] = np.tanh(gates, out=gates) if mode == "tanh" else np.maximum(gates, 0, out=gates)
        y[part] = h[:n]
    return y, h, s, keep if training else None


def rnn_layer_backward(
    x: ndarray, grad_y: ndarray, grad_h: ndarray, grad_s: ndarray | None, y: ndarray, h: ndarray, s: ndarray | None, sizes: Any,
    h0: ndarray, s0: ndarray | None, w_ih: ndarray, w_hh: ndarray, b_ih: ndarray | None, b_hh: ndarray | None,
    w_hr: ndarray | None, mode: str, reverse: bool, reserve: Any, versions: tuple = (None, None),
) -> tuple[ndarray | None, ...]:  # fmt: skip
    """The gradients of x, h0, s0, w_ih, w_hh, b_ih, b_hh and w_hr (``None`` where there is no such input)."""
    if not isinstance(reserve, Reserve):  # the forward pass ran elsewhere
        reserve = rnn_layer(x, sizes, h0, s0, w_ih, w_hh, b_ih, b_hh, w_hr, mode, reverse, True)[3]
    k = w_hh.shape[0] // GATES[mode]
    dh, ds = grad_h.copy(), None if grad_s is None else grad_s.copy()
    d_gates = np.empty((len(x), GATES[mode] * k), x.dtype)  # gradient at the gates' x side …
    d_inner = np.empty((len(x), k), x.dtype) if mode == "gru" else None  # … and at U h + c of GRU's new gate
    d_projected = np.empty_like(y) if w_hr is not None else None
    for start, n in reversed(_steps(sizes, reverse)):
        part = slice(start, start + n)
        d, gates, dg = dh[:n] + grad_y[part], reserve.gates[part], d_gates[part]
        if mode == "lstm":
            if w_hr is not None:
                d_projected[part] = d  # type: ignore[index]
                d = np.matmul(d, w_hr)
            i, f, g, o = (gates[:, j * k : (j + 1) * k] for j in range(4))
            squashed = reserve.s_tanh[part]
            cell = ds[:n]  # type: ignore[index]
            cell += d * o * (1 - squashed * squashed)
            dg[:, :k] = cell * g * i * (1 - i)
            dg[:, k : 2 * k] = cell * reserve.s_before[part] * f * (1 - f)
            dg[:, 2 * k : 3 * k] = cell * i * (1 - g * g)
            dg[:, 3 * k :] = d * squashed * o * (1 - o)
            cell *= f
            dh[:n] = np.matmul(dg, w_hh)
        elif mode == "gru":
            r, z, new = (gates[:, j * k : (j + 1) * k] for j in range(3))
            dn = d * (1 - z) * (1 - new * new)
            dg[:, :k] = dn * reserve.hidden[part] * r * (1 - r)
            dg[:, k : 2 * k] = d * (reserve.h_before[part] - new) * z * (1 - z)
            dg[:, 2 * k :] = dn
            d_inner[part] = dn * r  # type: ignore[index]
            inner = d_inner[part]  # type: ignore[index]
            dh[:n] = d * z + np.matmul(dg[:, : 2 * k], w_hh[: 2 * k]) + np.matmul(inner, w_hh[2 * k :])
        else:
            np.multiply(d, 1 - gates * gates, out=dg) if mode == "tanh" else np.multiply(d, gates > 0, out=dg)
            dh[:n] = np.matmul(dg, w_hh)
    recurrent = d_gates if d_inner is None else np.concatenate([d_gates[:, : 2 * k], d_inner], axis=1)
    bias = b_ih is not None
    projected = None
    if w_hr is not None:
        squashed = reserve.s_tanh * reserve.gates[:, 3 * k :]
        projected = np.matmul(d_projected.T, squashed)  # type: ignore[union-attr]
    return (
        np.matmul(d_gates, w_ih), dh, ds, np.matmul(d_gates.T, x), np.matmul(recurrent.T, reserve.h_before),
        d_gates.sum(axis=0) if bias else None, recurrent.sum(axis=0) if bias else None, projected,
    )  # fmt: skip
