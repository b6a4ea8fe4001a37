"""Factorisations of matrices that NumPy does not have: LU with partial pivoting, LDL by Bunch and Kaufman's, and eigenvectors.

The LU algorithm goes over blocks of columns: within a block column by column, beyond it by products of matrices. See G. H.
Golub and C. F. Van Loan, "Matrix Computations" (4th ed.), 3.4 and 4.4. Pivots count from 1, as LAPACK's do.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina.engine.reference.decomposition import solve_triangular

__all__ = ["lu_factor", "pivots_to_permutation", "eig", "cholesky_steps", "ldl_factor", "ldl_solve"]

ndarray = np.ndarray
_BLOCK = 32


def lu_factor(a: ndarray) -> tuple[Any, Any, Any]:
    """(L below the diagonal and U above it, row swaps, index of the first zero pivot or 0) with P·L·U = a (*, m, n)."""
    m, n = a.shape[-2:]
    lead, count = a.shape[:-2], min(m, n)
    w = np.array(a, order="C").reshape(math.prod(lead), m, n)
    batch = np.arange(len(w))
    pivots = np.zeros((len(w), count), np.int32)
    info = np.zeros(len(w), np.int32)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        for j in range(start, stop):
            chosen = j + np.abs(w[:, j:, j]).argmax(1)
            pivots[:, j] = chosen + 1
            rows = w[batch, chosen]
            w[batch, chosen] = w[:, j]
            w[:, j] = rows
            pivot = w[:, j, j]
            zero = pivot == 0
            info[zero & (info == 0)] = j + 1
            w[:, j + 1 :, j] /= np.where(zero, 1, pivot)[:, None]
            w[:, j + 1 :, j + 1 : stop] -= w[:, j + 1 :, j, None] * w[:, j, None, j + 1 : stop]
        if stop < n:
            right = solve_triangular(w[:, start:stop, start:stop], w[:, start:stop, stop:], False, True)
            w[:, start:stop, stop:] = right
            w[:, stop:, stop:] -= np.matmul(w[:, stop:, start:stop], right)
    return w.reshape(a.shape), pivots.reshape(*lead, count), info.reshape(lead)


def pivots_to_permutation(pivots: ndarray, m: int) -> Any:
    """The order of rows p (*, m) that the swaps lead to: row i of the permuted matrix is row p[i]."""
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    order = np.tile(np.arange(m), (len(flat), 1))
    batch = np.arange(len(flat))
    for j in range(flat.shape[1]):
        other = flat[:, j] - 1
        moved = order[batch, other]
        order[batch, other] = order[:, j]
        order[:, j] = moved
    return order.reshape(*pivots.shape[:-1], m)


def eig(a: ndarray) -> tuple[Any, Any]:
    """(eigenvalues, eigenvectors as columns of length 1), both complex."""
    wide = np.result_type(a.dtype, np.complex64)
    if a.size == 0:
        return np.zeros(a.shape[:-1], wide), np.zeros(a.shape, wide)
    values, vectors = np.linalg.eig(a)
    return values.astype(wide), vectors.astype(wide)


def cholesky_steps(a: ndarray) -> tuple[Any, Any]:
    """(l, order of the first leading minor that is not positive or 0): a factorisation that stops there."""
    n = a.shape[-1]
    w = np.tril(a).reshape(math.prod(a.shape[:-2]), n, n)
    info = np.zeros(len(w), np.int32)
    for i, x in enumerate(w):
        for j in range(n):
            left = x[j, :j]
            square = x[j, j].real - (left * left.conj()).sum().real
            if not square > 0:
                info[i] = j + 1
                break
            x[j, j] = math.sqrt(square)
            x[j + 1 :, j] = (x[j + 1 :, j] - x[j + 1 :, :j] @ left.conj()) / x[j, j]
    return w.reshape(a.shape), info.reshape(a.shape[:-2])


# -- symmetric matrices that need not be positive ------------------------------------------------------------------

_GROWTH = (1 + math.sqrt(17)) / 8


def _size(x: Any) -> Any:
    """What LAPACK compares: |re| + |im|."""
    return np.abs(x.real) + np.abs(x.imag) if np.iscomplexobj(x) else np.abs(x)


def _swap(x: ndarray, j: int, r: int, hermitian: bool) -> None:
    """Exchange rows and columns j < r of the lower triangle from column j on."""
    x[r + 1 :, [j, r]] = x[r + 1 :, [r, j]]
    between = x[j + 1 : r, j].copy()
    x[j + 1 : r, j] = x[r, j + 1 : r].conj() if hermitian else x[r, j + 1 : r]
    x[r, j + 1 : r] = between.conj() if hermitian else between
    if hermitian:
        x[r, j] = np.conj(x[r, j])
    x[j, j], x[r, r] = x[r, r], x[j, j]


def _ldl(x: ndarray, pivots: ndarray, hermitian: bool) -> int:
    """One lower triangle, factorised in place; the index of the first zero block or 0."""
    n, k, info = len(x), 0, 0
    while k < n:
        step, r = 1, k
        diagonal = abs(x[k, k].real) if hermitian else _size(x[k, k])
        below = _size(x[k + 1 :, k])
        largest = below.max(initial=0.0)
        if max(diagonal, largest) == 0:
            info = info or k + 1
        elif diagonal < _GROWTH * largest:
            row = k + 1 + int(below.argmax())
            along = max(_size(x[row, k:row]).max(initial=0.0), _size(x[row + 1 :, row]).max(initial=0.0))
            if diagonal < _GROWTH * largest * (largest / along):
                other = abs(x[row, row].real) if hermitian else _size(x[row, row])
                r = row
                step = 1 if other >= _GROWTH * along else 2
        place = k + step - 1
        if r != place:
            first = x[place, k].copy()
            _swap(x, place, r, hermitian)
            if step == 2:
                x[place, k], x[r, k] = x[r, k], first
        if step == 1:
            if x[k, k] != 0:
                column = x[k + 1 :, k] / x[k, k]
                x[k + 1 :, k + 1 :] -= np.tril(np.outer(column, x[k + 1 :, k].conj() if hermitian else x[k + 1 :, k]))
                x[k + 1 :, k] = column
            pivots[k] = r + 1
        else:
            block = x[k : k + 2, k : k + 2].copy()
            block[0, 1] = np.conj(block[1, 0]) if hermitian else block[1, 0]
            columns = x[k + 2 :, k : k + 2].copy()
            scaled = columns @ np.linalg.inv(block)
            x[k + 2 :, k + 2 :] -= np.tril(scaled @ (columns.conj() if hermitian else columns).T)
            x[k + 2 :, k : k + 2] = scaled
            pivots[k : k + 2] = -(r + 1)
        k += step
    return info


def ldl_factor(a: ndarray, hermitian: bool) -> tuple[Any, Any, Any]:
    """(L and D in one lower triangle, pivots, index of the first zero block or 0), as LAPACK's sytrf and hetrf store them."""
    n = a.shape[-1]
    w = np.tril(a).reshape(math.prod(a.shape[:-2]), n, n)
    pivots, info = np.zeros((len(w), n), np.int32), np.zeros(len(w), np.int32)
    for i, x in enumerate(w):
        info[i] = _ldl(x, pivots[i], hermitian)
    return w.reshape(a.shape), pivots.reshape(a.shape[:-1]), info.reshape(a.shape[:-2])


def _ldl_solve(x: ndarray, pivots: ndarray, b: ndarray, hermitian: bool) -> None:
    """One system, solved in place: forward through the blocks of L and D, and back through L's transpose."""
    n, k = len(x), 0
    starts = []
    while k < n:
        step = 1 if pivots[k] > 0 else 2
        place, r = k + step - 1, abs(int(pivots[k])) - 1
        b[[place, r]] = b[[r, place]]
        columns = x[k + step :, k : k + step]
        b[k + step :] -= columns @ b[k : k + step]
        block = x[k : k + step, k : k + step].copy()
        if step == 2:
            block[0, 1] = np.conj(block[1, 0]) if hermitian else block[1, 0]
        b[k : k + step] = np.linalg.solve(block, b[k : k + step])
        starts.append((k, step, place, r))
        k += step
    for k, step, place, r in reversed(starts):
        columns = x[k + step :, k : k + step]
        b[k : k + step] -= (columns.conj() if hermitian else columns).T @ b[k + step :]
        b[[place, r]] = b[[r, place]]


def ldl_solve(ld: ndarray, pivots: ndarray, b: ndarray, hermitian: bool) -> Any:
    """The x with a·x = b of the factors that :func:`ldl_factor` found of a."""
    n = ld.shape[-1]
    batch = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    x = np.array(np.broadcast_to(b, (*batch, *b.shape[-2:])))
    factors = np.broadcast_to(ld, (*batch, n, n)).reshape(-1, n, n)
    swaps = np.broadcast_to(pivots, (*batch, n)).reshape(-1, n)
    for one, order, right in zip(factors, swaps, x.reshape(-1, *b.shape[-2:]), strict=True):
        _ldl_solve(one, order, right, hermitian)
    return x
