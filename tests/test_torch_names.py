"""Names that scripts use besides the layers: parts of sparse tensors, embedding bags as an operator, switches of backends."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support import assert_same, need_torch, pair, same_error

import lamina

pytest.importorskip("torch", reason="parity of names")
torch = need_torch()


@pytest.mark.parametrize("name", [
    "coalesce", "indices", "values", "is_coalesced", "crow_indices", "col_indices", "ccol_indices", "row_indices",
    "_indices", "_values", "_nnz", "_dimI", "_dimV",
])  # fmt: skip
def test_dense_tensors_have_no_sparse_parts(name):
    same_error(lambda m, x: getattr(x, name)(), np.ones((2, 3), np.float32), match=name)


def test_dimensions_of_layouts():
    for m in (lamina, torch):
        for shape in ((), (0,), (2, 3, 4)):
            x = m.zeros(shape)
            assert (x.sparse_dim(), x.dense_dim()) == (0, len(shape))
        x = m.ones(2, 3, 4).to_sparse(2)
        assert (x.sparse_dim(), x.dense_dim(), x._dimI(), x._dimV()) == (2, 1, 2, 1)
        with pytest.raises(RuntimeError, match="crow_indices.*Sparse"):
            x.crow_indices()


@pytest.mark.parametrize("size, stride", [((2, 3), (1, 2)), ((2, 3), (3, 1)), ((0, 3), (3, 1)), ((), ()), ((2, 3), (0, 1)),
                                          ((4,), (5,))])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_new_empty_strided(size, stride, dtype):
    for m in (lamina, torch):
        x = m.zeros(2, dtype=getattr(m, dtype)).new_empty_strided(size, stride)
        assert (tuple(x.shape), x.stride(), x.dtype) == (size, stride, getattr(m, dtype))
        x = m.zeros(2).new_empty_strided(size, stride, dtype=m.float64, requires_grad=True)
        assert x.dtype == m.float64 and x.requires_grad


@pytest.mark.parametrize("size, stride", [((2, 3), (1,)), ((2,), (-1,)), ((-1,), (1,))])
def test_impossible_strides(size, stride):
    same_error(lambda m: m.zeros(2).new_empty_strided(size, stride))
    same_error(lambda m: m.empty_strided(size, stride))


# -- embedding bags ------------------------------------------------------------------------------------------------

W = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
I = np.array([0, 2, 2, 4, 5, 1])  # noqa: E741  # indices


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("kind", ["int64", "int32"])
@pytest.mark.parametrize("offsets, last, padding", [
    ([0, 2], False, None), ([0, 2, 2, 5], False, None), ([0, 2, 6], True, None), ([0, 3], False, 2), ([0, 1, 6], True, -1),
    ([0], False, 4),
])  # fmt: skip
@pytest.mark.parametrize("grad", [True, False])
def test_embedding_bag(mode, dtype, kind, offsets, last, padding, grad):
    ours_w, theirs_w = pair(W.astype(dtype), grad)
    ours_i, theirs_i = pair(I.astype(kind))
    ours_o, theirs_o = pair(np.array(offsets, kind))
    rest = (False, mode, False, None, last) if padding is None else (False, mode, False, None, last, padding)
    ours, theirs = lamina.embedding_bag(ours_w, ours_i, ours_o, *rest), torch.embedding_bag(theirs_w, theirs_i, theirs_o, *rest)
    # the sizes of the bags of a sum are of no use, and PyTorch may leave there what it finds
    kept = (0, 1) if mode == 0 else (0, 1, 2, 3)
    assert_same([ours[j] for j in kept], [theirs[j] for j in kept])
    assert [x.requires_grad for x in ours] == [x.requires_grad for x in theirs]
    assert [tuple(x.shape) for x in ours] == [tuple(x.shape) for x in theirs]
    if grad and dtype != "float16":
        ours[0].square().sum().backward()
        theirs[0].square().sum().backward()
        assert_same(ours_w.grad, theirs_w.grad)


def test_embedding_bag_with_factors():
    factors = np.linspace(-1, 2, 12).astype(np.float32)
    for step in (1, 2):
        ours, theirs = (
            m.embedding_bag(m.from_numpy(W), m.from_numpy(I), m.tensor([0, 2]), False, 0, False,
                            m.from_numpy(factors[: 6 * step])[::step])
            for m in (lamina, torch)
        )  # fmt: skip
        assert_same(ours[:2], theirs[:2])


@pytest.mark.parametrize("change", [
    lambda m: {"mode": 3}, lambda m: {"mode": "sum"}, lambda m: {"mode": True}, lambda m: {"offsets": None},
    lambda m: {"offsets": m.tensor([0.0, 1.0])}, lambda m: {"offsets": m.tensor([1, 2])}, lambda m: {"offsets": m.tensor([[0]])},
    lambda m: {"offsets": m.tensor([0, 9])}, lambda m: {"weight": m.zeros(3)}, lambda m: {"weight": m.zeros(6, 3).long()},
    lambda m: {"indices": m.tensor([0.5])}, lambda m: {"indices": m.tensor([6])}, lambda m: {"indices": m.tensor([-1])},
    lambda m: {"mode": 1, "per_sample_weights": m.ones(6)}, lambda m: {"per_sample_weights": m.ones(5)},
])  # fmt: skip
def test_embedding_bag_errors(change):
    def call(m):
        given = {"weight": m.from_numpy(W), "indices": m.from_numpy(I), "offsets": m.tensor([0])}
        return m.embedding_bag(**{**given, **change(m)})

    same_error(call)


@pytest.mark.parametrize("p", [1.0, 2.0, float("inf")])
def test_embedding_renorm(p):
    ours, theirs = pair(W)
    assert lamina.embedding_renorm_(ours, lamina.from_numpy(I[:4]), 0.5, p) is ours
    torch.embedding_renorm_(theirs, torch.from_numpy(I[:4]), 0.5, p)
    assert_same(ours, theirs)
    before = ours._version
    lamina.embedding_renorm_(ours, lamina.from_numpy(I.reshape(2, 3)), 0.25, p)
    torch.embedding_renorm_(theirs, torch.from_numpy(I.reshape(2, 3)), 0.25, p)
    assert_same(ours, theirs)
    assert ours._version > before


@pytest.mark.parametrize("call", [
    lambda m, w: m.embedding_renorm_(w[0], m.tensor([0]), 1.0, 2.0),
    lambda m, w: m.embedding_renorm_(w, m.tensor([0.0]), 1.0, 2.0),
    lambda m, w: m.embedding_renorm_(w, m.tensor([9]), 1.0, 2.0),
    lambda m, w: m.embedding_renorm_(w, 3, 1.0, 2.0),
    lambda m, w: m.embedding_renorm_(w.requires_grad_(), m.tensor([0]), 1.0, 2.0),
    lambda m, w: m.embedding_renorm_(w.requires_grad_() * 2, m.tensor([0]), 1.0, 2.0).sum().backward(),
])  # fmt: skip
def test_embedding_renorm_errors(call):
    same_error(call, W)


# -- backends ------------------------------------------------------------------------------------------------------


def test_switches_of_attention():
    def told(m):
        cuda, names = m.backends.cuda, ("flash", "mem_efficient", "math", "cudnn")

        def state():
            return [getattr(cuda, f"{name}_sdp_enabled")() for name in names]

        results = [state()]
        for name in names:
            getattr(cuda, f"enable_{name}_sdp")(False)
            results.append(state())
            getattr(cuda, f"enable_{name}_sdp")(True)
            results.append(state())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for wanted in ((False, True, False, False), (True, True, False, True), (False, False, False, False)):
                with cuda.sdp_kernel(*wanted) as given:
                    results += [given, state()]
            results += [state(), {w.category for w in caught}]
        return results

    before = lamina.nn.attention._cur_sdpa_kernel_backends()
    try:
        assert told(lamina) == told(torch)
    finally:
        lamina.nn.attention._allowed = before


def test_opt_einsum():
    for m in (lamina, torch):
        module = m.backends.opt_einsum
        if module.is_available():
            continue  # this PyTorch has the library beside it
        assert (module.enabled, module.strategy, module.get_opt_einsum()) == (False, None, None)
        with pytest.raises(ValueError):
            module.set_flags(True)
        with module.flags(enabled=False):
            assert not module.enabled
