"""Activations. A derivative that has a kernel of its own is an operation too, so that it has a derivative."""

from __future__ import annotations

import warnings
from typing import Any

from lamina._dtypes import BY_NUMPY, SCALAR_NAME
from lamina.autograd.graph import Op, Variable, inplace
from lamina.engine import kernels as k
from lamina.ops import pointwise as p


def _floating_only(x: Any, name: str) -> Any:
    if x._a.dtype.kind not in "fc":
        raise NotImplementedError(f'"{name}" not implemented for {SCALAR_NAME[BY_NUMPY[x._a.dtype]]!r}')
    return x._a


class Relu(Op):
    """max(x, 0);   dL/dx = g where y > 0"""

    elementwise = True
    keeps_output = True

    @staticmethod
    def forward(ctx, x):
        if x._a.dtype.kind == "b":
            raise RuntimeError("Boolean inputs not supported for relu")
        return k.relu(x._a)

    @staticmethod
    def backward(ctx, grad):
        return ReluBackward.apply(grad, ctx.output)


class ReluBackward(Op):
    """g where y > 0;   linear in g"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y):
        ctx.save(y)
        return k.relu_backward(grad._a, y._a)

    @staticmethod
    def backward(ctx, grad):
        return ReluBackward.apply(grad, ctx.saved[0]), None


class LeakyRelu(Op):
    """x where x > 0, else s·x;   dL/dx = g or s·g"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save(x)
        ctx.slope = slope
        return k.leaky_relu(_floating_only(x, "leaky_relu_cpu"), slope)

    @staticmethod
    def backward(ctx, grad):
        return LeakyReluBackward.apply(grad, ctx.saved[0], ctx.slope), None


class LeakyReluBackward(Op):
    """g where x > 0, else s·g;   linear in g"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, x, slope):
        ctx.save(x)
        ctx.slope = slope
        return k.leaky_relu_backward(grad._a, x._a, slope)

    @staticmethod
    def backward(ctx, grad):
        return LeakyReluBackward.apply(grad, ctx.saved[0], ctx.slope), None, None


class Sigmoid(Op):
    """y = 1/(1 + e⁻ˣ);   dL/dx = g·y·(1 − y)"""

    elementwise = True
    keeps_output = True

    @staticmethod
    def forward(ctx, x):
        return k.sigmoid(p._floating(x))

    @staticmethod
    def backward(ctx, grad):
        return SigmoidBackward.apply(grad, ctx.output)


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
        return SigmoidBackward.apply(gg, y), gg * grad * (1 - 2 * y)


class Tanh(Op):
    """y = tanh x;   dL/dx = g·(1 − y²)"""

    elementwise = True
    keeps_output = True

    @staticmethod
    def forward(ctx, x):
        return k.tanh(p._floating(x))

    @staticmethod
    def backward(ctx, grad):
        return TanhBackward.apply(grad, ctx.output)


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
        return TanhBackward.apply(gg, y), gg * grad * (-2 * y)


class Softplus(Op):
    """log(1 + e^(βx))/β, x itself where βx > threshold;   dL/dx = g·σ(βx), or g"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, beta, threshold):
        ctx.save(x)
        ctx.settings = beta, threshold
        return k.softplus(_floating_only(x, "softplus_cpu"), beta, threshold)

    @staticmethod
    def backward(ctx, grad):
        return SoftplusBackward.apply(grad, ctx.saved[0], *ctx.settings), None, None


class SoftplusBackward(Op):
    """g·σ(βx), or g above the threshold;   d/dx = g·β·σ(βx)·(1 − σ(βx)), or 0"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, x, beta, threshold):
        ctx.save(grad, x)
        ctx.settings = beta, threshold
        return k.softplus_backward(grad._a, x._a, beta, threshold)

    @staticmethod
    def backward(ctx, gg):
        grad, x = ctx.saved
        beta, threshold = ctx.settings
        gx = None
        if ctx.needs(1):
            s = sigmoid(x * beta)
            gx = p.where(x * beta > threshold, 0.0, gg * grad * (s * (1 - s) * beta))
        return SoftplusBackward.apply(gg, x, beta, threshold), gx, None, None


class Gelu(Op):
    """x·Φ(x);   dL/dx = g·(Φ(x) + x·φ(x))"""

    elementwise = True

    @staticmethod
    def forward(ctx, x, approximate):
        ctx.save(x)
        ctx.approximate = approximate
        return k.gelu(_floating_only(x, "GeluKernelImpl"), approximate)

    @staticmethod
    def backward(ctx, grad):
        return GeluBackward.apply(grad, ctx.saved[0], ctx.approximate), None


class GeluBackward(Op):
    """g·(Φ(x) + x·φ(x));   d/dx = g·φ(x)·(2 − x²)"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, x, approximate):
        ctx.save(grad, x)
        ctx.approximate = approximate
        return k.gelu_backward(grad._a, x._a, approximate)

    @staticmethod
    def backward(ctx, gg):
        grad, x = ctx.saved
        gx = None
        if ctx.needs(1):
            if ctx.approximate == "none":
                second = p.exp(x * x * -0.5) * 0.3989422804014327 * (2 - x * x)
            else:
                a, b = 0.7978845608028654, 0.044715
                t = tanh(a * (x + b * x * x * x))
                u, du = a * (1 + 3 * b * x * x), 6 * a * b * x
                sech = 1 - t * t
                second = sech * (u + 0.5 * x * du - x * t * u * u)
            gx = gg * grad * second
        return GeluBackward.apply(gg, x, ctx.approximate), gx, None


class Softmax(Op):
    """y = eˣ/Σeˣ along a dimension;   dL/dx = y·(g − Σ g·y)"""

    keeps_output = True
    elementwise = True

    @staticmethod
    def forward(ctx, x, axis):
        ctx.axis = axis
        return k.softmax(_floating_only(x, "softmax_lastdim_kernel_impl"), axis)

    @staticmethod
    def backward(ctx, grad):
        return SoftmaxBackward.apply(grad, ctx.output, ctx.axis), None


class SoftmaxBackward(Op):
    """r = y·(g − Σ g·y);   d/dg = y·(h − Σ h·y), d/dy = h·(g − Σ g·y) − g·Σ h·y"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y, axis):
        ctx.save(grad, y)
        ctx.axis = axis
        return k.softmax_backward(grad._a, y._a, axis)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved
        axis = ctx.axis
        gy = None
        if ctx.needs(1):
            gy = gg * (grad - (grad * y).sum(axis, keepdim=True)) - grad * (gg * y).sum(axis, keepdim=True)
        return SoftmaxBackward.apply(gg, y, axis), gy, None


class LogSoftmax(Op):
    """y = x − log Σeˣ along a dimension;   dL/dx = g − eʸ·Σg"""

    keeps_output = True
    elementwise = True

    @staticmethod
    def forward(ctx, x, axis):
        ctx.axis = axis
        return k.log_softmax(_floating_only(x, "log_softmax_lastdim_kernel_impl"), axis)

    @staticmethod
    def backward(ctx, grad):
        return LogSoftmaxBackward.apply(grad, ctx.output, ctx.axis), None


class LogSoftmaxBackward(Op):
    """r = g − eʸ·Σg;   d/dg = h − Σ h·eʸ, d/dy = −h·eʸ·Σg"""

    elementwise = True

    @staticmethod
    def forward(ctx, grad, y, axis):
        ctx.save(grad, y)
        ctx.axis = axis
        return k.log_softmax_backward(grad._a, y._a, axis)

    @staticmethod
    def backward(ctx, gg):
        grad, y = ctx.saved
        weighted = gg * p.exp(y)
        gy = -weighted * grad.sum(ctx.axis, keepdim=True) if ctx.needs(1) else None
        return gg - weighted.sum(ctx.axis, keepdim=True), gy, None


# -- public functions ----------------------------------------------------------------------------------------------


def _tensor(input: Any, name: str) -> Any:
    if not isinstance(input, Variable):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    return input


def sigmoid(input: Any, *, out: Any = None) -> Any:
    """1/(1 + e⁻ˣ), elementwise."""
    return p.store_or_return(out, Sigmoid.apply(_tensor(input, "sigmoid")))


def tanh(input: Any, *, out: Any = None) -> Any:
    """(eˣ − e⁻ˣ)/(eˣ + e⁻ˣ), elementwise."""
    return p.store_or_return(out, Tanh.apply(_tensor(input, "tanh")))


def relu(input: Any, inplace: bool = False) -> Any:
    """max(x, 0), elementwise; NaN stays NaN."""
    return relu_(input) if inplace else Relu.apply(_tensor(input, "relu"))


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x where x > 0, else negative_slope·x."""
    return leaky_relu_(input, negative_slope) if inplace else LeakyRelu.apply(_tensor(input, "leaky_relu"), negative_slope)


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(βx))/β, a smooth ReLU; x itself where βx > threshold, so that nothing overflows."""
    return Softplus.apply(_tensor(input, "softplus"), beta, threshold)


def gelu(input: Any, *, approximate: str = "none") -> Any:
    """x·Φ(x) with Φ the normal distribution function; ``approximate="tanh"`` takes Hendrycks & Gimpel's approximation."""
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"approximate argument must be either none or tanh, but got {approximate!r}.")
    return Gelu.apply(_tensor(input, "gelu"), approximate)


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


def _normalized(op: type[Op], name: str, input: Any, dim: Any, dtype: Any, stacklevel: int) -> Any:
    _tensor(input, name)
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


relu_ = inplace(lambda input: Relu.apply(input), "relu_")
leaky_relu_ = inplace(lambda input, negative_slope=0.01: LeakyRelu.apply(input, negative_slope), "leaky_relu_")


# The functions of the top level and the tensor methods take ``dtype`` where nn.functional has ``_stacklevel``.
def _plain(op: type[Op], name: str) -> Any:
    def function(input: Any, dim: int, dtype: Any = None, *, out: Any = None) -> Any:
        return p.store_or_return(out, _normalized(op, name, input, dim, dtype, 3))

    function.__name__ = function.__qualname__ = name
    return function


top_softmax, top_log_softmax = _plain(Softmax, "softmax"), _plain(LogSoftmax, "log_softmax")

FUNCTIONS = ("sigmoid", "tanh", "relu", "relu_", top_softmax, top_log_softmax)
METHODS = FUNCTIONS
INPLACE = ("sigmoid", "tanh")
NN_FUNCTIONS = ("sigmoid", "tanh", "relu", "relu_", "leaky_relu", "leaky_relu_", "softplus", "gelu", "softmax", "log_softmax")
