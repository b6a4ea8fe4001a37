"""Normal vectors."""

from __future__ import annotations

import math
from typing import Any

from lamina import linalg as la
from lamina import ops
from lamina._dtypes import Size
from lamina.distributions import constraints
from lamina.distributions.distribution import Distribution
from lamina.distributions.utils import lazy_property

__all__ = ["MultivariateNormal"]


def _eye_like(matrix: Any) -> Any:
    return ops.eye(matrix.shape[-1], dtype=matrix.dtype)


class MultivariateNormal(Distribution):
    """Normal vectors with mean ``loc`` and one of: the covariance, its inverse (the precision), its lower Cholesky factor.

    The batch shape is that of ``loc`` without its last dimension and of the matrix without its last two, broadcast.

    Raises:
        ValueError: ``loc`` has no dimension, the matrix fewer than two, or not exactly one matrix is given.
    """

    arg_constraints = {
        "loc": constraints.real_vector, "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite, "scale_tril": constraints.lower_cholesky,
    }  # fmt: skip
    support = constraints.real_vector
    has_rsample = True
    _names = ("loc", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(
        self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        matrices = {
            "covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix, "scale_tril": scale_tril
        }  # fmt: skip
        given = [(name, matrix) for name, matrix in matrices.items() if matrix is not None]
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        if len(given) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        ((name, matrix),) = given
        if matrix.dim() < 2:
            raise ValueError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
        shape = ops.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.__dict__[name] = matrix.expand((*shape, -1, -1))
        self.loc = loc.expand((*shape, -1))
        super().__init__(shape, self.loc.shape[-1:], validate_args=validate_args)
        # of the matrix as it was given, so that a batch of means shares one factor
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = matrix
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = la.cholesky(matrix)
        else:  # P = R·Rᵀ with an upper R, by the factor of P read backwards; the covariance's factor is R⁻ᵀ
            upper = la.cholesky(matrix.flip((-2, -1))).flip((-2, -1)).mT
            self._unbroadcasted_scale_tril = la.solve_triangular(upper, _eye_like(matrix), upper=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        factor = self._unbroadcasted_scale_tril
        new = super().expand(batch_shape)
        new._unbroadcasted_scale_tril = factor
        return new

    @lazy_property
    def scale_tril(self) -> Any:
        """The lower Cholesky factor of the covariance."""
        return self._wide(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The covariance."""
        return self._wide(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Any:
        """The inverse of the covariance."""
        factor = self._unbroadcasted_scale_tril
        inverse = la.solve_triangular(factor, _eye_like(factor), upper=False)
        return self._wide(inverse.mT @ inverse)

    def _wide(self, matrix: Any) -> Any:
        return matrix.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @property
    def mean(self) -> Any:
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        return self._unbroadcasted_scale_tril.pow(2).sum(-1).expand((*self._batch_shape, *self._event_shape))

    def rsample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        eps = ops.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + (self._unbroadcasted_scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def _log_volume(self) -> Any:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        self._validate_sample(value)
        distance = squared_distance(self._unbroadcasted_scale_tril, value - self.loc)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + distance) - self._log_volume()

    def entropy(self) -> Any:
        entropy = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + self._log_volume()
        return entropy.expand(self._batch_shape)


def squared_distance(factor: Any, difference: Any) -> Any:
    """Mahalanobis' distance, squared: \\|L⁻¹·d\\|² for the factor L and vectors d; batch dimensions broadcast."""
    if factor.dim() == 2:  # one factor for all: one solve with all vectors as columns
        n = difference.shape[-1]
        flat = la.solve_triangular(factor, difference.reshape(-1, n).mT, upper=False)
        return flat.pow(2).sum(-2).reshape(difference.shape[:-1])
    shape = ops.broadcast_shapes(factor.shape[:-1], difference.shape)
    difference = difference.expand(shape).unsqueeze(-1)
    return la.solve_triangular(factor, difference, upper=False).squeeze(-1).pow(2).sum(-1)
