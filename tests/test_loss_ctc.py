"""CTC: losses and gradients against PyTorch's, and against a sum over all alignments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from support import array, assert_same, compare, need_torch, same_error

import lamina
from lamina import nn
from lamina.autograd import gradcheck
from lamina.nn import functional as F

REDUCTIONS = ("none", "mean", "sum")


def log_probs(t, n, c, dtype=np.float64, seed=0):
    x = 2 * np.random.default_rng(seed).standard_normal((t, n, c))
    return (x - np.log(np.exp(x).sum(2, keepdims=True))).astype(dtype)


def sample(t=12, n=4, c=5, s=4, blank=0, seed=1):
    """Targets without blanks, and lengths of which some are 0 and some the longest."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, c - 1, (n, s))
    targets[targets >= blank] += 1
    lengths = rng.integers(0, s + 1, n)
    lengths[:2] = s, 0
    inputs = rng.integers(2 * s + 1, t + 1, n)
    inputs[-1] = t
    return targets, inputs, lengths


def function(targets, inputs, lengths, **settings):
    def call(t, x):
        return t.nn.functional.ctc_loss(x, *(t.from_numpy(np.array(a)) for a in (targets, inputs, lengths)), **settings)

    return call


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("blank", [0, 2, 4])
def test_losses_and_gradients(blank, reduction):
    sizes = (12, 4, 5, 4), (50, 8, 5, 20), (9, 3, 5, 1), (1, 2, 5, 0), (5, 2, 5, 2)
    for seed, (t, n, c, s) in itertools.product((1, 2), sizes):
        targets, inputs, lengths = sample(t, n, c, s, blank, seed)
        inputs = np.minimum(inputs, t)
        for dtype in (np.float32, np.float64):
            settings = {"blank": blank, "reduction": reduction}
            # logarithms of 100 are rounded to 1e-5 in single precision, and so are the gradients
            close = {"rtol": 2e-5, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-9}
            compare(function(targets, inputs, lengths, **settings), log_probs(t, n, c, dtype), **close)
            flat = np.concatenate([row[:k] for row, k in zip(targets, lengths, strict=True)])
            compare(function(flat, inputs, lengths, **settings), log_probs(t, n, c, dtype), **close)


def test_repeated_labels_and_impossible_targets():
    """A repeated label needs a blank between; where the input is too short, the loss is infinite."""
    targets = np.array([[1, 1, 1, 2], [2, 2, 1, 1], [1, 2, 3, 1], [3, 3, 3, 3]])
    lengths = np.array([4, 4, 4, 4])
    for inputs, reduction in itertools.product(([7, 6, 4, 7], [6, 5, 3, 6], [0, 1, 2, 3]), REDUCTIONS):
        for zero in (False, True):
            call = function(targets, inputs, lengths, reduction=reduction, zero_infinity=zero)
            compare(call, log_probs(7, 4, 4), grad=zero)
    targets, inputs, lengths = targets[:1], np.array([5]), lengths[:1]
    x = lamina.from_numpy(log_probs(7, 1, 4)).requires_grad_()
    function(targets, inputs, lengths)(lamina, x).backward()
    assert x.grad[:5].isnan().all() and not x.grad[5:].any()


def alignments(x, target, blank):
    """The probability of a target as the sum over all strings of classes that collapse to it."""
    total = 0.0
    for string in itertools.product(range(x.shape[1]), repeat=x.shape[0]):
        collapsed = [c for i, c in enumerate(string) if c != blank and (i == 0 or string[i - 1] != c)]
        if collapsed == list(target):
            total += np.exp(sum(x[t, c] for t, c in enumerate(string)))
    return total


@pytest.mark.parametrize("target", [[], [1], [1, 1], [1, 2], [2, 1, 2]], ids=str)
def test_all_alignments(target):
    x = log_probs(5, 1, 3, seed=4)
    expected = -np.log(alignments(x[:, 0], target, 0))
    loss = F.ctc_loss(lamina.from_numpy(x), lamina.tensor([target], dtype=lamina.int64), [5], [len(target)], reduction="sum")
    assert abs(loss.item() - expected) < 1e-9


def test_the_gradient_is_that_of_a_softmax_before_it():
    targets, inputs, lengths = sample(9, 3, 4, 3)
    x = lamina.from_numpy(np.random.default_rng(0).standard_normal((9, 3, 4))).requires_grad_()
    for reduction in REDUCTIONS:
        call = function(targets, inputs, lengths, reduction=reduction)
        assert gradcheck(lambda x, c=call: c(lamina, F.log_softmax(x, 2)), (x,))


def test_forms_of_arguments():
    torch = need_torch()
    x = log_probs(6, 1, 4, np.float32)
    target = np.array([1, 2, 2])
    for reduction in REDUCTIONS:
        for make in (
            lambda t: (t.tensor(6), t.tensor(3)),
            lambda t: ((6,), (3,)),
            lambda t: (t.tensor([6]), t.tensor([3])),
            lambda t: ([6], [3]),
        ):
            compare(
                lambda t, x, m=make, r=reduction: t.nn.functional.ctc_loss(x, t.from_numpy(target), *m(t), reduction=r),
                x[:, 0], rtol=1e-5,
            )  # fmt: skip
            compare(
                lambda t, x, m=make, r=reduction: t.nn.functional.ctc_loss(x, t.from_numpy(target), *m(t), reduction=r),
                x, rtol=1e-5,
            )  # fmt: skip
    targets, inputs, lengths = sample()
    results = []
    for t in (lamina, torch):
        a = t.from_numpy(log_probs(12, 4, 5, np.float32))
        y, i, k = (t.from_numpy(np.array(v)) for v in (targets, inputs, lengths))
        results.append(
            [
                t.nn.functional.ctc_loss(a, y.int(), i, k),
                t.nn.functional.ctc_loss(a, y, i.int(), k.int()),
                t.nn.functional.ctc_loss(a, y.float(), i, k),
                t.nn.functional.ctc_loss(a, y, i[None], k),
                t.nn.functional.ctc_loss(a, y, inputs.tolist(), tuple(lengths.tolist())),
            ]
        )
    assert_same(*results, rtol=1e-5)


def test_layouts():
    targets, inputs, lengths = sample()
    x = np.ascontiguousarray(log_probs(12, 4, 5).transpose(1, 0, 2)).transpose(1, 0, 2)
    compare(function(targets, inputs, lengths), x)
    compare(function(targets.T.copy().T, inputs, lengths), np.asfortranarray(x))
    wide = np.zeros((12, 4, 10))
    wide[..., ::2] = x
    compare(function(targets, inputs, lengths), wide[..., ::2])


def test_improbable_and_wrong_numbers():
    """Probabilities of 0, logits of a thousand, NaN and inf in one sample only touch that sample."""
    targets, inputs, lengths = np.array([[1, 2], [1, 2]]), [6, 6], [2, 2]
    for value, many in itertools.product((np.nan, -np.inf, np.inf), (2, 60)):  # few states, and many
        x = log_probs(6, many, 3)
        x[2, 0, :] = value
        with np.errstate(all="ignore"):
            call = function(np.array([[1, 2]] * many), [6] * many, [2] * many, reduction="none")
            compare(call, x, grad=False)
    far = log_probs(6, 2, 3) * 300
    compare(function(targets, inputs, lengths, reduction="none"), far)
    x = log_probs(6, 2, 3)
    x[3, 0, 1] = -np.inf  # one way less; PyTorch's gradient is NaN there
    a = lamina.from_numpy(x).requires_grad_()
    function(targets, inputs, lengths)(lamina, a).backward()
    assert a.grad.isfinite().all() and a.grad[3, 0, 1] == 0


def test_no_second_derivative():
    targets, inputs, lengths = sample()
    x = lamina.from_numpy(log_probs(12, 4, 5)).requires_grad_()
    (g,) = lamina.autograd.grad(function(targets, inputs, lengths)(lamina, x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        g.sum().backward()


@pytest.mark.parametrize(
    "call",
    [
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i, k, blank=5),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i, k, blank=-1),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i + 12, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i - 20, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i, k + 4),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i, k - 5),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y[0, :3], i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y[:2], i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y[None], i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i[:2], k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i, k[:2]),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i.float(), k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, 12, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x[:, 0], y[0], 12, 4),
        lambda F, t, x, y, i, k: F.ctc_loss(x.half(), y, i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x.long(), y, i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x[None], y, i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x[0, 0], y, i, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x[:, :0], y[:0], i[:0], k[:0]),
        lambda F, t, x, y, i, k: F.ctc_loss(x[:0], y, i * 0, k),
        lambda F, t, x, y, i, k: F.ctc_loss(x, y, i, k, reduction="q"),
    ],
)
def test_the_same_errors(call):
    same_error(lambda t, x, *a: call(t.nn.functional, t, x, *a), log_probs(12, 4, 5, np.float32), *sample())


def test_labels_that_are_no_classes():
    """PyTorch reads whatever lies there in memory."""
    x = lamina.from_numpy(log_probs(6, 1, 3))
    for label in (3, -1):
        with pytest.raises(RuntimeError, match=r"targets must be in \[0, 2\]"):
            F.ctc_loss(x, lamina.tensor([[1, label]]), [6], [2])
    F.ctc_loss(x, lamina.tensor([[1, 99]]), [6], [1])  # padding may be anything


def test_layer():
    torch = need_torch()
    targets, inputs, lengths = sample(blank=1)
    for build in (lambda n: n.CTCLoss(1), lambda n: n.CTCLoss(1, "sum", True), lambda n: n.CTCLoss(blank=1, reduction="none")):
        ours, theirs = build(nn), build(torch.nn)
        assert repr(ours) == repr(theirs) and ours.__constants__ == theirs.__constants__
        a, b = (
            m(t.from_numpy(log_probs(12, 4, 5)), *(t.from_numpy(np.array(v)) for v in (targets, inputs, lengths)))
            for m, t in ((ours, lamina), (theirs, torch))
        )
        np.testing.assert_allclose(array(a), array(b), rtol=1e-10)


@pytest.mark.parametrize("sharp", [1, 8, 30, 200])
def test_sharp_and_flat_probabilities(sharp):
    """As probabilities or, where those go under, as logarithms: long sequences, labels that are next to impossible."""
    rng = np.random.default_rng(sharp)
    x = sharp * rng.standard_normal((150, 3, 6))
    x -= x.max(2, keepdims=True)
    x -= np.log(np.exp(x).sum(2, keepdims=True))
    targets = rng.integers(1, 6, (3, 40))
    targets[:, 1::7] = targets[:, ::7][:, : targets[:, 1::7].shape[1]]
    for inputs, lengths in (([150, 149, 97], [40, 0, 33]), ([90, 60, 0], [40, 40, 0])):
        for reduction in ("sum", "none"):
            settings = {"reduction": reduction, "zero_infinity": True}
            compare(function(targets, np.array(inputs), np.array(lengths), **settings), x, rtol=1e-8, atol=1e-10)
