"""Averaged models and what belongs to them, against PyTorch's over some steps of training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from support import array, assert_same, need_torch

import lamina
from lamina import nn
from lamina.optim import swa_utils

TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


def model_of(t, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    model = t.nn.Sequential(t.nn.Conv1d(2, 3, 2), t.nn.BatchNorm1d(3), t.nn.ReLU(), t.nn.Flatten(), t.nn.Linear(9, 2))
    model.to(getattr(t, dtype))
    with t.no_grad():
        for p in model.parameters():
            p.copy_(t.from_numpy(rng.standard_normal(tuple(p.shape)).astype(dtype)))
    return model


def batches(t, n=4, dtype="float32", seed=1):
    rng = np.random.default_rng(seed)
    return [t.from_numpy(rng.standard_normal((5, 2, 4)).astype(dtype)) for _ in range(n)]


def train(t, average, model, dtype, steps=6):
    """Steps by gradients that are given, so that only the averages are compared."""
    rng = np.random.default_rng(2)
    for x in batches(t, steps, dtype):
        model(x)
        with t.no_grad():
            for p in model.parameters():
                p += t.from_numpy(rng.standard_normal(tuple(p.shape)).astype(dtype))
        average.update_parameters(model)


def assert_same_states(ours, theirs, tolerance):
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == list(b)
    for key in b:
        assert_same(a[key], b[key], rtol=tolerance, atol=tolerance)


RULES = {
    "default": lambda u: {},
    "swa": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "swa, lists": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "ema": lambda u: {"avg_fn": u.get_ema_avg_fn(0.9)},
    "ema, default": lambda u: {"avg_fn": u.get_ema_avg_fn()},
    "ema, lists": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.9)},
    "ema, lists, fast": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.2)},
    "own": lambda u: {"avg_fn": lambda a, p, n: a * 0.5 + p / (n + 2)},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_averages(rule, use_buffers, dtype):
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        arguments = RULES[rule](t.optim.swa_utils)
        model = model_of(t, dtype)
        average = t.optim.swa_utils.AveragedModel(model, use_buffers=use_buffers, **arguments)
        if rule == "swa, lists" and use_buffers:  # an average of the counts of batches is none
            with pytest.raises(RuntimeError):
                train(t, average, model, dtype)
            return
        train(t, average, model, dtype)
        assert int(average.n_averaged) == 6
        found.append((average, model))
    (ours, _), (theirs, _) = found
    assert_same_states(ours, theirs, TOLERANCE[dtype])
    for (t, ours), x in zip(((lamina, found[0]), (torch, found[1])), ("a", "b"), strict=True):
        before = copy.deepcopy(ours[1].state_dict())
        t.optim.swa_utils.update_bn(batches(t, 3, dtype), ours[0])
        assert all((array(before[k]) == array(v)).all() for k, v in ours[1].state_dict().items()), x
    assert_same_states(found[0][0], found[1][0], TOLERANCE[dtype])


def test_the_first_call_copies():
    model = model_of(lamina)
    average = swa_utils.AveragedModel(model, avg_fn=lambda a, p, n: pytest.fail("there is nothing to average"))
    with lamina.no_grad():
        model[0].weight.fill_(7.0)
    average.update_parameters(model)
    assert (average.module[0].weight == 7.0).all() and average.module[0].weight is not model[0].weight
    assert average.module[0].weight.requires_grad and average.module[0].weight.is_leaf


def test_lists_are_of_one_dtype():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).double()])
    seen = []

    def rule(averages, currents, n):
        seen.append(({p.dtype for p in averages}, {p.dtype for p in currents}, len(averages), int(n)))

    average = swa_utils.AveragedModel(model, multi_avg_fn=rule)
    average.update_parameters(model)
    average.update_parameters(model)
    assert seen == [({lamina.float32},) * 2 + (2, 1), ({lamina.float64},) * 2 + (2, 1)]


def test_one_function_at_most():
    for t in (lamina, need_torch()):
        with pytest.raises(AssertionError, match="Only one"):
            t.optim.swa_utils.AveragedModel(t.nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
@pytest.mark.parametrize("name", ["get_ema_avg_fn", "get_ema_multi_avg_fn"])
def test_decays(name, decay):
    for t in (lamina, need_torch()):
        with pytest.raises(ValueError, match=rf"Invalid decay value {decay}"):
            getattr(t.optim.swa_utils, name)(decay)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64", "int64"])
@pytest.mark.parametrize("count", [0, 1, 6])
def test_functions_alone(dtype, count):
    torch = need_torch()
    rng = np.random.default_rng(0)
    a, b = ((rng.standard_normal((2, 3)) * 9).astype(dtype) for _ in range(2))
    if dtype == "complex64":
        a, b = a + 1j * b, b - 2j * a
    for name in ("get_swa_avg_fn", "get_ema_avg_fn", "get_swa_multi_avg_fn", "get_ema_multi_avg_fn"):
        for n in (count, "tensor"):
            found = []
            for t in (lamina, torch):
                x, y = t.from_numpy(a.copy()), t.from_numpy(b.copy())
                x.requires_grad_(dtype != "int64")
                n_ = t.tensor(count) if n == "tensor" else n
                rule = getattr(t.optim.swa_utils, name)()
                if "multi" not in name:
                    found.append(rule(x, y, n_))
                    assert not found[-1].requires_grad
                elif dtype == "int64" and "swa" in name:
                    with pytest.raises(RuntimeError):
                        rule([x], [y], n_)
                    found.append(x)
                else:
                    x = x.detach()
                    assert rule([x], [y], n_) is None
                    found.append(x)
            assert_same(*found, rtol=1e-3 if dtype == "float16" else 1e-6, atol=1e-3 if dtype == "float16" else 1e-6)


def test_state_dicts_load_in_the_other_library():
    torch = need_torch()
    for first, second in ((lamina, torch), (torch, lamina)):
        model = model_of(first)
        average = first.optim.swa_utils.AveragedModel(model)
        train(first, average, model, "float32")
        other = second.optim.swa_utils.AveragedModel(model_of(second, seed=5))
        other.load_state_dict({k: second.from_numpy(array(v)) for k, v in average.state_dict().items()})
        assert int(other.n_averaged) == 6
        assert_same_states(*((average, other) if first is lamina else (other, average)), 0.0)


# -- update_bn -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x, 3), lambda x: [x, "label"]])
def test_update_bn(form, training):
    torch = need_torch()
    models = []
    for t in (lamina, torch):
        model = model_of(t)
        model[1].momentum = 0.3
        model.train(training)
        t.optim.swa_utils.update_bn([form(x) for x in batches(t)], model, device="cpu")
        assert model.training is training and model[1].training is training and model[1].momentum == 0.3
        assert model[1].running_mean.grad_fn is None
        models.append(model)
    assert_same_states(*models, 1e-6)


def test_update_bn_without_batch_norms_reads_nothing():
    swa_utils.update_bn(pytest.fail, nn.Linear(1, 1))


def test_update_bn_that_fails_leaves_mode_and_momentum():
    model = model_of(lamina).eval()
    with pytest.raises(RuntimeError):
        swa_utils.update_bn([lamina.ones(3, 7, 4)], model)
    assert model[1].momentum == 0.1 and not model.training and not model[1].training


# -- SWALR -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    "arguments",
    [
        dict(swa_lr=0.05),
        dict(swa_lr=[0.05, 0.3], anneal_epochs=5, anneal_strategy="linear"),
        dict(swa_lr=0.01, anneal_epochs=0),
        dict(swa_lr=0.01, anneal_epochs=1, anneal_strategy="linear"),
        dict(swa_lr=0.2, anneal_epochs=33, anneal_strategy="cos"),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [None, "ExponentialLR"])
def test_swalr(arguments, before):
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        parameters = [{"params": [t.nn.Parameter(t.ones(2))]}, {"params": [t.nn.Parameter(t.ones(2))], "lr": 0.7}]
        optimizer = t.optim.SGD(parameters, lr=0.1)
        first = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) if before else None
        scheduler = t.optim.swa_utils.SWALR(optimizer, **arguments)
        run = []
        for i in range(60):
            optimizer.step()
            (first if first and i < 10 else scheduler).step()
            run.append((scheduler.get_last_lr(), [g["lr"] for g in optimizer.param_groups], scheduler._step_count))
        found.append((run, scheduler.state_dict()))
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_swalr_state():
    torch = need_torch()
    found = []
    for first, second in ((torch, torch), (lamina, torch), (torch, lamina)):
        optimizer = first.optim.SGD([first.nn.Parameter(first.ones(2))], lr=0.1)
        scheduler = first.optim.swa_utils.SWALR(optimizer, 0.01, 20, "linear")
        for _ in range(7):
            scheduler.step()
        again = second.optim.SGD([second.nn.Parameter(second.ones(2))], lr=0.1)
        other = second.optim.swa_utils.SWALR(again, 0.01)
        again.load_state_dict(optimizer.state_dict())
        other.load_state_dict(scheduler.state_dict())
        for _ in range(7):
            other.step()
        found.append(other.get_last_lr())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "wrong",
    [dict(anneal_strategy="sine"), dict(anneal_epochs=-1), dict(anneal_epochs=2.5), dict(swa_lr=[0.1, 0.2])],
    ids=str,
)
def test_swalr_errors(wrong):
    for t in (lamina, need_torch()):
        optimizer = t.optim.SGD([t.nn.Parameter(t.ones(2))], lr=0.1)
        with pytest.raises(ValueError):
            t.optim.swa_utils.SWALR(optimizer, **{"swa_lr": 0.1, **wrong})
        if t is lamina:
            assert "swa_lr" not in optimizer.param_groups[0]


def test_names():
    assert set(swa_utils.__all__) == set(need_torch().optim.swa_utils.__all__)
