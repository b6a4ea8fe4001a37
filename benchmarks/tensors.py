"""Rows of operations on large tensors: reductions along each dimension, chains, types and orders, indices, sorting."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.rows import Row, array, first, function, layer

IMAGE = 64, 56, 56
FORWARD = ("forward",)


def operation(name: str, call: Callable[..., Any], *shape: int, **settings: Any) -> Row:
    """``call(x, ...)`` of a tensor (batch, *shape)."""
    return layer("tensor", name, function(lambda F, *inputs: call(*inputs)), *shape, **settings)


def _module(x: Any) -> ModuleType:
    """The library whose tensor x is."""
    return sys.modules[type(x).__module__.split(".")[0]]


def another(torch: ModuleType, x: Any) -> tuple:
    return x, torch.from_numpy(array(*x.shape, seed=2))


def indices(count: int, below: int, dim: int | None = None) -> Callable[[ModuleType, Any], tuple]:
    """An input and ``count`` random indices, or, for gathering along a dimension, as many as x with ``count`` there."""

    def inputs(torch: ModuleType, x: Any) -> tuple:
        size = (count,) if dim is None else (*x.shape[:dim], count, *x.shape[dim + 1 :])
        return x, torch.from_numpy(np.random.default_rng(0).integers(0, below, size))

    return inputs


def reductions() -> Iterator[Row]:
    for name in ("sum", "mean", "amax", "max", "min", "std", "var", "norm", "logsumexp", "prod"):
        for dim in (1, 3):
            yield operation(f"{name} of dim {dim}", lambda x, n=name, d=dim: first(getattr(x, n)(dim=d)), *IMAGE)
    for name in ("sum", "mean", "max", "std", "var", "norm"):
        yield operation(f"{name} of all", lambda x, n=name: getattr(x, n)(), *IMAGE)
        if name not in ("max", "norm"):
            yield operation(f"{name} of dims 2, 3", lambda x, n=name: getattr(x, n)(dim=(2, 3)), *IMAGE)
    for name in ("argmax", "argmin", "any", "all", "count_nonzero"):
        for dim in (1, 3):
            yield operation(f"{name} of dim {dim}", lambda x, n=name, d=dim: getattr(x, n)(dim=d), *IMAGE, modes=FORWARD)


def elementwise() -> Iterator[Row]:
    yield operation("tanh(xy + y)·x", lambda x, y: (x * y + y).tanh() * x, *IMAGE, inputs=another)
    yield operation("(x − y)²/2", lambda x, y: (x - y).pow(2) / 2, *IMAGE, inputs=another)
    yield operation("sigmoid(x)·tanh(y)", lambda x, y: x.sigmoid() * y.tanh(), *IMAGE, inputs=another)
    yield operation("standardised", lambda x: (x - x.mean((2, 3), True)) / (x.std((2, 3), keepdim=True) + 1e-5), *IMAGE)
    for name in ("exp", "sin", "cos", "erf", "abs", "square", "neg", "sign", "floor", "round", "expm1", "atan", "sinh"):
        yield operation(name, lambda x, n=name: getattr(x, n)(), *IMAGE)
    for name in ("log", "sqrt", "rsqrt", "reciprocal", "log1p"):
        positive = lambda torch, x: (x.abs() + 0.1,)  # noqa: E731
        yield operation(name, lambda x, n=name: getattr(x, n)(), *IMAGE, inputs=positive)
    yield operation("x³", lambda x: x**3, *IMAGE)
    yield operation("|x|^1.7", lambda x: x.abs() ** 1.7, *IMAGE)
    yield operation("clamp", lambda x: x.clamp(-0.5, 0.5), *IMAGE)
    for name in ("maximum", "minimum", "atan2", "div", "sub"):
        yield operation(name, lambda x, y, n=name: getattr(x, n)(y), *IMAGE, inputs=another)
    yield operation("lerp", lambda x, y: x.lerp(y, 0.3), *IMAGE, inputs=another)
    yield operation("addcmul", lambda x, y: x.addcmul(x, y, value=0.5), *IMAGE, inputs=another)
    yield operation("where", lambda x, y: x.where(y > 0, y), *IMAGE, inputs=another)
    yield operation("masked_fill", lambda x, y: x.masked_fill(y > 0, 0.5), *IMAGE, inputs=another)
    yield operation("x > y", lambda x, y: x > y, *IMAGE, inputs=another, modes=FORWARD)
    yield operation("x == 0", lambda x: x == 0, *IMAGE, modes=FORWARD)
    yield operation("isnan", lambda x: x.isnan(), *IMAGE, modes=FORWARD)
    yield operation("x + channel", lambda x: x + x[:1, :, :1, :1], *IMAGE)
    yield operation("x·row", lambda x: x * x[:, :, :, :1], *IMAGE)


def movements() -> Iterator[Row]:
    for name in ("double", "half", "int", "long", "bool"):
        yield operation(f"{name}()", lambda x, n=name: getattr(x, n)(), *IMAGE, modes=FORWARD)
    yield operation("permuted, contiguous", lambda x: x.permute(0, 2, 3, 1).contiguous(), *IMAGE)
    yield operation("transposed, contiguous", lambda x: x.transpose(-1, -2).contiguous(), 512, 512)
    yield operation("clone", lambda x: x.clone(), *IMAGE)
    yield operation("cat", lambda x, y: _module(x).cat((x, y), 1), *IMAGE, inputs=another)
    yield operation("flip", lambda x: x.flip(3), *IMAGE)
    yield operation("roll", lambda x: x.roll(3, 3), *IMAGE)
    yield operation("repeat", lambda x: x.repeat(1, 2, 1, 1), *IMAGE)
    yield operation("repeat_interleave", lambda x: x.repeat_interleave(2, 1), *IMAGE)
    yield operation("expanded, contiguous", lambda x: x.unsqueeze(1).expand(-1, 8, -1).contiguous(), 4096)
    yield operation("every second", lambda x: x[:, :, ::2, ::2].contiguous(), *IMAGE)
    yield operation("tril", lambda x: x.tril(), 512, 512)
    yield operation("diagonal sums", lambda x: x.diagonal(dim1=1, dim2=2).sum(1), 512, 512)


def indexing() -> Iterator[Row]:
    row = 4096
    yield operation("gather", lambda x, i: x.gather(1, i), row, 16, inputs=indices(2048, row, 1))
    yield operation("gather in rows", lambda x, i: x.gather(2, i), 64, 1000, inputs=indices(200, 1000, 2))
    yield operation("scatter_add", lambda x, i: x.new_zeros(len(x), 500, 16).scatter_add(1, i, x), row, 16,
                    inputs=indices(row, 500, 1))  # fmt: skip
    yield operation("scatter", lambda x, i: x.new_zeros(len(x), row, 16).scatter(1, i, x), row, 16,
                    inputs=lambda torch, x: (x, torch.from_numpy(np.arange(row)[::-1].reshape(1, -1, 1).repeat(len(x), 0)
                                                                 .repeat(16, 2).copy())))  # fmt: skip
    yield operation("index_select", lambda x, i: x.index_select(1, i), row, 64, inputs=indices(2000, row))
    yield operation("index_add", lambda x, i: x.new_zeros(len(x), 500, 64).index_add(1, i, x), row, 64,
                    inputs=indices(row, 500))  # fmt: skip
    yield operation("x[:, i]", lambda x, i: x[:, i], row, 64, inputs=indices(2000, row))
    yield operation("x[mask]", lambda x: x[x > 0.5], *IMAGE)
    yield operation("masked_select", lambda x: x.masked_select(x > 0.5), *IMAGE)
    yield operation("nonzero", lambda x: (x > 0.5).nonzero(), *IMAGE, modes=FORWARD)
    yield operation("take_along_dim", lambda x: x.take_along_dim(x.detach().argsort(1), 1), 1000)


def sorting() -> Iterator[Row]:
    yield operation("sort", lambda x: x.sort(-1)[0], 64, 1000)
    yield operation("argsort", lambda x: x.argsort(-1), 64, 1000, modes=FORWARD)
    yield operation("sort of dim 1", lambda x: x.sort(1)[0], 1000, 64)
    yield operation("topk 5", lambda x: x.topk(5)[0], 64, 1000)
    yield operation("topk 100", lambda x: x.topk(100)[0], 64, 1000)
    yield operation("kthvalue", lambda x: x.kthvalue(50)[0], 64, 1000)
    yield operation("median", lambda x: x.median(-1)[0], 64, 1000)
    yield operation("quantile", lambda x: x.quantile(0.3, -1), 64, 1000)
    yield operation("cumsum", lambda x: x.cumsum(-1), 64, 1000)
    yield operation("cumsum of dim 1", lambda x: x.cumsum(1), 1000, 64)
    yield operation("cumprod", lambda x: x.cumprod(-1), 64, 1000)
    yield operation("cummax", lambda x: x.cummax(-1)[0], 64, 1000)
    yield operation("logcumsumexp", lambda x: x.logcumsumexp(-1), 64, 1000)
    yield operation("unique of integers", lambda x: (x * 100).long().unique(), 64, 1000, modes=FORWARD)
    yield operation("unique", lambda x: x.unique(), 64, 100, modes=FORWARD)
    yield operation("bincount", lambda x: (x * 100).abs().long().view(-1).bincount(), 64, 1000, modes=FORWARD)
    yield operation("searchsorted", lambda x: _module(x).searchsorted(x[0, 0].sort()[0], x), 64, 1000, modes=FORWARD)
    one_hot = function(lambda F, x: F.one_hot((x * 100).abs().long(), 1000))
    yield layer("tensor", "one_hot", one_hot, 128, modes=FORWARD)
    yield operation("cdist", lambda x, y: _module(x).cdist(x, y), 256, 64, inputs=another)
    yield operation("cdist p 1", lambda x, y: _module(x).cdist(x, y, 1.0), 64, 64, inputs=another)


def tensors() -> Iterator[Row]:
    for group in (reductions, elementwise, movements, indexing, sorting):
        yield from group()
