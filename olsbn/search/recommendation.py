"""Which learning rate? The one that most starts need the fewest steps with, by simulation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import FloatArray, as_count, as_real
from olsbn.dynamics.registry import BASELINE, DEFAULT, METHODS, all_params, method_named
from olsbn.problems import OLSProblem, as_problem, spectra
from olsbn.search.pytorch import pytorch_lines
from olsbn.search.tried import Tried, as_printed, default_eps, grid, stretches

if TYPE_CHECKING:
    import xarray as xr

# The part of the starts that has to arrive.
QUANTILE = 0.9
# Learning rates a decade, at first and where they are good: 115 a decade are 2 % apart.
_COARSE, _FINE = 25, 115
# The first runs take this many steps, later ones four times as many each, until some learning rate is good.
_FIRST_STEPS = 64
# Learning rates are as good as the best within this factor of its steps; the range that is told ends at the second one.
_AS_GOOD, _RANGE = 1.02, 2.0
# Wherever learning rates need at most so many times the fewest steps they are tried closely, so many decades beyond
# what theory says. Of the starts that are not searched with some need more steps than that.
_NEAR, _BEYOND, _MORE_STEPS = 2.5, 6, 1.6
# What is told is measured from so many times as many starts as the search is made with: the learning rate that is best
# for twenty starts looks better from these than from others.
_TOLD_FROM = 5
# Above this condition number most of the steps of a table go into the units of its columns.
RAW_COND = 1e6
STANDARDIZE = "standardize the inputs, whose units make the condition number {:.2g} (standardize=True, --standardize)"

# variable -> what it is
_VARIABLES = {
    "eps_fastest": "learning rate that needs the fewest steps to the tolerance",
    "steps_fastest": "within how many steps 90 % of the starts get there, -1 where they do not",
    "eps_lower": "lower end of the range around it that needs at most twice as many steps",
    "eps_upper": "upper end of that range",
    "rate_best": "smallest contraction ratio of sqrt(excess) a step that 90 % of the starts were measured to have",
    "eps_rate_best": "learning rate that has it",
    "rate_theory_best": "best contraction ratio of any effective learning rate, attainable or not",
    "rate_attainable": "best contraction ratio of the effective learning rates that these starts attain",
    "note": "why a number is missing, and what to do",
}


def recommend(
    problem: OLSProblem,
    tol: float = 1e-6,
    n_steps: int = 10_000,
    starts: int = 20,
    *,
    methods: Sequence[str] = (BASELINE, DEFAULT),
    workers: int | None = None,
    params: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> xr.Dataset:
    r"""Find the learning rates that need the fewest steps from most starts, by simulation.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    tol : float, optional
        Relative excess to reach, in [1e-290, 1).
    n_steps : int, optional
        The most steps to spend, >= 1.
    starts : int, optional
        With how many random starts to search, >= 1 (see Notes); 1: with the problem's own start alone.
    methods : sequence of str, optional
        Iterations with a learning rate `eps`.
    workers : int, optional
        Threads. Default: one for each processor.
    params : mapping of str to float, optional
        Parameters by name in one mapping: for methods of other packages, whose names no editor knows.
    **keywords : float
        Further parameters, as in `sweep`: numbers, each for those of the methods that have it.

    Returns
    -------
    xarray.Dataset
        Over `algorithm`: `eps_fastest`, `steps_fastest`, `eps_lower` and `eps_upper` (the range around it that needs at
        most twice as many steps), `rate_best`, `eps_rate_best`, `rate_theory_best` and `rate_attainable`. Where
        something is missing (NaN, steps -1), `note` says why. ``attrs["pytorch"]`` has lines to type in PyTorch for
        BNGD (`olsbn.search.pytorch.pytorch_lines`), ``attrs["start"]`` for which starts all this is.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above.

    Notes
    -----
    Simulated. A learning rate takes as many steps as 90 % of the starts need: it is searched for with `starts` random
    starts, and what is told is measured from five times as many, because a learning rate that is best for twenty starts
    looks better from these than from others. Random starts have the norm of the problem's own (1 where it was not
    given), a direction that is uniform over the inputs, and the best scale a0 (the problem's own a0 where that is not
    the best one).

    Advice has to survive rounding. A run that rounding may have decided before it reaches the tolerance (`by_rounding`)
    counts as one that does not get there. And where the effective rate is above its edge for long, a plain loop in
    float32 would lose the run: its rounding of w grows until it is seen, though the simulation, whose rounding is
    relative to each mode, and exact arithmetic do not show it. Learning rates where that happens for more than 2 % of
    the starts are left out. (Asymptotic; diabetes: plain loops in float64 need twice the steps from where a rounding
    error may grow by 1e12.5 on, which is where it reaches the tolerance.)

    Learning rates are tried as the six digits that are printed, 25 a decade over everything that theory says happens
    and beyond it while they are good, then 2 % apart wherever they need at most 2.5 times the fewest steps, where a
    learning rate counts with its two neighbours. `eps_fastest` is the one in the geometric middle of the widest stretch
    within 2 % of the fewest steps. No learning rate that was tried in the range needs more than twice `steps_fastest`.
    A needle or a hole narrower than 2 % may be missed.

    The best rate is measured at the end of runs of `n_steps` steps from `starts` starts, as the 90 % quantile too; a
    slow contraction needs more steps to settle. The theoretical rates are asymptotic: a run whose slowest mode has
    hardly any of the start may contract better for as long as it is watched. GD attains `rate_theory_best`. BNGD cannot
    choose its effective learning rate: it settles at what follows from eps and the start,
    `EffectiveRateRegimes.attainable` or less. Both are NaN where the parameters are not neutral.

    Cost: for each method and start O(d) times steps times some 500 learning rates that end as soon as the best ones
    have; for the rate some 100 run all `n_steps` steps.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("linspace", dim=10, cond=20.0)
    >>> found = olsbn.recommend(problem, tol=1e-6, n_steps=2000)
    >>> found.algorithm.values.tolist(), bool((found.eps_lower <= found.eps_fastest).all())
    (['gd', 'bngd'], True)
    >>> own = olsbn.recommend(problem, n_steps=2000, starts=1).sel(algorithm="bngd")
    >>> run = olsbn.run_bngd(problem, eps=float(own.eps_fastest), n_steps=2000, tol=1e-6)
    >>> run.attrs["steps_to_tol"] == own.steps_fastest.item()
    True
    """
    import xarray as xr

    as_problem(problem)
    params = all_params(params, keywords)
    tol, n_steps = as_real("tol", tol), as_count("n_steps", n_steps, minimum=1)
    if not schema.EXCESS_FLOOR <= tol < 1:
        raise ValueError(f"tol must lie in [{schema.EXCESS_FLOOR:g}, 1), got {tol!r}")
    starts = as_count("starts", starts, minimum=1)
    begun = started(problem, starts if starts == 1 else _TOLD_FROM * starts)
    searches = {
        name: _search(begun, name, tol, n_steps, settings, workers)
        for name, settings in shared(methods, params).items()
    }
    rows = [_recommend_one(problem, search) for search in searches.values()]
    columns = {
        name: ("algorithm", np.array([row[name] for row in rows]), {"long_name": text} | _units(name))
        for name, text in _VARIABLES.items()
    }
    attrs = {
        "title": f"Learning rates for {problem.label}", "tol": tol, "n_steps": n_steps, "starts": starts,
        "start": _whose(problem, starts), "problem": problem.label, "problem_fingerprint": problem.fingerprint,
        **params,
    }  # fmt: skip
    advice = next((row for row in zip(searches, rows, strict=True) if row[0] == DEFAULT), None)
    attrs["pytorch"] = ""
    if advice is not None and advice[1]["steps_fastest"] >= 0:
        given = shared([DEFAULT], params)[DEFAULT]
        attrs["pytorch"] = pytorch_lines(_n_inputs(problem), advice[1]["eps_fastest"], _norm(problem), given)
    return xr.Dataset(columns, coords={"algorithm": list(searches)}, attrs=attrs)


def _norm(problem: OLSProblem) -> float:
    """Return the norm of the start, 1 where it is that but for rounding."""
    norm = math.hypot(*problem.w0, problem.w0_null_norm)
    return 1.0 if abs(norm - 1) < 1e-12 else norm


def _n_inputs(problem: OLSProblem) -> int:
    return problem.dim if problem.sample is None else problem.sample.basis.shape[0]


def _whose(problem: OLSProblem, starts: int) -> str:
    """Return in words for which starts the advice is."""
    if starts == 1:
        return "the problem's own"
    return (
        f"9 of 10 random ones get there: w of norm {_norm(problem):.6g} in any direction, no bias, the scale a at its "
        f"best; measured from {_TOLD_FROM * starts}"
    )


def fastest(problem: OLSProblem, method: str, tol: float, n_steps: int, **params: Any) -> tuple[float, int]:
    """Return the learning rate that needs the fewest steps from the problem's own start, and how many; NaN, -1."""
    search = _search([problem], method, tol, n_steps, params, None)
    search.look()
    return search.fastest()


def shared(methods: Sequence[str], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give each parameter to those of the methods that have it; one that none has goes to all, which refuse it."""
    known = {name: method_named(name).settings for name in methods}
    stray = {key for key in params if not any(key in settings for settings in known.values())}
    return {
        name: {key: value for key, value in params.items() if key in stray or key in settings}
        for name, settings in known.items()
    }


def started(problem: OLSProblem, n: int) -> list[OLSProblem]:
    """Return the problem with n random starts of its own norm, the same ones at every call; itself for n = 1.

    A direction is drawn over the inputs, so that of a problem of lower rank a part lies where nothing moves, as it does
    for whoever starts there.
    """
    if n == 1:
        return [problem]
    n_inputs, norm = _n_inputs(problem), _norm(problem)
    own = OLSProblem(problem.eigvals, problem.u, problem.w0)
    a0 = None if problem.a0 == own.a0 else problem.a0
    found: list[OLSProblem] = []
    for k in range(n):
        w0 = norm * spectra.sphere(n_inputs, 0, "recommend", k)
        rest = math.hypot(*w0[problem.dim :])
        fields: dict[str, Any] = {
            "a0": a0,
            "target_var": problem.target_var,
            "w0_null_norm": rest,
            "sample": problem.sample,
        }
        found.append(OLSProblem(problem.eigvals, problem.u, w0[: problem.dim], **fields))
    return found


def _units(name: str) -> dict[str, str]:
    return {} if name == "note" else {"units": "1"}


def _search(
    starts: Sequence[OLSProblem], method: str, tol: float, n_steps: int, params: Mapping[str, Any], workers: int | None
) -> _Search:
    for name, value in params.items():
        if name == "eps":
            raise ValueError("eps must be left out: it is what is looked for")
        if np.ndim(value) and name in METHODS[method].settings:
            raise ValueError(f"{name} must be a number, got an array of shape {np.shape(value)}")
    if "eps" not in METHODS[method].settings:
        raise ValueError(f"methods must have a learning rate eps, got {method!r}")
    few = Tried(starts[: max(len(starts) // _TOLD_FROM, 1)], method, tol, n_steps, params, workers)
    return _Search(few, Tried(starts, method, tol, n_steps, params, workers), params)


def _recommend_one(problem: OLSProblem, search: _Search) -> dict[str, Any]:
    tried, row, notes = search.tried, dict[str, Any](), []
    search.look()
    row["eps_fastest"], row["steps_fastest"] = search.fastest()
    row["eps_lower"], row["eps_upper"] = search.range_around(row["eps_fastest"], row["steps_fastest"])
    if row["steps_fastest"] < 0:
        notes.append(
            f"no learning rate reaches {tried.tol:g} within {tried.n_steps} steps: {search.what_to_do(problem)}"
        )
    row["eps_rate_best"], row["rate_best"] = search.best_rate()
    if math.isnan(row["rate_best"]) and search.neutral and not notes:
        notes.append(f"no run of {tried.n_steps} steps came to a steady rate: try more steps")
    rates = [METHODS[tried.method].theory.best_rates(start) for start in search.few.starts] if search.neutral else []
    for name, values in (
        ("rate_theory_best", [x.best for x in rates]),
        ("rate_attainable", [x.attained for x in rates]),
    ):
        row[name] = _quantile(np.array(values)[:, None])[0] if rates else math.nan
    row["note"] = "; ".join(notes)
    return row


def is_raw(problem: OLSProblem) -> bool:
    """Whether a problem is a table that was not standardized, with a condition number that tells of its units."""
    units = problem.sample.units if problem.sample is not None else None
    return units is not None and problem.cond > RAW_COND and bool((units.X_scale == 1).all())


def _quantile(values: FloatArray) -> FloatArray:
    """Return the quantile over the starts, the first axis, of numbers that may be inf."""
    at = max(math.ceil(QUANTILE * len(values) - 1e-9), 1) - 1
    return np.sort(values, axis=0)[at]


def _fewest(tried: Tried) -> float:
    """Return the fewest steps of a learning rate and its neighbours; where only needles arrive, those of a needle."""
    needed = np.concatenate([[np.inf], tried.needed(QUANTILE), [np.inf]])
    robust = np.maximum(np.maximum(needed[:-2], needed[1:-1]), needed[2:])
    return float(robust.min(initial=math.inf) if np.isfinite(robust).any() else needed.min())


class _Search:
    """The search for one method: with some of the starts for where to look, with all for what is told."""

    def __init__(self, few: Tried, tried: Tried, params: Mapping[str, Any]) -> None:
        self.few, self.tried = few, tried
        known = METHODS[tried.method].settings
        self.neutral = all(name in known and value == known[name].default for name, value in params.items())

    def what_to_do(self, problem: OLSProblem) -> str:
        """Return what helps where the steps do not do."""
        if is_raw(problem):
            return STANDARDIZE.format(problem.cond)
        return "try more steps" if self.neutral else "try more steps, or less decay"

    def look(self) -> None:
        """Try everything that theory says happens, then closely wherever it is good."""
        few = self.few
        low, high = default_eps(few.starts[0], few.n_steps, few.tol)[[0, -1]]
        most = few.n_steps if few.at_once else min(_FIRST_STEPS, few.n_steps)
        while True:
            few.forget()
            few.look(as_printed(grid(low, high, _COARSE)), most)
            enough = min(_NEAR * _fewest(few), few.n_steps)
            if most >= enough:
                break
            most = int(min(max(4 * most, 0 if math.isinf(enough) else enough), few.n_steps))
        if math.isinf(_fewest(few)):
            return
        for _ in range(_BEYOND):
            best, needed, (low, high) = _NEAR * _fewest(few), few.needed(QUANTILE), few.eps[[0, -1]]
            if needed[0] <= best and low > 1e-290:
                few.look(as_printed(grid(low / 10, low, _COARSE)), best)
            if needed[-1] <= best and high < 1e290:
                few.look(as_printed(grid(high, high * 10, _COARSE)), best)
        best = _NEAR * _fewest(few)
        near = few.needed(QUANTILE) <= best
        gaps = np.flatnonzero(near[1:] | near[:-1])
        closely = np.concatenate([few.eps[gaps], few.eps[gaps + 1], *(few.between(int(k), 1 / _FINE) for k in gaps)])
        self.tried.look(as_printed(np.unique(closely)), _MORE_STEPS * best, noise=True)

    def fastest(self) -> tuple[float, int]:
        """Return the middle of the widest stretch within 2 % of the fewest steps, and its steps; NaN, -1 for none."""
        eps, needed, fewest = self.tried.eps, self.tried.needed(QUANTILE), _fewest(self.tried)
        if math.isinf(fewest):
            return math.nan, -1
        found = stretches(needed <= _AS_GOOD * fewest)
        first, last = max(found, key=lambda at: (eps[at[1]] / eps[at[0]], -at[0]))
        middle = math.sqrt(eps[first]) * math.sqrt(eps[last])
        at = first + int(np.argmin(np.abs(np.log(eps[first : last + 1] / middle))))
        return float(eps[at]), int(needed[at])

    def range_around(self, eps: float, steps: int) -> tuple[float, float]:
        """Return the ends of the stretch around a learning rate that needs at most twice its steps."""
        if steps < 0:
            return math.nan, math.nan
        tried = self.tried
        at = int(np.flatnonzero(tried.eps == eps)[0])
        good = stretches(tried.needed(QUANTILE) <= _RANGE * steps)
        first, last = next((first, last) for first, last in good if first <= at <= last)
        return float(tried.eps[first]), float(tried.eps[last])

    def best_rate(self) -> tuple[float, float]:
        """Return the learning rate whose runs contract best at the end, and its ratio; NaN where none is measured."""
        tried, fewest = self.few, _fewest(self.few)
        good = tried.eps[tried.needed(QUANTILE) <= _RANGE * fewest] if fewest < math.inf else tried.eps
        ends = good[[0, -1]] / [10**0.5, 10**-0.5]
        eps, best = as_printed(np.geomspace(ends[0], ends[1], 64)), (math.nan, math.nan)
        for _ in range(3):
            eps = np.unique(eps)
            ratios = []
            for ds in tried.sweeps(eps, tried.n_steps, "steps"):
                steady = ds["status"].isin([schema.Status.CONVERGED, schema.Status.MAX_STEPS]).values
                rate = ds["rate_sim"].values
                ratios.append(np.where(steady & (rate < 1), rate, np.inf))
            rates = _quantile(np.stack(ratios))
            i = int(rates.argmin())
            if not rates[i] < np.inf:
                return best
            if not rates[i] >= best[1]:
                best = float(eps[i]), float(rates[i])
            eps = as_printed(np.geomspace(eps[max(i - 1, 0)], eps[min(i + 1, eps.size - 1)], 18))
        return best
