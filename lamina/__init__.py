"""lamina: PyTorch's layers, tensors and autograd on NumPy and oneDNN. Use it as ``import lamina as torch``."""

from __future__ import annotations

import importlib
from typing import Any

from lamina import _dtypes, _typed, autograd, engine, ops
from lamina._config import get_num_threads, set_num_threads, show_config
from lamina._dtypes import (
    Size,
    bfloat16,
    bool,
    can_cast,
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
    float8_e4m3fn,
    float8_e4m3fnuz,
    float8_e5m2,
    float8_e5m2fnuz,
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
    sparse_coo,
    strided,
    uint8,
    uint16,
    uint32,
    uint64,
)  # fmt: skip
from lamina._formatting import set_printoptions
from lamina._settings import *  # noqa: F403  # what is accepted and has no effect
from lamina._sparse import sparse_coo_tensor
from lamina._tensor import Tensor
from lamina.amp.autocast_mode import (
    autocast,
    clear_autocast_cache,
    get_autocast_cpu_dtype,
    get_autocast_dtype,
    get_autocast_gpu_dtype,
    is_autocast_cache_enabled,
    is_autocast_cpu_enabled,
    is_autocast_enabled,
    set_autocast_cache_enabled,
    set_autocast_dtype,
)  # fmt: skip
from lamina.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)  # fmt: skip
from lamina.autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled, set_anomaly_enabled
from lamina.compiler import compile
from lamina.engine import memory
from lamina.ops import *  # noqa: F403  # the functions of the families, by their tables
from lamina.ops.torch_names import _assert, embedding
from lamina.random import Generator, default_generator
from lamina.version import __version__

from lamina import amp, cpu, fft, linalg, signal, special, nn, func, optim, random, serialization, utils  # isort: skip  # they build on the names above
from lamina._vmap import vmap  # isort: skip
from lamina.storage import TypedStorage, UntypedStorage  # isort: skip
from lamina.serialization import load, save  # isort: skip
from lamina.utils._objects import typename  # isort: skip
from lamina.utils._summary import summary  # isort: skip

e, inf, nan, pi, newaxis = _dtypes.E, _dtypes.INF, _dtypes.NAN, _dtypes.PI, None

globals().update(_typed.TYPES)

_LATER = (  # looked at when a script asks: most of it brings much along, or is not here
    "__config__", "_dynamo", "accelerator", "ao", "backends", "cuda", "distributed", "distributions", "futures", "fx", "hub",
    "jit", "mps", "multiprocessing", "onnx", "profiler", "return_types", "testing", "types", "xpu",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return importlib.import_module(f"lamina.{name}")
    if name == "Future":
        return importlib.import_module("lamina.futures").Future
    raise AttributeError(f"module 'lamina' has no attribute {name!r}")
