"""Sparse tensors, as the gradients of lookup tables: the rows that were used, and which they are.

What a sparse tensor has methods of its own for stays sparse. Everything else sees it as the dense tensor that it stands
for, which may be read and not written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import BY_NUMPY, Size, sparse_coo, to_numpy
from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.engine import kernels as k

__all__ = ["SparseTensor", "sparse_coo_tensor"]


class SparseTensor(Tensor):
    """Values (n, *dense) at indices (s, n) of a tensor whose first s dimensions are sparse; what meets at a place adds up.

    The values share memory with what :meth:`values` returns. It is never part of a graph.
    """

    is_sparse = True
    is_cpu = True

    _places: np.ndarray
    _values_at: np.ndarray
    _size: tuple[int, ...]
    _distinct: bool  # whether the places are sorted, and no two are the same

    def __new__(cls, indices: Any, values: Any, size: Any, coalesced: bool = False) -> SparseTensor:
        t = object.__new__(cls)
        t._places, t._values_at, t._size, t._distinct = indices, values, tuple(size), coalesced or len(values) < 2
        return t

    @classmethod
    def of_rows(cls, rows: np.ndarray, values: np.ndarray, size: tuple[int, ...]) -> SparseTensor:
        """Rows of a matrix (or of a tensor, along its first dimension)."""
        return cls(rows.reshape(1, -1).astype(np.int64), values, size)

    @property
    def _a(self) -> np.ndarray:  # type: ignore[override]
        """The dense array, made anew."""
        a = self._dense()
        a.flags.writeable = False
        return a

    def _dense(self) -> np.ndarray:
        a = np.zeros(self._size, self._values_at.dtype)
        self._add_into(a, 1.0)
        return a

    def _flat(self) -> np.ndarray:
        """The places as positions in the sparse dimensions taken together."""
        sizes = self._size[: len(self._places)]
        return np.ravel_multi_index(tuple(self._places), sizes) if sizes else np.zeros(len(self._values_at), np.int64)

    def _add_into(self, a: np.ndarray, factor: float) -> None:
        """Add the values, times a factor, to a dense array in place."""
        if not a.flags.c_contiguous:
            a += self._dense() * a.dtype.type(factor)
            return
        values = self._values_at if factor == 1 else self._values_at * self._values_at.dtype.type(factor)
        count = int(np.prod(self._size[: len(self._places)], dtype=np.int64))
        k.index_add(a.reshape(count, *self._size[len(self._places) :]), 0, self._flat(), values, True)

    # -- what it is --------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._size)

    @property
    def dtype(self) -> _dtypes.dtype:
        """The type of the elements."""
        return BY_NUMPY[self._values_at.dtype]

    @property
    def layout(self) -> _dtypes.layout:
        return sparse_coo

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._size)

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self._size)

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return Size(self._size) if dim is None else Size(self._size)[dim]

    def numel(self) -> int:
        """The number of elements of the dense tensor."""
        return int(np.prod(self._size, dtype=np.int64))

    nelement = numel

    def sparse_dim(self) -> int:
        """The number of sparse dimensions."""
        return len(self._places)

    def dense_dim(self) -> int:
        """The number of dense dimensions, the last ones."""
        return len(self._size) - len(self._places)

    _dimI, _dimV = sparse_dim, dense_dim

    def _nnz(self) -> int:
        return len(self._values_at)

    def _indices(self) -> Tensor:
        return wrap(self._places)

    def _values(self) -> Tensor:
        return wrap(self._values_at)

    def is_coalesced(self) -> bool:
        """Whether the places are sorted and differ."""
        return self._distinct

    def _only_coalesced(self, what: str) -> None:
        if not self._distinct:
            raise RuntimeError(f"Cannot get {what} on an uncoalesced tensor, please call .coalesce() first")

    def indices(self) -> Tensor:
        """The places (sparse dimensions, n); raises ``RuntimeError`` unless coalesced."""
        self._only_coalesced("indices")
        return self._indices()

    def values(self) -> Tensor:
        """The values (n, *dense dimensions); raises ``RuntimeError`` unless coalesced."""
        self._only_coalesced("values")
        return self._values()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        pad = "\n" + " " * 7
        lines = []
        for name, part in (("indices", self._indices()), ("values", self._values())):
            text = repr(part).replace(f", dtype={part.dtype}", "").replace("\n", "\n" + " " * (8 + len(name)))
            lines.append(f"{name}={text},{pad}")
        kind = "" if self.dtype in (_dtypes.get_default_dtype(), _dtypes.int64) else f"dtype={self.dtype}, "
        return f"tensor({''.join(lines)}size={self._size}, nnz={self._nnz()}, {kind}layout=torch.sparse_coo)"

    def __len__(self) -> int:
        return self._size[0]

    # -- other forms -------------------------------------------------------------------------------------------------

    def _like(self, values: np.ndarray, coalesced: bool | None = None) -> SparseTensor:
        return SparseTensor(self._places, values, self._size, self._distinct if coalesced is None else coalesced)

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
        """The dense tensor that this one stands for."""
        dense = wrap(self._dense())
        return dense if dtype is None else dense.to(dtype)

    def to_sparse(self, sparse_dim: int | None = None) -> Tensor:
        """The tensor itself."""
        return self

    def coalesce(self) -> SparseTensor:
        """The same with sorted places, values of the same place added up; itself if that is so already."""
        if self._distinct:
            return self
        places, first = np.unique(self._flat(), return_inverse=True)
        values = np.zeros((len(places), *self._values_at.shape[1:]), self._values_at.dtype)
        k.index_add(values, 0, first.reshape(-1), self._values_at, True)
        sizes = self._size[: len(self._places)]
        indices = np.array(np.unravel_index(places, sizes), np.int64) if sizes else self._places[:, : len(places)]
        return SparseTensor(indices, values, self._size, True)

    def detach(self) -> SparseTensor:
        """Another tensor over the same values."""
        return self._like(self._values_at)

    def clone(self, *, memory_format: Any = None) -> SparseTensor:
        """A copy."""
        return self._like(self._values_at.copy())

    def __deepcopy__(self, memo: dict) -> SparseTensor:
        memo[id(self)] = twin = SparseTensor(self._places.copy(), self._values_at.copy(), self._size, self._distinct)
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        return SparseTensor, (self._places, self._values_at, self._size, self._distinct)

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """This tensor in another dtype, by the arguments of a dense tensor's ``to``."""
        values = self._values().to(*args, **kwargs)
        return self if values._a is self._values_at and not kwargs.get("copy") else self._like(values._a)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        if requires_grad:
            raise RuntimeError("a sparse tensor is not part of a graph here and cannot require a gradient")
        return self

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """Raises: ``to_dense`` comes first."""
        raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def _times(self, other: Any, operation: Any) -> Any:
        """`operation` (a product or quotient) on the values alone, where the other side is a number."""
        if isinstance(other, Tensor) and other.ndim == 0 and not other.is_sparse:
            other = other.item()
        if isinstance(other, (int, float)):
            return self._like(operation(self._values(), other)._a)
        return operation(self.to_dense(), other)

    def __mul__(self, other: Any) -> Any:
        return self._times(other, lambda x, y: x * y)

    __rmul__ = mul = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._times(other, lambda x, y: x / y)

    div = __truediv__

    def __neg__(self) -> Any:
        return self * -1

    neg = __neg__

    def __add__(self, other: Any) -> Any:
        if isinstance(other, SparseTensor) and other._size == self._size and len(other._places) == len(self._places):
            return SparseTensor(
                np.concatenate([self._places, other._places], axis=1),
                np.concatenate([self._values_at, other._values_at]),
                self._size,
            )
        if isinstance(other, Tensor) and other.shape == self.shape and other.dtype is self.dtype and not other.requires_grad:
            total = np.array(other._a, order="C")
            self._add_into(total, 1.0)
            return wrap(total)
        return self.to_dense() + other

    __radd__ = __add__

    def add(self, other: Any, *, alpha: Any = 1) -> Any:
        """self + alpha·other; sparse if both are."""
        return self + (other if alpha == 1 else other * alpha)

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def _become(self, other: SparseTensor) -> SparseTensor:
        self._places, self._values_at, self._distinct = other._places, other._values_at, other._distinct
        return self

    def mul_(self, other: Any) -> SparseTensor:
        """Multiply the values by a number, in place."""
        self._values_at *= self._factor(other)
        return self

    def div_(self, other: Any) -> SparseTensor:
        """Divide the values by a number, in place."""
        self._values_at /= self._factor(other)
        return self

    def neg_(self) -> SparseTensor:
        """Negate the values, in place."""
        return self.mul_(-1)

    def _factor(self, other: Any) -> Any:
        if isinstance(other, Tensor) and other.numel() == 1:
            other = other.item()
        if not isinstance(other, (int, float)):
            raise RuntimeError("a sparse tensor can be multiplied or divided in place by a number only")
        return self._values_at.dtype.type(other)

    def add_(self, other: Any, *, alpha: Any = 1) -> SparseTensor:
        """Add alpha times a sparse tensor, in place."""
        if not isinstance(other, SparseTensor):
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        return self._become(self.add(other, alpha=alpha))

    def zero_(self) -> SparseTensor:
        """Drop all values, in place."""
        self._places, self._values_at, self._distinct = self._places[:, :0], self._values_at[:0], True
        return self


def sparse_coo_tensor(
    indices: Any,
    values: Any,
    size: Any = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> SparseTensor:
    """A sparse tensor of values (n, *dense) at indices (s, n); without a size, just large enough for the indices.

    Raises:
        RuntimeError: shapes that do not fit, an index outside of the size, or a gradient that is asked for.
    """
    from lamina.ops.creation import as_tensor

    places = as_tensor(indices)._a
    held = as_tensor(values, dtype=dtype)._a
    if places.dtype.kind not in "iu" and places.size:
        raise RuntimeError(f"indices must be an int64 tensor, but got {BY_NUMPY[places.dtype]}")
    if places.ndim != 2:
        raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(places.shape)}")
    if not held.ndim or len(held) != places.shape[1]:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {places.shape[1]}, values: {list(held.shape)}"
        )
    if size is None:
        size = (*(int(n) + 1 for n in places.max(axis=1, initial=-1)), *held.shape[1:])
    size = tuple(int(n) for n in size)
    if len(size) != len(places) + held.ndim - 1 or size[len(places) :] != held.shape[1:]:
        raise RuntimeError(
            f"values has incorrect size: indices {list(places.shape)} and values {list(held.shape)} do not make {list(size)}"
        )
    for d, n in enumerate(size[: len(places)]):
        if places.shape[1] and not (places[d].min() >= 0 and places[d].max() < n):
            raise RuntimeError(f"found an index outside of [0, {n}) in dimension {d}: size is {list(size)}")
    if requires_grad:
        raise RuntimeError("a sparse tensor is not part of a graph here and cannot require a gradient")
    kind = held.dtype if dtype is None else to_numpy(dtype)
    return SparseTensor(places.astype(np.int64), held.astype(kind), size, bool(is_coalesced))


def sparsified(x: Tensor, sparse_dim: int | None = None) -> SparseTensor:
    """The elements of a dense tensor that are not zero, or the slices over all but its first dimensions that are not."""
    a = x._a
    sparse = a.ndim if sparse_dim is None else sparse_dim
    if not 0 <= sparse <= a.ndim or (a.ndim and not sparse):
        raise RuntimeError(f"sparse_dim must be in [1, {a.ndim}], but got {sparse_dim}")
    used = (a != 0).any(axis=tuple(range(sparse, a.ndim)))
    places = np.nonzero(used) if sparse else ()
    values = a[places] if sparse else a.reshape(1)
    return SparseTensor(np.array(places, np.int64).reshape(sparse, len(values)), values, a.shape, True)


def masked(x: Tensor, mask: Any) -> SparseTensor:
    """What a tensor holds at the places of a sparse one."""
    if not isinstance(mask, SparseTensor):
        raise NotImplementedError("sparse_mask only supports a sparse tensor as the mask, but got a dense one")
    if x.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(x.shape)} but mask has size {list(mask.shape)}"
        )
    return SparseTensor(mask._places.copy(), x._a[tuple(mask._places)], mask._size, mask._distinct)
