"""Linear algebra beyond products: inverses, solvers, determinants, decompositions, matrix norms (``lamina.linalg``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina._dtypes import HALVES, to_numpy
from lamina.autograd.graph import Op, Variable, mode, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.extremes import amax, amin
from lamina.ops.linalg import MatMul
from lamina.ops.operands import array_of
from lamina.ops.reduction import given, named_result, scalar_name, stored, sum, vector_norm
from lamina.ops.shape import wrap_dims


class LinAlgError(RuntimeError):
    """A matrix for which the computation has no result, such as a singular one that is to be inverted."""


def _matrices(name: str, a: Any, square: bool = False) -> np.ndarray:
    """The array of a tensor of matrices in single or double precision, or PyTorch's error."""
    if not isinstance(a, Variable):
        raise TypeError(f"linalg_{name}(): argument 'A' (position 1) must be Tensor, not {type(a).__name__}")
    x = a._a
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {x.shape[-2]} by {x.shape[-1]} matrices"
        )
    if x.dtype.kind not in "fcV":
        raise RuntimeError(f"linalg.{name}: Expected a floating point or complex tensor as input. Got {scalar_name(x)}")
    if x.dtype in HALVES:
        raise RuntimeError(f"linalg.{name}: Low precision dtypes not supported. Got {scalar_name(x)}")
    return x


def _attempt(message: str, kernel: Any, *args: Any) -> Any:
    try:
        return kernel(*args)
    except np.linalg.LinAlgError:
        raise LinAlgError(message) from None


def _mm(*factors: Any) -> Any:
    product = factors[0]
    for f in factors[1:]:
        product = MatMul.apply(product, f, False, False)
    return product


def _column(x: Any) -> Any:
    """x (*, n) as (*, 1, n), to scale the columns of a matrix."""
    return x.unsqueeze(-2)


# -- inverses and solvers ------------------------------------------------------------------------------------------


class Inv(Op):
    """Y = A⁻¹;   dL/dA = −Yᴴ·g·Yᴴ"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a):
        return _attempt(
            "linalg.inv: the inversion could not be completed because an input matrix is singular.", k.inv, a._a
        )

    @staticmethod
    def backward(ctx, grad):
        y = ctx.output.mH
        return -_mm(y, grad, y)


class Solve(Op):
    """X = A⁻¹·B;   dL/dB = A⁻ᴴ·g, dL/dA = −(dL/dB)·Xᴴ"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a, b):
        ctx.save(a)
        return _attempt(
            "torch.linalg.solve: The solver failed because the input matrix is singular.", k.solve, a._a, b._a
        )

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved
        gb = Solve.apply(a.mH, grad)
        return -_mm(gb, ctx.output.mH) if ctx.needs(0) else None, gb


class SolveTriangular(Op):
    """X = A⁻¹·B for a triangular A;   dL/dB = A⁻ᴴ·g, dL/dA = the triangle of −(dL/dB)·Xᴴ"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a, b, upper, unit):
        ctx.save(a)
        ctx.upper, ctx.unit = upper, unit
        return k.solve_triangular(a._a, b._a, upper, unit)

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved
        gb = SolveTriangular.apply(a.mH, grad, not ctx.upper, ctx.unit)
        ga = None
        if ctx.needs(0):
            ga = -_mm(gb, ctx.output.mH)
            ga = ga.triu(int(ctx.unit)) if ctx.upper else ga.tril(-int(ctx.unit))
        return ga, gb


def inv(A: Any, *, out: Any = None) -> Any:  # noqa: N803
    """The inverse of each square matrix; raises ``LinAlgError`` if one is singular."""
    _matrices("inv", A, square=True)
    return given(out, Inv.apply(A))


def _same_dtype(name: str, a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype != b.dtype:
        raise RuntimeError(
            f"linalg.{name}: Expected A and B to have the same dtype, but found A of type {scalar_name(a)} and B of type "
            f"{scalar_name(b)} instead"
        )


def _check_equation(name: str, a: np.ndarray, b: np.ndarray, left: bool) -> None:
    n = a.shape[-1]
    if b.shape[-2 if left else -1] != n:
        raise RuntimeError(
            f"linalg.{name}: Incompatible shapes of A and B for the equation {'AX' if left else 'XA'} = B "
            f"({a.shape[-2]}x{n} and {b.shape[-2]}x{b.shape[-1]})"
        )


def solve(A: Any, B: Any, *, left: bool = True, out: Any = None) -> Any:  # noqa: N803
    """The X with A·X = B (or X·A = B, if not ``left``), for matrices B or a batch of vectors; A is square."""
    a, b = _matrices("solve", A, square=True), B._a
    _same_dtype("solve", a, b)
    vector = b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])
    if vector:
        B = B.unsqueeze(-1)  # noqa: N806
    _check_equation("solve", a, B._a, left)
    x = Solve.apply(A, B) if left else Solve.apply(A.mT, B.mT).mT
    return given(out, x.squeeze(-1) if vector else x)


def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False, out: Any = None  # noqa: N803
) -> Any:
    """The X with A·X = B (or X·A = B, if not ``left``) for a triangular A, of which the other triangle is not looked at."""
    a, b = _matrices("solve_triangular", A, square=True), B._a
    if b.ndim < 2:
        raise RuntimeError("linalg.solve_triangular: The input tensor B must have at least 2 dimensions.")
    _same_dtype("solve_triangular", a, b)
    _check_equation("solve_triangular", a, b, left)
    if left:
        return given(out, SolveTriangular.apply(A, B, upper, unitriangular))
    return given(out, SolveTriangular.apply(A.mT, B.mT, not upper, unitriangular).mT)


# -- determinants --------------------------------------------------------------------------------------------------

_SlogdetResult = named_result("linalg_slogdet", "sign", "logabsdet")


class Det(Op):
    """The determinant;   dL/dA = g·det A·A⁻ᴴ, or by cofactors if that inverse does not exist"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a):
        ctx.save(a)
        sign, logarithm = k.slogdet(a._a)
        return sign * k.exp(logarithm)

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved
        scale = grad.unsqueeze(-1).unsqueeze(-1)
        det = ctx.output
        if det._a.all():
            return scale * (p._conj(det).unsqueeze(-1).unsqueeze(-1) * inv(a).mH)
        if mode.enabled:
            raise NotImplementedError("the second derivative of the determinant of a singular matrix is not implemented")
        return scale * wrap(k.cofactors(a._a))


class Slogdet(Op):
    """(sign, log |det A|);   dL/dA = g·A⁻ᴴ for the logarithm; the sign is constant (for real matrices)"""

    materializes = False

    @staticmethod
    def forward(ctx, a):
        ctx.save(a)
        return k.slogdet(a._a)

    @staticmethod
    def backward(ctx, grad_sign, grad):
        (a,) = ctx.saved
        if grad is None:
            return p.zeros_like(a)
        return grad.unsqueeze(-1).unsqueeze(-1) * inv(a).mH


def det(A: Any, *, out: Any = None) -> Any:  # noqa: N803
    """The determinant of each square matrix."""
    _matrices("det", A, square=True)
    return given(out, Det.apply(A))


def slogdet(A: Any, *, out: Any = None) -> Any:  # noqa: N803
    """(sign, log |det|) of each square matrix: (0, −inf) for a singular one."""
    _matrices("slogdet", A, square=True)
    return stored(_SlogdetResult, Slogdet.apply(A), out)


def logdet(input: Any) -> Any:
    """The logarithm of the determinant: −inf for 0, NaN for less."""
    sign, logarithm = slogdet(input)
    return p.where(sign < 0, math.nan, logarithm)


# -- decompositions ------------------------------------------------------------------------------------------------

_QrResult, _OldQr = named_result("linalg_qr", "Q", "R"), named_result("qr", "Q", "R")
_SvdResult, _OldSvd = named_result("linalg_svd", "U", "S", "Vh"), named_result("svd", "U", "S", "V")
_EighResult = named_result("linalg_eigh", "eigenvalues", "eigenvectors")


class Cholesky(Op):
    """The lower triangular L with L·Lᴴ = A;   dL/dA = L⁻ᴴ·Φ(Lᴴ·g)·L⁻¹, made Hermitian; Φ: lower triangle, diagonal halved"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a):
        return _attempt(
            "linalg.cholesky: The factorization could not be completed because the input is not positive-definite.",
            k.cholesky, a._a,
        )  # fmt: skip

    @staticmethod
    def backward(ctx, grad):
        low = ctx.output
        up = low.mH
        inner = _mm(up, grad).tril()
        inner = inner - 0.5 * (inner * wrap(np.eye(low._a.shape[-1], dtype=low._a.dtype)))
        ga = SolveTriangular.apply(up, inner, True, False)
        ga = SolveTriangular.apply(up, ga.mH, True, False).mH  # ga·L⁻¹
        return 0.5 * (ga + ga.mH)


def cholesky(A: Any, *, upper: bool = False, out: Any = None) -> Any:  # noqa: N803
    """The lower triangular L with L·Lᴴ = A (or the upper U with Uᴴ·U = A); ``LinAlgError`` unless A is positive-definite."""
    _matrices("cholesky", A, square=True)
    return given(out, Cholesky.apply(A.mH).mH if upper else Cholesky.apply(A))


class Qr(Op):
    """Q·R = A;   with M = R·gᴿᴴ − gQᴴ·Q and its lower triangle mirrored: dL/dA = (gQ + Q·M)·R⁻ᴴ"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a, how):
        ctx.save(a)
        return k.qr(a._a, how)

    @staticmethod
    def backward(ctx, gq, gr):
        (a,) = ctx.saved
        q, r = ctx.output
        m, n = a._a.shape[-2:]
        if q._a.shape[-1] > min(m, n):
            raise RuntimeError(
                "The QR decomposition is not differentiable when mode='complete' and nrows > ncols. Please use mode='reduced'."
            )
        if m >= n:
            return _qr_rule(q, r, gq, gr)
        # A = (X | Y), R = (U | V): Q and U come from X, and V = Qᴴ·Y
        y, gv = a.narrow(-1, m, n - m), gr.narrow(-1, m, n - m)
        gx = _qr_rule(q, r.narrow(-1, 0, m), gq + _mm(y, gv.mH), gr.narrow(-1, 0, m))
        from lamina.ops.join import cat

        return cat((gx, _mm(q, gv)), -1)


def _qr_rule(q: Any, r: Any, gq: Any, gr: Any) -> Any:
    low = (_mm(r, gr.mH) - _mm(gq.mH, q)).tril()
    mirrored = low + low.tril(-1).mH
    return SolveTriangular.apply(r, (gq + _mm(q, mirrored)).mH, True, False).mH


def qr(A: Any, mode: str = "reduced", *, out: Any = None) -> Any:  # noqa: N803
    """(Q with orthonormal columns, R upper triangular) with Q·R = A; ``mode`` is "reduced", "complete" or "r" (no Q)."""
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    a = _matrices("qr", A)
    q, r = Qr.apply(A, mode)
    if mode == "r":
        q = wrap(np.empty(0, a.dtype))
    return stored(_QrResult, (q, r), out)


class Svd(Op):
    """U·S·Vᴴ = A;   dL/dA = U·(K(Uᴴ·gU)·S + S·K(Vᴴ·gV) + gS)·Vᴴ, and what lies outside of U and V

    with K(X)ᵢⱼ = (X − Xᴴ)ᵢⱼ/(sⱼ² − sᵢ²).
    """

    keeps_output = True
    materializes = False

    @staticmethod
    def forward(ctx, a, full):
        return k.svd(a._a, full)

    @staticmethod
    def backward(ctx, gu, gs, gvh):
        u, s, vh = ctx.output
        m, n, rank = u._a.shape[-2], vh._a.shape[-1], s._a.shape[-1]
        if u._a.dtype.kind == "c" and (gu is not None or gvh is not None):
            raise NotImplementedError("the derivative of complex singular vectors is not implemented")
        u, vh = u.narrow(-1, 0, rank), vh.narrow(-2, 0, rank)
        inner = None
        if gs is not None:
            inner = gs.unsqueeze(-1) * wrap(np.eye(rank, dtype=s._a.dtype))
        if gu is not None or gvh is not None:
            squares = s * s
            gap = _column(squares) - squares.unsqueeze(-1) + wrap(np.eye(rank, dtype=s._a.dtype))
            if gu is not None:
                gu = gu.narrow(-1, 0, rank)
                x = _mm(u.mH, gu)
                inner = _plus(inner, (x - x.mH) / gap * _column(s))
            if gvh is not None:
                gvh = gvh.narrow(-2, 0, rank)
                x = _mm(vh, gvh.mH)
                inner = _plus(inner, (x - x.mH) / gap * s.unsqueeze(-1))
        ga = _mm(u, inner, vh)
        if gu is not None and m > rank:
            ga = ga + _mm((gu - _mm(u, u.mH, gu)) / _column(s), vh)
        if gvh is not None and n > rank:
            ga = ga + _mm(u, (gvh - _mm(gvh, vh.mH, vh)) / s.unsqueeze(-1))
        return ga


def _plus(x: Any, y: Any) -> Any:
    return y if x is None else x + y


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None, out: Any = None) -> Any:  # noqa: N803
    """(U, S, Vᴴ) with U·diag(S)·Vᴴ = A and S falling; without ``full_matrices`` U and Vᴴ have min(m, n) columns and rows."""
    _matrices("svd", A)
    return stored(_SvdResult, _attempt("linalg.svd: The algorithm failed to converge.", Svd.apply, A, full_matrices), out)


def svdvals(A: Any, *, driver: str | None = None, out: Any = None) -> Any:  # noqa: N803
    """The singular values of each matrix, falling."""
    _matrices("svdvals", A)
    return given(out, _attempt("linalg.svd: The algorithm failed to converge.", Svd.apply, A, False)[1])


class Eigh(Op):
    """A·V = V·Λ for a Hermitian A;   dL/dA = V·(gΛ + (Vᴴ·gV)ᵢⱼ/(λⱼ − λᵢ))·Vᴴ"""

    keeps_output = True
    materializes = False

    @staticmethod
    def forward(ctx, a, uplo):
        return k.eigh(a._a, uplo)

    @staticmethod
    def backward(ctx, gl, gv):
        values, v = ctx.output
        eye = wrap(np.eye(values._a.shape[-1], dtype=values._a.dtype))
        inner: Any = None if gl is None else gl.unsqueeze(-1) * eye
        if gv is not None:
            gap = _column(values) - values.unsqueeze(-1) + eye
            inner = _plus(inner, _mm(v.mH, gv) * (1 - eye) / gap)
        return _mm(v, inner if inner._a.dtype == v._a.dtype else inner.to(v.dtype), v.mH)


def eigh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:  # noqa: N803
    """(eigenvalues, rising; eigenvectors, as columns) of each Hermitian matrix, of which one triangle is looked at."""
    _matrices("eigh", A, square=True)
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return stored(_EighResult, _attempt("linalg.eigh: The algorithm failed to converge.", Eigh.apply, A, UPLO.upper()), out)


def eigvalsh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:  # noqa: N803
    """The eigenvalues, rising, of each Hermitian matrix."""
    return given(out, eigh(A, UPLO)[0])


# -- pseudo-inverse and rank ---------------------------------------------------------------------------------------


def _tolerance(a: Any, atol: Any, rtol: Any, largest: np.ndarray) -> np.ndarray:
    """The larger of atol and rtol·(largest singular value); rtol is ε·max(m, n) unless a tolerance was given."""
    absolute = 0.0 if atol is None else (atol._a if isinstance(atol, Variable) else atol)
    if rtol is None:
        positive = np.asarray(absolute) > 0
        rtol = np.where(positive, 0.0, np.finfo(a._a.dtype).eps * max(a._a.shape[-2:]))
    elif isinstance(rtol, Variable):
        rtol = rtol._a
    return np.maximum(absolute, rtol * largest)


def _largest(a: Any, hermitian: bool) -> tuple[np.ndarray, np.ndarray]:
    values = np.abs(k.eigh(a._a, "L")[0]) if hermitian else k.svd(a._a, False)[1]
    return values, values.max(-1, initial=0)


class Pinv(Op):
    """The pseudo-inverse Y;   dL/dA = −Yᴴ·g·Yᴴ within the row and column spaces, and two terms outside of them"""

    keeps_output = True

    @staticmethod
    def forward(ctx, a, tolerance, hermitian):
        ctx.save(a)
        return k.pinv(a._a, tolerance, hermitian)

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved
        y = ctx.output
        yh, gh = y.mH, grad.mH
        inside = -_mm(yh, grad, yh)
        left = gh - _mm(a, y, gh)  # (I − A·Y)·gᴴ
        right = gh - _mm(gh, y, a)  # gᴴ·(I − Y·A)
        return inside + _mm(left, y, yh) + _mm(yh, y, right)


def pinv(A: Any, rcond: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None) -> Any:  # noqa: N803
    """The Moore-Penrose pseudo-inverse of each matrix; singular values up to max(atol, rtol·largest) count as 0."""
    _matrices("pinv", A, square=hermitian)
    rtol = rcond if rtol is None else rtol
    tolerance = _tolerance(A, atol, rtol, _largest(A, hermitian)[1])
    return given(out, Pinv.apply(A, tolerance, hermitian))


def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None, out: Any = None) -> Any:  # noqa: N803
    """How many singular values of each matrix exceed max(atol, rtol·largest), or ``tol``."""
    _matrices("matrix_rank", A, square=hermitian)
    values, largest = _largest(A, hermitian)
    if tol is not None:
        atol, rtol = tol, 0.0
    tolerance = _tolerance(A, atol, rtol, largest)
    return given(out, wrap(np.asarray((values > tolerance[..., None]).sum(-1), np.int64)))


_LstsqResult = named_result("linalg_lstsq", "solution", "residuals", "rank", "singular_values")


def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> Any:  # noqa: N803
    """(solution, residuals, rank, singular values) of the least squares problem min ‖A·X − B‖ for each matrix A (m, n).

    The residuals Σ|A·X − B|² are given for m > n at full rank, the singular values for the drivers "gelsd" and "gelss".
    """
    a, b = _matrices("lstsq", A), B._a
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f"torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss) but got {driver}"
        )
    if a.dtype != b.dtype:
        raise RuntimeError("torch.linalg.lstsq: Expected input and other to have the same dtype.")
    vector = b.ndim == 1 or (a.ndim - 1 == b.ndim and b.shape == a.shape[:-1])
    if vector:
        B = B.unsqueeze(-1)  # noqa: N806
    if B._a.ndim < 2 or B._a.shape[-2] != a.shape[-2]:
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2)")
    m, n = a.shape[-2:]
    solution = _mm(pinv(A, rtol=rcond), B)
    values, largest = _largest(A, False)
    rank = np.asarray((values > _tolerance(A, None, rcond, largest)[..., None]).sum(-1), np.int64)
    residuals = wrap(np.empty(0, a.dtype))
    if m > n and driver != "gelsy" and bool((rank == n).all()):
        off = _mm(A, solution) - B
        residuals = sum(p.abs(off) ** 2, -2)
    if driver is None or driver in ("gels", "gelsy"):
        residuals, values = (residuals if driver == "gels" else wrap(np.empty(0, a.dtype))), np.empty(0, values.dtype)
    return _LstsqResult(
        solution.squeeze(-1) if vector else solution,
        residuals,
        wrap(np.empty(0, np.int64) if driver == "gels" else rank),
        wrap(values),
    )


# -- norms ---------------------------------------------------------------------------------------------------------


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None, out: Any = None  # noqa: N803, A002
) -> Any:
    """A norm of each matrix, of two dimensions: "fro" √Σ|a|², "nuc" Σs, ±2 the largest or smallest singular value s, ±1 and
    ±inf the largest or smallest sum of |a| along a column or a row."""
    a = array_of(A, "linalg_matrix_norm")
    if a.ndim < 2:
        raise RuntimeError("linalg.matrix_norm: The input tensor A must have at least 2 dimensions.")
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    first, second = (d % a.ndim if -a.ndim <= d < a.ndim else wrap_dims(d, a.ndim)[0] for d in dim)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    known = ("fro", "nuc") if isinstance(ord, str) else (1, -1, 2, -2, math.inf, -math.inf)
    if ord not in known:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if ord == "fro":
        return vector_norm(A, 2, (first, second), keepdim, dtype=dtype, out=out)
    if a.dtype.kind not in "fcV":
        raise RuntimeError(f"linalg.matrix_norm: Expected a floating point or complex tensor as input. Got {scalar_name(a)}")
    if dtype is not None:
        A = p.cast(A, dtype)  # noqa: N806
        to_numpy(dtype)
    if ord == "nuc" or abs(ord) == 2:
        s = svdvals(A.movedim((first, second), (-2, -1)))
        r = sum(s, -1) if ord == "nuc" else (amax if ord > 0 else amin)(s, -1)
        if keepdim:
            for axis in sorted((first, second)):
                r = r.unsqueeze(axis)
        return given(out, r)
    along, over = (first, second) if abs(ord) == 1 else (second, first)
    sums = vector_norm(A, 1, along, True)
    r = (amax if ord > 0 else amin)(sums, over, True)
    return given(out, r if keepdim else r.squeeze((first, second)))


def norm(input: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, out: Any = None, dtype: Any = None) -> Any:  # noqa: A002
    """A vector norm over one dimension (or all), or a matrix norm over two; which one ``ord`` and ``dim`` tell."""
    n = input._a.ndim
    if isinstance(ord, str):
        if dim is None and n not in (1, 2):
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {n}D."
            )
        return matrix_norm(input, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    if dim is None and ord is not None and n not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {n}D.")
    two = n == 2 if dim is None else isinstance(dim, (tuple, list)) and len(dim) == 2
    if ord is not None and two:
        return matrix_norm(input, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype, out=out)
    if isinstance(dim, (tuple, list)) and ord is not None and len(dim) > 2:
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    return vector_norm(input, 2 if ord is None else ord, dim, keepdim, dtype=dtype, out=out)


def cond(A: Any, p: Any = None, *, out: Any = None) -> Any:  # noqa: N803
    """The condition number ‖A‖·‖A⁻¹‖ of each matrix; in the 2-norm (``None``) the ratio of its singular values."""
    if p is None or p in (2, -2):
        s = svdvals(A)
        ends = s.select(-1, 0), s.select(-1, -1)
        return given(out, ends[1] / ends[0] if p == -2 else ends[0] / ends[1])
    _matrices("cond", A, square=True)
    return given(out, matrix_norm(A, p) * matrix_norm(inv(A), p))


# -- the older names, without ``linalg`` ---------------------------------------------------------------------------


def inverse(input: Any, *, out: Any = None) -> Any:
    """The inverse of each square matrix (see ``linalg.inv``)."""
    return inv(input, out=out)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The pseudo-inverse of each matrix (see ``linalg.pinv``)."""
    return pinv(input, rcond)


def _old_cholesky(input: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The triangular factor of each positive-definite matrix (see ``linalg.cholesky``)."""
    return cholesky(input, upper=upper, out=out)


def _old_qr(input: Any, some: bool = True, *, out: Any = None) -> Any:
    """(Q, R) of each matrix (see ``linalg.qr``)."""
    return stored(_OldQr, tuple(qr(input, "reduced" if some else "complete")), out)


def _old_svd(input: Any, some: bool = True, compute_uv: bool = True, *, out: Any = None) -> Any:
    """(U, S, V) of each matrix: V, where ``linalg.svd`` gives Vᴴ; without ``compute_uv`` U and V are zeros."""
    a = _matrices("svd", input)
    if compute_uv:
        u, s, vh = svd(input, not some)
        return stored(_OldSvd, (u, s, vh.mH), out)
    m, n = a.shape[-2:]
    zeros = (wrap(np.zeros((*a.shape[:-2], size, size), a.dtype)) for size in (m, n))
    return stored(_OldSvd, (next(zeros), svdvals(input), next(zeros)), out)


for _function, _public in ((_old_cholesky, "cholesky"), (_old_qr, "qr"), (_old_svd, "svd")):
    _function.__name__ = _function.__qualname__ = _public

FUNCTIONS = ("inverse", "pinverse", "det", "slogdet", "logdet", _old_cholesky, _old_qr, _old_svd)
METHODS = FUNCTIONS
