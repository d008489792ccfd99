"""Every cell agrees with exact arithmetic, or says that rounding decided it."""

import numpy as np
import pytest

import olsbn
from olsbn.certification import exact_cell
from olsbn.dynamics import bngd
from olsbn.engine.run import Run


def normal(seed, eigvals, u_zero=0, start=None, **more):
    rng = np.random.default_rng(seed)
    u, w = rng.standard_normal((2, len(eigvals)))
    u[rng.permutation(u.size)[:u_zero]] = 0
    return olsbn.OLSProblem(eigvals, u, w if start is None else start(w), **more)


def check(problem, eps, eps_a, n_steps, tol=1e-8):
    """Return how many cells agree to 1e-9 and how many are marked; fail on one that does neither."""
    ds = olsbn.sweep(problem, eps=eps, eps_a=eps_a, n_steps=n_steps, tol=tol, progress=False)
    right, marked = 0, int(ds.by_rounding.sum())
    for a in eps_a:
        for e in eps:
            cell, exact = ds.sel(eps=e, eps_a=a), exact_cell(problem, "bngd", {"eps": e, "eps_a": a}, n_steps, tol)
            pairs = [(cell[name].item(), getattr(exact, name)) for name in ("excess", "eps_eff", "w_norm", "a")]
            agrees = cell.status == exact.status and cell.steps_to_tol == exact.steps_to_tol
            agrees = agrees and all(abs(x - y) <= 1e-9 * abs(y) for x, y in pairs)
            right += bool(agrees)
            assert agrees or cell.by_rounding, (e, a, pairs)
    return right, marked


@pytest.mark.parametrize("seed", range(3))
def test_beyond_the_edge_of_the_scale(seed):
    """With the default a0 the excess begins as the rounding of a0: |1 - eps_a|^k makes it all there is."""
    problem = normal(seed, np.geomspace(1, 20 + 10 * seed, 5))
    right, _ = check(problem, np.geomspace(1e-3, 1e3, 5), [1.99, 2.0, 2.01, 2.1, 2.5, 4.0], 250)
    assert right >= 15


@pytest.mark.parametrize("n_steps", range(24, 34))
def test_a_cell_may_end_between_two_looks(n_steps):
    """What rounding put into a doubles at every step with eps_a = 3, and may be seen after the last look only."""
    right, marked = check(normal(7, np.geomspace(1, 20, 5)), [1e-9, 1e-6], [2.5, 3.0], n_steps)
    assert right >= 2 and marked >= 1


def test_an_amplitude_that_comes_back_below_the_edge():
    """Forced far above its own amplitude, the top mode is damped slowest in the end: what it then is, rounding made."""
    problem = normal(6, np.geomspace(1, 50, 6), a0=0.3)
    right, marked = check(problem, np.geomspace(1e2, 1e10, 9), [0.1, 0.2], 700)
    assert 0 < marked < right


def test_a_scale_that_outlives_the_modes():
    """Forced over hundreds of steps, delta has nothing of its own but rounding, and decays slower than the mode."""
    problem = olsbn.OLSProblem([1, 7e5], [-0.3, 0.07], [0.35, 0.25])
    right, marked = check(problem, np.geomspace(0.02, 0.03, 12), [1.0, 1.9], 800)
    assert right >= 12 and marked <= 12


def test_bursts_multiply_rounding():
    rng = np.random.default_rng(1025)
    h, u = np.geomspace(1, 100, 12), 10 ** rng.uniform(-10, 0, 12)
    w = rng.standard_normal(12) * (np.arange(12) % 3 == 2)
    right, marked = check(
        olsbn.OLSProblem(h, u, w), np.geomspace(10, 1e4, 6) * (w @ w) / (u @ u) / 100, [0.1, 1.0], 400
    )
    assert right + marked >= 12


def test_silent_modes_that_come_back():
    problem = normal(4, np.geomspace(1, 30, 6), u_zero=2)
    right, _ = check(problem, np.geomspace(0.02, 2, 8) * 10, [0.1, 0.5, 1.0], 600)
    assert right >= 12


@pytest.mark.parametrize("kind", ["logspace", "linspace"])
def test_most_cells_are_not_marked(kind):
    problem = olsbn.OLSProblem.from_spectrum(kind, 30, 50.0, seed=1)
    ds = olsbn.sweep(problem, eps=np.logspace(-4, 6, 101), eps_a=[0.2, 0.6, 1.0, 1.6], n_steps=1000, progress=False)
    assert ds.by_rounding.mean() < 0.05


# -------------------------------------------------------------------- kernels that see no single mode of H*


@pytest.fixture(scope="module")
def plateau():
    problem = olsbn.OLSProblem.from_dataset("diabetes", standardize="inputs")
    grid = {"eps": np.geomspace(1e-4, 2e-3, 16), "eps_a": [0.5, 1.0], "n_steps": 2000, "progress": False}
    return problem, grid, olsbn.sweep(problem, **grid)


def test_marks_in_deflated_coordinates(plateau):
    problem, grid, star = plateau
    eps, eps_a = (a.ravel() for a in np.meshgrid(grid["eps"], grid["eps_a"]))
    cells, _ = bngd.tile(bngd.prepare(problem, "deflated"), {"eps": eps, "eps_a": eps_a}, Run(2000))
    off = np.abs(np.log10(cells["excess"] / star.excess.values.ravel())) > 1e-6
    assert off.any() and not (off & ~cells["by_rounding"] & ~star.by_rounding.values.ravel()).any()
    assert cells["by_rounding"].sum() <= 2 * off.sum()


@pytest.mark.parametrize("further", [{"momentum": 1e-300}, {"weight_decay": 1e-300}, {"eps_power": 1e-300}])
def test_marks_of_further_parameters(plateau, further):
    """With a parameter too small to matter another kernel runs, and says where it differs."""
    problem, grid, star = plateau
    ds = olsbn.sweep(problem, **grid, **further).squeeze()
    off = np.abs(np.log10(ds.excess.values / star.excess.values)) > 1e-6
    assert off.any() and not (off & ~ds.by_rounding.values & ~star.by_rounding.values).any()
    assert ds.by_rounding.sum() <= 2 * off.sum()
