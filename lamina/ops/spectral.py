"""Window functions, and short-time Fourier transforms made of windows, frames and :mod:`lamina.ops.fft`."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from lamina import _dtypes
from lamina._dtypes import SCALAR_NAME, to_numpy
from lamina.autograd.graph import Variable, wrap
from lamina.ops import pointwise as p
from lamina.ops.complex import view_as_real
from lamina.ops.creation import _check, finish
from lamina.ops.fft import FftC2C, FftC2R, FftR2C
from lamina.ops.operands import not_a_tensor
from lamina.ops.pad import pad
from lamina.ops.parts import OverlapAdd, narrow
from lamina.ops.reduction import scalar_name
from lamina.ops.shape import _integer, transpose, unsqueeze

# -- windows -------------------------------------------------------------------------------------------------------


def cosines(n: int, periodic: bool, coefficients: Any) -> np.ndarray:
    """Σₖ (−1)ᵏ·aₖ·cos(2πk·t/N) for t = 0 … n − 1, where N is n for a periodic window and n − 1 for a symmetric one."""
    turn = 2 * np.pi * np.arange(n) / (n if periodic else n - 1)
    return sum(((-1) ** i * a * np.cos(i * turn) for i, a in enumerate(coefficients)), np.zeros(n))


def triangle(n: int, periodic: bool) -> np.ndarray:
    """A rise from 0 to 1 and a fall to 0."""
    return 1 - np.abs(2 * np.arange(n) / (n if periodic else n - 1) - 1)


def bessel(n: int, periodic: bool, beta: float) -> np.ndarray:
    """I₀(β·√(1 − r²))/I₀(β), with r from −1 to 1."""
    ratio = 2 * np.arange(n) / (n if periodic else n - 1) - 1
    return np.i0(beta * np.sqrt(np.maximum(1 - ratio * ratio, 0))) / np.i0(beta)


def _window(
    name: str, shape: Any, window_length: Any, periodic: Any, arguments: tuple, dtype: Any, layout: Any, device: Any,
    pin_memory: bool, requires_grad: bool,
) -> Any:  # fmt: skip
    if isinstance(window_length, (bool, float)) or not hasattr(window_length, "__index__"):
        raise TypeError(f"{name}(): argument 'window_length' (position 1) must be int, not {type(window_length).__name__}")
    n = _integer(window_length, "window_length")
    _check(device, layout, pin_memory)
    dtype = _dtypes.get_default_dtype() if dtype is None else dtype
    if dtype.is_complex:
        raise NotImplementedError(f'"{name}" not implemented for {SCALAR_NAME[dtype]!r}')
    if not dtype.is_floating_point:
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype!r}")
    if n < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={n}")
    array = np.ones(n) if n < 2 else shape(n, bool(periodic), *arguments)
    return finish(array.astype(to_numpy(dtype)), requires_grad)


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """½ − ½·cos(2πt/N): N is the length of a periodic window, and one less for a symmetric one."""
    return _window(
        "hann_window", cosines, window_length, periodic, ((0.5, 0.5),), dtype, layout, device, pin_memory, requires_grad
    )


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *, dtype: Any = None,
    layout: Any = _dtypes.strided, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """α − β·cos(2πt/N): N is the length of a periodic window, and one less for a symmetric one."""
    return _window(
        "hamming_window", cosines, window_length, periodic, ((alpha, beta),), dtype, layout, device, pin_memory, requires_grad
    )


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """0.42 − ½·cos(2πt/N) + 0.08·cos(4πt/N): N is the length of a periodic window, and one less for a symmetric one."""
    return _window(
        "blackman_window", cosines, window_length, periodic, ((0.42, 0.5, 0.08),), dtype, layout, device, pin_memory,
        requires_grad,
    )  # fmt: skip


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = _dtypes.strided, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """1 − \\|2t/N − 1\\|: N is the length of a periodic window, and one less for a symmetric one."""
    return _window("bartlett_window", triangle, window_length, periodic, (), dtype, layout, device, pin_memory, requires_grad)


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None, layout: Any = _dtypes.strided,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """I₀(β·√(1 − (2t/N − 1)²))/I₀(β): N is the length of a periodic window, and one less for a symmetric one."""
    return _window(
        "kaiser_window", bessel, window_length, periodic, (beta,), dtype, layout, device, pin_memory, requires_grad
    )


# -- short-time transforms -----------------------------------------------------------------------------------------


def _hops(n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    return n_fft // 4 if hop_length is None else hop_length, n_fft if win_length is None else win_length


def _told(window: Any) -> str:
    return "None" if window is None else f"{scalar_name(window._a)}Tensor{list(window._a.shape)}"


def _centred(window: Any, n_fft: int, win_length: int) -> Any:
    """The window with as many zeros on both sides as make it ``n_fft`` long."""
    left = (n_fft - win_length) // 2
    return pad(window, (left, n_fft - win_length - left)) if win_length < n_fft else window


def stft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, pad_mode: str = "reflect", normalized: bool = False, onesided: bool | None = None,
    return_complex: bool | None = None, align_to_window: bool | None = None,
) -> Any:  # fmt: skip
    """The spectra of overlapping frames of a signal (T) or of several (B, T): complex numbers ([B,] frequencies, frames).

    Args:
        n_fft (int): the points of a frame's transform.
        hop_length (int): the distance of frames. Default: n_fft // 4.
        win_length (int): the points of the window, centred in the frame. Default: n_fft.
        window (Tensor): what each frame is multiplied with. Default: ones (with a warning).
        center (bool): whether frame t is centred at t·hop_length, the signal being padded by n_fft // 2 on both sides.
        pad_mode (str): how it is padded; see :func:`lamina.nn.functional.pad`.
        normalized (bool): whether the transforms are divided by √n_fft.
        onesided (bool): whether only the frequencies 0 … n_fft/2 are given. Default: yes, for real input and window.
        return_complex (bool): must be set for real input. ``False`` gives pairs of real numbers, and is deprecated.
        align_to_window (bool): without ``center``, whether the window's start and not the frame's is aligned with the signal's.

    Raises:
        RuntimeError: a signal that is not one- or two-dimensional or too short, a window of another length.
    """
    if not isinstance(input, Variable):
        raise not_a_tensor(input, "stft")
    if window is None:
        warnings.warn(
            "A window was not provided. A rectangular window will be applied, which is known to cause spectral leakage. Other "
            "windows such as torch.hann_window are recommended; window=torch.ones(n_fft) suppresses this warning.",
            stacklevel=2,
        )
    if center and align_to_window is not None:
        raise RuntimeError("stft align_to_window should only be set when center = false")
    hop_length, win_length = _hops(n_fft, hop_length, win_length)
    whole = input._a.dtype.kind == "c" or (window is not None and window._a.dtype.kind == "c")
    if return_complex is None:
        if not whole:
            raise RuntimeError(
                "stft requires the return_complex parameter be given for real inputs, and will further require that "
                "return_complex=True in a future PyTorch release."
            )
        return_complex = True
    elif not return_complex:
        warnings.warn(
            "stft with return_complex=False is deprecated. In a future pytorch release, stft will return complex tensors for all "
            "inputs, and return_complex=False will raise an error.",
            stacklevel=2,
        )

    def fail(message: str) -> RuntimeError:
        return RuntimeError(
            f"stft({scalar_name(input._a)}Tensor{list(input._a.shape)}, n_fft={n_fft}, hop_length={hop_length}, "
            f"win_length={win_length}, window={_told(window)}) : {message}"
        )

    x, a = input, input._a
    if a.dtype.kind not in "fcV":
        raise fail("expected a tensor of floating point or complex values")
    if a.ndim not in (1, 2):
        raise fail("expected a 1D or 2D tensor")
    if a.ndim == 1:
        x = unsqueeze(x, 0)
    if center:
        lead = x
        amount = int(n_fft) // 2
        if pad_mode != "constant":
            lead = unsqueeze(lead, 0)
        x = pad(lead, (amount, amount), pad_mode)
        x = x if pad_mode == "constant" else x.squeeze(0)
    length = x._a.shape[1]
    if n_fft <= 0 or n_fft > length:
        raise fail(f"expected 0 < n_fft < {length}, but got n_fft={n_fft}")
    if hop_length <= 0:
        raise fail(f"expected hop_length > 0, but got hop_length={hop_length}")
    if win_length <= 0 or win_length > n_fft:
        raise fail(f"expected 0 < win_length <= n_fft, but got win_length={win_length}")
    if window is not None and window._a.shape != (win_length,):
        raise fail(
            f"expected a 1D window tensor of size equal to win_length={win_length}, but got window with size "
            f"{list(window._a.shape)}"
        )
    if onesided is None:
        onesided = not whole
    elif onesided and whole:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window and not center and win_length < n_fft:
        left = (n_fft - win_length) // 2
        x = pad(x, (left, n_fft - win_length - left))
    frames = x.unfold(1, n_fft, hop_length)
    if window is not None or win_length < n_fft:
        if window is None:
            window = wrap(np.ones(win_length, a.real.dtype))
        frames = frames * _centred(window, n_fft, win_length)
    norm = "ortho" if normalized else "backward"
    if onesided:
        spectra = FftR2C.apply(frames, (2,), norm)
    else:
        frames = frames if frames._a.dtype.kind == "c" else p.cast(frames, frames.dtype.to_complex())
        spectra = FftC2C.apply(frames, (2,), True, norm)
    spectra = transpose(spectra, 1, 2)
    spectra = spectra.squeeze(0) if a.ndim == 1 else spectra
    return spectra if return_complex else view_as_real(spectra)


def istft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None, window: Any = None,
    center: bool = True, normalized: bool = False, onesided: bool | None = None, length: int | None = None,
    return_complex: bool = False,
) -> Any:  # fmt: skip
    """The signal ([B,] T) of which :func:`stft` with the same settings made ``input`` ([B,] frequencies, frames).

    The transformed-back frames are added where they overlap, and divided by the sum of the squares of the windows there.
    ``length`` cuts the signal, or fills it up with zeros. Raises ``RuntimeError`` if that sum is 0 somewhere (settings that do
    not cover the signal), or if the sizes do not fit.
    """
    if not isinstance(input, Variable):
        raise not_a_tensor(input, "istft")
    if window is None:
        warnings.warn(
            "A window was not provided. A rectangular window will be applied. Please provide the same window used by stft to "
            "make the inversion lossless; window=torch.ones(n_fft) suppresses this warning.",
            stacklevel=2,
        )
    hop_length, win_length = _hops(n_fft, hop_length, win_length)
    a = input._a

    def fail(message: str) -> RuntimeError:
        return RuntimeError(
            f"istft({scalar_name(a)}Tensor{list(a.shape)}, n_fft={n_fft}, hop_length={hop_length}, win_length={win_length}, "
            f"window={_told(window)}, center={int(center)}) {message}"
        )

    if a.dtype.kind != "c":
        raise RuntimeError(
            "istft requires a complex-valued input tensor matching the output from stft with return_complex=True."
        )
    if a.ndim < 2:
        raise IndexError(f"Dimension out of range (expected to be in range of [-2, 1], but got {-3})")
    if a.size == 0:
        raise fail(": input tensor cannot be empty.")
    if a.ndim > 3:
        raise fail(f": expected a tensor with 3 or 4 dimensions, but got {a.ndim + 1}")
    count, points = a.shape[-1], a.shape[-2]
    if onesided is None:
        onesided = points != n_fft
    if onesided and n_fft // 2 + 1 != points:
        raise fail(
            ": expected the frequency dimension (3rd to the last) of the input tensor to match n_fft / 2 + 1 when "
            f"onesided=True, but got {points}"
        )
    if not onesided and n_fft != points:
        raise fail(
            ": expected the frequency dimension (3rd to the last) of the input tensor to match n_fft when onesided=False, but "
            f"got {points}"
        )
    if not 0 < hop_length <= win_length:
        raise fail(": expected 0 < hop_length <= win_length")
    if not 0 < win_length <= n_fft:
        raise fail(": expected 0 < win_length <= n_fft")
    if window is not None and window._a.shape != (win_length,):
        raise fail(": Invalid window shape. window has to be 1D and length of `win_length`")
    if return_complex:
        if onesided:
            raise RuntimeError("Cannot have onesided output if window or input is complex")
    elif window is not None and window._a.dtype.kind == "c":
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    if window is None:
        window = wrap(np.ones(win_length, a.real.dtype))
    window = _centred(window, n_fft, win_length)
    spectra = transpose(unsqueeze(input, 0) if a.ndim == 2 else input, 1, 2)
    norm = "ortho" if normalized else "backward"
    if return_complex:
        frames = FftC2C.apply(spectra, (2,), False, norm)
    else:
        half = spectra if onesided else narrow(spectra, 2, 0, n_fft // 2 + 1)
        frames = FftC2R.apply(half, (2,), n_fft, norm)
    total = n_fft + hop_length * (count - 1)
    signal = OverlapAdd.apply(frames * window, (frames._a.shape[0], total), 1, hop_length)
    squares = (window * window).expand(1, count, n_fft)
    cover = OverlapAdd.apply(squares, (1, total), 1, hop_length)
    start = n_fft // 2 if center else 0
    stop = start + length if length is not None else total - n_fft // 2 if center else total
    kept = min(stop, total) - start
    signal, cover = narrow(signal, 1, start, kept), narrow(cover, 1, start, kept)
    if not bool((np.abs(cover._a) > 1e-11).all()):
        raise fail(f"window overlap add min: {np.abs(cover._a).min(initial=math.inf):g}: the frames do not cover the signal")
    signal = signal / cover
    if stop > total:
        warnings.warn(
            "The length of signal is shorter than the length parameter. Result is being padded with zeros in the tail. Please "
            "check your center and hop_length settings.",
            stacklevel=2,
        )
        signal = pad(signal, (0, stop - total))
    return signal.squeeze(0) if a.ndim == 2 else signal


FUNCTIONS = ("stft", "istft", "hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window")
METHODS = ("stft", "istft")
