"""Mixed precision: what autocast casts, by PyTorch's lists for the CPU, and the scaling of losses."""

import warnings

import numpy as np
import pytest
from support import need_torch

import lamina


def values(*shape, seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


CASES = """
x@y t.mm(x,y) t.bmm(b,c) t.addmm(d,x,y) t.baddbmm(b@c,b,c) t.einsum('ij,jk->ik',x,y) F.linear(x,y.t()) F.linear(x,y.t(),y[0])
F.conv1d(b,b[:,:,:2]) F.conv2d(b[None],b[:,:2,:2][None]) F.conv_transpose1d(b,b.transpose(0,1)[:,:,:2])
F.scaled_dot_product_attention(b[None],b[None],b[None]) x.softmax(1) x.log_softmax(1) F.layer_norm(x,(4,)) F.gelu(x) x.exp() x**2
x.sum() x.cumsum(0) x.norm() F.relu(x) x+x x*2 x.mean() F.batch_norm(x,None,None,training=True) F.prelu(x,y[0,:1])
F.mse_loss(x,x) F.l1_loss(x,x) F.smooth_l1_loss(x,x) F.huber_loss(x,x) F.cross_entropy(x,i) F.nll_loss(x,i)
F.kl_div(x,x,reduction='sum')
F.binary_cross_entropy_with_logits(x,x.sigmoid()) F.poisson_nll_loss(x,x) x.prod() F.max_pool1d(b,2) F.embedding(i,x)
""".split()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("text", CASES)
def test_what_is_cast(text, half):
    kinds, results = [], []
    for t in (lamina, need_torch()):
        arrays = {"x": values(3, 4), "y": values(4, 5), "b": values(2, 3, 4), "c": values(2, 4, 5), "d": values(3, 5)}
        space = {n: t.from_numpy(a).to(t.bfloat16 if half else t.float32) for n, a in arrays.items()}
        space |= {"t": t, "F": t.nn.functional, "i": t.tensor([0, 1, 2])}
        with t.autocast("cpu"):
            r = eval(text, space)  # noqa: S307
        kinds.append(repr(r.dtype))
        results.append(r.detach().float().numpy())
    assert kinds[0] == kinds[1]
    np.testing.assert_allclose(results[0], results[1], rtol=0.02, atol=0.02 * np.abs(results[1]).max())


def net(t):
    t.manual_seed(0)
    return t.nn.Sequential(
        t.nn.Conv2d(1, 4, 3), t.nn.BatchNorm2d(4), t.nn.ReLU(), t.nn.Flatten(), t.nn.Linear(4 * 16, 8),
        t.nn.LayerNorm(8), t.nn.Linear(8, 3),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_network_with_torch(dtype):
    results = []
    for t in (lamina, need_torch()):
        model = net(t)
        with t.autocast("cpu", dtype=getattr(t, dtype)):
            y = model(t.from_numpy(values(2, 1, 6, 6)))
            loss = t.nn.functional.cross_entropy(y, t.tensor([0, 2]))
        assert repr(y.dtype) == f"torch.{dtype}" and loss.dtype is t.float32
        loss.backward()
        assert {p.grad.dtype for p in model.parameters()} == {t.float32}
        results.append([y.detach().float().numpy(), *(p.grad.numpy() for p in model.parameters())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=0.06 * max(np.abs(b).max(), 0.02), rtol=0)


def test_blocks_nest_and_end():
    x = lamina.ones(2, 2)
    assert not lamina.is_autocast_enabled("cpu")
    with lamina.autocast("cpu"):
        assert lamina.is_autocast_enabled("cpu") and not lamina.is_autocast_enabled()
        assert lamina.get_autocast_dtype("cpu") is lamina.bfloat16
        assert (x @ x).dtype is lamina.bfloat16
        with lamina.autocast("cpu", enabled=False):
            assert (x @ x).dtype is lamina.float32
        with lamina.amp.autocast("cpu", lamina.float16):
            assert (x @ x).dtype is lamina.float16
        assert (x @ x).dtype is lamina.bfloat16
        assert (x.double() @ x.double()).dtype is lamina.float64
    assert (x @ x).dtype is lamina.float32
    with pytest.raises(ZeroDivisionError), lamina.autocast("cpu"):
        raise ZeroDivisionError
    assert not lamina.is_autocast_enabled("cpu")


def test_as_a_decorator():
    @lamina.autocast("cpu")
    def product(x):
        return x @ x

    assert product(lamina.ones(2, 2)).dtype is lamina.bfloat16
    assert product.__name__ == "product"


def test_a_weight_is_cast_once():
    w = lamina.ones(3, 3, requires_grad=True)
    with lamina.autocast("cpu"):
        a, b = lamina.ones(2, 3) @ w, lamina.ones(2, 3) @ w
        kept = lamina.autograd.graph.mode.autocast.cache
        assert len(kept) == 1
        with lamina.no_grad():
            w.mul_(2)
        assert (lamina.ones(1, 3) @ w).tolist() == [[6.0] * 3]  # not what was kept of the old values
    (a + b).float().sum().backward()
    assert w.grad.tolist() == [[4.0] * 3] * 3


def test_recurrent_layers_and_attention():
    x = lamina.from_numpy(values(3, 2, 4))
    with lamina.autocast("cpu"):
        assert lamina.nn.RNN(4, 3)(x)[0].dtype is lamina.bfloat16
        assert lamina.nn.GRU(4, 3)(x)[0].dtype is lamina.float32
        assert lamina.nn.MultiheadAttention(4, 2)(x, x, x)[0].dtype is lamina.bfloat16
        h = lamina.nn.Linear(4, 4)(x)
        assert lamina.nn.RNN(4, 3)(h)[0].dtype is lamina.bfloat16
        assert lamina.nn.GRU(4, 3)(h)[0].dtype is lamina.float32


WORDS = [
    "t.autocast('cpu',dtype=t.float32)", "t.autocast('foo')", "t.autocast('cuda')", "t.autocast(1)",
    "t.autocast('cpu',enabled=False)", "t.amp.autocast('cpu',t.float16)", "t.cpu.amp.autocast()",
    "t.cuda.amp.autocast()", "t.amp.GradScaler()", "t.amp.GradScaler('cpu')", "t.cuda.amp.GradScaler()",
    "t.cpu.amp.GradScaler()", "t.amp.is_autocast_available('cpu')", "t.amp.is_autocast_available('cuda')",
    "t.amp.GradScaler('cpu',growth_factor=1.0)", "t.amp.GradScaler('cpu').update()",
    "t.amp.GradScaler('cpu').state_dict()", "t.amp.GradScaler('cpu').get_scale()",
    "t.amp.GradScaler('cpu',enabled=False).state_dict()", "t.is_autocast_cache_enabled()", "t.get_autocast_gpu_dtype()",
    "t.is_autocast_cpu_enabled()", "t.get_autocast_cpu_dtype()", "t.amp.GradScaler('cpu').load_state_dict({})",
]  # fmt: skip


@pytest.mark.parametrize("text", WORDS)
def test_constructions_and_warnings(text):
    told = []
    for t in (lamina, need_torch()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                v = eval(text, {"t": t})  # noqa: S307
                r = getattr(v, "_enabled", None), type(v).__name__, v if isinstance(v, (bool, dict, float)) else repr(v)[:6]
            except Exception as error:  # noqa: BLE001
                r = type(error).__name__
        told.append((r if isinstance(r, str) or r[0] is None else r[:2], [w.category for w in caught]))
    assert told[0] == told[1]


def test_scaler_with_torch():
    runs = []
    for t in (lamina, need_torch()):
        t.manual_seed(0)
        layer = t.nn.Linear(3, 2)
        optimiser = t.optim.SGD(layer.parameters(), lr=0.1)
        scaler = t.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        seen = []
        for step in range(6):
            optimiser.zero_grad()
            loss = layer(t.from_numpy(values(4, 3, seed=step))).square().mean()
            if step == 3:
                loss = loss * float("inf")
            scaler.scale(loss).backward()
            if step == 4:
                scaler.unscale_(optimiser)
                with pytest.raises(RuntimeError):
                    scaler.unscale_(optimiser)
            scaler.step(optimiser)
            scaler.update()
            seen.append(scaler.get_scale())
        runs.append((seen, scaler.state_dict(), layer.weight.detach().numpy()))
    assert runs[0][0] == runs[1][0] and runs[0][1] == runs[1][1]
    np.testing.assert_allclose(runs[0][2], runs[1][2], rtol=1e-6)


def test_import_paths():
    from lamina.cuda.amp import GradScaler as scaler
    from lamina.cuda.amp import autocast as of_cuda

    from lamina.amp import GradScaler, autocast, custom_bwd, custom_fwd  # noqa: F401
    from lamina.cpu.amp import autocast as of_cpu

    assert issubclass(of_cpu, autocast) and issubclass(of_cuda, autocast) and issubclass(scaler, GradScaler)


def test_custom_functions():
    seen = []

    class Product(lamina.autograd.Function):
        @staticmethod
        @lamina.amp.custom_fwd(device_type="cpu")
        def forward(ctx, x):
            ctx.save_for_backward(x)
            seen.append(lamina.is_autocast_enabled("cpu"))
            return x @ x

        @staticmethod
        @lamina.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            seen.append(lamina.is_autocast_enabled("cpu"))
            return g.float()

    x = lamina.ones(2, 2, requires_grad=True)
    with lamina.autocast("cpu"):
        y = Product.apply(x)
    y.float().sum().backward()
    assert seen == [True, True]
