"""Distributions with densities, samples and gradients, as in ``torch.distributions``: those that uniform, normal, exponential
and Cauchy numbers lead to. Those of the gamma family are not here yet."""

from __future__ import annotations

from lamina.distributions import constraints, transforms
from lamina.distributions.categorical import Bernoulli, Categorical
from lamina.distributions.continuous import (
    Cauchy,
    Exponential,
    HalfCauchy,
    HalfNormal,
    Laplace,
    LogNormal,
    Normal,
    Uniform,
)
from lamina.distributions.distribution import Distribution, ExponentialFamily
from lamina.distributions.kl import kl_divergence, register_kl
from lamina.distributions.transformed_distribution import Independent, TransformedDistribution
from lamina.distributions.transforms import *  # noqa: F403

__all__ = [  # noqa: PLE0604
    *transforms.__all__, "Bernoulli", "Categorical", "Cauchy", "Distribution", "Exponential", "ExponentialFamily", "HalfCauchy",
    "HalfNormal", "Independent", "Laplace", "LogNormal", "Normal", "TransformedDistribution", "Uniform", "constraints",
    "kl_divergence", "register_kl", "transforms",
]  # fmt: skip
