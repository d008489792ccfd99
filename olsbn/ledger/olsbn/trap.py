"""The start w_0 = g, which is not generic."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.runs import slope, started
from olsbn.sweeps.running import sweep
from olsbn.theory import effective_rate_regimes


def _trap(cube: Cube) -> SimpleNamespace:
    """The start w_0 proportional to g, far above the plateau: effective rates at step 3."""
    problem = draw_problem(cube, cond=(3, 300))
    g = problem.eigvals * problem.u
    problem = started(problem, g / np.linalg.norm(g))
    start = effective_rate_regimes(problem)
    if not start.small_scale < 100 * start.eps_1:
        raise Skip  # nearly parallel to u as well
    eps = max(start.eps_2, math.sqrt(start.eps_1 * start.eps_2)) * np.geomspace(1e2, 1e9, 57)
    ds = sweep(problem, eps=eps, n_steps=3, progress=False)
    # Large enough that step 3 is next to the saddles, not so large that the correlation of w and u is rounding.
    near = (1 - ds.excess.values < 1e-3) & (1 - ds.excess.values > 1e-9)
    if near.sum() < 8:
        raise Skip
    return SimpleNamespace(eps=eps[near], eps_eff=ds.eps_eff.values[near])


def _one_step_from_g(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    strength = cube.log(1e-3, 1e3)
    p = textbook.dense(problem, cube.rng())
    w = p.g / np.linalg.norm(p.g)
    s, q = textbook.sigma(p, w), textbook.q(p, w)
    top = float(problem.eigvals[-1])
    a = float(w @ p.g / s)
    eps = strength * s / (a * q * top)
    w_next, _ = textbook.bngd_step(p, w, a, eps, 1.0)
    reach = np.linalg.norm(w_next) + eps * a / s * top * (np.linalg.norm(p.u) + q)
    return SimpleNamespace(p=p, w=w, w_next=w_next, norm_size=reach**2, ops=20 * problem.dim * top / s**2)


chapter = Chapter()


@chapter.claim("olsbn.trap-first-step", "identity", lambda cube: _one_step_from_g(cube))
def _(i: SimpleNamespace) -> Comparison:
    """A start proportional to g is not generic: the first step leaves w'g as it is, however long it is.
    Formula: w_0 = g:  w_1'g = w_0'g
    Problems: {PROBLEMS}; rotated at random; the length of the step over 6 decades
    """
    return i.w @ i.p.g, i.w_next @ i.p.g, rounding(i.ops, math.sqrt(i.norm_size) * np.linalg.norm(i.p.g))


@chapter.claim("olsbn.trap", "order", _trap)
def _(i: SimpleNamespace) -> Comparison:
    """From there the effective rate falls like eps^-3: a large eps ends next to the saddles, and lingers.
    Formula: w_0 = g:  eps_hat_3 ~ eps^-3
    Problems: {PROBLEMS}, cond in 3..300; eps so large that the squared correlation of w_3 and u is 1e-9 to 1e-3
    """
    return -3.0, slope(i.eps, i.eps_eff)


@chapter.claim("olsbn.large-law-any-start", "counterexample", _trap, refutes="order", n_random=6, n_search=0)
def _(i: SimpleNamespace) -> Comparison:
    """The large-eps law does not hold for every start: refuted is its exponent -1 for w_0 = g.
    Formula: w_0 = g:  eps_hat_3 ~ eps^-1  [false]
    Problems: as olsbn.trap
    """
    return -1.0, slope(i.eps, i.eps_eff)


_false = chapter.variants
FALSE = {
    "any start proportional to u": _false("olsbn.trap-first-step", measured=lambda i: i.w_next @ i.p.u),
    "w_0 = g is generic": _false("olsbn.trap", theory=lambda i: -1.0),
    "it is not": _false("olsbn.large-law-any-start", theory=lambda i: -3.0),
}
