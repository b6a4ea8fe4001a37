"""Dropout: elements or whole channels set to zero (or, for SELU networks, to its negative limit) at random.

The mask is the one that PyTorch draws from the same seed: one number of the stream for each element or channel, in the
order of memory that the user sees.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, HALVES, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, inplace, wrap
from lamina.engine import kernels as k
from lamina.engine import memory
from lamina.ops import pointwise
from lamina.ops.operands import of_tensor
from lamina.random.distributions import bernoulli_

# −λα of SELU, its value at −∞ with the sign turned; alpha dropout sets elements to it.
_ALPHA = 1.7580993408473766


class Scale(Op):
    """x·n with noise n that may broadcast;   dL/dx = g·n"""

    elementwise = True
    label = "MulBackward0"

    @staticmethod
    def forward(ctx, x, noise):
        ctx.save(noise)
        return k.mul(x._a, noise)

    @staticmethod
    def backward(ctx, grad):
        return Scale.apply(grad, ctx.saved[0]), None


class Dropout(Op):
    """x·m/(1 − p) with a mask m of zeros, with probability p, and ones;   dL/dx = g·m/(1 − p)"""

    any_dtype = elementwise = acts = True
    label = "MulBackward0"

    @staticmethod
    def forward(ctx, x, p, per_channel):
        kind = x._a.dtype
        noise = _mask(x, 1 - p, per_channel)
        wide = np.float64 if kind == np.float64 else np.float32  # half precision divides in float32
        noise *= kind.type(wide(1) / wide(1 - p))
        ctx.save(noise)
        return _affine(x._a, noise, None)

    @staticmethod
    def backward(ctx, grad):
        return Scale.apply(grad, ctx.saved[0]), None, None


class AlphaDropout(Op):
    """a·(m·x − α·(1 − m)) + a·α·p, which has x's mean and variance, with a mask m as in dropout;   dL/dx = g·a·m"""

    any_dtype = elementwise = acts = True

    @staticmethod
    def forward(ctx, x, p, per_channel):
        narrow = x._a.dtype.type
        noise = _mask(x, 1 - p, per_channel)
        a = 1 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
        kept = narrow(_ALPHA * a * p)
        dropped = narrow(-_ALPHA * a) + kept
        shift = np.where(noise != 0, kept, dropped)
        noise *= narrow(a)
        ctx.save(noise)
        return _affine(x._a, noise, shift)

    @staticmethod
    def backward(ctx, grad):
        return Scale.apply(grad, ctx.saved[0]), None, None


def _affine(a: np.ndarray, factor: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
    """a·factor + shift; product and sum are each rounded, to half precision where the arrays are of a half type."""
    half = a.dtype if a.dtype in HALVES else None
    if half is not None:
        a, factor = k.cast(a, F32), k.cast(factor, F32)
    y = k.mul(a, factor)
    if half is not None:
        y = k.cast(y, half)
    if shift is not None:
        y += shift
    return y


def _mask(x: Variable, keep: float, per_channel: bool) -> np.ndarray:
    """Zeros and ones of x's dtype: for each element, in x's own memory order, or for each channel."""
    a = x._a
    if per_channel:
        return bernoulli_(np.empty((*a.shape[:2], *[1] * (a.ndim - 2)), a.dtype), keep)
    if not x._hidden:
        return bernoulli_(memory.empty_like(a), keep)
    # Lying channels-last unseen: drawn in the order that the user believes in, then laid out like x.
    mask = memory.empty_like(a)
    mask[...] = bernoulli_(memory.empty(a.shape, np.bool_), keep)
    return mask


def _drop(x: Any, p: float, per_channel: bool = False, alpha: bool = False) -> Any:
    """x with dropout of probability 0 < p ≤ 1 in training."""
    if p == 1:
        return pointwise.mul(
            x, 0.0 if x._a.dtype.kind in "fcV" else 0
        )  # by zero, so that NaN and inf are not lost
    kind = x._a.dtype
    if kind.kind in "biu":
        raise RuntimeError(
            f"result type Float can't be cast to the desired output type {SCALAR_NAME[BY_NUMPY[kind]]}"
        )
    if kind.kind == "c":
        raise NotImplementedError(f"dropout is not implemented for {SCALAR_NAME[BY_NUMPY[kind]]!r}")
    if per_channel and x._a.ndim < 2:
        raise RuntimeError(
            f"Feature dropout requires at least 2 dimensions in the input, got shape {tuple(x._a.shape)}"
        )
    return (AlphaDropout if alpha else Dropout).apply(x, p, per_channel)


_drop_ = inplace(_drop, "dropout_")


def _checked(
    x: Any, p: float, train: bool, in_place: bool, per_channel: bool = False, alpha: bool = False
) -> Any:
    if not isinstance(x, Variable):
        raise TypeError(f"dropout: input must be a Tensor, not {type(x).__name__}")
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 0 or not train or x._a.size == 0:
        return x
    return (_drop_ if in_place else _drop)(x, float(p), per_channel, alpha)


# -- as in torch.nn.functional -------------------------------------------------------------------------------------


def _probability(p: float) -> float:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    return p


def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, set each element to zero with probability ``p`` and divide the others by 1 − p.

    Raises:
        ValueError: ``p`` is not within [0, 1].
        RuntimeError: the input is not floating.
    """
    return _checked(input, _probability(p), training, inplace)


def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout for SELU networks: keeps mean 0 and variance 1 (Klambauer et al., 2017). Raises as :func:`dropout`."""
    return _checked(input, _probability(p), training, inplace, alpha=True)


def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """:func:`alpha_dropout` of whole channels of an (N, C, *) input; RuntimeError below two dimensions."""
    return _checked(input, _probability(p), training, inplace, per_channel=True, alpha=True)


@of_tensor
def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, set whole channels to zero with probability ``p`` and divide the others by 1 − p.

    Shape: input :math:`(N, C, L)` or :math:`(C, L)`, output the same; RuntimeError for other ranks.
    """
    _probability(p)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input: (N, C, L) or (C, L) drops channels"
        )
    return _channels(input, p, training, inplace, batched=input.ndim == 3)


@of_tensor
def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, set whole channels to zero with probability ``p`` and divide the others by 1 − p.

    Shape: input :math:`(N, C, H, W)`, output the same. Three dimensions are read as (N, C, L), with a warning.
    """
    _probability(p)
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: a 3D input is read as (N, C, L), not as (C, H, W) without a batch; use dropout1d for the former",
            stacklevel=2,
        )
    else:
        _rank(input, "dropout2d", (4,))
    return _channels(input, p, training, inplace, batched=True)


@of_tensor
def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """In training, set whole channels to zero with probability ``p`` and divide the others by 1 − p.

    Shape: input :math:`(N, C, D, H, W)` or :math:`(C, D, H, W)`, output the same; other ranks warn.
    """
    _probability(p)
    _rank(input, "dropout3d", (4, 5))
    return _channels(input, p, training, inplace, batched=input.ndim == 5)


def _rank(input: Any, name: str, expected: tuple[int, ...]) -> None:
    if input.ndim not in expected:
        warnings.warn(
            f"{name}: Received a {input.ndim}-D input to {name}, expected {' or '.join(map(str, expected))} dimensions; "
            "use dropout to drop single elements",
            stacklevel=3,
        )


def _channels(input: Any, p: float, training: bool, in_place: bool, batched: bool) -> Any:
    if batched:
        return _checked(input, p, training, in_place, per_channel=True)
    result = _checked(input.unsqueeze(0), p, training, in_place, per_channel=True)
    return input if in_place else result.squeeze(0)


# -- as in torch ---------------------------------------------------------------------------------------------------


def _plain_forms(name: str, in_place: bool, **kind: bool) -> Any:
    def function(input: Any, p: float, train: bool) -> Any:
        return _checked(input, p, train, in_place, **kind)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"``{name}(input, p, train)``: see ``nn.functional``; RuntimeError if ``p`` is outside [0, 1]."
    )
    return function


@of_tensor
def native_dropout(input: Any, p: float, train: bool | None) -> Any:
    """Dropout and its mask, a bool tensor that is true where an element was kept."""
    if not train:
        return input.clone(), wrap(np.ones(input._a.shape, np.bool_))
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p}")
    noise = _mask(input, 1 - p, per_channel=False)
    kept = wrap(np.ascontiguousarray(noise != 0))
    noise *= noise.dtype.type(1 / (1 - p)) if p < 1 else noise.dtype.type(0)
    return Scale.apply(input, noise), kept


_KINDS: dict[str, dict[str, bool]] = {
    "dropout": {}, "alpha_dropout": {"alpha": True}, "feature_dropout": {"per_channel": True},
    "feature_alpha_dropout": {"per_channel": True, "alpha": True},
}  # fmt: skip
FUNCTIONS = (
    native_dropout,
    *(_plain_forms(name, False, **kind) for name, kind in _KINDS.items()),
    *(_plain_forms(name + "_", True, **kind) for name, kind in _KINDS.items()),
)
NN_FUNCTIONS = ("dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d")
