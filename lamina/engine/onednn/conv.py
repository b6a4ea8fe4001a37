"""Convolutions on oneDNN, in float32.

Activations are channels-last on both sides of nearly every call, which is where oneDNN's code is fastest and what lets a
network run without reorders; the weight is in whatever blocked form the primitive asks for. A convolution in one dimension
runs as one in two with a height of 1: as fast or faster, and forty times so for one channel per group.

Where something else wins is a matter of measurement (one core of an AVX2 machine; ms, channels-last against the other):

* the gradient to an input of one or two channels, or of up to seven if strided, is a matrix product on plain arrays
  (1 channel, 5x5: 1.84/1.15; 3 channels, 4x4 by 2: 2.36/0.93);
* the gradient to an input whose channels do not fill the vectors, in blocked arrays (6 channels, 5x5: 1.48/0.70);
* the gradient to the weight of wide rows, in blocked arrays (64 channels, 3x3: 56² 17.8/14.6, 80² 42/28);
* a first layer whose output channels do not fill the vectors, in blocked arrays (1 to 6 channels, 5x5: 0.73/0.60);
* groups too narrow for the vectors, merged, their weights side by side with zeros between (32 groups of 4 channels, 3x3:
  7.8/3.0);
* a depthwise convolution in three dimensions, plane by plane (see ``conv_planes.py``);
* the gradient to the input of a dilated or three-dimensional depthwise convolution, as a convolution with the weight turned
  round (64 channels, 3x3, dilated: 6.8/0.34);
* large 3x3 convolutions, by Winograd's way (64 to 512 channels: half to two thirds of the time, see ``winograd.py``);
* the gradient to the bias, as a product with ones (8x128x56²: 2.49/0.25);
* a convolution of single pixels, as a matrix product where its input lies in plain order (16x256x28² to 128: 12.2/9.8), and
  so the gradient to its weight in any order (11.4/10.2).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty
from lamina.engine.onednn import abi, conv_planes, core, threads, winograd
from lamina.engine.onednn.core import (
    F32,
    Desc,
    any_desc,
    channels_last_desc,
    plain_desc,
    plan,
    plans,
    primitive,
)
from lamina.engine.onednn.layouts import (
    arranger,
    bring,
    first,
    flat_size,
    in_bytes,
    lying,
    prepare,
    results,
    usable,
)

ndarray = np.ndarray
Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Settings = tuple[Ints, Pairs, Ints, int]

SMALL = 1 << 14  # numbers in a result, below which a reorder costs more than any layout gains
PARTS = 1 << 22  # numbers in the products of all images of a batch, beyond which they are not kept side by side
WIDE_ROW = 3584  # numbers in a row of an image, from which on the weight's gradient is faster in blocked arrays


@fast()
def conv(x: ndarray, w: ndarray, bias: ndarray | None, settings: Settings, version: Any = None) -> ndarray:
    if x.dtype is not F32 and x.dtype != F32:
        return NotImplemented
    run = _forward[x.shape, x.strides, w.shape, w.strides, bias is not None, settings]
    if run is None:
        return conv(_regular(x), _regular(w), bias, settings) if _odd(x, w) else NotImplemented
    return run(x, w, bias, version)


@fast()
def conv_backward_input(
    grad: ndarray, w: ndarray, bias: ndarray | None, size: Ints, settings: Settings, version: Any = None
) -> ndarray:
    if grad.dtype is not F32 and grad.dtype != F32:
        return NotImplemented
    run = _backward_input[grad.shape, grad.strides, w.shape, w.strides, bias is not None, size, settings]
    if run is None:
        return conv_backward_input(_regular(grad), _regular(w), bias, size, settings) if _odd(grad, w) else NotImplemented
    return run(grad, w, bias, version)


@fast()
def conv_backward_weight(x: ndarray, grad: ndarray, kernel_size: Ints, settings: Settings) -> ndarray:
    if x.dtype is not F32 and x.dtype != F32:
        return NotImplemented
    run = _backward_weight[x.shape, x.strides, grad.shape, grad.strides, kernel_size, settings]
    if run is None:
        return conv_backward_weight(_regular(x), _regular(grad), kernel_size, settings) if _odd(x, grad) else NotImplemented
    return run(x, grad)


@fast()
def conv_backward_bias(grad: ndarray) -> ndarray:
    if grad.dtype is not F32 and grad.dtype != F32:
        return NotImplemented
    run = _row_sums[grad.shape, grad.strides]
    return NotImplemented if run is None else run(grad)


@fast()
def conv_arrange(array: ndarray, x: Ints, w: Ints, settings: Settings) -> ndarray:
    if array.dtype is not F32 and array.dtype != F32 or not array.size:
        return NotImplemented
    if _all_last[x, w, settings] or _odd(array):
        return core.channels_last(array)
    return array


def _odd(*arrays: ndarray) -> bool:
    """Whether one of the arrays cannot be described to oneDNN as it lies, though a copy of it could be."""
    return any(a.size and not usable((a.shape, a.strides)) for a in arrays)


def _regular(array: ndarray) -> ndarray:
    return core.channels_last(array) if _odd(array) else array


class _Geometry:
    """One convolution as oneDNN is told of it: at least two spatial dimensions, groups as a dimension of the weight."""

    def __init__(self, x: Ints, w: Ints, settings: Settings) -> None:
        stride, padding, dilation, groups = settings
        self.x_shape, self.w_shape, self.settings, self.groups = x, w, settings, groups
        self.reach = tuple(d * (k - 1) for d, k in zip(dilation, w[2:], strict=True))
        out = ((n + sum(p) - r - 1) // t + 1 for n, p, r, t in zip(x[2:], padding, self.reach, stride, strict=True))
        self.y_shape = (x[0], w[0], *out)
        self.outputs, self.channels = w[0], x[1]
        self.flat = len(stride) == 1
        self.x, self.y = self.lifted(x), self.lifted(self.y_shape)
        outputs, *rest = self.lifted(w)
        self.w = (outputs, *rest) if groups == 1 else (groups, outputs // groups, *rest)
        self.kernel = self.w[-len(self.x) + 2 :]
        if self.flat:
            stride, dilation, padding = (1, *stride), (1, *dilation), ((0, 0), *padding)
        self.stride, self.dilation = stride, dilation
        before, after = tuple(lo for lo, _ in padding), tuple(hi for _, hi in padding)
        self.windows = stride, tuple(d - 1 for d in dilation), before, after
        # one pixel to one pixel: a matrix product over the channels
        self.pointwise = groups == 1 and max(*w[2:], *self.stride) == 1 and max(map(max, padding)) <= 0 and min(before) == 0
        # oneDNN 3.2 leaves pixels out by copying whole vectors of channels: fewer than fill one are written past their room
        self.skips = max(w[2:]) == 1 < max(self.stride) and not any(before) and x[1] // groups % 8 > 0 and all(
            (m - 1) * t < n for m, t, n in zip(self.y[2:], stride, self.x[2:], strict=True)
        )  # fmt: skip
        # oneDNN takes a negative padding only where an input entry is left over that no window reaches
        self.usable = 0 not in (*x, *self.y, *w) and all(hi + t > 0 for hi, t in zip(after, stride, strict=True))
        self.products = prod(self.y) * prod(w[1:])
        self.large = prod(self.y) >= SMALL
        self.in_vectors = x[1] // groups % 8 == 0 and w[0] // groups % 8 == 0
        self.wide = max(x[1] * self.x[-1], w[0] * self.y[-1]) >= WIDE_ROW

    def lifted(self, values: Ints) -> Ints:
        """A shape or strides (n, c, *spatial) with a height if there is none; the stride of a single row is free."""
        return (*values[:2], 1, *values[2:]) if self.flat else values

    def weight(self, strides: Ints) -> Ints:
        """The strides of the weight's array, in elements, as those of ``self.w``."""
        outputs, *rest = self.lifted(strides)
        return core.element_strides(
            self.w, (outputs, *rest) if self.groups == 1 else (outputs * (self.outputs // self.groups), outputs, *rest)
        )

    def swapped(self, values: Ints) -> Ints:
        """A shape or strides of the weight with inputs before outputs, as a transposed convolution names them."""
        lead, rest = (values[:1], values[1:]) if self.groups > 1 else ((), values)
        return (*lead, rest[1], rest[0], *rest[2:])

    def forward(self, x: Desc, y: Desc, with_bias: bool, attr: Any = None) -> Any:
        """The forward primitive for arrays in these layouts, in use."""
        kind, direct = abi.FORWARD_INFERENCE, abi.CONVOLUTION_DIRECT
        bias = plain_desc((self.outputs,)) if with_bias else None
        return primitive("convolution_forward", kind, direct, x, any_desc(self.w), bias, y, *self.windows, attr=attr)

    def hint(self) -> Any:
        """The forward primitive that oneDNN wants to see before it makes a backward one."""
        x, w, y = any_desc(self.x), any_desc(self.w), any_desc(self.y)
        kind, direct = abi.FORWARD_TRAINING, abi.CONVOLUTION_DIRECT
        return primitive("convolution_forward", kind, direct, x, w, None, y, *self.windows, slow=True)


# -- forward -------------------------------------------------------------------------------------------------------


@plans
def _forward(x: Ints, x_strides: Ints, w: Ints, w_strides: Ints, with_bias: bool, settings: Settings) -> Any:
    g = _Geometry(x, w, settings)
    if not g.usable or not usable((x, x_strides), (w, w_strides)):
        return None
    with threads.for_work(g.products):
        return _made_forward(g, x_strides, w_strides, with_bias)


def _made_forward(g: _Geometry, x_strides: Ints, w_strides: Ints, with_bias: bool) -> Any:
    if g.pointwise:
        o, c, *_ = core.element_strides(g.w_shape, w_strides)
        product = _pixel_product(g.x_shape, x_strides, g.y_shape, (c, o), with_bias)
        if product is not None:
            return product
    pd = first(lambda layout: g.forward(layout(g.x), layout(g.y), with_bias), _forward_layouts(g))
    p = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST, *((abi.BIAS,) if with_bias else ()))
    if p is None:
        return None
    move = bring(lying(g.x, g.lifted(x_strides)), p.desc(abi.SRC))
    arrange = arranger(core.strided_desc(g.w, g.weight(w_strides)), p.desc(abi.WEIGHTS))
    room, finish = results(g.y_shape, p.desc(abi.DST), g.y)
    execute = p.run

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        if move is not None:
            x = move(x)
        w = arrange(w, version)
        y = room()
        if bias is None:
            execute(x, w, y)
        else:
            execute(x, w, y, np.ascontiguousarray(bias))
        return y if finish is None else finish(y)

    run.implementation = core.implementation(p.pd)  # type: ignore[attr-defined]
    if g.groups == 1 and not g.flat and g.kernel == (3, 3) and max(*g.stride, *g.dilation) == 1:
        return winograd.convolution(g.x, g.outputs, g.y[2:], g.windows[2], run, _sums(g.y_shape)) or run
    if g.groups > 1 and "gemm" in core.implementation(p.pd):
        return conv_planes.forward(g) or _merged(g, x_strides, with_bias, run) or run
    return run


def _sums(shape: Ints) -> Any:
    """What adds up a channels-last array, to tell whether all of it is finite."""
    return _row_sums[shape, in_bytes(core.channels_last_strides(shape))] or np.sum


def _forward_layouts(g: _Geometry) -> tuple[str, ...]:
    if g.groups == 1 and g.channels <= 3 and g.outputs % 8 and g.large:
        return "any", "last", "plain"
    return "last", "any", "plain"


def _pixel_product(x: Ints, x_strides: Ints, y: Ints, w_strides: Ints, with_bias: bool) -> Any:
    """A convolution of single pixels, from an input in plain order, as a matrix product with channels-last results.

    ``w_strides`` are those of the weight as a matrix of inputs by outputs; ``None`` for inputs in any other order, and for
    those whose channels lie a power of two apart and so share their places in the cache.
    """
    n, c, *_ = x
    pixels = prod(x[2:])
    if not _plain(x, x_strides) or c == 1 or pixels % 512 == 0:
        return None
    source = core.strided_desc((n, pixels, c), (c * pixels, 1, pixels))
    weight = core.strided_desc((1, c, y[1]), (1, *w_strides))
    bias_desc = plain_desc((1, 1, y[1])) if with_bias else None
    pd = primitive("matmul", source, weight, bias_desc, plain_desc((n, pixels, y[1])))
    p = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST, *((abi.BIAS,) if with_bias else ()))
    if p is None:
        return None
    execute = p.run
    room, _ = results(y, channels_last_desc(y), y)

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        y = room()
        if bias is None:
            execute(x, w, y)
        else:
            execute(x, w, y, np.ascontiguousarray(bias))
        return y

    run.implementation = core.implementation(p.pd)  # type: ignore[attr-defined]
    return run


def _plain(shape: Ints, strides: Ints) -> bool:
    return all(n == 1 or s == c for n, s, c in zip(shape, strides, in_bytes(core.c_strides(shape)), strict=True))


def _merged(g: _Geometry, x_strides: Ints, with_bias: bool, exact: Any) -> Any:
    """The same convolution with so many groups put together that their channels fill vectors; ``None`` if it is no gain.

    An infinity or NaN of one group, times the zeros between, would reach the results of the groups merged with it. So
    unless all results are finite, they are computed again by ``exact``.
    """
    outputs, inputs, kernel = g.outputs // g.groups, g.channels // g.groups, g.w_shape[2:]
    fitting = (m for m in (2, 4, 8) if g.groups % m == 0 and m * outputs % 8 == 0 and m * inputs % 8 == 0)
    many = next(fitting, None)
    if many is None:
        return None
    shape = (g.outputs, many * inputs, *kernel)
    inner = _forward[g.x_shape, x_strides, shape, in_bytes(core.c_strides(shape)), with_bias, (*g.settings[:3], g.groups // many)]
    if inner is None or "gemm" in inner.implementation:
        return None
    sums = _sums(g.y_shape)
    name = f"{many} of {g.groups} groups"

    def merge(w: ndarray) -> ndarray:
        apart = w.reshape(-1, many, outputs, inputs, *kernel)
        together = np.zeros((len(apart), many, outputs, many, inputs, *kernel), F32)
        for i in range(many):
            together[:, i, :, i] = apart[:, i]
        return together.reshape(shape)

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        y = inner(x, prepare(w, version, name, merge), bias, version)
        return y if np.isfinite(sums(y)).all() else exact(x, w, bias, version)

    run.implementation = inner.implementation  # type: ignore[attr-defined]
    return run


# -- the gradient to the input -------------------------------------------------------------------------------------


@plans
def _backward_input(
    grad: Ints, grad_strides: Ints, w: Ints, w_strides: Ints, with_bias: bool, size: Ints, settings: Settings
) -> Any:
    g = _Geometry((grad[0], w[1] * settings[3], *size), w, settings)
    if not g.usable or not usable((grad, grad_strides), (w, w_strides)):
        return None
    depthwise = g.groups == g.channels == g.outputs > 1
    if depthwise and max(g.stride) == 1 and (max(g.dilation) > 1 or len(g.kernel) == 3):
        turned = _turned(g, grad_strides, with_bias)
        if turned is not None:
            return turned
    if g.pointwise:
        o, c, *_ = core.element_strides(w, w_strides)
        product = _pixel_product(g.y_shape, grad_strides, g.x_shape, (o, c), with_bias)
        if product is not None:
            return product
    layouts = _input_layouts(g, _plain(g.y_shape, grad_strides))
    pd = fused = transposed(g, True) if with_bias and layouts[0] == "last" else None
    if pd is None:
        hint = g.hint()

        def make(layout: Callable[[Ints], Desc]) -> Any:
            arrays = layout(g.x), any_desc(g.w), layout(g.y)
            return primitive("convolution_backward_data", abi.CONVOLUTION_DIRECT, *arrays, *g.windows, hint)

        pd = first(make, layouts)
    source, target = (abi.SRC, abi.DST) if fused else (abi.DIFF_DST, abi.DIFF_SRC)
    p = plan(pd, source, abi.WEIGHTS, target, *((abi.BIAS,) if fused else ()))
    if p is None:
        return None
    move = bring(lying(g.y, g.lifted(grad_strides)), p.desc(source))
    seen, strides = (g.swapped(g.w), g.swapped(g.weight(w_strides))) if fused else (g.w, g.weight(w_strides))
    arrange = arranger(core.strided_desc(seen, strides), p.desc(abi.WEIGHTS))
    room, finish = results(g.x_shape, p.desc(target), g.x)
    execute = p.run
    add_bias = _adder(g.x) if with_bias and not fused else None

    def run(grad: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        if move is not None:
            grad = move(grad)
        w = arrange(w, version)
        gx = room()
        if fused:
            execute(grad, w, gx, np.ascontiguousarray(bias))
        else:
            execute(grad, w, gx)
        if finish is not None:
            gx = finish(gx)
        if add_bias is not None:
            add_bias(gx, np.ascontiguousarray(bias))
        return gx

    return run


def _input_layouts(g: _Geometry, plain: bool = False) -> tuple[str, ...]:
    """In order of preference; ``plain``: the gradient lies in plain order."""
    if g.groups == 1 and g.large:
        if max(g.stride) > 1 and g.channels <= 7 or g.channels <= (3 if plain else 2) and g.outputs >= 6:
            return "plain", "last", "any"
        if g.channels > 4 and g.channels % 8 and g.outputs >= 8:
            return "any", "last", "plain"
    if g.groups > 1 and g.in_vectors and g.wide:
        return "any", "last", "plain"
    return "last", "any", "plain"


def _turned(g: _Geometry, grad_strides: Ints, with_bias: bool) -> Any:
    """A depthwise gradient with stride 1 as a convolution with the weight turned round; ``None`` if it is no gain."""
    stride, padding, dilation, groups = g.settings
    around = tuple(
        (r - lo, n - m + lo) for r, (lo, _), n, m in zip(g.reach, padding, g.x_shape[2:], g.y_shape[2:], strict=True)
    )
    if min(map(min, around)) < 0:
        return None

    def turn(w: ndarray) -> ndarray:
        return np.ascontiguousarray(np.flip(w, tuple(range(2, w.ndim))))

    settings, w_strides = (stride, around, dilation, groups), in_bytes(core.c_strides(g.w_shape))
    inner = _forward[g.y_shape, grad_strides, g.w_shape, w_strides, with_bias, settings]
    if inner is None or "gemm" in inner.implementation:
        return None
    return lambda grad, w, bias, version: inner(grad, prepare(w, version, "turned", turn), bias, version)


def transposed(g: _Geometry, with_bias: bool) -> Any:
    """A transposed convolution that adds the bias as it goes; ``None`` where oneDNN would add it in a plain loop.

    Without post-ops: from 512 channels on, with a stride, oneDNN 3.2 applies an activation to sums that are not complete.
    """
    stride, dilation, before, _ = g.windows
    after = tuple(  # such that every entry of the result has a window
        (m - 1) * t + (d + 1) * (k - 1) + 1 - n - lo
        for n, m, t, d, k, lo in zip(g.x[2:], g.y[2:], stride, dilation, g.kernel, before, strict=True)
    )
    kind, direct = abi.FORWARD_INFERENCE, abi.DECONVOLUTION_DIRECT
    bias = plain_desc((g.channels,)) if with_bias else None
    arrays = channels_last_desc(g.y), any_desc(g.swapped(g.w)), bias, channels_last_desc(g.x)
    pd = primitive("deconvolution_forward", kind, direct, *arrays, stride, dilation, before, after)
    return pd if pd is not None and core.implementation(pd).startswith("brg") else None


def _adder(shape: Ints) -> Callable[[ndarray, ndarray], None]:
    """Adds a bias to a channels-last array, in place."""
    whole, ones = channels_last_desc(shape), (1,) * (len(shape) - 2)
    per_channel = channels_last_desc((1, shape[1], *ones))
    p = plan(primitive("binary", abi.ADD, whole, per_channel, whole), abi.SRC, abi.SRC_1, abi.DST)

    def add(y: ndarray, bias: ndarray) -> None:
        if p is None:
            y += bias.reshape(-1, *(1,) * (y.ndim - 2))
        else:
            p.run(y, bias, y)

    return add


# -- the gradients to the weight and to the bias -------------------------------------------------------------------


@plans
def _backward_weight(
    x: Ints, x_strides: Ints, grad: Ints, grad_strides: Ints, kernel: Ints, settings: Settings
) -> Any:
    g = _Geometry(x, (grad[1], x[1] // settings[3], *kernel), settings)
    if not g.usable or not usable((x, x_strides), (grad, grad_strides)):
        return None
    if g.pointwise:
        product = _pixel_products(g, x_strides, grad_strides)
        if product is not None:
            return product
    if g.skips:
        return _picked(g)
    planes = conv_planes.backward_weight(g, _backward_weight)
    if planes is not None:
        return planes
    hint = g.hint()

    def make(layout: Callable[[Ints], Desc]) -> Any:
        arrays = layout(g.x), any_desc(g.w), None, layout(g.y)
        return primitive("convolution_backward_weights", abi.CONVOLUTION_DIRECT, *arrays, *g.windows, hint)

    p = plan(first(make, _weight_layouts(g, _plain(g.y_shape, grad_strides))), abi.SRC, abi.DIFF_DST, abi.DIFF_WEIGHTS)
    if p is None:
        return None
    move_x = bring(lying(g.x, g.lifted(x_strides)), p.desc(abi.SRC))
    move_grad = bring(lying(g.y, g.lifted(grad_strides)), p.desc(abi.DIFF_DST))
    given, wanted, shape = p.desc(abi.DIFF_WEIGHTS), plain_desc(g.w), g.w_shape
    size = flat_size(given)
    unblock = None if given.equals(wanted) else core._reorder[core.intern(given), core.intern(wanted)].run
    execute = p.run

    def run(x: ndarray, grad: ndarray) -> ndarray:
        if move_x is not None:
            x = move_x(x)
        if move_grad is not None:
            grad = move_grad(grad)
        gw = empty(shape, F32)
        if unblock is None:
            execute(x, grad, gw)
        else:
            blocks = empty(size, F32)
            execute(x, grad, blocks)
            unblock(blocks, gw)
        return gw

    return run


def _picked(g: _Geometry) -> Callable[[ndarray, ndarray], ndarray]:
    """The gradient to the weight of single pixels, of which the stride leaves some out: those that it takes are copied."""
    stride, _, _, groups = g.settings
    kernel, ones = g.w_shape[2:], (1,) * len(stride)
    settings = ones, ((0, 0),) * len(ones), ones, groups
    taken = (slice(None), slice(None), *(slice(0, (n - 1) * t + 1, t) for n, t in zip(g.y_shape[2:], stride, strict=True)))

    def run(x: ndarray, grad: ndarray) -> ndarray:
        return conv_backward_weight(core.channels_last(x[taken]), grad, kernel, settings)

    return run


def _weight_layouts(g: _Geometry, plain: bool = False) -> tuple[str, ...]:
    """In order of preference; ``plain``: the gradient lies in plain order."""
    if len(g.kernel) == 2 and prod(g.kernel) > 1:
        if max(g.dilation) > 1:
            return "plain", "last", "any"
        if g.in_vectors and g.wide or plain and g.large and 1 < g.channels <= 3 and g.outputs % 8 == 0:
            return "any", "last", "plain"
    return "last", "any", "plain"


def _pixel_products(g: _Geometry, x_strides: Ints, grad_strides: Ints) -> Any:
    """The gradient to the weight of a convolution of single pixels: a product per image, and their sum."""
    n, pixels, shape = g.x[0], prod(g.x[2:]), g.w_shape
    if n * g.outputs * g.channels > PARTS:
        return None
    steps = []
    for sizes, strides in ((g.x_shape, x_strides), (g.y_shape, grad_strides)):
        c = sizes[1]
        if _plain(sizes, strides):
            steps.append((c * pixels, 1, pixels))
        elif all(a == b or m == 1 for m, a, b in zip(sizes, strides, in_bytes(core.channels_last_strides(sizes)), strict=True)):
            steps.append((c * pixels, c, 1))
        else:
            return None
    by_image, by_pixel, by_channel = steps[1]
    left = core.strided_desc((n, g.outputs, pixels), (by_image, by_channel, by_pixel))
    right = core.strided_desc((n, pixels, g.channels), steps[0])
    p = plan(primitive("matmul", left, right, None, plain_desc((n, g.outputs, g.channels))), abi.SRC, abi.WEIGHTS, abi.DST)
    if p is None:
        return None
    execute = p.run

    def run(x: ndarray, grad: ndarray) -> ndarray:
        if n == 1:
            gw = empty(shape, F32)
            execute(grad, x, gw)
            return gw
        parts = empty((n, *shape), F32)
        execute(grad, x, parts)
        return parts.sum(0)

    return run


@plans
def _all_last(x: Ints, w: Ints, settings: Settings) -> bool:
    """Whether all of a convolution's kernels are at their best on channels-last arrays, whatever the arrays' own order."""
    g = _Geometry(x, w, settings)
    chosen = (_forward_layouts(g), _input_layouts(g), _weight_layouts(g))
    return g.channels > 4 and not g.pointwise and all(layouts[0] == "last" for layouts in chosen)


@plans
def _row_sums(shape: Ints, strides: Ints) -> Any:
    """Sums an array over all but its channels, as products of short rows with ones.

    Short rows keep the digits that are lost where everything is summed in one go, as by oneDNN's own gradient.
    """
    if len(shape) < 3 or 0 in shape or not usable((shape, strides)):
        return None
    n, channels, pixels = shape[0], shape[1], prod(shape[2:])
    if any(d.equals(channels_last_desc(shape)) for d in lying(shape, strides)):
        size = next((k for k in range(512, 15, -1) if n * pixels % k == 0), 0)
        blocks = n * pixels // max(size, 1)
        given, ones, found = (blocks, size, channels), (1, 1, size), (blocks, 1, channels)
        given_arg, ones_arg = abi.WEIGHTS, abi.SRC
        shape_of_parts: Ints = (blocks, channels)
        over: Ints = (0,)
    elif _plain(shape, strides):
        size = next((k for k in range(min(512, pixels), 15, -1) if pixels % k == 0), 0)
        rows = n * channels * pixels // max(size, 1)
        given, ones, found = (1, rows, size), (1, size, 1), (1, rows, 1)
        given_arg, ones_arg = abi.SRC, abi.WEIGHTS
        shape_of_parts, over = (n, channels, rows // (n * channels)), (0, 2)
    else:
        return None
    if not size:
        return None
    source, weights = (ones, given) if given_arg == abi.WEIGHTS else (given, ones)
    pd = primitive("matmul", plain_desc(source), plain_desc(weights), None, plain_desc(found))
    p = plan(pd, given_arg, abi.DST, fixed={ones_arg: np.ones(size, F32)})
    if p is None:
        return None
    execute = p.run

    def run(grad: ndarray) -> ndarray:
        parts = np.empty(shape_of_parts, F32)
        execute(grad, parts)
        return parts.sum(over)

    return run
