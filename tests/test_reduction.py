"""Reduced problems beside the ones they were made from."""

import dataclasses
import math
import pickle
import tracemalloc

import numpy as np
import pytest
from test_problems import refused
from threadpoolctl import threadpool_limits

import olsbn
from olsbn import OLSProblem
from olsbn.linalg import gauss_points
from olsbn.problems.reduction import modes_needed, reduce_for
from olsbn.sweeps import spec

KINDS = [("linspace", 100.0), ("logspace", 1e3), ("marchenko-pastur", 30.0), ("powerlaw", 1e4), ("two-cluster", 50.0)]


# -------------------------------------------------------------------- quadrature


def legendre_moments(points, starts, degree):
    """Matrices ``sum_i P_k(points_i) x_i x_i'`` on [0, 1]."""
    values = np.polynomial.legendre.legvander(2 * points - 1, degree)
    return np.einsum("ik,ia,ib->kab", values, starts, starts)


@pytest.mark.parametrize("n", [2, 8, 20, 40])
def test_block_gauss_gives_the_same_moments(n):
    rng = np.random.default_rng(n)
    points, starts = np.sort(rng.random(300)), rng.standard_normal((300, 2))
    found, x = gauss_points(points, starts, n)
    assert found.size == n and points[0] <= found[0] and found[-1] <= points[-1] and (x[:, 0] >= 0).all()
    exact, same = (legendre_moments(*data, n + 1) for data in ((points, starts), (found, x)))
    size = np.abs(exact[0]).max()
    assert np.abs(exact - same)[:n].max() < 1e-13 * size  # degrees below 2 (n/2)
    assert np.abs(exact - same)[n + 1].max() > 1e-6 * size  # and no more than that


def test_a_narrow_range_far_from_zero_keeps_its_digits():
    rng = np.random.default_rng(0)
    points, starts = 1e6 + np.sort(rng.random(100)), rng.standard_normal((100, 2))
    found, x = gauss_points(points, starts, 10)
    exact, same = (legendre_moments(p - 1e6, s, 9) for p, s in ((points, starts), (found, x)))
    assert np.abs(exact - same).max() < 1e-8 * np.abs(exact[0]).max()  # 1e-10 is one rounding of the points


def test_fewer_points_where_fewer_are_enough():
    rng = np.random.default_rng(1)
    points, x = np.sort(rng.random(50)), rng.standard_normal(50)
    for starts, most in (
        (np.stack([x, 3 * x], 1), 50),  # parallel
        (np.stack([x, 0 * x], 1), 50),  # no start
        (np.stack([x * (points > 0.5), x * (points < 0.5)], 1), 50),  # apart
    ):
        found, y = gauss_points(points, starts, 60)
        assert found.size <= most
        exact, same = (legendre_moments(*data, 30) for data in ((points, starts), (found, y)))
        assert np.abs(exact - same).max() < 1e-12 * np.abs(exact[0]).max()
    repeated = np.repeat(points[:4], 10)
    found, _ = gauss_points(repeated, rng.standard_normal((40, 2)), 30)
    assert found.size == 8  # two for each


# -------------------------------------------------------------------- runs


def perturbed(problem):
    """The start moved by 1e-15, one way in the slow half of the modes, the other way in the fast half.

    A random move of every mode would average out over the modes: the sums then move by 1e-15/sqrt(d).
    """
    side = np.where(np.arange(problem.dim) < problem.dim // 2, 1.0, -1.0)
    return dataclasses.replace(problem, w0=problem.w0 * (1 + 1e-15 * side))


def log_difference(one, other):
    return np.abs(np.log(one.excess.values) - np.log(other.excess.values))


@pytest.mark.parametrize(("kind", "cond"), KINDS)
def test_reduced_runs_are_the_full_runs(kind, cond):
    problem = OLSProblem.from_spectrum(kind, 5000, cond, seed=2)
    regimes = olsbn.effective_rate_regimes(problem)
    grid = {"eps": np.geomspace(regimes.eps_1 / 1e2, regimes.eps_2 * 1e2, 24), "n_steps": 200, "progress": False}
    small = problem.reduced(200)
    assert small.dim <= modes_needed(200, 1e-12) and small.reduction_error < 1e-9
    full, found, moved = (olsbn.sweep(p, **grid) for p in (problem, small, perturbed(problem)))
    assert (full.status == found.status).all()
    # a start moved by 1e-15 says which cells are chaotic: there rounding decides, of points as of starts
    calm = log_difference(moved, full) < 1e-11
    assert calm.sum() >= 20
    assert log_difference(found, full)[calm].max() < 1e-9
    for name in ("w_norm", "eps_eff"):
        np.testing.assert_allclose(found[name].values[calm], full[name].values[calm], rtol=1e-9)
    grid["eps"] = np.geomspace(0.01, 1.2, 24) * 2 / problem.eigvals[-1]
    full, found = (olsbn.sweep(p, method="gd", **grid) for p in (problem, small))
    assert log_difference(found, full).max() <= 1e-9
    assert found.rate_theory.equals(full.rate_theory)


@pytest.mark.parametrize(("kind", "cond"), KINDS[:3])
def test_the_error_is_the_one_that_runs_have(kind, cond):
    problem = OLSProblem.from_spectrum(kind, 4000, cond, seed=5)
    for modes in (60, 100):
        small = problem.reduced(400, max_modes=modes)
        assert small.dim == modes
        eps = np.linspace(0.02, 1, 60) * 2 / problem.eigvals[-1]
        full, found = (olsbn.sweep(p, method="gd", eps=eps, n_steps=400, progress=False) for p in (problem, small))
        worst = log_difference(found, full).max()
        assert worst / 3 < small.reduction_error < 10 * worst
        regimes = olsbn.effective_rate_regimes(problem)
        eps = np.geomspace(regimes.eps_1 / 1e2, regimes.eps_1, 20)  # where rounding decides nothing
        full, found = (olsbn.sweep(p, eps=eps, n_steps=400, progress=False) for p in (problem, small))
        assert log_difference(found, full).max() < 10 * small.reduction_error


def test_theory_of_a_reduced_problem_is_that_of_the_original():
    problem = OLSProblem.from_spectrum("powerlaw", 3000, 1e7, seed=1)  # ||u|| lives where a run sees little
    problem = dataclasses.replace(problem, label="mine", w0_null_norm=0.5, target_var=2 * problem.explained_var)
    small = problem.reduced(50)
    one, other = (dataclasses.asdict(olsbn.spectral_report(p)) for p in (problem, small))
    for name in ("eigvals", "_problem"):
        one.pop(name), other.pop(name)
    assert one == other
    found, exact = (dataclasses.asdict(olsbn.effective_rate_regimes(p)) for p in (small, problem))
    assert found.pop("note") == exact.pop("note") and found == pytest.approx(exact, rel=1e-7)
    assert olsbn.bngd_contraction_ratio(small, 0.3, excited=True) == olsbn.bngd_contraction_ratio(
        problem, 0.3, excited=True
    )
    assert (small.label, small.a0, small.target_var) == ("mine", problem.a0, problem.target_var)
    assert small.explained_var == pytest.approx(problem.explained_var, rel=1e-13)
    norms = [math.hypot(*p.w0, p.w0_null_norm) for p in (small, problem)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-13)
    assert small.reduction.fingerprint == problem.fingerprint and small.reduction.dim == 3000


def test_singular_starts_and_groups_are_reduced():
    rng = np.random.default_rng(4)
    eigvals = np.repeat(np.linspace(1, 9, 300), 4)
    u = rng.standard_normal(1200) * (np.arange(1200) % 3 > 0)
    for w0 in (rng.standard_normal(1200), 0.3 * u, np.zeros(1200), rng.standard_normal(1200) * (u == 0)):
        problem = OLSProblem(eigvals, u, w0)
        small = problem.reduced(30)
        assert small.dim < 120 or not (eigvals * u * w0).any()  # zero, and on a saddle: there is nothing to run
        full, found = (olsbn.sweep(p, eps=[0.01, 0.1, 1.0], n_steps=30, progress=False) for p in (problem, small))
        assert (full.status == found.status).all()
        if np.isfinite(full.excess).all() and (full.excess > 1e-25).all():
            assert log_difference(found, full).max() < 1e-9


# -------------------------------------------------------------------- the object


def test_a_reduced_problem_is_a_problem():
    problem = OLSProblem.from_spectrum("linspace", 2000, 10.0)
    small = problem.reduced(60)
    twin = pickle.loads(pickle.dumps(small))
    assert twin == small and twin.reduction == small.reduction and twin.reduction_error == small.reduction_error
    assert small.reduced(60) is small and problem.reduction_error == 0.0
    tiny = OLSProblem.from_spectrum("linspace", 20, 10.0)
    assert tiny.reduced(1000) is tiny
    assert problem.reduced(3).dim <= 2 * 5 + 16  # few steps see few moments
    refused(lambda: dataclasses.replace(small, w0=2 * small.w0), "reduction")
    refused(lambda: problem.reduced(0), "n_steps", "0")
    refused(lambda: problem.reduced(10, tol=2.0), "tol", "2.0")
    refused(lambda: problem.reduced(10, max_modes=3), "max_modes", "3")


def test_reduce_for():
    problem = OLSProblem.from_spectrum("linspace", 3000, 10.0)
    assert reduce_for(problem, 100, False) is problem
    assert reduce_for(problem, 100, "auto").dim == problem.reduced(100).dim < 3000
    assert reduce_for(problem, 10**6, "auto") is problem
    assert reduce_for(problem, 100, 64).dim == 64
    for bad in (True, "yes", 3.5, None):
        refused(lambda bad=bad: reduce_for(problem, 100, bad), "reduce", "auto")


def test_sweeps_reduce_and_say_so(tmp_path):
    problem = OLSProblem.from_spectrum("linspace", 3000, 10.0)
    grid = {"eps": [0.01, 0.1, 1.0, 10.0], "n_steps": 100, "progress": False}
    full, auto = olsbn.sweep(problem, **grid), olsbn.sweep(problem, reduce="auto", **grid)
    assert log_difference(auto, full).max() < 1e-9
    small = problem.reduced(100)
    assert auto.attrs["reduce"] == "auto" and auto.attrs["modes"] == small.dim
    assert auto.attrs["reduction_error"] == small.reduction_error and auto.attrs["rank"] == 3000
    assert auto.attrs["eps_1"] == pytest.approx(full.attrs["eps_1"], rel=1e-9)
    kept = olsbn.sweep(problem, reduce="auto", store=tmp_path / "s.zarr", **grid)
    again = olsbn.sweep(problem, reduce="auto", store=tmp_path / "s.zarr", **grid)  # goes on: nothing is left to do
    for ds in (kept, again):
        assert ds.load().drop_attrs().equals(auto.drop_attrs()) and ds.attrs["modes"] == small.dim
        assert ds.attrs["eps_1"] == auto.attrs["eps_1"]
    family = olsbn.ProblemFamily("linspace", cond=10.0)
    found = olsbn.sweep(family, dim=[50, 3000], trial=[0, 1], reduce="auto", **grid)
    assert log_difference(found.sel(dim=3000, trial=0), full).max() < 1e-9
    assert list(found.attrs["modes"]) == [50, small.dim]
    few = olsbn.sweep(problem, method="gd", reduce=40, **grid)
    assert few.attrs["modes"] == 40 and few.attrs["reduction_error"] > auto.attrs["reduction_error"]
    for name, grids in (("wngd", {}), ("bngd", {"smoothing": np.array([0.0, 0.1])})):
        refused(lambda n=name, g=grids: spec._check_reduce(olsbn.methods()[n], g), "reduce", name)
    refused(lambda: olsbn.sweep(family, dim=3000, reduce=True, **grid), "reduce", "True")


def test_a_start_along_u_is_stored_reduced(tmp_path):
    problem = OLSProblem.from_spectrum("linspace", 1000, 10.0)
    problem = dataclasses.replace(problem, w0=0.5 * problem.u)  # excites nothing: no extreme eigenvalues to keep
    grid = {"eps": [0.01, 0.1], "n_steps": 30, "progress": False, "reduce": 60}
    found = olsbn.sweep(problem, store=tmp_path / "s.zarr", **grid).load()
    assert found.drop_attrs().equals(olsbn.sweep(problem, **grid).drop_attrs())


def test_bits_do_not_depend_on_threads():
    problem = OLSProblem.from_spectrum("logspace", 6000, 100.0)
    found = set()
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            found.add(problem.reduced(300).fingerprint)
    assert len(found) == 1


def test_memory_is_that_of_a_chunk():
    problem = OLSProblem.from_spectrum("linspace", 200_000, 100.0)
    tracemalloc.start()
    try:
        small = problem.reduced(500)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert small.reduction_error < 1e-9
    assert peak < 30 * problem.eigvals.nbytes  # a few vectors of length d; d times the modes kept is 300 of them
