"""Products of matrices and vectors, linear layers, Einstein sums and distances against torch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import compare, layouts, need_torch, same_error

import lamina
import lamina.nn.functional as F
from lamina import engine as engines
from lamina.autograd import gradcheck, gradgradcheck

deprecated = pytest.mark.filterwarnings(
    "ignore:.*deprecated"
)  # torch's cross without a dim, and its chain_matmul

SHAPES = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 2)), ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((1, 2, 3), (6, 3, 1)), ((2, 5, 2, 3), (3,)),
    ((2, 1, 2, 3), (1, 4, 3, 2)),
    # empty ones
    ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((5, 0, 3), (3, 4)), ((0, 2, 3), (0, 3, 4)), ((0,), (0,)), ((2, 3), (3, 0)),
    ((0,), (0, 3)),
    ((5, 2, 0), (0,)), ((0, 0), (0,)),
]  # fmt: skip


def values(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def tensor(shape, seed=0):
    return lamina.from_numpy(values(shape, seed=seed)).requires_grad_()


def operand_pair(shapes, dtype="float64"):
    return values(shapes[0], dtype, 0), values(shapes[1], dtype, 1)


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes, each_engine):
    for dtype in ("float64", "float32"):
        compare(
            lambda t, x, y: t.matmul(x, y),
            *operand_pair(shapes, dtype),
            atol=1e-5 if dtype == "float32" else None,
        )
    compare(lambda t, x, y: x @ y, *operand_pair(shapes))


@pytest.mark.parametrize("left", ["plain", "transposed", "strided"])
@pytest.mark.parametrize("right", ["plain", "transposed", "strided"])
def test_memory_orders(left, right, each_engine):
    for x, y in [((4, 5), (5, 6)), ((3, 4, 5), (3, 5, 6)), ((3, 4, 5), (5, 6)), ((70, 50), (50, 60))]:
        a, b = layouts(x)[left], layouts(y, seed=1)[right]
        compare(lambda t, x, y: x @ y, a, b, atol=3e-5, rtol=1e-5)
    compare(
        lambda t, x, y: t.nn.functional.linear(x, y),
        layouts((30, 40))[left],
        layouts((20, 40))[right],
        rtol=1e-5,
    )


@pytest.mark.parametrize("n", [2, 65, 130])
def test_expanded_gradients(n, each_engine):
    """sum() hands back one number repeated with steps of 0, which BLAS cannot take."""
    compare(
        lambda t, x, y: (x @ y).sum(),
        values((n, n), "float32"),
        values((n, n), "float32", 1),
        rtol=1e-4,
        atol=1e-4,
    )
    compare(
        lambda t, x, y: (x @ y).sum(0),
        values((n, n), "float32"),
        values((n, n), "float32", 1),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8", "float16"])
def test_other_dtypes(dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    for function in (
        lambda t, x: x @ x.t(), lambda t, x: x @ x[0], lambda t, x: x[0] @ x[1], lambda t, x: t.outer(x[0], x[1]),
        lambda t, x: t.nn.functional.linear(x, x, x[:, 0]), lambda t, x: t.einsum("ij,kj->ik", x, x), lambda t, x: t.trace(x),
        lambda t, x: t.kron(x, x), lambda t, x: t.addmm(x, x[:, :2], x),
    ):  # fmt: skip
        compare(function, x, atol=1e-3 if dtype == "float16" else None)  # torch rounds before it adds up, we do after


def test_complex():
    x, y = values((2, 3)) + 1j * values((2, 3), seed=1), values((3, 4)) + 1j * values((3, 4), seed=1)
    torch = need_torch()
    ours = [lamina.from_numpy(v).requires_grad_() for v in (x, y)]
    theirs = [torch.from_numpy(v).requires_grad_() for v in (x, y)]
    for t, (a, b) in ((lamina, ours), (torch, theirs)):
        v = t.from_numpy(values((2, 4)) + 1j * values((2, 4), seed=2))
        (a @ b).backward(v)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy())
    compare(lambda t, x, y: t.vdot(x[0], y[:, 0]), x, y, grad=False)


NAMED = {
    "mm": [(2, 3), (3, 4)], "bmm": [(5, 2, 3), (5, 3, 4)], "mv": [(2, 3), (3,)], "dot": [(3,), (3,)], "vdot": [(3,), (3,)],
    "outer": [(2,), (3,)], "ger": [(2,), (3,)], "inner": [(2, 3), (4, 3)], "addmm": [(4,), (2, 3), (3, 4)],
    "addmv": [(2,), (2, 3), (3,)], "addr": [(3,), (2,), (3,)], "addbmm": [(2, 4), (5, 2, 3), (5, 3, 4)],
    "baddbmm": [(2, 4), (5, 2, 3), (5, 3, 4)], "kron": [(2, 3), (2, 2)], "trace": [(3, 4)], "cross": [(2, 3), (2, 3)],
    "tensordot": [(2, 3, 4), (3, 4, 5)], "chain_matmul": [(2, 3), (3, 4), (4, 2)], "cdist": [(4, 3), (5, 3)],
}  # fmt: skip


@deprecated
@pytest.mark.parametrize("name", NAMED)
def test_named_products(name):
    inputs = [values(shape, seed=i) for i, shape in enumerate(NAMED[name])]
    compare(lambda t, *x: getattr(t, name)(*x), *inputs)
    if name in ("mm", "addmm", "baddbmm", "dot"):
        compare(lambda t, *x: getattr(x[0], name)(*x[1:]), *inputs)
    ours = [lamina.from_numpy(x).requires_grad_() for x in inputs]
    function = getattr(lamina, name)
    assert gradcheck(function, ours)
    assert gradgradcheck(function, ours)


@pytest.mark.parametrize("name", ["addmm", "addmv", "addr", "addbmm", "baddbmm"])
def test_alpha_and_beta(name):
    inputs = [values(shape, seed=i) for i, shape in enumerate(NAMED[name])]
    for alpha, beta in [(2, 1), (0.5, -1.5), (1, 0), (0, 1), (1, 1)]:
        compare(lambda t, *x, a=alpha, b=beta: getattr(t, name)(*x, alpha=a, beta=b), *inputs, grad=beta != 0)
    inputs[0][...] = math.nan
    compare(lambda t, *x: getattr(t, name)(*x, beta=0), *inputs, grad=False)
    whole = [np.arange(x.size).reshape(x.shape) for x in inputs]
    compare(lambda t, *x: getattr(t, name)(*x, alpha=2, beta=3), *whole)


def test_in_place_and_out():
    for t in (lamina, need_torch()):
        x, y = t.from_numpy(values((2, 3))), t.from_numpy(values((3, 4)))
        out = t.empty(2, 4, dtype=t.float64)
        assert t.mm(x, y, out=out) is out
        again = t.zeros(2, 4, dtype=t.float64)
        again.addmm_(x, y, alpha=2)
        np.testing.assert_allclose(again.numpy(), 2 * out.numpy())


LINEAR = [
    ((2, 3), (5, 3), (5,)), ((2, 3), (5, 3), None), ((3,), (5, 3), (5,)), ((3,), (5, 3), None), ((2, 4, 3), (5, 3), (5,)),
    ((2, 4, 3), (5, 3), None), ((2, 1, 2, 3), (5, 3), (5,)), ((0, 3), (5, 3), (5,)), ((2, 0), (5, 0), (5,)),
    ((2, 3), (0, 3), (0,)),
    ((2, 3), (5, 3), (1,)), ((2, 3), (5, 3), ()), ((2, 3), (5, 3), (1, 5)), ((2, 3), (5, 3), (2, 5)), ((2, 3), (3,), None),
    ((3,), (3,), None), ((2, 2, 3), (3,), None), ((0, 4, 3), (5, 3), (5,)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", LINEAR, ids=str)
def test_linear(shapes, each_engine):
    inputs = [None if s is None else values(s, "float32", i) for i, s in enumerate(shapes)]
    compare(lambda t, *x: t.nn.functional.linear(*x), *inputs)
    doubles = [x if x is None else x.astype("float64") for x in inputs]
    compare(lambda t, *x: t.nn.functional.linear(*x), *doubles)


def test_linear_of_large_inputs(each_engine):
    for shape in [(128, 300), (7, 16, 300), (300,)]:
        inputs = values(shape, "float32"), values((70, 300), "float32", 1), values((70,), "float32", 2)
        compare(lambda t, *x: t.nn.functional.linear(*x), *inputs, rtol=1e-4, atol=1e-4)
        with engines.usage() as used:
            F.linear(*map(lamina.from_numpy, inputs))
        assert used.engines <= {each_engine} or shape == (300,)


def test_linear_gradients():
    for shapes in [
        ((2, 3), (4, 3), (4,)),
        ((3,), (4, 3), (4,)),
        ((2, 2, 3), (4, 3), (4,)),
        ((2, 3), (4, 3), (1,)),
    ]:
        inputs = [tensor(s, i) for i, s in enumerate(shapes)]
        assert gradcheck(F.linear, inputs)
        assert gradgradcheck(F.linear, inputs)
    weight = tensor((4, 3))
    for frozen in (lamina.from_numpy(values((2, 3))), tensor((2, 3))):  # an input that needs no gradient
        assert gradcheck(lambda w, x=frozen: F.linear(x, w), weight)


@pytest.mark.parametrize("shapes", [s for s in SHAPES if 0 not in s[0] + s[1]], ids=str)
def test_matmul_gradients(shapes):
    inputs = [tensor(s, i) for i, s in enumerate(shapes)]
    assert gradcheck(lamina.matmul, inputs)
    assert gradgradcheck(lamina.matmul, inputs)


def z(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


ERRORS = {
    "matmul sizes": (lambda t, x, y: t.matmul(x, y), z(2, 3), z(4, 5), r"shapes cannot be multiplied \(2x3 and 4x5\)"),
    "matmul dtypes": (lambda t, x, y: t.matmul(x, y), z(2, 3), z(3, 5, dtype="float64"), "same dtype, but got: float != double"),
    "matmul integers": (lambda t, x, y: t.matmul(x, y), z(2, 3, dtype="int32"), z(3, 5, dtype="int64"), "int != long int"),
    "matmul halves": (lambda t, x, y: t.matmul(x, y), z(2, 3, dtype="float16"), z(3, 5), "c10::Half != float"),
    "matmul bools": (lambda t, x, y: t.matmul(x, y), z(2, 3, dtype="bool"), z(3, 5, dtype="bool"), "Bool"),
    "matmul number": (lambda t, x, y: t.matmul(x, y), z(2, 3), 5, "must be Tensor"),
    "matmul scalar": (lambda t, x, y: t.matmul(x, y), z(), z(3), "at least 1D, but they are 0D and 1D"),
    "vectors": (lambda t, x, y: t.matmul(x, y), z(3), z(4), "got 3 and 4 elements"),
    "vector matrix": (lambda t, x, y: t.matmul(x, y), z(3), z(4, 5), "1x3 and 4x5"),
    "matrix vector": (lambda t, x, y: t.matmul(x, y), z(2, 3), z(4), r"mat \(2x3\), vec \(4\)"),
    "batch vector": (lambda t, x, y: t.matmul(x, y), z(5, 2, 3), z(4), r"mat \(10x3\), vec \(4\)"),
    "vector dtypes": (lambda t, x, y: t.matmul(x, y), z(2, 3), z(3, dtype="float64"), "same dtype"),
    "batches": (lambda t, x, y: t.matmul(x, y), z(5, 2, 3), z(4, 3, 2), r"tensor a \(5\) must match the size of tensor b \(4\)"),
    "batch sizes": (lambda t, x, y: t.matmul(x, y), z(5, 2, 3), z(5, 4, 2), r"\[5, 3\] but got: \[5, 4\]"),
    "batch matrix": (lambda t, x, y: t.matmul(x, y), z(5, 2, 3), z(4, 2), r"10x3 and 4x2"),
    "batch dtypes": (lambda t, x, y: t.matmul(x, y), z(5, 2, 3), z(5, 3, 2, dtype="float64"), "expected scalar type Float"),
    "mm rank": (lambda t, x, y: t.mm(x, y), z(2, 3), z(3), "mat2 must be a matrix"),
    "mm rank 1": (lambda t, x, y: t.mm(x, y), z(2, 3, 4), z(3, 4), "self must be a matrix"),
    "bmm": (lambda t, x, y: t.bmm(x, y), z(5, 2, 3), z(4, 3, 2), r"\[5, 3\] but got: \[4, 3\]"),
    "bmm rank": (lambda t, x, y: t.bmm(x, y), z(2, 3), z(4, 3, 2), "batch1 must be a 3D tensor"),
    "mv": (lambda t, x, y: t.mv(x, y), z(2, 3), z(4, 1), "vector"),
    "dot": (lambda t, x, y: t.dot(x, y), z(2, 2), z(2), "1D tensors expected, but got 2D and 1D"),
    "dot dtypes": (lambda t, x, y: t.dot(x, y), z(2), z(2, dtype="float64"), "Float and Double"),
    "inner": (lambda t, x, y: t.inner(x, y), z(2, 3), z(4), r"\[2, 3\] and \[4\]"),
    "outer": (lambda t, x, y: t.outer(x, y), z(2, 1), z(3), "1-D argument self, but got 2-D"),
    "addmm": (lambda t, x, y: t.addmm(x[0], y, x), z(4, 3), z(2, 3), "2x3 and 4x3"),
    "addmm input": (lambda t, x, y: t.addmm(x[0], y, x.T), z(4, 3), z(2, 3), "expanded size"),
    "addmm rank": (lambda t, x, y: t.addmm(x, y, x), z(3, 3), z(3), "mat1 must be a matrix, got 1-D tensor"),
    "addmm dtypes": (lambda t, x, y: t.addmm(y, x, x), z(3, 3), z(3, dtype="float64"), "Double and Float"),
    "addmv": (lambda t, x, y: t.addmv(y, x, y), z(2, 3), z(4), "size mismatch"),
    "addr": (lambda t, x, y: t.addr(x, x, y), z(2, 3), z(3), "vec1, but got 2-D"),
    "baddbmm": (lambda t, x, y: t.baddbmm(x[0], x, y), z(5, 2, 3), z(5, 3, 4), "expanded size"),
    "linear sizes": (lambda t, x, y: t.nn.functional.linear(x, y), z(2, 2, 3), z(5, 4), r"\(4x3 and 4x5\)"),
    "linear bias": (lambda t, x, y: t.nn.functional.linear(x, y, y[:4, 0]), z(2, 3), z(5, 3), r"\(5\).*\(4\)"),
    "linear dtypes": (lambda t, x, y: t.nn.functional.linear(x, y), z(2, 3), z(5, 3, dtype="float64"), "float != double"),
    "linear rank": (lambda t, x, y: t.nn.functional.linear(x, y), z(2, 3), z(5, 3, 1), "3D"),
    "linear scalar": (lambda t, x, y: t.nn.functional.linear(x, y), z(), z(5, 3), "0D and 2D"),
    "tensordot": (lambda t, x, y: t.tensordot(x, y, 3), z(2, 3), z(3, 4), "dims=3"),
    "tensordot negative": (lambda t, x, y: t.tensordot(x, y, -1), z(2, 3), z(3, 4), "dims=-1"),
    "tensordot sizes": (lambda t, x, y: t.tensordot(x, y, ([0], [0])), z(2, 3), z(3, 4), "size 2 in dim 0 and second has size 3"),
    "tensordot lists": (lambda t, x, y: t.tensordot(x, y, ([1], [0, 1])), z(2, 3), z(3, 4), "same length"),
    "trace": (lambda t, x, y: t.trace(x), z(2), z(2), "matrix"),
    "cross": (lambda t, x, y: t.cross(x, y), z(2, 4), z(2, 4), "no dimension of size 3"),
    "cross dim": (lambda t, x, y: t.cross(x, y, dim=0), z(2, 3), z(2, 3), "must have length 3. Got 2 and 2"),
    "cross rank": (lambda t, x, y: t.cross(x, y), z(2, 3), z(3), "same number of dimensions"),
    "cdist": (lambda t, x, y: t.cdist(x, y), z(2, 3), z(4, 2), "X1: 3 X2: 2"),
    "cdist rank": (lambda t, x, y: t.cdist(x, y), z(2), z(4, 2), "at least 2D"),
    "cdist p": (lambda t, x, y: t.cdist(x, y, p=-1), z(2, 3), z(4, 3), "non-negative"),
    "cdist mode": (lambda t, x, y: t.cdist(x, y, compute_mode="x"), z(2, 3), z(4, 3), "compute_mode"),
    "matrix_power": (lambda t, x, y: t.matrix_power(x, 2), z(2, 3), z(2), "2 by 3"),
    "einsum sizes": (lambda t, x, y: t.einsum("ij,jk->ik", x, y), z(2, 3), z(4, 4), "subscript j has size 4 for operand 1"),
    "einsum repeated": (lambda t, x, y: t.einsum("ii->i", x), z(2, 3), z(1), "3 != 2"),
    "einsum few": (lambda t, x, y: t.einsum("ij", x), z(2, 3, 4), z(1), r"\(2\) does not match the number of dimensions \(3\)"),
    "einsum many": (lambda t, x, y: t.einsum("ijk", x), z(2, 3), z(1), r"\(3\)"),
    "einsum ellipsis": (lambda t, x, y: t.einsum("ijk...", x), z(2, 3), z(1), "number of"),
    "einsum output": (lambda t, x, y: t.einsum("ij->ijk", x), z(2, 3), z(1), "subscript k does not appear"),
    "einsum twice": (lambda t, x, y: t.einsum("ij->ii", x), z(2, 3), z(1), "i appears more than once"),
    "einsum dot": (lambda t, x, y: t.einsum("i.j", x), z(2, 3), z(1), "not part of any ellipsis"),
    "einsum dots": (lambda t, x, y: t.einsum("i...j...", x), z(2, 3), z(1), "already found"),
    "einsum letter": (lambda t, x, y: t.einsum("i1", x), z(2, 3), z(1), "index 1"),
    "einsum missing": (lambda t, x, y: t.einsum("ij,jk", x), z(2, 3), z(1), "fewer operands"),
    "einsum extra": (lambda t, x, y: t.einsum("ij", x, y), z(2, 3), z(1), "more operands"),
    "einsum broadcast": (lambda t, x, y: t.einsum("...ij,...jk", x, y), z(5, 2, 3), z(4, 3, 4), "does not broadcast"),
    "einsum range": (lambda t, x, y: t.einsum(x, [0, 60]), z(2, 3), z(1), "valid range"),
    "einsum nothing": (lambda t, x, y: t.einsum("ij"), z(2, 3), z(1), None),
    "einsum dtypes": (lambda t, x, y: t.einsum("ij,jk", x, y), z(2, 3), z(3, 4, dtype="float64"), "Float but found Double"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    function, x, y, match = ERRORS[name]
    same_error(function, x, y, match=match)


EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij->ji", (2, 3)), ("ij", (2, 3)), ("ba", (2, 3)), ("bA", (2, 3)),
    ("ii->i", (3, 3)), ("ii", (3, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("i,i->", (3,), (3,)), ("i,j->ij", (2,), (3,)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("bij,bij->b", (5, 2, 3), (5, 2, 3)), ("bi,bi->b", (5, 3), (5, 3)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)), ("bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4)),
    ("...ij,...jk->...ik", (5, 2, 3), (1, 3, 4)), ("...ij,...jk->ik", (5, 2, 3), (5, 3, 4)), ("...i->...", (2, 2, 3)),
    ("i...->i", (2, 3, 4)), ("...,...", (2, 3), (3,)), ("ij,->ij", (2, 3), ()), ("", ()), (",", (), ()),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,jk,kl,lm->im", (2, 3), (3, 9), (9, 2), (2, 3)), ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)), ("iij->j", (3, 3, 2)),
    ("ijij->ij", (2, 3, 2, 3)), ("ij,jk->ik", (2, 1), (3, 4)), ("ij,ij->ij", (2, 1), (1, 3)),
    ("ijk,ilm->jl", (2, 3, 4), (2, 5, 2)),
    ("i,j,k->ijk", (2,), (3,), (4,)), ("aab,bc->ac", (2, 2, 3), (3, 2)), ("abc,cd,be->aed", (2, 3, 4), (4, 5), (3, 2)),
    ("ij , jk -> ik", (2, 3), (3, 4)), ("iI,jI->Ij", (2, 3), (4, 3)), ("ij,kl->", (2, 3), (4, 5)), ("ij,jk->ki", (2, 3), (3, 4)),
    ("ij,jk->ik", (0, 3), (3, 4)), ("ij,jk->ik", (2, 0), (0, 4)), ("...a,...a->...a", (2, 3), (4, 2, 3)),
    ("ijk,k", (2, 3, 4), (4,)),
    ("a...b,b...c->a...c", (2, 5, 3), (3, 5, 4)), ("abcd,dcba->", (2, 3, 2, 3), (3, 2, 3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUMS, ids=str)
def test_einsum(case):
    equation, *shapes = case
    inputs = [values(s, seed=i) for i, s in enumerate(shapes)]
    compare(lambda t, *x: t.einsum(equation, *x), *inputs)
    if all(math.prod(s) for s in shapes):
        ours = [lamina.from_numpy(x).requires_grad_() for x in inputs]
        assert gradcheck(lambda *x: lamina.einsum(equation, *x), ours)


def test_einsum_forms():
    x, y = values((2, 3)), values((3, 4), seed=1)
    compare(lambda t, x, y: t.einsum(x, [0, 1], y, [1, 2], [0, 2]), x, y)
    compare(lambda t, x, y: t.einsum(x, [0, 1], y, [1, 2]), x, y)
    compare(lambda t, x, y: t.einsum(x, [0, 30], y, [30, 2]), x, y)
    compare(lambda t, x, y: t.einsum(x, [..., 0], [...]), x, y, grad=False)
    compare(lambda t, x, y: t.einsum("ij,jk", [x, y]), x, y)
    compare(lambda t, x, y: t.einsum("ij,ij->ij", x, x.float()), x, y, grad=False)
    assert gradgradcheck(lambda x, y: lamina.einsum("ij,jk->ki", x, y), [tensor((2, 3)), tensor((3, 2), 1)])
    for dtype in ("int32", "int64"):
        whole = np.arange(6).reshape(2, 3).astype(dtype)
        for equation in ("ij->i", "ij,ij->i", "ij,kj->ik", "ij->", "ij->ji"):
            operands = 2 if "," in equation else 1
            compare(lambda t, x, e=equation, n=operands: t.einsum(e, *[x] * n), whole)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_einsum_of_anything(data):
    """Any equation gives what NumPy gives."""
    letters = "abcdeZ"
    sizes = dict(zip(letters, data.draw(st.lists(st.integers(1, 3), min_size=6, max_size=6)), strict=True))
    terms = data.draw(st.lists(st.text(letters, max_size=4), min_size=1, max_size=4))
    used = sorted(set("".join(terms)))
    output = "".join(data.draw(st.permutations(used)))[: data.draw(st.integers(0, len(used)))]
    equation = ",".join(terms) + "->" + output
    inputs = [values([sizes[c] for c in t], seed=i) for i, t in enumerate(terms)]
    ours = lamina.einsum(equation, *map(lamina.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(ours, np.einsum(equation, *inputs), atol=1e-10)


def test_tensordot():
    x, y = values((2, 3, 4)), values((4, 3, 5), seed=1)
    compare(lambda t, x, y: t.tensordot(x, y, ([1, 2], [1, 0])), x, y)
    compare(lambda t, x, y: t.tensordot(x, y, ([-1], [0])), x, y)
    compare(lambda t, x, y: t.tensordot(x, y, 0), x, y)
    compare(lambda t, x, y: t.tensordot(x, y, 1), x, y)
    compare(lambda t, x, y: t.inner(x, y), x, values((5, 4), seed=1))
    compare(lambda t, x, y: t.inner(x, y), x, np.array(2.0))


@deprecated
def test_cross():
    for a, b, dim in [
        ((2, 3), (2, 3), None),
        ((3, 3), (3, 3), 1),
        ((3, 4), (3, 4), 0),
        ((2, 3), (1, 3), -1),
        ((4, 3, 2), (4, 3, 1), None),
    ]:
        compare(lambda t, x, y, dim=dim: t.cross(x, y, dim), values(a), values(b, seed=1))
    same_error(lambda t, x: t.cross(x, x.float(), 0), np.array([1, 2, 3]))


@deprecated
def test_chains():
    shapes = [(2, 9), (9, 1), (1, 5), (5, 3)]
    compare(lambda t, *x: t.chain_matmul(*x), *[values(s, seed=i) for i, s in enumerate(shapes)])
    same_error(lambda t, *x: t.chain_matmul(*x), z(2, 3), z(4, 5))
    for n in (0, 1, 2, 3, 7):
        compare(lambda t, x, n=n: t.matrix_power(x, n), values((2, 3, 3)), grad=n != 0)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
def test_distances(p):
    x, y = values((4, 3)), values((5, 3), seed=1)
    y[0] = x[1]
    for mode in ("use_mm_for_euclid_dist_if_necessary", "donot_use_mm_for_euclid_dist"):
        compare(lambda t, x, y, mode=mode: t.cdist(x, y, p, mode), x, y, grad=p != 0)
    compare(lambda t, x, y: t.cdist(x, y, p), values((2, 1, 4, 3)), values((3, 5, 3), seed=1), grad=p != 0)
    compare(lambda t, x, y: t.cdist(x, y, p), values((4, 0)), values((5, 0)), grad=False)
    compare(lambda t, x, y: t.cdist(x, y, p), values((0, 3)), values((5, 3)))


def test_distances_by_products():
    x, y = values((30, 3)), values((5, 3), seed=1)
    compare(lambda t, x, y: t.cdist(x, y), x, y, atol=1e-6)
    compare(lambda t, x, y: t.cdist(x, y, compute_mode="use_mm_for_euclid_dist"), x[:4], y, atol=1e-6)
    mode = "use_mm_for_euclid_dist"
    inputs = [tensor((3, 2)), tensor((4, 2), 1)]
    assert gradcheck(lambda x, y: lamina.cdist(x, y, compute_mode=mode), inputs)
    assert gradgradcheck(lambda x, y: lamina.cdist(x, y, compute_mode=mode), inputs)


def test_nan_and_infinity(each_engine):
    x = values((80, 90), "float32")
    x[3, 4], x[7, 1], x[9, 9] = math.nan, math.inf, -math.inf
    compare(lambda t, x, y: x @ y, x, values((90, 70), "float32", 1), rtol=1e-4, atol=1e-4)
    compare(
        lambda t, x, y: t.nn.functional.linear(x, y), x, values((70, 90), "float32", 1), rtol=1e-4, atol=1e-4
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_engines_agree(data):
    """Products are the same on both engines, for any sizes, broadcasts and orders in memory."""
    m, n, k = (data.draw(st.integers(1, 70)) for _ in range(3))
    batches = [data.draw(st.sampled_from([(), (1,), (3,), (2, 1), (2, 3)])) for _ in range(2)]
    inputs = []
    for i, shape in enumerate([(*batches[0], m, k), (*batches[1], k, n)]):
        order = data.draw(st.permutations(range(len(shape))))
        x = values(shape, "float32", i)
        inputs.append(np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order)))
    results = []
    for engine in ("reference", "onednn"):
        with engines.engine(engine):
            results.append(lamina.matmul(*map(lamina.from_numpy, inputs)).numpy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)


def test_gradients_need_no_transposed_copies():
    """All gradients of a linear layer are products of what was there already, at any layout: nothing else runs."""
    x, w, b = (lamina.from_numpy(values(s, "float32")).requires_grad_() for s in ((64, 32), (48, 32), (48,)))
    y = F.linear(x, w, b)
    with engines.usage() as used:
        y.backward(lamina.ones(64, 48))
    assert set(used) == {"matmul", "sum"}
    assert sum(used["matmul"][:2]) == 2


def test_large_products_of_many_kinds(each_engine):
    for x, y in itertools.product([(65, 70), (3, 65, 70), (1, 65, 70)], [(70, 66), (3, 70, 66)]):
        compare(lambda t, x, y: x @ y, values(x, "float32"), values(y, "float32", 1), rtol=1e-4, atol=1e-4)


def test_linear_sees_every_change_of_its_weight(each_engine):
    """A weight that stays is kept in a form of its own; each way of writing to it must be noticed."""
    lamina.manual_seed(0)
    layer, x = lamina.nn.Linear(128, 256), lamina.randn(8, 128)
    optimizer = lamina.optim.SGD(layer.parameters(), lr=0.1)

    def check():
        for _ in range(3):
            w, b = (p.detach().numpy().astype("float64") for p in (layer.weight, layer.bias))
            np.testing.assert_allclose(layer(x).detach().numpy(), x.numpy() @ w.T + b, rtol=1e-4, atol=1e-4)

    def step():
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()

    def write_data():
        layer.weight.data[0] = 3.0

    def write_numpy():
        layer.weight.detach().numpy()[1] = -2.0

    def write_in_place():
        with lamina.no_grad():
            layer.weight.mul_(0.5)

    def replace():
        layer.weight.data = lamina.randn(256, 128)

    def load():
        layer.load_state_dict({"weight": lamina.ones(256, 128), "bias": lamina.zeros(256)})

    for _ in range(3):
        layer(x)
    for change in (step, write_in_place, load, step, replace, write_data, write_numpy):
        for _ in range(3):
            layer(x)
        change()
        expected = layer.weight.detach().clone()
        y = layer(x)
        np.testing.assert_allclose(
            y.detach().numpy(), x.numpy() @ expected.numpy().T + layer.bias.detach().numpy(), rtol=1e-4, atol=1e-4
        )
    check()


@pytest.mark.parametrize("shape", [(197, 192), (1, 197, 192), (101, 512), (3, 67, 256), (599, 64), (96, 512), (600, 128)])
def test_products_with_a_kept_weight_on_any_number_of_rows(shape):
    """The inner product with a weight in the engine's own form, which is taken when the weight comes again unchanged."""
    g = np.random.default_rng(0)
    x, w, b = (g.standard_normal(s, dtype=np.float32) for s in (shape, (300, shape[-1]), (300,)))
    for bias in (b, None):
        expected = x.astype(np.float64) @ w.T + (0 if bias is None else bias)
        for _ in range(3):
            y = lamina.engine.kernels.linear(x, w, bias, 0)
            assert y.shape == expected.shape
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
