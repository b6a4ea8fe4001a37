"""Sequences of different lengths: padded into one tensor, or packed so that no step is computed for nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lamina import ops
from lamina._tensor import Tensor
from lamina.autograd.graph import wrap

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pad_packed_sequence", "pad_sequence", "unpad_sequence",
    "pack_sequence", "unpack_sequence",
]  # fmt: skip


class _PackedFields(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_PackedFields):
    """Sequences, longest first, as the rows of all first steps, then of all second steps, and so on.

    ``data`` (R, *) holds the rows, ``batch_sizes`` how many sequences reach each step; ``sorted_indices`` says how the
    user's sequences were sorted, ``unsorted_indices`` the way back. Made by :func:`pack_padded_sequence`.
    """

    __slots__ = ()

    def __new__(
        cls, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> Any:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise TypeError("PackedSequence takes data and batch_sizes, or one pair of them")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same sequences with ``data`` in another dtype."""
        data = self.data.to(*args, **kwargs)
        return (
            self
            if data is self.data
            else type(self)(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)
        )

    def cpu(self, *args: Any, **kwargs: Any) -> PackedSequence:
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        return self.to("cuda")

    def pin_memory(self) -> PackedSequence:
        return type(self)(
            self.data.pin_memory(), self.batch_sizes, self.sorted_indices, self.unsorted_indices
        )

    def is_pinned(self) -> bool:
        return False

    @property
    def is_cuda(self) -> bool:
        return False

    def _cast(self, name: str) -> PackedSequence:
        return self.to(getattr(self.data, name)().dtype)

    def double(self) -> PackedSequence:
        return self._cast("double")

    def float(self) -> PackedSequence:
        return self._cast("float")

    def half(self) -> PackedSequence:
        return self._cast("half")

    def long(self) -> PackedSequence:
        return self._cast("long")

    def int(self) -> PackedSequence:
        return self._cast("int")

    def short(self) -> PackedSequence:
        return self._cast("short")

    def char(self) -> PackedSequence:
        return self._cast("char")

    def byte(self) -> PackedSequence:
        return self._cast("byte")


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes a given one; ``None`` for ``None``."""
    if permutation is None:
        return None
    inverse = np.empty_like(permutation._a)
    inverse[permutation._a] = np.arange(len(inverse), dtype=inverse.dtype)
    return wrap(inverse)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch (T, N, *) of sequences, or (N, T, *) with ``batch_first``.

    ``lengths`` are in decreasing order, unless ``enforce_sorted=False``. Raises ``RuntimeError`` on a length below 1, one
    above T, or on unsorted lengths.
    """
    sizes = np.asarray(lengths._a if isinstance(lengths, Tensor) else list(lengths), dtype=np.int64)
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes = sizes[order]
        input = input.index_select(0 if batch_first else 1, wrap(order))
    if batch_first:
        input = input.transpose(0, 1)
    if len(sizes) != input.shape[1]:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={input.shape[1]})"
        )
    if len(sizes) == 0 or sizes.min() <= 0:
        raise RuntimeError(
            f"Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0: {sizes.tolist()}"
        )
    if np.any(np.diff(sizes) > 0):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and pack_sequence, which then sort the sequences."
        )
    if sizes[0] > input.shape[0]:
        raise RuntimeError(
            f"a length of {sizes[0]} is more than the {input.shape[0]} steps of the padded input"
        )
    batch_sizes = (sizes[None, :] > np.arange(sizes[0])[:, None]).sum(axis=1)
    steps, rows = np.nonzero(np.arange(input.shape[1])[None, :] < batch_sizes[:, None])
    data = input[wrap(steps), wrap(rows)]
    return PackedSequence(data, wrap(batch_sizes.astype(np.int64)), None if order is None else wrap(order))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Undo the packing: (padded batch, lengths), in the user's order; padded to ``total_length`` if that is given."""
    sizes = sequence.batch_sizes._a
    steps, width = len(sizes), int(sizes[0])
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
    t, n = np.nonzero(np.arange(width)[None, :] < sizes[:, None])
    data = sequence.data
    padded = ops.full((total_length or steps, width, *data.shape[1:]), padding_value, dtype=data.dtype)
    padded[wrap(t), wrap(n)] = data
    lengths = wrap((sizes[:, None] > np.arange(width)[None, :]).sum(axis=0).astype(np.int64))
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices]
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences (L, *) of several lengths as one tensor (T, N, *), or (N, T, *) with ``batch_first``."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side!r}")
    sequences = sequences.unbind(0) if isinstance(sequences, Tensor) else tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    longest = max(len(s) for s in sequences)
    rest = sequences[0].shape[1:]
    padded = ops.full((len(sequences), longest, *rest), padding_value, dtype=sequences[0].dtype)
    for i, s in enumerate(sequences):
        if s.shape[1:] != rest:
            raise RuntimeError(
                f"sequences must agree in all dimensions but the first: got {list(s.shape)} and {list(sequences[0].shape)}"
            )
        if padding_side == "right":
            padded[i, : len(s)] = s
        else:
            padded[i, longest - len(s) :] = s
    return padded if batch_first else padded.transpose(0, 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences that :func:`pad_sequence` padded."""
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [s[: int(n)] for s, n in zip(batch, lengths, strict=True)]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences (L, *), longest first unless ``enforce_sorted=False``."""
    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The list of sequences that was packed."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
