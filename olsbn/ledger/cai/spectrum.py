"""The spectrum of H*, and the rates that it makes possible."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger import textbook
from olsbn.ledger.base import RATE, Chapter, Comparison, Cube, Skip, draw_problem, rounding
from olsbn.ledger.runs import FORMS, iterated, started
from olsbn.theory import spectral_report


def star(cube: Cube) -> SimpleNamespace:
    """Draw a problem and diagonalise its H* densely."""
    problem = draw_problem(cube, cond=(1.5, 1e4), tilt=4.0)
    p = textbook.dense(problem, cube.rng())
    star = np.linalg.eigvalsh(p.H - np.outer(p.g, p.g) / p.E)
    top = float(problem.eigvals[-1])
    return SimpleNamespace(
        problem=problem, star=star, eigvals=problem.eigvals, top=top,
        # eigvalsh is backward stable: d roundings of ||H||; H* itself is made from g = Hu and E, sums of d terms
        error=rounding(20 * problem.dim, top * top * float(problem.u @ problem.u) / p.E),
    )  # fmt: skip


def _best_step(cube: Cube) -> SimpleNamespace:
    """A start close to u, so that the effective rate is eps ||u||^2/||w_0||^2, and eps that makes it the best."""
    problem = draw_problem(cube, dim=(3, 12), cond=(5, 300), tilt=3.0)
    report = spectral_report(problem)
    noise = cube.rng().standard_normal(problem.dim)
    noise *= 1e-7 * np.linalg.norm(problem.u) / np.linalg.norm(noise)
    problem = started(problem, problem.u + noise)
    eps = report.eps_eff_opt * float(problem.w0 @ problem.w0) / float(problem.u @ problem.u)
    rate = np.array([iterated(problem, form, eps, 1.0, 20_000)[0]["rate_sim"][0] for form in FORMS])
    if np.isnan(rate).any():
        raise Skip
    return SimpleNamespace(problem=problem, report=report, rate=rate)


chapter = Chapter()


@chapter.claim("cai.interlacing-upper", "upper", star)
def _(i: SimpleNamespace) -> Comparison:
    """Eigenvalue by eigenvalue H* lies below H.
    Formula: lambda*_i <= lambda_i
    Problems: as olsbn.star-spectrum
    """
    return i.eigvals, i.star, i.error


@chapter.claim("cai.interlacing-lower", "lower", star)
def _(i: SimpleNamespace) -> Comparison:
    """Eigenvalue by eigenvalue H* lies above the next lower one of H.
    Formula: lambda*_i >= lambda_{i-1},  i >= 2
    Problems: as olsbn.star-spectrum
    """
    return i.eigvals[:-1], i.star[1:], i.error


@chapter.claim("cai.cond-star", "upper", star)
def _(i: SimpleNamespace) -> Comparison:
    """The effective condition number is at most that of H.
    Formula: cond* = lambda*_d/lambda*_2 <= cond = lambda_d/lambda_1
    Problems: as olsbn.star-spectrum
    """
    return i.eigvals[-1] / i.eigvals[0], i.star[-1] / i.star[1], i.error / i.star[1] * (1 + i.star[-1] / i.star[1])


@chapter.claim("cai.best-rate", "tight", _best_step)
def _(i: SimpleNamespace) -> Comparison:
    """The best effective rate contracts as cond* says.
    Formula: eps_hat = 2/(lambda*_2 + lambda*_d):  rate = (cond* - 1)/(cond* + 1)
    Problems: d in 3..12, cond in 5..300, u leaning far to either end, start close to u; 20000 steps, both kernels
    """
    return (i.report.cond_star - 1) / (i.report.cond_star + 1), i.rate, RATE


@chapter.claim("cai.first-acceleration", "upper", _best_step)
def _(i: SimpleNamespace) -> Comparison:
    """At its best effective rate BNGD contracts at least as fast as GD at its best rate.
    Formula: rate_sim <= (cond - 1)/(cond + 1)
    Problems: as cai.best-rate
    Where: slides, summary of results: convergence rate, can be faster
    """
    return (i.problem.cond - 1) / (i.problem.cond + 1), i.rate, RATE


_false = chapter.variants
FALSE = {
    "interlacing shifted by one": _false("cai.interlacing-upper", theory=lambda i: np.append(0.0, i.eigvals[:-1])),
    "interlacing from below, shifted": _false("cai.interlacing-lower", theory=lambda i: i.eigvals[1:]),
    "cond* is smaller by 5 %": _false.scaled("cai.cond-star", 0.95),
    "the best rate has cond": _false("cai.best-rate", theory=lambda i: (i.problem.cond - 1) / (i.problem.cond + 1)),
    "BNGD has the rate of conjugate gradients": _false(
        "cai.first-acceleration", theory=lambda i: (math.sqrt(i.problem.cond) - 1) / (math.sqrt(i.problem.cond) + 1)
    ),
}
