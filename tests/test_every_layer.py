"""Every class of ``torch.nn`` and function of ``nn.functional`` and ``nn.init``, with three settings or more, on both engines.

The tables are tests/rows_layers.py and tests/rows_functions.py. What a family does beyond that is in the family's own test.
"""

from __future__ import annotations

import inspect
import re
import warnings
from typing import Any

import numpy as np
import pytest
from rows_functions import FUNCTIONS, INITIALISERS
from rows_layers import LAYERS
from support import assert_same, need_torch

import lamina

# Names that have no row, and why.
WITHOUT = {
    "layers": {},
    "functional": {
        **dict.fromkeys(("Optional", "assert_int_or_pair", "boolean_dispatch"), "what PyTorch's module uses itself"),
        **dict.fromkeys(
            ("handle_torch_function", "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"),
            "machinery for subclasses of tensors",
        ),
        "scaled_grouped_mm": "PyTorch has no kernel of it for a CPU, and neither have we: tests/test_grouped.py",
    },
    "init": {"Literal": "of the typing module"},
}

SIZES = {1: ((9,), (12,)), 2: ((5, 4), (8, 9)), 3: ((3, 4, 2), (6, 5, 7))}


def lines(table: str) -> list[tuple[str, str, dict]]:
    """(what is built or called, inputs, names for n dimensions) of every line; ``#`` makes three of one."""
    result = []
    for line in table.splitlines():
        call, _, inputs = line.partition(" <- ")
        if not line or line.startswith("#"):
            continue
        for n in (1, 2, 3) if "#" in call else (0,):
            small, large = SIZES.get(n, ((), ()))
            result.append((call.replace("#", str(n)), inputs, {"D": n, "S": small, "M": large}))
    return result


def name_of(call: str) -> str:
    return call.split("(")[0]


def makers(t: Any, dtype: str) -> dict[str, Any]:
    """The functions that make inputs, as tensors of ``t``: the same numbers for both libraries."""
    rng = np.random.default_rng(0)

    def tensor(values: Any, gradient: bool = False) -> Any:
        values = np.asarray(values)
        values = values.astype(dtype) if values.dtype.kind == "f" else values
        made = t.from_numpy(values.copy())
        return made.requires_grad_() if gradient else made

    def log_softmax(x: np.ndarray) -> np.ndarray:
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    def pooled(*shape: int) -> Any:
        n, c, *size = shape if len(shape) > 2 else (1, *shape)
        places = np.indices(size)[:, None, None] * 2 + rng.integers(0, 2, (len(size), n, c, *size))
        return tensor(np.ravel_multi_index(tuple(places), [2 * k for k in size]).reshape(shape))

    return {
        "f": lambda *s: tensor(rng.standard_normal(s), True), "c": lambda *s: tensor(rng.standard_normal(s)),
        "u": lambda *s: tensor(rng.uniform(0.05, 0.95, s), True), "cu": lambda *s: tensor(rng.uniform(0.05, 0.95, s)),
        "p": lambda *s: tensor(rng.uniform(0.5, 1.5, s), True), "cp": lambda *s: tensor(rng.uniform(0.5, 1.5, s)),
        "i": lambda high, *s: tensor(rng.integers(0, high, s)), "b": lambda *s: tensor(rng.random(s) < 0.3),
        "s": lambda *s: tensor(np.sign(rng.standard_normal(s))),
        "logs": lambda *s: tensor(log_softmax(rng.standard_normal(s)), True),
        "const": lambda values: tensor(np.asarray(values, dtype="int64")), "pooled": pooled,
        "ends": lambda *values: tensor(np.asarray(values, dtype="int32")),
        "eight": lambda *s: tensor(rng.standard_normal(s)).to(t.float8_e4m3fn),
        "single": lambda *s: t.from_numpy(rng.uniform(0.5, 1.5, s).astype("float32")),
        "causal": lambda n: t.ones(n, n).triu(1).bool(),
    }  # fmt: skip


def leaves(value: Any) -> list[Any]:
    """The tensors in nested tuples and lists."""
    if isinstance(value, (tuple, list)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value] if hasattr(value, "requires_grad") else []


def copied(value: Any) -> Any:
    """What wants a gradient as a result of an operation, so that it may be written over."""
    if isinstance(value, tuple):
        return tuple(copied(item) for item in value)
    return value.clone() if value.requires_grad else value


def backward(t: Any, result: Any) -> None:
    rng = np.random.default_rng(1)
    wanted = [y for y in leaves(result) if y.requires_grad]
    vectors = [t.from_numpy(rng.standard_normal(tuple(y.shape)).astype(str(y.dtype).split(".")[1])) for y in wanted]
    if wanted:
        t.autograd.backward(wanted, vectors)


def dense(value: Any) -> Any:
    return value.to_dense() if value is not None and value.is_sparse else value


def same(ours: Any, theirs: Any, dtype: str) -> None:
    """Equal; in float32 up to the order of sums, which neither library promises."""
    if not hasattr(theirs, "dtype"):
        return assert_same(ours, theirs)
    if theirs.itemsize < 4 and theirs.dtype.is_floating_point:  # NumPy knows no bfloat16: compared as float32
        assert str(ours.dtype) == str(theirs.dtype)
        return assert_same(ours.float(), theirs.float(), rtol=1e-2)
    ours, theirs = dense(ours), dense(theirs)
    if theirs.dtype.is_floating_point and dtype == "float32":
        top = float(theirs.detach().abs().max()) if theirs.numel() else 0.0
        return assert_same(ours, theirs, rtol=1e-4, atol=1e-5 * max(1.0, min(top, 1e3)))
    assert_same(ours, theirs)


def all_same(ours: list[Any], theirs: list[Any], dtype: str) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        same(a, b, dtype)


def both(function: Any) -> tuple[Any, Any]:
    """``function`` of lamina and of torch; warnings must be of the same kinds."""
    torch = need_torch()
    made, kinds = [], []
    for t in (lamina, torch):
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            t.manual_seed(0)
            made.append(function(t))
        # oneDNN has no LSTM with projections: PyTorch says so, once per process, and computes it otherwise.
        kinds.append({w.category for w in given if "LSTM with projections" not in str(w.message)})
    assert kinds[0] == kinds[1], "warnings differ"
    return made[0], made[1]


def dtypes(engine: str) -> tuple[str, ...]:
    """oneDNN computes float32 only, so float64 need not run twice."""
    return ("float32", "float64") if engine == "reference" else ("float32",)


def state_of(module: Any) -> dict[str, Any]:
    return {k: v for k, v in module.state_dict().items() if v is not None}


def equal_state(ours: Any, theirs: Any, dtype: str) -> None:
    a, b = state_of(ours), state_of(theirs)
    assert list(a) == list(b)
    all_same(list(a.values()), list(b.values()), dtype)


@pytest.mark.parametrize("row", lines(LAYERS), ids=lambda row: f"{row[0]}-{row[1]}")
def test_layer(row, each_engine):
    build, inputs, names = row
    for dtype in dtypes(each_engine):

        def make(t, dtype=dtype):
            module = eval(build, {"t": t, **vars(t.nn), **names, **makers(t, dtype)})  # noqa: S307
            return module.double() if dtype == "float64" and hasattr(module, "double") else module

        ours, theirs = both(make)
        assert repr(ours).replace("lamina.float", "torch.float") == repr(theirs)
        if not hasattr(theirs, "state_dict"):
            continue
        if not inputs:
            assert list(ours.state_dict()) == list(theirs.state_dict())
            continue
        modules = {lamina: ours}
        modules[need_torch()] = theirs

        def run(t, with_gradient=True, dtype=dtype, modules=modules):
            given = eval(f"({inputs},)", {"t": t, **names, **makers(t, dtype)})  # noqa: S307
            result = modules[t](*copied(given))
            if with_gradient:
                backward(t, result)
            return result, leaves(given)

        if "Lazy" in build:
            assert [k for k, v in ours.state_dict().items()] == [k for k, v in theirs.state_dict().items()]
            both(lambda t: run(t, False))
            assert repr(ours) == repr(theirs)
        ours.load_state_dict({k: lamina.from_numpy(v.numpy().copy()) for k, v in state_of(theirs).items()})
        equal_state(ours, theirs, dtype)
        for _ in range(2):  # as it was built (most train), then in evaluation
            (a, x), (b, y) = both(run)
            all_same(leaves(a), leaves(b), dtype)
            if name_of(build) != "CrossMapLRN2d":  # PyTorch's gradient is not that of its own function; ours is (gradcheck)
                all_same([v.grad for v in x], [v.grad for v in y], dtype)
            all_same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()], dtype)
            equal_state(ours, theirs, dtype)
            ours.eval(), theirs.eval()
            ours.zero_grad(), theirs.zero_grad()


def check_function(row, area, dtype):
    call, inputs, names = row

    def run(t):
        tools = makers(t, dtype)
        given = eval(f"({inputs},)" if inputs else "()", {"t": t, **names, **tools})  # noqa: S307
        arguments = copied(given)
        # What the library's functions call themselves must not hide what makes inputs.
        environment = {**vars(getattr(t.nn, area)), **tools, "t": t, **names, **dict(zip("xyzw", arguments, strict=False))}
        result = eval(call, environment)  # noqa: S307
        backward(t, result)
        return result, arguments, leaves(given)

    (a, given, x), (b, other, y) = both(run)
    if not leaves(b):
        assert a == b
    all_same(leaves(a), leaves(b), dtype)
    all_same(list(given), list(other), dtype)
    all_same([v.grad for v in x], [v.grad for v in y], dtype)
    for one, two in zip(leaves(a), leaves(b), strict=True):
        assert one.requires_grad == two.requires_grad
        assert any(one is v for v in given) == any(two is v for v in other), "one library returns its argument"


@pytest.mark.parametrize("row", lines(FUNCTIONS), ids=lambda row: f"{row[0]}-{row[1]}")
def test_function(row, each_engine):
    for dtype in dtypes(each_engine) if "_mm" not in row[0] else ("float32",):  # those take no float64
        check_function(row, "functional", dtype)


@pytest.mark.parametrize("row", lines(INITIALISERS), ids=lambda row: f"{row[0]}-{row[1]}")
def test_initialiser(row):
    for dtype in ("float32", "float64"):
        check_function(row, "init", dtype)


def required() -> dict[str, set[str]]:
    """The names of the installed torch."""
    torch = need_torch()
    found = {"layers": set(torch.nn.modules.__all__)}
    for area in ("functional", "init"):
        public = {n: v for n, v in vars(getattr(torch.nn, area)).items() if not n.startswith("_")}
        found[area] = {n for n, v in public.items() if callable(v) and not inspect.isclass(v)}
    return found


@pytest.mark.parametrize("area, table", [("layers", LAYERS), ("functional", FUNCTIONS), ("init", INITIALISERS)])
def test_every_name_has_three_rows(area, table):
    settings: dict[str, set] = {}
    for call, inputs, _ in lines(table):
        settings.setdefault(name_of(call), set()).add((call, inputs))
    names = required()[area]
    missing = sorted(n for n in names - set(WITHOUT[area]) if len(settings.get(n, ())) < 3)
    assert not missing, f"fewer than three rows for {missing}"
    assert set(WITHOUT[area]) <= names, "an exception that PyTorch does not have any more"
    assert not set(settings) & set(WITHOUT[area]) and set(settings) <= names
    assert not re.search(r"[^\x00-\x7f]", table)
