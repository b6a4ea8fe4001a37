"""Arrays on their way into and out of a primitive that has its own wishes for their layout.

All of this runs when a plan is made; what it returns runs with every call.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine.memory import empty, empty_like
from lamina.engine.onednn import core
from lamina.engine.onednn.core import F32, Desc, any_desc, blocked, channels_last_desc, plain_desc

ndarray = np.ndarray
Ints = tuple[int, ...]
Move = Callable[[ndarray], ndarray]

LAYOUTS: dict[str, Callable[[Ints], Desc]] = {"last": channels_last_desc, "plain": plain_desc, "any": any_desc}


def first(make: Callable[[Callable[[Ints], Desc]], Any], layouts: tuple[str, ...]) -> Any:
    """The first primitive that ``make`` gives for one of the layouts, or ``None``."""
    return next((found for name in layouts if (found := make(LAYOUTS[name])) is not None), None)


def usable(*arrays: tuple[Ints, Ints]) -> bool:
    """Whether arrays of these shapes and strides (in bytes) can be described to oneDNN as they lie."""
    return all(n == 1 or s > 0 and s % 4 == 0 for shape, strides in arrays for n, s in zip(shape, strides, strict=True))


def in_bytes(strides: Ints) -> Ints:
    """Strides in elements as NumPy gives them."""
    return tuple(4 * s for s in strides)


def lying(shape: Ints, strides: Ints) -> list[Desc]:
    """The descriptors of an array: several, if a single channel or pixel makes different layouts the same."""
    known = ((channels_last_desc, core.channels_last_strides), (plain_desc, core.c_strides))
    fitting = [
        describe(shape)
        for describe, ideal in known
        if all(n == 1 or s == c for n, s, c in zip(shape, strides, in_bytes(ideal(shape)), strict=True))
    ]
    return fitting or [core.strided_desc(shape, core.element_strides(shape, strides))]


def flat_size(desc: Desc) -> tuple[int]:
    """The shape of a flat array that holds a layout."""
    return (-(-desc.nbytes // 4),)


def bring(found: list[Desc], wanted: Desc) -> Move | None:
    """What brings an array into the layout that a primitive wants; ``None`` if it lies so."""
    if any(d.equals(wanted) for d in found):
        return None
    run, size = core._reorder[core.intern(found[0]), core.intern(wanted)].run, flat_size(wanted)

    def move(array: ndarray) -> ndarray:
        room = empty(size, F32)
        run(array, room)
        return room

    return move


def stand_in(shape: Ints, strides: Ints) -> ndarray:
    """What an array of these strides (in elements) looks like: NumPy makes others in its order, and it need not exist in full."""
    return np.lib.stride_tricks.as_strided(np.empty(1, F32), shape, in_bytes(strides))


def results(shape: Ints, given: Desc, described: Ints) -> tuple[Callable[[], ndarray], Move | None]:
    """What makes room for a result, and what turns it into a channels-last array (``None``: it is one).

    ``described`` is the shape as oneDNN sees it.
    """
    model = stand_in(shape, core.channels_last_strides(shape))

    def room() -> ndarray:
        return empty_like(model)

    last = lying(described, in_bytes(core.channels_last_strides(described)))
    if any(d.equals(given) for d in last):
        return room, None
    run, size = core._reorder[core.intern(given), core.intern(last[0])].run, flat_size(given)

    def finish(blocks: ndarray) -> ndarray:
        y = room()
        run(blocks, y)
        return y

    return lambda: empty(size, F32), finish


def arranger(found: Desc, wanted: Desc) -> Callable[[ndarray, Any], ndarray]:
    """What gives a weight in the layout that a primitive wants: kept from call to call while its version is the same."""
    if found.equals(wanted):
        return lambda w, version: w
    found, wanted = core.intern(found), core.intern(wanted)
    return lambda w, version: blocked(w, wanted, version, found)


_prepared: dict[tuple[int, str], tuple[Any, Any, ndarray | None]] = {}


def prepare(w: ndarray, version: Any, name: str, make: Move) -> ndarray:
    """``make(w)``, kept under a name while the weight's version is the same, from the second time on (see ``blocked``)."""
    if version is None:
        return make(w)
    key = id(w), name
    kept = _prepared.get(key)
    made, again = None, False
    if kept is not None and kept[1] == version and kept[0]() is w:
        made, again = kept[2], True
    if made is None:
        made = make(w)
        _prepared[key] = weakref.ref(w, lambda _: _prepared.pop(key, None)), version, made if again else None
    return made
