"""Distributions against PyTorch: densities, moments, samples from one seed, gradients, divergences, errors."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
import lamina.distributions  # noqa: F401

A = np.array([[0.5, 1.5, 2.5], [0.2, 0.7, 3.0]], np.float64)
B = np.array([0.4, 1.1, 2.0], np.float64)
P = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], np.float64)
X = np.array([[0.3, 0.9, 1.2], [0.1, 0.6, 2.2]], np.float64)
K = np.array([1, 2])
TWO = ("Normal", "Laplace", "Cauchy", "LogNormal")


def D(t):
    need_torch()
    return importlib.import_module(f"{t.__name__}.distributions")


CASES = {n: (lambda d, a, b, n=n: getattr(d, n)(a, b)) for n in TWO} | {
    "Uniform": lambda d, a, b: d.Uniform(-a, b + 3),
    "Exponential": lambda d, a, b: d.Exponential(a * b),
    "HalfNormal": lambda d, a, b: d.HalfNormal(a * b),
    "HalfCauchy": lambda d, a, b: d.HalfCauchy(a * b),
    "Transformed": lambda d, a, b: d.TransformedDistribution(
        d.Normal(a, b), [d.AffineTransform(0.5, 2.0), d.ExpTransform(), d.PowerTransform(0.5)]
    ),
    "Tanh": lambda d, a, b: d.TransformedDistribution(d.Normal(a, b), [d.SigmoidTransform()]),
}
BOUNDED = ("Tanh",)


@pytest.mark.parametrize("name", CASES)
def test_continuous(name):
    x = X / 4 if name in BOUNDED else X

    def values(t, a, b, x):
        d = CASES[name](D(t), a, b)
        results = [d.log_prob(x), d.cdf(x), d.icdf(x / 4)]
        for method in ("entropy",):
            if name not in ("Transformed", "Tanh"):
                results.append(getattr(d, method)())
        if name not in ("Transformed", "Tanh"):
            results += [d.mean, d.variance, d.stddev]
        return results

    compare(values, A, B, x, rtol=1e-6, atol=1e-7)

    def samples(t, a, b):
        t.manual_seed(3)
        d = CASES[name](D(t), a, b)
        assert (tuple(d.batch_shape), tuple(d.event_shape)) == ((2, 3), ())
        wide = d.expand((4, 2, 3))
        assert tuple(wide.batch_shape) == (4, 2, 3) and not d.sample().requires_grad
        return d.rsample((5,)), wide.rsample()

    compare(samples, A, B, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by", ["probs", "logits"])
def test_discrete(by):
    def run(t, p, k):
        d = D(t)
        given = p if by == "probs" else p.log()
        c = d.Categorical(**{by: given})
        b = d.Bernoulli(**{by: given})
        t.manual_seed(1)
        return [
            c.log_prob(k), c.entropy(), c.mode, c.sample((6,)), c.expand((4, 2)).sample(), b.sample((4,)),
            b.log_prob((p > 0.4).double()),
            b.entropy(), b.mean, b.variance, c.probs, c.logits,
        ]  # fmt: skip

    compare(run, P, K, rtol=1e-6)


def test_divergences_and_independent():
    def run(t, a, b, p):
        d = D(t)
        pairs = [
            (d.Normal(a, b), d.Normal(b, a)), (d.Laplace(a, b), d.Laplace(b, a)), (d.Exponential(a), d.Exponential(b)),
            (d.Bernoulli(p), d.Bernoulli(p.flip(0))), (d.Categorical(p), d.Categorical(p.flip(0))),
        ]  # fmt: skip
        wide = d.Independent(d.Normal(a, b), 1)
        return [
            *[d.kl_divergence(x, y) for x, y in pairs], d.kl_divergence(wide, d.Independent(d.Normal(b, a), 1)), wide.log_prob(a),
            wide.entropy(),
        ]  # fmt: skip

    compare(run, A, B, P, rtol=1e-6)
    with pytest.raises(NotImplementedError, match="No KL"):
        lamina.distributions.kl_divergence(lamina.distributions.Normal(0.0, 1.0), lamina.distributions.Exponential(1.0))


def test_numbers_and_repr():
    ours, theirs = (D(t).Normal(0.0, 1.0) for t in (lamina, need_torch()))
    assert repr(ours) == repr(theirs) and tuple(ours.batch_shape) == ()
    assert_same(ours.log_prob(lamina.tensor(0.3)), theirs.log_prob(need_torch().tensor(0.3)))


ERRORS = {
    "scale": lambda d, t: d.Normal(0.0, -1.0),
    "nan": lambda d, t: d.Normal(float("nan"), 1.0),
    "half": lambda d, t: d.HalfNormal(-1.0),
    "uniform": lambda d, t: d.Uniform(1.0, 0.0),
    "support": lambda d, t: d.Exponential(1.0).log_prob(t.tensor(-1.0)),
    "no tensor": lambda d, t: d.Normal(0.0, 1.0).log_prob(1.0),
    "shape": lambda d, t: d.Normal(t.zeros(3), 1.0).log_prob(t.zeros(2)),
    "both": lambda d, t: d.Bernoulli(0.5, logits=0.0),
    "neither": lambda d, t: d.Categorical(),
    "scalar": lambda d, t: d.Categorical(t.tensor(0.5)),
    "outcome": lambda d, t: d.Categorical(t.ones(3)).log_prob(t.tensor(3)),
    "text": lambda d, t: d.Normal("a", 1.0),
    "transform": lambda d, t: d.TransformedDistribution(d.Normal(0.0, 1.0), [3]),
    "independent": lambda d, t: d.Independent(d.Normal(0.0, 1.0), 1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(lambda t: ERRORS[name](D(t), t))


def test_checks_can_be_left_out():
    lamina.distributions.Normal(0.0, -1.0, validate_args=False).log_prob(0.5)
