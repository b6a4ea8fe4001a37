"""Special functions under PyTorch's names: ``lamina.special``."""

from __future__ import annotations

from typing import Any

from lamina.ops import special as _special
from lamina.ops.activation import log_softmax as _log_softmax
from lamina.ops.activation import sigmoid as expit
from lamina.ops.activation import softmax as _softmax
from lamina.ops.elementary import sinc, xlogy
from lamina.ops.pointwise import logit
from lamina.ops.reduction import logsumexp
from lamina.ops.special import (
    airy_ai,
    bessel_j0,
    bessel_j1,
    bessel_y0,
    bessel_y1,
    digamma,
    entr,
    erfcx,
    i0,
    i0e,
    i1,
    i1e,
    log_ndtr,
    modified_bessel_i0,
    modified_bessel_i1,
    modified_bessel_k0,
    modified_bessel_k1,
    ndtr,
    ndtri,
    polygamma,
    scaled_modified_bessel_k0,
    scaled_modified_bessel_k1,
    spherical_bessel_j0,
    xlog1py,
    zeta,
)
from lamina.ops.special import igamma as gammainc
from lamina.ops.special import igammac as gammaincc
from lamina.ops.special import lgamma as gammaln
from lamina.ops.special import mvlgamma as multigammaln
from lamina.ops.unary import erf, erfc, erfinv, exp2, expm1, log1p, round  # noqa: A004

psi = digamma


def softmax(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """eˣ/Σeˣ along a dimension."""
    return _softmax(input, dim, dtype=dtype)


def log_softmax(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """x − log Σeˣ along a dimension."""
    return _log_softmax(input, dim, dtype=dtype)


globals().update({name: getattr(_special, name) for name in _special.POLYNOMIALS})

__all__ = [  # noqa: PLE0604
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2",
    "expit", "expm1", "gammainc", "gammaincc", "gammaln", "i0", "i0e", "i1", "i1e", "log1p", "log_ndtr", "log_softmax", "logit",
    "logsumexp", "modified_bessel_i0", "modified_bessel_i1", "modified_bessel_k0", "modified_bessel_k1", "multigammaln", "ndtr",
    "ndtri", "polygamma", "psi", "round", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "sinc", "softmax",
    "spherical_bessel_j0", "xlog1py", "xlogy", "zeta", *_special.POLYNOMIALS,
]  # fmt: skip
