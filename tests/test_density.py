"""Families with a spectral density: the limit of high dimension."""

import math
import re

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.integrate import quad
from test_problems import refused

import olsbn
from olsbn import OLSProblem, ProblemFamily
from olsbn.cli import main
from olsbn.problems.density import DENSITIES, draw_overlap
from olsbn.sweeps.toml import load

# Densities on [1, cond] as textbooks have them; the power law of dimension d is uniform in j of cond j**-alpha.
PRINTED = {
    "linspace": lambda x, cond, d: 1.0,
    "logspace": lambda x, cond, d: 1 / x,
    "marchenko-pastur": lambda x, cond, d: math.sqrt(max(0.0, (cond - x) * (x - 1))) / x,
    "powerlaw": lambda x, cond, d: x ** (-1 - math.log(d) / math.log(cond)),
}


@pytest.mark.parametrize("kind", DENSITIES)
@pytest.mark.parametrize("cond", [3.0, 300.0])
def test_quadrature_of_the_printed_densities(kind, cond):
    d = 10**6
    points, weights = DENSITIES[kind](40, cond, d)
    assert points.size == 40 and (np.diff(points) > 0).all() and points[0] > 1 and points[-1] < cond
    mass = quad(PRINTED[kind], 1, cond, (cond, d), epsabs=0, epsrel=1e-11, limit=500)[0]
    for f in (
        lambda x: 1,
        lambda x: x,
        lambda x: x**2,
        lambda x: math.exp(-3 * x / cond),
        lambda x: (1 - 1.9 * x / cond) ** 10,
    ):
        exact = quad(lambda x, f=f: x * f(x) * PRINTED[kind](x, cond, d), 1, cond, epsabs=0, epsrel=1e-11, limit=500)[0]
        assert sum(w * x * f(x) for x, w in zip(points, weights, strict=True)) == pytest.approx(exact / mass, rel=1e-8)


@pytest.mark.parametrize("kind", DENSITIES)
def test_spectra_of_high_dimension_have_the_density(kind):
    eigvals = OLSProblem.from_spectrum(kind, 200_000, 50.0).eigvals
    points, weights = DENSITIES[kind](200, 50.0, 200_000)
    weights = weights / weights.sum()
    for t in (0.02, 0.2, 1.0):
        assert np.exp(-t * eigvals).mean() == pytest.approx(np.sum(weights * np.exp(-t * points)), rel=2e-4)


def held(problem, overlap):
    """The same problem with the angle of its start to g set."""
    g = problem.eigvals * problem.u
    g /= np.linalg.norm(g)
    across = problem.w0 - (problem.w0 @ g) * g
    across /= np.linalg.norm(across)
    return OLSProblem(problem.eigvals, problem.u, overlap * g + math.sqrt(1 - overlap**2) * across)


@pytest.mark.parametrize(("kind", "cond"), [("linspace", 100.0), ("logspace", 300.0), ("marchenko-pastur", 30.0)])
def test_single_problems_run_to_the_limit_like_one_over_root_d(kind, cond):
    limit = ProblemFamily(kind, cond, density=True, overlap=0.01)(10**9)
    regimes = olsbn.effective_rate_regimes(limit)
    grid = {"eps": np.geomspace(regimes.eps_1 / 1e2, regimes.eps_2 * 1e2, 13), "n_steps": 200, "progress": False}
    found = np.log(olsbn.sweep(limit, **grid).excess.values)
    off = []
    for d in (500, 50_000):
        singles = [held(ProblemFamily(kind, cond)(d, trial), 0.01) for trial in range(6 if d < 1000 else 3)]
        runs = [olsbn.sweep(p, reduce="auto", **grid).excess.values for p in singles]
        off.append(np.median([np.abs(np.log(run) - found) for run in runs]))
    assert 10**0.5 < off[0] / off[1] < 10**1.5  # 10, if it falls like d**-1/2; the medians are of 39 cells
    assert off[1] < 0.1


def test_the_overlap_is_drawn_like_that_of_two_uniform_directions():
    found = np.array([draw_overlap(0, 10_000, trial) for trial in range(400)]) * 100
    single = np.array([OLSProblem.from_spectrum("linspace", 400, 9.0, seed=s) for s in range(200)])
    exact = np.array([20 * (p.w0 @ (p.eigvals * p.u)) / np.linalg.norm(p.eigvals * p.u) for p in single])
    for values in (found, exact):
        assert abs(values.mean()) < 0.25 and 0.85 < values.std() < 1.15
    family = ProblemFamily("linspace", 9.0, density=True)
    problem = family(10**8, 3)
    g = problem.eigvals * problem.u
    assert problem.w0 @ g / np.linalg.norm(g) == pytest.approx(draw_overlap(0, 10**8, 3), rel=1e-12)
    assert family(10**8, 3) == problem and family(10**8, 4) != problem and family(10**9, 3) != problem
    aligned = ProblemFamily("linspace", 9.0, density=True, w0="gradient")(10**8)
    np.testing.assert_allclose(aligned.w0, aligned.eigvals * aligned.u / np.linalg.norm(aligned.eigvals * aligned.u))


def test_what_theory_says_of_a_limit():
    problem = ProblemFamily("marchenko-pastur", 30.0, density=True, overlap=0.02)(10**9)
    report = olsbn.spectral_report(problem)
    assert (report.cond, report.cond_star, report.rank, report.eps_eff_max) == (30.0, 30.0, 10**9, 2 / 30)
    single = held(OLSProblem.from_spectrum("marchenko-pastur", 50_000, 30.0), 0.02)
    found, near = olsbn.effective_rate_regimes(problem), olsbn.effective_rate_regimes(single)
    for name in ("small_slope", "large_product", "eps_1", "eps_2"):
        assert getattr(found, name) == pytest.approx(getattr(near, name), rel=0.1)
    assert math.hypot(*problem.w0, problem.w0_null_norm) == pytest.approx(1, rel=1e-13)


def test_sweeps_of_limits(tmp_path):
    family = ProblemFamily("linspace", cond=30.0, density=True, modes=60)
    grid = {"dim": [10**4, 10**9], "trial": [0, 1], "eps": [0.1, 10.0, 1e3], "n_steps": 50, "progress": False}
    found = olsbn.sweep(family, **grid)
    assert (found.status >= 0).all() and found.sizes["dim"] == 2
    kept = olsbn.sweep(family, store=tmp_path / "s.zarr", **grid).load()
    assert kept.drop_attrs().equals(found.drop_attrs())
    olsbn.robustness(found)  # knows the family from the attributes
    assert olsbn.sweep(family, store=tmp_path / "s.zarr", **grid).load().equals(kept)
    (tmp_path / "s.toml").write_text(
        "n_steps = 50\neps = [0.1, 10.0, 1e3]\ndim = [10000, 1000000000]\ntrials = 2\n"
        '[problem]\nspectrum = "linspace"\ncond = 30\ndensity = true\nmodes = 60\n'
    )
    assert load(tmp_path / "s.toml").fingerprint == found.attrs["sweep_fingerprint"]


def test_commands_take_a_density(tmp_path):
    def invoke(command, *args):
        return CliRunner().invoke(main, [command, *args])

    vast = ("--spectrum", "linspace", "--dim", str(10**9), "--cond", "100", "--density")
    result = invoke("spectrum", *vast)
    assert result.exit_code == 0 and re.search(r"^d +1000000000 ", result.output, re.MULTILINE), result.output
    grid = ("--eps", "1e-2:1e8:5", "--eps-a", "0.5:1.5:3", "--steps", "20", "--out", str(tmp_path / "m"))
    result = invoke("map", *vast, *grid)
    assert result.exit_code == 0 and "d = 1000000000, cond = 100" in result.output, result.output
    for args, words in (
        (vast[:-1], "--dim must be at most"),
        (("--data", "diabetes", "--density"), "--density goes with --spectrum"),
        ((*vast[:1], "two-cluster", *vast[2:]), "kind must be one of logspace"),
    ):
        result = invoke("spectrum", *args)
        assert result.exit_code == 2 and words in result.stderr


def test_what_has_no_limit_is_refused():
    for arguments, words in (
        ({"kind": "two-cluster", "cond": 9.0}, ("kind", "two-cluster")),
        ({"kind": "linspace", "cond": 1.0}, ("cond", "1.0")),
        ({"kind": "linspace", "cond": 9.0, "u": [1.0, 2.0]}, ("u ", "density")),
        ({"kind": "linspace", "cond": 9.0, "overlap": 1.5}, ("overlap", "1.5")),
        ({"kind": "linspace", "cond": 9.0, "overlap": 0.1, "w0": "gradient"}, ("overlap", "gradient")),
        ({"kind": "linspace", "cond": 9.0, "modes": 1}, ("modes", "1")),
        ({"kind": "linspace", "cond": 9.0, "density": "yes"}, ("density", "yes")),
        ({"kind": "linspace", "cond": 9.0, "density": False, "overlap": 0.1}, ("overlap", "density")),
    ):
        refused(lambda a=arguments: ProblemFamily(**{"density": True, **a}), *words)
    refused(lambda: ProblemFamily("linspace", 9.0, density=True)(1), "dim", "1")
