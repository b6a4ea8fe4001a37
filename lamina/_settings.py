"""Settings of PyTorch's that are kept and told again: lamina has one device, full precision, and one order of computation."""

from __future__ import annotations

import warnings
from typing import Any

from lamina import _dtypes
from lamina._dtypes import CPU, check_device

__all__ = [
    "are_deterministic_algorithms_enabled", "get_default_device", "get_deterministic_debug_mode", "get_float32_matmul_precision",
    "get_num_interop_threads", "is_deterministic_algorithms_warn_only_enabled", "is_warn_always_enabled", "set_default_device",
    "set_default_tensor_type", "set_deterministic_debug_mode", "set_float32_matmul_precision", "set_flush_denormal",
    "set_num_interop_threads", "set_warn_always", "use_deterministic_algorithms",
]  # fmt: skip

_MODES = ("default", "warn", "error")
_PRECISIONS = ("highest", "high", "medium")


class _Settings:
    deterministic = 0  # of _MODES
    precision = "highest"
    warn_always = False
    interop = 1


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Of no effect: with one number of threads, the same call gives the same numbers in any case."""
    for name, value in (("mode", mode), ("warn_only", warn_only)):
        if not isinstance(value, bool):
            raise TypeError(f"use_deterministic_algorithms(): argument {name!r} must be bool, not {type(value).__name__}")
    _Settings.deterministic = 0 if not mode else 1 if warn_only else 2


def are_deterministic_algorithms_enabled() -> bool:
    """What :func:`use_deterministic_algorithms` was told."""
    return _Settings.deterministic > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether :func:`use_deterministic_algorithms` was told to warn only."""
    return _Settings.deterministic == 1


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """``"default"`` (0), ``"warn"`` (1) or ``"error"`` (2), as :func:`use_deterministic_algorithms` sets them."""
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode).__name__}")
    if debug_mode not in (*_MODES, 0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected one of {', '.join(_MODES)}, 0, 1, 2, but got {debug_mode!r}")
    _Settings.deterministic = _MODES.index(debug_mode) if isinstance(debug_mode, str) else debug_mode


def get_deterministic_debug_mode() -> int:
    """0, 1 or 2; see :func:`set_deterministic_debug_mode`."""
    return _Settings.deterministic


def set_float32_matmul_precision(precision: str) -> None:
    """Of no effect: float32 is always computed in float32. Takes ``"highest"``, ``"high"`` or ``"medium"``."""
    if precision not in _PRECISIONS:
        warnings.warn(f"{precision!r} is not one of {', '.join(_PRECISIONS)}; the current choice is kept", stacklevel=2)
        return
    _Settings.precision = precision


def get_float32_matmul_precision() -> str:
    """What :func:`set_float32_matmul_precision` was told."""
    return _Settings.precision


def set_default_device(device: Any) -> None:
    """Takes the CPU (or ``None``); any other device raises."""
    check_device(device)


def get_default_device() -> Any:
    """The CPU."""
    return CPU


def set_default_tensor_type(t: Any) -> None:
    """Make the dtype of a tensor type (``lamina.DoubleTensor``, or its name) that of new floating-point tensors."""
    if isinstance(t, str):
        names = {f"torch.{name}Tensor": dtype for dtype, name in _dtypes.SCALAR_NAME.items()}
        if t not in names:
            raise TypeError(f"invalid type name: {t!r}, expected one of {', '.join(names)}")
        _dtypes.set_default_dtype(names[t])
    else:
        _dtypes.set_default_dtype(getattr(t, "dtype", t))


def set_num_interop_threads(count: int) -> None:
    """Of no effect: operations run one after the other."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise RuntimeError(f"set_num_interop_threads expects a positive integer, but got {count!r}")
    _Settings.interop = count


def get_num_interop_threads() -> int:
    """What :func:`set_num_interop_threads` was told."""
    return _Settings.interop


def set_flush_denormal(mode: bool) -> bool:
    """Whether the setting could be made: only keeping denormal numbers (``False``) can."""
    return not mode


def set_warn_always(mode: bool) -> None:
    """Of no effect: warnings follow Python's filters."""
    _Settings.warn_always = bool(mode)


def is_warn_always_enabled() -> bool:
    """What :func:`set_warn_always` was told."""
    return _Settings.warn_always
