"""Linear algebra under PyTorch's names: ``lamina.linalg``."""

from __future__ import annotations

from typing import Any

from lamina.ops.decomposition import (
    LinAlgError,
    cholesky,
    cond,
    det,
    eigh,
    eigvalsh,
    inv,
    lstsq,
    matrix_norm,
    matrix_rank,
    norm,
    pinv,
    qr,
    slogdet,
    solve,
    solve_triangular,
    svd,
    svdvals,
)  # fmt: skip
from lamina.ops.factorization import (
    cholesky_ex,
    eig,
    eigvals,
    inv_ex,
    ldl_factor,
    ldl_factor_ex,
    ldl_solve,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
    solve_ex,
    tensorinv,
    tensorsolve,
)  # fmt: skip
from lamina.ops.factorization import vandermonde as vander
from lamina.ops.linalg import matmul
from lamina.ops.orthogonal import householder_product, matrix_exp
from lamina.ops.products import cross as _cross
from lamina.ops.products import matrix_power, multi_dot
from lamina.ops.reduction import sum as _sum
from lamina.ops.reduction import vector_norm

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh",
    "householder_product", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor",
    "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv",
    "qr", "slogdet", "solve", "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot",
    "vector_norm",
]  # fmt: skip


def cross(input: Any, other: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The vector product along a dimension of size 3."""
    return _cross(input, other, dim, out=out)


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:  # noqa: N803
    """The diagonals of matrices, as a view."""
    return A.diagonal(offset, dim1, dim2)


def vecdot(x: Any, y: Any, *, dim: int = -1, out: Any = None) -> Any:
    """Σ conj(x)·y along a dimension."""
    return _sum((x.conj() if x.is_complex() else x) * y, dim, out=out)
