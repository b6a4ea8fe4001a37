"""Formulas as MathML, made when the pages are built: no script, no network, and a formula that is wrong stops the build."""

from __future__ import annotations

from typing import Any

from latex2mathml.converter import convert
from sphinx.errors import ExtensionError


def _mathml(source: str, display: str) -> str:
    try:
        made = convert(source.replace("{aligned}", "{split}"), display=display)
        if "<mi>&</mi>" in made or "<mi>\\" in made:
            raise ValueError("an & outside of a table, or an unknown command")
        return made
    except Exception as error:
        raise ExtensionError(f"cannot typeset the formula {source!r}: {error!r}") from error


def visit_inline(self: Any, node: Any) -> None:
    self.body.append(_mathml(node.astext(), "inline"))
    raise _skip()


def visit_block(self: Any, node: Any) -> None:
    source = node.astext()
    if "\\\\" in source and "\\begin" not in source:  # several lines, aligned at their &
        source = rf"\begin{{align*}}{source}\end{{align*}}"
    self.body.append(f'<div class="math">{_mathml(source, "block")}</div>')
    raise _skip()


def _skip() -> Exception:
    from docutils.nodes import SkipNode

    return SkipNode()


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
