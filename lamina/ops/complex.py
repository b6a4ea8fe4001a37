"""Complex tensors as real ones, and the reverse: views."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import ViewOp
from lamina.ops.layout import storage_offset
from lamina.ops.operands import checked
from lamina.ops.parts import Slice
from lamina.ops.shape import strided


class ViewAsReal(ViewOp):
    """Complex numbers as pairs of real ones, a new last dimension;   dL/dx = g as complex numbers"""

    @staticmethod
    def forward(ctx, x):
        a = x._a
        return strided(a.real, (*a.shape, 2), (*a.strides, a.itemsize // 2))

    @staticmethod
    def backward(ctx, grad):
        return ViewAsComplex.apply(grad.contiguous())


class ViewAsComplex(ViewOp):
    """Pairs of real numbers as complex ones;   dL/dx = g as pairs"""

    @staticmethod
    def forward(ctx, x):
        a = x._a
        return strided(a, a.shape[:-1], a.strides[:-1], 0, np.dtype(f"c{2 * a.itemsize}"))

    @staticmethod
    def backward(ctx, grad):
        return ViewAsReal.apply(grad)


def view_as_real(input: Any) -> Any:
    """A complex tensor (*) as a view (*, 2) of real and imaginary parts."""
    if checked(input, "view_as_real")._a.dtype.kind != "c":
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return ViewAsReal.apply(input)


def view_as_complex(input: Any) -> Any:
    """A real tensor (*, 2) as a view (*) of complex numbers."""
    a = checked(input, "view_as_complex")._plain()
    if a.dtype not in (np.float32, np.float64):
        raise RuntimeError(
            "view_as_complex is only supported for float and double tensors, but got a tensor of scalar type: "
            f"{SCALAR_NAME[BY_NUMPY[a.dtype]]}"
        )
    if not a.ndim:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if a.shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2, but got shape {list(a.shape)}")
    if a.strides[-1] != a.itemsize:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % (2 * a.itemsize) for s in a.strides[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    if storage_offset(input) % 2:
        raise RuntimeError("Tensor must have a storage_offset divisible by 2")
    return ViewAsComplex.apply(input)


def real(input: Any) -> Any:
    """The real part, a view; a real tensor as it is."""
    if checked(input, "real")._a.dtype.kind != "c":
        return input
    return Slice.apply(ViewAsReal.apply(input), (Ellipsis, 0))


def imag(input: Any) -> Any:
    """The imaginary part, a view; raises ``RuntimeError`` for a real tensor."""
    if checked(input, "imag")._a.dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return Slice.apply(ViewAsReal.apply(input), (Ellipsis, 1))


def resolve_conj(input: Any) -> Any:
    """The tensor itself: a conjugate is always computed here."""
    return input


def resolve_neg(input: Any) -> Any:
    """The tensor itself: a negation is always computed here."""
    return input


FUNCTIONS = ("view_as_real", "view_as_complex", "real", "imag", "resolve_conj", "resolve_neg")
METHODS = ("resolve_conj", "resolve_neg")
