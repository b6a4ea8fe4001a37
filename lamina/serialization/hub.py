"""The safetensors format, which model hubs use: named tensors and nothing else (needs the package ``safetensors``)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina import _dtypes
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
    from safetensors import safe_open

    with safe_open(filename, framework="numpy") as file:  # which checks the header
        names = list(file.keys())
        known = {name: file.get_tensor(name) for name in names if file.get_slice(name).get_dtype() not in _MORE}
    if len(known) < len(names):
        known |= _others(filename, known)
    return {name: from_numpy(known[name]) for name in names}


# The types that the package's NumPy side does not know, or not in every version.
_MORE = {
    "BF16": _dtypes.bfloat16.numpy, "F8_E4M3": _dtypes.float8_e4m3fn.numpy, "F8_E4M3FNUZ": _dtypes.float8_e4m3fnuz.numpy,
    "F8_E5M2": _dtypes.float8_e5m2.numpy, "F8_E5M2FNUZ": _dtypes.float8_e5m2fnuz.numpy,
}  # fmt: skip


def _others(filename: str | os.PathLike[str], known: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tensors that are not ``known``, read by the (checked) header: its length, its JSON, then the data."""
    arrays = {}
    with open(filename, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        for name, facts in header.items():
            if name != "__metadata__" and name not in known:
                begin, end = facts["data_offsets"]
                file.seek(start + begin)
                data = np.fromfile(file, np.uint8, end - begin)
                arrays[name] = data.view(_MORE[facts["dtype"]]).reshape(facts["shape"])
    return arrays
