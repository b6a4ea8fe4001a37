"""Sampling at given places, its parts shared among threads: the definition's own passes, which oneDNN has none of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.engine import workers
from lamina.engine.door import fast
from lamina.engine.reference import grid as reference

from . import threads

ENOUGH = 1 << 18  # numbers of the first array from which two threads are quicker
MOST = 1 << 18  # elements of a part; few large ones, as threads take turns at the interpreter between passes


def _share(work: Callable[[reference.Part], None], n: int, things: int, elements: int) -> None:
    count = threads.get_num_threads()
    chunk = reference.CHUNK if count == 1 else min(MOST, -(-elements // (2 * count)))
    workers.share(work, reference.parts(n, things, elements, chunk), each=1)


def _shared(definition: Callable[..., Any]) -> Callable[..., Any]:
    @fast(ENOUGH)
    def kernel(x: np.ndarray, *args: Any) -> Any:
        return definition(x, *args, share=_share)

    return kernel


grid_taps, grid_taps_backward = _shared(reference.grid_taps), _shared(reference.grid_taps_backward)
grid_sample, grid_spread, grid_correlate = (
    _shared(f) for f in (reference.grid_sample, reference.grid_spread, reference.grid_correlate)
)
