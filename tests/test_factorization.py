"""LU, LDL, eigenvectors, solvers with factors, tensors as matrices, low-rank approximations: against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina import linalg
from lamina.autograd import gradcheck, gradgradcheck

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")
RNG = np.random.default_rng(0)
SHAPES = [(3, 3), (2, 4, 4), (2, 1, 3, 3), (5, 3), (3, 5), (1, 1), (2, 4, 2), (0, 3, 3), (2, 0, 3)]


def values(shape, dtype="float64"):
    x = RNG.standard_normal(shape)
    return (x + 1j * RNG.standard_normal(shape) if dtype.startswith("c") else x).astype(dtype)


def symmetric(n, batch=(), dtype="float64"):
    x = values((*batch, n, n), dtype)
    return x + x.swapaxes(-1, -2)


def definite(n, batch=(), dtype="float64"):
    x = values((*batch, n, n), dtype)
    return x @ x.conj().swapaxes(-1, -2) + np.eye(n)


def leaf(x):
    return lamina.from_numpy(x).requires_grad_()


def close(function, *inputs, grad=True, tol=1e-9):
    compare(function, *inputs, grad=grad, rtol=tol, atol=tol)


# -- LU ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lu(shape):
    x = values(shape)
    close(lambda t, x: t.linalg.lu(x)[0], x, grad=False)
    for i in (1, 2):
        close(lambda t, x, i=i: t.linalg.lu(x)[i], x)
    close(lambda t, x: t.linalg.lu_factor(x)[0], x)
    close(lambda t, x: t.linalg.lu_factor(x)[1], x, grad=False)
    close(lambda t, x: tuple(t.linalg.lu_factor_ex(x))[1:], x, grad=False)
    close(lambda t, x: tuple(t.lu(x)), x)
    close(lambda t, x: tuple(x.lu(get_infos=True)), x)
    close(lambda t, x: tuple(t.lu_unpack(*t.linalg.lu_factor(x))), x)
    compare(lambda t, x: tuple(t.linalg.lu(x)), x.astype("float32"), grad=False, rtol=1e-4, atol=1e-5)


def test_lu_of_larger_matrices():
    """Beyond one block of columns."""
    for shape in ((70, 70), (2, 80, 45), (45, 80)):
        x = lamina.from_numpy(values(shape))
        p, low, up = linalg.lu(x)
        assert lamina.allclose(p @ low @ up, x) and low.abs().max() <= 1
        close(lambda t, x: t.linalg.lu_factor(x)[0], x.numpy(), grad=False)
    close(lambda t, x: tuple(t.linalg.lu(x)), values((3, 4), "complex128"), grad=False)


def test_lu_parts_and_singular():
    x = values((3, 3))
    close(lambda t, x: tuple(t.lu_unpack(*t.linalg.lu_factor(x), unpack_data=False)), x, grad=False)
    close(lambda t, x: tuple(t.lu_unpack(*t.linalg.lu_factor(x), unpack_pivots=False)), x)
    close(lambda t, x: tuple(t.linalg.lu_factor_ex(x)), np.zeros((2, 3, 3)), grad=False)
    close(lambda t, x: tuple(t.linalg.lu(x)), np.ones((3, 3)), grad=False)
    same_error(lambda t, x: t.linalg.lu_factor(x), np.zeros((2, 2)))


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (4, 2), (2, 4)], ids=str)
def test_lu_gradients(shape):
    x = leaf(values(shape) + 2 * np.eye(*shape[-2:]))
    for function in (lambda x: linalg.lu_factor(x)[0], lambda x: linalg.lu(x)[1:]):
        assert gradcheck(function, x) and gradgradcheck(function, x)


def test_lu_solve():
    x = values((2, 3, 3))
    for left, shape in ((True, (2, 3, 2)), (False, (2, 2, 3)), (True, (3, 4)), (True, (5, 1, 3, 2))):
        for adjoint in (False, True):
            close(
                lambda t, x, b, e=left, a=adjoint: t.linalg.lu_solve(*t.linalg.lu_factor(x), b, left=e, adjoint=a), x,
                values(shape),
            )  # fmt: skip
    close(lambda t, x, b: t.lu_solve(b, *t.linalg.lu_factor(x)), x, values((2, 3, 2)))
    close(lambda t, x, b: b.lu_solve(*t.linalg.lu_factor(x)), x, values((2, 3, 2)))
    c = values((3, 3), "complex128")
    close(lambda t, x, b: t.linalg.lu_solve(*t.linalg.lu_factor(x), b, adjoint=True), c, values((3, 2), "complex128"), grad=False)
    inputs = leaf(x), leaf(values((2, 3, 2)))

    def solved(x, b):
        return linalg.lu_solve(*linalg.lu_factor(x), b)

    assert gradcheck(solved, inputs) and gradgradcheck(solved, inputs)


# -- what went wrong -----------------------------------------------------------------------------------------------


def test_forms_with_info():
    x, b = values((2, 3, 3)), values((2, 3, 2))
    close(lambda t, x: tuple(t.linalg.inv_ex(x)), x)
    close(lambda t, x, b: tuple(t.linalg.solve_ex(x, b)), x, b)
    close(lambda t, x, b: tuple(t.linalg.solve_ex(x, b, left=False)), x, values((2, 2, 3)))
    close(lambda t, x, b: tuple(t.linalg.solve_ex(x, b)), x, values((2, 3)))
    positive = definite(3, (2,))
    for upper in (True, False):
        close(lambda t, x, u=upper: tuple(t.linalg.cholesky_ex(x, upper=u)), positive)
    bad = np.stack([np.eye(3), np.diag([1.0, -1.0, 1.0]), np.zeros((3, 3))])
    for t in (lamina, need_torch()):
        m = t.from_numpy(bad.copy())
        assert t.linalg.cholesky_ex(m).info.tolist() == [0, 2, 1]
        assert t.linalg.inv_ex(m).info.tolist() == [0, 0, 1] and t.linalg.inv_ex(m).inverse[:2].isfinite().all()
        assert t.linalg.solve_ex(m, m).info.tolist() == [0, 0, 1]
    close(lambda t, x: t.linalg.cholesky_ex(x).L[1], bad, grad=False)
    for name in ("inv_ex", "cholesky_ex"):
        with pytest.raises(linalg.LinAlgError, match=name):
            getattr(linalg, name)(lamina.from_numpy(bad), check_errors=True)
    with pytest.raises(linalg.LinAlgError, match="solve_ex"):
        linalg.solve_ex(lamina.from_numpy(bad), lamina.from_numpy(bad), check_errors=True)


# -- eigenvectors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_eig(dtype):
    for shape in ((3, 3), (2, 4, 4), (0, 2, 2), (1, 1)):
        x = values(shape, dtype)
        values_, vectors = linalg.eig(lamina.from_numpy(x))
        wide = lamina.from_numpy(x).to(vectors.dtype)
        tol = 1e-4 if dtype == "float32" else 1e-10
        assert lamina.allclose(wide @ vectors, vectors * values_.unsqueeze(-2), rtol=tol, atol=tol)
        close(lambda t, x: t.linalg.eigvals(x).abs().sort(-1)[0], x, tol=2e-4 if dtype == "float32" else 1e-8)
        close(lambda t, x: t.linalg.eig(x)[1].abs().sum(), x, tol=1e-2 if dtype == "float32" else 1e-8)


def test_eig_gradients():
    x = leaf(values((2, 3, 3)))

    def invariant(x):
        eigenvalues, vectors = linalg.eig(x)
        return lamina.view_as_real(eigenvalues.prod(-1)), vectors.abs().sum((-1, -2))

    assert gradcheck(invariant, x) and gradgradcheck(invariant, x)
    for t in (lamina, need_torch()):
        y = t.from_numpy(np.array([[0.0, 1.0], [-1.0, 0.5]])).requires_grad_()
        with pytest.raises(RuntimeError, match="ill-defined"):
            t.linalg.eig(y)[1].sum().imag.backward()


# -- LDL -----------------------------------------------------------------------------------------------------------


def test_ldl():
    for n in (1, 2, 3, 5, 9):
        for batch in ((), (2,), (0,)):
            x = symmetric(n, batch)
            close(lambda t, x: tuple(t.linalg.ldl_factor(x)), x, grad=False)
            close(lambda t, x, b: t.linalg.ldl_solve(*t.linalg.ldl_factor(x), b), x, values((*batch, n, 2)), grad=False)
    hollow = symmetric(6) * (1 - np.eye(6))  # blocks of two
    close(lambda t, x: tuple(t.linalg.ldl_factor_ex(x)), hollow, grad=False)
    ld, pivots = linalg.ldl_factor(lamina.from_numpy(hollow))
    assert (pivots < 0).any()
    b = lamina.from_numpy(values((6, 2)))
    assert lamina.allclose(lamina.from_numpy(hollow) @ linalg.ldl_solve(ld, pivots, b), b)
    c = values((5, 5), "complex128")
    for hermitian in (True, False):
        m = c + (c.conj().T if hermitian else c.T)
        m = m - np.diag(np.diag(m)) if not hermitian else m - np.diag(np.diag(m).real)
        close(lambda t, x, h=hermitian: tuple(t.linalg.ldl_factor(x, hermitian=h)), m, grad=False)
        close(
            lambda t, x, b, h=hermitian: t.linalg.ldl_solve(*t.linalg.ldl_factor(x, hermitian=h), b, hermitian=h), m,
            values((5, 2), "complex128"), grad=False,
        )  # fmt: skip
    close(lambda t, x: t.linalg.ldl_factor_ex(x).info, np.zeros((2, 2)), grad=False)


# -- Cholesky's and other factors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_solve_and_inverse(upper):
    x, b = definite(3, (2,)), values((2, 3, 2))
    close(lambda t, x, b: t.cholesky_solve(b, t.linalg.cholesky(x, upper=upper), upper), x, b)
    close(lambda t, x, b: b.cholesky_solve(t.linalg.cholesky(x, upper=upper), upper), x, b[:1])
    close(lambda t, x: t.cholesky_inverse(t.linalg.cholesky(x, upper=upper), upper), x)
    c = definite(3, (), "complex128")
    d = values((3, 2), "complex128")
    close(lambda t, x, b: t.cholesky_solve(b, t.linalg.cholesky(x, upper=upper), upper), c, d, grad=False)
    factor = leaf(np.linalg.cholesky(x[0]))

    def solved(low, b):
        return lamina.cholesky_solve(b, low, upper)

    assert gradcheck(solved, (factor, leaf(b[0]))) and gradgradcheck(solved, (factor, leaf(b[0])))
    assert gradcheck(lambda low: lamina.cholesky_inverse(low, upper), factor)


def test_triangular_solve_and_ormqr():
    x, b = values((2, 3, 3)) + 2 * np.eye(3), values((2, 3, 2))
    for settings in ({}, {"upper": False}, {"transpose": True}, {"unitriangular": True, "upper": False, "transpose": True}):
        close(lambda t, x, b, s=settings: tuple(t.triangular_solve(b, x, **s)), x, b)
        close(lambda t, x, b, s=settings: tuple(b.triangular_solve(x, **s)), x, b)
    for shape in ((5, 3), (2, 4, 4), (3, 5)):
        x = values(shape)
        for left in (True, False):
            for transpose in (False, True):
                other = values((*shape[:-2], shape[-2], 2) if left else (*shape[:-2], 2, shape[-2]))
                close(
                    lambda t, x, c, e=left, h=transpose: t.ormqr(*t.geqrf(x), c, e, h) if x.shape[-1] <= x.shape[-2] else c,
                    x, other, grad=False,
                )  # fmt: skip
    inputs = leaf(values((4, 2))), leaf(np.array([0.3, 0.7])), leaf(values((4, 3)))
    assert gradcheck(lamina.ormqr, inputs) and gradgradcheck(lamina.ormqr, inputs)


def test_tensors_as_matrices():
    close(lambda t, x: t.linalg.tensorinv(x), values((2, 3, 6)))
    close(lambda t, x: t.linalg.tensorinv(x, 1), values((6, 2, 3)))
    close(lambda t, x, b: t.linalg.tensorsolve(x, b), values((2, 3, 6)), values((2, 3)))
    close(lambda t, x, b: t.linalg.tensorsolve(x, b), values((2, 3, 2, 3)), values((2, 3)))
    close(lambda t, x, b: t.linalg.tensorsolve(x, b, dims=(1,)), values((2, 6, 3)), values((2, 3)))
    whole = np.array([1, 2, 3]), np.array([1, 2], np.int32)
    for x in (np.array([1.0, 2.0, -0.5]), *whole, values((2, 3)), values(3, "complex128")):
        for n in (None, 2, 5):
            close(lambda t, x, n=n: t.linalg.vander(x, N=n), x)
            for increasing in (False, True):
                if x.ndim == 1:  # torch's own backward of it fails
                    close(lambda t, x, n=n, i=increasing: t.vander(x, n, i), x, grad=False)
    close(lambda t, x: t.vander(x, 0), np.array([1, 2]))
    vector = leaf(np.array([1.0, 2.0, -0.5]))
    assert gradcheck(lambda x: lamina.vander(x, 4), vector) and gradgradcheck(lambda x: lamina.vander(x, 4), vector)
    close(lambda t, x: t.vander(x, 1), np.array([1.0, 2.0]), grad=False)


def test_norms_of_before():
    x = values((3, 4))
    close(lambda t, x: t.frobenius_norm(x, (0, 1)), x)
    close(lambda t, x: t.frobenius_norm(x, 0, True), x)
    close(lambda t, x: t.nuclear_norm(x), x)
    close(lambda t, x: t.nuclear_norm(x, (0, 1), True), x)
    for dim in (0, 1, -1):
        close(lambda t, x, d=dim: t.norm_except_dim(x, 2, d), x)


def test_low_rank():
    x = values((8, 3)) @ values((3, 6))
    for t in (lamina, need_torch()):
        m = t.from_numpy(x)
        for y in (m, m.mT):
            u, s, v = t.svd_lowrank(y, q=3)
            assert t.allclose(u @ t.diag(s) @ v.mT, y) and u.shape == (y.shape[0], 3)
        u, s, v = t.svd_lowrank(m, q=3, M=m * 0.5)
        assert t.allclose(u @ t.diag(s) @ v.mT, m * 0.5)
        u, s, v = t.pca_lowrank(m, q=3)
        assert t.allclose(u @ t.diag(s) @ v.mT, m - m.mean(0)) and t.pca_lowrank(m)[1].shape == (6,)

    def values_of(t, x):
        t.manual_seed(0)
        return t.svd_lowrank(x, q=3)[1]

    close(values_of, x)


def of_ones(t, name, dtype):
    x = t.ones(3, 3, dtype=dtype)
    more = {"ormqr": (x[0], x), "cholesky_solve": (x,)}.get(name, ())
    return getattr(t.linalg, name, None)(x) if hasattr(t.linalg, name) else getattr(t, name)(x, *more)


ERRORS = {
    "lu vector": lambda t: t.linalg.lu_factor(t.ones(2)),
    "lu no pivot": lambda t: t.linalg.lu(t.ones(2, 2), pivot=False),
    "lu integers": lambda t: t.linalg.lu_factor_ex(t.ones(2, 2).long()),
    "pivots dtype": lambda t: t.linalg.lu_solve(t.ones(3, 3), t.tensor([1, 2, 3]), t.ones(3, 2)),
    "pivots": lambda t: t.linalg.lu_solve(t.ones(3, 3), t.tensor([1, 2], dtype=t.int32), t.ones(3, 2)),
    "lu_solve": lambda t: t.linalg.lu_solve(t.ones(3, 3), t.tensor([1, 2, 3], dtype=t.int32), t.ones(4, 2)),
    "lu_solve dtype": lambda t: t.linalg.lu_solve(t.ones(3, 3), t.tensor([1, 2, 3], dtype=t.int32), t.ones(3, 2).double()),
    "lu_solve vector": lambda t: t.linalg.lu_solve(t.ones(3, 3), t.tensor([1, 2, 3], dtype=t.int32), t.ones(3)),
    **{
        f"{name} of {kind}": (lambda t, n=name, k=kind: of_ones(t, n, getattr(t, k)))
        for name in ("lu", "cholesky_ex", "inv_ex", "ldl_factor", "cholesky_inverse", "ormqr", "cholesky_solve")
        for kind in ("int64", "float16")
    },
    "unpack": lambda t: t.lu_unpack(t.ones(3, 3), t.tensor([1, 2, 3])),
    "eig shape": lambda t: t.linalg.eig(t.ones(2, 3)),
    "eig vector": lambda t: t.linalg.eig(t.ones(2)),
    "eig inf": lambda t: t.linalg.eig(t.full((2, 2), float("inf"))),
    "eig integers": lambda t: t.linalg.eigvals(t.ones(2, 2).long()),
    "ind": lambda t: t.linalg.tensorinv(t.ones(2, 3, 6), ind=0),
    "tensorinv": lambda t: t.linalg.tensorinv(t.ones(2, 3, 6), ind=1),
    "tensorsolve": lambda t: t.linalg.tensorsolve(t.ones(2, 3, 4), t.ones(2, 3)),
    "linalg.vander": lambda t: t.linalg.vander(t.tensor([1, 2]), N=1),
    "linalg.vander bool": lambda t: t.linalg.vander(t.tensor([True, False])),
    "vander": lambda t: t.vander(t.ones(2, 2)),
    "vander N": lambda t: t.vander(t.ones(2), N=-1),
    "cholesky_solve vector": lambda t: t.cholesky_solve(t.ones(3), t.ones(3, 3)),
    "cholesky_solve square": lambda t: t.cholesky_solve(t.ones(3, 1), t.ones(2, 3)),
    "cholesky_solve sizes": lambda t: t.cholesky_solve(t.ones(2, 1), t.ones(3, 3)),
    "cholesky_solve dtype": lambda t: t.cholesky_solve(t.ones(3, 1), t.ones(3, 3).double()),
    "cholesky_inverse": lambda t: t.cholesky_inverse(t.ones(2, 3)),
    "triangular_solve": lambda t: t.triangular_solve(t.ones(3), t.ones(3, 3)),
    "ormqr": lambda t: t.ormqr(t.ones(4, 2), t.ones(2), t.ones(3, 2)),
    "pca": lambda t: t.pca_lowrank(t.ones(2, 3), q=5),
    **{f"removed {n}": (lambda t, n=n: getattr(t, n)(t.ones(2, 2))) for n in ("eig", "symeig", "matrix_rank")},
    **{f"removed {n}": (lambda t, n=n: getattr(t.ones(2, 2), n)(t.ones(2, 2))) for n in ("lstsq", "solve")},
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


def test_nothing_is_missing():
    torch = need_torch()
    private = {"torch", "Tensor", "common_notes"}
    assert {n for n in dir(torch.linalg) if n[0] != "_"} - private == set(linalg.__all__)
    assert_same(lamina.linalg.eigvals(lamina.eye(2)), torch.linalg.eigvals(torch.eye(2)), rtol=1e-6)
