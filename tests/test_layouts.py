"""Channels-last flows from layer to layer, and nobody sees it: strides, views, sharing and contiguity stay PyTorch's."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from support import assert_same, at_once, need_torch

import lamina
from lamina import nn


def hidden():
    """The result of a convolution, which lies channels-last in fact."""
    lamina.manual_seed(0)
    with lamina.no_grad():
        return nn.Conv2d(3, 8, 3, padding=1)(lamina.randn(2, 3, 8, 8))


def test_the_layout_flows_through_a_network(each_engine):
    if each_engine == "reference":
        pytest.skip("the reference engine computes in plain order")
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.AvgPool2d(2),
    )
    y = lamina.randn(4, 3, 16, 16)
    for layer in model:
        y = layer(y)
        assert y._hidden and not y._a.flags.c_contiguous, (
            f"{type(layer).__name__} lost the channels-last order"
        )


OBSERVERS = {
    "stride": lambda t: t.stride(),
    "is_contiguous": lambda t: t.is_contiguous(),
    "view": lambda t: t.view(2, -1).sum(1),
    "flatten": lambda t: t.flatten(1),
    "slice": lambda t: t[:, 1:3, ::2],
    "slice stride": lambda t: t[:, 1:3, ::2].stride(),
    "int index": lambda t: t[1],
    "transpose": lambda t: t.transpose(1, 3).stride(),
    "permute": lambda t: t.permute(0, 2, 3, 1).is_contiguous(),
    "numpy": lambda t: t.numpy().flags.c_contiguous,
    "numpy strides": lambda t: t.numpy().strides,
    "detach": lambda t: t.detach().stride(),
    "data": lambda t: t.data.stride(),
    "chunk": lambda t: t.chunk(2, 1)[1].stride(),
    "unbind": lambda t: t.unbind(1)[0].stride(),
    "elementwise stride": lambda t: (t * 2 + 1).stride(),
    "relu stride": lambda t: t.relu().stride(),
    "clone stride": lambda t: t.clone().stride(),
    "contiguous": lambda t: t.contiguous() is t,
    "to": lambda t: t.to(dtype=t.dtype) is t,
    "double stride": lambda t: t.double().stride(),
    "as_strided": lambda t: t.as_strided((2, 2), (1, 8)),
    "unfold": lambda t: t.unfold(2, 3, 2).shape,
    "expand": lambda t: t.unsqueeze(0).expand(2, 2, 8, 8, 8).stride(),
    "tolist": lambda t: t.tolist()[0][0][0],
    "storage_offset": lambda t: t[1, 2].storage_offset(),
    "repeat stride": lambda t: t.repeat(1, 2, 1, 1).stride(),
    "iteration": lambda t: [s.stride() for s in t],
    "repr": lambda t: repr(t[0, 0, :2]),
    "comparison": lambda t: (t > 0).stride(),
    "sum": lambda t: t.sum(1).stride(),
    "mean pixel": lambda t: t.mean((2, 3)),
    "reshape shares": lambda t: t.reshape(-1).stride(),
    "T": lambda t: t[0, 0].T.stride(),
    "argmax": lambda t: t.argmax(),
    "flat argmax": lambda t: t.view(-1).argmax(),
    "cumsum": lambda t: t.cumsum(0).stride(),
    "sort": lambda t: t.sort(1)[0].stride(),
    "nonzero": lambda t: (t > 2).nonzero(),
    "masked": lambda t: t[t > 1.5],
    "index": lambda t: t.flatten()[5:8],
    "deepcopy": lambda t: copy.deepcopy(t.detach()).stride(),
    "matmul": lambda t: (t @ t.transpose(2, 3)).stride(),
}  # fmt: skip


@pytest.mark.parametrize("name", OBSERVERS)
def test_observers_see_plain_order(name, each_engine):
    torch = need_torch()
    y = hidden()
    theirs = torch.from_numpy(y.clone().numpy().copy())
    y = hidden()
    a, b = OBSERVERS[name](y), OBSERVERS[name](theirs)
    if hasattr(b, "dtype"):
        assert_same(a, b)
    else:
        assert a == b


def test_sharing_after_a_look(each_engine):
    y = hidden()
    array = y.numpy()
    array[0, 0, 0, 0] = 123
    assert y[0, 0, 0, 0].item() == 123
    view = y.view(-1)
    view[1] = 7
    assert array[0, 0, 0, 1] == 7 and y.detach()[0, 0, 0, 1].item() == 7


def test_writes_before_and_after_a_look(each_engine):
    y = hidden()
    before = y.clone()
    y.mul_(2)
    row = y[0]
    row.add_(1)
    assert_same(y[0], (before[0] * 2 + 1).numpy())
    assert_same(y[1], (before[1] * 2).numpy())
    d = hidden()
    e = d.detach()
    e.zero_()
    assert d.abs().sum().item() == 0


def test_gradients_have_the_order_of_their_leaves(each_engine):
    x = lamina.randn(2, 3, 8, 8, requires_grad=True)
    layer = nn.Conv2d(3, 8, 3)
    layer(x).relu().sum().backward()
    assert x.grad.is_contiguous() and x.grad.stride() == x.stride()
    assert layer.weight.grad.is_contiguous() and layer.weight.grad.numpy().flags.c_contiguous


def test_pickle_and_deepcopy(each_engine):
    y = hidden()
    for twin in (pickle.loads(pickle.dumps(y)), copy.deepcopy(y)):
        assert twin.stride() == y.stride() and lamina.equal(twin, y)


def test_channels_last_asked_for_is_seen():
    torch = need_torch()
    x = lamina.randn(2, 3, 4, 5)
    theirs = torch.from_numpy(x.numpy().copy())
    a, b = x.to(memory_format=lamina.channels_last), theirs.to(memory_format=torch.channels_last)
    assert a.stride() == b.stride() and not a.is_contiguous()
    assert a.is_contiguous(memory_format=lamina.channels_last)
    assert (a * 2).stride() == (b * 2).stride() and a.relu().stride() == b.relu().stride()
    assert a.contiguous().stride() == b.contiguous().stride()


def test_python_threads_train_at_once(each_engine):
    """Four threads, each with its own network: the same result as one after the other."""

    def train(seed):
        generator = lamina.Generator().manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 64, 4)
        )
        with lamina.no_grad():
            for p in model.parameters():
                p.copy_(lamina.randn(p.shape, generator=generator) * 0.1)
        optimizer = lamina.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, t = (
            lamina.randn(8, 2, 16, 16, generator=generator),
            lamina.randint(0, 4, (8,), generator=generator),
        )
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), t)
            loss.backward()
            optimizer.step()
        return loss.item()

    expected = [train(i) for i in range(4)]
    found = [None] * 4

    def work(i):
        for _ in range(3):
            found[i] = train(i)

    at_once(work, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 1, 7), (3, 0, 2), (6, 5), (), (2, 1, 3, 1, 4)])
@pytest.mark.parametrize("order", ["last", "reversed", "strided", "flipped", "broadcast"])
def test_copies_into_plain_order(shape, order, each_engine):
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    if x.size:
        x.flat[0] = np.nan
    if x.ndim:
        x = {
            "last": lambda: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0),
            "reversed": lambda: np.ascontiguousarray(x.T).T,
            "strided": lambda: np.repeat(x, 2, axis=-1)[..., ::2],
            "flipped": lambda: x[::-1],
            "broadcast": lambda: np.broadcast_to(x, (3, *shape)),
        }[order]()
    y = lamina.engine.kernels.contiguous(x)
    assert y.flags.c_contiguous and not np.shares_memory(x, y)
    np.testing.assert_array_equal(y, x)
