"""Recommended learning rates against brute force; what an effective learning rate can be."""

import numpy as np
import pytest

import olsbn
from olsbn.maps import default_eps
from olsbn.recommendation import recommend

PROBLEMS = {
    "logspace": ("logspace", 10, 100.0, 0),
    "plateau": ("linspace", 50, 50.0, 0),
    "needles": ("linspace", 100, 30.0, 1),
    "no plateau": ("powerlaw", 12, 20.0, 4),
}


def of(method, found, name):
    return found[name].sel({"method": method}).item()


def steps_on(problem, method, eps, tol, n_steps):
    ds = olsbn.sweep(problem, method=method, eps=eps, n_steps=n_steps, tol=tol, stop="tol", progress=False)
    lost = ds.steps_to_tol.values < 0
    if "by_rounding" in ds:  # only many digits decide these
        lost |= ds.by_rounding.values
    return np.where(lost, np.inf, ds.steps_to_tol.values)


@pytest.mark.parametrize("name", PROBLEMS)
def test_fewest_steps_and_their_range_against_brute_force(name):
    kind, dim, cond, seed = PROBLEMS[name]
    problem, tol, n_steps = olsbn.OLSProblem.from_spectrum(kind, dim, cond, seed=seed), 1e-6, 1500
    found = recommend(problem, tol=tol, n_steps=n_steps)
    for method in ("gd", "bngd"):
        ends = default_eps(problem, n_steps, tol)[[0, -1]]
        eps = np.geomspace(*ends, 1501)
        steps = steps_on(problem, method, eps, tol, n_steps)
        fewest, fastest = of(method, found, "steps_fastest"), of(method, found, "eps_fastest")
        assert fewest <= 1.03 * steps.min()
        assert steps_on(problem, method, [fastest], tol, n_steps)[0] == fewest
        low, high = of(method, found, "eps_lower"), of(method, found, "eps_upper")
        assert low <= fastest <= high
        inside = np.geomspace(low, high, 60)
        assert (steps_on(problem, method, inside, tol, n_steps) <= 2.1 * fewest).mean() > 0.95  # needles upwards
        # just outside it takes more than twice as many
        beyond = steps_on(problem, method, [low / 1.01, high * 1.01], tol, n_steps)
        assert (beyond > 2 * fewest).all()
        assert of(method, found, "note") == ""


def test_a_needle_is_found():
    """22 steps at one learning rate of a grid of 667 a decade, 200 and more at its neighbours, 24 elsewhere."""
    problem = olsbn.OLSProblem.from_spectrum("powerlaw", 30, 10.0, seed=2)
    found = recommend(problem, n_steps=1000)
    fewest, eps = of("bngd", found, "steps_fastest"), of("bngd", found, "eps_fastest")
    assert fewest <= 22 and steps_on(problem, "bngd", [eps], 1e-6, 1000)[0] == fewest
    low, high = of("bngd", found, "eps_lower"), of("bngd", found, "eps_upper")
    assert low <= eps <= high < 1.01 * low  # and its width tells what it is


def test_best_rates_are_what_theory_allows():
    problem = olsbn.OLSProblem.from_spectrum("logspace", 8, 30.0)
    found = recommend(problem, n_steps=3000)
    for method in ("gd", "bngd"):
        rate = of(method, found, "rate_best")
        best, attainable = of(method, found, "rate_theory_best"), of(method, found, "rate_attainable")
        assert best <= attainable <= rate * (1 + 1e-9) and rate < 1 - 0.9 * (1 - attainable)
        run = (olsbn.run_gd if method == "gd" else olsbn.run_bngd)(
            problem, of(method, found, "eps_rate_best"), n_steps=3000
        )
        assert run.attrs["rate_sim"] == rate


def test_what_a_start_attains_is_said():
    """From a long way behind, BNGD's effective rate stays below its best one at every learning rate."""
    p = olsbn.OLSProblem.from_spectrum("linspace", 6, 5.0)
    p = olsbn.OLSProblem(p.eigvals, p.u, p.w0, a0=40.0)
    report, regimes = olsbn.spectral_report(p), olsbn.effective_rate_regimes(p)
    assert regimes.attainable < 0.5 * report.eps_eff_opt
    found = recommend(p, n_steps=5000)
    best, attainable, rate = (of("bngd", found, name) for name in ("rate_theory_best", "rate_attainable", "rate_best"))
    assert best < attainable <= rate < 1 - 0.9 * (1 - attainable)


def test_no_effective_rate_passes_what_is_attainable():
    rng, tightest = np.random.default_rng(0), 0.0
    for _ in range(25):
        d = int(rng.integers(2, 25))
        eigvals = np.sort(10 ** rng.uniform(0, rng.uniform(0.1, 2), d))
        p = olsbn.OLSProblem(eigvals, rng.normal(size=d), rng.normal(size=d) * 10 ** rng.uniform(-2, 2))
        regimes = olsbn.effective_rate_regimes(p)
        eps = regimes.crossing * np.geomspace(0.03, 30, 31)
        ds = olsbn.sweep(p, eps=eps, eps_a=[0.5, 1.0], n_steps=2000, progress=False)
        # near its limit to 1e-10; on a plateau the edge is passed for a while
        reached = ds.eps_eff.values[(ds.excess <= 1e-20).values]
        if reached.size and regimes.attainable < regimes.plateau:
            tightest = max(tightest, reached.max() / regimes.attainable)
    assert 0.98 < tightest <= 1 + 1e-9


def test_why_a_number_is_missing_is_said():
    problem = olsbn.OLSProblem.from_spectrum("logspace", 10, 1e4)
    found = recommend(problem, n_steps=20)
    for method in ("gd", "bngd"):
        assert of(method, found, "steps_fastest") == -1 and np.isnan(of(method, found, "eps_fastest"))
        assert "no learning rate reaches 1e-06 within 20 steps" in of(method, found, "note")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"problem": 3}, TypeError, "problem"),
        ({"tol": 0.0}, ValueError, "tol must lie in"),
        ({"n_steps": 0}, ValueError, "n_steps must be >= 1"),
        ({"methods": ["sgd"]}, ValueError, "method must be one of"),
    ],
)
def test_bad_input(change, error, words):
    problem = olsbn.OLSProblem.from_spectrum("logspace", 3, 10.0)
    with pytest.raises(error, match=words):
        recommend(**({"problem": problem} | change))
