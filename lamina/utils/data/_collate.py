"""From a list of samples to a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from lamina import ops
from lamina._dtypes import float64
from lamina._tensor import Tensor
from lamina.autograd.graph import wrap
from lamina.utils.data._transfer import empty, in_worker

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]

Collators = dict[Any, Callable[..., Any]]


def _has_no_numbers(array: Any) -> bool:
    return array.dtype.kind in "SUO"


def _rebuilt_mapping(original: Any, values: dict[Any, Any]) -> Any:
    """`values` in a mapping of the type of `original`, with its other attributes if it can be copied."""
    try:
        if isinstance(original, MutableMapping):
            clone = copy.copy(original)
            clone.update(values)
            return clone
        return type(original)(values)
    except TypeError:  # a mapping that does not support copy() or this way of construction
        return values


def _rebuilt_sequence(original: Any, values: list[Any]) -> Any:
    try:
        if isinstance(original, MutableSequence):
            clone = copy.copy(original)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return type(original)(values)
    except TypeError:  # such as range
        return values


def default_convert(data: Any) -> Any:
    """NumPy arrays and numbers become tensors, inside of mappings, tuples and sequences too; the rest stays.

    What a DataLoader does to each sample when it makes no batches (`batch_size=None`).
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)) and not isinstance(data, (np.str_, np.bytes_)):
        return data if isinstance(data, np.ndarray) and _has_no_numbers(data) else ops.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuilt_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        converted = [default_convert(d) for d in data]
        return type(data)(*converted) if hasattr(data, "_fields") else converted
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuilt_sequence(data, [default_convert(d) for d in data])
    return data


def collate(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    """Turn a list of samples of one structure into one structure of batches.

    Args:
        batch (list): the samples; the first one decides how all are treated.
        collate_fn_map (dict, optional): how the leaves are batched: from a type, or a tuple of types, to a function
            of `(batch, *, collate_fn_map)`.

    Raises:
        RuntimeError: sequences of unequal length.
        TypeError: a sample of a type that cannot be batched.
    """
    first = batch[0]
    kind = type(first)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is None:
            function = next((f for types, f in collate_fn_map.items() if isinstance(first, types)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)

    def columns(rows: Iterable[Iterable[Any]]) -> list[Any]:
        return [collate(column, collate_fn_map=collate_fn_map) for column in zip(*rows, strict=False)]

    if isinstance(first, Mapping):
        values = {key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map) for key in first}
        return _rebuilt_mapping(first, values)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*columns(batch))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError(
                "each element in list of batch should be of equal size, "
                f"but the sizes are {sorted({len(sample) for sample in batch})}"
            )
        return columns(batch) if isinstance(first, tuple) else _rebuilt_sequence(first, columns(batch))
    raise TypeError(_cannot(kind))


def _cannot(kind: Any) -> str:
    return f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}"


def _collate_tensors(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    first = batch[0]._a
    form = first.shape, first.dtype
    if in_worker() and all((t._a.shape, t._a.dtype) == form and not (t._requires or t.is_sparse) for t in batch):
        into = empty((len(batch), *first.shape), first.dtype)  # where the parent will see it
        if into is not None:
            return wrap(np.stack([t._a for t in batch], out=into))
    return ops.stack(batch, 0)


def _collate_arrays(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    if _has_no_numbers(batch[0]):
        raise TypeError(_cannot(batch[0].dtype))
    return collate([ops.as_tensor(a) for a in batch], collate_fn_map=collate_fn_map)


def _collate_numpy_numbers(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    return ops.as_tensor(np.stack(batch))


def _collate_floats(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    return ops.tensor(batch, dtype=float64)


def _collate_ints(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    return ops.tensor(batch)


def _keep(batch: Any, *, collate_fn_map: Collators | None = None) -> Any:
    return batch


default_collate_fn_map: Collators = {
    Tensor: _collate_tensors,
    np.ndarray: _collate_arrays,
    (np.bool_, np.number, np.object_): _collate_numpy_numbers,
    float: _collate_floats,
    int: _collate_ints,
    str: _keep,
    bytes: _keep,
}


def default_collate(batch: Any) -> Any:
    """Stack samples into a batch: tensors and arrays along a new first dimension, Python floats as float64, ints as
    int64; mappings, named tuples and sequences are kept and their entries batched; strings stay a list.

    Raises:
        RuntimeError: sequences of unequal length.
        TypeError: a sample of a type that cannot be batched.

    >>> default_collate([{"x": 1.0, "y": 2}, {"x": 3.0, "y": 4}])
    {'x': tensor([1., 3.], dtype=torch.float64), 'y': tensor([2, 4])}
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
