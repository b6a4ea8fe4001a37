"""What elementwise operations share: the common dtype of operands, errors of broadcasting, and ``out=``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import RANK, promote_numpy, scalar_dtype
from lamina.autograd.graph import Variable, check_cast, mode, overwrite, wrap


def not_a_tensor(x: Any, function: str, argument: str = "input", position: int = 1) -> TypeError:
    """PyTorch's error for an argument that should have been a tensor."""
    return TypeError(
        f"{function}(): argument '{argument}' (position {position}) must be Tensor, not {type(x).__name__}"
    )


def checked(x: Any, function: str) -> Any:
    """A tensor itself; anything else raises ``TypeError``."""
    if not isinstance(x, Variable):
        raise not_a_tensor(x, function)
    return x


def array_of(x: Any, function: str) -> np.ndarray:
    """The array of a tensor; anything else raises ``TypeError``."""
    if not isinstance(x, Variable):
        raise not_a_tensor(x, function)
    return x._a


def of_tensor(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose first argument must be a tensor. A method needs no check: the tables take ``unchecked`` for it."""

    @functools.wraps(function)
    def checking(input: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input, Variable):
            raise not_a_tensor(input, function.__name__)
        return function(input, *args, **kwargs)

    checking.unchecked = function  # type: ignore[attr-defined]
    return checking


def _category(x: Any) -> tuple[int, np.dtype]:
    """(0 for a dimensioned tensor, 1 for a zero-dimensional one, 2 for a number; its dtype)."""
    if isinstance(x, Variable):
        return (0 if x._a.ndim else 1), x._a.dtype
    if isinstance(x, np.ndarray):
        return (0 if x.ndim else 1), x.dtype
    return 2, scalar_dtype(x)


def result_numpy_dtype(*operands: Any) -> np.dtype:
    """PyTorch's ``result_type``: the strongest kind of operand decides, unless a weaker one is of a higher category."""
    best: list[Any] = [None, None, None]
    for x in operands:
        level, dtype = _category(x)
        best[level] = dtype if best[level] is None else promote_numpy(best[level], dtype)
    result: Any = None
    for dtype in best:
        if dtype is None:
            continue
        if result is None:
            result = dtype
        elif RANK[dtype] > RANK[result]:
            if (
                RANK[result] == 2 and RANK[dtype] == 3
            ):  # a real tensor beside a complex number keeps its precision
                result = _dtypes.BY_NUMPY[result].to_complex().numpy
            else:
                result = dtype
    return result


def result_type(tensor1: Any, tensor2: Any) -> _dtypes.dtype:
    """The dtype of an arithmetic operation on the two arguments, each a tensor or a number."""
    return _dtypes.BY_NUMPY[result_numpy_dtype(tensor1, tensor2)]


def _as_array(x: Any, dtype: np.dtype) -> Any:
    if isinstance(x, Variable):
        a = x._a
    elif isinstance(x, np.ndarray):
        a = x
    else:
        if dtype.kind in "iu" and isinstance(x, int):  # wrap around, as a cast in C does
            bits = 8 * dtype.itemsize
            x = (
                (x + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
                if dtype.kind == "i"
                else x % (1 << bits)
            )
        return np.array(x, dtype)
    return a if a.dtype is dtype else a.astype(dtype)


def operands(x: Any, y: Any) -> tuple[Any, Any]:
    """The arrays of two operands in their common dtype; the second may stay a Python number."""
    if isinstance(x, Variable):
        a = x._a
        if isinstance(y, Variable):
            if a.dtype is y._a.dtype:
                return a, y._a
        else:
            kind = type(y)
            if (kind is float or kind is int) and a.dtype.kind == "f":
                return a, y
    dtype = result_numpy_dtype(x, y)
    return _as_array(x, dtype), _as_array(y, dtype)


def _broadcastable(a: Any, b: Any, error: ValueError) -> RuntimeError:
    """PyTorch's error for two shapes that do not broadcast."""
    s, t = np.shape(a), np.shape(b)
    for i in range(1, min(len(s), len(t)) + 1):
        if s[-i] != t[-i] and 1 not in (s[-i], t[-i]):
            dim = max(len(s), len(t)) - i
            return RuntimeError(
                f"The size of tensor a ({s[-i]}) must match the size of tensor b ({t[-i]}) at non-singleton dimension {dim}"
            )
    return RuntimeError(str(error))


def _call(kernel: Any, a: Any, b: Any) -> Any:
    try:
        return kernel(a, b)
    except ValueError as error:
        raise _broadcastable(a, b, error) from None


def store(out: Any, result: Any) -> Any:
    """Write a result into the tensor that a caller gave as ``out``; resizes it when its shape differs."""
    if not isinstance(out, Variable):
        raise TypeError(f"out must be a Tensor, not {type(out).__name__}")
    if result._requires or (out._requires and out._node is None):
        if mode.enabled:
            raise RuntimeError(
                "functions with out=... arguments don't support automatic differentiation, but one of the arguments requires "
                "grad."
            )
    check_cast(result._a.dtype, out._a.dtype)
    if out._a.shape != result._a.shape:
        out._a = np.empty(result._a.shape, out._a.dtype)
    return overwrite(out, result)


def store_or_return(out: Any, result: Any) -> Any:
    return result if out is None else store(out, result)


def zeros_like(x: Any) -> Any:
    """Zeros of a tensor's shape and dtype, without a history."""
    return wrap(np.zeros_like(x._a))


def floating(x: Any) -> Any:
    """The array of a tensor, in the default floating dtype if it holds integers."""
    a = x._a
    return a if a.dtype.kind in "fcV" else a.astype(_dtypes._Default.wide)


FUNCTIONS = ("result_type",)
