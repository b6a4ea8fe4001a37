"""Networks that people train, each written once in PyTorch's words for ``torch`` or ``lamina`` as the module ``torch``.

A :class:`Model` names a network, the sizes at which it is timed, and smaller ones at which ``tests/test_models.py``
compares outputs, gradients and updated parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

# -- images --------------------------------------------------------------------------------------------------------


def lenet(torch: ModuleType, classes: int = 10) -> Any:
    """LeCun et al. 1998, with the ReLUs and max pools of today."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
    )  # fmt: skip


def resnet18(torch: ModuleType, width: int = 64, classes: int = 1000) -> Any:
    """He et al. 2015: eight blocks of two 3x3 convolutions."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.downsample = None
            if stride != 1 or inputs != outputs:
                self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            identity = x if self.downsample is None else self.downsample(x)
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += identity
            return self.relu(out)

    def stage(inputs: int, outputs: int, stride: int) -> Any:
        return nn.Sequential(Block(inputs, outputs, stride), Block(outputs, outputs, 1))

    w = width
    return nn.Sequential(
        nn.Conv2d(3, w, 7, 2, 3, bias=False), nn.BatchNorm2d(w), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        stage(w, w, 1), stage(w, 2 * w, 2), stage(2 * w, 4 * w, 2), stage(4 * w, 8 * w, 2),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(8 * w, classes),
    )  # fmt: skip


def vgg11(torch: ModuleType, width: int = 64, hidden: int = 4096, classes: int = 1000) -> Any:
    """Simonyan and Zisserman 2014, configuration A."""
    nn = torch.nn
    layers: list[Any] = []
    inputs = 3
    for outputs in (1, "pool", 2, "pool", 4, 4, "pool", 8, 8, "pool", 8, 8, "pool"):
        if isinstance(outputs, int):
            layers += [nn.Conv2d(inputs, outputs * width, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = outputs * width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d((7, 7)), nn.Flatten(),
        nn.Linear(inputs * 49, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, hidden), nn.ReLU(inplace=True),
        nn.Linear(hidden, classes),
    )  # fmt: skip


def mobilenet_v2(torch: ModuleType, width: float = 1.0, classes: int = 1000) -> Any:
    """Sandler et al. 2018: inverted residuals around depthwise convolutions."""
    nn = torch.nn

    def unit(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Any:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))

    class Inverted(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
            super().__init__()
            inner = inputs * expand
            self.residual = stride == 1 and inputs == outputs
            self.conv = nn.Sequential(
                *([unit(inputs, inner)] if expand > 1 else []),
                unit(inner, inner, 3, stride, inner),
                nn.Conv2d(inner, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.residual else self.conv(x)

    def channels(n: int) -> int:
        return max(8, int(n * width + 4) // 8 * 8)

    inputs = channels(32)
    layers = [unit(3, inputs, 3, 2)]
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, outputs, repeats, stride in table:
        for i in range(repeats):
            layers.append(Inverted(inputs, channels(outputs), stride if i == 0 else 1, expand))
            inputs = channels(outputs)
    last = channels(1280)
    return nn.Sequential(
        *layers, unit(inputs, last), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(last, classes)
    )


def unet(torch: ModuleType, width: int = 32, classes: int = 2) -> Any:
    """Ronneberger et al. 2015, with padded convolutions and batch norm: a class for every pixel."""
    nn = torch.nn

    def double(inputs: int, outputs: int) -> Any:
        layers: list[Any] = []
        for n in (inputs, outputs):
            layers += [nn.Conv2d(n, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [width << i for i in range(4)]
            self.down = nn.ModuleList(double(a, b) for a, b in zip([3, *sizes], sizes))  # noqa: B905
            self.pool = nn.MaxPool2d(2)
            self.bottom = double(sizes[-1], 2 * sizes[-1])
            self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, stride=2) for n in reversed(sizes))
            self.join = nn.ModuleList(double(2 * n, n) for n in reversed(sizes))
            self.out = nn.Conv2d(width, classes, 1)

        def forward(self, x: Any) -> Any:
            kept = []
            for down in self.down:
                x = down(x)
                kept.append(x)
                x = self.pool(x)
            x = self.bottom(x)
            for up, join in zip(self.up, self.join):  # noqa: B905
                x = join(torch.cat([kept.pop(), up(x)], dim=1))
            return self.out(x)

    return UNet()


def vit(torch: ModuleType, size: int = 224, patch: int = 16, width: int = 192, heads: int = 3, depth: int = 12) -> Any:
    """Dosovitskiy et al. 2020 in the size of DeiT-Tiny: patches of an image as the words of a transformer."""
    nn = torch.nn

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, patch, patch)
            self.token = nn.Parameter(torch.zeros(1, 1, width))
            self.position = nn.Parameter(0.02 * torch.randn(1, (size // patch) ** 2 + 1, width))
            settings = dict(dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
            layer = nn.TransformerEncoderLayer(width, heads, 4 * width, **settings)
            self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
            self.head = nn.Linear(width, 1000)

        def forward(self, x: Any) -> Any:
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.position
            return self.head(self.encoder(x)[:, 0])

    return ViT()


def dcgan(torch: ModuleType, width: int = 64, noise: int = 100) -> Any:
    """Radford et al. 2015, 64 x 64 pixels. ``generator`` and ``critic`` are its halves; calling it draws images."""
    nn = torch.nn
    w = width

    def grow(inputs: int, outputs: int, stride: int = 2, padding: int = 1) -> list[Any]:
        conv = nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(True)]

    def shrink(inputs: int, outputs: int) -> list[Any]:
        conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True)]

    class DCGAN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = nn.Sequential(
                *grow(noise, 8 * w, 1, 0), *grow(8 * w, 4 * w), *grow(4 * w, 2 * w), *grow(2 * w, w),
                nn.ConvTranspose2d(w, 3, 4, 2, 1, bias=False), nn.Tanh(),
            )  # fmt: skip
            self.critic = nn.Sequential(
                nn.Conv2d(3, w, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
                *shrink(w, 2 * w), *shrink(2 * w, 4 * w), *shrink(4 * w, 8 * w),
                nn.Conv2d(8 * w, 1, 4, 1, 0, bias=False), nn.Flatten(0),
            )  # fmt: skip

        def forward(self, z: Any) -> Any:
            return self.generator(z)

    return DCGAN()


# -- sequences -----------------------------------------------------------------------------------------------------


def char_lstm(torch: ModuleType, symbols: int = 96, width: int = 128, hidden: int = 256) -> Any:
    """A language model over characters: two layers of LSTM, a distribution after every character."""
    nn = torch.nn

    class CharLSTM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(symbols, width)
            self.lstm = nn.LSTM(width, hidden, num_layers=2, batch_first=True)
            self.out = nn.Linear(hidden, symbols)

        def forward(self, x: Any) -> Any:
            return self.out(self.lstm(self.embedding(x))[0]).transpose(1, 2)

    return CharLSTM()


def gru_tagger(torch: ModuleType, words: int = 10_000, width: int = 100, hidden: int = 128, tags: int = 17) -> Any:
    """A tag for every word, from a GRU that reads both ways."""
    nn = torch.nn

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, width)
            self.gru = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
            self.out = nn.Linear(2 * hidden, tags)

        def forward(self, x: Any) -> Any:
            return self.out(self.gru(self.embedding(x))[0]).transpose(1, 2)

    return Tagger()


def transformer(
    torch: ModuleType, words: int = 10_000, width: int = 256, heads: int = 4, depth: int = 6, longest: int = 128
) -> Any:
    """A text classifier: Vaswani et al. 2017's encoder of six layers, the mean over the positions, two classes."""
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(words, width)
            self.positions = nn.Embedding(longest, width)
            layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, depth)
            self.out = nn.Linear(width, 2)

        def forward(self, x: Any) -> Any:
            x = self.words(x) + self.positions(torch.arange(x.shape[1]))
            return self.out(self.encoder(x).mean(dim=1))

    return Classifier()


def mlp(torch: ModuleType) -> Any:
    """A perceptron of three layers, so small that everything but arithmetic shows."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))


# -- how they are fed and trained ----------------------------------------------------------------------------------

Shape = tuple[int, ...]
Update = Callable[[], Any]


def numbers(shape: Shape, below: int | None = None, seed: int = 0) -> np.ndarray:
    """Normal numbers, or integers ``below`` a bound."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape, dtype="float32") if below is None else rng.integers(0, below, shape)


@dataclass(frozen=True)
class Model:
    """A network with its data.

    ``shape`` is that of one sample when the network is used and ``training`` when it is trained, by ``batch`` samples;
    ``words`` are the integers that a sample consists of, if it does. ``tiny`` are settings of ``build`` and ``tiny_shape``
    a sample for tests.
    """

    name: str
    build: Callable[..., Any]
    shape: Shape
    classes: int
    batch: int
    tiny: dict[str, Any]
    tiny_shape: Shape
    training: Shape | None = None
    words: int | None = None
    per_position: bool = False  # a class for every pixel or word
    optimizer: str = "Adam"
    settings: dict[str, Any] | None = None

    def make(self, torch: ModuleType, **settings: Any) -> Any:
        torch.manual_seed(0)
        return self.build(torch, **settings)

    def sample(self, torch: ModuleType, batch: int, shape: Shape, words: int | None) -> Any:
        return torch.from_numpy(numbers((batch, *shape), words))

    def updater(self, torch: ModuleType, net: Any, x: Any, classes: int) -> Update:
        """What trains the network for one step, always on the same batch, and returns the loss."""
        settings = self.settings or dict(lr=1e-3)
        if self.build is dcgan:
            return adversaries(torch, net, x, settings)
        places = (x.shape[0], *x.shape[2 if x.dim() > 2 else 1 :]) if self.per_position else x.shape[:1]
        y = torch.from_numpy(numbers(tuple(places), classes, seed=1))
        criterion = torch.nn.CrossEntropyLoss()
        optimizer = getattr(torch.optim, self.optimizer)(net.parameters(), **settings)
        net.train()

        def update() -> Any:
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return update


def adversaries(torch: ModuleType, net: Any, z: Any, settings: dict[str, Any]) -> Update:
    """One step of the critic on real and drawn images, and one of the generator."""
    criterion = torch.nn.BCEWithLogitsLoss()
    sharpen = torch.optim.Adam(net.critic.parameters(), **settings)
    improve = torch.optim.Adam(net.generator.parameters(), **settings)
    net.train()
    with torch.no_grad():
        real = torch.from_numpy(numbers(tuple(net(z).shape), seed=1)).to(z.dtype).clamp(-1, 1)
    ones, zeros = z.new_ones(len(z)), z.new_zeros(len(z))

    def update() -> Any:
        drawn = net(z)
        sharpen.zero_grad()
        loss = criterion(net.critic(real), ones) + criterion(net.critic(drawn.detach()), zeros)
        loss.backward()
        sharpen.step()
        improve.zero_grad()
        wish = criterion(net.critic(drawn), ones)
        wish.backward()
        improve.step()
        return loss + wish

    return update


MOMENTUM = dict(optimizer="SGD", settings=dict(lr=0.01, momentum=0.9, weight_decay=1e-4))
SMALL = dict(width=8, classes=7)

MODELS = (
    Model("LeNet", lenet, (1, 28, 28), 10, 64, dict(classes=10), (1, 28, 28)),
    Model("ResNet-18", resnet18, (3, 224, 224), 1000, 8, SMALL, (3, 40, 40), (3, 64, 64), **MOMENTUM),
    Model("VGG-11", vgg11, (3, 224, 224), 1000, 8, dict(hidden=16, **SMALL), (3, 64, 64), (3, 64, 64), **MOMENTUM),
    Model("MobileNetV2", mobilenet_v2, (3, 224, 224), 1000, 8, dict(width=0.25, classes=7), (3, 64, 64), (3, 96, 96), **MOMENTUM),
    Model("U-Net", unet, (3, 128, 128), 2, 4, dict(width=12), (3, 32, 32), per_position=True),
    Model("DCGAN", dcgan, (100, 1, 1), 0, 16, dict(width=8, noise=12), (12, 1, 1), settings=dict(lr=2e-4, betas=(0.5, 0.999))),
    Model("char-LSTM", char_lstm, (64,), 96, 32, dict(width=8, hidden=16), (12,), words=96, per_position=True),
    Model(
        "GRU tagger", gru_tagger, (32,), 17, 32, dict(words=50, width=8, hidden=16), (12,), words=10_000, per_position=True
    ),
    Model(
        "Transformer, 6 layers", transformer, (128,), 2, 8, dict(words=50, width=16, depth=2), (12,), words=10_000
    ),
    Model("ViT-tiny", vit, (3, 224, 224), 1000, 4, dict(size=32, patch=8, width=24, depth=2), (3, 32, 32)),
    Model("MLP 20-40-40-3", mlp, (20,), 3, 32, {}, (20,)),
)  # fmt: skip

COLD = ("LeNet", "ResNet-18", "char-LSTM", "Transformer, 6 layers")  # whose first result in a fresh process is timed


def by_name(name: str) -> Model:
    return next(model for model in MODELS if model.name == name)
