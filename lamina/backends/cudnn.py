"""``torch.backends.cudnn``: not available; its switches may be set."""

from __future__ import annotations

enabled = True
benchmark = False
benchmark_limit = 10
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False: cuDNN is a library for CUDA devices."""
    return False


def version() -> int | None:
    """``None``: there is no cuDNN."""
    return None
