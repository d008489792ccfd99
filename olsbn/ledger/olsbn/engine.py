"""The engine of every method, through `olsbn.sweep` and `olsbn.run`, against its printed update in 100 digits.

The update, in the order of PyTorch's SGD: ``g_k = grad + weight_decay w``, ``b <- momentum b + g_k``,
``w <- w - eps_k b``, and for the scale the same momentum with eps_a and no decay; ``eps_k = eps (k+1)^-eps_power
eps_factor^k``, ``eps_a_k = eps_a (k+1)^-eps_a_power``. The model is a x'w/nu, nu^2 = w'Nw: N = H for BN, H + delta I
for smoothed BN, I for weight normalization; GD has x'w.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.base import PROBLEMS, RATE, Chapter, Comparison, Cube, Skip, draw_problem
from olsbn.ledger.olsbn.heavy_ball import factors
from olsbn.ledger.olsbn.witness import moved_start
from olsbn.ledger.textbook import batch_norm, exact, many_digits
from olsbn.problems import OLSProblem
from olsbn.runs import run
from olsbn.sweeps.running import sweep

_N_EPS, _TRIALS, _MOST = 3, 2, 30
_DIGITS = 1e-9  # what is promised of a cell that is not flagged
_TIMES = 100  # as olsbn.two-kernels: every step rounds, not the start alone
_LEAST = 1e-60  # a smaller excess loses digits in the printed update: it is a difference in 100 digits
_AGREE = 1e-10  # cells in which the same run in other units differs by more are decided by rounding
_OTHER = (1.2345, 2.3456)  # units of w and of u; no powers of two
_NAMES = ("excess", "w_norm", "eps_eff", "a")

Params = dict[str, Any]
_Changed = Callable[[Params], Params]


def _schedule(p: Params, k: int) -> tuple[Any, Any]:
    """Return what multiplies eps and eps_a at step k."""
    at = decimal.Decimal(k + 1)
    return at ** -exact(p.get("eps_power", 0.0)) * exact(p.get("eps_factor", 1.0)) ** k, at ** -exact(
        p.get("eps_a_power", 0.0)
    )


@many_digits
def printed(problem: OLSProblem, method: str, eps: FloatArray, p: Params, n_steps: int) -> FloatArray:
    """Return excess, ||w||, eps_eff and a (NaN for GD) of the printed update: an array (4, steps + 1, eps)."""
    h, u, w0 = (exact(x) for x in (problem.eigvals, problem.u, problem.w0))
    g, one = h * u, exact(np.ones(eps.size))
    E, w = u @ g, w0 * one[:, None]
    smoothed = h + exact(p.get("smoothing", 0.0))
    N = {"bngd": smoothed, "wngd": exact(np.ones(problem.dim))}.get(method, h)
    a = exact(problem.a0) * np.sqrt(w0 @ (N * w0)) / np.sqrt(w0 @ (h * w0)) * one
    b, b_a, G = 0 * w, 0 * a, one
    if method in ("sphere", "wngrad"):
        G = w0 @ w0 * one if method == "wngrad" else one
        w = w / np.sqrt(w0 @ w0)
    m, decay, eps, eps_a = (
        exact(p.get("momentum", 0.0)),
        exact(p.get("weight_decay", 0.0)),
        exact(eps),
        exact(p.get("eps_a", 1.0)),
    )
    rows = []
    for k in range(n_steps + 1):
        Hw, Nw, wg = w * h, w * N, w @ g
        s2, nu2 = (w * Hw).sum(1), (w * Nw).sum(1)
        nu = np.sqrt(nu2)
        if method == "gdnp":
            a = wg / nu
        factor, factor_a = _schedule(p, k)
        scale = one if method == "gd" else a / nu
        excess = (E - 2 * scale * wg + scale * scale * s2) / E
        eps_eff = eps / G * factor * (one if method == "gd" else scale * wg / s2)
        if method == "gdnp":
            eps_eff = one / h.max()
        row = (excess, np.sqrt((w * w).sum(1)), eps_eff, a)
        rows.append(np.array(row).astype(float))
        r = g - scale[:, None] * Hw
        if method == "gd":
            grad, grad_a = -r, 0 * a
        else:
            wr = (w * r).sum(1)
            grad, grad_a = -scale[:, None] * (r - (wr / nu2)[:, None] * Nw), -wr / nu
        if method == "gdnp":  # eps (a/sigma) q = 1/lambda_max
            w = w - (s2 / (h.max() * scale * wg))[:, None] * grad
            continue
        b, b_a = m * b + grad + decay * w, m * b_a + grad_a
        w, a = w - (eps / G * factor)[:, None] * b, a - eps_a * factor_a * b_a
        if method == "sphere":
            w = w / np.sqrt((w * w).sum(1))[:, None]
        if method == "wngrad":
            G = G + eps * eps / G * (grad * grad).sum(1)
    found = np.array(rows).swapaxes(0, 1)
    if method == "gd":
        found[3] = np.nan
    return found


def _numbers(found: FloatArray, scale: float) -> FloatArray:
    """Return log excess, log ||w||, eps_eff in units of its largest value, and arsinh(a/sqrt E), as a may diverge."""
    with np.errstate(all="ignore"):
        return np.array(
            [*np.log(np.abs(found[:2])), found[2] / np.nanmax(np.abs(found[2]), 0), np.arcsinh(found[3] / scale)]
        )


def _params(cube: Cube, method: str, unit: float, top: float) -> Params:
    """Draw the parameters of a method, each neutral in half of the problems."""

    def some(neutral: float, draw: Callable[[], float]) -> float:
        there, value = cube.unit() < 0.5, draw()
        return value if there else neutral

    p: Params = {}
    if method in ("bngd", "wngd", "sphere", "wngrad"):
        p["eps_a"] = cube.uniform(0.05, 1.9)
    if method in ("bngd", "gd"):
        p |= {
            "momentum": some(0.0, lambda: cube.uniform(0, 0.95)),
            "weight_decay": some(0.0, lambda: cube.log(1e-4, 1e-1) / unit),
            "eps_power": some(0.0, lambda: cube.uniform(0, 1)),
            "eps_factor": some(1.0, lambda: cube.uniform(0.9, 1.02)),
        }
    if method == "bngd":
        p["eps_a_power"] = some(0.0, lambda: cube.uniform(0, 1))
        p["smoothing"] = some(0.0, lambda: cube.log(1e-3, 1) * top)
    return p


def ran(cube: Cube, method: str, wrong: _Changed = lambda p: p, stated: str | None = None) -> SimpleNamespace:
    """Run a method by the engine and as printed, from the start and from starts moved by 1e-15 as well.

    `error` holds the differences of `_numbers` at every step of every cell that is not flagged. The printed update has
    the parameters that `wrong` makes of the engine's, and is that of the method `stated`, by default the same one.
    """
    problem, n_steps = draw_problem(cube, dim=(2, 5), cond=(1.5, 100)), cube.integer(1, _MOST)
    scale, top = math.sqrt(problem.explained_var), float(problem.eigvals[-1])
    if abs(problem.a0) < 1e-2 * scale:
        raise Skip  # next to the saddles a start moved by a rounding is another run
    unit = float(problem.w0 @ problem.w0 / (problem.u @ problem.u)) / top
    unit = {"gd": 1 / top, "sphere": 1 / (top * float(problem.u @ problem.u))}.get(method, unit)
    p = _params(cube, method, unit, top)
    rng = cube.rng()
    decades = (-2.0, 0.3) if method == "gd" else (-2.0, 3.0)
    eps = unit * 10 ** np.sort(rng.uniform(*decades, 1 if method == "gdnp" else _N_EPS))
    shape = (n_steps + 1, eps.size)

    def engine(w_unit: float, u_unit: float) -> tuple[FloatArray, Any]:
        """Run the method in other units of w and of u, which for GD are the same."""
        w_unit, rate_unit = (u_unit, 1.0) if method == "gd" else (w_unit, (w_unit / u_unit) ** 2)
        rate_unit = u_unit**-2 if method == "sphere" else rate_unit
        other = OLSProblem(problem.eigvals, u_unit * problem.u, w_unit * problem.w0, u_unit * problem.a0)
        axes: Params = {} if method == "gdnp" else {"eps": rate_unit * eps}
        own = p | ({"weight_decay": p["weight_decay"] / rate_unit} if "weight_decay" in p else {})
        steps = list(range(n_steps + 1))
        ds = sweep(other, method=method, n_steps=n_steps, record=steps, progress=False, **axes, **own)
        columns = [np.broadcast_to(ds[name].values.reshape(n_steps + 1, -1), shape) for name in _NAMES]
        flagged = ds.by_rounding.values.reshape(shape) if "by_rounding" in ds else np.zeros(shape, bool)
        norm_unit = 1.0 if method in ("sphere", "wngrad") else w_unit
        columns[1], columns[3] = columns[1] / norm_unit, columns[3] / u_unit
        return _numbers(np.array(columns), scale), flagged

    found, flagged = engine(1.0, 1.0)
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(found - engine(*_OTHER)[0]))
    flagged = flagged | (apart > _AGREE).any(0)
    asked = wrong(p)
    shown = _numbers(printed(problem, stated or method, eps, asked, n_steps), scale)
    others = [printed(moved_start(problem, rng), stated or method, eps, asked, n_steps) for _ in range(_TRIALS)]
    with np.errstate(invalid="ignore"):  # 0 and its logarithm
        changed = [np.abs(_numbers(other, scale) - shown) for other in others]
    seen = np.isfinite(found[:3]).all(0) & ~flagged & (shown[0] > math.log(_LEAST))
    if not seen.any():
        raise Skip
    numbers = slice(0, 3 if method == "gd" else 4)
    return SimpleNamespace(
        error=np.abs(found - shown)[numbers, seen], allowed=_DIGITS + _TIMES * np.max(changed, 0)[numbers, seen]
    )


# -------------------------------------------------------------------- mini-batches


@many_digits
def printed_minibatches(i: SimpleNamespace, w0: FloatArray) -> FloatArray:
    """Return excess, ||w|| and a of mini-batch BN, as printed, from the rows of the sample."""
    Z, y, w, a = exact(i.Z), exact(i.y), exact(w0), exact(i.problem.a0)
    H, g = Z.T @ Z / len(y), Z.T @ y / len(y)
    E = exact(i.problem.u) @ g
    eps, eps_a, decay = (exact(i.asked[name]) for name in ("eps", "eps_a", "weight_decay"))
    rows = []
    for k in range(len(i.batches) + 1):
        sigma = np.sqrt(w @ H @ w)
        rows.append([float((E - 2 * a * (w @ g) / sigma + a * a) / E), float(np.sqrt(w @ w)), float(a)])
        if k == len(i.batches):
            break
        B = i.batches[k]
        X, m = Z[B] - Z[B].sum(0) / len(B), len(B)
        z = X @ w
        s, z_hat = np.sqrt(z @ z / m), batch_norm(Z[B] @ w)
        error = a * z_hat - y[B]
        along = (error @ z_hat) / m
        # through mean and variance of the batch
        back = a / s * (error - error.sum() / m - z_hat * along)
        factor, factor_a = _schedule(i.asked, k)
        w, a = w - eps * factor * (X.T @ back / m + decay * w), a - eps_a * factor_a * along
    return np.array(rows)


def ran_on_batches(cube: Cube, wrong: _Changed = lambda p: p, whole: bool = False) -> SimpleNamespace:
    """Run mini-batch BN by the engine and as printed, on the same batches (as printed with `whole`: on all rows)."""
    n, d, size, n_steps = cube.integer(8, 20), cube.integer(2, 4), cube.integer(3, 8), cube.integer(1, 30)
    eps, noise = cube.log(1e-2, 1e2), cube.log(1e-2, 3)
    p: Params = {
        "eps_a": cube.uniform(0.05, 1.9), "eps_power": max(0.0, cube.uniform(-1, 1)),
        "eps_a_power": max(0.0, cube.uniform(-1, 1)), "weight_decay": cube.log(1e-4, 0.1),
    }  # fmt: skip
    rng = cube.rng()
    X = rng.standard_normal((n, d)) * np.geomspace(1, 3, d)
    problem = OLSProblem.from_samples(X, X @ rng.standard_normal(d) + noise * rng.standard_normal(n))
    if problem.dim < d or abs(problem.a0) < 1e-2 * math.sqrt(problem.explained_var):
        raise Skip
    assert problem.sample is not None
    p["eps"] = eps / problem.explained_var
    p["weight_decay"] /= p["eps"]
    i = SimpleNamespace(problem=problem, Z=problem.sample.Z, y=problem.sample.y, asked=wrong(p))
    i.batches = np.array([rng.permutation(n)[:size] for _ in range(n_steps)])
    ds = run(problem, "minibatch", n_steps=n_steps, batches=i.batches, **p)
    if whole:
        i.batches = np.tile(np.arange(n), (n_steps, 1))
    scale = math.sqrt(problem.explained_var)
    with np.errstate(all="ignore"):
        engine = np.array([np.log(ds.excess.values), np.log(ds.w_norm.values), ds.a.values / scale])

    def shown(w0: FloatArray) -> FloatArray:
        excess, norm, a = printed_minibatches(i, w0).T
        with np.errstate(all="ignore"):
            return np.array([np.log(excess), np.log(norm), a / scale])

    here = shown(problem.w0)
    apart = [np.abs(shown(moved_start(problem, rng).w0) - here) for _ in range(_TRIALS)]
    seen = np.isfinite(engine).all(0) & (here[0] > math.log(_LEAST))
    i.error, i.allowed = np.abs(engine - here)[:, seen], _DIGITS + _TIMES * np.max(apart, 0)[:, seen]
    return i


# -------------------------------------------------------------------- rates


def _rates(cube: Cube, remembered: float = 1.0, normalizer: str | None = None) -> SimpleNamespace:
    """Measured contraction ratios of a method, and the factors of its linearisation at the effective rate it ends at.

    In theory the momentum counts `remembered` times, and the normalizer may be another one: both for false variants.
    """
    method = ("gd", "bngd", "wngd", "gdnp")[cube.integer(0, 3)]
    problem, m = draw_problem(cube, dim=(2, 6), cond=(1.5, 20)), cube.uniform(0, 0.9)
    h, top = problem.eigvals, float(problem.eigvals[-1])
    delta, eps_a = max(0.0, cube.uniform(-1, 1)) * top, cube.uniform(0.1, 1.5)
    unit = 1 / top if method == "gd" else float(problem.w0 @ problem.w0 / (problem.u @ problem.u)) / top
    p: Params = {} if method == "gdnp" else {"eps": unit * 10 ** cube.rng().uniform(-1, 0.2, 4)}
    m = m if method in ("gd", "bngd") else 0.0
    if method in ("gd", "bngd"):
        p["momentum"] = m
    if method == "bngd":
        p |= {"eps_a": eps_a, "smoothing": delta}
    if method == "wngd":
        p["eps_a"] = eps_a = min(eps_a, 0.5) / top
    ds = sweep(problem, method=method, n_steps=10_000, progress=False, **p)
    found, eps_eff = np.atleast_1d(ds.rate_sim.values), np.atleast_1d(ds.eps_eff.values)
    settled = np.isfinite(found)
    if not settled.any():
        raise Skip
    N = {"H": h, "smoothed": h + delta, "I": np.ones(problem.dim)}[
        normalizer or {"wngd": "I", "gdnp": "H"}.get(method, "smoothed")
    ]
    theory = [
        _largest_factor(
            problem, N, rate, None if method == "gd" else 1.0 if method == "gdnp" else eps_a, remembered * m
        )
        for rate in eps_eff[settled]
    ]
    return SimpleNamespace(theory=np.array(theory), found=found[settled])


def _largest_factor(problem: OLSProblem, N: FloatArray, rate: float, eps_a: float | None, m: float) -> float:
    """Return the largest factor a step near a minimiser: of GD without `eps_a`, else with the normalizer diag(N)."""
    h, u, half = problem.eigvals, problem.u, np.sqrt(problem.eigvals)
    if eps_a is None:
        mu = np.asarray(rate * h)
    else:
        uu, t = np.outer(u, u), N * u / (u @ (N * u))
        inner = rate * (np.eye(u.size) - np.outer(u, t) - np.outer(t, u) + (t @ t) * uu) + eps_a * uu / (u @ (N * u))
        mu = np.asarray(np.linalg.eigvalsh(half[:, None] * inner * half), np.float64)
    return float(np.abs(factors(mu, m)).max())


_RUNS = (
    f"{PROBLEMS}, d <= 5, cond <= 100; {_N_EPS} eps, 1 to {_MOST} steps, all of them compared where the same run in "
    "other units agrees to 1e-10; parameters neutral in half of the problems each; moved: the largest change in "
    f"{_TRIALS} trials"
)

chapter = Chapter(_RUNS=_RUNS, _TRIALS=str(_TRIALS))


@chapter.claim("olsbn.engine-bngd", "upper", lambda cube: ran(cube, "bngd"), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """The engine of BNGD, with momentum, decay, schedules and smoothing, is the printed update: it agrees with that in
    100 digits to nine of them, or to 100 times what a start moved by 1e-15 makes.
    Formula: |Delta log excess|, |Delta log ||w|||, |Delta eps_hat|/max|eps_hat|, |Delta arsinh(a/sqrt E)| <=
    1e-9 + 100 moved
    Problems: {_RUNS}
    """
    return i.allowed, i.error


@chapter.claim("olsbn.engine-gd", "upper", lambda cube: ran(cube, "gd"), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """So is that of GD, with momentum, decay and schedules.
    Formula: |Delta log excess|, |Delta log ||w|||, |Delta eps|/max|eps| <= 1e-9 + 100 moved
    Problems: {_RUNS}
    """
    return i.allowed, i.error


@chapter.claim("olsbn.engine-wngd", "upper", lambda cube: ran(cube, "wngd"), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """So is that of weight normalization, which starts with the prediction that BN starts with.
    Formula: as olsbn.engine-bngd,  a_0 = the problem's times ||w_0||/sigma_0
    Problems: {_RUNS}
    """
    return i.allowed, i.error


@chapter.claim("olsbn.engine-gdnp", "upper", lambda cube: ran(cube, "gdnp"), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """So is that of GDNP.
    Formula: as olsbn.engine-bngd,  w+ = w + He/(lambda_max q), a = w'g/sigma
    Problems: {_RUNS}
    """
    return i.allowed, i.error


@chapter.claim("olsbn.engine-sphere", "upper", lambda cube: ran(cube, "sphere"), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """So is that of BNGD on the unit sphere.
    Formula: as olsbn.engine-bngd,  w_0 and each w+ over its norm
    Problems: {_RUNS}
    """
    return i.allowed, i.error


@chapter.claim("olsbn.engine-wngrad", "upper", lambda cube: ran(cube, "wngrad"), n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """So is that of WNGrad.
    Formula: as olsbn.engine-bngd,  w_0 over its norm, eps/G for eps, G+ = G + (eps^2/G) ||gradient||^2, G_0 = ||w_0||^2
    Problems: {_RUNS}
    """
    return i.allowed, i.error


@chapter.claim("olsbn.engine-minibatch", "upper", ran_on_batches, n_random=12, n_search=12)
def _(i: SimpleNamespace) -> Comparison:
    """So is that of mini-batch BN, with decay and schedules, on the rows of a sample.
    Formula: |Delta log excess|, |Delta log ||w|||, |Delta a|/sqrt(E) <= 1e-9 + 100 moved
    Problems: samples of 8..20 rows, d in 2..4, batches of 3..8, eps over 4 decades, eps_a in 0.05..1.9, 1 to 30 steps;
    moved: the largest change in {_TRIALS} trials
    """
    return i.allowed, i.error


def _printed_with(method: str, changed: _Changed) -> Callable[[Cube], SimpleNamespace]:
    """Return an instance in which the printed update has other parameters than the engine."""
    return lambda cube: ran(cube, method, lambda p: p | changed(p))


@chapter.claim("olsbn.engine-rates", "tight", _rates, n_random=12, n_search=8)
def _(i: SimpleNamespace) -> Comparison:
    """The engine of every method converges at the rate of its linearisation: GD and BNGD with momentum, smoothed BN,
    weight normalization and GDNP.
    Formula: rate -> max |z|,  z^2 - (1 + m - mu) z + m = 0,  mu of eps H (GD) or as in olsbn.normalizer-rate at the
    effective rate that the run ends at
    Problems: {PROBLEMS}, d <= 6, cond <= 20; m in 0..0.9, delta up to lambda_max, 4 eps over 1.2 decades, 10000 steps
    """
    return i.theory, i.found, RATE * i.found


_false = chapter.variants
FALSE = {
    "momentum is forgotten": _false("olsbn.engine-bngd", instance=_printed_with("bngd", lambda p: {"momentum": 0.0})),
    "smoothing is forgotten": _false("olsbn.engine-bngd", instance=_printed_with("bngd", lambda p: {"smoothing": 0.0})),
    "decay is forgotten": _false("olsbn.engine-bngd", instance=_printed_with("bngd", lambda p: {"weight_decay": 0.0})),
    "the exponential schedule is forgotten": _false(
        "olsbn.engine-bngd", instance=_printed_with("bngd", lambda p: {"eps_factor": 1.0})
    ),
    "the scale's schedule is that of the weights": _false(
        "olsbn.engine-bngd", instance=_printed_with("bngd", lambda p: {"eps_a_power": p["eps_power"]})
    ),
    "rates without momentum": _false("olsbn.engine-rates", instance=lambda cube: _rates(cube, remembered=0.0)),
    "rates by H* for every normalizer": _false(
        "olsbn.engine-rates", instance=lambda cube: _rates(cube, normalizer="H")
    ),
    "GD's decay is halved": _false(
        "olsbn.engine-gd", instance=_printed_with("gd", lambda p: {"weight_decay": p["weight_decay"] / 2})
    ),
    "GD's momentum is halved": _false(
        "olsbn.engine-gd", instance=_printed_with("gd", lambda p: {"momentum": p["momentum"] / 2})
    ),
    "weight normalization has the steps of BN": _false(
        "olsbn.engine-wngd", instance=lambda cube: ran(cube, "wngd", stated="bngd")
    ),
    "weight normalization trains its scale at 1": _false(
        "olsbn.engine-wngd", instance=_printed_with("wngd", lambda p: {"eps_a": 1.0})
    ),
    "w on the sphere has the steps of BN": _false(
        "olsbn.engine-sphere", instance=lambda cube: ran(cube, "sphere", stated="bngd")
    ),
    "WNGrad projects": _false("olsbn.engine-wngrad", instance=lambda cube: ran(cube, "wngrad", stated="sphere")),
    "WNGrad has the steps of BN": _false(
        "olsbn.engine-wngrad", instance=lambda cube: ran(cube, "wngrad", stated="bngd")
    ),
    "GDNP has the steps of BN": _false("olsbn.engine-gdnp", instance=lambda cube: ran(cube, "gdnp", stated="bngd")),
    "mini-batches have no decay": _false(
        "olsbn.engine-minibatch", instance=lambda cube: ran_on_batches(cube, lambda p: p | {"weight_decay": 0.0})
    ),
    "mini-batches with the statistics of the sample": _false(
        "olsbn.engine-minibatch", instance=lambda cube: ran_on_batches(cube, whole=True)
    ),
}
