"""Files from strangers: hand-made checkpoints, malicious ones, damaged ones. Nothing here needs torch.

Whatever a file holds, loading it gives data or one of four errors, soon, and in memory that its size warrants.
"""

import contextlib
import io
import math
import pickle
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lamina
from lamina.serialization import machine

ERRORS = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError)

# -- pickles by hand -----------------------------------------------------------------------------------------------

NONE, TRUE, FALSE, LIST, DICT, EMPTY, REDUCE, STOP = b"N", b"\x88", b"\x89", b"]", b"}", b")", b"R", b"."


def text(string):
    data = string.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(n):
    if 0 <= n < 256:
        return b"K" + bytes([n])
    data = n.to_bytes(n.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data if len(data) < 256 else b"\x8b" + struct.pack("<i", len(data)) + data


def items(*parts):
    return b"(" + b"".join(parts) + b"t"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *arguments):
    return function + items(*arguments) + REDUCE


ORDERED = call(name("collections", "OrderedDict"))
V2, V3 = name("torch._utils", "_rebuild_tensor_v2"), name("torch._utils", "_rebuild_tensor_v3")
PARAMETER = name("torch._utils", "_rebuild_parameter")
WITH_STATE, FROM_TYPE = name("torch._utils", "_rebuild_parameter_with_state"), name("torch._tensor", "_rebuild_from_type_v2")


def storage(kind="FloatStorage", key="0", count=6, location="cpu"):
    return items(text("storage"), name("torch", kind), text(key), text(location), number(count)) + b"Q"


def tensor(memory=None, offset=0, size=(2, 3), stride=(3, 1), grad=FALSE, hooks=ORDERED, *more):
    geometry = [items(*map(number, numbers)) for numbers in (size, stride)]
    return call(V2, memory or storage(), number(offset), *geometry, grad, hooks, *more)


SIX = np.arange(6, dtype="float32").tobytes()


def checkpoint(program, storages=None, method=zipfile.ZIP_STORED, folder="archive", **records):
    """A file around a pickle, packed by Python's own zipfile."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as z:
        z.writestr(f"{folder}/data.pkl", b"\x80\x02" + program + STOP)
        for key, data in ({"0": SIX} if storages is None else storages).items():
            z.writestr(f"{folder}/data/{key}", data)
        for record, data in {"version": b"3\n", "byteorder": b"little", **records}.items():
            z.writestr(f"{folder}/{record}", data)
    return file.getvalue()


def load(data, **how):
    return lamina.load(io.BytesIO(data), **how)


def refused(data, kind=pickle.UnpicklingError, match=None):
    with pytest.raises(kind, match=match) as caught:
        load(data)
    assert "<BytesIO>" in str(caught.value)  # the file's name
    assert len(str(caught.value)) < 600


@contextlib.contextmanager
def modest(megabytes=8, seconds=20):
    """The block uses little memory and, even on a busy machine, little time."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * 2**20, f"{peak / 2**20:.1f} MB"
    assert time.perf_counter() - start < seconds


# -- files as PyTorch writes them ----------------------------------------------------------------------------------


def test_a_state_dict():
    program = (
        name("collections", "OrderedDict") + b"q\x00" + EMPTY + REDUCE + b"q\x01("
        + text("weight") + b"q\x02" + tensor(grad=TRUE) + b"q\x03"
        + text("bias") + tensor(storage(key="1", count=2), 0, (2,), (1,)) + b"u"
        + DICT + text("_metadata") + b"h\x00" + EMPTY + REDUCE + text("") + DICT + text("version") + number(1) + b"sssb"
    )  # fmt: skip
    r = load(checkpoint(program, {"0": SIX, "1": SIX[4:12]}))
    assert list(r) == ["weight", "bias"] and r._metadata == {"": {"version": 1}}
    assert r["weight"].tolist() == [[0, 1, 2], [3, 4, 5]] and r["bias"].tolist() == [1, 2]
    assert r["weight"].requires_grad and not r["bias"].requires_grad
    assert lamina.nn.Linear(3, 2).load_state_dict(r)


def legacy(program, storages=(("0", SIX, 4),), magic=0x1950A86A20F9469CFC6C, version=1001, little=True):
    data = b"".join(pickle.dumps(x, 2) for x in (magic, version, {"little_endian": little, "type_sizes": {"int": 4}}))
    data += b"\x80\x02" + program + STOP + pickle.dumps([key for key, _, _ in storages], 2)
    return data + b"".join(struct.pack("<q", len(content) // item) + content for _, content, item in storages)


def old_storage(kind="FloatStorage", key="0", count=6, location="cpu", view=NONE):
    return items(text("storage"), name("torch", kind), text(key), text(location), number(count), view) + b"Q"


def test_the_format_before_1_6():
    one = tensor(old_storage("LongStorage", "1", 1), 0, (), ())
    program = items(tensor(old_storage()), tensor(old_storage(), 3, (3,), (1,)), one)
    data = legacy(program, [("1", struct.pack("<q", -5), 8), ("0", SIX, 4)])
    a, b, c = load(data)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]] and c.item() == -5
    b.zero_()
    assert a[1].sum() == 0
    file = io.BytesIO(b"x" + data + legacy(number(7), ()))
    file.seek(1)
    assert lamina.load(file)[2] == -5 and lamina.load(file) == 7  # one after the other, as in PyTorch


def test_the_format_before_1_6_damaged():
    program = tensor(old_storage())
    good = legacy(program)
    for n in range(len(good)):
        with pytest.raises(ERRORS):
            load(good[:n])
    refused(legacy(program, magic=5), match="not a PyTorch checkpoint")
    refused(legacy(program, version=1), RuntimeError, "version 1 ")
    refused(legacy(program, little=False), RuntimeError, "endian")
    refused(legacy(program, [("0", SIX[:8], 4)]), RuntimeError, "2 elements")
    refused(legacy(program, [("7", SIX, 4)]), match="not those")
    refused(legacy(program, [("0", SIX, 4), ("0", SIX, 4)]), match="not those")
    refused(legacy(tensor(old_storage(view=items(text("1"), number(0), number(1))))), RuntimeError, "view of a storage")
    refused(legacy(tensor(old_storage(location="cuda:0"))), RuntimeError, "map_location")
    with modest():
        refused(legacy(tensor(old_storage(count=2**40))), RuntimeError, "damaged")


# -- code ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, attribute",
    [("os", "system"), ("posix", "system"), ("nt", "system"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "getattr"),
     ("__builtin__", "eval"), ("builtins", "__import__"), ("subprocess", "Popen"), ("torch.nn", "Module"), ("torch", "load"),
     ("torch.hub", "load"), ("torch._utils", "__dict__"), ("numpy._core.multiarray", "scalar"), ("copyreg", "_reconstructor"),
     ("operator", "attrgetter"), ("lamina", "save"), ("collections", "defaultdict"), ("builtins", "set.__init__"), ("", "")],
)  # fmt: skip
def test_nothing_is_called(module, attribute, tmp_path):
    mark = tmp_path / "mark"
    argument = text(f"touch {mark}")
    for program in (
        call(name(module, attribute), argument),
        text(module) + text(attribute) + b"\x93" + items(argument) + REDUCE,  # STACK_GLOBAL
        name(module, attribute) + EMPTY + b"\x81",  # NEWOBJ
        f"(i{module}\n{attribute}\n".encode(),  # INST
        b"(" + name(module, attribute) + argument + b"o",  # OBJ
        name(module, attribute),
    ):
        refused(checkpoint(program))
    refused(checkpoint(name(module, attribute)), match=f"'{module}.{attribute}'")
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        tensor() + DICT + text("_a") + NONE + b"sb",  # BUILD on a tensor
        DICT + DICT + b"b",
        LIST + DICT + b"b",
        ORDERED + DICT + text("items") + NONE + b"sb",  # would hide a method
        ORDERED + DICT + text("__class__") + NONE + b"sb",
        ORDERED + DICT + number(1) + NONE + b"sb",
        ORDERED + items(DICT, DICT) + b"b",
        tensor() + number(1) + b"a",  # APPEND to a tensor
        DICT + number(1) + b"a",
        LIST + number(0) + number(1) + b"s",
        tensor() + number(0) + number(1) + b"s",
        text("a") + b"(" + number(1) + b"e",
        LIST + b"(" + number(1) + b"\x90",
        DICT + b"(" + number(1) + b"u",
        DICT + LIST + NONE + b"s",  # a list as a key
        DICT + DICT + NONE + b"s",
        call(text("os.system"), text("true")),
        call(tensor(), number(1)),
        call(name("torch", "float32"), number(1)),
        call(name("torch", "FloatStorage"), number(10**9)),
        call(name("torch", "Tensor"), number(10**9)),
        V2 + number(1) + REDUCE,
        call(V2),
        call(FROM_TYPE, name("collections", "OrderedDict"), name("torch", "Tensor"), EMPTY, DICT),
        call(FROM_TYPE, V2, name("torch", "Size"), EMPTY, DICT),
        call(PARAMETER, number(1), TRUE, ORDERED),
        call(PARAMETER, tensor(), number(1), ORDERED),
        call(WITH_STATE, tensor(), TRUE, ORDERED, DICT + text("grad") + NONE + b"s"),
        call(WITH_STATE, tensor(), TRUE, ORDERED, DICT + text("_node") + NONE + b"s"),
        call(WITH_STATE, tensor(), TRUE, ORDERED, LIST),
        call(name("_codecs", "encode"), text("a"), text("rot13")),
        call(name("_codecs", "encode"), text("\u4e2d"), text("latin1")),
        call(name("_codecs", "encode"), number(1), text("latin1")),
        call(name("builtins", "bytearray"), number(10**12)),
        call(name("builtins", "bytes"), number(10**12)),
        call(name("builtins", "set"), number(1)),
        call(name("builtins", "set"), LIST + LIST + b"a"),
        call(name("builtins", "complex"), text("1"), number(1)),
        call(name("collections", "OrderedDict"), LIST + number(1) + b"a"),
        call(name("collections", "OrderedDict"), LIST + items(LIST, NONE) + b"a"),
        call(name("collections", "Counter"), text("aab")),
        call(name("torch", "Size"), items(text("a"))),
        call(name("torch", "device"), number(1)),
        call(name("torch", "device"), text("toaster")),
        call(name("torch.serialization", "_get_layout"), text("torch.sparse_csr")),
        storage(),  # alone
        LIST + storage() + b"a",
        DICT + text("a") + items(name("torch", "FloatStorage")) + b"s",
        LIST + V2 + b"a",
        name("torch", "Tensor"),
        text("storage") + b"Q",
        items(text("module"), NONE, NONE, NONE, NONE) + b"Q",
        items(text("storage"), NONE, text("0"), text("cpu"), number(6)) + b"Q",
        items(text("storage"), name("torch", "FloatStorage"), number(0), text("cpu"), number(6)) + b"Q",
        items(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), NONE) + b"Q",
        items(text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu")) + b"Q",
    ],
    ids=lambda program: repr(program[-30:]),
)  # fmt: skip
def test_only_data_is_made(program):
    refused(checkpoint(program), (pickle.UnpicklingError, RuntimeError))


@pytest.mark.parametrize(
    "program",
    [b"", b"0", b"t", b"\x85", b"\x87", b"a", b"e", b"s", b"u", b"R", b"b", b"Q", b"\x93", b"q\x00", b"h\x00", b"1", b"(",
     b"j\xff\xff\xff\xff", NONE + b"(", NONE + NONE, b"\x80\x00" + NONE, b"\x80\x63" + NONE, b"c\n", b"c" + b"a" * 5000,
     b"cos\nsystem", b"c\xff\n\xff\n" + NONE, b"X\2\0\0\0\xff\xff", b"\xff", b"2", b"I1\n", b"L1L\n", b"F1\n", b"S'a'\n",
     b"V1\n", b"P0\n", b"g0\n", b"p0\n", b"d", b"l", b"\x82\x01", b"\x83\x01\x01", b"\x84\x01\x01\x01\x01", b"\x92", b"\x97"],
)  # fmt: skip
def test_malformed_programs(program):
    refused(checkpoint(program))


# -- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [b"X", b"B", b"T", b"\x8b", b"\x8d", b"\x8e", b"\x96"])
@pytest.mark.parametrize("count", [2**31 - 1, 2**32 - 1, 2**63 + 99, 2**64 - 1])
def test_announced_lengths_are_checked_before_they_are_taken(code, count):
    wide = code in (b"\x8d", b"\x8e", b"\x96")
    data = checkpoint(code + struct.pack("<Q", count)[: 8 if wide else 4])
    with modest():
        refused(data)


@pytest.mark.parametrize("size", [2**20, 2**27])
def test_a_program_that_is_cut_off(size):
    with modest():
        refused(checkpoint(b"X" + struct.pack("<I", size) + b"abc"), match=f"{size} bytes are announced")
    with zipfile.ZipFile(io.BytesIO(checkpoint(NONE))) as z:
        assert z.read("archive/data.pkl") == b"\x80\x02N."
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w") as z:
        z.writestr("archive/data.pkl", b"\x80\x02N")
    refused(broken.getvalue(), EOFError, "STOP")


GEOMETRIES = {
    "too long": (0, (7,), (1,)),
    "offset": (5, (2,), (1,)),
    "stride": (0, (2, 2), (5, 1)),
    "huge size": (0, (2**62,), (1,)),
    "huge stride": (0, (2,), (2**61,)),
    "huge stride of one element": (0, (1,), (2**62,)),
    "product beyond 64 bits": (0, (2**40, 2**40), (0, 0)),
    "sum beyond 64 bits": (0, (2, 2), (2**62, 2**62)),
    "beyond 64 bits": (0, (2**64,), (0,)),
    "offset beyond 64 bits": (2**64, (1,), (1,)),
    "nothing of a huge shape": (0, (0, 2**62, 2**62), (1, 1, 1)),
    "sizes and strides": (0, (2, 3), (1,)),
    "too many dimensions": (0, (1,) * 65, (1,) * 65),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_tensors_that_reach_out_of_their_storage(geometry):
    data = checkpoint(tensor(None, *geometry))
    with modest():
        refused(data, (pickle.UnpicklingError, RuntimeError))


@pytest.mark.parametrize("offset, size, stride", [(-1, (1,), (1,)), (0, (-1,), (1,)), (5, (2,), (-1,)), (0, (2, -3), (3, 1))])
def test_negative_geometry(offset, size, stride):
    refused(checkpoint(tensor(None, offset, size, stride)), match="numbers from 0")


@pytest.mark.parametrize(
    "offset, size, stride, numbers",
    [(5, (1,), (1,), [5]), (5, (), (), 5), (0, (3,), (2,), [0, 2, 4]), (1, (2, 2), (0, 3), [[1, 4], [1, 4]]), (6, (0,), (1,), []),
     (0, (1, 2), (2**40, 1), [[0, 1]])],
)  # fmt: skip
def test_tensors_at_the_edge_of_their_storage(offset, size, stride, numbers):
    assert load(checkpoint(tensor(None, offset, size, stride))).tolist() == numbers


@pytest.mark.parametrize("wrong", [text("0"), NONE, LIST, b"G" + bytes(8), DICT, storage()])
@pytest.mark.parametrize("place", range(6))
def test_geometry_of_another_type(wrong, place):
    arguments = [storage(), number(0), items(number(2)), items(number(1)), FALSE, ORDERED]
    assert load(checkpoint(call(V2, *arguments))).tolist() == [0, 1]
    arguments[place] = wrong
    if (place, wrong) in ((0, storage()), (5, NONE), (5, LIST), (5, DICT), (5, b"G" + bytes(8))):
        return  # right, or as good as no hooks
    refused(checkpoint(call(V2, *arguments)))


@pytest.mark.parametrize("wrong", [TRUE, text("1"), b"G" + bytes(8), NONE])
def test_numbers_of_another_type(wrong):
    refused(checkpoint(call(V2, storage(), number(0), items(wrong), items(number(1)), FALSE, ORDERED)))
    refused(checkpoint(call(V2, storage(), number(0), items(number(1)), items(wrong), FALSE, ORDERED)))


def test_storages_and_their_records():
    refused(checkpoint(tensor(storage(count=5))), RuntimeError, "should have 20 bytes, and its record has 24")
    refused(checkpoint(tensor(storage(count=2**61))), RuntimeError, "damaged")
    refused(checkpoint(tensor(storage(count=-6))), RuntimeError, "damaged")
    refused(checkpoint(tensor(storage(key="1"))), RuntimeError, "no record 'data/1'")
    refused(checkpoint(tensor(storage(key="../version"))), RuntimeError, "no record")
    refused(checkpoint(items(tensor(), tensor(storage("IntStorage")))), match="two sizes or dtypes")
    refused(checkpoint(tensor(storage("IntStorage"), grad=TRUE)), RuntimeError, "floating point")
    refused(checkpoint(tensor(storage("QInt8Storage", count=24))), RuntimeError, "QInt8Storage.*does not have yet")
    refused(checkpoint(name("torch", "complex32")), RuntimeError, "does not have yet")
    refused(checkpoint(name("torch._utils", "_rebuild_wrapper_subclass")), RuntimeError, "only dense")
    refused(checkpoint(tensor(hooks=ORDERED + number(1) + NONE + b"s")), match="hooks")


def test_marks_of_a_tensor():
    def mark(**marks):
        return DICT + b"".join(text(k) + v + b"s" for k, v in marks.items())

    v2 = (None, 0, (6,), (1,), FALSE, ORDERED)
    assert load(checkpoint(tensor(*v2, mark(neg=TRUE)))).tolist() == [0, -1, -2, -3, -4, -5]
    assert load(checkpoint(tensor(*v2, mark(neg=FALSE)))).tolist() == [0, 1, 2, 3, 4, 5]
    refused(checkpoint(tensor(*v2, mark(meta=TRUE))), match="'meta'")
    refused(checkpoint(tensor(*v2, number(1))))
    refused(checkpoint(tensor(storage("LongStorage", count=3), 0, (3,), (1,), FALSE, ORDERED, mark(conj=TRUE))))
    # A negated tensor is a copy, but many of them are one.
    big = np.zeros(2**18, "float32").tobytes()
    many = tensor(storage(count=2**18), 0, (2**50,), (0,), FALSE, ORDERED, mark(neg=TRUE))
    with modest(8):
        r = load(checkpoint(items(*[many] * 50), {"0": big}))
        assert len(r) == 50 and r[0].shape == (2**50,)


# -- programs that are small and want much -------------------------------------------------------------------------


def nest(open, close, depth, core=NONE):
    return open * depth + core + close * depth


def doubled(n):
    """t = (t, t), n times: small to write, 2**n to walk."""
    return EMPTY + b"".join(b"q\x01" + b"h\x01\x86" for _ in range(n))


def test_deep_nesting_is_no_recursion():
    depth = 100_000
    r = load(checkpoint(nest(b"", b"\x85", depth)))
    for _ in range(depth):
        (r,) = r
    assert r is None
    r = load(checkpoint(LIST * depth + b"a" * (depth - 1)))
    while r:
        (r,) = r


def test_a_key_that_would_take_forever_to_hash():
    with modest(50):
        refused(checkpoint(DICT + doubled(100) + NONE + b"s"))
        refused(checkpoint(DICT + doubled(30) + NONE + b"s"), match="made to take more|deep tuple")
        refused(checkpoint(DICT + nest(b"", b"\x85", 100_000) + NONE + b"s"), match="deep tuple")
        refused(checkpoint(call(name("builtins", "set"), LIST + doubled(30) + b"a")))
        refused(checkpoint(b"\x8f(" + doubled(30) + b"\x90"))
        refused(checkpoint(b"(" + doubled(30) + b"\x91"))
        refused(checkpoint(call(name("collections", "OrderedDict"), LIST + items(doubled(30), NONE) + b"a")))


def test_a_value_that_would_take_forever_to_print():
    bomb = doubled(200)
    with modest(20):
        assert isinstance(load(checkpoint(bomb)), tuple)
        refused(checkpoint(tensor(None, 0, (1,), (1,), bomb)))
        refused(checkpoint(call(name("torch", "Size"), items(bomb))))
        refused(checkpoint(call(name("_codecs", "encode"), text("a"), bomb)))
        refused(checkpoint(call(name("torch.serialization", "_get_layout"), bomb)))
        refused(checkpoint(bomb + b"Q"))
        refused(checkpoint(items(text("storage"), bomb, bomb, bomb, bomb) + b"Q"))
        refused(checkpoint(tensor(None, 0, (1,), (1,), FALSE, ORDERED, DICT + text("x") + bomb + b"s")))
        refused(legacy(bomb, ()).replace(pickle.dumps([], 2), b"\x80\x02" + bomb + STOP))
        refused(legacy(NONE, version=0).replace(pickle.dumps(0, 2), b"\x80\x02" + bomb + STOP), (RuntimeError, *ERRORS[:1]))


def test_keys_that_are_made_to_collide():
    """Numbers hash by their value, so that anybody can choose many with the same hash."""
    integers = [number((2**61 - 1) * i) for i in range(1, 20_000)]
    complexes = [call(name("builtins", "complex"), number(-1000003 * i), number(i)) for i in range(1, 20_000)]
    assert hash((2**61 - 1) * 7) == hash((2**61 - 1) * 8) and hash(complex(-1000003, 1)) == hash(complex(-2000006, 2))
    for keys in (integers, complexes):
        with modest(60):
            refused(checkpoint(DICT + b"(" + b"".join(key + NONE for key in keys) + b"u"), match="made to")
    many = b"".join(number(2**61 + i) + NONE for i in range(5000))
    assert len(load(checkpoint(DICT + b"(" + many + b"u"))) == 5000


def test_many_copies_of_one_long_string():
    long = text("a" * 100_000) + b"q\x05"
    encode = name("_codecs", "encode") + b"q\x00" + text("latin1") + b"q\x01"
    copies = b"h\x00h\x05h\x01\x86R" * 10_000  # a gigabyte
    with modest(20):
        refused(checkpoint(LIST + b"(" + long + encode + copies + b"e"), match="more memory or time than its size warrants")
    shared = LIST + b"(" + b"K\1" * 5000 + b"eq\x05"
    with modest(20):
        refused(checkpoint(items(shared, *[name("builtins", "set") + b"h\x05\x85R"] * 5000)), match="size warrants")
    attributes = DICT + b"(" + b"".join(text(f"a{i}") + NONE for i in range(5000)) + b"uq\x05"
    with modest(50):  # all copies would take 300 MB each
        refused(checkpoint(items(attributes, *[ORDERED + b"h\x05b"] * 5000)), match="size warrants")
        one = call(WITH_STATE, tensor(), TRUE, ORDERED, b"h\x05")
        refused(checkpoint(items(attributes, *[one] * 1000)), match="size warrants")
    assert len(load(checkpoint(items(long, *[b"h\x05"] * 10_000)))) == 10_001  # one string, many references


def test_a_counter_keeps_its_counts():
    program = call(name("collections", "Counter"), DICT + text("a") + number(2) + b"s") + text("b") + number(3) + b"s"
    assert load(checkpoint(program)) == {"a": 2, "b": 3}


def test_what_ends_up_in_an_attribute_is_data_too():
    state = DICT + text("a") + storage() + b"s"
    refused(checkpoint(call(WITH_STATE, tensor(), TRUE, ORDERED, state)))
    refused(checkpoint(ORDERED + DICT + text("_metadata") + LIST + storage() + b"asb"))


# -- archives ------------------------------------------------------------------------------------------------------


def test_records_that_are_compressed():
    bomb = checkpoint(tensor(storage(count=2**22)), {"0": bytes(2**24)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    with modest():
        refused(bomb, RuntimeError, "is compressed.*zip -0")
        refused(checkpoint(NONE, {}, zipfile.ZIP_BZIP2), RuntimeError, "is compressed")


def test_records_of_other_names():
    for bad in ("../evil", "/etc/passwd", "archive/../../x", "archive//x", "archive/./x", "archive\\x", "x"):
        file = io.BytesIO(checkpoint(tensor()))
        with zipfile.ZipFile(file, "a") as z:
            info = zipfile.ZipInfo("placeholder")
            info.filename = bad  # past zipfile's own repairs
            z.writestr(info, b"x")
        refused(file.getvalue(), RuntimeError, "suspicious|folder")
    file = io.BytesIO(checkpoint(tensor()))
    with zipfile.ZipFile(file, "a") as z, pytest.warns(UserWarning, match="Duplicate"):
        z.writestr("archive/data/0", SIX)
    refused(file.getvalue(), RuntimeError, "twice")
    file = io.BytesIO(checkpoint(tensor()))
    with zipfile.ZipFile(file, "a") as z:
        z.mkdir("archive/notes/") if hasattr(z, "mkdir") else z.writestr("archive/notes/", b"")
    assert load(file.getvalue()).shape == (2, 3)


def test_other_archives():
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    refused(empty.getvalue(), pickle.UnpicklingError, "not a PyTorch checkpoint")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as z:
        z.writestr("word/document.xml", "<xml/>")
    refused(other.getvalue(), RuntimeError, "no record 'data.pkl'")
    refused(checkpoint(tensor(), **{"constants.pkl": b"", "code/x.py": b""}), RuntimeError, "TorchScript")
    refused(checkpoint(tensor(), byteorder=b"big"), RuntimeError, "big-endian")
    refused(checkpoint(tensor(), byteorder=b"\xff" * 1000), RuntimeError, "endian")
    assert load(checkpoint(tensor(), folder="any name")).shape == (2, 3)
    for data in (b"hello", b"\x89PNG", b"PK", b"<html>", b"\x1f\x8b\x08\x00"):
        refused(data, match="not a PyTorch checkpoint")


def test_every_truncation_is_an_error():
    good = checkpoint(tensor())
    for n in range(len(good)):
        with pytest.raises(ERRORS):
            load(good[:n])
    with pytest.raises(RuntimeError, match="cut off"):
        load(good[:-1])


def test_every_changed_bit_of_the_numbers_is_noticed():
    good = io.BytesIO()
    lamina.save(lamina.arange(6.0), good)
    data = good.getvalue()
    at = data.index(SIX)
    for i in range(len(SIX)):
        bad = bytearray(data)
        bad[at + i] ^= 1 << (i % 8)
        refused(bytes(bad), RuntimeError, "checksum")


def test_records_that_overlap():
    """Two entries of the directory for one record would count its memory twice."""
    data = bytearray(checkpoint(items(tensor(), tensor(storage(key="1"))), {"0": SIX, "1": SIX}))
    directory = data.index(b"PK\x01\x02")
    entries = []
    at = directory
    while data[at : at + 4] == b"PK\x01\x02":
        entries.append(at)
        at += 46 + struct.unpack_from("<H", data, at + 28)[0]
    first = struct.unpack_from("<I", data, entries[1] + 42)[0]
    struct.pack_into("<I", data, entries[2] + 42, first)
    refused(bytes(data), RuntimeError, "damaged")
    struct.pack_into("<H", data, first + 28, 0)
    data = bytearray(checkpoint(tensor()))
    local = data.index(b"PK\x03\x04archive/data/0"[:4], 4)
    struct.pack_into("<H", data, local + 28, 60_000)  # an extra field that reaches over the other records
    refused(bytes(data), RuntimeError, "overlaps|cut off")


def test_encrypted_records():
    data = bytearray(checkpoint(tensor()))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    refused(bytes(data), RuntimeError, "encrypted")


def test_a_file_without_checksums():
    """PyTorch writes none if it is told so; the field is 0."""
    data = bytearray(checkpoint(tensor()))
    at = 0
    while (at := data.find(b"PK\x01\x02", at) + 1) > 0:
        struct.pack_into("<I", data, at + 15, 0)
    data[data.index(SIX) + 4] ^= 1
    assert load(bytes(data)).shape == (2, 3)


def test_a_file_that_shrinks_while_it_is_read():
    class Short(io.BytesIO):
        def readinto(self, target):
            return 0

    data = io.BytesIO()
    lamina.save(lamina.ones(1000), data)
    with pytest.raises(RuntimeError, match="ended"):
        lamina.load(Short(data.getvalue()))


# -- mutations -----------------------------------------------------------------------------------------------------


def samples():
    x = lamina.arange(6.0).reshape(2, 3)
    p = lamina.nn.Parameter(x.clone())
    p.note = "x"
    obj = {
        "x": x, "t": x.t(), "p": p, "b": lamina.nn.Buffer(lamina.ones(1)), "u": lamina.ones(2, dtype=lamina.uint16),
        "n": [1, -1, 2**40, 1.5, None, True, 1j, b"ab", "cd", bytearray(b"e"), {1, 2}, (3,), lamina.float16, lamina.Size([1])],
        "m": lamina.nn.Linear(2, 1).state_dict(),
    }  # fmt: skip
    file = io.BytesIO()
    lamina.save(obj, file)
    return file.getvalue()


ARCHIVE = samples()
with zipfile.ZipFile(io.BytesIO(ARCHIVE)) as _z:
    RECORDS = {n: _z.read(n) for n in _z.namelist()}
PROGRAM = RECORDS.pop("archive/data.pkl")
LEGACY = legacy(items(tensor(old_storage()), tensor(old_storage(), 3, (3,), (1,))))

edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(min_size=1, max_size=4), st.integers(1, 40)), min_size=1, max_size=4
)  # fmt: skip


def mutate(data, changes):
    data = bytearray(data)
    for where, kind, new, length in changes:
        at = math.floor(where * len(data))
        if kind == 0:
            data[at : at + len(new)] = new  # overwrite
        elif kind == 1:
            data[at:at] = new  # insert
        elif kind == 2:
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]  # repeat
    return bytes(data)


def attempt(data):
    start = time.perf_counter()
    try:
        lamina.load(io.BytesIO(data))
    except ERRORS:
        pass
    assert time.perf_counter() - start < 5


@settings(max_examples=300, deadline=None)
@given(edits, st.floats(0, 1))
@example([(0.0, 0, b"P", 1)], 1.0)
def test_mutated_files(changes, keep):
    with modest(4):
        attempt(mutate(ARCHIVE, changes)[: math.ceil(keep * len(ARCHIVE)) + 40])
        attempt(mutate(LEGACY, changes))


@settings(max_examples=400, deadline=None)
@given(edits)
def test_mutated_programs(changes):
    """The pickle alone, in an archive whose checksums are right."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", mutate(PROGRAM, changes))
        for record, data in RECORDS.items():
            z.writestr(record, data)
    with modest(4):
        attempt(file.getvalue())


PIECES = [bytes([code]) for code in machine.OPERATIONS] + [
    NONE, number(1), number(-5), text("0"), text("a"), EMPTY, LIST, DICT, b"(", b"q\x00", b"h\x00", b"\x86", b"\x85R", b"\x86R",
    ORDERED, storage(), tensor(), V2, V3, PARAMETER, FROM_TYPE, name("os", "system"),
    *[name("torch", attribute) for attribute in ("Size", "float32", "FloatStorage", "Tensor", "device")],
    *[name("builtins", attribute) for attribute in ("set", "complex", "bytearray", "bytes")],
    name("collections", "Counter"), name("_codecs", "encode"),
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_program(pieces):
    with modest(4):
        attempt(checkpoint(b"".join(pieces)))
