"""What PyTorch's scripts ask of devices, settings and old names: answered as PyTorch's CPU build answers."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from support import assert_same, need_torch, quietly, same_error

import lamina


def answers(t):
    return {
        "cuda": (t.cuda.is_available(), t.cuda.device_count(), t.cuda.is_initialized(), t.cuda.memory_allocated(),
                 t.cuda.max_memory_allocated(), t.cuda.manual_seed(1), t.cuda.manual_seed_all(1), t.cuda.empty_cache(),
                 t.cuda.get_rng_state_all(), t.cuda.is_bf16_supported()),
        "mps": (t.mps.device_count(), t.backends.mps.is_available(), t.backends.mps.is_built(), t.mps.manual_seed(0)),
        "xpu": (t.xpu.is_available(), t.xpu.device_count(), t.xpu.manual_seed_all(0)),
        "accelerator": (t.accelerator.is_available(), t.accelerator.device_count(), t.accelerator.current_accelerator()),
        "cudnn": (t.backends.cudnn.is_available(), t.backends.cudnn.version(), t.backends.cudnn.enabled,
                  t.backends.cudnn.benchmark, t.backends.cudnn.deterministic),
        "cuda backend": (t.backends.cuda.is_built(), t.backends.cuda.matmul.allow_tf32),
        "device": (str(t.get_default_device()), str(t.device("cuda" if t.cuda.is_available() else "cpu"))),
        "version": (t.version.cuda, t.version.hip, isinstance(t.__version__, str)),
        "precision": (t.get_float32_matmul_precision(), t.set_float32_matmul_precision("highest")),
        "deterministic": (t.use_deterministic_algorithms(True), t.are_deterministic_algorithms_enabled(),
                          t.get_deterministic_debug_mode(), t.use_deterministic_algorithms(True, warn_only=True),
                          t.is_deterministic_algorithms_warn_only_enabled(), t.use_deterministic_algorithms(False),
                          t.are_deterministic_algorithms_enabled(), t.set_deterministic_debug_mode("default")),
        "anomaly": (t.set_anomaly_enabled(True), t.is_anomaly_enabled(), t.set_anomaly_enabled(False), t.is_anomaly_enabled()),
        "kinds": (t.numel(t.ones(2, 3)), t.is_complex(t.ones(1)), t.is_floating_point(t.ones(1)), t.is_nonzero(t.tensor(1)),
                  t.is_same_size(t.ones(1), t.ones(2)), t.is_signed(t.ones(1)), t.is_inference(t.ones(1)), t.is_conj(t.ones(1)),
                  t.is_neg(t.ones(1)), t.get_device(t.ones(1)), t.typename(t.ones(1)), t.typename(1)),
    }  # fmt: skip


def test_questions_have_pytorchs_answers():
    assert answers(lamina) == answers(need_torch())


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.cuda.current_device(), lambda t: t.cuda.synchronize(), lambda t: t.cuda.get_device_name(0),
        lambda t: t.cuda.get_device_properties(0), lambda t: t.cuda.init(), lambda t: t.mps.synchronize(),
        lambda t: t.accelerator.synchronize(), lambda t: t.accelerator.current_device_index(),
        lambda t: t.xpu.current_device(), lambda t: t.use_deterministic_algorithms("a"),
        lambda t: t.set_deterministic_debug_mode("x"), lambda t: t.set_num_interop_threads(0),
        lambda t: t.is_nonzero(t.ones(2)), lambda t: t.is_nonzero(t.ones(0)), lambda t: t.numel([1]),
        lambda t: t.is_same_size(t.ones(1), 3), lambda t: t.can_cast(1, t.int8), lambda t: t.nothing_of_this_name,
        lambda t: t.ones(1, device=t.device("cuda")),
    ],
)  # fmt: skip
def test_what_needs_a_device_or_an_argument_raises(call):
    same_error(call)


def test_modules_can_be_imported_by_path():
    for name in ("cuda", "mps", "xpu", "accelerator", "version", "backends.cudnn", "backends.cuda", "backends.mps",
                 "backends.mkldnn", "backends.mkl", "backends.openmp", "backends.cpu"):  # fmt: skip
        importlib.import_module(f"lamina.{name}")
    assert isinstance(lamina.backends.mkldnn.is_available(), bool) and lamina.backends.cpu.get_cpu_capability()
    lamina.backends.cudnn.benchmark = True
    lamina.backends.cudnn.benchmark = False
    with lamina.device("cpu"):
        assert lamina.ones(1).device == lamina.device("cpu")
    with pytest.raises(AssertionError, match="CUDA"), lamina.device("cuda"):
        lamina.ones(1)
    with pytest.warns(UserWarning, match="not one of"):
        lamina.set_float32_matmul_precision("x")


def test_can_cast():
    torch = need_torch()
    names = ("bool", "uint8", "int8", "int64", "float16", "float64", "complex64")
    for a in names:
        for b in names:
            wanted = torch.can_cast(getattr(torch, a), getattr(torch, b))
            assert lamina.can_cast(getattr(lamina, a), getattr(lamina, b)) == wanted, (a, b)


TYPED = ("Double", "Float", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool")


@pytest.mark.parametrize("name", [f"{n}Tensor" for n in TYPED])
def test_typed_tensors(name):
    torch = need_torch()
    ours, theirs = getattr(lamina, name), getattr(torch, name)
    for data in ([1, 0], [[1, 2], [3, 4]], (1, 2), np.array([1, 2])):
        assert_same(ours(data), theirs(data))
    assert ours(2, 3).shape == theirs(2, 3).shape and ours().shape == theirs().shape
    assert ours(lamina.Size([2])).shape == theirs(torch.Size([2])).shape
    assert (ours.__name__, str(ours), str(ours.dtype)) == (theirs.__name__, str(theirs), str(theirs.dtype))
    x = ours([1])
    assert isinstance(x, ours) and not isinstance(3, ours) and type(x) is lamina.Tensor
    assert [isinstance(x, getattr(lamina, f"{n}Tensor")) for n in TYPED].count(True) == 1
    assert lamina.ones(1).type(ours).dtype is ours.dtype
    for wrong in ("a", 2.5, None):
        same_error(lambda t, wrong=wrong: getattr(t, name)(wrong))
    other = "float64" if name != "DoubleTensor" else "float32"
    same_error(quietly(lambda t: getattr(t, name)(t.ones(2, dtype=getattr(t, other)))))


def test_typed_tensors_share_memory_and_set_the_default():
    x = lamina.ones(2)
    lamina.FloatTensor(x)[0] = 5
    assert x.tolist() == [5.0, 1.0]
    assert lamina.LongTensor([1.7]).tolist() == [1]
    for given in (lamina.DoubleTensor, "torch.DoubleTensor"):
        try:
            lamina.set_default_tensor_type(given)
            assert lamina.ones(1).dtype is lamina.float64
        finally:
            lamina.set_default_tensor_type(lamina.FloatTensor)
    with pytest.raises(TypeError, match="floating-point"):  # PyTorch's says the same, but is confused afterwards
        lamina.set_default_tensor_type(lamina.LongTensor)


def test_variable():
    torch = need_torch()
    for t in (lamina, torch):
        source = t.ones(2)
        leaf = t.autograd.Variable(source, requires_grad=True)
        leaf.data[0] = 5
        (leaf * 3).sum().backward()
        assert source.tolist() == [5.0, 1.0] and leaf.grad.tolist() == [3.0, 3.0]
        again = t.autograd.Variable(leaf * 2)
        assert again.is_leaf and not again.requires_grad
        assert isinstance(source, t.autograd.Variable) and not isinstance(1, t.autograd.Variable)
    same_error(lambda t: t.autograd.Variable([1.0]))
    same_error(lambda t: t.autograd.Variable(t.ones(1).long(), requires_grad=True))


def test_in_place_functions_exist_under_pytorchs_names():
    """What PyTorch has as ``torch.name_`` and lamina as a method ``name_``, lamina has as a function."""
    torch = need_torch()
    expected = {n for n in dir(torch) if n.endswith("_") and not n.startswith("_") and hasattr(lamina.Tensor, n)}
    missing = sorted(n for n in expected if not hasattr(lamina, n))
    assert not missing
    x = lamina.tensor([0.5])
    assert lamina.exp_(x) is x and lamina.clamp_(x, 0, 1).item() == 1.0 and lamina.sigmoid_(x) is x


def test_python_m_lamina():
    result = subprocess.run([sys.executable, "-m", "lamina", "config"], check=True, capture_output=True, text=True)
    assert "engine" in result.stdout
