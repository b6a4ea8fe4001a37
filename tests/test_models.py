"""The networks of the benchmark, small: outputs, gradients and what two steps of training make of them must be PyTorch's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import need_torch

import lamina
import lamina.optim

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("needs the checkout", allow_module_level=True)


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.models import MODELS

    return {model.name: model for model in MODELS}


NAMES = (
    "LeNet", "ResNet-18", "VGG-11", "MobileNetV2", "U-Net", "DCGAN", "char-LSTM", "GRU tagger", "Transformer, 6 layers",
    "ViT-tiny", "MLP 20-40-40-3",
)  # fmt: skip

CLOSE = {"float32": 1e-5, "float64": 1e-10}  # as a share of the length of an array


def trained(model, torch, dtype):
    """The outputs of a new network in use, its gradients after the first step, and its state after the second."""
    dtype = getattr(torch, dtype)
    net = model.make(torch, **model.tiny).to(dtype)
    words, classes = model.tiny.get("words", model.words), model.tiny.get("classes", model.classes)
    x = model.sample(torch, 3, model.tiny_shape, words)
    x = x if words else x.to(dtype)
    net.eval()
    with torch.no_grad():
        found = {"output": net(x), "output of one": net(x[:1])}
    update = model.updater(torch, net, x, classes)
    found["loss"] = update()
    found |= {f"gradient of {name}": p.grad.clone() for name, p in net.named_parameters()}
    found["second loss"] = update()
    found |= {f"final {name}": value for name, value in net.state_dict().items()}
    return {name: value.detach().numpy() for name, value in found.items()}


def distance(ours, theirs):
    """How far apart two arrays are, as a share of the second one's length, which counts as at least 0.01 per element."""
    assert ours.shape == theirs.shape
    ours, theirs = ours.astype("float64"), theirs.astype("float64")
    return np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 0.01 * theirs.size**0.5)


def test_every_model_is_named(models):
    assert tuple(models) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_are_those_of_torch(models, name):
    """In float64 to rounding; in float32 lamina may be four times as far from that as PyTorch is."""
    model, torch = models[name], need_torch()
    if model.optimizer == "Adam":  # a larger epsilon, so that a gradient of nothing but rounding moves no parameter
        model = replace(model, settings={**(model.settings or {"lr": 1e-3}), "eps": 1e-2})
    truth = trained(model, torch, "float64")
    for dtype, close in CLOSE.items():
        ours, theirs = trained(model, lamina, dtype), trained(model, torch, dtype)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key].dtype == value.dtype
            apart, allowed = distance(ours[key], truth[key]), 4 * distance(value, truth[key]) + close
            assert apart < allowed, f"{dtype}, {key}: off by {apart:.2g}, of {allowed:.2g} allowed"
