"""Products by groups and of scaled 8-bit matrices, against PyTorch where it defines the result."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
import lamina.nn.functional as F
from lamina.ops.grouped import GroupedMm

CASES = {
    "batches": ((3, 4, 8), (3, 8, 16), None),
    "tokens": ((6, 8), (2, 8, 16), (2, 6)),
    "an empty group": ((6, 8), (3, 8, 16), (2, 2, 6)),
    "columns": ((2, 4, 8), (8, 8), (4, 8)),
    "a weight's gradient": ((4, 8), (8, 8), (4, 8)),
    "no tokens": ((0, 8), (2, 8, 16), (0, 0)),
    "many": ((260, 64), (4, 64, 32), (100, 101, 228, 260)),
}  # fmt: skip


def draw(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def offsets(t, ends):
    return None if ends is None else t.tensor(ends, dtype=t.int32)


@pytest.mark.parametrize("case", [case for case in CASES if case != "no tokens"])  # PyTorch refuses its strides
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_groups(case, dtype, each_engine):
    left, right, ends = CASES[case]
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 2e-3, "atol": 2e-2}  # the order of sums
    compare(
        lambda t, a, b: t.nn.functional.grouped_mm(a, b, offs=offsets(t, ends)),
        draw(*left, dtype=dtype), draw(*right, dtype=dtype, seed=1), **tolerance,
    )  # fmt: skip


def test_transposed_operands():
    compare(
        lambda t, a, b: t.nn.functional.grouped_mm(a.transpose(1, 2), b.transpose(1, 2)),
        draw(2, 8, 4), draw(2, 16, 8), rtol=1e-5, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_gradients(case):
    left, right, ends = CASES[case]
    if case == "many":
        left, ends = (6, 8), (1, 1, 4, 6)
        right = (4, 8, 3)
    a, b = (lamina.from_numpy(draw(*s, dtype="float64", seed=i)).requires_grad_() for i, s in enumerate((left, right)))
    assert lamina.autograd.gradcheck(lambda a, b: GroupedMm.apply(a, b, ends), (a, b))
    assert lamina.autograd.gradgradcheck(lambda a, b: GroupedMm.apply(a, b, ends), (a, b))


def test_what_lies_behind_the_last_group_is_zero():
    a, b = lamina.ones(6, 8, requires_grad=True), lamina.ones(2, 8, 4, requires_grad=True)
    y = F.grouped_mm(a, b, offs=lamina.tensor([2, 5], dtype=lamina.int32))
    y.sum().backward()
    assert y[:, 0].tolist() == [8, 8, 8, 8, 8, 0] and a.grad[:, 0].tolist() == [4, 4, 4, 4, 4, 0]


@pytest.mark.parametrize(
    "call",
    [
        lambda t, F: F.grouped_mm(t.ones(6, 8), t.ones(2, 8, 16)),
        lambda t, F: F.grouped_mm(t.ones(2, 4, 8), t.ones(2, 8, 16), offs=offsets(t, [1, 2])),
        lambda t, F: F.grouped_mm(t.ones(6, 8), t.ones(2, 8, 16), offs=t.tensor([2, 6])),
        lambda t, F: F.grouped_mm(t.ones(6, 8), t.ones(2, 8, 16), offs=offsets(t, [2, 4, 6])),
        lambda t, F: F.grouped_mm(t.ones(6, 8), t.ones(2, 12, 16), offs=offsets(t, [2, 6])),
        lambda t, F: F.grouped_mm(t.ones(6, 8), t.ones(2, 8, 16), offs=offsets(t, [[2, 6]])),
        lambda t, F: F.grouped_mm(t.ones(3, 4, 8), t.ones(2, 8, 16)),
        lambda t, F: F.grouped_mm(t.ones(8), t.ones(2, 8, 16)),
        lambda t, F: F.grouped_mm(t.ones(2, 4, 8), t.ones(2, 8, 16).half()),
        lambda t, F: F.grouped_mm(t.ones(2, 4, 8).double(), t.ones(2, 8, 16).double()),
        lambda t, F: F.grouped_mm(t.ones(2, 4, 8), t.ones(2, 8, 16), bias=t.ones(16)),
        lambda t, F: F.grouped_mm(t.ones(2, 4, 8), t.ones(2, 8, 16), out_dtype=t.float64),
        lambda t, F: F.grouped_mm([1.0], t.ones(2, 8, 16)),
        lambda t, F: scaled(t, t.ones(16, 32), t.ones(32, 16)),
        lambda t, F: scaled(t, eight(t, 3, 16), eight(t, 8, 7)),
        lambda t, F: scaled(t, eight(t, 1, 3, 16), eight(t, 16, 7)),
        lambda t, F: scaled(t, eight(t, 3, 16), eight(t, 16, 7), t.ones(2)),
        lambda t, F: scaled(t, eight(t, 3, 16), eight(t, 16, 7), t.tensor(1.0).double()),
        lambda t, F: scaled(t, eight(t, 3, 16), eight(t, 16, 7), bias=t.ones(3)),
        lambda t, F: scaled(t, eight(t, 3, 16), eight(t, 16, 7), recipe="BlockWise1x16"),
        lambda t, F: scaled(t, 1, 2),
        lambda t, F: F.scaled_grouped_mm(
            eight(t, 2, 16, 32), eight(t, 2, 32, 16), t.ones(2, 16), F.ScalingType.RowWise, t.ones(2, 16), F.ScalingType.RowWise
        ),
    ],
)  # fmt: skip
def test_errors(call):
    same_error(lambda t: call(t, t.nn.functional))


def eight(t, *shape, kind="float8_e4m3fn", seed=0):
    return t.from_numpy(draw(*shape, seed=seed)).to(getattr(t, kind))


def scaled(t, a, b, scale=None, recipe="TensorWise", **settings):
    one = t.tensor(1.0)
    kind = getattr(t.nn.functional.ScalingType, recipe)
    return t.nn.functional.scaled_mm(a, b, one if scale is None else scale, kind, one, kind, **settings)


@pytest.mark.parametrize(
    "settings", [{}, {"output_dtype": "float32"}, {"output_dtype": "float16", "bias": True}, {"output_dtype": None}]
)
@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
def test_scaled_mm(settings, kind):
    torch = need_torch()
    made = []
    for t in (lamina, torch):
        given = dict(settings)
        if given.get("output_dtype"):
            given["output_dtype"] = getattr(t, given["output_dtype"])
        if given.pop("bias", False):
            given["bias"] = t.from_numpy(draw(7, seed=3))
        a, b = eight(t, 3, 16, kind=kind), eight(t, 16, 7, kind=kind, seed=1)
        whole = scaled(t, a, b, t.tensor(0.37), **given)
        by_row = t.nn.functional.ScalingType.RowWise
        left, right = (t.from_numpy(np.abs(draw(*s, seed=4))) for s in ((3, 1), (1, 7)))
        rows = t.nn.functional.scaled_mm(a, b, [left], [by_row], [right], [by_row], **given)
        wanted = a.dtype if settings.get("output_dtype", 0) is None else given.get("output_dtype", t.bfloat16)
        assert whole.dtype is wanted and rows.dtype is wanted
        made.append([whole.float(), rows.float()])
    # The last bit of the coarsest dtype here may fall either way where sums are added in another order.
    assert_same(made[0], made[1], rtol={None: 0.3}.get(settings.get("output_dtype", 0), 1e-2), atol=1e-3)
