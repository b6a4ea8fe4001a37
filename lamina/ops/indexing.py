"""``x[...]`` and ``x[...] = value`` as PyTorch means them, and writing numbers and tensors into others.

Integers, slices, ``None`` and ``...`` give a view. Index tensors and masks give a copy; they are applied after the view
of all the rest, which is where PyTorch differs from NumPy: an integer never counts as an index tensor.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, HALVES, SCALAR_NAME, limits
from lamina.autograd.express import seen
from lamina.autograd.graph import (
    Op,
    Variable,
    Version,
    bump,
    check_writable,
    constant,
    look,
    mode,
    overwrite,
    record_write,
    snapshot,
    type_name,
    wants,
    wrap,
)
from lamina.engine import kernels as k
from lamina.engine.door import detours
from lamina.ops.operands import checked, of_tensor, store
from lamina.ops.parts import Slice
from lamina.ops.pointwise import cast
from lamina.ops.shape import View, expand, reshape

_FULL = slice(None)
I64, BOOL = np.dtype(np.int64), np.dtype(np.bool_)
_NUMBER = (bool, int, float, complex, np.generic)

# -- writing in place ----------------------------------------------------------------------------------------


def write(op: type[Op], x: Any, *inputs: Any) -> Any:
    """Apply an operation, whose last input says that it may write into its first, to ``x`` in place."""
    check_writable(x)
    result = op.apply(snapshot(x), *inputs, True)
    if x._a.dtype in HALVES:  # it was computed aside, in float32
        np.copyto(x._a, result._a)
    bump(x)
    if result._requires or (mode.enabled and x._base is not None and x._base._requires):
        record_write(x, result)
    return x


# C++'s name of each type, as PyTorch's message on a number that does not fit says it.
_C_NAME = {
    "float16": "c10::Half", "bfloat16": "c10::BFloat16", "float32": "float", "float64": "double", "int8": "int8_t",
    "int16": "int16_t", "int32": "int",
    "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t",
    "complex64": "c10::complex<float>", "complex128": "c10::complex<double>",
}  # fmt: skip


def number(value: Any, dtype: np.dtype) -> np.ndarray:
    """A Python number as a zero-dimensional array; raises ``RuntimeError`` if it does not fit ``dtype``."""
    kind = dtype.kind
    if kind == "b":
        return np.array(bool(value))
    fits = True
    if isinstance(value, (complex, np.complexfloating)):
        if kind != "c":
            fits = value.imag == 0
            value = value.real
    elif kind in "iu":
        info = np.iinfo(dtype)
        whole = isinstance(value, (int, np.integer))
        low = -info.max if kind == "u" and whole else info.min  # a negative integer wraps around
        fits = low <= value <= info.max
        if fits:
            value = int(value) % (info.max + 1) if kind == "u" else int(value)
    elif kind in "fV" and abs(value) > float(limits(dtype).max):
        fits = abs(value) == float("inf")
    if not fits:
        raise RuntimeError(f"value cannot be converted to type {_C_NAME[dtype.name]} without overflow: {value!r}")
    return np.array(value, dtype)


# -- reading an index ----------------------------------------------------------------------------------------


def _as_tuple(index: Any) -> tuple:
    """``index`` as a tuple; a list that holds more than integers counts as one, as it did in NumPy."""
    if isinstance(index, tuple):
        return index
    if isinstance(index, (list, range)) and len(index) < 32:
        for i in index:
            if i is None or i is Ellipsis or isinstance(i, (slice, tuple, list, range, np.ndarray, Variable)):
                warnings.warn(
                    "Using a non-tuple sequence for multidimensional indexing is deprecated and will be changed in pytorch 2.9; "
                    "use x[tuple(seq)] instead of x[seq].",
                    UserWarning,
                    stacklevel=4,
                )
                return tuple(index)
    return (index,)


def _as_tensor(i: Any) -> Any:
    """An entry of an index that is no plain number, slice or ``None``, as a tensor."""
    if isinstance(i, Variable):
        return i
    if isinstance(i, str):
        raise TypeError(f"a tensor cannot be indexed with a str: {i!r}")
    if isinstance(i, (list, tuple, range)):
        if any(isinstance(j, Variable) for j in i):
            i = [j.item() if isinstance(j, Variable) else j for j in i]
        a = np.array(i)
        return wrap(constant(a.astype(np.int64) if not a.size and a.dtype.kind in "fV" else a))
    if isinstance(i, np.ndarray):
        return wrap(i)
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
        f"{type(i).__name__})"
    )


def _bounds(i: Any, name: str) -> int | None:
    if i is None or type(i) is int:
        return i
    try:
        return i.__index__()
    except (AttributeError, TypeError):
        raise TypeError(
            f"slice indices must be integers or None or have an __index__ method, but {name} is {type(i).__name__}: {i!r}"
        ) from None


def _slice(s: slice) -> slice:
    start, stop, step = s.start, s.stop, s.step
    if step is None and (type(start) is int or start is None) and (type(stop) is int or stop is None):
        return s
    start, stop, step = _bounds(start, "start"), _bounds(stop, "stop"), _bounds(step, "step")
    if step is not None and step <= 0:
        if step == 0:
            raise ValueError("slice step cannot be zero")
        raise ValueError(f"step must be greater than zero, got {step}: flip() reverses a dimension")
    return slice(start, stop, step)


def _out_of_range(i: int, dim: int, n: int) -> IndexError:
    return IndexError(f"index {i} is out of bounds for dimension {dim} with size {n}")


_SCALAR = (
    "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to convert a 0-dim tensor "
    "to a number"
)


def _consumed(items: list) -> int:
    """How many dimensions an index speaks of."""
    n = 0
    for i in items:
        if isinstance(i, Variable):
            n += i._a.ndim if i._a.dtype.kind == "b" else 1
        elif i is not None and i is not Ellipsis and not isinstance(i, (bool, np.bool_)):
            n += 1
    return n


def parse(shape: tuple[int, ...], index: Any) -> tuple[tuple | None, tuple]:
    """An index as (what a view of it needs, or ``None``; index tensors and masks, ``None`` in between, for that view)."""
    items = list(_as_tuple(index))
    for j, i in enumerate(items):
        if i is None or i is Ellipsis or type(i) is int or isinstance(i, (bool, np.bool_, slice)):
            continue
        if isinstance(i, np.integer):
            items[j] = int(i)
            continue
        i = _as_tensor(i)
        kind, size = i._a.dtype.kind, i._a.itemsize
        if kind == "u" and size == 1 or kind == "b":
            if i._a.ndim == 0:
                look(i, "an index")
                i = bool(i._a)
            elif kind == "u":
                warnings.warn(
                    "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                    UserWarning,
                    stacklevel=4,
                )
                i = wrap(i._a.astype(bool))
        elif kind != "i":
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, but got "
                f"{SCALAR_NAME[BY_NUMPY[i._a.dtype]]}"
            )
        elif i._a.ndim == 0:
            look(i, "an index")
            i = int(i._a)
        elif size < 4:
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, but got "
                f"{SCALAR_NAME[BY_NUMPY[i._a.dtype]]}"
            )
        items[j] = i
    used, ndim = _consumed(items), len(shape)
    if used > ndim:
        if ndim == 0 and any(type(i) is int for i in items):
            raise IndexError(_SCALAR)
        raise IndexError(f"too many indices for tensor of dimension {ndim}")
    basic: list[Any] = []
    advanced: list[Any] = []
    trivial, stretched, dim = True, False, 0
    for i in items:
        if type(i) is int:
            n = shape[dim]
            if not -n <= i < n:
                raise _out_of_range(i, dim, n)
            basic.append(i)
            trivial = False
            dim += 1
        elif isinstance(i, slice):
            if i != _FULL:
                i, trivial = _slice(i), False
            basic.append(i)
            advanced.append(None)
            dim += 1
        elif i is Ellipsis:
            if not stretched:
                more = ndim - used
                basic += [_FULL] * more
                advanced += [None] * more
                dim += more
                stretched = True
        elif i is None:
            basic.append(None)
            advanced.append(None)
            trivial = False
        elif isinstance(i, Variable):
            a = i._a
            if a.dtype.kind == "b":
                if a.shape != shape[dim : dim + a.ndim]:
                    off = next(d for d in range(a.ndim) if a.shape[d] != shape[dim + d])
                    raise IndexError(
                        f"The shape of the mask {list(a.shape)} at index {off} does not match the shape of the indexed tensor "
                        f"{list(shape)} at index {dim + off}"
                    )
                basic += [_FULL] * a.ndim
                dim += a.ndim
            else:
                basic.append(_FULL)
                dim += 1
            advanced.append(i)
        else:  # True or False: a new dimension of size 1 or 0
            basic.append(None)
            advanced.append(wrap(constant(np.zeros(1 if i else 0, np.int64))))
            trivial = False
    while advanced and advanced[-1] is None:
        advanced.pop()
    return None if trivial else (*basic, Ellipsis), tuple(advanced)


# -- x[indices] with index tensors ---------------------------------------------------------------------------


def _arrays(indices: tuple) -> tuple:
    return tuple([None if i is None else i._a for i in indices])


def _index_error(error: Exception, indices: tuple) -> IndexError:
    if isinstance(error, IndexError) and "out of bounds" in str(error):
        return IndexError(str(error).replace(" axis ", " dimension "))
    shapes = []
    for i in indices:
        if i is not None:
            shapes += [i._a.nonzero()[0].shape] * i._a.ndim if i._a.dtype.kind == "b" else [i._a.shape]
    return IndexError(
        "shape mismatch: indexing tensors could not be broadcast together with shapes "
        + ", ".join(str(list(s)) for s in shapes)
    )


class Index(Op):
    """The elements of x at index tensors;   dL/dx = g added at those places"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, indices):
        ctx.save(*indices)
        ctx.shape = x._a.shape
        try:
            return k.index(x._a, _arrays(indices))
        except (IndexError, ValueError) as error:
            raise _index_error(error, indices) from None

    @staticmethod
    def backward(ctx, grad):
        return IndexPut.apply(wrap(np.zeros(ctx.shape, grad._a.dtype)), grad, ctx.saved, True, True), None


class IndexPut(Op):
    """x with elements replaced (or added to) by v;   dL/dx = g, 0 where replaced,   dL/dv = g at the indices"""

    @staticmethod
    def forward(ctx, x, value, indices, accumulate, into):
        ctx.save(*indices)
        ctx.accumulate = accumulate
        try:
            return k.index_put(x._a, _arrays(indices), value._a, accumulate, into)
        except (IndexError, ValueError) as error:
            if isinstance(error, ValueError):
                misfit = _value_error(x, value, indices)
                if misfit is not None:
                    raise misfit from None
            raise _index_error(error, indices) from None

    @staticmethod
    def backward(ctx, grad):
        indices, gx, gv = ctx.saved, None, None
        if ctx.needs(0):
            gx = grad if ctx.accumulate else IndexPut.apply(grad, _zero(grad), indices, False, False)
        if ctx.needs(1):
            gv = Index.apply(grad, indices)
        return gx, gv, None, None, None


def _zero(like: Any) -> Any:
    return wrap(np.zeros((), like._a.dtype))


def _result_shape(shape: tuple, indices: tuple) -> tuple:
    """The shape of ``x[indices]``; raises ``IndexError`` if the index tensors do not broadcast."""
    arrays: list[tuple] = []
    kept, at, axis, gap = [], None, 0, False
    for i in indices:
        if i is None:
            kept.append(shape[axis])
            axis += 1
            continue
        mask = i._a.dtype.kind == "b"
        arrays.append((int(np.count_nonzero(i._a)),) if mask else i._a.shape)
        if at is None:
            at = len(kept)
        elif at != len(kept):
            gap = True
        axis += i._a.ndim if mask else 1
    kept += shape[axis:]
    try:
        where = np.broadcast_shapes(*arrays)
    except ValueError as error:
        raise _index_error(error, indices) from None
    at = 0 if gap or at is None else at
    return (*kept[:at], *where, *kept[at:])


def _value_error(x: Any, value: Any, indices: tuple) -> Exception | None:
    found = _result_shape(x._a.shape, indices)
    try:
        if np.broadcast_shapes(value._a.shape, found) == found:
            return None
    except ValueError:
        pass
    return RuntimeError(
        f"shape mismatch: value tensor of shape {list(value._a.shape)} cannot be broadcast to indexing result of shape "
        f"{list(found)}"
    )


def _simple(index: tuple) -> bool:
    """Whether NumPy understands all of an index as PyTorch does, and makes a view of it."""
    stretched = False
    for i in index:
        kind = type(i)
        if kind is slice:
            if i != _FULL and (i.step is not None or type(i.start) not in _PLAIN or type(i.stop) not in _PLAIN):
                return False
        elif i is Ellipsis:
            if stretched:
                return False
            stretched = True
        elif kind is not int and i is not None:
            return False
    return True


_PLAIN = (int, type(None))

# -- getitem and setitem -------------------------------------------------------------------------------------


def _part(x: Any, index: tuple) -> Any:
    """``Slice.apply``, by the express lane."""
    if detours or x._hidden:
        return Slice.apply(x, index)
    return seen(Slice, x, x._a[index], (index,))


def getitem(x: Any, index: Any) -> Any:
    """``x[index]``: a view, unless the index holds index tensors, masks or lists."""
    kind = type(index)
    if kind is int:
        shape = x._a.shape
        if not shape:
            raise IndexError(_SCALAR)
        if not -shape[0] <= index < shape[0]:
            raise _out_of_range(index, 0, shape[0])
        return _part(x, (index, Ellipsis))
    if kind is slice and x._a.ndim:
        return _part(x, (_slice(index), Ellipsis))
    if index is None:
        return _part(x, (None, Ellipsis))
    if isinstance(index, Variable):
        a = _chosen(x, index)
        if a is not None:
            return wrap(a)
    if kind is tuple and _simple(index):
        try:
            return _part(x, index if Ellipsis in index else (*index, Ellipsis))
        except IndexError:
            pass  # parse() says what is wrong
    basic, advanced = parse(x._a.shape, index)
    if basic is not None:
        x = Slice.apply(x, basic)
    elif not advanced:
        return Slice.apply(x, (Ellipsis,))
    return Index.apply(x, advanced) if advanced else x


def _chosen(x: Any, index: Any) -> Any:
    """The elements at an index tensor or mask if they are a matter of NumPy's alone; whatever is odd gives ``None``."""
    a, i = x._a, index._a
    if detours or not i.ndim or not a.ndim or mode.enabled and wants(x):
        return None
    if i.dtype is not I64 and (i.dtype is not BOOL or i.shape != a.shape[: i.ndim]):
        return None
    try:
        r = k.index(a, (i,))
    except IndexError:
        return None
    return r if r.flags.c_contiguous else None


def setitem(x: Any, index: Any, value: Any) -> None:
    """``x[index] = value``: writes a number or tensor, broadcast and cast, into this tensor's memory."""
    if _write_plainly(x, index, value):
        return
    if not isinstance(value, Variable):
        if not isinstance(value, _NUMBER):
            raise TypeError(f"can't assign a {_type_of(value)} to a {type_name(x._a)}")
        if x._a.dtype == np.float16 and not isinstance(value, (complex, np.complexfloating)):
            value = wrap(constant(k.cast(np.array(value, np.float64), x._a.dtype)))  # here, as in PyTorch, too much is infinite
        else:
            value = wrap(constant(number(value, x._a.dtype)))
    kind = type(index)
    if kind is int or kind is slice:
        target, advanced = getitem(x, index), ()
    else:
        basic, advanced = parse(x._a.shape, index)
        target = x if basic is None and advanced else Slice.apply(x, basic or (Ellipsis,))
    if advanced:
        index_put_(target, advanced, _without_leading_ones(value))
        return
    a, s = target._a, value._a.shape
    if s and s != a.shape:
        value = expand(_without_leading_ones(value), a.shape)
    check_writable(target)
    copy_into(target, value)


def _write_plainly(x: Any, index: Any, value: Any) -> bool:
    """Assign by NumPy if nothing is recorded and PyTorch would do the same; whether that was done.

    Whatever is odd (a bad index, shapes that do not fit, memory that may not be written) is left to the long way.
    """
    kind, a = type(index), x._a
    if kind is tuple:
        if not _simple(index):
            return False
    elif kind is not int:
        return False
    if _recorded(x) or x._inference:
        return False
    if isinstance(value, Variable):
        if (value._requires and mode.enabled) or value._a.dtype is not a.dtype:
            return False
        value = value._a
    elif type(value) is not float or a.dtype.kind not in "fV" or not -_SAFE <= value <= _SAFE:
        return False
    if not a.flags.writeable or 0 in a.strides or not a.ndim:
        return False
    try:
        a[index] = value
    except (IndexError, ValueError):
        return False
    bump(x)
    return True


_FEW = 1 << 12  # elements that are copied at once
_SAFE = 65504.0  # what every floating type can hold


def _type_of(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _without_leading_ones(value: Any) -> Any:
    s = value._a.shape
    lead = 0
    while lead < len(s) and s[lead] == 1:
        lead += 1
    return View.apply(value, s[lead:]) if lead else value


def copy_into(x: Any, value: Any, op: Any = None) -> Any:
    """Write ``value``, which broadcasts to ``x``, into it and record it (the caller has checked that ``x`` is writable)."""
    if value._a.dtype is not x._a.dtype:
        value = cast(value, BY_NUMPY[x._a.dtype])
    if x._base is None and mode.enabled and (x._requires or value._requires) and x._a.dtype.kind in "fcV":
        result = (op or Copy).apply(snapshot(x), value)
        bump(x)
        record_write(x, result)
        return x
    return overwrite(x, value)


class Copy(Op):
    """v written into the memory of x;   dL/dx = 0, dL/dv = g"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, value):
        return k.copy(x._a, value._a)

    @staticmethod
    def backward(ctx, grad):
        return wrap(np.zeros_like(grad._a)), grad

    def name(self) -> str:
        return "CopyBackwards"


class Fill(Copy):
    """A number v written everywhere into x;   dL/dx = 0, dL/dv = Σg (by the walk)"""

    name = Op.name


class Zero(Fill):
    """0 written everywhere into x;   dL/dx = 0"""


def copy_(input: Any, src: Any, non_blocking: bool = False) -> Any:
    """Writes ``src``, broadcast and cast, into ``input``."""
    if isinstance(src, Variable):
        a, b = input._a, src._a
        if a.dtype is b.dtype and a.shape == b.shape and not (src._requires and mode.enabled) and 0 not in a.strides:
            if a.size < _FEW and _free(input, a):
                k.copy.reference_calls += 1
                a[...] = b
                bump(input)
                return input
    if not isinstance(src, Variable):
        if not isinstance(src, _NUMBER):
            raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
        src = wrap(number(src, input._a.dtype))
    _fits(src._a.shape, input._a.shape)
    check_writable(input)
    return copy_into(input, src)


def _fits(source: tuple, target: tuple) -> None:
    """Raise unless a tensor of shape ``source`` can be written into one of shape ``target``."""
    if source == target:
        return
    for i in range(1, min(len(source), len(target)) + 1):
        if source[-i] != target[-i] and 1 not in (source[-i], target[-i]):
            raise RuntimeError(
                f"The size of tensor a ({target[-i]}) must match the size of tensor b ({source[-i]}) at non-singleton dimension "
                f"{max(len(source), len(target)) - i}"
            )
    both = np.broadcast_shapes(source, target)
    if both != target:
        raise RuntimeError(f"output with shape {list(target)} doesn't match the broadcast shape {list(both)}")


def _recorded(x: Any) -> bool:
    """Whether a write to ``x`` changes a history."""
    return mode.enabled and (x._requires or (x._base is not None and x._base._requires))


@of_tensor
def fill_(input: Any, value: Any) -> Any:
    """Writes a number, or a zero-dimensional tensor, into every element."""
    a = input._a
    if type(value) in (int, float) and a.dtype.kind == "f" and -_SAFE <= value <= _SAFE and _free(input, a):
        return _filled(input, value)
    if isinstance(value, Variable):
        if value._a.ndim:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {value._a.ndim} dimensions."
            )
    elif isinstance(value, _NUMBER):
        value = wrap(number(value, input._a.dtype))
    else:
        raise TypeError(f"fill_(): argument 'value' (position 1) must be Number or Tensor, not {type(value).__name__}")
    check_writable(input, may_repeat=not wants(value))
    return copy_into(input, value, Fill)


def _free(x: Any, a: np.ndarray) -> bool:
    """Whether ``x`` may be written without a look at its history, or by anybody."""
    return not (detours or x._inference or _recorded(x)) and a.flags.writeable


def _filled(x: Any, value: Any) -> Any:
    x._a.fill(value)
    k.fill.reference_calls += 1
    version = x._writes
    if version is None:
        version = x._writes = Version()
    version.n += 1
    return x


@of_tensor
def fill(input: Any, value: Any) -> Any:
    """A copy with every element replaced by a number or a zero-dimensional tensor."""
    return fill_(input.clone(), value)


@of_tensor
def zero_(input: Any) -> Any:
    """Writes 0 into every element."""
    a = input._a
    if not (detours or input._requires or input._base is not None or input._inference):
        if a.flags.writeable and a.dtype.kind != "V":
            return _filled(input, 0)
    check_writable(input, may_repeat=True)
    if _recorded(input):
        return copy_into(input, wrap(np.zeros((), input._a.dtype)), Zero)
    k.fill(input._a, 0)
    bump(input)
    return input


# -- index_put, take, put ------------------------------------------------------------------------------------


def _put_arguments(input: Any, indices: Any, values: Any, name: str) -> tuple:
    if not isinstance(indices, (tuple, list)):
        raise TypeError(f"{name}(): argument 'indices' (position 1) must be tuple of Tensors, not {type(indices).__name__}")
    if not isinstance(values, Variable):
        raise TypeError(f"{name}(): argument 'values' (position 2) must be Tensor, not {type(values).__name__}")
    for i, t in enumerate(indices):
        if t is not None and not isinstance(t, Variable):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    if len(indices) > input._a.ndim:
        raise IndexError(f"too many indices for tensor of dimension {input._a.ndim} (got {len(indices)})")
    # a 0-d index tensor is a vector of one here, not an integer
    items = [_FULL if i is None else reshape(i, (1,)) if i._a.ndim == 0 else i for i in indices]
    found = parse(input._a.shape, tuple(items))[1]
    if values._a.dtype != input._a.dtype:
        a, b = SCALAR_NAME[BY_NUMPY[input._a.dtype]], SCALAR_NAME[BY_NUMPY[values._a.dtype]]
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {a} for the destination and {b} for the source."
        )
    return found, values


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """A copy with ``values`` at ``input[indices]``, or added there if ``accumulate`` (then repeated indices add up)."""
    found, values = _put_arguments(input, indices, values, "index_put")
    return IndexPut.apply(input, values, found, accumulate, False) if found else input.clone()


def index_put_(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """In-place form of :func:`index_put`."""
    found, values = _put_arguments(input, indices, values, "index_put_")
    return write(IndexPut, input, values, found, accumulate) if found else input


class Take(Index):
    """Elements of the flattened x;   dL/dx = g added at those places"""


def _flat_index(input: Any, index: Any, name: str) -> None:
    a = checked(index, name)._a
    if a.dtype != np.int64:
        raise RuntimeError(f"{name}(): Expected a long tensor for index, but got {SCALAR_NAME[BY_NUMPY[a.dtype]]}")
    n = input._a.size
    if a.size:
        if n == 0:
            raise IndexError(f"{name}(): tried to {'take from' if name == 'take' else 'put elements into'} an empty tensor")
        bad = a[(a < -n) | (a >= n)]
        if bad.size:
            raise IndexError(f"out of range: tried to access index {bad[0]} on a tensor of {n} elements.")


def take(input: Any, index: Any, *, out: Any = None) -> Any:
    """The elements at the given positions of the flattened tensor, in the shape of ``index``."""
    _flat_index(input, index, "take")
    r = Take.apply(reshape(input, (input._a.size,)), (index,))
    return r if out is None else store(out, r)


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """A copy with ``source`` at the given positions of the flattened tensor (added there, if ``accumulate``)."""
    _flat_index(input, index, "put_")
    if source._a.dtype != input._a.dtype:
        raise RuntimeError(
            f"put_(): self and source expected to have the same dtype, but got self.dtype = {BY_NUMPY[input._a.dtype]} and "
            f"source.dtype = {BY_NUMPY[source._a.dtype]}"
        )
    if source._a.size != index._a.size:
        raise IndexError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source._a.size}, index.numel() = {index._a.size}"
        )
    row, values = reshape(input, (input._a.size,)), reshape(source, (source._a.size,))
    return reshape(IndexPut.apply(row, values, (reshape(index, (index._a.size,)),), accumulate, False),
                   input._a.shape)


FUNCTIONS = ("take", "index_put", "index_put_", "put", "fill", "fill_", "zero_")
METHODS = (*(n for n in FUNCTIONS if n != "fill"), "copy_")
INPLACE = ("put",)
