"""What editors, notebooks and shells show: the stub, completion, short reprs, help."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import olsbn
from olsbn.cli import main

ROOT = Path(__file__).parents[1]


def test_the_stub_is_that_of_the_package():
    tool = runpy.run_path(str(ROOT / "tools" / "stub.py"))
    assert tool["STUB"].read_text(encoding="utf-8") == tool["text"](), "olsbn/__init__.pyi is old: python tools/stub.py"


def completions(code):
    jedi = pytest.importorskip("jedi")
    script = jedi.Script(code, project=jedi.Project(ROOT))
    return {found.name: found for found in script.complete()}


def test_an_editor_completes_public_names_with_signature_and_docstring():
    found = completions("import olsbn\nolsbn.")
    public = {name: item for name, item in found.items() if not name.startswith("_") and item.type != "module"}
    assert set(olsbn.__all__) - {"__version__", "plotting"} <= set(public)
    for name in set(olsbn.__all__) - {"__version__", "plotting"}:
        assert found[name].docstring(raw=True), name
        assert found[name].get_signatures(), name


@pytest.mark.parametrize("call", ["sweep(problem, mom", "run(problem, mom", "recommend(problem, mom"])
def test_an_editor_completes_parameters_of_methods(call):
    assert {name.rstrip("=") for name in completions(f"import olsbn\nolsbn.{call}")} == {"momentum"}


def test_parameters_of_other_methods_come_in_a_mapping():
    problem = olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[1.0, 0.0])
    one = olsbn.run(problem, eps=0.3, momentum=0.5, n_steps=5)
    assert one.identical(olsbn.run(problem, eps=0.3, params={"momentum": 0.5}, n_steps=5))
    grid = olsbn.sweep(problem, params={"eps": [0.1, 0.3], "momentum": 0.5}, n_steps=5)
    assert grid.identical(olsbn.sweep(problem, eps=[0.1, 0.3], momentum=0.5, n_steps=5))
    with pytest.raises(TypeError, match=r"^eps must be given once, got it in params and as a keyword$"):
        olsbn.run(problem, eps=0.3, params={"eps": 0.3})
    with pytest.raises(TypeError, match=r"^params must be a mapping from names to values, got 3$"):
        olsbn.sweep(problem, eps=0.3, params=3, n_steps=5)
    with pytest.raises(TypeError, match=r"^params must be a mapping from names to values, got the name 3$"):
        olsbn.run(problem, eps=0.3, params={3: 1.0})


@pytest.mark.parametrize(
    ("shown", "at_most", "has"),
    [
        (olsbn.methods(), 2000, "<Method bngd: "),
        (olsbn.methods()["bngd"], 300, "momentum"),
        (olsbn.claims(), 300, f"<{len(olsbn.claims())} claims: cai "),
        (olsbn.claims("cai")[0], 300, "cai.excess"),
    ],
)
def test_what_is_shown_is_short(shown, at_most, has):
    assert has in repr(shown)
    assert len(repr(shown)) < at_most
    assert shown._repr_html_().count("<tr>") >= 5


def test_required_parameters_are_said_to_be_required():
    html = olsbn.methods()["bngd"]._repr_html_()
    assert "learning rate of w (required)" in html
    assert html.count("(required)") == 1


def test_one_run_for_a_list_of_runs_is_answered_in_a_sentence():
    run = olsbn.run(olsbn.OLSProblem([1.0, 4.0], u=[1.0, 1.0], w0=[1.0, 0.0]), eps=0.3, n_steps=5)
    with pytest.raises(
        TypeError, match=r"^runs must be a list of results of olsbn.run, got Dataset \(one run: \[run\]\)$"
    ):
        olsbn.plotting.run_figure(run)


def test_no_line_of_the_list_of_commands_is_cut():
    done = subprocess.run([sys.executable, "-m", "olsbn", "--help"], capture_output=True, text=True, check=True)
    words = " ".join(done.stdout.partition("Commands:")[2].split())
    assert "..." not in words
    for command in main.commands.values():
        first = " ".join(command.help.replace("\b", "").split()).partition(". ")[0].rstrip(".")
        assert first in words


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("olsbn rec", {"recommend"}),
        ("olsbn map --mom", {"--momentum"}),
        ("olsbn map --data di", {"diabetes", "digits"}),
        ("olsbn map --spectrum log", {"logspace"}),
        ("olsbn run --method w", {"wngd", "wngrad"}),
    ],
)
def test_the_shell_completes(typed, offered):
    words = {"_OLSBN_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "olsbn"], capture_output=True, text=True, check=True, env=os.environ | words
    )
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == offered
