"""Sequential, the lists and dicts of modules and parameters, Flatten and Unflatten, against PyTorch's."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import pytest
from support import array, need_torch

import lamina
from lamina import nn


@pytest.fixture
def torch():
    return need_torch()


def layers(t):
    return [t.nn.Linear(2, 3), t.nn.ReLU(), t.nn.Linear(3, 2, bias=False), t.nn.ReLU(), t.nn.ReLU()]


def named(t):
    return OrderedDict(a=t.nn.Linear(2, 3), b=t.nn.ReLU())


def same(act, build):
    """Do the same to a container of either library: what comes back, and what the container is afterwards, agree."""
    results = []
    for t in (lamina, need_torch()):
        t.manual_seed(0)
        container = build(t)
        try:
            result = act(t, container)
            result = repr(result) if isinstance(result, t.nn.Module) else result
        except Exception as error:
            result = type(error).__name__
        results.append((result, repr(container), list(container.state_dict()), list(container._modules)))
    assert results[0] == results[1]


COMMON = {
    "len": lambda t, s: len(s),
    "first": lambda t, s: s[0],
    "last": lambda t, s: s[-1],
    "slice": lambda t, s: s[1:3],
    "reversed slice": lambda t, s: s[::-1],
    "numpy index": lambda t, s: s[__import__("numpy").int64(1)],
    "out of range": lambda t, s: s[9],
    "not an index": lambda t, s: s["a"],
    "iterate": lambda t, s: [type(m).__name__ for m in s],
    "set": lambda t, s: s.__setitem__(1, t.nn.Tanh()),
    "set last": lambda t, s: s.__setitem__(-1, t.nn.Tanh()),
    "set out of range": lambda t, s: s.__setitem__(9, t.nn.Tanh()),
    "set not a module": lambda t, s: s.__setitem__(0, 3),
    "delete": lambda t, s: s.__delitem__(0),
    "delete last": lambda t, s: s.__delitem__(-1),
    "delete slice": lambda t, s: s.__delitem__(slice(0, 3, 2)),
    "delete out of range": lambda t, s: s.__delitem__(9),
    "append": lambda t, s: s.append(t.nn.Tanh()) is s,
    "append not a module": lambda t, s: s.append(3),
    "extend": lambda t, s: s.extend([t.nn.Tanh(), t.nn.Tanh()]) is s,
    "extend not iterable": lambda t, s: s.extend(3),
    "insert": lambda t, s: s.insert(1, t.nn.Tanh()) is s,
    "insert at the end": lambda t, s: s.insert(len(s), t.nn.Tanh()) is s,
    "pop": lambda t, s: s.pop(1),
    "pop last": lambda t, s: s.pop(-1),
    "pop slice": lambda t, s: s.pop(slice(0, 2)),
    "in": lambda t, s: s[0] in s,
    "double": lambda t, s: str(s.double().state_dict()["0.weight"].dtype),
}

SEQUENTIAL = {
    **COMMON,
    "add": lambda t, s: s + t.nn.Sequential(t.nn.Tanh()),
    "add a list": lambda t, s: s + [t.nn.Tanh()],
    "iadd": lambda t, s: s.__iadd__(t.nn.Sequential(t.nn.Tanh())) is s,
    "iadd a list": lambda t, s: s.__iadd__([t.nn.Tanh()]),
    "mul": lambda t, s: s * 2,
    "rmul": lambda t, s: 2 * s,
    "imul": lambda t, s: s.__imul__(3) is s,
    "mul by zero": lambda t, s: s * 0,
    "mul by a float": lambda t, s: s * 1.5,
    "imul by a negative": lambda t, s: s.__imul__(-1),
    "insert negative": lambda t, s: s.insert(-1, t.nn.Tanh()) is s,
    "insert out of range": lambda t, s: s.insert(99, t.nn.Tanh()),
    "insert not a module": lambda t, s: s.insert(0, 3),
    "call": lambda t, s: tuple(s(t.ones(4, 2)).shape),
}


@pytest.mark.parametrize("act", SEQUENTIAL)
def test_sequential(act):
    same(SEQUENTIAL[act], lambda t: t.nn.Sequential(*layers(t)))


@pytest.mark.parametrize("act", "len first slice delete append extend add mul pop call set iterate".split())
def test_sequential_by_name(act):
    same(SEQUENTIAL[act], lambda t: t.nn.Sequential(named(t)))


def test_sequential_inserts_by_position_among_names():
    s = nn.Sequential(named(lamina)).insert(1, nn.Tanh())
    assert [type(m).__name__ for m in s] == ["Linear", "Tanh", "ReLU"]


def test_empty_and_nested_sequential():
    same(lambda t, s: len(s), lambda t: t.nn.Sequential())
    same(lambda t, s: s(t.ones(1, 2)).shape[1], lambda t: t.nn.Sequential(t.nn.Sequential(*layers(t)), t.nn.Sequential()))
    x = lamina.ones(2)
    assert nn.Sequential()(x) is x


MODULE_LIST = {
    **COMMON,
    "add": lambda t, s: s + [t.nn.Tanh()],
    "iadd": lambda t, s: s.__iadd__([t.nn.Tanh()]) is s,
    "add not iterable": lambda t, s: s + 3,
    "call": lambda t, s: s(3),
    "insert": lambda t, s: s.insert(1, t.nn.Tanh()),
    "insert at the end": lambda t, s: s.insert(len(s), t.nn.Tanh()),
}


@pytest.mark.parametrize("act", MODULE_LIST)
def test_module_list(act):
    same(MODULE_LIST[act], lambda t: t.nn.ModuleList(layers(t)))


def test_module_list_prints_runs_once():
    same(lambda t, s: None, lambda t: t.nn.ModuleList())
    same(lambda t, s: None, lambda t: t.nn.ModuleList(t.nn.Sequential(t.nn.ReLU()) for _ in range(4)))
    ours = nn.ModuleList([nn.ReLU()])
    assert len(ours.extend(ours)) == 2  # PyTorch's fails half way here


MODULE_DICT = {
    "len": lambda t, d: len(d),
    "get": lambda t, d: d["b"],
    "absent": lambda t, d: d["absent"],
    "set": lambda t, d: d.__setitem__("c", t.nn.Tanh()),
    "replace": lambda t, d: d.__setitem__("a", t.nn.Tanh()),
    "set not a module": lambda t, d: d.__setitem__("c", 3),
    "set an attribute's name": lambda t, d: d.__setitem__("keys", t.nn.Tanh()),
    "delete": lambda t, d: d.__delitem__("a"),
    "delete absent": lambda t, d: d.__delitem__("absent"),
    "in": lambda t, d: ("a" in d, "x" in d),
    "keys": lambda t, d: list(d.keys()),
    "values": lambda t, d: [type(m).__name__ for m in d.values()],
    "items": lambda t, d: [(k, type(m).__name__) for k, m in d.items()],
    "iterate": lambda t, d: list(d),
    "pop": lambda t, d: d.pop("a"),
    "pop absent": lambda t, d: d.pop("absent"),
    "clear": lambda t, d: d.clear(),
    "update": lambda t, d: d.update({"z": t.nn.Tanh(), "a": t.nn.Tanh()}),
    "update by pairs": lambda t, d: d.update([("z", t.nn.Tanh()), ["y", t.nn.Tanh()]]),
    "update from another": lambda t, d: d.update(t.nn.ModuleDict({"z": t.nn.Tanh()})),
    "update not iterable": lambda t, d: d.update(3),
    "update with no pairs": lambda t, d: d.update([3]),
    "update with triples": lambda t, d: d.update([("z", t.nn.Tanh(), 3)]),
    "call": lambda t, d: d(3),
}


@pytest.mark.parametrize("act", MODULE_DICT)
def test_module_dict(act):
    same(MODULE_DICT[act], lambda t: t.nn.ModuleDict(named(t)))


def values(t):
    return [t.ones(2, 3), t.nn.Parameter(t.zeros(1)), 3, t.nn.Parameter(t.zeros((), dtype=t.float64)), None]


def described(value):
    return type(value).__name__, tuple(value.shape) if hasattr(value, "shape") else value


PARAMETER_LIST = {
    "len": lambda t, p: len(p),
    "get": lambda t, p: described(p[0]),
    "get last": lambda t, p: described(p[-1]),
    "slice": lambda t, p: p[1:3],
    "out of range": lambda t, p: p[9],
    "set": lambda t, p: p.__setitem__(1, t.ones(4)),
    "set out of range": lambda t, p: p.__setitem__(9, t.ones(4)),
    "iterate": lambda t, p: [described(v) for v in p],
    "append": lambda t, p: p.append(t.ones(1)) is p,
    "extend": lambda t, p: p.extend([t.ones(1), 5]) is p,
    "iadd": lambda t, p: p.__iadd__([t.ones(1)]) is p,
    "extend with a tensor": lambda t, p: p.extend(t.ones(2)),
    "extend not iterable": lambda t, p: p.extend(3),
    "call": lambda t, p: p(3),
    "parameters": lambda t, p: [n for n, _ in p.named_parameters()],
}


@pytest.mark.parametrize("act", PARAMETER_LIST)
def test_parameter_list(act):
    same(PARAMETER_LIST[act], lambda t: t.nn.ParameterList(values(t)))


PARAMETER_DICT = {
    "len": lambda t, p: len(p),
    "get": lambda t, p: described(p["b"]),
    "absent": lambda t, p: p["absent"],
    "get with default": lambda t, p: (described(p.get("a")), p.get("x"), p.get("x", 3)),
    "set": lambda t, p: p.__setitem__("z", t.ones(1)),
    "delete": lambda t, p: p.__delitem__("a"),
    "in": lambda t, p: ("a" in p, "x" in p),
    "iterate": lambda t, p: (list(p), list(reversed(p)), list(p.keys())),
    "values": lambda t, p: [described(v) for v in p.values()],
    "items": lambda t, p: [(k, described(v)) for k, v in p.items()],
    "pop": lambda t, p: described(p.pop("a")),
    "popitem": lambda t, p: (p.popitem()[0], len(p)),
    "pop absent": lambda t, p: p.pop("x"),
    "setdefault": lambda t, p: (described(p.setdefault("a", 3)), p.setdefault("x", 3), p.setdefault("y")),
    "clear": lambda t, p: p.clear(),
    "copy": lambda t, p: p.copy(),
    "fromkeys": lambda t, p: p.fromkeys(["x", "y"], 3),
    "update": lambda t, p: p.update({"z": t.ones(1), "y": 4}),
    "update in order": lambda t, p: p.update(OrderedDict(z=t.ones(1), y=4)),
    "update by pairs": lambda t, p: p.update([("z", t.ones(1)), ["y", 4]]),
    "update not iterable": lambda t, p: p.update(3),
    "update with no pairs": lambda t, p: p.update([3]),
    "update with triples": lambda t, p: p.update([(1, 2, 3)]),
    "or": lambda t, p: p | t.nn.ParameterDict({"a": t.ones(9), "z": t.ones(1)}),
    "ior": lambda t, p: p.__ior__(t.nn.ParameterDict({"z": t.ones(1)})) is p,
    "ror": lambda t, p: p.__ror__(t.nn.ParameterDict({"z": t.ones(1)})),
    "call": lambda t, p: p(3),
}


@pytest.mark.parametrize("act", PARAMETER_DICT)
def test_parameter_dict(act):
    same(PARAMETER_DICT[act], lambda t: t.nn.ParameterDict({"b": t.ones(2), "a": t.nn.Parameter(t.zeros(1)), "n": 3}))


def test_parameter_dict_stays_whole_after_errors():
    p = nn.ParameterDict({"a": lamina.ones(1)})
    with pytest.raises(TypeError, match="3 of type int"):
        p[3] = lamina.ones(1)
    p.clear()
    with pytest.raises(KeyError):
        p.popitem()
    assert len(p) == 0


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies(clone):
    for container in (
        nn.Sequential(*layers(lamina)),
        nn.ModuleList(layers(lamina)),
        nn.ModuleDict(named(lamina)),
        nn.ParameterList(values(lamina)),
        nn.ParameterDict({"a": lamina.ones(2), "n": 3}),
    ):
        twin = clone(container)
        assert repr(twin) == repr(container) and len(twin) == len(container)
        for p, q in zip(container.parameters(), twin.parameters(), strict=True):
            assert p is not q and (array(p) == array(q)).all()


# -- Identity, Flatten, Unflatten ----------------------------------------------------------------------------------


def test_identity(torch):
    x = lamina.ones(2)
    assert nn.Identity(3, unused=4)(x) is x
    assert repr(nn.Identity(3)) == repr(torch.nn.Identity(3))


@pytest.mark.parametrize("arguments", [(), (0,), (1, 2), (-2, -1), (0, -1)], ids=str)
def test_flatten(arguments, torch):
    ours, theirs = nn.Flatten(*arguments), torch.nn.Flatten(*arguments)
    assert repr(ours) == repr(theirs)
    for shape in ((2, 3, 4, 5), (0, 3, 4), (2, 3, 1)):
        x = lamina.arange(float(lamina.ones(shape).numel())).reshape(shape)
        y = theirs(torch.from_numpy(array(x)))
        assert (array(ours(x)) == y.numpy()).all() and tuple(ours(x).shape) == tuple(y.shape)
    x = lamina.ones(2, 3, 4, requires_grad=True)
    ours(x).sum().backward()
    assert (x.grad == 1).all()


def test_flatten_of_wrong_dimensions(torch):
    for t in (lamina, torch):
        with pytest.raises(IndexError):
            t.nn.Flatten(5)(t.ones(2, 3))
        with pytest.raises(RuntimeError):
            t.nn.Flatten(2, 1)(t.ones(2, 3, 4))


def test_unflatten(torch):
    for dim, size in ((1, (3, 4)), (-1, [2, 6]), (1, (-1, 2)), (1, (12,))):
        ours, theirs = nn.Unflatten(dim, size), torch.nn.Unflatten(dim, size)
        assert repr(ours) == repr(theirs)
        assert tuple(ours(lamina.ones(2, 12)).shape) == tuple(theirs(torch.ones(2, 12)).shape)
    for t in (lamina, torch):
        for size in (3, (2, 1.5), "ab"):
            with pytest.raises(TypeError, match="unflattened_size"):
                t.nn.Unflatten(1, size)
        with pytest.raises(RuntimeError):
            t.nn.Unflatten(1, (5, 2))(t.ones(2, 12))


def test_container():
    with pytest.warns(FutureWarning, match="nn.Container"):
        net = nn.Container(a=nn.Linear(1, 1), b=nn.ReLU())
    assert list(net._modules) == ["a", "b"] and isinstance(net.b, nn.ReLU)
