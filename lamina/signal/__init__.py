"""Signal processing: window functions in ``lamina.signal.windows``."""

from lamina.signal import windows

__all__ = ["windows"]
