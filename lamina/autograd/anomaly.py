"""Anomaly detection: NaN in a backward pass raises, and says which forward call it came from."""

from __future__ import annotations

import warnings
from typing import Any

from lamina.autograd.graph import mode


class detect_anomaly:  # noqa: N801
    """Within the block, keep each operation's traceback and raise when a gradient becomes NaN. Slow: for debugging only."""

    def __init__(self, check_nan: bool = True) -> None:
        self.wanted = (True, check_nan)
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.before = mode.anomaly, mode.check_nan
        mode.anomaly, mode.check_nan = self.wanted

    def __exit__(self, *exc: Any) -> None:
        mode.anomaly, mode.check_nan = self.before


class set_detect_anomaly:  # noqa: N801
    """Switch anomaly detection on or off at once, and until the end of a ``with`` block if used as one."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        state = globals()["mode"]
        self.before = state.anomaly, state.check_nan
        state.anomaly, state.check_nan = mode, check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        mode.anomaly, mode.check_nan = self.before
