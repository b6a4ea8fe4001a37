"""Datasets: where samples come from."""

from __future__ import annotations

import bisect
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from lamina._tensor import Tensor
from lamina.random import default_generator
from lamina.random.sampling import randperm

__all__ = [
    "ChainDataset",
    "ConcatDataset",
    "Dataset",
    "IterableDataset",
    "StackDataset",
    "Subset",
    "TensorDataset",
    "random_split",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Dataset(Generic[T_co]):
    """A map from keys, usually `0 .. len - 1`, to samples.

    A subclass defines `__getitem__`, and `__len__` for the samplers. It may define `__getitems__`, which takes a list
    of keys and returns a list of samples, where many samples at once are cheaper.
    """

    def __getitem__(self, index: Any) -> T_co:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset[Any]:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T_co], Iterable[T_co]):
    """A stream of samples. A subclass defines `__iter__`; with worker processes each worker iterates its own copy."""

    def __add__(self, other: Dataset[Any]) -> Any:
        return ChainDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Samples from tensors side by side: sample `i` is the tuple of the `i`-th rows.

    Args:
        *tensors (Tensor): tensors with the same size in the first dimension.

    Raises:
        AssertionError: the first dimensions differ.

    >>> TensorDataset(lamina.arange(6).view(3, 2), lamina.arange(3))[1]
    (tensor([2, 3]), tensor(1))
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        sizes = [t.size(0) for t in tensors]
        if any(n != sizes[0] for n in sizes):
            raise AssertionError(f"Size mismatch between tensors: the first dimensions are {sizes}")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return int(self.tensors[0].size(0))


def _items(dataset: Any, keys: list[Any]) -> list[Any]:
    """The samples under `keys`, fetched together if the dataset can."""
    together = getattr(dataset, "__getitems__", None)
    if not callable(together):
        return [dataset[key] for key in keys]
    items = together(keys)
    if len(items) != len(keys):
        raise ValueError(f"Nested dataset's output size mismatch. Expected {len(keys)}, got {len(items)}")
    return list(items)


class StackDataset(Dataset[Any]):
    """Datasets side by side: a sample is a tuple (or, given by keyword, a dict) with one sample of each.

    Args:
        *args, **kwargs (Dataset): datasets of the same length, all positional or all by keyword.

    Raises:
        ValueError: no dataset, both kinds at once, or different lengths.
    """

    datasets: Any

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if args and kwargs:
            raise ValueError("datasets are given either all positionally or all by keyword, not both ways")
        if not args and not kwargs:
            raise ValueError("At least one dataset should be passed")
        self.datasets = args or kwargs
        lengths = [len(d) for d in args or kwargs.values()]  # type: ignore[arg-type]
        if any(n != lengths[0] for n in lengths):
            raise ValueError(f"Size mismatch between datasets: their lengths are {lengths}")
        self._length = lengths[0]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {k: dataset[index] for k, dataset in self.datasets.items()}
        return tuple(dataset[index] for dataset in self.datasets)

    def __getitems__(self, indices: list[Any]) -> list[Any]:
        if isinstance(self.datasets, dict):
            columns = {k: _items(dataset, indices) for k, dataset in self.datasets.items()}
            return [{k: column[i] for k, column in columns.items()} for i in range(len(indices))]
        return list(zip(*(_items(dataset, indices) for dataset in self.datasets), strict=True))

    def __len__(self) -> int:
        return self._length


class ConcatDataset(Dataset[T_co]):
    """Datasets one after the other.

    Args:
        datasets (iterable of Dataset): at least one, none of them an IterableDataset.

    Raises:
        AssertionError: there is none, or one is iterable-style.
    """

    datasets: list[Any]
    cumulative_sizes: list[int]

    @staticmethod
    def cumsum(sequence: Iterable[Any]) -> list[int]:
        """The running total of the lengths."""
        return list(itertools.accumulate(len(e) for e in sequence))

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        super().__init__()
        self.datasets = list(datasets)
        if not self.datasets:
            raise AssertionError("datasets should not be an empty iterable")
        if any(isinstance(d, IterableDataset) for d in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = self.cumsum(self.datasets)

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> T_co:
        if idx < 0:
            if -idx > len(self):
                raise ValueError("absolute value of index should not exceed dataset length")
            idx += len(self)
        which = bisect.bisect_right(self.cumulative_sizes, idx)
        if which == len(self.datasets):
            raise IndexError(f"index {idx} is out of range for {len(self)} samples")
        return self.datasets[which][idx - (self.cumulative_sizes[which - 1] if which else 0)]


class ChainDataset(IterableDataset[Any]):
    """Iterable-style datasets one after the other.

    Args:
        datasets (iterable of IterableDataset): the streams.
    """

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        super().__init__()
        self.datasets = datasets

    def _streams(self) -> Iterator[Any]:
        for d in self.datasets:
            if not isinstance(d, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield d

    def __iter__(self) -> Iterator[Any]:
        for d in self._streams():
            yield from d

    def __len__(self) -> int:
        return sum(len(d) for d in self._streams())


class Subset(Dataset[T_co]):
    """The samples of a dataset under the given keys.

    Args:
        dataset (Dataset): the whole.
        indices (sequence): keys of the whole, in the order in which they appear here.
    """

    dataset: Any
    indices: Sequence[Any]

    def __init__(self, dataset: Dataset[T_co], indices: Sequence[Any]) -> None:
        self.dataset = dataset
        self.indices = indices
        cls = type(self)
        if cls.__getitem__ is not Subset.__getitem__ and cls.__getitems__ is Subset.__getitems__:
            raise NotImplementedError(
                f"{cls.__name__} overrides __getitem__ but not __getitems__, which a DataLoader calls instead; "
                "define for example: def __getitems__(self, indices): return [self[i] for i in indices]"
            )

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, list):
            return self.dataset[[self.indices[i] for i in idx]]
        return self.dataset[self.indices[idx]]

    def __getitems__(self, indices: list[Any]) -> list[T_co]:
        return _items(self.dataset, [self.indices[i] for i in indices])

    def __len__(self) -> int:
        return len(self.indices)


def rows_of(dataset: Any, keys: Any) -> list[Any] | None:
    """What collating the samples under `keys` would give, taken in one step: for a TensorDataset, or a Subset of one.

    None where the dataset is another, or a subclass that makes its samples itself.
    """
    cls = type(dataset)
    if getattr(cls, "__getitem__", None) is TensorDataset.__getitem__:
        if hasattr(dataset, "__getitems__") or type(keys) is not list or any(type(k) is not int for k in keys):
            return None
        return [t[keys] for t in dataset.tensors]
    if getattr(cls, "__getitem__", None) is Subset.__getitem__ and cls.__getitems__ is Subset.__getitems__:
        indices = dataset.indices
        return rows_of(dataset.dataset, [indices[k] for k in keys])
    return None


def random_split(
    dataset: Dataset[T], lengths: Sequence[int | float], generator: Any = default_generator
) -> list[Subset[T]]:
    """Split a dataset at random into parts without common samples.

    Args:
        dataset (Dataset): what is split.
        lengths (sequence): the sizes of the parts, or fractions that add up to one; samples that are left over by
            rounding down go to the first parts, one each.
        generator (Generator): the source of the permutation.

    Raises:
        ValueError: the sizes do not add up to the dataset's, or a fraction is not between 0 and 1.
    """
    size = len(dataset)  # type: ignore[arg-type]
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for i, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"Fraction at index {i} is not between 0 and 1")
        parts = [math.floor(size * fraction) for fraction in lengths]
        for i in range(size - sum(parts)):
            parts[i % len(parts)] += 1
        for i, n in enumerate(parts):
            if n == 0:
                warnings.warn(
                    f"Length of split at index {i} is 0. This might result in an empty dataset.", stacklevel=2
                )
    else:
        parts = lengths  # type: ignore[assignment]
    if sum(parts) != size:
        raise ValueError(
            f"Sum of input lengths does not equal the length of the input dataset! They are {sum(parts)} and {size}."
        )
    order = randperm(size, generator=generator).tolist()
    return [Subset(dataset, order[end - n : end]) for end, n in zip(itertools.accumulate(parts), parts, strict=True)]
