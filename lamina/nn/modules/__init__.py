"""The layers by family; `lamina.nn` exports them."""

from __future__ import annotations

from lamina.nn.modules.activation import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Softplus, Tanh
from lamina.nn.modules.container import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from lamina.nn.modules.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout
from lamina.nn.modules.flatten import Flatten, Unflatten
from lamina.nn.modules.linear import Identity, Linear
from lamina.nn.modules.loss import CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from lamina.nn.modules.module import Module

__all__ = [
    "AlphaDropout",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "FeatureAlphaDropout",
    "CrossEntropyLoss",
    "Flatten",
    "GELU",
    "Identity",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "ParameterDict",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Unflatten",
]
