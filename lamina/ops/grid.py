"""Sampling of images and volumes at given places, as in spatial transformers (https://arxiv.org/abs/1506.02025).

A result is a sum over *taps*, Σ_k w_k(grid) · x[i_k(grid)]. In x and w it is linear, and so are its derivatives, which gives a
family that is closed under differentiation: :class:`GridSample`, :class:`GridSpread` and :class:`GridCorrelate` are each
other's gradients. The weights are products of one polynomial per coordinate; their derivative in one coordinate is of the same
form, and so :class:`GridTaps` and :class:`GridTapsBackward` are another such family.
"""

from __future__ import annotations

import operator
import warnings
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, F32, HALVES, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, wrap
from lamina.engine import kernels as k
from lamina.ops.pointwise import cast

Ints = tuple[int, ...]

MODES = ("bilinear", "nearest", "bicubic")  # in the order of PyTorch's numbers for them
PADDINGS = ("zeros", "border", "reflection")


class GridTaps(Op):
    """Indices and weights w of every place's taps, or w derived ``order`` times;   dL/dgrid = Σ_k g_k·dw_k/dgrid"""

    @staticmethod
    def forward(ctx, grid, spatial, mode, padding, corners, order):
        ctx.save(grid)
        ctx.settings = spatial, mode, padding, corners, order
        return k.grid_taps(grid._a, spatial, mode, padding, corners, order)

    @staticmethod
    def backward(ctx, _of_index, grad):
        return GridTapsBackward.apply(grad, *ctx.saved, *ctx.settings)


class GridTapsBackward(Op):
    """s_d = Σ_k g_k·dw_k/dgrid_d;   its gradients are sums over the dimensions d, of weights derived once more in d"""

    @staticmethod
    def forward(ctx, grad, grid, spatial, mode, padding, corners, order):
        ctx.save(grad, grid)
        ctx.settings, ctx.order = (spatial, mode, padding, corners), order
        return k.grid_taps_backward(grad._a, grid._a, spatial, mode, padding, corners, order)

    @staticmethod
    def backward(ctx, into):
        grad, grid = ctx.saved
        of_grad: Any = 0
        of_grid: Any = 0
        for d in range(len(ctx.order)):
            order = tuple(n + (i == d) for i, n in enumerate(ctx.order))
            share = into[..., -1 - d].reshape(len(into._a), 1, -1)
            if ctx.needs(0):
                of_grad = of_grad + share * GridTaps.apply(grid, *ctx.settings, order)[1]
            if ctx.needs(1):
                of_grid = of_grid + GridTapsBackward.apply(share * grad, grid, *ctx.settings, order)
        return of_grad if ctx.needs(0) else None, of_grid if ctx.needs(1) else None


class GridSample(Op):
    """y[n, c, p] = Σ_k w[n, k, p]·x[n, c, i_k[n, p]];   dL/dx = g spread,   dL/dw = g correlated with x"""

    size: Ints = ()

    @staticmethod
    def forward(ctx, x, weight, index, size):
        ctx.save(x, weight, index)
        ctx.size = size
        return k.grid_sample(x._a, weight._a, index, size)

    @staticmethod
    def backward(ctx, grad):
        x, weight, index = ctx.saved
        spread = GridSpread.apply(grad, weight, index, x._a.shape[2:]) if ctx.needs(0) else None
        return spread, _correlate(grad, x, index, weight._a.shape[1]) if ctx.needs(1) else None

    def name(self) -> str:
        return f"GridSampler{len(self.size)}DBackward0"


class GridSpread(Op):
    """z[n, c, j] = Σ w[n, k, p]·g[n, c, p] over the taps at j;   its gradients are a sample and a correlation"""

    @staticmethod
    def forward(ctx, grad, weight, index, spatial):
        ctx.save(grad, weight, index)
        return k.grid_spread(grad._a, weight._a, index, spatial)

    @staticmethod
    def backward(ctx, into):
        grad, weight, index = ctx.saved
        sample = GridSample.apply(into, weight, index, grad._a.shape[2:]) if ctx.needs(0) else None
        return sample, _correlate(grad, into, index, weight._a.shape[1]) if ctx.needs(1) else None


class GridCorrelate(Op):
    """v[n, k, p] = Σ_c g[n, c, p]·x[n, c, i_k[n, p]];   its gradients are a sample and a spread, with the gradient as weights"""

    @staticmethod
    def forward(ctx, grad, x, index, taps):
        ctx.save(grad, x, index)
        return k.grid_correlate(grad._a, x._a, index, taps)

    @staticmethod
    def backward(ctx, into):
        grad, x, index = ctx.saved
        sample = GridSample.apply(x, into, index, grad._a.shape[2:]) if ctx.needs(0) else None
        return sample, GridSpread.apply(grad, into, index, x._a.shape[2:]) if ctx.needs(1) else None


def _correlate(grad: Any, x: Any, index: np.ndarray, taps: int) -> Any:
    if taps == 1:  # its weight is 1, wherever it is
        return wrap(np.zeros_like(index, dtype=grad._a.dtype))
    return GridCorrelate.apply(grad, x, index, taps)


# -- functions -----------------------------------------------------------------------------------------------------


def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Any:
    r"""The values of ``input`` at the places of ``grid``, interpolated: result[n, :, i, j] = input[n, :, y, x] with
    (x, y) = grid[n, i, j].

    Coordinates run over the input from -1 to 1, the horizontal one first. A place that is no number has the value NaN with
    ``padding_mode="zeros"`` and ``"bicubic"``, and counts as -1 otherwise.

    Args:
        input (Tensor): images (N, C, H, W) or volumes (N, C, D, H, W).
        grid (Tensor): places (N, H_out, W_out, 2) or (N, D_out, H_out, W_out, 3).
        mode (str): ``"bilinear"`` (of the eight neighbours in volumes), ``"nearest"`` or, for images, ``"bicubic"``.
        padding_mode (str): what lies outside the input: ``"zeros"``, the repeated ``"border"``, or its ``"reflection"``.
        align_corners (bool): whether -1 and 1 are the centres of the first and last elements rather than their outer edges.
            Default: False, with a warning.

    Shape:
        result (N, C, H_out, W_out) or (N, C, D_out, H_out, W_out)

    Raises:
        ValueError: an unknown mode.
        RuntimeError: shapes or dtypes that do not fit each other, an input with empty planes, bicubic volumes.
        NotImplementedError: an input that is not floating.
    """
    if mode not in MODES:
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: {str(mode)!r}"
        )
    if padding_mode not in PADDINGS:
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"{str(padding_mode)!r}"
        )
    return _grid_sample(input, grid, mode, padding_mode, _corners("grid_sampler", align_corners))


def _grid_sample(input: Any, grid: Any, mode: str, padding: str, corners: bool) -> Any:
    for name, x in (("input", input), ("grid", grid)):
        if not isinstance(x, Variable):
            raise TypeError(f"grid_sampler(): argument '{name}' must be Tensor, not {type(x).__name__}")
    x, g = input._a, grid._a
    _check_shapes(x.shape, g.shape, mode)
    if x.dtype.kind not in "fV":
        raise NotImplementedError(f"grid_sampler(): not implemented for {SCALAR_NAME[BY_NUMPY[x.dtype]]!r}")
    if x.dtype in HALVES and x.dtype == g.dtype:  # all its steps in single precision, rounded once
        whole = _grid_sample(cast(input, BY_NUMPY[F32]), cast(grid, BY_NUMPY[F32]), mode, padding, corners)
        return cast(whole, BY_NUMPY[x.dtype])
    if x.dtype != g.dtype:
        raise RuntimeError(
            f"grid_sampler(): expected scalar type {SCALAR_NAME[BY_NUMPY[x.dtype]]} of the grid, as of the input, but found "
            f"{SCALAR_NAME[BY_NUMPY[g.dtype]]}"
        )
    index, weight = GridTaps.apply(grid, x.shape[2:], mode, padding, corners, (0,) * (x.ndim - 2))
    return GridSample.apply(input, weight, index._a, g.shape[1:-1])


@lru_cache(1024)
def _check_shapes(x: Ints, grid: Ints, mode: str) -> None:
    given = f"input with sizes {list(x)} and grid with sizes {list(grid)}"
    if not x or not grid or x[0] != grid[0]:
        raise RuntimeError(f"grid_sampler(): expected grid and input to have same batch size, but got {given}")
    if grid[-1] != len(x) - 2:
        raise RuntimeError(f"grid_sampler(): expected grid to have size {len(x) - 2} in last dimension, but got {given}")
    if len(x) not in (4, 5) or len(grid) != len(x):
        raise RuntimeError(
            f"grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got {given}"
        )
    if 0 in x[2:]:
        raise RuntimeError(f"grid_sampler(): expected input to have non-empty spatial dimensions, but got {given}")
    if len(x) == 5 and mode == "bicubic":
        raise RuntimeError(f"grid_sampler(): bicubic interpolation only supports 4D input, but got {given}")


def _corners(name: str, align_corners: Any) -> bool:
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0. Please specify "
            "align_corners=True if the old behavior is desired. See the documentation of grid_sample for details.",
            stacklevel=3,
        )
        return False
    if not isinstance(align_corners, bool):
        raise TypeError(f"{name}(): argument 'align_corners' must be bool, not {type(align_corners).__name__}")
    return align_corners


def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Any:
    r"""A grid for :func:`grid_sample` whose places are those of a regular grid under an affine map:
    grid[n, i, j] = theta[n] · (x_j, y_i, 1).

    Args:
        theta (Tensor): matrices (N, 2, 3) for images or (N, 3, 4) for volumes.
        size (sequence of ints): of the result of the sampling, (N, C, H, W) or (N, C, D, H, W).
        align_corners (bool): as for :func:`grid_sample`. Default: False, with a warning.

    Shape:
        result (N, H, W, 2) or (N, D, H, W, 3)

    Raises:
        ValueError: a ``theta`` that is not floating or does not suit ``size``; an empty ``size``.
        NotImplementedError: a ``size`` of another length.
    """
    if not isinstance(theta, Variable):
        raise TypeError(f"affine_grid(): argument 'theta' (position 1) must be Tensor, not {type(theta).__name__}")
    corners = _corners("affine_grid", align_corners)
    a = theta._a
    if a.dtype.kind not in "fV":
        raise ValueError(f"affine_grid: Expected theta to have floating point type, but got {BY_NUMPY[a.dtype]}")
    ndim = len(size) - 2
    if ndim not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{tuple(size)}."
        )
    if a.ndim != 3 or a.shape[1:] != (ndim, ndim + 1):
        raise ValueError(
            f"affine_grid: Expected a batch of {ndim}D affine matrices of shape Nx{ndim}x{ndim + 1} for size {tuple(size)}. Got "
            f"{list(a.shape)}."
        )
    if corners and min(size[2:]) == 1:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when align_corners=True. This is not an "
            "intended use case of affine_grid. See the documentation of affine_grid for details.",
            stacklevel=2,
        )
    elif min(size) <= 0:
        raise ValueError(f"affine_grid: Expected non-zero, positive output size. Got {tuple(size)}")
    return _affine_grid(theta, size, corners)


def _affine_grid(theta: Any, size: Any, corners: bool) -> Any:
    try:
        n, _, *spatial = (operator.index(s) for s in size)
    except TypeError:
        raise TypeError(f"affine_grid(): argument 'size' must be a sequence of ints, but got {size!r}") from None
    if n != len(theta._a):
        raise RuntimeError(f"affine_grid: expected theta for a batch of {n}, as size is {tuple(size)}, but got {len(theta._a)}")
    base = wrap(_base_grid(tuple(spatial), corners, theta._a.dtype))
    return AffineGrid.apply(theta, base, tuple(spatial))


class AffineGrid(Op):
    """y[n] = base · theta[n]ᵀ;   dL/dtheta[n] = g[n]ᵀ · base"""

    label = "AffineGridGeneratorBackward0"

    @staticmethod
    def forward(ctx, theta, base, spatial):
        ctx.save(base)
        ctx.spatial = spatial
        return k.matmul(base._a, theta._a.swapaxes(1, 2)).reshape(len(theta._a), *spatial, len(spatial))

    @staticmethod
    def backward(ctx, grad):
        (base,) = ctx.saved
        n, ndim = len(grad._a), len(ctx.spatial)
        return grad.reshape(n, prod(ctx.spatial), ndim).transpose(1, 2).matmul(base)


@lru_cache(16)
def _base_grid(spatial: Ints, corners: bool, dtype: Any) -> np.ndarray:
    """The places of a regular grid with a 1 after their coordinates: (P, ndim + 1), the last dimension's coordinate first."""
    grid = np.ones((*spatial, len(spatial) + 1), dtype)
    for d, n in enumerate(spatial):
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        if not corners:
            line = line * ((n - 1) / n)
        grid[..., len(spatial) - 1 - d] = line.reshape(-1, *(1,) * (len(spatial) - 1 - d))
    return grid.reshape(-1, len(spatial) + 1)


def grid_sampler(input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Any:
    """:func:`grid_sample <lamina.nn.functional.grid_sample>` with its modes as numbers, in the order in which it names them."""
    modes = []
    for name, number, known in (("interpolation", interpolation_mode, MODES), ("padding", padding_mode, PADDINGS)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"grid_sampler(): argument '{name}_mode' must be int, not {type(number).__name__}")
        if not 0 <= number < len(known):
            raise RuntimeError(f"grid_sampler(): {name}_mode must be one of 0, 1 and 2, but got {number}")
        modes.append(known[number])
    return _grid_sample(input, grid, modes[0], modes[1], _corners("grid_sampler", align_corners))


def affine_grid_generator(theta: Any, size: Any, align_corners: bool) -> Any:
    """:func:`affine_grid <lamina.nn.functional.affine_grid>` whose last argument must be given."""
    return affine_grid(theta, size, align_corners)


FUNCTIONS = ("grid_sampler", "affine_grid_generator")
NN_FUNCTIONS = ("grid_sample", "affine_grid")
