"""The documentation names everything that is public, and what it says is complete; that it builds, where its tools are."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lamina
from lamina import nn, plotting

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.skipif(not (DOCS / "contents.py").exists(), reason="needs the checkout")

# Layers without an input of their own, whose pages have no shapes.
NO_SHAPE = {
    "Buffer", "Container", "LinearCrossEntropyOptions", "Module", "ModuleDict", "ModuleList", "NLLLoss2d", "Parameter",
    "ParameterDict", "ParameterList", "RNNBase", "RNNCellBase", "Sequential",
}  # fmt: skip


@pytest.fixture(scope="module")
def contents():
    sys.path.insert(0, str(DOCS))
    try:
        import contents

        return contents
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def entries(contents):
    return contents.entries()


def test_every_public_name_has_its_place(contents, entries):
    for name in nn.__all__:
        assert inspect.ismodule(getattr(nn, name)) or f"lamina.nn.{name}" in entries, name
    for name in nn.functional.__all__:
        assert f"lamina.nn.functional.{name}" in entries, name
    for name in nn.init.__all__:
        assert f"lamina.nn.init.{name}" in entries, name
    shown = {id(entry.value) for entry in entries.values()}
    for area in ("nn.utils", "nn.utils.rnn", "nn.utils.parametrize", "nn.utils.prune", "optim", "optim.lr_scheduler", "autograd",
                 "utils.data", "linalg", "fft", "special", "random", "serialization", "engine", "profiler"):  # fmt: skip
        module = importlib.import_module(f"lamina.{area}")
        missing = [n for n, v in contents.public(module).items() if id(v) not in shown]
        assert not missing, f"lamina.{area}: {missing}"
    assert all(f"lamina.{name}" in entries for name in lamina.ops.__all__ if hasattr(lamina, name) and name[0] != "_")


def test_groups_are_those_that_users_look_for(contents):
    layers, functions, *_ = contents.sections()
    assert {g.title for g in layers.groups} <= set(contents.FAMILIES), "a family of layers has no group: add it to FAMILIES"
    slugs = [group.slug for section in contents.sections() for group in section.groups]
    assert len(slugs) == len(set(slugs))


def test_everything_is_documented(entries):
    ours = [entry for path, entry in entries.items() if path.startswith(("lamina.nn.", "lamina.optim.", "lamina.autograd."))]
    assert not [entry.path for entry in ours if not (inspect.getdoc(entry.value) or "").strip()]


def test_layers_say_what_goes_in_and_comes_out(entries):
    thin = []
    for name in nn.modules.__all__:
        layer = getattr(nn, name)
        text = inspect.getdoc(layer) or ""
        if name not in NO_SHAPE and not name.startswith("Lazy") and "Shape:" not in text:
            thin.append(f"{name}: no shapes")
        parameters = [p for p in inspect.signature(layer).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if name not in ("Identity", "Module", "NLLLoss2d", "RNNBase", "RNNCellBase") and parameters and "Args:" not in text:
            thin.append(f"{name}: no arguments")
    assert not thin


def test_formulas_are_closed(entries):
    for entry in entries.values():
        text = inspect.getdoc(entry.value) or ""
        assert len(re.findall(r":math:`", text)) == len(re.findall(r":math:`[^`]+`", text)), entry.path
        for formula in re.findall(r":math:`([^`]+)`", text):
            assert formula.count("{") - formula.count("\\{") == formula.count("}") - formula.count("\\}"), (entry.path, formula)


def test_docstrings_become_paragraphs_and_sections(contents):
    sys.path.insert(0, str(DOCS))
    try:
        from docstrings import escaped, sections
    finally:
        sys.path.remove(str(DOCS))
    assert sections(["Shape: input (N), output", "the same.", "", "More."]) == [
        "Shape:", "    input (N), output", "    the same.", "", "More.",
    ]  # fmt: skip
    assert escaped([r"x* of name_ and `a*b`, :math:`a_* b`", "", ">>> a * b"]) == [
        r"x\* of name\_ and `a*b`, :math:`a_* b`", "", ">>> a * b",
    ]  # fmt: skip


@pytest.mark.parametrize("name", plotting.activation_names())
def test_curves_of_activations(name):
    x, y, slope, note = plotting.activation_curve(name, points=201)
    assert x.shape == y.shape == slope.shape and name in note
    steps = (y[2:] - y[:-2]) / (x[2:] - x[:-2])
    smooth = (slope[2:] - slope[:-2]).abs() < 0.1  # not where the function has a kink or a jump
    assert smooth.sum() > 150 and (steps - slope[1:-1])[smooth].abs().max() < 0.06


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need it")
    assert plotting.save(plotting.activation_figure("ReLU"), tmp_path / "relu.png").stat().st_size > 5000


def test_it_builds_without_a_warning(tmp_path):
    if any(importlib.util.find_spec(tool) is None for tool in ("sphinx", "furo", "myst_parser", "latex2mathml")):
        pytest.skip('the documentation is built by what pip install ".[docs]" brings')
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "<math" in (tmp_path / "html" / "reference" / "lamina.nn.Softplus-class.html").read_text(encoding="utf-8")
