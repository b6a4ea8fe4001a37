"""3x3 convolutions by Winograd's minimal filtering, F(4x4, 3x3): 36 products for what takes 144 directly.

A tile of 6x6 inputs gives 4x4 outputs: Y = Aᵀ[(G w Gᵀ) ∘ (Bᵀ d B)]A, summed over the input channels before Aᵀ and A are
applied, so that the sums are 36 matrix products over channels. The matrices come from interpolation at the points 0, ±2/3,
±3/2 and infinity. The usual points 0, ±1, ±2 make Aᵀ and Bᵀ cheap by hand, but lose digits; here all transforms are matrix
products, which any numbers suit. With these the largest error against float64 was 0.7 to 2.5 times that of PyTorch's direct
convolution (with the usual ones 3.8 to 8.7 times; normal inputs, 64 to 512 channels). See B. Barabasz et al., "Error
analysis and improving the accuracy of Winograd convolution", 2020. The gradient to the input, which could be computed in the
same way, is not: PyTorch sums it in short parts, and the error would be up to six times its.

Tiles are worked through in blocks that stay in the cache. An infinity or NaN would spread over its tile, so unless all
results are finite, they are computed again directly. ``LAMINA_WINOGRAD=0`` or ``set_enabled(False)`` turns all of it off.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from lamina.engine.memory import empty
from lamina.engine.onednn import abi, core, threads
from lamina.engine.onednn.core import F32, channels_last_desc, plain_desc, plan, primitive
from lamina.engine.onednn.layouts import prepare, results

ndarray = np.ndarray
Ints = tuple[int, ...]

POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
BLOCK = 12_800  # tiles times channels in a block: its 36 planes fill some two megabytes

_enabled = os.environ.get("LAMINA_WINOGRAD", "1") != "0"


def enabled() -> bool:
    """Whether convolutions may be computed this way where it is faster."""
    return _enabled


def set_enabled(on: bool) -> None:
    """Allow or forbid it, for all convolutions from now on."""
    global _enabled
    with threads.making:
        _enabled = bool(on)
        for forget in threads._forget:
            forget()


def _matrices() -> tuple[ndarray, ndarray, ndarray]:
    """Aᵀ (4, 6), G (6, 3) and Bᵀ (6, 6) of the points and infinity.

    They are the values of polynomials of degrees 3, 2 and (inverted) 5. The powers of two that make their rows alike in
    size change no digit.
    """

    def values(terms: int) -> ndarray:
        return np.array([*([float(p**k) for k in range(terms)] for p in POINTS), [0.0] * (terms - 1) + [1.0]])

    a, g, b = values(4), values(3), np.linalg.inv(values(6)).T
    sizes = np.array([np.linalg.norm(m, axis=1) for m in (a, g, b)])
    factors = 2.0 ** np.round(np.log2(np.cbrt(sizes.prod(0)) / sizes))
    factors[1] = 1 / (factors[0] * factors[2])
    a, g, b = (m * f[:, None] for m, f in zip((a, g, b), factors, strict=True))
    return a.T, g, b


# Both dimensions at once: (16, 36), (36, 9), (36, 36)
OUT, KERNEL, IN = (np.ascontiguousarray(np.kron(m, m), np.float32) for m in _matrices())


class _Tiling:
    """How a batch (n, c, h, w) is cut into tiles, and tiles into blocks."""

    def __init__(self, x: Ints, outputs: int, out: Ints, before: Ints) -> None:
        self.x, (self.n, self.c, self.h, self.w) = x, x
        self.o, self.out, self.before = outputs, out, before
        self.down, self.across = (-(-size // 4) for size in out)
        self.tiles = self.n * self.down * self.across
        wanted = max(64, BLOCK // self.c)
        image = self.down * self.across
        self.images = min(self.n, max(1, wanted // image))
        self.rows = self.down if image <= 3 * wanted // 2 else max(1, wanted // self.across)

    def pays(self) -> bool:
        """Whether it is clearly faster than the direct way, from the speeds measured on one core of an AVX2 machine, in ns.

        What NumPy does, it does on one core, however many work on the rest.
        """
        c, o, tiles = self.c, self.o, self.tiles
        products = 36 * c * o * tiles / 42 + (36 * 36 * c + 16 * 36 * o) * tiles / 42 + 1.1 * 36 * c * o
        copies = 0.2 * 36 * c * tiles + 0.5 * 16 * o * tiles + 0.25 * self.n * self.h * self.w * c
        direct = 9 * c * o * self.n * self.out[0] * self.out[1] / 45
        return products + threads.get_num_threads() * copies < 0.85 * direct

    def blocks(self) -> list[tuple[slice, int, int]]:
        """(images, first row of tiles, rows of tiles)"""
        return [
            (slice(first, min(first + self.images, self.n)), row, min(self.rows, self.down - row))
            for first in range(0, self.n, self.images)
            for row in range(0, self.down, self.rows)
        ]


def convolution(
    x: Ints, outputs: int, out: Ints, before: Ints, exact: Callable[..., ndarray], sums: Callable[[ndarray], Any]
) -> Any:
    """A function (x, w, bias, version) that convolves, or ``None`` where that is no gain.

    ``exact`` computes the same directly, and ``sums`` adds up a result.
    """
    t = _Tiling(x, outputs, out, before)
    if not _enabled or min(x) < 1 or not t.pays():
        return None
    blocks = t.blocks()
    products: dict[int, tuple[Any, Any, Any]] = {}
    for images, _, rows in blocks:
        tiles = (images.stop - images.start) * rows * t.across
        if tiles not in products:
            made = _products(tiles, t.c, t.o)
            if made is None:
                return None
            products[tiles] = made
    transform = _kernel_transform(t.c, t.o)
    if transform is None:
        return None
    y_shape = (t.n, t.o, *out)
    room, _ = results(y_shape, channels_last_desc(y_shape), y_shape)
    largest = max(products)

    def run(x: ndarray, w: ndarray, bias: ndarray | None, version: Any) -> ndarray:
        kernels = prepare(w, version, "winograd", transform)
        y = room()
        source, target = (np.moveaxis(a, 1, -1) for a in (core.channels_last(x), y))
        d, v, m, r = (empty((k * largest * c,), F32) for k, c in ((36, t.c), (36, t.c), (36, t.o), (16, t.o)))
        padded: dict[tuple[int, int], ndarray] = {}
        for images, row, rows in blocks:
            n = images.stop - images.start
            frame = padded.get((n, rows))
            if frame is None:
                frame = padded[n, rows] = _frame(t, n, rows)
            _fill(t, frame, source[images], row)
            shape = n, rows, t.across
            tiles = n * rows * t.across
            np.copyto(d[: 36 * tiles * t.c].reshape(6, 6, *shape, t.c), _patches(frame, *shape))
            inwards, over_channels, outwards = products[tiles]
            inwards.run(d, v)
            over_channels.run(v, kernels, m)
            outwards.run(m, r)
            _place(target[images], r[: 16 * tiles * t.o].reshape(4, 4, *shape, t.o), row, bias)
        return y if np.isfinite(sums(y)).all() else exact(x, w, bias, version)

    run.implementation = "winograd"  # type: ignore[attr-defined]
    return run


def _products(tiles: int, c: int, o: int) -> tuple[Any, Any, Any] | None:
    """The products that lead into the transformed domain, sum over channels there, and lead out of it."""
    leads = []
    for matrix, channels in ((IN, c), (OUT, o)):
        shapes = matrix.shape, (36, tiles * channels), (len(matrix), tiles * channels)
        pd = primitive("matmul", *map(plain_desc, shapes[:2]), None, plain_desc(shapes[2]))
        leads.append(plan(pd, abi.WEIGHTS, abi.DST, fixed={abi.SRC: matrix}))
    pd = primitive("matmul", plain_desc((36, tiles, c)), plain_desc((36, c, o)), None, plain_desc((36, tiles, o)))
    made = leads[0], plan(pd, abi.SRC, abi.WEIGHTS, abi.DST), leads[1]
    return None if None in made else made


def _kernel_transform(c: int, o: int) -> Callable[[ndarray], ndarray] | None:
    """What takes a weight (o, c, 3, 3) to (36, c, o)."""
    spread = core.reorder_plan(core.strided_desc((9, c, o), (1, 9, 9 * c)), plain_desc((9, c, o)))
    pd = primitive("matmul", plain_desc((36, 9)), plain_desc((9, c * o)), None, plain_desc((36, c * o)))
    product = plan(pd, abi.WEIGHTS, abi.DST, fixed={abi.SRC: KERNEL})
    if spread is None or product is None:
        return None

    def transform(w: ndarray) -> ndarray:
        flat, kernels = empty((9 * c * o,), F32), empty((36, c, o), F32)
        spread.run(np.ascontiguousarray(w), flat)
        product.run(flat, kernels)
        return kernels

    return transform


def _frame(t: _Tiling, n: int, rows: int) -> ndarray:
    """Room for the inputs of a block of tiles, with zeros at the left and right."""
    frame = empty((n, 4 * rows + 2, 4 * t.across + 2, t.c), F32)
    frame[:, :, : t.before[1]] = 0
    frame[:, :, t.before[1] + t.w :] = 0
    return frame


def _fill(t: _Tiling, frame: ndarray, source: ndarray, row: int) -> None:
    """Put the inputs of a block into its frame, with zeros above and below the image."""
    shift = 4 * row - t.before[0]
    first, last = max(0, -shift), min(frame.shape[1], t.h - shift)
    columns = min(t.w, frame.shape[2] - t.before[1])
    if first:
        frame[:, :first] = 0
    if last < frame.shape[1]:
        frame[:, max(last, 0) :] = 0
    frame[:, first:last, t.before[1] : t.before[1] + columns] = source[:, first + shift : last + shift, :columns]


def _patches(frame: ndarray, n: int, down: int, across: int) -> ndarray:
    """The overlapping inputs of all tiles: (6, 6, n, down, across, c)."""
    image, row, column, channel = frame.strides
    shape, strides = (6, 6, n, down, across, frame.shape[3]), (row, column, image, 4 * row, 4 * column, channel)
    return np.lib.stride_tricks.as_strided(frame, shape, strides)


def _place(target: ndarray, tiles: ndarray, row: int, bias: ndarray | None) -> None:
    """Write tiles (4, 4, n, down, across, o) and the bias to where they belong in the images (n, h, w, o)."""
    _, _, n, down, across, o = tiles.shape
    part = target[:, 4 * row : 4 * (row + down)]
    if part.shape[1] == 4 * down and part.shape[2] == 4 * across:
        pairs = [(tiles, part.reshape(n, down, 4, across, 4, o).transpose(2, 4, 0, 1, 3, 5))]
    else:  # some tiles reach over the edge
        pairs = []
        for i in range(4):
            for j in range(4):
                spot = part[:, i::4, j::4]
                pairs.append((tiles[i, j, :, : spot.shape[1], : spot.shape[2]], spot))
    for values, spot in pairs:
        if bias is None:
            np.copyto(spot, values)
        else:
            np.add(values, bias, out=spot)
