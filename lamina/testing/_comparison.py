"""``assert_close``: are two tensors, numbers, or containers of them equal within the tolerance of their dtype?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._tensor import Tensor

_TOLERANCES: dict[str, tuple[float, float]] = {  # dtype: (relative, absolute)
    "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5), "float32": (1.3e-6, 1e-5), "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5), "complex128": (1e-7, 1e-7),
}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True,
    check_stride: bool = False, msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """Raise ``AssertionError`` unless \\|actual − expected\\| ≤ atol + rtol·\\|expected\\| everywhere.

    Tensors are compared with their shapes and dtypes, containers item by item. The tolerances come from the dtype (the larger
    of two), and are given both or not at all. ``msg`` replaces the message, or makes one of it.

    Raises:
        AssertionError: they differ.
        ValueError: only one of ``rtol`` and ``atol``.
        TypeError: things that cannot be compared.

    >>> lamina.testing.assert_close(lamina.tensor([1.0, 2.0]), lamina.tensor([1.0, 2.0 + 1e-7]))
    """
    def compare(a: Any, b: Any, where: str) -> None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            missing, extra = b.keys() - a.keys(), a.keys() - b.keys()
            if missing or extra:
                fail(f"The keys of the mappings do not match:\nMissing keys: {sorted(map(str, missing))}\n"
                     f"Additional keys: {sorted(map(str, extra))}", where)  # fmt: skip
            for key in b:
                compare(a[key], b[key], f"{where}[{key!r}]")
            return
        if _sequence(a) and _sequence(b):
            if len(a) != len(b):
                fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}", where)
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                compare(x, y, f"{where}[{i}]")
            return
        if a is None or b is None:
            if a is not b:
                fail(f"None mismatch: {a!r} is not {b!r}", where)
            return
        if not allow_subclasses and type(a) is not type(b):
            raise TypeError(f"type equality is required if allow_subclasses=False, but got {type(a)} and {type(b)}")
        numbers = isinstance(a, (bool, int, float, complex)) and isinstance(b, (bool, int, float, complex))
        x, y = _array(a), _array(b)
        if isinstance(a, (Tensor, np.ndarray)) != isinstance(b, (Tensor, np.ndarray)):
            raise TypeError(f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.")
        if (rtol is None) != (atol is None):
            raise ValueError(
                "Both 'rtol' and 'atol' must be either specified or unspecified, but got no "
                f"{'rtol' if rtol is None else 'atol'} with the other"
            )
        if x.shape != y.shape:
            fail(f"The values for attribute 'shape' do not match: {_dtypes.Size(x.shape)} != {_dtypes.Size(y.shape)}.", where)
        if check_dtype and x.dtype != y.dtype:
            if numbers:
                fail(f"The (d)types do not match: {type(a)} != {type(b)}.", where)
            kinds = " != ".join(repr(_dtypes.from_numpy(v.dtype)) for v in (x, y))
            fail(f"The values for attribute 'dtype' do not match: {kinds}.", where)
        if check_stride and x.strides != y.strides:
            fail(f"The values for attribute 'stride()' do not match: {x.strides} != {y.strides} (in bytes).", where)
        relative, absolute = (rtol, atol) if rtol is not None and atol is not None else _tolerance(x.dtype, y.dtype)
        _check_values(x, y, relative, absolute, equal_nan, numbers, lambda text: fail(text, where))

    def fail(text: str, where: str) -> None:
        if where:
            text = f"{text}\n\nThe failure occurred for item {where}"
        raise AssertionError(text if msg is None else msg(text) if callable(msg) else msg)

    compare(actual, expected, "")


def _sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def _array(x: Any) -> np.ndarray:
    if isinstance(x, Tensor):
        return x.to_dense().detach()._plain() if x.is_sparse else x._plain()
    if isinstance(x, (np.ndarray, np.generic, bool, int, float, complex)):
        return np.asarray(x)
    raise TypeError(f"No comparison pair was able to handle inputs of type {type(x)}: it is no tensor, number or container.")


def _tolerance(a: np.dtype, b: np.dtype) -> tuple[float, float]:
    x, y = _TOLERANCES.get(a.name, (0.0, 0.0)), _TOLERANCES.get(b.name, (0.0, 0.0))
    return max(x[0], y[0]), max(x[1], y[1])


def _wide(a: np.ndarray) -> np.ndarray:
    return a.astype(np.complex128 if a.dtype.kind == "c" else a.dtype if a.dtype.kind in "iub" else np.float64)


def _check_values(
    x: np.ndarray, y: np.ndarray, rtol: Any, atol: Any, equal_nan: bool, numbers: bool, fail: Callable[[str], None]
) -> None:
    a, b = _wide(x), _wide(y)
    if a.dtype.kind in "iub" and b.dtype.kind in "iub" and not rtol and not atol:
        close = a == b
        difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    else:
        with np.errstate(all="ignore"):
            difference = np.abs(a.astype(np.result_type(a, np.float64)) - b)
            close = (a == b) | (difference <= atol + rtol * np.abs(b)) & np.isfinite(difference)
            if equal_nan:
                close = close | np.isnan(a) & np.isnan(b)
    if close.all():
        return
    kind = "Scalars" if numbers else "Tensor-likes"
    what = "equal" if not rtol and not atol else "close"
    if close.ndim == 0:
        size = float(difference)
        allowed = f" ({rtol} allowed)" if rtol else ""
        relative = size / abs(b.item()) if b.item() else math.inf
        fail(
            f"{kind} are not {what}!\n\nExpected {y.item()} but got {x.item()}.\nAbsolute difference: {size}"
            f"{f' (up to {atol} allowed)' if atol else ''}\nRelative difference: {relative}{allowed}"
        )
    wrong = np.where(close, 0, difference)
    wrong = np.where(np.isnan(wrong), np.inf, wrong)
    with np.errstate(all="ignore"):
        ratio = np.where(close, 0, wrong / np.abs(b))
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    count = int((~close).sum())
    place, other = (tuple(map(int, np.unravel_index(np.argmax(v), v.shape))) for v in (wrong, ratio))
    fail(
        f"{kind} are not {what}!\n\nMismatched elements: {count} / {close.size} ({100 * count / close.size:.1f}%)\n"
        f"Greatest absolute difference: {wrong[place]} at index {place}{f' (up to {atol} allowed)' if what == 'close' else ''}\n"
        f"Greatest relative difference: {ratio[other]} at index {other}{f' (up to {rtol} allowed)' if what == 'close' else ''}"
    )


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None, equal_nan: bool = True,
                    msg: str = "") -> None:  # fmt: skip
    """:func:`assert_close` of older code: NaNs are equal and dtypes are not compared."""
    if rtol is None and atol is None:
        rtol, atol = _tolerance(_array(actual).dtype, _array(expected).dtype)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)
