"""The copying forms of views (``transpose_copy`` and its kin), from a table, and what writes into a view of a copy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lamina import _dtypes
from lamina.autograd.graph import inplace
from lamina.ops import complex as complex_
from lamina.ops import join, layout, parts, shape
from lamina.ops.creation import empty
from lamina.ops.linalg import addmv
from lamina.ops.operands import checked, store_or_return

_VIEWS: dict[str, Callable[..., Any]] = {
    "alias": lambda input: input.view_as(input), "as_strided": layout.as_strided, "detach": lambda input: input.detach(),
    "diagonal": parts.diagonal, "expand": shape.expand, "permute": shape.permute, "select": parts.select,
    "slice": lambda input, dim=0, start=None, end=None, step=1: input[
        (slice(None),) * shape.wrap_dim(dim, input.dim()) + (slice(start, end, step),)
    ],
    "squeeze": shape.squeeze, "t": shape.t, "transpose": shape.transpose, "unfold": parts.unfold,
    "unsqueeze": shape.unsqueeze, "view": shape.view, "view_as_complex": complex_.view_as_complex,
    "view_as_real": complex_.view_as_real,
}  # fmt: skip
_SEVERAL: dict[str, Callable[..., Any]] = {
    "split": join.split, "split_with_sizes": join.split_with_sizes, "unbind": join.unbind,
}  # fmt: skip


def _copying(name: str, view: Callable[..., Any], several: bool) -> Callable[..., Any]:
    def function(input: Any, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        seen = view(checked(input, f"{name}_copy"), *args, **kwargs)
        if not several:
            return store_or_return(out, seen.clone(memory_format=_dtypes.contiguous_format))
        copies = tuple(x.clone(memory_format=_dtypes.contiguous_format) for x in seen)
        if out is None:
            return copies
        return tuple(store_or_return(o, c) for o, c in zip(out, copies, strict=True))

    function = functools.wraps(view)(function)
    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"What ``{name}`` shows, as a copy."
    return function


_made = tuple(
    _copying(name, view, table is _SEVERAL) for table in (_VIEWS, _SEVERAL) for name, view in table.items()
)


def as_strided_scatter(input: Any, src: Any, size: Any, stride: Any, storage_offset: int | None = None) -> Any:
    """A copy of ``input`` in which ``src`` stands where ``as_strided(size, stride, storage_offset)`` looks."""
    a = checked(input, "as_strided_scatter")
    copy = a.clone()
    place = layout.as_strided(copy, size, stride, storage_offset)
    if place.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(place.shape)}"
        )
    place.copy_(src)
    return copy


def empty_permuted(
    size: Any, physical_layout: Any, *, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """An uninitialised tensor whose dimensions lie in memory in the given order, outermost first."""
    order = tuple(physical_layout)
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(
            f"Number of dimensions in size does not match the length of the physical_layout, or it is no permutation: size "
            f"{list(size)}, physical_layout {list(order)}"
        )
    t = empty([size[d] for d in order], dtype=dtype, device=device, pin_memory=pin_memory)
    t = shape.permute(t, [order.index(d) for d in range(len(order))]).detach()
    return t.requires_grad_(requires_grad)


FUNCTIONS = (
    *_made, "as_strided_scatter", "empty_permuted", inplace(addmv, "addmv_"), layout.as_strided_, layout.resize_as_,
)  # fmt: skip
METHODS = ("as_strided_scatter",)
