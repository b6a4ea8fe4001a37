"""Convolutions on oneDNN, in float32.

Activations are channels-last on both sides of nearly every call, which is where oneDNN's code is fastest and what lets a
network run without reorders; the weight is in whatever blocked form the primitive asks for. A convolution in one dimension
runs as one in two with a height of 1: as fast or faster, and forty times so for one channel per group.

Where other layouts win in spite of the reorders around them is a matter of measurement (one core of an AVX2 machine; ms,
channels-last against the other):

* the gradient to an input of one or two channels, or of up to seven if strided, is a matrix product on plain arrays
  (1 channel, 5x5: 1.84/1.15; 3 channels, 4x4 by 2: 2.36/0.93);
* the gradient to an input whose channels do not fill the vectors, in blocked arrays (6 channels, 5x5: 1.48/0.70);
* the gradient to the weight of wide rows, in blocked arrays (64 channels, 3x3: 56² 17.8/14.6, 80² 42/28);
* a first layer whose output channels do not fill the vectors (1 to 6 channels, 5x5: 0.73/0.60).

Groups too narrow for the vectors are merged, their weights side by side with zeros between (32 groups of 4 channels, 3x3:
7.8/3.0), where oneDNN would otherwise lay out every window.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.memory import empty, empty_like

from . import abi, core
from .core import F32, Desc, any_desc, blocked, channels_last_desc, plain_desc, plan, plans, primitive, query_desc

ndarray = np.ndarray
Ints = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]
Move = Callable[[ndarray], ndarray]

SMALL = 1 << 14  # numbers in a result, below which a reorder costs more than any layout gains
WIDE_ROW = 3584  # numbers in a row of an image, from which on the weight's gradient is faster in blocked arrays


@fast()
def conv(
    x: ndarray, w: ndarray, bias: ndarray | None, stride: Ints, padding: Pairs, dilation: Ints, groups: int, version: Any = None
) -> ndarray:
    if x.dtype is not F32 and x.dtype != F32:
        return NotImplemented
    run = _forward[x.shape, x.strides, w.shape, w.strides, bias is not None, stride, padding, dilation, groups]
    if run is None:
        if not _odd(x, w):
            return NotImplemented
        return conv(_regular(x), _regular(w), bias, stride, padding, dilation, groups)
    return run(x, w, bias, version)


@fast()
def conv_backward_input(
    grad: ndarray,
    w: ndarray,
    bias: ndarray | None,
    size: Ints,
    stride: Ints,
    padding: Pairs,
    dilation: Ints,
    groups: int,
    version: Any = None,
) -> ndarray:
    if grad.dtype is not F32 and grad.dtype != F32:
        return NotImplemented
    run = _backward_input[
        grad.shape, grad.strides, w.shape, w.strides, bias is not None, size, stride, padding, dilation, groups
    ]
    if run is None:
        if not _odd(grad, w):
            return NotImplemented
        return conv_backward_input(_regular(grad), _regular(w), bias, size, stride, padding, dilation, groups)
    return run(grad, w, bias, version)


@fast()
def conv_backward_weight(
    x: ndarray, grad: ndarray, kernel_size: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int
) -> ndarray:
    if x.dtype is not F32 and x.dtype != F32:
        return NotImplemented
    run = _backward_weight[x.shape, x.strides, grad.shape, grad.strides, kernel_size, stride, padding, dilation, groups]
    if run is None:
        if not _odd(x, grad):
            return NotImplemented
        return conv_backward_weight(_regular(x), _regular(grad), kernel_size, stride, padding, dilation, groups)
    return run(x, grad)


@fast()
def conv_backward_bias(grad: ndarray) -> ndarray:
    if grad.dtype is not F32 and grad.dtype != F32:
        return NotImplemented
    run = _row_sums[grad.shape, grad.strides]
    return NotImplemented if run is None else run(grad)


@fast()
def conv_arrange(x: ndarray) -> ndarray:
    if x.dtype is not F32 and x.dtype != F32 or not x.size:
        return NotImplemented
    if _odd(x):
        return _regular(x)
    run = _arrange[x.shape, x.strides]
    return NotImplemented if run is None else run(x)


def _odd(*arrays: ndarray) -> bool:
    """Whether one of the arrays cannot be described to oneDNN as it lies, though a copy of it could be."""
    return any(a.size and any(n > 1 and (s <= 0 or s % 4) for n, s in zip(a.shape, a.strides, strict=True)) for a in arrays)


def _regular(array: ndarray) -> ndarray:
    if not _odd(array):
        return array
    copy = empty(array.shape, F32, channels_last=True)
    copy[...] = array
    return copy


# -- the shapes of a call ------------------------------------------------------------------------------------------


class _Geometry:
    """One convolution as oneDNN is told of it: at least two spatial dimensions, groups as a dimension of the weight."""

    def __init__(self, x: Ints, w: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int) -> None:
        out = tuple(
            (n + lo + hi - d * (k - 1) - 1) // t + 1
            for n, (lo, hi), d, k, t in zip(x[2:], padding, dilation, w[2:], stride, strict=True)
        )
        self.flat = len(stride) == 1
        self.y_shape = (x[0], w[0], *out)
        self.x_shape, self.w_shape = x, w
        if self.flat:
            stride, dilation, padding = (1, *stride), (1, *dilation), ((0, 0), *padding)
        self.x, self.y = self.lifted(self.x_shape), self.lifted(self.y_shape)
        weight = self.lifted(w)
        self.w = weight if groups == 1 else (groups, w[0] // groups, *weight[1:])
        self.groups, self.channels, self.outputs = groups, x[1], w[0]
        self.stride, self.kernel, self.dilation = stride, weight[2:], dilation
        before, after = (tuple(p[i] for p in padding) for i in (0, 1))
        self.usable = 0 not in self.x and 0 not in self.y and 0 not in w and all(
            hi + t > 0 for hi, t in zip(after, stride, strict=True)
        )
        self.large = prod(self.y) >= SMALL
        self.windows = (stride, tuple(d - 1 for d in dilation), before, after)

    def lifted(self, values: Ints) -> Ints:
        """A shape or strides (n, c, *spatial) with a height if there is none; the stride of a single row is free."""
        return (*values[:2], 1, *values[2:]) if self.flat else values

    def weight_desc(self, strides: Ints) -> Desc:
        """The weight as its array lies."""
        o, *rest = self.lifted(strides)
        per_group = self.outputs // self.groups
        return core.strided_desc(
            self.w, core.element_strides(self.w, (o, *rest) if self.groups == 1 else (o * per_group, o, *rest))
        )

    def hint(self) -> Any:
        """The forward primitive that oneDNN wants to see before it makes a backward one."""
        return primitive(
            "convolution_forward", abi.FORWARD_TRAINING, abi.CONVOLUTION_DIRECT, any_desc(self.x), any_desc(self.w), None,
            any_desc(self.y), *self.windows, slow=True,
        )  # fmt: skip


def _usable(*arrays: tuple[Ints, Ints]) -> bool:
    return all(n == 1 or s > 0 and s % 4 == 0 for shape, strides in arrays for n, s in zip(shape, strides, strict=True))


# -- layouts -------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Ints], Desc]] = {"last": channels_last_desc, "plain": plain_desc, "any": any_desc}


def _first(make: Callable[[Callable[[Ints], Desc]], Any], *layouts: str) -> Any:
    """The first primitive that ``make`` gives for one of the layouts."""
    for layout in layouts:
        found = make(LAYOUTS[layout])
        if found is not None:
            return found
    return None


def _lying(shape: Ints, strides: Ints) -> list[Desc]:
    """The descriptors that fit an array; several if a single channel or pixel makes different layouts the same."""
    elements = [s // 4 for s in strides]
    fitting = [
        make(shape)
        for make, candidate in (
            (channels_last_desc, core.channels_last_strides(shape)), (plain_desc, core.c_strides(shape))
        )
        if all(n == 1 or s == c for n, s, c in zip(shape, elements, candidate, strict=True))
    ]  # fmt: skip
    return fitting or [core.strided_desc(shape, core.element_strides(shape, strides))]


def _arranger(lying: Desc, wanted: Desc) -> Callable[[ndarray, Any], ndarray]:
    """What gives a weight in the layout that a primitive wants: kept from call to call while its version is the same."""
    if lying.equals(wanted):
        return lambda w, version: w
    lying, wanted, known = core.intern(lying), core.intern(wanted), core._blocked

    def arrange(w: ndarray, version: Any) -> ndarray:
        kept = known.get((id(w), lying, wanted))
        if kept is not None and kept[1] == version and kept[0]() is w and version is not None:
            return kept[2]
        return blocked(w, wanted, version, lying)

    return arrange


_prepared: dict[tuple[int, str], tuple[Any, Any, ndarray]] = {}


def _prepare(w: ndarray, version: Any, name: str, make: Callable[[ndarray], ndarray]) -> tuple[ndarray, Any]:
    """``make(w)``, kept under a name while the weight's version is the same, and the version of that."""
    if version is None:
        return make(w), None
    key = id(w), name
    kept = _prepared.get(key)
    if kept is None or kept[1] != version or kept[0]() is not w:
        kept = _prepared[key] = weakref.ref(w, lambda _: _prepared.pop(key, None)), version, make(w)
    return kept[2], version


def _flat_size(desc: Desc) -> tuple[int]:
    return (-(-desc.nbytes // 4),)


def _bring(lying: list[Desc], wanted: Desc) -> Move | None:
    """What brings an array into the layout that a primitive wants; ``None`` if it lies so."""
    if any(d.equals(wanted) for d in lying):
        return None
    run, size = core._reorder[core.intern(lying[0]), core.intern(wanted)].run, _flat_size(wanted)

    def bring(array: ndarray) -> ndarray:
        room = empty(size, F32)
        run(array, room)
        return room

    return bring


def _results(shape: Ints, given: Desc, lifted: Ints) -> tuple[Callable[[], ndarray], Move | None]:
    """What makes room for a result, and what turns it into a channels-last array (``None``: it is one)."""
    # NumPy makes arrays in the memory order of another one, which need not exist in full.
    strides = tuple(4 * s for s in core.channels_last_strides(shape))
    model = np.lib.stride_tricks.as_strided(np.empty(1, F32), shape, strides)

    def room() -> ndarray:
        return empty_like(model)

    last = channels_last_desc(lifted)
    if any(d.equals(given) for d in _lying(lifted, tuple(4 * s for s in core.channels_last_strides(lifted)))):
        return room, None
    run, size = core._reorder[core.intern(given), core.intern(last)].run, _flat_size(given)

    def finish(blocks: ndarray) -> ndarray:
        y = room()
        run(blocks, y)
        return y

    return lambda: empty(size, F32), finish


# -- forward -------------------------------------------------------------------------------------------------------


@plans
def _forward(
    x: Ints, x_strides: Ints, w: Ints, w_strides: Ints, with_bias: bool, stride: Ints, padding: Pairs, dilation: Ints, groups: int
) -> Any:
    g = _Geometry(x, w, stride, padding, dilation, groups)
    if not g.usable or not _usable((x, x_strides), (w, w_strides)):
        return None
    first_layer = groups == 1 and g.channels <= 3 and g.outputs % 8 and g.large
    bias_desc = plain_desc((g.outputs,)) if with_bias else None
    pd = _first(
        lambda layout: primitive(
            "convolution_forward", abi.FORWARD_INFERENCE, abi.CONVOLUTION_DIRECT, layout(g.x), any_desc(g.w), bias_desc,
            layout(g.y), *g.windows,
        ),
        *(("any", "last", "plain") if first_layer else ("last", "any", "plain")),
    )  # fmt: skip
    if pd is None:
        return None
    if groups > 1 and "gemm" in core.implementation(pd):
        merged = _merged_forward(g, x_strides, with_bias, stride, padding, dilation)
        if merged is not None:
            return merged
    bring = _bring(_lying(g.x, g.lifted(x_strides)), query_desc(pd, abi.SRC))
    arrange = _arranger(g.weight_desc(w_strides), query_desc(pd, abi.WEIGHTS))
    room, finish = _results(g.y_shape, query_desc(pd, abi.DST), g.y)
    execute = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST, *((abi.BIAS,) if with_bias else ())).run

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        if bring is not None:
            x = bring(x)
        w = arrange(w, version)
        y = room()
        if bias is None:
            execute(x, w, y)
        else:
            execute(x, w, y, np.ascontiguousarray(bias))
        return y if finish is None else finish(y)

    run.implementation = core.implementation(pd)  # type: ignore[attr-defined]
    return run


def _merged_forward(g: _Geometry, x_strides: Ints, with_bias: bool, stride: Ints, padding: Pairs, dilation: Ints) -> Any:
    """The same convolution with so many groups put together that their channels fill vectors; ``None`` if that is no gain."""
    outputs, inputs = g.outputs // g.groups, g.channels // g.groups
    many = next((m for m in (2, 4, 8) if g.groups % m == 0 and m * outputs % 8 == 0 and m * inputs % 8 == 0), None)
    if many is None:
        return None
    kernel = g.w_shape[2:]
    shape = (g.outputs, many * inputs, *kernel)
    strides = tuple(4 * s for s in core.c_strides(shape))
    inner = _forward[g.x_shape, x_strides, shape, strides, with_bias, stride, padding, dilation, g.groups // many]
    if inner is None or "gemm" in inner.implementation:
        return None

    def merge(w: ndarray) -> ndarray:
        apart = w.reshape(-1, many, outputs, inputs, *kernel)
        together = np.zeros((len(apart), many, outputs, many, inputs, *kernel), F32)
        for i in range(many):
            together[:, i, :, i] = apart[:, i]
        return together.reshape(shape)

    name = f"{many} of {g.groups} groups"

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        w, version = _prepare(w, version, name, merge)
        return inner(x, w, bias, version)

    run.implementation = inner.implementation  # type: ignore[attr-defined]
    return run


# -- the gradient to the input -------------------------------------------------------------------------------------


@plans
def _backward_input(
    grad: Ints, grad_strides: Ints, w: Ints, w_strides: Ints, with_bias: bool, size: Ints, stride: Ints, padding: Pairs,
    dilation: Ints, groups: int,
) -> Any:  # fmt: skip
    g = _Geometry((grad[0], w[1] * groups, *size), w, stride, padding, dilation, groups)
    if not g.usable or not _usable((grad, grad_strides), (w, w_strides)):
        return None
    if g.groups == g.channels == g.outputs > 1 and max(g.dilation) > 1 and max(g.stride) == 1:
        turned = _turned_forward(g, grad_strides, with_bias, stride, dilation)
        if turned is not None:
            return turned
    layouts = _input_layouts(g)
    pd = fused = None
    if with_bias and layouts[0] == "last":
        pd = fused = _transposed_with_bias(g)
    if pd is None:
        hint = g.hint()
        pd = _first(
            lambda layout: primitive(
                "convolution_backward_data", abi.CONVOLUTION_DIRECT, layout(g.x), any_desc(g.w), layout(g.y), *g.windows, hint
            ),
            *layouts,
        )
    if pd is None:
        return None
    source, target = (abi.SRC, abi.DST) if fused else (abi.DIFF_DST, abi.DIFF_SRC)
    bring = _bring(_lying(g.y, g.lifted(grad_strides)), query_desc(pd, source))
    # a transposed convolution names the weight's dimensions the other way round
    arrange = _arranger(_exchanged(g, w_strides) if fused else g.weight_desc(w_strides), query_desc(pd, abi.WEIGHTS))
    room, finish = _results(g.x_shape, query_desc(pd, target), g.x)
    execute = plan(pd, source, abi.WEIGHTS, target, *((abi.BIAS,) if fused else ())).run
    add_bias = _adder(g.x) if with_bias and not fused else None

    def run(grad: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        if bring is not None:
            grad = bring(grad)
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


def _turned_forward(g: _Geometry, grad_strides: Ints, with_bias: bool, stride: Ints, dilation: Ints) -> Any:
    """A depthwise gradient as a convolution with the weight turned round (64 channels, 3x3, dilated: 6.8/0.34)."""
    reach = tuple(d * (k - 1) for d, k in zip(dilation, g.w_shape[2:], strict=True))
    befores = g.windows[2][1:] if g.flat else g.windows[2]
    padding = tuple(
        (r - lo, n - m + lo) for r, lo, n, m in zip(reach, befores, g.x_shape[2:], g.y_shape[2:], strict=True)
    )
    if any(side < 0 for pair in padding for side in pair):
        return None
    strides = tuple(4 * s for s in core.c_strides(g.w_shape))
    inner = _forward[g.y_shape, grad_strides, g.w_shape, strides, with_bias, stride, padding, dilation, g.groups]
    if inner is None or "gemm" in inner.implementation:
        return None

    def turn(w: ndarray) -> ndarray:
        return np.ascontiguousarray(np.flip(w, tuple(range(2, w.ndim))))

    def run(grad: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        w, version = _prepare(w, version, "turned", turn)
        return inner(grad, w, bias, version)

    return run


def _input_layouts(g: _Geometry) -> tuple[str, ...]:
    if g.groups == 1 and g.large:
        if max(g.stride) > 1 and g.channels <= 7 or g.channels <= 2 and g.outputs >= 6:
            return "plain", "last", "any"
        if g.channels > 4 and g.channels % 8 and g.outputs >= 8:
            return "any", "last", "plain"
    return "last", "any", "plain"


def _transposed_with_bias(g: _Geometry) -> Any:
    """A transposed convolution that adds the bias as it goes; ``None`` where oneDNN would add it in a plain loop."""
    weight = _swapped(g, g.w)
    pd = primitive(
        "deconvolution_forward", abi.FORWARD_INFERENCE, abi.DECONVOLUTION_DIRECT, channels_last_desc(g.y), any_desc(weight),
        plain_desc((g.channels,)), channels_last_desc(g.x), *g.windows[:3], _exact_after(g),
    )  # fmt: skip
    return pd if pd is not None and core.implementation(pd).startswith("brg") else None


def _exact_after(g: _Geometry) -> Ints:
    """The padding after the input of which a convolution uses every entry."""
    return tuple(
        (m - 1) * t + d * (k - 1) + 1 - n - lo
        for n, m, t, d, k, lo in zip(g.x[2:], g.y[2:], g.stride, g.dilation, g.kernel, g.windows[2], strict=True)
    )


def _swapped(g: _Geometry, values: Ints) -> Ints:
    lead = values[:1] if g.groups > 1 else ()
    outputs, inputs, *kernel = values[len(lead) :]
    return (*lead, inputs, outputs, *kernel)


def _exchanged(g: _Geometry, w_strides: Ints) -> Desc:
    o, *rest = (s // 4 for s in g.lifted(w_strides))
    strides = (o, *rest) if g.groups == 1 else (o * (g.outputs // g.groups), o, *rest)
    return core.strided_desc(_swapped(g, g.w), _swapped(g, tuple(max(s, 1) for s in strides)))


def _adder(shape: Ints) -> Callable[[ndarray, ndarray], None]:
    """Adds a bias to a channels-last array, in place."""
    whole, per_channel = channels_last_desc(shape), channels_last_desc((1, shape[1], *(1,) * (len(shape) - 2)))
    pd = primitive("binary", abi.ADD, whole, per_channel, whole)
    if pd is None:
        return lambda y, bias: np.add(y, bias.reshape(-1, *(1,) * (y.ndim - 2)), out=y)  # type: ignore[return-value]
    execute = plan(pd, abi.SRC, abi.SRC_1, abi.DST).run
    return lambda y, bias: execute(y, bias, y)


# -- the gradient to the weight ------------------------------------------------------------------------------------


@plans
def _backward_weight(
    x: Ints, x_strides: Ints, grad: Ints, grad_strides: Ints, kernel: Ints, stride: Ints, padding: Pairs, dilation: Ints, groups: int
) -> Any:
    g = _Geometry(x, (grad[1], x[1] // groups, *kernel), stride, padding, dilation, groups)
    if not g.usable or not _usable((x, x_strides), (grad, grad_strides)):
        return None
    hint = g.hint()
    pd = _first(  # without oneDNN's own gradient to the bias: see _row_sums
        lambda layout: primitive(
            "convolution_backward_weights", abi.CONVOLUTION_DIRECT, layout(g.x), any_desc(g.w), None, layout(g.y), *g.windows, hint
        ),
        *_weight_layouts(g),
    )
    if pd is None:
        return None
    bring_x = _bring(_lying(g.x, g.lifted(x_strides)), query_desc(pd, abi.SRC))
    bring_grad = _bring(_lying(g.y, g.lifted(grad_strides)), query_desc(pd, abi.DIFF_DST))
    given, wanted, shape = query_desc(pd, abi.DIFF_WEIGHTS), plain_desc(g.w), g.w_shape
    size = _flat_size(given)
    unblock = None if given.equals(wanted) else core._reorder[core.intern(given), core.intern(wanted)].run
    execute = plan(pd, abi.SRC, abi.DIFF_DST, abi.DIFF_WEIGHTS).run

    def run(x: ndarray, grad: ndarray) -> ndarray:
        if bring_x is not None:
            x = bring_x(x)
        if bring_grad is not None:
            grad = bring_grad(grad)
        gw = empty(shape, F32)
        if unblock is None:
            execute(x, grad, gw)
        else:
            blocks = empty(size, F32)
            execute(x, grad, blocks)
            unblock(blocks, gw)
        return gw

    return run


def _weight_layouts(g: _Geometry) -> tuple[str, ...]:
    whole_vectors = g.groups == 1 and g.channels % 8 == 0 and g.outputs % 8 == 0
    row = max(g.channels * g.x[-1], g.outputs * g.y[-1])
    if whole_vectors and len(g.kernel) == 2 and prod(g.kernel) > 1 and max(g.dilation) == 1 and row >= WIDE_ROW:
        return "any", "last", "plain"
    return "last", "any", "plain"


# -- the gradient to the bias, and the order of a gradient ---------------------------------------------------------


@plans
def _row_sums(shape: Ints, strides: Ints) -> Any:
    """Sums a channels-last array over all but its channels: products of blocks of its rows with ones.

    oneDNN's own gradient to the bias takes up to eight times as long (ms, 8x128x56x56: 2.49/0.25), and sums all rows one
    after the other, which loses digits.
    """
    channels, rows = shape[1], prod(shape) // max(shape[1], 1)
    size = next((n for n in range(512, 127, -1) if rows % n == 0), 256)
    blocks, rest = divmod(rows, size)
    elements = [s // 4 for s in strides]
    in_rows = all(n == 1 or s == c for n, s, c in zip(shape, elements, core.channels_last_strides(shape), strict=True))
    if not in_rows or not blocks or not channels:
        return None
    pd = primitive(
        "matmul", plain_desc((1, 1, size)), plain_desc((blocks, size, channels)), None, plain_desc((blocks, 1, channels))
    )
    if pd is None:
        return None
    execute = plan(pd, abi.WEIGHTS, abi.DST, fixed={abi.SRC: np.ones(size, F32)}).run

    def run(grad: ndarray) -> ndarray:
        parts = np.empty((blocks, channels), F32)
        execute(grad, parts)
        total = parts.sum(0)
        if rest:
            total += np.moveaxis(grad, 1, -1).reshape(rows, channels)[rows - rest :].sum(0)
        return total

    return run


@plans
def _arrange(shape: Ints, strides: Ints) -> Any:
    """Copies an array (N, C, *spatial) into channels-last order."""
    if len(shape) < 3 or not _usable((shape, strides)):
        return None
    last = channels_last_desc(shape)
    lying = _lying(shape, strides)
    if any(d.equals(last) for d in lying):
        return lambda x: x
    room, _ = _results(shape, last, shape)
    execute = core._reorder[core.intern(lying[0]), core.intern(last)].run

    def run(x: ndarray) -> ndarray:
        y = room()
        execute(x, y)
        return y

    return run
