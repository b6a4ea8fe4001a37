"""Recurrent layers step by step, in float32: the products on oneDNN, with what follows them as post-operations.

This is for sequences of different lengths, which oneDNN's recurrent primitive does not take, and for the simple layer, whose
tanh the primitive computes five times as slowly as its logistic function σ. The input's product is one for all steps, a step's
is an inner product with the weight in the form it asks for, and tanh x = 2σ(2x) − 1, to some 1e-7, to which the sum before it
is exact. A tanh layer is thus one call per step, forward and backward. In backward all that does not depend on later steps is
computed for all steps together, block by block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.memory import empty
from lamina.engine.reference import linalg as reference

from . import abi, threads
from .core import (
    F32,
    Desc,
    Plan,
    any_desc,
    attributes,
    blocked,
    intern,
    plain_desc,
    plan,
    plans,
    primitive,
    strided_desc,
)
from .matmul import linear, matmul

ndarray = np.ndarray

BLOCK = 1 << 14  # elements that stay in a core's cache with a dozen arrays of as many
SMALL = 1 << 11  # elements up to which NumPy's tanh is quicker than a call
SIZES = 64  # different sizes of steps, in a packed sequence, for which plans are kept

_ONE = np.array(1, F32)
_SIGMA = ("eltwise", abi.LOGISTIC, 1.0, 0.0)
_TANH = (("eltwise", abi.LINEAR, 2.0, 0.0), _SIGMA, ("eltwise", abi.LINEAR, 2.0, -1.0))


class Steps:
    """What the backward pass needs of the forward one; nothing but the output for the simple cells."""

    __slots__ = ("gates", "s", "squashed")

    def __init__(self, gates: ndarray | None, s: ndarray | None, squashed: ndarray | None) -> None:
        self.gates, self.s, self.squashed = gates, s, squashed


@plans
def _product(rows: int, inputs: int, outputs: int, ending: str) -> tuple[Plan, Desc] | None:
    """y ← f(x·wᵀ + y), f by `ending`, and the form that w must have."""
    fixed: dict[int, ndarray] = {}
    args = [abi.SRC, abi.WEIGHTS, abi.DST]
    steps: list[Any] = [("sum",)]
    if ending == "lstm":  # σ, but 2σ(2x) − 1 for g
        row = plain_desc((1, outputs))
        scale, shift = np.repeat(np.array([[1, 1, 2, 1], [0, 0, -1, 0]], F32), outputs // 4, axis=1)
        steps += [("binary", abi.MUL, row), _SIGMA, ("binary", abi.MUL, row), ("binary", abi.ADD, row)]
        fixed = {abi.post_op_src(1): scale, abi.post_op_src(3): scale, abi.post_op_src(4): shift}
    elif ending == "tanh":
        steps += _TANH
    elif ending == "relu":
        steps.append(("eltwise", abi.RELU, 0.0, 0.0))
    elif ending == "times":
        args.append(abi.post_op_src(1))
        steps.append(("binary", abi.MUL, plain_desc((rows, outputs))))
    with threads.for_work(rows * inputs * outputs):
        pd = primitive(
            "inner_product_forward", abi.FORWARD_INFERENCE, plain_desc((rows, inputs)), any_desc((outputs, inputs)), None,
            plain_desc((rows, outputs)), attr=attributes(*steps),
        )  # fmt: skip
        made = plan(pd, *args, fixed=fixed)
    return None if made is None else (made, intern(made.desc(abi.WEIGHTS)))


@plans
def _tanh(n: int) -> Plan | None:
    row = plain_desc((n,))
    two, post_ops = np.full(1, 2, F32), attributes(*_TANH[1:])
    pd = primitive("binary", abi.MUL, row, plain_desc((1,)), row, attr=post_ops)
    return plan(pd, abi.SRC, abi.DST, fixed={abi.SRC_1: two})


@plans
def _transposed(rows: int, columns: int) -> Desc:
    """The transpose of a plain (columns, rows) matrix."""
    return intern(strided_desc((rows, columns), (1, rows)))


class _Weight:
    """A weight in the forms that products of various numbers of rows want."""

    def __init__(self, weight: ndarray, version: Any, ending: str, transposed: bool = False) -> None:
        self.weight, self.version, self.ending, self.transposed = weight, version, ending, transposed
        self._runs: dict[int, tuple[Any, ndarray]] = {}
        self._forms: dict[Desc, ndarray] = {}

    def __getitem__(self, rows: int) -> tuple[Any, ndarray]:
        """What runs the product for so many rows, and the weight for it."""
        found = self._runs.get(rows)
        if found is None:
            outputs, inputs = self.weight.shape[::-1] if self.transposed else self.weight.shape
            product, wanted = _product[rows, inputs, outputs, self.ending]
            form = self._forms.get(wanted)
            if form is None:
                source = _transposed[outputs, inputs] if self.transposed else None
                form = self._forms[wanted] = blocked(self.weight, wanted, self.version, source)
            found = self._runs[rows] = product.run, form
        return found


def _steps(sizes: Any, reverse: bool) -> list[slice]:
    """The rows of each step, in the order in which they are computed."""
    parts, start = [], 0
    for n in sizes:
        parts.append(slice(start, start + n))
        start += n
    return parts[::-1] if reverse else parts


def _known(before: ndarray, first: ndarray, n: int) -> ndarray:
    """The states that n sequences start a step with: those after the step before it, or the first ones."""
    m = len(before)
    if n == m:
        return before
    return before[:n] if n < m else np.concatenate([before, first[m:n]])


def _befores(y: ndarray, first: ndarray, parts: list[slice]) -> Iterator[ndarray]:
    """The states that each step started with, from those after each."""
    before = first
    for part in parts:
        yield _known(before, first, part.stop - part.start)
        before = y[part]


def _outermost(rows: ndarray, count: int, parts: Iterable[slice]) -> ndarray:
    """The row of each of ``count`` sequences in the first of these steps that has it."""
    found = np.empty((count, rows.shape[1]), F32)
    n = 0
    for part in parts:
        if part.stop - part.start > n:
            found[n : part.stop - part.start] = rows[part][n:]
            n = part.stop - part.start
    return found


def layer(
    x: ndarray, sizes: Any, h0: ndarray, s0: ndarray | None, w_ih: ndarray, w_hh: ndarray, bias: ndarray, mode: str,
    reverse: bool, training: bool, versions: tuple,
) -> tuple[ndarray, ndarray, ndarray | None, Steps | None]:  # fmt: skip
    """The outputs, the last states, and what the backward pass needs."""
    gates = _all(x, w_ih, bias, versions[0])
    parts, weight = _steps(sizes, reverse), _Weight(w_hh, versions[1], mode)
    if s0 is None:  # the gates become the states
        h = h0
        for part in parts:
            y = gates[part]
            run, form = weight[len(y)]
            run(_known(h, h0, len(y)), form, y)
            h = y
        return gates, _outermost(gates, len(h0), reversed(parts)), None, Steps(None, None, None) if training else None
    rows, width = len(x), w_hh.shape[1]
    y = empty((rows, width))
    room = (rows if training else len(h0), width)
    cells, tanhs = empty(room), empty(room)
    i, f, g, o = gates.reshape(rows, 4, width).transpose(1, 0, 2)
    product = np.empty_like(h0)
    h, s = h0, s0
    for part in parts:
        now = gates[part]
        n = len(now)
        run, form = weight[n]
        run(_known(h, h0, n), form, now)
        place = part if training else slice(n)
        t, after = product[:n], cells[place]
        np.multiply(_known(s, s0, n), f[part], after)
        np.add(after, np.multiply(i[part], g[part], t), after)
        squashed = tanhs[place]
        if after.size > SMALL:
            _tanh[after.size].run(after, squashed)
        else:
            np.tanh(after, squashed)
        h, s = y[part], after
        np.multiply(squashed, o[part], h)
    last = _outermost(y, len(h0), reversed(parts))
    if training:
        return y, last, _outermost(cells, len(s0), reversed(parts)), Steps(gates, cells, tanhs)
    return y, last, cells, None


def layer_backward(
    x: ndarray, grad_y: ndarray, grad_h: ndarray, grad_s: ndarray | None, y: ndarray, sizes: Any, h0: ndarray, s0: ndarray | None,
    w_ih: ndarray, w_hh: ndarray, mode: str, reverse: bool, kept: Steps, versions: tuple,
) -> tuple[ndarray, list[ndarray], list[ndarray], ndarray]:  # fmt: skip
    """The gradients of x, of the first states, of the weights, and of the bias."""
    parts = _steps(sizes, reverse)
    if s0 is None:
        d_gates, before = _simple_backward(grad_y, grad_h, y, parts, w_hh, mode, versions[1]), []
    else:
        assert grad_s is not None
        d_gates, grad_s0 = _lstm_backward(grad_y, grad_h, grad_s, parts, s0, w_hh, kept, versions[1], reverse)
        before = [grad_s0]
    grad_h0 = _times(_outermost(d_gates, len(grad_h), parts), w_hh)
    weights = [_times(d_gates.T, a) for a in (x, _in_order(_befores(y, h0, parts), reverse))]
    return _times(d_gates, w_ih), [grad_h0, *before], weights, _times(np.ones((1, len(x)), F32), d_gates)[0]


def _all(x: ndarray, weight: ndarray, bias: ndarray, version: Any) -> ndarray:
    y = linear(x, weight, bias, version)
    return _times(x, weight.T) + bias if y is NotImplemented else y


def _times(a: ndarray, b: ndarray) -> ndarray:
    y = matmul(a, b)
    return reference.matmul(a, b) if y is NotImplemented else y


def _in_order(steps: Iterator[ndarray], reverse: bool) -> ndarray:
    """The rows of all steps, which come in the order of computing."""
    arrays = list(steps)
    return np.concatenate(arrays[::-1] if reverse else arrays)


def _simple_backward(
    grad_y: ndarray, grad_h: ndarray, y: ndarray, parts: list[slice], w_hh: ndarray, mode: str, version: Any
) -> ndarray:
    """The gradient before f: that of the state, from the output and from the step after, times f'."""
    d_gates, slope = empty(y.shape), empty(y.shape)
    rows = max(1, BLOCK // y.shape[1])

    def work(start: int) -> None:
        part = slice(start, start + rows)
        d_gates[part] = grad_y[part]
        if mode == "tanh":
            np.subtract(_ONE, np.multiply(y[part], y[part], slope[part]), slope[part])
        else:
            np.greater(y[part], 0, slope[part])

    workers.share(work, range(0, len(y), rows))
    weight = _Weight(w_hh, version, "times", transposed=True)
    later = d_gates[:0]
    for part in reversed(parts):
        d, m = d_gates[part], len(later)
        n = len(d)
        if n > m:  # sequences that end here
            d[m:] += grad_h[m:n]
            d[m:] *= slope[part][m:]
        if m:
            k = min(m, n)
            run, form = weight[k]
            run(later[:k], form, d[:k], slope[part][:k])
        later = d
    return d_gates


def _lstm_backward(
    grad_y: ndarray, grad_h: ndarray, grad_s: ndarray, parts: list[slice], s0: ndarray, w_hh: ndarray, kept: Steps, version: Any,
    reverse: bool,
) -> tuple[ndarray, ndarray]:  # fmt: skip
    """The gradients before the gates' functions, and of the first cell states.

    With d that of h and e that of s: e ← e + d·a, then i, f, g and o get e·b or d·b, and the step before e·f. The factors a and b
    are made for all steps beforehand.
    """
    total, width = grad_y.shape
    d_h, a, d_gates = empty((total, width)), empty((total, width)), empty((total, 4 * width))
    shape = (total, 4, width)
    i, f, g, o = kept.gates.reshape(shape).transpose(1, 0, 2)  # type: ignore[union-attr]
    factors = d_gates.reshape(shape)
    b_i, b_f, b_g, b_o = factors.transpose(1, 0, 2)
    squashed = kept.squashed
    s_before = _in_order(_befores(kept.s, s0, parts), reverse)  # type: ignore[arg-type]
    rows = max(1, BLOCK // width)

    def work(start: int) -> None:
        part = slice(start, start + rows)
        d_h[part] = grad_y[part]
        q, out, t = squashed[part], o[part], a[part]  # type: ignore[index]
        np.subtract(_ONE, np.multiply(q, q, t), t)
        np.multiply(t, out, t)
        t = np.subtract(_ONE, out)
        np.multiply(np.multiply(t, out, t), q, b_o[part])
        for gate, other, factor in ((f, s_before, b_f), (i, g, b_i)):
            np.subtract(_ONE, gate[part], t)
            np.multiply(np.multiply(t, gate[part], t), other[part], factor[part])
        np.subtract(_ONE, np.multiply(g[part], g[part], t), t)
        np.multiply(t, i[part], b_g[part])

    workers.share(work, range(0, total, rows))
    weight = _Weight(w_hh, version, "", transposed=True)
    d_s = grad_s.copy()
    product = np.empty_like(d_s)
    later = d_gates[:0]
    for part in reversed(parts):
        d, m = d_h[part], len(later)
        n = len(d)
        if n > m:  # sequences that end here
            d[m:] += grad_h[m:n]
        if m:
            k = min(m, n)
            run, form = weight[k]
            run(later[:k], form, d[:k])
        e = d_s[:n]
        np.add(e, np.multiply(d, a[part], product[:n]), e)
        now = factors[part]
        np.multiply(now[:, :3], e[:, None], now[:, :3])
        np.multiply(now[:, 3], d, now[:, 3])
        np.multiply(e, f[part], e)
        later = d_gates[part]
    return d_gates, d_s
