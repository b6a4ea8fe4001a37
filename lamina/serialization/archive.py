"""The zip archive around a checkpoint: uncompressed records, each at an offset where it can be mapped.

Only what checkpoints need is read and written. A reader of files from strangers had better be strict: a record that is
compressed, encrypted, named twice, named like a path out of the archive, or that overlaps another, is refused, so that
all records together are never larger than the file. Layout: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 64  # of a record's data, in bytes, from the start of the archive
FULL32, FULL16 = 0xFFFFFFFF, 0xFFFF  # what a field says whose value is in its 64-bit form

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_UTF8, _ENCRYPTED = 0x800, 0x1
_NEW_YEAR_1980 = 0x21  # the format's first day: a file says what was saved, not when


class Record(NamedTuple):
    """Where a record's data lie, from the start of the archive, and their checksum (0 if none was stored)."""

    offset: int
    size: int
    crc: int


# -- writing -------------------------------------------------------------------------------------------------------


def write_all(write: Callable[[Any], Any], data: Any) -> int:
    """Hand all of ``data`` to a ``write`` function, and say how many bytes these are."""
    view = memoryview(data).cast("B") if len(data) else memoryview(b"")
    size = len(view)
    while len(view):
        written = write(view)
        if not isinstance(written, int):  # an object that takes all and does not count
            break
        view = view[written:]  # an unbuffered file may take a part
    return size


class Writer:
    """Writes records one after the other through a ``write`` function; it never seeks."""

    limit = FULL32  # of a size or an offset in 32 bits

    def __init__(self, write: Callable[[Any], Any], folder: str = "archive") -> None:
        self._write, self._folder = write, folder
        self._at = 0
        self._entries: list[tuple[bytes, int, int, int]] = []

    def _put(self, data: Any) -> None:
        self._at += write_all(self._write, data)

    def add(self, name: str, data: Any) -> None:
        """Append a record of ``data``, any object with the buffer protocol."""
        path = f"{self._folder}/{name}".encode("ascii")
        size, crc = memoryview(data).nbytes, zlib.crc32(data) if len(data) else 0
        big = size >= self.limit
        extra = struct.pack("<2H2Q", 1, 16, size, size) if big else b""
        start = self._at + _LOCAL.size + len(path) + len(extra) + 4
        padding = -start % ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + bytes(padding)
        shown = FULL32 if big else size
        header = _LOCAL.pack(
            b"PK\3\4", 45 if big else 20, _UTF8, 0, 0, _NEW_YEAR_1980, crc, shown, shown, len(path), len(extra)
        )  # fmt: skip
        self._entries.append((path, self._at, size, crc))
        self._put(header + path + extra)
        self._put(data)

    def finish(self) -> None:
        """Write the directory, without which the archive is not one."""
        start = self._at
        for path, offset, size, crc in self._entries:
            wide = [n for n in (size, size, offset) if n >= self.limit]
            extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
            shown, at = (FULL32 if n >= self.limit else n for n in (size, offset))
            self._put(_CENTRAL.pack(
                b"PK\1\2", 45, 45 if wide else 20, _UTF8, 0, 0, _NEW_YEAR_1980, crc, shown, shown, len(path), len(extra),
                0, 0, 0, 0, at,
            ) + path + extra)  # fmt: skip
        count, end = len(self._entries), self._at
        if count >= FULL16 or end >= self.limit:
            self._put(_END64.pack(b"PK\6\6", _END64.size - 12, 45, 45, 0, 0, count, count, end - start, start))
            self._put(_LOCATOR.pack(b"PK\6\7", 0, end, 1))
            count, end, start = FULL16, FULL32 + FULL32, FULL32
        self._put(_END.pack(b"PK\5\6", 0, 0, count, count, end - start, start, 0))


# -- reading -------------------------------------------------------------------------------------------------------


class Reader:
    """The records of the archive that a seekable file holds from its present position to its end.

    Raises:
        RuntimeError: the file is no archive, is cut off or damaged, or holds what a checkpoint never holds.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name
        self.start = file.tell()
        self._size = file.seek(0, 2) - self.start
        self.records: dict[str, Record] = {}
        self._index(*self._find_directory())

    def _fail(self, what: str) -> RuntimeError:
        return RuntimeError(f"{self._name}: {what}")

    def _bytes(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= offset + size <= self._size:
            raise self._fail(f"the file is cut off or damaged: it has {self._size} bytes, and no {size} bytes at {offset}")
        self._file.seek(self.start + offset)
        data = self._file.read(size)
        if len(data) != size:
            raise self._fail(f"the file ended early: {size} bytes were expected at {offset}, and {len(data)} came")
        return data

    def _find_directory(self) -> tuple[int, int, int]:
        """Where the directory starts, its size in bytes, and how many entries it has."""
        tail = min(self._size, _END.size + 0xFFFF)
        data = self._bytes(self._size - tail, tail)
        at = data.rfind(b"PK\5\6")
        if at < 0 or tail - at < _END.size:
            raise self._fail("not a whole zip archive: its directory is missing, so the file was probably cut off")
        end = self._size - tail + at
        _, disk, other, here, count, size, start, comment = _END.unpack_from(data, at)
        if end + _END.size + comment != self._size:
            raise self._fail("damaged: the archive does not end where its directory says")
        if end >= _LOCATOR.size and (found := self._bytes(end - _LOCATOR.size, _LOCATOR.size))[:4] == b"PK\6\7":
            end -= _LOCATOR.size
            end64 = _LOCATOR.unpack(found)[2]
            signature, _, _, _, disk, other, here, count, size, start = _END64.unpack(self._bytes(end64, _END64.size))
            if signature != b"PK\6\6" or end64 + _END64.size > end:
                raise self._fail("damaged: the 64-bit end of the archive's directory is not where it should be")
            end = end64
        if disk or other or here != count or start + size > end:
            raise self._fail("damaged: the archive's directory contradicts itself")
        return start, size, count

    def _index(self, start: int, size: int, count: int) -> None:
        directory, at, found = self._bytes(start, size), 0, []
        try:
            while at < size:
                (signature, _, _, flags, method, _, _, crc, packed, full, n, x, c, _, _, _, offset) = (
                    _CENTRAL.unpack_from(directory, at)
                )
                at += _CENTRAL.size
                path, extra = directory[at : at + n], directory[at + n : at + n + x]
                at += n + x + c
                if signature != b"PK\1\2" or at > size:
                    raise self._fail("damaged: the archive's directory is broken")
                found.append((path, flags, method, crc, *_widen(extra, full, packed, offset)))
        except struct.error as error:
            raise self._fail(f"damaged: the archive's directory is broken ({error})") from error
        if len(found) != count:
            raise self._fail(f"damaged: the archive's directory has {len(found)} entries and says {count}")
        free = 0  # where the next record may begin
        for entry in sorted(found, key=lambda entry: entry[-1]):
            free = self._locate(*entry, free, start)

    def _locate(
        self, path: bytes, flags: int, method: int, crc: int, full: int, packed: int, offset: int, free: int, limit: int
    ) -> int:  # fmt: skip
        """Check one entry against the record itself, keep it, and say where the record ends."""
        try:
            name = path.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._fail(f"the archive has a record whose name is not UTF-8: {path[:80]!r}") from error
        shown = repr(name[:80])
        if flags & _ENCRYPTED:
            raise self._fail(f"record {shown} is encrypted, which no checkpoint is")
        if method or full != packed:
            raise self._fail(
                f"record {shown} is compressed ({packed} bytes for {full}). PyTorch and lamina store records as they are, and "
                "lamina reads no others; repack the file with `zip -0`"
            )
        folder, _, inner = name.partition("/")
        if not folder or any(part in ("", ".", "..") for part in name.rstrip("/").split("/")) or "\\" in name or "\0" in name:
            raise self._fail(f"the archive has a record with a suspicious name: {shown}")
        local = self._bytes(offset, _LOCAL.size + len(path))
        signature, *_, n, x = _LOCAL.unpack_from(local)
        begin = offset + _LOCAL.size + n + x
        if signature != b"PK\3\4" or n != len(path) or local[_LOCAL.size :] != path:
            raise self._fail(f"damaged: there is no record {shown} where the archive's directory says")
        if offset < free or begin + full > limit:
            raise self._fail(f"damaged: record {shown} overlaps another or the archive's directory")
        if name.endswith("/") and not full:
            return begin  # a folder, from an archive that was packed anew
        if not self.records:
            self.folder = folder
        if folder != self.folder or inner in self.records:
            what = "is there twice" if inner in self.records else f"is not in the folder {self.folder[:80]!r} as the others are"
            raise self._fail(f"record {shown} {what}")
        self.records[inner] = Record(begin, full, crc)
        return begin + full

    def read(self, name: str) -> np.ndarray:
        """The bytes of a record, as a fresh array; raises ``RuntimeError`` if they do not fit their checksum."""
        record = self.record(name)
        array = np.empty(record.size, np.uint8)
        self._file.seek(self.start + record.offset)
        read_into(self._file, array, self._name)
        if record.crc and zlib.crc32(array.data) != record.crc:
            raise self._fail(f"damaged: record {name[:80]!r} does not fit its checksum")
        return array

    def record(self, name: str) -> Record:
        """Where a record lies."""
        if name not in self.records:
            raise self._fail(f"not a PyTorch checkpoint, or an incomplete one: it has no record {name[:80]!r}")
        return self.records[name]


def _widen(extra: bytes, full: int, packed: int, offset: int) -> tuple[int, int, int]:
    """An entry's sizes and offset, from the 64-bit field where the 32-bit ones are full."""
    values = [full, packed, offset]
    at = 0
    while FULL32 in values and at + 4 <= len(extra):
        kind, n = struct.unpack_from("<2H", extra, at)
        at += 4
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{n // 8}Q", extra, at))
            values = [next(wide, v) if v == FULL32 else v for v in values]
            break
        at += n
    full, packed, offset = values
    return full, packed, offset


def read_into(file: Any, array: np.ndarray, name: str) -> None:
    """Fill an array of bytes from a file; raises ``RuntimeError`` if the file has fewer."""
    view, into = array.data, getattr(file, "readinto", None)
    while len(view):
        if into is not None:
            n = into(view)
        else:
            data = file.read(len(view))
            n = len(data)
            view[:n] = data
        if not n:
            raise RuntimeError(f"{name}: the file ended {len(view)} bytes too early")
        view = view[n:]
