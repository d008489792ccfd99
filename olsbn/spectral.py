"""Spectral theory of GD and BNGD on least squares: spectra, rates, regimes of the effective learning rate.

Everything here follows from the problem alone; no dynamics are run and no kernel is imported, so that a simulation
can be held against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from olsbn._validate import FloatArray, as_count, as_floats, as_rate, as_real, one_of
from olsbn.problems import MACHEPS, OLSProblem, as_problem

_METHODS = ("gd", "bngd")
# Elements of one temporary array of the secular solver: 8 MiB, about an L2 cache.
_BLOCK = 2**20
# Weights below this share of E are deflated; the offset of a root from its pole is then below 2**-900 of ||H||.
_TINY_WEIGHT = 2.0**-1000
# A start whose part outside span(u) is below this share of it (in the H-norm) is rounding, not excitation.
_EXCITED_TOL = 16 * MACHEPS
# A first large step that leaves w with a smaller correlation to the target than this lands next to the saddles.
_GENERIC_CORR = 1e-6


# -------------------------------------------------------------------- spectra and rates


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
        eigvals_star = _StarSpectrum(self._problem).eigvals()
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
    also the smallest, is accurate to a few ulp of itself (see `_secular_roots`).

    Examples
    --------
    >>> report = spectral_report(OLSProblem([1.0, 2.0], u=[1.0, 1.0]))
    >>> report.eigvals_star.round(12).tolist(), report.eps_max, report.cond_star
    ([0.0, 1.333333333333], 1.0, 1.0)
    """
    as_problem(problem)
    low, high = float(problem.eigvals[0]), float(problem.eigvals[-1])
    low_star, high_star = _star_extremes(problem, False)
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
    if _labelled(eps):
        return _by_labels(lambda x: gd_contraction_ratio(problem, x, excited=excited), eps)
    eps = _rates("eps", eps)
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
    if _labelled(eps_eff) or _labelled(eps_a):
        return _by_labels(lambda x, y: bngd_contraction_ratio(problem, x, y, excited=excited), eps_eff, eps_a)
    eps_eff = _floats_or_nan("eps_eff", eps_eff)
    eps_a = _rates("eps_a", eps_a)
    try:
        eps_eff, eps_a = np.broadcast_arrays(eps_eff, eps_a)
    except ValueError:
        raise ValueError(
            f"eps_eff and eps_a must broadcast against each other, got shapes {eps_eff.shape} and {eps_a.shape}"
        ) from None
    low, high = _star_extremes(problem, excited)
    ratio = np.abs(1 - eps_a)
    if not math.isnan(low):
        ratio = np.maximum(ratio, _max_factor(eps_eff, low, high))
    return np.where(np.isnan(eps_eff), np.nan, ratio)[()]


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
    parallel to u (to 16 units of machine precision in the H-norm) excites all of them within a step. What it cannot
    reach are eigenvectors of H orthogonal to u, where w is only ever multiplied: modes with ``u_i = 0``, excited if
    ``w0_i != 0``, and the m - 1 survivors of an eigenvalue of multiplicity m, excited if w0 has a part there, to the
    same tolerance (all of them, for they have no basis of their own).
    Cost: O(d) for "gd"; up to O(d^2) for "bngd", for the roots and the survivors have to be put in order.

    Examples
    --------
    >>> problem = OLSProblem([1.0, 2.0, 3.0], u=[1.0, 0.0, 1.0], w0=[1.0, 0.0, 3.0])
    >>> excited_modes(problem, "gd").tolist(), excited_modes(problem, "bngd").tolist()
    ([False, False, True], [False, True, False])
    """
    as_problem(problem)
    if one_of("method", method, _METHODS) == "gd":
        return problem.w0 != problem.u
    star = _StarSpectrum(problem)
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


def _max_factor(eps: FloatArray, low: float, high: float) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.maximum(np.abs(1 - eps * low), np.abs(1 - eps * high))


def _labelled(value: Any) -> bool:
    """Whether `value` is an xarray object, whose axes go by their names."""
    return hasattr(value, "dims") and hasattr(value, "coords") and not hasattr(value, "data_vars")


def _by_labels(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` with the arrays behind xarray objects, broadcast by name, and label what it returns."""
    import xarray as xr

    return xr.apply_ufunc(function, *args, keep_attrs=False, dask="allowed").rename(None)


def _rates(name: str, value: Any) -> FloatArray:
    """Like as_rate, for arrays of any shape."""
    array = as_floats(name, value)
    return as_rate(name, array.ravel()).reshape(array.shape) if array.size else array


def _floats_or_nan(name: str, value: Any) -> FloatArray:
    try:
        array = np.asarray(value)
    except ValueError:
        return as_floats(name, value)  # a ragged list: let it say so
    return array.astype(np.float64) if array.dtype.kind == "f" else as_floats(name, value)


# -------------------------------------------------------------------- the spectrum of H*


class _StarSpectrum:
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
        weights = np.add.reduceat(_scaled_weights(eigvals, problem.u), self._starts)
        self._active = weights >= _TINY_WEIGHT
        self.poles = np.ldexp(eigvals[self._starts[self._active]], self._shift)
        self.weights = weights[self._active]
        self.n_roots = self.poles.size - 1
        # A group of m equal eigenvalues leaves m - 1 of them if u has weight in it, else all m.
        self._copies = sizes - self._active
        self._survivors = np.repeat(eigvals[self._starts], self._copies)

    def extremes(self, excited: bool) -> tuple[float, float]:
        """Return the smallest and the largest eigenvalue of H* besides the 0 along u; NaN if there is none."""
        found: list[float] = []
        if self.n_roots and (not excited or self.roots_excited()):
            ends = _secular_roots(self.poles, self.weights, np.array([0, self.n_roots - 1]))
            found += self._unscaled(ends).tolist()
        survivors = self._survivors[self.survivors_excited()] if excited else self._survivors
        if survivors.size:
            found += [float(survivors[0]), float(survivors[-1])]
        return (min(found), max(found)) if found else (math.nan, math.nan)

    @cached_property
    def _unordered(self) -> FloatArray:
        roots = _secular_roots(self.poles, self.weights, np.arange(self.n_roots))
        return np.concatenate([[0.0], self._unscaled(roots), self._survivors])

    def order(self) -> Any:
        if not self._survivors.size:
            return np.arange(self.n_roots + 1)
        return np.argsort(self._unordered, kind="stable")

    def eigvals(self) -> FloatArray:
        return self._unordered[self.order()]

    def _unscaled(self, values: FloatArray) -> Any:
        return np.ldexp(values, -self._shift)

    def roots_excited(self) -> bool:
        """Whether w0 has a part that is not parallel to u; it then excites every root within a step."""
        eigvals, u, w0 = self._problem.eigvals, self._problem.u, self._problem.w0
        if not w0.any():
            return False
        # Compared as H^(1/2) u and H^(1/2) w0, where H-orthogonal is orthogonal.
        x = np.copysign(np.sqrt(_scaled_weights(eigvals, u)), u)
        y = np.copysign(np.sqrt(_scaled_weights(eigvals, w0)), w0)
        rest = y - float(np.sum(x * y)) / float(np.sum(x * x)) * x
        return float(np.sum(rest * rest)) > _EXCITED_TOL**2 * float(np.sum(y * y))

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
        return np.repeat(part > _EXCITED_TOL**2 * whole, self._copies)


@lru_cache(maxsize=8)  # a sweep asks once a tile
def _star_extremes(problem: OLSProblem, excited: bool) -> tuple[float, float]:
    return _StarSpectrum(problem).extremes(excited)


def _to_unit_size(vector: FloatArray) -> FloatArray:
    """Scale by a power of two so that the largest entry is in [1/2, 1)."""
    return np.ldexp(vector, -math.frexp(float(np.abs(vector).max()))[1])


def _scaled_weights(eigvals: FloatArray, u: FloatArray) -> FloatArray:
    """Return eigvals * u**2 times the power of two that puts the sum into [1/2, 1)."""
    mantissa_l, exponent_l = np.frexp(eigvals)
    mantissa_u, exponent_u = np.frexp(u)
    mantissa = mantissa_l * mantissa_u * mantissa_u
    exponent = exponent_l + 2 * exponent_u
    exponent -= exponent[mantissa > 0].max()
    weights = np.ldexp(mantissa, np.where(mantissa > 0, exponent, 0))
    return np.ldexp(weights, -math.frexp(math.fsum(weights))[1])


def _secular_roots(poles: FloatArray, weights: FloatArray, gaps: Any) -> FloatArray:
    r"""Solve ``sum_i weights_i / (poles_i - x) = 0`` between neighbouring poles.

    Parameters
    ----------
    poles : ndarray, shape (n,)
        Distinct, ascending, > 0.
    weights : ndarray, shape (n,)
        > 0, sum <= 1, none below 2**-1000.
    gaps : ndarray of int
        Root k lies between poles k and k + 1, 0 <= k < n - 1.

    Notes
    -----
    These are the nonzero eigenvalues of ``D - (Du)(Du)'/(u'Du)``, ``weights = D u^2``: the factor x, which belongs to
    the eigenvalue 0, is divided out of the usual secular function ``1 - sum (Du)_i^2 / (E (D_i - x))``.

    Each root is sought as an offset from the nearer pole, ``x = pole + t``, so that all ``pole_i - x`` are known to
    full relative precision (as in LAPACK's dlaed4). In units of the gap and oriented so that the near pole is at 0 and
    the other one at 1, t is s in (0, 1/2] and the function times s,
    ``F(s) = sum_i weights_i y_i,  y_i = s/(z_i - s)``, has terms of size <= weights_i: nothing overflows. F is
    ``-weights[near] < 0`` at 0, >= 0 at 1/2 by the choice of the pole, with one change of sign, above weights[near]/2.
    Steps: Li's "middle way" (rational interpolation with both poles fixed, LAPACK Working Note 89), kept in the
    bracket by geometric bisection.

    Relative condition: x is homogeneous of degree 1 and increasing in each pole, so relative errors of the poles pass
    to x unamplified; and since terms left and right of x balance, a relative error delta of every term moves x by at
    most ``2 delta x``. So all roots come out to a few ulp of themselves whatever the spread of the poles.
    """
    step = max(1, _BLOCK // poles.size)
    blocks = [_secular_block(poles, weights, gaps[i : i + step]) for i in range(0, gaps.size, step)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _secular_block(poles: FloatArray, weights: FloatArray, left: Any) -> FloatArray:
    gap = poles[left + 1] - poles[left]
    # A step that is 0/0 or infinite falls outside the bracket and becomes a bisection.
    with np.errstate(all="ignore"):
        # The sign at the middle tells the nearer pole.
        z = (poles - poles[left][:, None]) / gap[:, None]
        near_left = np.sum(weights * (0.5 / (z - 0.5)), axis=1) >= 0
        near = np.where(near_left, left, left + 1)
        z = (poles - poles[near][:, None]) / np.where(near_left, gap, -gap)[:, None]
        low, high = weights[near] / 2, np.full(left.size, 0.5)
        s = high.copy()
        todo = np.arange(left.size)
        for iteration in range(120):
            y = s[todo, None] / (z - s[todo, None])
            terms = weights * y
            value = terms.sum(axis=1)
            size = np.abs(terms).sum(axis=1)
            terms *= y
            slope = terms.sum(axis=1)
            slope_far = np.sum(terms, axis=1, where=y > 0)
            above = value >= 0
            high[todo[above]] = s[todo[above]]
            low[todo[~above]] = s[todo[~above]]
            at, lo, hi = s[todo], low[todo], high[todo]
            # c zeta^2 - a zeta + b = 0 for the relative step zeta, all divided by the distance of the far pole / s
            ratio = at / (1 - at)
            a = (1 - ratio) * value + slope
            c = ratio * (value + slope - slope_far) - slope_far
            root = np.sqrt(np.maximum(a * a + 4 * value * c, 0))
            zeta = np.where(a > 0, -2 * value / (a + root), (a - root) / np.where(c == 0, np.inf, 2 * c))
            new = at + at * zeta
            outside = ~((new > lo) & (new < hi))
            new = np.where(outside | (iteration >= 40), np.sqrt(lo * hi), new)
            exact = np.abs(value) <= MACHEPS / 4 * size
            s[todo] = np.where(exact, at, new)
            done = exact | (np.abs(new - at) <= MACHEPS / 2 * at) | (hi <= lo * (1 + 2 * MACHEPS))
            if done.all():
                break
            todo, z = todo[~done], z[~done]
        offset = np.where(near_left, s, -s) * gap
    return poles[near] + offset


# -------------------------------------------------------------------- regimes of the effective learning rate


@dataclass(frozen=True)
class EffectiveRateRegimes:
    r"""What the effective learning rate of BNGD settles at, as a function of the learning rate.

    Attributes
    ----------
    small_slope : float
        ``eps_eff -> small_slope * eps`` for small eps: ``||u||^2/||w0||^2``.
    plateau : float
        ``eps_eff`` settles just below ``2/lambda*_d`` in between; inf for d = 1.
    large_product : float
        ``eps_eff -> large_product / eps`` for large eps: ``||u||^2/C^2``, ``C = |a0| ||He0||/sigma0``; inf where the
        first step does not move w (C = 0).
    eps_1, eps_2 : float
        Edges of the plateau, where its value meets the two asymptotes; ``eps_2 < eps_1`` says that there is none.
    small_scale, large_scale : float
        To first order the asymptotes are too high by the relative amounts ``eps/small_scale`` and ``large_scale/eps``.
    large_corr : float
        Correlation, in [0, 1], of prediction and target after one infinitely large step; 0 is next to the saddles.
    note : str
        Why the large-eps law does not hold for this start; empty for a generic start.
    """

    small_slope: float
    plateau: float
    large_product: float
    eps_1: float
    eps_2: float
    small_scale: float
    large_scale: float
    large_corr: float
    note: str

    @property
    def generic(self) -> bool:
        """Whether all three laws hold for this start."""
        return not self.note

    @property
    def decades(self) -> float:
        """Width of the plateau, ``log10(eps_2/eps_1)``; <= 0 where there is none, NaN where it is not defined."""
        if not (0 < self.eps_1 < math.inf and 0 < self.eps_2 < math.inf):
            return math.nan
        return math.log10(self.eps_2) - math.log10(self.eps_1)

    def eps_eff(self, eps: Any) -> Any:
        """Return the predicted final effective rate, the smallest of the three laws, for learning rates >= 0."""
        if _labelled(eps):
            return _by_labels(self.eps_eff, eps)
        eps = _rates("eps", eps)
        with np.errstate(all="ignore"):
            if self.large_product == math.inf:  # w never moves
                return (self.small_slope * eps)[()]
            large = np.where(eps > 0, self.large_product / eps, np.inf)
            return np.minimum(np.minimum(self.small_slope * eps, self.plateau), large)[()]

    @property
    def crossing(self) -> float:
        """Where the two asymptotes meet, ``||w0||/C``: the first step is then as long as the start."""
        return math.sqrt(self.eps_1) * math.sqrt(self.eps_2)

    def small_until(self, rel: float) -> float:
        """Return the eps, at most eps_1, below which each error of the small-eps law is at most `rel`.

        There are two: ``eps/small_scale`` from the way to the minimiser, and ``(eps/crossing)^2`` from the first step.
        """
        rel = as_real("rel", rel)
        return min(rel * self.small_scale, math.sqrt(rel) * self.crossing, self.eps_1)

    def large_from(self, rel: float) -> float:
        """Return the eps, at least eps_2, above which each error of the large-eps law is at most `rel`.

        There are two: ``large_scale/eps`` from the steps after the first, and ``(crossing/eps)^2`` from the start.
        """
        rel = as_real("rel", rel)
        return max(self.large_scale / rel, self.crossing / math.sqrt(rel), self.eps_2)


def effective_rate_regimes(problem: OLSProblem) -> EffectiveRateRegimes:
    r"""Predict the final effective learning rate of BNGD in its three regimes, and the edges between them.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.

    Returns
    -------
    EffectiveRateRegimes
        All NaN, with a note, for a start with sigma0 = 0.

    Notes
    -----
    For eps_a = 1. At a minimiser ``w = beta u`` the effective rate is ``eps/beta^2``, and
    ``||w_{k+1}||^2 = ||w_k||^2 + eps^2 (a/sigma)^2 ||He||^2`` [Cai], which is a sum of squared steps:

    - small eps: the sum is ``eps (J_0 - J_min)`` to first order (gradient flow), so
      ``eps_eff = eps ||u||^2/(||w0||^2 + eps ||e0||_H^2/2)``. Asymptotically exact. Only w0's part in the range of H
      counts.
    - large eps: the first step dominates, ``||w1||^2 = ||w0||^2 + eps^2 C^2``, and from there on steps are small again:
      ``eps_eff = eps ||u||^2/(eps^2 C^2 + eps ||e1||_H^2/2)`` with e1 the residual of ``w = He0``. Asymptotically
      exact if ``g'He0 != 0``. A start proportional to g has ``g'He0 = 0``: then ``w1'g = w0'g``, and the run lingers
      near the saddles.
    - in between eps_eff tunes itself to the edge of stability, just below ``2/lambda*_d``: observed, not proved.

    If a0 = 0 the first step does not move w, and a0 stands for its value after that step, ``w0'g/sigma0``. Cost: O(d).

    Examples
    --------
    >>> regimes = effective_rate_regimes(OLSProblem([1.0, 10.0], u=[1.0, 1.0], w0=[1.0, 0.5]))
    >>> round(regimes.plateau, 3), regimes.generic
    (1.1, True)
    """
    start = _Start.of(as_problem(problem))
    plateau = spectral_report(problem).eps_eff_max
    if start.sigma2 == 0:
        nan = math.nan
        return EffectiveRateRegimes(
            nan, plateau, nan, nan, nan, nan, nan, nan, "sigma0 = 0 (or it underflows): BN is undefined at this start"
        )

    u2, w2, C2 = start.norm2(start.u), start.norm2(start.w0), start.first_step2
    # In scaled units; learning rates and effective rates go back by one power of two each.
    small_slope = u2 / w2
    large_product = _ratio(u2, C2)
    note = ""
    if C2 == 0:
        corr, large_scale = math.nan, math.nan
        if start.excess == 0:
            note = "w0 is parallel to u: w never moves, and eps_eff = small_slope * eps for every eps"
        else:
            note = "w0'g = 0 and a0 = 0 (or it underflows): the start is a saddle, where eps_eff = 0"
            small_slope = 0.0
    else:
        corr = start.corr(start.He)
        large_scale = _ratio(start.energy * (1 - corr * corr), 2 * C2)
        if corr < _GENERIC_CORR:
            note = "g'He0 = 0 (as for w0 proportional to g): a large first step lands next to the saddles"
    e2 = start.energy * start.excess
    return EffectiveRateRegimes(
        small_slope=_times_two_to(small_slope, start.exp_eff - start.exp_eps),
        plateau=plateau,
        large_product=_times_two_to(large_product, start.exp_eff + start.exp_eps),
        eps_1=_times_two_to(_ratio(start.plateau, small_slope), start.exp_eps),
        eps_2=_times_two_to(large_product / start.plateau if start.plateau < math.inf else math.nan, start.exp_eps),
        small_scale=_times_two_to(2 * w2 / e2 if e2 > 0 else math.inf, start.exp_eps),
        large_scale=_times_two_to(large_scale, start.exp_eps),
        large_corr=corr,
        note=note,
    )


@dataclass(frozen=True)
class _Start:
    """A problem and its start scaled by powers of two to size 1, in the coordinates ``w0 = beta u + v``."""

    eigvals: FloatArray
    u: FloatArray
    w0: FloatArray
    exp_eps: int  # eps = 2**exp_eps * scaled eps
    exp_eff: int  # eps_eff = 2**exp_eff * scaled eps_eff
    energy: float  # E
    beta: float
    v: FloatArray
    sigma2: float
    excess: float  # ||e0||_H^2/E = V/sigma0^2
    He: FloatArray
    first_step2: float  # C^2
    plateau: float  # 2/lambda*_d, inf for d = 1

    @classmethod
    def of(cls, problem: OLSProblem) -> _Start:
        exp_l = math.frexp(float(problem.eigvals[-1]))[1]
        exp_l += exp_l % 2  # even, so that its root is a power of two as well
        exp_u = math.frexp(float(np.abs(problem.u).max()))[1]
        exp_w = math.frexp(float(np.abs(problem.w0).max()))[1]
        with np.errstate(under="ignore"):
            eigvals = np.ldexp(problem.eigvals, -exp_l)
            u, w0 = np.ldexp(problem.u, -exp_u), np.ldexp(problem.w0, -exp_w)
            a0 = _times_two_to(problem.a0, -exp_u - exp_l // 2)
            energy = float(np.sum(eigvals * u * u))
            beta = _ratio(float(np.sum(eigvals * u * w0)), energy)
            v = w0 - beta * u
            V = float(np.sum(eigvals * v * v))
            sigma2 = beta * beta * energy + V
            if math.sqrt(V) <= _EXCITED_TOL * math.sqrt(sigma2):  # rounding of a start parallel to u
                V, v = 0.0, np.zeros_like(v)
            if energy > 0 and sigma2 > 0:
                excess, q = V / sigma2, beta * energy / sigma2
                He = eigvals * (excess * u - q * v)
                a0 = a0 or beta * energy / math.sqrt(sigma2)
                first_step2 = a0 * a0 * (float(np.sum(He * He)) / sigma2) if V > 0 else 0.0
            else:
                sigma2, excess, He, first_step2 = 0.0, math.nan, np.zeros_like(u), math.nan
        top = _star_extremes(problem, False)[1]
        plateau = math.inf if math.isnan(top) else _ratio(2.0, math.ldexp(top, -exp_l))
        exp_eps = 2 * exp_w - 2 * exp_u - exp_l
        return cls(eigvals, u, w0, exp_eps, -exp_l, energy, beta, v, sigma2, excess, He, first_step2, plateau)

    def norm2(self, vector: FloatArray) -> float:
        return float(np.sum(vector * vector))

    def corr(self, w: FloatArray) -> float:
        """Return ``|w'g|/(sigma sqrt(E))``, the correlation of prediction and target."""
        w = _to_unit_size(w)
        sigma2 = float(np.sum(self.eigvals * w * w))
        return min(1.0, _ratio(abs(float(np.sum(self.eigvals * self.u * w))), math.sqrt(sigma2 * self.energy)))


def _ratio(numerator: float, denominator: float) -> float:
    """Divide; 0/0 is NaN and x/0 is inf, without an exception."""
    if denominator == 0:
        return math.nan if numerator == 0 else math.copysign(math.inf, numerator)
    return numerator / denominator


def _times_two_to(value: float, exponent: int) -> float:
    """Like math.ldexp, with inf in place of an OverflowError."""
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.copysign(math.inf, value)


# -------------------------------------------------------------------- the window of good learning rates


@dataclass(frozen=True)
class EpsWindow:
    """The learning rates that bring the relative excess to `tol` within `n_steps` steps.

    Attributes
    ----------
    method, tol, n_steps
        What was asked.
    lower, upper : float
        Ends of the window, counting all modes of the start; NaN where no learning rate does it.
    lower_slowest, upper_slowest : float
        The rough estimate that counts the slowest mode only, as if all the excess were in it.
    reliable : bool
        Whether both ends are where the prediction was found right to 0.05 decades: for BNGD, a factor 3 or more outside
        the plateau. Always True for GD.
    """

    method: str
    tol: float
    n_steps: int
    lower: float
    upper: float
    lower_slowest: float
    upper_slowest: float
    reliable: bool

    @property
    def decades(self) -> float:
        """Width ``log10(upper/lower)``; 0 for an empty window, inf where every small learning rate does it."""
        return _decades(self.lower, self.upper)

    @property
    def decades_slowest(self) -> float:
        """Width of the rough estimate."""
        return _decades(self.lower_slowest, self.upper_slowest)


def eps_window(problem: OLSProblem, tol: float, n_steps: int, method: str = "bngd") -> EpsWindow:
    r"""Predict the window of learning rates that reach a tolerance in a number of steps.

    Parameters
    ----------
    problem : OLSProblem
        The problem with its start.
    tol : float
        Relative excess ``(J - J_min)/(E/2)`` to reach, in (0, 1).
    n_steps : int
        Number of steps, >= 1.
    method : {"bngd", "gd"}
        The dynamics; BNGD with eps_a = 1.

    Returns
    -------
    EpsWindow

    Notes
    -----
    GD, identity: ``excess_k = sum_i lambda_i (1 - eps lambda_i)^(2k) (w0 - u)_i^2 / E`` is convex in eps, so the window
    is an interval; its ends are found by bisection. It is the excess *at* step `n_steps` that counts.

    BNGD, asymptotically exact for many steps: at either end of the window the effective rate is far below the plateau,
    where BNGD follows the gradient flow ``dw/dt = q (g - q H w)``, ``q = w'g/sigma^2``, ``t = k eps``, with the excess
    ``1 - (w'g)^2/(sigma^2 E)``. Let t_0 be the time at which the flow from w0 reaches the tolerance, and t_1 the time
    from the direction ``He0`` with norm 1: there one large step leads, with norm ``eps C``. Then, by the scaling law
    ``(w0, eps) -> (r w0, r^2 eps)``, ``lower = t_0/n_steps`` and ``upper = n_steps/(C^2 t_1)``: the window grows like
    ``n_steps^2``, GD's like n_steps. Every mode counts, and so does the way to the minimiser. Found by simulation (log
    and linear spectra, d = 20 and 100, cond 50 to 1000, tol 1e-3 and 1e-8): the error falls like 1/n_steps; the lower
    end is too low, by at most 0.05 decades a factor 3 outside the plateau and 0.02 a factor 10 outside, the upper end
    is too high by a quarter of that. Nearer to the plateau the window is too wide, and may be empty in truth: then
    `reliable` is False. Where the large-eps law fails, as the `note` of `effective_rate_regimes` says, the upper end is
    NaN.

    The rough estimate asks for ``exp(-2 k eps_eff lambda*_2) = tol`` on the two outer branches of the effective rate
    (for GD ``(1 - eps lambda)^(2k) = tol`` for the two extreme modes). It ignores how the excess is spread over the
    modes and is narrower by up to 2 decades at loose tolerances.

    Cost: O(d) times some 300 for GD; for BNGD O(d) times some 1000, for the flow is integrated with adaptive steps (to
    0.004 decades of t, by comparison with ten times smaller steps): 10 ms at d = 100, 8 s at d = 1e6.

    Examples
    --------
    >>> problem = OLSProblem.from_spectrum("linspace", 100, 100.0)
    >>> gd, bn = (eps_window(problem, 1e-3, 10_000, method) for method in ("gd", "bngd"))
    >>> gd.decades < 4 < bn.decades
    True
    """
    one_of("method", method, _METHODS)
    tol = as_real("tol", tol)
    if not 0 < tol < 1:
        raise ValueError(f"tol must be in (0, 1), got {tol!r}")
    n_steps = as_count("n_steps", n_steps, minimum=1)
    window = _gd_window if method == "gd" else _bngd_window
    with np.errstate(all="ignore"):  # a range beyond float64 ends in inf or NaN
        ends, reliable = window(problem, tol, n_steps)
        return EpsWindow(method, tol, n_steps, *ends, reliable)


_Ends = tuple[float, float, float, float]


def _decades(lower: float, upper: float) -> float:
    if not lower <= upper:  # also NaN
        return 0.0
    return math.inf if lower == 0 or upper == math.inf else math.log10(upper) - math.log10(lower)


def _gd_window(problem: OLSProblem, tol: float, n_steps: int) -> tuple[_Ends, bool]:
    exp_l = math.frexp(float(problem.eigvals[-1]))[1]
    with np.errstate(all="ignore"):
        eigvals = np.ldexp(problem.eigvals, -exp_l)
        exp_u = math.frexp(float(np.abs(problem.u).max()))[1]
        u, w0 = np.ldexp(problem.u, -exp_u), np.ldexp(problem.w0, -exp_u)
        error = np.sqrt(eigvals) * (w0 - u) / np.sqrt(np.sum(eigvals * u**2))

        def excess(eps: float) -> float:
            return float(np.sum((np.abs(1 - eps * eigvals) ** n_steps * error) ** 2))

        def slope(eps: float) -> float:
            x = 1 - eps * eigvals
            return -float(np.sum(eigvals * np.sign(x) * (np.abs(x) ** (n_steps - 0.5) * error) ** 2))

        low, high = max(float(eigvals[0]), 2.0**-1000), float(eigvals[-1])
        root = tol ** (0.5 / n_steps)
        slowest_low = _times_two_to(-math.expm1(math.log(tol) / (2 * n_steps)) / low, -exp_l)
        slowest_high = _times_two_to((1 + root) / high, -exp_l)
        best = _bisect(lambda eps: slope(eps) >= 0, 1 / high, 1 / low)
        if not excess(best) <= tol:
            return (math.nan, math.nan, slowest_low, slowest_high), True
        lower = 0.0 if excess(0.0) <= tol else _bisect(lambda eps: excess(eps) <= tol, best * 2.0**-1000, best)
        far = max(4 / high, 2 * best)
        while excess(far) <= tol and far < 1e300:  # the fastest mode is hardly excited
            far *= 2
        upper = _bisect(lambda eps: excess(eps) > tol, best, far)
    return (_times_two_to(lower, -exp_l), _times_two_to(upper, -exp_l), slowest_low, slowest_high), True


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where `holds` turns from False to True between two positive numbers, by geometric bisection."""
    for _ in range(80):
        middle = math.sqrt(low) * math.sqrt(high)
        if not low < middle < high:
            break
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def _bngd_window(problem: OLSProblem, tol: float, n_steps: int) -> tuple[_Ends, bool]:
    start = _Start.of(problem)
    if not start.sigma2 > 0:
        return (math.nan, math.nan, math.nan, math.nan), False
    if start.excess <= tol:
        # Small steps do no harm; the first step on the third branch moves away before it comes back.
        lower = 0.0
    else:
        lower = _flow_time(start, start.beta, start.v, tol) / n_steps
    if start.first_step2 == 0:
        upper = math.inf if start.excess == 0 else math.nan
    else:
        w1 = start.He / math.sqrt(start.norm2(start.He))
        beta = float(np.sum(start.eigvals * start.u * w1)) / start.energy
        if start.corr(w1) < _GENERIC_CORR:
            upper = math.nan
        else:
            time = _flow_time(start, beta, w1 - beta * start.u, tol)
            upper = n_steps / (start.first_step2 * time) if time > 0 else math.inf
    low_star = _star_extremes(problem, False)[0]
    need = _ratio(-math.log(tol), 2 * n_steps * math.ldexp(low_star, start.exp_eff)) if low_star > 0 else 0.0
    u2, w2 = start.norm2(start.u), start.norm2(start.w0)
    upper_slowest = _ratio(u2, need * start.first_step2)
    eps_1, eps_2 = _ratio(start.plateau * w2, u2), _ratio(u2, start.plateau * start.first_step2)
    reliable = 3 * lower <= eps_1 and upper >= 3 * eps_2
    if lower > upper:
        lower = upper = math.nan
    a, b, c, d = (_times_two_to(end, start.exp_eps) for end in (lower, upper, need * w2 / u2, upper_slowest))
    return (a, b, c, d), bool(reliable)


def _flow_time(start: _Start, beta: float, v: FloatArray, tol: float) -> float:
    r"""Return the time at which the gradient flow of BNGD from ``beta u + v`` reaches the relative excess `tol`.

    In the time tau with ``d tau = q^2 dt`` the flow is ``dw/dtau = -H (w - u/q)``: linear for a given q. So each step
    is the exact solution with 1/q linear over the step (an exponential trapezoidal rule, of order 2 also for stiff
    modes), with a length set by how much 1/q and the excess change; afterwards w is scaled back to its norm, which the
    flow conserves. In the deflated coordinates ``1/q - beta = V/(beta E)`` is of second order in v, and no digits are
    lost on the way to small tolerances.
    """
    if beta == 0:
        return math.inf
    eigvals, u, energy = start.eigvals, start.u, np.float64(start.energy)  # NumPy's division never raises
    beta = np.float64(beta)
    weights = eigvals * u

    def measure(beta: float, v: FloatArray) -> tuple[float, float, float]:
        V = float(np.sum(eigvals * v * v))
        bend = V / (beta * energy)  # 1/q - beta
        return V / (beta * beta * energy + V), bend, (beta + bend) ** 2  # excess, bend, dt/dtau

    def advance(length: float) -> tuple[float, FloatArray, float, float, float, float]:
        loss = -np.expm1(-eigvals * length)
        ramp = np.where(loss > 0, 1 - loss / (eigvals * length), 0.0)
        held = v + loss * (bend * u - v)  # were 1/q constant
        shift_held, gain = float(np.sum(weights * held)) / energy, float(np.sum(weights * u * ramp)) / energy
        bend_new = bend
        for _ in range(3):
            # beta moves by shift_held + rise * gain, and 1/q = beta + bend: solved for the rise of 1/q over the step
            rise = (shift_held + bend_new - bend) / (1 - gain)
            shift = shift_held + rise * gain
            moved = held + rise * ramp * u - shift * u
            bend_new = measure(beta + shift, moved)[1]
        back = norm / np.sqrt(np.sum(((beta + shift) * u + moved) ** 2))
        beta_new, moved = (beta + shift) * back, moved * back
        excess_new, bend_new, pace_new = measure(beta_new, moved)
        change = max(abs(rise / (beta + bend)) / 0.03, np.log(excess / excess_new) / 0.2)
        return beta_new, moved, excess_new, bend_new, pace_new, change

    norm = np.sqrt(np.sum((beta * u + v) ** 2))
    excess, bend, pace = measure(beta, v)
    time, length = 0.0, 1e-3 / float(eigvals[-1])
    for _ in range(100_000):
        if not excess > tol:
            return time
        step = advance(length)
        if step[5] > 1:
            length *= 0.5
            continue
        beta_new, v_new, excess_new, bend_new, pace_new, change = step
        if excess_new <= tol:
            # log(excess) is close to linear in time: regula falsi on the length of the last step
            inside, outside = 0.0, length
            for _ in range(60):
                middle = (inside + outside) / 2
                if advance(middle)[2] > tol:
                    inside = middle
                else:
                    outside = middle
                if outside - inside <= 1e-4 * outside:
                    break
            return time + outside * (pace + advance(outside)[4]) / 2
        time += length * (pace + pace_new) / 2
        beta, v, excess, bend, pace = beta_new, v_new, excess_new, bend_new, pace_new
        length *= 1.5 if change < 0.5 else 0.9 if change > 0.9 else 1.1
    return math.nan
