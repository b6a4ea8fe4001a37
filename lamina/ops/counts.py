"""Random counts with rates of their own."""

from __future__ import annotations

from typing import Any

from lamina._dtypes import BY_NUMPY, F32, HALVES, SCALAR_NAME
from lamina.ops.operands import of_tensor
from lamina.ops.random import _drawn
from lamina.random.counts import poisson as draw_poisson


@of_tensor
def poisson(input: Any, generator: Any = None) -> Any:
    """A Poisson number per element of ``input``, which is its mean, in PyTorch's own stream; the gradient is 0."""
    a = input._a
    if a.dtype.kind not in "fV":
        raise NotImplementedError(f'"poisson_cpu" not implemented for {SCALAR_NAME[BY_NUMPY[a.dtype]]!r}')
    wide = a.astype(F32) if a.dtype in HALVES else a
    if (wide < 0).any():
        raise RuntimeError("invalid Poisson rate, expected rate to be non-negative")
    return _drawn(draw_poisson(wide, generator).astype(a.dtype), None, input)


FUNCTIONS = ("poisson",)
