"""lamina: PyTorch's layers, tensors and autograd on NumPy and oneDNN. Use it as ``import lamina as torch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina import _dtypes, autograd, engine, ops
from lamina._config import get_num_threads, set_num_threads, show_config
from lamina._dtypes import (
    Size,
    bool,
    cdouble,
    cfloat,
    channels_last,
    channels_last_3d,
    complex64,
    complex128,
    contiguous_format,
    device,
    double,
    dtype,
    finfo,
    float,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int,
    int8,
    int16,
    int32,
    int64,
    layout,
    long,
    memory_format,
    preserve_format,
    promote_types,
    set_default_dtype,
    short,
    strided,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from lamina._formatting import set_printoptions
from lamina._tensor import Tensor
from lamina.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # fmt: skip
from lamina.engine import memory
from lamina.ops import *  # noqa: F403  # the functions of the families, by their tables
from lamina.random import Generator, default_generator

from lamina import linalg, nn, func, optim, random, serialization, utils  # isort: skip  # they build on the names above
from lamina.serialization import load, save  # isort: skip

__version__ = "0.1.0"

e, inf, nan, pi, newaxis = _dtypes.E, _dtypes.INF, _dtypes.NAN, _dtypes.PI, None

if TYPE_CHECKING:  # the functions that the tables of lamina.ops bring

    def __getattr__(name: str) -> Any: ...
