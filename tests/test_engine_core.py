"""The engine's core: the library and how it is found, descriptors and plans, memory, and each fast kernel against its
reference twin over layouts and values."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import at_once

import lamina
from lamina.engine import blas, engine, kernels, memory
from lamina.engine.onednn import abi, core, loader, matmul
from lamina.engine.onednn import binary as fast_binary

ROOT = Path(__file__).parent.parent
needs_onednn = pytest.mark.skipif(loader.load() is None, reason=f"no oneDNN: {loader.problem()}")
NAN, INF = float("nan"), float("inf")
F32 = np.dtype(np.float32)


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that sees this checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LAMINA_", "GOMP_", "OMP_"))}
    return subprocess.run([sys.executable, "-c", code], env={**clean, "PYTHONPATH": str(ROOT), **environment},
                          capture_output=True, text=True, timeout=120)


# -- the library ---------------------------------------------------------------------------------------------------

LARGE_RELU = """
import numpy as np, lamina
from lamina import engine
from lamina.engine.onednn import loader
x = np.linspace(-1, 1, 100_000, dtype=np.float32)
for _ in range(3):
    y = engine.kernels.relu(x)
assert (y == np.maximum(x, 0)).all()
print(loader.loaded(), engine.get_engine(), engine.kernels.relu.fast_calls)
"""


@needs_onednn
def test_import_does_not_load_the_library():
    done = run_python("import lamina\nfrom lamina.engine.onednn import loader\nprint(loader.loaded())")
    assert done.stdout == "False\n" and not done.stderr


@needs_onednn
def test_first_large_call_loads_the_library():
    done = run_python(LARGE_RELU)
    assert done.stdout == "True auto 3\n" and not done.stderr


@needs_onednn
def test_folder_named_by_the_user():
    found = loader.load()
    code = "from lamina.engine.onednn import loader\nprint(loader.load().path)"
    done = run_python(code, LAMINA_ONEDNN=str(Path(found.path).resolve().parent))
    assert Path(done.stdout.strip()).resolve() == Path(found.path).resolve()


def test_nonsense_folder_warns_once_and_numpy_serves(tmp_path):
    done = run_python(LARGE_RELU, LAMINA_ONEDNN=str(tmp_path / "nowhere"))
    assert done.stdout == "False reference 0\n"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "nowhere" in done.stderr and "NumPy serves instead" in done.stderr


def test_file_that_is_no_library(tmp_path):
    (tmp_path / loader.NAMES[0]).write_bytes(b"this is not a library")
    done = run_python(LARGE_RELU, LAMINA_ONEDNN=str(tmp_path))
    assert done.stdout == "False reference 0\n"
    assert done.stderr.count("RuntimeWarning") == 1 and str(tmp_path) in done.stderr


def test_missing_openmp_is_named():
    error = OSError("libgomp.so.1: cannot open shared object file: No such file or directory")
    assert "apt install libgomp1" in loader._explain("/somewhere/libdnnl.so.3", error)


def test_target_install_is_found(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib" / loader.NAMES[0]
    library.write_bytes(b"")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert str(library) in list(loader._beside_import_path()) or sys.platform == "win32"


@pytest.mark.parametrize("version", [(2, 7, 0), (3, 1, 9), (4, 0, 0)])
def test_other_versions_are_refused(version):
    assert not (version[0] == loader.MINIMUM[0] and version[:2] >= loader.MINIMUM)


@needs_onednn
def test_environment_is_left_as_it_was():
    code = "from lamina.engine.onednn import loader\nimport os\nloader.load()\nprint('GOMP_SPINCOUNT' in os.environ)"
    assert run_python(code).stdout == "False\n"
    assert run_python(code, GOMP_SPINCOUNT="77").stdout == "True\n"


def test_status_is_checked():
    abi.check(0, "anything")
    with pytest.raises(RuntimeError, match=r"memory_create failed with status 2 \(invalid_arguments\)"):
        abi.check(2, "memory_create")
    with pytest.raises(RuntimeError, match="unknown"):
        abi.check(99, "x")


def test_too_many_dimensions():
    with pytest.raises(ValueError, match="at most 12 dimensions, got 13"):
        abi.dims([1] * 13)


# -- arrays --------------------------------------------------------------------------------------------------------

LAYOUTS = ("plain", "transposed", "permuted", "strided", "reversed", "sliced", "broadcast")


def lay(values: np.ndarray, layout: str) -> np.ndarray:
    """The same values lying otherwise in memory."""
    if values.ndim == 0 or layout == "plain":
        return np.ascontiguousarray(values).reshape(values.shape)
    if layout == "transposed":
        return np.ascontiguousarray(values.T).T
    if layout == "permuted":        # channels-last, where there are channels
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1 % values.ndim, -1)), -1, 1 % values.ndim)
    if layout == "broadcast":
        return np.broadcast_to(values[:1], values.shape)
    room = np.full([2 * n + 1 for n in values.shape], NAN, values.dtype)
    step = {"strided": slice(None, -1, 2), "reversed": slice(-2, None, -2), "sliced": None}[layout]
    view = room[tuple(step or slice(1, n + 1) for n in values.shape)]
    view[...] = values
    return view


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (5,), (2, 3), (1, 4, 1), (2, 3, 4, 5), (2, 1, 3, 1)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dense_and_like(shape, layout):
    values = np.random.default_rng(0).standard_normal(shape).astype(F32)
    x = lay(values, layout)
    y = core.dense(x)
    np.testing.assert_array_equal(x, y)
    if x.size:
        low, high = np.lib.array_utils.byte_bounds(y)
        assert core.is_dense(y) and high - low == y.nbytes
    for other in ("plain", "transposed", "permuted"):
        model = lay(np.zeros(shape, F32), other)
        z = core.like(x, model)
        np.testing.assert_array_equal(x, z)
        if x.size:
            assert [s for s, n in zip(z.strides, shape, strict=True) if n > 1] == [
                s for s, n in zip(model.strides, shape, strict=True) if n > 1]
    if len(shape) > 2 and x.size:
        z = core.channels_last(x)
        np.testing.assert_array_equal(x, z)
        assert core.is_channels_last(z)


@needs_onednn
@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_copies_by_onednn(layout, monkeypatch):
    monkeypatch.setattr(core, "COPY", 0)
    values = np.random.default_rng(0).standard_normal((3, 5, 4, 6)).astype(F32)
    x = lay(values, layout)
    for model in (lay(values, "plain"), lay(values, "permuted"), lay(values, "transposed")):
        y = core.like(x, model)
        np.testing.assert_array_equal(x, y)
        assert y.strides == model.strides
    y = core.channels_last(x)
    np.testing.assert_array_equal(x, y)
    assert core.is_channels_last(y)


def test_strides_of_dimensions_of_size_one():
    assert core.element_strides((2, 1, 3), (12, 4, 4)) == (3, 3, 1)
    assert core.element_strides((2, 3, 1, 4), (48, 4, 400, 12)) == core.channels_last_strides((2, 3, 1, 4))
    assert core.element_strides((4, 1), (8, 8)) == (2, 1)


@needs_onednn
@pytest.mark.parametrize("array", [
    np.zeros((0, 3), F32), np.zeros((4, 4), F32)[::-1], np.broadcast_to(np.zeros((1, 4), F32), (4, 4)),
    np.zeros(4, [("flag", "u1"), ("value", F32)])["value"], np.zeros((1,) * 13, F32)])
def test_arrays_that_have_no_descriptor(array):
    assert core.spec(array) is None


@needs_onednn
def test_misaligned_array():
    values = np.arange(100, dtype=F32)
    room = np.zeros(values.nbytes + 1, np.uint8)
    room[1:] = values.view(np.uint8)
    x = room[1:].view(F32)
    assert not x.flags.aligned
    np.testing.assert_array_equal(kernels.relu.fast(x), values)
    np.testing.assert_array_equal(kernels.relu_backward.fast(x, x), np.where(values > 0, values, 0))


# -- plans ---------------------------------------------------------------------------------------------------------


@needs_onednn
def test_blocked_weights_are_kept_while_the_version_stays():
    """From the third time on: what was seen once or twice may be another one the next time, as in training."""
    w = np.random.default_rng(0).standard_normal((16, 8, 3, 3)).astype(F32)
    shape, out = (2, 8, 6, 6), (2, 16, 4, 4)
    pd = core.primitive("convolution_forward", abi.FORWARD_INFERENCE, abi.CONVOLUTION_DIRECT,
                        core.channels_last_desc(shape), core.any_desc(w.shape), None, core.channels_last_desc(out),
                        (1, 1), (0, 0), (0, 0), (0, 0))
    p = core.plan(pd, abi.SRC, abi.WEIGHTS, abi.DST)
    core.intern(p.desc(abi.WEIGHTS))  # somebody has used an equal one before
    wanted = p.desc(abi.WEIGHTS)
    once, twice, first = (core.blocked(w, wanted, version=1) for _ in range(3))
    assert first is not once and first is not twice and core.blocked(w, wanted, version=1) is first
    w *= 2
    assert all(core.blocked(w, wanted, version=2) is not first for _ in range(2))
    second = core.blocked(w, wanted, version=2)
    assert second is not first and core.blocked(w, wanted, version=2) is second
    np.testing.assert_array_equal(second, 2 * first)
    assert core.blocked(w, wanted) is not second        # without a version nothing is kept
    assert core.blocked(w, core.spec(w), version=2) is w
    back = np.empty_like(w)
    core.reorder_into(second, back, core.spec(back), source=wanted)
    np.testing.assert_array_equal(back, w)
    name = id(w)
    assert any(key[0] == name for key in core._blocked)
    del w
    gc.collect()
    assert not any(key[0] == name for key in core._blocked)


@needs_onednn
def test_slow_implementations_are_refused():
    assert core.is_slow("ref:any") and core.is_slow("simple:any") and core.is_slow("conv:any+ref:any")
    assert not core.is_slow("jit:avx2") and not core.is_slow("conv:any+brgconv:avx2")
    rows, columns = core.strided_desc((64, 64), (64, 1)), core.strided_desc((64, 64), (1, 64))
    assert core.primitive("binary", abi.ADD, rows, columns, rows) is None
    assert core.primitive("binary", abi.ADD, rows, columns, rows, slow=True) is not None


@needs_onednn
def test_plans_are_bounded(monkeypatch):
    monkeypatch.setattr(core, "CAPACITY", 3)
    made = []
    cache = core.plans(lambda n: made.append(n) or n)
    for n in (1, 2, 3, 1, 4, 1):
        assert cache[n] == n
    assert made == [1, 2, 3, 4, 1] and len(cache) == 3


@needs_onednn
def test_large_scratch_comes_from_the_pool():
    x = np.random.default_rng(0).standard_normal((2, 24, 40, 40)).astype(F32)
    w = np.random.default_rng(1).standard_normal((20, 24, 3, 3)).astype(F32)
    y = np.empty((2, 20, 40, 40), F32)
    pd = core.primitive("convolution_forward", abi.FORWARD_INFERENCE, abi.CONVOLUTION_DIRECT, core.spec(x), core.spec(w),
                        None, core.spec(y), (1, 1), (1, 1), (2, 2), (2, 2))
    p = core.plan(pd, abi.SRC, abi.WEIGHTS, abi.DST)
    if p is None or p.nbytes(abi.SCRATCHPAD) <= core.SMALL_SCRATCH:
        pytest.skip("this machine's code needs no scratch memory")
    p.run(x, w, y)
    with engine("reference"):
        expected = lamina.nn.functional.conv2d(lamina.from_numpy(x), lamina.from_numpy(w), padding=2, dilation=2).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_checked_plans_tell_a_wrong_array(monkeypatch):
    monkeypatch.setattr(core, "CHECK", True)
    d = core.plain_desc((16,))
    p = core.plan(core.primitive("eltwise_forward", 96, abi.SQUARE, d, d, 0.0, 0.0), abi.SRC, abi.DST)
    x = np.arange(16, dtype=F32)
    y = np.empty_like(x)
    p.run(x, y)
    np.testing.assert_array_equal(y, x * x)
    with pytest.raises(AssertionError, match="32 bytes, 64 described"):
        p.run(x, y[:8])
    with pytest.raises(AssertionError, match="1 arrays for 2 arguments"):
        p.run(x)
    with pytest.raises(KeyError, match="takes no argument 33"):
        p.desc(abi.WEIGHTS)
    with pytest.raises(ValueError, match="takes no argument 33"):
        core.plan(p.pd, abi.WEIGHTS)


@needs_onednn
def test_address_is_that_of_numpy():
    for array in (np.zeros(3), np.zeros((4, 5), F32)[1:, 2:], np.zeros(0), np.broadcast_to(F32.type(1), (3,))):
        assert core.address(array) == array.ctypes.data


# -- memory --------------------------------------------------------------------------------------------------------

BIG = 2 * memory.THRESHOLD // 4     # float32 elements: twice the size from which blocks are pooled


@pytest.fixture
def clean_pool():
    gc.collect()
    memory.release()
    limit = memory.limit()
    yield
    memory.set_limit(limit)
    memory.release()


def test_block_returns_and_is_used_again(clean_pool):
    used = memory.in_use()
    x = memory.empty((BIG,))
    assert memory.in_use() - used >= x.nbytes and memory.held() == 0
    where = x.ctypes.data
    assert where % memory.ALIGNMENT == 0
    del x
    assert memory.in_use() == used and memory.held() >= 4 * BIG
    y = memory.empty((BIG // 2, 2))
    assert y.ctypes.data == where and memory.held() == 0
    assert y.flags.c_contiguous and y.flags.writeable and y.flags.aligned


def test_views_keep_the_block(clean_pool):
    x = memory.empty((BIG // 8, 8))
    x[...] = 7
    view = x[2:, ::2].T[1:]
    del x
    gc.collect()
    assert memory.held() == 0 and (view == 7).all()
    inner = view[1:2, 5:]
    del view
    assert memory.held() == 0 and (inner == 7).all()
    del inner
    assert memory.held() > 0


def test_blocks_return_from_cycles_and_other_threads(clean_pool):
    def work():
        for _ in range(20):
            ring = [memory.empty((BIG,))]
            ring.append(ring)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    gc.collect()
    assert memory.in_use() == 0 or memory.held() > 0
    before = memory.held()
    assert memory.release() == before and memory.held() == 0


def test_threads_never_share_a_block(clean_pool):
    wrong = []

    def work(number):
        for i in range(200):
            x = memory.empty((BIG,))
            x[::997] = number * 1000 + i
            y = memory.empty((BIG,))
            y[::997] = -1
            if not (x[::997] == number * 1000 + i).all():
                wrong.append(number)

    at_once(work, 4)
    assert not wrong


def test_limit(clean_pool):
    memory.set_limit(5 * BIG)
    arrays = [memory.empty((BIG,)) for _ in range(4)]
    arrays.clear()
    assert 0 < memory.held() <= 5 * BIG
    small = memory.empty((BIG // 2,))
    del small
    assert memory.held() <= 5 * BIG
    memory.set_limit(0)
    assert memory.held() == 0 and memory.limit() == 0
    x = memory.empty((BIG,))
    del x
    assert memory.held() == 0
    for wrong, error in ((-1, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="set_limit"):
            memory.set_limit(wrong)


def test_small_arrays_are_numpys(clean_pool):
    used = memory.in_use()
    x = memory.empty((10, 10), np.int64)
    assert x.dtype == np.int64 and memory.in_use() == used
    assert memory.empty(()).shape == () and memory.empty((3, 0)).shape == (3, 0)


def test_what_arrays_leave_serves_arrays_of_other_sizes(clean_pool):
    size = memory.THRESHOLD
    arrays = [memory.empty((size // 4,)) for _ in range(6)]
    places = [a.ctypes.data for a in arrays]
    held, used = memory.held(), memory.in_use()
    for i in (1, 3, 2):     # neighbours, in an order in which each way of joining occurs
        arrays[i] = None
    assert memory.held() == held + 3 * size and memory.in_use() == used - 3 * size
    large = memory.empty((3 * size // 4,))
    assert large.ctypes.data == places[1] and memory.held() == held
    large[:] = 1
    for i in (0, 4, 5):
        arrays[i][:] = 2
    assert large.min() == large.max() == 1
    del large
    small = memory.empty((2 * size // 4,))
    assert small.ctypes.data == places[1] and memory.held() == held + size
    small[:] = 3
    assert all((arrays[i] == 2).all() for i in (0, 4, 5))


def test_no_two_arrays_share_memory(clean_pool):
    draw, arrays = np.random.default_rng(0), {}
    for i in range(3_000):
        if arrays and draw.random() < 0.5:
            array, mark = arrays.pop(draw.choice(list(arrays)))
            assert array[0] == array[len(array) // 2] == array[-1] == mark
        else:
            array = memory.empty((int(draw.integers(BIG // 2, 8 * BIG)),))
            assert array.ctypes.data % memory.ALIGNMENT == 0
            array[0] = array[len(array) // 2] = array[-1] = i
            arrays[i] = array, i
    most = memory.in_use() + memory.held()
    arrays.clear()
    del array
    assert memory.in_use() == 0 and memory.held() == most and len(memory._heap.holes) == 1


def test_a_call_in_the_midst_of_another_takes_new_memory(clean_pool):
    x = memory.empty((BIG,))
    used = memory.in_use()
    with memory._heap.busy:     # as if another thread, or this one before a signal, were at work on it
        y = memory.empty((BIG,))
        y[:] = 1
        del x
        assert memory.release() == 0
    assert y.ctypes.data % memory.ALIGNMENT == 0 and memory.in_use() < used
    assert (y == 1).all()


def test_an_interrupt_in_the_midst_of_a_call_leaves_no_heap_in_disorder(clean_pool, monkeypatch):
    x, before = memory.empty((BIG,)), memory._heap
    x[:] = 1

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(memory._Heap, "insert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            memory.empty((BIG,))
    assert memory._heap is not before
    y = memory.empty((BIG,))
    y[:] = 2
    assert (x == 1).all() and not before.busy.locked() and not memory._heap.busy.locked()


@pytest.mark.parametrize("threshold", [0, memory.THRESHOLD])
@pytest.mark.parametrize("shape", [(2, 3), (4, 3, 5, 2), (2, 1, 3), (3, 4, 1, 2), (5,), ()])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
def test_empty_like_keeps_the_order(shape, layout, threshold, monkeypatch, clean_pool):
    monkeypatch.setattr(memory, "THRESHOLD", threshold)
    x = lay(np.zeros(shape, F32), layout)
    mine, numpys = memory.empty_like(x), np.empty_like(x)
    assert mine.shape == shape and mine.dtype == F32
    assert [s for s, n in zip(mine.strides, shape, strict=True) if n > 1] == [
        s for s, n in zip(numpys.strides, shape, strict=True) if n > 1]
    if len(shape) > 2:
        assert core.is_channels_last(memory.empty(shape, F32, channels_last=True))


# -- BLAS beside oneDNN --------------------------------------------------------------------------------------------


@needs_onednn
def test_one_thread_for_our_products_only():
    before = blas.threads()
    if before is None:
        pytest.skip("NumPy has another BLAS")
    with blas.one_thread():
        assert blas.threads() == 1
        with blas.one_thread():
            assert blas.threads() == 1
        assert blas.threads() == 1
    assert blas.threads() == before
    with pytest.raises(ZeroDivisionError), blas.one_thread():
        raise ZeroDivisionError
    assert blas.threads() == before


def test_users_numpy_keeps_its_threads():
    code = """
import numpy, os
from threading import active_count
import lamina
from lamina.engine import blas, kernels
before = blas.threads()
x = numpy.ones((300, 300), numpy.float32)
kernels.linear(x, x, None); kernels.matmul(x[:9], x); kernels.relu(x)
print(blas.threads() == before, active_count())
"""
    assert run_python(code).stdout == "True 1\n"


# -- kernels: every fast form against its reference ------------------------------------------------------------------

SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 1e-40, 88.5, -104.0, 1e30, -1e30]


@st.composite
def values(draw, shape, special=True):
    """A float32 array of a shape: normal numbers of some size, a few of them exchanged for special ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    x = (rng.standard_normal(shape) * draw(st.sampled_from([0.01, 1.0, 5.0]))).astype(F32)
    if special and x.size and draw(st.booleans()):
        flat = x.reshape(-1)
        for _ in range(draw(st.integers(1, 4))):
            flat[draw(st.integers(0, flat.size - 1))] = draw(st.sampled_from(SPECIAL))
    return x


shapes = st.lists(st.sampled_from([0, 1, 1, 2, 3, 4, 7, 16]), max_size=4).map(tuple)
layouts = st.sampled_from(LAYOUTS)
quick = settings(max_examples=60, deadline=None)


def agree(name, *args, rtol=2e-6, atol=2e-6, may_decline=True):
    """Whether the fast form ran; its result must be the reference's, in value, shape and dtype."""
    kernel = getattr(kernels, name)
    before = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    with np.errstate(all="ignore"):
        mine = kernel.fast(*args)
        theirs = kernel.reference(*args)
    for was, now in zip(before, args, strict=True):
        np.testing.assert_array_equal(was, now)     # no kernel writes to its arguments
    if mine is NotImplemented:
        assert may_decline, f"{name} declined"
        return False
    assert mine.shape == np.shape(theirs) and mine.dtype == theirs.dtype
    np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol, err_msg=name)
    return True


ONE = [("relu",), ("leaky_relu", 0.1), ("leaky_relu", -0.5), ("sigmoid",), ("tanh",), ("gelu", "none"),
       ("gelu", "tanh"), ("softplus", 1.0, 20.0), ("softplus", 0.3, 18.0),
       ("sqrt",), ("abs",), ("square",), ("neg",), ("silu",), ("mish",), ("log_sigmoid",), ("hardsigmoid",), ("hardswish",),
       ("hardtanh", -1.0, 1.0), ("hardtanh", 0.0, 6.0),
       ("hardshrink", 0.5), ("softshrink", 0.5), ("elu", 1.0, 1.0, 1.0), ("elu", 0.3, 1.5, 0.7), ("elu", 1.67, 1.05, 1.0)]
TWO = [("relu_backward",), ("leaky_relu_backward", 0.1), ("sigmoid_backward",), ("tanh_backward",),
       ("softplus_backward", 1.0, 20.0), ("softplus_backward", 0.5, 30.0), ("gelu_backward", "none"),
       ("gelu_backward", "tanh"), ("silu_backward",), ("mish_backward",), ("log_sigmoid_backward",), ("shrink_backward", 0.5),
       ("hardtanh_backward", -1.0, 1.0), ("hardtanh_backward", 0.0, 6.0), ("hardsigmoid_backward",), ("hardswish_backward",),
       ("elu_backward", 1.0, 1.0, 1.0), ("elu_backward", 0.3, 1.5, 0.7)]
# may decline: on one thread; with infinite gradients; with NaN, or infinite, in the input
PLAIN = {"tanh", "relu_backward", "hardsigmoid", "mish_backward", "shrink_backward", "hardtanh_backward", "hardsigmoid_backward",
         "hardswish_backward", "elu_backward"}


@needs_onednn
@pytest.mark.parametrize("case", ONE, ids=lambda case: "-".join(map(str, case)))
@quick
@given(data=st.data())
def test_functions_of_one_array(case, data):
    name, *parameters = case
    x = lay(data.draw(values(data.draw(shapes))), data.draw(layouts))
    if name == "sqrt":
        x = lay(np.abs(x), data.draw(layouts))
    agree(name, x, *parameters, may_decline=x.size < 2 or name in PLAIN)


@needs_onednn
@pytest.mark.parametrize("case", TWO, ids=lambda case: "-".join(map(str, case)))
@quick
@given(data=st.data())
def test_backward_of_one_array(case, data):
    name, *parameters = case
    shape = data.draw(shapes)
    x = data.draw(values(shape))
    if name in ("sigmoid_backward", "tanh_backward"):   # the array is the forward's result
        x = getattr(kernels, name.removesuffix("_backward")).reference(np.clip(x, -50, 50)).astype(F32)
    if name == "relu_backward":
        x = np.maximum(x, 0)
    grad = data.draw(values(shape))
    if name in ("silu_backward", "log_sigmoid_backward", "elu_backward", "mish_backward"):
        grad = np.where(np.isfinite(grad), grad, F32.type(2))       # inf times a slope that only one form rounds to 0
    if name == "gelu_backward":     # in the tail the derivative is a difference of equal numbers: 0 in one form, 1e-9 in another
        x = np.where(np.abs(x) > 4, np.where(np.isfinite(x), F32.type(2), x), x)
    size = np.abs(np.where(np.isfinite(grad), grad, 0)).max(initial=1.0)
    agree(name, lay(grad, data.draw(layouts)), lay(x, data.draw(layouts)), *parameters, rtol=1e-5, atol=1e-6 * size,
          may_decline=x.size < 2 or name in PLAIN)


def moderate(x):
    return np.abs(x).max(initial=0) < 1e6


@needs_onednn
@quick
@given(data=st.data())
def test_prelu_and_glu(data):
    shape = (*data.draw(st.lists(st.sampled_from([1, 2, 8]), min_size=2, max_size=2)), *data.draw(shapes))
    weight = data.draw(values((1, shape[1], *[1] * (len(shape) - 2)) if data.draw(st.booleans()) else ()))
    x, grad = (lay(data.draw(values(shape)), data.draw(layouts)) for _ in range(2))
    agree("prelu", x, weight, rtol=0, atol=0)
    with np.errstate(all="ignore"):
        mine = kernels.prelu_backward.fast(grad, x, weight)
        theirs = kernels.prelu_backward.reference(grad, x, weight)
    if mine is not NotImplemented:
        np.testing.assert_array_equal(mine[0], theirs[0])
        if moderate(grad) and moderate(x):
            size = max(1.0, float((np.abs(grad) * np.abs(x)).sum(initial=0)))
            np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-5, atol=1e-6 * size)
    axis = data.draw(st.integers(0, len(shape) - 1))
    double = np.repeat(x, 2, axis)
    agree("glu", double, axis)
    if moderate(grad) and moderate(double):
        size = float(np.abs(grad).max(initial=1.0)) * float(np.abs(double).max(initial=1.0))
        agree("glu_backward", grad, double, axis, rtol=1e-5, atol=1e-6 * size)


@needs_onednn
@quick
@given(data=st.data())
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, data):
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 10, 70]), min_size=1, max_size=4).map(tuple))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = lay(data.draw(values(shape)), data.draw(layouts))
    agree(name, x, axis, rtol=2e-6, atol=4e-6)
    with np.errstate(all="ignore"):
        y = lay(getattr(kernels, name).reference(x, axis), data.draw(layouts))
    grad = lay(data.draw(values(shape)), data.draw(layouts))
    finite = np.abs(grad[np.isfinite(grad)])
    if finite.size == grad.size:
        agree(name + "_backward", grad, y, axis, rtol=1e-5, atol=2e-5 * max(1.0, float(finite.max())))
        return
    with np.errstate(all="ignore"):
        mine = getattr(kernels, name + "_backward").fast(grad, y, axis)
        theirs = getattr(kernels, name + "_backward").reference(grad, y, axis)
    if mine is not NotImplemented:
        np.testing.assert_array_equal(np.isfinite(mine), np.isfinite(theirs))


@needs_onednn
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", [(512, 10), (40, 1000), (3, 20, 9, 9), (2, 100, 7, 7)])
def test_softmax_runs_fast_on_rows(name, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(F32)
    x = core.channels_last(x) if len(shape) > 2 else x
    assert agree(name, x, 1, may_decline=False)
    y = core.like(getattr(kernels, name).reference(x, 1), x)
    assert agree(name + "_backward", core.like(x[::-1].copy(), x), y, 1, atol=1e-5, may_decline=False)


@needs_onednn
@quick
@given(data=st.data())
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
def test_two_arrays(name, data):
    fast_binary.LARGE, large = 0, fast_binary.LARGE
    try:
        shape = data.draw(shapes)
        x = lay(data.draw(values(shape)), data.draw(layouts))
        kind = data.draw(st.sampled_from(["number", "same", "broadcast"]))
        if kind == "number":
            y = data.draw(st.sampled_from([0, 3, -2.5, 1e-3, 1e39, INF]))
        elif kind == "same":
            y = lay(data.draw(values(shape)), data.draw(layouts))
        else:
            other = tuple(1 if data.draw(st.booleans()) else n for n in shape)[data.draw(st.integers(0, len(shape))):]
            y = lay(data.draw(values(other)), data.draw(layouts))
            if data.draw(st.booleans()):
                x, y = y, x
        agree(name, x, y, rtol=0, atol=0)
    finally:
        fast_binary.LARGE = large


@needs_onednn
@pytest.mark.parametrize("shape, other, layout", [
    ((1000, 10), (10,), "plain"), ((256, 300), (256, 1), "plain"), ((8, 16, 9, 9), (16, 1, 1), "plain"),
    ((8, 16, 8, 8), (16, 1, 1), "permuted"), ((8, 10, 8, 8), (1, 10, 1, 1), "permuted"), ((4, 3, 64, 5), (4, 1, 64, 5), "plain"),
    ((6, 4, 32, 5), (6, 1, 1, 5), "plain"), ((64, 64), (64, 64), "transposed"), ((500,), (1,), "plain")])
def test_broadcasts_that_are_fast(shape, other, layout, monkeypatch):
    monkeypatch.setattr(fast_binary, "LARGE", 0)
    rng = np.random.default_rng(0)
    x, y = lay(rng.standard_normal(shape).astype(F32), layout), rng.standard_normal(other).astype(F32)
    for name in ("add", "sub", "mul", "div"):
        assert agree(name, x, y, rtol=0, atol=0, may_decline=False)
    assert agree("mul", y, x, rtol=0, atol=0, may_decline=False)


@needs_onednn
@quick
@given(data=st.data())
def test_products(data):
    matmul.SMALL, small = 0, matmul.SMALL
    try:
        m, k, n = (data.draw(st.sampled_from([0, 1, 2, 3, 8, 17])) for _ in range(3))
        batch = data.draw(st.lists(st.integers(1, 3), max_size=3).map(tuple))

        def side(rows, columns):
            own = tuple(1 if data.draw(st.booleans()) else b for b in batch)[data.draw(st.integers(0, len(batch))):]
            return lay(data.draw(values((*own, rows, columns), special=False)), data.draw(layouts))

        a, b = side(m, k), side(k, n)
        agree("matmul", a, b, rtol=1e-5, atol=1e-3)
        bias = lay(data.draw(values((n,), special=False)), data.draw(layouts)) if data.draw(st.booleans()) else None
        x = a if data.draw(st.booleans()) else a[..., 0, :] if m else a
        agree("linear", x, lay(data.draw(values((n, k), special=False)), data.draw(layouts)), bias, rtol=1e-5, atol=1e-3)
    finally:
        matmul.SMALL = small


@needs_onednn
@pytest.mark.parametrize("shape", [(64, 784, 128), (100, 512, 512), (512, 64, 512), (1, 600, 300), (70, 70, 70)])
@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_large_products_run_fast(shape, turned):
    m, k, n = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(F32), rng.standard_normal((k, n)).astype(F32)
    a = np.ascontiguousarray(a.T).T if turned[0] else a
    b = np.ascontiguousarray(b.T).T if turned[1] else b
    assert agree("matmul", a, b, rtol=1e-5, atol=1e-4, may_decline=False)
    if turned[1]:
        bias = rng.standard_normal(n).astype(F32)
        assert agree("linear", a, b.T, bias, rtol=1e-5, atol=1e-4, may_decline=False)


@needs_onednn
def test_products_keep_nan_and_inf():
    a, b = np.ones((64, 64), F32), np.ones((64, 64), F32)
    a[3, 5], b[7, 9], b[5, 11] = NAN, INF, 0.0
    agree("matmul", a, b, may_decline=False)
    assert np.isnan(kernels.matmul.fast(a, b)[3]).all()


@needs_onednn
def test_mismatched_products_are_the_references_to_refuse():
    a = np.ones((100, 100), F32)
    for name, args in (("matmul", (a, a[:99])), ("linear", (a, a[:, :99], None))):
        assert getattr(kernels, name).fast(*args) is NotImplemented
        with pytest.raises(ValueError):
            getattr(kernels, name)(*args)


@needs_onednn
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, ">f4", bool])
def test_other_dtypes_are_declined(dtype):
    x = np.ones((20, 20), dtype)
    for name, *rest in [*ONE, ("add", x), ("softmax", 1), ("matmul", x), ("linear", x, None)]:
        assert getattr(kernels, name).fast(x, *rest) is NotImplemented
    for name, *rest in TWO:
        assert getattr(kernels, name).fast(x, x, *rest) is NotImplemented
        assert getattr(kernels, name).fast(np.ones((20, 20), F32), x, *rest) is NotImplemented


@needs_onednn
def test_numpy_scalars_are_declined():
    one = F32.type(1)
    for name, *rest in [*ONE, ("add", one), ("softmax", 0)]:
        assert getattr(kernels, name).fast(one, *rest) is NotImplemented


@needs_onednn
@pytest.mark.skipif(core.CHECK, reason="a checked plan refers to itself")
def test_a_dropped_plan_is_freed_at_once():
    d = core.plain_desc((16,))
    p = core.plan(core.primitive("eltwise_forward", 96, abi.SQUARE, d, d, 0.0, 0.0), abi.SRC, abi.DST)
    p.run(np.ones(16, F32), np.ones(16, F32))
    gone = weakref.ref(p.run)
    gc.disable()
    try:
        del p
        assert gone() is None
    finally:
        gc.enable()
