"""``python -m benchmarks.report [--page] [FILE]``: a run that ``python -m benchmarks --json FILE`` made, as Markdown.

Without ``--page`` it is the README's table, with it the rows of ``docs/performance.md``.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

LATEST = Path(__file__).with_name("latest.json")
# Groups whose rows are worth a line each.
ALONE = ("training step", "model training", "model in use", "compiled in use", "compiled training", "start")


def table(report: dict[str, Any]) -> str:
    """Markdown: one line per group with the mean, the lowest and the highest ratio, and one per training step."""
    groups: dict[str, list[float]] = {}
    single = []
    for label, row in report["rows"].items():
        group, name, batch, _ = label.split(" | ")
        if "ratio" not in row:
            continue
        if group in ALONE:
            times = f"{milliseconds(row['torch_ms'])} | {milliseconds(row['lamina_ms'])} | **{row['ratio']:.2f}**"
            where = f", batch {batch}" if group.startswith(("model", "compiled")) else ""
            single.append(f"| {name}{where} | {times} |")
        else:
            groups.setdefault(group, []).append(row["ratio"])
    lines = ["| rows | number | torch / lamina | lowest | highest |", "|---|---|---|---|---|"]
    for group, ratios in groups.items():
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        lines.append(f"| {group} | {len(ratios)} | **{mean:.2f}** | {min(ratios):.2f} | {max(ratios):.2f} |")
    lines += ["", "| | torch, ms | lamina, ms | torch / lamina |", "|---|---|---|---|", *single]
    return "\n".join(lines) + "\n"


def page(report: dict[str, Any]) -> str:
    """Every row, by group, slowest first: what is to be worked on stands on top."""
    machine = report["machine"]
    text = [
        f"{machine['cpu']}, {report['threads']} threads, {machine['system']}, Python {machine['python']}; torch "
        f"{report['torch']['version']}, lamina at {machine['commit']}, {machine['date']}.",
    ]
    groups: dict[str, list[tuple[float, str]]] = {}
    for label, row in report["rows"].items():
        group, name, batch, mode = label.split(" | ")
        if "ratio" in row:
            unit = "ms" if "torch_ms" in row else "MB"
            low, high = row["quartiles"]
            line = (
                f"| {name} | {batch} | {mode} | {milliseconds(row[f'torch_{unit}'])} | {milliseconds(row[f'lamina_{unit}'])} | "
                f"{row['ratio']:.2f} | {low:.2f} to {high:.2f} |"
            )
            groups.setdefault(f"{group} ({unit})", []).append((row["ratio"], line))
    for group, rows in groups.items():
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio, _ in rows))
        slower = sum(ratio < 1 for ratio, _ in rows)
        text += [
            f"\n## {group}\n", f"Geometric mean {mean:.2f} over {len(rows)} rows, {slower} of them below 1.\n",
            "| row | batch | | torch | lamina | ratio | quartiles |", "|---|---|---|---|---|---|---|",
            *[line for _, line in sorted(rows)],
        ]  # fmt: skip
    return "\n".join(text) + "\n"


def milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    names = [a for a in sys.argv[1:] if a != "--page"]
    path = Path(names[0]) if names else LATEST
    made = page if "--page" in sys.argv else table
    print(made(json.loads(path.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
