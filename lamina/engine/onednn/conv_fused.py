"""Convolutions that do more to their result while it is at hand: a residual array added, and what is
negative set to 0, or to 6 what is more as well.

oneDNN's ``relu`` turns NaN into 0. Its ``elu`` with a factor of 0 is the same function and keeps NaN, at the price of an
exponential for each result: 2 to 3 % of a convolution of 64 channels, 3x3, but a third of one of single pixels. So where few
products make a result, where there is another way to it (Winograd's, merged groups, plane by plane), and where oneDNN would
take plain loops, the result is made first and then changed in its place, in one pass. So it is with 6, where nothing that
oneDNN has would keep NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.engine.door import fast
from lamina.engine.onednn import abi, conv, core, threads
from lamina.engine.onednn.conv import Ints, Settings
from lamina.engine.onednn.core import F32, channels_last_desc, plan, plans, primitive
from lamina.engine.onednn.layouts import arranger, bring, lying, results, usable
from lamina.engine.onednn.piecewise import clip

ndarray = np.ndarray
ENOUGH = 256  # products that make a result, from which on the exponential does not count

CUTS: dict[str | None, list] = {None: [], "relu": [("eltwise", abi.ELU, 0.0, 0.0)], "relu6": []}


@fast()
def conv_fused(
    x: ndarray, w: ndarray, bias: ndarray | None, added: ndarray | None, activation: str | None, settings: Settings,
    version: Any = None,
) -> ndarray:
    if x.dtype is not F32 and x.dtype != F32 or added is not None and added.dtype != F32:
        return NotImplemented
    lies = None if added is None else (added.shape, added.strides)
    run = _fused[x.shape, x.strides, w.shape, w.strides, bias is not None, settings, lies, activation]
    return NotImplemented if run is None else run(x, w, bias, added, version)


@plans
def _fused(
    x: Ints, x_strides: Ints, w: Ints, w_strides: Ints, with_bias: bool, settings: Settings, lies: Any, activation: str | None
) -> Any:
    plain = conv._forward[x, x_strides, w, w_strides, with_bias, settings]
    if plain is None:
        return None
    g = conv._Geometry(x, w, settings)
    if lies is not None and (lies[0] != g.y_shape or not usable(lies)):
        return None
    with threads.for_work(g.products):
        return _inside(g, x_strides, w_strides, with_bias, lies, activation, plain) or _after(g, lies, activation, plain)


def _inside(g: Any, x_strides: Ints, w_strides: Ints, with_bias: bool, lies: Any, activation: str | None, plain: Any) -> Any:
    """All in one primitive, where that is a plain convolution on channels-last arrays."""
    products = g.channels // g.groups * int(np.prod(g.kernel))
    implementation = getattr(plain, "implementation", "winograd")
    if "conv" not in implementation or "gemm" in implementation or g.channels <= 3 and g.outputs % 8:
        return None
    if activation == "relu6" or activation and products < ENOUGH:
        return None
    last = channels_last_desc(g.y)
    if lies is not None and not any(d.equals(last) for d in lying(g.y, g.lifted(lies[1]))):
        return None
    steps = [("binary", abi.ADD, last)] if lies is not None else []
    attributes = core.attributes(*steps, *CUTS[activation])
    pd = g.forward(channels_last_desc(g.x), last, with_bias, attributes)
    extra = (abi.post_op_src(0),) if lies is not None else ()
    p = plan(pd, abi.SRC, abi.WEIGHTS, abi.DST, *((abi.BIAS,) if with_bias else ()), *extra)
    if p is None or core.implementation(p.pd).partition(":")[0] != implementation.partition(":")[0]:
        return None
    move = bring(lying(g.x, g.lifted(x_strides)), p.desc(abi.SRC))
    arrange = arranger(core.strided_desc(g.w, g.weight(w_strides)), p.desc(abi.WEIGHTS))
    room, finish = results(g.y_shape, p.desc(abi.DST), g.y)
    execute = p.run

    def run(x: ndarray, w: ndarray, bias: ndarray | None, added: ndarray | None, version: Any) -> ndarray:
        if move is not None:
            x = move(x)
        y = room()
        arrays = [x, arrange(w, version), y]
        if bias is not None:
            arrays.append(np.ascontiguousarray(bias))
        if added is not None:
            arrays.append(added)
        execute(*arrays)
        return y if finish is None else finish(y)

    return run


def _after(g: Any, lies: Any, activation: str | None, plain: Any) -> Any:
    """The convolution, and one pass over its channels-last result."""
    last = channels_last_desc(g.y)
    change = None
    if lies is not None:
        other = core.strided_desc(g.y, core.element_strides(g.y, g.lifted(lies[1])))
        change = plan(
            primitive("binary", abi.ADD, last, other, last, attr=core.attributes(*CUTS[activation])),
            abi.SRC, abi.SRC_1, abi.DST,
        )  # fmt: skip
    elif activation == "relu":
        kind = abi.FORWARD_INFERENCE
        change = plan(primitive("eltwise_forward", kind, abi.ELU, last, last, 0.0, 0.0), abi.SRC, abi.DST)
    if change is None and (activation == "relu" or lies is not None):
        return None
    ideal = tuple(4 * s for s in core.channels_last_strides(g.y_shape))

    def run(x: ndarray, w: ndarray, bias: ndarray | None, added: ndarray | None, version: Any) -> ndarray:
        y = plain(x, w, bias, version)
        if change is None and activation is None:
            return y
        if y.strides != ideal and not core.is_channels_last(y):
            y = core.channels_last(y)
        if added is not None and change is not None:
            change.run(y, added, y)
        elif change is not None:
            change.run(y, y)
        if activation == "relu6":
            clip(y, 0.0, 6.0, y)
        return y

    return run
