"""What autocast does to a call: some operations are computed in half precision, some never are.

The functions of matrix products and convolutions hand their tensors to :func:`lowered` before they compare dtypes; everything
else is decided where operations are called, by the lists below, which are PyTorch's for the CPU. Whoever is inside of an autocast
block is in the door's list of detours, so outside of one nothing is asked.
"""

from __future__ import annotations

from typing import Any

from lamina._dtypes import F32, HALVES
from lamina.autograd.graph import Variable, mode

# Operations by their classes' names: those that are computed in half precision ...
LOWER = frozenset(
    ("MatMul", "Linear", "Convolution", "ConvolutionBackwardInput", "ConvTbc", "Attention", "PreluKernel", "RnnLayer")
)
# ... and those that get float32.
SINGLE = frozenset(
    (
        "MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "KlDiv", "PoissonNllLoss", "BinaryCrossEntropy",
        "BinaryCrossEntropyWithLogits", "SoftMarginLoss", "CrossEntropy", "NllLoss", "MultiMarginLoss", "MultilabelMarginLoss",
        "CtcLoss", "Prod", "EuclideanDistance", "GridSample", "GridTaps", "FftC2C", "FftR2C", "FftC2R", "Inv", "Solve",
        "SolveTriangular", "Slogdet", "Cholesky", "Qr", "Svd", "Eigh",
    )
)  # fmt: skip


class State:
    """One thread's autocast block: the half type, and the weights that were cast to it."""

    def __init__(self, dtype: Any, cache: dict | None) -> None:
        self.dtype, self.cache = dtype, cache

    def cast(self, x: Any) -> Any:
        """``x`` in the half type if it is a float32 tensor; a weight is cast once per block."""
        if not isinstance(x, Variable) or (x._a.dtype is not F32 and x._a.dtype not in HALVES) or x._a.dtype is self.dtype.numpy:
            return x
        cache = None if mode.recorder is not None else self.cache  # a recorded call has to see the cast, to make it anew
        if cache is None or not x._requires or x._node is not None or not mode.enabled or x._a.dtype is not F32:
            return x.to(self.dtype)
        found = cache.get(id(x))
        if found is None or found[2] != x._version:
            cache[id(x)] = found = (x, x.to(self.dtype), x._version)
        return found[1]


def lowered(*tensors: Any) -> tuple:
    """The arguments of a product as it is computed: in half precision inside of an autocast block, else as they are."""
    state = mode.autocast
    return tensors if state is None else tuple([state.cast(t) for t in tensors])


def redirected(op: Any, inputs: tuple) -> Any:
    """The result of a call whose inputs autocast changes; ``NotImplemented`` if it changes none."""
    state, name = mode.autocast, op.__name__
    if name in LOWER and not any(type(x) is str and x == "gru" for x in inputs):  # that cell stays in float32
        changed = [state.cast(x) for x in inputs]
    elif name in SINGLE or name in LOWER:
        changed = [x.float() if isinstance(x, Variable) and x._a.dtype in HALVES else x for x in inputs]
    else:
        return NotImplemented
    if all(a is b for a, b in zip(changed, inputs, strict=True)):
        return NotImplemented
    return op.apply(*changed)
