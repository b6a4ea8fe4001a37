"""``torch.utils.data._utils.collate``: how samples become a batch."""

from __future__ import annotations

from lamina.utils.data._collate import collate, default_collate, default_collate_fn_map, default_convert

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]
