"""Float32 kernels on oneDNN, through ctypes; `core` says how one is written."""
from __future__ import annotations
