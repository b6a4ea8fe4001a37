"""``torch.backends.openmp``."""

from __future__ import annotations

from lamina.engine.onednn import loader


def is_available() -> bool:
    """Whether oneDNN was found and runs on OpenMP."""
    library = loader.load()
    return library is not None and library.runtime == "OpenMP"
