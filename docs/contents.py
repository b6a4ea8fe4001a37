"""What the reference documents, found in the package itself: sections of groups of names. Needs no documentation tool.

No name is written here. A class or function is listed where its family (its file) belongs, and a family, module or name
that is new appears by itself, under the first line of its module's docstring.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import lamina
from lamina import nn, ops


@dataclass
class Entry:
    """A class or function under the name by which users reach it."""

    path: str  # lamina.nn.Conv2d
    value: Any

    @property
    def name(self) -> str:
        return self.path.rsplit(".", 1)[1]

    @property
    def is_class(self) -> bool:
        return inspect.isclass(self.value)

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        text = (inspect.getdoc(self.value) or "").split("\n\n")[0].replace("\n", " ")
        first = re.match(r"((?:[^`]|``.*?``|:[\w:]+:`[^`]*`|`[^`]*`)*?)[.:;](?=\s|$)(?<!e\.g\.)(?<!i\.e\.)(?<!al\.)", text)
        return first[1] + "." if first else text


@dataclass
class Group:
    title: str
    slug: str
    module: str  # in whose name space its names are
    intro: str = ""
    entries: list[Entry] = field(default_factory=list)
    paged: bool = True  # whether every entry has a page of its own


@dataclass
class Section:
    title: str
    slug: str
    groups: list[Group] = field(default_factory=list)


# Groups in the order that PyTorch's users expect, by the families that make them up. Others follow under their own title.
FAMILIES = {
    "Containers": ("module", "container", "parameter"),
    "Convolution": ("conv", "conv_tbc"),
    "Pooling": ("pooling",),
    "Padding": ("padding", "pad"),
    "Activations": ("activation", "piecewise"),
    "Attention and transformers": ("attention", "multihead", "transformer"),
    "Normalisation": ("batchnorm", "instancenorm", "normalization", "norm", "layernorm"),
    "Recurrent layers": ("rnn",),
    "Linear layers and products": ("linear", "linalg", "grouped"),
    "Dropout": ("dropout",),
    "Tables": ("sparse", "embedding"),
    "Distance": ("distance",),
    "Losses": (
        "loss", "loss_pointwise", "loss_binary", "loss_margin", "loss_ctc", "loss_linear", "adaptive",
    ),
    "Images and volumes": ("upsampling", "resample", "grid", "fold", "shuffle"),
    "Shape": ("flatten",),
    "Lazy layers": ("lazy",),
    "Several devices": ("data_parallel", "distributed"),
    "Making tensors": ("creation",),
    "Random numbers": ("random",),
    "Shape and views": ("shape", "layout"),
    "Parts, flips and diagonals": ("parts",),
    "Joining and splitting": ("join",),
    "Indexing and masks": ("indexing", "masking", "gathering"),
    "Elementwise operations": ("pointwise", "unary", "elementary", "operands"),
    "Complex numbers": ("complex",),
    "Reductions": ("reduction", "extremes", "statistics"),
    "Running sums and differences": ("scan",),
    "Sorting and searching": ("sorting",),
    "Products and distances": ("products", "einsum"),
    "Decompositions": ("decomposition", "orthogonal"),
    "Windows and spectra": ("windows", "spectral", "fft"),
    "Special functions": ("special",),
    "Questions about tensors": ("kinds",),
}  # fmt: skip

# Modules with sections of their own, and those that nobody imports names from.
APART = ("lamina.nn", "lamina.nn.functional")
HIDDEN = (
    "lamina.ops", "lamina.nn.modules", "lamina.nn.parameter", "lamina.engine.", "lamina.autograd.", "lamina.demo", "lamina.cli",
    "lamina.compiler.", "lamina.random.", "lamina.serialization.", "lamina.plotting.", "lamina.utils.data.",
    "lamina.nn.utils.clip_grad", "lamina.backends.", "lamina.multiprocessing.",
)  # fmt: skip
SHOWN = ("lamina.autograd.functional", "lamina.utils.data.distributed")


def slug(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def first_line(module: Any) -> str:
    return (inspect.getdoc(module) or module.__name__).split("\n")[0]


def family_of(value: Any) -> str:
    return getattr(value, "__module__", "").rsplit(".", 1)[-1]


def by_family(names: dict[str, Any], prefix: str, stem: str, base: str, paged: bool = True) -> list[Group]:
    """The names in groups; ``base`` is the package of the families, ``stem`` what the groups' pages are called."""
    groups: dict[str, Group] = {}
    titles = {family: title for title, families in FAMILIES.items() for family in families}
    for name, value in names.items():
        # what is made from another function (an in-place form, say) stands beside it
        family = family_of(names.get(name.rstrip("_"), value))
        title = titles.get(family, "")
        if not title:
            try:
                title = first_line(importlib.import_module(f"{base}.{family}")).split(":")[0].split(";")[0].rstrip(".")
            except ImportError:
                title = "Others"
        name_of_page = slug(title) if title in FAMILIES else family
        group = groups.setdefault(title, Group(title, f"{stem}-{name_of_page}", prefix, paged=paged))
        group.entries.append(Entry(f"{prefix}.{name}", value))
    order = list(FAMILIES)
    ranked = sorted(groups.values(), key=lambda g: (order.index(g.title) if g.title in order else len(order), g.title))
    for group in ranked:
        group.entries.sort(key=lambda e: e.name.lower())
    return ranked


def public(module: Any) -> dict[str, Any]:
    """The classes and functions that a module offers: by ``__all__``, or those that it defines."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__]
    found = {n: getattr(module, n) for n in names if not n.startswith("_")}
    return {n: v for n, v in found.items() if (inspect.isclass(v) or inspect.isroutine(v)) and ours(v)}


def ours(value: Any) -> bool:
    """Whether it was written here; what a module passes on from Python or NumPy has its documentation there."""
    return (getattr(value, "__module__", None) or "").startswith("lamina")


def modules() -> Iterator[Any]:
    """The public modules of lamina, those of ``nn`` first."""
    found = []
    for info in pkgutil.walk_packages(lamina.__path__, "lamina.", onerror=lambda name: None):
        name = info.name
        if any(part.startswith("_") for part in name.split(".")) or name in APART:
            continue
        if name not in SHOWN and any(f"{name}.".startswith(h if h.endswith(".") else f"{h}.") and name != h[:-1] for h in HIDDEN):
            continue
        found.append(name)
    found.sort(key=lambda name: (not name.startswith("lamina.nn"), name))
    for name in found:
        yield importlib.import_module(name)


def sections() -> list[Section]:
    """All of the reference."""
    layers = {n: getattr(nn, n) for n in nn.__all__ if not inspect.ismodule(getattr(nn, n))}
    functional = {n: getattr(nn.functional, n) for n in nn.functional.__all__}
    tops = {n: f for n, f in ops.FUNCTIONS.items() if hasattr(lamina, n) and not n.startswith("_")}
    own = {
        n: v for n, v in vars(lamina).items()
        if n not in tops and not n.startswith("_") and (inspect.isclass(v) or inspect.isroutine(v))
        and ours(v) and n != "Tensor"
    }  # fmt: skip
    result = [
        Section("Layers: lamina.nn", "nn", by_family(layers, "lamina.nn", "nn", "lamina.nn.modules")),
        Section(
            "Functions of layers: lamina.nn.functional", "functional",
            by_family(functional, "lamina.nn.functional", "functional", "lamina.ops"),
        ),
    ]  # fmt: skip
    seen = {id(e.value) for s in result for g in s.groups for e in g.entries}
    parts = Section("Modules", "modules")
    for module in modules():
        fresh = {n: v for n, v in public(module).items() if id(v) not in seen or module.__name__ == "lamina.nn.init"}
        seen.update(map(id, fresh.values()))
        if fresh:
            entries = [Entry(f"{module.__name__}.{n}", v) for n, v in sorted(fresh.items(), key=lambda item: item[0].lower())]
            parts.groups.append(Group(module.__name__, slug(module.__name__), module.__name__, module.__doc__ or "", entries))
    result.append(parts)
    tensors = Section("Tensors: lamina", "tensors", by_family(tops, "lamina", "tensors", "lamina.ops", paged=False))
    rest = [Entry(f"lamina.{n}", v) for n, v in sorted(own.items(), key=lambda item: item[0].lower()) if id(v) not in seen]
    tensors.groups.append(Group("Settings, dtypes and types", "tensors-settings", "lamina", "", rest, paged=False))
    tensors.groups.insert(0, Group("Tensor", "tensors-tensor", "lamina", "", [Entry("lamina.Tensor", lamina.Tensor)]))
    result.append(tensors)
    return result


def entries() -> dict[str, Entry]:
    """Every entry by its path."""
    return {e.path: e for s in sections() for g in s.groups for e in g.entries}
