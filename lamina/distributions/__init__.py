"""Distributions with densities, samples and gradients, as in ``torch.distributions``.

Samples of the gamma family (Gamma, Chi2, Beta, Dirichlet, StudentT) and of Binomial follow the seed, but are not PyTorch's
numbers; all others are, number for number.
"""

from __future__ import annotations

from lamina.distributions import constraints, transforms
from lamina.distributions.categorical import Bernoulli, Categorical
from lamina.distributions.continuous import (
    Cauchy,
    Exponential,
    Gumbel,
    HalfCauchy,
    HalfNormal,
    Laplace,
    LogNormal,
    Normal,
    Uniform,
)
from lamina.distributions.counts import Binomial, Geometric, Poisson
from lamina.distributions.distribution import Distribution, ExponentialFamily
from lamina.distributions.gamma import Beta, Chi2, Dirichlet, Gamma, StudentT
from lamina.distributions.kl import kl_divergence, register_kl
from lamina.distributions.multivariate_normal import MultivariateNormal
from lamina.distributions.one_hot import Multinomial, OneHotCategorical
from lamina.distributions.transformed_distribution import Independent, TransformedDistribution
from lamina.distributions.transforms import *  # noqa: F403

__all__ = [  # noqa: PLE0604
    *transforms.__all__, "Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "Dirichlet", "Distribution",
    "Exponential", "ExponentialFamily", "Gamma", "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "Independent", "Laplace",
    "LogNormal", "Multinomial", "MultivariateNormal", "Normal", "OneHotCategorical", "Poisson", "StudentT",
    "TransformedDistribution", "Uniform", "constraints", "kl_divergence", "register_kl", "transforms",
]  # fmt: skip
