"""``lamina.load``: a checkpoint's file becomes tensors, and nothing of it runs."""

from __future__ import annotations

import os
import pickle
import pickletools
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pickle import UnpicklingError
from typing import Any

import numpy as np

from lamina.serialization import legacy, trusted
from lamina.serialization.archive import Reader
from lamina.serialization.machine import Machine
from lamina.serialization.names import ALLOWED, check_again, storage_facts
from lamina.serialization.storage import CallersError, Relocate, Storage, relocator, shown


def load(
    f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None, mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:  # fmt: skip
    """Load what ``torch.save`` or :func:`lamina.save` wrote: tensors, numbers, strings, and containers of them.

    No code runs from the file and nothing is imported: what is not data is refused, by its name, whatever ``weights_only`` says
    (:func:`lamina.serialization.add_safe_globals` lets files name more). Tensors that shared memory share it again.

    Args:
        f: a path, or a file open for reading bytes that can seek, read from where it stands.
        map_location: where tensors go, as in PyTorch: a device, a string, a dict from saved to new devices, or a function
            of a storage and its saved device. Files saved from a GPU need ``map_location="cpu"``.
        pickle_module: ``None``, or with ``weights_only=False`` Python's ``pickle``, which is not used: lamina has its own reader.
        weights_only: of no effect, since only data is loaded in any case.
        mmap: map the tensors' memory from the file at ``f`` (a path) instead of reading it. Pages are read when they are
            used; writing to a tensor does not change the file; the checksums are not looked at.

    Raises:
        pickle.UnpicklingError: the file names something that is not data, or its pickle is malformed.
        RuntimeError: the file is damaged, cut off, compressed, or of the other byte order; a tensor does not fit its
            storage, has a dtype that lamina lacks, or is to go to another device than the CPU.
        EOFError: the file is empty, or a pickle in it has no end.
        ValueError: ``mmap`` without a path.

    >>> import io, lamina
    >>> file = io.BytesIO()
    >>> lamina.save({"weight": lamina.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> lamina.load(file)
    {'weight': tensor([1., 1.])}
    """
    if pickle_module is not None and (weights_only is not False or pickle_module is not pickle):
        raise RuntimeError("lamina.load has its own reader and never runs a pickle module: leave pickle_module=None")
    encoding = pickle_load_args.pop("encoding", "utf-8")
    if pickle_load_args or encoding not in ("utf-8", "ascii"):
        given = sorted(pickle_load_args)
        raise TypeError(f"lamina.load has no settings of pickle but encoding='utf-8', got {encoding!r} and {given}")
    relocate = relocator(map_location)
    try:
        if isinstance(f, (str, os.PathLike)):
            with open(f, "rb") as file:
                return _load(file, os.fspath(f), relocate, bool(mmap))
        return _load(_seekable(f, mmap), _name(f), relocate, False)
    except CallersError as carrier:
        raise carrier.error from None


def _seekable(f: Any, mmap: Any) -> Any:
    if mmap:
        raise ValueError("f must be a file path in order to use the mmap argument")
    for method in ("read", "seek", "tell"):
        if not hasattr(f, method):
            raise AttributeError(
                f"{type(f).__name__!r} object has no attribute {method!r}: lamina.load needs a path or a file that can seek; put "
                "what cannot into an io.BytesIO"
            )
    return f


def _name(f: Any) -> str:
    name = getattr(f, "name", None)
    return name if isinstance(name, str) else f"<{type(f).__name__}>"


def _load(file: Any, name: str, relocate: Relocate, mmap: bool) -> Any:
    start = file.tell()
    head = file.read(4)
    file.seek(start)
    if not head:
        raise EOFError(f"{name}: the file is empty")
    if head == b"PK\3\4":
        archive = Reader(file, name)
        return _load_archive(archive, name, relocate, np.memmap(file, np.uint8, mode="c") if mmap else None)
    if head[:1] != b"\x80":
        raise UnpicklingError(f"{name}: not a PyTorch checkpoint: the file begins with {head!r}")
    if mmap:
        raise RuntimeError(f"{name}: mmap needs the zip format of PyTorch 1.6 and later, and this file is older")
    data = file.read()
    with _naming(name):
        result, used = legacy.read(data, relocate)
    file.seek(start + used)
    return result


def _load_archive(archive: Reader, name: str, relocate: Relocate, mapped: np.ndarray | None) -> Any:
    if "constants.pkl" in archive.records:
        raise RuntimeError(f"{name}: a TorchScript archive, which is a program: save the module's state_dict() instead")
    if "byteorder" in archive.records:
        order = archive.read("byteorder").tobytes()[:20].decode("ascii", "replace")
        if order != sys.byteorder:
            raise RuntimeError(f"{name}: written on a {order}-endian machine, and this one is {sys.byteorder}-endian")
    elif sys.byteorder != "little":
        raise RuntimeError(f"{name}: from a little-endian machine, and this one is big-endian")
    storages: dict[str, Storage] = {}

    def persistent(pid: Any) -> Storage:
        kind, key, location, count = storage_facts(pid, 5)
        nbytes = count * kind.itemsize
        found = storages.get(key)
        if found is None:
            record = archive.record(f"data/{key}")
            if record.size != nbytes:
                raise RuntimeError(
                    f"damaged: storage {shown(key)} should have {shown(nbytes)} bytes, and its record has {record.size}"
                )
            if mapped is None:
                data = archive.read(f"data/{key}")
            else:
                data = mapped[record.offset : record.offset + record.size]
            found = storages[key] = relocate(Storage(data, kind.dtype, location))
        else:
            check_again(found, kind, key, nbytes)
        return found

    program = archive.read("data.pkl").tobytes()
    with _naming(name):
        return Machine(program, persistent).run()


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The names in a file (of the zip format) that stand for nothing that :func:`load` makes or was told to trust.

    Raises:
        RuntimeError: the file is damaged or no zip archive.
        UnpicklingError: its pickle is malformed.
    """
    with open(f, "rb") if isinstance(f, (str, os.PathLike)) else nullcontext(f) as file:
        program = Reader(file, _name(file)).read("data.pkl").tobytes()
    found: dict[str, None] = {}
    texts: list[str] = []  # the latest strings on the way: the last two name a STACK_GLOBAL
    memo: dict[int, str] = {}
    try:
        argument: Any
        for code, argument, _ in pickletools.genops(program):
            if code.name == "GLOBAL":
                found[argument.replace(" ", ".", 1)] = None
            elif code.name == "STACK_GLOBAL":
                found[".".join(texts[-2:])] = None
            elif code.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
                memo[len(memo) if argument is None else argument] = texts[-1] if texts else ""
            elif code.name in ("BINGET", "LONG_BINGET"):
                texts = [*texts[-1:], memo.get(argument, "")]
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
    except (ValueError, IndexError, EOFError) as error:
        raise UnpicklingError(f"malformed pickle: {error}") from error
    return sorted(path for path in found if path not in ALLOWED and trusted.look_up(path) is None)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors in the block say which file it is."""
    try:
        yield
    except (UnpicklingError, RuntimeError, EOFError) as error:
        if not str(error).startswith(name):
            error.args = (f"{name}: {error}",)
        raise
