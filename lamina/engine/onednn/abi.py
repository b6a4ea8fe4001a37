"""The C interface of oneDNN 3.x: names for its numbers, types for its calls, an error for its statuses."""
from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from . import loader

# data types, propagation kinds
F32, S32, S8, U8 = 3, 4, 5, 6
FORWARD_TRAINING, FORWARD_INFERENCE = 64, 96
BACKWARD, BACKWARD_DATA, BACKWARD_WEIGHTS = 128, 160, 192

# execution arguments
SRC, SRC_1, SRC_2, SRC_3 = 1, 2, 3, 4
DST, DST_1, DST_2 = 17, 18, 19
WEIGHTS, WEIGHTS_1, WEIGHTS_2, WEIGHTS_3 = 33, 34, 35, 36
BIAS, MEAN, VARIANCE, SCALE, SHIFT = 41, 49, 50, 51, 52
WORKSPACE, SCRATCHPAD = 64, 80
DIFF_SRC, DIFF_SRC_1, DIFF_SRC_2 = 129, 130, 131
DIFF_DST, DIFF_DST_1, DIFF_DST_2 = 145, 146, 147
DIFF_WEIGHTS, DIFF_WEIGHTS_1, DIFF_WEIGHTS_2, DIFF_WEIGHTS_3 = 161, 162, 163, 164
DIFF_BIAS, DIFF_SCALE, DIFF_SHIFT = 169, 255, 256
SRC_LAYER, SRC_ITER, SRC_ITER_C = SRC, SRC_1, SRC_2
DST_LAYER, DST_ITER, DST_ITER_C = DST, DST_1, DST_2
WEIGHTS_LAYER, WEIGHTS_ITER = WEIGHTS, WEIGHTS_1
MULTIPLE_SRC, POST_OP_BASE = 1024, 32768


def post_op_src(index: int) -> int:
    """The execution argument that holds the second operand of the binary post-op number `index`."""
    return POST_OP_BASE * (index + 1) | SRC_1


# algorithms
CONVOLUTION_DIRECT, DECONVOLUTION_DIRECT = 0x1, 0xA
(RELU, TANH, ELU, SQUARE, ABS, SQRT, LINEAR, SOFT_RELU, HARDSIGMOID, LOGISTIC, EXP, GELU_TANH, SWISH, LOG,
 CLIP, CLIP_V2, POW, GELU_ERF, ROUND, MISH, HARDSWISH) = range(0x20, 0x35)
(RELU_DST, TANH_DST, ELU_DST, SQRT_DST, LOGISTIC_DST, EXP_DST, CLIP_V2_DST) = range(0x100, 0x107)
POOLING_MAX, POOLING_AVG_INCLUDE_PADDING, POOLING_AVG_EXCLUDE_PADDING = 0x1FF, 0x2FF, 0x3FF
LRN_ACROSS_CHANNELS, LRN_WITHIN_CHANNEL = 0xAFF, 0xBFF
(ADD, MUL, MAX, MIN, DIV, SUB, GE, GT, LE, LT, EQ, NE) = range(0x1FFF0, 0x1FFFC)
RESAMPLING_NEAREST, RESAMPLING_LINEAR = 0x2FFF0, 0x2FFF1
REDUCTION_MAX, REDUCTION_MIN, REDUCTION_SUM, REDUCTION_MUL, REDUCTION_MEAN = range(0x2FFF2, 0x2FFF7)
SOFTMAX_ACCURATE, SOFTMAX_LOG = 0x30000, 0x30001

# normalisation flags, RNN directions
USE_GLOBAL_STATS, USE_SCALE, USE_SHIFT, FUSE_NORM_RELU = 0x1, 0x2, 0x4, 0x8
LEFT_TO_RIGHT, RIGHT_TO_LEFT, BIDIRECTIONAL_CONCAT, BIDIRECTIONAL_SUM = 1, 2, 3, 4

# queries
QUERY_IMPL_INFO, QUERY_SCRATCHPAD, QUERY_EXEC_ARG = 8, 136, 255
QUERY_SRC, QUERY_WEIGHTS, QUERY_DST, QUERY_WORKSPACE = 129, 131, 133, 135

TAG_ANY = 1
MAX_NDIM = 12
UNIMPLEMENTED = 3
STATUSES = ("success", "out_of_memory", "invalid_arguments", "unimplemented", "last_impl_reached",
            "runtime_error", "not_required")
ISAS = {0x1: "SSE4.1", 0x3: "AVX", 0x7: "AVX2", 0xF: "AVX2 VNNI", 0x1F: "AVX2 VNNI 2", 0x27: "AVX512",
        0x67: "AVX512 VNNI", 0xE7: "AVX512 BF16", 0x1EF: "AVX512 FP16", 0x3EF: "AVX512 AMX",
        0xFEF: "AVX512 AMX", 0x1FEF: "AVX512 AMX FP16"}

Dims = ctypes.c_int64 * MAX_NDIM
_P, _I, _U, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint, ctypes.c_float
_D = ctypes.POINTER(ctypes.c_int64)
_OUT = ctypes.POINTER(ctypes.c_void_p)
_CODES: dict[str, Any] = {"p": _P, "i": _I, "u": _U, "f": _F, "D": _D, "o": _OUT, "z": ctypes.c_size_t,
                          "l": ctypes.c_int64, "F": ctypes.POINTER(ctypes.c_float)}

# dnnl_<name>_primitive_desc_create(pd*, engine, <these>, attr):  p descriptor or hint, i int, f float, u
# flags, D dims
PRIMITIVES = {
    "eltwise_forward": "iippff",             # prop, alg, src, dst, alpha, beta
    "eltwise_backward": "ipppffp",           # alg, diff_src, diff_dst, data, alpha, beta, hint
    "binary": "ippp",                        # alg, src0, src1, dst
    "matmul": "pppp",                        # src, weights, bias, dst
    "reduction": "ippff",                    # alg, src, dst, p, eps
    "softmax_forward": "iippi",              # prop, alg, src, dst, axis
    "softmax_backward": "ipppip",            # alg, diff_src, diff_dst, dst, axis, hint
    "inner_product_forward": "ipppp",        # prop, src, weights, bias, dst
    "inner_product_backward_data": "pppp",   # diff_src, weights, diff_dst, hint
    "inner_product_backward_weights": "ppppp",   # src, diff_weights, diff_bias, diff_dst, hint
    "convolution_forward": "iippppDDDD",     # prop, alg, src, weights, bias, dst, strides, dilates, pads
    "convolution_backward_data": "ipppDDDDp",        # alg, diff_src, weights, diff_dst, ..., hint
    "convolution_backward_weights": "ippppDDDDp",    # alg, src, diff_weights, diff_bias, diff_dst, ..., hint
    "deconvolution_forward": "iippppDDDD",
    "deconvolution_backward_data": "ipppDDDDp",
    "deconvolution_backward_weights": "ippppDDDDp",
    "pooling_forward": "iippDDDDD",          # prop, alg, src, dst, strides, kernel, dilation, pad_l, pad_r
    "pooling_backward": "ippDDDDDp",         # alg, diff_src, diff_dst, strides, ..., hint
    "batch_normalization_forward": "ippfu",  # prop, src, dst, epsilon, flags
    "batch_normalization_backward": "ipppfup",       # prop, diff_src, diff_dst, src, epsilon, flags, hint
    "layer_normalization_forward": "ipppfu",         # prop, src, dst, statistics, epsilon, flags
    "layer_normalization_backward": "ippppfup",      # prop, diff_src, diff_dst, src, statistics, ..., hint
    "lrn_forward": "iipplfff",               # prop, alg, src, dst, local_size, alpha, beta, k
    "lrn_backward": "ippplfffp",
    "resampling_forward": "iiFpp",           # prop, alg, factors, src, dst
    "resampling_backward": "iFppp",          # alg, factors, diff_src, diff_dst, hint
    "prelu_forward": "ippp",                 # prop, src, weights, dst
    "prelu_backward": "pppppp",              # src, weights, diff_src, diff_weights, diff_dst, hint
    "shuffle_forward": "ippil",              # prop, src, dst, axis, group_size
    # prop, activation, direction, src_layer, src_iter, weights_layer, weights_iter, bias, dst_layer,
    # dst_iter, flags, alpha, beta; backward repeats the seven descriptors for the gradients before the
    # flags and takes a hint
    "vanilla_rnn_forward": "iii" + "ppppppp" + "uff",
    "vanilla_rnn_backward": "iii" + "ppppppp" * 2 + "uffp",
    # src_layer, src_iter, src_iter_c, weights_layer, weights_iter, peephole, projection, bias, dst_layer,
    # dst_iter, dst_iter_c
    "lstm_forward": "ii" + "ppppppppppp" + "u",
    "lstm_backward": "ii" + "ppppppppppp" * 2 + "up",
    "lbr_gru_forward": "ii" + "ppppppp" + "u",
    "lbr_gru_backward": "ii" + "ppppppp" * 2 + "up",
    "gru_forward": "ii" + "ppppppp" + "u",
    "gru_backward": "ii" + "ppppppp" * 2 + "up",
}
OTHERS = {
    "dnnl_engine_create": "oiz",
    "dnnl_stream_create": "opu",
    "dnnl_memory_desc_create_with_strides": "oiDiD",
    "dnnl_memory_desc_create_with_tag": "oiDii",
    "dnnl_memory_desc_destroy": "p",
    "dnnl_memory_desc_equal": "pp",
    "dnnl_memory_create": "oppp",
    "dnnl_memory_destroy": "p",
    "dnnl_memory_set_data_handle": "pp",
    "dnnl_primitive_create": "op",
    "dnnl_primitive_destroy": "p",
    "dnnl_primitive_execute": "ppip",
    "dnnl_primitive_desc_destroy": "p",
    "dnnl_primitive_desc_query": "piip",
    "dnnl_primitive_attr_create": "o",
    "dnnl_primitive_attr_destroy": "p",
    "dnnl_primitive_attr_set_scratchpad_mode": "pi",
    "dnnl_primitive_attr_set_post_ops": "pp",
    "dnnl_post_ops_create": "o",
    "dnnl_post_ops_destroy": "p",
    "dnnl_post_ops_append_eltwise": "piff",
    "dnnl_post_ops_append_binary": "pip",
    "dnnl_post_ops_append_sum": "pfii",
    "dnnl_reorder_primitive_desc_create": "oppppp",   # pd*, src, engine, dst, engine, attr
    "dnnl_concat_primitive_desc_create": "opp" + "ii" + "pp",   # pd*, engine, dst, n, axis, srcs[], attr
    "dnnl_sum_primitive_desc_create": "opp" + "i" + "Fpp",      # pd*, engine, dst, n, scales[], srcs[], attr
    "dnnl_get_effective_cpu_isa": "",
}


class ExecArg(ctypes.Structure):
    """dnnl_exec_arg_t"""

    _fields_ = [("arg", ctypes.c_int), ("memory", ctypes.c_void_p)]


class Handle:
    """A oneDNN object, destroyed with its last reference (or never: None); ctypes takes it for a pointer."""

    __slots__ = ("_as_parameter_", "_destroy", "count")

    def __init__(self, value: int, destroy: Any) -> None:
        self._as_parameter_ = value
        self._destroy = destroy
        self.count = 0      # of a primitive descriptor: the threads that it was made for

    @property
    def value(self) -> int:
        return self._as_parameter_

    def __del__(self) -> None:
        if self._destroy is not None:
            self._destroy(self._as_parameter_)


_bound: loader.Library | None = None


def library() -> loader.Library:
    """The loaded library with every signature set; raises RuntimeError where there is none."""
    global _bound
    if _bound is None:
        found = loader.load()
        if found is None:
            raise RuntimeError(f"oneDNN is not available: {loader.problem()}")
        for name, codes in PRIMITIVES.items():
            _sign(found.dll, f"dnnl_{name}_primitive_desc_create", "op" + codes + "p")
        for name, codes in OTHERS.items():
            for dll in (found.dll, found.quick):
                _sign(dll, name, codes)
        for dll in (found.dll, found.quick):
            dll.dnnl_primitive_desc_query_md.argtypes = [_P, _I, _I]
            dll.dnnl_primitive_desc_query_md.restype = _P
            dll.dnnl_memory_desc_get_size.argtypes = [_P]
            dll.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        _bound = found
    return _bound


def _sign(dll: ctypes.CDLL, name: str, codes: str) -> None:
    function = getattr(dll, name)
    function.argtypes = [_CODES[code] for code in codes]
    function.restype = ctypes.c_int


def check(status: int, call: str) -> None:
    """Raise RuntimeError with the status's name unless it is success."""
    if status:
        name = STATUSES[status] if 0 <= status < len(STATUSES) else "unknown"
        raise RuntimeError(f"oneDNN: {call} failed with status {status} ({name})")


def create(name: str, *args: Any, destroy: str | None) -> Handle:
    """Call `dnnl_<name>(out, *args)` and own what it makes; `dnnl_<destroy>_destroy` ends it."""
    dll = library().dll
    out = ctypes.c_void_p()
    check(getattr(dll, f"dnnl_{name}")(ctypes.byref(out), *args), name)
    assert out.value is not None
    return Handle(out.value, getattr(dll, f"dnnl_{destroy}_destroy") if destroy else None)


def dims(values: Sequence[int]) -> Any:
    """`values` as the fixed-size array that oneDNN takes for shapes, strides and paddings."""
    if len(values) > MAX_NDIM:
        raise ValueError(f"oneDNN takes at most {MAX_NDIM} dimensions, got {len(values)}")
    return Dims(*values)


def instructions() -> str:
    """The processor's instruction set that oneDNN generates code for."""
    number = library().dll.dnnl_get_effective_cpu_isa()
    return ISAS.get(number, hex(number))
