"""lamina: PyTorch's layers, tensors and autograd on NumPy and oneDNN. Use it as ``import lamina as torch``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina import _dtypes, _index, autograd, engine, ops
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
from lamina._later import later
from lamina._settings import *  # noqa: F403  # what is accepted and has no effect
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
from lamina.random import Generator, default_generator
from lamina.version import __version__

from lamina import nn, random, utils  # isort: skip  # they build on the names above

if TYPE_CHECKING:  # imported when asked for
    from lamina import amp, compiler, cpu, fft, func, linalg, optim, serialization, signal, special, storage
    from lamina._config import get_num_threads, set_num_threads, show_config
    from lamina._formatting import set_printoptions
    from lamina._sparse import sparse_coo_tensor
    from lamina._typed import (
        BFloat16Tensor,
        BoolTensor,
        ByteTensor,
        CharTensor,
        DoubleTensor,
        FloatTensor,
        HalfTensor,
        IntTensor,
        LongTensor,
        ShortTensor,
    )  # fmt: skip
    from lamina._vmap import vmap
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
    from lamina.autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled, set_anomaly_enabled
    from lamina.compiler import compile
    from lamina.futures import Future
    from lamina.ops.torch_names import _assert, embedding
    from lamina.serialization import load, save
    from lamina.storage import TypedStorage, UntypedStorage
    from lamina.utils._objects import typename
    from lamina.utils._summary import summary

_FAR = (  # modules that no type checker has to follow: most bring much along, or are not here
    "__config__", "_dynamo", "accelerator", "ao", "backends", "cuda", "distributed", "distributions", "futures", "fx", "hub",
    "jit", "mps", "multiprocessing", "onnx", "profiler", "return_types", "testing", "types", "xpu",
)  # fmt: skip
_late, _names = later(globals(), _FAR)
e, inf, nan, pi, newaxis = _dtypes.E, _dtypes.INF, _dtypes.NAN, _dtypes.PI, None

def __getattr__(name: str) -> Any:
    globals()[name] = value = ops.FUNCTIONS[name] if name in ops.FUNCTIONS else _late(name)
    return value


def __dir__() -> list[str]:
    return sorted({*_names(), *ops.FUNCTIONS})


_modules = {name for name, value in globals().items() if isinstance(value, type(nn))}
_modules.update(_FAR, _index.LATER["lamina"]["lamina"].split())
__all__ = sorted({n for n in __dir__() if n[0] != "_"} - _modules - {"Any", "TYPE_CHECKING", "annotations", "later"})  # noqa: PLE0605
