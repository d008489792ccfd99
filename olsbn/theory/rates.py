"""Asymptotic contraction ratios of GD and BNGD a step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.problems import OLSProblem, as_problem
from olsbn.theory.labels import by_labels, floats_or_nan, labelled, rates
from olsbn.theory.spectrum import excited_modes, star_extremes


def gd_contraction_ratio(problem: OLSProblem, eps: Any, *, excited: bool = False) -> Any:
    r"""Return the asymptotic contraction ratio of GD's error a step.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    eps : array_like, any shape
        Learning rates, finite and >= 0.
    excited : bool, optional
        Count only the modes that the problem's start excites; 0 where it excites none.

    Returns
    -------
    ndarray, shape of `eps` (a scalar for a scalar; a DataArray for one)
        ``max_i |1 - eps lambda_i|``; inf where the product overflows.

    Raises
    ------
    ValueError, TypeError
        If `eps` holds negative numbers, NaN, infinity or text.

    Notes
    -----
    Identity (tight): from every start that excites the mode the ratio of ``sqrt(J - J_min)`` tends to it, and so does
    that of the norm of the error. Only the two extreme eigenvalues count, for ``|1 - eps x|`` is convex in x. Cost:
    O(d + size of eps).

    Examples
    --------
    >>> problem = OLSProblem([1.0, 3.0], u=[1.0, 1.0])
    >>> gd_contraction_ratio(problem, [0.5, 1.0]).tolist()
    [0.5, 2.0]
    """
    as_problem(problem)
    if labelled(eps):
        return by_labels(lambda x: gd_contraction_ratio(problem, x, excited=excited), eps)
    eps = rates("eps", eps)
    eigvals = problem.eigvals[excited_modes(problem, "gd")] if excited else problem.eigvals
    if eigvals.size == 0:
        return np.zeros_like(eps)[()]
    return _max_factor(eps, float(eigvals[0]), float(eigvals[-1]))[()]


def bngd_contraction_ratio(problem: OLSProblem, eps_eff: Any, eps_a: Any = 1.0, *, excited: bool = False) -> Any:
    r"""Return the asymptotic contraction ratio of BNGD near a minimiser a step.

    Parameters
    ----------
    problem : OLSProblem
        The problem.
    eps_eff : array_like
        Effective learning rates ``eps (a/sigma) w'g/sigma^2``. They may be negative (as in transients); NaN gives NaN.
    eps_a : array_like, optional
        Learning rates of the scale a, finite and >= 0. It broadcasts against `eps_eff`.
    excited : bool, optional
        Count only the modes of w that the problem's start excites; the scale a always counts.

    Returns
    -------
    ndarray, broadcast shape (a scalar for scalars; DataArrays broadcast by name and give one)
        ``max(|1 - eps_a|, max_{i >= 2} |1 - eps_eff lambda*_i|)``; inf where the product overflows.

    Raises
    ------
    ValueError, TypeError
        If `eps_a` is negative or not finite, or the shapes do not broadcast.

    Notes
    -----
    Identity (tight) for the linearisation at a minimiser [Cai]; the neutral direction along u, which changes nothing
    but the norm of w, does not count. Cost: O(d + size of the result).

    Examples
    --------
    >>> problem = OLSProblem([1.0, 1.0], u=[1.0, 0.0])
    >>> bngd_contraction_ratio(problem, [0.5, 1.0], eps_a=0.75).tolist()
    [0.5, 0.25]
    """
    as_problem(problem)
    if labelled(eps_eff) or labelled(eps_a):
        return by_labels(lambda x, y: bngd_contraction_ratio(problem, x, y, excited=excited), eps_eff, eps_a)
    eps_eff = floats_or_nan("eps_eff", eps_eff)
    eps_a = rates("eps_a", eps_a)
    try:
        eps_eff, eps_a = np.broadcast_arrays(eps_eff, eps_a)
    except ValueError:
        raise ValueError(
            f"eps_eff and eps_a must broadcast against each other, got shapes {eps_eff.shape} and {eps_a.shape}"
        ) from None
    low, high = star_extremes(problem, excited)
    ratio = np.abs(1 - eps_a)
    if not math.isnan(low):
        ratio = np.maximum(ratio, _max_factor(eps_eff, low, high))
    return np.where(np.isnan(eps_eff), np.nan, ratio)[()]


def _max_factor(eps: FloatArray, low: float, high: float) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.maximum(np.abs(1 - eps * low), np.abs(1 - eps * high))
