"""lamina: PyTorch's layers, tensors and autograd on NumPy and oneDNN. Use it as ``import lamina as torch``."""

from __future__ import annotations

from lamina import _dtypes, autograd, engine, ops
from lamina._dtypes import (
    Size, bool, cdouble, cfloat, channels_last, channels_last_3d, complex64, complex128, contiguous_format, device, double, dtype,
    finfo, float, float16, float32, float64, get_default_dtype, half, iinfo, int, int8, int16, int32, int64, layout, long,
    memory_format, preserve_format, promote_types, set_default_dtype, short, strided, uint8, uint16, uint32, uint64,
)  # fmt: skip
from lamina._formatting import set_printoptions
from lamina.autograd import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled,
)  # fmt: skip
from lamina.ops import *  # noqa: F403  # the functions of the families, by their tables
from lamina._tensor import Tensor

__version__ = "0.1.0"

pi, e, inf, nan = 3.141592653589793, 2.718281828459045, float64.numpy.type("inf").item(), float64.numpy.type("nan").item()
newaxis = None
