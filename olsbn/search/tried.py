"""Learning rates tried by simulation: after how many steps runs from one or more starts reach a tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.dynamics.registry import METHODS
from olsbn.problems import OLSProblem
from olsbn.sweeps.pool import on_threads
from olsbn.sweeps.running import sweep
from olsbn.theory.facts import theory_attrs

if TYPE_CHECKING:
    import xarray as xr

# A learning rate is tried as the number that is printed, so that what is typed is what was tried.
_DIGITS = 6
# Named schedules, and tables of factors, belong to a number of steps: no shorter run is the beginning of a longer one.
_OF_ALL_STEPS = ("schedule", "eps_factors")
# So many steps of a run are recorded at most, to see what would have become of rounding.
_RECORDS = 1000
# The part of the starts that rounding in a plain loop may lose.
_NOISY = 0.02


def default_eps(problem: OLSProblem, steps: int, tol: float) -> np.ndarray:
    """Return learning rates around everything that theory says happens: whole decades, 25 cells each."""
    facts = theory_attrs(problem)
    marks = [facts[name] for name in ("eps_max", "eps_1", "eps_2") if name in facts]
    if 0 < tol < 1 and steps >= 1:
        laws = [method.theory.window for method in METHODS.values() if method.theory.window]
        marks += [end for law in laws for w in [law(problem, tol, steps)] for end in (w.lower, w.upper)]
    decades = [math.log10(mark) for mark in marks if 0 < mark < math.inf]
    lo, hi = max(math.floor(min(decades) - 0.5), -300), min(math.ceil(max(decades) + 0.5), 300)
    return np.logspace(lo, hi, 25 * (hi - lo) + 1)


def grid(low: float, high: float, a_decade: float) -> FloatArray:
    """Return learning rates with equal ratios, both ends included, at least `a_decade` of them a decade."""
    return np.geomspace(low, high, math.ceil(a_decade * math.log10(high / low)) + 1)


def as_printed(eps: FloatArray) -> FloatArray:
    """Return learning rates rounded to the digits that are printed."""
    return np.array([float(f"{x:.{_DIGITS}g}") for x in eps])


class Tried:
    """The learning rates tried so far, ascending, and what came of each from every start.

    Attributes
    ----------
    eps : ndarray, (rates,)
        The learning rates.
    steps : ndarray, (starts, rates)
        The first step at which the relative excess is at most the tolerance, inf where no step is.
    flagged : ndarray of bool, (starts, rates)
        Whether rounding may have decided the run before that step (`by_rounding`).
    noisy : ndarray of bool, (starts, rates)
        Whether rounding of a plain loop in float32 could grow to the tolerance before that step (`growth`), where it
        was asked for.
    """

    def __init__(
        self,
        starts: Sequence[OLSProblem],
        method: str,
        tol: float,
        n_steps: int,
        params: Mapping[str, Any] | None = None,
        workers: int | None = None,
    ) -> None:
        self.starts, self.method, self.tol, self.n_steps = tuple(starts), method, tol, n_steps
        self._params, self._workers = dict(params or {}), workers
        self.at_once = any(name in self._params for name in _OF_ALL_STEPS)
        self.forget()

    def forget(self) -> None:
        """Start again, with no learning rate tried."""
        self.eps = np.empty(0)
        shape = (len(self.starts), 0)
        self.steps, self.flagged, self.noisy = np.empty(shape), np.empty(shape, bool), np.empty(shape, bool)

    def sweeps(self, eps: FloatArray, n_steps: int, stop: str, record: Any = None) -> list[xr.Dataset]:
        """Return a sweep over learning rates from every start."""
        one = len(self.starts) == 1

        def run(start: OLSProblem, cancel: Any = None) -> xr.Dataset:
            return sweep(
                start, method=self.method, eps=eps, n_steps=n_steps, tol=self.tol, stop=stop, progress=False,
                workers=self._workers if one else 1, record=record, **self._params,
            )  # fmt: skip

        if one:
            return [run(self.starts[0])]
        # a start a thread: its few cells do not fill several
        numbered = on_threads(lambda k, cancel: run(self.starts[k]), range(len(self.starts)), self._workers)
        return [found for _, found in sorted(numbered, key=lambda pair: pair[0])]

    def look(self, eps: FloatArray, most: float = math.inf, noise: bool = False) -> None:
        """Try more learning rates, for at most so many steps; with `noise` also for what rounding would do."""
        eps = np.setdiff1d(eps, self.eps)
        if not eps.size:
            return
        n_steps = self.n_steps if self.at_once else int(min(most, self.n_steps))
        method = METHODS[self.method]
        noise = noise and method.theory.edge[0] == "eps_eff_max" and not method.needs_sample
        record = np.unique(np.linspace(0, n_steps, min(n_steps, _RECORDS) + 1).astype(int)).tolist() if noise else None
        found = self.sweeps(eps, n_steps, "tol", record)
        steps = np.stack([ds["steps_to_tol"].values for ds in found]).astype(float)
        steps[steps < 0] = np.inf
        flagged, noisy = np.zeros(steps.shape, bool), np.zeros(steps.shape, bool)
        for k, ds in enumerate(found):
            if "by_rounding" in ds:
                flagged[k] = ds["by_rounding"].transpose(..., "eps").values.reshape(-1, eps.size).any(axis=0)
            if noise:
                heavy = float(self._params.get("momentum", 0.0))
                noisy[k] = growth(ds, heavy) > allowed_growth(self.starts[k], self.tol)
        order = np.argsort(eps := np.concatenate([self.eps, eps]))
        self.eps = eps[order]
        for name, values in (("steps", steps), ("flagged", flagged), ("noisy", noisy)):
            setattr(self, name, np.concatenate([getattr(self, name), values], axis=1)[:, order])

    def needed(self, quantile: float) -> FloatArray:
        """Return for each learning rate within how many steps that part of the starts got there, inf for never.

        A run that rounding may have decided counts as one that does not get there, and more than 2 % of runs that a
        plain loop would lose to rounding are too many: those need not a few steps more but twice as many.
        """
        counted = np.sort(np.where(self.flagged, np.inf, self.steps), axis=0)
        needed = counted[max(math.ceil(quantile * len(self.starts) - 1e-9), 1) - 1]
        return np.where(self.noisy.mean(axis=0) > _NOISY, np.inf, needed)

    def between(self, left: int, accuracy: float) -> FloatArray:
        """Return learning rates between one and the next, `accuracy` decades apart: one to eleven of them."""
        low, high = np.log(self.eps[[left, left + 1]])
        parts = min(max(math.ceil((high - low) / math.log(10) / accuracy), 2), 12)
        return np.exp(low + (high - low) * np.arange(1, parts) / parts)


def growth(ds: xr.Dataset, momentum: float = 0.0) -> FloatArray:
    r"""Return how much a disturbance of the fastest mode may grow relative to w, over any part of the recorded steps.

    Parameters
    ----------
    ds : xarray.Dataset
        A sweep over eps with recorded steps, of a problem with its own attribute `eps_eff_max`.
    momentum : float, optional
        Its momentum.

    Returns
    -------
    ndarray, (rates,)

    Notes
    -----
    While ``eps_eff`` is above its edge ``2/lambda*_d``, the fastest mode is multiplied by more than 1 at each step
    (with momentum by the larger root of ``z^2 - (1 + m - eps_eff lambda*_d) z + m``). In exact arithmetic it may have
    been damped so far before that this never shows. A loop that is written down plainly rounds w at each step, which
    puts a disturbance of the size of w's rounding into every mode: it is that which grows. Where several steps lie
    between two recorded ones the rate of the first counts for all.
    """
    x = 2 * ds["eps_eff"].transpose("step", "eps").values / ds.attrs["eps_eff_max"]
    norm = ds["w_norm"].transpose("step", "eps").values
    trace = 1 + momentum - x
    inside = trace * trace - 4 * momentum
    factor = np.where(inside < 0, math.sqrt(momentum), (np.abs(trace) + np.sqrt(np.maximum(inside, 0))) / 2)
    with np.errstate(all="ignore"):
        rise = np.log(factor[:-1]) * np.diff(ds["step"].values)[:, None] - np.diff(np.log(norm), axis=0)
    at_all = np.isfinite(rise) & (ds["step"].values[1:, None] <= ds["n_steps_run"].values)
    total = np.concatenate([np.zeros((1, rise.shape[1])), np.cumsum(np.where(at_all, rise, 0.0), axis=0)])
    with np.errstate(over="ignore"):
        return np.exp((total - np.minimum.accumulate(total, axis=0)).max(axis=0))


def allowed_growth(problem: OLSProblem, tol: float) -> float:
    """Return how much a rounding error of float32 may grow so that its part of the excess stays 100 times below `tol`.

    Where float32 does not come down to the tolerance by itself it may grow tenfold.
    """
    share = float(problem.eigvals[-1]) * float(problem.u @ problem.u) / problem.explained_var
    return max(math.sqrt(tol / share) / (10 * 2.0**-24), 10.0)


def stretches(good: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and the last index of every stretch of neighbours that are all good."""
    jumps = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
    return [(int(first), int(last) - 1) for first, last in jumps.reshape(-1, 2)]
