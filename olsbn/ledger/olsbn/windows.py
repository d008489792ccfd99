"""The range of good learning rates, predicted."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger.base import PROBLEMS, WINDOW, Chapter, Comparison, Cube, Skip, draw_problem
from olsbn.ledger.runs import WINDOW_PROBLEMS, growth, holes, measured_window, window_instance
from olsbn.theory import effective_rate_regimes

_FEW_STEPS = f"{PROBLEMS}, d in 3..20, cond in 5..300; tol from 1e-10 to 1e-3 in 100 to 2000 steps; a grid of 400"


def _few_steps(cube: Cube) -> SimpleNamespace:
    """A problem, a tolerance and few steps for it, and the ranges of good learning rates of both methods."""
    problem = draw_problem(cube, dim=(3, 20), cond=(5, 300))
    i = SimpleNamespace(problem=problem, tol=cube.log(1e-10, 1e-3), n_steps=cube.integer(100, 2000))
    r = effective_rate_regimes(problem)
    bound = 2 / float(problem.eigvals[-1])
    if not 0 < r.eps_1 < r.eps_2 < math.inf:
        raise Skip
    i.spans = {"bngd": (r.eps_1 / 1e4, r.eps_2 * 1e4), "gd": (1e-6 * bound, 10 * bound)}
    return i


def _holes(i: SimpleNamespace, method: str) -> float:
    ends = measured_window(i.problem, i.tol, i.n_steps, method, i.spans[method])
    return holes(i.problem, i.tol, i.n_steps, method, ends)


def _with_holes(cube: Cube, method: str) -> float:
    return _holes(_few_steps(cube), method)


chapter = Chapter(WINDOW_PROBLEMS=WINDOW_PROBLEMS, _FEW_STEPS=_FEW_STEPS)


@chapter.claim("olsbn.window", "tight", window_instance, n_random=4, n_search=2)
def _(i: SimpleNamespace) -> Comparison:
    """The range of good learning rates of BNGD is where its two outer regimes are fast enough.
    Formula: log10 of both ends of {eps: excess <= tol within K steps}, from the gradient flow at either end
    Problems: {WINDOW_PROBLEMS}
    """
    return np.log10([i.predicted[1].lower, i.predicted[1].upper]), np.log10(i.bngd[1]), WINDOW


@chapter.claim("olsbn.window-growth", "order", window_instance, n_random=4, n_search=2)
def _(i: SimpleNamespace) -> Comparison:
    """With the number K of steps BNGD's range of good learning rates grows like K^2 and GD's like K.
    Formula: upper/lower end ~ K^2 (BNGD), K^1 (GD)
    Problems: {WINDOW_PROBLEMS} and a quarter of it (GD: 16 times as many)
    """
    return [2.0, 1.0], [growth(i.bngd), growth(i.gd)]


@chapter.claim("olsbn.window-gd-interval", "identity", lambda cube: _with_holes(cube, "gd"), n_random=12, n_search=12)
def _(decades: float) -> Comparison:
    """GD's good learning rates are an interval: at a fixed step its excess is convex in eps.
    Formula: decades between the ends that do not reach the tolerance = 0
    Problems: {_FEW_STEPS}
    """
    return 0.0, decades


@chapter.claim(
    "olsbn.window-interval",
    "counterexample",
    lambda cube: _with_holes(cube, "bngd"),
    refutes="identity",
    n_random=30,
    n_search=0,
)
def _(decades: float) -> Comparison:
    """BNGD's are not: refuted is that its range of good learning rates has no holes, where the steps are few.
    Formula: decades between the ends that do not reach the tolerance = 0  [false]
    Problems: {_FEW_STEPS}
    """
    return 0.0, decades


_false = chapter.variants
FALSE = {
    "BNGD's window grows like K": _false("olsbn.window-growth", theory=lambda i: [1.0, 1.0]),
    "GD's window grows like K^2": _false("olsbn.window-growth", theory=lambda i: [2.0, 2.0]),
    "BNGD's is an interval": _false("olsbn.window-gd-interval", instance=lambda cube: _with_holes(cube, "bngd")),
    "GD's is not": _false("olsbn.window-interval", instance=lambda cube: _with_holes(cube, "gd")),
    "the window ends at the plateau": _false(
        "olsbn.window", theory=lambda i: np.log10([i.predicted[1].lower, i.predicted[1].upper]) * [1, 0.5]
    ),
}
