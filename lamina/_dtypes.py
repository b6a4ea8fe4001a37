"""Data types, shapes and devices: the small nouns that every other room uses.

A :class:`dtype` is a thin name over a NumPy dtype; promotion follows PyTorch (a category of bool < integer < float <
complex, where a dimensioned tensor outweighs a zero-dimensional one, and that a Python number).
"""

from __future__ import annotations

from typing import Any

import numpy as np

E, INF, NAN, PI = 2.718281828459045, np.inf, np.nan, 3.141592653589793


class dtype:
    """A data type such as ``float32``; printed as PyTorch prints it.

    ``bfloat16`` and the float8 types are those of ``ml_dtypes``; to NumPy their kind is ``"V"`` (but float8_e5m2's is
    ``"f"``), which no other dtype of a tensor has, so ``kind in "fV"`` asks whether a dtype is floating. That package is
    imported, and these types enter the tables below, when the NumPy dtype of one of them is first asked for.
    """

    __slots__ = ("name", "numpy", "rank", "is_floating_point", "is_complex", "is_signed", "itemsize")

    numpy: np.dtype

    def __init__(self, name: str, itemsize: Any = None) -> None:
        self.name = name
        if itemsize is None:
            self.numpy = np.dtype(name)
        kind = self.numpy.kind if itemsize is None else "V"
        self.rank = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 3}[kind]
        self.is_floating_point = kind in "fV"
        self.is_complex = kind == "c"
        self.is_signed = kind in "ifcV"
        self.itemsize = itemsize or self.numpy.itemsize

    def __getattr__(self, name: str) -> Any:
        if name != "numpy":
            raise AttributeError(f"'dtype' object has no attribute {name!r}")
        _read_foreign()
        return self.numpy

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name

    def to_complex(self) -> dtype:
        return complex128 if self is float64 else complex64

    def to_real(self) -> dtype:
        return {complex64: float32, complex128: float64}.get(self, self)


float64 = double = dtype("float64")
float32 = float = dtype("float32")  # noqa: A001
float16 = half = dtype("float16")
bfloat16 = dtype("bfloat16", 2)
float8_e4m3fn = dtype("float8_e4m3fn", 1)
float8_e4m3fnuz = dtype("float8_e4m3fnuz", 1)
float8_e5m2 = dtype("float8_e5m2", 1)
float8_e5m2fnuz = dtype("float8_e5m2fnuz", 1)
int64 = long = dtype("int64")
int32 = int = dtype("int32")  # noqa: A001
int16 = short = dtype("int16")
int8 = dtype("int8")
uint8 = dtype("uint8")
uint16 = dtype("uint16")
uint32 = dtype("uint32")
uint64 = dtype("uint64")
bool = dtype("bool")  # noqa: A001
complex64 = cfloat = dtype("complex64")
complex128 = cdouble = dtype("complex128")

_builtin_int, _builtin_float, _builtin_bool = (0).__class__, (0.0).__class__, (True).__class__

FLOAT8 = (float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz)  # to store and to cast, not to compute with
ALL = (
    float64, float32, float16, bfloat16, *FLOAT8,
    int64, int32, int16, int8, uint8, uint16, uint32, uint64, bool, complex64, complex128,
)  # fmt: skip
_FOREIGN = (bfloat16, *FLOAT8)
BY_NUMPY: dict[np.dtype, dtype] = {t.numpy: t for t in ALL if t not in _FOREIGN}
RANK: dict[np.dtype, Any] = {d: t.rank for d, t in BY_NUMPY.items()}
F16, F32 = float16.numpy, float32.numpy
HALVES = {F16}  # what is computed in float32 and rounded once; bfloat16 as well
WIDE = frozenset(RANK) - HALVES  # what is computed as it is
DIGITS = {F16: 11, F32: 24, float64.numpy: 53}  # of the significand in bits, the hidden one included; bfloat16 has 8
_OF_PYTHON = {_builtin_bool: bool, _builtin_int: int64, _builtin_float: None, complex: None}

# The name that PyTorch's messages use for a dtype ("expected scalar type Float but found Long").
SCALAR_NAME = {
    float64: "Double", float32: "Float", float16: "Half", bfloat16: "BFloat16", float8_e4m3fn: "Float8_e4m3fn",
    float8_e4m3fnuz: "Float8_e4m3fnuz", float8_e5m2: "Float8_e5m2", float8_e5m2fnuz: "Float8_e5m2fnuz", int64:
    "Long", int32: "Int", int16: "Short", int8: "Char", uint8: "Byte", bool: "Bool", complex64: "ComplexFloat",
    complex128: "ComplexDouble", uint16: "UInt16", uint32: "UInt32", uint64: "UInt64",
}  # fmt: skip


def _read_foreign() -> None:
    """Import the package that has what NumPy has not, and enter its types into the tables."""
    import ml_dtypes

    for t in _FOREIGN:
        t.numpy = np.dtype(getattr(ml_dtypes, t.name))
        BY_NUMPY[t.numpy], RANK[t.numpy] = t, t.rank
    HALVES.add(bfloat16.numpy)
    DIGITS[bfloat16.numpy] = 8


class _Default:
    """The default floating dtype, as NumPy's and as ours; what integers are computed in, and what is rounded to then."""

    numpy = wide = np.dtype("float32")
    dtype = float32
    half: Any = None


def get_default_dtype() -> dtype:
    """The dtype of ``tensor(1.5)``: ``float32`` unless :func:`set_default_dtype` changed it."""
    return _Default.dtype


def set_default_dtype(d: dtype) -> None:
    """Make ``d`` the dtype of new floating-point tensors; raises ``TypeError`` unless ``d`` is floating."""
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"only floating-point types are supported as the default type, but got {d!r}")
    if d in FLOAT8:
        raise TypeError(f"couldn't find storage object {SCALAR_NAME[d]}Storage: {d!r} cannot be the default type")
    _Default.dtype, _Default.numpy = d, d.numpy
    _Default.wide, _Default.half = (F32, d.numpy) if d.numpy in HALVES else (d.numpy, None)


def to_numpy(d: Any) -> np.dtype:
    """The NumPy dtype of a lamina dtype, or of Python's ``float``, ``int``, ``bool`` and ``complex``."""
    if isinstance(d, dtype):
        return d.numpy
    if d is _builtin_float:
        return float64.numpy
    if d in _OF_PYTHON:
        return bool.numpy if d is _builtin_bool else int64.numpy if d is _builtin_int else complex128.numpy
    raise TypeError(f"dtype must be a torch.dtype, not {type(d).__name__}: {d!r}")


def from_numpy(d: np.dtype) -> dtype:
    """The lamina dtype over a NumPy dtype; raises ``TypeError`` for one that tensors do not have."""
    try:
        return BY_NUMPY[d]
    except KeyError:
        native = np.dtype(d).newbyteorder("=")
        if native.name in [t.name for t in _FOREIGN]:
            _read_foreign()
        if native in BY_NUMPY:
            return BY_NUMPY[native]
        raise TypeError(
            f"can't convert np.ndarray of type {np.dtype(d)}. The only supported types are: "
            + ", ".join(t.name for t in ALL)
        ) from None


def promote_numpy(a: np.dtype, b: np.dtype) -> np.dtype:
    """PyTorch's ``promote_types`` on NumPy dtypes: a float beside an integer keeps its own width."""
    if a is b or a == b:
        return a
    ra, rb = RANK[a], RANK[b]
    if ra == rb or (ra >= 2 and rb >= 2):
        if a.kind == "V" or b.kind == "V" or (a.itemsize == 1 or b.itemsize == 1) and ra >= 2:
            return _promote_half(a, b)
        return np.promote_types(a, b)
    return a if ra > rb else b


def _promote_half(a: np.dtype, b: np.dtype) -> np.dtype:
    """The promotion of floating types that NumPy does not know: float16 and bfloat16 meet in float32."""
    for d in (a, b):
        if d.itemsize == 1:
            x, y = (SCALAR_NAME[BY_NUMPY[d]] for d in (a, b))
            raise RuntimeError(f"Promotion for Float8 Types is not supported, attempted to promote {x} and {y}")
    if a in HALVES and b in HALVES:
        return F32
    return np.promote_types(F32, b if a in HALVES else a)


def limits(d: np.dtype) -> Any:
    """``numpy.finfo`` of any floating dtype."""
    if d.kind != "V" and d.itemsize != 1:
        return np.finfo(d)
    import ml_dtypes

    return ml_dtypes.finfo(d)


def promote_types(a: dtype, b: dtype) -> dtype:
    """The smallest dtype of PyTorch's lattice that both types go to."""
    return BY_NUMPY[promote_numpy(a.numpy, b.numpy)]


def can_cast(from_: dtype, to: dtype) -> Any:
    """Whether PyTorch lets results of ``from_`` go into a tensor of ``to``: not into one of a lower category."""
    for name, d, position in (("from_", from_, 1), ("to", to, 2)):
        if not isinstance(d, dtype):
            raise TypeError(f"can_cast(): argument {name!r} (position {position}) must be torch.dtype, not {type(d).__name__}")
    return from_.rank <= to.rank


def scalar_dtype(x: Any) -> np.dtype:
    """The dtype that a Python or NumPy number has as a zero-dimensional tensor."""
    if isinstance(x, (_builtin_bool, np.bool_)):
        return bool.numpy
    if isinstance(x, (_builtin_int, np.integer)):
        return int64.numpy
    if isinstance(x, (_builtin_float, np.floating)):
        return _Default.numpy
    if isinstance(x, (complex, np.complexfloating)):
        return _Default.dtype.to_complex().numpy
    raise TypeError(f"expected a number, but got {type(x).__name__}: {x!r}")


class Size(tuple):
    """The shape of a tensor: a tuple of ints that prints as ``torch.Size([2, 3])``."""

    __slots__ = ()

    def numel(self) -> Any:
        """How many elements a tensor of this shape has."""
        n = 1
        for d in self:
            n *= d
        return n

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    def __getitem__(self, i: Any) -> Any:
        r = tuple.__getitem__(self, i)
        return Size(r) if isinstance(i, slice) else r

    def __add__(self, other: Any) -> Size:
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: Any) -> Size:
        return Size(tuple(other) + tuple(self))

    def __mul__(self, n: Any) -> Size:
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__

    def __reduce__(self) -> Any:
        return Size, (tuple(self),)


class device:
    """Where a tensor lives; lamina has the CPU only, and says so for any other."""

    __slots__ = ("type", "index")

    def __init__(self, type: Any = "cpu", index: Any = None) -> None:  # noqa: A002
        if isinstance(type, device):
            given: Any = type
            type, index = given.type, given.index  # noqa: A001
        if not isinstance(type, str):
            raise TypeError(f"device(): argument 'type' must be str, not {type.__class__.__name__}")
        kind, _, tail = type.partition(":")
        if tail:
            if index is not None:
                raise RuntimeError(f"type (string) must not include an index because index was passed: {type!r}")
            if not tail.isdigit():
                raise RuntimeError(f"Invalid device string: {type!r}")
            index = _builtin_int(tail)
        if kind not in _DEVICE_TYPES:
            raise RuntimeError(
                f"Expected one of {', '.join(_DEVICE_TYPES)} device type at start of device string: {type}"
            )
        self.type, self.index = kind, index

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (f", index={self.index})" if self.index is not None else ")")

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> Any:
        return isinstance(other, device) and (self.type, self.index) == (other.type, other.index)

    def __hash__(self) -> Any:
        return hash((self.type, self.index))

    def __reduce__(self) -> Any:
        return device, (str(self),)

    def __enter__(self) -> device:
        return check_device(self)

    def __exit__(self, *exc: Any) -> None:
        pass


_DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu", "meta", "hpu", "privateuseone", "xla", "vulkan", "ipu", "mtia")
CPU = device("cpu")


def check_device(d: Any) -> device:
    """``d`` as a device, or PyTorch's error for a device that this machine's library does not have."""
    if d is None:
        return CPU
    if not isinstance(d, (device, str)):
        raise TypeError(f"device must be a torch.device or a string, not {type(d).__name__}: {d!r}")
    d = d if isinstance(d, device) else device(d)
    if d.type == "cuda":
        raise AssertionError("Torch not compiled with CUDA enabled: lamina runs on the CPU only")
    if d.type != "cpu":
        raise RuntimeError(f"device {str(d)!r} is not available: lamina runs on the CPU only")
    return d


class layout:
    """How elements are stored: ``strided`` in memory, or ``sparse_coo``, the few that are not zero."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


strided = layout("strided")
sparse_coo = layout("sparse_coo")


class memory_format:
    """The order of a tensor's dimensions in memory."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str:
        return self.name


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")


class finfo:
    """The limits of a floating dtype: ``bits``, ``eps``, ``max``, ``min``, ``tiny``, ``resolution``, ``dtype``."""

    def __init__(self, type: dtype | None = None) -> None:  # noqa: A002
        d = type or get_default_dtype()
        if d.is_complex:
            d = d.to_real()
        if not d.is_floating_point:
            raise TypeError(f"torch.finfo() requires a floating point input type. Use torch.iinfo to handle {d!r}")
        info = limits(d.numpy)
        self.bits, self.dtype = 8 * d.itemsize, d.name
        self.eps, self.max, self.min = (_builtin_float(v) for v in (info.eps, info.max, info.min))
        self.tiny = self.smallest_normal = _builtin_float(info.smallest_normal)
        self.resolution = 10.0**-info.precision if d.itemsize > 1 else 1.0

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
            f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})"
        )


class iinfo:
    """The limits of an integer dtype: ``bits``, ``max``, ``min``, ``dtype``."""

    def __init__(self, type: dtype) -> None:  # noqa: A002
        if type.rank != 1:
            raise TypeError(f"torch.iinfo() requires an integer input type. Use torch.finfo to handle {type!r}")
        info = np.iinfo(type.numpy)
        self.bits, self.max, self.min, self.dtype = info.bits, _builtin_int(info.max), _builtin_int(info.min), type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
