"""Linear rates of BNGD and GD, and GD's edge."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger.base import RATE, Chapter, Comparison, Cube, Skip, draw_problem
from olsbn.ledger.runs import FORMS, across_the_plateau, iterated
from olsbn.schema import Status
from olsbn.sweeps.running import sweep
from olsbn.theory import bngd_contraction_ratio, gd_contraction_ratio, spectral_report

# Steps at which two successive losses are recorded.
_TIMES = np.unique(np.geomspace(200, 20_000, 24).astype(int))
_RECORD = np.unique(np.append(_TIMES - 1, _TIMES))


def _settled_rates(cube: Cube) -> SimpleNamespace:
    """Ratios of successive losses of BNGD, as late as they can be seen, over learning rates of w and of a.

    Which cells count: the excess has to have fallen below 1e-100, and the ratio there has to agree with one some
    hundreds of steps earlier to a tenth of what is asked for. That alone does not tell a limit from a slowest mode that
    was damped to nothing on the way and is not back yet: its amplitude tells (`rate_sim` of the first kernel).
    """
    problem, eps, eps_a = across_the_plateau(cube, 6, 3)
    eps, eps_a = np.tile(eps, eps_a.size), np.repeat(eps_a, eps.size)
    at = np.searchsorted(_RECORD, _TIMES)
    found = []
    leads = np.ones(eps.size, bool)
    for form in FORMS:
        cells, trace = iterated(problem, form, eps, eps_a, 20_000, _RECORD)
        leads = np.isfinite(cells["rate_sim"]) if form == FORMS[0] else leads
        for cell in np.flatnonzero(leads):
            after, before = trace["excess"][at, cell], trace["excess"][at - 1, cell]
            k = int(np.sum(after > 1e-285)) - 1
            if k < 3 or after[k] > 1e-100:
                continue
            late, earlier = (math.sqrt(after[j] / before[j]) for j in (k, k - 3))
            if abs(late - earlier) <= RATE / 10 * late:
                found.append((eps_a[cell], trace["eps_eff"][at[k], cell], late))
    if not found:
        raise Skip
    scale, effective, rate = np.array(found).T
    return SimpleNamespace(problem=problem, eps_a=scale, eps_eff=effective, rate=rate)


def _gd_rates(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 100))
    report = spectral_report(problem)
    eps = report.eps_max * np.append(cube.rng().uniform(0.05, 0.999, 7), report.eps_opt / report.eps_max)
    ds = sweep(problem, method="gd", eps=eps, n_steps=200_000, progress=False)
    settled = ~np.isnan(ds.rate_sim.values)
    if not settled.any():
        raise Skip
    return SimpleNamespace(problem=problem, eps=eps[settled], rate=ds.rate_sim.values[settled])


def _gd_best(cube: Cube, factor: float = 1.0) -> SimpleNamespace:
    """GD's contraction at the learning rate that theory calls the best, and at two close to it on either side."""
    problem = draw_problem(cube, cond=(1.5, 100))
    eps = factor * spectral_report(problem).eps_opt * np.array([0.97, 1, 1.03])
    rate = sweep(problem, method="gd", eps=eps, n_steps=200_000, progress=False).rate_sim.values
    if np.isnan(rate).any():
        raise Skip
    return SimpleNamespace(cond=problem.cond, rate=rate)


def _gd_edge(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube, cond=(1.5, 100))
    nearness = cube.log(1e-9, 0.5)
    return SimpleNamespace(problem=problem, eps=2 / float(problem.eigvals[-1]) * np.array([1 - nearness, 1 + nearness]))


chapter = Chapter()


@chapter.claim("cai.linear-rate", "tight", _settled_rates, n_random=12, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """BNGD converges linearly, at the rate of its linearisation at the effective rate it settles at.
    Formula: sqrt(J_{k+1} - J_min)/sqrt(J_k - J_min) -> max(|1 - eps_a|, max_{i>=2} |1 - eps_hat lambda*_i|)
    Problems: {PROBLEMS}, cond <= 100; 6 eps from eps_1/5 to 5 eps_2, 3 eps_a in 0.05..1.95, by both kernels; ratios
    of successive losses between 1e-100 and 1e-285 that have come to rest, where the slowest mode leads
    Where: slides, summary of results: convergence rate
    """
    return bngd_contraction_ratio(i.problem, i.eps_eff, i.eps_a), i.rate, RATE * i.rate


@chapter.claim("cai.gd-rate", "tight", _gd_rates)
def _(i: SimpleNamespace) -> Comparison:
    """GD converges linearly at the rate of its largest factor.
    Formula: rate -> max_i |1 - eps lambda_i|
    Problems: {PROBLEMS}, cond <= 100; eps in (0.05, 0.999) 2/lambda_d and the best one
    Where: slides, summary of results: convergence rate
    """
    return gd_contraction_ratio(i.problem, i.eps), i.rate, RATE * i.rate


@chapter.claim("cai.gd-best-rate", "tight", _gd_best, n_random=10, n_search=10)
def _(i: SimpleNamespace) -> Comparison:
    """GD's best rate is (cond - 1)/(cond + 1), at the learning rate between its two extreme factors.
    Formula: eps = 2/(lambda_1 + lambda_d): rate = (cond - 1)/(cond + 1); 3 % below and above it is slower
    Problems: {PROBLEMS}, cond <= 100
    Where: slides, summary of results: convergence rate
    """
    rate = (i.cond - 1) / (i.cond + 1)
    return [rate, 1.0], [i.rate[1], float(np.argmin(i.rate))], [RATE * rate, 0.0]


@chapter.claim("cai.gd-edge", "identity", _gd_edge)
def _(i: SimpleNamespace) -> Comparison:
    """GD converges below eps = 2/lambda_d and diverges above: the contrast to BNGD.
    Formula: status (0 converged, 2 diverged) at (1 -+ h) 2/lambda_d, h from 1e-9 to 1/2
    Problems: {PROBLEMS}, cond <= 100; 2^40 steps in closed form
    Where: slides, summary of results: convergence, only for small eps
    """
    return [Status.CONVERGED, Status.DIVERGED], sweep(
        i.problem, method="gd", eps=i.eps, n_steps=2**40, progress=False
    ).status.values


_false = chapter.variants
FALSE = {
    "the rate is that of the excess": _false(
        "cai.linear-rate", theory=lambda i: bngd_contraction_ratio(i.problem, i.eps_eff, i.eps_a) ** 2
    ),
    "the rate has H": _false("cai.linear-rate", theory=lambda i: gd_contraction_ratio(i.problem, i.eps_eff)),
    "the scale's rate does not count": _false(
        "cai.linear-rate", theory=lambda i: bngd_contraction_ratio(i.problem, i.eps_eff)
    ),
    "a rate off by 1e-9": _false.scaled("cai.linear-rate", 1 + 1e-9),
    "GD's rate is that of H*": _false("cai.gd-rate", theory=lambda i: bngd_contraction_ratio(i.problem, i.eps)),
    "GD's best rate is at half of that": _false("cai.gd-best-rate", instance=lambda cube: _gd_best(cube, 0.5)),
    "GD's best rate is slower by 1e-9": _false(
        "cai.gd-best-rate", theory=lambda i: [(1 + 1e-9) * (i.cond - 1) / (i.cond + 1), 1.0]
    ),
    "GD's edge is at 1/lambda_max": _false.changed("cai.gd-edge", eps=lambda i: i.eps / 2),
    "GD's edge is off by 1e-7": _false.changed("cai.gd-edge", eps=lambda i: i.eps * (1 + 1e-7)),
}
