"""Windows of learning rates: measured ones against brute force; what predicted ones called reliable keep."""

import math

import numpy as np
import pytest

import olsbn
from olsbn import OLSProblem, eps_window, measured_window
from olsbn.theory.roots import bracketed_root

LIMITS = 0.06, 0.1  # decades at an end, which `reliable` is about; part of the width in holes


def off(problem, tol, n_steps):
    """How far a predicted window is from the measured one: decades at either end, part of the width in holes."""
    predicted, measured = eps_window(problem, tol, n_steps), measured_window(problem, tol, n_steps)
    if not measured.decades:
        return math.inf, math.inf, 1.0
    lower = abs(math.log10(measured.lower / predicted.lower))
    if predicted.upper == math.inf:  # one step, however long, gets there
        return lower, 0.0 if measured.above == math.inf else math.inf, measured.holes / measured.decades
    return lower, abs(math.log10(measured.upper / predicted.upper)), measured.holes / measured.decades


# kind, d, cond, seed, tol, steps; what keeps each from being called reliable is one condition alone
WRONG = {
    "upper end, a factor 4.5 outside": ("logspace", 7, 1000.0, 3, 1e-8, 8000),
    "holes, a factor 5.5 outside": ("logspace", 3, 1000.0, 6, 1e-8, 2000),
    "upper end, a factor 6.6 outside": ("logspace", 5, 100.0, 7, 1e-8, 2000),
    "few steps": ("identity", 40, 1.0, 3, 0.1, 25),
    "start at an excess of 0.03": ("linspace", 2, 60.0, 9, 1e-4, 1000),
    "between the laws": ("logspace", 3, 14.0, 1, 1e-8, 100),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_not_called_reliable(name):
    kind, dim, cond, seed, tol, n_steps = WRONG[name]
    problem = OLSProblem.from_spectrum(kind, dim, cond, seed=seed)
    lower, upper, holes = off(problem, tol, n_steps)
    assert max(lower, upper) > LIMITS[0] or holes > LIMITS[1]
    assert not eps_window(problem, tol, n_steps).reliable


def test_what_is_called_reliable_is_right():
    rng, n = np.random.default_rng(0), 0
    while n < 25:
        kind = ("logspace", "linspace", "powerlaw", "marchenko-pastur", "two-cluster")[rng.integers(5)]
        problem = OLSProblem.from_spectrum(
            kind, int(rng.integers(2, 40)), 10 ** rng.uniform(0.1, 6), int(rng.integers(99))
        )
        tol, n_steps = 10 ** rng.uniform(-12, -0.4), int(10 ** rng.uniform(1, 3.5))
        if not eps_window(problem, tol, n_steps).reliable:
            continue
        n += 1
        lower, upper, _ = off(problem, tol, n_steps)
        assert max(lower, upper) <= LIMITS[0], (problem, tol, n_steps)


def test_a_start_that_has_the_tolerance_already_is_not_called_reliable():
    problem = OLSProblem.from_spectrum("logspace", 20, 50.0)
    assert eps_window(problem, 1e-3, 1500).reliable
    p = OLSProblem(problem.eigvals, problem.u, problem.u + 0.5 * problem.w0)
    assert not eps_window(p, 0.5, 1500).reliable and measured_window(p, 0.5, 100).below == 0
    solved = eps_window(OLSProblem(problem.eigvals, problem.u, 2 * problem.u), 1e-3, 5)  # w stays where it is
    assert solved.reliable and (solved.lower, solved.upper) == (0, math.inf)


# ---------------------------------------------------------------- measured


@pytest.mark.parametrize(("method", "params"), [("bngd", {}), ("gd", {}), ("bngd", {"eps_a": 0.5, "momentum": 0.2})])
def test_measured_ends_and_holes_against_brute_force(method, params):
    problem, tol, n_steps = OLSProblem.from_spectrum("linspace", 3, 60.0, seed=9), 1e-4, 300
    found = measured_window(problem, tol, n_steps, method, accuracy=0.002, **params)
    eps = np.geomspace(found.lower / 100, found.upper * 100, 6001)
    step = math.log10(eps[1] / eps[0])
    good = (
        olsbn.sweep(
            problem, method=method, eps=eps, n_steps=n_steps, tol=tol, progress=False, **params
        ).steps_to_tol.values
        >= 0
    )
    first, last = np.flatnonzero(good)[[0, -1]]
    near = step + 0.002  # the grid, and the accuracy asked for
    assert abs(math.log10(eps[first] / found.lower)) <= near and abs(math.log10(eps[last] / found.upper)) <= near
    assert found.holes == pytest.approx((~good[first:last]).sum() * step, abs=0.1)
    ends = olsbn.sweep(
        problem, method=method, n_steps=n_steps, tol=tol, progress=False,
        eps=[found.below, found.lower, found.upper, found.above], **params,
    )  # fmt: skip
    assert (ends.steps_to_tol.values >= 0).tolist() == [False, True, True, False]
    assert 0 < math.log10(found.lower / found.below) <= 0.002 and 0 < math.log10(found.above / found.upper) <= 0.002


def test_measured_windows_that_are_empty_cut_off_or_unbounded():
    problem = OLSProblem.from_spectrum("logspace", 3, 14.0, seed=1)
    none = measured_window(problem, 1e-8, 100)
    assert none.decades == 0 and math.isnan(none.lower) and none.n_tried > 100
    solved = measured_window(OLSProblem([1.0, 2.0], [1.0, 0.5], [2.0, 1.0]), 1e-3, 10)
    assert (solved.below, solved.above) == (0.0, math.inf) and solved.decades == pytest.approx(580, abs=1)
    whole = measured_window(problem, 1e-2, 100)
    for span in (
        (whole.lower * 1.1, whole.lower * 1.2),
        (whole.lower / 1e3, whole.upper * 1e3),
    ):  # it goes on by itself
        found = measured_window(problem, 1e-2, 100, span=span)
        assert abs(math.log10(found.lower / whole.lower)) < 0.01 and abs(math.log10(found.upper / whole.upper)) < 0.01


def test_rounding_within_a_window_is_told():
    problem = OLSProblem.from_dataset("diabetes", standardize="inputs")
    found = measured_window(problem, 1e-60, 5000, eps_a=1.0)
    assert 0 < found.rounding < found.decades


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"problem": 3}, TypeError, "problem must be an OLSProblem"),
        ({"tol": 1.0}, ValueError, "tol must lie in"),
        ({"n_steps": 0}, ValueError, "n_steps must be >= 1"),
        ({"method": "gdnp"}, ValueError, "eps must be left out for method 'gdnp'"),
        ({"accuracy": 0}, ValueError, "accuracy must lie in"),
        ({"span": (2.0, 1.0)}, ValueError, "span must be LO < HI"),
    ],
)
def test_bad_input(change, error, words):
    problem = OLSProblem.from_spectrum("logspace", 3, 10.0)
    with pytest.raises(error, match=words):
        measured_window(**({"problem": problem, "tol": 1e-3, "n_steps": 10} | change))


def test_robustness_says_whether_its_width_is_reliable():
    family = olsbn.ProblemFamily("linspace", 100.0)
    options = {"eps": np.logspace(-4, 6, 41), "dim": [5, 40], "trial": [0, 1, 2], "n_steps": 300, "tol": 1e-3}
    found = olsbn.robustness(olsbn.sweep(family, **options))
    assert found.window_reliable.dims == found.width_theory.dims == ("dim", "trial")
    expected = [[eps_window(family(d, t), 1e-3, 300).reliable for t in range(3)] for d in (5, 40)]
    np.testing.assert_array_equal(found.window_reliable, expected)
    assert 0 < np.mean(expected) < 1
    assert (olsbn.robustness(olsbn.sweep(family, method="gd", **options)).window_reliable == 1).all()


@pytest.mark.parametrize(("more", "why"), [({"eps": 0.1}, "left out"), ({"momentum": [0.1]}, "number")])
def test_a_measured_window_is_of_one_value_of_each_other_parameter(more, why):
    with pytest.raises(ValueError, match=why):
        olsbn.measured_window(olsbn.OLSProblem([1, 2], [1, 1], [1, 0]), 1e-3, 50, **more)


def test_a_bracketed_root_is_where_the_sign_changes():
    rng = np.random.default_rng(0)
    for root in rng.uniform(-3, 3, 300):
        low, high = root - rng.uniform(0, 10), root + rng.uniform(0, 10)
        for function in (
            lambda x, r=root: (x - r) ** 3,
            lambda x, r=root: math.tanh(1e4 * (x - r)),
            lambda x, r=root: -1.0 if x < r else 1.0,
            lambda x, r=root: math.exp(min(3 * x, 700)) - math.exp(3 * r),
        ):
            found = bracketed_root(function, low, high)
            near = 2 * (1e-15 + 2.0**-50 * abs(found))
            assert low <= found <= high and function(found - near) <= 0 <= function(found + near)
    with pytest.raises(ValueError, match="must change sign between 0 and 1, got 2"):
        bracketed_root(lambda x: 2.0, 0, 1)
