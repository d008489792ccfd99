"""Spectra of H and of BNGD's effective Hessian H*, and the best rates that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, one_of
from olsbn.linalg import StarSpectrum
from olsbn.problems import OLSProblem, as_problem
from olsbn.problems.sample import html_table

METHODS = ("gd", "bngd")


@dataclass(frozen=True, eq=False)
class SpectralReport:
    r"""Spectra of H and of BNGD's effective Hessian, and what they say about learning rates.

    Attributes
    ----------
    eigvals : ndarray, shape (d,)
        Eigenvalues of H, ascending.
    eigvals_star : ndarray, shape (d,)
        Eigenvalues of ``H* = H - (Hu)(Hu)'/(u'Hu)``, ascending, the exact 0 (along u) first. Computed on first use.
    rank : int
        Rank of H: d; of a reduced problem, that of the one it was made from.
    cond, cond_star : float
        ``lambda_d / lambda_1`` and ``lambda*_d / lambda*_2``; `cond_star` is NaN for d = 1, where H* = 0.
    eig_star_min, eig_star_max : float
        ``lambda*_2`` and ``lambda*_d``; NaN for d = 1.
    eps_max, eps_opt, rate_gd_opt : float
        GD converges from a generic start for 0 < eps < eps_max; `eps_opt` gives the smallest contraction ratio of the
        error, `rate_gd_opt`.
    eps_eff_max, eps_eff_opt, rate_bngd_opt : float
        The same for BNGD near a minimiser, over its effective learning rate and with eps_a = 1. For d = 1 every
        effective rate is as good as any other: inf, NaN and 0.
    """

    eigvals: FloatArray = field(repr=False)
    rank: int
    cond: float
    cond_star: float
    eig_star_min: float
    eig_star_max: float
    eps_max: float
    eps_opt: float
    rate_gd_opt: float
    eps_eff_max: float
    eps_eff_opt: float
    rate_bngd_opt: float
    _problem: OLSProblem = field(repr=False)

    def _repr_html_(self) -> str:
        names = ["rank", "cond", "cond_star", "eps_max", "eps_opt", "rate_gd_opt"]
        names += ["eps_eff_max", "eps_eff_opt", "rate_bngd_opt"]
        return html_table(f"spectra of {self._problem.label}", [(name, getattr(self, name)) for name in names])

    @cached_property
    def eigvals_star(self) -> FloatArray:
        """Eigenvalues of H*, ascending, the exact 0 first. O(d^2) on first use."""
        eigvals_star = star_spectrum(self._problem).eigvals()
        eigvals_star.setflags(write=False)
        return eigvals_star


def spectral_report(problem: OLSProblem) -> SpectralReport:
    r"""Report spectra, condition numbers, thresholds and best rates of GD and BNGD.

    Parameters
    ----------
    problem : OLSProblem
        The problem; its start does not matter here.

    Returns
    -------
    SpectralReport

    Notes
    -----
    Identities. GD contracts ``w - u`` by ``I - eps H``; BNGD linearised at a minimiser contracts ``H e`` by
    ``I - eps_eff H*`` with ``H* = H - (Hu)(Hu)'/(u'Hu)`` and the scale a by ``1 - eps_a`` [Cai]. By interlacing
    ``0 = lambda*_1 < lambda_1 <= lambda*_2 <= lambda_2 <= ... <= lambda*_d <= lambda_d``, so cond_star <= cond.

    Cost: O(d) for everything but `eigvals_star`, which costs O(d^2) when it is first asked for. Every eigenvalue of H*,
    also the smallest, is accurate to a few ulp of itself (see `olsbn.linalg.secular_roots`).

    Examples
    --------
    >>> report = spectral_report(OLSProblem([1.0, 2.0], u=[1.0, 1.0]))
    >>> report.eigvals_star.round(12).tolist(), report.eps_max, report.cond_star
    ([0.0, 1.333333333333], 1.0, 1.0)
    """
    as_problem(problem)
    low, high = float(problem.eigvals[0]), float(problem.eigvals[-1])
    low_star, high_star = star_extremes(problem, False)
    alone = problem.dim == 1
    return SpectralReport(
        eigvals=problem.eigvals,
        rank=problem.dim if problem.reduction is None else problem.reduction.dim,
        cond=high / low,
        cond_star=high_star / low_star,
        eig_star_min=low_star,
        eig_star_max=high_star,
        eps_max=2 / high,
        eps_opt=_best_eps(low, high),
        rate_gd_opt=_best_rate(low, high),
        eps_eff_max=math.inf if alone else 2 / high_star,
        eps_eff_opt=math.nan if alone else _best_eps(low_star, high_star),
        rate_bngd_opt=0.0 if alone else _best_rate(low_star, high_star),
        _problem=problem,
    )


def excited_modes(problem: OLSProblem, method: str) -> Any:
    r"""Return which modes the problem's start excites.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    method : {"gd", "bngd"}
        The dynamics.

    Returns
    -------
    ndarray of bool, shape (d,)
        For "gd" over the eigenvalues of H: ``(w0 - u)_i != 0``. For "bngd" over those of H*, ascending; the first (the
        neutral direction along u) is False.

    Notes
    -----
    BNGD couples its modes: with ``w = beta u + v``, v H-orthogonal to u, a step adds to ``v_i/u_i`` a multiple of
    ``||v||_H^2 (lambda_i - L)``, which has weight in every root of the secular equation. So a start that is not
    parallel to u (to 16 units of machine precision in every component) excites all of them within a step. What it
    cannot reach are eigenvectors of H orthogonal to u, where w is only ever multiplied: modes with ``u_i = 0``, excited
    if ``w0_i != 0``, and the m - 1 survivors of an eigenvalue of multiplicity m, excited if w0 has a part there, to
    the same tolerance (all of them, for they have no basis of their own).
    Cost: O(d) for "gd"; up to O(d^2) for "bngd", for the roots and the survivors have to be put in order.

    Examples
    --------
    >>> problem = OLSProblem([1.0, 2.0, 3.0], u=[1.0, 0.0, 1.0], w0=[1.0, 0.0, 3.0])
    >>> excited_modes(problem, "gd").tolist(), excited_modes(problem, "bngd").tolist()
    ([False, False, True], [False, True, False])
    """
    as_problem(problem)
    if one_of("method", method, METHODS) == "gd":
        return problem.w0 != problem.u
    star = star_spectrum(problem)
    mask = np.concatenate([[False], np.full(star.n_roots, star.roots_excited()), star.survivors_excited()])
    return mask[star.order()]


def _best_eps(low: float, high: float) -> float:
    """Return 2/(low + high) without overflow of the sum."""
    return 2 / (low + high) if high < 1 else 1 / (low / 2 + high / 2)


def _best_rate(low: float, high: float) -> float:
    """Return (cond - 1)/(cond + 1), accurate also where cond is close to 1."""
    shift = -math.frexp(high)[1]
    low, high = math.ldexp(low, shift), math.ldexp(high, shift)
    return (high - low) / (high + low)


# -------------------------------------------------------------------- the spectrum of H*


@lru_cache(maxsize=8)  # a sweep asks once a tile
def star_extremes(problem: OLSProblem, excited: bool) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue of H* besides the 0 along u; NaN if there is none. O(d)."""
    if problem.reduction is not None:
        return problem.reduction.star_extremes(excited)
    return star_spectrum(problem).extremes(excited)


def star_spectrum(problem: OLSProblem) -> StarSpectrum:
    """Return the spectrum of H*, and which parts of it the problem's start excites."""
    return StarSpectrum(problem.eigvals, problem.u, problem.w0)
