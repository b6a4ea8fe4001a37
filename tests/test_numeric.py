"""Covariances, finite differences, segments, histograms, copying views, and layers' functions on the module itself."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

pytestmark = pytest.mark.filterwarnings("ignore:cov\\(\\).*:UserWarning", "ignore:.*beta stage.*:UserWarning")
RNG = np.random.default_rng(0)
X, V = RNG.standard_normal((3, 5)), RNG.standard_normal(6)
F, A = np.array([1, 2, 0, 3, 1]), np.array([0.5, 1.0, 2.0, 0.1, 0.7])


def leaf(x):
    return lamina.from_numpy(x.copy()).requires_grad_()


CASES = {
    "renorm": (lambda t, x: t.renorm(x, 2, 0, 1.0), X),
    "renorm p": (lambda t, x: x.renorm(1, 1, 0.7), X),
    "renorm 3-d": (lambda t, x: x.reshape(3, 5, 1).renorm(3, -2, 0.7), X),
    "cov": (lambda t, x: t.cov(x), X),
    "cov vector": (lambda t, x: t.cov(x, correction=0), V),
    "cov f": (lambda t, x: x.cov(fweights=t.from_numpy(F)), X),
    "cov a": (lambda t, x: x.cov(aweights=t.from_numpy(A)), X),
    "cov fa": (lambda t, x: x.cov(fweights=t.from_numpy(F), aweights=t.from_numpy(A)), X),
    "cov 0": (lambda t, x: x.cov(correction=0, aweights=t.from_numpy(A)), X),
    "cov int": (lambda t, x: t.cov(x), np.array([[1, 2, 4], [0, 1, -1]])),
    "corrcoef": (lambda t, x: t.corrcoef(x), X),
    "corrcoef vector": (lambda t, x: x.corrcoef(), V),
    "frexp": (lambda t, x: t.frexp(x)[0], X * 100),
    "gradient": (lambda t, x: t.gradient(x), X),
    "gradient int": (lambda t, x: t.gradient(x), np.array([1, 2, 4, 8])),
    "gradient dim": (lambda t, x: t.gradient(x, spacing=2.0, dim=1), X),
    "gradient edge": (lambda t, x: t.gradient(x, edge_order=2), X),
    "gradient steps": (lambda t, x: t.gradient(x, spacing=[1.0, 3.0]), X),
    "gradient points": (lambda t, x: t.gradient(x, spacing=(t.tensor([0.0, 1, 3], dtype=t.float64), t.tensor([0.0, 1, 3, 4, 6],
                        dtype=t.float64))), X),
    "gradient points edge": (lambda t, x: t.gradient(x, dim=1, edge_order=2, spacing=(t.tensor([0.0, 1, 3, 4, 6],
                             dtype=t.float64),)), X),
    "conj": (lambda t, x: t.conj_physical(x * (1 + 2j)), X),
    **{
        f"segments {how} {start}": (
            lambda t, x, h=how, i=start: t.segment_reduce(x, h, lengths=t.tensor([1, 0, 2]), initial=i, unsafe=False), X
        )
        for how in ("sum", "mean", "max", "min", "prod") for start in (None, 0.5)
    },
    "segments axis": (lambda t, x: t.segment_reduce(x, "sum", lengths=t.tensor([[2, 3], [1, 4], [5, 0]]), axis=1), X),
    "segments offsets": (lambda t, x: t.segment_reduce(x, "mean", offsets=t.tensor([0, 1, 3])), X),
    "scatter": (lambda t, x: t.as_strided_scatter(x, x[0, :2] * 3, (2,), (2,), 1), X),  # torch's gradient forgets the rest
    "diagonal_copy": (lambda t, x: t.diagonal_copy(x, 1), X),
    "transpose_copy": (lambda t, x: t.transpose_copy(x, 0, 1), X),
    "slice_copy": (lambda t, x: t.slice_copy(x, 1, 1, 4, 2), X),
    "split_copy": (lambda t, x: t.split_copy(x, 2, 1), X),
    "unbind_copy": (lambda t, x: t.unbind_copy(x), X),
    "expand_copy": (lambda t, x: t.expand_copy(x[:, :1], (3, 4)), X),
    "view_copy": (lambda t, x: t.view_copy(x, (5, 3)), X),
    "permute_copy": (lambda t, x: t.permute_copy(x, (1, 0)), X),
    "select_copy": (lambda t, x: t.select_copy(x, 1, 2), X),
    "squeeze_copy": (lambda t, x: t.squeeze_copy(x[:1], 0), X),
    "unsqueeze_copy": (lambda t, x: t.unsqueeze_copy(x, 0), X),
    "unfold_copy": (lambda t, x: t.unfold_copy(x, 1, 2, 2), X),
    "kl_div": (lambda t, x: (t.kl_div(x, x.exp(), 2), t.kl_div(x, x.exp()), t.kl_div(x, x.exp(), 1),
                             t.kl_div(x, x, 0, log_target=True)), X),
    "poisson": (lambda t, x: t.poisson_nll_loss(x, x.detach().abs(), True, True, 1e-8, 1), X),
    "hinge": (lambda t, x: t.hinge_embedding_loss(x, x.detach().sign(), 0.5, 2), X),
    "ranking": (lambda t, x: t.margin_ranking_loss(x[0], x[1], x[2].detach().sign(), 0.1, 0), X),
    "cosine": (lambda t, x: t.cosine_embedding_loss(x, x * 2 + 1, t.tensor([1, -1, 1])), X),
    "triplet": (lambda t, x: t.triplet_margin_loss(x, x + 1, x * 2, 1.5, swap=True), X),
    "logits": (lambda t, x: t.binary_cross_entropy_with_logits(x, x.detach().sigmoid(), reduction=2), X),
    "embedding": (lambda t, x: t.embedding(x, t.tensor([0, 2, 2]), 0), X),
    "constant_pad_nd": (lambda t, x: t.constant_pad_nd(x, (1, 2), 3.0), X),
    "convolution": (lambda t, x: t.convolution(x[None], x[None, :, :2], None, [1], [1], [1], False, [0], 1), X),
    "transposed": (lambda t, x: t.convolution(x[None], x[:, None, :2], None, [2], [0], [1], True, [1], 1), X),
    "native_layer_norm": (lambda t, x: t.native_layer_norm(x, [5], None, None, 1e-5)[0], X),
    "native_group_norm": (lambda t, x: t.native_group_norm(x.reshape(1, 3, 5), None, None, 1, 3, 5, 3, 1e-5)[0], X),
    "native_batch_norm": (lambda t, x: t.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)[0], X),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_matches_torch(name):
    function, x = CASES[name]
    single = name == "cov int"
    compare(function, x, grad=name != "scatter", rtol=1e-6 if single else 1e-9, atol=1e-6 if single else 1e-11)


@pytest.mark.parametrize("name", ["renorm", "cov", "cov fa", "corrcoef", "frexp", "gradient",
                                  "gradient points edge", "segments sum None", "segments max 0.5", "segments prod 0.5",
                                  "scatter", "slice_copy"])  # fmt: skip
def test_gradients(name):
    function, x = CASES[name]
    assert gradcheck(lambda x: function(lamina, x), leaf(x)) and gradgradcheck(lambda x: function(lamina, x), leaf(x))


def test_without_gradients():
    x = np.array([8.0, -0.3, 0.0, np.inf, -np.inf, np.nan])
    compare(lambda t, x: tuple(t.frexp(x)), x, grad=False)
    compare(lambda t, x: tuple(t.frexp(x.float())), x, grad=False)
    for size in (0, 1, 4):
        compare(lambda t, x, n=size: t.nonzero_static(x, size=n, fill_value=-1), np.array([1, 0, 2]), grad=False)
        compare(lambda t, x, n=size: x.nonzero_static(size=n, fill_value=7), np.eye(2), grad=False)
    points = RNG.standard_normal((50, 2))
    for settings in ({"bins": [3, 4]}, {"bins": 2, "range": [-1.0, 1.0, -2.0, 0.5], "density": True}):
        compare(lambda t, x, s=settings: t.histogramdd(x, **s).hist, points, grad=False)
        compare(lambda t, x, s=settings: tuple(t.histogramdd(x, **s).bin_edges), points, grad=False)
    compare(lambda t, x: t.histogramdd(x, 2, weight=x[:, 0].abs()).hist, points, grad=False)
    compare(lambda t, x: tuple(t.native_layer_norm(x, [5], None, None, 1e-5))[1:], X, grad=False)
    compare(lambda t, x: tuple(t.native_group_norm(x.reshape(1, 3, 5), None, None, 1, 3, 5, 3, 1e-5))[1:], X, grad=False)
    compare(lambda t, x: tuple(t.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5))[1:], X, grad=False)
    for t in (lamina, need_torch()):
        assert t.empty_permuted((2, 3), (1, 0)).stride() == (1, 2)
        assert t.ones(2).renorm_ and t.conj_physical_(t.tensor([1 + 1j])).tolist() == [1 - 1j]
        assert t.addmv_(t.ones(2), t.ones(2, 2), t.ones(2)).tolist() == [3.0, 3.0]
        assert t.full((2, 2), 3.0).renorm_(2, 0, 1.0).pow(2).sum(1).allclose(t.ones(2))
        t._assert(True, "no")
        with pytest.raises(AssertionError, match="no"):
            t._assert(t.tensor(False), "no")
    assert_same(lamina.transpose_copy(lamina.ones(2, 3), 0, 1).is_contiguous(), True)


ERRORS = {
    "renorm int": lambda t: t.renorm(t.ones(2, 3).long(), 2, 0, 1),
    "renorm 1-d": lambda t: t.renorm(t.ones(3), 2, 0, 1),
    "renorm p": lambda t: t.renorm(t.ones(2, 3), -1, 0, 1),
    "renorm max": lambda t: t.renorm(t.ones(2, 3), 2, 0, -1),
    "cov 3-d": lambda t: t.cov(t.ones(2, 2, 2)),
    "cov bool": lambda t: t.cov(t.tensor([True, False])),
    "cov f": lambda t: t.cov(t.ones(2, 3), fweights=t.ones(3)),
    "cov a": lambda t: t.cov(t.ones(2, 3), aweights=t.ones(3).long()),
    "cov negative": lambda t: t.cov(t.ones(2, 3), fweights=t.tensor([1, -1, 1])),
    "frexp": lambda t: t.frexp(t.tensor([1])),
    "gradient spacing": lambda t: t.gradient(t.ones(3, 3), spacing=[1.0, 2.0, 3.0]),
    "gradient short": lambda t: t.gradient(t.ones(1)),
    "gradient edge": lambda t: t.gradient(t.ones(4), edge_order=3),
    "gradient dim": lambda t: t.gradient(t.ones(4), dim=(0, 0)),
    "histogramdd": lambda t: t.histogramdd(t.ones(3), [2]),
    "segments": lambda t: t.segment_reduce(t.ones(4), "sum", lengths=t.tensor([1, 2])),
    "segments none": lambda t: t.segment_reduce(t.ones(4), "sum"),
    "segments x": lambda t: t.segment_reduce(t.ones(4), "x", lengths=t.tensor([4])),
    "reduction": lambda t: t.kl_div(t.ones(2), t.ones(2), "mean"),
    "scatter": lambda t: t.as_strided_scatter(t.zeros(4), t.ones(3), (2,), (2,), 1),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_poisson_is_torchs_stream(dtype):
    torch = need_torch()
    for shape, low, high in (((7,), 0, 9), ((200,), 0, 40), ((3, 50), 5, 500), ((0,), 1, 2), ((), 3, 4)):
        rates = RNG.uniform(low, high, shape).astype(dtype)
        results = []
        for t in (lamina, torch):
            t.manual_seed(3)
            results.append((t.poisson(t.tensor(rates)), t.rand(3)))
        assert_same(*results, rtol=0, atol=0)
    x = lamina.tensor([2.0], requires_grad=True)
    lamina.poisson(x).sum().backward()
    assert x.grad.item() == 0
    for bad in (lambda t: t.poisson(t.tensor([-1.0])), lambda t: t.poisson(t.tensor([1])), lambda t: t.poisson(2.0)):
        same_error(bad)
