"""``lamina demo`` and ``lamina config``: the command line, the pictures, the saved weights."""

import numpy as np
import pytest

import lamina
from lamina import cli

for module in ("matplotlib", "PIL", "pywt", "sklearn", "tqdm"):
    pytest.importorskip(module, reason="the demo extra is not installed")

from PIL import Image

from lamina import demo
from lamina.demo import digits, photo, sequence


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), dtype="float64")


@pytest.fixture(scope="module")
def quick_demo(tmp_path_factory):
    """One quick run of the whole command, whose results several tests look at."""
    folder = tmp_path_factory.mktemp("demo")
    assert cli.main(["demo", "--quick", "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", ["photo", "activations", "digits", "sequence"])
def test_demo_draws_each_part(quick_demo, name):
    drawn = pixels(quick_demo / f"{name}.png")
    assert min(drawn.shape) > 300
    assert drawn.std() > 20  # not an empty sheet


@pytest.mark.parametrize("part, model", [("digits", digits.network), ("sequence", sequence.Forecaster)])
def test_demo_saves_weights_that_load_again(quick_demo, part, model):
    saved, fresh = lamina.load(quick_demo / f"{part}.pt"), model()
    assert str(fresh.load_state_dict(saved)) == "<All keys matched successfully>"
    for name, value in fresh.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), saved[name].numpy())


def test_outline_kernel_answers_at_edges_only():
    """On a white square the outline kernel is zero inside and outside, and strongest along the border."""
    image = np.zeros((32, 32), dtype="float32")
    image[8:24, 8:24] = 1
    with lamina.no_grad():
        out = photo.kernels()(lamina.from_numpy(image)[None, None])
    assert tuple(out.shape) == (1, 2, 28, 28)
    outline = out[0, 0].numpy()
    assert np.all(outline[8:20, 8:20] == 0)
    assert np.all(outline[:4] == 0)
    assert np.all(outline[6, 8:20] == 10)  # the square's first row: two of five rows of the window are dark


def test_photograph_is_512_by_512_and_licensed():
    assert photo.load(demo.photograph()).shape == (512, 512)
    assert "CC0" in demo.photograph().with_name("LICENSES.md").read_text(encoding="utf-8")


def test_convolved_and_pooled_sizes_are_reported(quick_demo):
    line = photo.run(demo.photograph(), quick_demo)
    assert "512x512 -> convolved 508x508 -> pooled 254x254" in line


@pytest.mark.parametrize(
    "mode, size", [("RGB", (40, 30)), ("RGBA", (6, 6)), ("1", (64, 7)), ("I;16", (9, 9))]
)
def test_own_images_of_any_kind(tmp_path, mode, size):
    path = tmp_path / "own.png"
    Image.new(mode, size).save(path)
    width, height = size
    line = photo.run(path, tmp_path)
    assert f"{height}x{width} -> convolved {height - 4}x{width - 4}" in line
    assert (tmp_path / "photo.png").exists()


def test_unusable_images_are_refused_in_one_line(tmp_path, capsys):
    small, broken = tmp_path / "small.png", tmp_path / "broken.png"
    Image.new("L", (5, 9)).save(small)
    broken.write_text("not an image")
    for image, expected in [
        (small, "at least 6 x 6 pixels, got 9x5"),
        (broken, "cannot identify"),
        (tmp_path / "missing.png", "No such file"),
    ]:
        assert cli.main(["demo", "--image", str(image), "--out", str(tmp_path / "out")]) == 1
        message = capsys.readouterr().err
        assert expected in message and "Traceback" not in message


def test_missing_packages_are_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(demo.NEEDS, "no_such_module_of_the_demo", "no-such-package")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert 'needs no-such-package: pip install "lamina[demo]"' in capsys.readouterr().err


def test_config_says_version_and_engine(capsys):
    assert cli.main(["config"]) == 0
    text = capsys.readouterr().out
    assert lamina.__version__ in text
    assert "numpy" in text.lower()


@pytest.mark.parametrize("arguments, code", [("", 2), ("nonsense", 2), ("--version", 0), ("demo -h", 0)])
def test_usage(arguments, code, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments.split())
    assert exit.value.code == code
    assert "lamina" in "".join(capsys.readouterr())


def test_sequence_has_no_leak_from_the_future():
    """Every window ends three months before its target, and training targets lie before test targets."""
    train, test, dates = sequence.load()
    (windows, targets), (later, truth) = train.tensors, test.tensors
    assert tuple(windows.shape[1:]) == (24, 6) and len(targets) + len(truth) == 774
    assert dates[0] == pytest.approx(1996 + 0.5 / 12)
    # The target of window i is the newest month of window i + 3.
    region = windows[:, -1, sequence.REGION].numpy()
    np.testing.assert_array_equal(region[sequence.AHEAD :], targets.numpy()[: -sequence.AHEAD])
    np.testing.assert_array_equal(later[sequence.AHEAD :, -1, 3].numpy(), truth.numpy()[: -sequence.AHEAD])
