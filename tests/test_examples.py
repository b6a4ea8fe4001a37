"""The examples run as they stand, and learn what they say they learn."""

import contextlib
import io
import runpy
from pathlib import Path

import numpy as np
import pytest

for module in ("matplotlib", "PIL", "pywt", "sklearn"):
    pytest.importorskip(module, reason="the demo extra is not installed")

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="needs the checkout")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["example"])
    return tmp_path


def run(name, **settings):
    program = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        return program["main"](**settings), printed.getvalue()


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
    accuracy, printed = run("digits", epochs=8)
    assert accuracy >= 0.98
    assert "epoch  8" in printed


def test_sequence_beats_no_change_clearly():
    (ours, unchanged), _ = run("sequence", epochs=6)
    assert unchanged == pytest.approx(0.584, abs=5e-4)  # a property of the data alone
    assert ours < 0.8 * unchanged
