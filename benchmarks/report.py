"""``python -m benchmarks.report [FILE]``: the README's table of a run that ``python -m benchmarks --json FILE`` made."""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

LATEST = Path(__file__).with_name("latest.json")
ALONE = ("training step", "model training", "model in use", "start")  # groups whose rows are worth a line each


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
            where = f", batch {batch}" if group.startswith("model") else ""
            single.append(f"| {name}{where} | {times} |")
        else:
            groups.setdefault(group, []).append(row["ratio"])
    lines = ["| rows | number | torch / lamina | lowest | highest |", "|---|---|---|---|---|"]
    for group, ratios in groups.items():
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        lines.append(f"| {group} | {len(ratios)} | **{mean:.2f}** | {min(ratios):.2f} | {max(ratios):.2f} |")
    lines += ["", "| | torch, ms | lamina, ms | torch / lamina |", "|---|---|---|---|", *single]
    return "\n".join(lines) + "\n"


def milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else LATEST
    print(table(json.loads(path.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
