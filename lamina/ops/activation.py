"""Smooth activations. A derivative that has a kernel of its own is an operation too, so that it has a derivative.

Elementwise ones are rows of a table: :func:`activation` makes the two operations from the kernels and the second derivative.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd import express
from lamina.autograd.graph import Op, Variable, inplace, wrap
from lamina.engine import kernels as k
from lamina.ops import pointwise as p
from lamina.ops.join import cat
from lamina.ops.random import exponential_


def _floating_only(x: Any, name: str) -> Any:
    if x._a.dtype.kind not in "fcV":
        raise _not_for(x, name)
    return x._a


def real_only(x: Any, name: str) -> Any:
    """The array of ``x``; ``NotImplementedError`` unless it holds real floating-point numbers."""
    if x._a.dtype.kind not in "fV":
        raise _not_for(x, name)
    return x._a


def _not_for(x: Any, name: str) -> NotImplementedError:
    return NotImplementedError(f'"{name}" not implemented for {SCALAR_NAME[BY_NUMPY[x._a.dtype]]!r}')


def activation(
    name: str, doc: str, second: Any = None, *, array: Any = None, backward: str = "", label: str = ""
) -> type[Op]:  # fmt: skip
    """The operation of an elementwise function with the kernel ``name`` and a derivative with the kernel ``name_backward``.

    Args:
        name, doc: as whose kernel, and what, it computes; the kernels take (x, *settings) and (g, x, *settings).
        second: ``second(u, x, *settings)``, u times the second derivative at x; none for one made of straight lines.
        array: ``array(x)``, x's array if the function takes it; by default real floating-point numbers are taken.
        backward: the derivative's kernel, where it has another name.
        label: the node's name, where it is not the kernel's.
    """
    kernel, kernel_backward = getattr(k, name), getattr(k, backward or f"{name}_backward")
    title = "".join(part.capitalize() for part in name.split("_"))
    if array is None:

        def array(x: Any) -> Any:
            return x._a if x._a.dtype.kind in "fV" else real_only(x, f"{name}_cpu")

    class Forward(Op):
        elementwise = True
        settings: tuple = ()

        @staticmethod
        def forward(ctx, x, *settings):
            ctx.save(x)
            ctx.settings = settings
            return kernel(array(x), *settings)

        @staticmethod
        def backward(ctx, grad):
            settings = ctx.settings
            return Backward.apply(grad, ctx.saved[0], *settings), *(None for _ in settings)

    class Backward(Op):
        elementwise = True
        settings: tuple = ()

        @staticmethod
        def forward(ctx, grad, x, *settings):
            ctx.save(grad, x) if second else ctx.save(x)
            ctx.settings = settings
            return kernel_backward(grad._a, x._a, *settings)

        @staticmethod
        def backward(ctx, gg):
            grad, x = ctx.saved if second else (None, *ctx.saved)
            settings, gx = ctx.settings, None
            if ctx.needs(1):
                gx = second(gg * grad, x, *settings) if second else p.zeros_like(gg)
            return Backward.apply(gg, x, *settings), gx, *(None for _ in settings)

    Forward.__name__ = Forward.__qualname__ = title
    Backward.__name__ = Backward.__qualname__ = f"{title}Backward"
    Forward.__doc__, Backward.__doc__ = doc, f"The gradient of {title} to x, as an operation of g and x"
    Forward.label = label
    Forward.kernels = kernel, kernel_backward  # type: ignore[attr-defined]  # for whoever calls them directly
    express.one(Forward, kernel, "input")
    express.two(Backward, kernel_backward, "both" if second else "second")
    return Forward


class Sigmoid(Op):
    """y = 1/(1 + e⁻ˣ);   dL/dx = g·y·(1 − y)"""

    elementwise = True
    keeps_output = True

    @staticmethod
    def forward(ctx, x):
        return k.sigmoid(p.floating(x))

    @staticmethod
    def backward(ctx, grad):
        return SigmoidBackward.apply(grad, p._conj(ctx.output))


class SigmoidBackward(Op):
    """g·y·(1 − y);   d/dg = y·(1 − y), d/dy = g·(1 − 2y)"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y):
        ctx.save(grad, y)
        return k.sigmoid_backward(grad._a, y._a)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved
        return SigmoidBackward.apply(gg, p._conj(y)), gg * p._conj(grad * (1 - 2 * y))


class Tanh(Op):
    """y = tanh x;   dL/dx = g·(1 − y²)"""

    elementwise = True
    keeps_output = True

    @staticmethod
    def forward(ctx, x):
        return k.tanh(p.floating(x))

    @staticmethod
    def backward(ctx, grad):
        return TanhBackward.apply(grad, p._conj(ctx.output))


class TanhBackward(Op):
    """g·(1 − y²);   d/dg = 1 − y², d/dy = −2·g·y"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y):
        ctx.save(grad, y)
        return k.tanh_backward(grad._a, y._a)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved
        return TanhBackward.apply(gg, p._conj(y)), gg * p._conj(grad * (-2 * y))


express.one(Sigmoid, k.sigmoid, "output")
express.one(Tanh, k.tanh, "output")
express.two(SigmoidBackward, k.sigmoid_backward, "both")
express.two(TanhBackward, k.tanh_backward, "both")


def _softplus_second(u: Any, x: Any, beta: float, threshold: float) -> Any:
    s = sigmoid(x * beta)
    return p.where(x * beta > threshold, 0.0, u * (s * (1 - s) * beta))


def _gelu_second(u: Any, x: Any, approximate: str) -> Any:
    if approximate == "none":  # φ(x)·(2 − x²)
        return u * (p.exp(x * x * -0.5) * 0.3989422804014327 * (2 - x * x))
    a, b = 0.7978845608028654, 0.044715
    t = tanh(a * (x + b * x * x * x))
    first, second = a * (1 + 3 * b * x * x), 6 * a * b * x
    return u * ((1 - t * t) * (first + 0.5 * x * second - x * t * first * first))


def _silu_second(u: Any, x: Any) -> Any:
    s = sigmoid(x)
    return u * (s * (1 - s) * (2 + x * (1 - 2 * s)))


def _mish_second(u: Any, x: Any) -> Any:
    s, t = sigmoid(x), tanh(softplus(x))
    return u * ((1 - t * t) * s * (2 + x * (1 - s - 2 * s * t)))


def _log_sigmoid_second(u: Any, x: Any) -> Any:
    s = sigmoid(x)
    return -u * (s * (1 - s))


Softplus = activation("softplus", "log(1 + e^(βx))/β, x itself where βx > threshold;   dL/dx = g·σ(βx), or g", _softplus_second)
Gelu = activation(
    "gelu", "x·Φ(x);   dL/dx = g·(Φ(x) + x·φ(x))", _gelu_second, array=lambda x: real_only(x, "GeluKernelImpl")
)
Silu = activation("silu", "x·σ(x);   dL/dx = g·σ(x)·(1 + x·(1 − σ(x)))", _silu_second)
Mish = activation("mish", "x·t with t = tanh(log(1 + eˣ));   dL/dx = g·(t + x·σ(x)·(1 − t²))", _mish_second)
LogSigmoid = activation("log_sigmoid", "log σ(x);   dL/dx = g·σ(−x)", _log_sigmoid_second)


class Glu(Op):
    """a·σ(b) with a and b the halves of x along an axis;   dL/da = g·σ(b), dL/db = g·a·σ(b)·(1 − σ(b))"""

    @staticmethod
    def forward(ctx, x, axis):
        ctx.save(x)
        ctx.axis = axis
        return k.glu(real_only(x, "glu_cpu"), axis)

    @staticmethod
    def backward(ctx, grad):
        return GluBackward.apply(grad, ctx.saved[0], ctx.axis), None


class GluBackward(Op):
    """The gradient of :class:`Glu`, as an operation of g and x"""

    @staticmethod
    def forward(ctx, grad, x, axis):
        ctx.save(grad, x)
        ctx.axis = axis
        return k.glu_backward(grad._a, x._a, axis)

    @staticmethod
    def backward(ctx, gg):
        grad, x = ctx.saved
        a, b = x.chunk(2, ctx.axis)
        to_a, to_b = gg.chunk(2, ctx.axis)
        s = sigmoid(b)
        slope = s * (1 - s)
        gx = None
        if ctx.needs(1):
            gx = cat((grad * slope * to_b, grad * slope * (to_a + to_b * a * (1 - 2 * s))), ctx.axis)
        return to_a * s + to_b * a * slope, gx, None


class Softmax(Op):
    """y = eˣ/Σeˣ along a dimension;   dL/dx = y·(g − Σ g·y)"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, axis):
        ctx.settings = (axis,)
        return k.softmax(_floating_only(x, "softmax_lastdim_kernel_impl"), axis)

    @staticmethod
    def backward(ctx, grad):
        return SoftmaxBackward.apply(grad, ctx.output, *ctx.settings), None


class SoftmaxBackward(Op):
    """r = y·(g − Σ g·y);   d/dg = y·(h − Σ h·y), d/dy = h·(g − Σ g·y) − g·Σ h·y"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y, axis):
        ctx.save(grad, y)
        ctx.settings = (axis,)
        return k.softmax_backward(grad._a, y._a, axis)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved
        (axis,) = ctx.settings
        gy = None
        if ctx.needs(1):
            gy = gg * (grad - (grad * y).sum(axis, keepdim=True)) - grad * (gg * y).sum(axis, keepdim=True)
        return SoftmaxBackward.apply(gg, y, axis), gy, None


class LogSoftmax(Op):
    """y = x − log Σeˣ along a dimension;   dL/dx = g − eʸ·Σg"""

    keeps_output = True

    @staticmethod
    def forward(ctx, x, axis):
        ctx.settings = (axis,)
        return k.log_softmax(_floating_only(x, "log_softmax_lastdim_kernel_impl"), axis)

    @staticmethod
    def backward(ctx, grad):
        return LogSoftmaxBackward.apply(grad, ctx.output, *ctx.settings), None


class LogSoftmaxBackward(Op):
    """r = g − eʸ·Σg;   d/dg = h − Σ h·eʸ, d/dy = −h·eʸ·Σg"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y, axis):
        ctx.save(grad, y)
        ctx.settings = (axis,)
        return k.log_softmax_backward(grad._a, y._a, axis)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved
        (axis,) = ctx.settings
        weighted = gg * p.exp(y)
        gy = -weighted * grad.sum(axis, keepdim=True) if ctx.needs(1) else None
        return gg - weighted.sum(axis, keepdim=True), gy, None


# -- public functions ----------------------------------------------------------------------------------------------


def tensor(input: Any, name: str) -> Any:
    """``input``, which must be a tensor, of the function ``name``."""
    if not isinstance(input, Variable):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return input


def sigmoid(input: Any, *, out: Any = None) -> Any:
    """1/(1 + e⁻ˣ), elementwise."""
    r = Sigmoid.apply(tensor(input, "sigmoid"))
    return r if out is None else p.store(out, r)


def tanh(input: Any, *, out: Any = None) -> Any:
    """(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ), elementwise."""
    r = Tanh.apply(tensor(input, "tanh"))
    return r if out is None else p.store(out, r)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(βx))/β, a smooth ReLU; x itself where βx > threshold, so that nothing overflows."""
    return Softplus.apply(tensor(input, "softplus"), beta, threshold)


def gelu(input: Any, *, approximate: str = "none") -> Any:
    """x·Φ(x) with Φ the normal distribution function; ``approximate="tanh"`` takes Hendrycks & Gimpel's approximation."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, but got {approximate!r}.")
    return Gelu.apply(tensor(input, "gelu"), approximate)


def silu(input: Any, inplace: bool = False) -> Any:
    """x·σ(x), also known as swish."""
    if inplace:
        return _silu_(input)
    if tensor(input, "silu")._a.dtype.kind == "c":
        return input * sigmoid(input)
    return Silu.apply(input)


def mish(input: Any, inplace: bool = False) -> Any:
    """x·tanh(log(1 + eˣ)) (Misra, 2019)."""
    return _mish_(input) if inplace else Mish.apply(tensor(input, "mish"))


def logsigmoid(input: Any) -> Any:
    """log(1/(1 + e⁻ˣ)), without the underflow of the two steps."""
    return LogSigmoid.apply(tensor(input, "log_sigmoid"))


def softsign(input: Any) -> Any:
    """x/(1 + \\|x\\|)."""
    if tensor(input, "softsign")._a.dtype.kind == "b":
        raise _not_for(input, "abs_cpu")
    return input / (p.abs(input) + 1)


def tanhshrink(input: Any) -> Any:
    """x − tanh x."""
    return tensor(input, "tanhshrink") - tanh(input)


def glu(input: Any, dim: int = -1) -> Any:
    """a·σ(b), with a and b the halves of ``input`` along ``dim`` (Dauphin et al., 2017).

    Raises:
        RuntimeError: the dimension's size is odd, or the input has no dimension.
        IndexError: there is no such dimension.
    """
    if tensor(input, "glu")._a.ndim == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    axis = _axis(input, dim)
    if input._a.shape[axis] % 2:
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {input._a.shape[axis]}")
    return Glu.apply(input, axis)


def _axis(input: Any, dim: Any) -> int:
    n = max(input._a.ndim, 1)
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return dim % n


def _implicit_dim(name: str, ndim: int, stacklevel: int) -> int:
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel + 1,
    )
    return 0 if ndim in (0, 1, 3) else 1


express.one(Softmax, k.softmax, "output")
express.one(LogSoftmax, k.log_softmax, "output")


def _normalized(op: type[Op], name: str, input: Any, dim: Any, dtype: Any, stacklevel: int) -> Any:
    a = tensor(input, name)._a
    if type(dim) is int and dtype is None and -a.ndim <= dim < a.ndim:
        return op.apply(input, dim % a.ndim)
    if dim is None:
        dim = _implicit_dim(name, input._a.ndim, stacklevel)
    if dtype is not None:
        input = p.cast(input, dtype)
    axis = _axis(input, dim)
    if input._a.ndim == 0:
        return op.apply(input.reshape(1), 0).reshape(())
    return op.apply(input, axis)


def softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """eˣ/Σeˣ along ``dim``: positive, and summing to 1."""
    return _normalized(Softmax, "softmax", input, dim, dtype, _stacklevel)


def log_softmax(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """log(eˣ/Σeˣ) along ``dim``, without the overflow and underflow of the two steps."""
    return _normalized(LogSoftmax, "log_softmax", input, dim, dtype, _stacklevel)


def softmin(input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """e⁻ˣ/Σe⁻ˣ along ``dim``: :func:`softmax` of the negated input."""
    if dim is None:
        dim = _implicit_dim("softmin", tensor(input, "softmin")._a.ndim, _stacklevel - 1)
    return softmax(-tensor(input, "softmin"), dim, _stacklevel, dtype)


def gumbel_softmax(logits: Any, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Any:
    """A sample of the categorical distribution with the given log-probabilities, made differentiable (Jang et al., 2016).

    Args:
        logits (Tensor): unnormalised log-probabilities.
        tau (float): temperature; the lower, the closer to one-hot. Default: 1.
        hard (bool): whether the result is one-hot, with the soft sample's gradient. Default: False.
        eps (float): without effect. Default: 1e-10.
        dim (int): the dimension that sums to 1. Default: -1.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    noise = exponential_(wrap(np.empty(tensor(logits, "gumbel_softmax")._a.shape, logits._a.dtype)))
    soft = softmax((logits + -p.log(noise)) / tau, dim)
    if not hard:
        return soft
    one_hot = wrap(np.zeros(logits._a.shape, logits._a.dtype)).scatter_(dim, soft.max(dim, keepdim=True)[1], 1.0)
    return one_hot - soft.detach() + soft


_silu_ = inplace(lambda input: silu(input), "silu_")
_mish_ = inplace(lambda input: mish(input), "mish_")


# The functions of the top level and the tensor methods take ``dtype`` where nn.functional has ``_stacklevel``.
def _plain(op: type[Op], name: str) -> Any:
    def function(input: Any, dim: int, dtype: Any = None, *, out: Any = None) -> Any:
        r = _normalized(op, name, input, dim, dtype, 3)
        return r if out is None else p.store(out, r)

    function.__name__ = function.__qualname__ = name
    return function


top_softmax, top_log_softmax = _plain(Softmax, "softmax"), _plain(LogSoftmax, "log_softmax")

METHODS = ("sigmoid", "tanh", top_softmax, top_log_softmax)
FUNCTIONS = (*METHODS, inplace(sigmoid, "sigmoid_"), inplace(tanh, "tanh_"))
INPLACE = ("sigmoid", "tanh")
NN_FUNCTIONS = (
    "sigmoid", "tanh", "softplus", "gelu", "silu", "mish", "logsigmoid", "softsign", "tanhshrink", "glu", "softmax",
    "log_softmax", "softmin", "gumbel_softmax",
)  # fmt: skip
