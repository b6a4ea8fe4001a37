"""Factorisations of matrices and solvers that use them: LU, LDL, Cholesky's factor, eigenvectors, low-rank approximations."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, HALVES
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.creation import eye
from lamina.ops.decomposition import (
    Cholesky,
    Inv,
    LinAlgError,
    Solve,
    SolveTriangular,
    _attempt,
    _check_equation,
    _column,
    _matrices,
    _mm,
    _same_dtype,
    inv,
    matrix_norm,
    qr,
    svd,
)  # fmt: skip
from lamina.ops.gathering import gather
from lamina.ops.join import cat
from lamina.ops.operands import checked, not_a_tensor
from lamina.ops.random import randn
from lamina.ops.reduction import given, named_result, norm, scalar_name, stored, vector_norm
from lamina.ops.shape import movedim

# -- LU ------------------------------------------------------------------------------------------------------------

_LuFactorResult = named_result("linalg_lu_factor", "LU", "pivots")
_LuFactorExResult = named_result("linalg_lu_factor_ex", "LU", "pivots", "info")
_LuResult = named_result("linalg_lu", "P", "L", "U")
_UnpackResult = named_result("lu_unpack", "P", "L", "U")


def _rows(x: Any, order: np.ndarray) -> Any:
    """The rows of matrices in another order; a batch of orders goes with the batch of matrices."""
    shape = np.broadcast_shapes((*order.shape, 1), x._a.shape[:-1] + (1,))
    full = (*shape[:-1], x._a.shape[-1])
    return gather(x.expand(full), -2, wrap(np.broadcast_to(order[..., None], full).copy()))


class LuFactor(Op):
    """P·L·U = A, L and U in one matrix;   dL/dA = P·L⁻ᴴ·(tril₋₁(Lᴴ·gL) + triu(gU·Uᴴ))·U⁻ᴴ for a square A"""

    label = "LinalgLuFactorExBackward0"
    keeps_output = True

    @staticmethod
    def forward(ctx, a):
        lu, pivots, info = k.lu_factor(a._a)
        ctx.save(pivots)
        return lu, pivots, info

    @staticmethod
    def backward(ctx, grad, *others):
        lu = ctx.output[0]
        m, n = lu._a.shape[-2:]
        least = min(m, n)
        square, g = lu.narrow(-2, 0, least).narrow(-1, 0, least), grad.narrow(-2, 0, least).narrow(-1, 0, least)
        low = square.tril(-1) + eye(least, dtype=lu.dtype)
        left, right = _mm(low.mH, g.tril(-1)), _mm(g.triu(), square.triu().mH)
        rest = None
        if n > least:  # A = (A₁ | A₂), U = (U₁ | U₂)
            beyond = grad.narrow(-1, least, n - least)
            left = left - _mm(beyond, lu.narrow(-1, least, n - least).mH)
            rest = SolveTriangular.apply(low.mH, beyond, True, True)
        elif m > least:  # the rows of L below U's
            beyond = grad.narrow(-2, least, m - least)
            right = right - _mm(lu.narrow(-2, least, m - least).mH, beyond)
            rest = SolveTriangular.apply(square, beyond.mH, True, False).mH
        inner = left.tril(-1) + right.triu()
        inner = SolveTriangular.apply(low.mH, inner, True, True)
        whole = SolveTriangular.apply(square, inner.mH, True, False).mH
        if rest is not None:
            whole = cat((whole, rest), -1 if n > least else -2)
        return _rows(whole, np.argsort(k.pivots_to_permutation(ctx.saved[0], m), -1))


def _supported(name: str, a: np.ndarray) -> None:
    """Raise PyTorch's other error for a dtype that its kernels lack."""
    if a.dtype.kind not in "fcV" or a.dtype in HALVES:
        raise NotImplementedError(f'"{name}_cpu" not implemented for {scalar_name(a)!r}')


def _matrices_not_half(name: str, A: Any) -> np.ndarray:  # noqa: N803
    """The array of square matrices; half precision is what PyTorch's kernel has not, and integers are an error of the caller."""
    if isinstance(A, Variable) and A._a.ndim > 1 and A._a.dtype in HALVES:
        _supported(name, A._a)
    return _matrices(name, A, square=True)


def _check_pivoting(name: str, A: Any, pivot: bool) -> None:  # noqa: N803
    a = checked(A, f"linalg_{name}")._a
    if a.ndim < 2:
        raise RuntimeError(f"linalg.{name}: Expected tensor with 2 or more dimensions. Got size: {list(a.shape)} instead")
    _supported("lu", a)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")


def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(LU, pivots, info): L (its diagonal of ones left out) and U in one matrix, the row swaps, and the first zero pivot or 0."""
    _check_pivoting("lu_factor", A, pivot)
    results = LuFactor.apply(A)
    if check_errors:
        _check_info("torch.linalg.lu_factor_ex: U[{0},{0}] is zero and using it on lu_solve would divide by zero.", results[2])
    return stored(_LuFactorExResult, results, out)


def lu_factor(A: Any, *, pivot: bool = True, out: Any = None) -> Any:  # noqa: N803
    """(LU, pivots) for :func:`lu_solve`; raises ``RuntimeError`` if U has a zero on its diagonal."""
    _check_pivoting("lu_factor", A, pivot)
    lu, pivots, info = LuFactor.apply(A)
    if info._a.any():
        raise RuntimeError(
            f"torch.linalg.lu_factor: U[{_first(info)},{_first(info)}] is zero and using it on lu_solve would result in a "
            "division by zero. If you still want to perform the factorization, consider calling linalg.lu(A, pivot) or "
            "linalg.lu_factor_ex(A, pivot)"
        )
    return stored(_LuFactorResult, (lu, pivots), out)


def _first(info: Any) -> int:
    return int(info._a[info._a != 0].ravel()[0])


def _check_info(message: str, info: Any) -> None:
    if info._a.any():
        raise LinAlgError(message.format(_first(info)))


def _permutation(pivots: np.ndarray, m: int, dtype: Any) -> Any:
    """The matrix P of the row swaps."""
    order = k.pivots_to_permutation(pivots, m)
    return wrap((order[..., None, :] == np.arange(m)[:, None]).astype(dtype))


def lu(A: Any, *, pivot: bool = True, out: Any = None) -> Any:  # noqa: N803
    """(P, L, U) with P·L·U = A: a permutation, a lower triangle with ones on its diagonal, and an upper triangle."""
    _check_pivoting("lu", A, pivot)
    packed, pivots, _ = LuFactor.apply(A)
    return stored(_LuResult, tuple(lu_unpack(packed, pivots)), out)


def lu_unpack(
    LU_data: Any, LU_pivots: Any, unpack_data: bool = True, unpack_pivots: bool = True, *, out: Any = None  # noqa: N803
) -> Any:
    """(P, L, U) of what :func:`lu_factor` returns; what is not asked for is empty."""
    a = checked(LU_data, "lu_unpack")._a
    if unpack_pivots and (LU_pivots._a.dtype != np.int32):
        raise RuntimeError(
            f"torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype, got {LU_pivots.dtype!r}. "
            "It is meant for the output of torch.linalg.lu_factor"
        )
    m, n = a.shape[-2:]
    least = min(m, n)
    nothing = wrap(np.empty(0, a.dtype))
    low = up = permutation = nothing
    if unpack_data:
        low = LU_data.narrow(-1, 0, least).tril(-1) + eye(m, least, dtype=LU_data.dtype)
        up = LU_data.narrow(-2, 0, least).triu()
    if unpack_pivots:
        permutation = _permutation(LU_pivots._a, m, a.dtype)
    return stored(_UnpackResult, (permutation, low, up), out)


def lu_solve(LU: Any, pivots: Any, B: Any, *, left: bool = True, adjoint: bool = False, out: Any = None) -> Any:  # noqa: N803
    """The X with A·X = B (X·A = B, if not ``left``; Aᴴ for A, if ``adjoint``), from the factors of A."""
    a = LU._a
    if pivots._a.dtype != np.int32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32")
    _matrices("lu_solve", LU, square=True)
    if B._a.ndim < 2:
        raise RuntimeError("linalg.lu_solve: The input tensor B must have at least 2 dimensions.")
    if a.dtype != B._a.dtype:
        raise RuntimeError(
            f"linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type {scalar_name(a)} and B of type "
            f"{scalar_name(B._a)} instead"
        )
    _check_equation("lu_solve", a, B._a, left)
    if a.shape[-1] != pivots._a.shape[-1]:
        raise RuntimeError("linalg.lu_solve: Number of pivots per batch should be same as the dimension of the matrix")
    if a.shape[:-2] != pivots._a.shape[:-1]:
        raise RuntimeError("linalg.lu_solve: Batch dimensions of LU and pivots should be the same")
    if not left:
        return given(out, lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH)
    order = k.pivots_to_permutation(pivots._a, a.shape[-1])
    if adjoint:
        x = SolveTriangular.apply(LU.mH, B, False, False)
        x = SolveTriangular.apply(LU.mH, x, True, True)
        return given(out, _rows(x, np.argsort(order, -1)))
    x = SolveTriangular.apply(LU, _rows(B, order), False, True)
    return given(out, SolveTriangular.apply(LU, x, True, False))


# -- solvers that say what went wrong ------------------------------------------------------------------------------

_InvExResult = named_result("linalg_inv_ex", "inverse", "info")
_SolveExResult = named_result("linalg_solve_ex", "result", "info")
_CholeskyExResult = named_result("linalg_cholesky_ex", "L", "info")


def _careful(a: Any, compute: Any) -> tuple[Any, Any]:
    """(compute(a), info): where a matrix is singular, NaN, and the index of the pivot that is 0."""
    try:
        return compute(a), wrap(np.zeros(a._a.shape[:-2], np.int32))
    except LinAlgError:
        info = k.lu_factor(a._a)[2]
        bad = wrap(info != 0).unsqueeze(-1).unsqueeze(-1)
        x = compute(p.where(bad, eye(a._a.shape[-1], dtype=a.dtype), a))
        return p.where(bad, math.nan, x), wrap(info)


def inv_ex(A: Any, *, check_errors: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(inverse, info): NaN and the index of a zero pivot for a singular matrix, which raises only if ``check_errors``."""
    _matrices("inv_ex", A, square=True)
    inverse, info = _careful(A, Inv.apply)
    if check_errors:
        _check_info(
            "linalg.inv_ex: The diagonal element {0} is zero, the inversion could not be completed because the input matrix is "
            "singular.", info,
        )  # fmt: skip
    return stored(_InvExResult, (inverse, info), out)


def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(X, info): NaN and the index of a zero pivot for a singular matrix, which raises only if ``check_errors``."""
    a, b = _matrices("solve_ex", A, square=True), B._a
    _same_dtype("solve_ex", a, b)
    vector = b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])
    right = B.unsqueeze(-1) if vector else B
    _check_equation("solve_ex", a, right._a, left)
    if left:
        x, info = _careful(A, lambda m: Solve.apply(m, right))
    else:
        x, info = _careful(A, lambda m: Solve.apply(m.mT, right.mT).mT)
    if check_errors:
        _check_info("torch.linalg.solve_ex: The solver failed because the input matrix is singular.", info)
    return stored(_SolveExResult, (x.squeeze(-1) if vector else x, info), out)


def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(L, info): for a matrix that is not positive-definite the factor up to where it failed, and the order of that minor."""
    a = _matrices_not_half("cholesky_ex", A)
    try:
        low, info = Cholesky.apply(A.mH if upper else A), wrap(np.zeros(a.shape[:-2], np.int32))
    except LinAlgError:
        low, info = map(wrap, k.cholesky_steps(np.conj(a.swapaxes(-1, -2)) if upper else a))
    if check_errors:
        _check_info(
            "linalg.cholesky_ex: The factorization could not be completed because the input is not positive-definite (the "
            "leading minor of order {0} is not positive-definite).", info,
        )  # fmt: skip
    return stored(_CholeskyExResult, (low.mH if upper else low, info), out)


# -- eigenvectors of any square matrix -----------------------------------------------------------------------------

_EigResult = named_result("linalg_eig", "eigenvalues", "eigenvectors")


class Eig(Op):
    """A·V = V·Λ;   dL/dA = V⁻ᴴ·(gΛ + (Vᴴ·gV − VᴴV·Re diag(Vᴴ·gV))ᵢⱼ/conj(λⱼ − λᵢ))·Vᴴ"""

    label = "LinalgEigBackward0"
    keeps_output = True
    materializes = False

    @staticmethod
    def forward(ctx, a):
        return k.eig(a._a)

    @staticmethod
    def backward(ctx, gl, gv):
        values, v = ctx.output
        vh = v.mH
        one = wrap(np.eye(values._a.shape[-1], dtype=v._a.dtype))
        inner = None if gl is None else gl.unsqueeze(-1) * one
        if gv is not None:
            turned = _mm(vh, gv)
            diagonal = turned.diagonal(0, -2, -1)
            if not np.allclose(diagonal._a.imag, 0, atol=1e-2, rtol=1e-2):
                raise RuntimeError(
                    "linalg_eig_backward: The eigenvectors in the complex case are specified up to multiplication by e^{i phi}. "
                    "The specified loss function depends on this quantity, so it is ill-defined."
                )
            lengths = diagonal.real.to(v.dtype)
            gap = p._conj(_column(values) - values.unsqueeze(-1)) + one
            off = (turned - _mm(vh, v) * _column(lengths)) / gap * (1 - one)
            inner = off if inner is None else inner + off
        return Solve.apply(vh, _mm(inner, vh))


def eig(A: Any, *, out: Any = None) -> Any:  # noqa: N803
    """(eigenvalues, eigenvectors as columns) of each square matrix, both complex, in no order."""
    a = _matrices("eig", A, square=True)
    if not np.isfinite(a).all():
        raise RuntimeError("torch.linalg.eig: input tensor should not contain infs or NaNs.")
    return stored(_EigResult, _attempt("linalg.eig: The algorithm failed to converge.", Eig.apply, A), out)


def eigvals(A: Any, *, out: Any = None) -> Any:  # noqa: N803
    """The eigenvalues of each square matrix, complex, in no order."""
    return given(out, eig(A)[0])


# -- LDL -----------------------------------------------------------------------------------------------------------

_LdlResult = named_result("linalg_ldl_factor", "LD", "pivots")
_LdlExResult = named_result("linalg_ldl_factor_ex", "LD", "pivots", "info")


def ldl_factor_ex(A: Any, *, hermitian: bool = False, check_errors: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(LD, pivots, info) of symmetric (or Hermitian) matrices, of which the lower triangles are looked at. Not differentiable."""
    a = _matrices_not_half("ldl_factor_ex", A)
    results = tuple(map(wrap, k.ldl_factor(a, bool(hermitian))))
    if check_errors:
        _check_info("torch.linalg.ldl_factor_ex: the block of D at {0} is zero.", results[2])
    return stored(_LdlExResult, results, out)


def ldl_factor(A: Any, *, hermitian: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(LD, pivots) of symmetric (or Hermitian) matrices for :func:`ldl_solve`."""
    return stored(_LdlResult, tuple(ldl_factor_ex(A, hermitian=hermitian))[:2], out)


def ldl_solve(LD: Any, pivots: Any, B: Any, *, hermitian: bool = False, out: Any = None) -> Any:  # noqa: N803
    """The X with A·X = B, from what :func:`ldl_factor` found of A."""
    ld = _matrices("ldl_solve", LD, square=True)
    if B._a.ndim < 2:
        raise RuntimeError(f"torch.linalg.ldl_solve: Expected B to have at least 2 dimensions, but it has {B._a.ndim} instead")
    if pivots._a.dtype.kind not in "iu" or pivots._a.shape != ld.shape[:-1]:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected pivots to be integers of shape {list(ld.shape[:-1])}, but got "
            f"{list(pivots._a.shape)} of {pivots.dtype!r}"
        )
    if ld.dtype != B._a.dtype:
        raise RuntimeError(f"torch.linalg.ldl_solve: LD dtype {LD.dtype!r} does not match b dtype {B.dtype!r}")
    _check_equation("ldl_solve", ld, B._a, True)
    return given(out, wrap(k.ldl_solve(ld, pivots._a, B._a, bool(hermitian))))


# -- with tensors as matrices --------------------------------------------------------------------------------------


def tensorinv(A: Any, ind: int = 2, *, out: Any = None) -> Any:  # noqa: N803
    """The inverse of a tensor as a map from its last dimensions to its first ``ind`` ones."""
    shape = checked(A, "linalg_tensorinv")._a.shape
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    rows, columns = math.prod(shape[:ind]), math.prod(shape[ind:])
    if rows != columns:
        raise RuntimeError(
            f"Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got {columns} != "
            f"{rows}"
        )
    return given(out, inv(A.reshape(rows, columns)).reshape(shape[ind:] + shape[:ind]))


def tensorsolve(A: Any, B: Any, dims: Any = None, *, out: Any = None) -> Any:  # noqa: N803
    """The X with tensordot(A, X, X.ndim) = B; ``dims`` of A are moved to the end first."""
    checked(A, "linalg_tensorsolve")
    if dims is not None:
        dims = (dims,) if isinstance(dims, int) else tuple(dims)
        A = movedim(A, dims, tuple(range(A._a.ndim - len(dims), A._a.ndim)))  # noqa: N806
    rank = B._a.ndim
    shape = A._a.shape
    rows, columns = math.prod(shape[:rank]), math.prod(shape[rank:])
    if rows != columns:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim]), but got "
            f"{columns} != {rows}"
        )
    solution = Solve.apply(A.reshape(rows, columns), B.reshape(rows, 1))
    return given(out, solution.reshape(shape[rank:]))


def vandermonde(x: Any, *, N: int | None = None) -> Any:  # noqa: N803
    """The powers 0 … N − 1 of each element, as a new last dimension; N is the last size by default."""
    a = checked(x, "linalg_vander")._a
    if a.dtype.kind == "b":
        raise RuntimeError(f"linalg.vander supports floating point, complex, and integer tensors, but got {scalar_name(a)}")
    n = N if N is not None else a.shape[-1] if a.ndim else 1
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    wide = x if a.dtype.kind in "fcV" else x.long()
    one = wrap(np.ones((*a.shape, 1), wide._a.dtype))
    return cat((one, wide.unsqueeze(-1).expand((*a.shape, n - 1)).cumprod(-1)), -1)


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
    """The powers N − 1 … 0 (or 0 … N − 1, if ``increasing``) of each element of a vector, as rows."""
    a = checked(x, "vander")._a
    if a.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = len(a) if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    wide = x if a.dtype.kind in "fcV" else x.long()
    if n < 2:
        return wrap(np.ones((len(a), n), wide._a.dtype))
    powers = vandermonde(wide, N=n)
    return powers if increasing else powers.flip(1)


# -- the older names, without ``linalg`` ---------------------------------------------------------------------------

_TriangularResult = named_result("triangular_solve", "solution", "cloned_coefficient")
_OldLuResult = named_result("_lu_with_info", "LU", "pivots", "info")


def _older(name: str, instead: str) -> None:
    warnings.warn(
        f"torch.{name} is deprecated in favor of {instead} and will be removed in a future PyTorch release.", stacklevel=3
    )


def _old_lu_solve(b: Any, LU_data: Any, LU_pivots: Any, *, out: Any = None) -> Any:  # noqa: N803
    """The X with A·X = b from the factors of A (see ``linalg.lu_solve``)."""
    _older("lu_solve", "torch.linalg.lu_solve, which has its arguments reversed,")
    return lu_solve(LU_data, LU_pivots, b, out=out)


def _old_lu(A: Any, pivot: bool = True, get_infos: bool = False, out: Any = None) -> Any:  # noqa: N803
    """(LU, pivots), and with ``get_infos`` the index of the first zero pivot (see ``linalg.lu_factor``)."""
    _older("lu", "torch.linalg.lu_factor / torch.linalg.lu_factor_ex")
    results = lu_factor_ex(A, pivot=pivot, check_errors=not get_infos)
    if out is not None:
        results = stored(_OldLuResult, tuple(results), out)
    return _OldLuResult(*results) if get_infos else tuple(results)[:2]


def cholesky_solve(B: Any, L: Any, upper: bool = False, *, out: Any = None) -> Any:  # noqa: N803
    """The X with A·X = B, from the lower (or upper) triangular factor of a positive-definite A."""
    a, b = checked(L, "cholesky_solve")._a, checked(B, "cholesky_solve")._a
    for name, x in (("b", b), ("u", a)):
        if x.ndim < 2:
            raise RuntimeError(f"{name} should have at least 2 dimensions, but has {x.ndim} dimensions instead")
    if a.shape[-1] != a.shape[-2]:
        raise RuntimeError(f"A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} matrices")
    if a.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"Incompatible matrix sizes for cholesky_solve: each A matrix is {a.shape[-1]} by {a.shape[-1]} but each b matrix is "
            f"{b.shape[-2]} by {b.shape[-1]}"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"Expected b and A to have the same dtype, but found b of type {scalar_name(b)} and A of type {scalar_name(a)} "
            "instead."
        )
    _supported("cholesky_solve", a)
    first, second = (L.mH, L) if upper else (L, L.mH)
    return given(out, SolveTriangular.apply(second, SolveTriangular.apply(first, B, False, False), True, False))


def cholesky_inverse(L: Any, upper: bool = False, *, out: Any = None) -> Any:  # noqa: N803
    """The inverse of a positive-definite matrix, from its lower (or upper) triangular factor."""
    a = checked(L, "cholesky_inverse")._a
    if a.ndim < 2:
        raise RuntimeError("cholesky_inverse: The input tensor A must have at least 2 dimensions.")
    _supported("cholesky_inverse_out", a)
    if a.shape[-1] != a.shape[-2]:
        raise RuntimeError(
            f"cholesky_inverse: A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} matrices"
        )
    inverse = SolveTriangular.apply(L, eye(a.shape[-1], dtype=L.dtype), bool(upper), False)
    return given(out, _mm(inverse, inverse.mH) if upper else _mm(inverse.mH, inverse))


def triangular_solve(
    b: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False, *, out: Any = None  # noqa: N803
) -> Any:
    """(solution, a copy of A) of A·X = b (or Aᵀ·X = b, if ``transpose``) for a triangular A."""
    _older("triangular_solve", "torch.linalg.solve_triangular, which has its arguments reversed,")
    x, a = checked(b, "triangular_solve")._a, checked(A, "triangular_solve")._a
    for name, y in (("b", x), ("A", a)):
        if y.ndim < 2:
            raise RuntimeError(
                f"torch.triangular_solve: Expected {name} to have at least 2 dimensions, but it has {y.ndim} dimensions instead"
            )
    _supported("triangular_solve", a)
    _matrices("triangular_solve", A, square=True)
    _same_dtype("triangular_solve", a, x)
    _check_equation("triangular_solve", a, x, True)
    if transpose:
        solution = SolveTriangular.apply(A.mT, b, not upper, unitriangular)
    else:
        solution = SolveTriangular.apply(A, b, upper, unitriangular)
    return stored(_TriangularResult, (solution, A.clone()), out)


def ormqr(input: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False, *, out: Any = None) -> Any:
    """Q·other (or other·Q, if not ``left``; Qᴴ for Q, if ``transpose``) for the m by m matrix Q = H₁⋯Hₖ of reflections.

    They are given as :func:`geqrf` returns them; see :func:`householder_product`, which returns Q's first columns.
    """
    a, t, c = (checked(x, "ormqr")._a for x in (input, tau, other))
    for name, x in (("input", a), ("other", c)):
        if x.ndim < 2:
            raise RuntimeError(f"torch.ormqr: {name} must have at least 2 dimensions.")
    size = c.shape[-2 if left else -1]
    if size < t.shape[-1] or size != a.shape[-2]:
        raise RuntimeError(
            f"torch.ormqr: other.shape[{-2 if left else -1}] must be equal to input.shape[-2] and not less than tau.shape[-1], "
            f"but got {size}, {a.shape[-2]} and {t.shape[-1]}"
        )
    if t.shape[-1] > a.shape[-1]:
        raise RuntimeError("torch.ormqr: tau.shape[-1] must be less than or equal to input.shape[-1]")
    if not a.dtype == t.dtype == c.dtype:
        raise RuntimeError(f"torch.ormqr: the dtypes of input, tau and other differ: {a.dtype}, {t.dtype}, {c.dtype}")
    _supported("ormqr", a)
    count = t.shape[-1]
    v = input.narrow(-1, 0, count).tril(-1) + eye(a.shape[-2], count, dtype=input.dtype)
    scale = tau.unsqueeze(-1)  # Q = I − V·(I + D·S)⁻¹·D·Vᴴ with D = diag(tau) and S the part of VᴴV above its diagonal
    inner = Solve.apply(eye(count, dtype=input.dtype) + scale * _mm(v.mH, v).triu(1), scale * v.mH)
    if transpose:
        v, inner = inner.mH, v.mH
    return given(out, other - (_mm(v, _mm(inner, other)) if left else _mm(_mm(other, v), inner)))


def _removed(name: str, instead: str) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"This function was deprecated since version 1.9 and is now removed: use `torch.linalg.{instead}` for `torch.{name}`"
        )

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Raises ``RuntimeError``: PyTorch removed it for ``linalg.{instead}``."
    return function


_GONE = {"symeig": "eigh", "eig": "eig", "lstsq": "lstsq", "solve": "solve", "matrix_rank": "matrix_rank"}
_gone = tuple(_removed(name, instead) for name, instead in _GONE.items())


def frobenius_norm(input: Any, dim: Any, keepdim: bool = False, *, out: Any = None) -> Any:
    """√Σ\\|x\\|² over dimensions (see ``linalg.vector_norm``)."""
    _older("frobenius_norm", "torch.linalg.vector_norm")
    return vector_norm(input, 2, dim, keepdim, out=out)


def nuclear_norm(input: Any, dim: Any = (-2, -1), keepdim: bool = False, *, out: Any = None) -> Any:
    """The sum of the singular values (see ``linalg.matrix_norm``)."""
    _older("nuclear_norm", "torch.linalg.matrix_norm")
    if isinstance(dim, bool):
        dim, keepdim = (-2, -1), dim
    return matrix_norm(input, "nuc", dim, keepdim, out=out)


def norm_except_dim(v: Any, pow: int = 2, dim: int = 0) -> Any:  # noqa: A002
    """The p-norm over all dimensions but one, which stay as sizes of 1; for −1 over all dimensions."""
    rank = checked(v, "norm_except_dim")._a.ndim
    if dim == -1:
        return norm(v, pow)
    return norm(v, pow, tuple(d for d in range(rank) if d != dim % rank), True)


# -- approximations of low rank ------------------------------------------------------------------------------------


def _basis(A: Any, q: int, niter: int, M: Any) -> Any:  # noqa: N803
    """An orthonormal basis of nearly the range of A − M, by powers of it on random vectors.

    N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53 (2011), algorithm 4.4.
    """
    x = randn(A._a.shape[-1], q, dtype=A.dtype)

    def times(m: Any, y: Any) -> Any:
        return _mm(m, y) if M is None else _mm(m, y) - _mm(M if m is A else M.mH, y)

    basis = qr(times(A, x))[0]
    for _ in range(niter):
        basis = qr(times(A.mH, basis))[0]
        basis = qr(times(A, basis))[0]
    return basis


def svd_lowrank(A: Any, q: int | None = 6, niter: int | None = 2, M: Any = None) -> tuple:  # noqa: N803
    """(U, S, V) with U·diag(S)·Vᴴ ≈ A − M of rank q, by a randomised algorithm: the largest singular values and vectors."""
    if not isinstance(A, Variable):
        raise not_a_tensor(A, "svd_lowrank")
    rank = 6 if q is None else q
    m, n = A._a.shape[-2:]
    if M is not None:
        M = M.expand(A._a.shape)  # noqa: N806
    wide = m < n
    if wide:
        A, M = A.mH, None if M is None else M.mH  # noqa: N806
    basis = _basis(A, rank, 2 if niter is None else niter, M)
    inner = _mm(basis.mH, A)
    if M is not None:
        inner = inner - _mm(basis.mH, M)
    u, s, vh = svd(inner, full_matrices=False)
    u, v = _mm(basis, u), vh.mH
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Any, q: int | None = None, center: bool = True, niter: int = 2) -> tuple:  # noqa: N803
    """(U, S, V) of the rows of A, whose mean is subtracted if ``center``: V's columns are the q principal directions."""
    if not isinstance(A, Variable):
        raise not_a_tensor(A, "pca_lowrank")
    m, n = A._a.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if not niter >= 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if A._a.dtype.kind not in "fc":
        raise ValueError(f"Expected a floating point tensor, but got {BY_NUMPY[A._a.dtype]!r}")
    return svd_lowrank(A - A.mean(-2, True) if center else A, q, niter)


for _function, _public in ((_old_lu_solve, "lu_solve"), (_old_lu, "lu")):
    _function.__name__ = _function.__qualname__ = _public

METHODS = (_old_lu_solve, _old_lu, "cholesky_solve", "cholesky_inverse", "triangular_solve", "ormqr", *_gone[:-1])
FUNCTIONS = (
    _old_lu_solve, _old_lu, "lu_unpack", "vander", "cholesky_solve", "cholesky_inverse", "triangular_solve", "ormqr",
    "frobenius_norm", "nuclear_norm", "norm_except_dim", "svd_lowrank", "pca_lowrank", *_gone,
)  # fmt: skip
