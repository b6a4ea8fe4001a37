"""Discrete Fourier transforms: NumPy's (pocketfft), in single and double precision.

``norm`` says which direction divides by n, as in NumPy: "backward" the inverse, "forward" the forward one, "ortho" both by √n.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["fft_c2c", "fft_r2c", "fft_c2r"]

ndarray = np.ndarray


def fft_c2c(x: ndarray, axes: tuple[int, ...], forward: bool, norm: Any) -> Any:
    """The transform of complex numbers, forward (e^−iωt) or inverse."""
    if not axes or x.size == 0:
        return x.copy()
    return (np.fft.fftn if forward else np.fft.ifftn)(x, axes=axes, norm=norm)


def fft_r2c(x: ndarray, axes: tuple[int, ...], norm: Any) -> Any:
    """The forward transform of real numbers; of the last axis only the frequencies from 0 to n/2."""
    if x.size == 0:
        half = [n // 2 + 1 if i == axes[-1] else n for i, n in enumerate(x.shape)]
        return np.zeros(half, np.result_type(x.dtype, np.complex64))
    return np.fft.rfftn(x, axes=axes, norm=norm)


def fft_c2r(x: ndarray, axes: tuple[int, ...], n: int, norm: Any) -> Any:
    """The inverse of :func:`fft_r2c`, with ``n`` real numbers along the last axis."""
    if x.size == 0:
        return np.zeros([n if i == axes[-1] else m for i, m in enumerate(x.shape)], x.real.dtype)
    if len(axes) > 1:
        x = np.fft.ifftn(x, axes=axes[:-1], norm=norm)
    return np.fft.irfft(x, n, axis=axes[-1], norm=norm)
