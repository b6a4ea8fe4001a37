"""Views and other changes of shape against torch: values, strides, shared memory, gradients, writes through views, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import assert_same, compare, expression, need_torch, pair, quietly, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck


def numbers(*shape, dtype="float64", seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * 3).astype(dtype)


# Each case with the shape of its input. "views" share memory with it and have torch's strides; "copies" do not.
VIEWS = [
    ((3, 4), [
        "x.view(4, 3)", "x.view(-1)", "x.view((2, -1))", "x.view(size=(12,))", "x.view(3, 2, 2)",
        "x.view(1, 3, 1, 4, 1)", "x.reshape(2, 6)", "t.reshape(x, (-1, 2))", "x.reshape(shape=(12, 1))",
        "t.flatten(x)", "x.ravel()", "x.flatten(0, 1)", "x.flatten(1)", "x.unflatten(1, (2, -1))",
        "t.unflatten(x, -2, (3, 1))", "x.t()", "t.t(x)", "x.T", "x.mT", "x.H", "x.mH", "x.adjoint()",
        "x.transpose(0, 1)", "t.transpose(x, -1, -2)", "x.transpose(dim0=0, dim1=1)", "x.transpose(1, 1)",
        "x.swapaxes(0, 1)", "x.swapdims(-1, 0)", "x.permute(1, 0)", "x.permute((1, 0))",
        "t.permute(x, dims=(0, 1))", "x.movedim(0, 1)", "t.moveaxis(x, (0, 1), (1, 0))", "x.unsqueeze(0)",
        "x.unsqueeze(1)", "x.unsqueeze(-1)", "t.unsqueeze(x, dim=-3)", "x.squeeze()", "x.squeeze(0)",
        "x.squeeze((0, 1))", "x.expand(2, 3, 4)", "x.expand(-1, 4)", "x.expand((1, 3, 4))", "x.expand(size=(3, 4))",
        "x.view_as(x)", "x.reshape_as(x.t())", "t.broadcast_to(x, (2, 3, 4))", "x.narrow(0, 1, 2)",
        "x.narrow(1, -3, 2)", "t.narrow(x, 0, 0, 0)", "x.select(0, 1)", "t.select(x, -1, -2)", "x.diagonal()",
        "x.diagonal(1)", "x.diagonal(-2)", "x.diagonal(0, 1, 0)", "t.diagonal(x, offset=9)", "x.unfold(0, 2, 1)",
        "x.unfold(1, 2, 2)", "x.unfold(-1, 3, 1)", "x.unfold(0, 0, 2)", "x.as_strided((2, 2), (1, 2))",
        "x.as_strided((3, 3), (1, 1), 2)", "t.as_strided(x, (), (), 5)", "x[1:].as_strided((2,), (2,))",
        "x.t().view(2, 2, 3)", "x[:, ::2].view(3, 2, 1)", "x.t()[1:].permute(1, 0).unsqueeze(1).squeeze(1)",
        "x.contiguous()", "t.atleast_1d(x)", "t.atleast_2d(x)", "t.atleast_3d(x)", "x.t().unsqueeze(2)",
    ]),
    ((2, 1, 3), [
        "x.squeeze()", "x.squeeze(1)", "x.squeeze(0)", "x.squeeze((0, 1))", "x.squeeze(-2)", "x.expand(2, 4, 3)",
        "x.expand(5, 2, -1, 3)", "x.permute(2, 0, 1)", "x.movedim(-1, 0)", "x.movedim((0, 2), (2, 0))", "x.mT",
        "x.mH", "x.flatten(1)", "x.flatten(0, -2)", "x.diagonal(0, 0, 2)", "x.diagonal(dim1=1, dim2=2)",
        "x.expand(2, 4, 3)[:, :0]", "x.transpose(0, 2).transpose(0, 1)",
    ]),
    ((2, 0, 3), [
        "x.view(0)", "x.view(3, 0, 7)", "x.reshape(0, 5)", "x.flatten()", "x.permute(1, 2, 0)", "x.expand(2, 0, 3)",
        "x.unsqueeze(1)", "x.squeeze()", "x.diagonal()", "x.narrow(1, 0, 0)", "x.transpose(1, 2)",
        "x.view(2, -1, 3)",
    ]),
    ((), [
        "x.view(1, 1)", "x.view(())", "x.reshape(-1)", "x.flatten()", "x.ravel()", "x.unsqueeze(0)", "x.squeeze()",
        "x.squeeze(0)", "x.t()", "x.transpose(0, -1)", "x.expand(3, 2)", "x.permute(())", "x.unfold(0, 1, 1)",
        "t.atleast_1d(x)", "t.atleast_2d(x)", "t.atleast_3d(x)", "x.movedim(0, 0)", "x.view(1)",
    ]),
    ((4,), [
        "x.t()", "x.expand(2, 4)", "x.expand(3, 2, -1)", "x.unfold(0, 2, 1)", "x.unfold(0, 2, 3)",
        "x.view(2, 2).t()", "t.atleast_2d(x)", "t.atleast_3d(x)", "x.unflatten(0, (2, 2))",
        "x.unsqueeze(-1).expand(4, 3)",
    ]),
]  # fmt: skip
COPIES = [
    ((3, 4), [
        "x.t().reshape(12)", "x.t().reshape(2, 6)", "x.t().contiguous()", "x.t().flatten()", "x.flip(0)",
        "t.flip(x, (0, 1))", "x.flip(-1)", "x.flip(())", "x.flip(dims=[1])", "x.fliplr()", "t.flipud(x)",
        "t.rot90(x)", "x.rot90(2)", "x.rot90(-1)", "x.rot90(4)", "x.rot90(1, (1, 0))", "x.roll(1)", "x.roll(-5)",
        "x.roll(1, 0)", "t.roll(x, (1, 2), (0, 1))", "x.roll((1, 1), (0, 0))", "x.roll(shifts=7, dims=1)",
        "x.repeat(2, 1)", "x.repeat(2, 3, 1)", "x.repeat((1, 1))", "x.repeat(2, 0)", "x.tile(2)",
        "t.tile(x, (2, 1, 3))", "x.tile(())", "x.repeat_interleave(2)", "x.repeat_interleave(3, 0)",
        "x.repeat_interleave(2, dim=-1)", "x.repeat_interleave(t.tensor([1, 0, 2]), 0)",
        "x.repeat_interleave(t.tensor([2]), 1)", "x.repeat_interleave(t.tensor(2), 1)",
        "t.repeat_interleave(x, 0, 0)", "x.repeat_interleave(t.tensor([1, 0, 2]), 0, output_size=3)", "x.tril()",
        "x.triu()", "x.tril(1)", "x.triu(-1)", "t.tril(x, diagonal=-2)", "t.triu(x, 9)", "x.diag()", "t.diag(x, 1)",
        "x.diag(-1)", "x.sum_to_size(3, 1)", "x.sum_to_size(1, 4)", "x.sum_to_size(4)", "x.sum_to_size((1, 1))",
        "x.sum_to_size(3, 4)", "t.diag_embed(x)", "t.diag_embed(x, 1)", "x.diag_embed(-1, 0, 2)", "x.diagflat()",
        "x.diagflat(1)", "x.expand(2, 3, 4).reshape(6, 4)", "x.t().view_as(x.t())",
        "x.as_strided((3, 3), (1, 1)) * 2",
    ]),
    ((2, 3, 4), [
        "x.flip(1)", "x.flip((0, -1))", "x.rot90(1, (0, 2))", "x.roll((1, 2), (0, 2))", "x.tril()", "x.triu(1)",
        "x.mT.reshape(2, 12)", "x.permute(2, 0, 1).flatten(1)", "x.sum_to_size(1, 3, 1)", "x.sum_to_size(3, 1)",
        "x.sum_to_size(())", "x.repeat(1, 2, 1)", "x.repeat_interleave(2, 1)",
        "x.unfold(1, 2, 1).unfold(2, 2, 1) * 2", "t.diag_embed(x, 0, 1, -1)", "t.fliplr(x)",
        "x.diagonal(1, 2, 0) * 1",
    ]),
    ((2, 0, 3), [
        "x.flip(0)", "x.roll(1, 0)", "x.repeat(2, 1, 2)", "x.tile(2)", "x.tril()", "x.sum_to_size(1, 0, 3)",
        "x.repeat_interleave(2, 2)", "x.sum_to_size(3)", "x.permute(2, 1, 0).reshape(0, 6)",
    ]),
    ((), [
        "x.flip(0)", "x.roll(3)", "x.repeat(2)", "x.repeat(2, 3)", "x.tile(2)", "x.repeat_interleave(3)",
        "x.diagflat()", "x.sum_to_size(())",
    ]),
    ((4,), [
        "x.diag()", "x.diag(1)", "t.diag(x, -2)", "x.diag_embed()", "x.flip(0)", "x.roll(2)", "t.flipud(x)",
        "x.repeat(3)", "x.sum_to_size(1)", "x.repeat_interleave(t.tensor([0, 1, 2, 0]))", "x.diagflat(-1)",
        "t.cartesian_prod(x, x[:2])", "t.cartesian_prod(x)", "t.meshgrid(x, x[:2], indexing='ij')",
        "t.meshgrid(x, x[:2], x[:3], indexing='xy')", "t.meshgrid([x], indexing='xy')",
        "t.broadcast_tensors(x, x.view(4, 1))", "t.atleast_2d(x, x)", "t.atleast_3d((x, x.view(2, 2)))",
        "t.atleast_1d([x[0]])",
    ]),
]  # fmt: skip


def rows(table):
    return [pytest.param(s, case, id=f"{case}-{'x'.join(map(str, s))}") for s, cases in table for case in cases]


@pytest.mark.parametrize("shape, case", rows(VIEWS))
def test_view_matches_torch(shape, case):
    function = quietly(expression(case))
    compare(function, numbers(*shape))
    for x in (numbers(*shape, dtype="float32"), np.arange(math.prod(shape), dtype=np.int32).reshape(shape)):
        ours, theirs = pair(x)
        a, b = function(lamina, ours), function(need_torch(), theirs)
        assert_same(a, b)
        assert a.stride() == b.stride() or not b.numel()  # NumPy and torch differ on the strides of nothing
        assert a.is_contiguous() == b.is_contiguous()
        assert a.storage_offset() == b.storage_offset()
        if b.numel():
            assert np.shares_memory(a.numpy(), ours.numpy())
            if len(set(b.stride())) == b.ndim and 0 not in b.stride() and "as_strided" not in case and "unfold" not in case:
                a.add_(1)
                b.add_(1)
                assert_same(ours, theirs)


@pytest.mark.parametrize("shape, case", rows(COPIES))
def test_copy_matches_torch(shape, case):
    function = quietly(expression(case))
    compare(function, numbers(*shape))
    compare(function, np.arange(math.prod(shape), dtype=np.int64).reshape(shape))
    compare(function, numbers(*shape, dtype="float16"), grad=False)
    if len(shape) > 1 and "view" not in case:  # the same from an input that does not lie in order
        compare(function, np.moveaxis(numbers(*shape[1:], shape[0]), -1, 0))


@pytest.mark.parametrize("shape, case", rows(VIEWS) + rows(COPIES))
def test_gradients_of_gradients(shape, case):
    if 0 in shape:
        pytest.skip("nothing to differentiate")
    x = lamina.tensor(numbers(*shape), requires_grad=True)
    function = quietly(expression(case))
    assert gradcheck(lambda v: function(lamina, v), x)
    assert gradgradcheck(lambda v: function(lamina, v), x)


ERRORS = [
    ((3, 4), [
        "x.view(5, 5)", "x.view(-1, -1)", "x.view(-2, 6)", "x.view(2.0, 6)", "x.view()", "x.t().view(12)",
        "x.view(7, -1)", "x.reshape(5)", "x.reshape(2, -1, -1)", "x.permute(0)", "x.permute(0, 0)",
        "x.permute(0, 2)", "x.transpose(0, 2)", "x.squeeze(5)", "x.squeeze((0, 0))", "x.unsqueeze(3)",
        "x.unsqueeze(-4)", "x.unsqueeze(0.5)", "x.expand(2, 3)", "x.expand(4)", "x.expand(-1, -1, 4)",
        "x.expand(-2, 4)", "x.narrow(0, 2, 2)", "x.narrow(0, -4, 1)", "x.narrow(0, 0, -1)", "x.select(0, 3)",
        "x.select(0, -4)", "x.diagonal(0, 0, 0)", "x.unfold(0, 4, 1)", "x.unfold(0, 2, 0)", "x.unfold(0, -1, 1)",
        "x.flip(0, 0)", "x.flip(2)", "x.flip()", "x.roll(1, 2)", "x.roll((1, 2), 0)", "x.roll((1, 2))",
        "x.roll((), ())", "x.repeat(2)", "x.repeat(2, -1)", "x.repeat_interleave(t.tensor([1, 2]), 0)",
        "x.repeat_interleave(-1)", "t.repeat_interleave(t.tensor([1., 2]))", "x.flatten(1, 0)", "x.flatten(3)",
        "x.unflatten(1, (2, 3))", "x.unflatten(1, ())", "x.as_strided((5,), (5,))", "x.as_strided((5,), (-1,))",
        "x.as_strided((5, 2), (1,))", "x.sum_to_size(2)", "x.sum_to_size(2, 3, 4)",
        "t.broadcast_tensors(x, t.zeros(3))", "t.broadcast_shapes((2, 3), (4,))", "x.tril(2.5)",
        "t.tril_indices(-1, 2)", "x.view_as(x[0])", "t.meshgrid(x, x)", "t.meshgrid(x[0], x[0], indexing='zz')",
        "t.meshgrid(x[0], t.arange(2), indexing='ij')", "t.cartesian_prod(x)", "t.movedim(x, (0, 1), (1,))",
        "t.movedim(x, (0, 0), (1, 0))", "x[:, :3].view(t.float64)", "x.t().view(t.float16)", "x.rot90(1, (0, 0))",
        "x.rot90(1, (0, 1, 1))", "x.rot90(1, (0, 3))", "x.contiguous(memory_format=t.channels_last)",
        "x.t().contiguous(memory_format=t.preserve_format)", "x.stride(2)", "t.flatten(3)", "t.t([1])",
    ]),
    ((2, 3, 4), ["x.t()", "x.H", "t.diag(x)", "x.expand(3, 4)"]),
    ((4,), ["x.mT", "x.H", "x.mH", "x.adjoint()", "x.diagonal()", "x.tril()", "x.rot90()", "t.fliplr(x)"]),
    ((0, 3), ["x.view(0, -1)", "x.view(1, 3)"]),
    ((), [
        "x.transpose(0, 1)", "x.narrow(0, 0, 1)", "x.select(0, 0)", "t.flipud(x)", "t.diag_embed(x)",
        "x.view(t.float16)", "x.view(2)",
    ]),
]  # fmt: skip


@pytest.mark.parametrize("shape, case", rows(ERRORS))
def test_bad_arguments_raise_as_in_torch(shape, case):
    same_error(quietly(expression(case)), numbers(*shape, dtype="float32"))


def test_messages_say_what_came_and_what_was_expected():
    x = lamina.zeros(3, 4)
    for call, words in [
        (lambda: x.view(5, 5), r"shape '\[5, 5\]' is invalid for input of size 12"),
        (lambda: x.t().view(12), r"Use \.reshape\(\.\.\.\) instead"),
        (lambda: x.expand(2, 3),
         r"expanded size of the tensor \(3\) must match the existing size \(4\) at non-singleton dimension 1"),
        (lambda: x.unfold(0, 4, 1), "maximum size for tensor at dimension 0 is 3 but size is 4"),
    ]:
        with pytest.raises(RuntimeError, match=words):
            call()
    with pytest.raises(IndexError, match=r"Dimension out of range \(expected to be in range of \[-2, 1\], but got 3\)"):
        x.transpose(0, 3)


def test_deprecated_spellings_warn():
    with pytest.warns(UserWarning, match="x.T"):
        assert lamina.zeros(2, 3, 4).T.shape == (4, 3, 2)
    with pytest.warns(UserWarning, match="indexing argument"):
        lamina.meshgrid(lamina.zeros(2), lamina.zeros(3))
    with pytest.warns(UserWarning, match="0-D"):
        assert lamina.zeros(()).mT.shape == ()


# -- bytes as another dtype, order in memory, indices of triangles ------------------------------------------------


@pytest.mark.parametrize("to", ["int32", "float32", "float16", "uint8", "float64", "int64"])
def test_view_of_bytes(to):
    x = numbers(3, 4, dtype="float32")
    ours, theirs = pair(x)
    torch = need_torch()
    a, b = ours.view(getattr(lamina, to)), theirs.view(getattr(torch, to))
    assert_same(a.view(lamina.uint8), b.view(torch.uint8))
    assert a.dtype == getattr(lamina, to) and a.shape == tuple(b.shape)
    a.view(lamina.uint8).zero_()
    assert (ours == 0).all() and ours._version == 1
    assert not lamina.zeros(2, requires_grad=True).view(lamina.int32).requires_grad


@pytest.mark.parametrize("shape, name",
                         [((2, 3, 4, 5), "channels_last"), ((2, 3, 2, 4, 5), "channels_last_3d"),
                          ((2, 1, 4, 5), "channels_last"), ((2, 3, 1, 1), "channels_last")])  # fmt: skip
def test_memory_formats(shape, name):
    x = numbers(*shape)
    torch = need_torch()
    for make in ("contiguous", "to", "clone"):
        ours, theirs = pair(x, requires_grad=True)
        a = getattr(ours, make)(memory_format=getattr(lamina, name))
        b = getattr(theirs, make)(memory_format=getattr(torch, name))
        assert_same(a, b)
        assert a.is_contiguous(memory_format=getattr(lamina, name)) and b.is_contiguous(memory_format=getattr(torch,
                                                                                                              name))
        assert a.is_contiguous() == b.is_contiguous()
        if 1 not in shape:  # else the orders cannot be told apart
            assert (a * 2).stride() == (b * 2).stride() and a.clone().stride() == b.clone().stride()
            assert a.stride() == b.stride()
        (a * a).backward(lamina.ones(shape, dtype=lamina.float64))
        (b * b).backward(torch.ones(shape, dtype=torch.float64))
        assert_same(ours.grad, theirs.grad)
        assert ours.is_contiguous(memory_format=getattr(lamina,
                                                        name)) == theirs.is_contiguous(memory_format=getattr(torch,
                                                                                                             name))
    assert ours.to(memory_format=lamina.contiguous_format) is ours
    with pytest.raises(RuntimeError, match="required rank"):
        lamina.zeros(2, 3).to(memory_format=getattr(lamina, name))


def test_strides_of_odd_tensors():
    torch = need_torch()
    for make in (
        lambda t: t.zeros(3, 0), lambda t: t.zeros(0, 3, 4), lambda t: t.zeros(1, 1), lambda t: t.zeros(()),
        lambda t: t.zeros(3, 1, 2)[:, :, :1],
        lambda t: t.zeros(3, 4).t().unsqueeze(1), lambda t: t.zeros(2, 3, 4)[:, 1:2],
        lambda t: t.zeros(2, 3)[..., None, None],
    ):  # fmt: skip
        assert make(lamina).stride() == make(torch).stride()


@pytest.mark.parametrize("arguments", [(3, 4), (4, 3, 1), (3, 3, -1), (0, 3), (3, 0), (2, 5, -4)])
def test_triangle_indices(arguments):
    for name in ("tril_indices", "triu_indices"):
        compare(lambda t, n=name: getattr(t, n)(*arguments), grad=False)
        compare(lambda t, n=name: getattr(t, n)(*arguments, dtype=t.int32), grad=False)


def test_broadcast_shapes():
    for shapes in [((2, 3), (1, 3)), ((2, 1), (1, 4), (3, 1, 1)), ((), (3,)), (3, (2, 1)), ((0,), (1,)), ()]:
        assert lamina.broadcast_shapes(*shapes) == tuple(need_torch().broadcast_shapes(*shapes))


# -- hidden memory order -----------------------------------------------------------------------------------------


def hidden(shape=(2, 3, 2, 2), requires_grad=False):
    """A tensor as a fast kernel returns it: contiguous to its user, channels-last in fact; and its numbers."""
    a = numbers(*shape)
    t = lamina.from_numpy(np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1))
    t._hidden = True
    return t.requires_grad_(requires_grad), a


@pytest.mark.parametrize("case", [
    "x.view(-1)", "x.flatten(1)", "x.reshape(4, 6)", "x[0]", "x[:, 1]", "x.permute(0, 2, 3, 1)", "x.unsqueeze(0)",
    "x.diagonal()", "x.as_strided((3,), (2,))", "x.unfold(1, 2, 1)", "x.squeeze()", "x.split(1, 1)[2]",
    "x.unbind(1)[1]", "x.expand(2, 2, 3, 2, 2)", "x.detach()", "x.view(dtype=t.int64)", "x.roll(1)", "x.flip(1)",
    "x.tril()",
])  # fmt: skip
def test_hidden_order_is_never_seen(case):
    function = expression(case)
    x, a = hidden()
    plain = lamina.from_numpy(a)
    ours, expected = function(lamina, x), function(lamina, plain)
    np.testing.assert_array_equal(ours.numpy(), expected.numpy())
    assert ours.stride() == expected.stride() and ours.storage_offset() == expected.storage_offset()
    assert x.stride() == plain.stride() and x.is_contiguous()
    if np.shares_memory(expected.numpy(), a) and 0 not in expected.stride():
        ours.zero_()
        expected.zero_()
        np.testing.assert_array_equal(x.numpy(), a)


def test_is_contiguous_of_a_hidden_tensor():
    x, _ = hidden()
    assert x.is_contiguous() and x.contiguous() is x and x._hidden
    assert not x.is_contiguous(memory_format=lamina.channels_last)
    assert x.to(memory_format=lamina.channels_last).stride() == (12, 1, 6, 3)
    assert hidden((2, 1, 2, 2))[0].is_contiguous(memory_format=lamina.channels_last)
    assert hidden((2, 3, 1, 1))[0].is_contiguous(memory_format=lamina.channels_last)


# -- writing through views ---------------------------------------------------------------------------------------

WRITES = {
    "row": "y[0].mul_(3)",
    "chained": "y[1:][0, 1:].mul_(3)",
    "view of view": "y.view(4, 3).t()[1].mul_(y.view(2, 6)[1, :4].detach() + 1)",
    "two writes": "(y[0].mul_(3), y[:, 1].pow_(2))",
    "a view made before": "(lambda v: (y[0].mul_(3), v.mul_(2)))(y[:, 1])",
    "a view used after": "(lambda v: (y[0].mul_(3), y.add_(v.sum())))(y[0])",
    "a whole tensor": "y.mul_(3)",
    "whole then view": "(lambda v: (y.mul_(3), v.mul_(2)))(y[1])",
    "diagonal": "y.diagonal(1).exp_()",
    "transposed": "y.t()[2].sin_()",
    "narrow": "y.narrow(1, 1, 2).mul_(y.narrow(1, 0, 2).clone())",
    "unsqueezed": "y.unsqueeze(1).select(0, 1).mul_(5)",
    "self": "y[0].mul_(y[1].clone())",
    "flattened": "y.flatten()[2:7].mul_(y.flatten()[7:12].clone())",
    "unflattened": "y.unflatten(1, (2, 2))[:, 0].mul_(2)",
    "permuted": "y.view(3, 2, 2).permute(2, 0, 1)[0].mul_(7)",
    "filled": "y[1].fill_(2.)",
    "zeroed": "y[:, :2].zero_()",
    "copied": "y[:2].copy_(y[1:].clone())",
    "copied with history": "y[:2].copy_(y[1:] * 2)",
    "assigned": "y.__setitem__(0, y[1] * 2)",
    "assigned a product": "y.__setitem__(0, y[1].clone() * y[2].clone())",
    "added a quotient": "y[0].add_(y[1].div(2.)).div_(4.)",
    "unfold": "y.unfold(1, 2, 2)[:, 1].mul_(3)",
    "squeezed": "y.view(3, 1, 4).squeeze(1)[0].mul_(3)",
    "detached": "y.detach()[0].mul_(3)",
    "expanded source": "y[1].add_(y[0, :1].expand(4))",
    "strided": "y.as_strided((3,), (4,), 1).mul_(3)",
}


@pytest.mark.parametrize("case", WRITES)
def test_writes_through_views_change_history(case):
    run = expression(f"(lambda y: ({WRITES[case]}, (y * t.arange(12., dtype=y.dtype).view(3, 4)).sum() + y.sum())[1])(x * 2)")
    compare(run, numbers(3, 4))
    plain = expression(f"(lambda y: ({WRITES[case]}, y)[1])(x.clone())")
    compare(plain, numbers(3, 4), grad=False)
    x = lamina.tensor(numbers(3, 4), requires_grad=True)
    if "detach" not in WRITES[case]:
        assert gradcheck(lambda v: run(lamina, v), x)
        assert gradgradcheck(lambda v: run(lamina, v), x)


@pytest.mark.parametrize("split", [
    "y.split(2)", "y.chunk(2)", "y.unbind()", "y.tensor_split(2)", "y.split([1, 2])",
])
def test_parts_of_a_split_can_be_written(split):
    """PyTorch refuses this; here it means what writing to the same slice means."""
    x = lamina.tensor(numbers(3, 4), requires_grad=True)

    def run(v):
        y = v * 2
        eval(split, {"y": y})[1].mul_(3)
        return y * y

    y = run(x)
    expected = lamina.tensor(x.detach().numpy() * 2)
    eval(split, {"y": expected})[1].mul_(3)
    assert_same(y, expected * expected)
    assert gradcheck(run, x) and gradgradcheck(run, x)


def test_a_view_of_a_base_in_another_order_can_be_written():
    """The gradient's memory must be laid out so that the view can be found again in it."""

    def run(t, x):
        y = (x * 2).contiguous(memory_format=t.channels_last)
        y.permute(0, 2, 3, 1).view(2, 12)[:, 1:7].mul_(3)
        return y * y

    compare(run, numbers(2, 3, 2, 2))
    compare(expression("(lambda y: (y.t().view(-1)[3:7].mul_(3), y * y)[1])((x.view(4, 6) * 2).t())"),
            numbers(2, 3, 2, 2))


def test_a_leaf_cannot_be_written():
    for case in ("x[0].mul_(2)", "x.view(-1).zero_()", "x.t().fill_(1.)", "x.zero_()", "x.unsqueeze_(0)",
                 "x.transpose_(0, 1)"):
        torch = need_torch()
        for t in (torch, lamina):
            with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
                expression(case)(t, t.zeros(3, 4, requires_grad=True))
            with t.no_grad():
                expression(case)(t, t.zeros(3, 4, requires_grad=True))


def test_an_expanded_tensor_cannot_be_written():
    for t in (need_torch(), lamina):
        for case in ("x.expand(3, 4).mul_(2)", "x.expand(3, 4).t()[:2].add_(1)"):
            with pytest.raises(RuntimeError, match="more than one element"):
                expression(case)(t, t.zeros(3, 1))
        assert t.zeros(3, 1).expand(3, 4)[:, 0].add_(1).sum() == 3


def test_a_backward_notices_a_write_through_a_view():
    for t in (need_torch(), lamina):
        x = t.ones(3, 4, requires_grad=True)
        y = x * 2
        z = y.exp().sum() + (y * y).sum()
        y[0].mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.backward()


@pytest.mark.parametrize("case", [
    "x.unsqueeze_(0)", "x.squeeze_()", "x.squeeze_(0)", "x.t_()", "x.transpose_(0, 1)", "x.swapaxes_(0, -1)",
    "x.as_strided_((2, 2), (1, 1))", "x[1:].unsqueeze_(-1)", "x.swapdims_(0, 1)",
])  # fmt: skip
def test_in_place_changes_of_shape(case):
    compare(lambda t, x: expression(case)(t, x * 2), numbers(3, 4))
    x = lamina.zeros(3, 4)
    assert x.unsqueeze_(1) is x and x.shape == (3, 1, 4) and x.squeeze_(1) is x


def test_resize():
    for t in (need_torch(), lamina):
        x = t.arange(6)
        assert x.resize_(2, 2) is x and x.tolist() == [[0, 1], [2, 3]]
        y = t.arange(3)
        y.resize_(2, 2)
        assert y.flatten()[:3].tolist() == [0, 1, 2]
        with pytest.raises(RuntimeError, match="cannot resize variables that require grad"):
            t.zeros(3, requires_grad=True).resize_(2)


def test_names_of_nodes():
    x = lamina.zeros(3, 4, requires_grad=True)
    for tensor, name in [
        (x[0], "SelectBackward0"), (x[0, 1:], "SliceBackward0"), (x[1:, 0], "SelectBackward0"),
        (x[None], "UnsqueezeBackward0"),
        (x.view(4, 3), "ViewBackward0"), (x.t().reshape(12), "UnsafeViewBackward0"),
        (x.permute(1, 0), "PermuteBackward0"),
        (x.transpose(0, 1), "TransposeBackward0"), (x.expand(2, 3, 4), "ExpandBackward0"),
        (x.split(2)[0], "SplitBackward0"),
        (x.unbind()[0], "UnbindBackward0"), (x.diagonal(), "DiagonalBackward0"), (x.repeat(1, 2), "RepeatBackward0"),
    ]:  # fmt: skip
        assert tensor.grad_fn.name() == name


# -- complex numbers as pairs ------------------------------------------------------------------------------------


def test_complex_numbers_as_pairs():
    for case in ("t.view_as_complex(x.view(2, 3, 2))", "t.view_as_complex(x.view(3, 2, 2)[:, 1])",
                 "t.view_as_complex(x.view(3, 2, 2).transpose(0, 1))",
                 "t.view_as_complex(x.view(6, 2)).resolve_conj()"):  # fmt: skip
        for dtype in ("float64", "float32"):
            compare(expression(case), numbers(3, 4, dtype=dtype), grad=False)
            compare(expression(f"t.view_as_real({case})"), numbers(3, 4, dtype=dtype))
            compare(expression(f"t.real({case})"), numbers(3, 4, dtype=dtype))
            compare(expression(f"({case}).imag"), numbers(3, 4, dtype=dtype))
    compare(expression("x.real"), numbers(3, 4))
    compare(expression("t.view_as_real(t.view_as_complex(x.view(2, 3, 2)).t())"), numbers(3, 4))
    x = lamina.zeros(3, 2)
    lamina.view_as_complex(x)[1] = 2 + 3j
    assert x[1].tolist() == [2, 3]
    for case in ("t.imag(x)", "t.view_as_real(x)", "t.view_as_complex(x)",
                 "t.view_as_complex(x.view(2, 2, 3).transpose(0, 2))",
                 "t.view_as_complex(x[0, 0])", "t.view_as_complex(x.long().view(6, 2))"):  # fmt: skip
        same_error(expression(case), numbers(3, 4, dtype="float32"))


@pytest.mark.parametrize("case",
                         ["t.combinations(x)", "t.combinations(x, 3, True)", "t.combinations(x, r=5)",
                          "t.combinations(x, 1)",
                                  "x.narrow_copy(0, 1, 2)"])  # fmt: skip
def test_choices(case):
    compare(expression(case), numbers(4))


def test_positions_as_coordinates():
    for case in ("t.unravel_index(x, (2, 4))", "t.unravel_index(x, 8)", "t.unravel_index(x[0], (2, 2, 2))",
                 "t.unravel_index(x.int(), (2, 4))"):
        compare(expression(case), np.array([5, 7, 0, -1]))
    for case in ("t.unravel_index(x.float(), (2, 4))", "t.unravel_index(x, (2, -4))", "t.combinations(x, -1)",
                 "t.combinations(x[None])"):
        same_error(expression(case), np.array([5, 7, 0]))
