"""Attention with functions for scores and masks, and the settings of torch.nn.attention."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina.nn.attention import SDPBackend, _cur_sdpa_kernel_backends, flex_attention, sdpa_kernel

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # PyTorch's, that it is not compiled


def flex(t):
    need_torch()
    return importlib.import_module(f"{t.__name__}.nn.attention.flex_attention")


def arrays(q=(2, 4, 9, 8), k=(2, 4, 13, 8), v=(2, 4, 13, 6)):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(np.float32) for s in (q, k, v)]


def causal(b, h, q, kv):
    return q >= kv


SCORES = {
    "none": None,
    "relative": lambda s, b, h, q, kv: s + (q - kv) * 0.1,
    "alibi": lambda s, b, h, q, kv: s - (h + 1) * (q - kv).abs() * 0.05,
    "softcap": lambda s, b, h, q, kv: (s / 2).tanh() * 2,
}
MASKS = {
    "none": None, "causal": causal, "by head": lambda b, h, q, kv: (q - kv).abs() <= h + b,
    "empty rows": lambda b, h, q, kv: q > 4,
}  # fmt: skip


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mask", MASKS)
def test_as_pytorchs(score, mask):
    def run(t, q, k, v):
        f = flex(t)
        block = None if MASKS[mask] is None else f.create_block_mask(MASKS[mask], 2, 4, 9, 13, device="cpu")
        plain = f.flex_attention(q, k, v, SCORES[score], block)
        return plain, *f.flex_attention(q, k, v, SCORES[score], block, scale=0.3, return_lse=True)

    compare(run, *arrays(), grad=False, rtol=1e-5)


def test_gradients_and_heads():
    q, k, v = arrays(k=(2, 2, 13, 8), v=(2, 2, 13, 6))

    def ours(t, q, k, v):
        return flex_attention.flex_attention(q, k, v, SCORES["alibi"], enable_gqa=True)

    tensors = [lamina.from_numpy(x.astype(np.float64)).requires_grad_() for x in (q, k, v)]
    assert lamina.autograd.gradcheck(lambda *x: ours(lamina, *x), tensors)
    compare(
        lambda t, q, k, v: flex(t).flex_attention(q, k, v, SCORES["alibi"], enable_gqa=True), q, k, v, grad=False, rtol=1e-5
    )


def test_block_masks():
    ours, theirs = (flex(t).create_block_mask(causal, 1, 2, 200, 300, device="cpu") for t in (lamina, need_torch()))
    assert ours.shape == theirs.shape and ours.numel() == theirs.numel() and ours.BLOCK_SIZE == theirs.BLOCK_SIZE
    assert ours.sparsity() == pytest.approx(theirs.sparsity())
    assert_same(ours.to_dense(), theirs.to_dense())
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert_same(getattr(ours, name), getattr(theirs, name))
    for f in (lambda f: f.and_masks(causal, MASKS["by head"]), lambda f: f.or_masks(causal, MASKS["by head"])):
        assert_same(*(flex(t).create_mask(f(flex(t)), 1, 3, 5, 6, device="cpu") for t in (lamina, need_torch())))
    assert_same(*(flex(t).create_mask(flex(t).noop_mask, 1, 3, 5, 6, device="cpu") for t in (lamina, need_torch())))


ERRORS = {
    "dims": lambda f, q, k, v, t: f.flex_attention(q[0], k, v),
    "heads": lambda f, q, k, v, t: f.flex_attention(q, k[:, :1], v[:, :1]),
    "width": lambda f, q, k, v, t: f.flex_attention(q, k[..., :4], v),
    "lengths": lambda f, q, k, v, t: f.flex_attention(q, k, v, block_mask=f.create_block_mask(causal, 1, 1, 7, 7, device="cpu")),
    "no function": lambda f, q, k, v, t: f.create_block_mask(3, 1, 1, 2, 2, device="cpu"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(lambda t, q, k, v: ERRORS[name](flex(t), q, k, v, t), *arrays())


def test_sdpa_kernel():
    q = lamina.ones(1, 1, 2, 4)
    before = _cur_sdpa_kernel_backends()
    for wanted in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        with sdpa_kernel(wanted):
            assert _cur_sdpa_kernel_backends() == (wanted if isinstance(wanted, list) else [wanted])
            assert lamina.nn.functional.scaled_dot_product_attention(q, q, q).shape == q.shape
    assert _cur_sdpa_kernel_backends() == before
    with pytest.raises(AssertionError, match="got int"), sdpa_kernel(3):
        pass


def test_backends_have_pytorchs_numbers():
    need_torch()
    from torch.nn.attention import SDPBackend as Theirs

    assert {b.name: b.value for b in SDPBackend} == {k: int(v.value) for k, v in Theirs.__members__.items()}
