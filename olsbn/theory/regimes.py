"""Regimes of BNGD's effective learning rate: small eps, the plateau, large eps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from olsbn._validate import as_real
from olsbn.problems import OLSProblem, as_problem
from olsbn.problems.sample import html_table
from olsbn.theory.labels import by_labels, labelled, rates
from olsbn.theory.spectrum import spectral_report, star_extremes
from olsbn.theory.start import GENERIC_CORR, Start, ratio, times_two_to


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
    attainable : float
        The effective rate settles at no more than this, over all learning rates; see Notes of `effective_rate_regimes`.
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
    attainable: float
    note: str

    def _repr_html_(self) -> str:
        names = ["small_slope", "plateau", "large_product", "eps_1", "eps_2", "crossing", "attainable"]
        rows: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in names]
        return html_table("effective learning rate of BNGD", rows + ([("note", self.note)] if self.note else []))

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
        if labelled(eps):
            return by_labels(self.eps_eff, eps)
        eps = rates("eps", eps)
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

    If a0 = 0 the first step does not move w, and a0 stands for its value after that step, ``w0'g/sigma0``.

    `attainable`: a step of w is orthogonal to it, so its norm never shrinks, and the first step makes it
    ``||w0||^2 (1 + (eps/crossing)^2)``. The limit ``eps ||u||^2/||w||^2`` is then at most ``small_slope eps`` over
    ``1 + (eps/crossing)^2``, which is ``small_slope crossing/2`` or less: exact, for every eps_a, without momentum and
    decay. For a0 = 0 the first step that moves w is eps_a times as long, of any length then, and the bound is not
    there. A limit at a minimiser is not above ``2/lambda*`` of the fastest mode that the start excites either (which is
    `plateau` where it excites all of them): above it a minimiser repels. `attainable` is the smaller of both.
    Cost: O(d), more with modes that u does not reach.

    Examples
    --------
    >>> regimes = effective_rate_regimes(OLSProblem([1.0, 10.0], u=[1.0, 1.0], w0=[1.0, 0.5]))
    >>> round(regimes.plateau, 3), regimes.generic
    (1.1, True)
    """
    start = Start.of(as_problem(problem))
    plateau = spectral_report(problem).eps_eff_max
    if start.sigma2 == 0:
        nan = math.nan
        return EffectiveRateRegimes(
            nan,
            plateau,
            nan,
            nan,
            nan,
            nan,
            nan,
            nan,
            nan,
            "sigma0 = 0 (or it underflows): BN is undefined at this start",
        )

    u2, w2, C2 = start.u2, start.w2, start.first_step2
    # In scaled units; learning rates and effective rates go back by one power of two each.
    small_slope = u2 / w2
    large_product = ratio(u2, C2)
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
        large_scale = ratio(start.energy * (1 - corr * corr), 2 * C2)
        if corr < GENERIC_CORR:
            note = "g'He0 = 0 (as for w0 proportional to g): a large first step lands next to the saddles"
    e2 = start.energy * start.excess
    fastest = star_extremes(problem, True)[1]
    attainable = math.inf if math.isnan(fastest) else 2 / fastest
    if C2 > 0 and problem.a0 != 0:
        by_norm = math.sqrt(small_slope) * math.sqrt(large_product) / 2
        attainable = min(times_two_to(by_norm, start.exp_eff), attainable)
    return EffectiveRateRegimes(
        small_slope=times_two_to(small_slope, start.exp_eff - start.exp_eps),
        plateau=plateau,
        large_product=times_two_to(large_product, start.exp_eff + start.exp_eps),
        eps_1=times_two_to(ratio(start.plateau, small_slope), start.exp_eps),
        eps_2=times_two_to(large_product / start.plateau if start.plateau < math.inf else math.nan, start.exp_eps),
        small_scale=times_two_to(2 * w2 / e2 if e2 > 0 else math.inf, start.exp_eps),
        large_scale=times_two_to(large_scale, start.exp_eps),
        large_corr=corr,
        attainable=attainable,
        note=note,
    )
