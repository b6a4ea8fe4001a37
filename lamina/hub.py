"""Checkpoints from the web, kept in a folder, as in ``torch.hub``. Nothing is fetched unless one of the functions is called.

The folder is PyTorch's (``$TORCH_HOME``, or ``torch`` in ``$XDG_CACHE_HOME`` or ``~/.cache``), so that a file that PyTorch has
fetched is not fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import tempfile
import zipfile
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from lamina.serialization import load as load_file

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

ENV_TORCH_HOME = "TORCH_HOME"
ENV_XDG_CACHE_HOME = "XDG_CACHE_HOME"
DEFAULT_CACHE_DIR = "~/.cache"
READ_DATA_CHUNK = 128 * 1024
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # of a file's name: the beginning of its SHA256

_hub_dir: str | None = None


def _get_torch_home() -> str:
    cache = os.getenv(ENV_XDG_CACHE_HOME, DEFAULT_CACHE_DIR)
    return os.path.expanduser(os.getenv(ENV_TORCH_HOME, os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder that files are kept in."""
    return os.path.join(_get_torch_home(), "hub") if _hub_dir is None else _hub_dir


def set_dir(d: str | os.PathLike[str]) -> None:
    """Keep files in another folder."""
    global _hub_dir
    _hub_dir = os.path.expanduser(d)


class _Progress:
    """How much of a download is there: ``tqdm``'s bar if that is installed, else a line on stderr at the end."""

    def __init__(self, total: int | None, shown: bool) -> None:
        self.bar: Any = None
        if shown:
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self.bar = tqdm(total=total, unit="B", unit_scale=True, unit_divisor=1024)

    def update(self, n: int) -> None:
        if self.bar is not None:
            self.bar.update(n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Fetch a file.

    Args:
        url (str): where from.
        dst (str): where to; the file appears there when it is whole, and at once.
        hash_prefix (str, optional): how its SHA256 must begin.
        progress (bool): whether a bar is shown, if ``tqdm`` is installed. Default: True.

    Raises:
        RuntimeError: the SHA256 is another, or fewer bytes came than were announced.
        URLError: the file cannot be fetched.
    """
    dst = os.path.expanduser(dst)
    folder = os.path.dirname(os.path.abspath(dst))
    digest = hashlib.sha256()
    with urlopen(Request(url, headers={"User-Agent": "lamina.hub"})) as source:
        length = source.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdigit() else None
        handle, temporary = tempfile.mkstemp(suffix=".partial", dir=folder)
        bar, done = _Progress(total, progress), 0
        try:
            with os.fdopen(handle, "wb") as file:
                while chunk := source.read(READ_DATA_CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    bar.update(len(chunk))
            if total is not None and done != total:
                raise RuntimeError(f"{url}: {done} bytes came of {total}")
            found = digest.hexdigest()
            if hash_prefix is not None and not found.startswith(hash_prefix):
                raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{found}")')
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, dst)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            bar.close()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, check_hash: bool = False,
    file_name: str | None = None, weights_only: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """:func:`lamina.load` of a file from the web, which is fetched once.

    Args:
        url (str): where from.
        model_dir (str, optional): where it is kept: by default ``checkpoints`` in :func:`get_dir`.
        map_location: as in :func:`lamina.load`.
        progress (bool): whether a bar is shown. Default: True.
        check_hash (bool): whether the file's name has, between its last hyphen and its ending, the first eight or more digits of
            its SHA256, to be checked. Default: False.
        file_name (str, optional): the name to keep it under: that of the address by default.
        weights_only (bool): accepted: lamina loads data only in any case.

    Raises:
        RuntimeError: the SHA256 is another.
        URLError: the file cannot be fetched.
        UnpicklingError: the file holds something that is not data.
    """
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else os.fspath(model_dir)
    os.makedirs(folder, exist_ok=True)
    name = os.path.basename(urlparse(url).path) if file_name is None else file_name
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        sys.stderr.write(f'Downloading: "{url}" to {path}\n')
        match = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, match.group(1) if match else None, progress)
    if _is_legacy_zip_format(path):
        return _legacy_zip_load(path, map_location)
    return load_file(path, map_location)


def _is_legacy_zip_format(filename: str) -> bool:
    """Whether the file is an archive around one checkpoint, as early model zoos had them."""
    if not zipfile.is_zipfile(filename):
        return False
    with zipfile.ZipFile(filename) as archive:
        entries = archive.infolist()
    return len(entries) == 1 and not entries[0].is_dir()


def _legacy_zip_load(filename: str, map_location: Any) -> Any:
    with zipfile.ZipFile(filename) as archive, tempfile.TemporaryFile() as file:
        (entry,) = archive.infolist()
        if entry.file_size > 100 * max(entry.compress_size, 1):
            raise RuntimeError(f"{filename}: the archive is compressed so much that it is not a checkpoint")
        with archive.open(entry) as source:
            while chunk := source.read(READ_DATA_CHUNK):
                file.write(chunk)
        file.seek(0)
        return load_file(file, map_location)


def _refusal(name: str) -> RuntimeError:
    return RuntimeError(
        f"hub.{name}() would run code from a repository that is written for PyTorch, which lamina does not; make the model from "
        "source that imports lamina, and load its weights with load_state_dict_from_url()"
    )


def load(repo_or_dir: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    """Raises RuntimeError: a repository's code is written for PyTorch."""
    raise _refusal("load")


def list(github: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001  # PyTorch's name
    """Raises RuntimeError: a repository's code is written for PyTorch."""
    raise _refusal("list")


def help(github: Any, model: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A001  # PyTorch's name
    """Raises RuntimeError: a repository's code is written for PyTorch."""
    raise _refusal("help")
