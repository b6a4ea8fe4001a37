"""The format before PyTorch 1.6: pickles one after the other in a plain file, and then the memory of the tensors.

A number that marks the format, its version, facts on the machine, the object, the keys of the storages, each a pickle;
then for each key the number of elements in eight bytes and the elements.
"""

from __future__ import annotations

import sys
from pickle import UnpicklingError
from typing import Any

import numpy as np

from lamina.serialization.machine import Machine
from lamina.serialization.names import StorageType, check_again, storage_facts
from lamina.serialization.storage import Relocate, Storage, shown

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


def _no_storage(pid: Any) -> Any:
    raise UnpicklingError("a storage before the object")


def read(data: bytes, relocate: Relocate) -> tuple[Any, int]:
    """The object, and where in ``data`` the file's content ends; raises as ``Machine.run`` does."""
    at = 0

    def unpickle(persistent: Any = _no_storage) -> Any:
        nonlocal at
        machine = Machine(data, persistent, at)
        result = machine.run()
        at = machine.at
        return result

    if unpickle() != MAGIC:
        raise UnpicklingError("not a PyTorch checkpoint: it is neither a zip archive nor begins with the old format's mark")
    if (version := unpickle()) != VERSION:
        raise RuntimeError(f"version {shown(version)} of the old format is unknown: {VERSION} is expected")
    facts = unpickle()
    if type(facts) is not dict or facts.get("little_endian", True) != (sys.byteorder == "little"):
        raise RuntimeError(f"the file was not written on a {sys.byteorder}-endian machine as this one: it cannot be loaded")

    storages: dict[str, Storage] = {}
    room = len(data)  # what all storages may take together

    def persistent(pid: Any) -> Storage:
        nonlocal room
        kind, key, location, count, view = storage_facts(pid, 6)
        if view is not None:
            raise RuntimeError("a view of a storage, which files from before PyTorch 0.4 have: save it anew with a later PyTorch")
        nbytes = count * kind.itemsize
        if key not in storages:
            if not 0 <= nbytes <= room:
                raise RuntimeError(f"cut off or damaged: a storage of {shown(nbytes)} bytes in a file of {len(data)}")
            room -= nbytes
            storages[key] = relocate(Storage(np.zeros(nbytes, np.uint8), kind.dtype, location))
        check_again(storages[key], kind, key, nbytes)
        return storages[key]

    start = at
    unpickle(persistent)  # only then it is known where the memory lies ...
    keys = unpickle()
    if type(keys) is not list or any(type(k) is not str for k in keys) or sorted(keys) != sorted(storages):
        raise UnpicklingError("the storages that the file has are not those that the object needs")
    for key in keys:
        target = storages[key]
        begin, end = at + 8, at + 8 + target.nbytes()
        count = int.from_bytes(data[at:begin], "little", signed=True)
        if begin <= len(data) and count * StorageType(target.kind).itemsize != target.nbytes():
            raise RuntimeError(f"damaged: storage {shown(key)} has {count} elements, which is not what its tensors need")
        if end > len(data):
            raise RuntimeError(f"cut off: storage {shown(key)} should end at byte {end}, and the file has {len(data)}")
        target.fill(np.frombuffer(data, np.uint8, target.nbytes(), begin))
        at = end
    return Machine(data, persistent, start).run(), at  # ... and a tensor that is saved as a mark on another needs it
