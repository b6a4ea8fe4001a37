"""Exponentials of matrices and Householder reflections against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import compare, need_torch, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

SHAPES = [(1, 1), (2, 2), (5, 5), (3, 4, 4), (2, 0, 3, 3), (2, 0, 0), (12, 12)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_matrix_exp_matches_torch(shape, dtype):
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.5, 3.0):
        x = rng.standard_normal(shape) * size
        if dtype.startswith("complex"):
            x = x + 1j * rng.standard_normal(shape) * size
        single = dtype in ("float32", "complex64")
        rtol, atol = (2e-4, 2e-4 * np.exp(size * np.sqrt(max(shape[-1], 1)))) if single else (1e-8, 1e-8)
        compare(lambda t, x: t.matrix_exp(x), x.astype(dtype), rtol=rtol, atol=atol)
        compare(lambda t, x: x.matrix_exp() + t.linalg.matrix_exp(x.mT), x.astype(dtype), rtol=rtol, atol=2 * atol)


def test_matrix_exp_of_matrices_of_different_sizes():
    x = np.stack([np.eye(3) * s + np.diag([s, s], 1) for s in (1e-6, 0.1, 1.0, 5.0, 20.0, 80.0, 0.0)])
    compare(lambda t, x: t.matrix_exp(x), x, rtol=1e-9)
    rotation = lamina.matrix_exp(lamina.tensor([[0.0, -np.pi / 2], [np.pi / 2, 0.0]], dtype=lamina.float64))
    np.testing.assert_allclose(rotation.numpy(), [[0, -1], [1, 0]], atol=1e-15)


def test_matrix_exp_special_values():
    for value in (np.inf, np.nan):
        x = np.stack([np.full((2, 2), value), np.eye(2)]).astype("float32")
        compare(lambda t, x: t.matrix_exp(x), x, grad=False)
    compare(lambda t, x: t.matrix_exp(x), np.full((2, 2), 1e4), grad=False)


def test_matrix_exp_gradients():
    x = lamina.tensor(np.random.default_rng(0).standard_normal((2, 3, 3)), requires_grad=True)
    assert gradcheck(lamina.matrix_exp, x) and gradgradcheck(lamina.matrix_exp, x)


def test_matrix_exp_errors():
    for case in (
        lambda t, x: t.matrix_exp(t.ones(2, 3)), lambda t, x: t.matrix_exp(t.ones(2)),
        lambda t, x: t.matrix_exp(t.ones(2, 2).long()), lambda t, x: t.geqrf(t.ones(3)),
        lambda t, x: t.geqrf(t.ones(3, 3).long()),
        lambda t, x: t.linalg.householder_product(t.ones(2, 3), t.ones(2)),
        lambda t, x: t.linalg.householder_product(t.ones(3, 2), t.ones(3)),
        lambda t, x: t.linalg.householder_product(t.ones(3), t.ones(3)),
        lambda t, x: t.linalg.householder_product(t.ones(3, 2), t.ones(2).double()),
        lambda t, x: t.linalg.householder_product(t.ones(2, 3, 2), t.ones(2)),
        lambda t, x: t.linalg.householder_product(t.ones(2, 3, 2), t.ones(3, 2)),
        lambda t, x: t.linalg.householder_product(t.ones(3, 2).long(), t.ones(1).long()),
    ):  # fmt: skip
        same_error(case, np.ones(1))


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 4), (2, 6, 3), (0, 3), (3, 0)])
def test_geqrf_matches_torch(shape):
    for dtype in ("float64", "float32", "complex128"):
        x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        compare(lambda t, x: tuple(t.geqrf(x)), x, grad=False, rtol=1e-4)
    result = lamina.geqrf(lamina.ones(3, 2))
    assert result.a.shape == (3, 2) and result.tau.shape == (2,)


@pytest.mark.parametrize(
    ("shape", "reflections"), [((4, 4), 4), ((5, 3), 3), ((5, 3), 2), ((2, 4, 2), 2), ((3, 0), 0), ((0, 0), 0)]
)
def test_householder_product_matches_torch(shape, reflections):
    rng = np.random.default_rng(0)
    for dtype in ("float64", "float32"):
        a, tau = rng.standard_normal(shape).astype(dtype), rng.standard_normal((*shape[:-2], reflections)).astype(dtype)
        tau[..., :1] = 0  # no reflection at all
        rtol, differentiable = 1e-4 if dtype == "float32" else 1e-9, a.size > 0  # torch has no gradient of nothing
        compare(lambda t, a, tau: t.linalg.householder_product(a, tau), a, tau, rtol=rtol, grad=differentiable)
        compare(lambda t, a, tau: t.orgqr(a, tau), a, tau, grad=False, rtol=rtol)


def test_reflections_give_back_q():
    need_torch()
    x = lamina.tensor(np.random.default_rng(0).standard_normal((6, 4)))
    h, tau = lamina.geqrf(x)
    q = lamina.linalg.householder_product(h, tau)
    np.testing.assert_allclose((q @ h.triu()[:4]).numpy(), x.numpy(), atol=1e-12)
    np.testing.assert_allclose((q.T @ q).numpy(), np.eye(4), atol=1e-12)


def test_householder_product_gradients():
    a = lamina.tensor(np.random.default_rng(0).standard_normal((2, 4, 3)), requires_grad=True)
    tau = lamina.tensor(np.random.default_rng(1).standard_normal((2, 3)), requires_grad=True)
    assert gradcheck(lamina.linalg.householder_product, (a, tau))
    assert gradgradcheck(lamina.linalg.householder_product, (a, tau))
    with pytest.raises(NotImplementedError):
        lamina.geqrf(a)[0].sum().backward()
