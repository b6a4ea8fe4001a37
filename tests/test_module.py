"""nn.Module against PyTorch's: registration, state dicts, hooks, conversion, repr, copies."""

from __future__ import annotations

import collections
import contextlib
import copy
import gc
import pickle
import warnings
import weakref

import numpy as np
import pytest
from support import array, need_torch

import lamina
from lamina import nn


@pytest.fixture
def torch():
    return need_torch()


def libraries():
    """Both libraries: a test that loops over them states what they have in common."""
    return [lamina, need_torch()]


def make_net(t):
    """A module with everything: parameters, buffers of both kinds, nested and shared submodules, None entries."""

    class Inner(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = t.nn.Parameter(t.ones(3))
            self.register_buffer("seen", t.zeros(2))
            self.register_buffer("scratch", t.zeros(1), persistent=False)
            self.register_parameter("missing", None)
            self.register_buffer("nothing", None)

        def forward(self, x):
            return x * self.scale

        def extra_repr(self):
            return "inner, 3"

    class Net(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = t.nn.Linear(3, 3)
            self.inner = Inner()
            self.same = self.inner
            self.empty = None
            self.layers = t.nn.Sequential(t.nn.Linear(3, 3, bias=False), t.nn.ReLU())
            self.gain = t.nn.Parameter(t.ones(()))

        def forward(self, x):
            return self.layers(self.inner(self.first(x))) * self.gain

    return Net()


def outcome(function):
    """What a call gives: ("ok", result) or (exception type, first words of the message)."""
    try:
        return "ok", function()
    except Exception as error:
        return type(error).__name__, None


# -- registration and attributes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda t, m: m.register_buffer("x", 3),
        lambda t, m: m.register_buffer(3, None),
        lambda t, m: m.register_buffer("a.b", None),
        lambda t, m: m.register_buffer("", None),
        lambda t, m: m.register_buffer("forward", None),
        lambda t, m: m.register_parameter("x", t.ones(2)),
        lambda t, m: m.register_parameter(3, None),
        lambda t, m: m.register_parameter("a.b", None),
        lambda t, m: m.register_parameter("", None),
        lambda t, m: m.register_parameter("train", None),
        lambda t, m: m.register_parameter("x", 3),
        lambda t, m: m.add_module("x", 3),
        lambda t, m: m.add_module(3, None),
        lambda t, m: m.add_module("a.b", None),
        lambda t, m: m.add_module("", None),
        lambda t, m: m.register_module("gain", t.nn.ReLU()),
        lambda t, m: setattr(m, "gain", t.ones(2)),
        lambda t, m: setattr(m, "gain", 3),
        lambda t, m: setattr(m, "first", 3),
        lambda t, m: setattr(m.inner, "seen", 3),
        lambda t, m: m.absent,
        lambda t, m: delattr(m, "absent"),
        lambda t, m: m.train(1),
        lambda t, m: m.get_submodule("first.weight"),
        lambda t, m: m.get_submodule("absent"),
        lambda t, m: m.get_parameter("first.absent"),
        lambda t, m: m.get_parameter("inner.seen"),
        lambda t, m: m.get_buffer("inner.scale"),
        lambda t, m: m.get_buffer("absent.x"),
        lambda t, m: m.set_submodule("", t.nn.ReLU()),
        lambda t, m: m.set_submodule("first", 3),
        lambda t, m: m.set_submodule("absent.first", t.nn.ReLU()),
        lambda t, m: m.set_submodule("new", t.nn.ReLU(), strict=True),
        lambda t, m: m.set_submodule("gain", t.nn.ReLU()),
        lambda t, m: m.to(t.int32),
        lambda t, m: m.to("cuda"),
        lambda t, m: m.to("toaster"),
        lambda t, m: t.nn.Module(3),
        lambda t, m: t.nn.Module(x=3),
        lambda t, m: t.nn.Module()(3),
        lambda t, m: m.load_state_dict(3),
        lambda t, m: t.nn.Parameter(t.ones(2, dtype=t.int64)),
        lambda t, m: t.nn.Linear(-1, 2),
        lambda t, m: m.state_dict(3, 4, 5, 6) and None,
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_same_errors(act):
    results = []
    for t in libraries():
        m = make_net(t)
        before = list(m.state_dict())
        results.append(outcome(lambda t=t, m=m: act(t, m) and None)[0])
        assert list(m.state_dict()) == before
    assert results[0] == results[1]


def test_assignment_moves_a_name_between_the_stores():
    for t in libraries():
        m = t.nn.Module()
        m.x = 3
        m.x = t.nn.Parameter(t.ones(2))
        assert "x" in m._parameters and "x" not in m.__dict__
        with pytest.raises(TypeError, match="as parameter 'x'"):
            m.x = t.nn.ReLU()
        del m.x
        m.x = t.nn.ReLU()
        assert "x" in m._modules and "x" not in m._parameters
        m.x = t.nn.Parameter(t.ones(2))
        assert "x" in m._parameters and "x" not in m._modules
        m.x = None
        assert m._parameters == {"x": None} and m.x is None
        del m.x
        m.register_buffer("x", t.zeros(1), persistent=False)
        m.x = t.ones(4)
        assert m._buffers["x"].shape == (4,) and m._non_persistent_buffers_set == {"x"}
        m.x = t.nn.Buffer(t.ones(1))
        assert m._non_persistent_buffers_set == set() and list(m.state_dict()) == ["x"]
        m.x = None
        assert list(m.state_dict()) == []
        m.y = t.nn.Buffer(t.ones(1), persistent=False)
        assert m._non_persistent_buffers_set == {"y"}
        m.x = t.nn.ReLU()
        assert list(m._buffers) == ["y"]


def test_assignment_before_init():
    for t in libraries():

        class Early(t.nn.Module):
            def __init__(self, value):
                self.x = value

        for value in (t.nn.Parameter(t.ones(1)), t.nn.ReLU()):
            with pytest.raises(AttributeError, match="Module.__init__"):
                Early(value)
        Early(3)
        m = t.nn.Module.__new__(t.nn.Module)
        for register in (m.register_buffer, m.register_parameter):
            with pytest.raises(AttributeError, match="Module.__init__"):
                register("x", None)


def test_a_non_leaf_cannot_be_a_parameter():
    for t in libraries():
        computed = t.nn.Parameter(t.ones(2)) * 2
        m = t.nn.Module()
        with pytest.raises(TypeError):
            m.register_parameter("x", computed)


def test_register_buffer_of_a_subclass_without_persistent():
    for t in libraries():

        class Old(t.nn.Module):
            def register_buffer(self, name, tensor):
                super().register_buffer(name, tensor)

        m = Old()
        m.x = t.nn.Buffer(t.ones(1))
        assert list(m.state_dict()) == ["x"]
        with pytest.raises(RuntimeError, match="persistent"):
            m.y = t.nn.Buffer(t.ones(1), persistent=False)


def test_call_super_init_and_mixins():
    for t in libraries():

        class Mixin:
            def __init__(self, n=0):
                self.n = n

        class Both(t.nn.Module, Mixin):
            call_super_init = True

            def __init__(self, n):
                super().__init__(n)

        assert Both(3).n == 3


def test_walks():
    nets = [make_net(t) for t in libraries()]
    for walk in (
        lambda m: [n for n, _ in m.named_parameters()],
        lambda m: [n for n, _ in m.named_parameters(prefix="p", remove_duplicate=False)],
        lambda m: [n for n, _ in m.named_parameters(recurse=False)],
        lambda m: [n for n, _ in m.named_buffers()],
        lambda m: [n for n, _ in m.named_buffers("p", False)],
        lambda m: [n for n, _ in m.named_buffers(remove_duplicate=False)],
        lambda m: [n for n, _ in m.named_children()],
        lambda m: [n for n, _ in m.named_modules()],
        lambda m: [n for n, _ in m.named_modules(prefix="p")],
        lambda m: [n for n, _ in m.named_modules(remove_duplicate=False)],
        lambda m: [n for n, _ in m.named_modules(memo={m.first})],
        lambda m: [type(c).__name__ for c in m.children()],
        lambda m: [type(c).__name__ for c in m.modules()],
        lambda m: [tuple(p.shape) for p in m.parameters()],
        lambda m: [tuple(p.shape) for p in m.buffers()],
        lambda m: list(m.state_dict()),
        lambda m: list(m.state_dict(prefix="p.")),
        lambda m: dict(m.state_dict()._metadata),
        repr,
        lambda m: [n for n in dir(m) if not n.startswith("_") and n in ("first", "gain", "inner", "training", "weight", "to")],
        lambda m: m.get_submodule("layers.0").extra_repr(),
        lambda m: m.get_submodule("") is m,
        lambda m: tuple(m.get_parameter("layers.0.weight").shape),
        lambda m: tuple(m.get_buffer("inner.seen").shape),
    ):
        assert walk(nets[0]) == walk(nets[1])


def test_dir_has_no_numbers():
    names = dir(nn.Sequential(nn.ReLU()))
    assert "0" not in names and "forward" in names


def test_set_submodule():
    m = make_net(lamina)
    new = nn.Tanh()
    m.set_submodule("layers.1", new, strict=True)
    assert m.layers[1] is new
    m.set_submodule("layers.extra", nn.ReLU())
    assert list(m.layers._modules) == ["0", "1", "extra"]


def test_train_eval_apply_and_requires_grad():
    m = make_net(lamina)
    assert m.eval() is m and not any(c.training for c in m.modules())
    assert m.train() is m and all(c.training for c in m.modules())
    order = []
    assert m.apply(lambda c: order.append(type(c).__name__)) is m
    theirs = []
    make_net(need_torch()).apply(lambda c: theirs.append(type(c).__name__))
    assert order == theirs
    assert m.requires_grad_(False) is m and not any(p.requires_grad for p in m.parameters())


def test_zero_grad():
    m = make_net(lamina)
    m(lamina.ones(2, 3)).sum().backward()
    grads = [p.grad for p in m.parameters()]
    m.zero_grad(set_to_none=False)
    for p, g in zip(m.parameters(), grads, strict=True):
        assert p.grad is g and not g.any()
    m.zero_grad()
    assert all(p.grad is None for p in m.parameters())


def test_getstate_setstate_of_an_old_module():
    m = make_net(lamina)
    state = dict(m.__dict__)
    for name in list(state):
        if name.endswith("_hooks") or name in ("_non_persistent_buffers_set", "_is_full_backward_hook"):
            del state[name]
    revived = type(m).__new__(type(m))
    revived.__setstate__(state)
    assert revived(lamina.ones(1, 3)).shape == (1, 3)


# -- parameters ----------------------------------------------------------------------------------------------------


def test_parameter():
    x = lamina.ones(2, 3)
    p = nn.Parameter(x)
    assert isinstance(p, lamina.Tensor) and p.requires_grad and p.is_leaf and type(p) is nn.Parameter
    x[0, 0] = 5.0
    assert p[0, 0].item() == 5.0  # shared memory
    assert type(p * 2) is lamina.Tensor and type(p.detach()) is lamina.Tensor
    assert repr(p).startswith("Parameter containing:\ntensor([[5., 1., 1.],")
    assert nn.Parameter().shape == (0,)
    assert not nn.Parameter(x, requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="int"):
        nn.Parameter(3)
    y = nn.Parameter(p * 2)
    assert y.is_leaf and y.requires_grad


def test_parameter_copies():
    p = nn.Parameter(lamina.ones(2, 3))
    p.tag = ["weight"]
    p.grad = lamina.ones(2, 3)
    for q in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(q) is nn.Parameter and q.requires_grad and (q == p).all()
        assert q.grad is None and q.tag == ["weight"] and q.tag is not p.tag
    m = nn.Module()
    m.a = m.b = p
    twin = copy.deepcopy(m)
    assert twin.a is twin.b and twin.a is not p


def test_uninitialized():
    m = nn.Module()
    m.weight = nn.UninitializedParameter()
    m.register_buffer("mean", nn.UninitializedBuffer())
    assert nn.parameter.is_lazy(m.weight) and repr(m.weight) == "<UninitializedParameter>"
    with pytest.raises(RuntimeError, match="uninitialized"):
        _ = m.weight.shape
    twin = pickle.loads(pickle.dumps(copy.deepcopy(m)))
    twin.weight.materialize((2, 3))
    assert type(twin.weight) is nn.Parameter and twin.weight.shape == (2, 3) and twin.weight.requires_grad
    twin.mean.materialize((4,))
    assert type(twin.mean) is lamina.Tensor and twin.mean.shape == (4,)


# -- conversion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        lambda t, m: m.double(),
        lambda t, m: m.half(),
        lambda t, m: m.double().float(),
        lambda t, m: m.to(t.float64),
        lambda t, m: m.to(dtype=t.float64),
        lambda t, m: m.to("cpu", t.float64),
        lambda t, m: m.to(t.device("cpu")),
        lambda t, m: m.to(t.ones(1, dtype=t.float64)),
        lambda t, m: m.to(t.float64, True),
        lambda t, m: m.to(device="cpu", dtype=t.float16, non_blocking=True),
        lambda t, m: m.type(t.float64),
        lambda t, m: m.cpu(),
        lambda t, m: m.share_memory(),
        lambda t, m: m.to_empty(device="cpu"),
    ],
)
def test_conversion(convert):
    kinds = []
    for t in libraries():
        m = make_net(t)
        m.register_buffer("count", t.zeros((), dtype=t.int64))
        m(t.ones(2, 3)).sum().backward()
        params, grads = list(m.parameters()), [p.grad for p in m.parameters()]
        assert convert(t, m) is m
        for p, q, g in zip(params, m.parameters(), grads, strict=True):
            assert p is q and p.grad is g and g.dtype == p.dtype  # all keep their identity
        kinds.append([str(v.dtype) for v in m.state_dict().values()] + [v.requires_grad for v in m.parameters()])
    assert kinds[0] == kinds[1]


def test_conversion_of_shared_parameters_and_wrong_arguments():
    m = nn.Module()
    m.a = nn.Linear(2, 2)
    m.b = nn.Linear(2, 2)
    m.b.weight = m.a.weight
    m.double()
    assert m.b.weight is m.a.weight and m.a.weight.dtype == lamina.float64
    for arguments in ((1.5,), (lamina.float32, "cpu"), ("cpu", "cpu")):
        with pytest.raises(TypeError):
            m.to(*arguments)
    assert m.a.weight.dtype == lamina.float64


# -- state dicts ---------------------------------------------------------------------------------------------------


def wrong_states(t, m):
    """State dicts that do not fit, by what is wrong with them."""
    good = m.state_dict()

    def changed(remove=(), **new):
        state = collections.OrderedDict((k, v) for k, v in good.items() if k not in remove)
        state.update({k.replace("__", "."): v for k, v in new.items()})
        return state

    return {
        "good": good,
        "empty": {},
        "missing": changed(remove=("first.bias", "gain")),
        "unexpected": changed(extra=t.ones(1), first__more=t.ones(1), nowhere__x=t.ones(1)),
        "shape": changed(gain=t.ones(2), first__weight=t.ones(3, 4)),
        "all": changed(remove=("inner.seen",), extra=t.ones(1), gain=t.ones(2, 2), inner__scale=t.ones(7)),
        "not a tensor": changed(gain=3, first__bias=np.ones(3, np.float32)),
        "one element for none": changed(gain=t.ones(1) * 4),
        "extra state": changed(inner___extra_state=3),
        "other dtype": changed(gain=t.ones((), dtype=t.float64) * 3),
    }


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("case", list(wrong_states(lamina, make_net(lamina))))
def test_load_state_dict(case, strict, assign):
    """The same message, every mismatch in it, and a model that stays as it was."""
    results = []
    for t in libraries():
        m = make_net(t)
        with t.no_grad():
            for p in m.parameters():
                p.fill_(2.0)
        before = {k: (v, array(v).copy()) for k, v in m.state_dict(keep_vars=True).items()}
        state = wrong_states(t, make_net(t))[case]
        try:
            keys = m.load_state_dict(state, strict=strict, assign=assign)
            results.append((repr(keys), keys.missing_keys, keys.unexpected_keys))
            for name, value in m.state_dict().items():
                if name in state:
                    assert np.allclose(array(value), array(state[name]).reshape(value.shape))
        except RuntimeError as error:
            results.append(str(error))
            if t is lamina:
                after = m.state_dict(keep_vars=True)
                for name, (tensor, value) in before.items():
                    assert after[name] is tensor and np.array_equal(array(tensor), value)
    assert results[0] == results[1]


def test_load_copies_or_assigns():
    m, other = nn.Linear(2, 2), nn.Linear(2, 2).double()
    weight = m.weight
    m.load_state_dict(other.state_dict())
    assert m.weight is weight and m.weight.dtype == lamina.float32
    m.weight.requires_grad_(False)
    state = other.state_dict()
    m.load_state_dict(state, assign=True)
    assert m.weight.dtype == lamina.float64 and not m.weight.requires_grad and isinstance(m.weight, nn.Parameter)
    assert np.shares_memory(m.weight.numpy(), state["weight"].numpy())
    m.load_state_dict(nn.Linear(2, 2).state_dict())  # the setting does not stick to the next load
    assert m.weight.dtype == lamina.float64


def test_load_from_torch(torch):
    ours, theirs = make_net(lamina), make_net(torch)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        ours(lamina.from_numpy(x)).detach().numpy(), theirs(torch.from_numpy(x)).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_state_dict_shares_memory_and_keeps_vars():
    m = make_net(lamina)
    state = m.state_dict()
    assert not state["gain"].requires_grad
    m.gain.data.fill_(9.0)
    assert state["gain"].item() == 9.0
    assert m.state_dict(keep_vars=True)["gain"] is m.gain
    mine = {}
    assert m.state_dict(destination=mine, prefix="x.") is mine and "x.gain" in mine
    with pytest.warns(FutureWarning):
        assert list(m.state_dict({}, "y."))[0].startswith("y.")


def test_extra_state():
    results = []
    for t in libraries():

        class Extra(t.nn.Module):
            def __init__(self, value):
                super().__init__()
                self.value = value

            def get_extra_state(self):
                return {"value": self.value}

            def set_extra_state(self, state):
                self.value = state["value"]

        class Plain(t.nn.Module):
            pass

        a, b = Extra(3), Extra(4)
        assert b.load_state_dict(a.state_dict()).missing_keys == [] and b.value == 3
        results.append([outcome(lambda m=m, s=s: m.load_state_dict(s)) for m, s in ((b, {}), (Plain(), a.state_dict()))])
        with pytest.raises(RuntimeError):
            Plain().get_extra_state()
    assert results[0] == results[1]


def test_state_dict_hooks_run_in_pytorchs_order():
    logs = []
    for t in libraries():
        log = []
        m = make_net(t)
        m.register_state_dict_pre_hook(lambda mod, prefix, keep, log=log: log.append(("pre", type(mod).__name__, prefix, keep)))
        m.inner.register_state_dict_post_hook(lambda mod, s, prefix, meta, log=log: log.append(("post", prefix, list(s), meta)))
        m._register_state_dict_hook(lambda mod, s, prefix, meta: {"only": s})

        def load_pre(mod, state, prefix, meta, strict, missing, unexpected, errors, log=log):
            log.append((type(mod).__name__, prefix, sorted(state), meta, strict, missing, unexpected, errors))
            state.pop("inner.seen", None)
            errors.append("an error of the hook")

        def load_post(mod, keys, log=log):
            log.append((type(mod).__name__, list(keys.missing_keys)))
            keys.missing_keys.clear()

        state = m.state_dict()["only"]
        m.inner.register_load_state_dict_pre_hook(load_pre)
        handle = m.register_load_state_dict_post_hook(load_post)
        log.append(outcome(lambda m=m, s=state: m.load_state_dict(s)))
        handle.remove()
        with pytest.raises(RuntimeError, match="an error of the hook"):
            m.load_state_dict(state)
        logs.append(log)
    assert logs[0] == logs[1]


def test_hooks_that_return_what_they_must_not():
    for t in libraries():
        m = t.nn.Linear(1, 1)
        handle = m.register_state_dict_post_hook(lambda *a: 3)
        with pytest.raises(RuntimeError, match="must return None"):
            m.state_dict()
        handle.remove()
        m.register_load_state_dict_post_hook(lambda *a: 3)
        with pytest.raises(AssertionError):
            m.load_state_dict(m.state_dict())


def test_a_custom_load_reads_an_older_layout():
    class Renamed(nn.Module):
        _version = 2

        def __init__(self):
            super().__init__()
            self.new = nn.Parameter(lamina.zeros(2))

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
            if local_metadata.get("version", 1) < 2:
                state_dict[prefix + "new"] = state_dict.pop(prefix + "old")
            super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    m = Renamed()
    state = collections.OrderedDict(old=lamina.ones(2))
    m.load_state_dict(state)
    assert m.new.tolist() == [1.0, 1.0] and list(state) == ["old"]
    assert m.state_dict()._metadata[""] == {"version": 2}


def test_consume_prefix():
    from lamina.nn.modules.utils import consume_prefix_in_state_dict_if_present as consume

    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = make_net(lamina)

    wrapped, plain = Wrapper().state_dict(), make_net(lamina).state_dict()
    del wrapped._metadata[""]
    consume(wrapped, "module.")
    assert list(wrapped) == list(plain) and set(wrapped._metadata) == set(plain._metadata)


# -- hooks around the call -----------------------------------------------------------------------------------------


def test_forward_hooks():
    logs = []
    for t in libraries():
        log = []

        class Keyword(t.nn.Module):
            def forward(self, x, plus=0.0):
                return x + plus

        m = Keyword()
        m.register_forward_pre_hook(lambda m, a, log=log: log.append(("pre", len(a))))
        m.register_forward_pre_hook(lambda m, a, k: ((a[0] * 2,), {"plus": k["plus"] + 1}), with_kwargs=True)
        m.register_forward_pre_hook(lambda m, a, log=log: log.append("first"), prepend=True)
        m.register_forward_hook(lambda m, a, out, log=log: log.append(("post", a[0].item(), out.item())))
        m.register_forward_hook(lambda m, a, k, out: out * 10 + k["plus"], with_kwargs=True)
        m.register_forward_hook(lambda m, a, out, log=log: log.append("front"), prepend=True)
        log.append(m(t.tensor(3.0), plus=1.0).item())
        single = t.nn.ReLU()
        handle = single.register_forward_pre_hook(lambda m, a: a[0] + 1)  # not a tuple
        log.append(single(t.tensor(1.0)).item())
        with handle:
            pass
        log.append(single(t.tensor(1.0)).item())
        handle.remove()
        m.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
        log.append(outcome(lambda m=m, t=t: m(t.tensor(1.0), plus=0.0))[0])
        logs.append(log)
    assert logs[0] == logs[1]


def test_hooks_that_are_always_called():
    logs = []
    for t in libraries():
        log = []

        class Broken(t.nn.Module):
            def forward(self, x):
                raise ValueError("broken")

        m = Broken()
        m.register_forward_hook(lambda m, a, out, log=log: log.append("not called"))
        m.register_forward_hook(lambda m, a, k, out, log=log: log.append(("always", out)), with_kwargs=True, always_call=True)
        m.register_forward_hook(lambda m, a, out: 1 / 0, always_call=True)
        handle = t.nn.modules.module.register_module_forward_hook(
            lambda m, a, out, log=log: log.append("global"), always_call=True
        )
        with handle, warnings.catch_warnings(record=True) as caught, pytest.raises(ValueError, match="broken"):
            warnings.simplefilter("always")
            m(t.ones(1))
        log.append(len(caught))
        once = t.nn.ReLU()

        def failing(m, a, out, log=log):
            log.append("once")
            raise ValueError("hook")

        once.register_forward_hook(failing, always_call=True)
        with pytest.raises(ValueError, match="hook"):
            once(t.ones(1))
        logs.append(log)
    assert logs[0] == logs[1]


def test_global_hooks():
    logs = []
    for t in libraries():
        log = []
        module = t.nn.modules.module
        x = t.ones(2, 3, requires_grad=True)
        with contextlib.ExitStack() as stack:
            for register, hook in (
                (module.register_module_forward_pre_hook, lambda m, a, log=log: log.append(("pre", type(m).__name__))),
                (module.register_module_forward_hook, lambda m, a, o, log=log: log.append(("post", type(m).__name__))),
                (
                    module.register_module_full_backward_pre_hook,
                    lambda m, g, log=log: log.append(("backward pre", type(m).__name__)),
                ),
                (
                    module.register_module_full_backward_hook,
                    lambda m, i, o, log=log: log.append(("backward", type(m).__name__, i[0].tolist(), o[0].tolist())),
                ),
            ):
                stack.enter_context(register(hook))
            with pytest.raises(RuntimeError, match="full backward hooks"):
                module.register_module_backward_hook(lambda *a: None)
            t.nn.Sequential(t.nn.ReLU(), t.nn.LeakyReLU(0.5))(x).sum().backward()
        t.nn.ReLU()(x).sum().backward()
        logs.append(log)
    assert logs[0] == logs[1]


def test_registration_hooks():
    logs = []
    for t in libraries():
        log = []
        module = t.nn.modules.module
        with contextlib.ExitStack() as stack:
            for kind in ("buffer", "parameter", "module"):
                register = getattr(module, f"register_module_{kind}_registration_hook")
                stack.enter_context(register(lambda m, name, v, kind=kind, log=log: log.append((kind, name))))
            stack.enter_context(
                module.register_module_module_registration_hook(
                    lambda m, n, v, t=t: t.nn.Tanh() if isinstance(v, t.nn.ReLU) else None
                )
            )
            m = make_net(t)
        make_net(t)
        logs.append([*log, repr(m)])
    assert logs[0] == logs[1]


def both_backward(build, *shapes, create_graph=False):
    """Run `build(t, log)` → module, on inputs that all but the last need a gradient; the log and the gradients."""
    results = []
    for t in libraries():
        log = []
        module = build(t, log)
        inputs = [t.arange(float(np.prod(s))).reshape(s) / 7 for s in shapes]
        for x in inputs[: max(1, len(inputs) - 1)]:
            x.requires_grad_()
        out = module(*inputs)
        out = out if isinstance(out, tuple) else (out,)
        sum((o * o).sum() for o in out).backward(create_graph=create_graph)
        results.append((log, [None if x.grad is None else array(x.grad) for x in inputs]))
    (log, grads), (their_log, their_grads) = results
    assert log == their_log
    for g, h in zip(grads, their_grads, strict=True):
        assert (g is None) == (h is None) and (g is None or np.allclose(g, h))
    return log


def rounded(grads):
    return [None if g is None else np.round(array(g), 4).tolist() for g in grads]


@pytest.mark.filterwarnings("ignore:Using backward")
def test_full_backward_hooks_see_and_change_gradients():
    def build(t, log):
        class Two(t.nn.Module):
            def forward(self, x, factor, y):
                return x * y.sum() * factor, x + 1, "text"

            def __call__(self, *a):
                return super().__call__(a[0], 2.0, a[1])[:2]

        m = Two()
        m.register_full_backward_hook(lambda m, i, o: log.append(("1", rounded(i), len(o), rounded(o[:2]))))
        m.register_full_backward_hook(lambda m, i, o: (i[0] * 3, None, None))
        m.register_full_backward_hook(lambda m, i, o: log.append(("front", rounded(i))), prepend=True)
        m.register_full_backward_pre_hook(lambda m, o: (o[0] * 2, *o[1:]))
        m.register_full_backward_pre_hook(lambda m, o: log.append("pre front"), prepend=True)
        return m

    log = both_backward(build, (2, 2), (3,))
    assert log[0] == "pre front" and len(log) == 3
    both_backward(build, (2, 2), (3,), create_graph=True)


@pytest.mark.parametrize("wrong", ["pre", "input"])
def test_full_backward_hooks_with_a_wrong_number_of_gradients(wrong):
    for t in libraries():
        m = t.nn.ReLU()
        if wrong == "pre":
            m.register_full_backward_pre_hook(lambda m, o: (o[0], None))
        else:
            m.register_full_backward_hook(lambda m, i, o: (i[0], None))
        with pytest.raises(RuntimeError, match="invalid number of grad"):
            m(t.ones(2, requires_grad=True)).sum().backward()


def test_full_backward_hook_of_a_first_layer():
    """No input needs a gradient: the hook runs when those of the outputs are known."""
    for t in libraries():
        log = []
        m = t.nn.Linear(2, 2)
        m.register_full_backward_hook(lambda m, i, o, log=log: log.append((i, o[0].shape)))
        with pytest.warns(UserWarning):
            m(t.ones(3, 2)).sum().backward()
        assert log == [((None,), (3, 2))]
        m.register_full_backward_hook(lambda m, i, o: o)
        with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="no input requires gradient|where no input"):
            m(t.ones(3, 2)).sum().backward()


def test_backward_hooks_do_nothing_without_gradients():
    for t in libraries():
        m = t.nn.ReLU()
        m.register_full_backward_hook(lambda *a: 1 / 0)
        with t.no_grad():
            assert m(t.ones(2, requires_grad=True)).sum().item() == 2
        assert not m(t.ones(2)).requires_grad


def test_one_kind_of_backward_hook():
    for t in libraries():
        m = t.nn.ReLU()
        m.register_backward_hook(lambda *a: None)
        with pytest.raises(RuntimeError, match="both regular backward hooks and full"):
            m.register_full_backward_hook(lambda *a: None)
        m = t.nn.ReLU()
        m.register_full_backward_hook(lambda *a: None)
        with pytest.raises(RuntimeError, match="both regular backward hooks and full"):
            m.register_backward_hook(lambda *a: None)


@pytest.mark.filterwarnings("ignore")
def test_old_backward_hooks():
    def build(t, log):
        m = t.nn.LeakyReLU(0.5)
        m.register_backward_hook(lambda m, i, o: log.append((type(m).__name__, rounded(i[:1]), rounded(o))))
        return m

    both_backward(build, (2, 2))


def test_a_gate_does_not_hide_writes_in_place():
    x = lamina.ones(3, requires_grad=True)
    y = x * 2
    z = y * y  # saves y
    m = nn.ReLU(inplace=True)
    m.register_full_backward_hook(lambda m, i, o: None)
    m(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_hooks_survive_copies():
    m = nn.ReLU()
    log = []
    handle = m.register_forward_hook(lambda m, a, o: log.append(1))
    twin, twin_handle = copy.deepcopy((m, handle))
    twin(lamina.ones(1))
    assert log == [1]
    twin_handle.remove()
    twin(lamina.ones(1))
    m(lamina.ones(1))
    assert log == [1, 1]


def test_conversion_to_channels_last():
    m = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    x = lamina.rand(2, 3, 4, 4)
    expected, weight = m(x), m[0].weight
    assert m.to(memory_format=lamina.channels_last) is m and m[0].weight is weight
    assert weight.is_contiguous(memory_format=lamina.channels_last) and not weight.is_contiguous()
    m[1].reset_running_stats()
    np.testing.assert_allclose(array(m(x)), array(expected), rtol=1e-4, atol=1e-6)


# -- copies and memory ---------------------------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.register_buffer("mean", lamina.zeros(2))
        self.register_buffer("temporary", lamina.zeros(2), persistent=False)
        self.tied = self.first

    def forward(self, x):
        return self.first(x)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_deepcopy_and_pickle(clone):
    m = Small().eval()
    twin = clone(m)
    assert repr(twin) == repr(m) and not twin.training and twin.tied is twin.first
    assert twin._non_persistent_buffers_set == {"temporary"}
    for (name, p), (other, q) in zip(m.named_parameters(), twin.named_parameters(), strict=True):
        assert name == other and p is not q and (p == q).all() and q.requires_grad
        assert not np.shares_memory(p.detach().numpy(), q.detach().numpy())
    x = lamina.ones(2, 3)
    assert (m(x) == twin(x)).all()


def test_shallow_copy_shares_parameters():
    m = Small()
    assert copy.copy(m).first is m.first


def test_hooks_do_not_keep_a_module_alive():
    m = nn.Linear(2, 2)
    m.register_full_backward_hook(lambda m, i, o: None)
    m.register_load_state_dict_pre_hook(lambda m, *a: None)
    m(lamina.ones(1, 2, requires_grad=True))
    alive = weakref.ref(m)
    del m
    gc.collect()
    assert alive() is None


def test_linear_is_initialised_as_pytorchs(torch):
    for size in ((3, 4), (300, 17), (1, 1)):
        for bias in (True, False):
            lamina.manual_seed(5)
            torch.manual_seed(5)
            ours, theirs = nn.Linear(*size, bias=bias), torch.nn.Linear(*size, bias=bias)
            for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
                assert name == other and np.array_equal(p.detach().numpy(), q.detach().numpy())
    double = nn.Linear(3, 4, dtype=lamina.float64, device="cpu")
    assert double.weight.dtype == double.bias.dtype == lamina.float64
