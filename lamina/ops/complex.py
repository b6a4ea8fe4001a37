"""Complex tensors as real ones, and the reverse: views."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Variable, ViewOp
from lamina.ops.join import stack
from lamina.ops.layout import storage_offset
from lamina.ops.operands import checked, not_a_tensor, store_or_return
from lamina.ops.parts import Slice
from lamina.ops.shape import broadcast_tensors, strided
from lamina.ops.unary import cos, sin


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
    if a.size and a.strides[-1] != a.itemsize:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if a.size and any(s % (2 * a.itemsize) for s in a.strides[:-1]):
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


def complex(real: Any, imag: Any, *, out: Any = None) -> Any:  # noqa: A001
    """Complex numbers of real and imaginary parts: tensors of one floating dtype, which broadcast."""
    parts = _pair("complex", real=real, imag=imag)
    return store_or_return(out, view_as_complex(stack(broadcast_tensors(*parts), -1)))


def polar(abs: Any, angle: Any, *, out: Any = None) -> Any:  # noqa: A002
    """Complex numbers of sizes and angles: tensors of one floating dtype, which broadcast."""
    size, turn = _pair("polar", abs=abs, angle=angle)
    return store_or_return(out, complex(size * cos(turn), size * sin(turn)))


def _pair(name: str, **tensors: Any) -> list[Any]:
    for position, (argument, t) in enumerate(tensors.items(), 1):
        if not isinstance(t, Variable):
            raise not_a_tensor(t, name, argument, position)
    dtypes = [SCALAR_NAME[BY_NUMPY[t._a.dtype]] for t in tensors.values()]
    if not set(dtypes) <= {"Float", "Double"}:
        raise RuntimeError(f"{name}: Expected both inputs to be Float or Double tensors but got {' and '.join(dtypes)}")
    if len(set(dtypes)) > 1:
        raise RuntimeError(
            f"{name}: Expected object of scalar type {dtypes[0]} but got scalar type {dtypes[1]} for second argument"
        )
    return list(tensors.values())


def resolve_conj(input: Any) -> Any:
    """The tensor itself: a conjugate is always computed here."""
    return input


def resolve_neg(input: Any) -> Any:
    """The tensor itself: a negation is always computed here."""
    return input


FUNCTIONS = ("complex", "polar", "view_as_real", "view_as_complex", "real", "imag", "resolve_conj", "resolve_neg")
METHODS = ("resolve_conj", "resolve_neg")
