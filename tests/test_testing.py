"""assert_close says of the same things as torch's that they differ; make_tensor keeps its promises."""

from __future__ import annotations

import numpy as np
import pytest
from support import need_torch, same_error

import lamina
from lamina.testing import assert_close, make_tensor

NAN = float("nan")
CASES = {
    "equal": lambda t: (t.ones(2), t.ones(2)),
    "near": lambda t: (t.ones(2), t.ones(2) + 1e-6),
    "far": lambda t: (t.ones(2), t.ones(2) + 1e-3),
    "double": lambda t: (t.ones(2).double(), t.ones(2).double() + 1e-6),
    "half": lambda t: (t.ones(2).half(), t.ones(2).half() + 1e-3),
    "shape": lambda t: (t.ones(2), t.ones(3)),
    "broadcast": lambda t: (t.ones(2), t.ones(1)),
    "dtype": lambda t: (t.ones(2), t.ones(2).double()),
    "integers": lambda t: (t.arange(3), t.arange(3)),
    "other integers": lambda t: (t.arange(3), t.arange(1, 4)),
    "bools": lambda t: (t.tensor([True]), t.tensor([False])),
    "nan": lambda t: (t.tensor([NAN]), t.tensor([NAN])),
    "inf": lambda t: (t.tensor([float("inf")]), t.tensor([float("inf")])),
    "-inf": lambda t: (t.tensor([float("inf")]), t.tensor([-float("inf")])),
    "complex": lambda t: (t.tensor([1 + 1j]), t.tensor([1 + 1.1j])),
    "0-d": lambda t: (t.tensor(1.0), t.tensor(2.0)),
    "numbers": lambda t: (1.0, 1.0 + 1e-9),
    "other numbers": lambda t: (1, 2),
    "kinds": lambda t: (1, 1.0),
    "lists": lambda t: ([t.ones(2), 3], [t.ones(2), 3]),
    "lengths": lambda t: ([1], [1, 2]),
    "dicts": lambda t: ({"a": t.ones(1)}, {"a": t.zeros(1)}),
    "keys": lambda t: ({"a": 1}, {"b": 1}),
    "None": lambda t: (None, None),
    "None and 1": lambda t: (None, 1),
    "empty": lambda t: (t.ones(0), t.ones(0)),
    "strings": lambda t: ("a", "a"),
    "number and tensor": lambda t: (1.0, t.tensor(1.0)),
}
SETTINGS = [{}, {"equal_nan": True}, {"rtol": 0, "atol": 1e-2}, {"check_dtype": False}, {"rtol": 1e-5}]


def outcome(t, case, settings):
    try:
        t.testing.assert_close(*CASES[case](t), **settings)
    except (AssertionError, ValueError, TypeError) as error:
        return type(error)
    return None


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_the_same_verdict(case, settings):
    assert outcome(lamina, case, settings) == outcome(need_torch(), case, settings)


def test_messages():
    with pytest.raises(AssertionError, match=r"Mismatched elements: 1 / 2 \(50.0%\)"):
        assert_close(lamina.tensor([1.0, 2.0]), lamina.tensor([1.0, 3.0]))
    with pytest.raises(AssertionError, match=r"item \['a'\]\[1\]"):
        assert_close({"a": [1, 2]}, {"a": [1, 3]})
    with pytest.raises(AssertionError, match="^no$"):
        assert_close(1, 2, msg="no")
    with pytest.raises(AssertionError, match="^here: Scalars are not equal"):
        assert_close(1, 2, msg=lambda text: "here: " + text)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64"])
def test_make_tensor(dtype):
    kind = getattr(lamina, dtype)
    for shape in ((), (3,), (2, 0), (4, 5)):
        x = make_tensor(shape, dtype=kind)
        assert x.shape == shape and x.dtype is kind
    x = make_tensor(50, 4, dtype=kind, exclude_zero=dtype != "bool", noncontiguous=True)
    assert not x.is_contiguous() and (dtype == "bool" or (x != 0).all())
    if kind.is_floating_point:
        y = make_tensor((100,), dtype=kind, low=2, high=3, requires_grad=True)
        assert y.requires_grad and y.min() >= 2 and y.max() <= 3
    else:
        same_error(lambda t: t.testing.make_tensor(2, dtype=t.int64, device="cpu", requires_grad=True))
    same_error(lambda t: t.testing.make_tensor(2, dtype=t.float32, device="cpu", low=3, high=2))
    assert np.isfinite(make_tensor(3, dtype=lamina.float32).numpy()).all()
