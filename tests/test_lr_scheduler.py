"""Learning-rate schedules: the rates of every step are PyTorch's, to the last bit or two; warnings, errors, saving."""

from __future__ import annotations

import copy
import io
import math
import pickle
import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import need_torch

import lamina
from lamina import nn
from lamina.optim import lr_scheduler

STEPS = 60

pytestmark = pytest.mark.filterwarnings("ignore:Detected call of")


class Halving:
    """A callable object, of which a state dict keeps the attributes."""

    def __init__(self, base=0.5):
        self.base = base

    def __call__(self, epoch):
        return self.base**epoch


def seq(*schedulers, milestones):
    return lambda s, o: s.SequentialLR(o, [make(s, o) for make in schedulers], milestones)


def chained(*schedulers):
    return lambda s, o: s.ChainedScheduler([make(s, o) for make in schedulers])


def of(name, *args, **kwargs):
    def make(s, o):
        return getattr(s, name)(o, *args, **kwargs)

    settings = ", ".join([*map(str, args), *(f"{k}={v}" for k, v in kwargs.items())])
    make.__name__ = f"{name}({re.sub(r' at 0x[0-9a-f]+', '', settings)})"  # the same in each process
    return make


SCHEDULES = [
    of("LambdaLR", lambda e: 0.95**e),
    of("LambdaLR", [lambda e: 1 / (1 + e), lambda e: e // 10]),
    of("LambdaLR", Halving(0.9)),
    of("MultiplicativeLR", lambda e: 0.95),
    of("MultiplicativeLR", [lambda e: 1 / (1 + e), lambda e: 0.5 + (e % 2)]),
    of("MultiplicativeLR", Halving(0.99)),
    of("StepLR", 7),
    of("StepLR", step_size=1, gamma=0.9),
    of("StepLR", 13, 1.7),
    of("MultiStepLR", [3, 20, 41]),
    of("MultiStepLR", milestones=(5, 5, 9, 30), gamma=0.3),
    of("MultiStepLR", [0, 50], 2.0),
    of("ConstantLR"),
    of("ConstantLR", factor=0.5, total_iters=20),
    of("ConstantLR", 1.0, 1),
    of("LinearLR"),
    of("LinearLR", start_factor=0.1, end_factor=0.7, total_iters=33),
    of("LinearLR", 1.0, 0.01, 50),
    of("ExponentialLR", 0.9),
    of("ExponentialLR", gamma=1.01),
    of("ExponentialLR", 0.3),
    of("PolynomialLR"),
    of("PolynomialLR", total_iters=40, power=2.0),
    of("PolynomialLR", 59, 0.5),
    of("CosineAnnealingLR", 10),
    of("CosineAnnealingLR", T_max=25, eta_min=0.01),
    of("CosineAnnealingLR", 1),
    of("CosineAnnealingWarmRestarts", 10),
    of("CosineAnnealingWarmRestarts", T_0=3, T_mult=2, eta_min=0.001),
    of("CosineAnnealingWarmRestarts", 1, 3),
    of("CyclicLR", 0.01, 0.1, 5),
    of("CyclicLR", [0.01, 0.02], [0.3, 0.1], 7, 4, mode="triangular2", base_momentum=0.7, max_momentum=0.99),
    of("CyclicLR", 0.001, 0.1, step_size_up=6, mode="exp_range", gamma=0.98, cycle_momentum=False),
    of("CyclicLR", 0.01, 0.1, 5, scale_fn=lambda x: 1 / (5**x * 0.0001 + 1), scale_mode="iterations"),
    of("CyclicLR", 0.01, 0.1, 4, 9, scale_fn=Halving(0.8), mode="ignored"),
    of("OneCycleLR", 0.1, total_steps=STEPS),
    of("OneCycleLR", [0.1, 0.4], epochs=6, steps_per_epoch=11, anneal_strategy="linear", pct_start=0.4),
    of("OneCycleLR", 0.2, STEPS, three_phase=True, div_factor=10, final_div_factor=100, base_momentum=0.5),
    of("OneCycleLR", 0.2, 70, pct_start=0.0, cycle_momentum=False),
    seq(of("ConstantLR", 0.1, 10), of("ExponentialLR", 0.9), milestones=[12]),
    seq(of("LinearLR", 0.1, total_iters=5), of("CosineAnnealingLR", 20), of("StepLR", 3, 0.5), milestones=[5, 25]),
    seq(
        seq(of("LinearLR", 0.5, total_iters=4), of("ExponentialLR", 0.9), milestones=[6]),
        of("PolynomialLR", 9),
        milestones=[30],
    ),
    seq(of("CosineAnnealingWarmRestarts", 5, 2), of("LambdaLR", lambda e: 0.9**e), milestones=[17]),
    seq(of("OneCycleLR", 0.1, 20), of("MultiStepLR", [3, 6]), milestones=[20]),
    chained(of("ConstantLR", 0.1, 2), of("ExponentialLR", 0.9)),
    chained(of("LinearLR", total_iters=8), of("CosineAnnealingLR", 30), of("MultiStepLR", [20, 40], 0.5)),
    chained(of("MultiplicativeLR", lambda e: 0.99), of("PolynomialLR", 70, 2.0), of("StepLR", 11)),
    chained(seq(of("ConstantLR"), of("StepLR", 9), milestones=[8]), chained(of("ExponentialLR", 0.99), of("LinearLR"))),
]
IDS = [getattr(make, "__name__", "") for make in SCHEDULES]

OPTIMIZERS = {
    "sgd": lambda t, **lr: t.optim.SGD(groups(t), momentum=0.9, **{"lr": 0.1, **lr}),
    "adam": lambda t, **lr: t.optim.Adam(groups(t), **{"lr": 0.1, **lr}),
}


def groups(t):
    return [{"params": [t.nn.Parameter(t.zeros(2))]}, {"params": [t.nn.Parameter(t.ones(1))], "lr": 0.037}]


def schedulers_of(t):
    return t.optim.lr_scheduler


def number(x):
    return x.item() if hasattr(x, "item") else x


def rates(scheduler, optimizer, steps=STEPS, step=None):
    """What is in force after every step: rates, as told and as set, and momenta."""
    result = []
    for i in range(steps):
        result.append(
            (
                [number(lr) for lr in scheduler.get_last_lr()],
                [number(g["lr"]) for g in optimizer.param_groups],
                [g.get("betas", (g.get("momentum"),))[0] for g in optimizer.param_groups],
                getattr(scheduler, "last_epoch", None),
                getattr(scheduler, "_step_count", None),
            )
        )
        optimizer.step()
        scheduler.step() if step is None else step(scheduler, i)
    return result


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("make", SCHEDULES, ids=IDS)
def test_rates_are_pytorchs(make, kind):
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        optimizer = OPTIMIZERS[kind](t)
        found.append(rates(make(schedulers_of(t), optimizer), optimizer))
    assert found[0] == found[1]


@pytest.mark.parametrize("make", SCHEDULES, ids=IDS)
def test_tensor_rates_stay_the_same_tensors(make):
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        rate, own = t.tensor(0.1), t.tensor(0.03)
        optimizer = t.optim.Adam([{"params": groups(t)[0]["params"]}, {**groups(t)[1], "lr": own}], lr=rate, foreach=False)
        scheduler = make(schedulers_of(t), optimizer)
        found.append(rates(scheduler, optimizer))
        assert optimizer.param_groups[0]["lr"] is rate and optimizer.param_groups[1]["lr"] is own
        assert all(type(lr) is type(rate) and lr is not rate for lr in scheduler.get_last_lr())
    for ours, theirs in zip(*found, strict=True):
        for a, b in zip(ours[:3], theirs[:3], strict=True):
            assert a == pytest.approx(b, rel=2e-7, abs=1e-12)  # float32's last bit


PLAIN = [make for make in SCHEDULES if make.__name__ != "<lambda>" and not make.__name__.startswith("<")]


@pytest.mark.parametrize("make", [m for m in PLAIN if "LR(" in m.__name__ or "Restarts" in m.__name__], ids=lambda m: m.__name__)
def test_epochs_that_are_given(make):
    """The closed form, where there is one, and PyTorch's word that this is deprecated."""
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = make(schedulers_of(t), optimizer)

        def step(s, i):
            s.step((i * 7) % 31)

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found.append(rates(scheduler, optimizer, 35, step))
        deprecated = [w for w in caught if "epoch parameter in `scheduler.step()`" in str(w.message)]
        found.append((len(deprecated), {w.category for w in deprecated}))
    assert found[0] == found[2]
    assert found[1] == found[3]


@pytest.mark.parametrize("make", SCHEDULES, ids=IDS)
def test_state_goes_from_one_library_to_the_other(make):
    """After some steps here, or there, the other library goes on with the same rates."""
    torch = need_torch()
    whole = []
    optimizer = OPTIMIZERS["sgd"](torch)
    whole = rates(make(schedulers_of(torch), optimizer), optimizer)
    for first, second in ((lamina, torch), (torch, lamina), (lamina, lamina)):
        optimizer = OPTIMIZERS["sgd"](first)
        scheduler = make(schedulers_of(first), optimizer)
        begun = rates(scheduler, optimizer, 23)
        saved = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(optimizer.state_dict())
        again = OPTIMIZERS["sgd"](second)
        other = make(schedulers_of(second), again)
        assert set(other.state_dict()) == set(saved[0])
        again.load_state_dict({**saved[1], "state": {}})
        before = repr(saved[0])
        other.load_state_dict(saved[0])
        if second is lamina:
            assert repr(saved[0]) == before, "the state dict was changed"
        found = begun + rates(other, again, STEPS - 23)
        assert found == whole


@pytest.mark.parametrize("tensor_lr", [False, True])
def test_state_through_files(tensor_lr):
    torch = need_torch()
    for t, save, load in ((lamina, lamina.save, torch.load), (torch, torch.save, lamina.load)):
        lr = t.tensor(0.1) if tensor_lr else 0.1
        optimizer = t.optim.SGD([t.nn.Parameter(t.ones(2))], lr=lr, momentum=0.9)
        scheduler = t.optim.lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, 5)
        for _ in range(7):
            optimizer.step()
            scheduler.step()
        file = io.BytesIO()
        save({"scheduler": scheduler.state_dict()}, file)
        file.seek(0)
        u = torch if t is lamina else lamina
        lr = u.tensor(0.1) if tensor_lr else 0.1
        again = u.optim.SGD([u.nn.Parameter(u.ones(2))], lr=lr, momentum=0.9)
        other = u.optim.lr_scheduler.CyclicLR(again, 0.01, 0.1, 5)
        other.load_state_dict(load(file)["scheduler"])
        for _ in range(9):
            scheduler.step()
            other.step()
            assert [number(x) for x in other.get_last_lr()] == [number(x) for x in scheduler.get_last_lr()]


def test_a_state_dict_of_pytorchs_tensors_becomes_ours():
    torch = need_torch()
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.5))
    state = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9).state_dict()
    ours = lamina.optim.SGD([nn.Parameter(lamina.ones(2))], lr=lamina.tensor(0.5))
    scheduler = lr_scheduler.ExponentialLR(ours, 0.9)
    scheduler.load_state_dict(state)
    assert type(scheduler.base_lrs[0]) is lamina.Tensor and type(scheduler.get_last_lr()[0]) is lamina.Tensor


@pytest.mark.parametrize("make", PLAIN, ids=lambda m: m.__name__)
@pytest.mark.parametrize("last_epoch", [0, 9, 24])
def test_a_run_that_is_continued_by_last_epoch(make, last_epoch):
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = make(schedulers_of(t), optimizer)
        for _ in range(last_epoch):
            optimizer.step()
            scheduler.step()
        args = make.__closure__
        cells = dict(zip(make.__code__.co_freevars, (c.cell_contents for c in args), strict=True))
        cls = getattr(schedulers_of(t), cells["name"])
        again = cls(optimizer, *cells["args"], **{**cells["kwargs"], "last_epoch": last_epoch})
        found.append(rates(again, optimizer, 20))
    assert found[0] == found[1]


# -- plateaus ------------------------------------------------------------------------------------------------------

METRICS = [1.0, 0.9, 0.95, 0.95, 0.95, 0.7, 0.7, 0.7, 0.7, 0.7, 0.69999, 0.8, float("nan"), 0.9, 0.1, 0.1] * 4


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        dict(patience=1),
        dict(patience=0, factor=0.5, cooldown=2),
        dict(mode="max", patience=2, factor=0.3),
        dict(mode="max", threshold_mode="abs", threshold=0.1, patience=1),
        dict(threshold_mode="abs", threshold=1e-5, patience=2, min_lr=0.01),
        dict(patience=1, min_lr=[0.05, 0.001], eps=1e-3),
    ],
    ids=str,
)
@pytest.mark.parametrize("tensor_lr", [False, True])
def test_plateau(arguments, tensor_lr):
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        optimizer = OPTIMIZERS["sgd"](t, **({"lr": t.tensor(0.1)} if tensor_lr else {}))
        scheduler = t.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
        run = rates(scheduler, optimizer, len(METRICS), lambda s, i: s.step(METRICS[i] if i % 2 else t.tensor(METRICS[i])))  # noqa: B023
        state = scheduler.state_dict()
        state["_last_lr"] = [number(x) for x in state["_last_lr"]]
        found.append((run, state, scheduler.in_cooldown))
    assert found[0] == found[1]


def test_plateau_state_and_epochs():
    torch = need_torch()
    found = []
    for first, second in ((lamina, torch), (torch, lamina), (torch, torch)):
        optimizer = OPTIMIZERS["sgd"](first)
        scheduler = first.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, cooldown=1)
        for m in METRICS[:13]:
            scheduler.step(m)
        again = OPTIMIZERS["sgd"](second)
        other = second.optim.lr_scheduler.ReduceLROnPlateau(again, "max", patience=5)
        other.load_state_dict(scheduler.state_dict())
        with pytest.warns(UserWarning, match="The epoch parameter"):
            other.step(0.3, epoch=40)
        for m in METRICS[13:]:
            other.step(m)
        found.append((other.state_dict(), other.get_last_lr()))
    assert found[0] == found[1] == found[2]


def test_plateau_with_a_new_group():
    optimizer = OPTIMIZERS["sgd"](lamina)
    flexible = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    fixed = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, min_lr=[0.0, 0.0])
    optimizer.add_param_group({"params": [nn.Parameter(lamina.ones(2))]})
    for value in (1.0, 2.0):
        flexible.step(value)
    assert [round(g["lr"], 6) for g in optimizer.param_groups] == [0.01, 0.0037, 0.01]
    fixed.step(1.0)
    with pytest.raises(RuntimeError, match=r"param groups in the `optimizer` \(3\).*initialized \(2\)"):
        fixed.step(2.0)


# -- warnings and errors ---------------------------------------------------------------------------------------------


def texts(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [(w.category, str(w.message)[:45]) for w in caught]


@pytest.mark.filterwarnings("default")
def test_warnings_are_pytorchs():
    torch = need_torch()

    def too_early(t):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 2)
        scheduler.step()
        scheduler.step()

    def in_order(t):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 2)
        optimizer.step()
        scheduler.step()

    def replaced(t):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 2)
        optimizer.step = lambda: None
        optimizer.step()
        scheduler.step()

    def outside(t):
        optimizer = OPTIMIZERS["sgd"](t)
        t.optim.lr_scheduler.StepLR(optimizer, 2).get_lr()
        t.optim.swa_utils.SWALR(optimizer, 0.1).get_lr()

    def sequential(t):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = seq(of("ConstantLR", 0.1, 10), of("ExponentialLR", 0.9), milestones=[2])(t.optim.lr_scheduler, optimizer)
        for _ in range(5):
            optimizer.step()
            scheduler.step()

    def second_scheduler(t):
        optimizer = OPTIMIZERS["sgd"](t)
        first = t.optim.lr_scheduler.StepLR(optimizer, 2)
        optimizer.step()
        first.step()
        second = t.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        second.step()

    for scenario in (too_early, in_order, replaced, outside, sequential, second_scheduler):
        assert texts(lambda: scenario(lamina)) == texts(lambda: scenario(torch)), scenario.__name__  # noqa: B023
    with pytest.warns(UserWarning) as caught:
        too_early(lamina)
    assert caught[0].filename == __file__


ERRORS = [
    lambda s, o: s.StepLR("optimizer", 2),
    lambda s, o: s.CyclicLR(None, 0.1, 0.2),
    lambda s, o: s.OneCycleLR(3, 0.1, 10),
    lambda s, o: s.ReduceLROnPlateau([], "min"),
    lambda s, o: s.StepLR(o, 2, last_epoch=3),
    lambda s, o: s.LambdaLR(o, [abs]),
    lambda s, o: s.MultiplicativeLR(o, [abs, abs, abs]),
    lambda s, o: s.MultiplicativeLR(o, 0.5),
    lambda s, o: s.LambdaLR(o, 0.5),
    lambda s, o: s.ConstantLR(o, 1.5),
    lambda s, o: s.ConstantLR(o, -0.1),
    lambda s, o: s.LinearLR(o, 0.0),
    lambda s, o: s.LinearLR(o, 1.1),
    lambda s, o: s.LinearLR(o, 0.5, 1.1),
    lambda s, o: s.LinearLR(o, 0.5, -1),
    lambda s, o: s.SequentialLR(o, [], []),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2)], [3]),
    lambda s, o: s.SequentialLR(o, [s.StepLR(o, 2), 5], [3]),
    lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []),
    lambda s, o: s.ChainedScheduler([]),
    lambda s, o: s.ChainedScheduler([s.StepLR(o, 2), 5]),
    lambda s, o: s.ChainedScheduler([s.StepLR(o, 2), s.ReduceLROnPlateau(o)]),
    lambda s, o: s.ReduceLROnPlateau(o, "least"),
    lambda s, o: s.ReduceLROnPlateau(o, threshold_mode="least"),
    lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
    lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
    lambda s, o: s.ReduceLROnPlateau(o).step(),
    lambda s, o: s.ReduceLROnPlateau(o).step("small"),
    lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
    lambda s, o: s.CyclicLR(o, [0.1], 0.2),
    lambda s, o: s.CyclicLR(o, 0.1, [0.1, 0.2, 0.3]),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2.5),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 0),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 1, "low"),
    lambda s, o: s.CosineAnnealingWarmRestarts(o, 2).step(-1),
    lambda s, o: s.OneCycleLR(o, 0.1),
    lambda s, o: s.OneCycleLR(o, 0.1, 0),
    lambda s, o: s.OneCycleLR(o, 0.1, 2.5),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=2),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=3),
    lambda s, o: s.OneCycleLR(o, 0.1, epochs=2, steps_per_epoch="3"),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=1),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, pct_start=1.5),
    lambda s, o: s.OneCycleLR(o, 0.1, 10, anneal_strategy="sine"),
    lambda s, o: s.OneCycleLR(o, [0.1], 10),
    lambda s, o: s.StepLR(o, 2, verbose=True),
    lambda s, o: s.LRScheduler(o),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors_are_pytorchs(number):
    torch = need_torch()
    wrong = ERRORS[number]
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        wrong(schedulers_of(torch), OPTIMIZERS["sgd"](torch))
    with pytest.raises(theirs.type):
        wrong(schedulers_of(lamina), OPTIMIZERS["sgd"](lamina))


def test_errors_of_optimizers_without_momentum_or_of_another():
    torch = need_torch()

    def plain(t):
        return t.optim.SGD([t.nn.Parameter(t.ones(1))], lr=0.1)

    for t in (lamina, torch):
        s = schedulers_of(t)

        class Rule(t.optim.Optimizer):
            def step(self, closure=None):
                pass

        without = Rule([t.nn.Parameter(t.ones(1))], {"lr": 0.3})
        assert s.CyclicLR(without, 0.1, 0.2, cycle_momentum=False).get_last_lr() == [0.1]
        for wrong in (lambda: s.CyclicLR(without, 0.4, 0.6), lambda: s.OneCycleLR(without, 0.4, 5)):  # noqa: B023
            with pytest.raises(ValueError, match="must support momentum or beta1"):
                wrong()
            if t is lamina:
                assert without.param_groups[0]["lr"] == 0.1 and without.param_groups[0]["initial_lr"] == 0.1
        a, b = plain(t), plain(t)
        with pytest.raises(ValueError, match="same optimizer"):
            s.SequentialLR(a, [s.StepLR(b, 2)], [])
        with pytest.raises(ValueError, match="same optimizer"):
            s.ChainedScheduler([s.StepLR(a, 2), s.StepLR(b, 2)])
    a = plain(lamina)
    lr_scheduler.StepLR(a, 2)
    with pytest.raises(KeyError, match=r"initial_lr.*param_groups\[0\].*it is 4"):
        lr_scheduler.StepLR(plain(lamina), 2, last_epoch=4)


def test_a_step_that_fails_changes_nothing():
    optimizer = OPTIMIZERS["sgd"](lamina)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, 3)
    optimizer.step()
    for _ in range(3):
        scheduler.step()
    before = [dict(g) for g in optimizer.param_groups]
    for _ in range(2):
        with pytest.raises(ValueError, match="Tried to step 4 times. The specified number of total steps is 3"):
            scheduler.step()
    assert [dict(g) for g in optimizer.param_groups] == before and scheduler.last_epoch == 3
    late = OPTIMIZERS["sgd"](lamina)
    scheduler = lr_scheduler.LambdaLR(late, lambda e: 0.5**e)
    late.add_param_group({"params": [nn.Parameter(lamina.ones(2))]})
    late.step()
    with pytest.raises(ValueError, match="LambdaLR gives 2 learning rates, but the optimizer has 3"):
        scheduler.step()
    assert [g["lr"] for g in late.param_groups] == [0.1, 0.037, 0.1]


def test_one_group_more_where_the_rule_allows_it():
    torch = need_torch()
    found = []
    for t in (lamina, torch):
        optimizer = OPTIMIZERS["sgd"](t)
        scheduler = t.optim.lr_scheduler.StepLR(optimizer, 2)
        optimizer.add_param_group({"params": [t.nn.Parameter(t.ones(2))], "lr": 3.0})
        found.append([optimizer.step() or scheduler.step() or scheduler.get_last_lr() for _ in range(5)])
    assert found[0] == found[1]


# -- the rest ------------------------------------------------------------------------------------------------------


def test_names():
    torch = need_torch()
    theirs = torch.optim.lr_scheduler
    assert set(lr_scheduler.__all__) == set(theirs.__all__)
    for name in (*theirs.__all__, "_LRScheduler", "EPOCH_DEPRECATION_WARNING"):
        assert hasattr(lr_scheduler, name)
    assert lamina.optim.lr_scheduler is lr_scheduler


def test_a_class_of_ones_own():
    torch = need_torch()
    found = []
    for t in (lamina, torch):

        class Inverse(t.optim.lr_scheduler.LRScheduler):
            def get_lr(self):
                return [base / (1 + self.last_epoch) for base in self.base_lrs]

        class Old(t.optim.lr_scheduler._LRScheduler):
            def get_lr(self):
                return [group["lr"] * 0.5 for group in self.optimizer.param_groups]

            def _get_closed_form_lr(self):
                return [base * 0.5**self.last_epoch for base in self.base_lrs]

        for cls in (Inverse, Old):
            optimizer = OPTIMIZERS["sgd"](t)
            scheduler = cls(optimizer)
            assert isinstance(scheduler, t.optim.lr_scheduler.LRScheduler)
            run = rates(scheduler, optimizer, 5)
            with pytest.warns(UserWarning):
                scheduler.step(2)
            found.append((run, scheduler.get_last_lr()))
    assert found[:2] == found[2:]


def test_callable_objects_are_saved_with_their_attributes():
    optimizer = OPTIMIZERS["sgd"](lamina)
    scheduler = lr_scheduler.LambdaLR(optimizer, [Halving(0.5), lambda e: 1.0])
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [{"base": 0.5}, None]
    other = lr_scheduler.LambdaLR(OPTIMIZERS["sgd"](lamina), [Halving(0.9), lambda e: 1.0])
    other.load_state_dict(state)
    assert other.lr_lambdas[0].base == 0.5


def test_pickling_and_copies():
    optimizer = OPTIMIZERS["sgd"](lamina)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for copied in (pickle.loads(pickle.dumps(scheduler)), copy.deepcopy(scheduler)):
        assert copied.get_last_lr() == scheduler.get_last_lr()
        assert copied.optimizer is not optimizer
        copied._step_count = 2
        copied.step()
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_the_optimizer_is_not_kept_alive_by_its_step():
    import gc
    import weakref

    optimizer = OPTIMIZERS["sgd"](lamina)
    lr_scheduler.StepLR(optimizer, 2)
    gone = weakref.ref(optimizer)
    enabled = gc.isenabled()
    gc.disable()
    try:
        del optimizer
        assert gone() is None
    finally:
        if enabled:
            gc.enable()


@settings(max_examples=40, deadline=None)
@given(
    gamma=st.floats(0.01, 2.0),
    size=st.integers(1, 12),
    low=st.floats(0.0, 0.01),
    mult=st.integers(1, 3),
    factor=st.floats(0.05, 1.0),
    power=st.floats(0.1, 4.0),
    data=st.data(),
)
def test_any_settings(gamma, size, low, mult, factor, power, data):
    torch = need_torch()
    makers = [
        of("StepLR", size, gamma),
        of("MultiStepLR", [size, size, 2 * size], gamma),
        of("ExponentialLR", gamma),
        of("CosineAnnealingLR", size, low),
        of("CosineAnnealingWarmRestarts", size, mult, low),
        of("LinearLR", factor, gamma / 2, size),
        of("ConstantLR", factor, size),
        of("PolynomialLR", size, power),
        of("CyclicLR", low, low + factor, size, size + mult, "exp_range", gamma),
        of("OneCycleLR", factor, 40, pct_start=0.1 + factor / 2),
    ]
    chosen = data.draw(st.lists(st.sampled_from(makers[:-2]), min_size=1, max_size=3))
    makers.append(chained(*chosen))
    makers.append(seq(*chosen, milestones=[(i + 1) * size for i in range(len(chosen) - 1)]))
    for make in makers:
        found = []
        for t in (lamina, torch):
            optimizer = OPTIMIZERS["sgd"](t)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(rates(make(schedulers_of(t), optimizer), optimizer, 30))
        for ours, theirs in zip(*found, strict=True):
            assert ours[:2] == theirs[:2] or all(map(math.isnan, ours[0]))
