"""The pages: code and notebooks run, commands are ones that there are, public names have a place."""

import ast
import json
import os
import re
import runpy
import shlex
import tomllib
from pathlib import Path

import click
import matplotlib
import matplotlib.pyplot as plt
import pytest

import olsbn
from olsbn.cli import main
from olsbn.sweeps.toml import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_build", "made"} & set(page.parts)]
BLOCK = re.compile(r"(?ms)^ *```(\w+)\n(.*?)^ *```")


def blocks(kind):
    """Return all blocks of a kind, with page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if block[1] == kind:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(block[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A directory to write to, and figures that open no window."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    yield tmp_path
    plt.close("all")


def test_every_kind_of_block_is_tried():
    kinds = {block[1] for page in PAGES for block in BLOCK.finditer(page.read_text(encoding="utf-8"))}
    assert kinds <= {"python", "toml", "console", "text"}


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code, elsewhere, capsys):
    if "from_dataset" in code:
        pytest.importorskip("sklearn")
    exec(compile(code, "block", "exec"), {"__name__": "block"})
    said = [re.search(r"# ([\d.]+) and ([\d.]+)", line) for line in code.splitlines() if "print(" in line]
    printed = capsys.readouterr().out.splitlines()
    for numbers, line in zip(said, printed, strict=False):
        if numbers:  # what a comment says is printed
            assert [f"{float(x):.1f}" for x in line.split()] == [*numbers.groups()]


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_is_what_it_says(text, elsewhere):
    found = tomllib.loads(text)
    if "problem" in found:
        (elsewhere / "config.toml").write_text(text)
        assert load(elsewhere / "config.toml").n_cells > 0


def commands():
    """Return every command of olsbn that a page shows: lines of console blocks, and inline code."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in BLOCK.finditer(text) if block[1] == "console" for line in block[2].splitlines()]
        inline = re.findall(r"`(olsbn [^`]*)`", BLOCK.sub("", text))
        for line in [*lines, *inline]:
            if match := re.search(r"(?:^|\$ )olsbn +(?!-|COMMAND)([^#]*)", line):
                found.setdefault(match[1].strip(), page.relative_to(ROOT))
    return found


@pytest.mark.parametrize("line", commands(), ids=lambda line: line[:60])
def test_commands_are_ones_that_there_are(line):
    name, *rest = shlex.split(line.split(" > ")[0].split(" | ")[0].replace("...", ""))
    command = main.commands[name]
    if not rest:
        return
    command.make_parser(click.Context(command, info_name=name)).parse_args(
        rest
    )  # raises for an option that is not there


NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path, elsewhere, capsys):
    book = json.loads(path.read_text(encoding="utf-8"))
    names = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "a notebook is kept without its outputs"
            assert cell["execution_count"] is None
            code = ast.parse("".join(cell["source"]))
            exec(compile(code, path.name, "exec"), names)
    out = capsys.readouterr().out
    if path.stem == "engineer":
        assert (found := re.search(r"(\d+) of 10 starts are within", out))
        assert int(found[1]) >= 8  # nine of ten starts on average: of ten, eight is nothing unusual
    elif path.stem == "researcher":
        up, flat, down = map(float, re.search(r"slopes: \['(\S+)', '(\S+)', '(\S+)'\]", out).groups())
        assert abs(up - 1) < 0.05
        assert abs(flat) < 0.05
        assert abs(down + 1) < 0.05
        assert os.path.getsize("three-regimes.pdf") > 1000
        assert Path("three-regimes.csv").read_text().count("\n") == 62
    else:
        assert re.findall(r"ε_a = (\S+): did not converge", out) == ["2.1"]


def test_every_public_name_has_a_place_in_the_reference():
    pages = runpy.run_path(str(ROOT / "docs" / "_ext" / "pages.py"))
    text = pages["reference"]()["reference.md"]
    for name in set(olsbn.__all__) - {"__version__", "plotting"}:
        assert f"\n   olsbn.{name}\n" in text
    pages["reference"].__globals__["SUBJECTS"] = {"Problems": ["OLSProblem"]}
    with pytest.raises(ValueError, match="must say the subject of ProblemFamily"):
        pages["reference"]()


def test_every_claim_is_on_the_page_of_its_source():
    pages = runpy.run_path(str(ROOT / "docs" / "_ext" / "pages.py"))["claims"]()
    listed = re.findall(r"\| \[(\w+)\]\(claims-\w+\.md\)", pages["claims.md"])
    assert [f"claims-{source}.md" for source in listed] == [name for name in pages if name != "claims.md"]
    for claim in olsbn.claims():
        assert claim.id in pages[f"claims-{claim.source}.md"]


def sentences(text):
    """Return the sentences of a page's prose: no code, table, formula, heading or list of sources."""
    text = re.sub(r"(?ms)^ *```.*?^ *```|\$\$.*?\$\$|<!-- networks: begin.*networks: end -->", "\n\n", text)
    text = re.sub(r"(?m)^(?:    |\||#|!\[|\[Cai\]).*(?:\n\[.*)*$", "\n", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)", "X", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-*] |\d+\. )", text):
        yield from re.split(r"(?<=[.?!:;])\**\s+(?=[^a-z])", " ".join(paragraph.split()))


def test_no_sentence_is_long():
    made = {"claims.md", "methods.md"}
    long = [
        s for page in PAGES if page.name not in made for s in sentences(page.read_text("utf-8")) if s.count(" ") > 36
    ]
    assert not long


def test_links_lead_somewhere():
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            if not target.startswith("made/"):  # made when the site is built
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"
