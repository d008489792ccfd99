"""Every variant of every step: the printed update in balls and in many digits, laws, ends, what decides bits."""

import math

import mpmath
import numpy as np
import pytest
import tolerances as tol
import variants
from naive_methods import gd_run, gdnp_run, normalized_run
from variants import ALL, FORMS, PROBLEMS

from olsbn import OLSProblem
from olsbn.dynamics import bngd, gd, gdnp, wngd
from olsbn.engine import cells as engine_cells
from olsbn.engine.compile import LANES
from olsbn.engine.run import Run
from olsbn.engine.schedules import schedule
from olsbn.engine.step import COUPLED, DECOUPLED, Kind
from olsbn.schema import EXCESS_FLOOR, Status
from olsbn.theory import spectral_report

KINDS = ("logspace", "linspace", "powerlaw", "marchenko-pastur", "two-cluster")
COLUMNS = ("excess", "residual", "a", "w_norm", "eps_eff")
BY_NAME = {str(v): v for v in ALL}


def random_problem(rng, d_max=20, cond_max=1e3, a0=False, null=False):
    d = int(rng.integers(2, d_max + 1))
    cond = 10 ** rng.uniform(0.1, math.log10(cond_max))
    problem = OLSProblem.from_spectrum(KINDS[rng.integers(len(KINDS))], d, cond, seed=int(rng.integers(2**31)))
    scale = rng.normal() if a0 else None
    return OLSProblem(problem.eigvals, problem.u, problem.w0, scale, w0_null_norm=0.7 if null else 0.0)


def cell(method, problem, n_steps, params, **options):
    """Run one cell and return its columns and its whole trace."""
    run = Run(n_steps, record=np.arange(n_steps + 1), **options)
    given = {name: np.array([float(value)]) for name, value in params.items()}
    return method.METHOD.tile(method.METHOD.prepare(problem), given, run)


def grid(method, problem, n_steps, params, **options):
    """Run the product of the parameters' values and return columns, and the parameters of each cell."""
    flat = dict(zip(params, map(np.ravel, np.meshgrid(*params.values())), strict=True))
    return method.METHOD.tile(method.METHOD.prepare(problem), flat, Run(n_steps, **options))[0], flat


# -------------------------------------------------------------------- which variant serves what


@pytest.mark.parametrize("v", ALL, ids=str)
def test_a_variant_serves_the_parameters_that_it_does_not_fold(v, monkeypatch):
    """What the cases of this file are, the engine runs by the variant that they are named after."""
    served = []
    run_kind = engine_cells._run_kind
    monkeypatch.setattr(engine_cells, "_run_kind", lambda kind, *args: served.append(kind) or run_kind(kind, *args))
    problem = PROBLEMS["random"](np.random.default_rng(0))
    v.run(problem, v.rates(problem), Run(1, check_rounding=False))
    assert [(type(kind.step), kind.folded) for kind in served] == [(type(v.step), v.folded)]


def test_the_plain_variant_carries_nothing_for_parameters_that_are_neutral():
    """One number a mode, two sums: what folds away costs nothing."""
    star, deflated = (Kind(BY_NAME[name].step, BY_NAME[name].folded) for name in ("star:plain", "deflated:plain"))
    assert star.layout.state == ("z",) and star.layout.sums == ("V", "S")
    assert star.layout.numbers == {COUPLED: ("mu", "b"), DECOUPLED: ("mu",)}
    assert deflated.layout.state == ("s",) and deflated.layout.sums == ("V", "S", "P")
    heavy = Kind(BY_NAME["star:plain"].step, ())
    assert heavy.layout.state == ("z", "y") and {"V", "S", "P", "Q"} <= set(heavy.layout.sums)


# -------------------------------------------------------------------- twins


def check(v, problem, trace, exact, what):
    """Compare columns of a run with numbers in more digits."""
    allowed = tol.STEP
    if v.coordinates is variants.DEFLATED:
        # beta is a sum along u, and rounded by an ulp of the norm of w: that is 1/cos of it
        allowed = max(allowed, 100 * 2.0**-52 / abs(problem.a0 / math.sqrt(problem.explained_var)))
    for name, wanted in exact.items():
        if name == "a" and v.method == "gd":
            continue
        values = trace[name]
        errors = [float(abs(mpmath.mpf(float(x)) - y) / abs(y)) for x, y in zip(values, wanted, strict=True)]
        assert max(errors) <= allowed, (str(v), what, name, int(np.argmax(errors)), max(errors))


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("forms", FORMS)
def test_each_variant_is_the_printed_update(forms, kind):
    """Proved numbers over 60 steps, in every form; what the balls do not tell, in many digits."""
    problem = PROBLEMS[kind](np.random.default_rng(3))
    first = FORMS[forms][0]
    points = first.balls(problem, 60, range(61)).points
    names = ("excess", "eps_eff", "a", "w_norm")
    proved = dict(zip(names, map(list, zip(*(points[k] for k in range(61)), strict=True)), strict=True))
    few = {"residual": first.twin(problem, 15, digits=50).residual}
    runs = []
    for v in FORMS[forms]:
        ended, trace = v.trace(problem, 60)
        check(v, problem, trace, proved, kind)
        check(v, problem, {"residual": trace["residual"][:16]}, few, kind)
        assert (ended["n_steps_run"] == 60 and not ended["by_rounding"]) or kind == "near_saddle"
        assert ended["excess"] == trace["excess"][60] and ended["w_norm"] == trace["w_norm"][60]
        runs.append(trace)
    if kind != "near_saddle":
        for name in COLUMNS[: None if len(runs) > 1 else 0]:
            np.testing.assert_allclose(runs[0][name], runs[1][name], rtol=2 * tol.STEP, err_msg=name)


def distances(trace, exact):
    """Largest difference over the run of each column, relative to the value (a, eps_eff: to the largest value)."""
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
    "nesterov": lambda rng: {"momentum": rng.uniform(0.1, 0.9), "nesterov": 1.0},
    "weight_decay": lambda rng: {"weight_decay": 10 ** rng.uniform(-4, -1)},
    "eps_power": lambda rng: {"eps_power": rng.uniform(0.1, 1)},
    "eps_factor": lambda rng: {"eps_factor": rng.uniform(0.9, 1.1)},
    "eps_a_power": lambda rng: {"eps_a_power": rng.uniform(0.1, 1)},
    "smoothing": lambda rng: {"smoothing": 10 ** rng.uniform(-2, 1)},
    "all": lambda rng: {
        "momentum": rng.uniform(0.1, 0.9),
        "nesterov": float(rng.integers(2)),
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
    method, kind = (wngd, "wn") if name == "wngd" else (bngd, "bn")
    ended, trace = cell(method, problem, n, {"eps": eps, "eps_a": eps_a, **params})
    exact = normalized_run(problem, eps, eps_a, n, kind, **params)
    found = distances(trace, exact)
    if max(found.values()) <= tol.TWIN or ended["by_rounding"]:
        return
    # a run may contract what the start was moved by, and amplify what later steps round: the largest response to
    # two moved starts, and to two runs whose every step rounds, times AMPLIFIED
    moved = [normalized_run(problem, eps, eps_a, n, kind, **params, digits=40, rounded=rng) for _ in range(2)]
    for _ in range(2):
        w0 = problem.w0 * (1 + 2.0**-52 * rng.choice([-1, 1], problem.dim))
        near = OLSProblem(problem.eigvals, problem.u, w0, problem.a0, w0_null_norm=problem.w0_null_norm)
        moved.append(normalized_run(near, eps, eps_a, n, kind, **params, digits=40))
    for column, distance in found.items():
        allowed = max(tol.TWIN, tol.AMPLIFIED * max(response(other, exact, column) for other in moved))
        assert distance <= allowed, (column, distance, allowed, params)


@pytest.mark.parametrize("seed", range(3))
def test_gdnp_equals_sixty_digits(seed):
    problem = random_problem(np.random.default_rng(1100 + seed), null=seed == 2)
    _, trace = cell(gdnp, problem, 100, {})
    assert max(distances(trace, gdnp_run(problem, 100)).values()) <= 10 * tol.TWIN


GD_PARAMS = ("momentum", "nesterov", "weight_decay", "eps_power", "eps_factor", "all")


@pytest.mark.parametrize("name", GD_PARAMS)
@pytest.mark.parametrize("seed", range(3))
def test_gd_by_steps_equals_sixty_digits(name, seed):
    rng = np.random.default_rng(1200 + seed)
    problem = random_problem(rng, null=seed == 1)
    eps, n = rng.uniform(0.1, 2.1) / problem.eigvals[-1], 100
    params = {k: v for k, v in PARAMS[name](rng).items() if k not in ("smoothing", "eps_a_power")}
    ended, trace = cell(gd, problem, n, {"eps": eps, **params})
    exact = gd_run(problem, eps, n, **params)
    last = int(ended["n_steps_run"][0])
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


@pytest.mark.parametrize("seed", range(3))
def test_gd_by_steps_agrees_with_its_closed_form(seed):
    problem = random_problem(np.random.default_rng(1300 + seed), null=seed == 1)
    v = next(v for v in ALL if v.method == "gd" and v.folded)
    eps = np.linspace(0.1, 2.1, 9) / problem.eigvals[-1]
    neutral = {"momentum": 0.0, "nesterov": 0.0, "weight_decay": 0.0}
    found, _ = v.run(problem, {"eps": eps}, Run(300), neutral)
    closed, _ = gd.METHOD.tile(gd.METHOD.prepare(problem), {"eps": eps}, Run(300))
    for name in ("excess", "w_norm", "status", "steps_to_tol", "n_steps_run"):
        np.testing.assert_allclose(found[name], closed[name], rtol=1e-12, err_msg=name)


def test_equal_rates_of_weight_normalization_near_the_minimiser_are_plain_gd():
    """eps_a = eps_eff: the error obeys plain GD on H to first order."""
    problem = random_problem(np.random.default_rng(3))
    problem = OLSProblem(problem.eigvals, problem.u, problem.u * (1 + 1e-7 * np.cos(np.arange(problem.dim))))
    eps = 0.5 / problem.eigvals[-1]
    scale = float(problem.u @ problem.u / (problem.w0 @ problem.w0))
    _, trace = cell(wngd, problem, 30, {"eps": eps / scale, "eps_a": eps})
    a0 = problem.a0 / math.sqrt(problem.w0 @ (problem.eigvals * problem.w0))
    start = OLSProblem(problem.eigvals, problem.u, a0 * problem.w0)
    _, plain = cell(gd, start, 30, {"eps": eps})
    np.testing.assert_allclose(trace["excess"], plain["excess"], rtol=1e-5)


# -------------------------------------------------------------------- laws


@pytest.mark.parametrize("v", ALL, ids=str)
def test_units_change_no_bit(v):
    """By powers of two, w and H in other units are the same numbers: (w0, eps) -> (r w0, r^2 eps), H -> t H."""
    problem = PROBLEMS["null_space"](np.random.default_rng(5))
    rates = v.rates(problem)
    _, base = v.trace(problem, 40, rates)
    smoothing = v.params.get("smoothing", 0.0)
    for r, t in ((2.0**-40, 1.0), (2.0**26, 1.0), (1.0, 4.0**-9), (1.0, 4.0**20)):
        if v.method == "gd" and r != 1:
            continue  # w is the prediction
        other = OLSProblem(
            t * problem.eigvals, problem.u / math.sqrt(t), r * problem.w0, problem.a0,
            w0_null_norm=r * problem.w0_null_norm,
        )  # fmt: skip
        w_unit = 1.0 if v.method in ("sphere", "wngrad") else r
        if v.method == "gd":
            w_unit = 1 / math.sqrt(t)
            other = OLSProblem(other.eigvals, other.u, problem.w0 * w_unit, w0_null_norm=problem.w0_null_norm * w_unit)
        moved = dict(rates)
        if "eps" in rates:
            moved["eps"] = rates["eps"] * {"gd": 1 / t, "sphere": 1.0}.get(v.method, r * r)
        if v.method == "wngd":
            moved["eps_a"] = rates["eps_a"] / t
        if "weight_decay" in rates:
            moved["weight_decay"] = rates["weight_decay"] * (t if v.method == "gd" else 1 / r**2)
        if smoothing:
            moved["smoothing"] = smoothing * t
        _, trace = v.trace(other, 40, moved)
        for name, unit in (("excess", 1.0), ("residual", 1.0), ("w_norm", w_unit), ("eps_eff", 1 / t)):
            np.testing.assert_array_equal(trace[name], unit * base[name], err_msg=f"{name} {r} {t}")


@pytest.mark.parametrize("forms", [name for name in FORMS if not name.startswith(("gd:", "gdnp"))])
def test_steps_out_of_range_are_rescaled(forms):
    """A step of 1e100 overflows the sums unless all that scales with w is rescaled, buffers of momentum among it."""
    problem = PROBLEMS["null_space"](np.random.default_rng(6))
    first = FORMS[forms][0]
    rates = first.rates(problem)
    for eps in (1e96, 1e140):
        huge = rates | {"eps": eps}
        if "weight_decay" in rates:
            huge["weight_decay"] = 0.3 / eps
        points = first.balls(problem, 12, range(13), rates=huge).points
        for v in FORMS[forms]:
            ended, trace = v.trace(problem, 12, huge)
            assert ended["n_steps_run"] == 12
            for i, name in enumerate(("excess", "eps_eff", "a", "w_norm")):
                want = np.array([points[k][i] for k in range(13)])
                scale = np.abs(want).max() if name in ("a", "eps_eff") else np.abs(want)
                assert (np.abs(trace[name] - want) <= 1e-9 * scale).all() or ended["by_rounding"], (str(v), name, eps)


@pytest.mark.parametrize("forms", [name for name in FORMS if "weight_decay" in name and not name.startswith("gd:")])
def test_weights_that_decay_out_of_range_are_rescaled(forms):
    """w shrinks by 2^-8 at each step, its square to 2^-960; at the last steps it moves again."""
    problem, first, n = PROBLEMS["null_space"](np.random.default_rng(6)), FORMS[forms][0], 60
    rates = first.rates(problem)
    eps = 2.0 ** (round(math.log2(rates["eps"])) - 16 * n)
    # powers of two, so that eps weight_decay is exact: 1 - 2^-8
    rates |= {"eps": eps, "weight_decay": (1 - 2.0**-8) / eps}
    same = {"eps_power": 0.0, "eps_a_power": 0.0, "eps_factor": 1.0, "momentum": 2.0**-22}
    rates |= {name: value for name, value in same.items() if name in first.params}
    points = first.balls(problem, n + 1, range(n + 2), rates=rates, tol=1e-300).points
    for v in FORMS[forms]:
        _, trace = v.trace(problem, n + 1, rates)
        for i, name in enumerate(("excess", "eps_eff", "a", "w_norm")):
            want = np.array([points[k][i] for k in range(n + 2)])
            # 1 - eps weight_decay is a difference: each step loses eight bits
            np.testing.assert_allclose(trace[name], want, rtol=n * 2.0**-43, err_msg=f"{v} {name}")
    assert want[n] < 1e-100 < 0.01 < trace["eps_eff"][n] * problem.eigvals[-1]


# -------------------------------------------------------------------- how runs end, and what decides their bits


def test_precision_is_kept_down_to_the_floor():
    problem = OLSProblem.from_spectrum("logspace", 12, 8.0, seed=5)
    for method, params in (
        (bngd, {"eps": 0.1, "eps_a": 0.8, "smoothing": 2.0, "momentum": 0.3}),
        (wngd, {"eps": 0.03, "eps_a": 0.02}),
        (gdnp, {}),
    ):
        ended, trace = cell(method, problem, 60_000, params)
        assert ended["status"] == Status.CONVERGED and ended["excess"] <= EXCESS_FLOOR
        last = trace["excess"][: int(ended["n_steps_run"][0]) + 1, 0]
        np.testing.assert_allclose((last[1:] / last[:-1])[-1], (last[1:] / last[:-1])[-100], rtol=1e-9)
        # so is that of the residual, which falls at the same rate
        residual = trace["residual"][: last.size, 0]
        np.testing.assert_allclose((residual[-1] / residual[-2]) ** 2, last[-1] / last[-2], rtol=1e-9)


def mixed(problem):
    """Return cells of every variant that plain BNGD's method has, in one order."""
    params = {
        "eps": np.append(np.geomspace(1e-3, 1e5, 11), 1e200),
        "eps_a": np.array([0.2, 1.0]),
        "momentum": np.array([0.0, 0.6]),
        "nesterov": np.array([0.0, 1.0]),
        "weight_decay": np.array([0.0, 0.01]),
        "smoothing": np.array([0.0, 0.5]),
        "eps_power": np.array([0.0, 0.3]),
    }
    return grid(bngd, problem, 200, params, tol=1e-4, stop_at_tol=True)


def test_a_cell_depends_on_nothing_but_its_own_parameters():
    problem = random_problem(np.random.default_rng(9), null=True)
    found, flat = mixed(problem)
    order = np.random.default_rng(0).permutation(found["status"].size)[:60]
    again, _ = bngd.METHOD.tile(
        bngd.METHOD.prepare(problem), {k: v[order] for k, v in flat.items()}, Run(200, 1e-4, True)
    )
    for name, values in again.items():
        np.testing.assert_array_equal(values, found[name][order], err_msg=name)


@pytest.mark.parametrize("v", ALL, ids=str)
def test_neighbours_of_other_variants_change_no_bit(v):
    """More cells than lanes, neighbours that end at other steps or run by other variants: a cell is itself."""
    if v.method == "gdnp":
        pytest.skip("it has one cell")
    problem = PROBLEMS["zero_u"](np.random.default_rng(8))
    rates, n = v.rates(problem), LANES + 9
    neutral = {name: value for name, value in variants.NEUTRAL.items() if name in v.params}
    own = {name: np.where(np.arange(n) % 2, value, neutral[name]) for name, value in v.params.items()}
    crowd = {name: np.full(n, value) for name, value in rates.items() if name != "weight_decay"}
    crowd["eps"] = rates["eps"] * np.geomspace(1e-2, 1e2, n)
    if "weight_decay" in rates:
        own["weight_decay"] = np.where(np.arange(n) % 2, rates["weight_decay"], 0.0)
    run = Run(150, 1e-3, True, record=np.array([0, 17, 60]))
    cells, trace = v.run(problem, crowd, run, own)
    assert len(set(cells["n_steps_run"])) > 5
    for c in range(1, n, 6):
        alone, kept = v.run(
            problem, {name: values[[c]] for name, values in crowd.items()}, run,
            {name: values[[c]] for name, values in own.items()},
        )  # fmt: skip
        for name, values in alone.items():
            np.testing.assert_array_equal(values[0], cells[name][c], err_msg=name)
        for name, values in kept.items():
            np.testing.assert_array_equal(values[:, 0], trace[name][:, c], err_msg=name)


def test_weight_decay_has_no_rate_and_hovers_at_the_edge():
    problem = OLSProblem.from_spectrum("logspace", 20, 50.0, seed=3)
    ended, trace = cell(bngd, problem, 20_000, {"eps": 0.1, "eps_a": 1.0, "weight_decay": 1e-3})
    assert np.isnan(ended["rate_sim"]).all()
    hover = np.median(trace["eps_eff"][-5000:, 0]) / spectral_report(problem).eps_eff_max
    assert 0.98 < hover < 1.02


def test_momentum_can_leave_the_minimum_again():
    """One mode, eps = 1/lambda: the first step lands on the minimum, the second leaves it."""
    problem = OLSProblem([2.0], [1.0], [0.0])
    ended, trace = cell(gd, problem, 4, {"eps": 0.5, "momentum": 0.5})
    np.testing.assert_array_equal(trace["excess"][:, 0], [1.0, 0.0, 0.25, 0.0625 * 1, trace["excess"][4, 0]])
    assert ended["n_steps_run"] == 4 and ended["steps_to_tol"] == 1


def test_huge_steps_and_starts_where_nothing_moves():
    problem = OLSProblem.from_spectrum("linspace", 6, 10.0)
    params = {"eps": np.array([1e100, 1e250]), "eps_a": np.array([1.0]), "smoothing": np.array([0.0, 1.0])}
    ended, _ = grid(bngd, problem, 50, params)
    assert (ended["status"] == Status.MAX_STEPS).all() and np.isfinite(ended["excess"]).all()
    assert (ended["w_norm"] > 1e90).all()
    saddle = OLSProblem([1.0, 2.0], [1.0, 1.0], [2.0, -1.0])
    for method in (bngd, wngd, gdnp):
        ended, trace = cell(method, saddle, 3, {"eps": 0.1, "eps_a": 1.0})
        assert ended["status"] == Status.DEGENERATE and ended["excess"] == 1 and (trace["excess"] == 1).all()


def test_weights_that_grow_beyond_the_range_of_numbers_are_followed():
    """eps weight_decay > 2: w changes its sign and grows at each step; what it predicts stays finite."""
    problem = OLSProblem.from_spectrum("linspace", 6, 10.0)
    params = {"eps": np.array([1e3]), "eps_a": np.array([0.5]), "weight_decay": np.array([0.1, 3.0])}
    ended, _ = grid(bngd, problem, 3000, params | {"momentum": np.array([0.0, 0.3])})
    assert (ended["status"] == Status.MAX_STEPS).all()
    assert np.isfinite(ended["excess"]).all() and (ended["excess"] < 100).all()


def test_a_cancelled_tile_says_so():
    problem = random_problem(np.random.default_rng(4))
    for method, more in (
        (bngd, {"momentum": np.full(3, 0.5)}),
        (bngd, {}),
        (gd, {"momentum": np.full(3, 0.5)}),
        (wngd, {}),
    ):
        run = Run(100, cancel=np.ones(1, np.uint8))
        given = {"eps": np.ones(3), "eps_a": np.ones(3), **more}
        if method is gd:
            del given["eps_a"]
        ended, _ = method.METHOD.tile(method.METHOD.prepare(problem), given, run)
        assert (ended["status"] == Status.NOT_RUN).all()
