"""``torch.jit.annotations``: the names of types that old code imports from here."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035  # these names are what the module is for

from lamina.futures import Future

__all__ = [
    "Any", "BroadcastingList1", "BroadcastingList2", "BroadcastingList3", "Dict", "Future", "List", "Optional", "Tuple", "Union"
]  # fmt: skip


class _BroadcastingList:
    """``BroadcastingList2[int]``: a list of two ints, or one int for both."""

    def __getitem__(self, types: Any) -> None:
        return None


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _BroadcastingList()
