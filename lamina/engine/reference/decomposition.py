"""Decompositions and inverses of matrices (*, n, n) or (*, m, n): LAPACK through NumPy, in single and double precision."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["inv", "solve", "solve_triangular", "slogdet", "cofactors", "cholesky", "qr", "svd", "eigh", "pinv"]

ndarray = np.ndarray


def inv(a: ndarray) -> Any:
    """a⁻¹."""
    return np.linalg.inv(a)


def solve(a: ndarray, b: ndarray) -> Any:
    """The x with a·x = b for matrices b (*, n, k)."""
    return np.linalg.solve(a, b)


def solve_triangular(a: ndarray, b: ndarray, upper: bool, unit: bool) -> Any:
    """The x with a·x = b for a triangular a (the other triangle is not looked at), by substitution row by row."""
    n = a.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, (*batch, *b.shape[-2:])))
    for i in range(n - 1, -1, -1) if upper else range(n):
        known = slice(i + 1, n) if upper else slice(i)
        x[..., i, :] -= np.matmul(a[..., None, i, known], x[..., known, :])[..., 0, :]
        if not unit:
            x[..., i, :] /= a[..., i, i, None]
    return x


def slogdet(a: ndarray) -> tuple[Any, Any]:
    """(sign, log |det a|)."""
    sign, logarithm = np.linalg.slogdet(a)
    return np.asarray(sign), np.asarray(logarithm)


def cofactors(a: ndarray) -> Any:
    """The matrix of cofactors ∂det a/∂a, which exists for singular matrices too."""
    u, s, vh = np.linalg.svd(a)
    others = np.where(np.eye(s.shape[-1], dtype=bool), s.dtype.type(1), s[..., None, :]).prod(-1)
    sign = np.linalg.det(u) * np.linalg.det(vh)
    return np.conj(sign)[..., None, None] * np.matmul(u * others[..., None, :], vh) if a.size else a.copy()


def cholesky(a: ndarray) -> Any:
    """The lower triangular l with l·lᴴ = a; only the lower triangle of a is looked at."""
    return np.linalg.cholesky(a)


def qr(a: ndarray, mode: str) -> tuple[Any, Any]:
    """(q with orthonormal columns, r upper triangular) with q·r = a."""
    q, r = np.linalg.qr(a, "complete" if mode == "complete" else "reduced")
    return q, r


def svd(a: ndarray, full: bool) -> tuple[Any, Any, Any]:
    """(u, s, vᴴ) with u·diag(s)·vᴴ = a and s falling."""
    u, s, vh = np.linalg.svd(a, full_matrices=full)
    return u, s, vh


def eigh(a: ndarray, uplo: str) -> tuple[Any, Any]:
    """(λ rising, v) with a·v = v·diag(λ) for a Hermitian a, of which one triangle is looked at."""
    values, vectors = np.linalg.eigh(a, "U" if uplo == "U" else "L")
    return values, vectors


def pinv(a: ndarray, tolerance: ndarray, hermitian: bool) -> Any:
    """The pseudo-inverse, with singular values up to ``tolerance`` (*) taken for 0."""
    if a.size == 0:
        return np.zeros((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    if hermitian:
        values, v = np.linalg.eigh(a)
        u, vh = v, np.conj(v.swapaxes(-1, -2))
    else:
        u, values, vh = np.linalg.svd(a, full_matrices=False)
    inverse = np.where(np.abs(values) > tolerance[..., None], 1 / values, 0).astype(values.dtype)
    return np.matmul(np.conj(vh.swapaxes(-1, -2)) * inverse[..., None, :], np.conj(u.swapaxes(-1, -2)))
