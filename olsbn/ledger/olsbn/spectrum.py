"""The spectrum of H* in formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from olsbn.ledger import textbook
from olsbn.ledger.base import Chapter, Comparison, Cube, rounding
from olsbn.ledger.cai.spectrum import star
from olsbn.problems import OLSProblem
from olsbn.theory import spectral_report


def _extreme_u(cube: Cube) -> SimpleNamespace:
    """A solution in the span of the two extreme eigenvectors (or very nearly one of them)."""
    i = SimpleNamespace()
    d, kappa, share = cube.integer(3, 12), cube.log(2, 1e4), cube.unit()
    rng = cube.rng()
    eigvals = np.concatenate([[1.0], np.sort(kappa ** rng.uniform(0.3, 0.7, d - 2)), [kappa]])
    weight = 10.0 ** (16 * share - 8)  # of the top mode against the bottom one
    u = np.zeros(d)
    u[0], u[-1] = 1.0, math.sqrt(weight / kappa)
    i.problem = OLSProblem(eigvals, u / np.linalg.norm(u), rng.standard_normal(d))
    p = textbook.dense(i.problem, rng)
    star = np.linalg.eigvalsh(p.H - np.outer(p.g, p.g) / p.E)[1:]
    i.low_high, i.eigvals, i.share = (float(star[0]), float(star[-1])), eigvals, weight / (1 + weight)
    i.error = rounding(20 * d, kappa * kappa / p.E)
    return i


def _extremes_formula(i: SimpleNamespace) -> list[float]:
    middle = i.share * i.eigvals[0] + (1 - i.share) * i.eigvals[-1]
    return [min(i.eigvals[1], middle), max(i.eigvals[-2], middle)]


chapter = Chapter()


@chapter.claim("olsbn.star-spectrum", "identity", star)
def _(i: SimpleNamespace) -> Comparison:
    """The spectrum of H* is 0 and the roots of a secular equation.
    Formula: 1 = sum_i g_i^2/(E (lambda_i - mu))
    Problems: d in 2..12, cond in 1.5..1e4, u leaning far to either end; H* formed and diagonalised densely
    """
    return spectral_report(i.problem).eigvals_star, i.star, i.error


@chapter.claim("olsbn.cond-star-extreme", "identity", _extreme_u)
def _(i: SimpleNamespace) -> Comparison:
    """cond* << cond where u lies along the extreme eigenvectors: first source of acceleration. There H* has one mean m
    of the extremes in their place.
    Formula: lambda*_2 = min(lambda_2, m), lambda*_d = max(lambda_{d-1}, m),
    m = p_d lambda_1 + p_1 lambda_d, p = lambda u^2/E
    Problems: d in 3..12, cond in 2..1e4, u in the span of the extreme eigenvectors, weights from 1e-8 to 1e8
    """
    return _extremes_formula(i), i.low_high, i.error


_false = chapter.variants
FALSE = {
    "H* has the spectrum of H": _false("olsbn.star-spectrum", theory=lambda i: i.eigvals),
    "weights of the mean swapped": _false.changed("olsbn.cond-star-extreme", share=lambda i: 1 - i.share),
}
