"""Questions about a tensor, which are functions as well as methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.ops.operands import checked, not_a_tensor, of_tensor


def _asked(name: str) -> Callable[..., Any]:
    """The function form of a method without arguments."""

    def function(input: Any) -> Any:
        return getattr(checked(input, name), name)()

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The method :meth:`lamina.Tensor.{name}` of a tensor."
    return function


@of_tensor
def is_nonzero(input: Any) -> bool:
    """Whether the only element is not zero; raises ``RuntimeError`` if there are none or several."""
    return bool(input)


@of_tensor
def is_same_size(input: Any, other: Any) -> bool:
    """Whether two tensors have one shape."""
    if not hasattr(other, "_a"):
        raise not_a_tensor(other, "is_same_size", "other", 2)
    return input._a.shape == other._a.shape


@of_tensor
def is_conj(input: Any) -> bool:
    """False: a conjugate is computed at once, never only noted."""
    return False


@of_tensor
def is_neg(input: Any) -> bool:
    """False: a negative is computed at once, never only noted."""
    return False


# -- what only sparse tensors have ---------------------------------------------------------------------------------


def sparse_dim(self: Any) -> int:
    """The number of sparse dimensions: 0, as the tensor is dense."""
    return 0


def dense_dim(self: Any) -> int:
    """The number of dense dimensions: all of them."""
    return self._a.ndim


def _of_layout(name: str, wanted: str) -> Callable[..., Any]:
    """A method of tensors of another layout."""

    def method(self: Any) -> Any:
        layout = "Sparse" if self.is_sparse else "Strided"
        raise RuntimeError(f"{name} expected {wanted} tensor layout but got {layout}")

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Raises ``RuntimeError``: the layout is not {wanted}."
    return method


def _of_parts(name: str) -> Callable[..., Any]:
    """A method of the inside of sparse tensors."""

    def method(self: Any) -> Any:
        raise NotImplementedError(f"Tensor.{name}: a dense tensor has no such part, only a sparse one has")

    method.__name__ = method.__qualname__ = name
    method.__doc__ = "Raises ``NotImplementedError``: the tensor is not sparse."
    return method


_questions = ("is_nonzero", "is_same_size", "is_conj", "is_neg")
METHODS = (
    *_questions, "sparse_dim", "dense_dim",
    *(_of_layout(name, "sparse coordinate") for name in ("coalesce", "is_coalesced", "indices")),
    _of_layout("values", "sparse"),
    *(_of_layout(name, "sparse row compressed") for name in ("crow_indices", "col_indices")),
    *(_of_layout(name, "sparse column compressed") for name in ("ccol_indices", "row_indices")),
    *map(_of_parts, ("_indices", "_values", "_nnz", "_dimI", "_dimV")),
)  # fmt: skip
FUNCTIONS = _questions + tuple(
    _asked(name)
    for name in (
        "numel", "is_floating_point", "is_complex", "is_signed", "is_inference", "get_device", "detach", "detach_",
    )  # fmt: skip
)
