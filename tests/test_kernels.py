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

import olsbn
from olsbn import schema
from olsbn.certification import exact_cell
from olsbn.engine import bngd, gd, lanes
from olsbn.engine.compile import LANES
from olsbn.engine.coordinates import decouple, deflate
from olsbn.engine.run import Run
from olsbn.engine.star_coordinates import diagonalise

ROOT = Path(olsbn.__file__).parent

# A sweep that meets every path of the kernel: silent modes, early ends, refills, a rescaled lane, several tiles.
SWEEP = """
import numpy as np, olsbn
from olsbn.sweeps.running import digest
problem = olsbn.OLSProblem(np.geomspace(1, 300, 23), np.where(np.arange(23) % 5 == 2, 0, np.cos(np.arange(23.0))),
                           np.sin(np.arange(23.0)))
eps = np.append(np.geomspace(1e-3, 1e6, 60), 1e200)
for stop in ("steps", "tol"):
    for method, eps_a in (("bngd", np.linspace(0, 2.1, 7)), ("gd", 1.0)):
        print(digest(olsbn.sweep(problem, method=method, eps=eps, eps_a=eps_a, n_steps=900, tol=1e-6, stop=stop)))
"""

# The kernels of further parameters, methods and dimensions.
FURTHER = """
import hashlib
import numpy as np, olsbn
from olsbn.engine import bngd
from olsbn.engine.run import Run
from olsbn.sweeps.running import digest
rng = np.random.default_rng(0)
X = rng.standard_normal((40, 7)) * np.geomspace(1, 10, 7)
sample = olsbn.OLSProblem.from_samples(X, X @ rng.standard_normal(7) + rng.standard_normal(40))
eps = np.append(np.geomspace(1e-4, 1e3, 40), 1e200)
for method, how in (
    ("gd", {"momentum": [0.3, 0.9], "weight_decay": 1e-3}),
    ("gd", {"eps_power": 0.5, "eps_factor": 0.999}),
    ("bngd", {"momentum": [0.3, 0.9]}),
    ("bngd", {"weight_decay": [1e-4, 0.1], "eps_a_power": 0.5}),
    ("bngd", {"smoothing": 0.1, "momentum": 0.5}),
    ("wngd", {"eps_a": [0.1, 1.0]}),
    ("gdnp", None),
    ("minibatch", {"batch_size": 8, "weight_decay": [0.0, 1e-3]}),
):
    more = {} if how is None else {"eps": eps, **how}
    print(method, how, digest(olsbn.sweep(sample, method=method, n_steps=300, tol=1e-6, progress=False, **more)))
cells, _ = bngd.tile(bngd.prepare(sample, "deflated"), {"eps": eps, "eps_a": np.linspace(0, 2.1, eps.size)}, Run(300))
print("deflated", hashlib.sha256(b"".join(cells[name].tobytes() for name in sorted(cells))).hexdigest())
"""

# Instruction sets the same source is compiled for; the name of the processor alone would change nothing.
TARGETS = {
    "native": {},
    "generic": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma"},
    "lanes-8": {"OLSBN_LANES": "8"},
    "lanes-64": {"OLSBN_LANES": "64"},
    "other-lanes-generic": {"OLSBN_LANES": "16", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}


def python(code, *, cwd=None, **env):
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def digests():
    return python(SWEEP)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the instruction sets are those of x86-64")
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "native"])
def test_bits_do_not_depend_on_the_instruction_set_or_the_lanes(target, digests):
    assert python(SWEEP, **TARGETS[target]) == digests


@pytest.fixture(scope="module")
def further():
    return python(FURTHER)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the instruction sets are those of x86-64")
@pytest.mark.parametrize("target", [{**TARGETS["avx2"], **TARGETS["lanes-8"]}, TARGETS["other-lanes-generic"]])
def test_bits_of_further_kernels_do_not_depend_on_them_either(target, further):
    assert python(FURTHER, **target).splitlines() == further.splitlines()


def test_status_codes_agree_with_the_schema():
    for status in schema.Status:
        name = "CANCELLED" if status is schema.Status.NOT_RUN else status.name
        assert getattr(lanes, name) == status


# -------------------------------------------------------------------- the cache of compiled code


SMALL = "import olsbn; olsbn.run_bngd(olsbn.OLSProblem([1.0, 2.0], [1.0, 1.0]), 0.1, n_steps=5)"


def cache_files(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*.nb?"))


def test_second_process_reuses_compiled_code(tmp_path):
    python(SMALL, OLSBN_CACHE_DIR=str(tmp_path))
    files = cache_files(tmp_path)
    stamps = [(tmp_path / f).stat().st_mtime_ns for f in files]
    assert files
    code = SMALL + "\nfrom olsbn.engine import star; print(sum(star.star_tile.stats.cache_hits.values()))"
    assert int(python(code, OLSBN_CACHE_DIR=str(tmp_path))) == 1
    assert [(tmp_path / f).stat().st_mtime_ns for f in cache_files(tmp_path)] == stamps


EDITS = {
    "gd": ("here += weight[i] * x * x", "here += weight[i] * x + x", "run_gd(p, 0.5, n_steps=1).excess.values[1]"),
    # a file whose functions are called by a compiled function of another file
    "rules": ("excess > limit", "excess < limit", "run_bngd(p, 0.5, n_steps=1).attrs['status']"),
}


@pytest.mark.parametrize("module", EDITS)
def test_edited_source_is_never_served_from_the_cache(module, tmp_path):
    """Same size, same time stamp, other content: what an upgrade with fixed time stamps looks like."""
    shutil.copytree(ROOT, tmp_path / "olsbn", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "olsbn" / "kernels" / f"{module}.py"
    old, new, expression = EDITS[module]
    code = f"import olsbn; p = olsbn.OLSProblem([1.0, 3.0], [1.0, 1.0], [0.5, 0.0]); print(olsbn.{expression})"
    env = {"OLSBN_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    first = python(code, cwd=tmp_path, **env)
    assert python(code, cwd=tmp_path, **env) == first
    before = source.stat()
    text = source.read_text()
    changed = text.replace(old, new, 1)
    assert changed != text and len(changed) == len(text)
    source.write_text(changed)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert python(code, cwd=tmp_path, **env) != first


def test_two_processes_may_fill_the_cache_at_once(tmp_path):
    env = {**os.environ, "OLSBN_CACHE_DIR": str(tmp_path)}
    both = [subprocess.Popen([sys.executable, "-c", SMALL], env=env, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=300)
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
    assert len(set(cells["n_steps_run"])) > 20
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
    x = deflate(problem)
    w = np.ldexp(x.u * (x.beta0 + x.start), -x.w_exp)
    loud = problem.u != 0
    np.testing.assert_allclose(w, problem.w0[loud], rtol=4e-16)
    np.testing.assert_array_equal(np.ldexp(x.silent_start, -x.w_exp), problem.w0[~loud])
    share = x.modes[1::2]
    assert math.fsum(share) == pytest.approx(1, abs=1e-15)
    assert abs(math.fsum(share * x.start)) < 1e-16
    np.testing.assert_array_equal(np.ldexp(x.modes[::2], -x.eigval_exp), problem.eigvals[loud])


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
    x, (mu, b, z, *_) = diagonalise(problem), naive.star_mp(problem, digits=200)
    assert ulps(np.ldexp(x.modes[::2], -x.eigval_exp), mu) <= 1
    assert ulps(np.ldexp(x.modes[1::2], -x.eigval_exp), b) <= 2
    exponent = round(math.log2(abs(x.start[0] / float(z[0]))))
    assert ulps(np.ldexp(x.start, -exponent), z) <= 2


@pytest.mark.parametrize("d", [2, 7, 60, 300])
def test_star_coordinates_are_those_of_a_dense_matrix(d):
    """mu, b and z by a dense eigensolver, which is good to d roundings of ||H|| over the gap of neighbours."""
    problem = olsbn.OLSProblem.from_spectrum("linspace", d, 10.0, seed=d)
    x, E = diagonalise(problem), problem.explained_var
    q, start = (np.sqrt(problem.eigvals / E) * v for v in (problem.u, problem.w0))
    across = np.eye(d) - np.outer(q, q)
    found, vectors = np.linalg.eigh(across @ np.diag(problem.eigvals) @ across)
    mu, vectors = np.ldexp(x.modes[::2], -x.eigval_exp), vectors[:, 1:]
    np.testing.assert_allclose(mu, found[1:], rtol=0, atol=10 * d * 2e-16 * 10)
    # b = q'H e is the pull of the solution on a mode; the sign of e is free, and that of b is chosen positive
    pull = vectors.T @ (problem.eigvals * q)
    np.testing.assert_allclose(np.ldexp(x.modes[1::2], -x.eigval_exp), np.abs(pull), rtol=1e-9, atol=1e-12)
    z = vectors.T @ start * np.sign(pull)
    np.testing.assert_allclose(x.start / np.linalg.norm(x.start), z / np.linalg.norm(z), rtol=0, atol=1e-11)


def test_star_coordinates_do_not_depend_on_threads():
    problem = olsbn.OLSProblem.from_spectrum("linspace", 700, 100.0)
    one, two = diagonalise(problem, threads=1), diagonalise(problem, threads=3)
    np.testing.assert_array_equal(one.modes, two.modes)
    np.testing.assert_array_equal(one.start, two.start)


@pytest.mark.parametrize("seed", range(3))
def test_star_and_deflated_coordinates_are_witnesses_of_each_other(seed):
    rng = np.random.default_rng(seed)
    problem = olsbn.OLSProblem.from_spectrum("logspace", int(rng.integers(2, 60)), 100.0, seed=seed)
    eps = np.geomspace(1e-3, 1e5, 40)
    ask = Run(60, 1e-6, record=np.arange(61))
    (one, first), (two, second) = (
        bngd.tile(bngd.prepare(problem, kernel), {"eps": eps, "eps_a": np.full(40, 0.8)}, ask)
        for kernel in ("star", "deflated")
    )
    np.testing.assert_array_equal(one["status"], two["status"])
    for name in ("excess", "residual", "a", "w_norm", "eps_eff"):
        np.testing.assert_allclose(first[name], second[name], rtol=1e-9)


def test_norm_includes_the_null_space():
    x = deflate(olsbn.OLSProblem([1.0], [1.0], [3.0], w0_null_norm=4.0))
    squared = np.array([np.ldexp(3.0, x.w_exp) ** 2])
    assert x.norm(squared, 0)[0] == pytest.approx(5.0, rel=tol.SUM)


# -------------------------------------------------------------------- start-up


def test_import_and_help_stay_light():
    """The modules that cost time are not loaded; how long it takes is for the benchmark to say."""
    loaded = python("import olsbn, sys; print(*sys.modules)").split()
    assert not {"numpy", "numba", "xarray", "matplotlib", "scipy", "dask"} & set(loaded)
    helped = python(
        "import sys\nfrom olsbn.cli import main\ntry: main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    assert not {"numpy", "numba", "xarray", "matplotlib"} & set(helped.split())
