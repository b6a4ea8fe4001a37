"""Losses of single values: errors, divergences and binary cross entropies, against PyTorch's."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import array, assert_same, compare, need_torch, quietly, same_error

import lamina
from lamina import engine as engines
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn import functional as F

REDUCTIONS = ("none", "mean", "sum")


def numbers(*shape, dtype=np.float32, seed=0):
    return np.asarray((2 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype))


def shares(*shape, dtype=np.float32, seed=1):
    """Numbers in (0, 1)."""
    return np.asarray(np.random.default_rng(seed).uniform(0.02, 0.98, shape).astype(dtype))


def signs(*shape, dtype=np.float32, seed=2):
    return np.asarray(np.sign(numbers(*shape, dtype=dtype, seed=seed)))


def counts(*shape, dtype=np.float32, seed=3):
    return np.asarray((np.random.default_rng(seed).integers(1, 5, shape) + 0.125).astype(dtype))


# name: (input, target, settings, whether the target may want a gradient)
CASES = {
    "l1": ("l1_loss", numbers, numbers, {}, True),
    "mse": ("mse_loss", numbers, numbers, {}, True),
    "smooth_l1": ("smooth_l1_loss", numbers, numbers, {}, True),
    "smooth_l1 beta": ("smooth_l1_loss", numbers, numbers, {"beta": 0.3}, True),
    "smooth_l1 beta 0": ("smooth_l1_loss", numbers, numbers, {"beta": 0}, True),
    "huber": ("huber_loss", numbers, numbers, {}, True),
    "huber delta": ("huber_loss", numbers, numbers, {"delta": 2}, True),
    "kl_div": ("kl_div", numbers, shares, {}, True),
    "kl_div log": ("kl_div", numbers, numbers, {"log_target": True}, True),
    "poisson": ("poisson_nll_loss", numbers, counts, {}, True),
    "poisson full": ("poisson_nll_loss", numbers, counts, {"full": True}, True),
    "poisson rates": ("poisson_nll_loss", shares, counts, {"log_input": False, "eps": 1e-3}, True),
    "bce": ("binary_cross_entropy", shares, shares, {}, True),
    "bce logits": ("binary_cross_entropy_with_logits", numbers, shares, {}, True),
    "soft_margin": ("soft_margin_loss", numbers, signs, {}, False),
    "multilabel_soft_margin": ("multilabel_soft_margin_loss", numbers, shares, {}, True),
}
def function(case, **more):
    name, _, _, settings, _ = CASES[case]

    def call(t, *tensors):
        given = {k: t.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in {**settings, **more}.items()}
        return getattr(t.nn.functional, name)(*tensors, **given)

    return quietly(call)


def arguments(case, *shape, dtype=np.float32):
    """Input and target; a target that may not want a gradient is given as a constant."""
    _, of_input, of_target, _, both = CASES[case]
    x, y = of_input(*shape, dtype=dtype), of_target(*shape, dtype=dtype, seed=5)
    return (x, y) if both else (x, Constant(y))


class Constant(np.ndarray):
    def __new__(cls, a):
        return np.asarray(a).view(cls)


def compared(call, x, y, **settings):
    """`compare`, with a target that is held constant where it is a `Constant`."""
    if isinstance(y, Constant):
        fixed = np.array(y)
        compare(lambda t, a: call(t, a, t.from_numpy(fixed)), x, **settings)
    else:
        compare(call, x, y, **settings)


SHAPES = [(), (5,), (3, 4), (2, 3, 4, 2), (0,), (2, 0, 3)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_and_gradients(case, reduction):
    for dtype, shape in itertools.product((np.float32, np.float64), SHAPES):
        if not shape and case == "multilabel_soft_margin":
            continue
        compared(
            function(case, reduction=reduction), *arguments(case, *shape, dtype=dtype),
            rtol=2e-6 if dtype == np.float32 else 1e-12, atol=1e-6 if dtype == np.float32 else 1e-12,
        )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_half_precision(case):
    for reduction in REDUCTIONS:
        compared(function(case, reduction=reduction), *arguments(case, 6, 5, dtype=np.float16), rtol=8e-3, atol=8e-3)


@pytest.mark.parametrize("case", CASES)
def test_large_arrays_go_in_pieces(case):
    """Of every layout, and for broadcast targets where they are allowed."""
    x, y = arguments(case, 12, 40, 90)
    for reduction in REDUCTIONS:
        for a, b in (
            (x, y),
            (np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1), y),
            (np.ascontiguousarray(x.T).T, np.ascontiguousarray(y.T).T.view(type(y))),
            (x[..., ::2], y[..., ::2]),
            (x[:, ::-1], y[:, ::-1]),
        ):
            compared(function(case, reduction=reduction), np.array(a, copy=False), b, rtol=1e-5, atol=2e-6)
    flat = x.reshape(1, -1)[:, ::2], y.reshape(1, -1)[:, ::2]
    compared(function(case), *flat, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("case", [c for c in CASES if "bce" not in c])
def test_broadcast_targets(case):
    for shape, other in (((3, 4), (4,)), ((3, 4), (3, 1)), ((2, 3, 4), (3, 1)), ((120, 700), (700,)), ((120, 700), (120, 1))):
        x, y = arguments(case, *shape)[0], arguments(case, *other)[1]
        for reduction in REDUCTIONS:
            compared(function(case, reduction=reduction), x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_gradients(case):
    name, of_input, of_target, settings, both = CASES[case]
    for reduction, shape in itertools.product(REDUCTIONS, ((3, 4), (2, 2, 2))):
        x = lamina.from_numpy(of_input(*shape, dtype=np.float64)).requires_grad_()
        y = lamina.from_numpy(of_target(*shape, dtype=np.float64, seed=5)).requires_grad_(both)
        call = quietly(lambda x, y, r=reduction: getattr(F, name)(x, y, reduction=r, **settings))
        assert gradcheck(call, (x, y)) and gradgradcheck(call, (x, y))


@pytest.mark.parametrize("case", CASES)
def test_recorded_gradients_are_the_same(case):
    """The slope in operations on tensors is the kernel's."""
    name, of_input, of_target, settings, both = CASES[case]
    for reduction in REDUCTIONS:
        x = lamina.from_numpy(of_input(4, 5)).requires_grad_()
        y = lamina.from_numpy(of_target(4, 5, seed=5)).requires_grad_(both)
        wanted = (x, y) if both else (x,)
        call = quietly(lambda x, y, r=reduction: getattr(F, name)(x, y, reduction=r, **settings).sum())
        for plain, recorded in zip(
            lamina.autograd.grad(call(x, y), wanted), lamina.autograd.grad(call(x, y), wanted, create_graph=True), strict=True
        ):
            np.testing.assert_allclose(array(plain), array(recorded), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_weights(name, reduction):
    def call(weight, pos_weight=None):
        def run(t, x, y):
            given = {} if pos_weight is None else {"pos_weight": t.from_numpy(pos_weight)}
            w = None if weight is None else t.from_numpy(weight)
            return getattr(t.nn.functional, name)(x, y, w, reduction=reduction, **given)

        return run

    logits = name.endswith("logits")
    for shape in ((3, 4), (2, 3, 4), (130, 3, 120)):
        x, y = (numbers if logits else shares)(*shape), shares(*shape, seed=5)
        for of_weight in ((shape[-1],), (shape[-2], 1), shape, (1,), ()):
            w = np.asarray(np.abs(numbers(*of_weight, seed=9)))
            compare(call(w), x, y, rtol=1e-5, atol=2e-6)
            compare(call(w.astype(np.float64)), x, y, rtol=1e-5, atol=2e-6)
            if logits:
                compare(call(None, w), x, y, rtol=1e-5, atol=2e-6)
                compare(call(w, w[..., ::-1].copy() if w.ndim else w), x, y, rtol=1e-5, atol=2e-6)


def test_gradients_of_gradients_with_weights():
    x, p, y = (
        lamina.from_numpy(make(3, 4, dtype=np.float64, seed=seed)) for make, seed in ((numbers, 0), (shares, 1), (shares, 5))
    )
    w, q = lamina.from_numpy(shares(4, dtype=np.float64)), lamina.from_numpy(counts(3, 1, dtype=np.float64))
    for reduction in REDUCTIONS:
        for call, a in (
            (lambda x, y, r=reduction: F.binary_cross_entropy(x, y, w, reduction=r), p),
            (lambda x, y, r=reduction: F.binary_cross_entropy_with_logits(x, y, w, reduction=r, pos_weight=q), x),
            (lambda x, y, r=reduction: F.multilabel_soft_margin_loss(x, y, w, reduction=r), x),
            (lambda x, y, r=reduction: F.huber_loss(x, y, reduction=r, weight=w.expand(3, 4)), x),
        ):
            inputs = a.clone().requires_grad_(), y.clone().requires_grad_()
            assert gradcheck(call, inputs) and gradgradcheck(call, inputs)


def test_ends_of_the_range():
    """Probabilities of 0 and 1, logits that overflow, NaN and inf."""
    x = np.array([0, 1, 0, 1, 0.5, 1e-30, 1 - 2.0**-24, 2.0**-24], np.float32)
    y = np.array([0, 1, 1, 0, 1, 0.3, 1, 0.0], np.float32)
    z = np.array([np.inf, -np.inf, np.nan, 1000, -1000, np.inf, 90, -90], np.float32)
    for reduction in REDUCTIONS:
        with np.errstate(all="ignore"):
            compare(function("bce", reduction=reduction), x, y)
            compare(function("bce logits", reduction=reduction), z, 1 - y)
            compare(function("kl_div", reduction=reduction), z, y)
            compare(function("kl_div log", reduction=reduction), z[::-1].copy(), z)
            compare(function("smooth_l1", reduction=reduction), z, y)
            compare(function("huber", reduction=reduction), z, y)
            compare(function("poisson full", reduction=reduction), z, y + 1)
            compare(function("multilabel_soft_margin", reduction=reduction), z[None], y[None])
            compared(function("soft_margin", reduction=reduction), z[2:3], Constant(y[2:3]))


def test_infinite_logits():
    """Of the wrong sign: the loss is infinite, where PyTorch says NaN for −inf."""
    loss = F.binary_cross_entropy_with_logits(lamina.tensor([-np.inf, np.inf]), lamina.tensor([1.0, 0.0]), reduction="none")
    assert loss.tolist() == [np.inf, np.inf]


def test_small_losses_keep_their_digits():
    """What a well-trained network's losses look like: 1 − x and e^(−x) are tiny."""
    torch = need_torch()
    x = np.linspace(5, 80, 200).astype(np.float32)
    exact = np.log1p(np.exp(-x.astype(np.float64)))
    one, zero = np.ones_like(x), np.zeros_like(x)
    for logits, target in ((x, one), (-x, zero)):
        ours = F.binary_cross_entropy_with_logits(lamina.from_numpy(logits), lamina.from_numpy(target), reduction="none")
        np.testing.assert_allclose(array(ours), exact, rtol=1e-6)
    p = np.logspace(-12, -2, 100).astype(np.float32)
    ours = F.binary_cross_entropy(lamina.from_numpy(p), lamina.from_numpy(np.zeros_like(p)), reduction="none")
    theirs = torch.nn.functional.binary_cross_entropy(torch.from_numpy(p), torch.zeros(100), reduction="none")
    assert_same(ours, theirs, rtol=1e-6, atol=0)


def test_large_margins_do_not_overflow():
    """PyTorch's soft margin loss is infinite below −88, its gradient NaN."""
    x = lamina.tensor([-100.0, -1000.0], requires_grad=True)
    loss = F.soft_margin_loss(x, lamina.ones(2), reduction="sum")
    loss.backward()
    assert loss.item() == 1100 and x.grad.tolist() == [-1, -1]


def test_gaussian():
    shapes = [((3, 4), v) for v in ((3, 4), (3,), (3, 1), (1, 4))] + [((5,), ()), ((2, 3, 4), (2, 3)), ((0, 2), (0, 2))]
    for (shape, of_var), reduction, full in itertools.product(shapes, REDUCTIONS, (False, True)):
        def call(t, x, y, v, r=reduction, f=full):
            return t.nn.functional.gaussian_nll_loss(x, y, v, full=f, reduction=r)

        for dtype in (np.float32, np.float64):
            x, y = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype, seed=4)
            compare(call, x, y, shares(*of_var, dtype=dtype), rtol=1e-5)
            compare(call, x, y, np.asarray(shares(*of_var, dtype=dtype) * 1e-7), rtol=1e-5)  # below eps
        compare(lambda t, x, y, c=call: c(t, x, y, 0.5), x, y)
    v = lamina.from_numpy(shares(3, 1, dtype=np.float64)).requires_grad_()
    x, y = (lamina.from_numpy(numbers(3, 4, dtype=np.float64, seed=s)).requires_grad_() for s in (1, 2))
    assert gradcheck(F.gaussian_nll_loss, (x, y, v)) and gradgradcheck(F.gaussian_nll_loss, (x, y, v))


def test_huber_weights():
    x, y, w = numbers(3, 4), numbers(3, 4, seed=4), shares(3, 4)
    for reduction in REDUCTIONS:
        compare(lambda t, x, y, w, r=reduction: t.nn.functional.huber_loss(x, y, reduction=r, weight=w), x, y, w)


def test_batchmean():
    for shape in ((3, 4), (5,), (), (0, 3)):
        with np.errstate(all="ignore"):
            compare(function("kl_div", reduction="batchmean"), numbers(*shape), shares(*shape))
    with pytest.warns(UserWarning, match="batchmean"):
        F.kl_div(lamina.zeros(2), lamina.ones(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.kl_div(lamina.zeros(2), lamina.ones(2), reduction="batchmean")


@pytest.mark.parametrize("case", CASES)
def test_mixed_dtypes(case):
    """The result's dtype is the wider one, or the first's, or the second's: each loss has its own way."""
    torch = need_torch()
    call = function(case)
    for a, b in itertools.product((np.float16, np.float32, np.float64, np.int64), repeat=2):
        x, y = (np.asarray(v) for v in arguments(case, 4, 3))
        x, y = x.astype(a), y.astype(b)
        results = []
        for t in (torch, lamina):
            try:
                results.append(array(call(t, t.from_numpy(x), t.from_numpy(y))))
            except Exception as error:
                results.append(type(error))
        theirs, ours = results
        if isinstance(theirs, type):
            assert ours == theirs, (a, b)
        else:
            assert ours.dtype == theirs.dtype, (a, b)
            np.testing.assert_allclose(ours, theirs, rtol=5e-3)


@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("huber")])
def test_deprecated_flags(case):
    for average, reduce in itertools.product((None, True, False), repeat=2):
        compared(function(case, size_average=average, reduce=reduce), *arguments(case, 3, 4))
    if case not in ("poisson", "poisson full", "poisson rates", "multilabel_soft_margin"):
        compared(function(case, reduction="elementwise_mean"), *arguments(case, 3, 4))
    name = CASES[case][0]
    x, y = (lamina.from_numpy(np.asarray(v)) for v in arguments(case, 3, 4))
    with pytest.warns(UserWarning, match="reduction='none'"):
        getattr(F, name)(x, y, reduce=False)


@pytest.mark.parametrize("case", CASES)
def test_node_names(case):
    torch = need_torch()
    if case in ("kl_div", "kl_div log", "smooth_l1 beta 0", "l1", "poisson", "poisson full", "poisson rates"):
        return  # one operation here, several there
    names = []
    for t in (lamina, torch):
        x, y = (t.from_numpy(np.asarray(v)) for v in arguments(case, 3, 4))
        names.append(function(case)(t, x.requires_grad_(), y).grad_fn.name())
    assert names[0] == names[1]


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, x, y: F.binary_cross_entropy(x, y[:2]),
        lambda F, t, x, y: F.binary_cross_entropy(x, y[0]),
        lambda F, t, x, y: F.binary_cross_entropy(x + 1, y),
        lambda F, t, x, y: F.binary_cross_entropy(x - 1, y),
        lambda F, t, x, y: F.binary_cross_entropy(x, y + 1),
        lambda F, t, x, y: F.binary_cross_entropy(x * float("nan"), y),
        lambda F, t, x, y: F.binary_cross_entropy(x, y.double()),
        lambda F, t, x, y: F.binary_cross_entropy(x, y, t.ones(3, 3)),
        lambda F, t, x, y: F.binary_cross_entropy(x, y, t.ones(2, 3, 4)),
        lambda F, t, x, y: F.binary_cross_entropy(x.requires_grad_(), y, t.ones(4, requires_grad=True)),
        lambda F, t, x, y: F.binary_cross_entropy(x, y, reduction="q"),
        lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y[0]),
        lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y, t.ones(3, 3)),
        lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=t.ones(2, 3, 4)),
        lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=t.ones(4, requires_grad=True)),
        lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y.long()),
        lambda F, t, x, y: F.binary_cross_entropy_with_logits(x, y, reduction="q"),
        lambda F, t, x, y: F.smooth_l1_loss(x, y, beta=-1),
        lambda F, t, x, y: F.smooth_l1_loss(x, y[:2]),
        lambda F, t, x, y: F.smooth_l1_loss(x, y, reduction="q"),
        lambda F, t, x, y: F.huber_loss(x, y, delta=0),
        lambda F, t, x, y: F.huber_loss(x, y, delta=-1),
        lambda F, t, x, y: F.huber_loss(x, y[:, :2]),
        lambda F, t, x, y: F.huber_loss(x, y, weight=t.ones(4)),
        lambda F, t, x, y: F.huber_loss(x, y, reduction="q"),
        lambda F, t, x, y: F.kl_div(x.long(), y),
        lambda F, t, x, y: F.kl_div(x, y.long()),
        lambda F, t, x, y: F.kl_div(x + 1j, y),
        lambda F, t, x, y: F.kl_div(x, y[:, :2]),
        lambda F, t, x, y: F.kl_div(x, 1.0),
        lambda F, t, x, y: F.kl_div(x, y, reduction="q"),
        lambda F, t, x, y: F.poisson_nll_loss(x, y, reduction="q"),
        lambda F, t, x, y: F.poisson_nll_loss(x, 1.0),
        lambda F, t, x, y: F.poisson_nll_loss(x, y[:, :2]),
        lambda F, t, x, y: F.gaussian_nll_loss(x, y, -1.0),
        lambda F, t, x, y: F.gaussian_nll_loss(x, y, -y),
        lambda F, t, x, y: F.gaussian_nll_loss(x, y, 1),
        lambda F, t, x, y: F.gaussian_nll_loss(x, y, t.ones(4)),
        lambda F, t, x, y: F.gaussian_nll_loss(x, y, t.ones(1, 1)),
        lambda F, t, x, y: F.gaussian_nll_loss(x, y, y, reduction="q"),
        lambda F, t, x, y: F.soft_margin_loss(x, y.requires_grad_()),
        lambda F, t, x, y: F.soft_margin_loss(x, y[:, :2]),
        lambda F, t, x, y: F.soft_margin_loss(x.long(), y),
        lambda F, t, x, y: F.soft_margin_loss(x, y, reduction="q"),
        lambda F, t, x, y: F.multilabel_soft_margin_loss(x[0, 0], y[0, 0]),
        lambda F, t, x, y: F.multilabel_soft_margin_loss(x, y, t.ones(3)),
        lambda F, t, x, y: F.multilabel_soft_margin_loss(x, y[:, :2]),
        lambda F, t, x, y: F.multilabel_soft_margin_loss(x.long(), y),
        lambda F, t, x, y: F.multilabel_soft_margin_loss(x, y, reduction="q"),
        lambda F, t, x, y: t.nn.HuberLoss(delta="1"),
        lambda F, t, x, y: t.nn.BCELoss(reduction="q")(x, y),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_the_same_errors(call):
    same_error(lambda t, x, y: call(t.nn.functional, t, x, y), shares(3, 4), shares(3, 4, seed=5))


def test_modules():
    torch = need_torch()
    x, y = shares(4, 5), shares(4, 5, seed=5)
    w = counts(5)
    for build in (
        lambda n, t: n.SmoothL1Loss(beta=0.5),
        lambda n, t: n.SmoothL1Loss(None, None, "sum", 2.0),
        lambda n, t: n.HuberLoss("none", 0.1),
        lambda n, t: n.KLDivLoss(reduction="batchmean", log_target=True),
        lambda n, t: n.KLDivLoss(),
        lambda n, t: n.PoissonNLLLoss(False, True, eps=1e-2),
        lambda n, t: n.BCELoss(t.from_numpy(w), reduction="sum"),
        lambda n, t: n.BCELoss(),
        lambda n, t: n.BCEWithLogitsLoss(t.from_numpy(w), pos_weight=t.from_numpy(w[::-1].copy())),
        lambda n, t: n.BCEWithLogitsLoss(size_average=False),
        lambda n, t: n.SoftMarginLoss(reduction="none"),
        lambda n, t: n.MultiLabelSoftMarginLoss(t.from_numpy(w)),
        lambda n, t: n.MultiLabelSoftMarginLoss(reduce=False),
    ):
        build = quietly(build)
        ours, theirs = build(nn, lamina), build(torch.nn, torch)
        assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
        assert_same(quietly(ours)(*map(lamina.from_numpy, (x, y))), quietly(theirs)(*map(torch.from_numpy, (x, y))))
    ours, theirs = (t.nn.GaussianNLLLoss(full=True)(*map(t.from_numpy, (x, y, y))) for t in (lamina, torch))
    assert_same(ours, theirs)
    with pytest.warns(FutureWarning, match="NLLLoss2d"):
        assert isinstance(nn.NLLLoss2d(), nn.NLLLoss)


def test_a_target_written_in_place_is_noticed():
    x, y = lamina.ones(3, requires_grad=True), lamina.zeros(3)
    loss = F.huber_loss(x, y)
    y[0] = 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# -- both engines --------------------------------------------------------------------------------------------------

PAIRS: dict[str, tuple] = {  # the settings of each kernel
    "binary_cross_entropy_logits": (None, None), "soft_margin": (), "absolute_error": (), "huber": (0.8,), "smooth_l1": (1.3,),
    "poisson": (True, False, 1e-8),
}  # fmt: skip
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, 1e30, -1e30, 88.5, -104.0, 1e-38)


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_both_engines_agree(name, data):
    kernels = engines.kernels
    forward, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    if engines.get_engine() == "reference":
        pytest.skip("the run is forced to the reference engine")
    shape = tuple(data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=3)))
    if data.draw(st.booleans()):  # several rounds of joining, and rows of sums
        shape = (data.draw(st.integers(60, 80)), data.draw(st.integers(300, 310)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x, y = ((4 * rng.standard_normal(shape)).astype("float32") for _ in range(2))
    y = np.asarray(np.sign(y) if name == "soft_margin" or data.draw(st.booleans()) else rng.random(shape), "float32")
    if x.size and data.draw(st.booleans()):
        x.reshape(-1)[data.draw(st.integers(0, x.size - 1))] = data.draw(st.sampled_from(SPECIAL))
    x, y = (np.asfortranarray(a) if data.draw(st.booleans()) else a for a in (x, y))
    if data.draw(st.booleans()):
        x, y = x[..., ::2], y[..., ::2]
    factors = PAIRS[name]
    reduction = data.draw(st.sampled_from(REDUCTIONS))
    grad = np.asarray(rng.standard_normal(x.shape if reduction == "none" else ()), "float32")
    scale = 1.0 if reduction != "mean" else 1 / max(x.size, 1)
    results = []
    for engine in ("reference", "onednn"):
        with engines.engine(engine):
            results.append((forward(x, y, *factors, reduction), backward(x, y, grad, *factors, scale)))
    for a, b in zip(*results, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["binary_cross_entropy_logits", "soft_margin"])
def test_sums_of_tiny_losses_keep_their_digits(name):
    """Where nearly all is right, every loss is far below 1, and so is what is left of 1 + e^−|x|."""
    x = np.full((3, 5000), 30, "float32")
    total = getattr(engines.kernels, name)(x, np.ones_like(x), *PAIRS[name], "sum")
    np.testing.assert_allclose(total, x.size * np.exp(-30.0), rtol=1e-5)


@pytest.mark.parametrize("name", ["binary_cross_entropy_logits", "soft_margin"])
def test_large_arrays_run_fast(name):
    with engines.engine("auto"), engines.usage() as used:
        x = lamina.from_numpy(numbers(40, 500)).requires_grad_()
        function = F.soft_margin_loss if name == "soft_margin" else F.binary_cross_entropy_with_logits
        function(x, lamina.ones(40, 500)).backward()
    if engines.get_engine() != "reference":
        assert used[name][0] == 1 and used[f"{name}_backward"][0] == 1
