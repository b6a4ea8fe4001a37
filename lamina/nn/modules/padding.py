"""Padding layers in one, two and three dimensions: one layer, of which `ndim` and the mode are data."""

from __future__ import annotations

import operator
from typing import Any

from lamina._tensor import Tensor
from lamina.nn import functional as F
from lamina.nn.modules.module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d", "ReflectionPad1d",
    "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d",
    "ZeroPad3d",
]  # fmt: skip


class _PadNd(Module):
    __constants__ = ["padding"]
    ndim: int
    mode: str
    padding: tuple[int, ...]

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        self.padding = self._amounts(padding)

    def _amounts(self, padding: Any) -> tuple[int, ...]:
        """(before, after) of the last dimension, then of the one before it: one int stands for all of them."""
        try:
            return tuple(map(operator.index, padding if isinstance(padding, (tuple, list)) else (padding,) * (2 * self.ndim)))
        except TypeError:
            raise TypeError(
                f"{type(self).__name__}: padding must be an int or {2 * self.ndim} ints, got {padding!r}"
            ) from None

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPadNd(_PadNd):
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self.ndim + 1, self.ndim + 2):
            raise ValueError(f"expected {self.ndim + 1}D or {self.ndim + 2}D input (got {input.dim()}D input)")
        return F.pad(input, self.padding, self.mode)


class _ConstantPadNd(_PadNd):
    __constants__ = ["padding", "value"]
    value: float

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        Module.__init__(self)
        self.value = value
        self.padding = self._amounts(padding)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _Zero(_ConstantPadNd):
    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    mode = "reflect"


class _ReplicationPadNd(_PadNd):
    mode = "replicate"


_DOC = r"""<what>

    Args:
        padding (int or tuple): how many entries are added on every side, or (<sides>); negative numbers cut entries off.<value>

    Shape:
        input <shape>, output the same, longer by what is added before and after each dimension.

    Raises:
        TypeError: `padding` is neither an int nor a sequence of ints.
        <raises>

    >>> nn.<name>(<arguments>)(lamina.arange(4.0).reshape(<size>)).flatten()[-3:].tolist()
    [2.0, 3.0, <last>]
    """

# What each kind does, what its `forward` raises, and what it puts after 0, 1, 2, 3.
_RANK = "{}: in `forward`, an input of another rank.\n        RuntimeError: in `forward`, more padding than the input serves."
_FREE = "RuntimeError: in `forward`, an input of too few dimensions, or a result of negative size."
_KINDS = {
    "Circular": ("Continues <the> at the other end, as if it were a ring.", _RANK.format("ValueError"), 0.0),
    "Constant": ("Surrounds <the> with a constant.", _FREE, 0.5),
    "Reflection": ("Mirrors <the> about its border, without repeating the border.", _RANK.format("NotImplementedError"), 2.0),
    "Replication": ("Repeats the border of <the>.", _RANK.format("NotImplementedError"), 3.0),
    "Zero": ("Surrounds <the> with zeros.", _FREE, 0.0),
}


def _doc(kind: str, ndim: int) -> str:
    """A layer's docstring: `<...>` in the template is filled in."""
    what, raises, last = _KINDS[kind]
    sizes = ("L", "H, W", "D, H, W")[ndim - 1]
    pairs = ", ".join(["0, 1"] + ["0, 0"] * (ndim - 1))
    constant = kind == "Constant"
    filled = {
        "what": what,
        "the": ("a sequence", "an image", "a volume")[ndim - 1],
        "sides": ", ".join(("left, right", "top, bottom", "front, back")[:ndim]),
        "value": "\n        value (float): what is added." if constant else "",
        "shape": f":math:`(*, {sizes})`" if raises is _FREE else f":math:`(N, C, {sizes})` or :math:`(C, {sizes})`",
        "raises": raises,
        "name": f"{kind}Pad{ndim}d",
        "arguments": f"({pairs}), 0.5" if constant else f"({pairs})",
        "size": ", ".join(["1"] * (ndim + 1) + ["4"]),
        "last": str(last),
    }
    text = _DOC
    for name, value in filled.items():
        text = text.replace(f"<{name}>", value)
    return text


class CircularPad1d(_CircularPadNd):
    __doc__ = _doc("Circular", 1)
    ndim = 1


class CircularPad2d(_CircularPadNd):
    __doc__ = _doc("Circular", 2)
    ndim = 2


class CircularPad3d(_CircularPadNd):
    __doc__ = _doc("Circular", 3)
    ndim = 3


class ConstantPad1d(_ConstantPadNd):
    __doc__ = _doc("Constant", 1)
    ndim = 1


class ConstantPad2d(_ConstantPadNd):
    __doc__ = _doc("Constant", 2)
    ndim = 2


class ConstantPad3d(_ConstantPadNd):
    __doc__ = _doc("Constant", 3)
    ndim = 3


class ReflectionPad1d(_ReflectionPadNd):
    __doc__ = _doc("Reflection", 1)
    ndim = 1


class ReflectionPad2d(_ReflectionPadNd):
    __doc__ = _doc("Reflection", 2)
    ndim = 2


class ReflectionPad3d(_ReflectionPadNd):
    __doc__ = _doc("Reflection", 3)
    ndim = 3


class ReplicationPad1d(_ReplicationPadNd):
    __doc__ = _doc("Replication", 1)
    ndim = 1


class ReplicationPad2d(_ReplicationPadNd):
    __doc__ = _doc("Replication", 2)
    ndim = 2


class ReplicationPad3d(_ReplicationPadNd):
    __doc__ = _doc("Replication", 3)
    ndim = 3


class ZeroPad1d(_Zero, ConstantPad1d):
    __doc__ = _doc("Zero", 1)


class ZeroPad2d(_Zero, ConstantPad2d):
    __doc__ = _doc("Zero", 2)


class ZeroPad3d(_Zero, ConstantPad3d):
    __doc__ = _doc("Zero", 3)
