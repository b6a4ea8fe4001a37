"""``torch.backends.mkl``: matrix products are NumPy's, whose library ``lamina.show_config()`` names."""

from __future__ import annotations


def is_available() -> bool:
    """False: lamina does not call MKL itself."""
    return False
