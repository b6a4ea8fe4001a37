"""Discrete Fourier transforms over one dimension or several (``lamina.fft``).

Three operations carry them all: complex to complex, real to half of a complex spectrum, and that half to real. Each is
linear, and its rule is another of the three in the opposite direction with the same scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import BY_NUMPY, check_device
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.creation import arange
from lamina.ops.layout import resize_
from lamina.ops.operands import not_a_tensor, store_or_return
from lamina.ops.pad import pad
from lamina.ops.parts import narrow, roll
from lamina.ops.reduction import scalar_name
from lamina.ops.shape import sizes, wrap_dim
from lamina.ops.unary import conj

_OPPOSITE = {"backward": "forward", "forward": "backward", "ortho": "ortho"}  # the same scale in the other direction


class FftC2C(Op):
    """Y = F·x, scaled;   dL/dx = Fᴴ·g, scaled likewise"""

    @staticmethod
    def forward(ctx, x, axes, forward, norm):
        ctx.settings = axes, not forward, _OPPOSITE[norm]
        return k.fft_c2c(x._a, axes, forward, norm)

    @staticmethod
    def backward(ctx, grad):
        return FftC2C.apply(grad, *ctx.settings), None, None, None


class FftR2C(Op):
    """Half of the spectrum of real numbers;   dL/dx = the real part of Fᴴ·(g with zeros for the other half)"""

    @staticmethod
    def forward(ctx, x, axes, norm):
        ctx.axes, ctx.norm, ctx.n = axes, norm, x._a.shape[axes[-1]]
        return k.fft_r2c(x._a, axes, norm)

    @staticmethod
    def backward(ctx, grad):
        whole = _resized(grad, ctx.axes[-1], ctx.n)
        return FftC2C.apply(whole, ctx.axes, False, _OPPOSITE[ctx.norm]).real, None, None


class FftC2R(Op):
    """Real numbers of half of their spectrum;   dL/dx = the half spectrum of g, doubled where a frequency stands for two"""

    @staticmethod
    def forward(ctx, x, axes, n, norm):
        ctx.axes, ctx.n, ctx.norm = axes, n, norm
        return k.fft_c2r(x._a, axes, n, norm)

    @staticmethod
    def backward(ctx, grad):
        half = FftR2C.apply(grad, ctx.axes, _OPPOSITE[ctx.norm])
        a = half._a
        count = np.ones([a.shape[d] if d == ctx.axes[-1] else 1 for d in range(a.ndim)], grad._a.dtype)
        twice = [slice(None)] * a.ndim
        twice[ctx.axes[-1]] = slice(1, 1 + ctx.n - a.shape[ctx.axes[-1]])
        count[tuple(twice)] = 2
        return half * wrap(count), None, None, None


# -- arguments -----------------------------------------------------------------------------------------------------


def _prepared(name: str, input: Any, real: bool = False) -> Any:
    """The input in floating or complex numbers of single or double precision; ``real``: it may not be complex."""
    if not isinstance(input, Variable):
        raise not_a_tensor(input, f"fft_{name}")
    dtype = input._a.dtype
    if real and dtype.kind == "c":
        what = "real" if name in ("rfft", "ihfft") else "real-valued"
        raise RuntimeError(f"{name} expects a {what} input tensor, but got {scalar_name(input._a)}")
    if dtype.kind not in "fcV":
        return p.cast(input, _dtypes.get_default_dtype())
    if dtype.itemsize < 4:
        raise RuntimeError(f"Unsupported dtype {scalar_name(input._a)}")
    return input


def _complex(x: Any) -> Any:
    return x if x._a.dtype.kind == "c" else p.cast(x, BY_NUMPY[x._a.dtype].to_complex())


def _mode(norm: Any) -> str:
    if norm is None:
        return "backward"
    if norm not in _OPPOSITE:
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    return norm


def _points(n: Any, name: str, argument: str = "n") -> Any:
    if n is not None and (isinstance(n, bool) or not isinstance(n, (int, np.integer))):
        raise TypeError(f"fft_{name}(): argument '{argument}' must be int, not {type(n).__name__}")
    return n


def _check_points(n: int) -> None:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _one_axis(x: Any, dim: Any) -> int:
    if x._a.ndim == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return wrap_dim(dim, x._a.ndim)


def _resized(x: Any, axis: int, n: int) -> Any:
    """The first ``n`` entries along an axis, with zeros for those that are missing."""
    have = x._a.shape[axis]
    if n == have:
        return x
    if n < have:
        return narrow(x, axis, 0, n)
    return pad(x, (0, 0) * (x._a.ndim - 1 - axis) + (0, n - have))


def _axes(name: str, x: Any, s: Any, dim: Any) -> tuple[tuple[int, ...], list[int]]:
    """The axes that are transformed, and how many points each has: −1 in ``s`` stands for what is there."""
    a = x._a
    if dim is not None:
        axes = tuple(wrap_dim(d, a.ndim) for d in sizes((dim,) if not isinstance(dim, (tuple, list)) else (dim,), "dim"))
        if len(set(axes)) < len(axes):
            raise RuntimeError("FFT dims must be unique")
    if s is not None:
        s = (_points(s, name, "s"),) if not isinstance(s, (tuple, list)) else tuple(_points(n, name, "s") for n in s)
        if dim is not None and len(s) != len(axes):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
        if len(s) > a.ndim:
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {a.ndim} dimensions.")
    if dim is None:
        axes = tuple(range(a.ndim - (a.ndim if s is None else len(s)), a.ndim))
    points = [a.shape[d] if s is None or s[i] == -1 else s[i] for i, d in enumerate(axes)]
    return axes, points


def _fitted(x: Any, axes: tuple[int, ...], points: list[int]) -> Any:
    for n in points:
        _check_points(n)
    for axis, n in zip(axes, points, strict=True):
        x = _resized(x, axis, n)
    return x


def _store(name: str, out: Any, result: Any) -> Any:
    if isinstance(out, Variable):
        kind = result._a.dtype.kind
        if out._a.dtype.kind != kind:
            what = "complex" if kind == "c" else "floating point"
            raise RuntimeError(f"{name} expects a {what} output tensor, but got {scalar_name(out._a)}")
    return store_or_return(out, result)


# -- the transforms ------------------------------------------------------------------------------------------------


def _whole(name: str, input: Any, axes: Any, points: Any, norm: Any, forward: bool, out: Any) -> Any:
    mode = _mode(norm)
    x = _fitted(_complex(input), axes, points)
    return _store(name, out, FftC2C.apply(x, axes, forward, mode))


def _to_half(name: str, input: Any, axes: Any, points: Any, norm: Any, forward: bool, out: Any) -> Any:
    """Real numbers to half a spectrum. The inverse direction is the conjugate of the forward one."""
    mode = _mode(norm)
    x = _fitted(input, axes, points)
    r = FftR2C.apply(x, axes[-1:], mode if forward else _OPPOSITE[mode])
    if not forward:
        r = conj(r)
    if len(axes) > 1:
        r = FftC2C.apply(r, axes[:-1], forward, mode)
    return _store(name, out, r)


def _from_half(name: str, input: Any, axes: Any, points: Any, norm: Any, forward: bool, out: Any) -> Any:
    """Half a spectrum to real numbers; ``points`` are those of the result."""
    mode = _mode(norm)
    n = points[-1]
    _check_points(n)
    x = _fitted(_complex(input), axes, [*points[:-1], n // 2 + 1])
    if forward:
        if len(axes) > 1:
            x = FftC2C.apply(x, axes[:-1], True, mode)
        r = FftC2R.apply(conj(x), axes[-1:], n, _OPPOSITE[mode])
    else:
        r = FftC2R.apply(x, axes, n, mode)
    return _store(name, out, r)


def _of_one(name: str, run: Any, forward: bool, doc: str) -> Callable[..., Any]:
    real, half = run is _to_half, run is _from_half

    def function(input: Any, n: Any = None, dim: int = -1, norm: Any = None, *, out: Any = None) -> Any:
        _points(n, name)
        x = _prepared(name, input, real)
        axis = _one_axis(x, dim)
        if n is None:
            n = x._a.shape[axis]
            n = 2 * (n - 1) if half else n
        return run(name, x, (axis,), [n], norm, forward, out)

    function.__doc__ = (
        f"{doc} along a dimension.\n\n    ``n`` points are taken, cut off or filled up with zeros{_OF_HALF if half else ''}. "
        f"{_NORM}"
    )
    return _named(function, name)


def _of_several(name: str, run: Any, forward: bool, doc: str, two: bool) -> Callable[..., Any]:
    real, half = run is _to_half, run is _from_half

    def transform(input: Any, s: Any, dim: Any, norm: Any, out: Any) -> Any:
        x = _prepared(name.replace("2", "n"), input, real)
        axes, points = _axes(name, x, s, dim)
        if run is not _whole and not axes:
            raise RuntimeError(f"{name.replace('2', 'n')} must transform at least one axis")
        if half and (s is None or (s if isinstance(s, (tuple, list)) else (s,))[-1] == -1):
            points[-1] = 2 * (x._a.shape[axes[-1]] - 1)
        return run(name, x, axes, points, norm, forward, out)

    if two:

        def function(input: Any, s: Any = None, dim: Any = (-2, -1), norm: Any = None, *, out: Any = None) -> Any:
            return transform(input, s, dim, norm, out)
    else:

        def function(input: Any, s: Any = None, dim: Any = None, norm: Any = None, *, out: Any = None) -> Any:
            return transform(input, s, dim, norm, out)

    which = "two dimensions (the last two)" if two else "several dimensions (all, or the last ``len(s)``)"
    function.__doc__ = (
        f"{doc} along {which}.\n\n    ``s`` gives the points per dimension, cut off or filled up with zeros; −1 takes those that "
        f"are there{_OF_HALF if half else ''}. {_NORM}"
    )
    return _named(function, name)


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    return function


_NORM = (
    "``norm``: ``\"backward\"`` (the default) scales\n    the inverse by 1/n, ``\"forward\"`` the forward transform, "
    "``\"ortho\"`` both by 1/√n."
)
_OF_HALF = "; they are those of the result, by default 2·(m − 1) for m frequencies"
_KINDS = {  # name: (how, forward, what it is)
    "fft": (_whole, True, "The Fourier transform Σₜ x[t]·e^(−2πi·ft/n)"),
    "ifft": (_whole, False, "The inverse Fourier transform 1/n·Σ X[f]·e^(2πi·ft/n)"),
    "rfft": (_to_half, True, "The Fourier transform of real numbers: the frequencies 0 … n/2 (of the last dimension)"),
    "irfft": (_from_half, False, "The real numbers of which ``rfft`` is the half spectrum"),
    "hfft": (_from_half, True, "The Fourier transform of a Hermitian-symmetric signal, of which one half is given: real numbers"),
    "ihfft": (_to_half, False, "The inverse of ``hfft``: half of a Hermitian-symmetric signal, of a real spectrum"),
}
_made = {name: _of_one(name, *how) for name, how in _KINDS.items()}
_made.update({f"{name}2": _of_several(f"{name}2", *how, two=True) for name, how in _KINDS.items()})
_made.update({f"{name}n": _of_several(f"{name}n", *how, two=False) for name, how in _KINDS.items()})
fft, ifft, rfft, irfft, hfft, ihfft = (_made[name] for name in _KINDS)
fft2, ifft2, rfft2, irfft2, hfft2, ihfft2 = (_made[f"{name}2"] for name in _KINDS)
fftn, ifftn, rfftn, irfftn, hfftn, ihfftn = (_made[f"{name}n"] for name in _KINDS)


# -- frequencies and their order -----------------------------------------------------------------------------------


def _frequencies(
    name: str, start: int, stop: int, n: int, d: float, dtype: Any, device: Any, requires_grad: bool, out: Any
) -> Any:
    check_device(device)
    dtype = _dtypes.get_default_dtype() if dtype is None else dtype
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(f"{name} requires a floating point or complex dtype")
    count = arange(start, stop, dtype=dtype)
    if start < 0:
        count = roll(count, start)  # the negative ones last
    result = count * (1.0 / (n * d) if n * d else math.inf)
    if out is not None:
        return store_or_return(resize_(out, result._a.shape), result)
    return result.requires_grad_(requires_grad)


def fftfreq(
    n: int, d: float = 1.0, *, out: Any = None, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The frequencies of the n results of :func:`fft`, for samples ``d`` apart: 0, 1, …, −2, −1 over n·d."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    return _frequencies("fftfreq", -(n // 2), n - n // 2, n, d, dtype, device, requires_grad, out)


def rfftfreq(
    n: int, d: float = 1.0, *, out: Any = None, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The frequencies of the n/2 + 1 results of :func:`rfft`, for samples ``d`` apart: 0, 1, …, n/2 over n·d."""
    return _frequencies("rfftfreq", 0, n // 2 + 1, n, d, dtype, device, requires_grad, out)


def _shift(input: Any, dim: Any, back: bool, name: str) -> Any:
    if not isinstance(input, Variable):
        raise not_a_tensor(input, f"fft_{name}")
    shape = input._a.shape
    dims = tuple(range(len(shape))) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    dims = tuple(wrap_dim(d, len(shape)) for d in dims)
    if not dims or not shape:
        raise RuntimeError("`shifts` required")
    return roll(input, tuple((shape[d] + 1) // 2 if back else shape[d] // 2 for d in dims), dims)


def fftshift(input: Any, dim: Any = None) -> Any:
    """The spectrum with the zero frequency in the middle (of all dimensions, or of those that are named)."""
    return _shift(input, dim, False, "fftshift")


def ifftshift(input: Any, dim: Any = None) -> Any:
    """The inverse of :func:`fftshift`: the zero frequency in front."""
    return _shift(input, dim, True, "ifftshift")
