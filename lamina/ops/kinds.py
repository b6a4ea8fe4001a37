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


METHODS = ("is_nonzero", "is_same_size", "is_conj", "is_neg")
FUNCTIONS = METHODS + tuple(
    _asked(name)
    for name in (
        "numel", "is_floating_point", "is_complex", "is_signed", "is_inference", "get_device", "detach", "detach_",
    )  # fmt: skip
)
