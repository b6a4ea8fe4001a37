"""``torch.backends.cuda``: not built; its switches may be set."""

from __future__ import annotations

from types import SimpleNamespace

matmul = SimpleNamespace(
    allow_tf32=False, allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True
)


def is_built() -> bool:
    """False: lamina has no CUDA kernels."""
    return False
