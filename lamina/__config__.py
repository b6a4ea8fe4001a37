"""What lamina computes with, as ``torch.__config__`` tells it."""

from __future__ import annotations

from lamina._config import config, get_num_threads

__all__ = ["parallel_info", "show"]


def show() -> str:
    """The engine, its library and the versions of what lamina uses, a line each."""
    return "lamina:\n" + "".join(f"  - {name}: {value}\n" for name, value in config().items())


def parallel_info() -> str:
    """How many threads compute."""
    return f"lamina:\n\tlamina.get_num_threads() : {get_num_threads()}\n"
