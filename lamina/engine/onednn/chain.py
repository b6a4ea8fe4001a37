"""A chain: a stretch of a network, in use, as one prepared call.

What happens between two layers costs more than some layers do: finding the prepared call, making room for the result, setting
addresses. In a chain all of it was done before. Layouts are settled, results lie in one block of memory that is planned when
the chain is made (who is read no more leaves his place to others), and a call is a row of ``dnnl_primitive_execute``.

The steps are said one after another (:meth:`Chain.conv`, ...); each gives a :class:`Slot`, which later steps take::

    chain = Chain()
    x = chain.input(array.shape, array.strides)
    chain.output(chain.pool(chain.conv(x, w, b, settings, "relu", None), abi.POOLING_MAX, ...))
    run = chain.ready([weights and biases in the order in which they came])
    (y,) = run(array)

Activations are oneDNN's own here, some of which lose NaN, and so does its max pooling: a chain is right only for numbers of which
nothing beyond all bounds can come. ``Chain.bound`` gives how large they may be.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cached_property
from math import inf, prod
from typing import Any

import numpy as np

from lamina.engine.memory import empty, empty_like
from lamina.engine.onednn import abi, conv, core, pooling, threads
from lamina.engine.onednn.abi import Handle, check, create
from lamina.engine.onednn.call import address
from lamina.engine.onednn.conv import Settings
from lamina.engine.onednn.core import F32, Desc, any_desc, channels_last_desc, plain_desc, primitive
from lamina.engine.onednn.layouts import first, in_bytes, lying, stand_in, usable

ndarray = np.ndarray
Ints = tuple[int, ...]

PASS = 4  # multiplications that take the time of a number's passing through
PART = 1 << 17  # numbers
FEW = 1 << 16  # numbers in a result, up to which leaving the chain and its layout costs more than a better layout gains
SCORES = 1 << 20  # products of queries with keys up to which they are made all at once
OWN = 1 << 18  # bytes of results up to which a chain keeps its memory between calls; more comes from the pool
LARGEST = 1e33  # what no number within a chain may exceed; sums within a convolution stay finite by far
SPARE = 1e-6  # how much of that may be used up when a chain is made, so that weights can grow
STARTS = 1e15, 1e10, 1e6, 1e4  # sizes of inputs for which a chain may be right; the last, for which each is when it is made
Activation = tuple[int, float, float]  # an element-wise algorithm of oneDNN and its parameters
BOUNDED = abi.CLIP, abi.TANH, abi.LOGISTIC, abi.HARDSIGMOID


class Unfit(Exception):
    """A step that cannot be part of a chain."""


class Slot:
    """An array within a chain: its shape, and how and where it lies."""

    __slots__ = ("shape", "desc", "number", "root", "place", "offset", "size")

    def __init__(self, shape: Ints, desc: Desc, number: int, root: Slot | None, offset: int = 0) -> None:
        self.shape, self.desc, self.number = shape, desc, number
        self.root: Slot = self if root is None else root.root  # whose memory it is
        self.place: int | None = None  # in the chain's block of memory; None: outside of it
        self.offset: int = offset if root is None else root.offset + offset  # bytes from where the root's memory begins
        self.size = -(-desc.nbytes // 64) * 64

    @property
    def whole(self) -> bool:
        """Whether it is all of its root's memory."""
        return not self.offset and self.size == self.root.size


Growth = Callable[[list[float], list[float]], float]  # a slot's bound from those of the slots before it, and the weights' sizes


def _as(slot: Slot) -> Growth:
    """The bound of another form of a slot."""
    number = slot.number
    return lambda bounds, _: bounds[number]


def _size(w: ndarray) -> float:
    """The largest sum of sizes in a row of a weight, or number of a bias, NaN if there is one; in parts that stay in cache."""
    rows = w.reshape(len(w), -1)
    step = max(1, PART // rows.shape[1])
    return float(np.max([np.abs(rows[i : i + step]).sum(1).max() for i in range(0, len(rows), step)]))


def _applied(activation: Activation, lies: Desc) -> Handle | None:
    algorithm, *rest = activation
    return primitive("eltwise_forward", abi.FORWARD_INFERENCE, algorithm, lies, lies, *rest)


def _after(activation: Activation | None) -> list[tuple[Any, ...]]:
    """The post-op of an activation."""
    return [] if activation is None else [("eltwise", *activation)]


def _activated(activation: Activation | None, largest: float) -> float:
    """How large an activation's results can be."""
    if activation is None:
        return largest
    algorithm, *rest = activation
    size = max(1.0, *map(abs, rest))
    return size if algorithm in BOUNDED and largest < LARGEST else largest * size + size


class _Step:
    """A primitive with its arguments: slots, or numbers of weights."""

    __slots__ = ("pd", "made", "count", "args", "scratch")

    def __init__(self, pd: Handle, args: list[tuple[int, Any]]) -> None:
        self.pd, self.args, self.count = pd, args, pd.count or threads.planned()
        self.made = create("primitive_create", pd, destroy="primitive")
        self.scratch = core._nbytes(pd, abi.SCRATCHPAD)


class _Function:
    """A step that is not one primitive (Winograd's way, groups put together): a function of arrays that makes its result."""

    __slots__ = ("run", "x", "weights", "y")

    def __init__(self, run: Callable[..., ndarray], x: Slot, weights: tuple[int, int | None], y: Slot) -> None:
        self.run, self.x, self.weights, self.y = run, x, weights, y


class Chain:
    """Steps, and how their numbers may grow. Every method raises :class:`Unfit` for what oneDNN has no quick form of."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.slots: list[Slot] = []
        self.inputs: list[tuple[Slot, Ints]] = []
        self.outputs: list[Slot] = []
        self.weights: list[Callable[[ndarray], ndarray]] = []  # per weight or bias: what brings it into its layout
        self.growth: list[Growth | None] = []  # per slot; None: an input
        self.bounds: list[float] = []  # per slot, for inputs of the least size
        self.sizes: list[float] = []  # per weight or bias
        self.coming: list[float] = []  # of those of the step that is being added
        self.others: dict[Slot, list[Slot]] = {}  # the same numbers in other layouts

    # -- what steps are made of ------------------------------------------------------------------------------------

    def _slot(self, shape: Ints, desc: Desc, growth: Growth | None, root: Slot | None = None, offset: int = 0) -> Slot:
        slot = Slot(shape, desc, len(self.slots), root, offset)
        self.slots.append(slot)
        self.growth.append(growth)
        self.bounds.append(STARTS[-1] if growth is None else growth(self.bounds, self.sizes + self.coming))
        return slot

    def _step(self, pd: Handle | None, *args: tuple[int, Any]) -> None:
        if pd is None:
            raise Unfit
        self.steps.append(_Step(pd, [(arg, x) for arg, x in args if x is not None]))

    def _weight(self, source: Callable[[ndarray], Desc], wanted: Desc | None) -> int:
        """The number of one more weight, which will be brought from ``source`` into the layout ``wanted``."""
        if wanted is None:
            raise Unfit

        def bring(w: ndarray) -> ndarray:
            given = source(w)
            return np.ascontiguousarray(w) if given.equals(wanted) else core.reorder(w, wanted, given)

        self.weights.append(bring)
        self.sizes.append(self.coming.pop(0))
        return len(self.weights) - 1

    def _bias(self, bias: ndarray | None) -> int | None:
        return None if bias is None else self._weight(lambda b: plain_desc(b.shape), plain_desc(bias.shape))

    def _lying(self, slot: Slot, desc: Desc | None) -> Slot:
        """The slot, or a copy of it that lies as ``desc``."""
        if desc is None:
            raise Unfit
        for other in (slot, *self.others.get(slot, ())):
            if other.desc.equals(desc):
                return other
        return self._copy(slot, desc)

    def _copy(self, slot: Slot, desc: Desc) -> Slot:
        copy = self._slot(slot.shape, desc, _as(slot))
        with threads.for_work(PASS * prod(slot.shape)):
            self._step(core.reorder_primitive(slot.desc, desc), (abi.SRC, slot), (abi.DST, copy))
        self.others.setdefault(slot, []).append(copy)
        return copy

    # -- ends ------------------------------------------------------------------------------------------------------

    def input(self, shape: Ints, strides: Ints) -> Slot:
        """An array that each call gives."""
        if 0 in shape or not shape or not usable((shape, strides)):
            raise Unfit
        if len(shape) > 2:
            found = lying(shape, strides)
        else:
            found = [core.strided_desc(shape, core.element_strides(shape, strides))]
        slot = self._slot(shape, found[0], None)
        for desc in found[1:]:
            self.others.setdefault(slot, []).append(self._slot(shape, desc, _as(slot), slot))
        self.inputs.append((slot, strides))
        return slot

    def output(self, slot: Slot) -> None:
        """Have calls return a slot, plain if it is so, channels-last otherwise."""
        if not slot.desc.equals(plain_desc(slot.shape)):
            slot = self._lying(slot, channels_last_desc(slot.shape))
        if not slot.whole:
            slot = self._copy(slot, slot.desc)
        if any(slot.root is s.root for s in (*self.outputs, *(s for s, _ in self.inputs))):
            raise Unfit
        self.outputs.append(slot)

    # -- steps -----------------------------------------------------------------------------------------------------

    def conv(
        self, x: Slot, w: ndarray, bias: ndarray | None, settings: Settings, activation: Activation | None,
        added: Slot | None = None,
    ) -> Slot:
        """activation(x ⋆ w + bias + added)"""
        g = conv._Geometry(x.shape, w.shape, settings)
        if g.flat or not g.usable:
            raise Unfit
        with threads.for_work(g.products):
            return self._conv(g, x, w, bias, activation, added)

    def _conv(self, g: Any, x: Slot, w: ndarray, bias: ndarray | None, activation: Activation | None, added: Slot | None) -> Slot:
        strides = in_bytes(core.channels_last_strides(g.x)), in_bytes(core.c_strides(g.w_shape))
        plain = conv._forward[g.x_shape, strides[0], g.w_shape, strides[1], bias is not None, g.settings]
        if plain is None:
            raise Unfit
        growth = self._growth(x, w, bias, activation, added)
        last = channels_last_desc(g.y)
        added = None if added is None else self._lying(added, last)
        attr = core.attributes(*([("binary", abi.ADD, last)] if added is not None else []), *_after(activation))

        def make(layout: Callable[[Ints], Desc]) -> Any:
            return g.forward(layout(g.x), layout(g.y) if added is None else last, bias is not None, attr)

        pd = first(make, conv._forward_layouts(g))
        if pd is None or core.implementation(pd) != plain.implementation:  # there is a better way than one primitive
            x = self._lying(x, channels_last_desc(g.x))
            if x.root is not x:
                x = self._copy(x, x.desc)
            weight = self._weight(lambda w: plain_desc(w.shape), plain_desc(w.shape))
            y = self._slot(g.y_shape, last, growth)
            self.steps.append(_Function(plain, x, (weight, self._bias(bias)), y))
            if added is not None:
                pd = primitive("binary", abi.ADD, last, last, last, attr=core.attributes(*_after(activation)))
                self._step(pd, (abi.SRC, y), (abi.SRC_1, added), (abi.DST, y))
            elif activation is not None:
                self._step(_applied(activation, last), (abi.SRC, y), (abi.DST, y))
            return y
        x = self._lying(x, core.query_desc(pd, abi.SRC))
        weight = self._weight(lambda w: core.strided_desc(g.w, g.weight(w.strides)), core.query_desc(pd, abi.WEIGHTS))
        y_desc = core.query_desc(pd, abi.DST)
        assert y_desc is not None
        y = self._slot(g.y_shape, y_desc, growth)
        self._step(
            pd, (abi.SRC, x), (abi.WEIGHTS, weight), (abi.BIAS, self._bias(bias)), (abi.DST, y), (abi.post_op_src(0), added)
        )
        return y

    def _growth(
        self, x: Slot, w: ndarray, bias: ndarray | None, activation: Activation | None, added: Slot | None = None
    ) -> Growth:
        """The bound of what is computed from the next weight: the largest input times the sums of the weights' sizes."""
        weight = len(self.weights)

        def bound(bounds: list[float], sizes: list[float]) -> float:
            largest = bounds[x.number] * sizes[weight]
            if bias is not None:
                largest += sizes[weight + 1]
            if added is not None:
                largest += bounds[added.number]
            return _activated(activation, largest)

        self.coming = [_size(a) for a in (w, bias) if a is not None]
        return self._bounded(bound)

    def _bounded(self, growth: Growth) -> Growth:
        """The growth, unless numbers might grow too large by it: then the next chain begins there, and looks at them."""
        if not growth(self.bounds, self.sizes + self.coming) < LARGEST * SPARE:
            raise Unfit
        return growth

    def transposed(
        self, x: Slot, w: ndarray, bias: ndarray | None, size: Ints, settings: Settings, activation: Activation | None
    ) -> Slot:
        """activation(x ⋆ᵀ w + bias), of spatial ``size``; ``w`` and later weights with the outputs first"""
        shape = (x.shape[0], w.shape[0], *size)
        g = conv._Geometry(shape, (w.shape[1], w.shape[0], *w.shape[2:]), settings)
        if g.flat or g.groups > 1 or not g.usable:
            raise Unfit
        if prod(shape) > FEW and conv._input_layouts(g)[0] != "last":  # quicker alone: 64 channels to 3, 16 images, 1.5 of 26 ms
            raise Unfit
        with threads.for_work(g.products):
            pd = conv.transposed(g, bias is not None)
            if pd is None:
                raise Unfit
            growth = self._growth(x, w, bias, activation)
            last = channels_last_desc(shape)
            x = self._lying(x, channels_last_desc(x.shape))

            def lies(w: ndarray) -> Desc:
                return core.strided_desc(w.shape, core.element_strides(w.shape, w.strides))

            weight = self._weight(lies, core.query_desc(pd, abi.WEIGHTS))
            y = self._slot(shape, last, growth)
            self._step(pd, (abi.SRC, x), (abi.WEIGHTS, weight), (abi.BIAS, self._bias(bias)), (abi.DST, y))
            if activation is not None:
                self._step(_applied(activation, last), (abi.SRC, y), (abi.DST, y))
        return y

    def linear(
        self, x: Slot, w: ndarray, bias: ndarray | None, activation: Activation | None = None, added: Slot | None = None
    ) -> Slot:
        """activation(x·wᵀ + bias + added) for the rows of x"""
        outputs, inputs = w.shape
        shape = *x.shape[:-1], outputs
        rows = prod(x.shape[:-1])
        if len(shape) > 2:
            x = self.flat(x, (rows, inputs))
            added = None if added is None else self.flat(added, (rows, outputs))
            y = self.linear(x, w, bias, activation, added)
            return self._slot(shape, plain_desc(shape), _as(y), y)
        growth = self._growth(x, w, bias, activation, added)
        last = plain_desc((rows, outputs))
        attr = core.attributes(*([("binary", abi.ADD, last)] if added is not None else []), *_after(activation))
        with threads.for_work(rows * inputs * outputs):
            pd = primitive(
                "inner_product_forward", abi.FORWARD_INFERENCE, plain_desc(x.shape), any_desc(w.shape),
                None if bias is None else plain_desc(bias.shape), last, attr=attr,
            )  # fmt: skip
            if pd is None:
                raise Unfit
            x = self._lying(x, plain_desc(x.shape))
            added = None if added is None else self._lying(added, last)
            weight = self._weight(lambda w: plain_desc(w.shape), core.query_desc(pd, abi.WEIGHTS))
            y = self._slot((rows, outputs), last, growth)
            self._step(
                pd, (abi.SRC, x), (abi.WEIGHTS, weight), (abi.BIAS, self._bias(bias)), (abi.DST, y), (abi.post_op_src(0), added)
            )
        return y

    def layer_norm(self, x: Slot, n: int, scale: ndarray | None, shift: ndarray | None, eps: float) -> Slot:
        """(x − mean)/√(variance + eps)·scale + shift over the last axes, which have n elements together"""
        rows = prod(x.shape) // n
        flat = plain_desc((rows, n))
        parameters = [a for a in (scale, shift) if a is not None]
        flags = abi.USE_SCALE * (scale is not None) | abi.USE_SHIFT * (shift is not None)
        first, largest = len(self.weights), n**0.5
        self.coming = [float(np.abs(a).max()) for a in parameters]

        def bound(bounds: list[float], sizes: list[float]) -> float:
            if not bounds[x.number] ** 2 < LARGEST:
                return inf
            times = sizes[first] if scale is not None else 1.0
            return largest * times + (sizes[first + (scale is not None)] if shift is not None else 0.0)

        growth = self._bounded(bound)
        with threads.for_work(PASS * prod(x.shape)):
            pd = primitive("layer_normalization_forward", abi.FORWARD_INFERENCE, flat, flat, plain_desc((rows,)), eps, flags)
            if pd is None:
                raise Unfit
            source = self.flat(x, (rows, n))
            numbers = [self._weight(lambda a: plain_desc((n,)), plain_desc((n,))) for _ in parameters]
            y = self._slot((rows, n), flat, growth)
            kinds = [k for k, a in ((abi.SCALE, scale), (abi.SHIFT, shift)) if a is not None]
            self._step(pd, (abi.SRC, source), *zip(kinds, numbers, strict=True), (abi.DST, y))
        return self._slot(x.shape, plain_desc(x.shape), _as(y), y)

    def attention(self, q: Slot, k: Slot, v: Slot, scale: float, order: Ints) -> Slot:
        """softmax(scale·q·k)·v for (N, heads, length, width), k (…, width, length); its dimensions come in ``order``"""
        (n, heads, rows, width), keys = q.shape, k.shape[3]
        scores, shape = (n, heads, rows, keys), (n, heads, rows, v.shape[3])
        if prod(scores) > SCORES or k.shape[:2] != q.shape[:2] or v.shape[:3] != (n, heads, keys):
            raise Unfit
        one, other = q.number, k.number
        size = abs(scale) * width

        def product(bounds: list[float], _: Any) -> float:
            return bounds[one] * bounds[other] * size

        growth = self._bounded(product)
        made = tuple(shape[i] for i in order)
        strides = core.c_strides(made)
        d, lies = plain_desc(scores), core.strided_desc(shape, [strides[order.index(i)] for i in range(4)])
        with threads.for_work(prod(scores) * (width + v.shape[3])):
            s = self._slot(scores, d, growth)
            self._step(
                primitive("matmul", q.desc, k.desc, None, d, attr=core.attributes(("eltwise", abi.LINEAR, scale, 0.0))),
                (abi.SRC, q), (abi.WEIGHTS, k), (abi.DST, s),
            )  # fmt: skip
            softmax = primitive("softmax_forward", abi.FORWARD_INFERENCE, abi.SOFTMAX_ACCURATE, d, d, 3)
            self._step(softmax, (abi.SRC, s), (abi.DST, s))
            y = self._slot(made, plain_desc(made), _as(v))
            self._step(primitive("matmul", d, v.desc, None, lies), (abi.SRC, s), (abi.WEIGHTS, v), (abi.DST, y))
        return y

    def pool(self, x: Slot, algorithm: int, size: Ints, kernel: Ints, stride: Ints, padding: Ints, scale: float = 1.0) -> Slot:
        """A pooling of windows (see ``onednn/pooling.py``), times a number."""
        shape = (*x.shape[:2], *size)
        if x.desc.equals(plain_desc(x.shape)):
            x = self._lying(x, channels_last_desc(x.shape))
        with threads.for_work(PASS * prod(shape) * prod(kernel)):
            window = kernel, stride, padding
            pd = pooling._forward(False, algorithm, x.shape, size, window, scale, (x.desc, any_desc(shape)))
            y_desc = core.query_desc(pd, abi.DST) if pd is not None else None
            if y_desc is None:
                raise Unfit
            y = self._slot(shape, y_desc, lambda bounds, _, n=x.number: bounds[n] * max(scale, 1.0))  # type: ignore[misc]
            self._step(pd, (abi.SRC, x), (abi.DST, y))
        return y

    def activate(self, x: Slot, activation: Activation) -> Slot:
        """activation(x)"""
        number = x.number
        growth = self._bounded(lambda bounds, _: _activated(activation, bounds[number]))
        with threads.for_work(PASS * prod(x.shape)):
            y = self._slot(x.shape, x.desc, growth)
            self._step(_applied(activation, x.desc), (abi.SRC, x), (abi.DST, y))
        return y

    def add(self, x: Slot, y: Slot, activation: Activation | None = None) -> Slot:
        """activation(x + y), of one shape"""
        one, other = x.number, y.number
        growth = self._bounded(lambda bounds, _: _activated(activation, bounds[one] + bounds[other]))
        y = self._lying(y, x.desc)
        with threads.for_work(PASS * prod(x.shape)):
            z = self._slot(x.shape, x.desc, growth)
            pd = primitive("binary", abi.ADD, x.desc, x.desc, x.desc, attr=core.attributes(*_after(activation)))
            self._step(pd, (abi.SRC, x), (abi.SRC_1, y), (abi.DST, z))
        return z

    def cat(self, parts: list[Slot], axis: int) -> Slot:
        """Slots one after the other along an axis"""
        like = parts[0]
        for x in parts:
            if x.desc.equals(channels_last_desc(x.shape)):
                like = x
        order = plain_desc if like.desc.equals(plain_desc(like.shape)) else channels_last_desc
        numbers = [x.number for x in parts]
        shape = (*like.shape[:axis], sum(x.shape[axis] for x in parts), *like.shape[axis + 1 :])
        with threads.for_work(PASS * prod(shape)):
            parts = [self._lying(x, order(x.shape)) for x in parts]
            y = self._slot(shape, order(shape), lambda bounds, _: max(bounds[n] for n in numbers))
            sources = (ctypes.c_void_p * len(parts))(*(x.desc.value for x in parts))
            pd = primitive("concat", y.desc, len(parts), axis, sources, slow=True)
            self._step(pd, *((abi.MULTIPLE_SRC + i, x) for i, x in enumerate(parts)), (abi.DST, y))
        return y

    def view(self, x: Slot, before: tuple[Ints, Ints], after: tuple[Ints, Ints], offset: int) -> Slot | None:
        """Another look at a slot's memory, from shapes and strides in bytes, if it lies as ``before`` says."""
        if not all(usable(lies) and min(lies[1], default=1) > 0 for lies in (before, after)):
            return None
        given, seen = (core.strided_desc(shape, core.element_strides(shape, strides)) for shape, strides in (before, after))
        return self._slot(after[0], seen, _as(x), x, offset) if x.desc.equals(given) else None

    def flat(self, x: Slot, shape: Ints) -> Slot:
        """x in plain order with another shape: the same memory"""
        if len(x.shape) > 2 and prod(x.shape[2:]) == 1 and x.desc.equals(channels_last_desc(x.shape)):
            plain = x  # single pixels: both orders are one
        else:
            plain = self._lying(x, plain_desc(x.shape))
        return self._slot(shape, plain_desc(shape), _as(plain), plain)

    # -- use -------------------------------------------------------------------------------------------------------

    def bound(self, weights: list[ndarray]) -> float:
        """The largest size that the inputs' numbers may have with these weights; negative if there is none."""
        sizes = [_size(w) for w in weights]
        for start in STARTS:
            bounds: list[float] = []
            for growth in self.growth:
                bounds.append(start if growth is None else growth(bounds, sizes))
            if all(b < LARGEST for b in bounds):
                return start
        return -1.0

    @cached_property
    def room(self) -> int:
        """Give every slot its place, the largest first, at the lowest place free for as long as it is needed; the size of all."""
        outside = {s.root for s in self.outputs} | {s for s, _ in self.inputs}
        outside |= {step.y for step in self.steps if isinstance(step, _Function)}
        spans: dict[Slot, list[int]] = {}
        for i, step in enumerate(self.steps):
            used = [x for _, x in step.args if isinstance(x, Slot)] if isinstance(step, _Step) else [step.x, step.y]
            for slot in used:
                span = spans.setdefault(slot.root, [i, i])
                span[1] = i
        placed: list[tuple[int, int, list[int]]] = []
        total = 0
        for slot, span in sorted(spans.items(), key=lambda item: -item[0].size):
            if slot in outside:
                continue
            at = 0
            for start, end, other in sorted(placed, key=lambda p: p[0]):
                if other[0] <= span[1] and span[0] <= other[1] and at < end and start < at + slot.size:
                    at = end
            slot.place = at
            placed.append((at, at + slot.size, span))
            total = max(total, at + slot.size)
        return total

    def ready(self, weights: Sequence[ndarray]) -> Callable[..., tuple[ndarray, ...]]:
        """A function of the inputs that gives the outputs, with these weights and biases."""
        return _Ready(self, [bring(w) for bring, w in zip(self.weights, weights, strict=True)]).run


class _Ready:
    """A chain with its weights: the text of its call, and the sets of memory objects that calls take in turn."""

    def __init__(self, chain: Chain, weights: list[ndarray]) -> None:
        self.chain, self.arrays = chain, weights
        self.engine, self.stream, _ = core.session()
        self.results = chain.room  # bytes; scratch memory comes after them
        self.total = self.results + max((s.scratch for s in chain.steps if isinstance(s, _Step)), default=0)
        self.memories: list[Any] = [None] * len(weights)  # of the weights
        for step in chain.steps:
            if isinstance(step, _Step):
                for arg, x in step.args:
                    if type(x) is int:
                        self.memories[x] = self._memory(core.query_desc(step.pd, arg), address(weights[x]))
        self.idle: list[_Bound] = []
        self.run = self._written()

    def _memory(self, desc: Any, place: int = 0) -> Handle:
        made = create("memory_create", desc, self.engine, None, destroy="memory")
        if place:
            abi.library().quick.dnnl_memory_set_data_handle(made.value, place)
        return made

    def _failed(self, status: int) -> None:
        check(status, "primitive_execute (chain)")

    def _written(self) -> Callable[..., tuple[ndarray, ...]]:
        chain, slots = self.chain, self.chain.slots
        library = abi.library()
        names: dict[str, Any] = {
            "local": threads.local, "tell": threads.tell, "idle": self.idle, "Bound": _Bound, "ready": self, "address": address,
            "empty": empty, "uint8": np.uint8, "total": self.total, "failed": self._failed, "stream": self.stream.value,
            "execute": library.dll.dnnl_primitive_execute, "set_handle": library.quick.dnnl_memory_set_data_handle,
            "empty_like": empty_like, "ndarray": ndarray, "F32": F32,
        }  # fmt: skip
        lines = ["try: bound = idle.pop()", "except IndexError: bound = Bound(ready)"]
        if self.total > OWN:
            lines += ["room = empty((total,), uint8)", "if address(room) != bound.base: bound.move(address(room))"]
        elif any(isinstance(s, _Function) for s in chain.steps):
            lines.append("room = bound.room")
        lines.append("handles, arguments = bound.handles, bound.arguments")

        def lies(root: Slot, array: str) -> None:
            """Tell all who name a slot that comes from outside where it is."""
            lines.append(f"at = address({array})")
            lines.extend(
                f"set_handle(handles[{s.number}], at{f' + {s.offset}' * bool(s.offset)})" for s in slots if s.root is root
            )

        arguments = [f"x{i}" for i in range(len(chain.inputs))]
        arrays: dict[Slot, str] = {}
        for name, (slot, _) in zip(arguments, chain.inputs, strict=True):
            arrays[slot] = name
            lies(slot, name)
        for i, slot in enumerate(chain.outputs):
            order = core.c_strides if slot.desc.equals(plain_desc(slot.shape)) else core.channels_last_strides
            names[f"like{i}"] = stand_in(slot.shape, order(slot.shape))
            if not any(isinstance(s, _Function) and s.y.root is slot.root for s in chain.steps):
                lines.append(f"y{i} = empty_like(like{i})")
                lies(slot.root, f"y{i}")
            arrays[slot.root] = f"y{i}"
        count: int | None = None
        row: list[str] = []

        def flush() -> None:
            if row:
                lines.append("status = " + " or ".join(row))
                lines.append("if status: failed(status)")
                row.clear()

        for i, step in enumerate(chain.steps):
            if isinstance(step, _Function):
                flush()
                name = arrays.setdefault(step.y.root, f"y{len(chain.outputs) + i}")
                weight, bias = step.weights
                names[f"w{i}"], names[f"b{i}"] = self.arrays[weight], None if bias is None else self.arrays[bias]
                names[f"f{i}"] = step.run
                x = arrays.get(step.x.root)
                if x is None:
                    x, lie = f"x{i}", in_bytes(core.channels_last_strides(step.x.shape))
                    lines.append(f"{x} = ndarray({step.x.shape}, F32, room, {step.x.root.place}, {lie})")
                lines.append(f"{name} = f{i}({x}, w{i}, b{i}, 0)")
                lies(step.y.root, name)
                count = None
                continue
            if step.count != count:
                flush()
                lines.append(f"if local.count != {step.count}: tell({step.count})")
                count = step.count
            names[f"p{i}"] = step.made.value
            row.append(f"execute(p{i}, stream, {len(step.args) + (step.scratch > 0)}, arguments[{i}])")
        flush()
        lines.append("idle.append(bound)")
        lines.append(f"return ({''.join(arrays[s.root] + ', ' for s in chain.outputs)})")
        body = "\n    ".join(lines)
        exec(compile(f"def run({', '.join(arguments)}):\n    {body}\n", "<oneDNN chain>", "exec"), names)
        return names.pop("run")


class _Bound:
    """The memory objects of one call at a time; small results lie in a block of their own."""

    def __init__(self, ready: _Ready) -> None:
        chain = ready.chain
        self.ready, self.base = ready, 0
        self.memories = [ready._memory(s.desc) for s in chain.slots]
        self.handles = [m.value for m in self.memories]
        self.scratches: list[Handle] = []
        self.arguments: list[int] = []  # per step: where its list of arguments is
        self.keep: list[Any] = []
        for step in chain.steps:
            pairs: list[tuple[int, Handle]] = []
            if isinstance(step, _Step):
                pairs += [(arg, ready.memories[x] if type(x) is int else self.memories[x.number]) for arg, x in step.args]
                if step.scratch:
                    self.scratches.append(ready._memory(core.query_desc(step.pd, abi.SCRATCHPAD)))
                    pairs.append((abi.SCRATCHPAD, self.scratches[-1]))
            array = (abi.ExecArg * len(pairs))(*(abi.ExecArg(arg, memory.value) for arg, memory in pairs))
            self.keep.append(array)
            self.arguments.append(ctypes.addressof(array))
        if ready.total <= OWN:
            room = np.empty(ready.total + 64, np.uint8)
            self.room = room[-address(room) % 64 :]
            self.move(address(self.room))

    def move(self, base: int) -> None:
        """Have the results lie in another block."""
        self.base = base
        set_handle = abi.library().quick.dnnl_memory_set_data_handle
        for slot, handle in zip(self.ready.chain.slots, self.handles, strict=True):
            if slot.root.place is not None:
                set_handle(handle, base + slot.root.place + slot.offset)
        for memory in self.scratches:
            set_handle(memory.value, base + self.ready.results)


__all__ = ["Chain", "Slot", "Unfit"]
