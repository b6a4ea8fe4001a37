"""bfloat16 and float16: what is stored in 16 bits is computed in float32 and rounded once, as PyTorch does on a CPU."""

import pickle
import re

import numpy as np
import pytest
from support import need_torch

import lamina

HALVES = ("bfloat16", "float16")
EPS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # half the distance from 1 to the next number


def values(shape, seed=0, scale=1.0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, np.float32)


def tensors(arrays, dtype, grad=False):
    """The arrays as tensors of both libraries: floats in the half type, everything else as it is."""
    torch = need_torch()
    pairs = []
    for a in arrays:
        ours, theirs = lamina.from_numpy(a.copy()), torch.from_numpy(a.copy())
        if a.dtype == np.float32:
            ours, theirs = ours.to(getattr(lamina, dtype)), theirs.to(getattr(torch, dtype))
            if grad:
                ours.requires_grad_()
                theirs.requires_grad_()
        pairs.append((ours, theirs))
    return [p[0] for p in pairs], [p[1] for p in pairs]


def assert_same(ours, theirs, eps, what=""):
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs), what
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, eps, what)
        return
    if not hasattr(theirs, "dtype"):
        assert ours == theirs or (ours != ours and theirs != theirs), (what, ours, theirs)
        return
    assert repr(ours.dtype) == repr(theirs.dtype), f"{what}: dtype {ours.dtype} is not torch's {theirs.dtype}"
    assert tuple(ours.shape) == tuple(theirs.shape), f"{what}: shape {ours.shape} is not torch's {theirs.shape}"
    if theirs.is_floating_point():
        ours, theirs = ours.detach().double(), theirs.detach().double()
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    if eps:
        scale = float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0))
        np.testing.assert_allclose(a, b, rtol=eps, atol=eps * max(scale, 1e-3), err_msg=what)
    else:
        np.testing.assert_array_equal(a, b, err_msg=what)


def check(text, dtype, arrays, eps, grad_eps=None):
    """The expression ``text`` in ``t``, ``F``, ``x``, ``y``, ``z``, ``i`` and ``m``, forward and (with ``grad_eps``) backward."""
    torch = need_torch()
    ours, theirs = tensors(arrays, dtype, grad_eps is not None)
    names = ("x", "y", "z", "i", "m")
    space = {"np": np, "INF": float("inf"), "NAN": float("nan")}
    a = eval(text, space, {"t": lamina, "F": lamina.nn.functional, **dict(zip(names, ours, strict=False))})  # noqa: S307
    b = eval(text, space, {"t": torch, "F": torch.nn.functional, **dict(zip(names, theirs, strict=False))})  # noqa: S307
    assert_same(a, b, eps, text)
    if grad_eps is None:
        return
    if isinstance(b, (tuple, list)):
        keep = [n for n, v in enumerate(b) if v.requires_grad]
        a, b = sum(a[n].sum() for n in keep), sum(b[n].sum() for n in keep)
    assert a.requires_grad == b.requires_grad, text
    if not b.requires_grad:
        return
    g = values(tuple(b.shape), 9)
    a.backward(lamina.from_numpy(g).to(a.dtype))
    b.backward(torch.from_numpy(g).to(b.dtype))
    for o, c in zip(ours, theirs, strict=True):
        if c.grad is None:
            assert o.grad is None or not o.grad.any(), text
        elif c.is_floating_point():
            assert_same(o.grad, c.grad, grad_eps, text + " (gradient)")


X, Y, Z = values((3, 4)), values((3, 4), 1), values((3, 4), 2)
I = np.array([[0, 2, 1, 3], [3, 1, 0, 2], [1, 1, 2, 0]])  # noqa: E741
M = np.arange(12).reshape(3, 4) % 3 == 0

# Single operations of one tensor or two: rounded once, and so equal to the last bit.
EXACT = """
x+y x-y x*y x/y x+1 x+0.1 x*0.1 0.3-x 1/x x/3 x**2 x.abs()**0.5 -x x.abs() x.sign() x.neg() x.square() x.abs().sqrt()
x.floor() x.ceil() x.trunc() x.round() x.frac() t.maximum(x,y) t.minimum(x,y) t.fmax(x,y) x.clamp(-0.5,0.5) x.clamp_min(0)
t.where(m,x,y) t.where(m,x,0.1) x==y x<y x>=0.1 x.eq(x) x!=0 x.isnan() x.isfinite() x.signbit() x.relu() F.relu6(x*4) F.leaky_relu(x,0.01)
F.hardtanh(x) F.threshold(x,0.1,0.3) x.masked_fill(m,0.1) x.reciprocal() x.fmod(0.7) x.remainder(0.7) x//0.3 t.copysign(x,y) x.lerp(y,0.3)
x.t() x.flip(0) x.roll(1,0) x[1] x[:,::2] x[m] x[[0,2]] x.gather(1,i) t.cat([x,y]) t.stack([x,y]) x.repeat(2,1) x.tril() x.expand(2,3,4)
x.diag() x.index_select(0,t.tensor([2,0])) x.take_along_dim(i,1) x.split(2,1) x.chunk(2) x.unbind(0) x.max() x.min() x.amax(1) x.argmax(1)
x.sort(1) x.topk(2) x.argsort(0) x.max(1) x.median() x.kthvalue(2,1) x.cummax(0) x.unique() x.nan_to_num() x.logical_not() x.bool() x.long() x.float()
x.double() x.to(t.float16) x.to(t.bfloat16) x.nonzero() x.any() x.all() x.new_zeros(2) t.zeros_like(x) t.ones_like(x) t.full_like(x,0.1)
x.unsqueeze(0) x.permute(1,0).contiguous() x.reshape(2,6) F.pad(x,(1,2)) x.tolist() x.mT t.nextafter(x,y) x.heaviside(y) x.masked_select(m)
t.searchsorted(x[0].sort()[0],y) x.hypot(y) x.numel() 0.3/x t.add(x,y,alpha=0.1) x+t.tensor(0.1) x*t.tensor(0.1) x-t.tensor(0.1,dtype=t.float64) t.allclose(x,x) t.equal(x,y) x.isclose(y) x.count_nonzero() x.trace()
""".split()
# Functions whose own digits may differ in float32, which shows in the last bit of a half at times.
CLOSE = """
x.exp() x.abs().log() x.sin() x.cos() x.tanh() x.sigmoid() x.erf() x.atan() x.expm1() x.abs().log1p() x.abs().rsqrt() x.asinh() x.sinh() x.tan()
x.exp2() x.abs().log2() x.abs().log10() t.atan2(x,y) x.abs()**y F.gelu(x) F.silu(x) F.elu(x) F.selu(x) F.celu(x) F.softplus(x) F.mish(x)
F.logsigmoid(x) F.hardswish(x) F.hardsigmoid(x) F.softsign(x) F.tanhshrink(x) F.hardshrink(x) F.softshrink(x) F.gelu(x,approximate='tanh') x.sinc()
t.logaddexp(x,y) x.erfc() x.sigmoid().logit()
x.sum() x.sum(1) x.mean() x.mean(0) x.prod(1) x.var() x.std(1) x.norm() x.norm(dim=1) x.logsumexp(1) x.cumsum(1) x.cumprod(0) x.softmax(1)
x.log_softmax(0) x.sum(dtype=t.float32) x.mean(dtype=t.float32) x.softmax(1,dtype=t.float32) x.nansum() t.var_mean(x,1) x.dist(y)
x@y.t() t.mm(x,y.t()) x[0]@y[0] x@y[0] t.addmm(x[:,:3],y,z.t()) t.bmm(x[None],y.t()[None]) t.outer(x[0],y[0]) t.einsum('ij,kj->ik',x,y)
t.addmv(x[:,0],y,z[0]) t.baddbmm(x[None,:,:3],y[None],z.t()[None]) t.kron(x,y) t.tensordot(x,y.t(),1)
F.linear(x,y) F.linear(x,y,z[:,0]) F.layer_norm(x,(4,)) F.layer_norm(x,(4,),y[0],z[0]) F.rms_norm(x,(4,)) F.rms_norm(x,(4,),y[0]) F.group_norm(x[None].reshape(1,2,6),2) F.normalize(x)
F.batch_norm(x,None,None,y[0],z[0],True) F.cosine_similarity(x,y) F.pairwise_distance(x,y) F.glu(x)
F.mse_loss(x,y) F.l1_loss(x,y) F.smooth_l1_loss(x,y) F.huber_loss(x,y) F.cross_entropy(x,i[:,0]) F.nll_loss(x,i[:,0]) F.cross_entropy(x,y.softmax(1))
F.binary_cross_entropy_with_logits(x,y.sigmoid()) F.binary_cross_entropy(x.sigmoid(),y.sigmoid()) F.kl_div(x,y.softmax(1),reduction='batchmean')
F.gaussian_nll_loss(x,y,z.abs()+1) F.poisson_nll_loss(x,y) F.margin_ranking_loss(x,y,z.sign()) F.hinge_embedding_loss(x,y.sign())
F.cosine_embedding_loss(x,y,i[:,0]*0+1) F.triplet_margin_loss(x,y,z) F.soft_margin_loss(x,y.detach().sign())
F.embedding(i,x.t()) F.embedding_bag(i,x.t()) F.embedding_bag(i,x.t(),mode='max') x.addcmul(y,z) x.addcdiv(y,z,value=0.1)
F.prelu(x,y[0,:1].abs()) F.scaled_dot_product_attention(x[None],y[None],z[None]) F.scaled_dot_product_attention(x[None],y[None],z[None],is_causal=True)
x.scatter_add(1,i,y) x.index_add(0,t.tensor([0,0]),y[:2]) x.scatter(1,i*0,y) t.index_put(x,(t.tensor([0,1]),),y[0]) x.index_copy(0,t.tensor([1]),y[:1])
t.lerp(x,y,z.sigmoid()) x.diff() x.clone() t.clamp(x,y-1,y+1) F.layer_norm(x,(4,),y[0].float(),z[0].float()) F.group_norm(x[None].reshape(1,2,6),2,y[0,:2].float(),z[0,:2].float()) F.batch_norm(x,y[0].detach().float(),z[0].detach().abs().float(),y[1].float(),z[1].float()) x+z.float() x*z.float().sum() x.to(t.float32)+x.half()*y.bfloat16() t.where(m,x,z.float()) t.maximum(x,z.float()) F.mse_loss(x,z.float()) t.logcumsumexp(x,1) x.aminmax() t.nanmean(x) x.std() x.var(0,correction=0)
F.conv1d(x[None],y.reshape(2,3,2)) F.max_pool1d(x[None],2) F.avg_pool1d(x[None],2) F.adaptive_avg_pool1d(x[None],2) F.interpolate(x[None],scale_factor=2) F.interpolate(x[None],scale_factor=2,mode='linear')
F.lp_pool1d(x[None].abs(),2,2) F.adaptive_max_pool1d(x[None],2) F.softmin(x,1) F.one_hot(i) F.multilabel_soft_margin_loss(x,y.sigmoid())
""".split()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("text", EXACT)
def test_single_operations_are_rounded_once(text, dtype):
    check(text, dtype, (X, Y, Z, I, M), 0)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("text", CLOSE)
def test_functions(text, dtype):
    check(text, dtype, (X, Y, Z, I, M), 2.1 * EPS[dtype], 8 * EPS[dtype])


# -- layers ----------------------------------------------------------------------------------------------------------

# A layer, and its inputs by shape: floats, indices below 10 (i), classes (j), probabilities (u).
MODULES = """
nn.Linear(6,4) | (5,6)
nn.Conv1d(3,4,3,padding=1) | (2,3,8)
nn.Conv2d(3,4,3,stride=2,groups=1) | (2,3,8,8)
nn.Conv3d(2,3,2) | (1,2,4,4,4)
nn.ConvTranspose2d(3,4,3) | (2,3,5,5)
nn.BatchNorm1d(4) | (6,4)
nn.BatchNorm2d(4) | (3,4,5,5)
nn.InstanceNorm2d(4,affine=True,track_running_stats=True) | (3,4,5,5)
nn.LayerNorm(6) | (4,6)
nn.GroupNorm(2,4) | (3,4,5)
nn.RMSNorm(6) | (4,6)
nn.LocalResponseNorm(2) | (2,4,5)
nn.MaxPool2d(2) | (2,3,6,6)
nn.AvgPool2d(2) | (2,3,6,6)
nn.AdaptiveAvgPool2d(2) | (2,3,6,6)
nn.AdaptiveMaxPool2d(2) | (2,3,6,6)
nn.LPPool2d(2,2) | (2,3,6,6)
nn.Upsample(scale_factor=2) | (1,2,3,3)
nn.Upsample(scale_factor=2,mode='bilinear') | (1,2,3,3)
nn.Upsample(scale_factor=2,mode='bicubic') | (1,2,4,4)
nn.PixelShuffle(2) | (1,4,3,3)
nn.ReflectionPad2d(1) | (1,2,3,3)
nn.ReplicationPad2d(1) | (1,2,3,3)
nn.Unfold(2) | (1,2,4,4)
nn.Fold((4,4),2) | (1,8,9)
nn.Softmax(1) | (3,4)
nn.PReLU(3) | (2,3,4)
nn.Softplus() | (3,4)
nn.LSTM(4,5,num_layers=2,bidirectional=True) | (3,2,4)
nn.GRU(4,5) | (3,2,4)
nn.RNN(4,5) | (3,2,4)
nn.LSTMCell(4,5) | (2,4)
nn.GRUCell(4,5) | (2,4)
nn.TransformerEncoderLayer(8,2,16,dropout=0.0) | (4,2,8)
nn.TransformerEncoderLayer(8,2,16,dropout=0.0,batch_first=True,norm_first=True) | (2,4,8)
nn.Bilinear(4,4,3) | (2,4) (2,4)
nn.CosineSimilarity() | (3,4) (3,4)
nn.MultiheadAttention(8,2) | (4,2,8) (4,2,8) (4,2,8)
nn.Embedding(10,4) | i(3,2)
nn.EmbeddingBag(10,4,mode='mean') | i(3,2)
nn.Sequential(nn.Linear(4,8),nn.GELU(),nn.LayerNorm(8),nn.Linear(8,2)) | (5,4)
nn.MSELoss() | (3,4) (3,4)
nn.SmoothL1Loss() | (3,4) (3,4)
nn.CrossEntropyLoss(label_smoothing=0.1) | (3,4) j(3,)
nn.BCEWithLogitsLoss() | (3,4) u(3,4)
nn.KLDivLoss(reduction='sum') | (3,4) u(3,4)
nn.HuberLoss() | (3,4) (3,4)
nn.utils.parametrizations.weight_norm(nn.Linear(4,3)) | (2,4)
nn.utils.parametrizations.spectral_norm(nn.Linear(4,3)) | (2,4)
nn.Hardtanh() | (3,4)
nn.GLU() | (3,4)
nn.Threshold(0.1,0.3) | (3,4)
""".strip().splitlines()


def made(spec, seed):
    rng = np.random.default_rng(seed)
    kind = spec[0] if spec[0].isalpha() else ""
    shape = eval(spec[len(kind) :])  # noqa: S307
    if kind in ("i", "j"):
        return rng.integers(0, 10, shape) if kind == "i" else rng.integers(1, 3, shape)
    return rng.random(shape).astype(np.float32) if kind == "u" else values(shape, seed)


def flat(y):
    return [] if y is None else [z for part in y for z in flat(part)] if isinstance(y, (tuple, list)) else [y]


def run_layer(t, text, dtype):
    layer, inputs = text.split(" | ")
    t.manual_seed(0)
    m = eval(layer, {"nn": t.nn}).to(getattr(t, dtype))  # noqa: S307
    xs = [t.from_numpy(made(spec, n)) for n, spec in enumerate(re.findall(r"[a-z]?\([^)]*\)", inputs))]
    xs = [x.to(getattr(t, dtype)).requires_grad_() if x.is_floating_point() else x for x in xs]
    y = flat(m(*xs))
    loss = sum((z * t.from_numpy(values(tuple(z.shape), 77 + n)).to(z.dtype)).sum() for n, z in enumerate(y) if z.requires_grad)
    loss.backward()
    gradients = {f"x{n}": x.grad for n, x in enumerate(xs)} | {name: p.grad for name, p in m.named_parameters()}
    return {f"y{n}": z for n, z in enumerate(y)} | gradients | dict(m.named_buffers())


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("text", MODULES)
def test_layers(text, dtype):
    torch = need_torch()
    ours, theirs = run_layer(lamina, text, dtype), run_layer(torch, text, dtype)
    assert list(ours) == list(theirs)
    for name, b in theirs.items():
        if b is not None:  # PyTorch rounds after every step inside some layers, we at their end
            assert_same(ours[name], b, 6 * EPS[dtype] if b.is_floating_point() else 0, f"{text}: {name}")


def test_a_module_goes_to_half_precision_and_back():
    m = lamina.nn.Sequential(lamina.nn.Linear(3, 4), lamina.nn.BatchNorm1d(4))
    assert m.bfloat16() is m
    assert {p.dtype for p in m.parameters()} == {lamina.bfloat16}
    assert m[1].running_mean.dtype is lamina.bfloat16 and m[1].num_batches_tracked.dtype is lamina.int64
    assert m.half()[0].weight.dtype is lamina.float16
    assert m.to(lamina.float32)(lamina.ones(2, 3)).dtype is lamina.float32
    assert lamina.nn.Linear(2, 2, dtype=lamina.bfloat16).weight.dtype is lamina.bfloat16
