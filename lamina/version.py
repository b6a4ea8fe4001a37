"""The version, and those of the device libraries that PyTorch names here: none."""

from __future__ import annotations

__version__ = "0.1.0"

debug = False
cuda = hip = xpu = git_version = None
