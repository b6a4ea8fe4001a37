"""Pruning against torch: every method, again and again, globally, removed; state dicts and errors."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
from support import assert_same, need_torch, same_error

import lamina
import lamina.nn.utils.prune as prune
from lamina import nn


def library(module):
    if module is lamina:
        return prune
    import torch.nn.utils.prune

    return torch.nn.utils.prune


def layer(module, make=lambda nn: nn.Conv2d(4, 5, 3)):
    net = make(module.nn)
    rng = np.random.default_rng(0)
    with module.no_grad():
        for p in net.parameters():
            p.copy_(module.from_numpy(np.array(rng.standard_normal(tuple(p.shape)), "float32")))
    return net


def both(run):
    results = []
    for module in (lamina, need_torch()):
        module.manual_seed(3)
        results.append(run(module, library(module)))
    assert_same(results[0], results[1], rtol=1e-5, atol=1e-4)  # gradients add numbers of up to 200, in float32


def scores(module, *shape):
    return module.from_numpy(np.random.default_rng(9).standard_normal(shape).astype("float32"))


W = (5, 4, 3, 3)
METHODS = {
    "identity": lambda m, p, n: p.identity(n, "weight"),
    "random_unstructured": lambda m, p, n: p.random_unstructured(n, "weight", 0.3),
    "random_unstructured count": lambda m, p, n: p.random_unstructured(n, "weight", 17),
    "l1_unstructured": lambda m, p, n: p.l1_unstructured(n, "weight", 0.4),
    "l1_unstructured count": lambda m, p, n: p.l1_unstructured(n, "weight", amount=0),
    "l1_unstructured scores": lambda m, p, n: p.l1_unstructured(n, "weight", 20, importance_scores=scores(m, *W)),
    "l1_unstructured bias": lambda m, p, n: p.l1_unstructured(n, "bias", 0.5),
    "random_structured": lambda m, p, n: p.random_structured(n, "weight", 2, dim=1),
    "random_structured fraction": lambda m, p, n: p.random_structured(n, "weight", 0.4, -1),
    "random_structured none": lambda m, p, n: p.random_structured(n, "weight", 0, 0),
    "ln_structured": lambda m, p, n: p.ln_structured(n, "weight", 0.5, n=2, dim=0),
    "ln_structured 1": lambda m, p, n: p.ln_structured(n, "weight", 1, 1, -1),
    "ln_structured inf": lambda m, p, n: p.ln_structured(n, "weight", 2, float("inf"), 1),
    "ln_structured -inf": lambda m, p, n: p.ln_structured(n, "weight", 2, float("-inf"), 1),
    "ln_structured scores": lambda m, p, n: p.ln_structured(n, "weight", 2, 2, 1, importance_scores=scores(m, *W)),
    "custom": lambda m, p, n: p.custom_from_mask(n, "weight", scores(m, *W) > 0),
}  # fmt: skip


def seen(module, p, net):
    state = net.state_dict()
    result = [list(state), *state.values(), net.weight, net.bias, p.is_pruned(net)]
    y = net(scores(module, 2, 4, 6, 6))
    (y**2).sum().backward()
    names = [n for n, _ in net.named_parameters()]
    return [*result, y, *(q.grad for q in net.parameters()), names, isinstance(net.weight, module.nn.Parameter)]


@pytest.mark.parametrize("method", METHODS)
def test_methods(method):
    def run(module, p):
        net = layer(module)
        assert not p.is_pruned(net) and METHODS[method](module, p, net) is net
        first = seen(module, p, net)
        module.manual_seed(4)
        METHODS[method](module, p, net)  # again, on what is left
        kinds = [type(h).__name__ for h in net._forward_pre_hooks.values()]
        again = [*kinds, len(next(iter(net._forward_pre_hooks.values()))), *seen(module, p, net)]
        name = "bias" if "bias" in method else "weight"
        original = getattr(net, name + "_orig")
        assert p.remove(net, name) is net and getattr(net, name) is original
        net.zero_grad()
        return [first, again, seen(module, p, net)]

    both(run)


def test_methods_mixed():
    def run(module, p):
        net = layer(module)
        p.ln_structured(net, "weight", 1, 2, 0)
        p.l1_unstructured(net, "weight", 10)
        p.random_structured(net, "weight", 1, 1)
        p.custom_from_mask(net, "weight", scores(module, *W) > -1)
        p.random_unstructured(net, "bias", 2)
        hooks = list(net._forward_pre_hooks.values())
        names = [[type(m).__name__ for m in h] if hasattr(h, "__len__") else type(h).__name__ for h in hooks]
        return [names, *seen(module, p, net)]

    both(run)


def test_global():
    def run(module, p):
        net = layer(module, lambda nn: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))
        pairs = [(net[0], "weight"), (net[2], "weight"), (net[2], "bias")]
        p.global_unstructured(pairs, p.L1Unstructured, amount=0.3)
        first = list(net.state_dict().values())
        p.global_unstructured(iter(pairs) if module is lamina else pairs, pruning_method=p.RandomUnstructured, amount=5)
        p.global_unstructured(pairs[:1], p.L1Unstructured, importance_scores={pairs[0]: scores(module, 5, 4)}, amount=2)
        return [*first, list(net.state_dict()), *net.state_dict().values(), p.is_pruned(net), net(module.ones(4))]

    both(run)


def test_methods_on_tensors():
    def run(module, p):
        t = scores(module, 6, 4)
        mask = (module.arange(24).reshape(6, 4) % 3 != 0).float()
        return [
            p.L1Unstructured(0.5).prune(t), p.L1Unstructured(3).prune(t, mask), p.RandomUnstructured(3).prune(t),
            p.LnStructured(2, 1, 0).prune(t, importance_scores=t.flip(0)), p.RandomStructured(1).prune(t, default_mask=mask),
            p.CustomFromMask(mask).prune(t), p.Identity().prune(t, mask),
        ]  # fmt: skip

    both(run)


def test_own_methods():
    def run(module, p):
        class Evens(p.BasePruningMethod):
            PRUNING_TYPE = "unstructured"

            def compute_mask(self, t, default_mask):
                mask = default_mask.clone()
                mask.view(-1)[::2] = 0
                return mask

        net = layer(module)
        method = Evens.apply(net, "bias")
        Evens.apply(net, "bias")
        return [type(method).__name__, method._tensor_name, *seen(module, p, net)]

    both(run)


def test_containers():
    def run(module, p):
        a, b = p.L1Unstructured(1), p.RandomUnstructured(1)
        a._tensor_name = b._tensor_name = "weight"
        container = p.PruningContainer(a)
        container.add_pruning_method(b)
        b._tensor_name = "bias"
        for wrong in (b, 3):
            with pytest.raises((ValueError, TypeError)):
                container.add_pruning_method(wrong)
        return [len(container), container[1] is b, [type(m).__name__ for m in container], container._tensor_name]

    both(run)


def test_state_dicts_copies_and_dtypes():
    net = prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5)
    other = prune.identity(nn.Linear(4, 3), "weight")
    other.load_state_dict(net.state_dict())
    x = lamina.ones(4)
    assert lamina.equal(other(x), net(x)) and int((other.weight == 0).sum()) == 6
    net.double()
    assert net(x.double()).dtype is lamina.float64
    # the weight is the result of a product with a history, which neither library copies
    same_error(lambda t, x: copy.deepcopy(library(t).identity(t.nn.Linear(2, 2), "weight")), np.ones(1), match="deepcopy")


def test_a_failed_attempt_leaves_the_module_alone():
    net = nn.Linear(4, 3)
    for attempt in (
        lambda: prune.l1_unstructured(net, "weight", 100), lambda: prune.ln_structured(net, "bias", 1, 2, 0),
        lambda: prune.custom_from_mask(net, "weight", lamina.ones(2)),
    ):  # fmt: skip
        with pytest.raises((ValueError, AssertionError)):
            attempt()
        assert isinstance(net.weight, nn.Parameter) and not net._buffers and not prune.is_pruned(net)
    prune.l1_unstructured(net, "weight", 2)
    mask = net.weight_mask.clone()
    with pytest.raises(ValueError):
        prune.l1_unstructured(net, "weight", 100)
    net(lamina.ones(4))
    assert lamina.equal(net.weight_mask, mask) and len(net._forward_pre_hooks) == 1


def test_errors():
    linear = lambda t: t.nn.Linear(4, 3)  # noqa: E731
    for case, match in (
        (lambda t, p: p.l1_unstructured(linear(t), "weight", "a"), "Invalid type for amount"),
        (lambda t, p: p.l1_unstructured(linear(t), "weight", 1.5), "range"),
        (lambda t, p: p.l1_unstructured(linear(t), "weight", -1), "non-negative"),
        (lambda t, p: p.l1_unstructured(linear(t), "weight", 13), "smaller"),
        (lambda t, p: p.random_structured(linear(t), "weight", 4, 0), "smaller"),
        (lambda t, p: p.random_structured(linear(t), "bias", 1, 0), "multidimensional"),
        (lambda t, p: p.ln_structured(linear(t), "weight", 1, 2, 2), "Invalid index"),
        (lambda t, p: p.l1_unstructured(linear(t), "nothing", 1), "nothing"),
        (lambda t, p: p.l1_unstructured(linear(t), "weight", 1, importance_scores=t.ones(2)), "same shape"),
        (lambda t, p: p.L1Unstructured(1).prune(t.ones(3), importance_scores=t.ones(2)), "same shape"),
        (lambda t, p: p.custom_from_mask(linear(t), "weight", t.ones(2, 2)), "must match"),
        (lambda t, p: p.remove(linear(t), "weight"), "has to be pruned"),
        (lambda t, p: p.global_unstructured(3, p.L1Unstructured, amount=1), "Iterable"),
        (lambda t, p: p.global_unstructured([(linear(t), "weight")], p.L1Unstructured, 3, amount=1), "dict"),
        (lambda t, p: p.global_unstructured([(linear(t), "weight")], p.LnStructured, amount=1, n=1), "unstructured"),
    ):
        same_error(lambda t, x: case(t, library(t)), np.ones(1), match=match)  # noqa: B023


def test_the_same_names_and_arguments():
    need_torch()
    theirs = library(need_torch())
    for name in prune.__all__:
        mine, other = getattr(prune, name), getattr(theirs, name)
        if name != "PruningContainer":
            for a, b in ((mine, other), (getattr(mine, "apply", mine), getattr(other, "apply", other))):
                first, second = ([(p.name, p.default) for p in inspect.signature(f).parameters.values()] for f in (a, b))
                assert first == second, name
    public = {n for n, v in vars(theirs).items() if getattr(v, "__module__", "") == theirs.__name__ and not n.startswith("_")}
    assert public == set(prune.__all__)
