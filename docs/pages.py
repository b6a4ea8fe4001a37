"""The reference's pages, written from :mod:`contents` when the documentation is built."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import contents
from docutils.nodes import Element, Node
from sphinx.util.nodes import make_refnode

import lamina
from lamina import nn, plotting

FOLDER = Path(__file__).parent / "reference"
PICTURES = FOLDER / "pictures"


def heading(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def counterpart(entry: contents.Entry) -> str:
    """The layer of a function, or the function of a layer: they tell the same facts, one of them in more detail."""
    squeezed = entry.name.replace("_", "").lower().removesuffix("withindices")
    if entry.path.startswith("lamina.nn.functional."):
        for name in nn.modules.__all__:
            if name.lower() in (squeezed, squeezed.removesuffix("loss") + "loss", squeezed.replace("binarycrossentropy", "bce")):
                return f"The layer: :class:`lamina.nn.{name}`."
        for name in nn.modules.__all__:  # binary_cross_entropy is BCELoss
            if name.lower() == squeezed.replace("binarycrossentropy", "bce").replace("withlogits", "withlogitsloss"):
                return f"The layer: :class:`lamina.nn.{name}`."
    elif entry.path.startswith("lamina.nn.") and entry.path.count(".") == 2:
        for name in nn.functional.__all__:
            if name.replace("_", "") == entry.name.lower():
                return f"As a function: :func:`lamina.nn.functional.{name}`."
    return ""


def documented(entry: contents.Entry) -> list[str]:
    """The directive of an entry."""
    if not entry.is_class:
        return [f".. autofunction:: {entry.path}", ""]
    lines = [f".. autoclass:: {entry.path}"]
    own = [
        name for name, value in vars(entry.value).items()
        if not name.startswith("_") and name not in ("forward", "extra_repr", "function")
        and (inspect.isroutine(value) or isinstance(value, property))
        and inspect.getdoc(getattr(value, "fget", value) if isinstance(value, property) else getattr(entry.value, name))
    ]  # fmt: skip
    if own:
        lines.append(f"    :members: {', '.join(sorted(own))}")
    return [*lines, ""]


def page(entry: contents.Entry, group: contents.Group) -> str:
    lines = [":orphan:", "", *heading(entry.path)]
    lines += [f":doc:`{group.title} <{group.slug}>`", "", f".. py:currentmodule:: {group.module}", "", *documented(entry)]
    if (PICTURES / f"{entry.name}.png").exists() and group.slug == "nn-activations":
        lines += [f".. figure:: pictures/{entry.name}.png", f"    :alt: The curve of {entry.name} and its derivative", ""]
        lines += ["    Value and derivative, computed and drawn by lamina.", ""]
    if also := counterpart(entry):
        lines += [also, ""]
    return "\n".join(lines)


def group_page(group: contents.Group) -> str:
    lines = heading(group.title)
    lines += [f".. py:currentmodule:: {group.module}", ""]
    if group.intro:
        from docstrings import escaped, sections

        first = inspect.cleandoc(group.intro).split("\n\n")[0]  # what follows it tells of the inside
        lines += [*escaped(sections(first.split("\n"))), ""]
    if group.slug == "nn-activations":
        lines += [".. image:: pictures/overview.png", "    :alt: All activations and their derivatives", ""]
    if not group.paged:
        for entry in group.entries:
            lines += documented(entry)
        return "\n".join(lines)
    lines += [".. list-table::", "    :widths: 30 70", ""]
    for entry in group.entries:
        from docstrings import escaped

        lines += [f"    * - :doc:`{entry.name} <{file_name(entry)}>`"]
        lines += ["      - " + " ".join(escaped([entry.summary or "\u2013"]))]
    return "\n".join([*lines, ""])


def file_name(entry: contents.Entry) -> str:
    """Not the name alone: file systems that ignore case would take ``Identity`` and ``identity`` for one."""
    return entry.path + ("-class" if entry.is_class else "")


def section_page(section: contents.Section) -> str:
    lines = [*heading(section.title), ".. toctree::", "    :maxdepth: 1", ""]
    return "\n".join([*lines, *(f"    {group.slug}" for group in section.groups), ""])


def draw() -> None:
    """The pictures of the activations."""
    for name in plotting.activation_names():
        plotting.save(plotting.activation_figure(name), PICTURES / f"{name}.png")
    plotting.save(plotting.activation_overview(), PICTURES / "overview.png")


def write() -> None:
    """All pages and pictures; a page that is as it was is left alone, so that a second build is quick."""
    FOLDER.mkdir(exist_ok=True)
    if not PICTURES.exists():
        draw()
    wanted = {}
    for section in contents.sections():
        wanted[section.slug] = section_page(section)
        for group in section.groups:
            wanted[group.slug] = group_page(group)
            if group.paged:
                wanted.update({file_name(entry): page(entry, group) for entry in group.entries})
    for old in FOLDER.glob("*.rst"):
        if old.stem not in wanted:
            old.unlink()
    for name, text in wanted.items():
        path = FOLDER / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def clean() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)


def resolve(app: Any, env: Any, node: Element, text: Node) -> Any:
    """A reference by a name that is not the documented path: to the layer, function, method or module that it stands for."""
    if node.get("refdomain") != "py":
        return None
    if node["reftarget"].rsplit(".", 1)[-1].startswith("_"):  # what a public name is an alias of
        return text
    target = node["reftarget"].removeprefix("torch.").removeprefix("lamina.")
    domain = env.get_domain("py")
    if f"lamina.{target}" in app.lamina_modules:  # a module's page is that of its group
        return make_refnode(app.builder, node["refdoc"], f"reference/{contents.slug(f'lamina.{target}')}", "", text)
    value = target and getattr(lamina, target, None)
    places = [f"lamina{p}" for p in (".nn", ".nn.functional", "", ".Tensor", ".nn.Module", ".autograd", ".optim")]
    found = [f"{place}.{target}" for place in places] + [path for path, v in app.lamina_values if v is value]
    found += [f"{place}.{target.rsplit('.', 1)[-1]}" for place in places]
    last = [path for path in domain.objects if path.endswith(f".{target}")]
    for path in found + (last if len(last) == 1 else []):
        if path in domain.objects:
            return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], path, node, text)
    return None


def started(app: Any) -> None:
    app.lamina_values = [(path, entry.value) for path, entry in contents.entries().items()]
    groups = [group for section in contents.sections() for group in section.groups]
    app.lamina_modules = {group.module for group in groups if group.module == group.title}


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", started)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
