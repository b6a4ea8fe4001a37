"""Saving and loading in PyTorch's file format, without PyTorch and without running anything from a file.

A checkpoint is a zip archive: ``data.pkl`` is a pickle of the object, in which every tensor names its storage, and
``data/0``, ``data/1`` ... are the storages' bytes.

=============  ===========================================================================================
``saving``     ``save``: the settings, and replacing a file in one step
``pickler``    the object as a pickle, of data only
``loading``    ``load``: the settings, and which format the file has
``machine``    runs a pickle, within bounds
``names``      the names that a pickle may use, and what they do
``storage``    the memory of tensors, on both sides
``archive``    the zip archive, on both sides
``legacy``     the format before PyTorch 1.6, on both sides
``trusted``    what the caller trusts besides data
``hub``        the safetensors format, through its own package
=============  ===========================================================================================
"""

from __future__ import annotations

from lamina.serialization.hub import load_safetensors, save_safetensors
from lamina.serialization.loading import get_unsafe_globals_in_checkpoint, load
from lamina.serialization.saving import save
from lamina.serialization.storage import Storage
from lamina.serialization.trusted import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

__all__ = [
    "Storage", "add_safe_globals", "clear_safe_globals", "get_safe_globals", "get_unsafe_globals_in_checkpoint", "load",
    "load_safetensors", "safe_globals", "save", "save_safetensors",
]  # fmt: skip
