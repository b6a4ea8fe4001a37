"""Distances and similarities of vectors, vectors made of length one, and products of two vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.gathering import IndexSelect
from lamina.ops.linalg import _C_NAME, linear, matmul
from lamina.ops.loss import tensors
from lamina.ops.reduction import VectorNorm, given, norm
from lamina.ops.shape import wrap_dim


def at_least(x: Any, low: float) -> Any:
    """max(x, low), of which the gradient takes no note."""
    y = p.clone(x)
    y._a = k.clamp(y._a, low, None).astype(x._a.dtype, copy=False)
    return y


class Norm(VectorNorm):
    """(Σ|x|ᵖ)^(1/p), with no gradient at all where p is 0"""

    label = "NormBackward1"

    @staticmethod
    def backward(ctx, grad):
        return None if ctx.order == 0 else VectorNorm.backward(ctx, grad)


def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    r"""The distance :math:`\lVert x_1 - x_2 + \varepsilon \rVert_p` along the last dimension.

    Args:
        x1, x2 (Tensor): (N, D) or (D); shapes are broadcast.
        p (float): the norm's degree; may be negative or infinite.
        eps (float): :math:`\varepsilon`, added to every difference.
        keepdim (bool): whether the last dimension stays, with size 1.

    Raises:
        RuntimeError: shapes that do not broadcast.
    """
    tensors("pairwise_distance", x1=x1, x2=x2)
    d = x1 - x2 + eps
    return Norm.apply(d, float(p), (d._a.ndim - 1,) if d._a.ndim else (), keepdim)


class CosineSimilarity(Op):
    """x·y/(max(‖x‖, ε)·max(‖y‖, ε)) = c;   dL/dx = g·(y/(bₓ·b_y) − c/bₓ·x/‖x‖), with b the bounded lengths"""

    label = "SumBackward1"

    @staticmethod
    def forward(ctx, x, y, axis, eps):
        cosine, bounded, lengths = k.cosine_similarity(x._a, y._a, axis, eps)
        ctx.save(x, y, cosine, *bounded, *lengths)
        ctx.axis, ctx.eps = axis, eps
        return cosine

    @staticmethod
    def backward(ctx, grad):
        x, y, cosine, *lengths = ctx.saved
        if mode.enabled:
            return *_cosine_slopes(grad, x, y, ctx.axis, ctx.eps), None, None
        bx, by, m, n = lengths
        dx = dy = None
        if ctx.needs(0):
            dx = wrap(k.cosine_similarity_backward(grad._a, x._a, y._a, ctx.axis, cosine, (bx, by), (m, n)))
        if ctx.needs(1):
            dy = wrap(k.cosine_similarity_backward(grad._a, y._a, x._a, ctx.axis, cosine, (by, bx), (n, m)))
        return dx, dy, None, None


def _cosine_slopes(grad: Any, x: Any, y: Any, axis: int, eps: float) -> list[Any]:
    """The gradients in operations on tensors."""
    lengths = [VectorNorm.apply(v, 2.0, (v._a.ndim + axis,), True) for v in (x, y)]
    bounded = [at_least(v, eps) for v in lengths]
    cosine = (x / bounded[0] * (y / bounded[1])).sum(axis, keepdim=True)
    grad = grad.unsqueeze(axis)
    slopes = []
    for own, other, length, bound in ((x, y, lengths[0], bounded[0]), (y, x, lengths[1], bounded[1])):
        along = cosine * own / (bound * p.where(length == 0, 1.0, length))
        slopes.append(grad * (other / (bounded[0] * bounded[1]) - along))
    return slopes


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    r"""The cosine of the angle between vectors, :math:`x_1 \cdot x_2 / (\max(\lVert x_1 \rVert, \varepsilon)
    \max(\lVert x_2 \rVert, \varepsilon))`.

    Args:
        x1, x2 (Tensor): shapes are broadcast.
        dim (int): where in the common shape the vectors lie.
        eps (float): :math:`\varepsilon`, of which the gradient takes no note.

    Raises:
        RuntimeError: shapes that do not broadcast, or dtypes without floating point.
        IndexError: a dimension that is not there.
    """
    tensors("cosine_similarity", x1=x1, x2=x2)
    dtype = p.result_numpy_dtype(x1, x2)
    if dtype.kind not in "fV":
        raise RuntimeError(
            f"expected common dtype to be floating point, yet common dtype is {SCALAR_NAME[BY_NUMPY[dtype]]}"
        )
    try:
        shape = np.broadcast_shapes(x1._a.shape, x2._a.shape)
    except ValueError as error:
        raise p._broadcastable(x1._a, x2._a, error) from None
    axis = wrap_dim(dim, len(shape)) - len(shape)
    if not shape:
        return cosine_similarity(x1.reshape(1), x2.reshape(1), 0, eps)
    vectors = []
    for x in (x1, x2):
        x = p.cast(x, BY_NUMPY[dtype])
        whole = x._a.ndim >= -axis and x._a.shape[axis] == shape[axis]
        vectors.append(x if whole else x.expand(shape))
    return CosineSimilarity.apply(*vectors, axis, eps)


def normalize(input: Any, p: Any = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    r"""Vectors made of length one: :math:`x / \max(\lVert x \rVert_p, \varepsilon)`.

    Args:
        input (Tensor): any shape.
        p (float): the norm's degree.
        dim (int or tuple of ints): where the vectors lie.
        eps (float): :math:`\varepsilon`, against a division by zero.
        out (Tensor, optional): where the result is written to; then it has no gradient.

    Raises:
        RuntimeError: an integer input.
        IndexError: a dimension that is not there.
    """
    tensors("normalize", input=input)
    return given(out, input / norm(input, p, dim, True).clamp_min(eps))


class Pdist(Op):
    """The p-norms of x[i] − x[j] for i < j;   dL/dx[i] = Σⱼ g·sign(d)·(|d|/‖d‖)ᵖ⁻¹ with d = x[i] − x[j], 0 at d = 0"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, degree):
        ctx.save(x)
        ctx.degree = degree
        return k.pdist(x._a, degree)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved
        degree, y = ctx.degree, ctx.output
        if not mode.enabled:
            return wrap(k.pdist_backward(grad._a, x._a, y._a, degree)), None
        if degree == 0:
            return p.zeros_like(x), None
        i, j = (wrap(a) for a in np.triu_indices(x._a.shape[0], 1))
        d = IndexSelect.apply(x, 0, i) - IndexSelect.apply(x, 0, j)
        length = y.unsqueeze(1)
        if math.isinf(degree):
            slope = d.sgn() * (d.abs() == length)
        elif degree == 1:
            slope = d.sgn()
        else:
            moved = (d != 0) & (length != 0)
            ratio = p.where(moved, d.abs(), 1.0) / p.where(moved, length, 1.0)
            slope = p.where(moved, d.sgn() * ratio ** (degree - 1), 0.0)
        slope = slope * grad.unsqueeze(1)
        zero = p.zeros_like(x)
        return zero.index_add(0, i, slope).index_add(0, j, -slope), None


def pdist(input: Any, p: float = 2) -> Any:
    r"""The distances :math:`\lVert x_i - x_j \rVert_p` of all pairs of rows with :math:`i < j`, row by row.

    Args:
        input (Tensor): (N, M).
        p (float): the norm's degree, at least 0.

    Returns:
        Tensor: (N·(N − 1)/2).

    Raises:
        RuntimeError: another number of dimensions, a negative degree, or an integer input.
    """
    tensors("pdist", input=input)
    a = input._a
    if a.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {a.ndim}D")
    if a.dtype.kind not in "fV":
        raise RuntimeError(f"pdist only supports floating-point dtypes, got: {SCALAR_NAME[BY_NUMPY[a.dtype]]}")
    if p < 0:
        raise RuntimeError(f"pdist only supports non-negative p values, got: {p}")
    return Pdist.apply(input, float(p))


def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    r"""The product of two vectors with a matrix for each output: :math:`y_o = x_1^T W_o x_2 + b_o`.

    Args:
        input1, input2 (Tensor): (*, in1) and (*, in2).
        weight (Tensor): (out, in1, in2).
        bias (Tensor, optional): (out).

    Returns:
        Tensor: (*, out).

    Raises:
        RuntimeError: sizes or dtypes that do not fit.
    """
    given = {"input1": input1, "input2": input2, "weight": weight, **({} if bias is None else {"bias": bias})}
    tensors("bilinear", **given)
    a, b, w = input1._a, input2._a, weight._a
    if a.ndim != b.ndim:
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {a.ndim} and {b.ndim}")
    for i, (m, n) in enumerate(zip(a.shape[:-1], b.shape[:-1], strict=True)):
        if m != n:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {i}: got {m} and {n}")
    if w.ndim != 3:
        raise RuntimeError(f"bilinear(): weight must have 3 dimensions (out, in1, in2), but got shape {list(w.shape)}")
    for i, x in enumerate((a, b)):
        size = x.shape[-1] if x.ndim else "none"
        if size != w.shape[i + 1]:
            raise RuntimeError(
                f"bilinear(): input{i + 1} size does not match weight size: got {size} but expected {w.shape[i + 1]}"
            )
    if bias is not None and bias._a.shape != (w.shape[0],):
        raise RuntimeError(
            f"bilinear(): bias size does not match weight size: got shape {list(bias._a.shape)} but expected {w.shape[0]}"
        )
    if len({t._a.dtype for t in given.values()}) > 1:
        kinds = ", ".join(f"{n}: {_C_NAME[t._a.dtype.name]}" for n, t in given.items())
        raise RuntimeError(f"All tensors must have the same dtype, got {kinds}")
    out, in1, in2 = w.shape
    if out < in1:  # the smaller of two intermediate results: (out, rows, in2) here, (rows, in1, in2) there
        x, y = input1.reshape(math.prod(a.shape[:-1]), in1), input2.reshape(math.prod(b.shape[:-1]), in2)
        result = (matmul(x, weight) * y).sum(-1).t().reshape(*a.shape[:-1], out)
        return result if bias is None else result + bias
    pairs = input1.unsqueeze(-1) * input2.unsqueeze(-2)
    return linear(pairs.reshape(*a.shape[:-1], in1 * in2), weight.reshape(out, in1 * in2), bias)


FUNCTIONS = ("pairwise_distance", "cosine_similarity", "pdist", "bilinear")
NN_FUNCTIONS = (*FUNCTIONS, "normalize")
