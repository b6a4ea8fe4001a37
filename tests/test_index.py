"""The index of names, and that files are read no earlier than they are wanted."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import write_index

import lamina
from lamina import _dtypes, nn, ops
from lamina._later import names_of
from lamina.engine import door, kernels


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_the_index_is_what_the_files_say():
    assert write_index.FILE.read_text(encoding="utf-8") == write_index.text(), "run python tests/write_index.py"


@pytest.mark.parametrize("table", ["REFERENCE", "FAST", "FUNCTIONS", "METHODS", "INPLACE", "NN_FUNCTIONS"])
def test_no_name_is_in_two_files(table):
    _, entries = write_index.tables()[table]
    names = [name for found in entries.values() for name in found]
    assert len(names) == len(set(names))


def test_every_late_name_is_there():
    for package in write_index.LATE:
        module = sys.modules.get(package) or importlib.import_module(package)
        for name in names_of(package):
            assert name in dir(module) and getattr(module, name) is getattr(module, name)


@pytest.mark.parametrize("module", [lamina, nn, nn.modules, nn.functional, lamina.autograd, lamina.optim, ops, kernels])
def test_a_name_that_is_nowhere(module):
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name
    assert not hasattr(lamina.Tensor, "no_such_name")


def test_every_table_reads_all_its_functions():
    for table in (ops.FUNCTIONS, ops.METHODS, ops.INPLACE, ops.NN_FUNCTIONS):
        assert len(dict(table)) == len(table) and all(callable(f) for f in table.values())
        assert "no_such_name" not in table
        with pytest.raises(KeyError):
            _ = table["no_such_name"]


def test_methods_are_functions_once_they_were_asked_for():
    code = (
        "import lamina\n"
        "before = type(vars(lamina.Tensor)['cumsum']).__name__\n"
        "x = lamina.arange(4).cumsum(0)\n"
        "print(before, type(vars(lamina.Tensor)['cumsum']).__name__, x.tolist(), lamina.Tensor.cumsum is lamina.cumsum)"
    )
    assert python(code) == "_Unread function [0, 1, 3, 6] True"


def test_an_unread_kernel_becomes_a_plain_one():
    kernel = door.Unread("relu", "piecewise", "eltwise")
    assert kernel.reference is kernels.relu.reference and type(kernel) is door.Unread
    assert kernel.min_size == kernels.relu.min_size and type(kernel) is door.Kernel
    assert kernel.fast is kernels.relu.fast and kernel.fast_from == kernel.fast.min_size
    slow = door.Unread("nonzero", "indexing", None)
    assert slow.fast is None and slow.min_size == door.NEVER
    with door.engine("reference"):
        kernel = door.Unread("relu", "piecewise", "eltwise")
        assert kernel.min_size == door.NEVER
    with pytest.raises(AttributeError):
        _ = door.Unread("relu", "piecewise", "eltwise").no_such_name


def test_the_engine_in_force_holds_for_kernels_that_are_read_later():
    code = (
        "import lamina\n"
        "from lamina.engine import kernels, set_engine, usage\n"
        "set_engine('reference')\n"
        "with usage() as used:\n"
        "    lamina.nn.Conv2d(3, 8, 3)(lamina.ones(2, 3, 16, 16))\n"
        "print(used['conv'], type(kernels.relu).__name__)"
    )
    assert python(code) == "(0, 1, 0) Unread"


def test_threads_that_ask_first_together():
    code = (
        "import threading, lamina\nfrom lamina import nn\n"
        "barrier, found = threading.Barrier(8), []\n"
        "def work():\n"
        "    barrier.wait()\n"
        "    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))\n"
        "    found.append(tuple(net(lamina.ones(1, 1, 8, 8)).cumsum(1).shape))\n"
        "threads = [threading.Thread(target=work) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(len(found), set(found))"
    )
    assert python(code) == "8 {(1, 2)}"


def test_types_of_ml_dtypes_enter_when_they_are_met():
    code = (
        "import sys, numpy as np, lamina as t\n"
        "x = t.tensor([1.0, 2.0], dtype=t.float16) + t.float32.itemsize + t.bfloat16.itemsize\n"
        "before = 'ml_dtypes' in sys.modules\n"
        "import ml_dtypes\n"
        "y = t.from_numpy(np.ones(2, ml_dtypes.bfloat16))\n"
        "print(before, (x.to(t.bfloat16) * y).dtype, t.promote_types(t.float16, t.bfloat16), t.float8_e5m2.is_floating_point)"
    )
    assert python(code) == "False torch.bfloat16 torch.float32 True"
    foreign = [t for t in _dtypes.ALL if t.name == "bfloat16" or t in _dtypes.FLOAT8]
    for t in foreign:
        assert (t.itemsize, t.is_floating_point, t.is_signed, t.rank) == (t.numpy.itemsize, t.numpy.kind in "fV", True, 2)
        assert _dtypes.BY_NUMPY[t.numpy] is t and t.numpy not in _dtypes.WIDE
    assert set(_dtypes.BY_NUMPY.values()) == set(_dtypes.ALL)
    with pytest.raises(AttributeError):
        _ = lamina.bfloat16.no_such_name


def test_star_imports_give_names_and_no_modules():
    code = "from lamina import *\nprint(callable(softmax), float32, 'signal' in dir(), 'nn' in dir(), 'TYPE_CHECKING' in dir())"
    assert python(code) == "True torch.float32 False False False"


def test_what_an_import_leaves_for_later():
    """What few programs need is not read before it is wanted: this holds what the start of a program gained."""
    late = (
        "ml_dtypes numpy.random numpy.polynomial ctypes.util pathlib subprocess tempfile shutil decimal json hashlib unittest "
        "multiprocessing concurrent.futures importlib.metadata lamina.optim lamina.fft lamina.special lamina.signal "
        "lamina.linalg lamina.func lamina.amp lamina.serialization lamina.compiler.record lamina.testing lamina.profiler "
        "lamina.distributions lamina.nn.utils lamina.nn.parallel lamina.nn.init lamina.nn.modules.conv lamina.ops.conv "
        "lamina.ops.special lamina.engine.onednn.core lamina.engine.onednn.abi lamina.engine.reference.bessel"
    ).split()
    code = "import sys, numpy; given = set(sys.modules)\nimport lamina, lamina.nn\n"  # NumPy's versions bring what they like
    assert python(f"{code}print([m for m in {late!r} if m in sys.modules and m not in given])") == "[]"
    few = python("import sys, lamina, lamina.nn; print(sum(m.startswith('lamina') for m in sys.modules))")
    assert int(few) < 60
