"""Order: sorting, selecting by rank, unique elements, places in an order. NaN is larger than any number."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME, scalar_dtype
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops.gathering import Scatter
from lamina.ops.operands import checked, result_numpy_dtype, store
from lamina.ops.reduction import named_result
from lamina.ops.shape import _integer, squeeze, unsqueeze, wrap_dim

_SortResult, _TopkResult = named_result("sort", "values", "indices"), named_result("topk", "values", "indices")
_KthResult, _ModeResult = named_result("kthvalue", "values", "indices"), named_result("mode", "values", "indices")
_MedianResult = named_result("median", "values", "indices")
_NanMedianResult = named_result("nanmedian", "values", "indices")


def _name(a: np.ndarray) -> str:
    return SCALAR_NAME[BY_NUMPY[a.dtype]]


# -- elements chosen along a dimension -----------------------------------------------------------------------


class Sort(Op):
    """Elements of x chosen along a dimension, each at most once;   dL/dx = g where they came from, 0 elsewhere"""

    @staticmethod
    def forward(ctx, x, values, index, dim, keepdim=True):
        ctx.save(index)
        ctx.dim, ctx.keepdim, ctx.shape = dim, keepdim, x._a.shape
        return values if keepdim else values.squeeze(dim)

    @staticmethod
    def backward(ctx, grad):
        if not ctx.keepdim:
            grad = unsqueeze(grad, ctx.dim)
        zeros = wrap(np.zeros(ctx.shape, grad._a.dtype))
        return Scatter.apply(zeros, ctx.dim, ctx.saved[0], grad, True), None, None, None


class Topk(Sort):
    """The largest or smallest elements of x;   dL/dx = g where they came from, 0 elsewhere"""


class Kthvalue(Sort):
    """An element of x by its rank;   dL/dx = g where it came from, 0 elsewhere"""


class Median(Sort):
    """The lower median of x;   dL/dx = g where it came from, 0 elsewhere"""

    def name(self) -> str:
        return f"{type(self).__name__}Backward1"


class Nanmedian(Median):
    """The lower median of what is no NaN in x;   dL/dx = g where it came from, 0 elsewhere"""


class Mode(Sort):
    """The most frequent element of x;   dL/dx = g where it came from, 0 elsewhere"""


def _stored(result: Any, out: Any) -> Any:
    return result if out is None else type(result)(*(store(o, r) for o, r in zip(out, result, strict=True)))


def _real(input: Any, name: str, what: str) -> np.ndarray:
    a = checked(input, name)._a
    if a.dtype.kind == "c":
        raise RuntimeError(f"{what} does not support complex dtypes on CPU")
    return a


def sort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool | None = False, out: Any = None) -> Any:
    """The elements in order along ``dim`` and their old places: a pair ``(values, indices)``.

    Equal elements always keep their order. NaN comes last, or first if ``descending``.
    """
    a = _real(input, "sort", "Sort")
    d = wrap_dim(dim, a.ndim)
    if not a.ndim:
        return _stored(_SortResult(input.clone(), wrap(np.zeros((), np.int64))), out)
    values, index = k.sort(a, d, bool(descending))
    where = wrap(index)
    return _stored(_SortResult(Sort.apply(input, values, where, d), where), out)


def argsort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """The places of the elements in order along ``dim``; equals keep their order."""
    a = _real(input, "argsort", "Sort")
    d = wrap_dim(dim, a.ndim)
    return wrap(k.argsort(a, d, bool(descending)) if a.ndim else np.zeros((), np.int64))


def msort(input: Any, *, out: Any = None) -> Any:
    """The elements in order along dimension 0."""
    r = sort(input, 0)[0]
    return r if out is None else store(out, r)


def topk(input: Any, k: int, dim: int | None = None, largest: bool = True, sorted: bool = True, *,  # noqa: A002
         out: Any = None) -> Any:  # fmt: skip
    """The ``k`` largest (or smallest) elements along ``dim`` (the last), best first: a pair ``(values, indices)``.

    Raises ``RuntimeError`` if ``k`` is negative or more than there are.
    """
    a, count = _real(input, "topk", "topk"), _integer(k, "k")
    if a.dtype.kind == "b":
        raise RuntimeError("topk does not support bool dtypes on CPU")
    d = wrap_dim(-1 if dim is None else dim, a.ndim)
    n = a.shape[d] if a.ndim else 1
    if not 0 <= count <= n:
        raise RuntimeError(f"selected index k out of range: k = {count}, but dimension {d} has size {n}")
    if not a.ndim:
        return _stored(_TopkResult(input.clone(), wrap(np.zeros((), np.int64))), out)
    values, index = kernels_topk(a, count, d, bool(largest))
    where = wrap(index)
    return _stored(_TopkResult(Topk.apply(input, values, where, d), where), out)


kernels_topk = k.topk  # topk() has an argument named k


def _chosen(op: type[Op], kind: Any, input: Any, find: Any, dim: int, keepdim: bool, out: Any) -> Any:
    """One element along a dimension: ``find(array, dim)`` says where it is."""
    name = op.__name__.lower()
    a = _real(input, name, name)
    d = wrap_dim(dim, a.ndim)
    if a.ndim and a.shape[d] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")
    if not a.ndim:
        find(a.reshape(1), 0)
        return _stored(kind(input.clone(), wrap(np.zeros((), np.int64))), out)
    where = wrap(find(a, d))
    values = op.apply(input, k.gather(a, d, where._a), where, d, keepdim)
    return _stored(kind(values, where if keepdim else squeeze(where, d)), out)


def _no_bool(a: np.ndarray, name: str) -> None:
    if a.dtype.kind == "b":
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for 'Bool'")


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The ``k``-th smallest element along ``dim``, counted from 1: a pair ``(values, indices)``."""
    count = _integer(k, "k")

    def find(a: np.ndarray, d: int) -> np.ndarray:
        _no_bool(a, "kthvalue")
        if not 1 <= count <= a.shape[d]:
            raise RuntimeError(
                f"kthvalue(): selected number k out of range for dimension {d}: k = {count}, size {a.shape[d]}"
            )
        return _kth_index(a, count, d)

    return _chosen(Kthvalue, _KthResult, input, find, dim, keepdim, out)


_kth_index = k.kth_index  # kthvalue() has an argument named k


class MedianAll(Op):
    """The lower median of all elements;   dL/dx = g, shared evenly between equals"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, ignore_nan):
        ctx.save(x)
        a = x._a.reshape(-1)
        if not a.size:
            return np.asarray(k.cast(np.array(np.nan), a.dtype))
        return np.array(a[k.median_index(a, 0, ignore_nan)[0]])

    @staticmethod
    def backward(ctx, grad):
        (x,), y = ctx.saved, ctx.output.detach()
        mask = (x == y) if not np.isnan(y._a) else x.isnan()
        return mask * (grad / mask.sum()), None

    def name(self) -> str:
        return "MedianBackward0"


def _median(input: Any, dim: Any, keepdim: bool, out: Any, ignore_nan: bool) -> Any:
    name = "nanmedian" if ignore_nan else "median"
    _no_bool(checked(input, name)._a, name if ignore_nan else "median")
    if dim is None:
        r = MedianAll.apply(input, ignore_nan)
        return r if out is None else store(out, r)
    op, kind = (Nanmedian, _NanMedianResult) if ignore_nan else (Median, _MedianResult)
    return _chosen(op, kind, input, lambda a, d: k.median_index(a, d, ignore_nan), dim, keepdim, out)


def median(input: Any, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The median of all elements, or ``(values, indices)`` along ``dim``; of an even number, the lower one of the middle two.

    A NaN among the elements is the median.
    """
    return _median(input, dim, keepdim, out, False)


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """:func:`median` of the elements that are no NaN; NaN if there are none."""
    return _median(input, dim, keepdim, out, True)


def mode(input: Any, dim: int = -1, keepdim: bool = False, *, out: Any = None) -> Any:
    """The most frequent element along ``dim``, the smallest of several: a pair ``(values, indices)``."""
    return _chosen(Mode, _ModeResult, input, lambda a, d: k.mode_index(a, d), dim, keepdim, out)


# -- unique elements -----------------------------------------------------------------------------------------


def _unique(kernel: Any, input: Any, dim: Any, inverse: bool, counts: bool, name: str) -> Any:
    a = checked(input, name)._a
    d = None
    if dim is not None:
        if not a.ndim:
            raise IndexError("Dimension specified as 0 but tensor has no dimensions")
        d = wrap_dim(dim, a.ndim)
        if a.size == 0 and 0 in (n for i, n in enumerate(a.shape) if i != d):
            raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique cannot be applied")
    values, which, count = kernel(a, d, bool(inverse), bool(counts))
    found = [wrap(values)]
    if inverse:
        found.append(wrap(which.reshape(a.shape) if d is None else which))
    if counts:
        found.append(wrap(count))
    return found[0] if len(found) == 1 else tuple(found)


def unique(input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,  # noqa: A002
           dim: int | None = None) -> Any:  # fmt: skip
    """The distinct elements (or slices of ``dim``) in order; with them, if asked for, which of them each was, and how often.

    Every NaN is distinct.
    """
    return _unique(k.unique, input, dim, return_inverse, return_counts, "unique")


def unique_consecutive(input: Any, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:
    """The first of each run of equal elements (or slices of ``dim``); with them, if asked for, the runs and their lengths."""
    return _unique(k.unique_consecutive, input, dim, return_inverse, return_counts, "unique_consecutive")


# -- places in an order ---------------------------------------------------------------------------------------


def searchsorted(sorted_sequence: Any, input: Any = None, *, out_int32: bool = False, right: bool = False,
                 side: str | None = None, sorter: Any = None, out: Any = None) -> Any:  # fmt: skip
    """Where elements would have to go in a sorted sequence (its last dimension) to keep it sorted.

    Before elements that are equal, or after them with ``right=True`` or ``side="right"``; ``sorter`` has the indices that
    sort an unsorted sequence.
    """
    b = checked(sorted_sequence, "searchsorted")._a
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if right and side == "left":
            raise RuntimeError(
                f"torch.searchsorted(): side and right can't be set to opposites, got side of {side} while right was {right}"
            )
        right = side == "right"
    scalar = not isinstance(input, Variable)
    v = np.array(input, scalar_dtype(input)) if scalar else input._a
    if b.ndim == 0:
        raise RuntimeError("torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension")
    if b.ndim != 1 and v.ndim == 0:
        raise RuntimeError(
            "torch.searchsorted(): input value can be a scalar only when boundaries tensor dimension is 1, but we got "
            f"boundaries tensor dim({b.ndim}) and input value's dim(0) numel(1)"
        )
    if b.ndim != 1 and (b.ndim != v.ndim or b.shape[:-1] != v.shape[:-1]):
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor "
            f"and input value tensor must match, but we got boundaries tensor {list(b.shape)} and input value tensor "
            f"{list(v.shape)}"
        )
    if sorter is not None:
        s = sorter._a
        if s.shape != b.shape:
            raise RuntimeError(
                "torch.searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                f"{list(b.shape)} and got sorter tensor {list(s.shape)}"
            )
        if s.dtype != np.int64:
            raise RuntimeError(f"torch.searchsorted(): sorter must be a tensor of long dtype but got dtype {_name(s)}")
        if s.size and (s.min() < 0 or s.max() >= b.shape[-1]):
            raise RuntimeError("torch.searchsorted(): sorter index out of range")
        b = k.gather(b, b.ndim - 1, s)
    r = wrap(_int32(k.searchsorted(b, v, right), out_int32))
    return r if out is None else store(out, r)


def _int32(a: np.ndarray, narrow: bool) -> np.ndarray:
    return k.cast(a, np.dtype(np.int32)) if narrow else a


def bucketize(input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False, out: Any = None) -> Any:
    """The index of the bucket, between sorted ``boundaries``, that each element is in.

    A bucket holds its upper boundary, or its lower one with ``right=True``.
    """
    if checked(boundaries, "bucketize")._a.ndim != 1:
        raise RuntimeError(f"boundaries tensor must be 1 dimension, but got dim({boundaries._a.ndim})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element is among ``test_elements``; either may be a number."""
    if not isinstance(elements, Variable) and not isinstance(test_elements, Variable):
        raise TypeError("isin(): at least one of 'elements' and 'test_elements' must be a Tensor")
    dtype = result_numpy_dtype(elements, test_elements)
    a, b = (t._a if isinstance(t, Variable) else np.array(t, dtype) for t in (elements, test_elements))
    return wrap(k.isin(a, b, invert))


FUNCTIONS = (
    "sort", "argsort", "msort", "topk", "kthvalue", "median", "nanmedian", "mode", "unique", "unique_consecutive",
    "searchsorted", "bucketize", "isin",
)  # fmt: skip
METHODS = tuple(n for n in FUNCTIONS if n not in ("searchsorted", "bucketize", "isin"))
