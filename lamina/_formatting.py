"""How a tensor prints: PyTorch's text, digit for digit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina import _dtypes


class _Options:
    precision, threshold, edgeitems, linewidth = 4, 1000, 3, 80
    sci_mode: bool | None = None


def set_printoptions(
    precision: int | None = None, threshold: int | None = None, edgeitems: int | None = None, linewidth: int | None = None,
    profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """Choose how tensors print: digits after the point, when to shorten, how many items to show at an edge, line width.

    ``profile`` is ``"default"``, ``"short"`` or ``"full"``; ``sci_mode`` forces or forbids scientific notation.
    """
    profiles = {"default": (4, 1000, 3, 80), "short": (2, 1000, 2, 80), "full": (4, math.inf, 3, 80)}
    if profile is not None:
        if profile not in profiles:
            raise ValueError(f"profile must be one of {', '.join(profiles)}, but got {profile!r}")
        _Options.precision, _Options.threshold, _Options.edgeitems, _Options.linewidth = profiles[profile]  # type: ignore[assignment]
    for name, value in (("precision", precision), ("threshold", threshold), ("edgeitems", edgeitems), ("linewidth", linewidth)):
        if value is not None:
            setattr(_Options, name, value)
    _Options.sci_mode = sci_mode


class _Formatter:
    """One width and notation for all elements that are shown."""

    def __init__(self, values: np.ndarray) -> None:
        self.floating = values.dtype.kind in "fV"
        self.integral, self.scientific, self.width = True, False, 1
        flat = values.reshape(-1)
        if not self.floating:
            self.width = max((len(str(v)) for v in flat.tolist()), default=1)
            return
        flat = flat.astype(np.float64)
        finite = flat[np.isfinite(flat) & (flat != 0)]
        if finite.size == 0:  # zeros, NaN and inf do not count for the width, as in PyTorch
            return
        size = np.abs(finite)
        largest, smallest = size.max(), size.min()
        self.integral = bool(np.all(finite == np.ceil(finite)))
        if self.integral:
            self.scientific = bool(largest / smallest > 1000.0 or largest > 1e8)
        else:
            self.scientific = bool(largest / smallest > 1000.0 or largest > 1e8 or smallest < 1e-4)
        if _Options.sci_mode is not None:
            self.scientific = _Options.sci_mode
        self._measure(finite)

    def _measure(self, flat: np.ndarray) -> None:
        self.width = max((len(self._text(v)) for v in flat.tolist()), default=1)

    def _text(self, v: Any) -> str:
        if not self.floating:
            return str(v)
        if self.scientific:
            return f"{v:.{_Options.precision}e}"
        if self.integral:
            text = f"{v:.0f}"
            return text + "." if math.isfinite(v) else text
        return f"{v:.{_Options.precision}f}"

    def __call__(self, v: Any) -> str:
        return self._text(v).rjust(self.width)


class _ComplexFormatter:
    """Real and imaginary parts, each with a width of its own."""

    def __init__(self, values: np.ndarray) -> None:
        self.real, self.imag = _Formatter(values.real), _Formatter(values.imag)
        self.width = self.real.width + self.imag.width + 1

    def __call__(self, v: complex) -> str:
        imaginary = self.imag(v.imag).lstrip()
        return self.real(v.real) + (imaginary if imaginary.startswith("-") else "+" + imaginary) + "j"


def _nested(a: np.ndarray, indent: int, summarize: bool, formatter: Any) -> str:
    if a.ndim == 0:
        return formatter(a.item())
    edge = _Options.edgeitems
    shorten = summarize and a.shape[0] > 2 * edge
    if a.ndim == 1:
        per_line = max(1, int(math.floor((_Options.linewidth - indent) / (formatter.width + 2))))
        shown = [formatter(v) for v in (np.concatenate([a[:edge], a[-edge:]]) if shorten else a).tolist()]
        if shorten:
            shown.insert(edge, " ...")
        lines = [", ".join(shown[i : i + per_line]) for i in range(0, len(shown), per_line)]
        return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"
    rows = [a[i] for i in range(edge)] + [a[i] for i in range(len(a) - edge, len(a))] if shorten else list(a)
    texts = [_nested(r, indent + 1, summarize, formatter) for r in rows]
    if shorten:
        texts.insert(edge, "...")
    return "[" + ("," + "\n" * (a.ndim - 1) + " " * (indent + 1)).join(texts) + "]"


def _visible(a: np.ndarray) -> np.ndarray:
    """The elements that a shortened print shows: those at the edges."""
    edge = _Options.edgeitems
    for axis, n in enumerate(a.shape):
        if n > 2 * edge:
            a = np.take(a, [*range(edge), *range(n - edge, n)], axis=axis)
    return a


def tensor_repr(t: Any) -> str:
    """The text of ``repr(tensor)``, as PyTorch writes it."""
    a = t._a
    prefix = "Parameter containing:\ntensor(" if getattr(t, "_is_param", False) else "tensor("
    indent = len("tensor(")
    suffixes = []
    default = t.dtype in (_dtypes.get_default_dtype(), _dtypes.int64, _dtypes.bool) or (
        t.dtype.is_complex and t.dtype is _dtypes.get_default_dtype().to_complex()
    )
    if a.size == 0:
        if a.ndim != 1:
            suffixes.append(f"size={tuple(a.shape)}")
        if t.dtype is not _dtypes.get_default_dtype():
            suffixes.append(f"dtype={t.dtype}")
        body = "[]"
    else:
        summarize = a.size > _Options.threshold
        shown = _visible(a) if summarize else a
        formatter: Any = _ComplexFormatter(shown) if a.dtype.kind == "c" else _Formatter(shown)
        body = _nested(a, indent, summarize, formatter)
        if not default:
            suffixes.append(f"dtype={t.dtype}")
    node = t.grad_fn
    if node is not None:
        suffixes.append(f"grad_fn=<{node.name()}>")
    elif t.requires_grad:
        suffixes.append("requires_grad=True")
    text = prefix + body
    last = len(body) - body.rfind("\n") + 1 + (indent if "\n" not in body else 0)
    for suffix in suffixes:
        if last + len(suffix) + 2 > _Options.linewidth:
            text += ",\n" + " " * indent + suffix
            last = indent + len(suffix)
        else:
            text += ", " + suffix
            last += len(suffix) + 2
    return text + ")"
