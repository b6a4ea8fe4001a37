"""lamina.compile: replays give what eager calls give, on other numbers than were recorded, and say so where they cannot."""

from __future__ import annotations

import copy
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import lamina
from lamina import nn
from lamina.compiler.record import NotRecordable
from lamina.nn import functional as F

ROOT = Path(__file__).parents[1]


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def program(compiled):
    """The one program of a compiled function or module."""
    compiled = getattr(compiled, "__dict__", {}).get("_compiled", compiled)
    assert not compiled.reasons, compiled.reasons
    return compiled


def perceptron():
    lamina.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


# -- functions -----------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "arithmetic": lambda x, y: (x + y) * 2 - x / (y.abs() + 1) + 1,
    "functions": lambda x, y: lamina.sin(x) + lamina.exp(-y * y).sqrt(),
    "products": lambda x, y: x @ y.T + (x @ y.mT).T,
    "views": lambda x, y: x.reshape(-1)[3:10].view(7, 1) * y[0].unsqueeze(0),
    "joins": lambda x, y: lamina.cat([x, y], 1).transpose(0, 1).contiguous() + 1,
    "reductions": lambda x, y: x.sum(0) + y.mean(0) + x.std(0) + lamina.logsumexp(y, 0),
    "several results": lambda x, y: {"a": x + y, "b": [x * y, (x - y,)], "c": 3},
    "sorting": lambda x, y: x.sort(1).values + y.topk(x.shape[1], 1).values,
    "indices": lambda x, y: x[:, [0, 2]] + y.index_select(1, lamina.tensor([1, 1])),
    "conditions": lambda x, y: lamina.where(x > y, x, y * 2).clamp(-1, 1),
    "constants": lambda x, y: x + lamina.ones(4) * lamina.arange(4) + lamina.eye(3, 4),
    "softmax": lambda x, y: F.softmax(x, 1) + F.log_softmax(y, 0) + F.gelu(x) + F.silu(y),
    "norms": lambda x, y: F.layer_norm(x, (4,)) + F.normalize(y),
    "nothing": lambda x, y: x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [lamina.float32, lamina.float64])
def test_functions_and_gradients(name, dtype):
    f = FUNCTIONS[name]
    g = lamina.compile(f, fullgraph=True)

    def flat(result):
        if isinstance(result, dict):
            result = [result["a"], *result["b"][:1], *result["b"][1]]
        return list(result) if isinstance(result, (list, tuple)) else [result]

    for seed in range(3):
        lamina.manual_seed(seed)
        plain = [lamina.randn(3, 4, dtype=dtype).requires_grad_() for _ in range(2)]
        other = [t.detach().clone().requires_grad_() for t in plain]
        expected, found = flat(f(*plain)), flat(g(*other))
        for a, b in zip(found, expected, strict=True):
            close(a, b)
            assert a.dtype == b.dtype and a.requires_grad == b.requires_grad
        if expected[0].requires_grad:
            for results in (expected, found):
                sum((r * r).sum() for r in results).backward()
            for a, b in zip(other, plain, strict=True):
                assert (a.grad is None) == (b.grad is None)
                if a.grad is not None:
                    close(a.grad, b.grad)
    assert g.recordings == 1


def test_in_place_writes():
    def f(x, buffer):
        y = lamina.zeros(3)
        y += x
        y[1] = 7
        h = x * 2
        h.relu_()
        h[0] += y[2]
        buffer.add_(x)
        return y, h, h.sum()

    g = lamina.compile(f, fullgraph=True)
    ours, theirs = lamina.zeros(3), lamina.zeros(3)
    for seed in range(4):
        lamina.manual_seed(seed)
        x = lamina.randn(3)
        for a, b in zip(g(x, ours), f(x, theirs), strict=True):
            close(a, b)
        close(ours, theirs)
    assert g.recordings == 1


def test_in_place_writes_with_gradients():
    def f(x, w):
        h = x * w
        h[:, 0] = h[:, 1] * 2
        h += w
        h.relu_()  # last: PyTorch, too, wants its result for the gradient, and refuses if it is written to
        return (h * h).sum()

    g = lamina.compile(f, fullgraph=True)
    for seed in range(3):
        lamina.manual_seed(seed)
        x, w = lamina.randn(4, 3), lamina.randn(3).requires_grad_()
        v = w.detach().clone().requires_grad_()
        f(x, w).backward()
        g(x, v).backward()
        close(v.grad, w.grad)
    assert g.recordings == 1


def test_random_numbers_are_drawn_anew():
    layer = nn.Sequential(nn.Dropout(0.5), nn.Dropout1d(0.3), nn.AlphaDropout(0.2), nn.RReLU())

    def f(x):
        noise = lamina.randn(4, 5) + lamina.rand(5) + lamina.empty(5).uniform_(-1, 1)
        return layer(x + noise)

    g = lamina.compile(f, fullgraph=True)
    for form in (f, g):
        lamina.manual_seed(3)
        results = [form(lamina.ones(4, 5)) for _ in range(4)]
        assert not np.array_equal(results[1].numpy(), results[2].numpy())
        if form is f:
            expected = results
    for a, b in zip(results, expected, strict=True):
        close(a, b)
    assert g.recordings == 1


def test_attention_with_dropout_draws_anew():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.2, batch_first=True)
    compiled = lamina.compile(layer, fullgraph=True)
    x = lamina.randn(2, 5, 8)
    for form in (layer, compiled):
        lamina.manual_seed(1)
        results = [form(x) for _ in range(3)]
        if form is layer:
            expected = results
    for a, b in zip(results, expected, strict=True):
        close(a, b)


# -- modules and steps ---------------------------------------------------------------------------------------------


def model_names():
    if not (ROOT / "benchmarks").exists():
        return []
    import sys

    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.models import MODELS
    finally:
        sys.path.pop(0)
    return [m for m in MODELS if "DCGAN" not in m.name]


@pytest.mark.parametrize("model", model_names(), ids=lambda m: m.name)
def test_networks_infer_and_train_as_before(model):
    from dataclasses import replace

    model = replace(model, settings=None)
    words, classes = model.tiny.get("words", model.words), model.tiny.get("classes", model.classes)

    def data(seed):
        from benchmarks.models import numbers

        x = lamina.from_numpy(numbers((3, *model.tiny_shape), words, seed))
        places = (3, *x.shape[2 if x.dim() > 2 else 1 :]) if model.per_position else (3,)
        return x if words else x.double(), lamina.from_numpy(numbers(tuple(places), classes, seed=seed + 100))

    import sys

    sys.path.insert(0, str(ROOT))

    def train(compile_model, compile_step):
        net = model.make(lamina, **model.tiny).double().train()
        forward = lamina.compile(net, fullgraph=True) if compile_model else net
        optimizer = lamina.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(forward(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = lamina.compile(step, fullgraph=True) if compile_step else step
        losses = []
        for seed in range(3):
            lamina.manual_seed(seed)
            losses.append(run(*data(seed)))
        counts = [c.recordings for c in ((forward._compiled,) if compile_model else ()) + ((run,) if compile_step else ())]
        assert all(n == 1 for n in counts)
        return losses, net

    losses, net = train(False, False)
    for compiled in ((True, False), (False, True)):
        found, other = train(*compiled)
        for a, b in zip(found, losses, strict=True):
            close(a, b, 1e-9)
        for key, value in net.state_dict().items():
            close(other.state_dict()[key], value, 1e-8)
    net = net.float().eval()
    compiled = lamina.compile(net, fullgraph=True)
    with lamina.no_grad():
        for seed in range(3):
            x = data(seed)[0]
            x = x if words else x.float()
            close(compiled(x), net(x), 2e-5)
    sys.path.pop(0)


def test_what_lies_channels_last_is_put_in_order_once():
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 3)).eval()
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(4, 1, 12, 12)
    with lamina.no_grad():
        for _ in range(3):
            close(compiled(x), net(x))
            x.normal_()
        x[0, 0, 3, 3] = float("nan")
        assert (compiled(x).isnan() == net(x).isnan()).all()
    assert program(compiled).entries.popitem()[1][0].program.source.count("= kernel") <= 1


FOLLOWING = nn.ReLU6(inplace=True), nn.Hardtanh(0, 6), nn.Hardtanh(), nn.SiLU(), nn.Hardswish()


@pytest.mark.parametrize("follow", FOLLOWING, ids=repr)
def test_a_convolution_takes_up_what_it_can_of_what_follows(follow):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), follow).eval()
    net[1].running_mean.normal_(0, 3)
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(2, 3, 9, 9) * 20
    with lamina.no_grad():
        for _ in range(2):
            close(compiled(x), net(x))
        x[0, 0, 4, 4] = float("nan")
        assert (compiled(x).isnan() == net(x).isnan()).all()


def test_batch_norm_is_folded_and_follows_its_statistics():
    lamina.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
            nn.init.normal_(m.weight)
            nn.init.normal_(m.bias)
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(2, 3, 9, 9)
    with lamina.no_grad():
        compiled(x)
        close(compiled(x), net(x))
        assert "batch_norm" not in program(compiled).entries.popitem()[1][0].program.source
        compiled(x)
        net[1].running_var.mul_(3)  # counted writes
        close(compiled(x), net(x))
        net[0].weight.numpy()[:] *= 2  # a write that nobody counts
        close(compiled(x), net(x))
        net.load_state_dict({k: v * 1.5 for k, v in net.state_dict().items()})
        close(compiled(x), net(x))


def test_what_changes_is_seen():
    net = perceptron()
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(5, 6)

    def same():
        close(compiled(x), net(x))

    same(), same()
    with lamina.no_grad():
        net[0].weight.mul_(2)
    same()
    net[0].weight.data = lamina.randn(16, 6)  # other memory
    same(), same()
    net[2] = nn.Linear(16, 8)  # another module
    same(), same()
    net[0].bias = nn.Parameter(lamina.randn(16))
    same(), same()
    net.append(nn.Linear(3, 2))
    same(), same()
    net[0].weight.requires_grad_(False)
    compiled(x).sum().backward()
    assert net[0].weight.grad is None and net[2].weight.grad is not None
    handle = net[1].register_forward_hook(lambda m, i, o: o * 3)
    same(), same()
    handle.remove()
    same()


def test_train_and_eval():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(6, 4)
    for _ in range(2):
        compiled.train()
        assert net.training
        before = net[1].running_mean.clone()
        results = [compiled(x) for _ in range(3)]
        assert not np.array_equal(results[1].detach().numpy(), results[2].detach().numpy())
        assert not np.array_equal(before.numpy(), net[1].running_mean.numpy())
        compiled.eval()
        close(compiled(x), net(x))
        close(compiled(x), net(x))
    assert net[1].num_batches_tracked == 6


def test_shapes_dtypes_and_settings_record_anew():
    @lamina.compile
    def f(x, factor=1.0, *, flag=False):
        return x * factor if flag else x + factor

    for x in (lamina.ones(3), lamina.ones(4), lamina.ones(3).double(), lamina.ones(3, dtype=lamina.int64)):
        for _ in range(2):
            assert f(x).dtype == (x + 1.0).dtype
    assert f.recordings == 4
    assert f(lamina.ones(3), 5.0).tolist() == [6] * 3
    assert f(lamina.ones(3), 5.0, flag=True).tolist() == [5] * 3
    assert f(lamina.ones(3), factor=2.0, flag=True).tolist() == [2] * 3
    assert f.recordings == 7
    with lamina.no_grad():
        f(lamina.ones(3))
    assert f.recordings == 8


def test_more_kinds_of_arguments_than_are_kept_run_eagerly(monkeypatch):
    from lamina.compiler import compiled as module

    monkeypatch.setattr(module, "CAPACITY", 3)
    f = lamina.compile(lambda x: x + 1)
    for n in range(module.CAPACITY):
        f(lamina.ones(n))
    with pytest.warns(UserWarning, match="more than"):
        assert f(lamina.ones(1000)).sum() == 2000


def test_closures_and_globals_are_guarded():
    scale, net = 2.0, nn.Linear(2, 2)

    def f(x):
        return net(x) * scale

    g = lamina.compile(f, fullgraph=True)
    x = lamina.ones(1, 2)
    close(g(x), f(x))
    scale = 5.0
    close(g(x), f(x))
    net = nn.Linear(2, 2)
    close(g(x), f(x))


def test_a_whole_step_with_schedule_clipping_and_accumulation():
    def run(compiled):
        net = perceptron()
        optimizer = lamina.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
        schedule = lamina.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

        def step(x, y):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            F.mse_loss(net(x), lamina.zeros(4, 3)).backward()  # gradients add up
            total = nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            nn.utils.clip_grad_value_(net.parameters(), 0.2)
            optimizer.step()
            schedule.step()
            return loss.detach(), total

        form = lamina.compile(step, fullgraph=True) if compiled else step
        results = []
        for seed in range(6):
            lamina.manual_seed(seed)
            results += form(lamina.randn(4, 6), lamina.randint(0, 3, (4,)))
        assert optimizer.param_groups[0]["lr"] == 0.01 * 0.5**3
        return results, net

    for (a, m), (b, n) in [(run(True), run(False))]:
        for x, y in zip(a, b, strict=True):
            close(x, y)
        for x, y in zip(m.parameters(), n.parameters(), strict=True):
            close(x, y)
            close(x.grad, y.grad)


def test_a_learning_rate_set_from_outside_is_seen():
    net, other = perceptron(), perceptron()
    for module in (net, other):
        optimizer = lamina.optim.SGD(module.parameters(), lr=0.1)

        def step(x, module=module, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=False)
            module(x).sum().backward()
            optimizer.step()

        form = lamina.compile(step, fullgraph=True) if module is net else step
        for lr in (0.1, 0.2, 0.0, 1.0):
            optimizer.param_groups[0]["lr"] = lr
            form(lamina.ones(2, 6))
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        close(a, b)


def test_gradients_that_were_there_before_are_added_to():
    net = perceptron()
    step = lamina.compile(lambda x: net(x).sum().backward(), fullgraph=True)
    x = lamina.ones(2, 6)
    for _ in range(3):
        step(x)
    found = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    for _ in range(3):
        net(x).sum().backward()
    for a, p in zip(found, net.parameters(), strict=True):
        close(a, p.grad)


def test_gradients_belong_to_their_step():
    net = perceptron()
    step = lamina.compile(lambda x: (net.zero_grad(), net(x).pow(2).sum().backward())[1], fullgraph=True)
    kept = []
    for seed in range(3):
        lamina.manual_seed(seed)
        step(lamina.randn(2, 6))
        kept.append(net[0].weight.grad)
    assert not np.allclose(kept[1].numpy(), kept[2].numpy())


def test_two_calls_before_their_gradients():
    net = perceptron()
    compiled = lamina.compile(net, fullgraph=True)
    xs = [lamina.randn(3, 6) for _ in range(3)]
    compiled(xs[0])
    results = [compiled(x) for x in xs]
    sum((r * i).sum() for i, r in enumerate(results, 1)).backward()
    found = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    sum((net(x) * i).sum() for i, x in enumerate(xs, 1)).backward()
    for a, p in zip(found, net.parameters(), strict=True):
        close(a, p.grad)


def test_a_graph_is_walked_twice_only_if_it_is_retained():
    net = perceptron()
    compiled = lamina.compile(lambda x, y: F.cross_entropy(net(x), y), fullgraph=True)
    x, y = lamina.randn(3, 6), lamina.tensor([0, 1, 2])
    compiled(x, y)
    loss = compiled(x, y)
    loss.backward(retain_graph=True)
    once = net[0].weight.grad.clone()
    loss.backward()
    close(net[0].weight.grad, once * 2)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    with pytest.raises(RuntimeError, match="create_graph"):
        lamina.autograd.grad(compiled(x, y), net[0].weight, create_graph=True)


def test_a_loss_whose_backward_ran_inside_cannot_be_walked_again():
    net = perceptron()

    def step(x):
        loss = net(x).sum()
        loss.backward()
        return loss

    compiled = lamina.compile(step, fullgraph=True)
    for _ in range(3):
        loss = compiled(lamina.ones(1, 6))
        assert loss.requires_grad
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()


# -- what a replay must not share, freeze or overlook ----------------------------------------------------------------


def test_constants_that_are_handed_out_are_the_callers():
    f = lamina.compile(lambda x: (x + 1, lamina.zeros(3), lamina.ones(2, 3)[0]), fullgraph=True)
    for _ in range(4):
        _, zeros, ones = f(lamina.ones(3))
        assert zeros.tolist() == [0, 0, 0] and ones.tolist() == [1, 1, 1]
        zeros += 5
        ones *= 7


def test_numbers_that_are_equal_but_not_the_same():
    f = lamina.compile(lambda x, s: 1 / (x * s), fullgraph=True)
    x = lamina.ones(1)
    for _ in range(2):
        assert f(x, 0.0).item() == float("inf") and f(x, -0.0).item() == -float("inf")
    f(x, float("nan")), f(x, float("nan"))
    assert f.recordings == 3

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.k = 1

        def forward(self, x):
            return x * self.k

    net = Scaled()
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.ones(2, dtype=lamina.int64)
    for k in (1, 1.0, float("nan"), True, 1):
        net.k = k
        for _ in range(2):
            assert compiled(x).dtype == net(x).dtype
            assert str(compiled(x)) == str(net(x))


def test_states_that_come_again_are_recorded_once():
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    compiled = lamina.compile(net, fullgraph=True)
    for _ in range(4):
        compiled.train()
        compiled(lamina.ones(1, 2))
        compiled.eval()
        close(compiled(lamina.ones(1, 2)), net(lamina.ones(1, 2)))
    assert compiled._compiled.recordings == 2


def test_what_changes_with_each_call_is_reported():
    class Scaled(nn.Module):
        def forward(self, x):
            return x * self.k

    net = Scaled()
    compiled = lamina.compile(net)
    with pytest.warns(UserWarning, match="more than 8 states .*'k'"):
        for k in range(12):
            net.k = float(k)
            assert compiled(lamina.ones(1)).item() == k


def test_autocast_is_a_kind_of_call():
    net = nn.Linear(4, 4)
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(2, 4)
    for _ in range(3):
        assert compiled(x).dtype == lamina.float32
        with lamina.autocast("cpu", dtype=lamina.bfloat16):
            y = compiled(x)
            assert y.dtype == lamina.bfloat16
            close(y.float(), net(x).float(), 1e-2)
        with lamina.no_grad():
            net.weight.mul_(2)  # the cast weight is no constant


def test_seeds_are_set_anew():
    def f(x):
        lamina.manual_seed(3)
        return x + lamina.rand(3)

    g = lamina.compile(f, fullgraph=True)
    for _ in range(3):
        close(g(lamina.zeros(3)), f(lamina.zeros(3)))


def test_draws_whose_results_nobody_reads_are_made():
    def f(x):
        F.rrelu(x, training=True)
        F.alpha_dropout(x, 0.5, True)
        F.dropout(x, 0.5, True)
        return x + lamina.rand(3)

    g = lamina.compile(f, fullgraph=True)
    results = []
    for form in (f, g):
        lamina.manual_seed(0)
        results.append([form(-lamina.ones(3)) for _ in range(3)])
    for a, b in zip(*results, strict=True):
        close(a, b)


def test_hooks_of_the_compiled_module_run():
    compiled = lamina.compile(nn.Linear(2, 2))
    seen = []
    compiled.register_forward_hook(lambda module, given, result: seen.append(result.shape))
    for _ in range(3):
        compiled(lamina.ones(1, 2))
    assert len(seen) == 3


@pytest.mark.parametrize("what", ["weight", "bias", "input", "result", "view of the result"])
def test_what_the_gradients_need_must_not_be_written(what):
    """A write to a saved tensor raises, as in an eager call; one to a tensor that is not saved is allowed."""

    def run(compiled):
        lamina.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.Sigmoid())
        form = lamina.compile(net, fullgraph=True) if compiled else net
        x = lamina.ones(2, 3, requires_grad=True)
        form(x)
        y = form(x)
        with lamina.no_grad():
            target = {"weight": net[2].weight, "bias": net[2].bias, "input": x, "result": y, "view of the result": y[0]}[what]
            target.mul_(2)
        try:
            y.sum().backward()
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            return "raises"
        return x.grad.sum().item()

    assert run(True) == run(False)


def test_a_result_that_no_gradient_needs_may_be_written():
    net = nn.Linear(3, 2)
    compiled = lamina.compile(net, fullgraph=True)
    for _ in range(2):
        y = compiled(lamina.ones(1, 3))
        y += 1
        y.sum().backward()
    close(net.weight.grad, lamina.full((2, 3), 2.0))


def test_gradients_through_what_the_call_itself_fills():
    def f(x):
        y = lamina.zeros(3)
        y[1:] = x * 2
        y += x.sum()
        return (y * y).sum()

    g = lamina.compile(f, fullgraph=True)
    for seed in range(3):
        lamina.manual_seed(seed)
        x = lamina.randn(2, requires_grad=True)
        z = x.detach().clone().requires_grad_()
        f(x).backward()
        g(z).backward()
        close(z.grad, x.grad)


def test_a_loaded_optimizer_state_is_used():
    def train(compiled):
        net = perceptron()
        optimizer = lamina.optim.Adam(net.parameters(), lr=0.05)

        def step(x):
            optimizer.zero_grad()
            net(x).pow(2).mean().backward()
            optimizer.step()

        form = lamina.compile(step, fullgraph=True) if compiled else step
        states = []
        for i in range(9):
            lamina.manual_seed(i)
            form(lamina.randn(4, 6))
            if i == 2:
                states.append(copy.deepcopy(optimizer.state_dict()))
            if i == 5:
                optimizer.load_state_dict(states[0])
        return net, optimizer.state_dict()

    (a, left), (b, right) = train(True), train(False)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        close(p, q)
    for i in right["state"]:
        assert left["state"][i]["step"] == right["state"][i]["step"] == 6
        close(left["state"][i]["exp_avg"], right["state"][i]["exp_avg"])


def test_views_of_large_gradients_are_let_go():
    layer = nn.Linear(64, 64)

    def step(x):
        layer.zero_grad()
        layer(layer(x)).sum().backward()

    g = lamina.compile(step, fullgraph=True)
    g(lamina.ones(8, 16, 64))
    (entry,) = next(iter(g.entries.values()))
    lines = entry.program.source.splitlines()
    rows = [line.split()[0] for line in lines if ".reshape(-1, 64)" in line and line.split()[0].startswith("a9")]
    assert rows and all(any(line.endswith(" = None") and name in line.split() for line in lines) for name in rows)


# -- what cannot be recorded ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, f",
    {
        "branch": lambda x: x * 2 if x.sum() > 0 else x - 1,
        "number": lambda x: x * x.max().item(),
        "list": lambda x: x + lamina.tensor(x.tolist()),
        "numpy": lambda x: x + lamina.from_numpy(np.exp(x.detach().numpy())),
        "int": lambda x: x[: int(x.abs().sum()) % 2 + 1],
        "mask": lambda x: x[x > 0].sum() * (1 if bool((x > 0).any()) else 0),
        "array": lambda x: x + float(np.asarray(x).sum()),
        "text": lambda x: x + len(str(x)),
        "memory": lambda x: x + lamina.tensor(memoryview(x.numpy())[0]),
    }.items(),
)  # fmt: skip
def test_looking_at_numbers_is_reported_and_never_frozen(name, f):
    g = lamina.compile(f)
    with pytest.warns(UserWarning, match="runs uncompiled"):
        g(lamina.tensor([1.0, 2.0, 3.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the warning comes once
        for values in ([-1.0, -2.0, -3.0], [0.5, 0.25, 4.0]):
            x = lamina.tensor(values)
            close(g(x), f(x))
    with pytest.raises(NotRecordable, match="test_compile.py:"):
        lamina.compile(f, fullgraph=True)(lamina.tensor([1.0, 2.0, 3.0]))


def test_a_call_that_counts_is_not_frozen():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    net = Counter()
    compiled = lamina.compile(net)
    with pytest.warns(UserWarning, match="changes what it depends on"):
        results = [compiled(lamina.ones(1)).item() for _ in range(3)]
    assert results == [1, 2, 3]


def test_gradients_of_gradients_run_eagerly():
    def f(x):
        (g,) = lamina.autograd.grad((x**3).sum(), x, create_graph=True)
        return g.sum()

    compiled = lamina.compile(f)
    with pytest.warns(UserWarning, match="gradients of gradients"):
        compiled(lamina.ones(2, requires_grad=True))
    x = lamina.tensor([1.0, 2.0], requires_grad=True)
    compiled(x).backward()
    assert x.grad.tolist() == [6, 12]


def test_a_custom_function_runs_eagerly():
    class Double(lamina.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    compiled = lamina.compile(lambda x: Double.apply(x * 1).sum())
    x = lamina.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="uncompiled"):
        compiled(x)
    compiled(x).backward()
    assert x.grad.tolist() == [2, 2]


def test_hooks_on_gradients_run_each_time():
    seen = []

    def f(x):
        y = x * 2
        y.register_hook(lambda g: seen.append(1))
        return y.sum()

    compiled = lamina.compile(f)
    x = lamina.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="hooks"):
        compiled(x).backward()
    compiled(x).backward()
    assert len(seen) >= 2


def test_errors_are_those_of_the_call():
    compiled = lamina.compile(perceptron())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        compiled(lamina.ones(2, 5))
    assert lamina.compiler.is_compiling() is False
    compiled(lamina.ones(2, 6))

    @lamina.compile
    def loss(x, y):
        return F.cross_entropy(x, y)

    x = lamina.randn(2, 3)
    loss(x, lamina.tensor([0, 1]))
    with pytest.raises(IndexError, match="out of bounds"):
        loss(x, lamina.tensor([0, 3]))
    assert loss(x, lamina.tensor([-100, 1])).item() == pytest.approx(F.cross_entropy(x, lamina.tensor([-100, 1])).item())


def test_what_is_not_a_number_stays():
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()).eval()
    compiled = lamina.compile(net, fullgraph=True)
    x = lamina.randn(1, 1, 12, 12)
    with lamina.no_grad():
        compiled(x)
        x[0, 0, 4, 4] = float("nan")
        np.testing.assert_allclose(compiled(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-5)
        assert np.isnan(compiled(x).numpy()).any()


def test_nothing_warns_of_overflow():
    compiled = lamina.compile(lambda x: (x * 1e30) * 1e30 - 1 / (x - x), fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            compiled(lamina.ones(3) * 1e5)


# -- the interface -------------------------------------------------------------------------------------------------


def test_a_compiled_module_is_a_module():
    net = perceptron()
    compiled = lamina.compile(net)
    assert isinstance(compiled, nn.Module)
    assert list(compiled.state_dict()) == ["_orig_mod." + k for k in net.state_dict()]
    assert [p is q for p, q in zip(compiled.parameters(), net.parameters(), strict=True)] == [True] * 6
    assert compiled[0] is net[0] and compiled._orig_mod is net and len(compiled) == 5
    compiled.extra = 3
    assert net.extra == 3
    assert lamina.compile(compiled) is compiled
    close(compiled(lamina.ones(1, 6)), net(lamina.ones(1, 6)))
    twin = copy.deepcopy(compiled)
    with lamina.no_grad():
        twin[0].weight.zero_()
    assert not np.array_equal(twin(lamina.ones(1, 6)).detach().numpy(), compiled(lamina.ones(1, 6)).detach().numpy())


def test_a_module_compiles_itself():
    net = perceptron()
    expected = net(lamina.ones(2, 6))
    net.compile(fullgraph=True)
    for _ in range(3):
        close(net(lamina.ones(2, 6)), expected)
    assert net._compiled_call_impl.recordings == 1
    assert list(net.state_dict()) == list(perceptron().state_dict())


def test_methods_and_decorators():
    class Thing:
        def __init__(self, factor):
            self.factor = factor

        @lamina.compile
        def scaled(self, x):
            return x * self.factor

        @lamina.compile(fullgraph=True)
        def added(self, x):
            return x + self.factor

    a, b = Thing(2), Thing(3)
    for _ in range(2):
        assert a.scaled(lamina.ones(1)).item() == 2 and b.scaled(lamina.ones(1)).item() == 3
        assert a.added(lamina.ones(1)).item() == 3
    a.factor = 10
    assert a.scaled(lamina.ones(1)).item() == 10


def test_arguments_of_compile():
    def f(x):
        return x

    assert lamina.compile(f, disable=True) is f
    assert lamina.compile(f, backend="eager") is f
    with pytest.raises(RuntimeError, match="mode or options"):
        lamina.compile(f, mode="default", options={})
    with pytest.raises(RuntimeError, match="mode"):
        lamina.compile(f, mode="fast")
    with pytest.raises(RuntimeError, match="backend"):
        lamina.compile(f, backend="nothing")
    with pytest.raises(TypeError):
        lamina.compile(3)
    for mode in ("default", "reduce-overhead", "max-autotune"):
        assert lamina.compile(f, mode=mode, dynamic=True)(lamina.ones(1)).item() == 1


def test_disable_and_reset():
    states = []

    @lamina.compiler.disable
    def look(x):
        states.append(lamina.compiler.is_compiling())
        return x + 1

    compiled = lamina.compile(lambda x: look(x) * 2)
    with pytest.warns(UserWarning, match="not to be compiled"):
        assert compiled(lamina.ones(1)).item() == 4
    compiled = lamina.compile(lambda x: x * 2)
    compiled(lamina.ones(1)), compiled(lamina.ones(1))
    lamina.compiler.reset()
    compiled(lamina.ones(1))
    assert compiled.recordings == 2


def test_nested_compiled_functions():
    inner = lamina.compile(lambda x: x * 2)
    outer = lamina.compile(lambda x: inner(x) + inner(x + 1), fullgraph=True)
    for value in (1.0, 2.0, 3.0):
        assert outer(lamina.tensor(value)).item() == 4 * value + 2


def test_threads():
    net = perceptron()
    compiled = lamina.compile(net)
    failures = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for n in (1, 2, 3, 1, 2, 3) * 5:
            x = lamina.from_numpy(rng.standard_normal((n, 6), dtype="float32"))
            y = compiled(x)
            if not np.allclose(y.detach().numpy(), net(x).detach().numpy(), atol=1e-5):
                failures.append(seed)
            y.sum().backward()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures


def test_the_first_call_counts_as_any_other():
    """Recording a step is the step: nothing is done twice."""
    net = perceptron()
    optimizer = lamina.optim.SGD(net.parameters(), lr=0.1)
    twin = copy.deepcopy(net)
    other = lamina.optim.SGD(twin.parameters(), lr=0.1)

    def step(m, o, x):
        o.zero_grad()
        m(x).pow(2).mean().backward()
        o.step()

    compiled = lamina.compile(lambda x: step(net, optimizer, x), fullgraph=True)
    x = lamina.ones(4, 6)
    compiled(x)
    step(twin, other, x)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
