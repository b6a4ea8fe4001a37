"""Saving and loading: round trips with torch both ways, over dtypes, strides, sharing and structures."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import need_torch

import lamina
from lamina import _dtypes, nn

DTYPES = [d.name for d in _dtypes.ALL]


def saved(obj, **how):
    file = io.BytesIO()
    lamina.save(obj, file, **how)
    return file.getvalue()


def again(obj, **how):
    return lamina.load(io.BytesIO(saved(obj)), **how)


def to_torch(obj):
    """What torch reads from lamina's file."""
    return need_torch().load(io.BytesIO(saved(obj)), weights_only=True)


def from_torch(obj, **how):
    """What lamina reads from torch's file."""
    file = io.BytesIO()
    need_torch().save(obj, file, **how)
    return lamina.load(io.BytesIO(file.getvalue()))


def bits(t):
    """A tensor's array; of types that NumPy has not, the integers over their bits."""
    kind = {"bfloat16": "int16"}.get(str(t.dtype)[6:], "uint8" if "float8" in str(t.dtype) else "")
    return t.view(getattr(lamina if isinstance(t, lamina.Tensor) else need_torch(), kind)).numpy() if kind else t.numpy()


def in_torch(a):
    """An array as a tensor of torch, which takes no arrays of bfloat16."""
    torch = need_torch()
    t = lamina.from_numpy(a)
    made = torch.from_numpy(bits(t).copy())
    return made if bits(t).dtype == a.dtype else made.view(getattr(torch, a.dtype.name))


def same(a, b):
    """Equal in type, structure and value, down to NaNs and the sign of zero; tensors of either library."""
    if hasattr(b, "requires_grad"):
        x, y = bits(a.detach()), bits(b.detach())
        assert repr(a.dtype) == repr(b.dtype)
        assert x.shape == y.shape and x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()
        assert not x.size or tuple(a.stride()) == tuple(b.stride())
        assert a.requires_grad == b.requires_grad
        assert ("Parameter" in type(a).__name__) == ("Parameter" in type(b).__name__)
        return
    if type(a).__module__ == type(b).__module__:
        assert type(a) is type(b)
    else:
        assert type(a).__name__ == type(b).__name__
    if isinstance(b, dict):
        assert len(a) == len(b)
        for (ka, va), (kb, vb) in zip(a.items(), b.items(), strict=True):
            same(ka, kb)
            same(va, vb)
    elif isinstance(b, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert repr(a) == repr(b) or a == b


def values(dtype, shape=(2, 3)):
    """Numbers that try the dtype: its limits, and NaN and inf where it has them."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2 if dtype == "bool" else 100, shape).astype(getattr(_dtypes, dtype).numpy)
    if a.size and a.dtype.kind in "fcV":
        a.flat[:3] = [np.nan, -np.inf, -0.0]
    elif a.size and a.dtype.kind in "iu":
        a.flat[:2] = [np.iinfo(dtype).min, np.iinfo(dtype).max]
    return a


SHAPES = [(), (0,), (3, 0, 2), (1,), (2, 3), (1, 4, 1, 2)]


# -- tensors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_dtype_and_shape(dtype, shape):
    t = lamina.from_numpy(values(dtype, shape))
    same(again(t), t)
    assert again(t).dtype is t.dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_with_torch(dtype):
    need_torch()
    for shape in SHAPES:
        a = values(dtype, shape)
        same(to_torch(lamina.from_numpy(a)), in_torch(a))
        same(from_torch(in_torch(a)), lamina.from_numpy(a))
        same(from_torch(in_torch(a), _use_new_zipfile_serialization=False), lamina.from_numpy(a))


VIEWS = {
    "transposed": lambda x: x.t(),
    "rows": lambda x: x[1:3],
    "columns": lambda x: x[:, 1:4:2],
    "element": lambda x: x[2, 3],
    "expanded": lambda x: x[0, :1].expand(4, 5),
    "new dimensions": lambda x: x[:, None, :, None],
    "diagonal": lambda x: x.diagonal(),
    "flat": lambda x: x.reshape(-1)[3:],
    "empty": lambda x: x[4:],
    "four dimensions": lambda x: x.reshape(1, 2, 2, 6).permute(0, 3, 1, 2),
}


def grid(library):
    return library.arange(24.0).reshape(4, 6)


@pytest.mark.parametrize("view", VIEWS)
def test_strides_are_kept(view):
    t = VIEWS[view](grid(lamina))
    same(again(t), t)


@pytest.mark.parametrize("view", VIEWS)
def test_strides_are_kept_with_torch(view):
    ours, theirs = VIEWS[view](grid(lamina)), VIEWS[view](grid(need_torch()))
    same(to_torch(ours), theirs)
    same(from_torch(theirs), ours)


@pytest.mark.parametrize("form", ["channels_last", "contiguous_format"])
def test_memory_format_with_torch(form):
    torch = need_torch()
    ours = lamina.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=getattr(lamina, form))
    theirs = torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=getattr(torch, form))
    same(to_torch(ours), theirs)
    same(from_torch(theirs), ours)


def test_an_activation_in_the_engines_own_order_is_saved_as_it_looks(each_engine):
    x = nn.Conv2d(3, 8, 3)(lamina.randn(2, 3, 40, 40)).detach()
    same(again(x), x)
    assert again(x).is_contiguous()


def test_views_share_and_are_written_once():
    x = grid(lamina)
    data = saved({"x": x, "t": x.t(), "odd": x[:, 1::2], "even": x[:, ::2], "same": x, "far": lamina.zeros(3)})
    sizes = {i.filename: i.file_size for i in zipfile.ZipFile(io.BytesIO(data)).infolist() if "/data/" in i.filename}
    assert sizes == {"archive/data/0": 96, "archive/data/1": 12}
    r = lamina.load(io.BytesIO(data))
    assert r["same"] is r["x"]
    r["x"][0, 1] = 100
    assert r["t"][1, 0] == r["odd"][0, 0] == 100
    r["even"].zero_()
    assert r["x"][:, ::2].sum() == 0 and r["far"].sum() == 0


def test_views_without_their_base_share_too():
    x = grid(lamina)
    top, bottom, middle = again([x[:2], x[2:], x[1:3]])
    middle.fill_(-1)
    assert (top[1] == -1).all() and (bottom[0] == -1).all() and top[0, 5] == 5


def test_a_small_view_does_not_save_all_of_its_base():
    assert len(saved(lamina.zeros(100_000)[5:7])) < 2000


def test_sharing_with_torch():
    torch = need_torch()
    r = to_torch([(x := grid(lamina)), x[1:], x.t()])
    r[0].zero_()
    assert r[1].sum() == r[2].sum() == 0
    r = from_torch([(x := grid(torch)), x[1:], x.t()])
    r[0].zero_()
    assert r[1].sum() == r[2].sum() == 0


def test_a_write_through_one_tensor_is_noticed_by_the_others():
    x = lamina.ones(3)
    a, b = again([x, x[1:]])
    w = lamina.ones(2, requires_grad=True)
    y = (w * b).sum()
    a.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_memory_of_two_dtypes_is_refused_as_torch_refuses_it():
    torch = need_torch()
    for library in (lamina, torch):
        x = library.zeros(4)
        with pytest.raises(RuntimeError, match="view the same data as different types"):
            library.save([x, x.view(library.int32)], io.BytesIO())


def test_requires_grad_and_parameters():
    leaf = lamina.ones(2, requires_grad=True)
    r = again({"leaf": leaf, "made": leaf * 2, "p": nn.Parameter(leaf.detach()), "frozen": nn.Parameter(leaf.detach(), False)})
    assert r["leaf"].requires_grad and r["made"].requires_grad and r["made"].is_leaf
    assert type(r["p"]) is nn.Parameter and r["p"].requires_grad and not r["frozen"].requires_grad
    r["p"].sum().backward()
    assert r["p"].grad is not None


def test_attributes_of_tensors():
    x, p = lamina.ones(2), nn.Parameter(lamina.ones(2))
    x.origin, p.groups = "here", [1, x]
    r = again([x, p, nn.Buffer(lamina.ones(2), persistent=False)])
    assert r[0].origin == "here" and r[1].groups[1] is r[0]
    assert type(r[2]) is nn.Buffer and r[2].persistent is False


def test_attributes_of_tensors_with_torch():
    torch = need_torch()
    for library, pass_on in ((lamina, to_torch), (torch, from_torch)):
        x, p = library.ones(2), library.nn.Parameter(library.ones(2))
        x.origin, p.groups = "here", [1, 2]
        r = pass_on([x, p, library.nn.Buffer(library.ones(2), persistent=False)])
        assert r[0].origin == "here" and r[1].groups == [1, 2]
        assert type(r[1]).__name__ == "Parameter" and r[2].persistent is False


@pytest.mark.parametrize("new", [True, False])
def test_conjugated_and_negated_views_of_torch(new):
    torch = need_torch()
    z = torch.tensor([[1 + 2j, 3 - 4j]])
    r = from_torch([z, z.conj(), z.conj().t(), torch._neg_view(z)], _use_new_zipfile_serialization=new)
    np.testing.assert_array_equal(r[0].numpy(), z.numpy())
    np.testing.assert_array_equal(r[1].numpy(), z.numpy().conj())
    np.testing.assert_array_equal(r[2].numpy(), z.numpy().conj().T)
    np.testing.assert_array_equal(r[3].numpy(), -z.numpy())
    r[1][0, 0] = 0
    assert r[2][0, 0] == 0  # they share, as z.conj() and its transpose do


# -- structures ----------------------------------------------------------------------------------------------------

DATA = [
    None, True, False, 0, 255, 256, 65535, 65536, -1, -(2**31), 2**31, 2**63, -(2**70), 2**2038, 0.5, -0.0, float("inf"),
    float("nan"), 1 - 2j, complex(float("nan"), -0.0), "", "é\u4e2d\U0001f600", "a" * 300, b"\x00\xff",
    bytearray(b"\x80ab"), [], [[1], [2, [3]]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": {1: (2,)}},
    {(1, "x"): 1, None: 2, 1.5: 3, b"k": 4, True: 5}, set(), {1, "a", (2, None)}, collections.OrderedDict(),
    collections.OrderedDict(b=1, a=[2]), collections.Counter("abca"), b"", bytearray(b""),
]  # fmt: skip


def test_plain_data():
    same(again(DATA), DATA)


def test_plain_data_with_torch():
    same(to_torch(DATA), DATA)
    same(from_torch(DATA), DATA)


def test_sizes_dtypes_devices_with_torch():
    torch = need_torch()

    def things(library):
        return [library.Size([2, 3]), library.Size([]), library.device("cpu"), library.device("cuda:1"), library.strided] + [
            getattr(library, name) for name in DTYPES
        ]

    same(again(things(lamina)), things(lamina))
    same(to_torch(things(lamina)), things(torch))
    same(from_torch(things(torch)), things(lamina))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols_of_torch(protocol):
    torch = need_torch()
    x = torch.arange(3.0)
    everything = [*DATA, x, x[1:], {"n": frozenset([1]), "big": 2**5000, "long": "x" * 70_000, "bytes": bytes(300)}]
    file = io.BytesIO()
    torch.save(everything, file, pickle_protocol=protocol)
    r = lamina.load(io.BytesIO(file.getvalue()))
    same(r[:-1], everything[:-1])
    assert r[-1] == everything[-1]


def test_one_object_stays_one():
    inner, x = [1], lamina.ones(2)
    r = again({"a": inner, "b": [inner, x], "c": x, "d": (inner,)})
    assert r["a"] is r["b"][0] is r["d"][0] and r["b"][1] is r["c"]


def test_lists_and_dicts_may_contain_themselves():
    loop: list = [1]
    loop.append({"loop": loop})
    for r in (again(loop), to_torch(loop) if _torch() else again(loop)):
        assert r[1]["loop"] is r


def _torch():
    try:
        return need_torch()
    except pytest.skip.Exception:
        return None


def test_deep_nesting_loads_and_too_deep_nesting_is_an_error_that_says_so():
    deep: list = []
    for _ in range(150):
        deep = [deep]
    assert again(deep) == deep
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(pickle.PicklingError, match="nested too deeply"):
        saved(deep)


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text() | st.binary()
    | st.sampled_from([lamina.float32, lamina.Size([2]), lamina.device("cpu")])
    | st.builds(lambda n, d: lamina.zeros(n, dtype=getattr(lamina, d)), st.integers(0, 3), st.sampled_from(DTYPES))
    | st.builds(lambda n: nn.Parameter(lamina.full((n, 2), n / 3).t()), st.integers(0, 3))
)  # fmt: skip
keys = st.text() | st.integers() | st.none() | st.floats() | st.tuples(st.integers(), st.text()) | st.binary()
structures = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple) | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4).map(collections.OrderedDict) | st.sets(keys, max_size=4)
    ),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(structures)
def test_any_structure(obj):
    data = saved(obj)
    same(lamina.load(io.BytesIO(data)), obj)
    assert data == saved(lamina.load(io.BytesIO(data))) or "set" in repr(obj) or "{" in repr(obj)
    if torch := _torch():
        r = torch.load(io.BytesIO(data), weights_only=True)
        file = io.BytesIO()
        torch.save(r, file)
        same(lamina.load(io.BytesIO(file.getvalue())), obj)


# -- models and optimisers -----------------------------------------------------------------------------------------


def network(library):
    library.manual_seed(0)
    m = library.nn
    return m.Sequential(m.Conv2d(1, 4, 3), m.BatchNorm2d(4), m.ReLU(), m.Flatten(), m.Linear(4 * 36, 3))


def train(library, model, optimizer, steps=3):
    x = library.linspace(-1, 1, 128, dtype=library.float64).reshape(2, 1, 8, 8)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def test_state_dict_with_torch():
    torch = need_torch()
    ours, theirs = network(lamina), network(torch)
    received = from_torch(theirs.state_dict())
    assert type(received) is collections.OrderedDict
    assert received._metadata == theirs.state_dict()._metadata
    assert str(ours.load_state_dict(received)) == "<All keys matched successfully>"
    sent = to_torch(ours.state_dict())
    assert sent._metadata == theirs.state_dict()._metadata
    same(sent, theirs.state_dict())
    theirs.load_state_dict(sent)


@pytest.mark.parametrize("sender, receiver", [("lamina", "torch"), ("torch", "lamina"), ("lamina", "lamina")])
@pytest.mark.parametrize("kind, setting", [("Adam", {"amsgrad": True}), ("SGD", {"momentum": 0.9})])
def test_training_goes_on_from_a_checkpoint(sender, receiver, kind, setting, tmp_path):
    first, second = (lamina if name == "lamina" else need_torch() for name in (sender, receiver))
    model = network(first).double()  # so that noise does not grow
    optimizer = getattr(first.optim, kind)(model.parameters(), lr=0.01, **setting)
    train(first, model, optimizer)
    checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.25}
    first.save(checkpoint, tmp_path / "checkpoint.pt")
    train(first, model, optimizer)

    checkpoint = second.load(tmp_path / "checkpoint.pt")
    assert checkpoint["epoch"] == 3 and checkpoint["best"] == 0.25
    other = network(second).double()
    other.load_state_dict(checkpoint["model"])
    optimizer = getattr(second.optim, kind)(other.parameters(), lr=0.5)
    optimizer.load_state_dict(checkpoint["optimizer"])
    train(second, other, optimizer)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-7, atol=1e-9)


# -- what cannot be saved ------------------------------------------------------------------------------------------


class Own(dict):
    pass


@pytest.mark.parametrize(
    "obj, message",
    [
        (nn.Linear(2, 2), r"obj is of type lamina.*Linear.*save its state_dict\(\)"),
        ({"a": [1, (2, lambda: 0)]}, r"obj\['a'\]\[1\]\[1\] is of type function"),
        (print, "builtin_function_or_method"),
        (int, "type type"),
        (np.zeros(2), r"obj is of type numpy.ndarray.*lamina.from_numpy\(\)"),
        ([np.float64(1)], r"obj\[0\] is of type numpy.float64.*\.item\(\)"),
        (Own(), "Own.*save it as dict"),
        (collections.defaultdict(int), "save it as dict"),
        (collections.namedtuple("Pair", "a b")(1, 2), "save it as tuple"),
        (frozenset([1]), "save it as a set"),
        ({frozenset([1]): 2}, "save it as a set"),
        (2**3000, "an int of 3001 bits"),
        (nn.UninitializedParameter(), "call its module once"),
        ({"x": {"y": object()}}, r"obj\['x'\]\['y'\] is of type object"),
        (lamina.contiguous_format, "memory_format"),
    ],
)
def test_only_data_is_saved(obj, message, tmp_path):
    path = tmp_path / "file.pt"
    path.write_bytes(b"old")
    with pytest.raises(pickle.PicklingError, match=message):
        lamina.save(obj, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file.pt"]
    with pytest.raises(pickle.PicklingError):
        lamina.save(obj, file := io.BytesIO())
    assert file.getvalue() == b""


def test_an_attribute_that_is_no_data():
    x = lamina.ones(1)
    x.f = print
    with pytest.raises(pickle.PicklingError, match=r"obj\['x'\]\.f is of type builtin"):
        saved({"x": x})
    x.f = x
    with pytest.raises(pickle.PicklingError, match="contains itself"):
        saved(x)


def test_a_tuple_that_contains_itself():
    loop: tuple = ([],)
    loop[0].append(loop)
    with pytest.raises(pickle.PicklingError, match="contains itself"):
        saved(loop)
