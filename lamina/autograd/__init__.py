"""Automatic differentiation: modes, gradients, custom functions, checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lamina._later import later
from lamina.autograd import graph
from lamina.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # fmt: skip
from lamina.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck
from lamina.autograd.walk import backward, grad

if TYPE_CHECKING:  # imported when asked for
    from lamina.autograd import anomaly, function, functional, profiler, variable
    from lamina.autograd.anomaly import detect_anomaly, set_detect_anomaly
    from lamina.autograd.function import Function, FunctionCtx, once_differentiable
    from lamina.autograd.variable import Variable

__getattr__, __dir__ = later(globals())

__all__ = [
    "Function", "FunctionCtx", "GradcheckError", "Variable", "backward", "detect_anomaly", "enable_grad", "functional", "grad",
    "gradcheck", "gradgradcheck", "graph", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled", "no_grad",
    "once_differentiable", "profiler", "set_detect_anomaly", "set_grad_enabled",
]  # fmt: skip
