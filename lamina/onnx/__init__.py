"""``torch.onnx``: lamina does not export; what libraries ask while they are not exporting is answered."""

from __future__ import annotations

from typing import Any

__all__ = ["export", "is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """False: lamina does not export."""
    return False


def export(*args: Any, **kwargs: Any) -> Any:
    """Raises RuntimeError: lamina does not write ONNX files."""
    raise RuntimeError("torch.onnx.export: lamina does not write ONNX files; load the state_dict() in PyTorch and export there")
