"""Training loops in the words of PyTorch's tutorials, run on both libraries: the numbers that they print must agree.

Each function takes the module, as ``import torch`` or ``import lamina as torch`` would name it, and returns what it prints.
"""

from __future__ import annotations

import copy
import math
import random

import numpy as np
import pytest
from support import need_torch

import lamina
import lamina.optim
import lamina.utils.data


def polynomial_by_hand(torch):
    """Gradients by autograd, the update by hand under no_grad."""
    x = torch.linspace(-math.pi, math.pi, 200)
    y = torch.sin(x)
    a, b, c = (torch.randn((), requires_grad=True) for _ in range(3))
    printed = []
    for t in range(60):
        y_pred = a + b * x + c * x**3
        loss = (y_pred - y).pow(2).mean()
        if t % 20 == 19:
            printed.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for w in (a, b, c):
                w -= 1e-3 * w.grad
                w.grad = None
    return [*printed, float(f"{a.item():.5f}"), b, c]


def logits_from_scratch(torch):
    """A classifier of nothing but tensors, with advanced indexing in its loss."""
    rng = np.random.default_rng(0)
    xs, ys = torch.tensor(rng.random((64, 10)), dtype=torch.float32), torch.from_numpy(rng.integers(0, 4, 64))
    weights = torch.randn(10, 4) / math.sqrt(10)
    weights.requires_grad_()
    bias = torch.zeros(4, requires_grad=True)

    def model(xb):
        z = xb @ weights + bias
        return z - z.exp().sum(-1).log().unsqueeze(-1)

    for start in range(0, 64, 16):
        xb, yb = xs[start : start + 16], ys[start : start + 16]
        loss = -model(xb)[range(yb.shape[0]), yb].mean()
        loss.backward()
        with torch.no_grad():
            weights -= weights.grad * 0.5
            bias -= bias.grad * 0.5
            weights.grad.zero_()
            bias.grad.zero_()
    accuracy = (torch.argmax(model(xs), dim=1) == ys).float().mean()
    return [loss, accuracy, weights]


def convolutional_classifier(torch):
    """A network class, a loader that shuffles, train and eval mode, a state dict that is loaded again."""
    nn, F = torch.nn, torch.nn.functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
            self.bn = nn.BatchNorm2d(4)
            self.conv2 = nn.Conv2d(4, 8, 3)
            self.dropout = nn.Dropout(0.25)
            self.fc = nn.Linear(8 * 3 * 3, 10)

        def forward(self, x):
            x = F.relu(self.bn(self.conv1(x)))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            return F.log_softmax(self.fc(torch.flatten(self.dropout(x), 1)), dim=1)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = torch.rand(48, 1, 8, 8).double(), torch.randint(0, 10, (48,))
    data = torch.utils.data
    train, test = data.random_split(data.TensorDataset(images, labels), [32, 16])
    loader = data.DataLoader(train, batch_size=8, shuffle=True)
    model = Net().double().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    printed = []
    for _ in range(2):
        model.train()
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = F.nll_loss(model(x), y)
            loss.backward()
            optimizer.step()
            printed.append(loss.item())
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
    again = Net().double()
    again.load_state_dict(model.state_dict())
    again.eval()
    correct = 0
    with torch.no_grad():
        for x, y in data.DataLoader(test, batch_size=16):
            prediction = again(x).argmax(dim=1, keepdim=True)
            correct += prediction.eq(y.view_as(prediction)).sum().item()
    return [*printed, correct, sum(p.numel() for p in model.parameters() if p.requires_grad)]


def character_network(torch):
    """A GRU over one-hot characters, gradients clipped, then a text drawn from what it learnt."""
    nn = torch.nn
    random.seed(0)
    text = "the quick brown fox jumps over the lazy dog. " * 4
    chars = sorted(set(text))
    ids = torch.tensor([chars.index(c) for c in text], dtype=torch.long)
    size = len(chars)
    rnn, decoder = nn.GRU(size, 24, batch_first=True), nn.Linear(24, size)
    parameters = [*rnn.parameters(), *decoder.parameters()]
    optimizer, criterion, printed = torch.optim.Adam(parameters, lr=1e-2), nn.CrossEntropyLoss(), []

    def one_hot(indices):
        t = torch.zeros(*indices.shape, size)
        return t.scatter_(-1, indices.unsqueeze(-1), 1)

    for _ in range(12):
        starts = [random.randint(0, len(ids) - 12) for _ in range(6)]
        chunk = torch.stack([ids[s : s + 11] for s in starts])
        hidden = torch.zeros(1, 6, 24)
        output, hidden = rnn(one_hot(chunk[:, :-1]), hidden)
        loss = criterion(decoder(output).reshape(-1, size), chunk[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        total = nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        printed += [loss.item(), total]
    hidden, last, drawn = torch.zeros(1, 1, 24), ids[:1].view(1, 1), []
    with torch.no_grad():
        for _ in range(10):
            output, hidden = rnn(one_hot(last), hidden)
            chosen = torch.multinomial(decoder(output).view(-1).div(0.8).exp(), 1)
            last = chosen.view(1, 1)
            drawn.append(chosen.item())
    return [*printed, *drawn]


def adversaries(torch):
    """Two networks trained in turn, initialised by apply()."""
    nn = torch.nn

    def start(m):
        if "Conv" in m.__class__.__name__:
            nn.init.normal_(m.weight.data, 0.0, 0.02)
        elif "BatchNorm" in m.__class__.__name__:
            nn.init.normal_(m.weight.data, 1.0, 0.02)
            nn.init.constant_(m.bias.data, 0)

    generator = nn.Sequential(
        nn.ConvTranspose2d(4, 8, 4, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU(True), nn.ConvTranspose2d(8, 1, 4, 2, 1),
        nn.Tanh(),
    )  # fmt: skip
    critic = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 4, 1, 0), nn.Sigmoid())
    generator.apply(start)
    critic.apply(start)
    criterion, printed = nn.BCELoss(), []
    of_critic = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.999))
    of_generator = torch.optim.Adam(generator.parameters(), lr=2e-3, betas=(0.5, 0.999))
    for _ in range(3):
        critic.zero_grad()
        label = torch.full((6,), 1.0, dtype=torch.float)
        real = criterion(critic(torch.rand(6, 1, 8, 8) * 2 - 1).view(-1), label)
        real.backward()
        fake = generator(torch.randn(6, 4, 1, 1))
        label.fill_(0.0)
        invented = criterion(critic(fake.detach()).view(-1), label)
        invented.backward()
        of_critic.step()
        generator.zero_grad()
        label.fill_(1.0)
        loss = criterion(critic(fake).view(-1), label)
        loss.backward()
        of_generator.step()
        printed += [(real + invented).item(), loss.item()]
    return printed


def gradient_penalty(torch):
    """The gradient of a gradient in the loss."""
    nn = torch.nn
    critic = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer, printed = torch.optim.SGD(critic.parameters(), lr=1e-2, momentum=0.9), []
    for _ in range(5):
        real, fake = torch.randn(16, 2), torch.randn(16, 2) + 1
        share = torch.rand(16, 1)
        mixed = (share * real + (1 - share) * fake).requires_grad_(True)
        score = critic(mixed)
        (slope,) = torch.autograd.grad(score, mixed, torch.ones_like(score), create_graph=True)
        penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        printed += [loss.item(), penalty.item()]
    return printed


def transfer(torch):
    """A pretrained body frozen, a new head, weights partly loaded, a hook that looks inside."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, i, o, stride=1):
            super().__init__()
            self.conv = nn.Conv2d(i, o, 3, stride, 1, bias=False)
            self.bn, self.relu = nn.BatchNorm2d(o), nn.ReLU(inplace=True)
            self.down = nn.Conv2d(i, o, 1, stride, bias=False) if stride != 1 or i != o else None

        def forward(self, x):
            out = self.bn(self.conv(x))
            out += x if self.down is None else self.down(x)
            return self.relu(out)

    def network(classes):
        blocks = Block(3, 8), Block(8, 8), Block(8, 16, 2)
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))

    body = network(10)
    for m in body.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    for p in body.parameters():
        p.requires_grad = False
    model = network(2)
    kept = {key: value for key, value in body.state_dict().items() if not key.startswith("5.")}
    missing = model.load_state_dict(kept, strict=False)
    best = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.05, momentum=0.9, weight_decay=1e-4)
    x, y, printed = torch.randn(6, 3, 12, 12), torch.tensor([0, 1, 0, 1, 1, 0]), []
    seen = {}
    handle = model[1].register_forward_hook(lambda module, args, output: seen.update(mean=output.detach().mean()))
    for phase in ("train", "val", "train"):
        model.train(phase == "train")
        optimizer.zero_grad()
        with torch.set_grad_enabled(phase == "train"):
            outputs = model(x)
            _, predictions = torch.max(outputs, 1)
            loss = nn.functional.cross_entropy(outputs, y)
            if phase == "train":
                loss.backward()
                optimizer.step()
        printed += [loss.item(), torch.sum(predictions == y.data).double().item() / len(x), seen["mean"]]
    handle.remove()
    model.load_state_dict(best)
    return [*printed, model.eval()(x).sum(), len(missing.missing_keys)]


def cells_step_by_step(torch):
    """LSTM cells in double precision, unrolled by hand, that go on to forecast."""
    nn = torch.nn
    wave = torch.from_numpy(np.sin(np.arange(40).reshape(2, 20) / 3.0))
    first, second, linear = nn.LSTMCell(1, 7).double(), nn.LSTMCell(7, 7).double(), nn.Linear(7, 1).double()
    model = nn.ModuleList([first, second, linear])
    optimizer, printed = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []

    def run(inputs, future=0):
        states = [torch.zeros(inputs.size(0), 7, dtype=torch.double) for _ in range(4)]
        outputs = []
        for step in (*inputs.split(1, dim=1), *[None] * future):
            states[0], states[1] = first(outputs[-1] if step is None else step, (states[0], states[1]))
            states[2], states[3] = second(states[0], (states[2], states[3]))
            outputs.append(linear(states[2]))
        return torch.cat(outputs, dim=1)

    for _ in range(4):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(run(wave[:, :-1]), wave[:, 1:])
        loss.backward()
        optimizer.step()
        printed.append(loss.item())
    with torch.no_grad():
        return [*printed, run(wave, future=5)[:, -5:]]


def variational_autoencoder(torch):
    """Noise inside the graph, a sum of two losses."""
    nn, F = torch.nn, torch.nn.functional
    encode, mean, spread, decode = nn.Linear(16, 12), nn.Linear(12, 3), nn.Linear(12, 3), nn.Linear(3, 16)
    model = nn.ModuleList([encode, mean, spread, decode])
    optimizer, printed, x = torch.optim.Adam(model.parameters(), lr=1e-3), [], torch.rand(8, 1, 4, 4)
    for _ in range(5):
        h = F.relu(encode(x.view(-1, 16)))
        mu, logvar = mean(h), spread(h)
        z = mu + torch.randn_like(logvar) * torch.exp(0.5 * logvar)
        rebuilt = torch.sigmoid(decode(z))
        loss = F.binary_cross_entropy(rebuilt, x.view(-1, 16), reduction="sum")
        loss = loss - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        printed.append(loss.item())
    return printed


def attention_by_hand(torch):
    """Heads by view and transpose, a mask by triu, positions in a buffer, embedding and output tied."""
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.qkv, self.out = nn.Embedding(20, 16), nn.Linear(16, 48), nn.Linear(16, 20, bias=False)
            self.norm = nn.LayerNorm(16)
            self.out.weight = self.embed.weight
            positions, rates = torch.arange(12.0).unsqueeze(1), torch.exp(torch.arange(0, 16, 2) * (-math.log(10000.0) / 16))
            table = torch.zeros(12, 16)
            table[:, 0::2], table[:, 1::2] = torch.sin(positions * rates), torch.cos(positions * rates)
            self.register_buffer("table", table)

        def forward(self, tokens):
            n, t = tokens.size()
            x = self.embed(tokens) * 4 + self.table[:t]
            q, k, v = (a.view(n, t, 4, 4).transpose(1, 2) for a in self.qkv(self.norm(x)).chunk(3, dim=-1))
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(4)
            scores = scores.masked_fill(torch.triu(torch.ones(t, t), diagonal=1).bool(), float("-inf"))
            x = x + (F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(n, t, 16)
            return self.out(x)

    model = Model()
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    optimizer, printed = torch.optim.Adam(model.parameters(), lr=1e-2), []
    tokens = torch.randint(1, 20, (4, 9))
    for _ in range(5):
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, logits.size(-1)), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        printed.append(loss.item())
    return [*printed, len(list(model.parameters())), logits.argmax(-1).tolist()[0]]


SCRIPTS = [
    polynomial_by_hand, logits_from_scratch, convolutional_classifier, character_network, adversaries, gradient_penalty, transfer,
    cells_step_by_step, variational_autoencoder, attention_by_hand,
]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda f: f.__name__)
def test_prints_the_same_numbers(script):
    printed = []
    for module in (lamina, need_torch()):
        module.manual_seed(1)
        printed.append([np.asarray(v.detach() if hasattr(v, "detach") else v) for v in script(module)])
    for ours, theirs in zip(*printed, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)  # float32, after some steps of training
