"""Which learning rate? By simulation: the one that needs the fewest steps, and the one that contracts best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn import schema
from olsbn._validate import FloatArray, as_count, as_real
from olsbn.dynamics.registry import BASELINE, DEFAULT, METHODS
from olsbn.maps import default_eps
from olsbn.problems import OLSProblem, as_problem
from olsbn.sweeps.running import sweep

if TYPE_CHECKING:
    import xarray as xr

# Learning rates a decade of the first look, and how many of the best ones are looked at closer, seven more to either
# side, in each of the rounds. On the plateau of eps_eff the number of steps jumps from one learning rate to the next:
# that is why it takes many.
_A_DECADE, _CLOSER, _ROUNDS = 50, 48, 4
_BETWEEN = np.arange(1, 8) / 8
# Learning rates a decade, and steps, at which minima of the excess are looked for.
_DIPS, _AT_STEPS = 200, 12
# The first look takes this many steps, and four times as many until some learning rate has got there.
_FIRST_STEPS = 64

# variable -> what it is
_VARIABLES = {
    "eps_fastest": "learning rate that needs the fewest steps to the tolerance",
    "steps_fastest": "how many it needs, -1 where none gets there",
    "eps_lower": "lower end of the range around it that needs at most twice as many steps",
    "eps_upper": "upper end of that range",
    "rate_best": "smallest contraction ratio of sqrt(excess) a step that was measured at the end of a run",
    "eps_rate_best": "learning rate that has it",
    "rate_theory_best": "best contraction ratio of any effective learning rate, attainable or not",
    "rate_attainable": "best contraction ratio of the effective learning rates that this start attains (lower bound)",
    "note": "why a number is missing, and what to do",
}


def recommend(
    problem: OLSProblem,
    tol: float = 1e-6,
    n_steps: int = 10_000,
    *,
    methods: Sequence[str] = (BASELINE, DEFAULT),
    workers: int | None = None,
) -> xr.Dataset:
    r"""Find the learning rates that need the fewest steps, and those that contract best at the end, by simulation.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    tol : float, optional
        Relative excess to reach, in [1e-290, 1).
    n_steps : int, optional
        The most steps to spend, >= 1.
    methods : sequence of str, optional
        Iterations, their further parameters at their defaults (so ``eps_a = 1`` for BNGD).
    workers : int, optional
        Threads. Default: one for each processor.

    Returns
    -------
    xarray.Dataset
        Over `method`: `eps_fastest`, `steps_fastest`, `eps_lower` and `eps_upper` (the range around it that needs at
        most twice as many steps), `rate_best`, `eps_rate_best`, `rate_theory_best` and `rate_attainable`. Where
        something is missing (NaN, steps -1), `note` says why.

    Raises
    ------
    ValueError, TypeError
        For arguments outside the ranges above.

    Notes
    -----
    Simulated: 50 learning rates a decade over everything that theory says happens (`olsbn.maps.default_eps`), then four
    rounds of finer ones around the best, and around minima of the excess over the learning rate some steps earlier: on
    the plateau of the effective learning rate the number of steps jumps between neighbouring learning rates, and the
    fewest may be a needle, a thousandth of a decade wide; the range within a factor 2 tells. Held against 6001 learning
    rates on a grid, for 40 problems of five kinds with d from 3 to 300 and cond from 10 to 1e4: none was faster. Cells
    decided by rounding (`by_rounding`) do not count, though some are faster.

    The best rate is measured on runs of `n_steps` steps; a slow contraction needs more to settle. GD attains
    `rate_theory_best`. BNGD cannot choose its effective learning rate: it settles at what follows from eps and the
    start. Both its theoretical rates are lower bounds; `rate_attainable` is the tighter one, with what
    `EffectiveRateRegimes.attainable` says.

    Cost: for BNGD O(d) times steps times some 3000 cells that end as soon as the best ones have; for the rate some 200
    cells run all `n_steps` steps.

    Examples
    --------
    >>> import olsbn
    >>> problem = olsbn.OLSProblem.from_spectrum("linspace", dim=10, cond=20.0)
    >>> found = olsbn.recommend(problem, tol=1e-6, n_steps=2000)
    >>> found.method.values.tolist(), bool((found.eps_lower <= found.eps_fastest).all())
    (['gd', 'bngd'], True)
    >>> run = olsbn.run_bngd(problem, eps=float(found.eps_fastest.sel({"method": "bngd"})), n_steps=2000, tol=1e-6)
    >>> run.attrs["steps_to_tol"] == found.steps_fastest.sel({"method": "bngd"}).item()
    True
    """
    import xarray as xr

    as_problem(problem)
    tol, n_steps = as_real("tol", tol), as_count("n_steps", n_steps, minimum=1)
    if not schema.EXCESS_FLOOR <= tol < 1:
        raise ValueError(f"tol must lie in [{schema.EXCESS_FLOOR:g}, 1), got {tol!r}")
    rows = [_recommend_one(_Looks(problem, method, tol, n_steps, workers)) for method in methods]
    columns = {
        name: ("method", np.array([row[name] for row in rows]), {"long_name": text} | _units(name))
        for name, text in _VARIABLES.items()
    }
    attrs = {
        "title": f"Learning rates for {problem.label}", "tol": tol, "n_steps": n_steps, "problem": problem.label,
        "problem_fingerprint": problem.fingerprint,
    }  # fmt: skip
    return xr.Dataset(columns, coords={"method": list(methods)}, attrs=attrs)


def _units(name: str) -> dict[str, str]:
    return {} if name == "note" else {"units": "1"}


def _recommend_one(looks: _Looks) -> dict[str, Any]:
    looks.first()
    looks.closer()
    looks.needles()
    row: dict[str, Any] = dict.fromkeys(
        ("eps_fastest", "eps_lower", "eps_upper", "rate_best", "eps_rate_best"), math.nan
    )
    row["steps_fastest"], notes = -1, []
    if looks.fewest < math.inf:
        row["eps_fastest"], row["steps_fastest"] = looks.fastest, int(looks.fewest)
        row["eps_lower"], row["eps_upper"] = looks.range_within(2.0)
    else:
        notes.append(f"no learning rate reaches {looks.tol:g} within {looks.n_steps} steps: try more steps")
    row["eps_rate_best"], row["rate_best"] = looks.best_rate()
    if math.isnan(row["rate_best"]):
        notes.append(f"no run of {looks.n_steps} steps came to a steady rate: try more steps")
    theory = METHODS[looks.method].theory.best_rates(looks.problem)
    row["rate_theory_best"], row["rate_attainable"] = theory.best, theory.attained
    row["note"] = "; ".join(notes)
    return row


class _Looks:
    """Steps to the tolerance over the learning rate, for one method: looked at first on a grid, then closer."""

    def __init__(
        self,
        problem: OLSProblem,
        method: str,
        tol: float,
        n_steps: int,
        workers: int | None,
        params: dict[str, Any] | None = None,
    ) -> None:
        self.problem, self.method, self.tol, self.n_steps, self._workers = problem, method, tol, n_steps, workers
        self._params = params or {}
        self.eps, self.steps = np.empty(0), np.empty(0)

    def _sweep(self, eps: FloatArray, n_steps: int, stop: str, record: Any = None) -> xr.Dataset:
        return sweep(
            self.problem, method=self.method, eps=eps, n_steps=n_steps, tol=self.tol, stop=stop, workers=self._workers,
            progress=False, record=record, **self._params,
        )  # fmt: skip

    def _look(self, eps: FloatArray, most: float) -> None:
        """Learn of more learning rates how many steps they need, inf where it is more than `most`."""
        eps = np.setdiff1d(eps, self.eps)
        if not eps.size:
            return
        ds = self._sweep(eps, int(min(most, self.n_steps)), "tol")
        steps = ds["steps_to_tol"].values.astype(float)
        steps[steps < 0] = np.inf
        if "by_rounding" in ds:  # what only many digits decide is no recommendation
            steps[ds["by_rounding"].values.astype(bool)] = np.inf
        order = np.argsort(eps := np.concatenate([self.eps, eps]))
        self.eps, self.steps = eps[order], np.concatenate([self.steps, steps])[order]

    @property
    def fewest(self) -> float:
        return float(self.steps.min())

    @property
    def fastest(self) -> float:
        """The middle one of neighbours that need the fewest steps."""
        best = np.flatnonzero(self.steps == self.fewest)
        runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
        longest = max(runs, key=lambda run: self.eps[run[-1]] / self.eps[run[0]])
        return float(self.eps[longest[len(longest) // 2]])

    def first(self) -> None:
        """Look at everything that theory says happens, with more and more steps until something has got there."""
        ends = default_eps(self.problem, self.n_steps, self.tol)[[0, -1]]
        grid = np.geomspace(ends[0], ends[1], math.ceil(_A_DECADE * math.log10(ends[1] / ends[0])) + 1)
        most = min(_FIRST_STEPS, self.n_steps)
        while True:
            self.eps = self.steps = np.empty(0)
            self._look(grid, most)
            # twice the fewest, for the range, and for what is just beside a needle
            enough = min(2 * self.fewest, self.n_steps)
            if most >= enough:
                return
            most = int(min(max(4 * most, 0 if math.isinf(enough) else enough), self.n_steps))

    def closer(self) -> None:
        """Look between the best ones and their neighbours, again and again."""
        for round_ in range(_ROUNDS):
            if math.isinf(self.fewest):
                return
            good = np.flatnonzero(self.steps <= (1 + 0.5**round_) * self.fewest)
            good = good[np.argsort(self.steps[good], kind="stable")][:_CLOSER]
            gaps = np.unique(np.concatenate([good - 1, good]))
            gaps = gaps[(gaps >= 0) & (gaps < self.eps.size - 1)]
            gaps = gaps[self.eps[gaps + 1] / self.eps[gaps] > 1 + 1e-6]
            low, high = np.log(self.eps[gaps])[:, None], np.log(self.eps[gaps + 1])[:, None]
            self._look(np.exp(low + (high - low) * _BETWEEN).ravel(), 2 * self.fewest)

    def needles(self) -> None:
        """Look where the excess has a minimum over the learning rate some steps before the fewest, as long as it helps.

        A mode that just passes 0 brings the excess down to the tolerance within a thousandth of a decade, which no grid
        finds; the way down to there is some thirty times wider.
        """
        while True:
            before = self.fewest
            last = int(0.97 * before) if before < math.inf else 0
            if last < 1:
                return
            eps = np.geomspace(self.eps[0], self.eps[-1], math.ceil(_DIPS * math.log10(self.eps[-1] / self.eps[0])) + 1)
            record = np.unique(np.linspace(last / 2, last, _AT_STEPS).astype(int))
            excess = self._sweep(eps, last, "steps", record=record.tolist())["excess"].transpose("step", "eps").values
            excess = np.where(excess > 0, excess, np.inf)  # not NaN
            dip = (excess[:, 1:-1] < excess[:, :-2]) & (excess[:, 1:-1] < excess[:, 2:])
            lowest = np.where(dip, excess[:, 1:-1], np.inf).min(axis=0)
            at = 1 + np.argsort(lowest)[: min(_CLOSER, int(np.isfinite(lowest).sum()))]
            low, high = np.log(eps[at - 1])[:, None], np.log(eps[at + 1])[:, None]
            self._look(np.exp(low + (high - low) * np.arange(1, 32) / 32).ravel(), 2 * before)
            if self.fewest == before:
                return
            self.closer()

    def range_within(self, factor: float) -> tuple[float, float]:
        """Return the ends of the range around the fastest that needs at most `factor` times as many steps."""
        ends = []
        for way in (-1, 1):
            for _ in range(3):
                i = int(np.searchsorted(self.eps, self.fastest))
                most = factor * self.fewest
                while 0 <= i + way < self.eps.size and self.steps[i + way] <= most:
                    i += way
                if not 0 <= i + way < self.eps.size:
                    break
                inside, outside = np.log(self.eps[i]), np.log(self.eps[i + way])
                self._look(np.exp(inside + (outside - inside) * _BETWEEN), most)
            ends.append(float(self.eps[i]))
        return ends[0], ends[1]

    def best_rate(self) -> tuple[float, float]:
        """Return the learning rate whose runs contract best at the end, and its ratio; NaN where none is measured."""
        good = self.eps[self.steps <= 2 * self.fewest] if self.fewest < math.inf else self.eps
        ends = good[[0, -1]] / [10**0.5, 10**-0.5]
        eps, best = np.geomspace(ends[0], ends[1], 96), (math.nan, math.nan)
        for _ in range(3):
            ds = self._sweep(eps, self.n_steps, "steps")
            steady = ds["status"].isin([schema.Status.CONVERGED, schema.Status.MAX_STEPS]).values
            rate = np.where(steady & (ds["rate_sim"].values < 1), ds["rate_sim"].values, np.inf)
            i = int(rate.argmin())
            if not rate[i] < np.inf:
                return best
            if not rate[i] >= best[1]:
                best = float(eps[i]), float(rate[i])
            eps = np.geomspace(eps[max(i - 1, 0)], eps[min(i + 1, eps.size - 1)], 32)
        return best


def fastest(problem: OLSProblem, method: str, tol: float, n_steps: int, **params: Any) -> tuple[float, int]:
    """Return the learning rate that needs the fewest steps, other parameters given, and how many; NaN, -1 for none."""
    looks = _Looks(problem, method, tol, n_steps, None, params)
    looks.first()
    looks.closer()
    looks.needles()
    return (looks.fastest, int(looks.fewest)) if looks.fewest < math.inf else (math.nan, -1)
