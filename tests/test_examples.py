"""The examples run as they stand, and learn what they say they learn."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from support import need_torch

for module in ("matplotlib", "PIL", "pywt", "sklearn"):
    pytest.importorskip(module, reason="the demo extra is not installed")

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="needs the checkout")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["example"])
    return tmp_path


def run(name, *arguments):
    """What an example prints, as lines."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr("sys.argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name.split()[0]}.py"), run_name="__main__")
    return printed.getvalue().splitlines()


def numbers(line):
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", line)]


def test_edges(in_a_folder_of_its_own, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("Agg")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        program = runpy.run_path(str(EXAMPLES / "edges.py"))
    plt.close("all")
    assert printed.getvalue().splitlines() == [
        "(1, 1, 512, 512)",
        "(1, 2, 508, 508)",
        "(1, 2, 254, 254)",
        "(1, 2, 254, 254)",
        "(1, 2, 100, 100)",
    ]
    # The outline, worked out in whole numbers: 25 times the pixel less the sum of the 5 x 5 pixels around it.
    image = program["im"].astype("int64")
    sums = np.lib.stride_tricks.sliding_window_view(image, (5, 5)).sum(axis=(2, 3))
    np.testing.assert_array_equal(program["out"][0].numpy(), 25 * image[2:-2, 2:-2] - sums)
    assert (in_a_folder_of_its_own / "edges.png").stat().st_size > 10_000


def test_digits_are_read_at_98_percent():
    *epochs, last = run("digits", "--epochs", "8")
    assert len(epochs) == 8
    _, network, linear = numbers(last.replace("digits.pt", "digits 0"))
    assert network >= 98 > linear


def test_sequence_beats_no_change_clearly():
    *_, last = run("sequence", "--epochs", "6")
    _, lstm, unchanged = numbers(last.replace("sequence.pt", "sequence 0"))
    assert unchanged == pytest.approx(0.584, abs=5e-4)  # a property of the data alone
    assert lstm < 0.8 * unchanged


def test_fine_tuning_beats_learning_from_nothing():
    _, tuned, scratch = run("finetune", "--steps", "200")
    assert numbers(tuned)[-1] >= 93
    assert numbers(tuned)[-1] > numbers(scratch)[-1] + 5


def test_the_autoencoder_beats_principal_components(in_a_folder_of_its_own, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    *_, last = run("autoencoder", "--epochs", "30")
    _, network, linear = numbers(last)
    assert network < 0.75 * linear
    assert (in_a_folder_of_its_own / "autoencoder.png").stat().st_size > 10_000


def test_the_rod_follows_the_law():
    *_, reached, unchanged = run("heat", "--steps", "400")
    assert numbers(reached)[-1] < 0.25 * numbers(unchanged)[-1]


SMALL = {
    "digits": ("--epochs", "2"),
    "sequence": ("--epochs", "2"),
    "characters": ("--steps", "30", "--letters", "0"),
    "autoencoder": ("--epochs", "4"),
    "transformer": ("--epochs", "2"),
    "finetune": ("--steps", "60"),
    "heat": ("--steps", "60"),
}


def test_all_examples_are_compared():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SMALL, "edges", "on_torch"}


@pytest.mark.parametrize("name", SMALL)
def test_torch_prints_the_same_numbers(name):
    """To the tolerance that the example names."""
    need_torch()
    tolerance = float(re.search(r"same\s+numbers\s+within\s+([\d.]+) %", (EXAMPLES / f"{name}.py").read_text("utf-8"))[1]) / 100
    ours, theirs = run(name, *SMALL[name]), run("on_torch", name, *SMALL[name])
    assert len(ours) == len(theirs) > 1
    for our, their in zip(ours, theirs, strict=True):
        assert re.sub(r"[\d.]+", "#", our) == re.sub(r"[\d.]+", "#", their)
        assert numbers(our) == pytest.approx(numbers(their), rel=tolerance)


def test_a_checkpoint_of_torch_is_fine_tuned():
    need_torch()
    theirs = run("on_torch", "finetune", "--steps", "60")
    ours = run("finetune", "--steps", "60", "--checkpoint", "finetune.pt")
    assert len(theirs) == 3
    assert len(ours) == 2  # the first network was not trained again


def test_only_the_imports_are_changed(monkeypatch):
    translate = runpy.run_path(str(EXAMPLES / "on_torch.py"))["translate"]
    assert translate("import lamina as torch\nfrom lamina.utils import data\nx = 'import lamina'\n") == (
        "import torch as torch\nfrom torch.utils import data\nx = 'import lamina'\n"
    )
