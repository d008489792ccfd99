"""The ledger: true claims hold, false ones fail, and the verdict follows from the kind."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from olsbn import ledger
from olsbn.cli import main
from olsbn.ledger import base, kohler, summary, textbook
from olsbn.ledger.base import MACHEPS, ORDER, Cube, Skip
from olsbn.ledger.page import page
from olsbn.schema import Status

CLAIMS = {claim.id: claim for claim in ledger.claims()}
# A quarter of the problems that `olsbn verify` tries.
EFFORT = 0.25
SEEDS = (0, 29)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(set(CLAIMS) - {"cai.dimension"}))
def test_claim_holds(name, seed):
    result = CLAIMS[name].check(seed, EFFORT)
    assert result.holds, result
    assert result.n_skipped <= result.n_problems / 2


def test_dimension():
    # one instance takes 750 simulations
    claim = CLAIMS["cai.dimension"]
    instance = claim.instance(Cube(np.random.default_rng(1).random(24)))
    tried = [replace(claim, compare=lambda i, e=e: (e, claim.compare(i)[1])) for e in (0.5, 1.0, 1.5)]
    margins = [variant.margins(instance)[2] for variant in tried]
    assert [bool(margin >= 0) for margin in margins] == [False, True, False]


# -------------------------------------------------------------------- false claims


FALSE = ledger.false_variants()


FALSE_OF = {claim.id: [name for name, other in FALSE.items() if other.id == claim.id] for claim in FALSE.values()}


def remembered(instance, kept):
    """Return `instance` that computes at each point of the cube once: variants of a claim try the same problems."""

    def again(cube):
        key = instance, cube._point.tobytes()
        if key not in kept:
            kept[key] = instance(cube), cube.used
        found, cube.used = kept[key]
        return found

    return again


@pytest.mark.parametrize("claim", FALSE_OF)
def test_false_claims_fail(claim):
    kept = {}
    for name in FALSE_OF[claim]:
        false = replace(FALSE[name], instance=remembered(FALSE[name].instance, kept))
        result = false.check(0, 1.0 if false.n_search > 20 else 0.5)
        assert not result.holds, (name, result)
        assert result.n_skipped < result.n_problems, name


def test_every_claim_has_a_false_variant():
    assert {claim.id for claim in FALSE.values()} == set(CLAIMS)


def test_false_variants_have_names_of_their_own():
    module = SimpleNamespace(chapter=base.Chapter(), FALSE={"no half": None})
    with pytest.raises(ValueError, match="two false variants are called 'no half'"):
        base.gather(module, module)


def test_false_variants_change_what_they_name():
    claim = _toy("identity", 1.0, 1.0, 0.5)
    make = base.Variants([claim])
    found = [
        tuple(float(x[0]) for x in variant.margins(None)[:2])
        for variant in (
            make(claim.id, theory=lambda x: 2.0),
            make(claim.id, measured=lambda x: 3.0),
            make.scaled(claim.id, 4.0),
        )
    ]
    assert found == [(2.0, 1.0), (1.0, 3.0), (4.0, 1.0)]
    assert make(claim.id, measured=lambda x: 1.4).check().holds
    assert not make(claim.id, measured=lambda x: 1.4, allowed=lambda x: 0.3).check().holds


# -------------------------------------------------------------------- the machinery


def _toy(kind, theory, measured, allowed=0.0, **more):
    return ledger.Claim(
        id="cai.toy", kind=kind, statement="", formula="", problems="", instance=lambda cube: cube.unit(),
        compare=lambda x: (theory, measured(x) if callable(measured) else measured, allowed), **more,
    )  # fmt: skip


def test_a_claim_is_a_function_and_its_docstring():
    chapter = base.Chapter(_HERE="d = 1")

    @chapter.claim("cai.toy", "upper", lambda cube: cube.unit(), n_search=0)
    def _(x):
        """Numbers below one
        are below two.
        Formula: x <= 2,  x < 1
        Problems: {_HERE}; {PROBLEMS}
        Where: nowhere
        """
        return 2.0, x

    [claim] = chapter.claims
    assert (claim.source, claim.kind, claim.where, claim.corrects) == ("cai", "upper", "nowhere", "")
    assert (claim.statement, claim.formula) == ("Numbers below one are below two.", "x <= 2,  x < 1")
    assert claim.problems == f"d = 1; {base.PROBLEMS}"
    result = claim.check()
    assert result.holds and result.n_problems == 30 and result.theory == 2.0

    with pytest.raises(ValueError, match="must be a statement, Formula: and Problems:"):
        chapter.claim("cai.other", "upper", lambda cube: cube.unit())(lambda x: (2.0, x))


@pytest.mark.parametrize(
    ("kind", "theory", "measured", "allowed", "holds"),
    [
        ("identity", 1.0, 1.0, 0.0, True),
        ("identity", 1.0, 1 + 2 * MACHEPS, MACHEPS, False),
        ("tight", 1.0, 0.9, 0.1000001, True),
        ("tight", 1.0, 0.9, 0.0999999, False),
        ("upper", 1.0, 1.0, 0.0, True),
        ("upper", 1.0, 1.1, 0.0, False),
        ("upper", -1.0, -0.9, 0.0, False),
        ("upper", 0.0, 0.1, 0.0, False),
        ("lower", 1.0, 0.9, 0.0, False),
        ("lower", 1.0, 1.1, 0.0, True),
        ("order", 1.0, 1 + 0.99 * ORDER, 0.0, True),
        ("order", 1.0, 1 - 1.01 * ORDER, 0.0, False),
        ("upper", 1.0, math.nan, 0.0, False),
        ("identity", math.nan, 1.0, 1.0, False),
        ("upper", [1.0, 1.0], [0.5, 1.5], 0.0, False),
    ],
)
def test_verdict_follows_from_kind(kind, theory, measured, allowed, holds):
    result = _toy(kind, theory, measured, allowed).check()
    assert result.holds is holds
    assert (result.margin >= 0) is holds


@pytest.mark.parametrize(
    ("refutes", "measured", "holds"),
    [("upper", 1.1, True), ("upper", 1.0, False), ("lower", 0.9, True), ("identity", 1.0, False), ("order", 1.3, True)],
)
def test_counterexample_holds_where_the_statement_fails(refutes, measured, holds):
    assert _toy("counterexample", 1.0, measured, refutes=refutes).check().holds is holds


def test_what_is_not_a_number_refutes_nothing():
    assert not _toy("counterexample", 1.0, math.nan, refutes="upper").check().holds


def test_counterexample_needs_one_instance_only():
    claim = _toy("counterexample", 0.5, lambda x: x, refutes="upper", n_random=50, n_search=0)
    result = claim.check()
    assert result.holds and result.measured > 0.9


def test_search_finds_a_corner_that_random_problems_miss():
    def instance(cube):
        return max(abs(cube.unit() - 0.3), abs(cube.unit() - 0.7), abs(cube.unit() - 0.5))

    claim = replace(_toy("lower", 0.01, lambda x: x, n_random=10, n_search=0), instance=instance)
    assert claim.check(0).holds
    assert not replace(claim, n_search=800).check(0).holds


def test_worst_instance_can_be_made_again():
    claim = CLAIMS["cai.cond-star"]
    result = claim.check(5, EFFORT)
    theory, measured, _ = claim.margins(claim.instance(Cube(np.array(result.worst))))
    assert (theory[0], measured[0]) == (result.theory, result.measured)


def test_seed_decides():
    claim = CLAIMS["cai.residual-norm"]
    one, again, other = claim.check(3, 0.1), claim.check(3, 0.1), claim.check(4, 0.1)
    assert replace(one, seconds=0.0) == replace(again, seconds=0.0)
    assert one.worst != other.worst


def test_nothing_measured_is_no_success():
    def nothing(cube):
        raise Skip

    result = replace(_toy("upper", 1.0, 0.0), instance=nothing).check()
    assert not result.holds and result.n_skipped == result.n_problems


def test_a_source_is_one_entry_and_one_module(monkeypatch):
    claim = replace(_toy("upper", 1.0, 0.5), id="toy.claim")
    module = SimpleNamespace(CLAIMS=(claim,), FALSE={"it is larger": replace(claim, compare=lambda x: (0.1, 0.5))})
    monkeypatch.setitem(ledger.SOURCES, "toy", "Toy: a source")
    monkeypatch.setitem(sys.modules, "olsbn.ledger.toy", module)
    assert ledger.claims("toy") == (claim,) == ledger.by_source()["toy"] and claim.citation == "Toy: a source"
    assert "toy: it is larger" in ledger.false_variants()
    result = _verify("--source", "toy")
    assert result.exit_code == 0 and "1 of 1 claims hold" in result.output
    assert ", toy." in " ".join(_verify("--help").output.split())


def test_claims_are_distinct_and_complete():
    claims = ledger.claims()
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.id.startswith(f"{claim.source}.") and claim.source in claim.citation.lower()
        assert claim.statement and claim.formula and claim.problems
    assert {claim.kind for claim in claims} == set(ledger.KINDS)
    assert {claim.source for claim in ledger.claims(["kohler"])} == {"kohler"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ledger.claims("arxiv"),
            f"source must be one of {', '.join(ledger.SOURCES)}, got 'arxiv'",
        ),
        (lambda: CLAIMS["cai.excess"].check(-1), "seed must be >= 0, got -1"),
        (lambda: CLAIMS["cai.excess"].check(0, 0.0), "effort must be > 0, got 0.0"),
        (lambda: replace(CLAIMS["cai.excess"], kind="true"), "kind must be one of"),
        (lambda: replace(CLAIMS["cai.excess"], refutes="upper"), "refutes must be given for a counterexample"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -------------------------------------------------------------------- the printed updates


def test_complex_steps_differentiate():
    x = np.array([0.3, -1.2])
    jacobian = textbook.derivative(lambda z: np.array([z[0] ** 2 * z[1], np.sqrt(z[1] ** 2)]), x)
    np.testing.assert_allclose(jacobian, [[2 * x[0] * x[1], x[0] ** 2], [0, -1]], rtol=1e-15)


def test_gdnp_in_deflated_coordinates_is_gdnp():
    problem = base.draw_problem(Cube(np.random.default_rng(3).random(24)))
    p = textbook.dense(problem, np.random.default_rng(4))
    w, top = p.w0, float(problem.eigvals[-1])
    for excess in kohler.gdnp_excess(problem, 20):
        e = p.u - textbook.q(p, w) * w
        np.testing.assert_allclose(excess, e @ p.H @ e / p.E, rtol=1e-8)
        w = textbook.gdnp_step(p, w, top)
        w /= np.linalg.norm(w)


# -------------------------------------------------------------------- the command


def _verify(*args):
    return CliRunner().invoke(main, ["verify", *args])


def test_verify_prints_and_writes_json(tmp_path):
    path = tmp_path / "ledger.json"
    result = _verify("--source", "kohler", "--seed", "7", "--effort", "0.2", "--json", str(path))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["claim", "kind", "problems", "theory", "measured", "margin", "verdict"]
    n = len(ledger.claims("kohler"))
    assert f"{n} of {n} claims hold (seed 7)" in lines
    data = json.loads(path.read_text())
    assert set(data) == {"olsbn_version", "seed", "holds", "claims", "summary"}
    assert data["seed"] == 7 and data["holds"] is True and data["summary"] == []
    assert [entry["id"] for entry in data["claims"]] == [claim.id for claim in ledger.claims("kohler")]
    assert set(data["claims"][0]) == {
        "id", "source", "citation", "kind", "statement", "formula", "problems", "n_problems", "n_skipped", "theory",
        "measured", "margin", "holds", "seed", "seconds", "worst",
    }  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


def test_verify_writes_a_page(tmp_path):
    path, again = tmp_path / "claims.md", tmp_path / "again.md"
    result = _verify("--source", "forum", "--effort", "0.1", "--page", str(path))
    assert result.exit_code == 0, result.output
    assert _verify("--source", "forum", "--effort", "0.1", "--page", str(again)).exit_code == 0
    text = path.read_text()
    assert text == again.read_text()
    for claim in ledger.claims("forum"):
        assert f"### {claim.id}\n" in text and f"    {claim.formula}\n" in text
    assert f"| [forum](#forum) | 4 | 4 | 1 | {sum(c.source == 'forum' for c in FALSE.values())} |" in text
    wrong = text[text.index("## What is false") : text.index("## forum")]
    assert wrong.count("says or leaves out: ") == 2 and "forum.one-power-for-both" in wrong


def test_committed_page_lists_every_claim():
    text = (Path(__file__).parents[1] / "docs" / "claims.md").read_text()
    listed = dict(re.findall(r"^### (\S+)\n\n.*\n\n    (.*)\n", text, re.MULTILINE))
    again = "docs/claims.md is not of these claims: olsbn verify --no-summary --page docs/claims.md"
    assert listed == {claim.id: claim.formula for claim in CLAIMS.values()}, again
    assert f"{len(CLAIMS)} of {len(CLAIMS)} claims hold" in text


def test_page_says_what_fails():
    result = FALSE["kohler: the bound, one power more"].check(0, 0.1)
    text = page([result, CLAIMS["santurkar.4.5-no-square"].check(0, 1.0)])
    assert "1 of 2 claims hold" in text and "upper, **FAILS**" in text and "The statement says" in text


def test_page_lists_bounds_that_nothing_comes_near():
    wide, near = _toy("upper", 1.0, 0.02).check(), _toy("lower", 1.0, 1.01).check()
    assert page([wide]).count("- `cai.toy`: the nearest problem uses 0.02 of the bound") == 1
    assert "uses" not in page([near])


def test_page_says_what_of_the_sources_is_tried():
    text = page([CLAIMS["kohler.sharper"].check(0, 0.1), CLAIMS["arora.lemma-B.1"].check(0, 0.1)])
    assert "| kohler | no numbered place | kohler.sharper |" in text
    assert "| arora | Lemma B.1 | arora.lemma-B.1 |" in text and "Not tried" in text


def test_verify_exits_1_where_a_claim_fails(monkeypatch, tmp_path):
    false = FALSE["kohler: the bound, one power more"]
    monkeypatch.setattr(ledger, "claims", lambda source=None: (CLAIMS["kohler.sharper"], false))
    path = tmp_path / "ledger.json"
    result = _verify("--source", "kohler", "--json", str(path))
    assert result.exit_code == 1
    assert "kohler.bound FAILS" in result.output and "1 of 2 claims hold" in result.output
    assert json.loads(path.read_text())["holds"] is False


def test_verify_help_names_every_source():
    result = _verify("--help")
    assert result.exit_code == 0 and " ".join(result.output.split()).count(f"only: {', '.join(ledger.SOURCES)}.") == 1


def test_verify_says_what_it_leaves_out(monkeypatch):
    claims = (CLAIMS["kohler.sharper"], replace(CLAIMS["santurkar.variation-gd"], extra="data"))
    monkeypatch.setattr(ledger, "claims", lambda source=None: claims)
    assert "left out" not in _verify("--source", "kohler", "--effort", "0.1").output
    monkeypatch.setattr(ledger, "_EXTRAS", {"data": "no_such_module"})
    result = _verify("--source", "kohler", "--effort", "0.1")
    assert result.exit_code == 0 and "1 of 1 claims hold (seed 0)" in result.output
    assert '1 more were left out, for they need: pip install "olsbn[data]"' in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--source", "kai"], "did you mean 'cai'"),
        (["--seed", "-1"], "--seed must be >= 0, got -1"),
        (["--effort", "0"], "--effort must be > 0, got 0.0"),
        (["--page", "missing/file.md"], "--page must be a file in a directory that exists"),
        (["--json", "missing/file.json"], "--json must be a file in a directory that exists"),
    ],
)
def test_verify_refuses_bad_input(args, message):
    result = _verify(*args)
    assert result.exit_code == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("olsbn verify: ") and message in line


def test_summary_measures_what_theory_says(monkeypatch):
    monkeypatch.setattr(summary, "_DIMS", (100, 10))
    monkeypatch.setattr(summary, "_TRIALS", 1)
    rows = summary.summary(3)
    assert [row.property for row in rows] == [
        "convergence", "rate", "robustness to learning rates", "robustness to dimension"
    ]  # fmt: skip
    convergence, rate, *windows = rows
    assert (convergence.gd, convergence.bngd) == (100.0, 0.0)
    assert rate.gd == pytest.approx(rate.gd_theory, abs=1e-10)
    assert rate.bngd == pytest.approx(rate.bngd_theory, abs=1e-10)
    for row in windows:
        assert row.gd == pytest.approx(row.gd_theory, abs=0.04)
        assert row.bngd == pytest.approx(row.bngd_theory, abs=0.08)
    assert len(summary.text(rows).splitlines()) == 1 + len(rows)
    assert json.dumps(ledger.report([], 3, rows), allow_nan=False)


def test_statuses_are_what_the_ledger_takes_them_for():
    assert (Status.CONVERGED, Status.DIVERGED) == (0, 2)  # as the formula of cai.gd-edge says


def test_coverage_counts_its_rows_and_names_claims_that_there_are():
    text = (Path(__file__).resolve().parents[1] / "docs" / "coverage.md").read_text()
    known = {claim.id for claim in ledger.claims()}
    for name in re.findall(r"`((?:cai|arora|hoffer|santurkar|kohler|forum|olsbn)\.[\w.*-]+)`", text):
        pattern = re.compile(re.escape(name).replace(r"\*", ".*"))
        assert any(pattern.fullmatch(one) for one in known), name
    rows = re.findall(r"(?m)^\| [^|]* \| (as stated|narrower|not tried)", text)
    counted = [len(rows), *(rows.count(word) for word in ("as stated", "narrower", "not tried"))]
    assert f"| together | {' | '.join(map(str, counted))} |" in text
