"""``python -m benchmarks``: every row with torch and with lamina in turn, as a ratio torch / lamina.

A ratio above 1 means that lamina is faster or, where memory is measured, needs less. The two run in processes
of their own that take turns in short bursts, so that whatever else the machine does meets both; each begins when the threads
of the other sleep. A ratio is the median over the pairs of bursts, with its quartiles beside it. Where a row can say what it
has to do, the shares of the machine's peak that torch and lamina reach follow, and of which peak (with ``--json``). The exit
code is 1 if a row failed or gave two different results.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import growth, peak
from benchmarks.models import COLD
from benchmarks.rows import Case, cases

ROOT = Path(__file__).parents[1]
SIDES = ("torch", "lamina")


def threads_of(number: int) -> dict[str, str]:
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(number))


class Ended(Exception):
    """A worker's process is gone."""


class Worker:
    """A process that holds one library; see ``worker.py``."""

    def __init__(self, library: str, threads: int) -> None:
        self.library = library
        environment = {**os.environ, **threads_of(threads)}
        command = [sys.executable, "-m", "benchmarks.worker", library, str(threads)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise Ended(f"the {self.library} process ended with code {self.process.wait()}") from None

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe
            with suppress(BrokenPipeError):  # of a request that nobody has read
                pipe.close()


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def same(one: list[float], other: list[float]) -> bool:
    """Whether two summaries come from one computation, up to what float32 sums of any order differ by."""
    scale = max((abs(value) for value in one[1:]), default=0.0)
    close = (
        math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-3 * scale + 1e-7)
        for a, b in zip(one, other, strict=False)
    )
    return len(one) == len(other) and all(close)


def result(values: dict[str, list[float]], unit: str = "ms", scale: float = 1e3) -> dict[str, Any]:
    ratios = [a / b for a, b in zip(values["torch"], values["lamina"], strict=True)]
    low, middle, high = quartiles(ratios) if len(ratios) > 1 else ratios * 3
    return {
        f"torch_{unit}": scale * statistics.median(values["torch"]),
        f"lamina_{unit}": scale * statistics.median(values["lamina"]),
        "ratio": middle,
        "quartiles": [low, high],
        "pairs": len(ratios),
    }


def measure(label: str, workers: dict[str, Worker], pairs: int, burst: float) -> dict[str, Any]:
    """Prepare one case on both sides, compare what they compute, and time them in turn."""
    ready = {side: worker.ask(prepare=label) for side, worker in workers.items()}
    errors = {side: answer["error"] for side, answer in ready.items() if "error" in answer}
    if errors:
        return {"error": errors}
    calls = {side: min(max(round(burst / ready[side]["seconds"]), 1), 5000) for side in SIDES}
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    for pair in range(pairs):
        for side in SIDES if pair % 2 else SIDES[::-1]:
            answer = workers[side].ask(burst=calls[side])
            if "error" in answer:
                return {"error": {side: answer["error"]}}
            times[side].append(answer["seconds"])
    row = result(times) | (workers["lamina"].ask(work=label).get("work") or {})
    if not same(ready["torch"]["summary"], ready["lamina"]["summary"]):
        row["differs"] = {side: ready[side]["summary"] for side in SIDES}
    return row


IMPORT = "start | import | 1 | fresh process"
FIRST = {f"start | {name}, import to first result | 1 | fresh process": name for name in COLD}
IMPORTING = "import {side} as torch, {side}.nn"
INFERRING = (
    "from benchmarks.models import by_name; model = by_name('{model}'); net = model.make(torch).eval(); "
    "net(model.sample(torch, 1, model.shape, model.words))"
)


def measure_start(code: str, pairs: int, threads: int) -> dict[str, Any]:
    """The time that the code takes in a fresh interpreter."""
    times: dict[str, list[float]] = {side: [] for side in SIDES}
    # An installed package is compiled; the checkout has to be allowed to be, in the first pair.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment |= threads_of(threads)
    for pair in range(pairs + 1):
        for side in SIDES if pair % 2 else SIDES[::-1]:
            timed = f"import time as t; s = t.perf_counter(); {code.format(side=side)}; print(t.perf_counter() - s)"
            command = [sys.executable, "-c", timed]
            run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
            if run.returncode:
                return {"error": {side: run.stderr.strip().splitlines()[-1]}}
            if pair:  # the first pair reads the files into memory
                times[side].append(float(run.stdout))
    return result(times)


def memory_label(case: Case) -> str:
    return f"peak memory | {case.row.name} | {case.batch} | {case.mode}"


def measure_memory(label: str, threads: int) -> dict[str, Any]:
    """How far a case raises the peak of a fresh process, beyond what the import has taken."""
    grown: dict[str, list[float]] = {}
    for side in SIDES:
        worker = Worker(side, threads)
        answer = worker.ask(memory=label)
        worker.close()
        if "error" in answer:
            return {"error": {side: answer["error"]}}
        grown[side] = [answer["bytes"]]
    return result(grown, "MB", 1e-6)


def machine() -> dict[str, Any]:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found[1] if found else model
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def shares(row: dict[str, Any], measured: peak.Peak | None) -> str:
    """The shares of the peak that both sides reach, in words; nothing where the row does not say what it has to do."""
    if measured is None or "torch_ms" not in row:
        return ""
    theirs, ours = (peak.fraction(measured, row, row[f"{side}_ms"] / 1e3) for side in SIDES)
    return f"{100 * theirs[0]:.0f} %, {100 * ours[0]:.0f} % of {ours[1]}" if theirs and ours else ""


def line(label: str, row: dict[str, Any], measured: peak.Peak | None = None) -> str:
    group, name, batch, mode = label.split(" | ")
    start = f"{group:14} {name:40} {batch:>4} {mode:17}"
    if "error" in row:
        return start + "  FAILED  " + "; ".join(f"{side}: {error}" for side, error in row["error"].items())
    low, high = row["quartiles"]
    note = "  DIFFERENT RESULTS" if "differs" in row else ""
    unit = "ms" if "torch_ms" in row else "MB"
    digits = 4 if unit == "ms" else 1
    times = f"{row[f'torch_{unit}']:11.{digits}f}{row[f'lamina_{unit}']:11.{digits}f}{row['ratio']:9.2f}"
    return f"{start}{times}  {f'{low:6.2f} to {high:.2f}':16}{shares(row, measured)}{note}"


def heading(report: dict[str, Any]) -> str:
    machine, (torch, lamina) = report["machine"], (report[side]["version"] for side in SIDES)
    columns = f"{'torch ms/MB':>11}{'lamina':>11}{'ratio':>9}  quartiles"
    return (
        f"{machine['cpu']}, {report['threads']} threads, Python {machine['python']}\n"
        f"torch {torch}, lamina {lamina} at {machine['commit'] or 'no commit'}\n"
        f"{'at most ' + peak.describe(report['peak']) if 'peak' in report else ''}\n\n"
        f"{'group':14} {'row':40} {'N':>4} {'mode':17}{columns}"
    )


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--only", metavar="PATTERN", default="", help="cases whose label matches this regular expression; '^norm' is a group"
    )
    parser.add_argument(
        "--standard",
        action="store_true",
        help="the representative part: layers at batch 16, models in all their sizes,\n"
        "in use compiled against ONNX Runtime alone, and the memory of eager training",
    )
    parser.add_argument("--growth", action="store_true", help="the rows over batch and sequence, and docs/images/growth-*.png")
    parser.add_argument(
        "--quick", action="store_true", help="shorter bursts, the fewest pairs (5): a first look"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="threads of both sides (%(default)s)"
    )
    parser.add_argument("--pairs", type=int, help="pairs of bursts per row (9; with --quick 5)")
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write machine, versions, peak and rows to this file"
    )
    parser.add_argument("--add", action="store_true", help="keep the rows that FILE has and that are not measured now")
    parser.add_argument("--list", action="store_true", help="print the labels of the cases and stop")
    chosen = parser.parse_args(argv)
    chosen.pairs = chosen.pairs or (5 if chosen.quick else 9)
    if chosen.pairs < 5:
        parser.error("a ratio needs at least 5 pairs")
    if chosen.add and not chosen.json:
        parser.error("--add needs --json FILE")
    return chosen


def representative(label: str, known: dict[str, Case], memory: dict[str, str]) -> bool:
    """Whether a row is in the standard set."""
    if label in memory:
        return "compiled" not in memory[label]
    case = known.get(label)
    if case is None or case.row.group in ("model in use", "linear"):
        return True
    if case.row.group == "compiled in use":
        return case.row.name.endswith("ONNX Runtime")
    return case.batch == 16 or 16 not in case.row.batches


def earlier(path: Path, report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a file that an earlier run on this machine has written; each says of which commit it is."""
    if not path.exists():
        return {}
    old = json.loads(path.read_text(encoding="utf-8"))
    for what in ("cpu", "cores"):
        if old["machine"][what] != report["machine"][what]:
            raise SystemExit(f"{path} was measured on another machine: {old['machine'][what]}")
    if old["threads"] != report["threads"] or old["torch"]["version"] != report["torch"]["version"]:
        raise SystemExit(f"{path} was measured with {old['threads']} threads and torch {old['torch']['version']}")
    if "peak" in old and "peak" in report:
        report["peak"] = peak.highest(old["peak"], report["peak"])
    return {label: {"commit": old["machine"]["commit"], **row} for label, row in old["rows"].items()}


def write(path: Path, report: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    known = growth.cases() if options.growth else cases()
    memory = {memory_label(case): label for label, case in known.items() if "training" in case.row.group}
    labels = [*known, *([] if options.growth else [IMPORT, *FIRST]), *memory]
    labels = [label for label in labels if re.search(options.only, label, re.IGNORECASE)]
    if options.standard:
        labels = [label for label in labels if representative(label, known, memory)]
    if options.list:
        print("\n".join(labels))
        return 0
    workers = {side: Worker(side, options.threads) for side in SIDES}
    now: dict[str, dict[str, Any]] = {}
    minutes: dict[str, float] = {}
    try:
        report: dict[str, Any] = {"machine": machine(), "threads": options.threads}
        for side, worker in workers.items():
            report[side] = worker.ask(info=True)
        if options.json or options.growth:
            report["peak"] = peak.highest(*(workers[side].ask(peak=True) for side in SIDES))
        report["rows"] = earlier(options.json, report) if options.add else {}
        print(heading(report))
        for label in labels:
            begun = time.perf_counter()
            try:
                if label == IMPORT:
                    row = measure_start(IMPORTING, options.pairs, options.threads)
                elif label in FIRST:
                    code = f"{IMPORTING}; {INFERRING.format(model=FIRST[label])}"
                    row = measure_start(code, options.pairs, options.threads)
                elif label in memory:
                    row = measure_memory(memory[label], options.threads)
                else:
                    row = measure(label, workers, options.pairs, 0.02 if options.quick else 0.06)
            except Ended as ended:  # a row that takes its process with it is a finding, too
                row = {"error": {"runner": str(ended)}}
                for worker in workers.values():
                    worker.close()
                workers = {side: Worker(side, options.threads) for side in SIDES}
            group = label.split(" | ")[0]
            minutes[group] = minutes.get(group, 0.0) + (time.perf_counter() - begun) / 60
            report["rows"][label] = now[label] = row
            print(line(label, row, report.get("peak")), flush=True)
            if options.json:
                write(options.json, report)
    finally:
        for worker in workers.values():
            worker.close()
    if options.growth:
        print(f"\n{growth.table(report['rows'])}", *growth.draw(report["rows"]), sep="\n")
    print("\nminutes: " + ", ".join(f"{group} {taken:.1f}" for group, taken in minutes.items()))
    return conclude(now)


def conclude(rows: dict[str, dict[str, Any]]) -> int:
    """Print what stands out, and return the exit code."""
    ratios = {label: row["ratio"] for label, row in rows.items() if "ratio" in row}
    wrong = [label for label, row in rows.items() if "error" in row or "differs" in row]
    if ratios:
        mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
        slower = sorted((ratio, label) for label, ratio in ratios.items() if ratio < 1)
        clear = sum(rows[label]["quartiles"][1] < 1 for _, label in slower)
        print(f"\n{len(ratios)} rows, geometric mean {mean:.2f}.")
        print(f"torch is faster in {len(slower)}; in {clear} even the upper quartile is below 1 (*):")
        for ratio, label in slower:
            low, high = rows[label]["quartiles"]
            print(f"{'*' if high < 1 else ' '} {ratio:5.2f}  {low:5.2f} to {high:4.2f}  {label}")
    if wrong:
        print(f"\n{len(wrong)} rows failed or gave different results:")
        print("\n".join(f"  {label}" for label in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
