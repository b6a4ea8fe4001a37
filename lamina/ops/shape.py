"""Views and other changes of shape: the same numbers, seen differently.

A view shares its input's memory, so writing to one writes to the other. What cannot be a view (a flip, a reshape of
numbers that do not lie in order) is a copy, exactly where PyTorch makes one.
"""

from __future__ import annotations

import math
import warnings
from operator import index
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import BY_NUMPY, SCALAR_NAME, Size
from lamina.autograd.express import seen
from lamina.autograd.graph import Op, Variable, ViewOp, alias, type_name
from lamina.engine import kernels as k
from lamina.engine.door import detours
from lamina.ops.operands import checked, of_tensor

# -- arguments -----------------------------------------------------------------------------------------------------


def wrap_dim(dim: Any, ndim: int) -> int:
    """``dim`` counted from the front; raises ``IndexError`` if a tensor of ``ndim`` dimensions has none such."""
    if type(dim) is not int:
        dim = _integer(dim, "dim")
    n = ndim or 1
    if -n <= dim < n:
        return dim if dim >= 0 else dim + n
    raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")


def wrap_dims(dims: Any, ndim: int) -> tuple[int, ...]:
    """Several dimensions counted from the front, each at most once; an int counts as one dimension."""
    if not isinstance(dims, (tuple, list)):
        return (wrap_dim(dims, ndim),)
    found = tuple([wrap_dim(d, ndim) for d in dims])
    if len(set(found)) < len(found):
        twice = next(d for i, d in enumerate(found) if d in found[:i])
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return found


def _integer(x: Any, name: str) -> int:
    if isinstance(x, (bool, float, str)) or x is None:
        raise TypeError(f"argument '{name}' must be int, not {type(x).__name__}: {x!r}")
    return index(x)


def sizes(args: tuple, name: str = "size") -> tuple[int, ...]:
    """The sizes in ``f(2, 3)`` or ``f((2, 3))`` as a tuple of ints."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    for n in args:
        if type(n) is not int:
            return tuple([_integer(n, name) for n in args])
    return args


def tensor_list(tensors: Any, name: str) -> tuple:
    """A tuple or list of tensors as a tuple; anything else raises ``TypeError``."""
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}")
    for i, t in enumerate(tensors):
        if not isinstance(t, Variable):
            raise TypeError(f"{name}(): expected Tensor as element {i} in argument 0, but got {type(t).__name__}")
    return tuple(tensors)


def infer_size(shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """``shape`` with its −1, if any, replaced by what makes it hold ``numel`` elements."""
    known, unknown = 1, -1
    for i, n in enumerate(shape):
        if n >= 0:
            known *= n
        elif n == -1:
            if unknown >= 0:
                raise RuntimeError("only one dimension can be inferred")
            unknown = i
        else:
            raise RuntimeError(f"invalid shape dimension {n} at index {i} of shape {list(shape)}")
    if unknown < 0:
        if known == numel:
            return shape
    elif known:
        if numel % known == 0:
            return (*shape[:unknown], numel // known, *shape[unknown + 1 :])
    elif numel == 0:
        raise RuntimeError(
            f"cannot reshape tensor of 0 elements into shape {list(shape)} because the unspecified dimension size -1 can be any "
            "value and is ambiguous"
        )
    raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {numel}")


# -- views ---------------------------------------------------------------------------------------------------------


class _Memory:
    """What NumPy makes an array of when it is handed an address: the way to a view of any strides."""

    __slots__ = ("__array_interface__", "base")

    def __init__(self, interface: dict, base: np.ndarray) -> None:
        self.__array_interface__, self.base = interface, base


def strided(
    a: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, dtype: np.dtype | None = None
) -> np.ndarray:
    """A view of the memory at ``a``, with strides and offset in bytes; the caller answers for the bounds."""
    dtype = dtype or a.dtype
    if a.flags.c_contiguous and a.size:
        try:
            return np.ndarray(shape, dtype, a, offset, strides)  # checks the bounds, and is ten times faster
        except (TypeError, ValueError):
            pass
    interface = dict(a.__array_interface__)
    address, readonly = interface["data"]
    interface["shape"], interface["strides"], interface["data"] = shape, strides, (address + offset, readonly)
    interface["typestr"], interface["descr"] = dtype.str, [("", dtype.str)]
    view = np.asarray(_Memory(interface, a))
    return view if view.dtype is dtype else view.view(dtype)  # NumPy's protocol has no name for bfloat16


class Look(ViewOp):
    """A view ``look(array, *arguments)`` that shows each element at most once;   dL/dx = g in its place, 0 elsewhere"""

    @staticmethod
    def look(a: np.ndarray, *arguments: Any) -> np.ndarray:
        raise NotImplementedError

    @staticmethod
    def forward(ctx, x, *arguments):
        ctx.shape, ctx.arguments = x._a.shape, arguments
        return ctx.look(x._a, *arguments)

    @staticmethod
    def backward(ctx, grad):
        return Embed.apply(grad, ctx.shape, type(ctx), ctx.arguments)


class Embed(Op):
    """Zeros with x in the place that a view shows;   dL/dx = that view of g"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, shape, view, arguments):
        ctx.view, ctx.arguments = view, arguments
        return k.embed(x._a, shape, view.look, arguments)

    @staticmethod
    def backward(ctx, grad):
        return ctx.view.apply(grad, *ctx.arguments), None, None, None


class View(ViewOp):
    """x in another shape;   dL/dx = g in the old shape"""

    @staticmethod
    def forward(ctx, x, shape):
        a = x._a
        ctx.shape = a.shape
        try:
            v = a.reshape(shape)
        except ValueError:
            infer_size(shape, a.size)  # says what is wrong
            raise
        if not a.flags.c_contiguous and a.size and not np.may_share_memory(a, v):
            raise RuntimeError(
                "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
                f"contiguous subspaces): shape {list(a.shape)}, stride {list(x.stride())} cannot be seen as {list(shape)}. "
                "Use .reshape(...) instead."
            )
        return v

    @staticmethod
    def backward(ctx, grad):
        return reshape(grad, ctx.shape)


class UnsafeView(Op):
    """A copy of x in another shape;   dL/dx = g in the old shape"""

    any_dtype = True

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x._a.shape
        return k.reshape_copy(x._a, shape)

    @staticmethod
    def backward(ctx, grad):
        return reshape(grad, ctx.shape), None


def _viewable(a: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether ``a`` can take ``shape`` without a copy."""
    if a.flags.c_contiguous or not a.size:
        return True
    # Runs of axes that lie in order in memory, innermost first, as [elements, innermost stride] ...
    runs: list[list[int]] = []
    for n, s in zip(reversed(a.shape), reversed(a.strides), strict=True):
        if n == 1:
            continue
        if runs and s == runs[-1][0] * runs[-1][1]:
            runs[-1][0] *= n
        else:
            runs.append([n, s])
    # ... each of which a group of the new axes must fill exactly.
    todo = iter(n for n in reversed(shape) if n != 1)
    for elements, _ in runs:
        filled = 1
        while filled < elements:
            filled *= next(todo)
        if filled != elements:
            return False
    return True


def _view(input: Any, shape: tuple[int, ...]) -> Any:
    """``View.apply``, by the express lane if the tensor is contiguous; one size may be −1."""
    a = input._a
    if a.flags.c_contiguous and not detours:
        try:
            v = a.reshape(shape)
        except ValueError:
            return View.apply(input, shape)  # says what is wrong
        found = v.shape
        if found == shape or min(shape) == -1:  # NumPy takes any negative size for a −1
            return seen(View, input, v, (found,))
    return View.apply(input, infer_size(shape, a.size))


def view(input: Any, *shape: Any, size: Any = None, dtype: Any = None) -> Any:
    """The same memory in another shape, one of whose sizes may be −1; or, given a dtype, its bytes read as that dtype.

    Raises ``RuntimeError`` if the sizes do not multiply up to the number of elements, or if the elements do not lie in
    memory in the order that the new shape asks for (then ``reshape`` copies).
    """
    if dtype is None and size is None and shape:
        for n in shape:
            if type(n) is not int:
                break
        else:
            return _view(input, shape)
    if size is not None:
        shape = (size,)
    if dtype is not None or (len(shape) == 1 and isinstance(shape[0], _dtypes.dtype)):
        return _view_dtype(input, dtype or shape[0])
    if not shape:
        raise TypeError("view() received no arguments, but expects a shape or a dtype")
    return _view(input, sizes(shape))


def _view_dtype(input: Any, dtype: _dtypes.dtype) -> Any:
    a, new = input._plain(), dtype.numpy
    if a.dtype == new:
        return View.apply(input, a.shape)
    old = a.dtype.itemsize
    if old != new.itemsize:
        names = f"to view {SCALAR_NAME[BY_NUMPY[a.dtype]]} as {SCALAR_NAME[dtype]} (different element sizes)"
        if a.ndim == 0:
            raise RuntimeError(f"self.dim() cannot be 0 {names}")
        if a.shape[-1] > 1 and a.strides[-1] != old:
            raise RuntimeError(f"self.stride(-1) must be 1 {names}, but got {a.strides[-1] // old}")
        if new.itemsize > old:
            ratio = new.itemsize // old
            if a.shape[-1] % ratio:
                raise RuntimeError(f"self.size(-1) must be divisible by {ratio} {names}, but got {a.shape[-1]}")
            for i, s in enumerate(a.strides[:-1]):
                if s % new.itemsize and a.shape[i] > 1:
                    raise RuntimeError(f"self.stride({i}) must be divisible by {ratio} {names}, but got {s // old}")
    t = alias(input)
    if a.size:
        t._a = a.view(new)
    else:
        last = (a.shape[-1] * old // new.itemsize,) if a.ndim else ()
        t._a = np.empty((*a.shape[:-1], *last), new)
    return t


def view_as(input: Any, other: Any) -> Any:
    """``input.view(other.shape)``."""
    return View.apply(input, infer_size(checked(other, "view_as")._a.shape, input._a.size))


@of_tensor
def reshape(input: Any, *args: Any, shape: Any = None) -> Any:
    """``input`` in another shape, one of whose sizes may be −1: a view where memory order allows, otherwise a copy."""
    to = sizes(args if shape is None else (shape,), "shape")
    a = input._a
    if not (a.flags.c_contiguous or input._hidden):
        to = infer_size(to, a.size)
        if not _viewable(a, to):
            return UnsafeView.apply(input, to)
    return _view(input, to)


def reshape_as(input: Any, other: Any) -> Any:
    """``input.reshape(other.shape)``."""
    return reshape(input, checked(other, "reshape_as")._a.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dimensions ``start_dim`` to ``end_dim`` merged into one."""
    s = checked(input, "flatten")._a.shape
    n = len(s)
    start, end = wrap_dim(start_dim, n), wrap_dim(end_dim, n)
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if n == 0:
        return View.apply(input, (1,))
    if start == end:
        return input
    merged = math.prod(s[start : end + 1])
    return (_view if input._a.flags.c_contiguous else reshape)(input, (*s[:start], merged, *s[end + 1 :]))


@of_tensor
def ravel(input: Any) -> Any:
    """All elements in one row."""
    return reshape(input, (-1,) if input._a.size else (0,))


@of_tensor
def unflatten(input: Any, dim: int, sizes: Any) -> Any:  # noqa: A002
    """Dimension ``dim`` split into several, of ``sizes``, one of which may be −1."""
    s = input._a.shape
    d = wrap_dim(dim, len(s))
    parts = tuple([_integer(n, "sizes") for n in sizes])
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    if not s:
        raise RuntimeError("unflatten: a 0-dim tensor has no dimension to split")
    try:
        parts = infer_size(parts, s[d])
    except RuntimeError as error:
        if "only one" in str(error) or "invalid shape dimension" in str(error):
            raise
        raise RuntimeError(
            f"unflatten: Provided sizes {list(parts)} don't multiply up to the size of dim {d} ({s[d]}) in the input tensor"
        ) from None
    return View.apply(input, (*s[:d], *parts, *s[d + 1 :]))


class Permute(ViewOp):
    """x with its dimensions in another order;   dL/dx = g with them back in the old one"""

    @staticmethod
    def forward(ctx, x, dims):
        ctx.arguments = (dims,)
        return x._a.transpose(dims)

    @staticmethod
    def backward(ctx, grad):
        (dims,) = ctx.arguments
        inverse = [0] * len(dims)
        for i, d in enumerate(dims):
            inverse[d] = i
        return Permute.apply(grad, tuple(inverse))


class Transpose(ViewOp):
    """x with two dimensions swapped;   dL/dx = g with them swapped back"""

    @staticmethod
    def forward(ctx, x, dim0, dim1):
        ctx.arguments = dim0, dim1
        return x._a.swapaxes(dim0, dim1)

    @staticmethod
    def backward(ctx, grad):
        return transpose(grad, *ctx.arguments)


class T(Transpose):
    """The transpose of a matrix"""


@of_tensor
def permute(input: Any, *args: Any, dims: Any = None) -> Any:
    """A view with the dimensions in the order ``dims``."""
    order = sizes(args if dims is None else (dims,), "dims")
    n = input._a.ndim
    if len(order) != n:
        raise RuntimeError(
            "permute(): number of dimensions in the tensor input does not match the length of the desired ordering of "
            f"dimensions i.e. input.dim() = {n} is not equal to len(dims) = {len(order)}"
        )
    if set(order) != set(range(n)):
        order = tuple([wrap_dim(d, n) for d in order])
        if len(set(order)) != n:
            raise RuntimeError("permute(): duplicate dims are not allowed.")
    return _permute(input, order)


@of_tensor
def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """A view with dimensions ``dim0`` and ``dim1`` swapped."""
    a = input._a
    n = a.ndim
    if type(dim0) is int and type(dim1) is int and -n <= dim0 < n and -n <= dim1 < n and not (detours or input._hidden):
        dim0, dim1 = dim0 % n, dim1 % n
        turned = a.T if n == 2 and dim0 != dim1 else a.swapaxes(dim0, dim1)  # the first takes half the time
        return seen(Transpose, input, turned, (dim0, dim1))
    dim0, dim1 = wrap_dim(dim0, n), wrap_dim(dim1, n)
    return Transpose.apply(input, dim0, dim1) if n else View.apply(input, ())


def swapaxes(input: Any, axis0: int, axis1: int) -> Any:
    """A view with dimensions ``axis0`` and ``axis1`` swapped."""
    return transpose(input, axis0, axis1)


def swapdims(input: Any, dim0: int, dim1: int) -> Any:
    """A view with dimensions ``dim0`` and ``dim1`` swapped."""
    return transpose(input, dim0, dim1)


def t(input: Any) -> Any:
    """The transpose of a matrix; a tensor of fewer dimensions as it is."""
    n = checked(input, "t")._a.ndim
    if n == 2 and not (detours or input._hidden):
        return seen(T, input, input._a.T, (0, 1))
    if n > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {n}D")
    return T.apply(input, 0, 1) if n == 2 else View.apply(input, input._a.shape)


def _T(input: Any) -> Any:
    """``tensor.T``: all dimensions in reverse order."""
    n = input._a.ndim
    if n == 2:
        return _permute(input, (1, 0))
    if n != 2:
        warnings.warn(
            "The use of `x.T` on tensors of dimension other than 2 to reverse their shape is deprecated and it will throw an "
            "error in a future release. Consider `x.mT` to transpose batches of matrices or `x.permute(*torch.arange(x.ndim "
            "- 1, -1, -1))` to reverse the dimensions of a tensor.",
            UserWarning,
            stacklevel=3,
        )
    return Permute.apply(input, tuple(range(n - 1, -1, -1)))


def _permute(input: Any, order: tuple[int, ...]) -> Any:
    """``Permute.apply``, by the express lane."""
    if detours or input._hidden:
        return Permute.apply(input, order)
    a = input._a
    return seen(Permute, input, a.T if order == (1, 0) else a.transpose(order), (order,))


def _matrices(input: Any, name: str) -> Any:
    """``input`` with its last two dimensions swapped (a 0-d tensor as it is, with a warning)."""
    n = input._a.ndim
    if n == 1:
        raise RuntimeError(f"tensor.{name} is only supported on matrices or batches of matrices. Got 1-D tensor.")
    if n == 0:
        warnings.warn(
            f"Tensor.{name} is deprecated on 0-D tensors. This function is the identity in these cases.", UserWarning,
            stacklevel=4
        )
        return View.apply(input, ())
    return transpose(input, -2, -1)


def _conjugate(input: Any) -> Any:
    return input.conj() if input._a.dtype.kind == "c" else input


def _mT(input: Any) -> Any:
    """``tensor.mT``: the last two dimensions swapped."""
    return _matrices(input, "mT")


def _mH(input: Any) -> Any:
    """``tensor.mH``: the last two dimensions swapped, conjugated."""
    return _conjugate(_matrices(input, "mH"))


def _H(input: Any) -> Any:
    """``tensor.H``: the conjugate transpose of a matrix."""
    n = input._a.ndim
    if n not in (0, 2):
        hint = " For batches of matrices, consider using tensor.mH" if n > 2 else ""
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {n}-D tensor.{hint}")
    return _conjugate(_matrices(input, "H"))


@of_tensor
def adjoint(input: Any) -> Any:
    """The last two dimensions swapped, conjugated."""
    return _conjugate(_matrices(input, "adjoint()"))


@of_tensor
def movedim(input: Any, source: Any, destination: Any) -> Any:
    """A view with the dimensions at ``source`` moved to ``destination``, the others in their order."""
    n = input._a.ndim
    source, destination = ((d,) if not isinstance(d, (tuple, list)) else tuple(d) for d in (source, destination))
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number of dims "
            f"as destination ({list(destination)} dims)"
        )
    moved = [tuple([wrap_dim(d, n) for d in dims]) for dims in (source, destination)]
    for name, dims, given in (("source", moved[0], source), ("destination", moved[1], destination)):
        if len(set(dims)) < len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({list(given)})")
    if not n:
        return View.apply(input, ())
    rest = iter([d for d in range(n) if d not in moved[0]])
    at = dict(zip(moved[1], moved[0], strict=True))
    return Permute.apply(input, tuple([at[i] if i in at else next(rest) for i in range(n)]))


moveaxis = movedim


class Squeeze(View):
    """x without some dimensions of size 1;   dL/dx = g with them"""


class Unsqueeze(View):
    """x with a new dimension of size 1;   dL/dx = g without it"""

    @staticmethod
    def forward(ctx, x, dim):
        a = x._a
        ctx.shape = a.shape
        if a.flags.c_contiguous:
            return a.reshape((*a.shape[:dim], 1, *a.shape[dim:]))
        return a[(*(slice(None),) * dim, None)]


@of_tensor
def squeeze(input: Any, dim: Any = None) -> Any:
    """A view without the dimensions of size 1, or without those of them that ``dim`` names."""
    s = input._a.shape
    if dim is None:
        rest = tuple([n for n in s if n != 1])
    else:
        dims = (wrap_dim(dim, len(s)),) if type(dim) is int else wrap_dims(dim, len(s))
        rest = tuple([n for i, n in enumerate(s) if n != 1 or i not in dims])
    if detours or input._hidden:
        return Squeeze.apply(input, rest)
    return seen(Squeeze, input, input._a.reshape(rest), (rest,))


@of_tensor
def unsqueeze(input: Any, dim: int) -> Any:
    """A view with a new dimension of size 1 at ``dim``."""
    a = input._a
    if a.flags.c_contiguous and not (detours or input._hidden):
        at, s = wrap_dim(dim, a.ndim + 1), a.shape
        return seen(Unsqueeze, input, a.reshape((*s[:at], 1, *s[at:])), (at,))
    return Unsqueeze.apply(input, wrap_dim(dim, input._a.ndim + 1))


class Expand(ViewOp):
    """x repeated, without a copy, along dimensions of size 1 and new ones;   dL/dx = g summed over them (by the walk)"""

    @staticmethod
    def forward(ctx, x, shape):
        a = x._a
        lead = len(shape) - a.ndim
        strides = [0] * lead
        for n, m, s in zip(a.shape, shape[lead:], a.strides, strict=True):
            strides.append(s if n == m else 0)
        return strided(a, shape, tuple(strides))

    @staticmethod
    def backward(ctx, grad):
        return grad


def expand(input: Any, *args: Any, size: Any = None, implicit: bool = False) -> Any:
    """A view in which dimensions of size 1, and new ones in front, are repeated; −1 keeps a size."""
    shape = sizes(args if size is None else (size,))
    a = input._a
    lead = len(shape) - a.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand({type_name(a)}{{{list(a.shape)}}}, size={list(shape)}): the number of sizes provided ({len(shape)}) must be "
            f"greater or equal to the number of dimensions in the tensor ({a.ndim})"
        )
    full, strides = list(shape), [0] * len(shape)
    for i in range(len(shape) - 1, -1, -1):
        m = shape[i]
        if i < lead:
            if m < 0:
                raise RuntimeError(
                    f"The expanded size of the tensor ({m}) isn't allowed in a leading, non-existing dimension {i}"
                )
            continue
        n = a.shape[i - lead]
        if m == -1 or m == n:
            full[i], strides[i] = n, a.strides[i - lead]
        elif (n != 1 or m < 0):
            raise RuntimeError(
                f"The expanded size of the tensor ({m}) must match the existing size ({n}) at non-singleton dimension "
                f"{i}.  Target sizes: {list(shape)}.  Tensor sizes: {list(a.shape)}"
            )
    if detours or input._hidden:
        return Expand.apply(input, tuple(full))
    shape = tuple(full)
    return seen(Expand, input, strided(a, shape, tuple(strides)), (shape,))


def expand_as(input: Any, other: Any) -> Any:
    """``input.expand(other.shape)``."""
    return expand(input, checked(other, "expand_as")._a.shape)


@of_tensor
def broadcast_to(input: Any, *args: Any, size: Any = None) -> Any:
    """``input.expand(size)``."""
    return expand(input, *args, size=size)


def broadcast_shapes(*shapes: Any) -> Size:
    """The shape to which tensors of the given shapes broadcast; raises ``RuntimeError`` if they do not."""
    shapes = tuple((s,) if isinstance(s, int) else tuple(s) for s in shapes)
    result = [1] * max(map(len, shapes), default=0)
    for j, shape in enumerate(shapes):
        for i in range(1, len(shape) + 1):
            n = shape[-i]
            if n < 0:
                raise RuntimeError(f"Trying to create tensor with negative dimension ({n}): ({list(shape)})")
            if n == 1 or n == result[-i]:
                continue
            if result[-i] != 1:
                raise RuntimeError(
                    f"Attempting to broadcast a dimension of length {n} at {-i}! Mismatching argument at index {j} had {shape}; "
                    f"but expected shape should be broadcastable to {result}"
                )
            result[-i] = n
    return Size(result)


def broadcast_tensors(*tensors: Any) -> tuple:
    """The tensors as views of one common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    shape: tuple = ()
    for x in tensor_list(tensors, "broadcast_tensors"):
        b = x._a.shape
        for i in range(1, min(len(shape), len(b)) + 1):
            if shape[-i] != b[-i] and 1 not in (shape[-i], b[-i]):
                raise RuntimeError(
                    f"The size of tensor a ({shape[-i]}) must match the size of tensor b ({b[-i]}) at non-singleton dimension "
                    f"{max(len(shape), len(b)) - i}"
                )
        shape = broadcast_shapes(shape, b)
    return tuple(x if x._a.shape == shape else expand(x, shape) for x in tensors)


class SumToSize(Op):
    """x summed over the dimensions that a smaller shape would be repeated along;   dL/dx = g, repeated"""

    @staticmethod
    def forward(ctx, x, shape):
        ctx.shape = x._a.shape
        lead = len(ctx.shape) - len(shape)
        axes = tuple([i for i, n in enumerate(ctx.shape) if i < lead or n != shape[i - lead]])
        dtype = None if x._a.dtype.kind in "fcV" else np.dtype(np.int64)
        return k.sum(x._a, axes, True, dtype).reshape(shape)

    @staticmethod
    def backward(ctx, grad):
        return Expand.apply(grad, ctx.shape), None


def sum_to_size(input: Any, *size: Any) -> Any:
    """``input`` summed so that it has a shape which broadcasts to its own."""
    shape = sizes(size)
    s = input._a.shape
    if s == shape:
        return input
    lead = len(s) - len(shape)
    if lead < 0 or any(n not in (m, 1) for m, n in zip(s[lead:], shape, strict=True)):
        raise RuntimeError(f"size {{{list(shape)}}} is not expandable to size {{{list(s)}}}.")
    return SumToSize.apply(input, shape)


FUNCTIONS = (
    "reshape", "flatten", "ravel", "unflatten", "permute", "transpose", "swapaxes", "swapdims", "t", "adjoint",
    "movedim",
    "moveaxis", "squeeze", "unsqueeze", "broadcast_to", "broadcast_shapes", "broadcast_tensors",
)  # fmt: skip
METHODS = (
    *(n for n in FUNCTIONS if n not in ("broadcast_shapes", "broadcast_tensors")), "view", "view_as", "reshape_as",
    "expand",
    "expand_as", "sum_to_size",
)  # fmt: skip
