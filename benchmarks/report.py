"""``python -m benchmarks.report [--page | --readme] [FILE]``: a run that ``python -m benchmarks --json FILE`` made, as Markdown.

``--page`` writes docs/performance.md and ``--readme`` the READMEs, between their marks; what is written around these stays.
Without either, the READMEs' tables are printed.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import growth, peak
from benchmarks.models import MODELS
from benchmarks.reasons import FEW, REASONS, SHORT

Run = dict[str, Any]
ROOT = Path(__file__).parents[1]
LATEST = Path(__file__).with_name("latest.json")
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# Above the READMEs' tables. The numbers must come in the same order in every language.
HEADS = {
    "README.md": "{rows} rows with {threads} threads of an {cpu}; each of them, its share of the machine's peak, and "
    "what stands in the way: [docs/performance.md](docs/performance.md).",
    "README.zh-CN.md": "共 {rows} 行，{threads} 个线程，{cpu}；每一行的结果、达到机器峰值的比例以及尚存的障碍见 "
    "[docs/performance.md](docs/performance.md)（英文）。",
}  # fmt: skip
# The columns of a model: heading, group of the rows, their batch, and what their names end with.
COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("training", "model training", "", ""),
    ("in use, 1", "model in use", "1", ""),
    ("in use, 16", "model in use", "16", ""),
    ("memory of training", "peak memory", "", ""),
    ("compiled training to eager", "compiled training", "", "/ eager"),
    ("compiled training to torch.compile", "compiled training", "", "/ torch.compile"),
    ("compiled in use, 1, to ONNX Runtime", "compiled in use", "1", "/ ONNX Runtime"),
    ("compiled in use, 16, to ONNX Runtime", "compiled in use", "16", "/ ONNX Runtime"),
)


def mean(ratios: Iterable[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def measured(report: Run) -> dict[str, dict[str, Any]]:
    """The rows that have a ratio and do not tell of growth, which has a table of its own."""
    rows = report["rows"].items()
    return {label: row for label, row in rows if "ratio" in row and not label.startswith("growth of ")}


# -- the READMEs' tables -------------------------------------------------------------------------------------------


def table(report: Run) -> str:
    """Markdown: a line per group with the mean, the lowest and the highest ratio, and a line per model."""
    groups: dict[str, list[float]] = {}
    for label, row in measured(report).items():
        groups.setdefault(label.split(" | ")[0], []).append(row["ratio"])
    lines = ["| rows | number | torch / lamina | lowest | highest | below 1 |", "|---|---|---|---|---|---|"]
    for group, ratios in groups.items():
        below = sum(ratio < 1 for ratio in ratios)
        lines.append(
            f"| {group} | {len(ratios)} | **{mean(ratios):.2f}** | {min(ratios):.2f} | {max(ratios):.2f} | {below} |"
        )
    found = of_models(report)
    if found:
        lines += ["", f"| torch / lamina | {' | '.join(column[0] for column in COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
        lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in found.items()]
    return "\n".join(lines) + "\n"


def of_models(report: Run) -> dict[str, list[str]]:
    """The ratios of each model, by column; a dash where a row was not measured. The last line has the columns' means."""
    rows = measured(report)
    columns: list[dict[str, float]] = []
    for _, group, batch, ending in COLUMNS:
        column = {}
        for label, row in rows.items():
            its_group, name, its_batch, mode = label.split(" | ")
            if its_group != group or batch not in ("", its_batch) or not name.endswith(ending):
                continue
            for model in MODELS:
                eager = not ending and " / " not in name
                if re.match(re.escape(model.name) + "(?: on |, )", name) and (ending or eager):
                    column[model.name] = row["ratio"]
        columns.append(column)
    names = [model.name for model in MODELS if any(model.name in column for column in columns)]
    found = {name: [f"{column[name]:.2f}" if name in column else "–" for column in columns] for name in names}
    if names:
        found["geometric mean"] = [f"**{mean(column.values()):.2f}**" if column else "–" for column in columns]
    return found


def readme(report: Run, name: str) -> str:
    head = HEADS[name].format(rows=len(measured(report)), threads=report["threads"], cpu=report["machine"]["cpu"])
    return f"{head}\n\n{table(report)}"


# -- the page ------------------------------------------------------------------------------------------------------


def page(report: Run) -> str:
    """Every row, by group, slowest first: what is to be worked on stands on top. Before them, why rows are below 1."""
    machine, rows = report["machine"], measured(report)
    commits = {row["commit"] for row in rows.values() if "commit" in row} - {machine["commit"]}
    older = f" ({sum('commit' in row for row in rows.values())} rows at {', '.join(sorted(commits))})" if commits else ""
    text = [
        f"{machine['cpu']}, {report['threads']} threads, {machine['system']}, Python {machine['python']}; torch "
        f"{report['torch']['version']}, lamina at {machine['commit']}{older}, {machine['date']}.",
    ]
    if "peak" in report:
        text.append(f"The machine's peak: {peak.describe(report['peak'])}.")
    found = of_models(report)
    if found:
        text += ["\n## Models\n", f"| | {' | '.join(column[0] for column in COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
        text += [f"| {name} | {' | '.join(cells)} |" for name, cells in found.items()]
    text += ["\n## Rows below 1\n", *below(rows)]
    groups: dict[str, list[tuple[float, str]]] = {}
    for label, row in rows.items():
        group, name, batch, mode = label.split(" | ")
        unit = "ms" if "torch_ms" in row else "MB"
        low, high = row["quartiles"]
        name = name.replace("|", "\\|")
        line = (
            f"| {name} | {batch} | {mode} | {figure(row[f'torch_{unit}'])} | {figure(row[f'lamina_{unit}'])} | "
            f"{row['ratio']:.2f} | {low:.2f} to {high:.2f} | {shares(report, row)} |"
        )
        groups.setdefault(f"{group} ({unit})", []).append((row["ratio"], line))
    for group, lines in groups.items():
        average, slower = mean(ratio for ratio, _ in lines), sum(ratio < 1 for ratio, _ in lines)
        text += [
            f"\n## {group}\n", f"Geometric mean {average:.2f} over {len(lines)} rows, {slower} of them below 1.\n",
            "| row | batch | | torch | lamina | ratio | quartiles | of the peak |", "|---" * 8 + "|",
            *[line for _, line in sorted(lines)],
        ]  # fmt: skip
    slopes = growth.table(report["rows"])
    if slopes.count("\n") > 2:
        text += ["\n## Growth\n", slopes.rstrip()]
    return "\n".join(text) + "\n"


def shares(report: Run, row: dict[str, Any]) -> str:
    """The shares of the peak that torch and lamina reach, and of which; a dash where the row does not say what it has to do."""
    if "peak" not in report or "torch_ms" not in row:
        return "–"
    theirs, ours = (peak.fraction(report["peak"], row, row[f"{side}_ms"] / 1e3) for side in ("torch", "lamina"))
    if not (theirs and ours):
        return "–"
    return f"{percent(theirs[0])}, {percent(ours[0])} {ours[1]}"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1g} %"


def reason(label: str, row: dict[str, Any]) -> str | None:
    """Why a row is below 1: that the spread of its pairs reaches 1, that it is short, or what is known of its family."""
    if row["quartiles"][1] >= 1:
        return "The spread of the pairs reaches 1."
    if row.get("lamina_ms", SHORT) < SHORT and not label.startswith("compiled"):
        return FEW
    return next((text for pattern, text in REASONS if re.search(pattern, label)), None)


def unexplained(report: Run) -> list[str]:
    return [label for label, row in measured(report).items() if row["ratio"] < 1 and reason(label, row) is None]


def below(rows: dict[str, dict[str, Any]]) -> list[str]:
    """A paragraph for every reason, with the rows that it holds back."""
    found: dict[str, list[tuple[float, str]]] = {}
    for label, row in rows.items():
        if row["ratio"] < 1:
            group, name, batch, mode = label.split(" | ")
            found.setdefault(reason(label, row) or "Not explained yet.", []).append(
                (row["ratio"], f"{name} ({group}, {batch}, {mode}) {row['ratio']:.2f}")
            )
    if not found:
        return ["None."]
    return [f"- **{text}** {'; '.join(name for _, name in sorted(held))}." for text, held in found.items()]


# -- files ---------------------------------------------------------------------------------------------------------


def between(path: Path, text: str) -> None:
    """Put a text between the marks of a file."""
    whole = path.read_text(encoding="utf-8")
    before, rest = whole.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def main() -> None:
    names = [argument for argument in sys.argv[1:] if argument[:2] != "--"]
    report = json.loads((Path(names[0]) if names else LATEST).read_text(encoding="utf-8"))
    if "--page" in sys.argv:
        between(PAGE, page(report))
        for label in unexplained(report):
            print(f"no reason for {label}: say one in benchmarks/reasons.py", file=sys.stderr)
    elif "--readme" in sys.argv:
        for name in HEADS:
            between(ROOT / name, readme(report, name))
    else:
        print(table(report), end="")


if __name__ == "__main__":
    main()
