"""Cross entropy, NLL, MSE and L1: every argument, forward, backward and twice backward, against PyTorch's."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from support import array, assert_same, compare, need_torch

import lamina
from lamina import engine as engines
from lamina import nn
from lamina.autograd import gradcheck, gradgradcheck
from lamina.nn import functional as F

REDUCTIONS = ("none", "mean", "sum")
SHAPES = {"(N, C)": (6, 5), "(C)": (5,), "(N, C, d)": (3, 5, 4), "(N, C, d, d)": (2, 5, 3, 4), "5d": (2, 3, 2, 1, 2)}


@pytest.fixture
def torch():
    return need_torch()


def logits(shape, dtype=np.float32, seed=0):
    return (3 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def classes(shape, seed=1, ignore=None):
    """Class indices for logits of `shape`, about a third of them replaced by `ignore`."""
    rng = np.random.default_rng(seed)
    c = shape[1] if len(shape) > 1 else shape[0]
    target = rng.integers(0, c, (shape[0], *shape[2:]) if len(shape) > 1 else ())
    if ignore is not None:
        target = np.where(rng.random(target.shape) < 0.4, ignore, target)
    return np.asarray(target)


def weights(shape, dtype=np.float32):
    c = shape[1] if len(shape) > 1 else shape[0]
    return np.linspace(0.5, 2.0, c).astype(dtype)


def loss(name, **settings):
    """The functional of either library, with settings that hold arrays."""

    def call(t, *tensors):
        given = {k: t.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
        return getattr(t.nn.functional, name)(*tensors, **given)

    return call


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_class_indices(name, weighted, reduction, shape):
    for dtype, ignore in itertools.product((np.float32, np.float64), (-100, 2)):
        settings = {"reduction": reduction, "ignore_index": ignore}
        if weighted:
            settings["weight"] = weights(shape, dtype)
        for target in (classes(shape), classes(shape, ignore=ignore)):
            compare(loss(name, **settings), logits(shape, dtype), target, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing(smoothing, reduction, shape):
    for weighted, ignore in itertools.product((False, True), (None, -100, 1)):
        settings = {"reduction": reduction, "label_smoothing": smoothing}
        if ignore is not None:
            settings["ignore_index"] = ignore
        if weighted:
            settings["weight"] = weights(shape)
        compare(loss("cross_entropy", **settings), logits(shape), classes(shape, ignore=ignore), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_probabilities_as_targets(smoothing, reduction, shape):
    target = np.abs(logits(shape, seed=2))
    for weighted in (False, True):
        settings = {"reduction": reduction, "label_smoothing": smoothing}
        if weighted:
            settings["weight"] = weights(shape)
        compare(loss("cross_entropy", **settings), logits(shape), target, rtol=1e-5)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_values_as_targets(name, reduction):
    for shape in ((), (4,), (3, 4), (0,), (2, 0, 3)):
        for dtype in (np.float32, np.float64):
            x, y = logits(shape, dtype), logits(shape, dtype, seed=3)
            compare(loss(name, reduction=reduction), np.asarray(x), np.asarray(y))
    x, y, w = logits((3, 4)), logits((3, 4), seed=3), np.abs(logits((3, 4), seed=4))
    compare(loss(name, reduction=reduction, weight=w), x, y)
    compare(loss(name, reduction=reduction), x.T, y[::-1].T)  # other strides
    compare(loss(name, reduction=reduction), x, y.astype(np.float64))


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
def test_targets_are_broadcast_with_a_warning(name):
    for shapes in (((3, 4), (4,)), ((3, 1), (1, 4)), ((), (3,))):
        x, y = (np.asarray(logits(s, seed=i)) for i, s in enumerate(shapes))
        compare(loss(name), x, y)
        with pytest.warns(UserWarning, match="target size"):
            getattr(F, name)(lamina.from_numpy(x), lamina.from_numpy(y))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss", "mse_loss", "l1_loss"])
@pytest.mark.filterwarnings("ignore:size_average and reduce")
def test_deprecated_flags(name):
    x = logits((4, 3))
    target = classes((4, 3)) if name in ("cross_entropy", "nll_loss") else logits((4, 3), seed=5)
    for average, reduce in itertools.product((None, True, False), repeat=2):
        compare(loss(name, size_average=average, reduce=reduce), x, target)
    with pytest.warns(UserWarning, match="reduction='sum'"):
        nn.MSELoss(size_average=False)


@pytest.mark.parametrize(
    ("shape", "target"),
    [((0, 3), (0,)), ((0, 3, 4), (0, 4)), ((2, 3, 0), (2, 0)), ((0, 3), (0, 3))],
    ids=str,
)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_empty_batches(shape, target, reduction):
    x = logits(shape)
    y = np.zeros(target, np.float32 if target == shape else np.int64)
    compare(loss("cross_entropy", reduction=reduction), x, y)
    if target != shape:
        compare(loss("nll_loss", reduction=reduction), x, y)


def test_one_element_target_for_one_sample():
    for reduction in REDUCTIONS:
        for name in ("cross_entropy", "nll_loss"):
            compare(loss(name, reduction=reduction), logits((3,)), np.array([1]), grad=False)  # PyTorch's backward fails
            x = lamina.from_numpy(logits((3,))).requires_grad_()
            getattr(F, name)(x, lamina.tensor([1]), reduction=reduction).backward()
            y = lamina.from_numpy(logits((3,))).requires_grad_()
            getattr(F, name)(y, lamina.tensor(1), reduction=reduction).backward()
            assert x.grad.tolist() == y.grad.tolist()


def test_negative_smoothing_is_an_error():
    with pytest.raises(RuntimeError, match="label_smoothing"):  # PyTorch takes it for 0
        F.cross_entropy(lamina.ones(2, 3), lamina.tensor([0, 1]), label_smoothing=-0.1)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_targets_ignored(reduction, smoothing):
    compare(loss("cross_entropy", reduction=reduction, label_smoothing=smoothing), logits((3, 4)), np.full(3, -100))
    compare(loss("nll_loss", reduction=reduction), logits((3, 4)), np.full(3, -100))


def test_nan_inf_and_large_values():
    x = logits((5, 4))
    x[0, 1], x[1, 2], x[2, 0] = np.nan, np.inf, -np.inf
    x[3] *= 1e4
    y = classes((5, 4))
    for reduction in REDUCTIONS:
        with np.errstate(all="ignore"):
            compare(loss("cross_entropy", reduction=reduction), x, y)
            compare(loss("nll_loss", reduction=reduction), x, y)
            compare(loss("mse_loss", reduction=reduction), x, logits((5, 4), seed=9))
            compare(loss("l1_loss", reduction=reduction), x, logits((5, 4), seed=9))


def test_layouts_and_kinds_of_targets():
    shape = (2, 5, 3, 4)
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)):
        back = np.argsort(order)
        x = np.ascontiguousarray(logits(shape).transpose(order)).transpose(back)
        compare(loss("cross_entropy"), x, classes(shape))
        compare(loss("cross_entropy", label_smoothing=0.1), x, classes(shape).transpose(0, 2, 1).copy().transpose(0, 2, 1))
    compare(loss("cross_entropy"), logits((4, 6))[:, ::2], classes((4, 3)).astype(np.uint8))
    compare(loss("cross_entropy"), logits((8, 3))[::-2], classes((8, 3))[::-2])


@pytest.mark.parametrize("shape", [(3000, 10), (40, 700), (6, 21, 30, 20), (2, 3000)], ids=str)
def test_both_engines_agree_on_large_arrays(shape):
    """A hundred times float32's step: softmax and log are rounded differently."""
    for weighted, ignore, reduction in itertools.product((False, True), (-100, 1), REDUCTIONS):
        x, y = logits(shape), classes(shape, ignore=ignore)
        x.reshape(-1)[:: x.size // 7] *= 200  # probabilities that vanish
        if len(shape) == 4:
            x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
        w = lamina.from_numpy(weights(shape)) if weighted else None
        results = []
        for name in ("reference", "onednn"):
            with engines.engine(name):
                a = lamina.from_numpy(x.copy(order="K")).requires_grad_()
                value = F.cross_entropy(a, lamina.from_numpy(y), w, ignore_index=ignore, reduction=reduction)
                value.sum().backward()
                results.append((array(value), array(a.grad)))
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6)


def test_large_squared_errors():
    """Sums go over blocks; every layout takes its way."""
    x, y = logits((70, 1100)), logits((70, 1100), seed=7)
    for reduction in REDUCTIONS:
        for a, b in ((x, y), (x, y.astype(np.float64)), (x.T, y.T), (x[:, ::2], y[:, 1::2]), (x, y[:1])):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                compare(loss("mse_loss", reduction=reduction), a, b, rtol=1e-5)


def test_half_precision(torch):
    x, y = logits((64, 10), np.float16), classes((64, 10))
    for reduction in REDUCTIONS:
        compare(loss("cross_entropy", reduction=reduction), x, y, rtol=5e-3, atol=2e-3)
        compare(loss("mse_loss", reduction=reduction), x, x[::-1].copy(), rtol=2e-3, atol=1e-3)


def test_integers(torch):
    a, b = np.array([1, 5, -3]), np.array([2, 2, 2])
    for name, reduction in itertools.product(("mse_loss", "l1_loss"), REDUCTIONS):
        results = []
        for t in (lamina, torch):
            try:
                function = getattr(t.nn.functional, name)
                results.append(array(function(t.from_numpy(a), t.from_numpy(b), reduction=reduction)).tolist())
            except Exception as error:
                results.append(type(error).__name__)
        assert results[0] == results[1], (name, reduction)
    compare(loss("mse_loss"), logits((3,)), b)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda t, F, x, y: F.cross_entropy(x, y[:2]), ValueError),
        (lambda t, F, x, y: F.cross_entropy(x, y + 5), IndexError),
        (lambda t, F, x, y: F.cross_entropy(x, y - 3), IndexError),
        (lambda t, F, x, y: F.cross_entropy(x, y - 3, ignore_index=-2), IndexError),
        (lambda t, F, x, y: F.cross_entropy(x, y.to(t.int32)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, y.to(t.float32)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, y, weight=t.ones(4)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, y, weight=t.ones(5, dtype=t.float64)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, y, label_smoothing=1.5), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, x, ignore_index=1), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, x.long()), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, x, weight=t.ones(4)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(x, y, reduction="average"), ValueError),
        (lambda t, F, x, y: F.cross_entropy(x.long(), y), NotImplementedError),
        (lambda t, F, x, y: F.cross_entropy(t.ones(2, 3, 4), t.zeros(2, 5, dtype=t.int64)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(t.ones(2, 3, 4, 5), t.zeros(2, 5, 4, dtype=t.int64)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(t.ones(2, 3, 4, 5), t.zeros(2, 4, dtype=t.int64)), RuntimeError),
        (lambda t, F, x, y: F.cross_entropy(t.ones(2, 0), t.zeros(2, dtype=t.int64)), IndexError),
        (lambda t, F, x, y: F.cross_entropy(3, y), TypeError),
        (lambda t, F, x, y: F.nll_loss(x, y[:2]), ValueError),
        (lambda t, F, x, y: F.nll_loss(x, y + 5), IndexError),
        (lambda t, F, x, y: F.nll_loss(x, y.to(t.int32)), RuntimeError),
        (lambda t, F, x, y: F.nll_loss(x.long(), y), NotImplementedError),
        (lambda t, F, x, y: F.nll_loss(x, y, weight=t.ones(4)), RuntimeError),
        (lambda t, F, x, y: F.mse_loss(x, x, reduction="q"), ValueError),
        (lambda t, F, x, y: F.mse_loss(x, x, weight=t.ones(5)), ValueError),
        (lambda t, F, x, y: F.mse_loss(x, t.ones(4, 5)), RuntimeError),
        (lambda t, F, x, y: F.l1_loss(x, t.ones(4, 5)), RuntimeError),
        (lambda t, F, x, y: F.l1_loss(x, x, reduction="q"), ValueError),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_the_same_errors(call, error, torch):
    for t in (lamina, torch):
        x, y = t.ones(3, 5), t.arange(3)
        with pytest.raises(error):
            call(t, t.nn.functional, x, y)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_gradients(reduction):
    def variable(shape, seed=0):
        return lamina.from_numpy(logits(shape, np.float64, seed)).requires_grad_()

    for shape in ((3, 4), (2, 3, 2)):
        w = lamina.from_numpy(weights(shape, np.float64))
        weighted, smooth = {"weight": w, "ignore_index": 1}, {"label_smoothing": 0.2}
        for settings in ({}, weighted, smooth, {**weighted, **smooth}):
            y = lamina.from_numpy(classes(shape))
            function = lambda x, y=y, s=settings: F.cross_entropy(x, y, reduction=reduction, **s)  # noqa: E731
            assert gradcheck(function, (variable(shape),))
            assert gradgradcheck(function, (variable(shape),))
        nll = lambda x, y=y, w=w: F.nll_loss(x, y, weight=w, reduction=reduction)  # noqa: E731
        assert gradcheck(nll, (variable(shape),)) and gradgradcheck(nll, (variable(shape),))
        soft = lambda x, q, w=w: F.cross_entropy(x, q, w, reduction=reduction, label_smoothing=0.1)  # noqa: E731
        assert gradcheck(soft, (variable(shape), variable(shape, 1)))
        assert gradgradcheck(soft, (variable(shape), variable(shape, 1)))
        for function in (F.mse_loss, F.l1_loss):
            pair = lambda x, y, f=function: f(x, y, reduction=reduction)  # noqa: E731
            assert gradcheck(pair, (variable(shape), variable(shape, 1)))
            assert gradgradcheck(pair, (variable(shape), variable(shape, 1)))


def test_a_target_written_in_place_is_noticed():
    x = lamina.ones(2, 3, requires_grad=True)
    y = lamina.tensor([0, 1])
    value = F.cross_entropy(x, y)
    y[0] = 2
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


def test_modules(torch):
    x, y = logits((4, 5)), classes((4, 5), ignore=2)
    w = weights((4, 5))
    for build in (
        lambda t: t.nn.CrossEntropyLoss(),
        lambda t: t.nn.CrossEntropyLoss(t.from_numpy(w), ignore_index=2, reduction="sum", label_smoothing=0.1),
        lambda t: t.nn.NLLLoss(t.from_numpy(w), ignore_index=2, reduction="none"),
        lambda t: t.nn.MSELoss(reduction="sum"),
        lambda t: t.nn.L1Loss(),
    ):
        ours, theirs = build(lamina), build(torch)
        assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
        target = y if isinstance(ours, (nn.CrossEntropyLoss, nn.NLLLoss)) else x[::-1].copy()
        assert_same(ours(*map(lamina.from_numpy, (x, target))), theirs(*map(torch.from_numpy, (x, target))))


def test_no_warning_in_the_usual_case():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.CrossEntropyLoss()(lamina.ones(2, 3), lamina.tensor([0, 1]))
        nn.MSELoss()(lamina.ones(2, 3), lamina.ones(2, 3))
