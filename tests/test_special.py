"""Special functions: values against torch (and SciPy, to near the last digit), edges, gradients, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina import special
from lamina.autograd import gradcheck, gradgradcheck

ONE = (
    "digamma", "entr", "erf", "erfc", "erfcx", "erfinv", "exp2", "expit", "expm1", "gammaln", "i0", "i0e", "i1", "i1e", "log1p",
    "log_ndtr", "logit", "ndtr", "ndtri", "psi", "sinc",
)  # fmt: skip
NO_GRADIENT = (
    "airy_ai", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0", "modified_bessel_i1",
    "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0",
)  # fmt: skip
POLYNOMIALS = (
    "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w",
    "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
)  # fmt: skip
SHIFTED = tuple(f"shifted_chebyshev_polynomial_{kind}" for kind in "tuvw")
EDGES = np.array([0.0, -0.0, 1.0, -1.5, 0.5, 2.0, 171.0, np.inf, -np.inf, np.nan])
RNG = np.random.default_rng(0)


def of(t, name):
    return getattr(t.special, name)


def logarithmic(low, high, n=300):
    return np.exp(RNG.uniform(np.log(low), np.log(high), n))


DOMAINS = {  # of the accuracy tests: where a function is finite and its condition is not absurd
    "erfinv": RNG.uniform(-1, 1, 300), "logit": RNG.uniform(0, 1, 300), "ndtri": RNG.uniform(0, 1, 300),
    "log1p": logarithmic(1e-8, 1e8), "entr": logarithmic(1e-8, 1e8), "i0": RNG.uniform(-30, 30, 300),
    "i1": RNG.uniform(-30, 30, 300), "exp2": RNG.uniform(-30, 30, 300), "expm1": RNG.uniform(-30, 30, 300),
    "erfcx": RNG.uniform(-5, 30, 300), "digamma": logarithmic(0.01, 1e8), "psi": logarithmic(0.01, 1e8),
    "gammaln": logarithmic(0.01, 1e8), "sinc": RNG.uniform(-2, 2, 300),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_of_one_matches_torch(name):
    x = DOMAINS.get(name, RNG.uniform(-6, 6, 300))
    rtol = 1e-9 if name in ("digamma", "psi") else 1e-12  # torch's trigamma, their derivative, has nine digits
    compare(lambda t, x: of(t, name)(x), x, rtol=rtol, atol=1e-13)
    compare(lambda t, x: of(t, name)(x), x.astype("float32"), rtol=2e-5, atol=2e-6)
    compare(lambda t, x: of(t, name)(x.t()), x.reshape(20, 15), rtol=rtol, atol=1e-13)
    compare(lambda t, x: of(t, name)(x), x[:0])
    compare(lambda t, x: of(t, name)(x), EDGES, grad=False, rtol=1e-11)


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_without_gradient_matches_torch(name):
    x = np.random.default_rng(5).uniform(0.01, 30, 300)
    # torch's own waves have six digits, as SciPy's and mpmath's show
    atol = 2e-6 if name.startswith("bessel") else 1e-14
    compare(lambda t, x: of(t, name)(x), x, rtol=1e-11, atol=atol)  # and neither requires a gradient
    compare(lambda t, x: of(t, name)(x), x.astype("float32"), rtol=2e-4, atol=2e-6)
    compare(lambda t, x: of(t, name)(x), EDGES, grad=False, rtol=1e-10, atol=1e-15)
    if "_k" not in name and "_y" not in name:
        compare(lambda t, x: of(t, name)(x), -x, grad=False, rtol=1e-11, atol=5e-6 if name == "airy_ai" else atol)


SCIPY = {
    "lgamma": "gammaln", "digamma": "psi", "i0": "i0", "i0e": "i0e", "i1": "i1", "i1e": "i1e", "erf": "erf", "erfc": "erfc",
    "erfcx": "erfcx", "erfinv": "erfinv", "ndtr": "ndtr", "ndtri": "ndtri", "log_ndtr": "log_ndtr", "bessel_j0": "j0",
    "bessel_j1": "j1", "bessel_y0": "y0", "bessel_y1": "y1", "modified_bessel_k0": "k0", "modified_bessel_k1": "k1",
    "scaled_modified_bessel_k0": "k0e", "scaled_modified_bessel_k1": "k1e",
}  # fmt: skip


@pytest.mark.parametrize("name", SCIPY)
def test_to_the_last_digits(name):
    """The kernels, which compute in double precision, against SciPy's functions over wide domains."""
    scipy = pytest.importorskip("scipy.special", reason="SciPy is the judge of the last digits")
    from lamina.engine import kernels as k

    if name in ("erfinv", "ndtri"):
        x = np.concatenate([logarithmic(1e-300, 0.5, 2000), 1 - logarithmic(1e-16, 0.5, 2000)])
    elif name in ("lgamma", "digamma"):
        x = np.concatenate([logarithmic(1e-250, 1e250, 2000), logarithmic(1e-3, 40, 2000), 2 + logarithmic(1e-4, 1, 200)])
    elif name in ("i0", "i1", "erfc", "ndtr", "erfcx"):
        x = np.concatenate([logarithmic(1e-10, 20, 2000), -logarithmic(1e-10, 20, 2000)])
    elif name.startswith(("bessel", "modified", "scaled")):
        x = np.concatenate([logarithmic(1e-8, 500, 3000), RNG.uniform(0, 30, 2000)])
    else:
        x = np.concatenate([logarithmic(1e-10, 1e6, 2000), -logarithmic(1e-10, 1e6, 2000)])
    waves = name.startswith("bessel")
    wanted = getattr(scipy, SCIPY[name])(x)
    rtol = {"lgamma": 1e-11, "ndtr": 1e-12, "erfc": 1e-12, "log_ndtr": 1e-12, "erfcx": 1e-13}.get(name, 5e-15)
    np.testing.assert_allclose(getattr(k, name)(x), wanted, rtol=2e-14 if waves else rtol, atol=5e-15 if waves else 1e-300)


def test_zeros_of_the_logarithm_of_gamma_keep_their_digits():
    x = lamina.tensor([1 + 1e-9, 2 + 1e-9, 1 - 1e-9], dtype=lamina.float64)
    t = x.numpy() - np.rint(x.numpy())
    euler, basel = 0.5772156649015329, np.pi**2 / 6
    wanted = [-euler * t[0] + basel / 2 * t[0] ** 2, (1 - euler) * t[1], -euler * t[2] + basel / 2 * t[2] ** 2]
    assert_same(lamina.lgamma(x), np.array(wanted), rtol=1e-9, atol=0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 30])
def test_polygamma(n):
    x = np.concatenate([logarithmic(0.05, 1e3, 100), RNG.uniform(0.1, 0.9, 20) - RNG.integers(1, 6, 20)])
    rtol = 1e-9 if n < 2 else 1e-11  # torch's trigamma has nine digits
    compare(lambda t, x: t.polygamma(n, x), x[:100], rtol=rtol, atol=1e-13)
    compare(lambda t, x: x.polygamma(n), x, grad=False, rtol=rtol, atol=1e-12)
    compare(lambda t, x: t.special.polygamma(n, x), x[:100].astype("float32"), grad=False, rtol=1e-5, atol=1e-6)
    leaf = lamina.tensor([0.7, 2.3, 5.1, -0.4], dtype=lamina.float64, requires_grad=True)
    if n < 4:
        assert gradcheck(lambda x: lamina.polygamma(n, x), leaf) and gradgradcheck(lambda x: lamina.polygamma(n, x), leaf)


def test_poles():
    poles = lamina.tensor([0.0, -1.0, -2.0], dtype=lamina.float64)
    assert lamina.polygamma(1, poles).isposinf().all() and lamina.lgamma(poles).isposinf().all()
    assert lamina.digamma(poles).isnan().tolist() == [False, True, True]


def test_zeta():
    s, q = 1 + logarithmic(1e-3, 30, 200), logarithmic(1e-3, 1e4, 200)
    compare(lambda t, s, q: t.special.zeta(s, q), s, q, grad=False, rtol=1e-12)
    s = np.array([2.0, 1.0, 0.5, 3.0, -1.0, np.nan, 2.0, 3.0, 2.5, 2.5, 4.0, np.inf, 2.0])
    q = np.array([1.0, 1.0, 1.0, -1.0, 0.5, 1.0, 0.0, -0.5, -0.5, 0.0, -1.5, 2.0, np.inf])
    compare(lambda t, s, q: t.special.zeta(s, q), s, q, grad=False, rtol=1e-12)
    compare(lambda t, q: t.special.zeta(2, q), q[:3], grad=False)
    compare(lambda t, s: t.special.zeta(s, 2.5), s[:3], grad=False)
    x = lamina.tensor([0.7, 2.3], dtype=lamina.float64, requires_grad=True)
    assert gradcheck(lambda q: special.zeta(3.0, q), x) and gradgradcheck(lambda q: special.zeta(3.0, q), x)
    same_error(lambda t: t.special.zeta(t.tensor([2.0], requires_grad=True), t.tensor([1.0])).backward())
    same_error(lambda t: t.special.zeta(2.0, 3.0))


@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_incomplete_gamma(name):
    scipy = pytest.importorskip("scipy.special", reason="SciPy is the judge of the last digits")
    for low, high, rtol in ((1e-10, 1, 1e-12), (1e-2, 30, 1e-12), (1, 300, 1e-12), (50, 1e4, 1e-10)):
        a = logarithmic(low, high, 2000)
        x = a * np.exp(RNG.normal(0, 1, 2000) * RNG.choice([0.01, 0.3, 2], 2000))
        ours = of(lamina, name)(lamina.from_numpy(a), lamina.from_numpy(x))
        np.testing.assert_allclose(ours.numpy(), getattr(scipy, name)(a, x), rtol=rtol, atol=1e-280)
    large = logarithmic(1e5, 1e12, 100)
    ours = of(lamina, name)(lamina.from_numpy(large), lamina.from_numpy(large + np.sqrt(large) * RNG.normal(0, 2, 100)))
    assert ((ours > 0) & (ours < 1)).all()
    a = np.array([1.0, 0.0, 1.0, 0.0, -1.0, np.inf, 1.0, np.inf, np.nan, 1.0])
    x = np.array([0.0, 1.0, np.inf, 0.0, 1.0, 1.0, -1.0, np.inf, 1.0, np.nan])
    compare(lambda t, a, x: of(t, name)(a, x), a, x, grad=False)
    a, x = logarithmic(0.3, 30, 50), logarithmic(0.3, 30, 50)
    compare(lambda t, x: of(t, name)(t.from_numpy(a), x), x, rtol=1e-10)
    compare(lambda t, x: of(t, name)(t.from_numpy(a[:, None]), x), x, grad=False, rtol=1e-10)
    leaf = lamina.tensor([0.7, 2.3, 5.1], dtype=lamina.float64, requires_grad=True)
    shape = lamina.tensor([1.5, 0.4, 6.0], dtype=lamina.float64)
    assert gradcheck(lambda x: of(lamina, name)(shape, x), leaf) and gradgradcheck(lambda x: of(lamina, name)(shape, x), leaf)
    same_error(lambda t: of(t, name)(t.tensor([1.0], requires_grad=True), t.tensor([2.0])).backward())
    same_error(lambda t: of(t, name)(t.tensor([1]), t.tensor([2])))
    same_error(lambda t: of(t, name)(t.tensor([1.0]), 2.0))


def test_xlog1py_and_multigammaln():
    x, y = np.array([0.0, 0.0, 1.0, 2.0, 0.0, -1.0]), np.array([-1.0, np.nan, -1.0, 3.0, -2.0, 0.5])
    compare(lambda t, x, y: t.special.xlog1py(x, y), x, y, grad=False)
    compare(lambda t, x, y: t.special.xlog1py(x, y), x[3:], abs(y[3:]))
    compare(lambda t, y: t.special.xlog1py(2, y), np.array([1, 2]))
    for p in (1, 2, 5):
        compare(lambda t, x, p=p: t.special.multigammaln(x, p), np.array([3.0, 2.1, 10.0]), rtol=1e-12)
        compare(lambda t, x, p=p: x.mvlgamma(p), np.array([3.0, 2.1, 10.0], "float32"), rtol=1e-5)
    compare(lambda t, x: t.mvlgamma(x, 2), np.array([1, 2, 3]))
    same_error(lambda t: t.mvlgamma(t.ones(2), 0))


@pytest.mark.parametrize("name", POLYNOMIALS + SHIFTED)
def test_polynomials(name):
    need_torch()
    x = np.concatenate([RNG.uniform(-1, 1, 20), RNG.uniform(-3, 3, 10), [1.0, -1.0, 0.0, 0.5, 2.0]])[:, None]
    n = np.array([0.0, 1.0, 2.0, 2.7, 5.0, 7.0, 9.0, 12.0, 20.0, -1.0])
    compare(lambda t, x, n: of(t, name)(x, n), x, n, rtol=1e-9, atol=1e-9)  # and neither requires a gradient
    compare(lambda t, x: of(t, name)(x, 3), x.astype("float32"), grad=False, rtol=1e-4, atol=1e-5)
    compare(lambda t, n: of(t, name)(0.3, n), n, grad=False, rtol=1e-9, atol=1e-9)
    compare(lambda t, x, n: of(t, name)(x, n), np.array([1, 2]), np.array([2, 3]), grad=False)
    if name.startswith("hermite"):
        compare(lambda t, x: of(t, name)(x, 600), np.array([0.1]), grad=False)
    same_error(lambda t: of(t, name)(t.ones(2).half(), 3))
    same_error(lambda t: of(t, name)(t.ones(2).cfloat(), 1))
    same_error(lambda t: of(t, name)(0.3, 2))


def test_reductions():
    x = RNG.standard_normal((3, 4))
    for name in ("softmax", "log_softmax", "logsumexp"):
        compare(lambda t, x, f=name: of(t, f)(x, 1), x)
    compare(lambda t, x: t.special.softmax(x, 0, dtype=t.float64), x.astype("float32"), grad=False)
    compare(lambda t, x: t.special.round(x, decimals=1), x)
    compare(lambda t, x, y: t.special.xlogy(x, y), abs(x), abs(x) + 1)


INSIDE = {"erfinv": [0.3, -0.7], "ndtri": [0.3, 0.01], "logit": [0.3, 0.9], "entr": [0.3, 2.0], "log1p": [0.3, -0.5]}


@pytest.mark.parametrize("name", [n for n in ONE if n != "psi"])
def test_gradients(name):
    x = lamina.tensor(INSIDE.get(name, [0.7, 2.3, -0.4, -2.6, 9.5]), dtype=lamina.float64, requires_grad=True)
    assert gradcheck(of(lamina, name), x) and gradgradcheck(of(lamina, name), x)


@pytest.mark.parametrize("name", ["i1", "i1e", "i0e", "entr"])
def test_gradients_at_zero(name):
    compare(lambda t, x: of(t, name)(x), np.array([0.0, -0.0, 1.0]))


@pytest.mark.parametrize("name", (*ONE, *NO_GRADIENT))
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "complex64"])
def test_dtypes(name, dtype):
    torch = need_torch()

    def call(t):
        return of(t, name)(t.tensor([1, 0], dtype=getattr(t, dtype)))

    try:
        wanted = call(torch)
    except Exception:
        if not (dtype == "complex64" and name in ("exp2", "expit", "expm1", "log1p", "sinc")):
            same_error(call)
    else:
        if dtype != "complex64":
            assert_same(call(lamina), wanted, rtol=2e-3 if dtype == "float16" else 1e-5)


def test_names_and_in_place_forms():
    torch = need_torch()
    helpers = {"common_args", "multi_dim_common"}
    assert {n for n in dir(torch.special) if n[0] != "_" and n not in ("torch", "Tensor")} - helpers == set(special.__all__)
    for t in (lamina, torch):
        x = t.tensor([1.5, 3.5], dtype=t.float64)
        wanted = t.lgamma(x)
        assert x.clone().lgamma_().equal(wanted) and x.clone().polygamma_(1).equal(t.polygamma(1, x))
        assert x.clone().digamma_().equal(t.digamma(x)) and t.i0_(x.clone()).equal(x.i0()) and x.clone().i0_().equal(x.i0())
        assert x.clone().mvlgamma_(2).equal(x.mvlgamma(2)) and x.clone().igamma_(x).equal(t.igamma(x, x))
        out = t.empty(2, dtype=t.float64)
        assert t.special.erfcx(x, out=out) is out and t.lgamma(x, out=out) is out and out.equal(wanted)
    for bad in (
        lambda t: t.lgamma(1.0), lambda t: t.polygamma(-1, t.ones(1)), lambda t: t.polygamma(1.5, t.ones(1)),
        lambda t: t.polygamma(1, 2.0), lambda t: t.special.i0e([1.0]), lambda t: t.tensor([1]).lgamma_(),
    ):  # fmt: skip
        same_error(bad)
