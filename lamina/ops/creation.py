"""Making tensors: from data, from NumPy, and filled in some way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import check_device, to_numpy
from lamina.autograd.graph import Variable, constant, expose, repeats, wrap
from lamina.engine import dlpack, kernels
from lamina.engine.door import quietly
from lamina.ops.operands import not_a_tensor, of_tensor, store

I64 = np.dtype(np.int64)


def finish(array: Any, requires_grad: bool = False, out: Any = None) -> Any:
    """A tensor over a fresh array, as the creation functions return it."""
    t = wrap(array)
    if out is not None:
        return store(out, t)
    if requires_grad:
        t.requires_grad_()
    return t


def size_of(size: tuple, name: str = "size") -> tuple[int, ...]:
    """The shape that a caller gave as ``f(2, 3)`` or ``f((2, 3))``; raises on negative or non-integer entries."""
    plain = size[0] if len(size) == 1 and isinstance(size[0], tuple) else size
    for n in plain:
        if type(n) is not int or n < 0:
            break
    else:
        return tuple(plain)
    if (
        len(size) == 1
        and not isinstance(size[0], (int, np.integer))
        and isinstance(size[0], (Sequence, np.ndarray, Variable))
    ):
        size = tuple(iter(size[0]))
    shape = []
    for n in size:
        if isinstance(n, Variable) and n._a.ndim == 0:
            n = n.item()
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
            raise TypeError(
                f"{name} must be a tuple of ints, but found element of type {type(n).__name__}: {n!r}"
            )
        if n < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {n}: {list(size)}")
        shape.append(int(n))
    return tuple(shape)


def _check(device: Any, layout: Any, pin_memory: bool = False) -> None:
    if device is None and layout is None and not pin_memory:
        return
    check_device(device)
    if layout not in (None, _dtypes.strided):
        raise RuntimeError(f"layout {layout!r} is not available: lamina's tensors are strided")
    if pin_memory:
        raise RuntimeError("Cannot access accelerator device when none is available.")


# -- from data -----------------------------------------------------------------------------------------------------


def _infer(data: Any, exact: bool = False) -> Any:
    """Nested Python data as an array with the dtype that PyTorch infers; if ``exact``, floats keep all their digits."""
    if isinstance(data, Variable):
        return data._a
    if isinstance(data, np.generic):
        return np.asarray(data)
    if isinstance(data, (bool, int, float, complex)):
        return np.array(
            data, None if exact and isinstance(data, (float, complex)) else _dtypes.scalar_dtype(data)
        )
    if hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        return np.asarray(data)
    if hasattr(data, "__array_interface__"):
        return np.asarray(data)
    if isinstance(data, (str, bytes)):
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    if not isinstance(data, Sequence):
        raise RuntimeError(f"Could not infer dtype of {type(data).__name__}")
    items = list(data)
    flat = items
    while flat and isinstance(flat[0], (list, tuple)):
        _same_lengths(flat)
        flat = [x for part in flat for x in part]
    if flat and isinstance(flat[0], (str, bytes)):
        raise ValueError(
            f"too many dimensions '{type(flat[0]).__name__}': a tensor holds numbers, but got {flat[0]!r}"
        )
    if not flat:
        return np.asarray(np.array(items), dtype=_dtypes._Default.numpy)
    if any(isinstance(x, (Variable, np.ndarray)) or hasattr(x, "__array__") for x in flat):
        parts = [_infer(x) if not isinstance(x, (bool, int, float)) else np.asarray(x) for x in flat]
        dtype = parts[0].dtype
        for p in parts[1:]:
            dtype = _dtypes.promote_numpy(dtype, p.dtype)
        nested = np.array([p.astype(dtype) for p in parts])
        return nested.reshape(_nested_shape(items) + parts[0].shape)
    kinds = {type(x) for x in flat}
    if complex in kinds:
        dtype = np.dtype(np.complex128) if exact else _dtypes._Default.dtype.to_complex().numpy
    elif any(issubclass(kind, float) for kind in kinds):
        dtype = np.dtype(np.float64) if exact else _dtypes._Default.numpy
    elif kinds == {bool}:
        dtype = np.dtype(bool)
    elif all(issubclass(kind, int) for kind in kinds):
        dtype = np.dtype(np.int64)
    else:
        strange = next(x for x in flat if not isinstance(x, (bool, int, float, complex)))
        if isinstance(strange, (str, bytes, list, tuple)):
            raise TypeError(f"new(): invalid data type '{type(strange).__name__}': a tensor holds numbers, but got {strange!r}")
        raise RuntimeError(f"Could not infer dtype of {type(strange).__name__}: a tensor holds numbers, but got {strange!r}")
    try:
        return np.array(items, dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"expected sequences of equal length at every level: {error}") from None


def _same_lengths(level: list) -> None:
    for x in level:
        if not isinstance(x, (list, tuple)):
            raise TypeError(f"not a sequence: expected one of length {len(level[0])}, but got {x!r}")
        if len(x) != len(level[0]):
            raise ValueError(
                f"expected sequence of length {len(level[0])} at every place of a dimension (got {len(x)})"
            )


def _nested_shape(items: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(items, (list, tuple)):
        shape.append(len(items))
        items = items[0] if items else None
    return tuple(shape)


def _check_range(a: np.ndarray, d: np.dtype) -> None:
    """Numbers that a caller wrote must fit the dtype that he asked for; negative integers wrap around in an unsigned one."""
    if a.dtype.kind == "c" and d.kind not in "cb":
        raise TypeError(f"must be real numbers for {d.name}, not complex")
    if d.kind not in "iu" or not a.size:
        return
    info = np.iinfo(d)
    low, high = a.min(), a.max()
    if not (low >= (-info.max if d.kind == "u" and a.dtype.kind in "iO" else info.min) and high <= info.max):
        raise RuntimeError(f"value cannot be converted to type {d.name} without overflow: {(high if high > info.max else low)}")


def _copied(data: Any, dtype: Any) -> np.ndarray:
    """The data of a new tensor, in row-major order."""
    try:
        a = _infer(data, dtype is not None)
    except OverflowError:  # an integer beyond int64: only uint64 and floats can hold it
        if dtype is None or (to_numpy(dtype).kind in "iu" and to_numpy(dtype) != np.uint64):
            raise ValueError(f"Overflow when unpacking long long: {data!r} is beyond int64") from None
        a = np.array(data, object)
    d = to_numpy(dtype) if dtype is not None else _dtypes.from_numpy(a.dtype).numpy
    if a.dtype is not d and not isinstance(data, (Variable, np.ndarray)):
        _check_range(a, d)
    if d.kind == "V" and d is _dtypes.float8_e4m3fn.numpy:
        return kernels.cast(np.ascontiguousarray(a), d).reshape(a.shape)
    return np.array(a, d, order="C", copy=True)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Any:
    """A new leaf tensor with a copy of ``data`` (numbers, nested sequences, arrays, tensors); the dtype is inferred."""
    check_device(device)
    return finish(quietly(_copied, data, dtype), requires_grad)  # 1e40 is inf in float32, without a word


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """``data`` as a tensor, sharing memory (and history) where the dtype allows."""
    check_device(device)
    if isinstance(data, Variable):
        return data if dtype is None else data.to(dtype)
    if isinstance(data, np.ndarray):
        t = from_numpy(data)
        return t if dtype is None else t.to(dtype)
    return tensor(data, dtype=dtype)


def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Any:
    """``obj`` as a tensor: shared where possible (``copy=None``), always (``False``) or never (``True``)."""
    t = as_tensor(obj, dtype, device)
    if copy:
        t = t.detach().clone()
    elif copy is False and not (t is obj or (isinstance(obj, np.ndarray) and np.shares_memory(t._a, obj))):
        raise ValueError(
            "can't alias arbitrary sequence or convert without a copy, and copy=False was asked for"
        )
    return t.requires_grad_() if requires_grad else t


def from_numpy(ndarray: Any) -> Any:
    """A tensor that shares memory with a NumPy array; raises ``TypeError`` for a dtype that tensors do not have."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    dtype = _dtypes.from_numpy(ndarray.dtype).numpy
    if not ndarray.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is currently "
            "not supported."
        )
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative strides are not currently "
            "supported. (You can probably work around this by making a copy of your array with array.copy().)"
        )
    array = ndarray.view(np.ndarray) if type(ndarray) is not np.ndarray else ndarray
    if array.dtype is not dtype:
        array = array.view(dtype)
    t = wrap(array)
    expose(t)
    return t


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Any:
    """A 1-d tensor over the memory of a Python buffer."""
    return finish(np.frombuffer(buffer, to_numpy(dtype), count, offset), requires_grad)


def from_dlpack(ext_tensor: Any) -> Any:
    """A tensor that shares memory with an object that speaks DLPack (an array of NumPy, PyTorch, JAX …)."""
    return from_numpy(dlpack.take(ext_tensor))


def scalar_tensor(
    s: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A zero-dimensional tensor of the default dtype."""
    return tensor(s, dtype=dtype or _dtypes.get_default_dtype(), device=device, requires_grad=requires_grad)


# -- filled --------------------------------------------------------------------------------------------------------


def _ones(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    a = np.empty(shape, dtype)  # NumPy's ones() takes three times as long for a few
    a.fill(1)
    return a


def _filled(name: str, doc: str) -> tuple[Any, Any]:
    """A creation function and its ``_like`` form."""
    fill, fill_like = _ones if name == "ones" else getattr(np, name), getattr(np, f"{name}_like")

    def function(
        *size_args: Any, size: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
        requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None,
    ) -> Any:  # fmt: skip
        if size_args and dtype is device is layout is out is None and not (requires_grad or pin_memory):
            for n in size_args:
                if type(n) is not int or n < 0:
                    break
            else:
                return wrap(constant(fill(size_args, _dtypes._Default.numpy)))
        _check(device, layout, pin_memory)
        if not size_args:
            if size is None:
                raise TypeError(f'{name}() missing 1 required positional arguments: "size"')
            size_args = (size,)
        d = to_numpy(dtype) if dtype is not None else _dtypes._Default.numpy if out is None else out._a.dtype
        return finish(fill(size_of(size_args), d), requires_grad, out)

    def like(
        input: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
        pin_memory: bool = False, memory_format: Any = None,
    ) -> Any:  # fmt: skip
        _check(device, layout, pin_memory)
        if not isinstance(input, Variable):
            raise not_a_tensor(input, f"{name}_like")
        d = input._a.dtype if dtype is None else to_numpy(dtype)
        if memory_format is None and input._a.flags.c_contiguous:
            return finish(fill(input._a.shape, d), requires_grad)
        plain = input._hidden or memory_format is _dtypes.contiguous_format or repeats(input)
        r = finish(fill(input._a.shape, d) if plain else fill_like(input._a, d), requires_grad)
        return r if plain or memory_format is None else r.to(memory_format=memory_format)

    for f, n, text in (
        (function, name, doc),
        (like, f"{name}_like", doc + " The shape and dtype are another tensor's."),
    ):
        f.__name__ = f.__qualname__ = n
        f.__doc__ = text
    return function, like


zeros, zeros_like = _filled("zeros", "A tensor of zeros.")
ones, ones_like = _filled("ones", "A tensor of ones.")
empty, empty_like = _filled("empty", "A tensor of arbitrary values.")


def full(
    size: Any, fill_value: Any, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """A tensor filled with one value; the dtype is the value's unless given."""
    _check(device, layout, pin_memory)
    if isinstance(size, int):
        raise TypeError("full(): argument 'size' (position 1) must be tuple of ints, not int")
    value = fill_value.item() if isinstance(fill_value, Variable) else fill_value
    d = to_numpy(dtype) if dtype is not None else _dtypes.scalar_dtype(value)
    shape = size_of((size,))
    if type(value) is float and d.kind == "f" and -65504.0 <= value <= 65504.0:
        a = np.empty(shape, d)
        a.fill(value)
    else:
        a = np.full(shape, value, d)
    return finish(a, requires_grad, out)


@of_tensor
def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """A tensor of another's shape and dtype, filled with one value."""
    return full(
        tuple(input._a.shape), fill_value, dtype=dtype or _dtypes.BY_NUMPY[input._a.dtype], layout=layout, device=device,
        requires_grad=requires_grad, pin_memory=pin_memory,
    )  # fmt: skip


def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """start, start + step, …, up to but without ``end``; ``arange(n)`` starts at 0."""
    if type(start) is int and type(step) is int and step > 0 and dtype is out is device is layout is None:
        first, last = (0, start) if end is None else (start, end)
        if type(last) is int and first <= last and not (requires_grad or pin_memory):
            return finish(np.arange(first, last, step, dtype=I64))
    _check(device, layout, pin_memory)
    start, end, step = (x.item() if isinstance(x, Variable) else x for x in (start, end, step))
    if start is None or end is None:
        start, end = 0, start if end is None else end
    for x in (start, end, step):
        if not isinstance(x, (int, float, np.number)):
            raise TypeError(f"arange(): the bounds and the step must be numbers, not {type(x).__name__}: {x!r}")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if not all(math.isfinite(x) for x in (start, end, step)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    floats = any(isinstance(x, (float, np.floating)) for x in (start, end, step))
    d = to_numpy(dtype) if dtype is not None else _dtypes._Default.numpy if floats else np.dtype(np.int64)
    n = math.ceil((end - start) / step)
    if d.kind in "iu" and not floats:
        a = (start + np.arange(n, dtype=np.int64) * step).astype(d)
    elif d.kind in "iu":
        a = (
            (int(start) + np.arange(n, dtype=np.int64) * int(step)).astype(d)
            if int(step)
            else np.arange(start, end, step).astype(d)
        )
    else:
        a = (start + np.arange(n, dtype=np.float64) * step).astype(d)
    return finish(a, requires_grad, out)


def range(  # noqa: A001
    start: Any = 0, end: Any = None, step: Any = 1, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """start, start + step, …, up to and with ``end``; always floating point unless a dtype is given."""
    n = int((end - start) / step) + 1
    return finish(
        (start + np.arange(n) * step).astype(to_numpy(dtype) if dtype else _dtypes._Default.numpy),
        requires_grad,
        out,
    )


def linspace(
    start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """``steps`` numbers from ``start`` to ``end``, evenly spaced, both ends included."""
    _check(device, layout, pin_memory)
    start, end = (x.item() if isinstance(x, Variable) else x for x in (start, end))
    if not isinstance(steps, (int, np.integer)):
        raise TypeError(f"linspace(): argument 'steps' must be int, not {type(steps).__name__}: {steps!r}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    d = to_numpy(dtype) if dtype is not None else _dtypes._Default.numpy
    if d.kind in "iu":
        a = np.trunc(np.linspace(start, end, steps)).astype(d)
    else:  # counted from the nearer end, in the target's own precision, as PyTorch does
        t = d.type
        step = t((t(end) - t(start)) / t(max(steps - 1, 1)))
        i = np.arange(steps).astype(d)
        a = np.where(
            np.arange(steps) < steps // 2, t(start) + step * i, t(end) - step * (t(steps - 1) - i)
        ).astype(d)
        if steps == 1:
            a[...] = start
    return finish(a, requires_grad, out)


def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """base^start … base^end, evenly spaced in the exponent."""
    _check(device, layout, pin_memory)
    d = to_numpy(dtype) if dtype is not None else _dtypes._Default.numpy
    return finish(np.power(base, np.linspace(start, end, steps)).astype(d), requires_grad, out)


def eye(
    n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """Ones on the diagonal of an n × m matrix, zeros elsewhere."""
    _check(device, layout, pin_memory)
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"n must be greater or equal to 0, got {n if n < 0 else m}")
    return finish(
        np.eye(n, m, dtype=to_numpy(dtype) if dtype else _dtypes._Default.numpy), requires_grad, out
    )


def empty_strided(
    size: Any,
    stride: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """A tensor of arbitrary values with the given strides (in elements).

    Raises:
        RuntimeError: not as many strides as sizes, or a negative one among them.
    """
    _check(device, layout, pin_memory)
    d = to_numpy(dtype) if dtype else _dtypes._Default.numpy
    if len(size) != len(stride):
        raise RuntimeError(
            f"dimensionality of sizes ({len(size)}) must match dimensionality of strides ({len(stride)})"
        )
    if any(n < 0 for n in size) or any(s < 0 for s in stride):
        raise RuntimeError(
            f"empty_strided: sizes and strides must not be negative, got {tuple(size)} and {tuple(stride)}"
        )
    extent = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if all(size) else 0
    raw = np.empty(extent, d)
    return finish(
        np.lib.stride_tricks.as_strided(raw, tuple(size), tuple(s * d.itemsize for s in stride)),
        requires_grad,
    )


# -- methods: new tensors like this one ----------------------------------------------------------------------------


def new_tensor(
    self: Any, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Any:
    """A new tensor with a copy of ``data``, of this tensor's dtype unless another is given."""
    return tensor(
        data, dtype=dtype or _dtypes.BY_NUMPY[self._a.dtype], device=device, requires_grad=requires_grad
    )


def _new(create: Any, name: str) -> Any:
    def method(self: Any, *size: Any, dtype: Any = None, **settings: Any) -> Any:
        return create(*size, dtype=dtype or _dtypes.BY_NUMPY[self._a.dtype], **settings)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Like :func:`{create.__name__}`, in this tensor's dtype."
    return method


new_zeros, new_ones, new_empty, new_full = (_new(f, f"new_{f.__name__}") for f in (zeros, ones, empty, full))


def new_empty_strided(
    self: Any, size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """Like :func:`empty_strided`, in this tensor's dtype."""
    return empty_strided(
        size, stride, dtype=dtype or _dtypes.BY_NUMPY[self._a.dtype], layout=layout, device=device,
        requires_grad=requires_grad, pin_memory=pin_memory,
    )  # fmt: skip


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, Variable)


FUNCTIONS = (
    "tensor", "as_tensor", "asarray", "from_numpy", "frombuffer", "from_dlpack", "scalar_tensor", "zeros", "zeros_like", "ones",
    "ones_like", "empty", "empty_like", "empty_strided", "full", "full_like", "arange", "range", "linspace", "logspace", "eye",
    "is_tensor",
)  # fmt: skip
METHODS = ("new_tensor", "new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided")
