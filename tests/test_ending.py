"""One rule of ending: what the docs of `olsbn.engine.ending` say, to the step, for every way a run is made."""

import itertools

import clipped
import numpy as np
import pytest
import variants
from variants import ALL, PROBLEMS

from olsbn import OLSProblem
from olsbn.dynamics import minibatch, plain
from olsbn.engine import gd as closed_form
from olsbn.engine.ending import CONVERGED, DIVERGED, GOES_ON, MAX_STEPS, NON_FINITE, ending
from olsbn.engine.run import Run

FLOOR = 1e-12  # far above the package's own, so that runs get there soon
RUNS = [
    Run(150, tol, stop, record=np.arange(151), floor=FLOOR)
    for tol, stop in ((1e-4, False), (1e-4, True), (1e-20, False))
]


def by_the_rule(excess, run, limit, rests=True, may_return=False):
    """Return status, first step with excess <= tol and last step, as the docs say it."""
    hit = -1
    for k, x in enumerate(excess.tolist()):
        hit = k if hit < 0 and x <= run.tol else hit
        before = np.inf if k == 0 else excess[k - 1]
        status = ending(k, x, before, hit, run.n_steps, run.stop_at_tol, run.floor, limit, rests, may_return)
        if status != GOES_ON:
            return status, hit, k
    raise AssertionError("the trace ends before the run")


def check(cells, trace, run, limit, rests=True, may_return=False):
    """Compare every cell with the rule; return the statuses, and how many ended before the last step."""
    for c in range(cells["status"].size):
        k = int(cells["n_steps_run"][c])
        found = int(cells["status"][c]), int(cells["steps_to_tol"][c]), k
        assert found == by_the_rule(trace["excess"][: k + 1, c], run, limit, rests, may_return), c
    return set(cells["status"].tolist()), int(np.sum(cells["n_steps_run"] < run.n_steps))


def test_the_rule_in_words():
    """Every line of the docstring, with the numbers at its edges."""
    inf, nan = np.inf, np.nan
    go = {
        "previous": 1.0, "hit": -1, "n_steps": 9, "stop_at_tol": False, "floor": 1e-9, "limit": 1e3, "rests": True,
        "may_return": False,
    }  # fmt: skip
    table = [
        ((3, nan), {}, NON_FINITE),
        ((0, inf), {}, NON_FINITE),
        ((3, inf), {}, DIVERGED),
        ((3, 1001.0), {"hit": 2}, DIVERGED),
        ((9, 1001.0), {"hit": 2}, DIVERGED),
        ((3, 1e3), {}, GOES_ON),
        ((3, 0.1), {"hit": 3, "stop_at_tol": True}, CONVERGED),
        ((3, 0.1), {"hit": 3}, GOES_ON),
        ((3, 0.1), {"hit": 2, "stop_at_tol": True}, GOES_ON),
        ((3, 1e-9), {"hit": 1}, CONVERGED),
        ((3, 1e-9), {}, MAX_STEPS),
        ((3, 1.1e-9), {"hit": 1}, GOES_ON),
        ((3, 0.0), {"hit": 1, "rests": False}, GOES_ON),
        ((3, 0.0), {"hit": 1, "may_return": True}, GOES_ON),
        ((3, 0.0), {"hit": 1, "may_return": True, "previous": 1e-9}, CONVERGED),
        ((9, 0.1), {"hit": 4}, CONVERGED),
        ((9, 0.1), {}, MAX_STEPS),
        ((8, 0.1), {}, GOES_ON),
    ]
    for at, changes, status in table:
        assert ending(*at, **(go | changes)) == status, (at, changes)


@pytest.mark.parametrize("v", ALL, ids=str)
def test_every_variant_ends_by_it(v):
    problem = PROBLEMS["random"](np.random.default_rng(2), d=3)
    problem = OLSProblem([1.0, 1.3, 1.5], problem.u, problem.w0)
    rates = v.rates(problem)
    if v.method != "gdnp":
        n = 12
        eps, decay = rates["eps"] * np.geomspace(0.3, 30, n), rates.pop("weight_decay", None)
        rates = {name: np.full(n, value) for name, value in rates.items()} | {"eps": eps}
        if "eps_a" in rates:
            rates["eps_a"][-3:] *= 4  # beyond the edge: it diverges
            rates["eps_a"][:3] = rates["eps_a"][0] / 0.7  # at once at the minimum
        if decay is not None:
            rates["weight_decay"] = decay * eps[0] / eps
    statuses, early = set(), 0
    for run in RUNS:
        cells, trace = v.run(problem, rates, run)
        heavy, decays = "momentum" in v.params, "weight_decay" in v.params
        found, n_early = check(cells, trace, run, v.coordinates(problem).limit, not decays, heavy)
        statuses, early = statuses | found, early + n_early
    assert {CONVERGED, MAX_STEPS} <= statuses and early
    # only there the edge does not move: with smoothing and weight normalization a large a makes w grow, too
    assert DIVERGED in statuses or v.params or v.method in ("gdnp", "wngd")


@pytest.mark.parametrize("run", RUNS)
def test_gd_in_closed_form_ends_by_it(run):
    """Its traces go on after the end; at the end they are the iteration's."""
    problem = OLSProblem([1.0, 1.3, 1.5], [1.0, -2.0, 0.5], [0.3, 0.2, 1e-5])
    x = closed_form.prepare(problem)
    eps = np.append(np.linspace(0.1, 1.33, 20), [1.34, 1.6, 2.5, 1e4, 1e200])
    cells, trace = closed_form.tile(x, {"eps": eps}, run)
    statuses, early = check(cells, trace, run, x.limit())
    # below the floor a tolerance is never reached
    assert {CONVERGED if run.tol > FLOOR else MAX_STEPS, DIVERGED} <= statuses and early


def test_methods_in_numpy_end_by_it():
    """`plain.iterate` judges all cells at once, an excess that is no number or infinite at the start among them."""
    series = [
        [1.0, 0.1, 1e-5, 1e-13, 1e-14],
        [1.0, np.nan, 1.0],
        [np.inf, 1.0],
        [np.nan, 1.0],
        [1.0, 1e-5, 1e31],
        [1.0, np.inf],
        [1e-5, 1.0, 1e-6],
        [1.0] * 151,
        [1e-13, 1.0],
        [0.0, 0.0],
        [5.0, 1e31, 1e-5],
    ]
    table = np.array([list(itertools.islice(itertools.chain(s, itertools.repeat(s[-1])), 151)) for s in series]).T
    for run in RUNS:
        cells, trace = plain.iterate(0, lambda k, _: k + 1, lambda k: {"excess": table[k]}, run)
        for c, excess in enumerate(table.T):
            limit = 1e30 * max(1.0, excess[0])
            want = by_the_rule(excess, run, limit)
            assert (cells["status"][c], cells["steps_to_tol"][c], cells["n_steps_run"][c]) == want, c
            assert trace["excess"][: want[2] + 1, c].tolist() == pytest.approx(excess[: want[2] + 1], nan_ok=True)


def test_a_method_from_outside_ends_by_it():
    problem = OLSProblem([1.0, 1.3, 1.5], [1.0, -2.0, 0.5], [0.3, 0.2, 1e-5])
    for run in RUNS:
        given = {"eps": np.linspace(0.1, 1.9, 9), "longest": np.full(9, 0.5)}
        cells, trace = clipped.METHOD.tile(clipped.METHOD.prepare(problem), given, run)
        check(cells, trace, run, 1e30 * max(1.0, float(trace["excess"][0].max())))


def test_mini_batches_end_by_it():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 3))
    problem = OLSProblem.from_samples(X, X @ [1.0, 2.0, -1.0])  # no noise: batches have one minimum
    x = minibatch.METHOD.prepare(problem)
    given = {"eps": np.geomspace(1e-2, 10, 8), "eps_a": np.repeat([1.0, 2.5], 4), "batch_size": np.full(8, 10.0)}
    given["replicate"] = np.zeros(8)
    statuses = set()
    for run in RUNS:
        cells, trace = minibatch.METHOD.tile(x, given, run)
        limit = x.limit() if callable(x.limit) else x.limit
        statuses |= check(cells, trace, run, limit)[0]
    assert {CONVERGED, MAX_STEPS} <= statuses


def test_the_last_step_is_that_of_the_balls():
    """By the printed update: the first step within tol, at the floor and past the limit."""
    for v in (variants.ALL[0], next(v for v in ALL if v.name == "wn-star")):
        problem = OLSProblem([1.0, 1.3, 1.5], [1.0, -2.0, 0.5], [0.3, 0.2, 0.4])
        for eps_a in (1.0, 2.5):
            rates = v.rates(problem) | {"eps_a": eps_a * v.rates(problem)["eps_a"] / 0.7}
            exact = v.balls(problem, 700, [], rates=rates, tol=1e-9)
            cells, _ = v.run(problem, rates, Run(700, 1e-9))
            end = exact.over if exact.over >= 0 else exact.floor if exact.floor >= 0 else 700
            assert (cells["n_steps_run"][0], cells["steps_to_tol"][0]) == (end, exact.hit)
