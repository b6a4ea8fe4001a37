"""Contractions, chains, powers and distances, made of matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.linalg import MatMul, arrays, matmul, mm
from lamina.ops.pointwise import _conj
from lamina.ops.reduction import VectorNorm, given, scalar_name, sum
from lamina.ops.shape import wrap_dim, wrap_dims


def inner(input: Any, other: Any, *, out: Any = None) -> Any:
    """Σ over the last dimensions of the products of all their pairs of rows; a plain product if either is a scalar."""
    a, b = arrays("inner", input=input, other=other)
    if a.ndim == 0 or b.ndim == 0:
        return given(out, input * other)
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"inner() the last dimension must match on both input tensors but got shapes {list(a.shape)} and {list(b.shape)}"
        )
    return given(out, tensordot(input, other, ([-1], [-1])))


def tensordot(a: Any, b: Any, dims: Any = 2, out: Any = None) -> Any:
    """Σ over pairs of dimensions: the last ``dims`` of ``a`` with the first of ``b``, or the two lists of dimensions given."""
    x, y = arrays("tensordot", a=a, b=b)
    if isinstance(dims, Variable):
        dims = dims._a.item() if dims._a.size == 1 else dims._a.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(x.ndim, y.ndim):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = range(x.ndim - dims, x.ndim), range(dims)
    else:
        left, right = ((d,) if isinstance(d, int) else tuple(d) for d in dims)  # type: ignore[assignment]
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    if x.dtype != y.dtype:
        raise RuntimeError("both inputs should have same dtype")
    left, right = wrap_dims(tuple(left), x.ndim), wrap_dims(tuple(right), y.ndim)  # type: ignore[assignment]
    for i, j in zip(left, right, strict=True):
        if x.shape[i] != y.shape[j]:
            if x.shape[i] == 1:
                b = sum(b, j, True)
            elif y.shape[j] == 1:
                a = sum(a, i, True)
            else:
                raise RuntimeError(
                    f"contracted dimensions need to match, but first has size {x.shape[i]} in dim {i} and second has size "
                    f"{y.shape[j]} in dim {j}"
                )
    free_a = [i for i in range(x.ndim) if i not in left]
    free_b = [j for j in range(y.ndim) if j not in right]
    n = math.prod([a._a.shape[i] for i in left])
    rows = a.permute(*free_a, *left) if x.ndim else a
    columns = b.permute(*right, *free_b) if y.ndim else b
    product = mm(
        rows.reshape(math.prod([x.shape[i] for i in free_a]), n), columns.reshape(n, math.prod([y.shape[j] for j in free_b]))
    )
    return given(out, product.reshape([*(x.shape[i] for i in free_a), *(y.shape[j] for j in free_b)]))


def kron(input: Any, other: Any, *, out: Any = None) -> Any:
    """The Kronecker product: each element of ``input`` times the whole of ``other``, as blocks."""
    a, b = arrays("kron", input=input, other=other)
    n = max(a.ndim, b.ndim)
    s, t = ((1,) * (n - x.ndim) + x.shape for x in (a, b))
    left = input.reshape([m for i in s for m in (i, 1)])
    right = other.reshape([m for j in t for m in (1, j)])
    return given(out, (left * right).reshape([i * j for i, j in zip(s, t, strict=True)]))


def trace(input: Any) -> Any:
    """The sum of a matrix's diagonal."""
    (a,) = arrays("trace", input=input)
    if a.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {a.ndim}")
    return sum(input.diagonal())


class Cross(Op):
    """The vector product x × y;   dL/dx = y × g, dL/dy = g × x"""

    @staticmethod
    def forward(ctx, x, y, axis):
        ctx.save(x, y)
        ctx.axis = axis
        return k.cross(x._a, y._a, axis)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        return (
            Cross.apply(_conj(y), grad, ctx.axis) if ctx.needs(0) else None,
            Cross.apply(grad, _conj(x), ctx.axis) if ctx.needs(1) else None,
        )


def cross(input: Any, other: Any, dim: int | None = None, *, out: Any = None) -> Any:
    """The vector product along a dimension of size 3 (by default the first such)."""
    a, b = arrays("cross", input=input, other=other)
    if a.ndim != b.ndim:
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    if dim is None:
        if 3 not in a.shape:
            raise RuntimeError("no dimension of size 3 in input")
        dim = a.shape.index(3)
    axis = wrap_dim(dim, a.ndim)
    if a.shape[axis] != 3 or b.shape[axis] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {a.shape[axis]} and {b.shape[axis]}"
        )
    if a.dtype != b.dtype:
        raise RuntimeError(f"expected scalar type {scalar_name(a)} but found {scalar_name(b)}")
    try:
        return given(out, Cross.apply(input, other, axis - a.ndim))
    except ValueError as error:
        raise p._broadcastable(a, b, error) from None


def multi_dot(tensors: Sequence[Any], *, out: Any = None) -> Any:
    """The product of several matrices, in the order that costs the fewest multiplications; the ends may be vectors."""
    tensors = list(tensors)
    n = len(tensors)
    if n < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    first, last = tensors[0]._a.ndim == 1, tensors[-1]._a.ndim == 1
    for i, t in enumerate(tensors):
        if t._a.ndim != 2 and not (t._a.ndim == 1 and i in (0, n - 1)):
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {t._a.ndim}D")
    given_shapes = [list(t._a.shape) for t in tensors]
    if first:
        tensors[0] = tensors[0].unsqueeze(0)
    if last:
        tensors[-1] = tensors[-1].unsqueeze(1)
    for i in range(n - 1):
        if tensors[i]._a.shape[1] != tensors[i + 1]._a.shape[0]:
            raise RuntimeError(
                f"multi_dot(): tensors {i} and {i + 1} with shapes {given_shapes[i]} and {given_shapes[i + 1]} cannot be "
                "multiplied"
            )
    sizes = [t._a.shape[0] for t in tensors] + [tensors[-1]._a.shape[1]]
    cost = {(i, i): (0, i) for i in range(n)}  # of a run of factors → (multiplications, where it is cut)
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j] = min(
                (cost[i, m][0] + cost[m + 1, j][0] + sizes[i] * sizes[m + 1] * sizes[j + 1], m) for m in range(i, j)
            )

    def product(i: int, j: int) -> Any:
        if i == j:
            return tensors[i]
        m = cost[i, j][1]
        return mm(product(i, m), product(m + 1, j))

    r = product(0, n - 1)
    if first:
        r = r.squeeze(0)
    if last:
        r = r.squeeze(-1)
    return given(out, r)


def chain_matmul(*matrices: Any, out: Any = None) -> Any:
    """The product of several matrices, in the order that costs the fewest multiplications."""
    if len(matrices) == 1 and isinstance(matrices[0], (tuple, list)):
        matrices = tuple(matrices[0])
    return given(out, matrices[0].clone()) if len(matrices) == 1 else multi_dot(matrices, out=out)


def matrix_power(input: Any, n: int, *, out: Any = None) -> Any:
    """A square matrix, or each of a batch, multiplied with itself; for n < 0 its inverse."""
    (a,) = arrays("matrix_power", input=input)
    if a.ndim < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if a.shape[-1] != a.shape[-2]:
        raise RuntimeError(
            f"linalg.matrix_power: A must be batches of square matrices, but they are {a.shape[-2]} by {a.shape[-1]} matrices"
        )
    if n < 0:
        from lamina.ops.decomposition import inv

        input, n = inv(input), -n
    if n == 0:
        return given(out, wrap(np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape).copy()))
    result = None
    while n:
        if n & 1:
            result = input if result is None else matmul(result, input)
        n >>= 1
        if n:
            input = matmul(input, input)
    return given(out, p.clone(result) if result is input else result)


class EuclideanDistance(Op):
    """d between the rows of x and y by a matrix product;   with w = g/d (0 at d = 0): dL/dx = x·Σw − w·y, dL/dy = y·Σwᵀ − wᵀ·x"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, y):
        ctx.save(x, y)
        return k.cdist_mm(x._a, y._a)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        d = ctx.output
        w = p.where(d == 0, 0.0, grad / d)
        gx = x * sum(w, -1, True) - MatMul.apply(w, y, False, False) if ctx.needs(0) else None
        gy = y * sum(w, -2).unsqueeze(-1) - MatMul.apply(w, x, True, False) if ctx.needs(1) else None
        return gx, gy


_CDIST_MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """The ``p``-norm distances between all rows of x1 (*, P, M) and x2 (*, R, M), as (*, P, R).

    Euclidean distances of more than 25 rows come from a matrix product, which is fast and less exact where rows are
    nearly equal; ``compute_mode="donot_use_mm_for_euclid_dist"`` avoids it.
    """
    a, b = arrays("cdist", x1=x1, x2=x2)
    for name, x in (("X1", a), ("X2", b)):
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    for name, x in (("X1", a), ("X2", b)):
        if x.dtype.kind not in "fV":
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {scalar_name(x)}")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if a.dtype != b.dtype:
        raise RuntimeError(f"expected scalar type {scalar_name(a)} but found {scalar_name(b)}")
    if compute_mode is not None and compute_mode not in _CDIST_MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    many = compute_mode == _CDIST_MODES[1] or compute_mode != _CDIST_MODES[2] and max(a.shape[-2], b.shape[-2]) > 25
    if p == 2 and many and a.shape[-1]:
        return EuclideanDistance.apply(x1, x2)
    return VectorNorm.apply(x1.unsqueeze(-2) - x2.unsqueeze(-3), float(p), (max(a.ndim, b.ndim),), False)


FUNCTIONS = ("inner", "tensordot", "kron", "trace", "cross", "chain_matmul", "matrix_power", "cdist")
METHODS = ("inner", "kron", "trace", "cross", "matrix_power")
