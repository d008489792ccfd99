"""Runs that claims of several sources share: to the end, and over ranges of learning rates."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger.base import Cube, Skip, draw_problem
from olsbn.problems import OLSProblem, ProblemFamily
from olsbn.schema import Status
from olsbn.search.measured import window
from olsbn.search.tried import Tried
from olsbn.sweeps.running import sweep
from olsbn.theory import effective_rate_regimes, eps_window

# The effective rate and the contraction ratio approach their limits like the root of the excess: here to 1e-12.
SETTLED = 1e-24
# What is to be told from that has to be larger by far.
VISIBLE = 1e-8
# In the eigenbasis of H*, whose roots are theory's, and in deflated coordinates, which know none: rates are of both.
FORMS = ("star", "deflated")
WINDOW_PROBLEMS = "two spectra, d in 20..100, cond in 10..100, u and w_0 uniform, tol from 1e-6 to 1e-2, 12000 steps"


def started(problem: OLSProblem, w0: FloatArray | None = None, a0: float | None = None) -> OLSProblem:
    """Return the problem with another start."""
    w0 = problem.w0 if w0 is None else w0
    return OLSProblem(problem.eigvals, problem.u, w0, a0, problem.target_var)  # type: ignore[arg-type]


def across_the_plateau(cube: Cube, n_eps: int, n_eps_a: int) -> tuple[OLSProblem, FloatArray, FloatArray]:
    """Draw a problem, rates from a fifth of the plateau's start to five times its end, and some for the scale."""
    problem = draw_problem(cube, cond=(1.5, 100))
    regimes = effective_rate_regimes(problem)
    low, high = sorted((regimes.eps_1, regimes.eps_2))
    if not 0 < low < high < math.inf:
        raise Skip
    rng = cube.rng()
    return problem, low / 5 * (25 * high / low) ** rng.random(n_eps), rng.uniform(0.05, 1.95, n_eps_a)


def iterated(
    problem: OLSProblem, form: str, eps: Any, eps_a: Any, n_steps: int, record: Any = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run cells of BNGD in one of the `FORMS`; return their columns at the end and at recorded steps."""
    from olsbn.dynamics import bngd
    from olsbn.engine.run import Run

    eps, eps_a = (np.array(x, float) for x in np.broadcast_arrays(np.atleast_1d(eps), eps_a))
    run = Run(n_steps, record=np.asarray(record, np.int64))
    return bngd.tile(bngd.prepare(problem, form), {"eps": eps, "eps_a": eps_a}, run)


def final(problem: OLSProblem, eps: Any, eps_a: Any = 1.0, tol: float = SETTLED, n_steps: int = 2**22) -> Any:
    """Run until the excess is below `tol`; cells that are not there yet are run once more, 16 times as long."""
    ds = sweep(problem, eps=eps, eps_a=eps_a, n_steps=n_steps, tol=tol, stop="tol", progress=False)
    if (ds.status == Status.MAX_STEPS).any():
        ds = sweep(problem, eps=eps, eps_a=eps_a, n_steps=16 * n_steps, tol=tol, stop="tol", progress=False)
    return ds


def settled_eps_eff(problem: OLSProblem, eps: Any, tol: float = SETTLED) -> FloatArray:
    """Return the effective rates of runs that have converged."""
    ds = final(problem, np.atleast_1d(eps), tol=tol)
    if (ds.status != Status.CONVERGED).any():
        raise Skip
    return ds.eps_eff.values


def count_different(x: Any, y: Any) -> int:
    """Count the numbers that differ; where neither is a number nothing does."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    return int(np.sum((x != y) & ~(np.isnan(x) & np.isnan(y))))


def slope(x: Any, y: Any) -> float:
    """Return the exponent of y against x."""
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.abs(np.asarray(y, float))), 1)[0])


def measured_window(
    problem: OLSProblem, tol: float, n_steps: int, method: str, span: tuple[float, float]
) -> FloatArray:
    """Return the ends of the range of eps that reach `tol` within `n_steps`, found by simulation.

    The error is 1 % of a decade at most. What lies between may have holes (`holes`).
    """
    found = window(
        Tried([problem], method, tol, n_steps), *span, accuracy=0.01, a_decade=95 / math.log10(span[1] / span[0])
    )
    if not 0 < found.below < found.above < math.inf:
        raise Skip
    return np.array([math.sqrt(found.below * found.lower), math.sqrt(found.upper * found.above)])


def holes(problem: OLSProblem, tol: float, n_steps: int, method: str, ends: Any, n: int = 400) -> float:
    """Return how many decades of eps between the ends of a range do not reach `tol`, by a grid of n.

    The grid keeps 1 % of a decade away from the ends, which are known no better.
    """
    away = 10**0.01
    grid = np.geomspace(float(ends[0]) * away, float(ends[1]) / away, n)
    good = sweep(problem, method=method, eps=grid, n_steps=n_steps, tol=tol, stop="tol", progress=False)
    return float(np.mean(good.steps_to_tol.values < 0) * math.log10(ends[1] / ends[0]))


def window_instance(cube: Cube) -> SimpleNamespace:
    """Draw a problem and measure its ranges of good learning rates, those of GD too."""
    kind = ("logspace", "linspace")[cube.integer(0, 1)]
    problem = ProblemFamily(kind, cube.log(10, 100), cube.integer(0, 2**31 - 1))(cube.integer(20, 100))
    i = SimpleNamespace(problem=problem, tol=cube.log(1e-6, 1e-2), n_steps=12_000)
    i.steps = (i.n_steps // 4, i.n_steps)
    i.predicted = [eps_window(problem, i.tol, k) for k in i.steps]
    if not all(w.reliable and w.decades > 0 for w in i.predicted):
        raise Skip
    span = (i.predicted[1].lower / 30, i.predicted[1].upper * 30)
    i.bngd = [measured_window(problem, i.tol, k, "bngd", span) for k in i.steps]
    bound = 2 / float(problem.eigvals[-1])
    i.gd = [measured_window(problem, i.tol, 16 * k, "gd", (1e-6 * bound, 10 * bound)) for k in i.steps]
    i.gd_same = measured_window(problem, i.tol, i.n_steps, "gd", (1e-6 * bound, 10 * bound))
    i.holes = holes(problem, i.tol, i.n_steps, "bngd", i.bngd[1])
    return i


def growth(ends: Any) -> float:
    """Return the exponent of the number of steps in the width of the window, from steps k and 4 k."""
    first, second = (end[1] / end[0] for end in ends)
    return math.log(second / first) / math.log(4)
