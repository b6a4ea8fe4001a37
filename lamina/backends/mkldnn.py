"""``torch.backends.mkldnn``: oneDNN, under its old name."""

from __future__ import annotations

from lamina import engine
from lamina.engine.onednn import loader

enabled = True


def is_available() -> bool:
    """Whether oneDNN was found and is used."""
    return engine.get_engine() != "reference" and loader.load() is not None
