"""How runs end: after how many steps GD and BNGD reach a tolerance, and after how many they have diverged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.problems import MACHEPS, OLSProblem
from olsbn.schema import EXCESS_LIMIT
from olsbn.theory.regimes import effective_rate_regimes
from olsbn.theory.windows import eps_window


def gd_steps(problem: OLSProblem, eps: FloatArray, n_steps: int, tol: float) -> tuple[FloatArray, FloatArray]:
    """Return the first step at which GD's excess is at most `tol`, and the one at which it passes the limit.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    eps : ndarray, (cells,)
        Learning rates >= 0.
    n_steps : int
        The most steps to look at, >= 0.
    tol : float
        Relative excess.

    Returns
    -------
    steps, limit : ndarray, (cells,)
        inf where it does not come to that within `n_steps`.

    Notes
    -----
    Identity: the excess is a sum of ``weight_i (1 - eps lambda_i)^(2k)``, convex in k: it falls to its least value,
    then rises. Cost: O(d log n_steps) a cell.
    """
    error = problem.w0 - problem.u
    weight = problem.eigvals * error * error / problem.explained_var
    factor = 2 * np.log(np.abs(1 - np.outer(eps, problem.eigvals)))

    def excess(k: FloatArray) -> FloatArray:
        # 0 * log(0): a factor 0 to the power 0 is 1
        power = np.where(k[:, None] == 0, 0.0, factor * k[:, None])
        return np.where(weight > 0, weight * np.exp(power), 0.0).sum(axis=1)

    limit = EXCESS_LIMIT * max(1.0, float(weight.sum()))
    zero = np.zeros(eps.size)
    low, high = zero.copy(), np.full(eps.size, float(n_steps))
    while (high - low > 2).any():  # where the least value is
        third = np.floor((high - low) / 3)
        left, right = low + third, high - third
        falls = excess(left) >= excess(right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
        if (third == 0).all():
            break
    candidates = np.stack([low, np.floor((low + high) / 2), high])
    least = candidates[np.argmin([excess(k) for k in candidates], axis=0), np.arange(eps.size)]
    first = _first_step(lambda k: excess(k) <= tol, zero, least)
    last = np.full(eps.size, float(n_steps))
    passes = _first_step(lambda k: ~(excess(k) <= limit), least, last)
    return first, passes


def _first_step(holds: Any, low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the first whole number in [low, high] from which on a condition holds; inf where it does not at `high`."""
    never = ~holds(high)
    low, high = low - 1, high.copy()
    while (high - low > 1).any():
        middle = np.floor((low + high) / 2)
        good = holds(np.maximum(middle, 0)) & (middle >= 0)
        move = high - low > 1
        high = np.where(move & good, middle, high)
        low = np.where(move & ~good, middle, low)
    return np.where(never, np.inf, high)


def bngd_steps(
    problem: OLSProblem, eps: FloatArray, eps_a: FloatArray, n_steps: int, tol: float
) -> tuple[FloatArray, FloatArray]:
    """Return the number of steps that BNGD is predicted to need to the tolerance, and to divergence.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    eps, eps_a : ndarray, (cells,)
        Learning rates >= 0.
    n_steps : int
        The steps the window is asked for, >= 0.
    tol : float
        Relative excess, in (0, 1).

    Returns
    -------
    steps, limit : ndarray, (cells,)
        inf: never; NaN: not known.

    Notes
    -----
    Steps to divergence, which is that of the scale for ``eps_a > 2``: tight. Steps to the tolerance, the larger of what
    the scale needs and of what the effective rate needs on its outer branches (`eps_window`): asymptotic. Cost: that of
    `eps_window`.
    """
    window = eps_window(problem, tol, max(n_steps, 1))
    regimes = effective_rate_regimes(problem)
    outer = np.maximum(
        0.0 if window.lower == 0 else window.lower * n_steps / eps,
        0.0 if window.upper == math.inf or math.isnan(window.upper) else eps * n_steps / window.upper,
    )
    if math.isnan(window.lower) and window.reliable:
        outer = np.full(eps.size, np.inf)
    if not window.reliable:
        # an end near the plateau, where the number of steps depends on the transient: only far from it is it known
        outer = np.where((eps > regimes.eps_1 / 3) & (eps < 3 * regimes.eps_2), np.nan, outer)
    # where the upper end is not known, nothing is known to the right of the small-eps branch
    if math.isnan(window.upper):
        outer = np.where(eps > regimes.eps_1 / 3, np.nan, outer)
    outer = np.where(eps == 0, 0.0 if window.lower == 0 else np.inf, outer)
    factor = np.abs(1 - eps_a)
    start = max(1.0, problem.a0**2 / problem.explained_var)
    scale = np.maximum(0.0, np.log(tol / start) / (2 * np.log(factor)))
    limit = np.where(factor > 1, math.log(EXCESS_LIMIT) / (2 * np.log(factor)), np.inf)
    if window.upper == math.inf:  # w starts at its end: what a has to start with is all that grows, if not rounding
        along = math.fsum(problem.eigvals * problem.u * problem.w0)
        off = abs(problem.a0 / math.sqrt(problem.explained_var) - math.copysign(1.0, along))
        if off < 16 * MACHEPS:
            limit = np.full_like(limit, np.inf)
    # from eps_a = 2 on the scale keeps or multiplies what the transient of w leaves in it, however much that is
    return np.where(factor < 1, np.maximum(outer, scale), np.where(outer > n_steps, outer, np.nan)), limit


def is_degenerate(problem: OLSProblem) -> bool:
    """Whether BNGD has no step from the start, for ``w = 0``, or none that moves, for ``a = 0`` and ``w'g = 0``."""
    along = math.fsum(problem.eigvals * problem.u * problem.w0)
    return not problem.w0.any() or (problem.a0 == 0 and along == 0)
