"""The rows: what is timed. Every row is code that takes ``torch`` or ``lamina`` as the module ``torch``.

A row is built once and then called many times. Inputs come from NumPy with a fixed seed and weights from
``manual_seed``, so that both libraries compute the same numbers; the runner checks that they do.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import compiled, work
from benchmarks.models import MODELS, Model
from benchmarks.work import Work

Step = Callable[[], Any]
Build = Callable[[ModuleType, int, bool], Step]  # (torch or lamina, batch size, with backward?) -> one call
Count = Callable[[Any, int, bool], Work]  # (lamina, batch size, with backward?) -> what a call has to do


@dataclass(frozen=True)
class Row:
    name: str
    group: str
    build: Build
    batches: tuple[int, ...] = (1, 16)
    modes: tuple[str, ...] = ("forward", "forward+backward")
    count: Count | None = None

    def cases(self) -> Iterator[Case]:
        for batch in self.batches:
            for mode in self.modes:
                yield Case(self, batch, mode)


@dataclass(frozen=True)
class Case:
    row: Row
    batch: int
    mode: str
    label: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", f"{self.row.group} | {self.row.name} | {self.batch} | {self.mode}")

    def prepare(self, torch: ModuleType) -> Step:
        torch.manual_seed(0)
        return self.row.build(torch, self.batch, "backward" in self.mode)

    def work(self, lamina: Any) -> Work | None:
        """The arithmetic and the memory of a call, if the row can say it."""
        return self.row.count(lamina, self.batch, "backward" in self.mode) if self.row.count else None


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype="float32")


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def layer(
    group: str,
    name: str,
    make: Callable[[Any], Any],
    *shape: int,
    inputs: Callable[[ModuleType, Any], tuple] = lambda torch, x: (x,),
    products: Callable[[tuple], int] | None = None,
    **settings: Any,
) -> Row:
    """A layer made by ``make(nn)``, called with an input (batch, *shape) or what ``inputs`` makes of it.

    ``products`` tells the multiply-adds of a function from its arguments; a layer's are counted.
    """

    def parts(torch: ModuleType, batch: int, backward: bool) -> tuple[Any, tuple]:
        module = make(torch.nn).train(backward)
        arguments = inputs(torch, torch.from_numpy(array(batch, *shape)))
        return module, (arguments[0].requires_grad_(), *arguments[1:]) if backward else arguments

    def count(lamina: Any, batch: int, backward: bool) -> Work:
        module, arguments = parts(lamina, batch, backward)
        with lamina.no_grad():
            result = first(module(*arguments))
        return work.of_layer(lamina, module, arguments, result, backward, products and products(arguments))

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        module, arguments = parts(torch, batch, backward)
        if not backward:

            def forward() -> Any:
                with torch.no_grad():
                    return first(module(*arguments))

            return forward

        leaf = arguments[0]
        gradient = torch.from_numpy(array(*first(module(*arguments)).shape, seed=1))

        def forward_backward() -> Any:
            leaf.grad = None
            module.zero_grad(set_to_none=True)
            first(module(*arguments)).backward(gradient)
            return leaf.grad

        return forward_backward

    return Row(f"{name} on {'x'.join(map(str, shape))}", group, build, count=count, **settings)


def convolutions() -> Iterator[Row]:
    g = "conv"
    yield layer(g, "Conv1d 3", lambda nn: nn.Conv1d(64, 64, 3, padding=1), 64, 512)
    yield layer(g, "Conv1d 1", lambda nn: nn.Conv1d(128, 128, 1), 128, 512)
    yield layer(g, "Conv1d 3 dil 4", lambda nn: nn.Conv1d(64, 64, 3, padding=4, dilation=4), 64, 512)
    yield layer(g, "Conv1d 3 depthwise", lambda nn: nn.Conv1d(128, 128, 3, padding=1, groups=128), 128, 512)
    yield layer(g, "Conv2d 1x1 to 128", lambda nn: nn.Conv2d(256, 128, 1), 256, 28, 28)
    yield layer(g, "Conv2d 3x3", lambda nn: nn.Conv2d(64, 64, 3, padding=1), 64, 56, 56)
    yield layer(g, "Conv2d 3x3", lambda nn: nn.Conv2d(128, 128, 3, padding=1), 128, 28, 28)
    yield layer(g, "Conv2d 3x3", lambda nn: nn.Conv2d(256, 256, 3, padding=1), 256, 14, 14)
    yield layer(g, "Conv2d 3x3 s2 to 128", lambda nn: nn.Conv2d(64, 128, 3, 2, 1), 64, 56, 56)
    yield layer(g, "Conv2d 3x3 to 32", lambda nn: nn.Conv2d(3, 32, 3, padding=1), 3, 64, 64)
    yield layer(g, "Conv2d 5x5 to 64", lambda nn: nn.Conv2d(32, 64, 5, padding=2), 32, 28, 28)
    yield layer(g, "Conv2d 7x7 s2 to 64", lambda nn: nn.Conv2d(3, 64, 7, 2, 3), 3, 224, 224)
    yield layer(g, "Conv2d 5x5 to 2", lambda nn: nn.Conv2d(1, 2, 5, bias=False), 1, 512, 512)
    yield layer(g, "Conv2d 3x3 dil 2", lambda nn: nn.Conv2d(64, 64, 3, 1, 2, 2), 64, 56, 56)
    yield layer(g, "Conv2d 3x3 groups 4", lambda nn: nn.Conv2d(128, 128, 3, 1, 1, 1, 4), 128, 28, 28)
    yield layer(g, "Conv2d 3x3 depthwise", lambda nn: nn.Conv2d(128, 128, 3, 1, 1, 1, 128), 128, 56, 56)
    reflect = dict(padding=1, padding_mode="reflect")
    yield layer(g, "Conv2d 3x3 reflect", lambda nn: nn.Conv2d(32, 32, 3, **reflect), 32, 32, 32)
    yield layer(g, "Conv3d 3 to 32", lambda nn: nn.Conv3d(16, 32, 3, padding=1), 16, 16, 32, 32)
    yield layer(g, "Conv3d 1", lambda nn: nn.Conv3d(64, 64, 1), 64, 8, 28, 28)
    yield layer(g, "Conv3d 3 depthwise", lambda nn: nn.Conv3d(32, 32, 3, 1, 1, 1, 32), 32, 8, 28, 28)
    g = "conv transpose"
    yield layer(g, "ConvTranspose1d 4 s2 to 32", lambda nn: nn.ConvTranspose1d(64, 32, 4, 2, 1), 64, 256)
    yield layer(g, "ConvTranspose2d 2 s2 to 32", lambda nn: nn.ConvTranspose2d(64, 32, 2, 2), 64, 28, 28)
    yield layer(g, "ConvTranspose2d 4 s2 to 32", lambda nn: nn.ConvTranspose2d(64, 32, 4, 2, 1), 64, 28, 28)
    yield layer(g, "ConvTranspose2d 3 s1", lambda nn: nn.ConvTranspose2d(32, 32, 3, 1, 1), 32, 28, 28)
    yield layer(g, "ConvTranspose3d 2 s2 to 16", lambda nn: nn.ConvTranspose3d(32, 16, 2, 2), 32, 8, 16, 16)


def pooled_indices(functional: str, size: int) -> Callable[[ModuleType, Any], tuple]:
    """The input of an unpooling layer: what max pooling leaves of x, and where it stood."""

    def inputs(torch: ModuleType, x: Any) -> tuple:
        pooled, indices = getattr(torch.nn.functional, functional)(x, size, return_indices=True)
        return pooled.detach(), indices

    return inputs


def pools() -> Iterator[Row]:
    g = "pool"
    yield layer(g, "MaxPool1d 2", lambda nn: nn.MaxPool1d(2), 64, 512)
    yield layer(g, "MaxPool2d 2", lambda nn: nn.MaxPool2d(2), 64, 56, 56)
    yield layer(g, "MaxPool2d 3 s2 p1", lambda nn: nn.MaxPool2d(3, 2, 1), 64, 112, 112)
    yield layer(g, "MaxPool2d 2 indices", lambda nn: nn.MaxPool2d(2, return_indices=True), 64, 56, 56)
    yield layer(g, "MaxPool2d 3 dil 2", lambda nn: nn.MaxPool2d(3, 2, dilation=2), 32, 56, 56)
    yield layer(g, "MaxPool2d 2", lambda nn: nn.MaxPool2d(2), 2, 508, 508)
    yield layer(g, "MaxPool3d 2", lambda nn: nn.MaxPool3d(2), 16, 16, 32, 32)
    yield layer(g, "AvgPool1d 2", lambda nn: nn.AvgPool1d(2), 64, 512)
    yield layer(g, "AvgPool2d 2", lambda nn: nn.AvgPool2d(2), 64, 56, 56)
    yield layer(g, "AvgPool2d 3 s1 p1", lambda nn: nn.AvgPool2d(3, 1, 1), 64, 56, 56)
    yield layer(g, "AvgPool3d 2", lambda nn: nn.AvgPool3d(2), 16, 16, 32, 32)
    yield layer(g, "AdaptiveAvgPool1d 8", lambda nn: nn.AdaptiveAvgPool1d(8), 64, 512)
    yield layer(g, "AdaptiveAvgPool2d 1", lambda nn: nn.AdaptiveAvgPool2d(1), 512, 7, 7)
    yield layer(g, "AdaptiveAvgPool2d 7", lambda nn: nn.AdaptiveAvgPool2d(7), 64, 56, 56)
    yield layer(g, "AdaptiveAvgPool2d 7", lambda nn: nn.AdaptiveAvgPool2d(7), 64, 50, 50)
    yield layer(g, "AdaptiveAvgPool3d 4", lambda nn: nn.AdaptiveAvgPool3d(4), 16, 16, 32, 32)
    yield layer(g, "AdaptiveMaxPool1d 8", lambda nn: nn.AdaptiveMaxPool1d(8), 64, 512)
    yield layer(g, "AdaptiveMaxPool2d 7", lambda nn: nn.AdaptiveMaxPool2d(7), 64, 56, 56)
    yield layer(g, "AdaptiveMaxPool3d 4", lambda nn: nn.AdaptiveMaxPool3d(4), 16, 16, 32, 32)
    yield layer(g, "LPPool1d p2 k2", lambda nn: nn.LPPool1d(2, 2), 64, 512)
    yield layer(g, "LPPool2d p2 k2", lambda nn: nn.LPPool2d(2, 2), 64, 56, 56)
    yield layer(g, "LPPool3d p2 k2", lambda nn: nn.LPPool3d(2, 2), 16, 16, 32, 32)
    half = dict(output_ratio=0.5)
    yield layer(g, "FractionalMaxPool2d 2", lambda nn: nn.FractionalMaxPool2d(2, **half), 64, 56, 56)
    yield layer(g, "FractionalMaxPool3d 2", lambda nn: nn.FractionalMaxPool3d(2, **half), 16, 8, 16, 16)
    one, two, three = (pooled_indices(f"max_pool{n}d", 2) for n in (1, 2, 3))
    yield layer(g, "MaxUnpool1d 2", lambda nn: nn.MaxUnpool1d(2), 64, 512, inputs=one)
    yield layer(g, "MaxUnpool2d 2", lambda nn: nn.MaxUnpool2d(2), 64, 56, 56, inputs=two)
    yield layer(g, "MaxUnpool3d 2", lambda nn: nn.MaxUnpool3d(2), 16, 16, 32, 32, inputs=three)


def function(call: Callable[..., Any]) -> Callable[[Any], Any]:
    """What makes a layer of a function of `nn.functional`, which ``call(functional, *inputs)`` calls."""

    def make(nn: Any) -> Any:
        class Function(nn.Module):
            def forward(self, *inputs: Any) -> Any:
                return call(nn.functional, *inputs)

        return Function()

    return make


def places(*size: int) -> Callable[[ModuleType, Any], tuple]:
    """The input and places near those of a regular grid."""

    def inputs(torch: ModuleType, x: Any) -> tuple:
        lines = [np.linspace(-1, 1, n, dtype="float32") for n in size]
        grid = np.stack(np.meshgrid(*lines, indexing="ij")[::-1], -1)
        return x, torch.from_numpy(grid + 0.1 * array(len(x), *size, len(size), seed=3)).requires_grad_()

    return inputs


def resamplings() -> Iterator[Row]:
    g = "resample"
    yield layer(g, "Upsample nearest x2", lambda nn: nn.Upsample(scale_factor=2), 64, 56, 56)
    yield layer(g, "Upsample nearest x2", lambda nn: nn.Upsample(scale_factor=2), 64, 512)
    yield layer(g, "Upsample nearest x2", lambda nn: nn.Upsample(scale_factor=2), 16, 8, 16, 16)
    yield layer(g, "Upsample nearest 224", lambda nn: nn.Upsample(224), 3, 256, 256)
    image = 64, 56, 56
    for mode, shape in (("linear", (64, 512)), ("bilinear", image), ("bicubic", image), ("trilinear", (16, 8, 16, 16))):
        yield layer(g, f"Upsample {mode} x2", lambda nn, m=mode: nn.Upsample(scale_factor=2, mode=m), *shape)
    yield layer(g, "UpsamplingNearest2d 112", lambda nn: nn.UpsamplingNearest2d(112), 64, 56, 56)
    yield layer(g, "UpsamplingBilinear2d x2", lambda nn: nn.UpsamplingBilinear2d(scale_factor=2), 64, 56, 56)
    for mode in ("area", "bilinear"):
        resize = function(lambda F, x, m=mode: F.interpolate(x, scale_factor=0.5, mode=m))
        yield layer(g, f"interpolate {mode} /2", resize, *image)
    for mode in ("bilinear", "bicubic"):
        resize = function(lambda F, x, m=mode: F.interpolate(x, size=224, mode=m, antialias=True))
        yield layer(g, f"interpolate {mode} 224 antialias", resize, 3, 256, 256)
    for mode in ("bilinear", "nearest", "bicubic"):
        sample = function(lambda F, x, grid, m=mode: F.grid_sample(x, grid, m, align_corners=False))
        yield layer(g, f"grid_sample {mode}", sample, 16, 64, 64, inputs=places(64, 64))
    sample = function(lambda F, x, grid: F.grid_sample(x, grid, align_corners=False))
    yield layer(g, "grid_sample", sample, 4, 16, 32, 32, inputs=places(16, 32, 32))
    affine = function(lambda F, theta: F.affine_grid(theta, (len(theta), 3, 64, 64), False))
    yield layer(g, "affine_grid 64x64", affine, 2, 3)
    yield layer(g, "Unfold 3 p1", lambda nn: nn.Unfold(3, padding=1), 64, 28, 28)
    yield layer(g, "Unfold 16 s16", lambda nn: nn.Unfold(16, stride=16), 3, 224, 224)
    yield layer(g, "Fold 3 p1", lambda nn: nn.Fold(28, 3, padding=1), 64 * 9, 784)
    yield layer(g, "Fold 16 s16", lambda nn: nn.Fold(224, 16, stride=16), 768, 196)


def activations() -> Iterator[Row]:
    for name in (
        "Sigmoid", "Tanh", "ReLU", "Softplus", "GELU", "LeakyReLU", "ReLU6", "ELU", "SELU", "CELU", "SiLU", "Mish", "Hardshrink",
        "Hardsigmoid", "Hardswish", "Hardtanh", "LogSigmoid", "PReLU", "RReLU", "Softshrink", "Softsign", "Tanhshrink", "GLU",
    ):  # fmt: skip
        yield layer("activation", name, lambda nn, name=name: getattr(nn, name)(), 64, 56, 56)
        yield layer("activation", name, lambda nn, name=name: getattr(nn, name)(), 256)
    yield layer("activation", "Threshold", lambda nn: nn.Threshold(0.1, 20.0), 64, 56, 56)
    yield layer("activation", "Softmax2d", lambda nn: nn.Softmax2d(), 64, 56, 56)
    for name in ("Softmax", "Softmin", "LogSoftmax"):
        yield layer("activation", name, lambda nn, name=name: getattr(nn, name)(-1), 1000)
        yield layer("activation", name, lambda nn, name=name: getattr(nn, name)(-1), 8, 128, 128)


def paddings() -> Iterator[Row]:
    shapes = ((64, 512), (32, 56, 56), (8, 16, 28, 28))
    for kind in ("Reflection", "Replication", "Circular", "Zero"):
        for n, shape in enumerate(shapes, 1):
            yield layer("pad", f"{kind}Pad{n}d 2", lambda nn, k=kind, n=n: getattr(nn, f"{k}Pad{n}d")(2), *shape)
    for n, shape in enumerate(shapes, 1):
        yield layer("pad", f"ConstantPad{n}d 2", lambda nn, n=n: getattr(nn, f"ConstantPad{n}d")(2, 1.5), *shape)
    yield layer("shuffle", "PixelShuffle 2", lambda nn: nn.PixelShuffle(2), 64, 56, 56)
    yield layer("shuffle", "PixelUnshuffle 2", lambda nn: nn.PixelUnshuffle(2), 16, 112, 112)
    yield layer("shuffle", "ChannelShuffle 4", lambda nn: nn.ChannelShuffle(4), 64, 56, 56)


def recurrent() -> Iterator[Row]:
    g = "rnn"
    one = dict(batch_first=True)
    two = dict(batch_first=True, num_layers=2, bidirectional=True)
    for name in ("RNN", "LSTM", "GRU"):
        yield layer(g, name, lambda nn, n=name: getattr(nn, n)(128, 128, **one), 35, 128)
        yield layer(g, f"{name} to 64", lambda nn, n=name: getattr(nn, n)(28, 64, **one), 28, 28)
        yield layer(g, name, lambda nn, n=name: getattr(nn, n)(64, 64, **one), 512, 64)
        yield layer(g, f"{name} 2 layers both ways", lambda nn, n=name: getattr(nn, n)(64, 64, **two), 35, 64)
        yield layer(g, f"{name}Cell", lambda nn, n=name: getattr(nn, n + "Cell")(128, 128), 128)


def others() -> Iterator[Row]:
    sizes = 1, 16, 64, 1024
    yield layer("linear", "Linear to 512", lambda nn: nn.Linear(512, 512), 512, batches=sizes)
    yield layer("linear", "Linear to 128", lambda nn: nn.Linear(784, 128), 784)
    yield layer("linear", "Linear to 256", lambda nn: nn.Linear(64, 256), 128, 64)
    # One value per channel cannot be normalised in training, so a lone row is not a case.
    yield layer("norm", "BatchNorm1d", lambda nn: nn.BatchNorm1d(256), 256, batches=(16, 256))
    yield layer("norm", "BatchNorm1d", lambda nn: nn.BatchNorm1d(64), 64, 512)
    yield layer("norm", "BatchNorm2d", lambda nn: nn.BatchNorm2d(64), 64, 56, 56)
    yield layer("norm", "BatchNorm2d", lambda nn: nn.BatchNorm2d(20), 20, 28, 28)
    yield layer("norm", "BatchNorm3d", lambda nn: nn.BatchNorm3d(16), 16, 16, 32, 32)
    for shape in ((4096,), (64, 56, 56)):
        training = ("forward+backward",)  # out of training it does nothing
        yield layer("dropout", "Dropout 0.5", lambda nn: nn.Dropout(0.5), *shape, modes=training)
        yield layer("dropout", "AlphaDropout 0.5", lambda nn: nn.AlphaDropout(0.5), *shape, modes=training)
    yield layer("dropout", "Dropout1d 0.5", lambda nn: nn.Dropout1d(0.5), 64, 512, modes=training)
    yield layer("dropout", "Dropout2d 0.5", lambda nn: nn.Dropout2d(0.5), 64, 56, 56, modes=training)
    yield layer("dropout", "Dropout3d 0.5", lambda nn: nn.Dropout3d(0.5), 16, 16, 32, 32, modes=training)
    yield layer("dropout", "FeatureAlphaDropout 0.5", lambda nn: nn.FeatureAlphaDropout(0.5), 64, 56, 56, modes=training)

    def classes(torch: ModuleType, x: Any) -> tuple:
        return x, torch.from_numpy(np.arange(len(x)) * 7 % x.shape[1])

    def target(torch: ModuleType, x: Any) -> tuple:
        return x, torch.from_numpy(array(*x.shape, seed=2))

    for size in (10, 1000):
        yield layer("loss", "CrossEntropyLoss", lambda nn: nn.CrossEntropyLoss(), size, inputs=classes)
        yield layer("loss", "MSELoss", lambda nn: nn.MSELoss(), size, inputs=target)


def normalisations() -> Iterator[Row]:
    g = "norm"
    yield layer(g, "LayerNorm", lambda nn: nn.LayerNorm(512), 128, 512)
    yield layer(g, "LayerNorm", lambda nn: nn.LayerNorm(64), 64)
    yield layer(g, "RMSNorm", lambda nn: nn.RMSNorm(512), 128, 512)
    yield layer(g, "GroupNorm 32", lambda nn: nn.GroupNorm(32, 128), 128, 28, 28)
    yield layer(g, "InstanceNorm1d", lambda nn: nn.InstanceNorm1d(64, affine=True), 64, 512)
    yield layer(g, "InstanceNorm2d", lambda nn: nn.InstanceNorm2d(64, affine=True), 64, 56, 56)
    yield layer(g, "InstanceNorm3d", lambda nn: nn.InstanceNorm3d(16), 16, 16, 32, 32)
    # PyTorch's gradient of it is not the gradient of its function, so only the values can be compared.
    yield layer(g, "CrossMapLRN2d 5", lambda nn: nn.CrossMapLRN2d(5), 64, 28, 28, modes=("forward",))
    yield layer(g, "LocalResponseNorm 5", lambda nn: nn.LocalResponseNorm(5), 64, 28, 28)


def thrice(torch: ModuleType, x: Any) -> tuple:
    """Query, key and value are one tensor."""
    return x, x, x


def with_memory(torch: ModuleType, x: Any) -> tuple:
    """A decoder's input and what an encoder made of as many positions."""
    return x, torch.from_numpy(array(*x.shape, seed=2))


def attention(name: str, causal: bool, *shape: int, **settings: Any) -> Row:
    call = function(lambda f, q, key, v: f.scaled_dot_product_attention(q, key, v, is_causal=causal))
    return layer("transformer", name, call, *shape, inputs=thrice, products=work.of_attention(causal), **settings)


def transformers() -> Iterator[Row]:
    g = "transformer"
    first = dict(batch_first=True)
    sure = dict(dropout=0.0, **first)
    yield attention("attention", False, 8, 128, 64)
    yield attention("causal attention", True, 8, 512, 64, batches=(1, 4))
    yield attention("causal attention", True, 2, 4096, 64, batches=(1,))
    yield layer(g, "MultiheadAttention", lambda nn: nn.MultiheadAttention(256, 4, **first), 128, 256, inputs=thrice)
    yield layer(g, "encoder layer", lambda nn: nn.TransformerEncoderLayer(256, 4, 1024, **sure), 128, 256)
    yield layer(g, "encoder layer", lambda nn: nn.TransformerEncoderLayer(64, 4, 128, **sure), 32, 64)
    yield layer(
        g, "decoder layer", lambda nn: nn.TransformerDecoderLayer(256, 4, 1024, **sure), 128, 256, inputs=with_memory
    )
    deep = lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(128, 4, 256, **sure), 2)  # noqa: E731
    yield layer(g, "TransformerEncoder of 2", deep, 64, 128)
    deep = lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(128, 4, 256, **sure), 2)  # noqa: E731
    yield layer(g, "TransformerDecoder of 2", deep, 64, 128, inputs=with_memory)


def losses() -> Iterator[Row]:
    """Beside cross entropy and MSE: of the pixels of an image, of the classes of a sample, of pairs and of sequences."""

    def shares(torch: ModuleType, x: Any) -> tuple:
        return x, torch.from_numpy((array(*x.shape, seed=2) > 0).astype("float32"))

    def probabilities(torch: ModuleType, x: Any) -> tuple:
        return x.sigmoid(), shares(torch, x)[1]

    def logarithms(torch: ModuleType, x: Any) -> tuple:
        return x.log_softmax(1), torch.from_numpy(array(*x.shape, seed=2)).softmax(1)

    def values(torch: ModuleType, x: Any) -> tuple:
        return x, torch.from_numpy(array(*x.shape, seed=2))

    def positive(torch: ModuleType, x: Any) -> tuple:
        return (*values(torch, x), shares(torch, x)[1] + 0.5)

    def signs(torch: ModuleType, x: Any) -> tuple:
        return x, shares(torch, x)[1] * 2 - 1

    def of_rows(torch: ModuleType, x: Any) -> tuple:
        return (*values(torch, x), torch.from_numpy(np.sign(array(len(x), seed=4))))

    def triplets(torch: ModuleType, x: Any) -> tuple:
        return (*values(torch, x), torch.from_numpy(array(*x.shape, seed=3)))

    def indices(torch: ModuleType, x: Any) -> tuple:
        return x, torch.from_numpy(np.arange(len(x)) * 7 % x.shape[1])

    def several(torch: ModuleType, x: Any) -> tuple:
        labels = np.full(x.shape, -1)
        labels[:, :5] = np.arange(len(x))[:, None] * 7 % 90 + np.arange(5)
        return x, torch.from_numpy(labels)

    def sequences(torch: ModuleType, x: Any) -> tuple:
        n, steps, classes = x.shape
        targets = torch.from_numpy(np.random.default_rng(1).integers(1, classes, (n, 20)))
        return x.transpose(0, 1).log_softmax(2).detach(), targets, (steps,) * n, (20,) * n

    image, features = (1, 128, 128), (256,)
    g = "loss"
    for shape in (image, features):
        yield layer(g, "BCEWithLogitsLoss", lambda nn: nn.BCEWithLogitsLoss(), *shape, inputs=shares)
        yield layer(g, "BCELoss", lambda nn: nn.BCELoss(), *shape, inputs=probabilities)
        yield layer(g, "SmoothL1Loss", lambda nn: nn.SmoothL1Loss(), *shape, inputs=values)
        yield layer(g, "HuberLoss", lambda nn: nn.HuberLoss(), *shape, inputs=values)
        yield layer(g, "L1Loss", lambda nn: nn.L1Loss(), *shape, inputs=values)
        yield layer(g, "KLDivLoss", lambda nn: nn.KLDivLoss(reduction="batchmean"), *shape, inputs=logarithms)
        yield layer(g, "PoissonNLLLoss", lambda nn: nn.PoissonNLLLoss(), *shape, inputs=shares)
        yield layer(g, "GaussianNLLLoss", lambda nn: nn.GaussianNLLLoss(), *shape, inputs=positive)
        yield layer(g, "SoftMarginLoss", lambda nn: nn.SoftMarginLoss(), *shape, inputs=signs)
        yield layer(g, "HingeEmbeddingLoss", lambda nn: nn.HingeEmbeddingLoss(), *shape, inputs=signs)
    yield layer(g, "MultiLabelSoftMarginLoss", lambda nn: nn.MultiLabelSoftMarginLoss(), 100, inputs=shares)
    yield layer(g, "MultiMarginLoss", lambda nn: nn.MultiMarginLoss(), 100, inputs=indices)
    yield layer(g, "MultiLabelMarginLoss", lambda nn: nn.MultiLabelMarginLoss(), 100, inputs=several)
    yield layer(g, "NLLLoss", lambda nn: nn.NLLLoss(), 100, inputs=indices)

    def pixels(torch: ModuleType, x: Any) -> tuple:
        return x, torch.from_numpy(np.random.default_rng(1).integers(0, x.shape[1], (len(x), *x.shape[2:])))

    yield layer(g, "NLLLoss of pixels", lambda nn: nn.NLLLoss(), 21, 64, 64, inputs=pixels)
    yield layer(g, "CrossEntropyLoss of pixels", lambda nn: nn.CrossEntropyLoss(), 21, 64, 64, inputs=pixels)
    yield layer(g, "CosineEmbeddingLoss", lambda nn: nn.CosineEmbeddingLoss(), 256, inputs=of_rows, batches=(16, 256))
    ranked = function(lambda F, x, y, sign: F.margin_ranking_loss(x[:, 0], y[:, 0], sign))
    yield layer(g, "MarginRankingLoss", ranked, 8, inputs=of_rows, batches=(16, 256))
    yield layer(g, "TripletMarginLoss", lambda nn: nn.TripletMarginLoss(), 256, inputs=triplets, batches=(16, 256))
    anyhow = lambda nn: nn.TripletMarginWithDistanceLoss(distance_function=nn.PairwiseDistance(1))  # noqa: E731
    yield layer(g, "TripletMarginWithDistanceLoss", anyhow, 256, inputs=triplets, batches=(16, 256))
    yield layer(g, "CTCLoss", lambda nn: nn.CTCLoss(), 100, 40, inputs=sequences)
    big = lambda nn: nn.LinearCrossEntropyLoss(256, 8000)  # noqa: E731
    yield layer(g, "LinearCrossEntropyLoss 8000", big, 256, inputs=indices, batches=(16, 256))
    chunked = lambda nn: nn.LinearCrossEntropyLoss(256, 8000, options=nn.LinearCrossEntropyOptions())  # noqa: E731
    yield layer(g, "LinearCrossEntropyLoss 8000 chunked", chunked, 256, inputs=indices, batches=(256,))
    adaptive = lambda nn: nn.AdaptiveLogSoftmaxWithLoss(256, 8000, [500, 2000])  # noqa: E731
    yield layer(g, "AdaptiveLogSoftmaxWithLoss 8000", adaptive, 256, inputs=indices, batches=(16, 256))

    g = "distance"
    yield layer(g, "CosineSimilarity", lambda nn: nn.CosineSimilarity(), 256, inputs=values, batches=(16, 256))
    yield layer(g, "PairwiseDistance", lambda nn: nn.PairwiseDistance(), 256, inputs=values, batches=(16, 256))
    yield layer(g, "normalize", function(lambda F, x: F.normalize(x)), 256, batches=(16, 256))
    yield layer(g, "pdist", function(lambda F, x: F.pdist(x)), 64, batches=(16, 256))
    yield layer("linear", "Bilinear 64x64 to 32", lambda nn: nn.Bilinear(64, 64, 32), 64, inputs=values)
    yield layer("linear", "Bilinear 256x256 to 4", lambda nn: nn.Bilinear(256, 256, 4), 256, inputs=values)


def lookup(name: str, make: Callable[[Any], Any], size: int, *shape: int, **settings: Any) -> Row:
    """A table made by ``make(nn)``, looked up at random indices (batch, *shape) below ``size``."""

    def parts(torch: ModuleType, batch: int) -> tuple[Any, Any]:
        return make(torch.nn), torch.from_numpy(np.random.default_rng(0).integers(0, size, (batch, *shape)))

    def count(lamina: Any, batch: int, backward: bool) -> Work:
        module, index = parts(lamina, batch)
        return work.of_lookup(module, index, module(index).detach(), backward)

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        module, index = parts(torch, batch)
        gradient = torch.from_numpy(array(*module(index).shape, seed=1))

        def forward() -> Any:
            with torch.no_grad():
                return module(index)

        def forward_backward() -> Any:
            module.weight.grad = None
            module(index).backward(gradient)
            grad = module.weight.grad
            return grad._values() if grad.is_sparse else grad

        return forward_backward if backward else forward

    return Row(name, "table", build, count=count, **settings)


def tables() -> Iterator[Row]:
    yield lookup("Embedding 10000x256 at 128", lambda nn: nn.Embedding(10_000, 256), 10_000, 128)
    yield lookup("Embedding 1000x64 at 128", lambda nn: nn.Embedding(1000, 64), 1000, 128)
    sparse = lambda nn: nn.Embedding(10_000, 256, sparse=True)  # noqa: E731
    yield lookup("Embedding 10000x256 sparse at 128", sparse, 10_000, 128, modes=("forward+backward",))
    for mode in ("sum", "mean", "max"):
        bag = lambda nn, m=mode: nn.EmbeddingBag(10_000, 64, mode=m)  # noqa: E731
        yield lookup(f"EmbeddingBag 10000x64 {mode} at 20", bag, 10_000, 20, batches=(16, 256))


def optimizer(name: str, sizes: list[tuple[int, ...]], label: str, **settings: Any) -> Row:
    def make(torch: ModuleType) -> tuple[Any, Any]:
        parameters = [torch.nn.Parameter(torch.from_numpy(array(*size))) for size in sizes]
        for parameter in parameters:
            parameter.grad = torch.from_numpy(array(*parameter.shape, seed=1))
        return getattr(torch.optim, name)(parameters, **settings), parameters[0]

    def count(lamina: Any, batch: int, backward: bool) -> Work:
        made, _ = make(lamina)
        made.step()
        return work.of_update(made)

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        made, parameter = make(torch)
        step = made.step

        def update() -> Any:
            step()
            return parameter

        return update

    return Row(f"{label}, {len(sizes)} tensors", "optimizer", build, (1,), ("step",), count)


def optimizers() -> Iterator[Row]:
    small = [(40, 20), (40,), (40, 40), (40,), (3, 40), (3,)]
    net = [(64, 64, 3, 3), (64,), (64,)] * 8 + [(512, 512), (512,), (1000, 512), (1000,)]
    for sizes, size in ((small, "tiny"), (net, "1 million")):
        yield optimizer("SGD", sizes, f"SGD {size}", lr=1e-4)
        yield optimizer("SGD", sizes, f"SGD momentum {size}", lr=1e-4, momentum=0.9)
        yield optimizer("Adam", sizes, f"Adam {size}", lr=1e-4)
    large = [(2500, 4000)]
    yield optimizer("SGD", large, "SGD 10 million", lr=1e-4)
    yield optimizer("SGD", large, "SGD momentum 10 million", lr=1e-4, momentum=0.9)
    yield optimizer("Adam", large, "Adam 10 million", lr=1e-4)
    yield optimizer("Adam", large, "Adam fused 10 million", lr=1e-4, fused=True)
    for name in ("AdamW", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adafactor", "RMSprop", "Rprop", "ASGD"):
        for sizes, size in ((small, "tiny"), (large, "10 million")):
            yield optimizer(name, sizes, f"{name} {size}", lr=1e-4)
    yield optimizer("Muon", [(256, 256)] * 4, "Muon 256x256", lr=1e-4)


def training(name: str, batch: int, model: Callable, shape: tuple[int, ...], classes: int) -> Row:
    """One whole training step: zero_grad, forward, loss, backward, Adam."""

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        net = model(torch)
        x = torch.from_numpy(array(batch, *shape))
        loss_function: Any
        if classes:
            y, loss_function = torch.from_numpy(np.arange(batch) % classes), torch.nn.CrossEntropyLoss()
        else:
            y, loss_function = torch.from_numpy(array(batch, 1, seed=1)), torch.nn.MSELoss()
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

        def step() -> Any:
            optimizer.zero_grad()
            loss = loss_function(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def count(lamina: Any, batch: int, backward: bool) -> Work:
        return work.of_step(lamina, model(lamina), lamina.from_numpy(array(batch, *shape)), work.PASSES["Adam"])

    return Row(name, "training step", build, (batch,), ("step",), count)


def small_cnn(torch: ModuleType, inputs: int = 1, features: int = 256) -> Any:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(inputs, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(features, 10),
    )  # fmt: skip


def mlp(torch: ModuleType) -> Any:
    nn = torch.nn
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))


def lstm(hidden: int, inputs: int) -> Callable[[ModuleType], Any]:
    def model(torch: ModuleType) -> Any:
        nn = torch.nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm = nn.LSTM(inputs, hidden, batch_first=True)
                self.out = nn.Linear(hidden, 1)

            def forward(self, x: Any) -> Any:
                return self.out(self.lstm(x)[0][:, -1])

        return Net()

    return model


def steps() -> Iterator[Row]:
    yield training("small CNN, 1x8x8", 64, small_cnn, (1, 8, 8), 10)
    yield training("small CNN, 3x32x32", 32, lambda torch: small_cnn(torch, 3, 64 * 8 * 8), (3, 32, 32), 10)
    yield training("LSTM, T 24, 6-16", 32, lstm(16, 6), (24, 6), 0)
    yield training("LSTM, T 50, 32-128", 32, lstm(128, 32), (50, 32), 0)
    yield training("MLP 20-40-40-3", 24, mlp, (20,), 3)


def inference(model: Model) -> Row:
    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        net = model.make(torch).eval()
        x = model.sample(torch, batch, model.shape, model.words)

        def infer() -> Any:
            with torch.no_grad():
                return net(x)

        return infer

    name = f"{model.name} on {'x'.join(map(str, model.shape))}"
    return Row(name, "model in use", build, modes=("inference",), count=counted(model, False))


def counted(model: Model, training: bool) -> Count:
    return lambda lamina, batch, backward: work.of_model(lamina, model.name, batch, training)


def model_training(model: Model) -> Row:
    shape = model.training or model.shape

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        x = model.sample(torch, batch, shape, model.words)
        return model.updater(torch, model.make(torch), x, model.classes)

    name = f"{model.name} on {'x'.join(map(str, shape))}, {model.optimizer}"
    return Row(name, "model training", build, (model.batch,), ("step",), counted(model, True))


def networks() -> Iterator[Row]:
    """Those of ``models.py``: a whole training step, and a forward pass in use."""
    yield from map(model_training, MODELS)
    yield from map(inference, MODELS)
    for model, name, group, build, batches, mode in compiled.kinds():
        yield Row(name, group, build, batches, (mode,), counted(model, mode == "step"))


def overhead(name: str, call: Callable[[ModuleType, Any, Any], Any], grad: bool = False) -> Row:
    """One operation on ten elements, 100 times over: what a call costs when there is nothing to compute."""

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        a, b = torch.from_numpy(array(10)), torch.from_numpy(array(10, seed=1))
        if grad:
            a.requires_grad_()

        def hundred() -> Any:
            for _ in range(100):
                result = call(torch, a, b)
            return result

        return hundred

    return Row(f"100 x {name}, 10 elements", "overhead", build, (1,), ("call",))


def chain(torch: ModuleType, a: Any, b: Any) -> Any:
    a.grad = None
    ((a * b).tanh() + b).sum().backward()
    return a.grad


def overheads() -> Iterator[Row]:
    yield overhead("a + b", lambda torch, a, b: a + b)
    yield overhead("a * 2", lambda torch, a, b: a * 2)
    yield overhead("a += b on a view", lambda torch, a, b: b.view(2, 5).add_(0.0))
    yield overhead("sum", lambda torch, a, b: a.sum())
    yield overhead("relu", lambda torch, a, b: torch.relu(a))
    yield overhead("a[2:5]", lambda torch, a, b: a[2:5])
    yield overhead("matmul", lambda torch, a, b: a @ b)
    yield overhead("a + b, recording", lambda torch, a, b: a + b, grad=True)
    yield overhead("4 ops and backward", chain, grad=True)
    yield overhead("a * b", lambda torch, a, b: a * b)
    yield overhead("exp", lambda torch, a, b: a.exp())
    yield overhead("a > b", lambda torch, a, b: a > b)
    yield overhead("mean", lambda torch, a, b: a.mean())
    yield overhead("softmax", lambda torch, a, b: torch.softmax(a, 0))
    yield overhead("view", lambda torch, a, b: a.view(2, 5))
    yield overhead("reshape", lambda torch, a, b: a.reshape(2, 5))
    yield overhead("transpose", lambda torch, a, b: a.view(2, 5).transpose(0, 1))
    yield overhead("cat", lambda torch, a, b: torch.cat((a, b)))
    yield overhead("stack", lambda torch, a, b: torch.stack((a, b)))
    yield overhead("clone", lambda torch, a, b: a.clone())
    yield overhead("zeros", lambda torch, a, b: torch.zeros(10))
    yield overhead("item", lambda torch, a, b: (a[0].item(), a)[1])
    yield overhead("linear", lambda torch, a, b: torch.nn.functional.linear(a.view(2, 5), b.view(2, 5)))
    yield overhead("relu, recording", lambda torch, a, b: torch.relu(a), grad=True)
    yield overhead("view(-1)", lambda torch, a, b: a.view(-1))
    yield overhead("unsqueeze", lambda torch, a, b: a.unsqueeze(0))
    yield overhead("expand", lambda torch, a, b: a.expand(3, 10))
    yield overhead("a[0]", lambda torch, a, b: a[0])
    yield overhead("a.add_(b)", lambda torch, a, b: a.add_(b))
    yield overhead("zero_", lambda torch, a, b: a.zero_())
    yield overhead("clamp", lambda torch, a, b: a.clamp(-1, 1))
    yield overhead("where", lambda torch, a, b: torch.where(a > 0, a, b))
    yield overhead("sigmoid", lambda torch, a, b: a.sigmoid())
    yield overhead("gelu", lambda torch, a, b: torch.nn.functional.gelu(a))
    yield overhead("leaky_relu", lambda torch, a, b: torch.nn.functional.leaky_relu(a, 0.1))
    yield overhead("log_softmax", lambda torch, a, b: torch.log_softmax(a.view(2, 5), 1))
    yield overhead("argmax", lambda torch, a, b: a.argmax())
    yield overhead("max", lambda torch, a, b: a.max())
    yield overhead("mse_loss", lambda torch, a, b: torch.nn.functional.mse_loss(a, b))
    yield overhead("detach", lambda torch, a, b: a.detach())
    yield overhead("rand", lambda torch, a, b: torch.rand(10))
    yield overhead("arange", lambda torch, a, b: torch.arange(10))
    yield overhead("tensor of a list", lambda torch, a, b: torch.tensor([1.0, 2.0, 3.0]))
    yield overhead("dropout", lambda torch, a, b: torch.nn.functional.dropout(a, 0.5))
    yield overhead("randn", lambda torch, a, b: torch.randn(10))
    yield overhead("randint", lambda torch, a, b: torch.randint(0, 10, (10,)))
    yield overhead("ones", lambda torch, a, b: torch.ones(2, 5))
    yield overhead("full", lambda torch, a, b: torch.full((10,), 0.5))
    yield overhead("zeros_like", lambda torch, a, b: torch.zeros_like(a))
    yield overhead("1 - a", lambda torch, a, b: 1 - a)
    yield overhead("a ** 2", lambda torch, a, b: a**2)
    yield overhead("a / b", lambda torch, a, b: a / b)
    yield overhead("a == b, all", lambda torch, a, b: (a == b).all())
    yield overhead("float() of int64", lambda torch, a, b: torch.zeros(10, dtype=torch.int64).float())
    yield overhead("a.view(2, 5).sum(1)", lambda torch, a, b: a.view(2, 5).sum(1))
    yield overhead("permute", lambda torch, a, b: a.view(1, 2, 5).permute(2, 0, 1))
    yield overhead("flatten", lambda torch, a, b: a.view(1, 2, 5).flatten(1))
    yield overhead("squeeze", lambda torch, a, b: a.view(1, 10).squeeze(0))
    yield overhead("chunk", lambda torch, a, b: a.chunk(2)[1])
    yield overhead("a[mask]", lambda torch, a, b: a[a > 0])
    yield overhead("topk", lambda torch, a, b: a.topk(3)[0])
    yield overhead("layer_norm", lambda torch, a, b: torch.nn.functional.layer_norm(a, (10,)))
    yield overhead("a[0], recording", lambda torch, a, b: a[0], grad=True)
    yield overhead("no_grad and a + b", without_grad, grad=True)
    yield Row("a[index], gather, embedding, cross_entropy, 100 x", "overhead", lookups, (1,), ("call",))
    yield Row("default_collate of 8 samples", "overhead", collation, (1,), ("call",))
    yield Row("chain of 100 and backward, 10 elements", "overhead", long_chain, (1,), ("call",))
    yield Row("MLP 20-40-40-3 and backward", "overhead", perceptron, (32,), ("call",))
    yield Row("Linear(20, 40)", "overhead", construction, (1,), ("call",))
    yield Row("Conv2d, LayerNorm, LSTM, Sequential", "overhead", constructions, (1,), ("call",))


def long_chain(torch: ModuleType, batch: int, backward: bool) -> Step:
    a, b = torch.from_numpy(array(10)).requires_grad_(), torch.from_numpy(array(10, seed=1))

    def call() -> Any:
        a.grad, x = None, a
        for _ in range(50):
            x = x * b + b
        x.sum().backward()
        return a.grad

    return call


def perceptron(torch: ModuleType, batch: int, backward: bool) -> Step:
    net, loss = mlp(torch), torch.nn.CrossEntropyLoss()
    x, y = torch.from_numpy(array(batch, 20)), torch.from_numpy(np.arange(batch) % 3)
    parameters = list(net.parameters())

    def call() -> Any:
        for parameter in parameters:
            parameter.grad = None
        result = loss(net(x), y)
        result.backward()
        return result

    return call


def without_grad(torch: ModuleType, a: Any, b: Any) -> Any:
    with torch.no_grad():
        return a + b


def lookups(torch: ModuleType, batch: int, backward: bool) -> Step:
    x, index = torch.from_numpy(array(2, 5)), torch.from_numpy(np.array([1, 0]))
    places, functional = torch.from_numpy(np.array([[1], [4]])), torch.nn.functional

    def hundred() -> Any:
        for _ in range(100):
            rows = x[index] + functional.embedding(index, x)
            result = x.gather(1, places).sum() + functional.cross_entropy(rows, index)
        return result

    return hundred


def collation(torch: ModuleType, batch: int, backward: bool) -> Step:
    importlib.import_module(f"{torch.__name__}.utils.data")
    x, y = torch.from_numpy(array(8, 5)), torch.from_numpy(np.arange(8))
    samples = [(x[i], y[i]) for i in range(8)]
    return lambda: torch.utils.data.default_collate(samples)[0]


def constructions(torch: ModuleType, batch: int, backward: bool) -> Step:
    nn = torch.nn

    def call() -> Any:
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LayerNorm(20), nn.ReLU(), nn.LSTM(8, 8))
        return net[1].weight

    return call


def construction(torch: ModuleType, batch: int, backward: bool) -> Step:
    return lambda: torch.nn.Linear(20, 40).weight


def rows() -> list[Row]:
    """Every row, in the order of the table."""
    from benchmarks.tensors import tensors  # which takes its tools from here

    groups = (
        convolutions, pools, resamplings, paddings, activations, recurrent, others, normalisations, transformers, losses,
        tables, tensors, optimizers, steps, networks, overheads,
    )  # fmt: skip
    return [row for group in groups for row in group()]


def cases() -> dict[str, Case]:
    """Every case by its label. The label is what the runner and its workers exchange."""
    found = [case for row in rows() for case in row.cases()]
    named = {case.label: case for case in found}
    assert len(named) == len(found), "two rows have the same name"
    return named
