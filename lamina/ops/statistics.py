"""Quantiles, histograms and counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Variable, wrap
from lamina.engine import kernels as k
from lamina.ops.gathering import Gather
from lamina.ops.operands import checked, store
from lamina.ops.reduction import named_result
from lamina.ops.shape import flatten, movedim, reshape, squeeze, unsqueeze, wrap_dim
from lamina.ops.sorting import sort

_HistogramResult = named_result("histogram", "hist", "bin_edges")
_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _name(a: np.ndarray) -> str:
    return SCALAR_NAME[BY_NUMPY[a.dtype]]


# -- quantiles -----------------------------------------------------------------------------------------------


def _check_quantile(a: np.ndarray, q: Any, interpolation: str) -> np.ndarray:
    """The quantiles asked for, as an array of the input's dtype."""
    if a.size == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    if a.dtype not in (np.float32, np.float64):
        raise RuntimeError(f"quantile() input tensor must be either float or double dtype, but got {_name(a)}")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, but got "
            f"{interpolation}"
        )
    if not isinstance(q, Variable):
        if not 0 <= q <= 1:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {q}")
        return np.array(q, a.dtype)
    if q._a.ndim > 1:
        raise RuntimeError(f"quantile() q must be a scalar or 1D tensor, but got {q._a.ndim} dimensions")
    if q._a.dtype != a.dtype:
        raise RuntimeError(
            f"quantile() q tensor must be same dtype as the input tensor, but got {_name(q._a)} and {_name(a)}"
        )
    if not ((q._a >= 0) & (q._a <= 1)).all():
        raise RuntimeError("quantile() q values must be in the range [0, 1]")
    return q._a


def _quantile(input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, ignore_nan: bool, out: Any) -> Any:
    a = checked(input, "quantile")._a
    d = None if dim is None else wrap_dim(dim, a.ndim)
    levels = _check_quantile(a, q, interpolation)
    x = flatten(input) if d is None else input if a.ndim else reshape(input, (1,))
    rows = movedim(sort(x, d or 0)[0], d or 0, -1)
    ranks, weight = k.quantile_ranks(rows._a, levels.reshape(-1), interpolation, ignore_nan)
    low = Gather.apply(rows, rows._a.ndim - 1, wrap(ranks[0]))
    if weight is None:
        r = low
    else:
        high = Gather.apply(rows, rows._a.ndim - 1, wrap(ranks[1]))
        r = low + wrap(weight) * (high - low)
    if keepdim:
        r = reshape(r, (1,) * a.ndim + (-1,)) if d is None else unsqueeze(r, d) if a.ndim else r
    r = movedim(r, -1, 0)
    if not levels.ndim:
        r = squeeze(r, 0)
    return r if out is None else store(out, r)


def quantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
             out: Any = None) -> Any:  # fmt: skip
    """The ``q``-th quantiles (0 ≤ q ≤ 1, a number or a vector) along ``dim`` or of all elements.

    The quantile lies at the rank q·(n − 1) among the n sorted elements; between two of them, ``interpolation`` says what
    it is: ``linear``, ``lower``, ``higher``, ``midpoint`` or ``nearest``. A vector of quantiles is the first dimension of
    the result. NaN if there is one among the elements.
    """
    return _quantile(input, q, dim, keepdim, interpolation, False, out)


def nanquantile(input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear",
                out: Any = None) -> Any:  # fmt: skip
    """:func:`quantile` of the elements that are no NaN; NaN if there are none."""
    return _quantile(input, q, dim, keepdim, interpolation, True, out)


# -- counts --------------------------------------------------------------------------------------------------


def _range(a: np.ndarray, low: Any, high: Any, name: str) -> tuple[Any, Any]:
    if low == high and a.size:
        low, high = a.min(), a.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.{name}: range of [{low:g}, {high:g}] is not finite")
    if low > high:
        raise RuntimeError(f"torch.{name}: max must be larger than min, but got [{low:g}, {high:g}]")
    return (low - 1, high + 1) if low == high else (low, high)


def histc(input: Any, bins: int = 100, min: Any = 0, max: Any = 0, *, out: Any = None) -> Any:  # noqa: A002
    """How many elements fall into each of ``bins`` equal parts of [min, max] (of the data's range, if both are equal)."""
    a = checked(input, "histc")._a
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f"\"histogram_cpu\" not implemented for '{_name(a)}'")
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    r = wrap(k.histc(a, bins, *_range(a, min, max, "histc")))
    return r if out is None else store(out, r)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each non-negative integer occurs in a vector, or the sum of the ``weights`` of its occurrences."""
    a = checked(input, "bincount")._a
    if a.dtype.kind not in "iu":
        raise NotImplementedError(f"\"bincount_cpu\" not implemented for '{_name(a)}'")
    if minlength < 0:
        raise RuntimeError(f"minlength should be >= 0, but got {minlength}")
    if a.ndim != 1 or (a.size and a.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights._a.shape != a.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    return wrap(k.bincount(a, None if weights is None else weights._a, minlength))


def histogram(input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False,  # noqa: A002
              out: Any = None) -> Any:  # fmt: skip
    """How many elements (or with what total ``weight``) fall into bins: a pair ``(hist, bin_edges)``.

    ``bins`` is a number of equal bins of ``range`` (by default the data's), or a tensor of their edges. With ``density`` the
    histogram's area is 1.
    """
    a = checked(input, "histogram")._a
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f"\"histogramdd\" not implemented for '{_name(a)}'")
    if isinstance(bins, Variable):
        edges = bins._a
        if edges.ndim != 1:
            raise RuntimeError(f"torch.histogram: bins tensor should have one dimension, but got {edges.ndim} dimensions")
        if edges.dtype != a.dtype:
            raise RuntimeError(
                f"torch.histogram: input tensor and bins tensor should have the same dtype, but got {_name(a)} and "
                f"{_name(edges)}"
            )
    else:
        if bins <= 0:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
        low, high = (0, 0) if range is None else range
        if range is None and not a.size:
            high = 1
        edges = np.linspace(*_range(a, low, high, "histogram"), bins + 1).astype(a.dtype)
    if weight is not None and weight._a.shape != a.shape:
        raise RuntimeError(
            f"torch.histogram: the weight must have the shape of the input, {list(a.shape)}, but has {list(weight._a.shape)}"
        )
    hist = k.histogram(a, edges, None if weight is None else weight._a, bool(density))
    r = _HistogramResult(wrap(hist), wrap(edges))
    return r if out is None else _HistogramResult(*(store(o, t) for o, t in zip(out, r, strict=True)))


FUNCTIONS = METHODS = ("quantile", "nanquantile", "histc", "histogram", "bincount")
