"""lamina.compile over the table of every layer and function: compiled on one set of numbers, right on others.

This is what keeps numbers from being frozen: whatever a layer computes outside of operations would show here.
"""

from __future__ import annotations

import copy
import re
import warnings

import numpy as np
import pytest
from rows_functions import FUNCTIONS
from rows_layers import LAYERS
from test_every_layer import backward, copied, leaves, lines, makers

import lamina
from lamina import nn

# Why some of them run eagerly, as they say: parts of these messages.
EAGER = (
    "is written to in place and takes part in the gradient",
    "a result is a view of an argument",
    "computed outside of lamina's operations",
    "looks at the numbers",
    "depends on the",
    "whose state a replay would not know",
    "sparse tensor",
    "given as several arguments",
    "hooks on",
)


def compare(form, compiled, given_twice, seed):
    """Results and gradients of both forms, from equal inputs and random numbers."""
    found = []
    for f, given in zip((form, compiled), given_twice, strict=True):
        lamina.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = f(*copied(given))
        backward(lamina, result)
        found.append(([*leaves(result), *[v.grad for v in leaves(given)]], result))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            a, b = (x.to_dense() if x.is_sparse else x for x in (a, b))
            a, b = (x.detach().float() if x.dtype in (lamina.bfloat16, lamina.float16) else x.detach() for x in (a, b))
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-4, atol=1e-5)


def public(module):
    """The public names of a package, which are read from its files when they are asked for."""
    return {name: getattr(module, name) for name in dir(module) if name[0] != "_"}


def inputs_of(inputs, names, count):
    """Inputs, ``count`` times with numbers of their own, each twice."""
    one, two = makers(lamina, "float32"), makers(lamina, "float32")
    text = f"({inputs},)" if inputs else "()"
    return [tuple(eval(text, {"t": lamina, **names, **m}) for m in (one, two)) for _ in range(count)]  # noqa: S307


def layers():
    return [row for row in lines(LAYERS) if row[1] and "Lazy" not in row[0]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", layers(), ids=lambda row: f"{row[0]}-{row[1]}")
def test_layer(row):
    build, inputs, names = row
    lamina.manual_seed(0)
    module = eval(build, {"t": lamina, **public(nn), **names, **makers(lamina, "float32")})  # noqa: S307
    if not isinstance(module, nn.Module):
        pytest.skip("not a module")
    other = copy.deepcopy(module)
    compiled = lamina.compile(other)
    for seed, given in enumerate(inputs_of(inputs, names, 3)):
        compare(module, compiled, given, seed)
        for p, q in zip(module.parameters(), other.parameters(), strict=True):
            if p.grad is not None:
                p_grad, q_grad = (g.to_dense() if g.is_sparse else g for g in (p.grad, q.grad))
                np.testing.assert_allclose(q_grad.numpy(), p_grad.numpy(), rtol=1e-4, atol=1e-4)
        for a, b in zip(module.buffers(), other.buffers(), strict=True):
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)
    module.eval(), other.eval()
    for seed, given in enumerate(inputs_of(inputs, names, 2)):
        compare(module, compiled, given, seed)
    told = compiled._compiled.reasons
    assert not told or any(known in told[0] for known in EAGER), told


def functions():  # but for those in whose call the table draws numbers
    return [row for row in lines(FUNCTIONS) if not re.search(r"\b(f|c|u|cu|p|cp|i|b|s|const|causal)\(", row[0])]


@pytest.mark.parametrize("row", functions(), ids=lambda row: f"{row[0]}-{row[1]}")
def test_function(row):
    call, inputs, names = row
    tools = makers(lamina, "float32")

    def function(*arguments):
        return eval(  # noqa: S307
            call, {**public(nn.functional), **tools, "t": lamina, **names, **dict(zip("xyzw", arguments, strict=False))}
        )

    compiled = lamina.compile(function)
    for seed, given in enumerate(inputs_of(inputs, names, 3)):
        compare(function, compiled, given, seed)
    assert not compiled.reasons or any(known in compiled.reasons[0] for known in EAGER), compiled.reasons
