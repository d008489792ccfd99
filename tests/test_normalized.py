"""Momentum, weight decay, schedules and other normalisers: kernels against twins in many digits, laws, rates."""

import math

import mpmath
import naive_methods as twins
import numpy as np
import pytest
import tolerances as tol

from olsbn import OLSProblem
from olsbn.engine import bngd, gd, gd_steps, normalized
from olsbn.engine.run import Run
from olsbn.engine.schedules import schedule
from olsbn.schema import EXCESS_FLOOR, Status
from olsbn.theory import gd_momentum_contraction_ratio, normalized_contraction_ratio

KINDS = ("logspace", "linspace", "powerlaw", "marchenko-pastur", "two-cluster")
COLUMNS = ("excess", "residual", "a", "w_norm", "eps_eff")


def random_problem(rng, d_max=20, cond_max=1e3, a0=False, null=False):
    d = int(rng.integers(2, d_max + 1))
    cond = 10 ** rng.uniform(0.1, math.log10(cond_max))
    problem = OLSProblem.from_spectrum(KINDS[rng.integers(len(KINDS))], d, cond, seed=int(rng.integers(2**31)))
    scale = rng.normal() if a0 else None
    return OLSProblem(problem.eigvals, problem.u, problem.w0, scale, w0_null_norm=0.7 if null else 0.0)


def cell(face, problem, n_steps, params, prepare=normalized.prepare, **options):
    """Run one cell and return its columns and its whole trace."""
    run = Run(n_steps, record=np.arange(n_steps + 1), **options)
    given = {name: np.array([float(value)]) for name, value in params.items()}
    return face(prepare(problem), given, run)


def grid(face, problem, n_steps, params, prepare=normalized.prepare, **options):
    """Run the product of the parameters' values and return columns, and the parameters of each cell."""
    cells = dict(zip(params, map(np.ravel, np.meshgrid(*params.values())), strict=True))
    return face(prepare(problem), cells, Run(n_steps, **options))[0], cells


def distances(trace, exact):
    """Largest difference over the run of each column, relative to the value (a: to the largest value)."""
    found = {}
    for name in COLUMNS:
        values, want = trace[name][:, 0], getattr(exact, name)
        scale = [max(abs(x) for x in want)] * len(want) if name in ("a", "eps_eff") else [abs(x) or 1 for x in want]
        found[name] = max(float(abs(mpmath.mpf(float(v)) - x) / s) for v, x, s in zip(values, want, scale, strict=True))
    return found


def response(moved, exact, name):
    """Largest relative change of a column of the twin when its start is perturbed by one rounding."""
    pairs = zip(getattr(moved, name), getattr(exact, name), strict=True)
    top = max(abs(x) for x in getattr(exact, name))
    return max(float(abs(x - y) / (top if name in ("a", "eps_eff") else abs(y) or 1)) for x, y in pairs)


PARAMS = {
    "neutral": lambda rng: {},
    "momentum": lambda rng: {"momentum": rng.uniform(0.1, 0.9)},
    "weight_decay": lambda rng: {"weight_decay": 10 ** rng.uniform(-4, -1)},
    "eps_power": lambda rng: {"eps_power": rng.uniform(0.1, 1)},
    "eps_factor": lambda rng: {"eps_factor": rng.uniform(0.9, 1.1)},
    "eps_a_power": lambda rng: {"eps_a_power": rng.uniform(0.1, 1)},
    "smoothing": lambda rng: {"smoothing": 10 ** rng.uniform(-2, 1)},
    "all": lambda rng: {
        "momentum": rng.uniform(0.1, 0.9),
        "weight_decay": 10 ** rng.uniform(-4, -1),
        "eps_power": rng.uniform(0, 1),
        "eps_factor": rng.uniform(0.9, 1.1),
        "eps_a_power": rng.uniform(0, 1),
        "smoothing": 10 ** rng.uniform(-2, 1),
    },
    "wngd": lambda rng: {},
}


@pytest.mark.parametrize("name", PARAMS)
@pytest.mark.parametrize("seed", range(4))
def test_each_parameter_equals_sixty_digits(name, seed):
    """eps over eight decades, half of the starts with an a0 that is not optimal or a part in the null space of H."""
    rng = np.random.default_rng(1000 + seed)
    problem = random_problem(rng, d_max=10, a0=seed % 2 == 1, null=seed >= 2)
    eps, eps_a, n = 10 ** rng.uniform(-4, 4), rng.uniform(0, 1.5), 40
    if name == "wngd":
        eps_a /= problem.eigvals[-1]
    params = PARAMS[name](rng)
    face, kind = (normalized.tile_wngd, "wn") if name == "wngd" else (normalized.tile, "bn")
    _, trace = cell(face, problem, n, {"eps": eps, "eps_a": eps_a, **params})
    exact = twins.normalized_run(problem, eps, eps_a, n, kind, **params)
    # each of the steps rounds, not the start alone: the larger of two responses, times AMPLIFIED
    moved = []
    for _ in range(2):
        w0 = problem.w0 * (1 + 2.0**-52 * rng.choice([-1, 1], problem.dim))
        near = OLSProblem(problem.eigvals, problem.u, w0, problem.a0, w0_null_norm=problem.w0_null_norm)
        moved.append(twins.normalized_run(near, eps, eps_a, n, kind, **params, digits=40))
    for column, distance in distances(trace, exact).items():
        allowed = max(tol.TWIN, tol.AMPLIFIED * max(response(other, exact, column) for other in moved))
        assert distance <= allowed, (column, distance, allowed, params)


@pytest.mark.parametrize("seed", range(3))
def test_gdnp_equals_sixty_digits(seed):
    problem = random_problem(np.random.default_rng(1100 + seed), null=seed == 2)
    _, trace = cell(normalized.tile_gdnp, problem, 100, {})
    assert max(distances(trace, twins.gdnp_run(problem, 100)).values()) <= 10 * tol.TWIN


@pytest.mark.parametrize("name", ["neutral", "momentum", "weight_decay", "eps_power", "eps_factor", "all"])
@pytest.mark.parametrize("seed", range(3))
def test_gd_by_steps_equals_sixty_digits(name, seed):
    rng = np.random.default_rng(1200 + seed)
    problem = random_problem(rng, null=seed == 1)
    eps, n = rng.uniform(0.1, 2.1) / problem.eigvals[-1], 100
    params = {k: v for k, v in PARAMS[name](rng).items() if k not in ("smoothing", "eps_a_power")}
    cells, trace = cell(gd_steps.tile, problem, n, {"eps": eps, **params}, gd_steps.prepare)
    exact = twins.gd_run(problem, eps, n, **params)
    last = int(cells["n_steps_run"][0])
    assert last == n or exact.excess[last] > 1e30
    for column in ("excess", "residual", "w_norm", "eps_eff"):
        pairs = zip(trace[column][: last + 1, 0], getattr(exact, column)[: last + 1], strict=True)
        # a mode that crosses 0 loses what it was before: relative to the largest of the last steps
        values = [(mpmath.mpf(float(v)), x) for v, x in pairs]
        for k, (v, x) in enumerate(values):
            assert abs(v - x) <= 10 * tol.TWIN * max(x for _, x in values[max(0, k - 4) : k + 1]), (column, k)


def test_schedules_equal_sixty_digits():
    k = np.array([0, 1, 2, 9, 999, 99_999])
    for power in (0.0, 0.1, 0.25, 0.5, 1.0, 1.7, 3.0):
        for factor in (1.0, 0.5, 0.999, 1.0001):
            table = schedule(100_000, power, factor)[k]
            with mpmath.workdps(60):
                for i, value in zip(k.tolist(), table, strict=True):
                    exact = mpmath.mpf(i + 1) ** -mpmath.mpf(power) * mpmath.mpf(factor) ** i
                    assert abs(value - exact) <= 4 * 2.0**-53 * exact or (exact < 1e-300 and value < 1e-300)


# -------------------------------------------------------------------- the same dynamics by other kernels


@pytest.mark.parametrize("seed", range(3))
def test_neutral_values_agree_with_the_kernels_of_gd_and_bngd(seed):
    problem = random_problem(np.random.default_rng(1300 + seed), a0=seed == 1)
    params = {"eps": np.geomspace(1e-4, 1e-1, 7), "eps_a": np.array([0.3, 1.0, 1.5])}
    found, cells = grid(normalized.tile, problem, 60, params)
    want, _ = bngd.tile(bngd.prepare(problem), cells, Run(60))
    for name in ("excess", "a", "w_norm", "eps_eff"):
        np.testing.assert_allclose(found[name], want[name], rtol=1e-11, err_msg=name)
    for name in ("status", "steps_to_tol", "n_steps_run"):
        np.testing.assert_array_equal(found[name], want[name])
    eps = {"eps": np.linspace(0.1, 2.1, 9) / problem.eigvals[-1]}
    found, want = gd_steps.tile(gd_steps.prepare(problem), eps, Run(300)), gd.tile(gd.prepare(problem), eps, Run(300))
    for name in ("excess", "w_norm", "status", "steps_to_tol"):
        np.testing.assert_allclose(found[0][name], want[0][name], rtol=1e-12, err_msg=name)


def test_equal_rates_of_weight_normalization_near_the_minimiser_are_plain_gd():
    """eps_a = eps_eff: the error obeys plain GD on H to first order."""
    problem = random_problem(np.random.default_rng(3))
    problem = OLSProblem(problem.eigvals, problem.u, problem.u * (1 + 1e-7 * np.cos(np.arange(problem.dim))))
    eps = 0.5 / problem.eigvals[-1]
    scale = float(problem.u @ problem.u / (problem.w0 @ problem.w0))
    _, trace = cell(normalized.tile_wngd, problem, 30, {"eps": eps / scale, "eps_a": eps})
    a0 = problem.a0 / math.sqrt(problem.w0 @ (problem.eigvals * problem.w0))
    start = OLSProblem(problem.eigvals, problem.u, a0 * problem.w0)
    _, plain = cell(gd.tile, start, 30, {"eps": eps}, gd.prepare)
    np.testing.assert_allclose(trace["excess"], plain["excess"], rtol=1e-5)


# -------------------------------------------------------------------- rates


def settled(name, seed):
    """Return measured and predicted ratios of the cells where the measured one has settled."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, d_max=60, cond_max=300, a0=True, null=name in ("smoothing", "wngd") and seed % 2)
    eps, eps_a = np.geomspace(1e-3, 1e4, 15), np.linspace(0.1, 1.9, 5)
    params = {"eps": eps, "eps_a": eps_a}
    top = problem.eigvals[-1]
    if name == "gd":
        params = {"eps": np.linspace(0.05, 1.9, 25) / top, "momentum": np.array([0.02, 0.1, 0.5])}
        cells, p = grid(gd_steps.tile, problem, 5000, params, gd_steps.prepare)
        theory = gd_momentum_contraction_ratio(problem, p["eps"], p["momentum"], excited=True)
    elif name == "gdnp":
        cells, p = grid(normalized.tile_gdnp, problem, 20_000, {"eps": np.ones(1)})
        theory = normalized_contraction_ratio(problem, cells["eps_eff"], 1.0, excited=True)
    elif name == "wngd":
        cells, p = grid(normalized.tile_wngd, problem, 10_000, {"eps": eps, "eps_a": eps_a / top})
        U = problem.u @ problem.u
        null = np.maximum(cells["a"] ** 2 - U, 0) if problem.w0_null_norm else 0.0
        ends = cells["status"] == Status.CONVERGED
        theory = np.full(ends.shape, np.nan)
        theory[ends] = normalized_contraction_ratio(
            problem, cells["eps_eff"], p["eps_a"], normalizer="wn", null_share=null, excited=True
        )[ends]  # fmt: skip
    else:
        params[name] = np.array([0.03, 0.3, 0.8]) * (top if name == "smoothing" else 1)
        cells, p = grid(normalized.tile, problem, 6_000, params)
        m, delta = p.get("momentum", 0.0), p.get("smoothing", 0.0)
        null = 0.0
        if problem.w0_null_norm:
            null = np.maximum((cells["a"] ** 2 - problem.explained_var) / delta - problem.u @ problem.u, 0)
        theory = normalized_contraction_ratio(
            problem, cells["eps_eff"], p["eps_a"], m, delta, null_share=null, excited=True
        )  # fmt: skip
    there = np.isfinite(cells["rate_sim"])
    return cells["rate_sim"][there], theory[there]


@pytest.mark.parametrize(
    ("name", "least"), [("momentum", 140), ("smoothing", 140), ("wngd", 60), ("gdnp", 2), ("gd", 20)]
)
def test_rate_equals_theory(name, least):
    """Wherever a ratio has settled it is that of the linearised dynamics."""
    sim, theory = (np.concatenate(x) for x in zip(*(settled(name, 1400 + seed) for seed in range(4)), strict=True))
    assert sim.size >= least
    np.testing.assert_allclose(sim, theory, rtol=tol.RATE)


def test_precision_is_kept_down_to_the_floor():
    problem = OLSProblem.from_spectrum("logspace", 12, 8.0, seed=5)
    for face, params in (
        (normalized.tile, {"eps": 0.1, "eps_a": 0.8, "smoothing": 2.0, "momentum": 0.3}),
        (normalized.tile_wngd, {"eps": 0.03, "eps_a": 0.02}),
        (normalized.tile_gdnp, {}),
    ):
        cells, trace = cell(face, problem, 60_000, params)
        assert cells["status"] == Status.CONVERGED and cells["excess"] <= EXCESS_FLOOR
        last = trace["excess"][: int(cells["n_steps_run"][0]) + 1, 0]
        np.testing.assert_allclose((last[1:] / last[:-1])[-1], (last[1:] / last[:-1])[-100], rtol=1e-9)


# -------------------------------------------------------------------- how runs end, and what decides their bits


def test_a_cell_depends_on_nothing_but_its_own_parameters():
    problem = random_problem(np.random.default_rng(9), null=True)
    params = {
        "eps": np.append(np.geomspace(1e-3, 1e5, 11), 1e200),
        "eps_a": np.array([0.2, 1.0]),
        "momentum": np.array([0.0, 0.6]),
        "weight_decay": np.array([0.0, 0.01]),
        "smoothing": np.array([0.0, 0.5]),
        "eps_power": np.array([0.0, 0.3]),
    }
    found, cells = grid(normalized.tile, problem, 200, params, tol=1e-4, stop_at_tol=True)
    order = np.random.default_rng(0).permutation(found["status"].size)[:60]
    again, _ = normalized.tile(
        normalized.prepare(problem), {k: v[order] for k, v in cells.items()}, Run(200, 1e-4, True)
    )
    for name, values in again.items():
        np.testing.assert_array_equal(values, found[name][order], err_msg=name)


def test_weight_decay_has_no_rate_and_hovers_at_the_edge():
    problem = OLSProblem.from_spectrum("logspace", 20, 50.0, seed=3)
    cells, trace = cell(normalized.tile, problem, 20_000, {"eps": 0.1, "eps_a": 1.0, "weight_decay": 1e-3})
    star = normalized_contraction_ratio(problem, 1e-9, 1.0)  # smoke: a ratio exists without decay
    assert star < 1 and np.isnan(cells["rate_sim"]).all()
    from olsbn.theory import spectral_report

    hover = np.median(trace["eps_eff"][-5000:, 0]) / spectral_report(problem).eps_eff_max
    assert 0.98 < hover < 1.02


def test_momentum_can_leave_the_minimum_again():
    """One mode, eps = 1/lambda: the first step lands on the minimum, the second leaves it."""
    problem = OLSProblem([2.0], [1.0], [0.0])
    cells, trace = cell(gd_steps.tile, problem, 4, {"eps": 0.5, "momentum": 0.5}, gd_steps.prepare)
    np.testing.assert_array_equal(trace["excess"][:, 0], [1.0, 0.0, 0.25, 0.0625 * 1, trace["excess"][4, 0]])
    assert cells["n_steps_run"] == 4 and cells["steps_to_tol"] == 1


def test_huge_steps_and_starts_where_nothing_moves():
    problem = OLSProblem.from_spectrum("linspace", 6, 10.0)
    params = {"eps": np.array([1e100, 1e250]), "eps_a": np.array([1.0]), "smoothing": np.array([0.0, 1.0])}
    cells, _ = grid(normalized.tile, problem, 50, params)
    assert (cells["status"] == Status.MAX_STEPS).all() and np.isfinite(cells["excess"]).all()
    assert (cells["w_norm"] > 1e90).all()
    saddle = OLSProblem([1.0, 2.0], [1.0, 1.0], [2.0, -1.0])
    for face in (normalized.tile, normalized.tile_wngd, normalized.tile_gdnp):
        cells, trace = cell(face, saddle, 3, {"eps": 0.1, "eps_a": 1.0})
        assert cells["status"] == Status.DEGENERATE and cells["excess"] == 1 and (trace["excess"] == 1).all()


def test_weights_that_grow_beyond_the_range_of_numbers_are_followed():
    """eps weight_decay > 2: w changes its sign and grows at each step; what it predicts stays finite."""
    problem = OLSProblem.from_spectrum("linspace", 6, 10.0)
    params = {"eps": np.array([1e3]), "eps_a": np.array([0.5]), "weight_decay": np.array([0.1, 3.0])}
    cells, _ = grid(normalized.tile, problem, 3000, params | {"momentum": np.array([0.0, 0.3])})
    assert (cells["status"] == Status.MAX_STEPS).all()
    assert np.isfinite(cells["excess"]).all() and (cells["excess"] < 100).all()


def test_a_cancelled_tile_says_so():
    problem = random_problem(np.random.default_rng(4))
    for module in (normalized, gd_steps):
        run = Run(100, cancel=np.ones(1, np.uint8))
        cells, _ = module.tile(module.prepare(problem), {"eps": np.ones(3), "eps_a": np.ones(3)}, run)
        assert (cells["status"] == Status.NOT_RUN).all()
