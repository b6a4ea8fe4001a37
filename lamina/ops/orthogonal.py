"""What orthogonal matrices are made of: exponentials of skew-symmetric matrices, and reflections."""

from __future__ import annotations

from typing import Any, NamedTuple

from lamina._dtypes import BY_NUMPY, HALVES, SCALAR_NAME
from lamina.autograd.graph import Op, Variable
from lamina.engine import kernels as k
from lamina.ops.creation import eye
from lamina.ops.decomposition import _matrices, solve
from lamina.ops.join import cat
from lamina.ops.operands import of_tensor, store_or_return


class LinalgMatrixExp(Op):
    """Y = eᴬ;   dL/dA = the upper right block of the exponential of [[Aᴴ, g], [0, Aᴴ]]"""

    @staticmethod
    def forward(ctx, a):
        ctx.save(a)
        return k.matrix_exp(a._a)

    @staticmethod
    def backward(ctx, grad):
        h, n = ctx.saved[0].mH, grad._a.shape[-1]
        above, below = cat((h, grad), -1), cat((h * 0, h), -1)
        return LinalgMatrixExp.apply(cat((above, below), -2))[..., :n, n:]


class Geqrf(Op):
    """The reflections and R of a QR decomposition, for which there is no rule"""

    @staticmethod
    def forward(ctx, a):
        return k.geqrf(a._a)

    @staticmethod
    def backward(ctx, *grads):
        raise NotImplementedError("the derivative for 'geqrf' is not implemented")


class GeqrfResult(NamedTuple):
    """What :func:`geqrf` returns."""

    a: Any
    tau: Any


def matrix_exp(A: Any) -> Any:  # noqa: N803
    r"""The matrix exponential :math:`\sum_k A^k / k!`.

    Shape: :math:`(*, n, n)`, output the same.

    Raises:
        RuntimeError: matrices that are not square, or numbers that are not floating.
    """
    a = A._a if isinstance(A, Variable) and A._a.dtype in HALVES else _matrices("matrix_exp", A, square=True)
    return LinalgMatrixExp.apply(A.float()).to(A.dtype) if a.dtype in HALVES else LinalgMatrixExp.apply(A)


@of_tensor
def geqrf(input: Any, *, out: Any = None) -> Any:
    """The QR decomposition as LAPACK stores it: ``(a, tau)`` for :func:`householder_product`, and R in a's upper triangle.

    Shape: input :math:`(*, m, n)`, output :math:`(*, m, n)` and :math:`(*, \\min(m, n))`.
    """
    a = input._a
    if a.ndim < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")
    if a.dtype.kind not in "fcV" or a.dtype in HALVES:
        raise NotImplementedError(f'"geqrf_cpu" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
    results = Geqrf.apply(input)
    if out is not None:
        results = tuple(store_or_return(o, r) for o, r in zip(out, results, strict=True))
    return GeqrfResult(*results)


def householder_product(input: Any, tau: Any, *, out: Any = None) -> Any:
    r"""The first n columns of :math:`H_1 H_2 \cdots H_k` with the reflections :math:`H_i = I - \tau_i v_i v_i^H`.

    ``input``'s columns hold the :math:`v_i` below the diagonal; above, they are zero, and on it one.

    Shape: input :math:`(*, m, n)` with m ≥ n, tau :math:`(*, k)` with n ≥ k, output :math:`(*, m, n)`.

    Raises:
        RuntimeError: other shapes, or two dtypes.
    """
    name = "torch.linalg.householder_product"
    a, t = input._a, tau._a
    if a.ndim < 2:
        raise RuntimeError(f"{name}: input must have at least 2 dimensions.")
    m, n = a.shape[-2:]
    if m < n:
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to input.shape[-1]")
    if t.ndim != a.ndim - 1:
        raise RuntimeError(
            f"{name}: Expected tau to have one dimension less than input, but got tau.ndim equal to {t.ndim} and input.ndim is "
            f"equal to {a.ndim}"
        )
    if n < t.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to tau.shape[-1]")
    if t.shape[:-1] != a.shape[:-2]:
        raise RuntimeError(f"{name}: batches of input {list(a.shape[:-2])} and tau {list(t.shape[:-1])} differ")
    if a.dtype != t.dtype:
        kinds = [SCALAR_NAME[BY_NUMPY[x.dtype]] for x in (t, a)]
        raise RuntimeError(f"{name}: tau dtype {kinds[0]} does not match input dtype {kinds[1]}")
    if a.dtype.kind not in "fcV" or a.dtype in HALVES:
        raise NotImplementedError(f'"orgqr_cpu" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
    # All at once: H₁⋯Hₖ = I − V·(I + D·S)⁻¹·D·Vᴴ with D = diag(tau) and S the part of VᴴV above its diagonal.
    size, dtype = t.shape[-1], input.dtype
    v = input[..., :size].tril(-1) + eye(m, size, dtype=dtype)
    scale = tau.unsqueeze(-1)
    inner = eye(size, dtype=dtype) + scale * (v.mH @ v).triu(1)
    result = eye(m, n, dtype=dtype) - v @ solve(inner, scale * v[..., :n, :].mH)
    return store_or_return(out, result)


@of_tensor
def orgqr(input: Any, input2: Any, *, out: Any = None) -> Any:
    """The same as :func:`householder_product`, of (input, input2) = (input, tau)."""
    return householder_product(input, input2, out=out)


FUNCTIONS = ("matrix_exp", "geqrf", "orgqr")
METHODS = FUNCTIONS
