"""Indexing, gathering and scattering against torch: values, gradients, writes with history, errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support import assert_same, compare, expression, need_torch, pair, quietly, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

NAN = float("nan")
ALL = slice(None)


def numbers(*shape, dtype="float64", seed=0):
    return np.asarray(np.random.default_rng(seed + len(shape)).standard_normal(shape) * 3).astype(dtype)


def checks(function, *arrays, order=2):
    """gradcheck and gradgradcheck of ``function(lamina, *tensors)`` in the float arrays."""
    tensors = tuple(lamina.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays)
    assert gradcheck(lambda *ts: function(lamina, *ts), tensors)
    if order > 1:
        assert gradgradcheck(lambda *ts: function(lamina, *ts), tensors)


# -- x[index] ----------------------------------------------------------------------------------------------------

BASIC = [
    "x[0]", "x[-1]", "x[1, 2]", "x[1, -1, 0]", "x[:]", "x[1:]", "x[:2]", "x[::2]", "x[1:9:3]", "x[-2:]", "x[5:]",
    "x[2:1]", "x[...]", "x[()]", "x[None]", "x[..., None]", "x[None, 0, None]", "x[..., 0]", "x[0, ..., 1]",
    "x[:, 1]", "x[:, :, 1:]", "x[:, None, 1]", "x[..., 1, :]", "x[...,...]", "x[..., 0, ...]", "x[t.tensor(1)]",
    "x[t.tensor(-1), 1:]", "x[np.int64(1)]", "x[t.tensor(0):t.tensor(2)]", "x[np.array(1)]",
    "x[:, t.tensor(1), None]", "x[1:, 1:][0, 1]", "x[0][1][2]", "x[t.tensor(1, dtype=t.int8)]",
    "x[None, None, ..., None]",
]  # fmt: skip
ADVANCED = [
    "x[[0, 1]]", "x[[0, -1, 0]]", "x[[0, 1], [1, 2]]", "x[[[0, 1], [1, 2]]]", "x[([0, 1],)]", "x[t.tensor([0, 1])]",
    "x[t.tensor([[0, 1], [1, 0]])]", "x[:, t.tensor([0, 2])]", "x[..., t.tensor([1, 1, 0])]",
    "x[t.tensor([0, 1]), :, t.tensor([1, 0])]", "x[t.tensor([0, 1]), t.tensor([1, 0])]",
    "x[0, :, t.tensor([1, 0])]", "x[t.tensor([1, 0]), :, 0]", "x[t.tensor([1, 0]), 0, :]",
    "x[:, 1, t.tensor([1, 0])]", "x[t.tensor([1]), :, t.tensor([[1], [0]])]",
    "x[t.tensor([0, 1]), None, t.tensor([1, 0])]", "x[None, t.tensor([1, 0])]", "x[t.tensor([1, 0]), None]",
    "x[t.tensor([0, 1]), 1:]", "x[1:, t.tensor([0, 1])]", "x[..., t.tensor([0, 1]), 1:]", "x[x > 0]",
    "x[x[..., 0] > 0]", "x[t.tensor([True, False])]", "x[:, t.tensor([True, False, True])]",
    "x[t.tensor([True, False]), :, 1:]", "x[[True, False]]", "x[t.tensor([True, False]), t.tensor([0])]",
    "x[t.tensor([True, True]), 1]", "x[True]", "x[False]", "x[True, False]", "x[:, True]",
    "x[True, t.tensor([0, 1])]", "x[t.tensor([0, 1]), True]", "x[t.tensor(True)]", "x[t.tensor([], dtype=t.long)]",
    "x[[]]", "x[:, []]", "x[range(2)]", "x[np.array([0, 1])]", "x[np.array([True, False])]",
    "x[t.tensor([1], dtype=t.int32)]", "x[[slice(0, 1), 1]]", "x[[t.tensor(0), t.tensor(1)]]", "x[[0, None]]",
    "x[t.tensor([1, 0], dtype=t.uint8)]", "x[t.tensor(1, dtype=t.uint8)]",
    "x[t.tensor([0, 0, 1]), t.tensor([2, 2, 0]), t.tensor([1, 1, 3])]", "x[(x > 0).nonzero(as_tuple=True)]",
    "x.t_index if False else x[[0], [1], [2]]", "x[..., None, t.tensor([0, 1])]",
    "x[t.tensor([0]), ..., t.tensor([1])]", "x[:0, t.tensor([0, 1])]", "x[t.ones(2, 3, dtype=t.bool)]",
    "x[t.ones(2, 3, 4, dtype=t.bool)]", "x[t.zeros(2, dtype=t.bool)]", "x[[t.tensor(0), 1], 0]",
]  # fmt: skip


@pytest.mark.parametrize("case", BASIC)
def test_basic_index(case):
    function = expression(case)
    compare(function, numbers(2, 3, 4))
    ours, theirs = pair(numbers(2, 3, 4, dtype="float32"))
    a, b = function(lamina, ours), function(need_torch(), theirs)
    if b.numel():
        assert a.storage_offset() == b.storage_offset()
        assert [s for s, n in zip(a.stride(), a.shape, strict=True) if n > 1] == [s for s,
                                                                                  n in zip(b.stride(), b.shape,
                                                                                           strict=True) if n > 1]
    a.zero_()
    b.zero_()
    assert_same(ours, theirs)
    checks(function, numbers(2, 3, 4)) if b.numel() else None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ADVANCED)
def test_advanced_index(case):
    function = quietly(expression(case))
    compare(function, numbers(2, 3, 4))
    compare(function, np.moveaxis(numbers(3, 4, 2), -1, 0))
    compare(function, np.arange(24, dtype=np.int32).reshape(2, 3, 4))
    if function(lamina, lamina.tensor(numbers(2, 3, 4))).numel():
        checks(function, numbers(2, 3, 4))
    x = lamina.zeros(2, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = eval(case, {"x": x, "t": lamina, "np": np})  # noqa: S307
    if case != "x[[slice(0, 1), 1]]" and "None]]" not in case and "(0), t" not in case:
        assert not np.shares_memory(result.numpy(), x.numpy())


def test_indices_of_a_number():
    for case in ("x[...]", "x[()]", "x[None]", "x[True]", "x[False]", "x[None, ...]", "x[t.tensor(True)]"):
        compare(expression(case), numbers())
    for case in ("x[0]", "x[:]", "x[[0]]", "x[0, 0]", "x[None, 0]", "x[t.tensor([0])]"):
        same_error(quietly(expression(case)), numbers())


def random_index(rng, shape):
    """A random index of a random number of the dimensions, as plain data: ints, slices, None, Ellipsis, lists, masks."""
    items, dim, vectors = [], 0, int(rng.integers(1, 3))
    ellipsis = rng.random() < 0.3
    while dim < len(shape) and rng.random() < 0.85:
        kind, n = rng.choice([
            "int", "slice", "none", "vector", "matrix", "mask", "wide mask", "bool",
        ], p=[0.2, 0.25, 0.1, 0.2, 0.1, 0.08, 0.04, 0.03]), shape[dim]
        if kind == "none":
            items.append(None)
            continue
        if kind == "bool":
            items.append(True)
            continue
        if kind == "wide mask" and dim + 1 < len(shape):
            mask = np.zeros(shape[dim : dim + 2], bool)
            mask.ravel()[rng.permutation(mask.size)[:vectors]] = True
            if mask.sum() != vectors:
                continue
            items.append(mask)
            dim += 2
            continue
        if n == 0 and kind not in ("slice",):
            kind = "slice"
        if kind == "int":
            items.append(int(rng.integers(-n, n)))
        elif kind == "slice":
            start, stop = sorted(int(v) for v in rng.integers(0, n + 1, 2))
            items.append(slice(start if rng.random() < 0.7 else None, stop if rng.random() < 0.7 else None,
                               int(rng.integers(1, 3))))
        elif kind == "vector":
            items.append(rng.integers(-n, n, vectors))
        elif kind == "matrix":
            items.append(rng.integers(-n, n, (2, vectors)))
        else:
            mask = np.zeros(n, bool)
            mask[rng.permutation(n)[:vectors]] = True
            items.append(mask if mask.sum() == vectors else rng.integers(-n, n, vectors))
        dim += 1
        if ellipsis and rng.random() < 0.5:
            items.append(...)
            skip = int(rng.integers(0, len(shape) - dim + 1))
            dim += skip
            # what follows must be the last dimensions
            rest = len(shape) - dim
            for d in range(len(shape) - rest, len(shape)):
                items.append(int(rng.integers(0, shape[d])) if shape[d] and rng.random() < 0.5 else ALL)
            break
    return tuple(items)


def as_tensors(t, index):
    return tuple(t.from_numpy(i) if isinstance(i, np.ndarray) else i for i in index)


@pytest.mark.parametrize("block", range(8))
def test_random_indices(block):
    """Reading, and writing, at random mixtures of all kinds of index."""
    rng = np.random.default_rng(block)
    torch = need_torch()
    for _ in range(40):
        shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 5)))
        index = random_index(rng, shape)
        x = rng.standard_normal(shape)
        compare(lambda t, x, i=index: x[as_tensors(t, i)], x)
        part = torch.arange(x.size).view(shape)[as_tensors(torch, index)]
        if part.numel() != part.unique().numel():
            continue  # which of several values wins is not defined
        for target in (part.shape, part.shape[1:], ()):
            v = np.asarray(rng.standard_normal(tuple(target)))

            def write(t, x, v, i=index):
                y = x * 2
                y[as_tensors(t, i)] = v
                return y

            compare(write, x, v)


# -- x[index] = value --------------------------------------------------------------------------------------------

ASSIGNMENTS = [
    ("0", "5."), ("0", "y[0]"), ("(0, 1)", "y[0, 0]"), ("(slice(None), 1)", "y[0, 0]"), ("slice(1, 2)", "y[:1]"),
    ("...", "y"), ("()", "y[0, 0, 0]"),
    ("None", "y"), ("(..., 0)", "y[:, :, 1]"), ("0", "y[:1, :1]"), ("(0, slice(None, None, 2))", "y[0, :2]"),
    ("0", "7"), ("0", "True"),
    ("t.tensor([1, 0])", "y"), ("t.tensor([1])", "y[0]"), ("[1, 0]", "y[0, 0]"),
    ("(slice(None), t.tensor([0, 2]))", "y[:, 1:]"),
    ("(t.tensor([0, 1]), slice(None), t.tensor([1, 0]))", "y[:, :, 0]"), ("(0, t.tensor([2, 0]))", "y[1, :2]"),
    ("x > 0", "0."),
    ("x > 0", "y[0, 0, 0]"), ("x > 0", "y[y > -99][:int((x > 0).sum())]"), ("x[..., 0] > 0", "1."),
    ("t.tensor([True, False])", "y[:1]"),
    ("True", "3."), ("False", "3."), ("(t.tensor([0, 1]), None)", "y[:, None]"),
    ("(None, t.tensor([1]), 0)", "y[0, 0]"), ("slice(5, 9)", "1."),
    ("(t.tensor([0, 1]), t.tensor([1, 1]))", "y[None, None, :, 0]"), ("(Ellipsis, t.tensor([3, 0]))", "y[..., :2]"),
    ("t.tensor(1)", "y[0]"),
    ("(t.tensor([], dtype=t.long),)", "1."), ("np.array([1])", "y[:1]"), ("slice(0, 1)", "y[1] * 2"),
]  # fmt: skip


@pytest.mark.parametrize("index, value", ASSIGNMENTS, ids=[f"[{i}] = {v}" for i, v in ASSIGNMENTS])
def test_assignment(index, value):
    if index == "(Ellipsis, t.tensor([3, 0]))":
        index = "(..., t.tensor([3, 0]))"
    where, what = expression(index), expression(value)

    def write(t, x, y):
        z = x * 2
        z[where(t, x, y)] = what(t, x, y)
        return z

    compare(write, numbers(2, 3, 4), numbers(2, 3, 4, seed=1))
    compare(lambda t, x, y: (x.__setitem__(where(t, x, y), what(t, x, y)), x)[1], numbers(2, 3, 4),
            numbers(2, 3, 4, seed=1), grad=False)
    checks(write, numbers(2, 3, 4), numbers(2, 3, 4, seed=1))


def test_assignment_casts():
    for data in (np.arange(4), np.zeros(4, "uint8"), np.zeros(4, bool), np.zeros(4, "float16")):
        for value in ("1.7", "True", "-1", "t.tensor(1.7)", "t.tensor([1.5, 2.5])", "t.tensor([300, 1])",
                      "t.tensor([True, False])", "np.float64(2.5)"):
            for index in ("slice(2)", "0", "...") if "[" not in value else ("slice(2)",):
                compare(expression(f"(x.__setitem__({index}, {value}), x)[1]"), data, grad=False)
    assert lamina.zeros(3).index_put_((lamina.tensor([0]),), lamina.tensor(2.0))[0] == 2


ASSIGNMENT_ERRORS = [
    "x.__setitem__(5, 1)", "x.__setitem__(0, [1, 2, 3, 4])", "x.__setitem__(0, np.arange(4.))",
    "x.__setitem__(0, t.ones(2, 4))", "x.__setitem__(0, t.ones(3))", "x.__setitem__(0, 'a')",
    "x.__setitem__(0, None)", "x.__setitem__(0, 1j)", "x.__setitem__((0, 0, 0), 1.)",
    "x.__setitem__(t.tensor([0]), t.ones(1, 4).double())", "x.__setitem__(t.tensor([0]), t.tensor(1))",
    "x.__setitem__(t.tensor([0, 1]), t.ones(3, 4))", "x.__setitem__(x > -99, t.zeros(7))",
    "x.__setitem__(t.tensor([5]), 0.)", "x.__setitem__(slice(None, None, -1), 0.)", "x[0, 0].__setitem__(0, 1.)",
    "x.requires_grad_().__setitem__(0, 1.)", "x.requires_grad_()[:2].__setitem__(0, 1.)",
    "x.requires_grad_().__setitem__(t.tensor([0]), 1.)", "x.byte().__setitem__(0, 300)",
    "x.long().__setitem__(0, NAN)", "x.half().fill_(1e9)", "x.byte().__setitem__(0, -0.5)",
    "x.__setitem__(0, 1e300)", "x.t().__setitem__(0, t.zeros(4))",
]  # fmt: skip


@pytest.mark.parametrize("case", ASSIGNMENT_ERRORS)
def test_bad_assignments_raise_as_in_torch(case):
    same_error(expression(case), numbers(3, 4, dtype="float32"))


def test_a_failed_assignment_changes_nothing():
    x = lamina.zeros(3, 4)
    for index, value in [(0, lamina.ones(3)), (lamina.tensor([0, 1]), lamina.ones(3, 4)), (lamina.tensor([0, 5]), 1.0),
                         (x == 0, lamina.ones(7))]:
        with pytest.raises((RuntimeError, IndexError)):
            x[index] = value
    assert (x == 0).all()


def test_results_written_row_by_row():
    def run(t, x):
        out = t.zeros(3, 4, dtype=x.dtype)
        for i in range(3):
            out[i] = x[i].sin() * (out[i - 1] * 2 + 1 if i else 1)
        return out

    compare(run, numbers(3, 4))
    checks(run, numbers(3, 4))

    def elementwise(t, x):
        out = t.empty(3, 4, dtype=x.dtype)
        for i in range(3):
            for j in range(4):
                out[i, j] = x[i, j] ** 2
        return out

    compare(elementwise, numbers(3, 4))


def test_repeated_indices_add_their_gradients():
    index = np.array([0, 2, 0, 0, 1, 2])
    compare(lambda t, x: x[t.from_numpy(index)], numbers(3, 4))
    compare(lambda t, x: x[t.from_numpy(index), t.from_numpy(index[::-1].copy())], numbers(3, 4))
    compare(lambda t, x: x[:, t.from_numpy(index)], numbers(2, 3, 4, dtype="float32"))
    compare(lambda t, x: x.index_select(0, t.from_numpy(index)), numbers(3, 1))
    compare(lambda t, x: x.index_select(0, t.from_numpy(index)), numbers(3))
    compare(lambda t, x: x[..., t.from_numpy(index)], np.moveaxis(numbers(3, 4, 2), 0, -1))


# -- functions ---------------------------------------------------------------------------------------------------

I = np.array([[0, 1, 0, 2], [2, 0, 1, 1]])  # noqa: E741
V = np.array([2, 0, 2, 1])
FUNCTIONS = [  # x is (3, 4), y is (4, 4), i is (2, 4) with entries below 3
    "x.gather(0, i)", "t.gather(x, 1, i)", "x.gather(-1, i[:, :2])", "x.gather(1, i[:1])", "x.gather(0, i.int())",
    "x.gather(1, i[:, :0])",
    "x.gather(dim=0, index=i, sparse_grad=False)", "x.t().gather(1, i.t())", "x.scatter(0, i, y[:2])",
    "x.scatter(1, i[:, :1], y[:2, :1])",
    "x.scatter(0, i, 7.)", "t.scatter(x, 1, i, value=2)", "x.scatter(0, i, src=y[2:])",
    "x.scatter(0, i[:, :0], y[:2, :0])", "x.scatter_add(0, i, y[:2])",
    "t.scatter_add(x, 1, i, y[:2])", "x.scatter_add(-1, i[:, :3], y[:2, :3])", "x.scatter(0, i, 2., reduce='add')",
    "x.scatter(0, i, 2., reduce='multiply')",
    "x.scatter(0, i, y, reduce='add')", "x.scatter(0, i, y, reduce='multiply')",
    "x.t().scatter_add(0, i.t(), y[:, 1:3])",
    "x.index_select(0, i[0])", "t.index_select(x, 1, i[1])", "x.index_select(-1, t.tensor(2))",
    "x.index_select(0, i[0, :0])",
    "x.t().index_select(0, i[0].int())", "x.index_add(0, i[0], y)", "t.index_add(x, 0, i[1], y, alpha=2)",
    "x.index_add(1, i[0], y[:3])",
    "x.index_add(0, t.tensor(1), y[:1])", "x.index_copy(0, t.tensor([2, 0]), y[:2])",
    "t.index_copy(x, 1, t.tensor([1]), y[:3, :1])",
    "x.index_fill(0, t.tensor([2, 0]), 5.)", "x.index_fill(1, t.tensor([3, 1]), y[0, 0])",
    "x.index_fill(1, t.tensor([-1, 1]), 2.)", "t.index_fill(x, 0, t.tensor(1), 2)",
    "x.index_put((i[0, 1:3],), y[0])", "x.index_put((t.tensor([1, 0]), t.tensor([1, 2])), y[0, :2])",
    "x.index_put([i[0], i[1]], y[0], accumulate=True)",
    "t.index_put(x, (x > 0,), y[0, 0])", "x.index_put((i[0],), y, True)", "x.index_put((t.tensor(1),), y[0])",
    "x.index_put((x > 0,), y[0, 0], True)",
    "x.masked_fill(x > 0, 7.)", "t.masked_fill(x, x > 0, y[0, 0])", "x.masked_fill(x[:, :1] > 0, -1)",
    "x.masked_fill(t.ones(2, 3, 4, dtype=t.bool), 1.)",
    "x.masked_fill(mask=x[0] > 0, value=float('-inf')).exp()", "x[0].masked_fill(x > 0, 1.)", "x.masked_select(x > 0)",
    "t.masked_select(x, x[:, :1] > 0)",
    "x[0].masked_select(x > 0)", "x.masked_select(x > 99)", "x.masked_scatter(x > 0, y)",
    "x.masked_scatter(x[0] > 0, y)",
    "x.masked_scatter(x > 0, y.t())", "x.take(t.tensor([0, 11, 1]))", "t.take(x.t(), t.tensor([[1, 2], [1, 1]]))",
    "x.take(t.tensor(3))",
    "x.put(t.tensor([0, 11]), y[0, :2])", "x.put(t.tensor([[1, 1], [2, 11]]), y[:2, :2], accumulate=True)",
    "x.t().put(t.tensor([3]), y[0, :1])",
    "x.take_along_dim(i, 0)", "x.take_along_dim(i[:1], 1)", "t.take_along_dim(x, i[:, :1], 0)", "x.take_along_dim(i)",
    "x.take_along_dim(x.argsort(0), 0)",
    "x.select_scatter(y[0], 0, 1)", "x.slice_scatter(y[:2], 0, 1, 3)", "t.slice_scatter(x, y[:3, :2], 1, 0, 4, 2)",
    "x.diagonal_scatter(y[0, :3])",
    "x.diagonal_scatter(y[0, :3], 1)", "x.where(x > 0, y[:3])",
    "x.fill(3.)", "t.fill(x, y[0, 0])",
]  # fmt: skip
FUNCTIONS = [f for f in FUNCTIONS if "x.fill(" not in f]  # torch has the function only
IN_PLACE = [
    "z.scatter_(0, i, y[:2])", "z.scatter_(1, i[:, :1], 3.)", "z.scatter_add_(0, i, y[:2])",
    "z.index_add_(0, i[0], y)", "z.index_add_(1, i[0], y[:3], alpha=0.5)",
    "z.index_copy_(0, t.tensor([2, 0]), y[:2])", "z.index_fill_(0, t.tensor([2, 0]), 5.)",
    "z.index_fill_(1, t.tensor([0]), y[0, 0])", "z.index_put_((i[0],), y, True)",
    "z.index_put_((t.tensor([1, 0]), t.tensor([1, 2])), y[0, :2])", "z.masked_fill_(x > 0, 2.)",
    "z.masked_fill_(x[0] > 0, y[0, 0])", "z.masked_scatter_(x > 0, y)", "z.put_(t.tensor([0, 11]), y[0, :2])",
    "z.put_(t.tensor([1, 1]), y[0, :2], accumulate=True)", "z.fill_(3.)", "z.fill_(y[0, 0])", "z.zero_()",
    "z.copy_(y[:3])", "z.copy_(y[0])", "z.copy_(y[:3].float())", "z.copy_(t.ones(3, 1))",
    "z.scatter_reduce_(0, i, y[:2], 'amax')", "z.tril_()", "z.triu_(1)", "z.fill_diagonal_(2.)",
    "z.index_put_((i[0, :0],), y[0, 0])", "z.copy_(2.)", "z.scatter_(0, i[:, :0], y[:2, :0])",
]  # fmt: skip


@pytest.mark.parametrize("case", FUNCTIONS)
def test_function_matches_torch(case):
    function = quietly(expression(case))
    known = "reduce=" not in case  # torch has no gradient of it
    compare(function, numbers(3, 4), numbers(4, 4, seed=1), I, grad=known)
    compare(function, numbers(3, 4, dtype="float32"), numbers(4, 4, dtype="float32", seed=1), I, grad=known)
    assert function(lamina,
                    *(lamina.tensor(a, requires_grad=a is not I) for a in (numbers(3, 4), numbers(4, 4),
                                                                           I))).requires_grad
    if "exp" not in case:
        compare(function, np.arange(12).reshape(3, 4), np.arange(16).reshape(4, 4), I)
    x, y = numbers(3, 4), numbers(4, 4, seed=1)
    if function(lamina, lamina.tensor(x), lamina.tensor(y),
                lamina.tensor(I)).numel() and "scatter(0, i, y" not in case and "scatter(0, i, src" not in case:
        checks(lambda t, x, y: function(t, x, y, t.tensor(I)), x, y)


@pytest.mark.parametrize("case", IN_PLACE)
def test_in_place_form_matches_torch(case):
    torch = need_torch()
    for target in ("x * 2", "(x * 2).t().contiguous().t()"):
        function = quietly(expression(f"(lambda z: ({case.replace('x >', 'x.detach() >')}, z)[1])({target})"))
        compare(function, numbers(3, 4), numbers(4, 4, seed=1), I)
        if not any(part in case for part in ("scatter_(0, i, y[", "float()", "fill_(3.)", "zero_", "copy_(2",
                                             "copy_(t.ones")):
            checks(lambda t, x, y, f=function: f(t, x, y, t.tensor(I)), numbers(3, 4), numbers(4, 4, seed=1))
    # into a view of a larger tensor: the base's gradient changes
    on_view = quietly(expression(f"(lambda b: (lambda z: ({case}, b * b)[1])(b[:, 1]))(t.stack([x * 2, x * 3], 1))"))
    compare(on_view, numbers(3, 4), numbers(4, 4, seed=1), I)
    # a tensor of zeros takes the history of what is written
    fresh = quietly(expression(f"(lambda z: ({case}, z)[1])(t.zeros(3, 4, dtype=y.dtype))"))
    compare(lambda t, y, i: fresh(t, t.zeros(3, 4, dtype=y.dtype).fill_(1), y, i), numbers(4, 4, seed=1), I)
    leaf = torch.zeros(3, 4, requires_grad=True), lamina.zeros(3, 4, requires_grad=True)
    for t, z in zip((torch, lamina), leaf, strict=True):
        y, i = t.zeros(4, 4), t.from_numpy(I)
        x = z.detach()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if "[:, :0]" not in case:
                with pytest.raises(RuntimeError, match="leaf Variable"):
                    eval(case, {"z": z, "y": y, "i": i, "x": x, "t": t})  # noqa: S307
            with t.no_grad():
                assert eval(case, {"z": z, "y": y, "i": i, "x": x, "t": t}) is z  # noqa: S307
        assert z.is_leaf and z.requires_grad


def test_reductions_of_a_scatter_have_gradients():
    """PyTorch has none of ``scatter(reduce=...)``."""
    for case in ("x.scatter(0, i, y[:2] * 1, reduce='add')", "x.scatter(0, i, 2., reduce='multiply')",
                 "(x * 2).scatter_(0, i, y[2:], reduce='multiply')",
                 "x.scatter(0, i, y)", "x.scatter_add(1, i, y)", "x.scatter_reduce(0, i, y, 'prod')"):  # fmt: skip
        if case != "x.scatter(0, i, y)":
            run = quietly(expression(case))
            checks(lambda t, x, y, f=run: f(t, x, y, t.tensor(I)), numbers(3, 4), numbers(4, 4, seed=1))
        compare(quietly(expression(case)), numbers(3, 4), numbers(4, 4, seed=1), I, grad=False)


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce(reduce, include_self):
    def function(t, x, y, i):
        return x.scatter_reduce(0, i, y[: len(i)], reduce, include_self=include_self)

    compare(function, numbers(3, 4), numbers(4, 4, seed=1), I)
    compare(lambda t, x, y, i: t.scatter_reduce(x, 1, i, y[:2], reduce, include_self=include_self), numbers(3, 4),
            numbers(4, 4, seed=1), I)
    for dtype in ("int64", "int32", "uint8"):
        compare(function, np.arange(12).reshape(3, 4).astype(dtype), np.arange(16).reshape(4, 4).astype(dtype), I)
    ties = np.array([[1.0, 0, 2, 0], [0, 0, 1, 2]])
    compare(function, np.array([[1.0, 0, 2, 3]] * 3), ties, I)
    compare(function, np.array([[1.0, NAN, 2, 3]] * 3), np.array([[1.0, 0, NAN, 0], [0, 0, 1, 2]]), I)
    compare(function, numbers(3), numbers(4), V)
    checks(lambda t, x, y: function(t, x, y, t.tensor(I)), numbers(3, 4), numbers(4, 4, seed=1))
    if reduce in ("prod", "mean", "amax", "amin"):
        compare(quietly(lambda t, x, y, v: x.index_reduce(0, v, y, reduce, include_self=include_self)), numbers(3, 4),
                numbers(4, 4, seed=1), V)


def test_an_empty_index_may_have_any_shape():
    for case in ("x.gather(0, i)", "x.scatter(0, i, 1.)", "x.scatter_add(0, i, x)", "x.clone().scatter_(1, i, x)",
                 "x.scatter_reduce(0, i, x, 'sum')"):  # fmt: skip
        run = expression(case.replace("i,", "t.tensor([], dtype=t.long),").replace("i)", "t.tensor([], dtype=t.long))"))
        compare(run, numbers(3, 4),
                grad="x)" not in case and "x, " not in case)  # torch has no gradient of x as a source


def test_numbers_of_no_dimension():
    for case in ("x.gather(0, t.tensor(0))", "x.gather(0, t.tensor([0]))", "x.scatter(0, t.tensor(0), y)",
                 "x.scatter_add(0, t.tensor(0), y)",
                 "x.index_select(0, t.tensor([0]))", "x.index_add(0, t.tensor([0]), y)",
                 "x.index_copy(0, t.tensor([0]), y)",
                 "x.index_fill(0, t.tensor([0]), 2.)", "x.masked_fill(x > -99, 1.)", "x.masked_select(x > -99)",
                 "x.masked_scatter(x > -99, y)",
                 "x.take(t.tensor([0, 0]))", "x.put(t.tensor([0]), y.view(1))", "x.take_along_dim(t.tensor([0]))",
                 "x.clone().fill_(y)",
                 "(x * 2).index_fill_(0, t.tensor([0]), 2.)", "(x * 2).index_add_(0, t.tensor([0]), y)"):  # fmt: skip
        compare(expression(case), numbers(), numbers(seed=1))


FUNCTION_ERRORS = [
    "x.gather(0, i + 5)", "x.gather(0, i - 1)", "x.gather(0, i.float())", "x.gather(0, i[0])", "x.gather(2, i)",
    "x.gather(1, t.zeros(4, 2, dtype=t.long))", "x.scatter(0, i + 5, 1)", "x.scatter(0, i, x.double())",
    "x.scatter(0, i, x[:1])", "x.scatter(0, i, 2, reduce='foo')", "x.scatter(0, i, t.tensor(2.))",
    "x.scatter(0, t.zeros(2, 5, dtype=t.long), 1)", "x.scatter(0, i, 'a')", "x.scatter_add(0, i, x.double())",
    "x.scatter_add(0, i, 1.)", "x.scatter_reduce(0, i, x, 'foo')", "x.index_select(0, i)",
    "x.index_select(0, t.tensor([5]))", "x.index_select(0, t.tensor([-1]))", "x.index_select(0, t.tensor([1.]))",
    "x.index_select(0, t.tensor([1], dtype=t.int16))", "x[0, 0].index_select(0, t.tensor([0, 0]))",
    "x[0, 0].index_select(0, t.tensor([1]))", "x.index_select(3, i[0])", "x.index_add(0, i[0], x)",
    "x.index_add(0, i[0], y.double())", "x.index_add(0, i[0], y[:, :2])", "x.index_add(0, i[0] + 5, y)",
    "x.index_add(0, i[0] - 1, y)", "x.index_add(0, i, x[:2])", "x.index_copy(0, i[0], x)",
    "x.index_copy(0, i[0] + 5, y)", "x.index_copy(0, i[0] - 1, y)", "x.index_copy(0, i[0].int(), y)",
    "x.index_copy(0, i[0], y.double())", "x.index_fill(0, i[0], t.tensor([1.]))", "x.index_fill(0, i[0] + 5, 1)",
    "x.index_fill(0, i[0].int(), 1)", "x.index_put((i[0], i[0], i[0]), t.tensor(1.))",
    "x.index_put(i, t.tensor(1.))", "x.index_put((i[0],), 1.)", "x.index_put((i[0],), t.tensor(1.).double())",
    "x.masked_fill(x > 3, t.tensor([1.]))", "x.masked_fill(t.ones(3, dtype=t.bool), 1.)", "x.masked_fill(x, 1.)",
    "x.masked_fill((x > 3).byte(), 1.)", "x.masked_fill_(t.ones(2, 3, 4, dtype=t.bool), 1.)",
    "x.byte().masked_fill(x > 0, 300)", "x.masked_select(t.ones(3, dtype=t.bool))", "x.masked_select(x)",
    "x.masked_scatter(x > -99, t.zeros(7))", "x.masked_scatter(x > -99, t.zeros(12).double())",
    "x.take(t.tensor([12]))", "x.take(t.tensor([-13]))", "x.take(t.tensor([0], dtype=t.int32))",
    "t.zeros(0).take(t.tensor([0]))", "x.take_along_dim(i[:, :2], 0)", "x.take_along_dim(i[0], 0)",
    "x.take_along_dim(x, 0)", "x.put_(t.tensor([0, 11]), t.tensor([1.]))", "x.put_(t.tensor([12]), t.tensor([1.]))",
    "t.nn.functional.one_hot(i, 2)", "t.nn.functional.one_hot(i - 1)", "t.nn.functional.one_hot(i.int())",
    "t.nn.functional.one_hot(i[:0])", "t.nn.functional.one_hot(i, 0)", "x.fill_(t.tensor([1.]))", "x.fill_('a')",
    "x.byte().fill_(300)", "x.fill_(1j)", "x.copy_(t.zeros(5))", "x.copy_(t.zeros(2, 3, 4))",
    "x[0].copy_(t.ones(1, 4))", "x[0].fill_diagonal_(7)", "x.select_scatter(y, 0, 0)", "x[5]", "x[-4]", "x[0, 5]",
    "x[0, 0, 0]", "x[::-1]", "x[::0]", "x[1.5]", "x['a']", "x[t.tensor([1.])]", "x[t.tensor(1.)]",
    "x[t.tensor([1], dtype=t.int8)]", "x[t.tensor([True, False])]", "x[:, t.tensor([True, False])]",
    "x[t.tensor([[True]])]", "x[i[0], i[0], i[0]]", "x[t.tensor([0, 1]), t.tensor([0, 1, 2])]",
    "x[t.tensor([0]), t.tensor([5])]", "x[t.tensor([5])]", "x[t.tensor([-4])]", "x[t.tensor([])]", "x[1:2.5]",
    "x[False, t.tensor([0, 1])]", "x[x[0] > 0, x[0] > 0]",
]  # fmt: skip


@pytest.mark.parametrize("case", FUNCTION_ERRORS)
def test_bad_arguments_raise_as_in_torch(case):
    same_error(quietly(expression(case)), numbers(3, 4, dtype="float32"), numbers(4, 4, dtype="float32", seed=1), I)


def test_messages_say_what_came_and_what_was_expected():
    x = lamina.zeros(3, 4)
    for index, words in [
        (5, "index 5 is out of bounds for dimension 0 with size 3"),
        ((0, -7), "index -7 is out of bounds for dimension 1 with size 4"),
        ((0, 0, 0), "too many indices for tensor of dimension 2"),
        (lamina.tensor([7]), "index 7 is out of bounds for dimension 0 with size 3"),
        (lamina.tensor([True, False]),
         r"mask \[2\] at index 0 does not match the shape of the indexed tensor \[3, 4\] at index 0"),
        (([0, 1], [0, 1, 2]), r"could not be broadcast together with shapes \[2\], \[3\]"),
    ]:  # fmt: skip
        with pytest.raises(IndexError, match=words):
            x[index]
    with pytest.raises(IndexError, match="invalid index of a 0-dim tensor"):
        lamina.zeros(())[0]


def test_deprecated_indices_warn():
    x = lamina.zeros(3, 4)
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        x[[[0, 1], [1, 2]]]
    with pytest.warns(UserWarning, match="uint8"):
        x[lamina.tensor([1, 0, 1], dtype=lamina.uint8)]


# -- where is what, and classes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (5,), (), (0, 3), (2, 1, 3)])
def test_nonzero(shape):
    for dtype in ("float32", "int64", "bool"):
        x = np.asarray(np.random.default_rng(0).integers(0, 2, shape)).astype(dtype)
        for case in ("x.nonzero()", "t.nonzero(x, as_tuple=True)", "t.argwhere(x)", "x.argwhere()"):
            compare(expression(case), x, grad=False)


def test_one_hot():
    for case in ("t.nn.functional.one_hot(x)", "t.nn.functional.one_hot(x, 5)",
                 "t.nn.functional.one_hot(x[0, 0], num_classes=4)",
                 "t.nn.functional.one_hot(x[:0], 3)"):  # fmt: skip
        compare(expression(case), I)


def test_out():
    for t in (lamina, need_torch()):
        x, out = t.arange(6.0).view(2, 3), t.empty(2, 2)
        assert t.gather(x, 1, t.tensor([[0, 1], [2, 2]]), out=out) is out and out.tolist() == [[0, 1], [5, 5]]
        assert t.index_select(x, 1, t.tensor([2, 0]), out=out) is out and out.tolist() == [[2, 0], [5, 3]]
        assert t.take(x, t.tensor([[0, 5], [1, 1]]), out=out) is out and out[0, 1] == 5


def test_fill_diagonal():
    for shape in ((3, 4), (7, 3), (3, 3, 3), (4, 4)):
        for wrap in (False, True):
            compare(lambda t, x, w=wrap: x.fill_diagonal_(7, wrap=w), numbers(*shape), grad=False)


def test_indices_are_version_checked():
    for t in (lamina, need_torch()):
        x, i = t.ones(3, requires_grad=True), t.tensor([0, 1])
        y = x[i]
        i.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_hidden_order_is_respected():
    a = numbers(2, 3, 2, 2)

    def hidden():
        x = lamina.from_numpy(np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1))
        x._hidden = True
        return x

    plain, i = lamina.from_numpy(a), lamina.tensor([1, 0])
    for case in ("x[:, i]", "x[i]", "x[x > 0]", "x.take(i)", "x.gather(1, i.view(1, 2, 1, 1))",
                 "x.masked_fill(x > 0, 1.)", "x.index_select(1, i)",
                 "x.put(i, i.double())", "x.masked_select(x > 0)", "x.masked_scatter(x > 0, x * 2)", "x.sort(1)[0]",
                 "x.nonzero()"):  # fmt: skip
        result = eval(case, {"x": hidden(), "i": i})  # noqa: S307
        expected = eval(case, {"x": plain, "i": i})  # noqa: S307
        np.testing.assert_array_equal(result.numpy(), expected.numpy(), err_msg=case)
        assert result.is_contiguous() and result.stride() == expected.stride()
    x = hidden()
    x[:, 0] = 0.0
    x[x > 2] = 1.0
    expected = a.copy()
    expected[:, 0] = 0
    expected[expected > 2] = 1
    np.testing.assert_array_equal(x.numpy(), expected)
