"""What a caller trusts besides data, sparse tensors, and writing the format before PyTorch 1.6."""

from __future__ import annotations

import datetime
import io
import pickle
import zipfile

import numpy as np
import pytest
from support import assert_same, need_torch

import lamina
from lamina import serialization


def saved(obj, **settings):
    file = io.BytesIO()
    lamina.save(obj, file, **settings)
    return file.getvalue()


def load(data, **settings):
    return lamina.load(io.BytesIO(data), **settings)


def of_torch(obj, **settings):
    file = io.BytesIO()
    need_torch().save(obj, file, **settings)
    return file.getvalue()


class Point:
    made = 0

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return type(other) is Point and (self.x, self.y) == (other.x, other.y)


class Slotted:
    __slots__ = ("a",)


def fail(*args):
    raise ZeroDivisionError("mine")


class Failing:
    def __reduce__(self):
        return fail, (1,)


def archive(obj, protocol=2):
    """A checkpoint of an object as Python pickles it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps(obj, protocol))
        z.writestr("archive/version", "3\n")
    return file.getvalue()


def test_the_list():
    assert serialization.get_safe_globals() == []
    with serialization.safe_globals([Point]):
        serialization.add_safe_globals([Point, (Slotted, "a.b")])
        assert serialization.get_safe_globals() == [Point, (Slotted, "a.b")]
        serialization.clear_safe_globals()
        assert serialization.get_safe_globals() == []
    assert serialization.get_safe_globals() == []
    with pytest.raises(TypeError, match="class or function"):
        serialization.add_safe_globals([3])
    with pytest.raises(ValueError, match="2 items"):
        serialization.add_safe_globals([(Point, 3)])
    assert serialization.get_safe_globals() == []


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_of_trusted_classes(protocol):
    slotted = Slotted()
    slotted.a = 5
    obj = {"p": [Point(1, "a"), slotted], "n": np.float64(2.5), "a": np.arange(3.0), "d": datetime.date(2020, 1, 2)}
    data = archive(obj, protocol)
    for settings in ({}, {"weights_only": False}):
        with pytest.raises(pickle.UnpicklingError, match=r"safe_globals\(\[\.\.\.\]\)"):
            load(data, **settings)
    names = serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data))
    assert f"{__name__}.Point" in names and "datetime.date" in names and any(n.startswith("numpy.") for n in names)
    scalar, rebuild = np.float64(1).__reduce__()[0], np.ones(1).__reduce__()[0]
    trusted = [Point, Slotted, scalar, rebuild, np.ndarray, np.dtype, type(np.dtype("f8")), datetime.date]
    if protocol == 5:
        trusted.append(np.ones(1).__reduce_ex__(5)[0])
    if protocol == 2:
        import _codecs

        trusted.append(_codecs.encode)
    with serialization.safe_globals(trusted):
        assert [n for n in serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data)) if not n.startswith("copyreg")] == []
        loaded = load(data)
        assert loaded["p"][0] == Point(1, "a") and loaded["p"][1].a == 5
        assert loaded["n"] == 2.5 and loaded["a"].tolist() == [0.0, 1.0, 2.0] and loaded["d"] == datetime.date(2020, 1, 2)
    with pytest.raises(pickle.UnpicklingError):
        load(data)


def test_trust_ends_at_the_name():
    data = archive([Point(1, 2), Failing()])
    with serialization.safe_globals([Point]), pytest.raises(pickle.UnpicklingError, match="fail"):
        load(data)
    with serialization.safe_globals([Point, fail]), pytest.raises(ZeroDivisionError, match="mine"):
        load(data)
    with serialization.safe_globals([(Point, "some.where")]), pytest.raises(pickle.UnpicklingError, match="Point"):
        load(data)
    with serialization.safe_globals([(Slotted, f"{__name__}.Point"), fail]), pytest.raises(AttributeError):
        load(archive(Point(1, 2)))  # a Slotted has no place for these attributes


def test_a_bare_class_or_a_storage_inside():
    with serialization.safe_globals([Point]), pytest.raises(pickle.UnpicklingError, match="Point itself"):
        load(archive([Point]))


class Own(lamina.Tensor):
    pass


def test_trusted_tensor_classes():
    torch = need_torch()
    own = type("Own", (torch.Tensor,), {"__module__": __name__})
    t = torch.arange(3.0).as_subclass(own)
    t.note = "x"
    globals()["Own"], keep = own, Own
    try:
        data = of_torch(t)
    finally:
        globals()["Own"] = keep
    with pytest.raises(pickle.UnpicklingError, match="Own"):
        load(data)
    with serialization.safe_globals([keep]):
        loaded = load(data)
    assert type(loaded) is keep and loaded.note == "x" and loaded.tolist() == [0.0, 1.0, 2.0]


# -- sparse tensors ------------------------------------------------------------------------------------------------


def sparse(t, coalesced):
    s = t.sparse_coo_tensor([[0, 2, 2], [1, 0, 0]], t.arange(6.0).reshape(3, 2), (3, 4, 2))
    return s.coalesce() if coalesced else s


@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_tensors(coalesced):
    ours = sparse(lamina, coalesced)
    data = saved({"a": ours, "again": ours, "layout": ours.layout})
    loaded = load(data)
    assert loaded["a"] is loaded["again"] and loaded["layout"] is lamina.sparse_coo
    torch = need_torch()
    theirs = torch.load(io.BytesIO(data))["a"]
    back = load(of_torch(sparse(torch, coalesced)))
    for t in (loaded["a"], theirs, back):
        assert t.is_sparse and t.is_coalesced() == coalesced and tuple(t.shape) == (3, 4, 2)
        assert_same(t._indices(), theirs._indices())
        assert_same(t._values(), theirs._values())
    with pytest.raises(pickle.UnpicklingError, match="sparse"):
        load(of_torch(torch.eye(3).to_sparse_csr()))


@pytest.mark.parametrize("name", ["outside", "negative", "unsorted", "twice", "huge"])
def test_sparse_tensors_that_lie(name, monkeypatch):
    from lamina._sparse import SparseTensor

    indices = {"outside": [[0, 3]], "negative": [[-1, 0]], "unsorted": [[1, 0]], "twice": [[1, 1]], "huge": [[0, 1]]}[name]
    size = (2**63,) if name == "huge" else (3,)
    bad = SparseTensor(np.array(indices), np.ones(2, np.float32), size, True)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        load(saved(bad))


# -- the old format ------------------------------------------------------------------------------------------------


def everything(t):
    base = t.arange(12.0)
    kinds = [t.float64, t.float16, t.bfloat16, t.int64, t.int8, t.uint8, t.bool, t.complex64]
    return {
        "view": base[2:8].reshape(2, 3).t(), "base": base, "kinds": [t.ones(3).to(d) for d in kinds], "empty": t.ones(0, 3),
        "parameter": t.nn.Parameter(t.ones(2)), "scalar": t.tensor(3), "text": "ü", "n": [1, 2.5, None, True, 2**40],
    }  # fmt: skip


def equal(a, b):
    assert type(a).__name__ == type(b).__name__
    if isinstance(a, dict):
        assert list(a) == list(b)
        for k in a:
            equal(a[k], b[k])
    elif isinstance(a, list):
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    elif hasattr(a, "tolist"):
        assert a.tolist() == b.tolist() and str(a.dtype) == str(b.dtype) and a.stride() == b.stride()
        assert a.requires_grad == b.requires_grad
    else:
        assert a == b


def test_the_format_before_1_6_is_written(tmp_path):
    ours = everything(lamina)
    ours["unsigned"] = [lamina.ones(3).to(d) for d in (lamina.uint16, lamina.uint64)]  # which PyTorch writes, and cannot read
    data = saved(ours, _use_new_zipfile_serialization=False)
    assert data[:2] == b"\x80\2"
    equal(load(data), ours)
    torch = need_torch()
    without = {k: v for k, v in ours.items() if k != "unsigned"}
    theirs = torch.load(io.BytesIO(saved(without, _use_new_zipfile_serialization=False)))
    equal(theirs, everything(torch))
    theirs["base"][3] = 100
    assert theirs["view"][1, 0] == 100
    equal(load(of_torch(everything(torch), _use_new_zipfile_serialization=False)), without)
    lamina.save(ours, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    assert (tmp_path / "x.pt").read_bytes() == data
    for cut in range(0, len(data), 97):
        with pytest.raises((pickle.UnpicklingError, RuntimeError, EOFError)):
            load(data[:cut])
