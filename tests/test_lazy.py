"""Lazy layers against torch: what they are before and after their first input, state dicts, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina
from lamina import nn
from lamina.nn.modules.lazy import LazyModuleMixin
from lamina.nn.parameter import UninitializedParameter, is_lazy

CONV = [((4, 3), {}), ((4, 2), {"groups": 2, "stride": 2, "bias": False}), ((6, 3), {"padding": 1, "dilation": 2})]
NORM = [((), {}), ((), {"affine": False}), ((), {"track_running_stats": False, "bias": False}), ((1e-3, 0.3), {"bias": False})]
LAYERS = {
    "Linear": ([((3,), {}), ((3, False), {})], (2, 5)),
    **{f"Conv{n}d": (CONV, (2, 4, 9, 8, 7)[: n + 2]) for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": (CONV, (2, 4, 5, 4, 3)[: n + 2]) for n in (1, 2, 3)},
    **{f"BatchNorm{n}d": (NORM, (4, 3, 5, 4, 3)[: n + 2]) for n in (1, 2, 3)},
    **{f"InstanceNorm{n}d": (NORM, (4, 3, 5, 4, 3)[: n + 2]) for n in (1, 2, 3)},
}  # fmt: skip
CASES = [(name, args, settings) for name, (grid, _) in LAYERS.items() for args, settings in grid]
ids = [f"{name}-{args}-{settings}" for name, args, settings in CASES]


def make(module, name, args, settings, **more):
    return getattr(module.nn, "Lazy" + name)(*args, **settings, **more)


def sample(module, name, dtype="float32"):
    return module.from_numpy(np.random.default_rng(0).standard_normal(LAYERS[name][1]).astype(dtype))


@pytest.mark.parametrize(("name", "args", "settings"), CASES, ids=ids)
def test_the_first_input_decides(name, args, settings):
    results = []
    for module in (lamina, need_torch()):
        layer = make(module, name, args, settings)
        state = layer.state_dict()
        seen = [repr(layer), list(state), [n for n, _ in layer.named_parameters()], [n for n, _ in layer.named_buffers()]]
        seen += [layer.has_uninitialized_params(), ["Uninitialized" in type(p).__name__ for p in state.values()]]
        module.manual_seed(0)
        x = sample(module, name)
        y = layer(x)
        seen += [y, repr(layer), type(layer).__name__, isinstance(layer, LazyModuleMixin), dict(layer._forward_pre_hooks)]
        seen += [*layer.state_dict().values(), layer(x), all(isinstance(p, module.nn.Parameter) for p in layer.parameters())]
        if list(layer.parameters()):
            (y**2).sum().backward()
            seen += [p.grad for p in layer.parameters()]
        results.append(seen)
    assert_same(results[0], results[1], rtol=1e-4, atol=1e-4)
    assert type(layer).__name__ == name


@pytest.mark.parametrize(("name", "args", "settings"), CASES, ids=ids)
def test_state_dicts_decide_too(name, args, settings):
    full = make(lamina, name, args, settings)
    full(sample(lamina, name))
    lazy = make(lamina, name, args, settings)
    assert str(lazy.load_state_dict(full.state_dict())) == "<All keys matched successfully>"
    assert not lazy.has_uninitialized_params()
    assert all(lamina.equal(a, b) for a, b in zip(lazy.state_dict().values(), full.state_dict().values(), strict=True))
    lamina.manual_seed(0)
    before = lamina.rand(1).item()
    lamina.manual_seed(0)
    lazy.eval(), full.eval()
    assert lamina.equal(lazy(sample(lamina, name)), full(sample(lamina, name)))
    assert lamina.rand(1).item() == before, "nothing is drawn for weights that were loaded"
    assert repr(lazy) == repr(full) and type(lazy) is type(full)


def test_lazy_and_full_state_dicts():
    lazy, full = nn.LazyLinear(3), nn.Linear(5, 3)
    assert str(lazy.load_state_dict(nn.LazyLinear(3).state_dict())) == "<All keys matched successfully>"
    assert lazy.has_uninitialized_params()
    same_error(lambda t, x: t.nn.Linear(5, 3).load_state_dict(t.nn.LazyLinear(3).state_dict()), np.ones(1), match="shape")
    before = full.weight.detach().clone()
    with pytest.raises(RuntimeError):
        full.load_state_dict(lazy.state_dict())
    assert lamina.equal(full.weight, before)
    net = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    other = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    net.load_state_dict(other.state_dict())
    assert lamina.equal(net(lamina.ones(3)), other(lamina.ones(3)))
    assert repr(net) == repr(other)


@pytest.mark.parametrize("convert", ["double", "half", "float", "to", "cpu"])
def test_conversion_before_the_first_input(convert):
    results = []
    for module in (lamina, need_torch()):
        layer = module.nn.LazyLinear(3)
        layer = layer.to(module.float64) if convert == "to" else getattr(layer, convert)()
        seen = [str(layer.weight.dtype), layer.weight.requires_grad, type(layer.weight).__name__]
        layer.weight.materialize((3, 2))
        results.append([*seen, str(layer.weight.dtype), type(layer.weight).__name__, tuple(layer.weight.shape)])
    assert results[0] == results[1]
    norm = nn.LazyBatchNorm1d().double()
    norm(lamina.ones(4, 2, dtype=lamina.float64) * lamina.arange(4.0).double()[:, None])
    assert norm.running_mean.dtype is lamina.float64 and norm.num_batches_tracked.dtype is lamina.int64
    assert nn.LazyConv1d(2, 3, dtype=lamina.float64, device="cpu").weight.dtype is lamina.float64


def test_copies_and_pickles():
    layer = nn.LazyConv2d(4, 3).double()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert is_lazy(twin.weight) and twin.weight is not layer.weight and twin.weight.dtype is lamina.float64
        x = lamina.ones(1, 2, 5, 5, dtype=lamina.float64)
        assert twin(x).shape == (1, 4, 3, 3)
        assert type(twin) is nn.Conv2d and not twin._forward_pre_hooks and not twin._load_state_dict_pre_hooks
        assert layer.has_uninitialized_params() and type(layer) is nn.LazyConv2d and layer._forward_pre_hooks
    # no trace is left of how a layer came to be
    assert pickle.loads(pickle.dumps(twin)).in_channels == 2


def test_optimizers_know_the_parameters_from_the_start():
    net = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(1))
    optimizer = lamina.optim.Adam(net.parameters(), lr=0.1)
    optimizer.zero_grad(), optimizer.step()
    before = net(lamina.ones(5, 3)).detach()
    optimizer.zero_grad()
    net(lamina.rand(5, 3)).square().sum().backward()
    optimizer.step()
    assert not lamina.equal(net(lamina.ones(5, 3)), before)


def test_what_uninitialized_parameters_refuse():
    for use in (
        lambda p: p + 1, lambda p: p.numel(), lambda p: p.detach(), lambda p: p.dim(), lambda p: p.tolist(),
        lambda p: p.clone(), lambda p: len(p), lambda p: bool(p), lambda p: p[0], lambda p: p == p,
        lambda p: p.stride(), lambda p: p.is_contiguous(), lambda p: p.data_ptr(), lambda p: p.item(),
    ):  # fmt: skip
        same_error(lambda t, x: use(t.nn.LazyLinear(3).weight), np.ones(1), match="uninitialized")  # noqa: B023
    same_error(lambda t, x: t.nn.LazyLinear(3).weight.shape, np.ones(1), match="uninitialized")
    same_error(lambda t, x: t.nn.LazyLinear(3).weight.share_memory_(), np.ones(1), match="uninitialized")
    same_error(lambda t, x: t.nn.init.ones_(t.nn.LazyLinear(3).weight), np.ones(1), match="uninitialized")
    same_error(lambda t, x: t.nn.utils.parameters_to_vector(t.nn.LazyLinear(3).parameters()), np.ones(1), match="uninitialized")
    for p in (nn.LazyLinear(3).weight, UninitializedParameter(requires_grad=False), nn.UninitializedBuffer()):
        assert p.is_leaf and p.grad is None and p.grad_fn is None and p.is_floating_point() and not p.is_complex()
        assert str(p.device) == "cpu" and p.size() == (0,) and "ninitialized" in repr(p)


def test_errors():
    for case, match in (
        (lambda t, x: t.nn.LazyConv2d(4, 3)(x[0, 0]), "3D .* or 4D"),
        (lambda t, x: t.nn.LazyConvTranspose1d(4, 3)(x), "2D .* or 3D"),
        (lambda t, x: t.nn.LazyConv2d(6, 3, groups=3)(x), "divisible by groups"),
        (lambda t, x: t.nn.LazyConv2d(4, 3, groups=0), "groups"),
        (lambda t, x: t.nn.LazyBatchNorm1d()(x), "expected 2D or 3D"),
        (lambda t, x: t.nn.LazyLinear(-1)(x), "negative dimension"),
    ):
        same_error(case, np.ones((2, 4, 5, 5), "float32"), match=match)
    with pytest.raises(ValueError, match="out_channels must be divisible by groups"):
        nn.LazyConv2d(5, 3, groups=4)  # torch notices in the first forward
    layer = nn.LazyConv2d(4, 3)
    with pytest.raises(RuntimeError):
        layer(lamina.ones(3))
    assert layer(lamina.ones(1, 2, 5, 5)).shape == (1, 4, 3, 3)  # nothing was broken


def test_unbatched_input_of_instance_norms():
    layer = nn.LazyInstanceNorm2d()
    assert layer(lamina.rand(3, 4, 5)).shape == (3, 4, 5) and layer.num_features == 3  # torch takes the 4


def test_own_lazy_modules():
    results = []
    for module in (lamina, need_torch()):
        mixin = module.nn.modules.lazy.LazyModuleMixin

        class Scale(mixin, module.nn.Module):
            def __init__(self, module=module):
                super().__init__()
                self.module = module
                self.factor = module.nn.UninitializedParameter()
                self.register_buffer("seen", module.nn.UninitializedBuffer())

            def initialize_parameters(self, x, *, start=1.0):
                if self.has_uninitialized_params():
                    with self.module.no_grad():
                        self.factor.materialize(x.shape[-1:])
                        self.factor.fill_(start)
                        self.seen.materialize(())
                        self.seen.zero_()

            def forward(self, x, *, start=1.0):
                return x * self.factor

        class Forgetful(Scale):
            def initialize_parameters(self, x, *, start=1.0):
                self.factor.materialize(x.shape[-1:])

        class Undefined(mixin, module.nn.Module):
            pass

        layer = Scale()
        y = layer(module.ones(2, 3), start=2.5)
        results.append([y, type(layer).__name__, layer.factor.requires_grad, type(layer.seen) is module.Tensor])
        with pytest.raises(RuntimeError, match="Forgetful has not been fully initialized"):
            Forgetful()(module.ones(2))
        with pytest.raises(NotImplementedError, match="Undefined"):
            Undefined()(module.ones(2))
    assert_same(results[0], results[1])


def test_norms_by_hooks_need_initialized_parameters():
    quietly = pytest.warns(FutureWarning)
    with quietly, pytest.raises(ValueError, match="uninitialized"):
        nn.utils.weight_norm(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="uninitialized"):
        nn.utils.spectral_norm(nn.LazyLinear(2))
