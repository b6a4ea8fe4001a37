"""Anomaly detection: NaN in a backward pass raises, and says which forward call it came from."""

from __future__ import annotations

import warnings
from typing import Any

from lamina.autograd.graph import mode
from lamina.engine.door import detours


class detect_anomaly:  # noqa: N801
    """Within the block, keep each operation's traceback and raise when a gradient becomes NaN. Slow: for debugging only."""

    def __init__(self, check_nan: bool = True) -> None:
        self.wanted = (True, check_nan)
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.before = _set(*self.wanted)

    def __exit__(self, *exc: Any) -> None:
        _set(*self.before)


class set_detect_anomaly:  # noqa: N801
    """Switch anomaly detection on or off at once, and until the end of a ``with`` block if used as one."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = _set(mode, check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        _set(*self.before)


def _set(anomaly: bool, check_nan: bool) -> tuple[bool, bool]:
    before = mode.anomaly, mode.check_nan
    mode.anomaly, mode.check_nan = anomaly, check_nan
    if anomaly and not before[0]:  # where a call was made is kept by the general way of calling only
        detours.append(mode)
    elif before[0] and not anomaly:
        detours.remove(mode)
    return before


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Switch anomaly detection on or off on this thread."""
    _set(enabled, check_nan)


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on on this thread."""
    return mode.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection looks for NaN."""
    return mode.check_nan
