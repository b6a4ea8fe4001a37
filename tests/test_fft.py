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
    ours = set(dir(lamina.fft))
    assert not [n for n in dir(torch.fft) if n.endswith(("fft", "fft2", "fftn", "freq", "shift")) and n[0] != "_" and n not in ours]
    assert_same(lamina.fft.fft(lamina.tensor([1.0, float("nan")])).isnan(), torch.tensor([True, True]))
