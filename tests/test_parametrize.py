"""Parametrizations against torch: the machinery, orthogonal matrices, weight and spectral normalisation in both forms."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn.utils import parametrizations, parametrize


def both(run, atol=2e-6):
    """``run`` on lamina and on torch; what it returns must be the same."""
    torch = need_torch()
    ours, theirs = run(lamina), run(torch)
    assert_same(ours, theirs, rtol=2e-5, atol=atol)
    return ours


def same_weights(module, layer, seed=0):
    """Values that both libraries get alike: set from NumPy, in the order of the parameters."""
    rng = np.random.default_rng(seed)
    with module.no_grad():
        for p in layer.parameters():
            p.copy_(module.from_numpy(np.array(rng.standard_normal(tuple(p.shape)), "float32")))
    return layer


def maps(module):
    """Parametrizations for the tests, made of one library's modules."""

    class Symmetric(module.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

        def right_inverse(self, a):
            return a.triu()

    class Double(module.nn.Module):
        def forward(self, x):
            return x * 2

    class Exp(module.nn.Module):
        def forward(self, x):
            return x.exp()

        def right_inverse(self, y):
            return y.log()

    class RankOne(module.nn.Module):
        def forward(self, x, y):
            return x.unsqueeze(-1) @ y.unsqueeze(-2)

        def right_inverse(self, z):
            return z[:, 0] * 1.0, z[0] / z[0, 0]

    class Shape(module.nn.Module):
        def forward(self, x):
            return x[:-1]

    class Kind(module.nn.Module):
        def forward(self, x):
            return x.bool()

    class NotTensor(module.nn.Module):
        def forward(self, x):
            return None

    class BadInverse(module.nn.Module):
        def forward(self, x):
            return x

        def right_inverse(self, x):
            return 3

    class BadSequence(BadInverse):
        def forward(self, x, y):
            return x

        def right_inverse(self, x):
            return x, 3

    class KindInverse(BadInverse):
        def right_inverse(self, x):
            return x.bool()

    class NoInverse(BadInverse):
        def right_inverse(self, x):
            raise NotImplementedError

    return {c.__name__: c for c in locals().values() if isinstance(c, type)}


def register(module, layer, name, kind, **settings):
    return module.nn.utils.parametrize.register_parametrization(layer, name, maps(module)[kind](), **settings)


def state(layer):
    return [list(layer.state_dict()), [n for n, _ in layer.named_parameters()], [n for n, _ in layer.named_buffers()]]


def test_register_and_remove():
    def run(module):
        layer = same_weights(module, module.nn.Linear(3, 3))
        original = layer.weight
        result = register(module, layer, "weight", "Symmetric")
        seen = [result is layer, layer.parametrizations.weight.original is original, repr(layer).replace("Symmetric", "_")]
        seen += [type(layer).__name__, state(layer), layer.weight]
        y = layer(module.ones(2, 3))
        (y * y).sum().backward()
        seen += [y, original.grad]
        seen += [module.nn.utils.parametrize.is_parametrized(layer, name) for name in (None, "weight", "bias")]
        seen += [module.nn.utils.parametrize.type_before_parametrizations(layer) is module.nn.Linear]
        module.nn.utils.parametrize.remove_parametrizations(layer, "weight")
        seen += [type(layer) is module.nn.Linear, isinstance(layer.weight, module.nn.Parameter), layer.weight is original]
        return [*seen, layer.weight, state(layer), hasattr(layer, "parametrizations")]

    both(run)


def test_several_tensors_and_chains():
    def run(module):
        layer = same_weights(module, module.nn.Linear(3, 3))
        register(module, layer, "weight", "Symmetric")
        register(module, layer, "weight", "Double")
        register(module, layer, "bias", "Exp", unsafe=True)
        seen = [state(layer), layer.weight, layer.bias.isnan(), len(layer.parametrizations.weight)]
        layer(module.ones(2, 3)).sum().backward()
        seen.append(layer.parametrizations.weight.original.grad)
        module.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        return [*seen, layer.weight, type(layer).__name__, state(layer)]

    both(run)


def test_assignment_goes_through_the_inverse():
    def run(module):
        layer = same_weights(module, module.nn.Linear(3, 3))
        register(module, layer, "weight", "Exp")
        value = module.tensor(np.random.default_rng(1).uniform(1, 2, (3, 3)).astype("float32"))
        with module.no_grad():
            layer.bias[:] = 1
        layer.weight = value
        seen = [layer.weight, layer.parametrizations.weight.original]
        return [*seen, isinstance(layer.parametrizations.weight.original, module.nn.Parameter)]

    both(lambda module: run(module))


def test_one_tensor_made_of_several():
    def run(module):
        layer = module.nn.Linear(3, 3)
        with module.no_grad():
            layer.weight[:] = module.tensor([[1.0, 2.0, 4.0], [3.0, 6.0, 12.0], [0.5, 1.0, 2.0]])
            layer.bias[:] = 0
        register(module, layer, "weight", "RankOne")
        seen = [layer.weight, state(layer), layer.parametrizations.weight.ntensors, layer.parametrizations.weight.is_tensor]
        layer(module.ones(3)).sum().backward()
        seen += [layer.parametrizations.weight.original0.grad, layer.parametrizations.weight.original1.grad]
        layer.weight = layer.weight.detach() * 2
        seen.append(layer.weight)
        with pytest.raises(ValueError, match="sequence"):
            module.nn.utils.parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        module.nn.utils.parametrize.remove_parametrizations(layer, "weight")
        return [*seen, layer.weight, isinstance(layer.weight, module.nn.Parameter), state(layer)]

    both(run)


def test_buffers():
    def run(module):
        layer = module.nn.Linear(2, 2)
        layer.register_buffer("scale", module.tensor([1.0, 2.0]))
        register(module, layer, "scale", "Exp")
        seen = [state(layer), layer.scale, layer.parametrizations.scale.original]
        module.nn.utils.parametrize.remove_parametrizations(layer, "scale")
        return [*seen, layer.scale, state(layer), "scale" in layer._buffers]

    both(run)


def test_unsafe_parametrizations_change_shape():
    def run(module):
        layer = same_weights(module, module.nn.Linear(3, 3, bias=False))
        register(module, layer, "weight", "Shape", unsafe=True)
        return [layer.weight, layer(module.ones(3)), layer.parametrizations.weight.unsafe]

    both(run)


def test_caching():
    calls = []

    class Counting(nn.Module):
        def forward(self, x):
            calls.append(1)
            return x * 2

    layer = parametrize.register_parametrization(nn.Linear(2, 2), "weight", Counting(), unsafe=True)
    with parametrize.cached():
        first = layer.weight
        with parametrize.cached():
            assert layer.weight is first
        assert layer.weight is first and len(calls) == 1
    assert layer.weight is not first and len(calls) == 2
    twin = copy.deepcopy(layer)
    with parametrize.cached():
        assert layer.weight is not twin.weight


def test_copies_and_pickles():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", maps(lamina)["Symmetric"]())
    twin = copy.deepcopy(layer)
    assert type(twin) is type(layer) and lamina.equal(twin.weight, layer.weight)
    assert twin.parametrizations.weight.original is not layer.parametrizations.weight.original
    with lamina.no_grad():
        twin.parametrizations.weight.original.zero_()
    assert not lamina.equal(twin.weight, layer.weight)
    with pytest.raises(RuntimeError, match="state_dict"):
        pickle.dumps(layer)
    other = parametrize.register_parametrization(nn.Linear(3, 3), "weight", maps(lamina)["Symmetric"]())
    other.load_state_dict(layer.state_dict())
    assert lamina.equal(other.weight, layer.weight)


def test_the_whole_module_moves_along():
    layer = parametrize.register_parametrization(nn.Linear(3, 3), "weight", maps(lamina)["Symmetric"]()).double().eval()
    assert layer.weight.dtype is lamina.float64 and not layer.parametrizations.weight[0].training
    assert layer.train().parametrizations.weight[0].training
    assert nn.Sequential(layer)(lamina.ones(3, dtype=lamina.float64)).shape == (3,)


def test_transfer():
    def run(module):
        source, target = same_weights(module, module.nn.Linear(3, 3)), same_weights(module, module.nn.Linear(3, 3), 1)
        register(module, source, "weight", "Symmetric")
        register(module, source, "weight", "Double")
        register(module, source, "bias", "Exp", unsafe=True)
        move = module.nn.utils.parametrize.transfer_parametrizations_and_params
        seen = [move(source, target, "weight") is target, state(target), target.weight]
        seen += [target.parametrizations.weight.original is source.parametrizations.weight.original]
        other = module.nn.Module()
        move(source, other)
        plain = module.nn.Linear(1, 1)
        return [*seen, state(other), other.weight, other.bias.isnan(), move(plain, target) is target]

    both(run)


def test_errors():
    def on(name, kind, **settings):
        return lambda t, x: register(t, t.nn.Linear(3, 3), name, kind, **settings)

    for case, match in (
        (on("nothing", "Double"), "does not have a parameter"), (on("weight", "Shape"), "shape"), (on("weight", "Kind"), "dtype"),
        (on("weight", "NotTensor"), "must return a tensor"), (on("weight", "BadInverse"), "right_inverse"),
        (on("weight", "BadSequence"), "right_inverse"), (on("weight", "KindInverse"), "dtype"),
        (lambda t, x: t.nn.utils.parametrize.remove_parametrizations(t.nn.Linear(1, 1), "weight"), "does not have"),
        (lambda t, x: t.nn.utils.parametrize.ParametrizationList([], t.nn.Parameter(x)), "one or more"),
        (lambda t, x: setattr(on("weight", "Double")(t, x), "weight", t.ones(3, 3)), "right_inverse"),
        (lambda t, x: setattr(on("weight", "Exp")(t, x), "weight", t.ones(3, 3).double()), "dtype"),
    ):
        same_error(case, np.ones(3, "float32"), match=match)
    for second, match in (
        ("Shape", "shape"), ("Kind", "dtype"), ("NotTensor", "tensor"), ("BadInverse", "right_inverse"), ("KindInverse", "dtype"),
    ):  # fmt: skip

        def twice(t, x, second=second):
            register(t, register(t, t.nn.Linear(3, 3), "weight", "Double"), "weight", second)

        same_error(twice, np.ones(3, "float32"), match=match)
    layer = nn.Linear(3, 3)
    with pytest.raises(ValueError):
        register(lamina, layer, "weight", "Shape")
    assert type(layer) is nn.Linear and isinstance(layer.weight, nn.Parameter)  # what it was
    assert register(lamina, nn.Linear(3, 3), "weight", "NoInverse").weight.shape == (3, 3)


def test_the_same_arguments():
    torch = need_torch()
    for name in ("parametrize", "parametrizations"):
        ours, theirs = getattr(nn.utils, name), getattr(torch.nn.utils, name)
        assert sorted(ours.__all__) == sorted(theirs.__all__)
        for function in ours.__all__:
            a, b = (
                [(p.name, p.default) for p in inspect.signature(getattr(m, function)).parameters.values()] for m in (ours, theirs)
            )
            assert a == b, function
    for function in ("weight_norm", "remove_weight_norm", "spectral_norm", "remove_spectral_norm"):
        a, b = (
            [(p.name, p.default) for p in inspect.signature(getattr(m, function)).parameters.values()]
            for m in (nn.utils, torch.nn.utils)
        )
        assert a == b, function


# -- orthogonal matrices -------------------------------------------------------------------------------------------

ORTHOGONAL = [
    (shape, kind, trivial) for shape in ((4, 4), (5, 3), (3, 5)) for kind in (None, "matrix_exp", "cayley", "householder")
    for trivial in (True, False)
]  # fmt: skip


@pytest.mark.parametrize(("shape", "kind", "trivial"), ORTHOGONAL)
def test_orthogonal(shape, kind, trivial):
    def run(module):
        module.manual_seed(0)
        layer = same_weights(module, module.nn.Linear(shape[1], shape[0], bias=False).double())
        module.nn.utils.parametrizations.orthogonal(layer, orthogonal_map=kind, use_trivialization=trivial)
        w = layer.weight
        small = w @ w.mT if shape[0] <= shape[1] else w.mT @ w
        (w * module.arange(w.numel()).reshape(w.shape)).sum().backward()
        original = layer.parametrizations.weight.original
        seen = [state(layer), (small - module.eye(min(shape)).double()).abs().max() < 1e-10]
        with module.no_grad():
            original += 0.1
        if shape[0] != shape[1] and trivial:
            return seen  # the base is completed by normal numbers, which agree to single precision only
        return [*seen, w, original.grad, layer.weight]

    both(run)


def test_assigning_orthogonal_matrices():
    for shape in ((4, 4), (5, 3), (3, 5)):
        target = nn.init.orthogonal_(lamina.empty(shape, dtype=lamina.float64))
        for kind in ("matrix_exp", "cayley", "householder"):
            layer = parametrizations.orthogonal(nn.Linear(shape[1], shape[0]).double(), orthogonal_map=kind)
            layer.weight = target
            assert lamina.allclose(layer.weight, target, atol=1e-10)
        layer = parametrizations.orthogonal(
            nn.Linear(shape[1], shape[0]).double(), orthogonal_map="householder", use_trivialization=False
        )
        layer.weight = target
        assert lamina.allclose(layer.weight, target, atol=1e-10)
        layer = parametrizations.orthogonal(nn.Linear(shape[1], shape[0]), orthogonal_map="cayley", use_trivialization=False)
        with pytest.raises(NotImplementedError):
            layer.weight = target.float()


def test_orthogonal_batches_and_complex():
    module = nn.Module()
    module.weight = nn.Parameter(lamina.randn(2, 3, 4, 4, dtype=lamina.float64))
    module.unitary = nn.Parameter(lamina.randn(3, 3, dtype=lamina.complex128))
    parametrizations.orthogonal(module)
    parametrizations.orthogonal(module, "unitary")
    assert lamina.allclose(module.weight @ module.weight.mT, lamina.eye(4).double().expand(2, 3, 4, 4), atol=1e-10)
    u = module.unitary
    assert lamina.allclose(u @ u.mH, lamina.eye(3, dtype=lamina.complex128), atol=1e-10)
    assert set(module.state_dict()) == {
        "parametrizations.weight.original", "parametrizations.weight.0.base", "parametrizations.unitary.original",
        "parametrizations.unitary.0.base",
    }  # fmt: skip


def test_orthogonal_errors():
    for case in (
        lambda t, x: t.nn.utils.parametrizations.orthogonal(t.nn.Linear(2, 2), "nothing"),
        lambda t, x: t.nn.utils.parametrizations.orthogonal(t.nn.Linear(2, 2), "bias"),
        lambda t, x: t.nn.utils.parametrizations.orthogonal(t.nn.Linear(2, 2), orthogonal_map="other"),
    ):
        same_error(case, np.ones(1), match="parameter|dimensions|orthogonal_map")
    same_error(
        lambda t, x: setattr(t.nn.utils.parametrizations.orthogonal(t.nn.Linear(2, 2)), "weight", t.ones(3, 3)),
        np.ones(1),
        match="shape",
    )


# -- weight normalisation ------------------------------------------------------------------------------------------

LAYERS = {
    "linear": (lambda nn: nn.Linear(3, 4), (2, 3)), "conv": (lambda nn: nn.Conv2d(3, 4, 2), (1, 3, 4, 4)),
    "transposed": (lambda nn: nn.ConvTranspose1d(3, 4, 2), (1, 3, 4)),
}  # fmt: skip
quiet = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")


@quiet
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dim", [0, 1, None, -1])
@pytest.mark.parametrize("form", ["old", "new"])
def test_weight_norm(layer, dim, form):
    make, shape = LAYERS[layer]

    def run(module):
        net = same_weights(module, make(module.nn))
        before = net.weight.detach().clone()
        utils = module.nn.utils
        assert (utils.weight_norm if form == "old" else utils.parametrizations.weight_norm)(net, dim=dim) is net
        seen = [state(net), (net.weight - before).abs().max() < 1e-5]
        x = module.from_numpy(np.random.default_rng(0).standard_normal(shape).astype("float32"))
        (net(x) ** 2).sum().backward()
        seen += [p.grad for p in net.parameters()]
        with module.no_grad():
            next(p for n, p in net.named_parameters() if n.endswith(("_g", "original0"))).mul_(2)
        seen.append(net(x))
        if form == "old":
            assert utils.remove_weight_norm(net) is net
        else:
            utils.parametrize.remove_parametrizations(net, "weight")
        return [*seen, state(net), net(x), isinstance(net.weight, module.nn.Parameter)]

    both(run, 2e-5)  # gradients are differences of numbers of up to 126: from float64's, PyTorch's are 7e-6 off, these 3e-6


@quiet
def test_new_weight_norm_reads_old_state_dicts():
    old, new = nn.utils.weight_norm(nn.Linear(3, 4)), parametrizations.weight_norm(nn.Linear(3, 4))
    new.load_state_dict(old.state_dict())
    assert lamina.equal(new.weight, old.weight)


def test_weight_norm_gradients():
    v = lamina.tensor(np.random.default_rng(0).standard_normal((3, 2)), requires_grad=True)
    g = lamina.tensor(np.ones((3, 1)), requires_grad=True)
    norm = parametrizations._WeightNorm(0)
    assert gradcheck(norm, (g, v)) and gradgradcheck(norm, (g, v))


@quiet
def test_normalisation_errors():
    for name in ("weight_norm", "spectral_norm"):
        apply = lambda t, layer, name=name, **kw: getattr(t.nn.utils, name)(layer, **kw)  # noqa: E731
        same_error(lambda t, x: apply(t, apply(t, t.nn.Linear(2, 2))), np.ones(1), match="Cannot register two")  # noqa: B023
        remove = lambda t, x, name=name: getattr(t.nn.utils, "remove_" + name)(t.nn.Linear(2, 2))  # noqa: E731
        same_error(remove, np.ones(1), match="not found")
    same_error(lambda t, x: t.nn.utils.spectral_norm(t.nn.Linear(2, 2), n_power_iterations=0), np.ones(1), match="positive")
    same_error(lambda t, x: t.nn.utils.spectral_norm(t.nn.Linear(2, 2, bias=False), "bias"), np.ones(1), match="None")
    new = lambda t: t.nn.utils.parametrizations.spectral_norm  # noqa: E731
    same_error(lambda t, x: new(t)(t.nn.Linear(2, 2), n_power_iterations=0), np.ones(1), match="positive")
    same_error(lambda t, x: new(t)(t.nn.Linear(2, 2), "nothing"), np.ones(1), match="no parameter")
    same_error(lambda t, x: new(t)(t.nn.Linear(2, 2), dim=2), np.ones(1), match="Dimension")


# -- spectral normalisation ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("settings", [{}, {"n_power_iterations": 3}, {"dim": 1, "eps": 1e-6}])
@pytest.mark.parametrize("form", ["old", "new"])
def test_spectral_norm(layer, settings, form):
    make, shape = LAYERS[layer]

    def run(module):
        module.manual_seed(0)
        net = same_weights(module, make(module.nn))
        module.manual_seed(1)
        utils = module.nn.utils
        assert (utils.spectral_norm if form == "old" else utils.parametrizations.spectral_norm)(net, **settings) is net
        seen = [state(net)]
        x = module.from_numpy(np.random.default_rng(0).standard_normal(shape).astype("float32"))
        y = net(x) + net(x)  # two steps of the power iteration in one graph
        (y**2).sum().backward()
        seen += [y, *(p.grad for p in net.parameters()), *net.buffers()]
        net.eval()
        seen += [net(x), *net.buffers(), net(x)]
        if form == "old":
            assert net.state_dict()._metadata[""]["spectral_norm"] == {"weight.version": 1}
            assert utils.remove_spectral_norm(net) is net and not net._state_dict_hooks
        else:
            utils.parametrize.remove_parametrizations(net, "weight")
        return [*seen, state(net), net(x), isinstance(net.weight, module.nn.Parameter)]

    both(run)


def test_spectral_norm_of_vectors():
    def run(module):
        layer = same_weights(module, module.nn.Linear(3, 4))
        module.nn.utils.parametrizations.spectral_norm(layer, "bias")
        return [layer.bias, state(layer)]

    both(run)


def test_old_spectral_norm_completes_state_dicts_without_v():
    lamina.manual_seed(0)
    net = nn.utils.spectral_norm(nn.Linear(3, 4), n_power_iterations=20)
    net(lamina.ones(3))
    saved = net.state_dict()
    old = {k: v.clone() for k, v in saved.items() if not k.endswith("_v")}
    old["weight"] = net.eval().weight.detach().clone()
    other = nn.utils.spectral_norm(nn.Linear(3, 4)).eval()
    other.load_state_dict(old)
    assert lamina.allclose(other(lamina.ones(3)), net(lamina.ones(3)), atol=1e-5)
    with pytest.raises(RuntimeError, match="Missing"):
        other.load_state_dict({"bias": old["bias"], "weight_u": old["weight_u"]})
    again = nn.utils.spectral_norm(nn.Linear(3, 4)).eval()
    again.load_state_dict(saved)
    assert lamina.equal(again(lamina.ones(3)), net(lamina.ones(3)))
    again.load_state_dict(dict(saved))  # without metadata
