"""Joins and splits against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, expression, need_torch, pair, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck


def numbers(*shape, dtype="float64", seed=0):
    return np.asarray(np.random.default_rng(seed + len(shape)).standard_normal(shape) * 3).astype(dtype)


JOINS = [
    "t.cat([x, y])", "t.cat((x, y, x), 0)", "t.cat([x, y], dim=-2)", "t.cat([x, x * 2], 1)",
    "t.cat([x, x], axis=1)", "t.concat([x, y])", "t.concatenate([x, y], dim=0)", "t.cat([x])",
    "t.cat([x, t.zeros(0), y])", "t.cat([t.zeros(0), x])", "t.cat([x[:0], x])", "t.cat([x.t(), y.t()], 1)",
    "t.cat([x[:, ::2], y[:, 1:3]])", "t.cat([x, y.expand(2, 2, 4)[0]])", "t.cat([x[0], y[1], t.zeros(0)])",
    "t.cat([t.zeros(0), t.zeros(0)])", "t.stack([x[0], y[1]])", "t.stack((x, x), 1)", "t.stack([x, x], -1)",
    "t.stack([x.t(), x.t()], dim=0)", "t.stack([x[0, 0], y[1, 1]])", "t.stack([x[:0], x[:0]], 2)",
    "t.hstack([x, x])", "t.hstack([x[0], y[0]])", "t.hstack([x[0, 0], x[1]])", "t.vstack([x, y])",
    "t.vstack((x[0], y))", "t.row_stack([x[0], y[0]])", "t.dstack([x, x])", "t.dstack([x[0], y[0]])",
    "t.column_stack([x, x[:, 0]])", "t.column_stack([x[0], y[1], x[0, 0].expand(4)])", "t.block_diag(x, y)",
    "t.block_diag(x, x[0], x[0, 0])", "t.block_diag(x[:0], y)", "t.block_diag()",
]  # fmt: skip


@pytest.mark.parametrize("case", JOINS)
def test_join_matches_torch(case):
    function = expression(case)
    compare(function, numbers(3, 4), numbers(2, 4, seed=1))
    compare(function, numbers(3, 4, dtype="float32"), numbers(2, 4, dtype="float32"))
    x, y = (lamina.tensor(numbers(n, 4), requires_grad=True) for n in (3, 2))
    if function(lamina, x, y).numel():
        assert gradcheck(lambda x, y: function(lamina, x, y), (x, y))
        assert gradgradcheck(lambda x, y: function(lamina, x, y), (x, y))


@pytest.mark.parametrize("first", ["float64", "float32", "float16", "int64", "uint8", "bool"])
@pytest.mark.parametrize("second", ["float64", "float32", "float16", "int32", "int8", "bool"])
def test_join_promotes_as_torch(first, second):
    x, y = np.ones((2, 2), first), np.zeros((2, 2), second)
    for case in ("t.cat([x, y])", "t.stack([x, y])", "t.cat([x, t.zeros(0)])", "t.block_diag(x, y)"):
        compare(expression(case), x, y)


def test_join_of_channels_last_tensors_keeps_their_order():
    a = numbers(2, 3, 4, 5, dtype="float32")
    x = lamina.from_numpy(np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1))
    x._hidden = True
    y = lamina.cat([x, x], 1)
    assert y._hidden and y.is_contiguous() and y.stride() == (120, 20, 5, 1)
    np.testing.assert_array_equal(y.numpy(), np.concatenate([a, a], 1))


def test_join_into_out():
    for t in (lamina, need_torch()):
        x, out = t.arange(6.0).view(2, 3), t.empty(4, 3)
        assert t.cat([x, x], out=out) is out and out[3, 2] == 5
        out = t.empty(2, 2, 3, dtype=t.float64)
        assert t.stack([x, x], out=out) is out and out.sum() == 30
        with pytest.raises(TypeError, match="input types can't be cast to the desired output type"):
            t.cat([x, x], out=t.empty(4, 3, dtype=t.int32))


SPLITS = [
    "x.split(2)", "t.split(x, 3)", "x.split(2, 1)", "x.split([1, 4])", "x.split((2, 0, 4), dim=-1)",
    "x.split(split_size=4)", "x.chunk(2)", "t.chunk(x, 4, 1)", "x.chunk(3, dim=1)", "x.chunk(9)", "x.unbind()",
    "t.unbind(x, 1)", "x.unbind(dim=-1)", "x.tensor_split(2)", "x.tensor_split(4, 1)", "x.tensor_split((1, 3))",
    "x.tensor_split([2, 1, -1], dim=1)", "x.tensor_split(t.tensor(3))", "x.tensor_split(t.tensor([1, 2]), 1)",
    "x.tensor_split(7)", "t.tensor_split(x, indices=(1,), dim=1)", "x.tensor_split(sections=2)", "x.hsplit(3)",
    "t.hsplit(x, (1, 2))", "x.vsplit(5)", "t.vsplit(x, [2])", "x[0].hsplit(2)", "x.view(5, 3, 2).dsplit(2)",
    "x.view(5, 3, 2).split(2, 1)", "x.split_with_sizes([2, 3])", "x[:0].split(0)", "x[:0].split(3)",
    "x[:0].chunk(3)", "x.t().split(4)", "x[:, :0].unbind()", "x[:0].unbind()", "x.unsafe_chunk(2)",
    "x[:, 0].unbind()", "x.unsafe_split(2, 0)",
]  # fmt: skip


@pytest.mark.parametrize("case", SPLITS)
def test_split_matches_torch(case):
    function = expression(case)
    compare(function, numbers(5, 6))
    compare(lambda t, x: function(t, x)[-1:], numbers(5, 6))  # gradients of some parts only
    ours, theirs = pair(numbers(5, 6, dtype="float32"))
    for a, b in zip(function(lamina, ours), function(need_torch(), theirs), strict=True):
        assert not b.numel() or a.stride() == b.stride()
        a.add_(1)
        b.add_(1)
    assert_same(ours, theirs)
    x = lamina.tensor(numbers(5, 6), requires_grad=True)
    if function(lamina, x) and function(lamina, x)[0].numel():
        assert gradcheck(lambda x: function(lamina, x), x)
        assert gradgradcheck(lambda x: function(lamina, x)[0] ** 2, x)


def test_iteration_and_unpacking():
    compare(lambda t, x: [r * i for i, r in enumerate(x)], numbers(3, 4))
    a, b = lamina.arange(6).view(2, 3)
    assert b.tolist() == [3, 4, 5] and a.shape == (3,)


ERRORS = [
    "x.split(0)", "x.split(-1)", "x.split([1, 1])", "x.split([1, -1, 3])", "x.split(2.5)", "x.split(2, 2)",
    "x.chunk(0)", "x.chunk(2, 5)", "x.tensor_split(0)", "x.tensor_split(t.tensor([[2]]))", "x.unbind(3)",
    "x[0, 0].unbind()", "x[0, 0].split(1)", "x[0, 0].chunk(1)", "x[0, 0].tensor_split(1)", "t.cat([])",
    "t.cat([x[0, 0], x[0, 0]])", "t.cat([x, x[0]])", "t.cat([x, x[:2]], 1)", "t.cat([x, 2])", "t.cat(x)",
    "t.cat(x, x)", "t.cat((x, x), 2)", "t.cat([x, x], -3)", "t.stack([x, x[0]])", "t.stack([])",
    "t.stack([x, x], 3)", "t.stack(x)", "t.vstack([x, x[0, 0]])", "t.column_stack([x[0], x])",
    "t.hsplit(x[0, 0], 1)", "t.vsplit(x[0], 1)", "t.dsplit(x, 1)", "t.hsplit(x[0], 3)", "t.block_diag(x[None])",
    "t.block_diag(x, 2)", "t.hstack([])", "t.vstack([])", "t.dstack([])", "t.column_stack([])",
    "x.tensor_split(t.tensor([1.]))",
]  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_bad_arguments_raise_as_in_torch(case):
    same_error(expression(case), numbers(3, 4, dtype="float32"))
