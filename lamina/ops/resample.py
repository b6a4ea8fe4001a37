"""Resizing of signals, images and volumes by interpolation.

Interpolation is linear in its input, one dimension after the other, so that :class:`Resample` and its transpose
:class:`ResampleBackward` are each other's gradients. What a mode means for one dimension is an *axis* of the engine's.
"""

from __future__ import annotations

import operator
import warnings
from functools import lru_cache
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable
from lamina.engine import kernels as k
from lamina.ops.pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

Ints = tuple[int, ...]

AREA = {3: adaptive_avg_pool1d, 4: adaptive_avg_pool2d, 5: adaptive_avg_pool3d}
FILTERS = {  # mode → the filter along each dimension, and the ranks of input that have the mode
    "nearest": ("nearest", (3, 4, 5)), "nearest-exact": ("nearest-exact", (3, 4, 5)), "linear": ("linear", (3,)),
    "bilinear": ("linear", (4,)), "trilinear": ("linear", (5,)), "bicubic": ("cubic", (4,)), "lanczos": ("lanczos", (4,)),
}  # fmt: skip
RANK = {"linear": 3, "bilinear": 4, "trilinear": 5}
SMALL = 128  # see _axes
_NO_SCALES: tuple[float, ...] = ()


class Resample(Op):
    """y = x with every spatial dimension resampled;   dL/dx = the transpose of that, of g"""

    mode = ""
    axes: tuple = ()

    @staticmethod
    def forward(ctx, x, mode, axes):
        ctx.mode, ctx.axes = mode, axes
        return k.resample(x._a, axes)

    @staticmethod
    def backward(ctx, grad):
        return ResampleBackward.apply(grad, ctx.mode, ctx.axes)

    def name(self) -> str:
        words = "".join(word.capitalize() for word in self.mode.split("-"))
        widened = "Aa" if self.axes[0][2].startswith("antialiased") else ""
        return f"Upsample{words}{len(self.axes)}D{widened}Backward0"


class ResampleBackward(Op):
    """The transpose of :class:`Resample`;   dL/dg = the gradient resampled"""

    @staticmethod
    def forward(ctx, grad, mode, axes):
        ctx.mode, ctx.axes = mode, axes
        return k.resample_backward(grad._a, axes)

    @staticmethod
    def backward(ctx, grad):
        return Resample.apply(grad, ctx.mode, ctx.axes)


# -- arguments -----------------------------------------------------------------------------------------------------


def _sizes(size: Any, spatial: Ints) -> Ints:
    if isinstance(size, (list, tuple)):
        if len(size) != len(spatial):
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial dimensions of "
                f"{list(spatial)} and output size of {size}. Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
                "output size in (o1, o2, ...,oK) format."
            )
        return tuple(_int(size, n) for n in size)
    return (_int(size, size),) * len(spatial)


def _int(size: Any, entry: Any) -> int:
    try:
        if isinstance(entry, bool):
            raise TypeError
        return operator.index(entry)
    except TypeError:
        raise TypeError(f"interpolate: expected size to be an int or a tuple of ints, but got {size!r}") from None


def _scales(scale_factor: Any, spatial: Ints) -> tuple[float, ...]:
    if isinstance(scale_factor, (list, tuple)):
        if len(scale_factor) != len(spatial):
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial dimensions "
                f"of {list(spatial)} and scale_factor of shape {scale_factor}. Please provide input tensor in (N, C, d1, d2, "
                "...,dK) format and scale_factor in (s1, s2, ...,sK) format."
            )
        entries = tuple(scale_factor)
    else:
        entries = (scale_factor,) * len(spatial)
    if not all(isinstance(s, Real) for s in entries):
        raise TypeError(f"interpolate: expected scale_factor to be a float or a tuple of floats, but got {scale_factor!r}")
    scales = tuple(map(float, entries))
    if not all(map(isfinite, scales)):
        raise RuntimeError(f"interpolate: scale_factor must be finite, but got {scale_factor!r}")
    return scales


@lru_cache(1024)
def _axes(
    mode: str, shape: Ints, size: Ints, scales: tuple[float, ...], corners: bool, antialias: bool, dtype: Any
) -> tuple[tuple, ...]:
    """How each spatial dimension is resampled, checked. The check is that of PyTorch: only the batch may be empty."""
    spatial = shape[2:]
    if min(spatial) < 1 or min(size) < 1:
        names = "DHW"[3 - len(size) :]
        given, wanted = (", ".join(map("{}: {}".format, names, extent)) for extent in (spatial, size))
        raise RuntimeError(
            f"interpolate: Input and output sizes should be greater than 0, but got input ({given}) and output ({wanted})"
        )
    if shape[1] == 0:
        raise RuntimeError(
            f"interpolate: Non-empty {len(shape)}D data tensor expected but got a tensor with sizes {list(shape)}"
        )
    _check_dtype(mode, len(shape), antialias, dtype)
    double = dtype != np.float32 and dtype != np.float16
    # Small images have a way of their own in PyTorch: single precision, and no heed of the exact factor where it leads to the
    # same size or to twice the size.
    small = mode.startswith("nearest") and len(size) == 2 and sum(size) <= SMALL
    kind = f"antialiased {FILTERS[mode][0]}" if antialias else FILTERS[mode][0]
    return tuple(
        (
            length, n, kind, corners,
            None if corners or s <= 0 or small and mode == "nearest" and n in (length, 2 * length) else s,
            double and not small,
        )
        for length, n, s in zip(spatial, size, scales or (0.0,) * len(size), strict=True)
    )  # fmt: skip


def _check_dtype(mode: str, rank: int, antialias: bool, dtype: Any) -> None:
    if dtype.kind in "fV" and not (antialias and dtype == np.float16):
        return
    if dtype == np.uint8 and (mode.startswith("nearest") or rank == 4):
        return
    what = f"antialiased {mode}" if antialias else mode
    raise NotImplementedError(f"interpolate: mode {what!r} is not implemented for {SCALAR_NAME[BY_NUMPY[dtype]]!r}")


# -- functions -----------------------------------------------------------------------------------------------------


def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Any:  # fmt: skip
    r"""``input`` resized, larger or smaller, to ``size`` or by ``scale_factor``: exactly one of the two is given.

    Args:
        size (int or tuple of ints): spatial size of the result.
        scale_factor (float or tuple of floats): the result's size as a multiple of the input's, rounded down.
        mode (str): ``"nearest"`` (the element whose cell begins last before the place, as in OpenCV), ``"nearest-exact"`` (the
            element whose centre is nearest, as in Pillow), ``"area"`` (means, see
            :func:`adaptive_avg_pool2d <lamina.nn.functional.adaptive_avg_pool2d>`), ``"linear"`` for 3-d input,
            ``"bilinear"``, ``"bicubic"`` or ``"lanczos"`` (with ``antialias``) for 4-d input, ``"trilinear"`` for 5-d input.
        align_corners (bool): whether the centres of the first and last elements, rather than their outer edges, stay in place.
            Only for the modes with weights. Default: False.
        recompute_scale_factor (bool): whether the scale is computed anew from the sizes, which rounding has changed. Default:
            ``scale_factor`` is used as it is.
        antialias (bool): whether, in making images smaller, the filter is widened so that every element counts, as in Pillow;
            for ``"bilinear"``, ``"bicubic"`` and ``"lanczos"``. Default: False.

    Shape:
        input (N, C, L), (N, C, H, W) or (N, C, D, H, W), result of the same rank. Images of dtype uint8 are rounded.

    Raises:
        ValueError: both or none of ``size`` and ``scale_factor``, or one of the wrong length; an option that the mode has not.
        NotImplementedError: a mode that the rank or the dtype of the input has not.
        RuntimeError: an empty input (only the batch may be empty) or result.
    """
    if not isinstance(input, Variable):
        raise TypeError(f"interpolate(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    weighted = mode not in ("nearest", "nearest-exact", "area")
    if not weighted and align_corners is not None:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | trilinear, but "
            f"got align_corners={align_corners!r} with mode={mode!r}"
        )
    a = input._a
    shape = a.shape
    spatial, scales = shape[2:], _NO_SCALES
    if size is not None:
        if scale_factor is not None:
            raise ValueError("only one of size or scale_factor should be defined")
        size = _sizes(size, spatial)
        if recompute_scale_factor:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    elif scale_factor is not None:
        scales = _scales(scale_factor, spatial)
        size = tuple(int(n * s) for n, s in zip(spatial, scales, strict=True))
        if recompute_scale_factor or mode == "area":
            scales = _NO_SCALES
    else:
        raise ValueError("either size or scale_factor should be defined")
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and len(shape) == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input, but got "
            f"mode={mode!r} and an input of shape {list(shape)}"
        )
    if mode == "area" and len(shape) in AREA:
        return AREA[len(shape)](input, size)
    if mode not in FILTERS or len(shape) not in FILTERS[mode][1]:
        raise _no_such_mode(mode, len(shape))
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError(f"Lanczos mode {'does not support align_corners=True' if align_corners else 'requires antialias=True'}")
    if weighted and not isinstance(align_corners, (bool, type(None))):
        raise TypeError(f"interpolate(): argument 'align_corners' must be bool, not {type(align_corners).__name__}")
    return Resample.apply(input, mode, _axes(mode, shape, size, scales, bool(align_corners), bool(antialias), a.dtype))


def _no_such_mode(mode: Any, rank: int) -> NotImplementedError:
    if mode in RANK and rank in (3, 4, 5):
        return NotImplementedError(f"Got {rank}D input, but {mode} mode needs {RANK[mode]}D input")
    return NotImplementedError(
        f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {rank}D) for the modes: nearest | linear | bilinear | "
        f"bicubic | trilinear | lanczos | area | nearest-exact (got {mode})"
    )


def _deprecated(name: str) -> None:
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3)


def upsample(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Any:
    """The older name of :func:`interpolate`; warns of that."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """The older name of :func:`interpolate` with ``mode="nearest"``; warns of that."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Any:
    """The older name of :func:`interpolate` with ``mode="bilinear", align_corners=True``; warns of that."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


NN_FUNCTIONS = ("interpolate", "upsample", "upsample_nearest", "upsample_bilinear")
