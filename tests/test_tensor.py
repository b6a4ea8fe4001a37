"""Creation, attributes, conversion, printing, copying: against torch."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same, need_torch, same_error

import lamina

CREATION = {
    "list": lambda t: t.tensor([[1, 2], [3, 4]]),
    "floats": lambda t: t.tensor([1.5, 2]),
    "bools": lambda t: t.tensor([True, False]),
    "mixed": lambda t: t.tensor([True, 2]),
    "complex": lambda t: t.tensor([1 + 2j]),
    "scalar": lambda t: t.tensor(3.5),
    "empty list": lambda t: t.tensor([]),
    "nested empty": lambda t: t.tensor([[], []]),
    "of tensors": lambda t: t.tensor([t.tensor(1), t.tensor(2.5)]),
    "of arrays": lambda t: t.tensor(np.array([np.float32(1), np.float32(2)])),
    "list of arrays": lambda t: t.tensor(np.stack([np.arange(3), np.arange(3)])),
    "numpy scalar": lambda t: t.tensor(np.float64(2.5)),
    "dtype": lambda t: t.tensor([1, 2], dtype=t.float16),
    "truncating": lambda t: t.tensor([1.7, -2.7], dtype=t.int64),
    "as_tensor": lambda t: t.as_tensor([1, 2]),
    "zeros": lambda t: t.zeros(2, 3),
    "zeros tuple": lambda t: t.zeros((2, 3), dtype=t.int32),
    "zeros none": lambda t: t.zeros(()),
    "ones": lambda t: t.ones(2, dtype=t.bool),
    "full": lambda t: t.full((2, 2), 7),
    "full float": lambda t: t.full((2,), 7.5),
    "full bool": lambda t: t.full((2,), True),
    "like": lambda t: t.zeros_like(t.ones(2, 3, dtype=t.int16)),
    "full_like": lambda t: t.full_like(t.ones(2, 3), 2),
    "new": lambda t: t.ones(2, dtype=t.float64).new_zeros(3, 2),
    "new_tensor": lambda t: t.ones(2, dtype=t.float64).new_tensor([1, 2]),
    "new_full": lambda t: t.ones(2, dtype=t.int64).new_full((2,), 3),
    "arange": lambda t: t.arange(5),
    "arange floats": lambda t: t.arange(1, 2.5, 0.5),
    "arange down": lambda t: t.arange(5, 0, -2),
    "arange dtype": lambda t: t.arange(3, dtype=t.float32),
    "arange empty": lambda t: t.arange(0),
    "arange many": lambda t: t.arange(0, 1, 0.001),
    "linspace": lambda t: t.linspace(0, 1, 7),
    "linspace one": lambda t: t.linspace(2, 5, 1),
    "linspace ints": lambda t: t.linspace(0, 10, 5, dtype=t.int64),
    "linspace fine": lambda t: t.linspace(-3, 10, 1001),
    "logspace": lambda t: t.logspace(0, 2, 5),
    "eye": lambda t: t.eye(3),
    "eye wide": lambda t: t.eye(2, 4, dtype=t.int64),
    "scalar_tensor": lambda t: t.scalar_tensor(3),
    "size()": lambda t: t.zeros(t.zeros(2, 3).shape),
    "Tensor": lambda t: t.Tensor([[1, 2], [3, 4]]),
    "Tensor of nothing": lambda t: t.Tensor(),
    "Tensor of a size": lambda t: t.Tensor(t.Size([2, 3])).zero_(),
    "size keyword": lambda t: t.ones(size=(2, 3)),
    "arange end": lambda t: t.arange(end=3),
    "arange start end": lambda t: t.arange(start=1, end=3),
}


@pytest.mark.parametrize("name", CREATION)
def test_creation(name):
    torch = need_torch()
    ours, theirs = CREATION[name](lamina), CREATION[name](torch)
    assert str(ours.dtype) == str(theirs.dtype)
    assert_same(ours, theirs)


def test_creation_errors():
    same_error(lambda t: t.zeros(-1))
    same_error(lambda t: t.zeros(2.5))
    same_error(lambda t: t.tensor([[1, 2], [3]]))
    same_error(lambda t: t.tensor("abc"))
    same_error(lambda t: t.tensor(["a"]))
    same_error(lambda t: t.tensor(object()))
    same_error(lambda t: t.arange(0, 5, 0))
    same_error(lambda t: t.arange(5, 0))
    same_error(lambda t: t.eye(-1))
    same_error(lambda t: t.linspace(0, 1, -1))
    same_error(lambda t: t.from_numpy([1]))
    same_error(lambda t: t.from_numpy(np.array(["a"])))
    same_error(lambda t: t.from_numpy(np.arange(3)[::-1]))
    same_error(lambda t: t.tensor([1], requires_grad=True))
    same_error(lambda t: t.zeros(2, device="cuda"))
    same_error(lambda t: t.device("gpu"))
    same_error(lambda t: t.set_default_dtype(t.int64))
    for data in (None, [None], {1}, {1: 2}, b"a", [1, "a"], [[1, 2], 3], [[1, 2], [3, [4]]], (i for i in (1, 2))):
        same_error(lambda t, data=data: t.tensor(data))
    same_error(lambda t: t.zeros())
    same_error(lambda t: t.full(2, 3))
    same_error(lambda t: t.arange())
    same_error(lambda t: t.arange("a"))
    same_error(lambda t: t.linspace(0, 1, 2.5))
    same_error(lambda t: t.zeros_like([1]))


@pytest.mark.parametrize(
    "data", [-1, 256, [256], 300.0, [-129], 3.7, -3.7, float("nan"), 1e30, [1, 2**70], 1e40, [1j]]
)
@pytest.mark.parametrize("dtype", [None, "uint8", "int8", "int64", "float32", "bool"])
def test_numbers_must_fit_their_dtype(data, dtype):
    """What PyTorch refuses is refused, what it wraps or rounds is wrapped or rounded, and nothing warns."""
    torch = need_torch()

    def made(t):
        return t.tensor(data, dtype=dtype and getattr(t, dtype))

    try:
        wanted = made(torch)
    except Exception:
        return same_error(made)
    assert_same(made(lamina), wanted)


def test_creation_like_another_keeps_its_memory_order():
    torch = need_torch()
    for make in (
        lambda t: t.ones(2, 3).t(),
        lambda t: t.ones(2, 3, 4, 5).to(memory_format=t.channels_last),
        lambda t: t.ones(3, 1).expand(3, 4),
        lambda t: t.ones(2, 4)[:, ::2],
    ):
        for name in ("zeros_like", "ones_like", "empty_like"):
            ours, theirs = (getattr(t, name)(make(t)) for t in (lamina, torch))
            assert ours.stride() == theirs.stride()
            ours, theirs = (getattr(t, name)(make(t), memory_format=t.contiguous_format) for t in (lamina, torch))
            assert ours.stride() == theirs.stride()
    hidden = lamina.nn.Conv2d(3, 8, 3)(lamina.ones(2, 3, 40, 40))
    assert lamina.zeros_like(hidden).is_contiguous() and lamina.zeros_like(hidden).stride() == hidden.stride()


def test_from_numpy_shares_memory():
    a = np.arange(6.0).reshape(2, 3)
    t = lamina.from_numpy(a)
    t[0, 0] = 100
    assert a[0, 0] == 100
    a[1, 2] = -1
    assert t[1, 2].item() == -1 and np.shares_memory(t.numpy(), a)
    assert lamina.from_numpy(a.T).stride() == (1, 3)
    assert lamina.as_tensor(a).numpy() is a or np.shares_memory(lamina.as_tensor(a).numpy(), a)
    assert not np.shares_memory(lamina.tensor(a).numpy(), a)


def test_default_dtype():
    try:
        lamina.set_default_dtype(lamina.float64)
        assert lamina.tensor(1.5).dtype is lamina.float64 and lamina.zeros(1).dtype is lamina.float64
        assert repr(lamina.tensor(1.5)) == "tensor(1.5000)"
    finally:
        lamina.set_default_dtype(lamina.float32)


def test_dlpack_both_ways():
    torch = need_torch()
    t = lamina.arange(6.0).view(2, 3)
    theirs = torch.from_dlpack(t)
    theirs[0, 0] = 9
    assert t[0, 0].item() == 9
    back = lamina.from_dlpack(theirs)
    assert back.tolist() == t.tolist()
    assert np.from_dlpack(t).shape == (2, 3)
    with pytest.raises(BufferError):
        lamina.ones(1, requires_grad=True).__dlpack__()


def test_array_protocol():
    t = lamina.arange(4.0)
    assert np.asarray(t).dtype == np.float32 and np.shares_memory(np.asarray(t), t.numpy())
    assert np.array(t, dtype=np.int64).tolist() == [0, 1, 2, 3]
    assert np.sin(t).dtype in (lamina.float32, np.float32)


def test_to_and_casts():
    t = lamina.ones(2)
    assert t.to(lamina.float32) is t and t.to("cpu") is t and t.cpu() is t and t.to(lamina.device("cpu")) is t
    assert t.to(lamina.float64).dtype is lamina.float64 and t.to("cpu", lamina.int64).dtype is lamina.int64
    assert t.to(lamina.ones(1, dtype=lamina.int32)).dtype is lamina.int32
    assert t.to(lamina.float32, copy=True) is not t
    for name, dtype in [("double", "float64"), ("half", "float16"), ("long", "int64"), ("int", "int32"), ("short", "int16"),
                        ("char", "int8"), ("byte", "uint8"), ("bool", "bool"), ("float", "float32")]:  # fmt: skip
        assert getattr(t, name)().dtype is getattr(lamina, dtype)
    assert t.type() == "torch.FloatTensor" and t.type(lamina.int64).dtype is lamina.int64
    assert t.type_as(lamina.ones(1, dtype=lamina.float64)).dtype is lamina.float64
    same_error(lambda t: t.ones(1).to("cuda"))
    same_error(lambda t: t.ones(1).cuda())
    same_error(lambda t: t.ones(1).to(bogus=3))


def test_item_tolist_len_bool():
    assert lamina.tensor(3).item() == 3 and isinstance(lamina.tensor(3).item(), int)
    assert isinstance(lamina.tensor(3.0).item(), float) and lamina.tensor([True]).item() is True
    assert lamina.arange(4).view(2, 2).tolist() == [[0, 1], [2, 3]]
    assert [x.item() for x in lamina.arange(3)] == [0, 1, 2]
    assert (
        float(lamina.tensor(2.5)) == 2.5 and int(lamina.tensor(2.9)) == 2 and [10, 20][lamina.tensor(1)] == 20
    )
    assert 2 in lamina.arange(3) and 5 not in lamina.arange(3)
    assert f"{lamina.tensor(2.5):.2f}" == "2.50"
    for f in (
        lambda t: t.ones(2).item(), lambda t: bool(t.ones(2)), lambda t: bool(t.ones(0)), lambda t: len(t.tensor(1)),
        lambda t: iter(t.tensor(1)),
        lambda t: [1][t.tensor(0.5)], lambda t: t.ones(2).size(2),
    ):  # fmt: skip
        same_error(f)


def test_attributes():
    torch = need_torch()
    for make in (
        lambda t: t.zeros(2, 3),
        lambda t: t.zeros(2, 3).t(),
        lambda t: t.tensor(1),
        lambda t: t.zeros(0, 4, dtype=t.int16),
    ):
        a, b = make(lamina), make(torch)
        assert (
            tuple(a.shape) == tuple(b.shape)
            and repr(a.shape) == repr(b.shape)
            and a.size() == tuple(b.size())
        )
        for name in (
            "ndim",
            "itemsize",
            "nbytes",
            "is_leaf",
            "requires_grad",
            "is_cuda",
            "is_sparse",
            "is_cpu",
        ):
            assert getattr(a, name) == getattr(b, name), name
        for name in (
            "dim",
            "numel",
            "nelement",
            "element_size",
            "is_floating_point",
            "is_complex",
            "is_contiguous",
            "stride",
            "storage_offset",
        ):
            assert getattr(a, name)() == getattr(b, name)(), name
        assert (
            str(a.device) == str(b.device)
            and repr(a.device) == repr(b.device)
            and str(a.layout) == str(b.layout)
        )
    assert (
        a.shape.numel() == 0
        and lamina.Size([2, 3]) + (1,) == (2, 3, 1)
        and isinstance(lamina.Size([2, 3])[:1], lamina.Size)
    )


def test_finfo_iinfo():
    torch = need_torch()
    for name in ("float16", "float32", "float64"):
        a, b = lamina.finfo(getattr(lamina, name)), torch.finfo(getattr(torch, name))
        assert (a.bits, a.eps, a.max, a.min, a.tiny, a.dtype) == (
            b.bits,
            b.eps,
            b.max,
            b.min,
            b.tiny,
            b.dtype,
        )
    for name in ("int8", "uint8", "int16", "int32", "int64"):
        a, b = lamina.iinfo(getattr(lamina, name)), torch.iinfo(getattr(torch, name))
        assert (a.bits, a.max, a.min, a.dtype) == (b.bits, b.max, b.min, b.dtype)
    same_error(lambda t: t.finfo(t.int64))
    same_error(lambda t: t.iinfo(t.float32))


# -- copies --------------------------------------------------------------------------------------------------------


def test_deepcopy_and_pickle():
    x = lamina.tensor([1.0, 2.0], requires_grad=True)
    (x * x).sum().backward()
    for y in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert (
            y.tolist() == x.tolist()
            and y.requires_grad
            and y.is_leaf
            and not np.shares_memory(y.numpy(force=True), x.numpy(force=True))
        )
    assert copy.deepcopy(x).grad.tolist() == x.grad.tolist()
    with pytest.raises(RuntimeError, match="Only Tensors created explicitly"):
        copy.deepcopy(x * 2)
    for d in (
        lamina.float32,
        lamina.device("cpu"),
        lamina.Size([2, 3]),
        lamina.strided,
        lamina.channels_last,
    ):
        assert pickle.loads(pickle.dumps(d)) == d
    buffer = io.BytesIO()
    pickle.dump({"a": lamina.arange(3)}, buffer)
    assert pickle.loads(buffer.getvalue())["a"].tolist() == [0, 1, 2]


def test_attributes_of_the_user_s_own():
    x = lamina.ones(1)
    x.tag = "mine"
    assert copy.deepcopy(x).tag == "mine"
    assert len({x, x, lamina.ones(1)}) == 2


# -- printing ------------------------------------------------------------------------------------------------------

PRINTED = {
    "ints": lambda t: t.arange(12).view(3, 4),
    "floats": lambda t: t.tensor([[1.0, 2.5], [-3.25, 100.0]]),
    "integral floats": lambda t: t.tensor([1.0, 2.0, 300.0]),
    "small": lambda t: t.tensor([1e-5, 1.0]),
    "big": lambda t: t.tensor([1e9, 1.0]),
    "big integral": lambda t: t.tensor([1e7, 2.0]),
    "ratio": lambda t: t.tensor([0.001, 5.0]),
    "nan and inf": lambda t: t.tensor([float("nan"), float("inf"), -float("inf"), 1.5]),
    "only nan": lambda t: t.tensor([float("nan")] * 3),
    "zeros": lambda t: t.zeros(2, 2),
    "bool": lambda t: t.tensor([[True, False]]),
    "scalar": lambda t: t.tensor(3.14159),
    "int scalar": lambda t: t.tensor(7),
    "double": lambda t: t.tensor([1.5], dtype=t.float64),
    "half": lambda t: t.tensor([1.5, 2.25], dtype=t.float16),
    "int32": lambda t: t.tensor([1, -20], dtype=t.int32),
    "empty": lambda t: t.zeros(0),
    "empty 2-d": lambda t: t.zeros(2, 0, 3),
    "empty int": lambda t: t.zeros(0, dtype=t.int64),
    "requires grad": lambda t: t.ones(2, requires_grad=True),
    "grad_fn": lambda t: t.ones(2, requires_grad=True) * 2,
    "long": lambda t: t.arange(2000),
    "long floats": lambda t: t.arange(5000) / 7,
    "wide": lambda t: t.arange(100).float() / 3,
    "3-d": lambda t: (t.arange(24) - 12.5).view(2, 3, 4),
    "4-d": lambda t: t.arange(16.0).view(2, 2, 2, 2),
    "large 2-d": lambda t: t.arange(10000).view(100, 100),
    "large 3-d": lambda t: t.zeros(20, 20, 20),
    "complex": lambda t: t.tensor([1 + 2j, -3.5 - 0.25j]),
    "parameter": lambda t: t.nn.Parameter(t.ones(2)),
    "long suffix": lambda t: (t.ones(12, requires_grad=True) * 1.23456).sum(0, keepdim=True).double(),
    "wide suffix": lambda t: t.full((9,), 1.2345, requires_grad=True, dtype=t.float64),
}


@pytest.mark.parametrize("name", PRINTED)
def test_repr(name):
    torch = need_torch()
    assert repr(PRINTED[name](lamina)) == repr(PRINTED[name](torch))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(width=32) | st.integers(-1000, 1000).map(float), max_size=20),
    st.sampled_from(["float32", "float64"]),
)
def test_repr_property(values, dtype):
    torch = need_torch()
    assert repr(lamina.tensor(values, dtype=getattr(lamina, dtype))) == repr(
        torch.tensor(values, dtype=getattr(torch, dtype))
    )


def test_print_options():
    torch = need_torch()
    try:
        for settings_ in (
            {"precision": 2},
            {"sci_mode": True},
            {"threshold": 5},
            {"edgeitems": 1, "threshold": 2},
            {"profile": "short"},
            {"linewidth": 40},
        ):
            for t in (torch, lamina):
                t.set_printoptions(profile="default")
                t.set_printoptions(**settings_)
            assert repr(lamina.arange(12) / 7) == repr(torch.arange(12) / 7)
    finally:
        for t in (torch, lamina):
            t.set_printoptions(profile="default")
