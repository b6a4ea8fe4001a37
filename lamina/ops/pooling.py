"""Pooling, once for every number of spatial dimensions.

Every rule here is linear in the gradient, so each comes as a pair of operations that are each other's transpose::

    AvgPool, AvgPoolBackward                    sums of windows, and their spreading
    MaxPool → MaxPoolBackward, MaxPoolSelect    a choice; then gradients put to, and values taken from, the chosen places
    AdaptiveMaxPool, FractionalMaxPool, MaxUnpool → PlaneAdd, PlaneGather    the same by flat index in a plane

Arrays are (N, C, *spatial); an input without N gets one on the way in, and loses it on the way out.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import inf, prod
from typing import Any

from lamina.autograd.graph import Op
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.windows import (
    adaptive_windows,
    check_dtype,
    check_rank,
    entries,
    fractional_windows,
    indices_of,
    ints,
    samples_of,
    shape_of,
    unpooled_size,
    window,
)  # fmt: skip

Ints = tuple[int, ...]

# -- the operations ------------------------------------------------------------------------------------------------


class MaxPool(Op):
    """y = the largest element of each window (with its flat index, if asked for);   dL/dx = g at the chosen elements"""

    materializes = False
    spatial: Ints = ()

    @staticmethod
    def forward(ctx, x, kernel, stride, padding, dilation, size, with_indices):
        a = x._a
        if not ctx.recording and not with_indices:
            return k.max_pool(a, kernel, stride, padding, dilation, size)
        y, taps = k.max_pool_taps(a, kernel, stride, padding, dilation, size)
        ctx.window, ctx.spatial = (kernel, stride, padding, dilation), a.shape[2:]
        ctx.save(taps)
        return (y, k.max_pool_indices(taps, ctx.spatial, *ctx.window)) if with_indices else y

    @staticmethod
    def backward(ctx, grad, _of_indices=None):
        return MaxPoolBackward.apply(grad, *ctx.saved, ctx.spatial, *ctx.window)

    def name(self) -> str:
        return f"MaxPool{len(self.spatial)}DWithIndicesBackward0"


class MaxPoolBackward(Op):
    """g put to the chosen elements of an input;   dL/dg = the chosen elements of the gradient"""

    @staticmethod
    def forward(ctx, grad, taps, spatial, *window):
        ctx.window = window
        ctx.save(taps)
        return k.max_pool_backward(grad._a, taps, spatial, *window)

    @staticmethod
    def backward(ctx, grad):
        return MaxPoolSelect.apply(grad, *ctx.saved, *ctx.window)


class MaxPoolSelect(Op):
    """The chosen elements of x;   dL/dx = g put to them"""

    @staticmethod
    def forward(ctx, x, taps, *window):
        ctx.window, ctx.spatial = window, x._a.shape[2:]
        ctx.save(taps)
        return k.max_pool_select(x._a, taps, *window)

    @staticmethod
    def backward(ctx, grad):
        return MaxPoolBackward.apply(grad, *ctx.saved, ctx.spatial, *ctx.window)


class AvgPool(Op):
    """y = the sum of each window, divided by its count or by a given divisor;   dL/dx = each share of g, spread"""

    settings: tuple = ()

    @staticmethod
    def forward(ctx, x, kernel, stride, padding, size, include, divisor):
        a = x._a
        ctx.settings = a.shape[2:], kernel, stride, padding, include, divisor, not a.flags.c_contiguous
        return k.avg_pool(a, kernel, stride, padding, size, include, divisor)

    @staticmethod
    def backward(ctx, grad):
        return AvgPoolBackward.apply(grad, *ctx.settings)

    def name(self) -> str:
        return f"AvgPool{len(self.settings[0])}DBackward0"


class AvgPoolBackward(Op):
    """The transpose of :class:`AvgPool`;   dL/dg = the gradient pooled"""

    @staticmethod
    def forward(ctx, grad, spatial, kernel, stride, padding, include, divisor, channels_last):
        ctx.settings = kernel, stride, padding, grad._a.shape[2:], include, divisor
        return k.avg_pool_backward(grad._a, spatial, kernel, stride, padding, include, divisor, channels_last)

    @staticmethod
    def backward(ctx, grad):
        return AvgPool.apply(grad, *ctx.settings)


class AdaptiveAvgPool(Op):
    """y = the mean of each adaptive window;   dL/dx = each share of g, spread"""

    spatial: Ints = ()

    @staticmethod
    def forward(ctx, x, size):
        ctx.spatial = x._a.shape[2:]
        return k.adaptive_avg_pool(x._a, size)

    @staticmethod
    def backward(ctx, grad):
        return AdaptiveAvgPoolBackward.apply(grad, ctx.spatial)

    def name(self) -> str:
        return f"AdaptiveAvgPool{len(self.spatial)}DBackward0"


class AdaptiveAvgPoolBackward(Op):
    """The transpose of :class:`AdaptiveAvgPool`;   dL/dg = the gradient pooled"""

    @staticmethod
    def forward(ctx, grad, spatial):
        ctx.size = grad._a.shape[2:]
        return k.adaptive_avg_pool_backward(grad._a, spatial)

    @staticmethod
    def backward(ctx, grad):
        return AdaptiveAvgPool.apply(grad, ctx.size)


class AdaptiveMaxPool(Op):
    """y = the largest element of each adaptive window (with its flat index, if asked for);   dL/dx = g at those indices"""

    materializes = False
    spatial: Ints = ()

    @staticmethod
    def forward(ctx, x, size, with_indices):
        return _choose(ctx, x, with_indices, k.adaptive_max_pool, size)

    @staticmethod
    def backward(ctx, grad, _of_indices=None):
        return PlaneAdd.apply(grad, *ctx.saved, ctx.spatial)

    def name(self) -> str:
        return f"{type(self).__name__}{len(self.spatial)}DBackward0"


class FractionalMaxPool(Op):
    """y = the largest element of each window at a random place (with its flat index);   dL/dx = g at those indices"""

    materializes = False
    spatial: Ints = ()
    backward, name = staticmethod(AdaptiveMaxPool.backward), AdaptiveMaxPool.name

    @staticmethod
    def forward(ctx, x, samples, kernel, size, with_indices):
        return _choose(ctx, x, with_indices, k.fractional_max_pool, samples, kernel, size)


def _choose(ctx: Any, x: Any, with_indices: bool, kernel: Any, *settings: Any) -> Any:
    ctx.spatial = x._a.shape[2:]
    y, indices = kernel(x._a, *settings, with_indices or ctx.recording)
    ctx.save(indices)
    return (y, indices) if with_indices else y


class MaxUnpool(Op):
    """y = zero but for x at the indices (the last of several at one index stays);   dL/dx = g at the indices"""

    @staticmethod
    def forward(ctx, x, indices, size):
        ctx.save(indices)
        return k.plane_put(x._a, indices, size)

    @staticmethod
    def backward(ctx, grad):
        return PlaneGather.apply(grad, *ctx.saved)


class PlaneAdd(Op):
    """y = zero but for x added at the flat indices;   dL/dx = g at the indices"""

    @staticmethod
    def forward(ctx, x, indices, spatial):
        ctx.save(indices)
        return k.plane_add(x._a, indices, spatial)

    @staticmethod
    def backward(ctx, grad):
        return PlaneGather.apply(grad, *ctx.saved)


class PlaneGather(Op):
    """y = x at the flat indices;   dL/dx = zero but for g added at the indices"""

    @staticmethod
    def forward(ctx, x, indices):
        ctx.spatial = x._a.shape[2:]
        ctx.save(indices)
        return k.plane_gather(x._a, indices)

    @staticmethod
    def backward(ctx, grad):
        return PlaneAdd.apply(grad, *ctx.saved, ctx.spatial)


class LPPool(Op):
    """y = (Σxᵖ)^(1/p);   dL/dx = (g·y^(1 − p), spread)·x^(p − 1), but 0 where the sum is: a window of zeros has no slope"""

    keeps_output = True
    settings: tuple = ()

    @staticmethod
    def forward(ctx, x, norm, kernel, stride, padding, size, divisor, scale):
        ctx.save(x)
        a = x._a
        ctx.norm, ctx.scale = norm, scale
        ctx.settings = a.shape[2:], kernel, stride, padding, False, divisor, not a.flags.c_contiguous
        total = k.avg_pool(k.pow(a, norm), kernel, stride, padding, size, False, divisor)
        return k.pow(total if scale == 1 else k.mul(total, scale), 1.0 / norm)

    @staticmethod
    def backward(ctx, grad):
        (x,), y, norm = ctx.saved, ctx.output, ctx.norm
        zero = p.eq(y, 0.0 if norm > 0 else inf)
        y = p.where(zero, 1.0, y)
        share = p.where(zero, 0.0, grad / y if norm == 2 else grad * p.pow(y, 1.0 - norm))
        spread = AvgPoolBackward.apply(share if ctx.scale == 1 else share * ctx.scale, *ctx.settings)
        return spread if norm == 1 else spread * (x if norm == 2 else p.pow(x, norm - 1.0))

    def name(self) -> str:
        return f"LPPool{len(self.settings[0])}DBackward0"


# -- the functions -------------------------------------------------------------------------------------------------


def _max_pool(ndim: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = f"max_pool{ndim}d"

    def max_pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:  # fmt: skip
        found = window(
            name, ndim, shape_of(name, input), ints(name, "kernel_size", kernel_size), ints(name, "stride", stride),
            ints(name, "padding", padding), ints(name, "dilation", dilation), ceil_mode,
        )  # fmt: skip
        check_dtype(name, input, "fiu")
        return _batched(MaxPool, ndim, input, *found, bool(return_indices))

    def with_indices(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:  # fmt: skip
        return max_pool(input, kernel_size, stride, padding, dilation, ceil_mode, True)

    return _named(max_pool, name, "largest element of each window", ndim, "MaxPool"), _named(
        with_indices, name + "_with_indices", "largest element of each window, and its flat index in its plane,", ndim, "MaxPool"
    )


def _avg_pool(ndim: int) -> Callable[..., Any]:
    name = f"avg_pool{ndim}d"

    def avg_pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        kernel, stride, padding, _, size = window(
            name, ndim, shape_of(name, input), ints(name, "kernel_size", kernel_size), ints(name, "stride", stride),
            ints(name, "padding", padding), 1, ceil_mode,
        )  # fmt: skip
        check_dtype(name, input, "fi", only_long=True)
        if divisor_override is not None:
            divisor_override = operator.index(ints(name, "divisor_override", divisor_override))
            if divisor_override == 0:
                raise RuntimeError(f"{name}: divisor_override must not be zero")
        return _batched(AvgPool, ndim, input, kernel, stride, padding, size, bool(count_include_pad), divisor_override)

    def without_divisor(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Any:  # fmt: skip
        return avg_pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad)

    return _named(avg_pool if ndim > 1 else without_divisor, name, "mean of each window", ndim, "AvgPool")


def _lp_pool(ndim: int) -> Callable[..., Any]:
    name = f"lp_pool{ndim}d"

    def lp_pool(input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Any:
        kernel, stride, padding, dilation, size = window(
            name, ndim, shape_of(name, input), ints(name, "kernel_size", kernel_size), ints(name, "stride", stride), 0, 1,
            ceil_mode,
        )  # fmt: skip
        if norm_type in (inf, -inf):  # the limits of the norm: the largest and the smallest absolute value
            sign = 1 if norm_type > 0 else -1
            y = _batched(MaxPool, ndim, p.abs(input) * sign, kernel, stride, padding, dilation, size, False)
            return y * sign
        # A window that sticks out counts as PyTorch has it: its mean is scaled up to a whole window's sum.
        spatial = input._a.shape[-ndim:]
        whole = all((n - 1) * s + t <= length for n, s, t, length in zip(size, stride, kernel, spatial, strict=True))
        if input._a.dtype.kind in "fV":
            divisor, scale = (1, 1) if whole else (None, prod(kernel))
            return _batched(LPPool, ndim, input, norm_type, kernel, stride, padding, size, divisor, scale)
        means = _batched(AvgPool, ndim, p.pow(input, norm_type), kernel, stride, padding, size, False, None)
        return p.pow(means * prod(kernel), 1.0 / norm_type)

    return _named(lp_pool, name, "p-norm of each window, (Σxᵖ)^(1/p),", ndim, "LPPool")


def _adaptive_avg_pool(ndim: int) -> Callable[..., Any]:
    name = f"adaptive_avg_pool{ndim}d"

    def adaptive_avg_pool(input: Any, output_size: Any) -> Any:
        size, step = adaptive_windows(name, ndim, shape_of(name, input), entries(name, output_size), ndim < 3)
        check_dtype(name, input, "f")
        if step:
            return _batched(AvgPool, ndim, input, *step, (0,) * ndim, size, True, None)
        return _batched(AdaptiveAvgPool, ndim, input, size)

    return _named(adaptive_avg_pool, name, "mean of each window, the windows placed so that ``output_size`` of them cover", ndim,
                  "AdaptiveAvgPool")  # fmt: skip


def _adaptive_max_pool(ndim: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = f"adaptive_max_pool{ndim}d"

    def adaptive_max_pool(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        size, step = adaptive_windows(name, ndim, shape_of(name, input), entries(name, output_size), False)
        check_dtype(name, input, "f")
        if step:
            return _batched(MaxPool, ndim, input, *step, (0,) * ndim, (1,) * ndim, size, bool(return_indices))
        return _batched(AdaptiveMaxPool, ndim, input, size, bool(return_indices))

    def with_indices(input: Any, output_size: Any, return_indices: bool = False) -> Any:
        return adaptive_max_pool(input, output_size, True)

    what = "largest element of each window{}the windows placed so that ``output_size`` of them cover"
    return _named(adaptive_max_pool, name, what.format(", "), ndim, "AdaptiveMaxPool"), _named(
        with_indices, name + "_with_indices", what.format(" and its flat index in its plane, "), ndim, "AdaptiveMaxPool"
    )


def _fractional_max_pool(ndim: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    name = f"fractional_max_pool{ndim}d"

    def fractional_max_pool(
        input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Any = None,
    ) -> Any:  # fmt: skip
        shape = shape_of(name, input)
        if output_size is None:
            if output_ratio is None:
                raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
            check_rank(name, ndim, shape)
            ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * ndim
            if len(ratios) != ndim:
                raise ValueError(f"{name} requires output_ratio to be a number or {ndim} numbers, but got {output_ratio!r}")
            output_size = tuple(int(n * r) for n, r in zip(shape[-ndim:], ratios, strict=True))
        kernel, size = fractional_windows(
            name, ndim, shape, ints(name, "kernel_size", kernel_size), ints(name, "output_size", output_size)
        )
        check_dtype(name, input, "f")
        planes = (shape[0] if len(shape) == ndim + 2 else 1, shape[-ndim - 1])
        samples = samples_of(name, ndim, input, planes, _random_samples)
        return _batched(FractionalMaxPool, ndim, input, samples, kernel, size, bool(return_indices))

    def with_indices(
        input: Any, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
        _random_samples: Any = None,
    ) -> Any:  # fmt: skip
        return fractional_max_pool(input, kernel_size, output_size, output_ratio, True, _random_samples)

    what = "largest element of each of ``output_size`` windows at pseudo-random places{}"
    return _named(fractional_max_pool, name, what.format(""), ndim, "FractionalMaxPool"), _named(
        with_indices, name + "_with_indices", what.format(", and its flat index in its plane,"), ndim, "FractionalMaxPool"
    )


def _max_unpool(ndim: int) -> Callable[..., Any]:
    name = f"max_unpool{ndim}d"

    def max_unpool(
        input: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
    ) -> Any:
        shape = shape_of(name, input)
        size = unpooled_size(
            name, ndim, shape, ints(name, "kernel_size", kernel_size), ints(name, "stride", stride),
            ints(name, "padding", padding), None if output_size is None else tuple(map(operator.index, output_size)),
        )  # fmt: skip
        at = indices_of(name, shape, indices, size)
        check_dtype(name, input, "f")
        if len(shape) == ndim + 2:
            return MaxUnpool.apply(input, at, size)
        return MaxUnpool.apply(input.unsqueeze(0), at[None], size).squeeze(0)

    return _named(max_unpool, name, "reverse of max pooling: each element put back at its index, zeros elsewhere, from", ndim,
                  "MaxUnpool")  # fmt: skip


def _named(function: Callable[..., Any], name: str, what: str, ndim: int, layer: str) -> Callable[..., Any]:
    axes = ("L", "H, W", "D, H, W")[ndim - 1]
    function.__name__ = function.__qualname__ = name
    link = "an input" if what.endswith(("cover", "from")) else "of an input"
    function.__doc__ = f"The {what} {link} (N, C, {axes}) or (C, {axes}); see :class:`lamina.nn.{layer}{ndim}d`."
    return function


def _batched(op: type[Op], ndim: int, input: Any, *settings: Any) -> Any:
    """Apply ``op`` to an input with a batch, or with a batch of one that is taken away again."""
    if input._a.ndim == ndim + 2:
        return op.apply(input, *settings)
    found = op.apply(input.unsqueeze(0), *settings)
    return tuple(t.squeeze(0) for t in found) if type(found) is tuple else found.squeeze(0)


max_pool1d, max_pool1d_with_indices = _max_pool(1)
max_pool2d, max_pool2d_with_indices = _max_pool(2)
max_pool3d, max_pool3d_with_indices = _max_pool(3)
avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool, (1, 2, 3))
lp_pool1d, lp_pool2d, lp_pool3d = map(_lp_pool, (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg_pool, (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool1d_with_indices = _adaptive_max_pool(1)
adaptive_max_pool2d, adaptive_max_pool2d_with_indices = _adaptive_max_pool(2)
adaptive_max_pool3d, adaptive_max_pool3d_with_indices = _adaptive_max_pool(3)
fractional_max_pool2d, fractional_max_pool2d_with_indices = _fractional_max_pool(2)
fractional_max_pool3d, fractional_max_pool3d_with_indices = _fractional_max_pool(3)
max_unpool1d, max_unpool2d, max_unpool3d = map(_max_unpool, (1, 2, 3))


def _with_indices(input: Any, output_size: Any) -> Any:
    """The largest element of each window, and its flat index; ``torch.adaptive_max_pool1d`` always gives both."""
    return adaptive_max_pool1d_with_indices(input, output_size)


_with_indices.__name__ = _with_indices.__qualname__ = "adaptive_max_pool1d"

FUNCTIONS = (
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "avg_pool1d", "adaptive_avg_pool1d", _with_indices,
)  # fmt: skip
NN_FUNCTIONS = tuple(
    f"{family}{n}d{suffix}"
    for family, suffixes, ranks in (
        ("max_pool", ("", "_with_indices"), (1, 2, 3)),
        ("max_unpool", ("",), (1, 2, 3)),
        ("avg_pool", ("",), (1, 2, 3)),
        ("lp_pool", ("",), (1, 2, 3)),
        ("adaptive_avg_pool", ("",), (1, 2, 3)),
        ("adaptive_max_pool", ("", "_with_indices"), (1, 2, 3)),
        ("fractional_max_pool", ("", "_with_indices"), (2, 3)),
    )
    for n in ranks
    for suffix in suffixes
)
