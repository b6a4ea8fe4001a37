"""Every differentiable operation, by family: the forward computation with its gradient rule beside it.

A family file ends with tuples of names: ``FUNCTIONS`` (exported as ``lamina.<name>``), ``METHODS`` (also tensor methods),
``INPLACE`` (methods that have a form ``name_``) and ``NN_FUNCTIONS`` (exported by ``lamina.nn.functional``). The tables
below are gathered from them, so that no name is written twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

FAMILIES = (
    "operands", "unary", "pointwise", "elementary", "creation", "kinds", "shape", "layout", "parts", "join", "indexing",
    "masking", "gathering", "complex", "sorting", "reduction", "statistics", "extremes", "scan", "linalg",
    "products", "einsum", "decomposition", "orthogonal", "random", "factorization", "activation", "piecewise", "conv",
    "conv_tbc", "pad", "shuffle", "pooling", "resample", "grid", "fold", "norm", "layernorm", "dropout",
    "attention", "multihead", "rnn", "loss", "loss_pointwise", "loss_binary", "embedding", "distance",
    "loss_margin", "loss_ctc", "loss_linear", "grouped", "fft", "spectral", "special",
    "numeric", "copies", "counts", "foreach", "torch_names",
)  # fmt: skip

FUNCTIONS: dict[str, Callable[..., Any]] = {}
METHODS: dict[str, Callable[..., Any]] = {}
INPLACE: dict[str, Callable[..., Any]] = {}
NN_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _gather() -> None:
    for family in FAMILIES:
        module = importlib.import_module(f"lamina.ops.{family}")
        for table, attribute in (
            (FUNCTIONS, "FUNCTIONS"),
            (METHODS, "METHODS"),
            (INPLACE, "INPLACE"),
            (NN_FUNCTIONS, "NN_FUNCTIONS"),
        ):
            for entry in getattr(module, attribute, ()):  # a name, or a function that has the name
                name, function = (
                    (entry, getattr(module, entry)) if isinstance(entry, str) else (entry.__name__, entry)
                )
                if name in table:
                    raise RuntimeError(f"{attribute} of lamina.ops.{family} repeats the name {name!r}")
                if attribute in ("METHODS", "INPLACE"):  # their first argument is a tensor in any case
                    function = getattr(function, "unchecked", function)
                table[name] = function


_gather()
globals().update(FUNCTIONS)
__all__ = sorted(FUNCTIONS)  # noqa: PLE0605

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
