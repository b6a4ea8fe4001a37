"""The benchmark: its rows are those that are promised, what they have to do is counted right, its pages say what was measured.

Nothing here asserts a time.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support import need_torch

import lamina

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("needs the checkout", allow_module_level=True)


@pytest.fixture(autouse=True)
def _checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)


@pytest.fixture
def known():
    from benchmarks.rows import cases

    return cases()


PROMISED = (
    "^conv .*Conv1d", "^conv .*Conv2d 3x3 on", "^conv .*Conv2d 1x1", "^conv .*Conv2d 7x7 s2", "^conv .*Conv2d 5x5",
    "^conv .* dil ", "^conv .*groups", "^conv .*depthwise", "^conv .*Conv3d", "ConvTranspose2d", r"\| MaxPool2d",
    "AvgPool2d", "AdaptiveAvgPool2d", "MaxPool1d", "MaxPool3d", "BatchNorm2d", "LayerNorm", "GroupNorm", "RMSNorm",
    r"\| Linear .*\| 1 \|", r"\| Linear .*\| 64 \|", r"\| Linear .*\| 1024 \|", r"\| Embedding", r"\| ReLU", "GELU",
    "Sigmoid", "Softplus", "SiLU", "Softmax", "CrossEntropy", r"\| RNN on 512", "LSTM to 64 on 28", r"\| GRU on 512",
    "GRU 2 layers both ways", "LSTMCell", "MultiheadAttention", "encoder layer", "Dropout", "Upsample", "sum of dim",
    r"tanh\(xy", "Adam 10 million", "SGD 10 million", r"overhead \| 100 x a \+ b", "start . import",
    "start .*import to first result",
)  # fmt: skip


@pytest.fixture
def listed(capsys):
    def labels(*options):
        from benchmarks.__main__ import main

        assert main([*options, "--list"]) == 0
        return capsys.readouterr().out.splitlines()

    return labels


def test_rows_that_are_promised(listed):
    labels = listed()
    assert len(labels) == len(set(labels))
    for pattern in PROMISED:
        assert any(re.search(pattern, label) for label in labels), pattern


def test_every_model_is_trained_used_compiled_and_weighed(listed):
    from benchmarks.models import MODELS

    labels = listed()
    for model in MODELS:
        for start in (
            f"model training | {model.name} on", f"model in use | {model.name} on", f"compiled in use | {model.name} on",
            f"compiled training | {model.name}, ", f"peak memory | {model.name} on",
        ):  # fmt: skip
            assert any(label.startswith(start) for label in labels), start
        for group, other in (
            ("compiled in use", "ONNX Runtime | 1 |"), ("compiled in use", "ONNX Runtime | 16 |"),
            ("compiled training", "torch.compile |"), ("compiled training", "eager |"),
        ):  # fmt: skip
            pattern = f"^{group} .*{re.escape(model.name)}.* / {re.escape(other)}"
            assert any(re.search(pattern, label) for label in labels), pattern


def test_the_standard_set_has_every_group_and_one_batch_of_a_layer(listed):
    everything, standard = listed(), listed("--standard")
    groups = {label.split(" | ")[0] for label in everything}
    assert set(standard) < set(everything) and {label.split(" | ")[0] for label in standard} == groups
    assert "norm | BatchNorm2d on 64x56x56 | 16 | forward" in standard
    assert "norm | BatchNorm2d on 64x56x56 | 1 | forward" not in standard
    assert any("ONNX Runtime | 1 |" in label for label in standard)
    only = listed("--standard", "--only", "^optimizer")
    assert only and all(label.startswith("optimizer | ") for label in only)


# -- what a row has to do ------------------------------------------------------------------------------------------


def work_of(known, start):
    (label,) = [label for label in known if label.startswith(start)]
    return known[label].work(lamina)


MLP = 40 * 21 + 40 * 41 + 3 * 41  # weights


@pytest.mark.parametrize(
    "label, flop, moved",
    [
        ("linear | Linear to 512 on 512 | 16 | forward", 2 * 16 * 512 * 513, 4 * (512 * 513 + 2 * 16 * 512)),
        ("linear | Linear to 512 on 512 | 16 | forward+backward", 6 * 16 * 512 * 513, 8 * (512 * 513 + 2 * 16 * 512)),
        ("conv | Conv2d 5x5 to 2 on 1x512x512 | 1 | forward", 2 * 508 * 508 * 2 * 25, 4 * (512**2 + 50 + 2 * 508**2)),
        ("conv | Conv2d 3x3 depthwise on 128x56x56 | 1 | forward", 2 * 128 * 56 * 56 * 10, 4 * (256 * 56 * 56 + 1280)),
        ("rnn | LSTM on 512x64 | 1 | forward", 2 * 512 * 4 * 64 * 130, 4 * (4 * 64 * 130 + 2 * 512 * 64)),
        ("transformer | attention on 8x128x64 | 1 | forward", 2 * 2 * 8 * 128 * 128 * 64, 4 * 2 * 8 * 128 * 64),
        ("activation | ReLU on 256 | 16 | forward+backward", None, 4 * 4 * 16 * 256),
        ("pool | MaxPool2d 2 on 64x56x56 | 1 | forward", None, 4 * 64 * (56 * 56 + 28 * 28)),
        ("norm | LayerNorm on 64 | 16 | forward", None, 4 * (2 * 16 * 64 + 2 * 64)),
        ("table | Embedding 1000x64 at 128 | 1 | forward", None, 128 * 8 + 2 * 4 * 128 * 64),
        ("optimizer | Adam 10 million, 1 tensors | 1 | step", None, 7 * 4 * 10_000_000),
        ("optimizer | SGD 10 million, 1 tensors | 1 | step", None, 3 * 4 * 10_000_000),
        ("model in use | MLP 20-40-40-3 on 20 | 16 | inference", 32 * MLP, 4 * (MLP + 16 * 20)),
    ],
)
def test_arithmetic_and_memory(known, label, flop, moved):
    work = known[label].work(lamina)
    assert work.get("flop") == flop
    assert work["bytes"] == moved


def test_a_training_step_is_three_passes_but_for_the_gradient_of_the_data(known):
    step = work_of(known, "model training | MLP 20-40-40-3 on 20, Adam | 32 |")
    first, rest = 32 * 40 * 21, 32 * (40 * 41 + 3 * 41)
    assert step["flop"] == 2 * (2 * first + 3 * rest)
    words = work_of(known, "model training | char-LSTM on 64, Adam | 32 |")
    assert words["flop"] == 3 * work_of(known, "compiled in use | char-LSTM on 64 / eager | 16 |")["flop"] * 2


def test_rows_that_cannot_say_it(known):
    assert work_of(known, "overhead | 100 x a + b, 10 elements | 1 |") is None


def levels(near, far):
    return [{"name": "L2", "bytes": 1000, "rate": near}, {"name": "memory", "bytes": None, "rate": far}]


def test_what_the_machine_can_do():
    from benchmarks import peak

    assert peak.bandwidth(1 << 16, 1) > 0 and peak.caches()["L2"] > 0
    one = {"flops": {"NumPy": 2e9, "torch": 4e9}, "levels": levels(1e9, 1e8)}
    other = {"flops": {"NumPy": 3e9, "lamina": 1e9}, "levels": levels(2e9, 1e7)}
    both = peak.highest(one, other)
    assert both["flops"] == {"NumPy": 3e9, "torch": 4e9, "lamina": 1e9}
    assert [level["rate"] for level in both["levels"]] == [2e9, 1e8]
    assert peak.fraction(both, {"flop": 2e9, "bytes": 500}, 1.0) == (0.5, "arithmetic")
    assert peak.fraction(both, {"bytes": 500}, 1e-6) == (0.25, "L2")
    assert peak.fraction(both, {"flop": 4e6, "bytes": 5e7}, 1.0) == (0.5, "memory")
    assert peak.fraction(both, {}, 1.0) is None
    assert peak.describe(both).startswith("4 GFLOP/s in float32 (4 by torch, 3 by NumPy, 1 by lamina); 2 GB/s L2")


# -- growth --------------------------------------------------------------------------------------------------------


def grown(exponent=1.0):
    from benchmarks.growth import cases

    measured = {}
    for label, case in cases().items():
        work = case.batch**exponent
        measured[label] = {"torch_ms": 3 * work, "lamina_ms": work, "ratio": 3.0, "quartiles": [3, 3], "bytes": work}
    return measured


def test_growth_has_five_sizes_of_either_axis():
    from benchmarks.growth import SIZES, curves

    for axis in SIZES:
        found = curves(grown(), axis)
        assert len(found) >= 9 and all(curve["size"] == list(SIZES[axis]) for curve in found.values())
        assert any("attention" in name for name in found) and any("encoder" in name for name in found)


def test_growth_rows_run_and_know_their_work():
    from benchmarks.growth import cases

    for case in cases().values():
        if case.batch in (1, 16):
            assert case.prepare(lamina)() is not None
            assert case.work(lamina)["bytes"] > 0
    known = cases()
    long, short = (known[f"growth of sequence | attention, 4xTx32 | {size} | forward+backward"].work(lamina) for size in (64, 16))
    assert long["flop"] == 16 * short["flop"] and long["bytes"] == 4 * short["bytes"]


def test_slopes_and_pictures(tmp_path):
    from benchmarks.growth import draw, slope, table

    assert slope([1, 4, 16, 64, 256], [9, 9, 16, 256, 4096]) == pytest.approx(2)
    text = table(grown(1.5))
    assert "| Linear 512 to 512 | batch | 1.50 | 1.50 | " in text
    pytest.importorskip("matplotlib", reason="pictures need it")
    files = draw(grown(), tmp_path)
    assert [file.name for file in files] == ["growth-batch.png", "growth-sequence.png"]
    assert all(file.stat().st_size > 20_000 for file in files)


# -- pages ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def report():
    peak = {"flops": {"NumPy": 1e9}, "levels": levels(1e9, 1e9)}
    held = {"torch_MB": 3.0, "lamina_MB": 2.0, "ratio": 1.5, "quartiles": [1.5, 1.5], "pairs": 1}
    row = {"torch_ms": 4.0, "lamina_ms": 2.0, "ratio": 2.0, "quartiles": [1.9, 2.1], "pairs": 5}
    slow = {"torch_ms": 1.0, "lamina_ms": 2.0, "ratio": 0.5, "quartiles": [0.4, 0.6], "pairs": 5}
    rows = {
        "conv | Conv2d on 1x2 | 16 | forward": row | {"flop": 1e6, "bytes": 10},
        "norm | BatchNorm2d on 1 | 16 | forward": slow,
        "norm | noisy | 16 | forward": slow | {"quartiles": [0.4, 1.2]},
        "tensor | |x|^1.7 on 1 | 16 | forward": row,
        "model training | LeNet on 1x28x28, Adam | 64 | step": row,
        "model in use | LeNet on 1x28x28 | 1 | inference": row | {"ratio": 3.0},
        "compiled training | LeNet, Adam / eager | 64 | step": row | {"ratio": 4.0},
        "compiled in use | LeNet on 1x28x28 / ONNX Runtime | 16 | inference": row | {"ratio": 5.0},
        "peak memory | LeNet on 1x28x28, Adam | 64 | step": held,
        "peak memory | LeNet, Adam / eager | 64 | step": held | {"ratio": 9.0},
        "mystery | x on 1 | 16 | forward": slow,
        "pool | failed | 16 | forward": {"error": {"lamina": "no"}},
    }
    machine = {"cpu": "Some CPU", "cores": 2, "system": "Linux", "python": "3.11", "commit": "abc", "date": "2026-01-01"}
    sides = {"torch": {"version": "2.13"}, "lamina": {"version": "0.1"}}
    return {"machine": machine, "threads": 2, **sides, "peak": peak, "rows": rows}


def test_the_page_has_ratios_shares_and_reasons(report):
    from benchmarks.report import page, unexplained

    text = page(report)
    assert "| Conv2d on 1x2 | 16 | forward | 4 | 2 | 2.00 | 1.90 to 2.10 | 25 %, 50 % arithmetic |" in text
    assert "| BatchNorm2d on 1 | 16 | forward | 1 | 2 | 0.50 | 0.40 to 0.60 | – |" in text
    assert r"| \|x\|^1.7 on 1 | 16 |" in text
    assert "1 GFLOP/s in float32" in text
    assert re.search(r"- \*\*Statistics .*BatchNorm2d on 1 \(norm, 16, forward\) 0\.50", text)
    assert re.search(r"- \*\*The spread of the pairs .*noisy", text)
    assert re.search(r"- \*\*Not explained yet.* x on 1", text)
    assert unexplained(report) == ["mystery | x on 1 | 16 | forward"]
    assert "failed" not in text


def test_the_readmes_tables_by_group_and_model(report):
    from benchmarks.report import HEADS, readme, table

    text = table(report)
    assert "| norm | 2 | **0.50** | 0.50 | 0.50 | 2 |" in text
    assert "| LeNet | 2.00 | 3.00 | – | 1.50 | 4.00 | – | – | 5.00 |" in text
    numbers = [re.findall(r"\d+(?:\.\d+)?", readme(report, name)) for name in HEADS]
    assert numbers[0] == numbers[1]


def test_only_what_is_between_the_marks_is_written(tmp_path):
    from benchmarks.report import BEGIN, END, between

    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    between(path, "new\n")
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_every_reason_is_for_some_row(listed):
    from benchmarks.reasons import REASONS

    labels = listed()
    for pattern, _ in REASONS:
        assert any(re.search(pattern, label) for label in labels), pattern


# -- a run ---------------------------------------------------------------------------------------------------------


def test_rows_are_added_to_those_of_an_earlier_run(tmp_path, report):
    from benchmarks.__main__ import earlier, write

    file = tmp_path / "run.json"
    assert earlier(file, report) == {}
    write(file, report)
    now = json.loads(json.dumps(report)) | {"machine": report["machine"] | {"commit": "def"}}
    now["peak"]["flops"]["NumPy"] = 5e8
    kept = earlier(file, now)
    assert kept.keys() == report["rows"].keys() and {row["commit"] for row in kept.values()} == {"abc"}
    assert now["peak"]["flops"]["NumPy"] == 1e9
    with pytest.raises(SystemExit, match="threads"):
        earlier(file, now | {"threads": 1})


def test_a_run_from_end_to_end(tmp_path, capsys):
    need_torch()
    from benchmarks.__main__ import main

    file = tmp_path / "run.json"
    assert main(["--only", r"^norm \| LayerNorm on 64 \| 16 \| forward$", "--quick", "--threads", "1", "--json", str(file)]) == 0
    run = json.loads(file.read_text(encoding="utf-8"))
    (row,) = run["rows"].values()
    assert row["pairs"] == 5 and row["ratio"] > 0 and row["bytes"] == 4 * (2 * 16 * 64 + 2 * 64)
    assert set(run["peak"]["flops"]) == {"NumPy", "torch", "lamina"} and str(ROOT) not in file.read_text(encoding="utf-8")
    printed = capsys.readouterr().out
    assert "GFLOP/s" in printed and "1 rows, geometric mean" in printed


def test_a_process_that_ends_is_a_finding():
    from benchmarks.__main__ import Ended, Worker

    worker = Worker("lamina", 1)
    worker.process.kill()
    worker.process.wait()
    with pytest.raises(Ended, match="lamina process ended"):
        worker.ask(info=True)
    worker.close()
