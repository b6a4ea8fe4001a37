"""Products of matrices and vectors: matmul in all its forms, products added to something, linear layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, promote_numpy
from lamina.autograd import express
from lamina.autograd.casting import lowered
from lamina.autograd.graph import Op, Variable, memory_version, mode, wants, wrap
from lamina.engine import kernels as k
from lamina.engine.door import _run, detours
from lamina.ops import pointwise as p
from lamina.ops.operands import store
from lamina.ops.pointwise import _conj
from lamina.ops.reduction import Sum, given, scalar_name, sum
from lamina.ops.shape import expand

_C_NAME = {
    "float64": "double", "float32": "float", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
    "int64": "long int", "int32": "int", "int16": "short int",
    "int8": "signed char", "uint8": "unsigned char", "bool": "bool", "complex64": "c10::complex<float>",
    "complex128": "c10::complex<double>",
}  # fmt: skip


def arrays(name: str, **tensors: Any) -> list[np.ndarray]:
    """The arrays of the arguments of a function, which must be tensors."""
    for position, (argument, t) in enumerate(tensors.items(), 1):
        if not isinstance(t, Variable):
            raise TypeError(f"{name}(): argument '{argument}' (position {position}) must be Tensor, not {type(t).__name__}")
    return [t._a for t in tensors.values()]


def _no_bools(name: str, a: np.ndarray) -> None:
    if a.dtype.kind == "b":
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


# -- matrix products -----------------------------------------------------------------------------------------------


class MatMul(Op):
    """op(x)·op(y) for matrices, or batches of them that broadcast; op is the transposition where its flag is set.

    dL/dop(x) = g·op(y)ᵀ and dL/dop(y) = op(x)ᵀ·g are such products again, so no gradient needs a transposed copy.
    """

    @staticmethod
    def forward(ctx, x, y, x_flipped, y_flipped):
        ctx.save_factors(x, y)
        a, b = x._a, y._a
        ctx.settings = x_flipped, y_flipped, b.ndim == 2
        if ctx.recording:
            ctx.label = "MmBackward0" if a.ndim == b.ndim == 2 else "BmmBackward0"
        if x_flipped:
            a = a.swapaxes(-1, -2)
        if y_flipped:
            b = b.swapaxes(-1, -2)
        return k.matmul(a, b)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        x_flipped, y_flipped, one_matrix = ctx.settings
        gx = gy = None
        if ctx.needs(0):
            other = _conj(y)
            gx = (
                MatMul.apply(other, grad, y_flipped, True)
                if x_flipped
                else MatMul.apply(grad, other, False, not y_flipped)
            )
        if ctx.needs(1):
            other = _conj(x)
            if other._a.ndim > 2 and one_matrix and not x_flipped:  # the sum over the batch is part of the product
                other, grad = _rows(other), _rows(grad)
            gy = (
                MatMul.apply(grad, other, True, x_flipped)
                if y_flipped
                else MatMul.apply(other, grad, not x_flipped, False)
            )
        return gx, gy


FEW = 1 << 17  # multiplications below which NumPy computes, so that the door need not be asked


def _express_product(general: Any) -> Any:
    """``MatMul.apply`` for two small matrices: the lane of :mod:`lamina.autograd.express`."""
    kernel = k.matmul
    reference = kernel.reference

    def apply(x: Any, y: Any, x_flipped: bool, y_flipped: bool) -> Any:
        a, b = x._a, y._a
        if a.dtype is not F32 or b.dtype is not F32 or a.ndim != 2 or b.ndim != 2 or detours or not kernel.min_size:
            return general(x, y, x_flipped, y_flipped)
        if x_flipped:
            a = a.T
        if y_flipped:
            b = b.T
        if a.size * b.shape[1] >= FEW:
            return general(x, y, x_flipped, y_flipped)
        try:
            c = _run(reference, a, b)
        except (RuntimeError, ValueError):
            return general(x, y, x_flipped, y_flipped)
        kernel.reference_calls += 1
        t = express.result(MatMul, c, x, y)
        node = t._node
        if node is not None:
            node.label = "MmBackward0"
            node.settings = x_flipped, y_flipped, True
            node.edges += [None, None]
            node.recording = True
            node.save_factors(x, y)
        return t

    return apply


MatMul.apply = staticmethod(_express_product(MatMul.apply))  # type: ignore[method-assign]


def _rows(x: Any) -> Any:
    """A tensor (*, n) as a matrix of its rows."""
    shape = x._a.shape
    return x if len(shape) == 2 else x.reshape(math.prod(shape[:-1]), shape[-1])


def _check_matrices(a: np.ndarray, b: np.ndarray) -> None:
    """Raise unless two matrices can be multiplied."""
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and {b.shape[0]}x{b.shape[1]})"
        )
    if a.dtype is not b.dtype and a.dtype != b.dtype:
        raise RuntimeError(
            f"expected m1 and m2 to have the same dtype, but got: {_C_NAME[a.dtype.name]} != {_C_NAME[b.dtype.name]}"
        )
    _no_bools("addmm_impl_cpu_", a)


def _check_vector(a: np.ndarray, v: np.ndarray) -> None:
    """Raise unless a matrix can be multiplied with a vector."""
    if a.shape[1] != v.shape[0]:
        raise RuntimeError(
            f"size mismatch, got input ({a.shape[0]}), mat ({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})"
        )
    if a.dtype != v.dtype:
        raise RuntimeError(
            f"addmv input tensors must have the same dtype, but got {scalar_name(v)}, {scalar_name(a)}, and {scalar_name(v)}"
        )
    _no_bools("addmv_impl_cpu", a)


def _check_batches(a: np.ndarray, b: np.ndarray) -> None:
    """Raise unless two batches of matrices, of three dimensions or more, can be multiplied."""
    lead = max(a.ndim, b.ndim) - 2
    s, t = ((1,) * (lead + 2 - x.ndim) + x.shape[:-2] for x in (a, b))
    for i in range(lead - 1, -1, -1):
        if s[i] != t[i] and 1 not in (s[i], t[i]):
            raise RuntimeError(
                f"The size of tensor a ({s[i]}) must match the size of tensor b ({t[i]}) at non-singleton dimension {i}"
            )
    if a.shape[-1] != b.shape[-2]:
        n = math.prod([max(i, j) if i and j else 0 for i, j in zip(s, t, strict=True)])
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{n}, {a.shape[-1]}] but got: [{n}, {b.shape[-2]}]."
        )
    if a.dtype != b.dtype:
        raise RuntimeError(f"expected scalar type {scalar_name(a)} but found {scalar_name(b)}")
    _no_bools("bmm", a)


def matmul(input: Any, other: Any, *, out: Any = None) -> Any:
    """The product of two tensors: of vectors a number, of a matrix and a vector a vector, of matrices a matrix.

    With more dimensions the last two are matrices, and those before them broadcast. Raises ``RuntimeError`` if the sizes do
    not fit or the dtypes differ.
    """
    if detours:
        input, other = lowered(input, other)
    try:
        a, b = input._a, other._a
    except AttributeError:
        a, b = arrays("matmul", input=input, other=other)
    if a.ndim == 1 and b.ndim == 1:
        r = Dot.apply(input, other) if a.shape == b.shape and a.dtype is b.dtype is F32 else dot(input, other)
    elif a.ndim == 2 and b.ndim == 2:
        _check_matrices(a, b)
        r = MatMul.apply(input, other, False, False)
    elif a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {a.ndim}D and {b.ndim}D")
    elif b.ndim == 1:
        _check_vector(a.reshape(-1, a.shape[-1]) if a.size else a.reshape(-1, a.shape[-1] or 1)[:, : a.shape[-1]], b)
        if a.dtype is F32 and not detours and not (mode.enabled and (wants(input) or wants(other))):
            r = wrap(k.matmul(a, b[:, None])[..., 0])
        else:
            r = MatMul.apply(input, other.unsqueeze(1), False, False).squeeze(-1)
    elif a.ndim == 1:
        (_check_matrices if b.ndim == 2 else _check_batches)(a[None], b)
        r = MatMul.apply(input.unsqueeze(0), other, False, False).squeeze(-2)
    else:
        if b.ndim == 2:
            rows = math.prod(a.shape[:-1])
            if a.shape[-1] != b.shape[0]:
                raise RuntimeError(
                    f"mat1 and mat2 shapes cannot be multiplied ({rows}x{a.shape[-1]} and {b.shape[0]}x{b.shape[1]})"
                )
        _check_batches(a, b)
        r = MatMul.apply(input, other, False, False)
    return r if out is None else store(out, r)


def mm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """The product of two matrices (n, m) and (m, p)."""
    if detours:
        input, mat2 = lowered(input, mat2)
    try:
        a, b = input._a, mat2._a
    except AttributeError:
        a, b = arrays("mm", input=input, mat2=mat2)
    if a.ndim != 2:
        raise RuntimeError("self must be a matrix")
    if b.ndim != 2:
        raise RuntimeError("mat2 must be a matrix")
    _check_matrices(a, b)
    return given(out, MatMul.apply(input, mat2, False, False))


def bmm(input: Any, mat2: Any, *, out: Any = None) -> Any:
    """The products of two batches of matrices (b, n, m) and (b, m, p), without broadcasting."""
    if detours:
        input, mat2 = lowered(input, mat2)
    a, b = arrays("bmm", input=input, mat2=mat2)
    for name, x in (("batch1", a), ("batch2", b)):
        if x.ndim != 3:
            raise RuntimeError(f"{name} must be a 3D tensor")
    if b.shape[0] != a.shape[0] or b.shape[1] != a.shape[2]:
        raise RuntimeError(
            f"Expected size for first two dimensions of batch2 tensor to be: [{a.shape[0]}, {a.shape[2]}] but got: "
            f"[{b.shape[0]}, {b.shape[1]}]."
        )
    _check_batches(a, b)
    return given(out, MatMul.apply(input, mat2, False, False))


def mv(input: Any, vec: Any, *, out: Any = None) -> Any:
    """The product of a matrix (n, m) and a vector (m)."""
    a, b = arrays("mv", input=input, vec=vec)
    if a.ndim != 2 or b.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {1}, {a.ndim}, {b.ndim}")
    return matmul(input, vec, out=out)


class Dot(Op):
    """Σ x·y of two vectors;   dL/dx = g·y, dL/dy = g·x"""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_factors(x, y)
        return k.dot(x._a, y._a)

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved
        return grad * _conj(y) if ctx.needs(0) else None, grad * _conj(x) if ctx.needs(1) else None


express.two(Dot, k.dot, "factors")


def dot(input: Any, tensor: Any, *, out: Any = None) -> Any:
    """Σ input·tensor of two vectors of one size."""
    try:
        a, b = input._a, tensor._a
    except AttributeError:
        a, b = arrays("dot", input=input, tensor=tensor)
    if a.ndim == 1 and a.shape == b.shape and a.dtype is b.dtype and a.dtype.kind != "b":
        r = Dot.apply(input, tensor)
        return r if out is None else store(out, r)
    if a.ndim != 1 or b.ndim != 1:
        raise RuntimeError(f"1D tensors expected, but got {a.ndim}D and {b.ndim}D tensors")
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {scalar_name(a)} and {scalar_name(b)}"
        )
    if a.size != b.size:
        raise RuntimeError(
            f"inconsistent tensor size, expected tensor [{a.size}] and src [{b.size}] to have the same number of elements, but "
            f"got {a.size} and {b.size} elements respectively"
        )
    _no_bools("dot", a)
    return given(out, Dot.apply(input, tensor))


def vdot(input: Any, other: Any, *, out: Any = None) -> Any:
    """Σ conj(input)·other of two vectors of one size."""
    return dot(_conj(input), other, out=out)


def outer(input: Any, vec2: Any, *, out: Any = None) -> Any:
    """The products of all pairs of elements of two vectors (n) and (m), as a matrix (n, m)."""
    for name, x in zip(("self", "vec2"), arrays("outer", input=input, vec2=vec2), strict=True):
        if x.ndim != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {x.ndim}-D")
    return given(out, input.unsqueeze(1) * vec2)


ger = outer


# -- products added to something -----------------------------------------------------------------------------------


def _added(input: Any, product: Any, beta: Any, alpha: Any, out: Any) -> Any:
    """β·input + α·product, with input broadcast, and not looked at if β is 0."""
    a = product._a
    if input._a.dtype != a.dtype:
        raise RuntimeError(
            f"self and mat2 must have the same dtype, but got {scalar_name(input._a)} and {scalar_name(a)}"
        )
    input = expand(input, a.shape)
    if a.dtype.kind in "iu":
        alpha, beta = int(alpha), int(beta)
    if alpha != 1:
        product = product * alpha
    if beta == 0:
        return given(out, product)
    return given(out, product + (input if beta == 1 else input * beta))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """β·input + α·(mat1·mat2), for an input that broadcasts to (n, p) and matrices (n, m) and (m, p)."""
    if detours:
        input, mat1, mat2 = lowered(input, mat1, mat2)
    c, a, b = arrays("addmm", input=input, mat1=mat1, mat2=mat2)
    for name, x in (("mat1", a), ("mat2", b)):
        if x.ndim != 2:
            raise RuntimeError(f"{name} must be a matrix, got {x.ndim}-D tensor")
    if c.dtype != b.dtype:
        raise RuntimeError(f"self and mat2 must have the same dtype, but got {scalar_name(c)} and {scalar_name(b)}")
    _check_matrices(a, b)
    if alpha == 1 and beta == 1 and c.ndim == 1 and c.shape[0] == b.shape[1] and out is None:
        return Linear.apply(mat1, mat2.transpose(0, 1), input)
    return _added(input, MatMul.apply(mat1, mat2, False, False), beta, alpha, out)


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """β·input + α·(mat·vec), for an input that broadcasts to (n), a matrix (n, m) and a vector (m)."""
    c, a, v = arrays("addmv", input=input, mat=mat, vec=vec)
    if a.ndim != 2 or v.ndim != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {c.ndim}, {a.ndim}, {v.ndim}")
    if a.shape[1] != v.shape[0] or c.shape not in ((), (1,), (a.shape[0],)):
        raise RuntimeError(
            f"size mismatch, got input ({c.shape[0] if c.ndim else 1}), mat ({a.shape[0]}x{a.shape[1]}), vec ({v.shape[0]})"
        )
    if not c.dtype == a.dtype == v.dtype:
        names = scalar_name(c), scalar_name(a), scalar_name(v)
        raise RuntimeError("addmv input tensors must have the same dtype, but got {}, {}, and {}".format(*names))
    return _added(input, matmul(mat, vec), beta, alpha, out)


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """β·input + α·(vec1 ⊗ vec2), for an input that broadcasts to (n, m) and vectors (n) and (m)."""
    for name, x in zip(("vec1", "vec2"), arrays("addr", input=input, vec1=vec1, vec2=vec2)[1:], strict=True):
        if x.ndim != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {x.ndim}-D")
    product = outer(vec1, vec2)
    wanted = promote_numpy(product._a.dtype, input._a.dtype)
    return _added(p.cast(input, BY_NUMPY[wanted]), p.cast(product, BY_NUMPY[wanted]), beta, alpha, out)


def _checked_bmm(name: str, input: Any, batch1: Any, batch2: Any) -> Any:
    _, a, b = arrays(name, input=input, batch1=batch1, batch2=batch2)
    for argument, x in (("batch1", a), ("batch2", b)):
        if x.ndim != 3:
            raise RuntimeError(f"{argument} must be a 3D tensor")
    if a.shape[0] != b.shape[0]:
        raise RuntimeError(f"batch1 and batch2 must have same number of batches, got {a.shape[0]} and {b.shape[0]}")
    if a.shape[2] != b.shape[1]:
        raise RuntimeError(
            f"Incompatible matrix sizes for bmm ({a.shape[1]}x{a.shape[2]} and {b.shape[1]}x{b.shape[2]})"
        )
    _check_batches(a, b)
    return MatMul.apply(batch1, batch2, False, False)


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """β·input + α·Σᵢ batch1ᵢ·batch2ᵢ, for an input that broadcasts to (n, p) and batches (b, n, m) and (b, m, p)."""
    if detours:
        input, batch1, batch2 = lowered(input, batch1, batch2)
    return _added(input, sum(_checked_bmm("addbmm", input, batch1, batch2), 0), beta, alpha, out)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> Any:
    """β·input + α·(batch1·batch2), for an input that broadcasts to (b, n, p) and batches (b, n, m) and (b, m, p)."""
    if detours:
        input, batch1, batch2 = lowered(input, batch1, batch2)
    return _added(input, _checked_bmm("baddbmm", input, batch1, batch2), beta, alpha, out)


# -- the linear layer ----------------------------------------------------------------------------------------------


class Linear(Op):
    """x·Wᵀ + b;   dL/dx = g·W, dL/dW = gᵀ·x, dL/db = Σ g over the rows"""

    @staticmethod
    def forward(ctx, x, weight, bias):
        if ctx.recording:
            ctx.save_factors(x, weight)
            ctx.label = "ViewBackward0" if x._a.ndim > 2 else "MmBackward0" if bias is None else "AddmmBackward0"
        return k.linear(x._a, weight._a, None if bias is None else bias._a, memory_version(weight))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved
        gx = gw = gb = None
        edge_x, edge_weight, edge_bias = ctx.edges
        if grad._a.ndim == 2 and grad._a.dtype.kind == "f" and not mode.enabled:
            g = grad._a  # nobody asks for the gradients' own history
            if edge_x is not None:
                gx = wrap(k.matmul(g, weight._a))
            if edge_weight is not None:
                gw = wrap(k.matmul(g.T, x._a))
            if edge_bias is not None:
                gb = wrap(k.sum(g, (0,), False))
            return gx, gw, gb
        if grad._a.ndim == 1:
            if ctx.needs(0):
                gx = MatMul.apply(grad.unsqueeze(0), _conj(weight), False, False).squeeze(0)
        elif ctx.needs(0):
            gx = MatMul.apply(grad, _conj(weight), False, False)
        if edge_weight is not None or edge_bias is not None:
            rows = _rows(grad)
            if edge_weight is not None:
                gw = MatMul.apply(rows, _rows(_conj(x)), True, False)
            if edge_bias is not None:
                gb = Sum.apply(rows, (0,), False, None)
        return gx, gw, gb


def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    r"""The affine map :math:`y = xW^T + b`.

    Shapes: input (\*, in), weight (out, in) or (in), bias (out) or missing; the result is (\*, out) or (\*).
    Raises ``RuntimeError`` if the sizes do not fit or the dtypes differ.
    """
    if detours:
        input, weight, bias = lowered(input, weight, bias)
    try:
        a, w = input._a, weight._a
        b = None if bias is None else bias._a
    except AttributeError:
        arrays("linear", input=input, weight=weight, bias=bias)
        raise
    if a.dtype is F32 and w.dtype is F32 and a.ndim == 2 and w.ndim == 2 and not detours:
        rows, features = a.shape
        outputs, expected = w.shape
        if features == expected and rows * features * outputs < FEW and k.linear.min_size:
            if b is None or b.shape == (outputs,) and b.dtype is F32:
                try:
                    y = _run(k.linear.reference, a, w, b)
                except RuntimeError:
                    return Linear.apply(input, weight, bias)
                k.linear.reference_calls += 1
                t = express.result(Linear, y, input, weight, bias)
                node = t._node
                if node is not None:
                    node.label = "MmBackward0" if bias is None else "AddmmBackward0"
                    node.recording = True
                    node.save_factors(input, weight)
                return t
    if w.ndim != 2 or a.ndim == 0:
        return _unusual_linear(input, weight, bias)
    if a.shape[-1] != w.shape[1]:
        raise RuntimeError(
            f"linear: mat1 and mat2 shapes cannot be multiplied ({math.prod(a.shape[:-1])}x{a.shape[-1]} and "
            f"{w.shape[1]}x{w.shape[0]}): expected an input of {w.shape[1]} features, but got {list(a.shape)}"
        )
    if b is not None and b.dtype is not w.dtype and b.dtype != w.dtype:
        raise RuntimeError(f"linear: self and mat2 must have the same dtype, but got {scalar_name(b)} and {scalar_name(w)}")
    if a.dtype is not w.dtype and a.dtype != w.dtype:
        raise RuntimeError(
            f"linear: expected input and weight to have the same dtype, but got: {_C_NAME[a.dtype.name]} != "
            f"{_C_NAME[w.dtype.name]}"
        )
    if b is not None and b.shape != (w.shape[0],):
        product = Linear.apply(input, weight, None)
        return product + expand(bias, product._a.shape)
    if a.dtype.kind == "b":
        _no_bools("addmm_impl_cpu_", a)
    return Linear.apply(input, weight, bias)


def _unusual_linear(input: Any, weight: Any, bias: Any) -> Any:
    """A weight that is a vector, which gives one number per row, and what is not allowed."""
    a, w = input._a, weight._a
    if a.ndim == 0 or w.ndim == 0:
        raise RuntimeError(f"both arguments to linear need to be at least 1D, but they are {a.ndim}D and {w.ndim}D")
    if w.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {w.ndim}D")
    if bias is None:
        return matmul(input, weight)
    if a.ndim > 1 or bias._a.ndim:
        raise RuntimeError(f"mat2 must be a matrix, got {w.ndim}-D tensor")
    return matmul(input, weight) + bias


FUNCTIONS = (
    "matmul", "mm", "bmm", "mv", "dot", "vdot", "outer", "ger", "addmm", "addmv", "addr", "addbmm", "baddbmm",
)  # fmt: skip
METHODS = FUNCTIONS
INPLACE = ("addmm", "addmv", "addr", "addbmm", "baddbmm")
NN_FUNCTIONS = ("linear",)
