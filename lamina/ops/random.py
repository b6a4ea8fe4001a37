"""Random tensors: PyTorch's functions and in-place methods over the streams of :mod:`lamina.random`.

What a seed gives is PyTorch's, bit for bit, dtype by dtype, whatever the strides of the tensor that is filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina import _dtypes, random
from lamina._dtypes import BY_NUMPY, F32, SCALAR_NAME, to_numpy
from lamina.autograd.graph import Op, Variable, bump, check_writable, mode, overwrite, repeats, wrap
from lamina.engine import memory
from lamina.engine.door import detours
from lamina.ops import pointwise
from lamina.ops.creation import _check, finish, size_of
from lamina.ops.layout import resize_
from lamina.ops.operands import of_tensor
from lamina.random import distributions as draw
from lamina.random import sampling
from lamina.random.generator import Generator, default_generator

_FEW = 1 << 12  # numbers for which rand() takes the short way

manual_seed, seed, initial_seed = random.manual_seed, random.seed, random.initial_seed
get_rng_state, set_rng_state = random.get_rng_state, random.set_rng_state


def _state_of(state: Any) -> np.ndarray:
    if not isinstance(state, Variable):
        raise TypeError(f"set_state expected a uint8 tensor, but got {type(state).__name__}")
    return state._a


Generator._state_out, Generator._state_in = staticmethod(wrap), staticmethod(_state_of)


# -- arguments -----------------------------------------------------------------------------------------------------


def _int(value: Any, name: str) -> int:
    if isinstance(value, Variable) and value._a.ndim == 0 and value._a.dtype.kind in "iu":
        return value._a.item()
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}: {value!r}")
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{name}={value} does not fit into 64 bits")
    return int(value)


def _float(value: Any, name: str) -> float:
    if type(value) is float:
        return value
    if isinstance(value, Variable) and value._a.ndim == 0 and not value._requires:
        value = value._a.item()
    if not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}: {value!r}")
    return float(value)


def _shape(size: tuple, named: Any, function: str) -> tuple[int, ...]:
    """The shape given as ``f(2, 3)``, ``f((2, 3))`` or ``f(size=(2, 3))``."""
    if named is not None:
        if size:
            raise TypeError(f"{function}() got the size twice: {size} and size={named}")
        return size_of((named,))
    if not size:
        raise TypeError(f"{function}() needs a size: ints, or a tuple of ints")
    return size_of(size)


def _into(
    shape: tuple[int, ...],
    out: Any,
    dtype: Any,
    standard: np.dtype,
    requires_grad: bool,
    fill: Callable[[np.ndarray], Any],
) -> Any:
    """A filled tensor of ``shape``: ``out`` itself, in its own dtype, or a new one."""
    if out is None:
        t = wrap(fill(memory.empty(shape, standard if dtype is None else to_numpy(dtype))))
        return t.requires_grad_() if requires_grad else t
    if not isinstance(out, Variable):
        raise TypeError(f"out must be a Tensor, not {type(out).__name__}")
    tensor: Any = out
    if dtype is not None and to_numpy(dtype) != out._a.dtype:
        raise RuntimeError(
            f"dtype {SCALAR_NAME[BY_NUMPY[to_numpy(dtype)]]} does not match dtype of out parameter "
            f"({SCALAR_NAME[BY_NUMPY[out._a.dtype]]})"
        )
    check_writable(tensor)
    if tensor._a.shape != shape:
        resize_(tensor, *shape)
    fill(tensor._plain())
    bump(tensor)
    if requires_grad:
        tensor.requires_grad_()
    return tensor


# -- new tensors ---------------------------------------------------------------------------------------------------


def rand(
    *size_: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """Numbers distributed evenly over [0, 1).

    >>> _ = lamina.manual_seed(0)
    >>> lamina.rand(3)
    tensor([0.4963, 0.7682, 0.0885])
    """
    usual = out is generator is dtype is layout is device is size is None and not (requires_grad or pin_memory)
    if usual and _dtypes._Default.numpy is F32:
        count = 1
        for n in size_:
            if type(n) is not int or n < 0:
                break
            count *= n
        else:
            if size_ and count < _FEW and not detours:
                a = default_generator.fractions(count)
                return wrap(a if len(size_) == 1 else a.reshape(size_))
    _check(device, layout, pin_memory)
    return _into(
        _shape(size_, size, "rand"), out, dtype, _dtypes._Default.numpy, requires_grad,
        lambda a: draw.uniform_(a, 0.0, 1.0, generator),
    )  # fmt: skip


def randn(
    *size_: Any, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """Numbers of the normal distribution with mean 0 and variance 1 (the variance of a complex number)."""
    _check(device, layout, pin_memory)
    return _into(
        _shape(size_, size, "randn"), out, dtype, _dtypes._Default.numpy, requires_grad,
        lambda a: draw.normal_(a, 0.0, 1.0, generator),
    )  # fmt: skip


def randint(
    *args: Any, low: Any = None, high: Any = None, size: Any = None, generator: Any = None, out: Any = None, dtype: Any = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """``randint(high, size)`` or ``randint(low, high, size)``: whole numbers from ``low`` (0) up to, without, ``high``."""
    _check(device, layout, pin_memory)
    bounds = list(args)
    if size is None:
        if not bounds or not isinstance(bounds[-1], (Sequence, np.ndarray)):
            raise TypeError(
                f"randint(): the size must be a tuple of ints, not {bounds[-1] if bounds else None!r}"
            )
        size = bounds.pop()
    if high is None and bounds:
        high = bounds.pop()
    if low is None and bounds:
        low = bounds.pop()
    if high is None or bounds:
        raise TypeError(f"randint() takes (high, size) or (low, high, size), got {args}")
    first, last = _int(0 if low is None else low, "low"), _int(high, "high")
    return _into(
        size_of((size,)),
        out,
        dtype,
        np.dtype(np.int64),
        requires_grad,
        lambda a: draw.random_(a, first, last, generator),
    )


def randperm(
    n: int, *, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """The numbers 0 … n − 1 in random order."""
    _check(device, layout, pin_memory)
    n = _int(n, "n")
    if n < 0:
        raise RuntimeError(f"randperm: n must not be negative, got {n}")

    def fill(a: np.ndarray) -> np.ndarray:
        a[...] = sampling.randperm(n, a.dtype, generator)
        return a

    return _into((n,), out, dtype, np.dtype(np.int64), requires_grad, fill)


def _like(
    input: Any, dtype: Any, layout: Any, device: Any, requires_grad: bool, pin_memory: bool, memory_format: Any,
    fill: Callable[[np.ndarray], Any],
) -> Any:  # fmt: skip
    """A filled tensor of the shape, and unless asked otherwise of the dtype and the memory order, of ``input``."""
    _check(device, layout, pin_memory)
    if not isinstance(input, Variable):
        raise TypeError(f"input must be a Tensor, not {type(input).__name__}")
    a, d = input._a, input._a.dtype if dtype is None else to_numpy(dtype)
    if memory_format is _dtypes.channels_last or memory_format is _dtypes.channels_last_3d:
        ndim = 4 if memory_format is _dtypes.channels_last else 5
        if a.ndim != ndim:
            raise RuntimeError(
                f"required rank {ndim} tensor to use {memory_format!r} format, got {a.ndim} dimensions"
            )
        return finish(fill(memory.empty(a.shape, d, channels_last=True)), requires_grad)
    plain = input._hidden or memory_format is _dtypes.contiguous_format or repeats(input)
    return finish(fill(memory.empty(a.shape, d) if plain else np.empty_like(a, d, order="K")), requires_grad)


def rand_like(
    input: Any, *, generator: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = _dtypes.preserve_format,
) -> Any:  # fmt: skip
    """:func:`rand` in the shape and dtype of ``input``."""
    return _like(
        input, dtype, layout, device, requires_grad, pin_memory, memory_format,
        lambda a: draw.uniform_(a, 0.0, 1.0, generator),
    )  # fmt: skip


def randn_like(
    input: Any, *, generator: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = _dtypes.preserve_format,
) -> Any:  # fmt: skip
    """:func:`randn` in the shape and dtype of ``input``."""
    return _like(
        input, dtype, layout, device, requires_grad, pin_memory, memory_format,
        lambda a: draw.normal_(a, 0.0, 1.0, generator),
    )  # fmt: skip


def randint_like(
    input: Any, *bounds: Any, low: Any = None, high: Any = None, generator: Any = None, dtype: Any = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = _dtypes.preserve_format,
) -> Any:  # fmt: skip
    """``randint_like(input, high)`` or ``randint_like(input, low, high)``: :func:`randint` in another's shape and dtype."""
    rest = list(bounds)
    if high is None and rest:
        high = rest.pop()
    if low is None and rest:
        low = rest.pop()
    if high is None or rest:
        raise TypeError(f"randint_like() takes (input, high) or (input, low, high), got bounds {bounds}")
    first, last = _int(0 if low is None else low, "low"), _int(high, "high")
    return _like(
        input, dtype, layout, device, requires_grad, pin_memory, memory_format,
        lambda a: draw.random_(a, first, last, generator),
    )  # fmt: skip


# -- distributions with parameters of their own --------------------------------------------------------------------


class Drawn(Op):
    """A random result;   dL/dx = 0: the draw is no smooth function of its parameters."""

    any_dtype = True

    @staticmethod
    def forward(ctx, drawn, *parameters):
        return drawn

    @staticmethod
    def backward(ctx, grad):
        return None, *[
            wrap(np.zeros(edge[2], edge[3])) if edge is not None else None for edge in ctx.edges[1:]
        ]  # fmt: skip


def _drawn(array: np.ndarray, out: Any, *parameters: Any) -> Any:
    result = Drawn.apply(array, *parameters)
    return result if out is None else pointwise.store(out, result)


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Any = None, dtype: Any = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """Normal numbers, each with its own mean and standard deviation if these are tensors; else of the given ``size``.

    Raises:
        RuntimeError: a standard deviation below 0, or shapes that do not broadcast.
        TypeError: neither parameter is a tensor and there is no ``size``.
    """
    tensors = [p for p in (mean, std) if isinstance(p, Variable)]
    if not tensors:
        if size is None:
            raise TypeError("normal() needs a size if mean and std are numbers")
        _check(device, layout, pin_memory)
        m, s = _float(mean, "mean"), _float(std, "std")
        shape = size_of((size,))
        return _into(
            shape,
            out,
            dtype,
            _dtypes._Default.numpy,
            requires_grad,
            lambda a: draw.normal_(a, m, s, generator),
        )
    if size is not None:
        raise TypeError("normal() takes no size if mean or std is a tensor")
    if isinstance(std, Variable):
        if std._a.dtype.kind == "c":
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if std._a.size and not std._a.min() >= 0:
            raise RuntimeError(f"normal expects all elements of std >= 0.0, but found {std._a.min()}")
        try:
            shape = np.broadcast_shapes(*(t._a.shape for t in tensors))
        except ValueError:
            raise RuntimeError(
                f"normal: shapes {[t._a.shape for t in tensors]} of mean and std do not broadcast"
            ) from None
    else:
        shape = mean._a.shape
    kind = tensors[0]._a.dtype if out is None else out._a.dtype
    a = memory.empty(shape, kind)
    if isinstance(std, Variable):
        draw.normal_(a, 0.0, 1.0, generator)
        np.multiply(a, std._a, out=a, casting="same_kind")
    else:
        draw.normal_(a, 0.0, _float(std, "std"), generator)
    np.add(a, mean._a if isinstance(mean, Variable) else a.dtype.type(mean), out=a, casting="same_kind")
    return _drawn(a, out, mean, std)


@of_tensor
def bernoulli(input: Any, p: Any = None, *, generator: Any = None, out: Any = None) -> Any:
    """Ones, with the probabilities that ``input`` holds (or with probability ``p`` everywhere), and zeros.

    Raises:
        RuntimeError: a probability outside [0, 1].
    """
    kind = input._a.dtype if out is None else out._a.dtype
    probability = input._plain() if p is None else p._plain() if isinstance(p, Variable) else _float(p, "p")
    return _drawn(draw.bernoulli_(memory.empty(input._a.shape, kind), probability, generator), out, input)


@of_tensor
def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Any = None
) -> Any:  # fmt: skip
    """Indices of the last dimension, drawn in proportion to the weights in ``input`` (one or two dimensions).

    Shape: input :math:`(C)` or :math:`(N, C)`, output ``(num_samples,)`` or ``(N, num_samples)``, of int64.

    Raises:
        RuntimeError: a weight that is negative, infinite or NaN, a row without weight, more samples than there are places.
    """
    if out is not None and out._a.dtype != np.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {SCALAR_NAME[BY_NUMPY[out._a.dtype]]}")
    drawn = wrap(
        sampling.multinomial(input._plain(), _int(num_samples, "num_samples"), replacement, generator)
    )
    return drawn if out is None else pointwise.store(out, drawn)


# -- in place ------------------------------------------------------------------------------------------------------


def _filled(self: Any, fill: Callable[..., Any], *arguments: Any) -> Any:
    """Overwrite a tensor with random numbers; what was there before has no more influence, so its gradient is 0."""
    check_writable(self)
    array = self._plain()
    fill(array, *arguments)
    if mode.enabled and (self._requires or (self._base is not None and self._base._requires)):
        return overwrite(self, Drawn.apply(array, self))
    bump(self)
    return self


def uniform_(self: Any, from_: Any = 0.0, to: Any = 1.0, *, generator: Any = None, **named: Any) -> Any:
    """Fill with numbers distributed evenly over [from, to); RuntimeError if from > to."""
    low = _from(named, from_, "uniform_")
    return _filled(self, draw.uniform_, _float(low, "from"), _float(to, "to"), generator)


def normal_(self: Any, mean: Any = 0.0, std: Any = 1.0, *, generator: Any = None) -> Any:
    """Fill with normal numbers; RuntimeError if ``std`` is negative."""
    return _filled(self, draw.normal_, _float(mean, "mean"), _float(std, "std"), generator)


def random_(self: Any, *bounds: Any, to: Any = None, generator: Any = None, **named: Any) -> Any:
    """Fill with whole numbers: ``random_()`` over all that the dtype holds (floats: up to 2ᵈ, d the bits of the
    significand), ``random_(to)`` from 0, ``random_(from, to)`` from ``from``, each up to and without ``to``.

    Raises:
        RuntimeError: the range is empty, or does not fit the dtype.
    """
    if len(bounds) > 2:
        raise TypeError(f"random_() takes at most two bounds, got {bounds}")
    low = _from(named, None, "random_")
    if len(bounds) == 2:
        low, to = bounds
    elif bounds and to is None and low is None:
        low, to = 0, bounds[0]
    elif bounds:
        low, to = (bounds[0], to) if low is None else (low, bounds[0])
    if low is None and to is not None:
        low = 0
    low = None if low is None else _int(low, "from")
    return _filled(self, draw.random_, low, None if to is None else _int(to, "to"), generator)


def truncated_normal_(self: Any, mean: Any, std: Any, a: Any, b: Any, generator: Any = None) -> Any:
    """Fill with normal numbers within [a, b]; no method, but what ``nn.init.trunc_normal_`` does."""
    law = [_float(value, name) for value, name in ((mean, "mean"), (std, "std"), (a, "a"), (b, "b"))]
    return _filled(self, draw.truncated_normal_, *law, generator)


def _from(named: dict[str, Any], given: Any, function: str) -> Any:
    """The argument that PyTorch calls ``from``, which Python can only pass as ``**{"from": …}``."""
    value = named.pop("from", given)
    if named:
        raise TypeError(f"{function}() got an unexpected keyword argument {next(iter(named))!r}")
    return value


def bernoulli_(self: Any, p: Any = 0.5, *, generator: Any = None) -> Any:
    """Fill with ones, with probability ``p`` (a number, or a tensor that broadcasts), and zeros."""
    return _filled(
        self, draw.bernoulli_, p._plain() if isinstance(p, Variable) else _float(p, "p"), generator
    )


def exponential_(self: Any, lambd: Any = 1.0, *, generator: Any = None) -> Any:
    """Fill from the exponential distribution of rate ``lambd``; RuntimeError unless ``lambd > 0``."""
    return _filled(self, draw.exponential_, _float(lambd, "lambd"), generator)


def geometric_(self: Any, p: Any, *, generator: Any = None) -> Any:
    """Fill with the numbers of trials up to the first success; RuntimeError unless 0 < ``p`` < 1."""
    return _filled(self, draw.geometric_, _float(p, "p"), generator)


def cauchy_(self: Any, median: Any = 0.0, sigma: Any = 1.0, *, generator: Any = None) -> Any:
    """Fill from the Cauchy distribution; RuntimeError unless ``sigma > 0``."""
    return _filled(self, draw.cauchy_, _float(median, "median"), _float(sigma, "sigma"), generator)


def log_normal_(self: Any, mean: Any = 1.0, std: Any = 2.0, *, generator: Any = None) -> Any:
    """Fill with exp of normal numbers; RuntimeError unless ``std > 0``."""
    return _filled(self, draw.log_normal_, _float(mean, "mean"), _float(std, "std"), generator)


FUNCTIONS = (
    "manual_seed", "seed", "initial_seed", "get_rng_state", "set_rng_state", "rand", "randn",
    "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli", "multinomial",
)  # fmt: skip
METHODS = (
    "bernoulli", "multinomial", "uniform_", "normal_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_",
    "log_normal_",
)  # fmt: skip
