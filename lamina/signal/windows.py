"""Window functions under PyTorch's names: symmetric by default, and periodic with ``sym=False``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina.ops.creation import finish
from lamina.ops.spectral import bessel, cosines, triangle

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
    "kaiser", "nuttall",
]  # fmt: skip


def _made(
    name: str, shape: Callable[..., np.ndarray], M: int, sym: bool, dtype: Any, layout: Any, device: Any, requires_grad: bool  # noqa: N803
) -> Any:
    dtype = _dtypes.get_default_dtype() if dtype is None else dtype
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout is not _dtypes.strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout!r}")
    if dtype not in (_dtypes.float32, _dtypes.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype!r}")
    _dtypes.check_device(device)
    array = np.ones(M) if M < 2 else shape(M, not sym)
    return finish(array.astype(dtype.numpy), requires_grad)


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True, dtype: Any = None,  # noqa: N803
    layout: Any = _dtypes.strided, device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """e^(−\\|t − center\\|/tau); the centre, in the middle by default, may be given for periodic windows only."""
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")

    def shape(n: int, periodic: bool) -> np.ndarray:
        middle = (n if periodic else n - 1) / 2 if center is None else center
        return np.exp(-np.abs(np.arange(n) - middle) / tau)

    return _made("exponential", shape, M, sym, dtype, layout, device, requires_grad)


def cosine(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Half a wave: sin(π·(t + ½)/N)."""

    def shape(n: int, periodic: bool) -> np.ndarray:
        return np.sin(np.pi * (np.arange(n) + 0.5) / (n + periodic))

    return _made("cosine", shape, M, sym, dtype, layout, device, requires_grad)


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided,  # noqa: N803
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """e^(−½·((t − N/2)/std)²)."""
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")

    def shape(n: int, periodic: bool) -> np.ndarray:
        return np.exp(-0.5 * ((np.arange(n) - (n if periodic else n - 1) / 2) / std) ** 2)

    return _made("gaussian", shape, M, sym, dtype, layout, device, requires_grad)


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided,  # noqa: N803
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """I₀(β·√(1 − (2t/N − 1)²))/I₀(β)."""
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _made("kaiser", lambda n, periodic: bessel(n, periodic, beta), M, sym, dtype, layout, device, requires_grad)


def bartlett(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """A triangle: 1 − \\|2t/N − 1\\|."""
    return _made("bartlett", triangle, M, sym, dtype, layout, device, requires_grad)


def general_cosine(
    M: Any, *, a: Iterable, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Σₖ (−1)ᵏ·aₖ·cos(2πk·t/N)."""
    if not isinstance(a, Iterable):
        raise TypeError("Coefficients must be a list/tuple")
    coefficients = list(a)
    if not coefficients:
        raise ValueError("Coefficients cannot be empty")
    return _made(
        "general_cosine", lambda n, periodic: cosines(n, periodic, coefficients), M, sym, dtype, layout, device, requires_grad
    )


def general_hamming(
    M: Any, *, alpha: float = 0.54, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided,  # noqa: N803
    device: Any = None, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """α − (1 − α)·cos(2πt/N)."""
    return general_cosine(
        M, a=[alpha, 1.0 - alpha], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad
    )


def hamming(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """0.54 − 0.46·cos(2πt/N)."""
    return general_hamming(M, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def hann(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """½ − ½·cos(2πt/N)."""
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)


def blackman(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """0.42 − ½·cos(2πt/N) + 0.08·cos(4πt/N)."""
    return general_cosine(
        M, a=[0.42, 0.5, 0.08], sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad
    )


def nuttall(
    M: int, *, sym: bool = True, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,  # noqa: N803
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Nuttall's minimum four-term window: Σₖ (−1)ᵏ·aₖ·cos(2πk·t/N)."""
    a = [0.3635819, 0.4891775, 0.1365995, 0.0106411]
    return general_cosine(M, a=a, sym=sym, dtype=dtype, layout=layout, device=device, requires_grad=requires_grad)
