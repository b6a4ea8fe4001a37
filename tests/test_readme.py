"""The READMEs tell the truth: their programs run and print what they say, in both languages alike."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")

pytestmark = pytest.mark.skipif(not (ROOT / READMES[0]).exists(), reason="needs the checkout")


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text(name), re.MULTILINE | re.DOTALL)


PROGRAMS = [(name, number) for name in READMES for number in range(len(blocks(name, "python")))]


@pytest.mark.parametrize("name, number", PROGRAMS)
def test_program_prints_what_its_comments_say(name, number):
    program = blocks(name, "python")[number]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, f"{name}, program {number}", "exec"), {"__name__": "__main__"})
    expected = re.findall(r"^print\(.*\)  # (.*)$", program, re.MULTILINE)
    assert printed.getvalue().splitlines() == expected
    assert len(expected) == program.count("print(")


def test_both_languages_say_the_same():
    """Same programs (comments aside), same commands, same links, pictures, code words and numbers, in the same order."""
    english, chinese = READMES

    def without_comments(name):
        return [re.sub(r"  #.*", "", block) for block in blocks(name, "python")]

    assert without_comments(english) == without_comments(chinese)
    assert blocks(english, "bash") == blocks(chinese, "bash")

    def targets(name):
        return [
            target for target in re.findall(r"\]\(([^)]+)\)", text(name)) if not target.startswith("README")
        ]

    assert targets(english) == targets(chinese)
    assert len(re.findall("^#", text(english), re.MULTILINE)) == len(
        re.findall("^#", text(chinese), re.MULTILINE)
    )

    def measured(name):
        begin, end = "<!-- measured: begin -->", "<!-- measured: end -->"
        return re.findall(r"\d+(?:\.\d+)?", text(name).split(begin)[1].split(end)[0])

    assert measured(english) == measured(chinese)


def test_speeds_are_those_of_the_recorded_run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    report = pytest.importorskip("benchmarks.report", reason="needs the checkout")
    if not report.LATEST.exists():
        assert "<!-- measured: begin -->\n<!-- measured: end -->" in text(READMES[0])
        return
    table = report.table(json.loads(report.LATEST.read_text(encoding="utf-8")))
    assert table in text(READMES[0])


@pytest.mark.parametrize(
    "name", [*READMES, "CONTRIBUTING.md", "docs/architecture.md", "lamina/data/LICENSES.md"]
)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", READMES)
def test_the_two_commands(name):
    assert blocks(name, "bash") == [
        'pip install -e ".[demo]" && lamina demo\n',
        'pip install -e ".[test]" && pytest\n',
    ]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_are_named_exist(name):
    for path in re.findall(r"`((?:lamina|tests|benchmarks|examples|docs)/[\w./]+)`", text(name)):
        assert (ROOT / path).exists(), f"{name} names {path}"
