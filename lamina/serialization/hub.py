"""The safetensors format, which model hubs use: named tensors and nothing else (needs the package ``safetensors``)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina._tensor import Tensor
from lamina.ops.creation import from_numpy
from lamina.serialization.saving import replacing


def save_safetensors(
    tensors: Mapping[str, Tensor], filename: str | os.PathLike[str], metadata: dict[str, str] | None = None
) -> None:  # fmt: skip
    """Write named tensors, such as a ``state_dict()``, as a ``.safetensors`` file, in one step as :func:`save` does.

    The format has no shared memory and no strides: each tensor is written whole and in plain order.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(t._plain(), order="C") for name, t in tensors.items()}
    with replacing(os.fspath(filename)) as write:
        write(save(arrays, metadata))


def load_safetensors(filename: str | os.PathLike[str]) -> dict[str, Any]:
    """The named tensors of a ``.safetensors`` file."""
    from safetensors.numpy import load_file

    return {name: from_numpy(array) for name, array in load_file(filename).items()}
