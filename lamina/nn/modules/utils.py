"""Argument checks that every family of layers shares."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from lamina._dtypes import check_device, get_default_dtype, to_numpy
from lamina.nn.parameter import Parameter, _leaf
from lamina.ops.creation import size_of

__all__ = ["consume_prefix_in_state_dict_if_present", "new_parameter", "ntuple"]


def ntuple(value: Any, ndim: int, name: str, *, minimum: int | None = None) -> tuple[int, ...]:
    """`value` as a tuple of exactly `ndim` ints: one int stands for all of them.

    Args:
        value (int or sequence of ints): the setting as the user gave it.
        ndim (int): how many spatial dimensions the layer has.
        name (str): the setting's name, for the message.
        minimum (int, optional): the least that each entry may be.

    Raises:
        TypeError: an entry is not an int.
        ValueError: the wrong number of entries, or one below `minimum`.
    """
    entries = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,) * ndim
    try:
        result = tuple(operator.index(v) for v in entries)
    except TypeError:
        raise TypeError(f"{name} must be an int or {ndim} ints, got {value!r}") from None
    if len(result) != ndim:
        raise ValueError(f"{name} must be an int or {ndim} ints, got {value!r} with {len(result)} entries")
    if minimum is not None and any(v < minimum for v in result):
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}")
    return result


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Strip `prefix` from every key of `state_dict` that has it, in place and in order (a model saved in a wrapper).

    Args:
        state_dict (dict): a state dict; its `_metadata`, if any, is renamed alike.
        prefix (str): for example `"module."`.
    """
    for key in list(state_dict):
        if key.startswith(prefix):
            state_dict[key[len(prefix) :]] = state_dict.pop(key)
    metadata = getattr(state_dict, "_metadata", None)
    if metadata is None:
        return
    for key in list(metadata):
        # A module's own entry is "module", its children's are "module.conv"; the root's entry is "".
        if key and (key + ".").startswith(prefix):
            metadata[key[len(prefix) :] if len(key) > len(prefix) else ""] = metadata.pop(key)


def new_parameter(shape: Iterable[int], device: Any = None, dtype: Any = None) -> Parameter:
    """A parameter of `shape` with undefined values, for a layer's `reset_parameters` to fill.

    Raises:
        TypeError: a size that is no int.
        RuntimeError: a negative size, or a device that is not the CPU.
    """
    sizes = size_of((tuple(shape),))
    check_device(device)
    kind = get_default_dtype() if dtype is None else dtype
    return _leaf(Parameter, np.empty(sizes, to_numpy(kind)), True)
