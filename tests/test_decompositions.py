"""Inverses, solvers, determinants, decompositions and matrix norms against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from support import compare, need_torch, same_error

import lamina
from lamina import linalg
from lamina.autograd import gradcheck, gradgradcheck

SQUARE = [(3, 3), (2, 4, 4), (1, 1), (2, 1, 3, 3)]


def values(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def positive(shape, dtype="float64"):
    x = values(shape)
    return (x @ x.swapaxes(-1, -2) + np.eye(shape[-1])).astype(dtype)


def leaf(x):
    return lamina.from_numpy(x).requires_grad_()


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "matrix_rank", "svdvals", "pinv", "cond"])
@pytest.mark.parametrize("shape", SQUARE, ids=str)
def test_of_square_matrices(name, shape):
    for dtype in ("float64", "float32"):
        tight = {"rtol": 2e-3, "atol": 2e-3} if dtype == "float32" else {}
        compare(lambda t, x: getattr(t.linalg, name)(x), values(shape, dtype), **tight)


@pytest.mark.parametrize("name", ["pinv", "svdvals", "matrix_rank"])
@pytest.mark.parametrize("shape", [(2, 4), (4, 2), (3, 2, 5)], ids=str)
def test_of_other_matrices(name, shape):
    compare(lambda t, x: getattr(t.linalg, name)(x), values(shape))


def test_solvers():
    a = values((2, 3, 3))
    for shape in [(2, 3, 2), (3, 2), (2, 3)]:
        compare(lambda t, a, b: t.linalg.solve(a, b), a, values(shape, seed=1))
    compare(lambda t, a, b: t.linalg.solve(a, b, left=False), a, values((2, 4, 3), seed=1))
    compare(lambda t, a, b: t.linalg.solve(a, b), a[0], values((3,), seed=1))
    compare(lambda t, a, b: t.linalg.solve(a, b), a, values((4, 1, 3, 2), seed=1))
    for upper in (True, False):
        for unit in (True, False):
            for left, shape in ((True, (2, 3, 4)), (False, (2, 4, 3)), (True, (3, 4))):
                compare(
                    lambda t, a, b, u=upper, n=unit, e=left: t.linalg.solve_triangular(a, b, upper=u, unitriangular=n, left=e),
                    a, values(shape, seed=1),
                )  # fmt: skip
    compare(
        lambda t, a, b: t.linalg.solve_triangular(a, b, upper=True), np.zeros((2, 2)), np.ones((2, 3)), grad=False
    )


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3), (3, 5), (3, 3)], ids=str)
def test_least_squares(shape):
    for columns in (1, 2):
        b = values((*shape[:-1], columns), seed=1)
        for driver in (None, "gels", "gelsd", "gelss"):
            compare(lambda t, a, b, d=driver: t.linalg.lstsq(a, b, driver=d), values(shape), b, grad=False)
    compare(lambda t, a, b: t.linalg.lstsq(a, b).solution, values(shape), b)


def test_singular_matrices():
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    torch = need_torch()
    for name in ("inv", "solve", "cholesky"):
        arguments = (singular, np.ones(2)) if name == "solve" else (-singular,)
        with pytest.raises(torch.linalg.LinAlgError):
            getattr(torch.linalg, name)(*map(torch.from_numpy, arguments))
        with pytest.raises(linalg.LinAlgError, match=f"linalg.{name}"):
            getattr(linalg, name)(*map(lamina.from_numpy, arguments))
    assert issubclass(linalg.LinAlgError, RuntimeError)
    compare(lambda t, x: t.linalg.slogdet(x), np.zeros((2, 2)), grad=False)
    flat = leaf(np.diag([1.0, 2.0, 0.0]))  # torch says 0 here; the derivative by the last element is 1·2
    linalg.det(flat).backward()
    assert lamina.allclose(flat.grad, lamina.diag(lamina.tensor([0.0, 0.0, 2.0], dtype=lamina.float64)))
    assert linalg.matrix_rank(lamina.from_numpy(singular)).item() == 1
    compare(lambda t, x: t.logdet(x), np.stack([np.eye(3), np.eye(3) * 2, -np.eye(3)]))


def test_decompositions_rebuild_the_matrix():
    """Signs of vectors are free, so what counts is the product, and that the factors have their form."""
    for shape in [(3, 3), (5, 3), (3, 5), (2, 4, 3)]:
        x = lamina.from_numpy(values(shape))
        for full in (True, False):
            u, s, vh = linalg.svd(x, full_matrices=full)
            n = s.shape[-1]
            assert lamina.allclose(u[..., :n] @ (s.unsqueeze(-1) * vh[..., :n, :]), x)
        for mode in ("reduced", "complete"):
            q, r = linalg.qr(x, mode)
            assert lamina.allclose(q @ r, x) and lamina.allclose(r, r.triu())
            assert lamina.allclose(q.mT @ q, lamina.eye(q.shape[-1], dtype=lamina.float64), atol=1e-10)
        assert linalg.qr(x, "r").Q.shape == (0,)
        u, s, v = lamina.svd(x)
        assert lamina.allclose(u @ (s.unsqueeze(-1) * v.mT), x)
        assert lamina.svd(x, compute_uv=False).U.shape == (*shape[:-2], shape[-2], shape[-2])
    x = lamina.from_numpy(positive((2, 3, 3)))
    low, up = linalg.cholesky(x), linalg.cholesky(x, upper=True)
    assert lamina.allclose(low @ low.mT, x) and lamina.allclose(up.mT @ up, x) and lamina.allclose(low, low.tril())
    for triangle in ("L", "U"):
        values_, vectors = linalg.eigh(x, triangle)
        assert lamina.allclose(x @ vectors, vectors * values_.unsqueeze(-2))
        assert lamina.allclose(values_, linalg.eigvalsh(x))


def symmetric(x):
    return x + x.mT


GRADIENTS = {
    "inv": (linalg.inv, (3, 3)), "det": (linalg.det, (2, 3, 3)), "logabsdet": (lambda x: linalg.slogdet(x)[1], (2, 3, 3)),
    "cholesky": (lambda x: linalg.cholesky(x @ x.mT + lamina.eye(3, dtype=x.dtype)), (2, 3, 3)),
    "cholesky upper": (lambda x: linalg.cholesky(x @ x.mT + lamina.eye(3, dtype=x.dtype), upper=True), (3, 3)),
    "qr": (linalg.qr, (2, 3, 3)), "qr tall": (linalg.qr, (4, 2)), "qr wide": (linalg.qr, (2, 4)),
    "svdvals": (linalg.svdvals, (3, 2)), "eigvalsh": (lambda x: linalg.eigvalsh(symmetric(x)), (3, 3)),
    "eigh": (lambda x: (lambda e: (e[0], e[1].square()))(linalg.eigh(symmetric(x))), (3, 3)),
    "svd": (lambda x: (lambda f: (f[0].square(), f[1], f[2].square()))(linalg.svd(x, full_matrices=False)), (3, 3)),
    "svd tall": (lambda x: (lambda f: f[0] @ f[2])(linalg.svd(x, full_matrices=False)), (4, 2)),
    "svd wide": (lambda x: (lambda f: f[0] @ f[2])(linalg.svd(x, full_matrices=False)), (2, 2, 3)),
    "pinv tall": (linalg.pinv, (4, 2)), "pinv wide": (linalg.pinv, (2, 4)), "pinv": (linalg.pinv, (3, 3)),
    "matrix_power": (lambda x: linalg.matrix_power(x, -2), (3, 3)), "nuc": (lambda x: x.norm("nuc"), (3, 2)),
    "lstsq": (lambda x: linalg.lstsq(x, x[..., :1] + 1).solution, (4, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    function, shape = GRADIENTS[name]
    x = leaf(values(shape) + (np.eye(3) if shape[-1] == shape[-2] else 0))
    assert gradcheck(function, x)
    assert gradgradcheck(function, x)


def test_gradients_of_solvers():
    inputs = leaf(values((2, 3, 3)) + 2 * np.eye(3)), leaf(values((3, 2), seed=1))
    for function in (
        linalg.solve,
        lambda a, b: linalg.solve_triangular(a, b, upper=True),
        lambda a, b: linalg.solve_triangular(a, b, upper=False, unitriangular=True),
        lambda a, b: linalg.solve_triangular(a, b.mT, upper=True, left=False),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf])
def test_matrix_norms(order):
    x = values((2, 3, 4))
    for dim in ((-2, -1), (0, 2), (1, 0)):
        for keepdim in (False, True):
            compare(lambda t, x, d=dim, k=keepdim: t.linalg.matrix_norm(x, order, d, k), x)
    compare(lambda t, x: t.linalg.norm(x, order), x[0])
    compare(lambda t, x: t.linalg.norm(x, order, (0, 1)), x)
    compare(lambda t, x: t.linalg.matrix_norm(x, order, dtype=t.float64), x.astype("float32"), rtol=1e-5)


def test_norms_of_vectors():
    x = values((2, 3, 4))
    compare(lambda t, x: t.linalg.norm(x), x)
    compare(lambda t, x: t.linalg.norm(x, dim=1, keepdim=True), x)
    compare(lambda t, x: t.linalg.norm(x, 3, 1), x)
    compare(lambda t, x: t.linalg.norm(x[0, 0], 1), x)
    compare(lambda t, x: t.linalg.vector_norm(x, 3, (0, 2)), x)
    compare(lambda t, x: t.norm(x[0], "nuc"), x)
    compare(lambda t, x: t.linalg.cond(x[:, :, :3], 1), x, grad=False)  # torch's own backward fails here
    compare(lambda t, x, y: t.linalg.vecdot(x, y, dim=1), x, values((2, 3, 4), seed=1))
    compare(lambda t, x, y: t.linalg.cross(x, y), values((4, 3)), values((1, 3), seed=1))
    compare(lambda t, x: t.linalg.multi_dot([x[0], x[0].T, x[1]]), x)
    compare(lambda t, x: t.linalg.diagonal(x, offset=1), x)
    compare(lambda t, x: t.linalg.matrix_power(x @ x.mT, -1), x)


def test_empty():
    for name in ("inv", "det", "svdvals", "pinv"):
        compare(lambda t, x, n=name: getattr(t.linalg, n)(x), np.zeros((0, 2, 2)), grad=False)
    compare(lambda t, x: t.linalg.det(x), np.zeros((0, 0)), grad=False)
    compare(lambda t, x: t.linalg.inv(x), np.zeros((0, 0)), grad=False)


def z(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


ERRORS = {
    "not square": (lambda t, x, y: t.linalg.inv(x), z(2, 3), None, "2 by 3"),
    "no matrix": (lambda t, x, y: t.linalg.det(x), z(3), None, "at least 2 dimensions"),
    "integers": (lambda t, x, y: t.linalg.inv(x), z(2, 2, dtype="int32"), None, "Got Int"),
    "halves": (lambda t, x, y: t.linalg.inv(x), z(2, 2, dtype="float16"), None, "Got Half"),
    "solve": (lambda t, x, y: t.linalg.solve(x, y), z(2, 2), z(3, 2), r"AX = B \(2x2 and 3x2\)"),
    "solve right": (lambda t, x, y: t.linalg.solve(x, y, left=False), z(2, 2), z(2), "XA = B"),
    "solve dtypes": (lambda t, x, y: t.linalg.solve(x, y), z(2, 2), z(2, 2, dtype="float64"), "Float and B of type Double"),
    "triangular": (lambda t, x, y: t.linalg.solve_triangular(x, y, upper=True), z(2, 2), z(2), "B must have at least 2"),
    "qr": (lambda t, x, y: t.linalg.qr(x, "x"), z(2, 2), None, "unrecognized mode 'x'"),
    "eigh": (lambda t, x, y: t.linalg.eigh(x, "X"), z(2, 2), None, "got X"),
    "norm": (lambda t, x, y: t.linalg.matrix_norm(x, 3), z(2, 2), None, "Order 3 not supported"),
    "norm name": (lambda t, x, y: t.linalg.matrix_norm(x, "x"), z(2, 2), None, "Order x not supported"),
    "norm dims": (lambda t, x, y: t.linalg.matrix_norm(x, dim=(0, 0)), z(2, 2), None, "must be different"),
    "norm rank": (lambda t, x, y: t.linalg.norm(x, 2), z(2, 2, 2), None, "1D or 2D. Got 3D"),
    "norm dtype": (lambda t, x, y: t.linalg.vector_norm(x, dtype=t.float16), z(2), None, "without narrowing"),
    "lstsq": (lambda t, x, y: t.linalg.lstsq(x, y), z(3, 2), z(2, 1), "size"),
    "lstsq driver": (lambda t, x, y: t.linalg.lstsq(x, y, driver="x"), z(3, 2), z(3, 1), "driver"),
    "multi_dot": (lambda t, x, y: t.linalg.multi_dot([x]), z(3, 2), None, "at least 2 tensors"),
    "multi_dot sizes": (lambda t, x, y: t.linalg.multi_dot([x, y]), z(3, 2), z(3, 2), "tensors 0 and 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    function, x, y, match = ERRORS[name]
    same_error(function, x, y, match=match)


@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_older_names():
    x = positive((3, 3))
    compare(lambda t, x: t.inverse(x), x)
    compare(lambda t, x: x.inverse(), x)
    compare(lambda t, x: t.pinverse(x), x)
    compare(lambda t, x: x.det(), x)
    compare(lambda t, x: t.logdet(x), x)
    compare(lambda t, x: t.cholesky(x), x)
    compare(lambda t, x: t.cholesky(x, True), x)
    compare(lambda t, x: t.svd(x).S, x)
    compare(lambda t, x: t.qr(x)[1].abs(), x)
