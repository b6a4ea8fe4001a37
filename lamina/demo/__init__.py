"""``lamina demo``: the library on real data, in four parts that each end in a picture.

Every part is a program in PyTorch's own words and can be read alone: ``photo`` (convolution and pooling),
``activations`` (functions and their gradients), ``digits`` (a convolutional network learns) and ``sequence``
(an LSTM learns).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

# What is imported, and the package that brings it.
NEEDS = {
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "pywt": "pywavelets",
    "sklearn": "scikit-learn",
    "tqdm": "tqdm",
}


def photograph() -> Path:
    """The path of the photograph that ships with lamina (512 x 512, grey, CC0: see ``data/LICENSES.md``)."""
    return Path(str(files("lamina") / "data" / "camera.png"))


def check_requirements() -> None:
    """Raise ImportError, naming every package of the ``demo`` extra that is missing."""
    missing = [package for module, package in NEEDS.items() if find_spec(module) is None]
    if missing:
        raise ImportError(f'the demo needs {", ".join(missing)}: pip install "lamina[demo]"')


def run(
    image: str | Path | None = None, out: str | Path = "lamina-demo", quick: bool = False
) -> Iterator[str]:
    """Run the four parts one after the other, and yield what each has to say as soon as it is done.

    Args:
        image: a picture of at least 6 x 6 pixels in any format that Pillow reads. Default: ``photograph()``.
        out: the folder for the pictures and the saved weights; it is made if need be.
        quick: train for a few epochs only, to see that everything works rather than how well.

    Raises ImportError if a package of the ``demo`` extra is missing, OSError or ValueError if the image can't
    be used.
    """
    check_requirements()
    from lamina.demo import activations, digits, photo, sequence

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    yield photo.run(Path(image) if image else photograph(), folder)
    yield activations.run(folder)
    yield digits.run(folder, epochs=3 if quick else 15)
    yield sequence.run(folder, epochs=3 if quick else 12)
    yield f"done in {time.perf_counter() - start:.1f} s"
