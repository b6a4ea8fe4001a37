"""Copies of a module on several GPUs, for PyTorch's code that asks for them: there are no GPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["parallel_apply", "replicate"]


def replicate(network: Any, devices: Sequence[Any], detach: bool = False) -> list[Any]:
    """Raises RuntimeError, unless there are no devices to copy to."""
    if not devices:
        return []
    raise RuntimeError(f"replicate: lamina runs on the CPU only, so there is no device {devices[0]!r}")


def parallel_apply(modules: Sequence[Any], inputs: Sequence[Any], kwargs_tup: Any = None, devices: Any = None) -> list[Any]:
    """Raises RuntimeError, unless there are no modules: they would run on one GPU each."""
    if len(modules) != len(inputs):
        raise AssertionError(f"The number of modules {len(modules)} is not equal to the number of inputs {len(inputs)}")
    if not modules:
        return []
    raise RuntimeError("parallel_apply: lamina runs on the CPU only; call the modules one after the other")
