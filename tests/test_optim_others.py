"""L-BFGS, Muon, sparse gradients, steps that fail, and what else is not a plain rule; against PyTorch's."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest
from support import array, need_torch
from test_optim import CASES, as_torch, assert_same_state, gradients, parameters, run

import lamina
from lamina import nn, optim
from lamina.engine.reference import optim as kernels

NAMES = ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adafactor", "RMSprop", "Rprop", "ASGD"]


@pytest.fixture
def torch():
    return need_torch()


# -- L-BFGS --------------------------------------------------------------------------------------------------------


def rosenbrock(t, x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


LBFGS = {
    "plain": dict(lr=1e-3, max_iter=5),
    "wolfe": dict(max_iter=4, line_search_fn="strong_wolfe"),
    "wolfe short": dict(max_iter=3, max_eval=5, history_size=2, line_search_fn="strong_wolfe"),
    "long steps": dict(lr=0.02, max_iter=7, history_size=3, tolerance_change=1e-12),
}


def minimise(t, settings, steps, optimizer=None, x=None):
    if x is None:
        x = t.nn.Parameter(t.tensor([-1.0, 0.7, 1.5, 0.2], dtype=t.float64))
        optimizer = t.optim.LBFGS([x], **settings)
    losses = []

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(t, x)
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
    return x, optimizer, losses


@pytest.mark.parametrize("case", LBFGS)
def test_lbfgs(case, torch):
    (x, mine, a), (y, other, b) = (minimise(t, LBFGS[case], 6) for t in (lamina, torch))
    np.testing.assert_allclose(a, b, rtol=1e-8)
    np.testing.assert_allclose(array(x), array(y), rtol=1e-8)
    ours, theirs = mine.state_dict()["state"][0], other.state_dict()["state"][0]
    assert set(ours) == set(theirs)
    assert (ours["n_iter"], ours["func_evals"]) == (theirs["n_iter"], theirs["func_evals"])
    for name in ("d", "prev_flat_grad"):
        np.testing.assert_allclose(array(ours[name]), array(theirs[name]), rtol=1e-6)


def test_lbfgs_reaches_the_minimum():
    x = nn.Parameter(lamina.tensor([-1.2, 1.0], dtype=lamina.float64))
    optimizer = optim.LBFGS([x], tolerance_change=1e-14, line_search_fn="strong_wolfe")
    losses = minimise(lamina, {}, 8, optimizer, x)[2]
    np.testing.assert_allclose(array(x), 1, rtol=1e-6)
    assert losses[-1] < 1e-12


def test_lbfgs_continues_from_the_other_library(torch):
    settings = LBFGS["wolfe"]
    (x, mine, _), (y, other, _) = (minimise(t, settings, 2) for t in (lamina, torch))
    x2, y2 = nn.Parameter(x.detach().clone()), torch.nn.Parameter(y.detach().clone())
    mine2, other2 = optim.LBFGS([x2], **settings), torch.optim.LBFGS([y2], **settings)
    mine2.load_state_dict(copy.deepcopy(other.state_dict()))
    other2.load_state_dict(as_torch(torch, mine.state_dict()))
    a, b = minimise(lamina, settings, 2, mine2, x2)[2], minimise(torch, settings, 2, other2, y2)[2]
    np.testing.assert_allclose(a, b, rtol=1e-8)
    np.testing.assert_allclose(array(x2), array(y2), rtol=1e-8)


def test_lbfgs_complex_several_and_missing_gradients(torch):
    results = []
    for t in (lamina, torch):
        z = t.nn.Parameter(t.tensor([1 + 2j, -1 + 0.5j], dtype=t.complex128))
        w = t.nn.Parameter(t.tensor([[0.5, 2.0]], dtype=t.float64))
        unused = t.nn.Parameter(t.ones(2, dtype=t.float64))
        optimizer = t.optim.LBFGS([w, unused], lr=0.1)
        both = t.optim.LBFGS([z], lr=0.1)

        def closure(t=t, w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((w * w * w).sum() - 1) ** 2
            loss.backward()
            return loss

        def other(t=t, z=z, both=both):
            both.zero_grad()
            loss = ((z * z).abs() ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        both.step(other)
        results.append((array(w), array(unused), array(z)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)


def test_lbfgs_errors(torch):
    for t in (lamina, torch):
        p = parameters(t)
        with pytest.raises(ValueError):
            t.optim.LBFGS([{"params": p[:1]}, {"params": p[1:]}])
        with pytest.raises(ValueError):
            t.optim.LBFGS(p, lr=-1)
        with pytest.raises(RuntimeError):
            minimise(t, dict(line_search_fn="golden"), 1)


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_lbfgs_is_as_before_when_the_closure_raises(search):
    for call in (0, 2, 9):
        x, optimizer, _ = minimise(lamina, dict(lr=1e-3, line_search_fn=search), min(call, 1))
        before, state = array(x).copy(), str(optimizer.state_dict())
        left = call

        def closure(x=x, optimizer=optimizer):
            nonlocal left
            if not left:
                raise OSError("no more data")
            left -= 1
            optimizer.zero_grad()
            loss = rosenbrock(lamina, x)
            loss.backward()
            return loss

        with pytest.raises(OSError):
            optimizer.step(closure)
        assert np.array_equal(array(x), before) and str(optimizer.state_dict()) == state


# -- Muon ----------------------------------------------------------------------------------------------------------


MUON = {
    "default": {},
    "plain momentum": dict(nesterov=False, momentum=0.9, weight_decay=0.0),
    "like adamw": dict(adjust_lr_fn="match_rms_adamw", ns_steps=3, lr=1e-2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", MUON)
def test_muon(case, dtype, torch):
    """The iteration runs in bfloat16 in PyTorch; sums of other order round otherwise now and then, to its three digits."""
    shapes = [(6, 4), (4, 9), (5, 5), (1, 3)]
    (ours, mine), (theirs, other) = (
        run(t, lambda o, p: o.Muon(p, **MUON[case]), dtype, shapes=shapes, steps=100) for t in (lamina, torch)
    )
    lr = MUON[case].get("lr", 1e-3)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-5, atol=0.05 * lr)
    assert_same_state(mine, other, rtol=1e-5, atol=1e-7)


def test_muon_makes_matrices_orthogonal():
    x = np.random.default_rng(0).standard_normal((40, 25)).astype(np.float32)
    from lamina.optim._muon import orthogonal

    values = np.linalg.svd(orthogonal(x, (3.4445, -4.775, 2.0315), 5, 1e-7))[1]
    assert values.min() > 0.6 and values.max() < 1.3


def test_rounding_to_bfloat16(torch):
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    x[:6] = np.inf, -np.inf, np.nan, 0.0, 1.00390625, 3.4e38
    expected = torch.from_numpy(x).bfloat16().float().numpy()
    np.testing.assert_array_equal(kernels.rounded_to_bfloat16(x, None, 1.0, 0.0), expected)


# -- sparse gradients ----------------------------------------------------------------------------------------------


SPARSE = {
    "sgd": lambda o, p: o.SGD(p, lr=0.1, maximize=True),
    "sgd momentum": lambda o, p: o.SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
    "adagrad": lambda o, p: o.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.1, maximize=True),
    "sparse adam": lambda o, p: o.SparseAdam(p, lr=0.1),
    "sparse adam all": lambda o, p: o.SparseAdam(p, lr=0.1, betas=(0.5, 0.8), eps=1e-2, maximize=True),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SPARSE)
def test_sparse_gradients(case, dtype, torch):
    results = []
    start = np.random.default_rng(0).standard_normal((9, 3)).astype(dtype)
    for t in (lamina, torch):
        table = t.nn.Embedding.from_pretrained(t.from_numpy(start.copy()), freeze=False, sparse=True)
        optimizer = SPARSE[case](t.optim, [table.weight])
        rng = np.random.default_rng(1)
        for _ in range(20):
            optimizer.zero_grad()
            (table(t.from_numpy(rng.integers(0, 9, 6))) ** 2).sum().backward()
            optimizer.step()
        state = optimizer.state[table.weight]
        results.append([array(table.weight), *(float(v) if k == "step" else array(v.to_dense()) for k, v in state.items())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12 if dtype == "float64" else 1e-5, atol=0 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("name", [*NAMES, "Muon"])
def test_sparse_gradients_that_cannot_serve(name, torch):
    if name in ("SGD", "Adagrad"):
        settings = dict(weight_decay=0.1)
    else:
        settings = {}
    for t in (lamina, torch):
        table = t.nn.Embedding(5, 3, sparse=True)
        optimizer = getattr(t.optim, name)([table.weight], **settings)
        table(t.tensor([1, 2])).sum().backward()
        before = array(table.weight).copy()
        with pytest.raises(RuntimeError):
            optimizer.step()
        assert np.array_equal(array(table.weight), before)


def test_sparse_adam_refuses(torch):
    for t in (lamina, torch):
        p = t.nn.Parameter(t.ones(3))
        p.grad = t.ones(3)
        with pytest.raises(RuntimeError):
            t.optim.SparseAdam([p]).step()
        for bad in (dict(lr=0), dict(eps=0), dict(betas=(1.0, 0.9))):
            with pytest.raises(ValueError):
                t.optim.SparseAdam([p], **bad)
        with pytest.raises(ValueError):
            t.optim.SparseAdam([t.nn.Parameter(t.ones(3, dtype=t.complex64))])


# -- a step that fails ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_fails_changes_nothing(name):
    """The gradient of the last parameter of the last group does not fit, or its state, or a setting."""
    for steps in (0, 2):
        p = parameters(lamina, shapes=[(3, 4), (5,), (2, 2)])
        optimizer = getattr(optim, name)([{"params": p[:2]}, {"params": p[2:]}])
        for _, grads in zip(range(steps + 1), gradients(shapes=[(3, 4), (5,), (2, 2)]), strict=False):
            for q, g in zip(p, grads, strict=True):
                q.grad = lamina.from_numpy(g)
            if _ < steps:
                optimizer.step()
        before, state = [array(q).copy() for q in p], str(optimizer.state_dict())
        good = p[2]._grad
        for bad in (lamina.ones(3, 3), lamina.ones(2, 2, dtype=lamina.float64)):
            p[2]._grad = bad
            with pytest.raises(RuntimeError, match="gradient"):
                optimizer.step()
        p[2]._grad = good
        lr = optimizer.param_groups[1]["lr"]
        optimizer.param_groups[1]["lr"] = "fast"
        if name != "Rprop" or not steps:
            with pytest.raises((TypeError, ValueError)):
                optimizer.step()
        optimizer.param_groups[1]["lr"] = lr
        assert str(optimizer.state_dict()) == state
        assert all(np.array_equal(array(q), b) for q, b in zip(p, before, strict=True))
        optimizer.step()


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Adamax", "NAdam", "RAdam", "Adadelta", "RMSprop", "Rprop", "ASGD"])
def test_capturable_is_for_accelerators(name, torch):
    for t in (lamina, torch):
        p = t.nn.Parameter(t.ones(3))
        optimizer = getattr(t.optim, name)([p], capturable=True)
        optimizer.step()
        p.grad = t.ones(3)
        with pytest.raises(AssertionError):
            optimizer.step()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adamax", dict(betas=(1.0, 0.9))), ("Adamax", dict(eps=-1)), ("NAdam", dict(momentum_decay=-1)),
        ("NAdam", dict(betas=(0.9, 1.0))), ("RAdam", dict(lr=-1)), ("Adagrad", dict(lr_decay=-1)),
        ("Adagrad", dict(initial_accumulator_value=-1)), ("Adadelta", dict(rho=1.5)), ("Adadelta", dict(eps=-1)),
        ("RMSprop", dict(momentum=-1)), ("RMSprop", dict(alpha=-1)), ("Rprop", dict(etas=(1.1, 1.2))),
        ("Rprop", dict(lr=-1)), ("ASGD", dict(weight_decay=-1)), ("Adafactor", dict(d=0.5)),
        ("Adafactor", dict(beta2_decay=0.1)), ("Adafactor", dict(eps=(-1, 0.1))), ("Adafactor", dict(eps=(None, -1))),
        ("Muon", dict(adjust_lr_fn="other")), ("Muon", {}), ("Adagrad", dict(fused=True, foreach=True)),
        ("Adagrad", dict(fused=True, differentiable=True)),
    ],
)  # fmt: skip
def test_the_same_errors(name, settings, torch):
    errors = []
    for t in (lamina, torch):
        with pytest.raises((ValueError, RuntimeError)) as error:
            getattr(t.optim, name)(parameters(t), **settings)
        errors.append(error.type)
    assert errors[0] is errors[1]


# -- the plain rules, further --------------------------------------------------------------------------------------


LATER = [c for c in CASES if not c.startswith(("sgd", "adam ", "adamw")) and c != "adam"]


@pytest.mark.parametrize("case", LATER)
def test_either_library_continues_from_the_others_state(case, torch, tmp_path):
    """Through files, too."""
    shapes = [(3, 4), (5,), (), (2, 3, 2, 2)]
    (ours, mine), (theirs, other) = (run(t, CASES[case], "float64", 10, shapes) for t in (lamina, torch))
    ours2, theirs2 = (copy.deepcopy(p) for p in (ours, theirs))
    mine2, other2 = CASES[case](optim, ours2), CASES[case](torch.optim, theirs2)
    lamina.save(mine.state_dict(), tmp_path / "ours.pt")
    torch.save(other.state_dict(), tmp_path / "theirs.pt")
    mine2.load_state_dict(lamina.load(tmp_path / "theirs.pt"))
    other2.load_state_dict(torch.load(tmp_path / "ours.pt", weights_only=True))
    for _, grads in zip(range(10), gradients("float64", shapes, seed=5), strict=False):
        for t, params, optimizer in ((lamina, ours2, mine2), (torch, theirs2, other2)):
            for p, g in zip(params, grads, strict=True):
                p.grad = None if g is None else t.from_numpy(g)
            optimizer.step()
    for p, q in zip(ours2, theirs2, strict=True):
        np.testing.assert_allclose(array(p), array(q), rtol=1e-12)
    assert_same_state(mine2, other2, rtol=1e-12)


@pytest.mark.parametrize("case", [c for c in LATER if "adafactor" not in c])
def test_complex_parameters(case, torch):
    (ours, _), (theirs, _) = (run(t, CASES[case], "complex128", 20, [(3, 2)]) for t in (lamina, torch))
    np.testing.assert_allclose(array(ours[0]), array(theirs[0]), rtol=1e-12)


def test_complex_parameters_that_are_refused(torch):
    for t in (lamina, torch):
        for name in ("Adafactor", "Muon"):
            p = t.nn.Parameter(t.ones(2, 2, dtype=t.complex64))
            p.grad = t.ones(2, 2, dtype=t.complex64)
            with pytest.raises(RuntimeError):
                getattr(t.optim, name)([p]).step()


@pytest.mark.parametrize("name", [*NAMES, "Muon"])
def test_half_precision(name, torch):
    """PyTorch rounds after every operation, so only the way is the same; what counts is that nothing is lost."""
    settings = {} if name in ("SGD", "Rprop", "ASGD", "Muon") else dict(eps=(1e-3, 1e-3) if name == "Adafactor" else 1e-4)
    (ours, _), (theirs, _) = (
        run(t, lambda o, p: getattr(o, name)(p, **settings), "float16", 10, [(6, 5)]) for t in (lamina, torch)
    )
    assert ours[0].dtype == lamina.float16 and np.isfinite(array(ours[0])).all()
    np.testing.assert_allclose(array(ours[0]).astype(float), array(theirs[0]).astype(float), rtol=3e-2, atol=3e-2)
    p = nn.Parameter(lamina.ones(4, 3, dtype=lamina.bfloat16))
    p.grad = lamina.full((4, 3), 0.5, dtype=lamina.bfloat16)
    getattr(optim, name)([p], lr=10 if name == "Adadelta" else 0.1).step()
    assert p.dtype == lamina.bfloat16 and p.isfinite().all() and (p < 1).all()


@pytest.mark.parametrize("case", [c for c in LATER if "adafactor" not in c])
def test_odd_layouts_and_blocks(case, torch, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", 8)
    rng = np.random.default_rng(0)
    values = {
        "plain": rng.standard_normal((7, 9)),
        "transposed": rng.standard_normal((7, 9)).T,
        "strided": rng.standard_normal((8, 9))[::2, ::3],
    }
    for name, value in values.items():
        results = []
        theirs = torch.nn.Parameter(torch.from_numpy(value.copy()))
        for t, p in ((lamina, nn.Parameter(lamina.from_numpy(value))), (torch, theirs)):
            optimizer = CASES[case](t.optim, [p])
            for i in range(5):
                grad = np.random.default_rng(i).standard_normal(value.shape)
                p.grad = t.from_numpy(grad if i % 2 else np.ascontiguousarray(grad.T).T)
                optimizer.step()
            results.append(array(p))
        np.testing.assert_allclose(*results, rtol=1e-12, err_msg=name)


ONCE = ("adamax", "adamax all", "rmsprop centered", "rmsprop all", "rprop", "rprop all")


@pytest.mark.parametrize("case", [c for c in LATER if "adafactor" not in c])
def test_differentiable_steps(case, torch):
    results = []
    for t in (lamina, torch):
        start = t.tensor([0.5, -1.0, 2.0], dtype=t.float64, requires_grad=True)
        p = start.clone()

        class Differentiable:
            def __init__(self, module):
                self.module = module

            def __getattr__(self, name):
                return functools.partial(getattr(self.module, name), differentiable=True)

        optimizer = CASES[case](Differentiable(t.optim), [p])
        # PyTorch's own second step fails where it overwrote what the first one saved.
        for i in range(1 if case in ONCE else 3):
            p.grad = start**3 + (i + 1) * start
            optimizer.step()
        p.sum().backward()
        results.append((array(p), array(start.grad)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6 if "nadam" in case else 1e-12)  # torch: in float32


def test_the_learning_rate_may_be_learnt(torch):
    results = []
    for t in (lamina, torch):
        lr = t.tensor(0.1, dtype=t.float64, requires_grad=True)
        for name in ("SGD", "Adam"):
            p = t.ones(3, dtype=t.float64, requires_grad=True).clone()
            optimizer = getattr(t.optim, name)([p], lr=lr, differentiable=True)
            p.grad = t.tensor([1.0, 2.0, 3.0], dtype=t.float64)
            optimizer.step()
            (p**2).sum().backward()
        results.append(lr.grad.item())
    np.testing.assert_allclose(*results, rtol=1e-5)  # torch's Adam corrects in float32 here


@pytest.mark.parametrize("name", NAMES)
def test_learning_rates_as_tensors(name, torch):
    results = []
    for t in (lamina, torch):
        p = t.nn.Parameter(t.ones(4))
        optimizer = getattr(t.optim, name)([p], lr=t.tensor([0.25]))
        for i in range(3):
            p.grad = t.full((4,), i + 1.0)
            optimizer.step()
        results.append(array(p))
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_many_small_parameters_and_steps_of_their_own(torch):
    """Small tensors are updated together, but each by its own count of steps."""
    shapes = [(3,), (2, 2), (), (70, 70), (5,), (1, 9), (60, 60)] * 4
    for case in ("adam amsgrad", "nadam decay", "asgd all", "rmsprop all", "sgd nesterov"):
        results = []
        for t in (lamina, torch):
            params = parameters(t, "float64", shapes)
            optimizer = CASES[case](t.optim, params)
            rng = np.random.default_rng(3)
            for _ in range(4):
                for p in params:
                    g = t.from_numpy(np.asarray(rng.standard_normal(tuple(p.shape))))
                    p.grad = g if rng.random() < 0.7 else None
                optimizer.step()
            results.append([array(p) for p in params])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_a_parameter_twice_in_a_group(torch):
    results = []
    for t in (lamina, torch):
        p = t.nn.Parameter(t.ones(3))
        p.grad = t.tensor([1.0, 2.0, 3.0])
        with pytest.warns(UserWarning):
            optimizer = t.optim.Adam([p, p], lr=0.1)
        optimizer.step()
        results.append(array(p))
    np.testing.assert_allclose(*results, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_copies_pickles_repr_and_old_checkpoints(name, torch):
    params, optimizer = run(lamina, lambda o, p: getattr(o, name)(p), steps=3)
    other = getattr(torch.optim, name)(parameters(torch))
    assert repr(optimizer) == repr(other)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert str(twin.state_dict()) == str(optimizer.state_dict())
    old = copy.deepcopy(optimizer.state_dict())
    for entry in old["state"].values():
        for key in ("step", "mu_product", "eta", "mu"):
            if key in entry:
                entry[key] = entry[key].item()
    for group in old["param_groups"]:
        for key in ("foreach", "differentiable", "capturable", "fused"):
            group.pop(key, None)
    fresh = getattr(optim, name)(params)
    fresh.load_state_dict(old)
    assert str(fresh.state_dict()["state"]) == str(optimizer.state_dict()["state"])
    fresh.step()


# -- lending parameters --------------------------------------------------------------------------------------------


def test_lent_parameters_and_states(torch):
    results = []
    for t in (lamina, torch):
        (p,), optimizer = run(t, lambda o, p: o.Adam(p, lr=0.1), steps=2, shapes=[(3,)])
        lent = copy.deepcopy(optimizer.state_dict())
        lent["param_groups"][0]["lr"] = 0.5
        q = t.nn.Parameter(t.ones(3))
        q.grad = t.ones(3)
        before = array(p).copy()
        with t.optim.swap_in_optimizer_params_and_state(optimizer, {"q": q}, lent):
            optimizer.step()
        assert np.array_equal(array(p), before) and optimizer.param_groups[0]["params"][0] is p
        assert optimizer.param_groups[0]["lr"] == 0.1 and optimizer.state[p]["step"].item() == 2
        results.append([array(q), array(lent["state"][0]["exp_avg"])])
        for bad in ({}, {**lent, "param_groups": []}, {**lent, "state": {7: {}}}, 3, {**lent, "state": None}):
            with pytest.raises(RuntimeError), t.optim.swap_in_optimizer_params_and_state(optimizer, {"q": q}, bad):
                pass
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_names_that_other_optimizers_import():
    from lamina.optim.adam import Adam
    from lamina.optim.optimizer import _default_to_fused_or_foreach, _get_value, _use_grad_for_differentiable
    from lamina.optim.sgd import SGD

    p = nn.Parameter(lamina.ones(1))
    assert _default_to_fused_or_foreach([p], False) == (False, False)
    assert _default_to_fused_or_foreach([p], False, use_fused=True) == (True, False)
    assert _get_value(lamina.tensor(2.0)) == 2 and Adam is optim.Adam and SGD is optim.SGD
    assert callable(_use_grad_for_differentiable(SGD.step))


def test_the_loop_over_blocks_reports_errors():
    from lamina.engine import workers

    done = []
    workers.share(done.append, range(100))
    assert sorted(done) == list(range(100))

    def work(i):
        if i == 50:
            raise OSError("block 50")

    with pytest.raises(OSError, match="block 50"):
        workers.share(work, range(100))
