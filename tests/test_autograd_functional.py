"""Jacobians, Hessians and their products against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina


def tensors(t, *shapes, requires_grad=False):
    rng = np.random.default_rng(0)
    made = tuple(t.from_numpy(rng.uniform(0.5, 2, s)) for s in shapes)
    return tuple(x.requires_grad_() for x in made) if requires_grad else made


ONE = {
    "elementwise": (lambda x: x**2 * x.sum(), (3,)),
    "rows": (lambda x: x.exp().sum(1), (2, 3)),
    "number": (lambda x: (x**3).sum(), (2, 2)),
    "of a number": (lambda x: x * x, ()),
    "independent": (lambda x: x.detach() * 2, (2,)),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("create_graph", [False, True])
def test_jacobian(name, create_graph):
    f, shape = ONE[name]
    found = [
        t.autograd.functional.jacobian(f, tensors(t, shape, requires_grad=create_graph)[0], create_graph=create_graph)
        for t in (lamina, need_torch())
    ]
    assert_same(*found)


def test_jacobian_of_several():
    def f(x, y):
        return x * y.sum(), (x.sum() + y.prod())

    found = [t.autograd.functional.jacobian(f, tensors(t, (2,), (3,))) for t in (lamina, need_torch())]
    assert_same(*found)
    layer = lamina.nn.Linear(3, 2)
    jacobian = lamina.autograd.functional.jacobian(layer, lamina.ones(3), vectorize=True, strategy="forward-mode")
    assert_same(jacobian, layer.weight)


def test_hessian():
    for f, shapes in ((lambda x: (x**3).sum(), [(2, 2)]), (lambda x, y: (x * y * x).sum(), [(2,), (2,)])):
        found = []
        for t in (lamina, need_torch()):
            inputs = tensors(t, *shapes)
            found.append(t.autograd.functional.hessian(f, inputs if len(inputs) > 1 else inputs[0]))
        assert_same(*found)


def test_products():
    f, g = (lambda x: x**2 * x[0]), (lambda x: (x**3).sum())
    found = []
    for t in (lamina, need_torch()):
        x, v = tensors(t, (3,), (3,))
        a = t.autograd.functional
        found.append([*a.vjp(f, x, v), *a.jvp(f, x, v), *a.vhp(g, x, v), *a.hvp(g, x, v), *a.vjp(g, x)])
    assert_same(*found)


def test_derivatives_of_derivatives():
    found = []
    for t in (lamina, need_torch()):
        (x,) = tensors(t, (3,), requires_grad=True)
        j = t.autograd.functional.jacobian(lambda x: x**3, x, create_graph=True)
        _, p = t.autograd.functional.vjp(lambda x: x**3, x, t.ones_like(x), create_graph=True)
        (j.sum() + p.sum()).backward()
        found.append([j, p, x.grad])
    assert_same(*found)


def test_nothing_has_an_empty_jacobian():
    assert lamina.autograd.functional.jacobian(lambda x: x * 2, lamina.ones(0)).shape == (0, 0)  # torch raises


def test_gradients_need_not_be_on():
    with lamina.no_grad():
        assert lamina.autograd.functional.jacobian(lambda x: x**2, lamina.ones(2)).tolist() == [[2.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize(
    "call",
    [
        lambda t, a: a.jacobian(lambda x: t.ones(2), t.ones(3), strict=True),
        lambda t, a: a.jacobian(lambda x, y: x * 2, (t.ones(2), t.ones(1)), strict=True),
        lambda t, a: a.jacobian(lambda x: x * 2, [1.0, 2.0]), lambda t, a: a.jacobian(lambda x: 5, t.ones(2)),
        lambda t, a: a.hessian(lambda x: x * 2, t.ones(2)), lambda t, a: a.vjp(lambda x: x * 2, t.ones(2)),
        lambda t, a: a.vjp(lambda x: x * 2, t.ones(2), t.ones(3)), lambda t, a: a.jvp(lambda x: x * 2, t.ones(2), t.ones(3)),
        lambda t, a: a.jacobian(lambda x: x, t.ones(2), strategy="sideways"),
    ],
)  # fmt: skip
def test_errors(call):
    same_error(lambda t: call(t, t.autograd.functional))
