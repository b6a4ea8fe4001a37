r"""Initial values of parameters, as in ``torch.nn.init``; the same seed draws the same numbers.

Every function fills its tensor in place, without a trace in the graph, and returns it. ``fan_in`` and ``fan_out`` are the
numbers of inputs and outputs of one unit: for a weight of shape :math:`(C_{out}, C_{in}, *k)` they are
:math:`C_{in} \prod k` and :math:`C_{out} \prod k`.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lamina import ops
from lamina._tensor import Tensor
from lamina.autograd.graph import mode as _mode
from lamina.ops.random import truncated_normal_

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_",
    "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
    "constant", "dirac", "eye", "kaiming_normal", "kaiming_uniform", "normal", "orthogonal", "sparse", "uniform",
    "xavier_normal", "xavier_uniform",
]  # fmt: skip


class _State(threading.local):
    skipped = False


_state = _State()


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """Leave every tensor as it is, and the generator too, for the length of a ``with`` block."""
    before, _state.skipped = _state.skipped, True
    try:
        yield
    finally:
        _state.skipped = before


def _fills(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(function)
    def run(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if _state.skipped:
            return tensor
        before, _mode.enabled = _mode.enabled, False
        try:
            return function(tensor, *args, **kwargs)
        finally:
            _mode.enabled = before

    return run


_GAINS = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
_LINEAR = ("linear", "sigmoid", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3)))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""The factor by which a layer's weights should grow to make up for the nonlinearity that follows.

    1 for linear layers and ``sigmoid``, 5/3 for ``tanh``, √2 for ``relu``, 3/4 for ``selu``, and
    :math:`\sqrt{2 / (1 + s^2)}` for ``leaky_relu`` with the negative slope :math:`s` = ``param`` (0.01).

    Raises:
        ValueError: another nonlinearity, or a slope that is not a number.

    >>> calculate_gain("relu") ** 2
    2.0000000000000004
    """
    if nonlinearity in _LINEAR:
        return 1
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float)):
            raise ValueError(f"calculate_gain: the negative slope must be a number, got {param!r}")
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"Unsupported nonlinearity {nonlinearity!r}, expected one of {', '.join((*_LINEAR, *_GAINS, 'leaky_relu'))}"
        )
    return _GAINS[nonlinearity]


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(
            f"Fan in and fan out can not be computed for tensor with fewer than 2 dimensions, got shape {tuple(tensor.shape)}"
        )
    outputs, inputs, *kernel = tensor.shape
    return inputs * math.prod(kernel), outputs * math.prod(kernel)


def _calculate_correct_fan(tensor: Tensor, mode: str) -> int:
    of_inputs, of_outputs = _calculate_fan_in_and_fan_out(tensor)
    mode = mode.lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return of_inputs if mode == "fan_in" else of_outputs


# -- one law for all elements --------------------------------------------------------------------------------------


@_fills
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Draw from the uniform distribution over [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@_fills
def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Draw from the normal distribution."""
    return tensor.normal_(mean, std, generator=generator)


@_fills
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Draw from the normal distribution, again and again until every number lies within [a, b].

    Warns where the mean is more than two ``std`` outside of [a, b].
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            f"trunc_normal_: the mean {mean} is more than 2 std outside of [{a}, {b}]; the distribution may be incorrect",
            stacklevel=2,
        )
    return truncated_normal_(tensor, mean, std, a, b, generator)


@_fills
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every element to ``val``."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Set every element to 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Set every element to 0."""
    return constant_(tensor, 0.0)


# -- by the size of the layer --------------------------------------------------------------------------------------


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    r"""Draw from U(−a, a), :math:`a = gain \sqrt{6 / (fan_{in} + fan_{out})}` (Glorot and Bengio, 2010).

    Raises:
        ValueError: a tensor of fewer than two dimensions.
    """
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    r"""Draw from N(0, σ²), :math:`\sigma = gain \sqrt{2 / (fan_{in} + fan_{out})}` (Glorot and Bengio, 2010).

    Raises:
        ValueError: a tensor of fewer than two dimensions.
    """
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2.0 / float(sum(_calculate_fan_in_and_fan_out(tensor))))


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    r"""Draw from U(−b, b), :math:`b = gain \sqrt{3 / fan}` (He et al., 2015).

    Args:
        a: negative slope of the leaky ReLU that follows; see :func:`calculate_gain`.
        mode: ``'fan_in'`` keeps the variance in the forward pass, ``'fan_out'`` in the backward pass.

    Raises:
        ValueError: fewer than two dimensions, or an unknown mode or nonlinearity.
    """
    if 0 in tensor.shape:
        return _nothing_to_do(tensor)
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    r"""Draw from N(0, σ²), :math:`\sigma = gain / \sqrt{fan}` (He et al., 2015); as :func:`kaiming_uniform_` else."""
    if 0 in tensor.shape:
        return _nothing_to_do(tensor)
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def _nothing_to_do(tensor: Tensor) -> Tensor:
    warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
    return tensor


# -- matrices of a certain kind ------------------------------------------------------------------------------------


@_fills
def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity, as far as it is square; ValueError unless it has two dimensions."""
    if tensor.ndim != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}")
    return tensor.copy_(ops.eye(*tensor.shape, dtype=tensor.dtype))


@_fills
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make a convolution the identity: in each group, output channel i copies input channel i, as long as there are both.

    Raises:
        ValueError: not three, four or five dimensions, or output channels that ``groups`` does not divide.
    """
    if tensor.ndim not in (3, 4, 5):
        raise ValueError(
            f"Only tensors with 3, 4, or 5 dimensions are supported, got shape {tuple(tensor.shape)}"
        )
    outputs, inputs, *kernel = tensor.shape
    if outputs % groups:
        raise ValueError(f"dim 0 must be divisible by groups, got {outputs} and {groups}")
    per_group = outputs // groups
    delta = np.zeros(tuple(tensor.shape), tensor.dtype.numpy)
    channel = np.arange(min(per_group, inputs))
    for first in range(0, outputs, per_group or 1):
        delta[(first + channel, channel, *(k // 2 for k in kernel))] = 1
    return tensor.copy_(ops.from_numpy(delta))


@_fills
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Fill with a random matrix whose rows (or columns, the fewer) are orthonormal, times ``gain`` (Saxe et al., 2013).

    Dimensions from the second on count as one. The matrix is Q of a QR decomposition of normal numbers, with signs
    chosen such that R has a positive diagonal.

    Raises:
        ValueError: fewer than two dimensions.
        NotImplementedError: a dtype other than float32 and float64.
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"Only tensors with 2 or more dimensions are supported, got shape {tuple(tensor.shape)}"
        )
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    flat = ops.randn(rows, tensor.numel() // rows, dtype=tensor.dtype, generator=generator)._a
    if flat.itemsize == 2:
        raise NotImplementedError(f"orthogonal_ decomposes float32 and float64 matrices, got {flat.dtype}")
    wide = flat.shape[0] < flat.shape[1]
    q, r = np.linalg.qr(flat.T if wide else flat)
    q *= np.sign(np.diagonal(r))
    q *= gain
    return tensor.copy_(ops.from_numpy(np.ascontiguousarray(q.T if wide else q).reshape(tuple(tensor.shape))))


@_fills
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Draw from N(0, ``std``²) and set a fraction ``sparsity`` of every column to 0 (Martens, 2010).

    Which ones is drawn from the default generator, as in PyTorch, whatever ``generator`` is.

    Raises:
        ValueError: not two dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError(f"Only tensors with 2 dimensions are supported, got shape {tuple(tensor.shape)}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    tensor.normal_(0.0, std, generator=generator)
    keep = np.ones((rows, columns), bool)
    for column in range(columns):
        keep[ops.randperm(rows).numpy()[:zeros], column] = False
    return tensor.masked_fill_(ops.from_numpy(~keep), 0.0)  # not times 0, which is −0 at times


# -- names of long ago ---------------------------------------------------------------------------------------------


def _deprecated(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    name = function.__name__
    old = name[:-1]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Tensor:
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{name}`.", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    wrapper.__name__ = wrapper.__qualname__ = old
    wrapper.__doc__ = f"Deprecated name of :func:`{name}`; warns."
    return wrapper


uniform, normal, constant, eye, dirac = map(_deprecated, (uniform_, normal_, constant_, eye_, dirac_))
xavier_uniform, xavier_normal = map(_deprecated, (xavier_uniform_, xavier_normal_))
kaiming_uniform, kaiming_normal = map(_deprecated, (kaiming_uniform_, kaiming_normal_))
orthogonal, sparse = map(_deprecated, (orthogonal_, sparse_))
