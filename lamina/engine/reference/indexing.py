"""Reading and writing at indices. ``into`` writes into the first array itself, otherwise a copy of it is changed.

``indices`` is, per axis of the array, an array of integers, a boolean mask (which stands for as many axes as it has) or
``None`` for all of the axis; axes that it does not reach are taken whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.memory import empty

__all__ = [
    "index", "index_put", "index_select", "index_add", "index_copy", "gather", "scatter", "scatter_add",
    "scatter_reduce",
    "masked_fill", "fill", "copy", "nonzero", "one_hot",
]  # fmt: skip

ndarray = np.ndarray
Indices = tuple[ndarray | None, ...]


def _place(indices: Indices) -> tuple:
    return tuple([slice(None) if i is None else i for i in indices])


# -- any axes ------------------------------------------------------------------------------------------------


def index(x: ndarray, indices: Indices) -> ndarray:
    """``x[indices]``."""
    single = _single(indices)
    if single is not None:
        if indices[single].dtype.kind != "b":  # type: ignore[union-attr]
            return x.take(indices[single], single)  # type: ignore[arg-type]
        if x.size >= _MANY and x.flags.c_contiguous:
            return _taken(*_unmasked(x, indices[single], single), single)
    return x[_place(indices)]


_MANY = 1 << 10  # elements from which positions are quicker than a mask, where NumPy guesses each element


def _unmasked(x: ndarray, mask: Any, axis: int) -> tuple[ndarray, ndarray]:
    """x with the axes of a mask, which begin at ``axis``, as one, and the positions on it where the mask holds."""
    shape = (*x.shape[:axis], mask.size, *x.shape[axis + mask.ndim :])
    return x.reshape(shape), np.flatnonzero(mask)


def _taken(x: ndarray, positions: ndarray, axis: int) -> ndarray:
    """The slices of x at positions that are known to be inside."""
    y = empty((*x.shape[:axis], *positions.shape, *x.shape[axis + 1 :]), x.dtype)
    return np.take(x, positions, axis, out=y, mode="clip")


def _single(indices: Indices) -> int | None:
    """The position of the only array among ``indices``, if there is one only."""
    found = [d for d, i in enumerate(indices) if i is not None]
    return found[0] if len(found) == 1 else None


def index_put(x: ndarray, indices: Indices, value: ndarray, accumulate: bool, into: bool) -> ndarray:
    """``x[indices] = value``, or ``+=`` where an index that occurs several times adds several times."""
    y = x if into else x.copy()
    single = _single(indices)
    if single is not None and indices[single].dtype.kind == "b":  # type: ignore[union-attr]
        z, place = y, _place(indices)
        if y.size >= _MANY and y.flags.c_contiguous:
            z, positions = _unmasked(y, indices[single], single)
            place = (*place[:single], positions)
        if accumulate:
            z[place] += value
        else:
            z[place] = value
        return y
    if not accumulate:
        y[_place(indices)] = value
        return y
    if single is not None and indices[single].ndim == 1 and y.flags.c_contiguous:  # type: ignore[union-attr]
        if y.size // max(math.prod(y.shape[: single + 1]), 1) >= _WIDE:
            _add_slices(y, indices[single], value, single)  # type: ignore[arg-type]
            return y
    axes: list[int] = []
    arrays: list[ndarray] = []
    axis = 0
    for i in indices:  # masks as integers
        if i is None:
            axis += 1
        elif i.dtype.kind == "b":
            axes += range(axis, axis + i.ndim)
            arrays += i.nonzero()
            axis += i.ndim
        else:
            axes.append(axis)
            arrays.append(i)
            axis += 1
    arrays = list(np.broadcast_arrays(*arrays)) if len(arrays) > 1 else arrays
    where, rank = arrays[0].shape, arrays[0].ndim
    rest = [d for d in range(y.ndim) if d not in axes]
    adjacent = axes[-1] - axes[0] + 1 == len(axes)
    at = axes[0] if adjacent else 0  # where NumPy and PyTorch put the axes of the index arrays
    shape = [y.shape[d] for d in rest]
    full = np.broadcast_to(value, (*shape[:at], *where, *shape[at:]))
    order = [*range(at, at + rank), *range(at), *range(at + rank, full.ndim)]
    count = int(np.prod(where, dtype=np.int64))
    width = int(np.prod(shape, dtype=np.int64))
    rows = full.transpose(order).reshape(count, width)
    lengths = [y.shape[d] for d in axes]
    if 0 in lengths:
        return y
    flat = np.zeros(where, np.int64)
    for i, n in zip(arrays, lengths, strict=True):
        flat = flat * n + np.where(i < 0, i + n, i)
    front = y.transpose([*axes, *rest])
    table = front.reshape(int(np.prod(lengths, dtype=np.int64)), width)
    if not table.flags.c_contiguous:
        table = np.ascontiguousarray(table)
    _add_rows(table, flat.reshape(-1), rows)
    if not np.may_share_memory(table, y):
        front[...] = table.reshape(front.shape)
    return y


_WIDE = 16  # from this width on, whole rows at a time cost less than an index for each element


def _add_slices(y: ndarray, index: ndarray, value: ndarray, axis: int) -> None:
    """Slice i of ``value`` added to slice ``index[i]`` of an axis of the contiguous ``y``, a matrix at a time."""
    n = y.shape[axis]
    if not index.size or not y.size:
        return
    if index.min() < -n or index.max() >= n:
        raise IndexError(f"index out of bounds for axis {axis} with size {n}")
    lead, rest = y.shape[:axis], y.shape[axis + 1 :]
    values = np.broadcast_to(value, (*lead, len(index), *rest)).reshape(-1, len(index), math.prod(rest))
    waves = _waves(np.where(index < 0, index + n, index))
    matrices = y.reshape(len(values), n, -1)
    workers.share(lambda i: _add_in_waves(matrices[i], waves, values[i]), range(len(values)))


def _add_rows(y: ndarray, rows: ndarray, values: ndarray) -> None:
    """``y[rows[i]] += values[i]`` for each i in the contiguous ``y``; rows may repeat."""
    width = y.shape[1]
    if not values.size:
        return
    if width >= _WIDE:
        _add_in_waves(y, _waves(rows), values)
        return
    if width > 1:
        rows = (rows[:, None] * width + np.arange(width)).reshape(-1)
    np.add.at(y.reshape(-1), rows, values.reshape(-1))  # with one vector of indices NumPy is fast


Waves = tuple[ndarray, list[ndarray], list[ndarray]]


def _waves(rows: ndarray) -> Waves:
    """How to add values to rows that repeat: first one value of each row, then the second of those that have one, and so on.

    (the different rows, those that occur most often first; for each wave the values that the first of these rows get; the
    other values of the few rows that occur more often than others, for each of them.)
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    counts = np.diff(np.append(starts, len(rows)))
    most_first = np.argsort(-counts, kind="stable")
    starts, counts = starts[most_first], counts[most_first]
    waves: list[ndarray] = []
    n = len(starts)
    while n > 8:
        waves.append(order[starts[:n] + len(waves)])
        n = int(np.searchsorted(-counts, -len(waves)))  # how many occur more often than that
    return ordered[starts], waves, [order[starts[i] + len(waves) : starts[i] + counts[i]] for i in range(n)]


def _add_in_waves(y: ndarray, waves: Waves, values: ndarray) -> None:
    """Within a wave no row repeats, so that it is one sum of matrices."""
    places, first, rest = waves
    rows = y[places]
    for wave in first:
        part = rows[: len(wave)]
        np.add(part, values.take(wave, 0), part)
    for row, others in zip(rows, rest, strict=False):
        row += np.add.reduce(values[others], axis=0)
    y[places] = rows


# -- slices along one axis -----------------------------------------------------------------------------------


def index_select(x: ndarray, dim: int, index: ndarray) -> ndarray:
    """The slices ``index`` of axis ``dim``."""
    return np.take(x, index, axis=dim)


def index_add(x: ndarray, dim: int, index: ndarray, source: ndarray, into: bool) -> ndarray:
    """``x`` with slice i of ``source`` added to slice ``index[i]``."""
    return index_put(x, (*(None,) * dim, index), source, True, into)


def index_copy(x: ndarray, dim: int, index: ndarray, source: ndarray, into: bool) -> ndarray:
    """``x`` with slice ``index[i]`` replaced by slice i of ``source`` (or by a number)."""
    y = x if into else x.copy()
    place: Any = (*(slice(None),) * dim, index)
    y[place] = source
    return y


# -- an index for each element -------------------------------------------------------------------------------


def _along(shape: tuple[int, ...], dim: int, index: ndarray) -> tuple:
    """The full index that ``index`` stands for along ``dim``."""
    grid: list[Any] = [np.arange(n).reshape((-1,) + (1,) * (len(shape) - d - 1)) for d, n in enumerate(index.shape)]
    grid[dim] = index
    return tuple(grid)


def gather(x: ndarray, dim: int, index: ndarray) -> ndarray:
    """out[i][j][k] = x[index[i][j][k]][j][k] for dim 0, and so on; ``index`` may be smaller than ``x`` elsewhere."""
    if not x.ndim:
        return np.broadcast_to(x, index.shape).copy()
    if x.ndim == 1 and index.size < _SHARED:
        return x.take(index)
    if x.flags.c_contiguous:
        row, y = x.reshape(-1), empty(index.shape, x.dtype)

        def take(where: ndarray, part: ndarray) -> None:
            np.take(row, where, out=part, mode="clip")

        _by_positions(x.shape, dim, index, take, y)
        return y
    return x[_along(x.shape, dim, index)]


def scatter(x: ndarray, dim: int, index: ndarray, source: Any, into: bool) -> ndarray:
    """``x`` with out[index[i][j][k]][j][k] = source[i][j][k] for dim 0, and so on."""
    y = x if into else x.copy()
    if not y.ndim:
        if index.size:
            y[...] = np.reshape(source, -1)[-1]
        return y
    if y.flags.c_contiguous:
        row = y.reshape(-1)
        source = np.broadcast_to(source, index.shape)
        _by_positions(y.shape, dim, index, row.__setitem__, source)
    else:
        y[_along(y.shape, dim, index)] = source
    return y


def _flat(shape: tuple[int, ...], dim: int, index: ndarray) -> tuple[int, Any]:
    """(a, b) such that a·index + b is where in a row-major array of ``shape`` the elements lie that ``index`` stands for."""
    base: Any = np.zeros((1,) * len(shape), np.int64)
    step = own = 1
    for d in range(len(shape) - 1, -1, -1):
        if d == dim:
            own = step
        else:
            base = base + (np.arange(index.shape[d]) * step).reshape((-1,) + (1,) * (len(shape) - d - 1))
        step *= shape[d]
    return own, base


def _by_positions(shape: tuple[int, ...], dim: int, index: ndarray, work: Callable[..., Any], *arrays: Any) -> None:
    """``work`` of the positions of :func:`_flat` and of what ``arrays`` have for them: by threads, in parts of the first axis.

    The parts are apart in the array of ``shape``, unless ``dim`` is 0.
    """
    own, base = _flat(shape, dim, index)
    n = len(index)
    step = n if dim == 0 or index.size < _SHARED else max(-(-n // 8), 1)

    def part(i: int) -> None:
        of = slice(i, i + step)
        where = index[of] * np.int64(own) if own != 1 else index[of]
        places = base[of] if len(base) > 1 else base
        where = np.add(where, places, out=where) if own != 1 else where + places
        work(where, *(a[of] for a in arrays))

    if n:
        workers.share(part, range(0, n, step))


_SHARED = 1 << 17


def _reduce_at(ufunc: np.ufunc, y: ndarray, dim: int, index: ndarray, source: ndarray) -> None:
    if not index.size:
        return
    if y.ndim and y.flags.c_contiguous:  # NumPy is many times faster with one index than with a tuple of them
        row = y.reshape(-1)

        def add(where: ndarray, values: ndarray) -> None:
            ufunc.at(row, where.reshape(-1), values.reshape(-1))

        _by_positions(y.shape, dim, index, add, source)
    elif y.ndim:
        ufunc.at(y, _along(y.shape, dim, index), source)
    else:
        ufunc.at(y.reshape(1), index.reshape(-1), source.reshape(-1))


def scatter_add(x: ndarray, dim: int, index: ndarray, source: ndarray, into: bool) -> ndarray:
    """``x`` with out[index[i][j][k]][j][k] += source[i][j][k] for dim 0, and so on."""
    y = x if into else x.copy()
    _reduce_at(np.add, y, dim, index, source)
    return y


_UFUNC = {"sum": np.add, "mean": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


def scatter_reduce(x: ndarray, dim: int, index: ndarray, source: ndarray, reduce: str, include_self: bool) -> ndarray:
    """``x`` with the elements that meet at one place (and the old one, if ``include_self``) reduced to one."""
    y = x.copy(order="C")
    if not include_self:
        _set_at(y, dim, index, _identity(reduce, y.dtype))
    _reduce_at(_UFUNC[reduce], y, dim, index, source)
    if reduce == "mean":
        count = np.full(y.shape, int(include_self), np.int64)
        _reduce_at(np.add, count, dim, index, np.ones(index.shape, np.int64))
        count = np.maximum(count, 1)
        y = (y // count if y.dtype.kind in "iub" else y / count).astype(y.dtype)
    return y


def _set_at(y: ndarray, dim: int, index: ndarray, value: Any) -> None:
    if y.ndim:
        y[_along(y.shape, dim, index)] = value
    elif index.size:
        y[...] = value


def _identity(reduce: str, dtype: np.dtype) -> Any:
    if reduce in ("sum", "mean"):
        return dtype.type(0)
    if reduce == "prod":
        return dtype.type(1)
    if dtype.kind == "f":
        return dtype.type(-np.inf if reduce == "amax" else np.inf)
    if dtype.kind == "b":
        return reduce != "amax"
    limits = np.iinfo(dtype)
    return limits.min if reduce == "amax" else limits.max


# -- masks and whole arrays ----------------------------------------------------------------------------------


def masked_fill(x: ndarray, mask: ndarray, value: Any, into: bool) -> ndarray:
    """``x`` with ``value`` where ``mask`` holds, broadcast against each other unless ``into``."""
    if into:
        y = x
    elif x.shape == mask.shape:
        y = x.copy(order="K")
    else:
        y = np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, mask.shape)), order="K", subok=False)
    np.copyto(y, value, where=mask, casting="unsafe")
    return y


def fill(x: ndarray, value: Any) -> ndarray:
    """``value`` written everywhere into ``x`` itself."""
    x[...] = value
    return x


def copy(x: ndarray, source: ndarray) -> ndarray:
    """``source``, broadcast and cast, written into ``x`` itself."""
    np.copyto(x, source, casting="unsafe")
    return x


def nonzero(x: ndarray) -> ndarray:
    """The indices of the elements that are not 0, one in a row."""
    places = np.flatnonzero(x if x.dtype.kind == "b" else x != 0)
    found = empty((len(places), x.ndim), np.int64)

    def part(i: int) -> None:
        left: Any = places[i : i + _BLOCK]
        if x.size < 1 << 32:
            left = left.astype(np.uint32)  # which NumPy divides five times as fast
        for axis in range(x.ndim - 1, 0, -1):
            n = left.dtype.type(x.shape[axis])
            quotient = left // n
            found[i : i + _BLOCK, axis] = left - quotient * n
            left = quotient
        if x.ndim:
            found[i : i + _BLOCK, 0] = left

    workers.share(part, range(0, len(places), _BLOCK))
    return found


_BLOCK = 1 << 15


def one_hot(x: ndarray, num_classes: int) -> ndarray:
    """Rows that are 1 at the class in ``x`` and 0 elsewhere."""
    out = np.zeros((*x.shape, num_classes), np.int64)
    flat = out.reshape(-1, num_classes) if num_classes else out
    flat[np.arange(x.size), x.reshape(-1)] = 1
    return out
