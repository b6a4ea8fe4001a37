"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

import lamina
import lamina.utils.data
from lamina import nn, optim

MODULES = (
    "lamina.nn.modules.module",
    "lamina.nn.modules._state",
    "lamina.nn.modules.container",
    "lamina.nn.modules.linear",
    "lamina.nn.modules.flatten",
    "lamina.nn.modules.activation",
    "lamina.nn.modules.padding",
    "lamina.nn.modules.lazy",
    "lamina.nn.modules.piecewise",
    "lamina.nn.modules.shuffle",
    "lamina.nn.modules.adaptive",
    "lamina.nn.modules.distance",
    "lamina.nn.modules.sparse",
    "lamina.autograd.profiler",
    "lamina.func",
    "lamina.profiler",
    "lamina.nn.utils.convert_parameters",
    "lamina.nn.utils.init",
    "lamina.nn.utils.parametrizations",
    "lamina.nn.utils.parametrize",
    "lamina.nn.utils.prune",
    "lamina.nn.modules.loss",
    "lamina.nn.modules.loss_margin",
    "lamina.nn.modules.loss_pointwise",
    "lamina.optim.sgd",
    "lamina.optim.adam",
    "lamina.optim.lr_scheduler._factors",
    "lamina.optim.lr_scheduler._combined",
    "lamina.optim.lr_scheduler._plateau",
    "lamina.optim.swa_utils",
    "lamina.utils._summary",
    "lamina.utils.data._collate",
    "lamina.utils.data.dataloader",
    "lamina.utils.data.dataset",
    "lamina.utils.data.sampler",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    data = {n: getattr(lamina.utils.data, n) for n in lamina.utils.data.__all__}
    names = {"lamina": lamina, "nn": nn, "optim": optim, **data}
    assert doctest.testmod(importlib.import_module(name), extraglobs=names).failed == 0
