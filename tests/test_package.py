"""What is true of the package as a whole: metadata, size of an import, and what the checkout may hold."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import lamina

ROOT = Path(__file__).parents[1]


def python(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return result.stdout.strip()


def test_version_is_said_once_and_the_same_everywhere():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert declared and lamina.__version__ == declared[1]
    assert f"## [{lamina.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_installed_metadata():
    try:
        package = metadata.metadata("lamina")
    except metadata.PackageNotFoundError:
        pytest.skip("lamina runs from the checkout and is not installed")
    assert package["Version"] == lamina.__version__
    assert {"demo", "plot", "test", "bench"} <= set(package.get_all("Provides-Extra"))
    runtime = [line for line in metadata.requires("lamina") if "extra ==" not in line]
    # The metadata may spell a name as written or normalised (packaging's rule: "_" and "-" are the same).
    assert {re.split(r"[^\w-]", line)[0].replace("_", "-") for line in runtime} == {
        "ml-dtypes", "numpy", "onednn-cpu-gomp", "onednn-cpu-vcomp", "onednn-cpu-iomp",
    }  # fmt: skip


def test_typed_and_with_its_data():
    package = Path(lamina.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "data" / "camera.png").exists()
    assert (package / "data" / "LICENSES.md").exists()


def test_import_brings_nothing_but_numpy():
    """An import of lamina loads no optional package, no torch, and none of its own demo or plotting parts."""
    heavy = ["torch", "scipy", "sklearn", "matplotlib", "PIL", "pywt", "tqdm", "unittest"]
    parts = ["lamina.demo", "lamina.plotting", "lamina.cli"]
    loaded = python(f"import lamina, sys; print([m for m in {heavy + parts!r} if m in sys.modules])")
    assert loaded == "[]"


def test_import_as_torch_in_the_tutorials_words():
    code = """
import lamina as torch
import lamina.nn as nn
import lamina.nn.functional as F
from lamina.utils.data import DataLoader, TensorDataset
print(nn.Conv2d(1, 2, (5, 5), bias=False)(torch.zeros(1, 1, 9, 9)).shape)
"""
    assert python(code) == "torch.Size([1, 2, 5, 5])"


@pytest.mark.skipif(not (ROOT / "lamina").exists(), reason="looks at the checkout")
def test_no_file_of_the_library_loses_its_reader():
    """Files stay short enough to be read in one go."""
    long = {}
    for path in (ROOT / "lamina").rglob("*.py"):
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > 1000:
            long[str(path.relative_to(ROOT))] = lines
    assert not long


@pytest.mark.skipif(not (ROOT / "lamina").exists(), reason="looks at the checkout")
def test_rooms_import_downwards_only():
    """The order of docs/architecture.md: the engine knows no op, autograd no layer, and so on."""
    order = ["engine", "autograd", "ops", "_tensor", "nn"]
    allowed_upwards = set()
    for path in (ROOT / "lamina").rglob("*.py"):
        room = path.relative_to(ROOT / "lamina").parts[0].removesuffix(".py")
        if room not in order:
            continue
        source = path.read_text(encoding="utf-8")
        # Only imports at the top of a file count: one inside a function is a deliberate exception, made late.
        for module in re.findall(r"^(?:from|import) lamina\.(\w+)", source, re.MULTILINE):
            if module in order and order.index(module) > order.index(room):
                allowed_upwards.add((str(path.relative_to(ROOT)), module))
    assert not allowed_upwards
