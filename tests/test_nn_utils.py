"""Helpers of nn.utils against torch: clipping of gradients, parameters as vectors, fusion, layouts, functional calls."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina
from lamina import nn
from lamina.nn import utils

GRADIENTS = {
    "several": [(3, 4), (4,), (), (2, 3, 1)], "one": [(5,)], "empty": [(0,), (3,)], "none": [],
}  # fmt: skip


def with_gradients(module, shapes, dtype="float32", scale=3.0):
    rng = np.random.default_rng(0)
    parameters = []
    for shape in shapes:
        p = module.nn.Parameter(module.from_numpy(np.ones(shape, dtype)))
        p.grad = module.from_numpy(np.array(rng.standard_normal(shape) * scale, dtype))
        parameters.append(p)
    parameters.append(module.nn.Parameter(module.ones(2)))  # without a gradient
    return parameters


@pytest.mark.parametrize("shapes", GRADIENTS)
@pytest.mark.parametrize("norm_type", [2, 2.0, 1.0, 3.0, 0.5, 0, "inf", float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clip_grad_norm(shapes, norm_type, dtype):
    torch = need_torch()
    if shapes == "empty" and (norm_type in ("inf", float("inf"), float("-inf"))):
        return  # torch raises for ±inf of nothing, lamina takes the norm of nothing as 0
    for max_norm in (0.5, 100.0):
        ours, theirs = with_gradients(lamina, GRADIENTS[shapes], dtype), with_gradients(torch, GRADIENTS[shapes], dtype)
        norm = utils.clip_grad_norm_(ours, max_norm, norm_type)
        assert_same(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type), rtol=1e-5)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a.grad, b.grad, rtol=1e-5)


def test_clip_grad_norm_takes_tensors_and_generators():
    torch = need_torch()
    for take in (lambda ps: ps[0], lambda ps: (p for p in ps), tuple):
        ours, theirs = with_gradients(lamina, [(3, 4)]), with_gradients(torch, [(3, 4)])
        assert_same(utils.clip_grad_norm_(take(ours), 1.0), torch.nn.utils.clip_grad_norm_(take(theirs), 1.0), rtol=1e-5)
        assert_same(ours[0].grad, theirs[0].grad, rtol=1e-5)
        total = utils.get_total_norm(p.grad for p in ours[:1])
        utils.clip_grads_with_norm_(take(ours), 0.25, total)
        theirs_total = torch.nn.utils.get_total_norm(p.grad for p in theirs[:1])
        torch.nn.utils.clip_grads_with_norm_(take(theirs), 0.25, theirs_total)
        assert_same(ours[0].grad, theirs[0].grad, rtol=1e-5)
    with pytest.warns(UserWarning, match="empty generator"):
        utils.clip_grad_norm_(iter(p for p in ()), 1.0)
    with pytest.warns(FutureWarning, match="clip_grad_norm_"):
        utils.clip_grad_norm(with_gradients(lamina, [(2,)]), 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_clip_grad_norm_of_nonfinite_gradients(value):
    torch = need_torch()
    results = []
    for module in (lamina, torch):
        parameters = with_gradients(module, [(3,), (2, 2)])
        parameters[1].grad[0, 0] = value
        norm = module.nn.utils.clip_grad_norm_(parameters, 1.0)
        results.append([norm, *(p.grad for p in parameters)])
        with pytest.raises(RuntimeError, match="non-finite"):
            module.nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert_same(results[0], results[1])


def test_clipping_mixes_dtypes():
    torch = need_torch()
    results = []
    for module in (lamina, torch):
        parameters = with_gradients(module, [(3,)], "float32") + with_gradients(module, [(4,)], "float64")
        results.append([module.nn.utils.clip_grad_norm_(parameters, 1.0), parameters[0].grad, parameters[2].grad])
    assert_same(results[0], results[1], rtol=1e-5)


def test_clipped_gradients_are_written_in_place():
    (p, _) = with_gradients(lamina, [(4, 3)])
    grad = p.grad
    utils.clip_grad_norm_([p], 0.1)
    assert p.grad is grad and abs(lamina.linalg.vector_norm(grad).item() - 0.1) < 1e-5
    p.grad = lamina.ones(1, 3).expand(4, 3)
    with pytest.raises(RuntimeError, match="single memory location"):
        utils.clip_grad_norm_([p], 0.1)


def test_sparse_gradients_are_not_clipped():
    def clip(t, x):
        layer = t.nn.Embedding(5, 3, sparse=True)
        layer(t.tensor([1, 1])).sum().backward()
        t.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)

    same_error(clip, np.ones(1))


def test_clip_grad_value():
    torch = need_torch()
    for dtype in ("float32", "float64"):
        ours, theirs = with_gradients(lamina, [(30,), ()], dtype), with_gradients(torch, [(30,), ()], dtype)
        for module, parameters in ((lamina, ours), (torch, theirs)):
            parameters[0].grad[:3] = module.tensor([np.nan, np.inf, -np.inf])
            assert module.nn.utils.clip_grad_value_(parameters, 1.5) is None
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a.grad, b.grad)


def test_parameters_as_a_vector():
    torch = need_torch()
    rng = np.random.default_rng(0)
    values = rng.standard_normal(4 * 3 + 4 + 8 + 2)
    for module in (lamina, torch):
        net = module.nn.Sequential(module.nn.Linear(3, 4), module.nn.Linear(4, 2)).double()
        vector = module.from_numpy(values.copy())
        module.nn.utils.vector_to_parameters(vector, net.parameters())
        again = module.nn.utils.parameters_to_vector(net.parameters())
        np.testing.assert_array_equal(again.detach().numpy(), values)
        vector[0] = 77.0  # the parameters share its memory
        assert net[0].weight[0, 0].item() == 77.0
        again.sum().backward()
        assert net[1].bias.grad.tolist() == [1.0, 1.0]
    same_error(lambda t, x: t.nn.utils.vector_to_parameters([1.0], t.nn.Linear(1, 1).parameters()), values, match="Tensor")
    same_error(lambda t, x: t.nn.utils.vector_to_parameters(x[:3], t.nn.Linear(3, 4).parameters()), values)
    same_error(lambda t, x: t.nn.utils.parameters_to_vector([]), values)


CONVS = [
    ("Conv1d", "BatchNorm1d", (2, 3, 8), False), ("Conv2d", "BatchNorm2d", (2, 3, 6, 6), False),
    ("Conv3d", "BatchNorm3d", (2, 3, 5, 5, 5), False), ("ConvTranspose1d", "BatchNorm1d", (2, 3, 8), True),
    ("ConvTranspose2d", "BatchNorm2d", (2, 3, 6, 6), True), ("ConvTranspose3d", "BatchNorm3d", (2, 3, 4, 4, 4), True),
]  # fmt: skip


def trained(norm):
    """A batch norm with statistics and weights that are not those of a new one."""
    for i, tensor in enumerate((norm.running_mean, norm.running_var, norm.weight, norm.bias)):
        if tensor is not None:
            for j in range(len(tensor)):
                tensor.data[j] = 0.5 + 0.1 * i + 0.2 * j
    return norm.eval()


@pytest.mark.parametrize(("conv", "norm", "shape", "transpose"), CONVS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_fusion_of_convolutions(conv, norm, shape, transpose, bias, affine):
    layer = getattr(nn, conv)(3, 4, 3, bias=bias).double().eval()
    bn = trained(getattr(nn, norm)(4, affine=affine).double())
    x = lamina.tensor(np.random.default_rng(0).standard_normal(shape))
    fused = utils.fuse_conv_bn_eval(layer, bn, transpose)
    assert type(fused) is type(layer) and fused is not layer
    assert isinstance(fused.weight, nn.Parameter) and fused.weight.requires_grad and fused.bias.requires_grad == bias
    np.testing.assert_allclose(fused(x).detach().numpy(), bn(layer(x)).detach().numpy(), rtol=1e-9, atol=1e-12)


def test_fusion_of_linear_layers():
    torch = need_torch()
    for features in (4, 1):
        for bias in (True, False):
            layer, bn = nn.Linear(3, 4, bias=bias).eval(), trained(nn.BatchNorm1d(features))
            theirs, norm = torch.nn.Linear(3, 4, bias=bias).eval(), trained(torch.nn.BatchNorm1d(features))
            theirs.load_state_dict({k: torch.from_numpy(v.numpy()) for k, v in layer.state_dict().items()})
            ours, expected = utils.fuse_linear_bn_eval(layer, bn), torch.nn.utils.fuse_linear_bn_eval(theirs, norm)
            assert_same(ours.weight, expected.weight, rtol=1e-5)
            assert_same(ours.bias, expected.bias, rtol=1e-5)
            assert ours.bias.requires_grad == expected.bias.requires_grad


def test_fusion_errors():
    for case in (
        lambda t, x: t.nn.utils.fuse_conv_bn_eval(t.nn.Conv2d(1, 2, 1), t.nn.BatchNorm2d(2)),
        lambda t, x: t.nn.utils.fuse_conv_bn_eval(t.nn.Conv2d(1, 2, 1).eval(), t.nn.BatchNorm2d(2)),
        lambda t, x: t.nn.utils.fuse_conv_bn_eval(
            t.nn.Conv2d(1, 2, 1).eval(), t.nn.BatchNorm2d(2, track_running_stats=False).eval()
        ),
        lambda t, x: t.nn.utils.fuse_linear_bn_eval(t.nn.Linear(1, 2).eval(), t.nn.BatchNorm1d(3).eval()),
    ):  # fmt: skip
        same_error(case, np.ones(1), match="eval|running|out_features")


def test_memory_format_of_weights():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ModuleList([nn.ConvTranspose2d(3, 4, 2)]), nn.Linear(2, 2), nn.Conv3d(2, 3, 2))
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert utils.convert_conv2d_weight_memory_format(net, lamina.channels_last) is net
    assert net[0].weight.is_contiguous(memory_format=lamina.channels_last)
    assert net[1][0].weight.is_contiguous(memory_format=lamina.channels_last)
    assert net[3].weight.is_contiguous()
    assert utils.convert_conv3d_weight_memory_format(net, lamina.channels_last_3d) is net
    assert net[3].weight.is_contiguous(memory_format=lamina.channels_last_3d)
    assert all(lamina.equal(v, before[k]) for k, v in net.state_dict().items())
    utils.convert_conv2d_weight_memory_format(net, lamina.contiguous_format)
    assert net[0].weight.is_contiguous() and isinstance(net[0].weight, nn.Parameter)


def test_skip_init():
    lamina.manual_seed(7)
    expected = lamina.rand(3)
    lamina.manual_seed(7)
    for make in (
        lambda: utils.skip_init(nn.Linear, 5, 1), lambda: utils.skip_init(nn.Conv2d, 3, 4, kernel_size=2, dtype=lamina.float64),
        lambda: utils.skip_init(nn.GRUCell, 3, 4, device="cpu"), lambda: utils.skip_init(nn.BatchNorm2d, num_features=3),
    ):  # fmt: skip
        assert isinstance(make(), nn.Module)
    assert lamina.equal(lamina.rand(3), expected)  # no number was drawn
    assert utils.skip_init(nn.Conv2d, 3, 4, 2, dtype=lamina.float64).weight.dtype is lamina.float64
    assert lamina.all(nn.init.ones_(lamina.zeros(3)) == 1)  # initialising works again
    same_error(lambda t, x: t.nn.utils.skip_init(dict), np.ones(1), match="Module")
    same_error(lambda t, x: t.nn.utils.skip_init(t.nn.ReLU), np.ones(1), match="device")
    with pytest.raises(TypeError):
        utils.skip_init(nn.Linear, 1)
    assert lamina.all(nn.init.ones_(lamina.zeros(3)) == 1)


# -- functional calls ----------------------------------------------------------------------------------------------


def counting(module):
    class Counting(module.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = module.nn.Linear(2, 2)
            self.tied = self.layer.weight
            self.register_buffer("count", module.zeros(()))

        def forward(self, x, *, scale=1.0):
            self.count = self.count + 1
            return (self.layer(x) + x @ self.tied) * scale

    return Counting()


def values_of(module, net, factor):
    return {k: v.detach().clone() * factor for k, v in net.named_parameters()}


def call(module, *args, **kwargs):
    return (module.func.functional_call)(*args, **kwargs)


def test_functional_call():
    torch = need_torch()
    results = []
    for module in (lamina, torch):
        module.manual_seed(0)
        net = counting(module)
        x = module.tensor([[1.0, 2.0]])
        values = values_of(module, net, 2.0)
        values["layer.bias"].requires_grad_()
        before = {k: v.clone() for k, v in net.state_dict().items()}
        y = call(module, net, values, x)
        y.sum().backward()
        again = call(module, net, (values, {"count": module.tensor(5.0)}), (x,), {"scale": 3.0})
        counted = {"count": module.tensor(5.0)}
        call(module, net, counted, x)
        assert all(module.equal(v, before[k]) for k, v in net.state_dict().items() if k != "count")
        assert isinstance(net.layer.weight, module.nn.Parameter) and net.tied is net.layer.weight
        untied = call(module, net, {"layer.weight": values["tied"]}, x, tie_weights=False)
        results.append([y, again, untied, counted["count"], values["layer.bias"].grad, net.count])
    assert_same(results[0], results[1], rtol=1e-5)


def test_functional_call_errors():
    for case, match in (
        (lambda t, net, x: call(t, net, {"nowhere.weight": x}, x), "nowhere"),
        (lambda t, net, x: call(t, net, {"layer.weight": 3}, x), "Tensor"),
        (lambda t, net, x: call(t, net, {"layer.weight": x}, x, strict=True), "Missing"),
        (lambda t, net, x: call(t, net, {"layer.wrong": x}, x, strict=True), "Unexpected"),
        (lambda t, net, x: call(t, net, {"layer.weight": x, "tied": x + 1}, x), "tied"),
        (lambda t, net, x: call(t, net, [{"layer.weight": x}, {"layer.weight": x}], x), "multiple"),
        (lambda t, net, x: call(t, net, [1], x), "dictionaries"),
        (lambda t, net, x: call(t, net, 1, x), "dict"),
        (lambda t, net, x: call(t, net, {"forward": x}, x), "forward"),
    ):
        same_error(lambda t, x: case(t, counting(t), x), np.ones((2, 2), "float32"), match=match)  # noqa: B023


def test_a_failed_functional_call_leaves_the_module_alone():
    net = counting(lamina)
    before = dict(net.named_parameters())
    with pytest.raises(RuntimeError):
        lamina.func.functional_call(net, {"layer.weight": lamina.ones(3, 7)}, lamina.ones(1, 2))
    with pytest.raises(AttributeError):
        lamina.func.functional_call(net, {"layer.weight": lamina.ones(2, 2), "x.y": lamina.ones(1)}, lamina.ones(1, 2))
    assert all(p is before[k] for k, p in net.named_parameters())


def test_functional_call_of_layers():
    """Layers that keep their weights in other forms see the replaced ones."""
    for net, x in (
        (nn.LSTM(3, 4), lamina.ones(2, 1, 3)), (nn.Conv2d(1, 2, 2), lamina.ones(1, 1, 3, 3)),
        (nn.BatchNorm1d(3), lamina.ones(4, 3)),
    ):  # fmt: skip
        net.eval()
        zeros = {k: lamina.zeros_like(v) for k, v in net.named_parameters()}
        result = lamina.func.functional_call(net, zeros, x)
        result = result[0] if isinstance(result, tuple) else result
        assert not result.any()


def test_old_functional_call_warns():
    with pytest.warns(FutureWarning, match="torch.func.functional_call"):
        ones = {"weight": lamina.ones(1, 1), "bias": lamina.ones(1)}
        y = utils.stateless.functional_call(nn.Linear(1, 1), ones, lamina.ones(1))
    assert y.item() == 2.0


def test_stack_module_state():
    models = [nn.BatchNorm1d(3) for _ in range(4)]
    parameters, buffers = lamina.func.stack_module_state(models)
    assert parameters["weight"].shape == (4, 3) and parameters["weight"].requires_grad and parameters["weight"].is_leaf
    assert buffers["running_var"].shape == (4, 3) and not buffers["running_var"].requires_grad
    for wrong in ([], [nn.Linear(1, 1), nn.ReLU()], [nn.ReLU(), nn.ReLU().eval()]):
        with pytest.raises(RuntimeError):
            lamina.func.stack_module_state(wrong)


# -- signatures ----------------------------------------------------------------------------------------------------


def test_the_same_arguments():
    torch = need_torch()
    for ours, theirs in ((utils, torch.nn.utils), (lamina.func, torch.func), (utils.stateless, torch.nn.utils.stateless)):
        for name in ours.__all__:
            mine, other = getattr(ours, name), getattr(theirs, name)
            if not inspect.isfunction(mine):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                a, b = ([(p.name, p.default, p.kind) for p in inspect.signature(f).parameters.values()] for f in (mine, other))
            assert a == b, name
