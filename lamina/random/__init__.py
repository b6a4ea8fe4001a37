"""Random numbers, the same as PyTorch's from the same seed.

>>> from lamina import random
>>> _ = random.manual_seed(0)
>>> random.initial_seed()
0
"""

from __future__ import annotations

from typing import Any

from lamina.random.generator import Generator, default_generator, fork_rng

__all__ = [
    "Generator", "default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed",
    "set_rng_state",
]  # fmt: skip


def manual_seed(seed: Any) -> Generator:
    """Seed the default generator with ``int(seed)`` and return it."""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seed the default generator from the operating system and return that seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator started from."""
    return default_generator.initial_seed()


def get_rng_state() -> Any:
    """The state of the default generator; PyTorch's ``set_rng_state`` takes it as well."""
    return default_generator.get_state()


def set_rng_state(new_state: Any) -> None:
    """Put the default generator into a state that :func:`get_rng_state`, here or in PyTorch, returned."""
    default_generator.set_state(new_state)
