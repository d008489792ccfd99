"""Every cell agrees with exact arithmetic, or says that rounding decided it."""

import bits
import numpy as np
import pytest
import variants
import xarray as xr
from stress import audit

import olsbn
from olsbn.dynamics import bngd
from olsbn.engine import cells as engine_cells
from olsbn.engine.cells import execute, unit_of
from olsbn.engine.run import Run


def normal(seed, eigvals, u_zero=0, start=None, **more):
    rng = np.random.default_rng(seed)
    u, w = rng.standard_normal((2, len(eigvals)))
    u[rng.permutation(u.size)[:u_zero]] = 0
    return olsbn.OLSProblem(eigvals, u, w if start is None else start(w), **more)


def check(problem, eps, eps_a, n_steps, tol=1e-8):
    """Return how many cells are right and how many are flagged; fail on one that is neither."""
    params = {"eps": [float(x) for x in eps], "eps_a": [float(x) for x in eps_a]}
    counts, missed, _ = audit.judge(audit.Case("", "", problem, "bngd", params, n_steps, tol, [n_steps]))
    assert counts["cells"] == len(eps) * len(eps_a) and not missed, missed[:1]
    return counts["right"], counts["wrong"] + counts["right_flagged"]


@pytest.mark.parametrize("seed", range(3))
def test_beyond_the_edge_of_the_scale(seed):
    """With the default a0 the excess begins as the rounding of a0: |1 - eps_a|^k makes it all there is."""
    problem = normal(seed, np.geomspace(1, 20 + 10 * seed, 5))
    right, _ = check(problem, np.geomspace(1e-3, 1e3, 5), [1.99, 2.0, 2.01, 2.1, 2.5, 4.0], 250)
    assert right >= 15


@pytest.mark.parametrize("n_steps", range(24, 34))
def test_a_cell_may_end_between_two_checks(n_steps):
    """What rounding put into a doubles at every step with eps_a = 3, and may be seen after the last check only."""
    right, marked = check(normal(7, np.geomspace(1, 20, 5)), [1e-9, 1e-6], [2.5, 3.0], n_steps)
    assert right >= 2 and marked >= 1


def test_an_amplitude_that_comes_back_below_the_edge():
    """Forced far above its own amplitude, the top mode is damped slowest in the end: what it then is, rounding made."""
    problem = normal(6, np.geomspace(1, 50, 6), a0=0.3)
    right, marked = check(problem, np.geomspace(1e2, 1e10, 9), [0.1, 0.2], 700)
    assert right >= 12 and marked <= 6


def test_a_scale_that_decays_slower_than_the_modes():
    """Forced over hundreds of steps, delta has nothing of its own but rounding, and decays slower than the mode."""
    problem = olsbn.OLSProblem([1, 7e5], [-0.3, 0.07], [0.35, 0.25])
    right, marked = check(problem, np.geomspace(0.02, 0.03, 12), [1.0, 1.9], 800)
    assert right >= 12 and marked <= 12


def test_unstable_modes_multiply_rounding():
    rng = np.random.default_rng(1025)
    h, u = np.geomspace(1, 100, 12), 10 ** rng.uniform(-10, 0, 12)
    w = rng.standard_normal(12) * (np.arange(12) % 3 == 2)
    right, marked = check(
        olsbn.OLSProblem(h, u, w), np.geomspace(10, 1e4, 6) * (w @ w) / (u @ u) / 100, [0.1, 1.0], 400
    )
    assert right + marked >= 12


def test_decoupled_modes_that_come_back():
    problem = normal(4, np.geomspace(1, 30, 6), u_zero=2)
    right, _ = check(problem, np.geomspace(0.02, 2, 8) * 10, [0.1, 0.5, 1.0], 600)
    assert right >= 12


@pytest.mark.parametrize("kind", ["logspace", "linspace"])
def test_most_cells_are_not_flagged(kind):
    problem = olsbn.OLSProblem.from_spectrum(kind, 30, 50.0, seed=1)
    ds = olsbn.sweep(problem, eps=np.logspace(-4, 6, 101), eps_a=[0.2, 0.6, 1.0, 1.6], n_steps=1000, progress=False)
    assert ds.by_rounding.mean() < 0.05


# -------------------------------------------------------------------- the second run


@pytest.mark.parametrize("v", variants.ALL, ids=str)
def test_other_units_are_the_same_run(v, monkeypatch):
    """The run that flags are found by differs by rounding, and by nothing else: every number has its units."""
    if v.method == "gdnp":
        pytest.skip("the next test has it")
    ran = []
    for kind in ("null_space", "zero_u"):
        problem = variants.PROBLEMS[kind](np.random.default_rng(12))
        rates = {name: np.full(3, value) for name, value in v.rates(problem).items()}
        rates["eps"] *= [0.2, 0.5, 1.0]
        run = Run(60, 1e-6, record=np.arange(0, 61, 10))
        (x, first), (other, second) = _both_runs(v, problem, rates, run, monkeypatch)
        (one, steps), (two, other_steps) = first.columns(x, run), second.columns(other, run)
        assert two["n_steps_run"].size == 3
        for here, there in ((one, two), (steps, other_steps)):
            for name, values in here.items():
                np.testing.assert_allclose(values, there[name], rtol=1e-10, err_msg=name)
        ran.append(np.mean(steps["excess"] != other_steps["excess"]))
    assert min(ran) > 0.5  # rounding is another one


def _both_runs(v, problem, rates, run, monkeypatch):
    """Have every cell run in other units too; return coordinates and results of both runs."""
    from olsbn.engine.tile import N_AGAIN

    runs, runs_before, flag_before = [], engine_cells._runs, engine_cells._flag

    def runs_kept(step, x, *args):
        runs.append((x, runs_before(step, x, *args)))
        return runs[-1][1]

    def all_again(step, x, params, run, schedules, found):
        found.numbers[:, N_AGAIN] = 1
        flag_before(step, x, params, run, schedules, found)

    with monkeypatch.context() as patch:
        patch.setattr(engine_cells, "_runs", runs_kept)
        patch.setattr(engine_cells, "_flag", all_again)
        v.run(problem, rates, run)
    return runs[:2]


def test_gdnp_in_other_units_is_the_same_run():
    for v in (v for v in variants.ALL if v.method == "gdnp"):
        problem, run = variants.PROBLEMS["null_space"](np.random.default_rng(12)), Run(60, record=np.array([60]))
        x, params = v.coordinates(problem), {"eps": np.ones(1), "eps_a": np.ones(1)}
        f, t = engine_cells.OTHER_UNITS
        scaled = {name: values * unit_of(v.step, name, f, t) for name, values in params.items()}
        (one, _), (two, _) = (
            execute(v.step, x, params, run),
            execute(v.step, x.in_other_units(v.step, f, t), scaled, run),
        )
        for name, values in one.items():
            np.testing.assert_allclose(values, two[name], rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", bits.CASES, ids=lambda case: case.name)
def test_without_the_check_the_numbers_are_the_same(case):
    checked, plain = case.sweep(), case.sweep(check_rounding=False)
    assert "by_rounding" not in plain
    xr.testing.assert_identical(checked.drop_vars("by_rounding", errors="ignore").drop_attrs(), plain.drop_attrs())


@pytest.mark.parametrize("group", ["momentum", "nesterov", "weight_decay", "smoothing", "wngd"])
def test_most_cells_of_other_dynamics_are_not_flagged(group):
    problem = olsbn.OLSProblem.from_spectrum("logspace", 20, 50.0, seed=1)
    more = {
        "momentum": {"momentum": 0.5},
        "nesterov": {"momentum": 0.5, "nesterov": 1},
        "weight_decay": {"weight_decay": 1e-4},
        "smoothing": {"smoothing": 1.0},
        "wngd": {"method": "wngd", "eps_a": 0.05},
    }[group]
    ds = olsbn.sweep(problem, eps=np.logspace(-3, 3, 64), n_steps=500, progress=False, **more)
    # with weight decay a run comes to rest at the edge of stability, where it is chaotic
    assert ds.by_rounding.mean() < (0.4 if group == "weight_decay" else 0.15)


# -------------------------------------------------------------------- coordinates and variants that slave no mode


@pytest.fixture(scope="module")
def plateau():
    problem = olsbn.OLSProblem.from_dataset("diabetes", standardize="inputs")
    grid = {"eps": np.geomspace(1e-4, 2e-3, 16), "eps_a": [0.5, 1.0], "n_steps": 2000, "progress": False}
    return problem, grid, olsbn.sweep(problem, **grid)


def test_flags_in_deflated_coordinates(plateau):
    problem, grid, star = plateau
    eps, eps_a = (a.ravel() for a in np.meshgrid(grid["eps"], grid["eps_a"]))
    cells, _ = bngd.tile(bngd.prepare(problem, "deflated"), {"eps": eps, "eps_a": eps_a}, Run(2000))
    off = np.abs(np.log10(cells["excess"] / star.excess.values.ravel())) > 1e-6
    assert off.any() and not (off & ~cells["by_rounding"] & ~star.by_rounding.values.ravel()).any()
    assert cells["by_rounding"].sum() <= 2 * off.sum()


@pytest.mark.parametrize(
    ("further", "slaved"),
    [({"momentum": 1e-300}, False), ({"weight_decay": 1e-300}, True), ({"eps_power": 1e-300}, True)],
)
def test_flags_of_further_parameters(plateau, further, slaved):
    """With a parameter too small to matter other code runs: it slaves the same modes, or says where it differs."""
    problem, grid, star = plateau
    ds = olsbn.sweep(problem, **grid, **further).squeeze()
    off = np.abs(np.log10(ds.excess.values / star.excess.values)) > 1e-6
    assert off.any() != slaved and not (off & ~ds.by_rounding.values & ~star.by_rounding.values).any()
    assert ds.by_rounding.sum() <= 2 * off.sum() + star.by_rounding.sum()


def test_what_an_alternating_forcing_leaves_in_a_fast_mode_is_kept():
    """A scale with 1 - eps_a near -1 forces the fastest mode at its own frequency; what is left grows at the edge."""
    from olsbn.ledger.base import Cube
    from olsbn.ledger.olsbn.witness import two_kernels

    point = (0.9262780559349109, 0.30303979242957413, 0.38224051005096354, 0.05380822914580679, 0.43889093684354585,
             0.3832766772664664, 0.7988964968286263, 0.4653101680507552)  # fmt: skip
    found = two_kernels(Cube(np.array(point)))
    assert (found.error <= found.allowed).all()
