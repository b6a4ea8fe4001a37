"""Depthwise convolutions in three dimensions, plane by plane.

oneDNN has fast code for one channel per group in two dimensions only. A kernel of depth K is K flat kernels, each of which
adds to the planes of the result that it reaches. The planes of one image lie one after the other, like the images of a
batch, so that a call convolves all of them (ms on one core, 16x32x8x28x28, 3x3x3: 39/5).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine.onednn import abi, core
from lamina.engine.onednn.core import F32, any_desc, channels_last_desc, plan, primitive
from lamina.engine.onednn.layouts import arranger, in_bytes, prepare, results

ndarray = np.ndarray
Ints = tuple[int, ...]


def suits(g: Any) -> bool:
    """Whether a convolution (a ``_Geometry``) is of this kind."""
    return g.groups == g.channels == g.outputs > 1 and len(g.kernel) == 3 and g.stride[0] == 1


def _reached(g: Any) -> list[tuple[int, int, int]]:
    """(first input plane, first output plane, how many) that each depth of the kernel connects."""
    found = []
    for depth in range(g.kernel[0]):
        shift = depth * g.dilation[0] - g.windows[2][0]
        first, last = max(0, -shift), min(g.y[2], g.x[2] - shift)
        found.append((first + shift, first, max(last - first, 0)))
    return found


def _flat_windows(g: Any) -> tuple[Ints, ...]:
    return tuple(values[1:] for values in g.windows)


def _whole(g: Any, planes: int) -> bool:
    """Whether all planes of all images take part, so that one call serves the batch."""
    return planes == g.x[2] == g.y[2]


def _parts(array: ndarray, whole: bool, first: int) -> list[ndarray]:
    """The arrays that the calls begin with: the planes of each image from the first on, or the batch."""
    return [array] if whole else [image[:, first:] for image in array]


def forward(g: Any) -> Any:
    """The forward convolution, or ``None`` where it is not of this kind or oneDNN lacks the code."""
    if not suits(g):
        return None
    (n, c, _, *rest), (_, _, _, *out) = g.x, g.y
    flat = (c, 1, 1, *g.kernel[1:])
    steps = []
    for depth, (source, target, planes) in enumerate(_reached(g)):
        if not planes:
            continue
        whole = _whole(g, planes)
        count = n * planes if whole else planes
        arrays = channels_last_desc((count, c, *rest)), any_desc(flat), None, channels_last_desc((count, c, *out))
        kind, direct, adding = abi.FORWARD_INFERENCE, abi.CONVOLUTION_DIRECT, core.attributes(("sum",))
        pd = primitive("convolution_forward", kind, direct, *arrays, *_flat_windows(g), attr=adding)
        p = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST)
        if p is None or "gemm" in core.implementation(p.pd):
            return None
        steps.append((p.run, arranger(core.plain_desc(flat), p.desc(abi.WEIGHTS)), depth, source, target, whole))
    room, _ = results(g.y_shape, channels_last_desc(g.y), g.y)

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        x, y = core.channels_last(x), room()
        np.moveaxis(y, 1, -1)[...] = 0 if bias is None else bias
        for execute, arrange, depth, source, target, whole in steps:
            flat_kernel = arrange(prepare(w, version, f"depth {depth}", _at(depth)), version)
            for planes_in, planes_out in zip(_parts(x, whole, source), _parts(y, whole, target), strict=True):
                execute(planes_in, flat_kernel, planes_out)
        return y

    run.implementation = "planes"  # type: ignore[attr-defined]
    return run


def _at(depth: int) -> Callable[[ndarray], ndarray]:
    return lambda w: np.ascontiguousarray(w[:, :, depth])


def backward_weight(g: Any, flat_plans: Any) -> Any:
    """The gradient to the weight; ``flat_plans`` holds those of convolutions in two dimensions."""
    if not suits(g):
        return None
    (n, c, _, *rest), (_, _, _, *out) = g.x, g.y
    stride, padding, dilation, groups = g.settings
    settings = stride[1:], padding[1:], dilation[1:], groups
    steps = []
    for depth, (source, target, planes) in enumerate(_reached(g)):
        if not planes:
            continue
        whole = _whole(g, planes)
        count = n * planes if whole else planes
        shapes = (count, c, *rest), (count, c, *out)
        key = [part for s in shapes for part in (s, in_bytes(core.channels_last_strides(s)))]
        flat = flat_plans[(*key, g.kernel[1:], settings)]
        if flat is None:
            return None
        steps.append((flat, depth, source, target, whole))

    def run(x: ndarray, grad: ndarray) -> ndarray:
        x, grad = core.channels_last(x), core.channels_last(grad)
        gw = np.zeros(g.w_shape, F32)
        for flat, depth, source, target, whole in steps:
            for planes_in, planes_out in zip(_parts(x, whole, source), _parts(grad, whole, target), strict=True):
                gw[:, :, depth] += flat(planes_in, planes_out)
        return gw

    return run
