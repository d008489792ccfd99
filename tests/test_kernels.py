"""The compiled code: same bits however it is run, compiled once, and GD's closed form against iteration."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import mpmath
import naive
import numpy as np
import pytest
import tolerances as tol
import waiting

import olsbn
from olsbn import schema
from olsbn.certification import exact_cell
from olsbn.dynamics import bngd
from olsbn.engine import ending, gd
from olsbn.engine.compile import LANES
from olsbn.engine.gd import decouple
from olsbn.engine.run import Run
from olsbn.engine.split import deflated, split, star
from olsbn.engine.step import COUPLED, DECOUPLED

ROOT = Path(olsbn.__file__).parent


def python(code, *, cwd=None, **env):
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=waiting.PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_status_codes_agree_with_the_schema():
    for status in schema.Status:
        name = "CANCELLED" if status is schema.Status.NOT_RUN else status.name
        assert getattr(ending, name) == status


# -------------------------------------------------------------------- the cache of compiled code


SMALL = "import olsbn; olsbn.run_bngd(olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0]), 0.1, n_steps=5)"


def cache_files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*.nb?"))


EDITS = {
    "engine/gd": (
        "here += weight[i] * x * x",
        "here += weight[i] * x + x",
        "run_gd(p, 0.5, n_steps=1).excess.values[1]",
    ),
    # a file whose functions are called by a compiled function of another file
    "engine/ending": ("excess > limit", "excess < limit", "run_bngd(p, 0.5, n_steps=1).attrs['status']"),
    # a description, from which code is written
    "dynamics/normalizers": (
        "excess = fma(delta, delta, n)",
        "excess = fma(delta, n, delta)",
        "run_bngd(p, 0.5, n_steps=1).excess.values[1]",
    ),
}


def test_compiled_code_is_reused_and_never_after_an_edit(tmp_path):
    """Same size, same time stamp, other content: what an upgrade with fixed time stamps looks like.

    One test, for the first compilation serves all of it.
    """
    cache = tmp_path / "cache"
    shutil.copytree(ROOT, tmp_path / "olsbn", ignore=shutil.ignore_patterns("__pycache__"))
    env = {"OLSBN_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    setup = "import olsbn; p = olsbn.OLSProblem([1.0, 3.0], [1.0, 1.0], [0.5, 0.0])"
    ask = {module: f"print(olsbn.{expression})" for module, (_, _, expression) in EDITS.items()}
    hits = "from olsbn.engine import tile; print(sum(tile.run_tile.stats.cache_hits.values()))"

    def printed(*lines):
        return python("\n".join([setup, *lines]), cwd=tmp_path, **env).splitlines()

    first = dict(zip(ask, printed(*ask.values()), strict=True))
    stamps = {f: (cache / f).stat().st_mtime_ns for f in cache_files(cache)}
    assert stamps
    *again, n_hits = printed(*ask.values(), hits)
    assert (again, n_hits) == (list(first.values()), "1")
    assert {f: (cache / f).stat().st_mtime_ns for f in cache_files(cache)} == stamps

    for module, (old, new, _) in EDITS.items():
        source = tmp_path / "olsbn" / f"{module}.py"
        before, text = source.stat(), source.read_text()
        changed = text.replace(old, new, 1)
        assert changed != text and len(changed) == len(text)
        source.write_text(changed)
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert printed(ask[module]) != [first[module]], module
        source.write_text(text)
        os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_two_processes_may_fill_the_cache_at_once(tmp_path):
    env = {**os.environ, "OLSBN_CACHE_DIR": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", SMALL], env=env, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=waiting.PATIENCE)
        assert process.returncode == 0, err
    python(SMALL, OLSBN_CACHE_DIR=str(tmp_path))


def test_without_a_writable_cache_the_code_still_runs(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    python(SMALL, OLSBN_CACHE_DIR=str(blocked))


# -------------------------------------------------------------------- the trace of a tile


@pytest.mark.parametrize("method", [bngd, gd])
def test_every_cell_has_its_trace(method):
    """As many cells as refill the lanes, ends at different steps: the trace is that of each cell alone."""
    problem = olsbn.OLSProblem.from_spectrum("logspace", 9, 50.0, seed=1)
    x = method.prepare(problem)
    eps = np.geomspace(1e-3, 1e4 if method is bngd else 0.05, 3 * LANES + 5)
    eps_a = np.linspace(0.1, 2.05, eps.size)
    ask = Run(400, 1e-6, True, record=np.array([0, 1, 7, 250, 251, 400]))
    cells, trace = method.tile(x, {"eps": eps, "eps_a": eps_a}, ask)
    assert len(set(cells["n_steps_run"])) > 10
    for c in range(0, eps.size, 7):
        alone, kept = method.tile(x, {"eps": eps[[c]], "eps_a": eps_a[[c]]}, ask)
        assert {name: values[c] for name, values in cells.items() if values[c] == values[c]} == {
            name: values[0] for name, values in alone.items() if values[0] == values[0]
        }
        for name, values in trace.items():
            assert values.shape == (6, eps.size)
            np.testing.assert_array_equal(values[:, c], kept[name][:, 0])
    last = ask.record == cells["n_steps_run"][:, None]
    for name in ("excess", "eps_eff", "a", "w_norm"):
        cell, step = np.nonzero(last)
        np.testing.assert_array_equal(trace[name][step, cell], cells[name][cell])
    if method is bngd:
        np.testing.assert_array_equal(np.isnan(trace["excess"]), ask.record[:, None] > cells["n_steps_run"])


# -------------------------------------------------------------------- GD in closed form


@pytest.mark.parametrize("seed", range(4))
def test_gd_closed_form_equals_iteration(seed):
    rng = np.random.default_rng(seed)
    problem = olsbn.OLSProblem.from_spectrum("logspace", int(rng.integers(1, 40) + 1), 200.0, seed=seed)
    x = decouple(problem)
    eps = math.ldexp(rng.uniform(0.05, 2.02) / problem.eigvals[-1], x.eps_exp)
    n = 2000
    iterated, closed = np.empty(n + 1), np.empty((n + 1, 1, 2))
    gd.gd_iterate(x.eigvals, x.weight, x.error, eps, n, iterated)
    gd.gd_trace(x.eigvals, x.weight, x.u, x.start, np.array([eps]), np.arange(n + 1), np.zeros(1, np.uint8), closed)
    closed = closed[:, 0]
    seen = (iterated > 1e-290) & (iterated < 1e290)
    # iterating rounds twice a step: the relative error grows with k
    error = np.abs(closed[seen, 0] / iterated[seen] - 1)
    assert (error <= 8e-16 * (np.arange(n + 1)[seen] + problem.dim)).all()


def test_gd_counts_are_those_of_the_iteration():
    rng = np.random.default_rng(5)
    for seed in range(20):
        problem = olsbn.OLSProblem.from_spectrum("logspace", 12, 50.0, seed=seed)
        x = decouple(problem)
        eps = 10 ** rng.uniform(-2, 0.31) / problem.eigvals[-1]
        tolerance, n = 10 ** rng.uniform(-9, -1), 3000
        iterated = np.empty(n + 1)
        gd.gd_iterate(x.eigvals, x.weight, x.error, math.ldexp(eps, x.eps_exp), n, iterated)
        want = np.flatnonzero(iterated <= tolerance)
        got = olsbn.sweep(problem, method="gd", eps=eps, n_steps=n, tol=tolerance).steps_to_tol.item()
        assert got == (want[0] if want.size else -1)


@pytest.mark.parametrize("n_steps", [0, 1, 7, 1000])
def test_gd_norm_of_a_start_far_below_the_solution(n_steps):
    problem = olsbn.OLSProblem([1.0, 4.0], [1.0, 1.0], [1e-20, -3e-20])
    for eps in (1e-30, 1e-21, 1e-3, 0.25):
        exact = exact_cell(problem, "gd", {"eps": eps}, n_steps, 1e-10)
        norm = olsbn.sweep(problem, method="gd", eps=eps, n_steps=n_steps).w_norm.item()
        assert abs(norm / float(exact.w_norm) - 1) < 1e-15


def test_gd_ends_by_the_rule_of_all_methods():
    """A run that reaches the tolerance and then passes the limit has diverged, whatever the method."""
    problem = olsbn.OLSProblem([1, 4], [1, 1], [0, 1 + 1e-12])
    for stop, status in (("tol", schema.Status.CONVERGED), ("steps", schema.Status.DIVERGED)):
        ds = olsbn.sweep(problem, method="gd", eps=0.75, n_steps=500, tol=1e-5, stop=stop)
        exact = exact_cell(problem, "gd", {"eps": 0.75}, 500, 1e-5, stop=stop)
        assert ds.status == exact.status == status
        assert ds.steps_to_tol == exact.steps_to_tol > 0 and ds.n_steps_run == exact.n_steps_run


# -------------------------------------------------------------------- coordinates


def test_deflated_coordinates_reassemble_the_start():
    problem = olsbn.OLSProblem([1.0, 2.0, 7.0, 9.0], [1.0, -2.0, 0.0, 0.5], [0.3, 0.2, -0.7, 1.1])
    x = deflated(problem)
    coupled, share = problem.u != 0, x.numbers[COUPLED]["p"]
    # what is carried is w in other units, by a power of two
    w = problem.u[coupled] * (x.begin["beta"] + x.start[COUPLED]["s"])
    unit = 2.0 ** round(math.log2(w[0] / problem.w0[0]))
    np.testing.assert_allclose(w / unit, problem.w0[coupled], rtol=4e-16)
    alone = np.sqrt(7.0 / problem.explained_var) * problem.w0[2]
    np.testing.assert_allclose(np.abs(x.start[DECOUPLED]["s"]) / unit, [abs(alone)], rtol=4e-16)
    np.testing.assert_array_equal(np.ldexp(x.mu[DECOUPLED], -x.eigval_exp), [7.0])
    assert math.fsum(share) == pytest.approx(1, abs=1e-15)
    assert abs(math.fsum(share * x.start[COUPLED]["s"])) < 1e-16
    np.testing.assert_array_equal(np.ldexp(x.numbers[COUPLED]["lam"], -x.eigval_exp), problem.eigvals[coupled])


def ulps(values, exact):
    """Largest relative difference of floats from mpf values, in units of machine precision."""
    return max(float(abs(mpmath.mpf(float(v)) - x) / abs(x)) for v, x in zip(values, exact, strict=True)) / 2**-52


@pytest.mark.parametrize("seed", range(6))
def test_star_coordinates_are_right_to_the_last_bits(seed):
    """Each number of its own, however small: eigenvalues over 8 decades, tiny u_i, gaps of 1e-13, a start near u."""
    rng = np.random.default_rng(seed)
    d = 9
    eigvals = np.sort(10 ** rng.uniform(-4, 4, d))
    eigvals[4] = eigvals[3] * (1 + 1e-13)
    u = rng.normal(size=d) * 10.0 ** -rng.integers(0, 12, d)
    w = rng.normal(size=d) if seed % 2 else u * (2 + 1e-9 * rng.normal(size=d))
    problem = olsbn.OLSProblem(eigvals, u, w)
    x, (mu, b, z, *_) = star(problem), naive.star_mp(problem, digits=200)
    numbers, start = x.numbers[COUPLED], x.start[COUPLED]["z"]
    assert ulps(np.ldexp(numbers["mu"], -x.eigval_exp), mu) <= 1
    assert ulps(np.ldexp(numbers["b"], -x.eigval_exp), b) <= 2
    assert ulps(numbers["b_over_mu"], [y / m for y, m in zip(b, mu, strict=True)]) <= 3
    # w in units in which it is near 1, and x that of E
    unit = mpmath.mpf(float(start[0])) / z[0]
    assert ulps(start, [unit * y for y in z]) <= 3


@pytest.mark.parametrize("d", [2, 7, 60, 300])
def test_star_coordinates_are_those_of_a_dense_matrix(d):
    """mu, b and z by a dense eigensolver, which is good to d roundings of ||H|| over the gap of neighbours."""
    problem = olsbn.OLSProblem.from_spectrum("linspace", d, 10.0, seed=d)
    x, E = star(problem), problem.explained_var
    numbers, begun = x.numbers[COUPLED], x.start[COUPLED]["z"]
    q, start = (np.sqrt(problem.eigvals / E) * v for v in (problem.u, problem.w0))
    across = np.eye(d) - np.outer(q, q)
    found, vectors = np.linalg.eigh(across @ np.diag(problem.eigvals) @ across)
    mu, vectors = np.ldexp(numbers["mu"], -x.eigval_exp), vectors[:, 1:]
    np.testing.assert_allclose(mu, found[1:], rtol=0, atol=10 * d * 2e-16 * 10)
    # b = q'H e is the pull of the solution on a mode; the sign of e is free, and that of b is chosen positive
    pull = vectors.T @ (problem.eigvals * q)
    np.testing.assert_allclose(np.ldexp(numbers["b"], -x.eigval_exp), np.abs(pull), rtol=1e-9, atol=1e-12)
    z = vectors.T @ start * np.sign(pull)
    np.testing.assert_allclose(begun / np.linalg.norm(begun), z / np.linalg.norm(z), rtol=0, atol=1e-11)


def test_star_coordinates_do_not_depend_on_threads():
    problem = olsbn.OLSProblem.from_spectrum("linspace", 700, 100.0)
    one, two = star(problem, threads=1), star(problem, threads=3)
    for name, values in one.numbers[COUPLED].items():
        np.testing.assert_array_equal(values, two.numbers[COUPLED][name])
    np.testing.assert_array_equal(one.start[COUPLED]["z"], two.start[COUPLED]["z"])


def test_star_and_deflated_coordinates_share_no_root_of_each_other():
    """Deflated coordinates need the least and the largest root for rates only: they are those of all."""
    problem = olsbn.OLSProblem.from_spectrum("logspace", 40, 100.0, seed=2)
    np.testing.assert_array_equal(deflated(problem).mu[COUPLED], star(problem).mu[COUPLED][[0, -1]])


@pytest.mark.parametrize("seed", range(3))
def test_star_and_deflated_coordinates_check_each_other(seed):
    """Learning rates over eight decades, the ends and the traces of forty cells."""
    rng = np.random.default_rng(seed)
    problem = olsbn.OLSProblem.from_spectrum("logspace", int(rng.integers(2, 60)), 100.0, seed=seed)
    eps = np.geomspace(1e-3, 1e5, 40)
    ask = Run(60, 1e-6, record=np.arange(61))
    (one, first), (two, second) = (
        bngd.tile(bngd.prepare(problem, form), {"eps": eps, "eps_a": np.full(40, 0.8)}, ask)
        for form in ("star", "deflated")
    )
    np.testing.assert_array_equal(one["status"], two["status"])
    for name in ("excess", "residual", "a", "w_norm", "eps_eff"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-9)


def test_norm_includes_the_null_space():
    x = star(olsbn.OLSProblem([1.0], [1.0], [3.0], w0_null_norm=4.0))
    squared = np.array([x.facts["U2"] * x.begin["beta"] ** 2])
    assert x.norm(squared, 0, x.begin["null"])[0] == pytest.approx(5.0, rel=tol.SUM)


def test_equal_eigenvalues_are_split_once():
    problem = olsbn.OLSProblem([1.0, 2.0, 2.0, 2.0, 5.0], [1.0, 2.0, -1.0, 2.0, 0.0], np.ones(5))
    x = split(problem)
    assert x.coupled.tolist() == [True, True, False] and np.count_nonzero(x.across) == 2


# -------------------------------------------------------------------- start-up


def test_import_and_help_stay_light():
    """The modules that cost time are not loaded; how long it takes is for the benchmark to say."""
    loaded = python("import olsbn, sys; print(*sys.modules)").split()
    assert not {"numpy", "numba", "xarray", "matplotlib", "scipy", "dask"} & set(loaded)
    helped = python(
        "import sys\nfrom olsbn.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    assert not {"numpy", "numba", "xarray", "matplotlib"} & set(helped.split())
