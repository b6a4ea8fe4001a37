"""How cost grows with the batch and with the length of a sequence: rows at five sizes each, their slopes, and their pictures.

``python -m benchmarks --growth`` measures the rows and draws ``docs/images/growth-batch.png`` and ``growth-sequence.png``: time
against size on two logarithmic scales, and beside it the slope of what there is to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.rows import Case, Row, Step, attention, layer
from benchmarks.work import Work

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIZES = {"batch": (1, 4, 16, 64, 256), "sequence": (16, 64, 256, 1024, 4096)}
At = Callable[[int], Row]  # the row of a size, whose batch is made by `of`


def grown(axis: str, name: str, at: At, batch: Callable[[int], int] = lambda size: 1, sizes: tuple[int, ...] = ()) -> Row:
    """A row at each size of an axis: ``at(size)`` with a batch of ``batch(size)``."""

    def build(torch: ModuleType, size: int, backward: bool) -> Step:
        return at(size).build(torch, batch(size), backward)

    def count(lamina: Any, size: int, backward: bool) -> Work:
        made = at(size).count
        assert made
        return made(lamina, batch(size), backward)

    return Row(name, f"growth of {axis}", build, sizes or SIZES[axis], ("forward+backward",), count)


def rows() -> Iterator[Row]:
    """The layers in which models spend their time, one of each kind."""
    rnn = dict(batch_first=True)
    encoder = dict(dropout=0.0, batch_first=True)
    same = lambda size: size  # noqa: E731
    for name, make, *shape in (
        ("Linear 512 to 512", lambda nn: nn.Linear(512, 512), 512),
        ("Conv2d 32 to 32, 3x3, 28x28", lambda nn: nn.Conv2d(32, 32, 3, padding=1), 32, 28, 28),
        ("BatchNorm2d, 32x28x28", lambda nn: nn.BatchNorm2d(32), 32, 28, 28),
        ("LSTM 64 to 64, T 32", lambda nn: nn.LSTM(64, 64, **rnn), 32, 64),
        ("GRU 64 to 64, T 32", lambda nn: nn.GRU(64, 64, **rnn), 32, 64),
        ("encoder layer 128, T 64", lambda nn: nn.TransformerEncoderLayer(128, 4, 512, **encoder), 64, 128),
        ("Softmax of 1000", lambda nn: nn.Softmax(-1), 1000),
        ("GELU, 32x28x28", lambda nn: nn.GELU(), 32, 28, 28),
    ):
        row = layer("growth", name, make, *shape)
        yield grown("batch", name, lambda size, row=row: row, same)
    yield grown("batch", "attention, 4x64x32", lambda size: attention("attention", False, 4, 64, 32), same)
    for name, make, width in (
        ("Linear 128 to 128, T x 128", lambda nn: nn.Linear(128, 128), 128),
        ("Conv1d 64 to 64, 3, 64 x T", lambda nn: nn.Conv1d(64, 64, 3, padding=1), 64),
        ("LayerNorm, T x 128", lambda nn: nn.LayerNorm(128), 128),
        ("LSTM 64 to 64, N 8", lambda nn: nn.LSTM(64, 64, **rnn), 64),
        ("GRU 64 to 64, N 8", lambda nn: nn.GRU(64, 64, **rnn), 64),
        ("encoder layer 128", lambda nn: nn.TransformerEncoderLayer(128, 4, 512, **encoder), 128),
        ("Softmax, 64 x T", lambda nn: nn.Softmax(-1), 64),
        ("tanh, T x 128", lambda nn: nn.Tanh(), 128),
    ):
        last = name.endswith("x T")  # the sequence is the last dimension
        at = lambda size, n=name, m=make, w=width, last=last: layer("growth", n, m, *((w, size) if last else (size, w)))  # noqa: E731
        yield grown("sequence", name, at, lambda size, n=name: 8 if "N 8" in n else 1)
    for causal in (False, True):
        name = "causal attention, 4xTx32" if causal else "attention, 4xTx32"
        yield grown("sequence", name, lambda size, c=causal: attention("attention", c, 4, size, 32))


def cases() -> dict[str, Case]:
    return {case.label: case for row in rows() for case in row.cases()}


def slope(sizes: list[int], costs: list[float]) -> float:
    """The exponent of the growth over the upper three sizes, where what a call costs by itself no longer counts."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(costs[-3:]), 1)[0])


def curves(measured: dict[str, dict[str, Any]], axis: str) -> dict[str, dict[str, list[float]]]:
    """By row: sizes, the seconds of both libraries, and the work (arithmetic, where there is some, or else memory)."""
    found: dict[str, dict[str, list[float]]] = {}
    for label, row in measured.items():
        group, name, size, _ = label.split(" | ")
        if group == f"growth of {axis}" and "ratio" in row:
            curve = found.setdefault(name, {"size": [], "torch": [], "lamina": [], "work": []})
            curve["size"].append(int(size))
            for side in ("torch", "lamina"):
                curve[side].append(row[f"{side}_ms"] / 1e3)
            curve["work"].append(row.get("flop") or row["bytes"])
    return found


def table(measured: dict[str, dict[str, Any]]) -> str:
    """Markdown: the slopes of every row whose sizes were all measured."""
    lines = ["| row | grows with | slope of the work | of torch | of lamina | ratios, smallest size first |", "|---" * 6 + "|"]
    for axis in SIZES:
        for name, curve in curves(measured, axis).items():
            if len(curve["size"]) < 3:
                continue
            work, torch, lamina = (f"{slope(curve['size'], curve[key]):.2f}" for key in ("work", "torch", "lamina"))
            ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(curve["torch"], curve["lamina"], strict=True))
            lines.append(f"| {name} | {axis} | {work} | {torch} | {lamina} | {ratios} |")
    return "\n".join(lines) + "\n"


def draw(measured: dict[str, dict[str, Any]], folder: Path = IMAGES) -> list[Path]:
    """One picture per axis; returns the files."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator

    files = []
    for axis in SIZES:
        found = curves(measured, axis)
        if not found:
            continue
        columns = min(5, len(found))
        lines = math.ceil(len(found) / columns)
        figure = Figure(figsize=(2.5 * columns, 2.4 * lines + 0.5), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
        for panel in panels[len(found) :]:
            panel.set_visible(False)
        for panel, (title, curve) in zip(panels, found.items(), strict=False):
            sizes = curve["size"]
            work = np.array(curve["work"]) * curve["lamina"][-1] / curve["work"][-1]
            panel.loglog(sizes, 1e3 * work, "--", color="0.6", linewidth=1.2, label="slope of the work")
            for side, name, mark, color in (("torch", "PyTorch", "s-", "#c44e52"), ("lamina", "lamina", "o-", "#2a6f97")):
                panel.loglog(sizes, 1e3 * np.array(curve[side]), mark, color=color, markersize=3.5, linewidth=1.3, label=name)
            panel.set_ylim(bottom=600 * min(curve["torch"] + curve["lamina"]))  # the slope may leave the panel below
            panel.set_title(title, fontsize=8)
            panel.set_xticks(sizes, [str(int(size)) for size in sizes], fontsize=7)
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            panel.tick_params(axis="y", labelsize=7)
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        for panel in panels[::columns]:
            panel.set_ylabel("ms, forward + backward", fontsize=7)
        figure.supxlabel("batch" if axis == "batch" else "length of the sequence", fontsize=8)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"growth-{axis}.png")
        figure.savefig(files[-1], dpi=110, metadata={"Software": None})
    return files
