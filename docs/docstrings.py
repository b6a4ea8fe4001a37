"""What lamina's docstrings need to become reStructuredText: sections that begin on a line with text, and plain stars."""

from __future__ import annotations

import re
from typing import Any

SECTIONS = "Args|Shape|Shapes|Raises|Returns|Attributes|Yields|Example|Examples"
_ONE_LINE = re.compile(rf"^({SECTIONS}): (\S.*)$")
_SPANS = re.compile(r"(``.*?``|:[\w:]+:`[^`]*`|`[^`]*`)", re.DOTALL)


def sections(lines: list[str]) -> list[str]:
    """``Shape: input (N), output the same.`` as a heading and an indented paragraph."""
    result: list[str] = []
    inside = False
    for line in lines:
        if match := _ONE_LINE.match(line):
            result += [f"{match[1]}:", f"    {match[2]}"]
            inside = True
        elif inside and line.strip() and not line.startswith(" "):
            result.append(f"    {line}")
        else:
            inside = inside and bool(line.strip()) and line.startswith(" ")
            result.append(line)
    return result


def _plain(text: str) -> str:
    """Stars, bars and a last underscore that only mean themselves."""
    text = re.sub(r"(?<!\\)\*", r"\\*", text)
    text = re.sub(r"(?<!\\)\|", r"\\|", text)
    return re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", text)


def escaped(lines: list[str]) -> list[str]:
    """Markup only where it is meant: in spans of code, roles and formulas. Examples and directives are left as they are."""
    result = []
    inside: int | None = None  # the indentation of the directive that paragraphs belong to
    for paragraph in re.split(r"\n[ ]*\n", "\n".join(lines)):
        text = paragraph.lstrip("\n")
        indent = len(text) - len(text.lstrip())
        if inside is not None and indent <= inside:
            inside = None
        if text.lstrip().startswith(".. "):
            inside = indent
        if inside is None and not text.lstrip().startswith((">>>", "===")):
            paragraph = "".join(part if i % 2 else _plain(part) for i, part in enumerate(_SPANS.split(paragraph)))
        if text.rstrip().endswith("::") and inside is None:
            inside = indent
        result.append(paragraph)
    return "\n\n".join(result).split("\n")


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = escaped(sections(list(lines)))


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
