"""Spectra of H and of BNGD's effective Hessian H*, and the best rates that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, one_of
from olsbn.linalg import MACHEPS, secular_roots
from olsbn.problems import OLSProblem, as_problem

METHODS = ("gd", "bngd")
# Modes whose shares of ||u||^2 and of E (over those of the largest mode) are both below 2 to this power are deflated:
# relative to its pole the offset of such a root is below 2**-388.
_TINY_EXP = -900
# A start that differs from a multiple of u by less than this share, in every component, does so by rounding: it excites
# nothing. Of a part in modes that u does not reach it is the share in the H-norm that counts.
EXCITED_TOL = 16 * MACHEPS


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
        Rank of H: d.
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

    @cached_property
    def eigvals_star(self) -> FloatArray:
        """Eigenvalues of H*, ascending, the exact 0 first. O(d^2) on first use."""
        eigvals_star = StarSpectrum(self._problem).eigvals()
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
        rank=problem.dim,
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
    star = StarSpectrum(problem)
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


class StarSpectrum:
    """The spectrum of H*, split into roots of the secular equation and survivors of deflation.

    Modes with equal eigenvalues are merged: rotated so that u has one component in the group. Then modes without
    weight in u are set aside: their eigenvalue is an eigenvalue of H*. What is left has distinct poles and positive
    weights.
    """

    def __init__(self, problem: OLSProblem) -> None:
        eigvals = problem.eigvals
        self._problem = problem
        # Scale by a power of two, upwards, so that no small eigenvalue is lost against a large one.
        self._shift = max(0, 1000 - math.frexp(float(eigvals[-1]))[1])
        self._starts = np.flatnonzero(np.concatenate([[True], eigvals[1:] != eigvals[:-1]]))
        sizes = np.diff(np.append(self._starts, eigvals.size))
        self._group = np.repeat(np.arange(sizes.size), sizes)
        ends = eigvals[self._starts]
        weights, exponents = _group_weights(eigvals, problem.u, self._starts, self._group)
        size = np.frexp(weights)[1] + exponents  # of E's parts, and less that of their eigenvalues: of ||u||^2's parts
        size_u2 = size - np.frexp(ends)[1]
        there = weights > 0
        self._active = there & ((size >= size[there].max() + _TINY_EXP) | (size_u2 >= size_u2[there].max() + _TINY_EXP))
        self.poles = np.ldexp(ends[self._active], self._shift)
        self.weights, self.exponents = weights[self._active], exponents[self._active]
        self.n_roots = self.poles.size - 1
        # A group of m equal eigenvalues leaves m - 1 of them if u has weight in it, else all m.
        self._copies = sizes - self._active
        self.survivors = np.repeat(eigvals[self._starts], self._copies)

    def extremes(self, excited: bool) -> tuple[float, float]:
        """Return the smallest and the largest eigenvalue of H* besides the 0 along u; NaN if there is none."""
        found: list[float] = []
        if self.n_roots and (not excited or self.roots_excited()):
            ends = secular_roots(
                self.poles, self.weights, np.array([0, self.n_roots - 1]), threads=1, exponents=self.exponents
            )
            found += self.unscaled(ends.values).tolist()
        survivors = self.survivors[self.survivors_excited()] if excited else self.survivors
        if survivors.size:
            found += [float(survivors[0]), float(survivors[-1])]
        return (min(found), max(found)) if found else (math.nan, math.nan)

    @cached_property
    def _unordered(self) -> FloatArray:
        roots = secular_roots(self.poles, self.weights, exponents=self.exponents)
        return np.concatenate([[0.0], self.unscaled(roots.values), self.survivors])

    def order(self) -> Any:
        """Return the order that sorts (0, roots, survivors)."""
        if not self.survivors.size:
            return np.arange(self.n_roots + 1)
        return np.argsort(self._unordered, kind="stable")

    def eigvals(self) -> FloatArray:
        """Return all eigenvalues, ascending."""
        return self._unordered[self.order()]

    def unscaled(self, values: FloatArray) -> Any:
        """Return eigenvalues in the problem's own units."""
        return np.ldexp(values, -self._shift)

    def roots_excited(self) -> bool:
        """Whether w0 has a part that is not parallel to u; it then excites every root within a step."""
        return not parallel(self._problem)

    def survivors_excited(self) -> Any:
        """Return for every survivor of deflation whether w0 has a part in its eigenspace orthogonal to u."""
        starts, group = self._starts, self._group

        def scaled(vector: FloatArray) -> FloatArray:
            size = np.maximum.reduceat(np.abs(vector), starts)[group]
            return np.divide(vector, size, out=np.zeros_like(vector), where=size > 0)

        u, w0 = scaled(self._problem.u), scaled(self._problem.w0)
        norm2 = np.add.reduceat(u * u, starts)
        along = np.divide(np.add.reduceat(u * w0, starts), norm2, out=np.zeros_like(norm2), where=self._active)
        rest = w0 - along[group] * u
        part, whole = np.add.reduceat(rest * rest, starts), np.add.reduceat(w0 * w0, starts)
        return np.repeat(part > EXCITED_TOL**2 * whole, self._copies)


@lru_cache(maxsize=8)  # a sweep asks once a tile
def star_extremes(problem: OLSProblem, excited: bool) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue of H* besides the 0 along u; NaN if there is none. O(d)."""
    return StarSpectrum(problem).extremes(excited)


def _group_weights(eigvals: FloatArray, u: FloatArray, starts: Any, group: Any) -> tuple[FloatArray, Any]:
    """Return for each group of equal eigenvalues its part of E, times a power of two that puts E into [1/2, 1).

    The parts are numbers and exponents, for they may lie 2000 binary orders apart.
    """
    mantissa, exponent = _weights(eigvals, u)
    largest = np.maximum.reduceat(np.where(mantissa > 0, exponent, -(2**30)), starts)
    parts = np.add.reduceat(np.ldexp(mantissa, exponent - largest[group]), starts)
    largest = np.where(parts > 0, largest, 0)
    top = largest[parts > 0].max()
    total = math.fsum(np.ldexp(parts, largest - top))
    return parts, largest - top - math.frexp(total)[1]


def _weights(eigvals: FloatArray, u: FloatArray) -> tuple[FloatArray, Any]:
    """Return eigvals * u**2 as mantissas and exponents."""
    mantissa_l, exponent_l = np.frexp(eigvals)
    mantissa_u, exponent_u = np.frexp(u)
    return mantissa_l * mantissa_u * mantissa_u, exponent_l + 2 * exponent_u


def parallel(problem: OLSProblem) -> bool:
    """Whether w0 is a multiple of u, to the rounding of its components; w0 = 0 is one."""
    eigvals, u, w0 = problem.eigvals, problem.u, problem.w0
    if not w0.any():
        return True
    reached = u != 0
    if not reached.all() and float(scaled_weights(eigvals, w0)[~reached].sum()) > EXCITED_TOL**2:
        return False
    if not w0[reached].all():
        return False
    # w0/u is one number, compared as mantissas and exponents
    (x, i), (y, j) = np.frexp(w0[reached]), np.frexp(u[reached])
    ratio, more = np.frexp(x / y)
    power = i - j + more
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.ldexp(ratio, power - int(power.max()))
    return float(np.ptp(ratio)) <= EXCITED_TOL * float(np.abs(ratio).max())


def scaled_weights(eigvals: FloatArray, u: FloatArray) -> FloatArray:
    """Return eigvals * u**2 times the power of two that puts the sum into [1/2, 1)."""
    mantissa, exponent = _weights(eigvals, u)
    exponent -= exponent[mantissa > 0].max()
    weights = np.ldexp(mantissa, np.where(mantissa > 0, exponent, 0))
    return np.ldexp(weights, -math.frexp(math.fsum(weights))[1])
