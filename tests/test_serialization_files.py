"""Saving and loading: settings, kinds of files, archives, and files that are replaced whole or not at all."""

import io
import os
import pickle
import pickletools
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from test_serialization import _torch, grid, network, same, saved

import lamina
from lamina import _dtypes
from lamina.serialization import archive

# -- settings ------------------------------------------------------------------------------------------------------


def test_settings_of_save():
    for protocol in (2, 3, pickle.HIGHEST_PROTOCOL):
        assert saved([1], pickle_protocol=protocol) == saved([1])
    for wrong in ({"pickle_protocol": 1}, {"pickle_protocol": 99}, {"pickle_protocol": "2"}, {"pickle_module": io}):
        with pytest.raises(ValueError):
            saved([1], **wrong)
    with pytest.raises(AttributeError, match="'write' attribute"):
        lamina.save(1, 3)


def test_settings_of_load(tmp_path):
    data = saved([1])
    for right in ({"weights_only": True}, {"weights_only": None}, {"mmap": False}, {"pickle_module": None},
                  {"weights_only": False}, {"weights_only": False, "pickle_module": pickle}, {"encoding": "ascii"}):  # fmt: skip
        assert lamina.load(io.BytesIO(data), **right) == [1]
    with pytest.raises(TypeError, match="no settings of pickle"):
        lamina.load(io.BytesIO(data), fix_imports=False)
    with pytest.raises(RuntimeError, match="pickle_module"):
        lamina.load(io.BytesIO(data), pickle_module=pickle)
    with pytest.raises(ValueError, match="file path"):
        lamina.load(io.BytesIO(data), mmap=True)
    with pytest.raises(AttributeError, match="seek"):
        lamina.load(3)
    with pytest.raises(FileNotFoundError):
        lamina.load(tmp_path / "none.pt")
    with pytest.raises(IsADirectoryError if os.name == "posix" else OSError):
        lamina.load(tmp_path)
    with pytest.raises(EOFError, match="empty"):
        lamina.load(io.BytesIO())


def test_map_location():
    data = saved({"x": lamina.ones(2)})
    seen = []

    def keep(storage, location):
        seen.append((storage.nbytes(), location, storage.device))
        return storage

    for where in (None, "cpu", lamina.device("cpu"), {}, {"cpu": "cpu"}, {"cuda:0": "cpu"}, keep, lambda s, loc: None,
                  lambda s, loc: s.cpu()):  # fmt: skip
        assert lamina.load(io.BytesIO(data), where)["x"].sum() == 2
    assert seen == [(8, "cpu", lamina.device("cpu"))]
    for where in ("cuda", lamina.device("cuda:1"), {"cpu": "cuda:0"}, "meta", lambda s, loc: s.cuda()):
        with pytest.raises(RuntimeError, match="CPU only"):
            lamina.load(io.BytesIO(data), where)
    for where in (5, lambda s, loc: 3, lambda s, loc: lamina.ones(1)):
        with pytest.raises(TypeError, match="map_location"):
            lamina.load(io.BytesIO(data), where)
    with pytest.raises(KeyError, match="mine"):
        lamina.load(io.BytesIO(data), lambda s, loc: {}["mine"])


def test_a_file_from_a_gpu_needs_map_location():
    with zipfile.ZipFile(io.BytesIO(saved(lamina.ones(2)))) as old:
        records = {name: old.read(name) for name in old.namelist()}
    program = records["archive/data.pkl"].replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0")
    assert program != records["archive/data.pkl"]
    data = repack(records | {"archive/data.pkl": program})
    with pytest.raises(RuntimeError, match="'cuda:0'.*map_location='cpu'"):
        lamina.load(io.BytesIO(data))
    for where in ("cpu", {"cuda:0": "cpu"}, lambda s, loc: s):
        assert lamina.load(io.BytesIO(data), where).sum() == 2


def repack(records, **how):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **how) as new:
        for name, data in records.items():
            new.writestr(name, data)
    return file.getvalue()


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_paths(kind, tmp_path):
    path = kind(tmp_path / "modèle.pt")
    lamina.save({"x": lamina.ones(3)}, path)
    same(lamina.load(path), {"x": lamina.ones(3)})
    if torch := _torch():
        assert torch.load(path)["x"].sum() == 3
        assert torch.load(path, mmap=True)["x"].sum() == 3


def test_open_files_and_what_only_writes(tmp_path):
    path = tmp_path / "file.pt"
    with open(path, "wb", buffering=0) as file:
        lamina.save(lamina.ones(3), file)
    with open(path, "rb") as file:
        assert lamina.load(file).sum() == 3
    pieces = []

    class Sink:  # neither seeks nor says how much it took
        def write(self, data):
            pieces.append(bytes(data))

    lamina.save(lamina.ones(3), Sink())
    assert b"".join(pieces) == path.read_bytes()
    slow = io.BytesIO()

    class Slow:  # takes a few bytes at a time
        def write(self, data):
            return slow.write(bytes(data)[:7])

    lamina.save(lamina.ones(3), Slow())
    assert slow.getvalue() == path.read_bytes()


def test_an_archive_behind_other_bytes():
    file = io.BytesIO(b"before" + saved([1, lamina.ones(2)]))
    file.seek(6)
    assert lamina.load(file)[1].sum() == 2


def test_the_same_object_gives_the_same_file():
    model = network(lamina)
    assert saved(model.state_dict()) == saved(model.state_dict())


def test_the_archive_is_one_that_others_read():
    data = saved({"x": grid(lamina), "y": lamina.ones(1000), "z": lamina.ones(0)})
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        assert z.testzip() is None
        assert set(z.namelist()) == {f"archive/{n}" for n in ("data.pkl", "byteorder", "version", "data/0", "data/1", "data/2")}
        pickletools.dis(z.read("archive/data.pkl"), io.StringIO())
        for info in z.infolist():
            n, x = (int.from_bytes(data[info.header_offset + at :][:2], "little") for at in (26, 28))
            assert (info.header_offset + 30 + n + x) % archive.ALIGNMENT == 0


def test_big_archives_have_the_64_bit_form(monkeypatch):
    monkeypatch.setattr(archive.Writer, "limit", 100)
    obj = {"x": grid(lamina), "y": lamina.ones(1000), "z": 1}
    data = saved(obj)
    same(lamina.load(io.BytesIO(data)), obj)
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        assert z.testzip() is None
        assert z.getinfo("archive/data/1").file_size == 4000
    if torch := _torch():
        same(torch.load(io.BytesIO(data)), {"x": grid(torch), "y": torch.ones(1000), "z": 1})


def test_mmap_reads_pages_and_never_writes(tmp_path):
    path = tmp_path / "file.pt"
    x = lamina.arange(1000.0)
    lamina.save({"x": x, "t": x[:6].reshape(2, 3).t(), "b": lamina.tensor([True, False]), "n": lamina.ones(0, 3)}, path)
    before = path.read_bytes()
    r = lamina.load(path, mmap=True)
    assert isinstance(r["x"]._a.base, np.memmap) or isinstance(r["x"]._a.base.base, np.memmap)
    same(r["x"], x)
    r["x"].mul_(2)
    assert r["t"][1, 1] == 8 and r["x"][999] == 1998  # copied on writing, and shared
    assert path.read_bytes() == before
    lamina.save(r, path)  # over the file that is mapped
    assert lamina.load(path)["x"][999] == 1998
    if torch := _torch():
        torch.save({"x": torch.arange(1000.0)}, path)
        assert lamina.load(path, mmap=True)["x"][999] == 999
        torch.save(torch.ones(1), path, _use_new_zipfile_serialization=False)
        with pytest.raises(RuntimeError, match="mmap"):
            lamina.load(path, mmap=True)


def test_mmap_of_an_archive_that_was_packed_anew(tmp_path):
    with zipfile.ZipFile(io.BytesIO(saved(lamina.arange(5.0)))) as old:
        records = {name: old.read(name) for name in old.namelist()}
    for shift in range(9):  # somewhere the numbers are not aligned
        path = tmp_path / "file.pt"
        path.write_bytes(repack({"archive/" + "p" * shift: b""} | records))
        for mmap in (True, False):
            r = lamina.load(path, mmap=mmap)
            same(r, lamina.arange(5.0))
            assert r._a.flags.aligned


def test_bool_bytes_other_than_0_and_1_are_true():
    with zipfile.ZipFile(io.BytesIO(saved(lamina.tensor([True, False, True])))) as old:
        records = {name: old.read(name) for name in old.namelist()}
    r = lamina.load(io.BytesIO(repack(records | {"archive/data/0": b"\x02\x00\xff"})))
    assert r._a.view(np.uint8).tolist() == [1, 0, 1]


# -- replacing a file ----------------------------------------------------------------------------------------------


class Crash(BaseException):
    pass


@pytest.mark.parametrize("where", ["first record", "storages", "directory", "fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(where, tmp_path, monkeypatch):
    path = tmp_path / "model.pt"
    lamina.save({"x": lamina.ones(3)}, path)
    before = path.read_bytes()

    def crash(*args, **kwargs):
        raise Crash

    if where in ("first record", "storages"):
        whole = archive.Writer.add

        def add(self, name, data):
            whole(self, name, data)
            if where == "first record" or name == "data/1":
                raise Crash

        monkeypatch.setattr(archive.Writer, "add", add)
    elif where == "directory":
        monkeypatch.setattr(archive.Writer, "finish", crash)
    else:
        monkeypatch.setattr(os, where, crash)
    with pytest.raises(Crash):
        lamina.save([lamina.zeros(1000), lamina.zeros(5)], path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["model.pt"]


def test_a_process_that_dies_while_saving_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pt"
    lamina.save({"x": lamina.ones(3)}, path)
    program = (
        "import sys, os, lamina; from lamina.serialization import archive\n"
        "archive.Writer.finish = lambda self: os._exit(9)\n"
        "lamina.save(lamina.zeros(100_000), sys.argv[1])"
    )
    assert subprocess.run([sys.executable, "-c", program, path], cwd=Path(lamina.__file__).parents[1]).returncode == 9
    same(lamina.load(path), {"x": lamina.ones(3)})


needs_posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links as POSIX has them")


@needs_posix
def test_permissions_are_those_of_open(tmp_path):
    mask = os.umask(0o027)
    try:
        path = tmp_path / "new.pt"
        lamina.save(1, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        for mode in (0o600, 0o666, 0o644):
            path.chmod(mode)
            lamina.save(2, path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
        path.chmod(0o444)
        if os.geteuid() != 0:
            with pytest.raises(PermissionError):
                lamina.save(3, path)
            assert lamina.load(path) == 2
    finally:
        os.umask(mask)


@needs_posix
def test_links_and_devices(tmp_path):
    target, link = tmp_path / "target.pt", tmp_path / "link.pt"
    target.write_bytes(b"")
    link.symlink_to(target)
    lamina.save([1], link)
    assert link.is_symlink() and lamina.load(target) == [1]
    lamina.save([1], "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_no_folder_and_a_folder(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        lamina.save(1, tmp_path / "none" / "file.pt")
    with pytest.raises(OSError):
        lamina.save(1, tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lamina.save([1], "file.pt")
    assert lamina.load("file.pt") == [1] and os.listdir() == ["file.pt"]


# -- safetensors ---------------------------------------------------------------------------------------------------


def test_safetensors(tmp_path):
    pytest.importorskip("safetensors", reason="the safetensors extra is not installed")
    path = tmp_path / "model.safetensors"
    model = network(lamina)
    lamina.serialization.save_safetensors(model.state_dict(), path, {"format": "pt"})
    r = lamina.serialization.load_safetensors(path)
    assert str(model.load_state_dict(r)) == "<All keys matched successfully>"
    for name, value in model.state_dict().items():
        same(r[name], value)
    tensors = {d.name: lamina.ones(2, 3, dtype=d).t() for d in _dtypes.ALL if not d.is_complex}
    tensors |= {"zero": lamina.tensor(0.0), "none": lamina.ones(0, 3), "grad": lamina.ones(2, requires_grad=True)}
    lamina.serialization.save_safetensors(tensors, path)
    for name, value in lamina.serialization.load_safetensors(path).items():
        same(value, tensors[name].detach().contiguous())
        value.zero_()  # it is not read-only
