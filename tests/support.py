"""Shared helpers of the tests: run the same thing on lamina and on torch, and compare."""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lamina

ENGINES = ("reference", "onednn")
HAVE_TORCH = importlib.util.find_spec("torch") is not None

# The tolerances of torch.testing, by dtype: (relative, absolute).
TOLERANCE = {"float16": (1e-3, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7), "complex64": (1.3e-6, 1e-5)}


def need_torch() -> Any:
    """The torch module; a test that calls this is skipped where torch is missing (but fails in CI)."""
    if not HAVE_TORCH:
        if os.environ.get("LAMINA_REQUIRE_TORCH"):
            pytest.fail("LAMINA_REQUIRE_TORCH is set, but torch is not installed")
        pytest.skip("torch is not installed: parity tests need it")
    import torch

    torch.set_num_threads(1)
    return torch


def array(x: Any) -> np.ndarray:
    """A tensor of either library, or an array, as an array."""
    return x.detach().resolve_conj().resolve_neg().numpy() if hasattr(x, "detach") else np.asarray(x)


def assert_same(ours: Any, theirs: Any, rtol: float | None = None, atol: float | None = None, dtype: bool = True) -> None:
    """Equal in structure, shape, dtype, NaNs, and value to the dtype's tolerance."""
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b, rtol, atol, dtype)
        return
    if theirs is None:
        assert ours is None
        return
    if not hasattr(theirs, "dtype"):
        assert ours == theirs, (ours, theirs)
        return
    a, b = array(ours), array(theirs)
    assert a.shape == b.shape, f"shape {a.shape} is not torch's {b.shape}"
    if dtype:
        assert a.dtype == b.dtype, f"dtype {a.dtype} is not torch's {b.dtype}"
    r, t = TOLERANCE.get(b.dtype.name, (0.0, 0.0))
    np.testing.assert_allclose(a, b, rtol=r if rtol is None else rtol, atol=t if atol is None else atol, equal_nan=True)


def pair(x: np.ndarray, requires_grad: bool = False) -> tuple[Any, Any]:
    """The same array as a leaf of lamina and of torch (copies), in the same memory order."""
    torch = need_torch()
    ours, theirs = lamina.from_numpy(x.copy(order="K")), torch.from_numpy(x.copy(order="K"))
    if requires_grad and x.dtype.kind in "fc":
        ours.requires_grad_()
        theirs.requires_grad_()
    return ours, theirs


def compare(
    function: Callable[..., Any], *inputs: Any, grad: bool = True, rtol: float | None = None, atol: float | None = None,
    seed: int = 0,
) -> None:  # fmt: skip
    """``function(module, *tensors)`` on both libraries: results, and gradients under one random vector, must agree.

    Arrays become tensors; other inputs are passed as they are.
    """
    torch = need_torch()
    ours_in, theirs_in = [], []
    for x in inputs:
        if isinstance(x, np.ndarray):
            a, b = pair(x, grad and x.dtype.kind in "fc")
        else:
            a = b = x
        ours_in.append(a)
        theirs_in.append(b)
    ours, theirs = function(lamina, *ours_in), function(torch, *theirs_in)
    assert_same(ours, theirs, rtol, atol)
    if not grad:
        return
    rng = np.random.default_rng(seed)
    ours_list = list(ours) if isinstance(ours, (tuple, list)) else [ours]
    theirs_list = list(theirs) if isinstance(theirs, (tuple, list)) else [theirs]
    ours_sum, theirs_sum = [], []
    for a, b in zip(ours_list, theirs_list, strict=True):
        if hasattr(b, "requires_grad"):
            assert a.requires_grad == b.requires_grad, f"requires_grad {a.requires_grad} is not torch's {b.requires_grad}"
            if b.requires_grad:
                v = rng.standard_normal(tuple(b.shape)).astype(array(b).dtype)
                ours_sum.append((a, lamina.from_numpy(v.copy())))
                theirs_sum.append((b, torch.from_numpy(v.copy())))
    if not theirs_sum:
        return
    lamina.autograd.backward([a for a, _ in ours_sum], [v for _, v in ours_sum])
    torch.autograd.backward([b for b, _ in theirs_sum], [v for _, v in theirs_sum])
    for a, b in zip(ours_in, theirs_in, strict=True):
        if hasattr(b, "requires_grad") and b.requires_grad:
            if b.grad is None:
                assert a.grad is None
            else:
                assert a.grad is not None, "torch has a gradient here"
                assert_same(a.grad, b.grad, rtol, atol)


def same_error(function: Callable[..., Any], *inputs: Any, match: str | None = None) -> None:
    """``function(module, *inputs)`` raises the same exception type on both libraries."""
    torch = need_torch()
    theirs_in = [torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x for x in inputs]
    ours_in = [lamina.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x for x in inputs]
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011  # whatever torch raises
        function(torch, *theirs_in)
    with pytest.raises(theirs.type, match=match):
        function(lamina, *ours_in)


def layouts(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of one shape in several memory orders: plain, transposed, strided, offset."""
    rng = np.random.default_rng(seed)
    plain = rng.standard_normal(shape).astype(dtype)
    made = {"plain": plain}
    if len(shape) > 1:
        made["transposed"] = np.ascontiguousarray(plain.T).T
    if len(shape) > 2:
        made["channels_last"] = np.moveaxis(np.ascontiguousarray(np.moveaxis(plain, 1, -1)), -1, 1)
    if shape:
        wide = np.zeros((*shape[:-1], 2 * shape[-1]), dtype)
        wide[..., ::2] = plain
        made["strided"] = wide[..., ::2]
    return made


def expression(text: str) -> Callable[..., Any]:
    """A case written as torch code on ``t`` (the module) and tensors ``x``, ``y``, ``i``, as a function of all of them."""
    names = {"np": np, "NAN": float("nan"), "INF": float("inf")}
    code = eval(f"lambda t, x, y=None, i=None: {text}", names)  # noqa: S307  # the text is the test's own
    code.__name__ = text
    return code


def both_forms(run: Callable[[], Any]) -> list[Any]:
    """What ``run()`` gives by the reference kernels and by oneDNN's (or the first again, in a run forced to the reference)."""
    from lamina.engine import engine, get_engine

    results = []
    for form in ("reference", "reference" if get_engine() == "reference" else "onednn"):
        with engine(form):
            results.append(run())
    return results


def at_once(work: Callable[[int], Any], count: int) -> None:
    """``work(0)``, ``work(1)``, ... in threads of their own; an error in one of them is raised here."""
    errors: list[BaseException] = []

    def run(i: int) -> None:
        try:
            work(i)
        except BaseException as error:  # noqa: B036  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def quietly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same without warnings, which both libraries give of deprecated forms."""

    def run(*args: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)

    return run
