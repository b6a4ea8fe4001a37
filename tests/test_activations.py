"""Activations against torch: functions and modules, on both engines; values, gradients, edge values, errors."""

from __future__ import annotations

import copy
import inspect
import itertools

import numpy as np
import pytest
from support import assert_same, compare, layouts, need_torch, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn import functional as F

# name of the function: the settings that are tried
FUNCTIONS = {
    "relu": [{}],
    "relu6": [{}],
    "leaky_relu": [{}, {"negative_slope": 0.3}, {"negative_slope": -0.5}, {"negative_slope": 0.0}],
    "elu": [{}, {"alpha": 0.5}, {"alpha": 2.5}],
    "selu": [{}],
    "celu": [{}, {"alpha": 0.5}, {"alpha": 2.5}, {"alpha": -1.5}],
    "hardshrink": [{}, {"lambd": 0.0}, {"lambd": 1.25}, {"lambd": -1.0}],
    "softshrink": [{}, {"lambd": 0.0}, {"lambd": 1.25}],
    "hardsigmoid": [{}],
    "hardswish": [{}],
    "hardtanh": [{}, {"min_val": 0.0, "max_val": 0.5}, {"min_val": -3.0, "max_val": -1.0}, {"min_val": 0.5, "max_val": 0.5}],
    "threshold": [{"threshold": 0.1, "value": 2.0}, {"threshold": -0.5, "value": 0.0}, {"threshold": 0.0, "value": -np.inf}],
    "logsigmoid": [{}],
    "silu": [{}],
    "mish": [{}],
    "softsign": [{}],
    "tanhshrink": [{}],
    "sigmoid": [{}],
    "tanh": [{}],
    "softplus": [{}, {"beta": 2.0}, {"beta": 0.5, "threshold": 1.0}],
    "gelu": [{}, {"approximate": "tanh"}],
    "rrelu": [{}, {"lower": 0.0, "upper": 0.5}, {"training": True}, {"lower": -0.5, "upper": 2.0, "training": True}],
    "glu": [{}, {"dim": 0}, {"dim": 1}],
    "softmax": [{"dim": 0}, {"dim": 1}, {"dim": -1}],
    "log_softmax": [{"dim": 0}, {"dim": 1}, {"dim": -1}],
    "softmin": [{"dim": 0}, {"dim": 1}, {"dim": -1}],
}
CASES = [(name, settings) for name, grid in FUNCTIONS.items() for settings in grid]
IN_PLACE = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "hardsigmoid", "hardswish", "hardtanh", "threshold", "silu",
    "mish", "rrelu",
)  # fmt: skip
ALONG_A_DIMENSION = ("glu", "softmax", "log_softmax", "softmin")
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, -2.5, 1e-30, -1e-30, 1e30, -1e30, 20.0, -20.0, 88.0, -88.0, 120.0, -120.0,
     np.inf, -np.inf, np.nan]
)  # fmt: skip


def call(name, settings):
    def run(torch, x):
        torch.manual_seed(3)
        return getattr(torch.nn.functional, name)(x, **settings)

    return run


def label(case):
    return "-".join([case[0], *(f"{k}={v}" for k, v in case[1].items())])


@pytest.mark.parametrize("case", CASES, ids=label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_match_torch(case, dtype, each_engine):
    name, settings = case
    rtol = 2e-5 if dtype == "float32" else None  # the same formula in other steps: a few units in the last place
    rng = np.random.default_rng(0)
    arrays = [(rng.standard_normal((8, 6)) * 3).astype(dtype), rng.standard_normal((4, 6, 8)).swapaxes(0, 2).astype(dtype)]
    if name not in ALONG_A_DIMENSION:
        arrays += [rng.standard_normal(s).astype(dtype) for s in ((), (0,), (3, 0, 2), (1,))]
        arrays += [x * dtype_of(dtype)(2) for x in layouts((3, 4, 5, 6), dtype).values()]
    for x in arrays:
        compare(call(name, settings), x, rtol=rtol)


def dtype_of(name):
    return np.dtype(name).type


@pytest.mark.parametrize("case", CASES, ids=label)
def test_large_arrays_match_torch(case, each_engine):
    x = np.random.default_rng(1).standard_normal((40, 500)).astype("float32") * np.float32(2.5)
    compare(call(*case), x, rtol=3e-5, atol=1e-5)


@pytest.mark.parametrize("case", [c for c in CASES if not c[1].get("training")], ids=label)  # torch draws no half slopes
def test_half_precision(case):
    x = np.random.default_rng(0).standard_normal((8, 6)).astype("float16")
    # one or two roundings of float16, of which one step is 1e-3
    compare(call(*case), x, rtol=4e-3, atol=4e-3, grad=False)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] not in ALONG_A_DIMENSION], ids=label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values(case, dtype, each_engine):
    name, settings = case
    torch = need_torch()
    # Torch's vectorized loops and its last few elements may differ in what NaN gives: full vectors only.
    x = np.tile(SPECIAL, 16).astype(dtype)
    ours, theirs = lamina.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = call(name, settings)(lamina, ours), call(name, settings)(torch, theirs)
    assert_same(y, z, rtol=1e-5)
    for upstream in (1.0, np.inf):
        (g,) = lamina.autograd.grad(y, ours, lamina.full_like(y, upstream), retain_graph=True)
        (h,) = torch.autograd.grad(z, theirs, torch.full_like(z, upstream), retain_graph=True)
        if upstream == 1.0 or name in EXACT_FOR_INFINITE_GRADIENTS:
            assert_same(g, h, rtol=1e-5)


EXACT_FOR_INFINITE_GRADIENTS = ("relu", "relu6", "hardshrink", "softshrink", "hardtanh", "threshold", "hardsigmoid", "leaky_relu")


@pytest.mark.parametrize("case", [(n, s) for n, s in CASES if not s.get("training") and s.get("value") != -np.inf], ids=label)
def test_gradients_of_gradients(case):
    name, settings = case
    x = lamina.tensor([[0.7, -1.3, 2.2, -4.1], [0.23, -0.4, 1.1, 3.5]], dtype=lamina.float64, requires_grad=True)
    function = lambda x: getattr(F, name)(x, **settings)  # noqa: E731
    assert gradcheck(function, x) and gradgradcheck(function, x)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] not in ("hardsigmoid", "softmin")], ids=label)
def test_second_derivatives_match_torch(case):
    def second(torch, x):
        y = call(*case)(torch, x)
        (g,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
        return g

    compare(second, np.random.default_rng(0).standard_normal((4, 6)) * 2)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_forms(name):
    settings = {"threshold": {"threshold": 0.1, "value": 2.0}}.get(name, {})

    def run(torch, x, form):
        torch.manual_seed(0)
        y = x * 1.0
        z = form(torch.nn.functional)(y)
        assert z is y
        return z * 2

    x = np.random.default_rng(0).standard_normal((5, 7))
    compare(lambda t, x: run(t, x, lambda F: lambda y: getattr(F, name)(y, **settings, inplace=True)), x)
    if hasattr(F, name + "_"):
        compare(lambda t, x: run(t, x, lambda F: lambda y: getattr(F, name + "_")(y, **settings)), x)


def test_every_in_place_function_is_there():
    torch = need_torch()
    theirs = {n for n in dir(torch.nn.functional) if n.endswith("_") and not n.startswith("_")}
    assert theirs <= set(dir(F))


@pytest.mark.parametrize("name", ["hardtanh", "relu6", "threshold", "relu"])
def test_integers(name):
    settings = {"threshold": {"threshold": 1.5, "value": 7.0}, "hardtanh": {"min_val": 0.0, "max_val": 2.5}}.get(name, {})
    for dtype in ("int64", "int32", "int16", "int8", "uint8"):
        compare(call(name, settings), np.array([0, 1, 2, 3, 9]).astype(dtype), grad=False)
    compare(lambda t, x: t.nn.functional.hardtanh(x), np.array([-5, 0, 1, 7]), grad=False)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] != "softmin"], ids=label)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_raise_as_in_torch(case, dtype):
    torch = need_torch()
    x = np.array([[0, 1], [1, 0]]).astype(dtype)
    try:
        call(*case)(torch, torch.from_numpy(x))
    except Exception as error:
        with pytest.raises(type(error)):
            call(*case)(lamina, lamina.from_numpy(x))
    else:
        compare(call(*case), x, grad=False, rtol=1e-5)


WEIGHTS = {"one": (), "one of a list": (1,), "per channel": (3,)}


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_prelu(weight, dtype, each_engine):
    rng = np.random.default_rng(0)
    loose = {"rtol": 4e-3, "atol": 2e-2} if dtype == "float16" else {"rtol": 2e-5 if dtype == "float32" else None}
    w = rng.standard_normal(WEIGHTS[weight]).astype(dtype)
    shapes = [(5, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 3), (0, 3, 4), (1, 3), (700, 3, 12)]
    if w.size == 1:
        shapes += [(), (1,), (4,), (0,)]
    for shape in shapes:
        for x in layouts(shape, dtype).values():
            compare(lambda t, x, w: t.nn.functional.prelu(x, w), x, w, **loose)
            compare(lambda t, x, w: x.prelu(w) + t.prelu(x, w), x, w, **loose)


def test_prelu_gradients():
    x = lamina.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
    for shape in WEIGHTS.values():
        w = lamina.tensor(np.full(shape, 0.3), requires_grad=True)
        assert gradcheck(F.prelu, (x, w)) and gradgradcheck(F.prelu, (x, w))


@pytest.mark.parametrize("weight", [0.25, 0.0, np.inf, np.nan, -1.0])
def test_prelu_special_values(weight, each_engine):
    x = np.tile(SPECIAL, 16).astype("float32")
    compare(lambda t, x, w: t.nn.functional.prelu(x, w), x, np.array([weight], "float32"), grad=False)


def test_rrelu_draws_as_torch_does():
    torch = need_torch()
    for dtype, shape in itertools.product(("float32", "float64"), [(1000,), (7, 11, 13)]):
        x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        for array in (x, np.ascontiguousarray(x.T).T):
            lamina.manual_seed(5), torch.manual_seed(5)
            ours = F.rrelu(lamina.from_numpy(array), 0.1, 0.4, training=True)
            theirs = torch.nn.functional.rrelu(torch.from_numpy(array), 0.1, 0.4, training=True)
            assert np.array_equal(ours.numpy(), theirs.numpy())
            assert lamina.rand(1).item() == torch.rand(1).item()


def test_gumbel_softmax():
    x = np.random.default_rng(0).standard_normal((4, 6)).astype("float32")
    for settings in ({}, {"tau": 0.5}, {"hard": True}, {"hard": True, "dim": 0, "tau": 2.0}):
        compare(call("gumbel_softmax", settings), x, rtol=1e-4)
    with pytest.warns(UserWarning, match="eps"):
        F.gumbel_softmax(lamina.zeros(2), eps=1e-5)
    hard = F.gumbel_softmax(lamina.zeros(5, 3), hard=True)
    assert hard.sum(1).tolist() == [1.0] * 5


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softsign", "tanhshrink"])
def test_complex_numbers(name):
    def slope(torch, x):
        y = call(name, {})(torch, x)
        (g,) = torch.autograd.grad(y, x, y.detach() * (0.3 - 0.7j), create_graph=True)
        return g

    x = np.array([1 + 2j, -0.5j, 0.3, -1.2 + 0.4j])
    compare(call(name, {}), x, rtol=1e-9, atol=1e-12)
    if name != "softsign":  # by way of sgn, whose derivative is not everywhere the same
        compare(slope, x, rtol=1e-9, atol=1e-12)


def test_complex_silu():  # of which torch has no complex derivative
    x = np.array([1 + 2j, -0.5j, 0.3, -1.2 + 0.4j])
    compare(call("silu", {}), x, grad=False, rtol=1e-9)
    compare(lambda t, x: F.silu(x) if t is lamina else x * t.sigmoid(x), x, rtol=1e-9)


def test_names_of_the_nodes():
    torch = need_torch()
    w = {"prelu": (np.array([0.2], "float32"),), "threshold": (0.1, 2.0)}
    names = [n for n in FUNCTIONS if n not in ("softmin",)] + ["prelu"]
    for name in names:
        first = []
        for module in (lamina, torch):
            x = module.ones(4, 4, requires_grad=True)
            rest = [module.from_numpy(a) if isinstance(a, np.ndarray) else a for a in w.get(name, ())]
            keywords = {"dim": 1} if "soft" in name and "max" in name else {}
            y = getattr(module.nn.functional, name)(x, *rest, **keywords)
            first.append(y.grad_fn.name())
        assert first[0] == first[1], name


def test_errors():
    x, y = np.ones((2, 3), "float32"), np.ones((2, 3, 4, 5), "float32")
    ones = lambda t, *shape: t.ones(*shape)  # noqa: E731
    for case, match in (
        (lambda t, x: t.nn.functional.celu(x, 0.0), "alpha cannot be 0"),
        (lambda t, x: t.nn.functional.celu_(x, 0.0), "alpha cannot be 0"),
        (lambda t, x: t.nn.functional.softshrink(x, -1.0), "lambda must be in range"),
        (lambda t, x: t.nn.functional.hardtanh(x, 1.0, -1.0), "min_val cannot be greater than max_val"),
        (lambda t, x: t.nn.Hardtanh(1.0, -1.0), "max_val"),
        (lambda t, x: t.nn.functional.hardtanh(x.to(t.uint8)), "unsigned type with negative limits"),
        (lambda t, x: t.nn.functional.glu(x), "dimension 1 is size 3"),
        (lambda t, x: t.nn.functional.glu(x[0, 0]), "scalars"),
        (lambda t, x: t.nn.functional.glu(x, 2), r"expected to be in range of \[-2, 1\], but got 2"),
        (lambda t, x: t.nn.functional.rrelu(x, 0.5, 0.1), "Lower bound should be less than or equal"),
        (lambda t, x: t.nn.functional.rrelu(x, 0.5, 0.1, True), "Lower bound should be less than or equal"),
        (lambda t, x: t.nn.functional.prelu(x, ones(t, 2)), "parameter numbers = 2 and channel size = 3"),
        (lambda t, x: t.nn.functional.prelu(x, ones(t, 1, 3)), "ndim = 2"),
        (lambda t, x: t.nn.functional.prelu(x[0, 0], ones(t, 3)), "zero-dim"),
        (lambda t, x: t.nn.functional.prelu(x[0], ones(t, 3)), "channel size = 1"),
        (lambda t, x: t.nn.functional.prelu(x, ones(t, 1).double()), "Float and Double"),
        (lambda t, x: t.nn.PReLU(-1), "negative dimension -1"),
        (lambda t, x: t.nn.PReLU(4)(x), "parameter numbers = 4 and channel size = 3"),
        (lambda t, x: t.nn.Softmax2d()(x), "expected input to be 3D or 4D, got 2D"),
        (lambda t, x: t.nn.functional.elu([1.0]), "must be Tensor, not list"),
        (lambda t, x: t.nn.functional.silu([1.0]), "must be Tensor, not list"),
        (lambda t, x: t.nn.functional.hardshrink([1.0]), "must be Tensor, not list"),
        (lambda t, x: t.nn.functional.elu_(x.requires_grad_()), "leaf Variable"),
    ):  # fmt: skip
        same_error(case, x, match=match)
    compare(lambda t, x: t.nn.Softmax2d()(x), y)


# -- modules -------------------------------------------------------------------------------------------------------

MODULES = {
    "ReLU": [{}], "ReLU6": [{}], "LeakyReLU": [{}, {"negative_slope": 0.3}], "ELU": [{}, {"alpha": 0.5}], "SELU": [{}],
    "CELU": [{}, {"alpha": 2.0}], "Hardshrink": [{}, {"lambd": 1.0}], "Softshrink": [{}, {"lambd": 1.0}], "Hardsigmoid": [{}],
    "Hardswish": [{}], "Hardtanh": [{}, {"min_val": -2, "max_val": 0.5}], "LogSigmoid": [{}], "SiLU": [{}], "Mish": [{}],
    "Softsign": [{}], "Tanhshrink": [{}], "Threshold": [{"threshold": 0.1, "value": 20}, {"threshold": -1, "value": 3.5}],
    "GLU": [{}, {"dim": 1}], "Softmin": [{"dim": 1}, {"dim": -1}], "Softmax": [{"dim": 1}], "LogSoftmax": [{"dim": 0}],
    "Softmax2d": [{}], "PReLU": [{}, {"num_parameters": 6}, {"init": 0.1}], "RReLU": [{}, {"lower": 0.2, "upper": 0.9}],
    "Sigmoid": [{}], "Tanh": [{}], "Softplus": [{}, {"beta": 2, "threshold": 3}], "GELU": [{}, {"approximate": "tanh"}],
}  # fmt: skip
LAYERS = [(name, settings) for name, grid in MODULES.items() for settings in grid]


@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_modules_match_torch(case, each_engine):
    name, settings = case
    torch = need_torch()
    ours, theirs = getattr(nn, name)(**settings), getattr(torch.nn, name)(**settings)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.__constants__ == theirs.__constants__ if hasattr(theirs, "__constants__") else True
    public = {k: v for k, v in vars(theirs).items() if not k.startswith("_")}
    assert {k: v for k, v in vars(ours).items() if not k.startswith("_")} == public
    x = np.random.default_rng(0).standard_normal((2, 6, 4, 4))
    for training in (True, False):

        def run(module, x, training=training):
            layer = (ours if module is lamina else theirs).double().train(training)
            module.manual_seed(1)
            return layer(x)

        compare(run, x)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_same(a.grad, b.grad)
    if "inplace" in inspect.signature(getattr(nn, name)).parameters:
        assert repr(getattr(nn, name)(**settings, inplace=True)) == repr(getattr(torch.nn, name)(**settings, inplace=True))
        y = lamina.tensor(x.copy())
        assert getattr(nn, name)(**settings, inplace=True)(y) is y


@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_modules_can_be_copied_and_saved(case):
    layer = getattr(nn, case[0])(**case[1])
    twin = copy.deepcopy(layer)
    x = lamina.tensor(np.random.default_rng(0).standard_normal((2, 6, 4, 4)), dtype=lamina.float32)
    lamina.manual_seed(0)
    expected = layer(x)
    lamina.manual_seed(0)
    assert lamina.equal(expected, twin(x))


def test_hardtanh_takes_its_old_arguments():
    torch = need_torch()
    for module in (nn, torch.nn):
        with pytest.warns(FutureWarning, match="min_value"):
            layer = module.Hardtanh(min_value=-2.0)
        assert layer.min_val == -2.0
        with pytest.warns(FutureWarning, match="max_value"):
            assert module.Hardtanh(max_value=2.0).max_val == 2.0


@pytest.mark.filterwarnings("ignore:Implicit dimension choice")
@pytest.mark.parametrize("ndim", [0, 1, 2, 3, 4])
def test_implicit_dimension(ndim):
    for name in ("softmax", "softmin", "log_softmax"):
        compare(call(name, {}), np.random.default_rng(0).standard_normal((2, 3, 4, 5)[:ndim]))


def test_implicit_dimension_warns():
    for layer in (nn.Softmin(), nn.Softmax(), F.softmin):
        with pytest.warns(UserWarning, match="Implicit dimension choice for soft") as caught:
            layer(lamina.ones(2))
        assert caught[0].filename == __file__
