"""Exact cells of every dynamics: the engine's step on balls, against the printed update on balls and in float64."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from printed import run as printed_run

import olsbn
from olsbn import OLSProblem
from olsbn.certification import exact_cell
from olsbn.engine.cells import Schedules, execute
from olsbn.engine.interpret import Cell, Start
from olsbn.engine.run import Run
from olsbn.schema import Status

flint = pytest.importorskip("flint")
_spec = importlib.util.spec_from_file_location("audit", Path(__file__).parent / "stress" / "audit.py")
audit = importlib.util.module_from_spec(_spec)  # its generators of cells
_spec.loader.exec_module(audit)

NAMES = "excess", "eps_eff", "a", "w_norm"


def agrees(problem, method, params, n_steps, tol, record):
    """Hold an exact cell against the printed update, to the last bits of float64; return the cell."""
    exact = exact_cell(problem, method, params, n_steps, tol, record=record)
    twin = printed_run(problem, method, params, n_steps, tol, record)
    assert exact.trace.keys() <= set(record)
    for k, row in exact.trace.items():
        if k in twin.points:
            np.testing.assert_allclose([float(x) for x in row], twin.points[k], rtol=1e-12)
    if exact.status is Status.DIVERGED:
        assert 0 <= twin.over <= exact.n_steps_run and (twin.surely_over < 0 or exact.n_steps_run <= twin.surely_over)
    else:
        assert exact.steps_to_tol == twin.hit
        assert exact.n_steps_run == (n_steps if twin.floor < 0 else exact.n_steps_run)
        assert set(twin.points) <= set(exact.trace)
    return exact


@pytest.mark.parametrize("kind", audit.KINDS)
@pytest.mark.parametrize("group", audit.GROUPS)
def test_the_printed_update(group, kind):
    """One cell of every sort of problem and every mixture of parameters: they agree to 1e-12."""
    for index in range(100):
        case = audit.draw(5, index, groups=[group], kinds=[kind], few=True)
        if case.problem.dim > 1:
            break
    params = {name: float(np.ravel(value)[0]) for name, value in case.params.items()}
    n_steps = min(case.n_steps, 80)
    record = sorted({0, 1, 7, n_steps // 2, n_steps})
    agrees(case.problem, case.method, params, n_steps, case.tol, record)


@pytest.mark.parametrize("stop", ["steps", "tol"])
@pytest.mark.parametrize("method", [name for name, m in olsbn.methods().items() if not m.needs_sample])
def test_starts_that_stay(method, stop):
    """sigma = 0, saddles, a start on u, one along g: the engine's status is the exact one."""
    u = np.array([1.0, 1.0])
    starts = [[0, 0], [-4, 1], [2, 2], [1, 4]]
    for w0, a0, null in ((w, a, null) for w in starts for a in (None, 0.0, 1.0) for null in (0.0, 0.5)):
        problem = OLSProblem([1, 4], u, w0, a0=a0, w0_null_norm=null)
        params = {p.name: 0.1 for p in olsbn.methods()[method].params if p.name in ("eps", "eps_a")}
        ds = olsbn.sweep(problem, method=method, n_steps=20, stop=stop, progress=False, **params)
        proof = olsbn.certify(ds, problem=problem)
        assert proof.agrees.all(), (w0, a0, null, ds, proof)


@pytest.mark.parametrize("method", ["bngd", "gd"])
@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule": "cosine", "floor": 0.1},
        {"schedule": "warmup-cosine", "warmup": 7, "eps_power": 0.3},
        {"schedule": "wsd", "warmup": 5, "decay": 0.3, "floor": 0.05, "momentum": 0.5},
        {"eps_factors": np.linspace(1, 0.2, 61)},
    ],
    ids=lambda schedule: schedule.get("schedule", "given"),
)
def test_schedules(method, schedule):
    problem = OLSProblem.from_spectrum("logspace", 5, 50.0, seed=3)
    ds = olsbn.sweep(problem, method=method, eps=[0.01, 0.02], n_steps=60, progress=False, **schedule)
    proof = olsbn.certify(ds, problem=problem)
    assert proof.attrs["agree"] == 2 and proof.digits.min() > 13
    if "floor" in schedule:  # a proof with another schedule refutes
        assert olsbn.certify(ds.assign_attrs(floor=0.2), problem=problem).attrs["refuted"] == 2


# -------------------------------------------------------------------- the interpreter on floats


def test_on_floats_it_is_the_engine():
    """The interpreter and the compiled code make the same step of the same coordinates."""
    from olsbn.dynamics.normalizers import BestScaleDeflated, Deflated, Star, WeightNormalizedDeflated
    from olsbn.engine.split import deflated, star

    problem = OLSProblem.from_spectrum("logspace", 6, 50.0, seed=3)
    plain = {"eps": 0.05, "eps_a": 0.7}
    heavy = plain | {"momentum": 0.5, "nesterov": 1.0, "decay": 0.001, "identity": 0.2}
    cases = [(Star(), star, plain), (Star(), star, heavy), (Deflated(), deflated, plain), (Deflated(), deflated, heavy)]
    cases += [
        (WeightNormalizedDeflated(), deflated, plain | {"identity": 1.0}),
        (BestScaleDeflated(), deflated, {"eps_a": 1.0}),
    ]
    factors = np.stack([np.ones(31), 0.97 ** np.arange(31)])
    for step, coordinates, params in cases:
        x = coordinates(problem)
        own = {name: np.float64(value) for name, value in params.items() if name in step.params}
        neutral = {name: 1.0 if value is None else value for name, value in step.params.items()}
        many = {name: np.array([value]) for name, value in (neutral | own).items()}
        many = {name: values for name, values in many.items() if not name.startswith("factor")}
        which = np.array([[int("eps" in params), 0]])  # GDNP chooses its own steps
        cells, _ = execute(step, x, many, Run(30), Schedules(factors, which))
        cell = Cell(step, Start(x.numbers, x.start, x.begin, x.facts, {**own, "factor": 1.0}), np.float64)
        with np.errstate(all="ignore"):
            for k in range(31):
                cell.advance([np.float64(factors[which[0, 0], k])][: len(cell.rates)])
        assert cell.excess == pytest.approx(cells["excess"][0], rel=1e-11), step
        assert x.scale * cell.report()["a"] == pytest.approx(cells["a"][0], rel=1e-11)


def test_on_many_digits_it_is_the_ball():
    mpmath = pytest.importorskip("mpmath")
    from olsbn.balls import precision, star
    from olsbn.dynamics.normalizers import Star

    problem = OLSProblem.from_spectrum("logspace", 6, 50.0, seed=3)
    start = star(problem, 400).start._replace(params={"eps": 0.05, "eps_a": 0.7, "momentum": 0.5})
    with mpmath.workdps(100):
        cell = Cell(Star(), start, lambda x: mpmath.mpf(x.str(110, radius=False) if hasattr(x, "str") else x))
        for _ in range(31):
            cell.advance([])
    exact = exact_cell(problem, "bngd", start.params, 30, 1e-10)
    with precision(400):
        assert exact.excess.overlaps(flint.arb(mpmath.nstr(cell.excess, 90)))


# -------------------------------------------------------------------- a proof is of the problem, not of the engine


@pytest.mark.parametrize(("method", "name"), [("bngd", "mu"), ("bngd", "b"), ("wngd", "one_over_mu"), ("gd", "lam")])
def test_a_coefficient_that_is_wrong_is_refuted(monkeypatch, method, name):
    from dataclasses import replace

    from olsbn.engine import gd, split

    def shifted(make):
        def coordinates(problem, *args, **options):
            x = make(problem, *args, **options)
            numbers = {group: dict(values) for group, values in x.numbers.items()}
            moved = numbers["coupled"][name].copy()
            moved[1] *= 1 + 1e-7
            numbers["coupled"][name] = moved
            return replace(x, numbers=numbers)

        return coordinates

    problem = OLSProblem.from_spectrum("logspace", 6, 50.0, seed=4)
    more = {"momentum": 0.3} if method == "gd" else {}
    rates = {"eps": [0.01, 0.02], "n_steps": 60, "progress": False}
    assert olsbn.certify(olsbn.sweep(problem, method=method, **rates, **more), problem=problem).attrs["refuted"] == 0
    monkeypatch.setattr(split, "star", shifted(split.star))
    monkeypatch.setattr(gd, "errors", shifted(gd.errors))
    other = OLSProblem(problem.eigvals, problem.u, problem.w0, label="not seen before")
    from olsbn.sweeps import compute

    compute._prepared.cache_clear()
    wrong = olsbn.sweep(other, method=method, **rates, **more)
    compute._prepared.cache_clear()
    assert olsbn.certify(wrong, problem=other).attrs["refuted"] == 2
