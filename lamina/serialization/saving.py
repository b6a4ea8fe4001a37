"""``lamina.save``: tensors and plain data become a file that PyTorch and lamina load."""

from __future__ import annotations

import os
import pickle
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from lamina.serialization.archive import Writer, write_all
from lamina.serialization.legacy import MAGIC, VERSION
from lamina.serialization.pickler import Pickler
from lamina.serialization.storage import Block


def save(
    obj: Any, f: Any, pickle_module: Any = pickle, pickle_protocol: int = 2, _use_new_zipfile_serialization: bool = True
) -> None:  # fmt: skip
    """Save tensors, numbers, strings and containers of them, such as a ``state_dict()``, for ``torch.load`` and :func:`load`.

    What a checkpoint may hold: tensors, parameters and buffers of every dtype, ``None``, bool, int, float, complex,
    str, bytes, bytearray; list, tuple, set, dict, ``OrderedDict``, ``Counter``; ``Size``, dtypes, devices. Tensors
    that share memory are written once and share it again after loading; strides and ``requires_grad`` are kept.

    A file at a path is replaced in one step once the new one is whole and on disk: whatever interrupts a save leaves
    the old one as it was.

    Args:
        obj: what to save.
        f: a path, or an object with a ``write`` method that takes bytes.
        pickle_module: Python's ``pickle`` or ``None``; it is not used, since lamina writes the pickle itself.
        pickle_protocol (int): the highest protocol that the file may use, from 2. It is always written in protocol 2,
            which every PyTorch reads.
        _use_new_zipfile_serialization: whether the file has the format of PyTorch 1.6 and later; with ``False``, the one before.

    Raises:
        pickle.PicklingError: something else is in ``obj``; the message says where, and what to save instead.
        RuntimeError: tensors of different dtypes share memory, or the folder of ``f`` does not exist.
        ValueError: a setting that lamina does not have.
    """
    if pickle_module is not pickle and pickle_module is not None:
        raise ValueError(f"lamina.save writes the pickle itself and cannot use pickle_module={pickle_module!r}")
    if type(pickle_protocol) is not int or not 2 <= pickle_protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(f"pickle_protocol must be from 2 to {pickle.HIGHEST_PROTOCOL}, got {pickle_protocol!r}")
    path = isinstance(f, (str, os.PathLike))
    if not path and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    pickler = Pickler(legacy=not _use_new_zipfile_serialization)
    program = pickler.dump(obj)  # before any file is touched
    with replacing(os.fspath(f)) if path else nullcontext(f.write) as write:
        if _use_new_zipfile_serialization:
            _write(program, pickler.blocks, write)
        else:
            _write_legacy(program, pickler.blocks, write)


def _write(program: bytes, blocks: list[Block], write: Callable[[Any], Any]) -> None:
    archive = Writer(write)
    archive.add("data.pkl", program)
    archive.add("byteorder", sys.byteorder.encode())
    for block in blocks:
        archive.add(f"data/{block.key}", block.bytes())
    archive.add("version", b"3\n")
    archive.finish()


def _write_legacy(program: bytes, blocks: list[Block], write: Callable[[Any], Any]) -> None:
    facts = {
        "protocol_version": VERSION, "little_endian": sys.byteorder == "little", "type_sizes": {"short": 2, "int": 4, "long": 4},
    }  # fmt: skip
    for head in (MAGIC, VERSION, facts):
        write_all(write, Pickler().dump(head))
    write_all(write, program)
    write_all(write, Pickler().dump([block.key for block in blocks]))
    for block in blocks:
        write_all(write, block.elements.to_bytes(8, sys.byteorder))
        write_all(write, block.bytes())


@contextmanager
def replacing(path: str) -> Iterator[Callable[[Any], Any]]:
    """A ``write`` function into a new file beside ``path``, which takes its place if all goes well.

    The new file has the permissions that ``open(path, "wb")`` would leave, and a link stays a link. What is not a regular
    file (a pipe, ``/dev/null``) cannot be replaced and is written directly.
    """
    path = os.path.realpath(path)
    mode = None  # what the umask leaves of 0o666
    with suppress(FileNotFoundError):
        now = os.stat(path)
        if not stat.S_ISREG(now.st_mode):
            with open(path, "wb") as file:
                yield file.write
            return
        if not os.access(path, os.W_OK):
            raise PermissionError(13, os.strerror(13), path)
        mode = stat.S_IMODE(now.st_mode) & 0o777
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, f".lamina-{os.urandom(8).hex()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except FileNotFoundError as error:
        raise RuntimeError(f"Parent directory {folder} does not exist.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
