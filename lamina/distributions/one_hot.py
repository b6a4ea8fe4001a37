"""Distributions of vectors that count outcomes: of one draw, and of many."""

from __future__ import annotations

import math
from typing import Any

from lamina import ops
from lamina._dtypes import Size
from lamina.autograd.grad_mode import no_grad
from lamina.distributions import constraints
from lamina.distributions.categorical import Categorical
from lamina.distributions.counts import Binomial
from lamina.distributions.distribution import Distribution
from lamina.distributions.utils import broadcast_all

__all__ = ["Multinomial", "OneHotCategorical"]


class _OfCategorical(Distribution):
    """With a :class:`Categorical` that gives the outcomes."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    _categorical: Categorical

    probs = property(lambda self: self._categorical.probs, doc="The probabilities.")
    logits = property(lambda self: self._categorical.logits, doc="The logarithms of the probabilities.")

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = super().expand(batch_shape)
        new._categorical = self._categorical.expand(Size(batch_shape))
        return new


class OneHotCategorical(_OfCategorical):
    """One 1 among K − 1 zeros, at a place drawn in proportion to ``probs``, or to exp of ``logits``; exactly one is given."""

    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        self._categorical = Categorical(probs, logits)
        super().__init__(self._categorical.batch_shape, (self._categorical._num_events,), validate_args=validate_args)

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def mode(self) -> Any:
        return self._one_hot(self._categorical.mode)

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def _one_hot(self, place: Any) -> Any:
        return (place.unsqueeze(-1) == ops.arange(self._categorical._num_events)).to(self.probs.dtype)

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        return self._one_hot(self._categorical.sample(sample_shape))

    def log_prob(self, value: Any) -> Any:
        self._validate_sample(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self) -> Any:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Any:
        n = self.event_shape[0]
        values = ops.eye(n, dtype=self.probs.dtype).reshape((n,) + (1,) * len(self.batch_shape) + (n,))
        return values.expand((n, *self.batch_shape, n)) if expand else values


class Multinomial(_OfCategorical):
    """How often each of K outcomes comes in ``total_count`` draws, in proportion to ``probs``, or to exp of ``logits``.

    Raises:
        NotImplementedError: ``total_count`` is no single int.
        ValueError: unless exactly one of ``probs`` and ``logits`` is given.
    """

    total_count: int

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        super().__init__(self._categorical.batch_shape, (self._categorical._num_events,), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Whole numbers whose sum is ``total_count``."""
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Any:
        return self.probs * self.total_count

    @property
    def variance(self) -> Any:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        with no_grad():
            places = self._categorical.sample((self.total_count, *sample_shape)).movedim(0, -1)
            counts = ops.zeros(self._extended_shape(sample_shape), dtype=self.probs.dtype)
            return counts.scatter_add(-1, places, ops.ones(places.shape, dtype=counts.dtype))

    def log_prob(self, value: Any) -> Any:
        self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        choices = ops.lgamma(value.sum(-1) + 1) - ops.lgamma(value + 1).sum(-1)
        never = (value == 0) & (logits == -math.inf)  # what cannot come does not come
        return choices + (ops.where(never, 0.0, logits) * value).sum(-1)

    def entropy(self) -> Any:
        n = self.total_count
        each = Binomial(n, probs=self.probs, validate_args=False)
        counts = each.enumerate_support(False)[1:]
        repeats = (each.log_prob(counts).exp() * ops.lgamma(counts + 1)).sum((0, -1))
        return n * self._categorical.entropy() - math.lgamma(n + 1) + repeats
