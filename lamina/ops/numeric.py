"""Numerical helpers of the tensor library: covariances, finite differences, norms kept in bounds, segments, histograms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import SCALAR_NAME
from lamina.autograd.graph import Op, Variable, inplace, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.extremes import amax, amin
from lamina.ops.join import cat, stack
from lamina.ops.operands import checked, of_tensor, store_or_return
from lamina.ops.parts import narrow
from lamina.ops.reduction import named_result, prod, scalar_name, stored, sum, vector_norm
from lamina.ops.shape import wrap_dim, wrap_dims
from lamina.ops.unary import conj

_FrexpResult = named_result("frexp", "mantissa", "exponent")
_HistogramddResult = named_result("histogramdd", "hist", "bin_edges")


def _floats(x: Any) -> Any:
    return x if x._a.dtype.kind in "fcV" else p.cast(x, _dtypes.get_default_dtype())


# -- norms and covariances -----------------------------------------------------------------------------------------


@of_tensor
def renorm(input: Any, p: float, dim: int, maxnorm: float, *, out: Any = None) -> Any:  # noqa: F811
    """The slices along ``dim``, those whose p-norm exceeds ``maxnorm`` scaled down to it."""
    a = input._a
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if a.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {a.ndim} dimensions")
    d = wrap_dim(dim, a.ndim)
    if a.dtype.kind not in "fcV":
        raise RuntimeError(
            f"linalg.vector_norm: Expected a floating point or complex tensor as input. Got {scalar_name(a)}"
        )
    size = vector_norm(input, p, tuple(i for i in range(a.ndim) if i != d), True)
    large = size > maxnorm
    factor = large.logical_not() + large * (maxnorm / (size + 1e-7))
    return store_or_return(out, input * factor.to(input.dtype))


def _weights(name: str, w: Any, count: int, kinds: str, wanted: str) -> None:
    a = checked(w, "cov")._a
    if a.ndim > 1:
        raise RuntimeError(f"cov(): expected {name} to have one or fewer dimensions but got {name} with {a.ndim} dimensions")
    if a.dtype.kind not in kinds:
        raise RuntimeError(
            f"cov(): expected {name} to have {wanted} dtype but got {name} with {scalar_name(a)} dtype"
        )
    if a.size != count:
        raise RuntimeError(f"cov(): expected {name} to have the same numel as there are observations, {count}, but got {a.size}")
    if (a < 0).any():
        raise RuntimeError(f"cov(): {name} cannot be negative")


@of_tensor
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariances of variables (rows) over observations (columns), counted by ``fweights`` and weighed by ``aweights``."""
    a = input._a
    if a.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {a.ndim} dimensions"
        )
    if a.dtype.kind == "b":
        raise RuntimeError("cov(): bool dtype is not supported for input")
    rows = input.reshape(1, -1) if a.ndim < 2 else input
    count = rows._a.shape[1]
    weights = None
    if fweights is not None:
        _weights("fweights", fweights, count, "iu", "integral")
        weights = fweights.reshape(-1)
    if aweights is not None:
        _weights("aweights", aweights, count, "fV", "floating point")
        weights = aweights.reshape(-1) if weights is None else weights * aweights.reshape(-1)
    rows = _floats(rows)
    total: Any = float(count) if weights is None else weights.sum()
    if weights is not None and count and not total.item():
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    mean = (rows if weights is None else rows * weights).sum(1, True) / total
    if weights is None or correction == 0:
        norm = total - correction
    elif aweights is None:
        norm = total - correction
    else:
        squares = weights * aweights.reshape(-1)
        norm = total - correction * squares.sum() / total
    norm = p.clamp(norm, min=0) if isinstance(norm, Variable) else max(norm, 0.0)
    centred = rows - mean
    weighed = centred if weights is None else centred * weights
    product = centred @ (conj(weighed) if weighed._a.dtype.kind == "c" else weighed).transpose(0, 1)
    return (product / norm).squeeze()


@of_tensor
def corrcoef(input: Any) -> Any:
    """The correlation coefficients of variables (rows) over observations (columns), in [−1, 1]."""
    if input._a.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input._a.ndim} dimensions"
        )
    c = cov(input)
    if c._a.ndim == 0:
        return c / c
    deviation = (c.diagonal().real if c._a.dtype.kind == "c" else c.diagonal()).sqrt()
    r = c / deviation.unsqueeze(1) / deviation.unsqueeze(0)
    return r if r._a.dtype.kind == "c" else r.clamp(-1, 1)


# -- finite differences --------------------------------------------------------------------------------------------


def _slope(x: Any, d: int, at: Any, edge_order: int) -> Any:
    """The derivative along one dimension, with points ``at`` (a number: the distance of equal steps)."""
    n = x._a.shape[d]

    def part(start: int, count: int) -> Any:
        return narrow(x, d, start, count)

    even = not isinstance(at, np.ndarray)
    step = np.full(n - 1, at) if even else np.diff(at)
    shape = [-1 if i == d else 1 for i in range(x._a.ndim)]

    def mixed(weights: list[Any], starts: list[int], count: int) -> Any:
        total: Any = None
        for w, s in zip(weights, starts, strict=True):
            w = wrap(np.asarray(w, x._a.dtype).reshape(shape)) if np.ndim(w) else complex(w) if np.iscomplexobj(w) else float(w)
            total = part(s, count) * w if total is None else total + part(s, count) * w
        return total

    pieces = []
    if edge_order == 1:
        pieces = [mixed([-1 / step[0], 1 / step[0]], [0, 1], 1)]
        last = mixed([-1 / step[-1], 1 / step[-1]], [n - 2, n - 1], 1)
    else:
        a, b = step[0], step[1]
        pieces = [mixed([-(2 * a + b) / (a * (a + b)), (a + b) / (a * b), -a / (b * (a + b))], [0, 1, 2], 1)]
        a, b = step[-2], step[-1]
        last = mixed([b / (a * (a + b)), -(a + b) / (a * b), (2 * b + a) / (b * (a + b))], [n - 3, n - 2, n - 1], 1)
    if n > 2:
        if even:
            pieces.append((part(2, n - 2) - part(0, n - 2)) / (2 * at))
        else:
            a, b = step[:-1], step[1:]
            pieces.append(mixed([-b / (a * (a + b)), (b - a) / (a * b), a / (b * (a + b))], [0, 1, 2], n - 2))
    return cat((*pieces, last), d)


@of_tensor
def gradient(input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1) -> tuple:
    """The derivatives of sampled values along dimensions (all, or ``dim``), by differences of second order.

    ``spacing`` is a step, one per dimension, or tensors of coordinates. At the ends the order is ``edge_order``, 1 or 2.
    """
    a = input._a
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = tuple(range(a.ndim)) if dim is None else wrap_dims(dim, a.ndim)
    if not isinstance(spacing, (tuple, list)):
        spacing = (spacing,) * len(dims)
    elif len(spacing) != len(dims):
        raise RuntimeError(
            f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'self.dim() = {a.ndim}' "
            f"(or of dim), but got a list of length {len(spacing)} for {len(dims)} dimensions"
        )
    x = _floats(input)
    results = []
    for d, s in zip(dims, spacing, strict=True):
        if a.shape[d] < edge_order + 1:
            raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
        at = s
        if isinstance(s, Variable):
            at = s._a
            if at.ndim != 1 or len(at) != a.shape[d]:
                raise RuntimeError(
                    f"torch.gradient expected each element of `spacing` to have one dimension of size {a.shape[d]}, but got a "
                    f"tensor of size {list(at.shape)}"
                )
        results.append(_slope(x, d, at, edge_order))
    return tuple(results)


# -- numbers as mantissa and exponent ------------------------------------------------------------------------------


class Frexp(Op):
    """(m, e) with x = m·2ᵉ and ½ ≤ \\|m\\| < 1;   dL/dx = g·2⁻ᵉ"""

    any_dtype = True
    materializes = True

    @staticmethod
    def forward(ctx, x):
        mantissa, exponent = np.frexp(x._a)
        exponent = np.where(np.isfinite(x._a), exponent, 0).astype(np.int32)
        ctx.save(exponent)
        return mantissa, exponent

    @staticmethod
    def backward(ctx, grad, _):
        return grad * wrap(np.ldexp(np.ones((), grad._a.dtype), -ctx.saved[0]).astype(grad._a.dtype))


@of_tensor
def frexp(input: Any, *, out: Any = None) -> Any:
    """(mantissa, exponent) with input = mantissa·2^exponent: mantissas in [½, 1), exponents of int32."""
    if input._a.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    return stored(_FrexpResult, Frexp.apply(input), out)


# -- counting ------------------------------------------------------------------------------------------------------


def histogramdd(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False) -> Any:  # noqa: A002
    """How many rows of ``input`` (\\*, D) fall into each box of a grid: ``(hist, bin_edges)``.

    ``bins`` is a number, D numbers, or D tensors of edges; ``range`` holds D pairs in a row, by default the data's.
    """
    a = checked(input, "histogramdd")._a
    if a.ndim < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    if a.dtype.kind != "f":
        raise NotImplementedError(f'"histogramdd" not implemented for {SCALAR_NAME[_dtypes.BY_NUMPY[a.dtype]]!r}')
    count = a.shape[-1]
    if isinstance(bins, int):
        bins = [bins] * count
    if len(bins) != count:
        raise RuntimeError(
            f"torch.histogramdd: expected {count} sequences of bin edges for a {count}-dimensional histogram but got {len(bins)}"
        )
    rows = a.reshape(-1, count)
    edges = []
    for i, b in enumerate(bins):
        if isinstance(b, Variable):
            edges.append(b._a)
            continue
        if b <= 0:
            raise RuntimeError(f"torch.histogramdd(): bins must be > 0, but got {b} for dimension {i}")
        if range is not None:
            low, high = range[2 * i], range[2 * i + 1]
        else:
            low, high = (rows[:, i].min(), rows[:, i].max()) if len(rows) else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges.append(np.linspace(low, high, b + 1).astype(a.dtype))
    w = None if weight is None else weight._a.reshape(-1)
    hist, _ = np.histogramdd(rows, edges, weights=w, density=bool(density))
    return _HistogramddResult(wrap(hist.astype(a.dtype)), tuple(wrap(e) for e in edges))


@of_tensor
def nonzero_static(input: Any, *, size: int, fill_value: int = -1, out: Any = None) -> Any:
    """The places of the elements that are not zero, as rows: the first ``size``, or filled up with ``fill_value``."""
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, but got {size}")
    found = np.argwhere(k.ne(input._a, 0)).astype(np.int64)[:size]
    rest = np.full((size - len(found), input._a.ndim), fill_value, np.int64)
    return store_or_return(out, wrap(np.concatenate([found, rest])))


_EMPTY = {"sum": 0.0, "mean": math.nan, "max": -math.inf, "min": math.inf, "prod": 1.0}


def segment_reduce(
    data: Any, reduce: str, *, lengths: Any = None, indices: Any = None, offsets: Any = None, axis: int = 0,
    unsafe: bool = False, initial: Any = None,
) -> Any:  # fmt: skip
    """The sum, mean, max, min or product of runs of elements along ``axis``, given by their ``lengths`` or ``offsets``.

    Lengths may have leading dimensions, which are those of the data before ``axis``. ``initial`` is what each run starts with.
    """
    a = checked(data, "segment_reduce")._a
    if reduce not in _EMPTY:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if lengths is None and offsets is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    given = lengths if lengths is not None else offsets
    counts = given._a if lengths is not None else np.diff(given._a, axis=-1)
    d = wrap_dim(axis, a.ndim)
    if d != counts.ndim - 1:
        raise RuntimeError("segment_reduce(): axis must be the last dimension of lengths.")
    if not unsafe:
        if (counts < 0).any():
            raise RuntimeError("segment_reduce(): lengths contains negative value!")
        if lengths is not None and (counts.sum(-1) != a.shape[d]).any():
            raise RuntimeError(
                "segment_reduce(): Expected all rows of lengths along axis to sum to data.size(lengths.dim()-1) when !unsafe."
            )
    if counts.ndim > 1:
        settings = {"axis": d - 1, "unsafe": True, "initial": initial}
        parts = [wrap(np.ascontiguousarray(c)) for c in counts]
        return stack([segment_reduce(data.select(0, i), reduce, lengths=c, **settings) for i, c in enumerate(parts)], 0)
    start, results = 0, []
    for count in counts.tolist():
        results.append(_reduced(narrow(data, d, start, count), reduce, d, count, initial))
        start += count
    return stack(results, d)


def _reduced(run: Any, reduce: str, d: int, count: int, initial: Any) -> Any:
    if not count:
        shape = [n for i, n in enumerate(run._a.shape) if i != d]
        return wrap(np.full(shape, _EMPTY[reduce] if initial is None else initial, run._a.dtype))
    if reduce in ("sum", "mean"):
        r = sum(run, d) + (0 if initial is None else initial)
        return r / count if reduce == "mean" else r
    if reduce == "prod":
        r = prod(run, d)
        return r if initial is None else r * initial
    r = amax(run, d) if reduce == "max" else amin(run, d)
    if initial is None:
        return r
    return p.clamp(r, min=initial) if reduce == "max" else p.clamp(r, max=initial)


@of_tensor
def conj_physical(input: Any, *, out: Any = None) -> Any:
    """The complex conjugate, computed (it always is here)."""
    return store_or_return(out, conj(input))


METHODS = ("renorm", "cov", "corrcoef", "frexp", "nonzero_static", "conj_physical")
INPLACE = ("renorm", "conj_physical")
FUNCTIONS = (*METHODS, "gradient", "histogramdd", "segment_reduce", inplace(conj_physical, "conj_physical_"))
