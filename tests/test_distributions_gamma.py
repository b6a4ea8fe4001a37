"""Distributions of the gamma family, counts and vectors: densities, moments, gradients and divergences against PyTorch,
samples against the distributions' own moments and cumulative functions."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
import lamina.distributions as ours

A = np.array([[0.5, 1.5, 2.5], [0.2, 0.7, 3.0]], np.float64)
B = np.array([0.4, 1.1, 2.0], np.float64)
P = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], np.float64)
X = np.array([[0.3, 0.9, 1.2], [0.1, 0.6, 2.2]], np.float64)
COUNTS = np.array([[0.0, 1.0, 3.0], [2.0, 0.0, 2.0]], np.float64)

EYE = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float64)


def D(t):
    need_torch()
    return importlib.import_module(f"{t.__name__}.distributions")


def matrix(b):
    """Symmetric and positive definite."""
    return b.unsqueeze(-1) * b.unsqueeze(-2) / 2 + b.diag_embed()


# name: (how to make one, a value, the methods that are compared)
ALL = ("entropy", "mean", "mode", "variance", "stddev")
CASES = {
    "Gamma": (lambda d, a, b: d.Gamma(a, b), X, ALL),
    "Chi2": (lambda d, a, b: d.Chi2(a * b), X, ALL),
    "Beta": (lambda d, a, b: d.Beta(a, b), X / 4, ALL),
    "Dirichlet": (lambda d, a, b: d.Dirichlet(a * b), P, ALL),
    "StudentT": (lambda d, a, b: d.StudentT(a + 0.6, a, b), X, ALL),
    "Poisson": (lambda d, a, b: d.Poisson(a * b), COUNTS, ALL[1:]),
    "Geometric": (lambda d, a, b: d.Geometric(1 / (1 + a * b)), COUNTS, ALL),
    "Geometric by logits": (lambda d, a, b: d.Geometric(logits=-a * b), COUNTS, ALL),
    "Binomial": (lambda d, a, b: d.Binomial(3, a * b / 21), COUNTS, ALL),
    "Binomial by logits": (lambda d, a, b: d.Binomial(4, logits=a - b), COUNTS, ALL),
    "MultivariateNormal": (lambda d, a, b: d.MultivariateNormal(a, matrix(b)), X, ALL),
    "MultivariateNormal by precision": (lambda d, a, b: d.MultivariateNormal(b, precision_matrix=matrix(a)), X, ALL),
    "MultivariateNormal by factor": (lambda d, a, b: d.MultivariateNormal(a, scale_tril=(matrix(b)).tril()), X, ALL),
    "Gumbel": (lambda d, a, b: d.Gumbel(a, b), X, ALL),
    "OneHotCategorical": (lambda d, a, b: d.OneHotCategorical(a * b), EYE, ALL),
    "OneHotCategorical by logits": (lambda d, a, b: d.OneHotCategorical(logits=a * 0.5), EYE, ALL),
    "Multinomial": (lambda d, a, b: d.Multinomial(4, a * b), COUNTS, ("entropy", "mean", "variance", "stddev")),
    "Multinomial by logits": (lambda d, a, b: d.Multinomial(4, logits=a * 0.5), COUNTS, ("entropy", "mean", "variance")),
}
SAME_STREAM = ("Gumbel", "OneHotCategorical", "Multinomial", "Poisson", "Geometric", "MultivariateNormal by factor")


def _results(d, x, methods):
    return [d.log_prob(x), *(getattr(d, m)() if m == "entropy" else getattr(d, m) for m in methods)]


@pytest.mark.parametrize("name", CASES)
def test_densities_and_moments(name):
    make, x, methods = CASES[name]
    compare(lambda t, a, b: _results(make(D(t), a, b), t.tensor(x), methods), A, B, rtol=1e-6, atol=1e-7)

    def wide(t, a, b):
        d = make(D(t), a, b)
        shape = (4, *d.batch_shape)
        e = d.expand(shape)
        assert (tuple(e.batch_shape), tuple(e.event_shape)) == (shape, tuple(d.event_shape))
        return [e.log_prob(t.tensor(x)), e.mean]

    compare(wide, A, B, rtol=1e-6, atol=1e-7)
    compare(
        lambda t, a, b: _results(make(D(t), a, b), t.tensor(x.astype(np.float32)), methods),
        A.astype(np.float32), B.astype(np.float32), rtol=2e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_samples(name):
    make = CASES[name][0]
    lamina.manual_seed(1)
    d = make(ours, lamina.tensor(A) + 2, lamina.tensor(B) + 0.5)
    x = d.sample((20000,))
    assert x.shape == (20000, *d.batch_shape, *d.event_shape) and x.dtype == lamina.float64 and not x.requires_grad
    assert bool(d.support.check(x).all())
    error = (x.mean(0) - d.mean).abs() / (x.std(0) / 20000**0.5)
    assert bool((error < 5).all()), error
    ratio = x.var(0) / d.variance
    assert bool(((ratio - 1).abs() < (0.5 if name == "StudentT" else 0.1)).all()), ratio
    lamina.manual_seed(1)
    assert_same(d.sample((20000,)), x)
    if "OneHot" not in name and "Multinomial" not in name:  # of which no number of draws may be 0, as in PyTorch
        assert d.sample((0,)).shape == (0, *d.batch_shape, *d.event_shape)
    if name in SAME_STREAM:

        def seeded(t, a, b):
            t.manual_seed(3)
            return make(D(t), a, b).sample((5,))

        compare(seeded, A, B, rtol=1e-6, grad=False)


# -- gamma numbers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 3.0, 50.0, 1e4])
def test_gamma_numbers(alpha):
    lamina.manual_seed(0)
    x = lamina._standard_gamma(lamina.full((20000,), alpha, dtype=lamina.float64))
    u = lamina.igamma(lamina.full((20000,), alpha, dtype=lamina.float64), x).sort().values.numpy()
    assert np.abs(u - np.linspace(0, 1, 20000)).max() < 1.95 / 20000**0.5  # Kolmogorov and Smirnov, p = 0.001


def test_gamma_number_gradients():
    torch = need_torch()
    from lamina.engine import kernels as k

    a = np.repeat([1e-3, 0.05, 0.5, 1.0, 3.0, 10.0, 50.0, 199.0, 201.0, 1e3, 1e5], 5)
    x = np.concatenate([np.sort(torch._standard_gamma(torch.full((5,), v, dtype=torch.float64)).numpy()) for v in a[::5]])
    x = np.maximum(x, 1e-250)
    theirs = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(x)).numpy()
    np.testing.assert_allclose(k.standard_gamma_grad(a, x), theirs, rtol=3e-3)  # what PyTorch's approximation is good for
    # the definition: P(a, x(a)) stays the same
    h, mid = 1e-6 * a, (a >= 0.5) & (a < 1e3)
    up, down = (k.igamma(a + s * h, x + s * h * k.standard_gamma_grad(a, x)) for s in (1, -1))
    np.testing.assert_allclose(up[mid], down[mid], rtol=1e-9, atol=1e-12)


def test_samples_have_gradients():
    """The mean of a function of samples moves with the parameters as its expectation does."""
    lamina.manual_seed(0)
    a, b = (lamina.tensor(v, dtype=lamina.float64, requires_grad=True) for v in (1.7, 0.6))
    (x,) = lamina.autograd.grad(ours.Beta(a, b).rsample((40000,)).mean(), a, retain_graph=True)
    assert abs(x.item() - 0.6 / 2.3**2) < 0.005  # d/da of a/(a + b)
    square = ours.Gamma(a, b).rsample((40000,)).square().mean()
    da, db = lamina.autograd.grad(square, (a, b), create_graph=True)
    assert abs(da.item() / ((2 * 1.7 + 1) / 0.36) - 1) < 0.05  # of a·(a + 1)/b²
    assert abs(db.item() / (-2 * 1.7 * 2.7 / 0.216) - 1) < 0.05
    with pytest.raises(RuntimeError, match="not implemented"):
        lamina.autograd.grad(da, a)


def test_gumbel_cdf():
    def run(t, a, b, x):
        d = D(t).Gumbel(a, b)
        t.manual_seed(0)
        return [d.cdf(x), d.icdf(x / 4), d.expand((4, 2, 3)).cdf(x), d.rsample((2,))]

    compare(run, A, B, X, rtol=1e-6)
    assert repr(ours.Gumbel(0.0, 1.0)) == repr(D(need_torch()).Gumbel(0.0, 1.0))


def test_gamma_cdf():
    compare(lambda t, a, b, x: D(t).Gamma(a, b).cdf(x), A, B, X, rtol=1e-6, grad=False)


@pytest.mark.parametrize("n, p", [(5.0, 0.3), (30.0, 0.9), (200.0, 0.4), (1e6, 0.01), (7.0, 0.0), (7.0, 1.0), (0.0, 0.5)])
def test_binomial_numbers(n, p):
    lamina.manual_seed(0)
    x = lamina.binomial(lamina.full((20000,), n), lamina.full((20000,), p)).double()
    mean, variance = n * p, n * p * (1 - p)
    assert bool(((x >= 0) & (x <= n) & (x == x.floor())).all())
    assert abs(x.mean().item() - mean) <= 5 * (variance / 20000) ** 0.5 + 1e-2 * p
    assert abs(x.var().item() - variance) <= 0.06 * variance


NUMBERS = {
    "integer": lambda t: t.binomial(t.ones(2, dtype=t.int64), t.ones(2)),
    "two dtypes": lambda t: t.binomial(t.ones(2), t.ones(2, dtype=t.float64)),
    "shapes": lambda t: t.binomial(t.ones(2), t.ones(3)),
    "half": lambda t: t._standard_gamma(t.ones(2, dtype=t.float16)),
    "long": lambda t: t._standard_gamma(t.ones(2, dtype=t.int64)),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_errors_of_numbers(name):
    same_error(lambda t: NUMBERS[name](t))


# -- divergences and errors ----------------------------------------------------------------------------------------

PAIRS = {
    "gamma": lambda d, a, b, p: (d.Gamma(a, b), d.Gamma(b, a)),
    "chi2": lambda d, a, b, p: (d.Chi2(a), d.Gamma(b, a)),
    "beta": lambda d, a, b, p: (d.Beta(a, b), d.Beta(b, a)),
    "dirichlet": lambda d, a, b, p: (d.Dirichlet(a), d.Dirichlet(b)),
    "poisson": lambda d, a, b, p: (d.Poisson(a), d.Poisson(b)),
    "binomial": lambda d, a, b, p: (d.Binomial(3, p), d.Binomial(3, p.flip(0))),
    "gumbel": lambda d, a, b, p: (d.Gumbel(a, b), d.Gumbel(b, a)),
    "half normal": lambda d, a, b, p: (d.HalfNormal(a), d.HalfNormal(b)),
    "cauchy": lambda d, a, b, p: (d.Cauchy(a, b), d.Cauchy(b, a)),
    "uniform": lambda d, a, b, p: (d.Uniform(-b, b), d.Uniform(-a, a)),
    "gamma, exponential": lambda d, a, b, p: (d.Gamma(a, b), d.Exponential(a)),
    "exponential, gamma": lambda d, a, b, p: (d.Exponential(a), d.Gamma(b, a)),
    "beta, normal": lambda d, a, b, p: (d.Beta(a, b), d.Normal(b, a)),
    "exponential, normal": lambda d, a, b, p: (d.Exponential(a), d.Normal(b, a)),
    "gamma, normal": lambda d, a, b, p: (d.Gamma(a, b), d.Normal(b, a)),
    "gumbel, normal": lambda d, a, b, p: (d.Gumbel(a, b), d.Normal(b, a)),
    "laplace, normal": lambda d, a, b, p: (d.Laplace(a, b), d.Normal(b, a)),
    "uniform, normal": lambda d, a, b, p: (d.Uniform(-a, b), d.Normal(b, a)),
    "one-hot": lambda d, a, b, p: (d.OneHotCategorical(p), d.OneHotCategorical(p.flip(0))),
    "geometric": lambda d, a, b, p: (d.Geometric(p), d.Geometric(p.flip(0))),
    "normal vectors": lambda d, a, b, p: (d.MultivariateNormal(a, matrix(b)), d.MultivariateNormal(b, matrix(a))),
    "normal vectors, one factor": lambda d, a, b, p: (d.MultivariateNormal(a, matrix(a)), d.MultivariateNormal(b, matrix(b))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_divergences(name):
    compare(lambda t, a, b, p: D(t).kl_divergence(*PAIRS[name](D(t), a, b, p)), A, B, P, rtol=1e-6, atol=1e-8)


ERRORS = {
    "gamma": lambda d, t: d.Gamma(0.0, 1.0),
    "gamma rate": lambda d, t: d.Gamma(1.0, -1.0),
    "gamma value": lambda d, t: d.Gamma(1.0, 1.0).log_prob(t.tensor(-1.0)),
    "chi2": lambda d, t: d.Chi2(-1.0),
    "beta": lambda d, t: d.Beta(-1.0, 1.0),
    "beta value": lambda d, t: d.Beta(1.0, 1.0).log_prob(t.tensor(1.5)),
    "dirichlet": lambda d, t: d.Dirichlet(t.tensor(1.0)),
    "dirichlet sign": lambda d, t: d.Dirichlet(t.tensor([1.0, -1.0])),
    "dirichlet value": lambda d, t: d.Dirichlet(t.ones(2)).log_prob(t.ones(2)),
    "student": lambda d, t: d.StudentT(-1.0),
    "gumbel": lambda d, t: d.Gumbel(0.0, -1.0),
    "one-hot value": lambda d, t: d.OneHotCategorical(t.ones(2)).log_prob(t.ones(2)),
    "one-hot size": lambda d, t: d.OneHotCategorical(t.ones(2)).log_prob(t.tensor([1.0, 0.0, 0.0])),
    "one-hot both": lambda d, t: d.OneHotCategorical(t.ones(2), t.ones(2)),
    "multinomial value": lambda d, t: d.Multinomial(2, t.ones(2)).log_prob(t.tensor([3.0, 0.0])),
    "multinomial count": lambda d, t: d.Multinomial(t.tensor(2), t.ones(2)),
    "both": lambda d, t: d.Binomial(1, 0.5, 0.5),
    "neither": lambda d, t: d.Geometric(),
    "geometric": lambda d, t: d.Geometric(0.0),
    "binomial": lambda d, t: d.Binomial(-1, t.tensor(0.5)),
    "binomial value": lambda d, t: d.Binomial(2, t.tensor(0.5)).log_prob(t.tensor(3.0)),
    "mixed counts": lambda d, t: d.Binomial(t.tensor([1.0, 2.0]), t.tensor(0.5)).entropy(),
    "normal scalar": lambda d, t: d.MultivariateNormal(t.tensor(0.0), t.eye(1)),
    "normal vector": lambda d, t: d.MultivariateNormal(t.zeros(2), t.ones(2)),
    "normal none": lambda d, t: d.MultivariateNormal(t.zeros(2)),
    "normal two": lambda d, t: d.MultivariateNormal(t.zeros(2), t.eye(2), t.eye(2)),
    "normal indefinite": lambda d, t: d.MultivariateNormal(t.zeros(2), -t.eye(2)),
    "normal upper": lambda d, t: d.MultivariateNormal(t.zeros(2), scale_tril=t.ones(2, 2)),
    "normal sizes": lambda d, t: d.kl_divergence(*(d.MultivariateNormal(t.zeros(n), t.eye(n)) for n in (2, 3))),
    "poisson": lambda d, t: d.Poisson(-1.0),
    "poisson value": lambda d, t: d.Poisson(1.0).log_prob(t.tensor(0.5)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(lambda t: ERRORS[name](D(t), t))


def test_numbers_as_parameters():
    torch = need_torch()
    for t in (lamina, torch):
        d = D(t)
        assert tuple(d.Gamma(1.0, 2.0).batch_shape) == () and tuple(d.Beta(1, 2).sample().shape) == ()
        assert tuple(d.StudentT(3.0).sample((2,)).shape) == (2,) and tuple(d.Chi2(2.0).mean.shape) == ()
    assert repr(ours.Gamma(1.0, 2.0)) == repr(D(torch).Gamma(1.0, 2.0))
