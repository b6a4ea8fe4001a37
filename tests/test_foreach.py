"""Operations on lists of tensors against torch's."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina
from lamina.ops import foreach

RNG = np.random.default_rng(0)
ARRAYS = [RNG.uniform(0.2, 0.9, s).astype("float64") for s in ((3,), (2, 2), ())]


def lists(t, grad=False):
    return [t.tensor(a, requires_grad=grad) for a in ARRAYS]


def checked(function):
    results = [function(t) for t in (lamina, need_torch())]
    assert_same(*results, rtol=1e-12, atol=1e-12)


def applied(t, name, *args, **kwargs):
    x = lists(t)
    result = getattr(t, name)(x, *args, **kwargs)
    return x if name.endswith("_") else list(result)


@pytest.mark.parametrize("name", foreach._UNARY)
def test_of_one(name):
    for form in (f"_foreach_{name}", f"_foreach_{name}_"):
        checked(lambda t, f=form: applied(t, f))


@pytest.mark.parametrize("name", foreach._BINARY)
def test_of_two(name):
    for form in (f"_foreach_{name}", f"_foreach_{name}_"):
        checked(lambda t, f=form: applied(t, f, [y + 0.1 for y in lists(t)]))
        checked(lambda t, f=form: applied(t, f, 0.5))
        checked(lambda t, f=form: applied(t, f, [0.5, 2.0, 0.1]))
    if name in ("add", "sub"):
        checked(lambda t: applied(t, f"_foreach_{name}", lists(t), alpha=0.3))


@pytest.mark.parametrize("name", foreach._TERNARY)
def test_of_three(name):
    for form in (f"_foreach_{name}", f"_foreach_{name}_"):
        if name == "lerp":
            checked(lambda t, f=form: applied(t, f, lists(t), 0.3))
            checked(lambda t, f=form: applied(t, f, [y + 1 for y in lists(t)], lists(t)))
        else:
            checked(lambda t, f=form: applied(t, f, lists(t), lists(t), value=0.3))
            checked(lambda t, f=form: applied(t, f, lists(t), lists(t), [0.1, 0.2, 0.3]))


def test_others():
    checked(lambda t: list(t._foreach_norm(lists(t))))
    checked(lambda t: list(t._foreach_norm(lists(t), 1)))
    checked(lambda t: list(t._foreach_max(lists(t))))
    checked(lambda t: applied(t, "_foreach_copy_", [y * 2 for y in lists(t)]))
    checked(lambda t: applied(t, "_foreach_zero_"))
    x = lists(lamina, True)
    sum(y.sum() for y in lamina._foreach_mul(x, 3.0)).backward()
    assert all((t.grad == 3).all() for t in x)
    for bad in (lambda t: t._foreach_add([], 1), lambda t: t._foreach_add(lists(t), [1.0]), lambda t: t._foreach_abs(t.ones(2))):
        same_error(bad)
