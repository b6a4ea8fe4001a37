"""The names under which PyTorch's users find the parts of the DataLoader."""

from __future__ import annotations

from lamina.utils.data._utils import collate, worker

__all__ = ["collate", "worker"]
