"""Whole runs: the norm that never shrinks, and the two scaling laws."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from olsbn._validate import FloatArray
from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, draw_problem, rounding
from olsbn.ledger.runs import count_different, started
from olsbn.problems import OLSProblem
from olsbn.runs import run_bngd
from olsbn.theory import effective_rate_regimes


def _monotone(cube: Cube) -> Any:
    problem = draw_problem(cube)
    regimes = effective_rate_regimes(problem)
    eps, eps_a = regimes.eps_1 * cube.log(1e-3, 1e6), cube.uniform(0, 2)
    return run_bngd(problem, eps, eps_a, 300)


def _printed_run(
    eigvals: FloatArray, u: FloatArray, w: FloatArray, a: float, eps: float, eps_a: float, n_steps: int
) -> FloatArray:
    """Return a, sigma, w'g and ||w||^2 over some steps of the printed update, with a diagonal H.

    Sums are correctly rounded: those of BLAS depend on where in memory a vector lies. (And a power function is not.)
    """
    g = eigvals * u
    rows = []
    for _ in range(n_steps):
        Hw = eigvals * w
        sigma, wg = math.sqrt(math.fsum(w * Hw)), math.fsum(w * g)
        rows.append((a, sigma, wg, math.fsum(w * w)))
        w, a = textbook.bngd_update(w, a, eps, eps_a, textbook.bngd_gradient(a, g, Hw, wg, sigma))
    return np.array(rows)


def _scaled_start(cube: Cube) -> SimpleNamespace:
    problem = draw_problem(cube)
    eps, eps_a = effective_rate_regimes(problem).eps_1 * cube.log(1e-3, 1e6), cube.uniform(0, 2)
    r = 2.0 ** cube.integer(-8, 8)
    return SimpleNamespace(problem=problem, eps=eps, eps_a=eps_a, r=r, r_eps=r**2)


def _scaled_start_differences(i: SimpleNamespace) -> list[int]:
    p, eps = i.problem, i.r_eps * i.eps
    x = run_bngd(p, i.eps, i.eps_a, 200)
    y = run_bngd(started(p, i.r * p.w0, p.a0), eps, i.eps_a, 200)
    s = _printed_run(p.eigvals, p.u, p.w0, p.a0, i.eps, i.eps_a, 50)
    t = _printed_run(p.eigvals, p.u, i.r * p.w0, p.a0, eps, i.eps_a, 50)
    return [
        *(count_different(x[name], y[name]) for name in ("a", "excess", "residual", "eps_eff")),
        count_different(i.r * x.w_norm, y.w_norm),
        count_different(s * [1, i.r, i.r, i.r**2], t),
    ]


def _scaled_problem(cube: Cube) -> SimpleNamespace:
    i = _scaled_start(cube)
    i.t = 4.0 ** cube.integer(-8, 8)
    i.eff = i.t
    return i


def _scaled_problem_differences(i: SimpleNamespace) -> list[int]:
    p, root = i.problem, math.sqrt(i.t)
    x = run_bngd(p, i.eps, i.eps_a, 200)
    y = run_bngd(OLSProblem(i.t * p.eigvals, p.u / root, p.w0, p.a0), i.eps, i.eps_a, 200)
    s = _printed_run(p.eigvals, p.u, p.w0, p.a0, i.eps, i.eps_a, 50)
    t = _printed_run(i.t * p.eigvals, p.u / root, p.w0, p.a0, i.eps, i.eps_a, 50)
    return [
        *(count_different(x[name], y[name]) for name in ("a", "excess", "residual", "w_norm")),
        count_different(x.eps_eff / i.eff, y.eps_eff),
        count_different(s * [1, root, root, 1], t),
    ]


chapter = Chapter()


@chapter.claim("cai.norm-monotone", "lower", _monotone)
def _(run: Any) -> Comparison:
    """The norm of w never decreases, for any learning rates.
    Formula: ||w_{k+1}|| / ||w_k|| >= 1
    Problems: {PROBLEMS}; eps over 9 decades, eps_a in (0, 2), 300 steps
    """
    # each norm is the root of a sum of at most 12 squares
    return 1.0, run.w_norm.values[1:] / run.w_norm.values[:-1], rounding(2 * 12)


@chapter.claim("cai.scaling-start", "identity", _scaled_start, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """Scaling the start by r and eps by r^2 changes no loss, scale or effective rate; no bit if r = 2^m.
    Formula: (w_0, eps) -> (r w_0, r^2 eps):  a_k, e_k, eps_hat_k unchanged  [numbers that differ]
    Problems: {PROBLEMS}; r = 2^-8..2^8; 200 steps of the engine, 50 of the printed update
    """
    return 0.0, _scaled_start_differences(i)


@chapter.claim("cai.scaling-problem", "identity", _scaled_problem, n_random=10, n_search=20)
def _(i: SimpleNamespace) -> Comparison:
    """Scaling H by t and u by t^-1/2 changes no loss or scale and divides the effective rate by t.
    Formula: (H, u) -> (tH, u/sqrt t):  a_k unchanged, eps_hat_k -> eps_hat_k/t  [numbers that differ]
    Problems: {PROBLEMS}; t = 4^-8..4^8; 200 steps of the engine, 50 of the printed update
    """
    return 0.0, _scaled_problem_differences(i)


_false = chapter.variants
FALSE = {
    "the norm never grows": _false("cai.norm-monotone", kind="upper"),
    "the norm grows by 1e-9 a step": _false("cai.norm-monotone", theory=lambda run: 1 + 1e-9),
    "eps scales like r": _false.changed("cai.scaling-start", r_eps=lambda i: i.r),
    "eps_hat scales like 1/sqrt t": _false.changed("cai.scaling-problem", eff=lambda i: math.sqrt(i.t)),
}
