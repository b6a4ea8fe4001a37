"""vmap, grad, vjp, jvp, Jacobians and Hessians of functions, against torch.func."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
RNG = np.random.default_rng(0)
X, W, B = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 3)), RNG.standard_normal((2, 4, 3))


def both(function, **settings):
    """``function(t, t.func, x, w, b)`` on both libraries agrees, and neither result requires a gradient."""
    results = []
    for t in (lamina, need_torch()):
        results.append(function(t, t.func, *(t.from_numpy(a.copy()) for a in (X, W, B))))
    ours = results[0] if isinstance(results[0], tuple) else results[:1]
    assert not any(getattr(x, "requires_grad", False) for x in ours)
    assert_same(*results, rtol=1e-9, atol=1e-12)


def net(t, w, x):
    return t.tanh(x @ w).square().sum()


CASES = {
    "vmap": lambda t, f, x, w, b: f.vmap(lambda x: net(t, w, x))(x),
    "vmap top": lambda t, f, x, w, b: t.vmap(t.dot)(x, x),
    "in_dims": lambda t, f, x, w, b: f.vmap(lambda x, w: x @ w, in_dims=(1, None))(x.t(), w),
    "negative": lambda t, f, x, w, b: f.vmap(lambda x: x * 2, in_dims=-1, out_dims=-1)(b),
    "out_dims": lambda t, f, x, w, b: f.vmap(lambda x: (x, x.sum()), out_dims=(1, 0))(b),
    "shared": lambda t, f, x, w, b: f.vmap(lambda x: (x * 1, w * 1), out_dims=(0, None))(x),
    "nested": lambda t, f, x, w, b: f.vmap(f.vmap(lambda x: net(t, w, x)))(b),
    "tree": lambda t, f, x, w, b: f.vmap(lambda d: d["a"] + d["b"][0], in_dims=({"a": 0, "b": None},))({"a": x, "b": [w[0]]}),
    "empty": lambda t, f, x, w, b: f.vmap(lambda x: net(t, w, x))(x[:0]),
    "same": lambda t, f, x, w, b: f.vmap(lambda x: t.rand(2), randomness="same")(x).unique(dim=0).shape[0],
    "different": lambda t, f, x, w, b: f.vmap(lambda x: t.rand(2), randomness="different")(x).unique(dim=0).shape[0],
    "grad": lambda t, f, x, w, b: f.grad(lambda w: net(t, w, x))(w),
    "grad of grad": lambda t, f, x, w, b: f.grad(lambda w: f.grad(lambda w: net(t, w, x))(w).square().sum())(w),
    "argnums": lambda t, f, x, w, b: f.grad(lambda w, x: net(t, w, x), argnums=(0, 1))(w, x),
    "aux": lambda t, f, x, w, b: f.grad(lambda w: (net(t, w, x), w * 2), has_aux=True)(w),
    "value": lambda t, f, x, w, b: f.grad_and_value(lambda w: net(t, w, x))(w),
    "per example": lambda t, f, x, w, b: f.vmap(f.grad(lambda w, x: net(t, w, x)), in_dims=(None, 0))(w, x),
    "unused": lambda t, f, x, w, b: f.grad(lambda w, x: x.sum())(w, x),
    "vjp": lambda t, f, x, w, b: f.vjp(lambda w: x @ w, w)[1](x)[0],
    "vjp of two": lambda t, f, x, w, b: f.vjp(lambda w, x: x @ w, w, x)[1](x),
    "vjp tree": lambda t, f, x, w, b: f.vjp(lambda w: (x @ w, w.sum()), w)[1]((x, w[0, 0])),
    "jvp": lambda t, f, x, w, b: f.jvp(lambda w: t.tanh(x @ w), (w,), (w * 2,)),
    "jvp of two": lambda t, f, x, w, b: f.jvp(lambda w, x: t.tanh(x @ w), (w, x), (w * 2, x)),
    "jacrev": lambda t, f, x, w, b: f.jacrev(lambda x: t.tanh(x @ w))(x),
    "jacfwd": lambda t, f, x, w, b: f.jacfwd(lambda x: t.tanh(x @ w))(x),
    "jacobian tuple": lambda t, f, x, w, b: f.jacrev(lambda x, w: x[0] @ w, argnums=(0, 1))(x, w),
    "jacobian tree": lambda t, f, x, w, b: f.jacrev(lambda x: (x * x, x.sum()))(x[0]),
    "hessian": lambda t, f, x, w, b: f.hessian(lambda x: net(t, w, x))(x[0]),
    "hessians": lambda t, f, x, w, b: f.vmap(f.hessian(lambda x: net(t, w, x)))(x),
    "jacobian of vjp": lambda t, f, x, w, b: f.jacrev(lambda w: f.vjp(lambda w: t.tanh(x[0] @ w), w)[1](x[0])[0])(w),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_matches_torch(name):
    both(CASES[name])


def passed_through(t):
    w, x = t.from_numpy(W.copy()).requires_grad_(), t.from_numpy(X.copy())
    t.func.vmap(lambda x: net(t, w, x))(x).sum().backward()
    direct, w.grad = w.grad.clone(), None
    t.func.grad(lambda x: net(t, w, x))(x).sum().backward()
    return direct, w.grad


def test_gradients_pass_through():
    assert_same(passed_through(lamina), passed_through(need_torch()), rtol=1e-9)


def of_module(t):
    t.manual_seed(0)
    layer = t.nn.Linear(3, 2)
    parameters = {k: v.detach() for k, v in layer.named_parameters()}
    x = t.from_numpy(X.astype("float32"))

    def loss(p, x):
        return t.func.functional_call(layer, p, (x,)).square().sum()

    found = t.func.vmap(t.func.grad(loss), in_dims=(None, 0))(parameters, x)
    return found["weight"], found["bias"], t.func.grad(loss)(parameters, x)["weight"]


def test_with_a_module():
    assert_same(of_module(lamina), of_module(need_torch()), rtol=1e-4, atol=1e-5)


ERRORS = {
    "int": lambda t: t.func.vmap(lambda x: x)(3),
    "0-d": lambda t: t.func.vmap(lambda x: x)(t.tensor(1.0)),
    "sizes": lambda t: t.func.vmap(lambda x, y: x + y)(t.ones(2), t.ones(3)),
    "None": lambda t: t.func.vmap(lambda x: x, in_dims=None)(t.ones(2)),
    "in_dims": lambda t: t.func.vmap(lambda x: x, in_dims=(0, 0))(t.ones(2)),
    "in_dim": lambda t: t.func.vmap(lambda x: x, in_dims=2)(t.ones(2)),
    "out_dim": lambda t: t.func.vmap(lambda x: x, out_dims=2)(t.ones(2)),
    "out_dims": lambda t: t.func.vmap(lambda x: (x, x), out_dims=(0,))(t.ones(2)),
    "out None": lambda t: t.func.vmap(lambda x: x, out_dims=None)(t.arange(2.0)),
    "number": lambda t: t.func.vmap(lambda x: 3)(t.ones(2)),
    "randomness": lambda t: t.func.vmap(lambda x: x, randomness="x"),
    "random": lambda t: t.func.vmap(lambda x: x + t.rand(1))(t.ones(2)),
    "no inputs": lambda t: t.func.vmap(lambda: 1)(),
    "grad of a vector": lambda t: t.func.grad(lambda x: x)(t.ones(2)),
    "grad of a number": lambda t: t.func.grad(lambda x: 3)(t.ones(2)),
    "grad by a number": lambda t: t.func.grad(lambda x: x)(3),
    "grad by integers": lambda t: t.func.grad(lambda x: x.sum())(t.ones(2).long()),
    "argnums": lambda t: t.func.grad(lambda x: x.sum(), argnums=2)(t.ones(2)),
    "aux": lambda t: t.func.grad(lambda x: x.sum(), has_aux=True)(t.ones(2)),
    "jvp shape": lambda t: t.func.jvp(lambda x: x, (t.ones(2),), (t.ones(3),)),
    "jvp list": lambda t: t.func.jvp(lambda x: x, t.ones(2), (t.ones(2),)),
    "vjp shape": lambda t: t.func.vjp(lambda x: x, t.ones(2))[1](t.ones(3)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])
