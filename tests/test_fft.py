"""Fourier transforms, windows and short-time transforms against torch."""

from __future__ import annotations

import numpy as np
import pytest
from support import assert_same, compare, need_torch, same_error

import lamina
from lamina.autograd import gradcheck, gradgradcheck

ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
REAL_ONLY = ("rfft", "ihfft")
RNG = np.random.default_rng(0)
CLOSE = {"float64": 1e-12, "complex128": 1e-12, "float32": 2e-6, "complex64": 2e-6}


def values(shape, dtype="float64"):
    x = RNG.standard_normal(shape)
    if dtype.startswith("c"):
        x = x + 1j * RNG.standard_normal(shape)
    return x.astype(dtype)


def close(function, *inputs, grad=True):
    dtype = next(x.dtype.name for x in inputs if isinstance(x, np.ndarray))
    atol = CLOSE.get(dtype, 1e-5)
    compare(function, *inputs, grad=grad, rtol=10 * atol, atol=20 * atol)


def dtypes_of(name):
    return ("float64", "float32") if name.rstrip("n2") in REAL_ONLY else ("float64", "float32", "complex128", "complex64")


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("norm", [None, "backward", "forward", "ortho"])
def test_one_dimension(name, norm):
    for dtype in dtypes_of(name):
        for shape, dim in [((7,), -1), ((3, 8), -1), ((6, 3), 0), ((2, 5, 3), 1)]:
            for n in (None, 4, 5, 11):
                close(lambda t, x, n=n, d=dim: getattr(t.fft, name)(x, n, d, norm), values(shape, dtype))


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("norm", [None, "forward", "ortho"])
def test_several_dimensions(name, norm):
    for dtype in dtypes_of(name):
        x = values((3, 4, 5), dtype)
        for arguments in ({}, {"s": (4, 3)}, {"dim": (0, 2)}, {"s": (-1, 6), "dim": (2, 0)}, {"s": (2, 2, 9)}, {"dim": (1,)}):
            close(lambda t, x, a=arguments: getattr(t.fft, name + "n")(x, norm=norm, **a), x)
        for arguments in ({}, {"s": (4, 3)}, {"dim": (0, 2)}, {"s": (5, 6), "dim": (2, 0)}):
            close(lambda t, x, a=arguments: getattr(t.fft, name + "2")(x, norm=norm, **a), x)


@pytest.mark.parametrize("name", ONE)
def test_gradients(name):
    def real(function):
        def run(*parts):
            x = parts[0] if name in REAL_ONLY else lamina.complex(*parts)
            y = function(x)
            return lamina.view_as_real(y) if y.is_complex() else y

        return run

    parts = [lamina.from_numpy(values((3, 4))).requires_grad_() for _ in range(1 if name in REAL_ONLY else 2)]
    for function in (
        lambda x: getattr(lamina.fft, name)(x), lambda x: getattr(lamina.fft, name)(x, 3, 0, "ortho"),
        lambda x: getattr(lamina.fft, name + "n")(x, norm="forward"), lambda x: getattr(lamina.fft, name + "2")(x, (5, 3)),
    ):  # fmt: skip
        assert gradcheck(real(function), parts)
        assert gradgradcheck(real(function), parts)


def test_of_real_and_integers():
    for x in (np.arange(5), np.array([True, False, True]), np.array([1, 2, 3], np.uint8), np.arange(4.0)):
        for name in ONE:
            close(lambda t, x, n=name: getattr(t.fft, n)(x), x, grad=False)
    close(lambda t, x: t.fft.fftn(x), np.array(2.0))
    close(lambda t, x: t.fft.fftn(x, dim=()), np.ones((2, 3)))
    assert lamina.fft.fft(lamina.ones(0, 3)).shape == (0, 3) and lamina.fft.rfft(lamina.ones(0, 3)).shape == (0, 2)


def test_layouts():
    x = values((4, 6, 5))
    for view in (lambda x: x.transpose(0, 2), lambda x: x[::2, 1:], lambda x: x[:, :, :1].expand(4, 6, 3)):
        close(lambda t, x, v=view: t.fft.fft(v(x), dim=1), x)
        close(lambda t, x, v=view: t.fft.rfft2(v(x)), x)
    assert lamina.fft.fft(lamina.from_numpy(x), dim=0).is_contiguous()


def test_frequencies_and_shifts():
    for n in (0, 1, 4, 5):
        for arguments in ({}, {"d": 0.25}, {"dtype": "float64"}):
            for name in ("fftfreq", "rfftfreq"):
                compare(
                    lambda t, a=arguments, n=n, f=name: getattr(t.fft, f)(
                        n, **{k: getattr(t, v) if k == "dtype" else v for k, v in a.items()}
                    ),
                    grad=False,
                )
    for shape in ((5,), (4,), (4, 5)):
        x = values(shape)
        for name in ("fftshift", "ifftshift"):
            compare(lambda t, x, f=name: getattr(t.fft, f)(x), x)
            compare(lambda t, x, f=name: getattr(t.fft, f)(x, dim=0), x)
    compare(lambda t, x: t.fft.fftshift(x, dim=(0, 1)), values((4, 5)))
    for bad in (
        lambda t: t.fft.fftfreq(-1), lambda t: t.fft.fftfreq(3, dtype=t.int64), lambda t: t.fft.fftshift(t.ones(3), 1),
        lambda t: t.fft.fftshift(t.tensor(1.0)),
    ):  # fmt: skip
        same_error(bad)


def test_out():
    for t in (lamina, need_torch()):
        out = t.empty(0, dtype=t.complex64)
        assert t.fft.fft(t.ones(3), out=out) is out and out.shape == (3,)
        real = t.empty(4)
        assert t.fft.irfft(t.ones(3), out=real) is real
        assert t.fft.fftfreq(4, out=real) is real and real.tolist() == [0.0, 0.25, -0.5, -0.25]


ERRORS = {
    "half": lambda t: t.fft.fft(t.ones(4).half()),
    "0-d": lambda t: t.fft.fft(t.tensor(1.0)),
    "empty": lambda t: t.fft.fft(t.ones(0)),
    "n=0": lambda t: t.fft.fft(t.ones(3), n=0),
    "n<0": lambda t: t.fft.rfft(t.ones(3), n=-1),
    "n float": lambda t: t.fft.fft(t.ones(3), n=1.5),
    "dim": lambda t: t.fft.fft(t.ones(3), dim=1),
    "norm": lambda t: t.fft.fft(t.ones(3), norm="x"),
    "list": lambda t: t.fft.fft([1.0]),
    "rfft complex": lambda t: t.fft.rfft(t.ones(3).cfloat()),
    "ihfft complex": lambda t: t.fft.ihfft(t.ones(3).cfloat()),
    "rfftn complex": lambda t: t.fft.rfftn(t.ones(2, 3).cfloat()),
    "irfft of one": lambda t: t.fft.irfft(t.ones(1)),
    "rfftn 0-d": lambda t: t.fft.rfftn(t.tensor(1.0)),
    "irfftn no dim": lambda t: t.fft.irfftn(t.ones(2, 3), dim=()),
    "s too long": lambda t: t.fft.fftn(t.ones(2, 3), s=(2, 3, 4)),
    "s and dim": lambda t: t.fft.fftn(t.ones(2, 3), s=(2,), dim=(0, 1)),
    "dim twice": lambda t: t.fft.fftn(t.ones(2, 3), dim=(0, 0)),
    "s=-2": lambda t: t.fft.fftn(t.ones(2, 3), s=(-2, 4)),
    "fft2 of a vector": lambda t: t.fft.fft2(t.ones(3)),
    "real out": lambda t: t.fft.fft(t.ones(3), out=t.empty(3)),
    "complex out": lambda t: t.fft.irfft(t.ones(3), out=t.empty(4, dtype=t.complex128)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    same_error(ERRORS[name])


def test_nothing_is_missing():
    torch = need_torch()
    wanted = {n for n in dir(torch.fft) if n.endswith(("fft", "fft2", "fftn", "freq", "shift")) and n[0] != "_"}
    assert wanted == set(lamina.fft.__all__)
    assert_same(lamina.fft.fft(lamina.tensor([1.0, float("nan")])).isnan(), torch.tensor([True, True]))


# -- windows -------------------------------------------------------------------------------------------------------

WINDOWS = {
    "hann": {}, "hamming": {}, "blackman": {}, "bartlett": {}, "nuttall": {}, "cosine": {}, "general_hamming": {"alpha": 0.4},
    "general_cosine": {"a": [0.4, 0.3, 0.3]}, "kaiser": {"beta": 3.0}, "gaussian": {"std": 2.0}, "exponential": {"tau": 2.0},
}  # fmt: skip


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name):
    for n in (0, 1, 2, 5, 8):
        for dtype in ("float32", "float64"):
            for sym in (True, False):

                def call(t, n=n, dtype=dtype, sym=sym):
                    return getattr(t.signal.windows, name)(n, sym=sym, dtype=getattr(t, dtype), **WINDOWS[name])

                compare(call, grad=False, rtol=1e-12 if dtype == "float64" else 2e-6, atol=1e-15 if dtype == "float64" else 1e-6)
    for bad in (-1, {"dtype": "int64"}, {"dtype": "float16"}, {"layout": "sparse_coo"}):

        def call(t, bad=bad):
            n, settings = (bad, {}) if isinstance(bad, int) else (3, {k: getattr(t, v) for k, v in bad.items()})
            return getattr(t.signal.windows, name)(n, **settings, **WINDOWS[name])

        same_error(call)


@pytest.mark.parametrize("name", ["hann", "hamming", "blackman", "bartlett", "kaiser"])
def test_older_windows(name):
    for n in (0, 1, 2, 5, 8):
        for dtype in ("float32", "float64", "float16"):
            for periodic in (True, False):
                compare(
                    lambda t, n=n, d=dtype, p=periodic: getattr(t, name + "_window")(n, p, dtype=getattr(t, d)), grad=False,
                    rtol=1e-12 if dtype == "float64" else 2e-3 if dtype == "float16" else 5e-6,
                    atol=1e-15 if dtype == "float64" else 1e-3 if dtype == "float16" else 1e-6,
                )  # fmt: skip
    assert getattr(lamina, name + "_window")(3, requires_grad=True).requires_grad
    for bad in (-1, 2.5):
        same_error(lambda t, n=bad: getattr(t, name + "_window")(n))
    for dtype in ("int64", "complex64"):
        same_error(lambda t, d=dtype: getattr(t, name + "_window")(3, dtype=getattr(t, d)))


def test_window_arguments():
    compare(lambda t: t.hamming_window(5, True, 0.5, 0.4, dtype=t.float64), grad=False)
    compare(lambda t: t.kaiser_window(5, False, 3.0, dtype=t.float64), grad=False)
    compare(lambda t: t.signal.windows.exponential(5, center=1, sym=False, dtype=t.float64), grad=False)
    for bad in (
        lambda t: t.signal.windows.gaussian(3, std=-1), lambda t: t.signal.windows.exponential(3, tau=0),
        lambda t: t.signal.windows.exponential(3, center=1), lambda t: t.signal.windows.kaiser(3, beta=-1),
        lambda t: t.signal.windows.general_cosine(3, a=[]), lambda t: t.signal.windows.general_cosine(3, a=3),
    ):  # fmt: skip
        same_error(bad)


# -- short-time transforms -----------------------------------------------------------------------------------------

SETTINGS = [
    {}, {"hop_length": 3}, {"win_length": 5}, {"center": False}, {"normalized": True}, {"onesided": False},
    {"pad_mode": "constant"}, {"pad_mode": "replicate", "hop_length": 1},
    {"center": False, "align_to_window": True, "win_length": 6},
]  # fmt: skip


def window_of(t, n, dtype="float64"):
    return t.hann_window(n, dtype=getattr(t, dtype)) + 0.1


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_stft(settings):
    for dtype in ("float64", "float32"):
        for shape in ((30,), (2, 30)):

            def call(t, x, d=dtype):
                window = window_of(t, settings.get("win_length", 8), d)
                return t.stft(x, 8, window=window, return_complex=True, **settings)

            close(call, values(shape, dtype))


def test_stft_of_complex_and_as_pairs():
    close(lambda t, x: t.stft(x, 8, window=window_of(t, 8)), values(30, "complex128"))
    close(lambda t, x: t.stft(x, 8, window=window_of(t, 8).cdouble(), return_complex=True), values(30))
    with pytest.warns(UserWarning, match="return_complex=False"):
        close(lambda t, x: t.stft(x, 8, window=window_of(t, 8), return_complex=False), values((2, 30)))
    with pytest.warns(UserWarning, match="window was not provided"):
        close(lambda t, x: x.stft(8, return_complex=True), values((2, 30)))
    with pytest.warns(UserWarning, match="window was not provided"):
        close(lambda t, x: x.stft(8, win_length=6, return_complex=True), values((2, 30)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"hop_length": 3}, {"win_length": 5}, {"center": False}, {"normalized": True}, {"length": 11}, {"length": 18}], ids=str
)  # fmt: skip
def test_istft(settings):
    for shape in ((5, 9), (2, 5, 9)):
        x = values(shape, "complex128")
        close(lambda t, x: t.istft(x, 8, window=window_of(t, settings.get("win_length", 8)), **settings), x)
    x = values((2, 8, 9), "complex128")
    for more in ({"onesided": False}, {"onesided": False, "return_complex": True}, {}):
        close(lambda t, x, m=more: t.istft(x, 8, window=window_of(t, settings.get("win_length", 8)), **settings, **m), x)


def test_round_trip_and_gradients():
    x, window = lamina.from_numpy(values((2, 40))).requires_grad_(), window_of(lamina, 8)
    again = lamina.istft(lamina.stft(x, 8, window=window, return_complex=True), 8, window=window, length=40)
    assert lamina.allclose(again, x)
    short = lamina.from_numpy(values((2, 10))).requires_grad_()

    def there(x):
        return lamina.view_as_real(lamina.stft(x, 4, window=window[:4], return_complex=True).contiguous())

    assert gradcheck(there, short) and gradgradcheck(there, short)
    pairs = lamina.from_numpy(values((3, 5, 2))).requires_grad_()

    def back(x):
        return lamina.istft(lamina.view_as_complex(x), 4, window=window[:4])

    assert gradcheck(back, pairs) and gradgradcheck(back, pairs)
    with pytest.warns(UserWarning, match="shorter than the length"):
        close(lambda t, x: t.istft(x, 8, window=window_of(t, 8), length=100), values((5, 9), "complex128"))


SHORT_TIME_ERRORS = {
    "return_complex": lambda t, w: t.stft(t.ones(10), 4, window=w(4)),
    "onesided": lambda t, w: t.stft(t.ones(10).cfloat(), 4, window=w(4), onesided=True),
    "3-d": lambda t, w: t.stft(t.ones(2, 2, 10), 4, window=w(4), return_complex=True),
    "short": lambda t, w: t.stft(t.ones(2), 4, window=w(4), return_complex=True),
    "shorter": lambda t, w: t.stft(t.ones(2), 4, window=w(4), center=False, return_complex=True),
    "n_fft": lambda t, w: t.stft(t.ones(10), 0, window=w(4), return_complex=True),
    "hop": lambda t, w: t.stft(t.ones(10), 4, 0, window=w(4), return_complex=True),
    "win_length": lambda t, w: t.stft(t.ones(10), 4, win_length=5, window=w(5), return_complex=True),
    "window": lambda t, w: t.stft(t.ones(10), 4, window=w(5), return_complex=True),
    "integers": lambda t, w: t.stft(t.ones(10).long(), 4, window=w(4), return_complex=True),
    "align": lambda t, w: t.stft(t.ones(10), 4, window=w(4), align_to_window=True, return_complex=True),
    "real": lambda t, w: t.istft(t.ones(3, 5), 4, window=w(4)),
    "zeros": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, window=w(4) * 0),
    "hann": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, window=t.hann_window(4), center=False),
    "1-d": lambda t, w: t.istft(t.ones(5).cfloat(), 5, window=w(5)),
    "4-d": lambda t, w: t.istft(t.ones(2, 2, 3, 5).cfloat(), 4, window=w(4)),
    "empty": lambda t, w: t.istft(t.ones(3, 0).cfloat(), 4, window=w(4)),
    "frequencies": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 7, window=w(7)),
    "frequencies of all": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, window=w(4), onesided=False),
    "hop of istft": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, 5, window=w(4)),
    "win of istft": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, win_length=5, window=w(5)),
    "window of istft": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, window=w(3)),
    "complex window": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, window=w(4).cfloat()),
    "onesided complex": lambda t, w: t.istft(t.ones(3, 5).cfloat(), 4, window=w(4), onesided=True, return_complex=True),
}


@pytest.mark.parametrize("name", SHORT_TIME_ERRORS)
def test_short_time_errors(name):
    same_error(lambda t: SHORT_TIME_ERRORS[name](t, t.ones))
