"""The types of results of several tensors, as in ``torch.return_types``: named tuples such as ``max`` and ``linalg_svd``."""

from __future__ import annotations

from lamina import ops
from lamina.ops.reduction import RETURN_TYPES

ops.read_all()  # each family makes the types of its own results
globals().update(RETURN_TYPES)
__all__ = sorted(RETURN_TYPES)  # noqa: PLE0605
