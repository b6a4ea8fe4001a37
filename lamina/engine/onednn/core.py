"""oneDNN for kernels: descriptors, primitives, and calls that cost a few microseconds.

A kernel is a function of NumPy arrays with the name and the signature of its reference twin. It looks up a
*plan*, a prepared call, by what the plan depends on; makes the output; runs; and returns `NotImplemented`
for what it cannot do::

    from lamina.engine.door import fast
    from lamina.engine.memory import empty_like

    from . import abi
    from .core import F32, desc, plan, plans, primitive

    @plans                                      # a bounded cache; its function runs once per key
    def _cube(shape, strides):
        d = desc(shape, strides)                # None: not in a form that oneDNN can take
        p = d and primitive("eltwise_forward", abi.FORWARD_INFERENCE, abi.POW, d, d, 1.0, 3.0)
        return plan(p, abi.SRC, abi.DST)        # None is remembered too; `primitive` gives None for slow code

    @fast(min_size=10_000)                      # from this size on the whole call beats NumPy: measure
    def cube(x):
        if x.dtype != F32:
            return NotImplemented
        cube = _cube[x.shape, x.strides]
        if cube is None:
            return NotImplemented
        y = empty_like(x)
        cube.run(x, y)                          # arrays in the order of plan's arguments
        return y

Rules that keep this fast and safe:

- Import of these modules must not load the library: make descriptors and primitives only inside `plans`
  functions.
- Element-wise work on a dense array of any layout is work on one row of `x.size` numbers: see eltwise.py.
- Arrays given to a plan's `run` must have the shape and strides of the plan's descriptors.
  ``LAMINA_CHECK=1`` verifies that on every call (run your tests with it).
- Where oneDNN should choose a layout, give `any_desc(shape)`; `p.desc(arg)` of the plan p is then its
  choice, `p.nbytes(arg)` the size, and `blocked(weight, p.desc(arg), version)` the weight in that layout,
  cached.
- A workspace is an array like another: `empty((p.nbytes(abi.WORKSPACE),), np.uint8)`.
- Several Python threads may run one plan at once; a plan stays valid until nothing refers to it.
"""
from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lamina.engine import door
from lamina.engine.memory import empty, empty_like

from . import abi, loader, threads
from .abi import Handle, check, create, dims
from .call import SMALL_SCRATCH, address, prepare

__all__ = [
    "CAPACITY", "CHECK", "F32", "SMALL_SCRATCH", "Desc", "Plan", "Plans", "address", "any_desc", "attributes", "available",
    "blocked", "c_strides", "channels_last", "channels_last_desc", "channels_last_strides", "dense", "desc",
    "element_strides", "implementation", "intern", "is_channels_last", "is_dense", "is_slow", "like", "plain_desc", "plan",
    "plans", "primitive", "query_desc", "reorder", "reorder_into", "reorder_plan", "reorders", "session", "spec", "strided_desc",
    "worthwhile",
]

F32 = np.dtype(np.float32)
CHECK = os.environ.get("LAMINA_CHECK", "") not in ("", "0")
CAPACITY = 512              # plans per cache
ELEMENTWISE = ("eltwise_forward", "eltwise_backward", "binary")
FEW_BYTES = 1 << 15         # up to which these run on one thread: another gains 4 us at most, and costs 100 where it sleeps
COPY = 30_000               # elements from which a copy to another layout is oneDNN's

def available() -> bool:
    """Whether oneDNN can be used; loads it. Where it cannot, the engine becomes the reference."""
    if loader.load() is None:
        door.set_engine("reference")
        return False
    return True


def worthwhile(size: int, least: int) -> bool:
    """Whether a call of this size pays; always, where the engine is told to be oneDNN wherever it can."""
    return size >= least or door.get_engine() == "onednn"


# ----------------------------------------------------------------------------------------------------
# descriptors

class Desc(Handle):
    """A memory descriptor."""

    __slots__ = ("nbytes",)

    def __init__(self, value: int, destroy: Any) -> None:
        super().__init__(value, destroy)
        self.nbytes: int = abi.library().dll.dnnl_memory_desc_get_size(value)

    def equals(self, other: Desc) -> bool:
        return bool(abi.library().dll.dnnl_memory_desc_equal(self, other))


def c_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides, in elements, of a plain array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def channels_last_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides, in elements, of an array (N, C, *spatial) whose channels lie side by side."""
    n, c, *spatial = shape
    batch, *inner, channel = c_strides((n, *spatial, c))
    return (batch, channel, *inner)


def desc(shape: tuple[int, ...], byte_strides: tuple[int, ...]) -> Desc | None:
    """The descriptor of a float32 array, or None for a form oneDNN cannot take.

    None for empty arrays and for negative, zero or odd strides. A 0-d array is described as one element in
    a row. The strides of dimensions of size 1 mean nothing in NumPy but would keep oneDNN from recognising
    a layout, so they are set as in a plain array if that is possible, else as in a channels-last one.
    """
    if not shape:
        shape, byte_strides = (1,), (4,)
    if len(shape) > abi.MAX_NDIM:
        return None
    for n, s in zip(shape, byte_strides, strict=True):
        if n == 0 or n > 1 and (s <= 0 or s % 4):
            return None
    return strided_desc(shape, element_strides(shape, byte_strides))


def element_strides(shape: tuple[int, ...], byte_strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides in elements, those of dimensions of size 1 set as `desc` says."""
    strides = [s // 4 for s in byte_strides]
    candidates = [c_strides(shape)] + ([channels_last_strides(shape)] if len(shape) > 2 else [])
    for candidate in candidates:
        if all(n == 1 or s == c for n, s, c in zip(shape, strides, candidate, strict=True)):
            return candidate
    return tuple(max(s, 1) if n > 1 else 1 for n, s in zip(shape, strides, strict=True))


def spec(array: np.ndarray) -> Desc | None:
    """The descriptor of `array` as it lies, or None (see `desc`; the dtype is the caller's concern)."""
    return desc(array.shape, array.strides)


def strided_desc(shape: Sequence[int], strides: Sequence[int], dtype: int = abi.F32) -> Desc:
    """A descriptor from a shape and strides in elements."""
    return _desc("memory_desc_create_with_strides", len(shape), dims(shape), dtype, dims(strides))


def plain_desc(shape: Sequence[int], dtype: int = abi.F32) -> Desc:
    """The descriptor of a C-contiguous array."""
    return strided_desc(shape, c_strides(shape), dtype)


def channels_last_desc(shape: Sequence[int], dtype: int = abi.F32) -> Desc:
    """The descriptor of a channels-last array (N, C, *spatial)."""
    return strided_desc(shape, channels_last_strides(shape), dtype)


def any_desc(shape: Sequence[int], dtype: int = abi.F32) -> Desc:
    """A descriptor that leaves the layout to the primitive."""
    return _desc("memory_desc_create_with_tag", len(shape), dims(shape), dtype, abi.TAG_ANY)


def _desc(name: str, *args: Any) -> Desc:
    dll = abi.library().dll
    out = ctypes.c_void_p()
    check(getattr(dll, f"dnnl_{name}")(ctypes.byref(out), *args), name)
    assert out.value is not None
    return Desc(out.value, dll.dnnl_memory_desc_destroy)


# ---------------------------------------------------------------------------------------------------------
# arrays

_dense: dict[tuple[tuple[int, ...], tuple[int, ...]], bool] = {}


def is_dense(array: np.ndarray) -> bool:
    """Whether the elements fill one block of memory, in whatever order of dimensions."""
    if array.flags.c_contiguous:
        return True
    key = array.shape, array.strides
    known = _dense.get(key)
    if known is None:
        step, known = array.itemsize, array.size > 0
        for stride, n in sorted(zip(array.strides, array.shape, strict=True)):
            if n > 1:
                known = known and stride == step
                step *= n
        if len(_dense) > 4096:
            _dense.clear()
        _dense[key] = known
    return known


def dense(array: np.ndarray) -> np.ndarray:
    """`array` itself if it is dense, else a dense copy that keeps the order of its dimensions."""
    if is_dense(array):
        return array
    copy = empty_like(array)
    copy[...] = array
    return copy


def like(array: np.ndarray, model: np.ndarray) -> np.ndarray:
    """`array` in the layout of the dense `model` of the same shape; copied only if it lies differently."""
    if array.strides == model.strides or array.flags.c_contiguous and model.flags.c_contiguous:
        return array
    copy = empty_like(model) if array.dtype == model.dtype else np.empty_like(model, dtype=array.dtype)
    if array.size >= COPY and array.dtype == F32:
        move = moves[array.shape, array.strides, copy.strides]
        if move is not None:
            move.run(array, copy)
            return copy
    copy[...] = array
    return copy


def is_channels_last(array: np.ndarray) -> bool:
    """Whether an array (N, C, *spatial) lies in memory as (N, *spatial, C) without gaps."""
    return array.ndim > 2 and np.moveaxis(array, 1, -1).flags.c_contiguous


def channels_last(array: np.ndarray) -> np.ndarray:
    """`array` (N, C, *spatial) in channels-last order; itself if it is."""
    if is_channels_last(array):
        return array
    if array.size >= COPY and array.dtype == F32:
        copy = empty(array.shape, F32, channels_last=True)
        move = moves[array.shape, array.strides, copy.strides]
        if move is not None:
            move.run(array, copy)
            return copy
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


# -----------------------------------------------------------------------------------------------------
# primitives

_session: tuple[Handle, Handle, Handle] | None = None


def session() -> tuple[Handle, Handle, Handle]:
    """The engine, the stream and the default attributes (scratch memory from the caller)."""
    global _session
    if _session is None:
        with threads.making:
            if _session is None:
                # These outlive everything: objects are destroyed in no set order when the interpreter ends.
                engine = create("engine_create", 1, 0, destroy=None)
                stream = create("stream_create", engine, 1, destroy=None)
                _session = engine, stream, attributes()
    return _session


def attributes(*post_ops: tuple[Any, ...]) -> Handle:
    """Primitive attributes with post-ops, each `("eltwise", alg, alpha, beta)`, `("binary", alg, desc)` or
    `("sum",)`.

    The second operand of the binary post-op number i is the execution argument `abi.post_op_src(i)`.
    Scratch memory is always the caller's: what oneDNN allocates itself belongs to the thread that made the
    primitive, and crashes others.
    """
    dll = abi.library().dll
    attr = create("primitive_attr_create", destroy="primitive_attr")
    check(dll.dnnl_primitive_attr_set_scratchpad_mode(attr, 1), "set_scratchpad_mode")
    if post_ops:
        chain = create("post_ops_create", destroy="post_ops")
        for kind, *args in post_ops:
            if kind == "eltwise":
                status = dll.dnnl_post_ops_append_eltwise(chain, *args)
            elif kind == "binary":
                status = dll.dnnl_post_ops_append_binary(chain, *args)
            elif kind == "sum":
                status = dll.dnnl_post_ops_append_sum(chain, *(args or (1.0,)), 0, abi.F32)
            else:
                raise ValueError(f"unknown post-op {kind!r}")
            check(status, f"post_ops_append_{kind}")
        check(dll.dnnl_primitive_attr_set_post_ops(attr, chain), "set_post_ops")
    return attr


def primitive(kind: str, *args: Any, attr: Handle | None = None, slow: bool = False) -> Handle | None:
    """The primitive descriptor `dnnl_<kind>_primitive_desc_create` makes of `args` (see `abi.PRIMITIVES`).

    None where oneDNN has no implementation, or only a plain-loop one (`ref`, `simple`), which NumPy beats,
    unless `slow` allows it (RNNs report `ref` and are fast). Tuples of ints become dims; None is a missing
    descriptor.
    """
    if kind in ELEMENTWISE and not threads.local.light and max(a.nbytes for a in args if isinstance(a, Desc)) <= FEW_BYTES:
        with threads.for_work(0):
            return primitive(kind, *args, attr=attr, slow=slow)
    engine, _, default = session()
    dll = abi.library().dll
    call = f"{kind}_primitive_desc_create"
    out = ctypes.c_void_p()
    packed = (dims(a) if isinstance(a, (tuple, list)) else a for a in args)
    with threads.making:
        _tell_if_needed(threads.planned())
        status = getattr(dll, f"dnnl_{call}")(ctypes.byref(out), engine, *packed, attr or default)
    if status == abi.UNIMPLEMENTED:
        return None
    check(status, call)
    assert out.value is not None
    pd = Handle(out.value, dll.dnnl_primitive_desc_destroy)
    pd.count = threads.planned()
    return pd if slow or not is_slow(implementation(pd)) else None


def implementation(pd: Handle) -> str:
    """The name of the code behind a primitive descriptor, such as `jit:avx2`."""
    name = ctypes.c_char_p()
    query = abi.library().dll.dnnl_primitive_desc_query
    check(query(pd, abi.QUERY_IMPL_INFO, 0, ctypes.byref(name)), "query impl_info")
    return (name.value or b"").decode()


def is_slow(name: str) -> bool:
    """Whether an implementation is one of the plain loops that take a hundred times as long as NumPy."""
    return name.startswith(("ref", "simple")) or "+ref" in name


def query_desc(pd: Handle, arg: int) -> Desc | None:
    """The layout that a primitive wants for an execution argument; None if it takes no such argument."""
    dll = abi.library().dll
    pointer = dll.dnnl_primitive_desc_query_md(pd, abi.QUERY_EXEC_ARG, arg)
    if not pointer or not dll.dnnl_memory_desc_get_size(pointer):
        return None
    return _Borrowed(pointer, pd)


class _Borrowed(Desc):
    """A descriptor that belongs to a primitive descriptor, which it keeps alive."""

    __slots__ = ("owner",)

    def __init__(self, value: int, owner: Handle) -> None:
        super().__init__(value, None)
        self.owner = owner


def _tell_if_needed(count: int) -> None:
    if threads.local.count != count:
        threads.tell(count)


Args = tuple["int | tuple[int, ...]", ...]


class Plan:
    """A primitive with its arguments bound; `run(*arrays)` executes it on arrays in the order of `args`.

    A tuple of arguments is one array, which costs 0.4 us less than to give it twice.
    """

    __slots__ = ("run", "pd", "args")

    def __init__(self, pd: Handle, args: Args, fixed: dict[int, np.ndarray] | None = None) -> None:
        self.pd, self.args = pd, args
        self.run: Callable[..., None] = _prepare(pd, args, fixed or {})
        if CHECK:
            self.run = self._checked(self.run)

    def desc(self, arg: int) -> Desc:
        """The layout of an execution argument, as the primitive has it."""
        found = query_desc(self.pd, arg)
        if found is None:
            raise KeyError(f"the primitive takes no argument {arg}")
        return found

    def nbytes(self, arg: int) -> int:
        """The bytes of an execution argument; 0 if the primitive does not take it."""
        return _nbytes(self.pd, arg)

    def _checked(self, run: Callable[..., None]) -> Callable[..., None]:
        sizes = [self.desc(_first(arg)).nbytes for arg in self.args]

        def checked(*arrays: np.ndarray) -> None:
            assert len(arrays) == len(sizes), f"{len(arrays)} arrays for {len(sizes)} arguments"
            for arg, array, nbytes in zip(self.args, arrays, sizes, strict=True):
                low, high = np.lib.array_utils.byte_bounds(array)
                room = high - low
                if not is_dense(array):     # oneDNN counts the gap after the last row, too
                    room += max(array.strides) - array.itemsize
                assert low == address(array), f"argument {arg}: negative strides"
                assert room >= nbytes, f"argument {arg}: {room} bytes, {nbytes} described"
            run(*arrays)

        return checked


def plan(pd: Handle | None, *args: int | tuple[int, ...], fixed: dict[int, np.ndarray] | None = None) -> Plan | None:
    """A plan for a primitive descriptor, to be run with one array for each of `args`; None for None.

    `fixed` gives arrays to arguments that are the same in every call, such as a constant.
    """
    return None if pd is None else Plan(pd, args, fixed)


def _first(arg: int | tuple[int, ...]) -> int:
    return arg[0] if isinstance(arg, tuple) else arg


def _prepare(pd: Handle, args: Args, fixed: dict[int, np.ndarray]) -> Callable[..., None]:
    engine, stream, _ = session()
    with threads.making:
        count = pd.count or threads.planned()
        _tell_if_needed(count)
        made = create("primitive_create", pd, destroy="primitive")
    needs = _nbytes(pd, abi.SCRATCHPAD)
    order = (*args, *((abi.SCRATCHPAD,) if needs else ()), *fixed)
    descs = [query_desc(pd, _first(arg)) for arg in order]
    if None in descs:
        raise ValueError(f"the primitive takes no argument {order[descs.index(None)]}")
    return prepare(made, implementation(pd), engine, stream, count, args, descs, needs, fixed)


def _nbytes(pd: Handle, arg: int) -> int:
    found = query_desc(pd, arg)
    return found.nbytes if found is not None else 0


class Plans(dict):
    """A bounded cache of plans: `cache[key]` calls the function with the key's parts when the key is new."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self.make = make
        self.__doc__ = make.__doc__
        threads.on_change(self.clear)

    def __missing__(self, key: Any) -> Any:
        if not available():
            return None
        with threads.making:
            made = self.make(*key) if isinstance(key, tuple) else self.make(key)
            while len(self) >= CAPACITY:        # the oldest goes; the order of a dict is that of insertion
                del self[next(iter(self))]
            self[key] = made
        return made


def plans(make: Callable[..., Any]) -> Plans:
    """Turn a function that makes a plan into a cache of its results."""
    return Plans(make)


# ----------------------------------------------------------------------------------------- reordering and
# weights

def reorder_plan(source: Desc, target: Desc) -> Plan:
    """The plan that copies an array that lies as `source` to one that lies as `target`."""
    return Plan(reorder_primitive(source, target), (abi.SRC, abi.DST))


def reorder_primitive(source: Desc, target: Desc) -> Handle:
    """The primitive descriptor of that copy."""
    engine, _, default = session()
    with threads.making:
        _tell_if_needed(threads.planned())
        return create("reorder_primitive_desc_create", source, engine, target, engine, default, destroy="primitive_desc")


_reorder = reorders = plans(reorder_plan)      # by two interned descriptors


@plans
def moves(shape: tuple[int, ...], source: tuple[int, ...], target: tuple[int, ...]) -> Plan | None:
    """The plan that copies an array to another of the same shape, both float32."""
    a, b = desc(shape, source), desc(shape, target)
    return None if a is None or b is None else reorder_plan(a, b)


_known: dict[int, list[Desc]] = {}


def intern(wanted: Desc) -> Desc:
    """One descriptor object for all equal ones, so that it can be part of a key."""
    with threads.making:
        bucket = _known.setdefault(wanted.nbytes, [])
        for known in bucket:
            if known is wanted or known.equals(wanted):
                return known
        if len(_known) > CAPACITY:
            _known.clear()
        bucket.append(wanted)
        return wanted


def reorder(array: np.ndarray, target: Desc, source: Desc | None = None) -> np.ndarray:
    """The elements of `array` laid out as `target`, as a flat array; `source` describes a flat `array`."""
    out = empty((-(-target.nbytes // 4),), F32)
    reorder_into(array, out, target, source)
    return out


def reorder_into(array: np.ndarray, out: np.ndarray, target: Desc, source: Desc | None = None) -> None:
    """Write `array` to `out`, laid out as `target`."""
    if source is None:
        source = spec(array)
        if source is None:
            array = np.ascontiguousarray(array)
            source = spec(array)
            assert source is not None, "an empty array has no layout"
    reorders[intern(source), intern(target)].run(array, out)


_ONCE, _TWICE = np.empty(0, F32), np.empty(0, F32)      # stand for copies that were not kept
_blocked: dict[tuple[int, Desc | None, Desc], tuple[Any, Any, np.ndarray | None]] = {}


def blocked(weight: np.ndarray, target: Desc, version: Any = None, source: Desc | None = None) -> np.ndarray:
    """`weight` in the layout `target`: itself if it lies so, else a copy that is kept while `version` stays
    the same, from the third time on: a weight in training is another one in every step (and serves twice in
    it as a GAN's judge), and its copies, one for each direction, would take more room than the weight.

    The copy lives as long as the array. `source` describes the weight where the kernel sees it otherwise
    than its shape says, as with groups. With `version` None nothing is kept. A `target` that was interned is
    found at once.
    """
    # A square weight of a transposed convolution is seen both ways round, and both may want equal layouts.
    key = id(weight), source, target
    now: np.ndarray | None = _ONCE
    if version is not None:
        found = _blocked.get(key)
        if found is None:  # kept, perhaps, under an equal descriptor
            found = _blocked.get((id(weight), source, intern(target)))
        if found is not None and found[1] == version and found[0]() is weight:
            if found[2] is not _ONCE and found[2] is not _TWICE:
                return weight if found[2] is None else found[2]
            now = _TWICE if found[2] is _ONCE else None
    lying = spec(weight) if source is None else source
    if lying is None:
        return blocked(np.ascontiguousarray(weight), target)
    made = None if lying is target or lying.equals(target) else reorder(weight, target, lying)
    if version is not None:
        key = id(weight), source, intern(target)
        kept = made if now is None or made is None else now
        _blocked[key] = (weakref.ref(weight, lambda _: _blocked.pop(key, None)), version, kept)
    return weight if made is None else made


threads.on_change(_known.clear)
threads.on_change(_blocked.clear)
